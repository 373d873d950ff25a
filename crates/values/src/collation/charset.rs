//! Character sets and conversion to and from UTF-8.

use super::{eight_bit, latin1};
use crate::Collation;
use assize_model::{ErrorCode, SqlError};
use encoding_rs::{DecoderResult, EncoderResult, Encoding};
use std::borrow::Cow;

/// A character set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub enum Charset {
    /// ASCII.
    Ascii,
    /// Traditional Chinese.
    Big5,
    /// Bytes.
    Binary,
    /// Central European of Windows.
    Cp1250,
    /// Cyrillic of Windows.
    Cp1251,
    /// Arabic of Windows.
    Cp1256,
    /// Baltic of Windows.
    Cp1257,
    /// West European of DOS.
    Cp850,
    /// Central European of DOS.
    Cp852,
    /// Cyrillic of DOS.
    Cp866,
    /// Japanese of Windows.
    Cp932,
    /// Japanese of Windows, in the form of Unix.
    Eucjpms,
    /// Korean.
    Euckr,
    /// All of Unicode, Chinese first.
    Gb18030,
    /// Simplified Chinese.
    Gb2312,
    /// Chinese.
    Gbk,
    /// ISO 8859-7.
    Greek,
    /// ISO 8859-8.
    Hebrew,
    /// Russian of Unix.
    Koi8r,
    /// Ukrainian of Unix.
    Koi8u,
    /// cp1252, which MySQL calls latin1.
    Latin1,
    /// ISO 8859-2.
    Latin2,
    /// ISO 8859-9.
    Latin5,
    /// ISO 8859-13.
    Latin7,
    /// Central European of old Macs.
    Macce,
    /// West European of old Macs.
    Macroman,
    /// Shift-JIS.
    Sjis,
    /// EUC-JP.
    Ujis,
    /// UTF-8 of the basic plane.
    Utf8mb3,
    /// UTF-8.
    #[default]
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
pub const CHARSETS: [CharsetInfo; 30] = [
    info(Charset::Ascii, "ascii", "US ASCII", 11, 65, 1),
    info(Charset::Big5, "big5", "Big5 Traditional Chinese", 1, 84, 2),
    info(Charset::Binary, "binary", "Binary pseudo charset", 63, 63, 1),
    info(Charset::Cp1250, "cp1250", "Windows Central European", 26, 66, 1),
    info(Charset::Cp1251, "cp1251", "Windows Cyrillic", 51, 50, 1),
    info(Charset::Cp1256, "cp1256", "Windows Arabic", 57, 67, 1),
    info(Charset::Cp1257, "cp1257", "Windows Baltic", 59, 58, 1),
    info(Charset::Cp850, "cp850", "DOS West European", 4, 80, 1),
    info(Charset::Cp852, "cp852", "DOS Central European", 40, 81, 1),
    info(Charset::Cp866, "cp866", "DOS Russian", 36, 68, 1),
    info(Charset::Cp932, "cp932", "SJIS for Windows Japanese", 95, 96, 2),
    info(Charset::Eucjpms, "eucjpms", "UJIS for Windows Japanese", 97, 98, 3),
    info(Charset::Euckr, "euckr", "EUC-KR Korean", 19, 85, 2),
    info(Charset::Gb18030, "gb18030", "China National Standard GB18030", 248, 249, 4),
    info(Charset::Gb2312, "gb2312", "GB2312 Simplified Chinese", 24, 86, 2),
    info(Charset::Gbk, "gbk", "GBK Simplified Chinese", 28, 87, 2),
    info(Charset::Greek, "greek", "ISO 8859-7 Greek", 25, 70, 1),
    info(Charset::Hebrew, "hebrew", "ISO 8859-8 Hebrew", 16, 71, 1),
    info(Charset::Koi8r, "koi8r", "KOI8-R Relcom Russian", 7, 74, 1),
    info(Charset::Koi8u, "koi8u", "KOI8-U Ukrainian", 22, 75, 1),
    info(Charset::Latin1, "latin1", "cp1252 West European", 8, 47, 1),
    info(Charset::Latin2, "latin2", "ISO 8859-2 Central European", 9, 77, 1),
    info(Charset::Latin5, "latin5", "ISO 8859-9 Turkish", 30, 78, 1),
    info(Charset::Latin7, "latin7", "ISO 8859-13 Baltic", 41, 79, 1),
    info(Charset::Macce, "macce", "Mac Central European", 38, 43, 1),
    info(Charset::Macroman, "macroman", "Mac West European", 39, 53, 1),
    info(Charset::Sjis, "sjis", "Shift-JIS Japanese", 13, 88, 2),
    info(Charset::Ujis, "ujis", "EUC-JP Japanese", 12, 91, 3),
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
            (Charset::Binary, _) | (_, Charset::Binary) => false,
            (Charset::Utf8mb4, _) | (_, Charset::Ascii) => true,
            (Charset::Utf8mb3, other) => other.max_length() == 1,
            _ => false,
        }
    }

    /// Whether it has this character.
    pub fn has(self, c: char) -> bool {
        match self.form() {
            Form::Unicode(last) => c <= last,
            Form::Ascii => c.is_ascii(),
            Form::Latin1 => latin1_byte(c).is_some(),
            Form::EightBit(map) => map.byte_of(c).is_some(),
            Form::Multibyte(_) => c.is_ascii() || self.bytes_of(c).is_some(),
        }
    }

    /// Whether text in it has other bytes than in UTF-8, so that bytes of it have to be decoded.
    pub fn is_foreign(self) -> bool {
        !matches!(self.form(), Form::Unicode(_) | Form::Ascii)
    }

    /// The bytes of a character: four at most.
    pub(super) fn bytes_of(self, c: char) -> Option<Encoded> {
        let one = |byte: u8| Encoded { bytes: [byte, 0, 0, 0], length: 1 };
        match self.form() {
            Form::Unicode(last) => (c <= last).then(|| {
                let mut bytes = [0; 4];
                let length = c.encode_utf8(&mut bytes).len() as u8;
                Encoded { bytes, length }
            }),
            _ if c.is_ascii() => Some(one(c as u8)),
            Form::Ascii => None,
            Form::Latin1 => latin1_byte(c).map(one),
            Form::EightBit(map) => map.byte_of(c).map(one),
            Form::Multibyte(encoding) => {
                let (mut text, mut bytes) = ([0; 4], [0; 8]);
                let mut encoder = encoding.new_encoder();
                let text = c.encode_utf8(&mut text);
                let (result, _, length) =
                    encoder.encode_from_utf8_without_replacement(text, &mut bytes, true);
                let bytes = *bytes.first_chunk::<4>()?;
                (result == EncoderResult::InputEmpty && length <= 4)
                    .then_some(Encoded { bytes, length: length as u8 })
            }
        }
    }

    fn form(self) -> Form {
        match self {
            Charset::Utf8mb4 | Charset::Binary => Form::Unicode(char::MAX),
            Charset::Utf8mb3 => Form::Unicode('\u{ffff}'),
            Charset::Ascii => Form::Ascii,
            Charset::Latin1 => Form::Latin1,
            Charset::Big5 => Form::Multibyte(encoding_rs::BIG5),
            Charset::Cp932 | Charset::Sjis => Form::Multibyte(encoding_rs::SHIFT_JIS),
            Charset::Eucjpms | Charset::Ujis => Form::Multibyte(encoding_rs::EUC_JP),
            Charset::Euckr => Form::Multibyte(encoding_rs::EUC_KR),
            Charset::Gb18030 => Form::Multibyte(encoding_rs::GB18030),
            // GBK is all of GB2312 and more.
            Charset::Gb2312 | Charset::Gbk => Form::Multibyte(encoding_rs::GBK),
            other => Form::EightBit(eight_bit::Map::of(other)),
        }
    }
}

/// How texts of a character set are written.
enum Form {
    /// As UTF-8, up to this character.
    Unicode(char),
    /// ASCII.
    Ascii,
    /// cp1252.
    Latin1,
    /// A byte for each character, as a table says. The lower half is ASCII.
    EightBit(eight_bit::Map),
    /// One byte or several.
    Multibyte(&'static Encoding),
}

/// A character in some character set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    bytes: [u8; 4],
    length: u8,
}

impl Encoded {
    /// Its bytes, as the upper ones of a number: such numbers compare as the bytes do.
    pub(super) fn left_aligned(self) -> u32 {
        u32::from_be_bytes(self.bytes)
    }
}

impl std::ops::Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The latin1 (cp1252) code of a character.
pub(super) fn latin1_byte(c: char) -> Option<u8> {
    match c as u32 {
        code @ (0..0x80 | 0xa0..0x100) => Some(code as u8),
        code => latin1::HIGH.iter().position(|high| u32::from(*high) == code).map(|at| 0x80 + at as u8),
    }
}

/// The code of a character in a character set of one byte each.
pub(super) fn byte_of(charset: Charset, c: char) -> Option<u8> {
    match charset.form() {
        Form::Latin1 => latin1_byte(c),
        Form::EightBit(map) => map.byte_of(c),
        _ => None,
    }
}

/// Text in a character set; characters that it lacks become `?`, and the flag says so.
pub fn encode(text: &str, charset: Charset) -> (Cow<'_, [u8]>, bool) {
    match charset {
        Charset::Utf8mb4 | Charset::Binary => return (Cow::Borrowed(text.as_bytes()), false),
        _ if text.is_ascii() => return (Cow::Borrowed(text.as_bytes()), false),
        Charset::Utf8mb3 if text.bytes().all(|byte| byte < 0xf0) => {
            return (Cow::Borrowed(text.as_bytes()), false);
        }
        _ => {}
    }
    let mut lost = false;
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match charset.bytes_of(c) {
            Some(bytes) => out.extend_from_slice(&bytes),
            None => {
                out.push(b'?');
                lost = true;
            }
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
    let utf8 = || std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|e| invalid(e.valid_up_to()));
    let by_table = |char_of: &dyn Fn(u8) -> Option<char>| {
        let decoded = bytes.iter().enumerate().map(|(at, byte)| char_of(*byte).ok_or_else(|| invalid(at)));
        decoded.collect::<Result<String, SqlError>>().map(Cow::Owned)
    };
    match charset.form() {
        _ if bytes.is_ascii() => utf8(),
        Form::Unicode(_) => utf8(),
        Form::Ascii => Err(invalid(bytes.iter().position(|b| !b.is_ascii()).unwrap_or(0))),
        Form::Latin1 => by_table(&|byte| match byte {
            0x80..0xa0 => char::from_u32(latin1::HIGH[usize::from(byte - 0x80)].into()),
            byte => Some(char::from(byte)),
        }),
        Form::EightBit(map) => by_table(&|byte| map.char_of(byte)),
        Form::Multibyte(encoding) => {
            let mut decoder = encoding.new_decoder_without_bom_handling();
            let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
            let mut text = String::with_capacity(room.unwrap_or(bytes.len().saturating_mul(3)));
            let (result, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
            match result {
                DecoderResult::InputEmpty => Ok(Cow::Owned(text)),
                DecoderResult::Malformed(length, behind) => {
                    Err(invalid(read.saturating_sub(usize::from(length) + usize::from(behind))))
                }
                DecoderResult::OutputFull => Err(invalid(read.min(bytes.len()))),
            }
        }
    }
}

/// Bytes of a character set as text; what is no character in it becomes `?`.
pub fn decode_lossy(bytes: &[u8], charset: Charset) -> Cow<'_, str> {
    if let Ok(text) = decode(bytes, charset) {
        return text;
    }
    let mut text = String::with_capacity(bytes.len());
    let Form::Multibyte(encoding) = charset.form() else {
        let char_of = |byte: &u8| decode(std::slice::from_ref(byte), charset).ok()?.chars().next();
        text.extend(bytes.iter().map(|byte| char_of(byte).unwrap_or('?')));
        return Cow::Owned(text);
    };
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut at = 0;
    loop {
        let rest = &bytes[at.min(bytes.len())..];
        text.reserve(decoder.max_utf8_buffer_length_without_replacement(rest.len()).unwrap_or(rest.len()));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        at += read;
        match result {
            DecoderResult::InputEmpty => return Cow::Owned(text),
            DecoderResult::Malformed(..) => text.push('?'),
            DecoderResult::OutputFull => {}
        }
    }
}
