//! Taking in slots that another shard held, while the stream waits.
//!
//! See `assize_mvcc`'s `gain.rs` for why the order is what it is. Here it is cut into steps of bounded size, one a tick, and
//! what does not come is asked for again.

use crate::following::Effects;
use crate::{Effect, Options};
use assize_model::{Key, Timestamp};
use assize_mvcc::{Engine, Gain, MvccStore, Slots, StoreError};

/// Where a gain stands.
pub(crate) struct Gaining<E> {
    gain: Gain,
    /// Slots that have not come yet.
    missing: Slots,
    /// The highest low-water mark of a source.
    low_water: Timestamp,
    stage: Stage<E>,
}

enum Stage<E> {
    /// What is left of an earlier ownership goes.
    Dropping { from: Option<Key> },
    /// A checkpoint of a former owner was asked for.
    Asking { since: Timestamp },
    /// A checkpoint is here and is being copied from.
    Copying { source: Box<MvccStore<E>>, slots: Slots, from: Option<Key> },
    /// Everything is here.
    Complete,
}

impl<E: Engine> Gaining<E> {
    pub fn new(gain: Gain) -> Self {
        let missing = gain.slots.clone();
        let stage = Stage::Dropping { from: None };
        Gaining { gain, missing, low_water: Timestamp::ZERO, stage }
    }

    /// Whether it is quicker the oftener it is ticked.
    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Dropping { .. } | Stage::Copying { .. })
    }

    /// One step. True when everything is here and the stream can go on.
    pub fn tick(
        &mut self,
        now: Timestamp,
        store: &mut MvccStore<E>,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<bool, StoreError> {
        let step = options.gain_step;
        match &mut self.stage {
            Stage::Dropping { from } => {
                let rest = store.drop_leftovers(&self.gain, from.as_ref(), step)?;
                match rest {
                    Some(rest) => *from = Some(rest),
                    None => self.ask(now, effects),
                }
            }
            Stage::Asking { since } => {
                if now >= since.later(options.copy_retry_after) {
                    self.ask(now, effects);
                }
            }
            Stage::Copying { source, slots, from } => {
                let rest = store.take_in(source, slots, from.as_ref(), step)?;
                if let Some(rest) = rest {
                    *from = Some(rest);
                    return Ok(false);
                }
                self.low_water = self.low_water.max(source.low_water());
                self.missing = self.missing.minus(slots);
                if self.missing.is_empty() {
                    store.complete_gain(&self.gain, self.low_water)?;
                    self.stage = Stage::Complete;
                } else {
                    self.ask(now, effects);
                }
            }
            Stage::Complete => {}
        }
        Ok(matches!(self.stage, Stage::Complete))
    }

    fn ask(&mut self, now: Timestamp, effects: &mut Effects<E>) {
        self.stage = Stage::Asking { since: now };
        let gain = Gain { slots: self.missing.clone(), ..self.gain.clone() };
        effects.push(Effect::AskSlots { gain });
    }

    /// A checkpoint of a shard that held some of the slots is here.
    pub fn arrived(
        &mut self,
        now: Timestamp,
        engine: E,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if !matches!(self.stage, Stage::Asking { .. }) {
            // One that was asked for again came twice.
            return Ok(());
        }
        let source = Box::new(MvccStore::open(engine, options.store.clone())?);
        let slots = source.can_give(&Gain { slots: self.missing.clone(), ..self.gain.clone() });
        if slots.is_empty() {
            // Too old, or it has forgotten them: somebody else must have them.
            self.ask(now, effects);
        } else {
            self.stage = Stage::Copying { source, slots, from: None };
        }
        Ok(())
    }
}
