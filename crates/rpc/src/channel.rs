//! A connection that carries one channel, at either end.
//!
//! ```text
//!   ChannelSender ──▶ outbox ──▶ writer ──▶ network ──▶ reader ──▶ inbox ──▶ ChannelReceiver
//! ```
//!
//! Both boxes are bounded by bytes, and the network between them by TCP: a slow receiver makes the sender wait. The reader
//! listens for pings as long as there is room in its inbox, so a sender learns of a dead peer even if nobody receives.

use crate::endpoint::{Connection, Endpoint};
use crate::frame::{Kind, PAYLOAD_MAX};
use crate::link::{FrameReader, LinkError, Outbox, check_ping, reason_of};
use assize_model::NodeId;
use assize_ports::{BoxFuture, Channel, ChannelReceiver, ChannelSender, PeerError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes that wait to be received, unless one message is longer.
const INBOX_BYTES: usize = 1 << 20;
/// Messages that wait to be received, however short.
const INBOX_MESSAGES: usize = 4096;

/// Makes a connection into a channel. The future serves it until both ends have done with it.
pub fn start(
    endpoint: Arc<Endpoint>,
    peer: NodeId,
    peer_cluster_version: u32,
    connection: Connection,
) -> (Channel, Control, impl Future<Output = ()> + Send) {
    let outbox = Outbox::new();
    let inbox = Arc::new(Inbox::default());
    let ending = Mutex::new(Ending { held: true, ..Ending::default() });
    let link =
        Arc::new(Link { peer, peer_cluster_version, outbox: outbox.clone(), inbox: inbox.clone(), ending });
    let channel = Channel {
        sender: Box::new(Sender { link: link.clone() }),
        receiver: Box::new(Receiver { link: link.clone() }),
    };
    (channel, Control { link }, run(endpoint, outbox, inbox, connection))
}

/// What the maker of a channel keeps while it may still refuse it. Dropping it leaves the channel to its two halves.
pub struct Control {
    link: Arc<Link>,
}

impl Control {
    /// Tells the other end why there is nothing more to come, and closes.
    pub fn refuse(self, reason: &str) {
        // It has broken already: then there is nobody to tell.
        let _ = self.link.outbox.push(Kind::Refusal, 0, reason.as_bytes());
        self.link.outbox.finish();
    }

    /// Breaks the channel: whoever served it has not come to an end of its own.
    pub fn break_off(&self) {
        self.link.outbox.end(LinkError::Ended);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let mut ending = self.link.ending();
        ending.held = false;
        if ending.end_owed {
            let _ = self.link.outbox.push(Kind::End, 0, b"");
        }
    }
}

/// What both halves share. When all of it is gone, what was sent is written and the connection closed.
struct Link {
    peer: NodeId,
    peer_cluster_version: u32,
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    ending: Mutex<Ending>,
}

/// A sender that is dropped before it has sent anything may belong to a service that is about to refuse: its end is not
/// told before that is known, or the other end would take the refusal for an empty answer.
#[derive(Default)]
struct Ending {
    held: bool,
    has_sent: bool,
    end_owed: bool,
}

impl Link {
    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().expect("no panic happens under this lock")
    }

    fn error(&self, why: LinkError) -> PeerError {
        match why {
            LinkError::Refused(reason) => PeerError::Refused { node: self.peer, reason },
            why => PeerError::ReplyLost { node: self.peer, reason: why.to_string() },
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}

struct Sender {
    link: Arc<Link>,
}

impl ChannelSender for Sender {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        self.send_parts(vec![message])
    }

    fn send_parts(&mut self, parts: Vec<Bytes>) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            let length: usize = parts.iter().map(Bytes::len).sum();
            if length > PAYLOAD_MAX {
                let reason = format!("a message of {length} bytes is longer than the {PAYLOAD_MAX} allowed");
                return Err(PeerError::Refused { node: self.link.peer, reason });
            }
            self.link.ending().has_sent = true;
            match self.link.outbox.put_parts(Kind::Message, 0, &parts).await {
                Ok(_) => Ok(()),
                // The reader knows better why than the writer does.
                Err(why) => Err(self.link.error(self.link.inbox.refusal().unwrap_or(why))),
            }
        })
    }

    fn peer_cluster_version(&self) -> u32 {
        self.link.peer_cluster_version
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Not an end that anybody meant: the other end must not take what it has for everything.
            return self.link.outbox.end(LinkError::Ended);
        }
        let mut ending = self.link.ending();
        if ending.held && !ending.has_sent {
            ending.end_owed = true;
            return;
        }
        // A channel that has broken ends by itself.
        let _ = self.link.outbox.push(Kind::End, 0, b"");
    }
}

struct Receiver {
    link: Arc<Link>,
}

impl ChannelReceiver for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async move { self.link.inbox.receive().await.map_err(|why| self.link.error(why)) })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.link.inbox.abandon();
    }
}

#[derive(Default)]
struct Inbox {
    state: Mutex<InboxState>,
    filled: Notify,
    drained: Notify,
}

#[derive(Default)]
struct InboxState {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing more will come: in order (`Ok`), or because it broke.
    closed: Option<Result<(), LinkError>>,
    /// Nobody receives any more: what comes is thrown away.
    abandoned: bool,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Puts a message where the receiver finds it; returns whether there is room for more.
    fn put(&self, message: Bytes) -> bool {
        let mut state = self.state();
        if state.abandoned {
            return true;
        }
        state.bytes += message.len();
        state.messages.push_back(message);
        let room = state.has_room();
        drop(state);
        self.filled.notify_one();
        room
    }

    async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if self.state().has_room() {
                return;
            }
            drained.await;
        }
    }

    async fn receive(&self) -> Result<Option<Bytes>, LinkError> {
        loop {
            {
                let mut state = self.state();
                if let Some(message) = state.messages.pop_front() {
                    let was_full = !state.has_room();
                    state.bytes -= message.len();
                    let drained = was_full && state.has_room();
                    drop(state);
                    if drained {
                        self.drained.notify_one();
                    }
                    return Ok(Some(message));
                }
                match &state.closed {
                    Some(Ok(())) => return Ok(None),
                    Some(Err(why)) => return Err(why.clone()),
                    None => {}
                }
            }
            self.filled.notified().await;
        }
    }

    fn close(&self, how: Result<(), LinkError>) {
        self.state().closed.get_or_insert(how);
        self.filled.notify_one();
    }

    fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        state.messages.clear();
        state.bytes = 0;
        drop(state);
        self.drained.notify_one();
    }

    fn refusal(&self) -> Option<LinkError> {
        match &self.state().closed {
            Some(Err(why @ LinkError::Refused(_))) => Some(why.clone()),
            _ => None,
        }
    }

    fn ended_in_order(&self) -> bool {
        matches!(self.state().closed, Some(Ok(())))
    }
}

impl InboxState {
    fn has_room(&self) -> bool {
        self.abandoned || (self.bytes < INBOX_BYTES && self.messages.len() < INBOX_MESSAGES)
    }
}

async fn run(endpoint: Arc<Endpoint>, outbox: Arc<Outbox>, inbox: Arc<Inbox>, connection: Connection) {
    let Connection { mut reader, writer } = connection;
    let timing = endpoint.timing();
    let mut writer = outbox.start_writer(&endpoint, writer);
    let ended = tokio::select! {
        ended = read(&endpoint, &mut reader, &inbox) => ended.err().unwrap_or(LinkError::Closed),
        ended = writer.ended() => match ended {
            Err(why) => why,
            // Both halves are gone here, and everything has been written. A connection closed with bytes unread is
            // reset, and what was written last would be lost with it: the other end closes first.
            Ok(()) => match timeout(timing.silence_max, read(&endpoint, &mut reader, &inbox)).await {
                Ok(Err(why)) => why,
                _ => LinkError::Ended,
            },
        },
    };
    inbox.close(Err(ended.clone()));
    outbox.end(ended);
}

/// Reads until the other end closes the connection.
async fn read(endpoint: &Endpoint, reader: &mut FrameReader, inbox: &Inbox) -> Result<(), LinkError> {
    let silence_max = endpoint.timing().silence_max;
    loop {
        let Some(frame) = reader.next(silence_max).await? else {
            return match inbox.ended_in_order() {
                true => Ok(()),
                false => Err(LinkError::Closed),
            };
        };
        match frame.kind {
            Kind::Message => {
                if !inbox.put(frame.payload) {
                    inbox.room().await;
                }
            }
            Kind::End => inbox.close(Ok(())),
            Kind::Refusal => return Err(LinkError::Refused(reason_of(&frame))),
            Kind::Ping => check_ping(&frame, endpoint.cluster())?,
            other => return Err(LinkError::Unexpected(other)),
        }
    }
}
