//! `assize conflicts`.

use super::{Connection, call, output, watch};
use crate::Failure;
use assize_admin::{Client, pb};
use assize_ports::{DEADLOCK, LOCK_WAIT_TIMEOUT};
use clap::{Args, Subcommand};
use std::fmt::Write as _;

/// Options of `assize conflicts`.
#[derive(Args, Debug)]
pub struct ConflictsOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do; without it the newest conflicts are listed.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What can be asked about conflicts.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// List explained conflicts, the newest first
    List(ListOptions),
    /// Tell everything about one
    Show {
        /// As in the error text: `c-7f3a`
        id: String,
    },
    /// Print conflicts as they happen
    Watch {
        /// Only those on this table: `shop.stock`
        #[arg(long, default_value = "", hide_default_value = true)]
        table: String,
    },
    /// List the keys on which transactions conflict most
    Hot {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

/// Options of `assize conflicts list`.
#[derive(Args, Debug)]
pub struct ListOptions {
    /// Only those on this table: `shop.stock`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub table: String,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
}

/// Runs `assize conflicts`.
pub async fn run(options: ConflictsOptions) -> Result<(), Failure> {
    let printed = options.connection.output;
    let client = options.connection.open().await?;
    let mut transactions = client.transactions();
    let everything = ListOptions { table: String::new(), limit: 20 };
    match options.action.unwrap_or(Action::List(everything)) {
        Action::List(ListOptions { table, limit }) => {
            let request = pb::ListConflictsRequest { table, id: String::new(), limit };
            let answer = call!(transactions, list_conflicts, request);
            output::list(printed, &answer.conflicts, HEADER, row)?;
            output::beyond(printed, answer.conflicts.len(), answer.total);
            output::silence(printed, &answer.silent_nodes)
        }
        Action::Show { id } => {
            let request = pb::ListConflictsRequest { table: String::new(), id: id.clone(), limit: 1 };
            let answer = call!(transactions, list_conflicts, request);
            let conflict = answer.conflicts.into_iter().next();
            let conflict = conflict.ok_or_else(|| not_found(&id, &answer.silent_nodes))?;
            output::one(printed, &conflict, text)
        }
        Action::Watch { table } => {
            let request = pb::WatchConflictsRequest { table };
            let open =
                async |client: &Client| Ok(call!(client.transactions(), watch_conflicts, request.clone()));
            let print = |conflict| output::one(printed, &conflict, sentence);
            watch::follow(&options.connection, client, open, print).await
        }
        Action::Hot { limit } => {
            let answer = call!(transactions, list_hot_keys, pb::ListHotKeysRequest { limit });
            let header = ["table", "index", "key", "conflicts", "last at"];
            output::list(printed, &answer.hot_keys, &header, |hot| {
                vec![
                    hot.table.clone(),
                    hot.index.clone(),
                    hot.key.clone(),
                    hot.conflicts.to_string(),
                    output::or_dash(hot.last_at),
                ]
            })?;
            output::silence(printed, &answer.silent_nodes)
        }
    }
}

/// A conflict is kept on the node whose session lost it.
fn not_found(id: &str, silent: &[u64]) -> Failure {
    match output::silence_line(silent) {
        None => {
            Failure { code: crate::exit::NO_INPUT, error: anyhow::anyhow!("no conflict {id} is remembered") }
        }
        Some(line) => Failure {
            code: crate::exit::UNAVAILABLE,
            error: anyhow::anyhow!("no node that answers remembers conflict {id}; {line}"),
        },
    }
}

/// How long before the winner had committed.
fn before(conflict: &pb::Conflict) -> String {
    match (&conflict.committed_before, &conflict.committed_before_at_most) {
        (Some(before), _) => before.to_string(),
        (None, Some(at_most)) => format!("at most {at_most}"),
        (None, None) => "-".to_owned(),
    }
}

const HEADER: &[&str] = &["conflict", "at", "kind", "on", "loser", "winner", "won before"];

fn row(conflict: &pb::Conflict) -> Vec<String> {
    vec![
        conflict.id.clone(),
        output::or_dash(conflict.at),
        conflict.kind.clone(),
        place(conflict),
        side(conflict.loser.as_ref()),
        side(conflict.winner.as_ref()),
        before(conflict),
    ]
}

fn place(conflict: &pb::Conflict) -> String {
    let parts = [conflict.table.as_str(), conflict.index.as_str(), conflict.key.as_str()];
    let known: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if known.is_empty() { "-".to_owned() } else { known.join(" ") }
}

fn side(side: Option<&pb::ConflictSide>) -> String {
    match side {
        Some(side) if !side.user.is_empty() => format!("{} ({})", side.txn, side.user),
        Some(side) if !side.txn.is_empty() => side.txn.clone(),
        _ => "-".to_owned(),
    }
}

/// Whether it is about a row that somebody held, who need not have committed.
fn is_held(conflict: &pb::Conflict) -> bool {
    [DEADLOCK, LOCK_WAIT_TIMEOUT].contains(&conflict.kind.as_str())
}

/// A conflict in one line.
pub(super) fn sentence(conflict: &pb::Conflict) -> String {
    format!(
        "{} {} {} on {}: {} {} {}",
        output::or_dash(conflict.at),
        conflict.id,
        conflict.kind,
        place(conflict),
        side(conflict.loser.as_ref()),
        if is_held(conflict) { "waited for" } else { "lost to" },
        side(conflict.winner.as_ref())
    )
}

/// Everything about a conflict.
pub(super) fn text(conflict: &pb::Conflict) -> String {
    let mut text = sentence(conflict);
    let other = if is_held(conflict) { "holder" } else { "winner" };
    for (name, side) in [("loser", &conflict.loser), (other, &conflict.winner)] {
        let Some(side) = side.as_ref().filter(|side| !side.txn.is_empty()) else { continue };
        let _ = write!(text, "\n{name}: transaction {} on node {}", side.txn, side.node);
        if side.connection != 0 {
            let _ = write!(text, ", connection {}", side.connection);
        }
        if let Some(age) = side.age {
            let _ = write!(text, ", {age} old");
        }
        for statement in &side.statements {
            let _ = write!(text, "\n    {statement}");
        }
    }
    match before(conflict).as_str() {
        "-" => {}
        before => drop(write!(text, "\nthe winner had committed {before} before")),
    }
    if conflict.was_retried {
        text.push_str("\nthe server ran the loser's statement again by itself");
    }
    text
}
