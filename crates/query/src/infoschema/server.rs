//! What the server knows besides the catalog, as tables; and tables that are empty here.

use super::{Definition, Needs, Source, optional, text};
use crate::expr::Row;
use crate::show::variable_text;
use assize_values::Value;
use assize_values::collation::{COLLATIONS, Charset};

fn none(_: &Source) -> Vec<Row> {
    Vec::new()
}

macro_rules! empty {
    ($database:literal $name:literal $columns:literal) => {
        Definition { database: $database, name: $name, columns: $columns, needs: Needs::Nothing, rows: none }
    };
}

pub(super) const TABLES: &[Definition] = &[
    Definition {
        database: "information_schema",
        name: "ENGINES",
        columns: "ENGINE SUPPORT:t8 COMMENT:t80 TRANSACTIONS:t3? XA:t3? SAVEPOINTS:t3?",
        needs: Needs::Nothing,
        rows: |_| engine_rows(),
    },
    Definition {
        database: "information_schema",
        name: "CHARACTER_SETS",
        columns: "CHARACTER_SET_NAME DEFAULT_COLLATE_NAME DESCRIPTION:t2048 MAXLEN:u",
        needs: Needs::Nothing,
        rows: |_| {
            let row = |c: &assize_values::collation::CharsetInfo| {
                let default = c.charset.default_collation().name();
                vec![text(c.name), text(default), text(c.description), Value::UInt(c.max_length.into())]
            };
            Charset::all().iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "COLLATIONS",
        columns: "COLLATION_NAME CHARACTER_SET_NAME ID:u IS_DEFAULT:t3 IS_COMPILED:t3 SORTLEN:u PAD_ATTRIBUTE:t9",
        needs: Needs::Nothing,
        rows: |_| {
            let row = |c: &assize_values::collation::CollationInfo| {
                vec![
                    text(c.name),
                    text(c.charset.name()),
                    Value::UInt(c.id.0.into()),
                    text(if c.default { "Yes" } else { "" }),
                    text("Yes"),
                    Value::UInt(c.sort_length.into()),
                    text(if c.pad_space { "PAD SPACE" } else { "NO PAD" }),
                ]
            };
            COLLATIONS.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "COLLATION_CHARACTER_SET_APPLICABILITY",
        columns: "COLLATION_NAME CHARACTER_SET_NAME",
        needs: Needs::Nothing,
        rows: |_| COLLATIONS.iter().map(|c| vec![text(c.name), text(c.charset.name())]).collect(),
    },
    Definition {
        database: "information_schema",
        name: "PROCESSLIST",
        columns: "ID:u USER:t32 HOST:t261 DB:t64? COMMAND:t16 TIME:i STATE:t64? INFO:t65535?",
        needs: Needs::Nothing,
        rows: process_rows,
    },
    Definition {
        database: "information_schema",
        name: "PLUGINS",
        columns: "PLUGIN_NAME PLUGIN_VERSION:t20 PLUGIN_STATUS:t10 PLUGIN_TYPE:t80 PLUGIN_TYPE_VERSION:t20 \
                  PLUGIN_LIBRARY:t64? PLUGIN_LIBRARY_VERSION:t20? PLUGIN_AUTHOR:t64? PLUGIN_DESCRIPTION:l? \
                  PLUGIN_LICENSE:t80? LOAD_OPTION:t64",
        needs: Needs::Nothing,
        rows: |_| {
            let row = |(name, kind): &(&str, &str)| {
                vec![
                    text(name),
                    text("1.0"),
                    text("ACTIVE"),
                    text(kind),
                    text("1.0"),
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    Value::Null,
                    text("Apache-2.0"),
                    text("FORCE"),
                ]
            };
            PLUGINS.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "KEYWORDS",
        columns: "WORD:t128? RESERVED:i?",
        needs: Needs::Nothing,
        rows: |_| {
            let row = |word: &&str| vec![text(word), Value::Int(1)];
            RESERVED.iter().map(row).collect()
        },
    },
    Definition {
        database: "information_schema",
        name: "GLOBAL_VARIABLES",
        columns: "VARIABLE_NAME VARIABLE_VALUE:t2048?",
        needs: Needs::Nothing,
        rows: |s| variables(&s.global_variables),
    },
    Definition {
        database: "information_schema",
        name: "SESSION_VARIABLES",
        columns: "VARIABLE_NAME VARIABLE_VALUE:t2048?",
        needs: Needs::Nothing,
        rows: |s| variables(&s.session_variables),
    },
    Definition {
        database: "performance_schema",
        name: "global_variables",
        columns: "VARIABLE_NAME VARIABLE_VALUE:t1024?",
        needs: Needs::Nothing,
        rows: |s| variables(&s.global_variables),
    },
    Definition {
        database: "performance_schema",
        name: "session_variables",
        columns: "VARIABLE_NAME VARIABLE_VALUE:t1024?",
        needs: Needs::Nothing,
        rows: |s| variables(&s.session_variables),
    },
    Definition {
        database: "performance_schema",
        name: "global_status",
        columns: "VARIABLE_NAME VARIABLE_VALUE:t1024?",
        needs: Needs::Nothing,
        rows: |s| s.status.iter().map(|(n, v)| vec![text(n), text(v)]).collect(),
    },
    Definition {
        database: "performance_schema",
        name: "session_status",
        columns: "VARIABLE_NAME VARIABLE_VALUE:t1024?",
        needs: Needs::Nothing,
        rows: |s| s.status.iter().map(|(n, v)| vec![text(n), text(v)]).collect(),
    },
    Definition {
        database: "performance_schema",
        name: "processlist",
        columns: "ID:u USER:t32? HOST:t261? DB:t64? COMMAND:t16? TIME:i? STATE:t64? INFO:l?",
        needs: Needs::Nothing,
        rows: process_rows,
    },
    Definition {
        database: "performance_schema",
        name: "events_statements_summary_by_digest",
        columns: "DIGEST_TEXT:l? COUNT_STAR:u SUM_TIMER_WAIT:u SUM_ROWS_SENT:u SUM_ERRORS:u",
        needs: Needs::Nothing,
        rows: |s| {
            let row = |(digest, count, micros, rows, errors): &(String, u64, u64, u64, u64)| {
                vec![
                    text(digest),
                    Value::UInt(*count),
                    // Picoseconds, as the performance schema counts.
                    Value::UInt(micros.saturating_mul(1_000_000)),
                    Value::UInt(*rows),
                    Value::UInt(*errors),
                ]
            };
            s.digests.iter().map(row).collect()
        },
    },
    Definition {
        database: "sys",
        name: "version",
        columns: "sys_version:t8 mysql_version:t64",
        needs: Needs::Nothing,
        rows: |s| {
            let version = s.session_variables.iter().find(|(n, _)| &**n == "version");
            vec![vec![text("2.1.2"), version.map_or(Value::Null, |(_, v)| v.clone())]]
        },
    },
    empty!("information_schema" "TRIGGERS" "TRIGGER_CATALOG TRIGGER_SCHEMA TRIGGER_NAME EVENT_MANIPULATION:t6 \
        EVENT_OBJECT_CATALOG EVENT_OBJECT_SCHEMA EVENT_OBJECT_TABLE ACTION_ORDER:u ACTION_CONDITION:l? \
        ACTION_STATEMENT:l ACTION_ORIENTATION:t3 ACTION_TIMING:t6 ACTION_REFERENCE_OLD_TABLE:t64? \
        ACTION_REFERENCE_NEW_TABLE:t64? ACTION_REFERENCE_OLD_ROW:t3 ACTION_REFERENCE_NEW_ROW:t3 CREATED:d \
        SQL_MODE:t512 DEFINER:t288 CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"),
    empty!("information_schema" "ROUTINES" "SPECIFIC_NAME ROUTINE_CATALOG ROUTINE_SCHEMA ROUTINE_NAME ROUTINE_TYPE:t9 \
        DATA_TYPE:l? CHARACTER_MAXIMUM_LENGTH:i? CHARACTER_OCTET_LENGTH:i? NUMERIC_PRECISION:u? NUMERIC_SCALE:u? \
        DATETIME_PRECISION:u? CHARACTER_SET_NAME:t64? COLLATION_NAME:t64? DTD_IDENTIFIER:l? ROUTINE_BODY:t8 \
        ROUTINE_DEFINITION:l? EXTERNAL_NAME:i? EXTERNAL_LANGUAGE:t64 PARAMETER_STYLE:t3 IS_DETERMINISTIC:t3 \
        SQL_DATA_ACCESS:t17 SQL_PATH:i? SECURITY_TYPE:t7 CREATED:d LAST_ALTERED:d SQL_MODE:t512 ROUTINE_COMMENT:l \
        DEFINER:t288 CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"),
    empty!("information_schema" "PARAMETERS" "SPECIFIC_CATALOG SPECIFIC_SCHEMA SPECIFIC_NAME ORDINAL_POSITION:u \
        PARAMETER_MODE:t5? PARAMETER_NAME:t64? DATA_TYPE:l CHARACTER_MAXIMUM_LENGTH:i? CHARACTER_OCTET_LENGTH:i? \
        NUMERIC_PRECISION:u? NUMERIC_SCALE:i? DATETIME_PRECISION:u? CHARACTER_SET_NAME:t64? COLLATION_NAME:t64? \
        DTD_IDENTIFIER:l ROUTINE_TYPE:t9"),
    empty!("information_schema" "EVENTS" "EVENT_CATALOG EVENT_SCHEMA EVENT_NAME DEFINER:t288 TIME_ZONE EVENT_BODY:t3 \
        EVENT_DEFINITION:l EVENT_TYPE:t9 EXECUTE_AT:d? INTERVAL_VALUE:t256? INTERVAL_FIELD:t18? SQL_MODE:t512 STARTS:d? \
        ENDS:d? STATUS:t21 ON_COMPLETION:t12 CREATED:d LAST_ALTERED:d LAST_EXECUTED:d? EVENT_COMMENT:t2048 ORIGINATOR:u \
        CHARACTER_SET_CLIENT COLLATION_CONNECTION DATABASE_COLLATION"),
    empty!("information_schema" "FILES" "FILE_ID:i? FILE_NAME:l? FILE_TYPE:t256? TABLESPACE_NAME:t268 \
        TABLE_CATALOG:t0 TABLE_SCHEMA:t0? TABLE_NAME:t0? LOGFILE_GROUP_NAME:t256? LOGFILE_GROUP_NUMBER:i? ENGINE:t64 \
        FULLTEXT_KEYS:t0? DELETED_ROWS:t0? UPDATE_COUNT:t0? FREE_EXTENTS:i? TOTAL_EXTENTS:i? EXTENT_SIZE:i? \
        INITIAL_SIZE:i? MAXIMUM_SIZE:i? AUTOEXTEND_SIZE:i? CREATION_TIME:t0? LAST_UPDATE_TIME:t0? LAST_ACCESS_TIME:t0? \
        RECOVER_TIME:t0? TRANSACTION_COUNTER:t0? VERSION:i? ROW_FORMAT:t256? TABLE_ROWS:t0? AVG_ROW_LENGTH:t0? \
        DATA_LENGTH:t0? MAX_DATA_LENGTH:t0? INDEX_LENGTH:t0? DATA_FREE:i? CREATE_TIME:t0? UPDATE_TIME:t0? CHECK_TIME:t0? \
        CHECKSUM:t0? STATUS:t256? EXTRA:t256?"),
    empty!("information_schema" "COLUMN_PRIVILEGES" "GRANTEE:t292 TABLE_CATALOG:t512 TABLE_SCHEMA TABLE_NAME \
        COLUMN_NAME PRIVILEGE_TYPE IS_GRANTABLE:t3"),
    empty!("information_schema" "COLUMN_STATISTICS" "SCHEMA_NAME TABLE_NAME COLUMN_NAME HISTOGRAM:j"),
    empty!("information_schema" "TABLESPACES" "TABLESPACE_NAME ENGINE TABLESPACE_TYPE:t64? LOGFILE_GROUP_NAME:t64? \
        EXTENT_SIZE:u? AUTOEXTEND_SIZE:u? MAXIMUM_SIZE:u? NODEGROUP_ID:u? TABLESPACE_COMMENT:t2048?"),
    empty!("information_schema" "INNODB_TABLES" "TABLE_ID:u NAME:t655 FLAG:i N_COLS:i SPACE:i ROW_FORMAT:t12? \
        ZIP_PAGE_SIZE:u SPACE_TYPE:t10? INSTANT_COLS:i TOTAL_ROW_VERSIONS:i"),
    empty!("information_schema" "PROFILING" "QUERY_ID:i SEQ:i STATE:t30 DURATION:f"),
    empty!("performance_schema" "replication_connection_status" "CHANNEL_NAME GROUP_NAME:t36 SERVICE_STATE:t10"),
    empty!("performance_schema" "replication_group_members" "CHANNEL_NAME MEMBER_ID:t36 MEMBER_HOST:t255 MEMBER_PORT:i? \
        MEMBER_STATE:t64 MEMBER_ROLE:t64 MEMBER_VERSION:t64 MEMBER_COMMUNICATION_STACK:t64"),
    empty!("mysql" "tables_priv" "Host:t255 Db User:t32 Table_name Grantor:t288 Timestamp:d Table_priv:t200 Column_priv:t64"),
    empty!("mysql" "columns_priv" "Host:t255 Db User:t32 Table_name Column_name Timestamp:d Column_priv:t64"),
    empty!("mysql" "role_edges" "FROM_HOST:t255 FROM_USER:t32 TO_HOST:t255 TO_USER:t32 WITH_ADMIN_OPTION:t1"),
    empty!("mysql" "default_roles" "HOST:t255 USER:t32 DEFAULT_ROLE_HOST:t255 DEFAULT_ROLE_USER:t32"),
    empty!("mysql" "procs_priv" "Host:t255 Db User:t32 Routine_name Routine_type:t9 Grantor:t288 Proc_priv:t64 Timestamp:d"),
    empty!("mysql" "proc" "db name type:t9 specific_name language:t3 sql_data_access:t17 is_deterministic:t3 \
        security_type:t7 param_list:l returns:l body:l definer:t288 created:d modified:d sql_mode:t512 comment:l"),
    empty!("mysql" "event" "db name body:l definer:t288"),
    empty!("mysql" "func" "name ret:i dl:t128 type:t9"),
    empty!("mysql" "plugin" "name dl:t128"),
    empty!("mysql" "time_zone" "Time_zone_id:u Use_leap_seconds:t1"),
    empty!("mysql" "time_zone_name" "Name Time_zone_id:u"),
    empty!("mysql" "help_topic" "help_topic_id:u name help_category_id:u description:l example:l url:l"),
    empty!("mysql" "general_log" "event_time:d user_host:l thread_id:u server_id:u command_type:t64 argument:l"),
    empty!("mysql" "slow_log" "start_time:d user_host:l query_time:d lock_time:d rows_sent:i rows_examined:i db:t512 \
        last_insert_id:i insert_id:i server_id:u sql_text:l thread_id:u"),
];

/// Authentication plugins and the engine, as PLUGINS lists them.
pub(crate) const PLUGINS: &[(&str, &str)] = &[
    ("caching_sha2_password", "AUTHENTICATION"),
    ("mysql_native_password", "AUTHENTICATION"),
    ("InnoDB", "STORAGE ENGINE"),
];

/// The engine of tables on shards. Clients ask for it by this name.
pub(crate) const INNODB: &str = "InnoDB";
/// That of foreign tables.
pub(crate) const FEDERATED: &str = "FEDERATED";

/// The engines, with whether they have transactions, XA and savepoints.
pub(crate) fn engine_rows() -> Vec<Row> {
    let engine = |name, support, comment, xa| {
        vec![text(name), text(support), text(comment), text("YES"), text(xa), text("YES")]
    };
    vec![
        engine(INNODB, "DEFAULT", "Distributed transactions over shards, row versions, foreign keys", "NO"),
        engine(FEDERATED, "YES", "Tables on MySQL and MariaDB servers, within the transaction by XA", "YES"),
    ]
}

fn process_rows(source: &Source) -> Vec<Row> {
    let all = source.user.may("PROCESS", None, None);
    let mine = source.user.name.clone();
    source.processes.iter().filter(|p| all || p.user == mine).map(|p| process_row(p, true)).collect()
}

/// A line of the process list; without `full` the statement is cut at 100 characters.
pub(crate) fn process_row(p: &assize_ports::ProcessInfo, full: bool) -> Row {
    let statement =
        p.statement.as_deref().map(|s| if full { s.to_string() } else { s.chars().take(100).collect() });
    vec![
        Value::UInt(p.id.into()),
        text(&p.user),
        text(&p.host),
        optional(p.database.as_deref()),
        text(p.command),
        Value::Int(p.seconds as i64),
        text(p.state),
        optional(statement.as_deref()),
    ]
}

fn variables(list: &[(std::sync::Arc<str>, Value)]) -> Vec<Row> {
    list.iter().map(|(name, value)| vec![text(name), text(&variable_text(value))]).collect()
}

/// MySQL 8's reserved words that are not names in SQL:2003.
const RESERVED: &[&str] = &[
    "ACCESSIBLE",
    "ADD",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BEFORE",
    "BETWEEN",
    "BIGINT",
    "BINARY",
    "BLOB",
    "BOTH",
    "BY",
    "CALL",
    "CASCADE",
    "CASE",
    "CHANGE",
    "CHAR",
    "CHARACTER",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "CONDITION",
    "CONSTRAINT",
    "CONTINUE",
    "CONVERT",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "CURSOR",
    "DATABASE",
    "DATABASES",
    "DEC",
    "DECIMAL",
    "DECLARE",
    "DEFAULT",
    "DELAYED",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DISTINCTROW",
    "DIV",
    "DOUBLE",
    "DROP",
    "DUAL",
    "EACH",
    "ELSE",
    "ELSEIF",
    "EMPTY",
    "ENCLOSED",
    "ESCAPED",
    "EXCEPT",
    "EXISTS",
    "EXIT",
    "EXPLAIN",
    "FALSE",
    "FETCH",
    "FLOAT",
    "FOR",
    "FORCE",
    "FOREIGN",
    "FROM",
    "FULLTEXT",
    "FUNCTION",
    "GENERATED",
    "GET",
    "GRANT",
    "GROUP",
    "GROUPING",
    "GROUPS",
    "HAVING",
    "HIGH_PRIORITY",
    "IF",
    "IGNORE",
    "IN",
    "INDEX",
    "INFILE",
    "INNER",
    "INOUT",
    "INSERT",
    "INT",
    "INTEGER",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "ITERATE",
    "JOIN",
    "JSON_TABLE",
    "KEY",
    "KEYS",
    "KILL",
    "LAG",
    "LATERAL",
    "LEAD",
    "LEADING",
    "LEAVE",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LINEAR",
    "LINES",
    "LOAD",
    "LOCK",
    "LONG",
    "LONGBLOB",
    "LONGTEXT",
    "LOOP",
    "MATCH",
    "MEDIUMBLOB",
    "MEDIUMINT",
    "MEDIUMTEXT",
    "MOD",
    "NATURAL",
    "NOT",
    "NULL",
    "NUMERIC",
    "OF",
    "ON",
    "OPTIMIZE",
    "OPTION",
    "OR",
    "ORDER",
    "OUT",
    "OUTER",
    "OUTFILE",
    "OVER",
    "PARTITION",
    "PRECISION",
    "PRIMARY",
    "PROCEDURE",
    "PURGE",
    "RANGE",
    "RANK",
    "READ",
    "REAL",
    "RECURSIVE",
    "REFERENCES",
    "REGEXP",
    "RELEASE",
    "RENAME",
    "REPEAT",
    "REPLACE",
    "REQUIRE",
    "RESTRICT",
    "RETURN",
    "REVOKE",
    "RIGHT",
    "RLIKE",
    "ROW",
    "ROWS",
    "SCHEMA",
    "SCHEMAS",
    "SELECT",
    "SET",
    "SHOW",
    "SMALLINT",
    "SQL",
    "STARTING",
    "STORED",
    "STRAIGHT_JOIN",
    "SYSTEM",
    "TABLE",
    "TERMINATED",
    "THEN",
    "TINYBLOB",
    "TINYINT",
    "TINYTEXT",
    "TO",
    "TRAILING",
    "TRIGGER",
    "TRUE",
    "UNDO",
    "UNION",
    "UNIQUE",
    "UNLOCK",
    "UNSIGNED",
    "UPDATE",
    "USAGE",
    "USE",
    "USING",
    "VALUES",
    "VARBINARY",
    "VARCHAR",
    "VIRTUAL",
    "WHEN",
    "WHERE",
    "WHILE",
    "WINDOW",
    "WITH",
    "WRITE",
    "XOR",
    "ZEROFILL",
];
