//! A server with a keyring, which `binlog_encryption` needs.
//!
//! `component_keyring_file` is named by a manifest beside the server's program, and configured by a file beside its library (manual,
//! "Keyring Component Installation"). Both places are shared by all servers of an installation, so this one gets a folder with links of
//! its own to both.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::error::{Error, Result};

const LIBRARY: &str = "component_keyring_file.so";
pub(super) const PLUGINS: &str = "plugin";

/// Fills `folder` for the server at `program`, with plugins in `plugins`.
pub(super) fn prepare(folder: &Path, program: &Path, plugins: &Path) -> Result<()> {
    let failed = |e| Error::system("prepare the keyring", e);
    let own = folder.join(PLUGINS);
    fs::create_dir_all(&own).map_err(failed)?;
    let name = program.file_name().unwrap_or_default();
    // A symbolic link would be followed to the shared place.
    let linked = folder.join(name);
    if fs::hard_link(program, &linked).is_err() {
        fs::copy(program, &linked).map_err(failed)?;
    }
    fs::write(
        folder.join("mysqld.my"),
        r#"{"components": "file://component_keyring_file"}"#,
    )
    .map_err(failed)?;
    symlink(plugins.join(LIBRARY), own.join(LIBRARY)).map_err(failed)?;
    let keys = folder.join("keys").display().to_string();
    fs::write(
        own.join("component_keyring_file.cnf"),
        format!(r#"{{"path": {keys:?}, "read_only": false}}"#),
    )
    .map_err(failed)
}
