//! Bytes of the log.
//!
//! ```text
//!  segment file                                        record (48-byte head, then payload, 8-byte aligned)
//!  ┌──────────────────────────┐ 0                      ┌────────────────────────────────────────────┐
//!  │ header                   │                        │ magic+version u32 │ crc u32                │
//!  ├──────────────────────────┤ 4096                   │ payload length u32 │ kind u8 │ zeros       │
//!  │ record │ record │ record │                        │ generation u64                             │
//!  │ … │ old bytes of an      │                        │ lsn u64                                    │
//!  │ earlier life of the file │                        │ durable_below u64                          │
//!  └──────────────────────────┘ length                 │ log index u64                              │
//!                                                      └────────────────────────────────────────────┘
//! ```
//!
//! Everything is little-endian. The checksum covers everything after itself, payload included. A record
//! counts only in the generation of its segment's header, so that bytes of an earlier life of a recycled file
//! mean nothing.

use crate::wal::WalError;
use bytes::Bytes;

/// Where records begin.
pub const RECORDS: u64 = 4096;
/// Bytes before a record's payload.
pub const HEAD: usize = 48;
/// Longest meta blob.
pub const META_MAX: usize = 2048;

const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"azr\x01");
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"azwal\0\0\x01");

/// The first block of a segment: where it stands in the log, and what the log was when it began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which life of which file this is; rises by one from segment to segment.
    pub generation: u64,
    /// Sequence number of its first record.
    pub first_lsn: u64,
    /// First index that was not purged.
    pub first_index: u64,
    /// Index that the next entry had.
    pub next_index: u64,
    /// The meta blob.
    pub meta: Bytes,
}

impl Header {
    /// One block.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.meta.len() <= META_MAX);
        let mut out = Vec::with_capacity(RECORDS as usize);
        out.extend_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for n in [self.generation, self.first_lsn, self.first_index, self.next_index, self.meta.len() as u64]
        {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.meta);
        out.resize(RECORDS as usize, 0);
        let crc = u64::from(crc32fast::hash(&out[16..]));
        out[8..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a block; `Ok(None)` if it is none, an error if it is one of a later version of the format.
    pub fn decode(block: &[u8], file: &str) -> Result<Option<Header>, WalError> {
        let word = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
        if block.len() != RECORDS as usize || u64::from(crc32fast::hash(&block[16..])) != word(8) {
            return Ok(None);
        }
        if word(0) != SEGMENT_MAGIC {
            // A block of zeros has no valid checksum word for itself, so this was written by somebody.
            if word(0) & 0x00ff_ffff_ffff_ffff == SEGMENT_MAGIC & 0x00ff_ffff_ffff_ffff {
                return Err(WalError::Version { file: file.to_owned() });
            }
            return Ok(None);
        }
        let len = word(48) as usize;
        if len > META_MAX {
            return Ok(None);
        }
        Ok(Some(Header {
            generation: word(16),
            first_lsn: word(24),
            first_index: word(32),
            next_index: word(40),
            meta: Bytes::copy_from_slice(&block[56..56 + len]),
        }))
    }
}

/// What a record does to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Appends the entry of its index; the payload is the entry.
    Append = 1,
    /// Removes every entry from its index on.
    Truncate = 2,
    /// Removes every entry below its index; the payload is the new meta blob.
    Purge = 3,
    /// Replaces the meta blob.
    Meta = 4,
}

/// A record's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What it does.
    pub kind: Kind,
    /// The segment's generation.
    pub generation: u64,
    /// Its sequence number.
    pub lsn: u64,
    /// Everything below this sequence number was durable before this record was written.
    pub durable_below: u64,
    /// The index it is about.
    pub index: u64,
    /// Length of its payload.
    pub len: usize,
}

impl Head {
    /// Bytes of a record with this payload, padding included.
    pub fn space(len: usize) -> usize {
        (HEAD + len).next_multiple_of(8)
    }

    /// Appends the record to `out`; its payload is these parts together.
    pub fn encode(&self, payload: [&[u8]; 2], out: &mut Vec<u8>) {
        debug_assert_eq!(payload[0].len() + payload[1].len(), self.len);
        let start = out.len();
        out.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.len as u32).to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        for n in [self.generation, self.lsn, self.durable_below, self.index] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        payload.iter().for_each(|part| out.extend_from_slice(part));
        out.resize(start + Self::space(self.len), 0);
        let crc = crc32fast::hash(&out[start + 8..start + HEAD + self.len]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the record at the start of `bytes`, checksum and all; `None` if there is none.
    pub fn decode(bytes: &[u8]) -> Option<(Head, &[u8])> {
        Head::decode_if(bytes, |_| true)
    }

    /// As [`Head::decode`], of a record that is wanted. Others are not read beyond their heads: each could claim all that
    /// lies behind it.
    pub fn decode_if(bytes: &[u8], is_wanted: impl Fn(&Head) -> bool) -> Option<(Head, &[u8])> {
        let head = bytes.get(..HEAD)?;
        let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        if short(0) != RECORD_MAGIC {
            return None;
        }
        let crc = short(4);
        let len = short(8) as usize;
        let covered = bytes.get(8..HEAD.checked_add(len)?)?;
        let kind = match head[12] {
            1 => Kind::Append,
            2 => Kind::Truncate,
            3 => Kind::Purge,
            4 => Kind::Meta,
            _ => return None,
        };
        let head =
            Head { kind, generation: long(16), lsn: long(24), durable_below: long(32), index: long(40), len };
        let is_whole = || crc32fast::hash(covered) == crc;
        (is_wanted(&head) && is_whole()).then(|| (head, &bytes[HEAD..HEAD + len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_codec::samples::Samples;

    #[test]
    fn a_record_reads_back_and_every_flipped_bit_is_noticed() {
        let head = Head { kind: Kind::Append, generation: 7, lsn: 9, durable_below: 8, index: 3, len: 5 };
        let mut bytes = Vec::new();
        head.encode([b"he", b"llo"], &mut bytes);
        assert_eq!(bytes.len(), 56);
        assert_eq!(Head::decode(&bytes), Some((head, &b"hello"[..])));
        for bit in 0..(HEAD + 5) * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&broken), None, "bit {bit}");
        }
        for len in 0..HEAD + 5 {
            assert_eq!(Head::decode(&bytes[..len]), None);
        }
    }

    #[test]
    fn the_bytes_of_a_segment_are_those_of_version_one() {
        let mut samples = Samples::default();
        let header = Header {
            generation: 3,
            first_lsn: 10,
            first_index: 4,
            next_index: 9,
            meta: Bytes::from_static(b"vote"),
        };
        let block = header.encode();
        assert_eq!(Header::decode(&block, "x").unwrap(), Some(header));
        assert!(block[60..].iter().all(|byte| *byte == 0));
        samples.add("header", &block[..60]);
        for kind in [Kind::Append, Kind::Truncate, Kind::Purge, Kind::Meta] {
            let head = Head { kind, generation: 1, lsn: 2, durable_below: 2, index: 4, len: 1 };
            let mut bytes = Vec::new();
            head.encode([b"", b"m"], &mut bytes);
            assert_eq!(Head::decode(&bytes), Some((head, &b"m"[..])));
            samples.add(&format!("{kind:?}"), &bytes);
        }
        samples.are(include_str!("../samples/segment_v1.hex"));
    }

    #[test]
    fn a_header_reads_back_and_zeros_are_no_header() {
        let meta = Bytes::from_static(b"vote");
        let header = Header { generation: 3, first_lsn: 10, first_index: 4, next_index: 9, meta };
        let mut block = header.encode();
        assert_eq!(Header::decode(&block, "x").unwrap(), Some(header));
        block[2000] ^= 1;
        assert_eq!(Header::decode(&block, "x").unwrap(), None);
        assert_eq!(Header::decode(&[0; RECORDS as usize], "x").unwrap(), None);
    }
}
