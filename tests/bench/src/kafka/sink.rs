//! From Kafka to a target: `binferry apply` from our log, beside Debezium's JDBC sink from its topics, of the same binlog.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;

use super::{
    Broker,
    catch_up::{Log, ours, theirs},
};
use crate::{
    backlog::{Durability, apply},
    debezium::{Artifacts, Debezium, Tuning, sink_version},
    load::{Loaded, TABLES, users},
    median,
    process::{cpu_seconds, timed},
    settings::Settings,
    table::Table,
};

/// A target without work for so long has all of it, or never will.
const IDLE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(900);

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let artifacts = Artifacts::fetch()?;
    let broker = Broker::start()?;
    let loaded = Loaded::of(&[], settings.transactions)?;
    let (mine, name) = ("sink", "peer");
    eprintln!("sink: filling the topics");
    let log = Log::Kafka {
        name: mine,
        codec: "lz4",
    };
    ours(program, &loaded, &broker, &log)?;
    theirs(&artifacts, &loaded, &broker, name, Tuning::Sink)?;
    let (mut sink, mut apply_, mut peaks) = (Vec::new(), Vec::new(), [0, 0]);
    for round in 1..=settings.rounds {
        let (seconds, peak) = pour(&artifacts, &loaded, &broker, name, round)?;
        let target = target(&loaded)?;
        let url = target.url("bench");
        let timed = timed(&mut apply(
            program,
            &url,
            Path::new(&broker.log(mine)),
            settings.workers,
        ))?;
        equal(&loaded, &target)?;
        eprintln!(
            "sink: round {round}: Debezium's {seconds:.1} s, apply {:.2} s",
            timed.seconds
        );
        peaks = [peaks[0].max(peak), peaks[1].max(timed.peak_bytes)];
        sink.push(seconds);
        apply_.push(timed.seconds);
    }
    let ratios = sink.iter().zip(&apply_).map(|(sink, apply)| sink / apply);
    let ratio = median(ratios.collect());
    let rate = |seconds: f64| format!("{:.1} k/s", loaded.rows as f64 / seconds / 1e3);
    let mut table = Table::new(
        format!(
            "From Kafka to a durable target: {} transactions, {} row changes of oltp_write_only, with what fills its tables",
            loaded.transactions, loaded.rows
        ),
        ["side", "row changes", "peak memory"],
    );
    table.row([
        format!(
            "Debezium {} JDBC sink, 4 tasks, batches of 5,000, reduction buffer; first row to last, Java's start left out",
            sink_version().unwrap_or_default()
        ),
        rate(median(sink)),
        format!("{} MiB", peaks[0] >> 20),
    ]);
    table.row([
        "`binferry apply`, before images checked; start and stop included".to_owned(),
        rate(median(apply_)),
        format!("{} MiB", peaks[1] >> 20),
    ]);
    table.row([
        "**apply against the sink**, median of pairs".to_owned(),
        format!("**{ratio:.1} x**"),
        String::new(),
    ]);
    Ok(vec![table])
}

/// With the tables, empty.
fn target(loaded: &Loaded) -> Result<MySql> {
    let target = MySql::builder()
        .arg("--innodb-buffer-pool-size=512M")
        .args(Durability::Durable.args())
        .start()?;
    users(&target)?;
    target.sql(&format!("USE sbtest; {}", loaded.schema))?;
    Ok(target)
}

/// All of the topics, by the sink: seconds from the first work that the target sees to the last, and the peak of its memory.
fn pour(
    artifacts: &Artifacts,
    loaded: &Loaded,
    broker: &Broker,
    name: &str,
    round: usize,
) -> Result<(f64, u64)> {
    let target = target(loaded)?;
    let mut sink = Debezium::sink(artifacts, &broker.bootstrap(), &target, name, round)?;
    let before = work(&target)?;
    sink.resume()?;
    let begun = Instant::now();
    let (mut done, mut first, mut last) = (before, None, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = work(&target)?;
        if now != done {
            last = Instant::now();
            first.get_or_insert(last);
            done = now;
        } else if first.is_some() && last.elapsed() > IDLE {
            break;
        }
        sink.check()?;
        ensure!(
            begun.elapsed() < LONGEST,
            "the sink does not come to an end"
        );
    }
    let pid = sink.pid();
    let peak = binferry_servers::peak_memory(pid).context("the sink is gone")?;
    eprintln!("sink: CPU {:.0} s", cpu_seconds(pid).unwrap_or_default());
    equal(loaded, &target).context("what the sink has written")?;
    let first = first.context("the sink has written nothing")?;
    Ok((last.duration_since(first).as_secs_f64(), peak))
}

/// Grows with each row.
fn work(target: &MySql) -> Result<u64> {
    let sum = target.value(
        "SELECT CAST(SUM(variable_value) AS UNSIGNED) FROM performance_schema.global_status
         WHERE variable_name IN ('Innodb_rows_inserted', 'Innodb_rows_updated', 'Innodb_rows_deleted')",
    )?;
    Ok(sum.parse()?)
}

fn equal(loaded: &Loaded, target: &MySql) -> Result<()> {
    for n in 1..=TABLES {
        let sum = |server: &MySql| server.sql(&format!("CHECKSUM TABLE sbtest.sbtest{n}"));
        let (s, t) = (sum(&loaded.source)?, sum(target)?);
        ensure!(s == t, "sbtest{n} differs: {s}, {t}");
    }
    Ok(())
}
