//! The weights of characters, and what follows from them: order, equality, sort keys.
//!
//! `ducet.bin` is the Default Unicode Collation Element Table (allkeys of Unicode 13), `general_ci.bin` the
//! characters whose general_ci weight is not their own code. Both are lists of differences between
//! neighbours as varints. Index keys are made of these weights: the files never change.

use super::charset::{Charset, byte_of};
use super::{CollationInfo, eight_bit};
use assize_codec::Reader;
use std::cmp::Ordering;
use std::sync::OnceLock;

/// Where a collation's weights come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// The code points themselves.
    CodePoint,
    /// A table of latin1 codes.
    Bytes(&'static [u8; 256]),
    /// A table of the codes of another set of one byte each, by its number.
    Table(u8),
    /// The bytes of the character set themselves; capital and small letters of ASCII are the same where they are folded.
    Encoded {
        /// Whether they are.
        fold: bool,
    },
    /// general_ci: one weight per character, no expansions.
    General,
    /// The Unicode Collation Algorithm with so many levels.
    Uca(u8),
}

/// Weights of the ASCII characters: the quick way through most text.
pub(super) type Ascii = [u16; 128];

/// A collation element.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Element {
    primary: u16,
    secondary: u16,
    tertiary: u8,
}

struct Ducet {
    /// Per code point: first element and count, by pages of 256; page 0 of `pages` is empty.
    page_of: Vec<u16>,
    pages: Vec<[(u32, u8, bool); 256]>,
    elements: Vec<Element>,
    /// Sequences of two or three code points with elements of their own, sorted.
    contractions: Vec<(Vec<u32>, u32, u8)>,
    ascii: Ascii,
}

const UNKNOWN: (u32, u8, bool) = (0, 255, false);

fn ducet() -> &'static Ducet {
    static TABLE: OnceLock<Ducet> = OnceLock::new();
    TABLE.get_or_init(|| load(include_bytes!("ducet.bin")).expect("the table within the program is whole"))
}

fn load(bytes: &[u8]) -> Result<Ducet, assize_codec::DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut table = Ducet {
        page_of: vec![0; 0x1100],
        pages: vec![[UNKNOWN; 256]],
        elements: Vec::with_capacity(40_000),
        contractions: Vec::new(),
        ascii: [0; 128],
    };
    let mut previous = 0u16;
    let mut read_elements = |reader: &mut Reader<'_>, elements: &mut Vec<Element>| {
        let head = reader.varint()?;
        let start = elements.len() as u32;
        for _ in 0..head / 4 {
            let primary = (i64::from(previous) + reader.zigzag()?) as u16;
            previous = primary;
            let secondary = if head & 1 == 0 { reader.varint()? as u16 } else { 0x20 };
            let tertiary = if head & 2 == 0 { reader.u8()? } else { 2 };
            elements.push(Element { primary, secondary, tertiary });
        }
        Ok::<_, assize_codec::DecodeError>((start, (head / 4) as u8))
    };
    let mut code = 0usize;
    for _ in 0..reader.varint()? {
        code += reader.varint()? as usize;
        let (start, count) = read_elements(&mut reader, &mut table.elements)?;
        let page = &mut table.page_of[code >> 8];
        if *page == 0 {
            *page = table.pages.len() as u16;
            table.pages.push([UNKNOWN; 256]);
        }
        table.pages[usize::from(*page)][code & 255] = (start, count, false);
    }
    for _ in 0..reader.varint()? {
        let codes =
            (0..reader.varint()?).map(|_| Ok(reader.varint()? as u32)).collect::<Result<Vec<_>, _>>()?;
        let (start, count) = read_elements(&mut reader, &mut table.elements)?;
        let first = codes[0] as usize;
        let page = usize::from(table.page_of[first >> 8]);
        table.pages[page][first & 255].2 = true;
        table.contractions.push((codes, start, count));
    }
    reader.finish()?;
    for code in 0..128 {
        let (start, count, _) = table.pages[usize::from(table.page_of[0])][code];
        if count == 1 {
            table.ascii[code] = table.elements[start as usize].primary;
        }
    }
    Ok(table)
}

fn general() -> &'static [u16; 65_536] {
    static TABLE: OnceLock<Box<[u16; 65_536]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table: Box<[u16; 65_536]> =
            (0..=u16::MAX).collect::<Vec<_>>().try_into().expect("as many as there are");
        let mut reader = Reader::new(include_bytes!("general_ci.bin"));
        let mut code = 0;
        let mut read = || -> Result<(), assize_codec::DecodeError> {
            for _ in 0..reader.varint()? {
                code += reader.varint()? as usize;
                table[code] = (code as i64 + reader.zigzag()?) as u16;
            }
            Ok(())
        };
        read().expect("the table within the program is whole");
        table
    })
}

const GENERAL_ASCII: Ascii = {
    let mut table = [0; 128];
    let mut code = 0;
    while code < 128 {
        table[code] = (code as u8).to_ascii_uppercase() as u16;
        code += 1;
    }
    table
};

impl Scale {
    fn ascii(&self) -> &'static Ascii {
        match self {
            Scale::Uca(_) => &ducet().ascii,
            _ => &GENERAL_ASCII,
        }
    }
}

/// Elements of a character that no table lists: Han and unassigned ones by their code.
fn implicit(code: u32) -> [Element; 2] {
    let (base, low) = match code {
        0x17000..=0x18aff | 0x18d00..=0x18d08 => (0xfb00, (code - 0x17000) | 0x8000),
        0x1b170..=0x1b2ff => (0xfb01, (code - 0x1b170) | 0x8000),
        0x18b00..=0x18cff => (0xfb02, (code - 0x18b00) | 0x8000),
        0x4e00..=0x9ffc
        | 0xfa0e..=0xfa0f
        | 0xfa11
        | 0xfa13..=0xfa14
        | 0xfa1f
        | 0xfa21
        | 0xfa23..=0xfa24
        | 0xfa27..=0xfa29 => (0xfb40 + (code >> 15), (code & 0x7fff) | 0x8000),
        0x3400..=0x4dbf
        | 0x20000..=0x2a6dd
        | 0x2a700..=0x2b734
        | 0x2b740..=0x2b81d
        | 0x2b820..=0x2cea1
        | 0x2ceb0..=0x2ebe0
        | 0x30000..=0x3134a => (0xfb80 + (code >> 15), (code & 0x7fff) | 0x8000),
        _ => (0xfbc0 + (code >> 15), (code & 0x7fff) | 0x8000),
    };
    let base = base.min(0xffff) as u16;
    [
        Element { primary: base, secondary: 0x20, tertiary: 2 },
        Element { primary: low as u16, secondary: 0, tertiary: 0 },
    ]
}

/// Walks the collation elements of a text.
struct Elements<'a> {
    chars: std::str::Chars<'a>,
    pending: &'static [Element],
    /// Elements made on the fly, last first.
    made: [Element; 8],
    made_count: usize,
}

impl<'a> Elements<'a> {
    fn new(text: &'a str) -> Self {
        Elements { chars: text.chars(), pending: &[], made: [Element::default(); 8], made_count: 0 }
    }

    fn make(&mut self, elements: &[Element]) {
        for element in elements.iter().rev() {
            if self.made_count < self.made.len() {
                self.made[self.made_count] = *element;
                self.made_count += 1;
            }
        }
    }

    fn load(&mut self, c: char) {
        let table = ducet();
        let code = c as u32;
        let page = usize::from(table.page_of[(code >> 8) as usize]);
        let (start, count, contracts) = table.pages[page][(code & 255) as usize];
        if contracts && self.contraction(code) {
            return;
        }
        if count != 255 {
            self.pending = &table.elements[start as usize..start as usize + usize::from(count)];
        } else if (0xac00..0xd7a4).contains(&code) {
            // A Hangul syllable is its letters.
            let syllable = code - 0xac00;
            let letters = [0x1100 + syllable / 588, 0x1161 + syllable % 588 / 28, 0x11a7 + syllable % 28];
            let mut all = [Element::default(); 3];
            let mut used = 0;
            for letter in letters.iter().take(if syllable.is_multiple_of(28) { 2 } else { 3 }) {
                let page = usize::from(table.page_of[(letter >> 8) as usize]);
                let (start, count, _) = table.pages[page][(letter & 255) as usize];
                if count != 255 && count > 0 {
                    all[used] = table.elements[start as usize];
                    used += 1;
                }
            }
            self.make(&all[..used]);
        } else {
            self.make(&implicit(code));
        }
    }

    fn contraction(&mut self, first: u32) -> bool {
        let table = ducet();
        let mut ahead = self.chars.clone();
        let next = [ahead.next(), ahead.next()].map(|c| c.map(|c| c as u32));
        for length in [3usize, 2] {
            let codes: Vec<u32> = match (length, next) {
                (3, [Some(a), Some(b)]) => vec![first, a, b],
                (2, [Some(a), _]) => vec![first, a],
                _ => continue,
            };
            if let Ok(at) = table.contractions.binary_search_by(|(known, _, _)| known.cmp(&codes)) {
                let (_, start, count) = &table.contractions[at];
                self.pending = &table.elements[*start as usize..*start as usize + usize::from(*count)];
                for _ in 1..length {
                    self.chars.next();
                }
                return true;
            }
        }
        false
    }
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        loop {
            if let Some((first, rest)) = self.pending.split_first() {
                self.pending = rest;
                return Some(*first);
            }
            if self.made_count > 0 {
                self.made_count -= 1;
                return Some(self.made[self.made_count]);
            }
            let c = self.chars.next()?;
            self.load(c);
        }
    }
}

fn primaries(text: &str) -> impl Iterator<Item = u32> {
    Elements::new(text).map(|e| u32::from(e.primary)).filter(|weight| *weight != 0)
}

fn general_weight(table: &[u16; 65_536], c: char) -> u32 {
    table.get(c as usize).map_or(0xfffd, |weight| u32::from(*weight))
}

/// Weights of a set of one byte each.
#[derive(Clone, Copy)]
struct ByteWeights {
    charset: Charset,
    table: &'static [u8; 256],
}

impl ByteWeights {
    /// Those of a collation, if they are its scale.
    fn of(info: &CollationInfo) -> Option<ByteWeights> {
        let table = match info.scale {
            Scale::Bytes(table) => table,
            Scale::Table(number) => eight_bit::weights(number),
            _ => return None,
        };
        Some(ByteWeights { charset: info.charset, table })
    }

    fn weight(self, c: char) -> u32 {
        // What the set lacks sorts behind it, by code.
        byte_of(self.charset, c).map_or(0x100 + c as u32, |byte| u32::from(self.table[usize::from(byte)]))
    }

    fn space(self) -> u32 {
        u32::from(self.table[0x20])
    }
}

/// A space in the weights of [`Scale::Encoded`].
const ENCODED_SPACE: u32 = 0x2000_0000;

/// The bytes of a character as the upper ones of a number. What the set lacks sorts behind it, by code.
fn encoded_weight(charset: Charset, fold: bool, c: char) -> u32 {
    let c = if fold { c.to_ascii_uppercase() } else { c };
    charset.bytes_of(c).map_or(0xff00_0000 | c as u32, |bytes| bytes.left_aligned())
}

/// Compares two runs of weights; a text that ends goes on with `pad` if there is one.
fn compare_weights(
    mut a: impl Iterator<Item = u32>,
    mut b: impl Iterator<Item = u32>,
    pad: Option<u32>,
) -> Ordering {
    loop {
        let (x, y) = (a.next(), b.next());
        let order = match (x, y, pad) {
            (None, None, _) => return Ordering::Equal,
            (Some(x), Some(y), _) => x.cmp(&y),
            (None, Some(y), Some(pad)) => pad.cmp(&y),
            (Some(x), None, Some(pad)) => x.cmp(&pad),
            (None, Some(_), None) => Ordering::Less,
            (Some(_), None, None) => Ordering::Greater,
        };
        if order.is_ne() {
            return order;
        }
    }
}

pub(super) fn compare(info: &CollationInfo, a: &str, b: &str) -> Ordering {
    if let Scale::CodePoint = info.scale {
        if !info.pad_space {
            return a.as_bytes().cmp(b.as_bytes());
        }
        return compare_padded_bytes(a.as_bytes(), b.as_bytes());
    }
    // Skip the common beginning while it is plain ASCII.
    if matches!(info.scale, Scale::Uca(1) | Scale::General) {
        let table = info.scale.ascii();
        let (a, b) = (a.as_bytes(), b.as_bytes());
        let mut i = 0;
        while i < a.len() && i < b.len() && a[i] < 0x80 && b[i] < 0x80 {
            let (x, y) = (table[usize::from(a[i])], table[usize::from(b[i])]);
            if x != y {
                if x == 0 || y == 0 {
                    break;
                }
                // A character behind this one could still combine with it, but no contraction of the table
                // begins with an ASCII letter.
                return x.cmp(&y);
            }
            i += 1;
        }
        if i == a.len() && i == b.len() {
            return Ordering::Equal;
        }
        if !info.pad_space && (i == a.len() && b[i..].is_ascii() || i == b.len() && a[i..].is_ascii()) {
            let rest = |s: &[u8]| s[i..].iter().any(|c| table[usize::from(*c)] != 0);
            return rest(a).cmp(&rest(b));
        }
    }
    let space = |weight: u32| info.pad_space.then_some(weight);
    match info.scale {
        Scale::CodePoint => a.cmp(b),
        Scale::Bytes(_) | Scale::Table(_) => {
            let Some(bytes) = ByteWeights::of(info) else { return a.cmp(b) };
            let weight = |c| bytes.weight(c);
            compare_weights(a.chars().map(weight), b.chars().map(weight), space(bytes.space()))
        }
        Scale::Encoded { fold } => {
            let weight = |c| encoded_weight(info.charset, fold, c);
            compare_weights(a.chars().map(weight), b.chars().map(weight), space(ENCODED_SPACE))
        }
        Scale::General => {
            let table = general();
            compare_weights(
                a.chars().map(|c| general_weight(table, c)),
                b.chars().map(|c| general_weight(table, c)),
                space(0x20),
            )
        }
        Scale::Uca(1) => compare_weights(primaries(a), primaries(b), space(u32::from(ducet().ascii[0x20]))),
        Scale::Uca(levels) => {
            if a == b {
                return Ordering::Equal;
            }
            compare_weights(primaries(a), primaries(b), None)
                .then_with(|| compare_weights(level(a, 2), level(b, 2), None))
                .then_with(|| {
                    if levels < 3 { Ordering::Equal } else { compare_weights(level(a, 3), level(b, 3), None) }
                })
        }
    }
}

fn level(text: &str, level: u8) -> impl Iterator<Item = u32> {
    Elements::new(text)
        .map(move |e| if level == 2 { u32::from(e.secondary) } else { u32::from(e.tertiary) })
        .filter(|weight| *weight != 0)
}

fn compare_padded_bytes(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.len().min(b.len());
    let order = a[..common].cmp(&b[..common]);
    if order.is_ne() {
        return order;
    }
    let rest = |s: &[u8]| s[common..].iter().find(|c| **c != b' ').map_or(Ordering::Equal, |c| c.cmp(&b' '));
    if a.len() > b.len() { rest(a) } else { rest(b).reverse() }
}

pub(super) fn same_char(info: &CollationInfo, a: char, b: char) -> bool {
    match info.scale {
        Scale::CodePoint => a == b,
        Scale::Bytes(_) | Scale::Table(_) => {
            ByteWeights::of(info).is_some_and(|bytes| bytes.weight(a) == bytes.weight(b))
        }
        Scale::Encoded { fold } => {
            encoded_weight(info.charset, fold, a) == encoded_weight(info.charset, fold, b)
        }
        Scale::General => {
            let table = general();
            general_weight(table, a) == general_weight(table, b)
        }
        Scale::Uca(_) => {
            let (mut x, mut y) = ([0; 4], [0; 4]);
            compare(info, a.encode_utf8(&mut x), b.encode_utf8(&mut y)).is_eq()
        }
    }
}

pub(super) fn sort_key(info: &CollationInfo, text: &str, out: &mut Vec<u8>) {
    match info.scale {
        Scale::CodePoint if !info.pad_space => out.extend_from_slice(text.as_bytes()),
        Scale::CodePoint => put_padded(text.bytes().map(u32::from), 0x20, put_byte, out),
        Scale::Bytes(_) | Scale::Table(_) => {
            let Some(bytes) = ByteWeights::of(info) else { return };
            put_padded(text.chars().map(|c| bytes.weight(c).min(0xff)), bytes.space(), put_byte, out);
        }
        Scale::Encoded { fold } => {
            let weights = text.chars().map(|c| encoded_weight(info.charset, fold, c));
            put_padded(weights, ENCODED_SPACE, put_upper, out);
        }
        Scale::General => {
            let table = general();
            put_padded(text.chars().map(|c| general_weight(table, c)), 0x20, put_word, out);
        }
        Scale::Uca(1) if info.pad_space => {
            put_padded(primaries(text), u32::from(ducet().ascii[0x20]), put_word, out);
        }
        Scale::Uca(levels) => {
            out.reserve(text.len() * 2);
            if text.is_ascii() {
                let table = &ducet().ascii;
                for byte in text.bytes() {
                    let weight = table[usize::from(byte)];
                    if weight != 0 {
                        out.extend_from_slice(&weight.to_be_bytes());
                    }
                }
            } else {
                primaries(text).for_each(|w| out.extend_from_slice(&(w as u16).to_be_bytes()));
            }
            for next in 2..=levels {
                out.extend_from_slice(&[0, 0]);
                level(text, next).for_each(|w| out.extend_from_slice(&(w as u16).to_be_bytes()));
            }
        }
    }
}

const BELOW: u8 = 1;
const AT_END: u8 = 2;
const ABOVE: u8 = 3;

fn put_byte(weight: u32, out: &mut Vec<u8>) {
    out.push(weight as u8);
}

fn put_word(weight: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(weight as u16).to_be_bytes());
}

/// Appends the upper bytes of a weight, without the zeros behind them: no character ends with one, and the first byte tells how
/// many there are.
fn put_upper(weight: u32, out: &mut Vec<u8>) {
    let bytes = weight.to_be_bytes();
    let length =
        if bytes[0] == 0xff { 4 } else { bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1 };
    out.extend_from_slice(&bytes[..length]);
}

/// Appends weights of a PAD SPACE collation. The end stands for endless spaces; so each run of spaces that
/// something follows says whether that sorts below or above a space, and how far away it is.
fn put_padded(weights: impl Iterator<Item = u32>, space: u32, put: fn(u32, &mut Vec<u8>), out: &mut Vec<u8>) {
    let mut run = 0u32;
    for weight in weights {
        if weight == space {
            run += 1;
            continue;
        }
        if run > 0 {
            put(space, out);
            let below = weight < space;
            out.push(if below { BELOW } else { ABOVE });
            let start = out.len();
            if run < 255 {
                out.push(run as u8);
            } else {
                out.push(255);
                out.extend_from_slice(&run.to_be_bytes());
            }
            if !below {
                out[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
            run = 0;
        }
        put(weight, out);
    }
    put(space, out);
    out.push(AT_END);
}
