//! From a source server to write-sets: everything that talks to a MySQL source.
//!
//! The way of a byte: [`client`] connects and frames packets, [`preflight`] checks that the source is fit, [`dump`] asks for
//! the binlog by GTID set and yields verified events, [`files`] reads them from a backup's files instead, [`decode`] turns events into rows, and [`stream`] puts them into the log.
//! [`snapshot`] copies the tables that are there already, beside the stream.

pub mod client;
pub mod decode;
pub mod dump;
pub mod error;
pub mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod preflight;
pub mod retry;
pub mod snapshot;
pub mod stream;
