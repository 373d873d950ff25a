//! The machine dies at every single operation, and the log is always what was promised.

use super::format::Kind;
use super::segments::Segments;
use super::*;
use crate::fs::{Crash, File, FileSystem, Memory, PIECE};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc as channel;
use std::time::Instant;

const SEGMENT: u64 = 16 << 10;

/// What the log should be: the naive twin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Twin {
    first_index: u64,
    entries: Vec<Bytes>,
    meta: Bytes,
}

impl Twin {
    fn next_index(&self) -> u64 {
        self.first_index + self.entries.len() as u64
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { index, payload } => {
                assert_eq!(*index, self.next_index());
                self.entries.push(payload.parts().concat().into());
            }
            Op::Truncate { from } => {
                self.entries.truncate(from.saturating_sub(self.first_index) as usize);
            }
            Op::Purge { below, meta } => {
                let drop = (below.saturating_sub(self.first_index) as usize).min(self.entries.len());
                self.entries.drain(..drop);
                self.first_index = self.first_index.max(*below);
                self.meta = meta.clone();
            }
            Op::Meta { meta } => self.meta = meta.clone(),
        }
    }

    fn of(recovered: segments::Recovered) -> Twin {
        Twin {
            first_index: recovered.first_index,
            entries: recovered.entries.into_iter().map(|(payload, _)| payload).collect(),
            meta: recovered.meta,
        }
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Batches of every kind of operation, the same for the same seed.
fn workload(seed: u64, batches: usize) -> Vec<Vec<Op>> {
    workload_with(seed, batches, true)
}

fn workload_with(seed: u64, batches: usize, purges: bool) -> Vec<Vec<Op>> {
    let mut dice = Dice(seed);
    let mut twin = Twin::default();
    let mut workload = Vec::new();
    for n in 0..batches {
        let mut batch = Vec::new();
        for _ in 0..1 + dice.roll(4) {
            let len = twin.entries.len() as u64;
            let op = match dice.roll(12) {
                0 if len > 0 => Op::Truncate { from: twin.next_index() - dice.roll(len.min(3)) },
                1 | 2 if len > 4 && purges => {
                    let meta = Bytes::from(format!("purged in batch {n}"));
                    Op::Purge { below: twin.first_index + dice.roll(len), meta }
                }
                3 => Op::Meta { meta: Bytes::from(format!("meta of batch {n}")) },
                _ => {
                    let byte = b'a' + dice.roll(26) as u8;
                    let len = 1 << dice.roll(12);
                    Op::Append { index: twin.next_index(), payload: Bytes::from(vec![byte; len]).into() }
                }
            };
            twin.apply(&op);
            batch.push(op);
        }
        workload.push(batch);
    }
    workload
}

/// Runs batches until they end or the machine dies. Answers how many were acknowledged.
fn run(fs: &Memory, workload: &[Vec<Op>]) -> usize {
    let Ok((mut segments, _)) = Segments::open(Arc::new(fs.clone()), SEGMENT, 1) else { return 0 };
    for (n, batch) in workload.iter().enumerate() {
        if segments.write(batch).is_err() {
            return n;
        }
        remove_surplus(fs, segments.take_surplus());
    }
    workload.len()
}

fn open(fs: &Memory) -> Result<(Segments, Twin), WalError> {
    let (segments, recovered) = Segments::open(Arc::new(fs.clone()), SEGMENT, 1)?;
    Ok((segments, Twin::of(recovered)))
}

/// Twins after 0, 1, 2, … operations.
fn histories(workload: &[Vec<Op>]) -> Vec<Twin> {
    let mut twins = vec![Twin::default()];
    for op in workload.iter().flatten() {
        let mut twin = twins.last().expect("one at least").clone();
        twin.apply(op);
        twins.push(twin);
    }
    twins
}

#[test]
fn after_a_crash_at_any_point_the_log_is_an_acknowledged_prefix_or_more_and_goes_on() {
    for seed in 0..6 {
        let work = workload(seed, 40);
        let twins = histories(&work);
        // Every other disk gives room to a segment without writing it.
        let disk = || {
            let fs = Memory::new();
            fs.set_allocates(seed % 2 == 1);
            fs
        };
        let counted = disk();
        assert_eq!(run(&counted, &work), work.len());
        for dies_at in 0..=counted.operations() {
            for crash in
                [Crash::LoseUnsynced, Crash::KeepUnsynced, Crash::Toss(dies_at), Crash::Toss(!dies_at)]
            {
                let fs = disk();
                fs.die_after(dies_at);
                let acknowledged = run(&fs, &work);
                fs.crash(crash);
                let context = format!("seed {seed}, dies at {dies_at}, {crash:?}");
                let (mut segments, twin) = open(&fs).unwrap_or_else(|e| panic!("{context}: {e}"));
                let least: usize = work[..acknowledged].iter().map(Vec::len).sum();
                let most = least + work.get(acknowledged).map_or(0, Vec::len);
                assert!(twins[least..=most].contains(&twin), "{context}: {twin:?}");

                // It goes on from there, and a second crash brings nothing of the torn batch back.
                let mut twin = twin;
                let payload = Payload::new(b"after", Bytes::from_static(b" the crash"));
                let op = Op::Append { index: twin.next_index(), payload };
                twin.apply(&op);
                segments.write(&[op]).unwrap_or_else(|e| panic!("{context}: {e}"));
                drop(segments);
                fs.crash(Crash::LoseUnsynced);
                assert_eq!(open(&fs).unwrap_or_else(|e| panic!("{context}: {e}")).1, twin, "{context}");
            }
        }
    }
}

#[test]
fn nothing_waits_for_a_segment_to_be_filled_where_the_disk_gives_room_without() {
    let operations = |allocates| {
        let fs = Memory::new();
        fs.set_allocates(allocates);
        let (mut segments, _) = Segments::open(Arc::new(fs.clone()), 4 * PIECE as u64, 1).unwrap();
        let room = segments.headroom();
        let mut index = 0;
        let mut append = |bytes: u64| {
            let payload = Bytes::from(vec![7; bytes as usize]).into();
            segments.write(&[Op::Append { index, payload }]).unwrap();
            index += 1;
        };
        append(room - 100);
        let before = fs.operations();
        append(200);
        fs.operations() - before
    };
    let (filled, allocated) = (operations(false), operations(true));
    assert!(allocated < filled, "{allocated} operations, {filled} without");
}

#[test]
fn damage_before_the_durable_end_is_refused_and_damage_at_the_tail_is_cut_off() {
    let work = workload_with(3, 60, false);
    let twins = histories(&work);
    let fs = Memory::new();
    assert_eq!(run(&fs, &work), work.len());
    let (segments, whole) = open(&fs).unwrap();
    assert!(segments.live() > 1, "the test wants several segments");
    drop(segments);
    let last_batch = work.last().expect("not empty").len();
    let mut refused = 0;
    for name in fs.list().unwrap() {
        for offset in (RECORDS..SEGMENT).step_by(97) {
            fs.flip(&name, offset);
            match open(&fs) {
                Ok((_, twin)) => {
                    // Either the place held nothing, or the last batch, which nothing later vouches for.
                    let tail = &twins[twins.len() - 1 - last_batch..];
                    assert!(twin == whole || tail.contains(&twin), "{name} {offset}: {twin:?}");
                    fs.flip(&name, offset);
                    if twin != whole {
                        // Opening cut the tail off for good: write it again by starting over.
                        return_to(&fs, &work);
                    }
                }
                Err(WalError::Corrupt { file, .. }) => {
                    assert_eq!(file, name);
                    refused += 1;
                    fs.flip(&name, offset);
                }
                Err(other) => panic!("{name} {offset}: {other}"),
            }
        }
    }
    assert!(refused > 50, "only {refused} damages were noticed");
}

fn return_to(fs: &Memory, work: &[Vec<Op>]) {
    for name in fs.list().unwrap() {
        fs.remove(&name).unwrap();
    }
    fs.sync_directory().unwrap();
    assert_eq!(run(fs, work), work.len());
}

#[test]
fn a_lost_segment_is_noticed() {
    let work = workload_with(4, 60, false);
    let fs = Memory::new();
    run(&fs, &work);
    let (segments, _) = open(&fs).unwrap();
    assert!(segments.live() > 2);
    drop(segments);
    let names = fs.list().unwrap();
    for lost in &names {
        let block = crate::fs::read_all(&fs, lost).unwrap();
        let header = format::Header::decode(&block[..RECORDS as usize], lost).unwrap().expect("no spares");
        if header.generation == names.len() as u64 {
            // Nothing vouches for the newest one.
            continue;
        }
        fs.remove(lost).unwrap();
        assert!(matches!(open(&fs), Err(WalError::MissingSegment { .. })), "{lost}");
        let file = fs.create(lost).unwrap();
        file.write_at(0, &block).unwrap();
    }
}

#[test]
fn a_lost_header_is_noticed() {
    let work = workload(5, 60);
    let fs = Memory::new();
    run(&fs, &work);
    let (segments, whole) = open(&fs).unwrap();
    drop(segments);
    for name in fs.list().unwrap() {
        fs.flip(&name, 20);
        match open(&fs) {
            // A file without content, or one whose entries had been purged.
            Ok((_, twin)) => assert_eq!(twin, whole),
            Err(WalError::Corrupt { .. } | WalError::MissingSegment { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        fs.flip(&name, 20);
    }
}

#[test]
fn a_log_of_a_later_version_is_refused() {
    let fs = Memory::new();
    run(&fs, &workload(1, 2));
    let name = fs.list().unwrap().remove(0);
    let mut block = crate::fs::read_all(&fs, &name).unwrap();
    block.truncate(RECORDS as usize);
    block[7] = 2;
    fs.open(&name).unwrap().write_at(0, &block).unwrap();
    assert!(matches!(open(&fs), Err(WalError::Version { .. })));
}

#[test]
fn segments_are_recycled_and_the_disk_does_not_grow() {
    let fs = Memory::new();
    let (mut segments, _) = open(&fs).unwrap();
    let payload = Bytes::from(vec![7; 1000]);
    let mut most = 0;
    for index in 0..2000 {
        let mut ops = vec![Op::Append { index, payload: payload.clone().into() }];
        if index % 20 == 19 {
            ops.push(Op::Purge { below: index - 5, meta: Bytes::from_static(b"m") });
        }
        segments.write(&ops).unwrap();
        most = most.max(fs.list().unwrap().len());
    }
    assert!(most <= 6, "{most} files");
    drop(segments);
    let (_, twin) = open(&fs).unwrap();
    assert_eq!((twin.first_index, twin.next_index()), (1994, 2000));
}

#[test]
fn segments_that_end_within_a_block_are_filled_to_their_end_and_found_again() {
    let fs = Memory::new();
    let work = workload_with(5, 60, false);
    let (first, rest) = work.split_at(30);
    let mut twin = Twin::default();
    for (size, batches) in [(SEGMENT + 1000, first), (SEGMENT, rest)] {
        let (mut segments, recovered) = Segments::open(Arc::new(fs.clone()), size, 1).unwrap();
        assert_eq!(Twin::of(recovered), twin);
        for batch in batches {
            segments.write(batch).unwrap();
            batch.iter().for_each(|op| twin.apply(op));
        }
        assert!(segments.live() > 1);
        fs.crash(Crash::LoseUnsynced);
    }
    assert_eq!(open(&fs).unwrap().1, twin);
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let fs = Memory::new();
    let (mut segments, _) = open(&fs).unwrap();
    let large = Bytes::from(vec![1; 3 * SEGMENT as usize]);
    segments
        .write(&[
            Op::Append { index: 0, payload: large.clone().into() },
            Op::Append { index: 1, payload: Bytes::from_static(b"small").into() },
        ])
        .unwrap();
    drop(segments);
    let (_, twin) = open(&fs).unwrap();
    assert_eq!(twin.entries, vec![large, Bytes::from_static(b"small")]);
}

fn wait(wal: &Wal, index: u64, payload: Vec<u8>) -> Result<(), WalError> {
    let (tell, told) = channel::channel();
    wal.append(index, vec![Bytes::from(payload).into()], Box::new(move |result| tell.send(result).unwrap()))?;
    told.recv().expect("done is always called")
}

fn options() -> Options {
    Options { segment_size: SEGMENT, cache_max: 2000, ..Options::default() }
}

#[test]
fn entries_can_be_read_at_once_and_after_they_left_the_memory() {
    let fs = Memory::new();
    let wal = Wal::open(Arc::new(fs.clone()), &options()).unwrap();
    for index in 0..100 {
        wait(&wal, index, vec![index as u8; 500]).unwrap();
        assert_eq!(wal.read(index..index + 1, usize::MAX).unwrap()[0].size(), 500);
    }
    let all = wal.read(0..100, usize::MAX).unwrap();
    assert!(all.iter().enumerate().all(|(n, entry)| entry.body()[..] == vec![n as u8; 500]));
    assert_eq!(wal.read(0..100, 1200).unwrap().len(), 3);
    assert!(matches!(wal.read(99..101, usize::MAX), Err(WalError::NoSuchEntry(100))));
    wal.truncate(50).unwrap();
    wait(&wal, 50, b"fifty".to_vec()).unwrap();
    assert_eq!(wal.read(50..51, 0).unwrap(), vec![Bytes::from_static(b"fifty").into()]);
    let (tell, told) = channel::channel();
    wal.purge(40, Bytes::from_static(b"meta"), Box::new(move |r| tell.send(r).unwrap())).unwrap();
    told.recv().unwrap().unwrap();
    assert!(matches!(wal.read(39..41, 0), Err(WalError::NoSuchEntry(39))));
    wal.set_meta_lazily(Bytes::from_static(b"lazy"));
    wait(&wal, 51, b"x".to_vec()).unwrap();
    drop(wal);
    fs.crash(Crash::LoseUnsynced);
    let wal = Wal::open(Arc::new(fs), &options()).unwrap();
    assert_eq!((wal.first_index(), wal.next_index()), (40, 52));
    assert_eq!(wal.meta(), Bytes::from_static(b"lazy"));
}

#[test]
fn a_failed_sync_ends_the_log_and_loses_nothing_acknowledged() {
    let fs = Memory::new();
    let wal = Wal::open(Arc::new(fs.clone()), &options()).unwrap();
    wait(&wal, 0, b"kept".to_vec()).unwrap();
    fs.fail_syncs(1);
    assert!(matches!(wait(&wal, 1, b"doubtful".to_vec()), Err(WalError::Io { what: "sync", .. })));
    // The disk is well again, and still nothing is written: nobody knows what it forgot.
    assert!(matches!(wait(&wal, 2, b"refused".to_vec()), Err(WalError::Io { .. })));
    assert!(wal.failure().is_some());
    drop(wal);
    fs.crash(Crash::LoseUnsynced);
    let wal = Wal::open(Arc::new(fs), &options()).unwrap();
    assert_eq!(wal.read(0..1, 0).unwrap(), vec![Bytes::from_static(b"kept").into()]);
    assert_eq!(wal.next_index(), 1);
}

#[test]
fn no_segment_is_made_ahead_of_time_out_of_the_reserve() {
    let fs = Memory::new();
    fs.set_capacity(Some(SEGMENT * 3));
    let options = Options { reserve: SEGMENT * 3 / 2, ..options() };
    let wal = Wal::open(Arc::new(fs.clone()), &options).unwrap();
    for index in 0..10 {
        wait(&wal, index, vec![0; 1000]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(fs.list().unwrap().len(), 1);
    // What must be written is written all the same.
    for index in 10..20 {
        wait(&wal, index, vec![0; 1000]).unwrap();
    }
    assert_eq!(fs.list().unwrap().len(), 2);
}

#[test]
fn a_full_disk_is_seen_in_the_headroom_before_it_is_felt() {
    for allocates in [false, true] {
        let fs = Memory::new();
        fs.set_allocates(allocates);
        // Room for the first segment and one and a half more: one spare can be made, a second cannot.
        fs.set_capacity(Some(SEGMENT * 5 / 2));
        let wal = Wal::open(Arc::new(fs.clone()), &options()).unwrap();
        let mut index = 0;
        loop {
            let before = wal.headroom();
            match wait(&wal, index, vec![0; 1000]) {
                Ok(()) => index += 1,
                Err(error) => {
                    assert!(error.is_disk_full(), "{error}");
                    assert!(before < 2 * 1048, "refused with {before} bytes of headroom");
                    break;
                }
            }
            assert!(index < 100);
        }
        assert!(index >= 15, "only {index} entries fitted");
        drop(wal);
        let wal = Wal::open(Arc::new(fs), &options()).unwrap();
        assert_eq!(wal.next_index(), index);
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A disk that may not tell how full it is, as under a quota, and counts the files that are begun.
struct Counting {
    memory: Memory,
    tells: bool,
    created: AtomicUsize,
}

impl FileSystem for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.memory.open(name)
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.created.fetch_add(1, Ordering::Relaxed);
        self.memory.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.memory.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.memory.sync_directory()
    }
    fn free(&self) -> io::Result<u64> {
        if self.tells { self.memory.free() } else { Err(io::ErrorKind::Unsupported.into()) }
    }
}

#[test]
fn segments_are_made_ahead_again_once_a_full_disk_has_room() {
    for tells in [true, false] {
        let memory = Memory::new();
        memory.set_capacity(Some(SEGMENT * 3 / 2));
        let fs = Arc::new(Counting { memory: memory.clone(), tells, created: AtomicUsize::new(0) });
        let since = Instant::now();
        let wal = Wal::open(fs.clone(), &options()).unwrap();
        // Long enough for several tries.
        std::thread::sleep(ALLOCATE_AGAIN * 5);
        let tries = fs.created.load(Ordering::Relaxed) as u32 - 1;
        if tells {
            assert_eq!(tries, 0, "it is known that there is no room");
        } else {
            // Each pause is twice the one before.
            let pauses = (1 << tries.saturating_sub(1).min(4)) - 1;
            assert!(tries > 0 && since.elapsed() >= ALLOCATE_AGAIN * pauses, "{tries} tries");
        }
        wait(&wal, 0, vec![0; 1000]).unwrap();
        assert!(wal.headroom() < SEGMENT && wal.failure().is_none());
        // No leftover keeps the disk full.
        until("a leftover goes", || memory.list().unwrap().len() == 1);
        memory.set_capacity(None);
        // Nobody has to write for that.
        until("a segment is made ahead", || wal.headroom() > SEGMENT);
        (1..50).for_each(|index| wait(&wal, index, vec![0; 1000]).unwrap());
    }
}

#[test]
fn segments_of_which_there_are_enough_are_removed_and_what_a_crash_leaves_of_them_does_no_harm() {
    let fs = Memory::new();
    fs.set_capacity(Some(100 * SEGMENT));
    let wal = Wal::open(Arc::new(fs.clone()), &options()).unwrap();
    (0..60).for_each(|index| wait(&wal, index, vec![index as u8; SEGMENT as usize / 3]).unwrap());
    let files = || fs.list().unwrap().len();
    let before = files();
    assert!(before > 20, "only {before} segments");
    let (tell, told) = std::sync::mpsc::channel();
    wal.purge(60, Bytes::from_static(b"meta"), Box::new(move |r| tell.send(r).unwrap())).unwrap();
    told.recv().unwrap().unwrap();
    // The current one, those that are kept ahead, and one that was just being made.
    until("surplus segments are removed", || files() <= 2 + AHEAD_MAX);
    drop(wal);
    fs.crash(Crash::LoseUnsynced);
    let wal = Wal::open(Arc::new(fs.clone()), &options()).unwrap();
    assert_eq!((wal.first_index(), wal.next_index(), wal.meta().as_ref()), (60, 60, b"meta".as_ref()));
    (60..80).for_each(|index| wait(&wal, index, vec![7; SEGMENT as usize / 3]).unwrap());
}

#[test]
fn a_whole_but_older_record_behind_the_end_is_noise() {
    let work = workload_with(7, 3, false);
    let fs = Memory::new();
    run(&fs, &work);
    let (segments, whole) = open(&fs).unwrap();
    drop(segments);
    let name = fs.list().unwrap().remove(0);
    let bytes = crate::fs::read_all(&fs, &name).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records are not zeros") as u64;
    let first = &bytes[RECORDS as usize..];
    let (head, _) = Head::decode(first).expect("there is a first record");
    let file = fs.open(&name).unwrap();
    file.write_at((end + 1).next_multiple_of(8), &first[..Head::space(head.len)]).unwrap();
    file.sync_data().unwrap();
    let (mut segments, mut twin) = open(&fs).unwrap();
    assert_eq!(twin, whole);
    let op = Op::Append { index: twin.next_index(), payload: Bytes::from_static(b"x").into() };
    twin.apply(&op);
    segments.write(&[op]).unwrap();
    drop(segments);
    assert_eq!(open(&fs).unwrap().1, twin);
}

/// Appends entries, each full of heads that a client has made up, so that recycled segments hold nothing else. The log is read
/// again after every entry.
fn log_with_forged_heads(first_lsn: u64, forge: impl Fn(u64) -> Vec<Head>) {
    let fs = Memory::new();
    let open = || Segments::open(Arc::new(fs.clone()), SEGMENT, first_lsn).unwrap();
    let mut twin = Twin::default();
    for index in 0..150 {
        let (mut segments, recovered) = open();
        assert_eq!(Twin::of(recovered), twin, "before entry {index}");
        let mut payload = Vec::new();
        forge(index).iter().for_each(|head| head.encode([&[], &[]], &mut payload));
        let mut ops = vec![Op::Append { index, payload: Bytes::from(payload).into() }];
        if index % 4 == 3 {
            ops.push(Op::Purge { below: index - 1, meta: Bytes::from_static(b"m") });
        }
        segments.write(&ops).unwrap();
        ops.iter().for_each(|op| twin.apply(op));
    }
    let (_, recovered) = open();
    assert_eq!(Twin::of(recovered), twin);
    assert!(fs.list().unwrap().len() < 10, "segments are recycled");
}

#[test]
fn heads_that_a_client_has_forged_are_noise_behind_the_end() {
    let forged =
        |generation, lsn| Head { kind: Kind::Meta, generation, lsn, durable_below: lsn, index: 0, len: 0 };
    // Numbers that no record there can have, for the generations of every life that the file may have next.
    log_with_forged_heads(1, |_| (1..50).map(|generation| forged(generation, u64::MAX)).collect());
    // Those of the next records, had the log begun where anybody would expect it.
    let expected = |index: u64| {
        let (lsn, generation) = (index * 5 / 4, index / 2 + 2);
        (lsn..lsn + 15).flat_map(move |lsn| (generation..generation + 8).map(move |of| forged(of, lsn)))
    };
    let first_lsn = 0x0123_4567_89ab_cdef;
    log_with_forged_heads(first_lsn, |index| expected(index).collect());
}
