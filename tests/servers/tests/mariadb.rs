//! MariaDB servers of both release lines, on whatever way works here.

use binferry_servers::{MySql, Release, database, mariadb};

const RELEASES: [(Release, &str); 2] = [
    (Release::MariaDb10_11, "10.11."),
    (Release::MariaDb11_8, "11.8."),
];

#[test]
fn killed_and_started_again_with_their_rows() {
    for (release, version) in RELEASES {
        let server = MySql::builder()
            .release(release)
            .server_id(77)
            .arg("--binlog-row-image=MINIMAL")
            .start()
            .unwrap();
        let printed = server.value("SELECT VERSION()").unwrap();
        assert!(printed.starts_with(version), "{printed}");
        assert!(printed.contains("MariaDB"), "{printed}");
        server
            .sql("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b TEXT); INSERT INTO d.t VALUES (1, 'x'), (2, NULL)")
            .unwrap();
        let identity = "SELECT @@server_id, @@port, @@binlog_row_image, @@gtid_strict_mode, @@gtid_binlog_pos, @@character_set_server";
        let before = server.sql(identity).unwrap();
        let expected = format!("77\t{}\tMINIMAL\t1\t0-77-3\tutf8mb4", server.port());
        assert_eq!(before, expected);
        server.kill().unwrap();
        assert!(server.sql("SELECT 1").is_err());
        assert_eq!(server.pid(), None);
        server.start_again().unwrap();
        assert_eq!(server.sql("SELECT * FROM d.t").unwrap(), "1\tx\n2\tNULL");
        assert_eq!(server.sql(identity).unwrap(), before);
        server.restart_with(["--binlog-row-image=FULL"]).unwrap();
        assert_eq!(server.value("SELECT @@binlog_row_image").unwrap(), "FULL");
        assert_eq!(
            server.value("SELECT @@binlog_row_metadata").unwrap(),
            "FULL"
        );
    }
}

#[test]
fn shared_ones_with_their_own_programs() {
    for (release, _) in RELEASES {
        let server = mariadb(release).unwrap();
        assert_eq!(server.release(), release);
        let name = database([server], "programs").unwrap();
        server
            .sql(&format!("CREATE TABLE `{name}`.t (a INT)"))
            .unwrap();
        let output = server
            .mysqlbinlog()
            .unwrap()
            .args(["--read-from-remote-server", "binlog.000001"])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("Start: binlog v 4"), "{output:?}");
        let output = server
            .client()
            .unwrap()
            .args(["-N", "-e", "SELECT @@port"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            server.port().to_string(),
            "{output:?}"
        );
    }
}

#[test]
fn options_that_do_not_exist_show_the_log() {
    let error = MySql::builder()
        .release(Release::MariaDb11_8)
        .arg("--no-such-option")
        .start()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unknown option '--no-such-option'"),
        "{error}"
    );
}
