//! A target beside its source: one server or two, versions, time zones, collations, packets.

use std::collections::{HashMap, HashSet};

use binferry_schemas::{
    finding::{Finding, Severity},
    portrait::{CollationUse, Portrait},
};
use mysql_async::prelude::Queryable;

use super::{DOING, Wanted};
use crate::{
    connection::{Target, from_mysql},
    ddl::DdlMode,
    error::ApplyError,
    options::Gtids,
    render::name::quoted,
};

/// ER_UNKNOWN_COLLATION, ER_UNKNOWN_CHARACTER_SET, ER_COLLATION_CHARSET_MISMATCH.
const NOT_KNOWN: [u16; 3] = [1273, 1115, 1253];

pub async fn beside(
    target: &mut Target,
    source: &Portrait,
    replicas: Vec<(u32, String)>,
    wanted: &Wanted<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let mut answers = HashMap::new();
    for statement in Portrait::statements() {
        let rows: Vec<(String, String)> = target.conn.query(statement).await.map_err(fail)?;
        let rows = rows.into_iter();
        answers.extend(rows.map(|(name, value)| (name.to_ascii_lowercase(), value)));
    }
    let mut own = Portrait::of(&answers);
    own.replicas = replicas;
    let mut found = vec![identity(source, &own, wanted.gtids)];
    found.push(versions(source, &own));
    found.push(packets(source, &own));
    if wanted.ddl == DdlMode::Apply {
        found.push(time_zone(source, &own));
    }
    findings.extend(found.into_iter().flatten());
    findings.extend(replica_ids(source, &own));
    for used in &source.collations {
        if !is_known(target, used).await? {
            findings.extend(unknown(target, used, wanted).await?);
        }
    }
    Ok(())
}

fn finding(
    severity: Severity,
    subject: &str,
    found: String,
    reason: &str,
    remedy: &str,
) -> Option<Finding> {
    Some(Finding {
        severity,
        subject: subject.to_owned(),
        found,
        reason: reason.to_owned(),
        remedy: Some(remedy.to_owned()),
    })
}

fn identity(source: &Portrait, own: &Portrait, gtids: Gtids) -> Option<Finding> {
    const OTHER_ID: &str = "SET PERSIST server_id = another number, on one of them (MariaDB: SET GLOBAL, and in its configuration file)";
    if source.is_same_server(own) {
        return finding(
            Severity::Blocking,
            "--source and --target",
            "the same server".to_owned(),
            "changes would be applied where they come from",
            "give the address of another server in --target",
        );
    }
    if own.uuid.is_some() && source.uuid == own.uuid {
        let (severity, reason) = match gtids {
            Gtids::Preserve => (
                Severity::Blocking,
                "the target has given GTIDs with it to transactions of its own, and takes the source's with the same numbers for done",
            ),
            Gtids::Own => (
                Severity::Warning,
                "a GTID of either server may be two transactions, and neither can replicate from the other: a copied data directory brings its auto.cnf",
            ),
        };
        return finding(
            severity,
            "server_uuid",
            "the source's".to_owned(),
            reason,
            "stop the target, remove auto.cnf from its data directory, and start it: it makes a new one",
        );
    }
    if source.server_id != own.server_id {
        return None;
    }
    let reason = match own.is_mariadb() && source.is_mariadb() {
        true => {
            "both servers give the same GTIDs to their own transactions, so neither can replicate from the other, nor a log go back"
        }
        false => {
            "neither can replicate natively from the other, and each skips, as its own, what the other has written"
        }
    };
    let found = format!("{}, the source's", own.server_id);
    finding(Severity::Warning, "server_id", found, reason, OTHER_ID)
}

/// A number that a replica of either server has, and another server that is known, too. A server shows its replicas by their numbers, so
/// never two with one.
fn replica_ids(source: &Portrait, own: &Portrait) -> Vec<Finding> {
    let mut known: Vec<(&str, u32, &str)> = Vec::new();
    for (server, its_own, below) in [
        (source, "the source", "a replica of the source"),
        (own, "the target", "a replica of the target"),
    ] {
        let uuid = server.uuid.as_deref();
        known.extend(uuid.map(|uuid| (its_own, server.server_id, uuid)));
        let replicas = server.replicas.iter();
        known.extend(replicas.map(|(id, uuid)| (below, *id, uuid.as_str())));
    }
    let mut findings = Vec::new();
    for (n, (who, id, uuid)) in known.iter().enumerate() {
        let other = known[..n]
            .iter()
            .find(|other| other.1 == *id && other.2 != *uuid);
        let Some((other, ..)) = other else { continue };
        // Those two alone are told otherwise.
        if (*other, *who) == ("the source", "the target") {
            continue;
        }
        findings.extend(finding(
            Severity::Warning,
            "server_id",
            format!("{id} on {other} and on {who} ({uuid})"),
            "each of them skips, as its own, what the other has written, wherever that reaches it",
            "SET PERSIST server_id = another number, on one of them, and restart its replication",
        ));
    }
    findings
}

/// Of one kind, an older target; of two kinds, each has what the other lacks.
fn versions(source: &Portrait, own: &Portrait) -> Option<Finding> {
    let (here, there) = (source.version.escape_debug(), own.version.escape_debug());
    let found = format!("{there}, the source's {here}");
    if source.is_mariadb() != own.is_mariadb() {
        return finding(
            Severity::Info,
            "version",
            found,
            "MySQL and MariaDB have types, collations and statements that the other lacks; what does not fit stops the stream",
            "docs/mariadb.md says what is carried",
        );
    }
    (source.line() > own.line())
        .then(|| {
            finding(
                Severity::Info,
                "version",
                found,
                "a schema change may use what came after the target's version; it stops the stream then",
                "upgrade the target first, or run such changes on it by hand, with --ddl stop",
            )
        })
        .flatten()
}

fn packets(source: &Portrait, own: &Portrait) -> Option<Finding> {
    let (here, there) = (source.max_allowed_packet, own.max_allowed_packet);
    (there < here)
        .then(|| {
            finding(
                Severity::Warning,
                "max_allowed_packet",
                format!("{there}, the source's {here}"),
                "a row that the source takes may be too large for the target, and stops the stream",
                &format!(
                    "SET GLOBAL max_allowed_packet = {here}, and in the target's configuration file"
                ),
            )
        })
        .flatten()
}

/// Rows come in UTC whatever the zones; what a statement that defines tables does may depend on its session's.
fn time_zone(source: &Portrait, own: &Portrait) -> Option<Finding> {
    let zone = source.time_zone.as_str();
    if zone == "SYSTEM" {
        let same = [&own.utc, &own.system_zone].contains(&&source.system_zone);
        return (!same)
            .then(|| {
                finding(
                    Severity::Warning,
                    "time_zone",
                    format!(
                        "SYSTEM on the source, and there {}; on the target that is {}",
                        source.system_time_zone.escape_debug(),
                        own.system_time_zone.escape_debug()
                    ),
                    "a schema change that depends on it (a TIMESTAMP's default, partitions by time) stops the stream",
                    "SET PERSIST time_zone on the source to the name of its zone, which the target has to know (mysql_tzinfo_to_sql)",
                )
            })
            .flatten();
    }
    let is_offset = zone.starts_with(['+', '-']);
    (!is_offset && !own.has_named_zones)
        .then(|| {
            finding(
                Severity::Warning,
                "time_zone",
                format!("{} on the source", zone.escape_debug()),
                "the target knows no zone by its name, and a schema change runs in the source's: it stops the stream",
                "mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql (MariaDB: mariadb-tzinfo-to-sql), on the target",
            )
        })
        .flatten()
}

/// Its own parser knows: lists in the information schema lack names that it takes for others.
async fn is_known(target: &mut Target, used: &CollationUse) -> Result<bool, ApplyError> {
    let ask = format!(
        "SELECT CONVERT('' USING {}) COLLATE {}",
        quoted(&used.charset),
        quoted(&used.collation)
    );
    match target.conn.query_drop(ask).await {
        Ok(()) => Ok(true),
        Err(mysql_async::Error::Server(error)) if NOT_KNOWN.contains(&error.code) => Ok(false),
        Err(error) => Err(from_mysql(error, DOING)),
    }
}

/// A table that is there keeps its own collations, and its rows are carried all the same.
async fn unknown(
    target: &mut Target,
    used: &CollationUse,
    wanted: &Wanted<'_>,
) -> Result<Option<Finding>, ApplyError> {
    let there: Vec<(String, String)> = target
        .conn
        .query("SELECT table_schema, table_name FROM information_schema.tables")
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let there: HashSet<_> = there.into_iter().collect();
    let made: Vec<_> = (used.columns.iter())
        .filter(|(database, table, _)| !there.contains(&(database.clone(), table.clone())))
        .collect();
    let (severity, named, reason) = match (made.first(), used.columns.first()) {
        (Some(first), _) if wanted.copy.is_some() => (
            Severity::Blocking,
            *first,
            "the target does not know it, and a copy makes the tables with it",
        ),
        (_, Some(first)) if wanted.ddl == DdlMode::Apply => (
            Severity::Warning,
            first,
            "the target does not know it: a schema change that makes such a column stops the stream; rows are carried into columns of another one",
        ),
        _ => return Ok(None),
    };
    let (database, table, column) = named;
    Ok(finding(
        severity,
        &format!("collation {}", used.collation.escape_debug()),
        format!(
            "that of {}",
            format!("{database}.{table}.{column}").escape_debug()
        ),
        reason,
        "make the tables on the target by hand, with a collation that tells keys apart as the source's does; or ALTER TABLE … CONVERT TO CHARACTER SET on the source",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(zone: &str) -> Portrait {
        Portrait {
            version: "8.4.6".into(),
            uuid: Some("a".into()),
            server_id: 1,
            time_zone: zone.into(),
            system_zone: "utc".into(),
            utc: "utc".into(),
            ..Portrait::default()
        }
    }

    fn severity(finding: Option<Finding>) -> Option<Severity> {
        finding.map(|finding| finding.severity)
    }

    #[test]
    fn zones_that_a_target_can_follow() {
        let told = |source: &Portrait, target: &Portrait| severity(time_zone(source, target));
        let target = server("SYSTEM");
        let knowing = Portrait {
            has_named_zones: true,
            ..server("SYSTEM")
        };
        let elsewhere = Portrait {
            system_zone: "cet".into(),
            ..server("SYSTEM")
        };
        assert_eq!(told(&server("SYSTEM"), &target), None);
        assert_eq!(told(&server("SYSTEM"), &elsewhere), None, "it is UTC");
        assert_eq!(told(&elsewhere, &elsewhere), None);
        assert_eq!(told(&elsewhere, &target), Some(Severity::Warning));
        assert_eq!(told(&server("+02:00"), &target), None);
        let named = server("Europe/Paris");
        assert_eq!(told(&named, &target), Some(Severity::Warning));
        assert_eq!(told(&named, &knowing), None);
    }

    #[test]
    fn numbers_of_replicas() {
        let with = |uuid: &str, id: u32, replicas: &[(u32, &str)]| Portrait {
            uuid: Some(uuid.into()),
            server_id: id,
            replicas: (replicas.iter())
                .map(|(id, uuid)| (*id, (*uuid).to_owned()))
                .collect(),
            ..server("SYSTEM")
        };
        let told = |source, target| replica_ids(&source, &target).len();
        assert_eq!(told(with("a", 1, &[(3, "c")]), with("b", 2, &[])), 0);
        assert_eq!(
            told(with("a", 1, &[(2, "b")]), with("b", 2, &[])),
            0,
            "one server"
        );
        assert_eq!(told(with("a", 1, &[(2, "c")]), with("b", 2, &[])), 1);
        assert_eq!(told(with("a", 1, &[]), with("b", 2, &[(1, "c")])), 1);
        assert_eq!(
            told(with("a", 1, &[(3, "c")]), with("b", 2, &[(3, "d")])),
            1
        );
        assert_eq!(
            told(with("a", 1, &[]), with("b", 1, &[])),
            0,
            "told elsewhere"
        );
    }

    #[test]
    fn versions_that_lack_something() {
        let of = |version: &str| Portrait {
            version: version.into(),
            ..server("SYSTEM")
        };
        let told = |source, target| severity(versions(&of(source), &of(target)));
        assert_eq!(told("8.0.40", "9.7.4"), None);
        assert_eq!(told("9.7.4", "9.7.1"), None);
        assert_eq!(told("9.7.4", "8.4.6"), Some(Severity::Info));
        assert_eq!(told("8.0.40", "11.8.6-MariaDB"), Some(Severity::Info));
    }
}
