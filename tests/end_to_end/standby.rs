//! Standbys: read-only targets, native replicas below them, and a native replica that takes over from Binferry and back.

use std::time::Duration;

use anyhow::{Result, ensure};
use binferry_load::{LEDGER, hard};
use binferry_servers::{MySql, Pair, Release, database, mariadb, pair};

use crate::{
    binferry::{PASSWORD, Pipeline, Running, TARGET_USER, done, executed, output, refused},
    faults, judge,
    load::{Load, prepare},
};

/// The grants of docs/standby.md beyond those of the quickstart.
fn grant(target: &MySql) -> Result<()> {
    let privileges = match target.release().is_mariadb() {
        true => "READ ONLY ADMIN",
        false => "CONNECTION_ADMIN, REPLICATION_APPLIER, TRANSACTION_GTID_TAG",
    };
    target.sql(&format!("GRANT {privileges} ON *.* TO {TARGET_USER}@'%'"))?;
    Ok(())
}

/// A standby of its own with what a copy of the source would have brought: the tables, and the source's GTIDs as purged.
fn standby(purpose: &str, servers: &[&MySql]) -> Result<(String, Pipeline)> {
    let (source, target) = (servers[0], servers[1]);
    let database = database(servers.iter().copied(), purpose)?;
    prepare(source, target, &database)?;
    let pipeline = Pipeline::new(source, target, &database)?;
    grant(target)?;
    for replica in &servers[2..] {
        replica.sql(&format!(
            "USE `{database}`; {LEDGER}; {}",
            hard::tables(true)
        ))?;
    }
    let copied = executed(source)?;
    for server in &servers[1..] {
        server.sql(&format!(
            "RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '{copied}'; SET GLOBAL read_only = ON"
        ))?;
    }
    Ok((database, pipeline))
}

fn start(pipeline: &Pipeline) -> Result<Running> {
    let mut command = pipeline.command("run");
    command.args(["--gtid", "preserve"]);
    pipeline.start_command(command, "run")
}

/// Makes a server a native replica of another.
fn follow(replica: &MySql, source: &MySql) -> Result<()> {
    replica.sql(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}, SOURCE_USER = '{}', SOURCE_PASSWORD = '{}',
           SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1, GET_SOURCE_PUBLIC_KEY = 1;
         START REPLICA",
        source.host(),
        source.port(),
        source.admin_user(),
        source.admin_password()
    ))?;
    Ok(())
}

/// It has the set; when it does not get it, the error says why it stopped.
fn caught_up(replica: &MySql, set: &str) -> Result<()> {
    let waited = replica.value(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 60)"))?;
    let errors = replica.sql(
        "SELECT last_error_message FROM performance_schema.replication_applier_status_by_worker WHERE last_error_number > 0",
    )?;
    ensure!(waited == "0", "the replica does not get {set}: {errors}");
    Ok(())
}

/// Of what the source has named, the target has all, and nothing else.
fn same_names(source: &MySql, target: &MySql) -> Result<()> {
    let (ours, theirs) = (executed(source)?, executed(target)?);
    let uuid = source.value("SELECT @@server_uuid")?;
    let missing = target.value(&format!("SELECT GTID_SUBTRACT('{ours}', '{theirs}')"))?;
    let extra = target.value(&format!("SELECT GTID_SUBTRACT('{theirs}', '{ours}')"))?;
    ensure!(missing.is_empty(), "the target lacks {missing}");
    ensure!(!extra.contains(&uuid), "only the target has {extra}");
    Ok(())
}

#[test]
fn a_native_replica_hangs_below_the_target() -> Result<()> {
    let Pair { source, target } = &Pair::start()?;
    let below = &MySql::start()?;
    let (database, pipeline) = standby("below", &[source, target, below])?;
    follow(below, target)?;
    let running = start(&pipeline)?;
    let load = Load::start(source, &database, 71);
    load.wait_for(100)?;
    // A tag; nothing that is captured; a table that is changed by hand first; more than a record.
    source.sql(&format!(
        "USE `{database}`; SET gtid_next = 'AUTOMATIC:blue_1'; INSERT INTO ledger (what) VALUES ('tagged'); SET gtid_next = 'AUTOMATIC';
         CREATE DATABASE `{database}_other`; CREATE TABLE `{database}_other`.t (id INT PRIMARY KEY); INSERT INTO `{database}_other`.t VALUES (1)"
    ))?;
    target.sql(&format!("ALTER TABLE `{database}`.nokey ADD COLUMN c TEXT"))?;
    source.sql(&format!(
        "USE `{database}`; ALTER TABLE nokey ADD COLUMN c TEXT; SET SESSION cte_max_recursion_depth = 20000;
         INSERT INTO nokey WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) SELECT n, 'many', REPEAT('x', 150) FROM s"
    ))?;
    load.wait_for(100)?;
    load.stop()?;
    faults::proved(&pipeline, source, target, &database)?;
    running.stop()?;
    same_names(source, target)?;
    caught_up(below, &executed(target)?)?;
    judge::equal(source, below, &database)?;
    ensure!(
        executed(below)? == executed(target)?,
        "{}",
        executed(below)?
    );
    Ok(())
}

/// To and fro under load, with kills on our side.
#[test]
fn a_native_replica_takes_over_and_back() -> Result<()> {
    let Pair { source, target } = &Pair::start()?;
    let (database, pipeline) = standby("over", &[source, target])?;
    let load = Load::start(source, &database, 72);
    let mut running = start(&pipeline)?;
    load.wait_for(50)?;
    for round in 0..2 {
        for n in 0..3u64 {
            std::thread::sleep(Duration::from_millis(200 + 150 * n));
            running.kill()?;
            running = start(&pipeline)?;
        }
        load.wait_for(50)?;
        if round == 0 {
            running.stop()?;
        } else {
            running.kill()?;
        }
        let before = executed(source)?;
        match round {
            0 => follow(target, source)?,
            _ => drop(target.sql("START REPLICA")?),
        }
        load.wait_for(100)?;
        caught_up(target, &before)?;
        target.sql("STOP REPLICA")?;
        running = start(&pipeline)?;
        load.wait_for(50)?;
    }
    load.stop()?;
    faults::proved(&pipeline, source, target, &database)?;
    same_names(source, target)?;
    // What came by the other way is counted as ours.
    let status = output(
        pipeline
            .command("status")
            .args(["--target", &pipeline.target, "--json"]),
    )?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!(status["target"]["behind_transactions"] == 0, "{status}");
    running.stop()
}

/// The server would pass over what another applies at the same moment, and the progress with it.
#[test]
fn both_at_once_lose_nothing() -> Result<()> {
    let Pair { source, target } = &Pair::start()?;
    let (database, pipeline) = standby("both", &[source, target])?;
    let load = Load::start(source, &database, 73);
    let running = start(&pipeline)?;
    load.wait_for(30)?;
    follow(target, source)?;
    load.wait_for(100)?;
    load.stop()?;
    caught_up(target, &executed(source)?)?;
    target.sql("STOP REPLICA")?;
    faults::proved(&pipeline, source, target, &database)?;
    same_names(source, target)?;
    running.stop()
}

#[test]
fn what_preserving_needs_is_told() -> Result<()> {
    let source = &pair()?.source;
    let target = MySql::builder().arg("--gtid-mode=ON_PERMISSIVE").start()?;
    let name = database([source, &target], "needs")?;
    prepare(source, &target, &name)?;
    let pipeline = Pipeline::new(source, &target, &name)?;
    let preserving = |pipeline: &Pipeline, command: &str| {
        let mut command = pipeline.command(command);
        command.args(["--gtid", "preserve"]);
        command
    };
    for (mend, says) in [
        ("SET GLOBAL gtid_mode = ON".to_owned(), "gtid_mode"),
        (
            format!("GRANT REPLICATION_APPLIER ON *.* TO {TARGET_USER}@'%'"),
            "REPLICATION_APPLIER",
        ),
    ] {
        refused(&mut preserving(&pipeline, "run"), 2, &[says])?;
        refused(&mut preserving(&pipeline, "check"), 1, &[says])?;
        target.sql(&mend)?;
    }
    done(&mut preserving(&pipeline, "check"))?;
    refused(
        pipeline.command("run").args(["--gtid", "uuid:1"]),
        2,
        &["preserve"],
    )?;
    // MariaDB, on either side.
    let maria = mariadb(Release::MariaDb11_8)?;
    let name = database([source, maria, &target], "needs_mysql")?;
    for (from, to) in [(source, maria), (maria, &target)] {
        for server in [from, to] {
            server.sql(&format!(
                "CREATE TABLE IF NOT EXISTS `{name}`.t (id INT AUTO_INCREMENT PRIMARY KEY)"
            ))?;
        }
        let pipeline = Pipeline::new(from, to, &name)?;
        from.sql(&format!("INSERT INTO `{name}`.t VALUES ()"))?;
        let mut command = preserving(&pipeline, "run");
        refused(
            command.args(["--until", "now"]),
            2,
            &["MariaDB", "--gtid preserve"],
        )?;
    }
    Ok(())
}

/// A user with the documented grants, and no more, applies to a server that is closed to all others.
fn read_only(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "closed")?;
    prepare(source, target, &database)?;
    let pipeline = Pipeline::new(source, target, &database)?;
    target.sql("SET GLOBAL read_only = ON")?;
    let load = Load::start(source, &database, 74);
    let privilege = match target.release().is_mariadb() {
        true => "READ ONLY ADMIN",
        false => "CONNECTION_ADMIN",
    };
    load.wait_for(20)?;
    // Before there is the privilege: told by both, and the applier waits for nothing.
    let check = output(&mut pipeline.command("check"))?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(said.contains(privilege), "{said}");
    refused(&mut pipeline.command("run"), 2, &["read_only", privilege])?;
    grant(target)?;
    let check = output(&mut pipeline.command("check"))?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(
        check.status.success() && !said.contains("read_only"),
        "{said}"
    );
    let running = pipeline.start("run")?;
    load.wait_for(50)?;
    load.stop()?;
    faults::proved(&pipeline, source, target, &database)?;
    running.stop()?;
    Ok(())
}

#[test]
fn read_only_mysql() -> Result<()> {
    read_only(&pair()?.source, &MySql::start()?)
}

#[test]
fn read_only_mariadb() -> Result<()> {
    let target = MySql::builder().release(Release::MariaDb11_8).start()?;
    read_only(&pair()?.source, &target)
}

#[test]
fn triggers_and_events_of_the_target_are_told() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("active")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, n INT); CREATE TABLE seen (id INT AUTO_INCREMENT PRIMARY KEY)"
        ))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let sql = |server: &MySql, text: &str| server.sql(&format!("USE `{database}`; {text}"));
    done(pipeline.command("run").args(["--until", "now"]))?;
    sql(
        &pair.target,
        "CREATE TRIGGER audit AFTER INSERT ON t FOR EACH ROW INSERT INTO seen VALUES (); CREATE EVENT busy ON SCHEDULE EVERY 1 DAY
         STARTS '2090-01-01' DO DELETE FROM t",
    )?;
    let admin = pair.target.url(pair.target.admin_user());
    let said = output(
        crate::binferry::program("check")
            .env("BINFERRY_TARGET_PASSWORD", pair.target.admin_password())
            .args(["--target", &admin]),
    )?;
    let said = String::from_utf8(said.stdout)?;
    ensure!(said.contains(&format!("{database}.busy")), "{said}");
    refused(
        &mut pipeline.command("check"),
        1,
        &["audit", "--allow-triggers", "event_scheduler"],
    )?;
    // Before the first row, and before anything is taken over.
    refused(
        &mut pipeline.command("run"),
        3,
        &["audit", "--allow-triggers"],
    )?;
    let allowed = |command: &str| {
        let mut command = pipeline.command(command);
        command.args(["--allow-triggers", &format!("{database}.t")]);
        command
    };
    done(&mut allowed("check"))?;
    sql(&pair.source, "INSERT INTO t VALUES (1, 1)")?;
    done(allowed("run").args(["--until", "now"]))?;
    let seen = pair
        .target
        .value(&format!("SELECT COUNT(*) FROM `{database}`.seen"))?;
    ensure!(seen == "1", "{seen}");
    // Without the privilege nothing can be seen.
    let quoted = PASSWORD.replace('\'', "''");
    pair.target.sql(&format!(
        "CREATE USER blind_{database}@'%' IDENTIFIED BY '{quoted}'; GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.* TO blind_{database}@'%'"
    ))?;
    let blind = pair.target.url(&format!("blind_{database}"));
    let said = output(crate::binferry::program("check").args(["--target", &blind]))?;
    let said = String::from_utf8(said.stdout)?;
    ensure!(said.contains("GRANT TRIGGER"), "{said}");
    sql(&pair.target, "DROP TRIGGER audit; DROP EVENT busy")?;
    Ok(())
}
