//! `binferry.ddl`: which of a stream's statements is under way.
//!
//! A row a stream. `uuid` and `number` make the GTID of its next statement on targets that let us choose it; numbers are dense, so that
//! `gtid_executed` stays short. All other columns are about the statement that was begun last; `phase` says whether it is *open* (begun,
//! and perhaps done), *done* (its rows are to follow), or none is under way.
//!
//! Every change is in a transaction that begins with the progress statement, so an applier that was superseded can't write here.

use binferry_schemas::{
    gtid::{Gtid, Tag, Uuid},
    record::{Ddl, Offset},
};
use mysql_async::{Conn, Row, prelude::Queryable};

use super::definition::{Defined, encode};
use crate::{
    connection::from_mysql,
    error::ApplyError,
    render::literal::{put_hex, put_quoted},
};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS binferry.ddl (
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  uuid CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number BIGINT UNSIGNED NOT NULL,
  phase VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  gtid VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NULL,
  name VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NULL,
  incarnation CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  log_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  log_offset BIGINT UNSIGNED NULL,
  statement LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  before_it LONGBLOB NULL,
  updated DATETIME(6) NOT NULL
) ENGINE = InnoDB COMMENT = 'binferry: the schema change that each stream runs'";

const DOING: &str = "reading which schema change is under way";

/// A stream's row.
#[derive(Debug, Clone)]
pub struct Standing {
    pub uuid: Uuid,
    pub number: u64,
    pub open: Option<Open>,
}

/// A statement that was begun.
#[derive(Debug, Clone)]
pub struct Open {
    /// Of the source.
    pub gtid: String,
    /// On the target; `None`: it has none of our choosing.
    pub name: Option<String>,
    /// Of the applier that began it.
    pub incarnation: String,
    /// It is done, and its rows are not.
    pub done: bool,
    pub before: Vec<u8>,
}

/// Who runs a statement, and as what.
#[derive(Debug)]
pub struct Claim<'a> {
    pub log: Uuid,
    pub offset: Offset,
    /// On the target.
    pub name: Option<&'a str>,
    pub incarnation: Uuid,
}

/// Creates the table where it is missing, and only there.
pub async fn create_table(conn: &mut Conn) -> Result<(), ApplyError> {
    if exists(conn).await? {
        return Ok(());
    }
    let created = conn.query_drop(TABLE).await;
    created.map_err(|error| from_mysql(error, "creating binferry.ddl"))
}

async fn exists(conn: &mut Conn) -> Result<bool, ApplyError> {
    let count: Option<u64> = conn
        .query_first("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'binferry' AND table_name = 'ddl'")
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(count == Some(1))
}

/// What a stream of the same name has left behind means nothing to one that begins.
pub async fn forget(conn: &mut Conn, stream: &str) -> Result<(), ApplyError> {
    if !exists(conn).await? {
        return Ok(());
    }
    conn.exec_drop("DELETE FROM binferry.ddl WHERE stream = ?", (stream,))
        .await
        .map_err(|error| from_mysql(error, DOING))
}

/// Inside the transaction that passes a statement: it is not open any more, and its GTID may have been used.
pub async fn pass(conn: &mut Conn, stream: &str) -> Result<(), ApplyError> {
    if !exists(conn).await? {
        return Ok(());
    }
    let mut sql = Vec::new();
    put_done(&mut sql, stream, true, false);
    let passed = conn.query_drop(sql).await;
    passed.map_err(|error| from_mysql(error, "passing a schema change"))
}

/// A new one has no row yet.
pub async fn read(conn: &mut Conn, stream: &str) -> Result<Standing, ApplyError> {
    let row: Option<Row> = conn
        .exec_first(
            "SELECT uuid, number, phase, gtid, name, incarnation, before_it FROM binferry.ddl WHERE stream = ?",
            (stream,),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let Some(mut row) = row else {
        return Ok(Standing {
            uuid: ours(Uuid::new_v4()),
            number: 1,
            open: None,
        });
    };
    let broken = |reason: &str| ApplyError::Progress {
        stream: stream.to_owned(),
        reason: format!("binferry.ddl holds {reason}"),
    };
    // A guess at any of these would run a statement twice, or not at all.
    let number = row.take_opt::<u64, _>(1).and_then(Result::ok);
    let before = row
        .take_opt::<Option<Vec<u8>>, _>(6)
        .and_then(Result::ok)
        .flatten();
    let mut text = |at: usize| {
        row.take_opt::<Option<String>, _>(at)
            .and_then(Result::ok)
            .flatten()
    };
    let uuid = text(0).and_then(|text| text.parse().ok());
    let done = match text(2).as_deref() {
        Some("none") => None,
        Some("open") => Some(false),
        Some("done") => Some(true),
        _ => return Err(broken("a phase that is none")),
    };
    let open = match done {
        None => None,
        Some(done) => {
            let (Some(gtid), Some(incarnation)) = (text(3), text(5)) else {
                return Err(broken("a statement without its GTID or its applier"));
            };
            let before = match (before, done) {
                (Some(before), _) => before,
                // Of what is done it is not kept.
                (None, true) => Vec::new(),
                (None, false) => return Err(broken("a statement without what was before it")),
            };
            Some(Open {
                gtid,
                name: text(4),
                incarnation,
                done,
                before,
            })
        }
    };
    Ok(Standing {
        uuid: uuid.ok_or_else(|| broken("a uuid that is none"))?,
        number: number.ok_or_else(|| broken("a number that is none"))?,
        open,
    })
}

/// A random UUID as one that only statements of ours have: RFC 9562's custom version 8.
///
/// ```text
/// 4 random bytes | 62 66 | 84 64 | ac 6c | 6 random bytes
/// ```
fn ours(random: Uuid) -> Uuid {
    let mut bytes = *random.as_bytes();
    bytes[4..10].copy_from_slice(&[0x62, 0x66, 0x84, 0x64, 0xac, 0x6c]);
    Uuid::from_bytes(bytes)
}

impl Standing {
    /// The GTID of the next statement.
    pub fn name(&self) -> Gtid {
        Gtid {
            uuid: self.uuid,
            tag: Tag::default(),
            gno: self.number,
        }
    }

    /// Writes the statement as open.
    pub fn put_open(
        &self,
        out: &mut Vec<u8>,
        stream: &str,
        ddl: &Ddl,
        claim: &Claim<'_>,
        before: &[Defined],
    ) {
        let Claim {
            log,
            offset: Offset(offset),
            name,
            incarnation,
        } = claim;
        out.extend_from_slice(
            b"REPLACE INTO binferry.ddl (stream,uuid,number,phase,gtid,name,incarnation,log_id,log_offset,statement,before_it,updated) VALUES (",
        );
        put_quoted(out, stream.as_bytes());
        out.extend_from_slice(
            format!(
                ",'{}',{},'open','{}',",
                self.uuid, self.number, ddl.transaction.gtid
            )
            .as_bytes(),
        );
        match name {
            None => out.extend_from_slice(b"NULL"),
            Some(name) => put_quoted(out, name.as_bytes()),
        }
        out.extend_from_slice(format!(",'{incarnation}','{log}',{offset},").as_bytes());
        put_quoted(out, ddl.statement.as_bytes());
        out.push(b',');
        put_hex(out, &encode(before));
        out.extend_from_slice(b",UTC_TIMESTAMP(6))");
    }
}

/// It is done: nothing is under way, or its rows.
pub fn put_done(out: &mut Vec<u8>, stream: &str, numbered: bool, rows_follow: bool) {
    out.extend_from_slice(
        b"UPDATE binferry.ddl SET updated=UTC_TIMESTAMP(6),before_it=NULL,statement=NULL,phase=",
    );
    out.extend_from_slice(match rows_follow {
        true => b"'done'",
        false => b"'none'",
    });
    if numbered {
        out.extend_from_slice(b",number=number+1");
    }
    out.extend_from_slice(b" WHERE stream=");
    put_quoted(out, stream.as_bytes());
}

/// The statement was refused: it is not open any more.
pub fn put_refused(out: &mut Vec<u8>, stream: &str) {
    put_done(out, stream, false, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_they_are() {
        let uuid = ours(Uuid::from_u128(u128::MAX));
        assert_eq!(uuid.to_string(), "ffffffff-6266-8464-ac6c-ffffffffffff");
        let standing = Standing {
            uuid,
            number: 7,
            open: None,
        };
        assert_eq!(
            standing.name().to_string(),
            "ffffffff-6266-8464-ac6c-ffffffffffff:7"
        );
    }
}
