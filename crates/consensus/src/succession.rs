//! A leader whose process has ended is replaced as soon as its lease is over.
//!
//! A follower that hears nothing waits for the lease of the leader (four heartbeats), and then for three to four more,
//! before it calls an election: the leader may be slow, and so may the network. Most leaders are lost to something
//! plainer: their process is killed, crashes, or is restarted, and the machine says so to whoever connects. So a follower that
//! has missed two heartbeats looks whether a process stands at the leader's address, and if none does, it asks for
//! votes right after the lease:
//!
//! ```text
//!   last word      2          4: the lease is over                     7 … 8 heartbeats
//!   ───┬───────────┬──────────┬────────────────────────────────────────┬───────▶ silence
//!      │           └─ look ───┴─ Gone: elections, in order of the      └─ Raft's own timer, whatever was seen
//!      │                         nodes' ids, half a heartbeat apart
//! ```
//!
//! What was seen decides nothing but *when* votes are asked for. The election is Raft's, with a pre-vote, which voters that still
//! hear the leader refuse: a look that was wrong costs a message, neither a term nor a lead.

use crate::node::{Node, Shared};
use assize_model::NodeId;
use assize_ports::Presence;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A leader that has missed so many heartbeats is looked for.
const MISSED: u32 = 2;
/// A leader's lease lasts for so many heartbeats: no voter gives its vote away before (see `raft_config`).
pub const LEASE: u32 = 4;
/// After so many Raft's own timers have run out, and what is seen here hastens nothing any more.
const TIMERS: u32 = 2 * LEASE;
/// Voters have heard the last word within this share of a heartbeat, as far as it went out to all of them at once.
const SPREAD: u32 = 5;

/// Watches over the leader while this node follows, and asks for votes when it is gone. Ends with the node.
pub async fn watch_over_leader(node: Arc<Node>, shared: Arc<Shared>) {
    let heartbeat = shared.options.heartbeat;
    loop {
        tokio::time::sleep(heartbeat / 4).await;
        let Some(silence) = Silence::of(&node) else { continue };
        if !(heartbeat * MISSED..heartbeat * TIMERS).contains(&silence.lasts) {
            continue;
        }
        if !silence.leader_is_gone(&node, heartbeat).await {
            // A process that stands still is not asked more often than it should have spoken.
            tokio::time::sleep(heartbeat).await;
            continue;
        }
        let patience = patience(heartbeat, silence.rank);
        tokio::time::sleep(patience.saturating_sub(silence.lasts)).await;
        let is_still_silent =
            Silence::of(&node).is_some_and(|now| now.leader == silence.leader && now.lasts >= patience);
        if is_still_silent {
            tracing::info!(leader = %silence.leader, "the leader's process has ended; asking for votes");
            if node.raft.trigger().elect(true).await.is_err() {
                return;
            }
            // Votes are written to disks before they are given.
            tokio::time::sleep(heartbeat).await;
        }
    }
}

/// After how much silence a voter asks for the votes of others if the leader is gone. Two that ask at once may split them.
fn patience(heartbeat: Duration, rank: u32) -> Duration {
    heartbeat * LEASE + heartbeat / SPREAD + heartbeat / 2 * rank
}

/// A leader that this node follows, as one that has a vote, and what is not heard of it.
struct Silence {
    leader: NodeId,
    lasts: Duration,
    rank: u32,
}

impl Silence {
    /// `None` if this node follows nobody, has no vote, or has never heard of the leader.
    fn of(node: &Node) -> Option<Silence> {
        let leader = node.raft.metrics().borrow_watched().current_leader.map(NodeId)?;
        let rank = rank(node.id, leader, &node.contacts.voters())?;
        Some(Silence { leader, lasts: node.heard.ago()?, rank })
    }

    async fn leader_is_gone(&self, node: &Node, limit: Duration) -> bool {
        let Some(peers) = node.contacts.peers() else { return false };
        peers.presence(self.leader, limit).await == Presence::Gone
    }
}

/// How many other voters ask before this one. `None` if it is the leader itself or has no vote.
fn rank(node: NodeId, leader: NodeId, voters: &BTreeSet<NodeId>) -> Option<u32> {
    let place = voters.iter().filter(|voter| **voter != leader).position(|voter| *voter == node)?;
    u32::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_that_are_left_ask_one_after_the_other() {
        let voters = [1, 2, 3].map(NodeId).into();
        let ranks = |leader| [1, 2, 3, 4].map(|node| rank(NodeId(node), NodeId(leader), &voters));
        assert_eq!(ranks(1), [None, Some(0), Some(1), None]);
        assert_eq!(ranks(2), [Some(0), None, Some(1), None]);
        assert_eq!(ranks(3), [Some(0), Some(1), None, None]);
    }

    #[test]
    fn nobody_asks_before_the_lease_is_over_and_all_before_raft_s_own_timer_in_a_group_of_three() {
        let heartbeat = Duration::from_millis(100);
        assert!(patience(heartbeat, 0) > heartbeat * LEASE);
        assert!(patience(heartbeat, 1) > patience(heartbeat, 0));
        assert!(patience(heartbeat, 1) < heartbeat * (LEASE + 3));
        assert!(heartbeat * (LEASE + 3) < heartbeat * TIMERS);
    }
}
