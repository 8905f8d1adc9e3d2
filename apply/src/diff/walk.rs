//! The way through the tables, and through each by ranges of its key, or by buckets.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::sync::{Mutex, mpsc};

use super::{
    Both, Done, Event, Options, Side,
    error::DiffError,
    pair::Pair,
    repair::{self, Differing},
    report::{Definition, Finding, Repaired, ShownKey, Summary},
    server::{self, Digest, Server},
    settle::{self, Settled},
    sql::{Key, Range},
};
use crate::error::TableName;

/// Rows of the first range of a table, and of any at most. Halving bounds memory, not this.
const FIRST: u64 = 10_000;
const MOST: u64 = 200_000;
/// What a range is to take.
const PACE: Duration = Duration::from_millis(500);
/// A range with fewer rows is read, not halved.
const SMALL: u64 = 2_000;
/// Rows of a bucket, as far as the estimate of the table's rows is right.
const BUCKET: u64 = 1_000;
const MOST_BUCKETS: u64 = 1 << 16;
/// A table that is defined anew so often while it is compared is not.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);

pub struct Walk<'a> {
    options: &'a Options,
    events: mpsc::Sender<Event>,
    workers: Vec<Both<Server>>,
    summary: Summary,
}

/// Cuts a table's ranges, for the workers.
struct Cutter {
    lower: Option<Key>,
    ended: bool,
    rows: u64,
    /// Of the next range.
    number: u64,
    /// Ranges that are done, by their numbers, of which an earlier one is not.
    done: BTreeMap<u64, Option<Key>>,
    next_done: u64,
}

impl<'a> Walk<'a> {
    pub async fn begin(
        options: &'a Options,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, DiffError> {
        let workers = connect(options).await?;
        Ok(Self {
            options,
            events,
            workers,
            summary: Summary::default(),
        })
    }

    /// Who listens has gone: what is told no more need not be found any more either, and the sender's owner has the error.
    async fn tell(&mut self, event: Event) {
        if let Event::Found(finding, repaired) = &event {
            self.summary.add(finding, repaired.as_ref());
        }
        let _ = self.events.send(event).await;
    }

    pub async fn tables(mut self) -> Result<Summary, DiffError> {
        let servers = &mut self.workers[0];
        let (here, there) = tokio::try_join!(
            servers.source.tables(&self.options.filter),
            servers.target.tables(&self.options.filter)
        )?;
        let databases: BTreeSet<String> = here.iter().map(|name| name.database.clone()).collect();
        let mut names = here;
        // A target may have databases of its own.
        names.extend(
            there
                .into_iter()
                .filter(|name| databases.contains(&name.database)),
        );
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(DiffError::NoTables);
        }
        if let Some(repair) = &self.options.repair {
            let server = &mut self.workers[0].target;
            let mut tables = Vec::new();
            for name in &names {
                if let Some(table) = server.table(name).await?.filter(|table| !table.view) {
                    tables.push((name.clone(), table));
                }
            }
            repair::prepare(server, &tables, repair).await?;
            repair::children_first(&mut names, &tables);
        }
        for name in names {
            let done = self.options.done.iter().find(|done| done.table == name);
            let from = match done {
                Some(Done { upto: None, .. }) => continue,
                Some(Done { upto, .. }) => upto.clone(),
                None => None,
            };
            self.table(&name, from.map(Key::from)).await?;
        }
        Ok(self.summary)
    }

    async fn table(&mut self, name: &TableName, mut from: Option<Key>) -> Result<(), DiffError> {
        let mut attempt = 0;
        loop {
            let pair = self.definitions(name).await;
            let compared = match pair {
                Ok(Ok(pair)) => {
                    // A key of another definition says nothing.
                    let from = from.take().filter(|key| key.len() == pair.key.len());
                    self.rows(&pair, from).await.map(|()| pair.definitions)
                }
                Ok(Err(definition)) => Ok(definition.into_iter().collect()),
                Err(error) => Err(error),
            };
            match compared {
                Ok(definitions) => {
                    for definition in definitions {
                        let table = name.clone();
                        let finding = Finding::Definition { table, definition };
                        self.tell(Event::Found(finding, None)).await;
                    }
                    self.summary.tables += 1;
                    self.tell(Event::Done(Done {
                        table: name.clone(),
                        upto: None,
                    }))
                    .await;
                    return Ok(());
                }
                Err(error) if error.may_pass() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                    // An answer may have broken off, or a transaction be open.
                    self.workers = connect(self.options).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The table's definitions at both servers, once they have settled: the target may be about to follow. An error within: it is at one
    /// server only; `None`: at neither.
    async fn definitions(
        &mut self,
        name: &TableName,
    ) -> Result<Result<Pair, Option<Definition>>, DiffError> {
        let until = Instant::now() + self.options.patience;
        let mut before: Option<Vec<Definition>> = None;
        loop {
            let servers = &mut self.workers[0];
            let executed = servers.source.executed().await?;
            let (here, there) =
                tokio::try_join!(servers.source.table(name), servers.target.table(name))?;
            let wide = servers.source.dialect() == servers.target.dialect()
                && !servers.source.dialect().json_is_text();
            let found = match (&here, &there) {
                (Some(source), Some(target)) if !source.view && !target.view => {
                    let names = Both {
                        source: name,
                        target: name,
                    };
                    Ok(Pair::new(names, Both { source, target }, wide))
                }
                (Some(source), None | Some(_)) if !source.view => {
                    Err(Some(Definition::TableMissing))
                }
                (_, Some(target)) if !target.view => Err(Some(Definition::TableExtra)),
                _ => Err(None),
            };
            let differences: Vec<Definition> = match &found {
                Ok(pair) => pair.definitions.clone(),
                Err(definition) => definition.iter().cloned().collect(),
            };
            let differences: Vec<_> = (differences.into_iter())
                .filter(Definition::is_difference)
                .collect();
            let settled = differences.is_empty() || before.as_ref() == Some(&differences);
            if settled || Instant::now() >= until {
                return Ok(found);
            }
            before = Some(differences);
            if let Some(stream) = &self.options.stream {
                let passed = async {
                    while Instant::now() < until {
                        let applied = servers.target.applied(stream).await?;
                        if applied.unwrap_or_default().contains_set(&executed) {
                            break;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                    Ok(())
                };
                passed.await?;
            }
        }
    }

    async fn rows(&mut self, pair: &Pair, from: Option<Key>) -> Result<(), DiffError> {
        let estimated_rows = (self.workers[0].source.estimated_rows(&pair.name)).await?;
        self.tell(Event::Table {
            name: pair.name.clone(),
            estimated_rows,
        })
        .await;
        if pair.columns.is_empty() {
            return Ok(());
        }
        let shared = Shared {
            pair,
            options: self.options,
            events: &self.events,
            cutter: Mutex::new(Cutter {
                lower: from,
                ended: false,
                rows: FIRST,
                number: 0,
                done: BTreeMap::new(),
                next_done: 0,
            }),
        };
        let counts = match pair.ordered && !pair.key.is_empty() {
            true => {
                let workers = self
                    .workers
                    .iter_mut()
                    .map(|servers| shared.ranges(servers));
                try_join_all(workers).await?
            }
            false => vec![shared.buckets(&mut self.workers[0], estimated_rows).await?],
        };
        for count in counts {
            self.summary.rows += count.rows;
            self.summary.differences += count.differences;
            self.summary.not_settled += count.not_settled;
            self.summary.repaired += count.repaired;
        }
        Ok(())
    }
}

async fn connect(options: &Options) -> Result<Vec<Both<Server>>, DiffError> {
    let mut workers = Vec::new();
    for _ in 0..options.workers.max(1) {
        let (source, target) = tokio::try_join!(
            Server::open(Side::Source, &options.source),
            Server::open(Side::Target, &options.target)
        )?;
        workers.push(Both { source, target });
    }
    Ok(workers)
}

/// What the workers on a table share.
struct Shared<'a> {
    pair: &'a Pair,
    options: &'a Options,
    events: &'a mpsc::Sender<Event>,
    cutter: Mutex<Cutter>,
}

impl Shared<'_> {
    async fn ranges(&self, servers: &mut Both<Server>) -> Result<Summary, DiffError> {
        let mut summary = Summary::default();
        loop {
            let (number, range) = {
                let mut cutter = self.cutter.lock().await;
                if cutter.ended {
                    return Ok(summary);
                }
                let open = Range {
                    lower: cutter.lower.clone(),
                    upper: None,
                };
                let upper = servers.source.cut(self.pair, &open, cutter.rows).await?;
                cutter.ended = upper.is_none();
                cutter.lower.clone_from(&upper);
                cutter.number += 1;
                (cutter.number - 1, Range { upper, ..open })
            };
            let upper = range.upper.clone();
            self.range(servers, range, &mut summary).await?;
            let mut cutter = self.cutter.lock().await;
            cutter.done.insert(number, upper);
            let mut upto = None;
            while let Some((&first, _)) = cutter.done.first_key_value()
                && first == cutter.next_done
            {
                upto = cutter.done.pop_first().and_then(|(_, upper)| upper);
                cutter.next_done += 1;
            }
            drop(cutter);
            if let Some(upto) = upto {
                let table = self.pair.name.clone();
                let upto = Some(upto.into_vec());
                let _ = self.events.send(Event::Done(Done { table, upto })).await;
            }
        }
    }

    async fn range(
        &self,
        servers: &mut Both<Server>,
        range: Range,
        summary: &mut Summary,
    ) -> Result<(), DiffError> {
        let mut rest = vec![range];
        let mut whole = true;
        while let Some(range) = rest.pop() {
            let began = Instant::now();
            let (here, there) = tokio::try_join!(
                servers.source.range_sum(self.pair, &range),
                servers.target.range_sum(self.pair, &range)
            )?;
            if std::mem::take(&mut whole) {
                self.pace(here.rows, began.elapsed()).await;
                summary.rows += here.rows;
                let _ = self.events.send(Event::Rows(here.rows)).await;
            }
            if here == there {
                continue;
            }
            let (most, side) = match here.rows >= there.rows {
                true => (here.rows, Side::Source),
                false => (there.rows, Side::Target),
            };
            let middle = match most > SMALL {
                true => {
                    let server = servers.of_mut(side);
                    server.cut(self.pair, &range, most / 2).await?
                }
                false => None,
            };
            if let Some(middle) = middle.filter(|middle| range.upper.as_ref() != Some(middle)) {
                rest.push(Range {
                    lower: Some(middle.clone()),
                    upper: range.upper,
                });
                rest.push(Range {
                    lower: range.lower,
                    upper: Some(middle),
                });
                continue;
            }
            let (here, there) = tokio::try_join!(
                servers.source.range_rows(self.pair, &range),
                servers.target.range_rows(self.pair, &range)
            )?;
            self.settle(servers, questions(here, there), summary)
                .await?;
        }
        Ok(())
    }

    /// The next range takes about as long as it should.
    async fn pace(&self, rows: u64, took: Duration) {
        let mut cutter = self.cutter.lock().await;
        let wanted = rows as f64 * PACE.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let wanted = (wanted as u64).clamp(cutter.rows / 2, cutter.rows * 2);
        if rows >= cutter.rows / 2 {
            cutter.rows = wanted.clamp(SMALL, MOST);
        }
    }

    async fn buckets(
        &self,
        servers: &mut Both<Server>,
        estimated_rows: u64,
    ) -> Result<Summary, DiffError> {
        let mut summary = Summary::default();
        let buckets = (estimated_rows / BUCKET).clamp(1, MOST_BUCKETS);
        let (here, mut there) = tokio::try_join!(
            servers.source.bucket_sums(self.pair, buckets),
            servers.target.bucket_sums(self.pair, buckets)
        )?;
        summary.rows = here.values().map(|sum| sum.rows).sum();
        let _ = self.events.send(Event::Rows(summary.rows)).await;
        let mut differing: Vec<u64> = Vec::new();
        for (bucket, sum) in here {
            if there.remove(&bucket) != Some(sum) {
                differing.push(bucket);
            }
        }
        differing.extend(there.into_keys());
        differing.sort_unstable();
        for wanted in differing.chunks(4) {
            let (here, there) = tokio::try_join!(
                servers.source.bucket_rows(self.pair, buckets, wanted),
                servers.target.bucket_rows(self.pair, buckets, wanted)
            )?;
            self.settle(servers, questions(here, there), &mut summary)
                .await?;
        }
        Ok(summary)
    }

    async fn settle(
        &self,
        servers: &mut Both<Server>,
        questions: Vec<Key>,
        summary: &mut Summary,
    ) -> Result<(), DiffError> {
        for keys in questions.chunks(settle::TOGETHER) {
            self.settle_some(servers, keys.to_vec(), summary).await?;
        }
        Ok(())
    }

    async fn settle_some(
        &self,
        servers: &mut Both<Server>,
        mut keys: Vec<Key>,
        summary: &mut Summary,
    ) -> Result<(), DiffError> {
        let until = Instant::now() + self.options.settle;
        let mut attempt = 0;
        while !keys.is_empty() {
            let settled = settle::settle(servers, self.pair, &keys, self.options).await?;
            let found = std::mem::take(&mut keys).into_iter().zip(settled);
            let (differing, others): (Vec<_>, Vec<_>) =
                found.partition(|(_, settled)| matches!(settled, Settled::Differs { .. }));
            for (key, settled) in others {
                self.tell(&key, settled, None, summary).await;
            }
            let mended = match &self.options.repair {
                Some(repair) if !differing.is_empty() => {
                    let rows: Vec<Differing> = differing.iter().filter_map(in_question).collect();
                    let (pair, hold) = (self.pair, repair::hold(attempt));
                    repair::mend(servers, pair, &rows, self.options, repair, hold)
                        .await?
                        .into_iter()
                        .map(Some)
                        .collect()
                }
                _ => vec![None; differing.len()],
            };
            let late = Instant::now() >= until;
            for ((key, settled), mended) in differing.into_iter().zip(mended) {
                match mended {
                    Some(None) if !late => keys.push(key),
                    Some(None) => {
                        let reason =
                            "it changed whenever it was to be, or the stream is too far behind";
                        let repaired = Some(Repaired::Not(reason.to_owned()));
                        self.tell(&key, settled, repaired, summary).await;
                    }
                    Some(repaired) => self.tell(&key, settled, repaired, summary).await,
                    None => self.tell(&key, settled, None, summary).await,
                }
            }
            attempt += 1;
        }
        Ok(())
    }

    async fn tell(
        &self,
        key: &Key,
        settled: Settled,
        repaired: Option<Repaired>,
        summary: &mut Summary,
    ) {
        if let Some(finding) = self.finding(key, settled) {
            summary.add(&finding, repaired.as_ref());
            let _ = self.events.send(Event::Found(finding, repaired)).await;
        }
    }

    fn finding(&self, key: &Key, settled: Settled) -> Option<Finding> {
        let table = self.pair.name.clone();
        let keyless = self.pair.key.is_empty();
        let key = self.shown(key);
        Some(match settled {
            Settled::Equal => return None,
            Settled::Open => Finding::NotSettled { table, key },
            Settled::Differs { source, target, .. } if keyless => Finding::Rows {
                table,
                digest: key.into_iter().next().map(|(_, digest)| digest)?,
                source: server::count(source),
                target: server::count(target),
            },
            Settled::Differs { target: None, .. } => Finding::RowMissing { table, key },
            Settled::Differs { source: None, .. } => Finding::RowExtra { table, key },
            Settled::Differs { columns, .. } => Finding::RowDiffers {
                table,
                key,
                columns,
            },
        })
    }

    fn shown(&self, key: &Key) -> ShownKey {
        if self.pair.key.is_empty() {
            let digest = key.iter().flatten();
            let digest = digest.fold(String::new(), |out, byte| out + &format!("{byte:02x}"));
            return vec![("digest".to_owned(), digest)];
        }
        (self.pair.key.iter().zip(key))
            .map(|(part, value)| (part.name.clone(), part.shown(value)))
            .collect()
    }
}

fn in_question((key, settled): &(Key, Settled)) -> Option<Differing> {
    match settled {
        Settled::Differs { source, target, .. } => Some(Differing {
            key: key.clone(),
            source: *source,
            target: *target,
        }),
        Settled::Equal | Settled::Open => None,
    }
}

/// Keys whose rows are not the same at both.
fn questions(here: HashMap<Key, Digest>, mut there: HashMap<Key, Digest>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for (key, digest) in here {
        if there.remove(&key) != Some(digest) {
            keys.push(key);
        }
    }
    keys.extend(there.into_keys());
    keys.sort_unstable();
    keys
}
