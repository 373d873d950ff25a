//! Egress of the decision stream: what apply said to each shard, kept until every replica has persisted it.
//!
//! After a restart the log above the base checkpoint is applied again, and with it the entries that some
//! replica may still need come again. So nothing is stored here, and the log can reproduce all that a subscriber may
//! resume from; it keeps more than that, down to the base.
//!
//! What is kept is the log entries themselves, once for all shards; a shard's [`StreamEntry`] is made when a subscriber
//! of that shard reads it, outside the lock.

use assize_adjudicator::Streamed;
use assize_model::{Epoch, LogIndex, Position, ShardId, StreamEntry};
use assize_ports::{BoxFuture, DecisionStream, StreamError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// A subscriber that is far behind is given so many entries at a time.
const ENTRIES_MAX: usize = 256;
/// … and no more once they have so many bytes in the log.
const BYTES_MAX: usize = 8 << 20;

/// The streams of all shards.
pub struct Streams {
    kept: Mutex<Kept>,
    /// The last published entry; wakes subscribers.
    published: watch::Sender<LogIndex>,
    /// The epoch of the placement in force.
    placed: watch::Sender<Epoch>,
    /// Why it has ended, once it has.
    ended: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Kept {
    /// Whoever stands below this cannot be helped here.
    begins_after: LogIndex,
    entries: VecDeque<Streamed>,
}

impl Streams {
    /// Streams with nothing in them.
    pub fn new() -> Arc<Streams> {
        Arc::new(Streams {
            kept: Mutex::default(),
            published: watch::Sender::new(LogIndex(0)),
            placed: watch::Sender::default(),
            ended: watch::Sender::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic happens under this lock")
    }

    /// Adds what one log entry means to the shards.
    pub fn publish(&self, entry: Streamed) {
        let index = entry.position().index;
        self.lock().entries.push_back(entry);
        self.published.send_replace(index);
    }

    /// The placement has changed.
    pub fn place(&self, epoch: Epoch) {
        self.placed.send_replace(epoch);
    }

    /// Tells of changes of the placement.
    pub fn watch_placement(&self) -> watch::Receiver<Epoch> {
        self.placed.subscribe()
    }

    /// Starts over after this entry, as after the restoration of a checkpoint.
    pub fn begin_after(&self, index: LogIndex) {
        let mut kept = self.lock();
        kept.begins_after = index;
        kept.entries.clear();
    }

    /// Forgets entries up to this one: every replica that counts has persisted them.
    pub fn forget(&self, upto: LogIndex) {
        let forgotten: Vec<Streamed> = {
            let mut kept = self.lock();
            let count = kept.entries.partition_point(|entry| entry.position().index <= upto);
            let forgotten: Vec<Streamed> = kept.entries.drain(..count).collect();
            if let Some(last) = forgotten.last() {
                kept.begins_after = kept.begins_after.max(last.position().index);
            }
            forgotten
        };
        // Megabytes are given back outside the lock.
        drop(forgotten);
    }

    /// Ends all subscriptions.
    pub fn end(&self, why: &str) {
        self.ended.send_replace(Some(why.to_owned()));
    }

    /// The entries of a shard after a position.
    pub fn subscribe(self: &Arc<Self>, shard: ShardId, from: Position) -> Result<Subscription, StreamError> {
        let kept = self.lock();
        if from.index < kept.begins_after {
            return Err(StreamError::Forgotten { shard, from: from.index, oldest: kept.begins_after });
        }
        Ok(Subscription {
            streams: self.clone(),
            shard,
            after: from.index,
            published: self.published.subscribe(),
            ended: self.ended.subscribe(),
        })
    }

    fn after(&self, shard: ShardId, after: LogIndex) -> Result<Vec<Arc<StreamEntry>>, StreamError> {
        let kept = self.lock();
        if after < kept.begins_after {
            return Err(StreamError::Forgotten { shard, from: after, oldest: kept.begins_after });
        }
        let first = kept.entries.partition_point(|entry| entry.position().index <= after);
        let mut bytes = 0;
        let fits = |entry: &&Streamed| {
            let fits = bytes <= BYTES_MAX;
            bytes += entry.bytes();
            fits
        };
        let of_shard = kept.entries.range(first..).filter(|entry| entry.concerns(shard));
        let entries: Vec<Streamed> = of_shard.take(ENTRIES_MAX).take_while(fits).cloned().collect();
        drop(kept);
        Ok(entries.iter().filter_map(|entry| entry.entry(shard).map(Arc::new)).collect())
    }
}

/// One subscriber's place in a stream.
pub struct Subscription {
    streams: Arc<Streams>,
    shard: ShardId,
    after: LogIndex,
    published: watch::Receiver<LogIndex>,
    ended: watch::Receiver<Option<String>>,
}

impl Subscription {
    async fn entries(&mut self) -> Result<Vec<Arc<StreamEntry>>, StreamError> {
        loop {
            if let Some(why) = self.ended.borrow().clone() {
                return Err(StreamError::Ended(why));
            }
            // Marked as seen before looking, so that what is published meanwhile wakes us.
            self.published.borrow_and_update();
            let entries = self.streams.after(self.shard, self.after)?;
            if let Some(last) = entries.last() {
                self.after = last.position.index;
                return Ok(entries);
            }
            let ended = StreamError::Ended("the adjudicator is gone".into());
            tokio::select! {
                changed = self.published.changed() => changed.map_err(|_| ended)?,
                changed = self.ended.changed() => changed.map_err(|_| ended)?,
            }
        }
    }
}

impl DecisionStream for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Arc<StreamEntry>>, StreamError>> {
        Box::pin(self.entries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::Timestamp;

    fn entry(after: u64, index: u64) -> Streamed {
        let position = Position { index: LogIndex(index), closed_ts: Timestamp(index * 10) };
        Streamed::quiet(LogIndex(after), position, [ShardId(1), ShardId(2)])
    }

    async fn indexes(subscription: &mut Subscription) -> Vec<u64> {
        subscription.entries().await.unwrap().iter().map(|entry| entry.position.index.0).collect()
    }

    #[tokio::test]
    async fn a_subscription_resumes_anywhere_that_the_log_still_reaches() {
        let streams = Streams::new();
        for (after, index) in [(0, 2), (2, 5), (5, 6)] {
            streams.publish(entry(after, index));
        }
        let mut all = streams.subscribe(ShardId(1), Position::default()).unwrap();
        assert_eq!(indexes(&mut all).await, [2, 5, 6]);
        let at_five = Position { index: LogIndex(5), closed_ts: Timestamp(50) };
        let mut some = streams.subscribe(ShardId(2), at_five).unwrap();
        assert_eq!(indexes(&mut some).await, [6]);

        streams.forget(LogIndex(5));
        let gone = streams.subscribe(ShardId(1), Position::default()).err().unwrap();
        assert_eq!(
            gone,
            StreamError::Forgotten { shard: ShardId(1), from: LogIndex(0), oldest: LogIndex(5) }
        );
        let mut rest = streams.subscribe(ShardId(1), at_five).unwrap();
        assert_eq!(indexes(&mut rest).await, [6]);
    }

    #[tokio::test]
    async fn a_waiting_subscriber_is_woken_by_an_entry_and_by_the_end() {
        let streams = Streams::new();
        let mut waiting = streams.subscribe(ShardId(1), Position::default()).unwrap();
        let publisher = streams.clone();
        let (woken, ()) = tokio::join!(indexes(&mut waiting), async {
            tokio::task::yield_now().await;
            publisher.publish(entry(0, 1));
        });
        assert_eq!(woken, [1]);
        let (ended, ()) = tokio::join!(waiting.entries(), async {
            tokio::task::yield_now().await;
            publisher.end("shutdown");
        });
        assert_eq!(ended.unwrap_err(), StreamError::Ended("shutdown".into()));
    }
}
