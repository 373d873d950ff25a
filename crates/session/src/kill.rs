//! How other connections stop this one.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// A connection's switch: KILL throws it from elsewhere, the session looks at it whenever it waits.
#[derive(Debug, Default)]
pub struct KillSwitch {
    connection: AtomicBool,
    statement: AtomicBool,
    waker: AtomicWaker,
}

impl KillSwitch {
    /// KILL, or the client is gone: the running statement stops, and no other begins.
    pub fn kill(&self) {
        self.connection.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// KILL QUERY: the running statement stops.
    pub fn kill_query(&self) {
        self.statement.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Whether the connection is to end.
    pub fn is_killed(&self) -> bool {
        self.connection.load(Ordering::SeqCst)
    }

    /// Whether the running statement is to stop.
    pub fn stops_statement(&self) -> bool {
        self.is_killed() || self.statement.load(Ordering::SeqCst)
    }

    /// A statement begins: a KILL QUERY that came too late for the one before does not count.
    pub(crate) fn begin_statement(&self) {
        self.statement.store(false, Ordering::SeqCst);
    }

    /// Ready once the running statement is to stop.
    pub(crate) fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.stops_statement() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        // The switch may have been thrown between the look and the registration.
        if self.stops_statement() { Poll::Ready(()) } else { Poll::Pending }
    }
}
