//! The beginning of a table's copy: the table is made, or what is there is looked at.
//!
//! Statements that define tables commit by themselves, so each step must be able to come again: the applier may die between any two, and the
//! progress row then still says that the copy has not begun. A table that is there is compared, never made anew; whose it is, and so
//! whether rows in it are the copy's own, is in the ledger.
//!
//! A table is made from the source's own text, in the session that the text was printed for as far as that tells what it means, with the
//! foreign keys to tables that the log brings as well. So they follow what the source's statements do to either table meanwhile. They
//! check nothing before both tables are whole. Those to other tables come after the rows, if these are there (see `end`).

use std::sync::Arc;

use binferry_schemas::{
    filter::TableFilter,
    record::{Over, SnapshotBegin},
    row::RowSchema,
};
use mysql_async::{Error, prelude::Queryable};

use super::{
    CopyProblem, IntoTables, LaterKeys,
    definition::Definition,
    ledger::{self, Entry, Later, State},
    repair,
};
use crate::{
    batch::Statement,
    connection::{self, Target, from_mysql, server_fault},
    dialect::Dialect,
    error::{ApplyError, Place, ServerFault, TableName, TableProblem},
    render::{literal::put_quoted, name::quoted},
    retry::{Verdict, verdict},
    takeover,
    target::{catalog, mapping::Mapping, table::TargetTable},
};

const DOING: &str = "making a table for its copy";

/// Flags of `sql_mode` (`sql/system_variables.h`, MODE_…) that decide what a text means: REAL_AS_FLOAT, PIPES_AS_CONCAT, ANSI_QUOTES,
/// IGNORE_SPACE, NO_UNSIGNED_SUBTRACTION, NO_BACKSLASH_ESCAPES, HIGH_NOT_PRECEDENCE.
const MEANING: u64 = 1 | 2 | 4 | 8 | 64 | 1 << 20 | 1 << 29;
/// STRICT_TRANS_TABLES, STRICT_ALL_TABLES, ALLOW_INVALID_DATES, NO_ENGINE_SUBSTITUTION: nothing is cut or replaced in silence, and zero
/// dates are defaults like any other.
const STRICT: u64 = 1 << 21 | 1 << 22 | 1 << 25 | 1 << 30;

/// ER_FK_NO_INDEX_PARENT, and what MariaDB says instead: ER_CANT_CREATE_TABLE.
const NO_KEY_AT_PARENT: [u16; 2] = [1822, 1005];

/// Rows of so many bytes, as the source estimates them, make it worth while to add keys after them.
const MANY: u64 = 1 << 20;

/// What a target is told to do with a copy.
#[derive(Debug, Clone)]
pub struct Rules {
    pub into: IntoTables,
    /// Tables whose triggers may do what they do.
    pub triggers: Option<TableFilter>,
    pub stream: String,
    pub keys: Arc<LaterKeys>,
}

/// A copy that begins.
#[derive(Debug)]
pub struct Beginning {
    pub begin: Box<SnapshotBegin>,
    pub schema: Arc<RowSchema>,
    pub place: Arc<Place>,
    /// Which tables the log brings.
    pub captured: Vec<TableFilter>,
}

impl Beginning {
    fn name(&self) -> TableName {
        let table = &self.begin.table;
        TableName {
            database: table.database.clone(),
            table: table.table.clone(),
        }
    }

    fn problem(&self, problem: CopyProblem) -> ApplyError {
        ApplyError::Copy {
            table: self.name(),
            place: Some(Arc::clone(&self.place)),
            problem: Box::new(problem),
        }
    }

    /// Makes the table ready for its rows. What it gives belongs in the transaction of the progress; and whether other tables are now referred
    /// to.
    pub async fn run(
        &self,
        target: &mut Target,
        rules: &Rules,
    ) -> Result<(Vec<Statement>, bool), ApplyError> {
        let (begin, name, stream) = (&*self.begin, self.name(), rules.stream.as_str());
        let comes = |parent: &TableName| {
            let mut filters = self.captured.iter();
            filters.any(|filter| filter.matches(&parent.database, &parent.table))
        };
        let definition =
            Definition::parse(&begin.create_table, begin.sql_mode, &name.database, comes)
                .map_err(|unclear| self.problem(CopyProblem::Definition(unclear)))?;
        ledger::create_tables(&mut target.conn).await?;
        let entries = ledger::entries(&mut target.conn, stream).await?;
        let known = entries.into_iter().find(|entry| entry.table == name);
        let copy = begin.copy.to_string();
        let found = catalog::table(target, &name).await?;
        let made = match (&found, &known) {
            (None, _) => {
                let entry = Entry {
                    table: name.clone(),
                    copy: copy.clone(),
                    state: State::Creating,
                    made: true,
                    keyless: begin.key.is_empty(),
                };
                let later = self.keys_for_later(&name, &definition);
                self.note(target, stream, &entry, &later).await?;
                let create = match later.keys.is_empty() {
                    true => &definition.create,
                    false => &definition.unkeyed,
                };
                self.create(target, create, &rules.keys).await?;
                true
            }
            (Some(_), Some(entry)) => entry.made,
            (Some(_), None) => false,
        };
        if made && !definition.bare.is_empty() {
            self.drop_defaults(target, &definition).await?;
        }
        let there = match found {
            Some(there) => {
                // A view is none of ours to look into.
                if !there.view {
                    self.rows(target, &name, known.is_some(), rules.into)
                        .await?;
                }
                there
            }
            None => (catalog::table(target, &name).await?).ok_or(ApplyError::Defect(
                "a table that has just been made is not there",
            ))?,
        };
        if begin.over == Over::Repair && !begin.key.is_empty() {
            repair::orders_alike(target, &self.schema, &begin.key, &there)
                .await?
                .map_err(|reason| self.problem(CopyProblem::Repair(reason)))?;
        }
        self.fits(there, &name, &definition, rules)?;
        let entry = Entry {
            table: name.clone(),
            copy,
            state: State::Copying,
            made,
            keyless: begin.key.is_empty(),
        };
        let mut statements = vec![statement(|sql| ledger::put_entry(sql, stream, &entry))];
        statements.push(statement(|sql| {
            ledger::put_key_removal(sql, stream, &name, None);
        }));
        if made && !definition.foreign_keys.is_empty() {
            statements.push(statement(|sql| {
                let keys = &definition.foreign_keys;
                ledger::put_keys(sql, stream, &name, begin.sql_mode, keys);
            }));
        }
        Ok((statements, made && definition.refers))
    }

    /// Ordering the rows once, when all are there, is cheaper than finding the place of each; not for a few.
    fn keys_for_later(&self, name: &TableName, definition: &Definition) -> Later {
        let begin = &*self.begin;
        let worth = begin.estimated_bytes >= MANY && !begin.key.is_empty();
        Later {
            table: name.clone(),
            sql_mode: begin.sql_mode,
            claim: String::new(),
            keys: match worth {
                true => definition.later.clone(),
                false => Vec::new(),
            },
        }
    }

    /// What the ledger has to say before the table is there.
    async fn note(
        &self,
        target: &mut Target,
        stream: &str,
        entry: &Entry,
        later: &Later,
    ) -> Result<(), ApplyError> {
        let (mut put, mut removal, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        ledger::put_entry(&mut put, stream, entry);
        ledger::put_later_removal(&mut removal, stream, &later.table);
        let mut statements = vec![b"START TRANSACTION".to_vec(), put, removal];
        if !later.keys.is_empty() {
            ledger::put_later(&mut keys, stream, later);
            statements.push(keys);
        }
        statements.push(b"COMMIT".to_vec());
        for sql in statements {
            let written = target.conn.query_drop(sql).await;
            written.map_err(|error| from_mysql(error, DOING))?;
        }
        Ok(())
    }

    /// Rows that are there already: the copy's own, or not to be there.
    async fn rows(
        &self,
        target: &mut Target,
        name: &TableName,
        ours: bool,
        into: IntoTables,
    ) -> Result<(), ApplyError> {
        let (begin, table) = (&*self.begin, table_text(name));
        let fail = |error| from_mysql(error, "looking for rows before a copy");
        let row: Option<u8> = (target.conn)
            .query_first(format!("SELECT 1 FROM {table} LIMIT 1"))
            .await
            .map_err(fail)?;
        if row.is_none() {
            return Ok(());
        }
        let keyless = begin.key.is_empty();
        let remove = match begin.over {
            Over::Remove => true,
            // Equal rows can't be told apart: what an earlier attempt brought would be there twice.
            Over::Nothing if ours => keyless,
            Over::Nothing if into == IntoTables::Existing && !keyless => false,
            Over::Nothing => return Err(self.problem(CopyProblem::NotEmpty { keyless })),
            // Range by range, with the rows that come.
            Over::Repair => keyless,
        };
        if remove {
            tracing::info!(table = %name, "removing the table's rows before they are copied");
            for sql in [
                "SET SESSION foreign_key_checks = 0".to_owned(),
                format!("TRUNCATE TABLE {table}"),
                "SET SESSION foreign_key_checks = 1".to_owned(),
            ] {
                target
                    .conn
                    .query_drop(sql)
                    .await
                    .map_err(|error| from_mysql(error, "removing a table's rows before a copy"))?;
            }
        }
        Ok(())
    }

    /// Can the table take the rows?
    fn fits(
        &self,
        mut there: TargetTable,
        name: &TableName,
        definition: &Definition,
        rules: &Rules,
    ) -> Result<(), ApplyError> {
        let allowed = |tables: &TableFilter| tables.matches(&name.database, &name.table);
        if rules.triggers.as_ref().is_some_and(allowed) {
            there.trigger = None;
        }
        let mapping = Mapping::new(Arc::clone(&self.schema), &there).and_then(|mapping| {
            let mapping = mapping.copied(&there);
            // The target computes it, so a value of the source's would be lost.
            let lost = (self.schema.columns.iter()).find(|column| {
                let there = there.column(&column.name);
                there.is_some_and(|there| there.generated)
                    && !definition.generated.contains(&column.name)
            });
            if let Some(column) = lost {
                return Err(TableProblem::Generated {
                    column: column.name.clone(),
                });
            }
            // The rows are told apart by a key: on the target as on the source.
            let found = (mapping.copying.as_ref()).is_some_and(|copying| copying.guard.is_some());
            match self.begin.key.is_empty() || found {
                true => Ok(()),
                false => Err(TableProblem::Key {
                    columns: self.begin.key.clone(),
                }),
            }
        });
        mapping.map_err(|problem| ApplyError::Table {
            table: name.clone(),
            place: Some(Arc::clone(&self.place)),
            problem: Box::new(problem),
            after: None,
        })
    }

    async fn create(
        &self,
        target: &mut Target,
        create: &str,
        keys: &LaterKeys,
    ) -> Result<(), ApplyError> {
        let begin = &*self.begin;
        let database = &begin.table.database;
        let there: Option<u8> = (target.conn)
            .exec_first(
                "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?",
                (database,),
            )
            .await
            .map_err(|error| from_mysql(error, DOING))?;
        let context = context(target.dialect, begin);
        let mut statements: Vec<&str> = vec![&context];
        if there.is_none() {
            statements.push(&begin.create_database);
        }
        let default = format!("USE {}", quoted(database));
        statements.extend([default.as_str(), create]);
        for sql in statements {
            let mut ran = target.conn.query_drop(sql).await;
            // A foreign key may refer to a plain key.
            if let Err(Error::Server(answer)) = &ran
                && NO_KEY_AT_PARENT.contains(&answer.code)
            {
                takeover::awake(&mut target.conn, keys.complete_all()).await?;
                ran = target.conn.query_drop(sql).await;
            }
            match ran {
                Ok(()) => {}
                // Another stream was faster.
                Err(Error::Server(answer)) if answer.code == 1007 => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
        connection::restore(target).await?;
        tracing::info!(table = %self.name(), "made for its copy");
        Ok(())
    }

    /// A column that may be NULL has NULL as its default, unless it is told otherwise.
    async fn drop_defaults(
        &self,
        target: &mut Target,
        definition: &Definition,
    ) -> Result<(), ApplyError> {
        let columns: Vec<_> = (definition.bare.iter())
            .map(|column| format!("ALTER COLUMN {} DROP DEFAULT", quoted(column)))
            .collect();
        let sql = format!(
            "ALTER TABLE {} {}",
            table_text(&self.name()),
            columns.join(", ")
        );
        let dropped = target.conn.query_drop(sql).await;
        dropped.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: Error) -> ApplyError {
        match error {
            Error::Server(answer) if is_about_definitions(&answer) => {
                let fault = told(answer);
                self.problem(CopyProblem::Create { fault })
            }
            other => from_mysql(other, DOING),
        }
    }
}

/// The mode in which a text means what it means on the source, and nothing is cut.
pub(super) fn sql_mode(source: u64) -> u64 {
    source & MEANING | STRICT
}

/// The session in which the texts mean what they mean on the source.
fn context(dialect: Dialect, begin: &SnapshotBegin) -> String {
    let mut zone = Vec::new();
    put_quoted(&mut zone, begin.time_zone.as_bytes());
    let mut sql = format!(
        "SET SESSION foreign_key_checks = 0, sql_mode = {}, time_zone = {}",
        sql_mode(begin.sql_mode),
        String::from_utf8_lossy(&zone)
    );
    // Numbers of collations are not the same on MariaDB.
    if dialect == Dialect::MySql && begin.collations[1] != 0 {
        sql.push_str(&format!(", collation_connection = {}", begin.collations[1]));
    }
    sql
}

pub(super) fn statement(put: impl FnOnce(&mut Vec<u8>)) -> Statement {
    let mut sql = Vec::new();
    put(&mut sql);
    Statement::new(sql, None)
}

pub(super) fn table_text(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.database), quoted(&name.table))
}

/// Not about privileges, locks or the server's state.
pub(super) fn is_about_definitions(answer: &mysql_async::ServerError) -> bool {
    let fault = from_mysql(Error::Server(answer.clone()), DOING);
    matches!(fault, ApplyError::Server { .. }) && verdict(&fault) == Verdict::Stop
}

/// The server's fault with its text: statements about definitions hold no row.
pub(super) fn told(answer: mysql_async::ServerError) -> Box<ServerFault> {
    let message = answer.message.clone();
    let mut fault = server_fault(answer);
    fault.message = Some(message);
    Box::new(fault)
}
