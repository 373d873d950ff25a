//! A transfer between two shards, in both commit modes: everybody in turn crashes right after every single message that is
//! sent, from the first to the last. Whatever the client was told must be so, and nothing may stay in doubt.

use assize_sim::scenario::Victim;
use assize_sim::{Scenario, play, run};

#[test]
fn nobody_can_break_a_commit_by_crashing_at_any_moment() {
    for prepared in [false, true] {
        let scenario = two_shard_transfer(prepared);
        let told =
            play(&scenario).history.effects_until_told.expect("the transfer commits when nobody crashes");
        // The stream brings the decision to the replicas after the client was told.
        let effects = told + 25;
        let mut victims = vec![Victim::Frontend, Victim::Leader];
        victims.extend((0..6).map(Victim::Replica));
        for victim in victims {
            for after in 1..effects {
                let scenario = Scenario { crash_after: Some((after, victim)), ..scenario.clone() };
                if let (_, Err(violation)) = run(&scenario) {
                    panic!("prepared {prepared}, {victim:?} crashes after message {after}: {violation}");
                }
            }
        }
    }
}

/// One transfer whose two accounts lie on different shards.
fn two_shard_transfer(prepared: bool) -> Scenario {
    (1..)
        .map(|seed| Scenario { seed, ..Scenario::one_transfer(prepared) })
        .find(|scenario| {
            let outcome = play(scenario);
            let txn = outcome.history.txns.iter().find(|txn| !txn.writes.is_empty());
            txn.is_some_and(|txn| {
                let halves: Vec<bool> = txn.writes.iter().map(|(_, write)| write.slot.0 >= 1 << 15).collect();
                halves.contains(&true) && halves.contains(&false)
            })
        })
        .expect("some seed draws such a transfer")
}
