//! Footprints as bytes, and a view that reads them in place.
//!
//! A frontend encodes a footprint once. The leader strings the encoded footprints of a batch together without
//! looking inside, and `apply` on every replica reads them where they lie: a view is a handful of slices and
//! allocates nothing.
//!
//! There are two forms. Nearly every footprint is *compact*: one snapshot, no ranges, no ordered keys, no AUTO_INCREMENT
//! values, no catalog change, and small numbers. Everything else is *wide*. Byte 4 tells them apart. Programs from before
//! cluster version [`crate::COMPACT_SINCE`] know the wide form only.
//!
//! ```text
//!   compact
//!   ┌──────────────────────────── head, 36 bytes ───────────────────────────┬─────────┬─────────┬───────────┬──────────────┐
//!   │ length  flags  schemas  body  txn  checked  written  snapshot          │ schemas │ checked │ (written) │ mutations    │
//!   │   4 B    1 B     1 B    2 B   16 B   2 B      2 B      8 B             │   8 B   │   8 B   │    8 B    │ (or receipts, 16 B)
//!   └─────────────────────────────────────────────────────────────────────────┴─────────┴─────────┴───────────┴──────────────┘
//!   The written keys are the last of the checked ones, if a flag says so, and are not repeated then.
//!
//!   wide
//!   ┌────────────────────── head, 64 bytes ───────────────────────┬────────┬─────────┬──────┬─────────┬─────────┐
//!   │ length  flags  txn  counts of groups, schemas, counters,     │ groups │ schemas │ auto │ checked │ written │
//!   │ written, body, checked;  lengths of the parts that vary      │  16 B  │   8 B   │ 12 B │   8 B   │   8 B   │
//!   └──────────────────────────────────────────────────────────────┴────────┴─────────┴──────┴─────────┴─────────┘
//!   ┌──────────────────────┬───────────────────────┬───────────────────────────────┬────────────────┐
//!   │ ordered keys written │ ranges, group by group│ mutations (or receipts, 24 B) │ catalog change │
//!   └──────────────────────┴───────────────────────┴───────────────────────────────┴────────────────┘
//! ```

use crate::flat;
use crate::window::prefetch;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use bytes::Bytes;

/// Bytes of the head of a wide footprint, and of a compact one.
const WIDE_HEAD: usize = 64;
const COMPACT_HEAD: usize = 36;
/// Bytes of a receipt in a wide footprint, and in a compact one.
const WIDE_RECEIPT: usize = 24;
const COMPACT_RECEIPT: usize = 16;

/// The writes lie as intents on their shards.
const PREPARED: u8 = 1;
const COMPACT: u8 = 2;
/// Of a compact footprint: the written keys are the last of the checked ones.
const WRITTEN_LAST: u8 = 4;

/// Encodes a footprint at the end of a buffer, in the shorter form that can hold it.
pub fn encode_footprint(out: &mut Vec<u8>, footprint: &Footprint) {
    match Compact::of(footprint) {
        Some(compact) => compact.encode(out),
        None => encode_wide(out, footprint),
    }
}

/// Footprints as programs from before cluster version [`crate::COMPACT_SINCE`] read them, as far as they can be read; what
/// cannot be read stays as it is. Nothing is copied if nothing is compact.
pub fn widened(footprints: &Bytes) -> Bytes {
    if !footprints_of(footprints).map_while(Result::ok).any(|view| view.is_compact()) {
        return footprints.clone();
    }
    let mut out = Vec::with_capacity(footprints.len() * 2);
    let mut read = 0;
    for view in footprints_of(footprints).map_while(Result::ok) {
        read += view.len();
        match view.is_compact() {
            true => encode_wide(&mut out, &view.to_footprint()),
            false => out.put_slice(view.bytes),
        }
    }
    out.put_slice(&footprints[read..]);
    out.into()
}

/// Encodes the footprint of a prepared commit without there being a [`Footprint`]: `written` of the checked keys, the last
/// ones, are written. The bytes are those of [`encode_footprint`].
///
/// # Panics
/// If a number is too large for the compact form, which [`encode_footprint`] would not use then.
pub(crate) fn encode_prepared(
    out: &mut Vec<u8>,
    txn: TxnId,
    snapshot_ts: Timestamp,
    schemas: &[(TableId, SchemaVersion)],
    checked: &[KeyHash],
    written: usize,
    receipts: &[Receipt],
) {
    assert!(written <= checked.len() && receipts.iter().all(is_short), "a short footprint");
    let count = |count: usize| u16::try_from(count).expect("a short footprint");
    let compact = Compact {
        txn,
        snapshot_ts,
        flags: COMPACT | PREPARED | WRITTEN_LAST,
        schemas,
        schema_count: schemas.len().try_into().expect("a short footprint"),
        checked,
        checked_count: count(checked.len()),
        written: &[],
        written_count: count(written),
        body: CompactBody::Prepared(receipts),
        body_count: count(receipts.len()),
    };
    compact.encode(out);
}

/// A footprint that the compact form can hold, and the numbers of its head.
struct Compact<'a> {
    txn: TxnId,
    snapshot_ts: Timestamp,
    flags: u8,
    schemas: &'a [(TableId, SchemaVersion)],
    schema_count: u8,
    checked: &'a [KeyHash],
    checked_count: u16,
    /// Those that are not among the checked ones, or all of them.
    written: &'a [WrittenKey],
    written_count: u16,
    body: CompactBody<'a>,
    body_count: u16,
}

enum CompactBody<'a> {
    Inline(&'a [Mutation]),
    Prepared(&'a [Receipt]),
}

impl Compact<'_> {
    fn of(footprint: &Footprint) -> Option<Compact<'_>> {
        let [group] = &footprint.groups[..] else { return None };
        let written = footprint.body.written();
        let is_plain = group.ranges.is_empty()
            && footprint.auto_increments.is_empty()
            && footprint.catalog_change.is_none()
            && written.iter().all(|key| key.ordered.is_none());
        if !is_plain {
            return None;
        }
        let (kind, body, count) = match &footprint.body {
            CommitBody::Inline { mutations, .. } => (0, CompactBody::Inline(mutations), mutations.len()),
            CommitBody::Prepared { receipts, .. } => {
                if !receipts.iter().all(is_short) {
                    return None;
                }
                (PREPARED, CompactBody::Prepared(receipts), receipts.len())
            }
        };
        let others = group.checked.len().checked_sub(written.len());
        let is_last = others.is_some_and(|others| {
            group.checked[others..].iter().zip(written).all(|(checked, written)| *checked == written.hash)
        });
        Some(Compact {
            txn: footprint.txn,
            snapshot_ts: group.snapshot_ts,
            flags: COMPACT | kind | if is_last { WRITTEN_LAST } else { 0 },
            schemas: &footprint.schemas,
            schema_count: footprint.schemas.len().try_into().ok()?,
            checked: &group.checked,
            checked_count: group.checked.len().try_into().ok()?,
            written: if is_last { &[] } else { written },
            written_count: written.len().try_into().ok()?,
            body,
            body_count: count.try_into().ok()?,
        })
    }

    // A struct of this size that is handed over in memory costs as much as writing it out.
    #[inline(always)]
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let receipts = match self.body {
            CompactBody::Inline(_) => &[],
            CompactBody::Prepared(receipts) => receipts,
        };
        let records = self.schemas.len() + self.checked.len() + self.written.len();
        let length = COMPACT_HEAD + 8 * records + COMPACT_RECEIPT * receipts.len();
        // Room is made once, not for each record.
        out.resize(start + length, 0);
        let (head, rest) = out[start..].split_first_chunk_mut::<COMPACT_HEAD>().expect("room for a head");
        head[at::FLAGS] = self.flags;
        head[at::COMPACT_SCHEMAS] = self.schema_count;
        head[at::COMPACT_BODY..][..2].copy_from_slice(&self.body_count.to_le_bytes());
        head[at::TXN..][..16].copy_from_slice(&self.txn.0.to_le_bytes());
        head[at::COMPACT_CHECKED..][..2].copy_from_slice(&self.checked_count.to_le_bytes());
        head[at::COMPACT_WRITTEN..][..2].copy_from_slice(&self.written_count.to_le_bytes());
        head[at::COMPACT_SNAPSHOT..].copy_from_slice(&self.snapshot_ts.0.to_le_bytes());
        let (schemas, rest) = rest.split_at_mut(8 * self.schemas.len());
        for (record, (table, version)) in schemas.as_chunks_mut::<8>().0.iter_mut().zip(self.schemas) {
            record[..4].copy_from_slice(&table.0.to_le_bytes());
            record[4..].copy_from_slice(&version.0.to_le_bytes());
        }
        let (checked, rest) = rest.split_at_mut(8 * self.checked.len());
        for (record, hash) in checked.as_chunks_mut::<8>().0.iter_mut().zip(self.checked) {
            *record = hash.0.to_le_bytes();
        }
        let (written, rest) = rest.split_at_mut(8 * self.written.len());
        for (record, key) in written.as_chunks_mut::<8>().0.iter_mut().zip(self.written) {
            *record = key.hash.0.to_le_bytes();
        }
        for (record, receipt) in rest.as_chunks_mut::<COMPACT_RECEIPT>().0.iter_mut().zip(receipts) {
            // They fit: `is_short`.
            record[..2].copy_from_slice(&(receipt.shard.0 as u16).to_le_bytes());
            record[2..4].copy_from_slice(&(receipt.digest.count as u16).to_le_bytes());
            record[4..8].copy_from_slice(&(receipt.epoch.0 as u32).to_le_bytes());
            record[8..].copy_from_slice(&receipt.digest.sum.to_le_bytes());
        }
        if let CompactBody::Inline(mutations) = self.body {
            mutations.iter().for_each(|mutation| flat::put_mutation(out, mutation));
        }
        put_length(out, start);
    }
}

/// Whether a compact footprint can hold the receipt.
fn is_short(receipt: &Receipt) -> bool {
    u16::try_from(receipt.shard.0).is_ok()
        && u16::try_from(receipt.digest.count).is_ok()
        && u32::try_from(receipt.epoch.0).is_ok()
}

fn put_schemas(out: &mut Vec<u8>, schemas: &[(TableId, SchemaVersion)]) {
    for (table, version) in schemas {
        out.put_u32(table.0);
        out.put_u32(version.0);
    }
}

/// Writes the length of what was encoded from `start` on in front of it.
fn put_length(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start).expect("a footprint is smaller than 4 GiB");
    out[start..][..4].copy_from_slice(&length.to_le_bytes());
}

/// Encodes a footprint in the form that can hold all of them.
pub(crate) fn encode_wide(out: &mut Vec<u8>, footprint: &Footprint) {
    let start = out.len();
    let written = footprint.body.written();
    let (flags, body_count) = match &footprint.body {
        CommitBody::Inline { mutations, .. } => (0, mutations.len()),
        CommitBody::Prepared { receipts, .. } => (PREPARED, receipts.len()),
    };
    let checked: usize = footprint.groups.iter().map(|group| group.checked.len()).sum();
    out.put_u32(0);
    out.put_u32(u32::from(flags));
    out.put_u128(footprint.txn.0);
    for count in [footprint.groups.len(), footprint.schemas.len(), footprint.auto_increments.len()] {
        out.put_u32(count as u32);
    }
    for count in [written.len(), body_count] {
        out.put_u32(count as u32);
    }
    let lengths_at = out.len();
    out.put_slice(&[0; 16]);
    out.put_u32(checked as u32);
    debug_assert_eq!(out.len() - start, WIDE_HEAD);

    for group in &footprint.groups {
        out.put_u64(group.snapshot_ts.0);
        out.put_u32(group.checked.len() as u32);
        out.put_u32(group.ranges.len() as u32);
    }
    put_schemas(out, &footprint.schemas);
    for (table, value) in &footprint.auto_increments {
        out.put_u32(table.0);
        out.put_u64(*value);
    }
    footprint.groups.iter().flat_map(|group| &group.checked).for_each(|hash| out.put_u64(hash.0));
    written.iter().for_each(|key| out.put_u64(key.hash.0));

    let mut ends = [0usize; 5];
    ends[0] = out.len();
    if written.iter().any(|key| key.ordered.is_some()) {
        for key in written {
            out.put_bool(key.ordered.is_some());
            if let Some((table, key)) = &key.ordered {
                out.put_u32(table.0);
                out.put_bytes(&key.0);
            }
        }
    }
    ends[1] = out.len();
    for range in footprint.groups.iter().flat_map(|group| &group.ranges) {
        out.put_u32(range.table.0);
        flat::put_range(out, &range.range);
    }
    ends[2] = out.len();
    match &footprint.body {
        CommitBody::Inline { mutations, .. } => mutations.iter().for_each(|m| flat::put_mutation(out, m)),
        CommitBody::Prepared { receipts, .. } => {
            for receipt in receipts {
                out.put_u32(receipt.shard.0);
                out.put_u64(receipt.epoch.0);
                out.put_u32(receipt.digest.count);
                out.put_u64(receipt.digest.sum);
            }
        }
    }
    ends[3] = out.len();
    if let Some(change) = &footprint.catalog_change {
        flat::put_catalog_change(out, change);
    }
    ends[4] = out.len();
    for i in 0..4 {
        let length = u32::try_from(ends[i + 1] - ends[i]).expect("a footprint is smaller than 4 GiB");
        out[lengths_at + i * 4..][..4].copy_from_slice(&length.to_le_bytes());
    }
    put_length(out, start);
}

/// Footprints that lie one after the other, as far as they can be told apart. Each is well formed; the first that is not ends
/// the row with its error.
#[inline]
pub fn footprints_of(bytes: &[u8]) -> FootprintsOf<'_> {
    FootprintsOf { rest: bytes }
}

/// What [`footprints_of`] gives.
#[derive(Clone, Debug)]
pub struct FootprintsOf<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for FootprintsOf<'a> {
    type Item = Result<FootprintView<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        prefetch_ahead(self.rest);
        let parsed = FootprintView::parse(self.rest).and_then(|(view, after)| {
            view.validate()?;
            self.rest = after;
            Ok(view)
        });
        if parsed.is_err() {
            self.rest = &[];
        }
        Some(parsed)
    }
}

/// Asks for what lies so many bytes behind the beginning of a row of footprints, which is walked from one length to the next.
/// Processors fetch ahead by themselves, but not into the next page; and what another core has just written comes slowly.
const AHEAD: usize = 1024;

/// Asks for the memory of footprints that come soon, where they lie one after the other.
#[inline(always)]
pub(crate) fn prefetch_ahead(footprints: &[u8]) {
    // An ordinary footprint lies on two lines.
    for line in [AHEAD, AHEAD + 64] {
        if let Some(byte) = footprints.get(line) {
            prefetch(byte);
        }
    }
}

/// A footprint read in place. Where its parts begin follows from the head's counts, and is worked out whenever one is asked for:
/// that costs less than to hand it from function to function.
#[derive(Clone, Copy, Debug)]
pub struct FootprintView<'a> {
    bytes: &'a [u8],
}

/// Where heads say what.
mod at {
    /// Of both forms.
    pub const LENGTH: usize = 0;
    pub const FLAGS: usize = 4;
    pub const TXN: usize = 8;
    /// Of the compact form: counts, and the snapshot.
    pub const COMPACT_SCHEMAS: usize = 5;
    pub const COMPACT_BODY: usize = 6;
    pub const COMPACT_CHECKED: usize = 24;
    pub const COMPACT_WRITTEN: usize = 26;
    pub const COMPACT_SNAPSHOT: usize = 28;
    /// Of the wide form: counts of records, then lengths of parts that vary.
    pub const GROUPS: usize = 24;
    pub const SCHEMAS: usize = 28;
    pub const AUTO_INCREMENTS: usize = 32;
    pub const WRITTEN: usize = 36;
    pub const BODY: usize = 40;
    pub const ORDERED_BYTES: usize = 44;
    pub const RANGES_BYTES: usize = 48;
    pub const BODY_BYTES: usize = 52;
    pub const CATALOG_BYTES: usize = 56;
    pub const CHECKED: usize = 60;
}

/// The groups of a view.
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    /// The group of a compact footprint.
    only: Option<GroupView<'a>>,
    records: std::slice::Iter<'a, [u8; 16]>,
    /// Of the groups to come.
    checked: &'a [u8],
}

impl<'a> Iterator for Groups<'a> {
    type Item = GroupView<'a>;

    #[inline]
    fn next(&mut self) -> Option<GroupView<'a>> {
        if let Some(only) = self.only.take() {
            return Some(only);
        }
        let group = self.records.next()?;
        let (own, rest) = self.checked.split_at((u32_at(group, 8) as usize * 8).min(self.checked.len()));
        self.checked = rest;
        Some(GroupView { snapshot_ts: Timestamp(u64_at(group, 0)), checked: own, ranges: u32_at(group, 12) })
    }
}

/// The receipts of a view.
#[derive(Clone, Debug)]
pub struct Receipts<'a> {
    rest: &'a [u8],
    is_compact: bool,
}

impl Iterator for Receipts<'_> {
    type Item = Receipt;

    #[inline]
    fn next(&mut self) -> Option<Receipt> {
        if self.is_compact {
            let (record, rest) = self.rest.split_first_chunk::<COMPACT_RECEIPT>()?;
            self.rest = rest;
            return Some(Receipt {
                shard: ShardId(u16_at(record, 0).into()),
                epoch: Epoch(u32_at(record, 4).into()),
                digest: WriteDigest { count: u16_at(record, 2).into(), sum: u64_at(record, 8) },
            });
        }
        let (record, rest) = self.rest.split_first_chunk::<WIDE_RECEIPT>()?;
        self.rest = rest;
        Some(Receipt {
            shard: ShardId(u32_at(record, 0)),
            epoch: Epoch(u64_at(record, 4)),
            digest: WriteDigest { count: u32_at(record, 12), sum: u64_at(record, 16) },
        })
    }
}

/// One group of a view.
#[derive(Clone, Copy, Debug)]
pub struct GroupView<'a> {
    /// The snapshot.
    pub snapshot_ts: Timestamp,
    checked: &'a [u8],
    /// How many ranges of the footprint are this group's.
    pub ranges: u32,
}

impl<'a> GroupView<'a> {
    /// The checked keys.
    #[inline]
    pub fn checked(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.checked)
    }
}

#[inline(always)]
fn hashes(bytes: &[u8]) -> impl ExactSizeIterator<Item = KeyHash> + use<'_> {
    bytes.as_chunks::<8>().0.iter().map(|chunk| KeyHash(u64::from_le_bytes(*chunk)))
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("records have their full length"))
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect("records have their full length"))
}

#[inline(always)]
fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(*bytes[at..].first_chunk().expect("the head has its full length"))
}

#[inline(always)]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("records have their full length"))
}

impl<'a> FootprintView<'a> {
    /// Views the footprint that begins these bytes; returns what follows it. Only the head is looked at: bytes
    /// from outside are to be [`FootprintView::validate`]d once.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let truncated = |needed| DecodeError::Truncated { at: 0, needed, left: bytes.len() };
        if bytes.len() < COMPACT_HEAD {
            return Err(truncated(COMPACT_HEAD));
        }
        let length = u32_at(bytes, at::LENGTH) as usize;
        let flags = bytes[at::FLAGS];
        let bad_flags = |flags| DecodeError::BadValue { what: "set of footprint flags", value: flags, at: 4 };
        let (head, known) = match flags & COMPACT != 0 {
            true => (COMPACT_HEAD, flags & !(PREPARED | COMPACT | WRITTEN_LAST) == 0),
            false => (WIDE_HEAD, u32_at(bytes, at::FLAGS) <= u32::from(PREPARED)),
        };
        if !known {
            return Err(bad_flags(u32_at(bytes, at::FLAGS).into()));
        }
        if bytes.len() < head {
            return Err(truncated(head));
        }
        let is_length = match flags & COMPACT != 0 {
            true => length as u64 >= Self::fixed_of_compact(bytes),
            false => length as u64 == Self::length_of_wide(bytes),
        };
        if !is_length {
            return Err(DecodeError::BadValue { what: "length of a footprint", value: length as u64, at: 0 });
        }
        if bytes.len() < length {
            return Err(truncated(length));
        }
        let bits = u128_at(bytes, at::TXN);
        if TxnId::from_bits(bits).is_none() {
            let value = (bits >> 64) as u64;
            return Err(DecodeError::BadValue { what: "transaction id", value, at: at::TXN });
        }
        Ok(Self::parsed(bytes))
    }

    /// Bytes of a compact footprint without its body.
    #[inline(always)]
    fn fixed_of_compact(head: &[u8]) -> u64 {
        let repeated =
            if head[at::FLAGS] & WRITTEN_LAST == 0 { u16_at(head, at::COMPACT_WRITTEN) } else { 0 };
        let hashes = u64::from(u16_at(head, at::COMPACT_CHECKED)) + u64::from(repeated);
        COMPACT_HEAD as u64 + 8 * (u64::from(head[at::COMPACT_SCHEMAS]) + hashes)
    }

    /// Bytes of a wide footprint, by the counts of its head.
    #[inline(always)]
    fn length_of_wide(head: &[u8]) -> u64 {
        let size = |at: usize, record: u64| u64::from(u32_at(head, at)) * record;
        WIDE_HEAD as u64
            + size(at::GROUPS, 16)
            + size(at::SCHEMAS, 8)
            + size(at::AUTO_INCREMENTS, 12)
            + size(at::CHECKED, 8)
            + size(at::WRITTEN, 8)
            + size(at::ORDERED_BYTES, 1)
            + size(at::RANGES_BYTES, 1)
            + size(at::BODY_BYTES, 1)
            + size(at::CATALOG_BYTES, 1)
    }

    /// As [`FootprintView::parse`], of bytes that have been parsed before.
    ///
    /// # Panics
    /// If they have not.
    #[inline(always)]
    pub(crate) fn parsed(bytes: &'a [u8]) -> (Self, &'a [u8]) {
        let (bytes, rest) = bytes.split_at(u32_at(bytes, at::LENGTH) as usize);
        (FootprintView { bytes }, rest)
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        self.bytes[at::FLAGS]
    }

    /// Whether it is in the form that programs from before cluster version [`crate::COMPACT_SINCE`] cannot read.
    #[inline(always)]
    pub fn is_compact(&self) -> bool {
        self.flags() & COMPACT != 0
    }

    #[inline(always)]
    fn has_written_last(&self) -> bool {
        self.flags() & WRITTEN_LAST != 0
    }

    /// What the head of a wide footprint says; of a compact one, which has none of that, 0.
    #[inline(always)]
    fn wide(&self, at: usize) -> u32 {
        if self.is_compact() { 0 } else { u32_at(self.bytes, at) }
    }

    #[inline(always)]
    fn schemas_at(&self) -> u32 {
        if self.is_compact() { COMPACT_HEAD as u32 } else { WIDE_HEAD as u32 + self.wide(at::GROUPS) * 16 }
    }

    #[inline(always)]
    fn auto_increments_at(&self) -> u32 {
        match self.is_compact() {
            true => COMPACT_HEAD as u32 + u32::from(self.bytes[at::COMPACT_SCHEMAS]) * 8,
            false => self.schemas_at() + self.wide(at::SCHEMAS) * 8,
        }
    }

    #[inline(always)]
    fn checked_at(&self) -> u32 {
        self.auto_increments_at() + self.wide(at::AUTO_INCREMENTS) * 12
    }

    /// Where the checked keys end.
    #[inline(always)]
    fn checked_end(&self) -> u32 {
        let checked = match self.is_compact() {
            true => u16_at(self.bytes, at::COMPACT_CHECKED).into(),
            false => u32_at(self.bytes, at::CHECKED),
        };
        self.checked_at() + checked * 8
    }

    /// Behind the checked keys, or among them.
    #[inline(always)]
    fn written_at(&self) -> u32 {
        match self.has_written_last() {
            true => self.checked_end() - self.written_count() as u32 * 8,
            false => self.checked_end(),
        }
    }

    #[inline(always)]
    fn ordered_at(&self) -> u32 {
        match self.has_written_last() {
            true => self.checked_end(),
            false => self.checked_end() + self.written_count() as u32 * 8,
        }
    }

    #[inline(always)]
    fn ranges_at(&self) -> u32 {
        self.ordered_at() + self.wide(at::ORDERED_BYTES)
    }

    #[inline(always)]
    fn body_at(&self) -> u32 {
        self.ranges_at() + self.wide(at::RANGES_BYTES)
    }

    #[inline(always)]
    fn catalog_at(&self) -> u32 {
        self.bytes.len() as u32 - self.wide(at::CATALOG_BYTES)
    }

    /// How many mutations or receipts it has.
    #[inline(always)]
    fn body_count(&self) -> usize {
        match self.is_compact() {
            true => u16_at(self.bytes, at::COMPACT_BODY).into(),
            false => u32_at(self.bytes, at::BODY) as usize,
        }
    }

    #[inline(always)]
    fn part(&self, start: u32, end: u32) -> &'a [u8] {
        &self.bytes[start as usize..end as usize]
    }

    /// The groups of a wide footprint.
    #[inline(always)]
    fn groups_part(&self) -> &'a [u8] {
        if self.is_compact() { &[] } else { self.part(WIDE_HEAD as u32, self.schemas_at()) }
    }

    #[inline(always)]
    fn checked_part(&self) -> &'a [u8] {
        self.part(self.checked_at(), self.checked_end())
    }

    #[inline(always)]
    fn ordered_part(&self) -> &'a [u8] {
        self.part(self.ordered_at(), self.ranges_at())
    }

    #[inline(always)]
    fn ranges_part(&self) -> &'a [u8] {
        self.part(self.ranges_at(), self.body_at())
    }

    #[inline(always)]
    fn body_part(&self) -> &'a [u8] {
        self.part(self.body_at(), self.catalog_at())
    }

    fn catalog_part(&self) -> &'a [u8] {
        self.part(self.catalog_at(), self.bytes.len() as u32)
    }

    #[inline(always)]
    fn receipt_bytes(&self) -> usize {
        if self.is_compact() { COMPACT_RECEIPT } else { WIDE_RECEIPT }
    }

    /// Checks everything that [`FootprintView::parse`] did not look at; all other functions rely on it.
    #[inline(always)]
    pub fn validate(&self) -> Result<(), DecodeError> {
        let bad = |what, value: usize| DecodeError::BadValue { what, value: value as u64, at: 0 };
        let (body_count, written) = (self.body_count(), self.written_count());
        if self.has_written_last() && written > self.checked_part().len() / 8 {
            return Err(bad("number of written keys", written));
        }
        if body_count == 0 && written > 0 {
            // A commit without votes or inline writes would be a commit of nothing.
            return Err(bad("footprint that carries what it writes", written));
        }
        if !self.is_prepared() {
            self.validate_mutations(body_count)?;
        } else if self.body_part().len() as u64 != body_count as u64 * self.receipt_bytes() as u64 {
            return Err(bad("number of receipts", body_count));
        }
        if self.is_compact() { Ok(()) } else { self.validate_wide() }
    }

    fn validate_mutations(&self, count: usize) -> Result<(), DecodeError> {
        let mut reader = Reader::new(self.body_part());
        for _ in 0..count {
            flat::skip_mutation(&mut reader)?;
        }
        reader.finish()
    }

    fn validate_wide(&self) -> Result<(), DecodeError> {
        let checked = self.checked_part().len() / 8;
        let (mut grouped, mut ranges) = (0u64, 0u64);
        for group in self.groups_part().as_chunks::<16>().0 {
            grouped += u64::from(u32_at(group, 8));
            ranges += u64::from(u32_at(group, 12));
        }
        if grouped != checked as u64 {
            let value = checked as u64;
            return Err(DecodeError::BadValue { what: "number of checked keys", value, at: 0 });
        }
        if ranges > 0 || self.ordered_at() != self.body_at() {
            self.validate_ranges(ranges)?;
        }
        if self.is_catalog_change() {
            let mut reader = Reader::new(self.catalog_part());
            flat::read_catalog_change(&mut reader)?;
            reader.finish()?;
        }
        Ok(())
    }

    #[cold]
    fn validate_ranges(&self, ranges: u64) -> Result<(), DecodeError> {
        if !self.ordered_part().is_empty() {
            let mut reader = Reader::new(self.ordered_part());
            for _ in 0..self.written_count() {
                if reader.bool()? {
                    reader.u32()?;
                    reader.bytes()?;
                }
            }
            reader.finish()?;
        }
        let mut reader = Reader::new(self.ranges_part());
        for _ in 0..ranges {
            reader.u32()?;
            reader.bytes()?;
            reader.bytes()?;
        }
        reader.finish()
    }

    /// How many bytes it has.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a footprint has a head.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whose footprint.
    #[inline(always)]
    pub fn txn(&self) -> TxnId {
        TxnId(u128_at(self.bytes, at::TXN))
    }

    /// Whether the writes lie as intents on their participants.
    #[inline(always)]
    pub fn is_prepared(&self) -> bool {
        self.flags() & PREPARED != 0
    }

    /// The groups, each with its checked keys.
    #[inline(always)]
    pub fn groups(&self) -> Groups<'a> {
        let snapshot_ts = Timestamp(u64_at(self.bytes, at::COMPACT_SNAPSHOT));
        let checked = self.checked_part();
        let only = self.is_compact().then_some(GroupView { snapshot_ts, checked, ranges: 0 });
        Groups { only, records: self.groups_part().as_chunks().0.iter(), checked }
    }

    /// All checked keys, of all groups.
    #[inline(always)]
    pub fn checked(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.checked_part())
    }

    /// The tables and the versions that it planned with.
    #[inline(always)]
    pub fn schemas(&self) -> impl Iterator<Item = (TableId, SchemaVersion)> + use<'a> {
        let schemas = self.part(self.schemas_at(), self.auto_increments_at());
        let records = schemas.as_chunks::<8>().0.iter();
        records.map(|record| (TableId(u32_at(record, 0)), SchemaVersion(u32_at(record, 4))))
    }

    /// Explicit AUTO_INCREMENT values.
    pub fn auto_increments(&self) -> impl Iterator<Item = (TableId, u64)> + use<'a> {
        let auto_increments = self.part(self.auto_increments_at(), self.checked_at());
        let records = auto_increments.as_chunks::<12>().0.iter();
        records.map(|record| (TableId(u32_at(record, 0)), u64_at(record, 4)))
    }

    /// The written keys.
    #[inline(always)]
    pub fn written(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.part(self.written_at(), self.written_at() + self.written_count() as u32 * 8))
    }

    /// How many keys it writes.
    #[inline(always)]
    pub fn written_count(&self) -> usize {
        match self.is_compact() {
            true => u16_at(self.bytes, at::COMPACT_WRITTEN).into(),
            false => u32_at(self.bytes, at::WRITTEN) as usize,
        }
    }

    /// Whether every written key carries its table and itself.
    pub fn has_all_ordered(&self) -> bool {
        self.written_count() == 0
            || !self.ordered_part().is_empty() && self.ordered().all(|key| key.is_some())
    }

    /// The written keys as themselves, where present. Empty if none is.
    pub fn ordered(&self) -> impl Iterator<Item = Option<(TableId, &'a [u8])>> + use<'a> {
        let mut reader = Reader::new(self.ordered_part());
        std::iter::from_fn(move || {
            Some(match reader.bool().ok()? {
                true => Some((TableId(reader.u32().ok()?), reader.bytes().ok()?)),
                false => None,
            })
        })
    }

    /// Whether it reads ranges.
    #[inline(always)]
    pub fn has_ranges(&self) -> bool {
        self.wide(at::RANGES_BYTES) > 0
    }

    /// The ranges of all groups, in order.
    pub fn ranges(&self) -> impl Iterator<Item = TableRange> + use<'a> {
        let mut reader = Reader::new(self.ranges_part());
        std::iter::from_fn(move || {
            let table = TableId(reader.u32().ok()?);
            Some(TableRange { table, range: flat::read_range(&mut reader).ok()? })
        })
    }

    /// The receipts of a prepared commit; nothing for an inline one.
    #[inline(always)]
    pub fn receipts(&self) -> Receipts<'a> {
        let rest = if self.is_prepared() { self.body_part() } else { &[] };
        Receipts { rest, is_compact: self.is_compact() }
    }

    /// The slots of an inline commit's mutations; nothing for a prepared one.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<'a> {
        let mut reader = Reader::new(if self.is_prepared() { &[] } else { self.body_part() });
        std::iter::from_fn(move || flat::skip_mutation(&mut reader).ok())
    }

    /// Those mutations of an inline commit whose slots `is_wanted`, sharing the memory of `whole`, in which this
    /// view lies.
    pub(crate) fn mutations<'b, W: Fn(Slot) -> bool>(
        &self,
        whole: &'b Bytes,
        is_wanted: W,
    ) -> impl Iterator<Item = Mutation> + use<'a, 'b, W> {
        let mut reader = Reader::new(if self.is_prepared() { &[] } else { self.body_part() });
        std::iter::from_fn(move || {
            loop {
                let slot = Slot(u16::from_le_bytes(*reader.rest().first_chunk()?));
                if is_wanted(slot) {
                    return flat::read_mutation_within(&mut reader, whole).ok();
                }
                flat::skip_mutation(&mut reader).ok()?;
            }
        })
    }

    /// The catalog change, if it is one.
    pub fn catalog_change(&self) -> Option<CatalogChange> {
        if !self.is_catalog_change() {
            return None;
        }
        let mut reader = Reader::new(self.catalog_part());
        Some(flat::read_catalog_change(&mut reader).expect("a footprint was validated when it was decoded"))
    }

    /// Whether it is a catalog change.
    #[inline(always)]
    pub fn is_catalog_change(&self) -> bool {
        self.wide(at::CATALOG_BYTES) > 0
    }

    /// The footprint as a value of its own.
    pub fn to_footprint(&self) -> Footprint {
        let mut ranges = self.ranges();
        let groups = self
            .groups()
            .map(|group| AccessGroup {
                snapshot_ts: group.snapshot_ts,
                checked: group.checked().collect(),
                ranges: ranges.by_ref().take(group.ranges as usize).collect(),
            })
            .collect();
        let mut ordered = self.ordered();
        let written = self
            .written()
            .map(|hash| WrittenKey {
                hash,
                ordered: ordered
                    .next()
                    .flatten()
                    .map(|(table, key)| (table, Key::new(Bytes::copy_from_slice(key)))),
            })
            .collect();
        let body = if self.is_prepared() {
            CommitBody::Prepared { receipts: self.receipts().collect(), written }
        } else {
            let whole = Bytes::copy_from_slice(self.body_part());
            let mut reader = Reader::over(&whole);
            let mutations = std::iter::from_fn(|| flat::read_mutation(&mut reader).ok()).collect();
            CommitBody::Inline { mutations, written }
        };
        Footprint {
            txn: self.txn(),
            groups,
            schemas: self.schemas().collect(),
            auto_increments: self.auto_increments().collect(),
            body,
            catalog_change: self.catalog_change(),
        }
    }
}

/// An encoded footprint that is known to be well formed: what a leader takes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedFootprint(Bytes);

impl EncodedFootprint {
    /// Encodes a footprint; an error if it makes no sense (writes without a body to carry them), so that a
    /// frontend's defect ends here and not in the log.
    pub fn new(footprint: &Footprint) -> Result<Self, DecodeError> {
        let mut out = Vec::with_capacity(256);
        encode_footprint(&mut out, footprint);
        Self::from_bytes(out.into())
    }

    /// Takes bytes that came from elsewhere, if they are exactly one well-formed footprint.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let (view, rest) = FootprintView::parse(&bytes)?;
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes { at: bytes.len() - rest.len(), left: rest.len() });
        }
        view.validate()?;
        Ok(EncodedFootprint(bytes))
    }

    /// The same in a form that programs from before cluster version [`crate::COMPACT_SINCE`] can read.
    pub fn widened(&self) -> Self {
        EncodedFootprint(widened(&self.0))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The footprint.
    pub fn view(&self) -> FootprintView<'_> {
        FootprintView::parse(&self.0).expect("an encoded footprint is well formed").0
    }
}
