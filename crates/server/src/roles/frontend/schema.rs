//! The catalog in an operator's words.

use assize_catalog::{Catalog, Index, IndexState, Table};
use assize_model::TableId;
use assize_ports::{ColumnInfo, DatabaseInfo, IndexInfo, SchemaInfo, TableInfo, TableSize};
use assize_values::format::type_name;
use std::collections::BTreeMap;

/// Databases and tables, by name, with what is known of their sizes.
pub fn describe(catalog: &Catalog, sizes: &BTreeMap<TableId, TableSize>) -> SchemaInfo {
    // Views and foreign tables hold nothing that an operator could look after.
    let is_table = |id: &TableId| catalog.table_by_id(*id).is_some_and(|table| table.is_on_shards());
    let databases = catalog.databases.values().map(|database| DatabaseInfo {
        id: database.id.0,
        name: database.name.to_string(),
        tables: database.tables.values().filter(|id| is_table(id)).count() as u32,
        collation: database.collation.name().to_owned(),
    });
    let tables = catalog.databases.values().flat_map(|database| database.tables.values());
    SchemaInfo {
        version: catalog.version.0,
        databases: databases.collect(),
        tables: tables
            .filter(|id| is_table(id))
            .filter_map(|id| catalog.table_by_id(*id))
            .map(|table| describe_table(table, sizes.get(&table.id)))
            .collect(),
    }
}

fn describe_table(table: &Table, size: Option<&TableSize>) -> TableInfo {
    let columns = table.shown_columns().map(|column| ColumnInfo {
        name: column.name.to_string(),
        kind: type_name(&column.sql_type),
        is_nullable: column.nullable,
    });
    let sharding = table.sharding_column.and_then(|ordinal| table.columns.get(ordinal));
    TableInfo {
        database: table.database.to_string(),
        name: table.name.to_string(),
        id: table.id.0,
        version: table.version.0,
        sharding_columns: sharding.map(|column| column.name.to_string()).into_iter().collect(),
        columns: columns.collect(),
        indexes: table.indexes.iter().map(|index| describe_index(table, index)).collect(),
        size: size.copied(),
    }
}

fn describe_index(table: &Table, index: &Index) -> IndexInfo {
    let columns = index.parts.iter().map(|part| match table.key_expression(part) {
        Some(expression) => format!("({expression})"),
        None => table.indexed_column(part).name.to_string(),
    });
    IndexInfo {
        name: index.name.to_string(),
        columns: columns.collect(),
        is_unique: index.unique,
        state: match index.state {
            IndexState::Public => "public",
            IndexState::WriteOnly => "being built",
        }
        .to_owned(),
    }
}
