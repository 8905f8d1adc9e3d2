//! The copy of one table: range after range, each read in a window of its own while the one before waits for its place in the log.

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    gtid::Uuid,
    record::{
        CopyState, ForeignKeys, GivenUp, Over, SnapshotBegin, SnapshotEnd, SnapshotGivenUp,
        SnapshotStep, TableRef, Window,
    },
    row::RowSchema,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};

use super::{
    Shared,
    definition::{self, Definition, Name},
    desk::{Content, Order, Verdict},
    error::SnapshotError,
    keys::KeyLayout,
    ranges::Rows,
    reader::{BATCH, Read, Reader, is_locked},
    window::{Spoiled, What},
};
use crate::error::CaptureError;

/// Tries at a table without a key.
const QUIET_ATTEMPTS: u32 = 200;
/// The reader's sql_mode, as a number.
const ALLOW_INVALID_DATES: u64 = 1 << 25;
const PAUSE: Duration = Duration::from_millis(50);
/// Rows of a range.
const ROWS_MAX: u64 = 50_000;

/// A definition, and how many statements about the table had passed the stream before it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub definition: Definition,
    pub layout: Arc<KeyLayout>,
    pub epoch: u64,
}

impl Loaded {
    pub fn new(definition: Definition, epoch: u64) -> Self {
        Self {
            layout: Arc::new(KeyLayout::new(&definition)),
            definition,
            epoch,
        }
    }
}

/// How far a copy is, as its reader knows it.
#[derive(Debug)]
pub(super) struct TableCopy {
    pub shared: Arc<Shared>,
    pub state: CopyState,
    pub left_out: u64,
}

/// A range that has been handed in.
struct Waiting {
    verdict: oneshot::Receiver<Verdict>,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
}

/// How far one definition has brought it.
enum Came {
    /// All rows are in the log.
    Through,
    /// The definition is another now.
    Redefined,
    /// Another copy has taken this one's place.
    Replaced,
}

/// The first record of a copy. The window is the desk's to fill in.
pub(super) fn begin(
    definition: &Definition,
    job: Uuid,
    over: Over,
    replaces: Option<Uuid>,
) -> SnapshotBegin {
    const UTF8MB4: u16 = 255;
    SnapshotBegin {
        job,
        copy: Uuid::new_v4(),
        table: TableRef {
            database: definition.schema.database.clone(),
            table: definition.schema.table.clone(),
            schema: definition.fingerprint,
            foreign_keys: ForeignKeys::Unchecked,
        },
        over,
        replaces,
        create_database: definition.create_database.clone(),
        create_table: definition.create_table.clone(),
        sql_mode: ALLOW_INVALID_DATES,
        collations: [UTF8MB4; 3],
        time_zone: "+00:00".to_owned(),
        key_name: definition.key.name.clone(),
        key: definition.key_names(),
        estimated_rows: definition.estimated_rows,
        estimated_bytes: definition.estimated_bytes,
        window: Window::default(),
    }
}

impl TableCopy {
    fn name(&self) -> Name {
        (
            self.state.table.database.clone(),
            self.state.table.table.clone(),
        )
    }

    /// Goes on until all rows are in the log, or the copy is given up. `loaded`: the definition with which it has just begun.
    pub async fn run(mut self, loaded: Option<Loaded>) -> Result<(), CaptureError> {
        let mut reader = self.shared.reader().await?;
        let mut older: Option<RowSchema> = None;
        let mut loaded = loaded;
        if loaded.is_none() {
            if self.state.is_complete() {
                return self.end(&reader).await;
            }
            older = Some(self.logged_schema().await?);
        }
        loop {
            let current = match loaded.take() {
                Some(current) => current,
                None => match self.load(&mut reader, older.as_ref()).await? {
                    Some(current) => current,
                    None => return Ok(()),
                },
            };
            older = Some(current.definition.schema.clone());
            let came = match self.state.key.is_empty() {
                true => self.whole(&mut reader, &current).await?,
                false => self.ranges(&mut reader, &current).await?,
            };
            match came {
                Came::Redefined => {}
                Came::Replaced => {
                    self.shared.forget(&self.state);
                    return Ok(());
                }
                Came::Through => {
                    self.shared.forget(&self.state);
                    info!(
                        database = self.state.table.database,
                        table = self.state.table.table,
                        rows = self.state.rows,
                        left_out = self.left_out,
                        "table copied"
                    );
                    return Ok(());
                }
            }
        }
    }

    /// The row schema in which the log has the last range.
    async fn logged_schema(&self) -> Result<RowSchema, CaptureError> {
        let text = self.shared.log.schema(self.state.table.schema).await?;
        let schema = text.and_then(|text| RowSchema::from_avro(&text).ok());
        schema.ok_or_else(|| {
            SnapshotError::Resume {
                database: self.state.table.database.clone(),
                table: self.state.table.table.clone(),
                problem: "the log lacks the row schema of its last range",
            }
            .into()
        })
    }

    /// Reads the definition. When the copy can't go on with it, it is given up, and begins anew if the table is there. `None`: it is not,
    /// or another copy has taken this one's place.
    async fn load(
        &mut self,
        reader: &mut Reader,
        older: Option<&RowSchema>,
    ) -> Result<Option<Loaded>, CaptureError> {
        let name = self.name();
        loop {
            let (opened, open) = reader.window(What::Definitions, Some(name.clone())).await?;
            let found = match definition::read(reader.connection(), &name).await {
                Err(error) if is_locked(&error) => {
                    let window = opened.window;
                    reader.order(Order::Drop { window }).await?;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                found => found?,
            };
            let given_up = |reason, detail: &str| {
                SnapshotStep::GivenUp(SnapshotGivenUp {
                    copy: self.state.copy,
                    reason,
                    detail: detail.to_owned(),
                })
            };
            let Some(definition) = found else {
                let closed = reader.close(open).await?;
                let step = given_up(GivenUp::Gone, "the table is not there any more");
                let content = Content::Steps(vec![step]);
                match reader.submit(opened.window, closed, content).await? {
                    Verdict::Logged { .. } => {
                        info!(
                            database = name.0,
                            table = name.1,
                            "copy given up: the table is gone"
                        );
                        self.shared.forget(&self.state);
                        return Ok(None);
                    }
                    Verdict::Again(Spoiled::Replaced) => return Ok(None),
                    Verdict::Again(_) => continue,
                }
            };
            self.shared.check(&definition)?;
            let text = &definition.text;
            self.shared
                .log
                .put_schema(definition.fingerprint, text)
                .await?;
            // A table that is read at once begins anew, unless nothing of it is in the log.
            let fresh = self.state.next_chunk == 0 && self.state.open.is_none();
            let keyed = !self.state.key.is_empty();
            let goes_on = match older {
                Some(older) if keyed => definition.goes_on(&self.state, older),
                _ => definition.key_names() == self.state.key,
            };
            if goes_on && (keyed || fresh) {
                reader
                    .order(Order::Drop {
                        window: opened.window,
                    })
                    .await?;
                return Ok(Some(Loaded::new(definition, opened.epoch)));
            }
            let reason = match goes_on {
                true => GivenUp::Interrupted,
                false => GivenUp::Changed,
            };
            let over = match self.state.over {
                Over::Repair => definition.over(Over::Repair),
                Over::Nothing | Over::Remove => Over::Remove,
            };
            let begin = begin(&definition, self.state.job, over, Some(self.state.copy));
            let state = CopyState::begun(&begin);
            let steps = vec![
                given_up(reason, "it begins anew"),
                SnapshotStep::Begin(Box::new(begin)),
            ];
            let closed = reader.close(open).await?;
            let content = Content::Steps(steps);
            match reader.submit(opened.window, closed, content).await? {
                Verdict::Logged { epoch, .. } => {
                    info!(
                        database = name.0,
                        table = name.1,
                        ?reason,
                        "copy begins anew"
                    );
                    (self.state, self.left_out) = (state, 0);
                    self.shared.tell(&self.state);
                    return Ok(Some(Loaded::new(definition, epoch)));
                }
                Verdict::Again(Spoiled::Replaced) => return Ok(None),
                Verdict::Again(_) => {}
            }
        }
    }

    async fn ranges(&mut self, reader: &mut Reader, loaded: &Loaded) -> Result<Came, CaptureError> {
        let Loaded {
            definition,
            layout,
            epoch,
        } = loaded;
        let name = self.name();
        let mut lower = self.state.upper.clone();
        let mut limit = first_limit(definition);
        // Fewer where ranges had to be read again.
        let mut most = ROWS_MAX;
        let mut waiting: Option<Waiting> = None;
        // Of the range that is read; `None` when there are no more.
        let mut done = false;
        loop {
            if done {
                let Some(last) = waiting.take() else {
                    self.end(reader).await?;
                    return Ok(Came::Through);
                };
                match self.settle(last).await? {
                    Ok(()) => continue,
                    Err((Spoiled::Definition, _)) => return Ok(Came::Redefined),
                    Err((Spoiled::Replaced, _)) => return Ok(Came::Replaced),
                    Err((spoiled, from)) => {
                        (lower, done) = (from, false);
                        most = smaller(limit, spoiled);
                        limit = limit.min(most);
                    }
                }
            }
            self.shared.wait_for_leave(reader).await?;
            let (opened, open) = reader
                .window(What::Rows(layout.clone()), Some(name.clone()))
                .await?;
            let window = opened.window;
            let mut read = None;
            if opened.epoch == *epoch {
                let mut came = reader.snapshot(definition, &opened, open).await?;
                if let Read::Rows(closed) = came {
                    came = match reader
                        .rows(definition, layout, lower.as_deref(), limit)
                        .await?
                    {
                        Read::Rows(rows) => {
                            read = Some((closed.clone(), rows));
                            Read::Rows(closed)
                        }
                        Read::Redefined => Read::Redefined,
                        Read::NotNow => Read::NotNow,
                    };
                }
                if let Read::NotNow = came {
                    reader.order(Order::Drop { window }).await?;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            if let Some(before) = waiting.take()
                && let Err((spoiled, from)) = self.settle(before).await?
            {
                reader.order(Order::Drop { window }).await?;
                match spoiled {
                    Spoiled::Definition => return Ok(Came::Redefined),
                    Spoiled::Replaced => return Ok(Came::Replaced),
                    _ => {}
                }
                lower = from;
                most = smaller(limit, spoiled);
                limit = limit.min(most);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let Some((closed, (buffer, more))) = read else {
                reader.order(Order::Drop { window }).await?;
                return Ok(Came::Redefined);
            };
            let rows = buffer.len() as u64;
            if let Some(average) = (buffer.bytes() as u64).checked_div(rows) {
                most = most.saturating_mul(2).min(ROWS_MAX);
                limit = (BATCH as u64 / average.max(1)).clamp(1, most);
            }
            let upper = match more {
                true => buffer.last_key().map(<[u8]>::to_vec),
                false => None,
            };
            let content = Content::Rows(Rows {
                copy: self.state.copy,
                layout: layout.clone(),
                chunk: self.state.next_chunk,
                lower: lower.clone(),
                upper: upper.clone(),
                buffer,
            });
            waiting = Some(Waiting {
                verdict: reader.hand_in(window, closed, content).await?,
                lower,
                upper: upper.clone(),
            });
            (lower, done) = (upper, !more);
            self.shared.throttle(rows).await;
        }
    }

    /// The verdict on a range; when it is to be read again, from where on.
    async fn settle(
        &mut self,
        waiting: Waiting,
    ) -> Result<Result<(), (Spoiled, Option<Vec<u8>>)>, CaptureError> {
        match waiting.verdict.await.map_err(|_| SnapshotError::Ended)? {
            Verdict::Logged {
                rows,
                left_out,
                chunk,
                ..
            } => {
                self.state.next_chunk = chunk;
                self.state.upper = waiting.upper;
                self.state.rows += rows;
                self.left_out += left_out;
                self.shared.tell(&self.state);
                Ok(Ok(()))
            }
            Verdict::Again(spoiled) => {
                debug!(table = self.state.table.table, ?spoiled, "range read again");
                self.state.upper.clone_from(&waiting.lower);
                Ok(Err((spoiled, waiting.lower)))
            }
        }
    }

    async fn end(&mut self, reader: &Reader) -> Result<(), CaptureError> {
        let (reply, done) = oneshot::channel();
        let step = SnapshotStep::End(SnapshotEnd {
            copy: self.state.copy,
            rows: self.state.rows,
            left_out: self.left_out,
        });
        reader.order(Order::Step { step, reply }).await?;
        done.await.map_err(|_| SnapshotError::Ended.into())
    }

    /// A table without a key: all rows in one snapshot, while the stream waits at its close.
    async fn whole(&mut self, reader: &mut Reader, loaded: &Loaded) -> Result<Came, CaptureError> {
        let Loaded {
            definition,
            layout,
            epoch,
        } = loaded;
        let name = self.name();
        let mut attempts = 0;
        while attempts < QUIET_ATTEMPTS {
            self.shared.wait_for_leave(reader).await?;
            let (opened, open) = reader
                .window(What::Whole(name.clone()), Some(name.clone()))
                .await?;
            let window = opened.window;
            let closed = match opened.epoch == *epoch {
                true => reader.snapshot(definition, &opened, open).await?,
                false => Read::Redefined,
            };
            let closed = match closed {
                Read::Rows(closed) => closed,
                Read::Redefined => {
                    reader.order(Order::Drop { window }).await?;
                    return Ok(Came::Redefined);
                }
                Read::NotNow => {
                    reader.order(Order::Drop { window }).await?;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            attempts += 1;
            let (batches, received) = mpsc::channel(2);
            let verdict = reader
                .hand_in(window, closed, Content::Whole(self.state.copy, received))
                .await?;
            let read = reader
                .whole(definition, layout, self.state.copy, &batches, |rows| {
                    self.shared.tell(&CopyState {
                        rows,
                        ..self.state.clone()
                    });
                })
                .await?;
            drop(batches);
            match (verdict.await, read) {
                (Ok(Verdict::Logged { rows, .. }), _) => {
                    self.state.rows = rows;
                    return Ok(Came::Through);
                }
                (Ok(Verdict::Again(Spoiled::Replaced)), _) => return Ok(Came::Replaced),
                (Ok(Verdict::Again(Spoiled::Definition)), _) | (_, Read::Redefined) => {
                    return Ok(Came::Redefined);
                }
                (Ok(Verdict::Again(_)), _) => tokio::time::sleep(PAUSE / 10).await,
                (Err(_), _) => return Err(SnapshotError::Ended.into()),
            }
        }
        Err(SnapshotError::Busy {
            database: name.0,
            table: name.1,
            attempts: QUIET_ATTEMPTS,
        }
        .into())
    }
}

/// Of a range that has to be read again, where a shorter one has better prospects: it is in question for a shorter time, and holds fewer rows.
fn smaller(limit: u64, spoiled: Spoiled) -> u64 {
    match spoiled {
        Spoiled::PartialImage | Spoiled::TooManyKeys => (limit / 4).max(1),
        _ => limit.max(1),
    }
}

fn first_limit(definition: &Definition) -> u64 {
    let average = definition
        .estimated_bytes
        .checked_div(definition.estimated_rows)
        .unwrap_or(1024);
    (BATCH as u64 / average.max(16)).clamp(16, 5_000)
}
