//! Commit on the source to record in a consumer's hands, ours and the peer's in turns on the same servers.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use binferry_schemas::{
    datum::{Value, Values},
    fingerprint::Fingerprint,
    record::{Body, Record},
    row::RowSchema,
};
use binferry_servers::MySql;
use rdkafka::{Message, Offset, TopicPartitionList, consumer::Consumer};

use super::{
    Broker,
    beats::{Decode, Delays, Follower, Load, TABLE, consumer},
};
use crate::{
    Figure,
    debezium::{Artifacts, Debezium, Tuning},
    load::users,
    process::{binferry, while_running},
};

const RATES: [u32; 2] = [200, 500];
const SECONDS: u32 = 20;
const WARM_UP: u32 = 2;
/// Before the first figure of each side, so that neither meets a JVM that has compiled nothing yet.
const UNCOUNTED: [u32; 1] = [500];

pub fn run(program: &Path) -> Result<Vec<Figure>> {
    let artifacts = Artifacts::fetch()?;
    let broker = Broker::start()?;
    let source = MySql::start()?;
    users(&source)?;
    source.sql(TABLE)?;
    let mut figures = ours(program, &broker, &source)?;
    figures.extend(theirs(&artifacts, &broker, &source)?);
    Ok(figures)
}

fn ours(program: &Path, broker: &Broker, source: &MySql) -> Result<Vec<Figure>> {
    let mut command = binferry(program, "capture");
    command
        .args(["--source", &source.url("bench"), "--from", "now"])
        .args(["--log", &broker.log("beat")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = binferry_servers::spawn(command)?;
    let pid = child.id();
    let decode = WriteSets {
        bootstrap: broker.bootstrap(),
        schemas: HashMap::new(),
    };
    let figures = follow(broker, source, "beat.log", decode, "capture", pid, || {
        ensure!(child.try_wait()?.is_none(), "capture has ended");
        Ok(())
    });
    child.kill()?;
    child.wait()?;
    figures
}

fn theirs(artifacts: &Artifacts, broker: &Broker, source: &MySql) -> Result<Vec<Figure>> {
    let bootstrap = broker.bootstrap();
    let mut debezium = Debezium::start(artifacts, &bootstrap, source, "peer", Tuning::Latency)?;
    debezium.resume()?;
    let pid = debezium.pid();
    let topic = "peer.sbtest.beat";
    follow(broker, source, topic, Json, "Debezium", pid, || {
        debezium.check()
    })
}

fn follow(
    broker: &Broker,
    source: &MySql,
    topic: &str,
    decode: impl Decode,
    who: &str,
    pid: u32,
    alive: impl FnMut() -> Result<()>,
) -> Result<Vec<Figure>> {
    let mut follower = Follower::start(&broker.bootstrap(), topic, decode, source, alive)?;
    let highest = source.value("SELECT COALESCE(MAX(id), 0) FROM sbtest.beat")?;
    let mut first = highest.parse::<i64>()?.max(0) as u32 + 1;
    let mut figures = Vec::new();
    let counted = RATES.map(|rate| (rate, true));
    for (rate, counts) in UNCOUNTED
        .map(|rate| (rate, false))
        .into_iter()
        .chain(counted)
    {
        eprintln!("kafka-latency: {who}, {rate} transactions/s for {SECONDS} s");
        let load = Load {
            rate,
            seconds: SECONDS,
            warm_up: WARM_UP,
            first,
        };
        first += rate * SECONDS;
        let pids = [pid, broker.pid()?];
        let (delays, cpu) = while_running(&pids, || follower.measure(source, load))?;
        if counts {
            figures.push(figure(who, rate, &delays, cpu[0], cpu[1]));
        }
    }
    Ok(figures)
}

fn figure(who: &str, rate: u32, delays: &Delays, cpu: f64, broker: f64) -> Figure {
    let at = |delays: &[f64], share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    let (answer, statement) = (&delays.from_answer, &delays.from_statement);
    let percent = |seconds: f64| seconds / f64::from(SECONDS) * 100.0;
    Figure {
        what: format!("commit on the source to the consumer, {who}, {rate} transactions/s"),
        value: format!(
            "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms (from sending the statement: {:.1}, {:.1}); {:.0} % of a core, the broker {:.0} %",
            at(answer, 0.5),
            at(answer, 0.99),
            at(answer, 1.0),
            at(statement, 0.5),
            at(statement, 0.99),
            percent(cpu),
            percent(broker)
        ),
    }
}

/// Our records, their schemas from the log's second topic.
struct WriteSets {
    bootstrap: String,
    schemas: HashMap<Fingerprint, RowSchema>,
}

impl Decode for WriteSets {
    fn ids(&mut self, record: &[u8], found: &mut Vec<i64>) -> Result<()> {
        let Body::WriteSet(write_set) = Record::decode(record)?.body else {
            return Ok(());
        };
        for change in &write_set.changes {
            let change = change?;
            let table = &write_set.tables[change.table as usize];
            if !self.schemas.contains_key(&table.schema) {
                let schema = schema(&self.bootstrap, table.schema)?;
                self.schemas.insert(table.schema, schema);
            }
            let image = change.after.context("a change that is no insert")?;
            let schema = &self.schemas[&table.schema];
            match Values::new(schema, image.present, image.datum).next() {
                Some(Ok(Some(Value::Int(id)))) => found.push(id),
                other => anyhow::bail!("not an id: {other:?}"),
            }
        }
        Ok(())
    }
}

/// Reads it from the topic of schemas, keyed by fingerprint.
fn schema(bootstrap: &str, wanted: Fingerprint) -> Result<RowSchema> {
    let consumer = consumer(bootstrap)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("beat.schemas", 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let key = format!("{:016x}", wanted.0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            continue;
        };
        let message = message?;
        if message.key() == Some(key.as_bytes()) {
            let text = message.payload().context("a schema without text")?;
            return Ok(RowSchema::from_avro(std::str::from_utf8(text)?)?);
        }
    }
    anyhow::bail!("no schema {key} in the topic")
}

/// The peer's.
struct Json;

impl Decode for Json {
    fn ids(&mut self, record: &[u8], found: &mut Vec<i64>) -> Result<()> {
        let json: serde_json::Value = serde_json::from_slice(record)?;
        found.push(json["after"]["id"].as_i64().context("no id")?);
        Ok(())
    }
}
