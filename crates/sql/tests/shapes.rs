//! What statements mean: precedence, literals, names, and every error where MySQL reports it.

use assize_sql::sqlparser::ast::{self, BinaryOperator, Expr, UnaryOperator};
use assize_sql::*;

fn options() -> ParseOptions {
    ParseOptions::default()
}

/// An expression with all its parentheses.
fn shape_with(text: &str, options: &ParseOptions) -> String {
    match parse_expression(text, options) {
        Ok(expr) => show(&expr),
        Err(error) => format!("error: {error}"),
    }
}

fn shape(text: &str) -> String {
    shape_with(text, &options())
}

fn show(expr: &Expr) -> String {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            let op = match op {
                BinaryOperator::Assignment => ":=".to_owned(),
                op => op.to_string(),
            };
            format!("({} {op} {})", show(left), show(right))
        }
        Expr::UnaryOp { op, expr } => {
            let op = match op {
                UnaryOperator::Not => "NOT ".to_owned(),
                op => op.to_string(),
            };
            format!("({op}{})", show(expr))
        }
        Expr::Nested(inner) => show(inner),
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::IsNull(e) => format!("({} IS NULL)", show(e)),
        Expr::IsTrue(e) => format!("({} IS TRUE)", show(e)),
        Expr::Between { expr, low, high, negated } => {
            let not = if *negated { "NOT " } else { "" };
            format!("({} {not}BETWEEN {} AND {})", show(expr), show(low), show(high))
        }
        Expr::Like { expr, pattern, negated, .. } => {
            format!("({} {}LIKE {})", show(expr), if *negated { "NOT " } else { "" }, show(pattern))
        }
        Expr::RLike { expr, pattern, .. } => format!("({} REGEXP {})", show(expr), show(pattern)),
        Expr::InList { expr, list, .. } => {
            format!("({} IN [{}])", show(expr), list.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Expr::Collate { expr, collation } => format!("({} COLLATE {collation})", show(expr)),
        Expr::Tuple(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Expr::Interval(interval) => {
            format!("<{} {}>", show(&interval.value), interval.leading_field.clone().unwrap())
        }
        Expr::Prefixed { prefix, value } => format!("{prefix}{}", show(value)),
        other => other.to_string(),
    }
}

#[test]
fn operators_bind_as_in_mysql() {
    for (text, expected) in [
        ("a OR b AND c", "(a OR (b AND c))"),
        ("a XOR b OR c AND d", "((a XOR b) OR (c AND d))"),
        ("a || b && c", "(a OR (b AND c))"),
        ("NOT a = b", "(NOT (a = b))"),
        ("NOT a AND b", "((NOT a) AND b)"),
        ("! a = b", "((!a) = b)"),
        ("NOT NOT a", "(NOT (NOT a))"),
        ("a = b = c", "((a = b) = c)"),
        ("a = b IS NULL", "((a = b) IS NULL)"),
        ("NOT a IS TRUE", "(NOT (a IS TRUE))"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a - b - c", "((a - b) - c)"),
        ("a * b DIV c MOD d % e", "((((a * b) DIV c) % d) % e)"),
        ("a | b & c << d + e", "(a | (b & (c << (d + e))))"),
        ("a ^ b * c", "((a ^ b) * c)"),
        ("-a ^ b", "((-a) ^ b)"),
        ("- 2 + 3", "((-2) + 3)"),
        ("~a | b", "((~a) | b)"),
        ("-a COLLATE x", "(-(a COLLATE x))"),
        ("a LIKE b = c", "((a LIKE b) = c)"),
        ("a = b LIKE c", "(a = (b LIKE c))"),
        ("a NOT LIKE b OR c", "((a NOT LIKE b) OR c)"),
        ("a BETWEEN 1 AND 2 AND b", "((a BETWEEN 1 AND 2) AND b)"),
        ("a NOT BETWEEN b + 1 AND c BETWEEN 1 AND 2", "(a NOT BETWEEN (b + 1) AND (c BETWEEN 1 AND 2))"),
        ("a IN (1, b + 2) AND c", "((a IN [1 (b + 2)]) AND c)"),
        ("(1, 2) = (a, b)", "([1 2] = [a b])"),
        ("a REGEXP b + c", "(a REGEXP (b + c))"),
        ("a <=> b <> c", "((a <=> b) <> c)"),
        ("a + INTERVAL 1 DAY", "(a + <1 DAY>)"),
        ("INTERVAL 1 + 2 HOUR + a", "(<(1 + 2) HOUR> + a)"),
        ("INTERVAL (1) + 2 HOUR + a", "(<(1 + 2) HOUR> + a)"),
        ("INTERVAL '1:2' MINUTE_SECOND + a", "(<'1:2' MINUTE_SECOND> + a)"),
        ("INTERVAL(1, 2)", "INTERVAL(1, 2)"),
        ("@a := b = c", "(@a := (b = c))"),
        ("a = @b := 3", "(a = (@b := 3))"),
        ("a -> '$.x' = 1", "((a -> '$.x') = 1)"),
        ("t.a ->> '$.x'", "(t.a ->> '$.x')"),
        ("BINARY a = b", "(CAST(a AS BINARY) = b)"),
        ("a SOUNDS LIKE b", "(SOUNDEX(a) = SOUNDEX(b))"),
        ("\\N", "NULL"),
        ("a--1", "(a - (-1))"),
        ("5-3", "(5 - 3)"),
        ("`a-b`-c", "(a-b - c)"),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
}

#[test]
fn sql_modes_change_operators_and_quotes() {
    let concat = ParseOptions { pipes_as_concat: true, ..options() };
    assert_eq!(shape_with("a || b ^ c", &concat), "((a || b) ^ c)");
    assert_eq!(shape_with("a || b OR c", &concat), "((a || b) OR c)");
    assert_eq!(shape_with("-a || b", &concat), "((-a) || b)");
    let not = ParseOptions { high_not_precedence: true, ..options() };
    assert_eq!(shape_with("NOT a = b", &not), "((NOT a) = b)");
    let ansi = ParseOptions { ansi_quotes: true, ..options() };
    assert_eq!(shape_with("\"a\" + 'b'", &ansi), "(a + 'b')");
    assert_eq!(shape("\"a\""), "'a'");
    let plain = ParseOptions { no_backslash_escapes: true, ..options() };
    assert_eq!(shape_with(r"'a\' + 1", &plain), r"('a\' + 1)");
    let from = ParseOptions::from_sql_mode("ansi,NO_BACKSLASH_ESCAPES");
    assert!(from.ansi_quotes && from.pipes_as_concat && from.no_backslash_escapes);
}

fn literal(text: &str) -> ast::Value {
    match parse_expression(text, &options()) {
        Ok(Expr::Value(value)) => value.value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn literals_have_their_values() {
    use ast::Value::*;
    let text = |s: &str| SingleQuotedString(s.into());
    assert_eq!(literal("'it''s'"), text("it's"));
    assert_eq!(literal("\"a\"\"b\""), text("a\"b"));
    assert_eq!(literal("'a' \"b\"\n'c'"), text("abc"));
    assert_eq!(literal(r"'\0\'\n\r\t\b\Z\\\x'"), text("\0'\n\r\t\x08\x1a\\x"));
    assert_eq!(literal(r"'50\%\_'"), text(r"50\%\_"));
    assert_eq!(literal("x'4142'"), HexStringLiteral("4142".into()));
    assert_eq!(literal("0x414"), HexStringLiteral("0414".into()));
    assert_eq!(literal("b'101'"), SingleQuotedByteStringLiteral("101".into()));
    assert_eq!(literal("0b101"), SingleQuotedByteStringLiteral("101".into()));
    assert_eq!(literal("N'x'"), NationalStringLiteral("x".into()));
    for number in ["1", ".5", "1.", "1.5", "1e5", "1.5E-3", "18446744073709551616"] {
        assert_eq!(literal(number), Number(number.into(), false));
    }
    assert_eq!(shape("_utf8mb4'x' COLLATE utf8mb4_bin"), "(_utf8mb4'x' COLLATE utf8mb4_bin)");
    // Bytes that are not text are binary.
    let parsed = parse_one(&b"SELECT _binary'\xff\\'\x00'"[..], &options()).unwrap();
    assert!(format!("{:?}", parsed.statement).contains("FF2700"));
}

#[test]
fn names_and_variables_are_told_apart() {
    let ident = |text: &str| match parse_expression(text, &options()).unwrap() {
        Expr::Identifier(ident) => (ident.value, ident.quote_style),
        other => panic!("{other:?}"),
    };
    assert_eq!(ident("@x"), ("@x".into(), None));
    assert_eq!(ident("@`x y`"), ("@x y".into(), None));
    assert_eq!(ident("@'q'"), ("@q".into(), None));
    assert_eq!(ident("@@SESSION.Sql_Mode"), ("@@session.sql_mode".into(), None));
    assert_eq!(ident("@@global.`max_connections`"), ("@@global.max_connections".into(), None));
    assert_eq!(ident("`@x`"), ("@x".into(), Some('`')));
    assert_eq!(ident("1a"), ("1a".into(), None));
    assert_eq!(ident("größe"), ("größe".into(), None));
    assert_eq!(shape("a.1b"), "a.1b");
    assert_eq!(shape("t.select"), "t.select");
}

#[test]
fn placeholders_are_numbered_in_the_order_of_the_text() {
    let parsed = parse_one("SELECT ? FROM t WHERE a IN (?, ?) LIMIT ?", &options()).unwrap();
    assert_eq!(parsed.placeholders, 4);
    let text = format!("{:?}", parsed.statement);
    let places: Vec<usize> = (0..4).map(|n| text.find(&format!("\"?{n}\"")).unwrap()).collect();
    assert!(places[1] < places[2]);
}

#[test]
fn unaliased_columns_are_named_by_their_text() {
    let names = |text: &str| {
        let Statement::Query(query) = parse_one(text, &options()).unwrap().statement else { panic!() };
        let ast::SetExpr::Select(select) = *query.node.body else { panic!() };
        let name = |item: &ast::SelectItem| match item {
            ast::SelectItem::UnnamedExpr(e) => format!("column {e}"),
            ast::SelectItem::ExprWithAlias { alias, .. } => format!("alias {}", alias.value),
            ast::SelectItem::ExprWithAliases { aliases, .. } => format!("implicit {}", aliases[0].value),
            _ => "*".to_owned(),
        };
        select.projection.iter().map(name).collect::<Vec<String>>()
    };
    assert_eq!(
        names("SELECT 'a' 'b', N'n', _utf8mb4'q', _utf8mb4'q' = 1, 'x' = 1, \\N, 'x' y"),
        [
            "implicit a",
            "implicit n",
            "implicit q",
            "implicit _utf8mb4'q' = 1",
            "implicit 'x' = 1",
            "implicit NULL",
            "alias y"
        ]
    );
    assert_eq!(
        names(
            "SELECT a, t.b, 1 +  1, COUNT( * ), 'x', a AS 'y z', b c, *, t.*, @@version, (SELECT 1) FROM t"
        ),
        [
            "column a",
            "column t.b",
            "implicit 1 +  1",
            "implicit COUNT( * )",
            "implicit x",
            "alias y z",
            "alias c",
            "*",
            "*",
            "implicit @@version",
            "implicit (SELECT 1)"
        ]
    );
}

#[test]
fn version_comments_are_executed_up_to_the_version() {
    assert_eq!(shape("1 /*!40101 + 2 */"), "(1 + 2)");
    assert_eq!(shape("1 /*! + 2 */"), "(1 + 2)");
    assert_eq!(shape("1 /*!80406+2*/"), "(1 + 2)");
    assert_eq!(shape("1 /*!80407 + 2 */"), "1");
    assert_eq!(shape("1 /*!999999 + 2 /* inner */ + 3 */"), "1");
    assert_eq!(shape("1 /*M!100100 + 2 */ + 3"), "(1 + 3)");
    assert_eq!(shape("1 /*M! + 2 /* no inner one */ + 3"), "(1 + 3)");
    assert_eq!(shape("1 /*+ hint */ + /* plain */ 2 -- end"), "(1 + 2)");
    assert_eq!(shape("1 # end\n+ 2"), "(1 + 2)");
    assert_eq!(shape("1 --2"), "(1 - (-2))");
    let next = parse_next(b"/*!999999\\- enable the sandbox mode */ ; SELECT 1", 0, &options()).unwrap();
    assert!(next.parsed.is_none() && next.more);
}

#[test]
fn syntax_errors_are_where_mysql_sees_them() {
    let error = |text: &str| {
        let error = parse_one(text, &options()).expect_err(text);
        assert_eq!(error.code.errno(), 1064);
        let prefix = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server \
                      version for the right syntax to use near ";
        error.message.strip_prefix(prefix).unwrap_or_else(|| panic!("{}", error.message)).to_owned()
    };
    assert_eq!(error("SELEC 1"), "'SELEC 1' at line 1");
    assert_eq!(error("SELECT"), "'' at line 1");
    assert_eq!(error("SELECT 1 FROM"), "'' at line 1");
    assert_eq!(error("SELECT *\nFROM t\nWHERE AND a"), "'AND a' at line 3");
    assert_eq!(error("SELECT a b c FROM t"), "'c FROM t' at line 1");
    assert_eq!(error("INSERT INTO t VALUES (1,)"), "')' at line 1");
    assert_eq!(error("CREATE TABLE t (a INT,)"), "')' at line 1");
    assert_eq!(error("CREATE TABLE t (a NOTYPE)"), "'NOTYPE)' at line 1");
    assert_eq!(error("SELECT 'unclosed"), "''unclosed' at line 1");
    assert_eq!(error("SELECT select FROM t"), "'select FROM t' at line 1");
    assert_eq!(error("DROP TABLE"), "'' at line 1");
    assert_eq!(error("SELECT * FROM a LEFT JOIN b"), "'' at line 1");
    assert_eq!(error("SELECT 1 LIMIT -1"), "'-1' at line 1");
    assert_eq!(error("UPDATE t SET a"), "'' at line 1");
    assert_eq!(error("SHOW NOTHING"), "'NOTHING' at line 1");
    assert_eq!(error("SHOW CONFLICT 7"), "'7' at line 1");
    assert_eq!(error("ALTER CLUSTER"), "'' at line 1");
    assert_eq!(error("ALTER CLUSTER SPLIT SHARD 1 AT 65536"), "'65536' at line 1");
    assert_eq!(error("ALTER CLUSTER MOVE SHARD 1 TO NODE 2"), "'TO NODE 2' at line 1");
    assert_eq!(error("SELECT 1; SELECT 2"), "'SELECT 2' at line 1");
    assert_eq!(error(&format!("SELECT x{}", " y".repeat(100))).len(), 80 + "'' at line 1".len());
    assert_eq!(parse_one(" ;; -- nothing", &options()).unwrap_err().code.errno(), 1065);
}

#[test]
fn texts_are_split_at_their_semicolons() {
    let text = "SELECT ';' ; ; -- ;\n INSERT INTO t VALUES (1) /* ; */;";
    let ranges = split_statements(text, &options());
    let parts: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
    assert_eq!(parts, ["SELECT ';'", "INSERT INTO t VALUES (1)"]);
    assert_eq!(parse(text, &options()).unwrap().len(), 2);
    let first = parse_next(text.as_bytes(), 0, &options()).unwrap();
    assert!(first.more);
    assert_eq!(first.parsed.unwrap().span, 0..10);
}

#[test]
fn joins_nest_as_written() {
    let joins = |text: &str| {
        let Statement::Query(query) = parse_one(text, &options()).unwrap().statement else { panic!() };
        let ast::SetExpr::Select(select) = *query.node.body else { panic!() };
        select.from.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(" , ")
    };
    assert_eq!(
        joins("SELECT 1 FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x"),
        "a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x"
    );
    assert_eq!(
        joins("SELECT 1 FROM a LEFT JOIN b ON 1 JOIN c USING (x), d"),
        "a LEFT JOIN b ON 1 JOIN c USING(x) , d"
    );
    assert_eq!(joins("SELECT 1 FROM (a, b) JOIN c"), "(a CROSS JOIN b) JOIN c");
}

#[test]
fn dml_carries_what_mysql_adds() {
    let Statement::Insert(insert) = parse_one(
        "INSERT IGNORE INTO d.t (a, b) VALUES (1, DEFAULT), () AS n(x, y) ON DUPLICATE KEY UPDATE a = n.x, b = VALUES(b)",
        &options(),
    )
    .unwrap()
    .statement
    else {
        panic!()
    };
    assert!(insert.ignore && !insert.replace);
    assert_eq!(insert.table.to_string(), "d.t");
    assert_eq!(insert.columns.unwrap(), ["a", "b"]);
    let InsertSource::Values(rows) = &insert.source else { panic!() };
    assert_eq!((rows.len(), &rows[0][1], rows[1].len()), (2, &ValueExpr::Default, 0));
    assert_eq!(insert.row_alias.unwrap().columns, ["x", "y"]);
    assert_eq!(insert.on_duplicate.len(), 2);
    let Statement::Delete(delete) =
        parse_one("DELETE FROM a, d.b USING a JOIN d.b WHERE a.x = 1", &options()).unwrap().statement
    else {
        panic!()
    };
    assert_eq!(delete.targets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "d.b"]);
    let Statement::Update(update) =
        parse_one("UPDATE a, b SET a.x = b.y, z = DEFAULT ORDER BY 1 LIMIT 5", &options()).unwrap().statement
    else {
        panic!()
    };
    assert_eq!((update.tables.len(), update.assignments[0].column.table.as_deref()), (2, Some("a")));
    assert_eq!(update.assignments[1].value, ValueExpr::Default);
}

#[test]
fn definitions_carry_every_attribute() {
    let Statement::CreateTable(table) = parse_one(
        "CREATE TABLE t (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, v VARCHAR(5) CHARACTER SET latin1 DEFAULT 'x' COMMENT 'c', \
         ts TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), \
         g INT AS (id  + 1) STORED, PRIMARY KEY (id), UNIQUE KEY u (v(3) DESC, (lower(v))), \
         CONSTRAINT f FOREIGN KEY (g) REFERENCES d.p (a) ON DELETE SET NULL, CONSTRAINT c CHECK (id > 0) NOT ENFORCED) \
         ENGINE=MyISAM AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 ROW_FORMAT=COMPACT PARTITION BY KEY (id) PARTITIONS 4",
        &options(),
    )
    .unwrap()
    .statement
    else {
        panic!()
    };
    assert_eq!(table.columns.len(), 4);
    assert!(table.columns[0].auto_increment && table.columns[0].nullable == Some(false));
    assert_eq!(table.columns[2].default, Some(ColumnDefault::Now(6)));
    assert_eq!(table.columns[2].on_update_now, Some(6));
    assert_eq!(table.columns[3].generated.as_ref().unwrap().expr.text, "id  + 1");
    let TableConstraint::Index(index) = &table.constraints[1] else { panic!() };
    assert_eq!((index.parts[0].prefix, index.parts[0].descending), (Some(3), true));
    let TableConstraint::ForeignKey(foreign) = &table.constraints[2] else { panic!() };
    assert_eq!(foreign.references.on_delete, ReferenceAction::SetNull);
    let TableConstraint::Check(check) = &table.constraints[3] else { panic!() };
    assert!(!check.enforced);
    assert_eq!(table.options.auto_increment, Some(5));
    assert_eq!(table.options.other, [("ROW_FORMAT".to_owned(), "COMPACT".to_owned())]);
    assert_eq!(
        table.partition_by,
        Some(PartitionBy::Key { columns: vec!["id".into()], partitions: Some(4) })
    );
}

#[test]
fn statements_are_classified() {
    let class = |text: &str| classify(&parse_one(text, &options()).unwrap().statement);
    let commits = |text: &str| commits_implicitly(&parse_one(text, &options()).unwrap().statement);
    assert_eq!(class("SELECT 1"), Class::Read);
    assert_eq!(class("WITH a AS (SELECT 1) DELETE FROM t"), Class::Write);
    assert_eq!(class("TRUNCATE t"), Class::Ddl);
    // They change nothing that others know, and run within the open transaction.
    assert_eq!(class("CREATE TEMPORARY TABLE t (a INT)"), Class::Write);
    assert_eq!(class("DROP TEMPORARY TABLE t"), Class::Write);
    assert_eq!(class("GRANT SELECT ON *.* TO a"), Class::Ddl);
    assert_eq!(class("COMMIT"), Class::Transaction);
    assert_eq!(class("SET a = 1"), Class::Session);
    assert_eq!(class("XA START 'x'"), Class::Unsupported);
    assert!(commits("CREATE TABLE t (a INT)") && !commits("CREATE TEMPORARY TABLE t (a INT)"));
    assert!(commits("LOCK TABLES t READ") && commits("BEGIN") && !commits("SELECT 1"));
    assert!(commits("DROP TABLE t") && !commits("DROP TEMPORARY TABLE t"));
    let writes = |text: &str| assize_sql::writes(&parse_one(text, &options()).unwrap().statement);
    assert!(writes("INSERT INTO t VALUES (1)") && writes("EXPLAIN ANALYZE DELETE FROM t"));
    assert!(!writes("EXPLAIN DELETE FROM t") && !writes("SELECT 1 FOR UPDATE"));
}

#[test]
fn alter_cluster_names_shards_and_nodes() {
    let read = |text: &str| match parse_one(text, &options()).expect(text).statement {
        Statement::AlterCluster { action, validate_only } => (action, validate_only),
        other => panic!("{other:?}"),
    };
    let action = |text: &str| read(&format!("ALTER CLUSTER {text}")).0;
    assert_eq!(action("SPLIT SHARD 3"), ClusterAction::Split { shard: 3, at: None });
    assert_eq!(action("split shard 3 at 65535"), ClusterAction::Split { shard: 3, at: Some(65_535) });
    assert_eq!(action("MERGE SHARD 4 INTO SHARD 3"), ClusterAction::Merge { from: 4, into: 3 });
    assert_eq!(
        action("MOVE SHARD 3 FROM NODE 1 TO NODE 2"),
        ClusterAction::MoveReplica { shard: 3, from: 1, to: 2 }
    );
    assert_eq!(action("TRANSFER LEADERSHIP"), ClusterAction::TransferLeadership { to: None });
    assert_eq!(action("TRANSFER LEADERSHIP TO NODE 2"), ClusterAction::TransferLeadership { to: Some(2) });
    assert_eq!(action("ADD LEARNER NODE 4"), ClusterAction::AddLearner { node: 4 });
    assert_eq!(action("PROMOTE NODE 4"), ClusterAction::Promote { node: 4 });
    assert_eq!(action("DROP NODE 4"), ClusterAction::RemoveMember { node: 4, force: false });
    assert_eq!(action("DROP NODE 4 FORCE"), ClusterAction::RemoveMember { node: 4, force: true });
    assert_eq!(action("DRAIN NODE 4"), ClusterAction::Drain { node: 4, force: false });
    assert_eq!(action("DRAIN NODE 4 FORCE"), ClusterAction::Drain { node: 4, force: true });
    assert_eq!(action("UNDRAIN NODE 4"), ClusterAction::Undrain { node: 4 });
    assert_eq!(action("VERIFY REPLICAS"), ClusterAction::VerifyReplicas);
    let recover = |accept_data_loss| ClusterAction::RecoverShard { shard: 3, accept_data_loss };
    assert_eq!(action("RECOVER SHARD 3"), recover(false));
    assert_eq!(action("RECOVER SHARD 3 ACCEPT DATA LOSS"), recover(true));
    assert!(read("ALTER CLUSTER RECOVER SHARD 3 VALIDATE ONLY").1);
    let replica = (3, 4);
    let (shard, node) = replica;
    assert_eq!(action("ADD REPLICA OF SHARD 3 ON NODE 4"), ClusterAction::AddReplica { shard, node });
    assert_eq!(action("DROP REPLICA OF SHARD 3 ON NODE 4"), ClusterAction::RemoveReplica { shard, node });
    assert!(read("ALTER CLUSTER SPLIT SHARD 3 VALIDATE ONLY").1 && !read("ALTER CLUSTER SPLIT SHARD 3").1);
    let statement = parse_one("ALTER CLUSTER VERIFY REPLICAS", &options()).unwrap().statement;
    assert_eq!((classify(&statement), returns_rows(&statement)), (Class::Ddl, true));
}

#[test]
fn long_chains_and_deep_nesting_neither_overflow_nor_hang() {
    // Two megabytes, as a runtime's worker has.
    let work = || {
        let conditions: Vec<String> = (0..20_000).map(|n| format!("a = {n}")).collect();
        let text = format!("SELECT 1 FROM t WHERE {}", conditions.join(" OR "));
        let parsed = parse_one(&text, &options()).unwrap();
        drop(parsed.clone());
        let deep = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
        assert!(parse_one(&deep(50), &options()).is_ok());
        for text in [
            deep(100_000),
            format!("SELECT {}1", "-".repeat(100_000)),
            format!("SELECT {}1", "NOT ".repeat(100_000)),
            format!("SELECT {}", "f(".repeat(100_000)),
            format!("SELECT {}", "CASE ".repeat(100_000)),
            format!("SELECT 1{}", " + 1".repeat(100_000)),
            format!("SELECT * FROM {}t", "(".repeat(100_000)),
            "(".repeat(100_000),
            "SELECT (SELECT ".repeat(50_000),
            format!("{}SELECT 1", "EXPLAIN ".repeat(100_000)),
            format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(10_000)),
            format!("SELECT a {}", "COLLATE x ".repeat(10_000)),
            format!("SELECT * FROM t0 {}", "JOIN t ".repeat(10_000)),
        ] {
            let error = parse_one(&text, &options()).expect_err(&text[..30]);
            assert_eq!(error.code.errno(), 1064, "{}", &text[..30]);
        }
    };
    #[allow(clippy::disallowed_methods)] // The stack's size is what is tested.
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn views_have_what_stands_before_and_behind_them() {
    let read = |text: &str| match parse_one(text, &options()).unwrap().statement {
        Statement::CreateView(view) => *view,
        other => panic!("{other:?}"),
    };
    let view = read(
        "/*!50001 CREATE ALGORITHM=MERGE */ /*!50013 DEFINER=`a`@`%` SQL SECURITY INVOKER */ \
         /*!50001 VIEW `v` (x) AS select 1 WITH LOCAL CHECK OPTION */",
    );
    assert_eq!(view.prelude.algorithm.as_deref(), Some("MERGE"));
    assert_eq!(view.prelude.definer, Some(Account { name: "a".into(), host: "%".into() }));
    assert_eq!((view.prelude.invoker, view.check), (Some(true), ViewCheckOption::Local));
    assert_eq!(
        (view.columns.as_slice(), view.alter, view.or_replace),
        (["x".to_owned()].as_slice(), false, false)
    );
    let view = read("CREATE OR REPLACE VIEW d.v AS SELECT 1 WITH CHECK OPTION");
    assert_eq!(
        (view.check, view.or_replace, view.prelude),
        (ViewCheckOption::Cascaded, true, Default::default())
    );
    assert!(
        read("ALTER VIEW v AS SELECT 1").alter
            && read("CREATE VIEW IF NOT EXISTS v AS TABLE t").if_not_exists
    );
    for (text, errno) in [
        ("CREATE VIEW v AS SELECT 1 INTO @a", 1350),
        ("CREATE VIEW v AS SELECT ?", 1351),
        ("CREATE ALGORITHM = FAST VIEW v AS SELECT 1", 1064),
        ("CREATE SQL SECURITY NOBODY VIEW v AS SELECT 1", 1064),
        ("CREATE VIEW v AS UPDATE t SET a = 1", 1064),
    ] {
        assert_eq!(parse_one(text, &options()).expect_err(text).code.errno(), errno, "{text}");
    }
}

#[test]
fn servers_say_where_they_are_in_any_order() {
    let options_of = |text: &str| match parse_one(text, &options()).unwrap().statement {
        Statement::CreateServer { name, wrapper, options } => {
            assert_eq!((name.as_str(), wrapper.as_str()), ("Old", "mysql"));
            options
        }
        other => panic!("{other:?}"),
    };
    let all = options_of(
        "CREATE SERVER Old FOREIGN DATA WRAPPER mysql OPTIONS (PORT 3307, HOST 'db1', USER 'u', PASSWORD 'p', \
         DATABASE 'shop', OWNER 'me', SOCKET '')",
    );
    let text = |text: &str| Some(text.to_owned());
    let expected = ServerOptions {
        host: text("db1"),
        port: Some(3307),
        database: text("shop"),
        user: text("u"),
        password: text("p"),
        owner: text("me"),
        socket: text(""),
    };
    assert_eq!(all, expected);
    let one = options_of("create server 'Old' foreign data wrapper 'mysql' options (user \"u\")");
    assert_eq!(one, ServerOptions { user: text("u"), ..ServerOptions::default() });
    let statement = |text: &str| parse_one(text, &options()).unwrap().statement;
    let altered = ServerOptions { port: Some(1), ..ServerOptions::default() };
    assert_eq!(
        statement("ALTER SERVER `Old` OPTIONS (PORT 1)"),
        Statement::AlterServer { name: "Old".into(), options: altered }
    );
    let dropped = statement("DROP SERVER IF EXISTS s");
    assert_eq!(dropped, Statement::DropServer { name: "s".into(), if_exists: true });
    assert_eq!((classify(&dropped), commits_implicitly(&dropped)), (Class::Ddl, true));
    for wrong in [
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql",
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS ()",
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'a', HOST 'b')",
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (CHARSET 'utf8')",
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (PORT 'x')",
        "CREATE OR REPLACE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'a')",
        "ALTER SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'a')",
        "DROP SERVER a, b",
    ] {
        assert_eq!(parse_one(wrong, &options()).unwrap_err().code.errno(), 1064, "{wrong}");
    }
}

#[test]
fn a_foreign_table_may_leave_its_columns_to_its_server() {
    let create = |text: &str| match parse_one(text, &options()).unwrap().statement {
        Statement::CreateTable(create) => *create,
        other => panic!("{other:?}"),
    };
    let bare = create("CREATE TABLE t ENGINE=FEDERATED CONNECTION='old/orders' COMMENT 'x'");
    assert!(bare.columns.is_empty() && bare.options.is_federated());
    assert_eq!(bare.options.connection.as_deref(), Some("old/orders"));
    let declared = create("CREATE TABLE t (a INT) CONNECTION 'old' ENGINE federated");
    assert_eq!((declared.columns.len(), declared.options.is_federated()), (1, true));
    for wrong in ["CREATE TABLE t ENGINE=InnoDB", "CREATE TABLE t CONNECTION='old'", "CREATE TABLE t"] {
        assert_eq!(parse_one(wrong, &options()).unwrap_err().code.errno(), 1064, "{wrong}");
    }
    let hidden =
        normalise(b"CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (PASSWORD 'geheim')", &options());
    assert!(!hidden.text.contains("geheim"), "{}", hidden.text);
}

#[test]
fn units_are_a_closed_list() {
    for call in
        ["TIMESTAMPDIFF(SQL_TSI_DAY, a, b)", "TIMESTAMPADD(microsecond, 1, a)", "GET_FORMAT(TIME, 'ISO')"]
    {
        assert!(parse_one(&format!("SELECT {call}"), &options()).is_ok(), "{call}");
    }
    for call in ["TIMESTAMPDIFF(foo, a, b)", "TIMESTAMPADD('DAY', 1, a)", "GET_FORMAT(DAY, 'ISO')"] {
        let error = parse_one(&format!("SELECT {call}"), &options()).expect_err(call);
        assert_eq!(error.code.errno(), 1064, "{call}");
    }
}

#[test]
fn load_data_says_where_fields_end_and_where_they_go() {
    let parse = |text: &str| match parse_one(text, &options()).expect(text).statement {
        Statement::LoadData(load) => *load,
        other => panic!("{text}: {other:?}"),
    };
    let plain = parse("LOAD DATA LOCAL INFILE 'f' INTO TABLE db.t");
    assert!(plain.local && !plain.replace && !plain.ignore);
    assert_eq!((&plain.fields_terminated[..], &plain.lines_terminated[..]), (&b"\t"[..], &b"\n"[..]));
    assert_eq!((plain.fields_escaped, plain.targets), (None, vec![]));
    let full = parse(
        "LOAD DATA CONCURRENT LOCAL INFILE 'f' REPLACE INTO TABLE t PARTITION (p0) CHARACTER SET Latin1 \
         COLUMNS TERMINATED BY 0x01 OPTIONALLY ENCLOSED BY X'22' ESCAPED BY '' LINES STARTING BY b'1000001' \
         TERMINATED BY '\\r\\n' IGNORE 2 ROWS (a, @x, t.b) SET c = DEFAULT, d = @x + 1",
    );
    assert!(full.replace && !full.ignore);
    assert_eq!((full.charset.as_deref(), full.partitions.len()), (Some("latin1"), 1));
    assert_eq!((&full.fields_terminated[..], &full.fields_enclosed[..]), (&[1][..], &b"\""[..]));
    assert_eq!(full.fields_escaped.as_deref(), Some(&b""[..]));
    assert_eq!((&full.lines_starting[..], &full.lines_terminated[..]), (&b"A"[..], &b"\r\n"[..]));
    assert_eq!((full.ignore_lines, full.targets.len(), full.assignments.len()), (2, 3, 2));
    assert_eq!(full.targets[1], LoadTarget::Variable("x".to_owned()));
    assert_eq!(parse("LOAD DATA INFILE 'f' IGNORE INTO TABLE t ()").targets, vec![]);
    for wrong in [
        "LOAD DATA LOCAL INFILE f INTO TABLE t",
        "LOAD DATA LOCAL INFILE 'f' REPLACE IGNORE INTO TABLE t",
        "LOAD DATA LOCAL INFILE 'f' INTO TABLE t FIELDS",
        "LOAD DATA LOCAL INFILE 'f' INTO TABLE t LINES IGNORE 1 LINES",
        "LOAD DATA LOCAL INFILE 'f' INTO TABLE t IGNORE 1",
        "LOAD DATA LOCAL INFILE 'f' INTO TABLE t (a,)",
    ] {
        let error = parse_one(wrong, &options()).expect_err(wrong);
        assert_eq!(error.code.errno(), 1064, "{wrong}");
    }
}

#[test]
fn a_statement_that_only_sleeps_is_known() {
    let sleeps = |text: &str| only_sleeps(&parse_one(text, &options()).unwrap().statement);
    for text in ["SELECT SLEEP(5)", "select /* x */ sleep ( 0.5 ) as s", "SELECT SLEEP(?)"] {
        assert!(sleeps(text), "{text}");
    }
    for text in [
        "SELECT SLEEP(5), 1",
        "SELECT 1 + SLEEP(5)",
        "SELECT SLEEP(5) FROM t",
        "SELECT 1 FROM t WHERE SLEEP(5)",
        "SELECT SLEEP((SELECT 5))",
        "SELECT SLEEP(5) INTO @a",
        "SELECT SLEEP(5) UNION SELECT 1",
        "SELECT NAP(5)",
        "DO SLEEP(5)",
    ] {
        assert!(!sleeps(text), "{text}");
    }
}
