//! Debezium's MySQL connector in a standalone Connect worker: the peer. `peers/debezium` has its settings and what it is made of, and says how
//! to repeat this by hand.

mod artifacts;
mod registry;
mod sink;

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use binferry_servers::MySql;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub use self::{
    artifacts::{Artifacts, sink_version, version},
    registry::Registry,
};
use crate::process::PASSWORD;

const WORKER: &str = include_str!("../peers/debezium/worker.properties");
const CONNECTOR: &str = include_str!("../peers/debezium/connector.properties");
const THROUGHPUT: &str = include_str!("../peers/debezium/throughput.properties");
const LATENCY: &str = include_str!("../peers/debezium/latency.properties");
const FLAT: &str = include_str!("../peers/debezium/flat.properties");
const SCHEMAS: &str = include_str!("../peers/debezium/schemas.properties");
const AVRO: &str = include_str!("../peers/debezium/avro.properties");
const HEAP: &str = "-Xmx2g";

/// What the connector is tuned for.
#[derive(Debug, Clone, Copy)]
pub enum Tuning<'a> {
    /// The whole binlog, from its first event on.
    Throughput {
        codec: &'a str,
        avro: Option<&'a Registry>,
    },
    /// The same, with records as the sink takes them.
    Sink,
    /// From now on.
    Latency,
}

/// A worker with one connector.
#[derive(Debug)]
pub struct Debezium {
    child: Child,
    rest: u16,
    name: String,
    folder: TempDir,
}

impl Debezium {
    /// Starts the worker, and in it the connector, stopped: its topics are `NAME.sbtest.TABLE`.
    pub fn start(
        artifacts: &Artifacts,
        bootstrap: &str,
        source: &MySql,
        name: &str,
        tuning: Tuning<'_>,
    ) -> Result<Self> {
        let avro = matches!(tuning, Tuning::Throughput { avro: Some(_), .. });
        let mut debezium = Self::worker(artifacts, &artifacts.plugins(avro), bootstrap, name)?;
        debezium.create(connector(bootstrap, source, name, tuning))?;
        if let Tuning::Throughput { .. } | Tuning::Sink = tuning {
            debezium.place_at_start(source)?;
        }
        Ok(debezium)
    }

    /// A worker without a connector.
    fn worker(artifacts: &Artifacts, plugins: &Path, bootstrap: &str, name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let rest = free_port()?;
        let worker = folder.path().join("worker.properties");
        let filled = fill(
            WORKER,
            &[
                ("bootstrap", bootstrap),
                ("rest", &rest.to_string()),
                ("plugins", &plugins.to_string_lossy()),
                ("offsets", &folder.path().join("offsets").to_string_lossy()),
            ],
        );
        std::fs::write(&worker, filled)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("java");
        command
            .args([HEAP, "-XX:+UseG1GC"])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                artifacts.log4j().display()
            ))
            .arg("-cp")
            .arg(format!("{}/*", artifacts.connect().display()))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone")
            .arg(&worker)
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let mut debezium = Self {
            child: binferry_servers::spawn(command)?,
            rest,
            name: name.to_owned(),
            folder,
        };
        debezium.wait_for("the worker's REST interface", |d| {
            Ok(ureq::get(d.url("")).call().is_ok())
        })?;
        Ok(debezium)
    }

    fn create(&mut self, mut config: Map<String, Value>) -> Result<()> {
        config.insert("name".into(), self.name.as_str().into());
        let body = json!({"name": self.name, "config": config, "initial_state": "STOPPED"});
        let answer = ureq::post(self.url("/connectors"))
            .config()
            .http_status_as_error(false)
            .build()
            .send_json(body)?;
        refused("creating the connector", answer)?;
        self.wait_for("a stopped connector", |d| d.is("STOPPED"))
    }

    /// Its offset is the binlog's first event. One GTID is stated as done: without any it fails where `gtid_mode=ON`.
    fn place_at_start(&self, source: &MySql) -> Result<()> {
        let file = source.rows("SHOW BINARY LOGS")?[0][0]
            .clone()
            .context("no binlog")?;
        let gtid = format!("{}:1", source.value("SELECT @@server_uuid")?);
        let body = json!({"offsets": [{
            "partition": {"server": self.name},
            "offset": {"file": file, "pos": 4, "gtids": gtid},
        }]});
        let answer = ureq::patch(self.url(&format!("/connectors/{}/offsets", self.name)))
            .config()
            .http_status_as_error(false)
            .build()
            .send_json(body)?;
        refused("setting the connector's offset", answer)
    }

    /// Lets the connector run; returns when it says that it does.
    pub fn resume(&mut self) -> Result<()> {
        ureq::put(self.url(&format!("/connectors/{}/resume", self.name))).send_empty()?;
        self.wait_for("a running connector", |d| d.is("RUNNING"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error when it has ended, or its task has failed.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("Connect ended with {status}: {}", self.last_words());
        }
        if self.status()?.to_string().contains("\"FAILED\"") {
            bail!("the connector has failed: {}", self.last_words());
        }
        Ok(())
    }

    fn is(&self, state: &str) -> Result<bool> {
        let status = self.status()?;
        let tasks = status["tasks"].as_array().map_or(0, Vec::len);
        // A connector that runs has a task; a stopped one has none.
        Ok(status["connector"]["state"] == state && (tasks > 0) == (state == "RUNNING"))
    }

    fn status(&self) -> Result<Value> {
        let answer = ureq::get(self.url(&format!("/connectors/{}/status", self.name))).call();
        match answer {
            Ok(mut answer) => Ok(answer.body_mut().read_json()?),
            // For a moment after its creation there is none.
            Err(ureq::Error::StatusCode(404)) => Ok(Value::Null),
            Err(error) => Err(error.into()),
        }
    }

    fn wait_for(&mut self, what: &str, done: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !done(self)? {
            if let Some(status) = self.child.try_wait()? {
                bail!("Connect ended with {status}: {}", self.last_words());
            }
            ensure!(
                Instant::now() < deadline,
                "{what}: not within 2 minutes: {}",
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.rest)
    }
}

impl Drop for Debezium {
    fn drop(&mut self) {
        // Gone already, if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the worker says, when it does not do as it is told.
fn refused(what: &str, mut answer: ureq::http::Response<ureq::Body>) -> Result<()> {
    if !answer.status().is_success() {
        bail!("{what}: {}", answer.body_mut().read_to_string()?);
    }
    Ok(())
}

fn connector(
    bootstrap: &str,
    source: &MySql,
    name: &str,
    tuning: Tuning<'_>,
) -> Map<String, Value> {
    let (port, id) = (
        source.port().to_string(),
        (source.server_id() + 7000).to_string(),
    );
    let mut text = CONNECTOR.to_owned();
    let (mut codec, mut registry) = ("none", String::new());
    match tuning {
        Tuning::Throughput {
            codec: chosen,
            avro,
        } => {
            codec = chosen;
            text += THROUGHPUT;
            if let Some(server) = avro {
                registry = server.url();
                text += AVRO;
            }
        }
        Tuning::Sink => {
            codec = "lz4";
            text = [CONNECTOR, THROUGHPUT, FLAT, SCHEMAS].concat();
        }
        Tuning::Latency => text += LATENCY,
    }
    properties(
        &text,
        &[
            ("name", name),
            ("port", &port),
            ("user", "bench"),
            ("password", PASSWORD),
            ("server_id", &id),
            ("bootstrap", bootstrap),
            ("codec", codec),
            ("registry", &registry),
        ],
    )
}

/// As the worker's REST interface takes them; of a name that comes twice the last.
fn properties(template: &str, values: &[(&str, &str)]) -> Map<String, Value> {
    fill(template, values)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

/// Puts values in the place of `${key}`.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (key, value) in values {
        text = text.replace(&format!("${{{key}}}"), value);
    }
    text
}

/// Free a moment ago, which is as much as can be had.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
