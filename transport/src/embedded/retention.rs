//! Removing old segments, whole, from the front.
//!
//! Kept in any case: the last segment, what a registered reader still needs, and what the caller needs (the newest checkpoint's ground).
//! A registration that can't be read stops retention with an error: it might be the slowest reader's.

use std::{fs, io};

use super::{
    disk::sync_folder,
    layout::{Layout, now_us},
    registration, segment,
};
use crate::{error::LogError, log::Retention};
use binferry_schemas::record::Offset;

pub(crate) fn expire(
    layout: &Layout,
    retention: Retention,
    needed: Offset,
) -> Result<(), LogError> {
    if retention.bytes.is_none() && retention.age.is_none() {
        return Ok(());
    }
    let segments = layout.segments()?;
    if segments.len() < 2 {
        return Ok(());
    }
    let keep = registration::list(layout)?
        .iter()
        .map(|reader| reader.needs.0)
        .fold(needed.0, u64::min);
    let mut sizes = Vec::with_capacity(segments.len());
    for &first in &segments {
        let path = layout.segment(first);
        match fs::metadata(&path) {
            Ok(metadata) => sizes.push(metadata.len()),
            // Someone else removes at the same time: the writer's thread while the disk is full.
            Err(error) if error.kind() == io::ErrorKind::NotFound => sizes.push(0),
            Err(error) => return Err(LogError::io("read", &path)(error)),
        }
    }
    let mut total: u64 = sizes.iter().sum();
    let mut removed = false;
    for (pair, size) in segments.windows(2).zip(sizes) {
        let (first, end) = (pair[0], pair[1]);
        if end > keep {
            break;
        }
        let too_many = retention.bytes.is_some_and(|limit| total > limit);
        let too_old = match retention.age {
            // All of it was appended before the next segment was created.
            Some(age) => segment::open(layout, end, false)?.is_some_and(|(_, created)| {
                u128::from(now_us().saturating_sub(created)) > age.as_micros()
            }),
            None => false,
        };
        if !too_many && !too_old {
            break;
        }
        for path in [layout.segment(first), layout.index(first)] {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(LogError::io("remove", &path)(error)),
            }
        }
        total -= size;
        removed = true;
    }
    if removed {
        sync_folder(&layout.root).map_err(LogError::io("sync", &layout.root))?;
    }
    Ok(())
}
