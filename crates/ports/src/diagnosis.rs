//! What is wrong with a cluster, and what to do about it, in words. A pure function of what the cluster says of itself.

mod foreign;
mod shards;
#[cfg(test)]
mod tests;

use crate::{
    CERTIFICATE_SECONDS_LOW, CertificateInfo, ForeignTroubles, JobInfo, MemberInfo, MemberRole, Members,
    ROOM_MIN_BYTES, Rebuff, RebuffCause, STALLED_MILLIS_MAX, ShardInfo, majority,
};
use assize_model::{NodeId, Slot};
use shards::{names, shards_on, too_few_nodes};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Free disk below which an operator should act before the node must.
const DISK_FREE_LOW_BYTES: u64 = 2 << 30;
/// Log entries by which a healthy follower may be behind.
const ENTRIES_BEHIND_MAX: u64 = 10_000;
/// Milliseconds by which a healthy replica may be behind.
const LAG_MILLIS_MAX: u64 = 5_000;

/// How a cluster does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// Nothing is wrong.
    Healthy,
    /// Clients are served; something needs attention.
    Degraded,
    /// Some or all statements cannot be served now.
    Unavailable,
}

impl Health {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unavailable => "unavailable",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Needs attention; clients are served.
    Warning,
    /// Clients are not served, or data is in danger.
    Critical,
}

impl Severity {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// `cluster`, `node 2`, `shard 7`, `job split-1.3`.
    pub subject: String,
    /// What is so, in words.
    pub what: String,
    /// What to do about it, in words.
    pub advice: String,
}

/// What is to be said of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnosis {
    /// How it does.
    pub health: Health,
    /// One sentence.
    pub summary: String,
    /// The worst first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// The node that was asked hears of no leader.
    pub fn is_out_of_touch(&mut self, node: NodeId) {
        self.findings.push(Finding {
            severity: Severity::Note,
            subject: format!("node {}", node.0),
            what: "hears of no leader: nodes and shards are told as it knew them last".to_owned(),
            advice: "ask another node with --admin, if one hears of a leader".to_owned(),
        });
    }
}

/// Diagnoses a cluster. What could not be found out comes as the error's words, and is a finding too.
pub fn diagnose(
    members: &Result<Members, String>,
    shards: &Result<Vec<ShardInfo>, String>,
    jobs: &[JobInfo],
    foreign: &ForeignTroubles,
) -> Diagnosis {
    let mut findings = Findings::default();
    if let Some(removed) = members.iter().flat_map(|m| &m.members).find(|member| member.is_removed) {
        // What it knows of the others is of the past.
        findings.removed(removed);
        return findings.into_diagnosis(members, shards);
    }
    findings.has_majority = members.as_ref().is_ok_and(Members::has_majority);
    let placed = shards.as_deref().unwrap_or_default();
    match members {
        Ok(members) if is_unfounded(members) => findings.unfounded(members),
        Ok(members) => {
            findings.group(members);
            findings.stall(members);
            findings.frontends(members);
            findings.hashes(members);
            findings.versions(members);
            findings.cluster_version(members);
            let longest = members.longest_log();
            members.members.iter().for_each(|member| findings.member(member, longest, placed));
            findings.nodes_for_replicas(members);
        }
        Err(error) => findings.critical(
            "cluster",
            format!("this node cannot say who its members are: {error}"),
            "ask another node with --admin; look at this node's log",
        ),
    }
    match shards {
        Ok(_) | Err(_) if members.as_ref().is_ok_and(is_unfounded) => {}
        Ok(shards) => {
            findings.slots(shards);
            findings.shards(shards, members.as_ref().ok());
        }
        Err(error) => findings.critical(
            "cluster",
            format!("this node does not know the shards: {error}"),
            "see the findings about the adjudicator's group; ask another node with --admin",
        ),
    }
    if let (Ok(members), Ok(shards)) = (members, shards) {
        let draining = members.members.iter().filter(|member| member.is_draining);
        draining.for_each(|member| findings.draining(member, members, shards));
    }
    failures(jobs).for_each(|job| findings.job(job));
    findings.foreign(foreign);
    findings.into_diagnosis(members, shards)
}

/// Failed work on shards that was not done later, in another try. Whoever ran a statement was told of its failure himself.
fn failures(jobs: &[JobInfo]) -> impl Iterator<Item = &JobInfo> {
    fn kind(job: &JobInfo) -> Option<&str> {
        job.id.rsplit_once('-').map(|(kind, _)| kind)
    }
    let is_made_good = move |failed: &JobInfo| {
        jobs.iter().any(|later| {
            let is_same = later.what == failed.what && kind(later) == kind(failed);
            is_same && later.began_micros > failed.began_micros && later.state == "done"
        })
    };
    jobs.iter().filter(move |job| job.rows.is_none() && !is_made_good(job))
}

/// Whether the node that was asked belongs to no cluster yet: nobody votes, and of the nodes that do not answer nothing is known but
/// that they are to found it.
fn is_unfounded(members: &Members) -> bool {
    let mut silent = members.members.iter().filter(|m| !m.is_reachable);
    members.cluster == 0 && members.group().is_empty() && silent.all(|m| m.peer_address.is_empty())
}

/// Whether a node could be given a replica of a shard.
fn may_take(member: &MemberInfo, shard: &ShardInfo) -> bool {
    let has_room =
        member.disk_free_bytes.is_none_or(|free| free >= shard.bytes.saturating_add(ROOM_MIN_BYTES));
    member.is_reachable
        && !member.is_draining
        && has_room
        && member.roles.iter().any(|role| role == "shard")
        && shard.replicas.iter().all(|replica| replica.node != member.node)
}

/// `13 days`.
fn days(seconds: u64) -> String {
    match seconds / (24 * 60 * 60) {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// The setting that names the certificates of authorities.
const AUTHORITY: &str = "peers.tls_ca";

/// What to do when too few voters answer. A node whose own certificate has expired hears nobody, though nobody is lost.
fn lost_majority_advice(members: &Members, silent: &[u64]) -> String {
    let has_expired = |m: &&MemberInfo| {
        let expired = m.certificate.as_ref().filter(|certificate| certificate.seconds_left <= 0);
        expired.is_some_and(|certificate| certificate.setting.starts_with("peers."))
    };
    let start = numbers(silent);
    match members.members.iter().find(has_expired) {
        Some(member) => format!(
            "replace the certificate of node {} first, and those of {start}: nodes whose certificates have expired refuse each \
             other, and nothing is lost by that",
            member.node
        ),
        None => {
            format!(
                "start {start}; if they are lost for good, follow \"Quorum is lost\" in docs/operations.md"
            )
        }
    }
}

fn numbers<'a>(nodes: impl IntoIterator<Item = &'a u64>) -> String {
    let texts: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    if texts.len() == 1 { format!("node {}", texts[0]) } else { format!("nodes {}", texts.join(", ")) }
}

/// `node 2 does`, `nodes 2, 3 do`.
fn who_does(nodes: &[u64]) -> String {
    format!("{} {}", numbers(nodes), if nodes.len() == 1 { "does" } else { "do" })
}

#[derive(Default)]
struct Findings {
    found: Vec<Finding>,
    /// Whether something is wrong that keeps clients from being served.
    is_unavailable: bool,
    /// Whether most of the voters answer: otherwise nothing can be removed, moved or made anew.
    has_majority: bool,
}

impl Findings {
    fn add(
        &mut self,
        severity: Severity,
        subject: impl Into<String>,
        what: String,
        advice: impl Into<String>,
    ) {
        let (subject, advice) = (subject.into(), advice.into());
        self.found.push(Finding { severity, subject, what, advice });
    }

    fn warning(&mut self, subject: impl Into<String>, what: String, advice: impl Into<String>) {
        self.add(Severity::Warning, subject, what, advice);
    }

    fn note(&mut self, subject: impl Into<String>, what: String, advice: impl Into<String>) {
        self.add(Severity::Note, subject, what, advice);
    }

    /// Clients are not served.
    fn critical(&mut self, subject: impl Into<String>, what: String, advice: impl Into<String>) {
        self.is_unavailable = true;
        self.add(Severity::Critical, subject, what, advice);
    }

    /// Leader and majority of the adjudicator's group.
    fn group(&mut self, members: &Members) {
        let voters: Vec<&MemberInfo> = members.group().into_iter().filter(|m| m.votes()).collect();
        let silent: Vec<u64> = voters.iter().filter(|m| !m.is_reachable).map(|m| m.node).collect();
        let answering = voters.len() - silent.len();
        let needed = majority(voters.len());
        if voters.is_empty() {
            let silent: Vec<u64> =
                members.members.iter().filter(|m| !m.is_reachable).map(|m| m.node).collect();
            self.critical(
                "cluster",
                "no node answers that knows who votes: nothing can commit".to_owned(),
                format!("start {}", numbers(&silent)),
            );
        } else if answering < needed {
            self.critical(
                "cluster",
                format!(
                    "{answering} of {} voters answer, {needed} are needed: nothing can commit",
                    voters.len()
                ),
                lost_majority_advice(members, &silent),
            );
        } else if members.leader.is_none() {
            self.critical(
                "cluster",
                "no node leads the adjudicator's group: commits wait".to_owned(),
                "an election takes about a second; if this stays, look at the network between the voters and at their \
                 logs",
            );
        } else if answering == needed && voters.len() > 1 {
            self.warning(
                "cluster",
                format!(
                    "{answering} of {} voters answer: one more loss and nothing can commit",
                    voters.len()
                ),
                if silent.is_empty() {
                    "add a third voter: assize members add, then promote".to_owned()
                } else {
                    format!("start {}, or replace it: assize members add, promote, remove", numbers(&silent))
                },
            );
        }
        if voters.len() == 1 && members.members.len() > 1 {
            self.note(
                "cluster",
                "one node alone decides: it is a single point of failure".to_owned(),
                "give two more nodes a vote: assize members add, then promote",
            );
        }
    }

    /// What the leader has in its log does not come through, though it is heard.
    fn stall(&mut self, members: &Members) {
        let Some(leader) = members.members.iter().find(|m| m.stalled_millis > STALLED_MILLIS_MAX) else {
            return;
        };
        let lacks = |m: &&MemberInfo| m.votes() && m.node != leader.node && m.log_index < leader.log_index;
        let behind: Vec<u64> =
            members.members.iter().filter(|m| m.is_reachable).filter(lacks).map(|m| m.node).collect();
        let who = match &behind[..] {
            [] => String::new(),
            [one] => format!("; node {one} has not written them"),
            several => format!("; {} have not written them", numbers(several)),
        };
        self.critical(
            "cluster",
            format!(
                "the newest entries of node {}'s log have come through to no majority for {} s, though voters answer: nothing \
                 commits{who}",
                leader.node,
                leader.stalled_millis / 1000
            ),
            match &behind[..] {
                [] => "look at the disks and logs of the voters, and at the network between them".to_owned(),
                several => format!(
                    "look at disk and log of {}: a disk that hangs is ended by restarting the node; if it stays, the network \
                     between the voters loses what is large",
                    numbers(several)
                ),
            },
        );
    }

    /// There is no cluster yet that this node belongs to.
    fn unfounded(&mut self, members: &Members) {
        let silent: Vec<u64> = members.members.iter().filter(|m| !m.is_reachable).map(|m| m.node).collect();
        let rebuffed = members.members.iter().find_map(|m| Some((m.node, m.rebuff.as_ref()?)));
        if let Some((node, rebuff)) = rebuffed
            && (rebuff.is_lasting() || silent.is_empty() && rebuff.cause == RebuffCause::Silence)
        {
            return self.rebuffed(node, rebuff);
        }
        let heard = rebuffed.filter(|(_, rebuff)| rebuff.cause == RebuffCause::Silence);
        let heard = heard.map_or_else(String::new, |(_, rebuff)| format!(" ({})", rebuff.what));
        let advice = match &silent[..] {
            [] => "it takes a moment; if this stays, see the nodes' logs".to_owned(),
            silent => format!(
                "start {}; if they run, look at `cluster.nodes`, `cluster.join`, the certificates, and the nodes' logs",
                numbers(silent)
            ),
        };
        self.critical(
            "cluster",
            match &silent[..] {
                [] => "this node belongs to no cluster yet: its founders have not all spoken to each other, or none has \
                       taken it in"
                    .to_owned(),
                silent => format!("there is no cluster yet: {} not answer{heard}", who_does(silent)),
            },
            advice,
        );
    }

    /// A node is not let in. Clients are served all the same where most of the voters answer.
    fn rebuffed(&mut self, node: u64, rebuff: &Rebuff) {
        let Rebuff { cause, what, seconds } = rebuff;
        let advice = match cause {
            RebuffCause::Silence => {
                "start the nodes that `cluster.join` (of founders `cluster.nodes`) names, or correct the addresses there; look at \
                 firewalls, and at `peers.advertise` of the others"
                    .to_owned()
            }
            RebuffCause::Leaderless => "see the findings about the adjudicator's group".to_owned(),
            RebuffCause::Certificate => format!(
                "`peers.tls_ca` has to name the same authority on all nodes, or none has TLS; make this node a certificate of that \
                 authority with assize cert node {node}, copy the pair to where `peers.tls_certificate` and `peers.tls_key` \
                 say: it is read again without a restart"
            ),
            RebuffCause::Refusal => {
                "look at what `cluster.join` or `cluster.nodes` name here, and whether `node.data` and `node.id` are this node's"
                    .to_owned()
            }
            RebuffCause::Token => {
                "`cluster.join_token_file` has to hold the same token on all nodes (assize cert token makes one), and is read when a \
                 node starts: correct it and start that node again"
                    .to_owned()
            }
        };
        let what = format!("the cluster has not let it in, for {seconds} s: {what}");
        match self.has_majority {
            true => self.warning(format!("node {node}"), what, advice),
            false => self.critical(format!("node {node}"), what, advice),
        }
    }

    /// Somebody has to take connections.
    fn frontends(&mut self, members: &Members) {
        let frontends: Vec<&MemberInfo> =
            members.members.iter().filter(|m| !m.mysql_address.is_empty()).collect();
        if frontends.is_empty() || frontends.iter().any(|m| m.is_reachable && !m.is_draining) {
            return;
        }
        let draining: Vec<u64> = frontends.iter().filter(|m| m.is_draining).map(|m| m.node).collect();
        let silent: Vec<u64> = frontends.iter().filter(|m| !m.is_draining).map(|m| m.node).collect();
        let advice = match (draining.first(), &silent[..]) {
            (Some(node), _) => format!("assize members undrain {node}"),
            (None, silent) => format!("start {}", numbers(silent)),
        };
        self.critical("cluster", "no node takes connections: clients are refused".to_owned(), advice);
    }

    /// Equal indexes must mean equal hashes.
    fn hashes(&mut self, members: &Members) {
        let part: Vec<&MemberInfo> =
            members.group().into_iter().filter(|m| m.is_reachable && m.hash_index > 0).collect();
        let indexes: BTreeSet<u64> = part.iter().map(|m| m.hash_index).collect();
        for index in indexes {
            let there = || part.iter().filter(|m| m.hash_index == index);
            let hashes: BTreeSet<u64> = there().map(|m| m.state_hash).collect();
            if hashes.len() > 1 {
                let nodes: Vec<u64> = there().map(|m| m.node).collect();
                // Clients may still be served: but from a state that nobody can trust.
                self.add(
                    Severity::Critical,
                    "cluster",
                    format!("{} disagree about the state at log entry {index}", numbers(&nodes)),
                    "stop the node that is in the minority, remove it, and let it join again with an empty data \
                     directory; keep its old one and report the defect",
                );
            }
        }
    }

    /// An upgrade is under way, or was left half-way.
    fn versions(&mut self, members: &Members) {
        let versions: BTreeSet<&str> =
            members.members.iter().map(|m| m.version.as_str()).filter(|v| !v.is_empty()).collect();
        if versions.len() > 1 {
            let versions: Vec<&str> = versions.into_iter().collect();
            self.note(
                "cluster",
                format!("nodes run different releases: {}", versions.join(", ")),
                "finish the upgrade: new behaviour of the log waits for the last node",
            );
        }
    }

    /// The node that was asked has been taken out of the cluster, and does not know the cluster any more.
    fn removed(&mut self, member: &MemberInfo) {
        self.critical(
            format!("node {}", member.node),
            "is no longer a member of the cluster, and still runs".to_owned(),
            "stop it, or restart it if it is to join again; what the cluster does is told by its other nodes: --admin",
        );
    }

    fn member(&mut self, member: &MemberInfo, longest_log: u64, shards: &[ShardInfo]) {
        let subject = format!("node {}", member.node);
        if !member.is_reachable {
            return self.silent(member, &shards_on(member.node, shards));
        }
        if let Some(certificate) = &member.certificate {
            self.certificate(member.node, certificate);
        }
        if let Some(rebuff) = member.rebuff.as_ref().filter(|rebuff| rebuff.is_lasting()) {
            self.rebuffed(member.node, rebuff);
        }
        if member.is_in_memory {
            self.note(
                subject.clone(),
                "keeps its data in memory: everything on it is lost when it ends".to_owned(),
                "set node.data, unless that is what it is for",
            );
        }
        if !member.trouble.is_empty() {
            self.warning(
                subject.clone(),
                format!("takes no writes: {}", member.trouble),
                "see its log; free disk space if that is the trouble, and restart it if its disk has failed",
            );
        }
        if let Some(free) = member.disk_free_bytes.filter(|free| *free < DISK_FREE_LOW_BYTES) {
            self.warning(
                subject.clone(),
                format!("{} MiB are free on its data disk", free >> 20),
                "free some, enlarge the disk, or move replicas to another node: assize shards move",
            );
        }
        for strain in &member.strains {
            self.warning(
                subject.clone(),
                format!(
                    "takes no new transactions that write (error 1637), and nobody does while it leads or too many nodes \
                     are like it: {strain}"
                ),
                strain.cause.advice(),
            );
        }
        let behind = longest_log.saturating_sub(member.applied_index);
        if member.member_role != MemberRole::None && behind > ENTRIES_BEHIND_MAX {
            self.warning(
                subject.clone(),
                format!("is {behind} log entries behind"),
                "it catches up by itself; if the number grows, its disk or network is too slow",
            );
        }
    }

    /// A node that does not answer, and the shards that miss it.
    fn silent(&mut self, member: &MemberInfo, shards: &[u32]) {
        let (node, subject) = (member.node, format!("node {}", member.node));
        if member.peer_address.is_empty() {
            return self.warning(subject, "does not answer".to_owned(), "start it");
        }
        let held = match shards {
            [] => String::new(),
            [shard] => format!("; shard {shard} has a replica on it"),
            shards => format!("; {} have replicas on it", names(shards)),
        };
        let advice = match self.has_majority {
            true => format!(
                "start it; if it is lost for good: assize members remove {node} --force, then add a new node"
            ),
            false => {
                "start it: without most of the voters no node can be removed, added or replaced".to_owned()
            }
        };
        self.warning(subject, format!("does not answer at {}{held}", member.peer_address), advice);
    }

    /// A certificate that is about to expire, or has: then other nodes, or clients, refuse this one.
    fn certificate(&mut self, node: u64, certificate: &CertificateInfo) {
        let CertificateInfo { setting, seconds_left } = certificate;
        if *seconds_left >= CERTIFICATE_SECONDS_LOW {
            return;
        }
        let what = match days(seconds_left.unsigned_abs()) {
            days if *seconds_left > 0 => format!("its certificate ({setting}) expires in {days}"),
            days => {
                format!("its certificate ({setting}) expired {days} ago: whoever checks it refuses this node")
            }
        };
        let advice = match setting.as_str() {
            AUTHORITY => {
                "make a new authority as docs/operations.md says under \"Rotate certificates\"".to_owned()
            }
            _ => format!(
                "assize cert node {node}, and copy the pair over the old one: it is read again without a restart"
            ),
        };
        let severity = if *seconds_left > 0 { Severity::Warning } else { Severity::Critical };
        self.add(severity, format!("node {node}"), what, advice);
    }

    /// Whether there are as many nodes as shards are to have replicas.
    fn nodes_for_replicas(&mut self, members: &Members) {
        if let Some((nodes, asked)) = too_few_nodes(members) {
            self.note(
                "cluster",
                format!(
                    "shard.replicas asks for {asked} replicas, and the nodes that can hold them are {nodes}"
                ),
                "add nodes that hold shards; the replicas are made on them by themselves",
            );
        }
    }

    /// What is left on a node that is to be emptied, and whether it can go anywhere.
    fn draining(&mut self, member: &MemberInfo, members: &Members, shards: &[ShardInfo]) {
        let (node, subject) = (member.node, format!("node {}", member.node));
        let undrain = format!("assize members undrain {node}");
        let left: Vec<&ShardInfo> =
            shards.iter().filter(|shard| shard.replicas.iter().any(|r| r.node == node)).collect();
        if left.is_empty() {
            self.note(
                subject,
                "is drained: it holds no replicas and takes no connections".to_owned(),
                format!("take it out: assize members remove {node}, then stop it; or keep it: {undrain}"),
            );
            return;
        }
        let what =
            format!("is draining: {} of {} shards still have a replica on it", left.len(), shards.len());
        let stuck: Vec<&ShardInfo> = left
            .iter()
            .copied()
            .filter(|shard| !members.members.iter().any(|m| may_take(m, shard)))
            .collect();
        let Some(first) = stuck.first() else {
            return self.note(subject, what, format!("they move one by one; to call it off: {undrain}"));
        };
        self.warning(
            subject,
            format!(
                "{what}, and {} of them can go nowhere: no other node that is up, has room for shard {} and is not draining \
                 is without a replica of it",
                stuck.len(),
                first.shard
            ),
            format!("add a node, or free disk space on one; or call it off: {undrain}"),
        );
    }

    /// Who keeps the cluster at an older version than others understand.
    fn cluster_version(&mut self, members: &Members) {
        let current = members.cluster_version;
        let is_newer = |m: &&MemberInfo| m.cluster_version_max > current;
        let newer: Vec<u64> = members.members.iter().filter(is_newer).map(|m| m.node).collect();
        let older: Vec<u64> = members.members.iter().filter(|m| !is_newer(m)).map(|m| m.node).collect();
        if current > 0 && !newer.is_empty() && !older.is_empty() {
            self.note(
                "cluster",
                format!(
                    "the cluster stays at version {current} because of {}: {} could do more",
                    numbers(&older),
                    numbers(&newer)
                ),
                "start the newer release on the rest; what is gone for good has to be removed: assize members remove",
            );
        }
    }

    /// Every slot belongs to exactly one shard.
    fn slots(&mut self, shards: &[ShardInfo]) {
        let run = |(first, last): &(u16, u16)| u64::from(*last) + 1 - u64::from(*first.min(last));
        let held: u64 = shards.iter().flat_map(|s| &s.slots).map(run).sum();
        if held != u64::from(Slot::COUNT) {
            self.critical(
                "cluster",
                format!("{held} slots are placed, and there are {}", Slot::COUNT),
                "this is a defect: keep the logs of all nodes and report it",
            );
        }
    }

    fn job(&mut self, job: &JobInfo) {
        if let Some(why) = job.state.strip_prefix("failed") {
            let why = why.trim_start_matches(':').trim();
            self.note(
                format!("job {}", job.id),
                format!("{} has failed: {why}", job.what),
                "nothing was left half done; begin it again when the cause is gone",
            );
        }
    }

    fn into_diagnosis(
        mut self,
        members: &Result<Members, String>,
        shards: &Result<Vec<ShardInfo>, String>,
    ) -> Diagnosis {
        // Stable: what belongs together stays together.
        self.found.sort_by_key(|finding| Reverse(finding.severity));
        let worst = self.found.first().map_or(Severity::Note, |finding| finding.severity);
        let health = match worst {
            _ if self.is_unavailable => Health::Unavailable,
            Severity::Critical | Severity::Warning => Health::Degraded,
            Severity::Note => Health::Healthy,
        };
        let summary = match health {
            Health::Unavailable => "some or all statements cannot be served now".to_owned(),
            Health::Degraded => "clients are served; something needs attention".to_owned(),
            Health::Healthy => everything(members, shards),
        };
        Diagnosis { health, summary, findings: self.found }
    }
}

/// What a healthy cluster consists of.
fn everything(members: &Result<Members, String>, shards: &Result<Vec<ShardInfo>, String>) -> String {
    let nodes = members.as_ref().map_or(0, |m| m.members.len());
    let shards = shards.as_ref().map_or(0, Vec::len);
    let leader = members.as_ref().ok().and_then(|m| m.leader).unwrap_or(0);
    let noun = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let version = members.as_ref().map_or(0, |m| m.cluster_version);
    let (nodes, shards) = (noun(nodes, "node"), noun(shards, "shard"));
    format!("{nodes}, {shards}, node {leader} leads, cluster version {version}")
}
