//! The commands, a file each.

pub mod apply;
pub mod capture;
pub mod check;
pub mod readers;
pub mod run;
pub mod status;
pub mod tail;
pub mod wait;

use std::sync::Arc;

use binferry_transport::{embedded::EmbeddedLog, log::Log};

use crate::{cli::Options, failure::Failure};

/// The log for a writer: created when it is not there.
fn create_log(options: &Options) -> Result<Arc<dyn Log>, Failure> {
    Ok(Arc::new(EmbeddedLog::create_or_open(
        options.log_directory()?,
    )?))
}

/// The log for a reader: it must be there.
fn open_log(options: &Options) -> Result<Arc<dyn Log>, Failure> {
    Ok(Arc::new(EmbeddedLog::open(options.log_directory()?)?))
}
