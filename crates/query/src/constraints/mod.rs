//! Rules between rows: foreign keys. (Uniqueness and CHECK concern one row and live with its writer.)

pub mod foreign;

use assize_ports::StatementContext;
use assize_values::Value;

/// `@@foreign_key_checks`.
pub fn foreign_key_checks(context: &dyn StatementContext) -> bool {
    is_on(context, "foreign_key_checks", true)
}

/// Whether a boolean system variable is on.
pub fn is_on(context: &dyn StatementContext, name: &str, otherwise: bool) -> bool {
    match context.system_variable(name, None) {
        Ok(Value::Int(n)) => n != 0,
        Ok(Value::UInt(n)) => n != 0,
        Ok(Value::Text(text)) => text.eq_ignore_ascii_case("ON") || &*text == "1",
        _ => otherwise,
    }
}
