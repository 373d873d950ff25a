//! Evidence that is good, and evidence spoilt in one place each: every rule must bite, and no other.

use super::testing::Cluster;
use super::{Case, judge};
use crate::chaos::history::Fate;
use crate::chaos::testimony::{Act, Change};
use crate::chaos::workload::Level;
use assize_consensus::evidence::{Content, Evidence};
use assize_model::*;
use assize_mvcc::Remains;

/// Two transactions after each other, a third that lost to the second, and a look; a checkpoint in the middle.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    let first = cluster.now();
    cluster.transact(first, &[(1, 0)], &[(1, 11), (2, 12)]);
    cluster.checkpoint();
    let second = cluster.now();
    cluster.transact(second, &[(1, 11), (2, 12)], &[(3, 13)]);
    cluster
}

fn case() -> Case {
    let mut cluster = cluster();
    let now = cluster.now();
    cluster.transact(now, &[(1, 11), (2, 12), (3, 13), (4, 0)], &[]);
    cluster.into_case()
}

/// The rules that a case breaks.
fn broken(case: &Case) -> Vec<&'static str> {
    let report = judge(case);
    report.violations.into_keys().collect()
}

/// A case that was spoilt.
fn spoilt(how: impl FnOnce(&mut Case)) -> Vec<&'static str> {
    let mut case = case();
    how(&mut case);
    broken(&case)
}

fn each_log(case: &mut Case, mut how: impl FnMut(&mut Evidence)) {
    case.nodes.iter_mut().for_each(|node| how(&mut node.log));
}

/// What one node has of the shard that holds a row's versions, and where among them the newest of them is.
fn held(case: &mut Case, node: usize, id: u64) -> (&mut Remains, usize) {
    let key = super::testing::row_key(id);
    let contents = case.nodes[node].replicas.iter_mut().filter_map(|replica| replica.contents.as_mut());
    let place = |c: &Remains| c.versions.iter().position(|version| version.mutation.key == key);
    contents.map(|c| (place(c), c)).find_map(|(place, c)| Some((c, place?))).expect("some shard holds it")
}

#[test]
fn good_evidence_is_good_and_all_of_it_is_looked_at() {
    let report = judge(&case());
    assert_eq!(report.violations(), 0, "{:?}", report.violations);
    assert_eq!((report.commits, report.checkpoints), (8, 3));
    assert_eq!((report.testimonies, report.reads, report.versions), (2, 7, 3 * 7));
}

#[test]
fn whoever_lost_to_another_may_not_be_in_the_log_as_committed() {
    let mut cluster = cluster();
    let stale = cluster.now();
    cluster.transact(stale, &[], &[(4, 1)]);
    let lost = cluster.transact(stale, &[], &[(4, 2)]);
    assert_eq!(lost.fate, Fate::Aborted);
    let mut case = cluster.into_case();
    // They ran at the same time.
    case.testimonies.last_mut().unwrap().invoked = 0;
    let report = judge(&case);
    assert_eq!((report.violations(), report.conflicts, report.needless), (0, 1, 0));
}

#[test]
fn logs_that_differ_below_the_commit_are_found() {
    let rule = ["logs_agree"];
    assert_eq!(spoilt(|case| case.nodes[1].log.entries[6].content = Content::Blank), rule);
    assert_eq!(spoilt(|case| case.nodes[2].log.entries[6].id.term = 2)[..1], rule);
    // A majority has it, so the third must not have another.
    assert_eq!(spoilt(|case| case.nodes[2].log.entries.last_mut().unwrap().id.leader = NodeId(3)), rule);
    let gap = spoilt(|case| {
        each_log(case, |log| drop(log.entries.remove(6)));
    });
    assert!(gap.contains(&rule[0]), "{gap:?}");
    let forgotten = spoilt(|case| {
        let end = case.nodes[0].log.entries.len() - 1;
        each_log(case, |log| log.entries.truncate(end));
    });
    assert!(forgotten.contains(&rule[0]), "committed, and nobody has it: {forgotten:?}");
}

#[test]
fn what_is_behind_the_commit_may_differ_and_old_entries_may_be_gone() {
    let report = spoilt(|case| {
        let mut stray = case.nodes[0].log.entries.last().unwrap().clone();
        (stray.id.index, stray.id.term) = (stray.id.index + 1, 2);
        case.nodes[2].log.entries.push(stray);
        case.nodes[1].log.entries.drain(..8);
    });
    assert!(report.is_empty(), "{report:?}");
    let two_leaders = spoilt(|case| {
        for (node, term) in [(0, 1), (1, 1), (2, 2)] {
            let entries = &mut case.nodes[node].log.entries;
            let mut next = entries.last().unwrap().clone();
            (next.id.index, next.id.term, next.content) = (next.id.index + 1, term, Content::Blank);
            entries.push(next);
        }
    });
    assert!(
        two_leaders.is_empty(),
        "an entry that most have and that may still be replaced: {two_leaders:?}"
    );
    assert_eq!(spoilt(|case| each_log(case, |log| drop(log.entries.drain(..8)))), ["the_log_is_whole"]);
}

#[test]
fn a_checkpoint_that_no_replay_comes_to_is_found() {
    let rule = ["equal_index_equal_state_hash"];
    let early = {
        let mut cluster = Cluster::new();
        cluster.checkpoint();
        cluster.into_case().nodes[0].log.images[0].state.clone()
    };
    assert_eq!(spoilt(|case| case.nodes[1].log.images[0].state = early), rule);
    let flip = |case: &mut Case| {
        let image = &mut case.nodes[1].log.images[0];
        let middle = image.state.len() / 2;
        image.state[middle] ^= 1;
    };
    assert_eq!(spoilt(flip), rule);
    assert_eq!(spoilt(|case| case.nodes[1].log.images[0].last.as_mut().unwrap().term = 9), rule);
}

#[test]
fn an_acknowledged_commit_that_is_not_there_is_found() {
    let rule = "acknowledged_writes_survive";
    let lost = spoilt(|case| {
        each_log(case, |log| {
            log.entries.pop();
            log.committed = log.entries.last().map(|entry| entry.id);
        });
    });
    assert!(lost.contains(&rule), "{lost:?}");
    assert_eq!(
        spoilt(|case| case.testimonies[0].told.as_mut().unwrap().commit_ts = Some(Timestamp(9))),
        [rule]
    );
    assert_eq!(spoilt(|case| case.testimonies.push(case.testimonies[0].clone()))[0], rule, "told twice");
    let without_word = spoilt(|case| {
        let mut acknowledged = case.testimonies[0].clone();
        acknowledged.told = None;
        acknowledged.acts = vec![Act::Write { table: "t", id: 77, change: Change::Insert(vec![1]) }];
        case.testimonies.push(acknowledged);
    });
    assert_eq!(without_word, [rule]);
}

#[test]
fn a_refused_transaction_that_took_place_is_found() {
    let refused = spoilt(|case| case.testimonies[1].fate = Fate::Aborted);
    assert_eq!(refused, ["unknown_is_never_reported_as_abort"]);
    let untold = spoilt(|case| {
        case.testimonies[1].fate = Fate::Aborted;
        case.testimonies[1].told = None;
    });
    assert_eq!(untold, ["no_commit_from_nowhere"]);
    assert_eq!(spoilt(|case| drop(case.testimonies.remove(1))), ["no_commit_from_nowhere"]);
}

#[test]
fn an_unknown_outcome_may_be_either_but_only_wholly() {
    let unknown = |case: &mut Case| {
        case.testimonies[1].fate = Fate::Unknown;
        case.testimonies[1].told = None;
    };
    assert!(spoilt(unknown).is_empty());
    let never = |case: &mut Case| {
        let mut unknown = case.testimonies[1].clone();
        (unknown.fate, unknown.told) = (Fate::Unknown, None);
        unknown.acts = vec![Act::Write { table: "t", id: 77, change: Change::Insert(vec![1]) }];
        case.testimonies.push(unknown);
    };
    assert!(spoilt(never).is_empty());
    let half = spoilt(|case| {
        unknown(case);
        case.testimonies[1].acts.push(Act::Write { table: "t", id: 4, change: Change::Set("n", 9) });
    });
    assert_eq!(half, ["no_commit_from_nowhere"]);
}

#[test]
fn a_read_that_the_log_does_not_explain_is_found() {
    let rule = ["a_snapshot_reads_the_same_until_gc"];
    let other = |case: &mut Case| {
        let Act::Read { rows, .. } = &mut case.testimonies[2].acts[3] else { panic!("a read") };
        *rows = "4|1|\n".to_owned();
    };
    assert_eq!(spoilt(other), rule);
    let nothing = |case: &mut Case| {
        let Act::Read { rows, .. } = &mut case.testimonies[2].acts[0] else { panic!("a read") };
        rows.clear();
    };
    assert_eq!(spoilt(nothing), rule);
    let later = |case: &mut Case| case.testimonies[0].told.as_mut().unwrap().snapshot_ts.0 += 1;
    assert_eq!(spoilt(later), rule, "another snapshot than that of its footprint");
}

#[test]
fn a_commit_that_wrote_something_else_is_found() {
    let rule = ["a_commit_writes_what_its_statements_say"];
    let set = |act: &mut Act, to: u64| {
        let Act::Write { change, .. } = act else { panic!("a write") };
        *change = Change::Set("n", to);
    };
    assert_eq!(spoilt(|case| set(&mut case.testimonies[0].acts[1], 5)), rule);
    assert_eq!(spoilt(|case| drop(case.testimonies[0].acts.pop())), rule, "more than it says");
    let more = |case: &mut Case| {
        case.testimonies[0].acts.push(Act::Write { table: "t", id: 4, change: Change::Add("n", 1) });
    };
    assert_eq!(spoilt(more), rule, "less than it says");
    let idle = |case: &mut Case| {
        case.testimonies[2].acts.push(Act::Write { table: "t", id: 4, change: Change::Set("n", 0) });
    };
    assert!(spoilt(idle).is_empty(), "what changes nothing need not be decided");
    let undecided = |case: &mut Case| {
        case.testimonies[2].acts.push(Act::Write { table: "t", id: 4, change: Change::Set("n", 1) });
    };
    assert_eq!(spoilt(undecided), rule);
}

#[test]
fn a_serializable_read_that_is_no_longer_so_at_commit_is_found() {
    let mut cluster = cluster();
    let stale = cluster.now();
    cluster.transact(stale, &[], &[(1, 21)]);
    let mut skewed = cluster.transact(stale, &[(1, 11)], &[(2, 22)]);
    let mut case = cluster.into_case();
    // They ran at the same time.
    let place = case.testimonies.iter().position(|testimony| *testimony == skewed).unwrap();
    skewed.invoked = case.testimonies[place - 1].invoked;
    case.testimonies[place] = skewed;
    assert!(broken(&case).is_empty(), "snapshot isolation allows it: {:?}", judge(&case).violations);
    case.testimonies[place].level = Level::Serializable;
    assert_eq!(broken(&case), ["isolation_keeps_its_promises"]);
}

#[test]
fn a_snapshot_without_what_was_acknowledged_before_is_found() {
    let mut cluster = cluster();
    let stale = cluster.now();
    cluster.transact(stale, &[], &[(1, 21)]);
    cluster.transact(stale, &[(1, 11)], &[]);
    let mut case = cluster.into_case();
    assert_eq!(broken(&case), ["commits_respect_real_time"]);
    // Whoever began before the answer may not have seen it.
    let last = case.testimonies.len() - 1;
    case.testimonies[last].invoked = case.testimonies[last - 1].invoked;
    assert!(broken(&case).is_empty());
    // Nobody is told of the commit, but somebody has seen it.
    case.testimonies[last - 1].fate = Fate::Unknown;
    case.testimonies[last - 1].told = None;
    let mut seen = case.testimonies[last].clone();
    let Act::Read { rows, .. } = &mut seen.acts[0] else { panic!("a read") };
    *rows = "1|21|\n".to_owned();
    let told = seen.told.as_mut().unwrap();
    told.snapshot_ts = told.snapshot_ts.later(std::time::Duration::from_secs(1));
    seen.completed = case.testimonies[last].invoked - 1;
    case.testimonies.push(seen);
    assert_eq!(broken(&case), ["commits_respect_real_time"]);
}

#[test]
fn a_replica_that_holds_something_else_is_found() {
    let rule = ["atomicity_across_participants"];
    let lacks = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        contents.versions.remove(at);
    };
    assert_eq!(spoilt(lacks), rule);
    let other = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        contents.versions[at].mutation.op = MutationOp::Delete;
    };
    assert_eq!(spoilt(other), rule);
    let stranger = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        contents.versions[at].commit_ts.0 += 1;
    };
    assert_eq!(spoilt(stranger), rule);
    let elsewhere = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        let stolen = contents.versions[at].clone();
        let shard = case.nodes[2].replicas.iter_mut().filter_map(|replica| replica.contents.as_mut());
        for contents in shard.filter(|contents| !contents.versions.contains(&stolen)) {
            contents.versions.push(stolen.clone());
        }
    };
    assert_eq!(spoilt(elsewhere), rule);
}

#[test]
fn a_replica_may_be_behind_and_may_have_collected_what_nobody_can_see() {
    let behind = |case: &mut Case| {
        for replica in &mut case.nodes[2].replicas {
            let contents = replica.contents.as_mut().unwrap();
            contents.position = Position::default();
            contents.versions.clear();
        }
        case.nodes[1].replicas[0].contents = None;
    };
    assert!(spoilt(behind).is_empty());
    let collected = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        contents.low_water = contents.versions[at].commit_ts;
        contents.versions.remove(at + 1);
    };
    assert!(spoilt(collected).is_empty());
    let too_much = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        contents.low_water = contents.versions[at].commit_ts;
        contents.versions.remove(at);
    };
    assert_eq!(spoilt(too_much), ["atomicity_across_participants"]);
    let too_early = |case: &mut Case| {
        let (contents, at) = held(case, 2, 1);
        contents.low_water = Timestamp(contents.versions[at].commit_ts.0 - 1);
        contents.versions.remove(at + 1);
    };
    assert_eq!(spoilt(too_early), ["atomicity_across_participants"]);
}

/// As [`cluster`], and all rows are set by a prepared transaction, and looked at.
fn prepared() -> Case {
    let mut cluster = cluster();
    cluster.prepare(&[(1, 41), (2, 42), (3, 43), (4, 44)]);
    let now = cluster.now();
    cluster.transact(now, &[(1, 41), (4, 44)], &[]);
    cluster.into_case()
}

#[test]
fn the_writes_of_a_prepared_commit_are_those_that_were_promised() {
    let report = judge(&prepared());
    assert_eq!((report.violations(), report.remarks.len()), (0, 0), "{report:?}");
    let mut case = prepared();
    let (contents, at) = held(&mut case, 0, 4);
    contents.versions[at].mutation.op = MutationOp::Put("something else".into());
    assert_eq!(broken(&case), ["atomicity_across_participants"]);
}

/// Each shard has promised what was its own when it did.
#[test]
fn writes_that_were_promised_before_slots_moved_are_still_those_that_the_client_speaks_of() {
    let mut cluster = cluster();
    cluster.prepare(&[(1, 41), (2, 42), (3, 43), (4, 44)]);
    cluster.merge();
    let mut case = cluster.into_case();
    for replica in case.nodes.iter_mut().flat_map(|node| &mut node.replicas) {
        replica.contents = None;
    }
    assert_eq!(broken(&case), [] as [&str; 0]);
    let last = case.testimonies.len() - 1;
    let Act::Write { change, .. } = &mut case.testimonies[last].acts[0] else { panic!("a write") };
    *change = Change::Set("n", 9);
    assert_eq!(broken(&case), ["a_commit_writes_what_its_statements_say"]);
}

#[test]
fn writes_that_no_replica_has_any_more_are_those_that_the_client_speaks_of() {
    // One version of the prepared commit is collected everywhere.
    let partly = || {
        let mut case = prepared();
        for node in 0..3 {
            let (contents, at) = held(&mut case, node, 4);
            contents.low_water = contents.versions[at].commit_ts;
            contents.versions.remove(at);
        }
        case
    };
    let report = judge(&partly());
    assert_eq!((report.violations(), report.remarks.len()), (0, 0), "{report:?}");
    assert_eq!(report.reads, judge(&prepared()).reads);
    // Nobody has flushed any of it.
    let mut unflushed = prepared();
    for replica in unflushed.nodes.iter_mut().flat_map(|node| &mut node.replicas) {
        replica.contents = None;
    }
    assert!(broken(&unflushed).is_empty());
    let last = unflushed.testimonies.len() - 2;
    let mut other = unflushed.clone();
    let Act::Write { change, .. } = &mut other.testimonies[last].acts[0] else { panic!("a write") };
    *change = Change::Set("n", 9);
    assert_eq!(broken(&other), ["a_commit_writes_what_its_statements_say"]);
    let mut unknown = unflushed.clone();
    (unknown.testimonies[last].fate, unknown.testimonies[last].told) = (Fate::Unknown, None);
    assert!(broken(&unknown).is_empty());
    // Nobody speaks of it: then nothing can be said of the data after it.
    unflushed.testimonies.remove(last);
    let report = judge(&unflushed);
    assert_eq!(report.violations.keys().copied().collect::<Vec<_>>(), ["no_commit_from_nowhere"]);
    assert_eq!(report.remarks.len(), 1);
}
