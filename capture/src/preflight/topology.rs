//! A source among others: our number beside those of its replicas, and the log that goes on with it.

use binferry_schemas::{
    fault::Fault,
    finding::{Finding, Severity},
    gtid::Uuid,
    record::FoldState,
};

use crate::{
    client::Connection,
    dump::choose_server_id,
    error::{CaptureError, Permanent},
    stream::attach::facts,
};

/// Is our `server_id` free at the source? `me`: the log's id, where there is one. Needs
/// REPLICATION SLAVE.
pub async fn free_id(
    connection: &mut Connection,
    wanted: Option<u32>,
    me: Option<Uuid>,
) -> Result<Vec<Finding>, CaptureError> {
    let mut findings = Vec::new();
    let me = me.unwrap_or(Uuid::nil());
    match choose_server_id(connection, wanted, me).await {
        Ok(id) => findings.push(Finding {
            severity: Severity::Fine,
            subject: "--server-id".to_owned(),
            found: id.to_string(),
            reason: "neither the source nor a replica that it shows has it".to_owned(),
            remedy: None,
        }),
        Err(CaptureError::Permanent(
            error @ (Permanent::ServerIdInUse { .. } | Permanent::ServerIdZero),
        )) => findings.push(Finding {
            severity: Severity::Blocking,
            subject: "--server-id".to_owned(),
            found: wanted.unwrap_or_default().to_string(),
            reason: error.to_string(),
            remedy: Some(
                "another number in --server-id; or none, and a free one is chosen".to_owned(),
            ),
        }),
        // The grant that it lacks is a finding of its own.
        Err(CaptureError::Permanent(Permanent::Unprivileged { .. })) => return Ok(findings),
        Err(error) => return Err(error),
    }
    Ok(findings)
}

/// Can the source give what the log lacks, and has it all that the log holds? A log without a beginning has no opinion.
pub async fn continues(
    connection: &mut Connection,
    log: &FoldState,
    site: &str,
) -> Result<Vec<Finding>, CaptureError> {
    let Some(known) = log.sites.iter().find(|known| known.site == site) else {
        return Ok((log.sites.first())
            .map(|other| Finding {
                severity: Severity::Blocking,
                subject: "--site".to_owned(),
                found: site.escape_debug().to_string(),
                reason: format!("the log is that of {}", other.site.escape_debug()),
                remedy: Some(format!(
                    "--site {}, where this source has taken over from that one; otherwise another --log",
                    other.site.escape_debug()
                )),
            })
            .into_iter()
            .collect());
    };
    let facts = facts(connection, &log.set).await?;
    let server = connection.server().to_owned();
    let mut findings = Vec::new();
    let mut blocking = |subject: &str, error: Permanent| {
        findings.push(Finding {
            severity: Severity::Blocking,
            subject: subject.to_owned(),
            found: error.to_string(),
            reason: "this source cannot go on with this log".to_owned(),
            remedy: error.hint(),
        });
    };
    let errant = facts.errant(&log.set);
    if !errant.is_empty() {
        let server = server.clone();
        blocking("history", Permanent::Errant { server, errant });
    }
    let missing = facts.purged_but_needed(&log.set);
    if !missing.is_empty() {
        blocking("binlogs", Permanent::Purged { server, missing });
    }
    if findings.is_empty() && known.server != facts.server_uuid {
        findings.push(Finding {
            severity: Severity::Info,
            subject: "history".to_owned(),
            found: format!("another server than the last one, {}", known.server),
            reason: "it has taken over: each of the log's transactions is known to it".to_owned(),
            remedy: None,
        });
    }
    Ok(findings)
}
