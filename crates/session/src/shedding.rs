//! Whether new transactions may write: a switch that the node turns when replicas or disks are behind.
//!
//! A transaction is marked when it begins while the switch is on. It may read; its first write, or the first row it
//! locks, fails as long as the switch is still on. Transactions that have begun before go on to their end, and so do those
//! that no session has begun: what they do makes room.

use assize_model::{ErrorCode, SqlError};
use assize_ports::Cause;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The switch, and how often it has kept a transaction from writing.
#[derive(Default)]
pub struct Shedding {
    /// Read by every begin; the reason is looked at only when it is on.
    is_on: AtomicBool,
    why: Mutex<Option<(Cause, String)>>,
    shed: [AtomicU64; Cause::ALL.len()],
}

impl Shedding {
    /// Turns it: on with a cause, and where and by how much in words; off with `None`.
    pub fn turn(&self, why: Option<(Cause, String)>) {
        let is_on = why.is_some();
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether new transactions are shed.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Transactions shed so far, by cause.
    pub fn counts(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.into_iter().zip(&self.shed).map(|(cause, count)| (cause, count.load(Ordering::Relaxed)))
    }

    /// A marked transaction wants to write: the error for its client, unless the switch is off again.
    pub(crate) fn refuse(&self) -> Option<SqlError> {
        let (cause, why) = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        if let Some(at) = Cause::ALL.iter().position(|known| *known == cause) {
            self.shed[at].fetch_add(1, Ordering::Relaxed);
        }
        Some(SqlError::new(
            ErrorCode::TooManyConcurrentTransactions,
            format!(
                "Too many active concurrent transactions: {why}; new transactions may only read until this is over, \
                 those that have begun go on; try again later"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shed_is_told_why_and_counted_by_cause() {
        let shedding = Shedding::default();
        assert!(!shedding.is_on() && shedding.refuse().is_none());
        shedding.turn(Some((Cause::Compaction, "node 2: RocksDB has 3.0 GiB to compact".to_owned())));
        assert!(shedding.is_on());
        let error = shedding.refuse().unwrap();
        assert_eq!((error.code.errno(), error.code.sqlstate()), (1637, "HY000"));
        assert!(error.message.contains("node 2: RocksDB has 3.0 GiB to compact"), "{error}");
        shedding.refuse();
        shedding.turn(Some((Cause::Disk, String::new())));
        shedding.refuse();
        shedding.turn(None);
        assert!(!shedding.is_on() && shedding.refuse().is_none());
        let counted: Vec<(Cause, u64)> = shedding.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Cause::Compaction, 2), (Cause::Disk, 1)]);
    }
}
