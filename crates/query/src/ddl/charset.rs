//! Character sets and collations of tables and columns.

use assize_catalog::{CHARACTER_SETS_SINCE, Table};
use assize_model::SqlError;
use assize_ports::StatementContext;
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

/// The collations that programs before [`CHARACTER_SETS_SINCE`] know, by number. By any other they would compare as by the
/// default, and write other index keys.
const KNOWN_BEFORE: [u16; 20] =
    [5, 8, 11, 33, 45, 46, 47, 48, 49, 63, 65, 83, 192, 214, 224, 246, 255, 278, 305, 309];

/// Waits until every node of the cluster knows these collations.
pub async fn require_understood(
    collations: impl IntoIterator<Item = Collation>,
    context: &mut dyn StatementContext,
) -> Result<(), SqlError> {
    let newer = collations.into_iter().find(|collation| !KNOWN_BEFORE.contains(&collation.0));
    let Some(newer) = newer else { return Ok(()) };
    let what = format!("texts in {}", newer.name());
    super::require_cluster_version(CHARACTER_SETS_SINCE, &what, context).await
}

/// The collations that a table mentions.
pub fn of_table(table: &Table) -> impl Iterator<Item = Collation> {
    std::iter::once(table.collation)
        .chain(table.columns.iter().filter_map(|column| of_type(&column.sql_type)))
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
