//! Digests, identifiers and network addresses.

use super::string::{hex_of, unhex};
use super::*;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) const FUNCTIONS: &[Function] = &[
    f(
        "BIN_TO_UUID",
        1,
        2,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(36, ctx)),
        |c| {
            let bytes = c.bytes(0);
            let Ok(mut uuid) = <[u8; 16]>::try_from(&bytes[..]) else {
                return Err(wrong_uuid(c, "bin_to_uuid"));
            };
            if c.len() > 1 && c.int(1)? != 0 {
                uuid = unswap(uuid);
            }
            Ok(Value::text(print_uuid(&uuid)))
        },
    ),
    f(
        "INET6_ATON",
        1,
        1,
        Propagate,
        Apart,
        |_, _| Ok(SqlType::VarBinary { length: 16 }),
        |c| {
            let text = c.text(0);
            if let Ok(v4) = text.parse::<Ipv4Addr>() {
                return Ok(Value::Bytes(Bytes::copy_from_slice(&v4.octets())));
            }
            match text.parse::<Ipv6Addr>() {
                Ok(v6) => Ok(Value::Bytes(Bytes::copy_from_slice(&v6.octets()))),
                Err(_) => wrong_address(c, "inet6_aton"),
            }
        },
    ),
    f(
        "INET6_NTOA",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(39, ctx)),
        |c| {
            let bytes = c.bytes(0);
            if let Ok(v4) = <[u8; 4]>::try_from(&bytes[..]) {
                return Ok(Value::text(Ipv4Addr::from(v4).to_string()));
            }
            match <[u8; 16]>::try_from(&bytes[..]) {
                Ok(v6) => Ok(Value::text(Ipv6Addr::from(v6).to_string())),
                Err(_) => wrong_address(c, "inet6_ntoa"),
            }
        },
    ),
    f("INET_ATON", 1, 1, Propagate, Apart, bigint_unsigned, inet_aton),
    f(
        "INET_NTOA",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(15, ctx)),
        |c| match u32::try_from(c.int(0)?) {
            Ok(address) => Ok(Value::text(Ipv4Addr::from(address).to_string())),
            Err(_) => wrong_address(c, "inet_ntoa"),
        },
    ),
    f("IS_IPV4", 1, 1, See, Apart, boolean, |c| {
        let sound = !c.arg(0).is_null() && c.text(0).parse::<Ipv4Addr>().is_ok();
        Ok(Value::Int(sound.into()))
    }),
    f("IS_IPV4_COMPAT", 1, 1, See, Apart, boolean, |c| {
        let bytes = c.bytes(0);
        let low = bytes.len() == 16 && bytes[..12].iter().all(|b| *b == 0) && bytes[12..] > [0, 0, 0, 1][..];
        Ok(Value::Int(low.into()))
    }),
    f("IS_IPV4_MAPPED", 1, 1, See, Apart, boolean, |c| {
        let bytes = c.bytes(0);
        let mapped = bytes.len() == 16 && bytes[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        Ok(Value::Int(mapped.into()))
    }),
    f("IS_IPV6", 1, 1, See, Apart, boolean, |c| {
        let sound = !c.arg(0).is_null() && c.text(0).parse::<Ipv6Addr>().is_ok();
        Ok(Value::Int(sound.into()))
    }),
    f("IS_UUID", 1, 1, Propagate, Apart, boolean, |c| {
        Ok(Value::Int(parse_uuid(&c.text(0)).is_some().into()))
    }),
    f(
        "MD5",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(32, ctx)),
        |c| Ok(lower_hex(&Md5::digest(c.bytes(0)))),
    ),
    volatile(
        "RANDOM_BYTES",
        1,
        1,
        |_, _| Ok(SqlType::VarBinary { length: RANDOM_BYTES_MAX as u32 }),
        random_bytes,
    ),
    f(
        "SHA",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(40, ctx)),
        |c| Ok(lower_hex(&Sha1::digest(c.bytes(0)))),
    ),
    f(
        "SHA1",
        1,
        1,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(40, ctx)),
        |c| Ok(lower_hex(&Sha1::digest(c.bytes(0)))),
    ),
    f(
        "SHA2",
        2,
        2,
        Propagate,
        Apart,
        |args, ctx| {
            let bits = constant_int(args.get(1)).filter(|bits| [224, 384, 512].contains(bits)).unwrap_or(256);
            Ok(connection_text(bits as u64 / 4, ctx))
        },
        |c| {
            let bytes = c.bytes(0);
            Ok(match c.int(1)? {
                224 => lower_hex(&Sha224::digest(bytes)),
                0 | 256 => lower_hex(&Sha256::digest(bytes)),
                384 => lower_hex(&Sha384::digest(bytes)),
                512 => lower_hex(&Sha512::digest(bytes)),
                _ => Value::Null,
            })
        },
    ),
    volatile(
        "UUID",
        0,
        0,
        |_, _| Ok(SqlType::VarChar { length: 36, collation: Collation::UTF8MB3_GENERAL_CI }),
        uuid,
    ),
    volatile("UUID_SHORT", 0, 0, bigint_unsigned, |c| {
        c.ctx.uuid.count += 1;
        Ok(Value::UInt(c.ctx.uuid.short_base.wrapping_add(c.ctx.uuid.count)))
    }),
    f(
        "UUID_TO_BIN",
        1,
        2,
        Propagate,
        Apart,
        |_, _| Ok(SqlType::VarBinary { length: 16 }),
        |c| {
            let Some(mut uuid) = parse_uuid(&c.text(0)) else { return Err(wrong_uuid(c, "uuid_to_bin")) };
            if c.len() > 1 && c.int(1)? != 0 {
                uuid = swap(uuid);
            }
            Ok(Value::Bytes(Bytes::copy_from_slice(&uuid)))
        },
    ),
];

fn lower_hex(bytes: &[u8]) -> Value {
    Value::text(hex_of(bytes).to_ascii_lowercase())
}

fn wrong_uuid(c: &Call<'_>, function: &str) -> SqlError {
    let shown = convert::shown(&c.bytes(0));
    SqlError::new(
        ErrorCode::WrongValueType,
        format!("Incorrect string value: '{shown}' for function {function}"),
    )
}

fn wrong_address(c: &mut Call<'_>, function: &str) -> Result<Value, SqlError> {
    let shown = convert::shown(&c.bytes(0));
    c.ctx.warn(
        ErrorCode::WrongValueType,
        format!("Incorrect string value: ''{shown}'' for function {function}"),
    )?;
    Ok(Value::Null)
}

/// `a.b.c.d`; of fewer numbers the last fills what is missing.
fn inet_aton(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let text = c.text(0);
    let parts: Vec<&str> = text.split('.').collect();
    let numbers: Option<Vec<u64>> = parts
        .iter()
        .map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u64>().ok().filter(|number| digits && *number <= 255)
        })
        .collect();
    let address = match numbers.as_deref() {
        Some([d]) => *d,
        Some([a, d]) => a << 24 | d,
        Some([a, b, d]) => a << 24 | b << 16 | d,
        Some([a, b, c, d]) => a << 24 | b << 16 | c << 8 | d,
        _ => return wrong_address(c, "inet_aton"),
    };
    Ok(Value::UInt(address))
}

fn print_uuid(uuid: &[u8; 16]) -> String {
    let hex = hex_of(uuid).to_ascii_lowercase();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// 32 digits, with hyphens in their places or not at all, in braces or not.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let bytes = text.as_bytes();
    let digits: Vec<u8> = match bytes.len() {
        32 => bytes.to_vec(),
        36 if [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-') => {
            let digits: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'-').collect();
            if digits.len() != 32 {
                return None;
            }
            digits
        }
        _ => return None,
    };
    unhex(&digits)?.try_into().ok()
}

/// Time-high first, so that identifiers made one after the other lie side by side.
fn swap(u: [u8; 16]) -> [u8; 16] {
    [u[6], u[7], u[4], u[5], u[0], u[1], u[2], u[3], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]]
}

fn unswap(u: [u8; 16]) -> [u8; 16] {
    [u[4], u[5], u[6], u[7], u[2], u[3], u[0], u[1], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]]
}

/// Most bytes of one RANDOM_BYTES().
const RANDOM_BYTES_MAX: i64 = 1024;

/// Digests of a secret and a count: who sees some of them cannot tell the others.
fn random_bytes(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if c.arg(0).is_null() {
        return Ok(Value::Null);
    }
    let wanted = c.int(0)?;
    if !(1..=RANDOM_BYTES_MAX).contains(&wanted) {
        return Err(SqlError::new(
            ErrorCode::DataOutOfRange,
            "length value is out of range in 'random_bytes'",
        ));
    }
    let wanted = wanted as usize;
    let mut out = Vec::with_capacity(wanted.next_multiple_of(32));
    while out.len() < wanted {
        let secret = &mut c.ctx.secret;
        secret.count += 1;
        let mut digest = Sha256::new();
        secret.key.iter().chain([&secret.count]).for_each(|word| digest.update(word.to_be_bytes()));
        out.extend_from_slice(&digest.finalize());
    }
    out.truncate(wanted);
    Ok(Value::Bytes(out.into()))
}

/// Version 1: the statement's time and a count, the session's sequence and node.
fn uuid(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let state = &mut c.ctx.uuid;
    state.count += 1;
    // Tenths of microseconds since 1582-10-15.
    let time = (c.ctx.now_micros as u64).wrapping_mul(10).wrapping_add(0x01b2_1dd2_1381_4000 + state.count);
    let mut out = [0; 16];
    out[..4].copy_from_slice(&(time as u32).to_be_bytes());
    out[4..6].copy_from_slice(&((time >> 32) as u16).to_be_bytes());
    out[6..8].copy_from_slice(&((time >> 48) as u16 & 0x0fff | 0x1000).to_be_bytes());
    out[8..10].copy_from_slice(&(state.sequence & 0x3fff | 0x8000).to_be_bytes());
    out[10..].copy_from_slice(&state.node.to_be_bytes()[2..]);
    Ok(Value::text(print_uuid(&out)))
}
