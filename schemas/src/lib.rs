//! What flows through Binferry, as data: GTID sets, row schemas, row datums and log records, with their Avro encodings.
//!
//! Pure code: no I/O, no async, no clock. Nothing here panics on bytes from outside.
//!
//! On a change's way: [`source`] and [`address`] say where it comes from, [`filter`] whether its table is carried, [`gtid`] names its
//! transaction, [`row`] describes its table, [`datum`] is its row images, [`record`] carries it in the log. [`avro`], [`fingerprint`],
//! [`fault`], [`finding`] and [`portrait`] are the ground that these stand on.

pub mod fault;
pub mod finding;
pub mod portrait;

pub mod address;
pub mod filter;
pub mod source;

pub mod gtid;

pub mod avro;
pub mod fingerprint;

pub mod row;

pub mod datum;

pub mod record;
