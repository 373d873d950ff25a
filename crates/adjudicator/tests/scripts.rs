//! Golden scripts: commands above `---`, what can be observed below. Each file is named by the rule it shows.
//!
//! To look at what changed after a change of behaviour: `UPDATE_GOLDENFILES=1 cargo test -p assize-adjudicator`,
//! then read the diff.
//!
//! | command | effect |
//! |---|---|
//! | `cluster shards=2 …` | starts another cluster than the default one (2 shards of 3 replicas, time 1000) |
//! | `disable R1` | switches a rule off; comes first |
//! | `grant f1 nonce=1`, `fence f1 e1` | frontends; `f1` has life `e1` from the start |
//! | `txn A read=k write=k …` | puts a footprint into the next batch; arguments in order, `snapshot=` opens a group |
//! | `resend A`, `as A B` | the same footprint again; the same footprint under a new id |
//! | `batch 1010` | applies a batch with this base (milliseconds) |
//! | `early A` | asks for an early refusal |
//! | `outcome A`, `resolve A`, `explain A` | what became of it |
//!
//! Keys from `a` to `m` lie in slot 100, the others in slot 40000.

use assize_adjudicator::command::*;
use assize_adjudicator::*;
use assize_model::*;
use bytes::Bytes;
use goldenscript::{Argument, Command as Line, Context};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEED: u64 = 7;

struct Runner {
    state: Adjudicator,
    options: Options,
    explainer: Explainer,
    index: u64,
    sequence: u64,
    footprints: BTreeMap<String, Footprint>,
    queued: Vec<String>,
    names: BTreeMap<TxnId, String>,
    hashes: BTreeMap<KeyHash, String>,
}

impl Runner {
    fn new() -> Self {
        let mut runner = Runner {
            state: Adjudicator::new(Options::default()),
            options: Options::default(),
            explainer: Explainer::new(1 << 20),
            index: 0,
            sequence: 0,
            footprints: BTreeMap::new(),
            queued: Vec::new(),
            names: BTreeMap::new(),
            hashes: BTreeMap::new(),
        };
        runner.start(2, 3, |_| {});
        runner
    }

    fn start(&mut self, shards: u32, replicas: u64, change: impl FnOnce(&mut Bootstrap)) {
        self.state = Adjudicator::new(self.options);
        self.index = 0;
        let nodes: Vec<NodeId> = (1..=replicas).map(NodeId).collect();
        let placement = Placement::even_replicated(shards, &nodes);
        let mut bootstrap = Bootstrap::new(1, SEED, Timestamp::from_millis(1000), placement);
        bootstrap.window_log2 = 10;
        change(&mut bootstrap);
        self.apply(Command::Bootstrap(bootstrap));
        self.apply(Command::GrantFrontend { frontend: FrontendId(1), nonce: 1 });
    }

    /// Applies an entry, by way of its bytes.
    fn apply(&mut self, command: Command) -> Applied {
        self.index += 1;
        let bytes = Bytes::from(command.encode());
        let command = Command::decode(&bytes).expect("what was encoded can be decoded");
        let applied = self.state.apply(LogIndex(self.index), &command);
        self.explainer.observe(&command, &applied);
        applied
    }

    fn key(&mut self, name: &str) -> (Key, Slot, KeyHash) {
        let key = Key::new(name.as_bytes().to_vec());
        let hash = key.hash(SEED);
        self.hashes.insert(hash, name.to_string());
        (key, Slot(if name.as_bytes()[0] <= b'm' { 100 } else { 40_000 }), hash)
    }

    fn footprint(&mut self, line: &Line) -> Result<(String, Footprint)> {
        let mut args = line.args.iter();
        let Some(Argument::Positional(name)) = args.next() else { return Err("a name comes first".into()) };
        let mut frontend = FrontendId(1);
        let mut epoch = None;
        let mut class = DeadlineClass::Normal;
        let mut begun = self.state.begin().snapshot_ts;
        let mut snapshot = begun;
        let mut groups: Vec<AccessGroup> = Vec::new();
        let mut mutations = Vec::new();
        let mut written = Vec::new();
        let mut receipts = Vec::new();
        let mut schemas = Vec::new();
        let mut auto_increments = Vec::new();
        let mut change = CatalogChange::default();
        let mut ordered_table = None;
        let mut prepared = false;
        for arg in args {
            let Argument::KeyValue(what, value) = arg else { return Err(format!("what is {arg}?").into()) };
            if groups.is_empty() && ["read", "write", "lock", "delete", "range"].contains(&what.as_str()) {
                groups.push(AccessGroup { snapshot_ts: snapshot, ..AccessGroup::default() });
            }
            let parts: Vec<&str> = value.split('/').collect();
            match what.as_str() {
                "frontend" => frontend = FrontendId(number(value)? as u32),
                "epoch" => epoch = Some(FrontendEpoch(number(value)? as u32)),
                "begun" => begun = timestamp(value)?,
                "class" => {
                    class = match value.as_str() {
                        "bulk" => DeadlineClass::Bulk,
                        "xa" => DeadlineClass::Xa,
                        _ => DeadlineClass::Normal,
                    }
                }
                "snapshot" => {
                    snapshot = timestamp(value)?;
                    groups.push(AccessGroup { snapshot_ts: snapshot, ..AccessGroup::default() });
                }
                "ordered" => ordered_table = Some(TableId(number(value)? as u32)),
                "read" => {
                    let hash = self.key(value).2;
                    groups.last_mut().unwrap().checked.push(hash);
                }
                "range" => {
                    let range = KeyRange::new(self.key(parts[1]).0, self.key(parts[2]).0);
                    let table = TableId(number(parts[0])? as u32);
                    groups.last_mut().unwrap().ranges.push(TableRange { table, range });
                }
                "write" | "lock" | "delete" => {
                    let (key, slot, hash) = self.key(value);
                    groups.last_mut().unwrap().checked.push(hash);
                    written.push(WrittenKey { hash, ordered: ordered_table.map(|t| (t, key.clone())) });
                    mutations.push(match what.as_str() {
                        "write" => Mutation::put(key, slot, name.as_bytes().to_vec()),
                        "lock" => Mutation::lock(key, slot),
                        _ => Mutation::delete(key, slot),
                    });
                }
                "prepared" => {
                    prepared = true;
                    receipts.push(Receipt {
                        shard: ShardId(number(parts[0])? as u32),
                        epoch: Epoch(number(parts[1])?),
                        digest: WriteDigest { count: 1, sum: 1 },
                    });
                }
                "schema" => {
                    schemas
                        .push((TableId(number(parts[0])? as u32), SchemaVersion(number(parts[1])? as u32)));
                }
                "auto" => auto_increments.push((TableId(number(parts[0])? as u32), number(parts[1])?)),
                "expect" => change.expects.push((parts[0].to_string().into(), number(parts[1])?)),
                "put" => {
                    change.objects.push((parts[0].to_string().into(), Some(parts[1].to_string().into())))
                }
                "remove" => change.objects.push((value.clone().into(), None)),
                "counter" => change.counters.push((TableId(number(parts[0])? as u32), number(parts[1])?)),
                "raise" => change.fences.push(Fence {
                    table: TableId(number(parts[0])? as u32),
                    min_version: SchemaVersion(number(parts[1])? as u32),
                }),
                other => return Err(format!("what is {other}?").into()),
            }
        }
        self.sequence += 1;
        let epoch = epoch.unwrap_or(self.state.frontend_epoch(frontend));
        let txn = TxnId::new(begun, class, frontend, epoch, self.sequence);
        self.names.insert(txn, name.clone());
        let body = if prepared {
            CommitBody::Prepared { receipts, written }
        } else {
            CommitBody::Inline { mutations, written }
        };
        let catalog_change = (change != CatalogChange::default()).then_some(change);
        Ok((name.clone(), Footprint { txn, groups, schemas, auto_increments, body, catalog_change }))
    }

    fn show_reason(&self, reason: &AbortReason) -> String {
        match reason {
            AbortReason::Conflict(c) => {
                let what = match (c.key, c.range) {
                    (Some(hash), _) => format!("on {}", self.hashes[&hash]),
                    (_, Some((group, range))) => format!("in range {range} of group {group}"),
                    _ => String::new(),
                };
                let winner = c.winner.map(|w| format!(" with {} at {}", self.names[&w.txn], w.commit_ts));
                format!("conflict {what} in batch {}{}", c.batch, winner.unwrap_or_default())
            }
            AbortReason::NeedRefresh { keys, ranges } => {
                let keys: Vec<&str> = keys.iter().map(|hash| self.hashes[hash].as_str()).collect();
                format!("need refresh of keys {keys:?} ranges {ranges:?}")
            }
            AbortReason::CatalogChanged { object } => {
                format!("catalog object {} changed", String::from_utf8_lossy(object))
            }
            other => format!("{other:?}"),
        }
    }

    fn show(&self, decision: &Decision) -> String {
        match decision {
            Decision::Commit { commit_ts } => format!("commit {commit_ts}"),
            Decision::Abort { reason } => format!("abort: {}", self.show_reason(reason)),
        }
    }

    fn show_known(&self, known: &Known) -> String {
        match known {
            Known::Decided(decision) => self.show(decision),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn show_stream(&self, applied: &Applied) -> String {
        let mut out = String::new();
        for (shard, entry) in applied.stream_entries() {
            let Position { index, closed_ts } = entry.position;
            write!(out, "  {shard} {}→{index} closed {closed_ts}", entry.after).unwrap();
            if let Some(epoch) = entry.epoch {
                write!(out, " epoch {epoch}").unwrap();
            }
            if let Some(slots) = &entry.slots {
                write!(out, " slots {slots:?}").unwrap();
            }
            if let Some(low_water) = entry.low_water {
                write!(out, " low water {low_water}").unwrap();
            }
            for commit in &entry.commits {
                write!(out, " {}@{}", self.names[&commit.txn], commit.commit_ts).unwrap();
                match &commit.writes {
                    ShardWrites::Inline(mutations) => {
                        let mutations: Vec<String> = mutations
                            .iter()
                            .map(|m| match &m.op {
                                MutationOp::Put(_) => format!("put {:?}", m.key),
                                MutationOp::Delete => format!("delete {:?}", m.key),
                                MutationOp::Lock => format!("lock {:?}", m.key),
                            })
                            .collect();
                        write!(out, "[{}]", mutations.join(", ")).unwrap();
                    }
                    ShardWrites::Prepared { epoch, .. } => write!(out, "[prepared at {epoch}]").unwrap(),
                }
            }
            out.push('\n');
        }
        for (txn, decision) in applied.retired_outcomes() {
            writeln!(out, "  into history: {} {}", self.names[&txn], self.show(&decision)).unwrap();
        }
        out
    }

    fn reply(&mut self, command: Command) -> String {
        let applied = self.apply(command);
        let reply = match &applied.reply {
            Reply::Outcome(known) => self.show_known(known),
            Reply::PlacementRefused(refusal) => format!("refused: {refusal}"),
            other => format!("{other:?}"),
        };
        format!("{reply}\n{}", self.show_stream(&applied))
    }
}

/// A number, whatever letter comes before it.
fn number(text: &str) -> Result<u64> {
    Ok(text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse()?)
}

fn timestamp(text: &str) -> Result<Timestamp> {
    let (millis, counter) = text.split_once('.').unwrap_or((text, "0"));
    Ok(Timestamp::from_millis(number(millis)?).plus(number(counter)?))
}

fn rule(name: &str) -> Result<Rule> {
    use Rule::*;
    [
        R1,
        Future,
        FrontendEpoch,
        PlacementEpoch,
        Deduplication,
        FirstCommitterWins,
        Ranges,
        WindowMarks,
        LowWater,
        SchemaFence,
        RouteAtEntry,
        ClosedBound,
        EarlyOnlyUndecided,
    ]
    .into_iter()
    .find(|rule| format!("{rule:?}") == name)
    .ok_or_else(|| format!("there is no rule {name}").into())
}

impl goldenscript::Runner for Runner {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &Context) -> Result<String> {
        let mut args = line.consume_args();
        let mut pos = || args.next_pos().ok_or("an argument is missing");
        Ok(match line.name.as_str() {
            "disable" => {
                self.options.disabled_rules = self.options.disabled_rules.and(rule(pos()?)?);
                self.start(2, 3, |_| {});
                String::new()
            }
            "cluster" => {
                let mut get = |key: &str, default| args.take_key(key).map_or(Ok(default), number);
                let (shards, replicas) = (get("shards", 2)?, get("replicas", 3)?);
                let (window, outcomes, keys) =
                    (get("window", 10)?, get("outcomes", 1000)?, get("range_keys", 1000)?);
                self.start(shards as u32, replicas, |bootstrap| {
                    bootstrap.window_log2 = window as u8;
                    bootstrap.outcomes_max = outcomes;
                    bootstrap.range_keys_max = keys;
                });
                String::new()
            }
            "grant" => {
                let frontend = FrontendId(number(pos()?)? as u32);
                let nonce = number(args.take_key("nonce").unwrap_or("1"))?;
                self.reply(Command::GrantFrontend { frontend, nonce })
            }
            "fence" => {
                let frontend = FrontendId(number(pos()?)? as u32);
                let epoch = FrontendEpoch(number(pos()?)? as u32);
                self.reply(Command::FenceFrontend { frontend, epoch })
            }
            "txn" => {
                let (name, footprint) = self.footprint(line)?;
                self.footprints.insert(name.clone(), footprint);
                self.queued.push(name);
                String::new()
            }
            "resend" => {
                self.queued.push(pos()?.to_string());
                String::new()
            }
            "as" => {
                let (old, new) = (pos()?, pos()?);
                let mut footprint = self.footprints[old].clone();
                self.sequence += 1;
                let id = footprint.txn;
                footprint.txn = TxnId::new(
                    self.state.begin().snapshot_ts,
                    id.class(),
                    id.frontend(),
                    self.state.frontend_epoch(id.frontend()),
                    self.sequence,
                );
                self.names.insert(footprint.txn, new.to_string());
                self.footprints.insert(new.to_string(), footprint);
                self.queued.push(new.to_string());
                String::new()
            }
            "batch" => {
                let base_ts = timestamp(pos()?)?;
                let queued = std::mem::take(&mut self.queued);
                let batch = Batch::new(base_ts, queued.iter().map(|name| &self.footprints[name]));
                let applied = self.apply(Command::Batch(batch));
                let mut out = String::new();
                for (name, decision) in queued.iter().zip(applied.decisions.iter()) {
                    writeln!(out, "{name}: {}", self.show(&decision))?;
                }
                out + &self.show_stream(&applied)
            }
            "early" => {
                let name = pos()?;
                let encoded = EncodedFootprint::new(&self.footprints[name])?;
                match self.state.refuse_early(&encoded.view()) {
                    Some(decision) => format!("{name}: {}", self.show(&decision)),
                    None => format!("{name}: not refused"),
                }
            }
            "explain" => {
                let name = pos()?;
                let encoded = EncodedFootprint::new(&self.footprints[name])?;
                let view = encoded.view();
                let Known::Decided(mut decision) = self.state.outcome(view.txn()) else {
                    return Err("it has no decision".into());
                };
                complete(&mut decision, &view, |batch| self.explainer.batch(batch));
                format!("{name}: {}", self.show(&decision))
            }
            "outcome" => {
                let name = pos()?;
                format!("{name}: {}", self.show_known(&self.state.outcome(self.footprints[name].txn)))
            }
            "resolve" => {
                let txn = self.footprints[pos()?].txn;
                self.reply(Command::Resolve(txn))
            }
            "ack" => {
                let frontend = FrontendId(number(pos()?)? as u32);
                let epoch = FrontendEpoch(number(pos()?)? as u32);
                let below = self.footprints[args.take_key("through").ok_or("through= is missing")?].txn;
                let part = Acknowledgement { frontend, epoch, below: below.sequence() + 1 };
                self.reply(Command::AcknowledgeOutcomes { acknowledged: vec![part] })
            }
            "report" => {
                let frontend = FrontendId(number(pos()?)? as u32);
                let epoch = FrontendEpoch(number(pos()?)? as u32);
                let oldest = timestamp(args.take_key("oldest").ok_or("oldest= is missing")?)?;
                self.reply(Command::RaiseLowWater {
                    reports: vec![SnapshotReport { frontend, epoch, oldest }],
                })
            }
            "ceiling" => {
                let ceiling = timestamp(pos()?)?;
                let close = timestamp(args.take_key("close").unwrap_or("0"))?;
                self.reply(Command::RaiseCeiling { ceiling, close })
            }
            "allocate" => {
                let table = TableId(number(pos()?)? as u32);
                let mut get = |key: &str, default| args.take_key(key).map_or(Ok(default), number);
                let wanted = AllocateIds {
                    table,
                    count: get("count", 1)?,
                    at_least: get("at_least", 0)?,
                    increment: get("increment", 1)?,
                    offset: get("offset", 1)?,
                };
                self.reply(Command::AllocateIds(wanted))
            }
            "track" => {
                let table = TableId(number(pos()?)? as u32);
                self.reply(Command::TrackRanges(table))
            }
            "place" => {
                let mut change =
                    PlacementChange { expected: self.state.placement().epoch, ..Default::default() };
                while let Some((what, value)) = args.next_key() {
                    let parts: Vec<u64> = value.split('/').map(number).collect::<Result<_>>()?;
                    match what {
                        "expected" => change.expected = Epoch(parts[0]),
                        "raise" => change.raise.push(ShardId(parts[0] as u32)),
                        "slots" => change.slots.push((
                            Slot(parts[0] as u16),
                            Slot(parts[1] as u16),
                            ShardId(parts[2] as u32),
                        )),
                        "shard" => {
                            let replicas =
                                parts[1..].iter().map(|r| (ReplicaId(*r as u8), NodeId(*r))).collect();
                            change.shards.push((ShardId(parts[0] as u32), Some(replicas)));
                        }
                        other => return Err(format!("what is {other}?").into()),
                    }
                }
                self.reply(Command::ChangePlacement(change))
            }
            "register" | "uncount" | "durable" => {
                let shard = ShardId(number(pos()?)? as u32);
                let replica = ReplicaId(number(pos()?)? as u8);
                match line.name.as_str() {
                    "register" => self.reply(Command::RegisterReplica { shard, replica }),
                    "uncount" => self.reply(Command::Uncount { shard, replica }),
                    _ => {
                        let index = LogIndex(number(args.take_key("index").ok_or("index= is missing")?)?);
                        let durable = Position { index, closed_ts: Timestamp(index.0) };
                        self.reply(Command::ReportDurable {
                            reports: vec![DurableReport { shard, replica, durable }],
                        })
                    }
                }
            }
            "raise" => self.reply(Command::RaiseClusterVersion(number(pos()?)? as u32)),
            "retained" => match self.state.retained_from() {
                Some(index) => format!("entries after {index} are kept"),
                None => "nothing is kept".into(),
            },
            "begin" => {
                let begin = self.state.begin();
                format!(
                    "snapshot {} catalog {} placement {}",
                    begin.snapshot_ts, begin.catalog_version, begin.placement_epoch
                )
            }
            "catalog" => {
                let delta =
                    self.state.catalog_since(CatalogVersion(number(args.take_key("since").unwrap_or("0"))?));
                let mut out =
                    format!("to {}{}\n", delta.to, if delta.is_everything { " (everything)" } else { "" });
                for object in delta.objects {
                    let name = String::from_utf8_lossy(&object.name).into_owned();
                    let bytes =
                        object.bytes.map_or("gone".into(), |b| String::from_utf8_lossy(&b).into_owned());
                    writeln!(out, "  {name} {}: {bytes}", object.version)?;
                }
                out
            }
            "restart" => {
                let hash = self.state.state_hash();
                let checkpoint = self.state.encode_checkpoint();
                self.state = Adjudicator::decode_checkpoint(self.options, &checkpoint)?;
                assert_eq!(self.state.state_hash(), hash, "a checkpoint is exact");
                String::new()
            }
            other => return Err(format!("what is {other}?").into()),
        })
    }

    /// After every script: the state survives a checkpoint exactly.
    fn end_script(&mut self) -> Result<()> {
        let checkpoint = self.state.encode_checkpoint();
        let restored = Adjudicator::decode_checkpoint(self.options, &checkpoint)?;
        assert_eq!(restored.encode_checkpoint(), checkpoint);
        Ok(())
    }
}

#[test]
fn every_script_says_what_it_said_before() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "the scripts are not where they should be");
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "script")) {
        println!("{}", path.display());
        goldenscript::run(&mut Runner::new(), path).unwrap();
    }
}
