//! Flat little-endian encodings of the nouns that appear in log entries, checkpoints and streams.

use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;

type Read<T> = Result<T, DecodeError>;

/// Writes a range of keys.
pub fn put_range(out: &mut Vec<u8>, range: &KeyRange) {
    out.put_bytes(&range.start.0);
    out.put_bytes(&range.end.0);
}

/// Reads a range of keys.
pub fn read_range(reader: &mut Reader<'_>) -> Read<KeyRange> {
    Ok(KeyRange { start: Key(reader.shared_bytes()?), end: Key(reader.shared_bytes()?) })
}

/// Writes a transaction id.
pub fn put_txn(out: &mut Vec<u8>, txn: TxnId) {
    out.put_u128(txn.0);
}

/// Reads a transaction id.
pub fn read_txn(reader: &mut Reader<'_>) -> Read<TxnId> {
    let bits = reader.u128()?;
    TxnId::from_bits(bits).ok_or_else(|| reader.bad("transaction id", (bits >> 64) as u64))
}

/// Writes a mutation.
pub fn put_mutation(out: &mut Vec<u8>, mutation: &Mutation) {
    out.put_u16(mutation.slot.0);
    match &mutation.op {
        MutationOp::Put(value) => {
            out.put_u8(1);
            out.put_bytes(&mutation.key.0);
            out.put_bytes(value);
        }
        MutationOp::Delete => {
            out.put_u8(2);
            out.put_bytes(&mutation.key.0);
        }
        MutationOp::Lock => {
            out.put_u8(3);
            out.put_bytes(&mutation.key.0);
        }
    }
}

/// Reads a mutation.
pub fn read_mutation(reader: &mut Reader<'_>) -> Read<Mutation> {
    let slot = Slot(reader.u16()?);
    let tag = reader.u8()?;
    let key = Key(reader.shared_bytes()?);
    let op = match tag {
        1 => MutationOp::Put(reader.shared_bytes()?),
        2 => MutationOp::Delete,
        3 => MutationOp::Lock,
        other => return Err(reader.bad("mutation", other.into())),
    };
    Ok(Mutation { key, slot, op })
}

/// As [`read_mutation`], with a reader over a part of `whole`, whose memory is shared.
pub(crate) fn read_mutation_within(reader: &mut Reader<'_>, whole: &bytes::Bytes) -> Read<Mutation> {
    let slot = Slot(reader.u16()?);
    let tag = reader.u8()?;
    let key = Key(whole.slice_ref(reader.bytes()?));
    let op = match tag {
        1 => MutationOp::Put(whole.slice_ref(reader.bytes()?)),
        2 => MutationOp::Delete,
        3 => MutationOp::Lock,
        other => return Err(reader.bad("mutation", other.into())),
    };
    Ok(Mutation { key, slot, op })
}

/// Moves past a mutation; returns its slot.
#[inline]
pub(crate) fn skip_mutation(reader: &mut Reader<'_>) -> Read<Slot> {
    let slot = Slot(reader.u16()?);
    let tag = reader.u8()?;
    reader.bytes()?;
    match tag {
        1 => drop(reader.bytes()?),
        2 | 3 => {}
        other => return Err(reader.bad("mutation", other.into())),
    }
    Ok(slot)
}

/// Writes a decision.
pub fn put_decision(out: &mut Vec<u8>, decision: &Decision) {
    match decision {
        Decision::Commit { commit_ts } => {
            out.put_u8(0);
            out.put_u64(commit_ts.0);
        }
        Decision::Abort { reason } => put_reason(out, reason),
    }
}

/// Reads a decision.
pub fn read_decision(reader: &mut Reader<'_>) -> Read<Decision> {
    if reader.rest().first() == Some(&0) {
        reader.u8()?;
        return Ok(Decision::Commit { commit_ts: Timestamp(reader.u64()?) });
    }
    Ok(Decision::Abort { reason: read_reason(reader)? })
}

/// Writes the reason of a refusal.
pub fn put_reason(out: &mut Vec<u8>, reason: &AbortReason) {
    match reason {
        AbortReason::Conflict(conflict) => {
            out.put_u8(1);
            out.put_bool(conflict.key.is_some());
            if let Some(key) = conflict.key {
                out.put_u64(key.0);
            }
            out.put_bool(conflict.range.is_some());
            if let Some((group, range)) = conflict.range {
                out.put_u32(group);
                out.put_u32(range);
            }
            out.put_u64(conflict.batch.0);
            out.put_bool(conflict.winner.is_some());
            if let Some(winner) = conflict.winner {
                out.put_u128(winner.txn.0);
                out.put_u64(winner.commit_ts.0);
            }
        }
        AbortReason::NeedRefresh { keys, ranges } => {
            out.put_u8(2);
            out.put_varint(keys.len() as u64);
            keys.iter().for_each(|key| out.put_u64(key.0));
            out.put_varint(ranges.len() as u64);
            for (group, range) in ranges {
                out.put_u32(*group);
                out.put_u32(*range);
            }
        }
        AbortReason::DeadlinePassed => out.put_u8(3),
        AbortReason::FromTheFuture => out.put_u8(4),
        AbortReason::FrontendFenced { current } => {
            out.put_u8(5);
            out.put_u32(current.0);
        }
        AbortReason::SnapshotTooOld => out.put_u8(6),
        AbortReason::StaleEpoch { shard, current } => {
            out.put_u8(7);
            out.put_u32(shard.0);
            out.put_u64(current.0);
        }
        AbortReason::SchemaChanged { table } => {
            out.put_u8(8);
            out.put_u32(table.0);
        }
        AbortReason::CatalogChanged { object } => {
            out.put_u8(9);
            out.put_bytes(object);
        }
        AbortReason::RangeKeysMissing { table } => {
            out.put_u8(10);
            out.put_u32(table.0);
        }
        AbortReason::OutcomesFull => out.put_u8(11),
        AbortReason::ShardUnavailable { shard } => {
            out.put_u8(12);
            out.put_u32(shard.0);
        }
        AbortReason::Resolved => out.put_u8(13),
    }
}

/// Reads the reason of a refusal.
pub fn read_reason(reader: &mut Reader<'_>) -> Read<AbortReason> {
    Ok(match reader.u8()? {
        1 => {
            let key = if reader.bool()? { Some(KeyHash(reader.u64()?)) } else { None };
            let range = if reader.bool()? { Some((reader.u32()?, reader.u32()?)) } else { None };
            let batch = BatchNumber(reader.u64()?);
            let winner = if reader.bool()? {
                Some(Winner { txn: read_txn(reader)?, commit_ts: Timestamp(reader.u64()?) })
            } else {
                None
            };
            AbortReason::Conflict(Conflict { key, range, batch, winner })
        }
        2 => AbortReason::NeedRefresh {
            keys: (0..reader.count(8)?).map(|_| reader.u64().map(KeyHash)).collect::<Read<_>>()?,
            ranges: (0..reader.count(8)?).map(|_| Ok((reader.u32()?, reader.u32()?))).collect::<Read<_>>()?,
        },
        3 => AbortReason::DeadlinePassed,
        4 => AbortReason::FromTheFuture,
        5 => AbortReason::FrontendFenced { current: FrontendEpoch(reader.u32()?) },
        6 => AbortReason::SnapshotTooOld,
        7 => AbortReason::StaleEpoch { shard: ShardId(reader.u32()?), current: Epoch(reader.u64()?) },
        8 => AbortReason::SchemaChanged { table: TableId(reader.u32()?) },
        9 => AbortReason::CatalogChanged { object: reader.shared_bytes()? },
        10 => AbortReason::RangeKeysMissing { table: TableId(reader.u32()?) },
        11 => AbortReason::OutcomesFull,
        12 => AbortReason::ShardUnavailable { shard: ShardId(reader.u32()?) },
        13 => AbortReason::Resolved,
        other => return Err(reader.bad("reason of a refusal", other.into())),
    })
}

/// Writes the nodes that hold a shard's replicas.
pub fn put_replicas(out: &mut Vec<u8>, replicas: &std::collections::BTreeMap<ReplicaId, NodeId>) {
    out.put_varint(replicas.len() as u64);
    for (replica, node) in replicas {
        out.put_u8(replica.0);
        out.put_u64(node.0);
    }
}

/// Reads the nodes that hold a shard's replicas.
pub fn read_replicas(reader: &mut Reader<'_>) -> Read<std::collections::BTreeMap<ReplicaId, NodeId>> {
    (0..reader.count(9)?).map(|_| Ok((ReplicaId(reader.u8()?), NodeId(reader.u64()?)))).collect()
}

/// Writes a placement.
pub fn put_placement(out: &mut Vec<u8>, placement: &Placement) {
    out.put_u64(placement.epoch.0);
    out.put_varint(placement.ranges.len() as u64);
    for (slot, shard) in &placement.ranges {
        out.put_u16(slot.0);
        out.put_u32(shard.0);
    }
    out.put_varint(placement.shards.len() as u64);
    for (shard, part) in &placement.shards {
        out.put_u32(shard.0);
        out.put_u64(part.epoch.0);
        put_replicas(out, &part.replicas);
    }
}

/// Reads a placement that is either empty or covers all slots with shards that it names.
pub fn read_placement(reader: &mut Reader<'_>) -> Read<Placement> {
    let mut placement = Placement { epoch: Epoch(reader.u64()?), ..Placement::default() };
    for _ in 0..reader.count(6)? {
        placement.ranges.insert(Slot(reader.u16()?), ShardId(reader.u32()?));
    }
    for _ in 0..reader.count(13)? {
        let shard = ShardId(reader.u32()?);
        let part = ShardPlacement { epoch: Epoch(reader.u64()?), replicas: read_replicas(reader)? };
        placement.shards.insert(shard, part);
    }
    if placement.ranges.first_key_value().is_some_and(|(first, _)| first.0 != 0) {
        return Err(reader.bad("placement of all slots", 0));
    }
    if let Some(shard) = placement.ranges.values().find(|shard| !placement.shards.contains_key(shard)) {
        return Err(reader.bad("shard of the placement", shard.0.into()));
    }
    Ok(placement)
}

/// Writes a catalog change.
pub fn put_catalog_change(out: &mut Vec<u8>, change: &CatalogChange) {
    out.put_varint(change.expects.len() as u64);
    for (name, version) in &change.expects {
        out.put_bytes(name);
        out.put_u64(*version);
    }
    out.put_varint(change.objects.len() as u64);
    for (name, object) in &change.objects {
        out.put_bytes(name);
        out.put_bool(object.is_some());
        if let Some(object) = object {
            out.put_bytes(object);
        }
    }
    out.put_varint(change.fences.len() as u64);
    for fence in &change.fences {
        out.put_u32(fence.table.0);
        out.put_u32(fence.min_version.0);
    }
    out.put_varint(change.counters.len() as u64);
    for (table, next) in &change.counters {
        out.put_u32(table.0);
        out.put_u64(*next);
    }
}

/// Reads a catalog change.
pub fn read_catalog_change(reader: &mut Reader<'_>) -> Read<CatalogChange> {
    let mut change = CatalogChange::default();
    for _ in 0..reader.count(9)? {
        change.expects.push((reader.shared_bytes()?, reader.u64()?));
    }
    for _ in 0..reader.count(2)? {
        let name = reader.shared_bytes()?;
        let object = if reader.bool()? { Some(reader.shared_bytes()?) } else { None };
        change.objects.push((name, object));
    }
    for _ in 0..reader.count(8)? {
        change
            .fences
            .push(Fence { table: TableId(reader.u32()?), min_version: SchemaVersion(reader.u32()?) });
    }
    for _ in 0..reader.count(12)? {
        change.counters.push((TableId(reader.u32()?), reader.u64()?));
    }
    Ok(change)
}

/// Writes an entry of a shard's decision stream.
pub fn put_stream_entry(out: &mut Vec<u8>, entry: &StreamEntry) {
    out.put_u64(entry.after.0);
    out.put_u64(entry.position.index.0);
    out.put_u64(entry.position.closed_ts.0);
    let flags = [entry.epoch.is_some(), entry.low_water.is_some(), entry.slots.is_some()];
    out.put_u8(flags.iter().enumerate().map(|(i, flag)| u8::from(*flag) << i).sum());
    if let Some(epoch) = entry.epoch {
        out.put_u64(epoch.0);
    }
    if let Some(low_water) = entry.low_water {
        out.put_u64(low_water.0);
    }
    if let Some(slots) = &entry.slots {
        out.put_varint(slots.len() as u64);
        for (first, last) in slots {
            out.put_u16(first.0);
            out.put_u16(last.0);
        }
    }
    out.put_varint(entry.commits.len() as u64);
    for commit in &entry.commits {
        out.put_u128(commit.txn.0);
        out.put_u64(commit.commit_ts.0);
        match &commit.writes {
            ShardWrites::Inline(mutations) => {
                out.put_u8(1);
                out.put_varint(mutations.len() as u64);
                mutations.iter().for_each(|mutation| put_mutation(out, mutation));
            }
            ShardWrites::Prepared { epoch, digest } => {
                out.put_u8(2);
                out.put_u64(epoch.0);
                out.put_u32(digest.count);
                out.put_u64(digest.sum);
            }
        }
    }
}

/// Reads an entry of a shard's decision stream.
pub fn read_stream_entry(reader: &mut Reader<'_>) -> Read<StreamEntry> {
    let after = LogIndex(reader.u64()?);
    let position = Position { index: LogIndex(reader.u64()?), closed_ts: Timestamp(reader.u64()?) };
    let flags = reader.u8()?;
    if flags > 7 {
        return Err(reader.bad("set of stream flags", flags.into()));
    }
    let epoch = if flags & 1 != 0 { Some(Epoch(reader.u64()?)) } else { None };
    let low_water = if flags & 2 != 0 { Some(Timestamp(reader.u64()?)) } else { None };
    let slots = if flags & 4 != 0 {
        Some(
            (0..reader.count(4)?)
                .map(|_| Ok((Slot(reader.u16()?), Slot(reader.u16()?))))
                .collect::<Read<_>>()?,
        )
    } else {
        None
    };
    let count = reader.count(26)?;
    let mut commits = Vec::with_capacity(count);
    for _ in 0..count {
        let txn = read_txn(reader)?;
        let commit_ts = Timestamp(reader.u64()?);
        let writes = match reader.u8()? {
            1 => ShardWrites::Inline(
                (0..reader.count(4)?).map(|_| read_mutation(reader)).collect::<Read<_>>()?,
            ),
            2 => ShardWrites::Prepared {
                epoch: Epoch(reader.u64()?),
                digest: WriteDigest { count: reader.u32()?, sum: reader.u64()? },
            },
            other => return Err(reader.bad("kind of writes", other.into())),
        };
        commits.push(ShardCommit { txn, commit_ts, writes });
    }
    Ok(StreamEntry { after, position, commits, epoch, slots, low_water })
}
