//! Writes the records of a copy.

use anyhow::Result;
use binferry_schemas::{
    datum,
    gtid::Uuid,
    record::{
        Body, Change, ChangesBuffer, GivenUp, Image, Operation, Over, RowsHead, Snapshot,
        SnapshotBegin, SnapshotEnd, SnapshotGivenUp, SnapshotJob, SnapshotRows, SnapshotStep,
        Window,
    },
};

use crate::stage::{Row, Stage, Table, encode};

/// A copy that has begun.
pub struct Copy {
    pub id: Uuid,
    pub table: Table,
    key: Vec<String>,
    chunk: u64,
    lower: Option<Vec<u8>>,
}

/// What a test says about a beginning; the rest is as usual.
#[derive(Clone)]
pub struct Begin<'a> {
    pub create: String,
    pub key: &'a [&'a str],
    pub over: Over,
    pub replaces: Option<Uuid>,
    pub sql_mode: u64,
    pub estimated_bytes: u64,
}

impl<'a> Begin<'a> {
    pub fn new(create: impl Into<String>, key: &'a [&'a str]) -> Self {
        Self {
            create: create.into(),
            key,
            over: Over::Nothing,
            replaces: None,
            sql_mode: 0,
            estimated_bytes: 0,
        }
    }
}

async fn step(stage: &mut Stage, step: SnapshotStep) -> Result<()> {
    let snapshot = Snapshot { at_us: 1, step };
    stage.append(Body::Snapshot(snapshot)).await
}

/// Somebody wants these tables copied.
pub async fn want(stage: &mut Stage, tables: &str, over: Over) -> Result<Uuid> {
    let id = Uuid::new_v4();
    let job = SnapshotJob {
        id,
        tables: tables.to_owned(),
        except: String::new(),
        over,
    };
    step(stage, SnapshotStep::Wanted(job)).await?;
    Ok(id)
}

pub async fn done(stage: &mut Stage, job: Uuid) -> Result<()> {
    step(stage, SnapshotStep::Planned(job)).await?;
    step(stage, SnapshotStep::Done(job)).await
}

pub async fn begin(stage: &mut Stage, job: Uuid, table: &Table, begin: Begin<'_>) -> Result<Copy> {
    let id = Uuid::new_v4();
    let key: Vec<String> = begin.key.iter().map(|name| (*name).to_owned()).collect();
    let database = &table.schema.database;
    let begun = SnapshotBegin {
        job,
        copy: id,
        table: table.reference().clone(),
        over: begin.over,
        replaces: begin.replaces,
        create_database: format!(
            "CREATE DATABASE `{database}` /*!40100 DEFAULT CHARACTER SET utf8mb4 */"
        ),
        create_table: begin.create,
        sql_mode: begin.sql_mode,
        collations: [255, 255, 255],
        time_zone: "+00:00".to_owned(),
        key_name: if key.is_empty() { "" } else { "PRIMARY" }.to_owned(),
        key: key.clone(),
        estimated_rows: 0,
        estimated_bytes: begin.estimated_bytes,
        window: Window::default(),
    };
    step(stage, SnapshotStep::Begin(Box::new(begun))).await?;
    Ok(Copy {
        id,
        table: table.clone(),
        key,
        chunk: 0,
        lower: None,
    })
}

impl Copy {
    /// The key of a row, as bounds have it.
    pub fn key_of(&self, row: &Row<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let columns = &self.table.schema.columns;
        for name in &self.key {
            let at = columns.iter().position(|column| column.name == *name);
            let at = at.expect("a column of the key");
            datum::put(&mut out, &columns[at].ty, &row[at]).expect("a value of the key");
        }
        out
    }

    /// A range: its rows, and its last key (`None`: to the end).
    pub async fn rows(
        &mut self,
        stage: &mut Stage,
        rows: &[Row<'_>],
        upper: Option<Vec<u8>>,
        left_out: Vec<Vec<u8>>,
    ) -> Result<()> {
        let mut changes = ChangesBuffer::new();
        for row in rows {
            let datum = encode(&self.table, row);
            changes.push(&Change {
                table: 0,
                operation: Operation::Insert,
                before: None,
                after: Some(Image {
                    present: None,
                    datum: &datum,
                }),
                more: false,
            });
        }
        let body = SnapshotRows {
            head: RowsHead {
                copy: self.id,
                chunk: self.chunk,
                part: 0,
                last: true,
                rows: rows.len() as u64,
                upper: upper.clone(),
                table: self.table.reference().clone(),
            },
            lower: self.lower.clone(),
            seen: None,
            window: Window::default(),
            left_out,
            rows: changes.as_changes(),
        };
        stage.append(Body::SnapshotRows(body)).await?;
        self.chunk += 1;
        self.lower = upper;
        Ok(())
    }

    /// One row as a range that comes in parts of so many bytes.
    pub async fn row_in_parts(
        &mut self,
        stage: &mut Stage,
        row: &Row<'_>,
        bytes: usize,
        last: bool,
    ) -> Result<()> {
        let datum = encode(&self.table, row);
        let parts: Vec<&[u8]> = datum.chunks(bytes).collect();
        for (at, part) in parts.iter().enumerate() {
            let ends = at + 1 == parts.len();
            if ends && !last {
                break;
            }
            let mut changes = ChangesBuffer::new();
            changes.push(&Change {
                table: 0,
                operation: Operation::Insert,
                before: None,
                after: Some(Image {
                    present: None,
                    datum: part,
                }),
                more: !ends,
            });
            let body = SnapshotRows {
                head: RowsHead {
                    copy: self.id,
                    chunk: self.chunk,
                    part: at as u32,
                    last: ends,
                    rows: u64::from(ends),
                    upper: Some(self.key_of(row)),
                    table: self.table.reference().clone(),
                },
                lower: self.lower.clone(),
                seen: None,
                window: Window::default(),
                left_out: Vec::new(),
                rows: changes.as_changes(),
            };
            stage.append(Body::SnapshotRows(body)).await?;
        }
        if last {
            self.chunk += 1;
            self.lower = Some(self.key_of(row));
        }
        Ok(())
    }

    pub async fn end(self, stage: &mut Stage) -> Result<()> {
        let end = SnapshotEnd {
            copy: self.id,
            rows: 0,
            left_out: 0,
        };
        step(stage, SnapshotStep::End(end)).await
    }

    pub async fn give_up(self, stage: &mut Stage, reason: GivenUp) -> Result<Uuid> {
        let given_up = SnapshotGivenUp {
            copy: self.id,
            reason,
            detail: "a test".to_owned(),
        };
        step(stage, SnapshotStep::GivenUp(given_up)).await?;
        Ok(self.id)
    }
}
