//! One connection, from greeting to goodbye.
//!
//! ```text
//!   greeting ─▶ [SSLRequest ─▶ TLS] ─▶ login ─▶ authentication ─▶ OK ─┐
//!                                                                     ▼
//!               ┌────────────────────────────────────────── next complete packet?
//!               │ yes                                                 │ no
//!               ▼                                                     ▼
//!       command ─▶ Handler ─▶ replies appended            write once, then wait for
//!               │    while it runs: listen for a              bytes │ time-out │ Control
//!               └──▶ client that hangs up
//! ```

use crate::auth::{Account, Exchange, Plugin, Step, fresh_nonce};
use crate::bytes::Cursor;
use crate::column::charset_of_collation;
use crate::config::Config;
use crate::handler::{ClientInfo, Handler, Interrupt, StateChange, TlsInfo};
use crate::handshake::{Login, Response, decode_change_user, put_greeting};
use crate::listener::{Admission, Closing, Control, Peer, too_many};
use crate::packet::{Front, Output, PacketBuffer};
use crate::params::{ExecuteHead, ParamError, ParamType, decode_execute, skip_query_attributes};
use crate::protocol::{capability as cap, command, status};
use crate::result::{
    CursorRows, DefinitionCache, FileBounds, FilePart, FileRequest, HIGH_WATER, ResultWriter, RowFormat,
    put_error,
};
use crate::text::decode;
use assize_model::{ErrorCode, SqlError};
use assize_values::Collation;
use bytes::Bytes;
use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Room made for each read.
const READ_CHUNK: usize = 16 << 10;
/// Largest packet of a client that has not authenticated.
const LOGIN_PACKET_MAX: usize = 1 << 20;
/// While a statement runs, so much is read ahead of what follows it.
const LOOK_AHEAD_MAX: usize = 256 << 10;
/// Bytes of the longest time-out that a timer is set to: about a year.
const TIMEOUT_MAX: Duration = Duration::from_secs(31_536_000);

/// Why a connection ended other than by the client's wish.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Io(#[from] std::io::Error),
    /// The client took too long to authenticate.
    #[error("the client did not authenticate in time")]
    ConnectTimeout,
    /// The client was idle for too long.
    #[error("the client was idle for too long")]
    IdleTimeout,
    /// The client hung up without a word.
    #[error("the client hung up")]
    HungUp,
    /// The handshake was not one.
    #[error("the handshake could not be understood")]
    BadHandshake,
    /// Authentication failed, or the session could not begin.
    #[error("the client was refused: {0}")]
    Refused(SqlError),
    /// No place was left but the administrators'.
    #[error("too many connections")]
    TooMany,
    /// A packet was not the one that had to come.
    #[error("packets out of order")]
    OutOfOrder,
    /// The server stops.
    #[error("the server stops")]
    Draining,
    /// Somebody killed the connection.
    #[error("the connection was killed")]
    Killed,
}

/// Any stream of bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Serves one connection until it ends. The handler is told when it does, however it does.
pub async fn serve_connection<S, H>(
    stream: S,
    id: u32,
    peer: Peer,
    admission: Admission,
    mut handler: H,
    config: &Config,
    control: Arc<Control>,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let result = run(stream, id, peer, admission, &mut handler, config, &control).await;
    handler.disconnect().await;
    result
}

async fn run<S, H>(
    stream: S,
    id: u32,
    peer: Peer,
    admission: Admission,
    handler: &mut H,
    config: &Config,
    control: &Control,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let deadline = Instant::now() + config.connect_timeout.min(TIMEOUT_MAX);
    let connecting = connect(stream, id, peer, admission, handler, config);
    let (io, session) = match tokio::time::timeout_at(deadline, connecting).await {
        Ok(connected) => connected?,
        Err(_) => return Err(ConnectionError::ConnectTimeout),
    };
    let connection = Connection { io, session, handler, config, control, drain_deadline: None };
    connection.serve().await
}

/// Both directions of a connection, once it is known whether they are encrypted.
struct Io {
    packets: PacketBuffer,
    reader: Reader,
    writer: ResultWriter,
}

/// The reading direction, which goes on while a statement runs.
struct Reader {
    half: Box<dyn AsyncRead + Send + Unpin>,
    /// What has been read beyond the command that runs.
    ahead: PacketBuffer,
    /// The client will send no more.
    gone: bool,
    files: mpsc::UnboundedReceiver<FileRequest>,
    /// A file is being received.
    file: Option<mpsc::Sender<FilePart>>,
    /// How long the client may send nothing of it.
    silence_max: Duration,
    /// The last file has ended; the number of the next reply.
    file_end: Option<u8>,
}

impl Io {
    fn new(stream: Box<dyn Duplex>, packets: PacketBuffer, config: &Config) -> Self {
        let (read_half, write_half) = tokio::io::split(stream);
        let (sender, files) = mpsc::unbounded_channel();
        let reader = Reader {
            half: Box::new(read_half),
            ahead: PacketBuffer::new(usize::MAX),
            gone: false,
            files,
            file: None,
            silence_max: Duration::MAX,
            file_end: None,
        };
        Io { packets, reader, writer: ResultWriter::new(Box::new(write_half), config.write_timeout, sender) }
    }

    /// Waits for the next packet of an exchange and answers its payload; the reply's number is set.
    async fn packet(&mut self) -> Result<Vec<u8>, ConnectionError> {
        loop {
            match self.packets.next() {
                Front::Packet { payload, seq } => {
                    self.writer.output.set_seq(seq.wrapping_add(1));
                    self.packets.expect(seq.wrapping_add(2));
                    return Ok(self.packets.bytes()[payload].to_vec());
                }
                Front::TooLarge { .. } => return Err(ConnectionError::BadHandshake),
                Front::OutOfOrder { .. } => return Err(ConnectionError::OutOfOrder),
                Front::Incomplete => {
                    let space = self.packets.space();
                    space.reserve(READ_CHUNK);
                    if self.reader.half.read_buf(space).await? == 0 {
                        return Err(ConnectionError::HungUp);
                    }
                }
            }
        }
    }

    /// Sends what has been written; the next packet must follow it.
    async fn send(&mut self) -> Result<(), ConnectionError> {
        self.writer.flush().await.map_err(|_| ConnectionError::HungUp)?;
        let seq = self.writer.output.seq();
        self.packets.expect(seq);
        Ok(())
    }

    /// Sends an error as the last word.
    async fn refuse(&mut self, error: &SqlError) {
        self.writer.error(error);
        let _ = self.writer.flush().await;
        self.writer.shut().await;
    }
}

/// What the protocol remembers of a session.
struct SessionState {
    client: ClientInfo,
    admission: Admission,
    nonce: [u8; 20],
    statements: HashMap<u32, Statement>,
    /// Definitions of the last text result.
    definitions: DefinitionCache,
}

/// What the protocol remembers of a prepared statement.
#[derive(Default)]
struct Statement {
    params: usize,
    types: Vec<ParamType>,
    long_data: Vec<Option<Vec<u8>>>,
    /// What was wrong with SEND_LONG_DATA, which has no reply of its own.
    long_error: Option<SqlError>,
    cursor: Option<CursorRows>,
    definitions: DefinitionCache,
}

impl Statement {
    fn reset(&mut self) {
        self.long_data.iter_mut().for_each(|data| *data = None);
        self.long_error = None;
        self.cursor = None;
    }
}

/// Greets, negotiates TLS, authenticates, begins the session.
async fn connect<S, H>(
    stream: S,
    id: u32,
    peer: Peer,
    admission: Admission,
    handler: &mut H,
    config: &Config,
) -> Result<(Io, SessionState), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let mut stream: Box<dyn Duplex> = Box::new(stream);
    let mut packets = PacketBuffer::new(LOGIN_PACKET_MAX);
    let nonce = fresh_nonce();
    let offered = cap::OFFERED | if config.tls.is_some() { cap::SSL } else { 0 };
    let mut output = Output::default();
    let collation = Collation::UTF8MB4_0900_AI_CI.0 as u8;
    put_greeting(output.begin(), &config.version, id, &nonce, collation, offered);
    output.end();
    stream.write_all(output.bytes()).await?;
    stream.flush().await?;

    packets.expect(1);
    let first = loop {
        match packets.next() {
            Front::Packet { payload, seq } => {
                break First { payload: packets.bytes()[payload].to_vec(), seq };
            }
            Front::Incomplete => {}
            Front::TooLarge { .. } | Front::OutOfOrder { .. } => {
                return Err(refuse_handshake(stream.as_mut(), 2).await);
            }
        }
        let space = packets.space();
        space.reserve(READ_CHUNK);
        if stream.read_buf(space).await? == 0 {
            return Err(ConnectionError::HungUp);
        }
    };
    let (mut io, payload, tls) = match (Response::decode(&first.payload), &config.tls) {
        (Ok(Response::Tls), Some(tls)) => {
            // Whatever came behind the request belongs to TLS; nothing of it is believed as clear text.
            let early = Prefixed { prefix: packets.take_rest(), at: 0, inner: stream };
            let accepted = tokio_rustls::TlsAcceptor::from(tls.current()).accept(early).await?;
            let info = tls_info(accepted.get_ref().1);
            let mut io = Io::new(Box::new(accepted), packets, config);
            io.packets.expect(first.seq.wrapping_add(1));
            let payload = io.packet().await?;
            (io, payload, Some(info))
        }
        (Ok(Response::Login(_) | Response::TooOld), _) => {
            let mut io = Io::new(stream, packets, config);
            io.writer.output.set_seq(first.seq.wrapping_add(1));
            (io, first.payload, None)
        }
        _ => return Err(refuse_handshake(stream.as_mut(), first.seq.wrapping_add(1)).await),
    };
    let Ok(Response::Login(login)) = Response::decode(&payload) else {
        io.refuse(&SqlError::new(ErrorCode::HandshakeError, "Bad handshake")).await;
        return Err(ConnectionError::BadHandshake);
    };
    let capabilities = login.capabilities & offered;
    io.writer.set_capabilities(capabilities);
    let client = ClientInfo {
        connection: id,
        user: String::new(),
        host: peer.host,
        port: peer.port,
        database: None,
        collation: Collation::UTF8MB4_0900_AI_CI,
        capabilities,
        attributes: Vec::new(),
        tls,
    };
    let statements = HashMap::new();
    let definitions = DefinitionCache::default();
    let mut session = SessionState { client, admission, nonce, statements, definitions };
    log_in(&mut io, &mut session, login, handler, config, false).await?;
    Ok((io, session))
}

/// The first packet of a client.
struct First {
    payload: Vec<u8>,
    seq: u8,
}

async fn refuse_handshake(stream: &mut dyn Duplex, seq: u8) -> ConnectionError {
    let mut output = Output::default();
    output.set_seq(seq);
    put_error(&mut output, &SqlError::new(ErrorCode::HandshakeError, "Bad handshake"), cap::PROTOCOL_41);
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(output.bytes())).await;
    ConnectionError::BadHandshake
}

/// Authenticates a login and begins its session; sends the OK or the error.
async fn log_in<H: Handler>(
    io: &mut Io,
    session: &mut SessionState,
    login: Login,
    handler: &mut H,
    config: &Config,
    change_user: bool,
) -> Result<(), ConnectionError> {
    let user = String::from_utf8_lossy(&login.user).into_owned();
    let host = session.client.host.clone();
    let secure = session.client.tls.is_some();
    let account = match handler.account(&user, &host).await {
        Ok(account) => account,
        Err(error) => return Err(refused(io, error).await),
    };
    if !secure && handler.requires_tls(&host) {
        return Err(refused(io, tls_required()).await);
    }
    let permitted = check_account(account.as_ref(), &user, &host, secure);
    let administrator = account.as_ref().is_some_and(|a| a.administrator);
    if let Err(error) = authenticate(io, session, &login, account, &user, config, change_user).await? {
        return Err(refused(io, error).await);
    }
    if let Err(error) = permitted {
        return Err(refused(io, error).await);
    }
    if session.admission == Admission::Reserved && !administrator {
        io.refuse(&too_many()).await;
        return Err(ConnectionError::TooMany);
    }
    let collation = Collation(login.collation);
    session.client.user = user;
    session.client.database = login.database.map(|name| String::from_utf8_lossy(&name).into_owned());
    session.client.collation = match charset_of_collation(collation) {
        Some(_) if collation != Collation::BINARY => collation,
        // Sets that are not spoken here mean the default, as in MySQL.
        _ => Collation::UTF8MB4_0900_AI_CI,
    };
    session.client.attributes = login.attributes;
    if let Err(error) = handler.login(&session.client).await {
        return Err(refused(io, error).await);
    }
    io.writer.begin(handler.status(), handler.results_collation(), RowFormat::Text);
    let database = session.client.database.clone().map(StateChange::Database);
    io.writer.ok(0, database.as_slice());
    io.writer.flush().await.map_err(|_| ConnectionError::HungUp)?;
    io.packets.set_limit(handler.packet_bytes_max());
    io.packets.expect(0);
    Ok(())
}

async fn refused(io: &mut Io, error: SqlError) -> ConnectionError {
    io.refuse(&error).await;
    ConnectionError::Refused(error)
}

fn check_account(account: Option<&Account>, user: &str, host: &str, secure: bool) -> Result<(), SqlError> {
    match account {
        Some(account) if account.locked => Err(SqlError::new(
            ErrorCode::AccountLocked,
            format!("Access denied for user '{user}'@'{host}'. Account is locked."),
        )),
        Some(account) if account.require_tls && !secure => Err(access_denied(user, host, true)),
        _ => Ok(()),
    }
}

fn tls_required() -> SqlError {
    SqlError::new(
        ErrorCode::SecureTransportRequired,
        "Connections using insecure transport are prohibited while --require_secure_transport=ON, and from other machines \
         unless mysql.insecure is set",
    )
}

fn access_denied(user: &str, host: &str, using_password: bool) -> SqlError {
    let using = if using_password { "YES" } else { "NO" };
    SqlError::new(
        ErrorCode::AccessDenied,
        format!("Access denied for user '{user}'@'{host}' (using password: {using})"),
    )
}

/// Drives an [`Exchange`]. The outer error is the transport's.
async fn authenticate(
    io: &mut Io,
    session: &mut SessionState,
    login: &Login,
    account: Option<Account>,
    user: &str,
    config: &Config,
    change_user: bool,
) -> Result<Result<(), SqlError>, ConnectionError> {
    let can_switch = session.client.can(cap::PLUGIN_AUTH);
    let plugin = match &login.plugin {
        Some(name) => std::str::from_utf8(name).ok().and_then(Plugin::from_name),
        // Clients that do not know plugins answer the greeting natively.
        None => Some(Plugin::Native),
    };
    let secure = session.client.tls.is_some();
    let mut exchange = Exchange::new(account, session.nonce, secure);
    let mut answer = Vec::new();
    // What comes with COM_CHANGE_USER may be made for any plugin: ask for what the account needs.
    let mut step = if change_user && can_switch {
        exchange.switch()
    } else {
        exchange.begin(plugin, &login.auth, can_switch)
    };
    loop {
        step = match step {
            Step::Ask(payload) => {
                session.nonce = exchange.nonce();
                io.writer.output.packet(&payload);
                io.send().await?;
                answer = io.packet().await?;
                exchange.answer(&answer)
            }
            Step::NeedKey => {
                let holder = config.password_key.clone();
                let made = tokio::task::spawn_blocking(move || holder.get().is_some()).await;
                match (made, config.password_key.get()) {
                    (Ok(true), Some(key)) => exchange.with_key(key, &answer),
                    _ => return Ok(Err(SqlError::internal("no key for passwords could be made"))),
                }
            }
            Step::Accepted(payload) => {
                if !payload.is_empty() {
                    io.writer.output.packet(&payload);
                }
                return Ok(Ok(()));
            }
            Step::Refused { using_password } => {
                return Ok(Err(access_denied(user, &session.client.host, using_password)));
            }
            Step::Unsupported => {
                return Ok(Err(SqlError::new(
                    ErrorCode::NotSupportedByAuth,
                    "Client does not support authentication protocol requested by server; consider \
                     upgrading MySQL client",
                )));
            }
            Step::Malformed => {
                return Ok(Err(SqlError::new(ErrorCode::HandshakeError, "Bad handshake")));
            }
        };
    }
}

fn tls_info(connection: &rustls::ServerConnection) -> TlsInfo {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    let cipher = suite.and_then(|s| s.as_str()).unwrap_or("").replace("TLS13_", "TLS_");
    TlsInfo { version: version.to_owned(), cipher }
}

/// A stream of which some bytes have been read already.
struct Prefixed {
    prefix: Vec<u8>,
    at: usize,
    inner: Box<dyn Duplex>,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.at < self.prefix.len() {
            let count = into.remaining().min(self.prefix.len() - self.at);
            into.put_slice(&self.prefix[self.at..self.at + count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// What ended a wait for the client.
enum Woken {
    Bytes,
    HungUp,
    Idle,
    Control,
}

/// Whether to go on after a command.
enum After {
    Next,
    Quit,
    /// COM_CHANGE_USER: log in again.
    LogIn(Login),
}

/// A connection whose client has authenticated.
struct Connection<'a, H> {
    io: Io,
    session: SessionState,
    handler: &'a mut H,
    config: &'a Config,
    control: &'a Control,
    /// When an open transaction must have ended, once the server stops.
    drain_deadline: Option<Instant>,
}

impl<H: Handler> Connection<'_, H> {
    async fn serve(mut self) -> Result<(), ConnectionError> {
        let mut timer = Box::pin(tokio::time::sleep(self.idle_limit()));
        let interrupt = self.handler.interrupt();
        let changed = self.control;
        loop {
            match self.io.packets.next() {
                Front::Packet { payload, seq } => {
                    self.io.writer.output.set_seq(seq.wrapping_add(1));
                    self.io.packets.expect(0);
                    let after = {
                        let Connection { io, session, handler, config, .. } = &mut self;
                        let payload = &io.packets.bytes()[payload];
                        let (reader, writer) = (&mut io.reader, &mut io.writer);
                        let running = Running {
                            reader,
                            writer,
                            session,
                            handler: *handler,
                            interrupt: &*interrupt,
                            config,
                            control: changed,
                        };
                        running.command(payload).await
                    };
                    self.take_look_ahead();
                    match after {
                        After::Next => {}
                        After::Quit => {
                            self.io.writer.shut().await;
                            return Ok(());
                        }
                        After::LogIn(login) => self.change_user(login).await?,
                    }
                    if self.io.writer.output.bytes().len() >= HIGH_WATER {
                        self.flush().await?;
                    }
                    if self.control.closing() != Closing::Open {
                        self.flush().await?;
                        self.check_closing(true).await?;
                    }
                }
                Front::TooLarge { seq } => {
                    self.io.writer.output.set_seq(seq.wrapping_add(1));
                    self.io.packets.expect(0);
                    self.io.writer.error(&SqlError::new(
                        ErrorCode::PacketTooLarge,
                        "Got a packet bigger than 'max_allowed_packet' bytes",
                    ));
                }
                Front::OutOfOrder { seq } => {
                    // What follows cannot be told apart any more.
                    self.io.writer.output.set_seq(seq.wrapping_add(1));
                    let error = SqlError::new(ErrorCode::PacketsOutOfOrder, "Got packets out of order");
                    self.io.refuse(&error).await;
                    return Err(ConnectionError::OutOfOrder);
                }
                Front::Incomplete => {
                    self.flush().await?;
                    if self.io.reader.gone {
                        return Err(ConnectionError::HungUp);
                    }
                    match self.wait(&mut timer, changed).await? {
                        Woken::Bytes => {}
                        Woken::HungUp => return Err(ConnectionError::HungUp),
                        Woken::Control => self.check_closing(false).await?,
                        Woken::Idle => {
                            self.last_word(ErrorCode::IdleTimeout, IDLE).await;
                            return Err(ConnectionError::IdleTimeout);
                        }
                    }
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.io.writer.flush().await.map_err(|_| ConnectionError::HungUp)
    }

    fn idle_limit(&self) -> Duration {
        self.handler.wait_timeout().min(TIMEOUT_MAX)
    }

    /// Waits for bytes from an idle client.
    async fn wait(
        &mut self,
        timer: &mut Pin<Box<Sleep>>,
        control: &Control,
    ) -> Result<Woken, ConnectionError> {
        // The timer is not set anew for each command: when it fires early, it is set to what remains.
        let idle_deadline = Instant::now() + self.idle_limit();
        let deadline = self.drain_deadline.map_or(idle_deadline, |drain| drain.min(idle_deadline));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        let space = self.io.packets.space();
        space.reserve(READ_CHUNK);
        loop {
            tokio::select! {
                biased;
                read = self.io.reader.half.read_buf(space) => {
                    return Ok(if read? == 0 { Woken::HungUp } else { Woken::Bytes });
                }
                () = control.changed.notified() => return Ok(Woken::Control),
                () = timer.as_mut() => {
                    if Instant::now() >= deadline {
                        let drained = self.drain_deadline.is_some_and(|drain| drain <= deadline);
                        return Ok(if drained { Woken::Control } else { Woken::Idle });
                    }
                    timer.as_mut().reset(deadline);
                }
            }
        }
    }

    /// Ends the connection if it should end now.
    async fn check_closing(&mut self, after_command: bool) -> Result<(), ConnectionError> {
        match self.control.closing() {
            Closing::Open => Ok(()),
            Closing::Killed => {
                if after_command {
                    // The statement's own reply was the last word.
                    self.io.writer.shut().await;
                } else {
                    self.last_word(ErrorCode::ConnectionKilled, "Connection was killed").await;
                }
                Err(ConnectionError::Killed)
            }
            Closing::Draining => {
                let now = Instant::now();
                let deadline = *self.drain_deadline.get_or_insert(now + self.config.drain_timeout);
                let in_transaction = self.handler.status() & status::IN_TRANSACTION != 0;
                if in_transaction && now < deadline {
                    return Ok(());
                }
                self.last_word(ErrorCode::ServerShutdown, "Server shutdown in progress").await;
                Err(ConnectionError::Draining)
            }
        }
    }

    /// An error that no command asked for: it has sequence number 0, as in MySQL.
    async fn last_word(&mut self, code: ErrorCode, message: &str) {
        self.io.writer.output.set_seq(0);
        self.io.refuse(&SqlError::new(code, message)).await;
    }

    /// Bytes that came while a statement ran are what comes next.
    fn take_look_ahead(&mut self) {
        if !self.io.reader.ahead.bytes().is_empty() {
            let ahead = self.io.reader.ahead.take_rest();
            self.io.packets.space().extend_from_slice(&ahead);
        }
    }

    async fn change_user(&mut self, login: Login) -> Result<(), ConnectionError> {
        self.session.statements.clear();
        log_in(&mut self.io, &mut self.session, login, self.handler, self.config, true).await
    }
}

const IDLE: &str = "The client was disconnected by the server because of inactivity. See wait_timeout and \
                    interactive_timeout for configuring this behavior.";

/// A command while it runs.
struct Running<'a, H> {
    reader: &'a mut Reader,
    writer: &'a mut ResultWriter,
    session: &'a mut SessionState,
    handler: &'a mut H,
    interrupt: &'a dyn Interrupt,
    config: &'a Config,
    control: &'a Control,
}

impl<H: Handler> Running<'_, H> {
    async fn command(mut self, payload: &[u8]) -> After {
        let Some((&command, body)) = payload.split_first() else {
            self.begin(RowFormat::Text);
            self.fail(&malformed());
            return After::Next;
        };
        let format = if command == command::STMT_EXECUTE || command == command::STMT_FETCH {
            RowFormat::Binary
        } else {
            RowFormat::Text
        };
        self.begin(format);
        match command {
            command::QUIT => return After::Quit,
            command::PING => self.writer.ok(0, &[]),
            command::QUERY => self.query(body).await,
            command::INIT_DB => self.init_db(body).await,
            command::FIELD_LIST => self.field_list(body).await,
            command::STATISTICS => {
                let text = self.handler.statistics();
                self.writer.output.packet(text.as_bytes());
            }
            command::PROCESS_KILL => self.kill(body).await,
            command::SET_OPTION => self.set_option(body),
            command::RESET_CONNECTION => self.reset().await,
            command::CHANGE_USER => match decode_change_user(body, self.session.client.capabilities) {
                Ok(login) => return After::LogIn(login),
                Err(_) => self.fail(&malformed()),
            },
            command::STMT_PREPARE => self.prepare(body).await,
            command::STMT_EXECUTE => self.execute(body).await,
            command::STMT_FETCH => self.fetch(body),
            command::STMT_RESET => self.reset_statement(body),
            // These two have no reply, not even for nonsense.
            command::STMT_SEND_LONG_DATA => self.long_data(body),
            command::STMT_CLOSE => self.close_statement(body),
            _ => self.fail(&SqlError::new(ErrorCode::UnknownCommand, "Unknown command")),
        }
        After::Next
    }

    fn begin(&mut self, format: RowFormat) {
        self.writer.file_bounds = FileBounds {
            packet_bytes_max: self.handler.packet_bytes_max(),
            silence_max: self.handler.read_timeout().min(TIMEOUT_MAX),
        };
        self.writer.begin(self.handler.status(), self.handler.results_collation(), format);
    }

    fn fail(&mut self, error: &SqlError) {
        self.writer.error(error);
    }

    /// OK with the session's status after the command, or the error.
    fn finish(&mut self, result: Result<(), SqlError>, changes: &[StateChange]) {
        match result {
            Ok(()) => {
                self.writer.set_status(self.handler.status());
                self.writer.ok(0, changes);
            }
            Err(error) => self.fail(&error),
        }
    }

    async fn query(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        if self.session.client.can(cap::QUERY_ATTRIBUTES)
            && let Err(error) = skip_query_attributes(&mut cursor)
        {
            return self.fail(&param_error(error));
        }
        std::mem::swap(&mut self.writer.cache, &mut self.session.definitions);
        let text = decode(self.handler.client_charset(), cursor.rest());
        let result = watched(self.reader, self.interrupt, self.handler.query(&text, self.writer)).await;
        self.end_statement(result).await;
        std::mem::swap(&mut self.writer.cache, &mut self.session.definitions);
    }

    /// After the handler has run a statement: the reply is complete, or becomes so.
    async fn end_statement(&mut self, result: Result<(), SqlError>) {
        if self.writer.drop_file() {
            // The client sends its file to the end, whatever we think of it.
            if let Some(seq) = skip_file(self.reader, self.control).await {
                self.writer.output.set_seq(seq);
            }
        }
        match result {
            Ok(()) if self.writer.is_done() => {}
            Ok(()) => self.fail(&SqlError::internal("a statement ended without a result")),
            Err(error) => self.fail(&error),
        }
    }

    async fn init_db(&mut self, body: &[u8]) {
        let name = self.text(body);
        let result = watched(self.reader, self.interrupt, self.handler.select_database(&name)).await;
        self.finish(result, &[StateChange::Database(name)]);
    }

    async fn field_list(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let table = self.text(cursor.nul_or_rest());
        let pattern = self.text(cursor.nul_or_rest());
        let found = watched(self.reader, self.interrupt, self.handler.field_list(&table, &pattern)).await;
        match found {
            Ok(fields) => self.writer.field_list(&fields),
            Err(error) => self.fail(&error),
        }
    }

    async fn kill(&mut self, body: &[u8]) {
        let result = match Cursor::new(body).u32() {
            Ok(connection) => {
                // The connection may be one of another node.
                watched(self.reader, self.interrupt, self.handler.kill(connection)).await
            }
            Err(_) => Err(malformed()),
        };
        self.finish(result, &[]);
    }

    fn set_option(&mut self, body: &[u8]) {
        match Cursor::new(body).u16() {
            Ok(option @ (0 | 1)) => {
                self.handler.set_multi_statements(option == 0);
                self.writer.eof();
            }
            Ok(_) => self.fail(&SqlError::new(ErrorCode::UnknownCommand, "Unknown command")),
            Err(_) => self.fail(&malformed()),
        }
    }

    async fn reset(&mut self) {
        self.session.statements.clear();
        let result = watched(self.reader, self.interrupt, self.handler.reset()).await;
        self.finish(result, &[]);
    }

    async fn prepare(&mut self, body: &[u8]) {
        if self.session.statements.len() >= self.config.statements_max {
            let limit = self.config.statements_max;
            return self.fail(&SqlError::new(
                ErrorCode::TooManyStatements,
                format!("Can't create more than max_prepared_stmt_count statements (current value: {limit})"),
            ));
        }
        let text = decode(self.handler.client_charset(), body);
        let result = watched(self.reader, self.interrupt, self.handler.prepare(&text)).await;
        match result {
            Ok(prepared) => {
                let params = usize::from(prepared.params);
                let statement = Statement { params, long_data: vec![None; params], ..Statement::default() };
                self.session.statements.insert(prepared.id, statement);
                self.writer.set_status(self.handler.status());
                self.writer.prepared(&prepared);
            }
            Err(error) => self.fail(&error),
        }
    }

    async fn execute(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let Ok(head) = ExecuteHead::decode(&mut cursor) else { return self.fail(&malformed()) };
        let Some(mut statement) = self.session.statements.remove(&head.statement) else {
            return self.fail(&unknown_statement(head.statement, "mysqld_stmt_execute"));
        };
        self.execute_statement(cursor, head, &mut statement).await;
        self.session.statements.insert(head.statement, statement);
    }

    async fn execute_statement(
        &mut self,
        mut cursor: Cursor<'_>,
        head: ExecuteHead,
        statement: &mut Statement,
    ) {
        // Executing closes the cursor that is open.
        statement.cursor = None;
        if let Some(error) = statement.long_error.take() {
            statement.reset();
            return self.fail(&error);
        }
        let params = decode_execute(
            &mut cursor,
            head,
            statement.params,
            self.session.client.can(cap::QUERY_ATTRIBUTES),
            &mut statement.types,
            &mut statement.long_data,
            self.handler.client_charset(),
        );
        let params = match params {
            Ok(params) => params,
            Err(error) => return self.fail(&param_error(error)),
        };
        if head.wants_cursor() {
            self.writer.cursor = Some((CursorRows::default(), self.config.cursor_bytes_max));
        }
        std::mem::swap(&mut self.writer.cache, &mut statement.definitions);
        let running = self.handler.execute(head.statement, &params, self.writer);
        let result = watched(self.reader, self.interrupt, running).await;
        self.end_statement(result).await;
        std::mem::swap(&mut self.writer.cache, &mut statement.definitions);
        statement.cursor = self.writer.take_cursor();
    }

    fn fetch(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let (Ok(id), Ok(count)) = (cursor.u32(), cursor.u32()) else { return self.fail(&malformed()) };
        let Some(statement) = self.session.statements.get_mut(&id) else {
            return self.fail(&unknown_statement(id, "mysqld_stmt_fetch"));
        };
        let Some(rows) = &mut statement.cursor else {
            let error =
                SqlError::new(ErrorCode::NoOpenCursor, format!("The statement ({id}) has no open cursor."));
            return self.fail(&error);
        };
        self.writer.fetched(rows, count);
        if rows.is_empty() {
            statement.cursor = None;
        }
    }

    fn reset_statement(&mut self, body: &[u8]) {
        let Ok(id) = Cursor::new(body).u32() else { return self.fail(&malformed()) };
        match self.session.statements.get_mut(&id) {
            Some(statement) => {
                statement.reset();
                self.writer.ok(0, &[]);
            }
            None => self.fail(&unknown_statement(id, "mysqld_stmt_reset")),
        }
    }

    fn long_data(&mut self, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        let (Ok(id), Ok(param)) = (cursor.u32(), cursor.u16()) else { return };
        let Some(statement) = self.session.statements.get_mut(&id) else { return };
        let limit = self.handler.packet_bytes_max();
        let Some(data) = statement.long_data.get_mut(usize::from(param)) else {
            statement.long_error = Some(SqlError::new(
                ErrorCode::WrongArguments,
                "Incorrect arguments to mysqld_stmt_send_long_data",
            ));
            return;
        };
        let data = data.get_or_insert_with(Vec::new);
        let more = cursor.rest();
        if data.len().saturating_add(more.len()) > limit {
            data.clear();
            statement.long_error = Some(SqlError::new(
                ErrorCode::PacketTooLarge,
                "Parameter of prepared statement which is set through mysql_send_long_data() is longer than \
                 'max_allowed_packet' bytes",
            ));
            return;
        }
        data.extend_from_slice(more);
    }

    fn close_statement(&mut self, body: &[u8]) {
        if let Ok(id) = Cursor::new(body).u32()
            && self.session.statements.remove(&id).is_some()
        {
            self.handler.close_statement(id);
        }
    }

    fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&decode(self.handler.client_charset(), bytes)).into_owned()
    }
}

fn malformed() -> SqlError {
    SqlError::new(ErrorCode::MalformedPacket, "Malformed communication packet.")
}

fn param_error(error: ParamError) -> SqlError {
    match error {
        ParamError::Malformed => malformed(),
        ParamError::Sql(error) => error,
    }
}

fn unknown_statement(id: u32, place: &str) -> SqlError {
    SqlError::new(
        ErrorCode::UnknownStatement,
        format!("Unknown prepared statement handler ({id}) given to {place}"),
    )
}

/// Runs a statement to its end, and meanwhile reads ahead: to notice a client that hangs up, and to receive
/// the file that the statement has asked for.
async fn watched<F: Future>(reader: &mut Reader, interrupt: &dyn Interrupt, statement: F) -> F::Output {
    let mut statement = pin!(statement);
    loop {
        let listen = !reader.gone && reader.ahead.bytes().len() < LOOK_AHEAD_MAX;
        tokio::select! {
            biased;
            output = &mut statement => return output,
            Some(request) = reader.files.recv() => {
                reader.begin_file(request);
                tokio::select! {
                    biased;
                    output = &mut statement => return output,
                    _ = receive_file(reader) => {}
                }
            }
            more = read_ahead(&mut *reader.half, &mut reader.ahead), if listen => {
                if !more {
                    reader.gone = true;
                    interrupt.client_gone();
                }
            }
        }
    }
}

async fn read_ahead(half: &mut (dyn AsyncRead + Send + Unpin), ahead: &mut PacketBuffer) -> bool {
    let space = ahead.space();
    space.reserve(READ_CHUNK);
    matches!(half.read_buf(space).await, Ok(count) if count > 0)
}

impl Reader {
    fn begin_file(&mut self, request: FileRequest) {
        // The file's packets go on counting from the request for it.
        self.ahead.expect(request.seq);
        self.ahead.set_limit(request.bounds.packet_bytes_max);
        self.silence_max = request.bounds.silence_max;
        self.file = Some(request.parts);
        self.file_end = None;
    }

    fn end_file(&mut self) {
        self.file = None;
        self.ahead.expect(0);
    }

    /// What comes from the client cannot be understood, or nothing does: the connection ends with the statement, and nothing of
    /// what was a file is taken for a command.
    fn break_off(&mut self) {
        self.gone = true;
        self.end_file();
        self.ahead.take_rest();
    }
}

/// Hands the client's file to whoever asked for it, up to its end. Can be dropped and called again.
async fn receive_file(reader: &mut Reader) {
    while let Some(file) = reader.file.clone() {
        // Room first, then the packet: dropped in between, nothing is lost. Nobody may be listening any more;
        // the file still has to go by.
        let room = file.reserve().await.ok();
        let tell = |part| {
            if let Some(room) = room {
                room.send(part);
            }
        };
        match reader.ahead.next() {
            Front::Packet { payload, seq } => {
                let next = seq.wrapping_add(1);
                reader.ahead.expect(next);
                let bytes = Bytes::copy_from_slice(&reader.ahead.bytes()[payload]);
                let ended = bytes.is_empty();
                tell(if ended { FilePart::End(next) } else { FilePart::Data(bytes) });
                if ended {
                    reader.file_end = Some(next);
                    reader.end_file();
                }
            }
            Front::Incomplete => {
                let more = read_ahead(&mut *reader.half, &mut reader.ahead);
                match tokio::time::timeout(reader.silence_max, more).await {
                    Ok(true) => {}
                    Ok(false) => reader.break_off(),
                    Err(_) => {
                        let text = "Got timeout reading communication packets";
                        tell(FilePart::Failed(SqlError::new(ErrorCode::NetReadInterrupted, text)));
                        reader.break_off();
                    }
                }
            }
            Front::TooLarge { seq } => {
                reader.ahead.expect(seq.wrapping_add(1));
                let text = "Got a packet bigger than 'max_allowed_packet' bytes";
                tell(FilePart::Failed(SqlError::new(ErrorCode::PacketTooLarge, text)));
            }
            Front::OutOfOrder { .. } => {
                let error = SqlError::new(ErrorCode::PacketsOutOfOrder, "Got packets out of order");
                tell(FilePart::Failed(error));
                reader.break_off();
            }
        }
    }
}

/// Lets the rest of a file go by that nobody wants any more. Answers the number of the next reply. A connection that is to end
/// does not wait for it.
async fn skip_file(reader: &mut Reader, control: &Control) -> Option<u8> {
    if let Ok(request) = reader.files.try_recv() {
        reader.begin_file(request);
    }
    while reader.file.is_some() {
        if control.closing() != Closing::Open {
            reader.break_off();
            break;
        }
        tokio::select! {
            biased;
            () = receive_file(reader) => {}
            () = control.changed.notified() => {}
        }
    }
    reader.file_end.take()
}
