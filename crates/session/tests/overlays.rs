//! Scans merged over shards, locked rows and own writes, against a map.

mod support;

use assize_values::Value;
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(i64),
    Update(i64),
    Delete(i64),
    Lock(i64),
    /// Somebody else writes and commits.
    Other(i64),
    Savepoint,
    RollbackTo,
    Fail(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0i64..12;
    prop_oneof![
        id.clone().prop_map(Step::Insert),
        id.clone().prop_map(Step::Update),
        id.clone().prop_map(Step::Delete),
        id.clone().prop_map(Step::Lock),
        id.clone().prop_map(Step::Other),
        Just(Step::Savepoint),
        Just(Step::RollbackTo),
        id.prop_map(Step::Fail),
    ]
}

fn shown(model: &BTreeMap<i64, String>) -> String {
    let rows: Vec<String> = model.iter().map(|(id, v)| format!("{id}={v}")).collect();
    rows.join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What a transaction sees is its snapshot, the rows it locked as they were then, and its own writes on top.
    #[test]
    fn a_transaction_sees_what_a_map_would(steps in proptest::collection::vec(step(), 1..40)) {
        let house = House::new();
        let (mut a, mut b) = (house.session(), house.session());
        let mut committed: BTreeMap<i64, String> = BTreeMap::new();
        for id in [1, 4, 5, 9] {
            b.sql(&format!("INSERT INTO stock VALUES ({id}, 'base')"));
            committed.insert(id, "base".into());
        }
        a.sql("BEGIN");
        prop_assert_eq!(a.table(), shown(&committed));
        let mut seen = committed.clone();
        // Keys that the transaction has written or locked: what others do to them no longer shows.
        let mut saved: Option<BTreeMap<i64, String>> = None;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(id) => {
                    let result = a.try_sql(&format!("INSERT INTO stock VALUES ({id}, 'i{n}')"));
                    prop_assert_eq!(result.is_ok(), !seen.contains_key(&id));
                    seen.entry(id).or_insert(format!("i{n}"));
                }
                Step::Update(id) => {
                    a.sql(&format!("UPDATE stock SET v = 'u{n}' WHERE id = {id}"));
                    if let Some(v) = seen.get_mut(&id) {
                        *v = format!("u{n}");
                    }
                }
                Step::Delete(id) => {
                    a.sql(&format!("DELETE FROM stock WHERE id = {id}"));
                    seen.remove(&id);
                }
                Step::Lock(id) => {
                    let rows = a.sql(&format!("SELECT * FROM stock WHERE id = {id} FOR UPDATE"));
                    let now = rows.first().map(|row| match &row[1] {
                        Value::Text(v) => v.as_str().to_owned(),
                        other => panic!("{other:?}"),
                    });
                    match now {
                        Some(v) => drop(seen.insert(id, v)),
                        None => drop(seen.remove(&id)),
                    }
                    // A savepoint undoes writes, never what has been learned by locking.
                    saved = None;
                    a.sql("SAVEPOINT s");
                    a.sql("RELEASE SAVEPOINT s");
                }
                Step::Other(id) => {
                    let _ = b.try_sql(&format!("INSERT INTO stock VALUES ({id}, 'o{n}')"));
                    b.sql(&format!("UPDATE stock SET v = 'o{n}' WHERE id = {id}"));
                    committed.insert(id, format!("o{n}"));
                }
                Step::Savepoint => {
                    a.sql("SAVEPOINT s");
                    saved = Some(seen.clone());
                }
                Step::RollbackTo => {
                    if let Some(saved) = &saved {
                        a.sql("ROLLBACK TO s");
                        seen.clone_from(saved);
                    }
                }
                Step::Fail(id) => {
                    let text = format!("INSERT INTO stock VALUES ({}, 'x'), (99, 'boom')", id + 100);
                    prop_assert!(a.try_sql(&text).is_err());
                }
            }
            prop_assert_eq!(a.table(), shown(&seen));
            for id in 0..12 {
                let rows = a.sql(&format!("SELECT * FROM stock WHERE id = {id}"));
                let one = seen.get(&id).map(|v| format!("{id}={v}")).unwrap_or_default();
                prop_assert_eq!(show(&rows), one);
            }
            prop_assert_eq!(b.table(), shown(&committed));
        }
        a.sql("ROLLBACK");
        prop_assert_eq!(a.table(), shown(&committed));
    }
}
