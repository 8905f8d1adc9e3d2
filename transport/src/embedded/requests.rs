//! Requests to the capture: a file each in `requests/`, named by its id. Whoever may write to the log's directory may ask.

use std::{fs, io, path::PathBuf};

use binferry_schemas::gtid::Uuid;

use super::{disk::store, layout::Layout};
use crate::error::LogError;

/// Larger files are none of ours.
const LONGEST: u64 = 1 << 20;

fn path(layout: &Layout, id: Uuid) -> PathBuf {
    layout.requests().join(id.to_string())
}

pub(crate) fn put(layout: &Layout, id: Uuid, text: &str) -> Result<(), LogError> {
    let folder = layout.requests();
    fs::create_dir_all(&folder).map_err(LogError::io("create", &folder))?;
    store(&path(layout, id), text.as_bytes())
}

pub(crate) fn list(layout: &Layout) -> Result<Vec<(Uuid, String)>, LogError> {
    let folder = layout.requests();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        // Nobody has ever asked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LogError::io("list", &folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(LogError::io("list", &folder))?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let small = entry
            .metadata()
            .is_ok_and(|metadata| metadata.len() <= LONGEST);
        if let (Some(id), true) = (id, small)
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push((id, text));
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn remove(layout: &Layout, id: Uuid) -> Result<(), LogError> {
    let path = path(layout, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}
