//! System variables: every name that clients read or set, with its scope, its kind and its default.
//!
//! Variables that mean something to us change what the session does (`sql_mode`, `autocommit`, `time_zone`, …).
//! Knobs of an optimiser or a binary log that we do not have are accepted, checked for their kind, and remembered,
//! because clients set them when they connect and read them back.

use assize_model::{ErrorCode, SqlError};
use assize_values::collation::Charset;
use assize_values::{Collation, SqlMode, TimeZone, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Where a variable can be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VariableScope {
    /// Globally and for a session.
    Both,
    /// Globally only.
    Global,
    /// For a session only.
    Session,
}

/// What values a variable takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// ON and OFF.
    Bool,
    /// An integer, clipped to its bounds with a warning as MySQL does.
    Int(i64, i64),
    /// A number.
    Double(f64, f64),
    /// Any text.
    Text,
    /// Text or NULL.
    NullableText,
    /// One of these words, compared without case; also by number.
    Word(&'static [&'static str]),
    /// A SQL mode.
    SqlMode,
    /// A time zone.
    TimeZone,
    /// A character set; `true` if NULL is allowed.
    Charset(bool),
    /// A collation.
    Collation,
}

/// A variable's default.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum DefaultValue {
    /// A number (booleans are 0 and 1).
    Number(i64),
    /// A number with a fraction.
    Double(f64),
    /// A text.
    Text(&'static str),
    /// NULL.
    Null,
    /// Told by the server when it starts (version, hostname, …).
    Server,
}

/// One system variable.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Definition {
    /// Its name, lower case.
    pub name: &'static str,
    /// Where it can be set.
    pub scope: VariableScope,
    /// What values it takes.
    pub kind: Kind,
    /// Its default.
    pub default: DefaultValue,
    /// Whether it can be set at all.
    pub read_only: bool,
}

use DefaultValue::{Null, Number, Server, Text};
use Kind::Bool;
use VariableScope::{Both, Global, Session};

const fn bool(name: &'static str, scope: VariableScope, on: bool) -> Definition {
    Definition { name, scope, kind: Bool, default: Number(on as i64), read_only: false }
}

const fn int(name: &'static str, scope: VariableScope, default: i64, min: i64, max: i64) -> Definition {
    Definition { name, scope, kind: Kind::Int(min, max), default: Number(default), read_only: false }
}

const fn text(name: &'static str, scope: VariableScope, default: &'static str) -> Definition {
    Definition { name, scope, kind: Kind::Text, default: Text(default), read_only: false }
}

const fn word(
    name: &'static str,
    scope: VariableScope,
    default: &'static str,
    words: &'static [&'static str],
) -> Definition {
    Definition { name, scope, kind: Kind::Word(words), default: Text(default), read_only: false }
}

const fn charset(name: &'static str, default: &'static str, nullable: bool) -> Definition {
    Definition { name, scope: Both, kind: Kind::Charset(nullable), default: Text(default), read_only: false }
}

const fn collation(name: &'static str, default: &'static str) -> Definition {
    Definition { name, scope: Both, kind: Kind::Collation, default: Text(default), read_only: false }
}

/// A fact that can only be read.
const fn fact(name: &'static str, kind: Kind, default: DefaultValue) -> Definition {
    Definition { name, scope: Global, kind, default, read_only: true }
}

const ISOLATION_LEVELS: &[&str] = &["READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"];
const OPTIMIZER_SWITCH: &str = "index_merge=on,index_merge_union=on,index_merge_sort_union=on,index_merge_intersection=on,\
engine_condition_pushdown=on,index_condition_pushdown=on,mrr=on,mrr_cost_based=on,block_nested_loop=on,\
batched_key_access=off,materialization=on,semijoin=on,loosescan=on,firstmatch=on,duplicateweedout=on,\
subquery_materialization_cost_based=on,use_index_extensions=on,condition_fanout_filter=on,derived_merge=on,\
use_invisible_indexes=off,skip_scan=on,hash_join=on,subquery_to_derived=off,prefer_ordering_index=on,\
hypergraph_optimizer=off,derived_condition_pushdown=on,hash_set_operations=on";

/// One thousand years in seconds: more than any time-out needs.
const SECONDS_MAX: i64 = 31_536_000;
const BYTES_MAX: i64 = i64::MAX;

/// Every system variable, by name.
pub const DEFINITIONS: &[Definition] = &[
    text("admin_address", Global, ""),
    Definition {
        name: "assize_last_txn_info",
        scope: Session,
        kind: Kind::Text,
        default: Text(""),
        read_only: true,
    },
    bool("assize_safe_drop", Both, false),
    fact("assize_version", Kind::Text, Server),
    int("auto_increment_increment", Both, 1, 1, 65_535),
    int("auto_increment_offset", Both, 1, 1, 65_535),
    bool("autocommit", Both, true),
    bool("automatic_sp_privileges", Global, true),
    int("back_log", Global, 151, 1, 65_535),
    fact("basedir", Kind::Text, Text("/usr/")),
    bool("big_tables", Both, false),
    word("binlog_format", Both, "ROW", &["MIXED", "STATEMENT", "ROW"]),
    word("binlog_row_image", Both, "FULL", &["MINIMAL", "NOBLOB", "FULL"]),
    bool("binlog_rows_query_log_events", Both, false),
    word(
        "block_encryption_mode",
        Both,
        "aes-128-ecb",
        &["aes-128-ecb", "aes-192-ecb", "aes-256-ecb", "aes-128-cbc", "aes-256-cbc"],
    ),
    int("bulk_insert_buffer_size", Both, 8_388_608, 0, BYTES_MAX),
    charset("character_set_client", "utf8mb4", false),
    charset("character_set_connection", "utf8mb4", false),
    charset("character_set_database", "utf8mb4", false),
    charset("character_set_filesystem", "binary", false),
    charset("character_set_results", "utf8mb4", true),
    charset("character_set_server", "utf8mb4", false),
    fact("character_set_system", Kind::Text, Text("utf8mb3")),
    fact("character_sets_dir", Kind::Text, Text("/usr/share/mysql/charsets/")),
    collation("collation_connection", "utf8mb4_0900_ai_ci"),
    collation("collation_database", "utf8mb4_0900_ai_ci"),
    collation("collation_server", "utf8mb4_0900_ai_ci"),
    word("completion_type", Both, "NO_CHAIN", &["NO_CHAIN", "CHAIN", "RELEASE"]),
    word("concurrent_insert", Global, "AUTO", &["NEVER", "AUTO", "ALWAYS"]),
    int("connect_timeout", Global, 10, 2, SECONDS_MAX),
    int("cte_max_recursion_depth", Both, 1000, 0, 4_294_967_295),
    fact("datadir", Kind::Text, Server),
    text("date_format", Global, "%Y-%m-%d"),
    text("datetime_format", Global, "%Y-%m-%d %H:%i:%s"),
    text("debug", Both, ""),
    text("default_authentication_plugin", Global, "caching_sha2_password"),
    collation("default_collation_for_utf8mb4", "utf8mb4_0900_ai_ci"),
    int("default_password_lifetime", Global, 0, 0, 65_535),
    text("default_storage_engine", Both, "InnoDB"),
    text("default_tmp_storage_engine", Both, "InnoDB"),
    int("default_week_format", Both, 0, 0, 7),
    word("delay_key_write", Global, "ON", &["OFF", "ON", "ALL"]),
    bool("disconnect_on_expired_password", Global, true),
    int("div_precision_increment", Both, 4, 0, 30),
    bool("end_markers_in_json", Both, false),
    bool("enforce_gtid_consistency", Global, false),
    int("eq_range_index_dive_limit", Both, 200, 0, 4_294_967_295),
    bool("event_scheduler", Global, false),
    int("expire_logs_days", Global, 0, 0, 99),
    bool("explicit_defaults_for_timestamp", Both, true),
    word("explain_format", Both, "TRADITIONAL", &["TRADITIONAL", "JSON", "TREE", "DEFAULT"]),
    bool("flush", Global, false),
    bool("foreign_key_checks", Both, true),
    int("ft_min_word_len", Global, 4, 1, 84),
    bool("general_log", Global, false),
    text("general_log_file", Global, ""),
    int("group_concat_max_len", Both, 1024, 4, BYTES_MAX),
    text("gtid_executed", Global, ""),
    word("gtid_mode", Global, "OFF", &["OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"]),
    text("gtid_next", Session, "AUTOMATIC"),
    text("gtid_purged", Global, ""),
    fact("have_compress", Kind::Text, Text("NO")),
    fact("have_dynamic_loading", Kind::Text, Text("NO")),
    fact("have_geometry", Kind::Text, Text("NO")),
    fact("have_openssl", Kind::Text, Text("YES")),
    fact("have_profiling", Kind::Text, Text("NO")),
    fact("have_query_cache", Kind::Text, Text("NO")),
    fact("have_ssl", Kind::Text, Text("YES")),
    fact("have_symlink", Kind::Text, Text("DISABLED")),
    int("histogram_generation_max_mem_size", Both, 20_000_000, 1_000_000, BYTES_MAX),
    fact("hostname", Kind::Text, Server),
    int("identity", Session, 0, 0, i64::MAX),
    text("init_connect", Global, ""),
    int("information_schema_stats_expiry", Both, 60, 0, SECONDS_MAX),
    bool("innodb_autoextend_increment", Global, true),
    int("innodb_autoinc_lock_mode", Global, 2, 0, 2),
    int("innodb_buffer_pool_size", Global, 134_217_728, 0, BYTES_MAX),
    bool("innodb_file_per_table", Global, true),
    int("innodb_flush_log_at_trx_commit", Global, 1, 0, 2),
    int("innodb_lock_wait_timeout", Both, 50, 1, 1_073_741_824),
    fact("innodb_read_only", Bool, Number(0)),
    bool("innodb_rollback_on_timeout", Global, false),
    bool("innodb_stats_on_metadata", Global, false),
    bool("innodb_strict_mode", Both, true),
    bool("innodb_table_locks", Both, true),
    fact("innodb_version", Kind::Text, Text("8.4.6")),
    int("insert_id", Session, 0, 0, i64::MAX),
    int("interactive_timeout", Both, 28_800, 1, SECONDS_MAX),
    word("internal_tmp_mem_storage_engine", Both, "TempTable", &["MEMORY", "TempTable"]),
    int("join_buffer_size", Both, 262_144, 128, BYTES_MAX),
    bool("keep_files_on_create", Both, false),
    int("key_buffer_size", Global, 8_388_608, 0, BYTES_MAX),
    int("last_insert_id", Session, 0, 0, i64::MAX),
    text("lc_messages", Both, "en_US"),
    text("lc_time_names", Both, "en_US"),
    fact("license", Kind::Text, Text("Apache-2.0")),
    bool("local_infile", Global, true),
    int("lock_wait_timeout", Both, 31_536_000, 1, SECONDS_MAX),
    fact("log_bin", Bool, Number(0)),
    bool("log_bin_trust_function_creators", Global, true),
    text("log_error", Global, "stderr"),
    text("log_output", Global, "FILE"),
    bool("log_queries_not_using_indexes", Global, false),
    bool("log_slave_updates", Global, false),
    bool("log_replica_updates", Global, false),
    bool("long_query_log", Global, false),
    Definition {
        name: "long_query_time",
        scope: Both,
        kind: Kind::Double(0.0, 31_536_000.0),
        default: DefaultValue::Double(10.0),
        read_only: false,
    },
    bool("low_priority_updates", Both, false),
    fact("lower_case_file_system", Bool, Number(0)),
    fact("lower_case_table_names", Kind::Int(0, 2), Number(0)),
    text("mandatory_roles", Global, ""),
    int("max_allowed_packet", Both, 67_108_864, 1024, 1_073_741_824),
    int("max_connect_errors", Global, 100, 1, BYTES_MAX),
    int("max_connections", Global, 1000, 1, 100_000),
    int("max_error_count", Both, 1024, 0, 65_535),
    int("max_execution_time", Both, 0, 0, 4_294_967_295),
    int("max_heap_table_size", Both, 16_777_216, 16_384, BYTES_MAX),
    int("max_join_size", Both, i64::MAX, 1, i64::MAX),
    int("max_length_for_sort_data", Both, 4096, 4, 8_388_608),
    int("max_prepared_stmt_count", Global, 16_382, 0, 4_194_304),
    int("max_seeks_for_key", Both, i64::MAX, 1, i64::MAX),
    int("max_sort_length", Both, 1024, 4, 8_388_608),
    int("max_sp_recursion_depth", Both, 0, 0, 255),
    Definition {
        name: "max_statement_time",
        scope: Both,
        kind: Kind::Double(0.0, 31_536_000.0),
        default: DefaultValue::Double(0.0),
        read_only: false,
    },
    int("max_user_connections", Both, 0, 0, 4_294_967_295),
    int("min_examined_row_limit", Both, 0, 0, BYTES_MAX),
    int("net_buffer_length", Both, 16_384, 1024, 1_048_576),
    int("net_read_timeout", Both, 30, 1, SECONDS_MAX),
    int("net_retry_count", Both, 10, 1, BYTES_MAX),
    int("net_write_timeout", Both, 60, 1, SECONDS_MAX),
    bool("new", Both, false),
    text("note_verbosity", Both, "basic"),
    bool("offline_mode", Global, false),
    word(
        "old_alter_table",
        Both,
        "DEFAULT",
        &["DEFAULT", "COPY", "INPLACE", "NOCOPY", "INSTANT", "OFF", "ON"],
    ),
    int("old_passwords", Both, 0, 0, 2),
    int("open_files_limit", Global, 1_048_576, 0, BYTES_MAX),
    int("optimizer_prune_level", Both, 1, 0, 1),
    int("optimizer_search_depth", Both, 62, 0, 62),
    text("optimizer_switch", Both, OPTIMIZER_SWITCH),
    text("optimizer_trace", Both, "enabled=off,one_line=off"),
    bool("partial_revokes", Global, false),
    fact("performance_schema", Bool, Number(0)),
    fact("pid_file", Kind::Text, Text("")),
    fact("plugin_dir", Kind::Text, Text("/usr/lib/mysql/plugin/")),
    fact("port", Kind::Int(0, 65_535), Server),
    int("preload_buffer_size", Both, 32_768, 1024, 1_073_741_824),
    bool("print_identified_with_as_hex", Both, false),
    bool("profiling", Both, false),
    int("profiling_history_size", Both, 15, 0, 100),
    fact("protocol_version", Kind::Int(10, 10), Number(10)),
    int("pseudo_thread_id", Session, 0, 0, i64::MAX),
    bool("pseudo_slave_mode", Session, false),
    int("query_alloc_block_size", Both, 8192, 1024, BYTES_MAX),
    int("query_cache_size", Global, 0, 0, BYTES_MAX),
    word("query_cache_type", Both, "OFF", &["OFF", "ON", "DEMAND"]),
    int("query_prealloc_size", Both, 8192, 8192, BYTES_MAX),
    int("rand_seed1", Session, 0, 0, i64::MAX),
    int("rand_seed2", Session, 0, 0, i64::MAX),
    int("range_alloc_block_size", Both, 4096, 4096, BYTES_MAX),
    int("range_optimizer_max_mem_size", Both, 8_388_608, 0, BYTES_MAX),
    int("read_buffer_size", Both, 131_072, 8192, 2_147_479_552),
    bool("read_only", Global, false),
    int("read_rnd_buffer_size", Both, 262_144, 1, 2_147_483_647),
    int("regexp_time_limit", Global, 32, 0, 2_147_483_647),
    bool("require_secure_transport", Global, false),
    word("resultset_metadata", Session, "FULL", &["NONE", "FULL"]),
    fact("secure_file_priv", Kind::NullableText, Null),
    int("select_into_buffer_size", Both, 131_072, 8192, 2_147_479_552),
    int("server_id", Global, 1, 0, 4_294_967_295),
    fact("server_uuid", Kind::Text, Server),
    bool("session_track_gtids", Both, false),
    bool("session_track_schema", Both, true),
    bool("session_track_state_change", Both, false),
    text(
        "session_track_system_variables",
        Both,
        "time_zone,autocommit,character_set_client,character_set_results,character_set_connection",
    ),
    word("session_track_transaction_info", Both, "OFF", &["OFF", "STATE", "CHARACTERISTICS"]),
    bool("show_create_table_verbosity", Both, false),
    bool("show_create_table_skip_secondary_engine", Session, false),
    bool("show_gipk_in_create_table_and_information_schema", Both, true),
    bool("show_old_temporals", Both, false),
    fact("skip_external_locking", Bool, Number(1)),
    fact("skip_name_resolve", Bool, Number(1)),
    fact("skip_networking", Bool, Number(0)),
    bool("slow_query_log", Global, true),
    text("slow_query_log_file", Global, "stderr"),
    fact("socket", Kind::Text, Text("")),
    int("sort_buffer_size", Both, 262_144, 32_768, BYTES_MAX),
    bool("sql_auto_is_null", Both, false),
    bool("sql_big_selects", Both, true),
    bool("sql_buffer_result", Both, false),
    bool("sql_generate_invisible_primary_key", Both, false),
    bool("sql_log_bin", Session, true),
    bool("sql_log_off", Both, false),
    Definition {
        name: "sql_mode",
        scope: Both,
        kind: Kind::SqlMode,
        default: Text(
            "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        ),
        read_only: false,
    },
    bool("sql_notes", Both, true),
    bool("sql_quote_show_create", Both, true),
    bool("sql_require_primary_key", Both, false),
    bool("sql_safe_updates", Both, false),
    int("sql_select_limit", Both, i64::MAX, 0, i64::MAX),
    bool("sql_warnings", Both, false),
    fact("ssl_ca", Kind::Text, Text("")),
    fact("ssl_cert", Kind::Text, Text("")),
    fact("ssl_cipher", Kind::Text, Text("")),
    fact("ssl_key", Kind::Text, Text("")),
    bool("super_read_only", Global, false),
    int("sync_binlog", Global, 1, 0, 4_294_967_295),
    fact("system_time_zone", Kind::Text, Text("UTC")),
    int("table_definition_cache", Global, 2000, 400, 524_288),
    int("table_open_cache", Global, 4000, 1, 524_288),
    int("thread_cache_size", Global, 18, 0, 16_384),
    text("thread_handling", Global, "one-thread-per-connection"),
    int("thread_stack", Global, 1_048_576, 131_072, BYTES_MAX),
    text("time_format", Global, "%H:%i:%s"),
    Definition {
        name: "time_zone",
        scope: Both,
        kind: Kind::TimeZone,
        default: Text("SYSTEM"),
        read_only: false,
    },
    Definition {
        name: "timestamp",
        scope: Session,
        kind: Kind::Double(0.0, 32_536_771_199.0),
        default: DefaultValue::Double(0.0),
        read_only: false,
    },
    fact("tls_version", Kind::Text, Text("TLSv1.2,TLSv1.3")),
    int("tmp_table_size", Both, 16_777_216, 1024, BYTES_MAX),
    fact("tmpdir", Kind::Text, Text("/tmp")),
    int("transaction_alloc_block_size", Both, 8192, 1024, 131_072),
    word("transaction_isolation", Both, "REPEATABLE-READ", ISOLATION_LEVELS),
    int("transaction_prealloc_size", Both, 4096, 1024, 131_072),
    bool("transaction_read_only", Both, false),
    bool("unique_checks", Both, true),
    bool("updatable_views_with_limit", Both, true),
    text("use_secondary_engine", Session, "ON"),
    fact("version", Kind::Text, Server),
    fact("version_comment", Kind::Text, Text("Assize, many shards that behave like one MySQL database")),
    fact("version_compile_machine", Kind::Text, Text("x86_64")),
    fact("version_compile_os", Kind::Text, Text("Linux")),
    int("wait_timeout", Both, 28_800, 1, SECONDS_MAX),
    fact("warning_count", Kind::Int(0, i64::MAX), Number(0)),
    fact("error_count", Kind::Int(0, i64::MAX), Number(0)),
    bool("windowing_use_high_precision", Both, true),
    text("wsrep_on", Both, "OFF"),
    Definition {
        name: "external_user",
        scope: Session,
        kind: Kind::NullableText,
        default: Null,
        read_only: true,
    },
    Definition {
        name: "proxy_user",
        scope: Session,
        kind: Kind::NullableText,
        default: Null,
        read_only: true,
    },
];

/// Other names of the same variables.
const ALIASES: &[(&str, &str)] = &[
    ("sql_low_priority_updates", "low_priority_updates"),
    ("storage_engine", "default_storage_engine"),
    ("tx_isolation", "transaction_isolation"),
    ("tx_read_only", "transaction_read_only"),
];

/// The definition of a variable; names compare without case.
///
/// # Errors
/// 1193 for a name that nobody knows.
pub fn find(name: &str) -> Result<&'static Definition, SqlError> {
    let lower = name.to_ascii_lowercase();
    let wanted = ALIASES.iter().find(|(alias, _)| *alias == lower).map_or(lower.as_str(), |(_, real)| real);
    DEFINITIONS.iter().find(|d| d.name == wanted).ok_or_else(|| {
        SqlError::new(ErrorCode::UnknownSystemVariable, format!("Unknown system variable '{name}'"))
    })
}

impl Definition {
    /// The default, given what the server said of itself.
    fn default_value(&self, facts: &BTreeMap<&'static str, Value>) -> Value {
        match self.default {
            Number(n) => Value::Int(n),
            DefaultValue::Double(n) => Value::Double(n),
            Text(text) => Value::text(text),
            Null => Value::Null,
            Server => facts.get(self.name).cloned().unwrap_or_else(|| Value::text("")),
        }
    }

    /// The value as the variable keeps it.
    ///
    /// # Errors
    /// 1231 for a value, 1232 for a type that it cannot have.
    pub fn check(&self, value: &Value) -> Result<Value, SqlError> {
        match self.kind {
            Bool => self.check_word(value, &["OFF", "ON"]).map(|index| Value::Int(index as i64)),
            Kind::Int(min, max) => {
                let n = self.integer(value)?;
                Ok(Value::Int(n.clamp(i128::from(min), i128::from(max)) as i64))
            }
            Kind::Double(min, max) => match value {
                Value::Double(n) => Ok(Value::Double(n.clamp(min, max))),
                Value::Float(n) => Ok(Value::Double(f64::from(*n).clamp(min, max))),
                Value::Decimal(n) => Ok(Value::Double(n.to_f64().clamp(min, max))),
                _ => Ok(Value::Double((self.integer(value)? as f64).clamp(min, max))),
            },
            Kind::Text => match value {
                Value::Null => Err(self.wrong_value(value)),
                other => Ok(Value::text(plain(other))),
            },
            Kind::NullableText => Ok(if value.is_null() { Value::Null } else { Value::text(plain(value)) }),
            Kind::Word(words) => self.check_word(value, words).map(|index| Value::text(words[index])),
            Kind::SqlMode => {
                let mode = match value {
                    Value::Null => return Err(self.wrong_value(value)),
                    Value::Int(n) => SqlMode::from_number(*n as u64)?,
                    Value::UInt(n) => SqlMode::from_number(*n)?,
                    other => SqlMode::parse(&plain(other))?,
                };
                Ok(Value::text(mode.to_string()))
            }
            Kind::TimeZone => {
                let name = plain(value);
                TimeZone::parse(&name)?;
                Ok(Value::text(if name.eq_ignore_ascii_case("system") { "SYSTEM".to_owned() } else { name }))
            }
            Kind::Charset(nullable) => match value {
                Value::Null if nullable => Ok(Value::Null),
                Value::Null => Err(self.wrong_value(value)),
                other => Ok(Value::text(Charset::find(&plain(other))?.name())),
            },
            Kind::Collation => match value {
                Value::Null => Err(self.wrong_value(value)),
                other => Ok(Value::text(Collation::find(&plain(other))?.name())),
            },
        }
    }

    fn integer(&self, value: &Value) -> Result<i128, SqlError> {
        match value {
            Value::Int(n) => Ok(i128::from(*n)),
            Value::UInt(n) => Ok(i128::from(*n)),
            _ => Err(SqlError::new(
                ErrorCode::WrongTypeForVariable,
                format!("Incorrect argument type to variable '{}'", self.name),
            )),
        }
    }

    fn check_word(&self, value: &Value, words: &[&str]) -> Result<usize, SqlError> {
        let index = match value {
            Value::Int(n) => usize::try_from(*n).ok(),
            Value::UInt(n) => usize::try_from(*n).ok(),
            Value::Null => None,
            other => {
                // SET TRANSACTION writes levels with a blank, the variable with a hyphen.
                let text = plain(other).replace(' ', "-");
                let is_bool = words == ["OFF", "ON"];
                words.iter().position(|w| w.eq_ignore_ascii_case(&text)).or(match text.as_str() {
                    t if is_bool && t.eq_ignore_ascii_case("true") => Some(1),
                    t if is_bool && t.eq_ignore_ascii_case("false") => Some(0),
                    "0" | "1" if is_bool => text.parse().ok(),
                    _ => None,
                })
            }
        };
        index.filter(|i| *i < words.len()).ok_or_else(|| self.wrong_value(value))
    }

    fn wrong_value(&self, value: &Value) -> SqlError {
        let shown = if value.is_null() { "NULL".to_owned() } else { plain(value) };
        SqlError::new(
            ErrorCode::WrongValueForVariable,
            format!("Variable '{}' can't be set to the value of '{shown}'", self.name),
        )
    }

    /// The value as SHOW VARIABLES prints it.
    pub fn show(&self, value: &Value) -> String {
        match (self.kind, value) {
            (Bool, Value::Int(n)) => if *n == 0 { "OFF" } else { "ON" }.to_owned(),
            (Kind::Double(..), Value::Double(n)) => format!("{n:.6}"),
            (_, Value::Null) => String::new(),
            (_, other) => plain(other),
        }
    }
}

/// A value as text, for names and words.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Text(text) => text.as_str().to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Double(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Decimal(n) => n.to_string(),
        other => format!("{other:?}"),
    }
}

/// Global values, shared by all sessions of a process.
pub struct GlobalVariables {
    facts: BTreeMap<&'static str, Value>,
    set: RwLock<BTreeMap<&'static str, Value>>,
}

impl GlobalVariables {
    /// Globals of a server that says this of itself (`version`, `hostname`, `port`, …).
    pub fn new(facts: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        GlobalVariables { facts: facts.into_iter().collect(), set: RwLock::default() }
    }

    /// The global value.
    pub fn get(&self, definition: &'static Definition) -> Value {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        set.get(definition.name)
            .or_else(|| self.facts.get(definition.name))
            .cloned()
            .unwrap_or_else(|| definition.default_value(&self.facts))
    }

    /// SET GLOBAL; `None` is DEFAULT.
    ///
    /// # Errors
    /// 1238 if it is read only, 1228 if it is a session's, and those of [`Definition::check`].
    pub fn set(&self, name: &str, value: Option<&Value>) -> Result<(), SqlError> {
        let definition = find(name)?;
        refuse_read_only(definition)?;
        if definition.scope == Session {
            return Err(SqlError::new(
                ErrorCode::LocalVariable,
                format!("Variable '{name}' is a SESSION variable and can't be used with SET GLOBAL"),
            ));
        }
        let checked = value.map(|v| definition.check(v)).transpose()?;
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        match checked {
            Some(value) => drop(set.insert(definition.name, value)),
            None => drop(set.remove(definition.name)),
        }
        Ok(())
    }
}

fn refuse_read_only(definition: &Definition) -> Result<(), SqlError> {
    if definition.read_only {
        return Err(SqlError::new(
            ErrorCode::IncorrectGlobalLocalVariable,
            format!("Variable '{}' is a read only variable", definition.name),
        ));
    }
    Ok(())
}

/// One session's values.
#[derive(Clone)]
pub struct SessionVariables {
    globals: Arc<GlobalVariables>,
    values: BTreeMap<&'static str, Value>,
}

impl SessionVariables {
    /// A new session's: the globals of this moment.
    pub fn new(globals: Arc<GlobalVariables>) -> Self {
        let values =
            DEFINITIONS.iter().filter(|d| d.scope != Global).map(|d| (d.name, globals.get(d))).collect();
        SessionVariables { globals, values }
    }

    /// `@@name`: the session's value first, unless `global` says otherwise.
    ///
    /// # Errors
    /// 1193 for an unknown name, 1238 for the wrong scope.
    pub fn get(&self, name: &str, global: Option<bool>) -> Result<Value, SqlError> {
        let definition = find(name)?;
        let wrong_scope = |scope: &str| {
            Err(SqlError::new(
                ErrorCode::IncorrectGlobalLocalVariable,
                format!("Variable '{name}' is a {scope} variable"),
            ))
        };
        match (global, definition.scope) {
            (Some(true), Session) => wrong_scope("SESSION"),
            (Some(false), Global) => wrong_scope("GLOBAL"),
            (Some(true), _) | (None, Global) => Ok(self.globals.get(definition)),
            _ => Ok(self.value(definition.name)),
        }
    }

    /// SET SESSION; `None` is DEFAULT: the global value.
    ///
    /// # Errors
    /// 1229 for a global variable, and those of [`Definition::check`].
    pub fn set(&mut self, name: &str, value: Option<&Value>) -> Result<(), SqlError> {
        let definition = find(name)?;
        refuse_read_only(definition)?;
        if definition.scope == Global {
            return Err(SqlError::new(
                ErrorCode::GlobalVariable,
                format!("Variable '{name}' is a GLOBAL variable and should be set with SET GLOBAL"),
            ));
        }
        let value = match value {
            Some(value) => definition.check(value)?,
            None => self.globals.get(definition),
        };
        self.put(definition.name, value);
        Ok(())
    }

    /// Sets what is known to be right; character sets and collations drag each other along.
    fn put(&mut self, name: &'static str, value: Value) {
        match name {
            "character_set_connection" => {
                if let Ok(charset) = Charset::find(&plain(&value)) {
                    self.values
                        .insert("collation_connection", Value::text(charset.default_collation().name()));
                }
            }
            "collation_connection" => {
                if let Ok(collation) = Collation::find(&plain(&value)) {
                    self.values.insert("character_set_connection", Value::text(collation.charset().name()));
                }
            }
            _ => {}
        }
        self.values.insert(name, value);
    }

    /// SET NAMES: client, connection and results; the collation is the character set's default unless given.
    ///
    /// # Errors
    /// 1115, 1273, 1253.
    pub fn set_names(&mut self, charset: Option<&str>, collation: Option<&str>) -> Result<(), SqlError> {
        let charset = Charset::find(charset.unwrap_or("utf8mb4"))?;
        let collation = match collation {
            Some(name) => {
                let collation = Collation::find(name)?;
                collation.check_charset(charset)?;
                collation
            }
            None => charset.default_collation(),
        };
        let name = Value::text(charset.name());
        for variable in ["character_set_client", "character_set_results", "character_set_connection"] {
            self.values.insert(variable, name.clone());
        }
        self.values.insert("collation_connection", Value::text(collation.name()));
        Ok(())
    }

    /// SET CHARACTER SET: client and results; the connection follows the database.
    ///
    /// # Errors
    /// 1115.
    pub fn set_character_set(&mut self, charset: Option<&str>) -> Result<(), SqlError> {
        let name = Value::text(Charset::find(charset.unwrap_or("utf8mb4"))?.name());
        self.values.insert("character_set_client", name.clone());
        self.values.insert("character_set_results", name);
        self.put("collation_connection", self.value("collation_database"));
        Ok(())
    }

    fn value(&self, name: &str) -> Value {
        self.values.get(name).cloned().unwrap_or(Value::Null)
    }

    /// An integer or boolean variable of the session.
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(n) => n,
            Value::Double(n) => n as i64,
            _ => 0,
        }
    }

    /// Whether a boolean variable of the session is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.int(name) != 0
    }

    /// A text variable of the session.
    pub fn text(&self, name: &str) -> String {
        plain(&self.value(name))
    }

    /// The SQL mode.
    pub fn sql_mode(&self) -> SqlMode {
        SqlMode::parse(&self.text("sql_mode")).unwrap_or(SqlMode::DEFAULT)
    }

    /// Every variable with its value as SHOW VARIABLES prints it, by name.
    pub fn show(&self, global: bool) -> Vec<(Arc<str>, Value)> {
        let mut out: Vec<(Arc<str>, Value)> = DEFINITIONS
            .iter()
            .filter(|d| !global || d.scope != Session)
            .map(|d| {
                let value =
                    if global || d.scope == Global { self.globals.get(d) } else { self.value(d.name) };
                (Arc::from(d.name), Value::text(d.show(&value)))
            })
            .collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionVariables {
        SessionVariables::new(Arc::new(GlobalVariables::new([(
            "version",
            Value::text("8.4.6-assize-0.1.0"),
        )])))
    }

    fn code<T: std::fmt::Debug>(result: Result<T, SqlError>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn every_default_is_a_value_that_the_variable_takes() {
        for d in DEFINITIONS.iter().filter(|d| d.default != Server && d.default != Null) {
            let default = d.default_value(&BTreeMap::new());
            let checked = d.check(&default).unwrap_or_else(|e| panic!("{}: {e}", d.name));
            assert_eq!(d.show(&checked), d.show(&default), "{}", d.name);
        }
    }

    #[test]
    fn no_name_is_defined_twice() {
        let mut names: Vec<&str> = DEFINITIONS.iter().map(|d| d.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn scopes_are_kept_apart() {
        let mut s = session();
        s.set("wait_timeout", Some(&Value::Int(7))).unwrap();
        assert_eq!(s.get("wait_timeout", None), Ok(Value::Int(7)));
        assert_eq!(s.get("WAIT_TIMEOUT", Some(true)), Ok(Value::Int(28_800)));
        s.set("wait_timeout", None).unwrap();
        assert_eq!(s.get("wait_timeout", Some(false)), Ok(Value::Int(28_800)));
        assert_eq!(code(s.set("max_connections", Some(&Value::Int(1)))), ErrorCode::GlobalVariable);
        assert_eq!(code(s.globals.set("timestamp", Some(&Value::Int(1)))), ErrorCode::LocalVariable);
        assert_eq!(code(s.get("max_connections", Some(false))), ErrorCode::IncorrectGlobalLocalVariable);
    }

    #[test]
    fn unknown_names_and_wrong_values_get_mysqls_numbers() {
        let mut s = session();
        assert_eq!(code(s.get("nonsense", None)), ErrorCode::UnknownSystemVariable);
        assert_eq!(
            code(s.set("autocommit", Some(&Value::text("perhaps")))),
            ErrorCode::WrongValueForVariable
        );
        assert_eq!(code(s.set("wait_timeout", Some(&Value::text("x")))), ErrorCode::WrongTypeForVariable);
        assert_eq!(code(s.set("version", Some(&Value::text("x")))), ErrorCode::IncorrectGlobalLocalVariable);
        assert_eq!(
            code(s.set("transaction_isolation", Some(&Value::text("x")))),
            ErrorCode::WrongValueForVariable
        );
        assert!(s.set("time_zone", Some(&Value::text("Mars/Olympus"))).is_err());
        assert!(s.set("sql_mode", Some(&Value::text("NO_SUCH_MODE"))).is_err());
    }

    #[test]
    fn old_names_mean_the_new_variables() {
        let mut s = session();
        s.set("tx_isolation", Some(&Value::text("READ COMMITTED"))).unwrap();
        assert_eq!(s.text("transaction_isolation"), "READ-COMMITTED");
    }

    #[test]
    fn names_set_client_connection_and_results_together() {
        let mut s = session();
        s.set_names(Some("utf8mb4"), Some("utf8mb4_unicode_ci")).unwrap();
        assert_eq!(s.text("collation_connection"), "utf8mb4_unicode_ci");
        assert_eq!(s.text("character_set_results"), "utf8mb4");
        s.set("character_set_results", Some(&Value::Null)).unwrap();
        assert_eq!(s.get("character_set_results", None), Ok(Value::Null));
        assert_eq!(code(s.set_names(Some("latin1"), Some("utf8mb4_bin"))), ErrorCode::AutoConvertCharset);
        s.set("collation_connection", Some(&Value::text("latin1_swedish_ci"))).unwrap();
        assert_eq!(s.text("character_set_connection"), "latin1");
    }

    #[test]
    fn booleans_are_shown_as_words() {
        let mut s = session();
        s.set("autocommit", Some(&Value::text("off"))).unwrap();
        assert_eq!(s.get("autocommit", None), Ok(Value::Int(0)));
        let shown = s.show(false);
        let autocommit = shown.iter().find(|(name, _)| &**name == "autocommit").unwrap();
        assert_eq!(autocommit.1, Value::text("OFF"));
    }
}
