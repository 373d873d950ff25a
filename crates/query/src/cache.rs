//! Plans kept for the next execution of the same statement.

use crate::plan::Planned;
use assize_catalog::{Table, TemporaryTables};
use assize_model::{SchemaVersion, TableId};
use assize_sql::Query;
use assize_values::{Collation, EvalContext, SqlMode, SqlType, TimeZone, Value, literal_type};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// Plans kept at most.
const PLANS_MAX: usize = 2048;

/// What a plan depends on besides the tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Fingerprint {
    /// SQL modes.
    pub sql_mode: SqlMode,
    /// Collation of literals.
    pub collation: Collation,
    /// Time zone: constants of timestamp columns are read in it.
    pub time_zone: TimeZone,
    /// `div_precision_increment`, which types of quotients depend on.
    pub division: u8,
    /// `group_concat_max_len`, which types of results depend on.
    pub concat: u64,
    /// The selected database.
    pub database: Option<Arc<str>>,
    /// Types of the parameters.
    pub params: Vec<SqlType>,
}

impl Fingerprint {
    /// Of this session and these parameters.
    pub fn of(ctx: &EvalContext, database: Option<Arc<str>>, params: &[Value]) -> Self {
        Fingerprint {
            sql_mode: ctx.sql_mode,
            collation: ctx.connection_collation,
            time_zone: ctx.time_zone,
            division: ctx.div_precision_increment,
            concat: ctx.group_concat_max_len,
            database,
            params: params.iter().map(|p| class(p, ctx.connection_collation)).collect(),
        }
    }
}

/// A parameter's type as plans depend on it: the length of text does not matter.
fn class(value: &Value, collation: Collation) -> SqlType {
    match value {
        Value::Text(_) => SqlType::VarChar { length: 0, collation },
        Value::Bytes(_) => SqlType::VarBinary { length: 0 },
        other => literal_type(other, collation),
    }
}

/// A plan in the cache.
#[derive(Debug)]
pub struct Cached {
    /// The statement that it was made for, literals and all.
    pub statement: Query,
    /// What it depends on.
    pub fingerprint: Fingerprint,
    /// The tables it reads, as they were.
    pub tables: Vec<(TableId, SchemaVersion, Arc<str>, Arc<str>)>,
    /// The plan.
    pub planned: Planned,
}

impl Cached {
    /// Of a fresh plan.
    pub fn new(statement: Query, fingerprint: Fingerprint, planned: Planned) -> Self {
        let of = |t: &Arc<Table>| (t.id, t.version, t.database.clone(), t.name.clone());
        Cached { statement, fingerprint, tables: planned.tables.iter().map(of).collect(), planned }
    }

    /// Whether a temporary table has the name of one of its tables. Then the statement may mean another table here.
    fn is_shadowed(&self, temporary: &TemporaryTables) -> bool {
        !temporary.is_empty()
            && self.tables.iter().any(|(_, _, database, name)| temporary.find(database, name).is_some())
    }

    /// Whether every table is still what it was, under its name.
    fn is_current(&self, catalog: &assize_catalog::Catalog) -> bool {
        self.tables.iter().all(|(id, version, database, name)| {
            catalog.table(database, name).is_some_and(|t| t.id == *id && t.version == *version)
        })
    }
}

/// The cache: by digest, then by exact statement and fingerprint.
#[derive(Debug, Default)]
pub struct Plans {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_digest: HashMap<u64, Vec<(u64, Arc<Cached>)>>,
    /// Digests by when they were last used, oldest first.
    order: BTreeMap<u64, u64>,
    clock: u64,
    count: usize,
}

/// Plans of one digest kept at most: the same text with different literals.
const VARIANTS_MAX: usize = 8;

impl Plans {
    /// The plan of a statement, if it is there and still good for a session with these temporary tables.
    pub fn find(
        &self,
        digest: u64,
        statement: &Query,
        fingerprint: &Fingerprint,
        catalog: &assize_catalog::Catalog,
        temporary: &TemporaryTables,
    ) -> Option<Arc<Cached>> {
        let mut inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = inner
            .by_digest
            .get(&digest)?
            .iter()
            .find(|(_, c)| c.fingerprint == *fingerprint && c.statement == *statement)
            .map(|(_, c)| c.clone())?;
        if found.is_shadowed(temporary) {
            // It is as good as ever for other sessions.
            return None;
        }
        if found.is_current(catalog) {
            return Some(found);
        }
        if let Some(variants) = inner.by_digest.get_mut(&digest) {
            variants.retain(|(_, c)| !Arc::ptr_eq(c, &found));
            inner.count -= 1;
        }
        None
    }

    /// Keeps a plan; the oldest goes if there are too many.
    pub fn keep(&self, digest: u64, cached: Arc<Cached>) {
        let mut inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        inner.clock += 1;
        let now = inner.clock;
        let variants = inner.by_digest.entry(digest).or_default();
        let before = variants.len();
        if variants.len() >= VARIANTS_MAX {
            variants.remove(0);
        }
        variants.push((now, cached));
        let grown = variants.len() - before;
        inner.count += grown;
        inner.order.insert(now, digest);
        while inner.count > PLANS_MAX {
            let Some((_, oldest)) = inner.order.pop_first() else { break };
            if let Some(gone) = inner.by_digest.remove(&oldest) {
                inner.count -= gone.len();
            }
        }
        // Entries of plans that were replaced stay in the order until they are the oldest; bound them too.
        while inner.order.len() > PLANS_MAX * 4 {
            inner.order.pop_first();
        }
    }
}
