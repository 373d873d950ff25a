//! Checkpoints that are on their way to other nodes, and are kept for a while when their channel breaks.
//!
//! ```text
//!   copy 7 ──▶ channel ──✕            kept ──┬── asked again: the image goes on behind the last entry that has arrived
//!                                            └── two minutes later: dropped, and RocksDB may forget what only it shows
//! ```

use super::blocking;
use super::copy::CopyError;
use crate::wire::{Arrived, Digest, Piece};
use assize_model::{ReplicaId, ShardId};
use assize_ports::ChannelSender;
use assize_rocks::{Chunk, Image, RocksError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A checkpoint on which nothing has happened for so long is dropped.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// So many are kept at a time; of more, the one on which nothing has happened for longest goes.
const KEPT_MAX: usize = 16;

/// Which copy: of which shard, for whom, and what he calls it.
pub type CopyName = (ShardId, ReplicaId, u64);

/// The checkpoints of a node that are on their way.
#[derive(Default)]
pub struct Outgoing {
    copies: Mutex<BTreeMap<CopyName, Arc<Copy>>>,
}

/// One of them.
struct Copy {
    /// Whose turn it is to send: whoever comes later takes over from a channel that has not noticed that it broke.
    turn: watch::Sender<u64>,
    sending: tokio::sync::Mutex<Sending>,
    touched: Mutex<Instant>,
}

struct Sending {
    /// `None` for the moment in which a chunk is read.
    image: Option<Image>,
    digest: Digest,
    /// What the entries added up to after each chunk: nobody goes on from anything else.
    marks: BTreeMap<u64, u64>,
}

impl Outgoing {
    /// Sends a checkpoint from its beginning.
    pub async fn begin(
        self: &Arc<Self>,
        name: CopyName,
        image: Image,
        sender: &mut dyn ChannelSender,
    ) -> Result<(), CopyError> {
        let sending = Sending { image: Some(image), digest: Digest::default(), marks: BTreeMap::new() };
        let copy = Arc::new(Copy {
            turn: watch::Sender::new(0),
            sending: tokio::sync::Mutex::new(sending),
            touched: Mutex::new(Instant::now()),
        });
        {
            let mut copies = self.copies();
            copies.insert(name, copy.clone());
            if copies.len() > KEPT_MAX
                && let Some(oldest) =
                    copies.iter().min_by_key(|(_, copy)| copy.touched()).map(|(name, _)| *name)
            {
                copies.remove(&oldest);
            }
        }
        tokio::spawn(drop_when_idle(Arc::downgrade(self), name, Arc::downgrade(&copy)));
        copy.send(None, sender).await
    }

    /// Goes on with one; says so if it is not kept any more.
    pub async fn go_on(
        &self,
        name: CopyName,
        arrived: Arrived,
        sender: &mut dyn ChannelSender,
    ) -> Result<(), CopyError> {
        let copy = self.copies().get(&name).cloned();
        match copy {
            Some(copy) => copy.send(Some(arrived), sender).await,
            None => Ok(sender.send(Piece::Gone.encode()).await?),
        }
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<CopyName, Arc<Copy>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copy {
    fn touched(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn send(&self, arrived: Option<Arrived>, sender: &mut dyn ChannelSender) -> Result<(), CopyError> {
        self.turn.send_modify(|turn| *turn += 1);
        let mut turn = self.turn.subscribe();
        let mut sending = self.sending.lock().await;
        self.touch();
        if let Some(arrived) = arrived
            && !sending.go_on_after(&arrived)
        {
            return Ok(sender.send(Piece::Gone.encode()).await?);
        }
        loop {
            let chunk = sending.next().await?;
            let piece = match chunk {
                Some(chunk) => Piece::Entries(chunk),
                None => Piece::CheckpointEnd(sending.digest),
            };
            let is_last = matches!(piece, Piece::CheckpointEnd(_));
            tokio::select! {
                sent = sender.send(piece.encode()) => sent?,
                _ = turn.changed() => return Err(CopyError::Short),
            }
            self.touch();
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Sending {
    /// Goes on behind an entry, if it is the last of a chunk that was sent.
    fn go_on_after(&mut self, arrived: &Arrived) -> bool {
        let was_sent = self.marks.get(&arrived.digest.entries) == Some(&arrived.digest.chain);
        let (true, Some(image)) = (was_sent, &mut self.image) else { return false };
        image.go_on_after(arrived.family, arrived.key.clone());
        self.digest = arrived.digest;
        true
    }

    async fn next(&mut self) -> Result<Option<Chunk>, RocksError> {
        let gone = || RocksError::Failed { doing: "read an image", reason: "it was given up".into() };
        let mut image = self.image.take().ok_or_else(gone)?;
        let (image, chunk) = blocking(move || {
            let chunk = image.next_chunk();
            (image, chunk)
        })
        .await;
        self.image = Some(image);
        let chunk = chunk?;
        if let Some(chunk) = &chunk {
            self.digest.add(chunk);
            self.marks.insert(self.digest.entries, self.digest.chain);
        }
        Ok(chunk)
    }
}

/// Drops a copy once nothing has happened on it for long.
async fn drop_when_idle(outgoing: Weak<Outgoing>, name: CopyName, copy: Weak<Copy>) {
    loop {
        let Some(since) = copy.upgrade().map(|copy| copy.touched().elapsed()) else { return };
        let Some(rest) = KEPT_FOR.checked_sub(since).filter(|rest| !rest.is_zero()) else { break };
        tokio::time::sleep(rest).await;
    }
    let (Some(outgoing), Some(copy)) = (outgoing.upgrade(), copy.upgrade()) else { return };
    let mut copies = outgoing.copies();
    if copies.get(&name).is_some_and(|kept| Arc::ptr_eq(kept, &copy)) {
        copies.remove(&name);
    }
}
