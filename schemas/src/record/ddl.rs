//! `Ddl`: a statement that is not a row change.

use super::{RecordError, Transaction, Version};
use crate::avro::{self, AvroError, Reader};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    pub transaction: Transaction,
    pub statement: String,
    pub database: String,
    pub sql_mode: u64,
    /// Collation ids: client, connection, server.
    pub collations: [u16; 3],
    pub time_zone: String,
    /// What the statement does to captured tables.
    pub effect: DdlEffect,
    /// The captured tables (database, table) that it names.
    pub tables: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdlEffect {
    /// Names no captured table.
    None,
    /// CREATE TABLE, ALTER TABLE, CREATE/DROP INDEX: passes when the target's table fits the rows that follow.
    Define,
    /// TRUNCATE.
    Truncate,
    /// DROP TABLE, DROP DATABASE.
    Drop,
    /// RENAME TABLE, ALTER TABLE … RENAME.
    Rename,
    /// Not understood; may touch a captured table.
    Unknown,
}

impl DdlEffect {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Define,
        Self::Truncate,
        Self::Drop,
        Self::Rename,
        Self::Unknown,
    ];
}

impl Ddl {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.transaction.put(out);
        avro::put_string(out, &self.statement);
        avro::put_string(out, &self.database);
        avro::put_long(out, self.sql_mode as i64);
        put_collations(out, self.collations);
        avro::put_string(out, &self.time_zone);
        avro::put_long(out, self.effect as i64);
        if !self.tables.is_empty() {
            avro::put_long(out, self.tables.len() as i64);
            for (database, table) in &self.tables {
                avro::put_string(out, database);
                avro::put_string(out, table);
            }
        }
        out.push(0);
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let transaction = Transaction::take(input, version)?;
        let statement = input.str()?.to_owned();
        let database = input.str()?.to_owned();
        // 64 flags: all bits are taken as they are.
        let sql_mode = input.long()? as u64;
        let collations = take_collations(input)?;
        let time_zone = input.str()?.to_owned();
        let effect = DdlEffect::ALL[usize::from(input.branch(DdlEffect::ALL.len() as u8)?)];
        let mut tables = Vec::new();
        input.array(|input| -> Result<(), RecordError> {
            tables.push((input.str()?.to_owned(), input.str()?.to_owned()));
            Ok(())
        })?;
        Ok(Self {
            transaction,
            statement,
            database,
            sql_mode,
            collations,
            time_zone,
            effect,
            tables,
        })
    }
}

pub(super) fn put_collations(out: &mut Vec<u8>, collations: [u16; 3]) {
    for collation in collations {
        avro::put_long(out, i64::from(collation));
    }
}

pub(super) fn take_collations(input: &mut Reader<'_>) -> Result<[u16; 3], RecordError> {
    Ok([
        take_collation(input)?,
        take_collation(input)?,
        take_collation(input)?,
    ])
}

fn take_collation(input: &mut Reader<'_>) -> Result<u16, RecordError> {
    let at = input.at();
    u16::try_from(input.int()?).map_err(|_| AvroError::Range { at }.into())
}
