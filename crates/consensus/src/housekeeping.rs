//! What every node does for itself, whether it leads or follows: it watches its disk, takes checkpoints, forgets the
//! log behind them, tells the transport where nodes listen, and compares its state with the others'.

use crate::hashes::{Agreement, Comparison};
use crate::leader::Event;
use crate::node::{Node, Shared};
use crate::raft::wire::Request;
use crate::raft::{COPY_REST, give_way, in_background};
use assize_adjudicator::command::DurableReport;
use assize_adjudicator::{Command, Reply};
use assize_model::{LogIndex, NodeId};
use assize_ports::AdjudicatorError;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often the housekeeping is done.
pub const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// The leader answers a report within this, or has not heard it.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// On a full disk a checkpoint is tried this often.
const CHECKPOINT_AGAIN: Duration = Duration::from_secs(2);
/// A checkpoint that was asked for so long ago and is not there, although there is much to forget, is asked for again: Raft
/// does not take one while it is at another. Until more is written nothing else would ask, and nothing may be written while
/// the log is too long.
const CHECKPOINT_LOST: Duration = Duration::from_secs(5);
/// A checkpoint is taken after so many entries, however small they were: their streams are held in memory.
const CHECKPOINT_ENTRIES: u64 = 50_000;
/// An operator is told when the time of the log is ahead of the wall clock by more than this.
const CLOCK_LEAD_MAX: Duration = Duration::from_secs(5);

/// The keeper of one node.
pub struct Keeper {
    node: Arc<Node>,
    shared: Arc<Shared>,
    /// Bytes applied when the last checkpoint was asked for.
    checkpointed_bytes: u64,
    checkpoint_asked: Instant,
    /// The last applied entry at that moment.
    checkpointed: LogIndex,
    /// The base when it was last looked at.
    base: Option<u64>,
    /// What comes of raising the cluster version, while it is on its way.
    raising: Option<oneshot::Receiver<Result<Reply, AdjudicatorError>>>,
    /// Whether the time of the log was far ahead of the wall clock.
    is_ahead: bool,
}

impl Keeper {
    /// A keeper for this node.
    pub fn new(node: Arc<Node>, shared: Arc<Shared>) -> Keeper {
        let (checkpointed, base) = (node.read().core.applied(), node.files.base_index());
        Keeper {
            node,
            shared,
            checkpointed_bytes: 0,
            checkpoint_asked: Instant::now(),
            checkpointed,
            base,
            raising: None,
            is_ahead: false,
        }
    }

    /// Runs until the node shuts down or fails.
    pub async fn run(mut self) {
        let mut stopping = self.shared.stopping.subscribe();
        loop {
            if let Err(why) = self.keep_house().await {
                self.shared.fail(&why);
                return;
            }
            tokio::select! {
                // An error means that the node is gone.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = tokio::time::sleep(HOUSEKEEPING) => {}
            }
        }
    }

    async fn keep_house(&mut self) -> Result<(), String> {
        self.shared.look_at_the_disk();
        self.node.look_at_progress(self.shared.leadership.borrow().is_this);
        if let Some(why) = self.node.failure() {
            return Err(why);
        }
        let base_before = self.node.files.base_index();
        if base_before != self.base {
            self.node.note_installed_base();
        }
        self.node.promote().await.map_err(|error| format!("cannot promote a checkpoint: {error}"))?;
        self.base = self.node.files.base_index();
        self.node.forget_streams();
        self.node.forget_log().await.map_err(|error| format!("cannot purge the log: {error}"))?;
        let (bytes_applied, applied) = {
            let state = self.node.read();
            (state.bytes_applied, state.core.applied())
        };
        self.shared.note_retained(bytes_applied.saturating_sub(self.node.base_bytes()));
        self.ask_for_checkpoint(bytes_applied, applied).await;
        self.note_cluster().await.map_err(|error| format!("cannot write down the cluster: {error}"))?;
        tell_addresses(&self.node);
        self.pass_on_durable();
        self.mind_the_clock();
        self.compare_states();
        self.raise_cluster_version();
        Ok(())
    }

    /// Has the directory say which cluster it belongs to, once that is known or has changed.
    async fn note_cluster(&self) -> io::Result<()> {
        let now = self.node.belongs_to();
        let said = *self.node.belonging.lock().expect("no panic happens under this lock");
        let Some(belonging) = now.filter(|_| now != said) else { return Ok(()) };
        let fs = self.shared.fs().clone();
        let written = tokio::task::spawn_blocking(move || belonging.write(&*fs)).await;
        match written.map_err(io::Error::other)? {
            // It is written when there is room again.
            Err(error) if crate::fs::is_full(&error) => return Ok(()),
            written => written?,
        }
        *self.node.belonging.lock().expect("no panic happens under this lock") = Some(belonging);
        if let Some(peers) = self.node.contacts.peers() {
            peers.belong(belonging.cluster);
        }
        Ok(())
    }

    /// Takes a checkpoint when there is enough to forget behind it; sooner if the disk is full, because the log
    /// behind it is what can be freed.
    async fn ask_for_checkpoint(&mut self, bytes_applied: u64, applied: LogIndex) {
        if self.node.has_candidate() {
            return;
        }
        let since = bytes_applied.saturating_sub(self.checkpointed_bytes);
        let is_full = matches!(self.shared.room(), Err(AdjudicatorError::DiskFull(_)));
        let helps =
            bytes_applied > self.node.base_bytes() && self.checkpoint_asked.elapsed() >= CHECKPOINT_AGAIN;
        let is_due = since >= self.checkpoint_after()
            || applied.0.saturating_sub(self.checkpointed.0) >= CHECKPOINT_ENTRIES;
        let retained = bytes_applied.saturating_sub(self.node.base_bytes());
        let is_lost = self.checkpointed_bytes > 0
            && retained >= self.shared.options.checkpoint_bytes
            && self.checkpoint_asked.elapsed() >= CHECKPOINT_LOST;
        if is_due || is_lost || is_full && helps {
            self.checkpointed = applied;
            self.checkpointed_bytes = bytes_applied;
            self.checkpoint_asked = Instant::now();
            // A failure of Raft shows in the node's own failure.
            let _ = self.node.raft.trigger().snapshot().await;
        }
    }

    /// Bytes of log after which the next checkpoint is due: a large state is not written again for a little log, but always
    /// well before shards that have persisted it all would be taken for slow.
    fn checkpoint_after(&self) -> u64 {
        let options = &self.shared.options;
        let most = options.retained_bytes_max / 4;
        let after = (8 * self.node.files.last_bytes()).min(most).max(options.checkpoint_bytes);
        // Nodes that have applied the same log do not all write at the same moment.
        let is_first = self.checkpointed_bytes == 0;
        if is_first { after + after / 3 * (self.node.id.0 % 3) } else { after }
    }

    /// Tells the leader how far the replicas beside this node have persisted.
    fn pass_on_durable(&self) {
        let Some(leader) = self.shared.leadership.borrow().leader else { return };
        let reported =
            std::mem::take(&mut *self.shared.durable.lock().expect("no panic happens under this lock"));
        if reported.is_empty() || leader == self.node.id {
            // What was reported to a follower that leads now is reported again when there is more.
            return;
        }
        let report = |((shard, replica), durable)| DurableReport { shard, replica, durable };
        let command = Command::ReportDurable { reports: reported.into_iter().map(report).collect() };
        let node = self.node.clone();
        tokio::spawn(async move {
            // A report that is lost is followed by one that says more.
            let _ = node
                .contacts
                .call(leader, Request::Enter(command.encode().into()).encode(), ANSWER_MAX)
                .await;
        });
    }

    /// Has the clock with which this node would lead go on from where the log's time is.
    fn mind_the_clock(&mut self) {
        let clock = &self.node.clock;
        clock.observe(self.node.read().core.position().closed_ts);
        let lead = clock.lead();
        let is_ahead = lead > CLOCK_LEAD_MAX;
        if is_ahead != std::mem::replace(&mut self.is_ahead, is_ahead) {
            let seconds = lead.as_secs();
            match is_ahead {
                true => tracing::warn!(
                    seconds,
                    "the cluster's time is ahead of this node's wall clock: a leader's clock is or was wrong, or this one is"
                ),
                false => {
                    tracing::info!(seconds, "this node's wall clock has caught up with the cluster's time")
                }
            }
        }
    }

    /// On the leader: raises the cluster version once every node understands a higher one.
    fn raise_cluster_version(&mut self) {
        if let Some(raising) = &mut self.raising {
            match raising.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                Ok(Ok(Reply::ClusterVersion(version))) => {
                    tracing::info!(version, "every node understands it: the cluster version is raised");
                }
                // Tried again, by whoever leads then.
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
            self.raising = None;
        }
        let Some(events) = self.shared.leading.borrow().clone() else { return };
        let (current, understood) = (self.node.read().core.cluster_version(), understood_by_all(&self.node));
        let Some(version) = understood.map(|version| version.min(self.shared.options.cluster_version_max))
        else {
            return;
        };
        if version > current {
            let (reply, raising) = oneshot::channel();
            if events.try_send(Event::Propose(Command::RaiseClusterVersion(version), reply)).is_ok() {
                self.raising = Some(raising);
            }
        }
    }

    /// Hashes a state whose hash was asked for, and compares it with the others', beside everything else.
    fn compare_states(&self) {
        let Some((index, mut copy)) = self.node.read().take_to_hash() else { return };
        let (node, shared) = (self.node.clone(), self.shared.clone());
        tokio::spawn(async move {
            let state = node.clone();
            let hashed = in_background("state-hash", move || {
                while !copy.fill(&state.read().core) {
                    std::thread::sleep(COPY_REST);
                }
                give_way();
                copy.hash()
            });
            let Ok(hash) = hashed.await else { return shared.fail("the state cannot be hashed") };
            node.hashes.note(index, hash);
            let comparison = Comparison::make(&node, index, hash).await;
            note_comparison(&shared, &comparison);
        });
    }
}

fn note_comparison(shared: &Shared, comparison: &Comparison) {
    let agreement = comparison.agreement();
    if agreement == Agreement::Equal {
        return tracing::debug!(index = %comparison.index, hash = comparison.hash, "the states are equal");
    }
    let why = format!(
        "after {} the state of this node has the hash {:016x}, and the others have {:x?}",
        comparison.index, comparison.hash, comparison.others
    );
    tracing::error!(why, "nodes that have applied the same log have come to different states");
    *shared.divergence.lock().expect("no panic happens under this lock") = Some(why.clone());
    if agreement == Agreement::ThisDiffers {
        shared.fail(&why);
    }
}

/// The highest cluster version that all other nodes understand: those that take part in the group, and all that the log knows.
/// `None` while one of them has not said so.
fn understood_by_all(node: &Node) -> Option<u32> {
    let state = node.read();
    let nodes = state.core.nodes();
    let mut all: BTreeSet<NodeId> = node.contacts.members().into_keys().collect();
    all.extend(nodes.keys());
    all.remove(&node.id);
    let versions = all.iter().map(|other| nodes.get(other).map(|entry| entry.cluster_version));
    versions.collect::<Option<Vec<u32>>>().map(|versions| versions.into_iter().min().unwrap_or(u32::MAX))
}

/// Tells the transport where members and other nodes listen: the log's own word before Raft's.
pub fn tell_addresses(node: &Node) {
    let mut addresses: BTreeMap<NodeId, String> = node.contacts.members();
    if addresses.is_empty() {
        // In no cluster yet: what the transport knows was told by an operator.
        return;
    }
    for (id, entry) in node.read().core.nodes() {
        if !entry.peer_address.is_empty() {
            addresses.insert(*id, entry.peer_address.clone());
        }
    }
    addresses.remove(&node.id);
    node.contacts.tell(addresses);
}
