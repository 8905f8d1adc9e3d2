//! The tables, the same on both servers, and the accounts that Binferry uses.

use anyhow::Result;
use binferry_servers::MySql;

pub const DATABASE: &str = "shop";
pub const CAPTURE: &str = "capture";
pub const APPLY: &str = "apply";

pub const ACCOUNTS: u64 = 20_000;
pub const SEATS: u64 = 400;
pub const TICKETS: u64 = 400;

/// Every table but `every_type`, which depends on the server's version.
const TABLES: &str = "
CREATE TABLE ledger (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  kind VARCHAR(16) NOT NULL,
  at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) COMMENT 'one row for each transaction of the load: the judge counts them';
CREATE TABLE accounts (
  id INT NOT NULL PRIMARY KEY,
  email VARCHAR(80) CHARACTER SET utf8mb4 NOT NULL UNIQUE,
  balance DECIMAL(14,2) NOT NULL,
  version INT UNSIGNED NOT NULL DEFAULT 0,
  touched TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
);
CREATE TABLE orders (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  account INT NOT NULL,
  note VARCHAR(60),
  placed DATETIME(6) NOT NULL,
  KEY (account)
);
CREATE TABLE order_lines (
  order_id BIGINT NOT NULL,
  line SMALLINT NOT NULL,
  article VARCHAR(40) NOT NULL,
  pieces INT NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  PRIMARY KEY (order_id, line)
);
CREATE TABLE seats (
  id INT NOT NULL PRIMARY KEY,
  seat INT NULL UNIQUE,
  guest VARCHAR(20) NOT NULL
);
CREATE TABLE tickets (
  number INT NOT NULL PRIMARY KEY,
  holder VARCHAR(20) NOT NULL
);
CREATE TABLE visits (
  page VARCHAR(20) NOT NULL,
  times INT NOT NULL
) COMMENT 'no key at all, and rows that are equal';
CREATE TABLE bulk (
  id INT NOT NULL PRIMARY KEY,
  generation INT NOT NULL,
  measure DOUBLE NOT NULL,
  payload VARCHAR(60) NOT NULL
)";

const EVERY_TYPE: &str = "
CREATE TABLE every_type (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  t_tinyint TINYINT, t_tinyint_u TINYINT UNSIGNED, t_smallint SMALLINT, t_smallint_u SMALLINT UNSIGNED,
  t_mediumint MEDIUMINT, t_mediumint_u MEDIUMINT UNSIGNED, t_int INT, t_int_u INT UNSIGNED,
  t_bigint BIGINT, t_bigint_u BIGINT UNSIGNED, t_bool BOOLEAN, t_bit1 BIT(1), t_bit17 BIT(17), t_bit64 BIT(64),
  t_float FLOAT, t_double DOUBLE, t_decimal DECIMAL(30,10), t_wide DECIMAL(65,30),
  t_date DATE, t_datetime DATETIME, t_datetime6 DATETIME(6), t_timestamp TIMESTAMP NULL, t_timestamp6 TIMESTAMP(6) NULL,
  t_time TIME, t_time6 TIME(6), t_year YEAR,
  t_char CHAR(10) CHARACTER SET utf8mb4, t_varchar VARCHAR(300) CHARACTER SET utf8mb4, t_latin1 VARCHAR(40) CHARACTER SET latin1,
  t_tinytext TINYTEXT, t_text TEXT, t_mediumtext MEDIUMTEXT, t_longtext LONGTEXT,
  t_binary BINARY(8), t_varbinary VARBINARY(40), t_tinyblob TINYBLOB, t_blob BLOB, t_mediumblob MEDIUMBLOB, t_longblob LONGBLOB,
  t_enum ENUM('small','medium','large'), t_set SET('red','green','blue'),
  t_json JSON, t_geometry GEOMETRY, t_point POINT{vector},
  t_stored INT AS (t_int % 1000) STORED, t_virtual VARCHAR(20) AS (CONCAT('v', t_smallint)) VIRTUAL,
  t_hidden INT DEFAULT 7 INVISIBLE
)";

/// Makes database, tables and accounts on both servers.
pub fn create(source: &MySql, target: &MySql, password: &str) -> Result<()> {
    for server in [source, target] {
        let vector = match has_vector(server)? {
            true => ", t_vector VECTOR(3)",
            false => "",
        };
        let every_type = EVERY_TYPE.replace("{vector}", vector);
        server.sql(&format!(
            "CREATE DATABASE {DATABASE}; USE {DATABASE}; {TABLES}; {every_type}"
        ))?;
    }
    accounts(source, target, password)
}

/// Those that Binferry uses, with no more than they need.
pub fn accounts(source: &MySql, target: &MySql, password: &str) -> Result<()> {
    source.sql(&format!(
        "CREATE USER {CAPTURE}@'%' IDENTIFIED BY '{password}';
         GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO {CAPTURE}@'%'"
    ))?;
    target.sql(&format!(
        "CREATE USER {APPLY}@'%' IDENTIFIED BY '{password}';
         GRANT ALL ON {DATABASE}.* TO {APPLY}@'%'; GRANT ALL ON binferry.* TO {APPLY}@'%'"
    ))?;
    Ok(())
}

/// VECTOR came with MySQL 9.
pub fn has_vector(server: &MySql) -> Result<bool> {
    let version = server.value("SELECT VERSION()")?;
    let major: u32 = version
        .split('.')
        .next()
        .unwrap_or_default()
        .parse()
        .unwrap_or(0);
    Ok(major >= 9)
}

/// The tables' names, sorted.
pub fn tables(server: &MySql) -> Result<Vec<String>> {
    let rows = server.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{DATABASE}' ORDER BY 1"
    ))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
