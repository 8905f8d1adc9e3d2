//! Servers whose addresses are given: they run already, and are neither started, stopped nor configured here.

use std::sync::{Mutex, PoisonError};

use mysql_async::Opts;

use crate::error::{Error, Result};
use crate::query::Login;

/// The servers of the environment, each lent to one handle at a time.
#[derive(Debug)]
pub(super) struct Addresses {
    variable: &'static str,
    all: Vec<Login>,
    lent: Mutex<Vec<bool>>,
}

impl Addresses {
    pub(super) fn from_environment(variable: &'static str) -> Result<Option<Self>> {
        match std::env::var(variable) {
            Ok(list) if !list.trim().is_empty() => Self::parse(variable, &list).map(Some),
            _ => Ok(None),
        }
    }

    fn parse(variable: &'static str, list: &str) -> Result<Self> {
        let all = list
            .split(',')
            .map(|address| login(variable, address.trim()))
            .collect::<Result<Vec<_>>>()?;
        Ok(Addresses {
            variable,
            lent: Mutex::new(vec![false; all.len()]),
            all,
        })
    }

    pub(super) fn borrow(&'static self) -> Result<Lent> {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = lent.iter().position(|taken| !taken) else {
            return Err(Error::TooFewAddresses {
                variable: self.variable,
                given: self.all.len(),
                needed: self.all.len() + 1,
            });
        };
        lent[index] = true;
        Ok(Lent {
            addresses: self,
            index,
        })
    }
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(super) struct Lent {
    addresses: &'static Addresses,
    index: usize,
}

impl Lent {
    pub(super) fn login(&self) -> &Login {
        &self.addresses.all[self.index]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut lent = self
            .addresses
            .lent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lent[self.index] = false;
    }
}

fn login(variable: &'static str, address: &str) -> Result<Login> {
    let bad = |reason: String| Error::BadAddress {
        // The password stays out of messages.
        address: match address.rsplit_once('@') {
            Some((_, host)) => format!("mysql://…@{host}"),
            None => address.to_owned(),
        },
        reason,
        variable,
        form: "mysql://user:password@host:port",
    };
    let opts = Opts::from_url(address).map_err(|e| bad(e.to_string()))?;
    Ok(Login {
        host: opts.ip_or_hostname().to_owned(),
        port: opts.tcp_port(),
        user: opts.user().unwrap_or("root").to_owned(),
        password: opts.pass().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_each_lent_once() {
        let list = "mysql://root:pw@127.0.0.1:3307, mysql://admin@db.example:3308";
        let addresses: &'static Addresses =
            Box::leak(Box::new(Addresses::parse(crate::ADDRESSES, list).unwrap()));
        let first = addresses.borrow().unwrap();
        let second = addresses.borrow().unwrap();
        assert_eq!((first.login().port, second.login().port), (3307, 3308));
        assert_eq!(first.login().password, "pw");
        let error = addresses.borrow().unwrap_err().to_string();
        assert!(
            error.contains("names 2 server(s) and this process needs at least 3"),
            "{error}"
        );
        drop(first);
        assert_eq!(addresses.borrow().unwrap().login().port, 3307);
    }

    #[test]
    fn a_bad_address_shows_no_password() {
        let error = Addresses::parse(crate::ADDRESSES, "mysql://root:secret@[host")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(error.contains("mysql://user:password@host:port"), "{error}");
    }
}
