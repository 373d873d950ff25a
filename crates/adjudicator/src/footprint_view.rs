//! Footprints as bytes, and a view that reads them in place.
//!
//! A frontend encodes a footprint once. The leader strings the encoded footprints of a batch together without
//! looking inside, and `apply` on every replica reads them where they lie: a view is a handful of slices and
//! allocates nothing.
//!
//! ```text
//!   ┌────────────────────── head, 64 bytes ───────────────────────┬────────┬─────────┬──────┬─────────┬─────────┐
//!   │ length  flags  txn  counts of groups, schemas, counters,     │ groups │ schemas │ auto │ checked │ written │
//!   │ written, body, checked;  lengths of the parts that vary      │  16 B  │   8 B   │ 12 B │   8 B   │   8 B   │
//!   └──────────────────────────────────────────────────────────────┴────────┴─────────┴──────┴─────────┴─────────┘
//!   ┌──────────────────────┬───────────────────────┬───────────────────────────────┬────────────────┐
//!   │ ordered keys written │ ranges, group by group│ mutations (or receipts, 24 B) │ catalog change │
//!   └──────────────────────┴───────────────────────┴───────────────────────────────┴────────────────┘
//! ```

use crate::flat;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use bytes::Bytes;

const HEAD: usize = 64;
const PREPARED: u32 = 1;
const RECEIPT: usize = 24;

/// Encodes a footprint at the end of a buffer.
pub fn encode_footprint(out: &mut Vec<u8>, footprint: &Footprint) {
    let start = out.len();
    let written = footprint.body.written();
    let (flags, body_count) = match &footprint.body {
        CommitBody::Inline { mutations, .. } => (0, mutations.len()),
        CommitBody::Prepared { receipts, .. } => (PREPARED, receipts.len()),
    };
    let checked: usize = footprint.groups.iter().map(|group| group.checked.len()).sum();
    out.put_u32(0);
    out.put_u32(flags);
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
    debug_assert_eq!(out.len() - start, HEAD);

    for group in &footprint.groups {
        out.put_u64(group.snapshot_ts.0);
        out.put_u32(group.checked.len() as u32);
        out.put_u32(group.ranges.len() as u32);
    }
    for (table, version) in &footprint.schemas {
        out.put_u32(table.0);
        out.put_u32(version.0);
    }
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
    let length = u32::try_from(out.len() - start).expect("a footprint is smaller than 4 GiB");
    out[start..][..4].copy_from_slice(&length.to_le_bytes());
}

/// A footprint read in place.
#[derive(Clone, Copy, Debug)]
pub struct FootprintView<'a> {
    txn: TxnId,
    prepared: bool,
    body_count: u32,
    groups: &'a [u8],
    schemas: &'a [u8],
    auto_increments: &'a [u8],
    checked: &'a [u8],
    written: &'a [u8],
    ordered: &'a [u8],
    ranges: &'a [u8],
    body: &'a [u8],
    catalog_change: &'a [u8],
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

#[inline]
fn hashes(bytes: &[u8]) -> impl ExactSizeIterator<Item = KeyHash> + use<'_> {
    bytes.as_chunks::<8>().0.iter().map(|chunk| KeyHash(u64::from_le_bytes(*chunk)))
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("records have their full length"))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("records have their full length"))
}

impl<'a> FootprintView<'a> {
    /// Views the footprint that begins these bytes; returns what follows it. Only the head is looked at: bytes
    /// from outside are to be [`FootprintView::validate`]d once.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let truncated = |needed| DecodeError::Truncated { at: 0, needed, left: bytes.len() };
        let head: &[u8; HEAD] = bytes.first_chunk().ok_or_else(|| truncated(HEAD))?;
        let length = u32_at(head, 0) as usize;
        let flags = u32_at(head, 4);
        let bits = u128::from_le_bytes(*head[8..].first_chunk().expect("the head has 64 bytes"));
        let sizes = [
            u64::from(u32_at(head, 24)) * 16,
            u64::from(u32_at(head, 28)) * 8,
            u64::from(u32_at(head, 32)) * 12,
            u64::from(u32_at(head, 60)) * 8,
            u64::from(u32_at(head, 36)) * 8,
            u64::from(u32_at(head, 44)),
            u64::from(u32_at(head, 48)),
            u64::from(u32_at(head, 52)),
            u64::from(u32_at(head, 56)),
        ];
        let total = HEAD as u64 + sizes.iter().sum::<u64>();
        if total != length as u64 {
            return Err(DecodeError::BadValue { what: "length of a footprint", value: length as u64, at: 0 });
        }
        if bytes.len() < length {
            return Err(truncated(length));
        }
        if flags > PREPARED {
            return Err(DecodeError::BadValue { what: "set of footprint flags", value: flags.into(), at: 4 });
        }
        let txn = TxnId::from_bits(bits).ok_or(DecodeError::BadValue {
            what: "transaction id",
            value: (bits >> 64) as u64,
            at: 8,
        })?;
        let (footprint, rest) = bytes.split_at(length);
        let mut left = &footprint[HEAD..];
        let mut part = |i: usize| {
            let (part, after) = left.split_at(sizes[i] as usize);
            left = after;
            part
        };
        let view = FootprintView {
            txn,
            prepared: flags & PREPARED != 0,
            body_count: u32_at(head, 40),
            groups: part(0),
            schemas: part(1),
            auto_increments: part(2),
            checked: part(3),
            written: part(4),
            ordered: part(5),
            ranges: part(6),
            body: part(7),
            catalog_change: part(8),
        };
        Ok((view, rest))
    }

    /// Checks everything that [`FootprintView::parse`] did not look at; all other functions rely on it.
    pub fn validate(&self) -> Result<(), DecodeError> {
        let bad = |what, value: usize| DecodeError::BadValue { what, value: value as u64, at: 0 };
        let (mut checked, mut ranges) = (0u64, 0u64);
        for group in self.groups.as_chunks::<16>().0 {
            checked += u64::from(u32_at(group, 8));
            ranges += u64::from(u32_at(group, 12));
        }
        if checked * 8 != self.checked.len() as u64 {
            return Err(bad("number of checked keys", self.checked.len() / 8));
        }
        if !self.ordered.is_empty() {
            let mut reader = Reader::new(self.ordered);
            for _ in 0..self.written_count() {
                if reader.bool()? {
                    reader.u32()?;
                    reader.bytes()?;
                }
            }
            reader.finish()?;
        }
        if self.body_count == 0 && self.written_count() > 0 {
            // A commit without votes or inline writes would be a commit of nothing.
            return Err(bad("footprint that carries what it writes", self.written_count()));
        }
        let mut reader = Reader::new(self.ranges);
        for _ in 0..ranges {
            reader.u32()?;
            reader.bytes()?;
            reader.bytes()?;
        }
        reader.finish()?;
        if self.prepared {
            if self.body.len() as u64 != u64::from(self.body_count) * RECEIPT as u64 {
                return Err(bad("number of receipts", self.body_count as usize));
            }
        } else {
            let mut reader = Reader::new(self.body);
            for _ in 0..self.body_count {
                flat::skip_mutation(&mut reader)?;
            }
            reader.finish()?;
        }
        if !self.catalog_change.is_empty() {
            let mut reader = Reader::new(self.catalog_change);
            flat::read_catalog_change(&mut reader)?;
            reader.finish()?;
        }
        Ok(())
    }

    /// Whose footprint.
    #[inline]
    pub fn txn(&self) -> TxnId {
        self.txn
    }

    /// Whether the writes lie as intents on their participants.
    #[inline]
    pub fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// The groups, each with its checked keys.
    #[inline]
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'a>> + use<'a> {
        let mut checked = self.checked;
        self.groups.as_chunks::<16>().0.iter().map(move |group| {
            let (own, rest) = checked.split_at((u32_at(group, 8) as usize * 8).min(checked.len()));
            checked = rest;
            GroupView { snapshot_ts: Timestamp(u64_at(group, 0)), checked: own, ranges: u32_at(group, 12) }
        })
    }

    /// All checked keys, of all groups.
    #[inline]
    pub fn checked(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.checked)
    }

    /// The tables and the versions that it planned with.
    #[inline]
    pub fn schemas(&self) -> impl Iterator<Item = (TableId, SchemaVersion)> + use<'a> {
        let records = self.schemas.as_chunks::<8>().0.iter();
        records.map(|record| (TableId(u32_at(record, 0)), SchemaVersion(u32_at(record, 4))))
    }

    /// Explicit AUTO_INCREMENT values.
    pub fn auto_increments(&self) -> impl Iterator<Item = (TableId, u64)> + use<'a> {
        let records = self.auto_increments.as_chunks::<12>().0.iter();
        records.map(|record| (TableId(u32_at(record, 0)), u64_at(record, 4)))
    }

    /// The written keys.
    #[inline]
    pub fn written(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.written)
    }

    /// How many keys it writes.
    #[inline]
    pub fn written_count(&self) -> usize {
        self.written.len() / 8
    }

    /// Whether every written key carries its table and itself.
    pub fn has_all_ordered(&self) -> bool {
        self.written.is_empty() || !self.ordered.is_empty() && self.ordered().all(|key| key.is_some())
    }

    /// The written keys as themselves, where present. Empty if none is.
    pub fn ordered(&self) -> impl Iterator<Item = Option<(TableId, &'a [u8])>> + use<'a> {
        let mut reader = Reader::new(self.ordered);
        std::iter::from_fn(move || {
            Some(match reader.bool().ok()? {
                true => Some((TableId(reader.u32().ok()?), reader.bytes().ok()?)),
                false => None,
            })
        })
    }

    /// Whether it reads ranges.
    #[inline]
    pub fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// The ranges of all groups, in order.
    pub fn ranges(&self) -> impl Iterator<Item = TableRange> + use<'a> {
        let mut reader = Reader::new(self.ranges);
        std::iter::from_fn(move || {
            let table = TableId(reader.u32().ok()?);
            Some(TableRange { table, range: flat::read_range(&mut reader).ok()? })
        })
    }

    /// The receipts of a prepared commit; nothing for an inline one.
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> + use<'a> {
        let body = if self.prepared { self.body } else { &[] };
        body.as_chunks::<RECEIPT>().0.iter().map(|record| Receipt {
            shard: ShardId(u32_at(record, 0)),
            epoch: Epoch(u64_at(record, 4)),
            digest: WriteDigest { count: u32_at(record, 12), sum: u64_at(record, 16) },
        })
    }

    /// The slots of an inline commit's mutations; nothing for a prepared one.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<'a> {
        let mut reader = Reader::new(if self.prepared { &[] } else { self.body });
        std::iter::from_fn(move || flat::skip_mutation(&mut reader).ok())
    }

    /// The mutations of an inline commit, sharing the memory of `whole`, in which this view lies.
    pub(crate) fn mutations<'b>(&self, whole: &'b Bytes) -> impl Iterator<Item = Mutation> + use<'a, 'b> {
        let mut reader = Reader::new(if self.prepared { &[] } else { self.body });
        std::iter::from_fn(move || flat::read_mutation_within(&mut reader, whole).ok())
    }

    /// The catalog change, if it is one.
    pub fn catalog_change(&self) -> Option<CatalogChange> {
        if self.catalog_change.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.catalog_change);
        Some(flat::read_catalog_change(&mut reader).expect("a footprint was validated when it was decoded"))
    }

    /// Whether it is a catalog change.
    #[inline]
    pub fn is_catalog_change(&self) -> bool {
        !self.catalog_change.is_empty()
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
        let body = if self.prepared {
            CommitBody::Prepared { receipts: self.receipts().collect(), written }
        } else {
            let whole = Bytes::copy_from_slice(self.body);
            let mut reader = Reader::over(&whole);
            let mutations = std::iter::from_fn(|| flat::read_mutation(&mut reader).ok()).collect();
            CommitBody::Inline { mutations, written }
        };
        Footprint {
            txn: self.txn,
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

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The footprint.
    pub fn view(&self) -> FootprintView<'_> {
        FootprintView::parse(&self.0).expect("an encoded footprint is well formed").0
    }
}
