//! What became of recent transactions.
//!
//! A resent commit is answered from here and never adjudicated twice, so an outcome must stay until nobody can
//! send the commit again *to any effect* and nobody needs to ask: until its deadline has passed (R1 refuses
//! it from then on) and its frontend has acknowledged it, or is gone. A full table refuses commits; it never
//! drops an outcome to make room.
//!
//! Deadlines are part of the ids, so outcomes are kept in *generations*, one for each 1,024 ms of deadlines. A
//! generation is a flat open-addressed table and is left behind as a whole; the few outcomes in it that are
//! not acknowledged yet move to a small ordered map.

use crate::flat;
use crate::window::prefetch;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{AbortReason, Decision, FrontendEpoch, FrontendId, Timestamp, TxnId};
use std::collections::BTreeMap;

const GENERATION_MILLIS_LOG2: u32 = 10;
const ABORTED: u64 = 1 << 63;

/// An entry of a generation: 0 as value is a free place, otherwise a commit timestamp, or [`ABORTED`] and the
/// place of the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    low: u64,
    high: u64,
    value: u64,
}

const FREE: Place = Place { low: 0, high: 0, value: 0 };

#[derive(Clone, PartialEq, Eq, Debug)]
struct Generation {
    places: Vec<Place>,
    len: usize,
    reasons: Vec<AbortReason>,
}

impl Generation {
    /// An empty table that takes in `expected` outcomes before it has to grow.
    fn for_about(expected: usize, spare: &mut Vec<Vec<Place>>) -> Self {
        let size = (expected * 2 + 1).next_power_of_two().max(64);
        let places = match spare.iter().position(|places| places.len() == size) {
            Some(at) => {
                let mut places = spare.swap_remove(at);
                places.fill(FREE);
                places
            }
            None => vec![FREE; size],
        };
        Generation { places, len: 0, reasons: Vec::new() }
    }

    fn is_crowded(len: usize, places: usize) -> bool {
        len * 2 >= places
    }

    /// Where the search for an id begins.
    #[inline]
    fn start(&self, txn: TxnId) -> usize {
        let hash =
            (txn.0 as u64 ^ ((txn.0 >> 64) as u64).rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash ^ hash >> 32) as usize & (self.places.len() - 1)
    }

    /// The place that holds this id, or the free place where it would go.
    #[inline]
    fn place_of(&self, txn: TxnId) -> usize {
        let (low, high) = (txn.0 as u64, (txn.0 >> 64) as u64);
        let mask = self.places.len() - 1;
        let mut at = self.start(txn);
        loop {
            let place = &self.places[at];
            if place.value == 0 || place.low == low && place.high == high {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn get(&self, txn: TxnId) -> Option<Decision> {
        self.decision(self.places[self.place_of(txn)].value)
    }

    #[inline]
    fn decision(&self, value: u64) -> Option<Decision> {
        match value {
            0 => None,
            value if value & ABORTED != 0 => {
                Some(Decision::Abort { reason: self.reasons[(value & !ABORTED) as usize].clone() })
            }
            value => Some(Decision::Commit { commit_ts: Timestamp(value) }),
        }
    }

    #[inline]
    fn insert(&mut self, txn: TxnId, value: u64) {
        if Self::is_crowded(self.len, self.places.len()) {
            self.grow();
        }
        let at = self.place_of(txn);
        assert_eq!(self.places[at].value, 0, "a decision never changes");
        self.places[at] = Place { low: txn.0 as u64, high: (txn.0 >> 64) as u64, value };
        self.len += 1;
    }

    #[cold]
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places = vec![FREE; old.len() * 2];
        for place in old.into_iter().filter(|place| place.value != 0) {
            let at = self.place_of(id_of(&place));
            self.places[at] = place;
        }
    }

    fn outcomes(&self) -> impl Iterator<Item = (TxnId, Decision)> + '_ {
        self.places.iter().filter_map(|place| Some((id_of(place), self.decision(place.value)?)))
    }
}

fn id_of(place: &Place) -> TxnId {
    TxnId(u128::from(place.high) << 64 | u128::from(place.low))
}

/// What the table knows of an id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// It was decided so.
    Decided(Decision),
    /// Nobody has decided it yet, and it may still be decided either way.
    Undecided,
    /// It can no longer commit, and if it was ever decided that has left memory: the history on disk knows. An
    /// id that is not there either, and is younger than the history, was never decided: it is aborted.
    Past,
}

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// The numbers of the generations, rising; few at any time.
    numbers: Vec<u64>,
    /// The generations, in the order of their numbers.
    generations: Vec<Generation>,
    /// Past their deadline, not acknowledged.
    late: BTreeMap<TxnId, Decision>,
    len: usize,
    max: usize,
    /// Memory of generations left behind, for new ones: pages that the system has given already.
    spare: Vec<Vec<Place>>,
}

/// So many tables left behind are kept for new generations.
const SPARE_MAX: usize = 4;

impl Outcomes {
    /// Will hold at most `max` outcomes.
    pub fn new(max: usize) -> Self {
        Outcomes {
            numbers: Vec::new(),
            generations: Vec::new(),
            late: BTreeMap::new(),
            len: 0,
            max,
            spare: Vec::new(),
        }
    }

    /// How many outcomes are held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no more can be taken in.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len >= self.max
    }

    fn number_of(txn: TxnId) -> u64 {
        txn.deadline().millis() >> GENERATION_MILLIS_LOG2
    }

    #[inline]
    fn generation_of(&self, txn: TxnId) -> Option<&Generation> {
        let number = Self::number_of(txn);
        // Most ask for one of the last few.
        let at = self.numbers.iter().rposition(|n| *n <= number)?;
        (self.numbers[at] == number).then(|| &self.generations[at])
    }

    /// Asks the processor to fetch what a lookup of this id will need.
    #[inline]
    pub fn prefetch(&self, txn: TxnId) {
        if let Some(generation) = self.generation_of(txn) {
            prefetch(&generation.places[generation.start(txn)]);
        }
    }

    /// What was decided, if it is held.
    #[inline]
    pub fn get(&self, txn: TxnId) -> Option<Decision> {
        let young = self.generation_of(txn).and_then(|generation| generation.get(txn));
        if young.is_some() || self.late.is_empty() { young } else { self.late.get(&txn).cloned() }
    }

    #[inline]
    fn generation_for(&mut self, txn: TxnId) -> &mut Generation {
        let number = Self::number_of(txn);
        let at = self.numbers.iter().rposition(|n| *n <= number);
        match at {
            Some(at) if self.numbers[at] == number => &mut self.generations[at],
            _ => {
                let at = at.map_or(0, |before| before + 1);
                // About as many as in the one before.
                let expected = at.checked_sub(1).map_or(0, |before| self.generations[before].len);
                self.numbers.insert(at, number);
                self.generations.insert(at, Generation::for_about(expected, &mut self.spare));
                &mut self.generations[at]
            }
        }
    }

    /// Takes in a commit that was just decided.
    ///
    /// # Panics
    /// If the id is there already: a decision never changes.
    #[inline]
    pub fn insert_commit(&mut self, txn: TxnId, commit_ts: Timestamp) {
        assert!(commit_ts.0 != 0 && commit_ts.0 & ABORTED == 0, "a timestamp has 63 bits");
        self.generation_for(txn).insert(txn, commit_ts.0);
        self.len += 1;
    }

    /// Takes in a refusal that was just decided.
    ///
    /// # Panics
    /// If the id is there already: a decision never changes.
    pub fn insert_abort(&mut self, txn: TxnId, reason: &AbortReason) {
        let generation = self.generation_for(txn);
        generation.reasons.push(reason.clone());
        generation.insert(txn, ABORTED | (generation.reasons.len() as u64 - 1));
        self.len += 1;
    }

    /// Leaves behind what lies wholly before `now`; what `is_needed` still needs stays. Returns what left memory.
    pub fn expire(&mut self, now: Timestamp, is_needed: impl Fn(TxnId) -> bool) -> Vec<(TxnId, Decision)> {
        let mut gone = Vec::new();
        let current = now.millis() >> GENERATION_MILLIS_LOG2;
        while self.numbers.first().is_some_and(|number| *number < current) {
            self.numbers.remove(0);
            let old = self.generations.remove(0);
            for (txn, decision) in old.outcomes() {
                if is_needed(txn) {
                    self.late.insert(txn, decision);
                } else {
                    gone.push((txn, decision));
                }
            }
            if self.spare.len() == SPARE_MAX {
                self.spare.remove(0);
            }
            self.spare.push(old.places);
        }
        self.len -= gone.len();
        gone
    }

    /// Leaves behind what was past its deadline and is now acknowledged. Returns what left memory.
    pub fn acknowledge(
        &mut self,
        frontend: FrontendId,
        is_needed: impl Fn(TxnId) -> bool,
    ) -> Vec<(TxnId, Decision)> {
        let gone: Vec<(TxnId, Decision)> =
            self.late.extract_if(.., |txn, _| txn.frontend() == frontend && !is_needed(*txn)).collect();
        self.len -= gone.len();
        gone
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.max as u64);
        out.put_varint(self.generations.len() as u64);
        for (number, generation) in self.numbers.iter().zip(&self.generations) {
            out.put_u64(*number);
            out.put_varint(generation.reasons.len() as u64);
            generation.reasons.iter().for_each(|reason| flat::put_reason(out, reason));
            // Exactly, free places and all: a restored table must lie in memory as the others do.
            out.put_varint(generation.places.len() as u64);
            for place in &generation.places {
                out.put_u64(place.low);
                out.put_u64(place.high);
                out.put_u64(place.value);
            }
        }
        out.put_varint(self.late.len() as u64);
        for (txn, decision) in &self.late {
            out.put_u128(txn.0);
            flat::put_decision(out, decision);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let max = reader.u64()?;
        let max = usize::try_from(max).map_err(|_| reader.bad("number of outcomes", max))?;
        let mut outcomes = Outcomes::new(max);
        for _ in 0..reader.count(10)? {
            let number = reader.u64()?;
            let reasons =
                (0..reader.count(1)?).map(|_| flat::read_reason(reader)).collect::<Result<Vec<_>, _>>()?;
            let count = reader.count(24)?;
            let mut generation = Generation { places: Vec::with_capacity(count), len: 0, reasons };
            for _ in 0..count {
                let place = Place { low: reader.u64()?, high: reader.u64()?, value: reader.u64()? };
                if place.value & ABORTED != 0 && (place.value & !ABORTED) >= generation.reasons.len() as u64 {
                    return Err(reader.bad("reason", place.value));
                }
                generation.len += usize::from(place.value != 0);
                generation.places.push(place);
            }
            if !count.is_power_of_two() || generation.len >= count {
                return Err(reader.bad("outcome table size", count as u64));
            }
            if outcomes.numbers.last().is_some_and(|last| *last >= number) {
                return Err(reader.bad("generation after the last", number));
            }
            outcomes.len += generation.len;
            outcomes.numbers.push(number);
            outcomes.generations.push(generation);
        }
        for _ in 0..reader.count(17)? {
            let txn = flat::read_txn(reader)?;
            outcomes.late.insert(txn, flat::read_decision(reader)?);
        }
        outcomes.len += outcomes.late.len();
        Ok(outcomes)
    }
}

/// The frontends, their lives, what they have acknowledged and the oldest snapshot they hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontends {
    known: BTreeMap<FrontendId, Frontend>,
    /// The current epoch by frontend number, for the check in every transaction's way; 0 where there is none.
    epochs: Vec<u32>,
}

/// One frontend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frontend {
    /// Its current life.
    pub epoch: FrontendEpoch,
    /// What the holder of that life drew when it asked for it; `None` once it is fenced.
    pub nonce: Option<u64>,
    /// All of its outcomes with lower sequence numbers are acknowledged.
    pub acknowledged_below: u64,
    /// No snapshot that it holds is older.
    pub oldest_snapshot: Timestamp,
}

impl Frontends {
    const EPOCH_MAX: u32 = (1 << 24) - 1;

    /// The current life of a frontend; 0 if it never had one.
    #[inline]
    pub fn epoch(&self, frontend: FrontendId) -> FrontendEpoch {
        FrontendEpoch(self.epochs.get(frontend.0 as usize).copied().unwrap_or(0))
    }

    /// The frontend, if it ever had a life.
    pub fn get(&self, frontend: FrontendId) -> Option<&Frontend> {
        self.known.get(&frontend)
    }

    /// All frontends.
    pub fn iter(&self) -> impl Iterator<Item = (FrontendId, &Frontend)> {
        self.known.iter().map(|(id, frontend)| (*id, frontend))
    }

    fn put(&mut self, id: FrontendId, frontend: Frontend) {
        let at = id.0 as usize;
        if self.epochs.len() <= at {
            self.epochs.resize(at + 1, 0);
        }
        self.epochs[at] = frontend.epoch.0;
        self.known.insert(id, frontend);
    }

    /// Gives the frontend a new life, which ends the one before; a repeated request (same nonce) gets the same
    /// life again. `None` when it has had all the lives that an id can name.
    pub(crate) fn grant(&mut self, id: FrontendId, nonce: u64, now: Timestamp) -> Option<FrontendEpoch> {
        let before = self.known.get(&id);
        if let Some(frontend) = before
            && frontend.nonce == Some(nonce)
        {
            return Some(frontend.epoch);
        }
        let epoch = before.map_or(0, |frontend| frontend.epoch.0) + 1;
        if epoch > Self::EPOCH_MAX || id.0 >= 1 << 20 {
            return None;
        }
        let epoch = FrontendEpoch(epoch);
        self.put(id, Frontend { epoch, nonce: Some(nonce), acknowledged_below: 0, oldest_snapshot: now });
        Some(epoch)
    }

    /// Ends this life of a frontend, if it is the current one and has not ended yet.
    pub(crate) fn fence(&mut self, id: FrontendId, epoch: FrontendEpoch) -> bool {
        match self.known.get(&id) {
            Some(frontend)
                if frontend.epoch == epoch && frontend.nonce.is_some() && epoch.0 < Self::EPOCH_MAX =>
            {
                let next = Frontend { epoch: FrontendEpoch(epoch.0 + 1), nonce: None, ..*frontend };
                self.put(id, next);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn acknowledge(&mut self, id: FrontendId, epoch: FrontendEpoch, below: u64) {
        if let Some(frontend) = self.known.get_mut(&id)
            && frontend.epoch == epoch
        {
            frontend.acknowledged_below = frontend.acknowledged_below.max(below);
        }
    }

    pub(crate) fn report_oldest(&mut self, id: FrontendId, epoch: FrontendEpoch, oldest: Timestamp) {
        if let Some(frontend) = self.known.get_mut(&id)
            && frontend.epoch == epoch
        {
            frontend.oldest_snapshot = frontend.oldest_snapshot.max(oldest);
        }
    }

    /// Nobody holds a snapshot below this; `None` if nobody holds any.
    pub fn oldest_snapshot(&self) -> Option<Timestamp> {
        self.known.values().filter(|frontend| frontend.nonce.is_some()).map(|f| f.oldest_snapshot).min()
    }

    /// Whether somebody may still ask for this outcome: its frontend lives that life and has not acknowledged it.
    pub fn needs(&self, txn: TxnId) -> bool {
        self.known.get(&txn.frontend()).is_some_and(|frontend| {
            frontend.epoch == txn.frontend_epoch() && txn.sequence() >= frontend.acknowledged_below
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.known.len() as u64);
        for (id, frontend) in &self.known {
            out.put_u32(id.0);
            out.put_u32(frontend.epoch.0);
            out.put_bool(frontend.nonce.is_some());
            out.put_u64(frontend.nonce.unwrap_or(0));
            out.put_u64(frontend.acknowledged_below);
            out.put_u64(frontend.oldest_snapshot.0);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut frontends = Frontends::default();
        for _ in 0..reader.count(33)? {
            let id = reader.u32()?;
            if id >= 1 << 20 {
                return Err(reader.bad("frontend", id.into()));
            }
            let epoch = FrontendEpoch(reader.u32()?);
            let held = reader.bool()?;
            let nonce = reader.u64()?;
            let frontend = Frontend {
                epoch,
                nonce: held.then_some(nonce),
                acknowledged_below: reader.u64()?,
                oldest_snapshot: Timestamp(reader.u64()?),
            };
            frontends.put(FrontendId(id), frontend);
        }
        Ok(frontends)
    }
}
