//! Tables that are not the same at both ends, or not for long.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use binferry_servers::{MySql, database, pair};

use super::{command, found, readers, told};
use crate::binferry::{Pipeline, done, eventually, refused};

/// Both servers with tables of their own, and the same rows.
fn tables(purpose: &str, here: &str, there: &str, rows: &str) -> Result<String> {
    let pair = pair()?;
    let database = database([&pair.source, &pair.target], purpose)?;
    for (server, tables) in [(&pair.source, here), (&pair.target, there)] {
        server.sql(&format!("USE `{database}`; {tables}; {rows}"))?;
    }
    readers(&pair.source, &pair.target, &database)?;
    Ok(database)
}

fn servers() -> Result<(&'static MySql, &'static MySql)> {
    let pair = pair()?;
    Ok((&pair.source, &pair.target))
}

/// Wider types, other character sets and collations, another order, a column and a key more: the same rows.
#[test]
fn what_carries_the_same_rows_is_no_difference() -> Result<()> {
    let (source, target) = servers()?;
    let database = tables(
        "diff_wider",
        "CREATE TABLE t (id INT ZEROFILL PRIMARY KEY, s VARCHAR(20) CHARACTER SET latin1, c CHAR(9), f FLOAT, x DECIMAL(9,2), at DATETIME(2),
           ts TIMESTAMP NULL, b BINARY(4), e ENUM('a','b'), u INT UNSIGNED);
         CREATE TABLE byname (name VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)",
        "CREATE TABLE t (u BIGINT UNSIGNED ZEROFILL, s TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, c VARCHAR(30) CHARACTER SET utf8mb3, f DOUBLE,
           x DECIMAL(12,4), at DATETIME(6), ts TIMESTAMP(3) NULL, b VARBINARY(9), e ENUM('b','x','a'), id BIGINT UNSIGNED PRIMARY KEY, more INT DEFAULT 7, KEY (e));
         CREATE TABLE byname (name VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY, v INT)",
        "INSERT INTO t (id, s, c, f, x, at, ts, b, e, u) VALUES (7, 'straße ', 'c', 1.5, 1.25, '2020-01-02 03:04:05.67', '2020-01-02 03:04:05', 'ab\\0\\0', 'b', 5),
           (8, NULL, '', -0.0, -1, '1000-01-01', NULL, NULL, 'a', 4294967295);
         INSERT INTO byname VALUES ('a', 1), ('B', 2), ('c', 3), ('É', 4), ('zz', 5)",
    )?;
    let all = found(&mut command(source, target, &database))?;
    ensure!(told(&all).is_empty(), "{all:#?}");
    let notes: Vec<&str> = all
        .iter()
        .filter_map(|line| line["definition"].as_str())
        .collect();
    for part in [
        "another order",
        "other types: int",
        "other collations",
        "column of its own, more",
    ] {
        ensure!(
            notes.iter().any(|note| note.contains(part)),
            "{part}: {notes:?}"
        );
    }
    target.sql(&format!(
        "UPDATE `{database}`.byname SET name = 'b' WHERE name = 'B'"
    ))?;
    target.sql(&format!(
        "UPDATE `{database}`.byname SET v = 6 WHERE name = 'zz'"
    ))?;
    target.sql(&format!(
        "UPDATE `{database}`.t SET s = 'strasse ' WHERE id = 7"
    ))?;
    let all = found(&mut command(source, target, &database))?;
    ensure!(
        told(&all)
            == [
                "byname differs zz v",
                "byname extra b",
                "byname missing B",
                "t differs 7 s"
            ],
        "{:#?}",
        told(&all)
    );
    Ok(())
}

#[test]
fn definitions_are_compared() -> Result<()> {
    let (source, target) = servers()?;
    let database = tables(
        "diff_defined",
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), c INT, UNIQUE KEY by_c (c)); CREATE TABLE here (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, a SMALLINT, c INT NOT NULL); CREATE TABLE there (id INT PRIMARY KEY)",
        "INSERT INTO t (id, a, c) VALUES (1, 1, 1)",
    )?;
    let all = found(&mut command(source, target, &database))?;
    let expected = [
        "here definition the target has no such table",
        "t definition the target lacks the column b",
        "t definition the target lacks the unique key by_c",
        "t definition the target's column a can't hold what the source's can: int and smallint",
        "t definition the target's column c can't hold what the source's can: int and int NOT NULL",
        "there definition the source has no such table",
    ];
    ensure!(told(&all) == expected, "{:#?}", told(&all));
    Ok(())
}

/// Dropped and made again, renamed and altered all the time, at either server; and then gone.
#[test]
fn a_table_that_is_dropped_meanwhile() -> Result<()> {
    let (source, target) = servers()?;
    let rows = "SET SESSION cte_max_recursion_depth = 100000;
         INSERT INTO t WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 30000) SELECT n, n FROM s";
    let table = "CREATE TABLE t (id INT PRIMARY KEY, v INT); CREATE TABLE u (id INT PRIMARY KEY)";
    let database = tables("diff_dropped", table, table, rows)?;
    let halt = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let changing = scope.spawn(|| -> Result<u32> {
            let mut times = 0;
            while !halt.load(Ordering::Relaxed) {
                for server in [source, target] {
                    server.sql(&format!(
                        "USE `{database}`; RENAME TABLE t TO gone; DROP TABLE u; ALTER TABLE gone ADD COLUMN x{times} INT; \
                         CREATE TABLE u (id INT PRIMARY KEY); RENAME TABLE gone TO t"
                    ))?;
                }
                times += 1;
            }
            Ok(times)
        });
        let compared = (0..4).try_for_each(|_| {
            // What is told depends on the moment; that it ends in an answer does not.
            let mut command = command(source, target, &database);
            let output = crate::binferry::output(command.args(["--retry-for", "1s"]))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            ensure!(
                matches!(code, Some(0 | 1)) || code == Some(3) && said.contains("redefined"),
                "exit {code:?}: {said}"
            );
            Ok(())
        });
        halt.store(true, Ordering::Relaxed);
        let times = changing
            .join()
            .map_err(|_| anyhow::anyhow!("the changes panicked"))??;
        ensure!(times > 0, "nothing was changed");
        compared
    })?;
    for server in [source, target] {
        server.sql(&format!("DROP TABLE `{database}`.t"))?;
    }
    ensure!(found(&mut command(source, target, &database))?.is_empty());
    Ok(())
}

#[test]
fn what_cannot_be_compared_is_refused() -> Result<()> {
    let (source, target) = servers()?;
    let table = "CREATE TABLE t (id INT PRIMARY KEY)";
    let database = tables("diff_refused", table, table, "INSERT INTO t VALUES (1)")?;
    let mut none = command(source, target, "no_such_database");
    refused(&mut none, 2, &["no table", "GRANT SELECT"])?;
    let mut unknown = command(source, target, &database);
    refused(
        unknown.args(["--stream", "never applied"]),
        2,
        &["has never been applied"],
    )?;
    let mut files = command(source, target, &database);
    refused(files.args(["--workers", "0"]), 2, &["--workers 0"])?;
    Ok(())
}

/// A comparison that was cut off goes on where it was, and tells again what it had found.
#[test]
fn it_goes_on_where_it_was() -> Result<()> {
    let (source, target) = servers()?;
    let rows = "SET SESSION cte_max_recursion_depth = 400000;
         INSERT INTO t WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300000) SELECT n, n FROM s";
    let table = "CREATE TABLE t (id INT PRIMARY KEY, v INT)";
    let database = tables("diff_resumed", table, table, rows)?;
    target.sql(&format!(
        "UPDATE `{database}`.t SET v = -1 WHERE id IN (5, 299995)"
    ))?;
    let folder = tempfile::TempDir::new()?;
    let state = folder.path().join("state");
    let mut first = command(source, target, &database);
    first.arg("--state").arg(&state).args(["--workers", "1"]);
    let mut child = first
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    eventually("the first range is done", || {
        Ok(std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"upto\":[[")))
    })?;
    child.kill()?;
    child.wait()?;
    // Cut off in the middle of a line.
    let mut text = std::fs::read(&state)?;
    text.extend_from_slice(b"{\"done\":{\"data");
    std::fs::write(&state, text)?;
    for _ in 0..2 {
        let mut again = command(source, target, &database);
        let all = found(again.arg("--state").arg(&state))?;
        ensure!(
            told(&all) == ["t differs 299995 v", "t differs 5 v"],
            "{:?}",
            told(&all)
        );
    }
    let mut other = command(source, target, "other");
    refused(other.arg("--state").arg(&state), 2, &["another comparison"])?;
    Ok(())
}

/// Behind a stream that is stopped, everything that is new at the source waits; a difference among it is found once the stream goes on.
#[test]
fn it_waits_for_a_stream_that_is_behind() -> Result<()> {
    let (source, target) = servers()?;
    let table = "CREATE TABLE t (id INT PRIMARY KEY, v INT)";
    let database = tables(
        "diff_behind",
        table,
        table,
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    )?;
    let pipeline = Pipeline::new(source, target, &database)?;
    readers(source, target, &database)?;
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (3, 3)"))?;
    done(pipeline.command("run").args(["--until", "now"]))?;
    target.sql(&format!("UPDATE `{database}`.t SET v = 9 WHERE id = 2"))?;
    source.sql(&format!("UPDATE `{database}`.t SET v = 7 WHERE id = 1"))?;
    let mut comparing = command(source, target, &database);
    comparing.args(["--stream", &pipeline.stream]);
    let comparing = std::thread::spawn(move || found(&mut comparing));
    // It can't have an answer before the stream goes on.
    std::thread::sleep(std::time::Duration::from_millis(300));
    ensure!(!comparing.is_finished(), "it has not waited");
    done(pipeline.command("run").args(["--until", "now"]))?;
    let all = comparing
        .join()
        .map_err(|_| anyhow::anyhow!("panicked"))??;
    ensure!(told(&all) == ["t differs 2 v"], "{all:?}");
    Ok(())
}
