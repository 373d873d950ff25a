//! Advisory reservations of keys: `FOR UPDATE`, `FOR SHARE`, `NOWAIT`, `SKIP LOCKED`.
//!
//! Correctness never needs them (a lost reservation costs a conflict at COMMIT, no more); they are what makes
//! two workers that want the same row take turns instead of failing. The table lives in the leader's memory and
//! is lost with it.
//!
//! First come, first served: a request waits behind every earlier waiter of its key, so that a stream of
//! readers cannot starve a writer. The exception is an owner that already holds the key and wants more of it: it
//! waits for the other holders only. Whoever would close a cycle of waiting is the victim.
//!
//! A session holds each of its named locks as an owner of its own, so that it can give them back one by one. Their ids differ in
//! when they begin alone: owners with one serial are one party, and a cycle is one of parties.

use assize_model::{FrontendEpoch, FrontendId, KeyHash, TxnId};
use assize_ports::LockStrength;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names a waiting request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// What became of a request for one set of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requested {
    /// All of them are held.
    Granted,
    /// It waits; [`LockTable`] names the ticket when it has got them all.
    Waiting(Ticket),
    /// Waiting would close a cycle. What the owner held before, it still holds.
    Deadlock,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// All keys are held.
    Granted,
    /// Going on to its next key would have closed a cycle.
    Deadlock,
}

/// Who holds which key, and who waits for it.
#[derive(Default)]
pub struct LockTable {
    keys: BTreeMap<KeyHash, Key>,
    owners: BTreeMap<TxnId, Owner>,
    /// Owners that wait, by their serials.
    waiting: BTreeSet<(u128, TxnId)>,
    next_ticket: u64,
    /// Waits that ended and were not yet asked for.
    settled: Vec<(Ticket, Settled)>,
}

#[derive(Default)]
struct Key {
    holders: BTreeMap<TxnId, LockStrength>,
    /// In order of arrival.
    waiters: VecDeque<(TxnId, LockStrength)>,
}

#[derive(Default)]
struct Owner {
    held: BTreeSet<KeyHash>,
    waiting: Option<Wait>,
}

/// A transaction runs one statement at a time, so it waits for one request at a time.
struct Wait {
    ticket: Ticket,
    strength: LockStrength,
    /// The key it waits for is the first.
    missing: VecDeque<KeyHash>,
}

impl Key {
    /// Whether this owner may hold it now with this strength. `is_first`: whether nobody waits ahead of it.
    fn admits(&self, owner: TxnId, strength: LockStrength, is_first: bool) -> bool {
        let others = self.holders.iter().filter(|(holder, _)| **holder != owner);
        let compatible = match strength {
            LockStrength::Exclusive => others.count() == 0,
            LockStrength::Shared => others.into_iter().all(|(_, held)| *held == LockStrength::Shared),
        };
        compatible && (is_first || self.holders.contains_key(&owner))
    }

    fn grant(&mut self, owner: TxnId, strength: LockStrength) {
        let held = self.holders.entry(owner).or_insert(strength);
        if strength == LockStrength::Exclusive {
            *held = strength;
        }
    }
}

impl LockTable {
    /// Asks for keys; waits for those that others hold.
    pub fn request(
        &mut self,
        owner: TxnId,
        keys: impl IntoIterator<Item = KeyHash>,
        strength: LockStrength,
    ) -> Requested {
        // In the order of the keys: requests for the same set never wait for each other in a circle.
        let missing: BTreeSet<KeyHash> = keys.into_iter().collect();
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.cancel_waiting(owner);
        self.owners.entry(owner).or_default().waiting =
            Some(Wait { ticket, strength, missing: missing.into_iter().collect() });
        if self.advance(owner) {
            // Told at once, not through `settled`.
            self.settled.retain(|(other, _)| *other != ticket);
            return Requested::Granted;
        }
        self.waiting.insert((owner.serial(), owner));
        if self.closes_a_cycle(owner) {
            self.cancel_waiting(owner);
            return Requested::Deadlock;
        }
        Requested::Waiting(ticket)
    }

    /// Which of these keys could be held at once.
    pub fn free<'a>(
        &'a self,
        owner: TxnId,
        keys: &'a [KeyHash],
        strength: LockStrength,
    ) -> impl Iterator<Item = KeyHash> + 'a {
        keys.iter().copied().filter(move |hash| match self.keys.get(hash) {
            Some(key) => key.admits(owner, strength, key.waiters.is_empty()),
            None => true,
        })
    }

    /// Who keeps this owner from having one of these keys: the first that holds one, or waits for it ahead of him.
    pub fn in_the_way(&self, owner: TxnId, keys: &[KeyHash], strength: LockStrength) -> Option<TxnId> {
        let others = |key: &Key| {
            let is_shared = |held: LockStrength| held == LockStrength::Shared && strength == held;
            let holder = key.holders.iter().find(|(holder, held)| **holder != owner && !is_shared(**held));
            let waiter = || key.waiters.iter().map(|(waiter, _)| waiter).find(|waiter| **waiter != owner);
            holder.map(|(holder, _)| holder).or_else(waiter).copied()
        };
        keys.iter().find_map(|hash| {
            let is_refused = |key: &&Key| !key.admits(owner, strength, key.waiters.is_empty());
            self.keys.get(hash).filter(is_refused).and_then(others)
        })
    }

    /// Gives up a request that waits; answers whether it still waited.
    pub fn cancel(&mut self, owner: TxnId, ticket: Ticket) -> bool {
        let waits =
            self.owners.get(&owner).and_then(|o| o.waiting.as_ref()).is_some_and(|w| w.ticket == ticket);
        if waits {
            self.cancel_waiting(owner);
        }
        waits
    }

    /// Gives back everything that an owner holds or waits for.
    pub fn release(&mut self, owner: TxnId) {
        self.cancel_waiting(owner);
        let Some(gone) = self.owners.remove(&owner) else { return };
        for hash in gone.held {
            if let Some(key) = self.keys.get_mut(&hash) {
                key.holders.remove(&owner);
                self.serve(hash);
            }
        }
    }

    /// Gives back everything of the lives of frontends that are over.
    pub fn release_lives(&mut self, is_over: impl Fn(FrontendId, FrontendEpoch) -> bool) {
        let gone = |txn: &&TxnId| is_over(txn.frontend(), txn.frontend_epoch());
        let owners: Vec<TxnId> = self.owners.keys().filter(gone).copied().collect();
        owners.into_iter().for_each(|owner| self.release(owner));
    }

    /// Takes the waits that ended since the last call.
    pub fn take_settled(&mut self) -> Vec<(Ticket, Settled)> {
        std::mem::take(&mut self.settled)
    }

    /// Whether nobody holds anything.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.keys.is_empty() && self.waiting.is_empty()
    }

    /// Takes as many of the missing keys as can be had; true if none is missing any more.
    fn advance(&mut self, owner: TxnId) -> bool {
        let Some(state) = self.owners.get_mut(&owner) else { return false };
        let Some(wait) = &mut state.waiting else { return false };
        while let Some(hash) = wait.missing.front().copied() {
            let key = self.keys.entry(hash).or_default();
            let place = key.waiters.iter().position(|(waiter, _)| *waiter == owner);
            let is_first = place.map_or(key.waiters.is_empty(), |place| place == 0);
            if !key.admits(owner, wait.strength, is_first) {
                if place.is_none() {
                    key.waiters.push_back((owner, wait.strength));
                }
                return false;
            }
            if let Some(place) = place {
                key.waiters.remove(place);
            }
            key.grant(owner, wait.strength);
            state.held.insert(hash);
            wait.missing.pop_front();
        }
        let ticket = wait.ticket;
        state.waiting = None;
        self.waiting.remove(&(owner.serial(), owner));
        self.settled.push((ticket, Settled::Granted));
        true
    }

    /// Lets waiters of a key go on, in order, as far as they can.
    fn serve(&mut self, hash: KeyHash) {
        loop {
            let Some(key) = self.keys.get(&hash) else { return };
            // Holders that want more do not stand behind those that hold nothing.
            let ready = key
                .waiters
                .iter()
                .enumerate()
                .find(|(place, (waiter, strength))| key.admits(*waiter, *strength, *place == 0))
                .map(|(_, (waiter, _))| *waiter);
            match ready {
                Some(waiter) => {
                    // It may have to wait for its next key now, which no earlier search could foresee.
                    if !self.advance(waiter) && self.closes_a_cycle(waiter) {
                        let wait = self.owners.get(&waiter).and_then(|state| state.waiting.as_ref());
                        let ticket = wait.expect("who did not get everything waits").ticket;
                        self.settled.push((ticket, Settled::Deadlock));
                        self.cancel_waiting(waiter);
                    }
                }
                None if key.holders.is_empty() && key.waiters.is_empty() => {
                    self.keys.remove(&hash);
                    return;
                }
                None => return,
            }
        }
    }

    fn cancel_waiting(&mut self, owner: TxnId) {
        let Some(state) = self.owners.get_mut(&owner) else { return };
        let wait = state.waiting.take();
        self.waiting.remove(&(owner.serial(), owner));
        if state.held.is_empty() {
            self.owners.remove(&owner);
        }
        if let Some(hash) = wait.and_then(|wait| wait.missing.front().copied())
            && let Some(key) = self.keys.get_mut(&hash)
        {
            key.waiters.retain(|(waiter, _)| *waiter != owner);
            self.serve(hash);
        }
    }

    /// Whether following who waits for whom from this owner's party leads back to it.
    fn closes_a_cycle(&self, owner: TxnId) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = self.blockers(owner);
        while let Some(blocker) = next.pop() {
            let party = blocker.serial();
            if party == owner.serial() {
                return true;
            }
            if seen.insert(party) {
                let waiting = self.waiting.range((party, TxnId(0))..=(party, TxnId(u128::MAX)));
                waiting.for_each(|(_, waiting)| next.extend(self.blockers(*waiting)));
            }
        }
        false
    }

    /// Everybody whom a waiting owner waits for: holders of its key, and those ahead of it.
    fn blockers(&self, owner: TxnId) -> Vec<TxnId> {
        let wait = self.owners.get(&owner).and_then(|state| state.waiting.as_ref());
        let Some(key) = wait.and_then(|wait| wait.missing.front()).and_then(|hash| self.keys.get(hash))
        else {
            return Vec::new();
        };
        let holders = key.holders.keys().filter(|holder| **holder != owner).copied();
        if key.holders.contains_key(&owner) {
            return holders.collect();
        }
        let ahead = key.waiters.iter().map(|(waiter, _)| *waiter).take_while(|waiter| *waiter != owner);
        holders.chain(ahead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockStrength::{Exclusive, Shared};
    use assize_model::{DeadlineClass, Timestamp};

    fn txn(n: u64) -> TxnId {
        let begun = Timestamp::from_millis(1);
        TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n)
    }

    fn keys(range: std::ops::Range<u64>) -> Vec<KeyHash> {
        range.map(KeyHash).collect()
    }

    fn granted(table: &mut LockTable) -> Vec<Ticket> {
        let settled = table.take_settled();
        assert!(settled.iter().all(|(_, how)| *how == Settled::Granted));
        settled.into_iter().map(|(ticket, _)| ticket).collect()
    }

    fn waiting(requested: Requested) -> Ticket {
        match requested {
            Requested::Waiting(ticket) => ticket,
            other => panic!("expected to wait, got {other:?}"),
        }
    }

    #[test]
    fn writers_take_turns_in_the_order_in_which_they_came() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(0..2), Exclusive), Requested::Granted);
        let second = waiting(table.request(txn(2), keys(0..1), Exclusive));
        let third = waiting(table.request(txn(3), keys(0..1), Exclusive));
        table.release(txn(1));
        assert_eq!(granted(&mut table), [second]);
        table.release(txn(2));
        assert_eq!(granted(&mut table), [third]);
        table.release(txn(3));
        assert!(table.is_empty());
    }

    #[test]
    fn readers_share_and_do_not_overtake_a_waiting_writer() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(0..1), Shared), Requested::Granted);
        assert_eq!(table.request(txn(2), keys(0..1), Shared), Requested::Granted);
        let writer = waiting(table.request(txn(3), keys(0..1), Exclusive));
        let reader = waiting(table.request(txn(4), keys(0..1), Shared));
        table.release(txn(1));
        assert_eq!(granted(&mut table), []);
        table.release(txn(2));
        assert_eq!(granted(&mut table), [writer]);
        table.release(txn(3));
        assert_eq!(granted(&mut table), [reader]);
    }

    #[test]
    fn a_circle_of_two_or_three_has_a_victim_who_keeps_what_it_had() {
        let mut table = LockTable::default();
        for n in 1..=3 {
            assert_eq!(table.request(txn(n), keys(n..n + 1), Exclusive), Requested::Granted);
        }
        let first = waiting(table.request(txn(1), keys(2..3), Exclusive));
        waiting(table.request(txn(2), keys(3..4), Exclusive));
        assert_eq!(table.request(txn(3), keys(1..2), Exclusive), Requested::Deadlock);
        assert_eq!(table.free(txn(9), &keys(3..4), Exclusive).count(), 0);
        // The victim rolls back: the others go on.
        table.release(txn(3));
        assert_eq!(granted(&mut table).len(), 1);
        table.release(txn(2));
        assert_eq!(granted(&mut table), [first]);
    }

    #[test]
    fn owners_of_one_serial_are_one_party_and_give_back_one_by_one() {
        let mut table = LockTable::default();
        // The lock that a session gets as its `n`th.
        let lock =
            |session: u64, n: u64| TxnId::from_serial(Timestamp::from_millis(n), txn(session).serial());
        assert_eq!(table.request(lock(1, 1), keys(1..2), Exclusive), Requested::Granted);
        assert_eq!(table.request(lock(1, 2), keys(2..3), Exclusive), Requested::Granted);
        assert_eq!(table.request(lock(2, 1), keys(3..4), Exclusive), Requested::Granted);
        let second = waiting(table.request(lock(2, 2), keys(1..2), Exclusive));
        assert_eq!(table.request(lock(1, 3), keys(3..4), Exclusive), Requested::Deadlock);
        // What it did not get it does not wait for, and what it gives back the other gets.
        table.release(lock(1, 1));
        assert_eq!(granted(&mut table), [second]);
        assert_eq!(table.request(lock(2, 3), keys(2..3), Exclusive), Requested::Waiting(Ticket(5)));
        for owner in [lock(1, 2), lock(2, 1), lock(2, 2), lock(2, 3)] {
            table.release(owner);
        }
        table.take_settled();
        assert!(table.is_empty());
    }

    #[test]
    fn two_readers_that_both_want_to_write_are_a_deadlock() {
        let mut table = LockTable::default();
        for n in 1..=2 {
            assert_eq!(table.request(txn(n), keys(0..1), Shared), Requested::Granted);
        }
        let first = waiting(table.request(txn(1), keys(0..1), Exclusive));
        assert_eq!(table.request(txn(2), keys(0..1), Exclusive), Requested::Deadlock);
        table.release(txn(2));
        assert_eq!(granted(&mut table), [first]);
    }

    #[test]
    fn a_lone_reader_becomes_the_writer_ahead_of_those_who_wait() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(0..1), Shared), Requested::Granted);
        let other = waiting(table.request(txn(2), keys(0..1), Exclusive));
        assert_eq!(table.request(txn(1), keys(0..1), Exclusive), Requested::Granted);
        table.release(txn(1));
        assert_eq!(granted(&mut table), [other]);
    }

    #[test]
    fn a_cancelled_wait_lets_the_next_one_go_on() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(0..1), Shared), Requested::Granted);
        let writer = waiting(table.request(txn(2), keys(0..1), Exclusive));
        let reader = waiting(table.request(txn(3), keys(0..1), Shared));
        assert!(table.cancel(txn(2), writer));
        assert!(!table.cancel(txn(2), writer));
        assert_eq!(granted(&mut table), [reader]);
        table.release(txn(1));
        table.release(txn(3));
        assert!(table.is_empty());
    }

    #[test]
    fn what_a_life_that_is_over_holds_or_waits_for_is_given_back() {
        let mut table = LockTable::default();
        let of_next_life =
            TxnId::new(Timestamp::from_millis(1), DeadlineClass::Normal, FrontendId(1), FrontendEpoch(2), 1);
        assert_eq!(table.request(txn(1), keys(0..2), Exclusive), Requested::Granted);
        let heir = waiting(table.request(of_next_life, keys(0..1), Exclusive));
        waiting(table.request(txn(2), keys(1..2), Exclusive));
        table.release_lives(|frontend, epoch| frontend == FrontendId(1) && epoch < FrontendEpoch(2));
        assert!(granted(&mut table).contains(&heir));
        table.release(of_next_life);
        assert!(table.is_empty());
    }

    #[test]
    fn a_circle_that_closes_while_a_request_walks_its_keys_has_a_victim_too() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(5..6), Exclusive), Requested::Granted);
        assert_eq!(table.request(txn(2), keys(9..10), Exclusive), Requested::Granted);
        assert_eq!(table.request(txn(3), keys(1..2), Exclusive), Requested::Granted);
        let walker = waiting(table.request(txn(1), [KeyHash(1), KeyHash(9)], Exclusive));
        waiting(table.request(txn(2), keys(5..6), Exclusive));
        table.release(txn(3));
        assert_eq!(table.take_settled(), [(walker, Settled::Deadlock)]);
    }

    #[test]
    fn whoever_is_refused_a_key_learns_who_holds_it() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(0..1), Shared), Requested::Granted);
        assert_eq!(table.request(txn(2), keys(1..2), Exclusive), Requested::Granted);
        let in_the_way =
            |table: &LockTable, range, strength| table.in_the_way(txn(9), &keys(range), strength);
        assert_eq!(in_the_way(&table, 0..2, Exclusive), Some(txn(1)));
        assert_eq!(in_the_way(&table, 0..2, Shared), Some(txn(2)), "readers share the first key");
        assert_eq!(in_the_way(&table, 0..1, Shared), None);
        assert_eq!(in_the_way(&table, 5..7, Exclusive), None);
        waiting(table.request(txn(3), keys(0..1), Exclusive));
        assert_eq!(in_the_way(&table, 0..1, Shared), Some(txn(3)), "a writer waits ahead");
        // A victim learns who closed the circle, although it does not wait any more.
        waiting(table.request(txn(1), keys(1..2), Exclusive));
        assert_eq!(table.request(txn(2), keys(0..1), Shared), Requested::Deadlock);
        assert_eq!(table.in_the_way(txn(2), &keys(0..1), Shared), Some(txn(3)));
        table.release(txn(3));
        assert_eq!(table.request(txn(2), keys(0..1), Exclusive), Requested::Deadlock);
        assert_eq!(table.in_the_way(txn(2), &keys(0..1), Exclusive), Some(txn(1)));
    }

    #[test]
    fn skip_locked_sees_what_is_free() {
        let mut table = LockTable::default();
        assert_eq!(table.request(txn(1), keys(0..2), Exclusive), Requested::Granted);
        let free: Vec<KeyHash> = table.free(txn(2), &keys(0..4), Exclusive).collect();
        assert_eq!(free, keys(2..4));
        assert_eq!(table.free(txn(1), &keys(0..4), Exclusive).count(), 4);
    }
}
