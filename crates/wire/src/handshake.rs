//! The greeting and the client's answer to it.

use crate::auth::{NONCE, Plugin};
use crate::bytes::{Cursor, Malformed, put_u16, put_u32};
use crate::protocol::capability as cap;
use crate::protocol::status;

/// Protocol version of the greeting.
const PROTOCOL_VERSION: u8 = 10;
/// Bytes in front of the user name: capabilities, packet size, character set, filler.
const FIXED: usize = 32;

/// Appends HandshakeV10.
pub(crate) fn put_greeting(
    out: &mut Vec<u8>,
    version: &str,
    connection: u32,
    nonce: &[u8; NONCE],
    collation: u8,
    capabilities: u32,
) {
    out.push(PROTOCOL_VERSION);
    out.extend_from_slice(version.as_bytes());
    out.push(0);
    put_u32(out, connection);
    out.extend_from_slice(&nonce[..8]);
    out.push(0);
    put_u16(out, capabilities as u16);
    out.push(collation);
    put_u16(out, status::AUTOCOMMIT);
    put_u16(out, (capabilities >> 16) as u16);
    out.push(NONCE as u8 + 1);
    out.extend_from_slice(&[0; 10]);
    out.extend_from_slice(&nonce[8..]);
    out.push(0);
    out.extend_from_slice(Plugin::CachingSha2.name().as_bytes());
    out.push(0);
}

/// What a client answers to the greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Response {
    /// It wants TLS first.
    Tls,
    /// It wants in.
    Login(Login),
    /// It speaks a protocol older than 4.1.
    TooOld,
}

/// A client that wants in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Login {
    pub capabilities: u32,
    pub collation: u16,
    pub user: Vec<u8>,
    pub auth: Vec<u8>,
    pub database: Option<Vec<u8>>,
    pub plugin: Option<Vec<u8>>,
    pub attributes: Vec<(String, String)>,
}

impl Response {
    /// Decodes HandshakeResponse41 or SSLRequest.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        let low = cursor.u16()?;
        if u32::from(low) & cap::PROTOCOL_41 == 0 {
            return Ok(Response::TooOld);
        }
        let capabilities = u32::from(low) | u32::from(cursor.u16()?) << 16;
        cursor.u32()?;
        let collation = u16::from(cursor.u8()?);
        cursor.take(23)?;
        if capabilities & cap::SSL != 0 && payload.len() == FIXED {
            return Ok(Response::Tls);
        }
        let user = cursor.nul_or_rest().to_vec();
        let auth = if capabilities & cap::PLUGIN_AUTH_LENENC != 0 {
            cursor.lenenc_bytes()?.to_vec()
        } else if capabilities & cap::SECURE_CONNECTION != 0 {
            let length = if cursor.is_empty() { 0 } else { usize::from(cursor.u8()?) };
            cursor.take(length)?.to_vec()
        } else {
            cursor.nul_or_rest().to_vec()
        };
        let database = (capabilities & cap::CONNECT_WITH_DB != 0 && !cursor.is_empty())
            .then(|| cursor.nul_or_rest().to_vec())
            .filter(|name| !name.is_empty());
        let plugin = (capabilities & cap::PLUGIN_AUTH != 0 && !cursor.is_empty())
            .then(|| cursor.nul_or_rest().to_vec());
        let attributes = if capabilities & cap::CONNECT_ATTRS != 0 && !cursor.is_empty() {
            attributes(&mut cursor)?
        } else {
            Vec::new()
        };
        Ok(Response::Login(Login { capabilities, collation, user, auth, database, plugin, attributes }))
    }
}

/// COM_CHANGE_USER without its command byte.
pub(crate) fn decode_change_user(payload: &[u8], capabilities: u32) -> Result<Login, Malformed> {
    let mut cursor = Cursor::new(payload);
    let user = cursor.nul_bytes()?.to_vec();
    let length = usize::from(cursor.u8()?);
    let auth = cursor.take(length)?.to_vec();
    let database = Some(cursor.nul_or_rest().to_vec()).filter(|name| !name.is_empty());
    let collation = if cursor.is_empty() { 0 } else { cursor.u16()? };
    let plugin =
        (capabilities & cap::PLUGIN_AUTH != 0 && !cursor.is_empty()).then(|| cursor.nul_or_rest().to_vec());
    let attributes = if capabilities & cap::CONNECT_ATTRS != 0 && !cursor.is_empty() {
        attributes(&mut cursor)?
    } else {
        Vec::new()
    };
    Ok(Login { capabilities, collation, user, auth, database, plugin, attributes })
}

fn attributes(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, Malformed> {
    let mut inner = Cursor::new(cursor.lenenc_bytes()?);
    let mut found = Vec::new();
    while !inner.is_empty() {
        let name = String::from_utf8_lossy(inner.lenenc_bytes()?).into_owned();
        let value = String::from_utf8_lossy(inner.lenenc_bytes()?).into_owned();
        found.push((name, value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_greeting_is_byte_for_byte_what_clients_expect() {
        let mut out = Vec::new();
        put_greeting(&mut out, "8.4.6-assize", 7, b"abcdefghijklmnopqrst", 255, cap::OFFERED | cap::SSL);
        let expected = b"\x0a8.4.6-assize\0\x07\0\0\0abcdefgh\0\xcf\xff\xff\x02\0\xbf\x09\x15\
            \0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0";
        assert_eq!(out, expected);
        assert_eq!(out[27] & 1, 1, "bit 0 is set");
    }

    #[test]
    fn a_login_is_decoded() {
        let mut bytes = Vec::new();
        let capabilities = cap::PROTOCOL_41
            | cap::SECURE_CONNECTION
            | cap::CONNECT_WITH_DB
            | cap::PLUGIN_AUTH
            | cap::CONNECT_ATTRS;
        put_u32(&mut bytes, capabilities);
        put_u32(&mut bytes, 1 << 24);
        bytes.push(45);
        bytes.extend_from_slice(&[0; 23]);
        bytes.extend_from_slice(b"root\0\x03abcshop\0mysql_native_password\0\x08\x03_os\x03lin");
        let Ok(Response::Login(login)) = Response::decode(&bytes) else { panic!() };
        assert_eq!(login.user, b"root");
        assert_eq!(login.auth, b"abc");
        assert_eq!(login.database.as_deref(), Some(&b"shop"[..]));
        assert_eq!(login.plugin.as_deref(), Some(&b"mysql_native_password"[..]));
        assert_eq!(login.attributes, [("_os".to_owned(), "lin".to_owned())]);
        assert_eq!(login.collation, 45);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200), low: u16, high: u16) {
            let mut with_flags = low.to_le_bytes().to_vec();
            with_flags.extend_from_slice(&high.to_le_bytes());
            with_flags.extend_from_slice(&bytes);
            let _ = Response::decode(&with_flags);
            let _ = decode_change_user(&bytes, u32::from(low) | u32::from(high) << 16);
        }
    }
}
