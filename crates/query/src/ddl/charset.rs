//! Character sets and collations of tables and columns.

use assize_model::SqlError;
use assize_sql::CharsetClause;
use assize_values::collation::Charset;
use assize_values::{Collation, SqlType};

/// The collation that a clause means, given the one that holds if nothing is said.
pub fn resolve(clause: &CharsetClause, otherwise: Collation) -> Result<Collation, SqlError> {
    let charset = clause.charset.as_deref().map(Charset::find).transpose()?;
    if let Some(name) = &clause.collation {
        let collation = Collation::find(name)?;
        if let Some(charset) = charset {
            collation.check_charset(charset)?;
        }
        return Ok(collation);
    }
    Ok(match charset {
        Some(charset) if clause.binary => charset.bin_collation(),
        Some(charset) => charset.default_collation(),
        None if clause.binary => otherwise.charset().bin_collation(),
        None => otherwise,
    })
}

/// The name of a collation.
pub fn name(collation: Collation) -> &'static str {
    collation.name()
}

/// The name of a collation's character set.
pub fn charset_name(collation: Collation) -> &'static str {
    collation.charset().name()
}

/// Whether a collation is the default of its character set.
pub fn is_default(collation: Collation) -> bool {
    collation.charset().default_collation() == collation
}

/// The most bytes that a character takes.
pub fn max_bytes(collation: Collation) -> u32 {
    u32::from(collation.charset().max_length())
}

/// The collation of a type of text; `None` for everything else.
pub fn of_type(sql_type: &SqlType) -> Option<Collation> {
    match sql_type {
        SqlType::Char { collation, .. }
        | SqlType::VarChar { collation, .. }
        | SqlType::Text { collation, .. }
        | SqlType::Enum { collation, .. }
        | SqlType::Set { collation, .. } => Some(*collation),
        _ => None,
    }
}
