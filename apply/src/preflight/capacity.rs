//! Is there room for what the applier does? Connections, and the memory and the redo log of a server that is to write.

use std::collections::HashMap;

use binferry_schemas::finding::{Finding, Severity};
use mysql_async::{Conn, prelude::Queryable};

use super::DOING;
use crate::{connection::from_mysql, error::ApplyError};

/// Beside those that apply: one that reads definitions, one that runs schema changes or adds keys.
const OTHER_CONNECTIONS: u64 = 2;
/// The server's own defaults are no smaller.
const SMALL_POOL: u64 = 128 << 20;
const SMALL_REDO: u64 = 64 << 20;

pub async fn capacity(
    conn: &mut Conn,
    workers: u32,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    let mut answers: HashMap<String, String> = HashMap::new();
    for statement in [
        "SHOW SESSION VARIABLES WHERE Variable_name IN ('max_connections', 'max_user_connections', 'innodb_buffer_pool_size', \
         'innodb_redo_log_capacity', 'innodb_log_file_size')",
        "SHOW GLOBAL STATUS WHERE Variable_name = 'Threads_connected'",
    ] {
        let rows: Vec<(String, String)> =
            (conn.query(statement).await).map_err(|error| from_mysql(error, DOING))?;
        let rows = rows.into_iter();
        answers.extend(rows.map(|(name, value)| (name.to_ascii_lowercase(), value)));
    }
    judge(&answers, workers, findings);
    Ok(())
}

fn judge(answers: &HashMap<String, String>, workers: u32, findings: &mut Vec<Finding>) {
    let number = |name: &str| {
        answers
            .get(name)
            .and_then(|value| value.parse::<u64>().ok())
    };
    let needed = u64::from(workers.max(1)) + OTHER_CONNECTIONS;
    let mut add = |severity, subject: &str, found: u64, reason: String, remedy: Option<String>| {
        findings.push(Finding {
            severity,
            subject: subject.to_owned(),
            found: found.to_string(),
            reason,
            remedy,
        });
    };
    let fewer = |most: u64| match most.saturating_sub(OTHER_CONNECTIONS) {
        0 => String::new(),
        workers => format!("; or --workers {workers}"),
    };
    // The session's own is the account's, where it has one.
    if let Some(most) = number("max_user_connections").filter(|most| (1..needed).contains(most)) {
        add(
            Severity::Blocking,
            "max_user_connections",
            most,
            format!("--workers {workers} needs {needed} connections"),
            Some(format!(
                "ALTER USER the user WITH MAX_USER_CONNECTIONS {needed}, or SET GLOBAL max_user_connections = 0, whichever sets it{}",
                fewer(most)
            )),
        );
    }
    let (most, taken) = (number("max_connections"), number("threads_connected"));
    if let (Some(most), Some(taken)) = (most, taken) {
        // One of them is this one.
        let free = most.saturating_sub(taken) + 1;
        let (severity, reason) = match (most < needed, free < needed) {
            (true, _) => (
                Severity::Blocking,
                format!("--workers {workers} needs {needed} connections"),
            ),
            (_, true) => (
                Severity::Warning,
                format!("{taken} are taken now, and --workers {workers} needs {needed}"),
            ),
            _ => (
                Severity::Fine,
                format!("{taken} are taken now, and --workers {workers} needs {needed}"),
            ),
        };
        let remedy = (severity != Severity::Fine).then(|| {
            format!(
                "SET PERSIST max_connections = {} (MariaDB: SET GLOBAL, and in its configuration file){}",
                most.max(taken) + needed,
                fewer(free)
            )
        });
        add(severity, "max_connections", most, reason, remedy);
    }
    if let Some(bytes) = number("innodb_buffer_pool_size").filter(|bytes| *bytes < SMALL_POOL) {
        add(
            Severity::Info,
            "innodb_buffer_pool_size",
            bytes,
            "each change reads its page from the disk again when the tables in use do not fit"
                .to_owned(),
            Some("SET GLOBAL innodb_buffer_pool_size to half of the memory or more, and in the configuration file".to_owned()),
        );
    }
    for name in ["innodb_redo_log_capacity", "innodb_log_file_size"] {
        // Where there is the first, the second has no meaning.
        let Some(bytes) = number(name) else { continue };
        if bytes < SMALL_REDO {
            add(
                Severity::Info,
                name,
                bytes,
                "changes wait for pages to be written when the redo log is full".to_owned(),
                Some(format!(
                    "SET GLOBAL {name} = 1073741824, and in the configuration file (an older version takes it at its start only)"
                )),
            );
        }
        break;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(workers: u32, answers: &[(&str, &str)]) -> Vec<(Severity, String)> {
        let answers = answers.iter();
        let answers = answers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut findings = Vec::new();
        judge(&answers.collect(), workers, &mut findings);
        let findings = findings.into_iter();
        findings.map(|f| (f.severity, f.subject)).collect()
    }

    fn one(severity: Severity, subject: &str) -> Vec<(Severity, String)> {
        vec![(severity, subject.to_owned())]
    }

    #[test]
    fn connections() {
        let server = |most, taken| [("max_connections", most), ("threads_connected", taken)];
        let max = "max_connections";
        assert_eq!(judged(4, &server("151", "10")), one(Severity::Fine, max));
        assert_eq!(judged(4, &server("7", "2")), one(Severity::Fine, max));
        assert_eq!(judged(4, &server("7", "3")), one(Severity::Warning, max));
        assert_eq!(judged(4, &server("5", "1")), one(Severity::Blocking, max));
        let user = "max_user_connections";
        assert_eq!(judged(4, &[(user, "5")]), one(Severity::Blocking, user));
        assert_eq!(judged(4, &[(user, "6")]), []);
        assert_eq!(judged(4, &[(user, "0")]), [], "no limit");
    }

    #[test]
    fn small_servers() {
        let (pool, redo) = ("innodb_buffer_pool_size", "innodb_redo_log_capacity");
        assert_eq!(judged(1, &[(pool, "134217728")]), []);
        assert_eq!(judged(1, &[(pool, "5242880")]), one(Severity::Info, pool));
        assert_eq!(judged(1, &[(redo, "8388608")]), one(Severity::Info, redo));
        let both = [(redo, "104857600"), ("innodb_log_file_size", "50331648")];
        assert_eq!(judged(1, &both), []);
    }
}
