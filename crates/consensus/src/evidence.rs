//! What a node that is down has of the log, for somebody who judges it from outside; and the log replayed without a node.
//!
//! ```text
//!   a node's directory ── read ──▶ Evidence: entries, what it knew to be committed, images of checkpoints
//!                                                │
//!                                       Replay ◀─┘ the same entries through a fresh core: the same decisions, the same image
//! ```

use crate::fs::{Disk, FileSystem, read_all};
use crate::history::History;
use crate::raft::{Checkpoint, LogId, Meta, Payload, decode_logged};
use crate::state::{read_image, write_image};
use crate::wal::{self, Wal};
use assize_adjudicator::{Adjudicator, Applied, Command, Options};
use assize_model::{LogIndex, NodeId};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Entries that are read at a time.
const READ_BYTES_MAX: usize = 16 << 20;

/// An entry's name: no two different entries ever have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryId {
    /// The term in which it was written.
    pub term: u64,
    /// Its place.
    pub index: u64,
    /// Who led then.
    pub leader: NodeId,
}

/// What is in an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Nothing: a leader begins its term.
    Blank,
    /// Who votes from here on.
    Voters(BTreeSet<NodeId>),
    /// A command of the adjudicator's.
    Command(Bytes),
}

/// An entry as it lies in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logged {
    /// Its name.
    pub id: EntryId,
    /// What is in it.
    pub content: Content,
}

/// The state after an entry, as a node wrote it down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The file.
    pub name: String,
    /// The entry.
    pub last: Option<EntryId>,
    /// The state: what [`Replay::image`] gives.
    pub state: Vec<u8>,
}

/// What a node that is down has of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// Its entries, from the first that was not forgotten.
    pub entries: Vec<Logged>,
    /// The last entry that it knew to be committed, by what it last wrote down.
    pub committed: Option<EntryId>,
    /// Its checkpoints, also those that wait to become the one from which it restarts.
    pub images: Vec<Image>,
}

/// Reads the log of a node that is down, from what is `adjudicator` in its data directory. Changes nothing that its next start
/// would not.
///
/// # Errors
/// If a process has it, or it cannot be read.
pub fn read(directory: &Path) -> io::Result<Evidence> {
    read_on(std::sync::Arc::new(Disk::open(directory)?))
}

pub(crate) fn read_on(fs: std::sync::Arc<dyn FileSystem>) -> io::Result<Evidence> {
    let mut images = Vec::new();
    for name in fs.list()?.into_iter().filter(|name| name.ends_with(".ckpt")) {
        let checkpoint = Checkpoint::decode(&read_all(&*fs, &name)?).map_err(invalid)?;
        let last = checkpoint.last.as_ref().map(entry_id);
        images.push(Image { name, last, state: checkpoint.state });
    }
    let wal = Wal::open(fs, &wal::Options::default())?;
    let meta = Meta::decode(&wal.meta()).map_err(invalid)?;
    let mut entries = Vec::new();
    let (mut next, end) = (wal.first_index(), wal.next_index());
    while next < end {
        for payload in wal.read(next..end, READ_BYTES_MAX)? {
            let entry = decode_logged(next, &payload).map_err(invalid)?;
            let content = match entry.payload {
                Payload::Blank => Content::Blank,
                Payload::Membership(members) => Content::Voters(members.voter_ids().map(NodeId).collect()),
                Payload::Normal(proposal) => Content::Command(proposal.0),
            };
            entries.push(Logged { id: entry_id(&entry.log_id), content });
            next += 1;
        }
    }
    Ok(Evidence { entries, committed: meta.committed.as_ref().map(entry_id), images })
}

fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index, leader: NodeId(id.leader_id.node_id) }
}

fn invalid(error: assize_codec::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The log applied to a fresh state, beside no node.
pub struct Replay {
    core: Adjudicator,
    history: History,
}

impl Default for Replay {
    fn default() -> Self {
        Replay { core: Adjudicator::new(Options::default()), history: History::default() }
    }
}

impl Replay {
    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn from_image(image: &[u8]) -> Result<Replay, String> {
        read_image(image).map(|(core, history)| Replay { core, history })
    }

    /// The core as it stands.
    pub fn core(&self) -> &Adjudicator {
        &self.core
    }

    /// Applies the next command.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        let mut applied = self.core.apply(LogIndex(index), command);
        self.history.add(std::mem::take(&mut applied.retired), self.core.position().closed_ts);
        applied
    }

    /// What a checkpoint after the last command says, byte for byte.
    pub fn image(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_image(&self.history, |out| out.extend(self.core.encode_checkpoint()), &mut out);
        out
    }
}
