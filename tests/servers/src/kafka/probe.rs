//! Whether a broker is ready: asked over the protocol, and of this very broker, which a client library would not promise.
//!
//! ```text
//! request    0  length         4 bytes, big endian as all here; counts what follows
//!            4  api key        2 bytes, 3 = Metadata
//!            6  api version    2 bytes, 2
//!            8  correlation    4 bytes
//!           12  client id      2 bytes of length, text
//!           ..  topics         4 bytes, 0 = none
//! response   0  length         4 bytes
//!            4  correlation    4 bytes
//!            8  brokers        4 bytes, and for each: id (4), host (text), port (4), rack (text, or a length of -1)
//!           ..  cluster id     text, or a length of -1
//!           ..  controller and topics, not read
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A broker's answer is some hundred bytes; what says otherwise is no broker.
const LONGEST: usize = 1 << 20;

/// What a broker says of its cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) cluster: String,
    /// The ids and ports of the live brokers.
    pub(super) brokers: Vec<(i32, i32)>,
}

/// Asks the broker at a port of the loopback interface. `None` when it does not answer like one.
pub(super) fn ask(port: u16, limit: Duration) -> Option<Answer> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.write_all(&request()).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if length > LONGEST {
        return None;
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).ok()?;
    read(&answer)
}

fn request() -> Vec<u8> {
    let client = b"binferry-servers";
    let mut body = Vec::new();
    body.extend(3_i16.to_be_bytes());
    body.extend(2_i16.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend((client.len() as i16).to_be_bytes());
    body.extend(client);
    body.extend(0_i32.to_be_bytes());
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// The response without its length.
fn read(bytes: &[u8]) -> Option<Answer> {
    let mut bytes = bytes.get(4..)?;
    let mut brokers = Vec::new();
    for _ in 0..integer(&mut bytes)? {
        let id = integer(&mut bytes)?;
        text(&mut bytes)?;
        brokers.push((id, integer(&mut bytes)?));
        text(&mut bytes)?;
    }
    let cluster = text(&mut bytes)?;
    Some(Answer { cluster, brokers })
}

fn integer(bytes: &mut &[u8]) -> Option<i32> {
    let (value, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*value))
}

/// Empty for null.
fn text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    let (value, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_every_piece_of_it() {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 1];
        answer.extend([0, 0, 0, 2, 0, 1, b'h', 0, 0, 0x23, 0x84, 0xff, 0xff]);
        answer.extend([0, 3, b'a', b'b', b'c']);
        let expected = Answer {
            cluster: "abc".into(),
            brokers: vec![(2, 9092)],
        };
        assert_eq!(read(&answer), Some(expected));
        for end in 0..answer.len() {
            assert_eq!(read(&answer[..end]), None, "{end}");
        }
    }
}
