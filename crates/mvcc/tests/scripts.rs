//! Runs the golden scripts of `tests/scripts`. `UPDATE_GOLDENFILES=1` rewrites them; read the diff.

use assize_model::{
    DeadlineClass, Epoch, FrontendEpoch, FrontendId, Key, KeyRange, LogIndex, Mutation, Position,
    ShardCommit, ShardWrites, Slot, StreamEntry, Timestamp, TxnId, Vote, WriteDigest,
};
use assize_mvcc::{
    Applied, Damage, Direction, Family, Gain, GiverWrites, Intent, MemoryEngine, MvccStore, Options, Prepare,
    Reader, Rule, Slots, Staged, Step,
};
use goldenscript::{ArgumentConsumer, Command, Context};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let mut runner = Runner::default();
        goldenscript::run(&mut runner, &script).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One store, its stream's last index, and the words of the scripts:
///
/// ```text
///   open [without=RULE] [slots=A..B] [epoch=N]      a fresh store
///   prepare TXN k=v k=gone k=lock [epoch=N] [in=SECONDS]  put, delete, lock; the deadline is 10 s after TXN's begin
///   apply N TS [TXN@COMMIT_TS] [k=v...]            one entry; with writes inline, without a prepared one
/// ```
///
/// Timestamps are written in milliseconds; `TXN` numbers are sequences of transactions that begin at 0 ms.
#[derive(Default)]
struct Runner {
    store: Option<MvccStore<MemoryEngine>>,
    /// Another shard's store; `swap` changes places with it.
    other: Option<MvccStore<MemoryEngine>>,
    options: Options,
}

fn txn(text: &str) -> Result<TxnId> {
    let sequence: u64 = text.strip_prefix('t').ok_or("a transaction is tN")?.parse()?;
    let begun = Timestamp::ZERO;
    Ok(TxnId::new(begun, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), sequence))
}

fn ts(text: &str) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(text.parse()?))
}

fn millis(ts: Timestamp) -> u64 {
    ts.millis()
}

/// `k=v` puts, `k=gone` deletes, `k=lock` locks. The slot of a key is its first byte.
fn mutations(args: &mut ArgumentConsumer<'_>) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    while let Some((key, value)) = args.next_key() {
        let slot = Slot(u16::from(key.bytes().next().unwrap_or(0)));
        let key = Key::new(key.as_bytes().to_vec());
        mutations.push(match value {
            "gone" => Mutation::delete(key, slot),
            "lock" => Mutation::lock(key, slot),
            value => Mutation::put(key, slot, value.as_bytes().to_vec()),
        });
    }
    mutations
}

fn slots(text: &str) -> Result<Vec<(Slot, Slot)>> {
    let (first, last) = text.split_once("..").ok_or("slots are A..B")?;
    let slot = |text: &str| text.bytes().next().map(|b| Slot(u16::from(b))).ok_or("a slot is a letter");
    Ok(vec![(slot(first)?, slot(last)?)])
}

fn rule(text: &str) -> Result<Rule> {
    Ok(match text {
        "R2" => Rule::R2,
        "epoch-check" => Rule::EpochCheck,
        "lazy-intent-deletion" => Rule::LazyIntentDeletion,
        "closed-timestamp" => Rule::ClosedTimestamp,
        "low-water" => Rule::LowWater,
        "leftovers-before-gain" => Rule::LeftoversBeforeGain,
        "staged-up-to-the-entry" => Rule::StagedUpToTheEntry,
        "staged-is-kept" => Rule::StagedIsKept,
        "staging-follows-first" => Rule::StagingFollowsFirst,
        other => return Err(format!("no rule {other}").into()),
    })
}

fn letter(slot: Slot) -> char {
    char::from(slot.0 as u8)
}

impl Runner {
    /// Takes slots in from the other store, a version at a time.
    fn take_in(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let wanted = Slots::new(slots(args.next_pos().ok_or("slots")?)?);
        let at = LogIndex(args.take_key("at").ok_or("at=N")?.parse()?);
        let after = LogIndex(args.take_key("after").ok_or("after=N")?.parse()?);
        let stops = args.next_pos() == Some("half");
        let gain = Gain { at, after, slots: wanted };
        let other = self.other.take().ok_or("no other store")?;
        let given = other.can_give(&gain);
        if given != gain.slots {
            self.other = Some(other);
            return Ok("the other cannot give them".to_owned());
        }
        let store = self.store();
        let mut rest = store.drop_leftovers(&gain, None, Step::of(1))?;
        while let Some(from) = rest {
            rest = store.drop_leftovers(&gain, Some(&from), Step::of(1))?;
        }
        let mut rest = store.take_in(&other, &given, None, Step::of(1))?;
        while let (Some(from), false) = (&rest, stops) {
            rest = store.take_in(&other, &given, Some(from), Step::of(1))?;
        }
        if !stops {
            store.complete_gain(&gain, other.low_water())?;
        }
        self.other = Some(other);
        Ok(String::new())
    }

    fn store(&mut self) -> &mut MvccStore<MemoryEngine> {
        let options = self.options.clone();
        self.store.get_or_insert_with(|| MvccStore::open(MemoryEngine::new(), options).unwrap())
    }

    /// The reader for reads that were routed by `epoch=N`, or by nobody knows which.
    fn reader(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Reader<MemoryEngine>> {
        let epoch = args.take_key("epoch").map(|e| e.parse().map(Epoch)).transpose()?;
        let reader = self.store().reader();
        Ok(epoch.map_or(reader.clone(), |epoch| reader.routed_by(epoch)))
    }

    fn entry(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<StreamEntry> {
        let index = LogIndex(args.next_pos().ok_or("index")?.trim_start_matches('#').parse()?);
        let closed_ts = ts(args.next_pos().ok_or("closed timestamp")?)?;
        let store = self.store();
        let after = match args.take_key("after") {
            Some(after) => LogIndex(after.trim_start_matches('#').parse()?),
            None => LogIndex(index.0 - 1),
        };
        let epoch = args.take_key("epoch").map(|e| e.parse().map(Epoch)).transpose()?;
        let held = args.take_key("slots").map(slots).transpose()?;
        let low_water = args.take_key("low-water").map(ts).transpose()?;
        let prepared_epoch = Epoch(args.take_key("prepared-at").unwrap_or("1").parse()?);
        let digest_of = args.take_key("digest-of").map(str::to_owned);
        let mut commits = Vec::new();
        if let Some(commit) = args.next_pos() {
            let (id, commit_ts) = commit.split_once('@').ok_or("a commit is tN@TS")?;
            let id = txn(id)?;
            let mutations = mutations(args);
            let is_prepared = args.next_pos() == Some("prepared");
            let writes = if is_prepared {
                let digest = match digest_of {
                    Some(other) => {
                        let (key, value) = other.split_once('@').ok_or("digest-of=k@v")?;
                        let slot = Slot(u16::from(key.bytes().next().unwrap_or(0)));
                        let key = Key::new(key.as_bytes().to_vec());
                        WriteDigest::of(&[Mutation::put(key, slot, value.as_bytes().to_vec())])
                    }
                    None => match store.intent(id)? {
                        Some(intent) => WriteDigest::of(&intent.mutations),
                        None => WriteDigest::of(&mutations),
                    },
                };
                ShardWrites::Prepared { epoch: prepared_epoch, digest }
            } else {
                ShardWrites::Inline(mutations)
            };
            commits.push(ShardCommit { txn: id, commit_ts: ts(commit_ts)?, writes });
        }
        let position = Position { index, closed_ts };
        Ok(StreamEntry { after, position, commits, epoch, slots: held, low_water })
    }

    fn apply(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let entry = self.entry(args)?;
        Ok(match self.store().apply(&entry)? {
            Applied::Done(position) => {
                format!("applied {:?}, closed {}", position.index, millis(position.closed_ts))
            }
            Applied::Already(position) => format!("already at {:?}", position.index),
            Applied::Gap { position } => format!("gap: resume after {:?}", position.index),
            Applied::NeedSlots(gain) => {
                let run = |(first, last): &(Slot, Slot)| format!("{}..{}", letter(*first), letter(*last));
                let runs: Vec<String> = gain.slots.runs().iter().map(run).collect();
                format!("must take in {}, as of {:?}", runs.join(" "), gain.after)
            }
            Applied::NeedFetch(missing) => {
                let mut out = "must fetch".to_owned();
                for intent in missing {
                    write!(out, " t{} ({} writes)", intent.txn.sequence(), intent.digest.count)?;
                }
                out
            }
        })
    }

    /// Applies an entry of the other store's stream to what is staged; what it commits prepared the other store has.
    fn stage(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let knows = args.take_key("fetched").is_some();
        std::mem::swap(&mut self.store, &mut self.other);
        let entry = self.entry(args);
        std::mem::swap(&mut self.store, &mut self.other);
        let entry = entry?;
        let mut writes = GiverWrites::new();
        for commit in entry.commits.iter().filter(|_| knows) {
            let other = self.other.as_ref().ok_or("no other store")?;
            writes.extend(other.intent(commit.txn)?.map(|intent| (commit.txn, intent.mutations)));
        }
        Ok(match self.store().stage(&entry, &writes)? {
            Staged::Done => {
                let position = self.store().staged_position().unwrap_or_default();
                format!("staged up to {:?}", position.index)
            }
            Staged::Gap { position } => format!("gap: follow after {:?}", position.index),
            Staged::NeedFetch(missing) => format!("must fetch {} intents", missing.len()),
            Staged::Left => "the giver has lost them".to_owned(),
        })
    }

    /// Copies the bulk of what is staged from the other store.
    fn bulk(&mut self) -> Result<String> {
        let other = self.other.take().ok_or("no other store")?;
        let gain = self.store().staged_gain().ok_or("nothing is staged")?;
        let can_give = other.can_give(&gain) == gain.slots;
        if can_give {
            let store = self.store();
            let mut rest = store.take_in(&other, &gain.slots, None, Step::of(1))?;
            while let Some(from) = rest {
                rest = store.take_in(&other, &gain.slots, Some(&from), Step::of(1))?;
            }
            store.complete_staging(other.low_water());
        }
        self.other = Some(other);
        Ok(if can_give { String::new() } else { "the other cannot give them".to_owned() })
    }

    fn prepare(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let id = txn(args.next_pos().ok_or("transaction")?)?;
        let epoch = Epoch(args.take_key("epoch").unwrap_or("1").parse()?);
        let mutations = mutations(args);
        let votes = self.store().prepare(&[Prepare { txn: id, epoch, mutations }])?;
        Ok(match votes[0] {
            Vote::Yes => "yes".to_owned(),
            Vote::No(why) => format!("no: {why}"),
        })
    }

    fn scan(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let range = args.next_pos().ok_or("range")?;
        let (start, end) = range.split_once("..").ok_or("a range is a..b")?;
        let at = ts(args.take_key("at").ok_or("at=TS")?)?;
        let limit = args.take_key("limit").unwrap_or("100").parse()?;
        let direction =
            if args.next_pos() == Some("reverse") { Direction::Reverse } else { Direction::Forward };
        let range = KeyRange::new(Key::new(start.as_bytes().to_vec()), Key::new(end.as_bytes().to_vec()));
        let reader = self.reader(args)?;
        let batch = reader.scan(&range, at, direction, limit)?;
        let mut out = String::new();
        for (key, value) in batch.rows {
            write!(out, "{key:?}={} ", String::from_utf8_lossy(&value))?;
        }
        match batch.rest {
            Some(rest) => write!(out, "rest {rest:?}")?,
            None => out.push_str("end"),
        }
        Ok(out)
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String> {
        let mut args = command.consume_args();
        let out = match command.name.as_str() {
            "open" => {
                self.options = Options::default();
                if let Some(name) = args.take_key("without") {
                    self.options.disabled_rules.insert(rule(name)?);
                }
                if let Some(range) = args.take_key("slots") {
                    self.options.slots = Slots::new(slots(range)?);
                }
                self.store = None;
                self.store();
                String::new()
            }
            "prepare" => self.prepare(&mut args)?,
            "apply" => self.apply(&mut args)?,
            "install" => {
                let id = txn(args.next_pos().ok_or("transaction")?)?;
                let mutations = mutations(&mut args);
                self.store().install_intent(id, &Intent { epoch: Epoch(1), mutations })?;
                String::new()
            }
            "forget" => {
                let id = txn(args.next_pos().ok_or("transaction")?)?;
                self.store().forget(id)?;
                String::new()
            }
            "get" => {
                let at = ts(args.take_key("at").ok_or("at=TS")?)?;
                let key = Key::new(args.next_pos().ok_or("key")?.as_bytes().to_vec());
                match self.reader(&mut args)?.get(&key, at)? {
                    Some(value) => format!("{key:?}={}", String::from_utf8_lossy(&value)),
                    None => format!("{key:?} is not there"),
                }
            }
            "scan" => self.scan(&mut args)?,
            "newest" => {
                let key = Key::new(args.next_pos().ok_or("key")?.as_bytes().to_vec());
                match self.store().newest_commit(&key)? {
                    Some(at) => format!("{key:?} last written at {}", millis(at)),
                    None => format!("{key:?} never written"),
                }
            }
            "intents" => {
                let mut out = String::new();
                for (id, is_decided) in self.store().intents() {
                    let word = if is_decided { "decided" } else { "undecided" };
                    writeln!(out, "t{} {word}", id.sequence())?;
                }
                if out.is_empty() { "none".to_owned() } else { out }
            }
            "collect-intents" => {
                let siblings = match args.take_key("siblings") {
                    Some(index) => Some(LogIndex(index.trim_start_matches('#').parse()?)),
                    None => None,
                };
                let gone = self.store().collect_intents(siblings)?;
                format!("dropped {gone}")
            }
            "collect-versions" => {
                let collected = self.store().collect_versions(None, assize_mvcc::Step::ALL)?;
                format!("looked at {}, dropped {}", collected.examined, collected.dropped)
            }
            "flush" => format!("durable at {:?}", self.store().flush()?.index),
            "position" => {
                let durable = self.store().durable_position()?;
                format!("at {:?}, durable at {:?}", self.store().position().index, durable.index)
            }
            "crash" => {
                let engine = self.store().engine().crashed();
                self.store = Some(MvccStore::open(engine, self.options.clone())?);
                format!("back at {:?}", self.store().position().index)
            }
            "disk-full" => {
                self.store().engine().set_full(true);
                String::new()
            }
            "disk-has-room" => {
                self.store().engine().set_full(false);
                String::new()
            }
            "leftovers" => {
                let range = Slots::new(slots(args.next_pos().ok_or("slots")?)?);
                if self.store().has_versions_in(&range)? { "some".to_owned() } else { "none".to_owned() }
            }
            "swap" => {
                std::mem::swap(&mut self.store, &mut self.other);
                String::new()
            }
            "take-in" => self.take_in(&mut args)?,
            "begin-staging" => {
                let wanted = Slots::new(slots(args.next_pos().ok_or("slots")?)?);
                if self.store().can_stage(&wanted) {
                    let mut rest = self.store().drop_versions_in(&wanted, None, Step::of(1))?;
                    while let Some(from) = rest {
                        rest = self.store().drop_versions_in(&wanted, Some(&from), Step::of(1))?;
                    }
                    format!("follow after {:?}", self.store().begin_staging(&wanted).index)
                } else {
                    "they are still in use here".to_owned()
                }
            }
            "stage" => self.stage(&mut args)?,
            "bulk" => self.bulk()?,
            "drop-staging" => {
                self.store().drop_staging();
                String::new()
            }
            "hash" => {
                let held = Slots::new(slots(args.next_pos().ok_or("slots")?)?);
                let at = ts(args.take_key("at").ok_or("at=TS")?)?;
                let hash = self.store().hash_content(&held, at);
                hash.map_or_else(|e| e.to_string(), |hash| format!("{} rows, {:016x}", hash.count, hash.sum))
            }
            "damage" => {
                let key = Key::new(args.next_pos().ok_or("key")?.as_bytes().to_vec());
                let at = self.store().position().closed_ts;
                let is_done = self.store().engine().damage(&key, at, Damage::FlipBit(0));
                if is_done { String::new() } else { "there is no such row".to_owned() }
            }
            "engine" => {
                let engine = self.store().engine();
                format!(
                    "{} versions records, {} intents records",
                    engine.len(Family::Versions),
                    engine.len(Family::Intents)
                )
            }
            name => return Err(format!("no command {name}").into()),
        };
        args.reject_next()?;
        Ok(out)
    }
}
