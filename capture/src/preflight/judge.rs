//! The rules: what each setting must be, and why.

use super::{Finding, Flavour, Observed, Severity, Version, Wanted, mariadb};

const OLDEST: (u32, u32, u32) = (8, 0, 0);
/// Under a day of binlogs, a weekend's outage cannot be resumed from.
const SHORT_RETENTION_S: u64 = 24 * 3600;

/// (setting, what it must be, why, how to set it).
const REQUIRED: [(&str, &str, &str, &str); 5] = [
    (
        "log_bin",
        "ON",
        "without a binlog there is nothing to capture",
        "start the server with --log-bin (my.cnf: log_bin = binlog)",
    ),
    (
        "gtid_mode",
        "ON",
        "the capture's only position is a GTID set",
        "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; SET PERSIST gtid_mode = \
         ON_PERMISSIVE; SET PERSIST gtid_mode = ON",
    ),
    (
        "enforce_gtid_consistency",
        "ON",
        "statements that break GTIDs must be refused",
        "SET PERSIST enforce_gtid_consistency = ON",
    ),
    (
        "binlog_format",
        "ROW",
        "statements cannot be replayed exactly",
        "SET PERSIST binlog_format = ROW (sessions that are open keep the old format: reconnect them)",
    ),
    (
        "binlog_row_metadata",
        "FULL",
        "column names, character sets and keys must be in the binlog",
        "SET PERSIST binlog_row_metadata = FULL",
    ),
];

/// What must be there to be judged, whatever the version.
const ALWAYS_PRESENT: [&str; 4] = [
    "log_bin",
    "gtid_mode",
    "enforce_gtid_consistency",
    "binlog_row_metadata",
];

pub(super) fn judge(observed: &Observed, _wanted: &Wanted<'_>) -> Vec<Finding> {
    if let Some(finding) = version(&observed.version) {
        // The other rules are those of versions that are carried: on another server they would only mislead.
        return vec![finding];
    }
    if Version::parse(&observed.version).is_some_and(|v| v.flavour == Flavour::MariaDb) {
        return mariadb::judge(observed);
    }
    let mut findings = Vec::new();
    privileges(observed, &mut findings);
    required(observed, &mut findings);
    row_images(observed, FULL_IMAGES, &mut findings);
    findings.extend(server_id(
        observed,
        "SET PERSIST server_id = 1 (a number that no other server of the group has)",
    ));
    binlog_filters(observed, &mut findings);
    replica(observed, &mut findings);
    retention(observed, &mut findings);
    findings.extend(space_limit(
        observed,
        "remove binlog_space_limit from my.cnf and restart the server",
    ));
    if observed
        .variables
        .get("binlog_checksum")
        .is_some_and(|value| value != "CRC32")
    {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "binlog_checksum".into(),
            found: shown(observed.variables.get("binlog_checksum")),
            reason: "damage between the source's disk and the log would go unnoticed".into(),
            remedy: Some("SET PERSIST binlog_checksum = CRC32".into()),
        });
    }
    findings
}

fn version(text: &str) -> Option<Finding> {
    let parsed = Version::parse(text);
    let reason = match parsed {
        Some(
            version @ Version {
                flavour: Flavour::MariaDb,
                ..
            },
        ) => return mariadb::version(version, text),
        Some(version) if version.number >= OLDEST => return None,
        Some(_) => "MySQL before 8.0 does not write the row metadata that decoding needs",
        None => "its version is not understood",
    };
    Some(Finding {
        severity: Severity::Blocking,
        subject: "version".into(),
        found: text.escape_debug().to_string(),
        reason: reason.into(),
        remedy: Some("capture from MySQL 8.0 or later".into()),
    })
}

fn privileges(observed: &Observed, findings: &mut Vec<Finding>) {
    let grant = |privilege: &str| {
        // The account may be any of those that match the user: CURRENT_USER() tells which.
        format!(
            "GRANT {privilege} ON *.* TO '{}'@'HOST'",
            observed.user.replace('\'', "''")
        )
    };
    let mut missing = |privilege: &str, severity, reason: &str| {
        if !observed.grants.has(privilege) {
            findings.push(Finding {
                severity,
                subject: privilege.into(),
                found: "not granted".into(),
                reason: reason.into(),
                remedy: Some(grant(privilege)),
            });
        }
    };
    missing(
        "REPLICATION SLAVE",
        Severity::Blocking,
        "reading the binlog needs it",
    );
    missing(
        "REPLICATION CLIENT",
        Severity::Warning,
        "without it nobody can see whether the source leaves databases out of its binlog, or is a replica",
    );
}

fn required(observed: &Observed, findings: &mut Vec<Finding>) {
    for (name, must_be, reason, remedy) in REQUIRED {
        let found = observed.variables.get(name);
        let good = match found {
            Some(found) => found.eq_ignore_ascii_case(must_be),
            // A setting that a later version has dropped has but one meaning left.
            None => !ALWAYS_PRESENT.contains(&name),
        };
        if !good {
            findings.push(Finding {
                severity: Severity::Blocking,
                subject: name.into(),
                found: shown(found),
                reason: reason.into(),
                remedy: Some(remedy.into()),
            });
        }
    }
}

const FULL_IMAGES: &str =
    "SET PERSIST binlog_row_image = FULL (sessions that are open keep the old one: reconnect them)";

/// What is lost with images that lack columns is told; only documents that cannot be put together block.
pub(super) fn row_images(observed: &Observed, full: &str, findings: &mut Vec<Finding>) {
    let value = |name: &str| {
        let value = observed.variables.get(name);
        value.map_or_else(String::new, |value| value.to_ascii_uppercase())
    };
    let mut find = |severity, subject: &str, reason: &str, remedy: &str| {
        findings.push(Finding {
            severity,
            subject: subject.into(),
            found: shown(observed.variables.get(subject)),
            reason: reason.into(),
            remedy: Some(remedy.into()),
        });
    };
    let image = value("binlog_row_image");
    match image.as_str() {
        // Empty: a version that has only full ones.
        "" | "FULL" | "FULL_NODUP" => {}
        "MINIMAL" => find(
            Severity::Warning,
            "binlog_row_image",
            "before images hold the key alone, so an update of a row that differs on the target goes unnoticed; an insert \
             that leaves columns to constant defaults cannot be applied",
            full,
        ),
        "NOBLOB" => find(
            Severity::Warning,
            "binlog_row_image",
            "before images lack BLOB and TEXT columns, so a row that differs there on the target goes unnoticed; an insert \
             that leaves such columns to a default other than NULL cannot be applied",
            full,
        ),
        _ => find(
            Severity::Blocking,
            "binlog_row_image",
            "this row image is not known",
            full,
        ),
    }
    match value("binlog_row_value_options").as_str() {
        "" => {}
        "PARTIAL_JSON" if image != "MINIMAL" => {}
        "PARTIAL_JSON" => find(
            Severity::Blocking,
            "binlog_row_value_options",
            "an update holds only what changes in a document, and with binlog_row_image = MINIMAL the document is nowhere",
            "SET PERSIST binlog_row_value_options = '', or SET PERSIST binlog_row_image = FULL",
        ),
        _ => find(
            Severity::Blocking,
            "binlog_row_value_options",
            "this option is not known",
            "SET PERSIST binlog_row_value_options = ''",
        ),
    }
}

pub(super) fn server_id(observed: &Observed, remedy: &str) -> Option<Finding> {
    let id = observed.variables.get("server_id")?;
    (id == "0").then(|| Finding {
        severity: Severity::Blocking,
        subject: "server_id".into(),
        found: "0".into(),
        reason: "a source without a server_id serves no dump".into(),
        remedy: Some(remedy.into()),
    })
}

pub(super) fn binlog_filters(observed: &Observed, findings: &mut Vec<Finding>) {
    let Some(status) = &observed.binlog else {
        return;
    };
    for (subject, list) in [
        ("binlog_do_db", &status.do_db),
        ("binlog_ignore_db", &status.ignore_db),
    ] {
        if !list.is_empty() {
            findings.push(Finding {
                severity: Severity::Blocking,
                subject: subject.into(),
                found: list.escape_debug().to_string(),
                reason: "the source leaves changes out of its binlog, so they would be lost in silence".into(),
                remedy: Some(format!("remove {subject} from the server's options and restart it; leave out tables here, with --tables")),
            });
        }
    }
}

fn replica(observed: &Observed, findings: &mut Vec<Finding>) {
    let logs = ["log_replica_updates", "log_slave_updates"]
        .iter()
        .find_map(|name| observed.variables.get(*name));
    if logs.is_none_or(|value| value.eq_ignore_ascii_case("ON")) {
        return;
    }
    let (severity, found) = match observed.is_replica {
        Some(false) => return,
        Some(true) => (Severity::Blocking, "OFF, on a replica"),
        None => (
            Severity::Warning,
            "OFF, and we may not see whether it is a replica",
        ),
    };
    findings.push(Finding {
        severity,
        subject: "log_replica_updates".into(),
        found: found.into(),
        reason: "what a replica applies is not in its binlog, so it would be lost in silence".into(),
        remedy: Some("set log_replica_updates = ON in my.cnf and restart the server, or capture from its source".into()),
    });
}

fn retention(observed: &Observed, findings: &mut Vec<Finding>) {
    if observed
        .variables
        .get("binlog_expire_logs_auto_purge")
        .is_some_and(|value| value.eq_ignore_ascii_case("OFF"))
    {
        return;
    }
    let seconds = observed
        .variables
        .get("binlog_expire_logs_seconds")
        .and_then(|value| value.parse::<u64>().ok());
    findings.extend(
        seconds.and_then(|s| retention_of(s, "SET PERSIST binlog_expire_logs_seconds = 604800")),
    );
}

/// Percona Server, and MariaDB from 11.4 on: the oldest binlogs go when all have so many bytes. 0: no limit.
pub(super) fn space_limit(observed: &Observed, remedy: &str) -> Option<Finding> {
    let bytes = observed.variables.get("binlog_space_limit")?;
    (bytes.parse::<u64>().ok()? > 0).then(|| Finding {
        severity: Severity::Warning,
        subject: "binlog_space_limit".into(),
        found: bytes.clone(),
        reason: "the oldest binlogs are purged beyond it, however new: a capture that is down while more is written cannot resume".into(),
        remedy: Some(remedy.into()),
    })
}

/// 0: binlogs are kept for ever.
pub(super) fn retention_of(seconds: u64, remedy: &str) -> Option<Finding> {
    (1..SHORT_RETENTION_S).contains(&seconds).then(|| Finding {
        severity: Severity::Warning,
        subject: "binlog_expire_logs_seconds".into(),
        found: seconds.to_string(),
        reason: "a capture that is down for longer cannot resume".into(),
        remedy: Some(remedy.into()),
    })
}

pub(super) fn shown(value: Option<&String>) -> String {
    match value {
        None => "not there".into(),
        Some(value) if value.is_empty() => "empty".into(),
        Some(value) => value.escape_debug().to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::preflight::grants::Grants;
    use crate::preflight::{BinlogStatus, refuse};

    fn fit() -> Observed {
        observed(
            "8.4.6",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `ferry`@`%`",
            &[
                ("log_bin", "ON"),
                ("gtid_mode", "ON"),
                ("enforce_gtid_consistency", "ON"),
                ("binlog_format", "ROW"),
                ("binlog_row_metadata", "FULL"),
                ("binlog_row_image", "FULL"),
                ("binlog_row_value_options", ""),
                ("binlog_checksum", "CRC32"),
                ("binlog_expire_logs_seconds", "2592000"),
                ("log_replica_updates", "ON"),
                ("server_id", "1"),
            ],
        )
    }

    /// A server that has what these say of it.
    pub(in crate::preflight) fn observed(
        version: &str,
        grant: &str,
        variables: &[(&str, &str)],
    ) -> Observed {
        Observed {
            version: version.into(),
            user: "ferry".into(),
            grants: Grants::parse([grant]),
            variables: (variables.iter())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            binlog: Some(BinlogStatus::default()),
            is_replica: Some(false),
        }
    }

    pub(in crate::preflight) fn judged(observed: &Observed) -> Vec<(Severity, String)> {
        let tables = binferry_schemas::filter::TableFilter::default();
        judge(
            observed,
            &Wanted {
                tables: &tables,
                copy: false,
            },
        )
        .into_iter()
        .map(|finding| (finding.severity, finding.subject))
        .collect()
    }

    fn with(name: &str, value: &str) -> Observed {
        let mut observed = fit();
        observed.variables.insert(name.into(), value.into());
        observed
    }

    #[test]
    fn a_fit_source_has_no_findings() {
        assert_eq!(judged(&fit()), []);
    }

    #[test]
    fn each_setting_blocks() {
        for (name, value) in [
            ("log_bin", "OFF"),
            ("gtid_mode", "ON_PERMISSIVE"),
            ("enforce_gtid_consistency", "WARN"),
            ("binlog_format", "MIXED"),
            ("binlog_row_metadata", "MINIMAL"),
            ("binlog_row_image", "OTHER"),
            ("binlog_row_value_options", "OTHER"),
            ("server_id", "0"),
        ] {
            assert_eq!(
                judged(&with(name, value)),
                [(Severity::Blocking, name.to_owned())],
                "{name}"
            );
        }
    }

    #[test]
    fn images_that_lack_columns_are_told() {
        for image in ["MINIMAL", "noblob"] {
            assert_eq!(
                judged(&with("binlog_row_image", image)),
                [(Severity::Warning, "binlog_row_image".to_owned())]
            );
        }
        assert_eq!(judged(&with("binlog_row_image", "FULL_NODUP")), []);
        let mut observed = with("binlog_row_value_options", "PARTIAL_JSON");
        assert_eq!(judged(&observed), []);
        let image = ("binlog_row_image".into(), "MINIMAL".into());
        observed.variables.extend([image]);
        assert_eq!(
            judged(&observed),
            [
                (Severity::Warning, "binlog_row_image".to_owned()),
                (Severity::Blocking, "binlog_row_value_options".to_owned())
            ]
        );
    }

    #[test]
    fn a_setting_that_is_not_there_is_not_taken_for_good() {
        let mut observed = fit();
        observed.variables.remove("binlog_row_metadata");
        assert_eq!(
            judged(&observed),
            [(Severity::Blocking, "binlog_row_metadata".to_owned())]
        );
        let mut observed = fit();
        observed.variables.remove("binlog_format");
        assert_eq!(judged(&observed), [], "dropped by a later version");
    }

    #[test]
    fn versions_and_flavours() {
        for version in ["5.7.44-log", "10.4.6-MariaDB", "5.5.5-10.2.2-MariaDB", "?"] {
            let mut observed = fit();
            observed.version = version.into();
            assert_eq!(
                judged(&observed),
                [(Severity::Blocking, "version".to_owned())],
                "{version}"
            );
        }
        for version in ["8.0.11", "9.7.4-2", "26.1.0"] {
            let mut observed = fit();
            observed.version = version.into();
            assert_eq!(judged(&observed), [], "{version}");
        }
    }

    #[test]
    fn filters_replicas_retention_and_privileges() {
        let mut observed = fit();
        observed.binlog = Some(BinlogStatus {
            do_db: "shop".into(),
            ignore_db: "tmp".into(),
        });
        assert_eq!(judged(&observed).len(), 2);
        let mut observed = with("log_replica_updates", "OFF");
        assert_eq!(judged(&observed), []);
        observed.is_replica = Some(true);
        assert_eq!(
            judged(&observed),
            [(Severity::Blocking, "log_replica_updates".to_owned())]
        );
        observed.is_replica = None;
        assert_eq!(
            judged(&observed),
            [(Severity::Warning, "log_replica_updates".to_owned())]
        );
        assert_eq!(
            judged(&with("binlog_expire_logs_seconds", "600")),
            [(Severity::Warning, "binlog_expire_logs_seconds".to_owned())]
        );
        assert_eq!(judged(&with("binlog_expire_logs_seconds", "0")), []);
        assert_eq!(
            judged(&with("binlog_space_limit", "1073741824")),
            [(Severity::Warning, "binlog_space_limit".to_owned())]
        );
        assert_eq!(judged(&with("binlog_space_limit", "0")), []);
        let mut observed = fit();
        observed.grants = Grants::default();
        assert_eq!(
            judged(&observed),
            [
                (Severity::Blocking, "REPLICATION SLAVE".to_owned()),
                (Severity::Warning, "REPLICATION CLIENT".to_owned())
            ]
        );
    }

    #[test]
    fn only_blocking_findings_refuse() {
        let tables = binferry_schemas::filter::TableFilter::default();
        let wanted = Wanted {
            tables: &tables,
            copy: false,
        };
        assert!(refuse(&judge(&with("binlog_checksum", "NONE"), &wanted)).is_ok());
        let error = refuse(&judge(&with("binlog_format", "MIXED"), &wanted)).unwrap_err();
        assert!(
            error.to_string().contains("binlog_format is MIXED"),
            "{error}"
        );
    }
}
