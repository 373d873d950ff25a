//! Which transactions of a frontend's life were decided and not acknowledged yet: a bit for each number, from the lowest that
//! matters on.
//!
//! A frontend numbers its transactions in order and acknowledges them soon, so the bits are few and lie close together, and
//! each costs next to nothing where a million a second pass.

use std::collections::VecDeque;

const WORD: u64 = u64::BITS as u64;

/// Numbers that are outstanding.
#[derive(Default, Debug)]
pub struct Outstanding {
    /// The number of the first word's first bit.
    base: u64,
    words: VecDeque<u64>,
    /// One above the highest number seen.
    next: u64,
}

impl Outstanding {
    /// So many numbers from this one on were decided; as [`Outstanding::insert`] of each.
    pub fn insert_run(&mut self, first: u64, count: u64, span_max: u64) {
        if count == 0 {
            return;
        }
        // The highest of each word makes room for the others.
        for (number, mask) in words_of(first, count) {
            self.insert(number, span_max);
            if number >= self.base {
                self.words[((number - self.base) / WORD) as usize] |= mask;
            }
        }
    }

    /// So many numbers from this one on were acknowledged.
    pub fn remove_run(&mut self, first: u64, count: u64) {
        for (number, mask) in words_of(first, count) {
            let Some(distance) = number.checked_sub(self.base) else { continue };
            if let Some(word) = self.words.get_mut((distance / WORD) as usize) {
                *word &= !mask;
            }
        }
    }

    /// A number was decided. Beyond `span_max` numbers the lowest count as acknowledged; so does a number below what has been
    /// given up already.
    pub fn insert(&mut self, number: u64, span_max: u64) {
        self.next = self.next.max(number + 1);
        if self.words.is_empty() {
            self.base = self.base.max(number / WORD * WORD);
        }
        if number < self.base {
            return;
        }
        let word = (number - self.base) / WORD;
        if word >= span_max.div_ceil(WORD) {
            // Everything that lies further back than the span is given up.
            let surplus = word + 1 - span_max.div_ceil(WORD);
            let known = surplus.min(self.words.len() as u64);
            self.words.drain(..known as usize);
            self.base += surplus * WORD;
        }
        let word = ((number - self.base) / WORD) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (number % WORD);
    }

    /// Everything below is acknowledged.
    pub fn below(&mut self) -> u64 {
        // The word in which the next number lies stays: its other bits are still to come.
        while self.words.front() == Some(&0) && self.base + WORD <= self.next {
            self.words.pop_front();
            self.base += WORD;
        }
        match self.words.front() {
            Some(word) if *word != 0 => self.base + u64::from(word.trailing_zeros()),
            _ => self.next,
        }
    }
}

/// The words that a run of numbers touches: the highest number of the run in each, and the bits of all of them.
fn words_of(first: u64, count: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = first.saturating_add(count);
    let mut next = first;
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let word_end = (next / WORD + 1).saturating_mul(WORD).min(end);
        let bits = word_end - next;
        let mask = (u64::MAX >> (WORD - bits)) << (next % WORD);
        next = word_end;
        Some((word_end - 1, mask))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_says_what_a_plain_set_says() {
        let (mut bits, mut set, mut next) = (Outstanding::default(), BTreeSet::new(), 0u64);
        let mut random = 1u64;
        for step in 0..20_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = step + (random >> 33) % 200;
            if random >> 20 & 1 == 0 || next == 0 {
                // Numbers below what was once all acknowledged are decided already.
                if number >= bits.below() || set.contains(&number) {
                    bits.insert(number, 1 << 20);
                    set.insert(number);
                    next = next.max(number + 1);
                }
            } else {
                bits.remove_run(number, 1);
                set.remove(&number);
                if let Some(first) = set.first().copied().filter(|_| random >> 40 & 1 == 0) {
                    bits.remove_run(first, 1);
                    set.remove(&first);
                }
            }
            assert_eq!(bits.below(), set.first().copied().unwrap_or(next), "step {step}");
        }
    }

    #[test]
    fn a_run_is_as_good_as_its_numbers() {
        let (mut runs, mut each) = (Outstanding::default(), Outstanding::default());
        let mut random = 7u64;
        let mut first = 3;
        for step in 0..2_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let count = random >> 33 & 0xff;
            if random >> 20 & 1 == 0 {
                runs.insert_run(first, count, 1 << 12);
                (first..first + count).for_each(|number| each.insert(number, 1 << 12));
                first += count;
            } else {
                let from = first.saturating_sub(random >> 42 & 0x1ff);
                runs.remove_run(from, count);
                (from..from + count).for_each(|number| each.remove_run(number, 1));
            }
            assert_eq!(runs.below(), each.below(), "step {step}");
            assert_eq!(
                (runs.base, &runs.words, runs.next),
                (each.base, &each.words, each.next),
                "step {step}"
            );
        }
    }

    #[test]
    fn what_lies_too_far_back_counts_as_acknowledged() {
        let mut bits = Outstanding::default();
        bits.insert(5, 128);
        bits.insert(100, 128);
        assert_eq!(bits.below(), 5);
        bits.insert(1_000_000_007, 128);
        assert_eq!(bits.below(), 1_000_000_007);
        assert!(bits.words.len() <= 2, "memory is bounded");
        bits.insert(7, 128);
        assert_eq!(bits.below(), 1_000_000_007, "what was given up does not come back");
        bits.remove_run(1_000_000_007, 1);
        assert_eq!(bits.below(), 1_000_000_008);
    }
}
