//! Asking over HTTP, as `curl` does.

use std::time::Duration;

use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(20);

/// The status and the body, whatever the status.
pub fn get(url: &str) -> Result<(u16, String)> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build();
    let agent: ureq::Agent = config.into();
    let fail = |e: ureq::Error| Error::Download {
        url: url.to_owned(),
        reason: e.to_string(),
    };
    let mut answer = agent.get(url).call().map_err(fail)?;
    let body = answer.body_mut().read_to_string().map_err(fail)?;
    Ok((answer.status().as_u16(), body))
}
