//! Slots that come from another shard, or go to one.

use super::{End, MindEvent, Replica, in_place};
use crate::embedded::copy;
use crate::embedded::engine::{Generation, RocksEngine};
use crate::embedded::giver::{self, Arrival};
use assize_model::ShardId;
use assize_mvcc::{Engine, Gain, Slots};
use assize_ports::StreamError;
use assize_replica::Staging;
use assize_rocks::Image;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often it is looked at whether compaction is behind, while there is work that nobody waits for.
const LOOK_AT_COMPACTION: Duration = Duration::from_millis(100);

impl Replica {
    /// Whether staging, for which nobody waits, had better wait for compaction.
    pub(super) fn gives_way(&mut self) -> bool {
        self.mind.staging().is_some() && self.is_compaction_behind()
    }

    /// Whether compaction has so much to do that whatever nobody waits for should wait.
    pub(super) fn is_compaction_behind(&mut self) -> bool {
        let (looked_at, is_behind) = self.compaction;
        if looked_at.elapsed() < LOOK_AT_COMPACTION {
            return is_behind;
        }
        let is_behind = copy::is_behind(self.around.registry.store());
        self.compaction = (Instant::now(), is_behind);
        is_behind
    }

    /// Gives a checkpoint to a shard that gains slots, if they are here.
    pub(super) fn give_slots(&self, gain: &Gain, reply: oneshot::Sender<Image>) {
        let Some(store) = self.mind.store().filter(|store| !store.can_give(gain).is_empty()) else { return };
        match in_place(|| store.engine().checkpoint()) {
            // Whoever asked may have found them elsewhere.
            Ok(image) => drop(reply.send(image)),
            Err(error) => tracing::warn!(shard = %self.shard, %error, "no checkpoint can be taken"),
        }
    }

    /// Copies whoever holds the slots that this shard gains, as long as it takes: the stream waits for them.
    pub(super) fn ask_slots(&mut self, gain: Gain) {
        self.borrowed_until = gain.at;
        let (around, copied) = (self.around.clone(), self.gauges.copied.clone());
        self.gaining = Some(Box::pin(giver::copy_slots(around, self.shard, gain, None, copied)));
    }

    /// Begins to stage slots, or goes on, and says how far that is. Whoever asks hears nothing if they cannot be staged now.
    pub(super) fn stage(&mut self, giver: ShardId, slots: Slots, reply: oneshot::Sender<Staging>) {
        if self.record.parent.is_none() {
            self.step(MindEvent::StageAsked { giver, slots });
        }
        if let Some(staging) = self.mind.staging() {
            let progress = staging.progress.wrapping_add(self.giver.copied());
            // Whoever has gone asks again.
            let _ = reply.send(Staging { progress, ..staging });
        }
    }

    pub(super) fn take_from_giver(&mut self, arrival: Arrival) -> Result<(), End> {
        match arrival {
            Arrival::Entries(Ok(entries)) => {
                self.has_lost_giver = false;
                for entry in entries {
                    in_place(|| self.step(MindEvent::GiverStreamed(entry)));
                }
            }
            Arrival::Entries(Err(StreamError::Forgotten { .. })) => {
                self.step(MindEvent::GiverStreamForgotten);
            }
            // The adjudicator of this process stops, and says so over the other stream.
            Arrival::Entries(Err(StreamError::Ended(_))) => {}
            Arrival::Entries(Err(_)) => {
                self.has_lost_giver = true;
                self.step(MindEvent::GiverStreamLost);
            }
            Arrival::Copy(engine) => in_place(|| self.step(MindEvent::GiverArrived(engine))),
        }
        Ok(())
    }

    pub(super) fn borrow_slots(&mut self, generation: Generation, engine: RocksEngine) -> Result<(), End> {
        self.borrowed.push((generation, self.borrowed_until));
        in_place(|| self.step(MindEvent::SlotsArrived(engine)));
        Ok(())
    }

    /// Drops copies of other shards once the entry that needed them has been applied.
    pub(super) fn give_back(&mut self) -> Result<(), End> {
        self.give_back_to_giver()?;
        let Some(position) = self.mind.position() else { return Ok(()) };
        let done = self.borrowed.extract_if(.., |(_, until)| *until <= position.index);
        for (generation, _) in done.collect::<Vec<_>>() {
            let store = self.around.registry.store();
            in_place(|| RocksEngine::drop_pair(store, self.shard, generation))
                .map_err(|error| End::Failed(error.to_string()))?;
        }
        Ok(())
    }

    /// Drops copies of the giver once all of what is staged is here, or nobody wants it any more, and the disk is quiet.
    fn give_back_to_giver(&mut self) -> Result<(), End> {
        let is_of_use = self.mind.staging().is_some_and(|staging| staging.position.is_none());
        if is_of_use || !self.giver.has_copies() {
            self.useless_since = None;
            return Ok(());
        }
        let registry = &self.around.registry;
        let since = *self.useless_since.get_or_insert_with(Instant::now);
        if since.elapsed() < copy::QUIET_MAX && !copy::is_quiet(registry.store()) {
            return Ok(());
        }
        in_place(|| self.giver.give_back(registry, self.shard))
            .map_err(|error| End::Failed(error.to_string()))
    }
}
