//! Functions that tell about the session and about their operands.

use super::*;

pub(super) const FUNCTIONS: &[Function] = &[
    f(
        "CHARSET",
        1,
        1,
        See,
        Apart,
        |_, ctx| Ok(name_text(64, ctx)),
        |c| {
            let collation = c.arg_type(0).text_collation().unwrap_or(match c.arg(0) {
                Value::Json(_) => Collation::UTF8MB4_BIN,
                _ => Collation::BINARY,
            });
            Ok(Value::text(collation.charset().name()))
        },
    ),
    f(
        "COLLATION",
        1,
        1,
        See,
        Apart,
        |_, ctx| Ok(name_text(64, ctx)),
        |c| Ok(Value::text(c.arg_type(0).text_collation().unwrap_or(Collation::BINARY).name())),
    ),
    told("CONNECTION_ID", 0, bigint_unsigned, |c| Ok(Value::UInt(c.ctx.environment.connection_id.into()))),
    told(
        "CURRENT_ROLE",
        0,
        |_, ctx| Ok(name_text(288, ctx)),
        |c| {
            let role = &c.ctx.environment.current_role;
            Ok(Value::text(if role.is_empty() { "NONE" } else { role }))
        },
    ),
    told(
        "CURRENT_USER",
        0,
        |_, ctx| Ok(name_text(288, ctx)),
        |c| Ok(Value::text(&*c.ctx.environment.current_user)),
    ),
    told("DATABASE", 0, |_, ctx| Ok(name_text(64, ctx)), database),
    told("FOUND_ROWS", 0, bigint, |c| Ok(Value::Int(c.ctx.environment.found_rows as i64))),
    volatile("LAST_INSERT_ID", 0, 1, bigint_unsigned, |c| {
        if c.len() == 0 {
            return Ok(Value::UInt(c.ctx.environment.last_insert_id));
        }
        let Some(id) = convert::to_bits(c.arg(0), c.ctx)? else {
            c.ctx.environment.last_insert_id = 0;
            c.ctx.environment.last_insert_id_set = Some(0);
            return Ok(Value::Null);
        };
        c.ctx.environment.last_insert_id = id;
        c.ctx.environment.last_insert_id_set = Some(id);
        Ok(Value::UInt(id))
    }),
    told("ROW_COUNT", 0, bigint, |c| Ok(Value::Int(c.ctx.environment.row_count))),
    told("SCHEMA", 0, |_, ctx| Ok(name_text(64, ctx)), database),
    told("SESSION_USER", 0, |_, ctx| Ok(name_text(288, ctx)), user),
    told("SYSTEM_USER", 0, |_, ctx| Ok(name_text(288, ctx)), user),
    told("USER", 0, |_, ctx| Ok(name_text(288, ctx)), user),
    told("VERSION", 0, |_, ctx| Ok(name_text(60, ctx)), |c| Ok(Value::text(&*c.ctx.environment.version))),
];

/// A fact of the session: the same within a statement, different in the next.
const fn told(name: &'static str, max: usize, typing: Typing, eval: Eval) -> Function {
    Function { deterministic: false, ..f(name, 0, max, See, Apart, typing, eval) }
}

/// Names are utf8mb3.
fn name_text(length: u32, _: &EvalContext) -> SqlType {
    SqlType::VarChar { length, collation: Collation::UTF8MB3_GENERAL_CI }
}

fn database(c: &mut Call<'_>) -> Result<Value, SqlError> {
    Ok(c.ctx.environment.database.as_deref().map_or(Value::Null, Value::text))
}

fn user(c: &mut Call<'_>) -> Result<Value, SqlError> {
    Ok(Value::text(&*c.ctx.environment.user))
}
