//! Statements about tables that are still to be copied.
//!
//! Such a table may be on the target (it is copied again, or was being copied under another name) or not. One that is there follows the
//! source's statements, because its copy does not define it again. One that is not comes as it is when its copy begins: what a statement
//! says of it is left out, and a statement that is about nothing else is passed over.

use std::collections::{HashMap, HashSet};

use binferry_schemas::record::{ALL_TABLES, DdlEffect};
use mysql_async::{Conn, prelude::Queryable};

use super::{DdlUnit, run::stop};
use crate::{
    connection::from_mysql,
    copy::ledger,
    error::{ApplyError, TableName},
    render::name::quoted,
};

const DOING: &str = "looking for the tables of a schema change";

type Table = (String, String);

/// What of a statement is run.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    All,
    Nothing,
    /// In these words.
    Some(String),
}

/// What of the statement concerns tables that are on the target.
pub async fn part(conn: &mut Conn, unit: &DdlUnit) -> Result<Part, ApplyError> {
    let tables = &unit.ddl.tables;
    if let [(database, table)] = &tables[..]
        && table == ALL_TABLES
    {
        // CREATE DATABASE names one that is not there.
        let needs = unit.copying && (unit.ddl.effect == DdlEffect::Drop || alters(unit));
        return Ok(match needs && !database_exists(conn, database).await? {
            true => Part::Nothing,
            false => Part::All,
        });
    }
    let mut absent = HashSet::new();
    for table in &unit.waiting {
        if !exists(conn, table).await? {
            absent.insert(table);
        }
    }
    of(
        unit.ddl.effect,
        tables,
        |table| absent.contains(table),
        |table| unit.waiting.contains(table),
    )
    .ok_or_else(|| stop(unit, "the copy of some of its tables has not begun"))
}

/// Of a database that is named. What a `/*!80000 … */` guards is written out in the text that is run.
fn alters(unit: &DdlUnit) -> bool {
    let instead = unit.ddl.replay.as_ref().and_then(|r| r.instead.as_deref());
    first_word(instead.unwrap_or(&unit.ddl.statement)).eq_ignore_ascii_case("ALTER")
}

/// Behind comments, whatever is in them.
fn first_word(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    loop {
        let behind = match (rest.strip_prefix("/*"), rest.strip_prefix("--")) {
            (Some(comment), _) => comment.split_once("*/"),
            (_, Some(comment)) => comment.split_once('\n'),
            _ => match rest.strip_prefix('#') {
                Some(comment) => comment.split_once('\n'),
                None => break,
            },
        };
        rest = behind.map_or("", |(_, behind)| behind.trim_start());
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic());
    &rest[..end.unwrap_or(rest.len())]
}

/// `None`: it can't be divided.
fn of(
    effect: DdlEffect,
    tables: &[Table],
    is_absent: impl Fn(&Table) -> bool,
    waits: impl Fn(&Table) -> bool,
) -> Option<Part> {
    if !tables.iter().any(&is_absent) {
        return Some(Part::All);
    }
    match effect {
        DdlEffect::Drop => {
            let present: Vec<_> = tables
                .iter()
                .filter(|table| !is_absent(table))
                .map(text)
                .collect();
            Some(match present.is_empty() {
                true => Part::Nothing,
                false => Part::Some(format!("DROP TABLE IF EXISTS {}", present.join(","))),
            })
        }
        DdlEffect::Rename => renamed(tables, is_absent),
        // Partitions that are exchanged change no definition, and the rows come with the copies.
        _ => tables.iter().all(waits).then_some(Part::Nothing),
    }
}

/// Each two tables are a pair, one after the other.
fn renamed(tables: &[Table], is_absent: impl Fn(&Table) -> bool) -> Option<Part> {
    let mut absent: HashSet<&Table> = tables.iter().filter(|table| is_absent(table)).collect();
    let mut pairs = Vec::new();
    for pair in tables.chunks(2) {
        let [from, to] = pair else {
            return None;
        };
        if absent.contains(from) {
            absent.insert(to);
        } else {
            pairs.push(format!("{} TO {}", text(from), text(to)));
            absent.insert(from);
            absent.remove(to);
        }
    }
    Some(match pairs.len() {
        0 => Part::Nothing,
        all if all * 2 == tables.len() => Part::All,
        _ => Part::Some(format!("RENAME TABLE {}", pairs.join(","))),
    })
}

/// A table that gets another name in a database which is not there yet: it comes there with its copy, and the database with it.
pub async fn leave(conn: &mut Conn, stream: &str, unit: &DdlUnit) -> Result<(), ApplyError> {
    if unit.ddl.effect != DdlEffect::Rename || unit.waiting.is_empty() {
        return Ok(());
    }
    let (mut present, mut missing) = (HashSet::new(), HashSet::new());
    for table in &unit.ddl.tables {
        if exists(conn, table).await? {
            present.insert(table);
        }
        if !database_exists(conn, &table.0).await? {
            missing.insert(table.0.as_str());
        }
    }
    for table in leaving(&unit.ddl.tables, &present, &missing) {
        if unit.waiting.contains(table) {
            refuse_rows(conn, stream, unit, table).await?;
            tracing::info!(
                database = table.0,
                table = table.1,
                "removing a table that is copied again in a database that has yet to come"
            );
            unchecked(conn, format!("DROP TABLE IF EXISTS {}", text(table))).await?;
        }
    }
    Ok(())
}

/// The tables of a rename that get a name in a missing database, be it for a moment.
fn leaving<'t>(
    tables: &'t [Table],
    present: &HashSet<&'t Table>,
    missing: &HashSet<&str>,
) -> Vec<&'t Table> {
    let mut origins: HashMap<&Table, &Table> =
        present.iter().map(|table| (*table, *table)).collect();
    let mut leaving = Vec::new();
    for pair in tables.chunks(2) {
        let [from, to] = pair else { continue };
        match origins.remove(from) {
            Some(origin) if missing.contains(to.0.as_str()) => leaving.push(origin),
            Some(origin) => {
                origins.insert(to, origin);
            }
            None => {}
        }
    }
    leaving
}

/// Rows that the copy brings again, also under another name: a copy that has never begun expects none.
pub async fn empty(conn: &mut Conn, stream: &str, unit: &DdlUnit) -> Result<(), ApplyError> {
    if unit.ddl.effect != DdlEffect::Rename {
        return Ok(());
    }
    for table in &unit.waiting {
        if !exists(conn, table).await? {
            continue;
        }
        refuse_rows(conn, stream, unit, table).await?;
        let name = name_of(table);
        tracing::info!(table = %name, "removing the rows of a table that gets another name before it is copied");
        unchecked(conn, format!("TRUNCATE TABLE {}", text(table))).await?;
    }
    Ok(())
}

/// Rows that no copy has brought, and that none is asked to remove, are somebody's.
async fn refuse_rows(
    conn: &mut Conn,
    stream: &str,
    unit: &DdlUnit,
    table: &Table,
) -> Result<(), ApplyError> {
    if unit.removed.contains(table) {
        return Ok(());
    }
    let name = name_of(table);
    let entries = ledger::entries(conn, stream).await?;
    if (entries.iter()).any(|entry| entry.made && entry.table == name) {
        return Ok(());
    }
    let row: Option<u8> = conn
        .query_first(format!("SELECT 1 FROM {} LIMIT 1", text(table)))
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    match row {
        None => Ok(()),
        Some(_) => Err(stop(
            unit,
            &format!(
                "{name} gets another name before its copy has begun, which would bring its rows again, and the target has rows in it that \
                 may not be the copy's: empty it there (TRUNCATE) if they may go"
            ),
        )),
    }
}

fn name_of((database, table): &Table) -> TableName {
    TableName {
        database: database.clone(),
        table: table.clone(),
    }
}

async fn unchecked(conn: &mut Conn, statement: String) -> Result<(), ApplyError> {
    for sql in ["SET SESSION foreign_key_checks = 0".to_owned(), statement] {
        let ran = conn.query_drop(sql).await;
        ran.map_err(|error| from_mysql(error, "removing what is to be copied again"))?;
    }
    Ok(())
}

fn text((database, table): &Table) -> String {
    format!("{}.{}", quoted(database), quoted(table))
}

async fn exists(conn: &mut Conn, (database, table): &Table) -> Result<bool, ApplyError> {
    let found: Option<u8> = conn
        .exec_first(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
            (database, table),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(found.is_some())
}

async fn database_exists(conn: &mut Conn, database: &str) -> Result<bool, ApplyError> {
    let found: Option<u8> = conn
        .exec_first(
            "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?",
            (database,),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(effect: DdlEffect, tables: &str, absent: &str) -> Option<Part> {
        let table = |name: &str| ("d".to_owned(), name.to_owned());
        let tables: Vec<_> = tables.split(' ').map(table).collect();
        let absent: Vec<_> = absent.split(' ').map(table).collect();
        of(
            effect,
            &tables,
            |table| absent.contains(table),
            |table| table.1 != "whole",
        )
    }

    fn some(text: &str) -> Option<Part> {
        Some(Part::Some(text.to_owned()))
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!(part(DdlEffect::Drop, "a b", "c"), Some(Part::All));
        assert_eq!(part(DdlEffect::Drop, "a b", "a b"), Some(Part::Nothing));
        assert_eq!(
            part(DdlEffect::Drop, "a b", "a"),
            some("DROP TABLE IF EXISTS `d`.`b`")
        );
        assert_eq!(part(DdlEffect::Define, "a", "a"), Some(Part::Nothing));
        assert_eq!(part(DdlEffect::Truncate, "a b", "a"), Some(Part::Nothing));
        assert_eq!(part(DdlEffect::Truncate, "a whole", "a"), None);
    }

    #[test]
    fn a_rename_follows_the_tables_that_are_there() {
        let rename = |tables, absent| part(DdlEffect::Rename, tables, absent);
        assert_eq!(rename("a b", "a b"), Some(Part::Nothing));
        assert_eq!(rename("a b", "b"), Some(Part::All));
        // A swap, of which one table is there.
        assert_eq!(
            rename("a t b a t b", "a t"),
            some("RENAME TABLE `d`.`b` TO `d`.`a`")
        );
        assert_eq!(
            rename("a t b a t b", "b t"),
            some("RENAME TABLE `d`.`a` TO `d`.`t`,`d`.`t` TO `d`.`b`")
        );
        assert_eq!(rename("a t b a t b", "t"), Some(Part::All));
        assert_eq!(rename("a b b c", "a b c"), Some(Part::Nothing));
    }

    #[test]
    fn comments_are_no_words() {
        for statement in [
            "alter database d",
            " /* x */ALTER DATABASE d",
            "/* CREATE 'a */ -- b */ DROP\n # c\n/**/ALTER/**/DATABASE d",
        ] {
            assert!(first_word(statement).eq_ignore_ascii_case("ALTER"));
        }
        assert_eq!(first_word("/* ALTER */ CREATE DATABASE d"), "CREATE");
        for statement in ["", "/*", "--", "# ALTER", "`ALTER`"] {
            assert_eq!(first_word(statement), "");
        }
    }

    #[test]
    fn a_table_leaves_for_a_database_that_is_not_there() {
        let table = |database: &str, name: &str| (database.to_owned(), name.to_owned());
        let (a, swap, there) = (table("d", "a"), table("d", "swap"), table("gone", "b"));
        let tables = [&a, &swap, &there, &a, &swap, &there].map(Clone::clone);
        let present = HashSet::from([&tables[0]]);
        assert_eq!(leaving(&tables, &present, &HashSet::from(["gone"])), [&a]);
        assert!(leaving(&tables, &present, &HashSet::new()).is_empty());
    }
}
