//! What became of a session's last transaction, for `SELECT @@assize_last_txn_info`.

use crate::commit::{CommitFailure, Committed};
use assize_model::{ErrorCode, Timestamp, TxnId};
use std::fmt;

/// What became of the last transaction that used a table and came to its COMMIT, be that a statement of its own or the
/// implicit one of autocommit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LastTxn {
    /// There was none.
    #[default]
    None,
    /// It only read, so there was nothing to decide.
    Read {
        /// Its snapshot.
        snapshot_ts: Timestamp,
    },
    /// It wrote, and was decided, or nobody knows.
    Wrote {
        /// The id under which it was tried last; `None` if it did not get so far.
        txn: Option<TxnId>,
        /// Its snapshot: the last one, if it had several.
        snapshot_ts: Timestamp,
        /// How it ended.
        end: End,
    },
}

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Committed(Timestamp),
    Aborted,
    Unknown,
}

impl LastTxn {
    pub(crate) fn of(snapshot_ts: Timestamp, committed: &Result<Committed, CommitFailure>) -> LastTxn {
        let (txn, end) = match committed {
            Ok(Committed::Nothing) => return LastTxn::Read { snapshot_ts },
            Ok(Committed::At(txn, commit_ts)) => (Some(*txn), End::Committed(*commit_ts)),
            Err(failure) if failure.error.code == ErrorCode::OutcomeUnknown => (failure.txn, End::Unknown),
            Err(failure) => (failure.txn, End::Aborted),
        };
        LastTxn::Wrote { txn, snapshot_ts, end }
    }
}

/// As JSON. Timestamps are numbers, as in `SHOW TRANSACTIONS` and the log.
impl fmt::Display for LastTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (txn, snapshot_ts, commit_ts, outcome) = match *self {
            LastTxn::None => return Ok(()),
            LastTxn::Read { snapshot_ts } => (None, snapshot_ts, None, "read_only"),
            LastTxn::Wrote { txn, snapshot_ts, end } => match end {
                End::Committed(commit_ts) => (txn, snapshot_ts, Some(commit_ts), "committed"),
                End::Aborted => (txn, snapshot_ts, None, "aborted"),
                End::Unknown => (txn, snapshot_ts, None, "unknown"),
            },
        };
        match txn {
            Some(txn) => write!(f, "{{\"txn_id\": \"{txn}\"")?,
            None => write!(f, "{{\"txn_id\": null")?,
        }
        write!(f, ", \"snapshot_ts\": {}", snapshot_ts.0)?;
        match commit_ts {
            Some(commit_ts) => write!(f, ", \"commit_ts\": {}", commit_ts.0)?,
            None => write!(f, ", \"commit_ts\": null")?,
        }
        write!(f, ", \"outcome\": \"{outcome}\"}}")
    }
}
