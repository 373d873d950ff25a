//! What replicas of a shard show at one snapshot, side by side.

use assize_model::{NodeId, ReplicaId, ShardId, Timestamp};
use assize_mvcc::ContentHash;
use std::collections::BTreeMap;
use std::fmt;

/// What replicas of a shard show at one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// Which shard.
    pub shard: ShardId,
    /// The replicas that could not be compared, and where they are.
    pub missing: Vec<(ReplicaId, NodeId)>,
    /// The snapshot.
    pub snapshot_ts: Timestamp,
    /// Who answered, where it is, and the hash of what it shows.
    pub hashes: BTreeMap<ReplicaId, (NodeId, ContentHash)>,
}

impl Comparison {
    /// How many replicas the shard has.
    pub fn configured(&self) -> usize {
        self.hashes.len() + self.missing.len()
    }

    /// Those that differ from what a majority of the configured replicas shows. Without such a majority nobody can tell who
    /// is right, and this is empty although [`Comparison::agrees`] is false.
    pub fn outliers(&self) -> Vec<(ReplicaId, NodeId)> {
        let mut voices: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for (_, hash) in self.hashes.values() {
            *voices.entry((hash.count, hash.sum)).or_default() += 1;
        }
        let Some((right, _)) = voices.into_iter().find(|(_, voices)| *voices > self.configured() / 2) else {
            return Vec::new();
        };
        let differs = |hash: &ContentHash| (hash.count, hash.sum) != right;
        let outliers = self.hashes.iter().filter(|(_, (_, hash))| differs(hash));
        outliers.map(|(replica, (node, _))| (*replica, *node)).collect()
    }

    /// Whether all that answered show the same. [`Comparison::missing`] says who did not.
    pub fn agrees(&self) -> bool {
        let mut hashes = self.hashes.values().map(|(_, hash)| hash);
        let first = hashes.next();
        hashes.all(|hash| Some(hash) == first)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} replicas compared", self.shard, self.hashes.len(), self.configured())?;
        for (replica, node) in &self.missing {
            write!(f, ", no answer from {replica} on {node}")?;
        }
        let outliers = self.outliers();
        for (replica, node) in &outliers {
            write!(f, ", {replica} on {node} differs")?;
        }
        if !self.agrees() && outliers.is_empty() {
            f.write_str(", and they differ: no majority says which of them is right")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replicas 1 to 3 on nodes of the same number; those without a hash did not answer.
    fn comparison(sums: [Option<u64>; 3]) -> Comparison {
        let replicas = (1u8..).zip(sums).map(|(n, sum)| (ReplicaId(n), NodeId(n.into()), sum));
        let (answered, missing): (Vec<_>, Vec<_>) = replicas.partition(|(_, _, sum)| sum.is_some());
        let hash = |sum: Option<u64>| ContentHash { count: 1, sum: sum.unwrap() };
        Comparison {
            shard: ShardId(1),
            missing: missing.into_iter().map(|(replica, node, _)| (replica, node)).collect(),
            snapshot_ts: Timestamp(1),
            hashes: answered.into_iter().map(|(replica, node, sum)| (replica, (node, hash(sum)))).collect(),
        }
    }

    #[test]
    fn who_differs_from_a_majority_is_an_outlier_and_without_one_nobody_is() {
        assert!(comparison([Some(7), Some(7), Some(7)]).agrees());
        let one_differs = comparison([Some(7), Some(8), Some(7)]);
        assert_eq!(one_differs.outliers(), [(ReplicaId(2), NodeId(2))]);
        assert_eq!(one_differs.to_string(), "s1: 3 of 3 replicas compared, r2 on n2 differs");
        let nobody_is_right = comparison([Some(7), Some(8), None]);
        assert_eq!(nobody_is_right.outliers(), []);
        assert!(!nobody_is_right.agrees());
        assert!(nobody_is_right.to_string().contains("no majority"), "{nobody_is_right}");
        assert_eq!(comparison([Some(6), Some(7), Some(8)]).outliers(), []);
    }

    #[test]
    fn who_could_not_be_compared_is_named() {
        let told = comparison([None, Some(7), Some(7)]);
        assert!(told.agrees());
        assert_eq!((told.missing.len(), told.configured()), (1, 3));
        assert_eq!(told.to_string(), "s1: 2 of 3 replicas compared, no answer from r1 on n1");
    }
}
