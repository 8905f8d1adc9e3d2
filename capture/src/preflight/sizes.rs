//! How much there is to carry, as far as the source says.

use binferry_schemas::filter::TableFilter;

use crate::{
    client::Connection,
    error::{CaptureError, Permanent},
};

/// In bytes; `None`: not to be seen, or not of interest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of the tables that are carried, without indexes, as the server estimates them.
    pub tables: Option<u64>,
    pub binlogs: Option<u64>,
}

/// Binlogs need REPLICATION CLIENT; tables that the user may not see have no size.
pub async fn sizes(
    connection: &mut Connection,
    tables: &TableFilter,
) -> Result<Sizes, CaptureError> {
    let rows = connection
        .query(
            "SELECT table_schema AS d, table_name AS t, data_length AS n FROM information_schema.tables WHERE table_type = 'BASE TABLE'",
        )
        .await?;
    let seen: Vec<u64> = (0..rows.rows.len())
        .filter(|row| {
            let text = |column| rows.value(*row, column).unwrap_or_default();
            tables.matches(&text("d"), &text("t"))
        })
        .map(|row| number(rows.value(row, "n")))
        .collect();
    let binlogs = match connection.query("SHOW BINARY LOGS").await {
        Ok(rows) => {
            let files = 0..rows.rows.len();
            Some(files.map(|row| number(rows.value(row, "File_size"))).sum())
        }
        // No binlog, or no privilege to see it.
        Err(CaptureError::Permanent(
            Permanent::Refused { .. } | Permanent::Unprivileged { .. },
        )) => None,
        Err(error) => return Err(error),
    };
    Ok(Sizes {
        tables: (!seen.is_empty()).then(|| seen.iter().sum()),
        binlogs,
    })
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}
