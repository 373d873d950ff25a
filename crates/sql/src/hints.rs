//! Optimizer hints, `/*+ … */`: the two that say something about a statement as a whole.
//!
//! All others speak of plans that this server does not choose among, and are comments. Hints are read from the text
//! and not by the grammar, because statements that differ in comments alone share what is parsed.

use crate::ParseOptions;
use crate::lexer::{Kind, Token, lex};

/// What the hints of a statement say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// MAX_EXECUTION_TIME(n) of a SELECT, in milliseconds.
    pub execution_millis_max: Option<u64>,
    /// SET_VAR(name = value), in order: values as written, without quotes.
    pub variables: Vec<(String, HintValue)>,
}

/// The value of a SET_VAR.
#[derive(Clone, Debug, PartialEq)]
pub enum HintValue {
    /// An integer.
    Int(i64),
    /// Anything else.
    Text(String),
}

/// The hints of the statement that a text begins with. They stand behind its first SELECT, INSERT, REPLACE, UPDATE or
/// DELETE; what cannot be read ends them.
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
    let words = lex(&comment[..end], 0, options).tokens;
    let mut rest = words.as_slice();
    while let Some(after) = read(rest, &mut hints) {
        rest = after;
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

/// Reads one hint; what follows it, or `None` at the end.
fn read<'t>(tokens: &'t [Token], hints: &mut Hints) -> Option<&'t [Token]> {
    let (name, rest) = tokens.split_first()?;
    if name.kind != Kind::Word {
        return None;
    }
    if rest.first()?.text != "(" {
        return Some(rest);
    }
    let close = rest.iter().position(|token| token.kind == Kind::Punct && token.text == ")")?;
    let within = &rest[1..close];
    if name.text.eq_ignore_ascii_case("MAX_EXECUTION_TIME") {
        // The first one counts.
        let millis = within.first().filter(|n| n.kind == Kind::Int).and_then(|n| n.text.parse().ok())?;
        hints.execution_millis_max.get_or_insert(millis);
    } else if name.text.eq_ignore_ascii_case("SET_VAR") {
        let (variable, value) = assignment(within)?;
        if !hints.variables.iter().any(|(known, _)| *known == variable) {
            hints.variables.push((variable, value));
        }
    }
    Some(&rest[close + 1..])
}

/// `name = value`.
fn assignment(tokens: &[Token]) -> Option<(String, HintValue)> {
    let [name, equals, value @ ..] = tokens else { return None };
    if name.kind != Kind::Word || equals.text != "=" {
        return None;
    }
    let (negative, value) = match value {
        [sign, value] if sign.text == "-" => (true, value),
        [value] => (false, value),
        _ => return None,
    };
    let value = match (value.kind, value.text.parse::<i64>()) {
        (Kind::Int, Ok(n)) => HintValue::Int(if negative { -n } else { n }),
        (Kind::Word | Kind::Str | Kind::Quoted | Kind::Int | Kind::Dec, _) if !negative => {
            HintValue::Text(value.text.clone())
        }
        _ => return None,
    };
    Some((name.text.to_ascii_lowercase(), value))
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
}
