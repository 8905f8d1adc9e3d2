//! Rows events: WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS, in version 2 (30, 31, 32) and in version 1 (23, 24, 25: MariaDB, and MySQL before
//! 5.6).
//!
//! ```text
//! u48 table id | u16 flags | version 2: u16 length of the extra information, itself included | extra information
//! | length-encoded columns | bitmap of the columns in the image | UPDATE: bitmap of those in the after image
//! | (image | UPDATE: after image)*
//! ```
//!
//! PARTIAL_UPDATE_ROWS (39) is UPDATE_ROWS of version 2 with after images that may hold changes of documents: see `partial`. The extra
//! information is about NDB and partitions, and says nothing about values. Bits of a bitmap beyond the last column mean nothing. (`libs/mysql/binlog/event/rows_event.h`.)

use binferry_schemas::record::{ChangesBuffer, ForeignKeys, Operation};

use super::{
    cursor::{Cursor, Flaw, Read},
    error::DecodeError,
    partial::Partial,
    plan::TablePlan,
};

/// The id of an event that only ends a statement.
const DUMMY: u64 = 0x00ff_ffff;
const STATEMENT_END: u16 = 1;
/// The session had switched the checks off, or a foreign key has made the changes.
const NO_FOREIGN_KEY_CHECKS: u16 = 2;
/// The server has run foreign keys itself, above the engine: what they cascaded is in the binlog (MySQL from 9.6, with
/// `innodb_native_foreign_keys = OFF`).
const SQL_FOREIGN_KEYS: u16 = 0x10;

/// The head of a rows event; its rows are still encoded.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    table_id: u64,
    flags: u16,
    operation: Operation,
    columns: usize,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    /// After images may hold changes of documents.
    documents_change: bool,
    rows: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    pub(super) fn parse(type_code: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let (event, operation) = match type_code {
            23 => ("WRITE_ROWS_V1", Operation::Insert),
            24 => ("UPDATE_ROWS_V1", Operation::Update),
            25 => ("DELETE_ROWS_V1", Operation::Delete),
            30 => ("WRITE_ROWS", Operation::Insert),
            31 => ("UPDATE_ROWS", Operation::Update),
            39 => ("PARTIAL_UPDATE_ROWS", Operation::Update),
            _ => ("DELETE_ROWS", Operation::Delete),
        };
        Self::read(operation, type_code, body)
            .map_err(|Flaw(flaw)| DecodeError::Malformed { event, flaw })
    }

    fn read(operation: Operation, type_code: u8, body: &'a [u8]) -> Read<Self> {
        let mut cursor = Cursor::new(body);
        let table_id = cursor.u48()?;
        let flags = cursor.u16()?;
        if type_code >= 30 {
            let extra = usize::from(cursor.u16()?);
            let extra = extra.checked_sub(2);
            cursor.take(extra.ok_or(Flaw("states an impossible length"))?)?;
        }
        let columns = cursor.length_encoded()?;
        let columns = usize::try_from(columns).map_err(|_| Flaw("has too many columns"))?;
        let bitmap = columns.div_ceil(8);
        let first = cursor.take(bitmap)?;
        let (before, after) = match operation {
            Operation::Insert => (None, Some(first)),
            Operation::Update => (Some(first), Some(cursor.take(bitmap)?)),
            Operation::Delete => (Some(first), None),
        };
        Ok(Self {
            table_id,
            flags,
            operation,
            columns,
            before,
            after,
            documents_change: type_code == 39,
            rows: cursor.rest(),
        })
    }

    pub fn table_id(&self) -> u64 {
        self.table_id
    }

    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The last event of its statement: table maps end here.
    pub fn ends_statement(&self) -> bool {
        self.flags & STATEMENT_END != 0
    }

    /// Cascaded rows come before the row that they come from, with both flags; an event that several rows share has those of its first.
    pub fn foreign_keys(&self) -> ForeignKeys {
        let has = |flag| self.flags & flag != 0;
        match (has(NO_FOREIGN_KEY_CHECKS), has(SQL_FOREIGN_KEYS)) {
            (true, _) => ForeignKeys::Unchecked,
            (false, true) => ForeignKeys::Logged,
            (false, false) => ForeignKeys::Enforced,
        }
    }

    /// Without a table and without rows: only the end of a statement.
    pub fn is_dummy(&self) -> bool {
        self.table_id == DUMMY && self.ends_statement() && self.rows.is_empty()
    }

    /// The rows, decoded by the plan of the table map with this event's table id.
    pub fn cursor<'p>(&self, plan: &'p TablePlan) -> RowCursor<'a, 'p> {
        RowCursor {
            event: *self,
            plan,
            rest: Cursor::new(self.rows),
            form: Form::Unchecked,
        }
    }
}

/// Decodes the rows of an event one by one.
#[derive(Debug)]
pub struct RowCursor<'a, 'p> {
    event: RowsEvent<'a>,
    plan: &'p TablePlan,
    rest: Cursor<'a>,
    form: Form<'a>,
}

/// How the event's images are to be read.
#[derive(Debug)]
enum Form<'a> {
    Unchecked,
    Full,
    Partial(Box<Partial<'a>>),
}

/// All columns are in the image.
fn is_full(bitmap: &[u8], columns: usize) -> bool {
    let (whole, rest) = (columns / 8, columns % 8);
    let mask = (1_u8 << rest) - 1;
    bitmap.iter().take(whole).all(|&byte| byte == 0xff)
        && bitmap.get(whole).is_none_or(|byte| byte & mask == mask)
}

/// The bitmap without the bits beyond the last column; `None` when all columns are there.
fn presence(bitmap: &[u8], columns: usize) -> Option<Box<[u8]>> {
    if is_full(bitmap, columns) {
        return None;
    }
    let mut bitmap: Box<[u8]> = bitmap.into();
    if let (Some(last), rest @ 1..) = (bitmap.last_mut(), columns % 8) {
        *last &= (1 << rest) - 1;
    }
    Some(bitmap)
}

impl RowCursor<'_, '_> {
    /// Appends the next row's change, with `table` as its table reference; `false` when there is none. After an error nothing is
    /// appended, and the cursor is of no further use.
    #[inline]
    pub fn next(&mut self, table: u32, changes: &mut ChangesBuffer) -> Result<bool, DecodeError> {
        if let Form::Unchecked = self.form {
            self.form = self.check()?;
        }
        if self.rest.is_empty() {
            return Ok(false);
        }
        let (plan, rest) = (self.plan, &mut self.rest);
        let before = rest.rest().len();
        match &mut self.form {
            Form::Partial(partial) => partial.next(plan, rest, table, changes)?,
            Form::Full | Form::Unchecked => changes
                .push_with(table, self.event.operation, |out| plan.image(rest, out))
                .map_err(|flaw| plan.describe(&flaw))?,
        }
        // A row takes at least its bitmap of NULLs; a table has at least one column.
        if rest.rest().len() == before {
            return Err(plan.broken("has rows without bytes"));
        }
        Ok(true)
    }

    fn check<'a>(&self) -> Result<Form<'a>, DecodeError> {
        let event = &self.event;
        if event.columns != self.plan.columns() {
            return Err(self
                .plan
                .broken("has another number of columns than its table map"));
        }
        let presence = |bitmap: Option<&[u8]>| bitmap.and_then(|b| presence(b, event.columns));
        let (before, after) = (presence(event.before), presence(event.after));
        // Rows without a byte could not be counted.
        let first = before
            .as_ref()
            .or(after.as_ref().filter(|_| event.before.is_none()));
        if first.is_some_and(|bitmap| bitmap.iter().all(|&byte| byte == 0)) {
            return Err(self.plan.broken("has images without columns"));
        }
        Ok(match (&before, &after) {
            (None, None) if !event.documents_change => Form::Full,
            _ => Form::Partial(Box::new(Partial::new(
                event.operation,
                before,
                after,
                event.documents_change,
            ))),
        })
    }
}

#[cfg(test)]
mod tests;
