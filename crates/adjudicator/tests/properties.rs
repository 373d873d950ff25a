//! Properties of the whole machine: against a naive twin, across checkpoints, and under bytes that nobody wrote.

use assize_adjudicator::command::*;
use assize_adjudicator::*;
use assize_codec::Reader;
use assize_model::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SEED: u64 = 99;
const TABLE: TableId = TableId(7);

fn key(n: u8) -> Key {
    Key::new(vec![n])
}

/// A transaction as the generator draws it.
#[derive(Clone, Debug)]
struct Draw {
    back: u8,
    reads: Vec<u8>,
    writes: Vec<u8>,
    range: Option<(u8, u8)>,
    resend: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let keys = || prop::collection::vec(0u8..24, 0..3);
    (0u8..12, keys(), keys(), prop::option::weighted(0.2, (0u8..24, 1u8..6)), prop::bool::weighted(0.1))
        .prop_map(|(back, reads, writes, range, resend)| Draw { back, reads, writes, range, resend })
}

fn start(options: Options, window_log2: u8) -> Adjudicator {
    let mut state = Adjudicator::new(options);
    let mut bootstrap = Bootstrap::new(1, SEED, Timestamp::from_millis(1000), Placement::even(3, NodeId(1)));
    bootstrap.window_log2 = window_log2;
    bootstrap.range_keys_max = 20;
    bootstrap.outcomes_max = 2 << 20;
    state.apply(LogIndex(1), &Command::Bootstrap(bootstrap));
    state.apply(LogIndex(2), &Command::GrantFrontend { frontend: FrontendId(1), nonce: 1 });
    state.apply(LogIndex(3), &Command::TrackRanges(TABLE));
    state
}

fn footprint(sequence: u64, snapshot_ts: Timestamp, draw: &Draw) -> Footprint {
    let mutations: Vec<Mutation> =
        draw.writes.iter().map(|n| Mutation::put(key(*n), Slot(u16::from(*n) * 2700), vec![*n])).collect();
    let written = draw
        .writes
        .iter()
        .map(|n| WrittenKey { hash: key(*n).hash(SEED), ordered: Some((TABLE, key(*n))) })
        .collect();
    let ranges = draw
        .range
        .iter()
        .map(|(from, len)| TableRange { table: TABLE, range: KeyRange::new(key(*from), key(from + len)) })
        .collect();
    Footprint {
        txn: TxnId::new(snapshot_ts, DeadlineClass::Bulk, FrontendId(1), FrontendEpoch(1), sequence),
        groups: vec![AccessGroup {
            snapshot_ts,
            checked: draw.reads.iter().chain(&draw.writes).map(|n| key(*n).hash(SEED)).collect(),
            ranges,
        }],
        schemas: vec![(TABLE, SchemaVersion(1))],
        auto_increments: Vec::new(),
        body: CommitBody::Inline { mutations, written },
        catalog_change: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The naive twin keeps every commit for ever and compares everything with everything.
    #[test]
    fn decisions_agree_with_a_twin_that_forgets_nothing(
        batches in prop::collection::vec(prop::collection::vec(draw(), 0..6), 1..25),
        window_log2 in prop_oneof![Just(1u8), Just(10)],
    ) {
        let mut state = start(Options::default(), window_log2);
        let mut restored: Option<Adjudicator> = None;
        let mut boundaries = vec![state.begin().snapshot_ts];
        let mut commits: Vec<(u8, Timestamp)> = Vec::new();
        let mut seen: Vec<(Footprint, Decision)> = Vec::new();
        let mut last_commit_ts = Timestamp::ZERO;
        for (n, draws) in batches.iter().enumerate() {
            let sent: Vec<Footprint> = draws
                .iter()
                .enumerate()
                .map(|(i, draw)| match seen.get(usize::from(draw.back)) {
                    Some((footprint, _)) if draw.resend => footprint.clone(),
                    _ => {
                        let back = usize::from(draw.back).min(boundaries.len() - 1);
                        let snapshot = boundaries[boundaries.len() - 1 - back];
                        footprint((n * 100 + i) as u64, snapshot, draw)
                    }
                })
                .collect();
            let command = Command::Batch(Batch::new(Timestamp::from_millis(1000 + n as u64), &sent));
            let decoded = Command::decode(&command.encode().into()).unwrap();
            prop_assert_eq!(&decoded, &command);
            let applied = state.apply(LogIndex(n as u64 + 10), &command);
            if let Some(restored) = &mut restored {
                prop_assert_eq!(&restored.apply(LogIndex(n as u64 + 10), &decoded), &applied);
            }
            if n % 5 == 4 {
                restored = Some(Adjudicator::decode_checkpoint(Options::default(), &state.encode_checkpoint()).unwrap());
            }
            let mut streamed: BTreeMap<TxnId, usize> = BTreeMap::new();
            for (shard, entry) in applied.stream_entries() {
                for commit in &entry.commits {
                    let ShardWrites::Inline(mutations) = &commit.writes else { panic!("all are inline") };
                    *streamed.entry(commit.txn).or_default() += mutations.len();
                    for mutation in mutations {
                        prop_assert_eq!(state.placement().shard_of(mutation.slot), shard);
                    }
                }
            }
            let decisions: Vec<Decision> = applied.decisions.iter().collect();
            for (footprint, decision) in sent.iter().zip(&decisions) {
                if let Some((_, before)) = seen.iter().find(|(f, _)| f.txn == footprint.txn) {
                    prop_assert_eq!(before, decision, "a decision never changes");
                    continue;
                }
                let group = &footprint.groups[0];
                let CommitBody::Inline { mutations, .. } = &footprint.body else { panic!("all are inline") };
                let lost = commits.iter().any(|(k, commit_ts)| {
                    *commit_ts > group.snapshot_ts
                        && (group.checked.contains(&key(*k).hash(SEED))
                            || group.ranges.iter().any(|r| r.range.contains(&key(*k))))
                });
                match decision {
                    Decision::Commit { commit_ts } => {
                        prop_assert!(!lost, "{footprint:?} committed over a later commit");
                        prop_assert!(*commit_ts > last_commit_ts && *commit_ts > *boundaries.last().unwrap());
                        last_commit_ts = *commit_ts;
                        prop_assert_eq!(streamed.get(&footprint.txn).copied().unwrap_or(0), mutations.len());
                        commits.extend(mutations.iter().map(|m| (m.key.0[0], *commit_ts)));
                    }
                    Decision::Abort { reason: AbortReason::Conflict(_) } => prop_assert!(lost),
                    // Only a small window, and few kept range keys, forget.
                    Decision::Abort { reason: AbortReason::NeedRefresh { keys, ranges } } => {
                        prop_assert!(window_log2 == 1 || keys.is_empty());
                        prop_assert!(!keys.is_empty() || !ranges.is_empty());
                        continue;
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                seen.push((footprint.clone(), decision.clone()));
            }
            boundaries.push(state.begin().snapshot_ts);
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>, kind in 0u8..20) {
        let mut entry = vec![1, kind];
        entry.extend_from_slice(&bytes);
        for bytes in [Bytes::from(bytes), Bytes::from(entry)] {
            if let Ok(command) = Command::decode(&bytes) {
                let mut state = start(Options::default(), 4);
                state.apply(LogIndex(10), &command);
            }
            let _ = EncodedFootprint::from_bytes(bytes.clone());
            let _ = flat::read_stream_entry(&mut Reader::new(&bytes));
            let _ = Adjudicator::decode_checkpoint(Options::default(), &bytes);
        }
    }

    /// Flipping bytes of real entries reaches deeper than random bytes do.
    #[test]
    fn no_damaged_entry_makes_decoding_or_apply_panic(
        draws in prop::collection::vec(draw(), 0..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        prepared: bool,
    ) {
        let mut state = start(Options::default(), 4);
        let snapshot = state.begin().snapshot_ts;
        let mut footprints: Vec<Footprint> =
            draws.iter().enumerate().map(|(i, draw)| footprint(i as u64, snapshot, draw)).collect();
        for footprint in &mut footprints {
            footprint.catalog_change = Some(CatalogChange {
                expects: vec![("a".into(), 0)],
                objects: vec![("a".into(), Some("b".into()))],
                fences: vec![Fence { table: TABLE, min_version: SchemaVersion(1) }],
                counters: vec![(TABLE, 5)],
            });
            footprint.auto_increments = vec![(TABLE, 9)];
            if prepared {
                let written = footprint.body.written().to_vec();
                let receipts = vec![Receipt { shard: ShardId(1), epoch: Epoch(1), digest: WriteDigest::default() }];
                footprint.body = CommitBody::Prepared { receipts, written };
            }
        }
        let batch = Batch::new(Timestamp::from_millis(2000), &footprints);
        for (view, footprint) in batch.views().zip(&footprints) {
            prop_assert_eq!(&view.to_footprint(), footprint);
        }
        let mut bytes = Command::Batch(batch).encode();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(command) = Command::decode(&bytes.into()) {
            state.apply(LogIndex(10), &command);
            let checkpoint = state.encode_checkpoint();
            let restored = Adjudicator::decode_checkpoint(Options::default(), &checkpoint).unwrap();
            prop_assert_eq!(restored.state_hash(), state.state_hash());
        }
    }

    #[test]
    fn stream_entries_read_back(
        after: u64, index: u64, closed: u64, epoch: Option<u64>, low_water: Option<u64>,
        slots: Option<Vec<(u16, u16)>>, keys in prop::collection::vec(any::<Vec<u8>>(), 0..5),
    ) {
        let txn = TxnId::new(Timestamp::ZERO, DeadlineClass::Xa, FrontendId(1), FrontendEpoch(2), 3);
        let inline = keys
            .iter()
            .flat_map(|k| {
                let key = Key::new(k.clone());
                [Mutation::put(key.clone(), Slot(1), k.clone()), Mutation::delete(key.clone(), Slot(2)), Mutation::lock(key, Slot(3))]
            })
            .collect();
        let entry = StreamEntry {
            after: LogIndex(after),
            position: Position { index: LogIndex(index), closed_ts: Timestamp(closed) },
            commits: vec![
                ShardCommit { txn, commit_ts: Timestamp(5), writes: ShardWrites::Inline(inline) },
                ShardCommit {
                    txn,
                    commit_ts: Timestamp(6),
                    writes: ShardWrites::Prepared { epoch: Epoch(7), digest: WriteDigest { count: 8, sum: 9 } },
                },
            ],
            epoch: epoch.map(Epoch),
            slots: slots.map(|s| s.into_iter().map(|(a, b)| (Slot(a), Slot(b))).collect()),
            low_water: low_water.map(Timestamp),
        };
        let mut bytes = Vec::new();
        flat::put_stream_entry(&mut bytes, &entry);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(flat::read_stream_entry(&mut reader).unwrap(), entry);
        prop_assert!(reader.is_done());
    }
}

/// One of every kind of entry.
fn samples() -> Vec<Command> {
    let replicas = BTreeMap::from([(ReplicaId(1), NodeId(2))]);
    vec![
        Command::Bootstrap(Bootstrap {
            outcomes_max: 2 << 20,
            ..Bootstrap::new(1, 2, Timestamp(3), Placement::even(2, NodeId(4)))
        }),
        Command::Batch(Batch::new(
            Timestamp(5),
            [&footprint(
                6,
                Timestamp(7),
                &Draw { back: 0, reads: vec![1], writes: vec![2], range: Some((3, 1)), resend: false },
            )],
        )),
        Command::RaiseCeiling { ceiling: Timestamp(8), close: Timestamp(9) },
        Command::GrantFrontend { frontend: FrontendId(10), nonce: 11 },
        Command::FenceFrontend { frontend: FrontendId(12), epoch: FrontendEpoch(13) },
        Command::RaiseLowWater {
            reports: vec![SnapshotReport {
                frontend: FrontendId(14),
                epoch: FrontendEpoch(15),
                oldest: Timestamp(16),
            }],
        },
        Command::Resolve(TxnId::new(
            Timestamp(0),
            DeadlineClass::Bulk,
            FrontendId(17),
            FrontendEpoch(18),
            19,
        )),
        Command::AllocateIds(AllocateIds {
            table: TableId(20),
            count: 21,
            at_least: 22,
            increment: 23,
            offset: 24,
        }),
        Command::ChangePlacement(PlacementChange {
            expected: Epoch(25),
            shards: vec![(ShardId(26), Some(replicas)), (ShardId(27), None)],
            slots: vec![(Slot(28), Slot(29), ShardId(30))],
            raise: vec![ShardId(31)],
        }),
        Command::RegisterReplica { shard: ShardId(32), replica: ReplicaId(33) },
        Command::ReportDurable {
            reports: vec![DurableReport {
                shard: ShardId(34),
                replica: ReplicaId(35),
                durable: Position { index: LogIndex(36), closed_ts: Timestamp(37) },
            }],
        },
        Command::Uncount { shard: ShardId(38), replica: ReplicaId(39) },
        Command::TrackRanges(TableId(40)),
        Command::RaiseClusterVersion(1),
        Command::AcknowledgeOutcomes {
            acknowledged: vec![Acknowledgement {
                frontend: FrontendId(41),
                epoch: FrontendEpoch(42),
                below: 43,
            }],
        },
        Command::SetNode { node: NodeId(44), entry: Some(sample_node()) },
        Command::SetNode { node: NodeId(45), entry: None },
        Command::NoteHash,
        Command::DrainNode { node: NodeId(46), drains: true },
        Command::Recover(Recovery { former: 47, cluster: 48, lost: vec![NodeId(49), NodeId(50)] }),
        Command::RecoverShard { shard: ShardId(51), expected: Epoch(52), lost: vec![NodeId(53)] },
        Command::Batch(Batch::new(Timestamp(54), &[sample_footprint(true), sample_footprint(false)])),
    ]
}

/// A footprint that is compact.
fn sample_footprint(is_prepared: bool) -> Footprint {
    let written = vec![WrittenKey { hash: KeyHash(55), ordered: None }];
    let digest = WriteDigest { count: 56, sum: 57 };
    let receipts = vec![Receipt { shard: ShardId(58), epoch: Epoch(59), digest }];
    let mutations = vec![Mutation::put(Key::new(vec![60]), Slot(61), vec![62, 63])];
    let checked = if is_prepared { vec![KeyHash(64), KeyHash(55)] } else { vec![KeyHash(55), KeyHash(64)] };
    Footprint {
        txn: TxnId::from_serial(Timestamp::from_millis(65), 66),
        groups: vec![AccessGroup { snapshot_ts: Timestamp(67), checked, ranges: Vec::new() }],
        schemas: vec![(TableId(68), SchemaVersion(69))],
        auto_increments: Vec::new(),
        body: match is_prepared {
            true => CommitBody::Prepared { receipts, written },
            false => CommitBody::Inline { mutations, written },
        },
        catalog_change: None,
    }
}

fn sample_node() -> NodeEntry {
    NodeEntry {
        peer_address: "a:1".into(),
        admin_address: "a:2".into(),
        mysql_address: "a:3".into(),
        roles: vec!["adjudicator".into(), "shard".into()],
        zone: "zone".into(),
        version: "0.1.0".into(),
        cluster_version: 1,
    }
}

/// Bytes in a log outlive the program that wrote them: this file is never regenerated, only added to.
#[test]
fn entries_written_by_the_first_version_are_still_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/entries_v1.hex");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let expected = samples();
    let stored = std::fs::read_to_string(path).unwrap_or_else(|e| {
        let lines: Vec<String> = expected.iter().map(|command| hex(&command.encode())).collect();
        panic!("{path}: {e}; the entries as they are encoded now:\n{}", lines.join("\n"))
    });
    let lines: Vec<&str> = stored.lines().collect();
    assert_eq!(lines.len(), expected.len());
    for (line, command) in lines.iter().zip(&expected) {
        let bytes: Vec<u8> =
            (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap()).collect();
        assert_eq!(&Command::decode(&bytes.into()).unwrap(), command);
        assert_eq!(*line, hex(&command.encode()));
    }
}

#[test]
fn an_entry_of_a_newer_program_is_not_read() {
    let newer = Command::RaiseClusterVersion(CLUSTER_VERSION_MAX + 1).encode();
    assert!(Command::decode(&newer.into()).is_err());
    assert!(Command::decode(&Bytes::from_static(&[2, 3, 0, 0])).is_err());
    assert!(Command::decode(&Bytes::from_static(&[1, 200])).is_err());
}

#[test]
fn writes_without_a_body_are_refused_before_they_reach_the_log() {
    let mut broken = footprint(
        1,
        Timestamp(7),
        &Draw { back: 0, reads: vec![], writes: vec![2], range: None, resend: false },
    );
    assert!(EncodedFootprint::new(&broken).is_ok());
    broken.body = CommitBody::Prepared { receipts: vec![], written: broken.body.written().to_vec() };
    assert!(EncodedFootprint::new(&broken).is_err());
}

#[test]
fn a_new_leader_starts_above_everything_that_the_old_one_closed() {
    const JUST_NOW: Duration = Duration::ZERO;
    let mut state = start(Options::default(), 4);
    let mut old = Sequencer::new(Options::default());
    assert_eq!(old.next_base(2000, 1), None, "nothing before an entry of its own term");
    assert_eq!(old.close(9000, &state, JUST_NOW), None);
    state.apply(LogIndex(4), &Sequencer::first_entry(2000));
    old.took_over(&state);
    let now = Timestamp::from_millis(3_500);
    let close = old.close(3_500, &state, JUST_NOW).unwrap();
    assert_eq!(close, Command::RaiseCeiling { ceiling: now, close: now });
    state.apply(LogIndex(5), &close);
    assert_eq!(state.begin().snapshot_ts, now);
    // The next leader has a clock that is behind. What it begins with takes no time back.
    state.apply(LogIndex(6), &Sequencer::first_entry(1500));
    assert_eq!(state.begin().snapshot_ts, now);
    let mut new = Sequencer::new(Options::default());
    new.took_over(&state);
    assert!(new.next_base(1500, 1).unwrap() > now);

    let mut careless = Sequencer::new(Options { disabled_rules: Rules::only(Rule::ClosedBound) });
    careless.took_over(&state);
    assert!(careless.next_base(1500, 1).unwrap() < now, "the control breaks the rule");
}

#[test]
fn time_passes_by_itself_only_while_no_batch_is_on_its_way() {
    const JUST_NOW: Duration = Duration::ZERO;
    const LONG_AGO: Duration = Duration::from_secs(60);
    let mut state = start(Options::default(), 4);
    state.apply(LogIndex(4), &Sequencer::first_entry(2000));
    let mut leader = Sequencer::new(Options::default());
    leader.took_over(&state);
    let base = leader.next_base(9000, 10).unwrap();
    assert_eq!(leader.batches_in_flight(), 1);
    assert_eq!(leader.close(19_000, &state, JUST_NOW), None);
    let none: [&Footprint; 0] = [];
    state.apply(LogIndex(5), &Command::Batch(Batch::new(base, none)));
    leader.batch_closed(state.begin().snapshot_ts);
    // Nor in small steps: each is an entry. They are larger while nobody waits for a deadline.
    assert_eq!(leader.close(9500, &state, JUST_NOW), None);
    assert!(leader.close(10_500, &state, JUST_NOW).is_some());
    assert_eq!(leader.close(10_500, &state, LONG_AGO), None);
    assert!(leader.close(40_500, &state, LONG_AGO).is_some());
    // Two batches of one millisecond do not overlap.
    let first = leader.next_base(9000, 10).unwrap();
    assert!(first > base);
    assert_eq!(leader.next_base(9000, 1), Some(first.plus(11)));
}

#[test]
fn time_passes_soon_after_slots_have_moved_so_that_nobody_reads_them_where_they_were_for_long() {
    const LONG_AGO: Duration = Duration::from_secs(60);
    let mut state = start(Options::default(), 2);
    state.apply(LogIndex(4), &Sequencer::first_entry(2000));
    let mut leader = Sequencer::new(Options::default());
    leader.took_over(&state);
    let close = leader.close(40_000, &state, LONG_AGO).unwrap();
    state.apply(LogIndex(5), &close);
    assert_eq!(leader.close(45_000, &state, LONG_AGO), None);
    let merge = PlacementChange {
        expected: state.placement().epoch,
        slots: vec![(Slot(0), Slot(u16::MAX), ShardId(2))],
        ..PlacementChange::default()
    };
    state.apply(LogIndex(6), &Command::ChangePlacement(merge));
    assert_eq!(state.placement().shard_of(Slot(0)), ShardId(2));
    // Nothing newer than the move can be read before.
    let close = leader.close(45_000, &state, LONG_AGO).unwrap();
    state.apply(LogIndex(7), &close);
    // That is enough; the move is remembered until somebody reports what is read.
    assert_eq!(leader.close(50_000, &state, LONG_AGO), None);
}

/// A small state with something in every part of it.
fn sample_state() -> Adjudicator {
    let mut state = start(Options::default(), 1);
    let snapshot = state.begin().snapshot_ts;
    let draw = |n: u8| Draw { back: 0, reads: vec![n], writes: vec![n], range: None, resend: false };
    let mut first = footprint(1, snapshot, &draw(1));
    first.auto_increments = vec![(TABLE, 41)];
    first.catalog_change = Some(CatalogChange {
        expects: vec![],
        objects: vec![("object".into(), Some("bytes".into()))],
        fences: vec![Fence { table: TABLE, min_version: SchemaVersion(1) }],
        counters: vec![(TableId(8), 5)],
    });
    let footprints = [first, footprint(2, snapshot, &draw(1))];
    let commands = [
        Command::Batch(Batch::new(Timestamp::from_millis(1010), &footprints)),
        Command::RaiseCeiling { ceiling: Timestamp::from_millis(5000), close: Timestamp::from_millis(1020) },
        Command::RegisterReplica { shard: ShardId(2), replica: ReplicaId(4) },
        Command::FenceFrontend { frontend: FrontendId(1), epoch: FrontendEpoch(1) },
        Command::GrantFrontend { frontend: FrontendId(3), nonce: 9 },
    ];
    for (i, command) in commands.iter().enumerate() {
        state.apply(LogIndex(10 + i as u64), command);
    }
    state
}

/// Checkpoints outlive the program that wrote them, too.
#[test]
fn checkpoints_written_by_every_version_are_still_read() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let expected = sample_state();
    for version in ["1", "2", "2_differences"] {
        let path = format!("{}/tests/samples/checkpoint_v{version}.hex", env!("CARGO_MANIFEST_DIR"));
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|e| {
            panic!("{path}: {e}; as it is encoded now:\n{}", hex(&expected.encode_checkpoint()))
        });
        let line = stored.trim_end();
        let bytes: Vec<u8> =
            (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap()).collect();
        let state = Adjudicator::decode_checkpoint(Options::default(), &bytes).unwrap();
        assert_eq!(state.chain(), expected.chain());
        assert_eq!(state.begin(), expected.begin());
        assert_eq!(state.counter(TABLE), 42);
        assert_eq!(state.outcomes_held(), 2);
        assert_eq!(state.state_hash(), expected.state_hash());
        if version == "2_differences" {
            assert_eq!(line, hex(&expected.encode_checkpoint()), "a format has changed: raise its version");
        }
    }
}

#[test]
fn what_hashes_are_compared_of_has_not_changed_under_its_number() {
    let hashed = (HASH_FORMAT, sample_state().state_hash());
    assert_eq!(
        hashed,
        (1, 18_128_164_729_612_301_403),
        "the bytes of a state have changed: raise HASH_FORMAT"
    );
}

#[test]
fn a_copy_that_was_begun_before_the_cluster_is_of_the_state_of_then() {
    let mut state = Adjudicator::new(Options::default());
    let (expected, mut copy) = (state.encode_checkpoint(), state.begin_copy());
    let placement = Placement::even(2, NodeId(1));
    let bootstrap = Bootstrap::new(5, 6, Timestamp::from_millis(1000), placement);
    state.apply(LogIndex(1), &Command::Bootstrap(Bootstrap { window_log2: 12, ..bootstrap }));
    while !copy.fill(&state) {}
    let mut bytes = Vec::new();
    copy.encode_into(&mut bytes);
    assert!(bytes == expected);
}

/// Outcomes that are acknowledged leave in pages; what is not stays, also across a checkpoint.
#[test]
fn outcomes_leave_when_their_deadline_has_passed_and_they_are_acknowledged() {
    let mut state = start(Options::default(), 10);
    let snapshot = state.begin().snapshot_ts;
    let none = Draw { back: 0, reads: vec![], writes: vec![], range: None, resend: false };
    let sent: Vec<Footprint> = (0..200).map(|n| footprint(n, snapshot, &none)).collect();
    state.apply(LogIndex(10), &Command::Batch(Batch::new(Timestamp::from_millis(2000), &sent)));
    let acknowledge = |below| Command::AcknowledgeOutcomes {
        acknowledged: vec![Acknowledgement { frontend: FrontendId(1), epoch: FrontendEpoch(1), below }],
    };
    let early = state.apply(LogIndex(11), &acknowledge(100));
    assert_eq!(early.retired_outcomes().count(), 0, "copies of the commits may be on their way");
    // Bulk transactions have ten minutes.
    let pass =
        |millis| Command::RaiseCeiling { ceiling: Timestamp::ZERO, close: Timestamp::from_millis(millis) };
    let late = state.apply(LogIndex(12), &pass(700_000));
    let numbers =
        |applied: &Applied| applied.retired_outcomes().map(|(txn, _)| txn.sequence()).collect::<Vec<_>>();
    assert_eq!(numbers(&late), (0..100).collect::<Vec<_>>());
    let mut state = Adjudicator::decode_checkpoint(Options::default(), &state.encode_checkpoint()).unwrap();
    assert_eq!(state.outcomes_held(), 100);
    assert_eq!(state.outcome(sent[99].txn), Known::Past);
    assert!(matches!(state.outcome(sent[100].txn), Known::Decided(Decision::Commit { .. })));
    let rest = state.apply(LogIndex(13), &acknowledge(150));
    assert_eq!(numbers(&rest), (100..150).collect::<Vec<_>>());
    let gone = state
        .apply(LogIndex(14), &Command::FenceFrontend { frontend: FrontendId(1), epoch: FrontendEpoch(1) });
    assert_eq!(numbers(&gone), (150..200).collect::<Vec<_>>());
    assert_eq!(state.outcomes_held(), 0);
}

/// A frontend that gives one number to two transactions is wrong; both still have one outcome each.
#[test]
fn two_ids_of_one_number_are_told_apart() {
    let mut state = start(Options::default(), 10);
    let snapshot = state.begin().snapshot_ts;
    let draw = |n| Draw { back: 0, reads: vec![], writes: vec![n], range: None, resend: false };
    let first = footprint(1, snapshot, &draw(1));
    let mut second = footprint(1, snapshot, &draw(2));
    second.txn = TxnId::from_serial(Timestamp::from_millis(1003), first.txn.serial());
    for (index, resent) in [(10, false), (11, true)] {
        let batch = Batch::new(Timestamp::from_millis(2000 + index), [&first, &second]);
        let applied = state.apply(LogIndex(index), &Command::Batch(batch));
        assert_eq!(applied.decisions.commits(), if resent { 0 } else { 2 });
        let base = Timestamp::from_millis(2010);
        let commits = [0, 1].map(|n| Decision::Commit { commit_ts: base.plus(n) });
        assert!(applied.decisions.iter().eq(commits));
        state = Adjudicator::decode_checkpoint(Options::default(), &state.encode_checkpoint()).unwrap();
    }
    let pass = Command::RaiseCeiling { ceiling: Timestamp::ZERO, close: Timestamp::from_millis(700_000) };
    state.apply(LogIndex(12), &pass);
    let gone = state.apply(LogIndex(13), &Command::GrantFrontend { frontend: FrontendId(1), nonce: 2 });
    assert_eq!(gone.retired_outcomes().map(|(txn, _)| txn).collect::<Vec<_>>(), [first.txn, second.txn]);
    assert_eq!(state.outcomes_held(), 0);
}

#[test]
fn a_checkpoint_with_nodes_is_still_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/checkpoint_v2_nodes.hex");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut expected = sample_state();
    expected.apply(LogIndex(20), &Command::SetNode { node: NodeId(2), entry: Some(sample_node()) });
    expected.apply(LogIndex(21), &Command::SetNode { node: NodeId(3), entry: Some(sample_node()) });
    expected.apply(LogIndex(22), &Command::SetNode { node: NodeId(3), entry: None });
    let stored = std::fs::read_to_string(path).unwrap_or_else(|e| {
        panic!("{path}: {e}; as it is encoded now:\n{}", hex(&expected.encode_checkpoint()))
    });
    let line = stored.trim_end();
    let bytes: Vec<u8> =
        (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap()).collect();
    let state = Adjudicator::decode_checkpoint(Options::default(), &bytes).unwrap();
    assert_eq!(state.nodes(), &BTreeMap::from([(NodeId(2), sample_node())]));
    assert_eq!(state.state_hash(), expected.state_hash());
}

#[test]
fn a_node_drains_until_it_is_told_otherwise_or_is_gone_and_checkpoints_know() {
    let mut state = sample_state();
    let node = |n| Command::SetNode { node: NodeId(n), entry: Some(sample_node()) };
    let drain = |n, drains| Command::DrainNode { node: NodeId(n), drains };
    let without = state.encode_checkpoint().len();
    assert_eq!(state.apply(LogIndex(20), &drain(2, true)).reply, Reply::NoSuchNode);
    for (i, command) in
        [node(2), node(3), node(4), drain(2, true), drain(3, true), drain(4, true)].iter().enumerate()
    {
        assert_eq!(state.apply(LogIndex(21 + i as u64), command).reply, Reply::Done);
    }
    // What a node says of itself when it starts again does not change what an operator has decided.
    state.apply(LogIndex(30), &node(2));
    state.apply(LogIndex(31), &drain(3, false));
    state.apply(LogIndex(32), &Command::SetNode { node: NodeId(4), entry: None });
    assert_eq!(state.draining(), &BTreeSet::from([NodeId(2)]));
    let again = Adjudicator::decode_checkpoint(Options::default(), &state.encode_checkpoint()).unwrap();
    assert_eq!(again.draining(), state.draining());
    assert_eq!(again.state_hash(), state.state_hash());
    for (i, command) in [
        drain(2, false),
        Command::SetNode { node: NodeId(2), entry: None },
        Command::SetNode { node: NodeId(3), entry: None },
    ]
    .iter()
    .enumerate()
    {
        state.apply(LogIndex(40 + i as u64), command);
    }
    assert_eq!(state.encode_checkpoint().len(), without, "what nobody uses is not written");
}

#[test]
fn a_recovered_cluster_has_another_number_and_nothing_of_what_was_lost() {
    let mut state = start(Options::default(), 4);
    let placement = Placement::even_replicated(2, &[NodeId(1), NodeId(2), NodeId(3)]);
    let mut replicas = placement.shards[&ShardId(1)].replicas.clone();
    replicas.retain(|_, node| *node != NodeId(1));
    let change = PlacementChange {
        expected: state.placement().epoch,
        shards: vec![
            (ShardId(1), Some(placement.shards[&ShardId(1)].replicas.clone())),
            (ShardId(2), Some(replicas.clone())),
        ],
        ..PlacementChange::default()
    };
    state.apply(LogIndex(10), &Command::ChangePlacement(change));
    for n in 1..=3 {
        state.apply(LogIndex(10 + n), &Command::SetNode { node: NodeId(n), entry: Some(sample_node()) });
    }
    state.apply(LogIndex(14), &Command::DrainNode { node: NodeId(2), drains: true });
    let former = state.identity().unwrap().cluster;
    let lost = vec![NodeId(2), NodeId(3)];
    let other = Recovery { former: former ^ 1, cluster: 99, lost: lost.clone() };
    let before = state.encode_checkpoint();
    let mut untouched = state.clone();
    untouched.apply(LogIndex(15), &Command::Recover(other));
    assert_eq!(untouched.identity(), state.identity(), "that is another cluster's");
    assert_eq!(untouched.placement(), state.placement());

    let epoch = state.placement().epoch;
    let applied = state.apply(LogIndex(15), &Command::Recover(Recovery { former, cluster: 99, lost }));
    assert_eq!(state.identity().unwrap().cluster, 99);
    assert_eq!(state.identity().unwrap().hash_seed, untouched.identity().unwrap().hash_seed);
    assert_eq!(state.former_clusters(), [FormerCluster { cluster: former, until: LogIndex(15) }]);
    assert_eq!(state.nodes().keys().copied().collect::<Vec<_>>(), [NodeId(1)]);
    assert!(state.draining().is_empty());
    assert!(state.cluster_version() >= 2);
    assert_eq!(state.placement().epoch, Epoch(epoch.0 + 1));
    let left = &state.placement().shards[&ShardId(1)].replicas;
    assert_eq!(left.values().copied().collect::<Vec<_>>(), [NodeId(1)]);
    let gone = &state.placement().shards[&ShardId(2)].replicas;
    assert_eq!(gone, &replicas, "a shard of which nothing is left is not pretended to be there");
    assert!(state.replicas().keys().filter(|(shard, _)| *shard == ShardId(1)).count() == 1);
    let told = applied.stream_entries();
    assert!(told.iter().any(|(shard, entry)| *shard == ShardId(1) && entry.epoch.is_some()), "{told:?}");
    let again = Adjudicator::decode_checkpoint(Options::default(), &state.encode_checkpoint()).unwrap();
    assert_eq!(again.state_hash(), state.state_hash());
    assert_eq!(again.former_clusters(), state.former_clusters());
    assert_eq!((state.recovered_at(ShardId(1)), state.recovered_at(ShardId(2))), (LogIndex(15), LogIndex(0)));
    assert_ne!(state.encode_checkpoint(), before);
}

#[test]
fn a_shard_that_has_lost_most_of_its_replicas_is_recovered_from_the_rest() {
    let mut state = start(Options::default(), 4);
    let replicas = Placement::even_replicated(2, &[NodeId(1), NodeId(2), NodeId(3)]).shards[&ShardId(1)]
        .replicas
        .clone();
    let change = PlacementChange {
        expected: state.placement().epoch,
        shards: vec![(ShardId(1), Some(replicas))],
        ..PlacementChange::default()
    };
    state.apply(LogIndex(10), &Command::ChangePlacement(change));
    let uncount = |replica| Command::Uncount { shard: ShardId(1), replica: ReplicaId(replica) };
    state.apply(LogIndex(11), &uncount(2));
    let refused = state.apply(LogIndex(12), &uncount(3));
    assert!(matches!(refused.reply, Reply::PlacementRefused(PlacementRefusal::MajorityLost(..))));
    let expected = state.placement().epoch;
    let recover = |shard, expected, lost: &[u64]| Command::RecoverShard {
        shard: ShardId(shard),
        expected,
        lost: lost.iter().copied().map(NodeId).collect(),
    };
    for (index, command, refusal) in [
        (13, recover(9, expected, &[2]), PlacementRefusal::NoSuchShard(ShardId(9))),
        (14, recover(1, expected, &[1, 2, 3]), PlacementRefusal::NoReplicas(ShardId(1))),
        (15, recover(1, Epoch(expected.0 - 1), &[2, 3]), PlacementRefusal::EpochMoved { current: expected }),
    ] {
        assert_eq!(state.apply(LogIndex(index), &command).reply, Reply::PlacementRefused(refusal));
    }
    let done = state.apply(LogIndex(16), &recover(1, expected, &[2, 3]));
    assert_eq!(done.reply, Reply::Placement(Epoch(expected.0 + 1)));
    let left = &state.placement().shards[&ShardId(1)].replicas;
    assert_eq!(left, &BTreeMap::from([(ReplicaId(1), NodeId(1))]));
    assert_eq!((state.recovered_at(ShardId(1)), state.recovered_at(ShardId(2))), (LogIndex(16), LogIndex(0)));
    let again = Adjudicator::decode_checkpoint(Options::default(), &state.encode_checkpoint()).unwrap();
    assert_eq!(again.recovered_at(ShardId(1)), LogIndex(16));
    assert_eq!(again.state_hash(), state.state_hash());
}

#[test]
fn a_checkpoint_with_what_cluster_version_2_has_brought_is_still_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/checkpoint_v2_recovered.hex");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut expected = sample_state();
    let former = expected.identity().unwrap().cluster;
    for (i, command) in [
        Command::SetNode { node: NodeId(2), entry: Some(sample_node()) },
        Command::SetNode { node: NodeId(3), entry: Some(sample_node()) },
        Command::Recover(Recovery { former, cluster: 99, lost: vec![NodeId(3)] }),
        Command::DrainNode { node: NodeId(2), drains: true },
    ]
    .iter()
    .enumerate()
    {
        expected.apply(LogIndex(20 + i as u64), command);
    }
    let stored = std::fs::read_to_string(path).unwrap_or_else(|e| {
        panic!("{path}: {e}; as it is encoded now:\n{}", hex(&expected.encode_checkpoint()))
    });
    let line = stored.trim_end();
    let bytes: Vec<u8> =
        (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).unwrap()).collect();
    let state = Adjudicator::decode_checkpoint(Options::default(), &bytes).unwrap();
    assert_eq!(state.draining(), &BTreeSet::from([NodeId(2)]));
    assert_eq!(state.former_clusters(), [FormerCluster { cluster: former, until: LogIndex(22) }]);
    assert_eq!(state.state_hash(), expected.state_hash());
}

#[test]
fn a_batch_entry_put_together_in_one_go_is_the_same_entry() {
    let draw = Draw { back: 0, reads: vec![1], writes: vec![2], range: Some((3, 1)), resend: false };
    let footprints: Vec<EncodedFootprint> =
        (1..4).map(|n| EncodedFootprint::new(&footprint(n, Timestamp(7), &draw)).unwrap()).collect();
    let (base, ceiling) = (Timestamp(5), Timestamp(6));
    let entry = Batch::entry_of_parts(
        base,
        ceiling,
        footprints.len() as u32,
        footprints.iter().map(EncodedFootprint::bytes),
    );
    assert_eq!(entry, Command::Batch(Batch::of_encoded(base, ceiling, &footprints)).encode());
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let bytes = sample_state().encode_checkpoint();
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Adjudicator::decode_checkpoint(Options::default(), &damaged).is_err(), "byte {at}");
    }
    assert!(Adjudicator::decode_checkpoint(Options::default(), &bytes[..bytes.len() - 1]).is_err());
}
