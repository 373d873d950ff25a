//! Commits over a channel, many to a frame.
//!
//! ```text
//!   sessions ──▶ queue ──▶ frame ──▶ commit_many ──▶ decisions of the frame ──▶ sessions
//! ```
//!
//! The client puts everything queued into one frame; with several frames under way, more gathers in the next one. The
//! server hands a frame over as it came, without a task or an allocation for each footprint.

use super::lane::Talk;
use super::wire::{COMMIT_HEAD, Decisions, Purpose, ToCommits, put_commit_head};
use assize_adjudicator::{COMPACT_SINCE, widened};
use assize_codec::DecodeError;
use assize_model::{FrontendEpoch, FrontendId, Timestamp};
use assize_ports::{
    AdjudicatorClient, AdjudicatorError, Channel, Decided, DecisionParts, Footprints, FrameDecisions, TxnRun,
};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::sync::oneshot;

/// Frames of one client under way at a time.
const FRAMES_MAX: usize = 32;
/// Bytes of footprints in a frame, unless a single one is longer.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Footprints in a frame.
pub const FRAME_COMMITS_MAX: u32 = 8192;
/// Bytes of footprints that wait for a frame.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Acknowledgements that wait to be sent; a lost one keeps an outcome longer than needed, no more.
const ACKNOWLEDGEMENTS_MAX: usize = 1 << 16;

/// The client's end.
#[derive(Default)]
pub struct Commits {
    queue: VecDeque<Waiting>,
    queue_bytes: usize,
    next_frame: u64,
    under_way: HashMap<u64, Vec<Reply>>,
    acknowledged: Vec<TxnRun>,
    oldest: BTreeMap<(FrontendId, FrontendEpoch), Option<Timestamp>>,
}

struct Waiting {
    footprints: Footprints,
    reply: Reply,
}

enum Reply {
    One(oneshot::Sender<Decided>),
    Many(u32, oneshot::Sender<FrameDecisions>),
}

impl Commits {
    /// Queues a footprint.
    pub fn commit(&mut self, footprint: Bytes) -> oneshot::Receiver<Decided> {
        let (reply, decided) = oneshot::channel();
        self.queue(Footprints::one(footprint), Reply::One(reply));
        decided
    }

    /// Queues footprints that go into one frame: at most [`FRAME_COMMITS_MAX`] and [`FRAME_BYTES_MAX`] of them.
    pub fn commit_many(&mut self, footprints: Footprints) -> oneshot::Receiver<FrameDecisions> {
        let (reply, decided) = oneshot::channel();
        let reply = Reply::Many(footprints.count, reply);
        self.queue(footprints, reply);
        decided
    }

    fn queue(&mut self, footprints: Footprints, reply: Reply) {
        let bytes = footprints.bytes.len();
        if self.queue_bytes + bytes > QUEUE_BYTES_MAX && !self.queue.is_empty() {
            let waiting = self.queue_bytes;
            let error = format!("{waiting} bytes of commits wait for the network");
            return reply.fail(&AdjudicatorError::Overloaded(error));
        }
        self.queue_bytes += bytes;
        self.queue.push_back(Waiting { footprints, reply });
    }

    /// Queues acknowledgements.
    pub fn acknowledge(&mut self, runs: &[TxnRun]) {
        for run in runs {
            if self.acknowledged.len() < ACKNOWLEDGEMENTS_MAX {
                TxnRun::push_run(&mut self.acknowledged, *run);
            }
        }
    }

    /// Queues a report; a later one of the same frontend replaces it.
    pub fn report_oldest(&mut self, frontend: FrontendId, epoch: FrontendEpoch, oldest: Option<Timestamp>) {
        self.oldest.insert((frontend, epoch), oldest);
    }

    fn next_frame(&mut self) -> NextFrame {
        // The first part is the head's.
        let mut footprints = vec![Bytes::new()];
        let mut replies = Vec::new();
        let (mut bytes, mut count) = (0, 0);
        while let Some(next) = self.queue.front() {
            let (more, more_bytes) = (next.footprints.count, next.footprints.bytes.len());
            let full = bytes + more_bytes > FRAME_BYTES_MAX || count + more > FRAME_COMMITS_MAX;
            if full && !replies.is_empty() {
                break;
            }
            bytes += more_bytes;
            count += more;
            let Some(next) = self.queue.pop_front() else { break };
            footprints.push(next.footprints.bytes);
            replies.push(next.reply);
        }
        self.queue_bytes -= bytes;
        let frame = self.next_frame;
        self.next_frame += 1;
        self.under_way.insert(frame, replies);
        NextFrame { frame, count, bytes, footprints }
    }
}

/// What is said next: a frame that is put together outside the lock, or something small.
pub enum Said {
    Frame(NextFrame),
    Other(ToCommits),
}

/// Footprints that have gathered.
pub struct NextFrame {
    frame: u64,
    count: u32,
    bytes: usize,
    /// Behind an empty one.
    footprints: Vec<Bytes>,
}

impl NextFrame {
    fn encode(mut self, peer_cluster_version: u32) -> Vec<Bytes> {
        if peer_cluster_version < COMPACT_SINCE {
            // Behind the head, which is still empty.
            self.footprints[1..].iter_mut().for_each(|part| *part = widened(part));
            self.bytes = self.footprints.iter().map(Bytes::len).sum();
        }
        let mut head = Vec::with_capacity(COMMIT_HEAD);
        put_commit_head(&mut head, self.frame, self.count, self.bytes);
        let mut parts = self.footprints;
        // In front: it was left free there.
        parts[0] = head.into();
        parts
    }
}

impl Reply {
    /// Takes its share of a frame's decisions. Fewer than asked for are no answer.
    fn answer(self, decisions: &mut DecisionParts) {
        // Whoever has gone needs no answer.
        match self {
            Reply::One(reply) => drop(reply.send(decisions.take_one())),
            Reply::Many(count, reply) => drop(reply.send(decisions.take(count))),
        }
    }

    fn fail(self, error: &AdjudicatorError) {
        match self {
            Reply::One(reply) => drop(reply.send(Err(error.clone()))),
            Reply::Many(count, reply) => drop(reply.send(FrameDecisions::all(count, Err(error.clone())))),
        }
    }
}

impl Talk for Commits {
    type Said = Said;
    type Heard = Decisions;

    fn hello() -> Bytes {
        Purpose::Commits.encode()
    }

    fn next(&mut self) -> Option<Said> {
        if !self.queue.is_empty() && self.under_way.len() < FRAMES_MAX {
            return Some(Said::Frame(self.next_frame()));
        }
        if let Some(((frontend, epoch), oldest)) = self.oldest.pop_first() {
            return Some(Said::Other(ToCommits::ReportOldest { frontend, epoch, oldest }));
        }
        if !self.acknowledged.is_empty() {
            return Some(Said::Other(ToCommits::Acknowledge(std::mem::take(&mut self.acknowledged))));
        }
        None
    }

    fn encode(said: Said, peer_cluster_version: u32) -> Vec<Bytes> {
        match said {
            Said::Frame(frame) => frame.encode(peer_cluster_version),
            Said::Other(said) => vec![said.encode()],
        }
    }

    fn decode(message: &Bytes) -> Result<Decisions, DecodeError> {
        Decisions::decode(message)
    }

    fn hear(&mut self, heard: Decisions) {
        let mut decisions = heard.decisions.into_parts();
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
            ToCommits::Acknowledge(runs) => client.acknowledge(runs),
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
    use assize_adjudicator::{EncodedFootprint, footprints_of};
    use assize_model::*;

    /// Two keys that are read and one that is written.
    fn prepared() -> Footprint {
        let checked = [1, 2, 3].map(KeyHash).to_vec();
        let digest = WriteDigest { count: 1, sum: 7 };
        Footprint {
            txn: TxnId::from_serial(Timestamp::from_millis(5), 1),
            groups: vec![AccessGroup { snapshot_ts: Timestamp(9), checked, ranges: Vec::new() }],
            schemas: vec![(TableId(1), SchemaVersion(1))],
            auto_increments: Vec::new(),
            body: CommitBody::Prepared {
                receipts: vec![Receipt { shard: ShardId(1), epoch: Epoch(1), digest }],
                written: vec![WrittenKey { hash: KeyHash(3), ordered: None }],
            },
            catalog_change: None,
        }
    }

    fn footprint(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    fn committed(ts: u64) -> Decided {
        Ok(Decision::Commit { commit_ts: Timestamp(ts) })
    }

    fn commits_of(said: Option<Said>) -> (u64, u32) {
        match said.map(|said| ToCommits::decode(&Commits::encode(said, u32::MAX).concat().into()).unwrap()) {
            Some(ToCommits::Commit { frame, footprints }) => (frame, footprints.count),
            other => panic!("not a frame of commits: {other:?}"),
        }
    }

    fn two() -> Footprints {
        [footprint(1), footprint(1)].iter().collect()
    }

    #[test]
    fn everything_queued_goes_into_one_frame_and_everybody_gets_their_own_decision() {
        let mut commits = Commits::default();
        let mut first = commits.commit(footprint(1));
        let mut both = commits.commit_many(two());
        let mut last = commits.commit(footprint(1));
        let (frame, count) = commits_of(commits.next());
        assert_eq!(count, 4);
        assert!(commits.next().is_none());
        let decisions = (1..=4).map(committed).collect();
        commits.hear(Decisions { frame, decisions });
        assert_eq!(first.try_recv().unwrap(), committed(1));
        assert_eq!(both.try_recv().unwrap(), FrameDecisions::from_iter([committed(2), committed(3)]));
        assert_eq!(last.try_recv().unwrap(), committed(4));
    }

    #[test]
    fn an_older_program_is_given_what_it_can_read() {
        let footprint = prepared();
        let encoded = EncodedFootprint::new(&footprint).unwrap();
        assert!(encoded.view().is_compact());
        let mut commits = Commits::default();
        for (version, is_compact) in [(COMPACT_SINCE, true), (COMPACT_SINCE - 1, false)] {
            let _both =
                commits.commit_many([encoded.bytes().clone(), encoded.bytes().clone()].iter().collect());
            let message = Commits::encode(commits.next().unwrap(), version).concat().into();
            let ToCommits::Commit { footprints, .. } = ToCommits::decode(&message).unwrap() else { panic!() };
            let views: Vec<_> = footprints_of(&footprints.bytes).map(Result::unwrap).collect();
            assert_eq!(views.len(), 2);
            for view in views {
                assert_eq!(view.is_compact(), is_compact);
                assert_eq!(view.to_footprint(), footprint);
            }
        }
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
        commits.hear(Decisions { frame: 0, decisions: FrameDecisions::from_iter([committed(1)]) });
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
        let mut both = commits.commit_many(two());
        let (frame, _) = commits_of(commits.next());
        commits.hear(Decisions { frame, decisions: FrameDecisions::from_iter([committed(1)]) });
        let lost = Err(AdjudicatorError::ReplyLost);
        assert_eq!(both.try_recv().unwrap(), FrameDecisions::from_iter([committed(1), lost]));
    }
}
