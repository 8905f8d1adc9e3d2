//! Rows that are to be what the source has, whatever the target has in their place.
//!
//! No change of the log says so but a comparison (`diff`), so nothing is compared here: the caller has the rows locked. What is overwritten
//! or deleted goes into the journal, whole, also a row that holds the value of a unique key, which goes as under `source_wins`.

use std::time::Duration;

use binferry_schemas::record::Operation;

use super::{
    bench::{Answer, Bench, Form, Side},
    find::protected,
    journal::{Entry, Outcome, Subject},
    kind::ConflictKind,
    resolve::{Court, stopped},
};
use crate::{
    batch::Limits,
    change::RowChange,
    connection::Target,
    error::ApplyError,
    render::{checks::without_foreign_keys, forced::put_remove},
    target::mapping::Order,
};

/// A row of a table, and the condition by which the target finds what it has of it. Without an after image it is to go.
#[derive(Debug)]
pub(crate) struct Mend {
    pub change: RowChange,
    pub condition: Vec<u8>,
}

/// Brings rows in line inside the open target transaction.
pub(crate) struct Mender<'a>(Bench<'a>);

impl<'a> Mender<'a> {
    /// `journal`: false where nothing of it is to be committed.
    pub fn new(
        target: &'a mut Target,
        court: &'a Court,
        limits: &'a Limits,
        stall: Duration,
        journal: bool,
    ) -> Self {
        Self(Bench::new(target, court, limits, stall, journal))
    }

    /// What became of the row. After an error that is about the row alone, nothing has become of it.
    pub async fn row(&mut self, mend: &Mend) -> Result<Outcome, ApplyError> {
        let bench = &mut self.0;
        bench.simple("SAVEPOINT mend").await?;
        let mended = bench.mend(mend).await;
        if mended.is_err() {
            bench.simple("ROLLBACK TO SAVEPOINT mend").await?;
        }
        mended
    }
}

impl Bench<'_> {
    async fn mend(&mut self, mend: &Mend) -> Result<Outcome, ApplyError> {
        let Mend { change, condition } = mend;
        let details = self.details(change).await?;
        let found = self.look(change, &details, b"", condition).await?;
        let found = found.map(|row| details.columns.json(&row));
        let (outcome, operation, form) = match (&found, &change.after) {
            (None, None) => return Ok(Outcome::Nothing),
            (None, Some(_)) => (Outcome::Inserted, Operation::Insert, Form::Exact),
            (Some(_), Some(_)) => (
                Outcome::Overwritten,
                Operation::Update,
                Form::Overwrite(Side::Before),
            ),
            (Some(_), None) => (Outcome::Deleted, Operation::Delete, Form::Remove),
        };
        let after = change.after.as_ref();
        let after = after.map(|image| image.json(&change.mapping.schema));
        let entry = Entry {
            subject: Subject::Repaired,
            outcome,
            place: *change.place,
            index: None,
            operation: Some(operation),
            table: Some(change.mapping.name.clone()),
            key: None,
            error: None,
            before: None,
            after: after
                .transpose()
                .map_err(|error| change.datum_error(error))?,
            found: found.into_iter().collect(),
            statement: None,
        };
        // First of all, so that each of our transactions begins with a row of our own.
        self.journal(change, vec![entry]).await?;
        if change.after.is_some() {
            let mapping = &change.mapping;
            let anew = mapping.has_documents && mapping.order != Order::Logged;
            let (mut operation, mut form) = (operation, form);
            if outcome == Outcome::Overwritten && anew {
                self.remove(change, condition, true).await?;
                (operation, form) = (Operation::Insert, Form::Exact);
            }
            let change = RowChange {
                operation,
                before: (operation == Operation::Update)
                    .then(|| change.after.clone())
                    .flatten(),
                ..change.clone()
            };
            match self.attempt(&change, form).await? {
                Answer::Rows(1) => {}
                answer => self.decide(&change, form, answer).await?,
            }
            return Ok(outcome);
        }
        self.remove(change, condition, false).await?;
        Ok(outcome)
    }

    async fn remove(
        &mut self,
        change: &RowChange,
        condition: &[u8],
        comes_again: bool,
    ) -> Result<(), ApplyError> {
        let mut sql = Vec::new();
        put_remove(&mut sql, &change.mapping, condition);
        if comes_again {
            sql = without_foreign_keys(change.mapping.dialect, sql);
        }
        match self.run(sql).await? {
            Answer::Rows(1) => Ok(()),
            Answer::Rows(_) => Err(ApplyError::Defect("another row than the locked one went")),
            Answer::NoStatement(error) => Err(error),
            Answer::Refused(refusal) => {
                let finding = protected(change, refusal, Vec::new())?;
                Err(stopped(change, &finding, None))
            }
        }
    }
}

/// Why a row can't be brought in line, where the error is about the row alone.
pub(crate) fn reason(error: &ApplyError) -> Option<String> {
    Some(match error {
        ApplyError::Conflict(conflict) => {
            let mut text = conflict.kind.to_string();
            if let (
                ConflictKind::UniqueKey | ConflictKind::ForeignKey | ConflictKind::Check,
                Some(index),
            ) = (conflict.kind, &conflict.index)
            {
                text.push_str(&format!(" ({index})"));
            }
            if !conflict.differing.is_empty() {
                text.push_str(&format!(" ({})", conflict.differing.join(", ")));
            }
            if let Some(unresolved) = conflict.unresolved {
                text.push_str(&format!(": {unresolved}"));
            }
            text
        }
        ApplyError::Value { column, reason, .. } => format!("column {column}: {reason}"),
        ApplyError::RowTooLarge { bytes, limit, .. } => format!(
            "it needs a statement of {bytes} bytes, and the target's max_allowed_packet is {limit}"
        ),
        ApplyError::Datum { source, .. } => source.to_string(),
        ApplyError::Server { fault, .. }
            if crate::retry::verdict(error) == crate::retry::Verdict::Stop =>
        {
            format!("the target refuses it: {fault}")
        }
        _ => return None,
    })
}
