#[path = "../../tests/fake/mod.rs"]
mod fake;

use super::raft_status;
use crate::pb::{self, Health};
use assize_ports::{
    Cause, ForeignTroubles, JobInfo, MemberInfo, MemberRole, Members, ROOM_MIN_BYTES, ShardInfo, Strain,
};
use fake::{Fake, State};

/// Breaks a healthy cluster and diagnoses it.
fn diagnosis(break_it: impl FnOnce(&mut State)) -> pb::DiagnoseResponse {
    let fake = Fake::new();
    let mut state = fake.state();
    break_it(&mut state);
    diagnose(&Ok(state.members.clone()), &Ok(state.shards.clone()), &state.jobs)
}

fn diagnose(
    members: &Result<Members, String>,
    shards: &Result<Vec<ShardInfo>, String>,
    jobs: &[JobInfo],
) -> pb::DiagnoseResponse {
    assize_ports::diagnose(members, shards, jobs, &ForeignTroubles::default()).into()
}

/// Checks health, and what the worst finding is about and says.
#[track_caller]
fn check(diagnosis: &pb::DiagnoseResponse, health: Health, subject: &str, what: &str) {
    assert_eq!(diagnosis.health(), health, "{diagnosis:?}");
    let worst = diagnosis.findings.first().expect("there is a finding");
    assert_eq!(worst.subject, subject, "{diagnosis:?}");
    assert!(worst.what.contains(what), "{:?} does not say {what:?}", worst.what);
    assert!(!worst.advice.is_empty());
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    let told = diagnosis(|_| {});
    assert_eq!(told.health(), Health::Healthy);
    assert_eq!(told.findings, []);
    assert_eq!(told.summary, "3 nodes, 4 shards, node 2 leads, cluster version 1");
}

#[test]
fn one_lost_voter_of_three_leaves_no_reserve() {
    let told = diagnosis(|s| s.member(3).unwrap().is_reachable = false);
    check(&told, Health::Degraded, "cluster", "2 of 3 voters answer: one more loss");
    assert!(
        told.findings.iter().any(|f| f.subject == "node 3" && f.advice.contains("members remove 3 --force"))
    );
}

#[test]
fn a_lost_majority_is_said_first() {
    let told = diagnosis(|s| {
        s.member(1).unwrap().is_reachable = false;
        s.member(3).unwrap().is_reachable = false;
        s.members.leader = None;
    });
    check(&told, Health::Unavailable, "cluster", "1 of 3 voters answer, 2 are needed");
    assert!(told.findings[0].advice.contains("start nodes 1, 3"), "{:?}", told.findings[0]);
}

#[test]
fn a_missing_leader_is_unavailability() {
    check(&diagnosis(|s| s.members.leader = None), Health::Unavailable, "cluster", "no node leads");
}

#[test]
fn a_learner_does_not_count_as_a_vote() {
    let told = diagnosis(|s| s.member(3).unwrap().member_role = MemberRole::Learner);
    check(&told, Health::Degraded, "cluster", "2 of 2 voters answer");
}

#[test]
fn different_hashes_at_one_index_are_critical_and_at_different_ones_nothing() {
    let told = diagnosis(|s| s.member(3).unwrap().state_hash = 1);
    check(&told, Health::Degraded, "cluster", "disagree about the state at log entry 4700");
    let told = diagnosis(|s| {
        let member = s.member(3).unwrap();
        (member.state_hash, member.hash_index) = (1, 4500);
    });
    assert_eq!(told.health(), Health::Healthy);
}

#[test]
fn a_draining_node_says_what_is_left_and_whether_it_can_go_anywhere() {
    let node_4 = |s: &mut State| {
        let fourth = MemberInfo { node: 4, member_role: MemberRole::Learner, ..s.member(3).unwrap().clone() };
        s.members.members.push(fourth);
        s.member(1).unwrap().is_draining = true;
    };
    let told = diagnosis(|s| s.member(1).unwrap().is_draining = true);
    check(
        &told,
        Health::Degraded,
        "node 1",
        "4 of 4 shards still have a replica on it, and 4 of them can go nowhere",
    );
    assert!(told.findings[0].advice.contains("add a node"), "{told:?}");
    let told = diagnosis(node_4);
    check(&told, Health::Healthy, "node 1", "is draining: 4 of 4 shards still have a replica on it");
    assert!(told.findings[0].advice.contains("members undrain 1"), "{told:?}");
    let told = diagnosis(|s| {
        node_4(s);
        s.member(4).unwrap().disk_free_bytes = Some(ROOM_MIN_BYTES - 1);
    });
    assert!(told.findings.iter().any(|f| f.what.contains("can go nowhere")), "{told:?}");
    let told = diagnosis(|s| {
        node_4(s);
        for shard in 1..=4 {
            s.replica(shard, 1).unwrap().node = 4;
        }
    });
    check(&told, Health::Healthy, "node 1", "is drained");
    let advice = "take it out: assize members remove 1, then stop it";
    assert!(told.findings[0].advice.starts_with(advice), "a voter that is stopped first is missed: {told:?}");
}

#[test]
fn who_holds_the_cluster_version_back_is_named() {
    let told = diagnosis(|s| {
        s.member(1).unwrap().cluster_version_max = 2;
        s.member(2).unwrap().cluster_version_max = 2;
    });
    check(
        &told,
        Health::Healthy,
        "cluster",
        "stays at version 1 because of node 3: nodes 1, 2 could do more",
    );
}

#[test]
fn nodes_in_trouble_are_named() {
    check(
        &diagnosis(|s| s.member(1).unwrap().trouble = "disk full".to_owned()),
        Health::Degraded,
        "node 1",
        "disk full",
    );
    check(
        &diagnosis(|s| s.member(1).unwrap().disk_free_bytes = Some(1 << 20)),
        Health::Degraded,
        "node 1",
        "1 MiB are free",
    );
    check(
        &diagnosis(|s| {
            s.member(2).unwrap().log_index = 50_000;
        }),
        Health::Degraded,
        "node 1",
        "45289 log entries behind",
    );
    let strain = Strain { cause: Cause::Log, figure: 900 << 20, bound: 768 << 20 };
    let strained = diagnosis(|s| s.member(3).unwrap().strains = vec![strain]);
    check(&strained, Health::Degraded, "node 3", "the log holds 900.0 MiB that replicas have not persisted");
    check(
        &diagnosis(|s| s.member(1).unwrap().version = "0.2.0".to_owned()),
        Health::Healthy,
        "cluster",
        "0.1.0, 0.2.0",
    );
}

#[test]
fn shards_are_judged_by_the_replicas_that_answer() {
    let silence = |s: &mut State, nodes: &[u64]| {
        for node in nodes {
            let replica = s.replica(2, *node).unwrap();
            (replica.lag_millis, replica.state) = (None, "unreachable".to_owned());
        }
    };
    check(
        &diagnosis(|s| silence(s, &[1])),
        Health::Degraded,
        "node 1",
        "no answer from its replica of shard 2",
    );
    check(&diagnosis(|s| silence(s, &[1, 3])), Health::Unavailable, "shard 2", "1 of 3 replicas answer");
    check(
        &diagnosis(|s| silence(s, &[1, 2, 3])),
        Health::Unavailable,
        "shard 2",
        "none of its replicas answers",
    );
    let halt = |s: &mut State| s.replica(1, 3).unwrap().state = "halted: a promise is broken".to_owned();
    check(&diagnosis(halt), Health::Degraded, "shard 1", "halted: a promise is broken");
    check(
        &diagnosis(|s| s.replica(1, 3).unwrap().lag_millis = Some(6000)),
        Health::Degraded,
        "shard 1",
        "6000 ms behind",
    );
    check(
        &diagnosis(|s| s.replica(1, 3).unwrap().is_learning = true),
        Health::Degraded,
        "shard 1",
        "2 of 3 wanted replicas",
    );
}

#[test]
fn slots_without_a_shard_and_failed_jobs_are_found() {
    check(
        &diagnosis(|s| {
            s.shards.pop();
        }),
        Health::Unavailable,
        "cluster",
        "49152 slots are placed",
    );
    let failed = |s: &mut State| s.jobs.push(fake::job("split-3", "split of shard 3", "failed: no space"));
    check(&diagnosis(failed), Health::Healthy, "job split-3", "split of shard 3 has failed: no space");
}

#[test]
fn what_was_done_in_another_try_is_no_failure_any_more() {
    let found = |others: Vec<JobInfo>| {
        let with = move |s: &mut State| {
            s.jobs = others;
            s.jobs.push(fake::job("move-1.3", "move s1 from n1 to n4", "failed: no space"));
        };
        diagnosis(with).findings.iter().filter(|finding| finding.subject.starts_with("job ")).count()
    };
    let later = |id: &str, what: &str, state: &str| {
        let job = fake::job(id, what, state);
        vec![JobInfo { began_micros: job.began_micros + 1, ..job }]
    };
    assert_eq!(found(later("move-2.1", "move s1 from n1 to n4", "done")), 0);
    assert_eq!(found(later("move-2.1", "move s2 from n1 to n4", "done")), 1);
    assert_eq!(found(later("care-2.1", "move s1 from n1 to n4", "done")), 1);
    assert_eq!(found(later("move-2.1", "move s1 from n1 to n4", "running")), 1);
    assert_eq!(found(vec![fake::job("move-1.2", "move s1 from n1 to n4", "done")]), 1, "it was before");
    let statement = fake::job("index-1.1", "builds index v of shop.stock", "failed: Duplicate entry");
    assert_eq!(found(vec![JobInfo { rows: Some(7), ..statement }]), 1, "its client was told");
}

#[test]
fn what_cannot_be_found_out_is_a_finding() {
    let told = diagnose(&Err("timed out".to_owned()), &Err("timed out".to_owned()), &[]);
    check(&told, Health::Unavailable, "cluster", "timed out");
    assert_eq!(told.findings.len(), 2);
}

#[test]
fn a_cluster_that_nobody_has_founded_yet_names_who_is_missing() {
    let told = diagnosis(|s| {
        (s.members.cluster, s.members.leader) = (0, None);
        s.members.members.iter_mut().for_each(|m| m.member_role = MemberRole::None);
        let missing = s.member(3).unwrap();
        (missing.is_reachable, missing.peer_address) = (false, String::new());
        s.shards.clear();
    });
    check(&told, Health::Unavailable, "cluster", "there is no cluster yet: node 3 does not answer");
    assert_eq!(told.findings.len(), 1, "nothing else is a finding then: {told:?}");
    assert!(told.findings[0].advice.contains("start node 3"), "{told:?}");
}

#[test]
fn a_frontend_that_hears_of_nobody_does_not_think_that_there_is_no_cluster() {
    let told = diagnosis(|s| {
        (s.members.cluster, s.members.leader) = (0, None);
        s.members.members.iter_mut().for_each(|m| m.member_role = MemberRole::None);
        [1, 2].iter().for_each(|node| s.member(*node).unwrap().is_reachable = false);
    });
    check(&told, Health::Unavailable, "cluster", "no node answers that knows who votes");
    assert!(told.findings[0].advice.contains("start nodes 1, 2"), "{told:?}");
}

#[test]
fn somebody_has_to_take_connections() {
    let drain = |s: &mut State, nodes: &[u64]| {
        nodes.iter().for_each(|node| s.member(*node).unwrap().is_draining = true);
    };
    let told = diagnosis(|s| drain(s, &[1, 2]));
    assert_eq!(told.health(), Health::Degraded, "{told:?}");
    let told = diagnosis(|s| drain(s, &[1, 2, 3]));
    check(&told, Health::Unavailable, "cluster", "no node takes connections");
    assert_eq!(told.findings[0].advice, "assize members undrain 1");
    let told = diagnosis(|s| {
        drain(s, &[1, 2]);
        s.member(3).unwrap().is_reachable = false;
    });
    check(&told, Health::Unavailable, "cluster", "no node takes connections");
}

#[test]
fn raft_status_counts_votes_and_reserve() {
    let fake = Fake::new();
    fake.state().member(1).unwrap().is_reachable = false;
    let status = raft_status(&fake.state().members);
    assert_eq!((status.leader, status.term, status.voters, status.voters_reachable), (2, 3, 3, 2));
    assert_eq!(status.failures_survived, 0);
    assert_eq!(status.members[1].entries_behind, 1);
}
