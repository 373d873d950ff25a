//! Functions of strings.

use super::*;
use crate::compare;
use crate::number;
use std::cmp::Ordering;

pub(super) const FUNCTIONS: &[Function] = &[
    f("ASCII", 1, 1, Propagate, Apart, int, |c| {
        Ok(Value::Int(c.bytes(0).first().copied().unwrap_or(0).into()))
    }),
    f("BIN", 1, 1, Propagate, Apart, |_, ctx| Ok(connection_text(64, ctx)), |c| radix(c, 2)),
    f("BIT_LENGTH", 1, 1, Propagate, Apart, bigint, |c| Ok(Value::Int(c.bytes(0).len() as i64 * 8))),
    f("CHAR", 1, 99, See, Apart, |args, _| Ok(SqlType::VarBinary { length: args.len() as u32 * 4 }), char_),
    f("CHARACTER_LENGTH", 1, 1, Propagate, Apart, int, char_length),
    f("CHAR_LENGTH", 1, 1, Propagate, Apart, int, char_length),
    f("CONCAT", 1, 99, Propagate, Join, concat_type, concat),
    f("CONCAT_WS", 2, 99, See, Join, concat_ws_type, concat_ws),
    f("CONV", 3, 3, Propagate, Apart, |_, ctx| Ok(connection_text(65, ctx)), conv),
    f("ELT", 2, 99, See, Join, |args, ctx| longest(&args[1..], args, ctx), elt),
    f("EXPORT_SET", 3, 5, Propagate, Join, long_joined, export_set),
    f("FIELD", 2, 99, See, Compare, int, field),
    f("FIND_IN_SET", 2, 2, Propagate, Compare, int, find_in_set),
    f("FORMAT", 2, 3, See, Apart, |_, ctx| Ok(connection_text(80, ctx)), format_),
    f("FROM_BASE64", 1, 1, Propagate, Apart, long_binary, |c| {
        Ok(from_base64(&c.bytes(0)).map_or(Value::Null, |bytes| Value::Bytes(bytes.into())))
    }),
    f("HEX", 1, 1, Propagate, Apart, hex_type, hex),
    f("INSERT", 4, 4, Propagate, Join, |args, ctx| sum_lengths(&[0, 3], args, ctx), insert),
    f("INSTR", 2, 2, Propagate, Compare, int, |c| locate(c, 0, 1, 1)),
    f("LCASE", 1, 1, Propagate, First, like_first, |c| change_case(c, lower)),
    f("LEFT", 2, 2, Propagate, First, left_type, |c| {
        let count = c.int(1)?;
        side(c, count, true)
    }),
    f("LENGTH", 1, 1, Propagate, Apart, int, |c| Ok(Value::Int(c.bytes(0).len() as i64))),
    f("LOCATE", 2, 3, Propagate, Compare, int, |c| {
        let start = if c.len() > 2 { c.int(2)? } else { 1 };
        locate(c, 1, 0, start)
    }),
    f("LOWER", 1, 1, Propagate, First, like_first, |c| change_case(c, lower)),
    f("LPAD", 3, 3, Propagate, Join, pad_type, |c| pad(c, true)),
    f("LTRIM", 1, 2, Propagate, Join, like_first, |c| trim(c, true, false)),
    f("MAKE_SET", 2, 99, See, Join, long_joined, make_set),
    f("MID", 2, 3, Propagate, First, like_first, substring),
    f("OCT", 1, 1, Propagate, Apart, |_, ctx| Ok(connection_text(64, ctx)), |c| radix(c, 8)),
    f("OCTET_LENGTH", 1, 1, Propagate, Apart, int, |c| Ok(Value::Int(c.bytes(0).len() as i64))),
    f("ORD", 1, 1, Propagate, Apart, bigint, |c| {
        let first = if c.is_binary(0) {
            c.bytes(0).first().map_or(0, |byte| i64::from(*byte))
        } else {
            let text = c.text(0);
            let mut buffer = [0; 4];
            let bytes =
                text.chars().next().map_or(&[][..], |first| first.encode_utf8(&mut buffer).as_bytes());
            bytes.iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte))
        };
        Ok(Value::Int(first))
    }),
    f("POSITION", 2, 2, Propagate, Compare, int, |c| locate(c, 1, 0, 1)),
    f(
        "QUOTE",
        1,
        1,
        See,
        First,
        |args, ctx| {
            let length = args[0].sql_type.char_length();
            Ok(SqlType::string(u64::from(length) * 2 + 2, collation_of(args, 0, ctx)))
        },
        quote,
    ),
    f("REGEXP_INSTR", 2, 6, Propagate, Compare, int, regexp_instr),
    f("REGEXP_LIKE", 2, 3, Propagate, Compare, boolean, regexp_like),
    f("REGEXP_REPLACE", 3, 6, Propagate, Join, long_joined, regexp_replace),
    f("REGEXP_SUBSTR", 2, 5, Propagate, Join, like_first, regexp_substr),
    f("REPEAT", 2, 2, Propagate, First, repeat_type, repeat),
    f("REPLACE", 3, 3, Propagate, Join, long_joined, replace),
    f("REVERSE", 1, 1, Propagate, First, like_first, |c| {
        if c.is_binary(0) {
            let mut bytes = c.bytes(0).to_vec();
            bytes.reverse();
            return Ok(c.string(bytes));
        }
        Ok(Value::text(c.text(0).chars().rev().collect::<String>()))
    }),
    f("RIGHT", 2, 2, Propagate, First, left_type, |c| {
        let count = c.int(1)?;
        side(c, count, false)
    }),
    f("RPAD", 3, 3, Propagate, Join, pad_type, |c| pad(c, false)),
    f("RTRIM", 1, 2, Propagate, Join, like_first, |c| trim(c, false, true)),
    f(
        "SOUNDEX",
        1,
        1,
        Propagate,
        First,
        |args, ctx| {
            let length = args[0].sql_type.char_length().max(4);
            Ok(SqlType::string(length.into(), collation_of(args, 0, ctx)))
        },
        |c| Ok(Value::text(soundex(&c.text(0)))),
    ),
    f(
        "SPACE",
        1,
        1,
        Propagate,
        Apart,
        |args, ctx| {
            let length = constant_int(args.first()).unwrap_or(i64::from(u32::MAX)).max(0);
            Ok(connection_text(length as u64, ctx))
        },
        |c| {
            let count = c.int(0)?.max(0);
            if !c.allowed(count as u64)? {
                return Ok(Value::Null);
            }
            Ok(Value::text(" ".repeat(count as usize)))
        },
    ),
    f("STRCMP", 2, 2, Propagate, Compare, int, |c| {
        let collation = c.collation();
        let order = if collation.is_binary() {
            c.bytes(0).cmp(&c.bytes(1))
        } else {
            collation.compare(&c.text(0), &c.text(1))
        };
        Ok(Value::Int(match order {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    }),
    f("SUBSTR", 2, 3, Propagate, First, like_first, substring),
    f("SUBSTRING", 2, 3, Propagate, First, like_first, substring),
    f("SUBSTRING_INDEX", 3, 3, Propagate, Join, like_first, substring_index),
    f(
        "TO_BASE64",
        1,
        1,
        Propagate,
        Apart,
        |args, ctx| {
            let bytes = u64::from(args[0].sql_type.char_length()) * 4;
            Ok(connection_text(bytes / 3 * 4 / 3 + bytes / 57 + 8, ctx))
        },
        |c| Ok(Value::text(to_base64(&c.bytes(0)))),
    ),
    f("TRIM", 1, 2, Propagate, Join, like_first, |c| trim(c, true, true)),
    f("UCASE", 1, 1, Propagate, First, like_first, |c| change_case(c, upper)),
    f(
        "UNHEX",
        1,
        1,
        Propagate,
        Apart,
        |args, _| {
            Ok(SqlType::string(u64::from(args[0].sql_type.char_length()).div_ceil(2), Collation::BINARY))
        },
        |c| match unhex(&c.bytes(0)) {
            Some(bytes) => Ok(Value::Bytes(bytes.into())),
            None => {
                let text = c.text(0).into_owned();
                c.ctx.warn(
                    ErrorCode::WrongValueType,
                    format!("Incorrect string value: '{text}' for function unhex"),
                )?;
                Ok(Value::Null)
            }
        },
    ),
    f("UPPER", 1, 1, Propagate, First, like_first, |c| change_case(c, upper)),
    f("WEIGHT_STRING", 1, 1, Propagate, Apart, long_binary, |c| {
        if c.is_binary(0) {
            return Ok(Value::Bytes(c.bytes(0)));
        }
        let Some(collation) = c.arg_type(0).text_collation() else { return Ok(Value::Null) };
        let mut key = Vec::new();
        collation.sort_key(&c.text(0), &mut key);
        Ok(Value::Bytes(key.into()))
    }),
];

fn long_binary(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::string(u64::from(u32::MAX), Collation::BINARY))
}

fn concat_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let length: u64 = args.iter().map(|arg| u64::from(arg.sql_type.char_length())).sum();
    Ok(SqlType::string(length, joined(args, ctx)))
}

fn concat_ws_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let texts: u64 = args[1..].iter().map(|arg| u64::from(arg.sql_type.char_length())).sum();
    let separators = u64::from(args[0].sql_type.char_length()) * (args.len() as u64 - 2);
    Ok(SqlType::string(texts + separators, joined(args, ctx)))
}

fn longest(of: &[ArgType], all: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let length = of.iter().map(|arg| arg.sql_type.char_length()).max().unwrap_or(0);
    Ok(SqlType::string(length.into(), joined(all, ctx)))
}

fn sum_lengths(of: &[usize], args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let length: u64 = of.iter().map(|at| u64::from(args[*at].sql_type.char_length())).sum();
    Ok(SqlType::string(length, joined(args, ctx)))
}

fn hex_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let first = &args[0].sql_type;
    let bytes = match first.text_collation() {
        Some(collation) => u64::from(first.char_length()) * u64::from(collation.charset().max_length()),
        None => u64::from(first.char_length()).max(8),
    };
    Ok(connection_text(bytes * 2, ctx))
}

fn left_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let own = args[0].sql_type.char_length();
    let length =
        constant_int(args.get(1)).map_or(own, |count| own.min(count.clamp(0, u32::MAX.into()) as u32));
    Ok(SqlType::string(length.into(), collation_of(args, 0, ctx)))
}

fn pad_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let length = constant_int(args.get(1)).unwrap_or(i64::from(u32::MAX)).max(0);
    Ok(SqlType::string(length as u64, joined(args, ctx)))
}

fn repeat_type(args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
    let count = constant_int(args.get(1)).unwrap_or(i64::from(u32::MAX)).max(0) as u64;
    let length = u64::from(args[0].sql_type.char_length()).saturating_mul(count);
    Ok(SqlType::string(length, collation_of(args, 0, ctx)))
}

fn char_length(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.is_binary(0) {
        return Ok(Value::Int(c.bytes(0).len() as i64));
    }
    Ok(Value::Int(c.text(0).chars().count() as i64))
}

fn char_(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let mut out = Vec::new();
    for at in 0..c.len() {
        if c.arg(at).is_null() {
            continue;
        }
        let code = c.int(at)? as u32;
        let bytes = code.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
        out.extend_from_slice(&bytes[start..]);
    }
    Ok(Value::Bytes(out.into()))
}

fn concat(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let mut out = Vec::new();
    for at in 0..c.len() {
        crate::format::write_text(c.arg(at), c.arg_type(at), &mut out);
    }
    if !c.allowed(out.len() as u64)? {
        return Ok(Value::Null);
    }
    Ok(c.string(out))
}

fn concat_ws(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() {
        return Ok(Value::Null);
    }
    let separator = c.bytes(0);
    let mut out = Vec::new();
    let mut first = true;
    for at in 1..c.len() {
        if c.arg(at).is_null() {
            continue;
        }
        if !first {
            out.extend_from_slice(&separator);
        }
        first = false;
        crate::format::write_text(c.arg(at), c.arg_type(at), &mut out);
    }
    if !c.allowed(out.len() as u64)? {
        return Ok(Value::Null);
    }
    Ok(c.string(out))
}

fn digits_of(mut number: u64, base: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(number % base) as usize]);
        number /= base;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
}

fn radix(c: &mut Call<'_>, base: u64) -> Result<Value, SqlError> {
    let number = match c.arg(0) {
        // Text counts as far as it is digits, without a word, as in CONV.
        Value::Text(text) => number::parse_int(text.as_bytes()).value as u64,
        value => convert::to_bits(value, c.ctx)?.unwrap_or(0),
    };
    Ok(Value::text(digits_of(number, base)))
}

fn conv(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (from, to) = (c.int(1)?, c.int(2)?);
    let (from_base, to_base) = (from.unsigned_abs(), to.unsigned_abs());
    if !(2..=36).contains(&from_base) || !(2..=36).contains(&to_base) {
        return Ok(Value::Null);
    }
    let text = c.text(0);
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut number = 0u64;
    let mut found = false;
    for digit in digits.chars() {
        let Some(digit) = digit.to_digit(from_base as u32) else { break };
        found = true;
        number = match number.checked_mul(from_base).and_then(|n| n.checked_add(digit.into())) {
            Some(number) => number,
            None => {
                number = u64::MAX;
                break;
            }
        };
    }
    if !found && text.is_empty() {
        return Ok(Value::Null);
    }
    let number = if negative { number.wrapping_neg() } else { number };
    if to < 0 && (number as i64) < 0 {
        return Ok(Value::text(format!("-{}", digits_of((number as i64).unsigned_abs(), to_base))));
    }
    Ok(Value::text(digits_of(number, to_base)))
}

fn elt(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() {
        return Ok(Value::Null);
    }
    let at = c.int(0)?;
    if at < 1 || at >= c.len() as i64 || c.arg(at as usize).is_null() {
        return Ok(Value::Null);
    }
    Ok(c.string(c.bytes(at as usize)))
}

fn export_set(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let bits = convert::to_bits(c.arg(0), c.ctx)?.unwrap_or(0);
    let (on, off) = (c.bytes(1), c.bytes(2));
    let separator = if c.len() > 3 { c.bytes(3) } else { Bytes::from_static(b",") };
    let count = if c.len() > 4 { c.int(4)? } else { 64 };
    let count = if (0..=64).contains(&count) { count } else { 64 };
    let mut out = Vec::new();
    for bit in 0..count {
        if bit > 0 {
            out.extend_from_slice(&separator);
        }
        out.extend_from_slice(if bits >> bit & 1 == 1 { &on } else { &off });
    }
    Ok(c.string(out))
}

fn field(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() {
        return Ok(Value::Int(0));
    }
    let text = |t: &SqlType| t.text_collation().is_some() || t.is_temporal() || matches!(t, SqlType::Null);
    let all_text = c.types.iter().all(text);
    let all_int = c.types.iter().all(|t| t.is_integer() || matches!(t, SqlType::Null));
    let rule = if all_text {
        compare::Comparison::Text(c.collation())
    } else if all_int {
        compare::Comparison::Int
    } else {
        compare::Comparison::Double
    };
    for at in 1..c.len() {
        if compare::equal(c.arg(0), c.arg(at), &rule, c.ctx)? == Some(true) {
            return Ok(Value::Int(at as i64));
        }
    }
    Ok(Value::Int(0))
}

fn find_in_set(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (needle, list) = (c.text(0), c.text(1));
    if list.is_empty() || needle.contains(',') {
        return Ok(Value::Int(0));
    }
    let collation = c.collation();
    let same =
        |part: &str| if collation.is_binary() { part == needle } else { collation.equal(part, &needle) };
    Ok(Value::Int(list.split(',').position(same).map_or(0, |at| at as i64 + 1)))
}

fn format_(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() || c.arg(1).is_null() {
        return Ok(Value::Null);
    }
    let places = c.int(1)?.clamp(0, 30) as u8;
    let (thousands, point) = if c.len() > 2 && !c.arg(2).is_null() {
        let locale = c.text(2).to_ascii_lowercase();
        match locale.as_str() {
            "de_de" | "es_es" | "nl_nl" | "it_it" | "pt_br" | "da_dk" | "id_id" | "tr_tr" | "el_gr" => {
                if matches!(locale.as_str(), "es_es" | "it_it" | "el_gr") { ("", ',') } else { (".", ',') }
            }
            "fr_fr" | "pt_pt" | "pl_pl" | "bg_bg" => ("", ','),
            "ru_ru" | "uk_ua" | "cs_cz" | "sv_se" | "nb_no" | "fi_fi" => {
                (if locale == "ru_ru" || locale == "uk_ua" { "." } else { " " }, ',')
            }
            "de_ch" => ("'", '.'),
            _ => (",", '.'),
        }
    } else {
        (",", '.')
    };
    let real = matches!(c.arg(0), Value::Double(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_));
    let mut out = Vec::new();
    if real {
        let number = number::round_f64(c.real(0)?, places.into(), false);
        number::write_fixed(number, places, &mut out);
    } else {
        c.decimal(0)?.write(places, &mut out);
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push_str(thousands);
        }
        grouped.push(digit);
    }
    if places > 0 {
        grouped.push(point);
        grouped.push_str(fraction);
    }
    Ok(Value::text(grouped))
}

pub(super) fn hex_of(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
        out.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
    }
    out
}

pub(super) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len().div_ceil(2));
    let (head, pairs) = text.split_at(text.len() % 2);
    if let [single] = head {
        out.push(digit(single)?);
    }
    for pair in pairs.chunks(2) {
        out.push(digit(&pair[0])? << 4 | digit(&pair[1])?);
    }
    Some(out)
}

fn hex(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let numeric = matches!(
        c.arg(0),
        Value::Int(_)
            | Value::UInt(_)
            | Value::Decimal(_)
            | Value::Double(_)
            | Value::Float(_)
            | Value::Bit(_)
    );
    if let Value::Double(_) | Value::Float(_) = c.arg(0) {
        // Halves go away from zero, and then as far as they fit an unsigned integer; unlike CAST.
        let rounded = match c.arg(0) {
            Value::Double(number) => number.round(),
            Value::Float(number) => f64::from(*number).round(),
            _ => 0.0,
        };
        let bits = if rounded <= i64::MIN as f64 || rounded >= u64::MAX as f64 {
            u64::MAX
        } else if rounded < 0.0 {
            rounded as i64 as u64
        } else {
            rounded as u64
        };
        return Ok(Value::text(format!("{bits:X}")));
    }
    if numeric {
        return radix(c, 16);
    }
    let bytes = c.bytes(0);
    if !c.allowed(bytes.len() as u64 * 2)? {
        return Ok(Value::Null);
    }
    Ok(Value::text(hex_of(&bytes)))
}

/// The bytes from character `start` on (0-based), `count` characters of them.
fn char_slice(text: &str, start: usize, count: usize) -> &str {
    let mut indices = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    let Some(from) = indices.nth(start) else { return "" };
    if count == 0 {
        return "";
    }
    let to = indices.nth(count - 1).unwrap_or(text.len());
    &text[from..to]
}

/// A piece of operand 0 as a value that shares its buffer where it can.
fn piece(c: &Call<'_>, start: usize, count: usize) -> Value {
    if c.is_binary(0) {
        let bytes = c.bytes(0);
        let start = start.min(bytes.len());
        let end = start.saturating_add(count).min(bytes.len());
        return c.string(bytes.slice(start..end));
    }
    if let Value::Text(text) = c.arg(0) {
        let part = char_slice(text, start, count);
        return c.string(text.bytes().slice_ref(part.as_bytes()));
    }
    Value::text(char_slice(&c.text(0), start, count))
}

fn length_of(c: &Call<'_>, at: usize) -> usize {
    if c.is_binary(at) { c.bytes(at).len() } else { c.text(at).chars().count() }
}

fn side(c: &mut Call<'_>, count: i64, left: bool) -> Result<Value, SqlError> {
    let length = length_of(c, 0);
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX).min(length);
    Ok(if left { piece(c, 0, count) } else { piece(c, length - count, count) })
}

fn substring(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let start = c.int(1)?;
    let count = if c.len() > 2 { c.int(2)? } else { i64::MAX };
    if count <= 0 || start == 0 {
        return Ok(c.string(Bytes::new()));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let from = if start > 0 {
        usize::try_from(start - 1).unwrap_or(usize::MAX)
    } else {
        match length_of(c, 0).checked_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)) {
            Some(from) => from,
            None => return Ok(c.string(Bytes::new())),
        }
    };
    Ok(piece(c, from, count))
}

fn insert(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (position, count) = (c.int(1)?, c.int(2)?);
    let length = length_of(c, 0) as i64;
    if position < 1 || position > length {
        return Ok(c.string(c.bytes(0)));
    }
    let start = position - 1;
    let count = if count < 0 || count > length - start { length - start } else { count };
    let (start, count) = (start as usize, count as usize);
    let mut out = Vec::new();
    if c.is_binary(0) {
        let bytes = c.bytes(0);
        out.extend_from_slice(&bytes[..start]);
        out.extend_from_slice(&c.bytes(3));
        out.extend_from_slice(&bytes[start + count..]);
    } else {
        let text = c.text(0);
        out.extend_from_slice(char_slice(&text, 0, start).as_bytes());
        out.extend_from_slice(&c.bytes(3));
        out.extend_from_slice(char_slice(&text, start + count, usize::MAX).as_bytes());
    }
    if !c.allowed(out.len() as u64)? {
        return Ok(Value::Null);
    }
    Ok(c.string(out))
}

/// The first place, counted in characters from `from` (0-based), where `needle` is. As in MySQL, what matches
/// is as many bytes long as what is sought: 'e' is not found in 'é', though they are equal.
fn find(text: &str, needle: &str, from: usize, collation: Collation) -> Option<usize> {
    let mut starts = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len())).enumerate();
    starts.find_map(|(place, at)| {
        let part = if place < from { None } else { text.get(at..at + needle.len()) };
        part.filter(|part| collation.equal(part, needle)).map(|_| place)
    })
}

fn locate(c: &mut Call<'_>, text: usize, needle: usize, start: i64) -> Result<Value, SqlError> {
    let Ok(from) = usize::try_from(start.saturating_sub(1)) else { return Ok(Value::Int(0)) };
    if c.is_binary(text) || c.is_binary(needle) {
        let (bytes, needle) = (c.bytes(text), c.bytes(needle));
        let found = bytes.get(from..).and_then(|rest| memchr::memmem::find(rest, &needle));
        return Ok(Value::Int(found.map_or(0, |at| (at + from) as i64 + 1)));
    }
    let found = find(&c.text(text), &c.text(needle), from, c.collation());
    Ok(Value::Int(found.map_or(0, |at| at as i64 + 1)))
}

fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn change_case(c: &mut Call<'_>, change: fn(char) -> char) -> Result<Value, SqlError> {
    // Bytes have no case.
    if c.is_binary(0) {
        return Ok(c.string(c.bytes(0)));
    }
    Ok(Value::text(c.text(0).chars().map(change).collect::<String>()))
}

fn pad(c: &mut Call<'_>, left: bool) -> Result<Value, SqlError> {
    let wanted = c.int(1)?;
    if wanted < 0 {
        return Ok(Value::Null);
    }
    if !c.allowed(wanted as u64)? {
        return Ok(Value::Null);
    }
    let wanted = wanted as usize;
    let length = length_of(c, 0);
    if length >= wanted {
        return Ok(piece(c, 0, wanted));
    }
    let binary = c.is_binary(0) || c.is_binary(2);
    let missing = wanted - length;
    let filling = if binary {
        let unit = c.bytes(2);
        unit.iter().copied().cycle().take(if unit.is_empty() { 0 } else { missing }).collect::<Vec<u8>>()
    } else {
        let unit = c.text(2);
        let filling: String = unit.chars().cycle().take(missing).collect();
        filling.into_bytes()
    };
    if filling.is_empty() {
        return Ok(c.string(Bytes::new()));
    }
    let own = c.bytes(0);
    let out = if left { [&filling[..], &own].concat() } else { [&own[..], &filling].concat() };
    Ok(c.string(out))
}

fn trim(c: &mut Call<'_>, left: bool, right: bool) -> Result<Value, SqlError> {
    let remove = if c.len() > 1 { c.bytes(1) } else { Bytes::from_static(b" ") };
    let bytes = c.bytes(0);
    let mut rest = &bytes[..];
    if !remove.is_empty() {
        while left && rest.starts_with(&remove) {
            rest = &rest[remove.len()..];
        }
        while right && rest.ends_with(&remove) {
            rest = &rest[..rest.len() - remove.len()];
        }
    }
    Ok(c.string(bytes.slice_ref(rest)))
}

fn make_set(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let Some(bits) = convert::to_bits(c.arg(0), c.ctx)? else { return Ok(Value::Null) };
    let mut parts = Vec::new();
    for at in 1..c.len().min(65) {
        if bits >> (at - 1) & 1 == 1 && !c.arg(at).is_null() {
            parts.push(c.bytes(at));
        }
    }
    Ok(c.string(parts.join(&b","[..])))
}

fn quote(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() {
        return Ok(Value::text("NULL"));
    }
    let mut out = String::from("'");
    for letter in c.text(0).chars() {
        match letter {
            '\0' => out.push_str("\\0"),
            '\u{1a}' => out.push_str("\\Z"),
            '\'' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            letter => out.push(letter),
        }
    }
    out.push('\'');
    Ok(Value::text(out))
}

fn repeat(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let count = c.int(1)?;
    let bytes = c.bytes(0);
    if count <= 0 || bytes.is_empty() {
        return Ok(c.string(Bytes::new()));
    }
    if !c.allowed((bytes.len() as u64).saturating_mul(count as u64))? {
        return Ok(Value::Null);
    }
    Ok(c.string(bytes.repeat(count as usize)))
}

/// REPLACE is case-sensitive whatever the collation.
fn replace(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (text, from, to) = (c.bytes(0), c.bytes(1), c.bytes(2));
    if from.is_empty() {
        return Ok(c.string(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for found in memchr::memmem::find_iter(&text, &from) {
        out.extend_from_slice(&text[at..found]);
        out.extend_from_slice(&to);
        at = found + from.len();
        if out.len() as u64 > c.ctx.max_allowed_packet {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
    if !c.allowed(out.len() as u64)? {
        return Ok(Value::Null);
    }
    Ok(c.string(out))
}

fn soundex(text: &str) -> String {
    let code = |c: char| -> Option<char> {
        Some(match c.to_ascii_uppercase() {
            'B' | 'F' | 'P' | 'V' => '1',
            'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
            'D' | 'T' => '3',
            'L' => '4',
            'M' | 'N' => '5',
            'R' => '6',
            _ => return None,
        })
    };
    let mut letters = text.chars().filter(|c| c.is_alphabetic());
    let Some(first) = letters.next() else { return String::new() };
    let mut out = String::from(upper(first));
    let mut last = code(first);
    for letter in letters {
        let this = code(letter);
        // H and W do not separate equal codes' letters here: MySQL skips every letter without a code.
        if let Some(digit) = this
            && this != last
        {
            out.push(digit);
        }
        if this.is_some() {
            last = this;
        }
    }
    while out.chars().count() < 4 {
        out.push('0');
    }
    out
}

fn substring_index(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let (text, delimiter) = (c.bytes(0), c.bytes(1));
    let count = c.int(2)?;
    if count == 0 || delimiter.is_empty() || text.is_empty() {
        return Ok(c.string(Bytes::new()));
    }
    let places: Vec<usize> = memchr::memmem::find_iter(&text, &delimiter).collect();
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let part = if count > 0 {
        places.get(wanted - 1).map(|end| text.slice(..*end))
    } else {
        places.len().checked_sub(wanted).map(|at| text.slice(places[at] + delimiter.len()..))
    };
    Ok(c.string(part.unwrap_or(text)))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for (i, chunk) in bytes.chunks(3).enumerate() {
        // A line has 76 characters.
        if i > 0 && i % 19 == 0 {
            out.push('\n');
        }
        let all = chunk.iter().fold(0u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(BASE64[(all >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut padding) = (0u32, 0, 0);
    for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'=' => {
                padding += 1;
                0
            }
            byte => {
                if padding > 0 {
                    return None;
                }
                BASE64.iter().position(|known| known == byte)? as u32
            }
        };
        bits = bits << 6 | value;
        count += 1;
        if count == 4 {
            if padding > 2 {
                return None;
            }
            out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
            (bits, count) = (0, 0);
        }
    }
    (count == 0).then_some(out)
}

/// The compiled expression of operand 1 with the match type in operand `at`.
fn compiled(c: &mut Call<'_>, at: usize) -> Result<regex::Regex, SqlError> {
    let match_type = if c.len() > at { c.text(at).into_owned() } else { String::new() };
    let pattern = c.text(1).into_owned();
    let collation = c.collation();
    compare::regex(&pattern, &match_type, collation, c.ctx)
}

fn regexp_like(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let regex = compiled(c, 2)?;
    Ok(Value::Int(regex.is_match(&c.text(0)).into()))
}

/// The byte at which character `position` (from 1) begins.
fn byte_at(text: &str, position: i64) -> Result<usize, SqlError> {
    let out = || SqlError::new(ErrorCode::RegexpError, "Index out of bounds in regular expression search.");
    let at = usize::try_from(position.saturating_sub(1)).map_err(|_| out())?;
    text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len())).nth(at).ok_or_else(out)
}

fn regexp_instr(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let regex = compiled(c, 5)?;
    let text = c.text(0);
    let position = if c.len() > 2 { c.int(2)? } else { 1 };
    let occurrence = if c.len() > 3 { c.int(3)?.max(1) } else { 1 };
    let end = c.len() > 4 && c.int(4)? == 1;
    if text.is_empty() {
        return Ok(Value::Int(i64::from(regex.is_match(""))));
    }
    let start = byte_at(&text, position)?;
    let found = regex.find_iter(&text[start..]).nth(occurrence as usize - 1);
    Ok(Value::Int(found.map_or(0, |found| {
        let at = start + if end { found.end() } else { found.start() };
        text[..at].chars().count() as i64 + 1
    })))
}

fn regexp_substr(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let regex = compiled(c, 4)?;
    let text = c.text(0);
    let position = if c.len() > 2 { c.int(2)? } else { 1 };
    let occurrence = if c.len() > 3 { c.int(3)?.max(1) } else { 1 };
    let start = byte_at(&text, position)?;
    let found = regex.find_iter(&text[start..]).nth(occurrence as usize - 1);
    Ok(found.map_or(Value::Null, |found| Value::text(found.as_str())))
}

fn regexp_replace(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let regex = compiled(c, 5)?;
    let text = c.text(0);
    let replacement = c.text(2);
    let position = if c.len() > 3 { c.int(3)? } else { 1 };
    let occurrence = if c.len() > 4 { c.int(4)?.max(0) as usize } else { 0 };
    let start = if text.is_empty() { 0 } else { byte_at(&text, position)? };
    let mut out = text[..start].to_owned();
    let rest = &text[start..];
    let mut at = 0;
    for (i, found) in regex.captures_iter(rest).enumerate() {
        if occurrence > 0 && i + 1 != occurrence {
            continue;
        }
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&rest[at..whole.start()]);
        expand(&replacement, &found, &mut out);
        at = whole.end();
        if out.len() as u64 > c.ctx.max_allowed_packet {
            c.allowed(out.len() as u64)?;
            return Ok(Value::Null);
        }
    }
    out.push_str(&rest[at..]);
    Ok(Value::text(out))
}

/// Puts the groups into a replacement: `$1`; a backslash takes the next character as it is.
fn expand(replacement: &str, found: &regex::Captures<'_>, out: &mut String) {
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            '$' => match chars.peek().and_then(|c| c.to_digit(10)) {
                Some(group) => {
                    chars.next();
                    out.push_str(found.get(group as usize).map_or("", |group| group.as_str()));
                }
                None => out.push('$'),
            },
            c => out.push(c),
        }
    }
}
