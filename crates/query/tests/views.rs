//! Views: on whose behalf they read, and what a transaction that went through one relies on.

use assize_model::ErrorCode;
use assize_query::testing::{FakeCluster, Session};
use std::sync::Arc;

/// A table with a view for its definer and one for whoever uses it; `app` may use the views alone.
fn shop() -> Session {
    let mut session = Session::default();
    for sql in [
        "CREATE USER owner, app",
        "CREATE TABLE stock (id INT PRIMARY KEY, amount INT NOT NULL)",
        "INSERT INTO stock VALUES (1, 10), (2, 200)",
        "GRANT SELECT, INSERT, UPDATE ON test.stock TO owner",
        "CREATE DEFINER = owner VIEW few AS SELECT id, amount FROM stock WHERE amount < 100",
        "CREATE DEFINER = owner SQL SECURITY INVOKER VIEW own AS SELECT id, amount FROM stock",
        "CREATE DEFINER = owner VIEW above AS SELECT id FROM own",
        "GRANT SELECT, UPDATE, DELETE ON test.few TO app",
        "GRANT SELECT ON test.own TO app, owner",
        "GRANT SELECT ON test.above TO app",
    ] {
        session.run(sql).expect(sql);
    }
    session
}

fn code(session: &mut Session, sql: &str) -> Option<ErrorCode> {
    session.run(sql).err().map(|error| error.code)
}

#[test]
fn a_view_reads_for_its_definer_or_for_whoever_uses_it() {
    let mut session = shop();
    session.signs_in("app");
    assert_eq!(session.run("SELECT * FROM few").unwrap().texts(), [["1", "10"]]);
    assert_eq!(code(&mut session, "SELECT * FROM stock"), Some(ErrorCode::TableAccessDenied));
    assert_eq!(code(&mut session, "SELECT * FROM own"), Some(ErrorCode::ViewInvalid));
    // Within a view that acts for its definer, the invoker is the definer.
    assert_eq!(session.run("SELECT * FROM above ORDER BY id").unwrap().texts(), [["1"], ["2"]]);
    assert_eq!(code(&mut session, "CREATE VIEW mine AS SELECT 1"), Some(ErrorCode::TableAccessDenied));
    assert_eq!(code(&mut session, "SHOW CREATE VIEW few"), Some(ErrorCode::TableAccessDenied));
}

#[test]
fn a_plan_that_is_kept_is_checked_for_everybody() {
    let mut session = shop();
    session.run("SELECT * FROM few").unwrap();
    session.run("REVOKE SELECT ON test.stock FROM owner").unwrap();
    assert_eq!(code(&mut session, "SELECT * FROM few"), Some(ErrorCode::ViewInvalid));
    session.run("GRANT SELECT ON test.stock TO owner").unwrap();
    session.run("SELECT * FROM few").unwrap();
    session.run("DROP USER owner").unwrap();
    assert_eq!(code(&mut session, "SELECT * FROM few"), Some(ErrorCode::DefinerDoesNotExist));
}

#[test]
fn rows_are_changed_for_the_definer() {
    let mut session = shop();
    session.signs_in("app");
    session.run("UPDATE few SET amount = 11 WHERE id = 1").unwrap();
    assert_eq!(code(&mut session, "DELETE FROM few"), Some(ErrorCode::ViewInvalid));
    assert_eq!(code(&mut session, "INSERT INTO few VALUES (3, 3)"), Some(ErrorCode::TableAccessDenied));
    assert_eq!(code(&mut session, "UPDATE stock SET amount = 1"), Some(ErrorCode::TableAccessDenied));
}

#[test]
fn only_administrators_choose_another_definer() {
    let mut session = shop();
    session.run("GRANT CREATE VIEW, SELECT ON test.* TO app").unwrap();
    session.signs_in("app");
    let sql = "CREATE DEFINER = owner VIEW mine AS SELECT id FROM stock";
    let refused = session.run(sql).unwrap_err();
    let text = "Access denied; you need (at least one of) the SUPER privilege(s) for this operation";
    assert_eq!((refused.code, refused.message.as_ref()), (ErrorCode::SpecificAccessDenied, text));
    session.run("CREATE DEFINER = CURRENT_USER VIEW mine AS SELECT id FROM stock").unwrap();
    let text = session.run("SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_NAME = 'mine'").unwrap();
    assert_eq!(text.texts(), [["app@%"]]);
}

#[test]
fn a_transaction_relies_on_the_view_as_it_was() {
    let mut session = shop();
    session.run("SELECT * FROM few").unwrap();
    let view = session.catalog().table("test", "few").unwrap().clone();
    assert!(session.used().contains(&(view.id, view.version)));
    // Replaced, it is another version under the same number, so that the log refuses who planned with the old one.
    session.run("CREATE OR REPLACE VIEW few AS SELECT id FROM stock").unwrap();
    let newer = session.catalog().table("test", "few").unwrap().clone();
    assert_eq!((newer.id, newer.version.0), (view.id, view.version.0 + 1));
}

#[test]
fn views_wait_for_nodes_that_know_none() {
    let mut session = shop();
    session.joins(Arc::new(FakeCluster { is_half_upgraded: true, ..FakeCluster::default() }));
    let error = session.run("CREATE VIEW early AS SELECT 1").unwrap_err();
    assert_eq!(error.code, ErrorCode::NotSupportedYet);
    assert!(error.message.contains("the cluster is at version 4"), "{}", error.message);
    session.joins(Arc::new(FakeCluster::default()));
    session.run("CREATE VIEW early AS SELECT 1").unwrap();
}
