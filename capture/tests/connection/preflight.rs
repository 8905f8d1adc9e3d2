//! Each finding, on a server that is set up to give it.

use binferry_capture::client::Connection;
use binferry_capture::preflight::{Finding, Severity, SourceFacts, Wanted, check, refuse};
use binferry_schemas::address::Address;
use binferry_schemas::filter::TableFilter;
use binferry_servers::MySql;

use super::{address, root, server};

async fn findings(address: &Address) -> Vec<Finding> {
    let tables = TableFilter::default();
    let mut connection = Connection::open(address).await.unwrap();
    check(
        &mut connection,
        &Wanted {
            tables: &tables,
            copy: false,
        },
    )
    .await
    .unwrap()
}

async fn subjects(address: &Address, severity: Severity) -> Vec<String> {
    let found = findings(address).await;
    found
        .into_iter()
        .filter(|finding| finding.severity == severity)
        .map(|finding| finding.subject)
        .collect()
}

#[tokio::test]
async fn a_fit_source() {
    assert_eq!(findings(&root(server())).await, []);
}

#[tokio::test]
async fn privileges_directly_and_by_role() {
    let server = server();
    server
        .sql(
            "CREATE USER pre_none IDENTIFIED BY 'p', pre_role IDENTIFIED BY 'p', pre_slave IDENTIFIED BY 'p'; \
             CREATE ROLE pre_replica; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO pre_replica; \
             GRANT pre_replica TO pre_role; SET DEFAULT ROLE pre_replica TO pre_role; \
             GRANT REPLICATION SLAVE ON *.* TO pre_slave",
        )
        .unwrap();
    assert_eq!(findings(&address(server, "pre_role", "p")).await, []);
    let slave = address(server, "pre_slave", "p");
    assert_eq!(
        subjects(&slave, Severity::Blocking).await,
        Vec::<String>::new()
    );
    assert_eq!(
        subjects(&slave, Severity::Warning).await,
        ["REPLICATION CLIENT"]
    );
    let none = findings(&address(server, "pre_none", "p")).await;
    assert_eq!(none[0].subject, "REPLICATION SLAVE");
    assert_eq!(none[0].severity, Severity::Blocking);
    assert!(
        none[0]
            .remedy
            .as_ref()
            .unwrap()
            .starts_with("GRANT REPLICATION SLAVE ON *.* TO 'pre_none'")
    );
    assert!(
        refuse(&none)
            .unwrap_err()
            .to_string()
            .contains("REPLICATION SLAVE is not granted")
    );
}

#[tokio::test]
async fn settings() {
    let server = MySql::start().unwrap();
    let root = root(&server);
    for (setting, bad, good) in [
        ("gtid_mode", "ON_PERMISSIVE", "ON"),
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
        ("server_id", "0", "77"),
    ] {
        server
            .sql(&format!("SET GLOBAL {setting} = {bad}"))
            .unwrap();
        assert_eq!(subjects(&root, Severity::Blocking).await, [setting]);
        server
            .sql(&format!("SET GLOBAL {setting} = {good}"))
            .unwrap();
        assert_eq!(findings(&root).await, [], "{setting}");
    }
    for (setting, bad, good) in [
        ("binlog_expire_logs_seconds", "60", "0"),
        ("binlog_checksum", "NONE", "CRC32"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_image", "NOBLOB", "FULL"),
    ] {
        server
            .sql(&format!("SET GLOBAL {setting} = {bad}"))
            .unwrap();
        assert_eq!(subjects(&root, Severity::Warning).await, [setting]);
        server
            .sql(&format!("SET GLOBAL {setting} = {good}"))
            .unwrap();
    }
    server
        .sql("SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'")
        .unwrap();
    assert_eq!(findings(&root).await, []);
    server.sql("SET GLOBAL binlog_row_image = MINIMAL").unwrap();
    assert_eq!(
        subjects(&root, Severity::Blocking).await,
        ["binlog_row_value_options"]
    );

    server
        .restart_with(["--binlog-do-db=shop", "--log-replica-updates=OFF"])
        .unwrap();
    assert_eq!(subjects(&root, Severity::Blocking).await, ["binlog_do_db"]);
    server
        .sql("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_AUTO_POSITION = 1")
        .unwrap();
    assert_eq!(
        subjects(&root, Severity::Blocking).await,
        ["binlog_do_db", "log_replica_updates"]
    );
    server.restart_with(["--skip-log-bin"]).unwrap();
    assert_eq!(subjects(&root, Severity::Blocking).await[0], "log_bin");
}

#[tokio::test]
async fn facts() {
    let server = server();
    let mut connection = Connection::open(&root(server)).await.unwrap();
    let facts = SourceFacts::read(&mut connection).await.unwrap();
    assert_eq!(
        facts.server_uuid.to_string(),
        server.value("SELECT @@server_uuid").unwrap()
    );
    assert_eq!(facts.server_id, server.server_id());
    assert!(facts.version.number >= (8, 0, 0));
    let now = server.value("SELECT @@gtid_executed").unwrap();
    let now = now.parse::<binferry_schemas::gtid::GtidSet>().unwrap();
    assert!(now.contains_set(&facts.executed));
    assert!(facts.purged.is_empty());
}
