//! Bytes at rest: what they are, which version, and whether they are still what was written.

use crate::{DecodeError, Put, Reader};

/// Bytes that an envelope adds to its body.
pub const OVERHEAD: usize = 4 + 2 + 4 + 4;

/// Wraps a body.
///
/// # Panics
/// If the body is 4 GiB or more; whoever stores that much stores it in parts.
pub fn seal(tag: [u8; 4], version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + OVERHEAD);
    seal_into(&mut out, tag, version, body);
    out
}

/// Wraps a body at the end of a buffer.
///
/// # Panics
/// As [`seal`].
pub fn seal_into(out: &mut Vec<u8>, tag: [u8; 4], version: u16, body: &[u8]) {
    seal_written(out, tag, version, |out| out.put_slice(body));
}

/// Wraps what `write` writes at the end of a buffer; a large body is written where it stays.
///
/// # Panics
/// As [`seal`].
pub fn seal_written(out: &mut Vec<u8>, tag: [u8; 4], version: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_slice(&tag);
    out.put_u16(version);
    let length_at = out.len();
    out.put_u32(0);
    let body_at = out.len();
    write(out);
    let length = u32::try_from(out.len() - body_at).expect("an envelope's body is smaller than 4 GiB");
    out[length_at..body_at].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.put_u32(crc);
}

/// Opens an envelope that is all of `bytes`; returns its version, which is at most `newest`, and its body.
pub fn open(bytes: &[u8], tag: [u8; 4], newest: u16) -> Result<(u16, &[u8]), DecodeError> {
    let mut reader = Reader::new(bytes);
    let opened = open_next(&mut reader, tag, newest)?;
    reader.finish()?;
    Ok(opened)
}

/// Opens the envelope at which a reader stands and moves past it.
pub fn open_next<'a>(
    reader: &mut Reader<'a>,
    tag: [u8; 4],
    newest: u16,
) -> Result<(u16, &'a [u8]), DecodeError> {
    let whole = reader.rest();
    let found = *reader.slice(4)?.first_chunk::<4>().expect("a slice of four");
    if found != tag {
        return Err(DecodeError::WrongTag { expected: tag, found });
    }
    let version = reader.u16()?;
    let length = reader.u32()? as usize;
    let body = reader.slice(length)?;
    let computed = crc32fast::hash(&whole[..OVERHEAD - 4 + length]);
    let found = reader.u32()?;
    // The checksum before the version: a flipped bit in the version is damage, not a newer program's work.
    if found != computed {
        return Err(DecodeError::WrongChecksum { found, computed });
    }
    if version == 0 || version > newest {
        return Err(DecodeError::UnknownVersion { found: version, newest });
    }
    Ok((version, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_an_envelope_stay_as_they_are() {
        let sealed = seal(*b"test", 3, b"body");
        assert_eq!(sealed, b"test\x03\x00\x04\x00\x00\x00body\xf6\x3f\x1a\xb9");
    }

    #[test]
    fn an_envelope_is_opened_only_as_what_it_is() {
        let sealed = seal(*b"test", 3, b"body");
        assert_eq!(open(&sealed, *b"test", 3), Ok((3, &b"body"[..])));
        assert!(matches!(open(&sealed, *b"rest", 3), Err(DecodeError::WrongTag { .. })));
        assert_eq!(open(&sealed, *b"test", 2), Err(DecodeError::UnknownVersion { found: 3, newest: 2 }));
        let mut longer = sealed.clone();
        longer.push(0);
        assert!(matches!(open(&longer, *b"test", 3), Err(DecodeError::TrailingBytes { .. })));
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_found(body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = seal(*b"test", 1, &body);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&sealed, *b"test", 1).is_err());
        }

        #[test]
        fn every_torn_tail_is_found(body: Vec<u8>, at: prop::sample::Index) {
            let sealed = seal(*b"test", 1, &body);
            prop_assert!(open(&sealed[..at.index(sealed.len())], *b"test", 1).is_err());
        }

        #[test]
        fn no_bytes_make_opening_panic(bytes: Vec<u8>) {
            let mut with_tag = b"test".to_vec();
            with_tag.extend_from_slice(&bytes);
            prop_assert!(open(&bytes, *b"test", 1).is_err());
            let _ = open(&with_tag, *b"test", 1);
        }
    }
}
