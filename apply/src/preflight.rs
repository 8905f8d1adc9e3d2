//! Is a target fit to be applied to? Settings and privileges, each with its remedy.

use binferry_schemas::{
    address::Address,
    fault::Fault,
    finding::{Finding, Severity},
};
use mysql_async::{Conn, prelude::Queryable};

use crate::{
    connection::{self, Target, from_mysql},
    error::ApplyError,
};

const DOING: &str = "checking the target";
/// Rows of the log's default record size fit, with escapes and both images.
const SMALL_PACKET: u64 = 8 << 20;

/// Looks at a target. `is_captured` tells whether the stream carries a table.
pub async fn preflight(
    address: &Address,
    is_captured: impl Fn(&str, &str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut target = match connection::connect(address).await {
        Ok(target) => target,
        Err(error) => {
            findings.push(from_error("connection", &error));
            return findings;
        }
    };
    findings.push(Finding {
        severity: Severity::Fine,
        subject: "connection".to_owned(),
        found: "ok".to_owned(),
        reason: "the server answers and its version will do".to_owned(),
        remedy: None,
    });
    if let Err(error) = settings(&mut target, &mut findings).await {
        findings.push(from_error("settings", &error));
    }
    if let Err(error) = privileges(&mut target.conn, &mut findings).await {
        findings.push(from_error("privileges", &error));
    }
    if let Err(error) = triggers(&mut target.conn, is_captured, &mut findings).await {
        findings.push(from_error("triggers", &error));
    }
    // The session ends either way.
    let _ = target.conn.disconnect().await;
    findings
}

fn from_error(subject: &str, error: &ApplyError) -> Finding {
    Finding {
        severity: Severity::Blocking,
        subject: subject.to_owned(),
        found: error.to_string(),
        reason: "the target cannot be used like this".to_owned(),
        remedy: error.hint(),
    }
}

async fn settings(target: &mut Target, findings: &mut Vec<Finding>) -> Result<(), ApplyError> {
    let (conn, dialect) = (&mut target.conn, target.dialect);
    let fail = |error| from_mysql(error, DOING);
    let row: Option<(String, u64, String)> = conn
        .query_first("SELECT @@global.read_only, @@session.max_allowed_packet, VERSION()")
        .await
        .map_err(fail)?;
    let Some((read_only, packet, version)) = row else {
        return Ok(());
    };
    // A switch on MySQL, and one with more positions on newer lines of MariaDB.
    let read_only = !matches!(read_only.as_str(), "0" | "OFF");
    let closed: Option<bool> = conn
        .query_first(dialect.closed_to_all())
        .await
        .map_err(fail)?;
    let mut add = |severity, subject: &str, found: String, reason: &str, remedy: Option<&str>| {
        findings.push(Finding {
            severity,
            subject: subject.to_owned(),
            found,
            reason: reason.to_owned(),
            remedy: remedy.map(str::to_owned),
        });
    };
    add(
        Severity::Fine,
        "version",
        version,
        &format!("{} or newer will do", dialect.needed()),
        None,
    );
    if closed == Some(true) {
        add(
            Severity::Blocking,
            "super_read_only",
            "ON".to_owned(),
            "nobody can write to the target",
            Some("SET GLOBAL super_read_only = OFF"),
        );
    } else if read_only {
        add(
            Severity::Warning,
            "read_only",
            "ON".to_owned(),
            &format!(
                "only users with {} can write to the target",
                dialect.writes_despite_read_only()
            ),
            Some(&format!(
                "SET GLOBAL read_only = OFF, or GRANT {} ON *.* TO the user",
                dialect.writes_despite_read_only()
            )),
        );
    } else {
        add(
            Severity::Fine,
            "read_only",
            "OFF".to_owned(),
            "the target takes writes",
            None,
        );
    }
    if let Some(statement_format) = dialect.statement_format() {
        let statement_format: Option<bool> =
            conn.query_first(statement_format).await.map_err(fail)?;
        if statement_format == Some(true) {
            add(
                Severity::Blocking,
                "binlog_format",
                "STATEMENT".to_owned(),
                "InnoDB takes no changes in READ COMMITTED with it",
                Some("SET GLOBAL binlog_format = ROW"),
            );
        }
    }
    if packet < SMALL_PACKET {
        add(
            Severity::Warning,
            "max_allowed_packet",
            packet.to_string(),
            "a row and its before image must fit a packet",
            Some("SET GLOBAL max_allowed_packet = 67108864"),
        );
    } else {
        add(
            Severity::Fine,
            "max_allowed_packet",
            packet.to_string(),
            "large rows fit",
            None,
        );
    }
    Ok(())
}

/// Privileges are taken from SHOW GRANTS, as far as the text of global and database grants tells; tables' own grants show when applying.
async fn privileges(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<(), ApplyError> {
    const NEEDED: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    let grants: Vec<String> = conn
        .query("SHOW GRANTS")
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let has = |scopes: &[&str], privilege: &str| {
        grants.iter().any(|grant| {
            let Some((list, scope)) = grant
                .strip_prefix("GRANT ")
                .and_then(|rest| rest.split_once(" ON "))
            else {
                return false;
            };
            let listed = list
                .split(", ")
                .any(|item| item == privilege || item == "ALL PRIVILEGES");
            listed && (scopes.is_empty() || scopes.iter().any(|wanted| scope.starts_with(wanted)))
        })
    };
    let exists: Option<u64> = conn
        .query_first("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'binferry' AND table_name IN ('progress', 'conflict')")
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let own = ["*.*", "`binferry`.*"];
    let mut missing: Vec<String> = NEEDED
        .iter()
        .filter(|privilege| !has(&own, privilege) && !has(&["`binferry`."], privilege))
        .map(|privilege| format!("{privilege} ON binferry.*"))
        .collect();
    if exists != Some(2) && !has(&own, "CREATE") {
        missing.push("CREATE ON binferry.*".to_owned());
    }
    missing.extend(
        NEEDED
            .iter()
            .filter(|privilege| !has(&[], privilege))
            .map(|privilege| format!("{privilege} ON the tables")),
    );
    findings.push(if missing.is_empty() {
        Finding {
            severity: Severity::Fine,
            subject: "privileges".to_owned(),
            found: "SELECT, INSERT, UPDATE, DELETE".to_owned(),
            reason: "the applier reads and writes rows and its own progress".to_owned(),
            remedy: None,
        }
    } else {
        Finding {
            severity: Severity::Blocking,
            subject: "privileges".to_owned(),
            found: format!("missing: {}", missing.join(", ")),
            reason: "the applier reads and writes rows and its own progress".to_owned(),
            remedy: Some(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO the user; GRANT CREATE ON binferry.* TO the user".to_owned(),
            ),
        }
    });
    Ok(())
}

async fn triggers(
    conn: &mut Conn,
    is_captured: impl Fn(&str, &str) -> bool,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    let rows: Vec<(String, String, String)> = conn
        .query(
            "SELECT event_object_schema, event_object_table, trigger_name FROM information_schema.triggers \
             WHERE event_object_schema NOT IN ('sys', 'mysql')",
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    for (database, table, trigger) in rows {
        if is_captured(&database, &table) {
            findings.push(Finding {
                severity: Severity::Blocking,
                subject: format!("trigger {database}.{trigger}"),
                found: format!("on {database}.{table}"),
                reason: "it would change rows that the log carries as well".to_owned(),
                remedy: Some(format!("DROP TRIGGER {database}.{trigger}")),
            });
        }
    }
    Ok(())
}
