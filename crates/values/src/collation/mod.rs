//! Character sets and collations: which there are, how text compares and sorts in each, which one an
//! expression gets, and conversion at the edges. Inside, text is UTF-8 whatever its character set.
//!
//! ```text
//!   text ──weights──► 0209 1CAD …   compare() walks two of them
//!                     │
//!                     └─sort_key()─► bytes that compare as the texts do, equal for equal texts, for ever
//! ```
//!
//! A collation of PAD SPACE kind compares as if the shorter text went on with spaces. Its sort keys say so by
//! marking how each run of spaces ends: below, at, or above the infinite run.

mod charset;
mod eight_bit;
mod latin1;
mod weights;

pub use charset::{Charset, CharsetInfo, WideCharset, decode, decode_lossy, encode};

use crate::Collation;
use assize_model::{ErrorCode, SqlError};
use std::cmp::Ordering;
use weights::Scale;

/// What a collation is.
#[derive(Clone, Copy, Debug)]
pub struct CollationInfo {
    /// MySQL's number.
    pub id: Collation,
    /// Its name.
    pub name: &'static str,
    /// Its character set.
    pub charset: Charset,
    /// Whether it is the character set's default.
    pub default: bool,
    /// PAD SPACE; otherwise NO PAD.
    pub pad_space: bool,
    /// `Sortlen` of SHOW COLLATION.
    pub sort_length: u8,
    scale: Scale,
}

macro_rules! collations {
    ($($id:literal $name:literal $charset:ident $default:literal $pad:literal $len:literal $scale:expr;)*) => {
        /// Every collation, by id.
        pub const COLLATIONS: &[CollationInfo] = &[$(CollationInfo {
            id: Collation($id), name: $name, charset: Charset::$charset, default: $default,
            pad_space: $pad, sort_length: $len, scale: $scale,
        },)*];
    };
}

collations! {
    1 "big5_chinese_ci" Big5 true true 1 Scale::Encoded { fold: true };
    4 "cp850_general_ci" Cp850 true true 1 Scale::Table(10);
    5 "latin1_german1_ci" Latin1 false true 1 Scale::Bytes(&latin1::GERMAN1_CI);
    7 "koi8r_general_ci" Koi8r true true 1 Scale::Table(15);
    8 "latin1_swedish_ci" Latin1 true true 1 Scale::Bytes(&latin1::SWEDISH_CI);
    9 "latin2_general_ci" Latin2 true true 1 Scale::Table(19);
    11 "ascii_general_ci" Ascii true true 1 Scale::General;
    12 "ujis_japanese_ci" Ujis true true 1 Scale::Encoded { fold: true };
    13 "sjis_japanese_ci" Sjis true true 1 Scale::Encoded { fold: true };
    14 "cp1251_bulgarian_ci" Cp1251 false true 1 Scale::Table(5);
    15 "latin1_danish_ci" Latin1 false true 1 Scale::Table(17);
    16 "hebrew_general_ci" Hebrew true true 1 Scale::Table(14);
    19 "euckr_korean_ci" Euckr true true 1 Scale::Encoded { fold: true };
    20 "latin7_estonian_cs" Latin7 false true 1 Scale::Table(25);
    21 "latin2_hungarian_ci" Latin2 false true 1 Scale::Table(21);
    22 "koi8u_general_ci" Koi8u true true 1 Scale::Table(16);
    23 "cp1251_ukrainian_ci" Cp1251 false true 1 Scale::Table(6);
    24 "gb2312_chinese_ci" Gb2312 true true 1 Scale::Encoded { fold: true };
    25 "greek_general_ci" Greek true true 1 Scale::Table(13);
    26 "cp1250_general_ci" Cp1250 true true 1 Scale::Table(0);
    27 "latin2_croatian_ci" Latin2 false true 1 Scale::Table(20);
    28 "gbk_chinese_ci" Gbk true true 1 Scale::Encoded { fold: true };
    29 "cp1257_lithuanian_ci" Cp1257 false true 1 Scale::Table(9);
    30 "latin5_turkish_ci" Latin5 true true 1 Scale::Table(22);
    33 "utf8mb3_general_ci" Utf8mb3 true true 1 Scale::General;
    36 "cp866_general_ci" Cp866 true true 1 Scale::Table(12);
    38 "macce_general_ci" Macce true true 1 Scale::Table(26);
    39 "macroman_general_ci" Macroman true true 1 Scale::Table(27);
    40 "cp852_general_ci" Cp852 true true 1 Scale::Table(11);
    41 "latin7_general_ci" Latin7 true true 1 Scale::Table(23);
    42 "latin7_general_cs" Latin7 false true 1 Scale::Table(24);
    43 "macce_bin" Macce false true 1 Scale::Encoded { fold: false };
    44 "cp1250_croatian_ci" Cp1250 false true 1 Scale::Table(1);
    45 "utf8mb4_general_ci" Utf8mb4 false true 1 Scale::General;
    46 "utf8mb4_bin" Utf8mb4 false true 1 Scale::CodePoint;
    47 "latin1_bin" Latin1 false true 1 Scale::CodePoint;
    48 "latin1_general_ci" Latin1 false true 1 Scale::Bytes(&latin1::GENERAL_CI);
    49 "latin1_general_cs" Latin1 false true 1 Scale::Bytes(&latin1::GENERAL_CS);
    50 "cp1251_bin" Cp1251 false true 1 Scale::Encoded { fold: false };
    51 "cp1251_general_ci" Cp1251 true true 1 Scale::Table(3);
    52 "cp1251_general_cs" Cp1251 false true 1 Scale::Table(4);
    53 "macroman_bin" Macroman false true 1 Scale::Encoded { fold: false };
    57 "cp1256_general_ci" Cp1256 true true 1 Scale::Table(7);
    58 "cp1257_bin" Cp1257 false true 1 Scale::Encoded { fold: false };
    59 "cp1257_general_ci" Cp1257 true true 1 Scale::Table(8);
    63 "binary" Binary true false 1 Scale::CodePoint;
    65 "ascii_bin" Ascii false true 1 Scale::CodePoint;
    66 "cp1250_bin" Cp1250 false true 1 Scale::Encoded { fold: false };
    67 "cp1256_bin" Cp1256 false true 1 Scale::Encoded { fold: false };
    68 "cp866_bin" Cp866 false true 1 Scale::Encoded { fold: false };
    70 "greek_bin" Greek false true 1 Scale::Encoded { fold: false };
    71 "hebrew_bin" Hebrew false true 1 Scale::Encoded { fold: false };
    74 "koi8r_bin" Koi8r false true 1 Scale::Encoded { fold: false };
    75 "koi8u_bin" Koi8u false true 1 Scale::Encoded { fold: false };
    77 "latin2_bin" Latin2 false true 1 Scale::Encoded { fold: false };
    78 "latin5_bin" Latin5 false true 1 Scale::Encoded { fold: false };
    79 "latin7_bin" Latin7 false true 1 Scale::Encoded { fold: false };
    80 "cp850_bin" Cp850 false true 1 Scale::Encoded { fold: false };
    81 "cp852_bin" Cp852 false true 1 Scale::Encoded { fold: false };
    83 "utf8mb3_bin" Utf8mb3 false true 1 Scale::CodePoint;
    84 "big5_bin" Big5 false true 1 Scale::Encoded { fold: false };
    85 "euckr_bin" Euckr false true 1 Scale::Encoded { fold: false };
    86 "gb2312_bin" Gb2312 false true 1 Scale::Encoded { fold: false };
    87 "gbk_bin" Gbk false true 1 Scale::Encoded { fold: false };
    88 "sjis_bin" Sjis false true 1 Scale::Encoded { fold: false };
    91 "ujis_bin" Ujis false true 1 Scale::Encoded { fold: false };
    94 "latin1_spanish_ci" Latin1 false true 1 Scale::Table(18);
    95 "cp932_japanese_ci" Cp932 true true 1 Scale::Encoded { fold: true };
    96 "cp932_bin" Cp932 false true 1 Scale::Encoded { fold: false };
    97 "eucjpms_japanese_ci" Eucjpms true true 1 Scale::Encoded { fold: true };
    98 "eucjpms_bin" Eucjpms false true 1 Scale::Encoded { fold: false };
    99 "cp1250_polish_ci" Cp1250 false true 1 Scale::Table(2);
    192 "utf8mb3_unicode_ci" Utf8mb3 false true 8 Scale::Uca(1);
    214 "utf8mb3_unicode_520_ci" Utf8mb3 false true 8 Scale::Uca(1);
    224 "utf8mb4_unicode_ci" Utf8mb4 false true 8 Scale::Uca(1);
    246 "utf8mb4_unicode_520_ci" Utf8mb4 false true 8 Scale::Uca(1);
    248 "gb18030_chinese_ci" Gb18030 true true 2 Scale::Encoded { fold: true };
    249 "gb18030_bin" Gb18030 false true 1 Scale::Encoded { fold: false };
    255 "utf8mb4_0900_ai_ci" Utf8mb4 true false 0 Scale::Uca(1);
    278 "utf8mb4_0900_as_cs" Utf8mb4 false false 0 Scale::Uca(3);
    305 "utf8mb4_0900_as_ci" Utf8mb4 false false 0 Scale::Uca(2);
    309 "utf8mb4_0900_bin" Utf8mb4 false false 1 Scale::CodePoint;
}

/// The same weights under names of other servers and older versions.
const ALIASES: &[(&str, u16)] = &[
    ("utf8_general_ci", 33),
    ("utf8_bin", 83),
    ("utf8_unicode_ci", 192),
    ("utf8_unicode_520_ci", 214),
    ("utf8mb3_uca1400_ai_ci", 192),
    ("utf8mb4_uca1400_ai_ci", 255),
    ("utf8mb4_uca1400_as_ci", 305),
    ("utf8mb4_uca1400_as_cs", 278),
    ("utf8mb4_uca1400_nopad_ai_ci", 255),
    ("utf8mb4_uca1400_nopad_as_ci", 305),
    ("utf8mb4_uca1400_nopad_as_cs", 278),
    ("utf8mb4_nopad_bin", 309),
    ("utf8mb4_general_nopad_ci", 45),
    ("utf8mb4_unicode_nopad_ci", 255),
];

impl Collation {
    /// utf8mb3_general_ci: what names in information_schema have.
    pub const UTF8MB3_GENERAL_CI: Collation = Collation(33);
    /// utf8mb4_0900_bin.
    pub const UTF8MB4_0900_BIN: Collation = Collation(309);
    /// ascii_general_ci.
    pub const ASCII_GENERAL_CI: Collation = Collation(11);

    /// What it is; an unknown number counts as MySQL's default.
    pub fn info(self) -> &'static CollationInfo {
        let at = match self.0 {
            255 => return &COLLATIONS[78],
            id => COLLATIONS.binary_search_by_key(&id, |info| info.id.0).unwrap_or(78),
        };
        &COLLATIONS[at]
    }

    /// Whether the number is known.
    pub fn exists(self) -> bool {
        COLLATIONS.binary_search_by_key(&self.0, |info| info.id.0).is_ok()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Its character set.
    pub fn charset(self) -> Charset {
        self.info().charset
    }

    /// Whether this is no text but bytes.
    #[inline]
    pub fn is_binary(self) -> bool {
        self == Collation::BINARY
    }

    /// Whether it compares code points.
    pub fn is_bin(self) -> bool {
        matches!(self.info().scale, Scale::CodePoint | Scale::Encoded { fold: false })
    }

    /// The collation of this name, in any case; names of MariaDB lead to their nearest; error 1273 otherwise.
    pub fn find(name: &str) -> Result<Collation, SqlError> {
        let known = COLLATIONS.iter().find(|info| info.name.eq_ignore_ascii_case(name)).map(|info| info.id);
        let alias = || ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        known
            .or_else(|| alias().map(|(_, id)| Collation(*id)))
            .or_else(|| language(name))
            .ok_or_else(|| SqlError::new(ErrorCode::UnknownCollation, format!("Unknown collation: '{name}'")))
    }

    /// Error 1253 unless it belongs to the character set.
    pub fn check_charset(self, charset: Charset) -> Result<(), SqlError> {
        if self.charset() == charset {
            return Ok(());
        }
        Err(SqlError::new(
            ErrorCode::AutoConvertCharset,
            format!("COLLATION '{}' is not valid for CHARACTER SET '{}'", self.name(), charset.name()),
        ))
    }

    /// The order of two texts.
    #[inline]
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        weights::compare(self.info(), a, b)
    }

    /// Whether two texts are equal.
    #[inline]
    pub fn equal(self, a: &str, b: &str) -> bool {
        a == b || self.compare(a, b).is_eq()
    }

    /// Whether two characters are the same, for LIKE and for searching.
    pub fn same_char(self, a: char, b: char) -> bool {
        a == b || weights::same_char(self.info(), a, b)
    }

    /// Appends bytes that sort as the texts do, and are equal if the texts are. Stored in indexes: fixed for
    /// ever.
    pub fn sort_key(self, text: &str, out: &mut Vec<u8>) {
        weights::sort_key(self.info(), text, out);
    }
}

/// Language-specific collations have the root's weights: `utf8mb4_de_pb_0900_ai_ci` sorts as
/// `utf8mb4_0900_ai_ci`.
fn language(name: &str) -> Option<Collation> {
    let name = name.to_ascii_lowercase();
    let root = |charset: &str, unicode: u16| -> Option<u16> {
        let rest = name.strip_prefix(charset)?;
        match rest {
            _ if rest.ends_with("_0900_ai_ci") => Some(255),
            _ if rest.ends_with("_0900_as_cs") => Some(278),
            _ if rest.ends_with("_0900_as_ci") => Some(305),
            "_croatian_ci" | "_czech_ci" | "_danish_ci" | "_esperanto_ci" | "_estonian_ci"
            | "_german2_ci" | "_hungarian_ci" | "_icelandic_ci" | "_latvian_ci" | "_lithuanian_ci"
            | "_persian_ci" | "_polish_ci" | "_roman_ci" | "_romanian_ci" | "_sinhala_ci" | "_slovak_ci"
            | "_slovenian_ci" | "_spanish_ci" | "_spanish2_ci" | "_swedish_ci" | "_turkish_ci"
            | "_vietnamese_ci" => Some(unicode),
            _ => None,
        }
    };
    root("utf8mb4", 224).or_else(|| root("utf8mb3", 192)).map(Collation)
}

/// How strongly an expression insists on its collation: less is stronger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Coercibility {
    /// A COLLATE clause.
    Explicit,
    /// Different collations met.
    None,
    /// A column.
    Implicit,
    /// USER(), VERSION() and the like.
    SystemConstant,
    /// A literal.
    Coercible,
    /// A number or a date.
    Numeric,
    /// NULL.
    Ignorable,
}

impl Coercibility {
    fn word(self) -> &'static str {
        match self {
            Coercibility::Explicit => "EXPLICIT",
            Coercibility::None => "NONE",
            Coercibility::Implicit => "IMPLICIT",
            Coercibility::SystemConstant => "SYSCONST",
            Coercibility::Coercible => "COERCIBLE",
            Coercibility::Numeric => "NUMERIC",
            Coercibility::Ignorable => "IGNORABLE",
        }
    }
}

/// A collation and how strongly it is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Derivation {
    /// The collation.
    pub collation: Collation,
    /// How strongly.
    pub coercibility: Coercibility,
}

impl Derivation {
    /// Of these.
    pub const fn new(collation: Collation, coercibility: Coercibility) -> Self {
        Derivation { collation, coercibility }
    }

    /// Both together; `None` if they exclude each other.
    fn merge(self, other: Derivation) -> Option<Derivation> {
        let (a, b) = (self.collation, other.collation);
        if a == b {
            return Some(if self.coercibility <= other.coercibility { self } else { other });
        }
        let stronger = if self.coercibility <= other.coercibility { self } else { other };
        if a.charset() != b.charset() {
            if a.is_binary() || b.is_binary() {
                if self.coercibility == other.coercibility {
                    return Some(if a.is_binary() { self } else { other });
                }
                return Some(stronger);
            }
            // Any text converts to a larger character set; literals convert to any.
            let larger = if a.charset().includes(b.charset()) {
                Some((self, other))
            } else if b.charset().includes(a.charset()) {
                Some((other, self))
            } else {
                None
            };
            if let Some((larger, smaller)) = larger
                && larger.coercibility <= smaller.coercibility
            {
                return Some(larger);
            }
            let weaker = self.coercibility.max(other.coercibility);
            if self.coercibility != other.coercibility && weaker >= Coercibility::SystemConstant {
                return Some(stronger);
            }
            return None;
        }
        if self.coercibility != other.coercibility {
            return Some(stronger);
        }
        if self.coercibility == Coercibility::Explicit {
            return None;
        }
        if a.is_bin() {
            return Some(self);
        }
        if b.is_bin() {
            return Some(other);
        }
        Some(Derivation::new(a.charset().bin_collation(), Coercibility::None))
    }
}

fn mix(all: &[Derivation], operation: &str) -> SqlError {
    let one = |d: &Derivation| format!("({},{})", d.collation.name(), d.coercibility.word());
    let (code, list) = match all {
        [a, b] => (ErrorCode::CollationMix, format!("{} and {}", one(a), one(b))),
        [a, b, c] => (ErrorCode::CollationMixThree, format!("{}, {}, {}", one(a), one(b), one(c))),
        _ => {
            return SqlError::new(
                ErrorCode::CollationMixMany,
                format!("Illegal mix of collations for operation '{operation}'"),
            );
        }
    };
    SqlError::new(code, format!("Illegal mix of collations {list} for operation '{operation}'"))
}

/// The collation of an expression over these, for functions that join texts. Error 1267 (1270, 1271) if there
/// is none.
pub fn aggregate(all: &[Derivation], operation: &str) -> Result<Derivation, SqlError> {
    let Some((first, rest)) = all.split_first() else {
        return Ok(Derivation::new(Collation::default(), Coercibility::Coercible));
    };
    let mut merged = *first;
    // An explicit collation decides even between others that exclude each other.
    let explicit = all.iter().find(|d| d.coercibility == Coercibility::Explicit);
    for next in rest {
        merged = match (merged.merge(*next), explicit) {
            (Some(merged), _) => merged,
            (None, Some(explicit))
                if !all.iter().any(|d| {
                    d.coercibility == Coercibility::Explicit && d.collation != explicit.collation
                }) =>
            {
                *explicit
            }
            (None, _) => return Err(mix(all, operation)),
        };
    }
    Ok(merged)
}

/// As [`aggregate`], for comparisons: there must be one collation to compare by.
pub fn aggregate_for_comparison(all: &[Derivation], operation: &str) -> Result<Collation, SqlError> {
    let merged = aggregate(all, operation)?;
    if merged.coercibility == Coercibility::None {
        return Err(mix(all, operation));
    }
    Ok(merged.collation)
}

impl Default for Collation {
    fn default() -> Self {
        Collation::UTF8MB4_0900_AI_CI
    }
}

const _: () = assert!(COLLATIONS[78].id.0 == 255, "info() looks there");

#[cfg(test)]
mod tests;
