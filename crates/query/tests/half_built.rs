//! An index whose build never ended: writers maintain it, readers leave it alone, and it can be dropped.

use assize_catalog::{ChangeBuilder, IndexState, Table};
use assize_model::SchemaVersion;
use assize_ports::StatementContext;
use assize_query::testing::{Session, block_on};

/// Leaves an index of `t` in the state in which a build begins.
fn stop_halfway(session: &mut Session, index: &str) {
    let internal = block_on(session.context().begin_internal()).unwrap();
    let catalog = internal.catalog();
    let table = catalog.table("test", "t").unwrap();
    let mut half = Table { version: SchemaVersion(table.version.0 + 1), ..(**table).clone() };
    half.indexes.iter_mut().find(|i| &*i.name == index).unwrap().state = IndexState::WriteOnly;
    let mut change = ChangeBuilder::new(&catalog);
    change.put_table(&half).fence(&half);
    let change = change.finish();
    block_on(internal.commit(Some(change))).unwrap();
}

#[test]
fn an_index_whose_build_died_is_maintained_and_can_be_dropped() {
    let mut session = Session::default();
    for sql in
        ["CREATE TABLE t (id INT PRIMARY KEY, a INT, KEY half (a))", "INSERT INTO t VALUES (1, 10), (2, 20)"]
    {
        session.run(sql).unwrap();
    }
    stop_halfway(&mut session, "half");

    let shown = session.run("SHOW CREATE TABLE t").unwrap().texts();
    assert!(!shown[0][1].contains("half"), "{shown:?}");
    session.run("INSERT INTO t VALUES (3, 30)").unwrap();
    session.run("UPDATE t SET a = 11 WHERE id = 1").unwrap();
    session.run("DELETE FROM t WHERE id = 2").unwrap();
    let rows = session.run("SELECT id FROM t WHERE a = 11").unwrap().texts();
    assert_eq!(rows, [["1"]]);
    let report = session.run("CHECK TABLE t").unwrap().texts();
    assert_eq!(report.last().unwrap()[3], "OK", "{report:?}");

    let error = session.run("ALTER TABLE t ADD COLUMN b INT").unwrap_err();
    assert_eq!(error.code.errno(), 1192, "{error}");
    session.run("ALTER TABLE t DROP INDEX half").unwrap();
    session.run("ALTER TABLE t ADD COLUMN b INT, ADD INDEX (a)").unwrap();
    let rows = session.run("SELECT id FROM t WHERE a = 30").unwrap().texts();
    assert_eq!(rows, [["3"]]);
    let report = session.run("CHECK TABLE t").unwrap().texts();
    assert_eq!(report.last().unwrap()[3], "OK", "{report:?}");
}
