//! The source's rows for a repair, read as the copy reads them.

use binferry_apply::{
    TableName,
    diff::{SourceFault, SourceRows, SourceTable},
};
use binferry_capture::snapshot::single;
use binferry_schemas::address::Address;
use futures_util::future::BoxFuture;

#[derive(Debug)]
pub struct Source(pub Address);

impl SourceRows for Source {
    fn read<'a>(
        &'a self,
        table: &'a TableName,
        conditions: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SourceTable>, SourceFault>> {
        Box::pin(async move {
            let name = (table.database.clone(), table.table.clone());
            let read = single::read(&self.0, &name, conditions).await;
            let read = read.map_err(|error| Box::new(error) as SourceFault)?;
            Ok(read.map(|read| SourceTable {
                schema: read.schema,
                rows: read.rows,
            }))
        })
    }
}
