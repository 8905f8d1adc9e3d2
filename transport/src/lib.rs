//! The durable log: one trait, the embedded log, and the fold that every reader runs over its records.

pub mod embedded;
pub mod error;
pub mod fold;
pub mod log;
pub mod resume;
pub mod session;
#[cfg(test)]
mod simulated;
