//! Binlog event bodies, decoded: pure, synchronous, and without a panic on any bytes.
//!
//! Input is the body of one event, its checksum verified and cut off. [`Decoded::of`] recognises every event that a MySQL server can
//! send: what is decoded comes back as a view that borrows from the body, and what is not is refused by name, never passed over
//! (a skipped event would be a lost change). The way of a row:
//!
//! ```text
//! TABLE_MAP --TableMap--> TablePlan (once for a table map)
//! rows event --RowsEvent, RowCursor--> each image --TablePlan--> Avro datum bytes
//! ```
//!
//! Images that lack columns, and updates of parts of documents, take a way of their own (`partial`): slower, and out of the way of full ones.
//!
//! Everything that depends on the column alone (widths, character sets, labels, precision) is resolved in the plan; per row there is one
//! `match` a column, checked reads and bulk copies, without an allocation.
//!
//! Wire facts come from the documentation in the server's sources (`libs/mysql/binlog/event/*.h`, `sql-common/json_binary.h`,
//! `mysys/my_time.cc`) and were compared with a live server (`capture/tests/decode`).

mod charset;
mod cursor;
mod ddl;
mod decimal;
mod error;
mod event;
mod gtid;
mod json;
mod json_binary;
mod json_diff;
mod json_number;
mod json_selected;
mod json_text;
mod mariadb;
mod partial;
mod payload;
mod plan;
mod query;
mod rows;
mod table_map;
mod temporal;
mod text;
mod xa;

pub use self::{
    ddl::{ALL_TABLES, Definition, Form, ROLLED_BACK, Statement, Table, classify},
    error::DecodeError,
    event::{Decoded, FormatDescription, Rotate, event_name},
    gtid::GtidEvent,
    mariadb::{MariaDbGtid, MariaDbXa, expand, expanded_type, gtid_list},
    payload::{InnerEvent, Payload},
    plan::TablePlan,
    query::{QueryEvent, Session},
    rows::{RowCursor, RowsEvent},
    table_map::TableMap,
    text::text_of,
    xa::{XaPrepare, XaVerb},
};

#[cfg(test)]
pub(crate) use self::ddl::definition_of;
pub(crate) use self::json_selected::LIST_MAX;
pub(crate) use self::plan::{Selected, expression};

/// Whether this is a JSON document in its binary form.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_json_document(bytes: &[u8]) -> bool {
    json::put(&mut Vec::new(), bytes).is_ok()
}
