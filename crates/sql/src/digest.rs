//! Statements without their literals: digests for statistics, lifted literals for caches.
//!
//! Both work on bytes in one pass and never build tokens: they run for every statement that a client sends as
//! text.

use crate::{Literal, ParseOptions};
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A normalised statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Hash of the text.
    pub hash: u64,
    /// The statement with `?` for literals, `(...)` for lists of them, single blanks and no comments. Shared, because
    /// whoever remembers what a transaction ran remembers it by this.
    pub text: Arc<str>,
}

/// Digest texts are cut here: statistics need no megabytes.
const DIGEST_BYTES_MAX: usize = 4096;

/// What a scan yields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Piece {
    /// Word or quoted name.
    Word,
    /// String literal.
    Text,
    /// Number of digits only.
    Integer,
    /// Number with a point.
    Decimal,
    /// Number with an exponent.
    Double,
    /// `0x…`, `x'…'`, `0b…`, `b'…'`
    Bits,
    /// `?`
    Param,
    /// `@x`, `@@x`
    Variable,
    /// Operator or punctuation.
    Punct,
    /// Not closed, or not of this world.
    Bad,
}

struct Scan<'a> {
    text: &'a [u8],
    pos: usize,
    options: &'a ParseOptions,
    /// A version comment has been seen.
    version_comment: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8], options: &'a ParseOptions) -> Self {
        Scan { text, pos: 0, options, version_comment: false }
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn skip_blank(&mut self) {
        loop {
            match self.byte(self.pos) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.pos += 1,
                b'#' => self.skip_line(),
                b'-' if self.byte(self.pos + 1) == b'-' && self.byte(self.pos + 2) <= b' ' => {
                    self.skip_line()
                }
                b'/' if self.byte(self.pos + 1) == b'*' => {
                    let mark = self.byte(self.pos + 2);
                    self.version_comment |= mark == b'!';
                    let rest = &self.text[self.pos + 2..];
                    match memchr::memmem::find(rest, b"*/") {
                        Some(n) => self.pos += n + 4,
                        None => self.pos = self.text.len(),
                    }
                }
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        match memchr::memchr(b'\n', &self.text[self.pos..]) {
            Some(n) => self.pos += n + 1,
            None => self.pos = self.text.len(),
        }
    }

    /// The next piece and its bytes.
    fn next(&mut self) -> Option<(Piece, usize, usize)> {
        self.skip_blank();
        let start = self.pos;
        if start >= self.text.len() {
            return None;
        }
        let b = self.text[start];
        let piece = match b {
            b'\'' => self.string(b),
            b'"' if !self.options.ansi_quotes => self.string(b),
            b'"' | b'`' => self.quoted(b),
            b'x' | b'X' | b'b' | b'B' | b'n' | b'N' if self.byte(start + 1) == b'\'' => {
                self.pos += 1;
                match self.string(b'\'') {
                    Piece::Bad => Piece::Bad,
                    _ if matches!(b, b'n' | b'N') => Piece::Text,
                    _ => Piece::Bits,
                }
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(start + 1).is_ascii_digit() && !self.name_before(start) => self.number(),
            b'?' => {
                self.pos += 1;
                Piece::Param
            }
            b'@' => {
                self.pos += 1;
                while self.byte(self.pos) == b'@' {
                    self.pos += 1;
                }
                match self.byte(self.pos) {
                    quote @ (b'`' | b'\'' | b'"') => {
                        self.quoted(quote);
                    }
                    _ => {
                        while self.pos < self.text.len()
                            && (crate::lexer::is_ident_byte(self.text[self.pos])
                                || self.text[self.pos] == b'.')
                        {
                            self.pos += 1;
                        }
                    }
                }
                Piece::Variable
            }
            _ if crate::lexer::is_ident_byte(b) => self.word(),
            _ => {
                self.pos += 1;
                let second = self.byte(self.pos);
                let pair = matches!(
                    (b, second),
                    (b'<', b'=' | b'>' | b'<')
                        | (b'>', b'=' | b'>')
                        | (b'!', b'=')
                        | (b'-', b'>')
                        | (b':', b'=')
                        | (b'|', b'|')
                        | (b'&', b'&')
                );
                if pair {
                    self.pos += 1;
                    let third = self.byte(self.pos);
                    if (b, second, third) == (b'<', b'=', b'>') || (b, second, third) == (b'-', b'>', b'>') {
                        self.pos += 1;
                    }
                }
                Piece::Punct
            }
        };
        Some((piece, start, self.pos))
    }

    fn name_before(&self, start: usize) -> bool {
        start > 0 && (crate::lexer::is_ident_byte(self.text[start - 1]) || self.text[start - 1] == b'`')
    }

    fn word(&mut self) -> Piece {
        while self.pos < self.text.len() && crate::lexer::is_ident_byte(self.text[self.pos]) {
            self.pos += 1;
        }
        Piece::Word
    }

    fn string(&mut self, quote: u8) -> Piece {
        let mut at = self.pos + 1;
        loop {
            let Some(n) = self.text.get(at..).and_then(|rest| memchr::memchr2(quote, b'\\', rest)) else {
                self.pos = self.text.len();
                return Piece::Bad;
            };
            at += n + 1;
            if self.text[at - 1] == b'\\' {
                if !self.options.no_backslash_escapes {
                    at += 1;
                }
            } else if self.byte(at) == quote {
                at += 1;
            } else {
                self.pos = at;
                return Piece::Text;
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> Piece {
        let mut at = self.pos + 1;
        loop {
            let Some(n) = self.text.get(at..).and_then(|rest| memchr::memchr(quote, rest)) else {
                self.pos = self.text.len();
                return Piece::Bad;
            };
            at += n + 1;
            if self.byte(at) == quote {
                at += 1;
            } else {
                self.pos = at;
                return Piece::Word;
            }
        }
    }

    fn number(&mut self) -> Piece {
        let start = self.pos;
        if self.byte(start) == b'0' && matches!(self.byte(start + 1), b'x' | b'b') {
            self.word();
            return Piece::Bits;
        }
        let mut piece = Piece::Integer;
        while self.byte(self.pos).is_ascii_digit() {
            self.pos += 1;
        }
        if self.byte(self.pos) == b'.' {
            piece = Piece::Decimal;
            self.pos += 1;
            while self.byte(self.pos).is_ascii_digit() {
                self.pos += 1;
            }
        }
        if matches!(self.byte(self.pos), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(self.pos + 1), b'+' | b'-'));
            if self.byte(self.pos + 1 + sign).is_ascii_digit() {
                piece = Piece::Double;
                self.pos += 1 + sign;
                while self.byte(self.pos).is_ascii_digit() {
                    self.pos += 1;
                }
            }
        }
        if self.pos < self.text.len() && crate::lexer::is_ident_byte(self.text[self.pos]) {
            return self.word();
        }
        piece
    }
}

/// Normalises a statement for statistics.
pub fn normalise<T: AsRef<[u8]> + ?Sized>(text: &T, options: &ParseOptions) -> Digest {
    let text = text.as_ref();
    let mut out: Vec<u8> = Vec::with_capacity(text.len().min(DIGEST_BYTES_MAX) + 16);
    let mut scan = Scan::new(text, options);
    // Where the parenthesis opened whose content so far is nothing but literals, and how many.
    let mut list: Option<(usize, usize)> = None;
    let mut last = Piece::Punct;
    let mut last_is_in = false;
    while let Some((piece, start, end)) = scan.next() {
        if out.len() > DIGEST_BYTES_MAX {
            break;
        }
        let bytes = &text[start..end];
        match piece {
            Piece::Text
            | Piece::Integer
            | Piece::Decimal
            | Piece::Double
            | Piece::Bits
            | Piece::Param
            | Piece::Bad => {
                // A sign before a literal belongs to it, if it follows an operator or opens a list.
                if out.ends_with(b"-")
                    && let Some(before) = out[..out.len() - 1].trim_ascii_end().last()
                    && matches!(before, b'(' | b',' | b'=' | b'<' | b'>')
                {
                    out.pop();
                    out.truncate(out.trim_ascii_end().len());
                }
                if !matches!(out.last(), None | Some(b'(')) {
                    out.push(b' ');
                }
                // Adjacent strings are one literal.
                if !(last == Piece::Text && piece == Piece::Text) {
                    out.push(b'?');
                    if let Some((_, count)) = &mut list {
                        *count += 1;
                    }
                } else {
                    out.pop();
                }
            }
            Piece::Punct if bytes == b"(" => {
                if !matches!(out.last(), None | Some(b'(' | b' ')) {
                    out.push(b' ');
                }
                out.push(b'(');
                list = Some((out.len(), 0));
            }
            Piece::Punct if bytes == b"," => out.extend_from_slice(b","),
            Piece::Punct if bytes == b")" => {
                if let Some((at, count)) = list.take()
                    && (count > 1 || count == 1 && last_is_in)
                {
                    out.truncate(at);
                    out.extend_from_slice(b"...");
                    let row_before = &out[..at - 1];
                    if row_before.ends_with(b"(...), ") || row_before.ends_with(b"(...), ..., ") {
                        let keep = row_before.len() - if row_before.ends_with(b"..., ") { 2 } else { 0 };
                        let ends = row_before.ends_with(b"(...), ..., ");
                        out.truncate(if ends { keep } else { at - 1 });
                        if !ends {
                            out.extend_from_slice(b"...");
                        }
                        last = Piece::Punct;
                        last_is_in = false;
                        continue;
                    }
                }
                out.push(b')');
                last_is_in = false;
            }
            Piece::Punct if bytes == b"." => out.push(b'.'),
            Piece::Punct if bytes == b";" && text[end..].trim_ascii().is_empty() => break,
            Piece::Punct if bytes == b"-" && list.is_some() => {
                if !matches!(out.last(), None | Some(b'(' | b' ' | b'.')) {
                    out.push(b' ');
                }
                out.push(b'-');
            }
            _ => {
                if !matches!(out.last(), None | Some(b'(' | b' ' | b'.')) {
                    out.push(b' ');
                }
                out.extend_from_slice(bytes);
                list = None;
                if piece == Piece::Word {
                    last_is_in = bytes.eq_ignore_ascii_case(b"IN");
                }
            }
        }
        last = piece;
    }
    let text = String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    Digest { hash: xxh3_64(text.as_bytes()), text: text.into() }
}

/// A statement whose literals were lifted out where that changes nothing but their values.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifted {
    /// The statement with `?` in their place.
    pub text: Vec<u8>,
    /// The literals, in the order of the text.
    pub literals: Vec<Literal>,
    /// Hash of the text and of the classes of the literals.
    pub hash: u64,
}

/// State of one level of parentheses.
#[derive(Clone, Copy)]
struct Level {
    /// Literals may be lifted within this level at all.
    allowed: bool,
    /// The clause that we are in allows it.
    clause: bool,
    /// Between `(` of IN or VALUES and its end.
    list: bool,
    /// BETWEEN has been read, its AND has not.
    between: bool,
    /// In a select list, ORDER BY, GROUP BY, HAVING or WINDOW: nothing within its parentheses is lifted either.
    fixed: bool,
}

impl Level {
    /// A clause begins in which literals may (or may not) be lifted.
    fn enter(&mut self, clause: bool) {
        self.clause = clause && self.allowed;
        self.fixed = false;
    }

    /// A clause begins whose literals mean more than their values.
    fn fix(&mut self) {
        self.clause = false;
        self.fixed = true;
    }
}

/// Parentheses nested deeper than this are left alone.
const LEVELS_MAX: usize = 32;

/// Lifts literals out of a SELECT, INSERT, REPLACE, UPDATE or DELETE, so that statements that differ in them
/// alone share a parsed tree and a plan. Only literals that are compared, assigned, inserted, listed after IN,
/// or given to LIMIT are lifted: never those of a select list (they name columns), of ORDER BY and GROUP BY
/// (ordinals), or of function arguments. `None` if there is nothing to gain: other statements, statements with
/// `?` of their own, with version comments, or several in one text.
pub fn lift(text: &[u8], options: &ParseOptions) -> Option<Lifted> {
    let mut scan = Scan::new(text, options);
    let (piece, start, end) = scan.next()?;
    let verb = &text[start..end];
    let is = |word: &[u8], what: &str| word.eq_ignore_ascii_case(what.as_bytes());
    if piece != Piece::Word
        || !["SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE"].iter().any(|v| is(verb, v))
    {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut literals = Vec::new();
    let mut classes = Vec::new();
    let mut levels =
        [Level { allowed: true, clause: false, list: false, between: false, fixed: false }; LEVELS_MAX];
    let mut depth = 0usize;
    // Whether a literal may stand in the place that comes next, and where a minus sign before it stands.
    let mut ready = false;
    let mut minus: Option<usize> = None;
    // Whether that place is LIMIT's, where nothing but digits is a number of rows: the rest is left to the parser.
    let mut rows = false;
    // The word before decides what a parenthesis opens.
    let mut opens_list = false;
    let mut copied = start;
    let mut last_end = end;
    scan.pos = start;
    while let Some((piece, start, end)) = scan.next() {
        let bytes = &text[start..end];
        if bytes != b";" {
            last_end = end;
        }
        let level = &mut levels[depth];
        let was_ready = std::mem::take(&mut ready);
        let sign = minus.take();
        let was_rows = std::mem::take(&mut rows);
        match piece {
            Piece::Param | Piece::Bad => return None,
            Piece::Integer | Piece::Decimal | Piece::Double | Piece::Text => {
                if !was_ready || was_rows && (piece != Piece::Integer || sign.is_some()) {
                    continue;
                }
                let next = text[end..].iter().copied().find(|b| !b.is_ascii_whitespace()).unwrap_or(b';');
                // Adjacent strings are one literal; `N'…'` is typed by its letter.
                if piece == Piece::Text && (matches!(next, b'\'' | b'"') || !matches!(bytes[0], b'\'' | b'"'))
                {
                    continue;
                }
                // In a list, only a literal that is a whole element.
                if level.list && !matches!(next, b',' | b')') {
                    continue;
                }
                let (literal, class) = literal(piece, bytes, sign.is_some(), options)?;
                out.extend_from_slice(&text[copied..sign.unwrap_or(start)]);
                out.push(b'?');
                copied = end;
                literals.push(literal);
                classes.push(class);
            }
            Piece::Word => {
                opens_list = false;
                let upper = |what: &str| is(bytes, what);
                match bytes.len() {
                    2 if upper("IN") => opens_list = true,
                    2 if upper("ON") => level.enter(true),
                    3 if upper("SET") => level.enter(true),
                    3 if upper("AND") && level.between => {
                        level.between = false;
                        ready = level.allowed && level.clause;
                    }
                    4 if upper("FROM") || upper("INTO") => level.enter(false),
                    4 if upper("LIKE") => ready = level.allowed && level.clause,
                    5 if upper("WHERE") => level.enter(true),
                    5 if upper("LIMIT") => {
                        level.enter(true);
                        ready = level.allowed;
                        rows = true;
                    }
                    5 if upper("ORDER") || upper("GROUP") => level.fix(),
                    5 if upper("VALUE") => {
                        level.enter(true);
                        opens_list = true;
                    }
                    6 if upper("VALUES") => {
                        level.enter(true);
                        opens_list = true;
                    }
                    6 if upper("SELECT") => level.fix(),
                    6 if upper("OFFSET") => {
                        ready = level.allowed && level.clause;
                        rows = true;
                    }
                    6 if upper("HAVING") || upper("WINDOW") => level.fix(),
                    7 if upper("BETWEEN") => {
                        level.between = true;
                        ready = level.allowed && level.clause;
                    }
                    _ => {}
                }
                // INTERVAL, MATCH … AGAINST, typed and introduced literals follow words and so stay.
            }
            Piece::Punct => match bytes {
                b"(" => {
                    if depth + 1 == LEVELS_MAX {
                        return None;
                    }
                    // A paren in a select list, ORDER BY or GROUP BY allows nothing; the column list of
                    // INSERT and a derived table of FROM allow what stands in their own clauses.
                    let list = opens_list && level.allowed && level.clause;
                    let allowed = level.allowed && !level.fixed;
                    let clause = level.clause && allowed;
                    depth += 1;
                    levels[depth] = Level { allowed, clause, list, between: false, fixed: false };
                    ready = list;
                    opens_list = false;
                }
                b")" => {
                    depth = depth.checked_sub(1)?;
                    // `VALUES (…), (…)`: the next row is a list too.
                    opens_list =
                        levels[depth + 1].list && text[end..].trim_ascii_start().first() == Some(&b',');
                }
                b"," => {
                    ready = level.list || (was_ready && level.clause);
                    // `LIMIT 5, 10`: the literal before the comma was ready; so is the one after.
                    if !level.list {
                        ready = text[copied..start].trim_ascii().is_empty() && limit_comma(&out);
                        rows = ready;
                    }
                    // Rows after the first keep `opens_list`.
                    continue;
                }
                b"=" | b"<" | b">" | b"<=" | b">=" | b"<>" | b"!=" | b"<=>" | b":=" => {
                    ready = level.allowed && level.clause;
                }
                b"-" if was_ready => {
                    ready = true;
                    rows = was_rows;
                    minus = Some(start);
                    // `- 5` and `-(5)`: only a digit right behind makes it a sign.
                    if !text.get(end).is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
                        ready = false;
                        minus = None;
                    }
                }
                b";" => {
                    // Another statement is not for us; blanks, comments and semicolons are none.
                    while let Some((_, start, end)) = scan.next() {
                        if &text[start..end] != b";" {
                            return None;
                        }
                    }
                    break;
                }
                _ => {}
            },
            Piece::Bits | Piece::Variable => {}
        }
        if piece != Piece::Word && bytes != b")" {
            opens_list = false;
        }
    }
    if scan.version_comment {
        return None;
    }
    // Comments before and behind the statement, which tracing tools fill anew for every request, are no part of it.
    out.extend_from_slice(&text[copied..last_end.max(copied)]);
    let mut hasher = Xxh3::new();
    hasher.update(&out);
    hasher.update(&classes);
    Some(Lifted { text: out, literals, hash: hasher.digest() })
}

/// Whether a comma directly follows a literal that was just lifted for LIMIT.
fn limit_comma(out: &[u8]) -> bool {
    let Some(before) = out.trim_ascii_end().strip_suffix(b"?") else { return false };
    // The word alone: a bulk insert has a comma every few bytes.
    before.trim_ascii_end().last_chunk::<5>().is_some_and(|word| word.eq_ignore_ascii_case(b"LIMIT"))
}

fn literal(piece: Piece, bytes: &[u8], negative: bool, options: &ParseOptions) -> Option<(Literal, u8)> {
    let number = || {
        let text = std::str::from_utf8(bytes).ok()?;
        Some(if negative { format!("-{text}") } else { text.to_owned() })
    };
    Some(match piece {
        Piece::Integer => (Literal::Integer(number()?), b'i'),
        Piece::Decimal => (Literal::Decimal(number()?), b'd'),
        Piece::Double => (Literal::Double(number()?.parse().ok()?), b'f'),
        _ => match unquote(bytes, options) {
            Ok(text) => (Literal::Text(text), b't'),
            Err(bytes) => (Literal::Binary(bytes), b'b'),
        },
    })
}

/// The value of a string literal with its quotes; its bytes if they are not UTF-8.
fn unquote(literal: &[u8], options: &ParseOptions) -> Result<String, Vec<u8>> {
    let quote = literal[0];
    let inner = &literal[1..literal.len() - 1];
    if memchr::memchr2(quote, b'\\', inner).is_none() {
        return std::str::from_utf8(inner).map(str::to_owned).map_err(|_| inner.to_vec());
    }
    let lexed = crate::lexer::lex(literal, 0, options);
    match lexed.tokens.into_iter().next() {
        Some(token) if token.kind == crate::lexer::Kind::Str => Ok(token.text),
        Some(token) => Err(crate::unhex(&token.text)),
        None => Ok(String::new()),
    }
}
