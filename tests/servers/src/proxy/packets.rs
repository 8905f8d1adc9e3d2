//! As much of MySQL's protocol as the faults need: where a COMMIT goes by, and where its answer ends.
//!
//! ```text
//! packet    0  length      3 bytes, little endian
//!           3  sequence    1 byte, 0 in the first packet of a command
//!           4  payload
//! command   0  0x03        COM_QUERY
//!           1  text        (before it, query attributes if the client uses them)
//! OK        0  0x00, affected rows (lenenc), insert id (lenenc), status (2 bytes, little endian: 0x0008 = more results), …
//! ERR       0  0xff, …
//! ```

const COM_QUERY: u8 = 3;
const MORE_RESULTS: u16 = 8;

/// As much of a packet's end (or of an answer's start) as is looked at.
const KEPT: usize = 64;

/// Cuts a stream into packets, keeping the first and last bytes of each payload.
#[derive(Debug, Default)]
struct Packets {
    header: Vec<u8>,
    left: usize,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Packets {
    /// Calls `complete(sequence, head, tail)` at the end of each packet.
    fn feed(&mut self, mut bytes: &[u8], mut complete: impl FnMut(u8, &[u8], &[u8])) {
        while !bytes.is_empty() {
            if self.header.len() < 4 {
                let take = bytes.len().min(4 - self.header.len());
                self.header.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                if self.header.len() < 4 {
                    return;
                }
                self.left = u32::from_le_bytes([self.header[0], self.header[1], self.header[2], 0])
                    as usize;
                self.head.clear();
                self.tail.clear();
            }
            let take = bytes.len().min(self.left);
            let (payload, rest) = bytes.split_at(take);
            let missing = KEPT - self.head.len().min(KEPT);
            self.head.extend_from_slice(&payload[..take.min(missing)]);
            self.tail
                .extend_from_slice(&payload[take.saturating_sub(KEPT)..]);
            let surplus = self.tail.len().saturating_sub(KEPT);
            self.tail.drain(..surplus);
            self.left -= take;
            bytes = rest;
            if self.left == 0 {
                complete(self.header[3], &self.head, &self.tail);
                self.header.clear();
            }
        }
    }
}

/// Finds a COMMIT among the client's packets.
#[derive(Debug, Default)]
pub(super) struct CommitFinder {
    packets: Packets,
}

impl CommitFinder {
    /// Whether a COMMIT ended in this piece.
    pub(super) fn feed(&mut self, piece: &[u8]) -> bool {
        let mut found = false;
        self.packets.feed(piece, |sequence, head, tail| {
            found |= sequence == 0 && head.first() == Some(&COM_QUERY) && ends_with_commit(tail);
        });
        found
    }
}

fn ends_with_commit(text: &[u8]) -> bool {
    const COMMIT: &[u8] = b"COMMIT";
    let end = text
        .iter()
        .rposition(|b| !b.is_ascii_whitespace() && *b != b';')
        .map_or(0, |last| last + 1);
    let Some(start) = end.checked_sub(COMMIT.len()) else {
        return false;
    };
    let word_before =
        start > 0 && (text[start - 1].is_ascii_alphanumeric() || text[start - 1] == b'_');
    text[start..end].eq_ignore_ascii_case(COMMIT) && !word_before
}

/// Finds the end of the server's answer: the last OK, or an error.
#[derive(Debug, Default)]
pub(super) struct AnswerEnd {
    packets: Packets,
}

impl AnswerEnd {
    /// Whether the answer is complete.
    pub(super) fn feed(&mut self, piece: &[u8]) -> bool {
        let mut ended = false;
        self.packets
            .feed(piece, |_, head, _| ended |= is_last(head));
        ended
    }
}

fn is_last(payload: &[u8]) -> bool {
    match payload.first() {
        Some(0xff) => true,
        Some(0x00) => {
            let status = skip_integer(&payload[1..])
                .and_then(skip_integer)
                .and_then(|rest| rest.first_chunk::<2>())
                .map_or(0, |bytes| u16::from_le_bytes(*bytes));
            status & MORE_RESULTS == 0
        }
        _ => false,
    }
}

/// What follows a length-encoded integer.
fn skip_integer(bytes: &[u8]) -> Option<&[u8]> {
    let length = match bytes.first()? {
        0xfc => 3,
        0xfd => 4,
        0xfe => 9,
        _ => 1,
    };
    bytes.get(length..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    }

    fn query(text: &str) -> Vec<u8> {
        packet(0, &[&[COM_QUERY], text.as_bytes()].concat())
    }

    #[test]
    fn commits_in_any_split_of_the_bytes() {
        let long = format!("UPDATE t SET a = '{}'; COMMIT", "x".repeat(5000));
        for text in ["COMMIT", "commit ;\n", "\u{0}\u{1}COMMIT", long.as_str()] {
            let stream = [query("BEGIN"), query(text)].concat();
            for size in [1, 2, 7, 4096, stream.len()] {
                let mut finder = CommitFinder::default();
                let found = stream.chunks(size).filter(|c| finder.feed(c)).count();
                assert_eq!(found, 1, "{text:.20} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_commit() {
        let mut finder = CommitFinder::default();
        for other in ["SELECT 'COMMIT'", "SELECT no_commit", "ROLLBACK", ""] {
            assert!(!finder.feed(&query(other)), "{other}");
        }
        // A prepared statement's bytes, and the middle of a login.
        assert!(!finder.feed(&packet(0, b"\x16COMMIT")));
        assert!(!finder.feed(&packet(1, b"\x03COMMIT")));
    }

    #[test]
    fn the_last_answer_of_several() {
        let more = packet(1, &[0, 1, 0, 8, 0, 0, 0]);
        let last = packet(2, &[0, 0xfc, 1, 2, 0, 2, 0, 0, 0]);
        let mut end = AnswerEnd::default();
        assert!(!end.feed(&more));
        assert!(!end.feed(&last[..8]));
        assert!(end.feed(&last[8..]));
        assert!(AnswerEnd::default().feed(&packet(1, b"\xff\x12\x34#40001x")));
    }
}
