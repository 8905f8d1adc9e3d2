//! The rules for a MariaDB source.
//!
//! MariaDB keeps no setting by itself (there is no SET PERSIST): each remedy names the statement, and the setting belongs into my.cnf, too.

use super::judge::{binlog_filters, retention_of, row_images, server_id, shown, space_limit};
use super::{Finding, Observed, Severity, Version};

/// The first with binlog_row_metadata.
const OLDEST: (u32, u32, u32) = (10, 5, 0);

/// (setting, what it must be, whether it may be missing, why, how to set it).
const REQUIRED: [(&str, &str, bool, &str, &str); 4] = [
    (
        "log_bin",
        "ON",
        false,
        "without a binlog there is nothing to capture",
        "start the server with --log-bin (my.cnf: log_bin = binlog)",
    ),
    (
        "binlog_format",
        "ROW",
        false,
        "statements cannot be replayed exactly",
        "SET GLOBAL binlog_format = ROW, and in my.cnf (sessions that are open keep the old format: reconnect them)",
    ),
    (
        "binlog_row_metadata",
        "FULL",
        false,
        "column names, character sets and keys must be in the binlog",
        "SET GLOBAL binlog_row_metadata = FULL, and in my.cnf",
    ),
    (
        "binlog_alter_two_phase",
        "OFF",
        true,
        "an ALTER TABLE that is logged in two parts is not carried",
        "SET GLOBAL binlog_alter_two_phase = OFF, and in my.cnf",
    ),
];

pub(super) fn version(version: Version, text: &str) -> Option<Finding> {
    (version.number < OLDEST).then(|| Finding {
        severity: Severity::Blocking,
        subject: "version".into(),
        found: text.escape_debug().to_string(),
        reason: "MariaDB before 10.5 does not write the row metadata that decoding needs".into(),
        remedy: Some("capture from MariaDB 10.5 or later".into()),
    })
}

pub(super) fn judge(observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    privileges(observed, &mut findings);
    for (name, good, may_lack, reason, remedy) in REQUIRED {
        let found = observed.variables.get(name);
        let fits = match found {
            Some(found) => found.eq_ignore_ascii_case(good),
            None => may_lack,
        };
        if !fits {
            findings.push(Finding {
                severity: Severity::Blocking,
                subject: name.into(),
                found: shown(found),
                reason: reason.into(),
                remedy: Some(remedy.into()),
            });
        }
    }
    row_images(
        observed,
        "SET GLOBAL binlog_row_image = FULL, and in my.cnf (sessions that are open keep the old one: reconnect them)",
        &mut findings,
    );
    strict(observed, &mut findings);
    if let Some(finding) = server_id(
        observed,
        "SET GLOBAL server_id = 1, and in my.cnf (a number that no other server of the group has)",
    ) {
        findings.push(finding);
    }
    binlog_filters(observed, &mut findings);
    replica(observed, &mut findings);
    retention(observed, &mut findings);
    findings.extend(space_limit(
        observed,
        "SET GLOBAL binlog_space_limit = 0, and in my.cnf",
    ));
    let checksum = observed.variables.get("binlog_checksum");
    if checksum.is_some_and(|value| value != "CRC32") {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "binlog_checksum".into(),
            found: shown(checksum),
            reason: "damage between the source's disk and the log would go unnoticed".into(),
            remedy: Some("SET GLOBAL binlog_checksum = CRC32, and in my.cnf".into()),
        });
    }
    findings
}

fn privileges(observed: &Observed, findings: &mut Vec<Finding>) {
    let mut missing = |held: &[&str], severity, reason: &str| {
        let Some(wanted) = held.first() else {
            return;
        };
        if held.iter().any(|privilege| observed.grants.has(privilege)) {
            return;
        }
        findings.push(Finding {
            severity,
            subject: (*wanted).into(),
            found: "not granted".into(),
            reason: reason.into(),
            remedy: Some(format!(
                "GRANT {wanted} ON *.* TO '{}'@'HOST'",
                observed.user.replace('\'', "''")
            )),
        });
    };
    missing(
        &["REPLICATION SLAVE"],
        Severity::Blocking,
        "reading the binlog needs it",
    );
    missing(
        &["BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"],
        Severity::Blocking,
        "without it nobody can see which binlogs are left, or whether the source leaves databases out of them",
    );
    missing(
        &["REPLICATION MASTER ADMIN"],
        Severity::Warning,
        "without it the source's other replicas cannot be seen, so nobody can tell whether our server_id is free",
    );
}

fn strict(observed: &Observed, findings: &mut Vec<Finding>) {
    let found = observed.variables.get("gtid_strict_mode");
    if found.is_none_or(|value| !value.eq_ignore_ascii_case("ON")) {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "gtid_strict_mode".into(),
            found: shown(found),
            reason: "without it GTIDs may come out of sequence, and the first one that does stops the capture".into(),
            remedy: Some("SET GLOBAL gtid_strict_mode = ON, and in my.cnf".into()),
        });
    }
}

fn replica(observed: &Observed, findings: &mut Vec<Finding>) {
    let logs = observed.variables.get("log_slave_updates");
    if logs.is_none_or(|value| value.eq_ignore_ascii_case("ON")) {
        return;
    }
    let (severity, found) = match observed.is_replica {
        Some(false) => return,
        Some(true) => (Severity::Blocking, "OFF, on a replica"),
        None => (
            Severity::Warning,
            "OFF, and we may not see whether it is a replica (GRANT SLAVE MONITOR)",
        ),
    };
    findings.push(Finding {
        severity,
        subject: "log_slave_updates".into(),
        found: found.into(),
        reason: "what a replica applies is not in its binlog, so it would be lost in silence".into(),
        remedy: Some("set log_slave_updates = ON in my.cnf and restart the server, or capture from its source".into()),
    });
}

/// binlog_expire_logs_seconds came with 10.6; expire_logs_days (with a fraction) is the same setting.
fn retention(observed: &Observed, findings: &mut Vec<Finding>) {
    let number = |name: &str| {
        observed
            .variables
            .get(name)
            .and_then(|value| value.parse::<f64>().ok())
    };
    let seconds = number("binlog_expire_logs_seconds")
        .or_else(|| number("expire_logs_days").map(|days| days * 86_400.0));
    if let Some(seconds) = seconds {
        findings.extend(retention_of(
            seconds as u64,
            "SET GLOBAL binlog_expire_logs_seconds = 604800, and in my.cnf",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::{
        grants::Grants,
        judge::tests::{judged, observed},
    };

    fn fit() -> Observed {
        observed(
            "10.11.18-MariaDB-log",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR, REPLICATION MASTER ADMIN ON *.* TO `ferry`@`%` IDENTIFIED BY PASSWORD '*D8'",
            &[
                ("log_bin", "ON"),
                ("binlog_format", "ROW"),
                ("binlog_row_metadata", "FULL"),
                ("binlog_row_image", "FULL"),
                ("binlog_alter_two_phase", "OFF"),
                ("binlog_checksum", "CRC32"),
                ("binlog_expire_logs_seconds", "864000"),
                ("gtid_strict_mode", "ON"),
                ("log_slave_updates", "OFF"),
                ("server_id", "1"),
            ],
        )
    }

    fn with(name: &str, value: &str) -> Observed {
        let mut observed = fit();
        observed.variables.insert(name.into(), value.into());
        observed
    }

    #[test]
    fn a_fit_source_has_no_findings() {
        assert_eq!(judged(&fit()), []);
        assert_eq!(judged(&with("binlog_row_image", "FULL_NODUP")), []);
    }

    #[test]
    fn each_setting_is_judged() {
        for (name, value, severity) in [
            ("log_bin", "OFF", Severity::Blocking),
            ("binlog_format", "MIXED", Severity::Blocking),
            ("binlog_row_metadata", "NO_LOG", Severity::Blocking),
            ("binlog_row_image", "NEW", Severity::Blocking),
            ("binlog_alter_two_phase", "ON", Severity::Blocking),
            ("server_id", "0", Severity::Blocking),
            ("binlog_row_image", "MINIMAL", Severity::Warning),
            ("gtid_strict_mode", "OFF", Severity::Warning),
            ("binlog_checksum", "NONE", Severity::Warning),
            ("binlog_expire_logs_seconds", "600", Severity::Warning),
            ("binlog_space_limit", "1073741824", Severity::Warning),
        ] {
            assert_eq!(judged(&with(name, value)), [(severity, name.to_owned())]);
        }
        let mut old = fit();
        old.version = "5.5.5-10.4.34-MariaDB".into();
        assert_eq!(judged(&old), [(Severity::Blocking, "version".to_owned())]);
    }

    #[test]
    fn privileges_and_replicas() {
        let mut observed = fit();
        observed.grants = Grants::default();
        assert_eq!(
            judged(&observed),
            [
                (Severity::Blocking, "REPLICATION SLAVE".to_owned()),
                (Severity::Blocking, "BINLOG MONITOR".to_owned()),
                (Severity::Warning, "REPLICATION MASTER ADMIN".to_owned()),
            ]
        );
        let mut observed = fit();
        observed.is_replica = Some(true);
        assert_eq!(
            judged(&observed),
            [(Severity::Blocking, "log_slave_updates".to_owned())]
        );
        observed.is_replica = None;
        assert_eq!(
            judged(&observed),
            [(Severity::Warning, "log_slave_updates".to_owned())]
        );
    }
}
