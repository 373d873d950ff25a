//! `assize txn`.

use super::{At, Connection, Mutating, call, output};
use crate::Failure;
use assize_admin::pb;
use clap::{Args, Subcommand};

/// Options of `assize txn`.
#[derive(Args, Debug)]
pub struct TxnOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do; without it open transactions are listed.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What can be done with transactions.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// List open transactions, the oldest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Tell everything about one
    Get {
        /// Which: node/connection, as in 1/17
        at: At,
    },
    /// End the connection that runs it, which rolls it back
    Kill {
        /// Which: node/connection, as in 1/17
        at: At,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// Ask what became of a transaction
    Outcome {
        /// Its id, as an error or a conflict tells it: 32 hexadecimal digits
        id: String,
    },
}

/// Runs `assize txn`.
pub async fn run(options: TxnOptions) -> Result<(), Failure> {
    let printed = options.connection.output;
    let mut transactions = options.connection.open().await?.transactions();
    match options.action.unwrap_or(Action::List { limit: 100 }) {
        Action::List { limit } => {
            let request = pb::ListTransactionsRequest { limit, ..Default::default() };
            let answer = call!(transactions, list, request);
            output::list(printed, &answer.transactions, HEADER, row)?;
            output::beyond(printed, answer.transactions.len(), answer.total);
            output::silence(printed, &answer.silent_nodes)
        }
        Action::Get { at: At { node, connection } } => {
            let txn = call!(transactions, get, pb::GetTransactionRequest { node, connection });
            output::list(printed, &[txn], HEADER, row)
        }
        Action::Kill { at: At { node, connection }, mutating: Mutating { validate_only, request_id } } => {
            let request = pb::KillTransactionRequest { node, connection, validate_only, request_id };
            output::done(printed, &call!(transactions, kill, request))
        }
        Action::Outcome { id } => {
            let told = call!(transactions, get_outcome, pb::GetOutcomeRequest { txn_id: id });
            output::one(printed, &told, outcome)
        }
    }
}

const HEADER: &[&str] = &["at", "user", "state", "age", "isolation", "rows", "bytes", "statement"];

fn row(txn: &pb::Transaction) -> Vec<String> {
    vec![
        format!("{}/{}", txn.node, txn.connection),
        txn.user.clone(),
        txn.state.clone(),
        output::or_dash(txn.age),
        txn.isolation.clone(),
        txn.writes.to_string(),
        output::bytes(txn.bytes),
        txn.statement.clone(),
    ]
}

pub(super) fn outcome(told: &pb::GetOutcomeResponse) -> String {
    let outcome = told.outcome();
    match outcome {
        pb::Outcome::Committed => format!("{outcome} at {}", output::or_dash(told.committed_at)),
        pb::Outcome::Aborted if told.is_not_known => format!("not committed: {}", told.abort_reason),
        pb::Outcome::Aborted => format!("{outcome}: {}", told.abort_reason),
        pb::Outcome::Undecided => format!("{outcome}: it may still commit or abort"),
        pb::Outcome::Unknown | pb::Outcome::Unspecified => format!("{outcome}: ask again"),
    }
}
