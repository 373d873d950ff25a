//! What operators read. The calls themselves are tested where the admin API is.

use super::top::{Board, Rates, Sample, rates, text as frame_text};
use super::{At, Operate, conflicts, output, status};
use assize_admin::pb;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[derive(Parser, Debug)]
struct Line {
    #[command(subcommand)]
    command: Operate,
}

fn parse(line: &str) -> Result<Operate, String> {
    Line::try_parse_from(std::iter::once("assize").chain(line.split(' ')))
        .map(|line| line.command)
        .map_err(|e| e.kind().to_string())
}

#[test]
fn balancing_is_told_of_when_it_is_off_or_moves_something() {
    let balance =
        |is_on, moving: &str| pb::Balance { is_on, r#move: moving.into(), job_id: "balance-3".into() };
    let line = |is_on, moving| super::shards::balance_line(&balance(is_on, moving));
    assert_eq!(line(true, ""), None);
    assert_eq!(line(false, "").unwrap(), "balancing is off (shard.balance)");
    assert_eq!(line(true, "move s1 from n1 to n4").unwrap(), "balancing: move s1 from n1 to n4 (balance-3)");
}

#[test]
fn every_command_of_the_manual_is_understood() {
    Line::command().debug_assert();
    assert!(Operate::has_subcommand("status"));
    for line in [
        "status --admin 10.0.0.1:7406,10.0.0.2:7406 --output json",
        "members",
        "members list --token-file t --ca ca.pem",
        "members add 4",
        "members promote 4 --validate-only",
        "members remove 4 --force --request-id r1",
        "members transfer",
        "members transfer 2",
        "members drain 2 --admin 10.0.0.1:7406",
        "members drain 2 --force",
        "members undrain 2 --validate-only",
        "members verify",
        "shards",
        "shards list",
        "shards split 3 --at 100 --wait",
        "shards merge 4 3",
        "shards move 3 --from 1 --to 4",
        "shards add-replica 3 4",
        "shards remove-replica 3 1",
        "shards recover 3 --i-accept-data-loss",
        "shards watch",
        "shards watch split-3",
        "conflicts",
        "conflicts list --table shop.stock --limit 5",
        "conflicts show c-7f3a",
        "conflicts watch --table shop.stock",
        "conflicts hot",
        "txn",
        "txn get 1/17",
        "txn kill 1/17 --validate-only",
        "txn outcome 00000000000000000000000000000001",
        "sessions",
        "sessions list --node 2 --user app",
        "sessions kill 1/17 --query",
        "sessions digests",
        "sessions slow --limit 3",
        "schema",
        "schema databases",
        "schema tables shop",
        "schema jobs --running",
        "top --once",
    ] {
        parse(line).unwrap_or_else(|e| panic!("assize {line}: {e}"));
    }
    for line in ["members add", "txn kill 17", "shards move 3 --from 1", "top --interval 0", "status now"] {
        assert!(parse(line).is_err(), "assize {line}");
    }
    let matches = Line::command().try_get_matches_from(["assize", "members", "remove", "7"]).unwrap();
    let line = Line::from_arg_matches(&matches).unwrap();
    assert!(format!("{:?}", line.command).contains("force: false"));
}

#[test]
fn connections_are_named_as_lists_print_them() {
    assert_eq!("1/17".parse(), Ok(At { node: 1, connection: 17 }));
    assert!("17".parse::<At>().is_err());
    assert!("a/b".parse::<At>().is_err());
}

#[test]
fn status_says_what_is_wrong_and_what_to_do() {
    let finding = pb::Finding {
        severity: pb::Severity::Warning.into(),
        subject: "node 3".to_owned(),
        what: "does not answer".to_owned(),
        advice: "start it".to_owned(),
    };
    let told = pb::DiagnoseResponse {
        health: pb::Health::Degraded.into(),
        summary: "clients are served".to_owned(),
        findings: vec![finding],
    };
    let expected = "degraded: clients are served\n\nwarning: node 3: does not answer\n    do: start it";
    assert_eq!(status::text(&told, false), expected);
    assert!(status::text(&told, true).starts_with("\x1b[1;33mdegraded\x1b[0m: "));
}

#[test]
fn sizes_are_read_at_a_glance() {
    let shown: Vec<String> = [0, 1023, 1024, 3 << 20, 5 << 40].map(output::bytes).into();
    assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "3.0 MiB", "5.0 TiB"]);
}

fn conflict() -> pb::Conflict {
    let side = |txn: &str, user: &str, statement: &str| pb::ConflictSide {
        txn: txn.to_owned(),
        node: 1,
        connection: 17,
        user: user.to_owned(),
        statements: vec![statement.to_owned()],
        age: None,
    };
    pb::Conflict {
        id: "c-7f3a".to_owned(),
        kind: "conflict".to_owned(),
        table: "shop.stock".to_owned(),
        index: "PRIMARY".to_owned(),
        key: "(42)".to_owned(),
        loser: Some(side("06831141b1ec0000100000100000004d", "app@10.0.0.7", "update `stock`")),
        winner: Some(side("06831141b1ec0000100000100000004c", "", "delete from `stock`")),
        ..Default::default()
    }
}

#[test]
fn a_conflict_is_told_with_both_sides() {
    let expected = "- c-7f3a conflict on shop.stock PRIMARY (42): 06831141b1ec0000100000100000004d (app@10.0.0.7) lost to 06831141b1ec0000100000100000004c\n\
        loser: transaction 06831141b1ec0000100000100000004d on node 1, connection 17\n    update `stock`\n\
        winner: transaction 06831141b1ec0000100000100000004c on node 1, connection 17\n    delete from `stock`";
    assert_eq!(conflicts::text(&conflict()), expected);
}

fn traffic(node: u64, commits: u64) -> pb::Traffic {
    let at = pb::Traffic::default().at.unwrap_or_default();
    let mut traffic =
        pb::Traffic { node, commits, statements: commits * 4, aborts: 0, connections: 2, at: Some(at) };
    // A second for each thousand commits.
    traffic.at = Some(at).map(|mut at| {
        at.seconds = (commits / 1000) as i64;
        at
    });
    traffic
}

#[test]
fn what_is_known_only_roughly_is_not_told_as_if_it_were_known_well() {
    let last =
        |conflict: &pb::Conflict| conflicts::text(conflict).lines().last().unwrap_or_default().to_owned();
    let mut three = conflict().committed_before.unwrap_or_default();
    three.seconds = 3;
    let well = pb::Conflict { committed_before: Some(three), ..conflict() };
    assert_eq!(last(&well), format!("the winner had committed {three} before"));
    let roughly = pb::Conflict { committed_before_at_most: Some(three), ..conflict() };
    assert_eq!(last(&roughly), format!("the winner had committed at most {three} before"));
}

#[test]
fn a_transaction_that_nobody_knows_is_not_told_as_one_that_was_aborted() {
    let aborted = pb::GetOutcomeResponse {
        outcome: pb::Outcome::Aborted.into(),
        abort_reason: "its frontend had been replaced".to_owned(),
        ..Default::default()
    };
    assert_eq!(super::txn::outcome(&aborted), "aborted: its frontend had been replaced");
    let not_known = pb::GetOutcomeResponse {
        abort_reason: "no such transaction is known".to_owned(),
        is_not_known: true,
        ..aborted
    };
    assert_eq!(super::txn::outcome(&not_known), "not committed: no such transaction is known");
}

#[test]
fn lists_name_the_nodes_that_did_not_answer() {
    assert_eq!(output::silence_line(&[]), None);
    assert_eq!(output::silence_line(&[1]).unwrap(), "node 1 did not answer: what it knows is missing");
    let two = output::silence_line(&[1, 3]).unwrap();
    assert_eq!(two, "nodes 1, 3 did not answer: what they know is missing");
}

#[test]
fn what_was_not_compared_does_not_exit_as_equal() {
    use pb::Verified;
    let codes = [Verified::Unspecified, Verified::Equal, Verified::Differ, Verified::Incomplete];
    assert_eq!(codes.map(super::members::code), [0, 0, 1, 2]);
}

#[test]
fn rates_leave_out_nodes_that_began_anew() {
    let before = [traffic(1, 1000), traffic(2, 9000)];
    let now = [traffic(1, 3000), traffic(2, 0), traffic(3, 5000)];
    assert_eq!(rates(&before, &now), Rates { commits: 1000.0, aborts: 0.0, statements: 4000.0 });
    assert_eq!(rates(&now, &now), Rates::default(), "no time has passed");
}

#[test]
fn a_frame_shows_rates_nodes_shards_and_conflicts() {
    let sample = |commits| Sample {
        diagnosis: pb::DiagnoseResponse {
            health: pb::Health::Healthy.into(),
            summary: "1 node, 1 shard, node 1 leads".to_owned(),
            findings: vec![],
        },
        members: vec![pb::Member {
            node: 1,
            is_reachable: true,
            zone: "a".to_owned(),
            member_role: pb::MemberRole::Leader.into(),
            ..Default::default()
        }],
        shards: vec![pb::Shard {
            shard: 1,
            slots: vec![pb::SlotRange { first: 0, last: 65_535 }],
            replicas: vec![pb::Replica { node: 1, state: "following".to_owned(), ..Default::default() }],
            ..Default::default()
        }],
        traffic: vec![traffic(1, commits)],
        transactions: 3,
        conflicts: vec![conflict()],
    };
    let mut board = Board::default();
    board.show(sample(1000));
    assert!(frame_text(&board, 100).contains("measuring"));
    board.show(sample(3000));
    let text = frame_text(&board, 100);
    for part in [
        "healthy: 1 node, 1 shard, node 1 leads",
        "1000 commits/s  0 aborts/s  4000 statements/s  2 connections  3 open transactions",
        "0-65535",
        "n1 following -",
        "c-7f3a conflict on shop.stock",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let frame = serde_json::to_value(board.frame().unwrap()).unwrap();
    assert_eq!((&frame["rates"]["commits"], &frame["members"][0]["node"]), (&1000.0.into(), &1.into()));
    assert_eq!(frame["diagnosis"]["health"], "healthy");
    let mut lines = text.lines();
    assert!(lines.all(|line| line.chars().count() <= 100 && line.trim_end() == line));
    board.problem = Some("connection refused".to_owned());
    assert!(frame_text(&board, 100).starts_with("no answer: connection refused"));
}
