//! What an applier is told.

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    address::Address,
    filter::TableFilter,
    gtid::GtidSet,
    record::{FoldState, Offset},
};
use binferry_transport::log::Log;

use crate::{
    conflict::Policies,
    copy::{IntoTables, LaterKeys, Rules},
    ddl::DdlMode,
    meter::ApplyMeter,
};

#[derive(Debug, Clone)]
pub struct Options {
    pub address: Address,
    /// Names the progress on the target.
    pub stream: String,
    pub log: Arc<dyn Log>,
    pub group: GroupLimits,
    /// Connections that apply groups at the same time; at least 1.
    pub workers: u32,
    /// Who wins where a change does not fit the target's rows.
    pub policies: Arc<Policies>,
    pub gtids: Gtids,
    pub compare: Compare,
    /// What becomes of statements that define tables.
    pub ddl: DdlMode,
    /// Tables whose triggers on the target may do what they do.
    pub triggers: Option<TableFilter>,
    /// What a table may hold when its first copy comes.
    pub into: IntoTables,
    /// How long to go on trying, without any progress, to reach a target that is out of reach.
    pub patience: Duration,
    pub meter: Arc<ApplyMeter>,
}

impl Options {
    pub fn new(address: Address, log: Arc<dyn Log>) -> Self {
        Self {
            address,
            stream: "main".to_owned(),
            log,
            group: GroupLimits::default(),
            workers: 4,
            policies: Arc::default(),
            gtids: Gtids::default(),
            compare: Compare::default(),
            ddl: DdlMode::default(),
            triggers: None,
            into: IntoTables::default(),
            patience: Duration::from_secs(300),
            meter: Arc::default(),
        }
    }
}

impl Options {
    pub(crate) fn copy_rules(&self, keys: Arc<LaterKeys>) -> Rules {
        Rules {
            into: self.into,
            triggers: self.triggers.clone(),
            stream: self.stream.clone(),
            keys,
        }
    }
}

/// Where an applier stops by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Until {
    /// These are applied.
    pub set: GtidSet,
    /// And every record below: rows of copies have no GTID.
    pub offset: Offset,
}

impl From<GtidSet> for Until {
    fn from(set: GtidSet) -> Self {
        let offset = Offset(0);
        Self { set, offset }
    }
}

impl From<FoldState> for Until {
    fn from(FoldState { set, offset, .. }: FoldState) -> Self {
        Self { set, offset }
    }
}

/// Of the log's records that are being applied at once. Rendered, they take several times as much.
const UNDER_WAY: usize = 20 << 20;

/// What an update or a delete compares of the row that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// Every column that its before image has.
    #[default]
    Image,
    /// Its key. A table without one is compared whole all the same: nothing else tells its rows apart.
    Key,
}

/// What target transactions are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gtids {
    /// As the target calls them.
    #[default]
    Own,
    /// As the source does, one for one.
    Preserve,
}

/// At most so much of a backlog shares a target transaction. A single transaction may be larger.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    pub transactions: usize,
    pub rows: usize,
    /// Of the log's records.
    pub bytes: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            transactions: 20_000,
            rows: 16_000,
            bytes: 8 << 20,
        }
    }
}

impl GroupLimits {
    /// With so many groups under way, together they stay in bounds.
    pub(crate) fn of_one(self, workers: usize) -> Self {
        Self {
            bytes: self.bytes.min(UNDER_WAY / workers.max(1)),
            ..self
        }
    }
}
