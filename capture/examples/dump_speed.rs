//! The bare speed of a dump: every event of a source from a GTID set on, framed and verified, and thrown away.
//!
//! `cargo run --release -p binferry-capture --example dump_speed -- URL [GTIDSET]`, to be compared with
//! `mysqlbinlog --read-from-remote-server --raw` on the same server. Tables of the events and the time go to stdout.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use binferry_capture::client::Connection;
use binferry_capture::dump::{Dump, Request, choose_server_id};
use binferry_capture::error::{CaptureError, Transient};
use binferry_schemas::address::Address;
use binferry_schemas::gtid::{GtidSet, Uuid};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: Address = arguments
        .next()
        .ok_or("usage: dump_speed URL [GTIDSET]")?
        .parse()?;
    let executed: GtidSet = arguments.next().unwrap_or_default().parse()?;
    let mut connection = Connection::open(&address).await?;
    println!(
        "{} {}, encrypted: {}",
        connection.server(),
        connection.version(),
        connection.is_encrypted()
    );
    let replica_uuid = Uuid::from_u128(u128::from(std::process::id()));
    let server_id = choose_server_id(&mut connection, None, replica_uuid).await?;
    let request = Request {
        server_id,
        replica_uuid,
        executed: &executed,
        heartbeat: Duration::from_secs(1),
        follow: false,
    };
    let begin = Instant::now();
    let mut dump = Dump::start(connection, &request).await?;
    let (mut events, mut bytes, mut fills) = (0u64, 0u64, 0u64);
    let mut types = BTreeMap::<u8, u64>::new();
    let end = loop {
        match dump.buffered() {
            Ok(Some(event)) => {
                events += 1;
                bytes += event.body.len() as u64 + 23;
                *types.entry(event.type_code).or_default() += 1;
            }
            Ok(None) => match dump.fill().await {
                Ok(()) => fills += 1,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "types {types:?}, last file {}, checksums {}",
        dump.file(),
        dump.checksummed()
    );
    println!(
        "{events} events, {:.1} MB in {seconds:.2} s: {:.0} events/s, {:.1} MB/s, {fills} reads",
        bytes as f64 / 1e6,
        events as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
    );
    match end {
        CaptureError::Transient(Transient::DumpEnded { .. }) => Ok(()),
        error => Err(error.into()),
    }
}
