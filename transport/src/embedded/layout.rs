//! The log's directory: its files' names, its identity, and how it comes into being.
//!
//! ```text
//! log.meta                    identity and format version; written last when a log is created
//! lock                        held exclusively by the writer; contains its process id, for messages
//! durable                     the durable watermark
//! 00000000000000000000.seg    a segment, named by the offset of its first record
//! 00000000000000000000.idx    its sparse index; advisory, can be deleted at any time
//! schemas/0123456789abcdef.avsc
//! readers/NAME
//! requests/UUID              for the capture; the folder is there once somebody has asked
//! ```
//! `log.meta`:
//! ```text
//!  0 ┌─────────────────────────────┐
//!    │ "BINFERRY"                  │
//!  8 ├──────────────┬──────────────┤
//!    │ version  u32 │ 0        u32 │
//! 16 ├──────────────┴──────────────┴─────────────────────────────┐
//!    │ log id, 16 bytes of a random UUID                         │
//! 32 ├─────────────────────────────┬──────────────┬──────────────┘
//!    │ created, µs since epoch u64 │ crc      u32 │  CRC-32C over bytes 0..40
//!    └─────────────────────────────┴──────────────┘
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use binferry_schemas::{gtid::Uuid, record::Offset};

use super::{
    disk::{TEMPORARY, store, sync_folder},
    frame::{Salt, u32_at, u64_at},
    segment,
    watermark::Watermark,
};
use crate::error::LogError;

pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"BINFERRY";
const META: usize = 44;
/// A writer that is just ending gives its lock back within this time.
const LOCK_GRACE: Duration = Duration::from_millis(1000);
const STALE_TEMPORARY: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub root: PathBuf,
    pub id: Uuid,
    pub salt: Salt,
}

pub(crate) fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

impl Layout {
    pub(crate) fn open(root: &Path) -> Result<Self, LogError> {
        let path = meta(root);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(LogError::Missing {
                    path: root.to_owned(),
                });
            }
            Err(error) => return Err(LogError::io("read", &path)(error)),
        };
        let bad = |reason| LogError::corrupt(&path, None, 0, reason);
        if bytes.get(..8) != Some(MAGIC.as_slice()) {
            return Err(bad("it is not a log's identity"));
        }
        // The version comes before everything that a later version may have changed.
        let version = u32_at(&bytes, 8).ok_or_else(|| bad("it is too short"))?;
        if version > VERSION {
            return Err(LogError::NewerVersion {
                path: root.to_owned(),
                found: version,
                supported: VERSION,
            });
        }
        if bytes.len() != META
            || u32_at(&bytes, META - 4) != Some(crc32c::crc32c(&bytes[..META - 4]))
        {
            return Err(bad("wrong checksum"));
        }
        let id: [u8; 16] = bytes[16..32].try_into().map_err(|_| bad("no id"))?;
        Ok(Self::with(root, Uuid::from_bytes(id)))
    }

    fn with(root: &Path, id: Uuid) -> Self {
        Self {
            root: root.to_owned(),
            id,
            salt: Salt::of(id.as_bytes()),
        }
    }

    pub(crate) fn create_or_open(root: &Path) -> Result<Self, LogError> {
        match Self::open(root) {
            Err(LogError::Missing { .. }) => {}
            other => return other,
        }
        fs::create_dir_all(root).map_err(LogError::io("create", root))?;
        refuse_strangers(root)?;
        // Two processes may create at the same time.
        let lock = lock(root)?;
        match Self::open(root) {
            Err(LogError::Missing { .. }) => {}
            other => return other,
        }
        refuse_strangers(root)?;
        let layout = Self::with(root, Uuid::new_v4());
        for folder in [layout.schemas(), layout.readers()] {
            fs::create_dir_all(&folder).map_err(LogError::io("create", &folder))?;
        }
        segment::create(&layout, 0)?;
        let empty = Watermark {
            position: segment::HEADER as u64,
            ..Watermark::default()
        };
        store(&layout.durable(), &empty.initial(layout.salt))?;
        let mut content = [0; META];
        content[..8].copy_from_slice(MAGIC);
        content[8..12].copy_from_slice(&VERSION.to_le_bytes());
        content[16..32].copy_from_slice(layout.id.as_bytes());
        content[32..40].copy_from_slice(&now_us().to_le_bytes());
        let crc = crc32c::crc32c(&content[..40]);
        content[40..].copy_from_slice(&crc.to_le_bytes());
        store(&meta(root), &content)?;
        if let Some(parent) = root.canonicalize().ok().as_deref().and_then(Path::parent) {
            sync_folder(parent).map_err(LogError::io("sync", parent))?;
        }
        drop(lock);
        Ok(layout)
    }

    pub(crate) fn durable(&self) -> PathBuf {
        self.root.join("durable")
    }

    pub(crate) fn schemas(&self) -> PathBuf {
        self.root.join("schemas")
    }

    pub(crate) fn readers(&self) -> PathBuf {
        self.root.join("readers")
    }

    pub(crate) fn requests(&self) -> PathBuf {
        self.root.join("requests")
    }

    pub(crate) fn segment(&self, first: u64) -> PathBuf {
        self.root.join(format!("{first:020}.seg"))
    }

    pub(crate) fn index(&self, first: u64) -> PathBuf {
        self.root.join(format!("{first:020}.idx"))
    }

    /// First offsets of the segments, in order; never empty.
    pub(crate) fn segments(&self) -> Result<Vec<u64>, LogError> {
        let entries = fs::read_dir(&self.root).map_err(LogError::io("list", &self.root))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(LogError::io("list", &self.root))?;
            if let Some(first) = entry.file_name().to_str().and_then(|n| number(n, ".seg")) {
                found.push(first);
            }
        }
        if found.is_empty() {
            return Err(LogError::corrupt(&self.root, None, 0, "it has no segments"));
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) fn lock(&self) -> Result<File, LogError> {
        lock(&self.root)
    }

    /// Removes what a crash has left over; called by the writer under its lock.
    pub(crate) fn sweep(&self) -> Result<(), LogError> {
        let segments = self.segments()?;
        for folder in [self.root.clone(), self.schemas(), self.readers()] {
            let entries = fs::read_dir(&folder).map_err(LogError::io("list", &folder))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let orphan =
                    number(name, ".idx").is_some_and(|i| segments.binary_search(&i).is_err());
                // Other processes may be writing to the folders right now.
                let stale = name.ends_with(TEMPORARY)
                    && name.starts_with('.')
                    && (folder == self.root
                        || entry
                            .metadata()
                            .and_then(|m| m.modified())
                            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age > STALE_TEMPORARY)));
                if orphan || stale {
                    // Best effort: a leftover is harmless.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        Ok(())
    }
}

fn meta(root: &Path) -> PathBuf {
    root.join("log.meta")
}

fn number(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// A directory without `log.meta` may hold what an unfinished creation has left, and nothing else.
pub(super) fn refuse_strangers(root: &Path) -> Result<(), LogError> {
    for entry in fs::read_dir(root).map_err(LogError::io("list", root))? {
        let entry = entry.map_err(LogError::io("list", root))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some(first) = number(&name, ".seg") {
            let long = entry
                .metadata()
                .map_err(LogError::io("read", &entry.path()))?
                .len()
                > segment::HEADER as u64;
            if first != 0 || long {
                return Err(LogError::corrupt(
                    &meta(root),
                    Some(Offset(first)),
                    0,
                    "it is missing, and there are records",
                ));
            }
            continue;
        }
        let ours = matches!(
            &*name,
            "lock" | "durable" | "schemas" | "readers" | "lost+found"
        ) || number(&name, ".idx").is_some()
            || (name.starts_with('.') && name.ends_with(TEMPORARY));
        if !ours {
            return Err(LogError::Foreign {
                path: root.to_owned(),
                entry: name.into_owned(),
            });
        }
    }
    Ok(())
}

/// The lock belongs to the open file: a killed process gives it back.
fn lock(root: &Path) -> Result<File, LogError> {
    let path = root.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(LogError::io("open", &path))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_GRACE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(LogError::InUse {
                    path: root.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => return Err(LogError::io("lock", &path)(error)),
        }
    }
    // For messages only, so a full disk is no reason to fail.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Checks a header that begins with magic, version and the log's id, as segments and indexes have it.
pub(crate) fn belongs(layout: &Layout, bytes: &[u8], magic: &[u8; 8]) -> Result<(), &'static str> {
    if bytes.get(..8) != Some(magic.as_slice()) {
        return Err("it has no segment header");
    }
    if u32_at(bytes, 8) != Some(VERSION) {
        return Err("unknown version");
    }
    if bytes.get(16..32) != Some(layout.id.as_bytes().as_slice()) {
        return Err("it belongs to another log");
    }
    Ok(())
}

/// Little-endian `u64`s after the id.
pub(crate) fn fields(bytes: &[u8]) -> Option<(u64, u64)> {
    Some((u64_at(bytes, 32)?, u64_at(bytes, 40)?))
}
