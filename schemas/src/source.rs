//! What `--source` names: a server, or binlog files.
//!
//! ```text
//! mysql://user@host:port/?tls=MODE       a server
//! file:PATH[,PATH…]                      binlog files, or a folder of them
//! ```
//!
//! A path is taken as it stands, nothing in it is decoded; so one with a comma in it can't be named (rename it, or name its folder).

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{
    address::{Address, AddressError},
    fault::{Fault, Kind},
};

const FILES: &str = "file:";

/// A source of transactions. `Display` prints no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceAddress {
    Server(Address),
    /// At least one.
    Files(Vec<PathBuf>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceAddressError {
    #[error(transparent)]
    Server(#[from] AddressError),
    #[error("file: names no file, or an empty name between two commas")]
    NoFile,
    #[error("file: names a host; the files must be on this machine")]
    Host,
}

impl Fault for SourceAddressError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::NoFile | Self::Host => Some(
                "write it as file:PATH[,PATH...], each PATH a binlog file or a folder of them; a comma can't be part of a path"
                    .to_owned(),
            ),
        }
    }
}

impl SourceAddress {
    /// Whether `text` names files.
    pub fn is_files(text: &str) -> bool {
        text.get(..FILES.len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(FILES))
    }
}

impl FromStr for SourceAddress {
    type Err = SourceAddressError;

    fn from_str(text: &str) -> Result<Self, SourceAddressError> {
        if !Self::is_files(text) {
            return Ok(Self::Server(text.parse()?));
        }
        let mut list = &text[FILES.len()..];
        // As a URL: an empty authority, then an absolute path.
        if let Some(rest) = list.strip_prefix("//") {
            if !rest.starts_with('/') {
                return Err(SourceAddressError::Host);
            }
            list = rest;
        }
        let paths: Vec<PathBuf> = list.split(',').map(PathBuf::from).collect();
        if paths.iter().any(|path| path.as_os_str().is_empty()) {
            return Err(SourceAddressError::NoFile);
        }
        Ok(Self::Files(paths))
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Files(paths) => {
                f.write_str(FILES)?;
                for (n, path) in paths.iter().enumerate() {
                    if n > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<SourceAddress, SourceAddressError> {
        text.parse()
    }

    fn files(paths: &[&str]) -> Result<SourceAddress, SourceAddressError> {
        Ok(SourceAddress::Files(
            paths.iter().map(PathBuf::from).collect(),
        ))
    }

    #[test]
    fn files_and_servers() {
        assert_eq!(parse("file:binlog.000001"), files(&["binlog.000001"]));
        assert_eq!(
            parse("file:/a/b.000001,c d.000002"),
            files(&["/a/b.000001", "c d.000002"])
        );
        assert_eq!(parse("FILE:///a/b"), files(&["/a/b"]));
        assert!(matches!(
            parse("mysql://root@host"),
            Ok(SourceAddress::Server(_))
        ));
    }

    #[test]
    fn the_wrong_part_is_named() {
        for text in ["file:", "file:,", "file:a,", "file:,a", "file:a,,b"] {
            assert_eq!(parse(text), Err(SourceAddressError::NoFile), "{text}");
        }
        assert_eq!(parse("file://host/a"), Err(SourceAddressError::Host));
        assert_eq!(
            parse("files:a"),
            Err(SourceAddressError::Server(AddressError::Scheme))
        );
    }

    proptest! {
        #[test]
        fn printing_and_reading_again_gives_the_same(paths in proptest::collection::vec("[^,\\x00/]{1,10}", 1..5)) {
            let source = SourceAddress::Files(paths.into_iter().map(PathBuf::from).collect());
            prop_assert_eq!(parse(&source.to_string()), Ok(source));
        }

        #[test]
        fn no_text_panics(text in "(file:)?\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
