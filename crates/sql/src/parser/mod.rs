//! Tokens to statements: a recursive-descent parser of MySQL's grammar.
//!
//! Written by hand rather than on `sqlparser`'s own parser, because precedence, adjacent literals, version
//! comments, index hints and error positions must be MySQL's to the letter; its tree is what we share with the
//! query engine.

mod cluster;
mod ddl;
mod dml;
mod expr;
mod query;
mod show;
mod users;
mod utility;

use crate::lexer::{Kind, Token, lex};
use crate::{ParseOptions, Parsed, Statement, TableName};
use assize_model::{ErrorCode, SqlError};
use sqlparser::ast::{Expr, Ident, Query as QueryNode};

/// Expressions and queries may nest so deep, and left-leaning chains of operators may be so long: whoever
/// walks the tree recursively must not run out of stack.
pub const NESTING_MAX: u32 = 100;
/// The longest chain of left-associative operators (`a + b + c …`); AND, OR and XOR chains are balanced.
pub const CHAIN_MAX: u32 = 400;

/// With less stack than this left, parsing goes on in a new segment.
const STACK_RESERVE: usize = 256 << 10;
/// Of this size.
const STACK_SEGMENT: usize = 2 << 20;

pub(crate) type Result<T> = std::result::Result<T, SqlError>;

/// What [`parse_next`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The statement; `None` for an empty one (`;;`, only comments).
    pub parsed: Option<Parsed>,
    /// Where the text goes on.
    pub next: usize,
    /// Whether anything but blanks and semicolons follows.
    pub more: bool,
}

/// Parses the statement that begins at `from` and says where the next one begins. A session calls this once
/// per statement, because an earlier statement may change `sql_mode`, and because a syntax error further on
/// must not keep the statements before it from running.
pub fn parse_next(text: &[u8], from: usize, options: &ParseOptions) -> Result<Next> {
    let lexed = lex(text, from, options);
    let more = has_more(text, lexed.next, options);
    if lexed.tokens.len() == 1 {
        return Ok(Next { parsed: None, next: lexed.next, more });
    }
    let start = lexed.tokens[0].start;
    let end = lexed.tokens[lexed.tokens.len() - 2].end;
    let mut parser = Parser::new(text, lexed.tokens, options);
    let statement = parser.statement()?;
    parser.expect_end()?;
    let placeholders = parser.params;
    Ok(Next { parsed: Some(Parsed { statement, span: start..end, placeholders }), next: lexed.next, more })
}

/// Parses every statement of a text. Fails at the first syntax error.
pub fn parse<T: AsRef<[u8]> + ?Sized>(text: &T, options: &ParseOptions) -> Result<Vec<Parsed>> {
    let text = text.as_ref();
    let mut out = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let next = parse_next(text, from, options)?;
        out.extend(next.parsed);
        from = next.next;
    }
    Ok(out)
}

/// Parses a text that must be exactly one statement. Error 1065 if there is none.
pub fn parse_one<T: AsRef<[u8]> + ?Sized>(text: &T, options: &ParseOptions) -> Result<Parsed> {
    let text = text.as_ref();
    let mut from = 0;
    loop {
        let next = parse_next(text, from, options)?;
        match next.parsed {
            Some(parsed) if !next.more => return Ok(parsed),
            Some(_) => {
                let at = lex(text, next.next, options).tokens[0].start;
                return Err(syntax_error(text, at));
            }
            None if next.next >= text.len() => {
                return Err(SqlError::new(ErrorCode::EmptyQuery, "Query was empty"));
            }
            None => from = next.next,
        }
    }
}

/// The byte ranges of the statements of a text, without their semicolons; empty ones are left out.
pub fn split_statements<T: AsRef<[u8]> + ?Sized>(
    text: &T,
    options: &ParseOptions,
) -> Vec<std::ops::Range<usize>> {
    statement_places(text, options).into_iter().map(|place| place.tokens).collect()
}

/// Where a statement lies in a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatementPlace {
    /// From its first token to its last.
    pub tokens: std::ops::Range<usize>,
    /// With the comments before and behind it, some of which may be executed, and its semicolon.
    pub whole: std::ops::Range<usize>,
}

/// The places of the statements of a text; empty ones are left out.
pub fn statement_places<T: AsRef<[u8]> + ?Sized>(text: &T, options: &ParseOptions) -> Vec<StatementPlace> {
    let text = text.as_ref();
    let mut out = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let lexed = lex(text, from, options);
        if let [first, .., last, _] | [first @ last, _] = lexed.tokens.as_slice() {
            out.push(StatementPlace { tokens: first.start..last.end, whole: from..lexed.next });
        }
        from = lexed.next;
    }
    out
}

/// Parses an expression on its own: a stored default, a CHECK, a generated column.
pub fn parse_expression(text: &str, options: &ParseOptions) -> Result<Expr> {
    whole(text, options, |p| p.expr())
}

/// Parses a query on its own: the text of a view.
pub fn parse_query(text: &str, options: &ParseOptions) -> Result<QueryNode> {
    whole(text, options, |p| p.query())
}

/// Parses a column type on its own, as it stands in CREATE TABLE.
pub fn parse_data_type(text: &str, options: &ParseOptions) -> Result<crate::DataType> {
    whole(text, options, |p| p.data_type())
}

fn whole<'a, T>(
    text: &'a str,
    options: &'a ParseOptions,
    read: impl FnOnce(&mut Parser<'a>) -> Result<T>,
) -> Result<T> {
    let lexed = lex(text.as_bytes(), 0, options);
    let mut parser = Parser::new(text.as_bytes(), lexed.tokens, options);
    let value = read(&mut parser)?;
    parser.expect_end()?;
    Ok(value)
}

fn has_more(text: &[u8], mut from: usize, options: &ParseOptions) -> bool {
    // The common cases cost nothing: no text left, or a last semicolon and blanks.
    while from < text.len() {
        if text[from].is_ascii_whitespace() || text[from] == b';' {
            from += 1;
            continue;
        }
        let lexed = lex(text, from, options);
        if lexed.tokens.len() > 1 {
            return true;
        }
        if lexed.next <= from {
            return false;
        }
        from = lexed.next;
    }
    false
}

/// MySQL's error 1064 for the token at this byte.
pub fn syntax_error(text: &[u8], at: usize) -> SqlError {
    near(
        "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the right syntax to use",
        text,
        at,
    )
}

pub(crate) fn near(what: &str, text: &[u8], at: usize) -> SqlError {
    let at = at.min(text.len());
    let line = 1 + text[..at].iter().filter(|b| **b == b'\n').count();
    let rest = String::from_utf8_lossy(&text[at..text.len().min(at + 400)]);
    // MySQL prints 80 characters of what is left.
    let rest: String = rest.chars().take(80).collect();
    SqlError::new(ErrorCode::ParseError, format!("{what} near '{rest}' at line {line}"))
}

/// Reads one statement's tokens.
pub(crate) struct Parser<'a> {
    text: &'a [u8],
    tokens: Vec<Token>,
    pos: usize,
    options: &'a ParseOptions,
    depth: u32,
    /// How many `?` were read.
    params: u32,
    /// INTO of the outermost SELECT.
    into: Option<crate::SelectInto>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a [u8], tokens: Vec<Token>, options: &'a ParseOptions) -> Self {
        Parser { text, tokens, pos: 0, options, depth: 0, params: 0, into: None }
    }

    // -- looking --------------------------------------------------------------------------------------------

    fn tok(&self) -> &Token {
        &self.tokens[self.pos.min(self.tokens.len() - 1)]
    }

    fn tok_at(&self, ahead: usize) -> &Token {
        &self.tokens[(self.pos + ahead).min(self.tokens.len() - 1)]
    }

    fn kind(&self) -> Kind {
        self.tok().kind
    }

    fn at_end(&self) -> bool {
        self.kind() == Kind::End
    }

    fn is_kw_at(&self, ahead: usize, word: &str) -> bool {
        let token = self.tok_at(ahead);
        token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word)
    }

    fn is_kw(&self, word: &str) -> bool {
        self.is_kw_at(0, word)
    }

    fn is_kws(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, word)| self.is_kw_at(i, word))
    }

    fn is_any_kw(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_kw(word))
    }

    fn is_punct_at(&self, ahead: usize, punct: &str) -> bool {
        let token = self.tok_at(ahead);
        token.kind == Kind::Punct && token.text == punct
    }

    fn is_punct(&self, punct: &str) -> bool {
        self.is_punct_at(0, punct)
    }

    // -- taking ---------------------------------------------------------------------------------------------

    fn advance(&mut self) -> Token {
        let token = self.tok().clone();
        if self.pos < self.tokens.len() - 1 {
            self.pos += 1;
        }
        token
    }

    fn skip(&mut self, n: usize) {
        self.pos = (self.pos + n).min(self.tokens.len() - 1);
    }

    fn eat_kw(&mut self, word: &str) -> bool {
        let found = self.is_kw(word);
        if found {
            self.skip(1);
        }
        found
    }

    fn eat_kws(&mut self, words: &[&str]) -> bool {
        let found = self.is_kws(words);
        if found {
            self.skip(words.len());
        }
        found
    }

    /// Takes one of these words, and says which.
    fn eat_one_of<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        let found = words.iter().find(|word| self.is_kw(word)).copied();
        if found.is_some() {
            self.skip(1);
        }
        found
    }

    fn eat(&mut self, punct: &str) -> bool {
        let found = self.is_punct(punct);
        if found {
            self.skip(1);
        }
        found
    }

    fn expect_kw(&mut self, word: &str) -> Result<()> {
        if self.eat_kw(word) { Ok(()) } else { Err(self.fail()) }
    }

    fn expect_kws(&mut self, words: &[&str]) -> Result<()> {
        words.iter().try_for_each(|word| self.expect_kw(word))
    }

    fn expect(&mut self, punct: &str) -> Result<()> {
        if self.eat(punct) { Ok(()) } else { Err(self.fail()) }
    }

    fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.fail()) }
    }

    /// The error at the token that comes next.
    fn fail(&self) -> SqlError {
        syntax_error(self.text, self.tok().start)
    }

    fn too_deep(&self) -> SqlError {
        near("memory exhausted", self.text, self.tok().start)
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= NESTING_MAX {
            return Err(self.too_deep());
        }
        self.depth += 1;
        // A level costs up to 80 KiB of stack in a build without optimisation; whoever calls may have little left.
        let value = stacker::maybe_grow(STACK_RESERVE, STACK_SEGMENT, || read(self));
        self.depth -= 1;
        value
    }

    // -- names and literals ----------------------------------------------------------------------------------

    /// Whether the token can be a name.
    fn is_name_at(&self, ahead: usize) -> bool {
        let token = self.tok_at(ahead);
        match token.kind {
            Kind::Quoted => true,
            Kind::Word => !crate::words::is_reserved(&token.text),
            _ => false,
        }
    }

    /// A name. After a point, reserved words are names too.
    fn name(&mut self) -> Result<String> {
        if self.is_name_at(0) { Ok(self.advance().text) } else { Err(self.fail()) }
    }

    fn name_after_dot(&mut self) -> Result<String> {
        match self.kind() {
            Kind::Word | Kind::Quoted => Ok(self.advance().text),
            _ => Err(self.fail()),
        }
    }

    /// A name as `sqlparser` knows it.
    fn ident(&mut self) -> Result<Ident> {
        if !self.is_name_at(0) {
            return Err(self.fail());
        }
        Ok(self.any_ident())
    }

    fn any_ident(&mut self) -> Ident {
        let token = self.advance();
        let mut ident = Ident::new(token.text);
        if token.kind == Kind::Quoted {
            ident.quote_style = Some('`');
        }
        ident
    }

    /// `table` or `database.table`.
    fn table_name(&mut self) -> Result<TableName> {
        if self.is_punct(".") {
            // `.t` is the selected database's table, an old form that ODBC drivers send.
            self.skip(1);
            return Ok(TableName { database: None, name: self.name_after_dot()? });
        }
        let first = self.name()?;
        if self.eat(".") {
            return Ok(TableName { database: Some(first), name: self.name_after_dot()? });
        }
        Ok(TableName { database: None, name: first })
    }

    fn table_names(&mut self) -> Result<Vec<TableName>> {
        self.comma_list(|p| p.table_name())
    }

    fn comma_list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut out = vec![read(self)?];
        while self.eat(",") {
            out.push(read(self)?);
        }
        Ok(out)
    }

    /// `(a, b, …)`
    fn paren_list<T>(&mut self, read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect("(")?;
        let out = self.comma_list(read)?;
        self.expect(")")?;
        Ok(out)
    }

    /// A string literal; adjacent ones are one.
    fn string(&mut self) -> Result<String> {
        if !matches!(self.kind(), Kind::Str | Kind::NStr) {
            // A quoted name under ANSI_QUOTES is no string, but a hex literal is.
            if self.kind() == Kind::Hex {
                let digits = self.advance().text;
                return Ok(String::from_utf8_lossy(&crate::literal::unhex(&digits)).into_owned());
            }
            return Err(self.fail());
        }
        let mut out = self.advance().text;
        while self.kind() == Kind::Str {
            out.push_str(&self.advance().text);
        }
        Ok(out)
    }

    /// A name or a string, as character set names and the like are written.
    fn name_or_string(&mut self) -> Result<String> {
        match self.kind() {
            Kind::Str => self.string(),
            // BINARY is a reserved word and a character set.
            Kind::Word if self.is_kw("BINARY") => Ok(self.advance().text),
            _ => self.name(),
        }
    }

    fn u64(&mut self) -> Result<u64> {
        if self.kind() != Kind::Int {
            if self.kind() == Kind::Hex {
                let value = u64::from_str_radix(&self.tok().text, 16).map_err(|_| self.fail())?;
                self.skip(1);
                return Ok(value);
            }
            return Err(self.fail());
        }
        let value = self.tok().text.parse().map_err(|_| self.fail())?;
        self.skip(1);
        Ok(value)
    }

    fn u32(&mut self) -> Result<u32> {
        let at = self.tok().start;
        u32::try_from(self.u64()?).map_err(|_| syntax_error(self.text, at))
    }

    /// The text from this byte to the end of the token read last.
    fn source(&self, from: usize) -> String {
        let end = if self.pos == 0 { from } else { self.tokens[self.pos - 1].end };
        String::from_utf8_lossy(&self.text[from.min(end)..end]).into_owned()
    }

    // -- statements -----------------------------------------------------------------------------------------

    /// Any statement.
    fn statement(&mut self) -> Result<Statement> {
        if self.is_punct("(") {
            return self.query_statement();
        }
        if self.kind() != Kind::Word {
            return Err(self.fail());
        }
        let word = self.tok().text.to_ascii_uppercase();
        match word.as_str() {
            "SELECT" | "VALUES" | "TABLE" => self.query_statement(),
            "WITH" => self.with_statement(),
            "INSERT" | "REPLACE" => self.insert(),
            "UPDATE" => self.update(None),
            "DELETE" => self.delete(None),
            "LOAD" => self.load_data(),
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "TRUNCATE" => {
                self.skip(1);
                self.eat_kw("TABLE");
                Ok(Statement::Truncate(self.table_name()?))
            }
            "RENAME" => self.rename(),
            "UNDROP" => self.undrop(),
            "PURGE" => self.purge(),
            "SHOW" => self.show(),
            "SET" => self.set(),
            "USE" => {
                self.skip(1);
                Ok(Statement::Use(self.name()?))
            }
            "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" => self.transaction_control(),
            "LOCK" | "UNLOCK" => self.lock_tables(),
            "EXPLAIN" | "DESCRIBE" | "DESC" => self.explain(),
            "KILL" => self.kill(),
            "PREPARE" | "EXECUTE" | "DEALLOCATE" => self.prepared(),
            "DO" => {
                self.skip(1);
                Ok(Statement::Do(self.comma_list(|p| p.select_expr())?))
            }
            "CALL" => self.call(),
            "FLUSH" => self.flush(),
            "ANALYZE" | "CHECK" | "OPTIMIZE" | "REPAIR" | "CHECKSUM" => self.maintenance(),
            "GRANT" | "REVOKE" => self.grant_or_revoke(),
            "HELP" => {
                self.skip(1);
                Ok(Statement::Help(self.name_or_string()?))
            }
            _ => self.unsupported(&word),
        }
    }
}
