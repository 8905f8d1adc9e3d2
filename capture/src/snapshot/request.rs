//! What lies beside the log for its capture: requests for copies, until it takes them up, and tables that were added that way, until its
//! own `--tables` has them.
//!
//! ```text
//! binferry snapshot 1
//! tables PATTERNS          normalised, as in --tables
//! over repair              or remove: tables that the log has. Or nothing: tables that it has not
//!
//! binferry tables 1
//! tables PATTERNS          that the capture has beside those of its --tables
//! ```
//!
//! A request's id becomes the job's. A request is taken away once its job is durable in the log; a capture that dies in between meets it
//! again, and knows the job. A request for tables that the log has not ends the attempt: the next one begins with more tables, a job for
//! them in its `Start`, and then notes them here in the request's place.

use binferry_schemas::{
    filter::TableFilter,
    gtid::Uuid,
    record::{Over, SnapshotJob},
};

const WANTED: &str = "binferry snapshot 1\ntables ";
const ADDED: &str = "binferry tables 1\ntables ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Copy { tables: TableFilter, over: Over },
    Added { tables: TableFilter },
}

impl Request {
    pub fn text(&self) -> String {
        match self {
            Self::Copy { tables, over } => {
                format!("{WANTED}{tables}\nover {}\n", over.name())
            }
            Self::Added { tables } => format!("{ADDED}{tables}\n"),
        }
    }

    /// `None`: it is none, or a newer version's.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(tables) = text.strip_prefix(ADDED) {
            let tables = tables.strip_suffix('\n')?.parse().ok()?;
            return Some(Self::Added { tables });
        }
        // A quoted name may hold a line end.
        let (tables, over) = text
            .strip_prefix(WANTED)?
            .strip_suffix('\n')?
            .rsplit_once("\nover ")?;
        Some(Self::Copy {
            tables: tables.parse().ok()?,
            over: Over::ALL.into_iter().find(|known| known.name() == over)?,
        })
    }
}

pub(super) fn job(id: Uuid, tables: &TableFilter, over: Over) -> SnapshotJob {
    SnapshotJob {
        id,
        ..super::job(tables, None, over)
    }
}

/// What a capture begins with: its own tables, and those that were added.
#[derive(Debug)]
pub(crate) struct Widening {
    pub filter: TableFilter,
    /// Requests that are no longer needed as they are, and what takes their place.
    pub settled: Vec<(Uuid, Option<String>)>,
    /// Tables that requests ask for, which the log may lack.
    pub asked: Vec<TableFilter>,
}

/// `own`: what `--tables` says; `logged`: what the log has.
pub(crate) fn widen(
    own: &TableFilter,
    logged: Option<&TableFilter>,
    requests: &[(Uuid, String)],
) -> Widening {
    let mut widening = Widening {
        filter: own.clone(),
        settled: Vec::new(),
        asked: Vec::new(),
    };
    for (id, text) in requests {
        let (tables, copy) = match Request::parse(text) {
            Some(Request::Added { tables }) => (tables, false),
            Some(Request::Copy {
                tables,
                over: Over::Nothing,
            }) => (tables, true),
            _ => continue,
        };
        let has = |filter: &TableFilter| filter.widened(&tables).as_ref() == Some(filter);
        if has(own) {
            let comes = copy && !logged.is_some_and(has);
            if comes {
                widening.asked.push(tables.clone());
            }
            // A request for what the log has is the copy's to take up.
            if comes || !copy {
                widening.settled.push((*id, None));
            }
            continue;
        }
        // What --tables leaves out by name stays out.
        let Some(wider) = widening.filter.widened(&tables) else {
            continue;
        };
        widening.filter = wider;
        if copy {
            let added = Request::Added {
                tables: tables.clone(),
            };
            widening.settled.push((*id, Some(added.text())));
            widening.asked.push(tables);
        }
    }
    widening
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TableFilter {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_comes_back() {
        for over in Over::ALL {
            let request = Request::Copy {
                tables: filter("shop.*,!shop.`a\nover nothing\nb`"),
                over,
            };
            assert_eq!(Request::parse(&request.text()), Some(request));
        }
        let added = Request::Added {
            tables: filter("shop.`a\nb`"),
        };
        assert_eq!(Request::parse(&added.text()), Some(added));
        for other in [
            "binferry snapshot 2\ntables a.b\nover repair\n",
            "binferry snapshot 1\ntables a.b\nover all\n",
            "binferry tables 2\ntables a.b\n",
        ] {
            assert_eq!(Request::parse(other), None, "{other}");
        }
    }

    #[test]
    fn tables_are_added_until_the_capture_names_them() {
        let request = |n, request: Request| (Uuid::from_u128(n), request.text());
        let copy = |n, tables, over| {
            let tables = filter(tables);
            request(n, Request::Copy { tables, over })
        };
        let added = |n, tables| {
            let tables = filter(tables);
            request(n, Request::Added { tables })
        };
        let all = [
            copy(1, "b.x", Over::Nothing),
            added(2, "c.x"),
            added(3, "a.x"),
            copy(4, "a.y", Over::Repair),
            copy(5, "a.no", Over::Nothing),
            copy(6, "a.new", Over::Nothing),
            copy(7, "a.z", Over::Nothing),
        ];
        let widening = widen(&filter("a.*,!a.no"), Some(&filter("a.z,c.x")), &all);
        assert_eq!(widening.filter, filter("a.*,b.x,c.x,!a.no"));
        assert_eq!(widening.asked, [filter("b.x"), filter("a.new")]);
        let in_place = added(1, "b.x").1;
        let settled = [
            (Uuid::from_u128(1), Some(in_place)),
            (Uuid::from_u128(3), None),
            (Uuid::from_u128(6), None),
        ];
        assert_eq!(widening.settled, settled);
    }
}
