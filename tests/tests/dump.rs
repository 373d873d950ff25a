//! Real input: a MariaDB dump of sysbench's tables and of a shop loads into Assize, and Assize's dump loads back.

use assize_tests::{Assize, MariaDb, root, run_bytes, run_ok};
use std::process::Command;

/// Rows per sysbench table.
const SYSBENCH_ROWS: u32 = 2000;
/// sysbench tables.
const SYSBENCH_TABLES: u32 = 2;

const DATABASES: [&str; 2] = ["sbtest", "shop"];

fn fill(mariadb: &MariaDb) {
    let shop = std::fs::read(root().join("tests/data/shop.sql")).unwrap();
    run_ok(&mut mariadb.client("mariadb"), &shop);
    mariadb.query("CREATE DATABASE sbtest");
    run_ok(
        Command::new("sysbench").args([
            "oltp_read_write",
            "--db-driver=mysql",
            "--mysql-user=root",
            &format!("--mysql-socket={}", mariadb.socket()),
            &format!("--tables={SYSBENCH_TABLES}"),
            &format!("--table-size={SYSBENCH_ROWS}"),
            "prepare",
        ]),
        b"",
    );
}

/// (database, table, columns in order) of both databases, by MariaDB's own catalog.
fn tables(mariadb: &MariaDb) -> Vec<(String, String, Vec<String>)> {
    let mut out: Vec<(String, String, Vec<String>)> = Vec::new();
    let listed = mariadb.query(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns \
         WHERE table_schema IN ('sbtest', 'shop') ORDER BY table_schema, table_name, ordinal_position",
    );
    for line in listed.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        match out.last_mut() {
            Some((db, table, columns)) if db == parts[0] && table == parts[1] => {
                columns.push(parts[2].to_owned())
            }
            _ => out.push((parts[0].to_owned(), parts[1].to_owned(), vec![parts[2].to_owned()])),
        }
    }
    out
}

/// A statement that prints every row of a table exactly, in an order that both servers agree on.
fn rows_of(db: &str, table: &str, columns: &[String]) -> String {
    let cells: Vec<String> =
        columns.iter().map(|c| format!("IF(`{c}` IS NULL, 'NULL', HEX(`{c}`)), `{c}`")).collect();
    let order: Vec<String> = columns.iter().map(|c| format!("HEX(`{c}`)")).collect();
    format!("SELECT {} FROM `{db}`.`{table}` ORDER BY {}", cells.join(", "), order.join(", "))
}

/// A digest of all rows, computed inside the server.
fn digest_of(db: &str, table: &str, columns: &[String]) -> String {
    let cells: Vec<String> = columns.iter().map(|c| format!("IFNULL(HEX(`{c}`), 'N')")).collect();
    format!(
        "SELECT COUNT(*), SUM(CRC32(CONCAT_WS('#', {cells}))), BIT_XOR(CRC32(CONCAT_WS('/', {cells}))) FROM `{db}`.`{table}`",
        cells = cells.join(", ")
    )
}

#[test]
fn a_mariadb_dump_loads_into_assize_and_back_unchanged() {
    let mariadb = MariaDb::start();
    fill(&mariadb);
    let dump = run_bytes(mariadb.client("mariadb-dump").args(["--databases"]).args(DATABASES), b"");

    let assize = Assize::start();
    run_ok(&mut assize.mariadb(), &dump);

    let tables = tables(&mariadb);
    assert_eq!(tables.len(), 6 + SYSBENCH_TABLES as usize);
    for (db, table, columns) in &tables {
        let rows = rows_of(db, table, columns);
        assert_eq!(mariadb.query(&rows), assize.query(&rows), "rows of {db}.{table} differ");
        let digest = digest_of(db, table, columns);
        assert_eq!(mariadb.query(&digest), assize.query(&digest), "digest of {db}.{table} differs");
    }

    // And back: the dump of Assize into an empty MariaDB.
    let back = run_bytes(assize.mariadb_dump().args(["--databases"]).args(DATABASES), b"");
    let second = MariaDb::start();
    run_ok(&mut second.client("mariadb"), &back);
    for (db, table, columns) in &tables {
        let rows = rows_of(db, table, columns);
        assert_eq!(mariadb.query(&rows), second.query(&rows), "rows of {db}.{table} changed on the way back");
    }
    let keys = "SELECT table_schema, table_name, index_name, seq_in_index, column_name, non_unique \
                FROM information_schema.statistics WHERE table_schema IN ('sbtest', 'shop') ORDER BY 1, 2, 3, 4";
    assert_eq!(mariadb.query(keys), second.query(keys), "indexes changed on the way back");
    let references = "SELECT constraint_schema, table_name, constraint_name, referenced_table_name, delete_rule, \
                      IF(update_rule IN ('NO ACTION', 'RESTRICT'), 'RESTRICT', update_rule) \
                      FROM information_schema.referential_constraints ORDER BY 1, 2, 3";
    let normal = |text: String| text.replace("NO ACTION", "RESTRICT");
    assert_eq!(normal(mariadb.query(references)), normal(second.query(references)), "foreign keys changed");
}
