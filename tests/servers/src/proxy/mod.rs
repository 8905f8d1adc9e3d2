//! A TCP proxy on the loopback interface in front of a server, with the faults that networks have.
//!
//! ```text
//! client ── reader ──▶ queue ──▶ writer ── server      and the same the other way: a reader and a writer thread
//!                                                       for each direction of each connection
//! ```
//!
//! The queue is what makes a *delay* a delay and not a brake: bytes wait for their time there while more are read. It is
//! bounded, so that a stalled connection fills up and pushes back as a real one does.
//!
//! [`Proxy::fail_next_commit`] makes the fault that proxies can't be replaced for: the server has committed, and the client
//! will never know. [`Proxy::lose_next_acknowledgement`] is the same for Kafka. They read what passes, so they need
//! connections without TLS.

mod frames;
mod packets;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::mysql::MySql;
use frames::{Correlation, ProduceFinder, Responses};
use packets::{AnswerEnd, CommitFinder};

/// Pieces in a direction's queue, of up to `PIECE` bytes each.
const QUEUE: usize = 64;
const PIECE: usize = 64 * 1024;

/// What the client never sees of the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The statement never reaches the server: the transaction is rolled back.
    LoseRequest,
    /// The server commits, and the connection is cut in place of its answer.
    LoseAnswer,
    /// The connection is cut in place of the answer, and the server gets the statement only after this time: the session lives until then.
    Late(Duration),
}

/// What becomes of the next request that holds a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catch {
    /// It never reaches the server, and the connection stays open.
    HoldRequest,
    /// The server does it, and the client waits for an answer that never comes.
    HoldAnswer,
    /// The server does it, and the connection is cut in place of its answer.
    LoseAnswer,
}

#[derive(Debug, Default)]
struct Faults {
    stalled: bool,
    refusing: bool,
    to_server: Duration,
    to_client: Duration,
    commit: Option<CommitFault>,
    commits_failed: u64,
    catch: Option<(Vec<u8>, Catch)>,
    caught: u64,
    lose_acknowledgement: bool,
    acknowledgements_lost: u64,
    accepted: u64,
    closed: bool,
    next: u64,
    connections: HashMap<u64, [TcpStream; 2]>,
}

#[derive(Debug, Default)]
struct Shared {
    faults: Mutex<Faults>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self, connection: u64) {
        if let Some(streams) = self.lock().connections.remove(&connection) {
            for stream in streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }
}

/// A running proxy. Dropping it cuts its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn to(server: &MySql) -> Result<Self> {
        Self::to_address(server.host(), server.port())
    }

    pub fn to_address(host: &str, port: u16) -> Result<Self> {
        Self::start(host, port, Protocol::MySql)
    }

    /// In front of a listener on this machine that advertises the proxy's address: clients go where they are told to.
    pub(crate) fn to_kafka(port: u16) -> Result<Self> {
        Self::start("127.0.0.1", port, Protocol::Kafka)
    }

    fn start(host: &str, port: u16, protocol: Protocol) -> Result<Self> {
        let failed = |e: std::io::Error| Error::system("start a proxy", e);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let (server, theirs) = ((host.to_owned(), port), Arc::clone(&shared));
        let acceptor = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || accept(&listener, &server, protocol, &theirs))
            .map_err(failed)?;
        Ok(Proxy {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `mysql://user@host:port` of the proxy.
    pub fn url(&self, user: &str) -> String {
        format!("mysql://{user}@{}", self.address)
    }

    /// Cuts all connections now. New ones are accepted.
    pub fn cut(&self) {
        let ids: Vec<u64> = self.shared.lock().connections.keys().copied().collect();
        for id in ids {
            self.shared.cut(id);
        }
    }

    /// While refusing, new connections are closed at once, as if nothing listened. Open ones stay.
    pub fn refuse(&self, refusing: bool) {
        self.shared.lock().refusing = refusing;
    }

    /// While stalled, connections stay open, new ones are accepted, and not a byte passes.
    pub fn stall(&self, stalled: bool) {
        self.shared.lock().stalled = stalled;
        self.shared.changed.notify_all();
    }

    /// From now on each byte takes this long, in each direction.
    pub fn delay(&self, to_server: Duration, to_client: Duration) {
        let mut faults = self.shared.lock();
        (faults.to_server, faults.to_client) = (to_server, to_client);
    }

    /// In front of MySQL, arms the fault for the next COMMIT that any connection sends: a query that is, or ends with, `COMMIT`.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.shared.lock().commit = Some(fault);
    }

    /// In front of MySQL, arms the fault for the next request of any connection in which the text stands.
    pub fn catch_next(&self, text: &str, catch: Catch) {
        self.shared.lock().catch = Some((text.as_bytes().to_vec(), catch));
    }

    /// How many requests have been caught.
    pub fn caught(&self) -> u64 {
        self.shared.lock().caught
    }

    /// How many commits have been made to fail.
    pub fn commits_failed(&self) -> u64 {
        self.shared.lock().commits_failed
    }

    /// In front of Kafka, arms the fault for the next Produce request that any connection sends: the broker has written the
    /// records, and the connection is cut in place of its response. Responses to earlier requests may be lost with it. Of
    /// producers with `acks=0`, which get no response, none is lost.
    pub fn lose_next_acknowledgement(&self) {
        self.shared.lock().lose_acknowledgement = true;
    }

    /// How many Produce requests the broker has answered and the client never heard of.
    pub fn acknowledgements_lost(&self) -> u64 {
        self.shared.lock().acknowledgements_lost
    }

    /// How many connections have been accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.cut();
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(
    listener: &TcpListener,
    server: &(String, u16),
    protocol: Protocol,
    shared: &Arc<Shared>,
) {
    while let Ok((client, _)) = listener.accept() {
        let refusing = {
            let faults = shared.lock();
            if faults.closed {
                return;
            }
            faults.refusing
        };
        // A failure is the client's to see: its connection is closed as `client` goes.
        if !refusing {
            let _ = connect(client, server, protocol, shared);
        }
    }
}

fn connect(
    client: TcpStream,
    server: &(String, u16),
    protocol: Protocol,
    shared: &Arc<Shared>,
) -> std::io::Result<()> {
    let server = TcpStream::connect((server.0.as_str(), server.1))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let id = {
        let mut faults = shared.lock();
        faults.next += 1;
        faults.accepted += 1;
        let (id, both) = (faults.next, [client.try_clone()?, server.try_clone()?]);
        faults.connections.insert(id, both);
        id
    };
    let withheld = Arc::new(Mutex::new(None));
    for (from, to, direction) in [
        (
            client.try_clone()?,
            server.try_clone()?,
            Direction::ToServer,
        ),
        (server, client, Direction::ToClient),
    ] {
        let lane = Lane {
            id,
            direction,
            protocol,
            shared: Arc::clone(shared),
            withheld: Arc::clone(&withheld),
        };
        let (queue, queued) = sync_channel(QUEUE);
        let writer = lane.clone();
        std::thread::Builder::new().spawn(move || writer.write(to, &queued))?;
        std::thread::Builder::new().spawn(move || lane.read(from, &queue))?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// What the bytes mean, for the faults that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    MySql,
    Kafka,
}

/// What the client is not to see; the connection is cut once it is complete.
#[derive(Debug)]
enum Withheld {
    Commit(AnswerEnd),
    /// For ever.
    All,
    Acknowledgement(Correlation),
}

/// Where a lane is in what it reads.
#[derive(Debug, Default)]
struct Reading {
    /// The end of what came before, for a text that comes in two pieces.
    recent: Vec<u8>,
    /// Nothing more goes on to the server.
    held: bool,
    commits: CommitFinder,
    produces: ProduceFinder,
    responses: Responses,
}

/// One direction of one connection.
#[derive(Debug, Clone)]
struct Lane {
    id: u64,
    direction: Direction,
    protocol: Protocol,
    shared: Arc<Shared>,
    /// Set while an answer is being kept from the client.
    withheld: Arc<Mutex<Option<Withheld>>>,
}

type Piece = (Instant, Vec<u8>);

impl Lane {
    fn read(&self, mut from: TcpStream, queue: &SyncSender<Piece>) {
        let mut reading = Reading::default();
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let piece = &buffer[..length];
            let mut late = Duration::ZERO;
            let pass = match (self.direction, self.protocol) {
                (Direction::ToServer, Protocol::MySql) => {
                    self.command(&mut reading, piece, &mut late)
                }
                (Direction::ToServer, Protocol::Kafka) => self.request(&mut reading, piece),
                (Direction::ToClient, _) => self.answer(&mut reading, piece),
            };
            let due = {
                let faults = self.shared.lock();
                Instant::now()
                    + late
                    + match self.direction {
                        Direction::ToServer => faults.to_server,
                        Direction::ToClient => faults.to_client,
                    }
            };
            if pass && queue.send((due, piece.to_vec())).is_err() {
                break;
            }
        }
        // The writer sends what is queued, then closes; here it is not known how far it is.
    }

    /// Whether this piece of a client of MySQL may go on to the server, and how late.
    fn command(&self, reading: &mut Reading, piece: &[u8], late: &mut Duration) -> bool {
        if reading.held {
            return false;
        }
        if let Some(catch) = self.catches(reading, piece) {
            reading.held = catch == Catch::HoldRequest;
            match catch {
                Catch::HoldRequest => return false,
                Catch::HoldAnswer => self.withhold(Withheld::All),
                Catch::LoseAnswer => self.withhold(Withheld::Commit(AnswerEnd::default())),
            }
            return true;
        }
        if !reading.commits.feed(piece) {
            return true;
        }
        let mut faults = self.shared.lock();
        let Some(fault) = faults.commit.take() else {
            return true;
        };
        faults.commits_failed += 1;
        if let (CommitFault::Late(_), Some([client, _])) = (fault, faults.connections.get(&self.id))
        {
            // What this lane has read still goes to the server.
            let _ = client.shutdown(Shutdown::Both);
        }
        drop(faults);
        match fault {
            CommitFault::Late(time) => {
                *late = time;
                true
            }
            CommitFault::LoseRequest => {
                self.shared.cut(self.id);
                false
            }
            CommitFault::LoseAnswer => {
                self.withhold(Withheld::Commit(AnswerEnd::default()));
                true
            }
        }
    }

    /// Whether the text that is waited for ends in this piece.
    fn catches(&self, reading: &mut Reading, piece: &[u8]) -> Option<Catch> {
        let mut faults = self.shared.lock();
        let (text, catch) = faults.catch.as_ref()?;
        reading.recent.extend_from_slice(piece);
        let found = reading.recent.windows(text.len()).any(|part| part == text);
        let (surplus, catch) = (reading.recent.len().saturating_sub(text.len()), *catch);
        reading.recent.drain(..surplus);
        if !found {
            return None;
        }
        faults.catch = None;
        faults.caught += 1;
        Some(catch)
    }

    /// The same of a client of Kafka.
    fn request(&self, reading: &mut Reading, piece: &[u8]) -> bool {
        if let Some(produce) = reading.produces.feed(piece)
            && std::mem::take(&mut self.shared.lock().lose_acknowledgement)
        {
            self.withhold(Withheld::Acknowledgement(produce));
        }
        true
    }

    /// To be called before the request goes on: its answer can't be here yet.
    fn withhold(&self, answer: Withheld) {
        *self.withheld.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// Whether this piece of the server's bytes may go on to the client.
    fn answer(&self, reading: &mut Reading, piece: &[u8]) -> bool {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        let (pass, ended) = match (withheld.as_mut(), self.protocol) {
            (None, Protocol::Kafka) => (true, reading.responses.feed(piece, None)),
            (None, Protocol::MySql) => (true, false),
            (Some(Withheld::All), _) => (false, false),
            (Some(Withheld::Commit(end)), _) => (false, end.feed(piece)),
            (Some(Withheld::Acknowledgement(produce)), _) => {
                let ended = reading.responses.feed(piece, Some(*produce));
                if ended {
                    self.shared.lock().acknowledgements_lost += 1;
                }
                (false, ended)
            }
        };
        if ended {
            self.shared.cut(self.id);
        }
        pass
    }

    fn write(&self, mut to: TcpStream, queued: &Receiver<Piece>) {
        for (due, piece) in queued {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            let mut faults = self.shared.lock();
            while faults.stalled && !faults.closed && faults.connections.contains_key(&self.id) {
                faults = self
                    .shared
                    .changed
                    .wait(faults)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(faults);
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        self.shared.cut(self.id);
    }
}
