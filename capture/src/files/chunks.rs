//! A file's bytes in order, read ahead in large chunks.
//!
//! While one chunk is decoded, the next one is read on a thread for blocking work. What is left of a chunk (the first part of an event)
//! is moved in front of the next one, into room that is kept there for it, so nothing else is copied. An event that is larger than that
//! is gathered in memory of its own, which is given back with the chunk after it.

use std::{fs::File, io, io::Read};

use tokio::task::JoinHandle;

const CHUNK: usize = 1 << 20;
/// Before each chunk; most events are smaller.
const HEAD: usize = 64 << 10;

type Fetched = (File, Vec<u8>, io::Result<usize>);

#[derive(Debug)]
pub(super) struct Chunks {
    /// The chunk that comes next, being read. `None`: the end has been reached, or nothing was ever asked for.
    next: Option<JoinHandle<Fetched>>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// In the file, of `start`.
    position: u64,
    /// Not asked for yet.
    ahead: u64,
    spare: Vec<u8>,
}

impl Chunks {
    /// Reads from the file's present place, `position`, to `size`, whatever is appended meanwhile.
    pub(super) fn new(file: File, position: u64, size: u64) -> Self {
        let mut chunks = Self {
            next: None,
            bytes: Vec::new(),
            start: 0,
            end: 0,
            position,
            ahead: size.saturating_sub(position),
            spare: Vec::new(),
        };
        chunks.fetch(file);
        chunks
    }

    fn fetch(&mut self, mut file: File) {
        let want = usize::try_from(self.ahead).map_or(CHUNK, |ahead| ahead.min(CHUNK));
        if want == 0 {
            return;
        }
        self.ahead -= want as u64;
        let mut bytes = std::mem::take(&mut self.spare);
        self.next = Some(tokio::task::spawn_blocking(move || {
            bytes.resize(HEAD + want, 0);
            let mut got = 0;
            while got < want {
                match file.read(&mut bytes[HEAD + got..]) {
                    Ok(0) => break,
                    Ok(count) => got += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return (file, bytes, Err(error)),
                }
            }
            (file, bytes, Ok(got))
        }));
    }

    /// What is here and not taken.
    #[inline]
    pub(super) fn window(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The next `count` bytes of the window are done with. They can still be seen with [`taken`](Self::taken).
    #[inline]
    pub(super) fn take(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.position += count as u64;
    }

    /// The last `count` bytes that were taken.
    #[inline]
    pub(super) fn taken(&self, count: usize) -> &[u8] {
        &self.bytes[self.start.saturating_sub(count)..self.start]
    }

    /// Position in the file of the window's first byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Makes the window larger; `false` at the end. `expected`: how large it will have to be, when that is known to be in the file.
    /// Dropping the future loses nothing.
    pub(super) async fn more(&mut self, expected: usize) -> io::Result<bool> {
        let Some(next) = &mut self.next else {
            return Ok(false);
        };
        let fetched = next.await;
        self.next = None;
        let (file, mut chunk, got) = fetched.map_err(io::Error::other)?;
        let got = got?;
        if got == 0 {
            return Ok(false);
        }
        let left = self.end - self.start;
        if left <= HEAD {
            chunk[HEAD - left..HEAD].copy_from_slice(&self.bytes[self.start..self.end]);
            let old = std::mem::replace(&mut self.bytes, chunk);
            (self.start, self.end) = (HEAD - left, HEAD + got);
            if old.capacity() <= 2 * (HEAD + CHUNK) {
                self.spare = old;
            }
        } else {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, left);
            }
            self.bytes.truncate(left);
            let room = expected.max(left + got) - left;
            self.bytes.reserve_exact(room);
            self.bytes.extend_from_slice(&chunk[HEAD..HEAD + got]);
            self.end = left + got;
            self.spare = chunk;
        }
        self.fetch(file);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(length: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    }

    /// Takes pieces of these sizes in turn, and sees every byte once.
    async fn read(length: usize, sizes: &[usize]) {
        let mut chunks = Chunks::new(file(length), 0, length as u64);
        let (mut at, mut turn) = (0, 0);
        loop {
            let size = sizes[turn % sizes.len()].min(length - at);
            while chunks.window().len() < size {
                assert!(chunks.more(size).await.unwrap(), "{at} of {length}");
            }
            if size == 0 {
                assert!(!chunks.more(0).await.unwrap());
                return;
            }
            assert_eq!(chunks.position(), at as u64);
            chunks.take(size);
            for byte in chunks.taken(size) {
                assert_eq!(*byte, (at % 251) as u8);
                at += 1;
            }
            turn += 1;
        }
    }

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order() {
        for sizes in [
            &[19usize, 100, 8000][..],
            &[HEAD - 1, HEAD, HEAD + 1],
            &[CHUNK - 1, 7, CHUNK, CHUNK + 1, 3 * CHUNK],
        ] {
            for length in [0, 1, HEAD, CHUNK, CHUNK + 1, 5 * CHUNK + 77] {
                read(length, sizes).await;
            }
        }
    }

    #[tokio::test]
    async fn memory_of_a_large_event_is_given_back() {
        let mut chunks = Chunks::new(file(9 * CHUNK), 0, 9 * CHUNK as u64);
        while chunks.window().len() < 5 * CHUNK {
            assert!(chunks.more(5 * CHUNK).await.unwrap());
        }
        assert!(chunks.bytes.capacity() <= 7 * CHUNK);
        chunks.take(5 * CHUNK);
        while chunks.more(0).await.unwrap() {
            chunks.take(chunks.window().len());
        }
        assert!(chunks.bytes.capacity() <= 2 * (HEAD + CHUNK));
    }

    #[tokio::test]
    async fn what_is_appended_later_is_not_read() {
        let mut chunks = Chunks::new(file(500), 0, 300);
        while chunks.more(0).await.unwrap() {}
        assert_eq!(chunks.window().len(), 300);
        let mut chunks = Chunks::new(file(200), 0, 300);
        while chunks.more(0).await.unwrap() {}
        assert_eq!(chunks.window().len(), 200, "shorter than it was");
    }
}
