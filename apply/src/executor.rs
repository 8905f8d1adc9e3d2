//! Runs units on the target: one transaction each, the progress statement first, COMMIT after every answer has been seen.

use std::time::Duration;

use binferry_schemas::record::FoldState;
use mysql_async::{Error, prelude::Queryable};

use crate::{
    batch::{Limits, PACKET_MARGIN, Statement},
    change::RowChange,
    conflict::{self, Court},
    connection::{Target, from_mysql},
    error::ApplyError,
    plan::{Group, Part},
    progress::{self, Ownership},
    retry::{Verdict, verdict},
};

/// Statements travel together up to this size: few round trips, little memory.
const PACKET: usize = 1 << 20;

#[derive(Debug)]
pub struct Executor {
    target: Target,
    owner: Ownership,
    limits: Limits,
    /// A statement without an answer for so long means that the connection is dead.
    stall: Duration,
    /// The row's version inside the open transaction, when there is one.
    open: Option<u64>,
    court: Court,
    /// Decided in the open transaction, and in those that were committed since they were asked for.
    conflicts: u64,
}

/// How a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Something is wrong with one of its transactions; nothing is done. To find it, and to apply those before it, give them one by one.
    Isolate,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("statement {index} of a packet found another number of rows")]
    Rows { index: usize },
    #[error(transparent)]
    Error(ApplyError),
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// About the data, not about the connection or the server's state: worth a closer look.
    fn is_about_data(&self) -> bool {
        match self {
            Self::Rows { .. } => true,
            Self::Error(error) => is_about_data(error),
        }
    }
}

const APPLYING: &str = "applying changes";

impl Executor {
    pub fn new(
        target: Target,
        owner: Ownership,
        limits: Limits,
        stall: Duration,
        court: Court,
    ) -> Self {
        Self {
            target,
            owner,
            limits,
            stall,
            open: None,
            court,
            conflicts: 0,
        }
    }

    /// How many conflicts were decided and committed since the last call, after a commit.
    pub fn take_conflicts(&mut self) -> u64 {
        std::mem::take(&mut self.conflicts)
    }

    pub async fn group(&mut self, group: &Group) -> Result<Outcome, ApplyError> {
        let reason = match &group.statements {
            Ok(statements) => match self.fast(&group.state, statements).await {
                Ok(()) => return self.commit().await.map(|()| Outcome::Committed),
                Err(failure) if failure.is_about_data() => failure.to_string(),
                Err(failure) => return Err(self.plain(failure)),
            },
            Err(unfit) => unfit.to_string(),
        };
        self.roll_back().await?;
        if group.transactions > 1 {
            tracing::info!(
                transactions = group.transactions,
                reason,
                "a group does not fit the target; going on with one transaction at a time"
            );
            return Ok(Outcome::Isolate);
        }
        // One transaction: row by row, in the log's order.
        self.fast(&group.state, &[])
            .await
            .map_err(|failure| self.plain(failure))?;
        self.one_by_one(&group.changes).await?;
        self.commit().await?;
        Ok(Outcome::Committed)
    }

    /// A part of a streamed transaction.
    pub async fn part(&mut self, part: &Part) -> Result<(), ApplyError> {
        let mut head = Vec::new();
        let mut rows = Vec::new();
        if part.first {
            head.extend_from_slice(b"START TRANSACTION;");
            progress::put_claim(&mut head, &self.owner);
            head.push(b';');
            rows.extend([None, Some(1)]);
        }
        head.extend_from_slice(b"SAVEPOINT part");
        rows.push(None);
        self.packet(head, &rows)
            .await
            .map_err(|failure| self.plain(failure))?;
        if part.first {
            self.open = Some(self.owner.version + 1);
        }
        match self
            .statements(Vec::new(), Vec::new(), &part.statements)
            .await
        {
            Ok(()) => {}
            Err(failure) if failure.is_about_data() => {
                self.simple("ROLLBACK TO SAVEPOINT part").await?;
                self.one_by_one(&part.changes).await?;
            }
            Err(failure) => return Err(self.plain(failure)),
        }
        if let Some(state) = &part.end {
            let mut end = Vec::new();
            let owner = Ownership {
                version: self.open.unwrap_or(self.owner.version),
                ..self.owner.clone()
            };
            progress::put_statement(&mut end, &owner, state);
            self.packet(end, &[Some(1)])
                .await
                .map_err(|failure| self.plain(failure))?;
            self.open = self.open.map(|version| version + 1);
            self.commit().await?;
        }
        Ok(())
    }

    /// Begins the target transaction with the progress statement, and runs the statements.
    async fn fast(&mut self, state: &FoldState, statements: &[Statement]) -> Result<(), Failure> {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(b"START TRANSACTION;");
        progress::put_statement(&mut head, &self.owner, state);
        self.open = Some(self.owner.version + 1);
        self.statements(head, vec![None, Some(1)], statements).await
    }

    /// Packs statements into packets and runs them; `head` goes first, and is to find `rows`.
    async fn statements(
        &mut self,
        head: Vec<u8>,
        rows: Vec<Option<u64>>,
        statements: &[Statement],
    ) -> Result<(), Failure> {
        let room = PACKET.min(self.target.max_packet.saturating_sub(PACKET_MARGIN));
        let claims = rows.len();
        let (mut sql, mut rows) = (head, rows);
        // Index of the progress statement's answer, which is in the first packet.
        let mut progress = (claims > 0).then(|| claims - 1);
        for statement in statements {
            if !sql.is_empty() && sql.len() + statement.sql.len() > room {
                self.checked(std::mem::take(&mut sql), &rows, progress.take())
                    .await?;
                rows.clear();
            }
            if !sql.is_empty() {
                sql.push(b';');
            }
            sql.extend_from_slice(&statement.sql);
            rows.push(Some(statement.rows));
        }
        if !sql.is_empty() {
            self.checked(sql, &rows, progress).await?;
        }
        Ok(())
    }

    async fn checked(
        &mut self,
        sql: Vec<u8>,
        rows: &[Option<u64>],
        progress: Option<usize>,
    ) -> Result<(), Failure> {
        match self.packet(sql, rows).await {
            Err(Failure::Rows { index }) if Some(index) == progress => {
                Err(self.superseded().into())
            }
            other => other,
        }
    }

    /// Runs a packet of statements; each must find its number of rows.
    async fn packet(&mut self, sql: Vec<u8>, rows: &[Option<u64>]) -> Result<(), Failure> {
        let conn = &mut self.target.conn;
        let work = async {
            let mut result = conn.query_iter(sql).await?;
            for (index, expected) in rows.iter().enumerate() {
                if expected.is_some_and(|expected| expected != result.affected_rows()) {
                    // The server stops at an error, and the driver shows one behind the first statement only when asked for more. With
                    // nothing more to come, it is this statement's; otherwise it belongs to a later one.
                    let newest = result.is_empty();
                    return match result.drop_result().await {
                        Err(error @ Error::Server(_)) if newest => Err(error),
                        other => other.or_else(ignore_server).map(|()| Some(index)),
                    };
                }
                if result.is_empty() {
                    break;
                }
                result.for_each(drop).await?;
            }
            result.drop_result().await?;
            Ok(None)
        };
        match tokio::time::timeout(self.stall, work).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(index))) => Err(Failure::Rows { index }),
            Ok(Err(error)) => Err(from_mysql(error, APPLYING).into()),
            Err(_) => Err(ApplyError::Lost {
                reason: format!("no answer for {} seconds", self.stall.as_secs()),
            }
            .into()),
        }
    }

    async fn simple(&mut self, sql: &str) -> Result<(), ApplyError> {
        self.packet(sql.as_bytes().to_vec(), &[None])
            .await
            .map_err(|failure| self.plain(failure))
    }

    async fn commit(&mut self) -> Result<(), ApplyError> {
        let version = self.open.take();
        match self.simple("COMMIT").await {
            Ok(()) => {
                if let Some(version) = version {
                    self.owner.version = version;
                }
                Ok(())
            }
            // Whatever the answer, the transaction may have been committed: the progress row decides.
            Err(error) => Err(ApplyError::Lost {
                reason: format!("the commit was not confirmed: {error}"),
            }),
        }
    }

    pub async fn roll_back(&mut self) -> Result<(), ApplyError> {
        self.open = None;
        self.conflicts = 0;
        self.simple("ROLLBACK").await
    }

    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Says something, so that the server keeps the session.
    pub async fn keep_alive(&mut self) -> Result<(), ApplyError> {
        self.simple("DO 0").await
    }

    pub async fn close(self) {
        // The session ends either way.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.target.conn.disconnect()).await;
    }

    fn superseded(&self) -> ApplyError {
        ApplyError::Superseded {
            stream: self.owner.stream.clone(),
        }
    }

    /// A failure of a statement that is not about a row: the only one that counts rows is the progress statement.
    fn plain(&self, failure: Failure) -> ApplyError {
        match failure {
            Failure::Rows { .. } => self.superseded(),
            Failure::Error(error) => error,
        }
    }

    async fn one_by_one(&mut self, changes: &[RowChange]) -> Result<(), ApplyError> {
        let (target, court) = (&mut self.target, &self.court);
        let journaled =
            conflict::one_by_one(target, court, &self.limits, self.stall, changes).await?;
        self.conflicts += journaled;
        Ok(())
    }
}

fn is_about_data(error: &ApplyError) -> bool {
    matches!(
        error,
        ApplyError::Server { .. } | ApplyError::Value { .. } | ApplyError::RowTooLarge { .. }
    ) && verdict(error) == Verdict::Stop
}

/// An error of a statement after the one that already failed the packet changes nothing; a broken connection does.
fn ignore_server(error: Error) -> Result<(), Error> {
    match error {
        Error::Server(_) => Ok(()),
        other => Err(other),
    }
}
