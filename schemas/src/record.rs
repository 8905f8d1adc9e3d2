//! Log records: the envelope (`binferry.avsc`) and its kinds.
//!
//! ```text
//! C3 01 | u64 LE fingerprint of the envelope schema | envelope datum        Avro's single-object encoding
//! ```
//!
//! The fingerprint is the CRC-64-AVRO of the schema's parsing canonical form. Another fingerprint is another version
//! ([`RecordError::NewerVersion`]); versions that we know stay readable.
//!
//! Encoding can't fail. Decoding is total: any bytes give a record or an error, and memory only in proportion to the bytes.

mod change;
mod ddl;
mod envelope;
mod error;
mod fold_state;
mod framing;
mod head;
mod heartbeat;
mod snapshot;
mod start;
mod transaction;
mod write_set;
mod xa;

pub use self::{
    change::{Change, Changes, ChangesBuffer, ChangesIter, Image, Operation},
    ddl::{ALL_TABLES, Ddl, DdlEffect, Replay, WHICH_ZONE},
    error::RecordError,
    fold_state::{
        CopyState, FoldState, JobState, Newest, OpenRows, OpenTransaction, Prepared, SiteState,
    },
    head::{Head, HeadBody},
    heartbeat::{Counts, Heartbeat},
    snapshot::{
        GivenUp, Over, RowsHead, Snapshot, SnapshotBegin, SnapshotDatabase, SnapshotEnd,
        SnapshotGivenUp, SnapshotJob, SnapshotRows, SnapshotStep, Window,
    },
    start::Start,
    transaction::{Transaction, TransactionHead},
    write_set::{ForeignKeys, TableRef, WriteSet},
    xa::{PreparedHead, XaEnd, XaPrepared, Xid},
};
use crate::{fingerprint::Fingerprint, gtid::Uuid};

/// The published schema of a record.
pub const ENVELOPE_SCHEMA: &str = include_str!("../binferry.avsc");
/// CRC-64-AVRO of the parsing canonical form of [`ENVELOPE_SCHEMA`].
pub const ENVELOPE_FINGERPRINT: Fingerprint = Fingerprint(0x7297_2238_2561_880e);
/// The published schema of a [`FoldState`] that stands on its own.
pub const FOLD_SCHEMA: &str = include_str!("../fold.avsc");
/// CRC-64-AVRO of the parsing canonical form of [`FOLD_SCHEMA`].
pub const FOLD_FINGERPRINT: Fingerprint = Fingerprint(0xcafd_c878_b974_7a1b);

/// A version of the published schemas. The newest one is written, all are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// `binferry.v1.avsc` and `fold.v1.avsc`.
    One,
    /// `binferry.v2.avsc` and `fold.v2.avsc`: adds XA transactions, and the counts in heartbeats.
    Two,
    /// `binferry.v3.avsc`: adds what foreign keys had to do with changes. The fold's schema is that of version 2.
    Three,
    /// `binferry.v4.avsc` and `fold.avsc`: adds the copy of tables, and what it takes to run statements again.
    Four,
    /// `binferry.avsc`: adds databases without a table to the copy. The fold's schema is that of version 4.
    Five,
}

const ENVELOPE_VERSIONS: [(Fingerprint, Version); 5] = [
    (ENVELOPE_FINGERPRINT, Version::Five),
    (Fingerprint(0xbb36_6f0b_8f70_7e19), Version::Four),
    (Fingerprint(0x28c3_4c12_bc17_b034), Version::Three),
    (Fingerprint(0xa3f0_59db_1237_b9a5), Version::Two),
    (Fingerprint(0x29f3_a99e_011d_5749), Version::One),
];
const FOLD_VERSIONS: [(Fingerprint, Version); 3] = [
    (FOLD_FINGERPRINT, Version::Four),
    (Fingerprint(0x1c36_862a_02cc_81cf), Version::Two),
    (Fingerprint(0x5f9d_70b7_f679_4b43), Version::One),
];

/// Addresses a record in one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// One attempt of a capture at a log: a fresh random id for every `Start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub Uuid);

#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    pub header: Header,
    pub body: Body<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub incarnation: Incarnation,
    /// Dense within the incarnation; its `Start` is 0.
    pub sequence: u64,
    /// The newest checkpoint record that the writer knew to be durable; before there is one, the log's beginning. `None` is for the first
    /// `Start` of a log.
    pub checkpoint: Option<Offset>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    Start(Start),
    WriteSet(WriteSet<'a>),
    Ddl(Ddl),
    Checkpoint(FoldState),
    Heartbeat(Heartbeat),
    XaPrepared(XaPrepared<'a>),
    Snapshot(Snapshot),
    SnapshotRows(SnapshotRows<'a>),
}
