//! `@@sql_mode`.

use assize_model::{ErrorCode, SqlError};
use std::fmt;

/// A set of modes, as MySQL numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default, PartialOrd, Ord)]
pub struct SqlMode(pub u64);

macro_rules! modes {
    ($($name:ident = $bit:literal, $doc:literal;)*) => {
        impl SqlMode {
            $(#[doc = $doc] pub const $name: SqlMode = SqlMode(1 << $bit);)*
        }
        const NAMES: &[(&str, SqlMode)] = &[$((stringify!($name), SqlMode::$name),)*];
    };
}

modes! {
    REAL_AS_FLOAT = 0, "REAL means FLOAT.";
    PIPES_AS_CONCAT = 1, "`||` concatenates.";
    ANSI_QUOTES = 2, "`\"` quotes identifiers.";
    IGNORE_SPACE = 3, "Spaces may stand between a function's name and its parenthesis.";
    ONLY_FULL_GROUP_BY = 5, "Selected expressions must follow from the groups.";
    NO_UNSIGNED_SUBTRACTION = 6, "Subtraction is signed even between unsigned numbers.";
    NO_DIR_IN_CREATE = 7, "Accepted; changes nothing.";
    ANSI = 18, "The ANSI combination.";
    NO_AUTO_VALUE_ON_ZERO = 19, "0 is stored as 0 in AUTO_INCREMENT columns.";
    NO_BACKSLASH_ESCAPES = 20, "Backslash is an ordinary character in strings.";
    STRICT_TRANS_TABLES = 21, "Bad values are errors.";
    STRICT_ALL_TABLES = 22, "Bad values are errors.";
    NO_ZERO_IN_DATE = 23, "Dates with a zero month or day are refused.";
    NO_ZERO_DATE = 24, "'0000-00-00' is refused.";
    ALLOW_INVALID_DATES = 25, "Days are checked against 31 only.";
    ERROR_FOR_DIVISION_BY_ZERO = 26, "Division by zero warns, or fails in strict modes.";
    TRADITIONAL = 27, "The TRADITIONAL combination.";
    HIGH_NOT_PRECEDENCE = 29, "NOT binds as tightly as `!`.";
    NO_ENGINE_SUBSTITUTION = 30, "Unknown engines are errors.";
    PAD_CHAR_TO_FULL_LENGTH = 31, "CHAR columns are read with their padding.";
    TIME_TRUNCATE_FRACTIONAL = 32, "Surplus fractional seconds are cut, not rounded.";
}

impl SqlMode {
    /// MySQL 8.4's default.
    pub const DEFAULT: SqlMode = SqlMode(
        Self::ONLY_FULL_GROUP_BY.0
            | Self::STRICT_TRANS_TABLES.0
            | Self::NO_ZERO_IN_DATE.0
            | Self::NO_ZERO_DATE.0
            | Self::ERROR_FOR_DIVISION_BY_ZERO.0
            | Self::NO_ENGINE_SUBSTITUTION.0,
    );
    const ANSI_ALL: u64 = Self::REAL_AS_FLOAT.0
        | Self::PIPES_AS_CONCAT.0
        | Self::ANSI_QUOTES.0
        | Self::IGNORE_SPACE.0
        | Self::ONLY_FULL_GROUP_BY.0
        | Self::ANSI.0;
    const TRADITIONAL_ALL: u64 = Self::STRICT_TRANS_TABLES.0
        | Self::STRICT_ALL_TABLES.0
        | Self::NO_ZERO_IN_DATE.0
        | Self::NO_ZERO_DATE.0
        | Self::ERROR_FOR_DIVISION_BY_ZERO.0
        | Self::TRADITIONAL.0
        | Self::NO_ENGINE_SUBSTITUTION.0;

    /// Whether all of `modes` are on.
    #[inline]
    pub const fn contains(self, modes: SqlMode) -> bool {
        self.0 & modes.0 == modes.0
    }

    /// With these modes too.
    pub const fn with(self, modes: SqlMode) -> SqlMode {
        SqlMode(self.0 | modes.0)
    }

    /// Without these modes.
    pub const fn without(self, modes: SqlMode) -> SqlMode {
        SqlMode(self.0 & !modes.0)
    }

    /// Either strict mode.
    #[inline]
    pub const fn strict(self) -> bool {
        self.0 & (Self::STRICT_TRANS_TABLES.0 | Self::STRICT_ALL_TABLES.0) != 0
    }

    /// Reads a comma-separated list in any case; error 1231 for an unknown name. Combinations bring their
    /// parts along.
    pub fn parse(text: &str) -> Result<SqlMode, SqlError> {
        let mut modes = 0;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let found = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            modes |= match found {
                Some((_, SqlMode::ANSI)) => Self::ANSI_ALL,
                Some((_, SqlMode::TRADITIONAL)) => Self::TRADITIONAL_ALL,
                Some((_, mode)) => mode.0,
                // Names that MySQL 8 dropped but old dumps still set inside version comments.
                None if is_retired(name) => 0,
                None => return Err(wrong(name)),
            };
        }
        Ok(SqlMode(modes))
    }

    /// The modes of a number, as `SET sql_mode = 0` gives them.
    pub fn from_number(number: u64) -> Result<SqlMode, SqlError> {
        let known = NAMES.iter().fold(0, |all, (_, mode)| all | mode.0);
        if number & !known != 0 { Err(wrong(&number.to_string())) } else { Ok(SqlMode(number)) }
    }
}

fn is_retired(name: &str) -> bool {
    ["NO_AUTO_CREATE_USER", "NO_FIELD_OPTIONS", "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS"]
        .iter()
        .any(|retired| retired.eq_ignore_ascii_case(name))
}

fn wrong(value: &str) -> SqlError {
    SqlError::new(
        ErrorCode::WrongValueForVariable,
        format!("Variable 'sql_mode' can't be set to the value of '{value}'"),
    )
}

impl fmt::Display for SqlMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, mode) in NAMES {
            if self.contains(*mode) {
                if !first {
                    f.write_str(",")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_print_in_mysql_s_order_and_read_back() {
        let printed = SqlMode::DEFAULT.to_string();
        assert_eq!(
            printed,
            "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
             ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
        );
        assert_eq!(SqlMode::parse(&printed), Ok(SqlMode::DEFAULT));
        assert_eq!(SqlMode::parse(" ansi_quotes, ,PIPES_AS_CONCAT"), {
            Ok(SqlMode::ANSI_QUOTES.with(SqlMode::PIPES_AS_CONCAT))
        });
        assert_eq!(
            SqlMode::parse("TRADITIONAL").map(|m| m.to_string()).as_deref(),
            Ok("STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
                ERROR_FOR_DIVISION_BY_ZERO,TRADITIONAL,NO_ENGINE_SUBSTITUTION")
        );
    }

    #[test]
    fn an_unknown_mode_is_error_1231() {
        let error = SqlMode::parse("STRICT,NONE").unwrap_err();
        assert_eq!(error.code.errno(), 1231);
        assert_eq!(error.message, "Variable 'sql_mode' can't be set to the value of 'STRICT'");
    }
}
