//! Some seeds, and the same seed twice. CI runs many more with `./justw test-sim`.

use assize_sim::{Scenario, play, run};

#[test]
fn invariants_hold_whatever_goes_wrong() {
    for seed in 0..60 {
        if let Err(violation) = run(&Scenario::of_seed(seed)).1 {
            panic!("seed {seed} breaks {violation}; reproduce with ./justw sim {seed}");
        }
    }
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
    let (mut joins, mut leaves, mut replacements) = (0, 0, 0);
    let (mut damages, mut differences) = (0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let history = play(&Scenario::of_seed(seed)).history;
        splits += history.splits.len();
        moves += history.moves.values().filter(|moves| !moves.is_empty()).count();
        removals += history.removed.len();
        joins += history.joins;
        leaves += history.leaves;
        replacements += history.replacements;
        damages += history.damages;
        differences += history.differences;
        for txn in history.txns {
            match txn.told {
                Some((_, assize_sim::Told::Committed(..))) => {
                    committed += 1;
                    kinds.insert(txn.kind);
                }
                Some((_, assize_sim::Told::Aborted)) => aborted += 1,
                Some((_, assize_sim::Told::Unknown)) => unknown += 1,
                None => {}
            }
        }
    }
    assert!(committed > 1_000, "{committed} committed");
    assert!(aborted > 100, "{aborted} aborted");
    assert!(unknown < committed / 20, "{unknown} unknown");
    assert!(splits > 5, "{splits} shards were split");
    assert!(moves > splits + 10, "slots were moved {moves} times, {splits} of them by splits");
    assert!(removals > 0, "no empty shard was ever removed");
    assert!(joins > 5 && leaves > 5, "{joins} nodes joined, {leaves} left");
    assert!(replacements > 3, "{replacements} replicas were replaced");
    assert!(damages > 5, "{damages} rows were damaged");
    assert!(differences >= damages / 3, "of {damages} damages {differences} were found");
    // Audits commit nothing.
    assert!(kinds.len() >= 13, "{kinds:?}");
}
