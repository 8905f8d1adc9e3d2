//! The beginning of a binlog file: what it is, who wrote it, and what came before it.
//!
//! ```text
//! MySQL:    fe 'bin' | FORMAT_DESCRIPTION | PREVIOUS_GTIDS | transactions … | ROTATE or STOP
//! MariaDB:  fe 'bin' | FORMAT_DESCRIPTION | [START_ENCRYPTION] | GTID_LIST | transactions … | ROTATE or STOP
//! ```
//!
//! An encrypted file of MySQL begins with `fd 'bin'` (`sql/rpl_log_encryption.h`), one of MariaDB's is encrypted behind START_ENCRYPTION.
//! When its server decrypts that for a reader, the event says that it may be ignored, and what follows is plain. The format description carries the flag that says that the
//! file was open when it was copied.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use binferry_schemas::gtid::{Gtid, GtidSet};

use super::error::FileError;
use crate::{
    decode::{Decoded, gtid_list},
    dump::{
        Checksums, FLAG_IGNORABLE, FLAG_IN_USE, FLAG_RELAY_LOG, FORMAT_DESCRIPTION, HEADER, Opener,
    },
    preflight::{Flavour, Version},
};

pub(super) const MAGIC: [u8; 4] = *b"\xfebin";
const ENCRYPTED: [u8; 4] = *b"\xfdbin";
const PREVIOUS_GTIDS: u8 = 35;
const MARIADB_GTID: u8 = 162;
const GTID_LIST: u8 = 163;
const START_ENCRYPTION: u8 = 164;
/// The first version that writes PREVIOUS_GTIDS into every file, and GTID events of the present form.
const OLDEST: (u32, u32, u32) = (5, 7, 0);
/// The server's own limit of an event, and some room.
pub(super) const LARGEST: u64 = (1 << 30) + (1 << 20);

/// A binlog file, as far as its beginning tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub path: PathBuf,
    /// When it was looked at; what is appended later is not read.
    pub size: u64,
    pub version: Version,
    pub checksums: bool,
    /// The server had not closed it: it was copied while it was written, or the server crashed.
    pub in_use: bool,
    /// What the server had executed before it. `None`: the file ends before it says so.
    pub previous: Option<GtidSet>,
}

impl Head {
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        Reader::open(path)?.head()
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        name(&self.path)
    }
}

/// As the server would show it, and fit for a log line.
pub(super) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .chars()
        .flat_map(char::escape_debug)
        .collect()
}

/// Reads a few events, one after the other, each into memory of its own.
struct Reader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    size: u64,
    position: u64,
    opener: Opener,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self, FileError> {
        let unreadable = |cause| FileError::Unreadable {
            path: path.to_owned(),
            cause,
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        let mut reader = Self {
            path,
            file: BufReader::with_capacity(64 << 10, file),
            size: metadata.len(),
            position: 0,
            opener: Opener::new(),
        };
        reader.opener.enter(&name(path));
        if reader.size == 0 {
            return Err(FileError::Empty {
                path: path.to_owned(),
            });
        }
        let mut magic = [0; 4];
        if reader.size >= 4 {
            reader.file.read_exact(&mut magic).map_err(unreadable)?;
        }
        match magic {
            MAGIC => {}
            ENCRYPTED => {
                return Err(FileError::Encrypted {
                    path: path.to_owned(),
                });
            }
            _ => {
                return Err(FileError::NotBinlog {
                    path: path.to_owned(),
                });
            }
        }
        reader.position = 4;
        Ok(reader)
    }

    fn unreadable(&self, cause: io::Error) -> FileError {
        FileError::Unreadable {
            path: self.path.to_owned(),
            cause,
        }
    }

    /// The type and the length of the event here, if its header is whole and its length is possible.
    fn next(&mut self) -> Result<(u8, usize), FileError> {
        let left = self.size - self.position;
        let truncated = |expected| FileError::Truncated {
            path: self.path.to_owned(),
            position: self.position,
            expected,
            found: left,
        };
        if left < HEADER as u64 {
            return Err(truncated(HEADER as u64));
        }
        let mut header = [0; HEADER];
        self.file
            .read_exact(&mut header)
            .and_then(|()| self.file.seek_relative(-(HEADER as i64)))
            .map_err(|cause| self.unreadable(cause))?;
        let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
        match u64::from(length) {
            length if length < HEADER as u64 || length > LARGEST => Err(damaged(
                self.path,
                self.position,
                header[4],
                length,
                "its length is not that of an event",
            )),
            length if length > left => Err(truncated(length)),
            length => Ok((header[4], length as usize)),
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, FileError> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact(&mut bytes)
            .map_err(|cause| self.unreadable(cause))?;
        self.position += length as u64;
        Ok(bytes)
    }

    fn head(mut self) -> Result<Head, FileError> {
        let path = self.path;
        let (type_code, length) = self.next()?;
        if type_code != FORMAT_DESCRIPTION {
            return Err(damaged(
                path,
                4,
                type_code,
                length as u64,
                "a file begins with a format description event",
            ));
        }
        let bytes = self.bytes(length)?;
        let version = version(path, &bytes)?;
        let flags = u16::from_le_bytes([bytes[17], bytes[18]]);
        if flags & FLAG_RELAY_LOG != 0 {
            return Err(FileError::RelayLog {
                path: path.to_owned(),
            });
        }
        check_description(path, 4, &bytes)?;
        self.opener
            .open(&bytes)
            .map_err(|reason| FileError::Damaged {
                path: path.to_owned(),
                position: 4,
                reason: Box::new(reason),
            })?;
        let in_use = flags & FLAG_IN_USE != 0;
        let previous = self.previous(version.flavour, in_use)?;
        Ok(Head {
            path: path.to_owned(),
            size: self.size,
            version,
            checksums: self.opener.checksums() == Checksums::Crc32,
            in_use,
            previous,
        })
    }

    fn previous(&mut self, flavour: Flavour, in_use: bool) -> Result<Option<GtidSet>, FileError> {
        let Some((mut type_code, mut length)) = self.next_of_head(in_use)? else {
            return Ok(None);
        };
        if flavour == Flavour::MariaDb && type_code == START_ENCRYPTION {
            let bytes = self.bytes(length)?;
            if u16::from_le_bytes([bytes[17], bytes[18]]) & FLAG_IGNORABLE == 0 {
                return Err(FileError::Encrypted {
                    path: self.path.to_owned(),
                });
            }
            match self.next_of_head(in_use)? {
                Some(next) => (type_code, length) = next,
                None => return Ok(None),
            }
        }
        let wanted = match flavour {
            Flavour::MySql => PREVIOUS_GTIDS,
            Flavour::MariaDb => GTID_LIST,
        };
        if type_code != wanted {
            return Err(FileError::NoPreviousGtids {
                path: self.path.to_owned(),
            });
        }
        let position = self.position;
        let bytes = self.bytes(length)?;
        let event = self
            .opener
            .open(&bytes)
            .map_err(|reason| FileError::Damaged {
                path: self.path.to_owned(),
                position,
                reason: Box::new(reason),
            })?;
        let set = match flavour {
            Flavour::MySql => GtidSet::decode(event.body).ok(),
            Flavour::MariaDb => gtid_list(event.body).ok(),
        };
        set.map(Some).ok_or_else(|| {
            damaged(
                self.path,
                position,
                type_code,
                length as u64,
                "its GTID set cannot be read",
            )
        })
    }

    /// `None`: the file is open, and stops before that event.
    fn next_of_head(&mut self, in_use: bool) -> Result<Option<(u8, usize)>, FileError> {
        if self.position == self.size {
            return match in_use {
                true => Ok(None),
                false => Err(FileError::Truncated {
                    path: self.path.to_owned(),
                    position: self.position,
                    expected: HEADER as u64,
                    found: 0,
                }),
            };
        }
        match self.next() {
            Err(FileError::Truncated { .. }) if in_use => Ok(None),
            other => other.map(Some),
        }
    }
}

/// In a file its checksum always holds.
pub(super) fn check_description(path: &Path, position: u64, bytes: &[u8]) -> Result<(), FileError> {
    match Opener::description_is_whole(bytes) {
        true => Ok(()),
        false => Err(damaged(
            path,
            position,
            FORMAT_DESCRIPTION,
            bytes.len() as u64,
            "the format description's checksum is wrong",
        )),
    }
}

fn version(path: &Path, description: &[u8]) -> Result<Version, FileError> {
    let text = description
        .get(HEADER + 2..HEADER + 52)
        .and_then(|text| text.split(|byte| *byte == 0).next())
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    match Version::parse(&text) {
        Some(version) if version.number >= OLDEST => Ok(version),
        _ => Err(FileError::Version {
            path: path.to_owned(),
            version: text.escape_debug().to_string(),
        }),
    }
}

pub(super) fn damaged(
    path: &Path,
    position: u64,
    type_code: u8,
    length: u64,
    reason: &'static str,
) -> FileError {
    FileError::Damaged {
        path: path.to_owned(),
        position,
        reason: Box::new(crate::error::Permanent::Event {
            file: name(path),
            type_code,
            length: usize::try_from(length).unwrap_or(usize::MAX),
            reason,
        }),
    }
}

/// Whether it is an event with which a transaction begins that has a GTID.
pub(super) fn begins(type_code: u8) -> bool {
    matches!(type_code, 33 | 42 | MARIADB_GTID)
}

/// The transaction that begins with this event; `None` when that cannot be read.
pub(super) fn begun(type_code: u8, server_id: u32, body: &[u8]) -> Option<Gtid> {
    if type_code == MARIADB_GTID {
        let (sequence, rest) = body.split_first_chunk()?;
        let domain = rest.first_chunk()?;
        return Gtid::mariadb(
            u32::from_le_bytes(*domain),
            server_id,
            u64::from_le_bytes(*sequence),
        );
    }
    match Decoded::of(type_code, 0, body) {
        Ok(Decoded::Gtid(event)) => Some(event.gtid),
        _ => None,
    }
}

/// What the transactions that begin in this file are, without a look at anything else; as far as the file can be read.
pub(super) fn transactions(head: &Head) -> Result<GtidSet, FileError> {
    let mut set = GtidSet::new();
    let mut reader = Reader::open(&head.path)?;
    reader.size = reader.size.min(head.size);
    let checksum = if head.checksums { 4 } else { 0 };
    while let Ok((type_code, length)) = reader.next() {
        if begins(type_code) {
            let bytes = reader.bytes(length)?;
            let server_id = u32::from_le_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
            if let Some(body) = bytes.get(HEADER..length.saturating_sub(checksum))
                && let Some(gtid) = begun(type_code, server_id, body)
            {
                set.insert(gtid);
            }
        } else {
            reader
                .file
                .seek_relative(length as i64)
                .map_err(|cause| reader.unreadable(cause))?;
            reader.position += length as u64;
        }
    }
    Ok(set)
}
