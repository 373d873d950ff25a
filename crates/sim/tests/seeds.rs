//! Some seeds, and the same seed twice. CI runs many more with `./justw test-sim`.

use assize_sim::scenario::Faults;
use assize_sim::{Outcome, Scenario, play, run};

#[test]
fn invariants_hold_whatever_goes_wrong() {
    for seed in 0..90 {
        if let Err(violation) = run(&Scenario::of_seed(seed)).1 {
            panic!("seed {seed} breaks {violation}; reproduce with ./justw sim {seed}");
        }
    }
}

#[test]
fn slots_that_are_staged_and_move_all_the_time_keep_everything() {
    for seed in 0..60 {
        let mut scenario = Scenario::of_seed(seed);
        scenario.shards = 2;
        scenario.faults.move_slots = 30;
        scenario.faults.merge = 10;
        scenario.faults.replica_crash = 15;
        scenario.faults.stroke_millis = 600;
        scenario.fault_millis = 20_000;
        scenario.prepared = [0, 500, 1_000][seed as usize % 3];
        scenario.mix.phantom = 20;
        scenario.mix.foreign_key = 20;
        if let Err(violation) = run(&scenario).1 {
            panic!("seed {seed} breaks {violation}");
        }
    }
}

/// Deadlines pass all the same: nothing is in doubt in the end.
#[test]
fn clocks_that_are_set_stop_no_time_and_break_nothing() {
    let mut steps = 0;
    for seed in 0..60 {
        let mut scenario = Scenario::of_seed(seed);
        scenario.faults.clock_step = 10;
        scenario.faults.leader_change = 10;
        scenario.faults.frontend_crash = 5;
        scenario.faults.stroke_millis = 1_000;
        scenario.prepared = [500, 1_000][seed as usize % 2];
        let (outcome, judged) = run(&scenario);
        if let Err(violation) = judged {
            panic!("seed {seed} breaks {violation}");
        }
        steps += outcome.history.clock_steps;
    }
    assert!(steps > 60, "{steps} clocks were set");
}

#[test]
fn the_same_seed_twice_gives_the_same_bytes() {
    for seed in 0..10 {
        let scenario = Scenario::of_seed(seed);
        let (first, second) = (play(&scenario), play(&scenario));
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        assert_eq!(first.history.log, second.history.log);
        assert_eq!(first.states, second.states);
    }
}

/// A world that does nothing proves nothing.
#[test]
fn runs_do_what_they_should() {
    let mut committed = 0;
    let mut aborted = 0;
    let mut unknown = 0;
    let (mut splits, mut moves, mut removals) = (0, 0, 0);
    let (mut staged, mut unstaged) = (0, 0);
    let (mut joins, mut leaves, mut replacements) = (0, 0, 0);
    let (mut damages, mut differences) = (0, 0);
    let (mut reroutes, mut refreshes, mut desertions, mut second_lives) = (0, 0, 0, 0);
    let (mut other_ids, mut unheard) = (0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let history = play(&Scenario::of_seed(seed)).history;
        reroutes += history.reroutes;
        refreshes += history.refreshes;
        desertions += history.desertions;
        second_lives += history.second_lives;
        splits += history.splits.len();
        moves += history.moves.values().filter(|moves| !moves.is_empty()).count();
        removals += history.removed.len();
        staged += history.staged;
        unstaged += history.unstaged;
        joins += history.joins;
        leaves += history.leaves;
        replacements += history.replacements;
        damages += history.damages;
        differences += history.differences;
        for txn in history.txns {
            other_ids += usize::from(txn.ids.len() > 1);
            unheard += usize::from(txn.told.is_none() && !txn.ids.is_empty());
            match txn.told {
                Some((_, assize_sim::Told::Committed(..))) => {
                    committed += 1;
                    kinds.insert(txn.kind);
                }
                Some((_, assize_sim::Told::Aborted)) => aborted += 1,
                Some((_, assize_sim::Told::Unknown)) => unknown += 1,
                Some((_, assize_sim::Told::Ended)) | None => {}
            }
        }
    }
    assert!(committed > 1_000, "{committed} committed");
    assert!(aborted > 100, "{aborted} aborted");
    assert!(unknown < committed / 20, "{unknown} unknown");
    assert!(splits > 5, "{splits} shards were split");
    assert!(moves > splits + 10, "slots were moved {moves} times, {splits} of them by splits");
    assert!(removals > 0, "no empty shard was ever removed");
    assert!(staged > 10, "{staged} replicas gained slots that were staged there");
    assert!(unstaged > 10, "{unstaged} attempts to stage slots came to nothing");
    assert!(joins > 5 && leaves > 5, "{joins} nodes joined, {leaves} left");
    assert!(replacements > 3, "{replacements} replicas were replaced");
    assert!(damages > 5, "{damages} rows were damaged");
    assert!(differences >= damages / 3, "of {damages} damages {differences} were found");
    assert!(reroutes > 100, "{reroutes} reads were routed again");
    assert!(refreshes > 50, "shards were asked {refreshes} times what the window had forgotten");
    assert!(other_ids > 20, "{other_ids} commits were tried under another id");
    assert!(desertions > 20, "{desertions} transactions were left by their clients");
    assert!(second_lives > 0, "{second_lives} frontends lived again after they had been fenced");
    assert!(unheard > 20, "{unheard} commits had nobody to hear of them");
    // Audits commit nothing.
    assert!(kinds.len() >= 14, "{kinds:?}");
}

/// A world that runs away fails its seed, and does not fill the machine's memory.
#[test]
fn a_run_that_does_not_end_is_stopped() {
    let scenario = Scenario { events_max: 1_000, ..Scenario::of_seed(0) };
    let violation = run(&scenario).1.expect_err("a run takes more events than that");
    assert_eq!(violation.invariant, "every_run_ends");
}

/// Clients that are told by everybody to ask somebody else go on asking, and an answer that arrives twice does not make them
/// ask twice.
#[test]
fn a_group_without_a_leader_is_not_asked_ever_more_often() {
    for seed in 0..10 {
        let mut scenario = quiet(seed);
        scenario.faults.duplicate = 300;
        scenario.faults.partition = 10;
        scenario.faults.adjudicator_crash = 10;
        scenario.faults.stroke_millis = 500;
        let outcome = holds(&scenario);
        assert!(outcome.events < 100_000, "seed {seed}: {} events", outcome.events);
    }
}

/// A replica that was to pass a split is replaced before it has: the younger shard's replica beside it copies a sibling.
#[test]
fn a_split_comes_to_an_end_though_elder_replicas_are_replaced_before_they_pass_it() {
    for seed in 0..80 {
        let mut scenario = Scenario { fault_millis: 15_000, ..quiet(seed) };
        scenario.faults.replica_crash = 10;
        scenario.faults.uncount = 10;
        scenario.faults.split = 10;
        scenario.faults.replace = 20;
        scenario.faults.partition = 10;
        scenario.faults.stroke_millis = 300;
        holds(&scenario);
    }
}

/// Frontends that are cut off are fenced, and go on when they hear of it.
#[test]
fn frontends_that_were_fenced_live_again() {
    let mut second_lives = 0;
    for seed in 0..40 {
        let mut scenario = Scenario { fault_millis: 15_000, ..quiet(seed) };
        scenario.faults.partition = 10;
        scenario.faults.stroke_millis = 400;
        second_lives += holds(&scenario).history.second_lives;
    }
    assert!(second_lives > 5, "{second_lives} lived again");
}

/// A seed's world, in which nothing goes wrong yet.
fn quiet(seed: u64) -> Scenario {
    Scenario { faults: Faults::none(), ..Scenario::of_seed(seed) }
}

fn holds(scenario: &Scenario) -> Outcome {
    let (outcome, result) = run(scenario);
    result.unwrap_or_else(|violation| panic!("seed {} breaks {violation}", scenario.seed));
    outcome
}
