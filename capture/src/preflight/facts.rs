//! What a source says about itself.

use std::fmt;

use binferry_schemas::gtid::{Gtid, GtidSet, Uuid};

use crate::client::Connection;
use crate::error::{CaptureError, Transient};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// MySQL itself, and Percona Server.
    MySql,
    MariaDb,
}

/// A server's version. Compared as a tuple: versions after 9.x are numbered by year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub flavour: Flavour,
    pub number: (u32, u32, u32),
}

impl Version {
    /// From the text of the greeting or of `@@version`: `9.7.4-2`, `8.0.36-28-log`, `5.5.5-10.11.6-MariaDB`.
    pub fn parse(text: &str) -> Option<Self> {
        let flavour = match text.to_ascii_lowercase().contains("mariadb") {
            true => Flavour::MariaDb,
            false => Flavour::MySql,
        };
        // MariaDB puts a version that old replicas take before its own.
        let text = match flavour {
            Flavour::MariaDb => text.strip_prefix("5.5.5-").unwrap_or(text),
            Flavour::MySql => text,
        };
        let mut parts = text.splitn(3, '.').map(|part| {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        Some(Self {
            flavour,
            number: (
                parts.next()??,
                parts.next()??,
                parts.next().flatten().unwrap_or(0),
            ),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        match self.flavour {
            Flavour::MySql => write!(f, "MySQL {major}.{minor}.{patch}"),
            Flavour::MariaDb => write!(f, "MariaDB {major}.{minor}.{patch}"),
        }
    }
}

/// How often the oldest binlog file is asked for again after it was purged.
const ATTEMPTS: u32 = 10;

/// A source at one moment; `executed` is read before `purged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    pub version: Version,
    /// MariaDB has none: [`mariadb_uuid`].
    pub server_uuid: Uuid,
    pub server_id: u32,
    pub hostname: String,
    pub executed: GtidSet,
    pub purged: GtidSet,
}

/// That of the server id in domain 0 (docs/records, "GTIDs").
pub(crate) fn mariadb_uuid(server_id: u32) -> Uuid {
    Gtid::mariadb(0, server_id, 1).map_or(Uuid::nil(), |gtid| gtid.uuid)
}

impl SourceFacts {
    /// Asks a source; of MySQL it needs no privilege, of MariaDB BINLOG MONITOR.
    pub async fn read(connection: &mut Connection) -> Result<Self, CaptureError> {
        match connection.is_mariadb() {
            true => Self::read_mariadb(connection).await,
            false => Self::read_mysql(connection).await,
        }
    }

    /// MariaDB has no set of what it has purged: that is the position at which its oldest binlog file begins. The file may be purged
    /// between two statements; then the next one is the oldest.
    async fn read_mariadb(connection: &mut Connection) -> Result<Self, CaptureError> {
        let nonsense = |connection: &Connection, reason| Transient::Protocol {
            server: connection.server().to_owned(),
            reason,
        };
        for _ in 0..ATTEMPTS {
            let rows = connection
                .query(
                    "SELECT @@GLOBAL.gtid_binlog_pos AS executed, @@GLOBAL.server_id AS id, @@GLOBAL.hostname AS hostname",
                )
                .await?;
            let text = |column| rows.value(0, column).unwrap_or_default();
            let binlogs = connection.query("SHOW BINARY LOGS").await?;
            let oldest = binlogs.value(0, "Log_name").unwrap_or_default();
            let purged = connection
                .query(&format!(
                    "SELECT BINLOG_GTID_POS('{}', 4)",
                    oldest.replace('\\', "\\\\").replace('\'', "''")
                ))
                .await?;
            // NULL: there is no such file any more.
            let Some(purged) = purged.single() else {
                continue;
            };
            let server_id = text("id")
                .parse()
                .map_err(|_| nonsense(connection, "a server_id that is none"))?;
            return Ok(Self {
                version: Version::parse(connection.version())
                    .ok_or_else(|| nonsense(connection, "a version without numbers"))?,
                server_uuid: mariadb_uuid(server_id),
                server_id,
                hostname: text("hostname"),
                executed: text("executed")
                    .parse()
                    .map_err(|_| nonsense(connection, "a gtid_binlog_pos that is none"))?,
                purged: purged.parse().map_err(|_| {
                    nonsense(connection, "a position in its oldest binlog that is none")
                })?,
            });
        }
        Err(nonsense(
            connection,
            "binlog files that are gone each time it is asked about them",
        )
        .into())
    }

    async fn read_mysql(connection: &mut Connection) -> Result<Self, CaptureError> {
        let rows = connection
            .query(
                "SELECT @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged, @@GLOBAL.server_uuid AS uuid, \
                 @@GLOBAL.server_id AS id, @@GLOBAL.hostname AS hostname",
            )
            .await?;
        let text = |column| rows.value(0, column).unwrap_or_default();
        let nonsense = |reason| Transient::Protocol {
            server: connection.server().to_owned(),
            reason,
        };
        Ok(Self {
            version: Version::parse(connection.version())
                .ok_or_else(|| nonsense("a version without numbers"))?,
            server_uuid: text("uuid")
                .parse()
                .map_err(|_| nonsense("a server_uuid that is none"))?,
            server_id: text("id")
                .parse()
                .map_err(|_| nonsense("a server_id that is none"))?,
            hostname: text("hostname"),
            executed: text("executed")
                .parse()
                .map_err(|_| nonsense("a gtid_executed that is none"))?,
            purged: text("purged")
                .parse()
                .map_err(|_| nonsense("a gtid_purged that is none"))?,
        })
    }

    /// What the source cannot give any more to a log that holds `log`: exact, empty when all is well.
    pub fn purged_but_needed(&self, log: &GtidSet) -> GtidSet {
        self.purged.subtract(log)
    }

    /// What `log` holds and the source never had: the log is another server's, or the source lost transactions.
    pub fn errant(&self, log: &GtidSet) -> GtidSet {
        log.subtract(&self.executed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let parse = |text| Version::parse(text).map(|version| (version.flavour, version.number));
        assert_eq!(parse("9.7.4-2"), Some((Flavour::MySql, (9, 7, 4))));
        assert_eq!(parse("8.0.36-28.1-log"), Some((Flavour::MySql, (8, 0, 36))));
        assert_eq!(parse("26.1"), Some((Flavour::MySql, (26, 1, 0))));
        assert_eq!(
            parse("5.5.5-10.11.6-MariaDB-1"),
            Some((Flavour::MariaDb, (10, 11, 6)))
        );
        assert_eq!(
            parse("12.3.1-MariaDB"),
            Some((Flavour::MariaDb, (12, 3, 1)))
        );
        assert_eq!(parse("99999999999.1.1"), None);
        assert_eq!(parse("x"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn what_is_missing_on_either_side() {
        let set = |text: &str| text.parse::<GtidSet>().unwrap();
        let a = "aea450da-e566-11f1-8ab5-02fc00000001";
        let facts = SourceFacts {
            version: Version::parse("8.4.0").unwrap(),
            server_uuid: a.parse().unwrap(),
            server_id: 1,
            hostname: String::new(),
            executed: set(&format!("{a}:1-100")),
            purged: set(&format!("{a}:1-50")),
        };
        let log = set(&format!("{a}:1-20:30-101"));
        assert_eq!(facts.purged_but_needed(&log), set(&format!("{a}:21-29")));
        assert_eq!(facts.errant(&log), set(&format!("{a}:101")));
    }
}
