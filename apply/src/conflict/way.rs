//! Which row of the target is in the way of a change: the one that holds the value of a unique key that the change would give to another.
//!
//! The server names the key. Its parts are compared as the key itself compares: by the column's own collation, by the prefix where the key
//! has only one, and never where a part is NULL (then nothing is in the way). A part that the target computes, a generated column or an
//! expression, is computed by the target from the row as it is to be. At most one row can hold the value.
//!
//! Should a computed part come out otherwise than in the key (a FLOAT prints differently as a literal), the change fails with the same key
//! again, and the stream stops with nothing done: a row is never taken for another.

use mysql_async::prelude::Queryable;

use super::found::Columns;
use crate::{
    change::{Row, RowChange},
    connection::{Target, from_mysql},
    dialect::Dialect,
    error::{ApplyError, TableName, TableProblem},
    render::{
        forced::{put_comparable, put_equal},
        name::quoted,
        statement::{Unrenderable, put_literal},
    },
    target::{
        catalog,
        table::{TargetColumn, TargetTable},
    },
};

const DOING: &str = "looking at the target's row";

/// A table of the target's, with what only the slow path asks for.
#[derive(Debug)]
pub struct Details {
    pub table: TargetTable,
    pub columns: Columns,
    /// Generated columns with their expressions, in the table's order.
    generated: Vec<(String, String)>,
}

/// A part of a unique key.
#[derive(Debug)]
struct Part {
    column: Option<String>,
    prefix: Option<u64>,
    expression: Option<String>,
}

impl Details {
    pub async fn read(target: &mut Target, change: &RowChange) -> Result<Self, ApplyError> {
        let name = &change.mapping.name;
        let table = catalog::table(target, name)
            .await?
            .ok_or_else(|| ApplyError::Table {
                table: name.clone(),
                place: Some(change.place.clone()),
                problem: Box::new(TableProblem::Missing),
                after: None,
            })?;
        let generated: Vec<(String, String)> = target
            .conn
            .exec(
                "SELECT column_name, CAST(generation_expression AS CHAR) FROM information_schema.columns WHERE table_schema = ? \
                 AND table_name = ? AND generation_expression <> '' ORDER BY ordinal_position",
                (&name.database, &name.table),
            )
            .await
            .map_err(|error| from_mysql(error, DOING))?;
        let generated = generated
            .into_iter()
            .filter(|(column, _)| table.column(column).is_some_and(|column| column.generated))
            .map(|(column, text)| (column, expression(target.dialect, &text)))
            .collect();
        Ok(Self {
            columns: Columns::new(&table),
            table,
            generated,
        })
    }

    /// The condition that finds the row in the way by the unique key. `own` finds the row that the change is about, where there is one.
    /// `None`: the key is not there any more.
    pub async fn in_the_way(
        &self,
        target: &mut Target,
        change: &RowChange,
        after: &Row<'_>,
        own: Option<&[u8]>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, ApplyError> {
        let parts = parts(target, &change.mapping.name, key).await?;
        if parts.is_empty() {
            return Ok(None);
        }
        let seeking = Seeking {
            details: self,
            change,
            after,
            own,
        };
        let mut out = Vec::new();
        for part in &parts {
            if !out.is_empty() {
                out.extend_from_slice(b" AND ");
            }
            (seeking.put_part(&mut out, part)).map_err(|error| {
                crate::batch::value_error(error, &change.mapping, &change.place)
            })?;
        }
        Ok(Some(out))
    }
}

struct Seeking<'a> {
    details: &'a Details,
    change: &'a RowChange,
    after: &'a Row<'a>,
    own: Option<&'a [u8]>,
}

impl Seeking<'_> {
    fn put_part(&self, out: &mut Vec<u8>, part: &Part) -> Result<(), Unrenderable> {
        if let Some(expression) = &part.expression {
            out.extend_from_slice(
                format!("({expression})=(SELECT ({expression}) FROM ").as_bytes(),
            );
            self.put_computed(out)?;
            out.push(b')');
            return Ok(());
        }
        let name = part.column.as_deref().unwrap_or_default();
        let there = self.details.table.column(name);
        put_equal(out, name, part.prefix, |out| match there {
            Some(there) if there.generated => put_as(out, there, |out| {
                out.extend_from_slice(format!("(SELECT {} FROM ", quoted(name)).as_bytes());
                self.put_computed(out)?;
                out.push(b')');
                Ok(())
            }),
            _ => self.put_value(out, name, true),
        })
    }

    /// The column's value in the row as it is to be.
    fn put_value(
        &self,
        out: &mut Vec<u8>,
        name: &str,
        to_compare: bool,
    ) -> Result<(), Unrenderable> {
        let mapping = &self.change.mapping;
        let at = (mapping.schema.columns.iter())
            .position(|column| column.name.to_lowercase() == name.to_lowercase());
        let there = self.details.table.column(name);
        if let Some(at) = at
            && let Some(value) = self.after.get(at).filter(|value| value.is_some())
        {
            let text = there.is_some_and(|there| there.charset.is_some());
            return match there.map(|there| (there.data_type.as_str(), there.fsp.unwrap_or(0))) {
                _ if to_compare || text => put_comparable(out, mapping, at, value),
                // As many digits as the column has.
                Some((ty @ ("time" | "datetime" | "timestamp"), fsp)) => {
                    let ty = if ty == "time" { "TIME" } else { "DATETIME" };
                    out.extend_from_slice(b"CAST(");
                    put_literal(out, mapping, at, value)?;
                    out.extend_from_slice(format!(" AS {ty}({fsp}))").as_bytes());
                    Ok(())
                }
                _ => put_literal(out, mapping, at, value),
            };
        }
        // What the image lacks, or only the target has: as it is in the row, or as a new row would get it.
        let (name, table) = (quoted(name), mapping.quoted.as_str());
        match self.own {
            Some(own) => {
                out.extend_from_slice(
                    format!("(SELECT {name} FROM (SELECT {name} FROM {table} WHERE ").as_bytes(),
                );
                out.extend_from_slice(own);
                out.extend_from_slice(b" LIMIT 1) AS own)");
            }
            None => out.extend_from_slice(
                format!(
                    "(SELECT d FROM (SELECT DEFAULT({name}) AS d FROM {table} LIMIT 1) AS own)"
                )
                .as_bytes(),
            ),
        }
        Ok(())
    }

    /// The row as it is to be, its generated columns computed, as a table of one row: each generated column may use those before it.
    fn put_computed(&self, out: &mut Vec<u8>) -> Result<(), Unrenderable> {
        let generated = &self.details.generated;
        for (at, (name, expression)) in generated.iter().enumerate().rev() {
            let layer = format!("(SELECT l{at}.*,({expression}) AS {} FROM ", quoted(name));
            out.extend_from_slice(layer.as_bytes());
        }
        out.extend_from_slice(b"(SELECT ");
        let mut first = true;
        let given = |column: &&TargetColumn| !column.generated;
        for column in self.details.table.columns.iter().filter(given) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            self.put_value(out, &column.name, false)?;
            out.extend_from_slice(format!(" AS {}", quoted(&column.name)).as_bytes());
        }
        out.extend_from_slice(b") AS l0");
        for at in 0..generated.len() {
            out.extend_from_slice(format!(") AS l{}", at + 1).as_bytes());
        }
        Ok(())
    }
}

/// A value in the character set and collation of a column.
fn put_as(
    out: &mut Vec<u8>,
    column: &TargetColumn,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), Unrenderable>,
) -> Result<(), Unrenderable> {
    let (Some(charset), Some(collation)) = (&column.charset, &column.collation) else {
        return put(out);
    };
    out.extend_from_slice(b"CONVERT(");
    put(out)?;
    out.extend_from_slice(
        format!(" USING {}) COLLATE {}", charset.name(), collation.name()).as_bytes(),
    );
    Ok(())
}

async fn parts(target: &mut Target, table: &TableName, key: &str) -> Result<Vec<Part>, ApplyError> {
    let expressions = match target.dialect {
        Dialect::MySql => "CAST(expression AS CHAR)",
        // A key of MariaDB's has columns only.
        Dialect::MariaDb => "NULL",
    };
    let dialect = target.dialect;
    let rows: Vec<(Option<String>, Option<u64>, Option<String>)> = target
        .conn
        .exec(
            format!(
                "SELECT column_name, sub_part, {expressions} FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? \
                 AND index_name = ? AND non_unique = 0 ORDER BY seq_in_index"
            ),
            (&table.database, &table.table, key),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let parts = rows.into_iter().map(|(column, prefix, text)| Part {
        expression: text
            .filter(|_| column.is_none())
            .map(|text| expression(dialect, &text)),
        column,
        prefix,
    });
    Ok(parts.collect())
}

/// The name of a foreign key by which rows of other tables would go or change with a row of this one.
pub async fn cascade(target: &mut Target, table: &TableName) -> Result<Option<String>, ApplyError> {
    target
        .conn
        .exec_first(
            "SELECT constraint_name FROM information_schema.referential_constraints WHERE unique_constraint_schema = ? \
             AND referenced_table_name = ? AND delete_rule NOT IN ('RESTRICT', 'NO ACTION') LIMIT 1",
            (&table.database, &table.table),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))
}

/// The text of an expression in the server's catalog: MySQL escapes quotes and backslashes in it once more.
fn expression(dialect: Dialect, text: &str) -> String {
    if dialect == Dialect::MariaDb {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_the_catalog() {
        let text = r"concat(`a`,_utf8mb4\'-\\\'\\\\\',`b`)";
        assert_eq!(
            expression(Dialect::MySql, text),
            r"concat(`a`,_utf8mb4'-\'\\',`b`)"
        );
        assert_eq!(expression(Dialect::MariaDb, text), text);
    }
}
