//! What the log drives on every node: the adjudicator's core, and what goes with it.

use crate::history::History;
use crate::published::Published;
use crate::raft::Mind;
use crate::streams::Streams;
use assize_adjudicator::{Adjudicator, Applied, Command, Decisions, Options, Reply, StateCopy};
use assize_codec::{Reader, envelope};
use assize_model::{Epoch, LogIndex, Timestamp};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Captured checkpoints that are remembered: more are never on their way to the disk at once.
const CAPTURED_MAX: usize = 4;

const TAG: [u8; 4] = *b"asst";
/// 1: history by id. 2: history by page. 3: pages hold differences.
const VERSION: u16 = 3;

/// What a proposer learns about its entry.
pub struct Answer {
    /// Of a batch: what was decided about each footprint.
    pub decisions: Decisions,
    /// What is closed with it.
    pub closed: Timestamp,
    /// Of anything else.
    pub reply: Reply,
}

/// The state machine of one node.
pub struct State {
    /// The replicated core.
    pub core: Adjudicator,
    /// Outcomes that have left the core's memory. Replicated: it follows from the log.
    pub history: History,
    published: Arc<Published>,
    streams: Arc<Streams>,
    /// The highest cluster version that this node understands.
    cluster_version_max: u32,
    /// Why this node cannot go on with this log: its release is too old.
    pub too_old: Option<String>,
    /// The epoch of the placement that was told last.
    placed: Epoch,
    /// Bytes of all commands applied by this process.
    pub bytes_applied: u64,
    /// The last checkpoints that were captured, newest first. The newest of them may never become a file.
    captured: Mutex<VecDeque<Captured>>,
    /// The state after the last entry that asked for its hash, until it is taken.
    to_hash: Mutex<Option<(LogIndex, StateCopy)>>,
}

/// A copy of a state, to be written as a checkpoint.
pub struct StateAndHistory {
    core: StateCopy,
    history: History,
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

/// What an operator is told about a node whose release does not understand the cluster's version.
pub fn too_old(cluster: u32, understood: u32) -> String {
    format!(
        "the cluster is at version {cluster}, and this node's release understands versions up to {understood}: start a \
         newer release on it"
    )
}

impl State {
    /// The state before the first entry. Decisions go to `streams` as they are made, and what is asked for often to `published`. A log whose cluster version is above
    /// `cluster_version_max` is refused.
    pub fn new(streams: Arc<Streams>, published: Arc<Published>, cluster_version_max: u32) -> Self {
        State {
            core: Adjudicator::new(Options::default()),
            history: History::default(),
            published,
            streams,
            cluster_version_max,
            too_old: None,
            placed: Epoch(0),
            bytes_applied: 0,
            captured: Mutex::default(),
            to_hash: Mutex::default(),
        }
    }
}

/// Writes what the log has made of core and history, at the end of a buffer.
pub(crate) fn write_image(history: &History, put_core: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    envelope::seal_written(out, TAG, VERSION, |out| history.encode(out));
    put_core(out);
}

/// Reads back what [`write_image`] wrote.
pub(crate) fn read_image(image: &[u8]) -> Result<(Adjudicator, History), String> {
    let mut reader = Reader::new(image);
    let (version, history) =
        envelope::open_next(&mut reader, TAG, VERSION).map_err(|error| error.to_string())?;
    let mut history = Reader::new(history);
    let history = match version {
        1 => History::decode_v1(&mut history),
        2 => History::decode_v2(&mut history),
        _ => History::decode(&mut history),
    };
    let history = history.map_err(|error| error.to_string())?;
    let core = Adjudicator::decode_checkpoint(Options::default(), reader.rest());
    Ok((core.map_err(|error| error.to_string())?, history))
}

impl State {
    /// Refuses a cluster version that this node does not understand: to apply entries under it would be to promise behaviour
    /// that it does not have.
    fn check_version(&mut self, cluster: u32) -> Result<(), String> {
        if cluster <= self.cluster_version_max {
            return Ok(());
        }
        let why = too_old(cluster, self.cluster_version_max);
        self.too_old = Some(why.clone());
        Err(why)
    }

    /// Tells whoever watches that the placement has changed, if it has.
    fn tell_placement(&mut self) {
        let epoch = self.core.placement().epoch;
        if epoch != self.placed {
            self.placed = epoch;
            self.streams.place(epoch);
        }
    }

    /// Takes the state whose hash was asked for, if there is one.
    pub fn take_to_hash(&self) -> Option<(LogIndex, StateCopy)> {
        self.to_hash.lock().expect("no panic happens under this lock").take()
    }

    /// What a checkpoint whose last log entry is this one was captured with; `None` if it was not captured here.
    pub fn captured(&self, index: u64) -> Option<Captured> {
        let captured = self.captured.lock().expect("no panic happens under this lock");
        // Entries of Raft's own may follow the last one that the core has seen.
        captured.iter().find(|captured| captured.applied.0 <= index).copied()
    }
}

impl Mind for State {
    type Reply = Answer;
    type Copy = StateAndHistory;

    fn apply(&mut self, index: u64, command: &Bytes) -> Result<Answer, String> {
        self.bytes_applied += command.len() as u64;
        let command = Command::decode(command).map_err(|error| error.to_string())?;
        if let Command::RaiseClusterVersion(version) = command {
            self.check_version(version)?;
        }
        let mut applied: Applied = self.core.apply(LogIndex(index), &command);
        if matches!(command, Command::NoteHash) {
            let copy = (LogIndex(index), self.core.begin_copy());
            *self.to_hash.lock().expect("no panic happens under this lock") = Some(copy);
        }
        self.published.observe(&command, &applied);
        self.history.add(std::mem::take(&mut applied.retired), self.core.position().closed_ts);
        if let Some(streamed) = applied.stream.take() {
            self.streams.publish(streamed);
        }
        self.tell_placement();
        self.published.publish(&self.core);
        let closed = self.core.position().closed_ts;
        Ok(Answer { decisions: applied.decisions, closed, reply: applied.reply })
    }

    fn apply_blank(&mut self, _index: u64) {}

    fn capture(&mut self) -> StateAndHistory {
        {
            let mut captured = self.captured.lock().expect("no panic happens under this lock");
            captured.truncate(CAPTURED_MAX - 1);
            captured.push_front(Captured {
                applied: self.core.applied(),
                streamed: self.core.position().index,
                bytes_applied: self.bytes_applied,
            });
        }
        StateAndHistory { core: self.core.begin_copy(), history: self.history.to_write() }
    }

    fn complete(&self, copy: &mut StateAndHistory) -> bool {
        copy.core.fill(&self.core)
    }

    fn encode(copy: StateAndHistory, out: &mut Vec<u8>) {
        write_image(&copy.history, |out| copy.core.encode_into(out), out);
    }

    fn restore(&mut self, checkpoint: &[u8]) -> Result<(), String> {
        let (core, history) = read_image(checkpoint)?;
        self.check_version(core.cluster_version())?;
        self.core.complete_copies();
        self.history = history;
        self.core = core;
        // Checkpoints of the state that is gone must not become the base any more.
        self.captured.lock().expect("no panic happens under this lock").clear();
        self.published.forget();
        self.published.publish(&self.core);
        self.streams.begin_after(self.core.position().index);
        self.tell_placement();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_adjudicator::OutcomePage;
    use assize_adjudicator::command::Bootstrap;
    use assize_adjudicator::page::PageKey;
    use assize_codec::samples::{self, Samples};
    use assize_model::{
        AbortReason, DeadlineClass, Decision, FrontendEpoch, FrontendId, NodeId, Outcome, Placement, TxnId,
    };

    /// A state that has begun a cluster of this number, and a window of many parts.
    fn begun(cluster: u128, window_log2: u8) -> State {
        let placement = Placement::even(1, NodeId(1));
        let bootstrap = Bootstrap::new(cluster, 7, Timestamp::from_millis(1000), placement);
        let command = Command::Bootstrap(Bootstrap { window_log2, ..bootstrap });
        let mut state = State::new(Streams::new(), Arc::default(), u32::MAX);
        state.apply(1, &command.encode().into()).unwrap();
        state
    }

    fn image_of(state: &mut State) -> Vec<u8> {
        let mut copy = state.capture();
        while !state.complete(&mut copy) {}
        let mut image = Vec::new();
        State::encode(copy, &mut image);
        image
    }

    /// What is in checkpoints out there.
    #[test]
    fn images_of_every_version_are_read_and_the_bytes_of_the_newest_stay_as_they_are() {
        let begun_at = Timestamp::from_millis(1000);
        let txn = |n| TxnId::new(begun_at, DeadlineClass::Normal, FrontendId(1), FrontendEpoch(1), n);
        let aborted = Decision::Abort { reason: AbortReason::SnapshotTooOld };
        let mut page = OutcomePage::new(PageKey::of(txn(7)));
        page.put_decision(txn(7), Decision::Commit { commit_ts: Timestamp(9) });
        page.put_decision(txn(8), aborted.clone());
        let mut history = History::default();
        history.add(vec![page.pack()], begun_at);
        let core = begun(1, 1).core;
        let mut image = Vec::new();
        write_image(&history, |out| out.extend(core.encode_checkpoint()), &mut image);
        let mut samples = Samples::default();
        samples.add("image", &image);
        samples.are(include_str!("samples/image_v3.hex"));
        let stored = [
            include_str!("samples/image_v1.hex"),
            include_str!("samples/image_v2.hex"),
            include_str!("samples/image_v3.hex"),
        ];
        for (_, image) in stored.into_iter().flat_map(samples::parse) {
            let (read, outcomes) = read_image(&image).unwrap();
            assert_eq!(read.state_hash(), core.state_hash());
            assert_eq!(outcomes.outcome(txn(7)), Outcome::Committed(Timestamp(9)));
            assert_eq!(outcomes.outcome(txn(8)), Outcome::from(aborted.clone()));
        }
    }

    #[test]
    fn a_copy_that_is_being_made_when_the_state_is_replaced_is_of_the_former_state() {
        let (mut state, other) = (begun(1, 14), image_of(&mut begun(2, 4)));
        let expected = image_of(&mut state);
        let mut copy = state.capture();
        assert!(!state.complete(&mut copy));
        state.restore(&other).unwrap();
        while !state.complete(&mut copy) {}
        let mut image = Vec::new();
        State::encode(copy, &mut image);
        assert!(image == expected);
        assert!(image_of(&mut state) == other);
    }

    #[test]
    fn what_was_captured_before_the_state_is_replaced_is_forgotten() {
        let (mut state, other) = (begun(1, 4), image_of(&mut begun(2, 4)));
        image_of(&mut state);
        assert!(state.captured(1).is_some());
        state.restore(&other).unwrap();
        assert!(state.captured(1).is_none());
    }
}
