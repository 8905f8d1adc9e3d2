//! A database that the source has without a table: made where it is missing, so that the first statement in it finds it.

use std::sync::Arc;

use binferry_schemas::record::{ALL_TABLES, SnapshotDatabase};
use mysql_async::{Error, prelude::Queryable};

use super::{
    CopyProblem,
    begin::{is_about_definitions, told},
};
use crate::{
    connection::{Target, from_mysql},
    error::{ApplyError, Place, TableName},
};

const DOING: &str = "making a database without a table";
/// ER_DB_CREATE_EXISTS: another stream was faster.
const EXISTS: u16 = 1007;

/// One that is there stays as it is. The text means the same in every session.
pub async fn make(
    target: &mut Target,
    bare: &SnapshotDatabase,
    place: &Arc<Place>,
) -> Result<(), ApplyError> {
    let there: Option<u8> = (target.conn)
        .exec_first(
            "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?",
            (&bare.database,),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    if there.is_some() {
        return Ok(());
    }
    match target.conn.query_drop(&bare.create_database).await {
        Ok(()) => {
            tracing::info!(database = %bare.database, "made; it has no table yet");
            Ok(())
        }
        Err(Error::Server(answer)) if answer.code == EXISTS => Ok(()),
        Err(Error::Server(answer)) if is_about_definitions(&answer) => Err(ApplyError::Copy {
            table: TableName {
                database: bare.database.clone(),
                table: ALL_TABLES.to_owned(),
            },
            place: Some(Arc::clone(place)),
            problem: Box::new(CopyProblem::Database {
                fault: told(answer),
            }),
        }),
        Err(error) => Err(from_mysql(error, DOING)),
    }
}
