//! Keys that move, rows that change often, tables without keys, foreign keys, huge transactions.

use anyhow::Result;
use binferry_schemas::datum::Value;
use binferry_servers::Release;

use crate::stage::{Do, INT, Row, Stage, TEXT, Table, column, on_each_server};

on_each_server! {
    shifts_and_swaps_in_one_transaction
    a_transaction_in_many_chunks
    tables_without_a_key
    foreign_keys_keep_the_order
    keys_that_differ_only_by_case_are_two_rows_to_us
}

fn row(id: i64, u: i64) -> Row<'static> {
    vec![Value::Int(id), Value::Int(u)]
}

async fn keyed(stage: &Stage) -> Result<Table> {
    stage.sql("CREATE TABLE t (id int primary key, u int unique)");
    stage
        .table(
            "t",
            vec![column("id", INT, Some(0)), column("u", INT, None)],
        )
        .await
}

const ALL: &str = "SELECT GROUP_CONCAT(CONCAT(id, ':', u) ORDER BY id) FROM t";

async fn shifts_and_swaps_in_one_transaction(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "shifts").await?;
    let table = keyed(&stage).await?;
    stage
        .commit(
            &table,
            &(1..=50).map(|n| Do::Insert(row(n, n))).collect::<Vec<_>>(),
        )
        .await?;
    // Primary keys one up, from the highest on, as the source must.
    let shift: Vec<_> = (1..=50)
        .rev()
        .map(|n| Do::Update(row(n, n), row(n + 1, n)))
        .collect();
    stage.commit(&table, &shift).await?;
    // Two unique values exchanged through NULL.
    let null = |id| vec![Value::Int(id), Value::Null];
    let swap = [
        Do::Update(row(2, 1), null(2)),
        Do::Update(row(3, 2), row(3, 1)),
        Do::Update(null(2), row(2, 2)),
    ];
    stage.commit(&table, &swap).await?;
    stage
        .commit(
            &table,
            &[
                Do::Delete(row(51, 50)),
                Do::Insert(row(51, 60)),
                Do::Update(row(51, 60), row(1, 50)),
            ],
        )
        .await?;
    let progress = stage.apply().await?;
    assert_eq!(progress.transactions, 4);
    let all = stage.sql(ALL);
    assert!(
        all.starts_with("1:50,2:2,3:1,4:3,") && all.ends_with(",50:49"),
        "{all}"
    );
    assert_eq!(stage.applied(), stage.written.to_string());
    Ok(())
}

/// The older line of MariaDB gets no more than this: joins of both kinds, moved keys and text that is compared exactly.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_oldest_mariadb() -> Result<()> {
    shifts_and_swaps_in_one_transaction(Release::MariaDb10_11).await?;
    tables_without_a_key(Release::MariaDb10_11).await?;
    keys_that_differ_only_by_case_are_two_rows_to_us(Release::MariaDb10_11).await
}

async fn a_transaction_in_many_chunks(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "chunks").await?;
    let table = keyed(&stage).await?;
    let inserts: Vec<_> = (1..=3000).map(|n| Do::Insert(row(n, n))).collect();
    let shift: Vec<_> = (1..=3000)
        .rev()
        .map(|n| Do::Update(row(n, n), row(n + 1, n)))
        .collect();
    let all: Vec<(&Table, &Do<'_>)> = inserts
        .iter()
        .chain(&shift)
        .map(|change| (&table, change))
        .collect();
    let chunks: Vec<_> = all.chunks(700).map(<[_]>::to_vec).collect();
    stage.commit_chunks(&chunks).await?;
    stage.commit(&table, &[Do::Insert(row(1, 9999))]).await?;
    let progress = stage.apply().await?;
    assert_eq!((progress.transactions, progress.rows), (2, 6001));
    assert_eq!(
        stage.sql("SELECT COUNT(*), SUM(id - u), MAX(id) FROM t WHERE id > 1"),
        "3000\t3000\t3001"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_transaction_leaves_nothing() -> Result<()> {
    let mut stage = Stage::new("void").await?;
    let table = keyed(&stage).await?;
    stage.commit(&table, &[Do::Insert(row(1, 1))]).await?;
    let open = [Do::Insert(row(2, 2)), Do::Insert(row(3, 3))];
    // The second chunk is not the last: the capture dies before that.
    stage
        .commit_open(&[vec![(&table, &open[0])], vec![(&table, &open[1])]])
        .await?;
    stage.restart_capture().await?;
    stage.commit(&table, &[Do::Insert(row(2, 20))]).await?;
    stage.apply().await?;
    assert_eq!(stage.sql(ALL), "1:1,2:20");
    Ok(())
}

async fn tables_without_a_key(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "keyless").await?;
    stage.sql("CREATE TABLE t (id int, u varchar(20))");
    let table = stage
        .table("t", vec![column("id", INT, None), column("u", TEXT, None)])
        .await?;
    let row = |n: i64, text: &'static str| vec![Value::Int(n), Value::Text(text)];
    let null = || vec![Value::Null, Value::Null];
    stage
        .commit(
            &table,
            &[
                Do::Insert(row(1, "a")),
                Do::Insert(row(1, "a")),
                Do::Insert(row(1, "A")),
                Do::Insert(null()),
            ],
        )
        .await?;
    stage
        .commit(
            &table,
            &[
                Do::Update(row(1, "a"), row(2, "b")),
                Do::Delete(row(1, "A")),
                Do::Delete(null()),
            ],
        )
        .await?;
    stage.apply().await?;
    assert_eq!(stage.sql(ALL), "1:a,2:b");
    Ok(())
}

async fn foreign_keys_keep_the_order(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "foreign").await?;
    stage.sql(
        "CREATE TABLE parent (id int primary key, n int); \
         CREATE TABLE t (id int primary key, u int, FOREIGN KEY (u) REFERENCES parent (id) ON DELETE CASCADE)",
    );
    let parent = stage
        .table(
            "parent",
            vec![column("id", INT, Some(0)), column("n", INT, None)],
        )
        .await?;
    let child = stage
        .table(
            "t",
            vec![column("id", INT, Some(0)), column("u", INT, None)],
        )
        .await?;
    for n in 1..=5 {
        stage.commit(&parent, &[Do::Insert(row(n, n))]).await?;
        stage.commit(&child, &[Do::Insert(row(n, n))]).await?;
    }
    // The child goes by the cascade: the log does not say so. Then both come back, which is no update.
    stage
        .commit(&parent, &[Do::Delete(row(1, 1)), Do::Insert(row(1, 1))])
        .await?;
    stage.commit(&child, &[Do::Insert(row(1, 2))]).await?;
    stage.apply().await?;
    assert_eq!(stage.sql(ALL), "1:2,2:2,3:3,4:4,5:5");
    Ok(())
}

async fn keys_that_differ_only_by_case_are_two_rows_to_us(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "collation").await?;
    stage.sql("CREATE TABLE t (id varchar(20) primary key, u int)");
    let table = stage
        .table(
            "t",
            vec![column("id", TEXT, Some(0)), column("u", INT, None)],
        )
        .await?;
    let row = |id: &'static str, n: i64| vec![Value::Text(id), Value::Int(n)];
    stage
        .commit(&table, &[Do::Insert(row("a", 1)), Do::Insert(row("b", 2))])
        .await?;
    stage
        .commit(
            &table,
            &[
                Do::Update(row("a", 1), row("A", 1)),
                Do::Update(row("b", 2), row("b", 3)),
            ],
        )
        .await?;
    stage
        .commit(&table, &[Do::Delete(row("A", 1)), Do::Insert(row("a", 5))])
        .await?;
    stage.apply().await?;
    assert_eq!(stage.sql(ALL), "a:5,b:3");
    Ok(())
}
