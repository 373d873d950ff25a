//! DATE, TIME and DATETIME, zero dates included.

/// A date of the proleptic Gregorian calendar; zero parts are allowed (`0000-00-00`, `2026-00-00`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A signed duration up to ±838:59:59.999999, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Time {
    /// Microseconds.
    pub micros: i64,
}

/// A date and a time of day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct DateTime {
    /// The date.
    pub date: Date,
    /// Microseconds since midnight.
    pub micros: i64,
}
