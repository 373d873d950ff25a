//! A small cluster's evidence, made by hand: good, so that tests can spoil it.

use super::{Case, NodeEvidence};
use crate::chaos::history::Fate;
use crate::chaos::testimony::{Act, Change, Scope, Testimony, Told};
use crate::chaos::workload::Level;
use assize_adjudicator::{Batch, Bootstrap, Command};
use assize_catalog::{
    Catalog, ChangeBuilder, Column, Database, Index, IndexPart, IndexState, Table, bootstrap, key, row,
};
use assize_consensus::evidence::{Content, EntryId, Evidence, Image, Logged, Replay};
use assize_model::*;
use assize_mvcc::{Ownership, Remains, Slots, StoredVersion};
use assize_shards::embedded::ReplicaRemains;
use assize_values::{Collation, SqlType, Value};
use std::collections::{BTreeMap, BTreeSet};

pub const SEED: u64 = 5;
const SCHEMA: &str = "s";
const NAME: &str = "t";
const FRONTEND: FrontendId = FrontendId(1);

/// `s.t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)`.
pub fn table() -> Table {
    let column = |id, name| Column::plain(id, name, SqlType::BIGINT, false);
    Table {
        id: TableId(70),
        version: SchemaVersion(1),
        database: SCHEMA.into(),
        name: NAME.into(),
        columns: vec![column(0, "id"), column(1, "n")],
        next_column_id: 2,
        indexes: vec![Index {
            id: IndexId(0),
            name: "PRIMARY".into(),
            parts: vec![IndexPart { column: 0, prefix: None, descending: false }],
            unique: true,
            state: IndexState::Public,
            comment: "".into(),
            invisible: false,
        }],
        next_index_id: 1,
        hidden_row_id: false,
        sharding_column: Some(0),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        collation: Collation::UTF8MB4_0900_AI_CI,
        comment: "".into(),
        created_micros: 0,
        options: Vec::new(),
        view: None,
        foreign: None,
    }
}

pub fn row_key(id: u64) -> Key {
    table().row_key_of(&[Value::Int(id as i64)])
}

fn put(id: u64, n: u64) -> Mutation {
    let values = [Value::Int(id as i64), Value::Int(n as i64)];
    let slot = key::slot_of_value(&values[0], &SqlType::BIGINT);
    Mutation::put(row_key(id), slot, row::encode(&table(), &values))
}

/// Who runs transactions, one after the other, on a table with the rows 1 to 4, which are 0.
pub struct Cluster {
    replay: Replay,
    entries: Vec<Logged>,
    images: Vec<Image>,
    versions: BTreeMap<(Key, std::cmp::Reverse<Timestamp>), Mutation>,
    testimonies: Vec<Testimony>,
    born: Timestamp,
    sequence: u64,
    moment: u64,
}

impl Cluster {
    pub fn new() -> Self {
        let mut cluster = Cluster {
            replay: Replay::default(),
            entries: Vec::new(),
            images: Vec::new(),
            versions: BTreeMap::new(),
            testimonies: Vec::new(),
            born: Timestamp::ZERO,
            sequence: 0,
            moment: 0,
        };
        cluster.log(Content::Voters(BTreeSet::from([1, 2, 3].map(NodeId))));
        cluster.log(Content::Blank);
        let placement = Placement::even_replicated(2, &[1, 2, 3].map(NodeId));
        let now = Timestamp::from_millis(1_790_000_000_000);
        let mut first = Bootstrap::new(7, SEED, now, placement);
        first.window_log2 = 10;
        cluster.command(&Command::Bootstrap(first));
        cluster.command(&Command::GrantFrontend { frontend: FRONTEND, nonce: 1 });
        let nothing = Catalog::default();
        let mut builder = ChangeBuilder::new(&nothing);
        let (id, collation) = (DatabaseId(50), Collation::UTF8MB4_0900_AI_CI);
        let database = Database { id, name: SCHEMA.into(), collation, tables: BTreeMap::new() };
        builder.put_database(&database).put_table(&table());
        for change in [bootstrap(), builder.finish()] {
            let mut footprint = cluster.footprint(cluster.now(), &[], Vec::new());
            footprint.catalog_change = Some(change);
            assert!(cluster.commit(footprint).1.is_commit());
        }
        for id in 1..=4 {
            let footprint = cluster.footprint(cluster.now(), &[], vec![put(id, 0)]);
            assert!(cluster.commit(footprint).1.is_commit());
        }
        cluster.born = cluster.now();
        cluster
    }

    /// The newest snapshot.
    pub fn now(&self) -> Timestamp {
        self.replay.core().begin().snapshot_ts
    }

    fn log(&mut self, content: Content) -> u64 {
        let index = self.entries.len() as u64;
        self.entries.push(Logged { id: EntryId { term: 1, index, leader: NodeId(1) }, content });
        index
    }

    fn command(&mut self, command: &Command) -> assize_adjudicator::Applied {
        let index = self.log(Content::Command(command.encode().into()));
        self.replay.apply(index, command)
    }

    fn footprint(&mut self, snapshot_ts: Timestamp, reads: &[u64], mutations: Vec<Mutation>) -> Footprint {
        self.sequence += 1;
        let (class, epoch) = (DeadlineClass::Normal, FrontendEpoch(1));
        let txn = TxnId::new(self.now(), class, FRONTEND, epoch, self.sequence);
        let hash = |key: &Key| key.hash(SEED);
        let mut checked: Vec<KeyHash> = mutations.iter().map(|mutation| hash(&mutation.key)).collect();
        let written = checked.iter().map(|hash| WrittenKey { hash: *hash, ordered: None }).collect();
        checked.extend(reads.iter().map(|id| hash(&row_key(*id))));
        Footprint {
            txn,
            groups: vec![AccessGroup { snapshot_ts, checked, ranges: Vec::new() }],
            schemas: Vec::new(),
            auto_increments: Vec::new(),
            body: CommitBody::Inline { mutations, written },
            catalog_change: None,
        }
    }

    fn commit(&mut self, footprint: Footprint) -> (TxnId, Decision) {
        let txn = footprint.txn;
        let mutations = match &footprint.body {
            CommitBody::Inline { mutations, .. } => mutations.clone(),
            CommitBody::Prepared { .. } => Vec::new(),
        };
        let base = self.now().later(std::time::Duration::from_millis(1));
        let applied = self.command(&Command::Batch(Batch::new(base, [&footprint])));
        let decision = applied.decisions.get(0);
        if let Decision::Commit { commit_ts } = decision {
            self.hold(mutations, commit_ts);
        }
        (txn, decision)
    }

    fn hold(&mut self, mutations: Vec<Mutation>, commit_ts: Timestamp) {
        for mutation in mutations {
            self.versions.insert((mutation.key.clone(), std::cmp::Reverse(commit_ts)), mutation);
        }
    }

    /// A transaction that reads rows and sets others, at a snapshot.
    pub fn transact(&mut self, at: Timestamp, reads: &[(u64, u64)], writes: &[(u64, u64)]) -> Testimony {
        let testimony = self.testimony(reads, writes);
        let mutations: Vec<Mutation> = writes.iter().map(|(id, n)| put(*id, *n)).collect();
        if mutations.is_empty() {
            return self.end(
                testimony,
                Fate::Committed,
                Told { txn: None, snapshot_ts: at, commit_ts: None },
            );
        }
        let footprint = self.footprint(at, &[], mutations);
        let (txn, decision) = self.commit(footprint);
        let (fate, commit_ts) = match decision {
            Decision::Commit { commit_ts } => (Fate::Committed, Some(commit_ts)),
            Decision::Abort { .. } => (Fate::Aborted, None),
        };
        self.end(testimony, fate, Told { txn: Some(txn), snapshot_ts: at, commit_ts })
    }

    /// A transaction that sets rows, prepared on their shards.
    pub fn prepare(&mut self, writes: &[(u64, u64)]) {
        let (at, testimony) = (self.now(), self.testimony(&[], writes));
        let mutations: Vec<Mutation> = writes.iter().map(|(id, n)| put(*id, *n)).collect();
        let placement = self.replay.core().placement().clone();
        let receipt = |shard: &ShardId| {
            let digest = WriteDigest::of(mutations.iter().filter(|m| placement.shard_of(m.slot) == *shard));
            Receipt { shard: *shard, epoch: Epoch(1), digest }
        };
        let receipts = placement.shards.keys().map(receipt).filter(|receipt| receipt.digest.count > 0);
        let receipts: Vec<Receipt> = receipts.collect();
        let mut footprint = self.footprint(at, &[], mutations.clone());
        let written = footprint.body.written().to_vec();
        footprint.body = CommitBody::Prepared { receipts, written };
        let (txn, decision) = self.commit(footprint);
        let Decision::Commit { commit_ts } = decision else { panic!("{decision:?}") };
        self.hold(mutations, commit_ts);
        let told = Told { txn: Some(txn), snapshot_ts: at, commit_ts: Some(commit_ts) };
        self.end(testimony, Fate::Committed, told);
    }

    /// All slots go to the first shard.
    pub fn merge(&mut self) {
        let placement = self.replay.core().placement();
        let first = *placement.shards.keys().next().expect("there are shards");
        let slots = vec![(Slot(0), Slot(u16::MAX), first)];
        let change = PlacementChange { expected: placement.epoch, slots, ..PlacementChange::default() };
        self.command(&Command::ChangePlacement(change));
        assert_eq!(self.replay.core().placement().ranges.len(), 1);
    }

    fn testimony(&mut self, reads: &[(u64, u64)], writes: &[(u64, u64)]) -> Testimony {
        let read = |(id, n): &(u64, u64)| Act::Read {
            table: NAME,
            scope: Scope::One(*id),
            rows: format!("{id}|{n}|\n"),
        };
        let write = |(id, n): &(u64, u64)| Act::Write { table: NAME, id: *id, change: Change::Set("n", *n) };
        self.moment += 1;
        Testimony {
            schema: SCHEMA.into(),
            level: Level::RepeatableRead,
            invoked: self.moment,
            completed: 0,
            fate: Fate::Unknown,
            told: None,
            acts: reads.iter().map(read).chain(writes.iter().map(write)).collect(),
        }
    }

    fn end(&mut self, mut testimony: Testimony, fate: Fate, told: Told) -> Testimony {
        self.moment += 1;
        (testimony.completed, testimony.fate, testimony.told) = (self.moment, fate, Some(told));
        self.testimonies.push(testimony.clone());
        testimony
    }

    /// A node writes a checkpoint.
    pub fn checkpoint(&mut self) {
        let (name, state) = (format!("base-{}.ckpt", self.entries.len()), self.replay.image());
        self.images.push(Image { name, last: self.entries.last().map(|entry| entry.id), state });
    }

    /// What three nodes have that know everything.
    pub fn into_case(self) -> Case {
        let placement = self.replay.core().placement().clone();
        let last = self.entries.last().map(|entry| entry.id);
        let log = Evidence { entries: self.entries, committed: last, images: self.images };
        let replica = |shard: &ShardId| {
            let slots = placement.slots_of(*shard);
            let stored = self.versions.iter().filter(|(_, m)| placement.shard_of(m.slot) == *shard);
            let stored = stored
                .map(|((_, commit_ts), m)| StoredVersion { commit_ts: commit_ts.0, mutation: m.clone() });
            let contents = Remains {
                position: self.replay.core().position(),
                epoch: Epoch(1),
                low_water: Timestamp::ZERO,
                ownership: Ownership::new(Slots::new(slots)),
                versions: stored.collect(),
                decided: BTreeMap::new(),
            };
            ReplicaRemains { shard: *shard, replica: ReplicaId(1), contents: Some(contents) }
        };
        let replicas: Vec<_> = placement.shards.keys().map(replica).collect();
        let node = |node| NodeEvidence { node, log: log.clone(), replicas: replicas.clone() };
        Case {
            nodes: vec![node(1), node(2), node(3)],
            testimonies: self.testimonies,
            tables: vec![(SCHEMA.to_owned(), NAME.to_owned())],
            born: self.born,
        }
    }
}
