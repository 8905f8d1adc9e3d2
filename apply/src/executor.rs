//! Runs units on the target: one transaction each, the progress statement first, COMMIT after every answer has been seen, and in its turn.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use binferry_schemas::{gtid::Uuid, record::FoldState};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mysql_async::{Conn, Error, prelude::Queryable};

use crate::{
    batch::{self, Bulk, Limits, PACKET_MARGIN, Statement, Unfit},
    change::RowChange,
    conflict::{self, Court, Tally},
    connection::{KEEPALIVE, Target, from_mysql},
    copy::{Rules, Step},
    error::ApplyError,
    meter::ApplyMeter,
    options::Gtids,
    plan::{Group, Part},
    preserve::{self, Name},
    progress::{self, Ownership},
    retry::{Verdict, verdict},
    turns::{Turn, Turns},
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
    /// When the server last heard of it.
    said: Instant,
    court: Court,
    /// Conflicts that were decided in the open transaction.
    deciding: Tally,
    /// And in those that were committed since they were asked for.
    decided: Tally,
    gtids: Gtids,
    /// Of the open transaction, or the next one, when it is to have the source's.
    name: Option<Name>,
    /// Groups for which rows of copies are not loaded, because some could not be.
    not_loading: u32,
    meter: Arc<ApplyMeter>,
}

/// How a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// A group before it has failed; nothing is done.
    Abandoned,
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

    /// About the locks of others.
    fn is_about_locks(&self) -> bool {
        match self {
            Self::Error(ApplyError::Server { fault, .. }) => {
                matches!(fault.code, 1205 | 1206 | 1213)
            }
            _ => false,
        }
    }
}

/// After rows that could not be loaded. What is there already lies together, mostly.
const NOT_LOADING: u32 = 16;

const APPLYING: &str = "applying changes";

impl Executor {
    pub fn new(
        target: Target,
        owner: Ownership,
        limits: Limits,
        stall: Duration,
        court: Court,
        gtids: Gtids,
        meter: Arc<ApplyMeter>,
    ) -> Self {
        Self {
            target,
            owner,
            limits,
            stall,
            open: None,
            said: Instant::now(),
            court,
            deciding: Tally::default(),
            decided: Tally::default(),
            gtids,
            name: None,
            not_loading: 0,
            meter,
        }
    }

    /// How many conflicts were decided and committed since the last call.
    pub fn take_conflicts(&mut self) -> Tally {
        std::mem::take(&mut self.decided)
    }

    /// Applies a group beside others, and commits it in its turn.
    pub async fn group(&mut self, group: &Group, turns: &Turns) -> Result<Outcome, ApplyError> {
        let begun = Instant::now();
        self.name = group.name.as_deref().copied();
        let outcome = tokio::select! {
            biased;
            outcome = self.in_turn(group, turns) => outcome,
            never = turns.watch(group.number) => match never {},
        };
        match outcome {
            Ok(Outcome::Committed) => turns.committed(group.number, begun),
            _ => turns.failed(group.number),
        }
        outcome.map_err(|error| group.placed(error))
    }

    async fn in_turn(&mut self, group: &Group, turns: &Turns) -> Result<Outcome, ApplyError> {
        const ATTEMPTS: u32 = 3;
        if group.late.len() as u64 != group.rows() {
            return Err(ApplyError::Defect(
                "a change that is neither late nor early",
            ));
        }
        let mut bulk = self.bulk();
        let mut rendered = self.render(group, bulk);
        let mut beside = true;
        let mut attempt = 0;
        loop {
            let (early, late) = match &rendered {
                Ok(statements) => statements,
                Err(unfit) => return self.closely(group, turns, &unfit.to_string()).await,
            };
            // The first time at once; then with everything before committed, and nothing behind in the way.
            if !beside && turns.wait(group.number, false).await == Turn::Abandoned {
                return Ok(Outcome::Abandoned);
            }
            let failure = match self.fast(&group.state, early).await {
                Ok(()) => match turns.wait(group.number, beside).await {
                    Turn::Abandoned => {
                        self.roll_back().await?;
                        return Ok(Outcome::Abandoned);
                    }
                    Turn::Yield => None,
                    Turn::Ours => match self.statements(Vec::new(), Vec::new(), late).await {
                        Ok(()) => {
                            self.commit().await?;
                            return Ok(Outcome::Committed);
                        }
                        Err(failure) => Some(failure),
                    },
                },
                Err(failure) => Some(failure),
            };
            match failure {
                None => {}
                // Rows may be there already, or need more care.
                Some(failure)
                    if failure.is_about_data() && (has_lines(early) || has_lines(late)) =>
                {
                    tracing::debug!(%failure, "rows of a copy can't be loaded; they are inserted");
                    self.roll_back().await?;
                    self.not_loading = NOT_LOADING;
                    bulk = Bulk::Insert;
                    rendered = self.render(group, bulk);
                    continue;
                }
                // What it shares with the groups before may not be told by any key that is known here.
                Some(failure) if beside && failure.is_about_data() => {}
                Some(failure) if failure.is_about_locks() && attempt < ATTEMPTS => attempt += 1,
                Some(failure) if failure.is_about_data() => {
                    let reason = failure.to_string();
                    return self.closely(group, turns, &reason).await;
                }
                Some(failure) => return Err(self.plain(failure)),
            }
            beside = false;
            self.roll_back().await?;
        }
    }

    /// Groups that were not loaded are followed by some that are not tried either.
    fn bulk(&mut self) -> Bulk {
        let waits = self.not_loading > 0;
        self.not_loading = self.not_loading.saturating_sub(1);
        match self.target.local_infile && !waits {
            true => Bulk::Load,
            false => Bulk::Insert,
        }
    }

    /// The statements of what is not late, and of what is.
    fn render(&self, group: &Group, bulk: Bulk) -> Result<(Vec<Statement>, Vec<Statement>), Unfit> {
        let part = |late| {
            if group.copied.is_empty() {
                return batch::net_effect(group.part(late), &self.limits);
            }
            let mut statements = Vec::new();
            for (copied, rows) in group.copied_part(late) {
                batch::put_copied(copied, &rows, bulk, &self.limits, &mut statements)?;
            }
            Ok(statements)
        };
        Ok((part(false)?, part(true)?))
    }

    /// A step of a copy; gives whether definitions of other tables have changed.
    pub async fn copy(
        &mut self,
        step: &Step,
        state: &FoldState,
        rules: &Rules,
    ) -> Result<bool, ApplyError> {
        self.name = None;
        self.said = Instant::now();
        let limits = self.limits;
        let done = step.run(&mut self.target, rules, state, &limits).await?;
        self.said = Instant::now();
        match (self.fast(state, &done.statements).await, step) {
            (Ok(()), _) => {}
            (Err(Failure::Rows { .. }), Step::Repair(repair)) => return Err(repair.obstructed()),
            (Err(failure), _) => return Err(self.plain(failure)),
        }
        self.commit().await?;
        Ok(done.others)
    }

    /// A group that does not fit as a whole, in its turn: halves of it, and halves of these, until what is wrong is alone. So all before
    /// it is applied, and it costs a few attempts.
    async fn closely(
        &mut self,
        group: &Group,
        turns: &Turns,
        reason: &str,
    ) -> Result<Outcome, ApplyError> {
        if self.in_transaction() {
            self.roll_back().await?;
        }
        if turns.wait(group.number, false).await == Turn::Abandoned {
            return Ok(Outcome::Abandoned);
        }
        let count = group.transactions.len();
        tracing::info!(
            transactions = count,
            reason,
            "a group does not fit the target; looking for the transaction"
        );
        // The first one is on top.
        let mut open: Vec<Range<usize>> = Vec::new();
        open.push(0..count);
        while let Some(some) = open.pop() {
            let (changes, state) = group.slice(some.clone())?;
            if some.len() < count && self.together(&changes, &state).await? {
                continue;
            }
            if some.len() <= 1 {
                self.alone(&changes, &state).await?;
            } else {
                let middle = some.start + some.len() / 2;
                open.push(middle..some.end);
                open.push(some.start..middle);
            }
        }
        Ok(Outcome::Committed)
    }

    /// False: they do not fit, and nothing is done.
    async fn together(
        &mut self,
        changes: &[RowChange],
        state: &FoldState,
    ) -> Result<bool, ApplyError> {
        let Ok(statements) = batch::net_effect(changes.iter(), &self.limits) else {
            return Ok(false);
        };
        match self.fast(state, &statements).await {
            Ok(()) => self.commit().await.map(|()| true),
            Err(failure) if failure.is_about_data() => self.roll_back().await.map(|()| false),
            Err(failure) => Err(self.plain(failure)),
        }
    }

    /// One transaction, row by row, in the log's order.
    async fn alone(&mut self, changes: &[RowChange], state: &FoldState) -> Result<(), ApplyError> {
        self.fast(state, &[])
            .await
            .map_err(|failure| self.plain(failure))?;
        self.one_by_one(changes).await?;
        self.commit().await
    }

    /// A part of a streamed transaction.
    pub async fn part(&mut self, part: &Part) -> Result<(), ApplyError> {
        let outcome = self.put_part(part).await;
        outcome.map_err(|error| part.placed(error))
    }

    async fn put_part(&mut self, part: &Part) -> Result<(), ApplyError> {
        let mut head = Vec::new();
        let mut rows = Vec::new();
        if part.first {
            self.name = part.name;
            if let Some(name) = &self.name {
                name.put(&mut head);
                rows.push(None);
            }
            head.extend_from_slice(b"START TRANSACTION;");
            progress::put_claim(&mut head, &self.owner);
            head.push(b';');
            rows.extend([None, Some(1)]);
        }
        head.extend_from_slice(b"SAVEPOINT part");
        rows.push(None);
        match self.packet(head, &rows).await {
            Ok(()) => {}
            Err(Failure::Rows { .. }) => return Err(self.not_ours().await),
            Err(failure) => return Err(self.plain(failure)),
        }
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
        if self.in_transaction() {
            // The server would commit it, whatever is in it.
            return Err(ApplyError::Defect("a transaction is begun inside another").into());
        }
        let mut head = Vec::with_capacity(512);
        let mut rows = Vec::with_capacity(3);
        if let Some(name) = &self.name {
            name.put(&mut head);
            rows.push(None);
        }
        head.extend_from_slice(b"START TRANSACTION;");
        progress::put_statement(&mut head, &self.owner, state);
        rows.extend([None, Some(1)]);
        self.open = Some(self.owner.version + 1);
        match self.statements(head, rows, statements).await {
            Err(Failure::Error(ApplyError::Superseded { .. })) => Err(self.not_ours().await.into()),
            other => other,
        }
    }

    /// The progress statement has found no row: somebody else has taken over, or applied the transaction.
    async fn not_ours(&mut self) -> ApplyError {
        let Some(name) = self.name else {
            return self.superseded();
        };
        if let Err(error) = self.roll_back().await {
            return error;
        }
        match preserve::is_executed(&mut self.target.conn, name.gtid).await {
            // The next attempt asks again what is executed.
            Ok(true) => ApplyError::Lost {
                reason: format!("transaction {} has come by another way", name.gtid),
            },
            Ok(false) => self.superseded(),
            Err(error) => error,
        }
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
            if let Some(lines) = &statement.lines {
                if !sql.is_empty() {
                    self.checked(std::mem::take(&mut sql), &rows, progress.take())
                        .await?;
                    rows.clear();
                }
                self.load(statement, lines.clone()).await?;
                continue;
            }
            if !sql.is_empty() && sql.len() + statement.sql.len() > room {
                self.checked(std::mem::take(&mut sql), &rows, progress.take())
                    .await?;
                rows.clear();
            }
            if !sql.is_empty() {
                sql.push(b';');
            }
            sql.extend_from_slice(&statement.sql);
            rows.push(statement.rows);
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
        self.said = Instant::now();
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

    /// Runs a LOAD DATA LOCAL: each line must be a new row, and none of them may have been changed for it.
    async fn load(&mut self, statement: &Statement, lines: Bytes) -> Result<(), Failure> {
        self.said = Instant::now();
        let conn = &mut self.target.conn;
        let work = async {
            conn.set_infile_handler(async move { Ok(stream::iter([Ok(lines)]).boxed()) });
            let result = conn.query_iter(statement.sql.as_slice()).await?;
            let found = (result.affected_rows(), result.warnings());
            result.drop_result().await?;
            Ok(found)
        };
        match tokio::time::timeout(self.stall, work).await {
            Ok(Ok((rows, 0))) if statement.rows == Some(rows) => Ok(()),
            Ok(Ok(_)) => Err(Failure::Rows { index: 0 }),
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
        let (version, sent) = (self.open.take(), Instant::now());
        match self.end("COMMIT").await {
            Ok(()) => {
                self.meter.commit.observe_time(sent.elapsed());
                if let Some(version) = version {
                    self.owner.version = version;
                }
                self.decided += std::mem::take(&mut self.deciding);
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
        self.deciding = Tally::default();
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, how: &str) -> Result<(), ApplyError> {
        match self.gtids {
            Gtids::Own => self.simple(how).await,
            Gtids::Preserve => {
                let sql = format!("{how};{}", preserve::AUTOMATIC);
                let ended = self.packet(sql.into_bytes(), &[None, None]).await;
                ended.map_err(|failure| self.plain(failure))
            }
        }
    }

    /// A transaction of the applier's own: the progress moves to `state`, or is only claimed, and the statement runs with it.
    pub async fn bookkeep(
        &mut self,
        state: Option<&FoldState>,
        sql: Vec<u8>,
    ) -> Result<(), ApplyError> {
        if self.in_transaction() {
            return Err(ApplyError::Defect("a transaction is begun inside another"));
        }
        self.name = None;
        let mut all = b"START TRANSACTION;".to_vec();
        match state {
            Some(state) => progress::put_statement(&mut all, &self.owner, state),
            None => progress::put_claim(&mut all, &self.owner),
        }
        all.push(b';');
        all.extend(sql);
        self.open = Some(self.owner.version + 1);
        (self.packet(all, &[None, Some(1), None]).await).map_err(|failure| self.plain(failure))?;
        self.commit().await
    }

    pub fn conn(&mut self) -> &mut Conn {
        &mut self.target.conn
    }

    pub fn incarnation(&self) -> Uuid {
        self.owner.incarnation
    }

    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Says something when it has not for some time, so that the server keeps the session.
    pub async fn keep_alive(&mut self) -> Result<(), ApplyError> {
        if self.said.elapsed() < KEEPALIVE / 2 {
            return Ok(());
        }
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
        self.deciding += journaled;
        Ok(())
    }
}

fn has_lines(statements: &[Statement]) -> bool {
    statements.iter().any(|statement| statement.lines.is_some())
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
