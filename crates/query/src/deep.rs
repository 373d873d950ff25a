//! Recursion over what clients write: deep expressions and queries, on a stack that grows.
//!
//! Statements nest at most [`assize_sql::NESTING_MAX`] deep, but one level costs several frames of binding,
//! planning or running, and whoever calls may have little stack left.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Stack that must be left before a level is entered.
const RESERVE: usize = 256 << 10;
/// How much more a level gets otherwise.
const SEGMENT: usize = 2 << 20;

/// Runs one level.
#[inline]
pub(crate) fn grow<T>(level: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RESERVE, SEGMENT, level)
}

/// A future that is polled on a stack that grows.
pub(crate) struct Deep<F>(pub F);

impl<F: Future + Unpin> Future for Deep<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        grow(|| Pin::new(&mut self.0).poll(context))
    }
}
