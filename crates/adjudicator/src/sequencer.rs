//! The leader's own part: where a batch's timestamps begin, and what may be closed without the log.
//!
//! Nothing here is replicated. A sequencer lives for one term of leadership and starts empty in the next; time
//! comes in as data.

use crate::command::Command;
use crate::options::{Options, Rule};
use crate::state::Adjudicator;
use assize_model::{StreamEntry, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// How far ahead of the clock the ceiling is raised. A new leader begins above it, so timestamps may run ahead
/// of the clock by this much after a change of leader.
const CEILING_AHEAD: Duration = Duration::from_secs(3);

/// At most so many footprints go into one entry; more gains nothing and delays the first of them.
pub const BATCH_MAX: usize = 16_384;

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Sequencer {
    options: Options,
    /// The state when the first entry of this term was applied; `None` until then.
    is_ready: bool,
    /// The highest timestamp handed out in any way.
    last: Timestamp,
    /// The highest timestamp closed without the log.
    closed: Timestamp,
    /// Bases of proposed batches that are not applied yet.
    unapplied: VecDeque<Timestamp>,
}

impl Sequencer {
    /// A sequencer for a term that has just begun. Propose [`Sequencer::first_entry`] and call
    /// [`Sequencer::took_over`] once that is applied; until then nothing is handed out.
    pub fn new(options: Options) -> Self {
        Sequencer {
            options,
            is_ready: false,
            last: Timestamp::ZERO,
            closed: Timestamp::ZERO,
            unapplied: VecDeque::new(),
        }
    }

    /// The entry with which a term begins.
    pub fn first_entry(wall_millis: u64) -> Command {
        let ceiling = Timestamp::from_millis(wall_millis).later(CEILING_AHEAD);
        Command::RaiseCeiling { ceiling, close: Timestamp::ZERO }
    }

    /// An entry of this term has been applied: everything that earlier leaders may have handed out is known.
    pub fn took_over(&mut self, state: &Adjudicator) {
        self.is_ready = true;
        // The ceiling in force includes the one that our own first entry raised; nothing above it was closed.
        self.last = self.last.max(state.begin().snapshot_ts).max(state.ceiling());
        self.closed = self.closed.max(state.begin().snapshot_ts);
    }

    /// Whether an entry of this term has been applied.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The base timestamp of the next batch, of `count` footprints; `None` until the term's first entry is
    /// applied. The batch must be proposed, in this order.
    pub fn next_base(&mut self, wall_millis: u64, count: usize) -> Option<Timestamp> {
        if !self.is_ready {
            return None;
        }
        let base = Timestamp::from_millis(wall_millis).max(self.last.next());
        self.last = base.plus(count as u64);
        self.unapplied.push_back(base);
        Some(base)
    }

    /// The oldest batch that was proposed has been applied.
    pub fn batch_applied(&mut self, state: &Adjudicator) {
        self.batch_closed(state.begin().snapshot_ts);
    }

    /// As [`Sequencer::batch_applied`], with what the state had closed when the oldest batch on its way was applied, or later.
    pub fn batch_closed(&mut self, closed: Timestamp) {
        self.unapplied.pop_front();
        self.last = self.last.max(closed);
    }

    /// Closes timestamps without the log, if that can be done now: returns the entry that follows on every
    /// shard's stream when all entries up to the state's have been sent.
    pub fn close(&mut self, wall_millis: u64, state: &Adjudicator) -> Option<StreamEntry> {
        if !self.is_ready {
            return None;
        }
        let mut close = Timestamp::from_millis(wall_millis);
        if !self.options.disabled_rules.contains(Rule::ClosedBound) {
            // A decision of an entry on its way may bear any timestamp from its base on, and a new leader any
            // above the ceiling.
            let unapplied = self.unapplied.front().map_or(Timestamp::MAX, |base| Timestamp(base.0 - 1));
            close = close.min(state.ceiling()).min(unapplied);
        }
        if close <= self.closed || close <= state.begin().snapshot_ts {
            return None;
        }
        self.closed = close;
        self.last = self.last.max(close);
        let mut position = state.position();
        let after = position.index;
        position.closed_ts = close;
        Some(StreamEntry { after, position, commits: Vec::new(), epoch: None, slots: None, low_water: None })
    }

    /// The entry that raises the ceiling, if it is time for it.
    pub fn raise_ceiling(&self, wall_millis: u64, state: &Adjudicator) -> Option<Command> {
        let now = Timestamp::from_millis(wall_millis);
        let is_due = state.ceiling() < now.later(CEILING_AHEAD / 2);
        // It closes the present as well: followers' subscribers hear of time through the log alone.
        is_due.then(|| Command::RaiseCeiling { ceiling: now.later(CEILING_AHEAD), close: now })
    }
}
