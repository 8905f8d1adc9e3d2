//! What a service manager is told.

use std::{os::unix::net::UnixDatagram, time::Duration};

use anyhow::{Context, Result, ensure};
use binferry_servers::{Proxy, pair};

use crate::binferry::{Pipeline, TARGET_USER};

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    /// The first message from now on that says it; READY is not said on the way there.
    fn hears(&self, what: &str) -> Result<String> {
        let mut buffer = [0; 4096];
        loop {
            let length = (self.0.recv(&mut buffer)).with_context(|| format!("no {what:?}"))?;
            let text = String::from_utf8(buffer[..length].to_vec())?;
            if text.contains(what) {
                return Ok(text);
            }
            ensure!(!text.contains("READY=1"), "ready before {what:?}: {text}");
        }
    }
}

#[test]
fn it_is_told_what_is_ready_and_the_watchdog_is_for_links_that_stall() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("service")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "CREATE TABLE {database}.item (id INT PRIMARY KEY)"
        ))?;
    }
    let proxy = Proxy::to(&pair.target)?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.target = proxy.url(TARGET_USER);
    let path = pipeline.folder.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path)?);
    manager.0.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut command = pipeline.command("run");
    command
        .args(["--stall-after", "15s"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "30000000");
    let mut running = pipeline.start_command(command, "run")?;
    let insert = |id: u32| {
        pair.source
            .sql(&format!("INSERT INTO {database}.item VALUES ({id})"))
    };

    manager.hears("READY=1")?;
    manager.hears("WATCHDOG=1")?;
    // Known to be away, and tried again: a new start would not help.
    proxy.refuse(true);
    proxy.cut();
    insert(1)?;
    let away = manager.hears("STATUS=apply: ")?;
    ensure!(away.contains("WATCHDOG=1"), "{away}");
    proxy.refuse(false);
    manager.hears("transactions behind")?;
    // Open, and nothing comes through.
    proxy.stall(true);
    insert(2)?;
    let stalled = manager.hears("nothing has moved")?;
    ensure!(!stalled.contains("WATCHDOG=1"), "{stalled}");
    proxy.stall(false);
    manager.hears("WATCHDOG=1")?;

    running.signal("TERM")?;
    manager.hears("STOPPING=1")?;
    let code = running.wait(Duration::from_secs(60))?;
    ensure!(code == Some(0), "exit {code:?}: {}", running.said()?);
    Ok(())
}
