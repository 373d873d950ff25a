//! One type for several: the result of CASE, IF, COALESCE, UNION and the like.

use crate::collation::{self, Coercibility, Derivation};
use crate::{ArgType, BlobSize, Collation, Decimal, IntType, IntWidth, SqlType};
use assize_model::SqlError;

/// The type that holds the values of all these. Of different collations the first counts: [`unify_args`] asks
/// by how strongly each is meant.
pub fn unify(types: &[SqlType]) -> SqlType {
    types.iter().fold(SqlType::Null, |sum, next| pair(&sum, next))
}

/// The type and collation of a result that is one of these operands; errors 1267, 1270 and 1271.
pub fn unify_args(args: &[ArgType], operation: &str) -> Result<(SqlType, Coercibility), SqlError> {
    let types: Vec<SqlType> = args.iter().map(|arg| arg.sql_type.clone()).collect();
    let unified = unify(&types);
    let Some(own) = unified.text_collation() else { return Ok((unified, Coercibility::Numeric)) };
    if own.is_binary() {
        return Ok((unified, Coercibility::Implicit));
    }
    let derivations: Vec<Derivation> = args
        .iter()
        .filter(|arg| arg.sql_type.text_collation().is_some())
        .map(|arg| arg.derivation(own))
        .collect();
    if derivations.is_empty() {
        return Ok((unified, Coercibility::Coercible));
    }
    let derivation = collation::aggregate(&derivations, operation)?;
    Ok((unified.with_collation(derivation.collation), derivation.coercibility))
}

fn pair(a: &SqlType, b: &SqlType) -> SqlType {
    use SqlType as T;
    if a == b {
        return a.clone();
    }
    match (a, b) {
        (T::Null, other) | (other, T::Null) => other.clone(),
        (T::Int(x), T::Int(y)) => integers(*x, *y),
        (T::Year | T::Bit { .. }, _)
            if matches!(b, T::Int(_) | T::Decimal { .. } | T::Year | T::Bit { .. }) =>
        {
            pair(&as_integer(a), &as_integer(b))
        }
        (_, T::Year | T::Bit { .. }) if matches!(a, T::Int(_) | T::Decimal { .. }) => pair(a, &as_integer(b)),
        (T::Decimal { .. } | T::Int(_), T::Decimal { .. } | T::Int(_)) => {
            let ((p1, s1), (p2, s2)) = (a.decimal_digits(), b.decimal_digits());
            decimal(p1 - s1, p2 - s2, s1.max(s2), a.is_unsigned() && b.is_unsigned())
        }
        (x, y) if x.is_numeric() && y.is_numeric() => reals(x, y),
        (T::Time { fsp: x }, T::Time { fsp: y }) => T::Time { fsp: *x.max(y) },
        (T::Timestamp { fsp: x }, T::Timestamp { fsp: y }) => T::Timestamp { fsp: *x.max(y) },
        (x, y) if x.is_temporal() && y.is_temporal() => {
            T::DateTime { fsp: x.decimals().unwrap_or(0).max(y.decimals().unwrap_or(0)) }
        }
        _ => strings(a, b),
    }
}

fn as_integer(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Year => SqlType::int(IntWidth::Small, true),
        SqlType::Bit { .. } => SqlType::BIGINT_UNSIGNED,
        other => other.clone(),
    }
}

fn integers(a: IntType, b: IntType) -> SqlType {
    let plain = |width, unsigned| SqlType::Int(IntType { width, unsigned, zerofill: false, display: None });
    if a.unsigned == b.unsigned {
        return plain(a.width.max(b.width), a.unsigned);
    }
    let (signed, unsigned) = if a.unsigned { (b, a) } else { (a, b) };
    if unsigned.width < signed.width {
        return plain(signed.width, false);
    }
    match unsigned.width {
        IntWidth::Tiny => plain(IntWidth::Small, false),
        IntWidth::Small => plain(IntWidth::Medium, false),
        IntWidth::Medium => plain(IntWidth::Int, false),
        IntWidth::Int => plain(IntWidth::Big, false),
        IntWidth::Big => SqlType::Decimal { precision: 20, scale: 0, unsigned: false },
    }
}

fn decimal(whole_a: u8, whole_b: u8, scale: u8, unsigned: bool) -> SqlType {
    let precision = (whole_a.max(whole_b) + scale).clamp(1, Decimal::MAX_PRECISION);
    SqlType::Decimal { precision, scale: scale.min(Decimal::MAX_SCALE), unsigned }
}

fn reals(a: &SqlType, b: &SqlType) -> SqlType {
    let unsigned = a.is_unsigned() && b.is_unsigned();
    match (a, b) {
        (SqlType::Float { .. }, SqlType::Float { .. }) => SqlType::Float { unsigned, digits: None },
        _ => {
            // Fixed places survive only if all have them: integers have none, decimals their scale.
            let places = a.decimals().zip(b.decimals()).map(|(a, b)| a.max(b)).filter(|places| *places <= 30);
            let digits = places.map(|places| (17 + places, places));
            SqlType::Double { unsigned, digits }
        }
    }
}

fn strings(a: &SqlType, b: &SqlType) -> SqlType {
    let binary = |t: &SqlType| t.text_collation().is_some_and(Collation::is_binary);
    let collation = if binary(a) || binary(b) {
        Collation::BINARY
    } else {
        a.text_collation().or_else(|| b.text_collation()).unwrap_or_default()
    };
    let size = |t: &SqlType| match t {
        SqlType::Text { size, .. } | SqlType::Blob { size } => Some(*size),
        SqlType::Json => Some(BlobSize::Long),
        _ => None,
    };
    match (size(a), size(b)) {
        (None, None) => SqlType::string(a.char_length().max(b.char_length()).into(), collation),
        (x, y) => {
            let size = x.max(y).unwrap_or(BlobSize::Long);
            let other = if x.is_none() { a } else { b };
            let bytes = u64::from(other.char_length()) * u64::from(collation.charset().max_length());
            let size = if size_known(other) { size } else { size.max(BlobSize::holding(bytes)) };
            if collation.is_binary() { SqlType::Blob { size } } else { SqlType::Text { size, collation } }
        }
    }
}

fn size_known(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Text { .. } | SqlType::Blob { .. } | SqlType::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::type_name;

    #[test]
    fn several_types_become_one() {
        let text = |length| SqlType::VarChar { length, collation: Collation::default() };
        let decimal = |precision, scale| SqlType::Decimal { precision, scale, unsigned: false };
        for (types, expected) in [
            (vec![SqlType::Null, SqlType::INT], "int"),
            (vec![SqlType::INT, SqlType::BIGINT_UNSIGNED], "decimal(20,0)"),
            (vec![SqlType::int(IntWidth::Tiny, true), SqlType::int(IntWidth::Tiny, false)], "smallint"),
            (vec![SqlType::INT, decimal(5, 2)], "decimal(12,2)"),
            (vec![SqlType::INT, SqlType::DOUBLE], "double"),
            (vec![text(3), text(7)], "varchar(7)"),
            (vec![SqlType::INT, text(3)], "varchar(11)"),
            (vec![SqlType::Date, SqlType::DateTime { fsp: 3 }], "datetime(3)"),
            (vec![SqlType::Date, text(3)], "varchar(10)"),
            (vec![text(3), SqlType::VarBinary { length: 2 }], "varbinary(3)"),
            (vec![SqlType::Json, SqlType::Json], "json"),
            (vec![SqlType::Year, SqlType::INT], "int"),
            (vec![], "null"),
        ] {
            assert_eq!(type_name(&unify(&types)), expected, "{types:?}");
        }
    }
}
