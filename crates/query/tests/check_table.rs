//! CHECK TABLE finds what it is for: each kind of damage is done on purpose, below every check.

use assize_catalog::{Table, key, row};
use assize_model::{Mutation, Slot};
use assize_ports::StatementContext;
use assize_query::testing::{Session, block_on};
use assize_values::Value;
use std::sync::Arc;

fn session() -> (Session, Arc<Table>) {
    let mut session = Session::default();
    for sql in [
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(5), pid INT, KEY a (a), UNIQUE b (b), \
         CHECK (a < 100), FOREIGN KEY (pid) REFERENCES p (id))",
        "INSERT INTO p VALUES (1)",
        "INSERT INTO t VALUES (1, 10, 'x', 1), (2, 20, 'y', NULL)",
    ] {
        session.run(sql).unwrap();
    }
    let table = session.catalog().table("test", "t").unwrap().clone();
    (session, table)
}

/// Writes without any of the rules.
fn damage(session: &mut Session, table: &Table, mutation: Mutation) {
    let mut internal = block_on(session.context().begin_internal()).unwrap();
    internal.transaction().write(table.id, mutation).unwrap();
    block_on(internal.commit(None)).unwrap();
}

fn findings(session: &mut Session) -> Vec<String> {
    let mut lines = session.run("CHECK TABLE t").unwrap().texts();
    let last = lines.pop().unwrap();
    assert_eq!(last[3], if lines.is_empty() { "OK" } else { "Corrupt" });
    lines.into_iter().map(|line| line[3].clone()).collect()
}

/// The first row of `t`, with its place.
fn first(table: &Table) -> (Vec<Value>, assize_model::Key, Slot) {
    let values = vec![Value::Int(1), Value::Int(10), Value::text("x"), Value::Int(1)];
    let row_key = table.row_key(&values).unwrap();
    let slot = table.row_slot(&values, &row_key);
    (values, row_key, slot)
}

#[test]
fn an_undamaged_table_is_ok() {
    let (mut session, _) = session();
    assert!(findings(&mut session).is_empty());
}

#[test]
fn a_missing_entry_is_found() {
    let (mut session, table) = session();
    let (values, row_key, slot) = first(&table);
    for name in ["a", "b"] {
        let entry = table.index_entry(table.index(name).unwrap(), &values, &row_key, slot);
        damage(&mut session, &table, Mutation::delete(entry.key, entry.slot));
    }
    let found = findings(&mut session).join("\n");
    assert!(found.contains("index 'a': no entry for row"), "{found}");
    assert!(found.contains("index 'b' has 1 entries for 2 rows"), "{found}");
}

#[test]
fn an_entry_without_a_row_is_found() {
    let (mut session, table) = session();
    let (_, row_key, slot) = first(&table);
    damage(&mut session, &table, Mutation::delete(row_key, slot));
    let found = findings(&mut session).join("\n");
    assert!(found.contains("index 'a': entry") && found.contains("leads to no row"), "{found}");
}

#[test]
fn a_row_that_its_entries_do_not_know_is_found() {
    let (mut session, table) = session();
    let (mut values, row_key, slot) = first(&table);
    values[1] = Value::Int(500);
    damage(&mut session, &table, Mutation::put(row_key, slot, row::encode(&table, &values)));
    let found = findings(&mut session).join("\n");
    assert!(found.contains("is not that of its row"), "{found}");
    assert!(found.contains("Check constraint 't_chk_1' is violated."), "{found}");
}

#[test]
fn bytes_that_are_no_row_are_found() {
    let (mut session, table) = session();
    let (_, row_key, slot) = first(&table);
    damage(&mut session, &table, Mutation::put(row_key, slot, vec![9, 9, 9]));
    let found = findings(&mut session).join("\n");
    assert!(found.contains("version 9"), "{found}");
}

#[test]
fn a_child_without_its_parent_is_found() {
    let (mut session, _) = session();
    let parent = session.catalog().table("test", "p").unwrap().clone();
    let row_key = parent.row_key(&[Value::Int(1)]).unwrap();
    let slot = key::slot_of_value(&Value::Int(1), &parent.columns[0].sql_type);
    damage(&mut session, &parent, Mutation::delete(row_key, slot));
    let found = findings(&mut session).join("\n");
    assert!(found.contains("foreign key 't_ibfk_1' finds no parent"), "{found}");
}
