//! The `.deb` container: an `ar` archive whose member `data.tar.xz` holds the files.
//!
//! ```text
//! "!<arch>\n"
//! then members:
//!   0  name       16 bytes, padded with spaces, sometimes ended by "/"
//!  16  date       12
//!  28  owner       6
//!  34  group       6
//!  40  mode        8
//!  48  size       10 bytes, decimal
//!  58  "`\n"       2
//!  60  contents, padded to an even length
//! ```

use std::path::Path;

use crate::error::{Error, Result};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Left out: nobody reads them here, and they are a third of the files.
const LEFT_OUT: [&str; 5] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
];

/// Puts the package's files under `root`.
pub(super) fn unpack(name: &str, deb: &[u8], root: &Path) -> Result<()> {
    let failed = |reason: String| Error::Package {
        name: name.to_owned(),
        reason,
    };
    let data = member(deb, "data.tar.xz")
        .ok_or_else(|| failed("no member data.tar.xz in the archive".into()))?;
    let mut files = tar::Archive::new(lzma_rust2::XzReader::new(data, true));
    files.set_preserve_permissions(true);
    files.set_preserve_mtime(false);
    for entry in files.entries().map_err(|e| failed(e.to_string()))? {
        let mut entry = entry.map_err(|e| failed(e.to_string()))?;
        let path = entry.path().map_err(|e| failed(e.to_string()))?;
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if LEFT_OUT.iter().any(|left_out| path.starts_with(left_out)) {
            continue;
        }
        // `unpack_in` refuses paths that lead out of the folder.
        entry
            .unpack_in(root)
            .map_err(|e| failed(format!("{}: {e}", path.display())))?;
    }
    Ok(())
}

fn member<'a>(archive: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut rest = archive.strip_prefix(MAGIC)?;
    while rest.len() >= HEADER {
        let (header, contents) = rest.split_at(HEADER);
        let name = std::str::from_utf8(&header[..16]).ok()?;
        let size: usize = std::str::from_utf8(&header[48..58])
            .ok()?
            .trim()
            .parse()
            .ok()?;
        if name.trim_end().trim_end_matches('/') == wanted {
            return contents.get(..size);
        }
        rest = contents.get(size.checked_next_multiple_of(2)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, contents) in members {
            bytes.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    0,
                    100644,
                    contents.len()
                )
                .bytes(),
            );
            bytes.extend_from_slice(contents);
            if contents.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn members_of_odd_length_and_names_with_a_slash() {
        let bytes = archive(&[("debian-binary", b"2.0"), ("data.tar.xz/", b"xyz")]);
        assert_eq!(member(&bytes, "data.tar.xz"), Some(&b"xyz"[..]));
        assert_eq!(member(&bytes, "control.tar.xz"), None);
    }

    #[test]
    fn damaged_archives_have_no_member() {
        let bytes = archive(&[("data.tar.xz", b"xyz")]);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(member(&bytes[..cut], "data.tar.xz"), None, "cut at {cut}");
        }
    }
}
