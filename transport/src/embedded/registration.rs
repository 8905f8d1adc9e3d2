//! Registered readers: a small text file each in `readers/`, so that people can read and remove them with ordinary tools.
//!
//! ```text
//! binferry reader 1
//! needs 00000000000000012345
//! updated 00001795233600000000
//! crc 1a2b3c4d
//! name standby at db2:3306
//! ```
//! `updated` is in microseconds since the epoch; `crc` is CRC-32C over the log's id and the whole file with the crc's digits as zeros.
//! The file's name is the reader's, with `%XX` for every byte but `A-Z a-z 0-9 _ - .` (and for a leading dot). The length doesn't change
//! for one reader, so that on a full disk the file can be rewritten in place: progress must not stop because the log's disk is full.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use binferry_schemas::record::Offset;

use super::{
    disk::{is_full, replace},
    layout::{Layout, now_us},
};
use crate::{error::LogError, log::Registration};

const LONGEST: usize = 200;

fn path(layout: &Layout, name: &str) -> Result<PathBuf, LogError> {
    let mut file = String::new();
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if plain && !(file.is_empty() && byte == b'.') {
            file.push(char::from(byte));
        } else {
            file.push_str(&format!("%{byte:02X}"));
        }
    }
    if file.is_empty() || file.len() > LONGEST || name.contains('\n') {
        return Err(LogError::ReaderName {
            name: name.chars().take(LONGEST).collect(),
        });
    }
    Ok(layout.readers().join(file))
}

fn text(layout: &Layout, name: &str, needs: u64, updated: u64) -> String {
    let with = |crc: u32| {
        format!(
            "binferry reader 1\nneeds {needs:020}\nupdated {updated:020}\ncrc {crc:08x}\nname {name}\n"
        )
    };
    with(layout.salt.crc(with(0).as_bytes()))
}

fn parse(layout: &Layout, content: &str) -> Option<Registration> {
    let rest = content.strip_prefix("binferry reader 1\nneeds ")?;
    let (needs, rest) = rest.split_once("\nupdated ")?;
    let (updated, rest) = rest.split_once("\ncrc ")?;
    let (_, rest) = rest.split_once("\nname ")?;
    let name = rest.strip_suffix('\n')?;
    let (needs, updated) = (needs.parse().ok()?, updated.parse().ok()?);
    (text(layout, name, needs, updated) == content).then(|| Registration {
        name: name.to_owned(),
        needs: Offset(needs),
        updated: SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_micros(updated))
            .unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

pub(crate) fn register(layout: &Layout, name: &str, needs: Offset) -> Result<(), LogError> {
    let path = path(layout, name)?;
    let content = text(layout, name, needs.0, now_us());
    let stored = replace(&path, content.as_bytes()).or_else(|error| {
        if !is_full(&error) {
            return Err(error);
        }
        let file = File::options().write(true).open(&path).map_err(|_| error)?;
        file.write_all_at(content.as_bytes(), 0)?;
        file.sync_data()
    });
    stored.map_err(LogError::io("write", &path))
}

pub(crate) fn list(layout: &Layout) -> Result<Vec<Registration>, LogError> {
    let folder = layout.readers();
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(LogError::io("list", &folder))? {
        let entry = entry.map_err(LogError::io("list", &folder))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let content = match fs::read(&path) {
            Ok(content) => content,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LogError::io("read", &path)(error)),
        };
        let registration = std::str::from_utf8(&content)
            .ok()
            .and_then(|text| parse(layout, text))
            .ok_or_else(|| LogError::corrupt(&path, None, 0, "it is no reader's registration"))?;
        found.push(registration);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

pub(crate) fn unregister(layout: &Layout, name: &str) -> Result<bool, LogError> {
    let path = path(layout, name)?;
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LogError::io("remove", &path)(error)),
    }
}
