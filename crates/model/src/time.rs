//! Timestamps and deadlines.

use std::fmt;
use std::time::Duration;

/// A point in the history of the cluster: milliseconds since the Unix epoch in the upper 46 bits, a counter
/// in the lower 18. Timestamps rise strictly in log order; clocks only keep them near wall time and no
/// safety argument uses their distance from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Bits of the counter below the milliseconds.
    pub const COUNTER_BITS: u32 = 18;
    /// Before everything.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After everything.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a millisecond.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Timestamp(millis << Self::COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    pub const fn millis(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }

    /// The timestamp right after this one.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        Timestamp(self.0 + 1)
    }

    /// The timestamp `n` places after this one.
    #[must_use]
    #[inline]
    pub const fn plus(self, n: u64) -> Self {
        Timestamp(self.0 + n)
    }

    /// The timestamp that lies `by` later, to the millisecond; saturates.
    #[must_use]
    #[inline]
    pub fn later(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX >> Self::COUNTER_BITS);
        Timestamp(self.0.saturating_add(millis.saturating_mul(1 << Self::COUNTER_BITS)))
    }

    /// How long after `earlier` this lies, to the millisecond; zero if it does not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(earlier.millis()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & ((1 << Self::COUNTER_BITS) - 1))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How long a transaction may take from the start of its commit until it is decided (rules R1 and R2).
/// The class is part of the [`crate::TxnId`], so adjudicator and shard cannot disagree about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadlineClass {
    /// 10 s: everything ordinary.
    Normal,
    /// 10 min: large write sets.
    Bulk,
    /// 3 s: transactions with XA branches, which hold locks on foreign servers.
    Xa,
}

impl DeadlineClass {
    /// The time between the beginning of a commit and its deadline.
    pub const fn limit(self) -> Duration {
        Duration::from_millis(self.limit_millis())
    }

    /// As [`DeadlineClass::limit`], in milliseconds.
    #[inline]
    pub const fn limit_millis(self) -> u64 {
        match self {
            DeadlineClass::Normal => 10_000,
            DeadlineClass::Bulk => 600_000,
            DeadlineClass::Xa => 3_000,
        }
    }
}
