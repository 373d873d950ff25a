//! A checkpoint on its way here, as far as it has come.
//!
//! What breaks a channel leaves it in memory, and the next channel brings the rest only. What ends the process leaves what
//! has been kept of it, if it is large enough for that to be worth anything:
//!
//! ```text
//!   incoming.part   0    which checkpoint it is, and how many bytes of it are durable
//!                   128  those bytes, and perhaps more that may be anything
//! ```
//!
//! The number is written when the bytes are durable, so a power cut leaves a beginning of the checkpoint or nothing. A checksum over
//! all of it is compared before it is installed, however it came.

use crate::fs::{File, FileSystem, PIECE};
use crate::raft::wire::Offer;
use crate::raft::{LogId, log_id, put_log_id};
use assize_codec::{DecodeError, Put, Reader, envelope};
use std::io;
use std::sync::Arc;

const NAME: &str = "incoming.part";
const TAG: [u8; 4] = *b"ckin";
const VERSION: u16 = 1;
/// Where the bytes begin. The header is smaller.
const BYTES_AT: u64 = 128;
/// Nothing is kept if the disk would have room for less than so many of these checkpoints: one is installed beside it.
const ROOM: u64 = 4;

/// A checkpoint on its way here.
pub struct Incoming {
    what: What,
    bytes: Vec<u8>,
    /// How many of them are durable.
    kept: u64,
    keeping: Keeping,
}

/// Which checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct What {
    last: Option<LogId>,
    len: u64,
    crc: u32,
}

enum Keeping {
    /// Nothing of it is on the disk yet.
    NotYet,
    File(Arc<dyn File>),
    /// The disk refuses, or has too little room.
    Never,
}

impl Incoming {
    /// The checkpoint that is on offer, with what an earlier process has kept of it.
    pub fn find(fs: &dyn FileSystem, offer: &Offer) -> Incoming {
        let what = What { last: offer.last, len: offer.len, crc: offer.crc };
        // What cannot be read comes again. What is left of another one only takes room.
        let found = read(fs).ok().flatten().filter(|(found, ..)| *found == what);
        if found.is_none() {
            forget(fs);
        }
        match found {
            Some((_, bytes, file)) => {
                Incoming { what, kept: bytes.len() as u64, bytes, keeping: Keeping::File(file) }
            }
            None => Incoming { what, bytes: Vec::new(), kept: 0, keeping: Keeping::NotYet },
        }
    }

    /// Whether this is what is on offer.
    pub fn is(&self, offer: &Offer) -> bool {
        self.what == What { last: offer.last, len: offer.len, crc: offer.crc }
    }

    /// How many bytes have come.
    pub fn has(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many of them a restart would lose.
    pub fn unkept(&self) -> u64 {
        self.has() - self.kept
    }

    /// More of it.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    /// Keeps what has come over a restart. Whoever cannot loses nothing but that.
    pub fn keep(&mut self, fs: &dyn FileSystem) {
        if let Err(error) = self.try_to_keep(fs) {
            tracing::warn!(%error, "a checkpoint on its way here is not kept over a restart");
            self.keeping = Keeping::Never;
            self.kept = 0;
            forget(fs);
        }
    }

    fn try_to_keep(&mut self, fs: &dyn FileSystem) -> io::Result<()> {
        let file = match &self.keeping {
            Keeping::Never => return Ok(()),
            Keeping::File(file) => file.clone(),
            Keeping::NotYet if fs.free()? / ROOM < self.what.len => {
                self.keeping = Keeping::Never;
                return Ok(());
            }
            Keeping::NotYet => {
                let file = fs.create(NAME)?;
                fs.sync_directory()?;
                self.keeping = Keeping::File(file.clone());
                file
            }
        };
        // Piece by piece: the log is written at the same time, on the same disk.
        for piece in self.bytes[self.kept as usize..].chunks(PIECE) {
            file.write_at(BYTES_AT + self.kept, piece)?;
            file.sync_data()?;
            self.kept += piece.len() as u64;
        }
        file.write_at(0, &header(&self.what, self.kept))?;
        file.sync_data()
    }

    /// All of it, once it is here.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Removes what was kept of any checkpoint, if anything was.
pub fn forget(fs: &dyn FileSystem) {
    // What stays is no checkpoint that anybody will be offered, and is replaced by the next one.
    let _ = fs.remove(NAME).and_then(|()| fs.sync_directory());
}

fn header(what: &What, kept: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(BYTES_AT as usize);
    put_log_id(&mut body, what.last.as_ref());
    body.put_u64(what.len);
    body.put_u32(what.crc);
    body.put_u64(kept);
    envelope::seal(TAG, VERSION, &body)
}

fn read_header(bytes: &[u8]) -> Result<(What, u64), DecodeError> {
    let (_, body) = envelope::open_next(&mut Reader::new(bytes), TAG, VERSION)?;
    let mut reader = Reader::new(body);
    let what = What { last: log_id(&mut reader)?, len: reader.u64()?, crc: reader.u32()? };
    let kept = reader.u64()?;
    reader.finish()?;
    Ok((what, kept))
}

type Kept = (What, Vec<u8>, Arc<dyn File>);

fn read(fs: &dyn FileSystem) -> io::Result<Option<Kept>> {
    if !fs.list()?.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let file = fs.open(NAME)?;
    let mut bytes = vec![0; BYTES_AT as usize];
    file.read_at(0, &mut bytes)?;
    let (what, kept) =
        read_header(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    // A number that is wrong asks for no memory.
    if kept > what.len || file.len()? < BYTES_AT + kept {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; kept as usize];
    file.read_at(BYTES_AT, &mut bytes)?;
    Ok(Some((what, bytes, file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Crash, Memory};

    fn offer(bytes: &[u8]) -> Offer {
        let vote = openraft::Vote::new(1, 1);
        Offer { vote, last: None, len: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }

    fn content(seed: u64) -> Vec<u8> {
        (0..PIECE as u64 * 3).map(|n| (n.wrapping_mul(seed) >> 7) as u8).collect()
    }

    /// Takes a checkpoint in, and keeps it every so often.
    fn take(fs: &Memory, bytes: &[u8]) -> Incoming {
        let mut incoming = Incoming::find(fs, &offer(bytes));
        let has = incoming.has() as usize;
        for chunk in bytes[has..].chunks(PIECE / 2 + 7) {
            incoming.push(chunk);
            incoming.keep(fs);
        }
        incoming
    }

    #[test]
    fn what_was_kept_is_a_beginning_wherever_the_power_is_cut() {
        let (one, other) = (content(0x9e37_79b9), content(0x85eb_ca6b));
        let operations = {
            let fs = Memory::new();
            take(&fs, &one);
            fs.operations()
        };
        let mut longest = 0;
        for dies_after in 0..=operations {
            for crash in [Crash::LoseUnsynced, Crash::KeepUnsynced, Crash::Toss(dies_after)] {
                let fs = Memory::new();
                // Of another one something is left.
                take(&fs, &other);
                fs.die_after(dies_after);
                take(&fs, &one);
                fs.crash(crash);
                let found = Incoming::find(&fs, &offer(&one));
                let has = found.has() as usize;
                assert_eq!(found.bytes, one[..has], "after {dies_after} operations and {crash:?}");
                longest = longest.max(has);
                drop(found);
                assert_eq!(take(&fs, &one).into_bytes(), one);
            }
        }
        assert_eq!(longest, one.len());
    }

    #[test]
    fn a_disk_without_room_keeps_nothing_and_loses_nothing() {
        let bytes = content(0x9e37_79b9);
        let fs = Memory::new();
        for capacity in [bytes.len() as u64 * ROOM - 1, bytes.len() as u64 / 2] {
            fs.set_capacity(Some(capacity));
            assert_eq!(take(&fs, &bytes).into_bytes(), bytes);
            assert!(fs.list().unwrap().is_empty());
        }
        // It fills up on the way.
        fs.set_capacity(None);
        let mut incoming = Incoming::find(&fs, &offer(&bytes));
        incoming.push(&bytes[..PIECE]);
        incoming.keep(&fs);
        assert_eq!(incoming.unkept(), 0);
        fs.set_capacity(Some(PIECE as u64 + 1000));
        incoming.push(&bytes[PIECE..]);
        incoming.keep(&fs);
        assert!(fs.list().unwrap().is_empty());
        assert_eq!(incoming.into_bytes(), bytes);
        assert_eq!(Incoming::find(&fs, &offer(&bytes)).has(), 0);
    }
}
