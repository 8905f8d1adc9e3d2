//! Which of the ways brings servers up here: decided once per process, by trying each.

use std::sync::OnceLock;

use super::given::Addresses;
use super::programs::Programs;
use super::release::Release;
use super::template;
use crate::error::{Error, FailedWay, Result};

#[derive(Debug)]
pub(super) enum Way {
    /// Servers that run already.
    Given(Addresses),
    #[cfg(feature = "docker")]
    Docker,
    /// Processes of our own.
    Programs(Programs),
}

/// The first way that works for a release.
pub(super) fn chosen(release: Release) -> Result<&'static Way> {
    static WAYS: [OnceLock<Result<Way>>; Release::ALL.len()] =
        [const { OnceLock::new() }; Release::ALL.len()];
    WAYS[release as usize]
        .get_or_init(|| choose(release))
        .as_ref()
        .map_err(Error::clone)
}

fn choose(release: Release) -> Result<Way> {
    // Who names servers wants those and no others: a mistake there is an error and not a reason to go on.
    if let Some(addresses) = Addresses::from_environment(release.variable())? {
        return Ok(Way::Given(addresses));
    }
    let mut tried = vec![FailedWay {
        way: "a running server",
        reason: format!("{} is not set", release.variable()),
        remedy: format!("{}=mysql://root:password@host:port", release.variable()),
    }];
    #[cfg(feature = "docker")]
    match super::docker::available() {
        Ok(()) => return Ok(Way::Docker),
        Err(error) => tried.push(FailedWay {
            way: "Docker",
            reason: error.to_string(),
            remedy: "start the Docker engine, and let this user reach its socket".into(),
        }),
    }
    #[cfg(not(feature = "docker"))]
    tried.push(FailedWay {
        way: "Docker",
        reason: "not compiled in".into(),
        remedy: "build with --features binferry-servers/docker".into(),
    });
    match Programs::on_path(release).and_then(usable) {
        Ok(programs) => return Ok(Way::Programs(programs)),
        Err(error) => tried.push(FailedWay {
            way: "the server on the PATH",
            reason: error.to_string(),
            remedy: format!(
                "install it: {} (AppArmor's profile must allow it to use other folders)",
                release.server()
            ),
        }),
    }
    match Programs::from_packages(release).and_then(usable) {
        Ok(programs) => return Ok(Way::Programs(programs)),
        Err(error) => tried.push(FailedWay {
            way: "Debian's packages",
            reason: error.to_string(),
            remedy: format!(
                "make a Debian mirror reachable, or name one: {}=http://host/debian",
                crate::debian::MIRROR
            ),
        }),
    }
    Err(Error::NoWay {
        server: release.server(),
        tried,
    })
}

/// A program that is there may still fail (other policies, missing libraries): initialising a data directory tells.
fn usable(programs: Programs) -> Result<Programs> {
    template::ready(&programs, &[])?;
    Ok(programs)
}
