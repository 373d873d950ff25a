//! information_schema, performance_schema, mysql, sys: tables that are made up when they are asked for.
//!
//! Each is a list of columns and a function from what is known ([`Source`]) to rows. They go through the planner
//! like any table, so clients may join, filter and aggregate them.

pub(crate) mod cluster;
pub(crate) mod objects;
pub(crate) mod server;

use crate::bind::{VirtualColumn, VirtualRows, VirtualTable, VirtualTables};
use crate::cluster::{Facts, Wanted};
use crate::expr::Row;
use assize_catalog::{Catalog, IndexState, Table, User, VIRTUAL_DATABASES};
use assize_model::{SqlError, TableId};
use assize_ports::{BoxFuture, ProcessInfo, StatementContext, TableSize};
use assize_values::{BlobSize, Collation, SqlType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What virtual tables are made of.
pub(crate) struct Source {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) user: Arc<User>,
    pub(crate) processes: Vec<ProcessInfo>,
    pub(crate) status: Vec<(String, String)>,
    pub(crate) session_variables: Vec<(Arc<str>, Value)>,
    pub(crate) global_variables: Vec<(Arc<str>, Value)>,
    pub(crate) digests: Vec<(String, u64, u64, u64, u64)>,
    /// How much tables hold, if that is wanted, as far as it is known.
    pub(crate) sizes: BTreeMap<TableId, TableSize>,
    /// Next AUTO_INCREMENT values, if they are wanted, of tables that have them.
    pub(crate) next_ids: BTreeMap<TableId, u64>,
    pub(crate) time_zone: assize_values::TimeZone,
    /// What the cluster answered, for tables that need it.
    pub(crate) cluster: Facts,
}

impl Source {
    async fn gather(
        definition: &Definition,
        wanted: &[usize],
        context: &mut dyn StatementContext,
    ) -> Result<Source, SqlError> {
        let catalog = context.catalog();
        let (mut next_ids, mut sizes) = (BTreeMap::new(), BTreeMap::new());
        if definition.needs == Needs::Figures {
            let visible = visible_tables(&catalog, &context.user());
            if definition.wants(wanted, |column| column == "AUTO_INCREMENT") {
                for table in visible.iter().filter(|t| t.auto_increment().is_some() && t.is_on_shards()) {
                    next_ids.insert(table.id, context.transaction().next_id(table.id).await?);
                }
            }
            if definition.wants(wanted, crate::sizes::is_told_by) {
                sizes = crate::sizes::ask(visible, context).await;
            }
        }
        let cluster = match definition.needs {
            Needs::Cluster(wanted) => crate::cluster::ask(wanted, context).await?,
            Needs::Nothing | Needs::Figures => Facts::default(),
        };
        let connection = context.connection_id();
        let server = context.server();
        let (processes, status, digests) = (server.processes(), server.status(connection), server.digests());
        Ok(Source {
            user: context.user(),
            processes,
            status,
            digests,
            session_variables: context.system_variables(false),
            global_variables: context.system_variables(true),
            sizes,
            next_ids,
            time_zone: context.eval().time_zone,
            cluster,
            catalog,
        })
    }

    /// Every stored table that the user may know of, ordered by database and name.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.catalog
            .databases
            .values()
            .flat_map(|d| d.tables.values())
            .filter_map(|id| self.catalog.tables.get(id))
            .filter(|t| self.user.sees_table(&t.database, &t.name))
    }

    /// How much a table holds, if that is known and wanted.
    pub(crate) fn size(&self, table: &Table) -> Option<&TableSize> {
        self.sizes.get(&table.id)
    }

    /// A time as the session sees it.
    pub(crate) fn time(&self, micros: i64) -> Value {
        let seconds = micros.div_euclid(1_000_000) * 1_000_000;
        Value::DateTime(assize_values::temporal::timestamp_to_local(seconds, &self.time_zone))
    }

    /// Likewise, to the microsecond.
    pub(crate) fn moment(&self, micros: i64) -> Value {
        moment(micros, &self.time_zone)
    }
}

fn visible_tables(catalog: &Catalog, user: &User) -> Vec<Arc<Table>> {
    catalog.tables.values().filter(|t| user.sees_table(&t.database, &t.name)).cloned().collect()
}

/// A time in a zone, to the microsecond.
pub(crate) fn moment(micros: i64, zone: &assize_values::TimeZone) -> Value {
    Value::DateTime(assize_values::temporal::timestamp_to_local(micros, zone))
}

/// What a table needs besides what is at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    Nothing,
    /// Figures of stored tables, as far as columns that show them are wanted: their sizes, their next AUTO_INCREMENT values.
    Figures,
    Cluster(Wanted),
}

/// A virtual table.
struct Definition {
    database: &'static str,
    name: &'static str,
    /// `NAME:type`, separated by spaces; see [`column`].
    columns: &'static str,
    needs: Needs,
    rows: fn(&Source) -> Vec<Row>,
}

/// A column from its notation: `tN` VARCHAR(N), `l` LONGTEXT, `i` BIGINT, `u` BIGINT UNSIGNED, `d` DATETIME,
/// `m` DATETIME(6), `j` JSON, `f` DOUBLE; a `?` behind it allows NULL.
fn column(notation: &str) -> VirtualColumn {
    let (name, kind) = notation.split_once(':').unwrap_or((notation, "t64"));
    let nullable = kind.ends_with('?');
    let kind = kind.trim_end_matches('?');
    let collation = Collation::UTF8MB3_GENERAL_CI;
    let sql_type = match kind.as_bytes() {
        [b't', length @ ..] => SqlType::VarChar {
            length: std::str::from_utf8(length).ok().and_then(|n| n.parse().ok()).unwrap_or(64),
            collation,
        },
        b"l" => SqlType::Text { size: BlobSize::Long, collation },
        b"u" => SqlType::BIGINT_UNSIGNED,
        b"d" => SqlType::DateTime { fsp: 0 },
        b"m" => SqlType::DateTime { fsp: 6 },
        b"j" => SqlType::Json,
        b"f" => SqlType::DOUBLE,
        _ => SqlType::BIGINT,
    };
    VirtualColumn { name: name.into(), sql_type, nullable }
}

impl Definition {
    fn columns(&self) -> Vec<VirtualColumn> {
        self.columns.split_whitespace().map(column).collect()
    }

    /// Whether a column of this kind is among those at the positions that are wanted.
    fn wants(&self, wanted: &[usize], kind: fn(&str) -> bool) -> bool {
        let names = self.columns.split_whitespace().map(|column| column.split(':').next().unwrap_or(column));
        names.enumerate().any(|(at, name)| kind(name) && wanted.contains(&at))
    }
}

fn definitions() -> impl Iterator<Item = &'static Definition> {
    objects::TABLES.iter().chain(server::TABLES).chain(cluster::TABLES)
}

/// Finds the virtual tables of the system's databases.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTables;

impl VirtualTables for SystemTables {
    fn table(&self, database: &str, name: &str) -> Option<VirtualTable> {
        let any_case = VIRTUAL_DATABASES.iter().any(|v| v.eq_ignore_ascii_case(database));
        let found = definitions().find(|d| {
            d.database.eq_ignore_ascii_case(database)
                && (d.name == name || (any_case && d.name.eq_ignore_ascii_case(name)))
        })?;
        Some(VirtualTable { name: found.name.into(), columns: found.columns(), rows: Arc::new(Rows(found)) })
    }

    fn has_database(&self, database: &str) -> bool {
        VIRTUAL_DATABASES.iter().any(|v| v.eq_ignore_ascii_case(database))
    }
}

struct Rows(&'static Definition);

impl VirtualRows for Rows {
    fn rows<'a>(
        &'a self,
        context: &'a mut dyn StatementContext,
        wanted: &'a [usize],
    ) -> BoxFuture<'a, Result<Vec<Vec<Value>>, SqlError>> {
        Box::pin(async move {
            let source = Source::gather(self.0, wanted, context).await?;
            Ok((self.0.rows)(&source))
        })
    }
}

/// Names of the virtual tables of a database.
pub fn table_names(database: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> =
        definitions().filter(|d| d.database.eq_ignore_ascii_case(database)).map(|d| d.name).collect();
    names.sort_unstable();
    names
}

/// Columns of a virtual table, for SHOW COLUMNS.
pub(crate) fn table_columns(database: &str, name: &str) -> Option<Vec<VirtualColumn>> {
    SystemTables.table(database, name).map(|t| t.columns)
}

pub(crate) fn text(value: &str) -> Value {
    Value::text(value)
}

pub(crate) fn optional(value: Option<&str>) -> Value {
    value.map_or(Value::Null, Value::text)
}

pub(crate) fn yes_no(value: bool) -> Value {
    Value::text(if value { "YES" } else { "NO" })
}

/// Indexes that are shown: declared and complete.
pub(crate) fn shown_indexes(table: &Table) -> impl Iterator<Item = &assize_catalog::Index> {
    table.indexes.iter().filter(|i| i.state == IndexState::Public && !(i.is_primary() && table.hidden_row_id))
}
