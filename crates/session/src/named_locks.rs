//! Named locks across all frontends: GET_LOCK and its family.
//!
//! ```text
//!   GET_LOCK ──▶ reservation: queue, deadlocks ──▶ free, or its holder's life is over? ──▶ commit: name → owner
//!                (the leader's memory, advisory)    (read at a new snapshot)               (the log decides)
//! ```
//!
//! A lock is held by whoever is stored under its name, and storing it is a commit like any other: the first one wins, and it
//! outlives every leader. What is stored names the holder's frontend and its life; once the log says that this life is over, the
//! lock is free. A session that holds one commits in the life in which it got it, so that the log refuses its transactions from
//! then on: nobody writes under a lock that somebody else may have got since. See `docs/decisions/0020`.
//!
//! The reservation only says who is next. It is lost with the leader: holders reserve anew every now and then, and until they
//! have, waiting sessions look again and again.

use crate::services::{Services, adjudicator_error};
use crate::txn::{Txn, TxnOptions};
use assize_catalog::{NAMED_LOCKS, NamedLock};
use assize_model::{DeadlineClass, ErrorCode, FrontendEpoch, KeyHash, Mutation, SqlError, Timestamp, TxnId};
use assize_ports::{LockStrength, LockWait, ReadIntent, Reserved, Transaction};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a reservation is waited for before the lock is looked at all the same.
const QUEUE_MICROS: u64 = 10_000_000;
/// Time between two looks at a lock whose holder has no reservation.
const LOOK_AGAIN_MICROS: u64 = 100_000;
/// A holder waits so long for its reservation to be as it was.
const RENEW_WAIT: Duration = Duration::from_secs(1);
/// How often giving back is tried before it is left to the frontend.
const GIVE_BACK_TRIES: u32 = 8;

/// A name as locks compare it.
fn folded(name: &str) -> Arc<str> {
    name.to_lowercase().into()
}

fn deadlock() -> SqlError {
    let text = "Deadlock found when trying to get user-level lock; try rolling back transaction/releasing locks and \
                restarting lock acquisition.";
    SqlError::new(ErrorCode::UserLockDeadlock, text)
}

fn life_is_over() -> SqlError {
    let text = "this frontend was cut off from the cluster for too long and begins anew: named locks of its sessions are lost";
    SqlError::new(ErrorCode::ClusterUnavailable, text)
}

/// What a frontend knows of the named locks of its sessions.
#[derive(Default)]
pub(crate) struct NamedLocks {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// What sessions hold, by owner.
    held: BTreeMap<TxnId, Hold>,
    /// What nobody holds any more and is stored, or may come to be stored.
    left: Vec<Left>,
}

#[derive(Clone)]
struct Hold {
    connection: u32,
    name: Arc<str>,
}

#[derive(Clone)]
struct Left {
    name: Arc<str>,
    owner: TxnId,
    /// Not before then: a commit of the session that held it may still be decided.
    from: Timestamp,
    /// A commit that stores it may be decided until then.
    until: Timestamp,
}

impl NamedLocks {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that holds this lock can leave its value half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(&self, owner: TxnId) -> bool {
        self.kept().held.contains_key(&owner)
    }

    fn leave(&self, left: Left) {
        let mut kept = self.kept();
        kept.held.remove(&left.owner);
        kept.left.push(left);
    }

    /// Another life begins: what was held in earlier ones is lost. Answers whose it was.
    pub(crate) fn lose(&self) -> Vec<u32> {
        let held = std::mem::take(&mut self.kept().held);
        held.into_values().map(|hold| hold.connection).collect()
    }
}

impl Services {
    /// Takes care of named locks: gives back what sessions have left behind, and with `renews` sees to it that what they hold
    /// is reserved for them. Costs nothing while there are none.
    pub async fn tend_named_locks(self: &Arc<Self>, renews: bool) {
        let left = std::mem::take(&mut self.named_locks.kept().left);
        for left in left {
            let is_settled = self.now() >= left.from
                && match give_back(self, &left.name, left.owner).await {
                    Ok(was_stored) => was_stored || self.now() > left.until,
                    Err(_) => false,
                };
            if !is_settled {
                self.named_locks.kept().left.push(left);
            }
        }
        if renews {
            let held = self.named_locks.kept().held.clone();
            futures_util::future::join_all(held.iter().map(|(owner, hold)| self.renew(*owner, hold))).await;
        }
    }

    /// Reserves again what is held: a no-op, unless another leader has come.
    async fn renew(&self, owner: TxnId, hold: &Hold) {
        // Without an answer it is tried again the next time.
        let _ = self.reserve_lock(owner, &hold.name, LockWait::Timeout(RENEW_WAIT)).await;
        if !self.named_locks.holds(owner) {
            // Given back meanwhile: the release may have come before the request.
            self.adjudicator.release(owner);
        }
    }

    async fn reserve_lock(&self, owner: TxnId, name: &str, wait: LockWait) -> Result<Reserved, SqlError> {
        let key: KeyHash = self.hash(&NamedLock::place(name).1);
        let reserved = self.adjudicator.reserve(owner, &[key], LockStrength::Exclusive, wait).await;
        reserved.map_err(adjudicator_error)
    }

    /// Which connection holds a named lock, by now.
    async fn lock_holder(self: &Arc<Self>, name: &str) -> Result<Option<u32>, SqlError> {
        let mut txn = Txn::begin(self.clone(), TxnOptions::default()).await?;
        match stored(&mut txn, name).await? {
            Some(lock) if !self.is_over(&lock).await => Ok(Some(lock.connection)),
            _ => Ok(None),
        }
    }

    /// Whether the life in which a lock was got is over, as the log has it. Who cannot be asked has not said so.
    async fn is_over(&self, lock: &NamedLock) -> bool {
        let living = self.adjudicator.frontend_epoch(lock.owner.frontend()).await;
        living.is_ok_and(|living| living > lock.owner.frontend_epoch())
    }

    /// Whether a life goes on, as far as this frontend has heard.
    fn lives(&self, epoch: FrontendEpoch) -> bool {
        self.epoch() == epoch && !self.is_fenced()
    }
}

/// Who is stored under a name.
async fn stored(txn: &mut Txn, name: &str) -> Result<Option<NamedLock>, SqlError> {
    let (slot, key) = NamedLock::place(name);
    let Some(bytes) = txn.get(NAMED_LOCKS, slot, &key, ReadIntent::Plain).await? else { return Ok(None) };
    let unreadable = |error| SqlError::internal(format_args!("the lock {name} cannot be read: {error}"));
    NamedLock::decode(&bytes).map(Some).map_err(unreadable)
}

/// Takes away what is stored for this owner, and its reservation; answers whether it was stored.
async fn give_back(services: &Arc<Services>, name: &str, owner: TxnId) -> Result<bool, SqlError> {
    let (slot, key) = NamedLock::place(name);
    let mut last = None;
    for _ in 0..GIVE_BACK_TRIES {
        let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await?;
        if stored(&mut txn, name).await?.is_none_or(|lock| lock.owner != owner) {
            services.adjudicator.release(owner);
            return Ok(false);
        }
        txn.write(NAMED_LOCKS, Mutation::delete(key.clone(), slot))?;
        match txn.commit(None).await {
            Ok(_) => {
                services.adjudicator.release(owner);
                return Ok(true);
            }
            Err(failure) if failure.is_retryable => last = Some(failure.error),
            Err(failure) => return Err(failure.error),
        }
    }
    Err(last.expect("it was tried"))
}

/// What became of a try to take a lock.
enum Try {
    Taken,
    /// Somebody holds it.
    Held,
    /// Somebody has changed it in the same moment.
    Lost,
}

/// A session's attempt to get a lock. Dropped before it has succeeded it leaves nothing behind.
struct Bid<'a> {
    services: &'a Arc<Services>,
    name: Arc<str>,
    lock: NamedLock,
    /// A commit may have stored it.
    is_stored: bool,
    has_succeeded: bool,
}

impl<'a> Bid<'a> {
    fn new(services: &'a Arc<Services>, name: Arc<str>, lock: NamedLock) -> Self {
        Bid { services, name, lock, is_stored: false, has_succeeded: false }
    }

    /// Whether it was got in the time allowed; `None` is any time.
    async fn run(mut self, timeout_micros: Option<u64>) -> Result<bool, SqlError> {
        let (services, owner) = (self.services, self.lock.owner);
        let begun = services.clock.monotonic_micros();
        let left = || match timeout_micros {
            Some(limit) => limit.saturating_sub(services.clock.monotonic_micros().saturating_sub(begun)),
            None => u64::MAX,
        };
        loop {
            self.queue(left().min(QUEUE_MICROS)).await?;
            // Whatever the reservation says: the store has the last word.
            match self.take().await? {
                Try::Taken => break,
                Try::Lost => continue,
                Try::Held => {}
            }
            let micros = left().min(LOOK_AGAIN_MICROS);
            if micros == 0 {
                return Ok(false);
            }
            // Its holder is to come before us.
            services.adjudicator.release(owner);
            services.clock.sleep(micros).await;
        }
        if timeout_micros == Some(0) {
            // Those who come now queue behind it. If there is somebody already, the next renewal will do.
            let _ = services.reserve_lock(owner, &self.name, LockWait::NoWait).await;
        }
        self.succeed()
    }

    /// Waits for its turn, for so long at most. Who does not wait does not queue.
    async fn queue(&self, micros: u64) -> Result<(), SqlError> {
        if micros == 0 {
            return Ok(());
        }
        let wait = LockWait::Timeout(Duration::from_micros(micros));
        match self.services.reserve_lock(self.lock.owner, &self.name, wait).await? {
            Reserved::Deadlock => Err(deadlock()),
            Reserved::Granted { .. } | Reserved::Busy | Reserved::TimedOut => Ok(()),
        }
    }

    /// Takes the lock if it is free.
    async fn take(&mut self) -> Result<Try, SqlError> {
        let (services, epoch) = (self.services, self.lock.owner.frontend_epoch());
        if !services.lives(epoch) {
            return Err(life_is_over());
        }
        let mut txn = Txn::begin(services.clone(), TxnOptions::default()).await?;
        match stored(&mut txn, &self.name).await? {
            Some(lock) if lock.owner == self.lock.owner => return Ok(Try::Taken),
            Some(lock) if !services.is_over(&lock).await => return Ok(Try::Held),
            _ => {}
        }
        let (slot, key) = NamedLock::place(&self.name);
        txn.write(NAMED_LOCKS, Mutation::put(key, slot, self.lock.encode()))?;
        txn.live_in(epoch);
        self.is_stored = true;
        match txn.commit(None).await {
            Ok(_) => Ok(Try::Taken),
            Err(failure) if failure.is_retryable => {
                self.is_stored = false;
                Ok(Try::Lost)
            }
            Err(failure) => Err(failure.error),
        }
    }

    fn succeed(mut self) -> Result<bool, SqlError> {
        let NamedLock { owner, connection } = self.lock;
        let hold = Hold { connection, name: self.name.clone() };
        self.services.named_locks.kept().held.insert(owner, hold);
        // Asked after it was entered: if another life begins later, it is among those that are lost.
        if !self.services.lives(owner.frontend_epoch()) {
            return Err(life_is_over());
        }
        self.has_succeeded = true;
        Ok(true)
    }
}

impl Drop for Bid<'_> {
    fn drop(&mut self) {
        if self.has_succeeded {
            return;
        }
        let owner = self.lock.owner;
        self.services.adjudicator.release(owner);
        if self.is_stored {
            let from = self.services.now();
            let until = from.later(DeadlineClass::Normal.limit());
            self.services.named_locks.leave(Left { name: self.name.clone(), owner, from, until });
        }
    }
}

/// What a statement has done with locks, as it would be undone: its net effect.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Got(Arc<str>),
    GaveBack(Arc<str>),
    GaveBackAll(u64),
}

/// The named locks of one session. There are none before it first asks for one.
pub(crate) struct SessionLocks {
    services: Arc<Services>,
    connection: u32,
    held: BTreeMap<Arc<str>, Held>,
    /// What the owners of all its locks have in common, and when the next of them begins.
    party: Option<TxnId>,
    /// What the running statement has done.
    done: Vec<Step>,
    /// What attempts of it that are lost have done, and this one has not come to yet: it is not done again.
    owed: Vec<Step>,
    /// A commit of the session is under way.
    is_committing: bool,
}

struct Held {
    owner: TxnId,
    /// How often it was asked for: it must be given back as often.
    depth: u64,
}

impl SessionLocks {
    pub(crate) fn new(services: Arc<Services>, connection: u32) -> Self {
        let (held, party, done, owed) = (BTreeMap::new(), None, Vec::new(), Vec::new());
        SessionLocks { services, connection, held, party, done, owed, is_committing: false }
    }

    /// The life in which its locks were got; `None` if it holds none.
    pub(crate) fn life(&self) -> Option<FrontendEpoch> {
        self.held.values().map(|held| held.owner.frontend_epoch()).min()
    }

    /// A statement begins.
    pub(crate) fn begin_statement(&mut self) {
        self.done.clear();
        self.owed.clear();
        self.is_committing = false;
    }

    /// A commit begins, or has come to its end.
    pub(crate) fn note_commit(&mut self, is_under_way: bool) {
        self.is_committing = is_under_way;
    }

    /// The attempt that ran is lost, and the statement is run again.
    pub(crate) fn run_again(&mut self) {
        self.owed.append(&mut self.done);
    }

    /// The statement is over: what lost attempts have got, and the last one did not ask for, is given back.
    pub(crate) async fn end_statement(&mut self) {
        for step in std::mem::take(&mut self.owed) {
            if let Step::Got(name) = step {
                // What cannot be given back now the frontend gives back later.
                let _ = self.give_back_once(&name).await;
            }
        }
    }

    fn take_owed(&mut self, step: &Step) -> bool {
        let at = self.owed.iter().position(|owed| owed == step);
        at.map(|at| self.owed.swap_remove(at)).is_some()
    }

    /// Notes what was done, unless it undoes what was done before.
    fn note(&mut self, step: Step, undone: &Step) {
        match self.done.iter().position(|done| done == undone) {
            Some(at) => {
                self.done.swap_remove(at);
            }
            None => self.done.push(step),
        }
    }

    /// An owner that nobody has been.
    fn draw_owner(&mut self) -> TxnId {
        let epoch = self.services.epoch();
        let party = match self.party {
            Some(party) if party.frontend_epoch() == epoch => {
                let next = Timestamp::from_millis(party.begun().millis() + 1);
                TxnId::from_serial(next, party.serial())
            }
            _ => self.services.next_txn_id(DeadlineClass::Normal),
        };
        self.party = Some(party);
        party
    }

    /// GET_LOCK: whether it was got in the time allowed; `None` is any time.
    pub(crate) async fn get(&mut self, name: &str, timeout_micros: Option<u64>) -> Result<bool, SqlError> {
        let name = folded(name);
        let (got, gave_back) = (Step::Got(name.clone()), Step::GaveBack(name.clone()));
        if let Some(held) = self.held.get(&name)
            && !self.services.lives(held.owner.frontend_epoch())
        {
            return Err(life_is_over());
        }
        if !self.take_owed(&got) {
            match self.held.get_mut(&name) {
                Some(held) => held.depth += 1,
                None => {
                    let owner = self.draw_owner();
                    let lock = NamedLock { owner, connection: self.connection };
                    let bid = Bid::new(&self.services, name.clone(), lock);
                    if !bid.run(timeout_micros).await? {
                        return Ok(false);
                    }
                    self.held.insert(name, Held { owner, depth: 1 });
                }
            }
        }
        self.note(got, &gave_back);
        Ok(true)
    }

    /// RELEASE_LOCK: `Some(true)` given back, `Some(false)` another session holds it, `None` nobody does.
    pub(crate) async fn release(&mut self, name: &str) -> Result<Option<bool>, SqlError> {
        let name = folded(name);
        let (got, gave_back) = (Step::Got(name.clone()), Step::GaveBack(name.clone()));
        if !self.take_owed(&gave_back) && !self.give_back_once(&name).await? {
            return Ok(self.services.lock_holder(&name).await?.map(|_| false));
        }
        self.note(gave_back, &got);
        Ok(Some(true))
    }

    /// RELEASE_ALL_LOCKS: how many, each as often as it was got.
    pub(crate) async fn release_all(&mut self) -> Result<u64, SqlError> {
        let owed = self.owed.iter().position(|step| matches!(step, Step::GaveBackAll(_)));
        let before = match owed.map(|at| self.owed.swap_remove(at)) {
            Some(Step::GaveBackAll(count)) => count,
            _ => 0,
        };
        let count: u64 = self.held.values().map(|held| held.depth).sum();
        let all: Vec<Leaving<'_>> = std::mem::take(&mut self.held)
            .into_iter()
            .map(|(name, held)| Leaving::new(&self.services, name, held.owner))
            .collect();
        let given = futures_util::future::join_all(all.into_iter().map(Leaving::give_back)).await;
        let steps = self.done.len();
        self.done.retain(|step| !matches!(step, Step::Got(_)));
        let got = (steps - self.done.len()) as u64;
        self.done.push(Step::GaveBackAll(before + count.saturating_sub(got)));
        given.into_iter().collect::<Result<Vec<bool>, _>>()?;
        Ok(before + count)
    }

    /// Which connection holds a lock: IS_USED_LOCK, and IS_FREE_LOCK.
    pub(crate) async fn holder(&self, name: &str) -> Result<Option<u32>, SqlError> {
        self.services.lock_holder(&folded(name)).await
    }

    /// Gives a lock back once; whether it was held.
    async fn give_back_once(&mut self, name: &str) -> Result<bool, SqlError> {
        match self.held.get_mut(name) {
            None => Ok(false),
            Some(held) if held.depth > 1 => {
                held.depth -= 1;
                Ok(true)
            }
            Some(_) => {
                let (name, held) = self.held.remove_entry(name).expect("it was there");
                Leaving::new(&self.services, name, held.owner).give_back().await
            }
        }
    }
}

/// A session that goes without a word, because its task was stopped, leaves its locks to the frontend. What it was committing may
/// yet be decided, and is to be decided under the lock.
impl Drop for SessionLocks {
    fn drop(&mut self) {
        for (name, held) in std::mem::take(&mut self.held) {
            let mut leaving = Leaving::new(&self.services, name, held.owner);
            if self.is_committing {
                leaving.from = leaving.from.later(DeadlineClass::Bulk.limit());
            }
        }
    }
}

/// A lock that its session holds no more. Dropped before it was given back it is left to the frontend.
struct Leaving<'a> {
    services: &'a Arc<Services>,
    name: Arc<str>,
    owner: TxnId,
    from: Timestamp,
    is_given_back: bool,
}

impl<'a> Leaving<'a> {
    fn new(services: &'a Arc<Services>, name: Arc<str>, owner: TxnId) -> Self {
        services.named_locks.kept().held.remove(&owner);
        Leaving { services, name, owner, from: services.now(), is_given_back: false }
    }

    /// Whether it was still held.
    async fn give_back(mut self) -> Result<bool, SqlError> {
        let given = give_back(self.services, &self.name, self.owner).await?;
        self.is_given_back = true;
        Ok(given)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.is_given_back {
            let Leaving { owner, from, .. } = *self;
            self.services.named_locks.leave(Left { name: self.name.clone(), owner, from, until: from });
        }
    }
}
