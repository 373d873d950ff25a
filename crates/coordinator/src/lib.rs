//! The commit of one transaction, from the frontend's side.
//!
//! A [`Coordinator`] is one commit in flight: a value with one door, [`Coordinator::step`], that takes an event and the time
//! and names effects. The session's hands carry the effects out and bring events back until there is an
//! [`Effect::Answer`].
//!
//! ```text
//!   inline                                          prepared
//!
//!   SendCommit ─▶ decided ─▶ Answer                 SendPrepare to every replica of every participant
//!                                                     │ a majority of Yes from each        │ any No, or no majority in time
//!                                                     ▼                                    ▼
//!                                                   SendCommit ─▶ decided ─▶ Answer      HintAbort ─▶ Answer(NotProposed)
//!
//!   reply lost, leader changed   the same id again; the adjudicator answers it from its outcomes
//!   past the deadline            AskOutcome (an undecided transaction is resolved by a log entry)
//!   told that it comes too late  AskOutcome: it may be a second copy of what was decided in time
//!   NeedRefresh                  AskNewest of the shards; then the same id with new baselines, or an abort
//!   OutcomesFull                 the same id again, later
//!   StaleEpoch, RangeKeysMissing the same writes and snapshot under a new id: the abort of the old one is known
//!   nothing helps in time        Answer(Unknown)
//! ```
//!
//! # Invariants
//!
//! * A footprint is sent only with a majority of Yes for every receipt, counted over configured replicas.
//! * Once a footprint has been sent, only a recorded decision, or a newer commit that a shard knows of, ends as an abort.
//!   What could not be found out is Unknown, never a guessed abort.
//! * Two ids never carry the same writes at the same time: the second is drawn when the first is known to be aborted, or
//!   was never sent.
//! * No statement runs twice: what is sent again is what was buffered.
//!
//! After the footprint has been sent nobody needs this coordinator: should it die, the log has the answer and the decision
//! stream completes it.
//!
//! **Absent on purpose:** no retry of a *transaction* (the session decides about autocommit statements), no rows, no
//! networks, no clock, no randomness: ids and time arrive as data.
//!
//! Where to read next: [`Event`] and [`Effect`], then `coordinator.rs`, then the scripts under `tests/scripts`.

mod coordinator;
mod event;
mod options;
mod request;

pub use coordinator::Coordinator;
pub use event::*;
pub use options::*;
pub use request::{Request, Write};
