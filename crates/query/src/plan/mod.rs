//! From meaning to steps: which index, which order of joins, what is computed where.
//!
//! ```text
//!   Select ──▶ Limit ◀ Sort ◀ Distinct ◀ Project ◀ Window ◀ Filter(having) ◀ Aggregate ◀ Filter ◀ joins ◀ scans
//! ```
//!
//! Choices are made by rule: a whole unique key before an equality prefix before a range before an index that
//! saves a sort before a scan of everything; ties go to the order of FROM. A plan holds no values of its
//! execution, so that it can be shared: constants of keys are expressions that are evaluated when a scan opens.

mod access;
mod computed;
mod explain;
mod foreign;
mod joins;
mod select;

pub use access::{Access, KeyPart, Scan};
pub(crate) use computed::{Computed, is_indexed};
pub use explain::{ExplainRow, explain, tree};
pub use foreign::{ForeignScan, Probe, Sent, SentKind};
pub(crate) use select::is_stable;
pub use select::{Planned, RowsPlan, RowsTable, plan_query, plan_rows, subquery};

use crate::bind::{Aggregate, OutputColumn, SetOp, VirtualTable, WindowCall};
use crate::expr::{ColumnId, Comparison, Expr, Layout, Repeat};
use assize_values::SqlType;
use std::sync::Arc;

/// A subquery, a derived table that is run by itself, or a whole statement.
#[derive(Debug)]
pub struct SubPlan {
    /// What to run.
    pub root: Node,
    /// Its result columns.
    pub columns: Vec<OutputColumn>,
    /// Columns of enclosing queries, in the order in which their values are handed in.
    pub outer: Vec<ColumnId>,
    /// What it gives when it is run again for the same values of those.
    pub repeat: Repeat,
}

impl SubPlan {
    /// References to its result columns.
    pub fn column_exprs(&self) -> Vec<Expr> {
        self.columns.iter().map(OutputColumn::expr).collect()
    }
}

/// A resolved expression of a plan.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The expression.
    pub expr: Expr,
    /// Whether evaluating it may have to wait.
    pub waits: bool,
}

impl Scalar {
    /// Resolves an expression against a layout.
    pub fn new(mut expr: Expr, layout: &Layout, outer: &mut Vec<ColumnId>) -> Self {
        expr.resolve(layout, outer);
        let waits = expr.waits();
        Scalar { expr, waits }
    }
}

/// A step of a plan: makes rows of these columns.
#[derive(Debug)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// The columns of its rows.
    pub columns: Vec<ColumnId>,
    /// Roughly how many rows it makes.
    pub rows: f64,
}

/// One key of a sort.
#[derive(Clone, Debug)]
pub struct OrderKey {
    /// By what.
    pub scalar: Scalar,
    /// How values compare.
    pub compare: Comparison,
    /// DESC.
    pub descending: bool,
}

/// How two inputs of a join meet.
#[derive(Debug)]
pub enum JoinMethod {
    /// Rows of the right side are found by an index, given a row of the left side.
    Index(Box<Scan>),
    /// The right side is put into a hash table by these keys.
    Hash {
        /// The right side.
        right: Box<Node>,
        /// Keys of left rows.
        left_keys: Vec<Scalar>,
        /// Keys of right rows.
        right_keys: Vec<Scalar>,
        /// How they compare.
        compare: Vec<Comparison>,
        /// The right side is a foreign table of which only those rows are read that some left rows at a time ask for.
        probe: Option<Probe>,
    },
    /// Every right row is tried.
    Nested(Box<Node>),
    /// The right side is run for each left row, with these values of it.
    Lateral {
        /// The right side.
        right: Arc<SubPlan>,
        /// Its outer values, over left rows.
        args: Vec<Scalar>,
    },
}

/// A common table expression that is computed once and read from several places.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // One per common table expression, and shared.
pub enum CtePlan {
    /// A query.
    Query(SubPlan),
    /// A recursive one.
    Recursive {
        /// The name by which the step reads the rows of the step before.
        name: Arc<str>,
        /// Where it starts.
        seed: SubPlan,
        /// Each step.
        step: SubPlan,
        /// UNION ALL.
        all: bool,
        /// Types of its columns.
        types: Vec<SqlType>,
    },
}

/// Rows of a common table expression.
#[derive(Debug)]
pub struct CteRows {
    /// The rows.
    pub rows: Vec<crate::expr::Row>,
}

/// What a step does.
#[derive(Debug)]
pub enum NodeKind {
    /// One row of no columns.
    One,
    /// Rows of expressions.
    Values(Vec<Vec<Scalar>>),
    /// Rows of a stored table.
    Scan(Box<Scan>),
    /// Rows of a foreign table.
    Foreign(Box<ForeignScan>),
    /// Rows of a virtual table: which of its columns, and a filter over them.
    Virtual {
        /// The table.
        table: VirtualTable,
        /// Positions of the columns wanted.
        columns: Vec<usize>,
        /// Conditions.
        filter: Vec<Scalar>,
    },
    /// Rows of a common table expression; positions of the columns wanted.
    Cte {
        /// Which.
        id: u32,
        /// Its name.
        name: Arc<str>,
        /// How to compute it.
        plan: Arc<CtePlan>,
        /// Positions of the columns wanted.
        columns: Vec<usize>,
    },
    /// Rows of the step before of a recursive common table expression.
    Recursion {
        /// Which.
        name: Arc<str>,
        /// Positions of the columns wanted.
        columns: Vec<usize>,
    },
    /// Conditions that hold for all rows or none: evaluated once.
    Gate {
        /// Input.
        input: Box<Node>,
        /// Conditions.
        conditions: Vec<Scalar>,
    },
    /// Rows for which the conditions hold.
    Filter {
        /// Input.
        input: Box<Node>,
        /// Conditions.
        conditions: Vec<Scalar>,
    },
    /// Other columns.
    Project {
        /// Input.
        input: Box<Node>,
        /// The new columns.
        exprs: Vec<Scalar>,
    },
    /// A join; conditions are over left and right columns together.
    Join {
        /// Left side.
        left: Box<Node>,
        /// How right rows are found.
        method: JoinMethod,
        /// Columns of right rows.
        right_width: usize,
        /// Left rows without match are kept.
        left_outer: bool,
        /// Conditions besides those of the method.
        conditions: Vec<Scalar>,
    },
    /// Groups.
    Aggregate {
        /// Input.
        input: Box<Node>,
        /// Group keys and how they compare.
        keys: Vec<(Scalar, Comparison)>,
        /// Columns of the input whose first value in each group is kept.
        carried: Vec<usize>,
        /// Aggregates; their arguments are in `scalars`.
        aggregates: Vec<AggregatePlan>,
        /// WITH ROLLUP.
        rollup: bool,
        /// The keys that GROUPING() columns ask about.
        grouping: Vec<usize>,
        /// One group even of no rows.
        implicit: bool,
    },
    /// Adds columns of window functions.
    Window {
        /// Input.
        input: Box<Node>,
        /// The functions.
        calls: Vec<WindowPlan>,
    },
    /// Order; with a limit only so many rows are kept.
    Sort {
        /// Input.
        input: Box<Node>,
        /// Keys.
        keys: Vec<OrderKey>,
        /// Offset plus limit, where nothing above needs more.
        limit: Option<(Option<Scalar>, Scalar)>,
    },
    /// No two equal rows.
    Distinct {
        /// Input.
        input: Box<Node>,
        /// How columns compare.
        compare: Vec<Comparison>,
    },
    /// LIMIT and OFFSET.
    Limit {
        /// Input.
        input: Box<Node>,
        /// At most so many; `None`: `sql_select_limit`.
        limit: Option<Scalar>,
        /// After so many.
        offset: Option<Scalar>,
        /// SQL_CALC_FOUND_ROWS: count on.
        calc_found_rows: bool,
    },
    /// UNION, INTERSECT, EXCEPT.
    SetOperation {
        /// Which.
        op: SetOp,
        /// ALL.
        all: bool,
        /// Left side.
        left: Box<Node>,
        /// Right side.
        right: Box<Node>,
        /// Types of left columns.
        left_types: Vec<SqlType>,
        /// Types of right columns.
        right_types: Vec<SqlType>,
        /// Common types.
        types: Vec<SqlType>,
        /// How columns compare.
        compare: Vec<Comparison>,
    },
}

/// An aggregate with its resolved arguments.
#[derive(Debug)]
pub struct AggregatePlan {
    /// The aggregate.
    pub call: Aggregate,
    /// Its arguments.
    pub args: Vec<Scalar>,
    /// Its own ordering.
    pub order: Vec<OrderKey>,
    /// How its arguments compare, for DISTINCT.
    pub compare: Vec<Comparison>,
}

/// A window function with its resolved arguments.
#[derive(Debug)]
pub struct WindowPlan {
    /// The call.
    pub call: WindowCall,
    /// Its arguments (of the aggregate, if it is one).
    pub args: Vec<Scalar>,
    /// PARTITION BY.
    pub partition: Vec<OrderKey>,
    /// ORDER BY.
    pub order: Vec<OrderKey>,
    /// Start and end of the frame, where they are expressions.
    pub bounds: (Option<Scalar>, Option<Scalar>),
}

impl Node {
    /// The layout of its rows.
    pub fn layout(&self) -> Layout {
        Layout::of(&self.columns)
    }
}
