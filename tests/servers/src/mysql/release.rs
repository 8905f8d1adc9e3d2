//! Which server: the product and the release line, and what differs between them when they are brought up.

/// What [`crate::Builder::release`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// The current MySQL, 9 unless something older (8.0 at least) is what there is.
    #[default]
    MySql,
    /// MariaDB's long-term line that Debian 12 carries.
    MariaDb10_11,
    /// MariaDB's long-term line that Debian 13 carries.
    MariaDb11_8,
}

/// Settings of every server here: what makes a server small, and open to tests.
const COMMON: [&str; 6] = [
    "--log-bin=binlog",
    "--innodb-buffer-pool-size=128M",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--secure-file-priv=",
    "--local-infile=ON",
];

/// What Binferry needs of a source, where it isn't the server's default.
const MYSQL: [&str; 4] = [
    "--mysqlx=OFF",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--binlog-row-metadata=FULL",
];

/// The same for MariaDB. Its older lines have another character set by default than the newer ones, and than MySQL.
const MARIADB: [&str; 6] = [
    "--binlog-format=ROW",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=ON",
    "--log-slave-updates=ON",
    "--character-set-server=utf8mb4",
    "--innodb-log-file-size=48M",
];

/// Where Debian has a release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packages {
    /// The folder's name, before the version.
    pub(super) folder: &'static str,
    pub(super) suite: &'static str,
    /// The first one's version is the folder's.
    pub(super) names: &'static [&'static str],
}

impl Release {
    /// Every release that tests can be run on.
    pub const ALL: [Release; 3] = [Release::MySql, Release::MariaDb10_11, Release::MariaDb11_8];

    pub fn is_mariadb(self) -> bool {
        self != Release::MySql
    }

    /// The environment variable with the addresses of servers that run already.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Release::MySql => crate::ADDRESSES,
            Release::MariaDb10_11 => "BINFERRY_TEST_MARIADB_10_11",
            Release::MariaDb11_8 => "BINFERRY_TEST_MARIADB_11_8",
        }
    }

    /// For messages.
    pub(super) fn server(self) -> &'static str {
        match self {
            Release::MySql => "MySQL server",
            Release::MariaDb10_11 => "MariaDB server 10.11",
            Release::MariaDb11_8 => "MariaDB server 11.8",
        }
    }

    /// The server's program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Release::MySql => "mysqld",
            _ => "mariadbd",
        }
    }

    /// A client program's name: `mysqlbinlog` is `mariadb-binlog`.
    pub(super) fn client(self, name: &str) -> String {
        match (self, name.strip_prefix("mysql")) {
            (Release::MySql, _) | (_, None) => name.to_owned(),
            (_, Some("")) => "mariadb".to_owned(),
            (_, Some(rest)) => format!("mariadb-{rest}"),
        }
    }

    /// Whether a server of this version will do (`9.7.4-2`, `11.8.6-MariaDB-…`).
    pub(super) fn accepts(self, version: &str) -> bool {
        let line = match self {
            Release::MySql => {
                let major = version
                    .split('.')
                    .next()
                    .and_then(|n| n.parse::<u32>().ok());
                return !version.contains("MariaDB") && major.is_some_and(|major| major >= 8);
            }
            Release::MariaDb10_11 => "10.11.",
            Release::MariaDb11_8 => "11.8.",
        };
        version.contains("MariaDB") && version.starts_with(line)
    }

    pub(super) fn packages(self) -> Packages {
        match self {
            // The suite that always has a current MySQL: stable releases of Debian carry MariaDB only.
            Release::MySql => Packages {
                folder: "mysql",
                suite: "sid",
                names: &["mysql-server-core", "mysql-client-core", "mysql-client"],
            },
            Release::MariaDb10_11 => Packages {
                folder: "mariadb-10.11",
                suite: "bookworm",
                names: MARIADB_PACKAGES,
            },
            Release::MariaDb11_8 => Packages {
                folder: "mariadb-11.8",
                suite: "trixie",
                names: MARIADB_PACKAGES,
            },
        }
    }

    /// The stock image and its tag.
    #[cfg(feature = "docker")]
    pub(super) fn image(self) -> (&'static str, &'static str) {
        match self {
            Release::MySql => ("mysql", "9"),
            Release::MariaDb10_11 => ("mariadb", "10.11"),
            Release::MariaDb11_8 => ("mariadb", "11.8"),
        }
    }

    /// The settings that every server gets. Later ones win, so that [`crate::Builder::arg`] overrides them.
    pub(super) fn defaults(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = if self.is_mariadb() { &MARIADB } else { &MYSQL };
        COMMON.into_iter().chain(own.iter().copied())
    }
}

/// The last one for the plugins in it, as that for encryption.
const MARIADB_PACKAGES: &[&str] = &[
    "mariadb-server-core",
    "mariadb-client-core",
    "mariadb-client",
    "mariadb-server",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_do() {
        let versions = [
            "9.7.4-2",
            "10.11.18-MariaDB-0+deb12u1",
            "11.8.6-MariaDB-0+deb13u1",
        ];
        for (release, fits) in Release::ALL.into_iter().zip(versions) {
            for version in versions {
                assert_eq!(release.accepts(version), version == fits);
            }
        }
        assert!(Release::MySql.accepts("8.0.44"));
        assert!(!Release::MySql.accepts("5.7.44"));
        assert!(!Release::MariaDb11_8.accepts("11.4.2-MariaDB"));
    }

    #[test]
    fn clients_names() {
        assert_eq!(Release::MySql.client("mysqlbinlog"), "mysqlbinlog");
        assert_eq!(
            Release::MariaDb10_11.client("mysqlbinlog"),
            "mariadb-binlog"
        );
        assert_eq!(Release::MariaDb11_8.client("mysql"), "mariadb");
    }
}
