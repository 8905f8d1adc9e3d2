//! A step of a copy, as an executor takes it.

use std::sync::Arc;

use binferry_schemas::{
    gtid::Uuid,
    record::{FoldState, GivenUp, SnapshotDatabase},
};

use super::{
    begin::{Beginning, Rules},
    database, end,
    repair::Repair,
};
use crate::{
    batch::{Limits, Statement},
    connection::Target,
    error::{ApplyError, Place},
};

#[derive(Debug)]
pub enum Step {
    Begin(Beginning),
    /// A copy has ended, or with `None` a job: what waited for other tables may go on.
    End(Option<Uuid>, Arc<Place>),
    GivenUp(Uuid, GivenUp),
    /// A database without a table.
    Database(SnapshotDatabase, Arc<Place>),
    /// Rows of a copy over rows that may differ.
    Repair(Repair),
}

/// What a step leaves to be done in the transaction of its progress.
#[derive(Debug, Default)]
pub struct Done {
    pub statements: Vec<Statement>,
    /// Definitions of other tables than the step's own have changed.
    pub others: bool,
}

impl Step {
    pub async fn run(
        &self,
        target: &mut Target,
        rules: &Rules,
        state: &FoldState,
        limits: &Limits,
    ) -> Result<Done, ApplyError> {
        let stream = rules.stream.as_str();
        let (statements, others) = match self {
            Self::Begin(beginning) => beginning.run(target, rules).await?,
            Self::End(copy, place) => end::end(target, rules, *copy, state, place).await?,
            Self::GivenUp(copy, reason) => {
                (end::given_up(target, stream, *copy, *reason).await?, false)
            }
            Self::Database(bare, place) => {
                database::make(target, bare, place).await?;
                (Vec::new(), false)
            }
            Self::Repair(repair) => (repair.run(target, limits).await?, false),
        };
        Ok(Done { statements, others })
    }
}
