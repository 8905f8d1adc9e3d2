//! Where things lie on disk, and how they go again.
//!
//! ```text
//! target/servers/            BINFERRY_SERVERS_DIR overrides it
//!   mysql-<version>/         packages, unpacked once
//!   template-<version>-…/    a data directory, initialised once per version and options, copied for each server
//!   run/<pid>-<start>/       one folder per process, under a lock that it holds until it ends
//!     <n>/                   one folder per server: data, log, socket
//! ```
//!
//! A server's folder goes when its handle is dropped. What is left (statics are never dropped, and a process may be killed)
//! goes with the process: a small shell holds the reading end of a pipe and removes the folder when the pipe closes, however
//! the process ended. Should that shell be killed too, the next process to start servers removes every folder whose lock is
//! free.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};

/// Overrides the folder in which everything lies.
pub(crate) const FOLDER: &str = "BINFERRY_SERVERS_DIR";

/// The folder for everything, made when it is not there.
pub(crate) fn base() -> Result<PathBuf> {
    let path = std::env::var_os(FOLDER)
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("CARGO_TARGET_DIR")?).join("servers")))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers"));
    std::fs::create_dir_all(&path).map_err(|e| Error::file("create", &path, e))?;
    path.canonicalize()
        .map_err(|e| Error::file("find", &path, e))
}

/// A lock between processes, let go of when dropped, and by the system when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| Error::file("lock", path, e))?;
        Ok(Lock { _file: file })
    }

    /// `None` when another process holds it.
    fn attempt(path: &Path) -> Result<Option<Self>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(Error::file("lock", path, e)),
        }
    }

    fn open(path: &Path) -> Result<File> {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|e| Error::file("open", path, e))
    }
}

/// This process's folder; dropped never, see the module's documentation.
struct ProcessFolder {
    path: PathBuf,
    _lock: Lock,
    /// Closing it sets the remover off. Nobody writes to it.
    _remover: ChildStdin,
}

/// A server's folder, removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        static PROCESS: OnceLock<Result<ProcessFolder>> = OnceLock::new();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let process = PROCESS
            .get_or_init(ProcessFolder::new)
            .as_ref()
            .map_err(Error::clone)?;
        let path = process
            .path
            .join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&path).map_err(|e| Error::file("create", &path, e))?;
        Ok(Folder { path })
    }

    /// One elsewhere, that goes with its handle only.
    pub(crate) fn at(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path).map_err(|e| Error::file("create", &path, e))?;
        Ok(Folder { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the remover tries again at the end of the process.
        let _ = remove(&self.path);
    }
}

impl ProcessFolder {
    fn new() -> Result<Self> {
        let run = base()?.join("run");
        std::fs::create_dir_all(&run).map_err(|e| Error::file("create", &run, e))?;
        // Under this lock no folder is found between its creation and the moment its own lock is held.
        let _creating = Lock::exclusive(&run.join("lock"))?;
        sweep(&run)?;
        // The process id alone could meet a folder that could not be removed, after the ids have wrapped round.
        let started = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("{}-{}", std::process::id(), started.as_millis());
        let path = run.join(name);
        std::fs::create_dir(&path).map_err(|e| Error::file("create", &path, e))?;
        let lock = Lock::exclusive(&path.join("lock"))?;
        let remover = remover(&path)?;
        Ok(ProcessFolder {
            path,
            _lock: lock,
            _remover: remover,
        })
    }
}

/// Removes what processes left behind that are no more.
fn sweep(run: &Path) -> Result<()> {
    for entry in std::fs::read_dir(run).map_err(|e| Error::file("list", run, e))? {
        let path = entry.map_err(|e| Error::file("list", run, e))?.path();
        if !path.is_dir() {
            continue;
        }
        // It may go away under our feet, as its own remover is at work: that is no failure.
        if let Ok(Some(_abandoned)) = Lock::attempt(&path.join("lock")) {
            #[cfg(feature = "docker")]
            crate::mysql::docker::remove_abandoned(&path);
            let _ = remove(&path);
        }
    }
    Ok(())
}

/// The shell that outlives this process, by a moment. Servers may still be dying and writing while it removes their files,
/// so it tries for a while.
fn remover(path: &Path) -> Result<ChildStdin> {
    const SCRIPT: &str = "trap '' INT TERM HUP; read -r _; n=0; while [ -d \"$1\" ] && [ $n -lt 50 ]; do \
                          rm -rf -- \"$1\" 2>/dev/null; [ -d \"$1\" ] && sleep 0.2; n=$((n+1)); done";
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SCRIPT, "binferry-servers-remover"])
        .arg(path)
        .current_dir("/")
        .stdin(Stdio::piped())
        // Inherited, they would keep a test runner waiting that reads them to their end.
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Out of the way of a Ctrl-C at the terminal.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .spawn()
        .map_err(|e| Error::system("start /bin/sh", e))?;
    child
        .stdin
        .take()
        .ok_or_else(|| Error::system("start /bin/sh", "no pipe"))
}

/// Removes a folder with all that is in it; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        _ => Ok(()),
    }
}

/// Copies a folder with plain files and folders in it, but for the names in `left_out`.
pub(crate) fn copy(from: &Path, to: &Path, left_out: &[&str]) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| Error::file("create", to, e))?;
    for entry in std::fs::read_dir(from).map_err(|e| Error::file("list", from, e))? {
        let entry = entry.map_err(|e| Error::file("list", from, e))?;
        let kind = entry
            .file_type()
            .map_err(|e| Error::file("read", from, e))?;
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        if left_out.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            copy(&source, &copied, left_out)?;
        } else if kind.is_file() {
            std::fs::copy(&source, &copied).map_err(|e| Error::file("copy", &source, e))?;
        }
    }
    Ok(())
}
