//! Footprints as bytes: both forms, and what is not a footprint.

use assize_adjudicator::{EncodedFootprint, FootprintView, encode_footprint, footprints_of, widened};
use assize_model::*;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Small ones most of the time; those that no compact footprint can hold now and then.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..100u64, 1 => Just(u64::from(u16::MAX)), 1 => any::<u64>()]
}

fn key() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 0..9).prop_map(Key::new)
}

fn group(has_ranges: bool) -> impl Strategy<Value = AccessGroup> {
    let ranges = vec((0..9u32, key(), key()), 0..if has_ranges { 3 } else { 1 });
    (number(), vec(any::<u64>(), 0..6), ranges).prop_map(|(snapshot, checked, ranges)| AccessGroup {
        snapshot_ts: Timestamp(snapshot),
        checked: checked.into_iter().map(KeyHash).collect(),
        ranges: ranges
            .into_iter()
            .map(|(table, start, end)| TableRange { table: TableId(table), range: KeyRange { start, end } })
            .collect(),
    })
}

fn receipts() -> impl Strategy<Value = Vec<Receipt>> {
    let receipt =
        (number(), number(), number(), any::<u64>()).prop_map(|(shard, epoch, count, sum)| Receipt {
            shard: ShardId(shard as u32),
            epoch: Epoch(epoch),
            digest: WriteDigest { count: count as u32, sum },
        });
    vec(receipt, 1..4)
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let mutation = (key(), any::<u16>(), vec(any::<u8>(), 0..20))
        .prop_map(|(key, slot, value)| Mutation::put(key, Slot(slot), value));
    vec(mutation, 1..4)
}

/// What is written: the last of what was checked, or something else; with the keys themselves or without.
fn written(is_last: bool, is_ordered: bool, checked: &[KeyHash], others: Vec<u64>) -> Vec<WrittenKey> {
    let hashes: Vec<KeyHash> = match is_last {
        true => checked[checked.len() / 2..].to_vec(),
        false => others.into_iter().map(KeyHash).collect(),
    };
    let ordered = is_ordered.then(|| (TableId(3), Key::new(vec![1, 2])));
    hashes.into_iter().map(|hash| WrittenKey { hash, ordered: ordered.clone() }).collect()
}

fn footprint() -> impl Strategy<Value = Footprint> {
    let groups = prop_oneof![3 => vec(group(false), 1..2), 1 => vec(group(true), 0..3)];
    let body = (any::<bool>(), receipts(), mutations());
    let keys = (any::<bool>(), prop::bool::weighted(0.2), vec(any::<u64>(), 0..4));
    let auto_increments =
        prop_oneof![4 => vec((0..9u32, any::<u64>()), 0..1), 1 => vec((0..9u32, any::<u64>()), 1..3)];
    let change = option::weighted(0.1, Just(CatalogChange::default()));
    (1..1000u64, groups, vec((0..9u32, 0..9u32), 0..3), auto_increments, body, keys, change).prop_map(
        |(n, groups, schemas, auto_increments, (is_prepared, receipts, mutations), keys, catalog_change)| {
            let checked = groups.last().map_or(&[][..], |group| &group.checked);
            let written = written(keys.0, keys.1, checked, keys.2);
            Footprint {
                txn: TxnId::from_serial(Timestamp::from_millis(n), n.into()),
                groups,
                schemas: schemas.into_iter().map(|(t, v)| (TableId(t), SchemaVersion(v))).collect(),
                auto_increments: auto_increments.into_iter().map(|(t, v)| (TableId(t), v)).collect(),
                body: match is_prepared {
                    true => CommitBody::Prepared { receipts, written },
                    false => CommitBody::Inline { mutations, written },
                },
                catalog_change,
            }
        },
    )
}

fn bytes_of(footprint: &Footprint) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_footprint(&mut bytes, footprint);
    bytes
}

/// Whatever a view of these bytes is asked for, it answers or they are no footprint.
fn is_sound(bytes: &[u8]) -> bool {
    let mut views = footprints_of(bytes);
    views.by_ref().all(|view| view.is_ok_and(|view| bytes_of(&view.to_footprint()).len() > 8))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_footprint_comes_back_from_its_bytes_in_both_forms(footprints in vec(footprint(), 1..4)) {
        let bytes: Bytes = footprints.iter().flat_map(bytes_of).collect::<Vec<u8>>().into();
        let read = |bytes: &Bytes| -> Vec<Footprint> {
            footprints_of(bytes).map(|view| view.unwrap().to_footprint()).collect()
        };
        prop_assert_eq!(&read(&bytes), &footprints);
        let wide = widened(&bytes);
        prop_assert!(footprints_of(&wide).all(|view| !view.unwrap().is_compact()));
        prop_assert_eq!(&read(&wide), &footprints);
        prop_assert!(wide.len() >= bytes.len());
        prop_assert_eq!(widened(&wide), wide);
    }

    #[test]
    fn what_a_view_says_is_what_the_footprint_has(footprint in footprint()) {
        for bytes in [bytes_of(&footprint).into(), widened(&bytes_of(&footprint).into())] {
            let encoded = EncodedFootprint::from_bytes(bytes).unwrap();
            let view = encoded.view();
            prop_assert_eq!(view.txn(), footprint.txn);
            let hashes: Vec<KeyHash> = footprint.body.written().iter().map(|key| key.hash).collect();
            prop_assert_eq!(view.written().collect::<Vec<_>>(), hashes);
            prop_assert_eq!(view.checked().len(), footprint.groups.iter().map(|g| g.checked.len()).sum::<usize>());
            prop_assert_eq!(view.has_ranges(), footprint.groups.iter().any(|group| !group.ranges.is_empty()));
            prop_assert_eq!(view.is_catalog_change(), footprint.catalog_change.is_some());
            prop_assert_eq!(view.schemas().collect::<Vec<_>>(), &footprint.schemas[..]);
            prop_assert_eq!(view.auto_increments().collect::<Vec<_>>(), &footprint.auto_increments[..]);
            if let CommitBody::Prepared { receipts, .. } = &footprint.body {
                prop_assert_eq!(&view.receipts().collect::<Vec<_>>(), receipts);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_footprint_are_refused(footprint in footprint(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let bytes = bytes_of(&footprint);
        for end in 0..bytes.len() {
            prop_assert!(FootprintView::parse(&bytes[..end]).is_err());
        }
        let mut changed = bytes.clone();
        for (at, byte) in changes {
            changed[at.index(bytes.len())] = byte;
        }
        is_sound(&changed);
        is_sound(&widened(&changed.into()));
    }
}

#[test]
fn the_ordinary_footprint_is_compact_and_what_has_more_to_say_is_wide() {
    let checked: Vec<KeyHash> = (1..=4).map(KeyHash).collect();
    let written: Vec<WrittenKey> =
        checked[2..].iter().map(|hash| WrittenKey { hash: *hash, ordered: None }).collect();
    let receipt =
        |shard| Receipt { shard: ShardId(shard), epoch: Epoch(1), digest: WriteDigest { count: 1, sum: 7 } };
    let ordinary = Footprint {
        txn: TxnId::from_serial(Timestamp::from_millis(5), 1),
        groups: vec![AccessGroup { snapshot_ts: Timestamp(9), checked, ranges: Vec::new() }],
        schemas: vec![(TableId(1), SchemaVersion(1))],
        auto_increments: Vec::new(),
        body: CommitBody::Prepared { receipts: vec![receipt(1), receipt(2)], written },
        catalog_change: None,
    };
    assert_eq!(bytes_of(&ordinary).len(), 36 + 8 + 4 * 8 + 2 * 16);
    let is_compact = |change: &dyn Fn(&mut Footprint)| {
        let mut footprint = ordinary.clone();
        change(&mut footprint);
        EncodedFootprint::new(&footprint).unwrap().view().is_compact()
    };
    assert!(is_compact(&|_| ()));
    assert!(!is_compact(&|footprint| footprint.groups.push(AccessGroup::default())));
    assert!(!is_compact(&|footprint| footprint.auto_increments.push((TableId(1), 2))));
    assert!(!is_compact(&|footprint| footprint.schemas = vec![(TableId(1), SchemaVersion(1)); 256]));
    assert!(!is_compact(&|footprint| {
        let CommitBody::Prepared { receipts, .. } = &mut footprint.body else {
            unreachable!("it is prepared")
        };
        receipts[1].shard = ShardId(1 << 16);
    }));
}
