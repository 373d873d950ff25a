//! The conflict window for point keys: which batch last committed a key, for recent batches.
//!
//! ```text
//!   64-bit key hash ── upper bits ──▶ bucket (one cache line)
//!                   └─ lower 32 ───▶ tag
//!
//!   ┌──────┬───────┬───────┬─ … ─┬───────┐   mark:   every commit that this bucket has forgotten
//!   │ mark │ tag 0 │ tag 1 │     │ tag 6 │             happened in this batch or before
//!   ├──────┼───────┼───────┼─ … ─┼───────┤   batch i: the last batch that committed a key of tag i
//!   │  –   │batch 0│batch 1│     │batch 6│             (0: the place is free)
//!   └──────┴───────┴───────┴─ … ─┴───────┘
//! ```
//!
//! Snapshots are batch boundaries, so comparing batch numbers is exact, and a transaction that committed
//! earlier in the same batch conflicts like any other: its batch is later than every snapshot.
//!
//! A full bucket forgets its oldest entry and raises its own mark to it; nobody else notices. A key that is
//! not found was last committed at or before the mark: if the mark is later than the snapshot the window
//! does not know, and says so. Two keys may share a tag: the entry then tells the later of their commits,
//! which refuses too often and never too rarely.
//!
//! Batch numbers are kept in 32 bits relative to a base that is part of the replicated state and is raised
//! before they overflow.

use assize_codec::{DecodeError, Put, Reader, envelope};
use assize_model::{BatchNumber, KeyHash};
use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The smallest and the largest window, as the binary logarithm of its number of buckets.
pub const BUCKETS_LOG2: std::ops::RangeInclusive<u8> = 1..=28;

/// Eight lanes of tags, then eight of batches. The first of the tags is the mark, the first of the batches is later than
/// every batch; an entry has one lane in both. A free lane has tag 0, which no key has, and batch 0.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket([u32; 16]);

impl Bucket {
    const EMPTY: Bucket = Bucket([0, 0, 0, 0, 0, 0, 0, 0, u32::MAX, 0, 0, 0, 0, 0, 0, 0]);

    #[inline]
    fn tags(&self) -> &[u32; 8] {
        self.0.first_chunk().expect("there are more")
    }

    #[inline]
    fn tags_mut(&mut self) -> &mut [u32; 8] {
        self.0.first_chunk_mut().expect("there are more")
    }

    #[inline]
    fn batches(&self) -> &[u32; 8] {
        self.0.last_chunk().expect("there are more")
    }

    #[inline]
    fn batches_mut(&mut self) -> &mut [u32; 8] {
        self.0.last_chunk_mut().expect("there are more")
    }

    #[inline]
    fn mark(&self) -> u32 {
        self.0[0]
    }

    #[inline]
    fn raise_mark(&mut self, to: u32) {
        self.0[0] = self.0[0].max(to);
    }

    /// The lane that holds this tag, 0 if none does.
    #[inline]
    fn find(&self, tag: u32) -> usize {
        // Not in lane 0, whatever the mark is.
        let found = equal_lanes(self.tags(), tag) & !0b11;
        // If none does it is the 16th.
        (found.trailing_zeros() / 2 % 8) as usize
    }

    /// The latest batch that may have committed a key of this tag: its own, or else the mark. Which of them it is no
    /// processor can guess, so there is no branch.
    #[inline]
    fn latest(&self, tag: u32) -> u32 {
        let lane = self.find(tag);
        self.0[lane + 8 * usize::from(lane != 0)]
    }

    /// The first free lane, or else the first one with the oldest batch.
    #[inline]
    fn oldest(&self) -> usize {
        let batches = self.batches();
        (equal_lanes(batches, least(batches)).trailing_zeros() / 2 % 8) as usize
    }
}

/// The part of a hash by which a bucket tells keys apart; never 0.
#[inline]
fn tag_of(hash: KeyHash) -> u32 {
    (hash.0 as u32).max(1)
}

/// Which of the lanes are equal to `value`: two bits for each.
#[inline]
fn equal_lanes(lanes: &[u32; 8], value: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86-64, and both loads read four of the eight lanes, wherever these lie.
    unsafe {
        use std::arch::x86_64::{
            _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi32, _mm_set1_epi32,
        };
        let value = _mm_set1_epi32(value as i32);
        let low = _mm_cmpeq_epi32(_mm_loadu_si128(lanes[..4].as_ptr().cast()), value);
        let high = _mm_cmpeq_epi32(_mm_loadu_si128(lanes[4..].as_ptr().cast()), value);
        _mm_movemask_epi8(_mm_packs_epi32(low, high)) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        (0..8).fold(0, |bits, i| bits | if lanes[i] == value { 0b11 << (2 * i) } else { 0 })
    }
}

/// The least of the lanes.
#[inline]
fn least(lanes: &[u32; 8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `equal_lanes`.
    unsafe {
        use std::arch::x86_64::{
            __m128i, _mm_and_si128, _mm_andnot_si128, _mm_cmplt_epi32, _mm_cvtsi128_si32, _mm_loadu_si128,
            _mm_or_si128, _mm_set1_epi32, _mm_shuffle_epi32, _mm_xor_si128,
        };
        let min = |a: __m128i, b: __m128i| {
            let is_less = _mm_cmplt_epi32(a, b);
            _mm_or_si128(_mm_and_si128(is_less, a), _mm_andnot_si128(is_less, b))
        };
        // Compared as signed numbers: with the highest bit flipped they sort as unsigned ones do.
        let flip = _mm_set1_epi32(i32::MIN);
        let low = _mm_xor_si128(_mm_loadu_si128(lanes[..4].as_ptr().cast()), flip);
        let high = _mm_xor_si128(_mm_loadu_si128(lanes[4..].as_ptr().cast()), flip);
        let four = min(low, high);
        let two = min(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let one = min(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
        (_mm_cvtsi128_si32(one) ^ i32::MIN) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        lanes.iter().fold(u32::MAX, |least, lane| least.min(*lane))
    }
}

/// What the window knows of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastCommit {
    /// At or before the snapshot, or never.
    AtOrBefore,
    /// In this batch, which is after the snapshot.
    After(BatchNumber),
    /// The window no longer knows.
    Forgotten,
}

/// See the module's page.
pub struct Window {
    buckets: Vec<Bucket>,
    shift: u32,
    base: u64,
    rebase_at: u32,
    /// Copies that are being made.
    copies: Vec<Arc<Copied>>,
    /// The memory of the last copy.
    last_image: Arc<Mutex<Option<Image>>>,
}

impl Clone for Window {
    fn clone(&self) -> Self {
        let Window { shift, base, rebase_at, .. } = *self;
        Window { shift, base, rebase_at, ..Window::of(self.buckets.clone()) }
    }
}

/// A window as it was at one moment, copied in parts while it changes.
///
/// ```text
///   copied ──────────▶│ not yet          a bucket behind the line goes into the copy before it changes first
/// ```
#[derive(Debug)]
pub struct WindowCopy {
    base: u64,
    rebase_at: u32,
    /// Buckets of that window. Once its copies are complete, a larger one may have taken its place.
    len: usize,
    shared: Arc<Copied>,
    /// Where the image goes when it has been written.
    last_image: Arc<Mutex<Option<Image>>>,
}

/// A copy that is being made, as the window and [`WindowCopy`] know it.
#[derive(Debug)]
struct Copied {
    /// Buckets below this are in the image.
    below: AtomicUsize,
    image: Mutex<Image>,
}

/// Buckets, and which of them are there.
#[derive(Debug, Default)]
struct Image {
    /// Plain numbers, because they come from the allocator as zeros that cost nothing until they are written.
    buckets: Vec<[u32; 16]>,
    /// A bit for each.
    is_there: Vec<u64>,
}

impl Image {
    fn new(len: usize) -> Self {
        Image { buckets: vec![[0; 16]; len], is_there: vec![0; len.div_ceil(64)] }
    }

    fn forget_all(&mut self) {
        self.is_there.fill(0);
    }

    /// Takes a bucket in, unless it is there, or the image is needed no more.
    #[inline]
    fn take(&mut self, at: usize, bucket: &Bucket) {
        let Some(word) = self.is_there.get_mut(at / 64) else { return };
        let bit = 1 << (at % 64);
        if *word & bit == 0 {
            *word |= bit;
            self.buckets[at] = bucket.0;
        }
    }
}

impl Copied {
    fn new(image: Image) -> Self {
        Copied { below: AtomicUsize::new(0), image: Mutex::new(image) }
    }

    fn image(&self) -> std::sync::MutexGuard<'_, Image> {
        self.image.lock().expect("no panic happens under this lock")
    }

    fn keep(&self, at: usize, bucket: &Bucket) {
        if at >= self.below.load(Ordering::Relaxed) {
            self.image().take(at, bucket);
        }
    }

    /// Copies from where it stands up to this bucket.
    fn go_on(&self, window: &[Bucket], to: usize) {
        let from = self.below.load(Ordering::Relaxed);
        let mut image = self.image();
        (from..to).for_each(|at| image.take(at, &window[at]));
        self.below.store(to, Ordering::Relaxed);
    }
}

/// Buckets that are copied at once: a megabyte would make others wait.
const COPIED_AT_ONCE: usize = 1 << 11;
/// Images of no more than so many buckets (64 MiB) are kept for the next copy, because memory from the kernel costs more than
/// copying into it.
const IMAGE_KEPT_MAX: usize = 1 << 20;

impl WindowCopy {
    /// Copies a part of the window that it was begun from; whether it is complete.
    pub fn fill(&mut self, window: &Window) -> bool {
        let from = self.shared.below.load(Ordering::Relaxed);
        if from < self.len {
            self.shared.go_on(&window.buckets, (from + COPIED_AT_ONCE).min(self.len));
        }
        from + COPIED_AT_ONCE >= self.len
    }

    /// Writes it as [`Window::encode`] would have done when it was begun.
    pub fn encode(self, out: &mut Vec<u8>) {
        let image = self.shared.image();
        encode(image.buckets.len(), |at| image.buckets[at], self.base, self.rebase_at, out);
    }
}

impl Drop for WindowCopy {
    fn drop(&mut self) {
        // Neither lock is ever held for long, and nobody panics with one of them in hand.
        let (Ok(mut image), Ok(mut last)) = (self.shared.image.lock(), self.last_image.lock()) else {
            return;
        };
        self.shared.below.store(usize::MAX, Ordering::Relaxed);
        let image = std::mem::take(&mut *image);
        if image.buckets.len() <= IMAGE_KEPT_MAX {
            *last = Some(image);
        }
    }
}

/// A window, seen from a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    window: &'a Window,
    snapshot: u32,
}

impl Seen<'_> {
    /// When the key was last committed.
    #[inline]
    pub fn last_commit(&self, hash: KeyHash) -> LastCommit {
        let bucket = &self.window.buckets[self.window.bucket(hash)];
        let latest = bucket.latest(tag_of(hash));
        if latest <= self.snapshot {
            LastCommit::AtOrBefore
        } else if bucket.find(tag_of(hash)) == 0 {
            LastCommit::Forgotten
        } else {
            LastCommit::After(BatchNumber(self.window.base + u64::from(latest)))
        }
    }
}

impl Window {
    /// A window of `1 << log2` buckets of 64 bytes, seven keys each.
    ///
    /// # Panics
    /// If `log2` is not in [`BUCKETS_LOG2`].
    pub fn new(log2: u8) -> Self {
        assert!(BUCKETS_LOG2.contains(&log2), "a window of 2^{log2} buckets");
        Window::of(vec![Bucket::EMPTY; 1 << log2])
    }

    fn of(buckets: Vec<Bucket>) -> Self {
        Window {
            shift: 64 - buckets.len().ilog2(),
            buckets,
            base: 0,
            rebase_at: u32::MAX - 1,
            copies: Vec::new(),
            last_image: Arc::default(),
        }
    }

    /// As [`Window::new`], but raises its base already when a relative number reaches `rebase_at`: so that a
    /// test need not run for weeks.
    pub fn with_rebase_at(log2: u8, rebase_at: u32) -> Self {
        assert!(rebase_at >= 2);
        Window { rebase_at, ..Window::new(log2) }
    }

    /// The binary logarithm of the number of buckets.
    pub fn log2(&self) -> u8 {
        (64 - self.shift) as u8
    }

    #[inline]
    fn bucket(&self, hash: KeyHash) -> usize {
        (hash.0 >> self.shift) as usize
    }

    #[inline]
    fn relative(&self, batch: BatchNumber) -> u32 {
        // Numbers below the base become 0, the base itself: after the base was raised every mark is at least
        // 1, so that such a snapshot is answered `Forgotten`.
        batch.0.saturating_sub(self.base) as u32
    }

    /// Asks the processor to fetch what a check of this key will need.
    #[inline]
    pub fn prefetch(&self, hash: KeyHash) {
        prefetch(&self.buckets[self.bucket(hash)]);
    }

    /// The window seen from a snapshot at the end of batch `snapshot`.
    #[inline]
    pub fn seen_from(&self, snapshot: BatchNumber) -> Seen<'_> {
        Seen { window: self, snapshot: self.relative(snapshot) }
    }

    /// When the key was last committed, seen from a snapshot at the end of batch `snapshot`.
    #[inline]
    pub fn last_commit(&self, hash: KeyHash, snapshot: BatchNumber) -> LastCommit {
        self.seen_from(snapshot).last_commit(hash)
    }

    /// Records that the key was committed in `batch`, which is no earlier than any recorded before.
    #[inline]
    pub fn record(&mut self, hash: KeyHash, batch: BatchNumber) {
        let at = self.bucket(hash);
        let relative = self.relative(batch);
        debug_assert!(relative >= 1 && relative <= self.rebase_at);
        if !self.copies.is_empty() {
            self.keep(at);
        }
        let bucket = &mut self.buckets[at];
        let tag = tag_of(hash);
        let (found, oldest) = (bucket.find(tag), bucket.oldest());
        // A free lane has batch 0 and raises nothing.
        let forgotten = bucket.batches()[oldest];
        // As in `Bucket::latest`: no branch.
        let lane = select_unpredictable(found != 0, found, oldest);
        bucket.raise_mark(select_unpredictable(found != 0, 0, forgotten));
        bucket.tags_mut()[lane] = tag;
        bucket.batches_mut()[lane] = relative;
    }

    /// Begins a copy of the window as it is now; [`WindowCopy::fill`] is to be called until it is complete. The window may
    /// change meanwhile.
    pub fn begin_copy(&mut self) -> WindowCopy {
        let last = self.last_image.lock().expect("no panic happens under this lock").take();
        let image = match last {
            Some(mut image) if image.buckets.len() == self.buckets.len() => {
                image.forget_all();
                image
            }
            _ => Image::new(self.buckets.len()),
        };
        let shared = Arc::new(Copied::new(image));
        self.copies.push(shared.clone());
        let Window { base, rebase_at, .. } = *self;
        let (len, last_image) = (self.buckets.len(), self.last_image.clone());
        WindowCopy { base, rebase_at, len, shared, last_image }
    }

    /// Keeps a bucket as it is for those copies that do not have it yet.
    #[cold]
    fn keep(&mut self, at: usize) {
        self.copies.iter().for_each(|copy| copy.keep(at, &self.buckets[at]));
    }

    /// Has every copy complete at once, because the window as a whole is about to change or to go.
    pub fn complete_copies(&mut self) {
        self.forget_finished_copies();
        for copy in std::mem::take(&mut self.copies) {
            copy.go_on(&self.buckets, self.buckets.len());
        }
    }

    /// Those that are complete, or that nobody waits for any more, need nothing kept.
    fn forget_finished_copies(&mut self) {
        self.copies.retain(|copy| copy.below.load(Ordering::Relaxed) < self.buckets.len());
    }

    /// Raises the base if `next` would not fit otherwise. To be called before a batch is recorded.
    pub fn make_room_for(&mut self, next: BatchNumber) {
        assert!(next.0 >= self.base);
        if !self.copies.is_empty() {
            self.forget_finished_copies();
        }
        if next.0 - self.base <= u64::from(self.rebase_at) {
            return;
        }
        self.complete_copies();
        // Everything in the older half is forgotten.
        let delta = u32::try_from(next.0 - self.base - u64::from(self.rebase_at / 2))
            .expect("batches follow one another, so the base is raised in time");
        self.base += u64::from(delta);
        for bucket in &mut self.buckets {
            for lane in 1..8 {
                let batch = bucket.batches()[lane];
                if batch <= delta {
                    bucket.raise_mark(batch);
                    bucket.tags_mut()[lane] = 0;
                }
                bucket.batches_mut()[lane] = batch.saturating_sub(delta);
            }
            bucket.tags_mut()[0] = bucket.mark().saturating_sub(delta).max(1);
        }
    }

    const TAG: [u8; 4] = *b"AJwn";
    const CHUNK: usize = 1 << 16;

    /// Writes the window exactly, in envelopes of at most 4 MiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self.buckets.len(), |at| self.buckets[at].0, self.base, self.rebase_at, out);
    }

    /// Reads what [`Window::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (_, head) = envelope::open_next(reader, Self::TAG, 1)?;
        let mut head = Reader::new(head);
        let log2 = head.u8()?;
        let base = head.u64()?;
        let rebase_at = head.u32()?;
        if !BUCKETS_LOG2.contains(&log2) || rebase_at < 2 {
            return Err(head.bad("window size", log2.into()));
        }
        head.finish()?;
        // 60 bytes of each bucket are stored: refuse to reserve memory for a window that is not there.
        if reader.left() < (1 << log2) * 60 {
            return Err(DecodeError::Truncated {
                at: reader.at(),
                needed: (1 << log2) * 60,
                left: reader.left(),
            });
        }
        let mut window = Window { base, rebase_at, ..Window::new(log2) };
        for chunk in window.buckets.chunks_mut(Self::CHUNK) {
            let (_, body) = envelope::open_next(reader, Self::TAG, 1)?;
            let mut body = Reader::new(body);
            for bucket in chunk {
                for tag in bucket.tags_mut() {
                    *tag = body.u32()?;
                }
                for lane in 1..8 {
                    let batch = body.u32()?;
                    bucket.batches_mut()[lane] = batch;
                    // The first version of this program had keys of tag 0.
                    let tag = &mut bucket.tags_mut()[lane];
                    *tag = if batch != 0 { (*tag).max(1) } else { 0 };
                }
            }
            body.finish()?;
        }
        Ok(window)
    }
}

/// Writes the lanes of buckets; lane 0 of the batches is the same in all.
fn encode(len: usize, lanes: impl Fn(usize) -> [u32; 16], base: u64, rebase_at: u32, out: &mut Vec<u8>) {
    let mut head = Vec::new();
    head.put_u8(len.ilog2() as u8);
    head.put_u64(base);
    head.put_u32(rebase_at);
    envelope::seal_into(out, Window::TAG, 1, &head);
    for from in (0..len).step_by(Window::CHUNK) {
        let chunk = from..(from + Window::CHUNK).min(len);
        envelope::seal_written(out, Window::TAG, 1, |out| {
            out.reserve(chunk.len() * 60);
            for at in chunk {
                let bucket = lanes(at);
                let mut bytes = [0; 60];
                let lanes = bucket[..8].iter().chain(&bucket[9..]);
                for (place, lane) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(lanes) {
                    *place = lane.to_le_bytes();
                }
                out.put_slice(&bytes);
            }
        });
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window(2^{} buckets, base {})", self.log2(), self.base)
    }
}

/// Asks the processor to fetch the cache line of this value.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching has no effect but on timing, for any address, and SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(align_of::<Bucket>(), 64);
    }

    #[test]
    fn lanes_are_compared_as_numbers_without_a_sign() {
        let lanes = [u32::MAX, 7, 1 << 31, 3, (1 << 31) + 1, 3, u32::MAX, 9];
        assert_eq!(least(&lanes), 3);
        assert_eq!(equal_lanes(&lanes, 3), 0b11 << 6 | 0b11 << 10);
        assert_eq!(
            least(&[u32::MAX, 1 << 31, 1 << 31, u32::MAX, 1 << 31, u32::MAX, 1 << 31, 1 << 31]),
            1 << 31
        );
    }

    #[test]
    fn eviction_raises_only_the_mark_of_its_bucket() {
        let mut window = Window::new(1);
        let low = |n: u64| KeyHash(n);
        let high = |n: u64| KeyHash(1 << 63 | n);
        for n in 1..=8 {
            window.record(low(n), BatchNumber(n));
        }
        window.record(high(1), BatchNumber(9));
        // Key 1 was forgotten in favour of key 8; the mark is its batch.
        assert_eq!(window.last_commit(low(1), BatchNumber(0)), LastCommit::Forgotten);
        assert_eq!(window.last_commit(low(1), BatchNumber(1)), LastCommit::AtOrBefore);
        assert_eq!(window.last_commit(low(2), BatchNumber(1)), LastCommit::After(BatchNumber(2)));
        assert_eq!(window.last_commit(low(99), BatchNumber(0)), LastCommit::Forgotten);
        assert_eq!(window.last_commit(high(99), BatchNumber(0)), LastCommit::AtOrBefore);
    }

    /// The naive twin: the last commit of every key, for ever. `None` means the window may say anything but
    /// a batch that never was.
    fn quadratic(commits: &[(u64, u64)], key: u64) -> u64 {
        commits.iter().filter(|(k, _)| *k == key).map(|(_, b)| *b).max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_copy_is_the_window_as_it_was_when_it_was_begun(
            keys in prop::collection::vec((any::<u64>(), 0..100u8), 1..400),
            rebase_at in prop_oneof![Just(u32::MAX - 1), 2..60u32],
        ) {
            // Three parts, and a little.
            let mut window = Window { rebase_at, ..Window::new(13) };
            let mut copies: Vec<(WindowCopy, Vec<u8>)> = Vec::new();
            let encoded = |window: &Window| {
                let mut bytes = Vec::new();
                window.encode(&mut bytes);
                bytes
            };
            for (n, (key, what)) in (1..).zip(keys) {
                window.make_room_for(BatchNumber(n));
                match what {
                    0..4 => copies.push((window.begin_copy(), encoded(&window))),
                    // Given up.
                    4 => drop(window.begin_copy()),
                    5 => window.complete_copies(),
                    6..20 => copies.iter_mut().for_each(|(copy, _)| { copy.fill(&window); }),
                    _ => {}
                }
                window.record(KeyHash(key), BatchNumber(n));
            }
            for (mut copy, expected) in copies {
                while !copy.fill(&window) {}
                let mut bytes = Vec::new();
                copy.encode(&mut bytes);
                prop_assert!(bytes == expected);
            }
            window.make_room_for(BatchNumber(500));
            prop_assert!(window.copies.is_empty(), "nothing is kept for nobody");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_window_agrees_with_a_quadratic_check_or_says_that_it_forgot(
            steps in prop::collection::vec((0u64..40, any::<bool>(), any::<bool>(), 0u64..30), 1..300),
            rebase_at in prop_oneof![Just(u32::MAX - 1), 4u32..40],
        ) {
            let mut window = Window::with_rebase_at(2, rebase_at);
            let mut commits: Vec<(u64, u64)> = Vec::new();
            let mut batch = 1;
            for (key, commit, next, back) in steps {
                // Few tags, four buckets: keys collide in buckets, never in tags.
                let hash = KeyHash((key % 4) << 62 | key);
                let snapshot = (batch - 1u64).saturating_sub(back);
                let truth = quadratic(&commits, key);
                match window.last_commit(hash, BatchNumber(snapshot)) {
                    LastCommit::AtOrBefore => prop_assert!(truth <= snapshot, "{truth} {snapshot}"),
                    LastCommit::After(b) => {
                        prop_assert_eq!(b.0, truth);
                        prop_assert!(truth > snapshot);
                    }
                    LastCommit::Forgotten => {
                        // It may forget only when it had to: something of this bucket is gone, or the base rose.
                        let others: BTreeMap<u64, u64> =
                            commits.iter().filter(|(k, _)| k % 4 == key % 4).copied().collect();
                        prop_assert!(others.len() > 7 || window.base > 0);
                    }
                }
                if commit {
                    window.make_room_for(BatchNumber(batch));
                    window.record(hash, BatchNumber(batch));
                    commits.push((key, batch));
                }
                batch += u64::from(next);
            }
            let mut bytes = Vec::new();
            window.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            let decoded = Window::decode(&mut reader).unwrap();
            prop_assert!(reader.is_done());
            let mut again = Vec::new();
            decoded.encode(&mut again);
            prop_assert_eq!(bytes, again);
        }
    }
}
