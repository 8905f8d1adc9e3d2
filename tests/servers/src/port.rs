//! Ports for servers that must find them free again after a kill.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::{Error, Result};

/// A free port below the range from which the system takes those of outgoing connections: a killed server must find its port
/// free when it starts again. Each process looks from another place on.
pub(crate) fn free() -> Result<u16> {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 17_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let place = (std::process::id().wrapping_mul(2_654_435_761) >> 16) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + place.wrapping_add(step) % COUNT;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::system("find a free port", "none"))
}
