//! One transaction of 1 GiB through `binferry run`: the peak memory of the process.

use std::path::Path;

use anyhow::{Result, ensure};
use binferry_servers::Pair;
use tempfile::TempDir;

use crate::{
    Figure,
    load::users,
    process::{binferry, timed},
};

pub fn run(program: &Path) -> Result<Vec<Figure>> {
    let pair = Pair::start()?;
    for server in [&pair.source, &pair.target] {
        users(server)?;
        server.sql(
            "CREATE TABLE sbtest.wide (id INT PRIMARY KEY, pad VARCHAR(1100) CHARACTER SET latin1)",
        )?;
    }
    let from = pair
        .source
        .value("SELECT @@GLOBAL.gtid_executed")?
        .replace('\n', "");
    eprintln!("memory: writing one transaction of 1 GiB");
    pair.source.sql(
        "SET SESSION cte_max_recursion_depth = 2000000;
         INSERT INTO sbtest.wide WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000000) SELECT n, REPEAT('x', 1080) FROM s",
    )?;
    let folder = TempDir::new()?;
    let timed = timed(
        binferry(program, "run")
            .args([
                "--source",
                &pair.source.url("bench"),
                "--target",
                &pair.target.url("bench"),
                "--from",
                &from,
                "--until",
                "now",
            ])
            .arg("--log")
            .arg(folder.path().join("log")),
    )?;
    let rows = pair.target.value("SELECT COUNT(*) FROM sbtest.wide")?;
    ensure!(rows == "1000000", "{rows} rows at the target");
    Ok(vec![Figure {
        what: "one transaction of 1 GiB (a million rows) through `run`".into(),
        value: format!(
            "{:.0} s, peak memory {} MiB",
            timed.seconds,
            timed.peak_bytes >> 20
        ),
    }])
}
