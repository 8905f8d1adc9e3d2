//! Every GTID is accounted for: what the source says that it executed is in the log, or the capture stops and shows what is not.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Pair, Proxy, pair};

use crate::{
    binferry::{Pipeline, SOURCE_USER, eventually, executed, output, refused},
    faults::proved,
    load::{Load, prepare},
};

const STRANGER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

#[test]
fn at_each_rotation_and_at_the_end() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("accounts")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("run")?;
    let load = Load::start(&pair.source, &database, 31);
    for _ in 0..6 {
        load.wait_for(20)?;
        pair.source.sql("FLUSH BINARY LOGS")?;
    }
    pair.source.sql(&format!(
        "SET gtid_next = '{STRANGER}:7'; BEGIN; COMMIT; SET gtid_next = 'AUTOMATIC'"
    ))?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    // The stop asks the source once more.
    running.stop()?;

    // Set by hand, they will never be sent. The server leaves them out of what its files state, so the end is where it shows.
    let mut running = pipeline.start("capture")?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.item (id, code) VALUES (1000000, 1000000)"
    ))?;
    crate::binferry::eventually("it goes on", || {
        let status = output(pipeline.command("status").arg("--json"))?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let held: binferry_schemas::gtid::GtidSet = status["log"]["gtids"]
            .as_str()
            .unwrap_or_default()
            .parse()?;
        Ok(held.contains_set(&executed(&pair.source)?.parse()?))
    })?;
    pair.source.sql(&format!(
        "SET GLOBAL gtid_purged = '+{STRANGER}:1-3'; FLUSH BINARY LOGS"
    ))?;
    running.signal("TERM")?;
    let code = running.wait(std::time::Duration::from_secs(60))?;
    let said = running.said()?;
    ensure!(code == Some(3), "exit {code:?}: {said}");
    ensure!(said.contains(&format!("{STRANGER}:1-3")), "{said}");
    ensure!(said.contains("transactions are lost"), "{said}");
    refused(
        &mut pipeline.command("capture"),
        3,
        &[&format!("{STRANGER}:1-3")],
    )?;
    Ok(())
}

/// The position is where the payload's event ends while most of it has not been read: that is no end at which anything could be lost.
#[test]
fn a_stop_inside_a_large_payload() -> Result<()> {
    let source = MySql::start()?;
    source.sql("CREATE DATABASE h; CREATE TABLE h.wide (id INT PRIMARY KEY, v BLOB)")?;
    let mut pipeline = Pipeline::new(&source, &pair()?.target, "h")?;
    let proxy = Proxy::to(&source)?;
    pipeline.source = proxy.url(SOURCE_USER);
    let mut running = pipeline.start("capture")?;
    eventually("it follows", || Ok(running.said()?.contains("capturing")))?;

    // A few MiB at a time, so that it can be stopped in the middle.
    proxy.delay(Duration::ZERO, Duration::from_millis(500));
    source.sql(
        "SET SESSION cte_max_recursion_depth = 100000, binlog_transaction_compression = ON;
         INSERT INTO h.wide WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 30000)
         SELECT n, RANDOM_BYTES(1024) FROM s",
    )?;
    eventually("a part is in the log", || {
        Ok(bytes(&pipeline.log())? > 2 << 20)
    })?;
    proxy.stall(true);
    running.signal("TERM")?;
    // It is asked for nothing but to end, and then it asks the source.
    std::thread::sleep(Duration::from_millis(500));
    proxy.delay(Duration::ZERO, Duration::ZERO);
    proxy.stall(false);
    let code = running.wait(Duration::from_secs(60))?;
    let said = running.said()?;
    ensure!(code == Some(0), "exit {code:?}: {said}");
    ensure!(!said.contains("does not answer at the end"), "{said}");
    ensure!(!pipeline.tail()?.iter().any(|line| line["gtid"].is_string()));
    Ok(())
}

fn bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => bytes(&entry.path())?,
            false => entry.metadata().map_or(0, |data| data.len()),
        };
    }
    Ok(sum)
}

/// A source that waits for an acknowledgement has sent what it has not committed: no reason to refuse the log, and none to go on as if
/// it were committed.
#[test]
fn a_semi_synchronous_source_that_waits() -> Result<()> {
    let source = MySql::start()?;
    source.sql(
        "CREATE DATABASE h; CREATE TABLE h.t (id INT PRIMARY KEY);
         INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
    )?;
    let pipeline = Pipeline::new(&source, &pair()?.target, "h")?;
    let mut running = pipeline.start("capture")?;
    source.sql("INSERT INTO h.t VALUES (1)")?;
    eventually("it follows", || Ok(running.said()?.contains("capturing")))?;
    source.sql(
        "SET GLOBAL rpl_semi_sync_source_timeout = 3600000, GLOBAL rpl_semi_sync_source_enabled = ON",
    )?;
    let committed = executed(&source)?;
    let off = "SET GLOBAL rpl_semi_sync_source_enabled = OFF";
    std::thread::scope(|scope| {
        let insert = scope.spawn(|| source.sql("INSERT INTO h.t VALUES (2)"));
        let checked = (|| {
            eventually("it waits, and the log has it", || {
                let output = output(pipeline.command("status").arg("--json"))?;
                let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
                let held = status["log"]["gtids"].as_str().unwrap_or_default();
                let held: binferry_schemas::gtid::GtidSet = held.parse()?;
                Ok(!held.subtract(&committed.parse()?).is_empty())
            })?;
            ensure!(executed(&source)? == committed);
            running.signal("TERM")?;
            let code = running.wait(Duration::from_secs(60))?;
            let said = running.said()?;
            ensure!(code == Some(0), "exit {code:?}: {said}");
            ensure!(said.contains("acknowledges"), "{said}");

            refused(
                pipeline.command("capture").args(["--retry-for", "1s"]),
                4,
                &["has not committed", "rpl_semi_sync_source_enabled"],
            )?;
            let again = pipeline.start_command(pipeline.command("capture"), "again")?;
            eventually("it tries again", || {
                Ok(again.said()?.contains("trying again"))
            })?;
            ensure!(!again.said()?.contains("capturing"));
            Ok(again)
        })();
        // Whatever has failed, or the thread would never end.
        let released = source.sql(off);
        let again = checked?;
        released?;
        insert.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        eventually("it goes on", || Ok(again.said()?.contains("capturing")))?;
        again.stop()
    })
}
