//! The short path of a point select: one whole primary key, one read, no operators.

use super::scan::{KeyValue, decode, key_value};
use super::{holds, value};
use crate::expr::{ExprKind, Row, Runtime};
use crate::plan::{Access, Node, NodeKind, Scalar, Scan};
use assize_ports::ReadIntent;
use assize_values::Value;

/// A plan that is nothing but the lookup of one row.
#[derive(Clone, Copy)]
pub struct Point<'p> {
    scan: &'p Scan,
    /// The columns to compute; `None`: those that the scan reads.
    exprs: Option<&'p [Scalar]>,
}

/// What became of a lookup.
pub enum Looked {
    /// The row, or that there is none.
    Found(Option<Row>),
    /// The key is not a plain value of its columns: the plan itself must run.
    Unusual,
}

impl<'p> Point<'p> {
    /// The lookup that a plan is, if it is one.
    pub fn of(root: &'p Node) -> Option<Self> {
        let (node, exprs) = match &root.kind {
            NodeKind::Project { input, exprs } => (&**input, Some(exprs.as_slice())),
            _ => (root, None),
        };
        let NodeKind::Scan(scan) = &node.kind else { return None };
        let Access::Points { index: 0, parts } = &scan.access else { return None };
        let plain = |s: &Scalar| !s.waits;
        let single = parts.iter().all(|p| p.values.len() == 1 && !p.null_matches && plain(&p.values[0]));
        let quiet = scan.filter.iter().all(plain) && exprs.is_none_or(|e| e.iter().all(plain));
        (single && quiet && scan.intent == ReadIntent::Plain && scan.table.primary_key().is_some())
            .then_some(Point { scan, exprs })
    }

    /// Looks the row up.
    pub async fn look(&self, rt: &mut Runtime<'_>) -> Result<Looked, assize_model::SqlError> {
        let scan = self.scan;
        let table = &scan.table;
        let index = &table.indexes[0];
        let Access::Points { parts, .. } = &scan.access else { return Ok(Looked::Unusual) };
        let mut key = Vec::with_capacity(parts.len());
        for (part, column) in parts.iter().zip(&index.parts) {
            let comparand = value(&part.values[0], &[], rt).await?;
            let sql_type = &table.indexed_column(column).sql_type;
            match key_value(&comparand, sql_type, rt.context.eval()) {
                KeyValue::Exact(value) => key.push(value),
                KeyValue::Near(..) | KeyValue::Null => return Ok(Looked::Found(None)),
                KeyValue::Unknown => return Ok(Looked::Unusual),
            }
        }
        let Some(slot) = table.slot_of_primary(&key) else { return Ok(Looked::Unusual) };
        let key = table.row_key_of(&key);
        let transaction = rt.context.transaction();
        transaction.use_table(table.id, table.version);
        let Some(bytes) = transaction.get(table.id, slot, &key, ReadIntent::Plain).await? else {
            return Ok(Looked::Found(None));
        };
        let row = decode(scan, &key, &bytes)?;
        if !holds(&scan.filter, &row, rt).await? {
            return Ok(Looked::Found(None));
        }
        let Some(exprs) = self.exprs else { return Ok(Looked::Found(Some(row))) };
        let mut out = Vec::with_capacity(exprs.len());
        for scalar in exprs {
            out.push(match &scalar.expr.kind {
                ExprKind::Slot(slot) => row.get(*slot).cloned().unwrap_or(Value::Null),
                _ => value(scalar, &row, rt).await?,
            });
        }
        Ok(Looked::Found(Some(out)))
    }
}
