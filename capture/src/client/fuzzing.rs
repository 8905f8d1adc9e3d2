//! The client's pure half, for the fuzzer.

use bytes::BufMut;

use super::{
    answer,
    auth::{Exchange, Method},
    frame::{FrameError, Frames, Room},
    greeting,
};

/// The receiving half of a connection, fed by hand.
pub(crate) struct Packets {
    frames: Frames,
}

impl Packets {
    pub(crate) fn new() -> Self {
        Self {
            frames: Frames::new(4096),
        }
    }

    /// Takes bytes as from a socket, and reads every packet that is whole as each answer that it could be.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        loop {
            while self.frames.ready()? {
                read(self.frames.take());
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let count = match self.frames.room() {
                Room::Buffer(room) => {
                    let count = room.len().min(bytes.len());
                    room[..count].copy_from_slice(&bytes[..count]);
                    count
                }
                Room::Gathered(mut room) => {
                    let count = room.remaining_mut().min(bytes.len());
                    room.put_slice(&bytes[..count]);
                    count
                }
            };
            self.frames.filled(count);
            bytes = &bytes[count..];
        }
    }
}

fn read(packet: &[u8]) {
    let _ = greeting::parse(packet);
    let _ = answer::err(packet);
    let _ = (answer::is_ok(packet), answer::is_eof(packet));
    let _ = answer::column_name(packet);
    let columns = answer::column_count(packet).unwrap_or(3);
    let _ = answer::row(packet, columns);
    for (method, tls) in [
        (Method::CachingSha2, false),
        (Method::Sha256, true),
        (Method::Native, false),
    ] {
        let mut exchange = Exchange::new("password", tls, method, vec![7; 20]);
        exchange.first();
        let _ = exchange.step(packet);
    }
}
