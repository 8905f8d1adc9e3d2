//! Statements that run with the target's foreign keys switched off: nothing is checked, and nothing cascades.
//!
//! Off for the one statement, not for the session: there is nothing to switch on again, whatever becomes of the statement.

use crate::dialect::Dialect;

/// The same INSERT, UPDATE or DELETE of ours without foreign keys.
pub fn without_foreign_keys(dialect: Dialect, sql: Vec<u8>) -> Vec<u8> {
    let (at, text): (usize, &[u8]) = match dialect {
        Dialect::MariaDb => match sql.strip_prefix(STATEMENT) {
            Some(_) => (STATEMENT.len(), b"foreign_key_checks=0,"),
            None => (0, b"SET STATEMENT foreign_key_checks=0 FOR "),
        },
        Dialect::MySql => {
            let verb = sql.iter().position(|byte| *byte == b' ');
            let verb = verb.map_or(sql.len(), |at| at + 1);
            match sql[verb..].starts_with(HINTS) {
                true => (verb + HINTS.len(), b"SET_VAR(foreign_key_checks=OFF) "),
                false => (verb, b"/*+ SET_VAR(foreign_key_checks=OFF) */ "),
            }
        }
    };
    let mut out = Vec::with_capacity(sql.len() + text.len());
    out.extend_from_slice(&sql[..at]);
    out.extend_from_slice(text);
    out.extend_from_slice(&sql[at..]);
    out
}

/// How `statement` begins one with a setting of its own.
const STATEMENT: &[u8] = b"SET STATEMENT ";
const HINTS: &[u8] = b"/*+ ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_other_settings() {
        for (dialect, before, after) in [
            (
                Dialect::MySql,
                "DELETE FROM t",
                "DELETE /*+ SET_VAR(foreign_key_checks=OFF) */ FROM t",
            ),
            (
                Dialect::MySql,
                "INSERT /*+ SET_VAR(sql_mode='') */ INTO t",
                "INSERT /*+ SET_VAR(foreign_key_checks=OFF) SET_VAR(sql_mode='') */ INTO t",
            ),
            (
                Dialect::MariaDb,
                "UPDATE t",
                "SET STATEMENT foreign_key_checks=0 FOR UPDATE t",
            ),
            (
                Dialect::MariaDb,
                "SET STATEMENT sql_mode='' FOR UPDATE t",
                "SET STATEMENT foreign_key_checks=0,sql_mode='' FOR UPDATE t",
            ),
        ] {
            let made = without_foreign_keys(dialect, before.as_bytes().to_vec());
            assert_eq!(String::from_utf8(made).unwrap(), after);
        }
    }
}
