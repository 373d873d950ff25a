//! Chaos: workloads through real MySQL connections, while nodes are killed, stopped, cut off and their disks and clocks
//! misbehave; afterwards their histories are judged.
//!
//! ```text
//!   run(plan) ─┬─ clients, some per workload ──▶ any living node          history of each workload
//!              ├─ tormentor: inject a fault, hold it, heal, wait, again         │
//!              ├─ after healing: final reads at every node ──────────────▶ check ──▶ Verdict
//!              └─ stop all nodes, read their disks ──────────────────────▶ white_box ──▶ Report
//! ```
//!
//! Workloads ([`workload`]) and faults ([`fault`]) are independent: a plan names some of each. All of a plan's
//! workloads run at once on one cluster. Every wait is bounded; nothing leaves loopback. In the end the nodes are stopped, and
//! what is on their disks is judged as well ([`white_box`]).
//!
//! What counts as a client's error: a refusal, or a broken connection, of a node that was in good health while the
//! connection was used. What happens to connections of a node that is being killed, stopped or cut off is counted
//! apart, as a loss. A conflict (SQLSTATE 40001) is neither: the transaction was refused, as documented.

pub mod check;
pub mod client;
pub mod elle;
pub mod fault;
pub mod history;
pub mod mixed;
pub mod random;
pub mod report;
mod reshape;
pub mod testimony;
pub mod white_box;
pub mod workload;

use crate::Assize;
use crate::cluster::{Cluster, Options};
use assize_model::Timestamp;
use client::{Board, Client};
use fault::Fault;
use random::Random;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use workload::{Kind, Level, Workload};

/// How long a cluster may take to be ready after everything was healed.
const HEAL_LIMIT: Duration = Duration::from_secs(60);
/// Undisturbed work before the first fault.
const WARM_UP: Duration = Duration::from_secs(2);
/// Bytes of the log that node 1 keeps when the white-box checker wants it: more than any run writes.
const LOG_KEPT: u64 = 4 << 30;
/// Bytes of the log after which the other nodes take a checkpoint then.
const CHECKPOINT_EVERY: u64 = 2 << 20;
/// Time from the end of one fault to the beginning of the next.
const BREATH: Duration = Duration::from_secs(3);

/// What to do to a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of nodes.
    pub nodes: u64,
    /// What the clients do.
    pub workloads: Vec<(Kind, Level)>,
    /// Clients of each workload.
    pub clients: u64,
    /// What happens to the nodes.
    pub fault: Fault,
    /// How long clients work.
    pub duration: Duration,
    /// Chooses keys, victims and moments.
    pub seed: u64,
    /// Further settings of every node.
    pub settings: Vec<String>,
    /// Keep the cluster's directory.
    pub is_kept: bool,
    /// Judge what is on the nodes' disks, too.
    pub is_white_box: bool,
    /// Where histories that Elle can judge are written to.
    pub history: Option<std::path::PathBuf>,
    /// The command that judges them as `elle-cli` does.
    pub elle: Option<String>,
    /// The binary of the release that is upgraded; `None`: there is none.
    pub old_binary: Option<PathBuf>,
}

impl Plan {
    /// Settings of every node.
    fn node_settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        if self.is_white_box {
            // A node that keeps all of its log is not to refuse work because of it.
            settings.push(format!("adjudicator.retained_bytes_max={}", 4 * LOG_KEPT));
            settings.push(format!("pressure.log_bytes_max={}", 2 * LOG_KEPT));
        }
        settings.extend(self.settings.iter().cloned());
        settings
    }

    /// Three nodes, a minute, four clients for each workload.
    pub fn new(workloads: Vec<(Kind, Level)>, fault: Fault) -> Self {
        Plan {
            nodes: 3,
            workloads,
            clients: 4,
            fault,
            duration: Duration::from_secs(60),
            seed: 1,
            settings: Vec::new(),
            is_kept: false,
            is_white_box: true,
            history: None,
            elle: None,
            old_binary: None,
        }
    }
}

/// What one workload went through, and whether it was treated right.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which workload.
    pub kind: Kind,
    /// At which isolation level.
    pub level: Level,
    /// What its clients saw.
    pub tally: client::Tally,
    /// What its checkers found.
    pub findings: check::Findings,
}

/// What a plan led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which fault.
    pub fault: Fault,
    /// How often it struck.
    pub faults: u32,
    /// One per workload.
    pub verdicts: Vec<Verdict>,
    /// What the nodes' disks say; `None` if nobody asked.
    pub white_box: Option<white_box::Report>,
    /// What is wrong with the cluster itself: a node that did not come back, a damaged table.
    pub troubles: Vec<String>,
    /// Where the cluster's directory is, if it was kept.
    pub directory: Option<std::path::PathBuf>,
}

impl Outcome {
    /// Whether nothing was lost, no anomaly seen, and the cluster healed.
    pub fn is_clean(&self) -> bool {
        self.troubles.is_empty()
            && self.white_box.as_ref().is_none_or(|report| report.violations() == 0)
            && self.verdicts.iter().all(|v| v.findings.anomalies.is_empty() && v.findings.lost == 0)
    }
}

/// Runs a plan from a fresh cluster to the verdict.
///
/// # Panics
/// If the cluster does not start, or its tables cannot be made.
pub fn run(plan: &Plan) -> Outcome {
    let mut cluster = Cluster::prepare(Options {
        settings: plan.node_settings(),
        environment: plan.fault.environment(),
        with_links: plan.nodes > 1 && plan.fault.needs_links(),
        old_binary: plan.old_binary.clone(),
        ..Options::nodes(plan.nodes)
    });
    plan.fault.prepare(cluster.directory(), plan.nodes);
    if plan.is_white_box {
        keep_the_log(&mut cluster);
    }
    cluster.start_all();
    let nodes = cluster.nodes().into_iter().map(|node| (node, cluster.ports(node).mysql));
    let board = Arc::new(if plan.is_white_box { Board::with_testimonies(nodes) } else { Board::new(nodes) });
    let workloads: Vec<Workload> =
        plan.workloads.iter().map(|(kind, level)| Workload::new(*kind, *level, plan.seed)).collect();
    for workload in &workloads {
        workload.set_up(&mut cluster.connect(1).expect("a ready node takes connections"), &board);
    }
    let born = if plan.is_white_box { snapshot(&cluster, &workloads) } else { Timestamp::ZERO };

    let stop = AtomicBool::new(false);
    let (faults, mut troubles, clients) = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, workload) in workloads.iter().enumerate() {
            for client in 0..plan.clients {
                let (board, stop) = (board.clone(), &stop);
                let seed = plan.seed.wrapping_add(1 + number as u64 * plan.clients + client);
                threads.push(scope.spawn(move || {
                    let mut client = Client::new(board, client, workload.level());
                    let mut random = Random::new(seed);
                    while !stop.load(Ordering::Relaxed) {
                        workload.step(&mut client, &mut random);
                    }
                    (number, client.into_tally())
                }));
            }
        }
        let (faults, troubles) = torment(&mut cluster, &board, plan);
        stop.store(true, Ordering::Relaxed);
        let tallies: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("clients do not panic")).collect();
        (faults, troubles, tallies)
    });

    let mut verdicts = Vec::new();
    for (number, workload) in workloads.iter().enumerate() {
        let mut tally = client::Tally::default();
        clients.iter().filter(|(of, _)| *of == number).for_each(|(_, t)| tally.add(t));
        tally.settle();
        let mut findings = workload.check(&cluster, &board);
        match hand_to_elle(plan, workload) {
            Ok(said) => findings.absorb(said),
            Err(error) => {
                troubles.push(format!("the history of {} cannot be written: {error}", workload.schema()))
            }
        }
        troubles.extend(damaged_tables(&cluster, workload));
        verdicts.push(Verdict { kind: workload.kind(), level: workload.level(), tally, findings });
    }
    let white_box = plan.is_white_box.then(|| {
        let tables = workloads.iter().flat_map(|workload| {
            let schema = workload.schema().to_owned();
            workload.table_names().iter().map(move |table| (schema.clone(), (*table).to_owned()))
        });
        cluster.stop_all();
        let testimonies = board.take_testimonies();
        white_box::gather(&cluster).map(|nodes| {
            white_box::judge(&white_box::Case { nodes, testimonies, tables: tables.collect(), born })
        })
    });
    let white_box = white_box.transpose().unwrap_or_else(|unreadable| {
        troubles.push(unreadable);
        None
    });
    let directory = plan.is_kept.then(|| {
        cluster.keep();
        cluster.directory().to_owned()
    });
    Outcome { fault: plan.fault, faults, verdicts, white_box, troubles, directory }
}

/// Writes a history for Elle, and asks Elle, as far as the plan says so.
fn hand_to_elle(plan: &Plan, workload: &Workload) -> std::io::Result<check::Findings> {
    let (Some(directory), Some((model, ops))) = (&plan.history, workload.for_elle()) else {
        return Ok(check::Findings::default());
    };
    std::fs::create_dir_all(directory)?;
    let (fault, kind, level) = (plan.fault.name(), workload.kind().name(), workload.level());
    let file = directory.join(format!("{fault}-{kind}-{}.edn", level.suffix()));
    std::fs::write(&file, elle::edn(&ops))?;
    let said = plan.elle.as_ref().map(|command| elle::check(command, &file, model, level));
    Ok(said.unwrap_or_default())
}

/// A snapshot that is taken now and holds everything that was acknowledged before.
fn snapshot(cluster: &Cluster, workloads: &[Workload]) -> Timestamp {
    use mysql::prelude::Queryable;
    let mut connection = cluster.connect(1).expect("a ready node takes connections");
    let table = workloads.first().and_then(|workload| workload.tables().first().cloned());
    let table = table.expect("a plan has a workload, and a workload a table");
    let told = connection
        .query_drop(format!("SELECT COUNT(*) FROM {table}"))
        .and_then(|()| testimony::ask(&mut connection));
    told.expect("a ready node answers").expect("it knows of the transaction before").snapshot_ts
}

/// One node keeps all of its log, for the white-box checker; the others take checkpoints often, so that restarts from them
/// are tormented, too, and compared with the log.
fn keep_the_log(cluster: &mut Cluster) {
    for node in cluster.nodes() {
        let bytes = if node == 1 { LOG_KEPT } else { CHECKPOINT_EVERY };
        cluster.set(node, &[&format!("adjudicator.checkpoint_bytes={bytes}")]);
    }
}

/// Injects and heals until the plan's time is over; at the end every node is ready, or the troubles say which is not.
fn torment(cluster: &mut Cluster, board: &Board, plan: &Plan) -> (u32, Vec<String>) {
    let mut random = Random::new(plan.seed);
    let end = Instant::now() + plan.duration;
    let mut faults = 0;
    std::thread::sleep(WARM_UP.min(plan.duration));
    if plan.fault == Fault::Mixed {
        let calm_from = end.checked_sub(BREATH).unwrap_or(end);
        match mixed::torment(cluster, board, &mut random, calm_from) {
            Ok(struck) => faults = struck,
            Err(trouble) => return (faults, vec![trouble]),
        }
    }
    let is_over = |cluster: &Cluster| match plan.fault {
        Fault::None | Fault::Mixed => true,
        Fault::Upgrade => cluster.old_nodes().is_empty(),
        _ => false,
    };
    while !is_over(cluster) && Instant::now() + plan.fault.hold() < end {
        faults += 1;
        let struck = match plan.fault.inject(cluster, board, &mut random) {
            Ok(struck) => struck,
            Err(trouble) => return (faults, vec![trouble]),
        };
        std::thread::sleep(plan.fault.hold());
        if let Err(trouble) = plan.fault.heal(cluster, board, &struck, HEAL_LIMIT) {
            return (faults, vec![trouble]);
        }
        std::thread::sleep(BREATH.min(end.saturating_duration_since(Instant::now())));
    }
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    let mut troubles = Vec::new();
    for node in cluster.nodes() {
        if let Err(why) = cluster.try_wait_ready(node, HEAL_LIMIT) {
            troubles.push(format!("node {node} after healing: {why}\n{}", cluster.tail(node)));
        }
    }
    board.roughen(false);
    if plan.fault == Fault::Upgrade {
        troubles.extend(unfinished_upgrade(cluster));
    }
    (faults, troubles)
}

/// What is missing for an upgrade to be over: nodes of the old release, or the version that all understand now.
fn unfinished_upgrade(cluster: &Cluster) -> Option<String> {
    let old = cluster.old_nodes();
    if !old.is_empty() {
        return Some(format!("nodes {old:?} still run the old release: there was not enough time"));
    }
    let admin = format!("127.0.0.1:{}", cluster.ports(1).admin);
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(Assize::binary());
        let told = crate::run(command.args(arguments).args(["--admin", &admin]), b"");
        String::from_utf8_lossy(&told.stdout).into_owned()
    };
    let understood = |line: &str| {
        let member: serde_json::Value = serde_json::from_str(line).ok()?;
        member["cluster_version_max"].as_u64()
    };
    let began = Instant::now();
    loop {
        let members = ask(&["members", "list", "--output", "json"]);
        let common = members.lines().map(understood).min().flatten();
        let status = ask(&["status"]);
        if common.is_some_and(|common| status.contains(&format!("cluster version {common}"))) {
            return None;
        }
        if began.elapsed() > HEAL_LIMIT {
            return Some(format!("all understand {common:?}, and the cluster says:\n{status}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `CHECK TABLE` of a workload's tables.
fn damaged_tables(cluster: &Cluster, workload: &Workload) -> Vec<String> {
    use mysql::prelude::Queryable;
    let check = |table: &String| -> mysql::Result<Option<String>> {
        let rows: Vec<(String, String, String, String)> =
            cluster.connect(1)?.query(format!("CHECK TABLE {table}"))?;
        let bad =
            rows.into_iter().find(|(_, _, kind, text)| kind == "error" || (kind == "status" && text != "OK"));
        Ok(bad.map(|(table, _, _, text)| format!("{table}: {text}")))
    };
    let tables = workload.tables();
    tables.iter().filter_map(|table| check(table).unwrap_or_else(|e| Some(format!("{table}: {e}")))).collect()
}
