//! Window functions: OVER, its partitions, order and frames.

use super::calls::{raw_args, wrong_parameter_count};
use super::{AggregateFunction, Frame, FrameBound, Gather, Place, SortKey, WindowCall, WindowFunction};
use crate::bind::Binder;
use crate::expr::*;
use assize_model::{ErrorCode, SqlError};
use assize_values::SqlType;
use sqlparser::ast;
use std::cell::RefCell;

impl Binder<'_> {
    pub(super) fn window_call(
        &mut self,
        name: &str,
        call: &ast::Function,
        over: &ast::WindowType,
        place: Place<'_>,
    ) -> Result<Expr, SqlError> {
        let refused = || {
            SqlError::new(
                ErrorCode::WindowMisuse,
                format!(
                    "You cannot use the window function '{}' in this context.'",
                    name.to_ascii_lowercase()
                ),
            )
        };
        let gather = place.gather.filter(|_| place.windows).ok_or_else(refused)?;
        if gather.borrow().in_aggregate {
            return Err(refused());
        }
        let inner = Place { windows: false, ..place };
        let spec = self.window_spec(over, gather)?;
        let (function, args, sql_type, nullable) = match AggregateFunction::named(name) {
            Some(function) => {
                let aggregate = self.aggregate(function, name, call, inner)?;
                if aggregate.distinct {
                    return Err(unsupported("<window function>(DISTINCT ..)"));
                }
                if function == AggregateFunction::GroupConcat {
                    return Err(unsupported("group_concat as window function"));
                }
                let (sql_type, nullable) = (aggregate.sql_type.clone(), aggregate.nullable);
                (WindowFunction::Aggregate(Box::new(aggregate)), Vec::new(), sql_type, nullable)
            }
            None => {
                let Some(function) = window_function(name) else {
                    return Err(SqlError::new(
                        ErrorCode::ParseError,
                        format!("You have an error in your SQL syntax; {name} is no window function"),
                    ));
                };
                let mut args = Vec::new();
                for arg in raw_args(call)? {
                    args.push(self.expr(arg, inner)?);
                }
                let (sql_type, nullable) = window_type(&function, &mut args, name)?;
                (function, args, sql_type, nullable)
            }
        };
        let mut partition = Vec::new();
        for expr in &spec.partition_by {
            partition.push(self.expr(expr, Place { clause: "window partition by", ..inner })?);
        }
        let mut order = Vec::new();
        for key in &spec.order_by {
            let expr = self.expr(&key.expr, Place { clause: "window order by", ..inner })?;
            order.push(SortKey { expr, descending: key.options.asc == Some(false) });
        }
        let frame = self.frame(spec.window_frame.as_ref(), &order, inner)?;
        let mut window =
            WindowCall { function, args, partition, order, frame, sql_type, nullable, id: ColumnId(0) };
        let mut gathered = gather.borrow_mut();
        let known = gathered.windows.iter().find(|known| {
            window.id = known.id;
            **known == window
        });
        let (sql_type, nullable) = (window.sql_type.clone(), window.nullable);
        let id = match known {
            Some(known) => known.id,
            None => {
                let id = self.next_id();
                window.id = id;
                gathered.windows.push(window);
                id
            }
        };
        Ok(Expr::column(id, sql_type, nullable))
    }

    /// The window that OVER means, named windows filled in.
    fn window_spec(
        &self,
        over: &ast::WindowType,
        gather: &RefCell<Gather>,
    ) -> Result<ast::WindowSpec, SqlError> {
        let find = |name: &str| {
            gather
                .borrow()
                .named_windows
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, spec)| spec.clone())
                .ok_or_else(|| {
                    SqlError::new(ErrorCode::WindowNoSuch, format!("Window name '{name}' is not defined."))
                })
        };
        let mut spec = match over {
            ast::WindowType::WindowSpec(spec) => spec.clone(),
            ast::WindowType::NamedWindow(name) => ast::WindowSpec {
                window_name: Some(name.clone()),
                partition_by: Vec::new(),
                order_by: Vec::new(),
                window_frame: None,
            },
        };
        for _ in 0..crate::bind::MAX_DEPTH {
            let Some(name) = spec.window_name.take() else {
                return Ok(spec);
            };
            match find(&name.value)? {
                ast::NamedWindowExpr::NamedWindow(other) => spec.window_name = Some(other),
                ast::NamedWindowExpr::WindowSpec(base) => {
                    if spec.partition_by.is_empty() {
                        spec.partition_by = base.partition_by;
                    }
                    if spec.order_by.is_empty() {
                        spec.order_by = base.order_by;
                    }
                    if spec.window_frame.is_none() {
                        spec.window_frame = base.window_frame;
                    }
                    spec.window_name = base.window_name;
                }
            }
        }
        Err(SqlError::new(ErrorCode::WindowNoSuch, "There is a circularity in the window dependency graph."))
    }

    pub(super) fn frame(
        &mut self,
        frame: Option<&ast::WindowFrame>,
        order: &[SortKey],
        place: Place<'_>,
    ) -> Result<Frame, SqlError> {
        let Some(frame) = frame else {
            // Without ORDER BY all rows are peers, so that the default frame is the whole partition.
            return Ok(Frame { rows: false, start: FrameBound::Unbounded, end: FrameBound::CurrentRow });
        };
        let rows = match frame.units {
            ast::WindowFrameUnits::Rows => true,
            ast::WindowFrameUnits::Range => false,
            ast::WindowFrameUnits::Groups => return Err(unsupported("GROUPS")),
        };
        let start = self.frame_bound(&frame.start_bound, rows, order, true, place)?;
        let end = match &frame.end_bound {
            Some(bound) => self.frame_bound(bound, rows, order, false, place)?,
            None => FrameBound::CurrentRow,
        };
        Ok(Frame { rows, start, end })
    }

    fn frame_bound(
        &mut self,
        bound: &ast::WindowFrameBound,
        rows: bool,
        order: &[SortKey],
        is_start: bool,
        place: Place<'_>,
    ) -> Result<FrameBound, SqlError> {
        let (amount, preceding) = match bound {
            ast::WindowFrameBound::CurrentRow => return Ok(FrameBound::CurrentRow),
            ast::WindowFrameBound::Preceding(None) if is_start => return Ok(FrameBound::Unbounded),
            ast::WindowFrameBound::Following(None) if !is_start => return Ok(FrameBound::Unbounded),
            ast::WindowFrameBound::Preceding(None) | ast::WindowFrameBound::Following(None) => {
                return Err(SqlError::new(
                    ErrorCode::ParseError,
                    "Window '<unnamed window>': frame start cannot be UNBOUNDED FOLLOWING.",
                ));
            }
            ast::WindowFrameBound::Preceding(Some(amount)) => (amount, true),
            ast::WindowFrameBound::Following(Some(amount)) => (amount, false),
        };
        if rows {
            let amount = self.expr(amount, place)?;
            return Ok(if preceding { FrameBound::Preceding(amount) } else { FrameBound::Following(amount) });
        }
        let [key] = order else {
            return Err(SqlError::new(
                ErrorCode::WindowMisuse,
                "Window '<unnamed window>' with RANGE N PRECEDING/FOLLOWING frame requires exactly one ORDER BY expression, of numeric or temporal type",
            ));
        };
        // "n preceding" of a descending key adds.
        let subtract = preceding != key.descending;
        let moved = match &**amount {
            ast::Expr::Interval(interval) => self.date_add(key.expr.clone(), interval, subtract, place)?,
            amount => {
                let amount = self.expr(amount, place)?;
                let op = if subtract { ArithOp::Sub } else { ArithOp::Add };
                arithmetic(op, key.expr.clone(), amount, self.context.eval())?
            }
        };
        Ok(FrameBound::Moved(moved))
    }
}

pub(super) fn window_function(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "ROW_NUMBER" => WindowFunction::RowNumber,
        "RANK" => WindowFunction::Rank,
        "DENSE_RANK" => WindowFunction::DenseRank,
        "PERCENT_RANK" => WindowFunction::PercentRank,
        "CUME_DIST" => WindowFunction::CumeDist,
        "NTILE" => WindowFunction::Ntile,
        "LAG" => WindowFunction::Lag,
        "LEAD" => WindowFunction::Lead,
        "FIRST_VALUE" => WindowFunction::FirstValue,
        "LAST_VALUE" => WindowFunction::LastValue,
        "NTH_VALUE" => WindowFunction::NthValue,
        _ => return None,
    })
}

/// Type of a window function's result; checks and completes its arguments.
fn window_type(
    function: &WindowFunction,
    args: &mut [Expr],
    name: &str,
) -> Result<(SqlType, bool), SqlError> {
    let wanted = match function {
        WindowFunction::RowNumber
        | WindowFunction::Rank
        | WindowFunction::DenseRank
        | WindowFunction::PercentRank
        | WindowFunction::CumeDist => 0..=0,
        WindowFunction::Ntile | WindowFunction::FirstValue | WindowFunction::LastValue => 1..=1,
        WindowFunction::NthValue => 2..=2,
        WindowFunction::Lag | WindowFunction::Lead => 1..=3,
        WindowFunction::Aggregate(_) => 0..=usize::MAX,
    };
    if !wanted.contains(&args.len()) {
        return Err(wrong_parameter_count(name));
    }
    Ok(match function {
        WindowFunction::RowNumber | WindowFunction::Rank | WindowFunction::DenseRank => {
            (SqlType::BIGINT_UNSIGNED, false)
        }
        WindowFunction::Ntile => (SqlType::BIGINT_UNSIGNED, true),
        WindowFunction::PercentRank | WindowFunction::CumeDist => (SqlType::DOUBLE, false),
        WindowFunction::Lag | WindowFunction::Lead if args.len() == 3 => {
            let common = common_type(&[&args[0], &args[2]], name)?;
            (common.0, true)
        }
        _ => (args[0].sql_type.clone(), true),
    })
}
