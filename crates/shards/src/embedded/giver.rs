//! The hands of a replica towards a shard whose slots it stages: that shard's stream, a copy of it, and what its replicas
//! have promised.
//!
//! Nothing of this holds the replica up, and nothing of it is missed when it ends: the mind asks again, or copies when the
//! slots come.

use super::RESUBSCRIBE;
use super::copy::{self, CopyError, Purpose, Throttle};
use super::engine::{Generation, RocksEngine};
use super::registry::Registry;
use super::replica::{Surroundings, next_copy, next_entries};
use assize_model::{LogIndex, Position, ShardId, StreamEntry};
use assize_mvcc::Gain;
use assize_ports::{BoxFuture, DecisionSource, DecisionStream, StreamError};
use assize_rocks::RocksError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes a second that are copied while nobody waits for them: as much as leaves disks and processors to those who do.
pub const PACE: u64 = 32 << 20;

/// What has come from the giver.
pub enum Arrival {
    /// Entries of its stream, or its end.
    Entries(Result<Vec<Arc<StreamEntry>>, StreamError>),
    /// A copy of it.
    Copy(RocksEngine),
}

/// A stream, once it is subscribed to.
type Subscribing = BoxFuture<'static, Result<Box<dyn DecisionStream>, StreamError>>;

/// The way to the giver.
#[derive(Default)]
pub struct Giver {
    /// After which entry of which shard it is followed, if none has come since.
    asked: Option<(ShardId, LogIndex)>,
    subscribing: Option<Subscribing>,
    stream: Option<Box<dyn DecisionStream>>,
    copying: Option<BoxFuture<'static, (Generation, RocksEngine)>>,
    /// Bytes that have been copied.
    copied: Arc<AtomicU64>,
    /// Copies that are here.
    copies: Vec<Generation>,
}

impl Giver {
    /// Whether anything may come.
    pub fn is_there(&self) -> bool {
        self.subscribing.is_some() || self.stream.is_some() || self.copying.is_some()
    }

    /// Follows its stream after a position. `pauses`: what was subscribed to before has failed.
    pub fn follow(&mut self, source: Arc<dyn DecisionSource>, giver: ShardId, after: Position, pauses: bool) {
        let asked = Some((giver, after.index));
        if self.asked == asked && (self.subscribing.is_some() || self.stream.is_some()) {
            return;
        }
        self.asked = asked;
        self.stream = None;
        self.subscribing = Some(Box::pin(async move {
            if pauses {
                tokio::time::sleep(RESUBSCRIBE).await;
            }
            source.subscribe(giver, after).await
        }));
    }

    /// Copies whichever of its replicas can give these slots, as long as it takes.
    pub fn copy(&mut self, around: Surroundings, shard: ShardId, gain: Gain) {
        let (copied, throttle) = (self.copied.clone(), Some(around.throttle()));
        self.copying = Some(Box::pin(copy_slots(around, shard, gain, throttle, copied)));
    }

    /// The next thing that comes. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Arrival {
        if let Some(subscribing) = &mut self.subscribing {
            let subscribed = tokio::select! {
                subscribed = subscribing => subscribed,
                copy = next_copy(&mut self.copying) => return self.keep(copy),
            };
            self.subscribing = None;
            match subscribed {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => return Arrival::Entries(Err(error)),
            }
        }
        tokio::select! {
            entries = next_entries(&mut self.stream) => {
                self.asked = None;
                if entries.is_err() {
                    self.stream = None;
                }
                Arrival::Entries(entries)
            }
            copy = next_copy(&mut self.copying) => self.keep(copy),
        }
    }

    fn keep(&mut self, (generation, engine): (Generation, RocksEngine)) -> Arrival {
        self.copying = None;
        self.copies.push(generation);
        Arrival::Copy(engine)
    }

    /// Bytes that have been copied.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Nothing more is wanted of it.
    pub fn leave(&mut self) {
        self.asked = None;
        self.subscribing = None;
        self.stream = None;
        self.copying = None;
    }

    /// Drops the copies: everything of use has been taken out of them.
    pub fn give_back(&mut self, registry: &Registry, shard: ShardId) -> Result<(), RocksError> {
        self.copies.drain(..).try_for_each(|copy| RocksEngine::drop_pair(registry.store(), shard, copy))
    }

    /// Whether there are any.
    pub fn has_copies(&self) -> bool {
        !self.copies.is_empty()
    }
}

/// A copy of whoever holds these slots, without the rest. Tried as long as it takes.
pub async fn copy_slots(
    around: Surroundings,
    shard: ShardId,
    gain: Gain,
    throttle: Option<Throttle>,
    copied: Arc<AtomicU64>,
) -> (Generation, RocksEngine) {
    loop {
        let take = |source: copy::Source| {
            // Whoever watches counts how often it begins.
            copied.store(0, Ordering::Relaxed);
            let purpose = Purpose::Slots { slots: gain.slots.clone(), throttle: throttle.clone() };
            let copy = copy::receive(around.registry.clone(), shard, purpose, source, copied.clone(), None);
            let no_room = around.until_no_room(throttle.is_some());
            async move {
                let copied = tokio::select! {
                    copied = copy => copied,
                    error = no_room => Err(error.into()),
                };
                if let Err(error @ CopyError::Store(_)) = &copied {
                    tracing::warn!(%shard, %error, "slots could not be copied");
                }
                copied.ok()
            }
        };
        if let Some(arrived) = around.siblings.slots(shard, &gain, take).await {
            return arrived;
        }
        tokio::time::sleep(RESUBSCRIBE).await;
    }
}
