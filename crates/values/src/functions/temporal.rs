//! Functions of dates and times.

use super::*;
use crate::TimeZone;
use crate::temporal::{
    self, DAY, Date, HOUR, Interval, IntervalUnit, MINUTE, SECOND, days_in_month, is_leap,
};
use IntervalUnit as Unit;

pub(super) const FUNCTIONS: &[Function] = &[
    f("ADDDATE", 2, 3, Propagate, Apart, add_type, |c| add(c, false)),
    f("ADDTIME", 2, 2, Propagate, Apart, add_time_type, |c| add_time(c, false)),
    f(
        "CONVERT_TZ",
        3,
        3,
        Propagate,
        Apart,
        |args, _| Ok(SqlType::DateTime { fsp: fsp_of(&args[0]) }),
        convert_tz,
    ),
    f("CURDATE", 0, 0, See, Apart, date_type, |c| Ok(Value::Date(c.ctx.now().date))),
    f("CURRENT_DATE", 0, 0, See, Apart, date_type, |c| Ok(Value::Date(c.ctx.now().date))),
    f("CURRENT_TIME", 0, 1, See, Apart, now_time_type, now_time),
    f("CURRENT_TIMESTAMP", 0, 1, See, Apart, now_type, now),
    f("CURTIME", 0, 1, See, Apart, now_time_type, now_time),
    f("DATE", 1, 1, Propagate, Apart, date_type, |c| {
        let rules = DateRules::of_mode(c.ctx.sql_mode);
        let at = convert::to_datetime(c.arg(0), rules, c.ctx)?;
        Ok(at.map_or(Value::Null, |at| Value::Date(at.date)))
    }),
    f("DATEDIFF", 2, 2, Propagate, Apart, bigint, |c| {
        let (Some(a), Some(b)) = (real_date(c, 0)?, real_date(c, 1)?) else { return Ok(Value::Null) };
        Ok(Value::Int(a.date.to_days() - b.date.to_days()))
    }),
    f("DATE_ADD", 2, 3, Propagate, Apart, add_type, |c| add(c, false)),
    f("DATE_FORMAT", 2, 3, Propagate, Apart, format_type, |c| {
        let Some(at) = c.datetime(0)? else { return Ok(Value::Null) };
        let format = c.text(1);
        Ok(format_date(at, &format).map_or(Value::Null, Value::text))
    }),
    f("DATE_SUB", 2, 3, Propagate, Apart, add_type, |c| add(c, true)),
    f("DAY", 1, 1, Propagate, Apart, int, |c| part(c, |at| at.date.day.into())),
    f(
        "DAYNAME",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(9, ctx)),
        |c| Ok(real_date(c, 0)?.map_or(Value::Null, |at| Value::text(DAYS[usize::from(at.date.weekday())]))),
    ),
    f("DAYOFMONTH", 1, 1, Propagate, Apart, int, |c| part(c, |at| at.date.day.into())),
    f("DAYOFWEEK", 1, 1, Propagate, Apart, int, |c| {
        real_part(c, |at| i64::from((at.date.weekday() + 1) % 7 + 1))
    }),
    f("DAYOFYEAR", 1, 1, Propagate, Apart, int, |c| real_part(c, |at| at.date.day_of_year().into())),
    f("EXTRACT", 2, 2, Propagate, Apart, bigint, extract),
    f("FROM_DAYS", 1, 1, Propagate, Apart, date_type, |c| {
        let days = c.int(0)?;
        Ok(Date::from_days(days).map_or(Value::Null, Value::Date))
    }),
    f(
        "FROM_UNIXTIME",
        1,
        2,
        Propagate,
        Apart,
        |args, ctx| {
            if args.len() > 1 {
                return format_type(args, ctx);
            }
            Ok(SqlType::DateTime { fsp: if args[0].sql_type.is_string() { 6 } else { fsp_of(&args[0]) } })
        },
        from_unixtime,
    ),
    f("GET_FORMAT", 2, 2, Propagate, Apart, |_, ctx| Ok(connection_text(17, ctx)), get_format),
    f("HOUR", 1, 1, Propagate, Apart, int, |c| time_part(c, |hours, _, _, _| hours.into())),
    f("LAST_DAY", 1, 1, Propagate, Apart, date_type, |c| {
        Ok(match c.datetime(0)? {
            Some(at) if at.date.month > 0 => {
                let Date { year, month, .. } = at.date;
                Value::Date(Date::new(year, month, days_in_month(year, month)))
            }
            _ => Value::Null,
        })
    }),
    f("LOCALTIME", 0, 1, See, Apart, now_type, now),
    f("LOCALTIMESTAMP", 0, 1, See, Apart, now_type, now),
    f("MAKEDATE", 2, 2, Propagate, Apart, date_type, |c| {
        let (year, day) = (c.int(0)?, c.int(1)?);
        if day < 1 || !(0..=9999).contains(&year) {
            return Ok(Value::Null);
        }
        let year = match year {
            0..=69 => year + 2000,
            70..=99 => year + 1900,
            year => year,
        };
        let first = Date::new(year as u16, 1, 1).to_days();
        Ok(first.checked_add(day - 1).and_then(Date::from_days).map_or(Value::Null, Value::Date))
    }),
    f("MAKETIME", 3, 3, Propagate, Apart, |args, _| Ok(SqlType::Time { fsp: fsp_of(&args[2]) }), make_time),
    f("MICROSECOND", 1, 1, Propagate, Apart, int, |c| time_part(c, |_, _, _, micros| micros.into())),
    f("MINUTE", 1, 1, Propagate, Apart, int, |c| time_part(c, |_, minutes, _, _| minutes.into())),
    f("MONTH", 1, 1, Propagate, Apart, int, |c| part(c, |at| at.date.month.into())),
    f(
        "MONTHNAME",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(9, ctx)),
        |c| {
            Ok(match c.datetime(0)? {
                Some(at) if at.date.month > 0 => Value::text(MONTHS[usize::from(at.date.month - 1)]),
                _ => Value::Null,
            })
        },
    ),
    f("NOW", 0, 1, See, Apart, now_type, now),
    f("PERIOD_ADD", 2, 2, Propagate, Apart, bigint, |c| {
        let (Some(months), more) = (period(c.int(0)?), c.int(1)?) else { return wrong_period(c) };
        let months = months.saturating_add(more).clamp(0, 12 * 999_999);
        Ok(Value::Int(months / 12 * 100 + months % 12 + 1))
    }),
    f("PERIOD_DIFF", 2, 2, Propagate, Apart, bigint, |c| match (period(c.int(0)?), period(c.int(1)?)) {
        (Some(a), Some(b)) => Ok(Value::Int(a - b)),
        _ => wrong_period(c),
    }),
    f("QUARTER", 1, 1, Propagate, Apart, int, |c| part(c, |at| i64::from(at.date.month.div_ceil(3)))),
    f("SECOND", 1, 1, Propagate, Apart, int, |c| time_part(c, |_, _, seconds, _| seconds.into())),
    f(
        "SEC_TO_TIME",
        1,
        1,
        Propagate,
        Apart,
        |args, _| Ok(SqlType::Time { fsp: if args[0].sql_type.is_string() { 6 } else { fsp_of(&args[0]) } }),
        |c| {
            let micros = seconds_micros(c, 0)?;
            let (time, clipped) = Time { micros }.clipped();
            if clipped {
                let shown = c.text(0).into_owned();
                c.ctx.warn(
                    ErrorCode::TruncatedWrongValue,
                    format!("Truncated incorrect time value: '{shown}'"),
                )?;
            }
            Ok(Value::Time(time))
        },
    ),
    f("STR_TO_DATE", 2, 2, Propagate, Apart, str_to_date_type, str_to_date),
    f("SUBDATE", 2, 3, Propagate, Apart, add_type, |c| add(c, true)),
    f("SUBTIME", 2, 2, Propagate, Apart, add_time_type, |c| add_time(c, true)),
    volatile("SYSDATE", 0, 1, now_type, |c| {
        let micros = c.ctx.sysdate_micros.unwrap_or(c.ctx.now_micros);
        let at = DateTime::from_utc(micros, &c.ctx.time_zone).unwrap_or(DateTime::ZERO);
        Ok(Value::DateTime(cut(at, c.out)))
    }),
    f(
        "TIME",
        1,
        1,
        Propagate,
        Apart,
        |args, _| Ok(SqlType::Time { fsp: fsp_of(&args[0]) }),
        |c| Ok(c.time(0)?.map_or(Value::Null, Value::Time)),
    ),
    f(
        "TIMEDIFF",
        2,
        2,
        Propagate,
        Apart,
        |args, _| Ok(SqlType::Time { fsp: fsp_of(&args[0]).max(fsp_of(&args[1])) }),
        time_diff,
    ),
    f(
        "TIMESTAMP",
        1,
        2,
        Propagate,
        Apart,
        |args, _| {
            let fsp = args.iter().map(fsp_of).max().unwrap_or(0);
            Ok(SqlType::DateTime { fsp })
        },
        |c| {
            let Some(at) = c.datetime(0)? else { return Ok(Value::Null) };
            if c.len() == 1 {
                return Ok(Value::DateTime(at));
            }
            let Some(time) = c.time(1)? else { return Ok(Value::Null) };
            let sum = Interval { months: 0, micros: time.micros }.add_to(at);
            Ok(sum.map_or(Value::Null, Value::DateTime))
        },
    ),
    f(
        "TIMESTAMPADD",
        3,
        3,
        Propagate,
        Apart,
        |args, ctx| add_type(&[args[2].clone(), args[1].clone(), args[0].clone()], ctx),
        |c| add_interval(c, 2, 1, 0, false),
    ),
    f("TIMESTAMPDIFF", 3, 3, Propagate, Apart, bigint, timestamp_diff),
    f("TIME_FORMAT", 2, 3, Propagate, Apart, format_type, |c| {
        let Some(time) = c.time(0)? else { return Ok(Value::Null) };
        let format = c.text(1);
        Ok(format_time(time, &format).map_or(Value::Null, Value::text))
    }),
    f("TIME_TO_SEC", 1, 1, Propagate, Apart, bigint, |c| {
        Ok(c.time(0)?.map_or(Value::Null, |time| Value::Int(time.micros / SECOND)))
    }),
    f("TO_DAYS", 1, 1, Propagate, Apart, bigint, |c| real_part(c, |at| at.date.to_days())),
    f("TO_SECONDS", 1, 1, Propagate, Apart, bigint, |c| {
        real_part(c, |at| at.date.to_days() * 86_400 + at.micros / SECOND)
    }),
    f("UNIX_TIMESTAMP", 0, 1, Propagate, Apart, unix_timestamp_type, unix_timestamp),
    f("UTC_DATE", 0, 0, See, Apart, date_type, |c| Ok(Value::Date(utc_now(c).date))),
    f("UTC_TIME", 0, 1, See, Apart, now_time_type, |c| Ok(Value::Time(cut(utc_now(c), c.out).time()))),
    f("UTC_TIMESTAMP", 0, 1, See, Apart, now_type, |c| Ok(Value::DateTime(cut(utc_now(c), c.out)))),
    f("WEEK", 1, 2, Propagate, Apart, int, |c| {
        let mode = if c.len() > 1 { c.int(1)? } else { c.ctx.default_week_format.into() };
        Ok(real_date(c, 0)?.map_or(Value::Null, |at| Value::Int(at.date.week((mode & 7) as u8).1.into())))
    }),
    f("WEEKDAY", 1, 1, Propagate, Apart, int, |c| real_part(c, |at| at.date.weekday().into())),
    f("WEEKOFYEAR", 1, 1, Propagate, Apart, int, |c| real_part(c, |at| at.date.week(3).1.into())),
    f(
        "YEAR",
        1,
        1,
        Propagate,
        Apart,
        |_, _| Ok(SqlType::int(IntWidth::Int, false)),
        |c| part(c, |at| at.date.year.into()),
    ),
    f("YEARWEEK", 1, 2, Propagate, Apart, bigint, |c| {
        let mode = if c.len() > 1 { c.int(1)? } else { 0 };
        Ok(real_date(c, 0)?.map_or(Value::Null, |at| {
            let (year, week) = at.date.week((mode & 7) as u8 | 2);
            Value::Int(i64::from(year) * 100 + i64::from(week))
        }))
    }),
];

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn date_type(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::Date)
}

/// Places of the fraction that an operand brings along.
fn fsp_of(arg: &ArgType) -> u8 {
    if let Some(Value::Text(text)) = &arg.constant {
        let fraction = text.rsplit_once('.').map_or("", |(_, fraction)| fraction);
        return fraction.bytes().take_while(u8::is_ascii_digit).count().min(6) as u8;
    }
    match &arg.sql_type {
        SqlType::Double { .. } | SqlType::Float { .. } => 6,
        other if other.text_collation().is_some() => 6,
        other => other.decimals().unwrap_or(6).min(6),
    }
}

fn constant_fsp(args: &[ArgType], name: &str) -> Result<u8, SqlError> {
    match constant_int(args.first()).unwrap_or(0) {
        fsp @ 0..=6 => Ok(fsp as u8),
        fsp => Err(SqlError::new(
            ErrorCode::PrecisionTooBig,
            format!("Too-big precision {fsp} specified for '{name}'. Maximum is 6."),
        )),
    }
}

fn now_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::DateTime { fsp: constant_fsp(args, "now")? })
}

fn now_time_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::Time { fsp: constant_fsp(args, "curtime")? })
}

/// Cut to the places of the result's type: the present is never rounded into the future.
fn cut(at: DateTime, out: &SqlType) -> DateTime {
    at.round(out.decimals().unwrap_or(6), true).unwrap_or(at)
}

fn now(c: &mut Call<'_>) -> Result<Value, SqlError> {
    Ok(Value::DateTime(cut(c.ctx.now(), c.out)))
}

fn now_time(c: &mut Call<'_>) -> Result<Value, SqlError> {
    Ok(Value::Time(cut(c.ctx.now(), c.out).time()))
}

fn utc_now(c: &Call<'_>) -> DateTime {
    DateTime::from_micros(c.ctx.now_micros).unwrap_or(DateTime::ZERO)
}

/// A date whose day of the week can be told.
fn real_date(c: &mut Call<'_>, at: usize) -> Result<Option<DateTime>, SqlError> {
    convert::to_datetime(c.arg(at), DateRules::REAL, c.ctx)
}

fn part(c: &mut Call<'_>, of: fn(DateTime) -> i64) -> Result<Value, SqlError> {
    Ok(c.datetime(0)?.map_or(Value::Null, |at| Value::Int(of(at))))
}

fn real_part(c: &mut Call<'_>, of: fn(DateTime) -> i64) -> Result<Value, SqlError> {
    Ok(real_date(c, 0)?.map_or(Value::Null, |at| Value::Int(of(at))))
}

fn time_part(c: &mut Call<'_>, of: fn(u32, u8, u8, u32) -> i64) -> Result<Value, SqlError> {
    Ok(c.time(0)?.map_or(Value::Null, |time| {
        let (_, hours, minutes, seconds, micros) = time.parts();
        Value::Int(of(hours, minutes, seconds, micros))
    }))
}

fn unit_of(arg: Option<&ArgType>) -> Option<Unit> {
    match arg?.constant.as_ref()? {
        Value::Text(name) => Unit::parse(name),
        _ => None,
    }
}

fn add_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let unit = if args.len() > 2 {
        unit_of(args.get(2)).ok_or_else(|| {
            SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to INTERVAL".to_owned())
        })?
    } else {
        Unit::Day
    };
    let value_fsp = if unit.has_micros() {
        6
    } else if unit == Unit::Second {
        args.get(1).map_or(0, |arg| if arg.sql_type.is_string() { 0 } else { fsp_of(arg) })
    } else {
        0
    };
    Ok(match &args[0].sql_type {
        SqlType::Date if unit.is_date_part() => SqlType::Date,
        SqlType::Date => SqlType::DateTime { fsp: value_fsp },
        SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => {
            SqlType::DateTime { fsp: value_fsp.max(*fsp) }
        }
        SqlType::Time { fsp } if unit.is_time_part() => SqlType::Time { fsp: value_fsp.max(*fsp) },
        SqlType::Time { fsp } => SqlType::DateTime { fsp: value_fsp.max(*fsp) },
        // A text may hold a date or a datetime: so may the result.
        _ => connection_text(29, ctx),
    })
}

fn add(c: &mut Call<'_>, subtract: bool) -> Result<Value, SqlError> {
    add_interval(c, 0, 1, 2, subtract)
}

/// The interval of a value and a unit.
fn interval(c: &mut Call<'_>, value: usize, unit: Unit) -> Result<Option<Interval>, SqlError> {
    if Interval::of(1, unit).is_none() {
        let text = c.text(value);
        return Ok(Interval::parse(&text, unit));
    }
    if unit == Unit::Second {
        let micros = seconds_micros(c, value)?;
        return Ok(Some(Interval { months: 0, micros }));
    }
    let count = c.int(value)?;
    Ok(Interval::of(count, unit))
}

/// A number of seconds with a fraction, in microseconds.
fn seconds_micros(c: &mut Call<'_>, at: usize) -> Result<i64, SqlError> {
    let number = c.decimal(at)?;
    let micros = number.mul(&Decimal::from(1_000_000i64)).map_or(i128::MAX, |micros| micros.to_i128());
    // Beyond every date, but not beyond what can still be added.
    let limit = i128::from(i64::MAX / 4);
    Ok(micros.clamp(-limit, limit) as i64)
}

fn add_interval(
    c: &mut Call<'_>,
    date: usize,
    value: usize,
    unit: usize,
    subtract: bool,
) -> Result<Value, SqlError> {
    let unit = if c.len() > 2 { Unit::parse(&c.text(unit)).unwrap_or(Unit::Day) } else { Unit::Day };
    let Some(interval) = interval(c, value, unit)? else { return overflow(c) };
    let interval = if subtract { interval.negated() } else { interval };
    if let SqlType::Time { .. } = c.out {
        let Some(time) = c.time(date)? else { return Ok(Value::Null) };
        let sum = Time { micros: time.micros.saturating_add(interval.micros) };
        return match sum.clipped() {
            (_, true) => overflow(c),
            (sum, false) => Ok(Value::Time(sum)),
        };
    }
    // A text that is only a time stays one.
    let source = c.arg(date);
    let Some(at) = c.datetime(date)? else { return Ok(Value::Null) };
    if at.date.has_zero_parts() && (interval.micros != 0 || at.date.month == 0) {
        convert::incorrect(c.ctx, "datetime", c.arg(date))?;
        return Ok(Value::Null);
    }
    let Some(sum) = interval.add_to(at) else { return overflow(c) };
    Ok(match c.out {
        SqlType::Date => Value::Date(sum.date),
        SqlType::DateTime { .. } => Value::DateTime(sum),
        _ => {
            let with_time = match source {
                Value::Text(text) => {
                    temporal::parse_datetime(text, DateRules::ANY).is_some_and(|parsed| parsed.has_time)
                }
                Value::Date(_) => false,
                _ => at.micros != 0,
            };
            let mut out = Vec::new();
            if with_time || !unit.is_date_part() {
                let fsp = if sum.micros % SECOND != 0 { 6 } else { 0 };
                sum.write(fsp, &mut out);
            } else {
                sum.date.write(&mut out);
            }
            c.string(out)
        }
    })
}

fn overflow(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let kind = if matches!(c.out, SqlType::Time { .. }) { "time" } else { "datetime" };
    c.ctx.warn(ErrorCode::DatetimeOverflow, format!("Datetime function: {kind} field overflow"))?;
    Ok(Value::Null)
}

fn add_time_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let fsp = fsp_of(&args[0]).max(fsp_of(&args[1]));
    Ok(match &args[0].sql_type {
        SqlType::Time { .. } => SqlType::Time { fsp },
        SqlType::DateTime { .. } | SqlType::Timestamp { .. } | SqlType::Date => SqlType::DateTime { fsp },
        _ => connection_text(29, ctx),
    })
}

fn add_time(c: &mut Call<'_>, subtract: bool) -> Result<Value, SqlError> {
    // The second operand is a time; a date there makes the result NULL.
    if matches!(c.arg(1), Value::DateTime(_) | Value::Date(_) | Value::Timestamp(_)) {
        return Ok(Value::Null);
    }
    let Some(second) = c.time(1)? else { return Ok(Value::Null) };
    let micros = if subtract { -second.micros } else { second.micros };
    let with_date = match c.arg(0) {
        Value::DateTime(_) | Value::Date(_) | Value::Timestamp(_) => true,
        Value::Text(text) => temporal::parse_datetime(text, DateRules::ANY)
            .is_some_and(|parsed| parsed.has_time && text.len() > 10),
        _ => false,
    };
    if with_date {
        let Some(at) = c.datetime(0)? else { return Ok(Value::Null) };
        let Some(sum) = (Interval { months: 0, micros }).add_to(at) else { return overflow(c) };
        if c.out.is_string() {
            let mut out = Vec::new();
            sum.write(if sum.micros % SECOND != 0 { 6 } else { 0 }, &mut out);
            return Ok(c.string(out));
        }
        return Ok(Value::DateTime(sum));
    }
    let Some(first) = c.time(0)? else { return Ok(Value::Null) };
    let (sum, clipped) = Time { micros: first.micros + micros }.clipped();
    if clipped {
        let mut shown = Vec::new();
        Time { micros: first.micros + micros }.write(0, &mut shown);
        let shown = String::from_utf8_lossy(&shown).into_owned();
        c.ctx.warn(ErrorCode::TruncatedWrongValue, format!("Truncated incorrect time value: '{shown}'"))?;
    }
    if c.out.is_string() {
        let mut out = Vec::new();
        sum.write(if sum.micros % SECOND != 0 { 6 } else { 0 }, &mut out);
        return Ok(c.string(out));
    }
    Ok(Value::Time(sum))
}

fn convert_tz(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let zone = |name: &str, own: TimeZone| match TimeZone::find(name) {
        Some(TimeZone::System) => Some(TimeZone::System),
        found => found.or(if name.is_empty() { Some(own) } else { None }),
    };
    let own = c.ctx.time_zone;
    let Some(at) = c.datetime(0)? else { return Ok(Value::Null) };
    let (Some(from), Some(to)) = (zone(&c.text(1), own), zone(&c.text(2), own)) else {
        return Ok(Value::Null);
    };
    if at.date.has_zero_parts() {
        return Ok(Value::Null);
    }
    let (utc, _) = at.to_utc(&from);
    // Times outside of the range of TIMESTAMP stay as they are.
    if !(SECOND..=32_536_771_199 * SECOND).contains(&utc) {
        return Ok(Value::DateTime(at));
    }
    Ok(DateTime::from_utc(utc, &to).map_or(Value::Null, Value::DateTime))
}

fn extract(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let Some(unit) = Unit::parse(&c.text(0)) else { return Ok(Value::Null) };
    if unit.is_date_part() {
        let Some(at) = c.datetime(1)? else { return Ok(Value::Null) };
        let date = at.date;
        return Ok(Value::Int(match unit {
            Unit::Year => date.year.into(),
            Unit::Quarter => date.month.div_ceil(3).into(),
            Unit::Month => date.month.into(),
            Unit::Week => date.week(c.ctx.default_week_format & 7).1.into(),
            Unit::Day => date.day.into(),
            _ => i64::from(date.year) * 100 + i64::from(date.month),
        }));
    }
    let with_day = matches!(unit, Unit::DayMicrosecond | Unit::DaySecond | Unit::DayMinute | Unit::DayHour);
    let with_date = match c.arg(1) {
        Value::DateTime(_) | Value::Date(_) | Value::Timestamp(_) => true,
        Value::Text(text) => {
            temporal::parse_datetime(text, DateRules::ANY).is_some() && text.contains(['-', '/'])
        }
        _ => false,
    };
    let (day, time) = if with_day && with_date {
        let Some(at) = c.datetime(1)? else { return Ok(Value::Null) };
        (i64::from(at.date.day), at.time())
    } else {
        let Some(time) = c.time(1)? else { return Ok(Value::Null) };
        (0, time)
    };
    let (negative, hours, minutes, seconds, micros) = time.parts();
    let (h, m, s, u) = (i64::from(hours), i64::from(minutes), i64::from(seconds), i64::from(micros));
    let d = day * 100 + h;
    let number = match unit {
        Unit::Hour => h,
        Unit::Minute => m,
        Unit::Second => s,
        Unit::Microsecond => u,
        Unit::DayHour => d,
        Unit::DayMinute => d * 100 + m,
        Unit::DaySecond => (d * 100 + m) * 100 + s,
        Unit::DayMicrosecond => ((d * 100 + m) * 100 + s) * SECOND + u,
        Unit::HourMinute => h * 100 + m,
        Unit::HourSecond => (h * 100 + m) * 100 + s,
        Unit::HourMicrosecond => ((h * 100 + m) * 100 + s) * SECOND + u,
        Unit::MinuteSecond => m * 100 + s,
        Unit::MinuteMicrosecond => (m * 100 + s) * SECOND + u,
        _ => s * SECOND + u,
    };
    Ok(Value::Int(if negative { -number } else { number }))
}

fn from_unixtime(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let micros = seconds_micros(c, 0)?;
    if !(0..=32_536_771_199 * SECOND + 999_999).contains(&micros) {
        return Ok(Value::Null);
    }
    let Some(at) = DateTime::from_utc(micros, &c.ctx.time_zone) else { return Ok(Value::Null) };
    if c.len() > 1 {
        let format = c.text(1);
        return Ok(format_date(at, &format).map_or(Value::Null, Value::text));
    }
    Ok(Value::DateTime(at))
}

fn unix_timestamp_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    match args.first().map(fsp_of) {
        None | Some(0) => Ok(SqlType::BIGINT),
        Some(fsp) => Ok(SqlType::Decimal { precision: 12 + fsp, scale: fsp, unsigned: false }),
    }
}

fn unix_timestamp(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.len() == 0 {
        return Ok(Value::Int(c.ctx.now_micros.div_euclid(SECOND)));
    }
    let utc = match c.arg(0) {
        Value::Timestamp(stored) => *stored,
        _ => {
            let Some(at) = c.datetime(0)? else { return Ok(Value::Null) };
            if at.date.has_zero_parts() { -1 } else { at.to_utc(&c.ctx.time_zone).0 }
        }
    };
    let utc = if (0..=32_536_771_199 * SECOND + 999_999).contains(&utc) { utc } else { 0 };
    Ok(match c.out {
        SqlType::Decimal { .. } => Value::Decimal(Decimal::new(utc.into(), 6)),
        _ => Value::Int(utc / SECOND),
    })
}

fn get_format(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let kind = c.text(0).to_ascii_uppercase();
    let region = c.text(1).to_ascii_uppercase();
    let format = match (kind.as_str(), region.as_str()) {
        ("DATE", "USA") => "%m.%d.%Y",
        ("DATE", "JIS" | "ISO") => "%Y-%m-%d",
        ("DATE", "EUR") => "%d.%m.%Y",
        ("DATE", "INTERNAL") => "%Y%m%d",
        ("DATETIME" | "TIMESTAMP", "USA" | "EUR") => "%Y-%m-%d %H.%i.%s",
        ("DATETIME" | "TIMESTAMP", "JIS" | "ISO") => "%Y-%m-%d %H:%i:%s",
        ("DATETIME" | "TIMESTAMP", "INTERNAL") => "%Y%m%d%H%i%s",
        ("TIME", "USA") => "%h:%i:%s %p",
        ("TIME", "JIS" | "ISO") => "%H:%i:%s",
        ("TIME", "EUR") => "%H.%i.%s",
        ("TIME", "INTERNAL") => "%H%i%s",
        _ => return Ok(Value::Null),
    };
    Ok(Value::text(format))
}

fn make_time(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (hours, minutes) = (c.int(0)?, c.int(1)?);
    let seconds = seconds_micros(c, 2)?;
    if !(0..60).contains(&minutes) || !(0..MINUTE).contains(&seconds) {
        return Ok(Value::Null);
    }
    let magnitude = hours.unsigned_abs().min(10_000) as i64 * HOUR + minutes * MINUTE + seconds;
    let (time, clipped) = Time { micros: if hours < 0 { -magnitude } else { magnitude } }.clipped();
    if clipped {
        let shown = format!("{hours}:{minutes:02}:{:02}", seconds / SECOND);
        c.ctx.warn(ErrorCode::TruncatedWrongValue, format!("Truncated incorrect time value: '{shown}'"))?;
    }
    Ok(Value::Time(time))
}

/// `YYYYMM` or `YYMM` as months since year 0.
fn period(number: i64) -> Option<i64> {
    let (year, month) = (number / 100, number % 100);
    if number < 0 || !(1..=12).contains(&month) {
        return None;
    }
    let year = match year {
        0..=69 => year + 2000,
        70..=99 => year + 1900,
        year => year,
    };
    Some(year * 12 + month - 1)
}

fn wrong_period(c: &Call<'_>) -> Result<Value, SqlError> {
    let name = c.name.to_ascii_lowercase();
    Err(SqlError::new(ErrorCode::WrongArguments, format!("Incorrect arguments to {name}")))
}

fn time_diff(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let with_date = |c: &Call<'_>, at: usize| match c.arg(at) {
        Value::DateTime(_) | Value::Timestamp(_) | Value::Date(_) => Some(true),
        Value::Time(_) => Some(false),
        Value::Text(text) => Some(
            text.trim_start().len() > 10
                && temporal::parse_datetime(text, DateRules::ANY).is_some_and(|parsed| parsed.has_time),
        ),
        _ => None,
    };
    let micros = match (with_date(c, 0), with_date(c, 1)) {
        (Some(true), Some(true)) => {
            let (Some(a), Some(b)) = (c.datetime(0)?, c.datetime(1)?) else { return Ok(Value::Null) };
            a.to_micros() - b.to_micros()
        }
        (Some(true), _) | (_, Some(true)) => return Ok(Value::Null),
        _ => {
            let (Some(a), Some(b)) = (c.time(0)?, c.time(1)?) else { return Ok(Value::Null) };
            a.micros - b.micros
        }
    };
    let (time, clipped) = Time { micros }.clipped();
    if clipped {
        let mut shown = Vec::new();
        Time { micros }.write(0, &mut shown);
        let shown = String::from_utf8_lossy(&shown).into_owned();
        c.ctx.warn(ErrorCode::TruncatedWrongValue, format!("Truncated incorrect time value: '{shown}'"))?;
    }
    Ok(Value::Time(time))
}

fn timestamp_diff(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let Some(unit) = Unit::parse(&c.text(0)) else { return Ok(Value::Null) };
    let (Some(from), Some(to)) = (real_date(c, 1)?, real_date(c, 2)?) else { return Ok(Value::Null) };
    let micros = to.to_micros() - from.to_micros();
    let (early, late) = if micros < 0 { (to, from) } else { (from, to) };
    let sign = if micros < 0 { -1 } else { 1 };
    let months = || {
        let count = |at: DateTime| i64::from(at.date.year) * 12 + i64::from(at.date.month);
        let mut months = count(late) - count(early);
        if (late.date.day, late.micros) < (early.date.day, early.micros) {
            months -= 1;
        }
        months * sign
    };
    Ok(Value::Int(match unit {
        Unit::Year => months() / 12,
        Unit::Quarter => months() / 3,
        Unit::Month => months(),
        Unit::Week => micros / (7 * DAY),
        Unit::Day => micros / DAY,
        Unit::Hour => micros / HOUR,
        Unit::Minute => micros / MINUTE,
        Unit::Second => micros / SECOND,
        _ => micros,
    }))
}

fn format_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let length = args.get(1).map_or(0, |arg| u64::from(arg.sql_type.char_length()));
    Ok(connection_text(length.saturating_mul(10).min(16_000_000), ctx))
}

fn twelve(hour: u32) -> u32 {
    (hour + 11) % 12 + 1
}

fn ordinal(day: u8) -> &'static str {
    match day {
        11..=13 => "th",
        _ => match day % 10 {
            1 => "st",
            2 => "nd",
            3 => "rd",
            _ => "th",
        },
    }
}

/// DATE_FORMAT; `None` where a part cannot be told.
fn format_date(at: DateTime, format: &str) -> Option<String> {
    use std::fmt::Write;
    let date = at.date;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(letter) = chars.next() else {
            out.push('%');
            break;
        };
        // Writing to a string cannot fail.
        let _ = match letter {
            'M' => {
                out.push_str(MONTHS.get(usize::from(date.month).checked_sub(1)?)?);
                Ok(())
            }
            'b' => {
                out.push_str(&MONTHS.get(usize::from(date.month).checked_sub(1)?)?[..3]);
                Ok(())
            }
            'W' | 'a' => {
                if date.has_zero_parts() {
                    return None;
                }
                let name = DAYS[usize::from(date.weekday())];
                out.push_str(if letter == 'W' { name } else { &name[..3] });
                Ok(())
            }
            'D' => write!(out, "{}{}", date.day, ordinal(date.day)),
            'Y' => write!(out, "{:04}", date.year),
            'y' => write!(out, "{:02}", date.year % 100),
            'm' => write!(out, "{:02}", date.month),
            'c' => write!(out, "{}", date.month),
            'd' => write!(out, "{:02}", date.day),
            'e' => write!(out, "{}", date.day),
            'j' => {
                if date.has_zero_parts() {
                    return None;
                }
                write!(out, "{:03}", date.day_of_year())
            }
            'U' => write!(out, "{:02}", date.week(0).1),
            'u' => write!(out, "{:02}", date.week(1).1),
            'V' => write!(out, "{:02}", date.week(2).1),
            'v' => write!(out, "{:02}", date.week(3).1),
            'X' => write!(out, "{:04}", date.week(2).0),
            'x' => write!(out, "{:04}", date.week(3).0),
            'w' => {
                if date.has_zero_parts() {
                    return None;
                }
                write!(out, "{}", (date.weekday() + 1) % 7)
            }
            letter => {
                format_clock(at.time(), letter, &mut out);
                Ok(())
            }
        };
    }
    Some(out)
}

fn format_clock(time: Time, letter: char, out: &mut String) {
    use std::fmt::Write;
    let (_, hours, minutes, seconds, micros) = time.parts();
    let half = if hours % 24 < 12 { "AM" } else { "PM" };
    let _ = match letter {
        'f' => write!(out, "{micros:06}"),
        'H' => write!(out, "{hours:02}"),
        'k' => write!(out, "{hours}"),
        'h' | 'I' => write!(out, "{:02}", twelve(hours % 24)),
        'l' => write!(out, "{}", twelve(hours % 24)),
        'i' => write!(out, "{minutes:02}"),
        's' | 'S' => write!(out, "{seconds:02}"),
        'p' => write!(out, "{half}"),
        'r' => write!(out, "{:02}:{minutes:02}:{seconds:02} {half}", twelve(hours % 24)),
        'T' => write!(out, "{hours:02}:{minutes:02}:{seconds:02}"),
        other => {
            out.push(other);
            Ok(())
        }
    };
}

/// TIME_FORMAT: parts of dates are zero, names make it NULL.
fn format_time(time: Time, format: &str) -> Option<String> {
    let mut out = String::new();
    if time.micros < 0 {
        out.push('-');
    }
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some(letter)) => match letter {
                'Y' => out.push_str("0000"),
                'y' | 'm' | 'd' => out.push_str("00"),
                'c' | 'e' => out.push('0'),
                'M' | 'b' | 'W' | 'a' | 'D' | 'j' | 'U' | 'u' | 'V' | 'v' | 'X' | 'x' | 'w' => return None,
                letter => format_clock(time, letter, &mut out),
            },
            (c, _) => out.push(c),
        }
    }
    Some(out)
}

/// What a format of STR_TO_DATE can yield: (date parts, time parts, microseconds).
fn parts_of(format: &str) -> (bool, bool, bool) {
    let (mut date, mut time, mut micros) = (false, false, false);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            match chars.next() {
                Some('f') => {
                    time = true;
                    micros = true;
                }
                Some('H' | 'h' | 'I' | 'i' | 'k' | 'l' | 'p' | 'r' | 's' | 'S' | 'T') => time = true,
                Some(
                    'a' | 'b' | 'c' | 'D' | 'd' | 'e' | 'j' | 'M' | 'm' | 'U' | 'u' | 'V' | 'v' | 'W' | 'w'
                    | 'X' | 'x' | 'Y' | 'y',
                ) => date = true,
                _ => {}
            }
        }
    }
    (date, time, micros)
}

fn str_to_date_type(args: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    let Some(Value::Text(format)) = &args[1].constant else { return Ok(SqlType::DateTime { fsp: 6 }) };
    let (date, time, micros) = parts_of(format);
    let fsp = if micros { 6 } else { 0 };
    Ok(match (date, time) {
        (true, false) => SqlType::Date,
        (false, true) => SqlType::Time { fsp },
        _ => SqlType::DateTime { fsp },
    })
}

fn str_to_date(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (text, format) = (c.text(0), c.text(1));
    let Some((at, rest)) = read_format(&text, &format) else {
        let message = format!("Incorrect datetime value: '{text}' for function str_to_date");
        c.ctx.warn(ErrorCode::WrongValueType, message)?;
        return Ok(Value::Null);
    };
    let rules = DateRules::of_mode(c.ctx.sql_mode);
    let only_time = matches!(c.out, SqlType::Time { .. });
    if !only_time && !rules.allow(at.date) {
        let message = format!("Incorrect datetime value: '{text}' for function str_to_date");
        c.ctx.warn(ErrorCode::WrongValueType, message)?;
        return Ok(Value::Null);
    }
    if !rest.trim().is_empty() {
        let kind = match c.out {
            SqlType::Date => "date",
            SqlType::Time { .. } => "time",
            _ => "datetime",
        };
        c.ctx.warn(ErrorCode::TruncatedWrongValue, format!("Truncated incorrect {kind} value: '{text}'"))?;
    }
    Ok(match c.out {
        SqlType::Date => Value::Date(at.date),
        SqlType::Time { .. } => Value::Time(at.time()),
        _ => Value::DateTime(at),
    })
}

/// Takes at most `most` digits off the front.
fn take_number(rest: &mut &str, most: usize) -> Option<i64> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let number = rest[..count].parse().ok();
    *rest = &rest[count..];
    number
}

/// Takes a name, or its first three letters, off the front; answers which.
fn take_name(rest: &mut &str, names: &[&str], short: bool) -> Option<usize> {
    let found = names.iter().position(|name| {
        let name = if short { &name[..3] } else { name };
        rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
    })?;
    let length = if short { 3 } else { names[found].len() };
    *rest = &rest[length..];
    Some(found)
}

/// Reads a text by a format; `None` if it does not follow it. Also what is left of the text.
fn read_format<'t>(text: &'t str, format: &str) -> Option<(DateTime, &'t str)> {
    let mut rest = text.trim_start();
    let (mut year, mut month, mut day) = (0i64, 0i64, 0i64);
    let (mut hour, mut minute, mut second, mut micros) = (0i64, 0i64, 0i64, 0i64);
    let mut half: Option<bool> = None;
    let mut twelve_hours = false;
    let mut day_of_year: Option<i64> = None;
    let mut weekday: Option<i64> = None;
    let mut week: Option<(i64, bool, bool)> = None;
    let mut week_year: Option<i64> = None;
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if rest.is_empty() && c == '%' {
            break;
        }
        if c != '%' {
            if c.is_whitespace() {
                rest = rest.trim_start();
                continue;
            }
            rest = rest.trim_start();
            match rest.strip_prefix(c) {
                Some(after) => rest = after,
                None if rest.is_empty() => break,
                None => return None,
            }
            continue;
        }
        let letter = chars.next()?;
        rest = rest.trim_start();
        match letter {
            'Y' => {
                let before = rest.len();
                let number = take_number(&mut rest, 4)?;
                year = if before - rest.len() <= 2 { two_digits(number) } else { number };
            }
            'y' => year = two_digits(take_number(&mut rest, 2)?),
            'm' | 'c' => month = take_number(&mut rest, 2)?,
            'M' => month = take_name(&mut rest, &MONTHS, false)? as i64 + 1,
            'b' => month = take_name(&mut rest, &MONTHS, true)? as i64 + 1,
            'd' | 'e' => day = take_number(&mut rest, 2)?,
            'D' => {
                day = take_number(&mut rest, 2)?;
                rest = rest.get(2..).unwrap_or("");
            }
            'H' | 'k' => hour = take_number(&mut rest, 2)?,
            'h' | 'I' | 'l' => {
                hour = take_number(&mut rest, 2)?;
                twelve_hours = true;
            }
            'i' => minute = take_number(&mut rest, 2)?,
            's' | 'S' => second = take_number(&mut rest, 2)?,
            'f' => {
                let before = rest.len();
                micros = take_number(&mut rest, 6)?;
                micros *= 10i64.pow(6 - (before - rest.len()) as u32);
            }
            'p' => {
                let word = rest.get(..2)?;
                half = Some(if word.eq_ignore_ascii_case("PM") {
                    true
                } else if word.eq_ignore_ascii_case("AM") {
                    false
                } else {
                    return None;
                });
                rest = &rest[2..];
            }
            'W' => weekday = Some(take_name(&mut rest, &DAYS, false)? as i64 + 1),
            'a' => weekday = Some(take_name(&mut rest, &DAYS, true)? as i64 + 1),
            'w' => {
                let number = take_number(&mut rest, 1)?;
                if number > 6 {
                    return None;
                }
                weekday = Some(if number == 0 { 7 } else { number });
            }
            'j' => day_of_year = Some(take_number(&mut rest, 3)?),
            'V' | 'U' | 'v' | 'u' => {
                let number = take_number(&mut rest, 2)?;
                let sunday = matches!(letter, 'V' | 'U');
                let strict = matches!(letter, 'V' | 'v');
                if number > 53 || strict && number == 0 {
                    return None;
                }
                week = Some((number, sunday, strict));
            }
            'X' | 'x' => week_year = Some(take_number(&mut rest, 4)?),
            'r' | 'T' => {
                let inner = if letter == 'r' { "%I:%i:%S %p" } else { "%H:%i:%S" };
                let (at, after) = read_format(rest, inner)?;
                let (_, h, m, s, _) = at.time().parts();
                (hour, minute, second) = (h.into(), m.into(), s.into());
                rest = after;
            }
            '.' => rest = rest.trim_start_matches(|c: char| c.is_ascii_punctuation()),
            '@' => rest = rest.trim_start_matches(|c: char| c.is_alphabetic()),
            '#' => rest = rest.trim_start_matches(|c: char| c.is_ascii_digit()),
            other => rest = rest.strip_prefix(other)?,
        }
    }
    if twelve_hours || half.is_some() {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half == Some(true) { 12 } else { 0 };
    }
    if month > 12 || day > 31 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut date = Date::new(year as u16, month as u8, day as u8);
    if let Some(number) = day_of_year {
        if number < 1 || number > if is_leap(date.year) { 366 } else { 365 } {
            return None;
        }
        date = Date::from_days(Date::new(date.year, 1, 1).to_days() + number - 1)?;
    }
    if let (Some((number, sunday, strict)), Some(weekday)) = (week, weekday) {
        let base = if strict { week_year? } else { year };
        let first = Date::new(base as u16, 1, 1);
        let start = if sunday { i64::from((first.weekday() + 1) % 7) } else { i64::from(first.weekday()) };
        let days = if sunday {
            let ahead = if start == 0 { 0 } else { 7 };
            ahead - start + (number - 1) * 7 + weekday % 7
        } else {
            (if start <= 3 { 0 } else { 7 }) - start + (number - 1) * 7 + (weekday - 1)
        };
        date = Date::from_days(first.to_days() + days).filter(|date| !date.is_zero())?;
    }
    let time = hour * HOUR + minute * MINUTE + second * SECOND + micros;
    Some((DateTime { date, micros: time }, rest))
}

fn two_digits(number: i64) -> i64 {
    if number < 70 {
        number + 2000
    } else if number < 100 {
        number + 1900
    } else {
        number
    }
}
