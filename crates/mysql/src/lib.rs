//! The client side of the MySQL protocol: branches of transactions on real MySQL and MariaDB servers.
//!
//! ```text
//!   session ──ForeignServers──▶ Servers ── idle connections, by server  ──▶ Connection ──▶ mysql_async ──▶ the server
//!                               (this file)                                 (connection.rs)
//!                                                                            rows ──▶ values   (convert.rs)
//! ```
//!
//! **Refuses to do:** plan, retry or judge statements. It connects, sets a session up so that literals and values mean the same on
//! both sides, and reads what comes back into the types that it is told. Everything that a server sends is foreign input: what does not
//! fit is an error, never a panic and never a guess.
//!
//! Invariants:
//! - A statement that may have been carried out is never sent again. Only the first one on a connection that had been idle is, if it
//!   turns out to be closed: what was begun on it the server has rolled back.
//! - A connection that is dropped while a statement runs on it is closed, and the server is asked to end the statement.
//! - The password of a server stands in no error and no log line.

#![allow(clippy::disallowed_methods)] // This floor has clocks and threads.

mod connection;
mod convert;

use assize_catalog::Server;
use assize_ports::{BoxFuture, ForeignConnection, ForeignError, ForeignServers};
use connection::{Connection, Wire, connect};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections that are kept of one server while nobody uses them.
const IDLE_MAX: usize = 16;
/// For how long.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The way to foreign servers.
#[derive(Clone, Default)]
pub struct Servers {
    idle: Arc<Mutex<BTreeMap<Arc<str>, Kept>>>,
}

/// What is kept of a server, by the definition that it was made with.
struct Kept {
    server: Arc<Server>,
    idle: Vec<(Wire, Instant)>,
    /// Whether its sweeper is at work.
    is_swept: bool,
}

impl Servers {
    /// With no connection yet.
    pub fn new() -> Self {
        Servers::default()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Kept>> {
        // Nothing that holds this lock can leave its value half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection, and whether the server of this definition has been found fit before.
    fn take(&self, server: &Arc<Server>) -> (Option<Wire>, bool) {
        let mut kept = self.kept();
        match kept.get_mut(&server.name) {
            Some(known) if known.server == *server => {
                known.idle.retain(|(_, since)| since.elapsed() < IDLE_TIME);
                (known.idle.pop().map(|(wire, _)| wire), true)
            }
            // It was altered: connections of before lead to where it was.
            _ => {
                kept.remove(&server.name);
                (None, false)
            }
        }
    }

    fn note_fit(&self, server: &Arc<Server>) {
        let new = Kept { server: server.clone(), idle: Vec::new(), is_swept: false };
        self.kept().insert(server.name.clone(), new);
    }

    fn keep(&self, server: &Arc<Server>, wire: Wire) {
        let mut kept = self.kept();
        let Some(known) = kept.get_mut(&server.name).filter(|known| known.server == *server) else { return };
        if known.idle.len() < IDLE_MAX {
            known.idle.push((wire, Instant::now()));
            if let Ok(runtime) = tokio::runtime::Handle::try_current()
                && !std::mem::replace(&mut known.is_swept, true)
            {
                runtime.spawn(sweep(self.clone(), server.name.clone()));
            }
        }
    }
}

/// Closes what has been idle for too long, until there is nothing left.
async fn sweep(servers: Servers, name: Arc<str>) {
    loop {
        tokio::time::sleep(IDLE_TIME).await;
        let mut kept = servers.kept();
        let Some(known) = kept.get_mut(&name) else { return };
        known.idle.retain(|(_, since)| since.elapsed() < IDLE_TIME);
        if known.idle.is_empty() {
            known.is_swept = false;
            return;
        }
    }
}

impl ForeignServers for Servers {
    fn connect(
        &self,
        server: Arc<Server>,
    ) -> BoxFuture<'_, Result<Box<dyn ForeignConnection>, ForeignError>> {
        Box::pin(async move {
            let (idle, is_fit) = self.take(&server);
            let was_idle = idle.is_some();
            let wire = match idle {
                Some(wire) => wire,
                None => {
                    let mut wire = connect(&server).await?;
                    if !is_fit {
                        wire.check().await?;
                        self.note_fit(&server);
                    }
                    wire
                }
            };
            let connection = Connection::new(self.clone(), server, wire, was_idle);
            Ok(Box::new(connection) as Box<dyn ForeignConnection>)
        })
    }
}
