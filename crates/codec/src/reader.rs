//! Reading flat little-endian records out of bytes that may be anything.

use bytes::Bytes;

/// Why bytes could not be read. None of these is ever a reason to try again: the bytes will not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("{needed} bytes needed at offset {at}, {left} left")]
    Truncated {
        /// Where reading stood.
        at: usize,
        /// How many bytes the value needs at least.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// Something comes after what should have been the end.
    #[error("{left} bytes left over at offset {at}")]
    TrailingBytes {
        /// Where the value ended.
        at: usize,
        /// How many bytes follow.
        left: usize,
    },
    /// A varint of more than 64 bits.
    #[error("varint too long at offset {at}")]
    VarintTooLong {
        /// Where it began.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("text at offset {at} is not utf-8")]
    NotUtf8 {
        /// Where it began.
        at: usize,
    },
    /// A value that this field cannot have: an unknown tag, an impossible length.
    #[error("{value} is not a {what} (at offset {at})")]
    BadValue {
        /// What was expected.
        what: &'static str,
        /// What was found.
        value: u64,
        /// Where.
        at: usize,
    },
    /// An ordered encoding that no value has.
    #[error("bytes at offset {at} are not an ordered {what}")]
    NotOrdered {
        /// What was expected.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// The envelope is of something else.
    #[error("tag {found:?} where {expected:?} was expected")]
    WrongTag {
        /// What was asked for.
        expected: [u8; 4],
        /// What is there.
        found: [u8; 4],
    },
    /// The envelope's version is one that this program does not know.
    #[error("version {found} is newer than {newest}, the newest known")]
    UnknownVersion {
        /// Its version.
        found: u16,
        /// The newest that can be read.
        newest: u16,
    },
    /// The checksum says that the bytes are not those that were written.
    #[error("checksum is {found:08x}, the bytes add up to {computed:08x}")]
    WrongChecksum {
        /// The stored one.
        found: u32,
        /// That of the bytes.
        computed: u32,
    },
}

/// A place in a run of bytes, moving forward. Every function either returns the value and moves past it, or
/// returns an error and leaves the place undefined.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads these bytes from their start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0, shared: None }
    }

    /// Reads these bytes from their start; [`Reader::shared`] and [`Reader::shared_bytes`] then share them
    /// instead of copying.
    pub fn over(bytes: &'a Bytes) -> Self {
        Reader { bytes, at: 0, shared: Some(bytes) }
    }

    /// How far it has come.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is left, without moving.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// An error unless nothing is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes { at: self.at, left }),
        }
    }

    /// The error for a value that cannot be here.
    pub fn bad(&self, what: &'static str, value: u64) -> DecodeError {
        DecodeError::BadValue { what, value, at: self.at }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn slice(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.bytes[self.at..].get(..count) {
            Some(slice) => {
                self.at += count;
                Ok(slice)
            }
            None => Err(DecodeError::Truncated { at: self.at, needed: count, left: self.left() }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(array) => {
                self.at += N;
                Ok(*array)
            }
            None => Err(DecodeError::Truncated { at: self.at, needed: N, left: self.left() }),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Sixteen bytes, little-endian.
    #[inline]
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian, two's complement.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, the IEEE bits, little-endian.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// One byte, 0 or 1.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.bad("bool", other.into())),
        }
    }

    /// A varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong { at: start })
    }

    /// A varint with the sign in its lowest bit.
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint that says how many items follow, each of at least `item_min` bytes. A count that the bytes
    /// left cannot hold is an error here, so that the caller may reserve memory for it.
    #[inline]
    pub fn count(&mut self, item_min: usize) -> Result<usize, DecodeError> {
        let start = self.at;
        let count = self.varint()?;
        let needed = usize::try_from(count).ok().and_then(|n| n.checked_mul(item_min));
        match needed {
            Some(needed) if needed <= self.left() => Ok(count as usize),
            _ => Err(DecodeError::BadValue { what: "count of items", value: count, at: start }),
        }
    }

    /// A length as a varint, then that many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count(1)?;
        self.slice(length)
    }

    /// The next `count` bytes as an owned handle: shared if the reader was made [`Reader::over`] shared bytes,
    /// copied otherwise.
    #[inline]
    pub fn shared(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        let slice = self.slice(count)?;
        Ok(match self.shared {
            Some(whole) => whole.slice_ref(slice),
            None => Bytes::copy_from_slice(slice),
        })
    }

    /// A length as a varint, then that many bytes as by [`Reader::shared`].
    #[inline]
    pub fn shared_bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.count(1)?;
        self.shared(length)
    }

    /// A length as a varint, then that much text.
    #[inline]
    pub fn str(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.at;
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::NotUtf8 { at: start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Put;
    use proptest::prelude::*;

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_reserved() {
        let mut bytes = Vec::new();
        bytes.put_varint(u64::MAX);
        assert!(matches!(Reader::new(&bytes).count(8), Err(DecodeError::BadValue { .. })));
        bytes.clear();
        bytes.put_varint(3);
        bytes.put_slice(&[0; 23]);
        assert!(Reader::new(&bytes).count(8).is_err());
        bytes.push(0);
        assert_eq!(Reader::new(&bytes).count(8), Ok(3));
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let mut bytes = vec![0xff; 9];
        bytes.push(0x02);
        assert_eq!(Reader::new(&bytes).varint(), Err(DecodeError::VarintTooLong { at: 0 }));
        bytes[9] = 0x01;
        assert_eq!(Reader::new(&bytes).varint(), Ok(u64::MAX));
        assert_eq!(Reader::new(&[0xff; 20]).varint(), Err(DecodeError::VarintTooLong { at: 0 }));
    }

    #[test]
    fn shared_bytes_are_the_same_memory() {
        let mut bytes = Vec::new();
        bytes.put_bytes(b"hello");
        let whole = Bytes::from(bytes);
        let part = Reader::over(&whole).shared_bytes().unwrap();
        assert_eq!(part.as_ptr(), whole[1..].as_ptr());
        assert_eq!(Reader::new(&whole).shared_bytes().unwrap(), part);
    }

    proptest! {
        #[test]
        fn what_is_put_is_what_is_read(
            a: u8, b: u16, c: u32, d: u64, e: u128, f: i64, g: u64, h: bool,
            i: Vec<u8>, j: String,
        ) {
            let mut out = Vec::new();
            out.put_u8(a);
            out.put_u16(b);
            out.put_u32(c);
            out.put_u64(d);
            out.put_u128(e);
            out.put_i64(f);
            out.put_f64(f64::from_bits(g));
            out.put_bool(h);
            out.put_bytes(&i);
            out.put_str(&j);
            out.put_varint(d);
            out.put_zigzag(f);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.u8()?, a);
            prop_assert_eq!(r.u16()?, b);
            prop_assert_eq!(r.u32()?, c);
            prop_assert_eq!(r.u64()?, d);
            prop_assert_eq!(r.u128()?, e);
            prop_assert_eq!(r.i64()?, f);
            prop_assert_eq!(r.f64()?.to_bits(), g);
            prop_assert_eq!(r.bool()?, h);
            prop_assert_eq!(r.bytes()?, &i[..]);
            prop_assert_eq!(r.str()?, &j[..]);
            prop_assert_eq!(r.varint()?, d);
            prop_assert_eq!(r.zigzag()?, f);
            prop_assert_eq!(r.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, steps: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            for step in steps {
                let _ = match step % 12 {
                    0 => r.u8().err(),
                    1 => r.u16().err(),
                    2 => r.u32().err(),
                    3 => r.u64().err(),
                    4 => r.u128().err(),
                    5 => r.bool().err(),
                    6 => r.varint().err(),
                    7 => r.zigzag().err(),
                    8 => r.bytes().err(),
                    9 => r.str().err(),
                    10 => r.count(step.into()).err(),
                    _ => r.shared_bytes().err(),
                };
            }
            prop_assert!(r.at() <= bytes.len());
        }
    }
}
