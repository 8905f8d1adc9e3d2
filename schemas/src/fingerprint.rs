//! CRC-64-AVRO (the Avro specification, "Schema Fingerprints").

use std::fmt;

/// Names a row schema in the log's schemas part: CRC-64-AVRO over the schema's *stored text* (not over its canonical form, which
/// drops the `mysql.*` properties and so would give two different tables one name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The specification's polynomial, which is also the fingerprint of no bytes at all.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u64;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (EMPTY & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
}

/// The Rabin fingerprint of `bytes`.
pub const fn rabin(bytes: &[u8]) -> Fingerprint {
    let mut value = EMPTY;
    let mut i = 0;
    while i < bytes.len() {
        value = (value >> 8) ^ TABLE[((value ^ bytes[i] as u64) & 0xff) as usize];
        i += 1;
    }
    Fingerprint(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_values() {
        // From the Avro project's own test data (share/test/data/schema-tests.txt).
        assert_eq!(rabin(b"\"null\""), Fingerprint(7_195_948_357_588_979_594));
        assert_eq!(
            rabin(b"\"int\""),
            Fingerprint(8_247_732_601_305_521_295_u64)
        );
        assert_eq!(rabin(b""), Fingerprint(EMPTY));
    }

    #[test]
    fn prints_as_sixteen_hexadecimal_digits() {
        assert_eq!(Fingerprint(0xab).to_string(), "00000000000000ab");
    }
}
