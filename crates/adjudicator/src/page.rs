//! Outcomes of transactions that one frontend numbered one after the other.
//!
//! A frontend counts its transactions, so the outcomes of a life (and deadline class) are kept by number: a page holds those of
//! [`OutcomePage::NUMBERS`] consecutive numbers. Under load a page fills from front to back, and finding a place in
//! it costs a shift and a mask. A page to which nothing is added for a while is *packed*: its bytes as they stand in a
//! checkpoint take a fifth of the memory, and writing the checkpoint is to copy them. Packed pages leave the adjudicator's
//! memory as they are and go on living in the history.

use crate::flat;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{AbortReason, DeadlineClass, Decision, FrontendEpoch, FrontendId, Timestamp, TxnId};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

const NUMBERS_LOG2: u32 = 6;
const ABORTED: u64 = 1 << 63;

/// Names a page: class, frontend and life of its transactions, and their numbers without the lowest bits. Pages
/// of one life and class sort by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageKey(u128);

impl PageKey {
    /// The page of this transaction.
    #[inline]
    pub fn of(txn: TxnId) -> Self {
        PageKey(txn.serial() >> NUMBERS_LOG2)
    }

    /// The id with this place in the page.
    #[inline]
    fn txn(self, place: usize, begun: Timestamp) -> TxnId {
        TxnId::from_serial(begun, self.0 << NUMBERS_LOG2 | place as u128)
    }

    /// All pages of a frontend: one range for each deadline class.
    ///
    /// # Panics
    /// If the frontend has a number that no id can hold.
    pub(crate) fn of_frontend(frontend: FrontendId) -> [RangeInclusive<PageKey>; 3] {
        [DeadlineClass::Normal, DeadlineClass::Bulk, DeadlineClass::Xa].map(|class| {
            let first = TxnId::new(Timestamp::ZERO, class, frontend, FrontendEpoch(0), 0);
            // The next frontend's first page comes right after this frontend's last.
            let after = PageKey::of(first).0 + (1 << Self::FRONTEND_BITS_BELOW);
            PageKey::of(first)..=PageKey(after - 1)
        })
    }

    /// Bits of epoch and page number.
    const FRONTEND_BITS_BELOW: u32 = 24 + 36 - NUMBERS_LOG2;

    /// The frontend of its transactions.
    pub fn frontend(self) -> FrontendId {
        self.txn(0, Timestamp::ZERO).frontend()
    }

    /// The life of its transactions.
    pub fn frontend_epoch(self) -> FrontendEpoch {
        self.txn(0, Timestamp::ZERO).frontend_epoch()
    }

    /// The lowest number of its transactions.
    pub fn first_number(self) -> u64 {
        self.txn(0, Timestamp::ZERO).sequence()
    }

    pub(crate) fn bits(self) -> u128 {
        self.0
    }
}

/// 0 as value is a free place, otherwise a commit timestamp, or [`ABORTED`] and the place of the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    /// When the commit began, in milliseconds: the part of the id that its number does not tell.
    begun: u64,
    value: u64,
}

const FREE: Place = Place { begun: 0, value: 0 };

/// What a page says of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// It was decided so.
    Decided(Decision),
    /// Nothing.
    Nothing,
    /// Its place is taken by another id of the same number: its frontend counts wrongly.
    TakenByAnother,
}

/// See the module's page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutcomePage {
    key: PageKey,
    places: [Place; Self::NUMBERS],
    len: u32,
    /// The latest beginning among its transactions, in milliseconds.
    begun_last: u64,
    reasons: Vec<AbortReason>,
}

impl OutcomePage {
    /// How many consecutive numbers a page is for.
    pub const NUMBERS: usize = 1 << NUMBERS_LOG2;

    /// A page with nothing in it.
    pub fn new(key: PageKey) -> Self {
        OutcomePage { key, places: [FREE; Self::NUMBERS], len: 0, begun_last: 0, reasons: Vec::new() }
    }

    /// Its name.
    pub fn key(&self) -> PageKey {
        self.key
    }

    /// How many outcomes it holds.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The latest beginning among its transactions.
    pub fn begun_last(&self) -> Timestamp {
        Timestamp::from_millis(self.begun_last)
    }

    /// The latest deadline among its transactions.
    pub fn deadline(&self) -> Timestamp {
        self.key.txn(0, self.begun_last()).deadline()
    }

    /// The highest number in it.
    pub fn last_number(&self) -> u64 {
        let last = self.places.iter().rposition(|place| place.value != 0).unwrap_or(0);
        self.key.first_number() + last as u64
    }

    #[inline]
    fn place(txn: TxnId) -> usize {
        txn.0 as usize & (Self::NUMBERS - 1)
    }

    #[inline]
    fn decision(&self, value: u64) -> Decision {
        if value & ABORTED == 0 {
            return Decision::Commit { commit_ts: Timestamp(value) };
        }
        Decision::Abort { reason: self.reasons[(value & !ABORTED) as usize].clone() }
    }

    /// Whether nothing is held of this number.
    #[inline]
    pub(crate) fn has_place_for(&self, txn: TxnId) -> bool {
        self.places[Self::place(txn)].value == 0
    }

    /// What it says of a transaction, which is one of this page's.
    #[inline]
    pub fn get(&self, txn: TxnId) -> Found {
        let place = self.places[Self::place(txn)];
        match place.value {
            0 => Found::Nothing,
            value if place.begun == txn.begun().millis() => Found::Decided(self.decision(value)),
            _ => Found::TakenByAnother,
        }
    }

    #[inline]
    fn put(&mut self, txn: TxnId, value: u64) {
        let place = &mut self.places[Self::place(txn)];
        assert_eq!(place.value, 0, "a decision never changes");
        *place = Place { begun: txn.begun().millis(), value };
        self.len += 1;
        self.begun_last = self.begun_last.max(place.begun);
    }

    /// Takes in a commit.
    ///
    /// # Panics
    /// If its place is taken: a decision never changes.
    #[inline]
    pub fn put_commit(&mut self, txn: TxnId, commit_ts: Timestamp) {
        assert!(commit_ts.0 != 0 && commit_ts.0 & ABORTED == 0, "a timestamp has 63 bits");
        self.put(txn, commit_ts.0);
    }

    /// Takes in a refusal.
    ///
    /// # Panics
    /// As [`OutcomePage::put_commit`].
    pub fn put_abort(&mut self, txn: TxnId, reason: AbortReason) {
        self.put(txn, ABORTED | self.reasons.len() as u64);
        self.reasons.push(reason);
    }

    /// Takes in a decision.
    ///
    /// # Panics
    /// As [`OutcomePage::put_commit`].
    pub fn put_decision(&mut self, txn: TxnId, decision: Decision) {
        match decision {
            Decision::Commit { commit_ts } => self.put_commit(txn, commit_ts),
            Decision::Abort { reason } => self.put_abort(txn, reason),
        }
    }

    /// All outcomes, by number.
    pub fn outcomes(&self) -> impl Iterator<Item = (TxnId, Decision)> + '_ {
        let held = self.places.iter().enumerate().filter(|(_, place)| place.value != 0);
        held.map(|(i, place)| {
            (self.key.txn(i, Timestamp::from_millis(place.begun)), self.decision(place.value))
        })
    }

    /// Takes the outcomes with numbers below this one out, into a page of their own.
    pub(crate) fn split_below(&mut self, number: u64) -> OutcomePage {
        let (mut below, mut rest) = (OutcomePage::new(self.key), OutcomePage::new(self.key));
        for (txn, decision) in self.outcomes() {
            let part = if txn.sequence() < number { &mut below } else { &mut rest };
            part.put_decision(txn, decision);
        }
        *self = rest;
        below
    }

    /// The page as its bytes.
    pub fn pack(&self) -> PackedPage {
        let mut bytes = Vec::with_capacity(PackedPage::BYTES_USUAL);
        bytes.put_u64(self.begun_last);
        self.encode(&mut bytes);
        PackedPage(bytes.into())
    }

    /// Writes it exactly, and shortly: transactions that follow one another begin and commit one after the other, as a rule,
    /// and what is written is the difference to that.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128(self.key.0);
        let places = || self.places.iter().enumerate().filter(|(_, place)| place.value != 0);
        out.put_u64(places().fold(0, |held, (i, _)| held | 1 << i));
        let mut expected = Place { begun: 0, value: 0 };
        for (_, place) in places() {
            if *place == expected && place.value & ABORTED == 0 {
                // Nothing differs, which is so of most. No place is the one expected first: none here is free.
                out.put_slice(&[0, 0]);
                expected.value += 1;
                continue;
            }
            let is_abort = place.value & ABORTED != 0;
            let begun = zigzag(place.begun.wrapping_sub(expected.begun));
            // Milliseconds have 46 bits: there is room for one more.
            out.put_varint(begun << 1 | u64::from(is_abort));
            expected.begun = place.begun;
            if is_abort {
                out.put_varint(place.value & !ABORTED);
            } else {
                out.put_varint(zigzag(place.value.wrapping_sub(expected.value)));
                expected.value = place.value + 1;
            }
        }
        self.encode_reasons(out);
    }

    fn encode_reasons(&self, out: &mut Vec<u8>) {
        out.put_varint(self.reasons.len() as u64);
        self.reasons.iter().for_each(|reason| flat::put_reason(out, reason));
    }

    /// Reads it back.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut expected = Place { begun: 0, value: 0 };
        Self::decode_with(reader, |reader| {
            let begun = reader.varint()?;
            let is_abort = begun & 1 == 1;
            expected.begun = expected.begun.wrapping_add(unzigzag(begun >> 1));
            let value = match is_abort {
                true => ABORTED | reader.varint()?,
                false => {
                    let value = expected.value.wrapping_add(unzigzag(reader.varint()?));
                    expected.value = value.wrapping_add(1);
                    if value & ABORTED != 0 {
                        return Err(reader.bad("commit timestamp", value));
                    }
                    value
                }
            };
            Ok(Place { begun: expected.begun, value })
        })
    }

    /// Reads what earlier versions wrote: two numbers of 64 bits for each outcome.
    pub fn decode_wide(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode_with(reader, |reader| Ok(Place { begun: reader.u64()?, value: reader.u64()? }))
    }

    fn decode_with(
        reader: &mut Reader<'_>,
        mut read_place: impl FnMut(&mut Reader<'_>) -> Result<Place, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let bits = reader.u128()?;
        let key = PageKey(bits);
        let txn = TxnId::from_bits(bits << NUMBERS_LOG2).filter(|txn| PageKey::of(*txn) == key);
        if txn.is_none() {
            return Err(reader.bad("page of outcomes", bits as u64));
        }
        let mut page = OutcomePage::new(key);
        let held = reader.u64()?;
        for i in (0..Self::NUMBERS).filter(|i| held >> i & 1 == 1) {
            let place = read_place(reader)?;
            if place.value == 0 || place.begun >= 1 << (64 - Timestamp::COUNTER_BITS) {
                return Err(reader.bad("outcome", place.value));
            }
            page.places[i] = place;
            page.begun_last = page.begun_last.max(place.begun);
        }
        page.len = held.count_ones();
        page.reasons =
            (0..reader.count(1)?).map(|_| flat::read_reason(reader)).collect::<Result<_, DecodeError>>()?;
        let reasons = page.reasons.len() as u64;
        let of_no_reason = |place: &&Place| place.value & ABORTED != 0 && place.value & !ABORTED >= reasons;
        match page.places.iter().find(of_no_reason) {
            Some(place) => Err(reader.bad("reason", place.value)),
            None => Ok(page),
        }
    }
}

/// An [`OutcomePage`] as its bytes, in memory that clones share.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedPage(Arc<[u8]>);

impl PackedPage {
    /// Where the page begins: the latest beginning among its transactions comes first.
    const PAGE: usize = 8;
    /// Where the bits of the numbers that are held begin.
    const HELD: usize = Self::PAGE + 16;
    /// Bytes that are enough for most pages.
    const BYTES_USUAL: usize = 512;

    fn u64_at(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Its name.
    pub fn key(&self) -> PageKey {
        let bytes = &self.0[Self::PAGE..Self::HELD];
        PageKey(u128::from_le_bytes(bytes.try_into().expect("sixteen bytes")))
    }

    fn held(&self) -> u64 {
        self.u64_at(Self::HELD)
    }

    /// How many outcomes it holds.
    pub fn len(&self) -> usize {
        self.held().count_ones() as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// The latest beginning among its transactions.
    pub fn begun_last(&self) -> Timestamp {
        Timestamp::from_millis(self.u64_at(0))
    }

    /// The latest deadline among its transactions.
    pub fn deadline(&self) -> Timestamp {
        self.key().txn(0, self.begun_last()).deadline()
    }

    /// The highest number in it.
    pub fn last_number(&self) -> u64 {
        self.key().first_number() + u64::from(self.held().checked_ilog2().unwrap_or(0))
    }

    /// Whether nothing is held of this number.
    #[inline]
    pub(crate) fn has_place_for(&self, txn: TxnId) -> bool {
        self.held() >> OutcomePage::place(txn) & 1 == 0
    }

    /// What it says of a transaction, which is one of this page's.
    pub fn get(&self, txn: TxnId) -> Found {
        if self.has_place_for(txn) { Found::Nothing } else { self.unpack().get(txn) }
    }

    /// The page.
    pub fn unpack(&self) -> OutcomePage {
        let mut reader = Reader::new(&self.0[Self::PAGE..]);
        OutcomePage::decode(&mut reader).expect("these bytes were made of a page")
    }

    /// All outcomes, by number.
    pub fn outcomes(&self) -> impl Iterator<Item = (TxnId, Decision)> + use<> {
        self.unpack().outcomes().collect::<Vec<_>>().into_iter()
    }

    /// As [`OutcomePage::encode`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.0[Self::PAGE..]);
    }
}

impl fmt::Debug for PackedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unpack().fmt(f)
    }
}

/// Small numbers of either sign as small numbers.
fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    (signed << 1 ^ signed >> 63) as u64
}

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(begun: u64, number: u64) -> TxnId {
        let begun = Timestamp::from_millis(begun);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(3), FrontendEpoch(2), number)
    }

    #[test]
    fn a_page_of_transactions_in_a_row_is_short_and_reads_back() {
        let mut page = OutcomePage::new(PageKey::of(txn(0, 128)));
        let base = 1_800_000_000_000 << 18;
        for n in 0..60 {
            match n % 20 {
                7 => page.put_abort(txn(1_800_000_000_000 - n, 128 + n), AbortReason::SnapshotTooOld),
                _ => page.put_commit(txn(1_800_000_000_000 + n / 30, 128 + n), Timestamp(base + n)),
            }
        }
        let mut bytes = Vec::new();
        page.encode(&mut bytes);
        assert_eq!(OutcomePage::decode(&mut Reader::new(&bytes)).unwrap(), page);
        assert!(bytes.len() < 200, "{} bytes", bytes.len());
        for at in 0..bytes.len() {
            // Whatever is read, nothing panics.
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let _ = OutcomePage::decode(&mut Reader::new(&damaged));
            assert!(OutcomePage::decode(&mut Reader::new(&bytes[..at])).is_err());
        }
        for number in [0, 1, u64::MAX, u64::MAX / 2, u64::MAX / 2 + 1] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
    }

    #[test]
    fn a_page_tells_ids_apart_and_reads_back() {
        let mut page = OutcomePage::new(PageKey::of(txn(0, 130)));
        let aborted = Decision::Abort { reason: AbortReason::SnapshotTooOld };
        page.put_commit(txn(7, 130), Timestamp(99));
        page.put_decision(txn(5, 191), aborted.clone());
        assert_eq!(page.get(txn(7, 130)), Found::Decided(Decision::Commit { commit_ts: Timestamp(99) }));
        assert_eq!(page.get(txn(5, 191)), Found::Decided(aborted));
        assert_eq!(page.get(txn(7, 131)), Found::Nothing);
        assert_eq!(page.get(txn(8, 130)), Found::TakenByAnother);
        assert_eq!((page.key().first_number(), page.last_number()), (128, 191));
        assert_eq!(page.deadline(), txn(7, 130).deadline());
        assert_eq!((page.key().frontend(), page.key().frontend_epoch()), (FrontendId(3), FrontendEpoch(2)));
        assert_ne!(PageKey::of(txn(7, 192)), page.key());
        let is_of = |frontend| PageKey::of_frontend(frontend).iter().any(|keys| keys.contains(&page.key()));
        assert!(is_of(FrontendId(3)) && !is_of(FrontendId(2)) && !is_of(FrontendId(4)));

        let mut bytes = Vec::new();
        page.encode(&mut bytes);
        assert_eq!(OutcomePage::decode(&mut Reader::new(&bytes)).unwrap(), page);
        let packed = page.pack();
        assert_eq!(packed.unpack(), page);
        assert_eq!((packed.key(), packed.len(), packed.is_empty()), (page.key(), page.len(), false));
        assert_eq!((packed.deadline(), packed.last_number()), (page.deadline(), page.last_number()));
        for txn in [txn(7, 130), txn(5, 191), txn(7, 131), txn(8, 130)] {
            assert_eq!(packed.get(txn), page.get(txn));
            assert_eq!(packed.has_place_for(txn), page.has_place_for(txn));
        }
        let mut again = Vec::new();
        packed.encode(&mut again);
        assert_eq!(again, bytes);
        assert!(OutcomePage::new(page.key()).pack().is_empty());

        let below = page.split_below(191);
        assert_eq!(below.outcomes().map(|(txn, _)| txn).collect::<Vec<_>>(), [txn(7, 130)]);
        assert_eq!(page.outcomes().map(|(txn, _)| txn).collect::<Vec<_>>(), [txn(5, 191)]);
        assert_eq!(page.deadline(), txn(5, 191).deadline());
    }
}
