//! Statements with optimizer hints: for one statement, another time limit and other variables.

use super::Session;
use crate::variables::{SessionVariables, find};
use assize_model::{ErrorCode, SqlError, WarningLevel};
use assize_ports::{Executed, ResultSink};
use assize_sql::{HintValue, Hints, Statement};
use assize_values::Value;

/// Variables that SET_VAR may set, of those that there are: MySQL's list.
const HINTABLE: &[&str] = &[
    "auto_increment_increment",
    "auto_increment_offset",
    "big_tables",
    "bulk_insert_buffer_size",
    "cte_max_recursion_depth",
    "default_tmp_storage_engine",
    "div_precision_increment",
    "end_markers_in_json",
    "eq_range_index_dive_limit",
    "foreign_key_checks",
    "group_concat_max_len",
    "insert_id",
    "internal_tmp_mem_storage_engine",
    "join_buffer_size",
    "lock_wait_timeout",
    "max_error_count",
    "max_execution_time",
    "max_heap_table_size",
    "max_join_size",
    "max_length_for_sort_data",
    "max_points_in_geometry",
    "max_seeks_for_key",
    "max_sort_length",
    "optimizer_prune_level",
    "optimizer_search_depth",
    "optimizer_switch",
    "range_alloc_block_size",
    "range_optimizer_max_mem_size",
    "read_buffer_size",
    "read_rnd_buffer_size",
    "sort_buffer_size",
    "sql_auto_is_null",
    "sql_big_selects",
    "sql_buffer_result",
    "sql_mode",
    "sql_safe_updates",
    "sql_select_limit",
    "time_zone",
    "timestamp",
    "tmp_table_size",
    "unique_checks",
    "updatable_views_with_limit",
    "use_secondary_engine",
    "windowing_use_high_precision",
];

impl Session {
    /// Runs a statement as its hints say; `hash` identifies its text.
    pub(super) async fn run_hinted(
        &mut self,
        hints: &Hints,
        statement: &Statement,
        hash: u64,
        params: &[Value],
        sink: &mut dyn ResultSink,
    ) -> Result<Executed, SqlError> {
        // 0 is what the variable says.
        self.state.hinted_millis_max = hints.execution_millis_max.filter(|millis| *millis > 0);
        let before = (!hints.variables.is_empty()).then(|| self.set_hinted(&hints.variables));
        // What a plan is made for depends on the variables.
        let key = self.plan_key(hash, params);
        let result = self.run(statement, key, params, sink).await;
        if let Some(before) = before {
            self.state.variables = before;
            self.state.sync();
        }
        result
    }

    /// Warns of hints that cannot be read.
    pub(super) fn warn_of_hints(&mut self, hints: &Hints, text: &[u8]) {
        if let Some(at) = hints.unread {
            let error = assize_sql::hint_syntax_error(text, at);
            self.warn(WarningLevel::Warning, error.code, &error.message);
        }
    }

    /// Sets variables for the statement, and answers what they all were. What cannot be set is a warning.
    fn set_hinted(&mut self, variables: &[(String, HintValue)]) -> SessionVariables {
        let before = self.state.variables.clone();
        for (name, value) in variables {
            let value = match value {
                HintValue::Int(n) => Value::Int(*n),
                HintValue::Text(text) => Value::text(text.as_str()),
            };
            let set = if find(name).is_err() {
                let text = format!("Unresolved name '{name}' for SET_VAR hint");
                Err(SqlError::new(ErrorCode::UnresolvedHintName, text))
            } else if !HINTABLE.contains(&name.as_str()) {
                let text = format!("Variable '{name}' cannot be set using SET_VAR hint.");
                Err(SqlError::new(ErrorCode::NotHintUpdatable, text))
            } else {
                self.state.variables.set(name, Some(&value))
            };
            if let Err(error) = set {
                self.warn(WarningLevel::Warning, error.code, &error.message);
            }
        }
        self.state.sync();
        before
    }
}
