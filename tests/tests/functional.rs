//! Functional indexes over a real server: built while rows change, locked through, dumped and restored.

use assize_tests::cluster::connect;
use assize_tests::{Assize, run_bytes, run_ok};
use mysql::prelude::Queryable;
use mysql::{Conn, Error};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of the table that is written meanwhile.
const ROWS: u32 = 3000;

/// Whether a statement only has to be sent again: it lost to another, the table was changed, or the id is taken.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::MySqlError(error) if [1062, 1205, 1213, 1412].contains(&error.code))
}

/// Changes rows of `f.t` until it is told to stop; answers how many statements did.
fn write(mut connection: Conn, seed: u32, stop: &AtomicBool) -> u32 {
    let mut done = 0;
    for n in (0..).map(|n: u32| n.wrapping_mul(2_654_435_761).wrapping_add(seed)) {
        if stop.load(Ordering::Relaxed) {
            return done;
        }
        let id = n % ROWS;
        let sql = match n / ROWS % 4 {
            0 => format!("DELETE FROM f.t WHERE id = {id}"),
            1 => format!("UPDATE f.t SET id = id + {ROWS} WHERE id = {id}"),
            2 => format!("REPLACE INTO f.t VALUES ({id}, 'New{}')", n % 97),
            _ => format!("UPDATE f.t SET name = 'Name{}' WHERE id = {id}", n % 89),
        };
        match connection.query_drop(&sql) {
            Ok(()) => done += 1,
            Err(error) if is_lost(&error) => {}
            Err(error) => panic!("{sql}: {error}"),
        }
    }
    done
}

#[test]
fn an_index_of_an_expression_is_built_while_rows_change() {
    let assize = Assize::start();
    let mut connection = connect(assize.port()).unwrap();
    connection.query_drop("CREATE DATABASE f").unwrap();
    connection.query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, name VARCHAR(20))").unwrap();
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 'Name{}')", id % 89)).collect();
    connection.query_drop(format!("INSERT INTO f.t VALUES {}", rows.join(","))).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                let (connection, stop) = (connect(assize.port()).unwrap(), &stop);
                scope.spawn(move || write(connection, seed, stop))
            })
            .collect();
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..3 {
                connection.query_drop("CREATE INDEX i ON f.t ((lower(name)), id)").unwrap();
                let report: Vec<(String, String, String, String)> =
                    connection.query("CHECK TABLE f.t").unwrap();
                assert_eq!(report[0].3, "OK", "{report:?}");
                connection.query_drop("BEGIN").unwrap();
                let found =
                    |e: &str| format!("SELECT id FROM f.t WHERE {e} IN ('name7', 'new8') ORDER BY id");
                let with: Vec<u32> = connection.query(found("lower(name)")).unwrap();
                let without: Vec<u32> = connection.query(found("lower(concat(name))")).unwrap();
                connection.query_drop("COMMIT").unwrap();
                assert!(with == without && !with.is_empty(), "{with:?} {without:?}");
                connection.query_drop("DROP INDEX i ON f.t").unwrap();
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let done: Vec<u32> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        if let Err(panic) = judged {
            std::panic::resume_unwind(panic);
        }
        assert!(done.iter().all(|done| *done > 0), "{done:?}");
    });
}

#[test]
fn rows_found_by_an_expression_are_locked_and_no_others() {
    let assize = Assize::start();
    let (mut holder, mut other) = (connect(assize.port()).unwrap(), connect(assize.port()).unwrap());
    holder.query_drop("CREATE DATABASE f").unwrap();
    holder
        .query_drop("CREATE TABLE f.t (id INT PRIMARY KEY, name VARCHAR(20), UNIQUE KEY ((lower(name))))")
        .unwrap();
    holder.query_drop("INSERT INTO f.t VALUES (1, 'Ann'), (2, 'Bob')").unwrap();
    holder.query_drop("BEGIN").unwrap();
    let id: Option<u32> =
        holder.query_first("SELECT id FROM f.t WHERE lower(name) = 'ann' FOR UPDATE").unwrap();
    assert_eq!(id, Some(1));
    other.query_drop("BEGIN").unwrap();
    let taken: Result<Vec<u32>, Error> =
        other.query("SELECT id FROM f.t WHERE lower(name) = 'ann' FOR UPDATE NOWAIT");
    assert!(matches!(&taken, Err(Error::MySqlError(error)) if error.code == 3572), "{taken:?}");
    other.query_drop("ROLLBACK").unwrap();
    let free: Option<u32> =
        other.query_first("SELECT id FROM f.t WHERE lower(name) = 'bob' FOR UPDATE NOWAIT").unwrap();
    assert_eq!(free, Some(2));
    holder.query_drop("UPDATE f.t SET name = 'Zoe' WHERE lower(name) = 'ann'").unwrap();
    holder.query_drop("COMMIT").unwrap();
    let names: Vec<String> = other.query("SELECT name FROM f.t ORDER BY lower(name)").unwrap();
    assert_eq!(names, ["Bob", "Zoe"]);
}

#[test]
fn functional_indexes_are_dumped_and_restored() {
    let assize = Assize::start();
    assize.query("CREATE DATABASE f");
    assize.query(
        "CREATE TABLE f.t (id INT PRIMARY KEY, name VARCHAR(20), a INT, j JSON, KEY by_name ((lower(name)) DESC, a), \
         UNIQUE KEY ((a * 2)), KEY by_json ((CAST(j->>'$.n' AS CHAR(10)))))",
    );
    assize.query("INSERT INTO f.t VALUES (1, 'Ann', 1, '{\"n\": 1}'), (2, 'BOB', 2, NULL)");
    let dump = run_bytes(assize.mariadb_dump().args(["--databases", "f"]), b"");
    let second = Assize::start();
    run_ok(&mut second.mariadb(), &dump);
    let created = "SHOW CREATE TABLE f.t";
    assert_eq!(assize.query(created), second.query(created));
    assert!(assize.query(created).contains("KEY `by_name` ((lower(`name`)) DESC,`a`)"));
    assert_eq!(second.query("SELECT id FROM f.t WHERE lower(name) = 'bob'").trim(), "2");
    assert!(second.query("EXPLAIN SELECT id FROM f.t WHERE lower(name) = 'bob'").contains("by_name"));
    assert!(second.query("CHECK TABLE f.t").contains("OK"));
}
