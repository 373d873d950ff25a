//! Identifiers.

use crate::{DeadlineClass, Timestamp};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A process of the cluster.
    NodeId(u64), "n");
id!(
    /// A frontend; with its [`FrontendEpoch`] granted by a log entry, so that a restarted frontend never
    /// reuses a transaction id. 20 bits.
    FrontendId(u32), "f");
id!(
    /// Which life of a frontend. 24 bits.
    FrontendEpoch(u32), "e");
id!(
    /// A shard: a slice of the key space.
    ShardId(u32), "s");
id!(
    /// One copy of a shard, numbered within its shard.
    ReplicaId(u8), "r");
id!(
    /// A database (schema, in MySQL's other word for it).
    DatabaseId(u32), "d");
id!(
    /// A table. Never reused; TRUNCATE gives a table a new one.
    TableId(u32), "t");
impl TableId {
    /// What the ids of temporary tables begin at. Those that the catalog gives do not reach it, and no log, shard or other
    /// session ever sees one of them.
    const TEMPORARY: u32 = 1 << 30;
    /// How many temporary tables can be told apart.
    pub const TEMPORARY_MAX: u32 = 1 << 28;

    /// The id of a temporary table of this number, less than [`TableId::TEMPORARY_MAX`].
    pub const fn temporary(number: u32) -> TableId {
        TableId(Self::TEMPORARY | (number % Self::TEMPORARY_MAX))
    }

    /// Whether it is a temporary table of some session, or a counter of one, for which the top bit stands.
    pub const fn is_temporary(self) -> bool {
        const TOP: u32 = 1 << 31;
        self.0 & !TOP & !(Self::TEMPORARY_MAX - 1) == Self::TEMPORARY
    }
}

id!(
    /// An index within its table; 0 is the primary key.
    IndexId(u16), "i");
id!(
    /// How often the definition of one table has changed.
    SchemaVersion(u32), "v");
id!(
    /// How often the catalog as a whole has changed.
    CatalogVersion(u64), "c");
id!(
    /// Version of a placement, of the whole cluster or of one shard.
    Epoch(u64), "p");
id!(
    /// Index of an entry in the adjudicator's replicated log.
    LogIndex(u64), "#");
id!(
    /// Number of a batch; conflict detection compares these.
    BatchNumber(u64), "b");

/// The 16-bit hash that places a row on a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(pub u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u32 = 65_536;

    /// The slot of a row whose sharding column has this index encoding (collation key and all, so that
    /// equal values share a slot).
    pub fn of(encoded_sharding_column: &[u8]) -> Slot {
        // A fixed seed: placement must be the same for ever, unlike the conflict window's keyed hash.
        Slot((xxhash_rust::xxh3::xxh3_64(encoded_sharding_column) >> 48) as u16)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// A transaction's identity. It carries everything that both the adjudicator and a shard must agree on
/// without talking to each other: who coordinates it and when it is too late for it.
///
/// ```text
///  bit 127                                                              0
///  ┌──────────────────┬───────┬─────────────┬────────────────┬──────────┐
///  │ begun millis  46 │class 2│ frontend 20 │ frontend epoch │ sequence │
///  │                  │       │             │             24 │       36 │
///  └──────────────────┴───────┴─────────────┴────────────────┴──────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u128);

impl TxnId {
    const SEQUENCE_BITS: u32 = 36;
    const EPOCH_BITS: u32 = 24;
    const FRONTEND_BITS: u32 = 20;
    const CLASS_BITS: u32 = 2;
    const EPOCH_SHIFT: u32 = Self::SEQUENCE_BITS;
    const FRONTEND_SHIFT: u32 = Self::EPOCH_SHIFT + Self::EPOCH_BITS;
    const CLASS_SHIFT: u32 = Self::FRONTEND_SHIFT + Self::FRONTEND_BITS;
    const TIME_SHIFT: u32 = Self::CLASS_SHIFT + Self::CLASS_BITS;

    /// Composes an id. `begun` is when the commit began, derived from the adjudicator's timestamps plus
    /// monotonic elapsed time, to the millisecond.
    ///
    /// # Panics
    /// If a part does not fit its bits; the parts come from our own code.
    pub fn new(
        begun: Timestamp,
        class: DeadlineClass,
        frontend: FrontendId,
        epoch: FrontendEpoch,
        sequence: u64,
    ) -> Self {
        assert!(u64::from(frontend.0) < 1 << Self::FRONTEND_BITS);
        assert!(u64::from(epoch.0) < 1 << Self::EPOCH_BITS);
        assert!(sequence < 1 << Self::SEQUENCE_BITS);
        let class = match class {
            DeadlineClass::Normal => 0u128,
            DeadlineClass::Bulk => 1,
            DeadlineClass::Xa => 2,
        };
        TxnId(
            u128::from(begun.millis()) << Self::TIME_SHIFT
                | class << Self::CLASS_SHIFT
                | u128::from(frontend.0) << Self::FRONTEND_SHIFT
                | u128::from(epoch.0) << Self::EPOCH_SHIFT
                | u128::from(sequence),
        )
    }

    /// Reads an id that came from outside; `None` if its bits are not those of an id.
    #[inline]
    pub fn from_bits(bits: u128) -> Option<Self> {
        (bits >> Self::CLASS_SHIFT & 0b11 != 0b11).then_some(TxnId(bits))
    }

    /// The id without the time at which it began: class, frontend, life and number, 82 bits. A life numbers its
    /// transactions, so this alone names one, and those of a life and class follow one another.
    #[inline]
    pub const fn serial(self) -> u128 {
        self.0 & ((1 << Self::TIME_SHIFT) - 1)
    }

    /// The id of this serial that began then. Bits of `serial` above the lower 82 are not looked at.
    #[inline]
    pub const fn from_serial(begun: Timestamp, serial: u128) -> Self {
        TxnId((begun.millis() as u128) << Self::TIME_SHIFT | serial & ((1 << Self::TIME_SHIFT) - 1))
    }

    /// When the commit began, to the millisecond.
    #[inline]
    pub fn begun(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> Self::TIME_SHIFT) as u64)
    }

    /// How long it may take.
    #[inline]
    pub fn class(self) -> DeadlineClass {
        match self.0 >> Self::CLASS_SHIFT & 0b11 {
            1 => DeadlineClass::Bulk,
            2 => DeadlineClass::Xa,
            _ => DeadlineClass::Normal,
        }
    }

    /// After this timestamp nobody may commit the transaction (R1) and nobody need keep its intents (R2).
    #[inline]
    pub fn deadline(self) -> Timestamp {
        let millis = (self.0 >> Self::TIME_SHIFT) as u64;
        Timestamp::from_millis(millis + self.class().limit_millis())
    }

    /// The frontend that coordinates it.
    #[inline]
    pub fn frontend(self) -> FrontendId {
        FrontendId((self.0 >> Self::FRONTEND_SHIFT) as u32 & ((1 << Self::FRONTEND_BITS) - 1))
    }

    /// Which life of that frontend.
    #[inline]
    pub fn frontend_epoch(self) -> FrontendEpoch {
        FrontendEpoch((self.0 >> Self::EPOCH_SHIFT) as u32 & ((1 << Self::EPOCH_BITS) - 1))
    }

    /// Its number within that life.
    #[inline]
    pub fn sequence(self) -> u64 {
        self.0 as u64 & ((1 << Self::SEQUENCE_BITS) - 1)
    }
}

/// The one form in which people see an id, and which is read back: all its bits as 32 hexadecimal digits.
impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text is not the hexadecimal form of a [`TxnId`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a transaction id: {reason}", reason = self.reason())]
pub struct InvalidTxnId(pub String);

impl InvalidTxnId {
    fn reason(&self) -> &'static str {
        match is_hex(&self.0) {
            true => "no frontend makes one that says so of its deadline",
            false => "it has 32 hexadecimal digits",
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl std::str::FromStr for TxnId {
    type Err = InvalidTxnId;

    fn from_str(text: &str) -> Result<Self, InvalidTxnId> {
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| is_hex(text));
        bits.and_then(TxnId::from_bits).ok_or_else(|| InvalidTxnId(text.to_owned()))
    }
}

/// The id, and for the eye whose it is: frontend, life and number.
impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({}.{}.{})", self.frontend().0, self.frontend_epoch().0, self.sequence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_txn_id_gives_back_its_parts() {
        let begun = Timestamp::from_millis(1_790_000_000_123);
        for class in [DeadlineClass::Normal, DeadlineClass::Bulk, DeadlineClass::Xa] {
            let id =
                TxnId::new(begun, class, FrontendId(1_048_575), FrontendEpoch(16_777_215), (1 << 36) - 1);
            assert_eq!(id.begun(), begun);
            assert_eq!(id.class(), class);
            assert_eq!(id.frontend(), FrontendId(1_048_575));
            assert_eq!(id.frontend_epoch(), FrontendEpoch(16_777_215));
            assert_eq!(id.sequence(), (1 << 36) - 1);
            assert_eq!(id.deadline(), begun.later(class.limit()));
            assert_eq!(TxnId::from_bits(id.0), Some(id));
            assert_eq!(TxnId::from_serial(begun, id.serial()), id);
        }
        assert_eq!(TxnId::from_bits(0b11 << TxnId::CLASS_SHIFT), None);
    }

    #[test]
    fn a_txn_id_is_read_back_from_the_form_that_is_shown() {
        let begun = Timestamp::from_millis(1_790_000_000_123);
        let id = TxnId::new(begun, DeadlineClass::Bulk, FrontendId(3), FrontendEpoch(2), 77);
        assert_eq!(id.to_string(), "06831141b1ed0000300000200000004d");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        assert!(format!("{id:?}").starts_with(&id.to_string()));
        for bad in ["", "1.2.3", &"f".repeat(32), &format!("+{:031x}", 1), &"0".repeat(33)] {
            assert_eq!(bad.parse::<TxnId>(), Err(InvalidTxnId(bad.to_owned())));
        }
        // What is wrong is said: digits, or what they say.
        let refusal = |bad: &str| bad.parse::<TxnId>().unwrap_err().to_string();
        assert!(refusal("1.2.3").ends_with("it has 32 hexadecimal digits"), "{}", refusal("1.2.3"));
        assert!(refusal(&"f".repeat(32)).contains("deadline"), "{}", refusal(&"f".repeat(32)));
    }
}
