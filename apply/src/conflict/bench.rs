//! The bench that the changes of a transaction are tried on: statements inside the open target transaction, and their answers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mysql_async::{Error, Row as Answered, prelude::Queryable};

use super::{
    kind::{ConflictKind, Tally, named},
    resolve::Court,
    way::Details,
};
use crate::{
    batch::{self, Limits, PACKET_MARGIN},
    change::{Row, RowChange, RowImage},
    connection::{Target, from_mysql},
    error::{ApplyError, ServerFault, TableName},
    render::{
        checks::without_foreign_keys,
        forced::{put_overwrite, put_remove},
        statement::{put_insert, put_key_condition},
    },
    retry::{Verdict, verdict},
};

const APPLYING: &str = "applying changes";
const LOOKING: &str = "looking at the target's row";

pub(super) struct Bench<'a> {
    pub(super) target: &'a mut Target,
    pub(super) court: &'a Court,
    pub(super) limits: &'a Limits,
    pub(super) stall: Duration,
    /// Of the tables that had conflicts in this transaction. It holds their definitions, so they cannot change meanwhile.
    pub(super) details: HashMap<TableName, Arc<Details>>,
    pub(super) journaled: Tally,
    /// False where nothing is to be committed.
    pub(super) journal: bool,
}

/// The server's answer to a change.
pub(super) enum Answer {
    Rows(u64),
    Refused(Refusal),
    /// There is no statement for it.
    NoStatement(ApplyError),
}

pub(super) struct Refusal {
    pub(super) fault: Box<ServerFault>,
    /// The key, constraint or column that the message names.
    pub(super) names: Option<String>,
}

/// The form in which the change is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is, the before image compared.
    Exact,
    /// The after image, as a new row.
    Insert,
    /// The row with the key of the image made equal to the after image.
    Overwrite(Side),
    /// The row with the key of the before image deleted.
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        target: &'a mut Target,
        court: &'a Court,
        limits: &'a Limits,
        stall: Duration,
        journal: bool,
    ) -> Self {
        Self {
            target,
            court,
            limits,
            stall,
            details: HashMap::new(),
            journaled: Tally::default(),
            journal,
        }
    }

    pub(super) async fn details(&mut self, change: &RowChange) -> Result<Arc<Details>, ApplyError> {
        let name = &change.mapping.name;
        if let Some(details) = self.details.get(name) {
            return Ok(Arc::clone(details));
        }
        let details = Arc::new(Details::read(self.target, change).await?);
        self.details.insert(name.clone(), Arc::clone(&details));
        Ok(details)
    }

    /// The row that meets the condition, locked. `comparisons` are asked for behind the table's columns.
    pub(super) async fn look(
        &mut self,
        change: &RowChange,
        details: &Details,
        comparisons: &[u8],
        condition: &[u8],
    ) -> Result<Option<Answered>, ApplyError> {
        let mut sql = b"SELECT ".to_vec();
        sql.extend_from_slice(&details.columns.list);
        sql.extend_from_slice(comparisons);
        sql.extend_from_slice(b" FROM ");
        sql.extend_from_slice(change.mapping.quoted.as_bytes());
        sql.extend_from_slice(b" WHERE ");
        sql.extend_from_slice(condition);
        sql.extend_from_slice(b" FOR UPDATE");
        let query = self.target.conn.query_first(sql);
        match tokio::time::timeout(self.stall, query).await {
            Ok(answer) => answer.map_err(|error| from_mysql(error, LOOKING)),
            Err(_) => Err(stalled(self.stall)),
        }
    }

    pub(super) async fn attempt(
        &mut self,
        change: &RowChange,
        form: Form,
    ) -> Result<Answer, ApplyError> {
        match statement(change, form, self.limits) {
            Ok(sql) => self.run_on(sql, &change.mapping.name.table).await,
            Err(error) => Ok(Answer::NoStatement(error)),
        }
    }

    pub(super) async fn run(&mut self, sql: Vec<u8>) -> Result<Answer, ApplyError> {
        self.run_on(sql, "").await
    }

    /// Runs a statement about a row of the table. Errors: those that are not about the data.
    pub(super) async fn run_on(&mut self, sql: Vec<u8>, table: &str) -> Result<Answer, ApplyError> {
        let dialect = self.target.dialect;
        let conn = &mut self.target.conn;
        let work = async {
            let result = conn.query_iter(sql).await?;
            let rows = result.affected_rows();
            result.drop_result().await?;
            Ok::<_, Error>(rows)
        };
        let error = match tokio::time::timeout(self.stall, work).await {
            Ok(Ok(rows)) => return Ok(Answer::Rows(rows)),
            Ok(Err(error)) => error,
            Err(_) => return Err(stalled(self.stall)),
        };
        let message = match &error {
            Error::Server(answer) => answer.message.clone(),
            _ => String::new(),
        };
        let error = from_mysql(error, APPLYING);
        match (verdict(&error), error) {
            (Verdict::Stop, ApplyError::Server { fault, .. }) => {
                let names = match fault.code {
                    1062 | 1586 | 1859 => dialect.duplicate_key_name(&message, table),
                    code => ConflictKind::of_error(code).and_then(|kind| match kind {
                        ConflictKind::Type => named::column(&message),
                        _ => named::constraint(&message),
                    }),
                };
                let names = names.map(str::to_owned);
                Ok(Answer::Refused(Refusal { fault, names }))
            }
            (_, error) => Err(error),
        }
    }

    pub(super) async fn simple(&mut self, sql: &str) -> Result<(), ApplyError> {
        match self.run(sql.as_bytes().to_vec()).await? {
            Answer::Rows(_) => Ok(()),
            Answer::NoStatement(error) => Err(error),
            Answer::Refused(refusal) => Err(ApplyError::Server {
                doing: APPLYING,
                place: None,
                table: None,
                fault: refusal.fault,
            }),
        }
    }
}

pub(super) fn values<'a>(
    change: &'a RowChange,
    image: &'a Option<RowImage>,
) -> Result<Option<Row<'a>>, ApplyError> {
    let values = image.as_ref().map(|image| change.mapping.values(image));
    (values.transpose()).map_err(|error| change.datum_error(error))
}

pub(super) fn key_condition(change: &RowChange, row: &Row<'_>) -> Result<Vec<u8>, ApplyError> {
    let mut condition = Vec::new();
    put_key_condition(&mut condition, &change.mapping, row)
        .map_err(|error| batch::value_error(error, &change.mapping, &change.place))?;
    Ok(condition)
}

pub(super) fn statement(
    change: &RowChange,
    form: Form,
    limits: &Limits,
) -> Result<Vec<u8>, ApplyError> {
    if form == Form::Exact {
        return batch::one(change, limits).map(|statement| statement.sql);
    }
    let mapping = &change.mapping;
    let (before, after) = (
        values(change, &change.before)?.unwrap_or_default(),
        values(change, &change.after)?.unwrap_or_default(),
    );
    let mut sql = Vec::new();
    match form {
        Form::Exact => Ok(()),
        Form::Insert => put_insert(&mut sql, mapping, &after),
        Form::Overwrite(Side::Before) => put_overwrite(&mut sql, mapping, &before, &after),
        Form::Overwrite(Side::After) => put_overwrite(&mut sql, mapping, &after, &after),
        Form::Remove => {
            put_remove(&mut sql, mapping, &key_condition(change, &before)?);
            Ok(())
        }
    }
    .map_err(|error| batch::value_error(error, mapping, &change.place))?;
    if mapping.without_foreign_keys(!matches!(form, Form::Remove)) {
        sql = without_foreign_keys(mapping.dialect, sql);
    }
    fits(&sql, change, limits)?;
    Ok(sql)
}

pub(super) fn fits(sql: &[u8], change: &RowChange, limits: &Limits) -> Result<(), ApplyError> {
    let bytes = sql.len() + PACKET_MARGIN;
    if bytes <= limits.packet {
        return Ok(());
    }
    Err(ApplyError::RowTooLarge {
        place: Arc::clone(&change.place),
        table: change.mapping.name.clone(),
        bytes: bytes as u64,
        limit: limits.packet as u64,
    })
}

pub(super) fn refused(change: &RowChange, fault: Box<ServerFault>) -> ApplyError {
    ApplyError::Server {
        doing: APPLYING,
        place: Some(Arc::clone(&change.place)),
        table: Some(change.mapping.name.clone()),
        fault,
    }
}

fn stalled(after: Duration) -> ApplyError {
    ApplyError::Lost {
        reason: format!("no answer for {} seconds", after.as_secs()),
    }
}
