//! What the fuzz targets do, on the stable toolchain and for a bounded time: mutated seeds through the same
//! entry points. Random bytes rarely get past a handshake, so the whole connection is driven from seeds that
//! do.
#![allow(clippy::disallowed_methods)] // Tests.

mod support;

use assize_wire::{Admission, Config, Control, Peer, capability as cap, fuzz, serve_connection};
use std::sync::Arc;
use std::time::Duration;
use support::Echo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: u64 = 3000;

/// A small generator, so that a failure names the seed that reproduces it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A few random changes: bytes flipped, cut, doubled, put in.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => {
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xfe, 0xff][self.below(9)]
                }
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(20)).min(bytes.len());
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.extend(part);
                }
                4 => bytes.insert(at.min(bytes.len()), self.next() as u8),
                _ if !bytes.is_empty() => {
                    bytes.remove(at);
                }
                _ => {}
            }
        }
    }
}

fn login(capabilities: u32) -> Vec<u8> {
    let mut out = capabilities.to_le_bytes().to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 255]);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(b"root\0\0shop\0caching_sha2_password\0\x08\x03_os\x03lin");
    out
}

const BASE: u32 = cap::PROTOCOL_41
    | cap::SECURE_CONNECTION
    | cap::PLUGIN_AUTH
    | cap::CONNECT_WITH_DB
    | cap::CONNECT_ATTRS
    | cap::MULTI_STATEMENTS
    | cap::LOCAL_FILES
    | cap::SESSION_TRACK;

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        &b"\x03select types"[..],
        b"\x03select rows 300; commit",
        b"\x03load file",
        b"\x03midway",
        b"\x16select ?, ?",
        b"\x17\x01\0\0\0\0\x01\0\0\0\x02\x01\x08\0\x08\0\x2a\0\0\0\0\0\0\0",
        b"\x17\x01\0\0\0\x01\x01\0\0\0\0\x01\x0c\0\xfd\0\x0b\xea\x07\x0b\x14\x01\x02\x03\x01\0\0\0\x03abc",
        b"\x18\x01\0\0\0\x01\0long",
        b"\x1c\x01\0\0\0\x02\0\0\0",
        b"\x19\x01\0\0\0",
        b"\x1a\x01\0\0\0",
        b"\x11root\0\0shop\0\xff\0caching_sha2_password\0",
        b"\x04table\0%",
        b"\x1b\0\0",
        b"\x1f",
        b"\x02shop",
        b"\x0e",
    ]
    .iter()
    .map(|seed| seed.to_vec())
    .collect();
    seeds.push(login(BASE));
    seeds.push(login(BASE | cap::DEPRECATE_EOF | cap::QUERY_ATTRIBUTES));
    seeds
}

#[test]
fn decoders_answer_any_bytes() {
    let seeds = seeds();
    for seed in 0..ROUNDS * 4 {
        let mut random = Random(seed);
        let mut input = seeds[random.below(seeds.len())].clone();
        random.mutate(&mut input);
        fuzz::packets(&input);
        fuzz::handshake(&input);
        fuzz::parameters(&input);
    }
}

fn frame(out: &mut Vec<u8>, seq: u8, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32 | u32::from(seq) << 24).to_le_bytes());
    out.extend_from_slice(payload);
}

#[tokio::test]
async fn connections_survive_any_bytes() {
    let seeds = seeds();
    let mut answered = 0;
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let mut input = Vec::new();
        let extra = if random.below(2) == 0 { 0 } else { cap::DEPRECATE_EOF | cap::QUERY_ATTRIBUTES };
        let mut first = login(BASE | extra);
        if random.below(10) == 0 {
            random.mutate(&mut first);
        }
        frame(&mut input, 1, &first);
        for _ in 0..random.below(8) {
            let mut command = seeds[random.below(seeds.len())].clone();
            if random.below(3) > 0 {
                random.mutate(&mut command);
            }
            frame(&mut input, 0, &command);
        }
        if random.below(4) == 0 {
            random.mutate(&mut input);
        }
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let echo = Echo::new(Default::default());
        let peer = Peer { host: "localhost".to_owned(), port: 0 };
        let config = Config::default();
        let server = tokio::spawn(async move {
            let control = Arc::new(Control::default());
            serve_connection(theirs, 1, peer, Admission::Ordinary, echo, &config, control).await
        });
        let (mut read, mut write) = tokio::io::split(ours);
        write.write_all(&input).await.unwrap_or(());
        write.shutdown().await.unwrap_or(());
        let drain = async {
            let mut sink = Vec::new();
            let _ = read.read_to_end(&mut sink).await;
            sink.len()
        };
        let both = async { tokio::join!(drain, server) };
        let ended = tokio::time::timeout(Duration::from_secs(20), both).await;
        let (replied, joined) = ended.unwrap_or_else(|_| panic!("seed {seed}: the connection hangs"));
        assert!(joined.is_ok(), "seed {seed}: the connection panicked");
        answered += u64::from(replied > 150);
    }
    assert!(answered > ROUNDS / 4, "only {answered} of {ROUNDS} connections got far enough to matter");
}
