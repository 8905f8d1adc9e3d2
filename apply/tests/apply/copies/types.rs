//! A row of a copy that is there already is recognised, whatever its type; and so is one that differs.

use std::sync::Arc;

use anyhow::Result;
use binferry_apply::conflict::Policies;
use binferry_schemas::{datum::Value, record::Over};
use binferry_servers::Release;

use super::pen::{Begin, begin, done, want};
use crate::{
    stage::{Do, INT, Row, Stage, column, on_each_server},
    types::cases,
};

on_each_server! {
    rows_of_every_type_over_themselves
}

async fn rows_of_every_type_over_themselves(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_types").await?;
    let row = |id, value| -> Row<'static> { vec![Value::Int(id), value] };
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copies = Vec::new();
    for (at, case) in cases().into_iter().enumerate() {
        let columns = vec![
            column("id", INT, Some(0)),
            column("c", case.ty.clone(), None),
        ];
        let table = stage.table(&format!("t{at}"), columns).await?;
        let create = format!(
            "CREATE TABLE `t{at}` (`id` int NOT NULL, `c` {}, PRIMARY KEY (`id`)) ENGINE=InnoDB",
            case.definition
        );
        let mut copy = begin(&mut stage, job, &table, Begin::new(create, &["id"])).await?;
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
    assert_eq!(progress.conflicts, 0);
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
    assert_eq!(progress.conflicts, count);
    for (at, case) in shown {
        let all = stage.sql(&format!(
            "SELECT COUNT(*) FROM t{at} WHERE id IN (1, 4, 5) AND {} = (SELECT {} FROM t{at} WHERE id = 1)",
            case.shown, case.shown
        ));
        assert_eq!(all, "3", "{}", case.definition);
    }
    Ok(())
}
