//! Keys that a table gets after its rows: plain ones, which order rows and decide nothing. Added at once they cost a fraction of what it
//! costs to find each row's place, one by one.
//!
//! They are added beside the stream, which goes on: a copy has ended when its rows are there. Whoever needs a table's whole definition, as
//! the statements of the stream do, has them added first. An attempt to add them claims them under a name of its own, which its session
//! holds as a lock; the next one ends that session before it begins. So no attempt is left that could add a key which a later
//! statement has dropped. All keys of a table are added by one statement, so either all are there or none.

use std::{collections::HashSet, sync::Arc, time::Duration};

use binferry_schemas::{address::Address, gtid::Uuid, record::ALL_TABLES};
use mysql_async::{Error, prelude::Queryable};
use tokio::{
    sync::{Mutex, Notify},
    time::sleep,
};

use super::{
    CopyProblem,
    begin::{is_about_definitions, sql_mode, table_text, told},
    ledger::{self, Later},
};
use crate::{
    connection::{self, Target, from_mysql},
    ddl::SESSION,
    error::{ApplyError, TableName},
    render::name::quoted,
    takeover,
};

const DOING: &str = "adding keys after a copy";
/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);
/// Beside the stream, a table that is in use elsewhere is tried again rather than waited for: whoever comes behind would wait as well.
const PATIENCE: &str = "SET SESSION lock_wait_timeout = 10";

/// Of one attempt of an applier.
#[derive(Debug)]
pub struct LaterKeys {
    address: Address,
    stream: String,
    /// The applier's: another one's keys are not ours to add.
    incarnation: Uuid,
    one_at_a_time: Mutex<()>,
    wake: Notify,
}

/// Which tables.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// Those whose rows are there.
    Whole,
    /// These, however far their copies are; one that is not there has no use for them.
    Named(&'a [(String, String)]),
    /// Every table.
    All,
}

impl LaterKeys {
    pub fn new(address: Address, stream: String, incarnation: Uuid) -> Self {
        Self {
            address,
            stream,
            incarnation,
            one_at_a_time: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// A copy has ended.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Adds keys whenever rows are there, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            match self.settle().await {
                Ok(()) => self.wake.notified().await,
                Err(error) => {
                    tracing::warn!(%error, "keys are not added yet; trying again");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Adds those of all tables whose rows are there.
    pub async fn settle(&self) -> Result<(), ApplyError> {
        self.add(Scope::Whole).await
    }

    /// Adds those of these tables, because their definitions matter; a table named [`ALL_TABLES`] is all of its database.
    pub async fn complete(&self, tables: &[(String, String)]) -> Result<(), ApplyError> {
        self.add(Scope::Named(tables)).await
    }

    pub async fn complete_all(&self) -> Result<(), ApplyError> {
        self.add(Scope::All).await
    }

    async fn add(&self, scope: Scope<'_>) -> Result<(), ApplyError> {
        let _turn = self.one_at_a_time.lock().await;
        let mut target = connection::connect(&self.address).await?;
        let added = self.add_all(&mut target, scope).await;
        // The claim ends with the session.
        let _ = tokio::time::timeout(Duration::from_secs(2), target.conn.disconnect()).await;
        added
    }

    async fn add_all(&self, target: &mut Target, scope: Scope<'_>) -> Result<(), ApplyError> {
        let later = ledger::later(&mut target.conn, &self.stream).await?;
        if later.is_empty() {
            return Ok(());
        }
        let entries = ledger::entries(&mut target.conn, &self.stream).await?;
        let open: HashSet<&TableName> = entries.iter().map(|entry| &entry.table).collect();
        let claim = Uuid::new_v4();
        // Before anyone can see it.
        takeover::hold(&mut target.conn, &claim, SESSION).await?;
        if let Scope::Whole = scope {
            let set = target.conn.query_drop(PATIENCE).await;
            set.map_err(|error| from_mysql(error, DOING))?;
        }
        for later in later {
            let wanted = match scope {
                Scope::Whole => !open.contains(&later.table),
                Scope::All => true,
                Scope::Named(tables) => tables.iter().any(|(database, table)| {
                    *database == later.table.database
                        && (*table == later.table.table || table == ALL_TABLES)
                }),
            };
            if wanted {
                self.table(target, later, &claim, scope).await?;
            }
        }
        Ok(())
    }

    async fn table(
        &self,
        target: &mut Target,
        mut later: Later,
        claim: &Uuid,
        scope: Scope<'_>,
    ) -> Result<(), ApplyError> {
        let fail = |error| from_mysql(error, DOING);
        let name = later.table.clone();
        while later.claim != claim.to_string() {
            if !later.claim.is_empty() {
                takeover::end_and_wait(&mut target.conn, &later.claim, SESSION).await?;
            }
            target
                .conn
                .exec_drop(
                    "UPDATE binferry.later_key k JOIN binferry.stream s ON s.stream = k.stream SET k.claim = ? \
                     WHERE k.stream = ? AND k.table_schema = ? AND k.table_name = ? AND k.claim = ? AND s.incarnation = ?",
                    (
                        claim.to_string(),
                        &self.stream,
                        &name.database,
                        &name.table,
                        &later.claim,
                        self.incarnation.to_string(),
                    ),
                )
                .await
                .map_err(fail)?;
            if target.conn.affected_rows() > 0 {
                later.claim = claim.to_string();
                continue;
            }
            let owner: Option<String> = (target.conn)
                .exec_first(
                    "SELECT incarnation FROM binferry.stream WHERE stream = ?",
                    (&self.stream,),
                )
                .await
                .map_err(fail)?;
            if owner.as_deref() != Some(self.incarnation.to_string().as_str()) {
                return Err(ApplyError::Superseded {
                    stream: self.stream.clone(),
                });
            }
            let found = ledger::later(&mut target.conn, &self.stream).await?;
            match found.into_iter().find(|found| found.table == name) {
                Some(found) => later = found,
                None => return Ok(()),
            }
        }
        let there: Vec<String> = (target.conn)
            .exec(
                "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = ? AND table_name = ?",
                (&name.database, &name.table),
            )
            .await
            .map_err(fail)?;
        // A table that is copied has a key of its own.
        if there.is_empty() && matches!(scope, Scope::Whole) {
            tracing::warn!(table = %name, "keys that it is to get after its copy are not added: the table is not there");
            return Ok(());
        }
        if !there.is_empty() {
            alter(target, &later, &there).await?;
        }
        let mut sql = Vec::new();
        ledger::put_later_removal(&mut sql, &self.stream, &name);
        target.conn.query_drop(sql).await.map_err(fail)
    }
}

/// Adds those of the keys that the table does not have.
async fn alter(target: &mut Target, later: &Later, there: &[String]) -> Result<(), ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let name = &later.table;
    let there: HashSet<String> = there.iter().map(|name| name.to_lowercase()).collect();
    let missing: Vec<_> = (later.keys.iter())
        .filter(|key| !there.contains(&key.name.to_lowercase()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = (missing.iter())
        .map(|key| format!("ADD {}", key.text))
        .collect();
    let context = format!("SET SESSION sql_mode = {}", sql_mode(later.sql_mode));
    let default = format!("USE {}", quoted(&name.database));
    let begun = tokio::time::Instant::now();
    for sql in [context, default] {
        target.conn.query_drop(sql).await.map_err(fail)?;
    }
    let sql = format!("ALTER TABLE {} {}", table_text(name), list.join(", "));
    match target.conn.query_drop(sql).await {
        Ok(()) => {}
        Err(Error::Server(answer)) if is_about_definitions(&answer) => {
            return Err(ApplyError::Copy {
                table: name.clone(),
                place: None,
                problem: Box::new(CopyProblem::Keys {
                    names: missing.iter().map(|key| key.name.clone()).collect(),
                    fault: told(answer),
                }),
            });
        }
        Err(error) => return Err(fail(error)),
    }
    connection::restore(target).await?;
    tracing::info!(table = %name, keys = missing.len(), took_ms = begun.elapsed().as_millis() as u64, "keys added after the copy");
    Ok(())
}
