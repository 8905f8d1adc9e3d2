//! XA transactions in the binlog.
//!
//! ```text
//! XA_PREPARE   u8 one phase | u32 format id | u32 length of gtrid | u32 length of bqual | gtrid | bqual
//! ```
//!
//! (`libs/mysql/binlog/event/control_events.h`.) The statements around it are the server's own text: `XA START X'67',X'',1`, `XA END …`
//! before it, and `XA COMMIT …` or `XA ROLLBACK …` as a transaction of its own, at any time later.

use binferry_schemas::record::Xid;

use super::cursor::{Cursor, Flaw, Read};

/// Ends the group that XA START began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XaPrepare {
    /// XA COMMIT … ONE PHASE: it is committed.
    pub one_phase: bool,
    pub xid: Xid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XaVerb {
    Start,
    End,
    Prepare,
    Commit,
    CommitOnePhase,
    Rollback,
}

/// The servers' own limit for each part.
const PART: u32 = 64;

pub(super) fn prepare(body: &[u8]) -> Read<XaPrepare> {
    let mut cursor = Cursor::new(body);
    let one_phase = cursor.u8()? != 0;
    let format = cursor.u32()?;
    let (gtrid, bqual) = (cursor.u32()?, cursor.u32()?);
    if gtrid > PART || bqual > PART {
        return Err(Flaw("holds an xid that is too long"));
    }
    let xid = Xid {
        format,
        gtrid: cursor.take(gtrid as usize)?.to_vec(),
        bqual: cursor.take(bqual as usize)?.to_vec(),
    };
    Ok(XaPrepare { one_phase, xid })
}

/// `None`: no XA statement as a server writes it.
pub(super) fn statement(text: &str) -> Option<(XaVerb, Xid)> {
    let rest = text.strip_prefix("XA ")?;
    let (verb, rest) = rest.split_once(' ')?;
    let verb = match verb {
        "START" | "BEGIN" => XaVerb::Start,
        "END" => XaVerb::End,
        "PREPARE" => XaVerb::Prepare,
        "COMMIT" => XaVerb::Commit,
        "ROLLBACK" => XaVerb::Rollback,
        _ => return None,
    };
    let (gtrid, rest) = part(rest)?;
    let (bqual, rest) = part(rest.strip_prefix(',')?)?;
    let rest = rest.strip_prefix(',')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '-');
    let (format, rest) = rest.split_at(digits.unwrap_or(rest.len()));
    // Printed with the bits of the server's `long`, signed or not.
    let format: i128 = format.parse().ok()?;
    let verb = match (verb, rest.trim()) {
        (verb, "") => verb,
        (XaVerb::Commit, "ONE PHASE") => XaVerb::CommitOnePhase,
        _ => return None,
    };
    let xid = Xid {
        format: format as u32,
        gtrid,
        bqual,
    };
    Some((verb, xid))
}

/// `X'6731'`, and what follows.
fn part(text: &str) -> Option<(Vec<u8>, &str)> {
    let (hex, rest) = text.strip_prefix("X'")?.split_once('\'')?;
    if hex.len() % 2 != 0 || hex.len() > 2 * PART as usize {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| Some((digit(pair.first()?)? << 4 | digit(pair.get(1)?)?) as u8))
        .collect();
    Some((bytes?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xid(format: u32, gtrid: &[u8], bqual: &[u8]) -> Xid {
        Xid {
            format,
            gtrid: gtrid.to_vec(),
            bqual: bqual.to_vec(),
        }
    }

    #[test]
    fn statements_as_servers_write_them() {
        let start = statement("XA START X'6731',X'62',7");
        assert_eq!(start, Some((XaVerb::Start, xid(7, b"g1", b"b"))));
        let commit = statement("XA COMMIT X'ff00',X'',4294967295 ONE PHASE");
        let expected = xid(u32::MAX, b"\xff\0", b"");
        assert_eq!(commit, Some((XaVerb::CommitOnePhase, expected)));
        for wrong in [
            "XA START",
            "XA START 'g'",
            "XA START X'6',X'',1",
            "XA START X'zz',X'',1",
            "XA START X'',X''",
            "XA END X'',X'',x",
            "XA START X'',X'',1 ONE PHASE",
            "XA RECOVER X'',X'',1",
        ] {
            assert_eq!(statement(wrong), None, "{wrong}");
        }
        assert_eq!(statement("XA END X'',X'',-1").unwrap().1.format, u32::MAX);
        let printed = format!("XA ROLLBACK {}", xid(3, b"\x01", b"q"));
        assert_eq!(
            statement(&printed),
            Some((XaVerb::Rollback, xid(3, b"\x01", b"q")))
        );
    }

    #[test]
    fn event_is_read_whole_or_refused() {
        let body = b"\0\x01\0\0\0\x02\0\0\0\x01\0\0\0g1b";
        let expected = XaPrepare {
            one_phase: false,
            xid: xid(1, b"g1", b"b"),
        };
        assert_eq!(prepare(body), Ok(expected));
        for end in 0..body.len() {
            assert!(prepare(&body[..end]).is_err());
        }
        assert!(prepare(b"\0\x01\0\0\0\x41\0\0\0\0\0\0\0").is_err());
    }
}
