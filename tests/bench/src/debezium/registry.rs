//! Apicurio's schema registry, in memory, for the peer's Avro.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{artifacts::Artifacts, free_port};

#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    pub fn start(artifacts: &Artifacts) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("java");
        command
            .args(["-Xmx512m", "-Dquarkus.http.host=127.0.0.1"])
            .arg(format!("-Dquarkus.http.port={port}"))
            .arg("-jar")
            .arg(runner(&artifacts.registry())?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut registry = Self {
            child: binferry_servers::spawn(command)?,
            port,
        };
        let deadline = Instant::now() + Duration::from_secs(120);
        while ureq::get(format!("{}/system/info", registry.url()))
            .call()
            .is_err()
        {
            ensure!(
                registry.child.try_wait()?.is_none() && Instant::now() < deadline,
                "the schema registry does not start"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(registry)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v2", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Gone already, if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runner(folder: &Path) -> Result<PathBuf> {
    std::fs::read_dir(folder)?
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with("-runner.jar"))
        .context("no -runner.jar in the registry's archive")
}
