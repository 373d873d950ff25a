//! How much lies in a range of keys.

/// How much lies in a range of keys: of each key what the newest snapshot shows, and nothing of what came before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    /// How many keys have a value.
    pub rows: u64,
    /// Bytes of those keys and values, as they are before they are compressed.
    pub bytes: u64,
}

impl std::ops::AddAssign for Volume {
    fn add_assign(&mut self, other: Volume) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}
