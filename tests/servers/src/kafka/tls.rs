//! Certificates for a cluster: a CA made for it alone, and one that it signed for the loopback interface.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Certificates {
    ca: PathBuf,
    server: PathBuf,
}

impl Certificates {
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let failed = |e: rcgen::Error| Error::system("make certificates", e);
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "Binferry test CA");
        let authority_key = KeyPair::generate().map_err(failed)?;
        let authority_certificate = authority.self_signed(&authority_key).map_err(failed)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &Issuer::new(authority, &authority_key)))
            .map_err(failed)?;
        let certificates = Certificates {
            ca: folder.join("ca.pem"),
            server: folder.join("server.pem"),
        };
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).map_err(|e| Error::file("write", path, e))
        };
        write(&certificates.ca, authority_certificate.pem())?;
        let both = key.serialize_pem() + &certificate.pem();
        write(&certificates.server, both)?;
        Ok(certificates)
    }

    /// What a client trusts.
    pub(super) fn ca(&self) -> &Path {
        &self.ca
    }

    /// The broker's key and certificate, in one file, as Kafka reads them.
    pub(super) fn server(&self) -> &Path {
        &self.server
    }
}
