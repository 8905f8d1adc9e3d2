//! What is interrupted: the applier between each two steps of a schema change, its connection, and the server's answer. Each statement
//! would fail, or show, if it were run twice or not at all.

use std::time::Duration;

use anyhow::{Context, Result};
use binferry_servers::{Catch, MySql, Proxy, Release, mariadb, pair};

use super::{NAMING_USER, Scene, Way};
use crate::binferry::{Running, TARGET_USER, done, eventually, executed};

/// Begins the claim, names the statement, is the statement, ends it.
const CLAIM: &str = "REPLACE INTO binferry.ddl";
const NAME: &str = "SET gtid_next='";
const STATEMENT: &str = "/* binferry ";
const DONE: &str = "UPDATE binferry.ddl SET updated";

/// Statements for each interruption; `#` is its number.
const SCRIPTS: [&str; 4] = [
    "INSERT INTO t (id) VALUES (#); ALTER TABLE t ADD c# INT NOT NULL DEFAULT #; INSERT INTO t (id, c#) VALUES (1000 + #, 5)",
    "CREATE TABLE n# (id INT PRIMARY KEY) COMMENT='#'; INSERT INTO n# VALUES (#); RENAME TABLE n# TO m#; INSERT INTO m# VALUES (2000)",
    "INSERT INTO u VALUES (#); TRUNCATE u; INSERT INTO u VALUES (# + 1); DROP TABLE IF EXISTS gone, away; CREATE TABLE away (id INT PRIMARY KEY)",
    "CREATE TABLE made# (id INT PRIMARY KEY) AS SELECT id FROM t; DELETE FROM made# WHERE id > 1000; CREATE INDEX i# ON t (id, c1)",
];

/// Applies over another address than the pipeline's own.
fn start_through(scene: &mut Scene<'_>, target: &str) -> Result<Running> {
    let own = std::mem::replace(&mut scene.pipeline.target, target.to_owned());
    let running = scene.pipeline.start("run");
    scene.pipeline.target = own;
    running
}

fn killed_between_steps(source: &MySql, target: &MySql, way: Way) -> Result<()> {
    let purpose = format!("killed_{way:?}").to_lowercase();
    let mut scene = Scene::on(source, target, &purpose, way)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY, c1 INT); CREATE TABLE u (id INT PRIMARY KEY); INSERT INTO u VALUES (0)")?;
    scene.equal()?;
    let proxy = Proxy::to(target)?;
    let user = match way {
        Way::Gtids => NAMING_USER,
        Way::Definitions => TARGET_USER,
    };
    let through = proxy.url(user) + "/?tls=disabled";
    let mut moments = vec![
        (CLAIM, Catch::HoldRequest),
        (CLAIM, Catch::HoldAnswer),
        (STATEMENT, Catch::HoldRequest),
        (STATEMENT, Catch::HoldAnswer),
        (DONE, Catch::HoldRequest),
        (DONE, Catch::HoldAnswer),
        (CLAIM, Catch::LoseAnswer),
        (STATEMENT, Catch::LoseAnswer),
        (DONE, Catch::LoseAnswer),
    ];
    if way == Way::Gtids {
        moments.push((NAME, Catch::HoldRequest));
        moments.push((NAME, Catch::HoldAnswer));
    }
    let mut number = 10;
    for round in 0..2 {
        for (text, catch) in moments.clone() {
            number += 1;
            let script = SCRIPTS[(number + round) % SCRIPTS.len()];
            scene.source(&script.replace('#', &number.to_string()))?;
            proxy.catch_next(text, catch);
            let before = proxy.caught();
            let running = start_through(&mut scene, &through)?;
            let moment = format!("{text}, {catch:?}, after {script}");
            eventually("it is caught", || Ok(proxy.caught() > before)).context(moment.clone())?;
            if catch == Catch::LoseAnswer {
                let waited = scene.pipeline.wait_for(&executed(source)?);
                waited.context(moment.clone())?;
                running.stop()?;
            } else {
                running.kill()?;
            }
            scene.equal().context(moment)?;
        }
    }
    Ok(())
}

#[test]
fn killed_between_steps_under_gtids() -> Result<()> {
    let pair = pair()?;
    killed_between_steps(&pair.source, &pair.target, Way::Gtids)
}

#[test]
fn killed_between_steps_by_definitions() -> Result<()> {
    let pair = pair()?;
    killed_between_steps(&pair.source, &pair.target, Way::Definitions)
}

#[test]
fn killed_between_steps_on_mariadb() -> Result<()> {
    let (source, target) = (
        mariadb(Release::MariaDb10_11)?,
        mariadb(Release::MariaDb11_8)?,
    );
    killed_between_steps(source, target, Way::Definitions)
}

/// An ALTER that is under way on the target when its applier dies: the next one waits for it, or ends it.
fn killed_while_it_runs(way: Way) -> Result<()> {
    let purpose = format!("running_{way:?}").to_lowercase();
    let scene = Scene::new(&purpose, way)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)")?;
    scene.equal()?;
    let database = &scene.database;
    for n in 0..3 {
        scene.source(&format!("ALTER TABLE t ADD c{n} INT DEFAULT {n}, ALGORITHM=COPY; INSERT INTO t (id) VALUES (10 + {n})"))?;
        std::thread::scope(|scope| -> Result<()> {
            // Someone reads the table: the ALTER waits for its lock.
            let reader = scope.spawn(|| {
                (scene.target).sql(&format!("SELECT SLEEP(5) FROM `{database}`.t LIMIT 1"))
            });
            eventually("it is read", || is_running(scene.target, "SELECT SLEEP(5)"))?;
            let running = scene.pipeline.start("run")?;
            eventually("the ALTER waits", || {
                is_running(scene.target, "/* binferry ")
            })?;
            running.kill()?;
            done(scene.pipeline.command("run").args(["--until", "now"]))?;
            let read = reader.join();
            anyhow::ensure!(read.is_ok_and(|read| read.is_ok()), "the reader failed");
            Ok(())
        })?;
        scene.compared()?;
    }
    Ok(())
}

fn is_running(server: &MySql, text: &str) -> Result<bool> {
    let count = server.value(&format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '{text}%'"
    ))?;
    Ok(count != "0")
}

#[test]
fn killed_while_it_runs_under_gtids() -> Result<()> {
    killed_while_it_runs(Way::Gtids)
}

#[test]
fn killed_while_it_runs_by_definitions() -> Result<()> {
    killed_while_it_runs(Way::Definitions)
}

/// What definitions don't tell stops the stream, and both remedies work.
#[test]
fn what_cannot_be_told_stops() -> Result<()> {
    let mut scene = Scene::new("in_doubt", Way::Definitions)?;
    scene.source(
        "CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100));
         CREATE TABLE q (id INT PRIMARY KEY); INSERT INTO p VALUES (1); INSERT INTO q VALUES (2)",
    )?;
    scene.equal()?;
    let proxy = Proxy::to(scene.target)?;
    for (catch, happened) in [(Catch::HoldRequest, false), (Catch::HoldAnswer, true)] {
        scene.source("ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE q; INSERT INTO q SELECT MAX(id) + 10 FROM q")?;
        proxy.catch_next(STATEMENT, catch);
        let before = proxy.caught();
        let running = start_through(&mut scene, &(proxy.url(TARGET_USER) + "/?tls=disabled"))?;
        eventually("it is caught", || Ok(proxy.caught() > before))?;
        std::thread::sleep(Duration::from_millis(500));
        running.kill()?;
        let said = crate::binferry::refused(
            scene.pipeline.command("run").args(["--until", "now"]),
            3,
            &[
                "do not tell whether it was done",
                "EXCHANGE PARTITION",
                "binferry skip --gtid",
            ],
        )?;
        let gtid = said
            .split("binferry skip --gtid ")
            .nth(1)
            .unwrap_or_default();
        let gtid = gtid.split([' ', ';', '\n']).next().unwrap_or_default();
        if happened {
            let mut skip = scene.pipeline.command("skip");
            skip.args([
                "--target",
                &scene.pipeline.target,
                "--stream",
                &scene.pipeline.stream,
            ]);
            done(skip.args(["--gtid", gtid]))?;
        } else {
            scene.target.sql(&format!(
                "UPDATE binferry.ddl SET phase = 'none' WHERE stream = '{}'",
                scene.pipeline.stream
            ))?;
        }
        scene.equal()?;
    }
    Ok(())
}

/// With the source's GTIDs, statements have theirs; one whose rows follow leaves it to these.
#[test]
fn with_the_sources_gtids() -> Result<()> {
    let mut scene = Scene::new("preserved", Way::Gtids)?;
    let proxy = Proxy::to(scene.target)?;
    let own = scene.pipeline.target.clone();
    let before = scene.pipeline.from.clone();
    for (n, catch) in [Catch::HoldRequest, Catch::HoldAnswer, Catch::LoseAnswer]
        .into_iter()
        .enumerate()
    {
        scene.source(&format!(
            "CREATE TABLE t{n} (id INT PRIMARY KEY); INSERT INTO t{n} VALUES (1); ALTER TABLE t{n} ADD a INT; INSERT INTO t{n} VALUES (2, 2);
             CREATE TABLE made{n} (id INT PRIMARY KEY) AS SELECT id FROM t{n}; TRUNCATE t{n}; RENAME TABLE t{n} TO u{n}"
        ))?;
        let executed = executed(scene.source)?;
        proxy.catch_next("*/ ALTER TABLE", catch);
        scene.pipeline.target = proxy.url(NAMING_USER) + "/?tls=disabled";
        let mut command = scene.pipeline.command("run");
        command.args(["--gtid", "preserve"]);
        let running = scene.pipeline.start_command(command, "run")?;
        eventually("it is caught", || Ok(proxy.caught() > n as u64))?;
        running.kill()?;
        scene.pipeline.target = own.clone();
        let mut command = scene.pipeline.command("run");
        done(command.args(["--gtid", "preserve", "--until", "now"]))?;
        scene.compared()?;
        let whole = scene.target.value(&format!(
            "SELECT GTID_SUBSET(GTID_SUBTRACT('{executed}', '{before}'), @@GLOBAL.gtid_executed)"
        ))?;
        anyhow::ensure!(whole == "1", "{catch:?}: a hole on the target");
    }
    Ok(())
}
