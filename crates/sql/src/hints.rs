//! Optimizer hints, `/*+ … */`: the two that say something about a statement as a whole.
//!
//! All others speak of plans that this server does not choose among, and are comments as long as there is a hint of that name. Hints are read from the text
//! and not by the grammar, because statements that differ in comments alone share what is parsed.

use crate::ParseOptions;
use crate::lexer::{Kind, Token, lex};
use crate::parser::near;
use assize_model::SqlError;

/// What the hints of a statement say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// MAX_EXECUTION_TIME(n) of a SELECT, in milliseconds.
    pub execution_millis_max: Option<u64>,
    /// SET_VAR(name = value), in order: values as written, without quotes.
    pub variables: Vec<(String, HintValue)>,
    /// The byte of the text from which on they cannot be read.
    pub unread: Option<usize>,
}

/// The hints there are.
const NAMES: &[&str] = &[
    "BKA",
    "BNL",
    "DERIVED_CONDITION_PUSHDOWN",
    "GROUP_INDEX",
    "HASH_JOIN",
    "INDEX",
    "INDEX_MERGE",
    "JOIN_FIXED_ORDER",
    "JOIN_INDEX",
    "JOIN_ORDER",
    "JOIN_PREFIX",
    "JOIN_SUFFIX",
    "MAX_EXECUTION_TIME",
    "MERGE",
    "MRR",
    "NO_BKA",
    "NO_BNL",
    "NO_DERIVED_CONDITION_PUSHDOWN",
    "NO_GROUP_INDEX",
    "NO_HASH_JOIN",
    "NO_ICP",
    "NO_INDEX",
    "NO_INDEX_MERGE",
    "NO_JOIN_INDEX",
    "NO_MERGE",
    "NO_MRR",
    "NO_ORDER_INDEX",
    "NO_RANGE_OPTIMIZATION",
    "NO_SEMIJOIN",
    "NO_SKIP_SCAN",
    "ORDER_INDEX",
    "QB_NAME",
    "RESOURCE_GROUP",
    "SEMIJOIN",
    "SET_VAR",
    "SKIP_SCAN",
    "SUBQUERY",
];

/// The value of a SET_VAR.
#[derive(Clone, Debug, PartialEq)]
pub enum HintValue {
    /// An integer.
    Int(i64),
    /// Anything else.
    Text(String),
}

/// The hints of the statement that a text begins with. They stand behind its first SELECT, INSERT, REPLACE, UPDATE or
/// DELETE; what cannot be read ends them, and is a warning: see [`hint_syntax_error`].
pub fn hints(text: &[u8], options: &ParseOptions) -> Hints {
    let mut hints = Hints::default();
    if memchr::memmem::find(text, b"/*+").is_none() {
        return hints;
    }
    let tokens = lex(text, 0, options).tokens;
    let Some(at) = verb(&tokens) else { return hints };
    let behind = &text[tokens[at].end..tokens[at + 1].start];
    let Some(comment) = behind.trim_ascii_start().strip_prefix(b"/*+") else { return hints };
    let Some(end) = memchr::memmem::find(comment, b"*/") else { return hints };
    let begin = tokens[at + 1].start - behind.trim_ascii_start().len() + "/*+".len();
    let words = lex(&comment[..end], 0, options).tokens;
    let mut rest = words.as_slice();
    // What ends a statement ends no hints.
    while rest.first().is_some_and(|next| next.kind != Kind::End || next.start < end) {
        match read(rest, &mut hints) {
            Ok(after) => rest = after,
            Err(wrong) => {
                hints.unread = Some(begin + wrong);
                break;
            }
        }
    }
    if !tokens[at].text.eq_ignore_ascii_case("SELECT") {
        hints.execution_millis_max = None;
    }
    hints
}

/// Where the word is that hints follow: parentheses may open before it, and a WITH clause stand before it.
fn verb(tokens: &[Token]) -> Option<usize> {
    let with = tokens.first()?.text.eq_ignore_ascii_case("WITH");
    let mut depth = 0u32;
    for (at, token) in tokens.iter().enumerate() {
        match (token.kind, token.text.as_str()) {
            (Kind::Punct, "(") => depth += 1,
            (Kind::Punct, ")") => depth = depth.saturating_sub(1),
            (Kind::Word, word) if !with || depth == 0 => {
                let verbs = ["SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE"];
                if verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)) {
                    return Some(at);
                }
                if !with {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

/// Reads one hint; what follows it, or the byte of the first token that does not belong there.
fn read<'t>(tokens: &'t [Token], hints: &mut Hints) -> Result<&'t [Token], usize> {
    let mut rest = tokens;
    let name = next(&mut rest, |token| {
        token.kind == Kind::Word && NAMES.iter().any(|name| token.text.eq_ignore_ascii_case(name))
    })?;
    next(&mut rest, |token| is(token, "("))?;
    if name.text.eq_ignore_ascii_case("MAX_EXECUTION_TIME") {
        let millis = next(&mut rest, |token| token.kind == Kind::Int && token.text.parse::<u64>().is_ok())?;
        next(&mut rest, |token| is(token, ")"))?;
        // The first one counts.
        hints.execution_millis_max = hints.execution_millis_max.or(millis.text.parse().ok());
    } else if name.text.eq_ignore_ascii_case("SET_VAR") {
        let (variable, value) = assignment(&mut rest)?;
        next(&mut rest, |token| is(token, ")"))?;
        if !hints.variables.iter().any(|(known, _)| *known == variable) {
            hints.variables.push((variable, value));
        }
    } else {
        while !is(next(&mut rest, is_argument)?, ")") {}
    }
    Ok(rest)
}

/// The next token, if it is of this kind; otherwise the byte at which it begins.
fn next<'t>(rest: &mut &'t [Token], is_wanted: impl Fn(&Token) -> bool) -> Result<&'t Token, usize> {
    // Tokens end with one of kind `End`, which nobody wants.
    let (token, behind) = rest.split_first().ok_or(0usize)?;
    if !is_wanted(token) {
        return Err(token.start);
    }
    *rest = behind;
    Ok(token)
}

fn is(token: &Token, punct: &str) -> bool {
    token.kind == Kind::Punct && token.text == punct
}

/// What may stand between the parentheses of a hint that is a comment, and the one that closes them.
fn is_argument(token: &Token) -> bool {
    match token.kind {
        Kind::End | Kind::Bad | Kind::Str | Kind::Param => false,
        Kind::Punct => matches!(token.text.as_str(), "," | ")" | "." | "@"),
        _ => true,
    }
}

/// `name = value`.
fn assignment(rest: &mut &[Token]) -> Result<(String, HintValue), usize> {
    let name = next(rest, |token| token.kind == Kind::Word)?;
    next(rest, |token| is(token, "="))?;
    let is_negative = next(rest, |token| is(token, "-")).is_ok();
    let value = next(rest, |token| match token.kind {
        Kind::Int | Kind::Dec => true,
        Kind::Word | Kind::Str | Kind::Quoted => !is_negative,
        _ => false,
    })?;
    let sign = if is_negative { "-" } else { "" };
    let text = format!("{sign}{}", value.text);
    let value = match (value.kind, text.parse()) {
        (Kind::Int, Ok(n)) => HintValue::Int(n),
        _ => HintValue::Text(text),
    };
    Ok((name.text.to_ascii_lowercase(), value))
}

/// The warning about hints that cannot be read from a byte of a statement on.
pub fn hint_syntax_error(text: &[u8], at: usize) -> SqlError {
    let end = text.iter().rposition(|b| !b.is_ascii_whitespace() && *b != b';').map_or(0, |last| last + 1);
    near("Optimizer hint syntax error", &text[..end], at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Option<u64>, String) {
        let hints = hints(text.as_bytes(), &ParseOptions::default());
        let variables = hints.variables.iter().map(|(name, value)| match value {
            HintValue::Int(n) => format!("{name}={n}"),
            HintValue::Text(text) => format!("{name}='{text}'"),
        });
        (hints.execution_millis_max, variables.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn hints_stand_behind_the_first_verb() {
        let limit = |text| of(text).0;
        assert_eq!(limit("SELECT /*+ MAX_EXECUTION_TIME(1500) */ 1"), Some(1500));
        assert_eq!(limit("/* x */ select/*+max_execution_time( 7 )*/ 1"), Some(7));
        assert_eq!(limit("(SELECT /*+ MAX_EXECUTION_TIME(7) */ 1) UNION SELECT 2"), Some(7));
        assert_eq!(limit("WITH a AS (SELECT /*+ MAX_EXECUTION_TIME(8) */ 1) SELECT * FROM a"), None);
        assert_eq!(limit("WITH a AS (SELECT 1) SELECT /*+ MAX_EXECUTION_TIME(9) */ * FROM a"), Some(9));
        assert_eq!(
            limit("SELECT /*+ BKA(t1) NO_RANGE_OPTIMIZATION(@q t3 PRIMARY) MAX_EXECUTION_TIME(5) */ 1"),
            Some(5)
        );
        assert_eq!(limit("SELECT /*+ MAX_EXECUTION_TIME(5) MAX_EXECUTION_TIME(6) */ 1"), Some(5));
        // Elsewhere, or elsewise, they are comments.
        assert_eq!(limit("SELECT 1 /*+ MAX_EXECUTION_TIME(5) */"), None);
        assert_eq!(limit("SELECT '/*+ MAX_EXECUTION_TIME(5) */'"), None);
        assert_eq!(limit("SELECT (SELECT /*+ MAX_EXECUTION_TIME(5) */ 1)"), None);
        assert_eq!(limit("SELECT /* MAX_EXECUTION_TIME(5) /*+ x */ 1"), None);
        assert_eq!(limit("SELECT /*+ MAX_EXECUTION_TIME(-5) */ 1"), None);
        assert_eq!(limit("SELECT /*+ MAX_EXECUTION_TIME(5"), None);
        assert_eq!(limit("DELETE /*+ MAX_EXECUTION_TIME(5) */ FROM t"), None);
    }

    #[test]
    fn variables_are_set_by_numbers_words_and_strings() {
        let text = "INSERT /*+ SET_VAR(foreign_key_checks=OFF) SET_VAR(a = -3) SET_VAR(A = 4) SET_VAR(sql_mode = 'ANSI,x') */ INTO t";
        assert_eq!(of(text).1, "foreign_key_checks='OFF' a=-3 sql_mode='ANSI,x'");
        assert_eq!(of("SELECT /*+ SET_VAR(x) SET_VAR(y=1) */ 1").1, "");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_follows() {
        let told = |text: &str| {
            let hints = hints(text.as_bytes(), &ParseOptions::default());
            hints.unread.map(|at| hint_syntax_error(text.as_bytes(), at).message)
        };
        let near =
            |rest: &str, line: u32| Some(format!("Optimizer hint syntax error near '{rest}' at line {line}"));
        assert_eq!(told("SELECT /*+ BKA(t) BOGUS */ 1 AS n"), near("BOGUS */ 1 AS n", 1));
        assert_eq!(told("SELECT /*+\n BOGUS(1) */ 1 ; "), near("BOGUS(1) */ 1", 2));
        assert_eq!(told("SELECT /*+ MAX_EXECUTION_TIME(-5) */ 1"), near("-5) */ 1", 1));
        assert_eq!(told("SELECT /*+ MAX_EXECUTION_TIME 5 */ 1"), near("5 */ 1", 1));
        assert_eq!(told("SELECT /*+ SET_VAR(x) */ 1"), near(") */ 1", 1));
        assert_eq!(told("SELECT /*+ QB_NAME( */ 1"), near("*/ 1", 1));
        assert_eq!(told("SELECT /*+ BKA(t); BNL(t) */ 1"), near("; BNL(t) */ 1", 1));
        assert_eq!(
            told(&format!("SELECT /*+ X */ '{}'", "y".repeat(100))),
            near(&format!("X */ '{}", "y".repeat(74)), 1)
        );
        for text in [
            "SELECT /*+ */ 1",
            "SELECT /*+ BKA() NO_INDEX(@q t `PRIMARY`, k) JOIN_ORDER(a@b, c) SUBQUERY(@q MATERIALIZATION) */ 1",
            "SELECT /*+ MAX_EXECUTION_TIME(5) SET_VAR(a=1) SET_VAR(b = -0.5) QB_NAME(q) SEMIJOIN(FIRSTMATCH) */ 1",
            "SELECT 1 /*+ BOGUS */",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
