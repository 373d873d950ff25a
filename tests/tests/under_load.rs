//! Three real processes under load while nodes die, restart and are cut off: nothing is lost and no promise is broken.
#![allow(clippy::disallowed_methods)] // Waits for real processes.

use assize_tests::chaos::fault::Fault;
use assize_tests::chaos::workload::{Kind, Level};
use assize_tests::chaos::{Outcome, Plan, report, run};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Two clusters at once would measure how busy the machine is.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing lost, no anomaly, no trouble, and no error of a node in good health.
fn assert_clean(outcome: &Outcome) {
    let told = report::details(outcome);
    println!("{}\n{told}", report::text(std::slice::from_ref(outcome)));
    assert!(outcome.is_clean(), "{told}");
    for verdict in &outcome.verdicts {
        assert_eq!(verdict.tally.errors, 0, "{told}");
        assert!(verdict.tally.committed > 50, "{} hardly did anything", verdict.kind.name());
        assert!(verdict.findings.checked > 50, "{} was hardly checked", verdict.kind.name());
    }
    let white_box = outcome.white_box.as_ref().expect("the nodes' disks are judged");
    for judged in [white_box.commits, white_box.testimonies, white_box.reads, white_box.versions] {
        assert!(judged > 100, "the white box saw hardly anything: {white_box:?}");
    }
}

fn both_levels(kinds: &[Kind]) -> Vec<(Kind, Level)> {
    kinds.iter().flat_map(|kind| Level::ALL.map(|level| (*kind, level))).collect()
}

#[test]
fn killing_the_leader_under_load_loses_nothing_and_breaks_no_promise() {
    let _alone = alone();
    let plan = Plan {
        duration: Duration::from_secs(60),
        clients: 3,
        ..Plan::new(both_levels(&[Kind::Bank, Kind::ListAppend]), Fault::KillLeader)
    };
    let outcome = run(&plan);
    assert_clean(&outcome);
    assert!(outcome.faults >= 3, "the leader was killed {} times only", outcome.faults);
}

#[test]
fn a_rolling_restart_under_load_costs_no_error() {
    let _alone = alone();
    let plan = Plan {
        duration: Duration::from_secs(30),
        clients: 3,
        ..Plan::new(both_levels(&[Kind::Bank, Kind::Set]), Fault::RollingRestart)
    };
    let outcome = run(&plan);
    assert_clean(&outcome);
    assert!(outcome.faults >= 1);
}

#[test]
fn a_leader_that_is_cut_off_answers_nothing_stale() {
    let _alone = alone();
    let plan = Plan {
        duration: Duration::from_secs(30),
        clients: 3,
        ..Plan::new(both_levels(&[Kind::Register, Kind::Set]), Fault::PartitionLeader)
    };
    let outcome = run(&plan);
    assert!(outcome.is_clean(), "{}", report::details(&outcome));
    assert!(outcome.faults >= 2);
}

#[test]
fn everything_can_be_killed_at_once() {
    let _alone = alone();
    // Late: when the others have committed what the leader's own disk did not have yet.
    for fault in [Fault::KillAll, Fault::KillAllLeaderLate] {
        let plan = Plan {
            duration: Duration::from_secs(20),
            clients: 3,
            ..Plan::new(both_levels(&[Kind::Bank, Kind::Set]), fault)
        };
        let outcome = run(&plan);
        assert!(outcome.is_clean(), "{}", report::details(&outcome));
        assert!(outcome.faults >= 2);
    }
}
