//! The one way by which anything is changed: role, then arguments, then the audit log, then the cluster.
//!
//! ```text
//!   request ─▶ caller known? ─▶ role? ─▶ arguments? ─▶ request_id known? ─▶ audit: asked ─▶ act ─▶ audit: done, begun
//!                  │              │          │              │                                 └──▶ audit: failed
//!            UNAUTHENTICATED   audit: refused        audit: repeated, the same answer
//! ```

use crate::audit::{self, Audit, Outcome};
use crate::auth::{Identity, Role};
use crate::error::{Reason, reason_of};
use crate::pb;
use assize_ports::{Action, ActionDone, ClusterError, ClusterView, Verified};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::{Request, Response, Status};

/// Answers that are kept for callers who send a `request_id` again.
const REMEMBERED_MAX: usize = 1024;
/// Longest `request_id`.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long a failed call may take longer to find out who leads.
const LEADER_LIMIT: Duration = Duration::from_secs(2);

/// A request that changes something.
pub(crate) trait Mutation: Serialize + Send + 'static {
    /// Its call: `Shards.Split`.
    const RPC: &'static str;
    /// Who may do it.
    const ROLE: Role;
    /// Whether the leader does it: the call is forwarded there, and an error says who that is.
    const IS_LEADERS: bool;

    /// What the cluster is to do; or which argument makes no sense.
    fn action(&self) -> Result<Action, String>;
    /// Whether it is only asked if it could be done.
    fn validate_only(&self) -> bool;
    /// The caller's name for it; empty if there is none.
    fn request_id(&self) -> &str;
}

/// Changes things, on behalf of known callers, once.
pub(crate) struct Gate {
    view: Arc<dyn ClusterView>,
    audit: Audit,
    remembered: Mutex<Remembered>,
}

/// A mutation whose caller and arguments are known to be good.
struct Order {
    mutation: audit::Mutation,
    action: Action,
    validate_only: bool,
    is_leaders: bool,
}

impl Gate {
    /// Over a cluster.
    pub fn new(view: Arc<dyn ClusterView>, audit: Audit) -> Self {
        Gate { view, audit, remembered: Mutex::default() }
    }

    /// Answers a mutation. Once begun it is finished and audited, although the caller may be gone.
    pub async fn mutate<M: Mutation>(
        self: &Arc<Self>,
        request: Request<M>,
    ) -> Result<Response<pb::Done>, Status> {
        let order = self.admit(request).await?;
        let gate = self.clone();
        let done = tokio::spawn(async move { gate.answer(&order).await }).await;
        done.unwrap_or_else(|e| Err(Reason::Internal.status(format!("the call broke: {e}"), &[])))
            .map(Response::new)
    }

    /// Lets in what may be done. Callers who are not known leave no line on disk: they could fill it.
    async fn admit<M: Mutation>(&self, request: Request<M>) -> Result<Order, Status> {
        let identity = Identity::of(&request);
        let caller = identity.caller().inspect_err(|status| {
            tracing::warn!(address = ?identity.address, rpc = M::RPC, error = status.message(), "refused");
        })?;
        let message = request.get_ref();
        let mutation = audit::Mutation::new(
            self.view.node().0,
            caller,
            identity.address,
            M::RPC,
            message.request_id(),
            message,
        );
        let admitted = caller.require(M::ROLE, M::RPC).and_then(|()| {
            if message.request_id().len() > REQUEST_ID_BYTES_MAX {
                let text = format!("request_id is longer than {REQUEST_ID_BYTES_MAX} bytes");
                return Err(Reason::InvalidArgument.status(text, &[]));
            }
            message.action().map_err(|problem| Reason::InvalidArgument.status(problem, &[]))
        });
        match admitted {
            Ok(action) => Ok(Order {
                mutation,
                action,
                validate_only: message.validate_only(),
                is_leaders: M::IS_LEADERS,
            }),
            Err(status) => {
                self.note(&mutation, Outcome::Refused, status.message()).await;
                Err(status)
            }
        }
    }

    async fn answer(&self, order: &Order) -> Result<pb::Done, Status> {
        if order.validate_only {
            return self.validate(order).await;
        }
        if order.mutation.request_id.is_empty() {
            return self.act(order).await;
        }
        let held = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).place_of(order);
        let Some(place) = held else {
            let text = format!("request_id {:?} was used for another request", order.mutation.request_id);
            self.note(&order.mutation, Outcome::Refused, &text).await;
            return Err(Reason::RequestIdReused.status(text, &[]));
        };
        // Only what was done is remembered: a failure may be tried again under its name.
        let mut was_done_now = false;
        let done = place.get_or_try_init(|| {
            was_done_now = true;
            self.act(order)
        });
        let done = done.await?.clone();
        if !was_done_now {
            self.note(&order.mutation, Outcome::Repeated, &done.text).await;
        }
        Ok(done)
    }

    async fn validate(&self, order: &Order) -> Result<pb::Done, Status> {
        let answer = self.view.act(order.action.clone(), true, &order.mutation.caller).await;
        let text = answer.as_ref().map_or_else(ToString::to_string, |done| done.text.clone());
        self.note(&order.mutation, Outcome::Validated, &text).await;
        match answer {
            Ok(done) => Ok(pb::Done { was_validate_only: true, ..done.into() }),
            Err(error) => Err(self.status_of(order, &error).await),
        }
    }

    async fn act(&self, order: &Order) -> Result<pb::Done, Status> {
        self.audit.write(&order.mutation, Outcome::Asked, "").await.map_err(|e| {
            let text = format!("nothing was done, because the audit log cannot be written: {e}");
            Reason::AuditLogFailed.status(text, &[("node", self.view.node().0.to_string())])
        })?;
        let answer = self.view.act(order.action.clone(), false, &order.mutation.caller).await;
        match &answer {
            Ok(ActionDone { text, job: Some(job), .. }) => {
                self.note(&order.mutation, Outcome::Begun, &format!("{text} (job {job})")).await;
            }
            Ok(done) => self.note(&order.mutation, Outcome::Done, &done.text).await,
            Err(error) => self.note(&order.mutation, Outcome::Failed, &error.to_string()).await,
        }
        match answer {
            Ok(done) => Ok(done.into()),
            Err(error) => Err(self.status_of(order, &error).await),
        }
    }

    /// A line that comes too late to stop anything: if it cannot be written, the log says so.
    async fn note(&self, mutation: &audit::Mutation, outcome: Outcome, text: &str) {
        if let Err(e) = self.audit.write(mutation, outcome, text).await {
            tracing::error!(error = %e, ?outcome, rpc = mutation.rpc, "a line of the audit log is lost");
        }
    }

    /// An error that names the node which answered, and the leader if it was the leader's to do.
    async fn status_of(&self, order: &Order, error: &ClusterError) -> Status {
        let mut text = error.to_string();
        let mut metadata =
            vec![("node", self.view.node().0.to_string()), ("rpc", order.mutation.rpc.to_owned())];
        if order.is_leaders {
            let (leader, words) = self.leader().await;
            text = format!("{text} ({words})");
            metadata.push(("leader", leader));
        }
        reason_of(error).status(text, &metadata)
    }

    async fn leader(&self) -> (String, String) {
        match tokio::time::timeout(LEADER_LIMIT, self.view.members()).await {
            Ok(Ok(members)) => match members.leader {
                Some(leader) => (leader.to_string(), format!("the leader is node {leader}")),
                None => ("none".to_owned(), "there is no leader".to_owned()),
            },
            _ => ("unknown".to_owned(), "who leads is unknown".to_owned()),
        }
    }
}

impl From<ActionDone> for pb::Done {
    fn from(done: ActionDone) -> Self {
        let verified = done.verified.map_or(pb::Verified::Unspecified, |verified| match verified {
            Verified::Equal => pb::Verified::Equal,
            Verified::Incomplete => pb::Verified::Incomplete,
            Verified::Differ => pb::Verified::Differ,
        });
        pb::Done {
            text: done.text,
            job_id: done.job.unwrap_or_default(),
            was_validate_only: false,
            verified: verified.into(),
        }
    }
}

/// A caller's name and their `request_id`.
type Key = (String, String);
/// Where the answer to one request is, or will be.
type Place = Arc<OnceCell<pb::Done>>;

/// Answers by who asked under which name; the oldest is forgotten when there are too many.
#[derive(Default)]
struct Remembered {
    places: BTreeMap<Key, (Action, Place)>,
    order: VecDeque<Key>,
}

impl Remembered {
    /// Where an order's answer is or will be; `None` if its `request_id` belongs to another action.
    fn place_of(&mut self, order: &Order) -> Option<Place> {
        let key = (order.mutation.caller.clone(), order.mutation.request_id.clone());
        if let Some((action, place)) = self.places.get(&key) {
            return (*action == order.action).then(|| place.clone());
        }
        if self.order.len() == REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        let place = Place::default();
        self.order.push_back(key.clone());
        self.places.insert(key, (order.action.clone(), place.clone()));
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Caller;

    fn order(request_id: &str, action: Action) -> Order {
        let caller = Caller { name: "alice".to_owned(), role: Role::Admin };
        let mutation = audit::Mutation::new(1, &caller, None, "Cluster.DrainNode", request_id, &());
        Order { mutation, action, validate_only: false, is_leaders: false }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_stay() {
        let mut remembered = Remembered::default();
        for n in 0..REMEMBERED_MAX + 7 {
            assert!(remembered.place_of(&order(&n.to_string(), Action::VerifyReplicas)).is_some());
        }
        assert_eq!(remembered.places.len(), REMEMBERED_MAX);
        assert_eq!(remembered.order.len(), REMEMBERED_MAX);
        let other = Action::Drain { node: 1, force: false };
        assert!(remembered.place_of(&order("1030", other.clone())).is_none(), "its name is taken");
        assert!(remembered.place_of(&order("0", other)).is_some(), "its name was forgotten");
    }
}
