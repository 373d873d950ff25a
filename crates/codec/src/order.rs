//! Encodings whose bytes sort as their values do.
//!
//! Fields are strung together into a key; comparing two keys of the same shape compares their fields one
//! after the other. No field's encoding is a prefix of another's, so a short value never runs into the field
//! behind it.
//!
//! | field | bytes |
//! |---|---|
//! | unsigned | big-endian |
//! | signed | big-endian with the sign bit flipped |
//! | `f64` | IEEE bits; negative ones inverted, the others with the sign bit set; -0 as 0, every NaN above all |
//! | bytes | `00` as `00 ff`, then `00 00` as the end |
//! | decimal | sign, exponent, digits in pairs, end; the number's scale does not matter: 1.5 is 1.50 |
//! | nullable | `00` for NULL; `01` and the field otherwise |
//! | descending | the field's bytes (NULL marker included) inverted |

use crate::{DecodeError, Reader};

const NULL: u8 = 0x00;
const NOT_NULL: u8 = 0x01;
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 0x00;
const DECIMAL_NEGATIVE: u8 = 0x7f;
const DECIMAL_ZERO: u8 = 0x80;
const DECIMAL_POSITIVE: u8 = 0x81;

/// Appends an unsigned 8-bit number.
#[inline]
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// Appends an unsigned 16-bit number.
#[inline]
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends an unsigned 32-bit number.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends an unsigned 64-bit number.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends an unsigned 128-bit number.
#[inline]
pub fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a signed 32-bit number.
#[inline]
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_u32(out, value as u32 ^ 1 << 31);
}

/// Appends a signed 64-bit number.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, value as u64 ^ 1 << 63);
}

/// Appends a floating-point number. -0 and 0 get one encoding, and so do all NaNs.
#[inline]
pub fn put_f64(out: &mut Vec<u8>, value: f64) {
    let bits = if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits() & !(1 << 63)
    } else {
        value.to_bits()
    };
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    put_u64(out, ordered);
}

/// Appends bytes of any length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    for part in bytes.split_inclusive(|b| *b == ESCAPE) {
        out.extend_from_slice(part);
        if part.last() == Some(&ESCAPE) {
            out.push(ESCAPED_ZERO);
        }
    }
    out.extend_from_slice(&[ESCAPE, END]);
}

/// Appends what all encodings of byte strings that begin with `prefix` begin with: the start of a range scan
/// for `LIKE 'prefix%'`.
pub fn put_bytes_prefix(out: &mut Vec<u8>, prefix: &[u8]) {
    put_bytes(out, prefix);
    out.truncate(out.len() - 2);
}

/// Appends a decimal number: its digits (0 to 9, most significant first), the last `scale` of them behind the
/// point. Leading and trailing zeros change nothing, and zero has no sign.
///
/// # Panics
/// If a digit is above 9, or there are more than 30,000 digits or places.
pub fn put_decimal(out: &mut Vec<u8>, negative: bool, digits: &[u8], scale: usize) {
    assert!(digits.iter().all(|d| *d <= 9), "decimal digits are 0 to 9");
    assert!(digits.len() <= 30_000 && scale <= 30_000, "decimals have at most 30,000 digits");
    let leading = digits.iter().take_while(|d| **d == 0).count();
    let trailing = digits[leading..].iter().rev().take_while(|d| **d == 0).count();
    let significant = &digits[leading..digits.len() - trailing];
    if significant.is_empty() {
        out.push(DECIMAL_ZERO);
        return;
    }
    // The number is 0.d₁d₂d₃… × 10^exponent with d₁ ≠ 0: a greater exponent is a greater magnitude.
    let exponent = (digits.len() - leading) as i32 - scale as i32;
    out.push(if negative { DECIMAL_NEGATIVE } else { DECIMAL_POSITIVE });
    let start = out.len();
    put_u16(out, (exponent as i16) as u16 ^ 1 << 15);
    for pair in significant.chunks(2) {
        // 1 to 100, so that the end, 0, sorts below every pair.
        out.push(pair[0] * 10 + pair.get(1).copied().unwrap_or(0) + 1);
    }
    out.push(END);
    if negative {
        invert(&mut out[start..]);
    }
}

/// Appends NULL: below every value of a nullable field.
#[inline]
pub fn put_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends the mark that says that a nullable field's value follows.
#[inline]
pub fn put_not_null(out: &mut Vec<u8>) {
    out.push(NOT_NULL);
}

/// Appends one field in descending order: whatever `put` appends, inverted.
pub fn put_descending(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put(out);
    invert(&mut out[start..]);
}

fn invert(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = !*byte;
    }
}

/// A decimal number as read back: `0.digits × 10^exponent`, with no leading or trailing zero; zero has no
/// digits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decimal {
    /// Below zero.
    pub negative: bool,
    /// Digits 0 to 9, most significant first.
    pub digits: Vec<u8>,
    /// Power of ten of the point behind the last integer digit.
    pub exponent: i16,
}

/// Reads the fields of a key back, in the order in which they were put.
#[derive(Clone, Debug)]
pub struct KeyReader<'a> {
    reader: Reader<'a>,
    descending: bool,
}

impl<'a> KeyReader<'a> {
    /// Reads a key from its start.
    pub fn new(bytes: &'a [u8]) -> Self {
        KeyReader { reader: Reader::new(bytes), descending: false }
    }

    /// Whether the fields read from now on were put in descending order.
    pub fn descending(&mut self, descending: bool) -> &mut Self {
        self.descending = descending;
        self
    }

    /// What is left, without moving.
    pub fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// How far it has come.
    pub fn at(&self) -> usize {
        self.reader.at()
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// An error unless nothing is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        self.reader.finish()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = *self.reader.slice(N)?.first_chunk::<N>().expect("a slice of N");
        if self.descending {
            invert(&mut array);
        }
        Ok(array)
    }

    fn bad(&self, what: &'static str) -> DecodeError {
        DecodeError::NotOrdered { what, at: self.reader.at() }
    }

    /// An unsigned 8-bit number.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// An unsigned 16-bit number.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// An unsigned 32-bit number.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// An unsigned 64-bit number.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// An unsigned 128-bit number.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_be_bytes(self.array()?))
    }

    /// A signed 32-bit number.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok((self.u32()? ^ 1 << 31) as i32)
    }

    /// A signed 64-bit number.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok((self.u64()? ^ 1 << 63) as i64)
    }

    /// A floating-point number.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        let ordered = self.u64()?;
        Ok(f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered }))
    }

    /// Bytes of any length.
    pub fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        loop {
            match self.u8()? {
                ESCAPE => match self.u8()? {
                    END => return Ok(out),
                    ESCAPED_ZERO => out.push(0),
                    _ => return Err(self.bad("byte string")),
                },
                byte => out.push(byte),
            }
        }
    }

    /// Moves past bytes of any length without keeping them.
    pub fn skip_bytes(&mut self) -> Result<(), DecodeError> {
        loop {
            if self.u8()? == ESCAPE {
                match self.u8()? {
                    END => return Ok(()),
                    ESCAPED_ZERO => {}
                    _ => return Err(self.bad("byte string")),
                }
            }
        }
    }

    /// A decimal number.
    pub fn decimal(&mut self) -> Result<Decimal, DecodeError> {
        let negative = match self.u8()? {
            DECIMAL_ZERO => return Ok(Decimal::default()),
            DECIMAL_POSITIVE => false,
            DECIMAL_NEGATIVE => true,
            _ => return Err(self.bad("decimal")),
        };
        // Within a descending field a negative number is inverted twice.
        let outer = self.descending;
        self.descending = outer != negative;
        let exponent = (self.u16()? ^ 1 << 15) as i16;
        let mut digits = Vec::new();
        loop {
            match self.u8()? {
                END => break,
                pair @ 1..=100 => digits.extend_from_slice(&[(pair - 1) / 10, (pair - 1) % 10]),
                _ => return Err(self.bad("decimal")),
            }
        }
        self.descending = outer;
        if digits.last() == Some(&0) {
            digits.pop();
        }
        match (digits.first(), digits.last()) {
            (Some(1..), Some(1..)) => Ok(Decimal { negative, digits, exponent }),
            _ => Err(self.bad("decimal")),
        }
    }

    /// Whether a nullable field has a value, which then follows.
    pub fn has_value(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            NULL => Ok(false),
            NOT_NULL => Ok(true),
            _ => Err(self.bad("nullable field")),
        }
    }
}

#[cfg(test)]
mod tests;
