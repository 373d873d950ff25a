//! Transactions out of a seed: what benches, load generators and tests give the adjudicator to decide.
//!
//! A [`Generator`] draws footprints of so many reads and writes over so many keys, uniformly or by Zipf's law. A
//! [`Kernel`] strings them into log entries and applies those: the state machine alone, without network, disk or clock.
//! Whoever calls it holds the watch.
//!
//! Same seed, same footprints. Keys are numbers; a number's hash, slot and bytes are spread from it.

use crate::command::{Acknowledgement, Batch, Bootstrap, Command};
use crate::decisions::Decisions;
use crate::footprint_view::{encode_footprint, encode_prepared};
use crate::options::Options;
use crate::state::Adjudicator;
use assize_codec::DecodeError;
use assize_model::*;
use bytes::Bytes;

/// Spreads a number over all 64 bits.
fn spread(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// How likely each key is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Skew {
    /// All the same.
    Uniform,
    /// The k-th most likely key is `k` to the power of `theta` times less likely than the first; `theta` lies
    /// between 0 and 1, both excluded. YCSB's choice is 0.99.
    Zipf {
        /// The exponent.
        theta: f64,
    },
}

/// How the writes travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// As intents on their shards; the footprint carries a receipt for each.
    Prepared,
    /// In the footprint, each as a key of 8 bytes with a value of so many.
    Inline {
        /// Bytes of each value.
        value_bytes: usize,
    },
}

/// What transactions look like.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Keys that are read and checked.
    pub reads: usize,
    /// Keys that are written, which are checked, too.
    pub writes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How likely each is.
    pub skew: Skew,
    /// How the writes travel.
    pub mode: Mode,
    /// Where keys lie.
    pub placement: Placement,
    /// Where randomness begins.
    pub seed: u64,
}

impl Workload {
    /// The workload by which we measure: two reads and two writes, uniform over ten million keys on four shards, prepared.
    pub fn ordinary() -> Self {
        Workload {
            reads: 2,
            writes: 2,
            keys: 10_000_000,
            skew: Skew::Uniform,
            mode: Mode::Prepared,
            placement: Placement::even(4, NodeId(1)),
            seed: 1,
        }
    }
}

/// Draws numbers from 0 up by Zipf's law (Gray et al., "Quickly generating billion-record synthetic databases").
#[derive(Clone, Copy, Debug)]
struct Zipf {
    count: f64,
    alpha: f64,
    eta: f64,
    zeta: f64,
    second: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Self {
        // The sum of 1/k^theta: the first terms as they are, the others as their integral.
        let exact = count.min(10_000);
        let head: f64 = (1..=exact).map(|k| (k as f64).powf(-theta)).sum();
        let integral = |k: f64| k.powf(1.0 - theta) / (1.0 - theta);
        let zeta = head + integral(count as f64 + 0.5) - integral(exact as f64 + 0.5);
        let second = 1.0 + 0.5f64.powf(theta);
        let count = count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - theta)) / (1.0 - second / zeta);
        Zipf { count, alpha: 1.0 / (1.0 - theta), eta, zeta, second }
    }

    fn rank(&self, random: u64) -> u64 {
        let u = (random >> 11) as f64 / (1u64 << 53) as f64;
        match u * self.zeta {
            z if z < 1.0 => 0,
            z if z < self.second => 1,
            _ => (self.count * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64,
        }
    }
}

/// Draws footprints.
#[derive(Clone, Debug)]
pub struct Generator {
    workload: Workload,
    routes: Routes,
    zipf: Option<Zipf>,
    state: u64,
    value: Bytes,
    /// The keys of the transaction that was drawn last, those that it writes behind the others.
    drawn: Vec<u64>,
    checked: Vec<KeyHash>,
    receipts: Vec<Receipt>,
}

/// What all transactions planned with.
const SCHEMAS: [(TableId, SchemaVersion); 1] = [(TableId(1), SchemaVersion(1))];

impl Generator {
    /// A generator that begins with the workload's seed.
    ///
    /// # Panics
    /// If a transaction accesses more keys than there are.
    pub fn new(workload: Workload) -> Self {
        assert!((workload.reads + workload.writes) as u64 <= workload.keys, "keys for a transaction");
        let zipf = match workload.skew {
            Skew::Uniform => None,
            Skew::Zipf { theta } => Some(Zipf::new(workload.keys, theta)),
        };
        let value_bytes = match workload.mode {
            Mode::Prepared => 0,
            Mode::Inline { value_bytes } => value_bytes,
        };
        let (state, value) = (workload.seed, vec![7; value_bytes].into());
        let routes = Routes::of_placement(&workload.placement);
        let (drawn, checked, receipts) = (Vec::new(), Vec::new(), Vec::new());
        Generator { workload, routes, zipf, state, value, drawn, checked, receipts }
    }

    #[inline]
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(1);
        spread(self.state)
    }

    #[inline]
    fn draw(&mut self) -> u64 {
        let random = self.random();
        let keys = self.workload.keys;
        match &self.zipf {
            None => ((u128::from(random) * u128::from(keys)) >> 64) as u64,
            Some(zipf) => zipf.rank(random).min(keys - 1),
        }
    }

    /// Draws the keys of a transaction.
    #[inline]
    fn draw_keys(&mut self) {
        self.drawn.clear();
        self.checked.clear();
        while self.drawn.len() < self.workload.reads + self.workload.writes {
            let key = self.draw();
            if !self.drawn.contains(&key) {
                self.drawn.push(key);
                self.checked.push(hash_of(key));
            }
        }
    }

    /// Encodes the next transaction's footprint at the end of a buffer, under this id and at this snapshot.
    pub fn encode_next(&mut self, out: &mut Vec<u8>, txn: TxnId, snapshot_ts: Timestamp) {
        self.draw_keys();
        match self.workload.mode {
            Mode::Prepared => {
                self.collect_receipts();
                let written = self.workload.writes;
                encode_prepared(out, txn, snapshot_ts, &SCHEMAS, &self.checked, written, &self.receipts);
            }
            Mode::Inline { .. } => encode_footprint(out, &self.inline(txn, snapshot_ts)),
        }
    }

    /// The receipts of the shards that have keys which are written.
    #[inline]
    fn collect_receipts(&mut self) {
        let reads = self.workload.reads;
        self.receipts.clear();
        for (key, hash) in self.drawn[reads..].iter().zip(&self.checked[reads..]) {
            let (shard, epoch) = self.routes.of(slot_of(*hash));
            match self.receipts.iter_mut().find(|receipt| receipt.shard == shard) {
                Some(receipt) => receipt.digest.count += 1,
                None => {
                    let digest = WriteDigest { count: 1, sum: *key };
                    self.receipts.push(Receipt { shard, epoch, digest });
                }
            }
        }
    }

    /// The footprint that carries what it writes.
    fn inline(&self, txn: TxnId, snapshot_ts: Timestamp) -> Footprint {
        let reads = self.workload.reads;
        let (keys, hashes) = (self.drawn[reads..].iter(), self.checked[reads..].iter());
        let written = hashes.clone().map(|hash| WrittenKey { hash: *hash, ordered: None }).collect();
        let put = |(key, hash): (&u64, &KeyHash)| {
            Mutation::put(Key::new(key.to_be_bytes().to_vec()), slot_of(*hash), self.value.clone())
        };
        Footprint {
            txn,
            groups: vec![AccessGroup { snapshot_ts, checked: self.checked.clone(), ranges: Vec::new() }],
            schemas: SCHEMAS.to_vec(),
            auto_increments: Vec::new(),
            body: CommitBody::Inline { mutations: keys.zip(hashes).map(put).collect(), written },
            catalog_change: None,
        }
    }
}

/// Whose each slot is, and in which epoch.
#[derive(Clone, Debug)]
struct Routes {
    /// The last slot of each range, in order.
    ends: Vec<u16>,
    /// Whose the ranges are.
    owners: Vec<(ShardId, Epoch)>,
}

impl Routes {
    fn of_placement(placement: &Placement) -> Routes {
        let ranges = placement.shards.keys().flat_map(|shard| {
            let epoch = placement.shard_epoch(*shard).unwrap_or_default();
            placement.slots_of(*shard).into_iter().map(move |(_, end)| (end.0, (*shard, epoch)))
        });
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_unstable();
        let (ends, owners) = ranges.into_iter().unzip();
        Routes { ends, owners }
    }

    /// The owner of a slot and its epoch.
    #[inline]
    fn of(&self, slot: Slot) -> (ShardId, Epoch) {
        self.owners[self.ends.partition_point(|end| *end < slot.0)]
    }
}

fn hash_of(key: u64) -> KeyHash {
    KeyHash(spread(key))
}

fn slot_of(hash: KeyHash) -> Slot {
    Slot((hash.0 >> 48) as u16)
}

/// Footprints in one entry of a [`Kernel`].
pub const ENTRY_TXNS: u64 = 1024;

/// An adjudicator that is fed with a workload: the kernel alone.
///
/// Entries follow one another a millisecond apart in the adjudicator's time, so that about a million transactions a second
/// of that time pass through the outcome table. Transactions come from sixteen frontends in turn; their snapshots are
/// the end of the entry before.
#[derive(Clone, Debug)]
pub struct Kernel {
    state: Adjudicator,
    generator: Generator,
    index: u64,
    /// Entries generated.
    generated: u64,
    /// Entries applied.
    applied: u64,
}

impl Kernel {
    /// How many frontends send transactions.
    pub const FRONTENDS: u64 = 16;
    const EPOCH: FrontendEpoch = FrontendEpoch(1);
    const BEGIN_MILLIS: u64 = 1_000_000;

    /// A new adjudicator with a window of `1 << window_log2` buckets.
    pub fn new(workload: Workload, window_log2: u8) -> Self {
        let mut state = Adjudicator::new(Options::default());
        let begin = Timestamp::from_millis(Self::BEGIN_MILLIS);
        let mut bootstrap = Bootstrap::new(1, 2, begin, workload.placement.clone());
        bootstrap.window_log2 = window_log2;
        state.apply(LogIndex(1), &Command::Bootstrap(bootstrap));
        for frontend in 1..=Self::FRONTENDS {
            let grant = Command::GrantFrontend { frontend: FrontendId(frontend as u32), nonce: 1 };
            state.apply(LogIndex(1 + frontend), &grant);
        }
        let index = 1 + Self::FRONTENDS;
        Kernel { state, generator: Generator::new(workload), index, generated: 0, applied: 0 }
    }

    /// The next log entry: [`ENTRY_TXNS`] footprints.
    pub fn entry(&mut self) -> Bytes {
        let base = |number| Timestamp::from_millis(Self::BEGIN_MILLIS + 1 + number);
        // Nothing but the bootstrap comes before the first entry.
        let snapshot_ts = match self.generated.checked_sub(1) {
            Some(before) => base(before).plus(ENTRY_TXNS - 1),
            None => Timestamp::from_millis(Self::BEGIN_MILLIS),
        };
        let first = self.generated * ENTRY_TXNS;
        let mut footprints = Vec::new();
        for n in first..first + ENTRY_TXNS {
            let frontend = FrontendId((1 + n % Self::FRONTENDS) as u32);
            let number = n / Self::FRONTENDS;
            let txn = TxnId::new(snapshot_ts, DeadlineClass::Normal, frontend, Self::EPOCH, number);
            self.generator.encode_next(&mut footprints, txn, snapshot_ts);
        }
        let batch = Batch::of_bytes(base(self.generated), ENTRY_TXNS as u32, footprints);
        self.generated += 1;
        Command::Batch(batch).encode().into()
    }

    /// Decodes and applies an entry, which is the next in order. Every hundredth brings the frontends' acknowledgements with it.
    pub fn apply(&mut self, entry: &Bytes) -> Result<Decisions, DecodeError> {
        let command = Command::decode(entry)?;
        self.index += 1;
        let decisions = self.state.apply(LogIndex(self.index), &command).decisions;
        self.applied += 1;
        if self.applied.is_multiple_of(100) {
            self.acknowledge();
        }
        Ok(decisions)
    }

    /// Frontends acknowledge everything decided so far.
    fn acknowledge(&mut self) {
        let below = self.applied * ENTRY_TXNS / Self::FRONTENDS;
        let acknowledge =
            |frontend| Acknowledgement { frontend: FrontendId(frontend as u32), epoch: Self::EPOCH, below };
        let acknowledged = (1..=Self::FRONTENDS).map(acknowledge).collect();
        self.index += 1;
        self.state.apply(LogIndex(self.index), &Command::AcknowledgeOutcomes { acknowledged });
    }

    /// The adjudicator.
    pub fn state(&self) -> &Adjudicator {
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint_view::footprints_of;

    #[test]
    fn zipf_prefers_the_first_keys_as_much_as_it_should() {
        let zipf = Zipf::new(1000, 0.99);
        let exact: f64 = (1..=1000).map(|k| f64::from(k).powf(-0.99)).sum();
        assert!((zipf.zeta - exact).abs() < 1e-6);
        let mut counts = [0u32; 1000];
        for n in 0..100_000 {
            counts[zipf.rank(spread(n)) as usize] += 1;
        }
        let share = f64::from(counts[0]) / 100_000.0;
        assert!((share - 1.0 / exact).abs() < 0.01, "{share}");
        assert!(counts[0] > counts[1] && counts[1] > counts[9] && counts[9] > counts[99]);
    }

    #[test]
    fn a_kernel_decides_its_workload_and_keeps_outcomes_until_their_deadline() {
        for mode in [Mode::Prepared, Mode::Inline { value_bytes: 16 }] {
            let workload = Workload { mode, keys: 10_000_000, ..Workload::ordinary() };
            let mut kernel = Kernel::new(workload, 12);
            for _ in 0..3 {
                let entry = kernel.entry();
                let decisions = kernel.apply(&entry).unwrap();
                // Two in a thousand meet within an entry of a thousand; the window is large enough for the rest.
                assert!(decisions.commits() as u64 > ENTRY_TXNS * 9 / 10);
            }
            assert!(kernel.state().outcomes_held() as u64 > 2 * ENTRY_TXNS);
        }
    }

    #[test]
    fn a_copy_of_the_state_is_what_it_was_when_it_was_begun() {
        let mut kernel = Kernel::new(Workload::ordinary(), 14);
        let apply = |kernel: &mut Kernel| {
            let entry = kernel.entry();
            kernel.apply(&entry).unwrap();
        };
        (0..150).for_each(|_| apply(&mut kernel));
        let expected = kernel.state.encode_checkpoint();
        let mut copy = kernel.state.begin_copy();
        while !copy.fill(&kernel.state) {
            // Pages are closed and opened meanwhile, and acknowledged.
            (0..120).for_each(|_| apply(&mut kernel));
        }
        let mut bytes = Vec::new();
        copy.encode_into(&mut bytes);
        assert!(bytes == expected);
        assert!(kernel.state.encode_checkpoint() != expected);
    }

    #[test]
    fn the_same_seed_draws_the_same_footprints() {
        let txn = TxnId::from_serial(Timestamp::from_millis(5), 7);
        for mode in [Mode::Prepared, Mode::Inline { value_bytes: 3 }] {
            let workload = Workload { mode, ..Workload::ordinary() };
            let (mut one, mut other) = (Generator::new(workload.clone()), Generator::new(workload));
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for _ in 0..10 {
                one.encode_next(&mut first, txn, Timestamp(3));
                other.encode_next(&mut second, txn, Timestamp(3));
            }
            assert_eq!(first, second);
            let mut again = Vec::new();
            for view in footprints_of(&first) {
                let footprint = view.unwrap().to_footprint();
                assert_eq!((footprint.txn, footprint.groups[0].snapshot_ts), (txn, Timestamp(3)));
                let written: Vec<KeyHash> = footprint.body.written().iter().map(|key| key.hash).collect();
                assert_eq!(footprint.groups[0].checked[2..], written);
                match &footprint.body {
                    CommitBody::Prepared { receipts, .. } => {
                        assert_eq!(receipts.iter().map(|receipt| receipt.digest.count).sum::<u32>(), 2);
                    }
                    CommitBody::Inline { mutations, .. } => assert_eq!(mutations.len(), 2),
                }
                encode_footprint(&mut again, &footprint);
            }
            assert_eq!(again, first, "a footprint in between changes nothing");
        }
    }
}
