//! Row changes as JSON lines, for `tail` (docs/tail gives the form of each type).

use binferry_schemas::{
    datum::json::{put_image, put_string},
    record::{Image, Operation, Transaction},
    row::RowSchema,
};

use crate::failure::Failure;

/// One change of a transaction, to be written as a line.
#[derive(Debug)]
pub struct Line<'a> {
    pub offset: u64,
    pub transaction: &'a Transaction,
    /// Number of the change in its transaction, from 0.
    pub index: u64,
    /// The transaction's last change.
    pub last: bool,
    pub operation: Operation,
    pub schema: &'a RowSchema,
    pub before: Option<Image<'a>>,
    pub after: Option<Image<'a>>,
}

/// A row that a copy brings: no transaction, and nothing before it.
#[derive(Debug)]
pub struct CopiedLine<'a> {
    pub offset: u64,
    pub schema: &'a RowSchema,
    pub after: Image<'a>,
}

impl CopiedLine<'_> {
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Self { offset, .. } = self;
        let head = format!("{{\"offset\":{offset},\"op\":\"snapshot\",\"database\":");
        out.extend_from_slice(head.as_bytes());
        put_string(out, &self.schema.database);
        out.extend_from_slice(b",\"table\":");
        put_string(out, &self.schema.table);
        out.extend_from_slice(b",\"after\":");
        put_image(out, self.schema, self.after)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

impl Line<'_> {
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let operation = self.operation.name();
        out.extend_from_slice(
            format!(
                "{{\"offset\":{},\"gtid\":\"{}\",\"index\":{},\"last\":{},\"op\":\"{operation}\",\"database\":",
                self.offset, self.transaction.gtid, self.index, self.last
            )
            .as_bytes(),
        );
        put_string(out, &self.schema.database);
        out.extend_from_slice(b",\"table\":");
        put_string(out, &self.schema.table);
        for (name, image) in [("before", self.before), ("after", self.after)] {
            let Some(image) = image else { continue };
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            put_image(out, self.schema, image)?;
        }
        out.extend_from_slice(
            format!(",\"ts_us\":{}}}\n", self.transaction.original_commit_us).as_bytes(),
        );
        Ok(())
    }
}
