//! What a node knows of itself and can do by itself.

use super::bells::Bells;
use super::jobs::Jobs;
use super::told::Told;
use super::words::{Answer, NodeStatus, Question, Record, ReplicaStatus};
use crate::keys::Certificates;
use crate::pressure::Measured;
use crate::roles::frontend::Frontend;
use assize_consensus::Adjudicator;
use assize_model::{NodeId, Placement};
use assize_ports::{
    BoxFuture, ClusterError, JobInfo, NodeRecord, NodeReport, Peers, Rebuff, RebuffCause, ReportParts,
    Service,
};
use assize_rpc::{JoinToken, Services};
use assize_shards::Surveyor;
use assize_shards::embedded::ShardHost;
use assize_shards::wire::Phase;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long the leader may take over a greeting that is handed on to it.
const HANDED_ON_LIMIT: Duration = Duration::from_secs(5);

/// A node that has heard nothing of a leader for so long takes it that there is none: an election takes about a second.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// One that has heard nothing of a leader for so long takes no traffic. An election takes about a second, and a rolling restart
/// is several: it must not make nodes unready. A node without an adjudicator, which asks each second and may wait two for a
/// leader that has died, does not take it before that either that there is none.
pub const LEADERLESS_MAX: Duration = Duration::from_secs(5);

/// What whoever wants to join is told without the token that the cluster has…
pub(super) const WRONG_TOKEN: &str = "the join token is wrong";
/// … and where it has none.
pub(super) const NO_TOKEN: &str =
    "this cluster has no join token (`cluster.join_token_file`), so nobody can join it";

/// How long a node may take to say how much room it has.
const SURVEY_LIMIT: Duration = Duration::from_secs(2);

/// What does not change about a node while it runs.
pub struct Facts {
    /// How the log shall know it.
    pub record: NodeRecord,
    /// Its settings: key, value, origin.
    pub config: Vec<(String, String, String)>,
    /// The nodes that found the cluster with it.
    pub founders: BTreeSet<NodeId>,
    /// What others have to show to join; `None`: nobody joins.
    pub token: Option<JoinToken>,
    /// Where it keeps its data; `None`: in memory.
    pub data: Option<PathBuf>,
    /// So many replicas it gives every shard while it leads.
    pub replicas_wanted: u32,
    /// So many of them the nodes can hold that found the cluster with it.
    pub replicas_founded: u32,
    /// When it started.
    pub started: Instant,
}

impl Facts {
    /// How the log shall know the node.
    pub fn record(&self) -> NodeRecord {
        self.record.clone()
    }
}

/// What a node knows of itself and can do by itself. Its parts come one after the other while it starts.
pub struct Local {
    /// Its number.
    pub node: NodeId,
    /// What does not change.
    pub facts: Facts,
    /// The way to other nodes; `None` in a cluster of one.
    pub peers: Option<Arc<dyn Peers>>,
    /// Its part in the adjudicator's group.
    pub adjudicator: OnceLock<Adjudicator>,
    /// Its shard replicas.
    pub host: OnceLock<ShardHost>,
    /// Its frontend.
    pub frontend: OnceLock<Arc<Frontend>>,
    /// Moves shards about; on every node that may lead.
    pub jobs: OnceLock<Arc<Jobs>>,
    /// How far it is behind with its work.
    pub pressure: Measured,
    /// When its certificates expire.
    pub certificates: Arc<Certificates>,
    /// Set while the leader says that it is no member any more.
    pub removed: AtomicBool,
    /// What has changed here, for those who watch.
    pub bells: Arc<Bells>,
    /// The cluster that has taken it in.
    pub joined: OnceLock<u128>,
    /// Why it has not been let in since it started, and since when it is about that; `None`: it has, or has not asked yet.
    rebuff: Mutex<Option<(RebuffCause, String, Instant)>>,
    /// What it offers to other nodes.
    offered: OnceLock<Arc<Services>>,
    /// What a leader has told it; what counts if it has no adjudicator.
    pub told: Arc<Told>,
    /// Set while it takes no more connections: an operator wants it so, or it is about to end.
    pub draining: Arc<AtomicBool>,
}

impl Local {
    /// A node that starts.
    pub fn new(facts: Facts, peers: Option<Arc<dyn Peers>>) -> Arc<Local> {
        Arc::new(Local {
            node: facts.record.node,
            facts,
            peers,
            adjudicator: OnceLock::new(),
            host: OnceLock::new(),
            frontend: OnceLock::new(),
            jobs: OnceLock::new(),
            pressure: Measured::default(),
            certificates: Arc::default(),
            removed: AtomicBool::new(false),
            bells: Arc::default(),
            joined: OnceLock::new(),
            rebuff: Mutex::default(),
            offered: OnceLock::new(),
            told: Arc::default(),
            draining: Arc::default(),
        })
    }

    /// The node offers services to others from now on.
    pub fn offers(&self, services: Arc<Services>) {
        // A node starts once.
        let _ = self.offered.set(services);
    }

    /// What it offers to other nodes; `None` in a cluster of one.
    pub fn services(&self) -> Option<&Arc<Services>> {
        self.offered.get()
    }

    /// The cluster has not let it in, for this reason; `None`: it has.
    pub fn is_rebuffed(&self, why: Option<(RebuffCause, String)>) {
        let mut rebuff = self.rebuff.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rebuff.take();
        *rebuff = why.map(|(cause, what)| {
            let since = before.filter(|(before, ..)| *before == cause).map(|(.., since)| since);
            (cause, what, since.unwrap_or_else(Instant::now))
        });
    }

    /// Why the cluster has not let it in.
    pub fn rebuff(&self) -> Option<Rebuff> {
        let rebuff = self.rebuff.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, what, since) = rebuff.as_ref()?;
        Some(Rebuff { cause: *cause, what: what.clone(), seconds: since.elapsed().as_secs() })
    }

    /// The cluster's id; 0 if it is not known here.
    pub fn cluster(&self) -> u128 {
        let own = self.adjudicator.get().and_then(Adjudicator::cluster);
        own.or_else(|| self.joined.get().copied()).unwrap_or(0)
    }

    /// Who leads, as far as this node's own adjudicator knows.
    pub fn leader(&self) -> Option<NodeId> {
        let adjudicator = self.adjudicator.get()?;
        adjudicator.status().leader.filter(|_| !self.is_cut_off())
    }

    /// For how long it has not heard of a leader; `None` if it has not since it started.
    pub fn leader_silence(&self) -> Option<Duration> {
        match self.adjudicator.get() {
            Some(adjudicator) => adjudicator.leader_silence(),
            None => self.told.silence(),
        }
    }

    /// Whether it has not heard of a leader lately. What it knows may be old then.
    pub fn is_cut_off(&self) -> bool {
        let max = if self.adjudicator.get().is_some() { SILENCE_MAX } else { LEADERLESS_MAX };
        self.leader_silence().is_none_or(|silence| silence >= max)
    }

    /// The nodes of the cluster as this node knows them, however old that is. Before there is a cluster: those that are to found
    /// it.
    pub(super) fn known_nodes(&self) -> Vec<NodeRecord> {
        let mut nodes = match self.adjudicator.get() {
            Some(adjudicator) => adjudicator.known_nodes(),
            None => self.told.nodes(),
        };
        if nodes.is_empty() {
            let others = self.facts.founders.iter().filter(|founder| **founder != self.node);
            nodes.extend(others.map(|founder| unknown(*founder)));
        }
        nodes
    }

    /// The placement as this node knows it, however old that is; `None` if it knows none.
    pub(super) fn known_placement(&self) -> Option<Arc<Placement>> {
        match self.adjudicator.get() {
            Some(adjudicator) => {
                Some(Arc::new(adjudicator.known_placement())).filter(|placement| !placement.shards.is_empty())
            }
            None => self.told.placement(),
        }
    }

    /// Bytes free on the disk with the node's data; `None` if it has none, or the disk does not say.
    pub fn disk_free(&self) -> Option<u64> {
        let own = self.adjudicator.get().map(|adjudicator| adjudicator.status().disk_free_bytes);
        match own {
            Some(free) => Some(free).filter(|free| *free != u64::MAX),
            None => self.facts.data.as_deref().and_then(|data| assize_consensus::free_bytes(data).ok()),
        }
    }

    /// Whether it takes no connections, or is not to take any.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.is_marked_draining()
    }

    /// Whether the leader has said that it is no member any more.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Whether the log says that it is to give up what it has: as its adjudicator has it, or as a leader has told it.
    pub fn is_marked_draining(&self) -> bool {
        match self.adjudicator.get() {
            Some(adjudicator) => adjudicator.draining().contains(&self.node),
            None => self.told.is_draining(self.node),
        }
    }

    /// Answers a question, whoever asks.
    pub async fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Status => Answer::Status(Box::new(self.status())),
            Question::Report(parts) => Answer::Report(Box::new(self.report(parts))),
            Question::Jobs => Answer::Jobs(self.jobs()),
            Question::Act { action, validate_only, who } => {
                match self.act(action.clone(), *validate_only, who).await {
                    Ok(done) => Answer::Done(done),
                    Err(error) => Answer::Failed(error),
                }
            }
            Question::Pressure => Answer::Pressure(self.pressure.get()),
            Question::Nodes => match self.adjudicator.get() {
                Some(own) => Answer::Nodes(own.known_nodes().into_iter().map(Record::from).collect()),
                None => Answer::Failed(ClusterError::Refused(format!(
                    "node {} is no adjudicator: ask another",
                    self.node.0
                ))),
            },
            Question::Traffic => Answer::Traffic(self.frontend.get().map(|frontend| frontend.traffic())),
            Question::Hello { record, token } => match self.welcome(record, token.as_deref()).await {
                Ok(cluster) => Answer::Welcome { cluster },
                Err(error) => Answer::Failed(error),
            },
        }
    }

    /// How this node is.
    pub fn status(&self) -> NodeStatus {
        let mut status = NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: millis(self.facts.started.elapsed()),
            is_draining: self.is_draining(),
            strains: self.pressure.get().strains,
            disk_free_bytes: super::words::told_free(self.disk_free()),
            replicas_wanted: self.facts.replicas_wanted,
            replicas_founded: self.facts.replicas_founded,
            is_in_memory: self.facts.data.is_none(),
            certificate: self.certificates.first_to_expire(SystemTime::now()),
            is_removed: self.is_removed(),
            rebuff: self.rebuff(),
            ..NodeStatus::default()
        };
        if let Some(adjudicator) = self.adjudicator.get() {
            let raft = adjudicator.status();
            let hash = raft.state_hash.unwrap_or_default();
            status.is_adjudicator = true;
            status.applied_index = raft.applied.0;
            status.log_index = raft.log.0;
            status.term = raft.term;
            // Raft goes on naming the last one.
            status.leader = self.leader().map(|node| node.0);
            status.voters = raft.voters.iter().map(|node| node.0).collect();
            status.learners = raft.learners.iter().map(|node| node.0).collect();
            (status.hash_index, status.state_hash) = (hash.0.0, hash.1);
            status.closed_millis = adjudicator.stats().closed_ts.millis();
            status.stalled_millis = millis(raft.stalled_for);
            status.cluster_version = adjudicator.cluster_version();
            status.draining = adjudicator.draining().iter().map(|node| node.0).collect();
            status.trouble = match (raft.divergence, adjudicator.ready()) {
                (Some(divergence), _) => divergence,
                (None, Err(error)) => error.to_string(),
                (None, Ok(())) => String::new(),
            };
        }
        if let Some(host) = self.host.get() {
            status.replicas = host
                .residents()
                .iter()
                .map(|resident| {
                    let about = resident.status();
                    ReplicaStatus {
                        shard: resident.id().0,
                        replica: resident.number().0,
                        closed_millis: about.position.closed_ts.millis(),
                        state: phase(&about.phase),
                        bytes: about.bytes,
                    }
                })
                .collect();
        }
        status
    }

    fn report(&self, parts: &ReportParts) -> NodeReport {
        self.frontend.get().map(|frontend| frontend.report(parts)).unwrap_or_default()
    }

    fn jobs(&self) -> Vec<JobInfo> {
        let mut jobs = self.jobs.get().map(|jobs| jobs.list()).unwrap_or_default();
        jobs.extend(self.frontend.get().into_iter().flat_map(|frontend| frontend.jobs()));
        jobs
    }

    /// Enters a node in the log, once it has shown that it may be there. Only the leader can; others hand it on.
    async fn welcome(&self, record: &Record, token: Option<&str>) -> Result<u128, ClusterError> {
        let Some(adjudicator) = self.adjudicator.get() else {
            return Err(ClusterError::Unavailable(format!(
                "node {} is no adjudicator: ask another",
                self.node.0
            )));
        };
        let status = adjudicator.status();
        if status.leader != Some(self.node) {
            return self.hand_on(status.leader, record, token).await;
        }
        let node = NodeId(record.node);
        // Founders are members from the beginning, until they are removed: then they are like everybody else.
        let is_known = status.voters.contains(&node)
            || status.learners.contains(&node)
            || adjudicator.known_nodes().iter().any(|known| known.node == node);
        if !is_known {
            let Some(secret) = &self.facts.token else {
                return Err(ClusterError::Refused(NO_TOKEN.to_owned()));
            };
            if !token.is_some_and(|shown| secret.matches(shown)) {
                tracing::warn!(node = record.node, "a node without the join token wants to join");
                return Err(ClusterError::Refused(WRONG_TOKEN.to_owned()));
            }
            tracing::info!(node = record.node, address = record.peer_address, "a node joins the cluster");
        }
        let is_adjudicator = record.roles.iter().any(|role| role == "adjudicator");
        let address = record.peer_address.clone();
        adjudicator.set_node(record.clone().into()).await.map_err(super::membership_error)?;
        if is_adjudicator {
            // Without a vote: that is an operator's to give.
            adjudicator.add_learner(node, address).await.map_err(super::membership_error)?;
        }
        Ok(self.cluster())
    }

    async fn hand_on(
        &self,
        leader: Option<NodeId>,
        record: &Record,
        token: Option<&str>,
    ) -> Result<u128, ClusterError> {
        let (Some(leader), Some(peers)) = (leader, &self.peers) else {
            return Err(ClusterError::Unavailable("no node leads the adjudicator's group".into()));
        };
        let question = Question::Hello { record: record.clone(), token: token.map(str::to_owned) };
        let answer =
            peers.call(leader, Service::Operator, super::words::encode(&question), HANDED_ON_LIMIT).await;
        let answer = answer.map_err(|error| ClusterError::Unavailable(error.to_string()))?;
        match super::words::decode(&answer).map_err(ClusterError::Internal)? {
            Answer::Welcome { cluster } => Ok(cluster),
            Answer::Failed(error) => Err(error),
            other => Err(ClusterError::Internal(format!("node {} answered {other:?}", leader.0))),
        }
    }
}

/// What the caretaker of the shards is told of nodes.
pub struct Survey(pub Arc<Local>);

impl Surveyor for Survey {
    fn draining(&self) -> BTreeSet<NodeId> {
        self.0.adjudicator.get().map(Adjudicator::draining).unwrap_or_default()
    }

    fn is_strained(&self) -> bool {
        !self.0.pressure.get().strains.is_empty()
    }

    fn free_bytes(&self, node: NodeId) -> BoxFuture<'_, Option<u64>> {
        Box::pin(async move {
            let status = if node == self.0.node {
                self.0.status()
            } else {
                let question = super::words::encode(&Question::Status);
                let answer =
                    self.0.peers.as_ref()?.call(node, Service::Operator, question, SURVEY_LIMIT).await;
                match super::words::decode(&answer.ok()?).ok()? {
                    Answer::Status(status) => *status,
                    _ => return None,
                }
            };
            status.disk_free()
        })
    }
}

/// A node of which nothing is known but its number.
fn unknown(node: NodeId) -> NodeRecord {
    NodeRecord {
        node,
        peer_address: String::new(),
        admin_address: String::new(),
        mysql_address: String::new(),
        roles: Vec::new(),
        zone: String::new(),
        version: String::new(),
        cluster_version: 0,
    }
}

fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Following => "following".to_owned(),
        Phase::Copying { .. } => "copying".to_owned(),
        Phase::Fledgling => "waits for its split".to_owned(),
        Phase::Halted(why) => format!("halted: {why}"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::net::CLUSTER_VERSION;
    use assize_consensus::Options;
    use assize_model::Placement;
    use assize_ports::NodeRecord;

    pub fn record(node: u64) -> NodeRecord {
        NodeRecord {
            node: NodeId(node),
            peer_address: format!("node{node}.test:7407"),
            admin_address: String::new(),
            mysql_address: String::new(),
            roles: vec!["shard".into()],
            zone: String::new(),
            version: "0.1.0".into(),
            cluster_version: CLUSTER_VERSION,
        }
    }

    pub fn facts() -> Facts {
        Facts {
            record: record(1),
            config: Vec::new(),
            founders: BTreeSet::new(),
            token: None,
            data: None,
            replicas_wanted: 3,
            replicas_founded: 1,
            started: Instant::now(),
        }
    }

    #[test]
    fn a_node_without_an_adjudicator_knows_when_it_has_lost_the_leader() {
        let local = Local::new(facts(), None);
        assert!(local.is_cut_off() && local.leader_silence().is_none(), "nobody has told it anything");
        local.told.keep_nodes(&[record(1), record(2)]);
        assert!(!local.is_cut_off());
        local.told.fall_silent(LEADERLESS_MAX * 2);
        assert!(local.is_cut_off() && local.leader_silence() >= Some(LEADERLESS_MAX));
        assert_eq!(local.known_nodes().len(), 2, "what it was told last");
        local.told.keep_placement(&Arc::new(Placement::even(1, NodeId(1))));
        assert!(!local.is_cut_off());
    }

    #[test]
    fn why_it_is_not_let_in_is_kept_until_it_is() {
        let local = Local::new(facts(), None);
        assert_eq!(local.rebuff(), None);
        local.is_rebuffed(Some((RebuffCause::Silence, "n2: refused".into())));
        local.rebuff.lock().unwrap().as_mut().unwrap().2 -= Duration::from_secs(100);
        local.is_rebuffed(Some((RebuffCause::Silence, "n2: not in time".into())));
        let rebuff = local.status().rebuff.unwrap();
        assert_eq!((rebuff.cause, &rebuff.what[..]), (RebuffCause::Silence, "n2: not in time"));
        assert!(rebuff.seconds >= 100, "it is about the same: {rebuff:?}");
        local.is_rebuffed(Some((RebuffCause::Token, WRONG_TOKEN.into())));
        assert!(local.rebuff().unwrap().seconds < 100, "it is about something else");
        local.is_rebuffed(None);
        assert_eq!(local.rebuff(), None);
    }

    #[test]
    fn a_node_without_an_adjudicator_drains_while_the_leader_says_so() {
        let local = Local::new(facts(), None);
        local.told.keep_draining([NodeId(2)].into());
        assert!(!local.is_draining());
        local.told.keep_draining([NodeId(1), NodeId(2)].into());
        assert!(local.is_draining() && local.status().is_draining);
        local.told.fall_silent(LEADERLESS_MAX * 2);
        assert!(local.is_draining(), "silence calls nothing off");
        local.told.keep_draining(BTreeSet::new());
        assert!(!local.is_draining());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_is_no_member_shows_the_token_whatever_he_has_been() {
        let token = JoinToken::random();
        let secret = token.secret().to_owned();
        let local = Local::new(Facts { token: Some(token), ..facts() }, None);
        let options = Options::new(NodeId(1), Placement::even(1, NodeId(1)));
        let adjudicator = Adjudicator::open(None, options, None).await.unwrap();
        assert!(local.adjudicator.set(adjudicator).is_ok());
        let greet = async |node, token: Option<&str>| local.welcome(&record(node).into(), token).await;

        // Who votes is known before he has said where he is.
        greet(1, None).await.unwrap();
        assert!(matches!(greet(2, None).await, Err(ClusterError::Refused(_))));
        greet(2, Some(&secret)).await.unwrap();
        greet(2, None).await.unwrap();
        local.adjudicator.get().unwrap().remove(NodeId(2)).await.unwrap();
        assert!(matches!(greet(2, None).await, Err(ClusterError::Refused(_))));
        greet(2, Some(&secret)).await.unwrap();
    }
}
