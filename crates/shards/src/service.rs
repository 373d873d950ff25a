//! The serving end of what nodes say to each other about their replicas.

use crate::embedded::outgoing::Outgoing;
use crate::embedded::{Embedded, ShardHost, copy};
use crate::wire::{self, Hello, Request, Response};
use assize_model::{NodeId, ReplicaId, ShardId};
use assize_ports::{AdjudicatorError, BoxFuture, Channel, PeerService, ShardAdministration};
use bytes::Bytes;
use std::sync::Arc;

/// Serves [`assize_ports::Service::Sibling`].
pub struct SiblingService {
    host: Option<ShardHost>,
    administration: Option<Arc<dyn ShardAdministration>>,
    outgoing: Arc<Outgoing>,
}

impl SiblingService {
    /// For a node with these replicas, and this part in the adjudicator's group, if it has any. `administration` must be
    /// the node's own: one that asks others would send requests round in circles.
    pub fn new(host: Option<ShardHost>, administration: Option<Arc<dyn ShardAdministration>>) -> Self {
        SiblingService { host, administration, outgoing: Arc::default() }
    }

    fn host(&self) -> Result<&ShardHost, String> {
        self.host.as_ref().ok_or_else(|| "this node has no shards".to_owned())
    }

    /// The replica of this node that a sibling speaks to.
    fn sibling(&self, shard: ShardId, replica: ReplicaId) -> Result<Arc<Embedded>, String> {
        let resident = self.host()?.resident(shard).filter(|resident| resident.number() == replica);
        resident.ok_or_else(|| format!("{shard} {replica} is not on this node"))
    }

    async fn answer(&self, request: Request) -> Result<Response, String> {
        Ok(match request {
            Request::Learn { shard, replica } => {
                let begun = self.host()?.learn(shard, replica).await;
                Response::Learning(begun.map_err(|error| error.to_string())?)
            }
            Request::Fledge { shard, replica, parent, learner } => {
                let begun = self.host()?.fledge(shard, replica, parent, learner).await;
                Response::Learning(begun.map_err(|error| error.to_string())?)
            }
            Request::Discard { shard } => {
                self.host()?.discard(shard).await.map_err(|error| error.to_string())?;
                Response::Done
            }
            Request::Status { shard } => Response::Status(self.host()?.status_for_another(shard)),
            Request::Flush { shard } => {
                if let Some(resident) = self.host()?.resident(shard) {
                    resident.begin_flush();
                }
                Response::Done
            }
            Request::Hash { shard, snapshot_ts, slots } => {
                let resident =
                    self.host()?.resident(shard).ok_or_else(|| format!("{shard} is not on this node"))?;
                let hash = resident.hash_content(slots, snapshot_ts).await;
                Response::Hash(hash.map_err(|error| error.to_string())?)
            }
            Request::Rebuild { shard } => {
                let resident =
                    self.host()?.resident(shard).ok_or_else(|| format!("{shard} is not on this node"))?;
                resident.rebuild().await;
                Response::Done
            }
            Request::Content { shard, to, from, page } => {
                let resident = self.sibling(shard, to)?;
                Response::Content(resident.content(from, page).await)
            }
            Request::Intent { shard, to, from, txn } => {
                let answer = self.sibling(shard, to)?.intent(from, txn).await;
                match wire::fits_one_message(&answer) {
                    true => Response::Intent(answer),
                    false => Response::Failed("the intent is too large for one message".to_owned()),
                }
            }
            Request::Differs { shard, to, epoch } => {
                self.sibling(shard, to)?.differs(epoch).await;
                Response::Done
            }
            Request::Stage { shard, giver, slots } => {
                let resident =
                    self.host()?.resident(shard).ok_or_else(|| format!("{shard} is not on this node"))?;
                Response::Staging(resident.stage(giver, slots).await)
            }
            Request::Learners => Response::Learners(self.host()?.learners()),
            Request::Administer(command) => match &self.administration {
                None => Response::NotAdministered(AdjudicatorError::NotLeader { leader: None }.into()),
                Some(administration) => match administration.administer(command).await {
                    Ok(index) => Response::Administered(index),
                    Err(error) => Response::NotAdministered(error),
                },
            },
        })
    }

    async fn serve(&self, hello: Hello, mut channel: Channel) -> Result<(), String> {
        match hello {
            Hello::Intent { shard, to, from, txn } => {
                let resident = self.sibling(shard, to)?;
                for piece in wire::pieces_of(resident.intent(from, txn).await) {
                    channel.sender.send(piece.encode()).await.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            Hello::Checkpoint { shard, to, from, at_least } => {
                let image = self.sibling(shard, to)?.checkpoint(from, at_least).await;
                let image = image.ok_or_else(|| format!("{shard} {to} has no checkpoint to give"))?;
                copy::send(image, &mut *channel.sender).await.map_err(|error| error.to_string())
            }
            Hello::Copy { shard, to, from, copy, arrived: Some(arrived), .. } => {
                // The checkpoint is of the replica that was asked first, if it still is the one.
                self.sibling(shard, to)?;
                let sent = self.outgoing.go_on((shard, from, copy), arrived, &mut *channel.sender).await;
                sent.map_err(|error| error.to_string())
            }
            Hello::Copy { shard, to, from, at_least, copy, arrived: None } => {
                let image = self.sibling(shard, to)?.checkpoint(from, at_least).await;
                let image = image.ok_or_else(|| format!("{shard} {to} has no checkpoint to give"))?;
                let sent = self.outgoing.begin((shard, from, copy), image, &mut *channel.sender).await;
                sent.map_err(|error| error.to_string())
            }
            Hello::Slots { gain } => {
                for resident in self.host()?.residents() {
                    if let Some(image) = resident.slots(gain.clone()).await {
                        let sent = copy::send(image, &mut *channel.sender).await;
                        return sent.map_err(|error| error.to_string());
                    }
                }
                Err("the slots are not on this node".to_owned())
            }
        }
    }
}

impl PeerService for SiblingService {
    fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let request = Request::decode(&request).map_err(|error| error.to_string())?;
            Ok(self.answer(request).await.unwrap_or_else(Response::Failed).encode())
        })
    }

    fn open(&self, _from: NodeId, hello: Bytes, channel: Channel) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let hello = Hello::decode(&hello).map_err(|error| error.to_string())?;
            self.serve(hello, channel).await
        })
    }
}
