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

/// Tables and views of every kind, one of them made before what it is made of is there in a dump's order.
const VIEWED: &str = "
CREATE DATABASE viewed;
USE viewed;
CREATE TABLE goods (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, price DECIMAL(8,2), kind INT);
INSERT INTO goods VALUES (1, 'nail', 0.10, 1), (2, 'ham\\\\mer', 12.50, 2), (3, 'sc''rew', NULL, 1);
CREATE TABLE kinds (id INT PRIMARY KEY, label VARCHAR(10));
INSERT INTO kinds VALUES (1, 'small'), (2, 'tool');
CREATE VIEW z_cheap AS SELECT * FROM goods WHERE price < 10 WITH LOCAL CHECK OPTION;
CREATE VIEW a_names AS SELECT name, CONCAT(name, '\\\\', 'it''s') AS told FROM z_cheap;
CREATE VIEW counted (kind, many, dearest) AS SELECT k.label, COUNT(*), MAX(g.price) FROM goods g JOIN kinds k ON k.id = g.kind GROUP BY k.label;
CREATE SQL SECURITY INVOKER VIEW joined AS SELECT g.*, k.label FROM goods g LEFT JOIN kinds k ON g.kind = k.id;
CREATE ALGORITHM=TEMPTABLE VIEW both_of AS SELECT id, name FROM goods UNION SELECT id, label FROM kinds;
CREATE VIEW dear AS SELECT name FROM goods WHERE price = (SELECT MAX(price) FROM goods) AND kind IN (SELECT id FROM kinds);
CREATE VIEW ranked AS SELECT id, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY price DESC) AS place FROM goods;
CREATE VIEW chained AS WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 4) SELECT i, name FROM n LEFT JOIN goods ON goods.id = i;
";

const VIEWS: [&str; 8] = ["a_names", "both_of", "chained", "counted", "dear", "joined", "ranked", "z_cheap"];

#[test]
fn views_are_dumped_and_restored() {
    let mariadb = MariaDb::start();
    run_ok(&mut mariadb.client("mariadb"), VIEWED.as_bytes());
    let dump = run_bytes(mariadb.client("mariadb-dump").args(["--databases", "viewed"]), b"");

    let assize = Assize::start();
    run_ok(&mut assize.mariadb(), &dump);
    let rows = |view: &str| format!("SELECT * FROM viewed.{view} ORDER BY 1, 2");
    let rows = |view: &str| if view == "dear" { "SELECT * FROM viewed.dear".to_owned() } else { rows(view) };
    for view in VIEWS {
        assert_eq!(mariadb.query(&rows(view)), assize.query(&rows(view)), "rows of {view}");
    }
    let facts = "SELECT table_name, check_option, definer, security_type, character_set_client, collation_connection \
                 FROM information_schema.views WHERE table_schema = 'viewed' ORDER BY table_name";
    let normal = |text: String| text.replace("utf8mb3", "utf8");
    assert_eq!(normal(mariadb.query(facts)), normal(assize.query(facts)));
    let kinds = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'viewed' ORDER BY 1";
    assert_eq!(mariadb.query(kinds), assize.query(kinds));
    assert!(assize.query("EXPLAIN SELECT * FROM viewed.z_cheap WHERE id = 1").contains("const"));

    // And on: into another Assize, and back into MariaDB.
    let onward = run_bytes(assize.mariadb_dump().args(["--databases", "viewed"]), b"");
    let (second, back) = (Assize::start(), MariaDb::start());
    run_ok(&mut second.mariadb(), &onward);
    run_ok(&mut back.client("mariadb"), &onward);
    for view in VIEWS {
        let shown = format!("SHOW CREATE VIEW viewed.{view}");
        assert_eq!(assize.query(&shown), second.query(&shown));
        assert_eq!(mariadb.query(&rows(view)), second.query(&rows(view)), "rows of {view}, restored");
        assert_eq!(mariadb.query(&rows(view)), back.query(&rows(view)), "rows of {view}, back in MariaDB");
    }
    second.query("UPDATE viewed.z_cheap SET price = 9.99 WHERE id = 1");
    assert_eq!(second.query("SELECT price FROM viewed.goods WHERE id = 1").trim(), "9.99");
}

/// The client sends statements that are made of comments for MySQL and for MariaDB: a server executes those of the one that it says it is.
#[test]
fn mariadb_dump_tells_accounts_as_those_of_a_mysql_server() {
    let assize = Assize::start();
    assize.query("CREATE USER 'app'@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON *.* TO 'app'@'%'");
    let dump = run_bytes(assize.mariadb_dump().args(["--system=users"]), b"");
    let dump = String::from_utf8_lossy(&dump).into_owned();
    assert!(
        dump.contains("CREATE USER `app`@`%`") && dump.contains("GRANT SELECT ON *.* TO `app`@`%`"),
        "{dump}"
    );
    assert_eq!(assize.query("SELECT 1 /*M!100100 + 1 */ /*!80001 + 2 */").trim(), "3");
}
