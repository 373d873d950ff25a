//! `assize sessions`.

use super::{At, Connection, Mutating, call, output};
use crate::Failure;
use assize_admin::pb;
use clap::{Args, Subcommand};

/// Options of `assize sessions`.
#[derive(Args, Debug)]
pub struct SessionsOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do; without it connections are listed.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What can be done with connections.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// List connections
    List(ListOptions),
    /// End a connection, or its statement
    Kill {
        /// Which: node/connection, as in 1/17
        at: At,
        /// Only the statement that it runs
        #[arg(long)]
        query: bool,
        #[command(flatten)]
        mutating: Mutating,
    },
    /// List statistics of normalised statements, those that took most time first
    Digests {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// List statements that took long, the newest first
    Slow {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

/// Options of `assize sessions list`.
#[derive(Args, Debug)]
pub struct ListOptions {
    /// Only those of this node
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub node: u64,
    /// Only those of this user
    #[arg(long, default_value = "", hide_default_value = true)]
    pub user: String,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
}

/// Runs `assize sessions`.
pub async fn run(options: SessionsOptions) -> Result<(), Failure> {
    let printed = options.connection.output;
    let mut sessions = options.connection.open().await?.sessions();
    let everything = ListOptions { node: 0, user: String::new(), limit: 100 };
    match options.action.unwrap_or(Action::List(everything)) {
        Action::List(ListOptions { node, user, limit }) => {
            let answer = call!(sessions, list, pb::ListSessionsRequest { node, user, limit });
            output::list(printed, &answer.sessions, HEADER, row)?;
            output::beyond(printed, answer.sessions.len(), answer.total);
            output::silence(printed, &answer.silent_nodes)
        }
        Action::Kill {
            at: At { node, connection },
            query,
            mutating: Mutating { validate_only, request_id },
        } => {
            let query_only = query;
            let request = pb::KillSessionRequest { node, connection, query_only, validate_only, request_id };
            output::done(printed, &call!(sessions, kill, request))
        }
        Action::Digests { limit } => {
            let answer = call!(sessions, list_digests, pb::ListDigestsRequest { node: 0, limit });
            let header = ["node", "runs", "total", "rows", "errors", "statement"];
            output::list(printed, &answer.digests, &header, |d| {
                vec![
                    d.node.to_string(),
                    d.count.to_string(),
                    output::or_dash(d.total),
                    d.rows.to_string(),
                    d.errors.to_string(),
                    d.text.clone(),
                ]
            })?;
            output::silence(printed, &answer.silent_nodes)
        }
        Action::Slow { limit } => {
            let request = pb::ListSlowStatementsRequest { node: 0, limit };
            let answer = call!(sessions, list_slow_statements, request);
            output::list(printed, &answer.statements, &["node", "at", "took", "user", "statement"], |s| {
                vec![
                    s.node.to_string(),
                    output::or_dash(s.at),
                    output::or_dash(s.took),
                    s.user.clone(),
                    s.text.clone(),
                ]
            })?;
            output::silence(printed, &answer.silent_nodes)
        }
    }
}

const HEADER: &[&str] = &["at", "user", "host", "database", "command", "for", "statement"];

fn row(session: &pb::Session) -> Vec<String> {
    vec![
        format!("{}/{}", session.node, session.connection),
        session.user.clone(),
        session.host.clone(),
        session.database.clone(),
        session.command.clone(),
        output::or_dash(session.in_state),
        session.statement.clone(),
    ]
}
