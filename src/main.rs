//! The `binferry` program: commands, configuration, progress. It wires the crates together and holds no logic of theirs.

mod cli;
mod commands;
mod failure;
mod http;
mod logging;
mod progress;
mod rows;
mod stop;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use failure::Failure;
use indicatif::MultiProgress;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; everything else is usage, exit 2.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match start(cli) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("binferry: {failure}");
            failure.exit()
        }
    }
}

fn start(cli: Cli) -> Result<ExitCode, Failure> {
    let Some(options) = cli.command.options() else {
        return commands::print::run(&cli.command);
    };
    let options = options.clone().with_file()?;
    let bars = MultiProgress::new();
    logging::start(options.log_format.unwrap_or_default(), &bars);
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return Err(Failure::defect("a TLS provider was installed already"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::defect(format!("the async runtime does not start: {e}")))?;
    let code = runtime.block_on(async {
        match &cli.command {
            Command::Run(_) => commands::run::run(&options, &bars).await,
            Command::Capture(_) => commands::capture::run(&options, &bars).await,
            Command::Apply(_) => commands::apply::run(&options, &bars).await,
            Command::Tail(_) => commands::tail::run(&options).await,
            Command::Check(_) => commands::check::run(&options).await,
            Command::Status(asked) => {
                let watch = asked.watch.map(std::time::Duration::from_secs);
                commands::status::run(&options, watch).await
            }
            Command::Wait(_) => commands::wait::run(&options).await,
            Command::Snapshot(_) => commands::snapshot::run(&options).await,
            Command::Skip(_) => commands::skip::run(&options).await,
            Command::Diff(_) => commands::diff::run(&options, &bars).await,
            Command::Conflicts(asked) => commands::conflicts::run(&options, &asked.action).await,
            Command::Readers(_) => commands::readers::run(&options).await,
            Command::Config(_) | Command::Completions { .. } | Command::Man { .. } => {
                commands::print::run(&cli.command)
            }
        }
    });
    // A blocking read of a stalled server must not hold the exit back: everything durable is durable by now.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}
