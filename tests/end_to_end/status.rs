//! What `status` shows, to people and to programs.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use binferry_servers::pair;
use serde_json::Value;

use crate::{
    binferry::{Pipeline, Running, done, eventually, output, program, refused, said},
    load::prepare,
};

const ESCAPE: char = '\u{1b}';

#[test]
fn a_log_that_is_not_there_is_named_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nowhere = folder.path().join("nowhere");
    let path = nowhere.to_str().context("path")?;
    for more in [&[][..], &["--json"], &["--watch"]] {
        let says = ["there is no log at", path, "binferry capture", "--log"];
        refused(program("status").args(["--log", path]).args(more), 2, &says)?;
    }
    refused(
        program("status").args(["--log", path, "--watch=0"]),
        2,
        &["--watch", "1..=3600"],
    )?;
    ensure!(!nowhere.exists());
    Ok(())
}

/// Of a stage that watches; it is ended with Ctrl-C.
struct Watched {
    running: Running,
    shown: std::path::PathBuf,
}

impl Watched {
    fn start(pipeline: &Pipeline, more: &[&str]) -> Result<Self> {
        let mut command = pipeline.command("status");
        command.args(["--target", &pipeline.target, "--watch=1"]);
        command.args(more);
        let running = pipeline.start_command(command, "status")?;
        let shown = pipeline.folder.path().join("status.out");
        Ok(Self { running, shown })
    }

    fn interrupt(mut self) -> Result<()> {
        self.running.signal("INT")?;
        let code = self.running.wait(std::time::Duration::from_secs(60))?;
        ensure!(code == Some(0), "exit {code:?}: {}", self.running.said()?);
        Ok(())
    }
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = said(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

#[test]
fn the_page_is_plain_in_a_file_and_watching_ends_with_ctrl_c() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("page")?;
    prepare(&pair.source, &pair.target, &database)?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let insert = |id: u32| {
        pair.source
            .sql(&format!("INSERT INTO `{database}`.item (id) VALUES ({id})"))
    };
    insert(1)?;
    pipeline.catch_up()?;

    let status = || {
        let mut status = pipeline.command("status");
        status
            .args(["--target", &pipeline.target])
            .env_remove("CLICOLOR_FORCE");
        status
    };
    let printed = String::from_utf8(output(&mut status())?.stdout)?;
    let log = pipeline.log();
    let stream = format!("stream {database}");
    for part in [
        log.to_str().context("path")?,
        "capture  site",
        &stream,
        "behind   nothing",
    ] {
        ensure!(printed.contains(part), "{part:?} is not in {printed}");
    }
    ensure!(!printed.contains(ESCAPE), "{printed}");
    let coloured = output(status().env("CLICOLOR_FORCE", "1"))?;
    ensure!(String::from_utf8(coloured.stdout)?.contains(ESCAPE));
    let asked = output(status().args(["--json", "--source", &pipeline.source]))?;
    let asked: Value = serde_json::from_slice(&asked.stdout)?;
    ensure!(asked["source"]["behind_transactions"].is_u64(), "{asked}");
    ensure!(asked["problems"] == Value::Array(vec![]), "{asked}");

    let watched = Watched::start(&pipeline, &[])?;
    eventually("a second page", || {
        Ok(said(&watched.shown)?.matches("log      ").count() > 1)
    })?;
    ensure!(!said(&watched.shown)?.contains(ESCAPE));
    watched.interrupt()?;
    std::fs::remove_file(pipeline.folder.path().join("status.out"))?;

    let watched = Watched::start(&pipeline, &["--json"])?;
    eventually("a first line", || Ok(!lines(&watched.shown)?.is_empty()))?;
    insert(2)?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    eventually("what has come is told as a rate", || {
        let lines = lines(&watched.shown)?;
        let rate = |line: &Value| line["log"]["records_per_second"].as_f64();
        Ok(rate(&lines[0]).is_none() && lines.iter().any(|line| rate(line) > Some(0.0)))
    })?;
    eventually("what is behind is told", || {
        let lines = lines(&watched.shown)?;
        let last = lines.last().context("no line")?;
        Ok(last["target"]["behind_transactions"].as_u64() > Some(0))
    })?;
    watched.interrupt()?;

    // What the log says is shown beside it.
    pipeline.target = "mysql://nobody@127.0.0.1:1/".to_owned();
    let mut away = pipeline.command("status");
    away.args(["--target", &pipeline.target]);
    refused(&mut away, 4, &["newest", "problem  target: "])?;
    Ok(())
}

/// What a stage ended with is found beside the log, until it runs again.
#[test]
fn the_last_error_of_a_stage() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("last_error")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "CREATE TABLE `{database}`.t (id INT PRIMARY KEY, v INT)"
        ))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.catch_up()?;
    pair.target
        .sql(&format!("INSERT INTO `{database}`.t VALUES (1, 7)"))?;
    pair.source
        .sql(&format!("INSERT INTO `{database}`.t VALUES (1, 1)"))?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["conflict row_exists"],
    )?;
    let status = |json: bool| {
        let mut status = pipeline.command("status");
        if json {
            status.arg("--json");
        }
        let output = output(&mut status)?;
        ensure!(output.status.success());
        Ok(String::from_utf8(output.stdout)?)
    };
    let problems: Value = serde_json::from_str(status(true)?.trim())?;
    let problem = &problems["problems"][0];
    ensure!(
        problem["stage"] == "apply"
            && problem["name"] == pipeline.stream.as_str()
            && problem["problem"]
                .as_str()
                .is_some_and(|text| text.contains("conflict row_exists"))
            && problem["remedy"]
                .as_str()
                .is_some_and(|text| text.contains("--on-conflict"))
            && problem["at_us"].as_u64().is_some(),
        "{problems:#}"
    );
    let page = status(false)?;
    ensure!(
        page.contains("conflict row_exists") && page.contains(" ago: "),
        "{page}"
    );
    // It is mended, and runs again.
    pair.target.sql(&format!("DELETE FROM `{database}`.t"))?;
    pipeline.catch_up()?;
    let page = status(false)?;
    ensure!(!page.contains("conflict row_exists"), "{page}");
    Ok(())
}

/// A second capture is refused because the first one runs: that is no trouble of the stage's for long.
#[test]
fn who_is_refused_leaves_no_lasting_trouble() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("refused_twice")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("CREATE TABLE `{database}`.t (id INT PRIMARY KEY)"))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("capture")?;
    eventually("the capture is there", || {
        Ok(running.said()?.contains("capturing"))
    })?;
    let second = output(&mut pipeline.command("capture"))?;
    ensure!(!second.status.success());
    let page = || {
        let output = output(&mut pipeline.command("status"))?;
        Ok::<_, anyhow::Error>(String::from_utf8(output.stdout)?)
    };
    eventually("the running capture has taken it back", || {
        Ok(!page()?.contains("problem"))
    })?;
    running.stop()
}
