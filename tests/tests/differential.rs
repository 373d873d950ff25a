//! The same statements on MariaDB and on Assize: rows and error numbers must be the same.

use assize_tests::{Assize, MariaDb, root};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Row, Value};

/// What a statement came to.
#[derive(PartialEq, Debug)]
enum Outcome {
    Rows(Vec<Vec<Option<String>>>),
    Error(u16),
}

fn connect(port: u16) -> Conn {
    let opts = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(port).user(Some("root"));
    let mut connection = Conn::new(opts.prefer_socket(false)).expect("the server takes connections");
    connection.query_drop("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci").unwrap();
    // MariaDB's default mode lacks what MySQL's has.
    connection
        .query_drop(
            "SET sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
             ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
        )
        .unwrap();
    connection
}

fn execute(connection: &mut Conn, statement: &str) -> Outcome {
    match connection.query::<Row, _>(statement) {
        Ok(rows) => Outcome::Rows(
            rows.into_iter()
                .map(|row| {
                    row.unwrap()
                        .into_iter()
                        .map(|value| match value {
                            Value::NULL => None,
                            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                            other => Some(other.as_sql(true)),
                        })
                        .collect()
                })
                .collect(),
        ),
        Err(mysql::Error::MySqlError(e)) => Outcome::Error(e.code),
        Err(e) => panic!("{statement}: the connection broke: {e}"),
    }
}

#[test]
fn statements_mean_what_they_mean_to_mariadb() {
    let text = std::fs::read_to_string(root().join("tests/data/differential.sql")).unwrap();
    let mariadb = MariaDb::start();
    let assize = Assize::start();
    let (mut theirs, mut ours) = (connect(mariadb.port()), connect(assize.port()));
    let mut differences = Vec::new();
    let mut compared = 0;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
        let (any_error, statement) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (expected, found) = (execute(&mut theirs, statement), execute(&mut ours, statement));
        compared += 1;
        let same = match (&expected, &found) {
            (Outcome::Error(_), Outcome::Error(_)) if any_error => true,
            _ => expected == found,
        };
        if !same {
            differences.push(format!("{statement}\n   MariaDB: {expected:?}\n   Assize:  {found:?}"));
        }
    }
    println!("{compared} statements compared");
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
