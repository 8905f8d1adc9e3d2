//! New rows of a copy arrive exactly, whatever their types; one that is there already is recognised, and so is one that differs.

use std::sync::Arc;

use anyhow::Result;
use binferry_apply::conflict::Policies;
use binferry_schemas::{datum::Value, gtid::Uuid, record::Over, row::ColumnType};
use binferry_servers::Release;

use super::pen::{Begin, Copy, begin, done, want};
use crate::{
    stage::{Do, INT, Row, Stage, TEXT, Table, column, on_each_server},
    types::{Case, cases},
};

on_each_server! {
    new_rows_of_every_type
    new_rows_beside_others
    rows_of_every_type_over_themselves
}

/// LOAD DATA statements that the server has run.
fn loads(stage: &Stage) -> u64 {
    let shown = stage.sql("SHOW GLOBAL STATUS LIKE 'Com_load'");
    let count = shown.split_whitespace().last().map(str::parse);
    count.and_then(Result::ok).unwrap_or(0)
}

/// A table `tN` with a key and a column of the type, and the beginning of its copy.
async fn begin_case(stage: &mut Stage, job: Uuid, at: usize, case: &Case) -> Result<(Table, Copy)> {
    let columns = vec![
        column("id", INT, Some(0)),
        column("c", case.ty.clone(), None),
    ];
    let table = stage.table(&format!("t{at}"), columns).await?;
    let create = format!(
        "CREATE TABLE `t{at}` (`id` int NOT NULL, `c` {}, PRIMARY KEY (`id`)) ENGINE=InnoDB",
        case.definition
    );
    let copy = begin(stage, job, &table, Begin::new(create, &["id"])).await?;
    Ok((table, copy))
}

/// Each type in a table of its own, so that each that can be loaded is.
async fn new_rows_of_every_type(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_new_types").await?;
    let before = loads(&stage);
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut shown = Vec::new();
    for (at, case) in cases().into_iter().enumerate() {
        let (_, mut copy) = begin_case(&mut stage, job, at, &case).await?;
        let [first, second] = case.values;
        let rows = [(1, first), (2, second), (3, Value::Null)];
        let rows = rows.map(|(id, value)| vec![Value::Int(id), value]);
        copy.rows(&mut stage, &rows, None, vec![]).await?;
        copy.end(&mut stage).await?;
        shown.push((at, case));
    }
    done(&mut stage, job).await?;
    let progress = stage.apply().await?;
    assert_eq!(progress.conflicts.total(), 0);
    let tables = shown.len() as u64;
    for (at, case) in shown {
        for (id, expected) in (1..).zip(case.expected) {
            let found = stage.sql(&format!("SELECT {} FROM t{at} WHERE id = {id}", case.shown));
            assert_eq!(found, expected, "{}", case.definition);
        }
        let null = stage.sql(&format!("SELECT c IS NULL FROM t{at} WHERE id = 3"));
        assert_eq!(null, "1", "{}", case.definition);
    }
    if release == Release::MySql {
        // Other tests load too; all but documents and shapes, and what is no text in its column, is loaded here.
        assert!(loads(&stage) - before > tables / 2);
    }
    Ok(())
}

/// Text with all that means something in a line; a row that is there, and one that no line can hold, among new ones.
async fn new_rows_beside_others(release: Release) -> Result<()> {
    const LATIN: ColumnType = ColumnType::VarChar {
        bytes: 20,
        collation: 8,
    };
    let mut stage = Stage::of(release, "c_new_rows").await?;
    let columns = vec![
        column("id", INT, Some(0)),
        column("c", TEXT, None),
        column("l", LATIN, None),
    ];
    let table = stage.table("t", columns).await?;
    let create = "CREATE TABLE `t` (`id` int NOT NULL, `c` varchar(20), `l` varchar(20) CHARACTER SET latin1, PRIMARY KEY (`id`)) \
                  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(create, &["id"])).await?;
    let row = |id, c, l| -> Row<'static> { vec![Value::Int(id), c, l] };
    let text = Value::Text;
    let hard = "\t\n\r\\N\0'\"\u{1a} \u{1f600}";
    let known = row(3, text("\\N"), text("known"));
    stage.commit(&table, &[Do::Insert(known.clone())]).await?;
    let rows = [
        row(1, text(hard), text("\u{e9}")),
        row(2, text(""), text(" ")),
        known,
        // No character of the column's.
        row(4, text("bytes"), Value::Bytes(&[0x81, 0x20])),
        row(5, Value::Null, Value::Null),
    ];
    copy.rows(&mut stage, &rows, None, vec![]).await?;
    copy.end(&mut stage).await?;
    done(&mut stage, job).await?;
    let progress = stage.apply().await?;
    assert_eq!(progress.conflicts.total(), 0);
    let found = stage.sql(
        "SELECT GROUP_CONCAT(id, ':', COALESCE(HEX(c), 'NULL'), ':', COALESCE(HEX(l), 'NULL') ORDER BY id) FROM t",
    );
    let hex = |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02X}")).collect() };
    let expected = [
        format!("1:{}:E9", hex(hard)),
        "2::20".to_owned(),
        format!("3:{}:{}", hex("\\N"), hex("known")),
        format!("4:{}:8120", hex("bytes")),
        "5:NULL:NULL".to_owned(),
    ];
    assert_eq!(found, expected.join(","));
    Ok(())
}

async fn rows_of_every_type_over_themselves(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_types").await?;
    let row = |id, value| -> Row<'static> { vec![Value::Int(id), value] };
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copies = Vec::new();
    for (at, case) in cases().into_iter().enumerate() {
        let (table, mut copy) = begin_case(&mut stage, job, at, &case).await?;
        let [first, second] = case.values;
        let rows = [row(1, first), row(2, second), row(3, Value::Null)];
        let inserts: Vec<Do<'_>> = rows.iter().cloned().map(Do::Insert).collect();
        stage.commit(&table, &inserts).await?;
        stage.commit(&table, &[Do::Insert(row(5, second))]).await?;
        let upper = Some(copy.key_of(&row(4, first)));
        let range = [&rows[..], &[row(4, first)]].concat();
        copy.rows(&mut stage, &range, upper, vec![]).await?;
        copies.push((copy, case));
    }
    let options = || {
        let mut options = stage.options();
        options.policies = Arc::new(Policies::parse(["row_differs=source_wins"])?);
        anyhow::Ok(options)
    };
    let options = options()?;
    let progress = stage.apply_with(options.clone()).await?;
    assert_eq!(progress.conflicts.total(), 0);
    let count = copies.len() as u64;
    let mut shown = Vec::new();
    for (at, (mut copy, case)) in copies.into_iter().enumerate() {
        copy.rows(&mut stage, &[row(5, case.values[0])], None, vec![])
            .await?;
        copy.end(&mut stage).await?;
        shown.push((at, case));
    }
    done(&mut stage, job).await?;
    let progress = stage.apply_with(options).await?;
    assert_eq!(progress.conflicts.total(), count);
    for (at, case) in shown {
        let all = stage.sql(&format!(
            "SELECT COUNT(*) FROM t{at} WHERE id IN (1, 4, 5) AND {} = (SELECT {} FROM t{at} WHERE id = 1)",
            case.shown, case.shown
        ));
        assert_eq!(all, "3", "{}", case.definition);
    }
    Ok(())
}
