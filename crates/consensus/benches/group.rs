//! A group of three adjudicators in one process, over peers in memory and logs on a real disk.
//!
//! `cargo bench -p assize-consensus --bench group` prints what each of these does in a second: begins that are confirmed by a quorum,
//! transactions in frames of 64, and how long the group is without a leader when the leader's power is cut.

#![allow(clippy::disallowed_methods)] // A bench has a clock.

use assize_adjudicator::EncodedFootprint;
use assize_consensus::memory_peers::MemoryNetwork;
use assize_consensus::{Adjudicator, Founding, Options};
use assize_model::*;
use assize_ports::{AdjudicatorClient, Footprints, Registered, Service, TxnRun};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MEASURED: Duration = Duration::from_secs(3);
const FRAME: usize = 64;

struct Group {
    net: MemoryNetwork,
    nodes: BTreeMap<NodeId, Adjudicator>,
}

impl Group {
    async fn found(count: u64, directory: &Path) -> Group {
        let net = MemoryNetwork::default();
        let ids: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let founders: BTreeMap<NodeId, String> = ids.iter().map(|id| (*id, format!("{id}"))).collect();
        let mut nodes = BTreeMap::new();
        for id in ids {
            let placement = Placement::even(4, NodeId(1));
            let founding = match count {
                1 => Founding::Alone,
                _ => Founding::Together(founders.clone()),
            };
            let options = Options { founding, free_min: 0, ..Options::new(id, placement) };
            let peers = (count > 1).then(|| net.peers(id));
            let directory = Some(directory.join(id.to_string()));
            let node = Adjudicator::open(directory, options, peers).await.expect("a fresh directory opens");
            net.serve(id, Service::Raft, Some(node.raft_service()));
            nodes.insert(id, node);
        }
        Group { net, nodes }
    }

    /// The one that answers.
    async fn leader(&self) -> Adjudicator {
        loop {
            for node in self.nodes.values() {
                if node.begin().await.is_ok() {
                    return node.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// How many begins a second, with so many that wait at the same time.
async fn begins(leader: &Adjudicator, callers: usize) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (leader, done) = (leader.clone(), done.clone());
            tokio::spawn(async move {
                while started.elapsed() < MEASURED {
                    if leader.begin().await.is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no caller panics");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// A frame of transactions that write two keys each, of their own.
fn frame(registered: &Registered, snapshot_ts: Timestamp, sequence: u64) -> Footprints {
    let footprint = |n: u64| {
        let keys = [2 * n, 2 * n + 1].map(|n| Key::new(n.to_le_bytes().to_vec()));
        let hashes = keys.clone().map(|key| key.hash(registered.hash_seed));
        let Registered { frontend, epoch, .. } = *registered;
        let footprint = Footprint {
            txn: TxnId::new(snapshot_ts, DeadlineClass::Normal, frontend, epoch, n),
            groups: vec![AccessGroup { snapshot_ts, checked: hashes.to_vec(), ranges: Vec::new() }],
            schemas: Vec::new(),
            auto_increments: Vec::new(),
            body: CommitBody::Inline {
                mutations: keys.map(|key| Mutation::put(key.clone(), Slot::of(&key.0), vec![7; 16])).to_vec(),
                written: hashes.map(|hash| WrittenKey { hash, ordered: None }).to_vec(),
            },
            catalog_change: None,
        };
        EncodedFootprint::new(&footprint).expect("it is small").bytes().clone()
    };
    (0..FRAME as u64).map(|n| footprint(sequence + n)).collect::<Vec<_>>().iter().collect()
}

/// Decisions a second, with so many frames on their way, and how many of them were commits.
async fn decisions(leader: &Adjudicator, frames: u64) -> (f64, u64) {
    // A life of its own for each measurement, because numbers begin again.
    let registered = leader.register("frontend-1", frames).await.expect("it leads");
    let next = Arc::new(AtomicU64::new(1));
    let (committed, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let callers: Vec<_> = (0..frames)
        .map(|_| {
            let (leader, registered) = (leader.clone(), registered.clone());
            let (next, committed, answered) = (next.clone(), committed.clone(), answered.clone());
            tokio::spawn(async move {
                while started.elapsed() < MEASURED {
                    let Ok(begun) = leader.begin().await else { continue };
                    let sequence = next.fetch_add(FRAME as u64, Ordering::Relaxed);
                    let decisions = leader.commit_many(frame(&registered, begun.snapshot_ts, sequence)).await;
                    let Registered { frontend, epoch, .. } = registered;
                    leader.acknowledge(vec![TxnRun {
                        frontend,
                        epoch,
                        first: sequence,
                        count: FRAME as u64,
                    }]);
                    let commits = decisions.commits();
                    committed.fetch_add(commits.into(), Ordering::Relaxed);
                    answered.fetch_add(decisions.iter().flatten().count() as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no caller panics");
    }
    let rate = answered.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    (rate, committed.load(Ordering::Relaxed))
}

/// From the moment at which nobody hears the leader any more until somebody else answers a begin.
async fn fail_over(group: &mut Group) -> Duration {
    let leader = group.leader().await;
    let gone = leader.id();
    let others: Vec<NodeId> = group.nodes.keys().copied().collect();
    group.nodes.remove(&gone);
    let started = Instant::now();
    group.net.isolate(gone, others);
    group.leader().await;
    let took = started.elapsed();
    group.net.heal();
    group.nodes.insert(gone, leader);
    took
}

#[tokio::main]
async fn main() {
    // The directory of the build: temporary directories may be in memory.
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("group");
    for count in [1, 3] {
        let _ = std::fs::remove_dir_all(&scratch);
        let mut group = Group::found(count, &scratch).await;
        let leader = group.leader().await;
        println!("{count} node(s)");
        for callers in [1, 64, 4096] {
            println!("  begins, {callers:>4} callers      {:>12.0} /s", begins(&leader, callers).await);
        }
        for frames in [1, 16, 128] {
            let (rate, committed) = decisions(&leader, frames).await;
            println!("  decisions, {frames:>3} frames of 64 {rate:>12.0} /s  ({committed} commits)");
        }
        if count > 1 {
            let mut took = Vec::new();
            for _ in 0..5 {
                took.push(fail_over(&mut group).await);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            println!("  without a leader for        {took:?}");
        }
        for node in group.nodes.values() {
            node.shutdown().await;
        }
    }
    let _ = std::fs::remove_dir_all(&scratch);
}
