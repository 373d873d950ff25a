//! Every call that only looks.

use crate::{Api, fake, refused};
use assize_admin::pb;
use assize_ports::ClusterError;
use tonic::Code;

#[tokio::test]
async fn cluster_tells_members_group_health_and_traffic() {
    let api = Api::start().await;
    let mut cluster = api.client().await.cluster();
    let members = cluster.list_members(pb::ListMembersRequest {}).await.unwrap().into_inner();
    assert_eq!((members.leader, members.answered_by, members.members.len()), (2, 2, 3));
    assert_eq!(members.cluster_id, format!("{:032x}", 0xa55e));
    assert_eq!(members.members[1].member_role(), pb::MemberRole::Leader);
    assert_eq!(members.members[0].state_hash, "00000000feedbeef");

    let raft = cluster.get_raft_status(pb::GetRaftStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((raft.voters, raft.failures_survived), (3, 1));

    let told = cluster.diagnose(pb::DiagnoseRequest {}).await.unwrap().into_inner();
    assert_eq!(told.health(), pb::Health::Healthy);
    api.fake.state().trouble = Some(ClusterError::Unavailable("nobody answers".to_owned()));
    let told = cluster.diagnose(pb::DiagnoseRequest {}).await.unwrap().into_inner();
    assert_eq!(told.health(), pb::Health::Unavailable, "trouble is diagnosed, not returned");

    let traffic = cluster.get_traffic(pb::GetTrafficRequest {}).await.unwrap().into_inner().traffic;
    assert_eq!(traffic.iter().map(|t| t.commits).collect::<Vec<_>>(), [1000, 2000, 3000]);
}

#[tokio::test]
async fn transactions_are_listed_got_and_filtered() {
    let api = Api::start().await;
    let mut transactions = api.client().await.transactions();
    let ask = |node, seconds| pb::ListTransactionsRequest {
        node,
        age_min: Some(prost_types::Duration { seconds, nanos: 0 }),
        limit: 0,
    };
    let found = transactions.list(ask(0, 2)).await.unwrap().into_inner();
    assert_eq!((found.total, found.transactions[0].connection), (1, 17));
    assert_eq!(transactions.list(ask(0, 3)).await.unwrap().into_inner().total, 0, "too young");
    assert_eq!(transactions.list(ask(3, 0)).await.unwrap().into_inner().total, 0, "elsewhere");

    let one = pb::GetTransactionRequest { node: 1, connection: 17 };
    assert_eq!(transactions.get(one).await.unwrap().into_inner().writes, 3);
    let none = pb::GetTransactionRequest { node: 1, connection: 18 };
    refused(transactions.get(none).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn an_outcome_is_known_by_id() {
    let api = Api::start().await;
    let mut transactions = api.client().await.transactions();
    let ask = |txn_id: String| pb::GetOutcomeRequest { txn_id };
    let known = fake::known_txn().to_string();
    let told = transactions.get_outcome(ask(known)).await.unwrap().into_inner();
    assert_eq!(told.outcome(), pb::Outcome::Committed);
    assert_eq!(told.committed_at.unwrap().to_string(), "2026-09-21T14:13:20.456Z");
    let other = transactions.get_outcome(ask("0".repeat(32))).await.unwrap().into_inner();
    assert_eq!(other.outcome(), pb::Outcome::Undecided);
    let past = transactions.get_outcome(ask(fake::past_txn().to_string())).await.unwrap().into_inner();
    assert_eq!((past.outcome(), past.is_not_known), (pb::Outcome::Aborted, true));
    assert!(past.abort_reason.starts_with("no such transaction is known"), "{}", past.abort_reason);
    assert!(!told.is_not_known && !other.is_not_known);
    refused(
        transactions.get_outcome(ask("1.2.3".to_owned())).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
}

#[tokio::test]
async fn conflicts_are_listed_newest_first_and_hot_keys_counted() {
    let api = Api::start().await;
    let mut transactions = api.client().await.transactions();
    let ask = |id: &str, limit| pb::ListConflictsRequest { table: String::new(), id: id.to_owned(), limit };
    let all = transactions.list_conflicts(ask("", 2)).await.unwrap().into_inner();
    assert_eq!(all.total, 3);
    assert_eq!(all.conflicts.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["c-0003", "c-0002"]);
    let one = transactions.list_conflicts(ask("c-0001", 0)).await.unwrap().into_inner();
    assert_eq!(one.conflicts.len(), 1);
    let of_table = pb::ListConflictsRequest { table: "shop.orders".to_owned(), ..ask("", 0) };
    assert_eq!(transactions.list_conflicts(of_table).await.unwrap().into_inner().total, 0);

    let hot =
        transactions.list_hot_keys(pb::ListHotKeysRequest { limit: 1 }).await.unwrap().into_inner().hot_keys;
    assert_eq!((hot.len(), hot[0].key.as_str(), hot[0].conflicts), (1, "(42)", 2));
    assert_eq!(hot[0].last_at.unwrap().seconds, 1_790_000_003);
}

#[tokio::test]
async fn lists_say_which_nodes_did_not_answer() {
    let api = Api::start().await;
    let client = api.client().await;
    let sessions = async || client.sessions().list(pb::ListSessionsRequest::default()).await.unwrap();
    assert_eq!(sessions().await.into_inner().silent_nodes, [0; 0]);
    api.fake.state().report.silent = vec![3];
    assert_eq!(sessions().await.into_inner().silent_nodes, [3]);
    let mut transactions = client.transactions();
    let conflicts = transactions.list_conflicts(pb::ListConflictsRequest::default()).await.unwrap();
    assert_eq!(conflicts.into_inner().silent_nodes, [3]);
    let jobs = client.schema().list_jobs(pb::ListJobsRequest::default()).await.unwrap();
    assert_eq!(jobs.into_inner().silent_nodes, [3]);
    // What runs on a node that does not answer is not known; on another one it is known that nothing does.
    let ask = |node| pb::GetTransactionRequest { node, connection: 4242 };
    refused(transactions.get(ask(3)).await, Code::Unavailable, "UNAVAILABLE");
    refused(transactions.get(ask(1)).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn shards_tell_slots_and_replicas() {
    let api = Api::start().await;
    let shards =
        api.client().await.shards().list(pb::ListShardsRequest {}).await.unwrap().into_inner().shards;
    assert_eq!(shards.len(), 4);
    assert_eq!(shards[3].slots, [pb::SlotRange { first: 49_152, last: 65_535 }]);
    assert_eq!(shards[0].replicas[2].lag.unwrap().nanos, 4_000_000);
}

#[tokio::test]
async fn shards_tell_whether_they_are_evened_out_and_what_moves() {
    let api = Api::start().await;
    let balance = async || {
        let answer = api.client().await.shards().list(pb::ListShardsRequest {}).await.unwrap();
        answer.into_inner().balance.unwrap()
    };
    let at_rest = pb::Balance { is_on: true, r#move: String::new(), job_id: String::new() };
    assert_eq!(balance().await, at_rest);
    api.fake.state().jobs =
        vec![fake::job("split-3", "splits", "running"), fake::job("balance-2", "moves", "done")];
    assert_eq!(balance().await, at_rest);
    api.fake.state().jobs.push(fake::job("balance-4", "moves", "running"));
    let moving = pb::Balance { is_on: true, r#move: "moves".into(), job_id: "balance-4".into() };
    assert_eq!(balance().await, moving);
}

#[tokio::test]
async fn schema_tells_databases_tables_and_jobs() {
    let api = Api::start().await;
    let mut schema = api.client().await.schema();
    let databases = schema.list_databases(pb::ListDatabasesRequest {}).await.unwrap().into_inner();
    assert_eq!((databases.catalog_version, databases.databases[0].name.as_str()), (12, "shop"));
    let ask = |database: &str| pb::ListTablesRequest { database: database.to_owned() };
    let tables = schema.list_tables(ask("shop")).await.unwrap().into_inner().tables;
    assert_eq!(tables[0].columns[1].r#type, "int unsigned");
    assert_eq!(tables[0].indexes[0].name, "PRIMARY");
    assert_eq!((tables[0].rows, tables[0].row_bytes, tables[0].index_bytes), (Some(3), Some(120), Some(0)));
    refused(schema.list_tables(ask("nowhere")).await, Code::NotFound, "NOT_FOUND");

    let jobs =
        vec![fake::job("split-2", "splits", "running"), fake::job("move-1", "moves", "failed: no space")];
    api.fake.state().jobs = jobs;
    let ask = |running_only| pb::ListJobsRequest { running_only };
    let jobs = schema.list_jobs(ask(false)).await.unwrap().into_inner().jobs;
    assert_eq!((jobs[1].state(), jobs[1].failure.as_str()), (pb::JobState::Failed, "no space"));
    assert_eq!(schema.list_jobs(ask(true)).await.unwrap().into_inner().jobs.len(), 1);
}

#[tokio::test]
async fn sessions_digests_and_slow_statements_are_listed() {
    let api = Api::start().await;
    let mut sessions = api.client().await.sessions();
    let ask = |node, limit| pb::ListSessionsRequest { node, user: String::new(), limit };
    let all = sessions.list(ask(0, 0)).await.unwrap().into_inner();
    assert_eq!(all.sessions.iter().map(|s| s.connection).collect::<Vec<_>>(), [17, 18, 9], "by node");
    let first = sessions.list(ask(1, 1)).await.unwrap().into_inner();
    assert_eq!((first.sessions.len(), first.total), (1, 2));
    let digests = pb::ListDigestsRequest::default();
    assert_eq!(sessions.list_digests(digests).await.unwrap().into_inner().digests[0].count, 1000);
    let slow = pb::ListSlowStatementsRequest::default();
    let slow = sessions.list_slow_statements(slow).await.unwrap().into_inner().statements;
    assert_eq!(slow[0].took.unwrap().seconds, 2);
}

#[tokio::test]
async fn config_tells_where_values_came_from() {
    let api = Api::start().await;
    let told =
        api.client().await.config().get_effective(pb::GetEffectiveRequest {}).await.unwrap().into_inner();
    assert_eq!(told.node, 2);
    let lines: Vec<String> =
        told.settings.iter().map(|s| format!("{}={} ({})", s.key, s.value, s.origin)).collect();
    assert_eq!(lines, ["node.id=2 (default)", "shard.balance=true (default)", "shard.count=4 (node.toml)"]);
}

#[tokio::test]
async fn what_is_not_available_may_be_asked_again() {
    let api = Api::start().await;
    api.fake.state().trouble = Some(ClusterError::Unavailable("shard 3 does not answer".to_owned()));
    let result = api.client().await.shards().list(pb::ListShardsRequest {}).await;
    let status = refused(result, Code::Unavailable, "UNAVAILABLE");
    let explained = assize_admin::explain(&status).unwrap();
    assert_eq!(explained.metadata["node"], "2");
    assert!(explained.retry_after.is_some());
    api.fake.state().trouble = Some(ClusterError::Internal("a defect".to_owned()));
    refused(api.client().await.shards().list(pb::ListShardsRequest {}).await, Code::Internal, "INTERNAL");
}
