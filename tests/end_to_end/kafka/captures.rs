//! Two captures of one source on one log: a zombie and its successor. Every reader sees each transaction once and in order.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use binferry_servers::{kafka, pair};

use crate::{
    binferry::{Pipeline, Running, eventually},
    faults::proved,
    load::{Load, prepare},
};

#[test]
fn a_zombie_and_its_successor() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_zombie")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let mut captures: Vec<Running> = Vec::new();
    let start = |n: usize| pipeline.start_command(pipeline.command("capture"), &format!("c{n}"));
    captures.push(start(0)?);
    eventually("it captures", || {
        Ok(captures[0].said()?.contains("capturing"))
    })?;
    let apply = pipeline.start("apply")?;
    let load = Load::start(&pair.source, &database, 71);
    load.wait_for(40)?;
    let mut ended = 0;
    for n in 1..=6usize {
        // The older one stops in the middle of whatever it does, with records on their way.
        let older = captures.last().context("there is one")?;
        if n % 3 != 0 {
            older.signal("STOP")?;
        }
        let next = start(n)?;
        if n % 3 == 0 {
            // Both start at once, and one of them wins.
            captures.push(start(n + 10)?);
        }
        // Of two, one may end the other before that has begun.
        let rival = captures.last().filter(|_| n % 3 == 0);
        eventually("a successor captures", || {
            let said = rival.map_or(Ok(String::new()), Running::said)?;
            Ok(said.contains("capturing") || next.said()?.contains("capturing"))
        })?;
        load.wait_for(20)?;
        for zombie in &captures {
            // It may have ended itself.
            let _ = zombie.signal("CONT");
        }
        load.wait_for(20)?;
        if n % 2 == 0
            && let Some(mut older) = captures.pop()
        {
            if older.running()? {
                older.kill()?;
            } else {
                ended += 1;
            }
        }
        captures.push(next);
    }
    // Whatever is left fights it out; at least one more is started so that somebody goes on.
    let last = start(99)?;
    eventually("the last one captures", || {
        Ok(last.said()?.contains("capturing"))
    })?;
    load.wait_for(40)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    for mut zombie in captures {
        let code = zombie.wait(Duration::from_secs(60))?;
        let said = zombie.said()?;
        ensure!(code == Some(2), "a zombie ends with {code:?}: {said}");
        // The log tells it, or the source, which lets one replica of a log read.
        let told = ["a newer capture", "another replica with our server_id"];
        ensure!(told.iter().any(|text| said.contains(text)), "{said}");
        ended += 1;
    }
    ensure!(ended > 0, "nobody was a zombie");
    // Every reader: in the order of the source, each once.
    let mut order: HashMap<String, u64> = HashMap::new();
    let mut changes = 0;
    let mut whole = true;
    for line in pipeline.tail()? {
        let gtid = line["gtid"].as_str().context("a GTID")?;
        let (uuid, number) = gtid.split_once(':').context("a GTID")?;
        let number: u64 = number.parse()?;
        let before = order.insert(uuid.to_owned(), number).unwrap_or(0);
        ensure!(
            if whole {
                number > before
            } else {
                number == before
            },
            "{gtid} after {before}"
        );
        whole = line["last"] == true;
        changes += 1;
    }
    ensure!(changes > 200 && whole, "{changes} changes");
    last.stop()?;
    apply.stop()
}
