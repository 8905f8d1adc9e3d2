//! Records are written into an embedded log, applied to a real server, and the server's rows are looked at.

mod conflicts;
mod copies;
mod exactly_once;
mod moves;
mod order;
mod stage;
mod tables;
mod types;
