//! EXPLAIN: a plan as rows, as a tree, as JSON.

use super::{Access, ForeignScan, JoinMethod, Node, NodeKind, Planned, Probe, Scan};
use crate::bind::SetOp;
use assize_ports::{ScanShards, StatementContext};
use assize_values::Value;

/// One line of EXPLAIN in its traditional form.
#[derive(Clone, Debug, Default)]
pub struct ExplainRow {
    /// Which query block.
    pub id: Option<u64>,
    /// SIMPLE, PRIMARY, DERIVED, UNION, …
    pub select_type: &'static str,
    /// Table, or alias.
    pub table: Option<String>,
    /// The shards that are read.
    pub partitions: Option<String>,
    /// const, eq_ref, ref, range, index, ALL.
    pub access: Option<&'static str>,
    /// Indexes that could be used.
    pub possible_keys: Option<String>,
    /// The index that is.
    pub key: Option<String>,
    /// Bytes of its key that are.
    pub key_len: Option<String>,
    /// What its key is compared with.
    pub refs: Option<String>,
    /// Rows expected.
    pub rows: Option<u64>,
    /// How many of a hundred rows pass the filter.
    pub filtered: Option<f64>,
    /// The rest.
    pub extra: Vec<String>,
}

impl ExplainRow {
    /// Its values, in the order of EXPLAIN's columns.
    pub fn values(&self) -> Vec<Value> {
        let text = |v: &Option<String>| v.as_ref().map_or(Value::Null, |t| Value::text(t.as_str()));
        vec![
            self.id.map_or(Value::Null, Value::UInt),
            Value::text(self.select_type),
            text(&self.table),
            text(&self.partitions),
            self.access.map_or(Value::Null, Value::text),
            text(&self.possible_keys),
            text(&self.key),
            text(&self.key_len),
            text(&self.refs),
            self.rows.map_or(Value::Null, Value::UInt),
            self.filtered.map_or(Value::Null, Value::Double),
            if self.extra.is_empty() { Value::Null } else { Value::text(self.extra.join("; ")) },
        ]
    }
}

/// The lines of EXPLAIN for a plan.
pub fn explain(planned: &Planned, context: &mut dyn StatementContext) -> Vec<ExplainRow> {
    let isolation = context.isolation();
    let mut lines = Lines { rows: Vec::new(), next_id: 1, context, isolation };
    let nested = has_blocks(&planned.plan.root);
    lines.node(&planned.plan.root, 1, if nested { "PRIMARY" } else { "SIMPLE" }, &mut Vec::new());
    if lines.rows.is_empty() {
        lines.rows.push(ExplainRow {
            id: Some(1),
            select_type: "SIMPLE",
            extra: vec!["No tables used".into()],
            ..ExplainRow::default()
        });
    }
    lines.rows
}

fn has_blocks(node: &Node) -> bool {
    match &node.kind {
        NodeKind::SetOperation { .. } | NodeKind::Cte { .. } => true,
        _ => inputs(node).into_iter().any(has_blocks),
    }
}

/// The steps that a step reads.
pub fn inputs(node: &Node) -> Vec<&Node> {
    match &node.kind {
        NodeKind::One
        | NodeKind::Values(_)
        | NodeKind::Scan(_)
        | NodeKind::Foreign(_)
        | NodeKind::Virtual { .. }
        | NodeKind::Cte { .. }
        | NodeKind::Recursion { .. } => Vec::new(),
        NodeKind::Gate { input, .. }
        | NodeKind::Filter { input, .. }
        | NodeKind::Project { input, .. }
        | NodeKind::Aggregate { input, .. }
        | NodeKind::Window { input, .. }
        | NodeKind::Sort { input, .. }
        | NodeKind::Distinct { input, .. }
        | NodeKind::Limit { input, .. } => vec![input],
        NodeKind::Join { left, method, .. } => match method {
            JoinMethod::Hash { right, .. } | JoinMethod::Nested(right) => vec![left, right],
            JoinMethod::Lateral { right, .. } => vec![left, &right.root],
            JoinMethod::Index(_) => vec![left],
        },
        NodeKind::SetOperation { left, right, .. } => vec![left, right],
    }
}

struct Lines<'c> {
    rows: Vec<ExplainRow>,
    next_id: u64,
    context: &'c mut dyn StatementContext,
    isolation: &'static str,
}

impl Lines<'_> {
    fn node(&mut self, node: &Node, id: u64, select_type: &'static str, extra: &mut Vec<String>) {
        match &node.kind {
            NodeKind::Scan(scan) => {
                let line = self.scan(scan, id, select_type, false, extra);
                self.rows.push(line);
            }
            NodeKind::Foreign(scan) => {
                let line = self.foreign_scan(scan, node.rows, id, select_type, extra);
                self.rows.push(line);
            }
            NodeKind::Virtual { table, .. } => self.rows.push(ExplainRow {
                id: Some(id),
                select_type,
                table: Some(table.name.to_string()),
                access: Some("ALL"),
                extra: std::mem::take(extra),
                ..ExplainRow::default()
            }),
            NodeKind::Cte { name, plan, .. } => {
                self.rows.push(ExplainRow {
                    id: Some(id),
                    select_type,
                    table: Some(name.to_string()),
                    access: Some("ALL"),
                    rows: Some(node.rows.ceil() as u64),
                    filtered: Some(100.0),
                    extra: std::mem::take(extra),
                    ..ExplainRow::default()
                });
                self.next_id += 1;
                let inner = self.next_id;
                match &**plan {
                    super::CtePlan::Query(plan) => self.node(&plan.root, inner, "DERIVED", &mut Vec::new()),
                    super::CtePlan::Recursive { seed, step, .. } => {
                        self.node(&seed.root, inner, "DERIVED", &mut Vec::new());
                        self.next_id += 1;
                        let step_id = self.next_id;
                        self.node(&step.root, step_id, "UNION", &mut vec!["Recursive".into()]);
                    }
                }
            }
            NodeKind::Recursion { name, .. } => self.rows.push(ExplainRow {
                id: Some(id),
                select_type,
                table: Some(name.to_string()),
                access: Some("ALL"),
                extra: std::mem::take(extra),
                ..ExplainRow::default()
            }),
            NodeKind::Join { left, method, .. } => {
                self.node(left, id, select_type, extra);
                match method {
                    JoinMethod::Index(scan) => {
                        let line = self.scan(scan, id, select_type, true, &mut Vec::new());
                        self.rows.push(line);
                    }
                    JoinMethod::Hash { right, probe: Some(probe), .. } => {
                        self.node(right, id, select_type, &mut vec![probe_note(right, probe)]);
                    }
                    JoinMethod::Hash { right, .. } => {
                        self.node(right, id, select_type, &mut vec!["Using join buffer (hash join)".into()]);
                    }
                    JoinMethod::Nested(right) => {
                        self.node(right, id, select_type, &mut vec!["Using join buffer".into()]);
                    }
                    JoinMethod::Lateral { right, .. } => {
                        self.next_id += 1;
                        let inner = self.next_id;
                        self.node(&right.root, inner, "DEPENDENT DERIVED", &mut Vec::new());
                    }
                }
            }
            NodeKind::SetOperation { op, left, right, .. } => {
                self.node(left, id, select_type, extra);
                self.next_id += 1;
                let inner = self.next_id;
                let kind = match op {
                    SetOp::Union => "UNION",
                    SetOp::Intersect => "INTERSECT",
                    SetOp::Except => "EXCEPT",
                };
                self.node(right, inner, kind, &mut Vec::new());
            }
            NodeKind::Sort { input, .. } => {
                extra.push("Using filesort".into());
                self.node(input, id, select_type, extra);
            }
            NodeKind::Aggregate { input, implicit, .. } => {
                if !implicit {
                    extra.push("Using temporary".into());
                }
                self.node(input, id, select_type, extra);
            }
            NodeKind::Distinct { input, .. } => {
                extra.push("Using temporary".into());
                self.node(input, id, select_type, extra);
            }
            NodeKind::Filter { input, .. } | NodeKind::Gate { input, .. } => {
                extra.push("Using where".into());
                self.node(input, id, select_type, extra);
            }
            NodeKind::Project { input, .. }
            | NodeKind::Limit { input, .. }
            | NodeKind::Window { input, .. } => {
                self.node(input, id, select_type, extra);
            }
            NodeKind::One | NodeKind::Values(_) => self.rows.push(ExplainRow {
                id: Some(id),
                select_type,
                extra: vec!["No tables used".into()],
                ..ExplainRow::default()
            }),
        }
    }

    fn scan(
        &mut self,
        scan: &Scan,
        id: u64,
        select_type: &'static str,
        joined: bool,
        extra: &mut Vec<String>,
    ) -> ExplainRow {
        let index = &scan.table.indexes[scan.access.index()];
        let declared = !(index.is_primary() && scan.table.hidden_row_id);
        let single = |parts: &[super::KeyPart]| parts.iter().all(|p| p.values.len() == 1);
        let (access, parts, rows) = match &scan.access {
            Access::Full { index } if *index == 0 => ("ALL", 0, super::access::TABLE_ROWS),
            Access::Full { .. } => ("index", 0, super::access::TABLE_ROWS),
            Access::Points { parts, .. } if joined => ("eq_ref", parts.len(), 1.0),
            Access::Points { parts, .. } if single(parts) => ("const", parts.len(), 1.0),
            Access::Points { parts, .. } => {
                ("range", parts.len(), parts.iter().map(|p| p.values.len() as f64).product())
            }
            Access::Range { parts, lower: None, upper: None, .. } if single(parts) => {
                ("ref", parts.len(), 10.0)
            }
            Access::Range { parts, lower, upper, .. } => {
                ("range", parts.len() + usize::from(lower.is_some() || upper.is_some()), 100.0)
            }
        };
        let mut notes = std::mem::take(extra);
        if !scan.filter.is_empty() {
            notes.insert(0, "Using where".into());
        }
        notes.dedup();
        if scan.reverse {
            notes.push("Backward index scan".into());
        }
        let is_temporary = scan.table.id.is_temporary();
        let shards = if is_temporary { Vec::new() } else { self.shards(scan) };
        let all = self.context.transaction().shards_of(ScanShards::All);
        notes.push(match shards.as_slice() {
            _ if is_temporary => "Using the session's memory".to_owned(),
            [one] => format!("Using shard {one}"),
            many if many.len() == all.len() => format!("Using all {} shards", all.len()),
            many => format!("Using {} of {} shards", many.len(), all.len()),
        });
        notes.push(format!("Isolation {}", self.isolation));
        let key = (declared && access != "ALL").then(|| index.name.to_string());
        let key_len: u32 = index
            .parts
            .iter()
            .take(parts)
            .map(|p| {
                let column = scan.table.indexed_column(p);
                key_bytes(&column.sql_type, p.prefix) + u32::from(column.nullable)
            })
            .sum();
        ExplainRow {
            id: Some(id),
            select_type,
            table: Some(scan.alias.to_string()),
            partitions: (!is_temporary)
                .then(|| shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            access: Some(access),
            possible_keys: (!scan.possible.is_empty())
                .then(|| scan.possible.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(",")),
            key_len: (key.is_some() && key_len > 0).then(|| key_len.to_string()),
            key,
            refs: (!scan.refs.is_empty() && !matches!(access, "range")).then(|| scan.refs.join(",")),
            rows: Some(rows as u64),
            filtered: Some(if scan.filter.is_empty() { 100.0 } else { 33.33 }),
            extra: notes,
        }
    }

    fn foreign_scan(
        &mut self,
        scan: &ForeignScan,
        rows: f64,
        id: u64,
        select_type: &'static str,
        extra: &mut Vec<String>,
    ) -> ExplainRow {
        let mut notes = std::mem::take(extra);
        if !scan.filter.is_empty() {
            notes.insert(0, "Using where".into());
        }
        notes.dedup();
        let server = scan.table.foreign.as_ref().map_or("", |foreign| &foreign.server);
        notes.push(format!("Foreign server {server}: {}", crate::exec::foreign_text(scan)));
        notes.push(format!("Isolation {}", self.isolation));
        ExplainRow {
            id: Some(id),
            select_type,
            table: Some(scan.alias.to_string()),
            access: Some(if scan.sent.is_empty() { "ALL" } else { "ref" }),
            rows: Some(rows.ceil() as u64),
            filtered: Some(if scan.filter.is_empty() { 100.0 } else { 33.33 }),
            extra: notes,
            ..ExplainRow::default()
        }
    }

    /// The shards that a scan reads, as far as its constants tell.
    fn shards(&mut self, scan: &Scan) -> Vec<assize_model::ShardId> {
        let slot = known_slot(scan);
        let transaction = self.context.transaction();
        match slot {
            Some(slot) => transaction.shards_of(ScanShards::Slot(slot)),
            None => transaction.shards_of(ScanShards::All),
        }
    }
}

/// The slot of the rows that a scan finds, if its sharding column is compared with one literal.
fn known_slot(scan: &Scan) -> Option<assize_model::Slot> {
    let parts = match &scan.access {
        Access::Points { parts, .. } | Access::Range { parts, .. } => parts,
        Access::Full { .. } => return None,
    };
    let index = &scan.table.indexes[scan.access.index()];
    let column = &scan.table.columns[scan.table.sharding_column?];
    if index.unique && !index.is_primary() {
        return None;
    }
    let at = index.parts.iter().position(|p| p.column == column.id && p.prefix.is_none())?;
    let [scalar] = parts.get(at)?.values.as_slice() else { return None };
    let value = scalar.expr.as_literal()?;
    match crate::exec::literal_key(value, &column.sql_type) {
        crate::exec::KeyValue::Exact(value) => {
            Some(assize_catalog::key::slot_of_value(&value, &column.sql_type))
        }
        _ => None,
    }
}

/// Bytes of a column within an index key, as MySQL counts them.
fn key_bytes(sql_type: &assize_values::SqlType, prefix: Option<u32>) -> u32 {
    use assize_values::SqlType as T;
    match sql_type {
        T::Int(int) => int.width.bytes().into(),
        T::Float { .. } => 4,
        T::Double { .. } => 8,
        T::Decimal { precision, .. } => u32::from(*precision) / 2 + 1,
        T::Date => 3,
        T::Time { .. } => 3,
        T::DateTime { .. } => 5,
        T::Timestamp { .. } => 4,
        T::Year => 1,
        T::Bit { length } => u32::from(*length).div_ceil(8),
        T::Enum { labels, .. } => {
            if labels.len() > 255 {
                2
            } else {
                1
            }
        }
        T::Set { labels, .. } => (labels.len() as u32).div_ceil(8),
        T::Text { .. } => prefix.unwrap_or(0) * 4 + 2,
        T::VarChar { length, .. } => prefix.unwrap_or(*length) * 4 + 2,
        T::Char { length, .. } => prefix.unwrap_or(*length) * 4,
        T::Binary { length } => prefix.unwrap_or(*length),
        T::VarBinary { length } => prefix.unwrap_or(*length) + 2,
        _ => prefix.unwrap_or(0) + 2,
    }
}

/// A plan as an indented tree, as FORMAT=TREE prints it.
pub fn tree(planned: &Planned) -> String {
    let mut out = String::new();
    write_tree(&planned.plan.root, 0, &mut out);
    out
}

/// What a step does, in a few words.
pub fn title(node: &Node) -> String {
    match &node.kind {
        NodeKind::One => "Rows fetched before execution".into(),
        NodeKind::Values(rows) => format!("{} rows of constants", rows.len()),
        NodeKind::Scan(scan) => scan_title(scan),
        NodeKind::Foreign(scan) => {
            format!("Foreign scan on {}: {}", scan.alias, crate::exec::foreign_text(scan))
        }
        NodeKind::Virtual { table, .. } => format!("Virtual table {}", table.name),
        NodeKind::Cte { name, .. } => format!("Table scan on {name} (common table expression)"),
        NodeKind::Recursion { name, .. } => format!("Rows of the step before of {name}"),
        NodeKind::Gate { conditions, .. } => format!("Constant condition ({})", conditions.len()),
        NodeKind::Filter { conditions, .. } => format!("Filter ({} conditions)", conditions.len()),
        NodeKind::Project { exprs, .. } => format!("Project {} columns", exprs.len()),
        NodeKind::Join { method, left_outer, .. } => {
            let kind = if *left_outer { "left join" } else { "inner join" };
            match method {
                JoinMethod::Index(_) => format!("Nested loop {kind}"),
                JoinMethod::Hash { right, probe: Some(probe), .. } => {
                    format!("Hash {kind}, {}", probe_note(right, probe))
                }
                JoinMethod::Hash { .. } => format!("Hash {kind}"),
                JoinMethod::Nested(_) => format!("Nested loop {kind} over a buffer"),
                JoinMethod::Lateral { .. } => format!("Lateral {kind}"),
            }
        }
        NodeKind::Aggregate { keys, aggregates, .. } => {
            format!("Aggregate: {} keys, {} functions", keys.len(), aggregates.len())
        }
        NodeKind::Window { calls, .. } => format!("Window: {} functions", calls.len()),
        NodeKind::Sort { keys, limit, .. } => {
            let top = if limit.is_some() { ", limited" } else { "" };
            format!("Sort by {} keys{top}", keys.len())
        }
        NodeKind::Distinct { .. } => "Remove duplicates".into(),
        NodeKind::Limit { .. } => "Limit".into(),
        NodeKind::SetOperation { op, all, .. } => {
            let name = match op {
                SetOp::Union => "Union",
                SetOp::Intersect => "Intersect",
                SetOp::Except => "Except",
            };
            format!("{name}{}", if *all { " all" } else { "" })
        }
    }
}

fn scan_title(scan: &Scan) -> String {
    let index = &scan.table.indexes[scan.access.index()];
    let name = if index.is_primary() { "PRIMARY" } else { &index.name };
    let back = if scan.reverse { " (reverse)" } else { "" };
    match &scan.access {
        Access::Full { index: 0 } => format!("Table scan on {}{back}", scan.alias),
        Access::Full { .. } => format!("Index scan on {} using {name}{back}", scan.alias),
        Access::Points { .. } => format!("Single-row index lookup on {} using {name}", scan.alias),
        Access::Range { lower: None, upper: None, .. } => {
            format!("Index lookup on {} using {name}{back}", scan.alias)
        }
        Access::Range { .. } => format!("Index range scan on {} using {name}{back}", scan.alias),
    }
}

fn write_tree(node: &Node, depth: usize, out: &mut String) {
    use std::fmt::Write;
    let _ = writeln!(
        out,
        "{:indent$}-> {}  (rows={})",
        "",
        title(node),
        node.rows.ceil() as u64,
        indent = depth * 4
    );
    for input in inputs(node) {
        write_tree(input, depth + 1, out);
    }
    if let NodeKind::Join { method: JoinMethod::Index(scan), .. } = &node.kind {
        let _ = writeln!(out, "{:indent$}-> {}", "", scan_title(scan), indent = (depth + 1) * 4);
    }
}

/// By which column rows of a foreign table are looked up for a join.
fn probe_note(right: &Node, probe: &Probe) -> String {
    match &right.kind {
        NodeKind::Foreign(scan) => {
            let column = crate::show::quote::quote_name(&scan.table.columns[probe.ordinal].name);
            format!("{column} IN (?) for some rows at a time")
        }
        _ => "rows looked up".into(),
    }
}
