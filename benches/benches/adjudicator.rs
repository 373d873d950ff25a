//! What a decision costs: the conflict window alone, and whole log entries from bytes to decisions.
//!
//! Goal: at least fifteen million transactions of two reads and two writes a second on one core, with decoding, receipts of
//! the participants, and the outcome table.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use assize_adjudicator::window::Window;
use assize_adjudicator::workload::{ENTRY_TXNS, Kernel, Mode, Skew, Workload};
use assize_model::*;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Entries are made so many at a time, beside the clock.
const ENTRIES_AHEAD: u64 = 64;

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
    for log2 in [12u8, 18, 20] {
        let mut window = Window::new(log2);
        let mut n = 0u64;
        group.throughput(Throughput::Elements(ENTRY_TXNS));
        group.bench_function(BenchmarkId::new("check 4, record 2", format!("2^{log2} buckets")), |b| {
            b.iter(|| {
                let batch = BatchNumber(n / ENTRY_TXNS + 1);
                let snapshot = BatchNumber(n / ENTRY_TXNS);
                for i in n..n + ENTRY_TXNS {
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
                n += ENTRY_TXNS;
            });
        });
    }
    group.finish();
}

/// Bytes in, decisions out: everything that a log entry costs a node besides the log.
fn kernel(c: &mut Criterion) {
    let mut group = c.benchmark_group("kernel");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    group.throughput(Throughput::Elements(ENTRY_TXNS));
    let ordinary = Workload::ordinary;
    let inline = Mode::Inline { value_bytes: 16 };
    let zipf = Skew::Zipf { theta: 0.99 };
    for (name, workload, window_log2) in [
        ("prepared, uniform, 2^18 buckets", ordinary(), 18),
        ("prepared, uniform, 2^20 buckets", ordinary(), 20),
        ("prepared, zipf 0.99, 2^18 buckets", Workload { skew: zipf, ..ordinary() }, 18),
        ("inline, uniform, 2^18 buckets", Workload { mode: inline, ..ordinary() }, 18),
    ] {
        let mut kernel = Kernel::new(workload, window_log2);
        let (mut sent, mut committed) = (0, 0);
        group.bench_function(BenchmarkId::new("decode and apply, 2 reads 2 writes", name), |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let count = left.min(ENTRIES_AHEAD);
                    let entries: Vec<Bytes> = (0..count).map(|_| kernel.entry()).collect();
                    let start = Instant::now();
                    for entry in &entries {
                        let decisions = kernel.apply(entry).expect("a well-formed entry");
                        sent += decisions.len();
                        committed += decisions.commits();
                    }
                    spent += start.elapsed();
                    left -= count;
                }
                spent
            });
        });
        println!("{:.1} % of them committed\n", committed as f64 * 100.0 / sent as f64);
    }
    group.finish();
}

/// What entries wait for when a checkpoint begins: the copy's beginning, and each part of the window; beside a clone.
fn copy(c: &mut Criterion) {
    let mut kernel = Kernel::new(Workload::ordinary(), 18);
    for _ in 0..3000 {
        let entry = kernel.entry();
        kernel.apply(&entry).expect("a well-formed entry");
    }
    let mut state = kernel.state().clone();
    let mut group = c.benchmark_group(format!("copy, {} outcomes", state.outcomes_held()));
    group.sample_size(20);
    group.bench_function("begin", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                let copy = state.begin_copy();
                spent += start.elapsed();
                drop(copy);
                state.complete_copies();
            }
            spent
        });
    });
    group.bench_function("longest part", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let mut copy = state.begin_copy();
                let mut longest = Duration::ZERO;
                let mut is_complete = false;
                while !is_complete {
                    let start = Instant::now();
                    is_complete = copy.fill(&state);
                    longest = longest.max(start.elapsed());
                }
                state.complete_copies();
                spent += longest;
            }
            spent
        });
    });
    group.bench_function("clone", |b| b.iter(|| black_box(state.clone())));
    group.finish();
}

criterion_group!(benches, window, kernel, copy);
criterion_main!(benches);
