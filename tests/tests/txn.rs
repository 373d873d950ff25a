//! Transactions over the real adjudicator and real shards in one process, without SQL: what a session's reads, writes
//! and commits come to.
#![allow(clippy::disallowed_methods)] // Reads the process's clock.

use assize_model::{ErrorCode, Key, KeyRange, Mutation, Slot, TableId};
use assize_ports::{Direction, LockMode, ReadIntent, ScanRequest, ScanShards, Transaction};
use assize_session::{Committed, Isolation, Limits, Services, Txn, TxnOptions};
use assize_tests::in_process;
use std::sync::Arc;
use std::time::Duration;

const T: TableId = TableId(7);

fn options(isolation: Isolation) -> TxnOptions {
    TxnOptions { isolation, lock_wait: Duration::from_secs(5), ..TxnOptions::default() }
}

async fn begin(services: &Arc<Services>) -> Txn {
    Txn::begin(services.clone(), options(Isolation::RepeatableRead)).await.unwrap()
}

async fn cluster(limits: Limits) -> Arc<Services> {
    in_process::services(limits, Arc::new(in_process::NoQueries)).await
}

/// A key of table 7's primary index.
fn key(name: &str) -> Key {
    let mut bytes = vec![0, 0, 0, 7, 0, 0];
    bytes.extend_from_slice(name.as_bytes());
    Key::new(bytes)
}

/// Spread over all shards.
fn slot(name: &str) -> Slot {
    Slot::of(name.as_bytes())
}

fn put(txn: &mut Txn, name: &str, value: &str) {
    txn.write(T, Mutation::put(key(name), slot(name), value.as_bytes().to_vec())).unwrap();
}

async fn get(txn: &mut Txn, name: &str) -> Option<String> {
    let value = txn.get(T, slot(name), &key(name), ReadIntent::Plain).await.unwrap();
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// All rows, page by page.
async fn scan(txn: &mut Txn, direction: Direction, limit: usize) -> Vec<(String, String)> {
    let mut range = Some(KeyRange::prefix(&[0, 0, 0, 7, 0, 0]));
    let mut out = Vec::new();
    while let Some(next) = range {
        let request = ScanRequest {
            table: T,
            range: next,
            shards: ScanShards::All,
            direction,
            limit,
            intent: ReadIntent::Plain,
        };
        let page = txn.scan(request).await.unwrap();
        assert!(page.rows.len() <= limit);
        for (key, value) in page.rows {
            out.push((
                String::from_utf8(key.0[6..].to_vec()).unwrap(),
                String::from_utf8(value.to_vec()).unwrap(),
            ));
        }
        range = page.rest;
    }
    out
}

async fn in_both_modes<F: Future<Output = ()>>(test: impl Fn(Arc<Services>) -> F) {
    for inline_bytes_max in [16 << 10, 0] {
        test(cluster(Limits { inline_bytes_max, ..Limits::default() }).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_read_by_the_next_transaction_on_every_shard() {
    in_both_modes(|services| async move {
        let mut txn = begin(&services).await;
        for n in 0..100 {
            put(&mut txn, &format!("k{n:03}"), &n.to_string());
        }
        assert!(matches!(txn.commit(None).await, Ok(Committed::At(..))));
        let mut reader = begin(&services).await;
        for n in 0..100 {
            assert_eq!(get(&mut reader, &format!("k{n:03}")).await, Some(n.to_string()));
        }
        let expected: Vec<(String, String)> = (0..100).map(|n| (format!("k{n:03}"), n.to_string())).collect();
        assert_eq!(scan(&mut reader, Direction::Forward, 7).await, expected);
        let backwards: Vec<_> = expected.into_iter().rev().collect();
        assert_eq!(scan(&mut reader, Direction::Reverse, 9).await, backwards);
        assert_eq!(reader.commit(None).await, Ok(Committed::Nothing));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_committer_wins_and_the_loser_learns_who_did() {
    in_both_modes(|services| async move {
        let (mut a, mut b) = (begin(&services).await, begin(&services).await);
        put(&mut a, "x", "a");
        put(&mut b, "x", "b");
        put(&mut b, "y", "b");
        assert!(a.commit(None).await.is_ok());
        let failure = b.commit(None).await.unwrap_err();
        assert_eq!(failure.error.code, ErrorCode::Deadlock);
        assert!(failure.is_retryable);
        assert!(failure.error.message.contains("lost to transaction"), "{}", failure.error.message);
        let mut reader = begin(&services).await;
        assert_eq!(get(&mut reader, "x").await.as_deref(), Some("a"));
        assert_eq!(get(&mut reader, "y").await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stays_as_it_was_and_own_writes_are_seen() {
    let services = cluster(Limits::default()).await;
    let mut first = begin(&services).await;
    put(&mut first, "a", "1");
    put(&mut first, "c", "1");
    first.commit(None).await.unwrap();

    let mut old = begin(&services).await;
    let mut writer = begin(&services).await;
    put(&mut writer, "a", "2");
    put(&mut writer, "b", "2");
    writer.write(T, Mutation::delete(key("c"), slot("c"))).unwrap();
    let pairs = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        rows.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    writer.begin_statement(false).await.unwrap();
    assert_eq!(scan(&mut writer, Direction::Forward, 10).await, pairs(&[("a", "2"), ("b", "2")]));
    writer.commit(None).await.unwrap();

    assert_eq!(scan(&mut old, Direction::Forward, 1).await, pairs(&[("a", "1"), ("c", "1")]));
    assert_eq!(get(&mut old, "b").await, None);
    assert_eq!(
        scan(&mut begin(&services).await, Direction::Reverse, 1).await,
        pairs(&[("b", "2"), ("a", "2")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_is_allowed_by_snapshots_and_refused_when_serializable() {
    for (isolation, allowed) in [(Isolation::RepeatableRead, true), (Isolation::Serializable, false)] {
        let services = cluster(Limits::default()).await;
        let mut a = Txn::begin(services.clone(), options(isolation)).await.unwrap();
        let mut b = Txn::begin(services.clone(), options(isolation)).await.unwrap();
        get(&mut a, "y").await;
        get(&mut b, "x").await;
        put(&mut a, "x", "a");
        put(&mut b, "y", "b");
        assert!(a.commit(None).await.is_ok());
        assert_eq!(b.commit(None).await.is_ok(), allowed, "{isolation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phantom_is_refused_when_serializable() {
    for (isolation, allowed) in [(Isolation::RepeatableRead, true), (Isolation::Serializable, false)] {
        let services = cluster(Limits::default()).await;
        let mut a = Txn::begin(services.clone(), options(isolation)).await.unwrap();
        let mut b = Txn::begin(services.clone(), options(isolation)).await.unwrap();
        scan(&mut a, Direction::Forward, 10).await;
        scan(&mut b, Direction::Forward, 10).await;
        put(&mut a, "new-a", "a");
        put(&mut b, "new-b", "b");
        a.commit(None).await.unwrap();
        assert_eq!(b.commit(None).await.is_ok(), allowed, "{isolation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locking_read_waits_and_then_reads_what_was_committed() {
    let services = cluster(Limits::default()).await;
    let mut first = begin(&services).await;
    put(&mut first, "stock", "10");
    first.commit(None).await.unwrap();

    let lock = ReadIntent::Update(LockMode::Wait);
    let mut a = begin(&services).await;
    assert_eq!(a.get(T, slot("stock"), &key("stock"), lock).await.unwrap().as_deref(), Some(&b"10"[..]));
    let waiter = tokio::spawn({
        let services = services.clone();
        async move {
            let mut b = begin(&services).await;
            // Something was read before: the transaction keeps its snapshot, but not for the locked row.
            assert_eq!(get(&mut b, "stock").await.as_deref(), Some("10"));
            let seen = b.get(T, slot("stock"), &key("stock"), lock).await.unwrap();
            assert_eq!(get(&mut b, "stock").await.map(String::into_bytes), seen.as_ref().map(|s| s.to_vec()));
            put(&mut b, "stock", "8");
            b.commit(None).await.map(|_| seen)
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiter.is_finished(), "the second locking read waits");
    put(&mut a, "stock", "9");
    a.commit(None).await.unwrap();
    let seen = waiter.await.unwrap().expect("who waited does not lose");
    assert_eq!(seen.as_deref(), Some(&b"9"[..]));

    let mut c = begin(&services).await;
    let mut d = begin(&services).await;
    c.get(T, slot("stock"), &key("stock"), lock).await.unwrap();
    let nowait = ReadIntent::Update(LockMode::NoWait);
    assert_eq!(d.get(T, slot("stock"), &key("stock"), nowait).await.unwrap_err().code, ErrorCode::LockNowait);
    let skip = ReadIntent::Update(LockMode::SkipLocked);
    assert_eq!(d.get(T, slot("stock"), &key("stock"), skip).await.unwrap(), None);
    drop(c);
    assert!(d.get(T, slot("stock"), &key("stock"), nowait).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_over_the_limit_is_refused_and_the_rest_stays() {
    let services = cluster(Limits { transaction_bytes_max: 10_000, ..Limits::default() }).await;
    let mut txn = begin(&services).await;
    put(&mut txn, "small", "1");
    let big = Mutation::put(key("big"), slot("big"), vec![0; 20_000]);
    assert_eq!(txn.write(T, big).unwrap_err().code, ErrorCode::TransactionTooBig);
    txn.commit(None).await.unwrap();
    let mut reader = begin(&services).await;
    assert_eq!(get(&mut reader, "small").await.as_deref(), Some("1"));
    assert_eq!(get(&mut reader, "big").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_transfers_at_a_time_keep_the_total() {
    in_both_modes(|services| async move {
        const ACCOUNTS: u32 = 10;
        let mut fill = begin(&services).await;
        for n in 0..ACCOUNTS {
            put(&mut fill, &format!("a{n}"), "100");
        }
        fill.commit(None).await.unwrap();
        let tasks: Vec<_> = (0..16u32)
            .map(|worker| {
                let services = services.clone();
                tokio::spawn(async move {
                    let mut committed = 0;
                    for n in 0..30u32 {
                        let (from, to) = ((worker + n) % ACCOUNTS, (worker * 3 + n * 7 + 1) % ACCOUNTS);
                        if from == to {
                            continue;
                        }
                        let mut txn = begin(&services).await;
                        let (from, to) = (format!("a{from}"), format!("a{to}"));
                        let a: i32 = get(&mut txn, &from).await.unwrap().parse().unwrap();
                        let b: i32 = get(&mut txn, &to).await.unwrap().parse().unwrap();
                        put(&mut txn, &from, &(a - 1).to_string());
                        put(&mut txn, &to, &(b + 1).to_string());
                        match txn.commit(None).await {
                            Ok(_) => committed += 1,
                            Err(failure) => assert!(failure.is_retryable, "{failure:?}"),
                        }
                    }
                    committed
                })
            })
            .collect();
        let mut committed = 0;
        for task in tasks {
            committed += task.await.unwrap();
        }
        assert!(committed > 0);
        let rows = scan(&mut begin(&services).await, Direction::Forward, 3).await;
        let total: i32 = rows.iter().map(|(_, balance)| balance.parse::<i32>().unwrap()).sum();
        assert_eq!(total, ACCOUNTS as i32 * 100);
    })
    .await;
}
