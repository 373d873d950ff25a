//! What every encoding of this crate must withstand.

use assize_codec::DecodeError;
use assize_codec::samples::Samples;
use bytes::Bytes;
use std::fmt::Debug;

/// Checks that a value is what comes back from its bytes, that no part of them and nothing longer passes for a value, and
/// that no changed byte makes decoding panic. The bytes become a sample.
pub fn comes_back<T: PartialEq + Debug>(
    samples: &mut Samples,
    value: &T,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(&Bytes) -> Result<T, DecodeError>,
) {
    let bytes = encode(value);
    assert_eq!(decode(&bytes).as_ref(), Ok(value));
    samples.add(&name_of(value), &bytes);
    for end in 0..bytes.len() {
        assert!(decode(&bytes.slice(..end)).is_err(), "{end} of {} bytes of {value:?}", bytes.len());
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(decode(&longer.into()).is_err(), "a byte behind {value:?}");
    for at in 0..bytes.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] = byte;
            let _ = decode(&changed.into());
        }
    }
}

/// What a value is called: the words that its variants begin with.
fn name_of(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '(').unwrap_or(text.len());
    text[..end].trim_matches('(').replace('(', ".")
}
