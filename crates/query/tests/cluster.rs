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
    // What cannot be found out is a finding.
    assert_eq!(first(&mut session, "SHOW DIAGNOSIS"), ["unavailable", "critical", "critical"]);
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
    let answer = session.run("SHOW CONFLICT 'c-10003'").unwrap().texts();
    let ran = answer.iter().find(|row| row[0] == "what that ran").expect("somebody won");
    assert!(ran[1].contains("withheld") && ran[1].contains("PROCESS"), "{ran:?}");
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
        "SHOW DIAGNOSIS",
        "SELECT * FROM information_schema.assize_diagnosis",
        "SELECT * FROM information_schema.assize_traffic",
        "SELECT * FROM information_schema.assize_digests",
        "SELECT * FROM information_schema.assize_replicas",
        "SELECT * FROM information_schema.assize_config",
    ] {
        let error = session.run(sql).expect_err(sql);
        assert_eq!(error.code, ErrorCode::SpecificAccessDenied, "{sql}");
        assert!(error.message.contains("the PROCESS privilege"), "{error}");
    }
    session.becomes("app", &["PROCESS"]);
    assert_eq!(first(&mut session, "SHOW CONFLICTS").len(), 4);
    assert_eq!(first(&mut session, "SHOW SHARDS"), ["1", "2"]);
    let setting =
        "SELECT CONCAT_WS(' ', setting_name, setting_value, origin) FROM information_schema.assize_config";
    assert_eq!(first(&mut session, setting), ["shard.count 4 node.toml"]);
}

#[test]
fn what_is_missing_of_an_answer_is_a_warning() {
    let mut session = Session::new();
    session.joins(Arc::new(FakeCluster::default()));
    let warnings = |session: &mut Session, sql: &str| {
        session.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let told = session.run("SHOW WARNINGS").unwrap().texts();
        told.into_iter().map(|row| row[2].clone()).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&mut session, "SHOW CONFLICTS"), [""; 0]);
    assert_eq!(code(&mut session, "SHOW CONFLICT 'c-99999'"), ErrorCode::WrongArguments);
    session.joins(Arc::new(FakeCluster { is_half_silent: true, ..FakeCluster::default() }));
    for sql in [
        "SHOW CONFLICTS",
        "SHOW JOBS",
        "SHOW TRANSACTIONS",
        "SELECT * FROM information_schema.assize_sessions",
        "SELECT * FROM information_schema.assize_digests",
    ] {
        let told = warnings(&mut session, sql);
        assert_eq!(told, ["node 3 did not answer: what it knows is missing"], "{sql}");
    }
    let told = warnings(&mut session, "SHOW MEMBERS");
    assert_eq!(told, ["no leader is heard of: this is what the node knew last"]);
    // It may be kept where nobody answers: that is another thing than never having been.
    let error = session.run("SHOW CONFLICT 'c-99999'").unwrap_err();
    assert_eq!(error.code, ErrorCode::ClusterUnavailable);
    assert!(error.message.contains("node 3 did not answer"), "{error}");
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
    assert_eq!(answer.texts(), [["could be done: shard 1 is split at 100", "NULL"]]);
    assert!(cluster.done.lock().unwrap().is_empty());
    let answer = session.run("ALTER CLUSTER SPLIT SHARD 1 AT 100").unwrap();
    assert_eq!(answer.texts(), [["shard 1 is split at 100", "split-1"]]);
    assert_eq!(code(&mut session, "ALTER CLUSTER SPLIT SHARD 3"), ErrorCode::WrongArguments);
    // What may lose data is not done by the way.
    assert_eq!(code(&mut session, "ALTER CLUSTER RECOVER SHARD 1"), ErrorCode::WrongArguments);
    let done = cluster.done.lock().unwrap().clone();
    assert_eq!(done, [(Action::Split { shard: 1, at: Some(100) }, "root@localhost".to_owned())]);
}
