//! Versions and intents of one shard replica.
//!
//! A replica holds two things. **Versions** are committed: a value (or its absence) of a key from a commit timestamp on.
//! **Intents** are prepared: the writes of a transaction about which the adjudicator has not spoken yet. An intent is
//! data, not a lock: many transactions may hold intents on one key, nobody who reads sees any of them, and the
//! decision stream turns those of the winner into versions.
//!
//! ```text
//!   commit_ts    key a     key b     key c            intents (by transaction, invisible)
//!      40                  put y               ◀──┐   txn 7: b=z c=w     undecided
//!      30        lock                             └── txn 5: b=y         decided at #12, kept until durable everywhere
//!      20        put x               delete
//!      10        put v     put u     put s            position  #12, closed_ts 44
//!                                                     durable   # 9
//!   a snapshot at 35 reads a=x (the lock marker shows nothing), b=u, c=nothing
//! ```
//!
//! [`MvccStore`] is the writing half and takes `&mut self`; [`Reader`] is the reading half, can be cloned, and may
//! be used while the writer writes. Both stand on an [`Engine`], an ordered byte store, of which [`MemoryEngine`] is the
//! twin in memory with a crash button.
//!
//! # Invariants
//!
//! * `low-water mark ≤ every snapshot served ≤ closed timestamp of the position`.
//! * A stream entry's versions and the position after it become visible, and durable, together.
//! * A Yes vote is on disk before it is given; an undecided intent past its deadline is never voted for (R2).
//! * A decided intent stays until this replica and every sibling that counts is durable past its decision.
//! * Slots are held only once what is left of an earlier ownership is gone and all their versions are here: they were staged up
//!   to the entry that gives them, or are copied while it waits.
//! * What is dropped below the low-water mark changes no read at or above it.
//!
//! **Absent on purpose:** this crate does not know rows, networks, siblings' addresses, files or clocks. It never waits:
//! what cannot be answered yet is refused with the reason, and the replica above decides when to ask again.
//!
//! Where to read next: `key.rs` (everything that is stored), `reader.rs` (one read is one seek), `store.rs` (prepare,
//! apply, collect), and the scripts under `tests/scripts`.

pub mod conformance;
mod content;
mod engine;
mod gain;
mod key;
mod memory;
mod options;
mod reader;
mod record;
mod remains;
mod slots;
mod staging;
mod store;
mod volume;

pub use content::*;
pub use engine::*;
pub use gain::{Gain, Rest, Step, gives};
pub use memory::*;
pub use options::*;
pub use reader::{Direction, ReadError, Reader, ScanBatch};
pub use remains::{Remains, StoredVersion, remains};
pub use slots::*;
pub use staging::{GiverWrites, Staged};
pub use store::*;
