//! Who may see what of the cluster, and who may change it.

use assize_model::ErrorCode;
use assize_ports::Action;
use assize_query::testing::{FakeCluster, Session};
use std::sync::Arc;

/// The first column of what a statement answers.
fn first(session: &mut Session, sql: &str) -> Vec<String> {
    let answer = session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    answer.texts().into_iter().map(|row| row[0].clone()).collect()
}

fn code(session: &mut Session, sql: &str) -> ErrorCode {
    session.run(sql).expect_err(sql).code
}

#[test]
fn a_process_without_a_cluster_says_so() {
    let mut session = Session::new();
    for sql in
        ["SHOW CONFLICTS", "SELECT * FROM information_schema.assize_shards", "ALTER CLUSTER DRAIN NODE 1"]
    {
        let error = session.run(sql).expect_err(sql);
        assert_eq!(error.code, ErrorCode::ClusterUnavailable);
        assert_eq!(error.message, "this process has no view of a cluster");
    }
    session.joins(Arc::new(FakeCluster { is_unreachable: true, ..FakeCluster::default() }));
    let error = session.run("SHOW MEMBERS").unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::ClusterUnavailable, "no node answers"));
}

#[test]
fn without_process_a_user_sees_what_is_its_own() {
    let mut session = Session::new();
    session.joins(Arc::new(FakeCluster::default()));
    session.becomes("app", &[]);
    assert_eq!(first(&mut session, "SHOW CONFLICTS"), ["c-10003", "c-10002", "c-10001"]);
    assert_eq!(first(&mut session, "SELECT id FROM information_schema.assize_conflicts").len(), 3);
    let winner = "SELECT COALESCE(winner_user, winner_statements, winner_node, 'nobody') \
                  FROM information_schema.assize_conflicts";
    assert_eq!(first(&mut session, winner), ["nobody"; 3], "whoever won is somebody else");
    assert_eq!(code(&mut session, "SHOW CONFLICT 'c-20002'"), ErrorCode::WrongArguments);
    let own = "SELECT user_name FROM information_schema.assize_transactions";
    assert_eq!(first(&mut session, own), ["app@10.0.0.7"]);
    assert_eq!(first(&mut session, "SELECT user_name FROM information_schema.assize_sessions"), ["app"]);
    let slow = "SELECT user_name FROM information_schema.assize_slow_statements";
    assert_eq!(first(&mut session, slow), ["app@10.0.0.7"]);
    for sql in [
        "SHOW HOT KEYS",
        "SHOW SHARDS",
        "SHOW MEMBERS",
        "SHOW JOBS",
        "SELECT * FROM information_schema.assize_digests",
        "SELECT * FROM information_schema.assize_replicas",
    ] {
        let error = session.run(sql).expect_err(sql);
        assert_eq!(error.code, ErrorCode::SpecificAccessDenied, "{sql}");
        assert!(error.message.contains("the PROCESS privilege"), "{error}");
    }
    session.becomes("app", &["PROCESS"]);
    assert_eq!(first(&mut session, "SHOW CONFLICTS").len(), 4);
    assert_eq!(first(&mut session, "SHOW SHARDS"), ["1", "2"]);
}

#[test]
fn only_super_may_change_the_cluster_and_what_is_validated_is_not_done() {
    let cluster = Arc::new(FakeCluster::default());
    let mut session = Session::new();
    session.joins(cluster.clone());
    session.becomes("app", &["PROCESS", "ALTER"]);
    assert_eq!(code(&mut session, "ALTER CLUSTER SPLIT SHARD 1"), ErrorCode::SpecificAccessDenied);
    session.becomes("root", &["SUPER"]);
    let answer = session.run("ALTER CLUSTER SPLIT SHARD 1 AT 100 VALIDATE ONLY").unwrap();
    assert_eq!(answer.texts(), [["it could be done: shard 1 is split at 100", "NULL"]]);
    assert!(cluster.done.lock().unwrap().is_empty());
    let answer = session.run("ALTER CLUSTER SPLIT SHARD 1 AT 100").unwrap();
    assert_eq!(answer.texts(), [["shard 1 is split at 100", "split-1"]]);
    assert_eq!(code(&mut session, "ALTER CLUSTER SPLIT SHARD 3"), ErrorCode::WrongArguments);
    // What may lose data is not done by the way.
    assert_eq!(code(&mut session, "ALTER CLUSTER RECOVER SHARD 1"), ErrorCode::WrongArguments);
    let done = cluster.done.lock().unwrap().clone();
    assert_eq!(done, [(Action::Split { shard: 1, at: Some(100) }, "root@localhost".to_owned())]);
}
