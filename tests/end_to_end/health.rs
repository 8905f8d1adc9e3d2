//! What the program tells of itself over HTTP, to people and to a real Prometheus: also while a stage is away, and when a link is open and
//! carries nothing.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Prometheus, Proxy, get, pair, promtool};
use serde_json::Value;

use crate::binferry::{Pipeline, Running, TARGET_USER, eventually, executed, refused};

/// A process that serves HTTP.
struct Served {
    running: Running,
    address: SocketAddr,
}

impl Served {
    fn start(pipeline: &Pipeline, command: &str) -> Result<Self> {
        let mut started = pipeline.command(command);
        started.args(["--http", "0", "--stall-after", "15s"]);
        let running = pipeline.start_command(started, command)?;
        let mut address = None;
        eventually("the port is told", || {
            let said = running.said()?;
            let told = said.lines().find(|line| line.contains("over HTTP"));
            address = told
                .and_then(|line| line.split("address=").nth(1))
                .and_then(|text| text.split_whitespace().next()?.parse().ok());
            Ok(address.is_some())
        })?;
        let address = address.context("no address")?;
        Ok(Self { running, address })
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        Ok(get(&format!("http://{}{path}", self.address))?)
    }

    /// The value of a sample, with its labels as they are shown.
    fn sample(&self, name: &str) -> Result<Option<f64>> {
        let (status, page) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics: {status} {page}");
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|text| Ok(text.parse()?)).transpose()
    }

    fn becomes(&self, path: &str, wanted: u16) -> Result<String> {
        let mut text = String::new();
        eventually(&format!("{path} is {wanted}"), || {
            let (status, body) = self.get(path)?;
            text = body;
            Ok(status == wanted)
        })
        .with_context(|| text.clone())?;
        Ok(text)
    }
}

fn item(servers: [&MySql; 2], database: &str) -> Result<()> {
    for server in servers {
        server.sql(&format!(
            "CREATE TABLE {database}.item (id INT PRIMARY KEY, price INT)"
        ))?;
    }
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_else() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("taken")?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    for address in [
        port.clone(),
        format!(":{port}"),
        format!("127.0.0.1:{port}"),
    ] {
        let says = ["another program listens", &address];
        refused(pipeline.command("run").args(["--http", &address]), 2, &says)?;
        ensure!(!pipeline.log().exists(), "the log has been begun");
    }
    refused(
        pipeline.command("run").args(["--http", "9100 "]),
        2,
        &["--http", "HOST:PORT"],
    )?;
    refused(
        pipeline.command("run").args(["--stall-after", "2s"]),
        2,
        &["--stall-after", "at least 15 s"],
    )?;
    Ok(())
}

#[test]
fn it_answers_while_the_target_is_away() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("away")?;
    item([&pair.source, &pair.target], &database)?;
    let proxy = Proxy::to(&pair.target)?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.target = proxy.url(TARGET_USER);
    let served = Served::start(&pipeline, "run")?;
    served.becomes("/readyz", 200)?;
    let insert = |from: u32| -> Result<()> {
        let rows: Vec<_> = (from..from + 10).map(|id| format!("({id}, 1)")).collect();
        pair.source.sql(&format!(
            "INSERT INTO {database}.item VALUES {}",
            rows.join(",")
        ))?;
        Ok(())
    };
    insert(0)?;
    pipeline.wait_for(&executed(&pair.source)?)?;
    for stage in ["capture", "apply"] {
        let rows = format!("binferry_rows_total{{stage=\"{stage}\"}}");
        let of_table = format!(
            "binferry_table_rows_total{{stage=\"{stage}\",database=\"{database}\",table=\"item\"}}"
        );
        eventually("ten rows are counted", || {
            Ok(served.sample(&rows)? == Some(10.0) && served.sample(&of_table)? == Some(10.0))
        })?;
        let behind = format!("binferry_lag_transactions{{stage=\"{stage}\"}}");
        eventually("nothing is behind", || {
            Ok(served.sample(&behind)? == Some(0.0))
        })?;
    }
    for histogram in [
        "binferry_log_append_seconds",
        "binferry_apply_commit_seconds",
    ] {
        let count = served.sample(&format!("{histogram}_count"))?;
        ensure!(count.is_some_and(|count| count > 0.0), "{histogram}");
    }

    proxy.refuse(true);
    proxy.cut();
    insert(10)?;
    let said = served.becomes("/healthz", 503)?;
    ensure!(said.contains("apply: "), "{said}");
    served.becomes("/readyz", 503)?;
    let connected =
        |stage: &str| served.sample(&format!("binferry_connected{{stage=\"{stage}\"}}"));
    ensure!(connected("apply")? == Some(0.0) && connected("capture")? == Some(1.0));
    // Those of other tests on the same source count as well.
    eventually("what is behind is counted", || {
        let behind = served.sample("binferry_lag_transactions{stage=\"apply\"}")?;
        Ok(behind.is_some_and(|behind| behind >= 1.0))
    })?;
    let (_, status) = served.get("/status")?;
    let status: Value = serde_json::from_str(&status)?;
    ensure!(status["healthy"] == false && status["problems"][0]["stage"] == "apply");
    let retries = status["apply"]["retries"].as_u64();
    ensure!(retries.is_some_and(|retries| retries > 0), "{status}");
    ensure!(
        status["apply"]["last_error"]["error"].is_string(),
        "{status}"
    );

    proxy.refuse(false);
    served.becomes("/healthz", 200)?;
    served.becomes("/readyz", 200)?;
    pipeline.wait_for(&executed(&pair.source)?)?;
    eventually("the rows add up over both connections", || {
        Ok(served.sample("binferry_rows_total{stage=\"apply\"}")? == Some(20.0))
    })?;
    ensure!(served.get("/nothing")?.0 == 404);
    served.running.stop()
}

/// What the source says that it executed and never sends: its dump brings heartbeats, and nothing else.
#[test]
fn a_source_that_sends_nothing_is_red() -> Result<()> {
    let source = MySql::start()?;
    let target = &pair()?.target;
    let database = binferry_servers::database([&source, target], "silent")?;
    item([&source, target], &database)?;
    let pipeline = Pipeline::new(&source, target, &database)?;
    let served = Served::start(&pipeline, "capture")?;
    served.becomes("/readyz", 200)?;
    source.sql("SET GLOBAL gtid_purged = '+11111111-2222-3333-4444-555555555555:1-7'")?;
    let said = served.becomes("/healthz", 503)?;
    ensure!(
        said.contains("capture: nothing has moved") && said.contains("7 transactions ahead"),
        "{said}"
    );
    ensure!(served.sample("binferry_stalled{stage=\"capture\"}")? == Some(1.0));
    ensure!(served.sample("binferry_connected{stage=\"capture\"}")? == Some(1.0));
    served.running.kill()
}

#[test]
fn a_target_that_takes_nothing_is_red_and_prometheus_calls() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("still")?;
    item([&pair.source, &pair.target], &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let served = Served::start(&pipeline, "run")?;
    served.becomes("/readyz", 200)?;
    let rules = include_str!("../../compose/prometheus/alerts.yaml");
    let quick = rules
        .replace("for: 1m", "for: 1s")
        .replace("for: 2m", "for: 1s");
    let prometheus = Prometheus::scraping(served.address, &quick)?;
    let answer = |path: &str| -> Result<Value> {
        let (status, text) = prometheus.get(path)?;
        ensure!(status == 200, "{path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    };
    let firing = |name: &str| -> Result<bool> {
        let alerts = answer("/api/v1/alerts")?;
        let mut alerts = alerts["data"]["alerts"].as_array().into_iter().flatten();
        Ok(alerts.any(|alert| alert["labels"]["alertname"] == name && alert["state"] == "firing"))
    };

    // A session that holds the table, as a backup or a forgotten client does.
    let mut holder = Holder::of(&pair.target, &format!("{database}.item"))?;
    pair.source
        .sql(&format!("INSERT INTO {database}.item VALUES (1, 1)"))?;
    let said = served.becomes("/healthz", 503)?;
    ensure!(said.contains("apply: nothing has moved"), "{said}");
    eventually("the alerts fire", || {
        Ok(firing("BinferryStalled")? && firing("BinferryUnhealthy")?)
    })?;
    holder.let_go()?;
    pipeline.wait_for(&executed(&pair.source)?)?;
    served.becomes("/healthz", 200)?;
    eventually("the alert ends", || Ok(!firing("BinferryStalled")?))?;

    // Every question of the dashboard is one that Prometheus understands.
    let dashboard: Value =
        serde_json::from_str(include_str!("../../compose/grafana/binferry.json"))?;
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().context("no targets")? {
            let question = target["expr"].as_str().context("no expression")?;
            let question = question
                .replace("$instance", ".*")
                .replace("$__rate_interval", "1m");
            let query = format!("/api/v1/query?query={}", percent(&question));
            ensure!(answer(&query)?["status"] == "success", "{question}");
            asked += 1;
        }
    }
    ensure!(asked > 10, "{asked} questions");

    // And its own tool finds no fault with the page and the rules.
    let (_, page) = served.get("/metrics")?;
    checked(promtool()?.args(["check", "metrics"]), &page)?;
    let file = pipeline.folder.path().join("alerts.yaml");
    std::fs::write(&file, rules)?;
    checked(promtool()?.args(["check", "rules"]).arg(&file), "")?;
    served.running.stop()
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Runs to its good end on that input.
fn checked(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no input")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A client that holds a table.
struct Holder(std::process::Child);

impl Holder {
    fn of(server: &MySql, table: &str) -> Result<Self> {
        let mut client = server.client()?;
        let mut child = client
            .args(["--batch", "--unbuffered"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.as_mut().context("no input")?;
        writeln!(input, "LOCK TABLES {table} WRITE;")?;
        input.flush()?;
        let (database, name) = table.split_once('.').context("no table")?;
        eventually("the table is held", || {
            let held = server.value(&format!(
                "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE object_schema = '{database}' \
                 AND object_name = '{name}' AND lock_type = 'SHARED_NO_READ_WRITE' AND lock_status = 'GRANTED'"
            ))?;
            Ok(held == "1")
        })?;
        Ok(Self(child))
    }

    fn let_go(&mut self) -> Result<()> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
