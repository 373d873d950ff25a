//! Where clients wait while nobody can serve them yet.
//!
//! ```text
//!   socket ─▶ Anteroom ─┬─ somebody serves ────▶ Arrivals ─▶ Listener::run
//!                       ├─ waited for too long ▶ an error instead of the greeting: what is in the way
//!                       └─ the server ends ────▶ error 1053
//! ```
//!
//! A client speaks only after the greeting, and the greeting is the server's promise to go on. So those who wait are told nothing,
//! and whoever serves them later greets them as if they had just come. A client without a time-out of its own does not wait for ever.

use crate::packet::Output;
use crate::result::put_error;
use assize_model::{ErrorCode, SqlError};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long to wait when no more sockets can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many clients may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Most clients at a time; who comes beyond them is turned away at once.
    pub clients_max: usize,
    /// Who has waited for so long is turned away.
    pub wait_max: Duration,
}

/// Takes clients in until somebody serves them, in a task of its own that ends with this.
pub struct Anteroom {
    address: SocketAddr,
    leave: oneshot::Sender<()>,
    task: JoinHandle<Option<Arrivals>>,
}

/// A socket, and the clients that have come to it and have not been greeted.
pub struct Arrivals {
    pub(crate) socket: TcpListener,
    pub(crate) clients: Vec<(TcpStream, SocketAddr)>,
}

impl From<TcpListener> for Arrivals {
    fn from(socket: TcpListener) -> Self {
        Arrivals { socket, clients: Vec::new() }
    }
}

impl Anteroom {
    /// Opens it. `why` is asked for what a client is told each time one is turned away.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn open(
        socket: TcpListener,
        patience: Patience,
        why: impl Fn() -> SqlError + Send + 'static,
    ) -> io::Result<Anteroom> {
        let address = socket.local_addr()?;
        let room = Room { clients: VecDeque::new(), patience, why: Box::new(why) };
        let (leave, left) = oneshot::channel();
        let task = tokio::spawn(take_in(socket, room, left));
        Ok(Anteroom { address, leave, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes it and hands over whoever waits, to be served.
    ///
    /// # Errors
    /// If its task has panicked.
    pub async fn leave(self) -> io::Result<Arrivals> {
        // An error means that the task is gone, which it says itself.
        let _ = self.leave.send(());
        let arrivals = self.task.await.map_err(io::Error::other)?;
        arrivals.ok_or_else(|| io::Error::other("nobody was asked to leave"))
    }
}

/// Takes clients in until they are to leave; `None` if whoever would serve them is gone.
async fn take_in(
    socket: TcpListener,
    mut room: Room<TcpClient>,
    mut left: oneshot::Receiver<()>,
) -> Option<Arrivals> {
    loop {
        let due = room.due();
        let overdue = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            left = &mut left => {
                left.ok()?;
                let clients = room.take().map(|TcpClient(stream, address)| (stream, address)).collect();
                return Some(Arrivals { socket, clients });
            }
            () = overdue => room.turn_away_overdue(Instant::now()),
            accepted = socket.accept() => match accepted {
                Ok((stream, address)) => room.admit(TcpClient(stream, address), Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Who waits.
trait Client {
    /// Whether he has hung up.
    fn is_gone(&self) -> bool;

    /// Ends the connection with a last word.
    fn dismiss(self, word: &[u8]);
}

struct TcpClient(TcpStream, SocketAddr);

impl TcpClient {
    /// The socket without its runtime, which may be ending.
    fn plain(&self) -> io::Result<std::net::TcpStream> {
        Ok(self.0.as_fd().try_clone_to_owned()?.into())
    }
}

impl Client for TcpClient {
    fn is_gone(&self) -> bool {
        match self.plain().and_then(|stream| stream.peek(&mut [0])) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn dismiss(self, word: &[u8]) {
        // A few bytes that are the first on their connection: there is room for them, or nobody who would read them.
        let _ = self.plain().and_then(|mut stream| stream.write(word));
    }
}

/// Who waits, the first to come first. Whoever is still there when this is dropped hears that the server ends.
struct Room<C: Client> {
    clients: VecDeque<(Instant, C)>,
    patience: Patience,
    why: Box<dyn Fn() -> SqlError + Send>,
}

impl<C: Client> Room<C> {
    fn admit(&mut self, client: C, now: Instant) {
        if self.clients.len() >= self.patience.clients_max {
            self.clients.retain(|(_, client)| !client.is_gone());
        }
        if self.clients.len() >= self.patience.clients_max {
            return client.dismiss(&last_word(&(self.why)()));
        }
        self.clients.push_back((now + self.patience.wait_max, client));
    }

    /// When somebody has waited for too long.
    fn due(&self) -> Option<Instant> {
        self.clients.front().map(|(due, _)| *due)
    }

    fn turn_away_overdue(&mut self, now: Instant) {
        while let Some((_, client)) = self.clients.pop_front_if(|(due, _)| *due <= now) {
            client.dismiss(&last_word(&(self.why)()));
        }
    }

    /// All who wait.
    fn take(&mut self) -> impl Iterator<Item = C> + use<C> {
        std::mem::take(&mut self.clients).into_iter().map(|(_, client)| client)
    }
}

impl<C: Client> Drop for Room<C> {
    fn drop(&mut self) {
        let ends = SqlError::new(ErrorCode::ServerShutdown, "Server shutdown in progress");
        self.take().for_each(|client| client.dismiss(&last_word(&ends)));
    }
}

/// An error in the place of the greeting.
pub(crate) fn last_word(error: &SqlError) -> Vec<u8> {
    let mut output = Output::default();
    // The client's capabilities are not known yet, so there is no SQLSTATE.
    put_error(&mut output, error, 0);
    output.bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    /// A client in memory: whether he has hung up, and what he was told.
    #[derive(Clone, Default)]
    struct Fake {
        is_gone: Arc<AtomicBool>,
        told: Arc<Mutex<Option<Vec<u8>>>>,
    }

    impl Fake {
        fn told(&self) -> Option<Vec<u8>> {
            self.told.lock().unwrap().clone()
        }
    }

    impl Client for Fake {
        fn is_gone(&self) -> bool {
            self.is_gone.load(Ordering::Relaxed)
        }

        fn dismiss(self, word: &[u8]) {
            assert!(self.told.lock().unwrap().replace(word.to_vec()).is_none(), "one word is the last");
        }
    }

    fn not_yet() -> SqlError {
        SqlError::new(ErrorCode::ClusterUnavailable, "not yet")
    }

    /// As it goes over the wire: length, number, the mark of an error, its errno, the text.
    const NOT_YET: &[u8] = b"\x0a\0\0\0\xff\x95\x05not yet";
    const WAIT_MAX: Duration = Duration::from_secs(8);

    fn room(clients_max: usize) -> Room<Fake> {
        let patience = Patience { clients_max, wait_max: WAIT_MAX };
        Room { clients: VecDeque::new(), patience, why: Box::new(not_yet) }
    }

    #[test]
    fn who_has_waited_for_too_long_is_told_why() {
        let (mut room, begun) = (room(10), Instant::now());
        assert_eq!(room.due(), None);
        let (first, second) = (Fake::default(), Fake::default());
        room.admit(first.clone(), begun);
        room.admit(second.clone(), begun + Duration::from_secs(1));
        assert_eq!(room.due(), Some(begun + WAIT_MAX));
        room.turn_away_overdue(begun + WAIT_MAX - Duration::from_millis(1));
        assert_eq!((first.told(), second.told()), (None, None));
        room.turn_away_overdue(begun + WAIT_MAX);
        assert_eq!(first.told().as_deref(), Some(NOT_YET));
        assert_eq!(second.told(), None, "his time has not come");
        assert_eq!(room.due(), Some(begun + WAIT_MAX + Duration::from_secs(1)));
    }

    #[test]
    fn no_more_wait_than_may_and_who_has_hung_up_takes_no_place() {
        let (mut room, now) = (room(2), Instant::now());
        let clients: Vec<Fake> = (0..4).map(|_| Fake::default()).collect();
        clients[..3].iter().for_each(|client| room.admit(client.clone(), now));
        assert_eq!(clients[2].told().as_deref(), Some(NOT_YET), "at once");
        clients[0].is_gone.store(true, Ordering::Relaxed);
        room.admit(clients[3].clone(), now);
        assert_eq!(clients[3].told(), None);
        assert_eq!(room.take().count(), 2);
        drop(room);
        assert_eq!(clients[1].told(), None, "whoever has left is another's to answer");
    }

    #[test]
    fn who_waits_when_the_server_ends_hears_of_that() {
        let (mut room, client) = (room(1), Fake::default());
        room.admit(client.clone(), Instant::now());
        drop(room);
        assert_eq!(client.told().as_deref(), Some(&b"\x1e\0\0\0\xff\x1d\x04Server shutdown in progress"[..]));
    }

    #[tokio::test]
    async fn a_client_of_a_socket_hears_the_last_word_and_then_the_end() {
        use tokio::io::AsyncReadExt;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let why = {
            let asked = asked.clone();
            move || {
                asked.fetch_add(1, Ordering::Relaxed);
                not_yet()
            }
        };
        let patience = Patience { clients_max: 1, wait_max: Duration::from_secs(3600) };
        let room = Anteroom::open(socket, patience, why).unwrap();
        // One waits, and whoever comes after him is too many.
        let mut first = TcpStream::connect(room.address()).await.unwrap();
        let mut second = TcpStream::connect(room.address()).await.unwrap();
        let mut told = Vec::new();
        second.read_to_end(&mut told).await.unwrap();
        assert_eq!((&told[..], asked.load(Ordering::Relaxed)), (NOT_YET, 1));
        // One that has hung up makes room; the socket says so.
        drop(first);
        loop {
            first = TcpStream::connect(room.address()).await.unwrap();
            let mut word = Vec::new();
            let read = tokio::time::timeout(Duration::from_millis(200), first.read_to_end(&mut word)).await;
            if read.is_err() {
                break;
            }
        }
        drop(room);
        told.clear();
        first.read_to_end(&mut told).await.unwrap();
        assert_eq!(told[4..7], *b"\xff\x1d\x04", "1053");
    }
}
