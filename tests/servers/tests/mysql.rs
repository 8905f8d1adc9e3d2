//! The servers themselves, on whatever way works here.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use binferry_servers::{CommitFault, MySql, Proxy, pair};
use mysql_async::prelude::Queryable;

/// Set in the process that the test below starts to be killed.
const VICTIM: &str = "BINFERRY_SERVERS_VICTIM";

#[test]
fn killed_and_started_again_with_its_rows() {
    let server = MySql::builder()
        .server_id(77)
        .arg("--binlog-row-image=MINIMAL")
        .start()
        .unwrap();
    server
        .sql("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b TEXT); INSERT INTO d.t VALUES (1, 'x'), (2, NULL)")
        .unwrap();
    let identity = "SELECT @@server_id, @@port, @@binlog_row_image, @@gtid_mode, @@server_uuid";
    let before = server.sql(identity).unwrap();
    assert!(before.starts_with(&format!("77\t{}\tMINIMAL\tON\t", server.port())));
    server.kill().unwrap();
    assert!(server.sql("SELECT 1").is_err());
    assert_eq!(server.pid(), None);
    server.start_again().unwrap();
    assert_eq!(server.sql("SELECT * FROM d.t").unwrap(), "1\tx\n2\tNULL");
    assert_eq!(server.sql(identity).unwrap(), before);
    server.restart_with(["--binlog-row-image=FULL"]).unwrap();
    assert_eq!(server.value("SELECT @@binlog_row_image").unwrap(), "FULL");
    assert!(server.peak_memory().unwrap() > 10 << 20);
}

#[test]
fn several_servers_with_histories_of_their_own() {
    let pair = pair().unwrap();
    let name = pair.database("histories").unwrap();
    let uuid = "SELECT @@server_uuid";
    assert_ne!(
        pair.source.value(uuid).unwrap(),
        pair.target.value(uuid).unwrap()
    );
    assert_ne!(pair.source.server_id(), pair.target.server_id());
    pair.source
        .sql(&format!("CREATE TABLE `{name}`.t (a INT)"))
        .unwrap();
    assert!(
        pair.target
            .sql(&format!("SELECT * FROM `{name}`.t"))
            .is_err()
    );
}

#[test]
fn mysqlbinlog_and_the_client_run() {
    let pair = pair().unwrap();
    let output = pair
        .source
        .mysqlbinlog()
        .unwrap()
        .args(["--read-from-remote-server", "binlog.000001"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("Start: binlog v 4"), "{output:?}");
    let output = pair
        .source
        .client()
        .unwrap()
        .args(["-N", "-e", "SELECT @@port"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        pair.source.port().to_string()
    );
}

#[test]
fn a_paused_server_keeps_connections_and_answers_nothing() {
    let server = MySql::start().unwrap();
    server.pause().unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.sql("SELECT 1"));
        std::thread::sleep(Duration::from_millis(700));
        assert!(!asked.is_finished());
        server.resume().unwrap();
        assert_eq!(asked.join().unwrap().unwrap(), "1");
    });
    assert!(started.elapsed() >= Duration::from_millis(700));
}

#[test]
fn options_that_do_not_exist_show_the_log() {
    let error = MySql::builder()
        .arg("--no-such-option")
        .start()
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("unknown option '--no-such-option'"),
        "{error}"
    );
}

#[test]
fn removed_when_a_test_panics() {
    let (sent, received) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let server = MySql::start().unwrap();
        sent.send((server.pid(), server.data_dir())).unwrap();
        panic!("as a failing test does");
    })
    .join();
    assert!(panicked.is_err());
    let (pid, data) = received.recv().unwrap();
    assert!(!alive(pid.unwrap()));
    assert!(!data.unwrap().exists());
}

/// Started by [`removed_when_the_process_is_killed`], in a process of its own; does nothing in a normal run.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let server = pair().unwrap();
    println!(
        "\nserver {} {}",
        server.source.pid().unwrap(),
        server.source.data_dir().unwrap().display()
    );
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn removed_when_the_process_is_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("server "))
        .unwrap();
    let mut words = line.split(' ').skip(1);
    let pid: u32 = words.next().unwrap().parse().unwrap();
    let data = PathBuf::from(words.next().unwrap());
    assert!(alive(pid) && data.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while alive(pid) || data.exists() {
        assert!(
            Instant::now() < deadline,
            "{pid} or {data:?} is still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn alive(pid: u32) -> bool {
    // A zombie waits for its parent to look at it, and is as dead as can be.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

fn opts(server: &MySql, proxy: &Proxy) -> mysql_async::Opts {
    mysql_async::OptsBuilder::from_opts(server.opts())
        .tcp_port(proxy.port())
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_and_a_lost_request_look_the_same_to_the_client() {
    let server = &pair().unwrap().source;
    let name = pair().unwrap().database("commit").unwrap();
    server
        .sql(&format!("CREATE TABLE `{name}`.t (a INT PRIMARY KEY)"))
        .unwrap();
    let proxy = Proxy::to(server).unwrap();
    for (fault, value) in [(CommitFault::LoseAnswer, 1), (CommitFault::LoseRequest, 2)] {
        for one_packet in [false, true] {
            let mut connection = mysql_async::Conn::new(opts(server, &proxy)).await.unwrap();
            let insert = format!(
                "INSERT INTO `{name}`.t VALUES ({value}{})",
                u8::from(one_packet)
            );
            proxy.fail_next_commit(fault);
            let committed = if one_packet {
                let all = format!("BEGIN; {insert}; SELECT 1; COMMIT");
                match connection.query_iter(all).await {
                    Ok(result) => result.drop_result().await,
                    Err(error) => Err(error),
                }
            } else {
                connection.query_drop("BEGIN").await.unwrap();
                connection.query_drop(insert).await.unwrap();
                connection.query_drop("COMMIT").await
            };
            assert!(committed.is_err(), "{fault:?}");
        }
    }
    assert_eq!(proxy.commits_failed(), 4);
    assert_eq!(
        server.sql(&format!("SELECT * FROM `{name}`.t")).unwrap(),
        "10\n11"
    );
    // Armed once, it fails once.
    let mut connection = mysql_async::Conn::new(opts(server, &proxy)).await.unwrap();
    connection.query_drop("BEGIN; COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_stalled_delayed_and_refused() {
    let server = &pair().unwrap().source;
    let proxy = Proxy::to(server).unwrap();
    let mut connection = mysql_async::Conn::new(opts(server, &proxy)).await.unwrap();

    proxy.delay(Duration::from_millis(60), Duration::from_millis(40));
    let started = Instant::now();
    connection.query_drop("SELECT 1").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(100));
    proxy.delay(Duration::ZERO, Duration::ZERO);

    proxy.stall(true);
    let mut query = Box::pin(connection.query_drop("SELECT 1"));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut query).await;
    assert!(waited.is_err());
    proxy.stall(false);
    query.await.unwrap();

    proxy.cut();
    assert!(connection.query_drop("SELECT 1").await.is_err());
    let mut connection = mysql_async::Conn::new(opts(server, &proxy)).await.unwrap();

    proxy.refuse(true);
    assert!(mysql_async::Conn::new(opts(server, &proxy)).await.is_err());
    connection.query_drop("SELECT 1").await.unwrap();
    assert_eq!(proxy.accepted(), 2);
}
