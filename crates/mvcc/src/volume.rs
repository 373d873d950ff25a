//! How much a range of keys holds, without reading it.
//!
//! Nobody counts rows while they are written: a count would be one more thing that every commit of a table changes. So they
//! are counted when somebody asks, as far as that is cheap, and estimated from samples beyond:
//!
//! ```text
//!   lower                                                                                 upper
//!     ├──────────────┤ counted: all of it, if the range ends here: exact
//!     │              │
//!     ├────·▒▒───────────·▒▒───────────·▒▒───────────·▒▒──────── … ─┤ stored bytes, by the engine
//!           └ pieces at the middle of equal shares of those bytes
//!
//!                     rows of the pieces
//!   rows of range  ≈  ─────────────────────────── · stored bytes of the range      (bytes likewise)
//!                     stored bytes of the pieces
//! ```
//!
//! What compression saves, and what replaced versions, deletes and leftovers of lost slots take up, stands above the line and
//! below it, as long as the pieces are like the rest; so garbage counts as little as it does in the pieces. Pieces at eight
//! places are like the rest also where a table is not the same everywhere (the dead head of a queue, say).
//!
//! An engine may not know the bytes of what is not flushed. Where it knows next to nothing of the pieces, that is the whole
//! range, and it is counted further: what was not flushed fits into memory, and is walked through quickly. A range of which
//! only the end is new is told too small until its end is flushed.

use crate::reader::Forward;
use crate::record::Kind;
use crate::{Cursor, Engine, Family, Ownership, ReadError, Reader, Step, StoreError, key};
use assize_model::{KeyRange, Timestamp, Volume};

/// What is counted before anything is estimated. A row is about 20 bytes at least, and blocks of files hold 16 KiB: below this
/// the bytes of pieces are a few blocks, and say little.
const COUNTED: Step = Step { versions: 16 << 10, bytes: 4 << 20 };
/// What is counted of a range that is not flushed.
const COUNTED_UNFLUSHED: Step = Step { versions: 512 << 10, bytes: 128 << 20 };
/// Pieces of a range that are looked at.
const PIECES: u128 = 8;
/// How much of each.
const PIECE: Step = Step { versions: 2 << 10, bytes: 256 << 10 };
/// Pieces of which so small a part is found in files are not in files. Nothing that is worth its bytes compresses so well.
const UNFLUSHED_PART: u64 = 32;
/// How often a share of a range is halved at most to find the key at which it begins.
const HALVINGS: u32 = 64;

/// Keys that were looked at.
struct Piece {
    volume: Volume,
    /// Bytes of what was looked at, replaced versions included.
    walked: u64,
    /// The engine key at which what was not looked at begins; `None`: the range has been.
    rest: Option<Vec<u8>>,
}

impl<E: Engine> Reader<E> {
    /// How much a range holds in the slots that are held now, at the newest snapshot. Exact for ranges of up to some ten
    /// thousand versions, and within a factor of two for others in which rows are not extremely uneven; see the module's page.
    pub fn volume(&self, range: &KeyRange) -> Result<Volume, ReadError> {
        if range.is_empty() {
            return Ok(Volume::default());
        }
        let (lower, upper) = key::version_bounds(range);
        let gauge =
            Gauge { engine: self.engine(), ownership: &self.ownership(), snapshot_ts: self.closed_ts() };
        Ok(gauge.volume(&lower, &upper)?)
    }
}

/// Measures ranges of engine keys.
struct Gauge<'a, E> {
    engine: &'a E,
    ownership: &'a Ownership,
    snapshot_ts: Timestamp,
}

impl<E: Engine> Gauge<'_, E> {
    fn volume(&self, lower: &[u8], upper: &[u8]) -> Result<Volume, StoreError> {
        let first = self.count(lower, upper, COUNTED)?;
        let Some(rest) = &first.rest else { return Ok(first.volume) };
        if let Some(estimated) = self.estimate(lower, upper)? {
            // What has been counted is there for certain.
            let Volume { rows, bytes } = first.volume;
            return Ok(Volume { rows: estimated.rows.max(rows), bytes: estimated.bytes.max(bytes) });
        }
        let mut counted = first.volume;
        counted += self.count(rest, upper, COUNTED_UNFLUSHED)?.volume;
        Ok(counted)
    }

    /// From pieces of the range; `None` if the engine does not know what they take up.
    fn estimate(&self, lower: &[u8], upper: &[u8]) -> Result<Option<Volume>, StoreError> {
        let total = self.stored(lower, upper)?;
        let Some(keys) = self.keys(lower, upper)? else { return Ok(None) };
        let (mut looked_at, mut walked, mut stored) = (Volume::default(), 0, 0);
        for n in 0..PIECES {
            let share = u128::from(total) * (2 * n + 1) / (2 * PIECES);
            let about = self.key_at(lower, &keys, share as u64, total)?;
            let Some(from) = self.next_key(&about, upper)? else { continue };
            let piece = self.count(&from, upper, PIECE)?;
            looked_at += piece.volume;
            walked += piece.walked;
            stored += self.stored(&from, piece.rest.as_deref().unwrap_or(upper))?;
        }
        if stored == 0 || stored < walked / UNFLUSHED_PART {
            return Ok(None);
        }
        let of_all = |part: u64| {
            let all = u128::from(part) * u128::from(total) / u128::from(stored);
            u64::try_from(all).unwrap_or(u64::MAX)
        };
        Ok(Some(Volume { rows: of_all(looked_at.rows), bytes: of_all(looked_at.bytes) }))
    }

    /// Counts from an engine key on, which must not lie between two versions of one key, until a step is spent.
    fn count(&self, from: &[u8], upper: &[u8], step: Step) -> Result<Piece, StoreError> {
        let cursor = self.engine.cursor(Family::Versions, from, upper)?;
        let mut walk = Forward::new(cursor, self.snapshot_ts, from)?;
        let mut volume = Volume::default();
        let mut is_spent = false;
        while let Some(shown) = walk.next()? {
            if is_spent {
                return Ok(Piece { volume, walked: walk.bytes as u64, rest: Some(walk.prefix) });
            }
            if shown.kind == Kind::Put && self.ownership.held.contains(shown.slot) {
                let key = key::parse_prefix(&walk.prefix)?;
                volume += Volume { rows: 1, bytes: (key.0.len() + walk.value_len()) as u64 };
            }
            is_spent = step.is_spent(walk.examined, walk.bytes);
        }
        Ok(Piece { volume, walked: walk.bytes as u64, rest: None })
    }

    fn stored(&self, lower: &[u8], upper: &[u8]) -> Result<u64, StoreError> {
        Ok(self.engine.stored_bytes(Family::Versions, lower, upper)?)
    }

    /// Where the keys of a range lie; `None` if it has none.
    fn keys(&self, lower: &[u8], upper: &[u8]) -> Result<Option<Interval>, StoreError> {
        let mut cursor = self.engine.cursor(Family::Versions, lower, upper)?;
        cursor.seek(lower)?;
        let Some(first) = cursor.entry().map(|(key, _)| key.to_vec()) else { return Ok(None) };
        cursor.seek_back(upper)?;
        Ok(cursor.entry().map(|(last, _)| Interval::new(&first, last)))
    }

    /// About the key up to which a range has so many stored bytes. To come near is enough, and better than to come as near as
    /// can be: that would be the edge of a block every time, and samples would begin with it.
    fn key_at(&self, lower: &[u8], keys: &Interval, wanted: u64, total: u64) -> Result<Vec<u8>, StoreError> {
        let near = total / 64;
        let (mut low, mut high) = (keys.first, keys.last);
        for _ in 0..HALVINGS {
            let middle = low + (high - low) / 2;
            let key = keys.key(middle);
            let stored = self.stored(lower, &key)?;
            if stored.abs_diff(wanted) <= near || middle == low {
                return Ok(key);
            }
            if stored < wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(keys.key(low))
    }

    /// The first key, as the beginning of an engine key, whose versions all lie behind `from`; `None` if there is none.
    fn next_key(&self, from: &[u8], upper: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut cursor = self.engine.cursor(Family::Versions, from, upper)?;
        cursor.seek(from)?;
        let Some((version, _)) = cursor.entry() else { return Ok(None) };
        let mut behind = key::split_version(version)?.0.to_vec();
        key::end_of_prefix(&mut behind);
        cursor.seek(&behind)?;
        Ok(match cursor.entry() {
            Some((version, _)) => Some(key::split_version(version)?.0.to_vec()),
            None => None,
        })
    }
}

/// Bytes of an engine key that are taken for a number.
const DIGITS: usize = size_of::<u128>();

/// Keys between two others, as numbers between two others: what both begin with is left out, and what follows the first bytes
/// behind that.
struct Interval {
    common: Vec<u8>,
    first: u128,
    last: u128,
}

impl Interval {
    fn new(first: &[u8], last: &[u8]) -> Interval {
        let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let number = |key: &[u8]| {
            let mut digits = [0; DIGITS];
            let there = &key[same..key.len().min(same + DIGITS)];
            digits[..there.len()].copy_from_slice(there);
            u128::from_be_bytes(digits)
        };
        Interval { common: first[..same].to_vec(), first: number(first), last: number(last) }
    }

    fn key(&self, at: u128) -> Vec<u8> {
        [self.common.as_slice(), &at.to_be_bytes()].concat()
    }
}
