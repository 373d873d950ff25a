//! Every key that this crate writes, in one place.
//!
//! | family | key | value |
//! |---|---|---|
//! | versions | `01` | the state record: position, epoch, low-water mark, slots |
//! | versions | `02` txn | the log entry that decided this intent |
//! | versions | `03` | a gain of slots that has begun and whose entry is not applied |
//! | versions | `10` key `!commit_ts` | one version |
//! | intents | `01` txn `00000000` | header of an intent |
//! | intents | `01` txn part | mutations of an intent, in parts numbered from 1 |
//!
//! The user's key is escaped and terminated, so that `a` never mixes with `a\0`; the commit timestamp is
//! inverted, so that the newest version of a key comes first and a read is one seek.

use assize_codec::DecodeError;
use assize_codec::order::{self, KeyReader};
use assize_model::{Key, KeyRange, Timestamp, TxnId};
use bytes::Bytes;

/// The state record, in versions.
pub const STATE: &[u8] = &[0x01];
/// The record of a gain, in versions.
pub const GAINING: &[u8] = &[0x03];
const DECIDED: u8 = 0x02;
const VERSION: u8 = 0x10;
const INTENT: u8 = 0x01;
/// Bytes of the timestamp at the end of a version's key.
const TS_LEN: usize = 8;

/// The mark of a decided intent, in versions.
pub fn decided(txn: TxnId) -> Vec<u8> {
    let mut out = vec![DECIDED];
    order::put_u128(&mut out, txn.0);
    out
}

/// All marks of decided intents.
pub fn all_decided() -> (Vec<u8>, Vec<u8>) {
    (vec![DECIDED], vec![DECIDED + 1])
}

/// The transaction of a mark.
pub fn parse_decided(bytes: &[u8]) -> Result<TxnId, DecodeError> {
    let mut reader = KeyReader::new(bytes);
    reader.u8()?;
    let bits = reader.u128()?;
    reader.finish()?;
    txn(bits)
}

/// What every version of this key begins with.
pub fn version_prefix(key: &Key) -> Vec<u8> {
    // Room for the timestamp too: most prefixes grow into a version's key.
    let mut out = Vec::with_capacity(1 + key.0.len() + 4 + TS_LEN);
    out.push(VERSION);
    order::put_bytes(&mut out, &key.0);
    out
}

/// The version of this key that was committed at this timestamp.
pub fn version(key: &Key, commit_ts: Timestamp) -> Vec<u8> {
    let mut out = version_prefix(key);
    push_ts(&mut out, commit_ts);
    out
}

/// Appends the inverted timestamp to a prefix.
pub fn push_ts(prefix: &mut Vec<u8>, commit_ts: Timestamp) {
    order::put_u64(prefix, !commit_ts.0);
}

/// Turns a version prefix into the first engine key after all its versions.
pub fn end_of_prefix(prefix: &mut [u8]) {
    // A prefix ends in the terminator 00 00; no escaped key continues with 00 01.
    let last = prefix.last_mut().expect("a prefix has a tag and a terminator");
    *last += 1;
}

/// The engine keys of all versions of all keys in this range.
pub fn version_bounds(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    (version_prefix(&range.start), version_prefix(&range.end))
}

/// The engine keys of all versions.
pub fn all_versions() -> (Vec<u8>, Vec<u8>) {
    (vec![VERSION], vec![VERSION + 1])
}

/// Whether an engine key is that of a version.
pub fn is_version(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION)
}

/// Splits a version's engine key into its prefix and its commit timestamp, without copying.
#[inline]
pub fn split_version(bytes: &[u8]) -> Result<(&[u8], Timestamp), DecodeError> {
    match bytes.split_last_chunk::<TS_LEN>() {
        Some((prefix @ [VERSION, .., 0, 0], ts)) => Ok((prefix, Timestamp(!u64::from_be_bytes(*ts)))),
        Some(_) => Err(DecodeError::NotOrdered { what: "key of a version", at: 0 }),
        None => Err(DecodeError::Truncated { at: 0, needed: TS_LEN, left: bytes.len() }),
    }
}

/// The user's key of a version prefix.
pub fn parse_prefix(prefix: &[u8]) -> Result<Key, DecodeError> {
    // Most keys have no zero byte to unescape and are copied in one go.
    if let [VERSION, body @ .., 0, 0] = prefix
        && !body.contains(&0)
    {
        return Ok(Key(Bytes::copy_from_slice(body)));
    }
    let mut reader = KeyReader::new(prefix);
    reader.u8()?;
    let key = reader.bytes()?;
    reader.finish()?;
    Ok(Key::new(key))
}

/// One part of an intent; part 0 is its header.
pub fn intent(txn: TxnId, part: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 16 + 4);
    out.push(INTENT);
    order::put_u128(&mut out, txn.0);
    order::put_u32(&mut out, part);
    out
}

/// All parts of an intent, header included.
pub fn intent_bounds(txn: TxnId) -> (Vec<u8>, Vec<u8>) {
    let mut end = intent(txn, u32::MAX);
    end.push(0);
    (intent(txn, 0), end)
}

/// All intents.
pub fn all_intents() -> (Vec<u8>, Vec<u8>) {
    (vec![INTENT], vec![INTENT + 1])
}

/// The transaction and part of an intent's engine key.
pub fn parse_intent(bytes: &[u8]) -> Result<(TxnId, u32), DecodeError> {
    let mut reader = KeyReader::new(bytes);
    reader.u8()?;
    let bits = reader.u128()?;
    let part = reader.u32()?;
    reader.finish()?;
    Ok((txn(bits)?, part))
}

fn txn(bits: u128) -> Result<TxnId, DecodeError> {
    TxnId::from_bits(bits).ok_or(DecodeError::NotOrdered { what: "transaction id", at: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newer_versions_come_first_and_neighbours_stay_apart() {
        let a = Key::from("a");
        let mut keys = [
            version(&a, Timestamp(7)),
            version(&a, Timestamp(9)),
            version(&a.successor(), Timestamp(8)),
            version(&Key::from("aa"), Timestamp(1)),
            version(&a, Timestamp::MAX),
        ];
        keys.sort();
        let parsed: Vec<_> = keys
            .iter()
            .map(|k| split_version(k).map(|(p, ts)| (parse_prefix(p).unwrap(), ts)).unwrap())
            .collect();
        assert_eq!(
            parsed,
            [
                (a.clone(), Timestamp::MAX),
                (a.clone(), Timestamp(9)),
                (a.clone(), Timestamp(7)),
                (a.successor(), Timestamp(8)),
                (Key::from("aa"), Timestamp(1)),
            ]
        );
    }

    proptest! {
        #[test]
        fn a_version_key_sorts_by_key_and_then_newest_first(
            a in prop::collection::vec(0u8..3, 0..5), b in prop::collection::vec(0u8..3, 0..5), s: u64, t: u64,
        ) {
            let (a, b) = (Key::new(a), Key::new(b));
            let ordered = (&a, std::cmp::Reverse(s)).cmp(&(&b, std::cmp::Reverse(t)));
            prop_assert_eq!(version(&a, Timestamp(s)).cmp(&version(&b, Timestamp(t))), ordered);
            let bytes = version(&a, Timestamp(s));
            let (prefix, ts) = split_version(&bytes).unwrap();
            prop_assert_eq!(parse_prefix(prefix).unwrap(), a.clone());
            prop_assert_eq!(ts, Timestamp(s));
            let mut end = version_prefix(&a);
            end_of_prefix(&mut end);
            prop_assert!(bytes < end);
            prop_assert!(end < version(&a.successor(), Timestamp::MAX));
        }

        #[test]
        fn no_bytes_make_parsing_panic(bytes: Vec<u8>) {
            let _ = parse_decided(&bytes);
            let _ = parse_intent(&bytes);
            let _ = parse_prefix(&bytes);
            let _ = split_version(&bytes);
        }
    }
}
