//! When timestamps were drawn, by this frontend's own clock.
//!
//! A timestamp says in which order things were decided, not when: after a change of leader timestamps run ahead of the clock for a
//! while, and an idle cluster's stand still. But a frontend knows between which moments it asked for each that it was told:
//!
//! ```text
//!   asked ──▶ told `ts`        what has a later timestamp was decided after `asked`,
//!                              what has this or an earlier one before it was told
//! ```

use assize_model::Timestamp;
use std::collections::VecDeque;

/// Moments that are remembered.
const KEPT: usize = 4096;
/// Moments that lie closer together are one.
const APART_MICROS: u64 = 1000;
/// What is known to a part of this is known well.
const WELL_PART: u64 = 4;
/// So is what is known to this.
const WELL_MICROS: u64 = 20_000;

/// What a frontend has been told.
#[derive(Default)]
pub(crate) struct Chronicle {
    /// By time, and so by timestamp.
    moments: VecDeque<Moment>,
}

#[derive(Clone, Copy)]
struct Moment {
    ts: Timestamp,
    asked_micros: u64,
    /// When the first of those was told that are one with it.
    first_told_micros: u64,
    told_micros: u64,
}

/// How long ago something was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ago {
    /// No less than this.
    at_least_micros: u64,
    /// No more than this.
    at_most_micros: u64,
}

impl Chronicle {
    /// A timestamp was told, and had been asked for at `asked_micros`.
    pub(crate) fn note(&mut self, ts: Timestamp, asked_micros: u64, told_micros: u64) {
        if let Some(last) = self.moments.back_mut() {
            if ts <= last.ts {
                return;
            }
            if told_micros < last.first_told_micros.saturating_add(APART_MICROS) {
                // That it was asked for no earlier than this stays true.
                (last.ts, last.told_micros) = (ts, told_micros);
                return;
            }
        }
        if self.moments.len() == KEPT {
            self.moments.pop_front();
        }
        self.moments.push_back(Moment { ts, asked_micros, first_told_micros: told_micros, told_micros });
    }

    /// How long before now something with this timestamp was decided, of which it is known that it was not before
    /// `not_before_micros`.
    pub(crate) fn ago(&self, ts: Timestamp, not_before_micros: u64, now_micros: u64) -> Ago {
        let after = self.moments.partition_point(|moment| moment.ts < ts);
        let told = self.moments.get(after);
        // Its own timestamp was drawn after it had been asked for as well.
        let asked = told.filter(|moment| moment.ts == ts).map_or(0, |moment| moment.asked_micros);
        let before = after.checked_sub(1).map_or(0, |at| self.moments[at].asked_micros);
        let not_before = not_before_micros.max(before).max(asked);
        let not_after = told.map_or(now_micros, |moment| moment.told_micros).max(not_before);
        Ago {
            at_least_micros: now_micros.saturating_sub(not_after),
            at_most_micros: now_micros.saturating_sub(not_before),
        }
    }
}

impl Ago {
    /// How long, if that is known well enough to say so.
    pub(crate) fn about_micros(self) -> Option<u64> {
        let doubt = self.at_most_micros - self.at_least_micros.min(self.at_most_micros);
        (doubt <= WELL_MICROS.max(self.at_most_micros / WELL_PART)).then_some(self.at_most_micros - doubt / 2)
    }

    /// No longer than this.
    pub(crate) fn at_most_micros(self) -> u64 {
        self.at_most_micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    fn chronicle(moments: &[(u64, u64, u64)]) -> Chronicle {
        let mut chronicle = Chronicle::default();
        for (ts, asked, told) in moments {
            chronicle.note(Timestamp(*ts), asked * MS, told * MS);
        }
        chronicle
    }

    #[test]
    fn what_was_told_bounds_what_was_decided() {
        // The loser began at 1000 and was told 10; the winner was drawn as 15, by this frontend, at 1500; it is 2000 now.
        let told = chronicle(&[(10, 1000, 1002), (12, 1490, 1495), (15, 1500, 1505), (40, 1800, 1801)]);
        let ago = told.ago(Timestamp(15), 1000 * MS, 2000 * MS);
        assert_eq!(ago, Ago { at_least_micros: 495 * MS, at_most_micros: 500 * MS });
        assert_eq!(ago.about_micros(), Some(497_500));
        // Between two that were told.
        let ago = told.ago(Timestamp(30), 1000 * MS, 2000 * MS);
        assert_eq!(ago, Ago { at_least_micros: 199 * MS, at_most_micros: 500 * MS });
        assert_eq!((ago.about_micros(), ago.at_most_micros()), (None, 500 * MS));
        // Later than any.
        let ago = told.ago(Timestamp(50), 1000 * MS, 2000 * MS);
        assert_eq!(ago, Ago { at_least_micros: 0, at_most_micros: 200 * MS });
    }

    #[test]
    fn moments_that_lie_close_together_are_one_and_none_is_lost() {
        let told = chronicle(&[(10, 1000, 1002)]);
        let mut close = told;
        close.note(Timestamp(11), 1_500_000, 1_500_100);
        close.note(Timestamp(12), 1_500_200, 1_500_400);
        close.note(Timestamp(13), 1_500_500, 1_502_000);
        assert_eq!(close.moments.len(), 3);
        let ago = close.ago(Timestamp(12), 1000 * MS, 2_000_400);
        assert_eq!(ago, Ago { at_least_micros: 500_000, at_most_micros: 500_400 });
    }

    #[test]
    fn of_a_winner_elsewhere_in_an_idle_cluster_only_the_losers_own_age_is_known() {
        let told = chronicle(&[(10, 1000, 1002)]);
        let ago = told.ago(Timestamp(11), 1000 * MS, 2001 * MS);
        assert_eq!((ago.about_micros(), ago.at_most_micros()), (None, 1001 * MS));
        // However far its timestamp runs ahead of any clock.
        assert_eq!(told.ago(Timestamp::MAX, 1000 * MS, 2001 * MS), ago);
        // Nothing is remembered of so long ago.
        assert_eq!(Chronicle::default().ago(Timestamp(1), 1990 * MS, 2000 * MS).about_micros(), Some(5 * MS));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_in_order() {
        let mut chronicle = Chronicle::default();
        for n in 0..2 * KEPT as u64 {
            chronicle.note(Timestamp(n), n * MS, n * MS);
            chronicle.note(Timestamp(n), n * MS, n * MS + 1);
            chronicle.note(Timestamp(n / 2), n * MS, n * MS + 2 * MS);
        }
        assert_eq!(chronicle.moments.len(), KEPT);
        assert!(chronicle.moments.iter().is_sorted_by_key(|moment| moment.ts));
    }
}
