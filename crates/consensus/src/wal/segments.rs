//! The log on disk: writing batches of operations into segments, and reading all of it back.
//!
//! No threads and no queue: [`Segments::write`] is one group commit from beginning to end, so that a test can
//! let the machine die at each of its operations.

use super::format::{HEAD, Head, Header, Kind, META_MAX, RECORDS};
use super::{AHEAD_MAX, Location, Op, WalError};
use crate::fs::{BLOCK, Blocks, File, FileSystem, PIECE, REST_MAX};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pre-written file that holds nothing that is needed.
pub struct Spare {
    name: String,
    file: Arc<dyn File>,
    len: u64,
}

/// A segment that holds records that are needed, or the current one.
struct Segment {
    name: String,
    file: Arc<dyn File>,
    len: u64,
    generation: u64,
    /// Where the next record goes.
    end: u64,
    /// One above the greatest index appended in it; 0 if none was.
    index_end: u64,
}

/// All segments of a log.
pub struct Segments {
    fs: Arc<dyn FileSystem>,
    segment_size: u64,
    /// Oldest first; the last one is written to. Never empty.
    live: VecDeque<Segment>,
    spares: Vec<Spare>,
    /// Files of which there are enough: whoever has the time removes them.
    surplus: Vec<Spare>,
    next_file: u64,
    next_lsn: u64,
    first_index: u64,
    next_index: u64,
    meta: Bytes,
    /// What will be written next: the last block of the current segment as far as it is in use, and new records behind it.
    buffer: Blocks,
    /// Bytes of that block, which are durable already.
    tail: usize,
    /// A segment was needed and no spare was there.
    was_short: bool,
    waits: Waits,
}

/// What writes have waited for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Waits {
    /// Until the disk had taken the records.
    pub write: Duration,
    /// Until they were durable.
    pub sync: Duration,
    /// Until there was a new segment, because no spare was ready.
    pub segment: Duration,
}

/// What reading a log back found.
pub struct Recovered {
    /// First index that was not purged.
    pub first_index: u64,
    /// The entries from there on, and where they lie.
    pub entries: Vec<(Bytes, Location)>,
    /// The meta blob.
    pub meta: Bytes,
}

impl Segments {
    /// Reads a log, or begins one in an empty directory, with this sequence number.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        segment_size: u64,
        first_lsn: u64,
    ) -> Result<(Segments, Recovered), WalError> {
        assert!(segment_size >= 2 * RECORDS);
        let found = Found::scan(&*fs)?;
        let mut segments = Segments {
            fs,
            segment_size,
            live: VecDeque::new(),
            spares: found.spares,
            surplus: Vec::new(),
            next_file: found.next_file,
            next_lsn: first_lsn,
            first_index: 0,
            next_index: 0,
            meta: Bytes::new(),
            buffer: Blocks::default(),
            tail: 0,
            was_short: false,
            waits: Waits::default(),
        };
        if found.chain.is_empty() {
            segments.roll(0)?;
            let recovered = Recovered { first_index: 0, entries: Vec::new(), meta: Bytes::new() };
            return Ok((segments, recovered));
        }
        let mut replay = Replay::new(&found.chain[0].1);
        let mut leftovers = None;
        for n in 0..found.chain.len() {
            let (segment, header) = &found.chain[n];
            let next_lsn = found.chain.get(n + 1).map(|(_, next)| next.first_lsn);
            let (end, index_end, leftovers_end) = replay.read(segment, header, next_lsn)?;
            leftovers = leftovers_end.map(|leftovers_end| (end, leftovers_end));
            let (name, file, len) = (segment.name.clone(), segment.file.clone(), segment.len);
            segments.live.push_back(Segment {
                name,
                file,
                len,
                generation: header.generation,
                end,
                index_end,
            });
        }
        let (recovered, next_lsn) = replay.finish()?;
        segments.next_lsn = next_lsn;
        segments.first_index = recovered.first_index;
        segments.next_index = recovered.first_index + recovered.entries.len() as u64;
        segments.meta = recovered.meta.clone();
        segments.release();
        if let Some((from, to)) = leftovers {
            segments.erase(from, to)?;
        }
        segments.take_tail()?;
        Ok((segments, recovered))
    }

    /// Writes these operations and makes them durable. After an error nothing may be written any more.
    pub fn write(&mut self, ops: &[Op]) -> Result<Vec<Option<Location>>, WalError> {
        let mut locations = Vec::with_capacity(ops.len());
        let mut durable_below = self.next_lsn;
        for op in ops {
            let (kind, index, payload): (Kind, u64, [&[u8]; 2]) = match op {
                Op::Append { index, payload } => (Kind::Append, *index, payload.parts()),
                Op::Truncate { from } => (Kind::Truncate, *from, [&[]; 2]),
                Op::Purge { below, meta } => (Kind::Purge, *below, [&[], meta]),
                Op::Meta { meta } => (Kind::Meta, 0, [&[], meta]),
            };
            let len = payload[0].len() + payload[1].len();
            let space = Head::space(len) as u64;
            let current = self.live.back().expect("there is always a current segment");
            if current.end + self.fresh() + space > current.len {
                self.flush()?;
                self.roll(space)?;
                durable_below = self.next_lsn;
            }
            let fresh = self.fresh();
            let current = self.live.back_mut().expect("there is always a current segment");
            let offset = current.end + fresh;
            let (generation, lsn) = (current.generation, self.next_lsn);
            Head { kind, generation, lsn, durable_below, index, len }.encode(payload, self.buffer.end());
            self.next_lsn += 1;
            locations.push((kind == Kind::Append).then(|| {
                current.index_end = current.index_end.max(index + 1);
                Location { file: current.file.clone(), generation, offset, len }
            }));
            match op {
                Op::Append { index, .. } => {
                    assert_eq!(*index, self.next_index, "entries are appended without a gap");
                    self.next_index += 1;
                }
                Op::Truncate { from } => {
                    assert!(*from >= self.first_index, "purged entries cannot be truncated");
                    self.next_index = self.next_index.min(*from);
                }
                Op::Purge { below, meta } => {
                    self.first_index = self.first_index.max(*below);
                    self.next_index = self.next_index.max(*below);
                    self.meta = meta.clone();
                }
                Op::Meta { meta } => self.meta = meta.clone(),
            }
        }
        self.flush()?;
        if ops.iter().any(|op| matches!(op, Op::Purge { .. })) {
            self.release();
        }
        Ok(locations)
    }

    /// Bytes that can be written without asking the file system for more.
    pub fn headroom(&self) -> u64 {
        let current = self.live.back().expect("there is always a current segment");
        let spare: u64 = self.spares.iter().map(|s| s.len - RECORDS).sum();
        current.len - current.end + spare
    }

    /// How many files wait to become segments.
    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Whether a segment was needed, since this was asked last, and no spare was there.
    pub fn was_short(&mut self) -> bool {
        std::mem::take(&mut self.was_short)
    }

    /// What was waited for since this was asked last.
    pub fn take_waits(&mut self) -> Waits {
        std::mem::take(&mut self.waits)
    }

    /// Files that nobody needs, to be given to [`remove_surplus`].
    pub fn take_surplus(&mut self) -> Vec<Spare> {
        std::mem::take(&mut self.surplus)
    }

    /// How many segments hold something.
    #[cfg(test)]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Takes a pre-written file in.
    pub fn add_spare(&mut self, spare: Spare) {
        self.spares.push(spare);
    }

    /// The number for the next file name.
    pub fn draw_file_number(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file - 1
    }

    /// Bytes of records that are not written yet.
    fn fresh(&self) -> u64 {
        (self.buffer.size() - self.tail) as u64
    }

    /// Writes what is buffered to the current segment and syncs it. What lies behind it in its last block belongs to an
    /// earlier life of the file.
    fn flush(&mut self) -> Result<(), WalError> {
        let fresh = self.fresh();
        if fresh == 0 {
            return Ok(());
        }
        let used = self.buffer.size();
        let current = self.live.back_mut().expect("there is always a current segment");
        let from = current.end - self.tail as u64;
        let began = Instant::now();
        // Only segments of an earlier release end within a block.
        let written = match from + used.next_multiple_of(BLOCK) as u64 <= current.len {
            true => current.file.write_blocks_at(from, self.buffer.close()),
            false => current.file.write_at(from, self.buffer.bytes()),
        };
        written.map_err(WalError::io("write", &current.name))?;
        let written = Instant::now();
        current.file.sync_data().map_err(WalError::io("sync", &current.name))?;
        self.waits.write += written - began;
        self.waits.sync += written.elapsed();
        current.end += fresh;
        let mut last = [0; BLOCK];
        self.tail = used % BLOCK;
        last[..self.tail].copy_from_slice(&self.buffer.bytes()[used - self.tail..used]);
        self.buffer.fill(&last[..self.tail]);
        Ok(())
    }

    /// Reads the last block of the current segment as far as it is in use.
    fn take_tail(&mut self) -> Result<(), WalError> {
        let current = self.live.back().expect("there is always a current segment");
        let mut last = [0; BLOCK];
        self.tail = (current.end % BLOCK as u64) as usize;
        let (last, from) = (&mut last[..self.tail], current.end - self.tail as u64);
        current.file.read_at(from, last).map_err(WalError::io("read", &current.name))?;
        self.buffer.fill(last);
        Ok(())
    }

    /// Begins a new segment with room for at least `space` bytes. Everything before it is durable.
    fn roll(&mut self, space: u64) -> Result<(), WalError> {
        debug_assert_eq!(self.fresh(), 0);
        let wanted = self.segment_size.max((RECORDS + space).next_multiple_of(BLOCK as u64));
        let spare = match self.spares.iter().position(|spare| spare.len >= wanted) {
            Some(at) => self.spares.swap_remove(at),
            None => {
                self.was_short = true;
                let number = self.draw_file_number();
                let began = Instant::now();
                // Nobody waits for the first one, and it may serve for long.
                let spare = match self.live.is_empty() {
                    true => create_spare(&*self.fs, number, wanted, Pace::Hurried)?,
                    false => allocate_spare(&*self.fs, number, wanted)?,
                };
                self.waits.segment += began.elapsed();
                spare
            }
        };
        let generation = self.live.back().map_or(1, |segment| segment.generation + 1);
        let header = Header {
            generation,
            first_lsn: self.next_lsn,
            first_index: self.first_index,
            next_index: self.next_index,
            meta: self.meta.clone(),
        };
        spare.file.write_at(0, &header.encode()).map_err(WalError::io("write", &spare.name))?;
        let began = Instant::now();
        spare.file.sync_data().map_err(WalError::io("sync", &spare.name))?;
        self.waits.sync += began.elapsed();
        let Spare { name, file, len } = spare;
        self.live.push_back(Segment { name, file, len, generation, end: RECORDS, index_end: 0 });
        self.tail = 0;
        self.buffer.fill(&[]);
        Ok(())
    }

    /// Overwrites records of a torn batch that lie beyond the end of the current segment: if new records
    /// took the place of only some of them, the rest could one day seem to follow.
    fn erase(&mut self, from: u64, to: u64) -> Result<(), WalError> {
        let current = self.live.back().expect("there is always a current segment");
        let zeros = vec![0; (to - from) as usize];
        current.file.write_at(from, &zeros).map_err(WalError::io("write", &current.name))?;
        current.file.sync_data().map_err(WalError::io("sync", &current.name))
    }

    /// Turns the oldest segments that hold nothing but purged entries into spares, or has them removed if there are enough.
    /// The meta blob needs none of them: every later header repeats it.
    fn release(&mut self) {
        let most = self.spares_max();
        while self.live.len() > 1 && self.live[0].index_end <= self.first_index {
            let Segment { name, file, len, .. } = self.live.pop_front().expect("more than one");
            let is_ordinary = len == self.segment_size;
            let kept = if is_ordinary { &mut self.spares } else { &mut self.surplus };
            kept.push(Spare { name, file, len });
        }
        let enough = self.spares.len().min(most);
        self.surplus.extend(self.spares.drain(enough..));
    }

    /// How many spares are enough: what a burst has needed the next one finds, unless others may need the space; no
    /// fewer than are made ahead, or they would be removed and made again.
    fn spares_max(&self) -> usize {
        const MANY: usize = 128;
        let is_roomy = self.fs.free().is_ok_and(|free| free / 4 > MANY as u64 * self.segment_size);
        if is_roomy { MANY } else { AHEAD_MAX }
    }
}

/// Removes files that nobody needs, one at a time: to free the blocks of one keeps a file system's journal busy, and with it
/// everybody who writes. One that stays by failure or by a crash is found and reused at the next start.
pub fn remove_surplus(fs: &dyn FileSystem, surplus: Vec<Spare>) {
    for Spare { name, file, .. } in surplus {
        let began = Instant::now();
        let _ = fs.remove(&name);
        // Its blocks are freed when nobody has it open any more.
        drop(file);
        std::thread::sleep(began.elapsed().min(REST_MAX));
    }
    let _ = fs.sync_directory();
}

/// How fast a spare segment is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Somebody waits for it, or soon will.
    Hurried,
    /// Disk and processors are for others half of the time.
    Easy,
}

/// Creates a file of `len` zeros, durably: overwriting written blocks later needs no journal of the file
/// system, which is what makes a sync fast.
pub fn create_spare(fs: &dyn FileSystem, number: u64, len: u64, pace: Pace) -> Result<Spare, WalError> {
    create(fs, number, len, |file| write_zeros(file, len, pace))
}

/// Creates a file of `len` zeros for somebody who waits for it: they are not written where the disk can give room without. Syncs
/// are slower until the blocks have been written once, a few milliseconds each, but nothing waits for all of them at once.
fn allocate_spare(fs: &dyn FileSystem, number: u64, len: u64) -> Result<Spare, WalError> {
    create(fs, number, len, |file| match file.allocate(len)? {
        true => file.sync_data(),
        false => write_zeros(file, len, Pace::Hurried),
    })
}

/// Creates a file that `fill` makes durable.
fn create(
    fs: &dyn FileSystem,
    number: u64,
    len: u64,
    fill: impl FnOnce(&dyn File) -> io::Result<()>,
) -> Result<Spare, WalError> {
    let name = format!("segment-{number:08}.wal");
    let temporary = format!("{name}.tmp");
    let created = (|| {
        let file = fs.create(&temporary)?;
        fill(&*file)?;
        fs.rename(&temporary, &name)?;
        fs.sync_directory()?;
        Ok(file)
    })();
    match created {
        Ok(file) => Ok(Spare { name, file, len }),
        Err(error) => {
            let _ = fs.remove(&temporary);
            Err(WalError::io("create", &name)(error))
        }
    }
}

/// Piece by piece: the log is written at the same time, on the same disk.
fn write_zeros(file: &dyn File, len: u64, pace: Pace) -> io::Result<()> {
    let piece = if pace == Pace::Easy { PIECE / 4 } else { PIECE };
    let piece = piece.min(len as usize);
    let mut zeros = Blocks::default();
    zeros.fill_zeros(piece);
    let mut at = 0;
    while at < len {
        let began = Instant::now();
        let n = (len - at).min(piece as u64);
        match n == piece as u64 && piece.is_multiple_of(BLOCK) {
            true => file.write_blocks_at(at, &zeros)?,
            false => file.write_at(at, &zeros.bytes()[..n as usize])?,
        }
        file.sync_data()?;
        at += n;
        if pace == Pace::Easy && at < len {
            std::thread::sleep(began.elapsed().min(REST_MAX));
        }
    }
    Ok(())
}

/// The files of a directory, sorted into those that hold the log and those that do not.
struct Found {
    chain: Vec<(Spare, Header)>,
    spares: Vec<Spare>,
    next_file: u64,
}

impl Found {
    fn scan(fs: &dyn FileSystem) -> Result<Found, WalError> {
        let mut chain = Vec::new();
        let mut headless = Vec::new();
        let mut next_file = 0;
        for name in fs.list().map_err(WalError::io("list", "the log's directory"))? {
            if let Some(rest) = name.strip_prefix("segment-") {
                let number = rest.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
                next_file = next_file.max(number.map_or(0, |n| n + 1));
                if name.ends_with(".tmp") {
                    // A crash interrupted its creation.
                    fs.remove(&name).map_err(WalError::io("remove", &name))?;
                    continue;
                }
            } else {
                continue;
            }
            let file = fs.open(&name).map_err(WalError::io("open", &name))?;
            let len = file.len().map_err(WalError::io("read", &name))?;
            let mut block = vec![0; RECORDS as usize];
            if len < 2 * RECORDS {
                return Err(WalError::corrupt(&name, 0, "the file is shorter than any segment"));
            }
            file.read_at(0, &mut block).map_err(WalError::io("read", &name))?;
            match Header::decode(&block, &name)? {
                Some(header) => chain.push((Spare { name, file, len }, header)),
                None => headless.push(Spare { name, file, len }),
            }
        }
        chain.sort_by_key(|(_, header)| header.generation);
        let newest = chain.last().map_or(0, |(_, header)| header.generation);
        // A header is durable before its first record is written. A record without it means that the header
        // was there once and the disk lost it.
        for spare in &headless {
            if let Some((head, _)) = first_record(spare)?
                && head.generation > newest
            {
                return Err(WalError::corrupt(
                    &spare.name,
                    0,
                    "records lie behind a header that is no longer valid",
                ));
            }
        }
        // The log is the unbroken run of generations up to the newest; what lies before a gap had been
        // purged before one of its files was recycled. (`Replay::finish` makes sure of that.)
        let mut first = chain.len().saturating_sub(1);
        while first > 0 && chain[first - 1].1.generation + 1 == chain[first].1.generation {
            first -= 1;
        }
        if let Some(pair) =
            chain[first..].windows(2).find(|pair| pair[0].1.generation == pair[1].1.generation)
        {
            return Err(WalError::corrupt(&pair[1].0.name, 0, "two segments have the same generation"));
        }
        let mut spares = headless;
        spares.extend(chain.drain(..first).map(|(spare, _)| spare));
        Ok(Found { chain, spares, next_file })
    }
}

fn first_record(spare: &Spare) -> Result<Option<(Head, Vec<u8>)>, WalError> {
    let mut head = vec![0; HEAD];
    spare.file.read_at(RECORDS, &mut head).map_err(WalError::io("read", &spare.name))?;
    let len = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as u64;
    if RECORDS + HEAD as u64 + len > spare.len {
        return Ok(None);
    }
    let mut record = vec![0; HEAD + len as usize];
    spare.file.read_at(RECORDS, &mut record).map_err(WalError::io("read", &spare.name))?;
    Ok(Head::decode(&record).map(|(head, payload)| (head, payload.to_vec())))
}

/// The log as far as it has been read.
struct Replay {
    next_lsn: u64,
    first_index: u64,
    next_index: u64,
    /// Entries below this index lie in segments that are gone.
    known_from: u64,
    /// From `known_from` on.
    entries: VecDeque<(Bytes, Location)>,
    meta: Bytes,
}

impl Replay {
    fn new(oldest: &Header) -> Self {
        Replay {
            next_lsn: oldest.first_lsn,
            first_index: oldest.first_index,
            next_index: oldest.next_index,
            known_from: oldest.next_index,
            entries: VecDeque::new(),
            meta: oldest.meta.clone(),
        }
    }

    /// Reads one segment; `next_lsn` is where the following segment begins, if there is one. Answers where it
    /// ends, one above its greatest index, and how far records of a torn batch lie beyond the end, if any do.
    fn read(
        &mut self,
        segment: &Spare,
        header: &Header,
        next_lsn: Option<u64>,
    ) -> Result<(u64, u64, Option<u64>), WalError> {
        let corrupt = |at: usize, why| WalError::corrupt(&segment.name, at as u64, why);
        if header.first_lsn != self.next_lsn {
            return Err(corrupt(0, "the segment does not begin where the one before it ends"));
        }
        let mut raw = vec![0; segment.len as usize];
        segment.file.read_at(0, &mut raw).map_err(WalError::io("read", &segment.name))?;
        let bytes = Bytes::from(raw);
        let mut at = RECORDS as usize;
        let mut index_end = 0;
        while next_lsn != Some(self.next_lsn) {
            let record = Head::decode(&bytes[at.min(bytes.len())..]);
            // Another number than the next one is no more than noise here; whether something was lost is asked below.
            let follows = |head: &Head| head.generation == header.generation && head.lsn == self.next_lsn;
            let Some((head, _)) = record.filter(|(head, _)| follows(head)) else { break };
            let payload = bytes.slice(at + HEAD..at + HEAD + head.len);
            let location = Location {
                file: segment.file.clone(),
                generation: header.generation,
                offset: at as u64,
                len: head.len,
            };
            self.apply(head, payload, location).map_err(|why| corrupt(at, why))?;
            if head.kind == Kind::Append {
                index_end = index_end.max(head.index + 1);
            }
            self.next_lsn += 1;
            at += Head::space(head.len);
        }
        if let Some(next_lsn) = next_lsn {
            if self.next_lsn != next_lsn {
                return Err(corrupt(
                    at,
                    "a record is damaged, and a later segment proves that it was durable",
                ));
            }
            return Ok((at as u64, index_end, None));
        }
        // The tail. Whatever of the last, unacknowledged batch reached the disk may lie beyond; but a record
        // which says that this place was durable before it was written makes this place a damaged one.
        let mut leftovers_end = None;
        for beyond in (at..bytes.len().saturating_sub(HEAD)).step_by(8) {
            let may_follow =
                |head: &Head| head.generation == header.generation && self.may_lie(head, beyond - at);
            if let Some((head, _)) = Head::decode_if(&bytes[beyond..], may_follow) {
                if head.durable_below > self.next_lsn {
                    return Err(corrupt(
                        at,
                        "a record is damaged, and a later one proves that it was durable",
                    ));
                }
                leftovers_end = Some((beyond + Head::space(head.len).min(bytes.len() - beyond)) as u64);
            }
        }
        Ok((at as u64, index_end, leftovers_end))
    }

    /// Whether a record can have been written so many bytes behind where the next one belongs: what a client has made look
    /// like one in an earlier life of the file is none.
    fn may_lie(&self, head: &Head, behind: usize) -> bool {
        let most = self.next_lsn.saturating_add((behind / HEAD) as u64);
        (self.next_lsn..=most).contains(&head.lsn) && head.durable_below <= head.lsn
    }

    fn apply(&mut self, head: Head, payload: Bytes, location: Location) -> Result<(), &'static str> {
        match head.kind {
            Kind::Append => {
                if head.index != self.next_index {
                    return Err("an entry does not follow the entry before it");
                }
                self.entries.push_back((payload, location));
                self.next_index += 1;
            }
            Kind::Truncate => {
                if head.index < self.first_index {
                    return Err("purged entries are truncated");
                }
                self.next_index = self.next_index.min(head.index);
                self.known_from = self.known_from.min(self.next_index);
                self.entries.truncate((self.next_index - self.known_from) as usize);
            }
            Kind::Purge => {
                if payload.len() > META_MAX {
                    return Err("the meta blob is too long");
                }
                self.first_index = self.first_index.max(head.index);
                self.meta = payload;
                while self.known_from < self.first_index && self.entries.pop_front().is_some() {
                    self.known_from += 1;
                }
                if self.next_index < self.first_index {
                    self.next_index = self.first_index;
                    self.known_from = self.first_index;
                }
            }
            Kind::Meta => {
                if payload.len() > META_MAX {
                    return Err("the meta blob is too long");
                }
                self.meta = payload;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(Recovered, u64), WalError> {
        if self.known_from > self.first_index {
            return Err(WalError::MissingSegment { first: self.first_index, known: self.known_from });
        }
        debug_assert_eq!(self.known_from, self.first_index);
        let recovered =
            Recovered { first_index: self.first_index, entries: self.entries.into(), meta: self.meta };
        Ok((recovered, self.next_lsn))
    }
}
