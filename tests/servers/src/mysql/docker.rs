//! A server in a container of the stock image, through testcontainers. Compiled by the project's checks; not exercised where
//! it was written, as no Docker engine was to be had there.
//!
//! The data directory is a folder of ours, mounted, and the server runs under our user id: so it survives a container that is
//! replaced for other options, and goes with the other files. The image's own start script initialises it. Containers are
//! removed with their handle; those of a process that was killed are found by the file `container` in its folder, and
//! removed before the folder is.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::runtime::Runtime;

use super::release::Release;
use super::{Control, Launch};
use crate::error::{Error, Result};

const PORT: u16 = 3306;
/// Where a container's id is kept, for whoever cleans up after us.
const ID_FILE: &str = "container";
/// How long a clean shutdown may take, in seconds.
const SHUTDOWN: i32 = 120;

#[derive(Debug)]
pub(super) struct Container {
    release: Release,
    folder: PathBuf,
    running: Option<(ContainerAsync<GenericImage>, Vec<String>)>,
}

/// Whether an engine answers.
pub(super) fn available() -> Result<()> {
    blocking(async { engine()?.ping().await.map(drop).map_err(failed) })
}

/// Removes the containers of a process that is no more.
pub(crate) fn remove_abandoned(process: &Path) {
    let servers = std::fs::read_dir(process).into_iter().flatten().flatten();
    for server in servers {
        if let Ok(id) = std::fs::read_to_string(server.path().join(ID_FILE)) {
            // It may be gone, and Docker with it: the folder is removed all the same.
            let _ = blocking(async {
                let options = RemoveContainerOptionsBuilder::new().force(true).build();
                let removed = engine()?.remove_container(&id, Some(options)).await;
                removed.map_err(failed)
            });
        }
    }
}

impl Container {
    pub(super) fn new(release: Release, folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        std::fs::create_dir(&data).map_err(|e| Error::file("create", &data, e))?;
        Ok(Container {
            release,
            folder: folder.to_owned(),
            running: None,
        })
    }

    fn create(&self, launch: &Launch) -> Result<ContainerAsync<GenericImage>> {
        let user = format!(
            "{}:{}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw()
        );
        let data = self.folder.join("data").display().to_string();
        let (image, tag) = self.release.image();
        let (no_password, root_host) = if self.release.is_mariadb() {
            ("MARIADB_ALLOW_EMPTY_ROOT_PASSWORD", "MARIADB_ROOT_HOST")
        } else {
            ("MYSQL_ALLOW_EMPTY_PASSWORD", "MYSQL_ROOT_HOST")
        };
        let request = GenericImage::new(image, tag)
            .with_mapped_port(launch.port, PORT.tcp())
            .with_mount(Mount::bind_mount(data, "/var/lib/mysql"))
            .with_user(user)
            .with_env_var(no_password, "yes")
            .with_env_var(root_host, "%")
            .with_cmd(launch.args.clone());
        let request = match &launch.time_zone {
            Some(zone) => request.with_env_var("TZ", zone),
            None => request,
        };
        let container = blocking(async { request.start().await.map_err(failed) })?;
        let file = self.folder.join(ID_FILE);
        std::fs::write(&file, container.id()).map_err(|e| Error::file("write", &file, e))?;
        Ok(container)
    }

    fn remove(&mut self) -> Result<()> {
        match self.running.take() {
            Some((container, _)) => blocking(async { container.rm().await.map_err(failed) }),
            None => Ok(()),
        }
    }

    fn container(&self, port: u16) -> Result<&ContainerAsync<GenericImage>> {
        let running = self.running.as_ref().ok_or(Error::NotRunning { port })?;
        Ok(&running.0)
    }
}

impl Control for Container {
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        match &self.running {
            // A container's options are fixed: with others it is replaced, and the data stays.
            Some((container, args)) if *args == launch.args => {
                blocking(async { container.start().await.map_err(failed) })
            }
            _ => {
                self.remove()?;
                self.running = Some((self.create(launch)?, launch.args.clone()));
                Ok(())
            }
        }
    }

    fn check_alive(&mut self) -> Result<()> {
        let Some((container, _)) = &self.running else {
            return Ok(());
        };
        let running = blocking(async { container.is_running().await.map_err(failed) })?;
        if running {
            return Ok(());
        }
        Err(Error::Program {
            program: format!("the container of the {}", self.release.server()),
            reason: "it has ended".into(),
            log: self.last_words(),
        })
    }

    fn kill(&mut self, port: u16) -> Result<()> {
        let id = self.container(port)?.id().to_owned();
        blocking(async {
            let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
            let killed = engine()?.kill_container(&id, Some(options)).await;
            killed.map_err(failed)
        })
    }

    fn stop(&mut self, port: u16) -> Result<()> {
        let container = self.container(port)?;
        blocking(async {
            let stopped = container.stop_with_timeout(Some(SHUTDOWN)).await;
            stopped.map_err(failed)
        })
    }

    fn pause(&mut self, port: u16) -> Result<()> {
        let container = self.container(port)?;
        blocking(async { container.pause().await.map_err(failed) })
    }

    fn resume(&mut self, port: u16) -> Result<()> {
        let container = self.container(port)?;
        blocking(async { container.unpause().await.map_err(failed) })
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    /// Docker itself keeps two servers from one port of the host.
    fn identity(&self) -> (&'static str, String) {
        ("SELECT @@port", PORT.to_string())
    }

    fn last_words(&self) -> String {
        let Some((container, _)) = &self.running else {
            return String::new();
        };
        let log = blocking(async { container.stderr_to_vec().await.map_err(failed) });
        let log = String::from_utf8_lossy(&log.unwrap_or_default()).into_owned();
        crate::error::last_lines(&log)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What is left, whoever starts servers next removes.
        let _ = self.remove();
    }
}

fn engine() -> Result<Docker> {
    Docker::connect_with_defaults().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Docker {
        reason: error.to_string(),
    }
}

/// Runs on the one runtime that the client's connections live in, from a thread that is in no runtime itself.
fn blocking<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| Runtime::new().ok())
        .as_ref()
        .ok_or_else(|| failed("no runtime"))?;
    std::thread::scope(
        |scope| match scope.spawn(|| runtime.block_on(work)).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        },
    )
}
