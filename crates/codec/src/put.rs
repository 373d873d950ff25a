//! Writing flat little-endian records.

/// Writes flat records at the end of a buffer; [`crate::Reader`] reads them back with the functions of the
/// same names.
pub trait Put {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// Two bytes, little-endian.
    fn put_u16(&mut self, value: u16);
    /// Four bytes, little-endian.
    fn put_u32(&mut self, value: u32);
    /// Eight bytes, little-endian.
    fn put_u64(&mut self, value: u64);
    /// Sixteen bytes, little-endian.
    fn put_u128(&mut self, value: u128);
    /// Eight bytes, little-endian, two's complement.
    fn put_i64(&mut self, value: i64);
    /// The IEEE bits in eight bytes, little-endian.
    fn put_f64(&mut self, value: f64);
    /// One byte, 0 or 1.
    fn put_bool(&mut self, value: bool);
    /// Seven bits a byte, least significant first: 1 to 10 bytes.
    fn put_varint(&mut self, value: u64);
    /// A varint with the sign in its lowest bit, so that small negative numbers are short.
    fn put_zigzag(&mut self, value: i64);
    /// These bytes and nothing else.
    fn put_slice(&mut self, bytes: &[u8]);
    /// The length as a varint, then the bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
    /// The length in bytes as a varint, then the text.
    fn put_str(&mut self, text: &str);
}

impl Put for Vec<u8> {
    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    #[inline]
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_f64(&mut self, value: f64) {
        self.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    #[inline]
    fn put_bool(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    #[inline]
    fn put_zigzag(&mut self, value: i64) {
        self.put_varint((value << 1 ^ value >> 63) as u64);
    }

    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_str(&mut self, text: &str) {
        self.put_bytes(text.as_bytes());
    }
}
