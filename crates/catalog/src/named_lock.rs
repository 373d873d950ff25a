//! A stored named lock: what GET_LOCK leaves where every frontend finds it.
//!
//! ```text
//!             ┌────────────────┬──────┬──────┐        ┌─────────┬───────┬────────────┐
//!  named lock │ table 7fffffff │ 0000 │ name │ ──────▶│ version │ owner │ connection │
//!             └────────────────┴──────┴──────┘        │       1 │    16 │          4 │
//!                                                     └─────────┴───────┴────────────┘
//! ```
//!
//! It is there while the lock is held. The owner is an id of the frontend's life, so that whoever finds the lock can tell whether
//! its holder still lives.

use crate::key;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{IndexId, Key, Slot, TableId, TxnId};
use bytes::Bytes;

/// The table under whose number named locks lie: the highest that a table could have, so that none ever gets it.
pub const NAMED_LOCKS: TableId = TableId(u32::MAX >> 1);

const VERSION: u8 = 1;

/// Who holds a named lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedLock {
    /// In whose name it is reserved; drawn anew each time that it is got.
    pub owner: TxnId,
    /// CONNECTION_ID() of the session that holds it.
    pub connection: u32,
}

impl NamedLock {
    /// Where the lock of this name lies. Names compare as bytes here: whoever asks has folded them.
    pub fn place(name: &str) -> (Slot, Key) {
        let mut key = key::index_prefix(NAMED_LOCKS, IndexId(0));
        key.extend_from_slice(name.as_bytes());
        (Slot::of(name.as_bytes()), Key::new(key))
    }

    /// Its stored form.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u128(self.owner.0);
        out.put_u32(self.connection);
        out.into()
    }

    /// Reads a stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(reader.bad("version of a named lock", version.into()));
        }
        let bits = reader.u128()?;
        let owner = TxnId::from_bits(bits).ok_or_else(|| reader.bad("owner of a named lock", bits as u64))?;
        let lock = NamedLock { owner, connection: reader.u32()? };
        reader.finish()?;
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, Timestamp};

    fn lock() -> NamedLock {
        let begun = Timestamp::from_millis(0x0102_0304);
        let owner = TxnId::new(begun, DeadlineClass::Normal, FrontendId(3), FrontendEpoch(2), 17);
        NamedLock { owner, connection: 0x0300_0007 }
    }

    #[test]
    fn what_is_stored_is_what_this_sample_says() {
        let (slot, key) = NamedLock::place("schema_migrations");
        assert_eq!(&key.0[..], b"\x7f\xff\xff\xff\x00\x00schema_migrations");
        assert_eq!(slot, Slot::of(b"schema_migrations"));
        let bytes = lock().encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, SAMPLE_V1);
        assert_eq!(NamedLock::decode(&bytes), Ok(lock()));
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        let good = lock().encode().to_vec();
        for end in 0..good.len() {
            assert!(NamedLock::decode(&good[..end]).is_err(), "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            NamedLock::decode(&bytes)
        };
        assert!(with(0, 2).is_err(), "a later version");
        assert!(NamedLock::decode(&[good.clone(), vec![0]].concat()).is_err(), "something follows");
        assert!(with(11, 3).is_err(), "bits that are no id");
    }

    const SAMPLE_V1: &str = "0111000000200000300000100c0804000007000003";
}
