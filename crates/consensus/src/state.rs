//! What the log drives on every node: the adjudicator's core, and what goes with it.

use crate::history::History;
use crate::raft::Mind;
use crate::streams::Streams;
use assize_adjudicator::{Adjudicator, Applied, Command, Decisions, Explainer, Options, Reply};
use assize_codec::{Put, Reader, envelope};
use assize_model::LogIndex;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// Batches kept for telling a loser who won.
const EXPLAINER_BYTES: usize = 32 << 20;

const TAG: [u8; 4] = *b"asst";
/// 1: history by id. 2: history by page.
const VERSION: u16 = 2;

/// What a proposer learns about its entry.
pub struct Answer {
    /// Of a batch: what was decided about each footprint.
    pub decisions: Decisions,
    /// Of anything else.
    pub reply: Reply,
}

/// The state machine of one node.
pub struct State {
    /// The replicated core.
    pub core: Adjudicator,
    /// Outcomes that have left the core's memory. Replicated: it follows from the log.
    pub history: History,
    /// Recent batches. Not replicated, and no decision depends on it.
    pub explainer: Explainer,
    streams: Arc<Streams>,
    /// Bytes of all commands applied by this process.
    pub bytes_applied: u64,
    /// The last checkpoint that was captured.
    captured: Mutex<Captured>,
}

/// What must be remembered about a captured checkpoint until it may become the base.
#[derive(Clone, Copy, Default, Debug)]
pub struct Captured {
    /// Its entry.
    pub applied: LogIndex,
    /// The last entry in it that had something to say to shards. A replica that has persisted this one can
    /// resume after it, whatever came between it and the checkpoint.
    pub streamed: LogIndex,
    /// `bytes_applied` at that moment.
    pub bytes_applied: u64,
}

impl State {
    /// The state before the first entry. Decisions go to `streams` as they are made.
    pub fn new(streams: Arc<Streams>) -> Self {
        State {
            core: Adjudicator::new(Options::default()),
            history: History::default(),
            explainer: Explainer::new(EXPLAINER_BYTES),
            streams,
            bytes_applied: 0,
            captured: Mutex::default(),
        }
    }
}

impl State {
    /// The last checkpoint that was captured.
    pub fn captured(&self) -> Captured {
        *self.captured.lock().expect("no panic happens under this lock")
    }
}

impl Mind for State {
    type Reply = Answer;

    fn apply(&mut self, index: u64, command: &Bytes) -> Result<Answer, String> {
        self.bytes_applied += command.len() as u64;
        let command = Command::decode(command).map_err(|error| error.to_string())?;
        let mut applied: Applied = self.core.apply(LogIndex(index), &command);
        self.explainer.observe(&command, &applied);
        self.history.add(std::mem::take(&mut applied.retired), self.core.position().closed_ts);
        if let Some(streamed) = applied.stream.take() {
            self.streams.publish(streamed);
        }
        Ok(Answer { decisions: applied.decisions, reply: applied.reply })
    }

    fn apply_blank(&mut self, _index: u64) {}

    fn checkpoint(&self) -> Vec<u8> {
        *self.captured.lock().expect("no panic happens under this lock") = Captured {
            applied: self.core.applied(),
            streamed: self.core.position().index,
            bytes_applied: self.bytes_applied,
        };
        let mut history = Vec::new();
        self.history.encode(&mut history);
        let core = self.core.encode_checkpoint();
        let mut out = Vec::with_capacity(core.len() + history.len() + 64);
        envelope::seal_into(&mut out, TAG, VERSION, &history);
        out.put_slice(&core);
        out
    }

    fn restore(&mut self, checkpoint: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(checkpoint);
        let (version, history) =
            envelope::open_next(&mut reader, TAG, VERSION).map_err(|error| error.to_string())?;
        let mut history = Reader::new(history);
        let history =
            if version == 1 { History::decode_v1(&mut history) } else { History::decode(&mut history) };
        self.history = history.map_err(|error| error.to_string())?;
        self.core = Adjudicator::decode_checkpoint(Options::default(), reader.rest())
            .map_err(|error| error.to_string())?;
        self.explainer = Explainer::new(EXPLAINER_BYTES);
        self.streams.begin_after(self.core.position().index);
        Ok(())
    }
}
