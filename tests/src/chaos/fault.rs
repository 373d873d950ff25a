//! What happens to nodes, and how it is undone.

use super::client::Board;
use super::random::Random;
use crate::cluster::{Cluster, Rule};
use crate::{root, run_ok};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a leader is waited for before a fault strikes.
const LEADER_LIMIT: Duration = Duration::from_secs(30);
/// How long the leader's disk is late before everything is killed.
const LATE_FOR: Duration = Duration::from_millis(500);
/// What a delayed link adds.
const LINK_DELAY: Duration = Duration::from_millis(50);

/// The faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Nothing happens.
    None,
    /// `kill -9` of the leader.
    KillLeader,
    /// `kill -9` of a follower.
    KillFollower,
    /// `kill -9` of any node.
    KillRandom,
    /// `kill -9` of all nodes at once.
    KillAll,
    /// Every fsync of the leader takes 100 ms longer for a while, so that the others commit what it has not written; then
    /// `kill -9` of all nodes at once.
    KillAllLeaderLate,
    /// SIGSTOP of the leader.
    PauseLeader,
    /// SIGSTOP of any node.
    PauseRandom,
    /// The leader is cut off from the others, in both directions.
    PartitionLeader,
    /// A follower is cut off from the others, in both directions.
    PartitionFollower,
    /// The leader hears the others, and they do not hear it.
    OneWay,
    /// Everything that any node sends the others takes 50 ms longer.
    SlowLinks,
    /// Every fsync of one node takes 100 ms longer.
    SlowDisk,
    /// The disk of one node is full.
    FullDisk,
    /// The clock of one node jumps by up to 20 seconds, forward or back.
    ClockJump,
    /// SIGTERM and restart of every node in turn.
    RollingRestart,
    /// Shards are split and merged, and during every second of these jobs `kill -9` of any node; see [`super::reshape`].
    Reshape,
    /// Several of the others at once, of random nodes, for random times; see [`super::mixed`].
    Mixed,
    /// SIGTERM of a node of the old release, which the new one replaces; one node at a time, until none is left.
    Upgrade,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// To which nodes.
    nodes: Vec<u64>,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 19] = [
        Fault::None,
        Fault::KillLeader,
        Fault::KillFollower,
        Fault::KillRandom,
        Fault::KillAll,
        Fault::KillAllLeaderLate,
        Fault::PauseLeader,
        Fault::PauseRandom,
        Fault::PartitionLeader,
        Fault::PartitionFollower,
        Fault::OneWay,
        Fault::SlowLinks,
        Fault::SlowDisk,
        Fault::FullDisk,
        Fault::ClockJump,
        Fault::RollingRestart,
        Fault::Reshape,
        Fault::Mixed,
        Fault::Upgrade,
    ];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::KillLeader => "kill-leader",
            Fault::KillFollower => "kill-follower",
            Fault::KillRandom => "kill-random",
            Fault::KillAll => "kill-all",
            Fault::KillAllLeaderLate => "kill-all-leader-late",
            Fault::PauseLeader => "pause-leader",
            Fault::PauseRandom => "pause-random",
            Fault::PartitionLeader => "partition-leader",
            Fault::PartitionFollower => "partition-follower",
            Fault::OneWay => "one-way",
            Fault::SlowLinks => "slow-links",
            Fault::SlowDisk => "slow-disk",
            Fault::FullDisk => "full-disk",
            Fault::ClockJump => "clock-jump",
            Fault::RollingRestart => "rolling-restart",
            Fault::Reshape => "reshape",
            Fault::Mixed => "mixed",
            Fault::Upgrade => "upgrade",
        }
    }

    /// How long it lasts before it is undone.
    pub fn hold(self) -> Duration {
        Duration::from_millis(match self {
            Fault::None | Fault::RollingRestart | Fault::Mixed | Fault::Upgrade => 0,
            Fault::KillLeader | Fault::KillFollower | Fault::KillRandom | Fault::Reshape => 2_000,
            Fault::KillAll | Fault::KillAllLeaderLate => 200,
            Fault::ClockJump => 3_000,
            _ => 4_000,
        })
    }

    /// Whether it makes sense only with more than one node.
    pub fn needs_several(self) -> bool {
        matches!(self, Fault::KillFollower | Fault::KillAllLeaderLate) || self.needs_links()
    }

    /// Whether peers must reach each other through proxies.
    pub fn needs_links(self) -> bool {
        self == Fault::Mixed || self.is_of_links()
    }

    /// Whether it is the links that misbehave.
    pub fn is_of_links(self) -> bool {
        matches!(self, Fault::PartitionLeader | Fault::PartitionFollower | Fault::OneWay | Fault::SlowLinks)
    }

    /// Whether the disks of the nodes must be able to misbehave.
    fn needs_disks(self) -> bool {
        self == Fault::Mixed || self.is_of_disks()
    }

    /// Whether it is the disks that misbehave.
    pub fn is_of_disks(self) -> bool {
        matches!(self, Fault::SlowDisk | Fault::FullDisk | Fault::KillAllLeaderLate)
    }

    fn needs_clocks(self) -> bool {
        matches!(self, Fault::ClockJump | Fault::Mixed)
    }

    /// Environment of the processes; see [`crate::cluster::Options::environment`].
    pub fn environment(self) -> Vec<(String, String)> {
        let (mut libraries, mut pairs) = (Vec::new(), Vec::new());
        if self.needs_disks() {
            libraries.push("{dir}/fault.so");
            pairs.extend([("FAULT_DIR", "{dir}/node-{node}/"), ("FAULT_SWITCH", "{dir}/disk-{node}")]);
        }
        if self.needs_clocks() {
            libraries.push("{dir}/clock.so");
            pairs.push(("CLOCK_SWITCH", "{dir}/clock-{node}"));
        }
        let preload = libraries.join(":");
        if !preload.is_empty() {
            pairs.push(("LD_PRELOAD", &preload));
        }
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Builds what the processes preload, before they start.
    ///
    /// # Panics
    /// If there is no C compiler.
    pub fn prepare(self, directory: &Path, nodes: u64) {
        if self.needs_disks() {
            compile("fault", directory);
            (1..=nodes).for_each(|node| switch(directory, "disk", node, b"none"));
        }
        if self.needs_clocks() {
            compile("clock", directory);
            (1..=nodes).for_each(|node| switch(directory, "clock", node, &0i64.to_ne_bytes()));
        }
    }

    /// Strikes. An error if there is nobody to strike.
    pub fn inject(self, cluster: &mut Cluster, board: &Board, random: &mut Random) -> Result<Struck, String> {
        let nodes = cluster.nodes();
        let nodes = match self {
            Fault::None
            | Fault::RollingRestart
            | Fault::KillAll
            | Fault::KillAllLeaderLate
            | Fault::SlowLinks => nodes,
            Fault::KillLeader | Fault::PauseLeader | Fault::PartitionLeader | Fault::OneWay => {
                vec![leader(cluster)?]
            }
            Fault::KillFollower | Fault::PartitionFollower => {
                let leader = leader(cluster)?;
                let followers: Vec<u64> = nodes.iter().copied().filter(|node| *node != leader).collect();
                if followers.is_empty() {
                    return Err("there is no follower".to_owned());
                }
                vec![random.choose(&followers)]
            }
            Fault::Reshape => super::reshape::strike(cluster, random)?,
            Fault::Upgrade => {
                let old = cluster.old_nodes();
                if old.is_empty() { old } else { vec![random.choose(&old)] }
            }
            _ => vec![random.choose(&nodes)],
        };
        if self.hurts_clients() {
            nodes.iter().for_each(|node| board.disturb(*node));
        }
        if self == Fault::KillAllLeaderLate {
            let leader = leader(cluster)?;
            switch(cluster.directory(), "disk", leader, b"late");
            std::thread::sleep(LATE_FOR);
        }
        for node in &nodes {
            self.strike(cluster, board, *node, random)?;
        }
        Ok(Struck { nodes })
    }

    /// Whether clients of a stricken node may see more than a delay.
    fn hurts_clients(self) -> bool {
        // A restart disturbs one node at a time, by itself.
        !matches!(
            self,
            Fault::None
                | Fault::SlowLinks
                | Fault::SlowDisk
                | Fault::ClockJump
                | Fault::RollingRestart
                | Fault::Upgrade
        )
    }

    /// Strikes one node, or whoever is left of it.
    pub fn strike(
        self,
        cluster: &mut Cluster,
        board: &Board,
        node: u64,
        random: &mut Random,
    ) -> Result<(), String> {
        let others = cluster.nodes();
        match self {
            // What is mixed strikes by itself.
            Fault::None | Fault::Mixed => {}
            Fault::KillLeader
            | Fault::KillFollower
            | Fault::KillRandom
            | Fault::KillAll
            | Fault::KillAllLeaderLate
            | Fault::Reshape => cluster.kill(node),
            // It may have ended by itself, with its disk full, a moment ago.
            Fault::PauseLeader | Fault::PauseRandom if cluster.is_running(node) => cluster.pause(node),
            Fault::PauseLeader | Fault::PauseRandom => {}
            Fault::PartitionLeader | Fault::PartitionFollower => cluster.links().isolate(node, &others),
            Fault::OneWay => {
                for other in others.iter().filter(|other| **other != node) {
                    cluster.links().set(node, *other, Rule::Block);
                }
            }
            Fault::SlowLinks => {
                for other in others.iter().filter(|other| **other != node) {
                    cluster.links().set(node, *other, Rule::Delay(LINK_DELAY));
                }
            }
            Fault::SlowDisk => switch(cluster.directory(), "disk", node, b"late"),
            Fault::FullDisk => switch(cluster.directory(), "disk", node, b"full"),
            Fault::ClockJump => {
                let seconds = 5 + random.below(16) as i64;
                let micros = 1_000_000 * if random.percent(50) { seconds } else { -seconds };
                switch(cluster.directory(), "clock", node, &micros.to_ne_bytes());
            }
            Fault::RollingRestart => restart(cluster, board, node)?,
            Fault::Upgrade => {
                cluster.upgrade(node);
                restart(cluster, board, node)?;
            }
        }
        Ok(())
    }

    /// Undoes it.
    pub fn undo(self, cluster: &mut Cluster, nodes: &[u64]) {
        if self.is_of_links() {
            cluster.links().heal();
        }
        for node in nodes {
            match self {
                Fault::PauseLeader | Fault::PauseRandom if cluster.is_running(*node) => cluster.resume(*node),
                _ if self.is_of_disks() => switch(cluster.directory(), "disk", *node, b"none"),
                Fault::ClockJump => switch(cluster.directory(), "clock", *node, &0i64.to_ne_bytes()),
                _ => {}
            }
            // A node may have stopped by itself, as one with a full disk should rather than go on.
            if !cluster.is_running(*node) {
                cluster.start_node(*node);
            }
        }
    }

    /// Undoes it and waits until every node that was struck is ready.
    pub fn heal(
        self,
        cluster: &mut Cluster,
        board: &Board,
        struck: &Struck,
        limit: Duration,
    ) -> Result<(), String> {
        self.undo(cluster, &struck.nodes);
        for node in &struck.nodes {
            cluster.try_wait_ready(*node, limit).map_err(|why| {
                format!("node {node} after {}: {why}\n{}", self.name(), cluster.tail(*node))
            })?;
            board.calm(*node);
        }
        Ok(())
    }
}

/// Drains a node, starts it again and waits until it is ready.
fn restart(cluster: &mut Cluster, board: &Board, node: u64) -> Result<(), String> {
    board.disturb(node);
    let status = cluster.terminate(node);
    if !status.success() {
        return Err(format!("node {node} drained and ended with {status}\n{}", cluster.tail(node)));
    }
    cluster.start_node(node);
    cluster
        .try_wait_ready(node, LEADER_LIMIT)
        .map_err(|why| format!("node {node} after its restart: {why}\n{}", cluster.tail(node)))?;
    board.calm(node);
    Ok(())
}

fn leader(cluster: &mut Cluster) -> Result<u64, String> {
    let tries = LEADER_LIMIT.as_millis() / 50;
    for _ in 0..tries {
        if let Some(leader) = cluster.leader() {
            return Ok(leader);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("no node says that it leads, for {LEADER_LIMIT:?}"))
}

fn compile(name: &str, directory: &Path) {
    let source = root().join("tests/data").join(format!("{name}.c"));
    let library = directory.join(format!("{name}.so"));
    run_ok(
        Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(library).arg(source).arg("-ldl"),
        b"",
    );
}

/// Writes a preloaded library's switch in place: the library may have mapped the file.
fn switch(directory: &Path, kind: &str, node: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let path = directory.join(format!("{kind}-{node}"));
    let file = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(path);
    file.and_then(|file| file.write_all_at(bytes, 0)).expect("a switch can be written");
}
