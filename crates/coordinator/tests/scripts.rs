//! Runs the golden scripts of `tests/scripts`. `UPDATE_GOLDENFILES=1` rewrites them; read the diff.

use assize_coordinator::{
    Answer, Coordinator, Effect, Event, Newest, Options, Request, Rule, Timer, Voter, Write,
};
use assize_model::{
    AbortReason, AccessGroup, BatchNumber, CommitBody, Conflict, DeadlineClass, Decision, Epoch, Footprint,
    FrontendEpoch, FrontendId, Key, KeyHash, KeyRange, Mutation, NodeId, Outcome, Placement, ReplicaId,
    ShardId, Slot, TableId, TableRange, Timestamp, TxnId, Vote, VoteRefusal,
};
use goldenscript::{ArgumentConsumer, Command, Context};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

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

/// One coordinator, seen by its effects. Two shards of three replicas each: keys beginning with a to m live on shard 1, the
/// others on shard 2. The writes of every transaction are `a=1 z=2`, checked at 5 ms.
///
/// ```text
///   inline | prepare [without=RULE]     begins a commit under t1, at 0 ms, deadline 10,000 ms
///   yes sN rN | no sN rN WHY            votes (on the current id; `txn=tN` names another)
///   committed TS | aborted WHY          the adjudicator's reply
///   at MS                               moves the time there and fires the current timer
/// ```
#[derive(Default)]
struct Runner {
    coordinator: Option<Coordinator>,
    now: Timestamp,
    timer: Option<Timer>,
}

fn txn(text: &str) -> Result<TxnId> {
    let sequence: u64 = text.strip_prefix('t').ok_or("a transaction is tN")?.parse()?;
    Ok(TxnId::new(Timestamp::ZERO, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), sequence))
}

fn ts(text: &str) -> Result<Timestamp> {
    Ok(Timestamp::from_millis(text.parse()?))
}

fn pos<'a>(args: &mut ArgumentConsumer<'a>, what: &'static str) -> Result<&'a str> {
    args.next_pos().ok_or_else(|| what.into())
}

fn shard(text: &str) -> Result<ShardId> {
    Ok(ShardId(text.strip_prefix('s').ok_or("a shard is sN")?.parse()?))
}

fn hash(text: &str) -> KeyHash {
    KeyHash(u64::from(text.bytes().next().unwrap_or(0)))
}

fn placement(epoch: u64) -> Placement {
    let mut placement = Placement::even_replicated(2, &[NodeId(1), NodeId(2), NodeId(3)]);
    placement.epoch = Epoch(epoch);
    placement.shards.values_mut().for_each(|shard| shard.epoch = Epoch(epoch));
    placement
}

fn request() -> Request {
    let write = |key: &'static str, slot: u16, value: &'static str| Write {
        mutation: Mutation::put(Key::from(key), Slot(slot), value.as_bytes()),
        hash: hash(key),
        table: TableId(1),
    };
    Request {
        groups: vec![AccessGroup {
            snapshot_ts: Timestamp::from_millis(5),
            checked: vec![hash("a"), hash("z")],
            ranges: vec![TableRange {
                table: TableId(1),
                range: KeyRange::new(Key::from("b"), Key::from("c")),
            }],
        }],
        writes: vec![write("a", 0, "1"), write("z", u16::MAX, "2")],
        ..Request::default()
    }
}

fn name(hash: KeyHash) -> char {
    hash.0 as u8 as char
}

fn show_footprint(footprint: &Footprint) -> String {
    let mut out = format!("commit t{}", footprint.txn.sequence());
    match &footprint.body {
        CommitBody::Inline { mutations, .. } => write!(out, " inline, {} writes", mutations.len()),
        CommitBody::Prepared { receipts, .. } => {
            let receipts: Vec<_> = receipts
                .iter()
                .map(|r| format!("{} at {} ({} writes)", r.shard, r.epoch, r.digest.count))
                .collect();
            write!(out, " prepared by {}", receipts.join(" and "))
        }
    }
    .unwrap();
    for group in &footprint.groups {
        let keys: String = group.checked.iter().map(|key| name(*key)).collect();
        write!(out, ", checks {keys} and {} ranges from {}", group.ranges.len(), group.snapshot_ts.millis())
            .unwrap();
    }
    let ordered = footprint.body.written().iter().filter(|key| key.ordered.is_some()).count();
    if ordered > 0 {
        write!(out, ", {ordered} ordered keys").unwrap();
    }
    out
}

fn show_answer(answer: &Answer) -> String {
    match answer {
        Answer::Committed { txn, commit_ts } => {
            format!("ANSWER t{} committed at {}", txn.sequence(), commit_ts.millis())
        }
        Answer::Aborted(AbortReason::Conflict(conflict)) => {
            format!("ANSWER aborted: conflict on {:?}", conflict.key.map(name))
        }
        Answer::Aborted(reason) => format!("ANSWER aborted: {reason:?}"),
        Answer::NotProposed(why) => format!("ANSWER not committed: {why}"),
        Answer::Unknown { txn } => format!("ANSWER unknown, ask for t{}", txn.sequence()),
    }
}

impl Runner {
    fn show(&mut self, effect: &Effect) -> Option<String> {
        Some(match effect {
            Effect::SendPrepare { to, txn, epoch, mutations } => {
                format!("prepare t{} on {to} at {epoch}: {} writes", txn.sequence(), mutations.len())
            }
            Effect::HintAbort { to, txn } => format!("hint {to} that t{} is aborted", txn.sequence()),
            Effect::SendCommit { footprint } => show_footprint(footprint),
            Effect::AskOutcome { txn, resolve } => {
                format!(
                    "ask what became of t{}{}",
                    txn.sequence(),
                    if *resolve { ", resolving it" } else { "" }
                )
            }
            Effect::DrawTxn => "draw an id".to_owned(),
            Effect::AskPlacement => "ask for the placement".to_owned(),
            Effect::AskNewest { txn, keys, ranges, at_least } => {
                let keys: String = keys.iter().map(|key| name(*key)).collect();
                format!(
                    "ask the shards for t{} about keys {keys:?} and ranges {ranges:?} as of {} or later",
                    txn.sequence(),
                    at_least.millis()
                )
            }
            // Every wait sets one; showing them would drown the rest.
            Effect::SetTimer { timer, .. } => {
                self.timer = Some(*timer);
                return None;
            }
            Effect::Acknowledge { txn } => format!("acknowledge t{}", txn.sequence()),
            Effect::Answer(answer) => show_answer(answer),
        })
    }

    fn options(args: &mut ArgumentConsumer<'_>) -> Result<Options> {
        let mut options = Options::default();
        if let Some(rule) = args.take_key("without") {
            options.disabled_rules.insert(match rule {
                "majority" => Rule::Majority,
                "same-id-after-lost-reply" => Rule::SameIdAfterLostReply,
                "unknown-is-not-abort" => Rule::UnknownIsNotAbort,
                other => return Err(format!("no rule {other}").into()),
            });
        }
        options.counts_replicas = args.take_key("voices") != Some("one");
        Ok(options)
    }

    fn event(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<Event> {
        let current = self.coordinator.as_ref().ok_or("no commit")?.txn();
        let named = args.take_key("txn").map(txn).transpose()?.unwrap_or(current);
        Ok(match name {
            "yes" | "no" => {
                let shard = shard(pos(args, "shard")?)?;
                let replica = match args.next_pos() {
                    Some("all") | None => None,
                    Some(r) => Some(ReplicaId(r.strip_prefix('r').ok_or("a replica is rN")?.parse()?)),
                };
                let vote = if name == "yes" { Vote::Yes } else { Vote::No(refusal(args)?) };
                Event::Voted { voter: Voter { shard, replica }, txn: named, vote }
            }
            "committed" => {
                let commit_ts = ts(pos(args, "timestamp")?)?;
                Event::Decided { txn: named, decision: Decision::Commit { commit_ts } }
            }
            "aborted" => Event::Decided { txn: named, decision: Decision::Abort { reason: reason(args)? } },
            "reply-lost" => Event::ReplyLost { txn: named },
            "not-proposed" => Event::NotProposed { txn: named },
            "leader-changed" => Event::LeaderChanged,
            "outcome" => {
                let outcome = match pos(args, "outcome")? {
                    "committed" => Outcome::Committed(ts(pos(args, "timestamp")?)?),
                    "aborted" => Outcome::Aborted(reason(args)?),
                    "undecided" => Outcome::Undecided,
                    "unknown" => Outcome::Unknown,
                    other => return Err(format!("no outcome {other}").into()),
                };
                Event::OutcomeAnswered { txn: named, outcome }
            }
            "drawn" => Event::TxnDrawn(txn(pos(args, "transaction")?)?),
            "placement" => Event::PlacementArrived(Arc::new(placement(pos(args, "epoch")?.parse()?))),
            "newest" => {
                let as_of = ts(args.take_key("as-of").ok_or("as-of=TS")?)?;
                let mut keys = Vec::new();
                let mut ranges = Vec::new();
                while let Some((what, newest)) = args.next_key() {
                    let newest = match newest {
                        "never" => None,
                        at => Some(ts(at)?),
                    };
                    match what {
                        "range" => ranges.push(((0, 0), Newest { newest, as_of })),
                        key => keys.push((hash(key), Newest { newest, as_of })),
                    }
                }
                Event::NewestAnswered { txn: named, keys, ranges }
            }
            "cancel" => Event::Cancelled,
            "at" => {
                self.now = ts(pos(args, "time")?)?;
                Event::TimerFired(self.timer.ok_or("no timer was set")?)
            }
            "late-timer" => Event::TimerFired(Timer(1)),
            name => return Err(format!("no command {name}").into()),
        })
    }
}

fn refusal(args: &mut ArgumentConsumer<'_>) -> Result<VoteRefusal> {
    Ok(match pos(args, "reason")? {
        "deadline" => VoteRefusal::DeadlinePassed { closed_ts: Timestamp::from_millis(10_001) },
        "epoch" => VoteRefusal::StaleEpoch { current: Epoch(pos(args, "epoch")?.parse()?) },
        "overloaded" => VoteRefusal::Overloaded,
        other => return Err(format!("no refusal {other}").into()),
    })
}

fn reason(args: &mut ArgumentConsumer<'_>) -> Result<AbortReason> {
    Ok(match pos(args, "reason")? {
        "conflict" => AbortReason::Conflict(Conflict {
            key: Some(hash("a")),
            range: None,
            batch: BatchNumber(1),
            winner: None,
        }),
        "deadline" => AbortReason::DeadlinePassed,
        "fenced" => AbortReason::FrontendFenced { current: FrontendEpoch(2) },
        "stale-epoch" => AbortReason::StaleEpoch { shard: ShardId(1), current: Epoch(2) },
        "range-keys-missing" => AbortReason::RangeKeysMissing { table: TableId(1) },
        "outcomes-full" => AbortReason::OutcomesFull,
        "resolved" => AbortReason::Resolved,
        "need-refresh" => {
            let keys = args.take_key("keys").unwrap_or_default();
            let keys = keys.chars().map(|c| KeyHash(c as u64)).collect();
            let ranges = if args.take_key("range").is_some() { vec![(0, 0)] } else { Vec::new() };
            AbortReason::NeedRefresh { keys, ranges }
        }
        other => return Err(format!("no reason {other}").into()),
    })
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String> {
        let mut args = command.consume_args();
        let mut effects = Vec::new();
        match command.name.as_str() {
            "inline" => {
                self.now = Timestamp::ZERO;
                let options = Runner::options(&mut args)?;
                let begun =
                    Coordinator::commit_inline(self.now, txn("t1")?, request(), options, &mut effects);
                self.coordinator = Some(begun);
            }
            "prepare" => {
                self.now = Timestamp::ZERO;
                let options = Runner::options(&mut args)?;
                let placement = placement(1);
                let id = txn("t1")?;
                let begun =
                    Coordinator::commit_prepared(self.now, id, request(), &placement, options, &mut effects);
                self.coordinator = Some(begun);
            }
            name => {
                let event = self.event(name, &mut args)?;
                let coordinator = self.coordinator.as_mut().ok_or("no commit")?;
                coordinator.step(self.now, event, &mut effects);
            }
        }
        args.reject_next()?;
        let mut out = String::new();
        for effect in &effects {
            if let Some(line) = self.show(effect) {
                writeln!(out, "{line}")?;
            }
        }
        Ok(out)
    }
}
