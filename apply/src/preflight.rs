//! Is a target fit to be applied to? Settings and privileges, each with its remedy.

mod active;
mod beside;
mod capacity;
mod ddl;
mod grants;
mod room;
mod topology;

use binferry_schemas::{
    address::Address,
    fault::Fault,
    filter::TableFilter,
    finding::{Finding, Severity},
    portrait::Portrait,
};
use mysql_async::{Conn, prelude::Queryable};

pub(crate) use self::active::refuse_triggers;
use self::grants::Grants;
pub use self::room::refuse_rows;
use crate::{
    connection::{self, Target, from_mysql},
    copy::IntoTables,
    ddl::DdlMode,
    error::ApplyError,
    options::Gtids,
    preserve,
};

const DOING: &str = "checking the target";
/// Rows of the log's default record size fit, with escapes and both images.
const SMALL_PACKET: u64 = 8 << 20;

/// What the target is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the stream carries.
    pub tables: &'a TableFilter,
    /// Tables whose triggers may do what they do.
    pub triggers: Option<&'a TableFilter>,
    pub gtids: Gtids,
    /// The stream begins with a copy, into this.
    pub copy: Option<IntoTables>,
    pub ddl: DdlMode,
    /// Connections that apply.
    pub workers: u32,
    /// Where what is applied comes from, as far as that is known.
    pub source: Option<&'a Portrait>,
}

/// Looks at a target.
pub async fn preflight(address: &Address, wanted: &Wanted<'_>) -> Vec<Finding> {
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
    let grants = match Grants::read(&mut target.conn).await {
        Ok(grants) => grants,
        Err(error) => {
            findings.push(from_error("privileges", &error));
            return findings;
        }
    };
    if let Err(error) = settings(&mut target, &grants, &mut findings).await {
        findings.push(from_error("settings", &error));
    }
    let conn = &mut target.conn;
    if let Err(error) = privileges(conn, &grants, &mut findings).await {
        findings.push(from_error("privileges", &error));
    }
    let is_captured = |database: &str, table: &str| wanted.tables.matches(database, table);
    if let Err(error) =
        active::triggers(conn, &grants, is_captured, wanted.triggers, &mut findings).await
    {
        findings.push(from_error("triggers", &error));
    }
    if let Err(error) = active::events(conn, &grants, &mut findings).await {
        findings.push(from_error("events", &error));
    }
    if let Some(into) = wanted.copy
        && let Err(error) = room::room(conn, &grants, wanted.tables, into, &mut findings).await
    {
        findings.push(from_error("tables", &error));
    }
    if let Err(error) = capacity::capacity(conn, wanted.workers, &mut findings).await {
        findings.push(from_error("capacity", &error));
    }
    let replicas = match topology::topology(&mut target, wanted, &mut findings).await {
        Ok(replicas) => replicas,
        Err(error) => {
            findings.push(from_error("replication", &error));
            Vec::new()
        }
    };
    if let Some(source) = wanted.source
        && let Err(error) =
            beside::beside(&mut target, source, replicas, wanted, &mut findings).await
    {
        findings.push(from_error("source and target", &error));
    }
    if wanted.ddl == DdlMode::Apply {
        ddl::check(&mut target, &grants, &mut findings).await;
    }
    if wanted.gtids == Gtids::Preserve {
        names(&mut target, &grants, &mut findings).await;
    }
    // The session ends either way.
    let _ = target.conn.disconnect().await;
    findings
}

/// What `--gtid preserve` needs.
async fn names(target: &mut Target, grants: &Grants, findings: &mut Vec<Finding>) {
    match preserve::ready(target).await {
        Err(error) => findings.push(from_error("--gtid preserve", &error)),
        Ok(_) => findings.push(Finding {
            severity: Severity::Fine,
            subject: "--gtid preserve".to_owned(),
            found: "ready".to_owned(),
            reason: "the target takes the source's GTIDs".to_owned(),
            remedy: None,
        }),
    }
    let logged: Result<Option<(bool, bool)>, _> = target
        .conn
        .query_first("SELECT @@global.log_bin, @@global.log_replica_updates")
        .await;
    if let Ok(Some((log_bin, updates))) = logged
        && !(log_bin && updates)
    {
        findings.push(Finding {
            severity: Severity::Info,
            subject: "log_bin, log_replica_updates".to_owned(),
            found: "not both ON".to_owned(),
            reason: "replicas can hang below the target only when it logs all that it has, from either feeder".to_owned(),
            remedy: Some("log_bin and log_replica_updates = ON in its configuration file".to_owned()),
        });
    }
    if !grants.has(&["*.*"], "TRANSACTION_GTID_TAG") {
        findings.push(Finding {
            severity: Severity::Info,
            subject: "TRANSACTION_GTID_TAG".to_owned(),
            found: "not granted".to_owned(),
            reason: "a transaction whose GTID has a tag (MySQL 8.3 and newer, where tags are used) could not be applied".to_owned(),
            remedy: Some("GRANT TRANSACTION_GTID_TAG ON *.* TO the user".to_owned()),
        });
    }
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

async fn settings(
    target: &mut Target,
    grants: &Grants,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
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
    } else if read_only
        && [dialect.writes_despite_read_only(), "SUPER"]
            .iter()
            .any(|privilege| grants.has(&["*.*"], privilege))
    {
        add(
            Severity::Fine,
            "read_only",
            "ON".to_owned(),
            "as a standby should be: the applier may write, and others may not",
            None,
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
                "GRANT {} ON *.* TO the user; or SET GLOBAL read_only = OFF",
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

async fn privileges(
    conn: &mut Conn,
    grants: &Grants,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    const NEEDED: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    let has = |scopes: &[&str], privilege: &str| grants.has(scopes, privilege);
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
