//! Literal values, as far as syntax knows them.

use assize_model::{ErrorCode, SqlError};

/// A literal that the normaliser lifted out of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Digits, with a sign; beyond 64 bits they are a decimal to MySQL.
    Integer(String),
    /// Digits with a point, with a sign.
    Decimal(String),
    /// With an exponent, with a sign.
    Double(f64),
    /// A string.
    Text(String),
    /// A hex literal or a string that is not UTF-8.
    Binary(Vec<u8>),
}

/// The bytes of hex digits; digits that are none count as zero, which the lexer excludes.
pub fn unhex(digits: &str) -> Vec<u8> {
    let value = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
    let digits = digits.as_bytes();
    let (odd, even) = digits.split_at(digits.len() % 2);
    let first = odd.iter().map(|b| value(*b));
    first.chain(even.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1]))).collect()
}

/// The bytes of a bit literal (`b'101'`), right-aligned.
pub fn unbits(bits: &str) -> Result<Vec<u8>, SqlError> {
    let mut out = vec![0u8; bits.len().div_ceil(8)];
    for (i, bit) in bits.bytes().rev().enumerate() {
        match bit {
            b'0' => {}
            b'1' => {
                let byte = out.len() - 1 - i / 8;
                out[byte] |= 1 << (i % 8);
            }
            _ => return Err(SqlError::new(ErrorCode::ParseError, format!("not a bit literal: {bits}"))),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_bits_become_bytes() {
        assert_eq!(unhex("4142"), b"AB");
        assert_eq!(unhex("1ff"), [1, 0xff]);
        assert_eq!(unhex(""), []);
        assert_eq!(unbits("101").unwrap(), [5]);
        assert_eq!(unbits("100000001").unwrap(), [1, 1]);
        assert!(unbits("12").is_err());
    }
}
