//! What a store is told when it is opened.

use crate::Slots;
use assize_model::Epoch;
use std::collections::BTreeSet;

/// What a store is told when it is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The shard's placement epoch, should the engine be empty.
    pub epoch: Epoch,
    /// The shard's slots, should the engine be empty.
    pub slots: Slots,
    /// Rules that this store ignores. Only negative controls name any: they show that a checker notices what a rule
    /// prevents.
    pub disabled_rules: BTreeSet<Rule>,
}

impl Default for Options {
    fn default() -> Self {
        Options { epoch: Epoch(1), slots: Slots::all(), disabled_rules: BTreeSet::new() }
    }
}

impl Options {
    /// Whether a rule holds.
    #[inline]
    pub fn keeps(&self, rule: Rule) -> bool {
        self.disabled_rules.is_empty() || !self.disabled_rules.contains(&rule)
    }
}

/// A rule whose absence a negative control can show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Prepares past their deadline are refused, and undecided intents past theirs are dropped.
    R2,
    /// A prepare routed by another epoch is refused.
    EpochCheck,
    /// A decided intent stays until its version is durable on every replica that counts.
    LazyIntentDeletion,
    /// A snapshot above the closed timestamp is not served.
    ClosedTimestamp,
    /// A snapshot below the low-water mark is not served.
    LowWater,
    /// What is left of an earlier ownership of slots goes before they are gained again.
    LeftoversBeforeGain,
    /// Staged slots are gained only if the giver's stream has been applied up to the entry that gives them.
    StagedUpToTheEntry,
    /// Nothing in staged slots is collected before the bulk of them is here.
    StagedIsKept,
    /// The bulk of staged slots comes from a checkpoint at or after the position from which the giver is followed.
    StagingFollowsFirst,
}
