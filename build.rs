//! What `--version` says of a build: the commit, where there is one, the platform and the profile.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BINFERRY_COMMIT");
    let of = |name: &str| env::var(name).unwrap_or_default();
    let parts = [commit(), Some(of("TARGET")), Some(of("PROFILE"))];
    let build = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    println!("cargo::rustc-env=BINFERRY_BUILD={build}");
}

/// For builds from an archive or an image's context, whoever builds may say it.
fn commit() -> Option<String> {
    if let Some(given) = env::var("BINFERRY_COMMIT").ok().filter(|c| !c.is_empty()) {
        return Some(given);
    }
    // Who develops does not build all anew after each commit.
    if env::var("PROFILE").ok()? != "release" {
        return None;
    }
    // An archive that was unpacked inside of another repository is not of its commit.
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // A file that is not there would make every build begin here again. HEAD's own log is written with each move of HEAD.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// `None`: no git, or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}
