//! The leader's own part: with what its term begins, where a batch's timestamps begin, and when idle time passes in the log.
//!
//! ```text
//!   the term begins ──▶ RaiseCeiling { now, nothing } ──▶ applied: took over ──▶ batches, each above all before
//!                                                                          └──▶ nobody commits ──▶ RaiseCeiling { now, now }
//! ```
//!
//! Nothing is closed without the log: what a leader hands out is what its state has applied. Nothing here is replicated. A
//! sequencer lives for one term of leadership and starts empty in the next; time comes in as data.

use crate::command::Command;
use crate::options::{Options, Rule};
use crate::state::Adjudicator;
use assize_model::Timestamp;
use std::time::Duration;

/// At most so many footprints go into one entry; more gains nothing and delays the first of them.
pub const BATCH_MAX: usize = 16_384;
/// While transactions may wait for their deadlines, or a shard for the end of reads of slots that have just left it, idle time
/// is closed by an entry for each step of this size…
const CLOSE_STEP_BUSY: Duration = Duration::from_secs(1);
/// … and in steps of this size otherwise.
const CLOSE_STEP_IDLE: Duration = Duration::from_secs(30);
/// For this long after the last batch time counts as waited for: outcomes are held and intents may lie about until
/// their deadlines have passed.
const BUSY_FOR: Duration = Duration::from_secs(30);

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Sequencer {
    options: Options,
    /// Whether an entry of this term has been applied.
    is_ready: bool,
    /// The highest timestamp handed out in any way.
    last: Timestamp,
    /// Batches that were proposed and have not come back.
    batches_in_flight: usize,
}

impl Sequencer {
    /// A sequencer for a term that has just begun. Propose [`Sequencer::first_entry`] and call
    /// [`Sequencer::took_over`] once that is applied; until then nothing is handed out.
    pub fn new(options: Options) -> Self {
        Sequencer { options, is_ready: false, last: Timestamp::ZERO, batches_in_flight: 0 }
    }

    /// The entry with which a term begins. A leader closes nothing without the log, so the ceiling is not ahead of its time:
    /// otherwise each change of the lead would take time forward.
    pub fn first_entry(now_millis: u64) -> Command {
        Command::RaiseCeiling { ceiling: Timestamp::from_millis(now_millis), close: Timestamp::ZERO }
    }

    /// An entry of this term has been applied: everything that earlier leaders may have handed out is known.
    pub fn took_over(&mut self, state: &Adjudicator) {
        self.is_ready = true;
        if !self.options.disabled_rules.contains(Rule::ClosedBound) {
            // The ceiling bounds what leaders closed that did so without the log.
            self.last = self.last.max(state.begin().snapshot_ts).max(state.ceiling());
        }
    }

    /// Whether an entry of this term has been applied.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// How many batches were proposed and have not come back.
    pub fn batches_in_flight(&self) -> usize {
        self.batches_in_flight
    }

    /// The base timestamp of the next batch, of `count` footprints; `None` until the term's first entry is
    /// applied. The batch must be proposed, in this order.
    pub fn next_base(&mut self, now_millis: u64, count: usize) -> Option<Timestamp> {
        if !self.is_ready {
            return None;
        }
        let base = Timestamp::from_millis(now_millis).max(self.last.next());
        self.last = base.plus(count as u64);
        self.batches_in_flight += 1;
        Some(base)
    }

    /// The oldest batch on its way has come back; with what the state had closed when it was applied, or later.
    pub fn batch_closed(&mut self, closed: Timestamp) {
        self.batches_in_flight -= 1;
        self.last = self.last.max(closed);
    }

    /// The entry that lets idle time pass in the log, if it is time for it: deadlines pass by it while nobody commits.
    pub fn close(&self, now_millis: u64, state: &Adjudicator, since_last_batch: Duration) -> Option<Command> {
        let is_waited_for = since_last_batch < BUSY_FOR || state.has_just_moved_slots();
        let step = if is_waited_for { CLOSE_STEP_BUSY } else { CLOSE_STEP_IDLE };
        let now = Timestamp::from_millis(now_millis);
        // A batch on its way lets time pass itself.
        let is_due =
            self.is_ready && self.batches_in_flight == 0 && now > state.begin().snapshot_ts.later(step);
        is_due.then_some(Command::RaiseCeiling { ceiling: now, close: now })
    }
}
