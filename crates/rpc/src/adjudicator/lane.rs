//! The client's end of a channel that is opened when there is something to say and again after it has broken.
//!
//! What is said, and who waits for what, is the business of a [`Talk`]; this file moves its messages.

use assize_codec::DecodeError;
use assize_model::NodeId;
use assize_ports::{Channel, Peers, Service};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Opening the channel may take so long.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// One end of a conversation: a queue of what is to be said, and those who wait for answers.
pub trait Talk: Send + 'static {
    /// What is said at a time.
    type Said: Send;
    /// What is heard at a time.
    type Heard: Send;

    /// The first message of the channel.
    fn hello() -> Bytes;
    /// Takes what is to be said next, if anything may be said now.
    fn next(&mut self) -> Option<Self::Said>;
    /// Its bytes, in parts, for a program that understands cluster versions up to this one.
    fn encode(said: Self::Said, peer_cluster_version: u32) -> Vec<Bytes>;
    /// Reads what the other end says.
    fn decode(message: &Bytes) -> Result<Self::Heard, DecodeError>;
    /// Gives it to whom it is for.
    fn hear(&mut self, heard: Self::Heard);
    /// The channel is no more, for this reason: nobody waits any longer, and nothing is queued.
    fn lost(&mut self, reason: &str);
}

/// The lane of one [`Talk`] to one node.
pub struct Lane<T: Talk> {
    shared: Arc<Shared<T>>,
    runtime: Handle,
}

struct Shared<T> {
    peers: Arc<dyn Peers>,
    node: NodeId,
    state: Mutex<State<T>>,
    /// There may be something to say, or nobody is left to say it.
    filled: Notify,
}

struct State<T> {
    talk: T,
    /// A task moves messages.
    running: bool,
    /// The last handle is gone.
    closed: bool,
}

impl<T: Talk> Lane<T> {
    /// A lane that opens its channel when it is first used.
    ///
    /// # Panics
    /// If there is no runtime.
    pub fn new(peers: Arc<dyn Peers>, node: NodeId, talk: T) -> Lane<T> {
        let state = Mutex::new(State { talk, running: false, closed: false });
        let shared = Arc::new(Shared { peers, node, state, filled: Notify::new() });
        Lane { shared, runtime: Handle::current() }
    }

    /// Lets the caller queue what it has to say, and sees that it is said.
    pub fn say<R>(&self, queue: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.shared.state();
        let queued = queue(&mut state.talk);
        let start = !std::mem::replace(&mut state.running, true);
        drop(state);
        if start {
            self.runtime.spawn(run(self.shared.clone()));
        }
        self.shared.filled.notify_one();
        queued
    }

    /// Changes what is queued without there being more to say.
    pub fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.shared.state().talk)
    }
}

impl<T: Talk> Drop for Lane<T> {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.filled.notify_one();
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

async fn run<T: Talk>(shared: Arc<Shared<T>>) {
    let reason = match shared.peers.open(shared.node, Service::Adjudicator, T::hello(), OPEN_MAX).await {
        Ok(channel) => converse(&shared, channel).await,
        Err(error) => error.to_string(),
    };
    let mut state = shared.state();
    // Together, so that whatever is queued from now on finds a new task.
    state.talk.lost(&reason);
    state.running = false;
}

/// Moves messages until the channel ends; returns why it did.
async fn converse<T: Talk>(shared: &Shared<T>, channel: Channel) -> String {
    let Channel { mut sender, mut receiver } = channel;
    let peer_cluster_version = sender.peer_cluster_version();
    // Two loops, so that a peer which is slow to take is still listened to.
    let speaking = async {
        loop {
            let (said, closed) = {
                let mut state = shared.state();
                (state.talk.next(), state.closed)
            };
            match said {
                Some(said) => {
                    if let Err(error) = sender.send_parts(T::encode(said, peer_cluster_version)).await {
                        return error.to_string();
                    }
                }
                None if closed => return "it is not used any more".into(),
                None => {
                    shared.filled.notified().await;
                    // Whoever else is ready to queue something goes first: one message then carries all of it.
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    let listening = async {
        loop {
            let message = match receiver.receive().await {
                Ok(Some(message)) => message,
                Ok(None) => return format!("{} has ended the channel", shared.node),
                Err(error) => return error.to_string(),
            };
            match T::decode(&message) {
                Ok(heard) => shared.state().talk.hear(heard),
                Err(error) => return format!("the answer of {} cannot be read: {error}", shared.node),
            }
            // What was heard may let more be said.
            shared.filled.notify_one();
        }
    };
    tokio::select! {
        reason = speaking => reason,
        reason = listening => reason,
    }
}
