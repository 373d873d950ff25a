//! JSON documents as MySQL keeps them: object keys ordered by length, then bytes.
//!
//! Here: the value, reading, printing, comparing, merging. Paths are in [`path`].

use crate::{Date, DateTime, Decimal, Time};
use std::cmp::Ordering;
use std::fmt;

pub mod path;

/// A JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// An integer that fits i64.
    Int(i64),
    /// An integer that only fits u64.
    UInt(u64),
    /// A floating-point number.
    Double(f64),
    /// An exact number.
    Decimal(Decimal),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in MySQL's key order, keys unique.
    Object(Vec<(String, Json)>),
    /// A DATE; prints as a string.
    Date(Date),
    /// A TIME; prints as a string.
    Time(Time),
    /// A DATETIME or TIMESTAMP; prints as a string.
    DateTime(DateTime),
}

/// Deepest nesting of a document.
pub const MAX_DEPTH: usize = 100;

/// Why text is not JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonError {
    /// What is wrong, and at which byte.
    Syntax(&'static str, usize),
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
}

/// The order of keys within an object.
pub fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

impl Json {
    /// Reads text.
    pub fn parse(text: &str) -> Result<Json, JsonError> {
        let mut parser = Parser { bytes: text.as_bytes(), text, at: 0 };
        parser.spaces();
        let value = parser.value(1)?;
        parser.spaces();
        if parser.at < text.len() {
            return Err(JsonError::Syntax(
                "The document root must not be followed by other values.",
                parser.at,
            ));
        }
        Ok(value)
    }

    /// An object of these members; of equal keys the last one counts.
    pub fn object(members: impl IntoIterator<Item = (String, Json)>) -> Json {
        let mut all: Vec<(String, Json)> = members.into_iter().collect();
        all.sort_by(|a, b| key_order(&a.0, &b.0));
        // The sort is stable, so the last of a run of equals came last.
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(all.len());
        for member in all {
            match unique.last_mut() {
                Some(last) if last.0 == member.0 => *last = member,
                _ => unique.push(member),
            }
        }
        Json::Object(unique)
    }

    /// A member of an object.
    pub fn get(&self, key: &str) -> Option<&Json> {
        let Json::Object(members) = self else { return None };
        members.binary_search_by(|(name, _)| key_order(name, key)).ok().map(|at| &members[at].1)
    }

    /// Sets a member of an object's members.
    pub fn put(members: &mut Vec<(String, Json)>, key: &str, value: Json) {
        match members.binary_search_by(|(name, _)| key_order(name, key)) {
            Ok(at) => members[at].1 = value,
            Err(at) => members.insert(at, (key.to_owned(), value)),
        }
    }

    /// JSON_TYPE.
    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "NULL",
            Json::Bool(_) => "BOOLEAN",
            Json::Int(_) => "INTEGER",
            Json::UInt(_) => "UNSIGNED INTEGER",
            Json::Double(_) => "DOUBLE",
            Json::Decimal(_) => "DECIMAL",
            Json::String(_) => "STRING",
            Json::Array(_) => "ARRAY",
            Json::Object(_) => "OBJECT",
            Json::Date(_) => "DATE",
            Json::Time(_) => "TIME",
            Json::DateTime(_) => "DATETIME",
        }
    }

    /// JSON_DEPTH.
    pub fn depth(&self) -> usize {
        match self {
            Json::Array(items) => 1 + items.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(members) => 1 + members.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            _ => 1,
        }
    }

    /// JSON_LENGTH.
    pub fn length(&self) -> usize {
        match self {
            Json::Array(items) => items.len(),
            Json::Object(members) => members.len(),
            _ => 1,
        }
    }

    /// Appends the normalised text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Json::Object(members) => {
                out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_quoted(key, out);
                    out.extend_from_slice(b": ");
                    value.write(out);
                }
                out.push(b'}');
            }
            _ => self.write_scalar(out),
        }
    }

    fn write_scalar(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Json::UInt(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Json::Double(number) => {
                let start = out.len();
                crate::number::write_f64(*number, out);
                if !out[start..].iter().any(|b| matches!(b, b'.' | b'e')) {
                    out.extend_from_slice(b".0");
                }
            }
            Json::Decimal(number) => number.write(number.scale(), out),
            Json::String(text) => write_quoted(text, out),
            Json::Date(_) | Json::Time(_) | Json::DateTime(_) => {
                out.push(b'"');
                self.write_unquoted(out);
                out.push(b'"');
            }
            Json::Array(_) | Json::Object(_) => self.write(out),
        }
    }

    /// Appends what JSON_UNQUOTE answers: a string's own text, anything else as printed.
    pub fn write_unquoted(&self, out: &mut Vec<u8>) {
        match self {
            Json::String(text) => out.extend_from_slice(text.as_bytes()),
            Json::Date(date) => date.write(out),
            Json::Time(time) => time.write(6, out),
            Json::DateTime(at) => at.write(6, out),
            _ => self.write(out),
        }
    }

    /// Appends JSON_PRETTY's layout.
    pub fn write_pretty(&self, depth: usize, out: &mut Vec<u8>) {
        let line = |depth: usize, out: &mut Vec<u8>| {
            out.push(b'\n');
            out.extend(std::iter::repeat_n(b' ', depth * 2));
        };
        match self {
            Json::Array(items) if !items.is_empty() => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    line(depth + 1, out);
                    item.write_pretty(depth + 1, out);
                }
                line(depth, out);
                out.push(b']');
            }
            Json::Object(members) if !members.is_empty() => {
                out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    line(depth + 1, out);
                    write_quoted(key, out);
                    out.extend_from_slice(b": ");
                    value.write_pretty(depth + 1, out);
                }
                line(depth, out);
                out.push(b'}');
            }
            _ => self.write(out),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Json::Null => 0,
            Json::Int(_) | Json::UInt(_) | Json::Double(_) | Json::Decimal(_) => 1,
            Json::String(_) => 2,
            Json::Object(_) => 3,
            Json::Array(_) => 4,
            Json::Bool(_) => 5,
            Json::Date(_) => 6,
            Json::Time(_) => 7,
            Json::DateTime(_) => 8,
        }
    }

    fn number(&self) -> Option<Decimal> {
        match self {
            Json::Int(number) => Some(Decimal::from(*number)),
            Json::UInt(number) => Some(Decimal::from(*number)),
            Json::Decimal(number) => Some(number.clone()),
            _ => None,
        }
    }

    /// The number as a double.
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Json::Double(number) => Some(*number),
            _ => self.number().map(|number| number.to_f64()),
        }
    }

    /// MySQL's order of JSON values: by kind (null, numbers, strings, objects, arrays, booleans, dates …),
    /// then by value.
    pub fn compare(&self, other: &Json) -> Ordering {
        match self.rank().cmp(&other.rank()) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
        match (self, other) {
            (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
            (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Json::Date(a), Json::Date(b)) => a.cmp(b),
            (Json::Time(a), Json::Time(b)) => a.cmp(b),
            (Json::DateTime(a), Json::DateTime(b)) => a.cmp(b),
            (Json::Array(a), Json::Array(b)) => a
                .iter()
                .zip(b)
                .map(|(a, b)| a.compare(b))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len())),
            (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| key_order(&a.0, &b.0).then_with(|| a.1.compare(&b.1)))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.compare(&b),
                _ => {
                    let (a, b) = (self.to_f64().unwrap_or(0.0), other.to_f64().unwrap_or(0.0));
                    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
                }
            },
        }
    }

    /// JSON_CONTAINS: whether `candidate` is within this value.
    pub fn contains(&self, candidate: &Json) -> bool {
        match (self, candidate) {
            (Json::Object(members), Json::Object(wanted)) => {
                let _ = members;
                wanted.iter().all(|(key, value)| self.get(key).is_some_and(|own| own.contains(value)))
            }
            (Json::Array(items), Json::Array(wanted)) => {
                wanted.iter().all(|value| items.iter().any(|item| item.contains(value)))
            }
            (Json::Array(items), _) => items.iter().any(|item| item.contains(candidate)),
            _ => self.compare(candidate).is_eq(),
        }
    }

    /// JSON_MERGE_PATCH.
    pub fn merge_patch(self, patch: Json) -> Json {
        let Json::Object(changes) = patch else { return patch };
        let mut members = match self {
            Json::Object(members) => members,
            _ => Vec::new(),
        };
        for (key, value) in changes {
            let at = members.binary_search_by(|(name, _)| key_order(name, &key));
            match (at, value) {
                (Ok(at), Json::Null) => {
                    members.remove(at);
                }
                (Err(_), Json::Null) => {}
                (Ok(at), value) => {
                    let old = std::mem::replace(&mut members[at].1, Json::Null);
                    members[at].1 = old.merge_patch(value);
                }
                (Err(at), value) => members.insert(at, (key, Json::Null.merge_patch(value))),
            }
        }
        Json::Object(members)
    }

    /// JSON_MERGE_PRESERVE.
    pub fn merge_preserve(self, other: Json) -> Json {
        match (self, other) {
            (Json::Object(mut members), Json::Object(more)) => {
                for (key, value) in more {
                    match members.binary_search_by(|(name, _)| key_order(name, &key)) {
                        Ok(at) => {
                            let old = std::mem::replace(&mut members[at].1, Json::Null);
                            members[at].1 = old.merge_preserve(value);
                        }
                        Err(at) => members.insert(at, (key, value)),
                    }
                }
                Json::Object(members)
            }
            (Json::Array(mut items), Json::Array(more)) => {
                items.extend(more);
                Json::Array(items)
            }
            (Json::Array(mut items), value) => {
                items.push(value);
                Json::Array(items)
            }
            (value, Json::Array(more)) => {
                let mut items = vec![value];
                items.extend(more);
                Json::Array(items)
            }
            (a, b) => Json::Array(vec![a, b]),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Appends a string in JSON's quotes.
pub fn write_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn spaces(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax(what, self.at))
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        match self.bytes.get(self.at) {
            None => self.fail("The document is empty."),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.fail("Invalid value."),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        self.at += 1;
        self.fail("Invalid value.")
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        self.spaces();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.spaces();
            if self.bytes.get(self.at) != Some(&b'"') {
                return self.fail("Missing a name for object member.");
            }
            let key = self.string()?;
            self.spaces();
            if self.bytes.get(self.at) != Some(&b':') {
                return self.fail("Missing a colon after a name of object member.");
            }
            self.at += 1;
            self.spaces();
            members.push((key, self.value(depth + 1)?));
            self.spaces();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::object(members));
                }
                _ => return self.fail("Missing a comma or } after an object member."),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.spaces();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            self.spaces();
            items.push(self.value(depth + 1)?);
            self.spaces();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return self.fail("Missing a comma or ] after an array element."),
            }
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let plain = self.bytes[self.at..]
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))
                .unwrap_or(self.bytes.len() - self.at);
            // The stops are ASCII, so the slice ends on character boundaries.
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let escape = self.bytes.get(self.at).copied();
                    self.at += 1;
                    match escape {
                        Some(b'"') => out.push('"'),
                        Some(b'\\') => out.push('\\'),
                        Some(b'/') => out.push('/'),
                        Some(b'b') => out.push('\u{8}'),
                        Some(b'f') => out.push('\u{c}'),
                        Some(b'n') => out.push('\n'),
                        Some(b'r') => out.push('\r'),
                        Some(b't') => out.push('\t'),
                        Some(b'u') => out.push(self.unicode()?),
                        _ => {
                            self.at = (self.at - 1).min(self.bytes.len());
                            return self.fail("Invalid escape character in string.");
                        }
                    }
                }
                Some(_) => return self.fail("Invalid encoding in string."),
                None => return self.fail("Missing a closing quotation mark in string."),
            }
        }
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let four = self.bytes.get(self.at..self.at + 4).and_then(|four| std::str::from_utf8(four).ok());
        match four.filter(|four| four.bytes().all(|b| b.is_ascii_hexdigit())) {
            Some(four) => {
                self.at += 4;
                Ok(u32::from_str_radix(four, 16).unwrap_or(0))
            }
            None => self.fail("Incorrect hex digit after \\u escape in string."),
        }
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let high = self.hex()?;
        let code = match high {
            0xd800..0xdc00 => {
                if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                    return self.fail("The surrogate pair in string is invalid.");
                }
                self.at += 2;
                match self.hex()? {
                    low @ 0xdc00..0xe000 => 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00),
                    _ => return self.fail("The surrogate pair in string is invalid."),
                }
            }
            code => code,
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail("The surrogate pair in string is invalid."),
        }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        let bytes = self.bytes;
        let digits = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let whole = digits(self.at);
        if whole == 0 {
            return self.fail("Invalid value.");
        }
        if whole > 1 && bytes[self.at] == b'0' {
            // A zero ends the number; what follows is then out of place.
            self.at += 1;
            return Ok(Json::Int(0));
        }
        self.at += whole;
        let mut double = false;
        if bytes.get(self.at) == Some(&b'.') {
            double = true;
            let places = digits(self.at + 1);
            self.at += 1 + places;
            if places == 0 {
                return self.fail("Miss fraction part in number.");
            }
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            double = true;
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            let exponent = digits(self.at);
            self.at += exponent;
            if exponent == 0 {
                return self.fail("Miss exponent in number.");
            }
        }
        let text = &self.text[start..self.at];
        if !double {
            if let Ok(number) = text.parse::<i64>() {
                return Ok(Json::Int(number));
            }
            if let Ok(number) = text.parse::<u64>() {
                return Ok(Json::UInt(number));
            }
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Json::Double(number)),
            _ => {
                self.at = start;
                self.fail("Number too big to be stored in double.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str) -> String {
        Json::parse(text).unwrap().to_string()
    }

    #[test]
    fn printing_is_normalised() {
        assert_eq!(
            show(r#"{"bb":1,"a":[1,2 , 3.0],"a2":null}"#),
            r#"{"a": [1, 2, 3.0], "a2": null, "bb": 1}"#
        );
        assert_eq!(show(r#"{"a":1,"a":2}"#), r#"{"a": 2}"#);
        assert_eq!(show(r#""\u00e4\ud83d\ude00\/\n""#), "\"ä😀/\\n\"");
        assert_eq!(show("18446744073709551615"), "18446744073709551615");
        assert_eq!(show("1e2"), "100.0");
        assert_eq!(show("[ ]"), "[]");
    }

    #[test]
    fn what_is_not_json_says_where() {
        for (text, at) in
            [("", 0), ("{", 1), ("[1,]", 3), ("{\"a\" 1}", 5), ("1 2", 2), ("\"abc", 4), ("nul", 1)]
        {
            match Json::parse(text) {
                Err(JsonError::Syntax(_, position)) => assert_eq!(position, at, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(Json::parse(&"[".repeat(200)), Err(JsonError::TooDeep));
    }

    #[test]
    fn values_are_ordered_by_kind_first() {
        let ordered = ["null", "-1", "1.5", "\"a\"", "\"b\"", "{}", "[]", "[1]", "false", "true"];
        for pair in ordered.windows(2) {
            let (a, b) = (Json::parse(pair[0]).unwrap(), Json::parse(pair[1]).unwrap());
            assert_eq!(a.compare(&b), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in "[-\\[\\]{}\",:0-9a-f\\\\u.eE ]{0,40}") {
            let _ = Json::parse(&text);
            if let Ok(value) = Json::parse(&near) {
                let printed = value.to_string();
                prop_assert_eq!(Json::parse(&printed).unwrap().to_string(), printed);
            }
        }
    }
}
