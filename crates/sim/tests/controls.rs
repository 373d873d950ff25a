//! Negative controls: each test switches one rule of the protocol off and wants to see an invariant break within some
//! seeds. A rule whose absence nobody notices is either needless or unguarded.

use assize_adjudicator::{Rule, Rules};
use assize_sim::{Scenario, run};

/// Runs seeds until one breaks, and returns what broke.
fn broken_within(seeds: u64, change: impl Fn(&mut Scenario)) -> Option<String> {
    (0..seeds).find_map(|seed| {
        let mut scenario = Scenario::of_seed(seed);
        change(&mut scenario);
        let result = std::panic::catch_unwind(|| run(&scenario).1);
        match result {
            Ok(Ok(())) => None,
            Ok(Err(violation)) => Some(violation.to_string()),
            // An assertion of a core is as good as a checker.
            Err(_) => Some("a core stopped itself".to_string()),
        }
    })
}

#[track_caller]
fn must_break(seeds: u64, expected: &[&str], change: impl Fn(&mut Scenario)) {
    let broken = broken_within(seeds, change);
    let broken = broken.expect("without the rule something must break");
    assert!(
        expected.is_empty() || expected.iter().any(|name| broken.starts_with(name)),
        "something else broke: {broken}"
    );
}

/// A world in which commits arrive late.
fn stragglers(scenario: &mut Scenario) {
    scenario.faults.straggle = 60;
    scenario.faults.straggle_millis = 15_000;
    scenario.prepared = 800;
    scenario.short_deadline = 800;
}

#[test]
fn without_r1_something_breaks() {
    must_break(400, &[], |scenario| {
        stragglers(scenario);
        scenario.without = Rules::only(Rule::R1);
    });
}

#[test]
fn without_r2_something_breaks() {
    let expected = ["every_prepare_past_its_deadline_is_refused", "nothing_in_doubt_after_healing"];
    must_break(200, &expected, |scenario| {
        stragglers(scenario);
        scenario.without_in_store.insert(assize_mvcc::Rule::R2);
    });
}

#[test]
fn without_the_epoch_check_of_receipts_something_breaks() {
    let expected = [
        "no_commit_without_votes_or_inline_writes",
        "no_intent_deleted_before_its_version_is_durable_everywhere",
        // What only some replicas have promised only some replicas have.
        "replicas_agree_at_equal_snapshots",
    ];
    must_break(400, &expected, |scenario| {
        scenario.prepared = 1000;
        scenario.faults.epoch_raise = 20;
        scenario.faults.stroke_millis = 300;
        scenario.without = Rules::only(Rule::PlacementEpoch);
    });
}

#[test]
fn without_the_bound_of_closed_timestamps_something_breaks() {
    let expected = ["no_commit_at_or_below_an_issued_snapshot", "commit_ts_unique_and_rising"];
    must_break(200, &expected, |scenario| {
        scenario.faults.leader_change = 20;
        scenario.faults.stroke_millis = 800;
        scenario.without = Rules::only(Rule::ClosedBound);
    });
}

#[test]
fn leaders_that_go_by_their_wall_clocks_alone_break_something() {
    must_break(100, &["nothing_in_doubt_after_healing"], |scenario| {
        scenario.faults.clock_step = 10;
        scenario.faults.leader_change = 10;
        scenario.faults.frontend_crash = 5;
        scenario.faults.stroke_millis = 1_000;
        scenario.prepared = 1_000;
        scenario.wall_clocks_alone = true;
    });
}

#[test]
fn without_deduplication_something_breaks() {
    must_break(200, &[], |scenario| {
        scenario.faults.loss = 60;
        scenario.without = Rules::only(Rule::Deduplication);
    });
}

#[test]
fn without_lazy_intent_deletion_something_breaks() {
    let expected = ["no_intent_deleted_before_its_version_is_durable_everywhere"];
    must_break(400, &expected, |scenario| {
        scenario.prepared = 1000;
        scenario.faults.loss = 40;
        scenario.faults.replica_crash = 20;
        scenario.without_in_store.insert(assize_mvcc::Rule::LazyIntentDeletion);
    });
}

#[test]
fn without_first_committer_wins_something_breaks() {
    must_break(50, &["the_first_committer_wins"], |scenario| {
        scenario.without = Rules::only(Rule::FirstCommitterWins);
    });
}

#[test]
fn without_range_checks_something_breaks() {
    must_break(100, &["the_first_committer_wins"], |scenario| {
        scenario.mix.phantom = 20;
        scenario.without = Rules::only(Rule::Ranges);
    });
}

#[test]
fn without_the_marks_of_the_window_something_breaks() {
    must_break(100, &["the_first_committer_wins"], |scenario| {
        scenario.window_log2 = 1;
        scenario.without = Rules::only(Rule::WindowMarks);
    });
}

#[test]
fn without_schema_fences_something_breaks() {
    must_break(200, &["no_commit_past_a_schema_fence"], |scenario| {
        scenario.mix.schema_change = 4;
        scenario.mix.register = 10;
        scenario.without = Rules::only(Rule::SchemaFence);
    });
}

#[test]
fn without_frontend_epochs_something_breaks() {
    must_break(400, &["no_commit_of_a_fenced_frontend"], |scenario| {
        scenario.faults.frontend_crash = 30;
        scenario.faults.stroke_millis = 600;
        stragglers(scenario);
        scenario.without = Rules::only(Rule::FrontendEpoch);
    });
}

#[test]
fn without_a_majority_something_breaks() {
    must_break(50, &["no_commit_without_votes_or_inline_writes"], |scenario| {
        scenario.prepared = 1000;
        scenario.without_in_coordinator.insert(assize_coordinator::Rule::Majority);
    });
}

#[test]
fn a_new_id_after_a_lost_reply_breaks_something() {
    must_break(300, &[], |scenario| {
        scenario.faults.leader_change = 20;
        scenario.faults.loss = 60;
        scenario.without_in_coordinator.insert(assize_coordinator::Rule::SameIdAfterLostReply);
    });
}

#[test]
fn unknown_reported_as_abort_breaks_something() {
    must_break(300, &["unknown_is_never_reported_as_abort"], |scenario| {
        // Most messages are lost, so some commits arrive and their answers do not, for as long as anybody waits.
        scenario.prepared = 0;
        scenario.faults.loss = 750;
        scenario.fault_millis = 60_000;
        scenario.without_in_coordinator.insert(assize_coordinator::Rule::UnknownIsNotAbort);
    });
}

#[test]
fn writes_routed_by_an_old_placement_break_something() {
    let expected = [
        "atomicity_across_participants",
        "a_snapshot_reads_the_same_until_gc",
        // A shard that is asked what the window has forgotten does not know what went elsewhere.
        "the_first_committer_wins",
        // What went elsewhere is missing on whoever was made from a checkpoint since.
        "replicas_agree_at_equal_snapshots",
    ];
    must_break(200, &expected, |scenario| {
        scenario.faults.split = 30;
        scenario.prepared = 0;
        scenario.without = Rules::only(Rule::RouteAtEntry);
    });
}

#[test]
fn snapshots_above_the_closed_timestamp_break_something() {
    must_break(100, &["a_snapshot_reads_the_same_until_gc"], |scenario| {
        scenario.without_in_store.insert(assize_mvcc::Rule::ClosedTimestamp);
    });
}

#[test]
fn damage_that_nobody_looks_for_breaks_something() {
    must_break(60, &["atomicity_across_participants"], |scenario| {
        scenario.mix.note = 10;
        scenario.faults.damage = 20;
        scenario.without_in_replica.insert(assize_replica::Rule::CompareContent);
    });
}

/// Slots that go to and fro while everybody writes.
fn slots_move(scenario: &mut Scenario) {
    scenario.shards = 2;
    scenario.faults.move_slots = 30;
    scenario.faults.merge = 10;
    scenario.faults.stroke_millis = 600;
    scenario.fault_millis = 20_000;
}

#[test]
fn leftovers_of_an_earlier_ownership_break_something() {
    let expected = [
        "atomicity_across_participants",
        "a_snapshot_reads_the_same_until_gc",
        "isolation_keeps_its_promises",
        "replicas_agree_at_equal_snapshots",
    ];
    must_break(300, &expected, |scenario| {
        slots_move(scenario);
        scenario.mix.phantom = 20;
        scenario.mix.foreign_key = 20;
        scenario.without_in_store.insert(assize_mvcc::Rule::LeftoversBeforeGain);
    });
}

const LOST_OR_RISEN: [&str; 5] = [
    "atomicity_across_participants",
    "a_snapshot_reads_the_same_until_gc",
    "isolation_keeps_its_promises",
    "replicas_agree_at_equal_snapshots",
    "the_first_committer_wins",
];

#[test]
fn staged_slots_without_their_last_commits_break_something() {
    must_break(300, &LOST_OR_RISEN, |scenario| {
        slots_move(scenario);
        scenario.without_in_store.insert(assize_mvcc::Rule::StagedUpToTheEntry);
    });
}

#[test]
fn staged_slots_that_are_collected_before_their_bulk_is_here_break_something() {
    must_break(600, &LOST_OR_RISEN, |scenario| {
        slots_move(scenario);
        scenario.mix.phantom = 20;
        scenario.mix.foreign_key = 20;
        scenario.faults.copy_millis = 2_000;
        scenario.without_in_store.insert(assize_mvcc::Rule::StagedIsKept);
    });
}

#[test]
fn a_bulk_from_before_its_giver_was_followed_breaks_something() {
    must_break(600, &LOST_OR_RISEN, |scenario| {
        slots_move(scenario);
        scenario.without_in_store.insert(assize_mvcc::Rule::StagingFollowsFirst);
    });
}

#[test]
fn a_low_water_mark_that_does_not_wait_for_moved_slots_breaks_something() {
    let expected = [
        "atomicity_across_participants",
        "nothing_in_doubt_after_healing",
        // A replica that comes late finds its slots collected already, and its siblings do not.
        "replicas_agree_at_equal_snapshots",
    ];
    must_break(300, &expected, |scenario| {
        slots_move(scenario);
        scenario.faults.replica_crash = 30;
        scenario.without = Rules::only(Rule::SlotsArriveFirst);
    });
}

#[test]
fn taking_unreachable_for_no_breaks_something() {
    let expected = ["no_intent_deleted_before_its_version_is_durable_everywhere"];
    must_break(400, &expected, |scenario| {
        scenario.prepared = 1000;
        scenario.faults.loss = 100;
        scenario.faults.partition = 30;
        scenario.faults.stroke_millis = 500;
        scenario.without_in_replica.insert(assize_replica::Rule::UnreachableIsNotNo);
    });
}

#[test]
fn a_checkpoint_from_before_the_registration_breaks_something() {
    let expected = [
        "no_intent_deleted_before_its_version_is_durable_everywhere",
        // Who is not registered does not count, and is rebuilt for ever.
        "atomicity_across_participants",
    ];
    must_break(600, &expected, |scenario| {
        scenario.prepared = 1000;
        scenario.faults.replica_crash = 100;
        scenario.faults.disk_loss = 100;
        scenario.faults.copy_millis = 500;
        scenario.faults.stroke_millis = 400;
        scenario.without_in_replica.insert(assize_replica::Rule::RegisterBeforeCheckpoint);
    });
}

/// Sessions that ignore a rule of theirs.
fn sessions_without(scenario: &mut Scenario, rule: assize_session::Rule) {
    scenario.without_in_session.insert(rule);
}

#[test]
fn sessions_that_do_not_record_the_keys_they_read_break_something() {
    must_break(60, &["the_first_committer_wins", "isolation_keeps_its_promises"], |scenario| {
        scenario.mix.skew = 20;
        sessions_without(scenario, assize_session::Rule::RecordKeys);
    });
}

#[test]
fn sessions_that_do_not_record_the_ranges_they_read_break_something() {
    must_break(60, &["the_first_committer_wins", "isolation_keeps_its_promises"], |scenario| {
        scenario.mix.phantom = 20;
        sessions_without(scenario, assize_session::Rule::RecordRanges);
    });
}

#[test]
fn a_write_that_is_checked_from_a_later_statement_breaks_something() {
    must_break(100, &["the_first_committer_wins", "isolation_keeps_its_promises"], |scenario| {
        scenario.mix.read_committed = 30;
        sessions_without(scenario, assize_session::Rule::FirstWriteCounts);
    });
}

#[test]
fn a_reserved_row_that_is_read_again_as_it_was_before_breaks_something() {
    must_break(60, &["a_snapshot_reads_the_same_until_gc"], |scenario| {
        scenario.mix.locked_transfer = 30;
        sessions_without(scenario, assize_session::Rule::LockedValueStays);
    });
}

#[test]
fn snapshots_that_are_not_reported_break_something() {
    must_break(60, &["low_water_at_most_oldest_live_snapshot"], |scenario| {
        sessions_without(scenario, assize_session::Rule::HoldSnapshots);
    });
}

#[test]
fn begins_on_their_way_that_are_not_reported_break_something() {
    must_break(300, &["low_water_at_most_oldest_live_snapshot"], |scenario| {
        scenario.faults.straggle = 60;
        scenario.faults.straggle_millis = 4_000;
        sessions_without(scenario, assize_session::Rule::HoldPendingBegins);
    });
}

#[test]
fn a_scan_that_is_not_divided_again_after_a_move_breaks_something() {
    must_break(200, &["a_snapshot_reads_the_same_until_gc"], |scenario| {
        slots_move(scenario);
        scenario.faults.split = 20;
        scenario.mix.audit = 20;
        sessions_without(scenario, assize_session::Rule::DivideAgain);
    });
}
