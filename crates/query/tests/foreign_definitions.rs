//! CREATE SERVER, and what CREATE TABLE … ENGINE=FEDERATED asks of the server. What servers answer here is what MariaDB 10.11
//! answered.

use assize_catalog::{Column, DefaultValue, Table};
use assize_query::testing::{FakeCluster, Session};
use assize_values::{Collation, SqlType, Value};
use std::sync::Arc;

fn run(session: &mut Session, sql: &str) -> Vec<Vec<String>> {
    session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).texts()
}

/// Number and text of the error of a statement.
fn error(session: &mut Session, sql: &str) -> (u16, String) {
    let error = session.run(sql).expect_err(sql);
    (error.code.errno(), error.message)
}

/// Number of the error of a statement, whose text has to name this.
fn refused(session: &mut Session, sql: &str, named: &str) -> u16 {
    let (number, text) = error(session, sql);
    assert!(text.contains(named), "{sql}: {text}");
    number
}

/// A session with a server `Old`.
fn with_server() -> Session {
    let mut session = Session::new();
    run(
        &mut session,
        "CREATE SERVER Old FOREIGN DATA WRAPPER mysql OPTIONS \
         (HOST 'db1', PORT 3307, DATABASE 'shop', USER 'assize', PASSWORD 'geheim', OWNER 'ann')",
    );
    session
}

fn described(what: &str, from: &str, table: &str) -> String {
    format!(
        "SELECT {what} FROM information_schema.{from} WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}'"
    )
}

/// The server has such a table.
fn has_table(session: &mut Session, table: &str, kind: &str, engine: &str) {
    let sql = described("TABLE_TYPE, ENGINE, TABLE_COLLATION, TABLE_COMMENT", "TABLES", table);
    let row = [Some(kind), Some(engine), Some("utf8mb4_general_ci"), Some("all of them")];
    session.scripted(|servers| servers.answers("Old", &sql, &[&row]));
}

/// With these columns: name, type, IS_NULLABLE, collation, generation expression.
fn has_columns(session: &mut Session, table: &str, columns: &[[&str; 5]]) {
    let what =
        "COLUMN_NAME, DATA_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, GENERATION_EXPRESSION";
    let sql = format!("{} ORDER BY ORDINAL_POSITION", described(what, "COLUMNS", table));
    let rows: Vec<[Option<String>; 6]> = columns
        .iter()
        .map(|[name, data_type, nullable, collation, generated]| {
            let charset = collation.split('_').next().unwrap_or_default();
            [name, data_type, nullable, &charset, collation, generated]
                .map(|text| Some((*text).to_owned()).filter(|text| !text.is_empty()))
        })
        .collect();
    let rows: Vec<Vec<Option<&str>>> =
        rows.iter().map(|row| row.iter().map(Option::as_deref).collect()).collect();
    let rows: Vec<&[Option<&str>]> = rows.iter().map(Vec::as_slice).collect();
    session.scripted(|servers| servers.answers("Old", &sql, &rows));
}

/// With these unique keys: name, column, prefix.
fn has_keys(session: &mut Session, table: &str, keys: &[[Option<&str>; 3]]) {
    let sql = format!(
        "{} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        described("INDEX_NAME, COLUMN_NAME, SUB_PART", "STATISTICS", table)
    );
    let rows: Vec<&[Option<&str>]> = keys.iter().map(|key| key.as_slice()).collect();
    session.scripted(|servers| servers.answers("Old", &sql, &rows));
}

fn shows(session: &mut Session, table: &str, text: &str) {
    let sql = format!("SHOW CREATE TABLE `{table}`");
    session.scripted(|servers| servers.answers("Old", &sql, &[&[Some(table), Some(text)]]));
}

/// A table `orders` there, with a key and three columns.
fn has_orders(session: &mut Session) {
    has_table(session, "orders", "BASE TABLE", "InnoDB");
    has_columns(
        session,
        "orders",
        &[
            ["id", "bigint", "NO", "", ""],
            ["name", "varchar", "YES", "utf8mb4_general_ci", ""],
            ["Code", "char", "NO", "latin1_swedish_ci", ""],
        ],
    );
    has_keys(
        session,
        "orders",
        &[[Some("PRIMARY"), Some("id"), None], [Some("by_code"), Some("Code"), Some("2")]],
    );
    shows(
        session,
        "orders",
        "CREATE TABLE `orders` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  `name` varchar(40) DEFAULT NULL,\n  \
         `Code` char(4) CHARACTER SET latin1 COLLATE latin1_swedish_ci NOT NULL,\n  PRIMARY KEY (`id`),\n  \
         UNIQUE KEY `by_code` (`Code`(2))\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci",
    );
}

fn table(session: &Session, name: &str) -> Arc<Table> {
    session.catalog().require_table("test", name).unwrap().clone()
}

fn column<'t>(table: &'t Table, name: &str) -> &'t Column {
    table.column(name).unwrap_or_else(|| panic!("a column {name}"))
}

#[test]
fn servers_are_made_changed_and_dropped_whatever_the_case_of_their_names() {
    let mut session = with_server();
    let all = "SELECT * FROM mysql.servers";
    assert_eq!(run(&mut session, all), [["Old", "db1", "shop", "assize", "", "3307", "", "mysql", "ann"]]);
    let again = "CREATE SERVER OLD FOREIGN DATA WRAPPER 'mysql' OPTIONS (HOST 'x')";
    assert_eq!(
        error(&mut session, again),
        (1476, "The foreign server, OLD, you are trying to create already exists.".into())
    );
    run(&mut session, "ALTER SERVER oLd OPTIONS (HOST 'db2', PORT 0)");
    assert_eq!(run(&mut session, all), [["Old", "db2", "shop", "assize", "", "3306", "", "mysql", "ann"]]);
    assert_eq!(&*session.catalog().require_server("old").unwrap().password, "geheim");
    run(&mut session, "DROP SERVER OLD");
    assert!(run(&mut session, all).is_empty());
    let missing =
        "The foreign server name you are trying to reference does not exist. Data source error:  OLD";
    for sql in ["DROP SERVER OLD", "ALTER SERVER OLD OPTIONS (HOST 'x')"] {
        assert_eq!(error(&mut session, sql), (1477, missing.into()), "{sql}");
    }
    let noted = session.run("DROP SERVER IF EXISTS OLD").unwrap().warnings;
    assert_eq!(
        noted.iter().map(|w| (w.code.errno(), w.message.as_str())).collect::<Vec<_>>(),
        [(1477, missing)]
    );
    run(&mut session, "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u')");
    assert_eq!(run(&mut session, all), [["s", "localhost", "", "u", "", "3306", "", "mysql", ""]]);
}

#[test]
fn servers_that_cannot_be_used_are_refused() {
    let mut session = Session::new();
    let options = |options: &str| format!("CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS ({options})");
    assert_eq!(refused(&mut session, &options("SOCKET '/tmp/s'"), "SOCKET"), 1235);
    assert_eq!(refused(&mut session, &options("PORT 65536"), "PORT"), 1210);
    assert_eq!(refused(&mut session, &options(&format!("USER '{}'", "u".repeat(65))), "'Username'"), 1406);
    let wrapper = "CREATE SERVER s FOREIGN DATA WRAPPER pg OPTIONS (HOST 'x')";
    assert_eq!(refused(&mut session, wrapper, "pg"), 1235);
    let long = "s".repeat(65);
    let named = |name: &str| format!("CREATE SERVER {name} FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')");
    assert_eq!(refused(&mut session, &named(&long), &long), 1059);
    run(&mut session, &named(&long[1..]));
    // A node of the release before would not understand the catalog any more.
    session.joins(Arc::new(FakeCluster { is_half_upgraded: true, ..FakeCluster::default() }));
    assert_eq!(refused(&mut session, &named("t"), "version 6"), 1235);
}

#[test]
fn servers_are_the_business_of_those_who_have_super() {
    let mut session = with_server();
    session.becomes("app", &["SELECT", "CREATE", "DROP"]);
    let create = "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')";
    for sql in [create, "ALTER SERVER Old OPTIONS (HOST 'x')", "DROP SERVER IF EXISTS s"] {
        assert_eq!(refused(&mut session, sql, "SUPER"), 1227, "{sql}");
    }
    let count = "SELECT COUNT(*) FROM mysql.servers";
    assert_eq!(run(&mut session, count), [["1"]]);
    session.becomes("app", &["INSERT"]);
    assert_eq!(run(&mut session, count), [["0"]]);
    session.becomes("app", &["SUPER"]);
    assert_eq!(run(&mut session, count), [["1"]]);
    run(&mut session, create);
    assert_eq!(refused(&mut session, "DELETE FROM mysql.servers", "DROP SERVER"), 1235);
}

#[test]
fn a_table_without_columns_is_what_its_server_says() {
    let mut session = with_server();
    has_table(&mut session, "orders", "BASE TABLE", "InnoDB");
    let plain = |name, data_type, nullable| [name, data_type, nullable, "", ""];
    has_columns(
        &mut session,
        "orders",
        &[
            plain("id", "bigint", "NO"),
            plain("kind", "int", "YES"),
            ["name", "varchar", "NO", "utf8mb4_general_ci", ""],
            ["code", "char", "YES", "latin1_swedish_ci", ""],
            ["tag", "varchar", "YES", "ascii_bin", ""],
            ["note", "text", "YES", "utf8mb4_general_ci", ""],
            ["doc", "longtext", "YES", "utf8mb4_bin", ""],
            plain("price", "decimal", "NO"),
            plain("flags", "bit", "YES"),
            ["state", "enum", "YES", "utf8mb4_general_ci", ""],
            ["bits", "set", "YES", "utf8mb4_general_ci", ""],
            plain("at", "datetime", "YES"),
            plain("ts", "timestamp", "NO"),
            plain("y", "year", "YES"),
            plain("b", "varbinary", "YES"),
            ["u", "char", "YES", "utf8mb4_general_ci", ""],
            plain("n", "int", "NO"),
            plain("z", "int", "YES"),
        ],
    );
    let text = "CREATE TABLE `orders` (
  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `kind` int(11) DEFAULT NULL,
  `name` varchar(40) NOT NULL DEFAULT 'it''s' COMMENT 'a ) name',
  `code` char(4) CHARACTER SET latin1 COLLATE latin1_swedish_ci DEFAULT NULL,
  `tag` varchar(10) CHARACTER SET ascii COLLATE ascii_bin DEFAULT NULL,
  `note` text DEFAULT NULL,
  `doc` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`doc`)),
  `price` decimal(10,2) NOT NULL DEFAULT 0.00,
  `flags` bit(3) DEFAULT b'101',
  `state` enum('new','old') DEFAULT 'new',
  `bits` set('a','b') DEFAULT NULL,
  `at` datetime(3) DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
  `ts` timestamp NOT NULL DEFAULT '0000-00-00 00:00:00',
  `y` year(4) DEFAULT NULL,
  `b` varbinary(8) DEFAULT NULL,
  `u` char(36) DEFAULT uuid(),
  `n` int(11) NOT NULL DEFAULT -1,
  `z` int(5) unsigned zerofill DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `by_code` (`code`,`tag`),
  KEY `by_name` (`name`(10) DESC),
  KEY `fk` (`kind`),
  KEY `lower_name` ((lower(`name`))),
  FULLTEXT KEY `words` (`note`),
  CONSTRAINT `fk` FOREIGN KEY (`kind`) REFERENCES `kinds` (`id`) ON DELETE CASCADE,
  CONSTRAINT `positive` CHECK (`price` >= 0)
) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci COMMENT='all of them'
 PARTITION BY RANGE (`id`)
(PARTITION `p0` VALUES LESS THAN (10) ENGINE = InnoDB,
 PARTITION `p1` VALUES LESS THAN MAXVALUE ENGINE = InnoDB)";
    shows(&mut session, "orders", text);
    run(&mut session, "SET sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE'");
    run(&mut session, "CREATE TABLE mine ENGINE=FEDERATED CONNECTION='old/orders'");
    let table = table(&session, "mine");
    let foreign = table.foreign.as_ref().unwrap();
    assert_eq!((&*foreign.server, &*foreign.table), ("old", "orders"));
    assert_eq!((table.collation.name(), &*table.comment), ("utf8mb4_general_ci", "all of them"));
    assert!(table.foreign_keys.is_empty() && table.checks.is_empty());
    let indexes: Vec<(&str, bool)> = table.indexes.iter().map(|index| (&*index.name, index.unique)).collect();
    assert_eq!(indexes, [("PRIMARY", true), ("by_code", true), ("by_name", false), ("fk", false)]);
    assert!(column(&table, "id").auto_increment && !column(&table, "id").nullable);
    assert_eq!(&*column(&table, "name").comment, "a ) name");
    assert_eq!(column(&table, "n").default, Some(DefaultValue::Constant(Value::Int(-1))));
    assert_eq!(column(&table, "at").on_update_now, Some(3));
    assert!(matches!(column(&table, "u").default, Some(DefaultValue::Expression(_))));
    assert!(column(&table, "ts").default.is_some());
    let collations = ["name", "code", "tag", "doc"].map(|name| match column(&table, name).sql_type {
        SqlType::Char { collation, .. }
        | SqlType::VarChar { collation, .. }
        | SqlType::Text { collation, .. } => collation,
        ref other => panic!("{other:?}"),
    });
    let expected = ["utf8mb4_general_ci", "latin1_swedish_ci", "ascii_bin", "utf8mb4_bin"];
    assert_eq!(collations, expected.map(|name| Collation::find(name).unwrap()));
    // What is shown makes the same table again.
    let shown = run(&mut session, "SHOW CREATE TABLE mine").remove(0).remove(1);
    let end = "ENGINE=FEDERATED DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci COMMENT='all of them' \
               CONNECTION='old/orders'";
    assert!(shown.ends_with(end), "{shown}");
    has_keys(
        &mut session,
        "orders",
        &[
            [Some("by_code"), Some("code"), None],
            [Some("by_code"), Some("tag"), None],
            [Some("PRIMARY"), Some("id"), None],
        ],
    );
    run(&mut session, "SET sql_mode = ''");
    run(&mut session, &shown.replacen("`mine`", "`again`", 1));
    let again = run(&mut session, "SHOW CREATE TABLE again").remove(0).remove(1);
    assert_eq!(again, shown.replacen("`mine`", "`again`", 1));
}

#[test]
fn what_mysql_writes_in_its_comments_is_read() {
    let mut session = with_server();
    has_table(&mut session, "items", "BASE TABLE", "InnoDB");
    has_columns(
        &mut session,
        "items",
        &[
            ["id", "int", "NO", "", ""],
            ["doc", "json", "YES", "", ""],
            ["tag", "varchar", "NO", "utf8mb4_0900_as_cs", ""],
            ["seen", "timestamp", "YES", "", ""],
            ["hidden", "int", "YES", "", ""],
        ],
    );
    let text = "CREATE TABLE `items` (
  `id` int unsigned NOT NULL AUTO_INCREMENT,
  `doc` json DEFAULT (json_object()),
  `tag` varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_cs NOT NULL DEFAULT '',
  `seen` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  `hidden` int DEFAULT NULL /*!80023 INVISIBLE */,
  PRIMARY KEY (`id`),
  UNIQUE KEY `lower_tag` ((lower(`tag`))),
  KEY `by_tag` (`tag` DESC) COMMENT 'x' /*!80000 INVISIBLE */,
  CONSTRAINT `items_chk_1` CHECK ((`id` > 0)) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
/*!50100 PARTITION BY HASH (`id`)
PARTITIONS 4 */";
    shows(&mut session, "items", text);
    run(&mut session, "CREATE TABLE items ENGINE=FEDERATED CONNECTION='Old' COMMENT='ours'");
    let table = table(&session, "items");
    assert_eq!(column(&table, "doc").sql_type, SqlType::Json);
    assert!(column(&table, "hidden").invisible && column(&table, "seen").nullable);
    assert!(matches!(column(&table, "doc").default, Some(DefaultValue::Expression(_))));
    let by_tag = table.index("by_tag").unwrap();
    assert!(by_tag.invisible && by_tag.parts[0].descending && table.index("lower_tag").is_none());
    assert!(table.checks.is_empty() && table.option("PARTITION BY").is_none());
    assert_eq!(&*table.comment, "ours");
}

#[test]
fn a_table_with_columns_has_to_be_there_with_them() {
    let mut session = with_server();
    has_orders(&mut session);
    let create = |columns: &str| {
        format!("CREATE TABLE orders ({columns}) ENGINE=FEDERATED CONNECTION='Old' COMMENT='mine'")
    };
    assert_eq!(refused(&mut session, &create("id BIGINT, nam INT"), "Unknown column 'nam'"), 1434);
    assert_eq!(refused(&mut session, &create("name VARCHAR(40) NOT NULL"), "'name' may be NULL"), 1434);
    assert_eq!(refused(&mut session, &create("name VARCHAR(40), UNIQUE u (name)"), "key 'u'"), 1434);
    // What is unique in its first two characters is unique in three, and not the other way round.
    assert_eq!(refused(&mut session, &create("code CHAR(4), UNIQUE u (code(1))"), "key 'u'"), 1434);
    assert_eq!(refused(&mut session, &create("code CHAR(4), PRIMARY KEY (code(1))"), "'PRIMARY'"), 1434);
    run(
        &mut session,
        &create(
            "code CHAR(4) CHARACTER SET latin1 NOT NULL, id BIGINT AUTO_INCREMENT PRIMARY KEY COMMENT 'x', \
             UNIQUE KEY u (code(3)), KEY both_of (code, id)",
        ),
    );
    let table = table(&session, "orders");
    assert_eq!(&*table.foreign.as_ref().unwrap().table, "orders");
    assert_eq!((table.columns.len(), table.indexes.len(), &*table.comment), (2, 3, "mine"));
    let exists = session.run("CREATE TABLE IF NOT EXISTS orders ENGINE=FEDERATED CONNECTION='Old'").unwrap();
    assert_eq!(exists.warnings[0].code.errno(), 1050);
    // Without a key that is declared unique nobody asks for keys.
    session.scripted(|servers| servers.asked());
    run(&mut session, "CREATE TABLE o2 (name TEXT, KEY (name(3))) ENGINE=FEDERATED CONNECTION='Old/orders'");
    assert_eq!(session.scripted(|servers| servers.asked()).len(), 2);
}

#[test]
fn connections_that_lead_nowhere_are_told() {
    let mut session = with_server();
    has_orders(&mut session);
    let create = |rest: &str| format!("CREATE TABLE t (id INT) ENGINE=FEDERATED {rest}");
    for rest in ["", "CONNECTION=''", "CONNECTION='/orders'", "CONNECTION='Old/'", "CONNECTION='Old/a/b'"] {
        assert_eq!(refused(&mut session, &create(rest), "is not in the correct format"), 1432, "{rest}");
    }
    let (number, text) = error(&mut session, &create("CONNECTION='mysql://u:geheim@db1/shop/orders'"));
    assert!(number == 1432 && text.contains("CREATE SERVER") && !text.contains("geheim"), "{text}");
    assert_eq!(refused(&mut session, &create("CONNECTION='New/orders'"), "does not exist"), 1477);
    run(&mut session, "CREATE SERVER away FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x', PASSWORD 'geheim')");
    let (number, text) = error(&mut session, &create("CONNECTION='away/orders'"));
    assert!(number == 1429 && !text.contains("geheim"), "{text}");
    session.scripted(|servers| {
        let sql = described("TABLE_TYPE, ENGINE, TABLE_COLLATION, TABLE_COMMENT", "TABLES", "none");
        servers.answers("Old", &sql, &[]);
    });
    assert_eq!(refused(&mut session, &create("CONNECTION='Old/none'"), "table 'none' on server 'Old'"), 1431);
    for (name, kind, engine) in
        [("my", "BASE TABLE", "MyISAM"), ("v", "VIEW", ""), ("sq", "SEQUENCE", "InnoDB")]
    {
        has_table(&mut session, name, kind, engine);
        let named = if engine == "MyISAM" { engine } else { kind };
        assert_eq!(refused(&mut session, &create(&format!("CONNECTION='Old/{name}'")), named), 1235);
    }
    // Another engine has no use for it.
    run(&mut session, "CREATE TABLE here (id INT) CONNECTION='mysql://u:p@h/d/t'");
    let shown = run(&mut session, "SHOW CREATE TABLE here").remove(0).remove(1);
    assert!(shown.contains("ENGINE=InnoDB") && !shown.contains("CONNECTION"), "{shown}");
}

#[test]
fn what_cannot_be_here_is_not_discovered() {
    let mut session = with_server();
    let create = |table: &str| format!("CREATE TABLE t ENGINE=FEDERATED CONNECTION='Old/{table}'");
    for (table, column, named, number) in [
        ("log", ["b", "uuid", "YES", "", ""], "type uuid of column 'b'", 1235),
        ("map", ["p", "point", "YES", "", ""], "type point of column 'p'", 1235),
        ("gen", ["c", "int", "YES", "", "`a` + 1"], "'c'", 1235),
        ("cp", ["a", "varchar", "YES", "geostd8_general_ci", ""], "geostd8", 1115),
        ("new", ["a", "varchar", "YES", "utf8mb4_thai_520_w2", ""], "utf8mb4_thai_520_w2", 1273),
    ] {
        has_table(&mut session, table, "BASE TABLE", "InnoDB");
        has_columns(&mut session, table, &[column]);
        assert_eq!(refused(&mut session, &create(table), named), number, "{table}");
    }
    has_table(&mut session, "odd", "BASE TABLE", "InnoDB");
    has_columns(&mut session, "odd", &[["a", "int", "YES", "", ""]]);
    for text in
        ["", "CREATE TABLE `odd` (\n  `a` int(11) COMPRESSED\n)", ")", "CREATE VIEW v AS SELECT (\n1)"]
    {
        shows(&mut session, "odd", text);
        let (number, _) = error(&mut session, &create("odd"));
        assert!(matches!(number, 1235 | 1434), "{text}: {number}");
    }
    shows(&mut session, "odd", "CREATE TABLE `odd` (\n  `other` int(11)\n)");
    assert_eq!(refused(&mut session, &create("odd"), "meanwhile"), 1434);
    assert!(session.catalog().table("test", "t").is_none());
}

#[test]
fn a_foreign_table_has_no_parts_that_need_shards() {
    let mut session = with_server();
    has_orders(&mut session);
    run(&mut session, "CREATE TABLE parent (id INT PRIMARY KEY)");
    let federated = "ENGINE=FEDERATED CONNECTION='Old/orders'";
    for (definition, named) in [
        ("CREATE TABLE t (id INT, g INT AS (id + 1))", "generated column"),
        ("CREATE TABLE t (id INT CHECK (id > 0))", "CHECK"),
        ("CREATE TABLE t (id INT, CHECK (id > 0))", "CHECK"),
        ("CREATE TABLE t (id INT, FOREIGN KEY (id) REFERENCES parent (id))", "FOREIGN KEY"),
        ("CREATE TABLE t (id INT, KEY k ((id + 1)))", "functional key part"),
        ("CREATE TABLE t (name TEXT, FULLTEXT KEY k (name))", "FULLTEXT"),
        ("CREATE TEMPORARY TABLE t (id INT)", "TEMPORARY"),
    ] {
        assert_eq!(refused(&mut session, &format!("{definition} {federated}"), named), 1235);
    }
    let selected = format!("CREATE TABLE t {federated} SELECT 1 AS id");
    assert_eq!(refused(&mut session, &selected, "SELECT"), 1235);
    let partitioned = format!("CREATE TABLE t (id INT) {federated} PARTITION BY KEY (id)");
    assert_eq!(refused(&mut session, &partitioned, "PARTITION BY"), 1235);
    run(&mut session, &format!("CREATE TABLE t {federated}"));
    assert_eq!(refused(&mut session, "CREATE TEMPORARY TABLE u LIKE t", "LIKE"), 1235);
    assert_eq!(refused(&mut session, "ALTER TABLE parent ENGINE=FEDERATED", "FEDERATED"), 1235);
    // Foreign keys are looked after on shards.
    let child = "CREATE TABLE child (id BIGINT, CONSTRAINT k FOREIGN KEY (id) REFERENCES t (id))";
    assert_eq!(refused(&mut session, child, "FOREIGN KEY"), 1235);
    run(&mut session, "CREATE TABLE child (id BIGINT)");
    let add = "ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES t (id)";
    assert_eq!(refused(&mut session, add, "FOREIGN KEY"), 1235);
    run(&mut session, "SET foreign_key_checks = 0");
    run(&mut session, "ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES later (id)");
    let later = format!("CREATE TABLE later {federated}");
    for sql in [later.as_str(), "CREATE TABLE later LIKE t", "RENAME TABLE t TO later"] {
        assert_eq!(refused(&mut session, sql, "FOREIGN KEY"), 1235, "{sql}");
    }
    run(&mut session, "DROP TABLE t");
    assert_eq!(refused(&mut session, "UNDROP TABLE t RENAME TO later", "FOREIGN KEY"), 1235);
}

#[test]
fn definitions_change_here_and_nothing_happens_there() {
    let mut session = with_server();
    has_orders(&mut session);
    run(&mut session, "CREATE TABLE t ENGINE=FEDERATED CONNECTION='Old/orders'");
    session.scripted(|servers| servers.asked());
    for sql in [
        "ALTER TABLE t ADD COLUMN c INT",
        "ALTER TABLE t COMMENT = 'x', ADD COLUMN c INT",
        "ALTER TABLE t ENGINE = InnoDB",
        "ALTER TABLE t AUTO_INCREMENT = 7",
        "CREATE INDEX i ON t (name)",
        "DROP INDEX by_code ON t",
        "TRUNCATE TABLE t",
    ] {
        let expected = "Table storage engine for 't' doesn't have this option";
        assert_eq!(error(&mut session, sql), (1031, expected.into()), "{sql}");
    }
    let before = table(&session, "t");
    run(&mut session, "ALTER TABLE t COMMENT = 'x'");
    let after = table(&session, "t");
    assert_eq!((&*after.comment, after.id, &after.foreign), ("x", before.id, &before.foreign));
    assert!(after.version > before.version);
    run(&mut session, "ALTER TABLE t RENAME TO u");
    run(&mut session, "RENAME TABLE u TO v");
    run(&mut session, "CREATE TABLE copy_of LIKE v");
    assert_eq!(table(&session, "copy_of").foreign, before.foreign);
    run(&mut session, "DROP TABLE v");
    run(&mut session, "UNDROP TABLE v");
    assert_eq!(table(&session, "v").foreign, before.foreign);
    run(&mut session, "DROP SERVER Old");
    assert_eq!(refused(&mut session, "CREATE TABLE another LIKE v", "Old"), 1477);
    run(&mut session, "DROP TABLE v, copy_of");
    run(&mut session, "PURGE DROPPED");
    assert_eq!(session.scripted(|servers| servers.asked()), [""; 0]);
}

#[test]
fn foreign_tables_are_shown_as_what_they_are() {
    let mut session = with_server();
    has_orders(&mut session);
    run(&mut session, "CREATE TABLE t ENGINE=FEDERATED CONNECTION='Old/orders'");
    run(&mut session, "CREATE VIEW seen AS SELECT id FROM t");
    let of = |what: &str| format!("SELECT {what} FROM information_schema.TABLES WHERE TABLE_NAME = 't'");
    let row = run(
        &mut session,
        &of(
            "TABLE_TYPE, ENGINE, ROW_FORMAT, TABLE_ROWS, DATA_LENGTH, MAX_DATA_LENGTH, DATA_FREE, AUTO_INCREMENT",
        ),
    );
    let nulls = ["NULL"; 6];
    assert_eq!(row[0][..2], ["BASE TABLE", "FEDERATED"]);
    assert_eq!(row[0][2..], nulls);
    let status = run(&mut session, "SHOW TABLE STATUS LIKE 't'").remove(0);
    assert_eq!((status[1].as_str(), status[3].as_str(), status[4].as_str()), ("FEDERATED", "NULL", "NULL"));
    assert_eq!(status[10], "NULL");
    let engines = "SELECT ENGINE, SUPPORT, TRANSACTIONS, XA, SAVEPOINTS FROM information_schema.ENGINES";
    assert_eq!(run(&mut session, engines)[1], ["FEDERATED", "YES", "YES", "YES", "YES"]);
    assert_eq!(run(&mut session, "SHOW ENGINES").len(), 2);
    for verb in ["CHECK", "ANALYZE", "OPTIMIZE", "REPAIR"] {
        let op = verb.to_lowercase();
        let line = ["test.t", &op, "note", &format!("The storage engine for the table doesn't support {op}")]
            .map(str::to_owned);
        assert_eq!(run(&mut session, &format!("{verb} TABLE t")), [line]);
    }
    let sum = session.run("CHECKSUM TABLE t").unwrap();
    assert_eq!(
        (sum.texts(), sum.warnings[0].code.errno()),
        (vec![vec!["test.t".into(), "NULL".into()]], 1031)
    );
    assert_eq!(run(&mut session, "CHECK TABLE seen"), [["test.seen", "check", "status", "OK"]]);
}
