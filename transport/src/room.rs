//! What writers have in common: room for bytes in flight, taken before they are handed over, and waiting until they are durable.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use crate::log::{Accepted, Durable};

/// Takes room for so many bytes in all, at least one and at most `limit`, with what is reserved already. Fails when the writer has closed
/// the semaphore. Cancelling it loses nothing.
pub(crate) async fn reserve(
    room: &Arc<Semaphore>,
    reserved: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
    limit: usize,
) -> Result<(), AcquireError> {
    let have = reserved
        .as_ref()
        .map_or(0, OwnedSemaphorePermit::num_permits);
    let missing = bytes.clamp(1, limit).saturating_sub(have);
    if missing == 0 {
        return Ok(());
    }
    // Limits are below u32::MAX.
    let missing = u32::try_from(missing).unwrap_or(u32::MAX);
    let more = room.clone().acquire_many_owned(missing).await?;
    match reserved {
        Some(reserved) => reserved.merge(more),
        None => *reserved = Some(more),
    }
    Ok(())
}

/// `None`: the channel has closed before that, because the writer has failed.
pub(crate) async fn durable(
    watcher: &mut watch::Receiver<Option<Durable>>,
    accepted: Accepted,
) -> Option<Durable> {
    let reached =
        |durable: &Option<Durable>| durable.is_some_and(|d| d.ordinal >= accepted.ordinal);
    let outcome = watcher.wait_for(reached).await.map(|durable| *durable);
    outcome.ok().flatten()
}
