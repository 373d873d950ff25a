//! Syntax: digests, parsing, classification. Knows what a statement says, not what it means.

/// A parsed statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// SELECT, VALUES, UNION …
    Query(Box<sqlparser::ast::Query>),
}
