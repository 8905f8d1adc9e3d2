//! Every GTID is accounted for: what the source says that it executed is in the log, or the capture stops and shows what is not.

use anyhow::{Result, ensure};
use binferry_servers::Pair;

use crate::{
    binferry::{Pipeline, executed, output, refused},
    faults::proved,
    load::{Load, prepare},
};

const STRANGER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

#[test]
fn at_each_rotation_and_at_the_end() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("accounts")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("run")?;
    let load = Load::start(&pair.source, &database, 31);
    for _ in 0..6 {
        load.wait_for(20)?;
        pair.source.sql("FLUSH BINARY LOGS")?;
    }
    pair.source.sql(&format!(
        "SET gtid_next = '{STRANGER}:7'; BEGIN; COMMIT; SET gtid_next = 'AUTOMATIC'"
    ))?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    // The stop asks the source once more.
    running.stop()?;

    // Set by hand, they will never be sent. The server leaves them out of what its files state, so the end is where it shows.
    let mut running = pipeline.start("capture")?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.item (id, code) VALUES (1000000, 1000000)"
    ))?;
    crate::binferry::eventually("it goes on", || {
        let status = output(pipeline.command("status").arg("--json"))?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let held: binferry_schemas::gtid::GtidSet = status["log"]["gtids"]
            .as_str()
            .unwrap_or_default()
            .parse()?;
        Ok(held.contains_set(&executed(&pair.source)?.parse()?))
    })?;
    pair.source.sql(&format!(
        "SET GLOBAL gtid_purged = '+{STRANGER}:1-3'; FLUSH BINARY LOGS"
    ))?;
    running.signal("TERM")?;
    let code = running.wait(std::time::Duration::from_secs(60))?;
    let said = running.said()?;
    ensure!(code == Some(3), "exit {code:?}: {said}");
    ensure!(said.contains(&format!("{STRANGER}:1-3")), "{said}");
    ensure!(said.contains("transactions are lost"), "{said}");
    refused(
        &mut pipeline.command("capture"),
        3,
        &[&format!("{STRANGER}:1-3")],
    )?;
    Ok(())
}
