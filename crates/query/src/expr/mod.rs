//! Bound, typed expressions: what every statement evaluates, point statement or full plan.
//!
//! ```text
//!   sqlparser Expr ──bind──▶ Expr over ColumnId ──resolve(layout)──▶ Expr over Slot / Outer ──eval──▶ Value
//! ```
//!
//! A bound expression names columns by [`ColumnId`], which is unique within its statement. Before it runs it is
//! *resolved* against a layout (which column sits where in the input row): columns of the row become
//! [`ExprKind::Slot`]s, columns of an enclosing query become [`ExprKind::Outer`] arguments of the subquery.

mod eval;
mod functions;
mod journal;
mod kernel;
mod runtime;

pub use eval::{eval, eval_async, is_true, truth};
pub use kernel::*;
pub use runtime::{Budget, Runtime, Stop, SubqueryRows, exact_key, row_size};

use crate::plan::SubPlan;
use assize_model::SqlError;
use assize_values::{Collation, SqlType, Value};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// One column of one table instance, or one computed column, of a bound statement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ColumnId(pub u32);

/// A row while a statement runs.
pub type Row = Vec<Value>;

/// A typed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it computes.
    pub kind: ExprKind,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// How it insists on its collation.
    pub coercibility: Coercibility,
}

/// `=`, `<=>`, `<` …
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<=>`
    NullSafeEq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl CompareOp {
    /// The operator that says the same with its sides exchanged.
    pub fn flipped(self) -> Self {
        match self {
            CompareOp::Lt => CompareOp::Gt,
            CompareOp::Le => CompareOp::Ge,
            CompareOp::Gt => CompareOp::Lt,
            CompareOp::Ge => CompareOp::Le,
            same => same,
        }
    }

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            CompareOp::Eq => "=",
            CompareOp::NullSafeEq => "<=>",
            CompareOp::Ne => "<>",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        }
    }
}

/// What a subquery expression asks of its rows.
#[derive(Clone, Debug, PartialEq)]
pub enum SubqueryUse {
    /// The single value of its single row.
    Scalar,
    /// Whether it has a row.
    Exists,
    /// `left IN (…)`, `left = ANY (…)`; a row of expressions on the left.
    In {
        /// The left side.
        left: Vec<Expr>,
        /// How each column compares.
        compare: Vec<Comparison>,
        /// NOT IN, `<> ALL`.
        negated: bool,
    },
    /// `left > ANY (…)`, `left <= ALL (…)`.
    Quantified {
        /// The left side.
        left: Box<Expr>,
        /// The operator.
        op: CompareOp,
        /// How it compares.
        compare: Comparison,
        /// ALL; otherwise ANY.
        all: bool,
    },
    /// The row's values as a tuple compared with a row of expressions.
    Row {
        /// The left side.
        left: Vec<Expr>,
        /// The operator.
        op: CompareOp,
        /// How each column compares.
        compare: Vec<Comparison>,
    },
}

/// A subquery within an expression: a plan whose parameters are the outer columns that it mentions.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// The plan.
    pub plan: Arc<SubPlan>,
    /// Values for the plan's outer columns, in its order, over the row of the expression.
    pub args: Vec<Expr>,
    /// What is asked of its rows.
    pub usage: SubqueryUse,
}

impl PartialEq for Subquery {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan) && self.args == other.args && self.usage == other.usage
    }
}

/// What running a subquery again within a statement, for the same outer values, gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Repeat {
    /// The same rows: they are remembered.
    #[default]
    Same,
    /// The same rows, unless the statement itself assigns to user variables.
    Variables,
    /// Other rows, or another effect: RAND(), SLEEP(), an assignment.
    Differs,
}

impl Repeat {
    /// Whether it depends on when it is run.
    pub fn may_differ(self) -> bool {
        self != Repeat::Same
    }
}

/// The rows of a list by key, made when they are first asked for; none if the list cannot be searched so.
#[derive(Clone, Debug, Default)]
pub struct Members(std::sync::OnceLock<Option<Arc<HashSet<Vec<u8>>>>>);

/// Lists with equal rows have equal members.
impl PartialEq for Members {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What an expression computes.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A constant.
    Literal(Value),
    /// `?`, by position.
    Param(usize),
    /// A column, before resolution.
    Column(ColumnId),
    /// A value of the input row.
    Slot(usize),
    /// A value handed in by the enclosing query.
    Outer(usize),
    /// `-x`.
    Neg(Box<Expr>),
    /// `~x`.
    BitNot(Box<Expr>),
    /// NOT.
    Not(Box<Expr>),
    /// Arithmetic and bit operators.
    Arith(ArithOp, Box<Expr>, Box<Expr>),
    /// AND of two or more.
    And(Vec<Expr>),
    /// OR of two or more.
    Or(Vec<Expr>),
    /// XOR.
    Xor(Box<Expr>, Box<Expr>),
    /// A comparison of two values.
    Compare(CompareOp, Comparison, Box<Expr>, Box<Expr>),
    /// A comparison of two rows, column by column.
    RowCompare(CompareOp, Vec<Comparison>, Vec<Expr>, Vec<Expr>),
    /// IS [NOT] NULL.
    IsNull(Box<Expr>, bool),
    /// IS [NOT] TRUE / FALSE: the wanted truth, negated.
    IsTruth(Box<Expr>, bool, bool),
    /// [NOT] IN a list of values; each with how it compares.
    InList(Box<Expr>, Vec<(Comparison, Expr)>, bool),
    /// [NOT] IN a list of rows.
    InRows(Vec<Expr>, Vec<(Vec<Comparison>, Vec<Expr>)>, bool, Members),
    /// [NOT] BETWEEN: value, low, high.
    Between(Box<(Expr, Comparison, Expr, Comparison, Expr)>, bool),
    /// [NOT] LIKE: value, pattern, escape character, collation.
    Like(Box<Expr>, Box<Expr>, Option<char>, Collation, bool),
    /// CASE WHEN: conditions with results, and ELSE.
    Case(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    /// CAST to the expression's type.
    Cast(Box<Expr>, CastTo),
    /// The value of the operand seen with the collation of the expression's type.
    Collate(Box<Expr>),
    /// A function of `values`.
    Call(Function, Vec<Expr>),
    /// A function of the session.
    Session(SessionFunction, Vec<Expr>),
    /// A subquery.
    Subquery(Box<Subquery>),
    /// `@name`.
    UserVariable(Arc<str>),
    /// `@name := value`.
    Assign(Arc<str>, Box<Expr>),
    /// `@@name`, with its scope.
    SystemVariable(Arc<str>, Option<bool>),
    /// A row constructor; lives only until the operator above it has taken it apart.
    Row(Vec<Expr>),
}

/// Functions that ask the server rather than compute. All of them may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SessionFunction {
    /// GET_LOCK(name, timeout).
    GetLock,
    /// RELEASE_LOCK(name).
    ReleaseLock,
    /// RELEASE_ALL_LOCKS().
    ReleaseAllLocks,
    /// IS_FREE_LOCK(name).
    IsFreeLock,
    /// IS_USED_LOCK(name).
    IsUsedLock,
    /// BENCHMARK(count, expr).
    Benchmark,
    /// SLEEP(seconds).
    Sleep,
}

impl Expr {
    /// An expression of this kind and type.
    pub fn new(kind: ExprKind, sql_type: SqlType, nullable: bool) -> Self {
        let coercibility = match &sql_type {
            SqlType::Null => Coercibility::Ignorable,
            t if is_text(t) => Coercibility::Coercible,
            _ => Coercibility::Numeric,
        };
        Expr { kind, sql_type, nullable, coercibility }
    }

    /// A constant.
    pub fn literal(value: Value, sql_type: SqlType) -> Self {
        let nullable = value.is_null();
        Expr::new(ExprKind::Literal(value), sql_type, nullable)
    }

    /// NULL.
    pub fn null() -> Self {
        Expr::literal(Value::Null, SqlType::Null)
    }

    /// A truth value or NULL.
    pub fn boolean(kind: ExprKind, nullable: bool) -> Self {
        Expr::new(kind, boolean_type(), nullable)
    }

    /// A column.
    pub fn column(id: ColumnId, sql_type: SqlType, nullable: bool) -> Self {
        Expr { kind: ExprKind::Column(id), sql_type, nullable, coercibility: Coercibility::Implicit }
    }

    /// The constant, if it is one.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.kind {
            ExprKind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The column, if it is nothing but one.
    pub fn as_column(&self) -> Option<ColumnId> {
        match &self.kind {
            ExprKind::Column(id) => Some(*id),
            _ => None,
        }
    }

    /// Calls `visit` for the direct operands.
    pub fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            ExprKind::Literal(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::Slot(_)
            | ExprKind::Outer(_)
            | ExprKind::UserVariable(_)
            | ExprKind::SystemVariable(..) => {}
            ExprKind::Neg(a)
            | ExprKind::BitNot(a)
            | ExprKind::Not(a)
            | ExprKind::IsNull(a, _)
            | ExprKind::IsTruth(a, ..)
            | ExprKind::Cast(a, _)
            | ExprKind::Collate(a)
            | ExprKind::Assign(_, a) => visit(a),
            ExprKind::Arith(_, a, b) | ExprKind::Xor(a, b) | ExprKind::Compare(_, _, a, b) => {
                visit(a);
                visit(b);
            }
            ExprKind::Like(a, b, ..) => {
                visit(a);
                visit(b);
            }
            ExprKind::And(all) | ExprKind::Or(all) | ExprKind::Row(all) => all.iter().for_each(visit),
            ExprKind::Call(_, args) | ExprKind::Session(_, args) => args.iter().for_each(visit),
            ExprKind::RowCompare(_, _, a, b) => a.iter().chain(b).for_each(visit),
            ExprKind::InList(a, list, _) => {
                visit(a);
                list.iter().for_each(|(_, e)| visit(e));
            }
            ExprKind::InRows(a, rows, ..) => {
                a.iter().for_each(&mut *visit);
                rows.iter().flat_map(|(_, row)| row).for_each(visit);
            }
            ExprKind::Between(parts, _) => {
                visit(&parts.0);
                visit(&parts.2);
                visit(&parts.4);
            }
            ExprKind::Case(branches, otherwise) => {
                for (when, then) in branches {
                    visit(when);
                    visit(then);
                }
                if let Some(e) = otherwise {
                    visit(e);
                }
            }
            ExprKind::Subquery(sub) => {
                sub.args.iter().for_each(&mut *visit);
                match &sub.usage {
                    SubqueryUse::Scalar | SubqueryUse::Exists => {}
                    SubqueryUse::In { left, .. } | SubqueryUse::Row { left, .. } => {
                        left.iter().for_each(visit)
                    }
                    SubqueryUse::Quantified { left, .. } => visit(left),
                }
            }
        }
    }

    /// Calls `change` for the direct operands.
    pub fn children_mut(&mut self, change: &mut dyn FnMut(&mut Expr)) {
        match &mut self.kind {
            ExprKind::Literal(_)
            | ExprKind::Param(_)
            | ExprKind::Column(_)
            | ExprKind::Slot(_)
            | ExprKind::Outer(_)
            | ExprKind::UserVariable(_)
            | ExprKind::SystemVariable(..) => {}
            ExprKind::Neg(a)
            | ExprKind::BitNot(a)
            | ExprKind::Not(a)
            | ExprKind::IsNull(a, _)
            | ExprKind::IsTruth(a, ..)
            | ExprKind::Cast(a, _)
            | ExprKind::Collate(a)
            | ExprKind::Assign(_, a) => change(a),
            ExprKind::Arith(_, a, b) | ExprKind::Xor(a, b) | ExprKind::Compare(_, _, a, b) => {
                change(a);
                change(b);
            }
            ExprKind::Like(a, b, ..) => {
                change(a);
                change(b);
            }
            ExprKind::And(all) | ExprKind::Or(all) | ExprKind::Row(all) => all.iter_mut().for_each(change),
            ExprKind::Call(_, args) | ExprKind::Session(_, args) => args.iter_mut().for_each(change),
            ExprKind::RowCompare(_, _, a, b) => a.iter_mut().chain(b).for_each(change),
            ExprKind::InList(a, list, _) => {
                change(a);
                list.iter_mut().for_each(|(_, e)| change(e));
            }
            ExprKind::InRows(a, rows, ..) => {
                a.iter_mut().for_each(&mut *change);
                rows.iter_mut().flat_map(|(_, row)| row).for_each(change);
            }
            ExprKind::Between(parts, _) => {
                change(&mut parts.0);
                change(&mut parts.2);
                change(&mut parts.4);
            }
            ExprKind::Case(branches, otherwise) => {
                for (when, then) in branches {
                    change(when);
                    change(then);
                }
                if let Some(e) = otherwise {
                    change(e);
                }
            }
            ExprKind::Subquery(sub) => {
                sub.args.iter_mut().for_each(&mut *change);
                match &mut sub.usage {
                    SubqueryUse::Scalar | SubqueryUse::Exists => {}
                    SubqueryUse::In { left, .. } | SubqueryUse::Row { left, .. } => {
                        left.iter_mut().for_each(change)
                    }
                    SubqueryUse::Quantified { left, .. } => change(left),
                }
            }
        }
    }

    /// Whether `test` holds for this expression or any part of it.
    pub fn any(&self, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
        if test(self) {
            return true;
        }
        let mut found = false;
        self.children(&mut |child| found = found || child.any(test));
        found
    }

    /// The columns that it mentions, subqueries' arguments included.
    pub fn columns(&self, out: &mut Vec<ColumnId>) {
        if let ExprKind::Column(id) = self.kind
            && !out.contains(&id)
        {
            out.push(id);
        }
        self.children(&mut |child| child.columns(out));
    }

    /// Whether it has the same value for every row of one execution, so that it can be computed once before
    /// the rows are read: no columns, nothing volatile.
    pub fn is_constant(&self) -> bool {
        !self.any(&mut |e| match &e.kind {
            ExprKind::Column(_) | ExprKind::Slot(_) | ExprKind::UserVariable(_) | ExprKind::Assign(..) => {
                true
            }
            ExprKind::Call(function, _) => function.is_volatile(),
            ExprKind::Session(..) => true,
            ExprKind::Subquery(subquery) => subquery.plan.repeat.may_differ(),
            _ => false,
        })
    }

    /// Whether computing it once more within a statement may give something else or change something: it has to
    /// be computed as often as it is written to be.
    pub fn is_volatile(&self) -> bool {
        self.any(&mut |e| match &e.kind {
            ExprKind::Assign(..) | ExprKind::Session(..) => true,
            // Without an argument it tells what the statement before has set.
            ExprKind::Call(f, args) => f.is_each_call() && !(args.is_empty() && f.name() == "LAST_INSERT_ID"),
            ExprKind::Subquery(subquery) => subquery.plan.repeat == Repeat::Differs,
            _ => false,
        })
    }

    /// What a subquery of this expression gives when it is run again for the same outer values.
    pub fn repeat(&self) -> Repeat {
        let reads = |e: &Expr| match &e.kind {
            ExprKind::UserVariable(_) => true,
            ExprKind::Subquery(subquery) => subquery.plan.repeat == Repeat::Variables,
            _ => false,
        };
        if self.is_volatile() {
            Repeat::Differs
        } else if self.any(&mut |e| reads(e)) {
            Repeat::Variables
        } else {
            Repeat::Same
        }
    }

    /// Whether evaluating it may have to wait (subqueries, user locks).
    pub fn waits(&self) -> bool {
        self.any(&mut |e| matches!(e.kind, ExprKind::Subquery(_) | ExprKind::Session(..)))
    }

    /// Replaces columns by their place in `layout`; a column that is not there becomes an argument of the
    /// enclosing query and is added to `outer`.
    pub fn resolve(&mut self, layout: &Layout, outer: &mut Vec<ColumnId>) {
        if let ExprKind::Column(id) = self.kind {
            self.kind = match layout.slot(id) {
                Some(slot) => ExprKind::Slot(slot),
                None => {
                    let at = outer.iter().position(|o| *o == id).unwrap_or_else(|| {
                        outer.push(id);
                        outer.len() - 1
                    });
                    ExprKind::Outer(at)
                }
            };
            return;
        }
        self.children_mut(&mut |child| child.resolve(layout, outer));
    }
}

/// Which column sits where in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    slots: BTreeMap<ColumnId, usize>,
    width: usize,
}

impl Layout {
    /// A row of these columns.
    pub fn of(columns: &[ColumnId]) -> Self {
        let mut slots = BTreeMap::new();
        for (slot, id) in columns.iter().enumerate() {
            slots.entry(*id).or_insert(slot);
        }
        Layout { slots, width: columns.len() }
    }

    /// Where the column sits.
    pub fn slot(&self, id: ColumnId) -> Option<usize> {
        self.slots.get(&id).copied()
    }

    /// How many values a row has.
    pub fn width(&self) -> usize {
        self.width
    }
}

/// The type of truth values.
pub fn boolean_type() -> SqlType {
    SqlType::BOOL
}

/// Whether the type is a string of any kind: it has a collation, be it that of bytes.
pub fn is_text(sql_type: &SqlType) -> bool {
    sql_type.text_collation().is_some()
}

/// Error 1235 for an expression.
pub(crate) fn unsupported(what: impl std::fmt::Display) -> SqlError {
    SqlError::not_supported(what)
}
