//! Rows whose images lack columns, or hold changes of documents instead of documents.
//!
//! ```text
//! image        bitmap of NULLs among the columns that are there | their values
//! PARTIAL_UPDATE_ROWS, after image:
//!              length-encoded options | option 1: bitmap of the table's JSON columns that hold changes | image
//! ```
//!
//! The event's bitmaps say which columns the images have (`binlog_row_image`): the record says the same, and the datum has null for the
//! others. One thing is made whole: what the after image of an update lacks has not changed, so it is taken from the before image where
//! that has every column (MariaDB's FULL_NODUP; tables without a key). A document is put together from the before image and the changes;
//! with a before image that lacks it, it is an error (`binlog_row_value_options` is PARTIAL_JSON with a row image of MINIMAL).
//!
//! (`libs/mysql/binlog/event/rows_event.h`, `sql/rpl_record.cc`.)

use std::ops::Range;

use binferry_schemas::{
    datum,
    record::{Change, ChangesBuffer, Image, Operation},
};

use super::{
    cursor::{Cursor, Flaw},
    error::DecodeError,
    json, json_diff,
    plan::{ImageFlaw, TablePlan, bit, whole},
};

/// The after image may hold changes of documents.
const PARTIAL_JSON: u64 = 1;

/// Reads an event's rows, one after the other.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    operation: Operation,
    /// Which columns are there; `None`: all.
    before: Option<Box<[u8]>>,
    after: Option<Box<[u8]>>,
    documents_change: bool,
    /// Kept for their memory: the datums, and where the columns of the before image are.
    old: Vec<u8>,
    new: Vec<u8>,
    fields: Vec<Field<'a>>,
}

/// A column of the before image.
#[derive(Debug, Default)]
struct Field<'a> {
    datum: Range<usize>,
    /// The bytes in the event; `None`: NULL, or not there.
    value: Option<&'a [u8]>,
}

/// What an error is about.
enum Refusal {
    Image(ImageFlaw),
    DocumentMissing { column: usize },
}

impl From<ImageFlaw> for Refusal {
    fn from(flaw: ImageFlaw) -> Self {
        Self::Image(flaw)
    }
}

impl<'a> Partial<'a> {
    pub(super) fn new(
        operation: Operation,
        before: Option<Box<[u8]>>,
        after: Option<Box<[u8]>>,
        documents_change: bool,
    ) -> Self {
        Self {
            operation,
            before,
            after,
            documents_change,
            old: Vec::new(),
            new: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Takes a row off the front of `input` and appends its change. After an error nothing is appended.
    pub(super) fn next(
        &mut self,
        plan: &TablePlan,
        input: &mut Cursor<'a>,
        table: u32,
        changes: &mut ChangesBuffer,
    ) -> Result<(), DecodeError> {
        self.images(plan, input).map_err(|refusal| match refusal {
            Refusal::Image(flaw) => plan.describe(&flaw),
            Refusal::DocumentMissing { column } => plan.document_missing(column),
        })?;
        let completes = self.completes();
        changes.push(&Change {
            table,
            operation: self.operation,
            before: (self.operation != Operation::Insert).then_some(Image {
                present: self.before.as_deref(),
                datum: &self.old,
            }),
            after: (self.operation != Operation::Delete).then_some(Image {
                present: self.after.as_deref().filter(|_| !completes),
                datum: &self.new,
            }),
            more: false,
        });
        Ok(())
    }

    /// The after image takes what it lacks from the before image.
    fn completes(&self) -> bool {
        self.operation == Operation::Update && self.before.is_none()
    }

    fn images(&mut self, plan: &TablePlan, input: &mut Cursor<'a>) -> Result<(), Refusal> {
        self.old.clear();
        self.new.clear();
        self.fields.clear();
        if self.operation != Operation::Insert {
            self.take_old(plan, input)?;
        }
        if self.operation != Operation::Delete {
            self.take_new(plan, input)?;
        }
        Ok(())
    }

    fn take_old(&mut self, plan: &TablePlan, input: &mut Cursor<'a>) -> Result<(), ImageFlaw> {
        let mut nulls = Nulls::take(&self.before, plan, input)?;
        for column in 0..plan.columns() {
            let start = self.old.len();
            let value = if !is_there(&self.before, column) || nulls.next() {
                datum::put_null(&mut self.old);
                None
            } else {
                let rest = input.rest();
                plan.value(column, input, &mut self.old)?;
                rest.get(..rest.len() - input.rest().len())
            };
            self.fields.push(Field {
                datum: start..self.old.len(),
                value,
            });
        }
        Ok(())
    }

    fn take_new(&mut self, plan: &TablePlan, input: &mut Cursor<'a>) -> Result<(), Refusal> {
        let changed = match self.documents_change {
            true => changed_documents(plan, input)?,
            false => None,
        };
        let mut documents = 0..;
        let mut nulls = Nulls::take(&self.after, plan, input)?;
        for column in 0..plan.columns() {
            // Counted whether or not the image has it.
            let document = match plan.is_document(column) {
                true => documents.next(),
                false => None,
            };
            let changes = (changed.zip(document)).is_some_and(|(bitmap, at)| bit(bitmap, at));
            if !is_there(&self.after, column) {
                match self.fields.get(column).filter(|_| self.completes()) {
                    Some(field) => {
                        let datum = self.old.get(field.datum.clone()).unwrap_or_default();
                        self.new.extend_from_slice(datum);
                    }
                    None => datum::put_null(&mut self.new),
                }
            } else if nulls.next() {
                datum::put_null(&mut self.new);
            } else if changes {
                self.document(column, input)?;
            } else {
                plan.value(column, input, &mut self.new)?;
            }
        }
        Ok(())
    }

    /// Takes the changes of a document, and appends what they make of it.
    fn document(&mut self, column: usize, input: &mut Cursor<'a>) -> Result<(), Refusal> {
        let flawed = |flaw| ImageFlaw::column(column, flaw);
        let length = input.u32().map_err(flawed)? as usize;
        let changes = input.take(length).map_err(flawed)?;
        if !is_there(&self.before, column) {
            return Err(Refusal::DocumentMissing { column });
        }
        // Behind the length.
        let old = self
            .fields
            .get(column)
            .and_then(|field| field.value?.get(4..));
        let old = old.ok_or(flawed(Flaw("changes a JSON document that is NULL")))?;
        let document = json_diff::apply(old, changes).map_err(flawed)?;
        json::put(&mut self.new, &document).map_err(flawed)?;
        Ok(())
    }
}

/// Which of the table's JSON columns hold changes.
fn changed_documents<'a>(
    plan: &TablePlan,
    input: &mut Cursor<'a>,
) -> Result<Option<&'a [u8]>, ImageFlaw> {
    match input.length_encoded().map_err(whole)? {
        0 => Ok(None),
        PARTIAL_JSON => {
            let documents = (0..plan.columns()).filter(|&column| plan.is_document(column));
            let bitmap = input.take(documents.count().div_ceil(8)).map_err(whole)?;
            Ok(Some(bitmap))
        }
        _ => Err(whole(Flaw("has value options that are not known"))),
    }
}

fn is_there(bitmap: &Option<Box<[u8]>>, column: usize) -> bool {
    bitmap.as_deref().is_none_or(|bitmap| bit(bitmap, column))
}

/// The bitmap of NULLs: one bit for each column that is there.
struct Nulls<'a> {
    bitmap: &'a [u8],
    next: usize,
}

impl<'a> Nulls<'a> {
    fn take(
        present: &Option<Box<[u8]>>,
        plan: &TablePlan,
        input: &mut Cursor<'a>,
    ) -> Result<Self, ImageFlaw> {
        let there = (0..plan.columns()).filter(|&column| is_there(present, column));
        let bitmap = input.take(there.count().div_ceil(8)).map_err(whole)?;
        Ok(Self { bitmap, next: 0 })
    }

    /// Is the next column that is there NULL?
    fn next(&mut self) -> bool {
        self.next += 1;
        bit(self.bitmap, self.next - 1)
    }
}
