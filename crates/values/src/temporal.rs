//! DATE, TIME and DATETIME: the calendar, reading MySQL's many spellings, printing, and intervals. Zero dates
//! (`0000-00-00`, `2026-00-00`) are values here; which of them a statement accepts is [`DateRules`].

use crate::{EvalContext, SqlMode, TimeZone};

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

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// Days from year 0 (as TO_DAYS counts) to 1970-01-01.
const EPOCH_DAYS: i64 = 719_528;

/// Which dates are values. MySQL's functions read nearly everything, casts and columns obey the sql_mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DateRules {
    /// Zero months and days may occur at all.
    pub zero_parts: bool,
    /// The zero date may occur.
    pub zero_date: bool,
    /// Days up to 31 in every month.
    pub invalid: bool,
}

impl DateRules {
    /// Everything but impossible days.
    pub const ANY: DateRules = DateRules { zero_parts: true, zero_date: true, invalid: false };
    /// Real dates only.
    pub const REAL: DateRules = DateRules { zero_parts: false, zero_date: false, invalid: false };

    /// What the sql_mode allows.
    pub fn of_mode(mode: SqlMode) -> Self {
        DateRules {
            zero_parts: !mode.contains(SqlMode::NO_ZERO_IN_DATE),
            zero_date: !mode.contains(SqlMode::NO_ZERO_DATE),
            invalid: mode.contains(SqlMode::ALLOW_INVALID_DATES),
        }
    }

    /// Whether a date may occur.
    pub fn allow(self, date: Date) -> bool {
        if date.is_zero() {
            return self.zero_date;
        }
        if date.has_zero_parts() {
            return self.zero_parts && date.month <= 12 && date.day <= 31;
        }
        date.month <= 12
            && (date.day <= days_in_month(date.year, date.month) || self.invalid && date.day <= 31)
    }
}

/// Whether February has 29 days.
pub fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400) && year != 0)
}

/// Days of a month; 31 for month 0.
pub fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// `0000-00-00`.
    pub const ZERO: Date = Date { year: 0, month: 0, day: 0 };

    /// A date, unchecked.
    pub const fn new(year: u16, month: u8, day: u8) -> Self {
        Date { year, month, day }
    }

    /// Whether all parts are zero.
    pub fn is_zero(self) -> bool {
        self == Date::ZERO
    }

    /// Whether month or day are zero.
    pub fn has_zero_parts(self) -> bool {
        self.month == 0 || self.day == 0
    }

    /// TO_DAYS: days since the beginning of year 0.
    pub fn to_days(self) -> i64 {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        if year == 0 && month == 0 {
            return 0;
        }
        // MySQL's calc_daynr, which also gives a number to dates with zero parts.
        let mut days = 365 * year + 31 * (month - 1) + i64::from(self.day);
        let mut y = year;
        if month <= 2 {
            y -= 1;
        } else {
            days -= (month * 4 + 23) / 10;
        }
        days + y / 4 - ((y / 100 + 1) * 3) / 4
    }

    /// FROM_DAYS; `None` outside of years 0 to 9999.
    pub fn from_days(days: i64) -> Option<Self> {
        if !(0..=3_652_424).contains(&days) {
            return None;
        }
        if days <= 365 {
            return Some(Date::ZERO);
        }
        // Civil-from-days over 400-year eras counted from 0000-03-01.
        let z = days - 60;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        Some(Date::new(year as u16, month as u8, day as u8))
    }

    /// 0 for Monday to 6 for Sunday.
    pub fn weekday(self) -> u8 {
        ((self.to_days() + 5).rem_euclid(7)) as u8
    }

    /// 1 to 366.
    pub fn day_of_year(self) -> u16 {
        (self.to_days() - Date::new(self.year, 1, 1).to_days() + 1).clamp(0, 366) as u16
    }

    /// `YYYYMMDD`.
    pub fn to_number(self) -> i64 {
        i64::from(self.year) * 10_000 + i64::from(self.month) * 100 + i64::from(self.day)
    }

    /// Appends `YYYY-MM-DD`.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        put_two(out, (self.year / 100) as u8);
        put_two(out, (self.year % 100) as u8);
        out.push(b'-');
        put_two(out, self.month);
        out.push(b'-');
        put_two(out, self.day);
    }

    /// At midnight.
    pub fn at_midnight(self) -> DateTime {
        DateTime { date: self, micros: 0 }
    }

    /// WEEK and YEARWEEK under MySQL's mode bits: (year, week).
    pub fn week(self, mode: u8) -> (u16, u8) {
        let monday_first = mode & 1 != 0;
        let mut week_year = mode & 2 != 0;
        // Bit 4 means the opposite for weeks that begin on Sunday.
        let first_weekday = (mode & 4 != 0) == monday_first;
        let days = self.to_days();
        let mut first = Date::new(self.year, 1, 1).to_days();
        let weekday_of = |days: i64| -> i64 {
            if monday_first { (days + 5).rem_euclid(7) } else { (days + 6).rem_euclid(7) }
        };
        let mut weekday = weekday_of(first);
        let mut year = self.year;
        let year_days = |year: u16| if is_leap(year) { 366 } else { 365 };
        if self.month == 1 && i64::from(self.day) <= 7 - weekday {
            if !week_year && (first_weekday && weekday != 0 || !first_weekday && weekday >= 4) {
                return (year, 0);
            }
            week_year = true;
            year = year.saturating_sub(1);
            let length = year_days(year);
            first -= length;
            weekday = (weekday + 53 * 7 - length).rem_euclid(7);
        }
        let offset = if first_weekday && weekday != 0 || !first_weekday && weekday >= 4 {
            days - (first + (7 - weekday))
        } else {
            days - (first - weekday)
        };
        if week_year && offset >= 52 * 7 {
            weekday = (weekday + year_days(year)).rem_euclid(7);
            if !first_weekday && weekday < 4 || first_weekday && weekday == 0 {
                return (year + 1, 1);
            }
        }
        (year, (offset / 7 + 1) as u8)
    }
}

impl Time {
    /// ±838:59:59 is the limit of TIME values (of whole seconds when they are made from others).
    pub const MAX: Time = Time { micros: 838 * HOUR + 59 * MINUTE + 59 * SECOND };

    /// Clipped to the limits, and whether that changed it.
    pub fn clipped(self) -> (Time, bool) {
        let max = Time::MAX.micros;
        if self.micros > max {
            (Time::MAX, true)
        } else if self.micros < -max {
            (Time { micros: -max }, true)
        } else {
            (self, false)
        }
    }

    /// Sign, hours, minutes, seconds, microseconds.
    pub fn parts(self) -> (bool, u32, u8, u8, u32) {
        let micros = self.micros.unsigned_abs() as i64;
        (
            self.micros < 0,
            (micros / HOUR) as u32,
            (micros / MINUTE % 60) as u8,
            (micros / SECOND % 60) as u8,
            (micros % SECOND) as u32,
        )
    }

    /// `HHMMSS`, with sign, without the fraction.
    pub fn to_number(self) -> i64 {
        let (negative, hours, minutes, seconds, _) = self.parts();
        let number = i64::from(hours) * 10_000 + i64::from(minutes) * 100 + i64::from(seconds);
        if negative { -number } else { number }
    }

    /// Appends `[-]HH:MM:SS[.ffffff]`; surplus places are cut.
    pub fn write(self, fsp: u8, out: &mut Vec<u8>) {
        let (negative, hours, minutes, seconds, micros) = self.parts();
        if negative {
            out.push(b'-');
        }
        if hours > 99 {
            out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
        } else {
            put_two(out, hours as u8);
        }
        out.push(b':');
        put_two(out, minutes);
        out.push(b':');
        put_two(out, seconds);
        put_fraction(out, micros, fsp);
    }

    /// Rounded, or cut, to so many places.
    pub fn round(self, fsp: u8, cut: bool) -> Time {
        Time { micros: round_micros(self.micros, fsp, cut) }
    }
}

impl DateTime {
    /// `0000-00-00 00:00:00`.
    pub const ZERO: DateTime = DateTime { date: Date::ZERO, micros: 0 };

    /// The time of day.
    pub fn time(self) -> Time {
        Time { micros: self.micros }
    }

    /// Whether all parts are zero.
    pub fn is_zero(self) -> bool {
        self == DateTime::ZERO
    }

    /// Microseconds since 1970-01-01 00:00:00 on the same clock.
    pub fn to_micros(self) -> i64 {
        (self.date.to_days() - EPOCH_DAYS) * DAY + self.micros
    }

    /// Back; `None` outside of years 0 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        let date = Date::from_days(micros.div_euclid(DAY) + EPOCH_DAYS)?;
        Some(DateTime { date, micros: micros.rem_euclid(DAY) })
    }

    /// `YYYYMMDDHHMMSS`, without the fraction.
    pub fn to_number(self) -> i64 {
        self.date.to_number() * 1_000_000 + self.time().to_number()
    }

    /// Appends `YYYY-MM-DD HH:MM:SS[.ffffff]`; surplus places are cut.
    #[inline]
    pub fn write(self, fsp: u8, out: &mut Vec<u8>) {
        self.date.write(out);
        out.push(b' ');
        self.time().write(fsp, out);
    }

    /// Rounded, or cut, to so many places; `None` if it leaves year 9999.
    pub fn round(self, fsp: u8, cut: bool) -> Option<DateTime> {
        let micros = round_micros(self.micros, fsp, cut);
        if micros < DAY {
            return Some(DateTime { date: self.date, micros });
        }
        if self.date.has_zero_parts() {
            return Some(DateTime { date: self.date, micros: micros - unit_of(fsp) });
        }
        let date = Date::from_days(self.date.to_days() + 1)?;
        Some(DateTime { date, micros: micros - DAY })
    }

    /// The moment in UTC, microseconds since the epoch, of a time in this zone; and whether the zone has it.
    pub fn to_utc(self, zone: &TimeZone) -> (i64, bool) {
        zone.to_utc(self.to_micros())
    }

    /// The time in this zone at a moment.
    pub fn from_utc(utc_micros: i64, zone: &TimeZone) -> Option<DateTime> {
        DateTime::from_micros(zone.to_local(utc_micros))
    }
}

/// The stored form of the zero TIMESTAMP.
pub const ZERO_TIMESTAMP: i64 = i64::MIN;
/// `2038-01-19 03:14:07.999999` UTC: the last TIMESTAMP.
pub const MAX_TIMESTAMP: i64 = 2_147_483_647 * SECOND + 999_999;

/// A stored TIMESTAMP in a zone.
pub fn timestamp_to_local(stored: i64, zone: &TimeZone) -> DateTime {
    if stored == ZERO_TIMESTAMP {
        return DateTime::ZERO;
    }
    DateTime::from_utc(stored, zone).unwrap_or(DateTime::ZERO)
}

fn unit_of(fsp: u8) -> i64 {
    10i64.pow(6 - u32::from(fsp.min(6)))
}

fn round_micros(micros: i64, fsp: u8, cut: bool) -> i64 {
    let unit = unit_of(fsp);
    let rest = micros % unit;
    let base = micros - rest;
    if !cut && rest.abs() * 2 >= unit { base + unit * rest.signum() } else { base }
}

#[inline]
pub(crate) fn put_two(out: &mut Vec<u8>, number: u8) {
    out.push(b'0' + number / 10 % 10);
    out.push(b'0' + number % 10);
}

fn put_fraction(out: &mut Vec<u8>, micros: u32, fsp: u8) {
    if fsp == 0 {
        return;
    }
    out.push(b'.');
    let mut unit = 100_000;
    for _ in 0..fsp.min(6) {
        out.push(b'0' + (micros / unit % 10) as u8);
        unit = (unit / 10).max(1);
    }
}

/// What a text was read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// Something followed it, or it was clipped.
    pub truncated: bool,
    /// For dates: a time of day was given.
    pub has_time: bool,
    /// For dates: the offset that followed, in seconds.
    pub offset: Option<i32>,
    /// Places of the fraction as written, at most 6.
    pub fsp: u8,
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0u32, |n, b| n.saturating_mul(10).saturating_add(u32::from(b - b'0')))
}

/// Six digits of a fraction, and whether the seventh rounds up.
fn fraction(bytes: &[u8]) -> (i64, bool) {
    let mut micros = 0i64;
    for place in 0..6 {
        micros = micros * 10 + bytes.get(place).map_or(0, |b| i64::from(b - b'0'));
    }
    (micros, bytes.get(6).is_some_and(|b| *b >= b'5'))
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

fn full_year(year: u32, digits: usize) -> u32 {
    match year {
        _ if digits > 2 => year,
        0..=69 => 2000 + year,
        _ => 1900 + year,
    }
}

/// Reads a date or datetime as MySQL does: delimiters of any punctuation, or none; two-digit years; `T`; an
/// offset. `None` if it is none, or not one that the rules allow.
pub fn parse_datetime(text: &str, rules: DateRules) -> Option<Parsed<DateTime>> {
    let bytes = trim(text.as_bytes());
    let run = digits(bytes);
    if run == 0 {
        return None;
    }
    let after = bytes.get(run);
    let mut fields = [0u32; 6];
    let mut count = 0;
    let year_digits;
    let mut at;
    let mut fsp = 0;
    let mut micros = 0;
    let mut round_up = false;
    let compact = matches!(after, None | Some(b'.')) && run >= 5
        || matches!(after, Some(b'T' | b't' | b' ')) && (run == 6 || run == 8);
    if compact {
        // YYMMDD[HHMMSS], YYYYMMDD[HHMMSS].
        year_digits = if run == 4 || run == 8 || run >= 14 { 4 } else { 2 };
        at = 0;
        for (i, field) in fields.iter_mut().enumerate() {
            let width = if i == 0 { year_digits } else { 2 };
            let have = digits(&bytes[at..]).min(width);
            if have == 0 {
                // `20261120T112554` and `20261120 11:25:54`.
                let separated = match bytes.get(at) {
                    Some(b'T' | b't' | b' ') => i == 3,
                    Some(b':') => i > 3,
                    _ => false,
                };
                if !separated || digits(&bytes[at + 1..]) == 0 {
                    break;
                }
                at += 1;
            }
            let have = digits(&bytes[at..]).min(width);
            *field = number(&bytes[at..at + have]);
            at += have;
            count = i + 1;
        }
    } else {
        at = 0;
        let mut first_width = 0;
        for (i, field) in fields.iter_mut().enumerate() {
            let width = if i == 0 { 4 } else { 2 };
            let have = digits(&bytes[at..]).min(width);
            if have == 0 {
                break;
            }
            if i == 0 {
                first_width = have;
            }
            *field = number(&bytes[at..at + have]);
            at += have;
            count = i + 1;
            if i == 5 {
                break;
            }
            // The delimiter: between date and time spaces or a T, elsewhere punctuation.
            let mut next = at;
            if i == 2 {
                match bytes.get(next) {
                    Some(b'T' | b't') => next += 1,
                    Some(b) if b.is_ascii_whitespace() => {
                        while bytes.get(next).is_some_and(|b| b.is_ascii_whitespace()) {
                            next += 1;
                        }
                    }
                    Some(b) if b.is_ascii_punctuation() => {
                        while bytes.get(next).is_some_and(|b| b.is_ascii_punctuation()) {
                            next += 1;
                        }
                    }
                    _ => break,
                }
            } else {
                while bytes.get(next).is_some_and(|b| b.is_ascii_punctuation()) {
                    next += 1;
                }
                if next == at && digits(&bytes[at..]) > 0 && i > 0 {
                    return None;
                }
            }
            if next == at || digits(&bytes[next..]) == 0 {
                break;
            }
            // What looks like an offset belongs to the end, not to the next field.
            if i >= 3 && matches!(bytes.get(at), Some(b'+' | b'-')) {
                break;
            }
            at = next;
        }
        year_digits = first_width;
    }
    if count < 3 {
        return None;
    }
    if count == 6 && bytes.get(at) == Some(&b'.') {
        let places = digits(&bytes[at + 1..]);
        (micros, round_up) = fraction(&bytes[at + 1..at + 1 + places]);
        fsp = places.min(6) as u8;
        at += 1 + places;
    }
    let mut offset = None;
    if count > 3
        && let Some(sign @ (b'+' | b'-')) = bytes.get(at)
        && bytes.len() >= at + 6
        && digits(&bytes[at + 1..]) == 2
        && bytes[at + 3] == b':'
        && digits(&bytes[at + 4..]) == 2
    {
        let seconds = (number(&bytes[at + 1..at + 3]) * 3600 + number(&bytes[at + 4..at + 6]) * 60) as i32;
        if seconds > 14 * 3600 {
            return None;
        }
        offset = Some(if *sign == b'-' { -seconds } else { seconds });
        at += 6;
    }
    let truncated = !bytes[at..].trim_ascii_end().is_empty();
    let all_zero = fields.iter().all(|field| *field == 0);
    let year = if all_zero { 0 } else { full_year(fields[0], year_digits) };
    let value = datetime(year, fields, micros)?;
    if !rules.allow(value.date) {
        return None;
    }
    let value = if round_up { value.plus_micro()? } else { value };
    Some(Parsed { value, truncated, has_time: count > 3, offset, fsp })
}

fn datetime(year: u32, fields: [u32; 6], micros: i64) -> Option<DateTime> {
    let [_, month, day, hour, minute, second] = fields;
    if year > 9999 || month > 12 || day > 31 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(DateTime {
        date: Date::new(year as u16, month as u8, day as u8),
        micros: i64::from(hour) * HOUR + i64::from(minute) * MINUTE + i64::from(second) * SECOND + micros,
    })
}

impl DateTime {
    fn plus_micro(self) -> Option<Self> {
        if self.micros + 1 < DAY || self.date.has_zero_parts() {
            return Some(DateTime { date: self.date, micros: (self.micros + 1).min(DAY - 1) });
        }
        Some(DateTime { date: Date::from_days(self.date.to_days() + 1)?, micros: 0 })
    }
}

/// Reads a number as `[YY]YYMMDD[HHMMSS]`.
pub fn datetime_of_number(number: i64, rules: DateRules) -> Option<Parsed<DateTime>> {
    let number = match number {
        0 => 0,
        ..101 => return None,
        101..=691_231 => (number + 20_000_000) * 1_000_000,
        691_232..700_101 => return None,
        700_101..=991_231 => (number + 19_000_000) * 1_000_000,
        991_232..10_000_101 => return None,
        10_000_101..=99_991_231 => number * 1_000_000,
        99_991_232..101_000_000 => return None,
        101_000_000..=691_231_235_959 => number + 20_000_000_000_000,
        691_231_235_960..700_101_000_000 => return None,
        700_101_000_000..=991_231_235_959 => number + 19_000_000_000_000,
        _ => number,
    };
    let has_time = number % 1_000_000 != 0;
    let part = |unit: i64, of: i64| (number / unit % of) as u32;
    let year = number / 10_000_000_000;
    if year > 9999 {
        return None;
    }
    let fields =
        [0, part(100_000_000, 100), part(1_000_000, 100), part(10_000, 100), part(100, 100), part(1, 100)];
    let value = datetime(year as u32, fields, 0)?;
    rules.allow(value.date).then_some(Parsed { value, truncated: false, has_time, offset: None, fsp: 0 })
}

/// Reads a time: `[-][D ]HH:MM[:SS[.f]]`, `HHMMSS`, `SS`, or the time of a datetime. Values beyond the limits
/// are clipped and marked as truncated. `None` if it is none.
pub fn parse_time(text: &str) -> Option<Parsed<Time>> {
    let bytes = trim(text.as_bytes());
    let (negative, bytes) = match bytes.first() {
        Some(b'-') => (true, &bytes[1..]),
        _ => (false, bytes),
    };
    // Twelve characters or more may be a full timestamp.
    if !negative
        && bytes.len() >= 12
        && let Some(parsed) = parse_datetime(text, DateRules::ANY)
        && parsed.has_time
    {
        let value = parsed.value.time();
        return Some(Parsed {
            value,
            truncated: parsed.truncated,
            has_time: true,
            offset: None,
            fsp: parsed.fsp,
        });
    }
    let run = digits(bytes);
    if run == 0 && bytes.first() != Some(&b'.') {
        return None;
    }
    let mut at = run;
    let mut days = 0i64;
    let mut hms = [0i64; 3];
    let read = |at: &mut usize| -> Option<i64> {
        let have = digits(&bytes[*at..]);
        if have == 0 {
            return None;
        }
        let value = i64::from(number(&bytes[*at..*at + have]));
        *at += have;
        Some(value)
    };
    if bytes.get(at) == Some(&b' ') && digits(trim(&bytes[at..])) > 0 {
        days = i64::from(number(&bytes[..run]));
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
        hms[0] = read(&mut at)?;
        for field in &mut hms[1..] {
            if bytes.get(at) == Some(&b':') && digits(&bytes[at + 1..]) > 0 {
                at += 1;
                *field = read(&mut at)?;
            } else {
                break;
            }
        }
    } else if bytes.get(at) == Some(&b':') && digits(&bytes[at + 1..]) > 0 {
        hms[0] = i64::from(number(&bytes[..run]));
        for field in &mut hms[1..] {
            if bytes.get(at) == Some(&b':') && digits(&bytes[at + 1..]) > 0 {
                at += 1;
                *field = read(&mut at)?;
            } else {
                break;
            }
        }
    } else {
        let packed =
            bytes[..run].iter().fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
        hms = [packed / 10_000, packed / 100 % 100, packed % 100];
    }
    let mut micros = 0;
    let mut round_up = false;
    let mut fsp = 0;
    if bytes.get(at) == Some(&b'.') {
        let places = digits(&bytes[at + 1..]);
        (micros, round_up) = fraction(&bytes[at + 1..at + 1 + places]);
        fsp = places.min(6) as u8;
        at += 1 + places;
    }
    if hms[1] > 59 || hms[2] > 59 {
        return None;
    }
    let truncated = !bytes[at..].trim_ascii_end().is_empty();
    let hours = days.saturating_mul(24).saturating_add(hms[0]).min(1_000_000);
    let total = hours * HOUR + hms[1] * MINUTE + hms[2] * SECOND + micros + i64::from(round_up);
    let (value, clipped) = Time { micros: if negative { -total } else { total } }.clipped();
    Some(Parsed { value, truncated: truncated || clipped, has_time: true, offset: None, fsp })
}

/// Reads a number as `HHMMSS`; `None` if minutes or seconds are above 59. Clipped values are marked.
pub fn time_of_number(number: i64) -> Option<Parsed<Time>> {
    if number > 9_999_999_999 {
        let parsed = datetime_of_number(number, DateRules::ANY)?;
        return Some(Parsed {
            value: parsed.value.time(),
            truncated: false,
            has_time: true,
            offset: None,
            fsp: 0,
        });
    }
    let magnitude = number.checked_abs()?;
    let (hours, minutes, seconds) = (magnitude / 10_000, magnitude / 100 % 100, magnitude % 100);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = hours.min(1_000_000) * HOUR + minutes * MINUTE + seconds * SECOND;
    let (value, truncated) = Time { micros: if number < 0 { -micros } else { micros } }.clipped();
    Some(Parsed { value, truncated, has_time: true, offset: None, fsp: 0 })
}

impl EvalContext {
    /// NOW(6): the statement's time in the session's zone.
    pub fn now(&self) -> DateTime {
        DateTime::from_utc(self.now_micros, &self.time_zone).unwrap_or(DateTime::ZERO)
    }
}

/// The unit of an INTERVAL, EXTRACT, TIMESTAMPDIFF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum IntervalUnit {
    Microsecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    SecondMicrosecond,
    MinuteMicrosecond,
    MinuteSecond,
    HourMicrosecond,
    HourSecond,
    HourMinute,
    DayMicrosecond,
    DaySecond,
    DayMinute,
    DayHour,
    YearMonth,
}
use IntervalUnit::*;

const UNITS: [(&str, IntervalUnit); 20] = [
    ("MICROSECOND", Microsecond),
    ("SECOND", Second),
    ("MINUTE", Minute),
    ("HOUR", Hour),
    ("DAY", Day),
    ("WEEK", Week),
    ("MONTH", Month),
    ("QUARTER", Quarter),
    ("YEAR", Year),
    ("SECOND_MICROSECOND", SecondMicrosecond),
    ("MINUTE_MICROSECOND", MinuteMicrosecond),
    ("MINUTE_SECOND", MinuteSecond),
    ("HOUR_MICROSECOND", HourMicrosecond),
    ("HOUR_SECOND", HourSecond),
    ("HOUR_MINUTE", HourMinute),
    ("DAY_MICROSECOND", DayMicrosecond),
    ("DAY_SECOND", DaySecond),
    ("DAY_MINUTE", DayMinute),
    ("DAY_HOUR", DayHour),
    ("YEAR_MONTH", YearMonth),
];

impl IntervalUnit {
    /// Reads a unit's name in any case, with or without `SQL_TSI_`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = match name.get(..8) {
            Some(prefix) if prefix.eq_ignore_ascii_case("SQL_TSI_") => &name[8..],
            _ => name,
        };
        UNITS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, unit)| *unit)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        UNITS.iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
    }

    /// Whether it counts days or more only.
    pub fn is_date_part(self) -> bool {
        matches!(self, Day | Week | Month | Quarter | Year | YearMonth)
    }

    /// Whether it counts hours or less only.
    pub fn is_time_part(self) -> bool {
        matches!(
            self,
            Microsecond
                | Second
                | Minute
                | Hour
                | SecondMicrosecond
                | MinuteMicrosecond
                | MinuteSecond
                | HourMicrosecond
                | HourSecond
                | HourMinute
        )
    }

    /// Whether microseconds are part of it.
    pub fn has_micros(self) -> bool {
        matches!(self, Microsecond | SecondMicrosecond | MinuteMicrosecond | HourMicrosecond | DayMicrosecond)
    }
}

/// A duration to add: months and microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interval {
    /// Months.
    pub months: i64,
    /// Microseconds, days included.
    pub micros: i64,
}

impl Interval {
    /// So many of a simple unit; `None` if it overflows.
    pub fn of(count: i64, unit: IntervalUnit) -> Option<Self> {
        let months = |factor| Some(Interval { months: count.checked_mul(factor)?, micros: 0 });
        let micros = |factor| Some(Interval { months: 0, micros: count.checked_mul(factor)? });
        match unit {
            Year => months(12),
            Quarter => months(3),
            Month => months(1),
            Week => micros(7 * DAY),
            Day => micros(DAY),
            Hour => micros(HOUR),
            Minute => micros(MINUTE),
            Second => micros(SECOND),
            Microsecond => micros(1),
            _ => None,
        }
    }

    /// Reads the value of a compound unit: numbers with anything between them, aligned to the right (`'1:30'`
    /// MINUTE_SECOND); of a simple one, the number it begins with.
    pub fn parse(text: &str, unit: IntervalUnit) -> Option<Self> {
        let factors: &[i64] = match unit {
            YearMonth => &[12, 1],
            DayHour => &[DAY, HOUR],
            DayMinute => &[DAY, HOUR, MINUTE],
            DaySecond => &[DAY, HOUR, MINUTE, SECOND],
            DayMicrosecond => &[DAY, HOUR, MINUTE, SECOND, 1],
            HourMinute => &[HOUR, MINUTE],
            HourSecond => &[HOUR, MINUTE, SECOND],
            HourMicrosecond => &[HOUR, MINUTE, SECOND, 1],
            MinuteSecond => &[MINUTE, SECOND],
            MinuteMicrosecond => &[MINUTE, SECOND, 1],
            SecondMicrosecond => &[SECOND, 1],
            _ => &[1],
        };
        let bytes = trim(text.as_bytes());
        let (negative, mut rest) = match bytes.first() {
            Some(b'-') => (true, &bytes[1..]),
            _ => (false, bytes),
        };
        let mut numbers: Vec<i64> = Vec::new();
        while numbers.len() < factors.len() {
            let skip = rest.iter().take_while(|b| !b.is_ascii_digit()).count();
            rest = &rest[skip..];
            let have = digits(rest);
            if have == 0 {
                break;
            }
            let mut value = rest[..have]
                .iter()
                .try_fold(0i64, |n, b| n.checked_mul(10)?.checked_add(i64::from(b - b'0')))?;
            // The last part of a compound with microseconds is a fraction: 1.5 is 1.500000.
            if unit.has_micros() && unit != Microsecond && numbers.len() + 1 == factors.len() && have < 6 {
                value *= 10i64.pow(6 - have as u32);
            }
            numbers.push(value);
            rest = &rest[have..];
        }
        let simple = Interval::of(1, unit);
        let mut total = 0i64;
        for (value, factor) in numbers.iter().rev().zip(factors.iter().rev()) {
            total = total.checked_add(value.checked_mul(*factor)?)?;
        }
        let total = if negative { -total } else { total };
        match (simple, unit) {
            (Some(_), _) => Interval::of(total, unit),
            (None, YearMonth) => Some(Interval { months: total, micros: 0 }),
            _ => Some(Interval { months: 0, micros: total }),
        }
    }

    /// The other way.
    pub fn negated(self) -> Self {
        Interval { months: self.months.saturating_neg(), micros: self.micros.saturating_neg() }
    }

    /// Added to a time; `None` outside of years 0 to 9999, or for a date with zero parts where days count.
    pub fn add_to(self, at: DateTime) -> Option<DateTime> {
        let mut at = at;
        if self.months != 0 {
            if at.date.month == 0 {
                return None;
            }
            let months =
                (i64::from(at.date.year) * 12 + i64::from(at.date.month) - 1).checked_add(self.months)?;
            if !(0..120_000).contains(&months) {
                return None;
            }
            let (year, month) = ((months / 12) as u16, (months % 12 + 1) as u8);
            at.date = Date::new(year, month, at.date.day.min(days_in_month(year, month)));
        }
        if self.micros != 0 {
            if at.date.has_zero_parts() {
                return None;
            }
            at = DateTime::from_micros(at.to_micros().checked_add(self.micros)?)?;
            if at.date.is_zero() {
                return None;
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str) -> Option<String> {
        parse_datetime(text, DateRules::ANY).map(|p| {
            let mut out = vec![];
            p.value.write(p.fsp, &mut out);
            format!("{}{}", String::from_utf8(out).unwrap(), if p.truncated { " cut" } else { "" })
        })
    }

    #[test]
    fn dates_are_read_in_every_spelling() {
        for (text, expected) in [
            ("2026-11-20", "2026-11-20 00:00:00"),
            ("2026-11-20 11:25:54.5", "2026-11-20 11:25:54.5"),
            ("2026-11-20T11:25:54", "2026-11-20 11:25:54"),
            ("26/1/2", "2026-01-02 00:00:00"),
            ("20261120", "2026-11-20 00:00:00"),
            ("20261120112554", "2026-11-20 11:25:54"),
            ("261120", "2026-11-20 00:00:00"),
            ("2026-11-20 11:25", "2026-11-20 11:25:00"),
            ("2026-11-20 11", "2026-11-20 11:00:00"),
            ("2026-11-20abc", "2026-11-20 00:00:00 cut"),
            ("0000-00-00", "0000-00-00 00:00:00"),
            ("2026-02-28 23:59:59.9999999", "2026-03-01 00:00:00.000000"),
            ("2026-11-20 10:00:00+02:00", "2026-11-20 10:00:00"),
        ] {
            assert_eq!(show(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "abc", "2026-13-01", "2026-02-30", "2026", "2026-11", "2026-11-20 25:00:00"] {
            assert_eq!(show(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        for (text, expected) in [
            ("11:25:54", "11:25:54.000000"),
            ("11:25", "11:25:00.000000"),
            ("112554", "11:25:54.000000"),
            ("54", "00:00:54.000000"),
            ("-1 02:00:00", "-26:00:00.000000"),
            ("1 02", "26:00:00.000000"),
            ("900:00:00", "838:59:59.000000"),
            ("2026-11-20 11:25:54.25", "11:25:54.250000"),
            ("10:20:30.1234567", "10:20:30.123457"),
        ] {
            let mut out = vec![];
            parse_time(text).unwrap().value.write(6, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
        assert_eq!(parse_time("10:99:00"), None);
        assert_eq!(parse_time("x"), None);
    }

    #[test]
    fn weeks_follow_the_eight_modes() {
        let date = Date::new(2008, 2, 20);
        let weeks: Vec<u8> = (0..8).map(|mode| date.week(mode).1).collect();
        assert_eq!(weeks, [7, 8, 7, 8, 8, 7, 8, 7]);
        assert_eq!(Date::new(2000, 1, 1).week(2), (1999, 52));
        assert_eq!(Date::new(1987, 1, 1).week(0), (1987, 0));
    }

    proptest! {
        #[test]
        fn days_and_dates_are_the_same_line(days in 366i64..3_652_424) {
            let date = Date::from_days(days).unwrap();
            prop_assert_eq!(date.to_days(), days);
            prop_assert!(DateRules::REAL.allow(date));
            prop_assert!(Date::from_days(days + 1).is_none_or(|next| next > date));
        }

        #[test]
        fn what_is_printed_is_read(micros in -62_000_000_000_000_000i64..253_000_000_000_000_000) {
            let at = DateTime::from_micros(micros).unwrap();
            let mut out = vec![];
            at.write(6, &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(parse_datetime(&text, DateRules::ANY).unwrap().value, at);
        }

        #[test]
        fn no_text_makes_it_panic(text: String, near in "[-+0-9 :.Ta]{0,30}") {
            for text in [&text, &near] {
                let _ = parse_datetime(text, DateRules::ANY);
                let _ = parse_time(text);
                for (_, unit) in UNITS {
                    if let Some(interval) = Interval::parse(text, unit) {
                        let _ = interval.negated().add_to(Date::new(2026, 1, 31).at_midnight());
                    }
                }
            }
        }
    }
}
