//! Every call that changes something: what it does, once, and what the audit log says.

use crate::{Api, refused};
use assize_admin::pb;
use assize_ports::{Action, ClusterError};
use tonic::Code;

#[tokio::test]
async fn every_mutation_does_what_it_says() {
    let api = Api::start().await;
    let client = api.client().await;
    let (mut cluster, mut shards) = (client.cluster(), client.shards());
    let (mut transactions, mut sessions) = (client.transactions(), client.sessions());

    cluster.transfer_leadership(pb::TransferLeadershipRequest { to: 3, ..Default::default() }).await.unwrap();
    cluster.transfer_leadership(pb::TransferLeadershipRequest::default()).await.unwrap();
    cluster.add_learner(pb::AddLearnerRequest { node: 4, ..Default::default() }).await.unwrap();
    cluster.promote_member(pb::PromoteMemberRequest { node: 4, ..Default::default() }).await.unwrap();
    cluster
        .remove_member(pb::RemoveMemberRequest { node: 1, force: true, ..Default::default() })
        .await
        .unwrap();
    cluster.verify_replicas(pb::VerifyReplicasRequest::default()).await.unwrap();
    cluster.drain_node(pb::DrainNodeRequest { node: 3, ..Default::default() }).await.unwrap();
    let split = pb::SplitRequest { shard: 1, at: Some(99), ..Default::default() };
    let done = shards.split(split).await.unwrap().into_inner();
    assert_eq!((done.job_id.as_str(), done.was_validate_only), ("split-1", false));
    shards.merge(pb::MergeRequest { from: 4, into: 3, ..Default::default() }).await.unwrap();
    shards
        .move_replica(pb::MoveReplicaRequest { shard: 2, from: 1, to: 4, ..Default::default() })
        .await
        .unwrap();
    shards.add_replica(pb::AddReplicaRequest { shard: 3, node: 4, ..Default::default() }).await.unwrap();
    shards
        .remove_replica(pb::RemoveReplicaRequest { shard: 3, node: 1, ..Default::default() })
        .await
        .unwrap();
    let kill = pb::KillTransactionRequest { node: 1, connection: 17, ..Default::default() };
    transactions.kill(kill).await.unwrap();
    let kill = pb::KillSessionRequest { node: 1, connection: 18, query_only: true, ..Default::default() };
    sessions.kill(kill).await.unwrap();

    let expected = [
        Action::TransferLeadership { to: Some(3) },
        Action::TransferLeadership { to: None },
        Action::AddLearner { node: 4 },
        Action::Promote { node: 4 },
        Action::RemoveMember { node: 1, force: true },
        Action::VerifyReplicas,
        Action::Drain { node: 3, force: false },
        Action::Split { shard: 1, at: Some(99) },
        Action::Merge { from: 4, into: 3 },
        Action::MoveReplica { shard: 2, from: 1, to: 4 },
        Action::AddReplica { shard: 3, node: 4 },
        Action::RemoveReplica { shard: 3, node: 1 },
        Action::KillSession { node: 1, connection: 17, query_only: false },
        Action::KillSession { node: 1, connection: 18, query_only: true },
    ];
    let acts = api.fake.state().acts.clone();
    assert_eq!(acts, expected.map(|action| (action, "local".to_owned())));
    let audited = api.audited();
    assert_eq!(audited.len(), 2 * acts.len(), "asked and done: {audited:#?}");
    assert_eq!(audited[0], "asked local Cluster.TransferLeadership");
    assert_eq!(audited[1], "done local Cluster.TransferLeadership node 3 leads");
}

#[tokio::test]
async fn validate_only_changes_nothing_and_says_whether_it_could_be_done() {
    let api = Api::start().await;
    let mut shards = api.client().await.shards();
    let split = |shard| pb::SplitRequest { shard, validate_only: true, ..Default::default() };
    let done = shards.split(split(1)).await.unwrap().into_inner();
    assert!(done.was_validate_only);
    assert_eq!(done.text, "splits shard 1 at slot 8192");
    refused(shards.split(split(9)).await, Code::NotFound, "NOT_FOUND");
    assert_eq!(api.fake.state().acts, []);
    assert_eq!(api.fake.state().shards.len(), 4);
    let lines = [
        "validated local Shards.Split splits shard 1 at slot 8192",
        "validated local Shards.Split there is no shard 9",
    ];
    assert_eq!(api.audited(), lines);
}

#[tokio::test]
async fn a_request_id_is_acted_upon_once() {
    let api = Api::start().await;
    let client = api.client().await;
    let mut shards = client.shards();
    let split = |shard: u32, request_id: &str| pb::SplitRequest {
        shard,
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    let first = shards.split(split(1, "deploy-7")).await.unwrap().into_inner();
    let second = shards.split(split(1, "deploy-7")).await.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!(api.fake.state().acts.len(), 1);
    assert_eq!(api.audited().last().unwrap(), "repeated local Shards.Split splits shard 1 at slot 8192");

    refused(shards.split(split(2, "deploy-7")).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    refused(shards.split(split(2, &"x".repeat(129))).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    shards.split(split(2, "deploy-8")).await.unwrap();
    shards.split(split(2, "")).await.unwrap();
    assert_eq!(api.fake.state().acts.len(), 3, "another name, and none, are other requests");
}

#[tokio::test]
async fn two_copies_of_a_request_at_once_are_one() {
    let api = Api::start().await;
    let client = api.client().await;
    let drain = || async {
        let request = pb::DrainNodeRequest { node: 1, request_id: "d".to_owned(), ..Default::default() };
        client.cluster().drain_node(request).await.unwrap().into_inner()
    };
    let answers = tokio::join!(drain(), drain(), drain());
    assert!(answers.0 == answers.1 && answers.1 == answers.2);
    assert_eq!(api.fake.state().acts.len(), 1);
}

#[tokio::test]
async fn what_failed_may_be_tried_again_under_its_name() {
    let api = Api::start().await;
    let mut cluster = api.client().await.cluster();
    let drain = || pb::DrainNodeRequest { node: 1, request_id: "d".to_owned(), ..Default::default() };
    api.fake.state().trouble = Some(ClusterError::Unavailable("no answer from the leader".to_owned()));
    refused(cluster.drain_node(drain()).await, Code::Unavailable, "UNAVAILABLE");
    api.fake.state().trouble = None;
    cluster.drain_node(drain()).await.unwrap();
    let outcomes = api.audited();
    assert_eq!(outcomes[1], "failed local Cluster.DrainNode no answer from the leader");
    assert_eq!(outcomes[3], "done local Cluster.DrainNode node 1 drains");
}

#[tokio::test]
async fn errors_of_what_the_leader_does_name_the_leader() {
    let api = Api::start().await;
    let mut cluster = api.client().await.cluster();
    let add = |node| pb::AddLearnerRequest { node, ..Default::default() };
    let status = refused(cluster.add_learner(add(1)).await, Code::FailedPrecondition, "REFUSED");
    assert_eq!(status.message(), "node 1 is a member already (the leader is node 2)");
    let explained = assize_admin::explain(&status).unwrap();
    assert_eq!((explained.metadata["leader"].as_str(), explained.retry_after), ("2", None));

    api.fake.state().members.leader = None;
    api.fake.state().trouble = Some(ClusterError::Unavailable("nobody leads".to_owned()));
    let status = refused(cluster.add_learner(add(4)).await, Code::Unavailable, "UNAVAILABLE");
    assert!(status.message().contains("there is no leader"), "{status:?}");
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused_and_audited() {
    let api = Api::start().await;
    let client = api.client().await;
    let drain = client.cluster().drain_node(pb::DrainNodeRequest::default()).await;
    let status = refused(drain, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(status.message(), "node is missing: nodes are numbered from 1");
    let mut shards = client.shards();
    let split = pb::SplitRequest { shard: 1, at: Some(65_536), ..Default::default() };
    refused(shards.split(split).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    let merge = pb::MergeRequest { from: 2, into: 2, ..Default::default() };
    refused(shards.merge(merge).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    let moved = pb::MoveReplicaRequest { shard: 1, from: 2, to: 2, ..Default::default() };
    refused(shards.move_replica(moved).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(api.fake.state().acts, []);
    assert_eq!(
        api.audited()[0],
        "refused local Cluster.DrainNode node is missing: nodes are numbered from 1"
    );
    assert_eq!(api.audited().len(), 4);
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_audited() {
    let api = Api::start().await;
    // A directory where the file should be.
    std::fs::create_dir(api.dir.path().join("audit.jsonl")).unwrap();
    let drain = pb::DrainNodeRequest { node: 1, ..Default::default() };
    let result = api.client().await.cluster().drain_node(drain).await;
    refused(result, Code::Internal, "AUDIT_LOG_FAILED");
    assert_eq!(api.fake.state().acts, []);
}
