//! What became of recent transactions.
//!
//! A resent commit is answered from here and never adjudicated twice, so an outcome must stay until nobody can
//! send the commit again *to any effect* and nobody needs to ask: until its deadline has passed (R1 refuses
//! it from then on) and its frontend has acknowledged it, or is gone. A full table refuses commits; it never
//! drops an outcome to make room.
//!
//! Outcomes lie in [pages](crate::page) of consecutive numbers of one frontend. A page is *due* when its last
//! deadline may have passed. Then what is acknowledged of it leaves as a page; the rest is *late* and leaves when
//! the acknowledgement comes. Pages in which nothing is written for a while lie [packed](PackedPage).
//!
//! ```text
//!   decided ──▶ page, due at its deadline ──▶ acknowledged? ──▶ leaves memory, into the history
//!                                                  └─ not yet: late ──▶ acknowledged ──┘
//! ```

use crate::flat;
use crate::page::{Found, OutcomePage, PackedPage, PageKey};
use crate::page_index::{PageIndex, Place};
use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::{AbortReason, Decision, FrontendEpoch, FrontendId, Timestamp, TxnId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Pages are looked at for what has passed its deadline once in 64 ms.
const DUE_MILLIS_LOG2: u32 = 6;
/// Where pages hold fewer outcomes than this on average, pages are what is bounded.
const PAGE_OUTCOMES_MIN: usize = 8;
/// So many pages are never too many.
const PAGES_MIN: usize = 64;

/// Frontends have numbers below this: 20 bits of a transaction id.
const FRONTENDS_MAX: u32 = 1 << 20;

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

/// A page that is full, or was left for the next. Copies of the state share its memory.
#[derive(Clone, Debug)]
enum Page {
    /// Something was written in it lately.
    Open(Arc<OutcomePage>),
    Packed(PackedPage),
}

impl Page {
    #[inline]
    fn has_place_for(&self, txn: TxnId) -> bool {
        match self {
            Page::Open(page) => page.has_place_for(txn),
            Page::Packed(page) => page.has_place_for(txn),
        }
    }

    fn get(&self, txn: TxnId) -> Found {
        match self {
            Page::Open(page) => page.get(txn),
            Page::Packed(page) => page.get(txn),
        }
    }

    fn deadline(&self) -> Timestamp {
        match self {
            Page::Open(page) => page.deadline(),
            Page::Packed(page) => page.deadline(),
        }
    }

    fn last_number(&self) -> u64 {
        match self {
            Page::Open(page) => page.last_number(),
            Page::Packed(page) => page.last_number(),
        }
    }

    fn pack(&self) -> PackedPage {
        match self {
            Page::Open(page) => page.pack(),
            Page::Packed(page) => page.clone(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Page::Open(page) => page.encode(out),
            Page::Packed(page) => page.encode(out),
        }
    }
}

/// A page in its place.
#[derive(Clone, Debug)]
struct Held {
    page: Page,
    /// The step of time at which it is looked at; `None` if it is late.
    due: Option<u64>,
}

/// Pages that lie together, and are shared together: to copy the state is to copy a pointer to each of these.
#[derive(Clone, Debug)]
struct Leaf([Option<Held>; LEAF]);

/// Pages in a leaf, a power of two.
const LEAF: usize = 64;

/// The page that a frontend writes, most of the time: nobody shares it.
#[derive(Clone, Debug)]
struct Newest {
    key: PageKey,
    /// Where it will lie when it is left for the next.
    place: Place,
    page: Box<OutcomePage>,
    due: Option<u64>,
}

/// Where a page lies, until outcomes are taken in or left behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PageAt(u32);

impl PageAt {
    /// With this bit it names one of the newest, otherwise a place in the leaves.
    const NEWEST: u32 = 1 << 31;
}

/// Frontends whose newest page is found without a search; a power of two.
const NEWEST_MAX: usize = 256;

/// So many pages may have been left lately: messages of one frontend overtake one another by less.
const LATELY_MAX: usize = 1024;

/// Pages by the step of time at which they are looked at, in no order.
type Due = BTreeMap<u64, Arc<Vec<(PageKey, Place)>>>;

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Outcomes {
    leaves: Vec<Arc<Leaf>>,
    /// Places without a page.
    free: Vec<Place>,
    /// Where pages lie, or will.
    index: PageIndex,
    /// The page that a frontend wrote last, by its number, as far as it goes: most ask for that.
    newest: Vec<Option<Newest>>,
    /// Pages that were left for the next, oldest first. They are packed once there are enough newer ones.
    lately: VecDeque<(PageKey, Place)>,
    due: Due,
    late: BTreeMap<PageKey, Place>,
    /// Outcomes of ids whose number another id has, which happens to frontends that count wrongly.
    strays: BTreeMap<TxnId, Decision>,
    len: usize,
    max: usize,
    pages_max: usize,
}

impl Outcomes {
    /// Will hold at most `max` outcomes.
    pub fn new(max: usize) -> Self {
        Outcomes {
            leaves: Vec::new(),
            free: Vec::new(),
            index: PageIndex::default(),
            newest: vec![None; NEWEST_MAX],
            lately: VecDeque::new(),
            due: BTreeMap::new(),
            late: BTreeMap::new(),
            strays: BTreeMap::new(),
            len: 0,
            max,
            pages_max: max / PAGE_OUTCOMES_MIN + PAGES_MIN,
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
        self.len >= self.max || self.index.len() >= self.pages_max
    }

    #[inline]
    fn newest_of(frontend: FrontendId) -> usize {
        frontend.0 as usize & (NEWEST_MAX - 1)
    }

    /// Where the page of this id lies, if there is one.
    #[inline]
    pub(crate) fn find(&self, txn: TxnId) -> Option<PageAt> {
        let key = PageKey::of(txn);
        let newest = Self::newest_of(txn.frontend());
        match &self.newest[newest] {
            Some(page) if page.key == key => Some(PageAt(PageAt::NEWEST | newest as u32)),
            _ => self.index.get(key).map(PageAt),
        }
    }

    /// The page of this key, whose place is this one.
    fn at(&self, key: PageKey, place: Place) -> PageAt {
        let newest = Self::newest_of(key.frontend());
        match &self.newest[newest] {
            Some(page) if page.key == key => PageAt(PageAt::NEWEST | newest as u32),
            _ => PageAt(place),
        }
    }

    #[inline]
    fn newest(&self, at: PageAt) -> Option<&Newest> {
        let is_newest = at.0 & PageAt::NEWEST != 0;
        is_newest
            .then(|| self.newest[(at.0 ^ PageAt::NEWEST) as usize].as_ref().expect("what was found is held"))
    }

    #[inline]
    fn newest_mut(&mut self, at: PageAt) -> Option<&mut Newest> {
        let is_newest = at.0 & PageAt::NEWEST != 0;
        is_newest
            .then(|| self.newest[(at.0 ^ PageAt::NEWEST) as usize].as_mut().expect("what was found is held"))
    }

    fn held(&self, place: Place) -> &Held {
        let leaf = &self.leaves[place as usize / LEAF];
        leaf.0[place as usize % LEAF].as_ref().expect("what was found is held")
    }

    /// What lies in a place, to change it: not in the copies that share it.
    fn shelf(&mut self, place: Place) -> &mut Option<Held> {
        &mut Arc::make_mut(&mut self.leaves[place as usize / LEAF]).0[place as usize % LEAF]
    }

    fn held_mut(&mut self, place: Place) -> &mut Held {
        self.shelf(place).as_mut().expect("what was found is held")
    }

    /// The page, to write in it.
    #[inline]
    fn page_mut(&mut self, at: PageAt) -> &mut OutcomePage {
        if at.0 & PageAt::NEWEST == 0 {
            return self.open_again(at.0);
        }
        &mut self.newest_mut(at).expect("it is one of the newest").page
    }

    /// A page that was left for the next, to write in it.
    fn open_again(&mut self, place: Place) -> &mut OutcomePage {
        if let Page::Packed(packed) = &self.held(place).page {
            let (key, page) = (packed.key(), packed.unpack());
            self.held_mut(place).page = Page::Open(Arc::new(page));
            self.leave(key, place);
        }
        match &mut self.held_mut(place).page {
            Page::Open(page) => Arc::make_mut(page),
            Page::Packed(_) => unreachable!("what was left just now is not packed yet"),
        }
    }

    /// Nothing more is expected in this page. Packs what was left long ago.
    fn leave(&mut self, key: PageKey, place: Place) {
        self.lately.push_back((key, place));
        if self.lately.len() > LATELY_MAX
            && let Some((key, place)) = self.lately.pop_front()
            && let Some(held) = &self.leaves[place as usize / LEAF].0[place as usize % LEAF]
            && let Page::Open(page) = &held.page
            // Its place may be another's by now.
            && page.key() == key
        {
            let packed = Page::Packed(page.pack());
            self.held_mut(place).page = packed;
        }
    }

    #[inline]
    fn due(&self, at: PageAt) -> Option<u64> {
        match self.newest(at) {
            Some(newest) => newest.due,
            None => self.held(at.0).due,
        }
    }

    fn set_due(&mut self, at: PageAt, due: Option<u64>) {
        match self.newest_mut(at) {
            Some(newest) => newest.due = due,
            None => self.held_mut(at.0).due = due,
        }
    }

    /// Whether nothing is held of this number in its page.
    #[inline]
    pub(crate) fn has_place_in(&self, at: PageAt, txn: TxnId) -> bool {
        match self.newest(at) {
            Some(newest) => newest.page.has_place_for(txn),
            None => self.held(at.0).page.has_place_for(txn),
        }
    }

    fn look_up(&self, at: PageAt, txn: TxnId) -> Found {
        match self.newest(at) {
            Some(newest) => newest.page.get(txn),
            None => self.held(at.0).page.get(txn),
        }
    }

    fn deadline(&self, at: PageAt) -> Timestamp {
        match self.newest(at) {
            Some(newest) => newest.page.deadline(),
            None => self.held(at.0).page.deadline(),
        }
    }

    fn last_number(&self, at: PageAt) -> u64 {
        match self.newest(at) {
            Some(newest) => newest.page.last_number(),
            None => self.held(at.0).page.last_number(),
        }
    }

    /// What was decided, if it is held in this page, which is the id's own.
    pub(crate) fn get_in(&self, at: PageAt, txn: TxnId) -> Option<Decision> {
        match self.look_up(at, txn) {
            Found::Nothing => None,
            Found::Decided(decision) => Some(decision),
            Found::TakenByAnother => self.strays.get(&txn).cloned(),
        }
    }

    /// What was decided, if it is held.
    #[inline]
    pub fn get(&self, txn: TxnId) -> Option<Decision> {
        self.get_in(self.find(txn)?, txn)
    }

    /// A new page for this id, the newest of its frontend.
    #[inline(never)]
    fn open(&mut self, txn: TxnId) -> PageAt {
        let (key, step) = (PageKey::of(txn), step_of(txn.deadline()));
        let place = self.draw_place(key);
        self.file(step, key, place);
        let newest = Self::newest_of(txn.frontend());
        let page = Newest { key, place, page: Box::new(OutcomePage::new(key)), due: Some(step) };
        if let Some(before) = self.newest[newest].replace(page) {
            // Moved, not shared: what is in a box cannot be.
            let held = Held { page: Page::Open(Arc::new(*before.page)), due: before.due };
            *self.shelf(before.place) = Some(held);
            self.leave(before.key, before.place);
        }
        PageAt(PageAt::NEWEST | newest as u32)
    }

    /// A place for the page of this key.
    fn draw_place(&mut self, key: PageKey) -> Place {
        if self.free.is_empty() {
            let first = u32::try_from(self.leaves.len() * LEAF).expect("there are at most so many pages");
            self.leaves.push(Arc::new(Leaf([const { None }; LEAF])));
            // The lowest is drawn first.
            self.free.extend((first..first + LEAF as u32).rev());
        }
        let place = self.free.pop().expect("there are some now");
        self.index.insert(key, place);
        place
    }

    /// Has a page looked at in this step of time.
    fn file(&mut self, step: u64, key: PageKey, place: Place) {
        Arc::make_mut(self.due.entry(step).or_default()).push((key, place));
    }

    fn take(&mut self, at: PageAt) -> PackedPage {
        let (place, page) = if at.0 & PageAt::NEWEST != 0 {
            let newest =
                self.newest[(at.0 ^ PageAt::NEWEST) as usize].take().expect("what was found is held");
            (newest.place, newest.page.pack())
        } else {
            (at.0, self.shelf(at.0).take().expect("what was found is held").page.pack())
        };
        self.free.push(place);
        self.index.remove(page.key());
        page
    }

    /// The page in which there is a place for this id; `None` if another has it.
    #[inline]
    fn page_for(&mut self, at: Option<PageAt>, txn: TxnId) -> Option<&mut OutcomePage> {
        let at = match at {
            Some(at) => at,
            None => self.open(txn),
        };
        if self.due(at).is_none() {
            self.file_again(at, txn);
        }
        self.has_place_in(at, txn).then(|| self.page_mut(at))
    }

    /// A late page takes in something that is not.
    #[cold]
    fn file_again(&mut self, at: PageAt, txn: TxnId) {
        let (key, step) = (PageKey::of(txn), step_of(txn.deadline()));
        self.set_due(at, Some(step));
        self.late.remove(&key);
        let place = self.index.get(key).expect("what was found is held");
        self.file(step, key, place);
    }

    /// Takes in a commit that was just decided; `at` is what [`Outcomes::find`] said of it.
    ///
    /// # Panics
    /// If the id is there already: a decision never changes.
    #[inline]
    pub(crate) fn insert_commit(&mut self, at: Option<PageAt>, txn: TxnId, commit_ts: Timestamp) {
        self.len += 1;
        match self.page_for(at, txn) {
            Some(page) => page.put_commit(txn, commit_ts),
            None => self.insert_stray(txn, Decision::Commit { commit_ts }),
        }
    }

    /// Takes in a refusal that was just decided.
    ///
    /// # Panics
    /// If the id is there already: a decision never changes.
    pub fn insert_abort(&mut self, txn: TxnId, reason: &AbortReason) {
        self.len += 1;
        match self.page_for(self.find(txn), txn) {
            Some(page) => page.put_abort(txn, reason.clone()),
            None => self.insert_stray(txn, Decision::Abort { reason: reason.clone() }),
        }
    }

    #[cold]
    fn insert_stray(&mut self, txn: TxnId, decision: Decision) {
        let place_holder = self.find(txn).map(|at| self.look_up(at, txn));
        assert_eq!(place_holder, Some(Found::TakenByAnother), "a decision never changes");
        assert_eq!(self.strays.insert(txn, decision), None, "a decision never changes");
    }

    /// Leaves behind what lies wholly before `now` and is not needed: numbers of a frontend's life from
    /// `needed_from` on are. Returns what left memory.
    pub fn expire(
        &mut self,
        now: Timestamp,
        needed_from: impl Fn(FrontendId, FrontendEpoch) -> u64,
    ) -> Vec<PackedPage> {
        let current = step_of(now);
        let mut gone = Vec::new();
        while let Some(first) = self.due.first_entry()
            && *first.key() < current
        {
            let mut keys = first.remove().to_vec();
            keys.sort_unstable();
            for (key, place) in keys {
                let at = self.at(key, place);
                let step = step_of(self.deadline(at));
                if step >= current {
                    // It has taken in more since it was filed.
                    self.set_due(at, Some(step));
                    self.file(step, key, place);
                } else {
                    self.set_due(at, None);
                    self.late.insert(key, place);
                    gone.extend(self.release(key, &needed_from));
                }
            }
        }
        self.release_strays(now, &needed_from, &mut gone);
        gone
    }

    fn release_strays(
        &mut self,
        now: Timestamp,
        needed_from: &impl Fn(FrontendId, FrontendEpoch) -> u64,
        gone: &mut Vec<PackedPage>,
    ) {
        let is_over = |txn: &TxnId, _: &mut Decision| {
            txn.deadline() < now && txn.sequence() < needed_from(txn.frontend(), txn.frontend_epoch())
        };
        for (txn, decision) in self.strays.extract_if(.., is_over) {
            let mut page = OutcomePage::new(PageKey::of(txn));
            page.put_decision(txn, decision);
            self.len -= 1;
            gone.push(page.pack());
        }
    }

    /// Leaves behind what was past its deadline and is not needed any more. Returns what left memory.
    pub fn acknowledge(
        &mut self,
        frontend: FrontendId,
        now: Timestamp,
        needed_from: impl Fn(FrontendId, FrontendEpoch) -> u64,
    ) -> Vec<PackedPage> {
        if frontend.0 >= FRONTENDS_MAX {
            return Vec::new();
        }
        let of_frontend = PageKey::of_frontend(frontend).into_iter().flat_map(|keys| self.late.range(keys));
        let is_concerned =
            |key: &PageKey| key.first_number() < needed_from(key.frontend(), key.frontend_epoch());
        let concerned: Vec<PageKey> = of_frontend.map(|(key, _)| *key).filter(is_concerned).collect();
        let mut gone = concerned.into_iter().filter_map(|key| self.release(key, &needed_from)).collect();
        self.release_strays(now, &needed_from, &mut gone);
        gone
    }

    /// Takes what is not needed out of a late page.
    fn release(
        &mut self,
        key: PageKey,
        needed_from: &impl Fn(FrontendId, FrontendEpoch) -> u64,
    ) -> Option<PackedPage> {
        let needed_from = needed_from(key.frontend(), key.frontend_epoch());
        let at = self.at(key, self.index.get(key)?);
        let gone = if self.last_number(at) < needed_from {
            self.late.remove(&key);
            self.take(at)
        } else {
            let below = self.page_mut(at).split_below(needed_from);
            Some(below).filter(|page| !page.is_empty())?.pack()
        };
        self.len -= gone.len();
        Some(gone)
    }

    /// What the table is now, to be written later: it shares all memory but the newest pages.
    pub(crate) fn copy(&self) -> OutcomesCopy {
        let newest = self.newest.iter().flatten();
        OutcomesCopy {
            leaves: self.leaves.clone(),
            newest: newest.map(|newest| (newest.place, OutcomePage::clone(&newest.page))).collect(),
            due: self.due.clone(),
            late: self.late.clone(),
            strays: self.strays.clone(),
            pages: self.index.len(),
            max: self.max,
        }
    }

    const TAG: [u8; 4] = *b"AJoc";
    /// 1: two numbers of 64 bits for each outcome. 2: differences.
    const VERSION: u16 = 2;
    const CHUNK: usize = 1 << 22;

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (version, body) = envelope::open_next(reader, Self::TAG, Self::VERSION)?;
        let read_page = if version == 1 { OutcomePage::decode_wide } else { OutcomePage::decode };
        let mut body = Reader::new(body);
        let mut outcomes = Outcomes::new(read_max(&mut body)?);
        for _ in 0..body.count(17)? {
            let txn = flat::read_txn(&mut body)?;
            outcomes.strays.insert(txn, flat::read_decision(&mut body)?);
        }
        outcomes.len = outcomes.strays.len();
        for _ in 0..body.varint()? {
            if body.is_done() {
                body = Reader::new(envelope::open_next(reader, Self::TAG, Self::VERSION)?.1);
            }
            let due = Some(body.u64()?).filter(|due| *due != LATE);
            let page = read_page(&mut body)?;
            let key = page.key();
            outcomes.len += page.len();
            if outcomes.index.get(key).is_some() {
                return Err(body.bad("page that is there once", key.bits() as u64));
            }
            let place = outcomes.draw_place(key);
            *outcomes.shelf(place) = Some(Held { page: Page::Packed(page.pack()), due });
            match due {
                Some(step) => outcomes.file(step, key, place),
                None => drop(outcomes.late.insert(key, place)),
            }
        }
        body.finish()?;
        Ok(outcomes)
    }

    /// The part of a head of the first version: open-addressed tables by deadline.
    pub(crate) fn decode_v1(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut outcomes = Outcomes::new(read_max(reader)?);
        let mut insert = |reader: &Reader<'_>, txn: TxnId, decision: &Decision| {
            if outcomes.get(txn).is_some() {
                return Err(reader.bad("transaction that is there once", txn.0 as u64));
            }
            match decision {
                Decision::Commit { commit_ts } if commit_ts.0 == 0 || commit_ts.0 >> 63 == 1 => {
                    return Err(reader.bad("commit timestamp", commit_ts.0));
                }
                Decision::Commit { commit_ts } => {
                    outcomes.insert_commit(outcomes.find(txn), txn, *commit_ts);
                }
                Decision::Abort { reason } => outcomes.insert_abort(txn, reason),
            }
            Ok(())
        };
        for _ in 0..reader.count(10)? {
            let _generation = reader.u64()?;
            let reasons =
                (0..reader.count(1)?).map(|_| flat::read_reason(reader)).collect::<Result<Vec<_>, _>>()?;
            for _ in 0..reader.count(24)? {
                let (low, high, value) = (reader.u64()?, reader.u64()?, reader.u64()?);
                if value == 0 {
                    continue;
                }
                let txn = TxnId::from_bits(u128::from(high) << 64 | u128::from(low))
                    .ok_or_else(|| reader.bad("transaction id", high))?;
                let decision = if value >> 63 == 0 {
                    Decision::Commit { commit_ts: Timestamp(value) }
                } else {
                    let reason = reasons.get((value & (u64::MAX >> 1)) as usize);
                    Decision::Abort { reason: reason.ok_or_else(|| reader.bad("reason", value))?.clone() }
                };
                insert(reader, txn, &decision)?;
            }
        }
        for _ in 0..reader.count(17)? {
            let txn = flat::read_txn(reader)?;
            // They are found to be late when they are due, which is at once.
            let decision = flat::read_decision(reader)?;
            insert(reader, txn, &decision)?;
        }
        Ok(outcomes)
    }
}

/// The table as it was when it was copied.
#[derive(Debug)]
pub(crate) struct OutcomesCopy {
    leaves: Vec<Arc<Leaf>>,
    newest: HashMap<Place, OutcomePage>,
    due: Due,
    late: BTreeMap<PageKey, Place>,
    strays: BTreeMap<TxnId, Decision>,
    pages: usize,
    max: usize,
}

impl OutcomesCopy {
    /// Bytes of memory that its bytes will not be longer than, most of the time.
    pub(crate) fn size_hint(&self) -> usize {
        self.pages * 512 + (1 << 16)
    }

    fn encode_page(&self, place: Place, out: &mut Vec<u8>) {
        let held = || self.leaves[place as usize / LEAF].0[place as usize % LEAF].as_ref();
        match self.newest.get(&place) {
            Some(newest) => newest.encode(out),
            None => held().expect("what is filed is held").page.encode(out),
        }
    }

    /// Writes everything, in envelopes of little more than 4 MiB.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        // Sorted, so that equal states have equal bytes.
        let due = self.due.iter().flat_map(|(step, pages)| {
            let mut pages = pages.to_vec();
            pages.sort_unstable();
            pages.into_iter().map(|(_, place)| (*step, place))
        });
        let late = self.late.values().map(|place| (LATE, *place));
        let mut pages = due.chain(late).peekable();
        let mut is_first = true;
        while is_first || pages.peek().is_some() {
            envelope::seal_written(out, Outcomes::TAG, Outcomes::VERSION, |out| {
                let start = out.len();
                if is_first {
                    self.encode_head(out);
                }
                while out.len() - start < Outcomes::CHUNK
                    && let Some((due, place)) = pages.next()
                {
                    out.put_u64(due);
                    self.encode_page(place, out);
                }
            });
            is_first = false;
        }
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        out.put_u64(self.max as u64);
        out.put_varint(self.strays.len() as u64);
        for (txn, decision) in &self.strays {
            out.put_u128(txn.0);
            flat::put_decision(out, decision);
        }
        out.put_varint(self.pages as u64);
    }
}

/// In a checkpoint: the step of a page that is late.
const LATE: u64 = u64::MAX;

fn step_of(time: Timestamp) -> u64 {
    time.millis() >> DUE_MILLIS_LOG2
}

fn read_max(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let max = reader.u64()?;
    usize::try_from(max).map_err(|_| reader.bad("number of outcomes", max))
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
        if epoch > Self::EPOCH_MAX || id.0 >= FRONTENDS_MAX {
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

    /// The lowest number of which somebody may still ask: what its frontend has not acknowledged while it lives that
    /// life. No number at all of a life that is over.
    pub fn needed_from(&self, id: FrontendId, epoch: FrontendEpoch) -> u64 {
        match self.known.get(&id) {
            Some(frontend) if frontend.epoch == epoch => frontend.acknowledged_below,
            _ => u64::MAX,
        }
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
            if id >= FRONTENDS_MAX {
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

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::DeadlineClass;

    fn txn(number: u64) -> TxnId {
        let begun = Timestamp::from_millis(1_000_000);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), number)
    }

    fn committed(number: u64) -> Decision {
        Decision::Commit { commit_ts: Timestamp(number + 1) }
    }

    fn bytes_of(copy: &OutcomesCopy) -> Vec<u8> {
        let mut bytes = Vec::new();
        copy.encode(&mut bytes);
        bytes
    }

    fn packed(outcomes: &Outcomes) -> usize {
        let held = outcomes.leaves.iter().flat_map(|leaf| leaf.0.iter().flatten());
        held.filter(|held| matches!(held.page, Page::Packed(_))).count()
    }

    /// So many pages, each with a place that is still free.
    fn filled(pages: u64) -> Outcomes {
        let mut outcomes = Outcomes::new(usize::MAX / 2);
        for number in (0..pages * OutcomePage::NUMBERS as u64).filter(|number| number % 64 != 5) {
            let at = outcomes.find(txn(number));
            outcomes.insert_commit(at, txn(number), Timestamp(number + 1));
        }
        outcomes
    }

    #[test]
    fn old_pages_are_packed_and_say_the_same() {
        let pages = LATELY_MAX as u64 + 101;
        let mut outcomes = filled(pages);
        // One is the newest, and so many were left lately.
        assert_eq!(packed(&outcomes), 100);
        let last = pages * 64 - 1;
        for number in [0, 64, 130, last - 64, last] {
            assert_eq!(outcomes.get(txn(number)), Some(committed(number)));
        }
        assert_eq!(outcomes.get(txn(5)), None);

        let (before, expected) = (outcomes.copy(), bytes_of(&outcomes.copy()));
        let again = Outcomes::decode(&mut Reader::new(&expected)).unwrap();
        assert_eq!(packed(&again) as u64, pages);
        assert!(bytes_of(&again.copy()) == expected);

        // A straggler opens its page again, and no copy hears of it.
        outcomes.insert_abort(txn(5), &AbortReason::Resolved);
        assert_eq!(packed(&outcomes), 100, "its page is open, and the oldest of the others is packed");
        assert_eq!(outcomes.get(txn(5)), Some(Decision::Abort { reason: AbortReason::Resolved }));
        assert_eq!(outcomes.get(txn(0)), Some(committed(0)));
        assert!(bytes_of(&before) == expected);
        assert!(bytes_of(&outcomes.copy()) != expected);
    }

    #[test]
    fn packed_pages_leave_as_they_are_and_their_places_are_used_again() {
        let pages = LATELY_MAX as u64 + 3;
        let mut outcomes = filled(pages);
        let held = outcomes.len();
        let later = txn(0).deadline().later(std::time::Duration::from_secs(1));
        // All but the last ten of the numbers are acknowledged.
        let needed_from = |_, _| pages * 64 - 10;
        let gone = outcomes.expire(later, needed_from);
        assert_eq!(gone.iter().map(PackedPage::len).sum::<usize>(), held - 10);
        assert_eq!(outcomes.len(), 10);
        assert_eq!(gone[0].outcomes().next(), Some((txn(0), committed(0))));
        // What was noted of the places as left lately is not true of the pages that come into them.
        let mut second = txn(pages * 64);
        for number in pages * 64..(pages + 2 * LATELY_MAX as u64) * 64 {
            second = txn(number);
            let at = outcomes.find(second);
            outcomes.insert_commit(at, second, Timestamp(number + 1));
        }
        assert_eq!(outcomes.get(second), Some(committed(second.sequence())));
        assert_eq!(outcomes.get(txn(pages * 64 - 1)), Some(committed(pages * 64 - 1)));
        let again = Outcomes::decode(&mut Reader::new(&bytes_of(&outcomes.copy()))).unwrap();
        assert_eq!(again.len(), outcomes.len());
    }
}
