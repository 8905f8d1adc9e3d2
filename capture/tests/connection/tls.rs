//! Whose certificate is accepted, by mode.

use std::path::Path;

use binferry_capture::client::Connection;
use binferry_capture::error::{CaptureError, Permanent};
use binferry_schemas::address::Tls;
use binferry_servers::MySql;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{root, server};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Files for a server with a certificate for `names`, signed by `authority`; the options that name them.
fn certificate(
    folder: &Path,
    authority: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
) -> [String; 3] {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    let [ca_file, certificate_file, key_file] =
        ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&ca_file, authority.pem()).unwrap();
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    [
        format!("--ssl-ca={}", ca_file.display()),
        format!("--ssl-cert={}", certificate_file.display()),
        format!("--ssl-key={}", key_file.display()),
    ]
}

fn rejected(result: Result<Connection, CaptureError>) {
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Permanent(Permanent::Certificate { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn identity_is_the_name_in_the_certificate() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let server = MySql::builder()
        .args(certificate(folder.path(), &authority, &["127.0.0.1"]))
        .start()
        .unwrap();
    let mut address = root(&server);
    address.tls = Tls::VerifyIdentity;
    address.ca = Some(folder.path().join("ca.pem"));
    assert!(Connection::open(&address).await.unwrap().is_encrypted());
    address.host = "localhost".into();
    rejected(Connection::open(&address).await);
    address.tls = Tls::VerifyCa;
    Connection::open(&address).await.unwrap();

    // An authority that did not sign it, and those of the web.
    let stranger = folder.path().join("stranger.pem");
    std::fs::write(&stranger, self::authority().pem()).unwrap();
    for ca in [Some(stranger), None] {
        for tls in [Tls::VerifyCa, Tls::VerifyIdentity] {
            (address.tls, address.ca) = (tls, ca.clone());
            rejected(Connection::open(&address).await);
        }
        address.tls = Tls::Required;
        Connection::open(&address).await.unwrap();
    }

    server.restart_with(["--tls-version="]).unwrap();
    address.ca = None;
    for tls in [Tls::Required, Tls::VerifyCa, Tls::VerifyIdentity] {
        address.tls = tls;
        let error = Connection::open(&address).await.unwrap_err();
        assert!(
            matches!(
                error,
                CaptureError::Permanent(Permanent::TlsNotOffered { .. })
            ),
            "{error:?}"
        );
    }
    address.tls = Tls::Preferred;
    assert!(!Connection::open(&address).await.unwrap().is_encrypted());
}

#[tokio::test]
async fn the_servers_own_certificate_names_no_host() {
    let mut address = root(server());
    address.ca = server().ca_file();
    address.tls = Tls::VerifyIdentity;
    rejected(Connection::open(&address).await);
}

#[tokio::test]
async fn a_ca_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let mut address = root(server());
    for path in [empty, folder.path().join("missing.pem")] {
        for tls in [Tls::Preferred, Tls::VerifyCa] {
            (address.tls, address.ca) = (tls, Some(path.clone()));
            let error = Connection::open(&address).await.unwrap_err();
            assert!(
                matches!(error, CaptureError::Permanent(Permanent::CaFile { .. })),
                "{error:?}"
            );
        }
    }
}
