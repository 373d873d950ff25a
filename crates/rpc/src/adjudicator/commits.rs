//! Commits over a channel, many to a frame.
//!
//! ```text
//!   sessions ──▶ queue ──▶ frame ──▶ commit_many ──▶ decisions of the frame ──▶ sessions
//! ```
//!
//! The client puts everything queued into one frame; with several frames under way, more gathers in the next one. The
//! server hands a frame over as it came, without a task or an allocation for each footprint.

use super::lane::Talk;
use super::wire::{Decisions, Purpose, ToCommits};
use assize_codec::DecodeError;
use assize_model::{Decision, FrontendEpoch, FrontendId, Timestamp, TxnId};
use assize_ports::{AdjudicatorClient, AdjudicatorError, Channel};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::sync::oneshot;

/// Frames of one client under way at a time.
const FRAMES_MAX: usize = 32;
/// Bytes of footprints in a frame, unless a single one is longer.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Footprints in a frame.
pub const FRAME_COMMITS_MAX: usize = 8192;
/// Bytes of footprints that wait for a frame.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Acknowledgements that wait to be sent; a lost one keeps an outcome longer than needed, no more.
const ACKNOWLEDGEMENTS_MAX: usize = 1 << 16;

type Decided = Result<Decision, AdjudicatorError>;

/// The client's end.
#[derive(Default)]
pub struct Commits {
    queue: VecDeque<Waiting>,
    queue_bytes: usize,
    next_frame: u64,
    under_way: HashMap<u64, Vec<Reply>>,
    acknowledged: Vec<TxnId>,
    oldest: BTreeMap<(FrontendId, FrontendEpoch), Option<Timestamp>>,
}

struct Waiting {
    footprints: Footprints,
    reply: Reply,
}

enum Footprints {
    One(Bytes),
    Many(Vec<Bytes>),
}

enum Reply {
    One(oneshot::Sender<Decided>),
    Many(usize, oneshot::Sender<Vec<Decided>>),
}

impl Commits {
    /// Queues a footprint.
    pub fn commit(&mut self, footprint: Bytes) -> oneshot::Receiver<Decided> {
        let (reply, decided) = oneshot::channel();
        self.queue(footprint.len(), Footprints::One(footprint), Reply::One(reply));
        decided
    }

    /// Queues footprints that go into one frame: at most [`FRAME_COMMITS_MAX`] and [`FRAME_BYTES_MAX`] of them.
    pub fn commit_many(&mut self, footprints: Vec<Bytes>) -> oneshot::Receiver<Vec<Decided>> {
        let (reply, decided) = oneshot::channel();
        let bytes = footprints.iter().map(Bytes::len).sum();
        let reply = Reply::Many(footprints.len(), reply);
        self.queue(bytes, Footprints::Many(footprints), reply);
        decided
    }

    fn queue(&mut self, bytes: usize, footprints: Footprints, reply: Reply) {
        if self.queue_bytes + bytes > QUEUE_BYTES_MAX && !self.queue.is_empty() {
            let waiting = self.queue_bytes;
            let error = format!("{waiting} bytes of commits wait for the network");
            return reply.fail(&AdjudicatorError::Overloaded(error));
        }
        self.queue_bytes += bytes;
        self.queue.push_back(Waiting { footprints, reply });
    }

    /// Queues acknowledgements.
    pub fn acknowledge(&mut self, txns: &[TxnId]) {
        let room = ACKNOWLEDGEMENTS_MAX.saturating_sub(self.acknowledged.len());
        self.acknowledged.extend(txns.iter().take(room));
    }

    /// Queues a report; a later one of the same frontend replaces it.
    pub fn report_oldest(&mut self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        self.oldest.insert((frontend, epoch), oldest);
    }

    fn next_frame(&mut self) -> ToCommits {
        let mut footprints = Vec::new();
        let mut replies = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.queue.front() {
            let (count, more) = (next.footprints.count(), next.footprints.bytes());
            let full = bytes + more > FRAME_BYTES_MAX || footprints.len() + count > FRAME_COMMITS_MAX;
            if full && !footprints.is_empty() {
                break;
            }
            bytes += more;
            let Some(next) = self.queue.pop_front() else { break };
            match next.footprints {
                Footprints::One(footprint) => footprints.push(footprint),
                Footprints::Many(many) => footprints.extend(many),
            }
            replies.push(next.reply);
        }
        self.queue_bytes -= bytes;
        let frame = self.next_frame;
        self.next_frame += 1;
        self.under_way.insert(frame, replies);
        ToCommits::Commit { frame, footprints }
    }
}

impl Footprints {
    fn count(&self) -> usize {
        match self {
            Footprints::One(_) => 1,
            Footprints::Many(many) => many.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Footprints::One(footprint) => footprint.len(),
            Footprints::Many(many) => many.iter().map(Bytes::len).sum(),
        }
    }
}

impl Reply {
    /// Takes its share of a frame's decisions. Fewer than asked for are no answer.
    fn answer(self, decisions: &mut impl Iterator<Item = Decided>) {
        // Whoever has gone needs no answer.
        match self {
            Reply::One(reply) => {
                let _ = reply.send(decisions.next().unwrap_or(Err(AdjudicatorError::ReplyLost)));
            }
            Reply::Many(count, reply) => {
                let mut decided: Vec<Decided> = decisions.take(count).collect();
                decided.resize(count, Err(AdjudicatorError::ReplyLost));
                let _ = reply.send(decided);
            }
        }
    }

    fn fail(self, error: &AdjudicatorError) {
        self.answer(&mut std::iter::repeat_with(|| Err(error.clone())));
    }
}

impl Talk for Commits {
    type Said = ToCommits;
    type Heard = Decisions;

    fn hello() -> Bytes {
        Purpose::Commits.encode()
    }

    fn next(&mut self) -> Option<ToCommits> {
        if !self.queue.is_empty() && self.under_way.len() < FRAMES_MAX {
            return Some(self.next_frame());
        }
        if let Some(((frontend, epoch), oldest)) = self.oldest.pop_first() {
            return Some(ToCommits::ReportOldest { frontend, epoch, oldest });
        }
        if !self.acknowledged.is_empty() {
            return Some(ToCommits::Acknowledge(std::mem::take(&mut self.acknowledged)));
        }
        None
    }

    fn encode(said: ToCommits) -> Bytes {
        said.encode()
    }

    fn decode(message: &Bytes) -> Result<Decisions, DecodeError> {
        Decisions::decode(message)
    }

    fn hear(&mut self, heard: Decisions) {
        let mut decisions = heard.decisions.into_iter();
        // An unknown frame's: nobody waits for it.
        for reply in self.under_way.remove(&heard.frame).into_iter().flatten() {
            reply.answer(&mut decisions);
        }
    }

    fn lost(&mut self, reason: &str) {
        for reply in self.under_way.drain().flat_map(|(_, replies)| replies) {
            reply.fail(&AdjudicatorError::ReplyLost);
        }
        let never_sent = AdjudicatorError::Unreachable(reason.into());
        for waiting in self.queue.drain(..) {
            waiting.reply.fail(&never_sent);
        }
        self.queue_bytes = 0;
        self.acknowledged.clear();
        self.oldest.clear();
    }
}

/// The server's end: decides frames until the channel ends.
pub async fn serve(client: &dyn AdjudicatorClient, channel: Channel) -> Result<(), String> {
    let Channel { mut sender, mut receiver } = channel;
    let mut frames = FuturesUnordered::new();
    loop {
        let message = tokio::select! {
            // What is decided leaves first; and a frame that has just been taken is started here.
            biased;
            Some(decisions) = frames.next(), if !frames.is_empty() => {
                let decisions: Decisions = decisions;
                sender.send(decisions.encode()).await.map_err(|error| error.to_string())?;
                continue;
            }
            message = receiver.receive(), if frames.len() < FRAMES_MAX => {
                message.map_err(|error| error.to_string())?
            }
        };
        let Some(message) = message else { break };
        match ToCommits::decode(&message).map_err(|error| error.to_string())? {
            ToCommits::Commit { frame, footprints } => frames.push(async move {
                let decisions = client.commit_many(footprints).await;
                Decisions { frame, decisions }
            }),
            ToCommits::Acknowledge(txns) => client.acknowledge(txns),
            ToCommits::ReportOldest { frontend, epoch, oldest } => {
                client.report_oldest_snapshot(frontend, epoch, oldest);
            }
        }
    }
    // The client says no more, and may still listen.
    while let Some(decisions) = frames.next().await {
        sender.send(decisions.encode()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footprint(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    fn committed(ts: u64) -> Decided {
        Ok(Decision::Commit { commit_ts: Timestamp(ts) })
    }

    fn commits_of(said: Option<ToCommits>) -> (u64, usize) {
        match said {
            Some(ToCommits::Commit { frame, footprints }) => (frame, footprints.len()),
            other => panic!("not a frame of commits: {other:?}"),
        }
    }

    #[test]
    fn everything_queued_goes_into_one_frame_and_everybody_gets_their_own_decision() {
        let mut commits = Commits::default();
        let mut first = commits.commit(footprint(1));
        let mut both = commits.commit_many(vec![footprint(1), footprint(1)]);
        let mut last = commits.commit(footprint(1));
        let (frame, count) = commits_of(commits.next());
        assert_eq!(count, 4);
        assert!(commits.next().is_none());
        let decisions = (1..=4).map(committed).collect();
        commits.hear(Decisions { frame, decisions });
        assert_eq!(first.try_recv().unwrap(), committed(1));
        assert_eq!(both.try_recv().unwrap(), vec![committed(2), committed(3)]);
        assert_eq!(last.try_recv().unwrap(), committed(4));
    }

    #[test]
    fn a_frame_is_bounded_and_so_are_frames_under_way() {
        let mut commits = Commits::default();
        let _one = commits.commit(footprint(FRAME_BYTES_MAX - 1));
        let _two = commits.commit(footprint(2));
        assert_eq!(commits_of(commits.next()).1, 1);
        assert_eq!(commits_of(commits.next()).1, 1);
        for _ in 2..FRAMES_MAX {
            drop(commits.commit(footprint(1)));
            commits_of(commits.next());
        }
        let _gathers = commits.commit(footprint(1));
        let _too = commits.commit(footprint(1));
        assert!(commits.next().is_none());
        commits.hear(Decisions { frame: 0, decisions: vec![committed(1)] });
        assert_eq!(commits_of(commits.next()).1, 2);
    }

    #[test]
    fn what_was_sent_is_lost_and_what_was_not_is_unreachable() {
        let mut commits = Commits::default();
        let mut sent = commits.commit(footprint(1));
        commits_of(commits.next());
        let mut queued = commits.commit(footprint(1));
        commits.lost("broken");
        assert_eq!(sent.try_recv().unwrap(), Err(AdjudicatorError::ReplyLost));
        assert_eq!(queued.try_recv().unwrap(), Err(AdjudicatorError::Unreachable("broken".into())));
    }

    #[test]
    fn too_few_decisions_are_no_decision() {
        let mut commits = Commits::default();
        let mut both = commits.commit_many(vec![footprint(1), footprint(1)]);
        let (frame, _) = commits_of(commits.next());
        commits.hear(Decisions { frame, decisions: vec![committed(1)] });
        assert_eq!(both.try_recv().unwrap(), vec![committed(1), Err(AdjudicatorError::ReplyLost)]);
    }
}
