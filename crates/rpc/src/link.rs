//! A connection after the handshake: frames out through an [`Outbox`], frames in through a [`FrameReader`].
//!
//! Senders append to one queue; a writer takes all of it and writes at once, so that messages gather by themselves while a
//! write is under way. The writer pings when there is nothing else to say, and whoever hears nothing at all for a
//! while gives the connection up: this is how a half-open one is found.

use crate::endpoint::Endpoint;
use crate::frame::{self, Frame, FrameError, Kind, PAYLOAD_MAX};
use crate::handshake::ClusterId;
use crate::outgoing::Outgoing;
use crate::security::{ReadHalf, WriteHalf};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes that wait to be written, unless one message is longer; senders wait beyond that.
const OUTBOX_BYTES: usize = 1 << 20;
/// Bytes asked of the network at a time.
const READ_BYTES: usize = 64 << 10;
/// Room for less than this is not worth a read.
const READ_ROOM: usize = 4 << 10;

/// Times that every connection of a node keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// A ping is sent after so long without a word.
    pub ping_every: Duration,
    /// A connection is given up after so long without a word from the other end.
    pub silence_max: Duration,
    /// Connecting, TLS and the handshake take at most so long.
    pub connect_max: Duration,
    /// The first pause after a failed attempt to connect; doubles up to the next.
    pub pause_min: Duration,
    /// The longest pause between attempts.
    pub pause_max: Duration,
    /// Calls under way may take so long when the server stops.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            ping_every: Duration::from_millis(200),
            silence_max: Duration::from_millis(900),
            connect_max: Duration::from_secs(2),
            pause_min: Duration::from_millis(20),
            pause_max: Duration::from_millis(500),
            grace: Duration::from_secs(2),
        }
    }
}

/// Why a connection is no more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkError {
    /// The other end has closed it.
    #[error("the connection was closed")]
    Closed,
    /// Not a word for too long.
    #[error("nothing was heard for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The network.
    #[error("the connection broke: {0}")]
    Io(String),
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that has no place here.
    #[error("a frame of kind {0:?} has no place here")]
    Unexpected(Kind),
    /// The other end's cluster is not ours any more.
    #[error("the other end belongs to {theirs}, this node to {ours}")]
    OtherCluster {
        /// This node's.
        ours: ClusterId,
        /// The other's.
        theirs: ClusterId,
    },
    /// The other end said why.
    #[error("{0}")]
    Refused(String),
    /// This node is stopping, or has done with it.
    #[error("the connection was ended")]
    Ended,
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        LinkError::Io(error.to_string())
    }
}

/// Frames that come in.
pub struct FrameReader {
    io: ReadHalf,
    buffer: BytesMut,
    payload_max: usize,
    is_trusted: bool,
}

impl FrameReader {
    /// Reads frames with payloads of at most so many bytes.
    pub fn new(io: ReadHalf, payload_max: usize) -> FrameReader {
        FrameReader { io, buffer: BytesMut::new(), payload_max, is_trusted: false }
    }

    /// From now on payloads may be as long as those of any message, and memory for one is taken as soon as its head says
    /// how much it needs.
    pub fn trust(&mut self) {
        self.payload_max = PAYLOAD_MAX;
        self.is_trusted = true;
    }

    /// The next frame that has already arrived.
    pub fn arrived(&mut self) -> Result<Option<Frame>, LinkError> {
        Ok(frame::take(&mut self.buffer, self.payload_max)?)
    }

    /// The next frame; `None` if the other end has closed the connection between frames.
    pub async fn next(&mut self, silence_max: Duration) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.arrived()? {
                return Ok(Some(frame));
            }
            let missing = frame::missing(&self.buffer);
            // Of a stranger no more than has been promised, and not all at once: a head alone must not cost what it promises.
            let most = if self.is_trusted { missing } else { self.buffer.len() };
            let wanted = missing.min(most.max(READ_BYTES));
            // What has arrived is kept by whoever got it, and with it all of its buffer: one with room left goes on.
            if self.buffer.capacity() - self.buffer.len() < wanted.max(READ_ROOM) {
                self.buffer.reserve(wanted.max(READ_BYTES));
            }
            match timeout(silence_max, self.io.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) if self.buffer.is_empty() => return Ok(None),
                Ok(Ok(0)) => return Err(LinkError::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(LinkError::Silent(silence_max)),
            }
        }
    }
}

/// Frames that go out.
pub struct Outbox {
    state: Mutex<OutboxState>,
    /// There is something to write, or no more will come.
    filled: Notify,
    /// There is room again, or none will ever be.
    drained: Notify,
}

struct OutboxState {
    waiting: Outgoing,
    /// Bytes ever appended before those that wait: all of them are with the writer, who may have sent them.
    taken: u64,
    end: Option<LinkError>,
    /// No more frames: the writer writes what there is and closes.
    finishing: bool,
}

/// Where a frame lies in all that a connection ever sends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Offset(u64);

impl Outbox {
    /// An empty one.
    pub fn new() -> Arc<Outbox> {
        let state = OutboxState { waiting: Outgoing::default(), taken: 0, end: None, finishing: false };
        Arc::new(Outbox { state: Mutex::new(state), filled: Notify::new(), drained: Notify::new() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, OutboxState> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Appends a small frame without waiting for room: pings, cancels, ends and refusals, of which each connection has few
    /// at a time.
    pub fn push(&self, kind: Kind, id: u64, payload: &[u8]) -> Result<Offset, LinkError> {
        let mut state = self.state();
        let offset = state.append(|out| frame::put(out.short(), kind, id, payload))?;
        drop(state);
        self.filled.notify_one();
        Ok(offset)
    }

    /// Appends a frame when there is room. Dropping the future appends nothing.
    pub async fn put(&self, kind: Kind, id: u64, payload: &[u8]) -> Result<Offset, LinkError> {
        self.when_there_is_room(|out| frame::put(out.short(), kind, id, payload)).await
    }

    /// As [`Outbox::put`], of a payload that lies in parts, which are shared for as long as they wait.
    pub async fn put_parts(&self, kind: Kind, id: u64, payload: &[Bytes]) -> Result<Offset, LinkError> {
        self.when_there_is_room(|out| {
            frame::put_head(out.short(), kind, id, payload.iter().map(Bytes::len).sum());
            payload.iter().for_each(|part| out.push(part));
        })
        .await
    }

    async fn when_there_is_room(&self, put: impl Fn(&mut Outgoing)) -> Result<Offset, LinkError> {
        loop {
            let drained = self.drained.notified();
            {
                let mut state = self.state();
                if state.end.is_some() || state.finishing || state.waiting.len() < OUTBOX_BYTES {
                    let offset = state.append(&put)?;
                    drop(state);
                    self.filled.notify_one();
                    return Ok(offset);
                }
            }
            drained.await;
        }
    }

    /// Whether the frame there may have reached the other end.
    pub fn may_have_left(&self, offset: Offset) -> bool {
        self.state().taken > offset.0
    }

    /// Has the writer write what there is and close the connection.
    pub fn finish(&self) {
        self.state().finishing = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Ends it: what was not taken by the writer will never leave.
    pub fn end(&self, why: LinkError) {
        self.state().end.get_or_insert(why);
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<LinkError> {
        let state = self.state();
        state.end.clone().or(state.finishing.then_some(LinkError::Ended))
    }

    /// Everything that waits; `None` when there is nothing left to write ever.
    fn take(&self, spare: Outgoing) -> Result<Option<Outgoing>, LinkError> {
        let mut state = self.state();
        if let Some(why) = &state.end {
            return Err(why.clone());
        }
        if state.waiting.is_empty() && state.finishing {
            return Ok(None);
        }
        let taken = std::mem::replace(&mut state.waiting, spare);
        state.taken += taken.len() as u64;
        drop(state);
        self.drained.notify_waiters();
        Ok(Some(taken))
    }

    /// Has a task of its own write all that is put here. Dropping the handle ends it.
    pub fn start_writer(self: &Arc<Outbox>, endpoint: &Arc<Endpoint>, io: WriteHalf) -> Writer {
        let (outbox, endpoint) = (self.clone(), endpoint.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let ping_every = endpoint.timing().ping_every;
            outbox.write_to(io, ping_every, || endpoint.cluster()).await
        });
        Writer(task)
    }

    /// Writes until it is finished or ended. `cluster` is what pings say.
    async fn write_to(
        &self,
        mut io: WriteHalf,
        ping_every: Duration,
        cluster: impl Fn() -> ClusterId,
    ) -> Result<(), LinkError> {
        let mut spare = Outgoing::default();
        loop {
            let Some(mut batch) = self.take(std::mem::take(&mut spare))? else {
                // The peer may have closed first; there is nothing left to lose.
                let _ = io.shutdown().await;
                return Ok(());
            };
            if !batch.is_empty() {
                batch.write_to(&mut io).await?;
                io.flush().await?;
                batch.clear();
                spare = batch;
                continue;
            }
            spare = batch;
            match timeout(ping_every, self.filled.notified()).await {
                // Whoever else is ready to send goes first: one write then carries all of it.
                Ok(()) => tokio::task::yield_now().await,
                Err(_) => drop(self.push(Kind::Ping, 0, &cluster().0.to_le_bytes())?),
            }
        }
    }
}

/// The task that empties an [`Outbox`].
pub struct Writer(JoinSet<Result<(), LinkError>>);

impl Writer {
    /// Completes when everything has been written after [`Outbox::finish`], or with the reason why that will never be.
    pub async fn ended(&mut self) -> Result<(), LinkError> {
        match self.0.join_next().await {
            Some(Ok(ended)) => ended,
            // It has been waited for before, or the runtime is going down.
            _ => Err(LinkError::Ended),
        }
    }
}

impl OutboxState {
    fn append(&mut self, put: impl Fn(&mut Outgoing)) -> Result<Offset, LinkError> {
        if let Some(why) = &self.end {
            return Err(why.clone());
        }
        if self.finishing {
            return Err(LinkError::Ended);
        }
        let offset = Offset(self.taken + self.waiting.len() as u64);
        put(&mut self.waiting);
        Ok(offset)
    }
}

/// Whether a ping comes from a node that may still talk to this one.
pub fn check_ping(ping: &Frame, ours: ClusterId) -> Result<(), LinkError> {
    let Some(theirs) = ping.payload.first_chunk::<16>() else { return Ok(()) };
    let theirs = ClusterId(u128::from_le_bytes(*theirs));
    match ours.may_talk_to(theirs) {
        true => Ok(()),
        false => Err(LinkError::OtherCluster { ours, theirs }),
    }
}

/// The reason of a refusal, as its frame has it.
pub fn reason_of(refusal: &Frame) -> String {
    String::from_utf8_lossy(&refusal.payload).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: Vec<u8>) -> FrameReader {
        FrameReader::new(Box::new(std::io::Cursor::new(bytes)), PAYLOAD_MAX)
    }

    #[tokio::test]
    async fn what_is_put_while_a_write_waits_leaves_in_one_piece() {
        let outbox = Outbox::new();
        let first = outbox.push(Kind::Message, 0, b"one").unwrap();
        let second = outbox.put(Kind::Message, 0, b"two").await.unwrap();
        assert!(first < second);
        assert!(!outbox.may_have_left(first));
        let taken = outbox.take(Outgoing::default()).unwrap().unwrap();
        assert_eq!(taken.len(), 2 * (frame::HEAD + 3));
        assert!(outbox.may_have_left(second));
        let third = outbox.push(Kind::Message, 0, b"three").unwrap();
        outbox.end(LinkError::Closed);
        assert!(!outbox.may_have_left(third), "what the writer never took has not left");
        assert_eq!(outbox.take(Outgoing::default()).err(), Some(LinkError::Closed));
        assert_eq!(outbox.push(Kind::Ping, 0, b""), Err(LinkError::Closed));
    }

    #[tokio::test]
    async fn a_full_outbox_makes_senders_wait_and_ending_it_frees_them() {
        let outbox = Outbox::new();
        outbox.put(Kind::Message, 0, &vec![0; OUTBOX_BYTES]).await.unwrap();
        let mut waiting = std::pin::pin!(outbox.put(Kind::Message, 0, b"late"));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        outbox.end(LinkError::Closed);
        assert_eq!(waiting.await, Err(LinkError::Closed));
    }

    #[tokio::test]
    async fn a_connection_that_ends_within_a_frame_is_broken() {
        let mut bytes = Vec::new();
        frame::put(&mut bytes, Kind::Message, 0, b"whole");
        let whole = bytes.len();
        frame::put(&mut bytes, Kind::Message, 0, b"torn");
        let second = Duration::from_secs(1);
        let mut torn = reader(bytes[..whole + 5].to_vec());
        assert!(torn.next(second).await.unwrap().is_some());
        assert_eq!(torn.next(second).await, Err(LinkError::Closed));
        let mut ended = reader(bytes[..whole].to_vec());
        assert!(ended.next(second).await.unwrap().is_some());
        assert_eq!(ended.next(second).await, Ok(None));
    }

    #[test]
    fn a_ping_of_another_cluster_ends_the_connection() {
        let ping = |cluster: u128| Frame {
            kind: Kind::Ping,
            id: 0,
            payload: bytes::Bytes::copy_from_slice(&cluster.to_le_bytes()),
        };
        assert!(check_ping(&ping(5), ClusterId(5)).is_ok());
        assert!(check_ping(&ping(0), ClusterId(5)).is_ok());
        assert!(matches!(check_ping(&ping(6), ClusterId(5)), Err(LinkError::OtherCluster { .. })));
    }
}
