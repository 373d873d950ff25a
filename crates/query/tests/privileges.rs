//! Who may read what a statement that changes something reads beside it.

use assize_model::ErrorCode;
use assize_query::testing::Session;

/// `app` may change one table, read nothing, and use a view of what is hidden.
fn shop() -> Session {
    let mut session = Session::default();
    for sql in [
        "CREATE USER owner, app",
        "CREATE TABLE stock (id INT PRIMARY KEY, amount INT)",
        "CREATE TABLE hidden (secret INT PRIMARY KEY)",
        "GRANT SELECT ON test.hidden TO owner",
        "CREATE DEFINER = owner VIEW shown AS SELECT secret FROM hidden",
        "INSERT INTO stock VALUES (1, 10)",
        "INSERT INTO hidden VALUES (42)",
        "GRANT INSERT, UPDATE, DELETE ON test.stock TO app",
        "GRANT SELECT ON test.shown TO app",
    ] {
        session.run(sql).expect(sql);
    }
    session.signs_in("app");
    session
}

const READING: [&str; 9] = [
    "INSERT INTO stock VALUES (2, (SELECT secret FROM {}))",
    "INSERT INTO stock SELECT secret, 1 FROM {}",
    "INSERT INTO stock VALUES (1, 1) ON DUPLICATE KEY UPDATE amount = (SELECT secret FROM {})",
    "REPLACE INTO stock SET id = 3, amount = (SELECT secret FROM {})",
    "UPDATE stock SET amount = (SELECT secret FROM {}) WHERE id = 1",
    "UPDATE stock SET amount = 5 WHERE id IN (SELECT secret FROM {})",
    "UPDATE stock SET amount = 5 ORDER BY (SELECT secret FROM {}) LIMIT 1",
    "DELETE FROM stock WHERE id = (SELECT secret FROM {})",
    "DO (SELECT secret FROM {})",
];

#[test]
fn subqueries_read_only_what_the_user_may_read() {
    for sql in READING {
        let refused = shop().run(&sql.replace("{}", "hidden")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TableAccessDenied, "{sql}");
        shop().run(&sql.replace("{}", "shown")).expect(sql);
    }
}

#[test]
fn what_is_changed_need_not_be_readable() {
    let mut session = shop();
    session.run("UPDATE stock AS s SET s.amount = s.amount + 1 WHERE s.id = 1").unwrap();
    session.run("DELETE FROM stock WHERE id = 1").unwrap();
}

#[test]
fn a_change_that_read_through_a_view_relies_on_it_as_it_was() {
    for sql in READING {
        let mut session = shop();
        session.run(&sql.replace("{}", "shown")).expect(sql);
        let view = session.catalog().table("test", "shown").unwrap().clone();
        assert!(session.used().contains(&(view.id, view.version)), "{sql}");
    }
}
