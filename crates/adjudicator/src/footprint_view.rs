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

/// Footprints that lie one after the other, as far as they can be told apart. Each is well formed; the first that is not ends
/// the row with its error.
pub fn footprints_of(bytes: &[u8]) -> impl Iterator<Item = Result<FootprintView<'_>, DecodeError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = FootprintView::parse(rest).and_then(|(view, after)| {
            view.validate()?;
            rest = after;
            Ok(view)
        });
        if parsed.is_err() {
            rest = &[];
        }
        Some(parsed)
    })
}

/// A footprint read in place: its head, and the parts behind it, whose places follow from the head's counts.
#[derive(Clone, Copy, Debug)]
pub struct FootprintView<'a> {
    head: &'a [u8; HEAD],
    parts: &'a [u8],
    /// Where the parts begin that every decision reads.
    checked_at: u32,
    written_at: u32,
    body_at: u32,
}

/// Where the head says how large something is: counts of records, then lengths of parts that vary.
mod at {
    pub const LENGTH: usize = 0;
    pub const FLAGS: usize = 4;
    pub const TXN: usize = 8;
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
fn u128_at(bytes: &[u8; HEAD], at: usize) -> u128 {
    u128::from_le_bytes(*bytes[at..].first_chunk().expect("the head has its full length"))
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
        let size = |at: usize, record: u64| u64::from(u32_at(head, at)) * record;
        let total = HEAD as u64
            + size(at::GROUPS, 16)
            + size(at::SCHEMAS, 8)
            + size(at::AUTO_INCREMENTS, 12)
            + size(at::CHECKED, 8)
            + size(at::WRITTEN, 8)
            + size(at::ORDERED_BYTES, 1)
            + size(at::RANGES_BYTES, 1)
            + size(at::BODY_BYTES, 1)
            + size(at::CATALOG_BYTES, 1);
        let length = u32_at(head, at::LENGTH) as usize;
        if total != length as u64 {
            return Err(DecodeError::BadValue { what: "length of a footprint", value: length as u64, at: 0 });
        }
        if bytes.len() < length {
            return Err(truncated(length));
        }
        let flags = u32_at(head, at::FLAGS);
        if flags > PREPARED {
            return Err(DecodeError::BadValue { what: "set of footprint flags", value: flags.into(), at: 4 });
        }
        let bits = u128_at(head, at::TXN);
        if TxnId::from_bits(bits).is_none() {
            let value = (bits >> 64) as u64;
            return Err(DecodeError::BadValue { what: "transaction id", value, at: at::TXN });
        }
        Ok((Self::of_parts(head, &bytes[HEAD..length]), &bytes[length..]))
    }

    /// As [`FootprintView::parse`], of bytes that have been parsed before.
    ///
    /// # Panics
    /// If they have not.
    #[inline]
    pub(crate) fn parsed(bytes: &'a [u8]) -> (Self, &'a [u8]) {
        let head: &[u8; HEAD] = bytes.first_chunk().expect("a footprint has a head");
        let (footprint, rest) = bytes.split_at(u32_at(head, at::LENGTH) as usize);
        (Self::of_parts(head, &footprint[HEAD..]), rest)
    }

    /// The parts are as long as the head says.
    #[inline]
    fn of_parts(head: &'a [u8; HEAD], parts: &'a [u8]) -> Self {
        let size = |at: usize| u32_at(head, at);
        let checked_at = size(at::GROUPS) * 16 + size(at::SCHEMAS) * 8 + size(at::AUTO_INCREMENTS) * 12;
        let written_at = checked_at + size(at::CHECKED) * 8;
        let body_at = written_at + size(at::WRITTEN) * 8 + size(at::ORDERED_BYTES) + size(at::RANGES_BYTES);
        FootprintView { head, parts, checked_at, written_at, body_at }
    }

    #[inline]
    fn size(&self, at: usize) -> usize {
        u32_at(self.head, at) as usize
    }

    #[inline]
    fn part(&self, start: usize, length: usize) -> &'a [u8] {
        &self.parts[start..start + length]
    }

    #[inline]
    fn schemas_start(&self) -> usize {
        self.size(at::GROUPS) * 16
    }

    #[inline]
    fn auto_increments_start(&self) -> usize {
        self.schemas_start() + self.size(at::SCHEMAS) * 8
    }

    #[inline]
    fn ordered_start(&self) -> usize {
        self.written_at as usize + self.written_count() * 8
    }

    #[inline]
    fn ranges_start(&self) -> usize {
        self.ordered_start() + self.size(at::ORDERED_BYTES)
    }

    #[inline]
    fn groups_part(&self) -> &'a [u8] {
        self.part(0, self.schemas_start())
    }

    #[inline]
    fn checked_part(&self) -> &'a [u8] {
        &self.parts[self.checked_at as usize..self.written_at as usize]
    }

    #[inline]
    fn ordered_part(&self) -> &'a [u8] {
        self.part(self.ordered_start(), self.size(at::ORDERED_BYTES))
    }

    #[inline]
    fn ranges_part(&self) -> &'a [u8] {
        self.part(self.ranges_start(), self.size(at::RANGES_BYTES))
    }

    #[inline]
    fn body_part(&self) -> &'a [u8] {
        self.part(self.body_at as usize, self.size(at::BODY_BYTES))
    }

    fn catalog_part(&self) -> &'a [u8] {
        self.part(self.body_at as usize + self.size(at::BODY_BYTES), self.size(at::CATALOG_BYTES))
    }

    /// Checks everything that [`FootprintView::parse`] did not look at; all other functions rely on it.
    #[inline]
    pub fn validate(&self) -> Result<(), DecodeError> {
        let bad = |what, value: usize| DecodeError::BadValue { what, value: value as u64, at: 0 };
        let (mut checked, mut ranges) = (0u64, 0u64);
        for group in self.groups_part().as_chunks::<16>().0 {
            checked += u64::from(u32_at(group, 8));
            ranges += u64::from(u32_at(group, 12));
        }
        if checked != self.size(at::CHECKED) as u64 {
            return Err(bad("number of checked keys", self.size(at::CHECKED)));
        }
        let body_count = self.size(at::BODY);
        if body_count == 0 && self.written_count() > 0 {
            // A commit without votes or inline writes would be a commit of nothing.
            return Err(bad("footprint that carries what it writes", self.written_count()));
        }
        if self.is_prepared() {
            if self.size(at::BODY_BYTES) as u64 != body_count as u64 * RECEIPT as u64 {
                return Err(bad("number of receipts", body_count));
            }
        } else {
            let mut reader = Reader::new(self.body_part());
            for _ in 0..body_count {
                flat::skip_mutation(&mut reader)?;
            }
            reader.finish()?;
        }
        if ranges > 0 || self.size(at::ORDERED_BYTES) + self.size(at::RANGES_BYTES) > 0 {
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
        if self.size(at::ORDERED_BYTES) > 0 {
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
    #[inline]
    pub fn len(&self) -> usize {
        self.size(at::LENGTH)
    }

    /// Never: a footprint has a head.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whose footprint.
    #[inline]
    pub fn txn(&self) -> TxnId {
        TxnId(u128_at(self.head, at::TXN))
    }

    /// Whether the writes lie as intents on their participants.
    #[inline]
    pub fn is_prepared(&self) -> bool {
        u32_at(self.head, at::FLAGS) & PREPARED != 0
    }

    /// The groups, each with its checked keys.
    #[inline]
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'a>> + use<'a> {
        let mut checked = self.checked_part();
        self.groups_part().as_chunks::<16>().0.iter().map(move |group| {
            let (own, rest) = checked.split_at((u32_at(group, 8) as usize * 8).min(checked.len()));
            checked = rest;
            GroupView { snapshot_ts: Timestamp(u64_at(group, 0)), checked: own, ranges: u32_at(group, 12) }
        })
    }

    /// All checked keys, of all groups.
    #[inline]
    pub fn checked(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.checked_part())
    }

    /// The tables and the versions that it planned with.
    #[inline]
    pub fn schemas(&self) -> impl Iterator<Item = (TableId, SchemaVersion)> + use<'a> {
        let schemas = self.part(self.schemas_start(), self.size(at::SCHEMAS) * 8);
        let records = schemas.as_chunks::<8>().0.iter();
        records.map(|record| (TableId(u32_at(record, 0)), SchemaVersion(u32_at(record, 4))))
    }

    /// Explicit AUTO_INCREMENT values.
    pub fn auto_increments(&self) -> impl Iterator<Item = (TableId, u64)> + use<'a> {
        let auto_increments = self.part(self.auto_increments_start(), self.size(at::AUTO_INCREMENTS) * 12);
        let records = auto_increments.as_chunks::<12>().0.iter();
        records.map(|record| (TableId(u32_at(record, 0)), u64_at(record, 4)))
    }

    /// The written keys.
    #[inline]
    pub fn written(&self) -> impl ExactSizeIterator<Item = KeyHash> + use<'a> {
        hashes(self.part(self.written_at as usize, self.written_count() * 8))
    }

    /// How many keys it writes.
    #[inline]
    pub fn written_count(&self) -> usize {
        self.size(at::WRITTEN)
    }

    /// Whether every written key carries its table and itself.
    pub fn has_all_ordered(&self) -> bool {
        self.written_count() == 0
            || self.size(at::ORDERED_BYTES) > 0 && self.ordered().all(|key| key.is_some())
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
    #[inline]
    pub fn has_ranges(&self) -> bool {
        self.size(at::RANGES_BYTES) > 0
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
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> + use<'a> {
        let body = if self.is_prepared() { self.body_part() } else { &[] };
        body.as_chunks::<RECEIPT>().0.iter().map(|record| Receipt {
            shard: ShardId(u32_at(record, 0)),
            epoch: Epoch(u64_at(record, 4)),
            digest: WriteDigest { count: u32_at(record, 12), sum: u64_at(record, 16) },
        })
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
    #[inline]
    pub fn is_catalog_change(&self) -> bool {
        self.size(at::CATALOG_BYTES) > 0
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

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The footprint.
    pub fn view(&self) -> FootprintView<'_> {
        FootprintView::parse(&self.0).expect("an encoded footprint is well formed").0
    }
}
