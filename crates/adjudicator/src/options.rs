//! What may differ between two runs of the same log: nothing, outside tests.

/// A rule of the protocol that a test can switch off, to see that something then goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Rule {
    /// R1: a batch whose base timestamp is past a transaction's deadline refuses it.
    R1,
    /// Ids from the future are refused.
    Future,
    /// A fenced life of a frontend commits nothing.
    FrontendEpoch,
    /// A receipt from an older placement epoch is refused.
    PlacementEpoch,
    /// A resent commit is answered from the outcome table.
    Deduplication,
    /// Every checked key was last committed at or below the snapshot.
    FirstCommitterWins,
    /// Every checked range was last committed at or below the snapshot.
    Ranges,
    /// A bucket's mark answers for what it has forgotten.
    WindowMarks,
    /// A snapshot below the low-water mark commits nothing.
    LowWater,
    /// A transaction that planned with a fenced schema version is refused.
    SchemaFence,
    /// Inline writes go to the shard that holds their slot at this entry.
    RouteAtEntry,
    /// A batch takes its timestamps above everything closed.
    ClosedBound,
    /// The low-water mark passes a move of slots only once their new owner has them.
    SlotsArriveFirst,
    /// What may have been decided is not refused without the log.
    EarlyOnlyUndecided,
}

/// A set of rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules(u32);

impl Rules {
    /// None of them.
    pub const NONE: Rules = Rules(0);

    /// Just this one.
    pub const fn only(rule: Rule) -> Rules {
        Rules(1 << rule as u32)
    }

    /// Also this one.
    #[must_use]
    pub const fn and(self, rule: Rule) -> Rules {
        Rules(self.0 | 1 << rule as u32)
    }

    /// Whether this one is among them.
    pub const fn contains(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u32 != 0
    }
}

/// What an adjudicator is started with that is not part of its replicated state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Negative controls: rules that tests switch off. Empty everywhere else.
    pub disabled_rules: Rules,
}
