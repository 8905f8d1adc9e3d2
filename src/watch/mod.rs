//! What is known of the stages of this process while they run, for whoever looks from outside: `http`, and the service manager.
//!
//! The stages publish how far they are; a [`Board`] holds the ends of their channels, and `survey` asks beside them what they cannot tell:
//! what the source has executed, and where the log ends. `health` judges. All of it runs on a thread of its own, so that it answers while
//! a stage starts, waits, or keeps every other thread busy, and so that looking never holds a stage up. `trouble` leaves a stage's last error
//! beside the log, for who looks at that.

pub mod board;
pub mod health;
pub mod manager;
pub mod survey;
pub mod trouble;

use std::{future::Future, sync::Arc};

use crate::failure::Failure;
use board::Board;

/// Starts the thread; `served` is what else runs on it. It ends with the process.
pub fn start(
    board: Arc<Board>,
    served: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::defect(format!("the watching runtime does not start: {e}")))?;
    let run = move || runtime.block_on(async { tokio::join!(survey::run(&board), served) });
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|e| Failure::defect(format!("the watching thread does not start: {e}")))
}
