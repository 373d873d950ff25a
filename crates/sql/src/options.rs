//! What the session's settings change about syntax.

/// What the session's settings change about syntax: the part of `sql_mode` that the parser sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParseOptions {
    /// ANSI_QUOTES: `"a"` is an identifier.
    pub ansi_quotes: bool,
    /// NO_BACKSLASH_ESCAPES: `\` is an ordinary character of a string.
    pub no_backslash_escapes: bool,
    /// PIPES_AS_CONCAT: `||` concatenates, and binds tighter than `^`.
    pub pipes_as_concat: bool,
    /// HIGH_NOT_PRECEDENCE: `NOT` binds as tightly as `!`.
    pub high_not_precedence: bool,
    /// `/*!NNNNN … */` is executed up to this version. `/*M!NNNNNN … */`, which is for MariaDB, is a comment.
    pub version: u32,
}

impl Default for ParseOptions {
    fn default() -> Self {
        ParseOptions {
            ansi_quotes: false,
            no_backslash_escapes: false,
            pipes_as_concat: false,
            high_not_precedence: false,
            version: 80_406,
        }
    }
}

impl ParseOptions {
    /// The options of this `sql_mode`, a list of mode names.
    pub fn from_sql_mode(sql_mode: &str) -> Self {
        let mut options = ParseOptions::default();
        for mode in sql_mode.split(',') {
            match mode.trim().to_ascii_uppercase().as_str() {
                "ANSI" => {
                    options.ansi_quotes = true;
                    options.pipes_as_concat = true;
                }
                "ANSI_QUOTES" => options.ansi_quotes = true,
                "NO_BACKSLASH_ESCAPES" => options.no_backslash_escapes = true,
                "PIPES_AS_CONCAT" => options.pipes_as_concat = true,
                "HIGH_NOT_PRECEDENCE" => options.high_not_precedence = true,
                _ => {}
            }
        }
        options
    }
}
