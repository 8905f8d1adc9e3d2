//! As much of Kafka's protocol as the faults need: where a Produce request goes by, and where its response ends.
//!
//! ```text
//! frame      0  length        4 bytes, big endian as all here; counts what follows
//! request    4  api key       2 bytes, 0 = Produce
//!            6  api version   2 bytes
//!            8  correlation   4 bytes
//! response   4  correlation   4 bytes, that of its request
//! ```

const PRODUCE: [u8; 2] = [0, 0];

/// As much of a frame's start as is looked at, after its length.
const HEAD: usize = 8;

/// Cuts a stream into frames, keeping the start of each.
#[derive(Debug, Default)]
struct Frames {
    length: Vec<u8>,
    left: usize,
    head: Vec<u8>,
}

impl Frames {
    /// Calls `complete(head)` at the end of each frame.
    fn feed(&mut self, mut bytes: &[u8], mut complete: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.length.len() < 4 {
                let take = bytes.len().min(4 - self.length.len());
                self.length.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                let Some(length) = self.length.first_chunk::<4>() else {
                    return;
                };
                self.left = u32::from_be_bytes(*length) as usize;
                self.head.clear();
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
            let missing = HEAD - self.head.len();
            self.head
                .extend_from_slice(&payload[..payload.len().min(missing)]);
            self.left -= payload.len();
            bytes = rest;
            if self.left == 0 {
                complete(&self.head);
                self.length.clear();
            }
        }
    }
}

/// What a request is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Correlation([u8; 4]);

/// Finds Produce requests among the client's.
#[derive(Debug, Default)]
pub(super) struct ProduceFinder {
    frames: Frames,
}

impl ProduceFinder {
    /// The first Produce request that ended in this piece.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Option<Correlation> {
        let mut found = None;
        self.frames.feed(piece, |head| {
            if head.starts_with(&PRODUCE)
                && let Some(correlation) = head.last_chunk::<4>().filter(|_| head.len() == HEAD)
            {
                found = found.or(Some(Correlation(*correlation)));
            }
        });
        found
    }
}

/// Finds the ends of responses. It must see all of them from the start, as a request may be found while one is on its way.
#[derive(Debug, Default)]
pub(super) struct Responses {
    frames: Frames,
}

impl Responses {
    /// Whether the response to `request` ended in this piece.
    pub(super) fn feed(&mut self, piece: &[u8], request: Option<Correlation>) -> bool {
        let mut ended = false;
        self.frames.feed(piece, |head| {
            ended |= request.is_some_and(|Correlation(id)| head.starts_with(&id));
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
    }

    fn request(key: u8, correlation: u8, body: usize) -> Vec<u8> {
        let head = [0, key, 0, 9, 0, 0, 0, correlation];
        frame(&[&head[..], &vec![0; body]].concat())
    }

    #[test]
    fn a_produce_request_in_any_split_of_the_bytes() {
        let stream = [request(3, 1, 0), request(0, 2, 5000), request(0, 3, 1)].concat();
        for size in [1, 3, 8, 4096, stream.len()] {
            let mut finder = ProduceFinder::default();
            let found: Vec<_> = stream.chunks(size).filter_map(|c| finder.feed(c)).collect();
            assert_eq!(found[0], Correlation([0, 0, 0, 2]), "in pieces of {size}");
        }
        let mut finder = ProduceFinder::default();
        assert_eq!(finder.feed(&request(1, 7, 100)), None);
    }

    #[test]
    fn its_response_after_half_of_another() {
        let (other, own) = (
            frame(&[0, 0, 0, 1, 9, 9, 9, 9, 9, 9]),
            frame(&[0, 0, 0, 2, 0]),
        );
        let request = Some(Correlation([0, 0, 0, 2]));
        let mut responses = Responses::default();
        assert!(!responses.feed(&other[..6], None));
        assert!(!responses.feed(&other[6..], request));
        assert!(!responses.feed(&own[..8], request));
        assert!(responses.feed(&own[8..], request));
    }
}
