//! Raft's own records as bytes: entries, the meta blob, the head of a checkpoint.

use super::{Entry, LeaderId, LogId, Membership, Payload as EntryPayload, Proposal, StoredMembership, Vote};
use crate::wal::Payload;
use assize_codec::{DecodeError, Put, Reader, envelope};
use bytes::Bytes;
use openraft::BasicNode;
use std::collections::{BTreeMap, BTreeSet};

const ENTRY_VERSION: u8 = 1;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

const META_TAG: [u8; 4] = *b"aslm";
const META_VERSION: u16 = 1;
const CHECKPOINT_TAG: [u8; 4] = *b"asck";
const CHECKPOINT_VERSION: u16 = 1;

/// An entry without its index, which the log keeps. The log checksums it, so it needs no envelope.
pub fn encode_entry(entry: &Entry) -> Payload {
    let mut out = Vec::with_capacity(32);
    put_head(&mut out, entry);
    match &entry.payload {
        EntryPayload::Normal(proposal) if out.len() <= Payload::HEAD_MAX => {
            // A command is large, and whoever replicates it shares it.
            return Payload::new(&out, proposal.0.clone());
        }
        _ => put_body(&mut out, entry),
    }
    Bytes::from(out).into()
}

fn put_head(out: &mut Vec<u8>, entry: &Entry) {
    out.put_u8(ENTRY_VERSION);
    out.put_u8(match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(_) => NORMAL,
        EntryPayload::Membership(_) => MEMBERSHIP,
    });
    out.put_varint(entry.log_id.leader_id.term);
    out.put_varint(entry.log_id.leader_id.node_id);
}

fn put_body(out: &mut Vec<u8>, entry: &Entry) {
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(proposal) => out.put_slice(&proposal.0),
        EntryPayload::Membership(membership) => put_membership(out, membership),
    }
}

/// Reads an entry of the log back; a command shares the bytes.
pub fn decode_logged(index: u64, payload: &Payload) -> Result<Entry, DecodeError> {
    match payload.parts() {
        [[], _] => decode_entry(index, payload.body()),
        [head, _] => {
            let mut entry = decode_entry(index, &Bytes::copy_from_slice(head))?;
            entry.payload = EntryPayload::Normal(Proposal(payload.body().clone()));
            Ok(entry)
        }
    }
}

/// Reads an entry back; a command shares the bytes.
pub fn decode_entry(index: u64, bytes: &Bytes) -> Result<Entry, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != ENTRY_VERSION {
        return Err(reader.bad("version of entry", version.into()));
    }
    let kind = reader.u8()?;
    let leader_id = LeaderId { term: reader.varint()?, node_id: reader.varint()? };
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => {
            return Ok(entry(leader_id, index, EntryPayload::Normal(Proposal(bytes.slice(reader.at()..)))));
        }
        MEMBERSHIP => EntryPayload::Membership(membership(&mut reader)?),
        _ => return Err(reader.bad("kind of entry", kind.into())),
    };
    reader.finish()?;
    Ok(entry(leader_id, index, payload))
}

fn entry(leader_id: LeaderId, index: u64, payload: EntryPayload) -> Entry {
    Entry { log_id: LogId { leader_id, index }, payload }
}

/// What Raft must not forget besides entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// The last vote given.
    pub vote: Option<Vote>,
    /// The last entry purged.
    pub purged: Option<LogId>,
    /// The last entry known to be committed. May be behind.
    pub committed: Option<LogId>,
}

impl Meta {
    pub fn encode(&self) -> Bytes {
        let mut body = Vec::with_capacity(96);
        body.put_bool(self.vote.is_some());
        if let Some(vote) = &self.vote {
            body.put_u64(vote.leader_id.term);
            body.put_u64(vote.leader_id.node_id);
            body.put_bool(vote.committed);
        }
        put_log_id(&mut body, self.purged.as_ref());
        put_log_id(&mut body, self.committed.as_ref());
        envelope::seal(META_TAG, META_VERSION, &body).into()
    }

    /// An empty blob is a log that is new.
    pub fn decode(bytes: &[u8]) -> Result<Meta, DecodeError> {
        if bytes.is_empty() {
            return Ok(Meta::default());
        }
        let (_, body) = envelope::open(bytes, META_TAG, META_VERSION)?;
        let mut reader = Reader::new(body);
        let vote = match reader.bool()? {
            false => None,
            true => {
                let leader_id = LeaderId { term: reader.u64()?, node_id: reader.u64()? };
                Some(Vote { leader_id, committed: reader.bool()? })
            }
        };
        let meta = Meta { vote, purged: log_id(&mut reader)?, committed: log_id(&mut reader)? };
        reader.finish()?;
        Ok(meta)
    }
}

/// An image of the state machine with its place in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The last entry in it.
    pub last: Option<LogId>,
    /// The members as of that entry.
    pub membership: StoredMembership,
    /// The mind.
    pub state: Vec<u8>,
}

impl Checkpoint {
    /// Writes a checkpoint whose state writes itself: where it stays, for it may be large.
    pub fn encode_with(
        out: &mut Vec<u8>,
        last: Option<&LogId>,
        membership: &StoredMembership,
        state: impl FnOnce(&mut Vec<u8>),
    ) {
        envelope::seal_written(out, CHECKPOINT_TAG, CHECKPOINT_VERSION, |out| {
            put_log_id(out, last);
            put_log_id(out, membership.log_id().as_ref());
            put_membership(out, membership.membership());
            let length_at = out.len();
            out.put_u64(0);
            state(out);
            let length = (out.len() - length_at - 8) as u64;
            out[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
        });
    }

    #[cfg(test)]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Checkpoint::encode_with(&mut out, self.last.as_ref(), &self.membership, |out| {
            out.put_slice(&self.state)
        });
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
        let (_, body) = envelope::open(bytes, CHECKPOINT_TAG, CHECKPOINT_VERSION)?;
        let mut reader = Reader::new(body);
        let last = log_id(&mut reader)?;
        let membership_id = log_id(&mut reader)?;
        let membership = StoredMembership::new(membership_id, membership(&mut reader)?);
        let len = reader.u64()?;
        let state = reader.slice(usize::try_from(len).unwrap_or(usize::MAX))?.to_vec();
        reader.finish()?;
        Ok(Checkpoint { last, membership, state })
    }
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, log_id: Option<&LogId>) {
    out.put_bool(log_id.is_some());
    if let Some(log_id) = log_id {
        out.put_u64(log_id.leader_id.term);
        out.put_u64(log_id.leader_id.node_id);
        out.put_u64(log_id.index);
    }
}

pub(crate) fn log_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, DecodeError> {
    if !reader.bool()? {
        return Ok(None);
    }
    let leader_id = LeaderId { term: reader.u64()?, node_id: reader.u64()? };
    Ok(Some(LogId { leader_id, index: reader.u64()? }))
}

fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let configs = membership.get_joint_config();
    out.put_varint(configs.len() as u64);
    for config in configs {
        out.put_varint(config.len() as u64);
        config.iter().for_each(|node| out.put_varint(*node));
    }
    let nodes: BTreeMap<u64, &BasicNode> = membership.nodes().map(|(id, node)| (*id, node)).collect();
    out.put_varint(nodes.len() as u64);
    for (id, node) in nodes {
        out.put_varint(id);
        out.put_str(&node.addr);
    }
}

fn membership(reader: &mut Reader<'_>) -> Result<Membership, DecodeError> {
    let mut configs = Vec::new();
    for _ in 0..reader.count(1)? {
        let mut config = BTreeSet::new();
        for _ in 0..reader.count(1)? {
            config.insert(reader.varint()?);
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..reader.count(2)? {
        nodes.insert(reader.varint()?, BasicNode { addr: reader.str()?.to_owned() });
    }
    Membership::new(configs, nodes).map_err(|_| reader.bad("membership", 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_codec::samples::Samples;

    fn sample_membership() -> Membership {
        let nodes = [(1, "a:1"), (2, "b:2"), (3, "c:3"), (9, "learner:9")]
            .map(|(id, addr)| (id, BasicNode { addr: addr.to_owned() }));
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], BTreeMap::from(nodes)).unwrap()
    }

    fn sample_id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 300, node_id: 2 }, index }
    }

    #[test]
    fn entries_read_back() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"command"))),
            EntryPayload::Normal(Proposal(Bytes::new())),
            EntryPayload::Membership(sample_membership()),
        ];
        for payload in payloads {
            let entry = Entry { log_id: sample_id(7), payload };
            let logged = encode_entry(&entry);
            let back = decode_entry(7, &logged.parts().concat().into()).unwrap();
            let also = decode_logged(7, &logged).unwrap();
            assert_eq!(format!("{also:?}"), format!("{back:?}"));
            assert_eq!(back.log_id, entry.log_id);
            assert_eq!(format!("{:?}", back.payload), format!("{:?}", entry.payload));
            if let (EntryPayload::Normal(a), EntryPayload::Normal(b)) = (&back.payload, &entry.payload) {
                assert_eq!(a.0, b.0);
            }
        }
    }

    /// What is on disks out there.
    #[test]
    fn the_bytes_of_records_are_those_of_version_one() {
        let mut samples = Samples::default();
        let payloads = [
            ("blank", EntryPayload::Blank),
            ("command", EntryPayload::Normal(Proposal(Bytes::from_static(b"command")))),
            ("membership", EntryPayload::Membership(sample_membership())),
        ];
        for (name, payload) in payloads {
            let entry = Entry { log_id: sample_id(7), payload };
            samples.add(name, &encode_entry(&entry).parts().concat());
        }
        let vote = Some(Vote { leader_id: LeaderId { term: 5, node_id: 1 }, committed: true });
        samples.add("meta", &Meta { vote, purged: Some(sample_id(3)), committed: None }.encode());
        let checkpoint = Checkpoint {
            last: Some(sample_id(9)),
            membership: StoredMembership::new(Some(sample_id(1)), sample_membership()),
            state: b"state".to_vec(),
        };
        samples.add("checkpoint", &checkpoint.encode());
        samples.are(include_str!("../samples/records_v1.hex"));
    }

    #[test]
    fn the_first_format_of_an_entry_still_decodes() {
        let entry = decode_entry(4, &Bytes::from_static(b"\x01\x01\x03\x01command")).unwrap();
        assert_eq!(entry.log_id, LogId { leader_id: LeaderId { term: 3, node_id: 1 }, index: 4 });
        assert!(matches!(entry.payload, EntryPayload::Normal(p) if p.0 == "command"));
        assert!(decode_entry(4, &Bytes::from_static(b"\x02\x01\x03\x01command")).is_err());
    }

    #[test]
    fn meta_and_checkpoints_read_back_and_no_truncation_does() {
        let meta = Meta {
            vote: Some(Vote { leader_id: LeaderId { term: 5, node_id: 1 }, committed: true }),
            purged: Some(sample_id(3)),
            committed: None,
        };
        assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
        assert_eq!(Meta::decode(&[]).unwrap(), Meta::default());
        let checkpoint = Checkpoint {
            last: Some(sample_id(9)),
            membership: StoredMembership::new(Some(sample_id(1)), sample_membership()),
            state: b"state".to_vec(),
        };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes).unwrap(), checkpoint);
        for len in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..len]).is_err());
        }
    }
}
