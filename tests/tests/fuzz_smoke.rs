//! The fuzz targets' functions on the stable toolchain: mutated seeds, a bounded number of rounds, the same
//! bytes every time. `./justw fuzz <target>` goes on from here with libFuzzer.
#![allow(clippy::disallowed_methods)] // Tests.

#[path = "../../fuzz/src/lib.rs"]
mod entries;

use assize_model::{
    AccessGroup, CommitBody, DeadlineClass, Footprint, FrontendEpoch, FrontendId, Key, KeyHash, Mutation,
    Slot, TableId, Timestamp, TxnId, WrittenKey,
};

const ROUNDS: u64 = 2000;

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

    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                4 if at < bytes.len() => drop(bytes.remove(at)),
                5 => {
                    let end = (at + self.below(30)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.extend(part);
                }
                _ => {
                    // A piece of another seed in the middle of this one.
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(40)).min(other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts: &[&[u8]] = &[
        b"SELECT a.b, count(*) FROM t AS a LEFT JOIN u USING (id) WHERE x IN (1, 2.5e3, 'x''y') GROUP BY 1 HAVING c > 0 ORDER BY d DESC LIMIT 3, 4 FOR UPDATE SKIP LOCKED",
        b"INSERT INTO `t` (a, b) VALUES (1, _binary'\xff\\'\x00'), (DEFAULT, x'0f') AS n ON DUPLICATE KEY UPDATE a = n.a + VALUES(b)",
        b"/*!40101 SET NAMES utf8mb4 */; SET @a = 1, SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI'); -- end\nBEGIN",
        b"CREATE TABLE IF NOT EXISTS d.t (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, e ENUM('a','b') DEFAULT 'a', j JSON, CHECK (id > 0), FOREIGN KEY (id) REFERENCES p (id) ON DELETE CASCADE) ENGINE=InnoDB",
        b"WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT *, (SELECT MAX(x) FROM y WHERE y.a = r.n), CASE WHEN a THEN b END FROM r WINDOW w AS (ORDER BY n)",
        b"ALTER TABLE t ADD COLUMN c DECIMAL(10,2) NOT NULL AFTER b, DROP INDEX i; SHOW FULL COLUMNS FROM t LIKE 'a%'; KILL QUERY 7; UNDROP TABLE t; SAVEPOINT `s`",
        b"((((((((((1+2)*3)-4))))))));;;'unterminated",
    ];
    match target {
        "statement" => texts.iter().map(|text| text.to_vec()).collect(),
        "footprint" | "command" => {
            let encoded = assize_adjudicator::EncodedFootprint::new(&footprint()).unwrap();
            let mut entry = vec![1, 2];
            entry.extend_from_slice(encoded.bytes());
            vec![encoded.bytes().to_vec(), entry, vec![1, 1, 0, 0]]
        }
        "catalog_objects" => {
            let mut out = Vec::new();
            for (key, body) in assize_catalog::bootstrap().objects {
                let body = body.unwrap_or_default();
                if let (Ok(k), Ok(b)) = (u8::try_from(key.len()), u8::try_from(body.len())) {
                    out.push(k);
                    out.extend_from_slice(&key);
                    out.push(b);
                    out.extend_from_slice(&body);
                }
            }
            vec![out]
        }
        _ => {
            let mut seeds =
                vec![Vec::new(), vec![0; 64], (0..=255).collect(), b"\x05\x00\x00\x00\x03SELECT 1".to_vec()];
            seeds.push(
                b"\x0d\xa6\x0f\x00\x00\x00\x00\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0root\0\0"
                    .to_vec(),
            );
            seeds.push(b"\x02\x01\0\0\0\0\x01\0\0\0\x02\x01\x08\0\x08\0\x2a\0\0\0\0\0\0\0".to_vec());
            seeds
        }
    }
}

fn footprint() -> Footprint {
    let txn = TxnId::new(
        Timestamp::from_millis(1_700_000_000_000),
        DeadlineClass::Normal,
        FrontendId(1),
        FrontendEpoch(1),
        7,
    );
    let key = Key::new(b"key".to_vec());
    Footprint {
        txn,
        groups: vec![AccessGroup {
            snapshot_ts: Timestamp(9),
            checked: vec![KeyHash(5)],
            ranges: Vec::new(),
        }],
        schemas: vec![(TableId(3), assize_model::SchemaVersion(1))],
        auto_increments: vec![(TableId(3), 12)],
        body: CommitBody::Inline {
            mutations: vec![Mutation::put(key.clone(), Slot(4), b"value".to_vec())],
            written: vec![WrittenKey { hash: KeyHash(5), ordered: Some((TableId(3), key)) }],
        },
        catalog_change: None,
    }
}

#[test]
fn every_entry_point_answers_any_bytes() {
    for (name, _) in entries::ENTRIES {
        // The log starts threads for each round.
        let rounds = if *name == "log" { ROUNDS / 20 } else { ROUNDS };
        let seeds = seeds(name);
        for seed in &seeds {
            entries::run(name, seed);
        }
        for round in 0..rounds {
            let mut random = Random(round);
            let mut input = seeds[random.below(seeds.len())].clone();
            let other = seeds[random.below(seeds.len())].clone();
            random.mutate(&mut input, &other);
            let outcome = std::panic::catch_unwind(|| entries::run(name, &input));
            assert!(outcome.is_ok(), "{name}, round {round}: panic on {input:02x?}");
        }
    }
}
