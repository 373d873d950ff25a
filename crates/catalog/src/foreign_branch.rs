//! What a transaction with branches on foreign servers came to: the record that whoever finds a prepared branch asks.
//!
//! ```text
//!         ┌────────────────┬──────┬────────┐        ┌─────────┬─────────┬──────────┬──────────────────────────┐
//!  record │ table 7ffffffe │ 0000 │ number │ ──────▶│ version │ outcome │ at       │ places: server, address  │
//!         └────────────────┴──────┴────────┘        │       1 │       1 │ 8 micros │ a count, then two texts  │
//!                                     16            └─────────┴─────────┴──────────┴──────────────────────────┘
//! ```
//!
//! The number is drawn like a transaction id and is that of all branches of one transaction. The record says *committed* if and
//! only if the transaction has committed; it goes once the branch is gone from every place that it names. A place is named with its
//! address, because a definition may be altered or dropped while a branch of it is prepared.

use crate::key;
use assize_codec::{DecodeError, Put, Reader};
use assize_model::{IndexId, Key, KeyRange, Slot, TableId, TxnId};
use bytes::Bytes;
use std::sync::Arc;

/// The table under whose number the records lie: below that of named locks, so that no table ever gets it.
pub const FOREIGN_BRANCHES: TableId = TableId((u32::MAX >> 1) - 1);

const VERSION: u8 = 1;

/// What became of a transaction, and so is to become of its branches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BranchOutcome {
    /// It has committed.
    Committed,
    /// It has not, and never will.
    RolledBack,
}

/// Where a branch was prepared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BranchPlace {
    /// The server's name in the catalog, in lower case.
    pub server: Arc<str>,
    /// `host:port`.
    pub address: Arc<str>,
}

/// The record of a transaction's branches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignBranch {
    /// What became of it.
    pub outcome: BranchOutcome,
    /// When it was written, in microseconds since the Unix epoch by the clock of whoever did: for people.
    pub at_micros: i64,
    /// Where it was prepared, as far as whoever wrote the record knew.
    pub places: Vec<BranchPlace>,
}

impl ForeignBranch {
    /// Where the record of the branches of this number lies.
    pub fn place(number: TxnId) -> (Slot, Key) {
        let mut key = key::index_prefix(FOREIGN_BRANCHES, IndexId(0));
        key.extend_from_slice(&number.0.to_be_bytes());
        (Slot::of(&number.0.to_be_bytes()), Key::new(key))
    }

    /// The number in the key of a record.
    pub fn number(key: &Key) -> Option<TxnId> {
        let bits = key.0.strip_prefix(&key::index_prefix(FOREIGN_BRANCHES, IndexId(0))[..])?;
        TxnId::from_bits(u128::from_be_bytes(bits.try_into().ok()?))
    }

    /// The keys of all records.
    pub fn range() -> KeyRange {
        key::index_range(FOREIGN_BRANCHES, IndexId(0))
    }

    /// Its stored form.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u8(match self.outcome {
            BranchOutcome::Committed => 1,
            BranchOutcome::RolledBack => 2,
        });
        out.put_u64(self.at_micros as u64);
        out.put_u32(self.places.len() as u32);
        for place in &self.places {
            out.put_str(&place.server);
            out.put_str(&place.address);
        }
        out.into()
    }

    /// Reads a stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(reader.bad("version of a record of foreign branches", version.into()));
        }
        let outcome = match reader.u8()? {
            1 => BranchOutcome::Committed,
            2 => BranchOutcome::RolledBack,
            other => return Err(reader.bad("outcome of foreign branches", other.into())),
        };
        let at_micros = reader.u64()? as i64;
        let count = reader.u32()?;
        let mut places = Vec::new();
        for _ in 0..count {
            places.push(BranchPlace { server: reader.str()?.into(), address: reader.str()?.into() });
        }
        reader.finish()?;
        Ok(ForeignBranch { outcome, at_micros, places })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, Timestamp};

    fn number() -> TxnId {
        TxnId::new(
            Timestamp::from_millis(0x0102_0304),
            DeadlineClass::Xa,
            FrontendId(3),
            FrontendEpoch(2),
            17,
        )
    }

    fn record() -> ForeignBranch {
        let place =
            |server: &str, address: &str| BranchPlace { server: server.into(), address: address.into() };
        ForeignBranch {
            outcome: BranchOutcome::Committed,
            at_micros: 1_790_000_000_000_000,
            places: vec![place("legacy", "db1:3306"), place("wms", "[::1]:3307")],
        }
    }

    #[test]
    fn what_is_stored_is_what_this_sample_says() {
        let (slot, key) = ForeignBranch::place(number());
        assert_eq!(&key.0[..6], b"\x7f\xff\xff\xfe\x00\x00");
        assert_eq!((slot, &key.0[6..]), (Slot::of(&number().0.to_be_bytes()), &number().0.to_be_bytes()[..]));
        assert!(ForeignBranch::range().contains(&key));
        assert_eq!(ForeignBranch::number(&key), Some(number()));
        let bytes = record().encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, SAMPLE_V1);
        assert_eq!(ForeignBranch::decode(&bytes), Ok(record()));
        let rolled_back =
            ForeignBranch { outcome: BranchOutcome::RolledBack, places: Vec::new(), ..record() };
        assert_eq!(ForeignBranch::decode(&rolled_back.encode()), Ok(rolled_back));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = record().encode().to_vec();
        for end in 0..good.len() {
            assert!(ForeignBranch::decode(&good[..end]).is_err(), "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            ForeignBranch::decode(&bytes)
        };
        assert!(with(0, 2).is_err(), "a later version");
        assert!(with(1, 3).is_err(), "an outcome that there is not");
        assert!(with(10, 0xff).is_err(), "more places than bytes");
        assert!(ForeignBranch::decode(&[good.clone(), vec![0]].concat()).is_err(), "something follows");
        let (_, lock) = crate::NamedLock::place("x");
        assert_eq!(ForeignBranch::number(&lock), None);
    }

    const SAMPLE_V1: &str =
        "010100e025dafe5b060002000000066c6567616379086462313a3333303603776d730a5b3a3a315d3a33333037";
}
