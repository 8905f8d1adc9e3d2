//! A log's records, as they lie in its folder.

use std::path::Path;

use anyhow::Result;
use binferry_schemas::record::Offset;
use binferry_transport::{
    embedded::EmbeddedLog,
    log::{Log as _, Stored},
};

/// All of them, from the first one to the one that was last when the reading began.
pub fn all(folder: &Path) -> Result<Vec<Stored>> {
    with_log(folder, async |_, records| Ok(records))
}

/// The same for work that asks the log for more.
pub fn with_log<T>(
    folder: &Path,
    work: impl AsyncFnOnce(&EmbeddedLog, Vec<Stored>) -> Result<T>,
) -> Result<T> {
    let log = EmbeddedLog::open(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let end = log.bounds().await?.end;
        let mut reader = log.reader(Offset(0)).await?;
        let mut records: Vec<Stored> = Vec::new();
        while records.last().is_none_or(|last| last.offset.0 + 1 < end.0) {
            records.extend(reader.next().await?);
        }
        work(&log, records).await
    })
}
