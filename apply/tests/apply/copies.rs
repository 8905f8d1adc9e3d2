//! Copies, written into a log by hand: what a target makes of them.

mod definitions;
mod histories;
mod keys;
mod pen;
mod tables;
mod types;
