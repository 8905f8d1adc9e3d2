//! Bytes from outside, thrown at every decoder: no panic, no hang, no memory out of proportion.
//!
//! Each [`Target`] is one decoder with its own corpus, a folder `corpus/NAME` of real inputs (harvested from servers by
//! `examples/harvest.rs`) and of those that once broke it. `make fuzz` lets libFuzzer loose on them; the tests replay the corpus, cut and
//! flipped, with every `cargo test`.

mod record;

use std::alloc::System;
use std::path::PathBuf;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// What a server sends, before it is known to be an event. The first byte is the size of the pieces in which it arrives.
    Packet,
    /// Events in a row, as in a file without checksums.
    Event,
    /// A u16 length, a table map of that length, a rows event's type code and body.
    Row,
    /// A JSON document in its binary form.
    Json,
    /// A payload event's body: fields, then events in zstd. The first byte, times 16, is the size of the pieces in which it comes.
    Payload,
    /// A record of the log; or a row schema with a datum of it (a zero byte, a u16 length, the schema of that length, the datum).
    Record,
}

/// The most that a decoder may allocate in all for an input: so many bytes a byte, and so many whatever the input.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub per_byte: usize,
    pub fixed: usize,
}

impl Target {
    pub const ALL: [Self; 6] = [
        Self::Packet,
        Self::Event,
        Self::Row,
        Self::Json,
        Self::Payload,
        Self::Record,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Event => "event",
            Self::Row => "row",
            Self::Json => "json",
            Self::Payload => "payload",
            Self::Record => "record",
        }
    }

    pub fn limit(self) -> Limit {
        let (per_byte, fixed) = match self {
            // At a piece's header room is made for the piece: 16 MiB.
            Self::Packet => (64, 17 << 20),
            // A byte of a table map is a column at most: its description, its name and its part of the plan.
            // COMPRESSED values, and MariaDB's compressed events, are 1032 times themselves at most.
            Self::Event | Self::Row => (4096, 64 << 10),
            Self::Json => (32, 4 << 10),
            // What zstd makes of it at most, twice over for growing.
            Self::Payload => (1 << 17, 1 << 20),
            Self::Record => (512, 16 << 10),
        };
        Limit { per_byte, fixed }
    }

    /// The folder of its inputs.
    pub fn corpus(self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(self.name())
    }

    fn run(self, data: &[u8]) {
        match self {
            Self::Packet => binferry_capture::fuzzing::packets(data),
            Self::Event => binferry_capture::fuzzing::events(data),
            Self::Row => binferry_capture::fuzzing::row(data),
            Self::Json => binferry_capture::fuzzing::json(data),
            Self::Payload => binferry_capture::fuzzing::payload(data),
            Self::Record => record::read(data),
        }
    }
}

/// Runs a decoder over an input.
///
/// # Panics
///
/// When the decoder does, or when it allocates more than its [`Limit`].
pub fn check(target: Target, data: &[u8]) {
    let region = Region::new(ALLOCATOR);
    target.run(data);
    let allocated = region.change().bytes_allocated;
    let Limit { per_byte, fixed } = target.limit();
    let allowed = data.len() * per_byte + fixed;
    assert!(
        allocated <= allowed,
        "{}: {} bytes of input made it allocate {allocated} bytes, more than {allowed}",
        target.name(),
        data.len()
    );
}
