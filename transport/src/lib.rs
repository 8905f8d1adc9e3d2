//! The durable log: one trait, the embedded log, the log in Kafka, and the fold that every reader runs over its records.

pub mod embedded;
pub mod error;
pub mod fold;
pub mod kafka;
pub mod log;
pub mod meter;
pub mod resume;
mod room;
pub mod session;
#[cfg(test)]
mod simulated;
pub mod strangers;
pub mod trouble;
