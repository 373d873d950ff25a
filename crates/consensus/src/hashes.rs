//! Whether all nodes have come to the same state: each notes the hash of it after certain entries, and asks the
//! others for theirs.
//!
//! The state is copied when the entry is applied, and hashed beside: `apply` waits for the copy only.

use crate::contacts::Contacts;
use crate::raft::wire::{self, Request};
use assize_codec::Reader;
use assize_model::{LogIndex, NodeId};
use futures_util::future::join_all;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// Hashes that are remembered.
const REMEMBERED: usize = 16;
/// How long another node may take to have applied the entry and hashed its state.
const OTHERS_MAX: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The hashes that this node has noted.
#[derive(Default)]
pub struct Hashes {
    noted: Mutex<VecDeque<(LogIndex, u64)>>,
}

/// What came of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// The entry after which the states are compared.
    pub index: LogIndex,
    /// This node's hash.
    pub hash: u64,
    /// Those of the others; `None` if one could not be asked, or did not say in time.
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

    /// The newest.
    pub fn newest(&self) -> Option<(LogIndex, u64)> {
        self.noted.lock().expect("no panic happens under this lock").back().copied()
    }
}

impl Comparison {
    /// Asks the other nodes for their hashes after an entry.
    pub async fn make(contacts: &Contacts, me: NodeId, index: LogIndex, hash: u64) -> Comparison {
        let others = contacts.members().into_keys().filter(|node| *node != me);
        let asked = others.map(|other| async move {
            let patient = tokio::time::timeout(OTHERS_MAX, ask_until_it_knows(contacts, other, index));
            (other, patient.await.ok())
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

async fn ask_until_it_knows(contacts: &Contacts, other: NodeId, index: LogIndex) -> u64 {
    loop {
        if let Ok(answer) = contacts.call(other, Request::StateHash(index).encode(), ANSWER_MAX).await
            && let Ok(Some(body)) = wire::open_answer(&answer)
            && let mut reader = Reader::new(&body)
            && let (Ok(true), Ok(hash)) = (reader.bool(), reader.u64())
        {
            return hash;
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
