//! Foreign keys: a child's parent must exist, and what happens to children when their parent goes or changes.
//!
//! ```text
//!   insert of a child    reads   the parent's existence key (or its unique entry)
//!   delete of a parent   writes  that key, and checks the range of the child's index that would refer to it
//! ```
//!
//! Whichever of two racing transactions commits second is refused: the child because the key it read was
//! written, the parent because something appeared in the range it checked. Neither touches the parent's row,
//! so a parent may be updated while children are added.

use crate::dml::writer::{Stored, Writer, Writers};
use crate::expr::{Row, Runtime};
use crate::show::quote::quote_name;
use assize_catalog::{Catalog, ForeignKey, Index, ReferentialAction, Table, key};
use assize_model::{ErrorCode, Key, KeyRange, Slot, SqlError};
use assize_ports::{BoxFuture, Direction, ReadIntent, ScanRequest, ScanShards, Transaction};
use assize_values::Value;
use std::fmt::Write;
use std::sync::Arc;

/// How deep cascades may go.
pub const CASCADE_DEPTH_MAX: usize = 15;
/// Children are read in pages of so many.
const PAGE: usize = 256;

/// A foreign key seen from its child.
#[derive(Clone, Debug)]
pub struct ParentRule {
    /// The constraint.
    pub key: ForeignKey,
    /// Ordinals of its columns in the child.
    pub columns: Vec<usize>,
    /// The parent; `None` if it is not there, and then no child may be inserted.
    pub parent: Option<Arc<Table>>,
    /// The parent's unique index that it refers to, with the position within the key's columns of each part.
    pub target: Option<(Index, Vec<usize>)>,
}

/// A foreign key seen from its parent.
#[derive(Clone, Debug)]
pub struct ChildRule {
    /// The constraint.
    pub key: ForeignKey,
    /// The child.
    pub child: Arc<Table>,
    /// Ordinals of its columns in the child.
    pub child_columns: Vec<usize>,
    /// Ordinals of the columns it refers to in this table.
    pub parent_columns: Vec<usize>,
    /// The child's index that begins with its columns.
    pub index: Index,
}

impl ParentRule {
    /// The foreign keys of a table.
    pub fn all(table: &Arc<Table>, catalog: &Catalog) -> Vec<ParentRule> {
        table.foreign_keys.iter().map(|key| ParentRule::new(table, key, catalog)).collect()
    }

    /// One foreign key of a table.
    pub fn new(table: &Arc<Table>, key: &ForeignKey, catalog: &Catalog) -> ParentRule {
        let same = key.parent_database == table.database && key.parent_table == table.name;
        let parent = if same {
            Some(table.clone())
        } else {
            catalog.table(&key.parent_database, &key.parent_table).cloned()
        };
        let target = parent.as_ref().and_then(|parent| {
            let ids: Option<Vec<u32>> =
                key.parent_columns.iter().map(|name| parent.column(name).map(|c| c.id)).collect();
            let ids = ids?;
            let index = parent.unique_index_on(&ids)?.clone();
            let order = index
                .parts
                .iter()
                .map(|part| ids.iter().position(|id| *id == part.column))
                .collect::<Option<Vec<usize>>>()?;
            Some((index, order))
        });
        let columns = key.columns.iter().filter_map(|id| table.ordinal_by_id(*id)).collect();
        ParentRule { key: key.clone(), columns, parent, target }
    }

    /// The values of the key in a row of the child; `None` if one is NULL, and nothing is referred to.
    fn values(&self, row: &[Value]) -> Option<Vec<Value>> {
        let values: Vec<Value> = self.columns.iter().map(|i| row[*i].clone()).collect();
        (!values.iter().any(Value::is_null)).then_some(values)
    }

    /// Whether the parent of a child's row exists. `child` is the row itself, which may be its own parent.
    pub async fn holds(
        &self,
        child: &Table,
        row: &[Value],
        writers: &mut Writers,
        rt: &mut Runtime<'_>,
    ) -> Result<bool, SqlError> {
        let Some(values) = self.values(row) else {
            return Ok(true);
        };
        let (Some(parent), Some((index, order))) = (&self.parent, &self.target) else {
            return Ok(false);
        };
        let ordered: Vec<Value> = order.iter().map(|at| values[*at].clone()).collect();
        let itself = parent.id == child.id;
        if itself {
            let own: Vec<&Value> = index.parts.iter().map(|part| child.value_of(part, row)).collect();
            let same = own.iter().zip(&ordered).zip(&index.parts).all(|((a, b), part)| {
                let sql_type = &child.indexed_column(part).sql_type;
                let (mut left, mut right) = (Vec::new(), Vec::new());
                key::put_value(&mut left, a, sql_type);
                key::put_value(&mut right, b, sql_type);
                left == right
            });
            if same {
                return Ok(true);
            }
        }
        let (slot, key) = if index.is_primary() {
            let key = parent.row_key_of(&ordered);
            match parent.slot_of_primary(&ordered) {
                Some(slot) => (slot, key),
                None => return Ok(false),
            }
        } else {
            parent.unique_key(index, &ordered)
        };
        if !itself && writers.known_parents.contains(&key) {
            return Ok(true);
        }
        let txn = rt.context.transaction();
        let found = if index.is_primary() {
            // The row may be updated by others meanwhile; only its coming and going matters.
            txn.get(parent.id, slot, &key::existence_key(&key), ReadIntent::Check).await?;
            txn.get(parent.id, slot, &key, ReadIntent::Plain).await?.is_some()
        } else {
            txn.get(parent.id, slot, &key, ReadIntent::Check).await?.is_some()
        };
        if found && !itself {
            writers.known_parents.insert(key);
        }
        Ok(found)
    }

    /// The key at which a parent with these values would be; `None` if there can be none.
    fn parent_place(&self, values: &[Value]) -> Option<(Slot, Key)> {
        let (parent, (index, order)) = (self.parent.as_ref()?, self.target.as_ref()?);
        let ordered: Vec<Value> = order.iter().map(|at| values[*at].clone()).collect();
        if index.is_primary() {
            Some((parent.slot_of_primary(&ordered)?, parent.row_key_of(&ordered)))
        } else {
            Some(parent.unique_key(index, &ordered))
        }
    }

    /// Checks that the parents of stored rows exist, in one request: error 1452 if one does not.
    pub async fn all_hold(
        &self,
        child: &Table,
        rows: &[Row],
        txn: &mut dyn Transaction,
    ) -> Result<(), SqlError> {
        let mut places = Vec::new();
        for row in rows {
            let Some(values) = self.values(row) else { continue };
            places.push(self.parent_place(&values).ok_or_else(|| self.error(child))?);
        }
        let Some(parent) = &self.parent else {
            return if places.is_empty() { Ok(()) } else { Err(self.error(child)) };
        };
        let found = txn.get_many(parent.id, &places, ReadIntent::Plain).await?;
        if found.iter().any(Option::is_none) { Err(self.error(child)) } else { Ok(()) }
    }

    /// Error 1452.
    pub fn error(&self, child: &Table) -> SqlError {
        SqlError::new(
            ErrorCode::NoReferencedRowFor,
            format!(
                "Cannot add or update a child row: a foreign key constraint fails ({})",
                constraint_text(child, &self.key)
            ),
        )
    }
}

impl ChildRule {
    /// The foreign keys that refer to a table.
    pub fn all(table: &Arc<Table>, catalog: &Catalog) -> Vec<ChildRule> {
        catalog
            .children_of(&table.database, &table.name)
            .filter_map(|(child, key)| {
                let child = if child.id == table.id { table } else { child };
                let parent_columns: Option<Vec<usize>> =
                    key.parent_columns.iter().map(|name| table.ordinal(name)).collect();
                let child_columns: Option<Vec<usize>> =
                    key.columns.iter().map(|id| child.ordinal_by_id(*id)).collect();
                let index = child.index_starting_with(&key.columns)?.clone();
                Some(ChildRule {
                    key: key.clone(),
                    child: child.clone(),
                    child_columns: child_columns?,
                    parent_columns: parent_columns?,
                    index,
                })
            })
            .collect()
    }

    fn values(&self, row: &[Value]) -> Option<Vec<Value>> {
        let values: Vec<Value> = self.parent_columns.iter().map(|i| row[*i].clone()).collect();
        (!values.iter().any(Value::is_null)).then_some(values)
    }

    /// The range of the child's index in which rows that refer to these values lie, and on which shards.
    fn range(&self, values: &[Value]) -> (KeyRange, ScanShards) {
        let range = KeyRange::prefix(&self.child.index_seek(&self.index, values));
        let shards = if self.index.unique && !self.index.is_primary() {
            if self.index.parts.len() == values.len() {
                ScanShards::Slot(self.child.unique_key(&self.index, values).0)
            } else {
                ScanShards::All
            }
        } else {
            match self.child.sharding_column.and_then(|s| self.child_columns.iter().position(|c| *c == s)) {
                Some(at) => {
                    let ordinal = self.child_columns[at];
                    let sql_type = &self.child.columns[ordinal].sql_type;
                    ScanShards::Slot(key::slot_of_value(&values[at], sql_type))
                }
                None => ScanShards::All,
            }
        };
        (range, shards)
    }

    /// A page of the children that refer to a row of the parent; the range stays checked until commit.
    async fn children(
        &self,
        range: KeyRange,
        shards: ScanShards,
        limit: usize,
        rt: &mut Runtime<'_>,
    ) -> Result<(Vec<Stored>, Option<KeyRange>), SqlError> {
        let txn = rt.context.transaction();
        let page = txn
            .scan(ScanRequest {
                table: self.child.id,
                range,
                shards,
                direction: Direction::Forward,
                limit,
                intent: ReadIntent::Check,
            })
            .await?;
        let mut out = Vec::with_capacity(page.rows.len());
        if self.index.is_primary() {
            for (key, value) in page.rows {
                let row = key::decode_row(&self.child, &value)?;
                out.push(Stored { key, row });
            }
        } else {
            let places: Vec<(Slot, Key)> = page
                .rows
                .iter()
                .map(|(key, value)| key::row_of_entry(key, value))
                .collect::<Result<_, _>>()?;
            let rows = txn.get_many(self.child.id, &places, ReadIntent::Plain).await?;
            for ((_, key), value) in places.into_iter().zip(rows) {
                let value = value.ok_or_else(|| dangling(&self.child, &self.index))?;
                let row = key::decode_row(&self.child, &value)?;
                out.push(Stored { key, row });
            }
        }
        Ok((out, page.rest))
    }

    /// Error 1451.
    fn error(&self) -> SqlError {
        SqlError::new(
            ErrorCode::RowIsReferencedBy,
            format!(
                "Cannot delete or update a parent row: a foreign key constraint fails ({})",
                constraint_text(&self.child, &self.key)
            ),
        )
    }
}

/// Error 1194: an index entry without its row.
pub fn dangling(table: &Table, index: &Index) -> SqlError {
    SqlError::new(
        ErrorCode::CrashedOnUsage,
        format!(
            "index '{}' of table '{}.{}' has an entry without a row",
            index.name, table.database, table.name
        ),
    )
}

/// `` `db`.`child`, CONSTRAINT `name` FOREIGN KEY (`a`) REFERENCES `parent` (`b`) ON DELETE CASCADE ``.
fn constraint_text(child: &Table, key: &ForeignKey) -> String {
    let names = |list: Vec<&str>| list.into_iter().map(quote_name).collect::<Vec<_>>().join(", ");
    let own = names(key.columns.iter().filter_map(|id| child.column_by_id(*id)).map(|c| &*c.name).collect());
    let theirs = names(key.parent_columns.iter().map(|n| &**n).collect());
    let mut parent = quote_name(&key.parent_table);
    if key.parent_database != child.database {
        parent = format!("{}.{parent}", quote_name(&key.parent_database));
    }
    let mut out = format!(
        "{}.{}, CONSTRAINT {} FOREIGN KEY ({own}) REFERENCES {parent} ({theirs})",
        quote_name(&child.database),
        quote_name(&child.name),
        quote_name(&key.name),
    );
    for (when, action) in [("DELETE", key.on_delete), ("UPDATE", key.on_update)] {
        let action = match action {
            ReferentialAction::NoAction => continue,
            ReferentialAction::Restrict => "RESTRICT",
            ReferentialAction::Cascade => "CASCADE",
            ReferentialAction::SetNull => "SET NULL",
        };
        let _ = write!(out, " ON {when} {action}");
    }
    out
}

/// Checks that the parents of a new or changed row exist. `old` is the row before: references that it had
/// already need no look.
pub async fn check_parents(
    writer: &Writer,
    row: &[Value],
    old: Option<&[Value]>,
    writers: &mut Writers,
    rt: &mut Runtime<'_>,
) -> Result<(), SqlError> {
    for rule in &writer.parents {
        if old.is_some_and(|old| rule.columns.iter().all(|i| old[*i] == row[*i])) {
            continue;
        }
        if !rule.holds(&writer.table, row, writers, rt).await? {
            return Err(rule.error(&writer.table));
        }
    }
    Ok(())
}

/// Deletes a row with everything that follows from it.
pub fn delete_row<'a>(
    writer: &'a Arc<Writer>,
    old: &'a Stored,
    depth: usize,
    writers: &'a mut Writers,
    rt: &'a mut Runtime<'_>,
) -> BoxFuture<'a, Result<(), SqlError>> {
    Box::pin(async move {
        check_depth(depth)?;
        // First the row itself, so that a cascade that comes round to it finds it gone.
        writer.put_gone(old, rt)?;
        if !writer.children.is_empty() {
            writers.known_parents.clear();
        }
        for rule in &writer.children {
            let Some(values) = rule.values(&old.row) else { continue };
            apply_to_children(rule, rule.key.on_delete, &values, None, old, depth, writers, rt).await?;
        }
        Ok(())
    })
}

/// Changes a row with everything that follows from it. The new row's own values have been checked.
pub fn update_row<'a>(
    writer: &'a Arc<Writer>,
    old: &'a Stored,
    row: &'a [Value],
    depth: usize,
    writers: &'a mut Writers,
    rt: &'a mut Runtime<'_>,
) -> BoxFuture<'a, Result<Key, SqlError>> {
    Box::pin(async move {
        check_depth(depth)?;
        let key = writer.table.row_key(row).unwrap_or_else(|| old.key.clone());
        let slot = writer.table.row_slot(row, &key);
        if let Some(duplicate) = writer.duplicate_of(row, &key, slot, Some(old), rt).await? {
            return Err(duplicate.error);
        }
        writer.put_changed(old, row, &key, slot, rt)?;
        for rule in &writer.children {
            let Some(values) = rule.values(&old.row) else { continue };
            let new: Vec<Value> = rule.parent_columns.iter().map(|i| row[*i].clone()).collect();
            if new == values {
                continue;
            }
            writers.known_parents.clear();
            apply_to_children(rule, rule.key.on_update, &values, Some(&new), old, depth, writers, rt).await?;
        }
        Ok(key)
    })
}

fn check_depth(depth: usize) -> Result<(), SqlError> {
    if depth > CASCADE_DEPTH_MAX {
        return Err(SqlError::new(
            ErrorCode::CascadeTooDeep,
            format!("Foreign key cascade delete/update exceeds max depth of {CASCADE_DEPTH_MAX}."),
        ));
    }
    Ok(())
}

/// Does to the children of `values` what their foreign key says. `new` are the values after an update of the
/// parent, `None` if it is deleted.
#[allow(clippy::too_many_arguments)]
async fn apply_to_children(
    rule: &ChildRule,
    action: ReferentialAction,
    values: &[Value],
    new: Option<&[Value]>,
    parent: &Stored,
    depth: usize,
    writers: &mut Writers,
    rt: &mut Runtime<'_>,
) -> Result<(), SqlError> {
    let (range, shards) = rule.range(values);
    rt.context.transaction().check_range(rule.child.id, range.clone());
    let mut rest = Some(range);
    while let Some(range) = rest {
        rt.context.check_killed()?;
        let restricts = matches!(action, ReferentialAction::NoAction | ReferentialAction::Restrict);
        let (children, left) = rule.children(range, shards, if restricts { 2 } else { PAGE }, rt).await?;
        rest = left;
        for child in children {
            // A row that refers to itself does not keep itself from going.
            if child.key == parent.key
                && child.key.0.starts_with(&rule.child.id.0.to_be_bytes())
                && new.is_none()
            {
                continue;
            }
            match action {
                ReferentialAction::NoAction | ReferentialAction::Restrict => return Err(rule.error()),
                ReferentialAction::Cascade if new.is_none() => {
                    let writer = writers.of(&rule.child, rt)?;
                    delete_row(&writer, &child, depth + 1, writers, rt).await?;
                }
                ReferentialAction::Cascade | ReferentialAction::SetNull => {
                    let writer = writers.of(&rule.child, rt)?;
                    let mut row: Row = child.row.clone();
                    for (at, ordinal) in rule.child_columns.iter().enumerate() {
                        row[*ordinal] = match (action, new) {
                            (ReferentialAction::Cascade, Some(new)) => new[at].clone(),
                            _ => Value::Null,
                        };
                    }
                    writer.generate(&mut row, 1, rt).await?;
                    writer.check(&row, rt).await?;
                    // The other foreign keys of the child that share a column must still hold.
                    for other in writer.parents.iter().filter(|p| p.key.name != rule.key.name) {
                        let changed = other.columns.iter().any(|i| child.row[*i] != row[*i]);
                        if changed && !other.holds(&writer.table, &row, writers, rt).await? {
                            return Err(other.error(&writer.table));
                        }
                    }
                    update_row(&writer, &child, &row, depth + 1, writers, rt).await?;
                }
            }
        }
    }
    Ok(())
}
