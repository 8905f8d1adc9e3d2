//! Statements that define tables, in their place among the changes: run alone, passed over, or the end of the stream.

use std::sync::Arc;

use binferry_schemas::record::{ALL_TABLES, Ddl, DdlEffect, FoldState, Offset, Over};
use tokio::sync::oneshot;

use super::{Closed, Planner, Stop};
use crate::{
    copy::awaited,
    ddl::{DdlMode, DdlUnit},
    error::{ApplyError, PassedDdl, Place, TableName},
    plan::Unit,
    preserve::Name,
};

impl Planner {
    /// Is the statement to be run on the target?
    pub(super) fn runs(&self, ddl: &Ddl) -> bool {
        self.ddl == DdlMode::Apply && ddl.effect != DdlEffect::None
    }

    fn awaits(&self, (database, table): &(String, String)) -> bool {
        let name = TableName {
            database: database.clone(),
            table: table.clone(),
        };
        table != ALL_TABLES && awaited(self.fold.state(), &name)
    }

    /// A statement that is not run, in its place among the changes.
    pub(super) async fn pass(&mut self, offset: Offset, ddl: Ddl) -> Result<(), Stop> {
        let gtid = ddl.transaction.gtid;
        if ddl.effect == DdlEffect::None {
            return Ok(());
        }
        if self.ddl == DdlMode::Stop {
            return Err(Stop::Failed(ApplyError::DdlStop {
                place: Arc::new(Place {
                    gtid: Some(gtid),
                    offset,
                }),
                effect: ddl.effect,
                reason: None,
                statement: ddl.statement,
            }));
        }
        tracing::info!(%gtid, statement = %ddl.statement, "a schema change is passed over");
        // One that has a name has a group of its own.
        if self.executed.is_none() {
            self.flush().await?;
        }
        let statement = ddl.statement;
        (self.tables).forget(&ddl.tables, PassedDdl { gtid, statement });
        Ok(())
    }

    /// A statement that is run, alone; `end` is the fold behind it, unless rows of the same transaction follow.
    pub(super) async fn statement(
        &mut self,
        offset: Offset,
        ddl: Ddl,
        name: Option<Name>,
        end: Option<FoldState>,
    ) -> Result<(), Stop> {
        let place = Arc::new(Place {
            gtid: Some(ddl.transaction.gtid),
            offset,
        });
        let reason = match &ddl.replay {
            None => {
                Some("it was logged by an older version, which did not log its session".to_owned())
            }
            Some(replay) => replay.obstacle.clone(),
        };
        if reason.is_some() {
            return Err(Stop::Failed(ApplyError::DdlStop {
                place,
                effect: ddl.effect,
                reason,
                statement: ddl.statement,
            }));
        }
        self.flush().await?;
        let (done, ran) = oneshot::channel();
        let waiting: Vec<_> = (ddl
            .tables
            .iter()
            .filter(|table| self.awaits(table))
            .cloned())
        .collect();
        let sites = &self.fold.state().sites;
        let removes = |(database, table): &&(String, String)| {
            let mut jobs = sites.iter().flat_map(|site| &site.jobs);
            jobs.any(|job| job.job.over == Over::Remove && job.awaits(database, table))
        };
        let removed = waiting.iter().filter(removes).cloned().collect();
        let unit = DdlUnit {
            place,
            waiting,
            removed,
            copying: sites
                .iter()
                .any(|site| !site.jobs.is_empty() || !site.copies.is_empty()),
            ddl,
            name,
            state: end.map(Box::new),
            done,
        };
        let sent = self.out.send(Unit::Ddl(Box::new(unit))).await;
        sent.map_err(|_| Closed)?;
        // Rows that follow are for the tables as they are then.
        ran.await.map_err(|_| Closed)?;
        self.tables.forget_all();
        Ok(())
    }
}
