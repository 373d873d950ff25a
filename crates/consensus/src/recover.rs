//! The way out when most voters are lost for good: one that is left becomes the cluster, by an operator's hand.
//!
//! Raft has no answer to that, on purpose: whoever is left cannot know what the others had acknowledged. So this is done to
//! the directory of a node that is down, and only when an operator says that the others never come back:
//!
//! ```text
//!   the survivor's log   … 41  42 │ 43 membership: this node alone   44 Recover: another cluster number, without the lost
//!                        kept, all │ written here, in a term above all that the log knows
//! ```
//!
//! - Everything in the log is kept as committed. What was acknowledged is in it up to the last entry that had reached this
//!   node; what came after that is lost.
//! - The cluster gets another number. Nodes of the former number are refused by those of the new one, so that a voter that
//!   comes back after all neither overwrites this log nor votes in it. (Enough of them can still be the former cluster among
//!   themselves: nobody here can prevent that.)
//! - Of every shard the replicas on lost nodes are gone with the same entry, whatever majority they were: the one exception to
//!   the rule that a replica is un-counted only while most of the others count.
//! - Other nodes that are left, and take part in the group, are *kept*: their directories are told the new number
//!   ([`adopt`]), and they follow without a vote until they get one again. Of all that are left, the one with the last log has
//!   to be the one that is recovered: then nothing that the others have applied is missing in it.
//!
//! See `docs/decisions/0013`.

use crate::belonging::Belonging;
use crate::fs::{Disk, FileSystem};
use crate::raft::{
    CheckpointFiles, Entry, LeaderId, LogId, Machine, Membership, Meta, Mind, Payload, Proposal, Vote,
    decode_logged, encode_entry,
};
use crate::state::State;
use crate::streams::Streams;
use crate::terms::random;
use crate::wal::{self, Wal};
use assize_adjudicator::{CLUSTER_VERSION_MAX, Command, Recovery};
use assize_model::{NodeId, Placement, ShardId};
use openraft::BasicNode;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, RwLock, mpsc};

/// Entries that are read at a time.
const READ_BYTES_MAX: usize = 16 << 20;

/// A directory was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A process has it.
    #[error("{0}")]
    InUse(String),
    /// It must not be: the text says why. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// It cannot be read or written.
    #[error("cannot open the adjudicator's log: {0}")]
    Failed(#[from] io::Error),
}

/// Where a log ends; the later of two has more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogEnd {
    /// The term of the last entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}

/// What other nodes that are left are adopted with: `cluster:recoveries:term:index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adoption {
    belonging: Belonging,
    /// Where the recovered log ended before.
    end: LogEnd,
}

impl fmt::Display for Adoption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Adoption { belonging: Belonging { cluster, recoveries }, end } = self;
        write!(f, "{cluster:032x}:{recoveries}:{}:{}", end.term, end.index)
    }
}

impl FromStr for Adoption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let mut parts = text.split(':');
            let cluster = u128::from_str_radix(parts.next()?, 16).ok()?;
            let recoveries = parts.next()?.parse().ok()?;
            let end = LogEnd { term: parts.next()?.parse().ok()?, index: parts.next()?.parse().ok()? };
            parts.next().is_none().then_some(Adoption { belonging: Belonging { cluster, recoveries }, end })
        };
        parsed().ok_or_else(|| format!("{text:?} is not what the recovery of the other node has printed"))
    }
}

/// What the directory of a node that is down has.
#[derive(Clone, Debug)]
pub struct Remains {
    /// The cluster that it belongs to.
    pub cluster: u128,
    /// The last entry of its log.
    pub end: LogEnd,
    /// The last entry that it knows to have been committed.
    pub committed: u64,
    /// The newest term that it has heard of.
    pub term: u64,
    /// Who votes, by the last entry that says so.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// All nodes that the log knows and what they perform.
    pub nodes: BTreeMap<NodeId, Vec<String>>,
    /// Where the shards are.
    pub placement: Placement,
    /// The shards whose replica on a node does not count: it is too far behind for the log to help it.
    outdated: BTreeSet<(ShardId, NodeId)>,
    recoveries: u32,
}

impl Remains {
    /// The nodes that are lost if only these are left.
    pub fn lost_without(&self, left: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let placed = self.placement.shards.values().flat_map(|part| part.replicas.values());
        let all = self.voters.iter().chain(&self.learners).chain(self.nodes.keys()).chain(placed);
        all.copied().filter(|node| !left.contains(node)).collect()
    }

    /// The shards of which no replica that is any good is on these nodes.
    pub fn shards_lost_without(&self, left: &BTreeSet<NodeId>) -> Vec<ShardId> {
        let is_lost = |(shard, part): &(&ShardId, &assize_model::ShardPlacement)| {
            !part
                .replicas
                .values()
                .any(|node| left.contains(node) && !self.outdated.contains(&(**shard, *node)))
        };
        self.placement.shards.iter().filter(is_lost).map(|(shard, _)| *shard).collect()
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The cluster's new number.
    pub cluster: u128,
    /// The nodes that are gone for good.
    pub lost: BTreeSet<NodeId>,
    /// What the nodes that are kept are adopted with.
    pub adoption: Adoption,
}

/// A directory that no process has, opened.
struct Opened {
    fs: Arc<dyn FileSystem>,
    wal: Wal,
    meta: Meta,
    last: LogId,
    membership: Membership,
    state: Arc<RwLock<State>>,
}

/// Says what the directory of a node that is down has. Changes nothing that its next start would not.
pub fn inspect(directory: &Path) -> Result<Remains, RecoverError> {
    Opened::open(existing(directory)?)?.remains()
}

/// Makes a node the only voter of a cluster that goes on under a new number, without all nodes but `keep`. With an error of
/// the disk half-way it can be done again.
pub fn recover(directory: &Path, node: NodeId, keep: &BTreeSet<NodeId>) -> Result<Recovered, RecoverError> {
    recover_on(existing(directory)?, node, keep)
}

/// Has a node that is kept follow the recovered cluster: its directory belongs to that from now on.
pub fn adopt(directory: &Path, node: NodeId, adoption: Adoption) -> Result<(), RecoverError> {
    adopt_on(existing(directory)?, node, adoption)
}

pub(crate) fn recover_on(
    fs: Arc<dyn FileSystem>,
    node: NodeId,
    keep: &BTreeSet<NodeId>,
) -> Result<Recovered, RecoverError> {
    let opened = Opened::open(fs)?;
    let remains = opened.remains()?;
    let refuse = |why: String| Err(RecoverError::Refused(why));
    let members: BTreeSet<NodeId> = remains.voters.union(&remains.learners).copied().collect();
    if !remains.voters.contains(&node) {
        return refuse(format!("{node} does not vote in the group whose log this is: recover a voter"));
    }
    if let Some(stranger) = keep.iter().find(|kept| !members.contains(kept)) {
        return refuse(format!("{stranger} takes no part in the adjudicator's group: it cannot be kept"));
    }
    let mut left = keep.clone();
    left.insert(node);
    let voters_left = remains.voters.intersection(&left).count();
    if voters_left > remains.voters.len() / 2 {
        return refuse(format!(
            "{voters_left} of {} voters are left, and that is a majority: start them, and the cluster goes on by itself",
            remains.voters.len()
        ));
    }
    let lost = remains.lost_without(&left);
    let term = remains.term.max(remains.end.term) + 1;
    let cluster = u128::from(random()?) << 64 | u128::from(random()?);
    let belonging = Belonging { cluster, recoveries: remains.recoveries + 1 };
    // First: should this end half-way, the node talks to nobody until it is done again.
    belonging.write(&*opened.fs)?;
    opened.write(
        node,
        &left,
        term,
        Recovery { former: remains.cluster, cluster, lost: lost.iter().copied().collect() },
    )?;
    Ok(Recovered { cluster, lost, adoption: Adoption { belonging, end: remains.end } })
}

pub(crate) fn adopt_on(
    fs: Arc<dyn FileSystem>,
    node: NodeId,
    adoption: Adoption,
) -> Result<(), RecoverError> {
    let opened = Opened::open(fs)?;
    let remains = opened.remains()?;
    let refuse = |why: String| Err(RecoverError::Refused(why));
    if !remains.voters.contains(&node) && !remains.learners.contains(&node) {
        return refuse(format!("{node} takes no part in the group whose log this is"));
    }
    if remains.end > adoption.end {
        return refuse(format!(
            "this log ends with {}, and the one that was recovered with {}: this one has more, and should have been recovered \
             instead",
            remains.end, adoption.end
        ));
    }
    if remains.recoveries >= adoption.belonging.recoveries {
        return refuse(format!(
            "this log knows of {} recoveries: it is no older than the other",
            remains.recoveries
        ));
    }
    Ok(adoption.belonging.write(&*opened.fs)?)
}

fn existing(directory: &Path) -> Result<Arc<dyn FileSystem>, RecoverError> {
    if !directory.is_dir() {
        return Err(RecoverError::Refused(format!("there is no adjudicator in {}", directory.display())));
    }
    match Disk::open(directory) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(RecoverError::InUse(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Opened {
    /// Opens the files, and applies the whole log as if all of it were committed.
    fn open(fs: Arc<dyn FileSystem>) -> Result<Opened, RecoverError> {
        let wal = Wal::open(fs.clone(), &wal::Options::default()).map_err(io::Error::from)?;
        let meta = Meta::decode(&wal.meta()).map_err(invalid)?;
        let files = CheckpointFiles::open(fs.clone())?;
        let state = Arc::new(RwLock::new(State::new(Streams::new(), Arc::default(), CLUSTER_VERSION_MAX)));
        let base = files.base()?;
        let mut last = base.as_ref().and_then(|base| base.last).or(meta.purged);
        let mut membership = base.as_ref().map(|base| base.membership.membership().clone());
        Machine::open(state.clone(), files)?;
        let (mut next, end) = (wal.first_index(), wal.next_index());
        while next < end {
            let entries = wal.read(next..end, READ_BYTES_MAX).map_err(io::Error::from)?;
            for bytes in entries {
                let entry: Entry = decode_logged(next, &bytes).map_err(invalid)?;
                next += 1;
                // What the base has is in the log all the same, as far back as replicas need it.
                if last.is_some_and(|last| entry.log_id.index <= last.index) {
                    continue;
                }
                last = Some(entry.log_id);
                match entry.payload {
                    Payload::Blank => {}
                    Payload::Membership(members) => membership = Some(members),
                    Payload::Normal(proposal) => {
                        let mut state = state.write().expect("nobody has panicked under this lock");
                        let index = entry.log_id.index;
                        state
                            .apply(index, &proposal.0)
                            .map_err(|why| invalid(format!("entry {index}: {why}")))?;
                    }
                }
            }
        }
        let missing =
            || RecoverError::Refused("this directory has no log: there is nothing to recover".into());
        let (last, membership) = (last.ok_or_else(missing)?, membership.ok_or_else(missing)?);
        Ok(Opened { fs, wal, meta, last, membership, state })
    }

    fn remains(&self) -> Result<Remains, RecoverError> {
        let state = self.state.read().expect("nobody has panicked under this lock");
        let identity = state.core.identity();
        let identity = identity.ok_or_else(|| {
            RecoverError::Refused("the log ends before the cluster began: there is nothing to recover".into())
        })?;
        let placement = state.core.placement().clone();
        let mut outdated = BTreeSet::new();
        for (shard, part) in &placement.shards {
            for (replica, node) in &part.replicas {
                let standing = state.core.replicas().get(&(*shard, *replica));
                if !standing.is_some_and(|standing| standing.counts && standing.learning_since.is_none()) {
                    outdated.insert((*shard, *node));
                }
            }
        }
        Ok(Remains {
            cluster: identity.cluster,
            end: LogEnd { term: self.last.leader_id.term, index: self.last.index },
            committed: self.meta.committed.map_or(0, |committed| committed.index),
            term: self.meta.vote.map_or(0, |vote| vote.leader_id.term),
            voters: self.membership.voter_ids().map(NodeId).collect(),
            learners: self.membership.learner_ids().map(NodeId).collect(),
            nodes: state.core.nodes().iter().map(|(node, entry)| (*node, entry.roles.clone())).collect(),
            placement,
            outdated,
            recoveries: state.core.former_clusters().len() as u32,
        })
    }

    /// Writes the two entries that make the node the cluster, and the vote that goes with them, durably and in an order in
    /// which a crash leaves a log that can be recovered again, or is recovered.
    fn write(
        &self,
        node: NodeId,
        left: &BTreeSet<NodeId>,
        term: u64,
        recovery: Recovery,
    ) -> Result<(), RecoverError> {
        let leader_id = LeaderId { term, node_id: node.0 };
        let mut meta = Meta { vote: Some(Vote { leader_id, committed: false }), ..self.meta.clone() };
        if self.wal.next_index() <= self.last.index {
            // The checkpoint has come from another node, and the log before it had not been cut off yet.
            meta.purged = Some(self.last);
            wait(|done| self.wal.purge(self.last.index + 1, meta.encode(), done))?;
        }
        wait(|done| self.wal.set_meta(meta.encode(), done))?;
        let addresses: BTreeMap<u64, String> =
            self.membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect();
        let address = |node: &NodeId| BasicNode::new(addresses.get(&node.0).cloned().unwrap_or_default());
        let nodes: BTreeMap<u64, BasicNode> = left.iter().map(|left| (left.0, address(left))).collect();
        let membership = Membership::new(vec![BTreeSet::from([node.0])], nodes).map_err(invalid)?;
        let command = Command::Recover(recovery).encode();
        let payloads = [Payload::Membership(membership), Payload::Normal(Proposal(command.into()))];
        let at = |offset| LogId { leader_id, index: self.last.index + offset };
        let entries: Vec<_> = (1..)
            .zip(payloads)
            .map(|(offset, payload)| encode_entry(&Entry { log_id: at(offset), payload }))
            .collect();
        wait(|done| self.wal.append(self.last.index + 1, entries, done))?;
        meta.vote = Some(Vote { leader_id, committed: true });
        meta.committed = Some(at(2));
        wait(|done| self.wal.set_meta(meta.encode(), done))
    }
}

/// Waits until the log has done something.
fn wait(what: impl FnOnce(wal::Done) -> Result<(), wal::WalError>) -> Result<(), RecoverError> {
    let (tell, told) = mpsc::channel();
    // Nobody hangs up before it is told.
    what(Box::new(move |result| drop(tell.send(result)))).map_err(io::Error::from)?;
    let done = told.recv().unwrap_or(Err(wal::WalError::Closed));
    Ok(done.map_err(io::Error::from)?)
}
