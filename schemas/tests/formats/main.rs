//! The stored formats, as others see them: frozen in golden files, read by libraries that we did not write, and thrown broken bytes at.

mod apache;
mod arrow;
mod golden;
mod gtid_algebra;
mod round_trips;
mod samples;
mod strategies;
mod total;
