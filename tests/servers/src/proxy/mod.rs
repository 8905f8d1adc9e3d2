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
//! will never know. It reads the packets, so it needs a connection without TLS.

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
}

#[derive(Debug, Default)]
struct Faults {
    stalled: bool,
    refusing: bool,
    to_server: Duration,
    to_client: Duration,
    commit: Option<CommitFault>,
    commits_failed: u64,
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
        let failed = |e: std::io::Error| Error::system("start a proxy", e);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let (server, theirs) = ((host.to_owned(), port), Arc::clone(&shared));
        let acceptor = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || accept(&listener, &server, &theirs))
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

    /// Arms the fault for the next COMMIT that any connection sends: a query that is, or ends with, `COMMIT`.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.shared.lock().commit = Some(fault);
    }

    /// How many commits have been made to fail.
    pub fn commits_failed(&self) -> u64 {
        self.shared.lock().commits_failed
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

fn accept(listener: &TcpListener, server: &(String, u16), shared: &Arc<Shared>) {
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
            let _ = connect(client, server, shared);
        }
    }
}

fn connect(client: TcpStream, server: &(String, u16), shared: &Arc<Shared>) -> std::io::Result<()> {
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
    let commit = Arc::new(Mutex::new(None));
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
            shared: Arc::clone(shared),
            commit: Arc::clone(&commit),
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

/// One direction of one connection.
#[derive(Debug, Clone)]
struct Lane {
    id: u64,
    direction: Direction,
    shared: Arc<Shared>,
    /// Set while an answer to a COMMIT is being kept from the client.
    commit: Arc<Mutex<Option<AnswerEnd>>>,
}

type Piece = (Instant, Vec<u8>);

impl Lane {
    fn read(&self, mut from: TcpStream, queue: &SyncSender<Piece>) {
        let mut finder = CommitFinder::default();
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let piece = &buffer[..length];
            let pass = match self.direction {
                Direction::ToServer => self.request(&mut finder, piece),
                Direction::ToClient => self.answer(piece),
            };
            let due = {
                let faults = self.shared.lock();
                Instant::now()
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

    /// Whether this piece of the client's bytes may go on to the server.
    fn request(&self, finder: &mut CommitFinder, piece: &[u8]) -> bool {
        if !finder.feed(piece) {
            return true;
        }
        let mut faults = self.shared.lock();
        let Some(fault) = faults.commit.take() else {
            return true;
        };
        faults.commits_failed += 1;
        drop(faults);
        match fault {
            CommitFault::LoseRequest => {
                self.shared.cut(self.id);
                false
            }
            CommitFault::LoseAnswer => {
                // Before the request goes on: its answer can't be here yet.
                *self.commit.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(AnswerEnd::default());
                true
            }
        }
    }

    /// Whether this piece of the server's bytes may go on to the client.
    fn answer(&self, piece: &[u8]) -> bool {
        let mut commit = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = commit.as_mut() else {
            return true;
        };
        if end.feed(piece) {
            self.shared.cut(self.id);
        }
        false
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
