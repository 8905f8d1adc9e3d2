//! Starting programs that must not outlive this process.
//!
//! On Linux the kernel is asked to kill the child when its parent dies (`PR_SET_PDEATHSIG`), which holds however the parent
//! ends. By "parent" the kernel means the *thread* that started the child, and tests run on threads that end with the test: so
//! every child is started by one thread that lives as long as the process. Elsewhere a child goes with its handle only.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Starts `command`, to be killed at the latest when this process ends.
pub fn spawn(command: Command) -> Result<Child> {
    static KEEPER: OnceLock<Option<Mutex<Sender<Order>>>> = OnceLock::new();
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |reason: String| Error::Program {
        program,
        reason,
        log: "(not started)".into(),
    };
    let Some(orders) = KEEPER.get_or_init(keeper) else {
        return Err(failed("no thread to start it from".into()));
    };
    let (answer, answered) = sync_channel(1);
    let sent = orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Order { command, answer });
    match sent.ok().and_then(|()| answered.recv().ok()) {
        Some(child) => child.map_err(|e| failed(e.to_string())),
        None => Err(failed("the thread that starts programs is gone".into())),
    }
}

fn keeper() -> Option<Mutex<Sender<Order>>> {
    let (orders, taken) = channel();
    std::thread::Builder::new()
        .name("server-keeper".into())
        .spawn(move || keep(taken))
        .ok()?;
    Some(Mutex::new(orders))
}

fn keep(orders: Receiver<Order>) {
    for Order {
        mut command,
        answer,
    } in orders
    {
        // Its own group: Ctrl-C at the terminal is for this process, which then takes its servers with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        die_with_parent(&mut command);
        if let Err(unwanted) = answer.send(command.spawn())
            && let Ok(mut child) = unwanted.0
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above; then nobody would send the signal any more.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed: it makes two plain
    // system calls, takes no lock and allocates nothing (an errno as `io::Error` is stored inline).
    #[allow(unsafe_code)]
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, prepare);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// The most memory that a process has had resident since it started, in bytes (`VmHWM` in `/proc/PID/status`).
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60");
            spawn(command).unwrap()
        })
        .join()
        .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none());
        assert!(peak_memory(child.id()).unwrap() > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_program_that_is_not_there() {
        let error = spawn(Command::new("/nonexistent/mysqld")).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/mysqld failed"),
            "{error}"
        );
    }
}
