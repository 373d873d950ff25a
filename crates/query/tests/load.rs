//! LOAD DATA LOCAL: what rows and warnings a file gives.

use assize_query::testing::{Answer, Session};

const STRICT: &str =
    "SET sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO'";

fn session(tables: &[&str]) -> Session {
    let mut session = Session::new();
    session.run(STRICT).unwrap();
    for table in tables {
        session.run(table).unwrap();
    }
    session
}

fn load(session: &mut Session, file: impl AsRef<[u8]>, statement: &str) -> Answer {
    session.sends(file.as_ref().to_vec(), 7);
    session.run(&format!("LOAD DATA LOCAL INFILE 'f' {statement}")).unwrap()
}

fn fails(session: &mut Session, file: impl AsRef<[u8]>, statement: &str) -> (u16, String) {
    session.sends(file.as_ref().to_vec(), 7);
    let error = session.run(&format!("LOAD DATA LOCAL INFILE 'f' {statement}")).unwrap_err();
    (error.code.errno(), error.message)
}

fn rows(session: &mut Session, query: &str) -> Vec<String> {
    session.run(query).unwrap().texts().into_iter().map(|row| row.join("|")).collect()
}

fn info(answer: &Answer) -> (u64, u64, String) {
    match &answer.executed {
        assize_ports::Executed::Affected { changed, insert_id, info, .. } => {
            (*changed, *insert_id, info.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.warnings.iter().map(|w| format!("{} {}", w.code.errno(), w.message)).collect()
}

#[test]
fn a_file_becomes_rows_with_ids_defaults_and_computed_columns() {
    let mut session =
        session(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(9), n INT, \
         twice INT AS (n * 2) STORED, made INT DEFAULT 7)"]);
    let file = "id,name,n\nNULL,\"a,\"\"b\",1\n5,\\N,\n\"\\N\",\"NULL\",3\r\n";
    let answer = load(
        &mut session,
        file,
        "INTO TABLE t FIELDS TERMINATED BY ',' ENCLOSED BY '\"' IGNORE 1 LINES (id, name, n)",
    );
    let said = "Records: 3  Deleted: 0  Skipped: 0  Warnings: 1";
    assert_eq!(info(&answer), (3, 0, said.to_owned()));
    assert_eq!(warnings(&answer), ["1366 Incorrect integer value: '' for column 'n' at row 2"]);
    assert_eq!(
        rows(&mut session, "SELECT * FROM t ORDER BY id"),
        ["1|a,\"b|1|2|7", "5|NULL|0|0|7", "6|NULL|3|6|7"]
    );
    assert_eq!(rows(&mut session, "SELECT LAST_INSERT_ID()"), ["1"]);
    // What the file says of a computed column is passed by.
    let answer = load(&mut session, "9\tx\t4\t99\t1\n", "INTO TABLE t");
    assert_eq!(warnings(&answer), [""; 0]);
    assert_eq!(rows(&mut session, "SELECT * FROM t WHERE id = 9"), ["9|x|4|8|1"]);
}

#[test]
fn values_go_through_variables_and_expressions() {
    let mut session = session(&[
        "CREATE TABLE t (a INT, b VARCHAR(20), c DATE, d INT NOT NULL DEFAULT 5)",
        "CREATE TABLE names (id INT PRIMARY KEY, name VARCHAR(9))",
        "INSERT INTO names VALUES (1, 'one'), (2, 'two')",
        "SET @x = 12",
    ]);
    let answer = load(
        &mut session,
        "1;24.12.2026;z\n2;01.01.2027\n",
        "INTO TABLE t FIELDS TERMINATED BY ';' (a, @day, @x) SET c = STR_TO_DATE(@day, '%d.%m.%Y'), \
         a = a * 10, b = CONCAT((SELECT name FROM names WHERE id = a / 10), '-', IFNULL(@x, 'none')), d = DEFAULT",
    );
    assert_eq!(warnings(&answer), [""; 0]);
    assert_eq!(
        rows(&mut session, "SELECT * FROM t ORDER BY a"),
        ["10|one-z|2026-12-24|5", "20|two-none|2027-01-01|5"]
    );
    assert_eq!(rows(&mut session, "SELECT @day, @x"), ["01.01.2027|NULL"]);
    session.run("TRUNCATE t").unwrap();
    let by_variable = "INTO TABLE t (@x) SET a = @x, b = (SELECT name FROM names WHERE id = @x)";
    load(&mut session, "1\n2\n", by_variable);
    assert_eq!(rows(&mut session, "SELECT a, b FROM t ORDER BY a"), ["1|one", "2|two"]);
    let answer = load(&mut session, "1\n", "INTO TABLE t (a) SET d = NULL");
    assert_eq!(warnings(&answer), ["1048 Column 'd' cannot be null"]);
}

#[test]
fn lines_that_are_too_short_or_too_long_are_told_of() {
    let mut session = session(&["CREATE TABLE t (id INT, a INT NOT NULL DEFAULT 5, b INT DEFAULT 7, \
         c VARCHAR(5) DEFAULT 'x', d DATETIME DEFAULT CURRENT_TIMESTAMP, e ENUM('p','q') NOT NULL DEFAULT 'q')"]);
    let answer = load(
        &mut session,
        "1\n2\t3\t4\tv\t2026-01-01\tq\ttoo much\n3\t\\N\t\\N\t\\N\t\\N\t\\N\n",
        "INTO TABLE t",
    );
    let short = "1261 Row 1 doesn't contain data for all columns";
    assert_eq!(
        warnings(&answer),
        [
            short,
            short,
            short,
            short,
            short,
            "1262 Row 2 was truncated; it contained more data than there were input columns",
            "1263 Column set to default value; NULL supplied to NOT NULL column 'a' at row 3",
            "1263 Column set to default value; NULL supplied to NOT NULL column 'e' at row 3",
        ]
    );
    // As in MySQL, not the defaults but zero and nothing.
    assert_eq!(
        rows(&mut session, "SELECT * FROM t ORDER BY id"),
        ["1|0|0||NULL|", "2|3|4|v|2026-01-01 00:00:00|q", "3|0|NULL|NULL|NULL|"]
    );
    session.run("CREATE TABLE bare (id INT, n INT NOT NULL)").unwrap();
    let answer = load(&mut session, "1\n2\n", "INTO TABLE bare (id)");
    assert_eq!(warnings(&answer), ["1364 Field 'n' doesn't have a default value"]);
    assert_eq!(rows(&mut session, "SELECT * FROM bare ORDER BY id"), ["1|0", "2|0"]);
}

#[test]
fn rows_that_are_there_are_skipped_or_replaced_in_order() {
    let mut session = session(&[
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, n TINYINT, CHECK (n < 100))",
        "INSERT INTO t VALUES (1, 10, 1), (2, 20, 2)",
    ]);
    let file = "3\t30\t3\n1\t11\t4\n4\t30\t5\n5\t50\t300\n6\t60\t9\n3\t31\t7\n";
    let answer = load(&mut session, file, "INTO TABLE t");
    assert_eq!(info(&answer).2, "Records: 6  Deleted: 0  Skipped: 4  Warnings: 5");
    assert_eq!(
        warnings(&answer),
        [
            "1062 Duplicate entry '1' for key 't.PRIMARY'",
            "1062 Duplicate entry '30' for key 't.u'",
            "1264 Out of range value for column 'n' at row 4",
            "3819 Check constraint 't_chk_1' is violated.",
            "1062 Duplicate entry '3' for key 't.PRIMARY'",
        ]
    );
    assert_eq!(rows(&mut session, "SELECT * FROM t ORDER BY id"), ["1|10|1", "2|20|2", "3|30|3", "6|60|9"]);
    let answer = load(&mut session, "1\t60\t1\n7\t70\t7\n7\t71\t8\n", "REPLACE INTO TABLE t");
    assert_eq!(info(&answer), (6, 0, "Records: 3  Deleted: 3  Skipped: 0  Warnings: 0".to_owned()));
    assert_eq!(rows(&mut session, "SELECT * FROM t ORDER BY id"), ["1|60|1", "2|20|2", "3|30|3", "7|71|8"]);
}

#[test]
fn with_replace_bad_values_are_errors_in_strict_modes_and_nothing_is_left() {
    let mut session = session(&["CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)"]);
    let bad = "1\t2\n2\tx\n";
    let said = "Incorrect integer value: 'x' for column 'n' at row 2".to_owned();
    assert_eq!(fails(&mut session, bad, "REPLACE INTO TABLE t"), (1366, said));
    assert_eq!(fails(&mut session, "1\n", "REPLACE INTO TABLE t").0, 1261);
    assert_eq!(fails(&mut session, "1\t2\t3\n", "REPLACE INTO TABLE t").0, 1262);
    assert_eq!(rows(&mut session, "SELECT * FROM t"), ["1|1"]);
    session.run("SET sql_mode = ''").unwrap();
    load(&mut session, bad, "REPLACE INTO TABLE t");
    assert_eq!(rows(&mut session, "SELECT * FROM t ORDER BY id"), ["1|2", "2|0"]);
}

#[test]
fn foreign_keys_hold() {
    let mut session = session(&[
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
        "INSERT INTO p VALUES (1), (2)",
    ]);
    let answer = load(&mut session, "1\t1\n2\t9\n3\t2\n", "INTO TABLE c");
    assert_eq!(answer.warnings.len(), 1);
    assert_eq!(answer.warnings[0].code.errno(), 1452);
    assert_eq!(rows(&mut session, "SELECT * FROM c ORDER BY id"), ["1|1", "3|2"]);
    load(&mut session, "1\n", "REPLACE INTO TABLE p");
    assert_eq!(rows(&mut session, "SELECT * FROM c ORDER BY id"), ["3|2"]);
}

#[test]
fn bytes_are_what_character_set_says() {
    let mut session = session(&["CREATE TABLE t (id INT, v VARCHAR(20), b VARBINARY(20))"]);
    load(&mut session, b"1\tGr\xfc\xdfe \x80\tGr\xfc\xdfe\n", "INTO TABLE t CHARACTER SET latin1");
    load(&mut session, "2\tGrüße €\tü\n", "INTO TABLE t CHARACTER SET utf8mb4");
    load(&mut session, "3\tGrüße\tü\n", "INTO TABLE t CHARACTER SET binary");
    let answer = load(&mut session, b"4\tok\xff\xfez\t\xff\n", "INTO TABLE t");
    assert_eq!(warnings(&answer), [r"1366 Incorrect string value: '\xFF\xFEz' for column 'v' at row 1"]);
    assert_eq!(
        rows(&mut session, "SELECT id, v, HEX(b) FROM t ORDER BY id"),
        ["1|Grüße €|4772FCDF65", "2|Grüße €|C3BC", "3|Grüße|C3BC", "4|ok|FF"]
    );
    assert_eq!(fails(&mut session, "", "INTO TABLE t CHARACTER SET klingon").0, 1115);
}

#[test]
fn what_cannot_be_done_is_refused_before_the_file_is_asked_for() {
    let mut session = session(&["CREATE TABLE t (id INT)", "CREATE VIEW seen AS SELECT * FROM t"]);
    // No file is at hand: asking for one would be error 3948.
    let mut errno = |statement: &str| session.run(statement).unwrap_err().code.errno();
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE t"), 3948);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE nowhere"), 1146);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE seen"), 1235);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE mysql.user"), 1235);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (nowhat)"), 1054);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (id) SET id = nowhat"), 1054);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE t PARTITION (p0)"), 1235);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE t FIELDS ENCLOSED BY 'ab'"), 1083);
    assert_eq!(errno("LOAD DATA LOCAL INFILE 'f' INTO TABLE t FIELDS TERMINATED BY ''"), 1235);
    assert_eq!(errno("LOAD DATA INFILE 'f' INTO TABLE t"), 1290);
    assert_eq!(errno("SELECT 1 INTO OUTFILE 'f'"), 1290);
    session.run("SET local_infile = 0").unwrap();
    session.sends("1\n", 1);
    let error = session.run("LOAD DATA LOCAL INFILE 'f' INTO TABLE t").unwrap_err();
    assert_eq!(error.code.errno(), 3948);
    session.run("SET local_infile = 1").unwrap();
    session.becomes("app", &["SELECT", "INSERT"]);
    session.run("LOAD DATA LOCAL INFILE 'f' INTO TABLE t").unwrap();
    let error = session.run("LOAD DATA LOCAL INFILE 'f' REPLACE INTO TABLE t").unwrap_err();
    assert_eq!(error.code.errno(), 1142);
}

#[test]
fn without_backslash_escapes_files_have_none_either_unless_said() {
    let mut session = session(&["CREATE TABLE t (v VARCHAR(9))"]);
    session.run("SET sql_mode = 'NO_BACKSLASH_ESCAPES'").unwrap();
    load(&mut session, "a\\tb\n", "INTO TABLE t");
    load(&mut session, "c\\td\n", r"INTO TABLE t FIELDS ESCAPED BY '\'");
    assert_eq!(rows(&mut session, "SELECT v FROM t ORDER BY v"), ["a\\tb", "c\td"]);
}

#[test]
fn many_rows_are_looked_up_together_and_the_machine_is_shared() {
    let mut session = session(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"]);
    let file: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    let answer = load(&mut session, file, "INTO TABLE t (v)");
    assert_eq!(info(&answer).0, 10_000);
    assert!(session.turns() > 10, "{} turns", session.turns());
    assert_eq!(
        rows(&mut session, "SELECT COUNT(*), MIN(id), MAX(id), SUM(v) FROM t"),
        ["10000|1|10000|49995000"]
    );
}

#[test]
fn a_row_without_an_end_is_refused() {
    let mut session = session(&["CREATE TABLE t (v LONGTEXT)"]);
    session.context().eval.max_allowed_packet = 1000;
    let (errno, text) = fails(&mut session, vec![b'x'; 5000], "INTO TABLE t");
    assert_eq!(errno, 1153, "{text}");
    assert_eq!(rows(&mut session, "SELECT COUNT(*) FROM t"), ["0"]);
}
