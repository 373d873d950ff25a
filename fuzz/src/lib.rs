//! What is fuzzed: every function takes any bytes and must return. libFuzzer drives them through
//! `fuzz_targets/` (`./justw fuzz <target>`, needs a nightly toolchain); `tests/tests/fuzz_smoke.rs` drives the
//! same functions with mutated seeds on the stable one, so that CI always runs them.

use bytes::Bytes;

/// An entry point.
pub type Entry = fn(&[u8]);

/// Every entry point by the name of its target.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("packets", assize_wire::fuzz::packets),
    ("handshake", assize_wire::fuzz::handshake),
    ("parameters", assize_wire::fuzz::parameters),
    ("statement", statement),
    ("command", command),
    ("footprint", footprint),
    ("adjudicator_checkpoint", adjudicator_checkpoint),
    ("catalog_objects", catalog_objects),
    ("codec", codec),
    ("stored_values", stored_values),
    ("mvcc_engine", mvcc_engine),
    ("log", log),
];

/// Runs an entry point by name.
pub fn run(name: &str, input: &[u8]) {
    let entry = ENTRIES.iter().find(|(known, _)| *known == name);
    entry.unwrap_or_else(|| panic!("no entry point {name}")).1(input);
}

/// A statement's text, under several SQL modes: parsed, classified, split, normalised, lifted.
pub fn statement(input: &[u8]) {
    use assize_sql::{ParseOptions, classify, lift, normalise, parse, split_statements};
    for mode in ["", "ANSI", "NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE"] {
        let options = ParseOptions::from_sql_mode(mode);
        if let Ok(parsed) = parse(input, &options) {
            for one in parsed {
                classify(&one.statement);
                assert!(one.span.end <= input.len());
            }
        }
        for span in split_statements(input, &options) {
            assert!(span.start <= span.end && span.end <= input.len());
        }
        normalise(input, &options);
        lift(input, &options);
    }
}

/// A log entry of the adjudicator.
pub fn command(input: &[u8]) {
    let _ = assize_adjudicator::Command::decode(&Bytes::copy_from_slice(input));
}

/// A footprint, and everything that can be asked of it.
pub fn footprint(input: &[u8]) {
    let Ok(footprint) = assize_adjudicator::EncodedFootprint::from_bytes(Bytes::copy_from_slice(input))
    else {
        return;
    };
    let decoded = footprint.view().to_footprint();
    // What was accepted can be written again, and means the same.
    let again = assize_adjudicator::EncodedFootprint::new(&decoded).expect("a decoded footprint is valid");
    assert_eq!(again.view().to_footprint(), decoded);
}

/// A checkpoint of the adjudicator.
pub fn adjudicator_checkpoint(input: &[u8]) {
    let options = assize_adjudicator::Options::default();
    let _ = assize_adjudicator::Adjudicator::decode_checkpoint(options, input);
}

/// Catalog objects: keys and bodies cut out of the input by length bytes.
pub fn catalog_objects(input: &[u8]) {
    let mut rest = input;
    let mut objects = Vec::new();
    while let Some((&key, tail)) = rest.split_first() {
        let (key, tail) = tail.split_at(usize::from(key).min(tail.len()));
        let body = tail.split_first().map_or(0, |(&body, _)| usize::from(body).min(tail.len() - 1));
        let (body, tail) = tail.split_at((body + 1).min(tail.len()));
        let body = Bytes::copy_from_slice(body.get(1..).unwrap_or(&[]));
        objects.push((Bytes::copy_from_slice(key), 1, Some(body)));
        rest = tail;
    }
    let _ = assize_catalog::Catalog::default().apply_objects(assize_model::CatalogVersion(1), true, &objects);
}

/// Order-preserving keys, flat records and envelopes.
pub fn codec(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let _ = assize_codec::envelope::open(rest, *b"test", 1);
    let mut flat = assize_codec::Reader::new(rest);
    let mut ordered = assize_codec::order::KeyReader::new(rest);
    for step in 0..32 {
        match (choice.wrapping_add(step)) % 8 {
            0 => drop((flat.varint(), ordered.u64())),
            1 => drop((flat.zigzag(), ordered.i64())),
            2 => drop((flat.bytes(), ordered.bytes())),
            3 => drop((flat.str(), ordered.decimal())),
            4 => drop((flat.bool(), ordered.has_value())),
            5 => drop((flat.count(3), ordered.skip_bytes())),
            6 => drop((flat.u128(), ordered.f64())),
            _ => drop((flat.f64(), ordered.u128())),
        }
        ordered.descending(choice & 1 == 1);
    }
}

/// Values as rows store them, of every type.
pub fn stored_values(input: &[u8]) {
    use assize_values::{BlobSize, Collation, SqlType, stored::decode_value};
    let collation = Collation::UTF8MB4_0900_AI_CI;
    let labels: std::sync::Arc<[std::sync::Arc<str>]> = vec!["a".into(), "b".into()].into();
    let types = [
        SqlType::INT,
        SqlType::BIGINT_UNSIGNED,
        SqlType::DOUBLE,
        SqlType::Decimal { precision: 65, scale: 30, unsigned: false },
        SqlType::VarChar { length: 10, collation },
        SqlType::Blob { size: BlobSize::Long },
        SqlType::Date,
        SqlType::Time { fsp: 6 },
        SqlType::DateTime { fsp: 6 },
        SqlType::Timestamp { fsp: 6 },
        SqlType::Year,
        SqlType::Bit { length: 64 },
        SqlType::Enum { labels: labels.clone(), collation },
        SqlType::Set { labels, collation },
        SqlType::Json,
    ];
    let bytes = Bytes::copy_from_slice(input);
    for sql_type in &types {
        if let Ok(value) = decode_value(sql_type, &mut assize_codec::Reader::over(&bytes)) {
            // What was accepted can be shown.
            assize_values::format::to_string(&value, sql_type);
        }
    }
}

/// A shard replica over an engine that holds anything.
pub fn mvcc_engine(input: &[u8]) {
    use assize_model::{Key, Timestamp};
    use assize_mvcc::{Batch, Durability, Engine, Family, MemoryEngine, MvccStore, Options, Slots};
    let engine = MemoryEngine::new();
    let mut rest = input;
    while let Some((&head, tail)) = rest.split_first() {
        let (key, tail) = tail.split_at(usize::from(head >> 1 & 0x1f).min(tail.len()));
        let (value, tail) = tail.split_at(usize::from(head >> 2).min(tail.len()));
        let mut batch = Batch::new();
        batch.put(key.to_vec(), value.to_vec());
        let (family, durability) = match head & 1 {
            0 => (Family::Versions, Durability::Buffered),
            _ => (Family::Intents, Durability::Synced),
        };
        if engine.write(family, batch, durability).is_err() {
            return;
        }
        rest = tail;
    }
    let Ok(store) = MvccStore::open(engine, Options::default()) else { return };
    let _ = store.get(&Key::new(input.to_vec()), Timestamp::MAX);
    let _ = store.hash_content(&Slots::all(), Timestamp::MAX);
}

/// The replicated log: what was written is damaged anywhere, and opened again.
pub fn log(input: &[u8]) {
    use assize_consensus::fs::{FileSystem, Memory};
    use assize_consensus::wal::{Options, Wal};
    let fs: std::sync::Arc<dyn FileSystem> = std::sync::Arc::new(Memory::new());
    let options = Options { segment_size: 32 << 10, ..Options::default() };
    {
        let wal = Wal::open(fs.clone(), &options).expect("an empty directory holds an empty log");
        let (sender, receiver) = std::sync::mpsc::channel();
        let payloads = (0..8).map(|n| Bytes::from(vec![n; 100 * usize::from(n) + 1]).into()).collect();
        let done = Box::new(move |result: Result<(), _>| sender.send(result.is_ok()).unwrap_or(()));
        wal.append(wal.next_index(), payloads, done).expect("a healthy log takes entries");
        assert_eq!(receiver.recv(), Ok(true));
    }
    let names = fs.list().expect("a directory in memory can be listed");
    for change in input.chunks_exact(4) {
        let name = &names[usize::from(change[0]) % names.len()];
        let file = fs.open(name).expect("a listed file can be opened");
        let length = file.len().expect("an open file has a length");
        // Mostly near the front, where the records are.
        let offset = u64::from(change[1]) << 5 | u64::from(change[2] & 0x1f);
        if offset < length {
            file.write_at(offset, &change[3..]).expect("memory takes writes");
        }
    }
    if let Ok(wal) = Wal::open(fs, &options) {
        let _ = wal.read(wal.first_index()..wal.next_index(), 1 << 20);
    }
}
