//! Whether all nodes have come to the same state: each notes the hash of it after certain entries, and asks the
//! others for theirs.
//!
//! Hashes are of encoded states, so those of programs that encode them differently cannot be compared: each says which format it
//! is of, and one of another format counts as if its node had not answered. That is so while a cluster is upgraded, if at all.
//!
//! The state is copied when the entry is applied, and hashed beside: `apply` waits for the copy only.

use crate::contacts::Contacts;
use crate::node::Node;
use crate::raft::wire::{self, Request, StateHash};
use assize_adjudicator::HASH_FORMAT;
use assize_model::{LogIndex, NodeId};
use futures_util::future::join_all;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Hashes that are remembered.
const REMEMBERED: usize = 16;
/// How long another node may take to have applied the entry and hashed its state.
const OTHERS_MAX: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The hashes that this node has noted.
pub struct Hashes {
    noted: Mutex<VecDeque<(LogIndex, u64)>>,
    /// Which bytes they are of. Another one in tests that stand for another release.
    format: AtomicU32,
}

impl Default for Hashes {
    fn default() -> Self {
        Hashes { noted: Mutex::default(), format: AtomicU32::new(HASH_FORMAT) }
    }
}

/// What came of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// The entry after which the states are compared.
    pub index: LogIndex,
    /// This node's hash.
    pub hash: u64,
    /// Those of the others; `None` if one could not be asked, did not say in time, or hashes other bytes.
    pub others: BTreeMap<NodeId, Option<u64>>,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = self.others.values().filter(|hash| **hash == Some(self.hash)).count() + 1;
        write!(
            f,
            "{equal} of {} adjudicators have equal states after {}",
            self.others.len() + 1,
            self.index
        )?;
        for (node, hash) in &self.others {
            match hash {
                None => write!(f, "; {node} did not answer")?,
                Some(hash) if *hash != self.hash => write!(f, "; the state of {node} differs")?,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// What follows from a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// Nobody says anything else.
    Equal,
    /// Somebody else has another state.
    OthersDiffer,
    /// Most have the same state, and this node another.
    ThisDiffers,
}

impl Hashes {
    /// Notes the hash of the state after an entry.
    pub fn note(&self, index: LogIndex, hash: u64) {
        let mut noted = self.noted.lock().expect("no panic happens under this lock");
        noted.push_back((index, hash));
        if noted.len() > REMEMBERED {
            noted.pop_front();
        }
    }

    /// The hash of the state after an entry.
    pub fn at(&self, index: LogIndex) -> Option<u64> {
        let noted = self.noted.lock().expect("no panic happens under this lock");
        noted.iter().find(|(at, _)| *at == index).map(|(_, hash)| *hash)
    }

    /// What another node is told about the state after an entry.
    pub fn answer(&self, index: LogIndex) -> StateHash {
        StateHash { hash: self.at(index), format: self.format() }
    }

    /// Which bytes they are of.
    pub fn format(&self) -> u32 {
        self.format.load(Ordering::Relaxed)
    }

    /// From here on this node is one of a release with this format.
    #[cfg(test)]
    pub fn become_format(&self, format: u32) {
        self.format.store(format, Ordering::Relaxed);
    }

    /// The newest.
    pub fn newest(&self) -> Option<(LogIndex, u64)> {
        self.noted.lock().expect("no panic happens under this lock").back().copied()
    }
}

impl Comparison {
    /// Asks the other nodes for their hashes after an entry.
    pub async fn make(node: &Node, index: LogIndex, hash: u64) -> Comparison {
        let (contacts, format) = (&*node.contacts, node.hashes.format());
        let others = contacts.members().into_keys().filter(|other| *other != node.id);
        let asked = others.map(|other| async move {
            let patient = tokio::time::timeout(OTHERS_MAX, ask_until_it_knows(contacts, other, index));
            (other, patient.await.ok().and_then(|said| comparable(said, format)))
        });
        Comparison { index, hash, others: join_all(asked).await.into_iter().collect() }
    }

    /// What follows.
    pub fn agreement(&self) -> Agreement {
        let hashes: Vec<u64> = self.others.values().flatten().copied().chain([self.hash]).collect();
        let members = self.others.len() + 1;
        let votes = |hash: u64| hashes.iter().filter(|other| **other == hash).count();
        if votes(self.hash) == hashes.len() {
            return Agreement::Equal;
        }
        let most_have_another = hashes.iter().any(|hash| *hash != self.hash && 2 * votes(*hash) > members);
        if most_have_another { Agreement::ThisDiffers } else { Agreement::OthersDiffer }
    }
}

/// The hash that a node has said, if it is of these bytes.
fn comparable(said: StateHash, format: u32) -> Option<u64> {
    said.hash.filter(|_| said.format == format)
}

async fn ask_until_it_knows(contacts: &Contacts, other: NodeId, index: LogIndex) -> StateHash {
    loop {
        if let Ok(answer) = contacts.call(other, Request::StateHash(index).encode(), ANSWER_MAX).await
            && let Ok(Some(body)) = wire::open_answer(&answer)
            && let Ok(said) = StateHash::decode(&body)
            && said.hash.is_some()
        {
            return said;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(hash: u64, others: &[Option<u64>]) -> Agreement {
        let others = others.iter().enumerate().map(|(n, hash)| (NodeId(n as u64 + 2), *hash)).collect();
        Comparison { index: LogIndex(9), hash, others }.agreement()
    }

    #[test]
    fn a_hash_of_other_bytes_is_no_answer() {
        let of = |hash, format| comparable(StateHash { hash, format }, 1);
        assert_eq!(of(Some(7), 1), Some(7));
        assert_eq!(of(Some(7), 2), None);
        assert_eq!(of(None, 1), None);
    }

    #[test]
    fn the_one_that_most_contradict_is_wrong() {
        assert_eq!(compare(1, &[Some(1), Some(1)]), Agreement::Equal);
        assert_eq!(compare(1, &[Some(1), None]), Agreement::Equal);
        assert_eq!(compare(1, &[Some(2), Some(2)]), Agreement::ThisDiffers);
        assert_eq!(compare(1, &[Some(1), Some(2)]), Agreement::OthersDiffer);
        // Without a majority nobody can tell who is wrong.
        assert_eq!(compare(1, &[Some(2), None]), Agreement::OthersDiffer);
        assert_eq!(compare(1, &[Some(2), Some(3)]), Agreement::OthersDiffer);
        assert_eq!(compare(1, &[]), Agreement::Equal);
    }
}
