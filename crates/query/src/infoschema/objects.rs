//! What the catalog holds, as tables.

use super::{Definition, Needs, Source, optional, shown_indexes, text, yes_no};
use crate::ddl::charset;
use crate::expr::Row;
use crate::show::columns::{column_default, column_key, extra};
use crate::sizes::{cardinality, figures_of};
use assize_catalog::{IndexPart, ReferentialAction, Table};
use assize_values::format::{data_type, type_name};
use assize_values::{SqlType, Value};

const CATALOG: &str = "def";

pub(super) const TABLES: &[Definition] = &[
    Definition {
        database: "information_schema",
        name: "SCHEMATA",
        columns: "CATALOG_NAME SCHEMA_NAME DEFAULT_CHARACTER_SET_NAME DEFAULT_COLLATION_NAME SQL_PATH:t512? \
                  DEFAULT_ENCRYPTION:t3",
        needs: Needs::Nothing,
        rows: schemata,
    },
    Definition {
        database: "information_schema",
        name: "TABLES",
        columns: "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_TYPE ENGINE:t64? VERSION:i? ROW_FORMAT:t10? \
                  TABLE_ROWS:u? AVG_ROW_LENGTH:u? DATA_LENGTH:u? MAX_DATA_LENGTH:u? INDEX_LENGTH:u? DATA_FREE:u? \
                  AUTO_INCREMENT:u? CREATE_TIME:d? UPDATE_TIME:d? CHECK_TIME:d? TABLE_COLLATION:t64? CHECKSUM:i? \
                  CREATE_OPTIONS:t256? TABLE_COMMENT:t2048?",
        needs: Needs::Figures,
        rows: tables,
    },
    Definition {
        database: "information_schema",
        name: "COLUMNS",
        columns: "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME:t64? ORDINAL_POSITION:u COLUMN_DEFAULT:l? \
                  IS_NULLABLE:t3 DATA_TYPE:l? CHARACTER_MAXIMUM_LENGTH:i? CHARACTER_OCTET_LENGTH:i? \
                  NUMERIC_PRECISION:u? NUMERIC_SCALE:u? DATETIME_PRECISION:u? CHARACTER_SET_NAME:t64? \
                  COLLATION_NAME:t64? COLUMN_TYPE:l COLUMN_KEY:t3 EXTRA:t256? PRIVILEGES:t154? COLUMN_COMMENT:t1024 \
                  GENERATION_EXPRESSION:l SRS_ID:u?",
        needs: Needs::Nothing,
        rows: columns,
    },
    Definition {
        database: "information_schema",
        name: "STATISTICS",
        columns: "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME NON_UNIQUE:i INDEX_SCHEMA INDEX_NAME:t64? SEQ_IN_INDEX:u \
                  COLUMN_NAME:t64? COLLATION:t1? CARDINALITY:i? SUB_PART:i? PACKED:t1? NULLABLE:t3 INDEX_TYPE:t11 \
                  COMMENT:t8 INDEX_COMMENT:t2048 IS_VISIBLE:t3 EXPRESSION:l?",
        needs: Needs::Figures,
        rows: statistics,
    },
    Definition {
        database: "information_schema",
        name: "TABLE_CONSTRAINTS",
        columns: "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME:t64? TABLE_SCHEMA TABLE_NAME \
                  CONSTRAINT_TYPE:t11 ENFORCED:t3",
        needs: Needs::Nothing,
        rows: table_constraints,
    },
    Definition {
        database: "information_schema",
        name: "KEY_COLUMN_USAGE",
        columns: "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME:t64? TABLE_CATALOG TABLE_SCHEMA TABLE_NAME \
                  COLUMN_NAME:t64? ORDINAL_POSITION:u POSITION_IN_UNIQUE_CONSTRAINT:u? REFERENCED_TABLE_SCHEMA:t64? \
                  REFERENCED_TABLE_NAME:t64? REFERENCED_COLUMN_NAME:t64?",
        needs: Needs::Nothing,
        rows: key_column_usage,
    },
    Definition {
        database: "information_schema",
        name: "REFERENTIAL_CONSTRAINTS",
        columns: "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME:t64? UNIQUE_CONSTRAINT_CATALOG \
                  UNIQUE_CONSTRAINT_SCHEMA UNIQUE_CONSTRAINT_NAME:t64? MATCH_OPTION:t7 UPDATE_RULE:t11 DELETE_RULE:t11 \
                  TABLE_NAME REFERENCED_TABLE_NAME",
        needs: Needs::Nothing,
        rows: referential_constraints,
    },
    Definition {
        database: "information_schema",
        name: "CHECK_CONSTRAINTS",
        columns: "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME CHECK_CLAUSE:l",
        needs: Needs::Nothing,
        rows: check_constraints,
    },
    Definition {
        database: "information_schema",
        name: "VIEWS",
        columns: "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME VIEW_DEFINITION:l? CHECK_OPTION:t8? IS_UPDATABLE:t3? \
                  DEFINER:t288? SECURITY_TYPE:t7? CHARACTER_SET_CLIENT COLLATION_CONNECTION",
        needs: Needs::Nothing,
        rows: views,
    },
    Definition {
        database: "information_schema",
        name: "VIEW_TABLE_USAGE",
        columns: "VIEW_CATALOG VIEW_SCHEMA VIEW_NAME TABLE_CATALOG TABLE_SCHEMA TABLE_NAME",
        needs: Needs::Nothing,
        rows: view_tables,
    },
    Definition {
        database: "information_schema",
        name: "PARTITIONS",
        columns: "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME PARTITION_NAME:t64? SUBPARTITION_NAME:t64? \
                  PARTITION_ORDINAL_POSITION:u? SUBPARTITION_ORDINAL_POSITION:u? PARTITION_METHOD:t13? \
                  SUBPARTITION_METHOD:t13? PARTITION_EXPRESSION:t2048? SUBPARTITION_EXPRESSION:t2048? \
                  PARTITION_DESCRIPTION:l? TABLE_ROWS:u? AVG_ROW_LENGTH:u? DATA_LENGTH:u? MAX_DATA_LENGTH:u? \
                  INDEX_LENGTH:u? DATA_FREE:u? CREATE_TIME:d UPDATE_TIME:d? CHECK_TIME:d? CHECKSUM:i? \
                  PARTITION_COMMENT:l NODEGROUP:t256? TABLESPACE_NAME:t268?",
        needs: Needs::Figures,
        rows: partitions,
    },
    Definition {
        database: "information_schema",
        name: "ASSIZE_DROPPED",
        columns: "ID:u DATABASE_NAME TABLE_NAME:t64 CAUSE:t16 DROPPED_AT:d PURGED_AFTER:d",
        needs: Needs::Nothing,
        rows: dropped,
    },
    Definition {
        database: "information_schema",
        name: "USER_PRIVILEGES",
        columns: "GRANTEE:t292 TABLE_CATALOG:t512 PRIVILEGE_TYPE:t64 IS_GRANTABLE:t3",
        needs: Needs::Nothing,
        rows: user_privileges,
    },
    Definition {
        database: "information_schema",
        name: "SCHEMA_PRIVILEGES",
        columns: "GRANTEE:t292 TABLE_CATALOG:t512 TABLE_SCHEMA PRIVILEGE_TYPE IS_GRANTABLE:t3",
        needs: Needs::Nothing,
        rows: schema_privileges,
    },
    Definition {
        database: "information_schema",
        name: "TABLE_PRIVILEGES",
        columns: "GRANTEE:t292 TABLE_CATALOG:t512 TABLE_SCHEMA TABLE_NAME PRIVILEGE_TYPE IS_GRANTABLE:t3",
        needs: Needs::Nothing,
        rows: table_privileges,
    },
    Definition {
        database: "mysql",
        name: "user",
        columns: "Host:t255 User:t32 plugin:t64 authentication_string:l? account_locked:t1 password_expired:t1 \
                  ssl_type:t9",
        needs: Needs::Nothing,
        rows: mysql_user,
    },
    Definition {
        database: "mysql",
        name: "db",
        columns: "Host:t255 Db User:t32 Privileges:l",
        needs: Needs::Nothing,
        rows: mysql_db,
    },
    Definition {
        database: "mysql",
        name: "servers",
        columns: "Server_name:t64 Host:t255 Db:t64 Username:t64 Password:t64 Port:i Socket:t64 Wrapper:t64 Owner:t64",
        needs: Needs::Nothing,
        rows: mysql_servers,
    },
];

fn schemata(source: &Source) -> Vec<Row> {
    source
        .catalog
        .databases
        .values()
        .filter(|d| source.user.sees_database(&d.name))
        .map(|d| {
            vec![
                text(CATALOG),
                text(&d.name),
                text(charset::charset_name(d.collation)),
                text(charset::name(d.collation)),
                Value::Null,
                text("NO"),
            ]
        })
        .collect()
}

fn tables(source: &Source) -> Vec<Row> {
    let mut out: Vec<Row> = Vec::new();
    for database in ["information_schema", "performance_schema"] {
        for name in super::table_names(database) {
            let mut row = vec![text(CATALOG), text(database), text(name), text("SYSTEM VIEW")];
            row.resize(21, Value::Null);
            row[5] = Value::Int(10);
            row[20] = text("");
            out.push(row);
        }
    }
    for t in source.tables() {
        if t.view.is_some() {
            let mut row = vec![text(CATALOG), text(&t.database), text(&t.name), text("VIEW")];
            row.resize(21, Value::Null);
            row[14] = source.time(t.created_micros);
            row[20] = text("VIEW");
            out.push(row);
            continue;
        }
        let mut row = vec![
            text(CATALOG),
            text(&t.database),
            text(&t.name),
            text("BASE TABLE"),
            text(engine(t)),
            Value::Int(10),
            row_format(t),
        ];
        row.extend(figures_of(t, source.size(t)));
        row.extend([
            source.next_ids.get(&t.id).map_or(Value::Null, |n| Value::UInt(*n)),
            source.time(t.created_micros),
            Value::Null,
            Value::Null,
            text(charset::name(t.collation)),
            Value::Null,
            text(&options_text(t)),
            text(&t.comment),
        ]);
        out.push(row);
    }
    out
}

/// ENGINE of a table.
pub(crate) fn engine(table: &Table) -> &'static str {
    match table.foreign {
        None => super::server::INNODB,
        Some(_) => super::server::FEDERATED,
    }
}

/// ROW_FORMAT of a table.
pub(crate) fn row_format(table: &Table) -> Value {
    match table.foreign {
        None => text("Dynamic"),
        Some(_) => Value::Null,
    }
}

/// CREATE_OPTIONS of a table.
pub(crate) fn options_text(table: &Table) -> String {
    let shown = table.options.iter().filter(|(name, _)| !name.starts_with("PARTITION"));
    shown.map(|(name, value)| format!("{}={value}", name.to_lowercase())).collect::<Vec<_>>().join(" ")
}

fn columns(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for database in ["information_schema", "performance_schema", "mysql"] {
        for name in super::table_names(database) {
            for (i, c) in super::table_columns(database, name).unwrap_or_default().iter().enumerate() {
                let mut row = vec![
                    text(CATALOG),
                    text(database),
                    text(name),
                    text(&c.name),
                    Value::UInt(i as u64 + 1),
                    Value::Null,
                    yes_no(c.nullable),
                ];
                type_facts(&c.sql_type, &mut row);
                row.extend([text(""), text(""), text("select"), text(""), text(""), Value::Null]);
                out.push(row);
            }
        }
    }
    for t in source.tables() {
        for (i, c) in t.shown_columns().enumerate() {
            let mut row = vec![
                text(CATALOG),
                text(&t.database),
                text(&t.name),
                text(&c.name),
                Value::UInt(i as u64 + 1),
                column_default(c),
                yes_no(c.nullable),
            ];
            type_facts(&c.sql_type, &mut row);
            row.push(text(column_key(t, c)));
            row.push(text(&extra(c)));
            row.push(text("select,insert,update,references"));
            row.push(text(&c.comment));
            row.push(text(c.generated.as_ref().map_or("", |g| &g.expression)));
            row.push(Value::Null);
            out.push(row);
        }
    }
    out
}

/// DATA_TYPE to COLUMN_TYPE.
fn type_facts(sql_type: &SqlType, row: &mut Row) {
    let collation = charset::of_type(sql_type);
    let (chars, octets): (Option<u64>, Option<u64>) = match sql_type {
        SqlType::Char { length, collation } | SqlType::VarChar { length, collation } => {
            (Some(u64::from(*length)), Some(u64::from(*length) * u64::from(charset::max_bytes(*collation))))
        }
        SqlType::Binary { length } | SqlType::VarBinary { length } => {
            (Some(u64::from(*length)), Some(u64::from(*length)))
        }
        SqlType::Text { size, collation } => {
            let bytes = blob_max(*size);
            (Some(bytes / u64::from(charset::max_bytes(*collation))), Some(bytes))
        }
        SqlType::Blob { size } => (Some(blob_max(*size)), Some(blob_max(*size))),
        SqlType::Enum { labels, collation } | SqlType::Set { labels, collation } => {
            let lengths = labels.iter().map(|l| l.chars().count() as u64);
            let chars = match sql_type {
                SqlType::Set { .. } => lengths.sum::<u64>() + labels.len().saturating_sub(1) as u64,
                _ => lengths.max().unwrap_or(0),
            };
            (Some(chars), Some(chars * u64::from(charset::max_bytes(*collation))))
        }
        _ => (None, None),
    };
    // A text of 65,535 bytes is one of 65,535 characters to MySQL, whatever its character set.
    let chars = match sql_type {
        SqlType::Text { .. } => octets,
        _ => chars,
    };
    let (precision, scale): (Option<u64>, Option<u64>) = match sql_type {
        SqlType::Int(int) => {
            use assize_values::IntWidth::*;
            let digits = match (int.width, int.unsigned) {
                (Tiny, _) => 3,
                (Small, _) => 5,
                (Medium, _) => 7,
                (Int, _) => 10,
                (Big, false) => 19,
                (Big, true) => 20,
            };
            (Some(digits), Some(0))
        }
        SqlType::Float { digits, .. } => match digits {
            Some((m, d)) => (Some(u64::from(*m)), Some(u64::from(*d))),
            None => (Some(12), None),
        },
        SqlType::Double { digits, .. } => match digits {
            Some((m, d)) => (Some(u64::from(*m)), Some(u64::from(*d))),
            None => (Some(22), None),
        },
        SqlType::Decimal { precision, scale, .. } => (Some(u64::from(*precision)), Some(u64::from(*scale))),
        SqlType::Bit { length } => (Some(u64::from(*length)), None),
        _ => (None, None),
    };
    let fsp = match sql_type {
        SqlType::Time { fsp } | SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => {
            Some(u64::from(*fsp))
        }
        _ => None,
    };
    let int = |n: Option<u64>| n.map_or(Value::Null, |n| Value::Int(n as i64));
    let uint = |n: Option<u64>| n.map_or(Value::Null, Value::UInt);
    row.push(text(data_type(sql_type)));
    row.push(int(chars));
    row.push(int(octets));
    row.push(uint(precision));
    row.push(uint(scale));
    row.push(uint(fsp));
    row.push(optional(collation.map(charset::charset_name)));
    row.push(optional(collation.map(charset::name)));
    row.push(text(&type_name(sql_type)));
}

fn blob_max(size: assize_values::BlobSize) -> u64 {
    match size {
        assize_values::BlobSize::Tiny => 255,
        assize_values::BlobSize::Normal => 65_535,
        assize_values::BlobSize::Medium => 16_777_215,
        assize_values::BlobSize::Long => 4_294_967_295,
    }
}

/// The name of a key part's column; NULL for an expression.
pub(crate) fn key_column(table: &Table, part: &IndexPart) -> Value {
    match table.key_expression(part) {
        Some(_) => Value::Null,
        None => text(&table.indexed_column(part).name),
    }
}

/// The expression of a key part; NULL for a column.
pub(crate) fn key_expression(table: &Table, part: &IndexPart) -> Value {
    table.key_expression(part).map_or(Value::Null, text)
}

fn statistics(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for t in source.tables() {
        for index in shown_indexes(t) {
            for (i, part) in index.parts.iter().enumerate() {
                let column = t.indexed_column(part);
                out.push(vec![
                    text(CATALOG),
                    text(&t.database),
                    text(&t.name),
                    Value::Int(i64::from(!index.unique)),
                    text(&t.database),
                    text(&index.name),
                    Value::UInt(i as u64 + 1),
                    key_column(t, part),
                    text(if part.descending { "D" } else { "A" }),
                    cardinality(source.size(t), index, i),
                    part.prefix.map_or(Value::Null, |n| Value::Int(n.into())),
                    Value::Null,
                    text(if column.nullable { "YES" } else { "" }),
                    text("BTREE"),
                    text(""),
                    text(&index.comment),
                    yes_no(!index.invisible),
                    key_expression(t, part),
                ]);
            }
        }
    }
    out
}

fn table_constraints(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for t in source.tables() {
        let mut add = |name: &str, kind: &str, enforced: bool| {
            out.push(vec![
                text(CATALOG),
                text(&t.database),
                text(name),
                text(&t.database),
                text(&t.name),
                text(kind),
                yes_no(enforced),
            ]);
        };
        for index in shown_indexes(t).filter(|i| i.unique) {
            add(&index.name, if index.is_primary() { "PRIMARY KEY" } else { "UNIQUE" }, true);
        }
        for key in &t.foreign_keys {
            add(&key.name, "FOREIGN KEY", true);
        }
        for check in &t.checks {
            add(&check.name, "CHECK", check.enforced);
        }
    }
    out
}

fn key_column_usage(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for t in source.tables() {
        let head = |name: &str, column: &str, at: usize| {
            vec![
                text(CATALOG),
                text(&t.database),
                text(name),
                text(CATALOG),
                text(&t.database),
                text(&t.name),
                text(column),
                Value::UInt(at as u64 + 1),
            ]
        };
        for index in shown_indexes(t).filter(|i| i.unique) {
            for (i, part) in index.parts.iter().enumerate().filter(|(_, p)| t.key_expression(p).is_none()) {
                let mut row = head(&index.name, &t.indexed_column(part).name, i);
                row.resize(12, Value::Null);
                out.push(row);
            }
        }
        for key in &t.foreign_keys {
            for (i, (id, theirs)) in key.columns.iter().zip(&key.parent_columns).enumerate() {
                let own = t.column_by_id(*id).map_or("", |c| &*c.name);
                let mut row = head(&key.name, own, i);
                row.push(Value::UInt(i as u64 + 1));
                row.push(text(&key.parent_database));
                row.push(text(&key.parent_table));
                row.push(text(theirs));
                out.push(row);
            }
        }
    }
    out
}

/// The name of a referential action.
pub(crate) fn action_name(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
    }
}

fn referential_constraints(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for t in source.tables() {
        for key in &t.foreign_keys {
            let unique = source.catalog.table(&key.parent_database, &key.parent_table).and_then(|parent| {
                let ids: Vec<u32> =
                    key.parent_columns.iter().filter_map(|n| parent.column(n)).map(|c| c.id).collect();
                parent.unique_index_on(&ids).map(|i| i.name.clone())
            });
            out.push(vec![
                text(CATALOG),
                text(&t.database),
                text(&key.name),
                text(CATALOG),
                text(&key.parent_database),
                optional(unique.as_deref()),
                text("NONE"),
                text(action_name(key.on_update)),
                text(action_name(key.on_delete)),
                text(&t.name),
                text(&key.parent_table),
            ]);
        }
    }
    out
}

fn check_constraints(source: &Source) -> Vec<Row> {
    source
        .tables()
        .flat_map(|t| t.checks.iter().map(move |check| (t, check)))
        .map(|(t, check)| vec![text(CATALOG), text(&t.database), text(&check.name), text(&check.expression)])
        .collect()
}

fn partitions(source: &Source) -> Vec<Row> {
    source
        .tables()
        .filter(|t| t.view.is_none())
        .map(|t| {
            let mut row = vec![text(CATALOG), text(&t.database), text(&t.name)];
            row.resize(12, Value::Null);
            row.extend(figures_of(t, source.size(t)));
            row.push(source.time(t.created_micros));
            row.extend([Value::Null, Value::Null, Value::Null, text(""), Value::Null, Value::Null]);
            row
        })
        .collect()
}

fn views(source: &Source) -> Vec<Row> {
    let row = |t: &Table| {
        let view = t.view.as_ref()?;
        let definer = format!("{}@{}", view.definer.0, view.definer.1);
        // Who may not see how a view is made sees that it is there.
        let sees = source.user.may("SHOW VIEW", Some(&t.database), Some(&t.name));
        Some(vec![
            text(CATALOG),
            text(&t.database),
            text(&t.name),
            text(if sees { &view.query } else { "" }),
            text(crate::ddl::view::check_name_of(view.check)),
            yes_no(view.updatable),
            text(&definer),
            text(crate::ddl::view::security_name(view.security)),
            text(&view.character_set_client),
            text(view.collation_connection.name()),
        ])
    };
    source.tables().filter_map(|t| row(t)).collect()
}

/// What each view is made of, as far as the user may know of it.
fn view_tables(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for t in source.tables() {
        let Some(view) = &t.view else { continue };
        let names = crate::ddl::view::tables_of(view);
        for (database, name) in names.iter().filter(|(d, n)| source.user.sees_table(d, n)) {
            out.push([CATALOG, &t.database, &t.name, CATALOG, database, name].map(text).to_vec());
        }
    }
    out
}

fn dropped(source: &Source) -> Vec<Row> {
    dropped_rows(source.catalog.as_ref(), &|micros| source.time(micros))
}

/// What is in the recycle bin, oldest first; a dropped database without tables has one row too.
pub(crate) fn dropped_rows(catalog: &assize_catalog::Catalog, time: &dyn Fn(i64) -> Value) -> Vec<Row> {
    let mut out = Vec::new();
    for entry in &catalog.dropped {
        let cause = match entry.cause {
            assize_catalog::DropCause::DropTable => "DROP TABLE",
            assize_catalog::DropCause::Truncate => "TRUNCATE",
            assize_catalog::DropCause::DropDatabase => "DROP DATABASE",
        };
        let mut add = |name: &str| {
            out.push(vec![
                Value::UInt(entry.id),
                text(&entry.database.name),
                text(name),
                text(cause),
                time(entry.dropped_micros),
                time(entry.dropped_micros + crate::ddl::recycle::KEPT_MICROS),
            ]);
        };
        if entry.tables.is_empty() {
            add("");
        }
        for table in &entry.tables {
            add(&table.name);
        }
    }
    out
}

fn grantee(user: &assize_catalog::User) -> Value {
    text(&format!("'{}'@'{}'", user.name, user.host))
}

fn visible_users(source: &Source) -> impl Iterator<Item = &std::sync::Arc<assize_catalog::User>> {
    let all = source.user.may("SELECT", Some("mysql"), None);
    let (name, host) = (source.user.name.clone(), source.user.host.clone());
    source.catalog.users.values().filter(move |u| all || (u.name == name && u.host == host))
}

fn expand(list: &[std::sync::Arc<str>], takes: fn(&assize_catalog::Privilege) -> bool) -> Vec<String> {
    if list.iter().any(|p| &**p == assize_catalog::ALL) {
        return assize_catalog::PRIVILEGES.iter().filter(|p| takes(p)).map(|p| p.name.to_string()).collect();
    }
    list.iter().map(|p| p.to_string()).collect()
}

fn user_privileges(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for user in visible_users(source) {
        let grantable = user.grant_option.iter().any(|l| l.is_empty());
        let mut names = expand(&user.global, |_| true);
        if names.is_empty() {
            names.push("USAGE".into());
        }
        for name in names {
            out.push(vec![grantee(user), text(CATALOG), text(&name), yes_no(grantable)]);
        }
    }
    out
}

fn schema_privileges(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for user in visible_users(source) {
        for (database, list) in &user.databases {
            let grantable = user.grant_option.contains(database);
            for name in expand(list, |p| p.database) {
                out.push(vec![grantee(user), text(CATALOG), text(database), text(&name), yes_no(grantable)]);
            }
        }
    }
    out
}

fn table_privileges(source: &Source) -> Vec<Row> {
    let mut out = Vec::new();
    for user in visible_users(source) {
        for ((database, table), list) in &user.tables {
            let level = format!("{database}.{table}");
            let grantable = user.grant_option.iter().any(|l| **l == *level);
            for name in expand(list, |p| p.table) {
                out.push(vec![
                    grantee(user),
                    text(CATALOG),
                    text(database),
                    text(table),
                    text(&name),
                    yes_no(grantable),
                ]);
            }
        }
    }
    out
}

fn mysql_user(source: &Source) -> Vec<Row> {
    visible_users(source)
        .map(|u| {
            vec![
                text(&u.host),
                text(&u.name),
                text(&u.plugin),
                // The verifier is nobody's business; whether there is one is.
                text(if u.verifier.is_empty() { "" } else { "*" }),
                text(if u.locked { "Y" } else { "N" }),
                text("N"),
                text(if u.require_tls { "ANY" } else { "" }),
            ]
        })
        .collect()
}

fn mysql_db(source: &Source) -> Vec<Row> {
    visible_users(source)
        .flat_map(|u| u.databases.iter().map(move |(database, list)| (u, database, list)))
        .map(|(u, database, list)| {
            let names: Vec<&str> = list.iter().map(|p| &**p).collect();
            vec![text(&u.host), text(database), text(&u.name), text(&names.join(","))]
        })
        .collect()
}

/// Foreign servers, for those who may make them or read this database. Nobody is shown a password.
fn mysql_servers(source: &Source) -> Vec<Row> {
    let user = &source.user;
    let sees = user.is_administrator()
        || user.may("SUPER", None, None)
        || user.may("SELECT", Some("mysql"), Some("servers"));
    let servers = source.catalog.servers.values().filter(|_| sees);
    servers
        .map(|server| {
            vec![
                text(&server.name),
                text(&server.host),
                text(&server.database),
                text(&server.user),
                text(""),
                Value::Int(server.port.into()),
                text(""),
                text(&server.wrapper),
                text(&server.owner),
            ]
        })
        .collect()
}
