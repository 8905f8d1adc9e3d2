//! Requests for copies, as they lie beside the log until the capture takes them up.
//!
//! ```text
//! binferry snapshot 1
//! tables PATTERNS          normalised, as in --tables
//! ```
//!
//! The request's id becomes the job's. A request is taken away once its job is durable in the log; a capture that dies in between meets it
//! again, and knows the job.

use binferry_schemas::{
    filter::TableFilter,
    gtid::Uuid,
    record::{Over, SnapshotJob},
};

const HEAD: &str = "binferry snapshot 1\ntables ";

/// A request to copy tables that are in the log already, or that are not; a target empties what it has of them first.
pub fn text(tables: &TableFilter) -> String {
    format!("{HEAD}{tables}\n")
}

/// `None`: it is none, or a newer version's.
pub(super) fn parse(id: Uuid, text: &str) -> Option<SnapshotJob> {
    let tables = text.strip_prefix(HEAD)?.strip_suffix('\n')?;
    let tables: TableFilter = tables.parse().ok()?;
    Some(SnapshotJob {
        id,
        ..super::job(&tables, None, Over::Remove)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back() {
        let tables: TableFilter = "shop.*,!shop.`a\nb`".parse().unwrap();
        let id = Uuid::from_u128(7);
        let job = parse(id, &text(&tables)).unwrap();
        assert_eq!((job.id, job.over), (id, Over::Remove));
        assert_eq!(job.tables.parse(), Ok(tables));
        assert_eq!(parse(id, "binferry snapshot 2\ntables a.b\n"), None);
    }
}
