//! A transaction's own writes, by key, with marks to which they can be undone.
//!
//! Writes of temporary tables are among them, so that they are undone with the others; they are counted apart, because no
//! commit sends them anywhere.

use assize_model::{Key, KeyRange, Mutation, MutationOp, Slot, TableId, Timestamp};
use std::collections::BTreeMap;
use std::ops::Bound;

/// One buffered write.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffered {
    /// The table whose key it is.
    pub table: TableId,
    /// Where its row lives.
    pub slot: Slot,
    /// What happens to the key.
    pub op: MutationOp,
    /// The snapshot of the statement that first wrote the key: from there on the key must be unchanged.
    pub first_ts: Timestamp,
    /// The statement that wrote it last.
    statement: u64,
    /// What the key was to the transaction before that statement: `None` if it was not written.
    before: Option<MutationOp>,
}

/// Own writes, newest per key, with an undo log.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    writes: BTreeMap<Key, Buffered>,
    /// What each write replaced, oldest first, and `None` for a write elsewhere; a mark is a length of this log.
    undo: Vec<Option<(Key, Option<Buffered>)>>,
    /// Of what the commit sends.
    lasting: Sums,
    /// Of temporary tables.
    temporary: Sums,
    statement: u64,
}

/// How much is written.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    keys: usize,
    bytes: usize,
    /// Bytes of the keys alone.
    key_bytes: usize,
}

impl Sums {
    fn add(&mut self, key: &Key, write: &Buffered) {
        self.keys += 1;
        self.bytes += cost(key, write);
        self.key_bytes += key.0.len();
    }

    fn subtract(&mut self, key: &Key, write: &Buffered) {
        self.keys -= 1;
        self.bytes -= cost(key, write);
        self.key_bytes -= key.0.len();
    }
}

/// What a key costs besides its bytes: map nodes, undo entry, footprint hash.
const OVERHEAD_PER_WRITE: usize = 64;

fn cost(key: &Key, write: &Buffered) -> usize {
    let value = match &write.op {
        MutationOp::Put(value) => value.len(),
        MutationOp::Delete | MutationOp::Lock => 0,
    };
    key.0.len() + value + OVERHEAD_PER_WRITE
}

impl WriteBuffer {
    /// A statement begins: plain scans do not see what it writes.
    pub fn begin_statement(&mut self) {
        self.statement += 1;
    }

    /// What a write looks like to a reader: with `whole`, as it is; otherwise as it was when the running statement
    /// began (`None`: the transaction had not written the key then).
    pub fn seen<'a>(&self, write: &'a Buffered, whole: bool) -> Option<&'a MutationOp> {
        if whole || write.statement != self.statement { Some(&write.op) } else { write.before.as_ref() }
    }

    /// Buffers a write made at this snapshot. A lock never replaces a put or a delete: the key is written anyway.
    pub fn write(&mut self, table: TableId, mutation: Mutation, snapshot_ts: Timestamp) {
        let Mutation { key, slot, op } = mutation;
        let before = self.writes.get(&key).cloned();
        if op == MutationOp::Lock && before.is_some() {
            return;
        }
        let first_ts = before.as_ref().map_or(snapshot_ts, |b| b.first_ts);
        let earlier = before
            .as_ref()
            .and_then(|b| if b.statement == self.statement { b.before.clone() } else { Some(b.op.clone()) });
        let write = Buffered { table, slot, op, first_ts, statement: self.statement, before: earlier };
        if let Some(before) = &before {
            self.sums(table).subtract(&key, before);
        }
        self.sums(table).add(&key, &write);
        self.writes.insert(key.clone(), write);
        self.undo.push(Some((key, before)));
    }

    fn sums(&mut self, table: TableId) -> &mut Sums {
        if table.is_temporary() { &mut self.temporary } else { &mut self.lasting }
    }

    /// What the transaction has written to this key.
    pub fn get(&self, key: &Key) -> Option<&Buffered> {
        self.writes.get(key)
    }

    /// The writes within a range, in key order.
    pub fn range(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Key, &Buffered)> {
        let bounds = if range.is_empty() {
            (Bound::Excluded(&range.start), Bound::Included(&range.start))
        } else {
            (Bound::Included(&range.start), Bound::Excluded(&range.end))
        };
        // An empty range must not reach the map, which panics on inverted bounds.
        (!range.is_empty()).then(|| self.writes.range::<Key, _>(bounds)).into_iter().flatten()
    }

    /// All writes that a commit sends, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Buffered)> {
        self.writes.iter().filter(|(_, write)| !write.table.is_temporary())
    }

    /// How many keys of tables other than temporary ones are written.
    pub fn len(&self) -> usize {
        self.lasting.keys
    }

    /// Whether nothing is written but, perhaps, to temporary tables.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held for the commit, the unit of `frontend.transaction_bytes_max`.
    pub fn bytes(&self) -> usize {
        self.lasting.bytes
    }

    /// Bytes held of temporary tables.
    pub fn temporary_bytes(&self) -> usize {
        self.temporary.bytes
    }

    /// Bytes of the keys that a commit sends.
    pub fn key_bytes(&self) -> usize {
        self.lasting.key_bytes
    }

    /// Something was written on a foreign server: marks from before it differ from those after it.
    pub fn note_elsewhere(&mut self) {
        self.undo.push(None);
    }

    /// The present moment, to which [`WriteBuffer::undo_to`] returns.
    pub fn mark(&self) -> u64 {
        self.undo.len() as u64
    }

    /// Undoes every write since the mark.
    pub fn undo_to(&mut self, mark: u64) {
        while self.undo.len() as u64 > mark {
            let Some(undone) = self.undo.pop() else { return };
            let Some((key, before)) = undone else { continue };
            if let Some(now) = self.writes.remove(&key) {
                self.sums(now.table).subtract(&key, &now);
            }
            if let Some(before) = before {
                self.sums(before.table).add(&key, &before);
                self.writes.insert(key, before);
            }
        }
    }

    /// Takes the writes of temporary tables out, in key order. The transaction is over: nothing can be undone any more.
    pub fn take_temporary(&mut self) -> impl Iterator<Item = (Key, Buffered)> + use<> {
        self.undo.clear();
        self.temporary = Sums::default();
        let writes = std::mem::take(&mut self.writes);
        let (temporary, lasting) = writes.into_iter().partition(|(_, write)| write.table.is_temporary());
        self.writes = lasting;
        let temporary: BTreeMap<Key, Buffered> = temporary;
        temporary.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TableId = TableId(1);

    fn put(key: &'static str, value: &'static str) -> Mutation {
        Mutation::put(Key::from(key), Slot(0), value.as_bytes())
    }

    #[test]
    fn undoing_to_a_mark_restores_what_was_there() {
        let mut buffer = WriteBuffer::default();
        buffer.write(T, put("a", "1"), Timestamp(5));
        let mark = buffer.mark();
        let bytes = buffer.bytes();
        assert_eq!(buffer.key_bytes(), 1);
        buffer.write(T, put("a", "22222"), Timestamp(6));
        buffer.write(T, put("b", "1"), Timestamp(6));
        buffer.write(T, Mutation::delete(Key::from("b"), Slot(0)), Timestamp(7));
        assert_eq!(buffer.key_bytes(), 2);
        buffer.undo_to(mark);
        assert_eq!((buffer.len(), buffer.key_bytes()), (1, 1));
        assert_eq!(buffer.bytes(), bytes);
        assert_eq!(buffer.get(&Key::from("a")).unwrap().op, MutationOp::Put("1".as_bytes().into()));
    }

    #[test]
    fn a_key_keeps_the_snapshot_of_its_first_write() {
        let mut buffer = WriteBuffer::default();
        buffer.write(T, put("a", "1"), Timestamp(5));
        buffer.write(T, put("a", "2"), Timestamp(9));
        assert_eq!(buffer.get(&Key::from("a")).unwrap().first_ts, Timestamp(5));
    }

    #[test]
    fn a_lock_does_not_replace_a_write_and_a_write_replaces_a_lock() {
        let mut buffer = WriteBuffer::default();
        buffer.write(T, Mutation::lock(Key::from("a"), Slot(0)), Timestamp(5));
        buffer.write(T, put("a", "1"), Timestamp(6));
        buffer.write(T, Mutation::lock(Key::from("a"), Slot(0)), Timestamp(7));
        let written = buffer.get(&Key::from("a")).unwrap();
        assert_eq!(written.op, MutationOp::Put("1".as_bytes().into()));
        assert_eq!(written.first_ts, Timestamp(5));
    }

    #[test]
    fn a_plain_scan_does_not_see_the_running_statement() {
        let mut buffer = WriteBuffer::default();
        buffer.write(T, put("a", "1"), Timestamp(5));
        buffer.begin_statement();
        buffer.write(T, put("a", "2"), Timestamp(5));
        buffer.write(T, put("a", "3"), Timestamp(5));
        buffer.write(T, put("b", "1"), Timestamp(5));
        let (a, b) = (buffer.get(&Key::from("a")).unwrap(), buffer.get(&Key::from("b")).unwrap());
        assert_eq!(buffer.seen(a, false), Some(&MutationOp::Put("1".as_bytes().into())));
        assert_eq!(buffer.seen(a, true), Some(&MutationOp::Put("3".as_bytes().into())));
        assert_eq!(buffer.seen(b, false), None);
    }

    #[test]
    fn writes_of_temporary_tables_are_counted_apart_and_undone_with_the_others() {
        let temporary = TableId::temporary(1);
        let mut buffer = WriteBuffer::default();
        buffer.write(T, put("a", "1"), Timestamp(5));
        let (mark, bytes) = (buffer.mark(), buffer.bytes());
        buffer.write(temporary, put("t", "12345"), Timestamp(5));
        assert_eq!((buffer.len(), buffer.bytes(), buffer.key_bytes()), (1, bytes, 1));
        assert!(buffer.temporary_bytes() > bytes);
        assert_eq!(buffer.iter().count(), 1);
        assert!(buffer.get(&Key::from("t")).is_some());
        buffer.undo_to(mark);
        assert_eq!(buffer.temporary_bytes(), 0);
        buffer.write(temporary, put("t", "1"), Timestamp(5));
        let taken: Vec<_> = buffer.take_temporary().map(|(key, _)| key).collect();
        assert_eq!(taken, [Key::from("t")]);
        assert_eq!((buffer.len(), buffer.temporary_bytes()), (1, 0));
    }

    #[test]
    fn an_empty_range_holds_nothing() {
        let mut buffer = WriteBuffer::default();
        buffer.write(T, put("b", "1"), Timestamp(5));
        let inverted = KeyRange::new(Key::from("c"), Key::from("a"));
        assert_eq!(buffer.range(&inverted).count(), 0);
        assert_eq!(buffer.range(&KeyRange::new(Key::from("a"), Key::from("c"))).count(), 1);
    }
}
