//! Authentication: what to answer to the server's challenges.
//!
//! - `caching_sha2_password`: a scramble; when the server does not have the password in its cache it asks for all of it, which
//!   goes over TLS as it is, and without TLS under the server's RSA key, asked for on the way. (That key is not verified: where
//!   someone may stand in between, use `tls=verify-ca` or `verify-identity`.)
//! - `sha256_password`: the whole password each time, over TLS or under the key. (Servers ask for it also to hide that a user does
//!   not exist.)
//! - `mysql_native_password`: a scramble.
//! - everything else is refused; `mysql_clear_password` above all, since any server could ask for it.
//!
//! ```text
//! FE | method NUL | nonce NUL      switch to another method
//! 01 03                            the scramble was enough; OK follows
//! 01 04                            the whole password, please
//! 02 (from us)                     your RSA key, please (01 for sha256_password)
//! 01 | PEM                         the key
//! ```
//!
//! Pure: the connection carries the packets. The manual's "Caching_sha2_password information" has the exchange.

use mysql_common::io::ParseBuf;
use mysql_common::packets::AuthSwitchRequest;
use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::answer::{self, Malformed};
use super::rsa::{self, RsaError};
use crate::error::ServerError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    CachingSha2,
    Sha256,
    Native,
}

impl Method {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "caching_sha2_password" => Some(Self::CachingSha2),
            "sha256_password" => Some(Self::Sha256),
            "mysql_native_password" => Some(Self::Native),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => "caching_sha2_password",
            Self::Sha256 => "sha256_password",
            Self::Native => "mysql_native_password",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Server(ServerError),
    Method(String),
    Key,
    PasswordTooLong,
    Malformed(Malformed),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait,
    Done,
}

/// One authentication, from the method of the greeting on.
pub(super) struct Exchange<'a> {
    password: &'a str,
    tls: bool,
    method: Method,
    nonce: Vec<u8>,
    key_asked: bool,
    switched: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(password: &'a str, tls: bool, method: Method, nonce: Vec<u8>) -> Self {
        Self {
            password,
            tls,
            method,
            nonce,
            key_asked: false,
            switched: false,
        }
    }

    /// The answer to the nonce.
    pub(super) fn first(&mut self) -> Vec<u8> {
        let password = self.password.as_bytes();
        match self.method {
            // Empty for an empty password.
            Method::CachingSha2 => {
                scramble_sha256(&self.nonce, password).map_or_else(Vec::new, Vec::from)
            }
            Method::Native => {
                scramble_native(&self.nonce, password).map_or_else(Vec::new, Vec::from)
            }
            Method::Sha256 if self.tls || password.is_empty() => self.whole(),
            Method::Sha256 => {
                self.key_asked = true;
                vec![1]
            }
        }
    }

    /// The password as it is, closed by a zero: only ever over TLS (or empty).
    fn whole(&self) -> Vec<u8> {
        let mut password = self.password.as_bytes().to_vec();
        password.push(0);
        password
    }

    pub(super) fn step(&mut self, packet: &[u8]) -> Result<Step, Refusal> {
        match packet {
            [0xFF, ..] => Err(match answer::err(packet) {
                Some(error) => Refusal::Server(error),
                None => Refusal::Malformed(Malformed("short error packet")),
            }),
            [0x00, ..] => Ok(Step::Done),
            [0xFE] => Err(Refusal::Method("mysql_old_password".into())),
            [0xFE, ..] if !self.switched => self.switch(packet),
            [0x01, 3] if self.method == Method::CachingSha2 => Ok(Step::Wait),
            [0x01, 4] if self.method == Method::CachingSha2 && self.tls => {
                Ok(Step::Send(self.whole()))
            }
            [0x01, 4] if self.method == Method::CachingSha2 && !self.key_asked => {
                self.key_asked = true;
                Ok(Step::Send(vec![2]))
            }
            [0x01, pem @ ..] if self.key_asked => {
                self.key_asked = false;
                rsa::encrypt(self.password, &self.nonce, pem)
                    .map(Step::Send)
                    .map_err(|error| match error {
                        RsaError::Key => Refusal::Key,
                        RsaError::TooLong => Refusal::PasswordTooLong,
                    })
            }
            _ => Err(Refusal::Malformed(Malformed(
                "unexpected packet in the authentication",
            ))),
        }
    }

    fn switch(&mut self, packet: &[u8]) -> Result<Step, Refusal> {
        let request = ParseBuf(packet)
            .parse::<AuthSwitchRequest<'_>>(())
            .map_err(|_| Refusal::Malformed(Malformed("switch of the authentication method")))?;
        let name = String::from_utf8_lossy(request.auth_plugin().as_bytes()).into_owned();
        self.method = Method::named(&name).ok_or(Refusal::Method(name))?;
        self.nonce = request.plugin_data().to_vec();
        self.nonce.resize(20, 0);
        self.switched = true;
        self.key_asked = false;
        Ok(Step::Send(self.first()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exchange(tls: bool) -> Exchange<'static> {
        Exchange::new("secret", tls, Method::CachingSha2, vec![7; 20])
    }

    #[test]
    fn fast_path() {
        let mut exchange = exchange(false);
        assert_eq!(exchange.first().len(), 32);
        assert_eq!(exchange.step(&[1, 3]), Ok(Step::Wait));
        assert_eq!(exchange.step(&[0, 0, 0, 2, 0, 0, 0]), Ok(Step::Done));
    }

    #[test]
    fn full_path_over_tls_sends_the_password() {
        assert_eq!(
            exchange(true).step(&[1, 4]),
            Ok(Step::Send(b"secret\0".to_vec()))
        );
    }

    #[test]
    fn full_path_without_tls_asks_for_the_key_once() {
        let mut exchange = exchange(false);
        assert_eq!(exchange.step(&[1, 4]), Ok(Step::Send(vec![2])));
        assert_eq!(exchange.step(b"\x01not a key"), Err(Refusal::Key));
        assert!(matches!(
            exchange.step(b"\x01again"),
            Err(Refusal::Malformed(_))
        ));
    }

    #[test]
    fn switches_to_native_once_and_never_to_clear_text() {
        let mut one = exchange(true);
        let Ok(Step::Send(scramble)) =
            one.step(b"\xfemysql_native_password\x0012345678901234567890\0")
        else {
            panic!("no scramble");
        };
        assert_eq!(scramble.len(), 20);
        assert!(
            one.step(b"\xfemysql_native_password\x0012345678901234567890\0")
                .is_err()
        );
        assert!(
            one.step(&[1, 4]).is_err(),
            "no password for a method that does not ask for it"
        );
        assert_eq!(
            exchange(true).step(b"\xfemysql_clear_password\0\0"),
            Err(Refusal::Method("mysql_clear_password".into()))
        );
        assert_eq!(
            exchange(true).step(&[0xFE]),
            Err(Refusal::Method("mysql_old_password".into()))
        );
    }

    #[test]
    fn sha256_asks_for_the_key_unless_there_is_tls() {
        let switch = b"\xfesha256_password\x0012345678901234567890\0";
        assert_eq!(
            exchange(true).step(switch),
            Ok(Step::Send(b"secret\0".to_vec()))
        );
        let mut plain = exchange(false);
        assert_eq!(plain.step(switch), Ok(Step::Send(vec![1])));
        assert_eq!(plain.step(b"\x01not a key"), Err(Refusal::Key));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5), tls: bool) {
            let mut exchange = exchange(tls);
            for packet in packets {
                let _ = exchange.step(&packet);
            }
        }
    }
}
