//! A range of a copy over rows that may differ: the target's rows in it go, but for those whose keys are left out, and the record's rows
//! come, all in the transaction of its progress.
//!
//! A row that comes may find the value of a unique key taken by a row of another range: that one is not what the source has, goes, and comes
//! again with its own range or its next change. What is left out must not go that way, since nothing would bring it back: it is counted
//! before and after, and the repair stops.
//!
//! The bounds are the source's to order. They are believed only where the target's key orders alike: the same collation, and no type whose
//! literals compare in another way than its values.

use std::sync::Arc;

use binferry_schemas::{
    datum::{Value, Values},
    row::{ColumnType, RowSchema},
};
use mysql_async::prelude::Queryable;

use super::CopyProblem;
use crate::{
    batch::{Limits, PACKET_MARGIN, Statement, value_error},
    change::{Row, RowImage},
    connection::{Target, from_mysql},
    dialect::Dialect,
    error::{ApplyError, Place},
    render::{
        checks::without_foreign_keys,
        copied::{put_absent, put_own_key},
        forced::put_comparable,
        statement::{Unrenderable, begin_insert, is_lax_row, put_insert, put_insert_row},
    },
    target::{
        mapping::{Mapping, Order},
        table::TargetTable,
    },
};

const DOING: &str = "repairing a range of rows";

/// A range as its record has it.
#[derive(Debug)]
pub struct Repair {
    pub mapping: Arc<Mapping>,
    pub place: Arc<Place>,
    pub rows: Vec<RowImage>,
    /// The names of the key's columns, in its order.
    pub key: Vec<String>,
    pub lower: Option<Vec<u8>>,
    pub upper: Option<Vec<u8>>,
    pub left_out: Vec<Vec<u8>>,
}

/// Can the bounds of a key be believed on the target? An error says why not.
pub async fn orders_alike(
    target: &mut Target,
    schema: &RowSchema,
    key: &[String],
    there: &TargetTable,
) -> Result<Result<(), &'static str>, ApplyError> {
    for name in key {
        let column = schema.columns.iter().find(|column| column.name == *name);
        let (Some(column), Some(found)) = (column, there.column(name)) else {
            return Ok(Err("a column of its key is not on the target"));
        };
        if column.key.is_some_and(|part| part.prefix > 0) {
            return Ok(Err("its key has a part of a column only"));
        }
        if let ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Float { .. }
        | ColumnType::Double { .. } = column.ty
        {
            return Ok(Err(
                "its key has a column of a type that compares in more than one way",
            ));
        }
        // MariaDB's has a text that begins with what it orders by last.
        if found.data_type == "uuid" {
            return Ok(Err(
                "its key is a UUID on the target, which orders otherwise than its bytes",
            ));
        }
        let Some(here) = column.ty.collation() else {
            continue;
        };
        let collation = found.collation.as_ref().map(|collation| collation.name());
        let id = match target.dialect {
            Dialect::MySql => {
                "SELECT id FROM information_schema.collations WHERE collation_name = ?"
            }
            Dialect::MariaDb => {
                "SELECT id FROM information_schema.collation_character_set_applicability WHERE full_collation_name = ?"
            }
        };
        let id: Option<u64> = (target.conn)
            .exec_first(id, (collation.unwrap_or_default(),))
            .await
            .map_err(|error| from_mysql(error, DOING))?;
        if id != Some(u64::from(here)) {
            return Ok(Err(
                "its key has another collation on the target than on the source",
            ));
        }
    }
    Ok(Ok(()))
}

impl Repair {
    fn problem(&self, reason: &'static str) -> ApplyError {
        ApplyError::Copy {
            table: self.mapping.name.clone(),
            place: Some(Arc::clone(&self.place)),
            problem: Box::new(CopyProblem::Repair(reason)),
        }
    }

    /// When the last statement finds another number of rows than before.
    pub fn obstructed(&self) -> ApplyError {
        self.problem(
            "a row that the stream has changed meanwhile holds a unique value of another row",
        )
    }

    pub async fn run(
        &self,
        target: &mut Target,
        limits: &Limits,
    ) -> Result<Vec<Statement>, ApplyError> {
        let mapping = &self.mapping;
        if mapping.order == Order::Logged {
            return Err(self.problem("the target's table has columns of its own"));
        }
        let copying = mapping.copying.as_ref();
        let (Some(copying), Some(guard)) = (copying, copying.and_then(|copying| copying.guard))
        else {
            return Err(self.problem("no key of the target tells its rows apart"));
        };
        let key: Vec<usize> = (self.key.iter())
            .map(|name| {
                let columns = &mapping.schema.columns;
                columns.iter().position(|column| column.name == *name)
            })
            .collect::<Option<_>>()
            .ok_or_else(|| self.problem("its key's columns are not those of its rows"))?;
        let key_schema = RowSchema {
            columns: (key.iter())
                .map(|at| mapping.schema.columns[*at].clone())
                .collect(),
            database: mapping.schema.database.clone(),
            table: mapping.schema.table.clone(),
        };
        let left_out: Vec<Row<'_>> = (self.left_out.iter())
            .map(|bytes| self.sparse(&key, &key_schema, bytes))
            .collect::<Result<_, _>>()?;
        let mut statements =
            vec![self.statement(|sql| self.put_delete(sql, &key, &key_schema, &left_out))?];
        for rows in self.rows.chunks(limits.statement_rows) {
            self.replace(rows, limits, &mut statements)?;
        }
        if !left_out.is_empty() {
            let mut count = format!("SELECT COUNT(*) FROM {} WHERE ", mapping.quoted).into_bytes();
            put_any(&mut count, mapping, &key, &left_out)
                .map_err(|error| value_error(error, mapping, &self.place))?;
            let there: Option<u64> = (target.conn)
                .query_first(count)
                .await
                .map_err(|error| from_mysql(error, DOING))?;
            let mut guarded =
                self.statement(|sql| put_absent(sql, mapping, copying, guard, &left_out))?;
            guarded.rows = Some(there.unwrap_or_default());
            statements.push(guarded);
        }
        if statements
            .iter()
            .any(|s| s.sql.len() + PACKET_MARGIN > limits.packet)
        {
            return Err(
                self.problem("a statement for it is larger than the target's max_allowed_packet")
            );
        }
        Ok(statements)
    }

    fn statement(
        &self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Unrenderable>,
    ) -> Result<Statement, ApplyError> {
        let mapping = &self.mapping;
        let mut sql = Vec::new();
        put(&mut sql).map_err(|error| value_error(error, mapping, &self.place))?;
        if mapping.without_foreign_keys(true) {
            sql = without_foreign_keys(mapping.dialect, sql);
        }
        Ok(Statement::new(sql, None))
    }

    /// A row of which only the key is known.
    fn sparse<'a>(
        &self,
        key: &[usize],
        key_schema: &'a RowSchema,
        bytes: &'a [u8],
    ) -> Result<Row<'a>, ApplyError> {
        let mut row: Row<'a> = vec![None; self.mapping.columns.len()];
        for (at, value) in key.iter().zip(Values::new(key_schema, None, bytes)) {
            row[*at] = value.map_err(|source| ApplyError::Datum {
                place: Arc::clone(&self.place),
                source: Box::new(source),
            })?;
        }
        Ok(row)
    }

    fn put_delete(
        &self,
        out: &mut Vec<u8>,
        key: &[usize],
        key_schema: &RowSchema,
        left_out: &[Row<'_>],
    ) -> Result<(), Unrenderable> {
        let mapping = &self.mapping;
        out.extend_from_slice(b"DELETE FROM ");
        out.extend_from_slice(mapping.quoted.as_bytes());
        out.extend_from_slice(b" WHERE TRUE");
        for (bound, sign, last) in [(&self.lower, ">", ">"), (&self.upper, "<", "<=")] {
            let Some(bytes) = bound else { continue };
            // A key that can't be read has been refused with the rows.
            let values: Vec<_> = Values::new(key_schema, None, bytes)
                .map(|value| value.ok().flatten())
                .collect();
            out.extend_from_slice(b" AND ");
            put_bound(out, mapping, key, &values, sign, last)?;
        }
        if !left_out.is_empty() {
            out.extend_from_slice(b" AND NOT (");
            put_any(out, mapping, key, left_out)?;
            out.push(b')');
        }
        Ok(())
    }

    fn replace(
        &self,
        rows: &[RowImage],
        limits: &Limits,
        out: &mut Vec<Statement>,
    ) -> Result<(), ApplyError> {
        let mapping = &self.mapping;
        let values: Vec<Row<'_>> = (rows.iter())
            .map(|row| mapping.values(row))
            .collect::<Result<_, _>>()
            .map_err(|source| ApplyError::Datum {
                place: Arc::clone(&self.place),
                source: Box::new(source),
            })?;
        let lax = values.iter().any(|row| is_lax_row(mapping, row));
        let bytes: usize = rows.iter().map(|row| row.datum.len()).sum();
        if rows.len() > 1 && (lax || bytes > limits.statement_bytes) {
            for half in rows.chunks(rows.len().div_ceil(2)) {
                self.replace(half, limits, out)?;
            }
            return Ok(());
        }
        out.push(self.statement(|sql| {
            let mut insert = Vec::with_capacity(bytes * 5 / 4 + 512);
            match &values[..] {
                [] => return Ok(()),
                [one] => put_insert(&mut insert, mapping, one)?,
                [first, ..] => {
                    begin_insert(&mut insert, mapping, first);
                    for (at, row) in values.iter().enumerate() {
                        if at > 0 {
                            insert.push(b',');
                        }
                        put_insert_row(&mut insert, mapping, row)?;
                    }
                }
            }
            // The verb is before every name and value.
            let verb = b"INSERT ";
            let at = insert.windows(verb.len()).position(|part| part == verb);
            let at = at.unwrap_or_default();
            sql.extend_from_slice(&insert[..at]);
            sql.extend_from_slice(b"REPLACE ");
            sql.extend_from_slice(&insert[at + verb.len()..]);
            Ok(())
        })?);
        Ok(())
    }
}

/// Rows with any of these keys.
fn put_any(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    key: &[usize],
    rows: &[Row<'_>],
) -> Result<(), Unrenderable> {
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b" OR ");
        }
        put_own_key(out, mapping, key, row)?;
    }
    Ok(())
}

/// `(a>=x AND (a>x OR (a=x AND b>y)))`: the first comparison is for the index.
fn put_bound(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    key: &[usize],
    values: &[Option<Value<'_>>],
    sign: &str,
    last: &str,
) -> Result<(), Unrenderable> {
    let compare = |out: &mut Vec<u8>, at: usize, sign: &str| {
        out.extend_from_slice(mapping.columns[key[at]].quoted.as_bytes());
        out.extend_from_slice(sign.as_bytes());
        put_comparable(out, mapping, key[at], &values[at])
    };
    out.push(b'(');
    compare(out, 0, &format!("{sign}="))?;
    out.extend_from_slice(b" AND ");
    for at in 0..key.len() {
        let ends = at + 1 == key.len();
        out.push(b'(');
        compare(out, at, if ends { last } else { sign })?;
        if !ends {
            out.extend_from_slice(b" OR (");
            compare(out, at, "=")?;
            out.extend_from_slice(b" AND ");
        }
    }
    for at in (0..key.len()).rev() {
        out.push(b')');
        if at > 0 {
            out.push(b')');
        }
    }
    out.push(b')');
    Ok(())
}
