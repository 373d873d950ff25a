//! One node reads from and prepares at another's replica.

use crate::fixture::*;
use assize_model::*;
use assize_ports::*;
use assize_rpc::{RemoteReplica, ReplicaService, Replicas};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A replica that is a map.
#[derive(Default)]
struct MapReplica {
    rows: BTreeMap<Key, Bytes>,
    prepared: Mutex<Vec<Mutation>>,
    forgotten: Mutex<Vec<TxnId>>,
}

impl MapReplica {
    fn check(&self, view: ReadView) -> Result<(), ShardError> {
        match view.epoch {
            Epoch(1) => Ok(()),
            asked => Err(ShardError::StaleEpoch { shard: self.shard(), asked, current: Epoch(1) }),
        }
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T, ShardError>) -> BoxFuture<'a, Result<T, ShardError>> {
    Box::pin(std::future::ready(result))
}

impl Replica for MapReplica {
    fn shard(&self) -> ShardId {
        ShardId(1)
    }

    fn replica(&self) -> ReplicaId {
        ReplicaId(2)
    }

    fn get<'a>(&'a self, view: ReadView, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>, ShardError>> {
        ready(self.check(view).map(|()| self.rows.get(key).cloned()))
    }

    fn get_many<'a>(
        &'a self,
        view: ReadView,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, ShardError>> {
        ready(self.check(view).map(|()| keys.iter().map(|key| self.rows.get(key).cloned()).collect()))
    }

    fn scan<'a>(
        &'a self,
        view: ReadView,
        range: &'a KeyRange,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'a, Result<ScanPage, ShardError>> {
        let all = self.rows.range(range.start.clone()..range.end.clone());
        let mut all: Vec<(Key, Bytes)> = all.map(|(key, value)| (key.clone(), value.clone())).collect();
        if direction == Direction::Reverse {
            all.reverse();
        }
        let left = all.split_off(limit.min(all.len()));
        let rest = left.first().map(|(next, _)| match direction {
            Direction::Forward => KeyRange::new(next.clone(), range.end.clone()),
            Direction::Reverse => KeyRange::new(range.start.clone(), next.successor()),
        });
        ready(self.check(view).map(|()| ScanPage { rows: all, rest }))
    }

    fn newest_commits<'a>(
        &'a self,
        keys: &'a [Key],
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<NewestCommits, ShardError>> {
        let newest = keys.iter().map(|key| self.rows.contains_key(key).then_some(Timestamp(5))).collect();
        ready(Ok((at_least, newest)))
    }

    fn newest_commit_in<'a>(
        &'a self,
        range: &'a KeyRange,
        at_least: Timestamp,
    ) -> BoxFuture<'a, Result<(Timestamp, Option<Timestamp>), ShardError>> {
        let some = self.rows.keys().any(|key| range.contains(key));
        ready(Ok((at_least, some.then_some(Timestamp(6)))))
    }

    fn volumes<'a>(&'a self, ranges: &'a [KeyRange]) -> BoxFuture<'a, Result<Vec<Volume>, ShardError>> {
        let volume = |range: &KeyRange| {
            let found = self.rows.range(range.start.clone()..range.end.clone());
            let mut volume = Volume::default();
            found.for_each(|(_, value)| volume += Volume { rows: 1, bytes: value.len() as u64 });
            volume
        };
        ready(Ok(ranges.iter().map(volume).collect()))
    }

    fn prepare(
        &self,
        _txn: TxnId,
        epoch: Epoch,
        mutations: Arc<Vec<Mutation>>,
    ) -> BoxFuture<'_, Result<Vote, ShardError>> {
        if epoch != Epoch(1) {
            return ready(Ok(Vote::No(VoteRefusal::StaleEpoch { current: Epoch(1) })));
        }
        *self.prepared.lock().unwrap() = mutations.to_vec();
        ready(Ok(Vote::Yes))
    }

    fn forget(&self, txn: TxnId) {
        self.forgotten.lock().unwrap().push(txn);
    }
}

const VIEW: ReadView = ReadView { snapshot_ts: Timestamp(9), epoch: Epoch(1) };

fn key(n: usize) -> Key {
    Key::new(format!("{n:06}").into_bytes())
}

fn everything() -> KeyRange {
    KeyRange::new(key(0), Key::new(&b"z"[..]))
}

struct Cluster {
    one: Node,
    two: Node,
    map: Arc<MapReplica>,
    replicas: Arc<Replicas>,
    remote: RemoteReplica,
}

async fn cluster(rows: usize, bytes: usize) -> Cluster {
    let (one, two) = (Node::plain(1).await, Node::plain(2).await);
    one.knows(&two);
    let rows = (0..rows).map(|n| (key(n), Bytes::from(vec![n as u8; bytes]))).collect();
    let map = Arc::new(MapReplica { rows, ..MapReplica::default() });
    let replicas = Replicas::new();
    replicas.insert(map.clone());
    two.services.offer(Service::Replica, ReplicaService::new(replicas.clone()));
    let remote = RemoteReplica::new(one.network.clone(), two.id, ShardId(1), ReplicaId(2));
    Cluster { one, two, map, replicas, remote }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_come_back_as_they_are_there() {
    let Cluster { one, two, map, replicas, remote } = cluster(3, 10).await;
    assert_eq!(remote.get(VIEW, &key(1)).await.unwrap(), Some(Bytes::from(vec![1; 10])));
    assert_eq!(remote.get(VIEW, &key(7)).await.unwrap(), None);
    let values = remote.get_many(VIEW, &[key(7), key(2)]).await.unwrap();
    assert_eq!(values, [None, Some(Bytes::from(vec![2; 10]))]);
    let newest = remote.newest_commits(&[key(1), key(8)], Timestamp(4)).await.unwrap();
    assert_eq!(newest, (Timestamp(4), vec![Some(Timestamp(5)), None]));
    let newest = remote.newest_commit_in(&everything(), Timestamp(4)).await.unwrap();
    assert_eq!(newest, (Timestamp(4), Some(Timestamp(6))));
    let volumes = remote.volumes(&[KeyRange::new(key(1), key(9)), KeyRange::point(key(7))]).await.unwrap();
    assert_eq!(volumes, [Volume { rows: 2, bytes: 20 }, Volume::default()]);
    let stale = remote.get(ReadView { epoch: Epoch(2), ..VIEW }, &key(1)).await;
    assert!(matches!(stale, Err(ShardError::StaleEpoch { asked: Epoch(2), .. })));
    let txn = crate::fake::txn(1);
    remote.forget(txn);
    eventually("the hint arrives", || *map.forgotten.lock().unwrap() == [txn]).await;
    // Replicas come and go.
    replicas.remove(ShardId(1), ReplicaId(2));
    let gone = remote.get(VIEW, &key(1)).await;
    assert!(matches!(gone, Err(ShardError::Unreachable(ShardId(1), _))), "{gone:?}");
    replicas.insert(map);
    assert!(remote.get(VIEW, &key(1)).await.is_ok());
    two.kill();
    let dead = remote.get(VIEW, &key(1)).await;
    assert!(matches!(dead, Err(ShardError::Unreachable(ShardId(1), _))), "{dead:?}");
    drop(one);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_bounded_by_bytes_as_well_as_by_rows() {
    let cluster = cluster(1000, 20_000).await;
    for direction in [Direction::Forward, Direction::Reverse] {
        let (mut rest, mut found, mut pages) = (Some(everything()), Vec::new(), 0);
        while let Some(range) = rest {
            let page = cluster.remote.scan(VIEW, &range, direction, 10_000).await.unwrap();
            assert!(!page.rows.is_empty());
            assert!(page.rows.iter().map(|(_, value)| value.len()).sum::<usize>() <= 1 << 20);
            found.extend(page.rows);
            rest = page.rest;
            pages += 1;
        }
        assert!(pages >= 20);
        let mut expected: Vec<_> = cluster.map.rows.clone().into_iter().collect();
        if direction == Direction::Reverse {
            expected.reverse();
        }
        assert!(found == expected);
        let page = cluster.remote.scan(VIEW, &everything(), direction, 3).await.unwrap();
        assert_eq!(page.rows.len(), 3);
        assert!(page.rest.is_some());
    }
    let keys: Vec<Key> = (0..1100).map(key).collect();
    let values = cluster.remote.get_many(VIEW, &keys).await.unwrap();
    assert!(values == keys.iter().map(|key| cluster.map.rows.get(key).cloned()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepares_of_any_size_arrive_whole() {
    let cluster = cluster(0, 0).await;
    let txn = crate::fake::txn(1);
    for (count, bytes) in [(0, 0), (3, 10), (3000, 2_000), (2, 3 << 20)] {
        let put = |n| Mutation::put(key(n), Slot(n as u16), vec![n as u8; bytes]);
        let mutations = Arc::new((0..count).map(put).collect::<Vec<_>>());
        let vote = cluster.remote.prepare(txn, Epoch(1), mutations.clone()).await.unwrap();
        assert_eq!(vote, Vote::Yes);
        assert!(*cluster.map.prepared.lock().unwrap() == *mutations);
        let vote = cluster.remote.prepare(txn, Epoch(2), mutations).await.unwrap();
        assert_eq!(vote, Vote::No(VoteRefusal::StaleEpoch { current: Epoch(1) }));
    }
    cluster.replicas.remove(ShardId(1), ReplicaId(2));
    let large = Arc::new(vec![Mutation::put(key(1), Slot(1), vec![0; 2 << 20])]);
    let gone = cluster.remote.prepare(txn, Epoch(1), large).await;
    assert!(matches!(&gone, Err(ShardError::Unreachable(_, why)) if why.contains("is not here")), "{gone:?}");
    drop((cluster.one, cluster.two));
}
