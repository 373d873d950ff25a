//! Character sets and conversion to and from UTF-8.

use super::latin1;
use crate::Collation;
use assize_model::{ErrorCode, SqlError};
use std::borrow::Cow;

/// A character set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Charset {
    /// ASCII.
    Ascii,
    /// Bytes.
    Binary,
    /// cp1252, which MySQL calls latin1.
    Latin1,
    /// UTF-8 of the basic plane.
    Utf8mb3,
    /// UTF-8.
    Utf8mb4,
}

/// A line of SHOW CHARACTER SET.
#[derive(Clone, Copy, Debug)]
pub struct CharsetInfo {
    /// Which.
    pub charset: Charset,
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Its default collation.
    pub default_collation: Collation,
    /// The collation that compares its code points.
    pub bin_collation: Collation,
    /// Bytes of its longest character.
    pub max_length: u8,
}

/// Every character set, by name.
pub const CHARSETS: [CharsetInfo; 5] = [
    info(Charset::Ascii, "ascii", "US ASCII", 11, 65, 1),
    info(Charset::Binary, "binary", "Binary pseudo charset", 63, 63, 1),
    info(Charset::Latin1, "latin1", "cp1252 West European", 8, 47, 1),
    info(Charset::Utf8mb3, "utf8mb3", "UTF-8 Unicode", 33, 83, 3),
    info(Charset::Utf8mb4, "utf8mb4", "UTF-8 Unicode", 255, 46, 4),
];

const fn info(
    charset: Charset,
    name: &'static str,
    description: &'static str,
    default: u16,
    bin: u16,
    max_length: u8,
) -> CharsetInfo {
    CharsetInfo {
        charset,
        name,
        description,
        default_collation: Collation(default),
        bin_collation: Collation(bin),
        max_length,
    }
}

impl Charset {
    /// Every character set, by name.
    pub fn all() -> &'static [CharsetInfo] {
        &CHARSETS
    }

    /// What it is.
    pub fn info(self) -> &'static CharsetInfo {
        &CHARSETS[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Its default collation.
    pub fn default_collation(self) -> Collation {
        self.info().default_collation
    }

    /// The collation that compares its code points.
    pub fn bin_collation(self) -> Collation {
        self.info().bin_collation
    }

    /// Bytes of its longest character.
    pub fn max_length(self) -> u8 {
        self.info().max_length
    }

    /// The character set of this name, in any case; `utf8` is utf8mb3; error 1115 otherwise.
    pub fn find(name: &str) -> Result<Charset, SqlError> {
        let name_ = if name.eq_ignore_ascii_case("utf8") { "utf8mb3" } else { name };
        CHARSETS
            .iter()
            .find(|info| info.name.eq_ignore_ascii_case(name_))
            .map(|info| info.charset)
            .ok_or_else(|| {
                SqlError::new(ErrorCode::UnknownCharacterSet, format!("Unknown character set: '{name}'"))
            })
    }

    /// Whether every text of `other` is one of this.
    pub fn includes(self, other: Charset) -> bool {
        match (self, other) {
            (a, b) if a == b => true,
            (Charset::Utf8mb4, other) => other != Charset::Binary,
            (Charset::Utf8mb3, Charset::Latin1 | Charset::Ascii) => true,
            (Charset::Latin1, Charset::Ascii) => true,
            _ => false,
        }
    }

    /// Whether it has this character.
    pub fn has(self, c: char) -> bool {
        match self {
            Charset::Utf8mb4 | Charset::Binary => true,
            Charset::Utf8mb3 => c <= '\u{ffff}',
            Charset::Ascii => c.is_ascii(),
            Charset::Latin1 => latin1_byte(c).is_some(),
        }
    }
}

/// The latin1 (cp1252) code of a character.
pub(super) fn latin1_byte(c: char) -> Option<u8> {
    match c as u32 {
        code @ (0..0x80 | 0xa0..0x100) => Some(code as u8),
        code => latin1::HIGH.iter().position(|high| u32::from(*high) == code).map(|at| 0x80 + at as u8),
    }
}

/// Text in a character set; characters that it lacks become `?`, and the flag says so.
pub fn encode(text: &str, charset: Charset) -> (Cow<'_, [u8]>, bool) {
    match charset {
        Charset::Utf8mb4 | Charset::Binary => return (Cow::Borrowed(text.as_bytes()), false),
        _ if text.is_ascii() => return (Cow::Borrowed(text.as_bytes()), false),
        Charset::Utf8mb3 if text.chars().all(|c| c <= '\u{ffff}') => {
            return (Cow::Borrowed(text.as_bytes()), false);
        }
        _ => {}
    }
    let mut lost = false;
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        let known = match charset {
            Charset::Latin1 => latin1_byte(c).map(|byte| out.push(byte)).is_some(),
            _ if charset.has(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                true
            }
            _ => false,
        };
        if !known {
            out.push(b'?');
            lost = true;
        }
    }
    (Cow::Owned(out), lost)
}

/// An encoding of Unicode that no column has here: bytes can be read in it, by `CHAR(… USING utf16)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum WideCharset {
    /// Two bytes a character.
    Ucs2,
    /// Two or four bytes a character.
    Utf16,
    /// Four bytes a character.
    Utf32,
}

impl WideCharset {
    /// The encoding of this name, in any case.
    pub fn find(name: &str) -> Option<WideCharset> {
        let known = [WideCharset::Ucs2, WideCharset::Utf16, WideCharset::Utf32];
        known.into_iter().find(|charset| charset.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            WideCharset::Ucs2 => "ucs2",
            WideCharset::Utf16 => "utf16",
            WideCharset::Utf32 => "utf32",
        }
    }

    /// Bytes as text. As in MySQL zeros in front complete the first character; error 1300 if a character is none.
    pub fn decode(self, bytes: &[u8]) -> Result<String, SqlError> {
        let width = if self == WideCharset::Utf32 { 4 } else { 2 };
        let missing = bytes.len().next_multiple_of(width) - bytes.len();
        let padded: Vec<u8> = std::iter::repeat_n(0, missing).chain(bytes.iter().copied()).collect();
        let units = padded.chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
        let text: Option<String> = match self {
            WideCharset::Ucs2 => units.map(|unit| char::from_u32(unit.into())).collect(),
            WideCharset::Utf16 => char::decode_utf16(units).map(Result::ok).collect(),
            WideCharset::Utf32 => {
                let quads = padded.chunks(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
                quads.map(char::from_u32).collect()
            }
        };
        text.ok_or_else(|| invalid_string(self.name(), &padded))
    }
}

fn invalid_string(charset: &str, bytes: &[u8]) -> SqlError {
    let hex: String = bytes.iter().take(6).map(|b| format!("\\x{b:02X}")).collect();
    SqlError::new(ErrorCode::InvalidCharacterString, format!("Invalid {charset} character string: '{hex}'"))
}

/// Bytes of a character set as text; error 1300 with the bytes that are none.
pub fn decode(bytes: &[u8], charset: Charset) -> Result<Cow<'_, str>, SqlError> {
    let invalid = |at: usize| invalid_string(charset.name(), &bytes[at..]);
    match charset {
        Charset::Latin1 => {
            if bytes.is_ascii() {
                return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| invalid(0));
            }
            let char_of = |byte: &u8| match byte {
                0x80..0xa0 => char::from_u32(latin1::HIGH[usize::from(byte - 0x80)].into()).unwrap_or('?'),
                byte => char::from(*byte),
            };
            Ok(Cow::Owned(bytes.iter().map(char_of).collect()))
        }
        Charset::Ascii if !bytes.is_ascii() => {
            Err(invalid(bytes.iter().position(|b| !b.is_ascii()).unwrap_or(0)))
        }
        _ => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|e| invalid(e.valid_up_to())),
    }
}
