//! What a server says of itself that matters beside another one: a source's is taken along to where its target is judged.

use std::collections::HashMap;

use crate::record::WHICH_ZONE;

/// A clock that is read twice, and two clocks that are set by the same time service.
const CLOCKS_DIFFER_S: i64 = 5;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Portrait {
    pub version: String,
    /// `None`: a MariaDB.
    pub uuid: Option<String>,
    pub server_id: u32,
    pub hostname: String,
    pub port: String,
    /// Seconds since 1970.
    pub started: i64,
    /// Of sessions that do not say otherwise: `SYSTEM`, an offset, or a name.
    pub time_zone: String,
    /// What the zone SYSTEM is called, and which one it is ([`WHICH_ZONE`]).
    pub system_time_zone: String,
    pub system_zone: String,
    /// The same answer for UTC.
    pub utc: String,
    /// It knows zones by their names.
    pub has_named_zones: bool,
    pub max_allowed_packet: u64,
    /// The replicas that it shows, each by its `server_id` and its UUID; those without one are not among them.
    pub replicas: Vec<(u32, String)>,
    /// What the columns of tables that are carried are compared by.
    pub collations: Vec<CollationUse>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollationUse {
    pub charset: String,
    pub collation: String,
    /// Database, table, and one of the columns that have it.
    pub columns: Vec<(String, String, String)>,
}

impl Portrait {
    /// Each gives no row, or pairs of texts, for [`Portrait::of`]. They need no privilege. The session's `time_zone` is UTC afterwards.
    pub fn statements() -> Vec<String> {
        let zone = |name: &str| format!("SELECT '{name}', zone FROM ({WHICH_ZONE}) AS zones");
        vec![
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_uuid', 'server_id', 'hostname', 'port', 'time_zone', \
             'system_time_zone', 'max_allowed_packet')"
                .to_owned(),
            "SHOW GLOBAL STATUS WHERE Variable_name = 'Uptime'".to_owned(),
            "SELECT 'now', UNIX_TIMESTAMP()".to_owned(),
            "SELECT 'named zones', CONVERT_TZ('2020-07-01 00:00:00', 'UTC', 'Europe/Paris') IS NOT NULL".to_owned(),
            "SET SESSION time_zone = 'SYSTEM'".to_owned(),
            zone("system zone"),
            "SET SESSION time_zone = '+00:00'".to_owned(),
            zone("utc"),
        ]
    }

    /// Names are in lower case.
    pub fn of(answers: &HashMap<String, String>) -> Self {
        let text = |name: &str| answers.get(name).cloned().unwrap_or_default();
        let number = |name: &str| text(name).parse::<i64>().unwrap_or_default();
        Self {
            version: text("version"),
            uuid: answers.get("server_uuid").cloned(),
            server_id: text("server_id").parse().unwrap_or_default(),
            hostname: text("hostname"),
            port: text("port"),
            started: number("now") - number("uptime"),
            time_zone: text("time_zone"),
            system_time_zone: text("system_time_zone"),
            system_zone: text("system zone"),
            utc: text("utc"),
            has_named_zones: text("named zones") == "1",
            max_allowed_packet: text("max_allowed_packet").parse().unwrap_or_default(),
            replicas: Vec::new(),
            collations: Vec::new(),
        }
    }

    pub fn is_mariadb(&self) -> bool {
        self.version.to_ascii_lowercase().contains("mariadb")
    }

    /// The two are one server. Numbers and host names alone may be alike by chance, or be copied.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (&self.uuid, self.server_id, &self.hostname, &self.port)
            == (&other.uuid, other.server_id, &other.hostname, &other.port)
            && (self.started - other.started).abs() <= CLOCKS_DIFFER_S
    }

    /// Major and minor number; versions after 9.x are numbered by year.
    pub fn line(&self) -> Option<(u32, u32)> {
        // MariaDB puts a version that old replicas take before its own.
        let text = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        let mut numbers = text.split(['.', '-']).map(|part| part.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portrait(changes: &[(&str, &str)]) -> Portrait {
        let mut answers: HashMap<String, String> = [
            ("version", "9.7.4-2"),
            ("server_uuid", "aea450da-e566-11f1-8ab5-02fc00000001"),
            ("server_id", "1"),
            ("hostname", "db"),
            ("port", "3306"),
            ("now", "1000"),
            ("uptime", "900"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in changes {
            answers.insert((*name).to_owned(), (*value).to_owned());
        }
        Portrait::of(&answers)
    }

    #[test]
    fn one_server_or_two() {
        let one = portrait(&[]);
        assert!(one.is_same_server(&portrait(&[("now", "1010"), ("uptime", "909")])));
        for change in [("port", "3307"), ("hostname", "other"), ("uptime", "500")] {
            assert!(!one.is_same_server(&portrait(&[change])), "{change:?}");
        }
    }

    #[test]
    fn lines_of_versions() {
        assert_eq!(portrait(&[]).line(), Some((9, 7)));
        let mariadb = portrait(&[("version", "5.5.5-10.11.6-MariaDB-1")]);
        assert!(mariadb.is_mariadb() && mariadb.line() == Some((10, 11)));
        assert_eq!(portrait(&[("version", "x")]).line(), None);
    }
}
