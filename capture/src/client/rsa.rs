//! A password under the server's RSA key, for full authentication on a connection without TLS.
//!
//! `mysql_common` has the arithmetic (OAEP with SHA-1, as the server wants it), but its key parser panics on bytes that are not
//! a key. The key comes from outside, so it is parsed here, with checked reads, and given over only when it is sound:
//!
//! ```text
//! SubjectPublicKeyInfo: 30 len ( 30 len algorithm | 03 len 00 ( 30 len ( 02 len modulus | 02 len exponent ) ) )
//! ```

use mysql_common::crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey};
use num_bigint::BigUint;
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
/// What OAEP with SHA-1 takes of a block: two hashes and two bytes.
const PADDING: usize = 42;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RsaError {
    Key,
    TooLong,
}

/// The password with its closing zero, under the nonce, under the key (PEM, as the server sends it).
pub(super) fn encrypt(password: &str, nonce: &[u8], pem: &[u8]) -> Result<Vec<u8>, RsaError> {
    let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| RsaError::Key)?;
    let (modulus, exponent) = numbers(&info).ok_or(RsaError::Key)?;
    let key = PublicKey::new(modulus, exponent);
    // From 1024 bits on; the size as `mysql_common` counts it must be that of whole octets, or its padding does not fit.
    let bits = key.modulus().bits();
    if !(1024..=16_384).contains(&bits) || !bits.is_multiple_of(8) {
        return Err(RsaError::Key);
    }
    let mut text = password.as_bytes().to_vec();
    text.push(0);
    if text.len() + PADDING > key.num_octets() {
        return Err(RsaError::TooLong);
    }
    for (byte, nonce) in text.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= nonce;
    }
    Ok(key.encrypt_block(text, Pkcs1OaepPadding::new(GetRandom)))
}

fn numbers(info: &[u8]) -> Option<(BigUint, BigUint)> {
    let (info, _) = element(info, SEQUENCE)?;
    let (_algorithm, rest) = element(info, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    let (key, _) = element(bits.strip_prefix(&[0])?, SEQUENCE)?;
    let (modulus, rest) = element(key, INTEGER)?;
    let (exponent, _) = element(rest, INTEGER)?;
    Some((
        BigUint::from_bytes_be(modulus),
        BigUint::from_bytes_be(exponent),
    ))
}

/// The content of the element with that tag at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (
            bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            rest,
        )
    };
    if first != tag {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyANKPhGwPbKEe+Q4G0TJ
BrkzDntWneUQ7wuSQduU1svS81OQuBGd4xPRHq+JZoxzt/qd//XYa7gl3Wq6ryvu
HaUb7xNz0yvHDQzxu6E76kuvWUCSCadEqpopat+zP0cx4UQsDbHpbGJngbGZU1Gi
s0AN8E+PSKR6gwmE4+I7wLuBvKC/K1RF3DpNmXTQK+BsbaU7Ze7sun3q5FW23iGZ
HLWqS2WxniInBzVESVsf2t52/8dfwFpDpxrDFKoTeX19i9+8d/oQ7WcHJ7ncDxrW
RJeaDqbrrBzPK19oF1a7SEbYTQpnb6AepH074FqTKapyjgjpM/v0v92Wo2vkBc4P
0wIDAQAB
-----END PUBLIC KEY-----";

    #[test]
    fn one_block_for_a_good_key() {
        assert_eq!(
            encrypt("secret", &[7; 20], PEM.as_bytes()).unwrap().len(),
            256
        );
        assert_eq!(
            encrypt(&"x".repeat(300), &[7; 20], PEM.as_bytes()),
            Err(RsaError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn a_damaged_key_never_panics(at in 0usize..PEM.len(), byte in any::<u8>(), cut in 0usize..PEM.len()) {
            let mut pem = PEM.as_bytes().to_vec();
            pem[at] = byte;
            let _ = encrypt("secret", &[1; 20], &pem);
            let _ = encrypt("secret", &[1; 20], &pem[..cut]);
            let _ = numbers(&pem[at..]);
        }
    }
}
