//! The changes of one transaction, row by row, and what the policies make of those that do not fit.
//!
//! A change is tried; when it finds no row or is refused, the row that disagrees is looked at and locked, the policy of its table and kind
//! decides, and under `source_wins` it is tried again in the form that the finding asks for: as an insert, by the key alone, or after the row
//! in the way has gone. That may show another conflict, with a policy of its own. Each unique key can be in the way only once, so it ends.

use std::{sync::Arc, time::Duration};

use binferry_schemas::gtid::Uuid;

use super::{
    bench::{Answer, Bench, Form, fits, values},
    find::{Finding, Found, Images, Way, protected},
    journal::{self, Entry, Outcome, Subject},
    kind::{Conflict, ConflictKind, Tally},
    policy::{Policies, Policy},
};
use crate::{
    batch::Limits,
    change::{RowChange, RowImage},
    connection::Target,
    documents,
    error::ApplyError,
    render::forced::put_remove,
};

/// Who decides, and in whose name the journal is kept.
#[derive(Debug, Clone)]
pub struct Court {
    pub policies: Arc<Policies>,
    pub stream: String,
    pub log: Uuid,
}

/// Runs the changes of a transaction one by one inside the open target transaction; gives how many rows the journal has got. Errors, among
/// them the conflicts that stop the stream, leave the transaction to be rolled back.
pub async fn one_by_one(
    target: &mut Target,
    court: &Court,
    limits: &Limits,
    stall: Duration,
    changes: &[RowChange],
) -> Result<Tally, ApplyError> {
    let mut bench = Bench::new(target, court, limits, stall, true);
    for change in changes {
        bench.change(change).await?;
    }
    if bench.journaled.total() > 0
        && let Some(change) = changes.first()
    {
        tracing::warn!(
            stream = court.stream,
            place = %change.place,
            conflicts = bench.journaled.total(),
            "conflicts are decided by policy and journaled"
        );
    }
    Ok(bench.journaled)
}

/// A change that is being decided about.
struct Case<'a> {
    change: &'a RowChange,
    /// In which it is tried next.
    form: Form,
    /// For the journal, when it is done.
    entries: Vec<Entry>,
    /// The unique keys of which the holder has gone.
    cleared: Vec<String>,
    again: u32,
}

impl Case<'_> {
    fn push(
        &mut self,
        finding: Finding,
        policy: Policy,
        outcome: Outcome,
    ) -> Result<(), ApplyError> {
        self.entries
            .push(entry(self.change, finding, policy, outcome)?);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing more is to be done about the change.
    Done,
    Attempt,
}

impl Bench<'_> {
    async fn change(&mut self, change: &RowChange) -> Result<(), ApplyError> {
        match documents::written_anew(change)? {
            None => self.change_as_it_is(change).await,
            Some([first, second]) => {
                self.change_as_it_is(&first).await?;
                self.change_as_it_is(&second).await
            }
        }
    }

    async fn change_as_it_is(&mut self, change: &RowChange) -> Result<(), ApplyError> {
        match self.attempt(change, Form::Exact).await? {
            Answer::Rows(1) => Ok(()),
            answer => self.decide(change, Form::Exact, answer).await,
        }
    }

    /// Finds out what is wrong with a change that was tried in this form, and does what the policy says.
    pub(super) async fn decide(
        &mut self,
        change: &RowChange,
        form: Form,
        answer: Answer,
    ) -> Result<(), ApplyError> {
        let images = Images {
            before: values(change, &change.before)?,
            after: values(change, &change.after)?,
        };
        let mut case = Case {
            change,
            form,
            entries: Vec::new(),
            cleared: Vec::new(),
            again: 0,
        };
        let mut answer = answer;
        loop {
            match self.find(change, &images, case.form, answer).await? {
                Found::Finding(finding) => {
                    if self.act(&mut case, finding).await? == Next::Done {
                        break;
                    }
                }
                // The row is locked now, so once is enough, but for a key whose holder went in between.
                Found::Again(_) if case.again < 3 => case.again += 1,
                Found::Again(finding) => {
                    return Err(stopped(change, &finding, finding.way.obstacle()));
                }
                Found::Error(error) => return Err(error),
            }
            answer = self.attempt(change, case.form).await?;
            if let Answer::Rows(1) = answer {
                break;
            }
        }
        self.journal(change, case.entries).await
    }

    /// Does what the policy says about one finding.
    async fn act(&mut self, case: &mut Case<'_>, finding: Finding) -> Result<Next, ApplyError> {
        let change = case.change;
        if finding.kind == ConflictKind::RowMissing && change.mapping.copying.is_some() {
            return not_there_yet(case, &finding);
        }
        match self.policy(change, finding.kind) {
            Policy::Stop => return Err(stopped(change, &finding, None)),
            Policy::TargetWins => return self.keep(case, finding).await,
            Policy::SourceWins => {}
        }
        if case.entries.is_empty() {
            self.simple("SAVEPOINT conflict").await?;
        }
        match &finding.way {
            Way::None(reason) => Err(stopped(change, &finding, *reason)),
            Way::Nothing => {
                case.push(finding, Policy::SourceWins, Outcome::Nothing)?;
                Ok(Next::Done)
            }
            // It was locked, and is another all the same.
            Way::Try(form, _) if *form == case.form => {
                Err(stopped(change, &finding, Some("the same is found again")))
            }
            Way::Try(form, outcome) => {
                let outcome = *outcome;
                case.form = *form;
                case.push(finding, Policy::SourceWins, outcome)?;
                Ok(Next::Attempt)
            }
            Way::Clear(condition) => {
                let key = finding.key.clone().unwrap_or_default();
                if case.cleared.contains(&key) {
                    let reason = "the key is still taken when the row that held it has gone";
                    return Err(stopped(change, &finding, Some(reason)));
                }
                case.cleared.push(key);
                let mut sql = Vec::new();
                put_remove(&mut sql, &change.mapping, condition);
                let answer = self.run(sql).await?;
                let rows = finding.rows.clone();
                case.push(finding, Policy::SourceWins, Outcome::Deleted)?;
                match answer {
                    Answer::Rows(_) => Ok(Next::Attempt),
                    Answer::NoStatement(error) => Err(error),
                    Answer::Refused(refusal) => {
                        let finding = protected(change, refusal, rows)?;
                        match self.policy(change, finding.kind) {
                            Policy::TargetWins => self.keep(case, finding).await,
                            _ => {
                                let reason = "the row that holds the key is protected by it";
                                Err(stopped(change, &finding, Some(reason)))
                            }
                        }
                    }
                }
            }
        }
    }

    /// Leaves the change out: what was done for it is taken back.
    async fn keep(&mut self, case: &mut Case<'_>, finding: Finding) -> Result<Next, ApplyError> {
        if !case.entries.is_empty() {
            self.simple("ROLLBACK TO SAVEPOINT conflict").await?;
        }
        case.push(finding, Policy::TargetWins, Outcome::Kept)?;
        for entry in &mut case.entries {
            entry.outcome = Outcome::Kept;
        }
        Ok(Next::Done)
    }

    pub(super) fn policy(&self, change: &RowChange, kind: ConflictKind) -> Policy {
        self.court.policies.of(&change.mapping.name, kind)
    }

    pub(super) async fn journal(
        &mut self,
        change: &RowChange,
        entries: Vec<Entry>,
    ) -> Result<(), ApplyError> {
        if !self.journal {
            return Ok(());
        }
        for entry in entries {
            let mut sql = Vec::with_capacity(entry.size() * 5 / 4 + 512);
            let subject = entry.subject;
            let entry = std::slice::from_ref(&entry);
            journal::put_insert(&mut sql, &self.court.stream, self.court.log, entry);
            fits(&sql, change, self.limits)?;
            match self.run(sql).await? {
                Answer::Rows(1) => {
                    if let Subject::Conflict(kind, _) = subject {
                        self.journaled.add(kind);
                    }
                }
                Answer::Rows(_) => {
                    return Err(ApplyError::Defect("the conflict journal takes no row"));
                }
                Answer::NoStatement(error) => return Err(error),
                Answer::Refused(refusal) => {
                    return Err(ApplyError::Server {
                        doing: "writing the conflict journal",
                        place: Some(Arc::clone(&change.place)),
                        table: None,
                        fault: refusal.fault,
                    });
                }
            }
        }
        Ok(())
    }
}

/// A row that the copy has not brought yet: that is no conflict. Of an update whose after image lacks columns nothing can be made; the copy
/// reads the row after it.
fn not_there_yet(case: &mut Case<'_>, finding: &Finding) -> Result<Next, ApplyError> {
    match &finding.way {
        Way::Nothing => Ok(Next::Done),
        Way::Try(form, _) if *form != case.form => {
            case.form = *form;
            Ok(Next::Attempt)
        }
        Way::None(_) => Ok(Next::Done),
        way => Err(stopped(case.change, finding, way.obstacle())),
    }
}

/// The conflict that stops the stream. `unresolved`: why `source_wins` cannot be followed.
pub(super) fn stopped(
    change: &RowChange,
    finding: &Finding,
    unresolved: Option<&'static str>,
) -> ApplyError {
    ApplyError::Conflict(Box::new(Conflict {
        kind: finding.kind,
        table: change.mapping.name.clone(),
        key: change.mapping.key_names(),
        differing: finding.differing.clone(),
        index: finding.key.clone(),
        place: *change.place,
        unresolved,
    }))
}

fn entry(
    change: &RowChange,
    finding: Finding,
    policy: Policy,
    outcome: Outcome,
) -> Result<Entry, ApplyError> {
    let image = |image: &Option<RowImage>| {
        let image = image
            .as_ref()
            .map(|image| image.json(&change.mapping.schema));
        image.transpose().map_err(|error| change.datum_error(error))
    };
    Ok(Entry {
        subject: Subject::Conflict(finding.kind, policy),
        outcome,
        place: *change.place,
        index: Some(change.index),
        operation: Some(change.operation),
        table: Some(change.mapping.name.clone()),
        key: finding.key,
        error: finding.error,
        before: image(&change.before)?,
        after: image(&change.after)?,
        found: finding.rows,
        statement: None,
    })
}
