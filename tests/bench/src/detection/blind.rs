//! A writer of upserts that checks nothing; see above for what it is good for. Tables with a key of one integer column, and of columns that hold
//! integers and text.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use binferry_schemas::{
    datum::{Value, Values},
    fingerprint::Fingerprint,
    gtid::GtidSet,
    record::{Body, Image, Offset, Record},
    row::RowSchema,
};
use binferry_transport::{embedded::EmbeddedLog, log::Log};
use mysql_async::{Conn, Opts, prelude::Queryable};

/// Rows of a connection that share a transaction; beyond it nothing is gained.
const TRANSACTION: usize = 2_000;
const STATEMENT: usize = 1_000;
/// Transactions that wait for a connection.
const QUEUE: usize = 2;

/// Everything in the log that isn't in the set, once. Seconds.
pub fn write(log: &Path, without: &str, opts: &Opts, connections: usize) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(prepare(opts, connections))?;
    let begun = Instant::now();
    let (mut shares, mut threads) = (Vec::new(), Vec::new());
    for number in 0..connections {
        let (sender, receiver) = sync_channel(QUEUE);
        shares.push(Share {
            rows: HashMap::new(),
            sender,
            number,
        });
        let opts = opts.clone();
        threads.push(std::thread::spawn(move || execute(opts, &receiver)));
    }
    let read = runtime.block_on(read(log, &without.parse()?, &mut shares));
    // The connections end when nothing more can come.
    drop(shares);
    let written: Result<Vec<()>> = threads.into_iter().map(ended).collect();
    written?;
    read?;
    Ok(begun.elapsed().as_secs_f64())
}

fn ended(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a writer panicked"))?
}

async fn read(log: &Path, without: &GtidSet, shares: &mut [Share]) -> Result<()> {
    let log = EmbeddedLog::open(log)?;
    let bounds = log.bounds().await?;
    let mut reader = log.reader(bounds.start).await?;
    let mut schemas: HashMap<Fingerprint, Arc<Table>> = HashMap::new();
    let mut at = bounds.start;
    while at < bounds.end {
        for stored in reader.next().await? {
            at = Offset(stored.offset.0 + 1);
            // One capture after the other wrote this log: each record in it counts.
            let Body::WriteSet(write_set) = Record::decode(&stored.bytes)?.body else {
                continue;
            };
            if without.contains(&write_set.transaction.gtid) {
                continue;
            }
            let mut tables = Vec::new();
            for table in &write_set.tables {
                let known = match schemas.entry(table.schema) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => {
                        let text = log.schema(table.schema).await?;
                        let schema = RowSchema::from_avro(&text.context("a schema is not there")?)?;
                        let name = format!("`{}`.`{}`", table.database, table.table);
                        unknown.insert(Arc::new(Table::new(name, schema)?))
                    }
                };
                tables.push(Arc::clone(known));
            }
            for change in &write_set.changes {
                let change = change?;
                ensure!(!change.more, "a row in fragments");
                let table = &tables[change.table as usize];
                let before = change.before.map(|i| table.key(&i)).transpose()?;
                let after = change.after.map(|i| table.key(&i)).transpose()?;
                if let Some(gone) = before.filter(|key| Some(*key) != after) {
                    share(shares, gone).put(table, gone, None)?;
                }
                if let (Some(key), Some(image)) = (after, change.after) {
                    let row = table.row(&image)?;
                    share(shares, key).put(table, key, Some(row))?;
                }
            }
        }
    }
    shares.iter_mut().try_for_each(Share::send)
}

fn share(shares: &mut [Share], key: i64) -> &mut Share {
    let number = key.rem_euclid(shares.len() as i64) as usize;
    &mut shares[number]
}

#[derive(Debug)]
struct Table {
    name: String,
    schema: RowSchema,
    key: usize,
    /// Of an upsert: the other columns take the new values.
    update: String,
}

impl Table {
    fn new(name: String, schema: RowSchema) -> Result<Self> {
        let key = match schema.key()[..] {
            [key] => key,
            _ => bail!("{name} has no key of one column"),
        };
        let others = schema.columns.iter().enumerate().filter(|(n, _)| *n != key);
        let update: Vec<String> = others
            .map(|(_, column)| format!("`{0}`=VALUES(`{0}`)", column.name))
            .collect();
        Ok(Self {
            name,
            schema,
            key,
            update: update.join(","),
        })
    }

    fn key(&self, image: &Image<'_>) -> Result<i64> {
        match Values::new(&self.schema, image.present, image.datum).nth(self.key) {
            Some(Ok(Some(Value::Int(key)))) => Ok(key),
            _ => bail!("{}: its key is no integer", self.name),
        }
    }

    fn row(&self, image: &Image<'_>) -> Result<Vec<u8>> {
        let mut row = vec![b'('];
        for value in Values::new(&self.schema, image.present, image.datum) {
            if row.len() > 1 {
                row.push(b',');
            }
            match value?.context("a column is not in the image")? {
                Value::Null => row.extend_from_slice(b"NULL"),
                Value::Int(number) => row.extend_from_slice(number.to_string().as_bytes()),
                Value::Text(text) => {
                    row.push(b'\'');
                    for byte in text.bytes() {
                        if matches!(byte, b'\'' | b'\\') {
                            row.push(b'\\');
                        }
                        row.push(byte);
                    }
                    row.push(b'\'');
                }
                _ => bail!("{}: a type that this writer has no literal for", self.name),
            }
        }
        row.push(b')');
        Ok(row)
    }
}

/// What a row is at the end; `None`: gone.
#[derive(Debug)]
struct New {
    table: Arc<Table>,
    row: Option<Vec<u8>>,
}

/// The same of a table.
#[derive(Debug, Default)]
struct Net {
    gone: Vec<i64>,
    rows: Vec<Vec<u8>>,
}

/// What one connection is to write, by table (its address) and key.
#[derive(Debug)]
struct Share {
    rows: HashMap<(usize, i64), New>,
    sender: SyncSender<Vec<u8>>,
    number: usize,
}

impl Share {
    fn put(&mut self, table: &Arc<Table>, key: i64, row: Option<Vec<u8>>) -> Result<()> {
        let address = Arc::as_ptr(table) as usize;
        let table = Arc::clone(table);
        self.rows.insert((address, key), New { table, row });
        match self.rows.len() >= TRANSACTION {
            true => self.send(),
            false => Ok(()),
        }
    }

    /// One packet: the deletes, the upserts, where it is, and the commit.
    fn send(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut by_table: HashMap<usize, (Arc<Table>, Net)> = HashMap::new();
        for ((address, key), New { table, row }) in self.rows.drain() {
            let (_, net) = by_table
                .entry(address)
                .or_insert_with(|| (table, Net::default()));
            match row {
                None => net.gone.push(key),
                Some(row) => net.rows.push(row),
            }
        }
        let mut packet = format!(
            "BEGIN;UPDATE sbtest_blind.place SET n=n+1 WHERE id={};",
            self.number
        )
        .into_bytes();
        for (table, Net { gone, rows }) in by_table.into_values() {
            let key = &table.schema.columns[table.key].name;
            for some in gone.chunks(STATEMENT) {
                let keys: Vec<String> = some.iter().map(i64::to_string).collect();
                let keys = keys.join(",");
                packet.extend_from_slice(
                    format!("DELETE FROM {} WHERE `{key}` IN ({keys});", table.name).as_bytes(),
                );
            }
            for some in rows.chunks(STATEMENT) {
                packet.extend_from_slice(format!("INSERT INTO {} VALUES ", table.name).as_bytes());
                packet.extend_from_slice(&some.join(&b','));
                packet.extend_from_slice(
                    format!(" ON DUPLICATE KEY UPDATE {};", table.update).as_bytes(),
                );
            }
        }
        packet.extend_from_slice(b"COMMIT");
        self.sender
            .send(packet)
            .map_err(|_| anyhow!("a connection has ended"))
    }
}

/// The rows that say where each connection is.
async fn prepare(opts: &Opts, connections: usize) -> Result<()> {
    let mut connection = Conn::new(opts.clone()).await?;
    connection
        .query_drop(
            "CREATE DATABASE sbtest_blind; CREATE TABLE sbtest_blind.place (id INT PRIMARY KEY, n BIGINT NOT NULL)",
        )
        .await?;
    for number in 0..connections {
        let row = format!("INSERT INTO sbtest_blind.place VALUES ({number}, 0)");
        connection.query_drop(row).await?;
    }
    connection.disconnect().await?;
    Ok(())
}

fn execute(opts: Opts, packets: &Receiver<Vec<u8>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = Conn::new(opts).await?;
        connection
            .query_drop("SET SESSION transaction_isolation = 'READ-COMMITTED'")
            .await?;
        while let Ok(packet) = packets.recv() {
            // A deadlock with another share, of gaps, is no error of either: the whole packet is one transaction.
            loop {
                match connection.query_drop(&packet[..]).await {
                    Ok(()) => break,
                    Err(mysql_async::Error::Server(error)) if error.code == 1213 => {
                        connection.query_drop("ROLLBACK").await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        connection.disconnect().await?;
        Ok(())
    })
}
