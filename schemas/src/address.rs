//! Server addresses: `mysql://user[:password]@host[:port]/[?tls=MODE&ca=FILE]`.
//!
//! User, password and values are percent-encoded. An error names the part that is wrong; it never quotes a part in which a badly
//! encoded password could have ended up.

use std::{borrow::Cow, fmt, path::PathBuf, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::fault::{Fault, Kind};

pub const DEFAULT_PORT: u16 = 3306;

const SCHEME: &str = "mysql";
const PARAMETERS: [&str; 2] = ["tls", "ca"];

/// What is left as it is when an address is printed.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// In a file name, slashes too: it comes after the path.
const ENCODED_FILE: &AsciiSet = &ENCODED.remove(b'/');

/// TLS modes, with the meaning of the MySQL client's `--ssl-mode` (manual, "Command Options for Encrypted Connections").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    Disabled,
    #[default]
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl Tls {
    pub const ALL: [Self; 5] = [
        Self::Disabled,
        Self::Preferred,
        Self::Required,
        Self::VerifyCa,
        Self::VerifyIdentity,
    ];

    /// As it is written in an address.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A password: never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a server is and who we are there. `Display` prints it without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub tls: Tls,
    pub ca: Option<PathBuf>,
}

/// Which part of an address is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address does not start with mysql://")]
    Scheme,
    #[error("the address names no user")]
    UserMissing,
    #[error("the address names no host")]
    HostMissing,
    #[error("the host in the address is neither a name nor an IP address")]
    Host,
    #[error("the port in the address is not a number from 1 to 65535")]
    Port,
    #[error("the {part} in the address is not percent-encoded UTF-8")]
    Encoding { part: &'static str },
    #[error("the address has an '@' after its host and port have ended")]
    Unencoded,
    #[error("the address has a path; only mysql://user@host:port/ is possible")]
    Path,
    #[error("the address has a fragment (#…)")]
    Fragment,
    #[error("the address has the unknown parameter {name:?}")]
    Parameter { name: String, nearest: &'static str },
    #[error("the address has the parameter {name} twice")]
    Twice { name: &'static str },
    #[error("the parameter {name} in the address has no value")]
    Empty { name: &'static str },
    #[error("{mode:?} in the address is not a TLS mode")]
    TlsMode { mode: String, nearest: &'static str },
}

impl Fault for AddressError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Scheme
            | Self::UserMissing
            | Self::HostMissing
            | Self::Host
            | Self::Port
            | Self::Path => {
                "write it as mysql://user@host:port/?tls=required; write : / ? # @ and % in a user name or password as \
                 %3A %2F %3F %23 %40 and %25"
                    .to_owned()
            }
            Self::Encoding { .. } | Self::Unencoded | Self::Fragment => {
                "write : / ? # @ and % in a user name, password or file name as %3A %2F %3F %23 %40 and %25".to_owned()
            }
            Self::Parameter { nearest, .. } => format!("did you mean {nearest}? The parameters are tls and ca"),
            Self::Twice { name } | Self::Empty { name } => format!("give {name} once, with a value"),
            Self::TlsMode { nearest, .. } => format!(
                "did you mean {nearest}? The modes are {}",
                Tls::ALL.map(Tls::name).join(", ")
            ),
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text
            .split_once("://")
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
            .ok_or(AddressError::Scheme)?
            .1;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // A '/', '?' or '#' in the password would end the authority too early, and what follows would be the password.
        if tail.contains('@') {
            return Err(AddressError::Unencoded);
        }
        let (login, place) = authority
            .rsplit_once('@')
            .ok_or(AddressError::UserMissing)?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        if user.is_empty() {
            return Err(AddressError::UserMissing);
        }
        let (host, port) = parse_place(place)?;
        let mut address = Self {
            host,
            port,
            user: decode(user, "user name")?.into_owned(),
            password: Secret::new(decode(password, "password")?),
            tls: Tls::default(),
            ca: None,
        };
        address.parse_tail(tail)?;
        Ok(address)
    }
}

impl Address {
    fn parse_tail(&mut self, tail: &str) -> Result<(), AddressError> {
        if tail.contains('#') {
            return Err(AddressError::Fragment);
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if !matches!(path, "" | "/") {
            return Err(AddressError::Path);
        }
        let mut tls = None;
        for parameter in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let Some(&name) = PARAMETERS.iter().find(|known| **known == name) else {
                return Err(AddressError::Parameter {
                    name: name.to_owned(),
                    nearest: nearest(name, &PARAMETERS),
                });
            };
            let value = decode(value, name)?;
            if value.is_empty() {
                return Err(AddressError::Empty { name });
            }
            let twice = if name == "tls" {
                tls.replace(parse_tls(&value)?).is_some()
            } else {
                self.ca.replace(PathBuf::from(value.as_ref())).is_some()
            };
            if twice {
                return Err(AddressError::Twice { name });
            }
        }
        self.tls = tls.unwrap_or_default();
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}://{}@",
            utf8_percent_encode(&self.user, ENCODED)
        )?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        write!(f, ":{}/", self.port)?;
        let mut separator = '?';
        if self.tls != Tls::default() {
            write!(f, "{separator}tls={}", self.tls)?;
            separator = '&';
        }
        if let Some(ca) = &self.ca {
            let ca = ca.to_string_lossy();
            write!(
                f,
                "{separator}ca={}",
                utf8_percent_encode(&ca, ENCODED_FILE)
            )?;
        }
        Ok(())
    }
}

fn decode<'a>(text: &'a str, part: &'static str) -> Result<Cow<'a, str>, AddressError> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(i, byte)| {
        *byte == b'%'
            && !bytes
                .get(i + 1..i + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return Err(AddressError::Encoding { part });
    }
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| AddressError::Encoding { part })
}

fn parse_place(place: &str) -> Result<(String, u16), AddressError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(AddressError::Host)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| AddressError::Host)?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err(AddressError::Port),
            };
            (host, port)
        }
        None => {
            let (host, port) = match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            };
            let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
            if !host.chars().all(allowed) {
                return Err(AddressError::Host);
            }
            (host, port)
        }
    };
    if host.is_empty() {
        return Err(AddressError::HostMissing);
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(AddressError::Port)?,
        Some(_) => return Err(AddressError::Port),
    };
    Ok((host.to_owned(), port))
}

fn parse_tls(mode: &str) -> Result<Tls, AddressError> {
    Tls::ALL
        .into_iter()
        .find(|tls| tls.name() == mode)
        .ok_or_else(|| AddressError::TlsMode {
            mode: mode.to_owned(),
            nearest: nearest(mode, &Tls::ALL.map(Tls::name)),
        })
}

/// The known name that takes the fewest edits.
fn nearest(name: &str, known: &[&'static str]) -> &'static str {
    known
        .iter()
        .min_by_key(|candidate| distance(name, candidate))
        .copied()
        .unwrap_or_default()
}

/// Levenshtein distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn every_part_is_read() {
        let address =
            parse("mysql://re%40pl:p%3A%2Fss@db.example:3307/?tls=verify-ca&ca=/etc/my%20ca.pem")
                .unwrap();
        assert_eq!(address.user, "re@pl");
        assert_eq!(address.password.expose(), "p:/ss");
        assert_eq!((address.host.as_str(), address.port), ("db.example", 3307));
        assert_eq!(address.tls, Tls::VerifyCa);
        assert_eq!(address.ca, Some(PathBuf::from("/etc/my ca.pem")));
    }

    #[test]
    fn what_may_be_left_out_has_defaults() {
        let address = parse("mysql://root@localhost").unwrap();
        assert_eq!((address.port, address.tls), (3306, Tls::Preferred));
        assert!(address.password.is_empty() && address.ca.is_none());
    }

    #[test]
    fn ipv6_goes_in_brackets_and_comes_back_in_them() {
        let address = parse("mysql://root@[::1]:3307/").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 3307));
        assert_eq!(address.to_string(), "mysql://root@[::1]:3307/");
        assert_eq!(parse("mysql://root@[::1]").unwrap().port, 3306);
        assert_eq!(parse("mysql://root@[::1"), Err(AddressError::Host));
        assert_eq!(parse("mysql://root@[::1]3307"), Err(AddressError::Port));
    }

    #[test]
    fn the_wrong_part_is_named() {
        use AddressError::*;
        for (text, error) in [
            ("root@localhost", Scheme),
            ("postgres://root@localhost", Scheme),
            ("mysql://localhost", UserMissing),
            ("mysql://:pw@localhost", UserMissing),
            ("mysql://root@", HostMissing),
            ("mysql://root@:3306", HostMissing),
            ("mysql://root@ho st/", Host),
            ("mysql://root@host:0", Port),
            ("mysql://root@host:65536", Port),
            ("mysql://root@host:", Port),
            ("mysql://root@host/shop", Path),
            ("mysql://root@host/#x", Fragment),
            ("mysql://ro%zzot@host", Encoding { part: "user name" }),
            ("mysql://root:%ff@host", Encoding { part: "password" }),
            ("mysql://root@host/?tls", Empty { name: "tls" }),
            (
                "mysql://root@host/?tls=required&tls=disabled",
                Twice { name: "tls" },
            ),
            (
                "mysql://root@host/?tsl=required",
                Parameter {
                    name: "tsl".into(),
                    nearest: "tls",
                },
            ),
            (
                "mysql://root@host/?tls=verify_ca",
                TlsMode {
                    mode: "verify_ca".into(),
                    nearest: "verify-ca",
                },
            ),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_badly_encoded_password_is_not_shown() {
        for text in [
            "mysql://root:hush/hush@host/",
            "mysql://root:hush?hush@host/",
            "mysql://root:hush#hush@host/",
            "mysql://root:hu%sh@host/",
            "mysql://root:hush",
            "mysql://root:hush/hush",
            "root:hush@host",
        ] {
            let error = parse(text).unwrap_err();
            let shown = format!("{error} {error:?} {:?}", error.hint());
            assert!(
                !shown.contains("hush") && !shown.contains("hu%sh"),
                "{shown}"
            );
        }
        let address = parse("mysql://root:hush@host/").unwrap();
        assert!(!format!("{address} {address:?}").contains("hush"));
        // Two signs: the last one ends the password.
        assert_eq!(
            parse("mysql://root:a@b@host/").unwrap().password.expose(),
            "a@b"
        );
    }

    proptest! {
        #[test]
        fn printing_and_reading_again_gives_the_same_but_the_password(
            user in "\\PC{1,12}", host in "[a-z0-9][a-z0-9.-]{0,20}|::1|fe80::1:2", port in 1u16.., mode in 0..5usize,
            ca in proptest::option::of("\\PC{1,20}"),
        ) {
            let address = Address {
                user, host, port, password: Secret::new("x"), tls: Tls::ALL[mode], ca: ca.map(PathBuf::from),
            };
            let back = parse(&address.to_string());
            prop_assert_eq!(back, Ok(Address { password: Secret::default(), ..address }));
        }

        #[test]
        fn no_text_panics(text in "(mysql://)?\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
