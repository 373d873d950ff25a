//! What ails shards: told once for all of which it is so.

use super::{Findings, LAG_MILLIS_MAX, Severity, may_take, numbers};
use crate::{MemberInfo, Members, ReplicaInfo, ShardInfo, majority};
use std::collections::{BTreeMap, BTreeSet};

/// So many shards are named; of the others it is said how many they are.
const NAMED_MAX: usize = 5;

/// What ails a shard. What is equal is told once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Ailment {
    /// None of its replicas answers.
    Unread(Silent),
    /// Too few of its replicas answer to prepare.
    Unprepared {
        answering: usize,
        of: usize,
        silent: Silent,
    },
    /// It has fewer replicas than it should.
    Few {
        whole: usize,
        wanted: usize,
        /// Nodes on which it has replicas, and which were removed.
        removed: Vec<u64>,
        remedy: Remedy,
    },
    Halted {
        node: u64,
        state: String,
    },
    Copying {
        node: u64,
    },
    Behind {
        node: u64,
    },
}

/// Nodes whose replicas do not answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Silent {
    /// They do not answer either.
    down: Vec<u64>,
    /// They do.
    up: Vec<u64>,
}

/// What becomes of a replica that is missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Remedy {
    /// Nothing, before there is a majority of voters.
    Majority,
    /// It is being copied.
    Copied,
    /// There is a node for it.
    Made,
    /// There is none.
    Nowhere,
}

/// Some of the shards that have an ailment in common.
#[derive(Default)]
struct Ill {
    shards: Vec<u32>,
    /// By how many milliseconds the last of them is behind.
    lag_millis: u64,
}

/// Looks at shards, and at the nodes that should have their replicas as far as they are known.
struct Rounds<'a> {
    members: Option<&'a Members>,
    found: BTreeMap<Ailment, Ill>,
    /// Nodes that answer, and shards of which their replicas do not.
    deaf: BTreeMap<u64, Vec<u32>>,
}

impl Findings {
    /// What ails the shards.
    pub(super) fn shards(&mut self, shards: &[ShardInfo], members: Option<&Members>) {
        let mut rounds = Rounds { members, found: BTreeMap::new(), deaf: BTreeMap::new() };
        shards.iter().for_each(|shard| rounds.look(shard));
        for (ailment, ill) in &rounds.found {
            self.ailment(ailment, ill);
        }
        for (node, shards) in &rounds.deaf {
            self.warning(
                format!("node {node}"),
                format!("has no answer from its replica of {}", names(shards)),
                "one that starts takes a moment; if this stays, see the node's log; a replica that stays away is rebuilt \
                 elsewhere: assize shards move",
            );
        }
    }

    fn ailment(&mut self, ailment: &Ailment, ill: &Ill) {
        let subject = names(&ill.shards);
        match ailment {
            Ailment::Unread(silent) => self.critical(
                subject,
                "none of its replicas answers: its rows cannot be read".to_owned(),
                silent.advice("restore its tables from a dump: the nodes that had it are removed"),
            ),
            Ailment::Unprepared { answering, of, silent } => {
                let what = format!("{answering} of {of} replicas answer, {} are needed to prepare", majority(*of));
                let advice = self.unprepared_advice(silent, &ill.shards);
                self.critical(subject, what, advice);
            }
            Ailment::Few { whole, wanted, removed, remedy } => {
                let is_last = *whole <= 1;
                let severity = if is_last { Severity::Critical } else { Severity::Warning };
                let danger = if is_last { ": if its disk is lost, so are the rows" } else { "" };
                let what = format!("{whole} of {wanted} wanted replicas{danger}");
                self.add(severity, subject, what, remedy.advice(removed));
            }
            Ailment::Halted { node, state } => self.warning(
                subject,
                format!("its replica on node {node} has {state}"),
                "its siblings serve; remove it and add it again, so that it is rebuilt: assize shards remove-replica, \
                 then add-replica",
            ),
            Ailment::Copying { node } => self.note(
                subject,
                format!("its replica on node {node} is still copying"),
                "wait: assize shards watch",
            ),
            Ailment::Behind { node } => self.warning(
                subject,
                format!("its replica on node {node} is {} ms behind", ill.lag_millis),
                "it catches up by itself; if the number grows, its disk is too slow or its node is overloaded",
            ),
        }
    }

    fn unprepared_advice(&self, silent: &Silent, shards: &[u32]) -> String {
        if !self.has_majority {
            return silent.advice("first of all the voters' majority is needed");
        }
        let recover = match shards {
            [shard] => format!("assize shards recover {shard}"),
            _ => "assize shards recover, for each of them".to_owned(),
        };
        let go_on = "small commits and reads go on meanwhile";
        match silent.is_empty() {
            true => format!("{go_on}; the nodes that had the others are removed: {recover}"),
            false => format!("{}: {go_on}; if they are lost for good: {recover}", silent.advice("")),
        }
    }
}

impl Rounds<'_> {
    fn look(&mut self, shard: &ShardInfo) {
        let silent = self.silent(shard);
        for node in &silent.up {
            self.deaf.entry(*node).or_default().push(shard.shard);
        }
        let counting = || shard.replicas.iter().filter(|replica| replica.counts);
        let (answering, of) = (counting().filter(|r| r.lag_millis.is_some()).count(), counting().count());
        if answering == 0 {
            self.find(shard, Ailment::Unread(silent));
        } else if answering < majority(of) {
            self.find(shard, Ailment::Unprepared { answering, of, silent });
        }
        if let Some(few) = self.few(shard) {
            self.find(shard, few);
        }
        shard.replicas.iter().for_each(|replica| self.look_at(shard, replica));
    }

    fn look_at(&mut self, shard: &ShardInfo, replica: &ReplicaInfo) {
        let node = replica.node;
        if replica.state.starts_with("halted") {
            self.find(shard, Ailment::Halted { node, state: replica.state.clone() });
        } else if replica.is_learning {
            self.find(shard, Ailment::Copying { node });
        } else if let Some(lag) = replica.lag_millis.filter(|lag| *lag > LAG_MILLIS_MAX) {
            let ill = self.find(shard, Ailment::Behind { node });
            ill.lag_millis = ill.lag_millis.max(lag);
        }
    }

    fn find(&mut self, shard: &ShardInfo, ailment: Ailment) -> &mut Ill {
        let ill = self.found.entry(ailment).or_default();
        ill.shards.push(shard.shard);
        ill
    }

    /// The nodes whose replicas of a shard do not answer; those that were removed never will.
    fn silent(&self, shard: &ShardInfo) -> Silent {
        let nodes = shard.replicas.iter().filter(|r| r.lag_millis.is_none()).map(|r| r.node);
        let there: BTreeSet<u64> = nodes.filter(|node| !self.is_removed(*node)).collect();
        let is_up = |node: &u64| self.member(*node).is_some_and(|member| member.is_reachable);
        let (up, down) = there.into_iter().partition(is_up);
        Silent { down, up }
    }

    /// Whether a shard has fewer replicas with everything than it should: on nodes that there are, whether they answer or not.
    fn few(&self, shard: &ShardInfo) -> Option<Ailment> {
        let members = self.members?;
        let wanted = wanted(members);
        let is_whole = |r: &&ReplicaInfo| !r.is_learning && !self.is_removed(r.node);
        let whole = shard.replicas.iter().filter(is_whole).count();
        let removed = shard.replicas.iter().map(|r| r.node).filter(|node| self.is_removed(*node)).collect();
        let remedy = match () {
            () if !members.has_majority() => Remedy::Majority,
            () if shard.replicas.iter().any(|r| r.is_learning) => Remedy::Copied,
            () if members.members.iter().any(|m| may_take(m, shard)) => Remedy::Made,
            () => Remedy::Nowhere,
        };
        (whole < wanted).then_some(Ailment::Few { whole, wanted, removed, remedy })
    }

    fn member(&self, node: u64) -> Option<&MemberInfo> {
        self.members?.members.iter().find(|member| member.node == node)
    }

    /// Whether a node has been removed from the cluster.
    fn is_removed(&self, node: u64) -> bool {
        self.members.is_some() && self.member(node).is_none()
    }
}

impl Silent {
    fn is_empty(&self) -> bool {
        self.down.is_empty() && self.up.is_empty()
    }

    /// What to do about them, or else this.
    fn advice(&self, otherwise: &str) -> String {
        match (&self.down[..], &self.up[..]) {
            ([], []) => otherwise.to_owned(),
            ([], up) => format!("see the logs of {}, which answer", numbers(up)),
            (down, _) => format!("start {}", numbers(down)),
        }
    }
}

impl Remedy {
    fn advice(self, removed: &[u64]) -> String {
        let lost = match removed {
            [] => "another is".to_owned(),
            nodes => format!("what was on {}, which the cluster has removed, is", numbers(nodes)),
        };
        match self {
            Remedy::Majority => format!("{lost} made as soon as most of the voters answer"),
            Remedy::Copied => format!("{lost} being made by itself: assize shards watch"),
            Remedy::Made => {
                format!("{lost} made anew elsewhere by itself within a minute or so: assize shards watch")
            }
            Remedy::Nowhere => {
                "there is no node to put another on: start or add one that holds shards, or make room on one"
                    .to_owned()
            }
        }
    }
}

/// So many replicas a shard is to have. With fewer nodes than it asks for the setting asks for as many as there are: but not when
/// there were more once.
fn wanted(members: &Members) -> usize {
    let founded = members.replicas_founded as usize;
    (members.replicas_wanted as usize).min(holders(members).filter(|m| !m.is_draining).count().max(founded))
}

fn holders(members: &Members) -> impl Iterator<Item = &MemberInfo> {
    members.members.iter().filter(|member| member.roles.iter().any(|role| role == "shard"))
}

/// How many nodes there are for how many replicas, if shards can have no more than one on each of these few.
pub(super) fn too_few_nodes(members: &Members) -> Option<(usize, usize)> {
    let (nodes, asked) = (holders(members).count(), members.replicas_wanted as usize);
    // Of one node nobody expects more.
    let is_meant = members.members.len() == 1 || members.replicas_founded as usize > nodes;
    (nodes < asked && !is_meant).then_some((nodes, asked))
}

/// `shard 2`, `shards 1, 2, 3, 4, 5 and 11 more`.
pub(super) fn names(shards: &[u32]) -> String {
    let named: Vec<String> = shards.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let noun = if shards.len() == 1 { "shard" } else { "shards" };
    match shards.len().saturating_sub(NAMED_MAX) {
        0 => format!("{noun} {}", named.join(", ")),
        more => format!("{noun} {} and {more} more", named.join(", ")),
    }
}

/// The shards of which a node has a replica.
pub(super) fn shards_on(node: u64, shards: &[ShardInfo]) -> Vec<u32> {
    let here = shards.iter().filter(|shard| shard.replicas.iter().any(|replica| replica.node == node));
    here.map(|shard| shard.shard).collect()
}
