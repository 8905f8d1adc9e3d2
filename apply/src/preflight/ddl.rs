//! What running the source's schema changes takes: privileges, and a way to know after a crash what was done.

use binferry_schemas::{
    fault::Fault,
    finding::{Finding, Severity},
};

use super::{from_error, grants::Grants};
use crate::{connection::Target, dialect::Dialect, error::ApplyError, preserve};

const NEEDED: [&str; 5] = ["CREATE", "ALTER", "DROP", "INDEX", "REFERENCES"];

pub async fn check(target: &mut Target, grants: &Grants, findings: &mut Vec<Finding>) {
    let missing: Vec<_> = (NEEDED.into_iter())
        .filter(|privilege| !grants.has_beside(&["`binferry`."], privilege))
        .collect();
    if missing.is_empty() {
        findings.push(Finding {
            severity: Severity::Fine,
            subject: "--ddl apply".to_owned(),
            found: NEEDED.join(", "),
            reason: "schema changes of the source are run on the target".to_owned(),
            remedy: None,
        });
    } else {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "--ddl apply".to_owned(),
            found: format!("missing: {}", missing.join(", ")),
            reason: "the first schema change of the source that needs them will stop the stream"
                .to_owned(),
            remedy: Some(format!(
                "GRANT {} ON the databases to the user; or --ddl stop",
                NEEDED.join(", ")
            )),
        });
    }
    if target.dialect == Dialect::MariaDb {
        return;
    }
    let by_gtid = match preserve::ready(target).await {
        Ok(_) => return,
        Err(error @ ApplyError::Preserve { .. }) => error,
        Err(error) => return findings.push(from_error("--ddl apply", &error)),
    };
    findings.push(Finding {
        severity: Severity::Info,
        subject: "--ddl apply".to_owned(),
        found: "without GTIDs of its own".to_owned(),
        reason: "after a crash in the middle of a schema change, the definitions before and after it are compared; with GTIDs the server itself knows"
            .to_owned(),
        remedy: Fault::hint(&by_gtid),
    });
}
