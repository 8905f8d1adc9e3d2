//! Single rows of a table, as a copy would bring them: for who brings rows of a target in line with the source's.

use binferry_schemas::{address::Address, row::RowSchema};

use super::{
    definition::{self, Name},
    error::SnapshotError,
    reader, sql,
};
use crate::{client::Connection, decode::Selected, error::CaptureError};

/// A table, and a row for each condition that was asked for.
#[derive(Debug)]
pub struct Rows {
    pub schema: RowSchema,
    /// Datums of the row schema; `None` where no row meets the condition.
    pub rows: Vec<Option<Vec<u8>>>,
}

/// Reads the rows that meet the conditions, each of which is to fit one row at most. A condition is SQL over the table's columns. `None`:
/// there is no such table.
pub async fn read(
    address: &Address,
    name: &Name,
    conditions: &[String],
) -> Result<Option<Rows>, CaptureError> {
    let mut connection = reader::session(address).await?;
    let read = read_on(&mut connection, name, conditions).await;
    connection.close().await;
    read
}

async fn read_on(
    connection: &mut Connection,
    name: &Name,
    conditions: &[String],
) -> Result<Option<Rows>, CaptureError> {
    let Some(definition) = definition::read(connection, name).await? else {
        return Ok(None);
    };
    let selected = Selected::new(&definition.schema);
    let mut rows = Vec::with_capacity(conditions.len());
    for condition in conditions {
        let selecting = connection
            .select(&sql::select_one(&definition, condition))
            .await?;
        let mut found = None;
        while let Some(row) = connection.row(&selecting).await? {
            let mut datum = Vec::new();
            selected
                .row(&selecting.columns, row, &mut datum)
                .map_err(|flaw| SnapshotError::Table {
                    database: name.0.clone(),
                    table: name.1.clone(),
                    problem: flaw.describe(&definition.schema),
                })?;
            found = Some(datum);
        }
        rows.push(found);
    }
    Ok(Some(Rows {
        schema: definition.schema,
        rows,
    }))
}
