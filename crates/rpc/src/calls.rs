//! The calling end of a connection that carries calls: many callers, answers in any order.

use crate::endpoint::{Connection, Endpoint};
use crate::frame::{Kind, PAYLOAD_MAX};
use crate::link::{LinkError, Outbox, check_ping, reason_of};
use assize_model::NodeId;
use assize_ports::PeerError;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

type Answer = Result<Bytes, String>;

/// One connection to one service of one node.
pub struct Calls {
    node: NodeId,
    outbox: Arc<Outbox>,
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Calls {
    /// Starts to call over a connection. It ends when the connection breaks or the last handle is dropped.
    pub fn start(endpoint: &Arc<Endpoint>, node: NodeId, connection: Connection) -> Arc<Calls> {
        let outbox = Outbox::new();
        let calls = Arc::new(Calls {
            node,
            outbox: outbox.clone(),
            next_id: AtomicU64::new(1),
            waiting: Mutex::new(HashMap::new()),
        });
        tokio::spawn(run(endpoint.clone(), Arc::downgrade(&calls), outbox, connection));
        calls
    }

    /// Why it is of no use any more, if it is not.
    pub fn ended(&self) -> Option<LinkError> {
        self.outbox.ended()
    }

    /// One request, one answer.
    pub async fn call(&self, request: &[u8], deadline: Instant) -> Result<Bytes, PeerError> {
        if request.len() > PAYLOAD_MAX {
            return Err(self.refused(format!(
                "a request of {} bytes is longer than the {PAYLOAD_MAX} allowed",
                request.len()
            )));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.waiting().insert(id, reply);
        let mut waiting = Waiting { calls: self, id, sent: false };

        let offset = match timeout_at(deadline, self.outbox.put(Kind::Call, id, request)).await {
            Ok(Ok(offset)) => offset,
            Ok(Err(why)) => return Err(self.unreachable(why.to_string())),
            Err(_) => return Err(self.unreachable("it takes requests too slowly".into())),
        };
        waiting.sent = true;
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(reason))) => Err(self.refused(reason)),
            Ok(Err(_)) => {
                let why = self.ended().unwrap_or(LinkError::Closed).to_string();
                match self.outbox.may_have_left(offset) {
                    true => Err(PeerError::ReplyLost { node: self.node, reason: why }),
                    false => Err(self.unreachable(why)),
                }
            }
            Err(_) => {
                Err(PeerError::ReplyLost { node: self.node, reason: "it did not answer in time".into() })
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().expect("no panic happens under this lock")
    }

    fn unreachable(&self, reason: String) -> PeerError {
        PeerError::Unreachable { node: self.node, reason }
    }

    fn refused(&self, reason: String) -> PeerError {
        PeerError::Refused { node: self.node, reason }
    }

    fn answer(&self, id: u64, answer: Answer) {
        // Nobody there: the caller has gone, or its time has passed.
        if let Some(reply) = self.waiting().remove(&id) {
            let _ = reply.send(answer);
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}

/// A caller's place among those that wait. Leaving it before the answer has come tells the other end.
struct Waiting<'a> {
    calls: &'a Calls,
    id: u64,
    sent: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let still_waiting = self.calls.waiting().remove(&self.id).is_some();
        if still_waiting && self.sent {
            // A connection that has ended needs no cancelling.
            let _ = self.calls.outbox.push(Kind::Cancel, self.id, b"");
        }
    }
}

/// Reads and writes until the connection ends; then nobody waits on it any more.
async fn run(
    endpoint: Arc<Endpoint>,
    calls: std::sync::Weak<Calls>,
    outbox: Arc<Outbox>,
    connection: Connection,
) {
    let Connection { mut reader, writer } = connection;
    let timing = endpoint.timing();
    let mut writer = outbox.start_writer(&endpoint, writer);
    let reading = async {
        loop {
            let frame = reader.next(timing.silence_max).await?.ok_or(LinkError::Closed)?;
            let Some(calls) = calls.upgrade() else { return Err(LinkError::Ended) };
            match frame.kind {
                Kind::Answer => calls.answer(frame.id, Ok(frame.payload)),
                Kind::Refusal if frame.id != 0 => calls.answer(frame.id, Err(reason_of(&frame))),
                Kind::Refusal => return Err(LinkError::Refused(reason_of(&frame))),
                Kind::Ping => check_ping(&frame, endpoint.cluster())?,
                other => return Err(LinkError::Unexpected(other)),
            }
        }
    };
    let ended: Result<(), LinkError> = tokio::select! {
        ended = reading => ended,
        ended = writer.ended() => ended,
    };
    // Ended first, so that whoever comes later is refused and nobody waits unseen.
    outbox.end(ended.err().unwrap_or(LinkError::Ended));
    if let Some(calls) = calls.upgrade() {
        calls.waiting().clear();
    }
}
