//! Several faults at once: of random kinds, to random nodes, for random times, whoever is struck already.
//!
//! ```text
//!   kill node 2        ████████
//!   slow disk, node 1      ██████████████
//!   one way, node 3              ███████████
//!   pause node 2                     █████        not before it is back
//! ```
//!
//! Only what would undo one another is kept apart: one fault of the links at a time, and one of a node's process, disk or clock.
//! A majority may be away for a while, so what clients are refused meanwhile is no error of anybody's; what is acknowledged
//! must hold all the same.

use super::client::Board;
use super::fault::Fault;
use super::random::Random;
use crate::cluster::Cluster;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Faults at a time.
const AT_ONCE_MAX: usize = 3;
/// How often it is looked whether one is over, or another begins.
const TICK: Duration = Duration::from_millis(100);
/// In every tick a new one begins in so many of a hundred cases.
const BEGINS: u64 = 12;
/// Of a hundred so many kill all nodes.
const KILLS_ALL: u64 = 6;
/// How long one lasts: from 0.5 to 5 s.
const MILLIS: (u64, u64) = (500, 4_500);

const KINDS: [Fault; 8] = [
    Fault::KillRandom,
    Fault::PauseRandom,
    Fault::PartitionFollower,
    Fault::OneWay,
    Fault::SlowLinks,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::ClockJump,
];

/// What a fault is of: two of the same would undo one another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Links,
    Process(u64),
    Disk(u64),
    Clock(u64),
}

fn part(fault: Fault, node: u64) -> Part {
    match fault {
        Fault::ClockJump => Part::Clock(node),
        _ if fault.is_of_links() => Part::Links,
        _ if fault.is_of_disks() => Part::Disk(node),
        _ => Part::Process(node),
    }
}

/// What happened when: `faults.log` beside the nodes' logs.
struct Diary(std::fs::File);

impl Diary {
    fn new(cluster: &Cluster) -> Result<Diary, String> {
        let file = std::fs::File::create(cluster.directory().join("faults.log"));
        file.map(Diary).map_err(|error| format!("faults.log: {error}"))
    }

    fn note(&mut self, board: &Board, what: &str, fault: Fault, nodes: &[u64]) {
        use std::io::Write as _;
        // It is only there to be looked at.
        let _ = writeln!(self.0, "{:.1?} {what}: {} {nodes:?}", board.elapsed(), fault.name());
    }
}

struct Active {
    fault: Fault,
    nodes: Vec<u64>,
    until: Instant,
}

impl Active {
    fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.nodes.iter().map(|node| part(self.fault, *node))
    }
}

/// Torments until the time is over, and undoes everything; how often it struck. Until all nodes are ready again the board says
/// that times are rough.
pub fn torment(
    cluster: &mut Cluster,
    board: &Board,
    random: &mut Random,
    end: Instant,
) -> Result<u32, String> {
    let nodes = cluster.nodes();
    board.roughen(true);
    let mut active: Vec<Active> = Vec::new();
    let mut faults = 0;
    let mut diary = Diary::new(cluster)?;
    while Instant::now() < end {
        let now = Instant::now();
        for over in active.extract_if(.., |one| one.until <= now) {
            diary.note(board, "over", over.fault, &over.nodes);
            over.fault.undo(cluster, &over.nodes);
        }
        if active.len() < AT_ONCE_MAX && random.percent(BEGINS) {
            let lasts = Duration::from_millis(MILLIS.0 + random.below(MILLIS.1));
            if let Some((fault, struck)) = choose(&nodes, &active, random) {
                diary.note(board, "begins", fault, &struck);
                for node in &struck {
                    fault.strike(cluster, board, *node, random)?;
                }
                active.push(Active { fault, nodes: struck, until: now + lasts });
                faults += 1;
            }
        }
        std::thread::sleep(TICK);
    }
    for over in active {
        over.fault.undo(cluster, &over.nodes);
    }
    Ok(faults)
}

/// A fault and whom it strikes; nothing if it would undo another one.
fn choose(nodes: &[u64], active: &[Active], random: &mut Random) -> Option<(Fault, Vec<u64>)> {
    let (fault, struck) = match random.choose(&KINDS) {
        _ if random.percent(KILLS_ALL) => (Fault::KillAll, nodes.to_vec()),
        Fault::SlowLinks => (Fault::SlowLinks, nodes.to_vec()),
        fault => (fault, vec![random.choose(nodes)]),
    };
    let taken: BTreeSet<Part> = active.iter().flat_map(Active::parts).collect();
    let is_free = struck.iter().all(|node| !taken.contains(&part(fault, *node)));
    is_free.then_some((fault, struck))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_overlap_unless_they_would_undo_one_another() {
        let active = |fault, nodes: &[u64]| Active { fault, nodes: nodes.to_vec(), until: Instant::now() };
        let taken = [active(Fault::PauseRandom, &[1, 2]), active(Fault::SlowLinks, &[1, 2, 3])];
        let mut random = Random::new(3);
        let chosen: Vec<(Fault, Vec<u64>)> =
            (0..1000).filter_map(|_| choose(&[1, 2, 3], &taken, &mut random)).collect();
        let has = |fault| chosen.iter().any(|(chosen, _)| *chosen == fault);
        assert!(has(Fault::SlowDisk) && has(Fault::FullDisk) && has(Fault::ClockJump));
        assert!(!has(Fault::OneWay) && !has(Fault::PartitionFollower) && !has(Fault::KillAll));
        let kills: BTreeSet<u64> = chosen
            .iter()
            .filter(|(fault, _)| *fault == Fault::KillRandom)
            .flat_map(|(_, nodes)| nodes.clone())
            .collect();
        assert_eq!(kills, BTreeSet::from([3]), "the others stand still");
        assert!(
            (0..1000).any(|_| choose(&[1, 2, 3], &[], &mut random).is_some_and(|c| c.0 == Fault::KillAll))
        );
    }
}
