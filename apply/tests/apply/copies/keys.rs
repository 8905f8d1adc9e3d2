//! Plain keys come after the rows of a large table, or before a statement that has to find them.

use std::time::Duration;

use anyhow::{Result, ensure};
use binferry_schemas::{
    datum::Value,
    gtid::Uuid,
    record::{DdlEffect, Over},
};
use binferry_servers::Release;

use super::pen::{Begin, Copy, begin, done, want};
use crate::stage::{Do, INT, Row, Stage, Table, column, on_each_server};

on_each_server! {
    after_the_rows
    before_a_statement_that_finds_them
    an_attempt_that_died
    a_foreign_key_to_one
    a_table_that_is_dropped_first
}

const CREATE: &str = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  `a` int DEFAULT NULL,\n  `b` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  \
    UNIQUE KEY `u` (`a`,`id`),\n  KEY `b` (`b`),\n  KEY `k``2` (`a`,`b`)\n) ENGINE=InnoDB";

fn row(id: i64) -> Row<'static> {
    vec![Value::Int(id), Value::Int(id % 7), Value::Int(id % 3)]
}

async fn table(stage: &Stage) -> Result<Table> {
    let columns = vec![
        column("id", INT, Some(0)),
        column("a", INT, None),
        column("b", INT, None),
    ];
    stage.table("t", columns).await
}

fn large() -> Begin<'static> {
    Begin {
        estimated_bytes: 1 << 30,
        ..Begin::new(CREATE, &["id"])
    }
}

fn keys(stage: &Stage, table: &str) -> String {
    stage.sql(&format!(
        "SELECT GROUP_CONCAT(index_name, seq_in_index ORDER BY index_name, seq_in_index) FROM information_schema.statistics \
         WHERE table_schema = '{}' AND table_name = '{table}'",
        stage.database
    ))
}

fn left(stage: &Stage) -> String {
    stage.sql(&format!(
        "SELECT COUNT(*) FROM binferry.later_key WHERE stream = '{}'",
        stage.database
    ))
}

const FEW: &str = "PRIMARY1,u1,u2";
const ALL: &str = "b1,k`21,k`22,PRIMARY1,u1,u2";

/// A copy of which one range has come.
async fn begun(stage: &mut Stage) -> Result<(Uuid, Table, Copy)> {
    let table = table(stage).await?;
    let job = want(stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(stage, job, &table, large()).await?;
    let upper = Some(copy.key_of(&row(2)));
    copy.rows(stage, &[row(1), row(2)], upper, vec![]).await?;
    stage.apply().await?;
    assert_eq!(keys(stage, "t"), FEW);
    assert_eq!(left(stage), "2");
    Ok((job, table, copy))
}

async fn end(stage: &mut Stage, job: Uuid, mut copy: Copy) -> Result<()> {
    copy.rows(stage, &[row(5)], None, vec![]).await?;
    copy.end(stage).await?;
    done(stage, job).await
}

async fn after_the_rows(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_later").await?;
    let (job, table, copy) = begun(&mut stage).await?;
    stage
        .commit(&table, &[Do::Update(row(1), row(8)), Do::Insert(row(3))])
        .await?;
    end(&mut stage, job, copy).await?;
    stage.apply().await?;
    assert_eq!(keys(&stage, "t"), ALL);
    assert_eq!(left(&stage), "0");
    // In the order that they had.
    let shown = stage.sql("SHOW CREATE TABLE t");
    ensure!(shown.find("KEY `b`") < shown.find("KEY `k``2`"), "{shown}");
    assert_eq!(
        stage.sql("SELECT GROUP_CONCAT(id ORDER BY id) FROM t"),
        "2,3,5,8"
    );
    Ok(())
}

async fn before_a_statement_that_finds_them(release: Release) -> Result<()> {
    for (statement, effect, table, has) in [
        (
            "ALTER TABLE t DROP KEY b",
            DdlEffect::Define,
            "t",
            "k`21,k`22,PRIMARY1,u1,u2",
        ),
        ("CREATE TABLE other LIKE t", DdlEffect::Define, "other", ALL),
        (
            "CREATE TABLE unrelated (id int)",
            DdlEffect::Define,
            "unrelated",
            FEW,
        ),
    ] {
        let mut stage = Stage::of(release, "c_later_ddl").await?;
        begun(&mut stage).await?;
        stage.replayed(statement, effect, &[table]).await?;
        stage.apply().await?;
        assert_eq!(keys(&stage, "t"), has, "{statement}");
        if table == "other" {
            assert_eq!(keys(&stage, "other"), ALL);
        }
        assert_eq!(left(&stage), if has == FEW { "2" } else { "0" });
    }
    Ok(())
}

/// One whose session is gone, and one whose session lives and is ended.
async fn an_attempt_that_died(release: Release) -> Result<()> {
    for lives in [false, true] {
        let mut stage = Stage::of(release, "c_later_dead").await?;
        let (job, _, copy) = begun(&mut stage).await?;
        let older = Uuid::new_v4();
        stage.sql(&format!(
            "UPDATE binferry.later_key SET claim = '{older}' WHERE stream = '{}'",
            stage.database
        ));
        let server = stage.server;
        let lock = format!("binferry-{older}-{}", u32::MAX);
        let session = lives.then(|| {
            let held = format!("DO GET_LOCK('{lock}', 0); DO SLEEP(100)");
            std::thread::spawn(move || server.sql(&held))
        });
        while lives && stage.sql(&format!("SELECT IS_USED_LOCK('{lock}') IS NULL")) == "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        end(&mut stage, job, copy).await?;
        stage.apply().await?;
        assert_eq!(
            (keys(&stage, "t").as_str(), left(&stage).as_str()),
            (ALL, "0")
        );
        if let Some(session) = session {
            ensure!(session.join().expect("no panic").is_err());
        }
    }
    Ok(())
}

/// Where the server lets one refer to a key that is not unique.
async fn a_foreign_key_to_one(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_later_parent").await?;
    let (_, _, _copy) = begun(&mut stage).await?;
    let columns = vec![column("id", INT, Some(0)), column("p", INT, None)];
    let child = stage.table("child", columns).await?;
    let create = "CREATE TABLE `child` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `p` (`p`),\n  \
        CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `t` (`b`)\n) ENGINE=InnoDB";
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    begin(&mut stage, job, &child, Begin::new(create, &["id"])).await?;
    // Sessions that begin from now on may; nothing else here depends on it.
    if release == Release::MySql {
        stage.sql("SET GLOBAL restrict_fk_on_non_standard_key = 0");
    }
    let applied = stage.apply().await;
    if release == Release::MySql {
        stage.sql("SET GLOBAL restrict_fk_on_non_standard_key = 1");
        assert_eq!(keys(&stage, "t"), ALL);
    }
    applied?;
    Ok(())
}

async fn a_table_that_is_dropped_first(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_later_gone").await?;
    let (_, _, copy) = begun(&mut stage).await?;
    copy.give_up(&mut stage, binferry_schemas::record::GivenUp::Gone)
        .await?;
    stage
        .replayed("DROP TABLE t", DdlEffect::Drop, &["t"])
        .await?;
    stage.apply().await?;
    assert_eq!(left(&stage), "0");
    Ok(())
}
