//! What a statement defines, before it and now: how it is told whether a statement was done, where no GTID tells.
//!
//! A definition is what SHOW CREATE prints, without the AUTO_INCREMENT counter, or that there is none. Statements that leave the
//! definitions as they were may be run once more: what they do to rows (TRUNCATE, a rebuild) does nothing the second time, because no
//! row came in between. Those that exchange rows between tables of equal definitions can't be told, and stop the stream.

use binferry_schemas::record::{ALL_TABLES, DdlEffect};
use mysql_async::{Conn, Error, Row, prelude::Queryable};

use crate::{connection::from_mysql, error::ApplyError, render::name::quoted};

const DOING: &str = "reading a definition on the target";

/// A table or a database, and its definition; `None`: it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    pub database: String,
    /// [`ALL_TABLES`]: the database.
    pub table: String,
    pub definition: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done,
    NotDone,
    Unclear,
}

/// Reads the definitions of what a statement names, each once.
pub async fn read(conn: &mut Conn, named: &[(String, String)]) -> Result<Vec<Defined>, ApplyError> {
    let mut found: Vec<Defined> = Vec::with_capacity(named.len());
    for (database, table) in named {
        if found
            .iter()
            .any(|seen| (&seen.database, &seen.table) == (database, table))
        {
            continue;
        }
        let ask = match table.as_str() {
            ALL_TABLES => format!("SHOW CREATE DATABASE {}", quoted(database)),
            table => format!("SHOW CREATE TABLE {}.{}", quoted(database), quoted(table)),
        };
        let definition = match conn.query_first::<Row, _>(ask).await {
            Ok(row) => row.and_then(|mut row| row.take::<String, _>(1)),
            // No such database, no such table.
            Err(Error::Server(answer)) if matches!(answer.code, 1049 | 1146) => None,
            Err(error) => return Err(from_mysql(error, DOING)),
        };
        found.push(Defined {
            database: database.clone(),
            table: table.clone(),
            definition: definition.map(|text| without_counter(&text)),
        });
    }
    Ok(found)
}

/// ` AUTO_INCREMENT=7` among the table's options moves with its rows. Options stand behind the last parenthesis at a line's beginning.
fn without_counter(text: &str) -> String {
    const COUNTER: &str = " AUTO_INCREMENT=";
    let options = text.rfind("\n)").unwrap_or(0);
    let (head, tail) = text.split_at(options);
    match tail.split_once(COUNTER) {
        None => text.to_owned(),
        Some((before, after)) => {
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{head}{before}{after}")
        }
    }
}

/// Has the statement been done? `named`: its tables, in its order.
pub fn compare(
    effect: DdlEffect,
    named: &[(String, String)],
    before: &[Defined],
    now: &[Defined],
) -> Answer {
    let same_names = before.len() == now.len()
        && before
            .iter()
            .zip(now)
            .all(|(before, now)| (&before.database, &before.table) == (&now.database, &now.table));
    if !same_names || before.is_empty() {
        return Answer::Unclear;
    }
    let changed = before.iter().zip(now).filter(|(a, b)| a != b).count();
    let is_any = |defined: &[Defined]| defined.iter().any(|one| one.definition.is_some());
    match effect {
        DdlEffect::Rename => renamed(named, before, now),
        _ if changed == 0 && (effect != DdlEffect::Truncate || before.len() == 1) => {
            Answer::NotDone
        }
        DdlEffect::Drop if !is_any(now) || before.len() == 1 => Answer::Done,
        DdlEffect::Drop => Answer::Unclear,
        DdlEffect::Define | DdlEffect::Truncate if changed == before.len() => Answer::Done,
        _ => Answer::Unclear,
    }
}

/// Which names there are tells it, or else their definitions, apart from the tables' names in them.
fn renamed(named: &[(String, String)], before: &[Defined], now: &[Defined]) -> Answer {
    let mut expected = before.to_vec();
    let place = |(database, table): &(String, String)| {
        before
            .iter()
            .position(|one| (&one.database, &one.table) == (database, table))
    };
    for pair in named.chunks(2) {
        let [from, to] = pair else {
            return Answer::Unclear;
        };
        let (Some(from), Some(to)) = (place(from), place(to)) else {
            return Answer::Unclear;
        };
        expected[to].definition = expected[from].definition.take();
    }
    let there = |defined: &[Defined]| -> Vec<bool> {
        (defined.iter().map(|one| one.definition.is_some())).collect()
    };
    let (was, will, is) = (there(before), there(&expected), there(now));
    if was != will {
        return match () {
            () if is == was => Answer::NotDone,
            () if is == will => Answer::Done,
            () => Answer::Unclear,
        };
    }
    let bodies = |defined: &[Defined]| -> Vec<Option<String>> {
        let body = |one: &Defined| one.definition.as_deref().map(|text| body(text).to_owned());
        defined.iter().map(body).collect()
    };
    let (was, will, is) = (bodies(before), bodies(&expected), bodies(now));
    match () {
        () if was == will => Answer::Unclear,
        () if is == was => Answer::NotDone,
        () if is == will => Answer::Done,
        () => Answer::Unclear,
    }
}

/// Behind the table's name.
fn body(text: &str) -> &str {
    text.find("` (\n").map_or(text, |at| &text[at..])
}

/// For `binferry.ddl`.
///
/// ```text
/// each: u32 length, database | u32 length, table | u8 is there | u32 length, definition     little endian
/// ```
pub fn encode(defined: &[Defined]) -> Vec<u8> {
    let mut out = Vec::new();
    let put = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    for one in defined {
        put(&mut out, &one.database);
        put(&mut out, &one.table);
        out.push(u8::from(one.definition.is_some()));
        put(&mut out, one.definition.as_deref().unwrap_or_default());
    }
    out
}

/// `None`: it is damaged.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Defined>> {
    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(taken)
    }
    fn text(bytes: &mut &[u8]) -> Option<String> {
        let length = u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?);
        String::from_utf8(take(bytes, length as usize)?.to_vec()).ok()
    }
    let mut defined = Vec::new();
    while !bytes.is_empty() {
        let (database, table) = (text(&mut bytes)?, text(&mut bytes)?);
        let is_there = take(&mut bytes, 1)? == [1];
        let definition = text(&mut bytes)?;
        defined.push(Defined {
            database,
            table,
            definition: is_there.then_some(definition),
        });
    }
    Some(defined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(tables: &[(&str, Option<&str>)]) -> Vec<Defined> {
        (tables.iter())
            .map(|(table, definition)| Defined {
                database: "d".into(),
                table: (*table).into(),
                definition: definition
                    .map(|body| format!("CREATE TABLE `{table}` (\n  {body}\n) ENGINE=InnoDB")),
            })
            .collect()
    }

    #[track_caller]
    fn check(
        effect: DdlEffect,
        named: &[&str],
        before: &[(&str, Option<&str>)],
        now: &[(&str, Option<&str>)],
        answer: Answer,
    ) {
        let named: Vec<_> = (named.iter())
            .map(|table| ("d".to_owned(), (*table).to_owned()))
            .collect();
        let (before, now) = (defined(before), defined(now));
        assert_eq!(compare(effect, &named, &before, &now), answer);
        assert_eq!(decode(&encode(&before)), Some(before));
    }

    #[test]
    fn definitions_that_change() {
        use Answer::*;
        use DdlEffect::{Define, Drop, Truncate};
        let (a, b) = (Some("a"), Some("b"));
        check(Define, &["t"], &[("t", a)], &[("t", b)], Done);
        check(Define, &["t"], &[("t", None)], &[("t", b)], Done);
        check(Define, &["t"], &[("t", a)], &[("t", a)], NotDone);
        check(Truncate, &["t"], &[("t", a)], &[("t", a)], NotDone);
        check(Truncate, &["t"], &[("t", a)], &[("t", b)], Done);
        check(Drop, &["t"], &[("t", a)], &[("t", None)], Done);
        check(Drop, &["t"], &[("t", a)], &[("t", b)], Done);
        // Rows that may have been exchanged, and a drop that has come half the way.
        let both = [("t", a), ("u", a)];
        check(Truncate, &["t", "u"], &both, &both, Unclear);
        check(Drop, &["t", "u"], &both, &both, NotDone);
        let half = [("t", None), ("u", a)];
        check(Drop, &["t", "u"], &both, &half, Unclear);
        let none = [("t", None), ("u", None)];
        check(Drop, &["t", "u"], &both, &none, Done);
        check(Drop, &["t", "u"], &none, &none, NotDone);
    }

    #[test]
    fn names_that_change() {
        use Answer::*;
        let (a, b) = (Some("a"), Some("b"));
        let check = |named: &[&str], before: &[(&str, _)], now: &[(&str, _)], answer| {
            check(DdlEffect::Rename, named, before, now, answer)
        };
        check(
            &["t", "u"],
            &[("t", a), ("u", None)],
            &[("t", None), ("u", a)],
            Done,
        );
        check(
            &["t", "u"],
            &[("t", a), ("u", None)],
            &[("t", a), ("u", None)],
            NotDone,
        );
        check(
            &["t", "u"],
            &[("t", a), ("u", None)],
            &[("t", a), ("u", a)],
            Unclear,
        );
        // A cut-over: t to _old, _new to t.
        let cut_over = ["t", "_old", "_new", "t"];
        let before = [("t", a), ("_old", None), ("_new", a)];
        let after = [("t", a), ("_old", a), ("_new", None)];
        check(&cut_over, &before, &after, Done);
        check(&cut_over, &before, &before, NotDone);
        // A swap.
        let swap = ["t", "x", "u", "t", "x", "u"];
        let (ab, ba) = (
            [("t", a), ("x", None), ("u", b)],
            [("t", b), ("x", None), ("u", a)],
        );
        check(&swap, &ab, &ba, Done);
        check(&swap, &ab, &ab, NotDone);
        let aa = [("t", a), ("x", None), ("u", a)];
        check(&swap, &aa, &aa, Unclear);
    }

    #[test]
    fn counters_do_not_count() {
        let text = |counter: &str, comment: &str| {
            format!(
                "CREATE TABLE `t` (\n  `a` int DEFAULT ' AUTO_INCREMENT=4'\n) ENGINE=InnoDB{counter} DEFAULT CHARSET=utf8mb4 COMMENT='{comment}'"
            )
        };
        assert_eq!(
            without_counter(&text(" AUTO_INCREMENT=12", "x")),
            text("", "x")
        );
        assert_eq!(without_counter(&text("", "x")), text("", "x"));
    }
}
