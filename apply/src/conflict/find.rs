//! What is wrong with a change, by the server's answer and by the rows that the target has, and how the source could win.

use binferry_schemas::record::Operation;

use super::{
    bench::{Answer, Bench, Form, Refusal, Side, key_condition, refused},
    journal::Outcome,
    kind::ConflictKind,
    policy::Policy,
    way,
};
use crate::{
    batch,
    change::{Row, RowChange},
    error::ApplyError,
    render::{
        name::quoted,
        statement::{compared, put_comparisons},
    },
};

/// What has been found out about a change.
pub(super) struct Finding {
    pub(super) kind: ConflictKind,
    pub(super) key: Option<String>,
    pub(super) differing: Vec<String>,
    pub(super) error: Option<u16>,
    /// The target's rows, as JSON.
    pub(super) rows: Vec<Vec<u8>>,
    pub(super) way: Way,
}

/// How the source can win.
pub(super) enum Way {
    Try(Form, Outcome),
    /// Delete these rows, and try again.
    Clear(Vec<u8>),
    Nothing,
    /// It can't.
    None(Option<&'static str>),
}

impl Way {
    /// Why it can't.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        match self {
            Self::None(reason) => *reason,
            _ => None,
        }
    }
}

pub(super) enum Found {
    Finding(Finding),
    /// Someone else may have made it fit in the meantime.
    Again(Finding),
    /// It is not a conflict.
    Error(ApplyError),
}

/// The images of a change as values.
pub(super) struct Images<'a> {
    pub(super) before: Option<Row<'a>>,
    pub(super) after: Option<Row<'a>>,
}

impl Bench<'_> {
    pub(super) async fn find(
        &mut self,
        change: &RowChange,
        images: &Images<'_>,
        form: Form,
        answer: Answer,
    ) -> Result<Found, ApplyError> {
        let refusal = match answer {
            Answer::Rows(_) => return self.compare(change, images, form).await,
            Answer::Refused(refusal) => refusal,
            Answer::NoStatement(error) => {
                let ApplyError::Value { column, .. } = &error else {
                    return Ok(Found::Error(error));
                };
                // Under `stop` the error says more than a conflict would.
                if self.policy(change, ConflictKind::Type) != Policy::TargetWins {
                    return Ok(Found::Error(error));
                }
                let differing = vec![column.clone()];
                return Ok(Found::Finding(Finding {
                    kind: ConflictKind::Type,
                    key: None,
                    differing,
                    error: None,
                    rows: self.own_row(change, images).await?,
                    way: Way::None(None),
                }));
            }
        };
        let code = refusal.fault.code;
        if !matches!(code, 1062 | 1586 | 1859) {
            let Some(kind) = ConflictKind::of_error(code) else {
                return Ok(Found::Error(refused(change, refusal.fault)));
            };
            let (mut key, mut differing) = (refusal.names, Vec::new());
            if kind == ConflictKind::Type {
                differing.extend(key.take());
            }
            return Ok(Found::Finding(Finding {
                kind,
                key,
                differing,
                error: Some(code),
                rows: self.own_row(change, images).await?,
                way: Way::None(None),
            }));
        }
        self.duplicate(change, images, form, refusal).await
    }

    /// The row by its key, beside the before image.
    pub(super) async fn compare(
        &mut self,
        change: &RowChange,
        images: &Images<'_>,
        form: Form,
    ) -> Result<Found, ApplyError> {
        let mapping = &change.mapping;
        let mut finding = Finding {
            kind: ConflictKind::RowMissing,
            key: key_name(change),
            differing: Vec::new(),
            error: None,
            rows: Vec::new(),
            way: Way::None(None),
        };
        let found = match (&images.before, form) {
            (Some(before), Form::Exact | Form::Remove | Form::Overwrite(Side::Before))
                if !mapping.key.is_empty() =>
            {
                let condition = key_condition(change, before)?;
                let details = self.details(change).await?;
                let mut comparisons = Vec::new();
                put_comparisons(&mut comparisons, mapping, before)
                    .map_err(|error| batch::value_error(error, mapping, &change.place))?;
                let row = self
                    .look(change, &details, &comparisons, &condition)
                    .await?;
                row.map(|row| {
                    let width = details.columns.width();
                    let differing = compared(mapping, before)
                        .enumerate()
                        .filter(|(at, _)| {
                            row.get::<Option<i64>, _>(width + at).flatten() != Some(1)
                        })
                        .map(|(_, column)| mapping.schema.columns[column].name.clone());
                    (differing.collect::<Vec<_>>(), details.columns.json(&row))
                })
            }
            (Some(_), _) => None,
            // An insert that inserts nothing.
            (None, _) => {
                return Ok(Found::Error(ApplyError::Defect(
                    "an insert without an error and without a row",
                )));
            }
        };
        match (found, change.operation) {
            (Some((differing, row)), _) if differing.is_empty() => {
                finding.kind = ConflictKind::RowDiffers;
                finding.rows.push(row);
                return Ok(Found::Again(finding));
            }
            (Some((differing, row)), operation) => {
                finding.kind = ConflictKind::RowDiffers;
                finding.differing = differing;
                finding.rows.push(row);
                finding.way = match operation {
                    Operation::Delete => Way::Try(Form::Remove, Outcome::Deleted),
                    _ => Way::Try(Form::Overwrite(Side::Before), Outcome::Overwritten),
                };
            }
            (None, Operation::Delete) => finding.way = Way::Nothing,
            (None, _) => {
                let whole = images.after.as_ref().is_some_and(|after| {
                    let mut columns = mapping.columns.iter().zip(after);
                    columns.all(|(column, value)| value.is_some() || !column.assigned)
                });
                finding.way = match whole {
                    true => Way::Try(Form::Insert, Outcome::Inserted),
                    false => Way::None(Some(
                        "the row cannot be inserted, as the after image lacks columns (binlog_row_image of the source)",
                    )),
                };
            }
        }
        Ok(Found::Finding(finding))
    }

    /// The row that holds the value of a unique key.
    pub(super) async fn duplicate(
        &mut self,
        change: &RowChange,
        images: &Images<'_>,
        form: Form,
        refusal: Refusal,
    ) -> Result<Found, ApplyError> {
        let mapping = &change.mapping;
        let mut finding = Finding {
            kind: ConflictKind::UniqueKey,
            key: refusal.names,
            differing: Vec::new(),
            error: Some(refusal.fault.code),
            rows: Vec::new(),
            way: Way::None(Some("the server does not name the key")),
        };
        let (Some(after), Some(key)) = (&images.after, finding.key.clone()) else {
            return Ok(Found::Finding(finding));
        };
        let exists = change.operation == Operation::Insert
            && form == Form::Exact
            && quoted(&key) == mapping.key_index;
        if exists {
            finding.kind = ConflictKind::RowExists;
        }
        let condition = if exists {
            Some(key_condition(change, after)?)
        } else {
            let own = match (form, &images.before) {
                (Form::Insert, _) | (Form::Exact, None) => None,
                (Form::Overwrite(Side::After), _) => Some(key_condition(change, after)?),
                (_, Some(before)) if !mapping.key.is_empty() => {
                    Some(key_condition(change, before)?)
                }
                _ => None,
            };
            let details = self.details(change).await?;
            details
                .in_the_way(self.target, change, after, own.as_deref(), &key)
                .await?
        };
        let Some(condition) = condition else {
            finding.way = Way::None(Some("the target's catalog has no such key"));
            return Ok(Found::Finding(finding));
        };
        let details = self.details(change).await?;
        let Some(row) = self.look(change, &details, b"", &condition).await? else {
            finding.way = Way::None(Some("the row that holds the key is not found"));
            return Ok(match self.policy(change, finding.kind) {
                Policy::SourceWins => Found::Again(finding),
                _ => Found::Finding(finding),
            });
        };
        finding.rows.push(details.columns.json(&row));
        finding.way = if exists {
            Way::Try(Form::Overwrite(Side::After), Outcome::Overwritten)
        } else if way::cascade(self.target, &mapping.name).await?.is_some() {
            Way::None(Some(
                "rows of other tables would go with the row that holds the key, by a foreign key's ON DELETE",
            ))
        } else {
            Way::Clear(condition)
        };
        Ok(Found::Finding(finding))
    }

    /// The row that the change is about, where it has been there before.
    pub(super) async fn own_row(
        &mut self,
        change: &RowChange,
        images: &Images<'_>,
    ) -> Result<Vec<Vec<u8>>, ApplyError> {
        let (Some(before), false) = (&images.before, change.mapping.key.is_empty()) else {
            return Ok(Vec::new());
        };
        let condition = key_condition(change, before)?;
        let details = self.details(change).await?;
        let row = self.look(change, &details, b"", &condition).await?;
        Ok(row.iter().map(|row| details.columns.json(row)).collect())
    }
}

/// Name of the key that finds the table's rows.
fn key_name(change: &RowChange) -> Option<String> {
    let quoted = &change.mapping.key_index;
    let name = quoted.strip_prefix('`')?.strip_suffix('`')?;
    Some(name.replace("``", "`"))
}

/// The row in the way could not be deleted.
pub(super) fn protected(
    change: &RowChange,
    refusal: Refusal,
    rows: Vec<Vec<u8>>,
) -> Result<Finding, ApplyError> {
    let Some(kind) = ConflictKind::of_error(refusal.fault.code) else {
        return Err(refused(change, refusal.fault));
    };
    Ok(Finding {
        kind,
        key: refusal.names,
        differing: Vec::new(),
        error: Some(refusal.fault.code),
        rows,
        way: Way::None(None),
    })
}
