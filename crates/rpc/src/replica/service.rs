//! The serving end: this node's replicas, as they come and go.

use super::wire::{self, LargePrepare, Request, Target};
use assize_model::{Key, KeyRange, NodeId, ReplicaId, ShardId};
use assize_ports::{BoxFuture, Channel, Direction, PeerService, ReadView, Replica, ScanPage, ShardError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// Bytes of rows in one page of a scan, and of values in one answer, unless a single one is longer.
const PAGE_BYTES: usize = 1 << 20;
/// Rows read at a time: a page that turns out too long has been read in vain beyond its bound by so many at most.
const STEP_ROWS: usize = 128;
/// Bytes of a prepare, all pieces together.
const PREPARE_BYTES_MAX: usize = 4 << 30;

/// This node's replicas.
#[derive(Default)]
pub struct Replicas {
    here: RwLock<BTreeMap<(ShardId, ReplicaId), Arc<dyn Replica>>>,
}

impl Replicas {
    /// None yet.
    pub fn new() -> Arc<Replicas> {
        Arc::default()
    }

    /// A replica is here now.
    pub fn insert(&self, replica: Arc<dyn Replica>) {
        let key = (replica.shard(), replica.replica());
        self.here.write().expect("no panic happens under this lock").insert(key, replica);
    }

    /// It is not here any more.
    pub fn remove(&self, shard: ShardId, replica: ReplicaId) {
        self.here.write().expect("no panic happens under this lock").remove(&(shard, replica));
    }

    /// The replica, if it is here.
    pub fn get(&self, shard: ShardId, replica: ReplicaId) -> Option<Arc<dyn Replica>> {
        self.here.read().expect("no panic happens under this lock").get(&(shard, replica)).cloned()
    }
}

/// Lets other nodes read from and prepare at this node's replicas.
pub struct ReplicaService {
    find: Box<Find>,
}

/// Finds a replica that is here.
type Find = dyn Fn(ShardId, ReplicaId) -> Option<Arc<dyn Replica>> + Send + Sync;

impl ReplicaService {
    /// Serves these replicas.
    pub fn new(replicas: Arc<Replicas>) -> Arc<ReplicaService> {
        ReplicaService::finding(move |shard, replica| replicas.get(shard, replica))
    }

    /// Serves whatever replicas are found when they are asked for.
    pub fn finding(
        find: impl Fn(ShardId, ReplicaId) -> Option<Arc<dyn Replica>> + Send + Sync + 'static,
    ) -> Arc<ReplicaService> {
        Arc::new(ReplicaService { find: Box::new(find) })
    }

    fn find(&self, target: Target) -> Result<Arc<dyn Replica>, String> {
        let Target { shard, replica } = target;
        (self.find)(shard, replica).ok_or_else(|| format!("{replica} of {shard} is not here"))
    }

    async fn answer(&self, request: &Bytes) -> Result<Bytes, String> {
        let (target, request) = Request::decode(request).map_err(|error| error.to_string())?;
        let replica = self.find(target)?;
        Ok(match request {
            Request::Get { view, key } => wire::answer(&replica.get(view, &key).await, wire::put_value),
            Request::GetMany { view, keys } => {
                wire::answer(&get_bounded(&*replica, view, &keys).await, |out, values| {
                    wire::put_values(out, values)
                })
            }
            Request::Scan { view, range, direction, limit } => {
                wire::answer(&scan_bounded(&*replica, view, range, direction, limit).await, wire::put_page)
            }
            Request::NewestCommits { keys, at_least } => {
                wire::answer(&replica.newest_commits(&keys, at_least).await, wire::put_newest_commits)
            }
            Request::NewestCommitIn { range, at_least } => {
                wire::answer(&replica.newest_commit_in(&range, at_least).await, wire::put_newest_commit)
            }
            Request::Prepare { txn, epoch, mutations } => {
                wire::answer(&replica.prepare(txn, epoch, Arc::new(mutations)).await, wire::put_vote)
            }
            Request::Volumes { ranges } => {
                wire::answer(&replica.volumes(&ranges).await, |out, volumes| wire::put_volumes(out, volumes))
            }
            Request::Forget { txn } => {
                replica.forget(txn);
                wire::answer(&Ok(()), |_, ()| ())
            }
        })
    }

    async fn prepare(&self, hello: &Bytes, channel: Channel) -> Result<(), String> {
        let LargePrepare { target, txn, epoch } =
            LargePrepare::decode(hello).map_err(|error| error.to_string())?;
        let replica = self.find(target)?;
        let Channel { mut sender, mut receiver } = channel;
        let (mut mutations, mut bytes) = (Vec::new(), 0);
        // A channel that breaks is an error here: only what has come in whole is prepared.
        while let Some(piece) = receiver.receive().await.map_err(|error| error.to_string())? {
            bytes += piece.len();
            if bytes > PREPARE_BYTES_MAX {
                return Err(format!("a prepare of more than {PREPARE_BYTES_MAX} bytes"));
            }
            wire::read_piece(&piece, &mut mutations).map_err(|error| error.to_string())?;
        }
        let vote = replica.prepare(txn, epoch, Arc::new(mutations)).await;
        sender.send(wire::answer(&vote, wire::put_vote)).await.map_err(|error| error.to_string())
    }
}

impl PeerService for ReplicaService {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { self.answer(&request).await })
    }

    fn open(&self, _from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.prepare(&hello, channel).await })
    }
}

/// The values of as many of the first keys as an answer holds, at least one; the caller asks again for the rest.
async fn get_bounded(
    replica: &dyn Replica,
    view: ReadView,
    keys: &[Key],
) -> Result<Vec<Option<Bytes>>, ShardError> {
    let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
    for step in keys.chunks(STEP_ROWS) {
        for value in replica.get_many(view, step).await? {
            bytes += value.as_ref().map_or(0, Bytes::len);
            if bytes > PAGE_BYTES && !values.is_empty() {
                return Ok(values);
            }
            values.push(value);
        }
    }
    Ok(values)
}

/// A page bounded by bytes as well as by rows. At least one row, if there is one.
async fn scan_bounded(
    replica: &dyn Replica,
    view: ReadView,
    range: KeyRange,
    direction: Direction,
    limit: usize,
) -> Result<ScanPage, ShardError> {
    let mut page = ScanPage { rows: Vec::new(), rest: Some(range) };
    let mut bytes = 0;
    while let Some(range) = page.rest.take() {
        let step = STEP_ROWS.min(limit - page.rows.len());
        if step == 0 {
            page.rest = Some(range);
            break;
        }
        let next = replica.scan(view, &range, direction, step).await?;
        page.rest = next.rest;
        for (key, value) in next.rows {
            bytes += key.0.len() + value.len();
            if bytes > PAGE_BYTES && !page.rows.is_empty() {
                page.rest = Some(rest_from(&range, key, direction));
                return Ok(page);
            }
            page.rows.push((key, value));
        }
    }
    Ok(page)
}

/// What is left of a range from a row on, itself included.
fn rest_from(range: &KeyRange, row: Key, direction: Direction) -> KeyRange {
    match direction {
        Direction::Forward => KeyRange::new(row, range.end.clone()),
        Direction::Reverse => KeyRange::new(range.start.clone(), row.successor()),
    }
}
