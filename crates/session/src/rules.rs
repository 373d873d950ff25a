//! Rules of a transaction that a negative control can switch off.

/// A rule whose absence a negative control can show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Keys whose values must not have changed are recorded.
    RecordKeys,
    /// So are ranges.
    RecordRanges,
    /// A written key is checked from the snapshot of the statement that first wrote it. Without the rule, from that of the
    /// last statement.
    FirstWriteCounts,
    /// A key that was read under a reservation keeps the value it had then. Without the rule it is read again at the
    /// snapshot of the statement.
    LockedValueStays,
    /// A snapshot that a transaction reads at, or checks from, is reported as in use.
    HoldSnapshots,
    /// So is one that is being asked for.
    HoldPendingBegins,
    /// When shards are asked for newest commits, the placement must be the same before and after.
    PlacementBeforeAndAfter,
    /// A read that was routed by an old placement is routed again. Without the rule the epoch of the newest placement is put
    /// on what was divided by the old one.
    DivideAgain,
}
