//! A proxy between the exporter and PostgreSQL that knows where a message begins and ends, and fails where it is told to.
//!
//! Source: PostgreSQL documentation, "Message Formats".

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// When in a connection's life a message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// At any time.
    Any,
    /// Before BEGIN and after COMMIT.
    Outside,
    /// From BEGIN to the last answer to COMMIT.
    Transaction,
}

/// A message on its way that a fault strikes.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub direction: Direction,
    /// The message's type, or one of the types below.
    pub kind: u8,
    /// Text that the message holds; empty for any.
    pub holds: &'static str,
    pub phase: Phase,
    /// Which of the messages that match, from 1, counted over all connections.
    pub nth: u32,
}

/// The moment when a connection is accepted.
pub const CONNECT: u8 = 0;
/// The start-up message, which has no type.
pub const START_UP: u8 = 1;
/// SSLRequest and its answer, which have no type.
pub const SSL: u8 = 2;
/// What is not understood any more, since it is encrypted.
const OPAQUE: u8 = 3;

impl Step {
    pub const fn to_server(kind: u8) -> Self {
        Step { direction: Direction::ToServer, kind, holds: "", phase: Phase::Any, nth: 1 }
    }

    pub const fn to_client(kind: u8) -> Self {
        Step { direction: Direction::ToClient, ..Step::to_server(kind) }
    }

    pub const fn holding(self, holds: &'static str) -> Self {
        Step { holds, ..self }
    }

    pub const fn within(self, phase: Phase) -> Self {
        Step { phase, ..self }
    }

    pub const fn nth(self, nth: u32) -> Self {
        Step { nth, ..self }
    }

    /// COMMIT on its way to the server.
    pub const COMMIT: Step = Step::to_server(b'Q').holding("COMMIT");
    /// The answer to COMMIT.
    pub const COMMITTED: Step = Step::to_client(b'C').holding("COMMIT");
}

/// What happens to the message and its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The message is lost, and both sides are closed.
    Cut,
    /// The message arrives, and both sides are closed.
    CutAfter,
    /// The message is lost, and both sides are reset.
    Reset,
    /// Half of the message arrives, and both sides are closed.
    Truncate,
    /// Nothing more arrives in this direction until [`Proxy::heal`]; then all of it does.
    Stall,
    /// The message, and what follows it, arrives later.
    Delay(Duration),
    /// The server does not see the message, which must be a query; the client gets this SQLSTATE as its answer.
    Refuse(&'static str),
}

/// As often as the message comes, until [`Proxy::heal`].
pub const ALWAYS: u32 = u32::MAX;

/// A fault: where, what and how often.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub step: Step,
    pub action: Action,
    pub times: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { step: Step { direction, kind, holds, phase, nth }, action, times } = self;
        let kind = kind_name(*kind);
        write!(formatter, "{action:?} at {kind} {holds:?} no. {nth} {direction:?} in phase {phase:?}, ")?;
        if *times == ALWAYS { write!(formatter, "until healed") } else { write!(formatter, "{times} times") }
    }
}

fn kind_name(kind: u8) -> String {
    match kind {
        CONNECT => "connect".to_owned(),
        START_UP => "start-up".to_owned(),
        SSL => "SSL".to_owned(),
        OPAQUE => "encrypted".to_owned(),
        kind => char::from(kind).to_string(),
    }
}

/// A listener whose connections lead to the server. All of it ends when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listening: tokio::task::JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    faults: Mutex<Vec<Armed>>,
    /// The last messages, for the report of a failure.
    trace: Mutex<VecDeque<String>>,
    connections: AtomicUsize,
    /// The connection of the last strike, by its number.
    last_struck: AtomicUsize,
    strikes: watch::Sender<u32>,
    state: watch::Sender<State>,
    /// Whether the listener is closed.
    refuses: watch::Sender<bool>,
}

struct Armed {
    fault: Fault,
    seen: u32,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct State {
    refusing: bool,
    partitioned: bool,
    /// How often [`Proxy::heal`] was called.
    heals: u32,
    /// So many connections, from the first, are closed.
    cut: usize,
    /// One more that is closed, by its number.
    cut_one: Option<usize>,
}

const TRACE: usize = 100;

impl Proxy {
    /// A proxy to a server, without faults.
    pub async fn start(server: SocketAddr) -> Self {
        // Holds the port while nobody listens on it.
        let holder = socket("127.0.0.1:0".parse().expect("an address"));
        let address = holder.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server,
            faults: Mutex::default(),
            trace: Mutex::default(),
            connections: AtomicUsize::new(0),
            last_struck: AtomicUsize::new(usize::MAX),
            strikes: watch::Sender::new(0),
            state: watch::Sender::default(),
            refuses: watch::Sender::default(),
        });
        let listener = socket(address).listen(64).expect("a listener");
        let listening = tokio::spawn(listen(Arc::clone(&shared), holder, listener));
        Proxy { port: address.port(), shared, listening }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        lock(&self.shared.faults).push(Armed { fault, seen: 0 });
    }

    /// Adds a fault that strikes once.
    pub fn fail_once(&self, step: Step, action: Action) {
        self.fail(Fault { step, action, times: 1 });
    }

    /// Ends every fault, partition and refusal; what was stalled is forwarded.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
        let heal = |state: &mut State| {
            *state = State { refusing: false, partitioned: false, heals: state.heals + 1, ..*state };
        };
        self.shared.state.send_modify(heal);
    }

    /// Nothing is forwarded any more, and new connections are accepted but lead nowhere.
    pub fn partition(&self) {
        self.shared.state.send_modify(|state| state.partitioned = true);
    }

    /// From when it returns on, new connections are refused by the operating system.
    pub async fn refuse(&self) {
        self.shared.state.send_modify(|state| state.refusing = true);
        // The sender lives as long as the proxy.
        let _ = self.shared.refuses.subscribe().wait_for(|refuses| *refuses).await;
    }

    /// Closes every connection that is open.
    pub fn cut(&self) {
        self.cut_first(self.connections());
    }

    fn cut_first(&self, count: usize) {
        self.shared.state.send_modify(|state| state.cut = count);
    }

    /// Closes the connection that was struck last.
    pub fn cut_struck(&self) {
        let struck = self.shared.last_struck.load(Ordering::Acquire);
        self.shared.state.send_modify(|state| state.cut_one = Some(struck));
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// How often faults have struck.
    pub fn strikes(&self) -> u32 {
        *self.shared.strikes.borrow()
    }

    /// Waits until faults have struck so often.
    pub async fn struck(&self, times: u32) {
        let mut strikes = self.shared.strikes.subscribe();
        let struck = strikes.wait_for(|strikes| *strikes >= times);
        let result = tokio::time::timeout(Duration::from_secs(30), struck).await;
        assert!(result.is_ok(), "no fault struck within 30 s; the last messages:\n{}", self.trace());
    }

    /// The last messages, a line each.
    pub fn trace(&self) -> String {
        lock(&self.shared.trace).iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_first(usize::MAX);
        self.listening.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("a shared port");
    socket.bind(address).expect("a port");
    socket
}

async fn listen(shared: Arc<Shared>, holder: TcpSocket, listener: TcpListener) {
    let address = holder.local_addr().expect("an address");
    let mut listener = Some(listener);
    let mut state = shared.state.subscribe();
    loop {
        let refuses = state.borrow_and_update().refusing;
        if refuses {
            listener = None;
        }
        shared.refuses.send_replace(refuses);
        match &listener {
            None => {
                if state.wait_for(|state| !state.refusing).await.is_err() {
                    return;
                }
                listener = Some(socket(address).listen(64).expect("the port is held"));
            }
            Some(listener) => tokio::select! {
                _ = state.changed() => {}
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    let number = shared.connections.fetch_add(1, Ordering::AcqRel);
                    tokio::spawn(Arc::clone(&shared).serve(client, number));
                }
            },
        }
    }
}

/// How a connection ends.
enum End {
    Close,
    Reset,
}

/// What both directions of a connection know.
#[derive(Default)]
struct Connection {
    number: usize,
    started: AtomicBool,
    /// The next byte to the client is the answer to SSLRequest.
    ssl: AtomicBool,
    opaque: AtomicBool,
    transaction: AtomicBool,
}

/// One message with its length and type.
struct Message {
    kind: u8,
    bytes: Bytes,
}

impl Shared {
    async fn serve(self: Arc<Self>, mut client: TcpStream, number: usize) {
        let mut state = self.state.subscribe();
        let end = tokio::select! {
            end = self.connect(&mut client, number) => end.unwrap_or(End::Close),
            _ = state.wait_for(|state| state.cut > number || state.cut_one == Some(number)) => End::Close,
        };
        if let End::Reset = end {
            let _ = client.set_zero_linger();
        }
    }

    async fn connect(&self, client: &mut TcpStream, number: usize) -> io::Result<End> {
        let connection = Connection { number, ..Connection::default() };
        self.open().await;
        let accepted = Message { kind: CONNECT, bytes: Bytes::new() };
        match self.strike(Direction::ToServer, &connection, &accepted) {
            None | Some(Action::Refuse(_)) => {}
            Some(Action::Cut | Action::CutAfter | Action::Truncate) => return Ok(End::Close),
            Some(Action::Reset) => return Ok(End::Reset),
            Some(Action::Stall) => self.healed().await,
            Some(Action::Delay(time)) => tokio::time::sleep(time).await,
        }
        let mut server = TcpStream::connect(self.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (to_client, to_server) = (tokio::sync::Mutex::new(to_client), tokio::sync::Mutex::new(to_server));
        let end = tokio::select! {
            end = self.pump(Direction::ToServer, &connection, from_client, &to_server, &to_client) => end,
            end = self.pump(Direction::ToClient, &connection, from_server, &to_client, &to_server) => end,
        };
        let end = end?;
        if let End::Reset = end {
            let _ = server.set_zero_linger();
        }
        Ok(end)
    }

    async fn pump(
        &self,
        direction: Direction,
        connection: &Connection,
        mut from: ReadHalf<'_>,
        to: &tokio::sync::Mutex<WriteHalf<'_>>,
        back: &tokio::sync::Mutex<WriteHalf<'_>>,
    ) -> io::Result<End> {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(message) = connection.next(direction, &mut buffer) {
                self.open().await;
                let action = self.strike(direction, connection, &message);
                match action {
                    Some(Action::Cut) => return Ok(End::Close),
                    Some(Action::Reset) => return Ok(End::Reset),
                    Some(Action::Truncate) => {
                        to.lock().await.write_all(&message.bytes[..message.bytes.len() / 2]).await?;
                        return Ok(End::Close);
                    }
                    Some(Action::Refuse(code)) => {
                        back.lock().await.write_all(&refusal(code)).await?;
                        continue;
                    }
                    Some(Action::Stall) => self.healed().await,
                    Some(Action::Delay(time)) => tokio::time::sleep(time).await,
                    None | Some(Action::CutAfter) => {}
                }
                connection.passes(direction, &message);
                to.lock().await.write_all(&message.bytes).await?;
                if action == Some(Action::CutAfter) {
                    return Ok(End::Close);
                }
            }
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(End::Close);
            }
        }
    }

    /// The action of the first fault that strikes this message.
    fn strike(&self, direction: Direction, connection: &Connection, message: &Message) -> Option<Action> {
        let begins = direction == Direction::ToServer && message.is_query("BEGIN");
        let transaction = begins || connection.transaction.load(Ordering::Acquire);
        let mut struck = None;
        for armed in lock(&self.faults).iter_mut() {
            let Fault { step, action, times } = armed.fault;
            let phase = match step.phase {
                Phase::Any => true,
                Phase::Outside => !transaction,
                Phase::Transaction => transaction,
            };
            if phase && step.direction == direction && step.kind == message.kind && message.holds(step.holds)
            {
                armed.seen += 1;
                if struck.is_none() && (step.nth..step.nth.saturating_add(times)).contains(&armed.seen) {
                    struck = Some(action);
                }
            }
        }
        let mut trace = lock(&self.trace);
        if trace.len() == TRACE {
            trace.pop_front();
        }
        let arrow = if direction == Direction::ToServer { "->" } else { "<-" };
        let fault = struck.map(|action| format!(" <- {action:?}")).unwrap_or_default();
        trace.push_back(format!("{arrow} {}{fault}", message.summary()));
        drop(trace);
        if struck.is_some() {
            self.last_struck.store(connection.number, Ordering::Release);
            self.strikes.send_modify(|strikes| *strikes += 1);
        }
        struck
    }

    async fn open(&self) {
        // The sender is in here, so it is not gone.
        let _ = self.state.subscribe().wait_for(|state| !state.partitioned).await;
    }

    async fn healed(&self) {
        let mut state = self.state.subscribe();
        let heals = state.borrow_and_update().heals;
        let _ = state.wait_for(|state| state.heals != heals).await;
    }
}

impl Connection {
    /// Takes the next whole message from the buffer.
    fn next(&self, direction: Direction, buffer: &mut BytesMut) -> Option<Message> {
        if self.opaque.load(Ordering::Acquire) {
            return (!buffer.is_empty()).then(|| Message { kind: OPAQUE, bytes: buffer.split().freeze() });
        }
        if direction == Direction::ToClient && self.ssl.load(Ordering::Acquire) {
            let answer = buffer.first().copied()?;
            self.ssl.store(false, Ordering::Release);
            self.opaque.store(answer == b'S', Ordering::Release);
            return Some(Message { kind: SSL, bytes: buffer.split_to(1).freeze() });
        }
        let typed = direction == Direction::ToClient || self.started.load(Ordering::Acquire);
        let mut header = buffer.get(usize::from(typed)..)?;
        if header.len() < 4 {
            return None;
        }
        let length = header.get_u32() as usize + usize::from(typed);
        if buffer.len() < length {
            return None;
        }
        let bytes = buffer.split_to(length).freeze();
        let kind = match typed {
            true => bytes[0],
            false if bytes.get(4..8) == Some(&80_877_103_u32.to_be_bytes()) => SSL,
            false => START_UP,
        };
        if direction == Direction::ToServer {
            self.ssl.store(kind == SSL, Ordering::Release);
            self.started.store(kind != SSL, Ordering::Release);
        }
        Some(Message { kind, bytes })
    }

    /// Takes note of a message that is forwarded.
    fn passes(&self, direction: Direction, message: &Message) {
        match direction {
            Direction::ToServer if message.is_query("BEGIN") => {
                self.transaction.store(true, Ordering::Release)
            }
            // ReadyForQuery outside of a transaction; while BEGIN is on its way there is none.
            Direction::ToClient if message.bytes.starts_with(b"Z") && message.bytes.ends_with(b"I") => {
                self.transaction.store(false, Ordering::Release);
            }
            _ => {}
        }
    }
}

impl Message {
    fn is_query(&self, text: &str) -> bool {
        self.kind == b'Q' && self.holds(text)
    }

    fn holds(&self, text: &str) -> bool {
        text.is_empty() || self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn summary(&self) -> String {
        let kind = kind_name(self.kind);
        // Credentials are nobody's business, not even in a test.
        if matches!(self.kind, b'p' | b'R') {
            return format!("{kind} (authentication)");
        }
        let text: String = self.bytes.iter().skip(5).map(|&byte| char::from(byte)).collect();
        let text: String = text.chars().filter(|letter| matches!(letter, ' '..='~')).take(60).collect();
        format!("{kind} {text}")
    }
}

/// ErrorResponse and ReadyForQuery.
fn refusal(code: &str) -> BytesMut {
    let mut fields = BytesMut::new();
    for (field, value) in
        [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', code), (b'M', "refused by the test's proxy")]
    {
        fields.put_u8(field);
        fields.put_slice(value.as_bytes());
        fields.put_u8(0);
    }
    fields.put_u8(0);
    let mut bytes = BytesMut::new();
    bytes.put_u8(b'E');
    bytes.put_u32(fields.len() as u32 + 4);
    bytes.put_slice(&fields);
    bytes.put_slice(b"Z\0\0\0\x05I");
    bytes
}
