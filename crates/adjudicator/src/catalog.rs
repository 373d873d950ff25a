//! Catalog objects, schema fences and AUTO_INCREMENT counters.
//!
//! An object is a name and bytes that only frontends understand; what matters here is that its changes have a
//! place in the order of commits.

use crate::command::AllocateIds;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::*;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// So many changes are remembered; a frontend that is further behind reads everything.
const CHANGES_MAX: usize = 4096;

/// An object of the catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogObject {
    /// Its name.
    pub name: Bytes,
    /// The catalog's version when it was last put or removed.
    pub version: CatalogVersion,
    /// Its bytes; `None` if it was removed.
    pub bytes: Option<Bytes>,
}

/// What a frontend at some version of the catalog has missed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogDelta {
    /// The version that it arrives at.
    pub to: CatalogVersion,
    /// Whether `objects` is the whole catalog, not only what changed: objects that are not named are gone.
    pub is_everything: bool,
    /// Objects as they are now, by name.
    pub objects: Vec<CatalogObject>,
}

/// See the module's page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Catalog {
    version: CatalogVersion,
    objects: BTreeMap<Bytes, (CatalogVersion, Bytes)>,
    /// The names that each recent change touched, oldest first, without gaps up to `version`.
    changes: VecDeque<(CatalogVersion, Vec<Bytes>)>,
    fences: BTreeMap<TableId, SchemaVersion>,
    /// The next value of a table's counter; 1 where nothing is said.
    counters: BTreeMap<TableId, u64>,
}

impl Catalog {
    pub(crate) fn version(&self) -> CatalogVersion {
        self.version
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<CatalogObject> {
        let (name, (version, bytes)) = self.objects.get_key_value(name)?;
        Some(CatalogObject { name: name.clone(), version: *version, bytes: Some(bytes.clone()) })
    }

    pub(crate) fn since(&self, from: CatalogVersion) -> CatalogDelta {
        let object = |name: &Bytes, version: CatalogVersion| match self.objects.get(name) {
            Some((version, bytes)) => {
                CatalogObject { name: name.clone(), version: *version, bytes: Some(bytes.clone()) }
            }
            None => CatalogObject { name: name.clone(), version, bytes: None },
        };
        let is_remembered =
            from >= self.version || self.changes.front().is_some_and(|(v, _)| v.0 <= from.0 + 1);
        let objects = if is_remembered {
            let mut names: BTreeMap<&Bytes, CatalogVersion> = BTreeMap::new();
            for (version, touched) in self.changes.iter().filter(|(version, _)| *version > from) {
                names.extend(touched.iter().map(|name| (name, *version)));
            }
            names.into_iter().map(|(name, version)| object(name, version)).collect()
        } else {
            self.objects.iter().map(|(name, (version, _))| object(name, *version)).collect()
        };
        CatalogDelta { to: self.version, is_everything: !is_remembered, objects }
    }

    /// The first object that is not at the version that the author of a change saw.
    pub(crate) fn unexpected(&self, change: &CatalogChange) -> Option<Bytes> {
        let version_of = |name: &Bytes| self.objects.get(name).map_or(0, |(version, _)| version.0);
        change.expects.iter().find(|(name, version)| version_of(name) != *version).map(|(name, _)| {
            // A copy: the name must not keep a whole log entry in memory.
            Bytes::copy_from_slice(name)
        })
    }

    pub(crate) fn change(&mut self, change: &CatalogChange) {
        self.version = CatalogVersion(self.version.0 + 1);
        let mut touched = Vec::with_capacity(change.objects.len());
        for (name, object) in &change.objects {
            let name = Bytes::copy_from_slice(name);
            match object {
                Some(bytes) => {
                    self.objects.insert(name.clone(), (self.version, Bytes::copy_from_slice(bytes)));
                }
                None => drop(self.objects.remove(&name)),
            }
            touched.push(name);
        }
        for fence in &change.fences {
            let min = self.fences.entry(fence.table).or_default();
            *min = (*min).max(fence.min_version);
        }
        for (table, next) in &change.counters {
            self.counters.insert(*table, (*next).max(1));
        }
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back((self.version, touched));
    }

    /// Whether a transaction that planned with this version of the table came too late.
    #[inline]
    pub(crate) fn is_fenced(&self, table: TableId, version: SchemaVersion) -> bool {
        !self.fences.is_empty() && self.fences.get(&table).is_some_and(|min| version < *min)
    }

    /// The oldest version of a table that may still commit.
    pub(crate) fn fence(&self, table: TableId) -> SchemaVersion {
        self.fences.get(&table).copied().unwrap_or_default()
    }

    pub(crate) fn counter(&self, table: TableId) -> u64 {
        self.counters.get(&table).copied().unwrap_or(1)
    }

    /// An explicit value was committed: generated ones come after it.
    pub(crate) fn advance_counter(&mut self, table: TableId, value: u64) {
        let next = self.counters.entry(table).or_insert(1);
        *next = (*next).max(value.saturating_add(1));
    }

    /// Hands out `count` values; `None` if they do not fit into 64 bits.
    pub(crate) fn allocate(&mut self, wanted: &AllocateIds) -> Option<u64> {
        let increment = u128::from(wanted.increment.max(1));
        // As in MySQL an offset above the increment is ignored.
        let offset = match u128::from(wanted.offset) {
            offset if offset >= 1 && offset <= increment => offset,
            _ => 1,
        };
        let low = u128::from(self.counter(wanted.table).max(wanted.at_least).max(1));
        let steps = low.saturating_sub(offset).div_ceil(increment);
        let first = offset + steps * increment;
        let span = u128::from(wanted.count.max(1) - 1).checked_mul(increment)?;
        let last = first.checked_add(span).filter(|last| *last < u128::from(u64::MAX))?;
        self.counters.insert(wanted.table, last as u64 + 1);
        Some(first as u64)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.version.0);
        out.put_varint(self.objects.len() as u64);
        for (name, (version, bytes)) in &self.objects {
            out.put_bytes(name);
            out.put_u64(version.0);
            out.put_bytes(bytes);
        }
        out.put_varint(self.changes.len() as u64);
        for (version, names) in &self.changes {
            out.put_u64(version.0);
            out.put_varint(names.len() as u64);
            names.iter().for_each(|name| out.put_bytes(name));
        }
        out.put_varint(self.fences.len() as u64);
        for (table, version) in &self.fences {
            out.put_u32(table.0);
            out.put_u32(version.0);
        }
        out.put_varint(self.counters.len() as u64);
        for (table, next) in &self.counters {
            out.put_u32(table.0);
            out.put_u64(*next);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut catalog = Catalog { version: CatalogVersion(reader.u64()?), ..Catalog::default() };
        for _ in 0..reader.count(10)? {
            let name = Bytes::copy_from_slice(reader.bytes()?);
            let version = CatalogVersion(reader.u64()?);
            catalog.objects.insert(name, (version, Bytes::copy_from_slice(reader.bytes()?)));
        }
        for _ in 0..reader.count(9)? {
            let version = CatalogVersion(reader.u64()?);
            let names = (0..reader.count(1)?)
                .map(|_| reader.bytes().map(Bytes::copy_from_slice))
                .collect::<Result<_, _>>()?;
            catalog.changes.push_back((version, names));
        }
        for _ in 0..reader.count(8)? {
            catalog.fences.insert(TableId(reader.u32()?), SchemaVersion(reader.u32()?));
        }
        for _ in 0..reader.count(12)? {
            catalog.counters.insert(TableId(reader.u32()?), reader.u64()?);
        }
        Ok(catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &'static str, value: &'static str) -> CatalogChange {
        CatalogChange { objects: vec![(name.into(), Some(value.into()))], ..CatalogChange::default() }
    }

    #[test]
    fn a_delta_names_what_changed_and_what_is_gone() {
        let mut catalog = Catalog::default();
        catalog.change(&put("a", "1"));
        catalog.change(&put("b", "2"));
        catalog.change(&CatalogChange { objects: vec![("a".into(), None)], ..CatalogChange::default() });
        let delta = catalog.since(CatalogVersion(1));
        assert!(!delta.is_everything);
        assert_eq!(delta.to, CatalogVersion(3));
        let names: Vec<_> =
            delta.objects.iter().map(|o| (&o.name[..], o.version.0, o.bytes.is_some())).collect();
        assert_eq!(names, [(&b"a"[..], 3, false), (b"b", 2, true)]);
        for n in 0..CHANGES_MAX {
            catalog.change(&put("c", if n % 2 == 0 { "x" } else { "y" }));
        }
        let delta = catalog.since(CatalogVersion(1));
        assert!(delta.is_everything);
        assert_eq!(delta.objects.len(), 2);
    }

    #[test]
    fn values_follow_increment_and_offset_as_in_mysql() {
        let mut catalog = Catalog::default();
        let table = TableId(1);
        let wanted =
            |count, at_least, increment, offset| AllocateIds { table, count, at_least, increment, offset };
        assert_eq!(catalog.allocate(&wanted(3, 0, 1, 1)), Some(1));
        assert_eq!(catalog.allocate(&wanted(1, 0, 1, 1)), Some(4));
        assert_eq!(catalog.allocate(&wanted(2, 0, 10, 3)), Some(13));
        assert_eq!(catalog.counter(table), 24);
        assert_eq!(catalog.allocate(&wanted(1, 100, 1, 7)), Some(100));
        catalog.advance_counter(table, 500);
        assert_eq!(catalog.allocate(&wanted(1, 0, 1, 1)), Some(501));
        assert_eq!(catalog.allocate(&wanted(u64::MAX, 0, 1, 1)), None);
        assert_eq!(catalog.counter(table), 502);
    }
}
