//! Time zones: fixed offsets and the named zones of the tz database, compiled in; the machine is never asked.

use assize_model::{ErrorCode, SqlError};
use chrono::{DateTime, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::Tz;
use std::fmt;

/// A value of `@@time_zone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum TimeZone {
    /// `SYSTEM`, which is UTC on every node.
    #[default]
    System,
    /// `+05:30`: seconds east of UTC.
    Fixed(i32),
    /// A zone of the tz database.
    Named(Tz),
}

const SECOND: i64 = 1_000_000;

impl TimeZone {
    /// Reads `SYSTEM`, an offset from `-13:59` to `+14:00`, or a zone's name in any case; error 1298 otherwise.
    pub fn parse(text: &str) -> Result<TimeZone, SqlError> {
        Self::find(text).ok_or_else(|| {
            SqlError::new(ErrorCode::UnknownTimeZone, format!("Unknown or incorrect time zone: '{text}'"))
        })
    }

    /// As [`TimeZone::parse`], without the error.
    pub fn find(text: &str) -> Option<TimeZone> {
        if text.eq_ignore_ascii_case("SYSTEM") {
            return Some(TimeZone::System);
        }
        if text.starts_with(['+', '-']) {
            return offset(text).map(TimeZone::Fixed);
        }
        Tz::from_str_insensitive(text).ok().map(TimeZone::Named)
    }

    /// Seconds east of UTC at a moment (microseconds since the epoch).
    pub fn offset_at(&self, utc_micros: i64) -> i32 {
        match self {
            TimeZone::System => 0,
            TimeZone::Fixed(seconds) => *seconds,
            TimeZone::Named(zone) => match naive(utc_micros) {
                Some(utc) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
                None => 0,
            },
        }
    }

    /// The local time of a moment; both as microseconds since 1970-01-01 00:00 of their own clock.
    pub fn to_local(&self, utc_micros: i64) -> i64 {
        utc_micros.saturating_add(i64::from(self.offset_at(utc_micros)) * SECOND)
    }

    /// The moment of a local time, and whether that local time exists. A time that happens twice is its first
    /// occurrence; a time that a jump forward leaves out is the moment of the jump.
    pub fn to_utc(&self, local_micros: i64) -> (i64, bool) {
        let TimeZone::Named(zone) = self else {
            return (local_micros.saturating_sub(i64::from(self.offset_at(0)) * SECOND), true);
        };
        let Some(local) = naive(local_micros) else { return (local_micros, false) };
        if let Some(offset) = zone.offset_from_local_datetime(&local).earliest() {
            return (local_micros - i64::from(offset.fix().local_minus_utc()) * SECOND, true);
        }
        // In the gap: the two candidates differ by the jump's size, and the jump lies between them.
        let day = 86_400 * SECOND;
        let before = local_micros - i64::from(self.offset_at(local_micros - day)) * SECOND;
        let after = local_micros - i64::from(self.offset_at(local_micros + day)) * SECOND;
        let (mut low, mut high) = (before.min(after), before.max(after));
        let early = self.offset_at(low);
        while high - low > SECOND {
            let middle = low + (high - low) / 2;
            if self.offset_at(middle) == early { low = middle } else { high = middle }
        }
        (high.div_euclid(SECOND) * SECOND, false)
    }
}

fn naive(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc())
}

fn offset(text: &str) -> Option<i32> {
    let negative = text.starts_with('-');
    let (hours, minutes) = text[1..].split_once(':')?;
    let number = |digits: &str| -> Option<i32> {
        let sound = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if sound { digits.parse().ok() } else { None }
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    let limit = if negative { 13 * 3600 + 59 * 60 } else { 14 * 3600 };
    (seconds <= limit).then_some(if negative { -seconds } else { seconds })
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeZone::System => f.write_str("SYSTEM"),
            TimeZone::Fixed(seconds) => {
                let minutes = seconds.abs() / 60;
                let sign = if *seconds < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            TimeZone::Named(zone) => f.write_str(zone.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap().and_utc().timestamp_micros()
    }

    #[test]
    fn offsets_and_names_read_and_print() {
        for text in ["SYSTEM", "+00:00", "-13:59", "+14:00", "+05:30", "Europe/Berlin", "UTC"] {
            assert_eq!(TimeZone::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(TimeZone::parse("europe/berlin").unwrap().to_string(), "Europe/Berlin");
        for text in ["", "+14:01", "-14:00", "+1", "+123:00", "+01:60", "Nowhere/City", "+é:00"] {
            assert_eq!(TimeZone::parse(text).unwrap_err().code.errno(), 1298, "{text}");
        }
    }

    #[test]
    fn summer_time_begins_with_a_gap_and_ends_with_an_hour_twice() {
        let berlin = TimeZone::parse("Europe/Berlin").unwrap();
        assert_eq!(berlin.to_utc(micros("2026-07-01 12:00:00")), (micros("2026-07-01 10:00:00"), true));
        assert_eq!(berlin.to_utc(micros("2026-03-29 02:30:00")), (micros("2026-03-29 01:00:00"), false));
        assert_eq!(berlin.to_utc(micros("2026-10-25 02:30:00")), (micros("2026-10-25 00:30:00"), true));
        assert_eq!(berlin.to_local(micros("2026-01-01 00:00:00")), micros("2026-01-01 01:00:00"));
    }
}
