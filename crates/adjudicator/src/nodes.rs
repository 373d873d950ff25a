//! The nodes of the cluster: where each can be reached, what it does, what it can.

use assize_codec::{DecodeError, Put, Reader};
use assize_model::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What the log says about one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeEntry {
    /// Where other nodes reach it: `host:port`.
    pub peer_address: String,
    /// Where its admin API listens: `host:port`.
    pub admin_address: String,
    /// Where MySQL clients connect: `host:port`; empty without a frontend.
    pub mysql_address: String,
    /// `adjudicator`, `shard`, `frontend`.
    pub roles: Vec<String>,
    /// Failure domain; empty if none was named.
    pub zone: String,
    /// Release of its binary.
    pub version: String,
    /// The highest cluster version that its binary understands.
    pub cluster_version: u32,
}

impl NodeEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for text in [&self.peer_address, &self.admin_address, &self.mysql_address, &self.zone, &self.version]
        {
            out.put_str(text);
        }
        out.put_varint(self.roles.len() as u64);
        self.roles.iter().for_each(|role| out.put_str(role));
        out.put_u32(self.cluster_version);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut entry = NodeEntry {
            peer_address: reader.str()?.to_owned(),
            admin_address: reader.str()?.to_owned(),
            mysql_address: reader.str()?.to_owned(),
            zone: reader.str()?.to_owned(),
            version: reader.str()?.to_owned(),
            ..NodeEntry::default()
        };
        for _ in 0..reader.count(1)? {
            entry.roles.push(reader.str()?.to_owned());
        }
        entry.cluster_version = reader.u32()?;
        Ok(entry)
    }
}

/// All nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Nodes {
    entries: BTreeMap<NodeId, NodeEntry>,
    /// Those that are to give up their shard replicas. Apart from the entries, which nodes write about themselves at every
    /// start.
    draining: BTreeSet<NodeId>,
}

impl Nodes {
    pub(crate) fn entries(&self) -> &BTreeMap<NodeId, NodeEntry> {
        &self.entries
    }

    /// Puts a node, or takes it away.
    pub(crate) fn set(&mut self, node: NodeId, entry: Option<&NodeEntry>) {
        match entry {
            Some(entry) => self.entries.insert(node, entry.clone()),
            None => {
                self.draining.remove(&node);
                self.entries.remove(&node)
            }
        };
    }

    /// Those that are to give up their shard replicas.
    pub(crate) fn draining(&self) -> &BTreeSet<NodeId> {
        &self.draining
    }

    pub(crate) fn restore_draining(&mut self, draining: BTreeSet<NodeId>) {
        self.draining = draining;
    }

    /// Says whether a node is to give up its shard replicas; of one that is not known nothing is remembered.
    pub(crate) fn drain(&mut self, node: NodeId, drains: bool) -> bool {
        if drains && !self.entries.contains_key(&node) {
            return false;
        }
        if drains {
            self.draining.insert(node);
        } else {
            self.draining.remove(&node);
        }
        true
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.entries.len() as u64);
        for (node, entry) in &self.entries {
            out.put_u64(node.0);
            entry.encode(out);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut entries = BTreeMap::new();
        for _ in 0..reader.count(18)? {
            let node = NodeId(reader.u64()?);
            entries.insert(node, NodeEntry::decode(reader)?);
        }
        Ok(Nodes { entries, draining: BTreeSet::new() })
    }
}
