//! The whole state as bytes.
//!
//! A checkpoint is exact: a replica restored from one is indistinguishable from the one that wrote it, down to
//! the free places of its tables, and stays so. It is a head envelope followed by the window's envelopes. The retained
//! log tail that must travel with it (down to [`Adjudicator::retained_from`]) is the log's business.

use crate::catalog::Catalog;
use crate::moves;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::outcomes::{Frontends, Outcomes, OutcomesCopy};
use crate::placement::Shards;
use crate::ranges::Ranges;
use crate::state::{Adjudicator, FormerCluster, Identity};
use crate::timeline::Timeline;
use crate::window::{Window, WindowCopy};
use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::*;

const TAG: [u8; 4] = *b"AJst";
/// 1: outcomes in the head, by deadline; no nodes. 2: outcomes in envelopes of their own, by number; nodes.
const VERSION: u16 = 2;
/// Which bytes [`Adjudicator::state_hash`] and [`StateCopy::hash`] are hashes of. To be raised with every change of them, the
/// versions of the envelopes included: nodes of two releases that have the same state would take it for different ones, and
/// the first that is upgraded would stop.
pub const HASH_FORMAT: u32 = 1;
/// Parts of the head larger than this are split over several envelopes.
const PART: usize = 64 << 20;

/// The state as it was at one moment, to be written while entries go on being applied.
#[derive(Debug)]
pub struct StateCopy {
    head: Vec<u8>,
    outcomes: OutcomesCopy,
    window: WindowCopy,
}

impl StateCopy {
    /// Copies a part of what is still to be copied from the state that it was begun from; whether it is complete.
    pub fn fill(&mut self, state: &Adjudicator) -> bool {
        self.window.fill(&state.window)
    }

    /// Writes it, at the end of a buffer, as [`Adjudicator::encode_checkpoint`] would have done when it was begun. It is
    /// complete.
    pub fn encode_into(self, out: &mut Vec<u8>) {
        put_head(out, &self.head);
        self.outcomes.encode(out);
        self.window.encode(out);
    }

    /// As [`Adjudicator::state_hash`].
    pub fn hash(self) -> u64 {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes);
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}

fn put_head(out: &mut Vec<u8>, head: &[u8]) {
    let parts = head.len().div_ceil(PART);
    envelope::seal_into(out, TAG, VERSION, &(parts as u32).to_le_bytes());
    head.chunks(PART).for_each(|part| envelope::seal_into(out, TAG, VERSION, part));
}

impl Adjudicator {
    /// Writes the whole state. Where entries must not wait for that, see [`Adjudicator::begin_copy`].
    pub fn encode_checkpoint(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (head, outcomes) = (self.encode_head(), self.outcomes.copy());
        out.reserve(head.len() + outcomes.size_hint() + (64 << self.window.log2()));
        put_head(&mut out, &head);
        outcomes.encode(&mut out);
        self.window.encode(&mut out);
        out
    }

    /// Begins a copy of the state as it is now. It shares the memory of what does not change any more; only the window is
    /// still to be copied, in parts, between entries: [`StateCopy::fill`].
    pub fn begin_copy(&mut self) -> StateCopy {
        StateCopy {
            head: self.encode_head(),
            outcomes: self.outcomes.copy(),
            window: self.window.begin_copy(),
        }
    }

    /// Has copies that are being made complete at once, because this state is about to be replaced.
    pub fn complete_copies(&mut self) {
        self.window.complete_copies();
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        head.put_bool(self.identity.is_some());
        if let Some(identity) = self.identity {
            head.put_u128(identity.cluster);
            head.put_u64(identity.hash_seed);
        }
        head.put_u32(self.cluster_version);
        for n in [
            self.applied.0,
            self.last_stream.0,
            self.last_ts.0,
            self.last_batch.0,
            self.ceiling.0,
            self.low_water.0,
            self.chain,
        ] {
            head.put_u64(n);
        }
        self.ranges.encode(&mut head);
        self.timeline.encode(&mut head);
        self.frontends.encode(&mut head);
        self.catalog.encode(&mut head);
        self.shards.encode(&mut head);
        self.nodes.encode(&mut head);
        // At the very end, and only if there are any: programs that know of no moves can read what has none. Likewise what
        // cluster version 2 has brought.
        let recovered = self.shards.recovered();
        let has_newer =
            !self.nodes.draining().is_empty() || !self.former_clusters.is_empty() || !recovered.is_empty();
        if !self.shards.moves().is_empty() || has_newer {
            moves::encode(self.shards.moves(), &mut head);
        }
        if has_newer {
            head.put_varint(self.nodes.draining().len() as u64);
            self.nodes.draining().iter().for_each(|node| head.put_u64(node.0));
            head.put_varint(self.former_clusters.len() as u64);
            for former in &self.former_clusters {
                head.put_u128(former.cluster);
                head.put_u64(former.until.0);
            }
            head.put_varint(recovered.len() as u64);
            for (shard, at) in recovered {
                head.put_u32(shard.0);
                head.put_u64(at.0);
            }
        }

        head
    }

    /// Reads what [`Adjudicator::encode_checkpoint`] wrote.
    pub fn decode_checkpoint(options: Options, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (version, parts) = envelope::open_next(&mut reader, TAG, VERSION)?;
        let parts = Reader::new(parts).u32()?;
        let mut head = Vec::new();
        for _ in 0..parts {
            head.extend_from_slice(envelope::open_next(&mut reader, TAG, VERSION)?.1);
        }
        let outcomes = if version > 1 { Some(Outcomes::decode(&mut reader)?) } else { None };
        let window = Window::decode(&mut reader)?;
        reader.finish()?;

        let mut r = Reader::new(&head);
        let identity = match r.bool()? {
            true => Some(Identity { cluster: r.u128()?, hash_seed: r.u64()? }),
            false => None,
        };
        let mut state = Adjudicator {
            options,
            identity,
            former_clusters: Vec::new(),
            cluster_version: r.u32()?,
            applied: LogIndex(r.u64()?),
            last_stream: LogIndex(r.u64()?),
            last_ts: Timestamp(r.u64()?),
            last_batch: BatchNumber(r.u64()?),
            ceiling: Timestamp(r.u64()?),
            low_water: Timestamp(r.u64()?),
            chain: r.u64()?,
            window,
            ranges: Ranges::decode(&mut r)?,
            timeline: Timeline::decode(&mut r)?,
            outcomes: outcomes.map_or_else(|| Outcomes::decode_v1(&mut r), Ok)?,
            frontends: Frontends::decode(&mut r)?,
            catalog: Catalog::decode(&mut r)?,
            shards: Shards::decode(&mut r)?,
            nodes: if version >= 2 { Nodes::decode(&mut r)? } else { Nodes::default() },
        };
        if !r.is_done() {
            state.shards.restore_moves(moves::decode(&mut r)?);
        }
        if !r.is_done() {
            let draining = (0..r.count(8)?).map(|_| Ok(NodeId(r.u64()?)));
            state.nodes.restore_draining(draining.collect::<Result<_, DecodeError>>()?);
            let former = (0..r.count(24)?)
                .map(|_| Ok(FormerCluster { cluster: r.u128()?, until: LogIndex(r.u64()?) }));
            state.former_clusters = former.collect::<Result<_, DecodeError>>()?;
            let recovered = (0..r.count(12)?).map(|_| Ok((ShardId(r.u32()?), LogIndex(r.u64()?))));
            state.shards.restore_recovered(recovered.collect::<Result<_, DecodeError>>()?);
        }
        r.finish()?;
        Ok(state)
    }

    /// A hash over the whole state: equal on every replica at an equal index, if they hash the same bytes ([`HASH_FORMAT`]). It reads all of it; see
    /// [`Adjudicator::chain`] for one that costs nothing.
    pub fn state_hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.encode_checkpoint())
    }
}
