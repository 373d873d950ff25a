//! How many transactions lose, lately: whether it is worth to look for losers before they take a place in the log.

use std::sync::atomic::{AtomicU32, Ordering};

/// The share of losers among the last few thousand transactions, roughly: whoever counts at the same time may be overheard.
#[derive(Debug, Default)]
pub struct Losses(AtomicU32);

/// The whole.
const ALL: u64 = 1 << 24;
/// So many transactions have as much weight as everything before them.
const MEMORY: u64 = 4096;
/// From this share on losers are many: one in sixteen.
const MANY: u32 = (ALL / 16) as u32;

impl Losses {
    /// So many were decided or refused at once, so many of them lost.
    pub fn note(&self, decided: usize, lost: usize) {
        if decided == 0 {
            return;
        }
        let (decided, lost) = (decided as u64, lost as u64);
        let share = lost.min(decided) * ALL / decided;
        let before = u64::from(self.0.load(Ordering::Relaxed));
        let after = (before * MEMORY + share * decided) / (MEMORY + decided);
        self.0.store(after as u32, Ordering::Relaxed);
    }

    /// Whether many lose.
    pub fn are_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losers_are_many_soon_after_they_begin_to_be_and_few_soon_after_they_end() {
        let losses = Losses::default();
        let rounds_until = |many: bool, lost: usize| {
            (1..1000).find(|_| {
                losses.note(100, lost);
                losses.are_many() == many
            })
        };
        assert_eq!(rounds_until(true, 5), None, "one in twenty is not many");
        assert!(rounds_until(true, 50).unwrap() < 20);
        assert!(rounds_until(false, 1).unwrap() < 200);
        losses.note(0, 0);
        losses.note(usize::MAX / (1 << 26), usize::MAX);
        assert!(losses.are_many());
    }
}
