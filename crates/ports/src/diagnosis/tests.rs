use super::*;
use crate::{MemberRole, Rebuff, RebuffCause, ReplicaInfo, StuckBranch};

/// Three nodes that do everything, and so many shards with a replica on each of them.
fn cluster(shards: u32) -> (Members, Vec<ShardInfo>) {
    let roles = [MemberRole::Leader, MemberRole::Voter, MemberRole::Voter];
    let members = Members {
        cluster: 7,
        cluster_version: 1,
        leader: Some(1),
        members: (1..).zip(roles).map(|(node, role)| member(node, role)).collect(),
        replicas_wanted: 3,
        replicas_founded: 3,
    };
    let width = Slot::COUNT / shards;
    let slots = |n: u32| ((n * width) as u16, ((n + 1) * width - 1) as u16);
    let shard = |n| ShardInfo {
        shard: n + 1,
        epoch: 1,
        slots: vec![slots(n)],
        replicas: (1..=3).map(replica).collect(),
        bytes: 1 << 20,
    };
    (members, (0..shards).map(shard).collect())
}

fn member(node: u64, member_role: MemberRole) -> MemberInfo {
    MemberInfo {
        node,
        peer_address: format!("db{node}:7407"),
        admin_address: String::new(),
        mysql_address: format!("db{node}:3406"),
        roles: vec!["adjudicator".into(), "shard".into(), "frontend".into()],
        zone: String::new(),
        version: "0.1.0".into(),
        member_role,
        is_reachable: true,
        applied_index: 9,
        log_index: 9,
        term: 1,
        state_hash: 0,
        hash_index: 0,
        uptime_millis: 1,
        disk_free_bytes: Some(1 << 40),
        trouble: String::new(),
        is_draining: false,
        replicas: 1,
        cluster_version_max: 1,
        strains: Vec::new(),
        is_in_memory: false,
        certificate: None,
        is_removed: false,
        rebuff: None,
        stalled_millis: 0,
    }
}

fn replica(node: u64) -> ReplicaInfo {
    ReplicaInfo {
        replica: node as u8,
        node,
        counts: true,
        is_learning: false,
        durable_index: 9,
        lag_millis: Some(1),
        state: "following".into(),
    }
}

/// Nodes that do not answer any more, nor their replicas.
fn stop(members: &mut Members, shards: &mut [ShardInfo], nodes: &[u64]) {
    members.members.iter_mut().filter(|m| nodes.contains(&m.node)).for_each(|m| m.is_reachable = false);
    let replicas = shards.iter_mut().flat_map(|shard| &mut shard.replicas);
    replicas.filter(|r| nodes.contains(&r.node)).for_each(|r| r.lag_millis = None);
}

/// Health and findings, a line each: `warning | node 1 | what | advice`.
fn told(members: &Members, shards: &[ShardInfo]) -> (Health, Vec<String>) {
    told_with(members, shards, &ForeignTroubles::default())
}

fn told_with(members: &Members, shards: &[ShardInfo], foreign: &ForeignTroubles) -> (Health, Vec<String>) {
    let told = diagnose(&Ok(members.clone()), &Ok(shards.to_vec()), &[], foreign);
    let line = |f: &Finding| format!("{} | {} | {} | {}", f.severity.name(), f.subject, f.what, f.advice);
    (told.health, told.findings.iter().map(line).collect())
}

#[track_caller]
fn check(told: &(Health, Vec<String>), health: Health, lines: &[&str]) {
    assert_eq!(told.0, health, "{told:#?}");
    assert_eq!(told.1.len(), lines.len(), "{told:#?}");
    for (line, begins) in told.1.iter().zip(lines) {
        assert!(line.starts_with(begins), "{line:?} does not begin with {begins:?}");
    }
}

#[test]
fn foreign_servers_that_are_away_and_branches_that_stay_prepared_are_told() {
    let (members, shards) = cluster(2);
    let branch = StuckBranch { server: "Legacy".into(), branch: "'assize-1','2',3".to_owned(), seconds: 41 };
    let mut troubles = ForeignTroubles { stuck: vec![branch], ..ForeignTroubles::default() };
    let prepared = "warning | foreign server Legacy | branch 'assize-1','2',3 stays prepared, for 41 s: its rows are locked there | \
                    find the connection there";
    check(&told_with(&members, &shards, &troubles), Health::Degraded, &[prepared]);
    troubles.stuck.clear();
    for (unheard, words) in [
        (0, "fail |"),
        (1, "fail; a committed transaction may wait for it |"),
        (2, "fail; 2 committed transactions may wait for it |"),
    ] {
        troubles.away = vec![("Legacy".into(), "connection refused".to_owned())];
        troubles.unheard = unheard;
        let away = format!(
            "warning | foreign server Legacy | cannot be used: connection refused; statements that need it {words} start it"
        );
        check(&told_with(&members, &shards, &troubles), Health::Degraded, &[&away]);
    }
}

#[test]
fn shards_with_fewer_replicas_than_wanted_are_told_together() {
    let (mut members, mut shards) = cluster(8);
    check(&told(&members, &shards), Health::Healthy, &[]);
    for shard in &mut shards[..7] {
        shard.replicas.pop();
    }
    let made = "warning | shards 1, 2, 3, 4, 5 and 2 more | 2 of 3 wanted replicas | another is made anew elsewhere by itself";
    check(&told(&members, &shards), Health::Degraded, &[made]);
    shards[7].replicas[2].is_learning = true;
    let copied = "warning | shard 8 | 2 of 3 wanted replicas | another is being made by itself";
    let copying = "note | shard 8 | its replica on node 3 is still copying";
    check(&told(&members, &shards), Health::Degraded, &[copied, made, copying]);
    shards.truncate(1);
    shards[0].slots = vec![(0, u16::MAX)];
    shards[0].replicas.pop();
    let last = "critical | shard 1 | 1 of 3 wanted replicas: if its disk is lost, so are the rows | another is made anew";
    check(&told(&members, &shards), Health::Degraded, &[last]);
    members.members[1].disk_free_bytes = Some(1 << 20);
    members.members[2].roles.retain(|role| role != "shard");
    assert!(
        told(&members, &shards).1.iter().any(|l| l.contains("no node to put another on: start or add one"))
    );
}

#[test]
fn fewer_nodes_than_the_setting_asks_for_are_a_note_unless_there_were_more() {
    let (mut members, mut shards) = cluster(1);
    members.members.truncate(1);
    shards[0].replicas.truncate(1);
    members.replicas_founded = 1;
    check(&told(&members, &shards), Health::Healthy, &[]);
    // After a recovery from a lost quorum: it was founded with three.
    members.replicas_founded = 3;
    let last = "critical | shard 1 | 1 of 3 wanted replicas: if its disk is lost, so are the rows | there is no node";
    check(&told(&members, &shards), Health::Degraded, &[last]);
    // It was founded with one, and another has joined.
    members.replicas_founded = 1;
    members.members.push(member(2, MemberRole::Learner));
    let alone = "note | cluster | one node alone decides";
    let asked = "note | cluster | shard.replicas asks for 3 replicas, and the nodes that can hold them are 2";
    shards[0].replicas.push(replica(2));
    check(&told(&members, &shards), Health::Healthy, &[alone, asked]);
}

#[test]
fn a_dead_node_is_one_finding_however_many_shards_miss_it() {
    let (mut members, mut shards) = cluster(8);
    stop(&mut members, &mut shards, &[3]);
    let reserve = "warning | cluster | 2 of 3 voters answer";
    let node = "warning | node 3 | does not answer at db3:7407; shards 1, 2, 3, 4, 5 and 3 more have replicas on it | start \
                it; if it is lost for good: assize members remove 3 --force";
    check(&told(&members, &shards), Health::Degraded, &[reserve, node]);
}

#[test]
fn without_a_majority_nothing_is_advised_that_needs_one() {
    let (mut members, mut shards) = cluster(2);
    shards[1].replicas.reverse();
    stop(&mut members, &mut shards, &[2, 3]);
    members.leader = None;
    let told_now = told(&members, &shards);
    let voters = "critical | cluster | 1 of 3 voters answer, 2 are needed";
    let unprepared =
        "critical | shards 1, 2 | 1 of 3 replicas answer, 2 are needed to prepare | start nodes 2, 3";
    let node = |n| {
        format!(
            "warning | node {n} | does not answer at db{n}:7407; shards 1, 2 have replicas on it | start it: "
        )
    };
    check(&told_now, Health::Unavailable, &[voters, unprepared, &node(2), &node(3)]);
    let all = told_now.1.join("\n");
    for impossible in ["members remove", "shards recover", "go on meanwhile"] {
        assert!(!all.contains(impossible), "{all}");
    }
    // With a majority it is possible: other nodes hold the shards.
    for node in [4, 5] {
        let voter = MemberInfo { roles: vec!["adjudicator".into()], ..member(node, MemberRole::Voter) };
        members.members.push(MemberInfo { mysql_address: String::new(), ..voter });
    }
    members.leader = Some(4);
    let all = told(&members, &shards[..1]).1.join("\n");
    assert!(all.contains("if they are lost for good: assize shards recover 1"), "{all}");
}

#[test]
fn nobody_is_told_to_start_a_node_that_was_removed() {
    let (mut members, mut shards) = cluster(1);
    stop(&mut members, &mut shards, &[2]);
    members.members.remove(1);
    let nowhere =
        "warning | shard 1 | 2 of 3 wanted replicas | there is no node to put another on: start or add one";
    let reserve = "warning | cluster | 2 of 2 voters answer";
    check(&told(&members, &shards), Health::Degraded, &[reserve, nowhere]);
    members.members.push(member(4, MemberRole::Voter));
    let made = "warning | shard 1 | 2 of 3 wanted replicas | what was on node 2, which the cluster has removed, is made \
                anew elsewhere";
    check(&told(&members, &shards), Health::Degraded, &[made]);
}

#[test]
fn a_replica_that_is_silent_on_a_node_that_answers_is_told_of_that_node() {
    let (members, mut shards) = cluster(2);
    shards.iter_mut().for_each(|shard| shard.replicas[2].lag_millis = None);
    let node =
        "warning | node 3 | has no answer from its replica of shards 1, 2 | one that starts takes a moment";
    check(&told(&members, &shards), Health::Degraded, &[node]);
}

#[test]
fn a_drained_voter_is_taken_out_before_it_is_stopped() {
    let (mut members, mut shards) = cluster(1);
    members.members.push(member(4, MemberRole::Voter));
    members.members[0].is_draining = true;
    shards[0].replicas[0].node = 4;
    let drained = "note | node 1 | is drained: it holds no replicas and takes no connections | take it out: assize members \
                   remove 1, then stop it";
    let (health, lines) = told(&members, &shards);
    assert!(health == Health::Healthy && lines.iter().any(|line| line.starts_with(drained)), "{lines:#?}");
}

#[test]
fn certificates_are_told_of_before_they_expire_and_when_they_have() {
    let (mut members, mut shards) = cluster(1);
    let mut with = |setting: &str, days: i64| {
        let seconds_left = days * 24 * 60 * 60;
        members.members[0].certificate = Some(CertificateInfo { setting: setting.into(), seconds_left });
        told(&members, &shards)
    };
    check(&with("peers.tls_certificate", 15), Health::Healthy, &[]);
    let soon = "warning | node 1 | its certificate (peers.tls_certificate) expires in 13 days | assize cert node 1, and copy";
    check(&with("peers.tls_certificate", 13), Health::Degraded, &[soon]);
    let authority =
        "warning | node 1 | its certificate (peers.tls_ca) expires in 3 days | make a new authority";
    check(&with("peers.tls_ca", 3), Health::Degraded, &[authority]);
    with("peers.tls_certificate", -2);
    // Nobody answers who refuses it: nothing is lost.
    stop(&mut members, &mut shards, &[2, 3]);
    let (_, lines) = told(&members, &shards);
    assert!(
        lines[0].contains("replace the certificate of node 1 first, and those of nodes 2, 3"),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|l| l.contains("(peers.tls_certificate) expired 2 days ago")), "{lines:#?}");
    assert!(!lines.join("").contains("Quorum is lost"), "{lines:#?}");
}

#[test]
fn a_node_that_keeps_its_data_in_memory_is_noted() {
    let (mut members, shards) = cluster(1);
    members.members[0].is_in_memory = true;
    check(&told(&members, &shards), Health::Healthy, &["note | node 1 | keeps its data in memory"]);
}

#[test]
fn a_node_that_was_removed_says_that_and_nothing_else() {
    let (mut members, mut shards) = cluster(1);
    stop(&mut members, &mut shards, &[1, 2]);
    members.members[2].is_removed = true;
    members.leader = None;
    let removed = "critical | node 3 | is no longer a member of the cluster, and still runs | stop it";
    check(&told(&members, &shards), Health::Unavailable, &[removed]);
}

/// A node that starts and that nobody has let in; it knows these founders beside itself, none of which answers.
fn outside(cause: RebuffCause, what: &str, founders: &[u64]) -> Members {
    let rebuff = Some(Rebuff { cause, what: what.into(), seconds: 40 });
    let missing = |node: &u64| MemberInfo {
        is_reachable: false,
        peer_address: String::new(),
        ..member(*node, MemberRole::None)
    };
    let own = MemberInfo { rebuff, ..member(4, MemberRole::None) };
    let (members, _) = cluster(1);
    let members_are = founders.iter().map(missing).chain([own]).collect();
    Members { cluster: 0, leader: None, members: members_are, ..members }
}

#[test]
fn a_node_that_is_not_let_in_says_why_and_what_to_do() {
    let told_of = |cause, what: &str| told(&outside(cause, what, &[]), &[]);
    let token = "critical | node 4 | the cluster has not let it in, for 40 s: the join token is wrong | `cluster.join_token_file` has";
    check(&told_of(RebuffCause::Token, "the join token is wrong"), Health::Unavailable, &[token]);
    let certificate = "critical | node 4 | the cluster has not let it in, for 40 s: UnknownIssuer | `peers.tls_ca` has to name the same";
    let told_so = told_of(RebuffCause::Certificate, "UnknownIssuer");
    check(&told_so, Health::Unavailable, &[certificate]);
    assert!(told_so.1[0].contains("assize cert node 4"), "{told_so:?}");
    let silence = "critical | node 4 | the cluster has not let it in, for 40 s: n1: refused | start the nodes that `cluster.join`";
    check(&told_of(RebuffCause::Silence, "n1: refused"), Health::Unavailable, &[silence]);
    let refusal = "critical | node 4 | the cluster has not let it in, for 40 s: another cluster | look at what `cluster.join`";
    check(&told_of(RebuffCause::Refusal, "another cluster"), Health::Unavailable, &[refusal]);
    let waits = "critical | cluster | this node belongs to no cluster yet";
    check(&told_of(RebuffCause::Leaderless, "no node leads"), Health::Unavailable, &[waits]);
}

#[test]
fn founders_that_do_not_answer_are_named_with_what_was_heard_of_them() {
    let silent = outside(RebuffCause::Silence, "n2 cannot be reached: refused", &[2, 3]);
    let line = "critical | cluster | there is no cluster yet: nodes 2, 3 do not answer (n2 cannot be reached: refused) | start nodes";
    check(&told(&silent, &[]), Health::Unavailable, &[line]);
    let stranger = outside(RebuffCause::Certificate, "UnknownIssuer", &[2, 3]);
    check(&told(&stranger, &[]), Health::Unavailable, &["critical | node 4 | the cluster has not let it in"]);
}

#[test]
fn a_member_that_is_not_let_in_again_is_told_of_by_the_others_too() {
    let (mut members, shards) = cluster(1);
    let rebuff = |cause| Some(Rebuff { cause, what: "UnknownIssuer".into(), seconds: 40 });
    members.members[2].rebuff = rebuff(RebuffCause::Leaderless);
    check(&told(&members, &shards), Health::Healthy, &[]);
    members.members[2].rebuff = rebuff(RebuffCause::Certificate);
    let line = "warning | node 3 | the cluster has not let it in, for 40 s: UnknownIssuer";
    check(&told(&members, &shards), Health::Degraded, &[line]);
}

#[test]
fn entries_that_come_through_to_nobody_are_told_with_those_that_lack_them() {
    let (mut members, shards) = cluster(1);
    members.members[0].stalled_millis = STALLED_MILLIS_MAX;
    check(&told(&members, &shards), Health::Healthy, &[]);
    (members.members[0].stalled_millis, members.members[0].log_index) = (12_345, 11);
    let line = "critical | cluster | the newest entries of node 1's log have come through to no majority for 12 s, though voters \
                answer: nothing commits; nodes 2, 3 have not written them | look at disk and log of nodes 2, 3";
    check(&told(&members, &shards), Health::Unavailable, &[line]);
    members.members[1].log_index = 11;
    let line = "critical | cluster | the newest entries of node 1's log have come through to no majority for 12 s, though voters \
                answer: nothing commits; node 3 has not written them | look at disk and log of node 3";
    check(&told(&members, &shards), Health::Unavailable, &[line]);
}
