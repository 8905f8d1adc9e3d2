//! Prometheus, to be scraped and judged by as an operator's own would: from the PATH, else from Debian's package.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::Supervised;
use crate::debian;
use crate::error::{Error, Result};
use crate::mysql::{find, loaded};
use crate::place::Folder;
use crate::web;

const STARTS: Duration = Duration::from_secs(60);

/// A Prometheus that scrapes one target each second and judges rules as often; it goes with its handle.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    /// Before its folder.
    child: Supervised,
    _folder: Folder,
}

impl Prometheus {
    /// `rules`: the text of a file of alert rules. The target's job is called `binferry`.
    pub fn scraping(target: SocketAddr, rules: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let port = crate::port::free()?;
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.path().join(name);
            std::fs::write(&path, text).map_err(|e| Error::file("write", &path, e))?;
            Ok(path)
        };
        write("rules.yaml", rules)?;
        let settings = write(
            "prometheus.yaml",
            &format!(
                "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yaml]\n\
                 scrape_configs: [{{ job_name: binferry, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
            ),
        )?;
        let mut child = Supervised::new("prometheus", folder.path().join("prometheus.log"));
        let mut command = program("prometheus")?;
        command
            .arg(argument("--config.file", &settings))
            .arg(argument("--storage.tsdb.path", &folder.path().join("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(child.output()?)
            .stderr(child.output()?);
        child.start(command)?;
        let mut prometheus = Self {
            port,
            child,
            _folder: folder,
        };
        let until = Instant::now() + STARTS;
        loop {
            prometheus.child.check_alive()?;
            if matches!(prometheus.get("/-/ready"), Ok((200, _))) {
                return Ok(prometheus);
            }
            if Instant::now() > until {
                return Err(Error::NoAnswer {
                    port,
                    seconds: STARTS.as_secs(),
                    log: prometheus.child.last_words(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks its API: `/api/v1/alerts`, for example.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        web::get(&format!("http://127.0.0.1:{}{path}", self.port))
    }
}

fn argument(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// `promtool`, which checks rules and metrics.
pub fn promtool() -> Result<Command> {
    program("promtool")
}

fn program(name: &str) -> Result<Command> {
    if let Some(path) = find(name) {
        return Ok(Command::new(path));
    }
    let root = debian::unpacked("prometheus", "sid", &["prometheus"])?;
    Ok(loaded(&root, &format!("usr/bin/{name}")))
}
