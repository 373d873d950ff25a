//! What nodes ask each other on an operator's behalf: JSON, because it is rare and has to survive mixed versions.

use assize_model::NodeId;
use assize_ports::{
    Action, ActionDone, CertificateInfo, ClusterError, JobInfo, NodePressure, NodeRecord, NodeReport, Rebuff,
    ReportParts, Strain, TrafficInfo,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A question to another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// How are you?
    Status,
    /// What do you know?
    Report(ReportParts),
    /// What are you at?
    Jobs,
    /// How much have you done?
    Traffic,
    /// How far behind are you?
    Pressure,
    /// Which nodes have you heard of?
    Nodes,
    /// Do this, or say whether it could be done.
    Act {
        /// What.
        action: Action,
        /// Only say whether it could be done.
        validate_only: bool,
        /// Who asks.
        who: String,
    },
    /// I am here, and this is how I am reached. A node that is not known yet shows the join token.
    Hello {
        /// What the log shall know about it.
        record: Record,
        /// The token.
        token: Option<String>,
    },
}

/// A [`assize_ports::NodeRecord`] in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub node: u64,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where its admin API listens.
    pub admin_address: String,
    /// Where MySQL clients connect; empty without a frontend.
    pub mysql_address: String,
    /// What it performs.
    pub roles: Vec<String>,
    /// Its failure domain.
    pub zone: String,
    /// Release of its binary.
    pub version: String,
    /// The highest cluster version that it understands.
    pub cluster_version: u32,
}

impl From<NodeRecord> for Record {
    fn from(record: NodeRecord) -> Record {
        Record {
            node: record.node.0,
            peer_address: record.peer_address,
            admin_address: record.admin_address,
            mysql_address: record.mysql_address,
            roles: record.roles,
            zone: record.zone,
            version: record.version,
            cluster_version: record.cluster_version,
        }
    }
}

impl From<Record> for NodeRecord {
    fn from(record: Record) -> NodeRecord {
        NodeRecord {
            node: NodeId(record.node),
            peer_address: record.peer_address,
            admin_address: record.admin_address,
            mysql_address: record.mysql_address,
            roles: record.roles,
            zone: record.zone,
            version: record.version,
            cluster_version: record.cluster_version,
        }
    }
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Box<NodeStatus>),
    /// To [`Question::Report`].
    Report(Box<NodeReport>),
    /// To [`Question::Jobs`].
    Jobs(Vec<JobInfo>),
    /// To [`Question::Traffic`]; `None` from a node without a frontend.
    Traffic(Option<TrafficInfo>),
    /// To [`Question::Pressure`].
    Pressure(NodePressure),
    /// To [`Question::Nodes`], from a node with an adjudicator: as its state has them, however old that is.
    Nodes(Vec<Record>),
    /// To [`Question::Act`].
    Done(ActionDone),
    /// To [`Question::Hello`].
    Welcome {
        /// The cluster's id.
        cluster: u128,
    },
    /// It could not be done.
    Failed(ClusterError),
}

/// How a node is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Release of its binary.
    pub version: String,
    /// The cluster version in force, as its state has it.
    pub cluster_version: u32,
    /// Whether it has an adjudicator; the numbers below are of that.
    pub is_adjudicator: bool,
    /// The last log entry it has applied.
    pub applied_index: u64,
    /// The last log entry on its disk.
    pub log_index: u64,
    /// Its Raft term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Voters, as it knows them.
    pub voters: Vec<u64>,
    /// Learners, as it knows them.
    pub learners: Vec<u64>,
    /// Hash of its state at `hash_index`.
    pub state_hash: u64,
    /// Where the hash was taken.
    pub hash_index: u64,
    /// Its applied closed timestamp, in milliseconds.
    pub closed_millis: u64,
    /// Milliseconds since it started.
    pub uptime_millis: u64,
    /// Bytes free on its data disk, as [`told_free`] has them.
    pub disk_free_bytes: u64,
    /// Why it takes no writes, or empty.
    pub trouble: String,
    /// Whether it is draining.
    pub is_draining: bool,
    /// The nodes that are to give up their shard replicas, as its state has it.
    pub draining: Vec<u64>,
    /// What it is behind with, so that new transactions are shed.
    pub strains: Vec<Strain>,
    /// So many replicas it would give every shard if it led; 0 from a release that does not say.
    pub replicas_wanted: u32,
    /// So many of them the nodes could hold that its configuration founds a cluster with.
    pub replicas_founded: u32,
    /// Whether it keeps its data in memory.
    pub is_in_memory: bool,
    /// Of its certificates the one that expires first.
    pub certificate: Option<CertificateInfo>,
    /// Whether the leader has said that it is no member any more.
    pub is_removed: bool,
    /// Why the cluster has not let it in.
    pub rebuff: Option<Rebuff>,
    /// While it leads: for so long entries of its log have come through to no majority.
    pub stalled_millis: u64,
    /// The shard replicas that it holds.
    pub replicas: Vec<ReplicaStatus>,
}

impl NodeStatus {
    /// Bytes free on its data disk; `None` if it has none or has not measured.
    pub fn disk_free(&self) -> Option<u64> {
        Some(self.disk_free_bytes).filter(|free| !matches!(*free, 0 | u64::MAX))
    }
}

/// How a node tells what is free on its disk: the largest number if it has none. 0 is what releases say that have not
/// measured, so a disk that is quite full has a byte left.
pub fn told_free(free: Option<u64>) -> u64 {
    free.map_or(u64::MAX, |free| free.max(1))
}

/// How a replica is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaStatus {
    /// Its shard.
    pub shard: u32,
    /// Its number within the shard.
    pub replica: u8,
    /// Its applied closed timestamp, in milliseconds.
    pub closed_millis: u64,
    /// `following`, `copying`, `halted: …`.
    pub state: String,
    /// Estimated bytes on disk.
    pub bytes: u64,
}

/// Writes a question or an answer.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("plain data has a JSON form").into()
}

/// Reads one.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a Bytes) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("the question cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_one_that_was_not_measured() {
        let heard =
            |free| NodeStatus { disk_free_bytes: told_free(free), ..NodeStatus::default() }.disk_free();
        assert_eq!([None, Some(0), Some(1), Some(4096)].map(heard), [None, Some(1), Some(1), Some(4096)]);
        assert_eq!(NodeStatus::default().disk_free(), None, "it did not say");
    }

    /// What nodes of this release say; those of earlier ones say less, and are understood.
    #[test]
    fn what_nodes_say_stays_as_it_is() {
        fn says<T: Serialize + for<'a> Deserialize<'a>>(line: &str) {
            let value: T = decode(&Bytes::copy_from_slice(line.as_bytes())).unwrap();
            assert_eq!(std::str::from_utf8(&encode(&value)), Ok(line));
        }
        include_str!("samples/questions.jsonl").lines().for_each(says::<Question>);
        include_str!("samples/answers.jsonl").lines().for_each(says::<Answer>);
        let least: NodeStatus = serde_json::from_str("{}").unwrap();
        assert_eq!(least, NodeStatus::default());
    }
}
