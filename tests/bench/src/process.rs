//! A command timed as a whole, with what the kernel says of its memory and CPU.

use std::{
    io::{Read, Seek},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub const PASSWORD: &str = "bench";

#[derive(Debug, Clone, Copy)]
pub struct Timed {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_bytes: u64,
}

/// A command of it as it comes.
pub fn plain(program: &Path, command: &str) -> Command {
    let mut c = Command::new(program);
    c.arg(command)
        .env("BINFERRY_SOURCE_PASSWORD", PASSWORD)
        .env("BINFERRY_TARGET_PASSWORD", PASSWORD);
    c
}

pub fn binferry(program: &Path, command: &str) -> Command {
    let mut c = plain(program, command);
    // Targets get their tables with the benchmark's own hand.
    if matches!(command, "run" | "apply") {
        c.args(["--ddl", "ignore"]);
    }
    c
}

/// Runs it to its end, which must be good.
pub fn timed(command: &mut Command) -> Result<Timed> {
    let mut said = tempfile::tempfile()?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .spawn()?;
    let (mut peak, mut cpu) = (0, 0.0);
    let status = loop {
        // VmHWM only grows; the last look before the end is at most this much too early.
        peak = binferry_servers::peak_memory(child.id())
            .unwrap_or(peak)
            .max(peak);
        cpu = cpu_seconds(child.id()).unwrap_or(cpu);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if !status.success() {
        let mut words = String::new();
        said.rewind()?;
        said.read_to_string(&mut words)?;
        bail!("{:?} ended with {status}: {words}", command.get_program());
    }
    Ok(Timed {
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: cpu,
        peak_bytes: peak,
    })
}

/// CPU seconds of other processes while something runs, in the order given.
pub fn while_running<T>(pids: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    let read = || -> Result<Vec<f64>> {
        pids.iter()
            .map(|pid| cpu_seconds(*pid).with_context(|| format!("process {pid} is gone")))
            .collect()
    };
    let before = read()?;
    let done = work()?;
    let spent = read()?.iter().zip(&before).map(|(a, b)| a - b).collect();
    Ok((done, spent))
}

/// User and system time (proc(5), /proc/pid/stat, fields 14 and 15), in hundredths of a second.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
