//! Where the pages of outcomes lie, by their keys.
//!
//! Pages of one life have consecutive numbers, and are asked for one after the other. So places lie in *leaflets* of
//! consecutive pages, and only leaflets are looked up in a hash table. That has few entries: a table of all pages would be
//! looked up for each of them, where no cache has it, and once it is full it would move a million of them into a larger
//! one, which takes some forty milliseconds in the middle of an entry.

use crate::page::PageKey;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

const LEAFLET_LOG2: u32 = 6;
/// Pages in a leaflet.
const LEAFLET: usize = 1 << LEAFLET_LOG2;

/// A place for a page, as [`crate::outcomes`] counts them.
pub(crate) type Place = u32;

/// No page has this place.
const NOWHERE: Place = Place::MAX;

#[derive(Clone, Debug)]
struct Leaflet {
    places: [Place; LEAFLET],
    /// How many pages have one.
    len: u32,
}

/// Looked up, never walked: the order of keys is chance.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageIndex {
    leaflets: HashMap<u128, Box<Leaflet>, BuildHasherDefault<KeyHasher>>,
    len: usize,
}

impl PageIndex {
    /// How many pages have a place.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A page's leaflet and where it stands in there.
    #[inline]
    fn split(key: PageKey) -> (u128, usize) {
        (key.bits() >> LEAFLET_LOG2, key.bits() as usize % LEAFLET)
    }

    /// The place of a page, if it has one.
    #[inline]
    pub fn get(&self, key: PageKey) -> Option<Place> {
        let (leaflet, at) = Self::split(key);
        self.leaflets.get(&leaflet).map(|leaflet| leaflet.places[at]).filter(|place| *place != NOWHERE)
    }

    /// Gives a page a place.
    ///
    /// # Panics
    /// If it has one.
    pub fn insert(&mut self, key: PageKey, place: Place) {
        let (leaflet, at) = Self::split(key);
        let empty = || Box::new(Leaflet { places: [NOWHERE; LEAFLET], len: 0 });
        let leaflet = self.leaflets.entry(leaflet).or_insert_with(empty);
        assert_eq!(leaflet.places[at], NOWHERE, "a page has one place");
        leaflet.places[at] = place;
        leaflet.len += 1;
        self.len += 1;
    }

    /// Takes a page its place.
    ///
    /// # Panics
    /// If it has none.
    pub fn remove(&mut self, key: PageKey) {
        let (number, at) = Self::split(key);
        let leaflet = self.leaflets.get_mut(&number).expect("what is removed is there");
        assert_ne!(leaflet.places[at], NOWHERE, "what is removed is there");
        leaflet.places[at] = NOWHERE;
        leaflet.len -= 1;
        if leaflet.len == 0 {
            self.leaflets.remove(&number);
        }
        self.len -= 1;
    }
}

/// Hashes leaflets' numbers, which nobody outside can choose to collide: frontends are the cluster's own.
#[derive(Clone, Copy, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the key is one number");
    }

    #[inline]
    fn write_u128(&mut self, key: u128) {
        let folded = key as u64 ^ ((key >> 64) as u64).rotate_left(40);
        let spread = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, Timestamp, TxnId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The n-th page of a frontend's life.
    fn key(frontend: u32, epoch: u32, n: u64) -> PageKey {
        let (class, epoch) = (DeadlineClass::Normal, FrontendEpoch(epoch));
        PageKey::of(TxnId::new(Timestamp::from_millis(1), class, FrontendId(frontend), epoch, n * 64))
    }

    proptest! {
        #[test]
        fn pages_have_the_place_that_they_were_given(
            steps in prop::collection::vec((1u32..4, 1u32..3, 0u64..200, any::<bool>()), 1..600),
        ) {
            let mut index = PageIndex::default();
            let mut model = BTreeMap::new();
            for (place, (frontend, epoch, n, is_there)) in steps.into_iter().enumerate() {
                let key = key(frontend, epoch, n);
                prop_assert_eq!(index.get(key), model.get(&key).copied());
                match (model.contains_key(&key), is_there) {
                    (false, true) => {
                        index.insert(key, place as Place);
                        model.insert(key, place as Place);
                    }
                    (true, false) => {
                        index.remove(key);
                        model.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for frontend in 1..4 {
                for (epoch, n) in (1..3).flat_map(|epoch| (0..200).map(move |n| (epoch, n))) {
                    let key = key(frontend, epoch, n);
                    prop_assert_eq!(index.get(key), model.get(&key).copied());
                }
            }
            model.into_keys().for_each(|key| index.remove(key));
            prop_assert!(index.leaflets.is_empty());
        }
    }
}
