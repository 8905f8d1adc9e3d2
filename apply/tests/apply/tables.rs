//! Tables of the target that cannot take the rows, and schema changes in the log.

use anyhow::Result;
use binferry_apply::{ApplyError, DdlMode, TableProblem};
use binferry_schemas::{
    datum::Value,
    fault::{Fault, Kind},
    record::DdlEffect,
};
use binferry_servers::Release;

use crate::stage::{Do, INT, Stage, TEXT, column, on_each_server};

on_each_server! {
    tables_that_do_not_fit
    columns_by_name_and_columns_of_the_targets_own
}

async fn problem(release: Release, purpose: &str, definition: &str) -> Result<TableProblem> {
    let mut stage = Stage::of(release, purpose).await?;
    stage.sql(definition);
    let table = stage
        .table(
            "t",
            vec![column("id", INT, Some(0)), column("c", TEXT, None)],
        )
        .await?;
    stage
        .commit(&table, &[Do::Insert(vec![Value::Int(1), Value::Text("x")])])
        .await?;
    let error = stage.apply().await.expect_err(definition);
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.hint().is_some());
    match error {
        ApplyError::Table { problem, .. } => Ok(*problem),
        other => panic!("{definition}: {other}"),
    }
}

async fn tables_that_do_not_fit(release: Release) -> Result<()> {
    assert_eq!(
        problem(release, "t_missing", "DO 0").await?,
        TableProblem::Missing
    );
    assert!(
        matches!(problem(release, "t_column", "CREATE TABLE t (id int primary key)").await?, TableProblem::ColumnMissing { column } if column == "c")
    );
    let narrow = problem(
        release,
        "t_narrow",
        "CREATE TABLE t (id int primary key, c varchar(19))",
    )
    .await?;
    assert!(matches!(narrow, TableProblem::Narrow { column, .. } if column == "c"));
    let narrow = problem(
        release,
        "t_null",
        "CREATE TABLE t (id int primary key, c varchar(20) not null)",
    )
    .await?;
    assert!(matches!(narrow, TableProblem::Narrow { .. }));
    let narrow = problem(
        release,
        "t_small",
        "CREATE TABLE t (id smallint primary key, c varchar(20))",
    )
    .await?;
    assert!(matches!(narrow, TableProblem::Narrow { column, .. } if column == "id"));
    let key = problem(
        release,
        "t_key",
        "CREATE TABLE t (id int, c varchar(20), key (id))",
    )
    .await?;
    assert!(matches!(key, TableProblem::Key { .. }));
    let engine = problem(
        release,
        "t_engine",
        "CREATE TABLE t (id int primary key, c varchar(20)) ENGINE = MyISAM",
    )
    .await?;
    assert!(matches!(engine, TableProblem::Engine { .. }));
    let required = problem(
        release,
        "t_required",
        "CREATE TABLE t (id int primary key, c varchar(20), d int not null)",
    )
    .await?;
    assert!(matches!(required, TableProblem::Required { column } if column == "d"));
    let trigger = problem(
        release,
        "t_trigger",
        "CREATE TABLE t (id int primary key, c varchar(20)); CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.c = 'y'",
    )
    .await?;
    assert!(matches!(trigger, TableProblem::Trigger { .. }));
    let view = problem(
        release,
        "t_view",
        "CREATE TABLE u (id int primary key, c varchar(20)); CREATE VIEW t AS SELECT * FROM u",
    )
    .await?;
    assert_eq!(view, TableProblem::View);
    Ok(())
}

async fn columns_by_name_and_columns_of_the_targets_own(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "t_extra").await?;
    stage.sql("CREATE TABLE t (own int default 7, c varchar(200), id bigint primary key, u int unique, g int as (u + 1))");
    let table = stage
        .table(
            "t",
            vec![
                column("id", INT, Some(0)),
                column("C", TEXT, None),
                column("u", INT, None),
            ],
        )
        .await?;
    let row = |id, text: &'static str, u| vec![Value::Int(id), Value::Text(text), Value::Int(u)];
    stage
        .commit(
            &table,
            &[Do::Insert(row(1, "a", 1)), Do::Insert(row(2, "b", 2))],
        )
        .await?;
    stage.apply().await?;
    stage.sql("UPDATE t SET own = id * 10");
    // A mover keeps what only the target knows.
    stage
        .commit(
            &table,
            &[
                Do::Update(row(1, "a", 1), row(5, "a", 9)),
                Do::Update(row(2, "b", 2), row(2, "c", 2)),
            ],
        )
        .await?;
    stage.apply().await?;
    assert_eq!(
        stage.sql("SELECT * FROM t ORDER BY id"),
        "20\tc\t2\t2\t3\n10\ta\t5\t9\t10"
    );
    Ok(())
}

/// MariaDB's tables that keep their history are written to as others are.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_system_versioning() -> Result<()> {
    let mut stage = Stage::of(Release::MariaDb11_8, "t_versions").await?;
    stage.sql(
        "CREATE TABLE t (id int primary key, c varchar(20), s timestamp(6) GENERATED ALWAYS AS ROW START, \
         e timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING",
    );
    let columns = vec![column("id", INT, Some(0)), column("c", TEXT, None)];
    let table = stage.table("t", columns).await?;
    let row = |id, text: &'static str| vec![Value::Int(id), Value::Text(text)];
    let inserts = [1, 2, 3].map(|id| Do::Insert(row(id, "a")));
    stage.commit(&table, &inserts).await?;
    stage.apply().await?;
    for (from, to) in [("a", "b"), ("b", "c")] {
        let updates = [1, 2, 3].map(|id| Do::Update(row(id, from), row(id, to)));
        stage.commit(&table, &updates).await?;
        stage.apply().await?;
    }
    stage.commit(&table, &[Do::Delete(row(3, "c"))]).await?;
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT id, c FROM t"), "1\tc\n2\tc");
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t FOR SYSTEM_TIME ALL"), "9");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_changes() -> Result<()> {
    let mut stage = Stage::new("t_ddl").await?;
    stage.sql("CREATE TABLE t (id int primary key)");
    let old = stage.table("t", vec![column("id", INT, Some(0))]).await?;
    let new = stage
        .table(
            "t",
            vec![column("id", INT, Some(0)), column("c", TEXT, None)],
        )
        .await?;
    stage
        .commit(&old, &[Do::Insert(vec![Value::Int(1)])])
        .await?;
    stage
        .ddl("CREATE USER someone", DdlEffect::None, "t")
        .await?;
    let alter = stage
        .ddl("ALTER TABLE t ADD c varchar(20)", DdlEffect::Define, "t")
        .await?;
    stage
        .commit(&new, &[Do::Insert(vec![Value::Int(2), Value::Text("x")])])
        .await?;
    let ignoring = |stage: &Stage| {
        let mut options = stage.options();
        options.ddl = DdlMode::Ignore;
        options
    };
    let options = ignoring(&stage);
    let error = (stage.apply_with(options).await).expect_err("the column is missing");
    let text = error.to_string();
    assert!(
        text.contains("ALTER TABLE t ADD c") && text.contains(&alter.to_string()),
        "{text}"
    );
    stage.sql("ALTER TABLE t ADD c varchar(20)");
    let options = ignoring(&stage);
    stage.apply_with(options).await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "2");

    stage
        .commit(&new, &[Do::Insert(vec![Value::Int(3), Value::Null])])
        .await?;
    let gtid = stage.ddl("TRUNCATE t", DdlEffect::Truncate, "t").await?;
    // Without its session it can't be run.
    let error = stage.apply().await.expect_err("TRUNCATE stops");
    assert!(
        matches!(&error, ApplyError::DdlStop { place, statement, .. } if place.gtid == Some(gtid) && statement == "TRUNCATE t"),
        "{error}"
    );
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "3");
    let applied = stage.applied();
    assert!(
        applied.ends_with(&format!("1-{}", gtid.gno - 1)),
        "{applied}"
    );
    Ok(())
}
