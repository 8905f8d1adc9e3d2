//! The server's first packet, and the capabilities that we settle on.
//!
//! ```text
//! 0A | version NUL | connection u32 | nonce[8] | 00 | capabilities u16 | collation u8 | status u16 | capabilities u16
//!    | nonce length u8 | reserved[10] | rest of the nonce | authentication method NUL
//! ```
//!
//! (manual, "Protocol::HandshakeV10"). Parsed by `mysql_common`, behind a check of the one field that its arithmetic trusts.

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::HandshakePacket;

use super::answer::Malformed;

/// From the end of the version to the nonce's length.
const TO_NONCE_LENGTH: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) connection_id: u32,
    pub(super) nonce: Vec<u8>,
    pub(super) method: String,
    pub(super) capabilities: CapabilityFlags,
}

pub(super) fn parse(packet: &[u8]) -> Result<Greeting, Malformed> {
    const NOT_ONE: Malformed = Malformed("not a greeting of protocol 10");
    if packet.first() != Some(&10) {
        return Err(NOT_ONE);
    }
    let version = packet.iter().position(|&byte| byte == 0).ok_or(NOT_ONE)?;
    // mysql_common subtracts 8 from it as a signed byte.
    if packet.get(version + 1 + TO_NONCE_LENGTH).ok_or(NOT_ONE)? & 0x80 != 0 {
        return Err(NOT_ONE);
    }
    let parsed = ParseBuf(packet)
        .parse::<HandshakePacket<'_>>(())
        .map_err(|_| NOT_ONE)?;
    if !parsed
        .capabilities()
        .contains(CapabilityFlags::CLIENT_PROTOCOL_41)
    {
        return Err(NOT_ONE);
    }
    Ok(Greeting {
        version: parsed.server_version_str().into_owned(),
        connection_id: parsed.connection_id(),
        nonce: parsed.nonce(),
        method: parsed
            .auth_plugin_name_str()
            .unwrap_or_default()
            .into_owned(),
        capabilities: parsed.capabilities(),
    })
}

/// What we want of what the server offers. Not asked for: local infile, several statements, compression.
pub(super) fn settle(offered: CapabilityFlags, tls: bool) -> CapabilityFlags {
    let mut wanted = CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_CONNECT_ATTRS;
    if tls {
        wanted |= CapabilityFlags::CLIENT_SSL;
    }
    wanted & offered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut packet = b"\x0a9.7.4-2\0".to_vec();
        packet.extend(8u32.to_le_bytes());
        packet.extend(b"12345678\0");
        packet.extend([0xff, 0xff, 0xff, 2, 0, 0xff, 0xdf, 21]);
        packet.extend([0; 10]);
        packet.extend(b"901234567890\0caching_sha2_password\0");
        packet
    }

    #[test]
    fn a_greeting_is_read() {
        let greeting = parse(&sample()).unwrap();
        assert_eq!(greeting.version, "9.7.4-2");
        assert_eq!(greeting.connection_id, 8);
        assert_eq!(greeting.nonce, b"12345678901234567890");
        assert_eq!(greeting.method, "caching_sha2_password");
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..80, byte in any::<u8>(), cut in 0usize..80) {
            let mut packet = sample();
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&packet);
            let _ = parse(&packet[..cut.min(packet.len())]);
        }
    }
}
