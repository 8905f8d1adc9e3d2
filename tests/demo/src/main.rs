//! `make demo`: a source and a target MySQL, a load on the source, and `binferry run` between them, which is killed four times
//! while the target is restarted once. At the end an independent judge (see `judge`) compares the servers.
//!
//! ```text
//! binferry-demo [--binferry PATH] [--seconds N] [--rate N] [--connections N] [--seed N] [--kills N] [--kafka BROKERS] [--minutes N]
//! ```
//!
//! `make soak` is the same with `--kills`: so many SIGKILLs at random moments of the load, and a restart of the target for every ten.
//! With `--minutes` it is the soak of appliers (see `appliers`): two on one target, paused, killed and cut off.
//! With `--kafka` the log is in a Kafka cluster of so many brokers, and one of them is killed for every ten kills of ours: the leader.
//!
//! Exit code 0 means that everything was proved.

mod appliers;
mod chance;
mod figures;
mod judge;
mod lag;
mod load;
mod pipeline;
mod schema;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use story::Options;

const USAGE: &str = "usage: binferry-demo [--binferry PATH] [--seconds N] [--rate N] [--connections N] [--seed N] [--kills N] [--kafka BROKERS] [--minutes N]";

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| match options.minutes {
        0 => story::tell(&options),
        minutes => appliers::soak(&options, minutes),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        binary: beside()?,
        seconds: 70,
        rate: 600,
        connections: 6,
        kills: 0,
        kafka: 0,
        minutes: 0,
        seed: std::time::UNIX_EPOCH.elapsed()?.as_secs() % 1_000_000,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().context(USAGE)?;
        let number = || {
            value
                .parse()
                .with_context(|| format!("{name} {value}: not a number"))
        };
        match name.as_str() {
            "--binferry" => options.binary = PathBuf::from(value),
            "--seconds" => options.seconds = number()?,
            "--rate" => options.rate = number()?,
            "--connections" => options.connections = number()?,
            "--kills" => options.kills = number()?,
            "--kafka" => options.kafka = number()?,
            "--minutes" => options.minutes = number()?,
            "--seed" => options.seed = number()?,
            _ => bail!("{name}: unknown; {USAGE}"),
        }
    }
    if !options.binary.is_file() {
        bail!(
            "{}: not there; build it (cargo build --release -p binferry), or name another with --binferry",
            options.binary.display()
        );
    }
    Ok(options)
}

/// Both are built into the same folder.
fn beside() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("binferry"))
}
