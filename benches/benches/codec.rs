//! What it costs to write and read keys, and to seal records.

use assize_codec::{Reader, envelope, order};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// (table, index, NOT NULL BIGINT, nullable VARCHAR): the key of a common secondary index.
fn put_key(out: &mut Vec<u8>, id: i64, name: &[u8]) {
    order::put_u32(out, 42);
    order::put_u16(out, 1);
    order::put_i64(out, id);
    order::put_not_null(out);
    order::put_bytes(out, name);
}

fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("key");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::with_capacity(64);
    let mut id = 0i64;
    group.bench_function("write", |b| {
        b.iter(|| {
            id += 1;
            out.clear();
            put_key(&mut out, id, b"twenty-four byte string!");
            black_box(&out);
        });
    });
    group.bench_function("read", |b| {
        b.iter(|| {
            let mut reader = order::KeyReader::new(&out);
            let table = reader.u32().expect("a key");
            let index = reader.u16().expect("a key");
            let id = reader.i64().expect("a key");
            let name = reader.has_value().and_then(|_| reader.bytes()).expect("a key");
            black_box((table, index, id, name))
        });
    });
    group.bench_function("write decimal", |b| {
        b.iter(|| {
            out.clear();
            order::put_decimal(&mut out, true, black_box(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]), 4);
            black_box(&out);
        });
    });
    group.finish();
}

fn envelopes(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    let body = vec![7u8; 4096];
    group.throughput(Throughput::Bytes(body.len() as u64));
    let mut out = Vec::with_capacity(8192);
    group.bench_function("seal 4 KiB", |b| {
        b.iter(|| {
            out.clear();
            envelope::seal_into(&mut out, *b"bnch", 1, &body);
        });
    });
    let sealed = envelope::seal(*b"bnch", 1, &body);
    group.bench_function("open 4 KiB", |b| {
        b.iter(|| {
            let mut reader = Reader::new(&sealed);
            black_box(envelope::open_next(&mut reader, *b"bnch", 1).expect("what was sealed"));
        });
    });
    group.finish();
}

criterion_group!(benches, keys, envelopes);
criterion_main!(benches);
