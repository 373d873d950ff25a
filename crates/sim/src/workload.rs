//! What clients do, and what must hold of the data whatever they do.
//!
//! Every table keeps a promise that only isolation can keep: the accounts' sum, pairs of which one is always on,
//! ranges of at most three rows, children that have a parent.

use crate::random::Random;
use crate::scenario::Mix;
use assize_catalog::{Catalog, ChangeBuilder, ObjectKey};
use assize_model::*;
use assize_ports::{LockMode, ReadIntent};
use assize_session::Isolation;
use assize_values::Value;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Accounts `a0`…, of which the sum never changes.
pub const ACCOUNTS: TableId = TableId(1);
/// Registers `r0`…, whose schema changes.
pub const REGISTERS: TableId = TableId(2);
/// Pairs `s0x`, `s0y`…, of which at least one is on.
pub const PAIRS: TableId = TableId(3);
/// Guards `g0` and what depends on them, `h0`.
pub const GUARDS: TableId = TableId(4);
/// Groups `p0/…` of at most three rows.
pub const GROUPS: TableId = TableId(5);
/// Parents `q0`….
pub const PARENTS: TableId = TableId(6);
/// Children `c0/…` of parent `q0`.
pub const CHILDREN: TableId = TableId(7);
/// Notes `z…`, written once and read by nobody until the end: rows that can be damaged without anybody acting on it.
pub const NOTES: TableId = TableId(8);
/// What every note's key begins with.
pub const NOTE: u8 = b'z';
/// Tables whose ranges are tracked.
pub const TRACKED: [TableId; 2] = [GROUPS, CHILDREN];

/// The catalog object that holds the registers' schema version.
const REGISTERS_OBJECT: &str = "registers";

const ACCOUNT_COUNT: u64 = 8;
const FIRST_BALANCE: i64 = 100;
const GROUP_MAX: usize = 3;

/// The schema version of a table: only the registers' ever changes.
pub fn schema_version(catalog: &Catalog, table: TableId) -> SchemaVersion {
    match catalog.globals.get(REGISTERS_OBJECT) {
        Some(Value::Int(version)) if table == REGISTERS => SchemaVersion(*version as u32),
        _ => SchemaVersion(1),
    }
}

/// What changes the registers' schema. Refused if somebody has changed it since the catalog's version.
pub fn schema_change(catalog: &Catalog) -> CatalogChange {
    let next = SchemaVersion(schema_version(catalog, REGISTERS).0 + 1);
    let mut change = ChangeBuilder::new(catalog);
    change.put_global(REGISTERS_OBJECT, Some(&Value::Int(next.0 as i64)));
    let mut change = change.finish();
    let object = ObjectKey::Global(REGISTERS_OBJECT.into()).encode();
    let known = catalog.object_versions.get(&object).copied().unwrap_or(0);
    change.expects.push((object, known));
    change.fences.push(Fence { table: REGISTERS, min_version: next });
    change
}

/// The table of a key.
pub fn table_of(key: &Key) -> TableId {
    match key.0.first() {
        Some(b'a') => ACCOUNTS,
        Some(b'r') => REGISTERS,
        Some(b's') => PAIRS,
        Some(b'g' | b'h') => GUARDS,
        Some(b'p') => GROUPS,
        Some(b'q') => PARENTS,
        Some(&NOTE) => NOTES,
        _ => CHILDREN,
    }
}

/// Where a key lies.
pub fn slot_of(key: &Key) -> Slot {
    Slot::of(&key.0)
}

fn key(text: String) -> Key {
    Key::new(text.into_bytes())
}

/// One thing that a statement reads.
#[derive(Clone, Debug)]
pub enum What {
    /// A key.
    Key(Key),
    /// A range.
    Range(KeyRange),
}

/// How it reads that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It may change; unless the whole transaction is serializable.
    Plain,
    /// It must not have changed by the commit.
    Check,
    /// FOR SHARE.
    Share,
    /// FOR UPDATE.
    Lock,
}

impl How {
    /// As a session is told.
    pub fn intent(self) -> ReadIntent {
        match self {
            How::Plain => ReadIntent::Plain,
            How::Check => ReadIntent::Check,
            How::Share => ReadIntent::Share(LockMode::Wait),
            How::Lock => ReadIntent::Update(LockMode::Wait),
        }
    }

    /// Whether it reserves.
    pub fn reserves(self) -> bool {
        matches!(self, How::Share | How::Lock)
    }
}

/// A read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Of what.
    pub what: What,
    /// How.
    pub how: How,
}

impl Read {
    fn key(text: String, how: How) -> Self {
        Read { what: What::Key(key(text)), how }
    }

    fn prefix(text: String, how: How) -> Self {
        Read { what: What::Range(KeyRange::prefix(text.as_bytes())), how }
    }

    /// The table that it reads.
    pub fn table(&self) -> TableId {
        match &self.what {
            What::Key(key) => table_of(key),
            What::Range(range) => table_of(&range.start),
        }
    }
}

/// A transaction before it runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its kind.
    pub kind: Kind,
    /// Its statements, each of which reads at one snapshot. All but the last write nothing, except at READ COMMITTED.
    pub statements: Vec<Vec<Read>>,
}

/// What a transaction does.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are named after what they do")]
pub enum Kind {
    Transfer {
        from: u64,
        to: u64,
        amount: i64,
    },
    Audit,
    Register {
        n: u64,
    },
    SwitchOff {
        pair: u64,
        side: &'static str,
    },
    SwitchOn {
        pair: u64,
        side: &'static str,
    },
    Lock {
        n: u64,
    },
    Insert {
        group: u64,
        id: u64,
    },
    Remove {
        group: u64,
    },
    /// `touches`: whether a second statement, with a snapshot of its own, writes the parent.
    InsertChild {
        parent: u64,
        id: u64,
        touches: bool,
    },
    InsertParent {
        parent: u64,
    },
    DeleteParent {
        parent: u64,
    },
    DeleteChildren {
        parent: u64,
    },
    ChangeSchema,
    TwoStatements {
        first: u64,
        second: u64,
    },
    Note,
    /// Reads an account and reserves another one, serializable.
    LockedAudit {
        first: u64,
        second: u64,
    },
    /// `earlier`: whether it has seen the first account before it reserves both.
    LockedTransfer {
        from: u64,
        to: u64,
        amount: i64,
        earlier: Earlier,
    },
}

/// What a transaction has done with a row before it reserves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Earlier {
    /// Nothing: it has read another one.
    Nothing,
    /// It has reserved it for share.
    Shared,
    /// It has read it, serializable.
    Serializable,
}

impl Kind {
    /// A name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Transfer { .. } => "transfer",
            Kind::Audit => "audit",
            Kind::Register { .. } => "register",
            Kind::SwitchOff { .. } => "switch off",
            Kind::SwitchOn { .. } => "switch on",
            Kind::Lock { .. } => "lock",
            Kind::Insert { .. } => "insert into group",
            Kind::Remove { .. } => "remove from group",
            Kind::InsertChild { .. } => "insert child",
            Kind::InsertParent { .. } => "insert parent",
            Kind::DeleteParent { .. } => "delete parent",
            Kind::DeleteChildren { .. } => "delete children",
            Kind::ChangeSchema => "change schema",
            Kind::TwoStatements { .. } => "two statements",
            Kind::Note => "note",
            Kind::LockedTransfer { .. } => "locked transfer",
            Kind::LockedAudit { .. } => "locked audit",
        }
    }
}

impl Plan {
    /// Draws a transaction; `id` is different for each.
    pub fn draw(random: &mut Random, mix: &Mix, id: u64) -> Plan {
        let weights = [
            mix.transfer,
            mix.audit,
            mix.register,
            mix.skew,
            mix.lock,
            mix.phantom,
            mix.foreign_key,
            mix.schema_change,
            mix.read_committed,
            mix.note,
            mix.locked_transfer,
        ];
        let mut at = random.below(weights.iter().sum());
        let drawn = weights.iter().position(|weight| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let two = random.below(2);
        let side = *random.pick(&["x", "y"]);
        let kind = match drawn.expect("a number below the sum falls somewhere") {
            0 => {
                let from = random.below(ACCOUNT_COUNT);
                let to = (from + 1 + random.below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
                Kind::Transfer { from, to, amount: random.between(1, 20) as i64 }
            }
            1 => Kind::Audit,
            2 => Kind::Register { n: random.below(4) },
            3 if random.chance(600) => Kind::SwitchOff { pair: two, side },
            3 => Kind::SwitchOn { pair: two, side },
            4 => Kind::Lock { n: two },
            5 if random.chance(700) => Kind::Insert { group: two, id },
            5 => Kind::Remove { group: two },
            6 => match random.below(4) {
                0 => Kind::InsertParent { parent: two },
                1 => Kind::DeleteParent { parent: two },
                2 => Kind::DeleteChildren { parent: two },
                _ => Kind::InsertChild { parent: two, id, touches: random.chance(300) },
            },
            7 => Kind::ChangeSchema,
            9 => Kind::Note,
            10 => {
                let from = random.below(ACCOUNT_COUNT);
                let to = (from + 1 + random.below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
                if random.chance(200) {
                    return Plan::of_kind(Kind::LockedAudit { first: from, second: to }, random);
                }
                let earlier = *random.pick(&[Earlier::Nothing, Earlier::Shared, Earlier::Serializable]);
                Kind::LockedTransfer { from, to, amount: random.between(1, 20) as i64, earlier }
            }
            _ => {
                let first = random.below(ACCOUNT_COUNT);
                Kind::TwoStatements {
                    first,
                    second: (first + 1 + random.below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT,
                }
            }
        };
        Plan::of_kind(kind, random)
    }

    fn of_kind(kind: Kind, random: &mut Random) -> Plan {
        let (plain, check) = (How::Plain, How::Check);
        let account = |n: &u64, how| Read::key(format!("a{n}"), how);
        let statements = match &kind {
            Kind::Transfer { from, to, .. } => vec![vec![account(from, plain), account(to, plain)]],
            Kind::Audit => vec![vec![Read::prefix("a".into(), plain)]; 2],
            Kind::Register { n } => vec![vec![Read::key(format!("r{n}"), plain)]],
            Kind::SwitchOff { pair, .. } | Kind::SwitchOn { pair, .. } => {
                vec![vec![Read::key(format!("s{pair}x"), plain), Read::key(format!("s{pair}y"), plain)]]
            }
            Kind::Lock { n } => {
                let (guard, dependent) =
                    (Read::key(format!("g{n}"), How::Lock), Read::key(format!("h{n}"), plain));
                if random.chance(500) {
                    vec![vec![guard], vec![dependent]]
                } else {
                    vec![vec![dependent], vec![guard]]
                }
            }
            Kind::Insert { group, .. } => vec![vec![Read::prefix(format!("p{group}/"), plain)]],
            Kind::Remove { group } => {
                let how = *random.pick(&[check, How::Share, How::Lock]);
                vec![vec![Read::prefix(format!("p{group}/"), how)]]
            }
            Kind::InsertChild { parent, touches, .. } => {
                let how = *random.pick(&[check, How::Share]);
                let mut statements = vec![vec![Read::key(format!("q{parent}"), how)]];
                statements.extend(touches.then(Vec::new));
                statements
            }
            Kind::InsertParent { parent } => vec![vec![Read::key(format!("q{parent}"), plain)]],
            Kind::DeleteParent { parent } => {
                vec![vec![Read::key(format!("q{parent}"), plain), Read::prefix(format!("c{parent}/"), check)]]
            }
            Kind::DeleteChildren { parent } => vec![vec![Read::prefix(format!("c{parent}/"), plain)]],
            Kind::ChangeSchema | Kind::Note => vec![vec![]],
            Kind::TwoStatements { first, second } => {
                vec![vec![account(first, plain)], vec![account(second, plain)]]
            }
            Kind::LockedAudit { first, second } => {
                let how = *random.pick(&[How::Share, How::Lock]);
                vec![vec![account(first, plain)], vec![account(second, how)]]
            }
            Kind::LockedTransfer { from, to, earlier, .. } => {
                let first = match earlier {
                    Earlier::Nothing => Read::key(format!("r{}", from % 4), plain),
                    Earlier::Shared => account(from, How::Share),
                    Earlier::Serializable => account(from, plain),
                };
                let reserved = vec![account(from, How::Lock), account(to, How::Lock)];
                vec![vec![first], reserved, vec![account(from, plain), account(to, plain)]]
            }
        };
        Plan { kind, statements }
    }

    /// What its commit checks besides what it writes.
    pub fn isolation(&self) -> Isolation {
        match self.kind {
            Kind::TwoStatements { .. } | Kind::InsertChild { touches: true, .. } => Isolation::ReadCommitted,
            Kind::SwitchOff { .. } | Kind::SwitchOn { .. } | Kind::Insert { .. } => Isolation::Serializable,
            Kind::LockedTransfer { earlier: Earlier::Serializable, .. } | Kind::LockedAudit { .. } => {
                Isolation::Serializable
            }
            _ => Isolation::RepeatableRead,
        }
    }

    /// Whether it plans with the registers' schema.
    pub fn uses_registers(&self) -> bool {
        matches!(self.kind, Kind::Register { .. } | Kind::ChangeSchema)
    }

    /// What it writes, each with the statement that does. `rows` are by statement: what a statement writes depends on what it
    /// and those before it have read. A lock is what reserving a key comes to at the commit.
    pub fn writes(&self, id: u64, rows: &[BTreeMap<Key, Bytes>]) -> Vec<(usize, Mutation)> {
        let put = |statement: usize, text: String, value: String| {
            let key = key(text);
            let slot = slot_of(&key);
            (statement, Mutation::put(key, slot, value.into_bytes()))
        };
        let last = self.statements.len() - 1;
        let delete = |key: &Key| (0, Mutation::delete(key.clone(), slot_of(key)));
        let balance_at = |statement: usize, n: &u64| balance(rows[statement].get(&key(format!("a{n}"))));
        match &self.kind {
            Kind::Transfer { from, to, amount } => vec![
                put(0, format!("a{from}"), format!("{} {id}", balance_at(0, from) - amount)),
                put(0, format!("a{to}"), format!("{} {id}", balance_at(0, to) + amount)),
            ],
            Kind::TwoStatements { first, second } => vec![
                put(0, format!("a{first}"), format!("{} {id}", balance_at(0, first) - 1)),
                put(1, format!("a{second}"), format!("{} {id}", balance_at(1, second) + 1)),
            ],
            Kind::LockedTransfer { from, to, amount, .. } => vec![
                put(last, format!("a{from}"), format!("{} {id}", balance_at(last, from) - amount)),
                put(last, format!("a{to}"), format!("{} {id}", balance_at(last, to) + amount)),
            ],
            Kind::Audit => vec![],
            // Whatever was reserved for update leaves a mark, if it comes to a commit.
            Kind::LockedAudit { second, .. } => {
                let reserved = key(format!("a{second}"));
                let slot = slot_of(&reserved);
                let is_exclusive = self.statements[last].iter().any(|read| read.how == How::Lock);
                is_exclusive.then(|| (last, Mutation::lock(reserved, slot))).into_iter().collect()
            }
            Kind::Register { n } => vec![put(0, format!("r{n}"), format!("{id}"))],
            Kind::SwitchOff { pair, side } => {
                let are_on = ["x", "y"].iter().all(|s| is_on(rows[0].get(&key(format!("s{pair}{s}")))));
                if are_on { vec![put(0, format!("s{pair}{side}"), format!("off {id}"))] } else { vec![] }
            }
            Kind::SwitchOn { pair, side } => vec![put(0, format!("s{pair}{side}"), format!("on {id}"))],
            Kind::Lock { n } => {
                let guard = key(format!("g{n}"));
                let slot = slot_of(&guard);
                if id.is_multiple_of(4) {
                    return vec![put(last, format!("g{n}"), format!("{id}"))];
                }
                vec![(last, Mutation::lock(guard, slot)), put(last, format!("h{n}"), format!("{id}"))]
            }
            Kind::Insert { group, id } => {
                if rows[0].len() >= GROUP_MAX {
                    return vec![];
                }
                vec![put(0, format!("p{group}/{id}"), format!("{id}"))]
            }
            Kind::Remove { .. } => rows[0].keys().take(2).map(delete).collect(),
            Kind::InsertChild { .. } if rows[0].is_empty() => vec![],
            Kind::InsertChild { parent, id, touches } => {
                let mut writes = vec![put(0, format!("c{parent}/{id}"), format!("{id}"))];
                writes.extend(touches.then(|| put(1, format!("q{parent}"), format!("{id}"))));
                writes
            }
            Kind::InsertParent { parent } => vec![put(0, format!("q{parent}"), format!("{id}"))],
            Kind::DeleteParent { parent } => {
                let parent = key(format!("q{parent}"));
                let has_children = rows[0].keys().any(|key| *key != parent);
                if has_children || !rows[0].contains_key(&parent) { vec![] } else { vec![delete(&parent)] }
            }
            Kind::DeleteChildren { .. } => rows[0].keys().map(delete).collect(),
            Kind::Note => (0..2).map(|n| put(0, format!("z{id}/{n}"), format!("{id}"))).collect(),
            // A schema change touches no rows of ours, but somebody must carry the commit: a marker.
            Kind::ChangeSchema => vec![put(0, "r9".into(), format!("{id}"))],
        }
    }
}

fn balance(value: Option<&Bytes>) -> i64 {
    let text = value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(FIRST_BALANCE)
}

fn is_on(value: Option<&Bytes>) -> bool {
    value.is_none_or(|bytes| bytes.starts_with(b"on"))
}

/// What must hold of the data after every commit; the first thing that does not.
pub fn broken_promise(data: &BTreeMap<Key, Bytes>) -> Option<String> {
    let sum: i64 = (0..ACCOUNT_COUNT).map(|n| balance(data.get(&key(format!("a{n}"))))).sum();
    if sum != FIRST_BALANCE * ACCOUNT_COUNT as i64 {
        return Some(format!("the accounts' sum is {sum}"));
    }
    for n in 0..2 {
        if ["x", "y"].iter().all(|side| !is_on(data.get(&key(format!("s{n}{side}"))))) {
            return Some(format!("both sides of pair {n} are off"));
        }
        let group = KeyRange::prefix(format!("p{n}/").as_bytes());
        let count = data.range(group.start..group.end).count();
        if count > GROUP_MAX {
            return Some(format!("group {n} has {count} rows"));
        }
        let children = KeyRange::prefix(format!("c{n}/").as_bytes());
        if data.range(children.start..children.end).next().is_some()
            && !data.contains_key(&key(format!("q{n}")))
        {
            return Some(format!("parent {n} is gone, its children are not"));
        }
    }
    None
}
