//! What nodes of one group say to each other, as bytes: flat, little-endian, with a version in front.
//!
//! ```text
//!   call      version 1 │ kind 1 │ body          answer   0 │ body      served
//!                                                         1             this node's disk is empty: tell it who it is
//!   channel   hello: version 1 │ kind 1 │ body   then messages, each a body alone
//! ```
//!
//! Entries are written as the log writes them, so an old node's log and an old node's words are read by the same code.

use super::record::{decode_entry, encode_entry, log_id, put_log_id};
use super::{LeaderId, LogId, Types, Vote};
use assize_codec::{DecodeError, Put, Reader};
use assize_model::LogIndex;
use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};

const VERSION: u8 = 1;

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE: u8 = 3;
const TRANSFER: u8 = 4;
const WHO_AM_I: u8 = 5;
const YOU_ARE: u8 = 6;
const STATE_HASH: u8 = 7;
const ENTER: u8 = 8;

const APPENDS: u8 = 1;
const CHECKPOINT: u8 = 2;

const SERVED: u8 = 0;
const EMPTY: u8 = 1;

/// Something asked once.
pub enum Request {
    /// A heartbeat, or a lone append.
    Append(AppendEntriesRequest<Types>),
    /// A vote for a term.
    Vote(VoteRequest<Types>),
    /// Whether such a vote would be given.
    PreVote(VoteRequest<Types>),
    /// Take over the lead.
    Transfer(TransferLeaderRequest<Types>),
    /// What do you know of a cluster, and of me?
    WhoAmI,
    /// To a node with an empty disk: what it is in the cluster.
    YouAre {
        /// It is a voter, so it has lost its data.
        is_voter: bool,
    },
    /// The hash of your state after this entry.
    StateHash(LogIndex),
    /// To the leader: a log entry about the node that asks. The leader says which of them it takes.
    Enter(Bytes),
}

impl Request {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(match self {
            Request::Enter(command) => 2 + command.len(),
            _ => 64,
        });
        out.put_u8(VERSION);
        match self {
            Request::Append(request) => {
                out.put_u8(APPEND);
                encode_append(request).iter().for_each(|part| out.put_slice(part));
            }
            Request::Vote(request) => {
                out.put_u8(VOTE);
                put_vote_request(&mut out, request);
            }
            Request::PreVote(request) => {
                out.put_u8(PRE_VOTE);
                put_vote_request(&mut out, request);
            }
            Request::Transfer(request) => {
                out.put_u8(TRANSFER);
                put_vote(&mut out, request.from_leader());
                out.put_u64(*request.to_node_id());
                put_log_id(&mut out, request.last_log_id());
            }
            Request::WhoAmI => out.put_u8(WHO_AM_I),
            Request::YouAre { is_voter } => {
                out.put_u8(YOU_ARE);
                out.put_bool(*is_voter);
            }
            Request::StateHash(index) => {
                out.put_u8(STATE_HASH);
                out.put_u64(index.0);
            }
            Request::Enter(command) => {
                out.put_u8(ENTER);
                out.put_slice(command);
            }
        }
        out.into()
    }

    /// Reads it back.
    pub fn decode(bytes: &Bytes) -> Result<Request, DecodeError> {
        let mut reader = Reader::over(bytes);
        check_version(&mut reader)?;
        let request = match reader.u8()? {
            APPEND => Request::Append(read_append(&mut reader)?),
            VOTE => Request::Vote(read_vote_request(&mut reader)?),
            PRE_VOTE => Request::PreVote(read_vote_request(&mut reader)?),
            TRANSFER => {
                let from = read_vote(&mut reader)?;
                let to = reader.u64()?;
                Request::Transfer(TransferLeaderRequest::new(from, to, log_id(&mut reader)?))
            }
            WHO_AM_I => Request::WhoAmI,
            YOU_ARE => Request::YouAre { is_voter: reader.bool()? },
            STATE_HASH => Request::StateHash(LogIndex(reader.u64()?)),
            ENTER => Request::Enter(reader.shared(reader.left())?),
            other => return Err(reader.bad("kind of request", other.into())),
        };
        reader.finish()?;
        Ok(request)
    }
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8()? {
        VERSION => Ok(()),
        found => Err(DecodeError::UnknownVersion { found: found.into(), newest: VERSION.into() }),
    }
}

/// An answer: what was asked for, or that this node's disk is empty and it must first be told who it is.
pub fn served(body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(1 + body.len());
    out.put_u8(SERVED);
    out.put_slice(body);
    out.into()
}

/// The answer of a node whose disk is empty.
pub fn empty() -> Bytes {
    Bytes::from_static(&[EMPTY])
}

/// The body of an answer; `None` from a node whose disk is empty.
pub fn open_answer(bytes: &Bytes) -> Result<Option<Bytes>, DecodeError> {
    let mut reader = Reader::over(bytes);
    match reader.u8()? {
        SERVED => reader.shared(reader.left()).map(Some),
        EMPTY => Ok(None),
        other => Err(reader.bad("kind of answer", other.into())),
    }
}

/// What a channel is for.
pub enum Hello {
    /// Appends, one answer for each in their order.
    Appends,
    /// A checkpoint in chunks.
    Checkpoint(Offer),
}

/// A checkpoint that is on offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The leader's vote.
    pub vote: Vote,
    /// The last entry in it.
    pub last: Option<LogId>,
    /// Its length.
    pub len: u64,
    /// Its checksum: with the two above, which checkpoint it is.
    pub crc: u32,
}

impl Hello {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        out.put_u8(VERSION);
        match self {
            Hello::Appends => out.put_u8(APPENDS),
            Hello::Checkpoint(offer) => {
                out.put_u8(CHECKPOINT);
                put_vote(&mut out, &offer.vote);
                put_log_id(&mut out, offer.last.as_ref());
                out.put_u64(offer.len);
                out.put_u32(offer.crc);
            }
        }
        out.into()
    }

    /// Reads it back.
    pub fn decode(bytes: &Bytes) -> Result<Hello, DecodeError> {
        let mut reader = Reader::over(bytes);
        check_version(&mut reader)?;
        let hello = match reader.u8()? {
            APPENDS => Hello::Appends,
            CHECKPOINT => Hello::Checkpoint(Offer {
                vote: read_vote(&mut reader)?,
                last: log_id(&mut reader)?,
                len: reader.u64()?,
                crc: reader.u32()?,
            }),
            other => return Err(reader.bad("kind of channel", other.into())),
        };
        reader.finish()?;
        Ok(hello)
    }
}

/// An append as a message of a channel, in parts: commands are large, and are shared as they are.
pub fn encode_append(request: &AppendEntriesRequest<Types>) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(1 + 2 * request.entries.len());
    let mut out = Vec::with_capacity(128);
    put_append_head(&mut out, request);
    for entry in &request.entries {
        let payload = encode_entry(entry);
        let [head, body] = payload.parts();
        out.put_u32((head.len() + body.len()) as u32);
        out.put_slice(head);
        parts.push(std::mem::take(&mut out).into());
        parts.push(payload.body().clone());
    }
    if request.entries.is_empty() {
        parts.push(out.into());
    }
    parts
}

/// Reads it back; commands share the bytes.
pub fn decode_append(bytes: &Bytes) -> Result<AppendEntriesRequest<Types>, DecodeError> {
    let mut reader = Reader::over(bytes);
    let request = read_append(&mut reader)?;
    reader.finish()?;
    Ok(request)
}

fn put_append_head(out: &mut Vec<u8>, request: &AppendEntriesRequest<Types>) {
    put_vote(out, &request.vote);
    put_log_id(out, request.prev_log_id.as_ref());
    put_log_id(out, request.leader_commit.as_ref());
    out.put_u64(request.entries.first().map_or(0, |entry| entry.log_id.index));
    out.put_varint(request.entries.len() as u64);
}

fn read_append(reader: &mut Reader<'_>) -> Result<AppendEntriesRequest<Types>, DecodeError> {
    let vote = read_vote(reader)?;
    let prev_log_id = log_id(reader)?;
    let leader_commit = log_id(reader)?;
    let first = reader.u64()?;
    let count = reader.count(8)?;
    let mut entries = Vec::with_capacity(count);
    for n in 0..count {
        let length = reader.u32()? as usize;
        let bytes = reader.shared(length)?;
        let index = first.checked_add(n as u64).ok_or_else(|| reader.bad("index of an entry", first))?;
        entries.push(decode_entry(index, &bytes)?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

/// What an append came to.
pub fn encode_appended(result: &StreamAppendResult<Types>) -> Bytes {
    let mut out = Vec::with_capacity(32);
    match result {
        Ok(last) => {
            out.put_u8(0);
            put_log_id(&mut out, last.as_ref());
        }
        Err(StreamAppendError::Conflict(at)) => {
            out.put_u8(1);
            put_log_id(&mut out, Some(at));
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.put_u8(2);
            put_vote(&mut out, vote);
        }
    }
    out.into()
}

/// Reads it back.
pub fn decode_appended(bytes: &[u8]) -> Result<StreamAppendResult<Types>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let result = match reader.u8()? {
        0 => Ok(log_id(&mut reader)?),
        1 => match log_id(&mut reader)? {
            Some(at) => Err(StreamAppendError::Conflict(at)),
            None => return Err(reader.bad("place of a conflict", 0)),
        },
        2 => Err(StreamAppendError::HigherVote(read_vote(&mut reader)?)),
        other => return Err(reader.bad("answer to an append", other.into())),
    };
    reader.finish()?;
    Ok(result)
}

/// What a lone append came to, in the words of a stream of them.
pub fn appended(
    request_prev: Option<LogId>,
    request_last: Option<LogId>,
    response: AppendEntriesResponse<Types>,
) -> StreamAppendResult<Types> {
    match response {
        AppendEntriesResponse::Success => Ok(request_last),
        AppendEntriesResponse::PartialSuccess(last) => Ok(last),
        AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        AppendEntriesResponse::Conflict => match request_prev {
            Some(prev) => Err(StreamAppendError::Conflict(prev)),
            // Nothing before the first entry can conflict; an answer that says so says nothing.
            None => Ok(None),
        },
    }
}

fn put_vote_request(out: &mut Vec<u8>, request: &VoteRequest<Types>) {
    put_vote(out, &request.vote);
    put_log_id(out, request.last_log_id.as_ref());
    out.put_bool(request.leadership_transfer);
}

fn read_vote_request(reader: &mut Reader<'_>) -> Result<VoteRequest<Types>, DecodeError> {
    let mut request = VoteRequest::new(read_vote(reader)?, log_id(reader)?);
    request.leadership_transfer = reader.bool()?;
    Ok(request)
}

/// The answer to a request for a vote.
pub fn encode_voted(response: &VoteResponse<Types>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_vote(&mut out, &response.vote);
    out.put_bool(response.vote_granted);
    put_log_id(&mut out, response.last_log_id.as_ref());
    out
}

/// Reads it back.
pub fn decode_voted(bytes: &[u8]) -> Result<VoteResponse<Types>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let vote = read_vote(&mut reader)?;
    let granted = reader.bool()?;
    let response = VoteResponse::new(vote, log_id(&mut reader)?, granted);
    reader.finish()?;
    Ok(response)
}

/// The hash of a node's state after an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateHash {
    /// `None` while it is not known, and when it is forgotten.
    pub hash: Option<u64>,
    /// Which bytes it is of: [`assize_adjudicator::HASH_FORMAT`] of the node's program.
    pub format: u32,
}

impl StateHash {
    /// The answer to [`Request::StateHash`].
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(13);
        out.put_bool(self.hash.is_some());
        out.put_u64(self.hash.unwrap_or(0));
        out.put_u32(self.format);
        out
    }

    /// Reads it back. What earlier releases answer ends before the format, which is the first; later ones may add to it.
    pub fn decode(bytes: &[u8]) -> Result<StateHash, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (is_known, hash) = (reader.bool()?, reader.u64()?);
        let format = if reader.is_done() { 1 } else { reader.u32()? };
        Ok(StateHash { hash: is_known.then_some(hash), format })
    }
}

pub fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.node_id);
    out.put_bool(vote.committed);
}

pub fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, DecodeError> {
    let leader_id = LeaderId { term: reader.u64()?, node_id: reader.u64()? };
    Ok(Vote { leader_id, committed: reader.bool()? })
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Payload, Proposal};
    use super::*;
    use assize_codec::samples::Samples;

    fn id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 3, node_id: 2 }, index }
    }

    fn vote() -> Vote {
        Vote { leader_id: LeaderId { term: 4, node_id: 1 }, committed: true }
    }

    fn append() -> AppendEntriesRequest<Types> {
        let command = |text: &'static str| Payload::Normal(Proposal(Bytes::from_static(text.as_bytes())));
        AppendEntriesRequest {
            vote: vote(),
            prev_log_id: Some(id(6)),
            entries: vec![
                Entry { log_id: id(7), payload: command("first") },
                Entry { log_id: id(8), payload: Payload::Blank },
                Entry { log_id: id(9), payload: command("") },
            ],
            leader_commit: Some(id(5)),
        }
    }

    #[test]
    fn what_is_said_is_what_is_heard_and_no_truncation_is() {
        let request = append();
        let bytes = Bytes::from(encode_append(&request).concat());
        let back = decode_append(&bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
        for len in 0..bytes.len() {
            assert!(decode_append(&bytes.slice(..len)).is_err());
        }
        let votes = VoteRequest::<Types>::new(vote(), Some(id(1)));
        let requests = [
            Request::Append(append()),
            Request::Vote(votes.clone()),
            Request::PreVote(votes),
            Request::Transfer(TransferLeaderRequest::new(vote(), 3, None)),
            Request::WhoAmI,
            Request::YouAre { is_voter: true },
            Request::StateHash(LogIndex(8)),
            Request::Enter(Bytes::from_static(b"command")),
        ];
        let names =
            ["Append", "Vote", "PreVote", "Transfer", "WhoAmI", "YouAre", "StateHash", "Enter"].into_iter();
        let mut samples = Samples::default();
        for (name, request) in names.zip(requests) {
            let bytes = request.encode();
            samples.add(name, &bytes);
            assert_eq!(Request::decode(&bytes).unwrap().encode(), bytes);
            assert!(Request::decode(&bytes.slice(..1)).is_err());
        }
        let offer = Offer { vote: vote(), last: Some(id(9)), len: 10, crc: 11 };
        match Hello::decode(&Hello::Checkpoint(offer).encode()).unwrap() {
            Hello::Checkpoint(back) => assert_eq!(back, offer),
            Hello::Appends => panic!(),
        }
        samples.add("Hello.Appends", &Hello::Appends.encode());
        samples.add("Hello.Checkpoint", &Hello::Checkpoint(offer).encode());
        samples.are(include_str!("../samples/raft_v1.hex"));
    }

    #[test]
    fn every_answer_to_an_append_reads_back() {
        let answers: [StreamAppendResult<Types>; 4] = [
            Ok(None),
            Ok(Some(id(3))),
            Err(StreamAppendError::Conflict(id(4))),
            Err(StreamAppendError::HigherVote(vote())),
        ];
        let mut samples = Samples::default();
        for answer in answers {
            samples.add("Appended", &encode_appended(&answer));
            assert_eq!(decode_appended(&encode_appended(&answer)).unwrap(), answer);
        }
        samples.add("Empty", &empty());
        samples.add("Served", &served(b"body"));
        for hash in [None, Some(7)] {
            let answer = StateHash { hash, format: 2 };
            samples.add("Hashed", &answer.encode());
            assert_eq!(StateHash::decode(&answer.encode()), Ok(answer));
            let before = &answer.encode()[..9];
            assert_eq!(StateHash::decode(before), Ok(StateHash { hash, format: 1 }));
        }
        samples.are(include_str!("../samples/raft_answers_v1.hex"));
        assert!(decode_appended(&[9]).is_err());
    }

    #[test]
    fn a_request_of_another_version_is_refused() {
        let mut bytes = Request::WhoAmI.encode().to_vec();
        bytes[0] = VERSION + 1;
        let refused = Request::decode(&bytes.into()).err();
        assert_eq!(refused, Some(DecodeError::UnknownVersion { found: 2, newest: 1 }));
    }
}
