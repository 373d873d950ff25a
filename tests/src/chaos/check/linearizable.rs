//! Is a history of reads and writes of one register linearizable? With values that are written only once this takes
//! little time (Gibbons and Korach, 1997).
//!
//! All operations that write or read one value form a *cluster*; its *zone* reaches from the earliest completion to the
//! latest invocation among them. In a zone with that order of its ends (a forward zone) the register holds the value
//! all the time. The other zones (backward) need only one moment. So the history is linearizable exactly if every
//! read comes after the beginning of the write of its value, no two forward zones overlap, and no backward zone lies
//! within a forward one.

use super::super::history::{Fate, Moment, Op};
use std::collections::BTreeMap;

/// What a transaction did to one register. Values are written once; 0 is there from the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Wrote a value.
    Write(u64),
    /// Read a value.
    Read(u64),
}

impl Access {
    fn value(self) -> u64 {
        match self {
            Access::Write(value) | Access::Read(value) => value,
        }
    }
}

struct Cluster {
    /// Invocation of the write; nothing for the value that was always there.
    written: Option<Moment>,
    fate: Fate,
    earliest_completion: Moment,
    latest_invocation: Moment,
    reads: u64,
}

/// Why the history of one register cannot be put in an order; nothing if it can.
pub fn violation(ops: &[Op<Access>]) -> Option<String> {
    let clusters = match clusters(ops) {
        Ok(clusters) => clusters,
        Err(violation) => return Some(violation),
    };
    // A write whose outcome nobody knows and whose value nobody saw may have happened at the end of time.
    let seen: Vec<(u64, &Cluster)> = clusters
        .iter()
        .filter(|(_, c)| c.fate == Fate::Committed || c.reads > 0)
        .map(|(value, c)| (*value, c))
        .collect();
    if let Some((value, _)) = seen.iter().find(|(_, c)| c.fate == Fate::Aborted) {
        return Some(format!("value {value} was read, and its write was aborted"));
    }
    let mut forward: Vec<&(u64, &Cluster)> =
        seen.iter().filter(|(_, c)| c.earliest_completion < c.latest_invocation).collect();
    forward.sort_by_key(|(_, c)| c.earliest_completion);
    for pair in forward.windows(2) {
        if pair[1].1.earliest_completion < pair[0].1.latest_invocation {
            return Some(format!("values {} and {} alternate", pair[0].0, pair[1].0));
        }
    }
    for (value, c) in seen.iter().filter(|(_, c)| c.earliest_completion >= c.latest_invocation) {
        // The last forward zone that begins before this one; forward zones do not overlap.
        let before = forward.partition_point(|(_, f)| f.earliest_completion < c.latest_invocation);
        let around = before.checked_sub(1).map(|at| forward[at]);
        if let Some((other, f)) = around
            && c.earliest_completion < f.latest_invocation
        {
            return Some(format!("value {value} came and went while the register held {other}"));
        }
    }
    None
}

fn clusters(ops: &[Op<Access>]) -> Result<BTreeMap<u64, Cluster>, String> {
    let always = Cluster {
        written: None,
        fate: Fate::Committed,
        earliest_completion: 0,
        latest_invocation: 0,
        reads: 0,
    };
    let mut clusters = BTreeMap::from([(0, always)]);
    for op in ops {
        if let Access::Write(value) = op.what {
            let completed = if op.fate == Fate::Committed { op.completed } else { Moment::MAX };
            let cluster = Cluster {
                written: Some(op.invoked),
                fate: op.fate,
                earliest_completion: completed,
                latest_invocation: op.invoked,
                reads: 0,
            };
            assert!(clusters.insert(value, cluster).is_none(), "value {value} was written twice");
        }
    }
    for op in ops.iter().filter(|op| op.fate == Fate::Committed && matches!(op.what, Access::Read(_))) {
        let value = op.what.value();
        let cluster =
            clusters.get_mut(&value).ok_or_else(|| format!("value {value} was read, and nobody wrote it"))?;
        if cluster.written.is_some_and(|written| written > op.completed) {
            return Err(format!("value {value} was read before its write began"));
        }
        cluster.earliest_completion = cluster.earliest_completion.min(op.completed);
        cluster.latest_invocation = cluster.latest_invocation.max(op.invoked);
        cluster.reads += 1;
    }
    Ok(clusters)
}

#[cfg(test)]
mod tests {
    use super::super::super::random::Random;
    use super::*;
    use Access::{Read, Write};

    fn op(invoked: Moment, completed: Moment, fate: Fate, what: Access) -> Op<Access> {
        Op { process: 0, invoked, completed, fate, what }
    }

    fn done(invoked: Moment, completed: Moment, what: Access) -> Op<Access> {
        op(invoked, completed, Fate::Committed, what)
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [done(1, 2, Write(1)), done(3, 4, Read(0))];
        assert!(violation(&history).is_some());
        let concurrent = [done(1, 5, Write(1)), done(3, 4, Read(0))];
        assert_eq!(violation(&concurrent), None);
    }

    #[test]
    fn reads_that_go_back_in_time_are_found() {
        let history = [done(1, 10, Write(1)), done(2, 3, Read(1)), done(4, 5, Read(0))];
        assert!(violation(&history).is_some());
    }

    #[test]
    fn an_unknown_write_may_appear_later_but_not_vanish() {
        let unknown = op(1, 2, Fate::Unknown, Write(1));
        assert_eq!(violation(&[unknown.clone(), done(3, 4, Read(0)), done(5, 6, Read(1))]), None);
        assert!(violation(&[unknown, done(3, 4, Read(1)), done(5, 6, Read(0))]).is_some());
    }

    #[test]
    fn an_aborted_write_is_never_seen() {
        assert!(violation(&[op(1, 2, Fate::Aborted, Write(1)), done(3, 4, Read(1))]).is_some());
        assert_eq!(violation(&[op(1, 2, Fate::Aborted, Write(1)), done(3, 4, Read(0))]), None);
    }

    #[test]
    fn a_value_from_nowhere_is_found() {
        assert!(violation(&[done(3, 4, Read(9))]).is_some());
    }

    /// Tries every order.
    fn is_linearizable(ops: &[Op<Access>], is_taken: &mut Vec<bool>, value: u64) -> bool {
        let required = |at: usize| ops[at].fate == Fate::Committed;
        if (0..ops.len()).all(|at| is_taken[at] || !required(at)) {
            return true;
        }
        let frontier = (0..ops.len())
            .filter(|at| !is_taken[*at] && required(*at))
            .map(|at| ops[at].completed)
            .min()
            .unwrap_or(Moment::MAX);
        (0..ops.len()).any(|at| {
            if is_taken[at] || ops[at].fate == Fate::Aborted || ops[at].invoked > frontier {
                return false;
            }
            let next = match ops[at].what {
                Write(written) => written,
                Read(read) if read == value => value,
                Read(_) => return false,
            };
            is_taken[at] = true;
            let fits = is_linearizable(ops, is_taken, next);
            is_taken[at] = false;
            fits
        })
    }

    #[test]
    fn it_agrees_with_trying_every_order() {
        let mut random = Random::new(7);
        let mut verdicts = [0, 0];
        for _ in 0..20_000 {
            let count = 2 + random.below(5);
            let mut moments: Vec<Moment> = (1..=2 * count).collect();
            for at in (1..moments.len()).rev() {
                moments.swap(at, random.below(at as u64 + 1) as usize);
            }
            let mut ops = Vec::new();
            for at in 0..count as usize {
                let (a, b) = (moments[2 * at], moments[2 * at + 1]);
                let what =
                    if random.percent(50) { Write(at as u64 + 1) } else { Read(random.below(count + 1)) };
                let fate = match what {
                    Write(_) => {
                        random.choose(&[Fate::Committed, Fate::Committed, Fate::Unknown, Fate::Aborted])
                    }
                    Read(_) => Fate::Committed,
                };
                ops.push(op(a.min(b), a.max(b), fate, what));
            }
            let expected = is_linearizable(&ops, &mut vec![false; ops.len()], 0);
            verdicts[usize::from(expected)] += 1;
            assert_eq!(violation(&ops).is_none(), expected, "{ops:?}: {:?}", violation(&ops));
        }
        assert!(verdicts.iter().all(|seen| *seen > 1000), "both verdicts are tried: {verdicts:?}");
    }
}
