//! Character sets of one byte each, besides latin1: which characters they have, and the weights of their collations.
//!
//! `eight_bit.bin` is written by `tools/charsets.py`, out of what a server says. Index keys are made of the weights: tables
//! that are there never change.

use super::Charset;

/// For each character set the code points of the bytes from 0x80 on, big-endian, then for each collation the weights of all
/// bytes.
static TABLES: &[u8; TABLE_BYTES * (CHARSETS.len() + COLLATIONS)] = include_bytes!("eight_bit.bin");

const TABLE_BYTES: usize = 256;
const COLLATIONS: usize = 28;
/// In the order of the file.
const CHARSETS: [Charset; 16] = [
    Charset::Cp1250,
    Charset::Cp1251,
    Charset::Cp1256,
    Charset::Cp1257,
    Charset::Cp850,
    Charset::Cp852,
    Charset::Cp866,
    Charset::Greek,
    Charset::Hebrew,
    Charset::Koi8r,
    Charset::Koi8u,
    Charset::Latin2,
    Charset::Latin5,
    Charset::Latin7,
    Charset::Macce,
    Charset::Macroman,
];

fn table(at: usize) -> &'static [u8; TABLE_BYTES] {
    let (tables, _) = TABLES.as_chunks::<TABLE_BYTES>();
    &tables[at]
}

/// The weights of the bytes in a collation, by its place in the file.
pub(super) fn weights(collation: u8) -> &'static [u8; TABLE_BYTES] {
    table(CHARSETS.len() + usize::from(collation))
}

/// Which characters a set has.
#[derive(Clone, Copy)]
pub(super) struct Map(&'static [[u8; 2]]);

impl Map {
    /// That of a character set of one byte each, not latin1.
    pub(super) fn of(charset: Charset) -> Map {
        let at = CHARSETS.iter().position(|known| *known == charset);
        Map(table(at.expect("the other character sets are known by name")).as_chunks::<2>().0)
    }

    /// The character behind a byte, if there is one.
    pub(super) fn char_of(self, byte: u8) -> Option<char> {
        match byte.checked_sub(0x80) {
            None => Some(char::from(byte)),
            Some(high) => match u16::from_be_bytes(self.0[usize::from(high)]) {
                0 => None,
                code => char::from_u32(code.into()),
            },
        }
    }

    /// The byte of a character, if it has one.
    pub(super) fn byte_of(self, c: char) -> Option<u8> {
        if c.is_ascii() {
            return Some(c as u8);
        }
        let code = u16::try_from(c as u32).ok()?.to_be_bytes();
        self.0.iter().position(|known| *known == code).map(|at| 0x80 + at as u8)
    }
}
