//! One client's session: its transaction, and the statements that run in it.
//!
//! A session is a mind: plain `async fn` over ports. It reads no clock but [`assize_ports::Clock`], spawns nothing
//! and knows neither sockets nor disks.
//!
//! ```text
//!   Session ── one per connection                                (session.rs)
//!     │ text ─▶ lifted literals ─▶ cached tree                   (cache.rs)
//!     ├─▶ SET, USE, BEGIN, COMMIT, SAVEPOINT, PREPARE, KILL …    (session.rs, set.rs, variables.rs)
//!     ├─▶ may the user do this?                                  (privilege.rs)
//!     └─▶ QueryEngine::execute(statement, &mut State)            what a statement means
//!              │ StatementContext                                (state.rs)
//!              │ get, scan, write
//!              ▼
//!           Txn ── one per transaction                           (txn.rs)
//!           ├─ writes    own writes by key, with marks           (buffer.rs)
//!           ├─ locked    rows read by locking reads, as they were when the reservation was granted
//!           ├─ entries   index entries of those rows                 (held.rs)
//!           ├─ temporary rows of the session's temporary tables     (temporary.rs)
//!           ├─ reads     what the commit must find unchanged
//!           ├─ scan      k-way merge of shards, locked rows and own writes  (scan.rs)
//!           └─ commit    footprint → coordinator → decision      (commit.rs)
//!                └─ aborted: why, in words                      (explain.rs), kept (conflicts.rs)
//!           └─ branches on foreign servers: XA                   (branches.rs), found again (foreign_recovery.rs)
//!   SessionLocks ── GET_LOCK, from the first one on              (named_locks.rs)
//! ```
//!
//! Who is told what: an autocommit statement that loses is run again, a bounded number of times and only while
//! nothing of it has reached the client; a statement within a transaction never is, its client gets error 1213 and
//! the name of the winner; every abort is kept for a while in the [`ConflictLog`]. A statement is stopped by KILL wherever it waits, but for a schema change, which alone
//! knows whether it has been committed.
//!
//! **Refuses to do:** LOCK TABLES is accepted, commits what runs, and locks nothing: rows are locked by transactions,
//! on every frontend alike, and a lock that only this frontend keeps would protect nobody. Parse, plan, evaluate and
//! store belong to others.
//!
//! Invariants:
//! - Every read of a statement uses one snapshot; at REPEATABLE READ and above every statement does.
//! - A key that was read under a reservation keeps the value it had when the reservation was granted, for the rest
//!   of the transaction: no update can be computed from an older value and still pass the check at commit.
//! - A failed statement undoes its own writes and nothing else.
//! - What is written to a temporary table is undone with its transaction and seen by no other session; no footprint, log entry
//!   or shard holds any of it.
//! - A commit is answered with what is known, never with a guess.
//! - A branch on a foreign server is committed if and only if its transaction is; while that is not known, it stays prepared.
//! - A session that holds a named lock commits in the life of its frontend in which it got it, or not at all.
//! - Every statement plans with exactly the catalog of its snapshot.
//!
//! Where to read next: [`Session`], then [`Txn`].

mod activity;
mod branches;
mod buffer;
mod cache;
mod chronicle;
mod commit;
mod conflicts;
mod explain;
mod foreign_recovery;
mod held;
mod jobs;
mod kill;
mod last_txn;
mod named_locks;
mod privilege;
mod rules;
mod scan;
mod services;
mod session;
mod set;
mod shedding;
mod state;
mod temporary;
mod txn;
mod variables;

pub use activity::Activity;
pub use buffer::WriteBuffer;
pub use cache::{CachedStatement, DigestStatistics, Digests, StatementCache};
pub use commit::{CommitFailure, Committed};
pub use conflicts::{Bell, ConflictLog};
pub use foreign_recovery::{BranchInDoubt, ForeignTended, NextStep, next_step};
pub use jobs::{JobBell, JobLog};
pub use kill::KillSwitch;
pub use rules::Rule;
pub use services::{Limits, Services, SnapshotGuard, Snapshots};
pub use session::{Done, Prepared, Session, status};
pub use shedding::Shedding;
pub use state::{Change, Login, Shared};
pub use txn::{CommitMode, Isolation, Txn, TxnOptions};
pub use variables::{Definition, GlobalVariables, SessionVariables, find as find_variable};
