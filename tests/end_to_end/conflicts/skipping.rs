//! `binferry skip`: one transaction, journaled whole, and nothing else.

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Release, mariadb, pair};

use super::{begin, carry, journal, skip, to_skip};
use crate::{
    binferry::{Pipeline, done, eventually, executed, refused},
    judge,
};

const TABLES: &str = "
    CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20));
    CREATE TABLE big (id INT PRIMARY KEY, filler TEXT, UNIQUE KEY (filler(20)))";

fn stopped(pipeline: &Pipeline, says: &str) -> Result<String> {
    to_skip(&refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &[says, "binferry skip --gtid"],
    )?)
}

#[test]
fn statements_that_are_not_replayed() -> Result<()> {
    let pair = pair()?;
    statements(&pair.source, &pair.target)?;
    statements(&pair.source, mariadb(Release::MariaDb11_8)?)
}

fn statements(source: &MySql, target: &MySql) -> Result<()> {
    let (mut pipeline, database) = begin(source, target, "passed", [TABLES; 2])?;
    pipeline.ddl = "stop";
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (1, 'x')"))?;
    carry(&pipeline, &[])?;
    source.sql(&format!(
        "USE `{database}`; TRUNCATE TABLE t; INSERT INTO t VALUES (1, 'y'); RENAME TABLE big TO bigger; INSERT INTO bigger VALUES (1, 'z')"
    ))?;
    let gtid = stopped(&pipeline, "TRUNCATE")?;
    target.sql(&format!("TRUNCATE TABLE `{database}`.t"))?;
    done(&mut skip(&pipeline, &gtid))?;
    let gtid = stopped(&pipeline, "RENAME")?;
    target.sql(&format!(
        "RENAME TABLE `{database}`.big TO `{database}`.bigger"
    ))?;
    done(&mut skip(&pipeline, &gtid))?;
    carry(&pipeline, &[])?;
    judge::equal(source, target, &database)?;
    let journal = journal(&pipeline)?;
    let [truncate, rename] = &journal[..] else {
        anyhow::bail!("not two: {journal:?}");
    };
    ensure!(
        truncate["kind"] == "skipped"
            && truncate["outcome"] == "skipped"
            && truncate["statement"]
                .as_str()
                .is_some_and(|text| text.contains("TRUNCATE"))
            && truncate["table"] == "t"
            && truncate["index"].is_null(),
        "{truncate}"
    );
    ensure!(rename["gtid"] == gtid.as_str(), "{rename}");
    Ok(())
}

/// Of many records, with the conflict in the last row: skipped whole, or decided by policy.
#[test]
fn a_transaction_of_many_records() -> Result<()> {
    let pair = pair()?;
    many_records(&pair.source, &pair.target)?;
    many_records(&pair.source, mariadb(Release::MariaDb11_8)?)
}

fn many_records(source: &MySql, target: &MySql) -> Result<()> {
    const ROWS: usize = 400;
    let (pipeline, database) = begin(source, target, "many", [TABLES; 2])?;
    carry(&pipeline, &[])?;
    let write = |from: usize| {
        source.sql(&format!(
            "SET SESSION cte_max_recursion_depth = 10000; INSERT INTO `{database}`.big
             WITH RECURSIVE n AS (SELECT {from} AS n UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {from} + {ROWS})
             SELECT n, CONCAT(n, REPEAT('long''\\\\', 1500)) FROM n"
        ))
    };
    let plant = |id: usize| {
        target.sql(&format!(
            "INSERT INTO `{database}`.big VALUES ({id}, 'target {id}')"
        ))
    };
    plant(ROWS - 1)?;
    write(0)?;
    let gtid = stopped(&pipeline, "row_exists")?;
    done(&mut skip(&pipeline, &gtid))?;
    let journaled = journal(&pipeline)?;
    ensure!(journaled.len() == ROWS, "{}", journaled.len());
    let lines = pipeline.tail()?;
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line["gtid"] == gtid.as_str())
        .collect();
    ensure!(lines.len() == ROWS, "{}", lines.len());
    for (row, line) in journaled.iter().zip(lines) {
        let same = ["index", "op", "table", "before", "after", "offset"]
            .iter()
            .all(|name| line[*name] == row[*name]);
        ensure!(same, "{}", row["index"]);
    }
    let offsets: std::collections::HashSet<_> =
        journaled.iter().map(|row| row["offset"].as_u64()).collect();
    ensure!(offsets.len() > 1, "it is one record");
    // Nothing of it is there, and the stream goes on.
    let count = || target.value(&format!("SELECT COUNT(*) FROM `{database}`.big"));
    ensure!(count()? == "1");
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (1, 'behind')"))?;
    carry(&pipeline, &[])?;

    // The same by policy: in its first record and in its last.
    for id in [1000, 1000 + ROWS - 1] {
        plant(id)?;
    }
    write(1000)?;
    stopped(&pipeline, "row_exists")?;
    carry(&pipeline, &["source_wins"])?;
    let decided = &journal(&pipeline)?[ROWS..];
    ensure!(
        decided.len() == 2 && decided[0]["index"] == 0 && decided[1]["index"] == ROWS - 1,
        "{decided:?}"
    );
    let sum = format!(
        "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(filler))) FROM `{database}`.big WHERE id >= 1000"
    );
    ensure!(source.value(&sum)? == target.value(&sum)?);
    Ok(())
}

#[test]
fn only_the_next_one_and_only_without_an_applier() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let (pipeline, database) = begin(source, target, "wrong", [TABLES; 2])?;
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (1, 'x')"))?;
    carry(&pipeline, &[])?;
    let lines = pipeline.tail()?;
    let applied = lines[0]["gtid"].as_str().context("a gtid")?.to_owned();
    refused(&mut skip(&pipeline, &applied), 1, &["already"])?;
    let future = format!("{}:999999999", &applied[..36]);
    refused(&mut skip(&pipeline, &future), 1, &["nothing is left"])?;
    refused(&mut skip(&pipeline, "x:y"), 2, &["--gtid"])?;
    refused(
        &mut skip(&pipeline, &format!("{}:1-5", &applied[..36])),
        2,
        &["--gtid"],
    )?;
    let mut strange = pipeline.command("skip");
    strange.args([
        "--target",
        &pipeline.target,
        "--stream",
        "no such",
        "--gtid",
        &applied,
    ]);
    refused(&mut strange, 2, &["never been applied", "--stream"])?;

    // An applier that runs is not taken over.
    let running = pipeline.start("run")?;
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (2, 'x')"))?;
    pipeline.wait_for(&executed(source)?)?;
    // It may apply what is asked about meanwhile: there has to be something that it can't.
    running.signal("STOP")?;
    target.sql(&format!("INSERT INTO `{database}`.t VALUES (4, 'target')"))?;
    source.sql(&format!(
        "INSERT INTO `{database}`.t VALUES (3, 'x'); INSERT INTO `{database}`.t VALUES (4, 'x')"
    ))?;
    running.signal("CONT")?;
    let mut running = running;
    ensure!(running.wait(std::time::Duration::from_secs(60))? == Some(3));
    let gtid = to_skip(&running.said()?)?;
    let next = {
        let lines = pipeline.tail()?;
        let line = lines.iter().find(|line| line["gtid"] == gtid.as_str());
        ensure!(line.is_some_and(|line| line["after"]["id"] == 4), "{gtid}");
        gtid
    };
    // With an applier that waits in its transaction, for a lock.
    let held = Holder::start(
        target,
        &format!("SELECT * FROM `{database}`.t WHERE id = 4 FOR UPDATE"),
    )?;
    let applier = pipeline.start("apply")?;
    eventually("it has taken over", || {
        Ok(applier.said()?.contains("applying"))
    })?;
    refused(
        &mut skip(&pipeline, &next),
        2,
        &["is running", "stop it first"],
    )?;
    applier.kill()?;
    drop(held);
    refused(
        &mut skip(&pipeline, &future),
        1,
        &["the next one is", &next],
    )?;
    done(&mut skip(&pipeline, &next))?;
    refused(&mut skip(&pipeline, &next), 1, &["already"])?;
    carry(&pipeline, &[])?;
    ensure!(journal(&pipeline)?.len() == 1);
    ensure!(
        target.value(&format!(
            "SELECT GROUP_CONCAT(CONCAT(id, a) ORDER BY id) FROM `{database}`.t"
        ))? == "1x,2x,3x,4target"
    );
    Ok(())
}

/// A session that holds a lock until it is dropped.
struct Holder {
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Holder {
    fn start(server: &MySql, lock: &str) -> Result<Self> {
        use mysql_async::prelude::Queryable;
        let (opts, lock) = (server.opts(), lock.to_owned());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (told, holds) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                let Ok(mut conn) = mysql_async::Conn::new(opts).await else {
                    return;
                };
                if conn.query_drop(format!("BEGIN; {lock}")).await.is_ok() {
                    let _ = told.send(());
                    let _ = stopped.recv();
                }
                let _ = conn.disconnect().await;
            });
        });
        holds.recv().context("the lock is not held")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
