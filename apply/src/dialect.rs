//! MySQL and MariaDB as targets: what differs between them, in one place.
//!
//! Found once per connection, from the version that the server gives, and carried by the mapping to whatever renders SQL. What both take
//! the same is written the same for both: single-row statements, literals, the progress tables, the catalog's queries.
//!
//! | | MySQL | MariaDB |
//! |---|---|---|
//! | rows as a table | `(VALUES ROW(…),ROW(…)) AS v(b0,b1)` | `(SELECT … AS b0,… AS b1 UNION ALL VALUES (…),(…)) AS v`: it has no `ROW`, and names for the columns of a derived table came with 11.7 only |
//! | a JSON column | a type of its own, values typed | LONGTEXT with a check: the document's text, byte for byte |
//! | session settings | `transaction_isolation`, `max_execution_time` | `SET TRANSACTION`, `max_statement_time`, `check_constraint_checks` |
//! | nobody may write | `super_read_only` | (none) |
//! | a key in error 1062 | `'table.key'` | `'key'` |

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    MySql,
    MariaDb,
}

/// The same on both: READ COMMITTED is set apart, as it has two names.
macro_rules! session {
    ($rest:literal) => {
        concat!(
            "SET SESSION time_zone = '+00:00', \
             sql_mode = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
             unique_checks = 1, foreign_key_checks = 1, autocommit = 1, innodb_lock_wait_timeout = 10, wait_timeout = 30, \
             interactive_timeout = 30, sql_safe_updates = 0, big_tables = 0, \
             explicit_defaults_for_timestamp = 1, ",
            $rest
        )
    };
}

impl Dialect {
    /// Of a server, by what `SELECT VERSION()` gives; an error names what is needed.
    pub fn of(version: &str) -> Result<Self, &'static str> {
        let dialect = if version.to_lowercase().contains("mariadb") {
            Self::MariaDb
        } else {
            Self::MySql
        };
        let found = parse_version(version);
        if found.is_some_and(|found| found >= dialect.oldest()) {
            Ok(dialect)
        } else {
            Err(dialect.needed())
        }
    }

    fn oldest(self) -> (u32, u32, u32) {
        match self {
            // `VALUES ROW(…)` as a table.
            Self::MySql => (8, 0, 19),
            // The oldest long-term line that is maintained, and tested here.
            Self::MariaDb => (10, 11, 0),
        }
    }

    /// The oldest version, for people.
    pub fn needed(self) -> &'static str {
        match self {
            Self::MySql => "MySQL 8.0.19",
            Self::MariaDb => "MariaDB 10.11",
        }
    }

    /// The statements that prepare a session. The last column of the table above: a check that is switched off for the whole server
    /// would let rows in that the source never had.
    pub fn session(self) -> [&'static str; 2] {
        match self {
            Self::MySql => [
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                session!("max_execution_time = 0, group_concat_max_len = 4294967295"),
            ],
            Self::MariaDb => [
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                // More is an error on 10.11 where the mode is strict already.
                session!(
                    "max_statement_time = 0, check_constraint_checks = 1, group_concat_max_len = 1073741824"
                ),
            ],
        }
    }

    /// The query that tells whether nobody may write, whatever the privileges. MariaDB has no such setting: to its `read_only` there is a
    /// privilege, and an applier without it is told so by its first statement.
    pub fn closed_to_all(self) -> &'static str {
        match self {
            Self::MySql => "SELECT @@global.super_read_only",
            Self::MariaDb => "SELECT FALSE",
        }
    }

    /// The privilege that passes `read_only`.
    pub fn writes_despite_read_only(self) -> &'static str {
        match self {
            Self::MySql => "CONNECTION_ADMIN",
            Self::MariaDb => "READ ONLY ADMIN",
        }
    }

    /// The query that tells whether changes are to be logged as statements, where that is still found: MySQL has had rows as its default
    /// since 5.7 and is giving the setting up.
    pub fn statement_format(self) -> Option<&'static str> {
        (self == Self::MariaDb)
            .then_some("SELECT @@global.log_bin AND @@global.binlog_format = 'STATEMENT'")
    }

    /// A JSON column holds text and nothing else.
    pub fn json_is_text(self) -> bool {
        self == Self::MariaDb
    }

    /// The key's name in the text of error 1062: the only part of it that holds no value.
    pub fn duplicate_key_name<'a>(self, message: &'a str, table: &str) -> Option<&'a str> {
        let rest = message.rsplit_once(" for key '")?.1;
        let name = rest.strip_suffix('\'')?;
        Some(match self {
            Self::MySql => match name.strip_prefix(table) {
                Some(rest) => rest.strip_prefix('.').unwrap_or(name),
                None => name.split_once('.').map_or(name, |(_, key)| key),
            },
            Self::MariaDb => name,
        })
    }
}

/// The leading numbers of `8.0.36-log`.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(Dialect::of("8.0.36-log"), Ok(Dialect::MySql));
        assert_eq!(Dialect::of("8.0.18"), Err("MySQL 8.0.19"));
        assert_eq!(Dialect::of("x"), Err("MySQL 8.0.19"));
        assert_eq!(
            Dialect::of("11.8.6-MariaDB-0+deb13u1-log"),
            Ok(Dialect::MariaDb)
        );
        assert_eq!(Dialect::of("10.6.22-MariaDB-ubu2204"), Err("MariaDB 10.11"));
    }

    #[test]
    fn duplicate_key_names_hold_no_value() {
        let mysql = "Duplicate entry 'x' for key 'y' for key 't.PRIMARY'";
        assert_eq!(
            Dialect::MySql.duplicate_key_name(mysql, "t"),
            Some("PRIMARY")
        );
        let dotted = "Duplicate entry 'x' for key 'a.b.PRIMARY'";
        assert_eq!(
            Dialect::MySql.duplicate_key_name(dotted, "a.b"),
            Some("PRIMARY")
        );
        let mariadb = "Duplicate entry 'x' for key 'y' for key 'a.b'";
        assert_eq!(
            Dialect::MariaDb.duplicate_key_name(mariadb, "a"),
            Some("a.b")
        );
        assert_eq!(
            Dialect::MySql.duplicate_key_name("something else", "t"),
            None
        );
    }
}
