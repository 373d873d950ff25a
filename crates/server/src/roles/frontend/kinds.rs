//! What kind of statement a text is, by its first word, for metrics and logs: nothing that matters depends on it.

use crate::metrics;
use ::metrics::{Counter, Histogram, counter, histogram};
use std::time::Duration;

/// Kinds of statements, the labels of the metrics.
const KINDS: &[&str] = &[
    "select",
    "insert",
    "update",
    "delete",
    "replace",
    "begin",
    "start",
    "commit",
    "rollback",
    "savepoint",
    "release",
    "set",
    "show",
    "create",
    "alter",
    "drop",
    "truncate",
    "use",
    "explain",
    "describe",
    "with",
    "call",
    "kill",
    "load",
    "prepare",
    "execute",
    "other",
];

/// A kind of statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(u8);

impl Kind {
    /// Of this text: its first word behind blanks and comments.
    pub fn of(text: &[u8]) -> Kind {
        let word = first_word(text);
        let at = KINDS.iter().position(|kind| word.eq_ignore_ascii_case(kind.as_bytes()));
        Kind(at.unwrap_or(KINDS.len() - 1) as u8)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        KINDS[usize::from(self.0)]
    }

    /// Whether statements of this kind leave every session variable as it was.
    pub fn keeps_variables(self) -> bool {
        !matches!(self.name(), "set" | "use" | "call" | "prepare" | "execute" | "other")
    }
}

fn first_word(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        let after =
            |rest: &[u8], end: &[u8]| rest.windows(end.len()).position(|w| w == end).map(|at| at + end.len());
        let skipped = match rest {
            // `/*!` hides a statement rather than a remark: not for us to read.
            [b'/', b'*', b'!', ..] => return b"",
            [b'/', b'*', ..] => after(&rest[2..], b"*/").map(|end| end + 2),
            [b'-', b'-', ..] | [b'#', ..] => after(rest, b"\n"),
            [b'(' | b';', ..] => Some(1),
            _ => {
                let end = rest.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(rest.len());
                return &rest[..end];
            }
        };
        match skipped {
            Some(skipped) => rest = &rest[skipped..],
            None => return b"",
        }
    }
}

/// Counters and histograms of statements, looked up once.
pub struct StatementMetrics {
    kinds: Vec<(Counter, Counter, Histogram)>,
}

impl StatementMetrics {
    /// Of the recorder that is installed now.
    pub fn new() -> Self {
        let of = |kind: &'static str| {
            (
                counter!(metrics::FRONTEND_STATEMENTS_TOTAL, "kind" => kind, "outcome" => "ok"),
                counter!(metrics::FRONTEND_STATEMENTS_TOTAL, "kind" => kind, "outcome" => "error"),
                histogram!(metrics::FRONTEND_STATEMENT_SECONDS, "kind" => kind),
            )
        };
        StatementMetrics { kinds: KINDS.iter().map(|kind| of(kind)).collect() }
    }

    /// A statement has ended.
    pub fn record(&self, kind: Kind, ok: bool, took: Duration) {
        let (succeeded, failed, time) = &self.kinds[usize::from(kind.0)];
        if ok { succeeded } else { failed }.increment(1);
        time.record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts() {
        let name = |text: &str| Kind::of(text.as_bytes()).name();
        assert_eq!(name("SELECT 1"), "select");
        assert_eq!(name("  /* ApplicationName=x */ -- y\n (select 1)"), "select");
        assert_eq!(name("# only a remark"), "other");
        assert_eq!(name("/*!40101 SET NAMES utf8 */"), "other");
        assert_eq!(name("/* open"), "other");
        assert_eq!(name("selecting"), "other");
        assert_eq!(name(""), "other");
    }
}
