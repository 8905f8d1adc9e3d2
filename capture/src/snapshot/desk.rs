//! The stream's side of the copy: the desk at which readers of snapshots hand in what they have read.
//!
//! Data goes one way. A reader says that it is going to read (`Open`), reads, and hands the rows in (`Close`); the stream never waits for
//! a reader, with the one exception that the rules demand: while a table without a key is read at once. The desk is served between
//! transactions only, so that a window begins where whole transactions lie before it, and what is logged lies between them.
//!
//! - `Open` is answered with the GTIDs of all that has passed. From there on the desk keeps the keys that the stream touches.
//! - `Close` brings the open set, the closing position and the rows. Once the stream has passed that position, the rows are logged, without
//!   those whose key a transaction outside of the open set has touched; or the reader is told to read again.
//! - Definition statements about the table, images that lack columns of rows in question, and more keys than there is room for spoil a
//!   window.
//! - Of a table there is one copy: when another one begins, what readers of the older one hand in is not logged.

mod stream;

use std::collections::{HashMap, HashSet, VecDeque};

use binferry_schemas::{
    gtid::{GtidSet, Uuid},
    record::{
        Body, CopyState, Snapshot, SnapshotBegin, SnapshotEnd, SnapshotJob, SnapshotStep, TableRef,
        Window, Xid,
    },
};
use binferry_transport::session::Session;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use self::stream::want;
use super::{
    definition::Name,
    keys::KeyLayout,
    ranges::{Logged, Rows},
    window::{Spoiled, Watch, What},
};
use crate::error::CaptureError;

#[derive(Debug)]
pub(super) enum Order {
    Open {
        what: What,
        /// Of the table whose definitions count.
        table: Option<Name>,
        /// Whether to tell which XA transactions are prepared.
        prepared: bool,
        reply: oneshot::Sender<Opened>,
    },
    Close {
        window: u64,
        closed: Closed,
        content: Content,
        reply: oneshot::Sender<Verdict>,
    },
    /// Nothing comes of the window.
    Drop { window: u64 },
    /// What was asked for beside the log before the attempt began has been taken up.
    Ready,
    /// A step that depends on nothing that was read.
    Step {
        step: SnapshotStep,
        reply: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Opened {
    pub window: u64,
    /// All that the stream has passed.
    pub passed: GtidSet,
    /// How many definition statements about the table have passed.
    pub epoch: u64,
    /// XA transactions that had been prepared there and not ended, if that was asked for.
    pub prepared: Vec<Xid>,
}

/// When the snapshot was open.
#[derive(Debug, Clone)]
pub(super) struct Closed {
    pub open: GtidSet,
    pub file: String,
    pub position: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    Steps(Vec<SnapshotStep>),
    Rows(Rows),
    /// A table without a key, batch by batch.
    Whole(Uuid, mpsc::Receiver<Batch>),
}

/// Of a table without a key. A channel that closes before the end means that the reader has failed.
#[derive(Debug)]
pub(super) enum Batch {
    Rows(Rows),
    /// That was all. Logged before the stream goes on: from here on the table's changes count.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Logged {
        rows: u64,
        left_out: u64,
        /// Of the next record.
        chunk: u64,
        /// Of the table whose copy has begun.
        epoch: u64,
    },
    Again(Spoiled),
}

#[derive(Debug)]
struct Pending {
    window: u64,
    closed: Closed,
    content: Content,
    reply: oneshot::Sender<Verdict>,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub file: &'a str,
    pub position: u64,
    /// Bytes of a record.
    pub limit: usize,
}

impl Place<'_> {
    fn has_passed(&self, closed: &Closed) -> bool {
        in_order(self.file, self.position) >= in_order(&closed.file, closed.position)
    }
}

/// What positions in the binlog compare by: the numbers of its files rise, and may get longer.
pub(super) fn in_order(file: &str, position: u64) -> (usize, &str, u64) {
    (file.len(), file, position)
}

#[derive(Debug, Default)]
pub(crate) struct Desk {
    orders: Option<mpsc::Receiver<Order>>,
    watches: HashMap<u64, Watch>,
    pending: VecDeque<Pending>,
    /// The window for which the stream waits.
    held: Option<u64>,
    next: u64,
    /// Definition statements by table, and those that may be about any.
    epochs: HashMap<Name, u64>,
    any: u64,
    /// Jobs that the stream itself has asked for.
    wanted: Option<mpsc::UnboundedSender<SnapshotJob>>,
    /// Copies that have begun and not ended.
    under_way: HashMap<Name, UnderWay>,
    copied_rows: u64,
    /// There may be requests for copies that nobody has looked at yet.
    preparing: bool,
    /// Ends what would take long.
    cancel: CancellationToken,
}

#[derive(Debug)]
struct UnderWay {
    copy: Uuid,
    /// None: it is read at once.
    key: Vec<String>,
    /// Of the changes that came last.
    layout: Option<KeyLayout>,
}

impl Desk {
    async fn append(
        &mut self,
        step: SnapshotStep,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        match &step {
            SnapshotStep::Begin(begin) => {
                let SnapshotBegin {
                    table, copy, key, ..
                } = &**begin;
                self.goes_on(table, *copy, key);
            }
            SnapshotStep::End(end) => self.ends(end.copy),
            SnapshotStep::GivenUp(given_up) => self.ends(given_up.copy),
            _ => {}
        }
        append_step(step, session).await
    }

    pub(super) fn open_for(
        &mut self,
        orders: mpsc::Receiver<Order>,
        wanted: mpsc::UnboundedSender<SnapshotJob>,
        copies: &[CopyState],
        cancel: CancellationToken,
    ) {
        (self.orders, self.wanted) = (Some(orders), Some(wanted));
        (self.cancel, self.preparing) = (cancel, true);
        for state in copies {
            self.goes_on(&state.table, state.copy, &state.key);
        }
    }

    /// Rows of copies that were appended.
    pub(crate) fn copied_rows(&self) -> u64 {
        self.copied_rows
    }

    fn goes_on(&mut self, table: &TableRef, copy: Uuid, key: &[String]) {
        let name = (table.database.clone(), table.table.clone());
        let under_way = UnderWay {
            copy,
            key: key.to_vec(),
            layout: None,
        };
        self.under_way.insert(name, under_way);
    }

    fn ends(&mut self, copy: Uuid) {
        self.under_way.retain(|_, other| other.copy != copy);
    }

    fn is_under_way(&self, copy: Uuid) -> bool {
        self.under_way.values().any(|other| other.copy == copy)
    }

    /// Whether a step or rows are of a copy that is over.
    fn is_replaced(&self, content: &Content) -> bool {
        match content {
            Content::Rows(rows) => !self.is_under_way(rows.copy),
            Content::Whole(copy, _) => !self.is_under_way(*copy),
            Content::Steps(steps) => steps.iter().any(|step| match step {
                SnapshotStep::GivenUp(given_up) => !self.is_under_way(given_up.copy),
                _ => false,
            }),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.orders.is_some()
    }

    /// Whether it is not known yet if there is something to copy.
    pub(crate) fn is_preparing(&self) -> bool {
        self.preparing
    }

    /// Whether somebody looks at the stream's changes.
    #[inline]
    pub(crate) fn is_watching(&self) -> bool {
        !self.watches.is_empty() || !self.under_way.is_empty()
    }

    /// The stream must not go on before the next order.
    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// There may be something to do.
    #[inline]
    pub(crate) fn has_work(&self, place: Place<'_>) -> bool {
        let orders = self
            .orders
            .as_ref()
            .is_some_and(|orders| !orders.is_empty());
        orders || (self.pending.iter()).any(|pending| place.has_passed(&pending.closed))
    }

    /// Waits for an order, for [`turn_with`](Self::turn_with); for ever when there will be none.
    pub(crate) async fn wait(&mut self) -> Received {
        let received = match &mut self.orders {
            Some(orders) => orders.recv().await,
            None => None,
        };
        match received {
            Some(order) => Received(Some(order)),
            None => {
                self.orders = None;
                self.held = None;
                std::future::pending().await
            }
        }
    }

    fn epoch(&self, table: Option<&Name>) -> u64 {
        self.any
            + table
                .and_then(|table| self.epochs.get(table))
                .copied()
                .unwrap_or(0)
    }

    /// Takes the orders that are there, and logs what may be logged. Only between transactions; `passed` are all before this place.
    pub(crate) async fn turn(
        &mut self,
        received: Received,
        place: Place<'_>,
        passed: &GtidSet,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let mut order = received.0;
        loop {
            if let Some(order) = order.take() {
                self.order(order, passed, session).await?;
            }
            match self.orders.as_mut().map(mpsc::Receiver::try_recv) {
                Some(Ok(next)) => order = Some(next),
                _ => break,
            }
        }
        let mut at = 0;
        while at < self.pending.len() {
            match place.has_passed(&self.pending[at].closed) {
                false => at += 1,
                true => {
                    if let Some(pending) = self.pending.remove(at) {
                        self.conclude(pending, place.limit, session).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn order(
        &mut self,
        order: Order,
        passed: &GtidSet,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        match order {
            Order::Open {
                what,
                table,
                prepared,
                reply,
            } => {
                let window = self.next;
                self.next += 1;
                let mut all = session.state().set.clone();
                all.union_with(passed);
                // The fold knows them when they are durable, and what ended them, too.
                if prepared && !session.prepared().is_empty() {
                    session.settled().await?;
                }
                let prepared = match prepared {
                    true => session.prepared().iter().map(|p| p.xid.clone()).collect(),
                    false => Vec::new(),
                };
                let opened = Opened {
                    window,
                    passed: all,
                    epoch: self.epoch(table.as_ref()),
                    prepared,
                };
                // A reader that has gone needs no window.
                if reply.send(opened).is_ok() {
                    if let What::Whole(_) = what {
                        self.held = Some(window);
                    }
                    self.watches.insert(window, Watch::new(what, table));
                }
            }
            Order::Close {
                window,
                closed,
                content,
                reply,
            } => {
                self.held.take_if(|held| *held == window);
                self.pending.push_back(Pending {
                    window,
                    closed,
                    content,
                    reply,
                });
            }
            Order::Drop { window } => {
                self.held.take_if(|held| *held == window);
                self.watches.remove(&window);
            }
            Order::Ready => self.preparing = false,
            Order::Step { step, reply } => {
                // Of a copy that has been replaced there is nothing to be said.
                let over = match &step {
                    SnapshotStep::End(end) => !self.is_under_way(end.copy),
                    _ => false,
                };
                if !over {
                    self.append(step, session).await?;
                    session.settled().await?;
                }
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    /// The stream has passed the window's close.
    async fn conclude(
        &mut self,
        pending: Pending,
        limit: usize,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let Pending {
            window,
            closed,
            content,
            reply,
        } = pending;
        let Some(watch) = self.watches.remove(&window) else {
            return Ok(());
        };
        let concluded = match self.is_replaced(&content) {
            true => Err(Spoiled::Replaced),
            false => watch.conclude(&closed.open),
        };
        let concluded = concluded.and_then(|left_out| match &content {
            // The stream has them as they are after their change, but not whole.
            Content::Rows(rows) if rows.buffer.has_any(&left_out.partial) => {
                Err(Spoiled::PartialImage)
            }
            _ => Ok(left_out.keys),
        });
        let left_out = match concluded {
            Ok(left_out) => left_out,
            Err(spoiled) => {
                let _ = reply.send(Verdict::Again(spoiled));
                return Ok(());
            }
        };
        let stated = Window {
            open: closed.open.to_string(),
            file: closed.file.clone(),
            position: closed.position,
        };
        let (mut logged, mut epoch) = (Logged::default(), 0);
        match content {
            Content::Steps(steps) => {
                for mut step in steps {
                    if let SnapshotStep::Begin(begin) = &mut step {
                        begin.window = stated.clone();
                        let table = &begin.table;
                        epoch = self.epoch(Some(&(table.database.clone(), table.table.clone())));
                    }
                    self.append(step, session).await?;
                }
            }
            Content::Rows(rows) => {
                logged
                    .rows(rows, &left_out, &stated, limit, session)
                    .await?;
            }
            Content::Whole(copy, mut rows) => {
                let nothing = HashSet::new();
                loop {
                    let batch = tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => return Ok(()),
                        batch = rows.recv() => batch,
                    };
                    match batch {
                        Some(Batch::Rows(mut batch)) => {
                            batch.chunk = logged.chunk;
                            logged
                                .rows(batch, &nothing, &stated, limit, session)
                                .await?;
                            session.tick().await?;
                        }
                        Some(Batch::End) => break,
                        None => return Ok(()),
                    }
                }
                let end = SnapshotEnd {
                    copy,
                    rows: logged.rows,
                    left_out: 0,
                };
                self.append(SnapshotStep::End(end), session).await?;
            }
        }
        self.copied_rows += logged.rows;
        let _ = reply.send(Verdict::Logged {
            rows: logged.rows,
            left_out: logged.left_out,
            chunk: logged.chunk,
            epoch,
        });
        Ok(())
    }
}

/// An order that was waited for.
pub(crate) struct Received(Option<Order>);

impl Received {
    pub(crate) const NOTHING: Self = Self(None);
}

async fn append_step(step: SnapshotStep, session: &mut Session) -> Result<(), CaptureError> {
    let at_us = super::now_us();
    session
        .append(Body::Snapshot(Snapshot { at_us, step }))
        .await?;
    Ok(())
}
