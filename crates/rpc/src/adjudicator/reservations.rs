//! Reservations over a channel, in order: a cancel and a release never overtake the request that they end.

use super::lane::{Lane, Talk};
use super::wire::{FromReservations, Purpose, ToReservations};
use assize_codec::DecodeError;
use assize_model::{KeyHash, TxnId};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, BoxFuture, Channel, LockStrength, LockWait, Reserved,
};
use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Requests of one client that wait at a time.
const WAITING_MAX: usize = 16 << 10;

type Reply = Result<Reserved, AdjudicatorError>;

/// The client's end.
#[derive(Default)]
pub struct Reservations {
    queue: VecDeque<ToReservations>,
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
}

struct Waiting {
    reply: oneshot::Sender<Reply>,
    sent: bool,
}

/// Asks for a reservation. Dropping the future takes the request back.
pub async fn reserve(
    lane: &Lane<Reservations>,
    owner: TxnId,
    keys: &[KeyHash],
    strength: LockStrength,
    wait: LockWait,
) -> Reply {
    let (reply, reserved) = oneshot::channel();
    let id = lane.say(|talk| {
        let id = talk.next_id;
        talk.next_id += 1;
        talk.waiting.insert(id, Waiting { reply, sent: false });
        talk.queue.push_back(ToReservations::Reserve { id, owner, strength, wait, keys: keys.to_vec() });
        id
    });
    let _taken_back = TakenBack { lane, id };
    reserved.await.unwrap_or(Err(AdjudicatorError::ReplyLost))
}

/// Gives back what an owner has reserved.
pub fn release(lane: &Lane<Reservations>, owner: TxnId) {
    lane.say(|talk| talk.queue.push_back(ToReservations::Release { owner }));
}

struct TakenBack<'a> {
    lane: &'a Lane<Reservations>,
    id: u64,
}

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        let id = self.id;
        // Answered, most of the time.
        let Some(waiting) = self.lane.with(|talk| talk.waiting.remove(&id)) else { return };
        if waiting.sent {
            return self.lane.say(|talk| talk.queue.push_back(ToReservations::Cancel { id }));
        }
        self.lane.with(|talk| {
            talk.queue
                .retain(|said| !matches!(said, ToReservations::Reserve { id: other, .. } if *other == id));
        });
    }
}

impl Talk for Reservations {
    type Said = ToReservations;
    type Heard = FromReservations;

    fn hello() -> Bytes {
        Purpose::Reservations.encode()
    }

    fn next(&mut self) -> Option<ToReservations> {
        let said = self.queue.pop_front()?;
        if let ToReservations::Reserve { id, .. } = &said
            && let Some(waiting) = self.waiting.get_mut(id)
        {
            waiting.sent = true;
        }
        Some(said)
    }

    fn encode(said: ToReservations, _peer_cluster_version: u32) -> Vec<Bytes> {
        vec![said.encode()]
    }

    fn decode(message: &Bytes) -> Result<FromReservations, DecodeError> {
        FromReservations::decode(message)
    }

    fn hear(&mut self, heard: FromReservations) {
        if let Some(waiting) = self.waiting.remove(&heard.id) {
            let _ = waiting.reply.send(heard.reserved);
        }
    }

    fn lost(&mut self, reason: &str) {
        for (_, waiting) in self.waiting.drain() {
            let error = match waiting.sent {
                true => AdjudicatorError::ReplyLost,
                false => AdjudicatorError::Unreachable(reason.into()),
            };
            let _ = waiting.reply.send(Err(error));
        }
        // Releases among it are lost without harm: the other end releases everybody who asked on this channel.
        self.queue.clear();
    }
}

/// Those who have asked for something and were not released yet. Whoever could release them is not heard any more when this
/// goes: what they hold is given back then. They are advisory, so one who lives on and asks elsewhere loses no more than his
/// turn.
struct Owners<'a> {
    client: &'a dyn AdjudicatorClient,
    unreleased: HashSet<TxnId>,
}

impl Owners<'_> {
    fn release(&mut self, owner: TxnId) {
        self.unreleased.remove(&owner);
        self.client.release(owner);
    }
}

impl Drop for Owners<'_> {
    fn drop(&mut self) {
        self.unreleased.iter().for_each(|owner| self.client.release(*owner));
    }
}

/// The server's end: serves requests until the channel ends; then it gives up those that still wait, and releases the owners.
pub async fn serve(client: &Arc<dyn AdjudicatorClient>, channel: Channel) -> Result<(), String> {
    let Channel { mut sender, mut receiver } = channel;
    // Goes last: no request may be granted to an owner after his release.
    let mut owners = Owners { client: &**client, unreleased: HashSet::new() };
    let mut asked = FuturesUnordered::new();
    let mut waiting: HashMap<u64, (Asked, AbortHandle)> = HashMap::new();
    loop {
        let message = tokio::select! {
            // A request is begun before the next message is read: what follows it (its cancel, its owner's release)
            // finds it in place.
            biased;
            Some(answer) = asked.next(), if !asked.is_empty() => {
                // An error: it was cancelled.
                if let Ok((id, Some(reserved))) = answer {
                    waiting.remove(&id);
                    let answer = FromReservations { id, reserved };
                    sender.send(answer.encode()).await.map_err(|error| error.to_string())?;
                }
                continue;
            }
            message = receiver.receive() => message.map_err(|error| error.to_string())?,
        };
        let Some(message) = message else { return Ok(()) };
        match ToReservations::decode(&message).map_err(|error| error.to_string())? {
            ToReservations::Reserve { id, .. } if waiting.len() >= WAITING_MAX => {
                let reason = format!("{WAITING_MAX} reservations are waited for");
                let answer = FromReservations { id, reserved: Err(AdjudicatorError::Overloaded(reason)) };
                sender.send(answer.encode()).await.map_err(|error| error.to_string())?;
            }
            ToReservations::Reserve { id, owner, strength, wait, keys } => {
                // Not only when it is granted: that may be so already when the channel ends before its answer.
                owners.unreleased.insert(owner);
                let client = client.clone();
                let request =
                    Asked::new(id, async move { client.reserve(owner, &keys, strength, wait).await });
                let (abort, registration) = AbortHandle::new_pair();
                waiting.insert(id, (request.clone(), abort));
                asked.push(Abortable::new(request, registration));
            }
            ToReservations::Cancel { id } => {
                if let Some((request, abort)) = waiting.remove(&id) {
                    request.give_up();
                    abort.abort();
                }
            }
            ToReservations::Release { owner } => owners.release(owner),
        }
    }
}

/// A request at the adjudicator, which can be given up at once, wherever its future lies.
#[derive(Clone)]
struct Asked {
    id: u64,
    request: Arc<Mutex<Option<BoxFuture<'static, Reply>>>>,
}

impl Asked {
    fn new(id: u64, request: impl Future<Output = Reply> + Send + 'static) -> Asked {
        Asked { id, request: Arc::new(Mutex::new(Some(Box::pin(request)))) }
    }

    fn give_up(&self) {
        let request = self.request.lock().expect("a request that panics ends its channel").take();
        drop(request);
    }
}

impl Future for Asked {
    type Output = (u64, Option<Reply>);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut request = self.request.lock().expect("a request that panics ends its channel");
        match request.as_mut().map(|request| request.as_mut().poll(context)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(reply)) => {
                *request = None;
                Poll::Ready((self.id, Some(reply)))
            }
            None => Poll::Ready((self.id, None)),
        }
    }
}
