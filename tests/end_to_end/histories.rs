//! GTIDs that have started over: another history under the same names is refused before any of it is in the log, at the first start and
//! at every other one.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, pair};

use crate::{
    binferry::{Pipeline, done, refused},
    files::{self, Backup},
};

const STRANGER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// A server with the table `h.t`, and a pipeline whose log begins at the server's next reset.
fn prepared(source: &MySql) -> Result<Pipeline> {
    source.sql("CREATE DATABASE h; CREATE TABLE h.t (id INT AUTO_INCREMENT PRIMARY KEY)")?;
    let mut pipeline = Pipeline::new(source, &pair()?.target, "h")?;
    pipeline.from.clear();
    Ok(pipeline)
}

/// A history from its beginning: so many transactions of the server's own, and last, when asked for, the same one that is not.
fn history(source: &MySql, own: usize, other: Option<&str>) -> Result<()> {
    let reset = match source.release().is_mariadb() {
        true => "RESET MASTER",
        false => "RESET BINARY LOGS AND GTIDS",
    };
    let own = "INSERT INTO h.t () VALUES ();".repeat(own);
    source.sql(&format!("{reset}; {own} {}", other.unwrap_or("DO 1")))?;
    Ok(())
}

/// What the log holds does not change, however often it is tried.
fn refused_always(pipeline: &Pipeline) -> Result<()> {
    let (held, bounds) = (files::gtids(&pipeline.log())?, pipeline.tail()?.len());
    for _ in 0..2 {
        refused(
            pipeline.command("capture").args(["--until", "now"]),
            3,
            &["started over"],
        )?;
        ensure!(files::gtids(&pipeline.log())? == held);
        ensure!(pipeline.tail()?.len() == bounds);
    }
    Ok(())
}

#[test]
fn a_log_does_not_take_the_new_history_piece_by_piece() -> Result<()> {
    let source = MySql::start()?;
    let mut pipeline = prepared(&source)?;
    let last = format!(
        "SET gtid_next = '{STRANGER}:1'; INSERT INTO h.t () VALUES (); SET gtid_next = 'AUTOMATIC'"
    );
    history(&source, 4, Some(&last))?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    let first = current(&source)?;

    // The newest transaction comes last again, behind others that the log lacks.
    history(&source, 7, Some(&last))?;
    refused_always(&pipeline)?;
    let second = current(&source)?;

    // As files; and as files that the log seems to be ahead of.
    pipeline.source = second.source();
    refused_always(&pipeline)?;
    history(&source, 3, None)?;
    let third = current(&source)?;
    pipeline.source = third.source();
    refused_always(&pipeline)?;
    refused(
        pipeline.command("check").arg("--log").arg(pipeline.log()),
        1,
        &["the history of log and files", "started over"],
    )?;

    // A log that is ahead of its own files goes on.
    pipeline.source = first.source();
    done(&mut pipeline.command("capture"))?;
    done(pipeline.command("check").arg("--log").arg(pipeline.log()))?;
    Ok(())
}

/// Copies of all binlogs.
fn current(source: &MySql) -> Result<Backup> {
    source.sql("FLUSH BINARY LOGS")?;
    let names: Vec<String> = source
        .rows("SHOW BINARY LOGS")?
        .into_iter()
        .filter_map(|row| row.into_iter().next()?)
        .collect();
    Backup::copy(source, &names)
}

#[test]
fn nor_do_the_domains_of_mariadb_come_one_by_one() -> Result<()> {
    let source = MySql::builder().release(Release::MariaDb11_8).start()?;
    let pipeline = prepared(&source)?;
    let last = "SET SESSION gtid_domain_id = 1; INSERT INTO h.t () VALUES ()";
    history(&source, 4, Some(last))?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    // Commits have whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    history(&source, 7, Some(last))?;
    refused_always(&pipeline)
}
