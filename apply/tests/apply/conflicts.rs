//! What does not fit stops the stream, says where, and leaves everything before it applied.

use anyhow::Result;
use binferry_apply::{ApplyError, Compare, Conflict, ConflictKind};
use binferry_schemas::{
    datum::Value,
    fault::{Fault, Kind},
};
use binferry_servers::Release;

use crate::stage::{Do, INT, Row, Stage, TEXT, Table, column, on_each_server};

on_each_server! {
    each_kind
    what_is_no_text
    a_foreign_key
    in_a_huge_transaction
    only_keys_compared
}

fn row(id: i64, u: i64, text: &'static str) -> Row<'static> {
    vec![Value::Int(id), Value::Int(u), Value::Text(text)]
}

/// Three rows on both sides; the target is then changed behind our back.
async fn stage(release: Release, purpose: &str, harm: &str) -> Result<(Stage, Table)> {
    let mut stage = Stage::of(release, purpose).await?;
    stage.sql(
        "CREATE TABLE t (id int primary key, u int unique, text varchar(20), CHECK (u < 1000))",
    );
    let columns = vec![
        column("id", INT, Some(0)),
        column("u", INT, None),
        column("text", TEXT, None),
    ];
    let table = stage.table("t", columns).await?;
    stage
        .commit(
            &table,
            &(1..=3)
                .map(|n| Do::Insert(row(n, n, "x")))
                .collect::<Vec<_>>(),
        )
        .await?;
    stage.apply().await?;
    stage.sql(harm);
    Ok((stage, table))
}

/// A good transaction, the bad one, another good one: the error must name the bad one, and the first must be applied.
async fn conflict(
    release: Release,
    purpose: &str,
    harm: &str,
    bad: Do<'static>,
) -> Result<Conflict> {
    let (mut stage, table) = stage(release, purpose, harm).await?;
    let before = stage
        .commit(&table, &[Do::Insert(row(100, 100, "good"))])
        .await?;
    let gtid = stage
        .commit(&table, &[Do::Insert(row(101, 101, "part")), bad])
        .await?;
    stage
        .commit(&table, &[Do::Insert(row(102, 102, "later"))])
        .await?;
    let error = stage.apply().await.expect_err("a conflict");
    assert_eq!(error.kind(), Kind::Data);
    let ApplyError::Conflict(conflict) = error else {
        panic!("{error}");
    };
    assert_eq!(conflict.place.gtid, Some(gtid));
    assert_eq!(conflict.key, ["id"]);
    assert_eq!(
        stage.sql("SELECT GROUP_CONCAT(id) FROM t WHERE id >= 100"),
        "100"
    );
    assert!(
        stage.applied().ends_with(&format!("1-{}", before.gno)),
        "{}",
        stage.applied()
    );
    let text = conflict.to_string();
    assert!(!text.contains("secret"), "{text}");
    Ok(*conflict)
}

async fn each_kind(release: Release) -> Result<()> {
    let missing = conflict(
        release,
        "missing",
        "DELETE FROM t WHERE id = 2",
        Do::Update(row(2, 2, "x"), row(2, 2, "y")),
    )
    .await?;
    assert_eq!(missing.kind, ConflictKind::RowMissing);
    let missing = conflict(
        release,
        "missing_d",
        "DELETE FROM t WHERE id = 2",
        Do::Delete(row(2, 2, "x")),
    )
    .await?;
    assert_eq!(missing.kind, ConflictKind::RowMissing);

    let exists = conflict(
        release,
        "exists",
        "INSERT INTO t VALUES (9, 9, 'secret')",
        Do::Insert(row(9, 90, "x")),
    )
    .await?;
    assert_eq!(
        (exists.kind, exists.index.as_deref()),
        (ConflictKind::RowExists, Some("PRIMARY"))
    );

    let differs = conflict(
        release,
        "differs",
        "UPDATE t SET text = 'X' WHERE id = 2",
        Do::Update(row(2, 2, "x"), row(2, 2, "secret")),
    )
    .await?;
    assert_eq!(
        (differs.kind, differs.differing),
        (ConflictKind::RowDiffers, vec!["text".to_owned()])
    );
    let differs = conflict(
        release,
        "differs_d",
        "UPDATE t SET text = 'x ' WHERE id = 2",
        Do::Delete(row(2, 2, "x")),
    )
    .await?;
    assert_eq!(differs.kind, ConflictKind::RowDiffers);

    let unique = conflict(
        release,
        "unique",
        "INSERT INTO t VALUES (9, 9, 'secret')",
        Do::Insert(row(90, 9, "x")),
    )
    .await?;
    assert_eq!(
        (unique.kind, unique.index.as_deref()),
        (ConflictKind::UniqueKey, Some("u"))
    );

    let check = conflict(release, "check", "DO 0", Do::Insert(row(90, 5000, "x"))).await?;
    assert_eq!(check.kind, ConflictKind::Check);
    Ok(())
}

/// Half of a surrogate pair, as a conversion in a source may leave it. MariaDB takes it as it is.
async fn what_is_no_text(release: Release) -> Result<()> {
    let no_text = vec![
        Value::Int(90),
        Value::Int(90),
        Value::Bytes(b"\xed\xb3\xb5"),
    ];
    if release == Release::MySql {
        let no_text = conflict(release, "no_text", "DO 0", Do::Insert(no_text)).await?;
        assert_eq!(no_text.kind, ConflictKind::Type);
        return Ok(());
    }
    let (mut stage, table) = stage(release, "no_text", "DO 0").await?;
    stage.commit(&table, &[Do::Insert(no_text)]).await?;
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT HEX(text) FROM t WHERE id = 90"), "EDB3B5");
    Ok(())
}

async fn a_foreign_key(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "fk_conflict").await?;
    stage.sql("CREATE TABLE p (id int primary key); CREATE TABLE t (id int primary key, u int, FOREIGN KEY (u) REFERENCES p (id))");
    let table = stage
        .table(
            "t",
            vec![column("id", INT, Some(0)), column("u", INT, None)],
        )
        .await?;
    stage
        .commit(&table, &[Do::Insert(vec![Value::Int(1), Value::Int(1)])])
        .await?;
    let error = stage.apply().await.expect_err("a conflict");
    assert!(
        matches!(error, ApplyError::Conflict(conflict) if conflict.kind == ConflictKind::ForeignKey)
    );
    Ok(())
}

async fn in_a_huge_transaction(release: Release) -> Result<()> {
    let (mut stage, table) = stage(
        release,
        "huge_conflict",
        "INSERT INTO t VALUES (500, 500, 'secret')",
    )
    .await?;
    let inserts: Vec<_> = (100..900).map(|n| Do::Insert(row(n, n, "y"))).collect();
    let all: Vec<(&Table, &Do<'_>)> = inserts.iter().map(|change| (&table, change)).collect();
    let chunks: Vec<_> = all.chunks(90).map(<[_]>::to_vec).collect();
    stage.commit_chunks(&chunks).await?;
    let error = stage.apply().await.expect_err("a conflict");
    assert!(
        matches!(&error, ApplyError::Conflict(conflict) if conflict.kind == ConflictKind::RowExists),
        "{error}"
    );
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "4");
    // The operator mends it, and the stream goes on.
    stage.sql("DELETE FROM t WHERE id = 500");
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "803");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_contradicts_itself() -> Result<()> {
    let (mut stage, table) = stage(Release::MySql, "contradiction", "DO 0").await?;
    stage
        .commit(&table, &[Do::Insert(row(10, 10, "x"))])
        .await?;
    let gtid = stage
        .commit(&table, &[Do::Insert(row(10, 11, "x"))])
        .await?;
    let error = stage.apply().await.expect_err("a conflict");
    assert!(
        matches!(&error, ApplyError::Conflict(conflict) if conflict.kind == ConflictKind::RowExists && conflict.place.gtid == Some(gtid)),
        "{error}"
    );
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "4");
    Ok(())
}

/// What differs in other columns is not seen, and what the source did not change is left; a row that is not there is still missed.
async fn only_keys_compared(release: Release) -> Result<()> {
    let harm = "UPDATE t SET text = 'other', u = u + 100";
    let (mut stage, table) = stage(release, "keys", harm).await?;
    let mut options = stage.options();
    options.compare = Compare::Key;
    let update = |id| Do::Update(row(id, id, "x"), row(id, id, "new"));
    stage
        .commit(&table, &[update(1), update(2), Do::Delete(row(3, 3, "x"))])
        .await?;
    stage.apply_with(options.clone()).await?;
    assert_eq!(stage.sql("SELECT * FROM t"), "1\t101\tnew\n2\t102\tnew");

    stage.commit(&table, &[update(3)]).await?;
    let mut options = stage.options();
    options.compare = Compare::Key;
    match stage.apply_with(options).await {
        Err(ApplyError::Conflict(conflict)) => {
            assert_eq!(conflict.kind, ConflictKind::RowMissing);
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}
