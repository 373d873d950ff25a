//! Some families as they were at one moment, read out in chunks.
//!
//! RocksDB's own export of a family is not within our reach, and a checkpoint of hard links names (and first flushes)
//! every family of the node. A snapshot costs nothing to take and shows exactly what was there, flushed or not; while it
//! lives, compaction keeps what it shows.

use crate::{Family, RocksError};
use bytes::Bytes;
use rocksdb::ReadOptions;
use std::sync::mpsc;

type Snapshot<'a> = rocksdb::SnapshotWithThreadMode<'a, crate::Db>;

/// A chunk is closed once it holds this many bytes of keys and values.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait for whoever reads.
const CHUNKS_WAITING_MAX: usize = 4;

/// Some entries of one family, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The place of the family among those that were asked for.
    pub family: usize,
    /// Keys and values.
    pub entries: Vec<(Bytes, Bytes)>,
}

/// Some families as they were at one moment. Dropping it ends the reading.
pub struct Image {
    /// What was read, with the number of the place from which it was read on; `None` after the last chunk.
    chunks: mpsc::Receiver<(u64, Result<Option<Chunk>, RocksError>)>,
    places: mpsc::Sender<Place>,
    /// The last place that was asked for.
    number: u64,
}

/// From where on to read.
#[derive(Default)]
struct Place {
    number: u64,
    family: usize,
    /// Behind this key; `None`: from the first.
    after: Option<Bytes>,
}

impl Image {
    /// Takes the image: what is written after this returns is not in it. A thread of its own reads ahead, and ends with
    /// the image.
    ///
    /// # Panics
    /// If no family is given, or they are not of one store.
    pub fn take(families: Vec<Family>) -> Result<Image, RocksError> {
        let store = families.first().expect("an image of something").store().clone();
        assert!(
            families.iter().all(|family| std::sync::Arc::ptr_eq(&family.store().inner, &store.inner)),
            "one snapshot is of one store"
        );
        let (sender, chunks) = mpsc::sync_channel(CHUNKS_WAITING_MAX);
        let (taken, when_taken) = mpsc::sync_channel(1);
        let (places, asked) = mpsc::channel();
        let thread = std::thread::Builder::new().name("assize-image".into());
        let read = move || {
            let snapshot = store.inner.db.snapshot();
            // The one who waits may go on changing things now.
            let _ = taken.send(());
            let mut reading = Reading { chunks: sender, asked, place: Place::default() };
            while reading.read(&snapshot, &families) {}
        };
        let failed = |reason: String| RocksError::Failed { doing: "take an image of a family", reason };
        thread.spawn(read).map_err(|error| failed(error.to_string()))?;
        when_taken.recv().map_err(|error| failed(error.to_string()))?;
        Ok(Image { chunks, places, number: 0 })
    }

    /// Goes on behind a key of a family, wherever it was.
    pub fn go_on_after(&mut self, family: usize, key: Bytes) {
        self.number += 1;
        // A thread that has ended says so with the next chunk.
        let _ = self.places.send(Place { number: self.number, family, after: Some(key) });
    }

    /// The next chunk, in the order of families and keys; `None` after the last. Waits for the disk.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, RocksError> {
        let ended = |_| RocksError::Failed { doing: "read an image", reason: "its reader has ended".into() };
        loop {
            let (number, read) = self.chunks.recv().map_err(ended)?;
            if number == self.number {
                return read;
            }
        }
    }
}

/// The thread that reads ahead.
struct Reading {
    chunks: mpsc::SyncSender<(u64, Result<Option<Chunk>, RocksError>)>,
    asked: mpsc::Receiver<Place>,
    place: Place,
}

/// Why reading does not go on where it was.
enum Stop {
    /// Nobody listens any more.
    Gone,
    /// It is to go on elsewhere.
    Elsewhere(Place),
    Failed(RocksError),
}

impl Reading {
    /// Reads from its place to the end, and waits there for another; false: nobody listens any more.
    fn read(&mut self, snapshot: &Snapshot<'_>, families: &[Family]) -> bool {
        let stop = match self.read_families(snapshot, families) {
            Ok(()) => Stop::Gone,
            Err(stop) => stop,
        };
        let last = match stop {
            Stop::Elsewhere(place) => {
                self.place = place;
                return true;
            }
            Stop::Failed(error) => Err(error),
            Stop::Gone => Ok(None),
        };
        if self.chunks.send((self.place.number, last)).is_err() {
            return false;
        }
        match self.asked.recv() {
            Ok(place) => {
                self.place = place;
                true
            }
            Err(_) => false,
        }
    }

    fn read_families(&self, snapshot: &Snapshot<'_>, families: &[Family]) -> Result<(), Stop> {
        for (place, family) in families.iter().enumerate().skip(self.place.family) {
            let after = self.place.after.as_ref().filter(|_| place == self.place.family);
            self.read_family(snapshot, place, family, after)?;
        }
        Ok(())
    }

    fn send(&self, chunk: Chunk) -> Result<(), Stop> {
        if let Ok(place) = self.asked.try_recv() {
            return Err(Stop::Elsewhere(place));
        }
        self.chunks.send((self.place.number, Ok(Some(chunk)))).map_err(|_| Stop::Gone)
    }

    /// Sends one family's entries.
    fn read_family(
        &self,
        snapshot: &Snapshot<'_>,
        place: usize,
        family: &Family,
        after: Option<&Bytes>,
    ) -> Result<(), Stop> {
        let failed = RocksError::new("read an image");
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        // Read once from end to end: it would only push out what others need.
        options.fill_cache(false);
        let handle = family.handle().map_err(Stop::Failed)?;
        let mut cursor = snapshot.raw_iterator_cf_opt(&handle, options);
        match after {
            None => cursor.seek_to_first(),
            Some(after) => {
                cursor.seek(after);
                if cursor.key() == Some(&after[..]) {
                    cursor.next();
                }
            }
        }
        loop {
            let mut chunk = Chunk { family: place, entries: Vec::new() };
            let mut bytes = 0;
            while bytes < CHUNK_BYTES
                && let Some((key, value)) = cursor.item()
            {
                bytes += key.len() + value.len();
                chunk.entries.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                cursor.next();
            }
            cursor.status().map_err(|error| Stop::Failed(failed(error)))?;
            if chunk.entries.is_empty() {
                return Ok(());
            }
            self.send(chunk)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Location, Mode, Options, Shape, Store};

    fn put(family: &Family, key: &str, value: &[u8]) {
        let mut batch = family.batch().unwrap();
        batch.put(key.as_bytes(), value);
        batch.write(Mode::Buffered).unwrap();
    }

    #[test]
    fn an_image_shows_one_moment_of_all_its_families() {
        let families = [("a".to_owned(), Shape::Plain), ("b".to_owned(), Shape::Plain)];
        let store = Store::open(&Location::Memory, &families, |_| Shape::Plain, &Options::default()).unwrap();
        let (a, b) = (store.family("a").unwrap(), store.family("b").unwrap());
        let large = vec![7; 100_000];
        for n in 0..9 {
            put(&a, &format!("k{n}"), &large);
        }
        a.flush().unwrap();
        put(&b, "x", b"before");
        let mut image = Image::take(vec![a.clone(), b.clone()]).unwrap();
        put(&a, "k0", b"after");
        put(&b, "x", b"after");
        put(&b, "y", b"after");
        let (mut seen, mut chunks) = (Vec::new(), 0);
        while let Some(chunk) = image.next_chunk().unwrap() {
            chunks += 1;
            seen.extend(chunk.entries.into_iter().map(|(key, value)| (chunk.family, key, value.len())));
        }
        let mut expected: Vec<_> = (0..9).map(|n| (0, Bytes::from(format!("k{n}")), large.len())).collect();
        expected.push((1, Bytes::from("x"), 6));
        assert_eq!(seen, expected);
        assert!(chunks > 2, "an image is read in chunks");
        // It can be read again from any key on, as often as one likes, also after its end.
        for from in [3, 7, 0] {
            image.go_on_after(0, Bytes::from(format!("k{from}")));
            let mut again = Vec::new();
            while let Some(chunk) = image.next_chunk().unwrap() {
                again.extend(chunk.entries.into_iter().map(|(key, value)| (chunk.family, key, value.len())));
                if from == 7 {
                    break;
                }
            }
            assert_eq!(again[..], expected[from + 1..][..again.len()], "behind k{from}");
            assert!(from == 7 || again.len() == expected.len() - from - 1);
        }
        image.go_on_after(1, Bytes::from("x"));
        assert_eq!(image.next_chunk().unwrap(), None);
        // One that nobody reads does not hold the store up.
        drop(Image::take(vec![a]).unwrap());
    }
}
