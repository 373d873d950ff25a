//! What a running statement carries along: the session, parameters, outer values, subquery results, memory.

use super::journal::{Answer, Journal};
use super::{Repeat, Row, SessionFunction};
use crate::plan::{CteRows, SubPlan};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{LockCall, StatementContext};
use assize_values::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::Poll;

/// Correlated subqueries remember this many results each.
const MEMO_MAX: usize = 4096;

/// Steps of work that a statement does before others have a turn: some tenths of a millisecond, counted because the
/// crate has no clock. Where statements keep all threads busy, the network is looked at once in dozens of turns
/// (tokio: 61), so that turns of two milliseconds would make others wait for 150.
const TURN: usize = 2048;

/// A named lock is waited for no longer: a year is for ever.
const LOCK_WAIT_MICROS_MAX: f64 = 31_536_000e6;

/// Ends once everybody else who is ready has had a turn: a query that only computes would keep the thread, and
/// with it the network, from all other sessions.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Why an evaluation stopped.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Error(SqlError),
    /// It needs an answer that takes waiting.
    Wait(Box<Pending>),
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Stop::Error(error)
    }
}

/// What an evaluation waits for.
#[derive(Debug)]
pub enum Pending {
    /// The rows of a subquery for these outer values.
    Subquery {
        /// The subquery.
        plan: Arc<SubPlan>,
        /// Its outer values.
        args: Vec<Value>,
        /// Only whether there is a row matters.
        exists: bool,
        /// A second row is error 1242.
        single: bool,
    },
    /// A server function.
    Session(SessionFunction, Vec<Value>),
    /// Nothing but others' turns: BENCHMARK() goes on at this round. What the journal has from this place on is of
    /// rounds that are over.
    Turn {
        /// Where the journal tells the round.
        at: usize,
        /// The round.
        round: u64,
    },
}

/// Rows of a subquery, kept for as long as they may be asked for again.
#[derive(Debug, Default)]
pub struct SubqueryRows {
    /// The rows.
    pub rows: Vec<Row>,
    /// What they take.
    size: usize,
    /// For membership tests: keys of the rows without NULL, and whether there are rows with NULL; `None` if
    /// some row has no key.
    pub members: std::sync::OnceLock<Option<(HashSet<Vec<u8>>, bool)>>,
}

/// Memory accounting of one statement.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        Budget { limit, used: 0 }
    }

    /// Takes memory for a row that is kept.
    pub fn take_row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        self.take(row_size(row))
    }

    /// Takes memory; error 1041 with the figures if there is none left.
    pub fn take(&mut self, bytes: usize) -> Result<(), SqlError> {
        self.used += bytes;
        if self.used > self.limit {
            return Err(SqlError::new(
                ErrorCode::OutOfMemory,
                format!(
                    "Out of memory: the statement needs more than {} bytes to sort, group, join or keep rows \
                     (limit {} bytes)",
                    self.used, self.limit
                ),
            ));
        }
        Ok(())
    }

    /// Gives memory back.
    pub fn give(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Bytes taken.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Back to what was taken at some moment before: everything taken since is gone.
    pub fn back_to(&mut self, used: usize) {
        self.used = self.used.min(used);
    }
}

/// What a statement knew before a recursive step.
pub(crate) struct Outside {
    memo: HashMap<usize, HashMap<Vec<u8>, Arc<SubqueryRows>>>,
    ctes: HashMap<u32, Arc<CteRows>>,
}

/// Roughly what a row takes.
pub fn row_size(row: &[Value]) -> usize {
    let inline = std::mem::size_of_val(row) + 24;
    row.iter().fold(inline, |n, v| {
        n + match v {
            Value::Text(t) => t.len(),
            Value::Bytes(b) => b.len(),
            Value::Json(_) => 64,
            _ => 0,
        }
    })
}

/// A statement while it runs.
pub struct Runtime<'c> {
    /// The session.
    pub context: &'c mut dyn StatementContext,
    /// Values of `?`.
    pub params: &'c [Value],
    /// Values that the enclosing query hands to the running subquery.
    pub outer: Arc<[Value]>,
    /// Memory.
    pub budget: Budget,
    /// Rows of common table expressions that several places read.
    pub ctes: HashMap<u32, Arc<CteRows>>,
    /// Rows of the step before, by name of the recursive common table expression that runs.
    pub recursion: Vec<(Arc<str>, Arc<Vec<Row>>)>,
    /// Collations of columns of foreign tables on their servers, as far as the statement has asked.
    pub collations_there: HashMap<(assize_model::TableId, usize), String>,
    memo: HashMap<usize, HashMap<Vec<u8>, Arc<SubqueryRows>>>,
    /// What the running evaluation has done so far, if it may have to wait.
    pub(super) journal: Option<Journal>,
    /// Whether the statement has assigned to a user variable.
    assigned: bool,
    /// Steps of work since others had a turn.
    work: usize,
}

impl<'c> Runtime<'c> {
    /// A runtime for one execution.
    pub fn new(context: &'c mut dyn StatementContext, params: &'c [Value]) -> Self {
        let memory_max = context.memory_max();
        Runtime {
            context,
            params,
            outer: Arc::new([]),
            budget: Budget::new(memory_max),
            ctes: HashMap::new(),
            recursion: Vec::new(),
            collations_there: HashMap::new(),
            memo: HashMap::new(),
            journal: None,
            assigned: false,
            work: 0,
        }
    }

    /// Counts work that was done: evaluated expressions, compared values, rows. Whoever loops over rows says so
    /// with [`Runtime::worked`], now or soon.
    #[inline]
    pub fn did(&mut self, steps: usize) {
        self.work += steps;
    }

    /// Likewise, and lets others have a turn if this statement has had its own; the error if it was killed.
    #[inline]
    pub async fn worked(&mut self, steps: usize) -> Result<(), SqlError> {
        self.work += steps;
        if self.work < TURN {
            return Ok(());
        }
        self.work = 0;
        self.context.check_killed()?;
        pause().await;
        Ok(())
    }

    /// Whether it is somebody else's turn.
    pub(super) fn has_had_its_turn(&self) -> bool {
        self.work >= TURN
    }

    /// The remembered rows of a subquery that would give the same again.
    pub(super) fn remembered(&self, plan: &Arc<SubPlan>, args: &[Value]) -> Option<Arc<SubqueryRows>> {
        match plan.repeat {
            Repeat::Same => {}
            Repeat::Variables if !self.assigned => {}
            Repeat::Variables | Repeat::Differs => return None,
        }
        let of_plan = self.memo.get(&(Arc::as_ptr(plan) as usize))?;
        of_plan.get(&exact_key(args)).cloned()
    }

    /// A recursive step begins: what it computes of its rows must not be found by the next step, and what is
    /// known outside must survive it.
    pub(crate) fn enter_step(&mut self) -> Outside {
        let ctes = self.ctes.clone();
        Outside { memo: std::mem::take(&mut self.memo), ctes }
    }

    /// The step is over.
    pub(crate) fn leave_step(&mut self, outside: Outside) {
        self.memo = outside.memo;
        self.ctes = outside.ctes;
    }

    /// Assigns to a user variable.
    pub(crate) fn assign(&mut self, name: &str, value: Value) {
        self.assigned = true;
        self.context.set_user_variable(name, value);
    }

    /// Gets what an evaluation waits for.
    pub(super) async fn provide(&mut self, pending: Pending) -> Result<Answer, SqlError> {
        Ok(match pending {
            Pending::Subquery { plan, args, exists, single } => {
                let key = exact_key(&args);
                let before = self.budget.used();
                let rows = crate::exec::subquery_rows(&plan, args, exists, single, self).await?;
                // What the subquery sorted or grouped is gone; its rows stay until they are forgotten.
                self.budget.back_to(before);
                let size = key.len() + 64 + rows.iter().map(|r| row_size(r)).sum::<usize>();
                let of_plan = self.memo.entry(Arc::as_ptr(&plan) as usize).or_default();
                if of_plan.len() >= MEMO_MAX {
                    let forgotten = of_plan.values().map(|r| r.size).sum();
                    of_plan.clear();
                    self.budget.give(forgotten);
                }
                let rows = Arc::new(SubqueryRows { rows, size, ..SubqueryRows::default() });
                if plan.repeat != Repeat::Differs {
                    self.budget.take(size)?;
                    of_plan.insert(key, rows.clone());
                }
                Answer::Rows(rows)
            }
            Pending::Session(SessionFunction::Sleep, args) => {
                let seconds = args.first().map_or(0.0, super::to_f64);
                let micros = (seconds * 1e6).min(3e14) as u64;
                let is_interrupted = self.context.sleep(micros).await?;
                Answer::value(Value::Int(i64::from(is_interrupted)))
            }
            Pending::Turn { round, .. } => {
                self.worked(0).await?;
                Answer::value(Value::UInt(round))
            }
            Pending::Session(function, args) => {
                let name = args.first().map(super::to_text).unwrap_or_default();
                let call = lock_call(function, &name, args.get(1))?;
                let answer = self.context.named_lock(call).await?;
                self.context.check_killed()?;
                Answer::value(match (function, answer) {
                    (SessionFunction::IsFreeLock, holder) => Value::Int(i64::from(holder.is_none())),
                    (_, Some(answer)) => Value::Int(i64::try_from(answer).unwrap_or(i64::MAX)),
                    (_, None) => Value::Null,
                })
            }
        })
    }
}

/// What a function asks of named locks.
fn lock_call<'a>(
    function: SessionFunction,
    name: &'a str,
    timeout: Option<&Value>,
) -> Result<LockCall<'a>, SqlError> {
    Ok(match function {
        SessionFunction::GetLock => {
            let seconds = timeout.map_or(0.0, super::to_f64);
            let timeout_micros = (seconds >= 0.0).then(|| (seconds * 1e6).min(LOCK_WAIT_MICROS_MAX) as u64);
            LockCall::Get { name, timeout_micros }
        }
        SessionFunction::ReleaseLock => LockCall::Release { name },
        SessionFunction::ReleaseAllLocks => LockCall::ReleaseAll,
        SessionFunction::IsFreeLock | SessionFunction::IsUsedLock => LockCall::Holder { name },
        SessionFunction::Benchmark | SessionFunction::Sleep => {
            return Err(SqlError::internal(format!("{function:?} is not about locks")));
        }
    })
}

/// Bytes that are equal exactly if the values are the same, bit for bit.
pub fn exact_key(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 9);
    for value in values {
        match value {
            Value::Null => out.push(0),
            Value::Int(n) => {
                out.push(1);
                out.extend_from_slice(&n.to_le_bytes());
            }
            Value::UInt(n) => {
                out.push(2);
                out.extend_from_slice(&n.to_le_bytes());
            }
            Value::Float(n) => {
                out.push(3);
                out.extend_from_slice(&n.to_bits().to_le_bytes());
            }
            Value::Double(n) => {
                out.push(4);
                out.extend_from_slice(&n.to_bits().to_le_bytes());
            }
            Value::Text(text) => {
                out.push(5);
                out.extend_from_slice(&(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Value::Bytes(bytes) => {
                out.push(6);
                out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                out.extend_from_slice(bytes);
            }
            other => {
                let text = format!("{other:?}");
                out.push(7);
                out.extend_from_slice(&(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_needs_too_much_memory_is_told_the_figures() {
        let mut budget = Budget::new(1000);
        budget.take(600).expect("within the limit");
        let error = budget.take(600).expect_err("beyond it");
        assert_eq!(error.code.errno(), 1041);
        assert!(error.message.contains("1200 bytes") && error.message.contains("limit 1000"), "{error}");
        budget.back_to(100);
        budget.take(900).expect("given back");
    }

    #[test]
    fn exact_keys_differ_where_values_do() {
        let texts = [
            vec![Value::text("a"), Value::text("bc")],
            vec![Value::text("ab"), Value::text("c")],
            vec![Value::Int(1), Value::Null],
            vec![Value::UInt(1), Value::Null],
            vec![Value::Double(1.0), Value::Null],
        ];
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts.iter().enumerate() {
                assert_eq!(exact_key(a) == exact_key(b), i == j, "{a:?} {b:?}");
            }
        }
    }
}
