//! What an evaluation that has to wait must not do twice.
//!
//! ```text
//!   (@a := @a + 1) + SLEEP(1) + (SELECT …) + RAND()
//!    first run     @a=0, @a:=1, waits                      journal: 0 1
//!    second run    0 1 read; SLEEP has slept; waits        journal: 0 1 | 0
//!    third run     0 1 0 read; rows there; RAND() drawn    journal: 0 1 | 0 | rows | 0.27
//! ```
//!
//! An expression that needs an answer is run again from its beginning once the answer is there. All of it that is
//! not a pure function of the row takes its result from the journal, in order, as far as the journal goes, and
//! adds to it from there on. Runs of one expression over one row take the same way, because whatever could lead
//! them elsewhere is in the journal.

use super::runtime::{Pending, SubqueryRows};
use super::{Runtime, Stop};
use assize_model::{SqlError, Warning};
use assize_values::Value;
use std::sync::Arc;

/// What one part of an expression came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// A value, and what finding it warned of.
    Value(Value, Vec<Warning>),
    /// The rows of a subquery.
    Rows(Arc<SubqueryRows>),
}

impl Answer {
    /// A value that came without warnings.
    pub(super) fn value(value: Value) -> Self {
        Answer::Value(value, Vec::new())
    }
}

/// The answers of one evaluation, in the order in which it asked.
#[derive(Debug, Default)]
pub(super) struct Journal {
    answers: Vec<Answer>,
    cursor: usize,
}

impl Journal {
    /// The evaluation will begin again when it has what it waits for.
    pub(super) fn rewind(&mut self, pending: &Pending) {
        if let Pending::Turn { at, .. } = pending {
            self.answers.truncate(*at);
        }
        self.cursor = 0;
    }

    /// Adds what the evaluation waited for.
    pub(super) fn push(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    fn next(&mut self) -> Option<&Answer> {
        let answer = self.answers.get(self.cursor)?;
        self.cursor += 1;
        Some(answer)
    }

    /// Adds what the evaluation has just done.
    fn record(&mut self, answer: Answer) {
        debug_assert_eq!(self.cursor, self.answers.len(), "nothing is done while there is something to read");
        self.answers.push(answer);
        self.cursor = self.answers.len();
    }
}

/// How many warnings there were at some moment: kept ones, and all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Warned(usize, u64);

impl Runtime<'_> {
    /// How many warnings there are.
    pub(super) fn warned(&mut self) -> Warned {
        let context = self.context.eval();
        Warned(context.warnings.len(), context.warning_count)
    }

    /// Takes back the warnings since then.
    pub(super) fn unwarn(&mut self, Warned(kept, count): Warned) {
        let context = self.context.eval();
        context.warnings.truncate(kept);
        context.warning_count = count;
    }

    /// Does something that must happen once, however often the expression around it is run.
    pub(super) fn once(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<Value, SqlError>,
    ) -> Result<Value, Stop> {
        if self.journal.is_none() {
            return Ok(act(self)?);
        }
        if let Some(value) = self.next_value() {
            return Ok(value);
        }
        let Warned(kept, _) = self.warned();
        let value = act(self)?;
        let warnings = self.context.eval().warnings.get(kept..).unwrap_or_default().to_vec();
        if let Some(journal) = &mut self.journal {
            journal.record(Answer::Value(value.clone(), warnings));
        }
        Ok(value)
    }

    /// The value that comes next, if it is known already.
    pub(super) fn next_value(&mut self) -> Option<Value> {
        let (value, warnings) = match self.journal.as_mut()?.next()? {
            Answer::Value(value, warnings) => (value.clone(), warnings.clone()),
            Answer::Rows(_) => unreachable!("two runs of an expression take the same way"),
        };
        for Warning { level, code, message } in warnings {
            self.context.eval().push_warning(level, code, message);
        }
        Some(value)
    }

    /// The rows of the subquery that comes next, if they are known already.
    pub(super) fn next_rows(&mut self) -> Option<Arc<SubqueryRows>> {
        match self.journal.as_mut()?.next()? {
            Answer::Rows(rows) => Some(rows.clone()),
            Answer::Value(..) => unreachable!("two runs of an expression take the same way"),
        }
    }

    /// Notes rows that were remembered from before: later runs must not depend on whether they still are.
    pub(super) fn record_rows(&mut self, rows: &Arc<SubqueryRows>) {
        if let Some(journal) = &mut self.journal {
            journal.record(Answer::Rows(rows.clone()));
        }
    }

    /// Whether what comes next has not been done before.
    pub(super) fn journal_is_read(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.cursor == journal.answers.len())
    }

    /// How far the running evaluation is in its journal.
    pub(super) fn journal_place(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| journal.cursor)
    }
}
