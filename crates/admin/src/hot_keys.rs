//! Which keys transactions fight over.

use assize_ports::{ConflictRecord, HotKey};
use std::collections::BTreeMap;

/// Counts remembered conflicts by key, most first; conflicts without a known key are left out.
pub fn hot_keys(conflicts: &[ConflictRecord]) -> Vec<HotKey> {
    let mut found: BTreeMap<(&str, &str, &str), HotKey> = BTreeMap::new();
    for conflict in conflicts.iter().filter(|c| !c.key.is_empty()) {
        let key = (conflict.table.as_str(), conflict.index.as_str(), conflict.key.as_str());
        let hot = found.entry(key).or_insert_with(|| HotKey {
            table: conflict.table.clone(),
            index: conflict.index.clone(),
            key: conflict.key.clone(),
            conflicts: 0,
            last_micros: conflict.at_micros,
        });
        hot.conflicts += 1;
        hot.last_micros = hot.last_micros.max(conflict.at_micros);
    }
    let mut hot: Vec<HotKey> = found.into_values().collect();
    hot.sort_by_key(|h| (std::cmp::Reverse(h.conflicts), std::cmp::Reverse(h.last_micros)));
    hot
}
