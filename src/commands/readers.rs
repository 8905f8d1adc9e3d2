//! `readers`: who holds the log back, and the way to let go of one that is gone for good.

use std::{io::Write, process::ExitCode};

use crate::{cli::Options, failure::Failure};

pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let log = super::open_log(options).await?;
    if let Some(name) = &options.remove {
        if !log.unregister(name).await? {
            return Err(Failure::usage(format!(
                "--remove {name}: the log has no reader of that name"
            )));
        }
        eprintln!("reader {name} is removed: retention no longer waits for it");
        return Ok(ExitCode::SUCCESS);
    }
    let bounds = log.bounds().await?;
    let mut out = std::io::stdout().lock();
    for reader in log.registrations().await? {
        let behind = bounds.end.0.saturating_sub(reader.needs.0);
        let age = reader.updated.elapsed().unwrap_or_default().as_secs();
        let _ = writeln!(
            out,
            "{}\tneeds offset {}\t{behind} records behind the end\tlast seen {age} s ago",
            reader.name, reader.needs.0
        );
    }
    Ok(ExitCode::SUCCESS)
}
