//! Comparing what this replica holds with what its siblings hold, a page of keys at a time.
//!
//! The first of the replicas that count goes through all keys, round and round. Each page is hashed at the snapshot at which
//! that replica stands, and the others are asked for their hash of the same keys at the same snapshot:
//!
//! ```text
//!   r1  stands at 40: hash of [a, k) at 40 ──ask──▶ r2, r3
//!   r2  stands at 55: answers at once            r3  stands at 30: answers when it gets to 40
//!   all have answered:   r1 = r2 = r3   ▶ the next page is [k, …)
//!                        r1 = r2 ≠ r3   ▶ reported; r3 is told and is rebuilt
//!                        r1 ≠ r2 ≠ r3   ▶ reported; nobody can tell who is right
//! ```
//!
//! Nothing is concluded unless everybody who counts has answered: then all of them are whole, so that the odd one may
//! forget its intents, and there is a sibling to copy. Who is down, or in another epoch, or has collected the snapshot
//! meanwhile, makes the page come again at a later snapshot.

use crate::following::{Effects, Next};
use crate::{ContentPage, Difference, Effect, Options, Standings};
use assize_model::{Epoch, Key, ReplicaId, Timestamp};
use assize_mvcc::{ContentHash, Engine, MvccStore, Page, ReadError, Step, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// A page that siblings have been asked about.
struct Round {
    page: ContentPage,
    mine: ContentHash,
    answers: BTreeMap<ReplicaId, ContentHash>,
    asked_at: Timestamp,
}

/// See the module's page.
pub(crate) struct Comparing {
    /// Where the next page begins.
    next: Key,
    /// When the last page was begun.
    begun_at: Timestamp,
    round: Option<Round>,
    /// Siblings that ask about a snapshot which the position has not reached: the last question of each.
    waiting: BTreeMap<ReplicaId, ContentPage>,
    /// How often in a row there was more here than a sibling may be answered about at once.
    too_much: BTreeMap<ReplicaId, u32>,
}

/// A replica looks at this many times as much for another as that one has looked at, before it says that it cannot tell: it
/// may still have what the other has collected, and everybody waits while it looks.
const ANSWER_STEPS: usize = 4;
/// Each time that this was not enough it is doubled, but not more often than this: what is there may be too much because
/// the other has lost it.
const DOUBLINGS_MAX: u32 = 24;

/// How much is looked at for somebody to whom it was too much so often.
fn answer_step(step: Step, times: u32) -> Step {
    let more = ANSWER_STEPS << times.min(DOUBLINGS_MAX);
    Step { versions: step.versions.saturating_mul(more), bytes: step.bytes.saturating_mul(more) }
}

impl Comparing {
    pub fn new(now: Timestamp) -> Self {
        let (waiting, too_much) = (BTreeMap::new(), BTreeMap::new());
        Comparing { next: Key::default(), begun_at: now, round: None, waiting, too_much }
    }

    /// Begins the next page when it is due and this replica's part.
    pub fn tick<E: Engine>(
        &mut self,
        now: Timestamp,
        store: &MvccStore<E>,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if self.round.as_ref().is_some_and(|round| now >= round.asked_at.later(options.compare_retry_after)) {
            self.round = None;
        }
        if self.round.is_some() || now < self.begun_at.later(options.compare_pause) {
            return Ok(());
        }
        self.begun_at = now;
        // Who counts may have changed, and with it whose part this is.
        effects.push(Effect::AskStandings);
        if who_counts(standings).next() == Some(options.replica) && who_counts(standings).count() > 1 {
            self.begin(now, store, standings, options, effects)?;
        }
        Ok(())
    }

    fn begin<E: Engine>(
        &mut self,
        now: Timestamp,
        store: &MvccStore<E>,
        standings: &Standings,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        let snapshot_ts = store.position().closed_ts;
        let from = Page { from: self.next.clone(), to: None };
        let Some((mine, to)) = hash(store, &from, snapshot_ts, options.compare_step)? else {
            return Ok(());
        };
        let keys = Page { to, ..from };
        let page = ContentPage { keys, snapshot_ts, epoch: store.epoch() };
        for from in who_counts(standings).filter(|replica| *replica != options.replica) {
            effects.push(Effect::AskContent { from, page: page.clone() });
        }
        self.round = Some(Round { page, mine, answers: BTreeMap::new(), asked_at: now });
        Ok(())
    }

    /// A sibling asks.
    pub fn asked<E: Engine>(
        &mut self,
        from: ReplicaId,
        page: ContentPage,
        store: &MvccStore<E>,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        if page.epoch > store.epoch() || page.snapshot_ts > store.position().closed_ts {
            self.waiting.insert(from, page);
            return Ok(());
        }
        let is_comparable = page.epoch == store.epoch();
        let answer = if is_comparable { self.answer(from, &page, store, options)? } else { None };
        effects.push(Effect::AnswerContent { to: from, page, answer });
        Ok(())
    }

    /// The hash of a page for a sibling; `None`: it cannot be told, or there is too much of it here for one answer.
    fn answer<E: Engine>(
        &mut self,
        to: ReplicaId,
        page: &ContentPage,
        store: &MvccStore<E>,
        options: &Options,
    ) -> Result<Option<ContentHash>, StoreError> {
        let step = answer_step(options.compare_step, self.too_much.get(&to).copied().unwrap_or(0));
        match hash(store, &page.keys, page.snapshot_ts, step)? {
            Some((hash, None)) => {
                self.too_much.remove(&to);
                Ok(Some(hash))
            }
            Some((_, Some(_))) => {
                *self.too_much.entry(to).or_default() += 1;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// The position has moved: some who asked need wait no longer.
    pub fn progressed<E: Engine>(
        &mut self,
        store: &MvccStore<E>,
        options: &Options,
        effects: &mut Effects<E>,
    ) -> Result<(), StoreError> {
        for (from, page) in std::mem::take(&mut self.waiting) {
            self.asked(from, page, store, options, effects)?;
        }
        Ok(())
    }

    /// A sibling answers. If that makes this replica the odd one it is to be rebuilt.
    pub fn answered<C>(
        &mut self,
        from: ReplicaId,
        page: &ContentPage,
        answer: Option<ContentHash>,
        standings: &Standings,
        options: &Options,
        effects: &mut Vec<Effect<C>>,
    ) -> Next {
        let Some(round) = self.round.as_mut().filter(|round| round.page == *page) else { return Next::Stay };
        let Some(answer) = answer else {
            // The page comes again, at a later snapshot.
            self.round = None;
            return Next::Stay;
        };
        round.answers.insert(from, answer);
        let mut others = who_counts(standings).filter(|replica| *replica != options.replica);
        if !others.all(|replica| round.answers.contains_key(&replica)) {
            return Next::Stay;
        }
        let Some(mut round) = self.round.take() else { return Next::Stay };
        self.next = round.page.keys.to.clone().unwrap_or_default();
        round.answers.insert(options.replica, round.mine);
        conclude(round, options.replica, effects)
    }
}

/// Who counts, in order.
fn who_counts(standings: &Standings) -> impl Iterator<Item = ReplicaId> + '_ {
    standings.replicas.iter().filter(|(_, standing)| standing.counts).map(|(replica, _)| *replica)
}

/// With the key at which the step ended, if it ended before the page. `None`: the snapshot cannot be read here, not yet or no
/// more.
fn hash<E: Engine>(
    store: &MvccStore<E>,
    page: &Page,
    snapshot_ts: Timestamp,
    step: Step,
) -> Result<Option<(ContentHash, Option<Key>)>, StoreError> {
    match store.reader().hash_content(store.slots(), snapshot_ts, page, step) {
        Ok(hashed) => Ok(Some(hashed)),
        Err(ReadError::SnapshotTooOld { .. } | ReadError::NotReached { .. }) => Ok(None),
        Err(ReadError::Store(error)) => Err(error),
    }
}

fn conclude<C>(round: Round, me: ReplicaId, effects: &mut Vec<Effect<C>>) -> Next {
    let Round { page, answers, .. } = round;
    let mut sides: BTreeMap<ContentHash, BTreeSet<ReplicaId>> = BTreeMap::new();
    for (replica, hash) in &answers {
        sides.entry(*hash).or_default().insert(*replica);
    }
    if sides.len() == 1 {
        return Next::Stay;
    }
    let majority = sides.values().find(|side| side.len() > answers.len() / 2);
    let odd =
        majority.map(|most| answers.keys().copied().filter(|replica| !most.contains(replica)).collect());
    let epoch: Epoch = page.epoch;
    effects.push(Effect::ReportDifference(Difference { page, answers, odd: odd.clone() }));
    let odd: BTreeSet<ReplicaId> = odd.unwrap_or_default();
    for to in odd.iter().copied().filter(|replica| *replica != me) {
        effects.push(Effect::TellContentDiffers { to, epoch });
    }
    if odd.contains(&me) { Next::Rebuild } else { Next::Stay }
}
