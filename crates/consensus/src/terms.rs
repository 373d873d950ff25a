//! Who leads, and what follows from it: the leader's task runs exactly while this node leads.
//!
//! ```text
//!   Raft says ──▶ Leadership ──▶ everybody who asks
//!                     │ this node leads
//!                     └──▶ take over (an entry of the new term is applied) ──▶ Leader::run ──▶ lost: refuse, resign
//! ```

use crate::leader::Leader;
use crate::node::{Node, Shared};
use crate::raft::Proposal;
use crate::state::Answer;
use assize_adjudicator::{Bootstrap, Command, Sequencer};
use assize_model::{NodeId, Timestamp};
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant, ServerState};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often a leader looks whether the others still follow.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A term that could not be begun is tried again after this long. The first attempt often comes a moment too early: Raft says
/// that this node leads before it takes entries from it.
const AGAIN: Duration = Duration::from_millis(2);

/// Who leads, as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leadership {
    /// The newest term that this node has heard of.
    pub term: u64,
    /// The leader of that term; `None` while there is none, or it has lost its followers.
    pub leader: Option<NodeId>,
    /// Whether that is this node.
    pub is_this: bool,
}

/// Publishes what Raft knows about the lead, until Raft stops.
pub async fn watch_leadership(node: Arc<Node>, shared: Arc<Shared>) {
    let mut changes = node.raft.server_metrics();
    loop {
        let now = leadership(&node, &shared);
        shared.leadership.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                tracing::info!(term = now.term, leader = ?now.leader, "the lead has changed");
            }
            *before = now;
            changed
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            // That followers are gone is no change to Raft.
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    shared
        .leadership
        .send_modify(|leadership| *leadership = Leadership { leader: None, is_this: false, ..*leadership });
}

fn leadership(node: &Node, shared: &Shared) -> Leadership {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let leads = metrics.state == ServerState::Leader;
    // Twice as long as any follower waits before it calls an election: somebody else leads, if anybody does.
    let silence_max = shared.options.heartbeat * 8;
    let is_followed = node.is_only_voter()
        || metrics.last_quorum_acked.as_ref().is_none_or(|acked| acked.elapsed() < silence_max);
    let leader =
        metrics.current_leader.map(NodeId).filter(|leader| *leader != node.id || leads && is_followed);
    Leadership { term: metrics.current_term, leader, is_this: leader == Some(node.id) }
}

/// Runs the leader's task whenever this node leads.
pub async fn lead_terms(node: Arc<Node>, shared: Arc<Shared>) {
    let mut leadership = shared.leadership.subscribe();
    loop {
        let Ok(term) = leadership.wait_for(|now| now.is_this).await.map(|now| now.term) else { return };
        if shared.alive().is_err() {
            return;
        }
        let mut lost = leadership.clone();
        let taken = tokio::select! {
            taken = take_over(&node, &shared) => taken,
            () = ended(&mut lost, term) => continue,
        };
        match taken {
            Ok(sequencer) => {
                let (events, receiver) = mpsc::channel(shared.options.queue_max);
                let leader = Leader::new(node.clone(), shared.clone(), receiver, sequencer);
                // A request that found an earlier lead may have come to the table after its end: nobody would release it.
                *shared.locks() = Default::default();
                tracing::info!(term, "leading");
                shared.leading.send_replace(Some(events));
                leader.run(leadership.clone(), term).await;
                shared.leading.send_replace(None);
                // Reservations live and die with the lead.
                *shared.locks() = Default::default();
            }
            Err(error) => {
                tracing::debug!(term, %error, "the term has not begun yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Completes when this node leads that term no more.
pub async fn ended(leadership: &mut watch::Receiver<Leadership>, term: u64) {
    // An error means that the node is gone, and its lead with it.
    let _ = leadership.wait_for(|now| !now.is_this || now.term != term).await;
}

/// Begins a term: an entry of it is applied, and with it everything that earlier leaders may have promised.
async fn take_over(node: &Node, shared: &Shared) -> io::Result<Sequencer> {
    let mut sequencer = Sequencer::new(assize_adjudicator::Options::default());
    propose(node, Sequencer::first_entry(node.clock.millis())).await?;
    // Asked after that entry: what an earlier leader had appended is applied by now.
    if node.read().core.identity().is_none() {
        let now = Timestamp::from_millis(node.clock.millis());
        propose(node, Command::Bootstrap(bootstrap(shared, now)?)).await?;
        propose(node, Sequencer::first_entry(node.clock.millis())).await?;
    }
    let state = node.read();
    sequencer.took_over(&state.core);
    node.clock.observe(state.core.position().closed_ts);
    drop(state);
    Ok(sequencer)
}

fn bootstrap(shared: &Shared, now: Timestamp) -> io::Result<Bootstrap> {
    let cluster = u128::from(random()?) << 64 | u128::from(random()?);
    let bootstrap = Bootstrap::new(cluster, random()?, now, shared.options.placement.clone());
    Ok(Bootstrap { window_log2: shared.options.window_log2, ..bootstrap })
}

/// Proposes an entry before there is a leader's task.
async fn propose(node: &Node, command: Command) -> io::Result<Answer> {
    let written = node.raft.client_write(Proposal(command.encode().into())).await.map_err(|error| {
        node.failure().map_or_else(|| io::Error::other(error.to_string()), io::Error::other)
    })?;
    let reply = written.data.expect("commands are answered");
    Ok(*reply.downcast::<Answer>().expect("this node's mind answers with answers"))
}

/// 64 bits that nobody can foresee.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
