//! What a decision costs: the conflict window alone, and whole log entries from bytes to decisions.
//!
//! Goal: at least ten million transactions of two reads and two writes a second on one core, decoding included.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use assize_adjudicator::command::{Acknowledgement, Batch, Bootstrap, Command};
use assize_adjudicator::window::Window;
use assize_adjudicator::{Adjudicator, Options};
use assize_model::*;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

const BATCH: u64 = 1024;
const FRONTENDS: u64 = 16;

/// Spreads numbers over all 64 bits.
fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

fn key_hash(n: u64) -> KeyHash {
    KeyHash(mix(mix(n)))
}

fn window(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    for log2 in [12u8, 20] {
        let mut window = Window::new(log2);
        let mut n = 0u64;
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function(BenchmarkId::new("check 4, record 2", format!("2^{log2} buckets")), |b| {
            b.iter(|| {
                let batch = BatchNumber(n / BATCH + 1);
                let snapshot = BatchNumber(n / BATCH);
                for i in n..n + BATCH {
                    for k in 0..4 {
                        window.prefetch(key_hash((i + 8) * 4 + k));
                    }
                    for k in 0..4 {
                        black_box(window.last_commit(key_hash(i * 4 + k), snapshot));
                    }
                    for k in 2..4 {
                        window.record(key_hash(i * 4 + k), batch);
                    }
                }
                n += BATCH;
            });
        });
    }
    group.finish();
}

/// How the writes of the measured transactions travel.
#[derive(Clone, Copy)]
enum Mode {
    Prepared,
    Inline,
}

fn entry(number: u64, mode: Mode) -> Bytes {
    let snapshot_ts = Timestamp::from_millis(1_000_000 + number);
    let footprints: Vec<Footprint> = (number * BATCH..(number + 1) * BATCH)
        .map(|n| {
            let checked: Vec<KeyHash> = (0..4).map(|k| key_hash(n * 4 + k)).collect();
            let written = checked[2..].iter().map(|hash| WrittenKey { hash: *hash, ordered: None }).collect();
            let body = match mode {
                Mode::Prepared => CommitBody::Prepared {
                    receipts: vec![Receipt {
                        shard: ShardId(1),
                        epoch: Epoch(1),
                        digest: WriteDigest::default(),
                    }],
                    written,
                },
                Mode::Inline => CommitBody::Inline {
                    mutations: (0..2)
                        .map(|k| {
                            let key = Key::new(mix(n * 2 + k).to_be_bytes().to_vec());
                            Mutation::put(key, Slot(mix(n * 2 + k) as u16), vec![7; 16])
                        })
                        .collect(),
                    written,
                },
            };
            Footprint {
                txn: TxnId::new(
                    snapshot_ts,
                    DeadlineClass::Normal,
                    FrontendId((1 + n % FRONTENDS) as u32),
                    FrontendEpoch(1),
                    n / FRONTENDS,
                ),
                groups: vec![AccessGroup { snapshot_ts, checked, ranges: Vec::new() }],
                schemas: vec![(TableId(1), SchemaVersion(1))],
                auto_increments: Vec::new(),
                body,
                catalog_change: None,
            }
        })
        .collect();
    Command::Batch(Batch::new(Timestamp::from_millis(1_000_001 + number), &footprints)).encode().into()
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    for (name, mode, stream) in [
        ("prepared", Mode::Prepared, false),
        ("inline, no subscribers", Mode::Inline, false),
        ("inline, streamed", Mode::Inline, true),
    ] {
        let mut state = Adjudicator::new(Options { stream, ..Options::default() });
        let placement = Placement::even(4, NodeId(1));
        let mut bootstrap = Bootstrap::new(1, 2, Timestamp::from_millis(1_000_000), placement);
        bootstrap.window_log2 = 20;
        bootstrap.outcomes_max = 1 << 26;
        let mut index = 1;
        state.apply(LogIndex(index), &Command::Bootstrap(bootstrap));
        for frontend in 1..=FRONTENDS {
            index += 1;
            let grant = Command::GrantFrontend { frontend: FrontendId(frontend as u32), nonce: 1 };
            state.apply(LogIndex(index), &grant);
        }
        let mut number = 0;
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function(BenchmarkId::new("decode and apply, 2 reads 2 writes", name), |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let bytes = entry(number, mode);
                    number += 1;
                    index += 1;
                    let start = Instant::now();
                    let command = Command::decode(&bytes).expect("a well-formed entry");
                    let applied = state.apply(LogIndex(index), &command);
                    spent += start.elapsed();
                    assert!(applied.decisions.iter().all(Decision::is_commit));
                    if number % 100 == 0 {
                        // Frontends acknowledge, so that outcomes leave memory as they do in life.
                        let acknowledged = (1..=FRONTENDS)
                            .map(|frontend| Acknowledgement {
                                frontend: FrontendId(frontend as u32),
                                epoch: FrontendEpoch(1),
                                below: number * BATCH / FRONTENDS,
                            })
                            .collect();
                        index += 1;
                        state.apply(LogIndex(index), &Command::AcknowledgeOutcomes { acknowledged });
                    }
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, window, apply);
criterion_main!(benches);
