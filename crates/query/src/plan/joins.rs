//! FROM and WHERE: which table first, how each next one is joined, where each condition is checked.

use super::access::{self, Access, Choice, KeyPart, Scan, TABLE_ROWS};
use super::select::Planner;
use super::{JoinMethod, Node, NodeKind, Scalar};
use crate::bind::{BoundTable, From, Source};
use crate::expr::*;
use assize_model::SqlError;
use std::collections::BTreeSet;

/// Left sides of fewer rows than this are joined by looking up an index row by row, if the index is not
/// unique; larger ones by hashing.
const LOOKUP_ROWS: f64 = 300.0;

/// Everything that joins of one SELECT need to know.
pub(super) struct Joins<'t> {
    /// The tables.
    pub tables: Vec<BoundTable>,
    /// Columns that something mentions.
    pub needed: &'t BTreeSet<ColumnId>,
    /// Planned rows of tables that are not stored, by position, taken when they are joined.
    pub prepared: Vec<Option<Prepared>>,
    /// Keep the order of FROM.
    pub straight: bool,
    /// The order that would save a sort, with whether only some rows are wanted.
    pub wanted: Option<(Vec<(ColumnId, bool)>, bool)>,
    /// The rows come out in the wanted order.
    pub ordered: bool,
}

/// A table that is not stored, ready to be joined.
pub(super) enum Prepared {
    /// Runs by itself.
    Node(Box<Node>),
    /// Runs once for each row of the tables before it.
    Lateral(std::sync::Arc<super::SubPlan>),
}

enum Item {
    Table(usize),
    Outer { left: From, right: From, on: Vec<Expr> },
}

/// Positions of the tables below a join tree.
fn leaves(from: &From, out: &mut Vec<usize>) {
    match from {
        From::Table(at) => out.push(*at),
        From::Join { left, right, .. } => {
            leaves(left, out);
            leaves(right, out);
        }
    }
}

fn flatten(from: From, items: &mut Vec<Item>, conditions: &mut Vec<Expr>, straight: &mut bool) {
    match from {
        From::Table(at) => items.push(Item::Table(at)),
        From::Join { left_outer: false, straight: kept, left, right, on } => {
            *straight |= kept;
            flatten(*left, items, conditions, straight);
            flatten(*right, items, conditions, straight);
            conditions.extend(on);
        }
        From::Join { left_outer: true, left, right, on, .. } => {
            items.push(Item::Outer { left: *left, right: *right, on });
        }
    }
}

/// Whether a condition cannot be true if all these columns are NULL.
fn rejects_null(condition: &Expr, columns: &BTreeSet<ColumnId>) -> bool {
    /// Whether the value is NULL then.
    fn is_null_then(e: &Expr, columns: &BTreeSet<ColumnId>) -> bool {
        match &e.kind {
            ExprKind::Column(id) => columns.contains(id),
            ExprKind::Arith(_, a, b) => is_null_then(a, columns) || is_null_then(b, columns),
            ExprKind::Neg(a) | ExprKind::Collate(a) => is_null_then(a, columns),
            _ => false,
        }
    }
    match &condition.kind {
        ExprKind::Compare(op, _, a, b) => {
            *op != CompareOp::NullSafeEq && (is_null_then(a, columns) || is_null_then(b, columns))
        }
        ExprKind::InList(a, ..) | ExprKind::Like(a, ..) => is_null_then(a, columns),
        ExprKind::Between(parts, _) => is_null_then(&parts.0, columns),
        ExprKind::IsNull(a, true) => is_null_then(a, columns),
        ExprKind::Column(id) => columns.contains(id),
        ExprKind::And(parts) => parts.iter().any(|p| rejects_null(p, columns)),
        ExprKind::Or(parts) => parts.iter().all(|p| rejects_null(p, columns)),
        _ => false,
    }
}

impl Planner<'_, '_> {
    /// Rows of a join tree that satisfy the conditions.
    pub(super) fn join_tree(
        &mut self,
        from: From,
        mut conditions: Vec<Expr>,
        joins: &mut Joins<'_>,
    ) -> Result<Node, SqlError> {
        let from = self.simplify(from, &conditions, joins);
        let mut items = Vec::new();
        let mut straight = joins.straight;
        flatten(from, &mut items, &mut conditions, &mut straight);
        let in_tree: BTreeSet<ColumnId> = {
            let mut at = Vec::new();
            for item in &items {
                match item {
                    Item::Table(t) => at.push(*t),
                    Item::Outer { left, right, .. } => {
                        leaves(left, &mut at);
                        leaves(right, &mut at);
                    }
                }
            }
            at.iter().flat_map(|t| self.columns_of(&joins.tables[*t])).collect()
        };
        // Conditions that no table of this tree decides are checked once, above it all.
        let (mut conditions, gates): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(|c| {
            let mut used = Vec::new();
            c.columns(&mut used);
            used.iter().any(|u| in_tree.contains(u)) || !c.is_constant()
        });
        let mut placed: BTreeSet<ColumnId> = BTreeSet::new();
        let mut node: Option<Node> = None;
        while !items.is_empty() {
            let next = if straight || items.len() == 1 {
                0
            } else {
                self.best_next(&items, &conditions, &placed, &in_tree, node.as_ref(), joins)
            };
            let item = items.remove(next);
            let joined = match (node.take(), item) {
                (None, Item::Table(at)) => {
                    let mine = self.take_local(&mut conditions, &joins.tables[at], &placed, &in_tree);
                    self.table_node(at, mine, joins, items.is_empty())?
                }
                (None, Item::Outer { left, right, on }) => {
                    self.outer_join(left, right, on, &mut conditions, &in_tree, joins)?
                }
                (Some(left), Item::Table(at)) => {
                    self.join_table(left, at, &mut conditions, false, &placed, &in_tree, joins)?
                }
                (Some(left), Item::Outer { left: a, right: b, on }) => {
                    let wanted = joins.wanted.take();
                    let right = self.outer_join(a, b, on, &mut conditions, &in_tree, joins)?;
                    joins.wanted = wanted;
                    self.join_nodes(left, right, &mut conditions, false, &in_tree)?
                }
            };
            placed.extend(joined.columns.iter().copied());
            // Columns that nothing needs are not in the rows, but their tables are placed all the same.
            placed.extend(self.placed_columns(&joined, joins));
            node = Some(self.filtered(joined, &mut conditions, &placed, &in_tree)?);
        }
        let mut node = node.unwrap_or(Node { kind: NodeKind::One, columns: Vec::new(), rows: 1.0 });
        if !conditions.is_empty() {
            let layout = node.layout();
            let scalars = conditions.into_iter().map(|c| self.scalar(c, &layout)).collect();
            let columns = node.columns.clone();
            let rows = node.rows;
            node =
                Node { kind: NodeKind::Filter { input: Box::new(node), conditions: scalars }, columns, rows };
        }
        if !gates.is_empty() {
            let layout = node.layout();
            let scalars = gates.into_iter().map(|c| self.scalar(c, &layout)).collect();
            let columns = node.columns.clone();
            let rows = node.rows;
            node =
                Node { kind: NodeKind::Gate { input: Box::new(node), conditions: scalars }, columns, rows };
        }
        Ok(node)
    }

    /// Outer joins whose NULL rows the conditions throw away are inner joins.
    fn simplify(&self, from: From, conditions: &[Expr], joins: &Joins<'_>) -> From {
        match from {
            From::Table(at) => From::Table(at),
            From::Join { left_outer, straight, left, right, on } => {
                let mut at = Vec::new();
                leaves(&right, &mut at);
                let columns: BTreeSet<ColumnId> =
                    at.iter().flat_map(|t| self.columns_of(&joins.tables[*t])).collect();
                let inner = !left_outer || conditions.iter().any(|c| rejects_null(c, &columns));
                if inner {
                    let mut all = conditions.to_vec();
                    all.extend(on.iter().cloned());
                    From::Join {
                        left_outer: false,
                        straight,
                        left: Box::new(self.simplify(*left, &all, joins)),
                        right: Box::new(self.simplify(*right, &all, joins)),
                        on,
                    }
                } else {
                    From::Join {
                        left_outer: true,
                        straight,
                        left: Box::new(self.simplify(*left, conditions, joins)),
                        right: Box::new(self.simplify(*right, &on, joins)),
                        on,
                    }
                }
            }
        }
    }

    /// Ids of all columns of a table.
    pub(super) fn columns_of(&self, table: &BoundTable) -> Vec<ColumnId> {
        table.columns.iter().copied().chain(table.row_id).collect()
    }

    /// Every column of the tables that a node reads.
    fn placed_columns(&self, node: &Node, joins: &Joins<'_>) -> Vec<ColumnId> {
        let read: BTreeSet<ColumnId> = node.columns.iter().copied().collect();
        joins
            .tables
            .iter()
            .filter(|t| self.columns_of(t).iter().any(|c| read.contains(c)))
            .flat_map(|t| self.columns_of(t))
            .collect()
    }

    /// Takes the conditions that mention this table alone (and what is known before the scan opens).
    fn take_local(
        &self,
        conditions: &mut Vec<Expr>,
        table: &BoundTable,
        placed: &BTreeSet<ColumnId>,
        in_tree: &BTreeSet<ColumnId>,
    ) -> Vec<Expr> {
        let own: BTreeSet<ColumnId> = self.columns_of(table).into_iter().collect();
        let (mine, rest) = std::mem::take(conditions).into_iter().partition(|c| {
            let mut used = Vec::new();
            c.columns(&mut used);
            let local = used.iter().all(|u| own.contains(u) || placed.contains(u) || !in_tree.contains(u));
            local && used.iter().all(|u| !placed.contains(u))
        });
        *conditions = rest;
        mine
    }

    /// Puts a filter on top for the conditions whose columns are all there.
    fn filtered(
        &mut self,
        node: Node,
        conditions: &mut Vec<Expr>,
        placed: &BTreeSet<ColumnId>,
        in_tree: &BTreeSet<ColumnId>,
    ) -> Result<Node, SqlError> {
        let (ready, rest): (Vec<Expr>, Vec<Expr>) = std::mem::take(conditions).into_iter().partition(|c| {
            let mut used = Vec::new();
            c.columns(&mut used);
            used.iter().all(|u| placed.contains(u) || !in_tree.contains(u))
        });
        *conditions = rest;
        if ready.is_empty() {
            return Ok(node);
        }
        let layout = node.layout();
        let rows = node.rows * 0.5;
        let scalars = ready.into_iter().map(|c| self.scalar(c, &layout)).collect();
        let columns = node.columns.clone();
        Ok(Node { kind: NodeKind::Filter { input: Box::new(node), conditions: scalars }, columns, rows })
    }

    /// Which item to place next: the one found most narrowly.
    fn best_next(
        &self,
        items: &[Item],
        conditions: &[Expr],
        placed: &BTreeSet<ColumnId>,
        in_tree: &BTreeSet<ColumnId>,
        node: Option<&Node>,
        joins: &Joins<'_>,
    ) -> usize {
        let mut best = (0, f64::INFINITY);
        for (at, item) in items.iter().enumerate() {
            let cost = match item {
                Item::Outer { left, .. } => {
                    let mut tables = Vec::new();
                    leaves(left, &mut tables);
                    if node.is_none() {
                        tables
                            .iter()
                            .map(|t| self.table_cost(*t, conditions, placed, in_tree, joins))
                            .fold(TABLE_ROWS, f64::min)
                    } else {
                        TABLE_ROWS * 2.0
                    }
                }
                Item::Table(t) => {
                    if matches!(joins.prepared[*t], Some(Prepared::Lateral(_))) {
                        // Its arguments must be placed before it.
                        let ready = match &joins.prepared[*t] {
                            Some(Prepared::Lateral(plan)) => {
                                plan.outer.iter().all(|o| placed.contains(o) || !in_tree.contains(o))
                            }
                            _ => true,
                        };
                        if ready { TABLE_ROWS } else { f64::INFINITY }
                    } else {
                        let linked = node.is_none()
                            || conditions.iter().any(|c| {
                                let mut used = Vec::new();
                                c.columns(&mut used);
                                let own = self.columns_of(&joins.tables[*t]);
                                used.iter().any(|u| own.contains(u))
                                    && used.iter().any(|u| placed.contains(u))
                            });
                        let cost = self.table_cost(*t, conditions, placed, in_tree, joins);
                        if linked { cost } else { cost * TABLE_ROWS }
                    }
                }
            };
            if cost < best.1 {
                best = (at, cost);
            }
        }
        best.0
    }

    /// Rows found in a table by its best access path.
    fn table_cost(
        &self,
        at: usize,
        conditions: &[Expr],
        placed: &BTreeSet<ColumnId>,
        in_tree: &BTreeSet<ColumnId>,
        joins: &Joins<'_>,
    ) -> f64 {
        let table = &joins.tables[at];
        match &table.source {
            Source::Stored(stored) => {
                let bound = |c: ColumnId| placed.contains(&c) || !in_tree.contains(&c);
                let (found, _) = access::choices(table, stored, conditions, &bound);
                let own: BTreeSet<ColumnId> = self.columns_of(table).into_iter().collect();
                let filters = conditions
                    .iter()
                    .filter(|c| {
                        let mut used = Vec::new();
                        c.columns(&mut used);
                        !used.is_empty() && used.iter().all(|u| own.contains(u))
                    })
                    .count();
                let full = TABLE_ROWS * 0.5f64.powi(filters.min(4) as i32);
                found.first().map_or(full, |c| c.rows.min(full))
            }
            Source::Virtual(_) => 200.0,
            Source::Recursion(_) => 10.0,
            _ => TABLE_ROWS / 2.0,
        }
    }

    /// Rows of one table by itself.
    pub(super) fn table_node(
        &mut self,
        at: usize,
        conditions: Vec<Expr>,
        joins: &mut Joins<'_>,
        alone: bool,
    ) -> Result<Node, SqlError> {
        if let Some(prepared) = joins.prepared[at].take() {
            let node = match prepared {
                Prepared::Node(node) => *node,
                Prepared::Lateral(plan) => {
                    let one = Node { kind: NodeKind::One, columns: Vec::new(), rows: 1.0 };
                    self.lateral(one, plan, at, Vec::new(), false, joins)
                }
            };
            if conditions.is_empty() {
                return Ok(node);
            }
            let layout = node.layout();
            let columns = node.columns.clone();
            let rows = (node.rows * 0.5).max(1.0);
            let scalars = conditions.into_iter().map(|c| self.scalar(c, &layout)).collect();
            return Ok(Node {
                kind: NodeKind::Filter { input: Box::new(node), conditions: scalars },
                columns,
                rows,
            });
        }
        let table = joins.tables[at].clone();
        let Source::Stored(stored) = &table.source else {
            return Err(SqlError::internal("a table without rows"));
        };
        if stored.foreign.is_some() {
            return Ok(self.foreign_node(&table, stored, conditions, joins.needed));
        }
        let own: BTreeSet<ColumnId> = self.columns_of(&table).into_iter().collect();
        let bound = |c: ColumnId| !own.contains(&c);
        let (found, forced) = access::choices(&table, stored, &conditions, &bound);
        let possible = access::possible(&table, stored, &conditions, &bound);
        let mut reverse = false;
        let mut chosen = found.first().cloned();
        // An index in the wanted order saves the sort: always worth it when it narrows as well, and for a
        // scan of everything if only some rows are wanted or rows come in the primary key's order anyway.
        if let Some((wanted, limited)) = joins.wanted.clone().filter(|(w, _)| !w.is_empty()) {
            let fixed = |c: &Choice| c.parts.iter().take_while(|(v, _)| v.len() == 1).count();
            let single = |c: &Choice| c.parts.iter().all(|(v, _)| v.len() == 1);
            let fits = found.iter().filter(|c| single(c)).find_map(|c| {
                access::ordered(&table, stored, c.index, fixed(c), &wanted).map(|r| (c.clone(), r))
            });
            let best_rows = chosen.as_ref().map_or(f64::INFINITY, |c| c.rows);
            match fits {
                Some((choice, r)) if choice.rows <= best_rows * 4.0 => {
                    chosen = Some(choice);
                    reverse = r;
                    joins.ordered = true;
                }
                _ if chosen.is_none() || (limited && best_rows >= TABLE_ROWS / 4.0) => {
                    let usable: Vec<usize> = (0..stored.indexes.len())
                        .filter(|i| {
                            let index = &stored.indexes[*i];
                            (*i == 0 || limited || forced)
                                && !index.invisible
                                && stored.readable_indexes().any(|x| x.id == index.id)
                                && !ignored(&table, &index.name)
                        })
                        .collect();
                    for i in usable {
                        if let Some(r) = access::ordered(&table, stored, i, 0, &wanted) {
                            chosen = Some(Choice {
                                index: i,
                                parts: Vec::new(),
                                lower: None,
                                upper: None,
                                unique: false,
                                rows: TABLE_ROWS,
                                covered: Vec::new(),
                            });
                            reverse = r;
                            joins.ordered = true;
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        let _ = alone;
        let (scan, rows) =
            self.scan(&table, chosen, conditions, joins.needed, reverse, possible, &Layout::default());
        let columns = scan_columns(&table, &scan);
        Ok(Node { kind: NodeKind::Scan(Box::new(scan)), columns, rows })
    }

    /// Builds a scan; expressions of its key are over rows of `outer_layout`.
    #[allow(clippy::too_many_arguments)]
    fn scan(
        &mut self,
        table: &BoundTable,
        chosen: Option<Choice>,
        conditions: Vec<Expr>,
        needed: &BTreeSet<ColumnId>,
        reverse: bool,
        possible: Vec<std::sync::Arc<str>>,
        outer_layout: &Layout,
    ) -> (Scan, f64) {
        let Source::Stored(stored) = &table.source else {
            unreachable!("only stored tables are scanned");
        };
        let choice = chosen.unwrap_or(Choice {
            index: 0,
            parts: Vec::new(),
            lower: None,
            upper: None,
            unique: false,
            rows: TABLE_ROWS,
            covered: Vec::new(),
        });
        let mut refs = Vec::new();
        let mut part = |values: &[Expr], this: &mut Self| -> Vec<Scalar> {
            values
                .iter()
                .map(|v| {
                    refs.push(if v.as_column().is_some() { "column".into() } else { "const".to_string() });
                    this.scalar(v.clone(), outer_layout)
                })
                .collect()
        };
        let parts: Vec<KeyPart> = choice
            .parts
            .iter()
            .map(|(values, null_matches)| KeyPart { values: part(values, self), null_matches: *null_matches })
            .collect();
        let access = if choice.unique {
            Access::Points { index: choice.index, parts }
        } else if choice.narrows() {
            Access::Range {
                index: choice.index,
                parts,
                lower: choice.lower.map(|(e, i)| (self.scalar(e, outer_layout), i)),
                upper: choice.upper.map(|(e, i)| (self.scalar(e, outer_layout), i)),
            }
        } else {
            Access::Full { index: choice.index }
        };
        let filter: Vec<Expr> = conditions
            .into_iter()
            .enumerate()
            .filter(|(n, _)| !choice.covered.contains(n))
            .map(|(_, c)| c)
            .collect();
        let mut read: BTreeSet<ColumnId> = needed.clone();
        for condition in &filter {
            let mut used = Vec::new();
            condition.columns(&mut used);
            read.extend(used);
        }
        let mut ordinals: Vec<usize> =
            (0..table.columns.len()).filter(|o| read.contains(&table.columns[*o])).collect();
        if table.row_id.is_some_and(|id| read.contains(&id)) {
            ordinals.push(table.columns.len());
        }
        let mut scan = Scan {
            table: stored.clone(),
            alias: table.alias.clone(),
            ordinals,
            access,
            filter: Vec::new(),
            intent: table.intent,
            reverse,
            hint: None,
            possible,
            refs,
        };
        let mut rows = choice.rows;
        rows *= 0.5f64.powi(filter.len().min(6) as i32);
        let layout = Layout::of(&scan_columns(table, &scan));
        scan.filter = filter.into_iter().map(|c| self.scalar(c, &layout)).collect();
        (scan, rows.max(1.0))
    }

    /// A left outer join by itself, with those conditions pushed down that may be.
    fn outer_join(
        &mut self,
        left: From,
        right: From,
        on: Vec<Expr>,
        conditions: &mut Vec<Expr>,
        in_tree: &BTreeSet<ColumnId>,
        joins: &mut Joins<'_>,
    ) -> Result<Node, SqlError> {
        let side = |from: &From, this: &Self, joins: &Joins<'_>| -> BTreeSet<ColumnId> {
            let mut at = Vec::new();
            leaves(from, &mut at);
            at.iter().flat_map(|t| this.columns_of(&joins.tables[*t])).collect()
        };
        let left_columns = side(&left, self, joins);
        let right_columns = side(&right, self, joins);
        let within = |e: &Expr, own: &BTreeSet<ColumnId>| {
            let mut used = Vec::new();
            e.columns(&mut used);
            used.iter().any(|u| own.contains(u))
                && used.iter().all(|u| {
                    own.contains(u)
                        || !(in_tree.contains(u) || left_columns.contains(u) || right_columns.contains(u))
                })
        };
        let (down, rest): (Vec<Expr>, Vec<Expr>) =
            std::mem::take(conditions).into_iter().partition(|c| within(c, &left_columns));
        *conditions = rest;
        let left_node = self.join_tree(left, down, joins)?;
        // Conditions of ON that concern the right side alone narrow it; the others decide what matches.
        let (right_only, mut on): (Vec<Expr>, Vec<Expr>) =
            on.into_iter().partition(|c| within(c, &right_columns));
        if let From::Table(at) = right {
            on.extend(right_only);
            let placed: BTreeSet<ColumnId> = left_columns.clone();
            let all: BTreeSet<ColumnId> = left_columns.union(&right_columns).copied().collect();
            let mut on = on;
            return self.join_table(left_node, at, &mut on, true, &placed, &all, joins);
        }
        let wanted = joins.wanted.take();
        let right_node = self.join_tree(right, right_only, joins)?;
        joins.wanted = wanted;
        let all: BTreeSet<ColumnId> = left_columns.union(&right_columns).copied().collect();
        self.join_nodes(left_node, right_node, &mut on, true, &all)
    }

    /// Joins a table to what is placed already. For an outer join `conditions` is all of ON and is used up.
    #[allow(clippy::too_many_arguments)]
    fn join_table(
        &mut self,
        left: Node,
        at: usize,
        conditions: &mut Vec<Expr>,
        outer: bool,
        placed: &BTreeSet<ColumnId>,
        in_tree: &BTreeSet<ColumnId>,
        joins: &mut Joins<'_>,
    ) -> Result<Node, SqlError> {
        if let Some(Prepared::Lateral(_)) = &joins.prepared[at] {
            let Some(Prepared::Lateral(plan)) = joins.prepared[at].take() else {
                return Err(SqlError::internal("a lateral table went missing"));
            };
            let own: BTreeSet<ColumnId> = self.columns_of(&joins.tables[at]).into_iter().collect();
            let mine = take_ready(conditions, &own, placed, in_tree, outer);
            return Ok(self.lateral(left, plan, at, mine, outer, joins));
        }
        let table = joins.tables[at].clone();
        let own: BTreeSet<ColumnId> = self.columns_of(&table).into_iter().collect();
        if let Source::Stored(stored) = &table.source
            && stored.foreign.is_none()
        {
            // Keys may only use columns that the left rows really have.
            let here: BTreeSet<ColumnId> = left.columns.iter().copied().collect();
            let bound = |c: ColumnId| !own.contains(&c) && (here.contains(&c) || !in_tree.contains(&c));
            let mine: Vec<Expr> = conditions
                .iter()
                .filter(|c| {
                    let mut used = Vec::new();
                    c.columns(&mut used);
                    used.iter().any(|u| own.contains(u))
                        && used.iter().all(|u| own.contains(u) || placed.contains(u) || !in_tree.contains(u))
                })
                .cloned()
                .collect();
            let (found, _) = access::choices(&table, stored, &mine, &bound);
            let possible = access::possible(&table, stored, &mine, &bound);
            let by_left = |c: &Choice| {
                c.parts.iter().any(|(values, _)| {
                    values.iter().any(|v| {
                        let mut used = Vec::new();
                        v.columns(&mut used);
                        used.iter().any(|u| here.contains(u))
                    })
                })
            };
            let lookup = found.iter().find(|c| by_left(c) && (c.unique || left.rows <= LOOKUP_ROWS));
            if let Some(choice) = lookup.cloned() {
                let taken = take_ready(conditions, &own, placed, in_tree, outer);
                // The scan filters what concerns its own columns; the rest is checked on joined rows.
                let mut local = Vec::new();
                let mut joined = Vec::new();
                let mut covered = Vec::new();
                for condition in taken {
                    let position = mine.iter().position(|m| *m == condition);
                    if position.is_some_and(|p| choice.covered.contains(&p)) {
                        covered.push(condition);
                        continue;
                    }
                    let mut used = Vec::new();
                    condition.columns(&mut used);
                    if used.iter().all(|u| own.contains(u)) && !used.is_empty() {
                        local.push(condition);
                    } else {
                        joined.push(condition);
                    }
                }
                let choice = Choice { covered: Vec::new(), ..choice };
                let rows = choice.rows;
                let outer_layout = left.layout();
                let mut needed = joins.needed.clone();
                for condition in &joined {
                    let mut used = Vec::new();
                    condition.columns(&mut used);
                    needed.extend(used);
                }
                let (scan, _) =
                    self.scan(&table, Some(choice), local, &needed, false, possible, &outer_layout);
                let right_columns = scan_columns(&table, &scan);
                let right_width = right_columns.len();
                let rows = (left.rows * rows).max(left.rows.min(1.0));
                let mut columns = left.columns.clone();
                columns.extend(right_columns);
                let layout = Layout::of(&columns);
                let conditions = joined.into_iter().map(|c| self.scalar(c, &layout)).collect();
                return Ok(Node {
                    kind: NodeKind::Join {
                        left: Box::new(left),
                        method: JoinMethod::Index(Box::new(scan)),
                        right_width,
                        left_outer: outer,
                        conditions,
                    },
                    columns,
                    rows,
                });
            }
        }
        // The right side by itself, narrowed by what concerns it alone.
        let (local, rest): (Vec<Expr>, Vec<Expr>) = std::mem::take(conditions).into_iter().partition(|c| {
            let mut used = Vec::new();
            c.columns(&mut used);
            used.iter().any(|u| own.contains(u))
                && used.iter().all(|u| own.contains(u) || !in_tree.contains(u))
        });
        *conditions = rest;
        let mut needed = joins.needed.clone();
        for condition in conditions.iter() {
            let mut used = Vec::new();
            condition.columns(&mut used);
            needed.extend(used);
        }
        let mut inner = Joins {
            tables: std::mem::take(&mut joins.tables),
            needed: &needed,
            prepared: std::mem::take(&mut joins.prepared),
            straight: joins.straight,
            wanted: None,
            ordered: false,
        };
        let right = self.table_node(at, local, &mut inner, false);
        joins.tables = std::mem::take(&mut inner.tables);
        joins.prepared = std::mem::take(&mut inner.prepared);
        self.join_nodes(left, right?, conditions, outer, in_tree)
    }

    /// Joins two sides by hashing where there are equalities between them.
    fn join_nodes(
        &mut self,
        left: Node,
        right: Node,
        conditions: &mut Vec<Expr>,
        outer: bool,
        in_tree: &BTreeSet<ColumnId>,
    ) -> Result<Node, SqlError> {
        let left_has: BTreeSet<ColumnId> = left.columns.iter().copied().collect();
        let right_has: BTreeSet<ColumnId> = right.columns.iter().copied().collect();
        let of = |e: &Expr, side: &BTreeSet<ColumnId>| {
            let mut used = Vec::new();
            e.columns(&mut used);
            !used.is_empty() && used.iter().all(|u| side.contains(u)) && !e.waits()
        };
        let mut keys = Vec::new();
        let mut rest = Vec::new();
        for condition in std::mem::take(conditions) {
            let mut used = Vec::new();
            condition.columns(&mut used);
            let ready =
                used.iter().all(|u| left_has.contains(u) || right_has.contains(u) || !in_tree.contains(u));
            if !ready && !outer {
                conditions.push(condition);
                continue;
            }
            match &condition.kind {
                ExprKind::Compare(CompareOp::Eq, how, a, b) if is_hashable(how) => {
                    let sides = if of(a, &left_has) && of(b, &right_has) {
                        Some((a, b))
                    } else if of(b, &left_has) && of(a, &right_has) {
                        Some((b, a))
                    } else {
                        None
                    };
                    if let Some((a, b)) = sides {
                        keys.push(((**a).clone(), (**b).clone(), *how));
                    }
                    if sides.is_none() || !hash_decides(how) {
                        rest.push(condition);
                    }
                }
                _ => rest.push(condition),
            }
        }
        let left_layout = left.layout();
        let right_layout = right.layout();
        let right_width = right.columns.len();
        let mut columns = left.columns.clone();
        columns.extend(right.columns.iter().copied());
        let rows = if keys.is_empty() { left.rows * right.rows } else { left.rows.max(right.rows) };
        let method = if keys.is_empty() {
            JoinMethod::Nested(Box::new(right))
        } else {
            let mut left_keys = Vec::new();
            let mut right_keys = Vec::new();
            let mut compare = Vec::new();
            for (a, b, how) in keys {
                left_keys.push(self.scalar(a, &left_layout));
                right_keys.push(self.scalar(b, &right_layout));
                compare.push(how);
            }
            let probe = super::foreign::probe(&right, &left_keys, &right_keys, &compare);
            JoinMethod::Hash { right: Box::new(right), left_keys, right_keys, compare, probe }
        };
        let layout = Layout::of(&columns);
        let scalars = rest.into_iter().map(|c| self.scalar(c, &layout)).collect();
        Ok(Node {
            kind: NodeKind::Join {
                left: Box::new(left),
                method,
                right_width,
                left_outer: outer,
                conditions: scalars,
            },
            columns,
            rows,
        })
    }

    /// A lateral derived table: run for each left row.
    fn lateral(
        &mut self,
        left: Node,
        plan: std::sync::Arc<super::SubPlan>,
        at: usize,
        conditions: Vec<Expr>,
        outer: bool,
        joins: &Joins<'_>,
    ) -> Node {
        let layout = left.layout();
        let args = plan
            .outer
            .iter()
            .map(|id| self.scalar(Expr::column(*id, assize_values::SqlType::Null, true), &layout))
            .collect();
        let right_columns = joins.tables[at].columns.clone();
        let right_width = right_columns.len();
        let rows = left.rows * 10.0;
        let mut columns = left.columns.clone();
        columns.extend(right_columns);
        let joined = Layout::of(&columns);
        let conditions = conditions.into_iter().map(|c| self.scalar(c, &joined)).collect();
        Node {
            kind: NodeKind::Join {
                left: Box::new(left),
                method: JoinMethod::Lateral { right: plan, args },
                right_width,
                left_outer: outer,
                conditions,
            },
            columns,
            rows,
        }
    }
}

fn ignored(table: &BoundTable, name: &str) -> bool {
    let restricted = table.hints.iter().any(|h| h.force.is_some());
    let used = table.hints.iter().any(|h| h.force.is_some() && h.indexes.iter().any(|i| **i == *name));
    let refused = table.hints.iter().any(|h| h.force.is_none() && h.indexes.iter().any(|i| **i == *name));
    refused || (restricted && !used)
}

/// Takes the conditions that can be checked once this table is joined; all of them for an outer join.
fn take_ready(
    conditions: &mut Vec<Expr>,
    own: &BTreeSet<ColumnId>,
    placed: &BTreeSet<ColumnId>,
    in_tree: &BTreeSet<ColumnId>,
    outer: bool,
) -> Vec<Expr> {
    let (taken, rest) = std::mem::take(conditions).into_iter().partition(|c| {
        let mut used = Vec::new();
        c.columns(&mut used);
        outer || used.iter().all(|u| own.contains(u) || placed.contains(u) || !in_tree.contains(u))
    });
    *conditions = rest;
    taken
}

/// Ids of the columns that a scan reads.
pub(super) fn scan_columns(table: &BoundTable, scan: &Scan) -> Vec<ColumnId> {
    scan.ordinals
        .iter()
        .map(|o| table.columns.get(*o).copied().or(table.row_id).expect("an ordinal of the table"))
        .collect()
}

/// Roughly how many rows of a table satisfy conditions that concern it alone, if its indexes are all that finds them.
pub(super) fn scan_rows(
    table: &BoundTable,
    stored: &assize_catalog::Table,
    conditions: &[Expr],
    bound: &dyn Fn(ColumnId) -> bool,
) -> f64 {
    let (found, _) = access::choices(table, stored, conditions, bound);
    let full = TABLE_ROWS * 0.5f64.powi(conditions.len().min(6) as i32);
    found.first().map_or(full, |choice| choice.rows.min(full)).max(1.0)
}
