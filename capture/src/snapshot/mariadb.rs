//! What a copy out of a MariaDB makes certain of by itself, where MySQL gives it.
//!
//! **What a snapshot shows.** A transaction enters `gtid_binlog_pos` when it is written to the binlog; InnoDB shows it after that, in the
//! same order. So a snapshot may lack the last of the position that was read before it. The server says where between the binlog's
//! transactions the snapshot lies, and it is taken when that is not before the end of the binlog as it was after the position had been
//! read.
//!
//! **XA COMMIT** alone comes out of this order: the binlog has it first, InnoDB shows it when it likes. Until it does, XA RECOVER lists the
//! transaction (`sql/xa.cc`: the name goes after the engines' commit). So what is listed there, and is not prepared as far as the stream has
//! come, has to leave the list once before the snapshot opens. Those that the stream meets in the window itself are always in question.
//!
//! **Names of tables** are files: a statement about a table changes them before it is in the binlog, under a lock on the name that it holds
//! until it is. So names that have come or gone since the last look are asked for one by one, which waits for that lock.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use binferry_schemas::record::Xid;

use super::{
    definition::Name,
    desk::in_order,
    dialect::{Dialect, SYSTEM_SCHEMAS},
    reader::LOCKED,
    sql,
};
use crate::{
    client::{Connection, Rows},
    error::{CaptureError, ServerError},
};

/// How long commits that are under way are waited for. One may wait for a replica's answer for as long as it likes: then the window is
/// given up, and comes again.
const SETTLE: (Duration, u32) = (Duration::from_millis(5), 200);

/// Opens a snapshot that shows everything before `end`, but for XA transactions; false: there is none yet.
pub(super) async fn snapshot(
    connection: &mut Connection,
    end: &(String, u64),
) -> Result<bool, CaptureError> {
    for _ in 0..SETTLE.1 {
        connection.query(sql::SNAPSHOT).await?;
        let shown = connection
            .query("SHOW STATUS LIKE 'binlog_snapshot_%'")
            .await?
            .pairs();
        let position = shown.get("binlog_snapshot_position");
        if let Some(file) = shown.get("binlog_snapshot_file")
            && let Some(position) = position.and_then(|position| position.parse().ok())
            && in_order(file, position) >= in_order(&end.0, end.1)
        {
            return Ok(true);
        }
        connection.query("COMMIT").await?;
        tokio::time::sleep(SETTLE.0).await;
    }
    Ok(false)
}

/// Waits until InnoDB shows each XA transaction that has been committed in the binlog; `prepared` are those that have not. False: not yet.
pub(super) async fn xa_is_shown(
    connection: &mut Connection,
    prepared: &[Xid],
) -> Result<bool, CaptureError> {
    let mut doubtful = recoverable(connection).await?;
    doubtful.retain(|xid| !prepared.contains(xid));
    for _ in 0..SETTLE.1 {
        if doubtful.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(SETTLE.0).await;
        let listed = recoverable(connection).await?;
        doubtful.retain(|xid| listed.contains(xid));
    }
    Ok(false)
}

/// XA RECOVER: `formatID | gtrid_length | bqual_length | data`. Any user may ask.
async fn recoverable(connection: &mut Connection) -> Result<Vec<Xid>, CaptureError> {
    let rows = connection.query("XA RECOVER").await?;
    let xids: Option<Vec<Xid>> = (0..rows.rows.len())
        .map(|row| {
            let number = |column| rows.value(row, column)?.parse::<i64>().ok();
            let data = rows.rows[row].last()?.as_deref()?;
            let (gtrid, bqual) =
                data.split_at_checked(usize::try_from(number("gtrid_length")?).ok()?)?;
            Some(Xid {
                format: number("formatID")? as u32,
                gtrid: gtrid.to_vec(),
                bqual: bqual.to_vec(),
            })
        })
        .collect();
    xids.ok_or_else(|| super::reader::protocol(connection, "XA RECOVER lists no names"))
}

/// The first table behind `after` in the order of the names as bytes for which `wanted` holds. `captured`: the names that matter at all;
/// `seen`: those of them that were there at the last look.
pub(super) async fn next_table(
    connection: &mut Connection,
    seen: &mut BTreeSet<Name>,
    captured: impl Fn(&str, &str) -> bool,
    after: Option<&Name>,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Option<Name>, CaptureError> {
    loop {
        let mut names = names(connection).await?;
        names.retain(|(database, table)| captured(database, table));
        let changed: Vec<&Name> = names.symmetric_difference(seen).collect();
        for name in &changed {
            table_type(connection, name).await?;
        }
        let settled = changed.is_empty();
        *seen = names;
        if settled {
            break;
        }
    }
    let behind = match after {
        Some(after) => seen.range((Excluded(after.clone()), Unbounded)),
        None => seen.range::<Name, _>(..),
    };
    for name in behind {
        if wanted(&name.0, &name.1) && table_type(connection, name).await?.is_some() {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

/// The first foreign key of a table that changes rows by itself, out of SHOW CREATE TABLE: who may only read a table is not shown its
/// foreign keys by the information schema.
pub(super) fn cascade(create_table: &str) -> Option<String> {
    const KEY: &str = "CONSTRAINT ` FOREIGN KEY (";
    const RULES: [&str; 4] = [
        " ON DELETE CASCADE",
        " ON DELETE SET NULL",
        " ON UPDATE CASCADE",
        " ON UPDATE SET NULL",
    ];
    let (bare, names) = unquoted(create_table);
    bare.match_indices(KEY).find_map(|(at, _)| {
        let clause = bare[at..].lines().next()?;
        let cascades = RULES.iter().any(|rule| clause.contains(rule));
        let before = bare[..at].matches('`').count();
        cascades.then(|| names.get(before).cloned().unwrap_or_default())
    })
}

/// A text with a mark in the place of each name, and nothing in that of each string; and the names.
fn unquoted(text: &str) -> (String, Vec<String>) {
    let (mut bare, mut names) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text.chars().peekable();
    while let Some(quote) = rest.next() {
        if quote != '`' && quote != '\'' {
            bare.push(quote);
            continue;
        }
        let mut quoted = String::new();
        while let Some(c) = rest.next() {
            match c {
                '\\' if quote == '\'' => quoted.extend(rest.next()),
                _ if c == quote && rest.peek() == Some(&quote) => quoted.extend(rest.next()),
                _ if c == quote => break,
                c => quoted.push(c),
            }
        }
        if quote == '`' {
            bare.push('`');
            names.push(quoted);
        }
    }
    (bare, names)
}

/// Of everything that there is, without a look at what it is.
async fn names(connection: &mut Connection) -> Result<BTreeSet<Name>, CaptureError> {
    let rows = connection
        .query(&format!(
            "SELECT TABLE_SCHEMA AS d, TABLE_NAME AS t FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN {SYSTEM_SCHEMAS}"
        ))
        .await?;
    let name = |row| Some((rows.value(row, "d")?, rows.value(row, "t")?));
    Ok((0..rows.rows.len()).filter_map(name).collect())
}

/// `None`: there is no such table. Waits for statements about the name to end.
async fn table_type(
    connection: &mut Connection,
    (database, table): &Name,
) -> Result<Option<String>, CaptureError> {
    let sql = format!(
        "SELECT TABLE_TYPE AS k, ENGINE AS e FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND TABLE_TYPE IN {}",
        sql::string(database),
        sql::string(table),
        Dialect::of(connection).table_types()
    );
    Ok(told(connection, &sql).await?.value(0, "k"))
}

/// Asks the information schema. Of a table that is locked MariaDB gives a row without values, or none, and a warning: that is the answer of
/// a table that is locked.
pub(super) async fn told(connection: &mut Connection, sql: &str) -> Result<Rows, CaptureError> {
    let rows = connection.query(sql).await?;
    if connection.is_mariadb() {
        let warnings = connection.query("SHOW WARNINGS").await?;
        let locked = (0..warnings.rows.len())
            .any(|row| warnings.value(row, "Code") == Some(LOCKED.to_string()));
        if locked {
            let error = ServerError {
                code: LOCKED,
                state: "HY000".to_owned(),
                message: "a table is locked".to_owned(),
            };
            return Err(CaptureError::answered(
                connection.server(),
                connection.user(),
                error,
            ));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cascades_are_told_from_what_looks_like_them() {
        let table = |item: &str| {
            format!(
                "CREATE TABLE `t` (\n  `a` int(11) DEFAULT NULL COMMENT 'CONSTRAINT `x` FOREIGN KEY (\\' ON DELETE CASCADE',\n  {item}\n) ENGINE=InnoDB COMMENT=' ON DELETE CASCADE'"
            )
        };
        for (item, found) in [
            ("KEY `a` (`a`)", None),
            (
                "CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `p` (`id`)",
                None,
            ),
            (
                "CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES ` ON DELETE CASCADE` (`id`) ON DELETE NO ACTION",
                None,
            ),
            ("CONSTRAINT `c` CHECK (`a` <> ' ON DELETE CASCADE')", None),
            (
                "CONSTRAINT `f``\n` FOREIGN KEY (`a`) REFERENCES `p` (`id`) ON DELETE CASCADE",
                Some("f`\n"),
            ),
            (
                "CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `p` (`id`),\n  CONSTRAINT `g` FOREIGN KEY (`a`) REFERENCES `q` (`id`) ON UPDATE SET NULL",
                Some("g"),
            ),
        ] {
            assert_eq!(cascade(&table(item)).as_deref(), found, "{item}");
        }
    }
}
