//! How a cluster begins, and how a node with an empty disk learns whether it ever had data.
//!
//! A voter that has lost its disk must not vote: it may have promised to keep what it no longer has. So a node with
//! an empty disk takes part in nothing until it is *admitted*:
//!
//! ```text
//!   founders   everybody asks everybody else. One who is known as a voter of a cluster has lost its data: it stops.
//!              When all others have nothing either, it is admitted. When all others are admitted, the founder
//!              with the lowest number makes the cluster.
//!   joiners    wait until a member speaks to them, and are told by it what they are.
//! ```

use crate::contacts::Contacts;
use crate::node::Raft;
use crate::raft::wire::{self, Request};
use assize_model::NodeId;
use futures_util::future::join_all;
use openraft::BasicNode;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// How a node that has nothing on its disk begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Founding {
    /// A new cluster of this node alone.
    #[default]
    Alone,
    /// A new cluster of these nodes, this one among them, with the addresses at which the others reach them.
    Together(BTreeMap<NodeId, String>),
    /// It waits until the leader of an existing cluster adds it.
    Join,
}

/// Whether this node takes part in its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Its disk is empty, and it does not know yet whether that is as it should be.
    Unknown,
    /// It takes part.
    Admitted,
    /// The group knows it as a voter, but it has nothing: it has lost its data.
    Lost,
}

/// What a node says to another that asks what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing, and it does not know whether it should.
    Empty,
    /// Nothing, and that is as it should be.
    Ready,
    /// It is a member of a cluster.
    Member {
        /// In which the one who asks votes.
        you_vote: bool,
    },
}

impl Standing {
    /// As the body of an answer.
    pub fn encode(self) -> [u8; 1] {
        match self {
            Standing::Empty => [1],
            Standing::Ready => [2],
            Standing::Member { you_vote: false } => [3],
            Standing::Member { you_vote: true } => [4],
        }
    }

    fn decode(body: &[u8]) -> Option<Standing> {
        match body {
            [1] => Some(Standing::Empty),
            [2] => Some(Standing::Ready),
            [3] => Some(Standing::Member { you_vote: false }),
            [4] => Some(Standing::Member { you_vote: true }),
            _ => None,
        }
    }
}

/// How often the others are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// After so many questions without a cluster an operator is told what is waited for.
const SAY_EVERY: u32 = 50;
/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Finds out whether this node may take part, and makes the cluster if that is its part. Ends when the node takes part
/// in a cluster, or has found that it must not.
pub async fn found(
    me: NodeId,
    founders: BTreeMap<NodeId, String>,
    raft: Raft,
    contacts: &Contacts,
    admission: &watch::Sender<Admission>,
) -> Result<(), String> {
    let makes_it = founders.keys().next() == Some(&me);
    let others: Vec<NodeId> = founders.keys().copied().filter(|node| *node != me).collect();
    let mut asked = 0_u32;
    loop {
        let standings = ask_all(&others, contacts).await;
        if standings.contains(&Some(Standing::Member { you_vote: true }))
            && *admission.borrow() == Admission::Unknown
        {
            admission.send_replace(Admission::Lost);
            return Ok(());
        }
        let nobody_has_anything =
            standings.iter().all(|standing| matches!(standing, Some(Standing::Empty | Standing::Ready)));
        // A cluster that exists without this node will add it when its operator says so.
        let exists_without = standings.contains(&Some(Standing::Member { you_vote: false }));
        if nobody_has_anything || exists_without {
            admit(admission);
        }
        if exists_without || *admission.borrow() == Admission::Lost {
            return Ok(());
        }
        let all_ready = standings.iter().all(|standing| *standing == Some(Standing::Ready));
        if makes_it && all_ready && *admission.borrow() == Admission::Admitted {
            let members: BTreeMap<u64, BasicNode> =
                founders.iter().map(|(node, address)| (node.0, BasicNode::new(address))).collect();
            tracing::info!(?founders, "a new cluster begins");
            return raft.initialize(members).await.map_err(|error| error.to_string());
        }
        if !makes_it && raft.is_initialized().await.map_err(|fatal| fatal.to_string())? {
            return Ok(());
        }
        asked += 1;
        if asked.is_multiple_of(SAY_EVERY) {
            tracing::info!(?founders, "waiting until all founders have answered");
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Lets the node take part, unless it has been found that it must not.
pub fn admit(admission: &watch::Sender<Admission>) {
    admission.send_if_modified(|now| {
        let changes = *now == Admission::Unknown;
        if changes {
            *now = Admission::Admitted;
        }
        changes
    });
}

async fn ask_all(others: &[NodeId], contacts: &Contacts) -> Vec<Option<Standing>> {
    let asked = others.iter().map(|other| async {
        // Whoever does not answer is asked again.
        let answer = contacts.call(*other, Request::WhoAmI.encode(), ANSWER_MAX).await.ok()?;
        Standing::decode(&wire::open_answer(&answer).ok()??)
    });
    join_all(asked).await
}
