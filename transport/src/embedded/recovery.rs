//! What a writer does before its first record: find the log's end.
//!
//! Only the last segment is read: a segment is finished only when all of it and the watermark are on the disk. Every frame below the
//! watermark must be intact. What follows it intact is kept; the rest is a tail that never became durable, and is cut, unless an intact
//! frame proves that the damaged one had been durable: then the disk has lost acknowledged data, and that is an error.
//!
//! What is kept above the watermark is written again before it is declared durable: after a failed fsync the kernel may show pages that
//! it marked clean and never wrote, and an fsync of those would succeed without doing anything.

use std::{fs::File, io, os::unix::fs::FileExt};

use binferry_schemas::record::Offset;

use super::{
    disk::{Disk, is_full, replace},
    frame,
    layout::Layout,
    segment::{self, Cursor, IndexBuilder, Next},
    watermark::Watermark,
};
use crate::error::LogError;

#[derive(Debug)]
pub(crate) struct Recovered {
    pub segment: File,
    pub index: File,
    pub builder: IndexBuilder,
    pub durable: File,
    pub watermark: Watermark,
}

pub(crate) fn recover(layout: &Layout, disk: &dyn Disk) -> Result<Recovered, LogError> {
    let durable_path = layout.durable();
    let durable = File::options()
        .read(true)
        .write(true)
        .open(&durable_path)
        .map_err(LogError::io("open", &durable_path))?;
    let mut watermark = Watermark::read(layout.salt, &durable, &durable_path)?;
    let segments = layout.segments()?;
    let last = segments.last().copied().unwrap_or_default();
    let path = layout.segment(last);
    let missing = |first| {
        LogError::corrupt(
            &layout.segment(first),
            Some(Offset(first)),
            0,
            "the segment is missing",
        )
    };
    if watermark.segment > last {
        return Err(missing(watermark.segment));
    }
    if watermark.segment < last {
        // The last one was created when the one before it was finished, and nothing in it has been declared durable.
        if watermark.end != last || !segments.contains(&watermark.segment) {
            return Err(missing(watermark.end));
        }
        watermark = Watermark {
            segment: last,
            position: segment::HEADER as u64,
            ..watermark
        };
    }
    let (file, _) = segment::open(layout, last, true)?.ok_or_else(|| missing(last))?;
    let length = file.metadata().map_err(LogError::io("read", &path))?.len();
    if length < watermark.position {
        return Err(LogError::corrupt(
            &path,
            None,
            length,
            format!(
                "it is shorter than its {} durable bytes",
                watermark.position
            ),
        ));
    }

    let mut cursor = Cursor::new(file, last);
    let mut builder = IndexBuilder::default();
    let torn = loop {
        let (offset, position) = (cursor.offset, cursor.position);
        match cursor
            .next(layout, length)
            .map_err(LogError::io("read", &path))?
        {
            Next::Frame(_) => builder.see(layout, offset, position),
            Next::End => break (position < length).then_some("it is cut off"),
            Next::Bad(reason) => break Some(reason),
        }
        // A frame that straddles the watermark contradicts it.
        if position < watermark.position && cursor.position > watermark.position {
            return Err(LogError::corrupt(
                &path,
                Some(Offset(offset)),
                position,
                "the record does not end where the durable part does",
            ));
        }
    };
    let (end, position) = (cursor.offset, cursor.position);
    if end < watermark.end || position < watermark.position {
        return Err(LogError::corrupt(
            &path,
            Some(Offset(end)),
            position,
            torn.unwrap_or("durable records are missing"),
        ));
    }
    let file = cursor.file;
    if let Some(reason) = torn {
        let rest = read(&file, position, length).map_err(LogError::io("read", &path))?;
        if let Some(later) = frame::proof_of_durability(layout.salt, end, &rest) {
            return Err(LogError::corrupt(
                &path,
                Some(Offset(end)),
                position,
                format!(
                    "{reason}, and record {later}, which is intact, was written after it had become durable"
                ),
            ));
        }
        tracing::warn!(
            file = %path.display(), bytes = length - position, next_offset = end, reason,
            "cut a tail of the log that had not become durable"
        );
        file.set_len(position)
            .map_err(LogError::io("truncate", &path))?;
    }
    let kept = read(&file, watermark.position, position).map_err(LogError::io("read", &path))?;
    disk.write_at(&file, &kept, watermark.position)
        .map_err(LogError::io("write", &path))?;
    disk.sync_data(&file).map_err(LogError::io("sync", &path))?;
    watermark = Watermark {
        generation: watermark.generation + 1,
        end,
        segment: last,
        position,
    };
    watermark
        .write(layout.salt, &durable, disk)
        .map_err(LogError::io("write", &durable_path))?;
    layout.sweep()?;
    let index = fresh_index(layout, last, &mut builder)?;
    Ok(Recovered {
        segment: file,
        index,
        builder,
        durable,
        watermark,
    })
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let length =
        usize::try_from(to - from).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

fn fresh_index(layout: &Layout, first: u64, builder: &mut IndexBuilder) -> Result<File, LogError> {
    let path = layout.index(first);
    match replace(&path, &builder.entries) {
        Ok(()) => builder.entries.clear(),
        // Without an index, seeking reads the segment from its start.
        Err(error) if is_full(&error) => {}
        Err(error) => return Err(LogError::io("write", &path)(error)),
    }
    File::options()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(LogError::io("open", &path))
}
