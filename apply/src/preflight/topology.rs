//! A target among others: what feeds it beside us, and what follows it.

use std::collections::HashMap;

use binferry_schemas::{
    finding::{Finding, Severity},
    portrait::Portrait,
};
use mysql_async::{Conn, Row, prelude::Queryable};

use super::{DOING, Wanted};
use crate::{
    connection::{Target, from_mysql},
    dialect::Dialect,
    error::ApplyError,
    options::Gtids,
};

/// ER_PARSE_ERROR: the statement is newer than the server.
const PARSE_ERROR: u16 = 1064;

type Answer = HashMap<String, String>;

/// Gives the replicas that the target shows, as [`Portrait::replicas`] has them.
pub async fn topology(
    target: &mut Target,
    wanted: &Wanted<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<(u32, String)>, ApplyError> {
    let (fed, following, grant): (&[&str], &[&str], _) = match target.dialect {
        Dialect::MySql => (
            &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"],
            &["SHOW REPLICAS", "SHOW SLAVE HOSTS"],
            ("REPLICATION CLIENT", "REPLICATION SLAVE"),
        ),
        Dialect::MariaDb => (
            &["SHOW ALL SLAVES STATUS"],
            &["SHOW SLAVE HOSTS"],
            ("SLAVE MONITOR", "REPLICATION MASTER ADMIN"),
        ),
    };
    match ask(&mut target.conn, fed).await? {
        None => findings.push(out_of_sight(
            "native replication",
            "whether another server's changes reach the target beside these",
            grant.0,
        )),
        Some(channels) => {
            let channels = channels.iter().filter_map(Channel::of);
            findings.extend(channels.map(|channel| channel.judge(wanted.source, wanted.gtids)));
        }
    }
    Ok(match ask(&mut target.conn, following).await? {
        None => {
            findings.push(out_of_sight(
                "native replicas",
                "which servers follow the target",
                grant.1,
            ));
            Vec::new()
        }
        Some(replicas) => below(&replicas, wanted.gtids, findings),
    })
}

/// The answer to the first statement that this version knows, names in lower case; `None` when we may not ask.
async fn ask(conn: &mut Conn, statements: &[&str]) -> Result<Option<Vec<Answer>>, ApplyError> {
    for statement in statements {
        let rows: Result<Vec<Row>, _> = conn.query(*statement).await;
        match rows {
            Ok(rows) => return Ok(Some(rows.into_iter().map(answer).collect())),
            Err(mysql_async::Error::Server(error)) if error.code == PARSE_ERROR => {}
            Err(error) => match from_mysql(error, DOING) {
                ApplyError::Privilege { .. } => return Ok(None),
                error => return Err(error),
            },
        }
    }
    Ok(None)
}

fn answer(mut row: Row) -> Answer {
    let names: Vec<String> = (row.columns_ref().iter())
        .map(|column| column.name_str().to_ascii_lowercase())
        .collect();
    let values = names.into_iter().enumerate().filter_map(|(n, name)| {
        let value: Option<String> = row.take_opt(n)?.ok()?;
        Some((name, value?))
    });
    values.collect()
}

fn out_of_sight(subject: &str, what: &str, privilege: &str) -> Finding {
    Finding {
        severity: Severity::Info,
        subject: subject.to_owned(),
        found: "out of sight".to_owned(),
        reason: format!("without the privilege {privilege} it cannot be seen {what}"),
        remedy: Some(format!("GRANT {privilege} ON *.* TO the user")),
    }
}

/// A server whose changes the target applies natively.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Channel {
    name: String,
    address: String,
    uuid: Option<String>,
    server_id: Option<u32>,
    runs: bool,
    /// It leaves tables or databases out.
    filters: bool,
}

impl Channel {
    /// `None`: a channel of group replication, whose members are one target.
    fn of(answer: &Answer) -> Option<Self> {
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| answer.get(*name));
            found.cloned().unwrap_or_default()
        };
        let name = text(&["channel_name", "connection_name"]);
        if name.starts_with("group_replication_") {
            return None;
        }
        let filters = answer
            .iter()
            .any(|(name, value)| name.starts_with("replicate_") && names_objects(name, value));
        let is_on = |names: &[&str]| !matches!(text(names).as_str(), "No" | "");
        Some(Self {
            address: format!(
                "{}:{}",
                text(&["source_host", "master_host"]),
                text(&["source_port", "master_port"])
            ),
            uuid: Some(text(&["source_uuid", "master_uuid"])).filter(|uuid| !uuid.is_empty()),
            server_id: text(&["source_server_id", "master_server_id"]).parse().ok(),
            runs: is_on(&["replica_io_running", "slave_io_running"])
                || is_on(&["replica_sql_running", "slave_sql_running"]),
            filters,
            name,
        })
    }

    fn is_fed_by(&self, source: &Portrait) -> bool {
        match (&self.uuid, &source.uuid) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, None) => self.server_id == Some(source.server_id),
            _ => false,
        }
    }

    /// What both bring is told apart by GTID with `preserve`, and by nothing otherwise.
    fn judge(&self, source: Option<&Portrait>, gtids: Gtids) -> Finding {
        let is_twice = source.is_some_and(|source| self.is_fed_by(source));
        let (severity, reason) = match (self.runs, is_twice) {
            (true, true) if gtids == Gtids::Preserve => (
                Severity::Warning,
                "it brings the transactions of the same source: each is applied once, by whoever comes first, and the other waits for it",
            ),
            (true, true) if self.filters => (
                Severity::Warning,
                "it brings changes of the same source: those of a table that the stream carries, too, would be applied twice",
            ),
            (true, true) => (
                Severity::Blocking,
                "it brings the changes of the same source: each would be applied twice",
            ),
            (true, false) => (
                Severity::Warning,
                "it changes rows, too: where they are those of tables that the stream carries, they are conflicts",
            ),
            (false, _) => (
                Severity::Info,
                "it is stopped, and may start again with the server",
            ),
        };
        Finding {
            severity,
            subject: match self.name.as_str() {
                "" => "native replication".to_owned(),
                name => format!("native replication {}", name.escape_debug()),
            },
            found: format!(
                "from {}{}",
                self.address.escape_debug(),
                if self.runs { "" } else { ", stopped" }
            ),
            reason: reason.to_owned(),
            remedy: Some(
                "STOP REPLICA; RESET REPLICA ALL (MariaDB: STOP SLAVE; RESET SLAVE ALL) on the target, for this channel"
                    .to_owned(),
            ),
        }
    }
}

/// A filter's column that is not empty. Ignored server ids have a column of another name.
fn names_objects(name: &str, value: &str) -> bool {
    let of_objects = name.ends_with("_db") || name.ends_with("_table");
    of_objects && !value.is_empty()
}

fn below(replicas: &[Answer], gtids: Gtids, findings: &mut Vec<Finding>) -> Vec<(u32, String)> {
    let text = |replica: &Answer, names: &[&str]| {
        let found = names.iter().find_map(|name| replica.get(*name));
        found.cloned().unwrap_or_default()
    };
    let mut known = Vec::new();
    for replica in replicas {
        let id = text(replica, &["server_id"]);
        let uuid = text(replica, &["replica_uuid", "slave_uuid"]);
        let host = text(replica, &["host"]);
        if let Ok(id) = id.parse()
            && !uuid.is_empty()
        {
            known.push((id, uuid));
        }
        findings.push(Finding {
            severity: Severity::Info,
            subject: "native replica of the target".to_owned(),
            found: match host.as_str() {
                "" => format!("server_id {id}"),
                host => format!("server_id {id}, {}:{}", host.escape_debug(), text(replica, &["port"])),
            },
            reason: match gtids {
                Gtids::Own => "it gets what is applied through the target's binlog, under GTIDs of the target's own",
                Gtids::Preserve => "it gets what is applied through the target's binlog, under the source's GTIDs",
            }
            .to_owned(),
            remedy: None,
        });
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(changes: &[(&str, &str)]) -> Option<Channel> {
        let mut answer: Answer = [
            ("source_host", "db1"),
            ("source_port", "3306"),
            ("source_uuid", "aea450da-e566-11f1-8ab5-02fc00000001"),
            ("replica_io_running", "Connecting"),
            ("replica_sql_running", "No"),
            ("replicate_do_db", ""),
            ("replicate_rewrite_db", ""),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in changes {
            answer.insert((*name).to_owned(), (*value).to_owned());
        }
        Channel::of(&answer)
    }

    fn source(uuid: &str) -> Portrait {
        Portrait {
            uuid: Some(uuid.to_owned()),
            ..Portrait::default()
        }
    }

    #[test]
    fn what_feeds_a_target() {
        let same = source("aea450da-e566-11f1-8ab5-02fc00000001");
        let other = source("aea450da-e566-11f1-8ab5-02fc00000002");
        let judged = |changes: &[(&str, &str)], source: Option<&Portrait>, gtids| {
            channel(changes).map(|channel| channel.judge(source, gtids).severity)
        };
        let own = Gtids::Own;
        assert_eq!(judged(&[], Some(&same), own), Some(Severity::Blocking));
        assert_eq!(
            judged(&[], Some(&same), Gtids::Preserve),
            Some(Severity::Warning)
        );
        assert_eq!(judged(&[], Some(&other), own), Some(Severity::Warning));
        assert_eq!(judged(&[], None, own), Some(Severity::Warning));
        let filter = [("replicate_do_db", "crm")];
        assert_eq!(judged(&filter, Some(&same), own), Some(Severity::Warning));
        let stopped = [("replica_io_running", "No")];
        assert_eq!(judged(&stopped, Some(&same), own), Some(Severity::Info));
        let group = [("channel_name", "group_replication_applier")];
        assert_eq!(judged(&group, Some(&same), own), None);
    }
}
