//! Finding things by name.

use crate::{
    Catalog, Column, Database, Dropped, ForeignKey, Index, IndexPart, IndexState, Server, Table, User,
};
use assize_model::{ErrorCode, IndexId, SqlError, TableId};
use std::sync::Arc;

/// Databases whose tables are made up when they are asked for. Their names compare case-insensitively.
pub const VIRTUAL_DATABASES: [&str; 2] = ["information_schema", "performance_schema"];
/// Databases that come with the server and cannot be dropped.
pub const SYSTEM_DATABASES: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

impl Catalog {
    /// A database by name. `information_schema` and `performance_schema` are found in any case.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name).or_else(|| {
            let canonical = VIRTUAL_DATABASES.iter().find(|v| v.eq_ignore_ascii_case(name))?;
            self.databases.get(*canonical)
        })
    }

    /// A database by name, or error 1049.
    pub fn require_database(&self, name: &str) -> Result<&Arc<Database>, SqlError> {
        self.database(name)
            .ok_or_else(|| SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{name}'")))
    }

    /// A table by name.
    pub fn table(&self, database: &str, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(self.database(database)?.tables.get(name)?)
    }

    /// A table by name, or error 1146.
    pub fn require_table(&self, database: &str, name: &str) -> Result<&Arc<Table>, SqlError> {
        self.table(database, name).ok_or_else(|| {
            SqlError::new(ErrorCode::NoSuchTable, format!("Table '{database}.{name}' doesn't exist"))
        })
    }

    /// A table that holds rows, or error 1146, or 1347 for a view.
    pub fn require_base_table(&self, database: &str, name: &str) -> Result<&Arc<Table>, SqlError> {
        let table = self.require_table(database, name)?;
        match table.view {
            None => Ok(table),
            Some(_) => Err(wrong_kind(database, name, "BASE TABLE")),
        }
    }

    /// A foreign server by name, or error 1477.
    pub fn require_server(&self, name: &str) -> Result<&Arc<Server>, SqlError> {
        self.servers.get(name.to_lowercase().as_str()).ok_or_else(|| {
            SqlError::new(
                ErrorCode::ForeignServerDoesNotExist,
                format!(
                    "The foreign server name you are trying to reference does not exist. Data source error:  {name}"
                ),
            )
        })
    }

    /// A table by id.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// Every foreign key that refers to a table, with its child; the table's own among them.
    pub fn children_of<'a>(
        &'a self,
        database: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<Table>, &'a ForeignKey)> + 'a {
        let known = self.children.get(&(Arc::from(database), Arc::from(name)));
        let children = known.into_iter().flatten().filter_map(|id| self.tables.get(id));
        children.flat_map(move |child| {
            child
                .foreign_keys
                .iter()
                .filter(move |key| &*key.parent_database == database && &*key.parent_table == name)
                .map(move |key| (child, key))
        })
    }

    /// The newest entry of the recycle bin that holds a table of this name.
    pub fn dropped_table(&self, database: &str, name: &str) -> Option<(&Arc<Dropped>, &Arc<Table>)> {
        self.dropped.iter().rev().find_map(|dropped| {
            let table = dropped.tables.iter().find(|t| &*t.database == database && &*t.name == name)?;
            Some((dropped, table))
        })
    }

    /// The user whom a connection of this name from this host is: the most specific host pattern wins, and a
    /// named user before the anonymous one.
    pub fn authenticate(&self, name: &str, host: &str) -> Option<&Arc<User>> {
        self.users
            .values()
            .filter(|user| &*user.name == name || user.name.is_empty())
            .filter(|user| host_matches(&user.host, host))
            .max_by_key(|user| (host_specificity(&user.host), !user.name.is_empty()))
    }
}

impl Table {
    /// Whether its rows are on shards, as those of views and foreign tables are not.
    pub fn is_on_shards(&self) -> bool {
        self.view.is_none() && self.foreign.is_none()
    }

    /// A column by name, in any case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.ordinal(name).map(|i| &self.columns[i])
    }

    /// Where a column stands, by name in any case.
    pub fn ordinal(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| !c.hidden && same_name(&c.name, name))
    }

    /// The columns that were declared: all but those of functional key parts.
    pub fn shown_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|c| !c.hidden)
    }

    /// The expression of a functional key part; `None` for one that is a column.
    pub fn key_expression(&self, part: &IndexPart) -> Option<&str> {
        let column = self.column_by_id(part.column).filter(|c| c.hidden)?;
        column.generated.as_ref().map(|g| &*g.expression)
    }

    /// Forgets the hidden columns of indexes that are no longer there.
    pub fn forget_idle_columns(&mut self) {
        let indexes = &self.indexes;
        let used = |id: u32| indexes.iter().flat_map(|i| &i.parts).any(|p| p.column == id);
        self.columns.retain(|c| !c.hidden || used(c.id));
    }

    /// A column by id.
    pub fn column_by_id(&self, id: u32) -> Option<&Column> {
        self.ordinal_by_id(id).map(|i| &self.columns[i])
    }

    /// Where a column stands, by id.
    pub fn ordinal_by_id(&self, id: u32) -> Option<usize> {
        // Nearly always column n has id n.
        match self.columns.get(id as usize) {
            Some(column) if column.id == id => Some(id as usize),
            _ => self.columns.iter().position(|c| c.id == id),
        }
    }

    /// An index by name, in any case.
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|i| same_name(&i.name, name) && (i.id != IndexId(0) || !self.hidden_row_id))
    }

    /// The primary key, if one was declared.
    pub fn primary_key(&self) -> Option<&Index> {
        (!self.hidden_row_id).then(|| &self.indexes[0])
    }

    /// Indexes other than the primary key.
    pub fn secondary_indexes(&self) -> impl Iterator<Item = &Index> {
        self.indexes.iter().skip(1)
    }

    /// The declared indexes that readers may use.
    pub fn readable_indexes(&self) -> impl Iterator<Item = &Index> {
        self.indexes
            .iter()
            .filter(|i| (i.id != IndexId(0) || !self.hidden_row_id) && i.state == IndexState::Public)
    }

    /// The AUTO_INCREMENT column.
    pub fn auto_increment(&self) -> Option<usize> {
        self.columns.iter().position(|c| c.auto_increment)
    }

    /// A table option by name.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }

    /// An index whose first columns are these, in this order and without prefixes: what a foreign key needs
    /// on its child.
    pub fn index_starting_with(&self, columns: &[u32]) -> Option<&Index> {
        self.indexes.iter().find(|index| {
            index.parts.len() >= columns.len()
                && index.parts.iter().zip(columns).all(|(p, id)| p.column == *id && p.prefix.is_none())
        })
    }

    /// A unique index of exactly these columns in any order: what a foreign key may refer to.
    pub fn unique_index_on(&self, columns: &[u32]) -> Option<&Index> {
        self.indexes.iter().find(|index| {
            index.unique
                && index.parts.len() == columns.len()
                && index.parts.iter().all(|p| p.prefix.is_none() && columns.contains(&p.column))
        })
    }
}

impl Index {
    /// Whether this is the primary index.
    pub fn is_primary(&self) -> bool {
        self.id == IndexId(0)
    }
}

/// Error 1347: a table where a view is wanted, or a view where a table is.
pub fn wrong_kind(database: &str, name: &str, wanted: &str) -> SqlError {
    SqlError::new(ErrorCode::NotBaseTable, format!("'{database}.{name}' is not {wanted}"))
}

/// Whether two names of columns, indexes or constraints are the same: MySQL compares them case-insensitively.
pub fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

/// Whether a host pattern of a user (`%`, `10.%`, `localhost`, `10.0.0.0/255.0.0.0`) matches a client's
/// address. The loopback addresses are `localhost`.
pub fn host_matches(pattern: &str, host: &str) -> bool {
    let loopback = matches!(host, "localhost" | "127.0.0.1" | "::1");
    if pattern.eq_ignore_ascii_case("localhost") && loopback {
        return true;
    }
    if let Some((network, mask)) = pattern.split_once('/') {
        let number = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
        let mask = number(mask).or_else(|| {
            let bits = mask.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
            Some(u32::MAX.checked_shl(32 - bits).unwrap_or(0))
        });
        return match (number(network), mask, number(host)) {
            (Some(network), Some(mask), Some(host)) => host & mask == network & mask,
            _ => false,
        };
    }
    like(&pattern.to_ascii_lowercase(), &host.to_ascii_lowercase())
        || (loopback && host != "localhost" && like(&pattern.to_ascii_lowercase(), "localhost"))
}

/// How narrow a host pattern is: the more before the first wildcard, the narrower.
fn host_specificity(pattern: &str) -> usize {
    match pattern.find(['%', '_', '/']) {
        Some(at) => at,
        None => usize::MAX,
    }
}

/// SQL's LIKE with `%`, `_` and `\`, byte for byte.
pub fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to resume after the last `%`: the pattern behind it, and the text that it has not yet swallowed.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('%') => {
                resume = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('_') => Some(1),
            Some('\\') if p + 1 < pattern.len() => (pattern[p + 1] == text[t]).then_some(2),
            Some(c) => (*c == text[t]).then_some(1),
            None => None,
        };
        match (step, resume) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((behind, swallowed))) => {
                p = behind;
                t = swallowed + 1;
                resume = Some((behind, swallowed + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_matches_as_sql_does() {
        assert!(like("%", ""));
        assert!(like("a%c", "abbbc"));
        assert!(like("a_c", "abc"));
        assert!(like("shop\\_%", "shop_1"));
        assert!(!like("shop\\_%", "shopx1"));
        assert!(like("%ab%ab", "abxabab"));
        assert!(!like("a", "ab"));
        assert!(!like("ab", "a"));
    }

    #[test]
    fn loopback_addresses_are_localhost() {
        assert!(host_matches("localhost", "127.0.0.1"));
        assert!(host_matches("%", "10.1.2.3"));
        assert!(host_matches("10.%", "10.1.2.3"));
        assert!(host_matches("10.1.0.0/255.255.0.0", "10.1.2.3"));
        assert!(host_matches("10.1.0.0/16", "10.1.2.3"));
        assert!(!host_matches("10.1.0.0/16", "10.2.2.3"));
        assert!(!host_matches("localhost", "10.1.2.3"));
    }
}
