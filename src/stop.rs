//! Stopping: SIGTERM and Ctrl-C ask for a clean drain; a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{failure::Failure, watch::manager};

/// A token that is cancelled by the first signal.
pub fn on_signal() -> Result<CancellationToken, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|e| Failure::defect(format!("signals cannot be listened to: {e}")))
    };
    let (mut term, mut int) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
        manager::stopping();
        info!("stopping: what is under way is drained; a second signal ends at once");
        cancel.cancel();
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
        // The log and the target stay right: that is what a crash does too.
        std::process::exit(130);
    });
    Ok(token)
}
