//! Temporary: until `values` has its key and row codecs.
use assize_codec::{DecodeError, Reader, order};
use assize_values::{SqlType, Value};
use bytes::Bytes;
pub mod key {
    use super::*;
    pub fn prefix(_value: &Value, _length: u32) -> Option<Value> {
        None
    }
    pub fn put(out: &mut Vec<u8>, value: &Value, _t: &SqlType) {
        match value {
            Value::Int(n) => order::put_i64(out, *n),
            Value::UInt(n) => order::put_u64(out, *n),
            Value::Text(t) => order::put_bytes(out, t.to_lowercase().as_bytes()),
            other => {
                let mut v = Vec::new();
                crate::payload::put_tagged(&mut v, other);
                order::put_bytes(out, &v)
            }
        }
    }
}
pub mod row {
    use super::*;
    pub fn put(out: &mut Vec<u8>, value: &Value, _t: &SqlType) {
        crate::payload::put_tagged(out, value)
    }
    pub fn read(bytes: &Bytes, _t: &SqlType) -> Result<Value, DecodeError> {
        crate::payload::read_tagged(&mut Reader::new(bytes))
    }
}
