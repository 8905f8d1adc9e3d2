//! XA transactions of MariaDB: prepared here, committed there. On servers of their own, for the end of an XA transaction stops every
//! capture that began behind its XA PREPARE.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use crate::{
    binferry::{Pipeline, done, executed, output, refused},
    files::{Backup, gtids, lines},
};

/// Rows of one large transaction: several chunks.
const MANY: u32 = 100_000;

fn begin(name: &str, xid: &str, statements: &str) -> String {
    format!("USE `{name}`; XA START {xid}; {statements}; XA END {xid}; XA PREPARE {xid}")
}

fn row(id: u32) -> String {
    format!("INSERT INTO t VALUES ({id}, 'row {id}')")
}

fn lifecycle(release: Release, target: &MySql) -> Result<()> {
    let source = MySql::builder().release(release).start()?;
    let name = database([&source, target], "maria_xa")?;
    for (server, engine) in [(&source, "MyISAM"), (target, "InnoDB")] {
        server.sql(&format!(
            "USE `{name}`; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(60)) ENGINE=InnoDB;
             CREATE TABLE m (id INT PRIMARY KEY, v VARCHAR(60)) ENGINE={engine}"
        ))?;
    }
    source.sql(&begin(&name, "'before'", &row(1)))?;
    let behind = executed(&source)?;
    source.sql("XA ROLLBACK 'before'")?;
    let mut pipeline = Pipeline::new(&source, target, &name)?;
    let sum = |server: &MySql| -> Result<String> {
        let of = |table| {
            format!(
                "SELECT '{table}', COUNT(*), SUM(CRC32(CONCAT_WS('|', x.id, x.v))) FROM `{name}`.{table} x"
            )
        };
        Ok(format!(
            "{:?}",
            server.rows(&format!("{} UNION ALL {}", of("t"), of("m")))?
        ))
    };
    let shown = || {
        target.value(&format!(
            "SELECT GROUP_CONCAT(id ORDER BY id) FROM `{name}`.t WHERE id < 100"
        ))
    };

    source.sql(&begin(&name, "'a'", &row(1)))?;
    source.sql(&begin(&name, "'b', 'branch', 7", &row(2)))?;
    source.sql(&begin(
        &name,
        "'s'",
        &format!(
            "{}; SAVEPOINT s; {}; ROLLBACK TO s; {}",
            row(4),
            row(5),
            row(6)
        ),
    ))?;
    source.sql(&format!("USE `{name}`; {}", row(3)))?;
    for (xid, id, end) in [
        ("one", 7, "XA COMMIT 'one' ONE PHASE"),
        ("gone", 8, "XA ROLLBACK 'gone'"),
    ] {
        source.sql(&format!(
            "USE `{name}`; XA START '{xid}'; {}; XA END '{xid}'; {end}",
            row(id)
        ))?;
    }
    // Without changes, nothing of it is in the binlog.
    let empty = begin(&name, "'empty'", "SELECT 1");
    source.sql(&format!("{empty}; XA COMMIT 'empty'"))?;
    // The table that is not transactional is not undone, here and there.
    source.sql(&begin(
        &name,
        "'mixed'",
        &format!("INSERT INTO m VALUES (1, 'stays'); {}", row(9)),
    ))?;
    source.sql("XA ROLLBACK 'mixed'")?;
    pipeline.catch_up()?;
    ensure!(shown()? == "3,7", "{}", shown()?);

    // In another order; the same xid again; compressed; and all of it over restarts and a killed capture.
    source.sql("XA COMMIT 's'")?;
    source.sql("XA ROLLBACK 'b', 'branch', 7")?;
    source.sql("XA COMMIT 'a'")?;
    source.sql(&begin(
        &name,
        "'a'",
        "UPDATE t SET v = 'again' WHERE id = 1",
    ))?;
    let capture = pipeline.start("capture")?;
    source.sql("XA COMMIT 'a'")?;
    source.sql("SET GLOBAL log_bin_compress = 1, GLOBAL log_bin_compress_min_len = 10")?;
    source.sql(&begin(
        &name,
        "'large'",
        &format!("INSERT INTO t SELECT 1000 + seq, REPEAT('x', 40) FROM seq_1_to_{MANY}"),
    ))?;
    source.sql(&begin(&name, "'rest'", &row(10)))?;
    capture.kill()?;
    pipeline.catch_up()?;
    ensure!(shown()? == "1,3,4,6,7", "{}", shown()?);
    source.restart()?;
    let mut late = Pipeline::new(&source, target, &name)?;
    late.stream = format!("{name}_late");
    late.from = "now".into();
    refused(
        &mut late.command("capture"),
        2,
        &["XA transactions", "'rest'"],
    )?;
    let running = pipeline.start("run")?;
    source.sql("FLUSH BINARY LOGS")?;
    source.sql("XA COMMIT 'rest'")?;
    source.sql("XA COMMIT 'large'")?;
    pipeline.from = executed(&source)?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &pipeline.from, "--timeout", "90s"]),
    )?;
    ensure!(
        sum(&source)? == sum(target)?,
        "{} and {}",
        sum(&source)?,
        sum(target)?
    );
    ensure!(shown()? == "1,3,4,6,7,10", "{}", shown()?);
    running.stop()?;

    // From files the same, and a check reads them through.
    let backup = Backup::all(&source)?;
    let check = output(crate::binferry::program("check").args(["--source", &backup.source()]))?;
    let said = String::from_utf8(check.stdout)?;
    ensure!(check.status.code() == Some(0), "{said}");
    done(
        backup
            .capture(&backup.source())
            .args(["--tables", &pipeline.tables]),
    )?;
    ensure!(lines(&backup.log())? == lines(&pipeline.log())?);
    ensure!(gtids(&backup.log())? == gtids(&pipeline.log())?);

    // Prepared before the log begins: rolled back it is nothing, committed it is refused.
    late.from = behind;
    done(late.command("capture").args(["--until", "now"]))?;
    source.sql(&begin(&name, "'early'", &row(11)))?;
    let mut later = Pipeline::new(&source, target, &name)?;
    later.stream = format!("{name}_later");
    source.sql("XA COMMIT 'early'")?;
    refused(
        later.command("capture").args(["--until", "now"]),
        3,
        &["XA transaction X'6561726c79',X'',1", "prepared before"],
    )?;
    done(late.command("capture").args(["--until", "now"]))?;
    pipeline.catch_up()?;
    ensure!(sum(&source)? == sum(target)?);
    Ok(())
}

#[test]
fn of_the_older_line_to_mysql() -> Result<()> {
    lifecycle(Release::MariaDb10_11, &pair()?.target)
}

#[test]
fn of_the_newer_line_to_mariadb() -> Result<()> {
    lifecycle(Release::MariaDb11_8, mariadb(Release::MariaDb10_11)?)
}
