//! The mind of one shard replica.
//!
//! A replica consumes its shard's decision stream, votes on prepares, says when a read may go ahead, fetches intents that
//! it missed, deletes what nobody needs any more, serves checkpoints to learners and is rebuilt from one when it
//! must. It is one value with one door: [`Replica::step`] takes an event and the time, changes the store that it owns,
//! and names effects for its hands to carry out.
//!
//! ```text
//!                     StreamForgotten · un-counted · content differs
//!                  ┌───────────────────────────────────────────────────────────────┐
//!                  │                                                               ▼
//!   resume ──▶ Following ◀── CheckpointArrived ── Copying ◀── Registering ◀── RaisingEpoch ◀── copy (lost its disk)
//!                  │                                              ▲
//!                  ▼                                              └───────────────────────────── copy (new learner)
//!               Halted: nobody has an intent that the stream commits, or the store failed
//! ```
//!
//! ```text
//!   decision stream ──Streamed──▶ ┌─────────┐ ──Vote──────────▶ frontends
//!   frontends ──PreparesAsked───▶ │ Replica │ ──FetchIntent───▶ siblings
//!   siblings ──IntentAnswered───▶ │  step   │ ──ReportDurable─▶ adjudicator
//!   clock ─────Tick─────────────▶ └─────────┘ ──Subscribe─────▶ decision stream
//! ```
//!
//! # Invariants
//!
//! * A position is reached only with everything below it: a missing intent holds the stream up.
//! * Slots are gained with everything that their former owner held: until it is here, the entry that gives them waits, and the
//!   stream with it. What was staged before is here already.
//! * Nothing depends on staging: what is not staged up to the entry is copied while the stream waits.
//! * *Unreachable* is not *no sibling has it*: only when every sibling has said no, and this replica still counts after
//!   that, does it halt.
//! * Before it forgets intents its shard's epoch is raised; before its checkpoint is taken it is registered.
//! * An intent is deleted only if its decision is durable here and on everybody who counts, as of an entry at or after
//!   that decision: who registers later takes a later checkpoint.
//! * Replicas that count compare what they hold, page by page, at an agreed snapshot: one that differs from most is
//!   reported and rebuilt, and only while everybody else is whole.
//! * A replica that cannot tell does not vote: it stays silent, and the majority is found among the others.
//!
//! **Absent on purpose:** no addresses, no timers of its own, no threads, no files. This crate does not know how often it
//! is ticked, nor how its effects travel; every effect may be lost and is asked again.
//!
//! Where to read next: [`Event`] and [`Effect`], then `replica.rs`, `staging.rs`, `comparing.rs`, then the scripts under `tests/scripts`.

mod comparing;
mod event;
mod following;
mod gaining;
mod options;
mod replica;
mod staging;

pub use event::*;
pub use options::*;
pub use replica::Replica;
pub use staging::Staging;
