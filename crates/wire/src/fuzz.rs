//! Entry points for fuzzing: each takes any bytes and must return.

use crate::auth::{Account, Exchange, Plugin, sha2_verifier};
use crate::bytes::Cursor;
use crate::handshake::{Response, decode_change_user};
use crate::packet::{Front, PacketBuffer};
use crate::params::{ExecuteHead, decode_execute, skip_query_attributes};
use assize_values::collation::Charset;

/// The packet reader, fed in pieces whose sizes come from the input.
pub fn packets(input: &[u8]) {
    let Some((&limit, rest)) = input.split_first() else { return };
    let mut buffer = PacketBuffer::new(usize::from(limit) * 16);
    let mut at = 0;
    while at < rest.len() {
        let step = usize::from(rest[at] % 61) + 1;
        let end = rest.len().min(at + step);
        buffer.space().extend_from_slice(&rest[at..end]);
        at = end;
        loop {
            match buffer.next() {
                Front::Packet { payload, .. } => {
                    assert!(buffer.bytes()[payload].len() <= usize::from(limit) * 16);
                    buffer.expect(0);
                }
                Front::TooLarge { .. } => buffer.expect(0),
                Front::Incomplete => break,
                Front::OutOfOrder { .. } => return,
            }
        }
    }
}

/// The handshake's answer, COM_CHANGE_USER and the authentication behind them.
pub fn handshake(input: &[u8]) {
    let capabilities = input.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
    let mut logins = Vec::new();
    if let Ok(Response::Login(login)) = Response::decode(input) {
        logins.push(login);
    }
    if let Ok(login) = decode_change_user(input, capabilities) {
        logins.push(login);
    }
    for login in logins {
        for plugin in [Plugin::CachingSha2, Plugin::Native] {
            let account = Account {
                plugin,
                verifier: sha2_verifier(b"password"),
                locked: false,
                require_tls: false,
                administrator: false,
            };
            let mut exchange = Exchange::new(Some(account), [7; 20], capabilities & 1 == 0);
            exchange.begin(Some(Plugin::CachingSha2), &login.auth, capabilities & 2 == 0);
            exchange.answer(&login.user);
        }
    }
}

/// The parameters of COM_STMT_EXECUTE and the attributes of COM_QUERY.
pub fn parameters(input: &[u8]) {
    let Some((&count, rest)) = input.split_first() else { return };
    let params = usize::from(count % 32);
    for has_attributes in [false, true] {
        let mut cursor = Cursor::new(rest);
        let Ok(head) = ExecuteHead::decode(&mut cursor) else { return };
        let (mut types, mut long) = (Vec::new(), vec![None; params]);
        let charset = if count & 0x80 == 0 { Charset::Utf8mb4 } else { Charset::Latin1 };
        let _ = decode_execute(&mut cursor, head, params, has_attributes, &mut types, &mut long, charset);
    }
    let _ = skip_query_attributes(&mut Cursor::new(rest));
}
