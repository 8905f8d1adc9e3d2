//! Statements: those that end a transaction, and those that define something.

use std::sync::Arc;

use binferry_schemas::record::{Body, Ddl};
use binferry_transport::{log::Log, session::Session};

use super::{Assembly, Progressed, definition};
use crate::{
    decode::{QueryEvent, Statement, classify},
    error::CaptureError,
    stream::error::StreamError,
};

/// A bit of `sql_mode`.
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

impl Assembly {
    pub(super) async fn statement(
        &mut self,
        query: QueryEvent<'_>,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        let statement = classify(&query, self.mariadb).map_err(|e| self.at(e))?;
        let may_end = self.may_end();
        let Some(open) = &mut self.open else {
            return Err(self.outside("a statement"));
        };
        match statement {
            Statement::Begin => {
                open.begun = true;
                Ok(Progressed::Nothing)
            }
            Statement::Savepoint => Ok(Progressed::Nothing),
            Statement::Rollback { whole } => self.rollback(whole, session).await,
            Statement::Xa(verb, xid) => self.xa_statement(verb, xid, log, session).await,
            Statement::Commit => self.commit(session).await,
            Statement::Change { verb, tables } => {
                // Foreign to row format. The table that it names is not all that it may change (triggers, functions), so only databases
                // without a captured table are of no interest.
                if tables.is_empty() || tables.iter().any(|(d, _)| self.filter.touches(d, "")) {
                    return Err(StreamError::StatementChange {
                        gtid: open.transaction.gtid,
                        file: self.file.clone(),
                        position: self.position,
                        verb,
                    }
                    .into());
                }
                Ok(Progressed::Nothing)
            }
            Statement::Definition(definition) => {
                self.counters.statements += 1;
                let goes_on = definition.rows_follow || open.begun;
                if !goes_on {
                    may_end?;
                }
                let replay = definition::session(
                    &query,
                    &definition,
                    self.timestamp,
                    self.mariadb,
                    &self.settings,
                );
                // What touches no captured table counts and leaves nothing: statements such as CREATE USER hold secrets.
                let Some(concern) = definition::concern(&query, &definition, &self.filter, replay)
                else {
                    return if goes_on {
                        Ok(Progressed::Nothing)
                    } else {
                        self.commit(session).await
                    };
                };
                if !open.changes.is_empty() {
                    open.send(false, session).await?;
                }
                let gtid = open.transaction.gtid;
                self.desk.definition(gtid, concern.effect, &concern.tables);
                self.desk
                    .renamed(concern.effect, &concern.tables, session)
                    .await?;
                if let Some((database, table)) = &definition.like {
                    let fold = |name: &str| self.filter.fold(name).into_owned();
                    let like = (fold(database), fold(table));
                    self.desk.made_like(&like, &concern.tables, session).await?;
                }
                let mut transaction = open.transaction.clone();
                transaction.last = !goes_on;
                let ddl = Ddl {
                    transaction,
                    statement: query.statement().into_owned(),
                    database: query.database().to_owned(),
                    sql_mode: match definition.rows_follow {
                        // The server has written it anew, and escapes backslashes whatever its mode says.
                        true => query.sql_mode() & !NO_BACKSLASH_ESCAPES,
                        false => query.sql_mode(),
                    },
                    collations: query.collations(),
                    time_zone: query.time_zone().to_owned(),
                    effect: concern.effect,
                    tables: concern.tables,
                    replay: Some(Box::new(concern.replay)),
                };
                session.append(Body::Ddl(ddl)).await?;
                open.captured = true;
                self.counters.statements_written += 1;
                open.transaction.chunk += 1;
                if goes_on {
                    return Ok(Progressed::Nothing);
                }
                Ok(self.ended())
            }
        }
    }
}
