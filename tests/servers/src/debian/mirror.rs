//! The mirror: which one, the index of its suite, and checked downloads from it.

use std::io::Read;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::index::{Index, Package};
use crate::error::{Error, Result};

/// Overrides the mirror: `http://host/debian`.
pub(crate) const MIRROR: &str = "BINFERRY_DEBIAN_MIRROR";
const PUBLIC: &str = "https://deb.debian.org/debian";

/// Well above any package or index: a bound against an endless answer, not an expectation.
const MOST_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Mirror {
    url: String,
    agent: ureq::Agent,
}

/// The first mirror that answers, with its index: the environment's alone if it names one, else apt's own, then the public one.
pub(super) fn index(suite: &str, architecture: &str) -> Result<(Mirror, Index)> {
    let candidates = match std::env::var(MIRROR) {
        Ok(url) if !url.is_empty() => vec![url],
        _ => {
            let mut urls = apt_mirrors();
            urls.push(PUBLIC.to_owned());
            urls
        }
    };
    let mut failure = Error::Download {
        url: PUBLIC.to_owned(),
        reason: "no mirror".into(),
    };
    for url in candidates {
        let mirror = Mirror::new(&url);
        match mirror.index(suite, architecture) {
            Ok(index) => return Ok((mirror, index)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Mirror {
    fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_global(Some(Duration::from_secs(300)))
            .build();
        Mirror {
            url: url.trim_end_matches('/').to_owned(),
            agent: config.into(),
        }
    }

    fn index(&self, suite: &str, architecture: &str) -> Result<Index> {
        let path = format!("dists/{suite}/main/binary-{architecture}/Packages.xz");
        let packed = self.get(&path)?;
        let mut text = Vec::new();
        lzma_rust2::XzReader::new(packed.as_slice(), true)
            .read_to_end(&mut text)
            .map_err(|e| Error::Download {
                url: format!("{}/{path}", self.url),
                reason: format!("damaged: {e}"),
            })?;
        Ok(Index::parse(&String::from_utf8_lossy(&text)))
    }

    /// The `.deb`, checked against the index.
    pub(super) fn package(&self, package: &Package) -> Result<Vec<u8>> {
        let bytes = self.get(&package.filename)?;
        let actual = hex(&Sha256::digest(&bytes));
        if actual != package.sha256 || bytes.len() as u64 != package.size {
            return Err(Error::Checksum {
                url: format!("{}/{}", self.url, package.filename),
                expected: package.sha256.clone(),
                actual,
            });
        }
        Ok(bytes)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("{}/{path}", self.url);
        let mut last = String::new();
        // Mirrors drop a connection now and then; a failed download is asked for again before a whole test run fails.
        for attempt in 0..3u64 {
            std::thread::sleep(Duration::from_millis(500 * attempt));
            let answer = self.agent.get(&url).call().and_then(|mut response| {
                let body = response.body_mut();
                body.with_config().limit(MOST_BYTES).read_to_vec()
            });
            match answer {
                Ok(bytes) => return Ok(bytes),
                Err(error @ ureq::Error::StatusCode(_)) => {
                    last = error.to_string();
                    break;
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::Download { url, reason: last })
    }
}

/// Debian mirrors among apt's sources; those of other distributions have no such suite and are left out.
fn apt_mirrors() -> Vec<String> {
    let mut files = vec![std::path::PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|e| e.path()).filter(|p| {
            p.extension()
                .is_some_and(|ext| ext == "list" || ext == "sources")
        }));
    }
    let mut urls: Vec<String> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for url in mirrors_in(&text) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// Both of apt's notations: `deb [options] URL suite …` and `URIs: URL …`.
fn mirrors_in(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
        .map(|word| word.trim_end_matches('/').to_owned())
        .filter(|url| url.ends_with("/debian"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_debian_in_both_notations() {
        let old = "# deb http://no/debian x\ndeb [arch=amd64 signed-by=/x] http://a.example/debian/ trixie main\ndeb http://b.example/ubuntu noble main\n";
        assert_eq!(mirrors_in(old), ["http://a.example/debian"]);
        let new = "Types: deb\nURIs: https://c.example/debian http://c.example/debian-security\nSuites: x\n";
        assert_eq!(mirrors_in(new), ["https://c.example/debian"]);
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
