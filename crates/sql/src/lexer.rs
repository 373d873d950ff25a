//! Bytes to tokens, as MySQL's lexer sees them.
//!
//! Works on bytes, because a client may put raw binary into a string literal; everything but such literals is
//! UTF-8 or treated as opaque identifier bytes. Reads one statement at a time: the caller parses and runs a
//! statement before the next is even read, as MySQL does.

use crate::ParseOptions;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Unquoted word: identifier or keyword.
    Word,
    /// Quoted identifier.
    Quoted,
    /// String literal, decoded.
    Str,
    /// String literal whose bytes are not UTF-8, as hex digits.
    RawStr,
    /// `N'…'`.
    NStr,
    /// Digits.
    Int,
    /// Digits with a point.
    Dec,
    /// With an exponent.
    Float,
    /// Hex digits.
    Hex,
    /// Bits.
    Bit,
    /// `@name`, without the `@`.
    UserVar,
    /// `@@name` or `@@scope.name`, lower case, without `@@`.
    SysVar,
    /// `?`
    Param,
    /// Operator or punctuation.
    Punct,
    /// Something that is no token (unterminated string, stray byte).
    Bad,
    /// End of the statement.
    End,
}

/// A token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: Kind,
    /// Decoded value; for words, numbers and punctuation as written.
    pub text: String,
    /// First byte within the whole text.
    pub start: usize,
    /// First byte after it.
    pub end: usize,
}

/// The tokens of one statement.
pub(crate) struct Lexed {
    /// They end with a token of kind `End`.
    pub tokens: Vec<Token>,
    /// Where the next statement begins.
    pub next: usize,
}

const PUNCT3: [&str; 2] = ["<=>", "->>"];
const PUNCT2: [&str; 11] = ["<=", ">=", "<>", "!=", "<<", ">>", "||", "&&", ":=", "->", ".*"];

/// Whether a byte can be part of an unquoted identifier.
pub(crate) fn is_ident_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

/// Reads the tokens of the statement that begins at `from`.
pub(crate) fn lex(text: &[u8], from: usize, options: &ParseOptions) -> Lexed {
    let mut lexer = Lexer { text, pos: from, options, in_version_comment: false, tokens: Vec::new() };
    lexer.run();
    let end = lexer.pos;
    let next = if text.get(end) == Some(&b';') { end + 1 } else { end };
    lexer.tokens.push(Token { kind: Kind::End, text: String::new(), start: end, end });
    Lexed { tokens: lexer.tokens, next }
}

struct Lexer<'a> {
    text: &'a [u8],
    pos: usize,
    options: &'a ParseOptions,
    in_version_comment: bool,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn at_end(&self) -> bool {
        self.pos >= self.text.len()
    }

    fn slice(&self, start: usize, end: usize) -> String {
        String::from_utf8_lossy(&self.text[start..end]).into_owned()
    }

    fn push(&mut self, kind: Kind, text: String, start: usize) {
        self.tokens.push(Token { kind, text, start, end: self.pos });
    }

    fn run(&mut self) {
        loop {
            self.skip_blank();
            if self.at_end() || self.peek(0) == b';' {
                return;
            }
            self.token();
        }
    }

    /// Skips whitespace and comments; enters and leaves version comments.
    fn skip_blank(&mut self) {
        while !self.at_end() {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.pos += 1,
                // A NUL byte at the very end is what some clients append.
                0 if self.pos + 1 == self.text.len() => self.pos += 1,
                b'#' => self.skip_line(),
                b'-' if self.peek(1) == b'-' && (self.pos + 2 >= self.text.len() || self.peek(2) <= b' ') => {
                    self.skip_line()
                }
                b'/' if self.peek(1) == b'*' => {
                    if !self.comment() {
                        return;
                    }
                }
                b'*' if self.in_version_comment && self.peek(1) == b'/' => {
                    self.in_version_comment = false;
                    self.pos += 2;
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

    /// At `/*`. False if the comment is not closed, which is a syntax error at its beginning.
    fn comment(&mut self) -> bool {
        let is_versioned = self.peek(2) == b'!';
        let mark = "/*!".len();
        if is_versioned {
            let mut digits = 0;
            let mut version = 0u32;
            while digits < 6 && self.peek(mark + digits).is_ascii_digit() {
                version = version * 10 + u32::from(self.peek(mark + digits) - b'0');
                digits += 1;
            }
            let digits = if digits < 5 { 0 } else { digits };
            if digits == 0 || version <= self.options.version {
                self.in_version_comment = true;
                self.pos += mark + digits;
                return true;
            }
        }
        // A version comment that is not executed may contain comments of its own.
        let mut depth = 1;
        let mut at = self.pos + 2;
        while at + 1 < self.text.len() {
            if &self.text[at..at + 2] == b"*/" {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    self.pos = at;
                    return true;
                }
            } else if is_versioned && &self.text[at..at + 2] == b"/*" {
                depth += 1;
                at += 2;
            } else {
                at += 1;
            }
        }
        let start = self.pos;
        self.pos = self.text.len();
        self.push(Kind::Bad, String::new(), start);
        false
    }

    fn token(&mut self) {
        let start = self.pos;
        let b = self.peek(0);
        match b {
            b'\'' => self.string(b'\'', Kind::Str, start),
            b'"' if self.options.ansi_quotes => self.quoted(b'"'),
            b'"' => self.string(b'"', Kind::Str, start),
            b'`' => self.quoted(b'`'),
            b'x' | b'X' if self.peek(1) == b'\'' => self.digits_in_quotes(Kind::Hex),
            b'b' | b'B' if self.peek(1) == b'\'' => self.digits_in_quotes(Kind::Bit),
            b'n' | b'N' if self.peek(1) == b'\'' => {
                self.pos += 1;
                self.string(b'\'', Kind::NStr, start);
            }
            b'@' => self.variable(),
            b'?' => {
                self.pos += 1;
                self.push(Kind::Param, "?".into(), start);
            }
            b'\\' if self.peek(1) == b'N' => {
                self.pos += 2;
                self.push(Kind::Word, "NULL".into(), start);
            }
            b'0'..=b'9' if self.after_dot() => self.word(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() && !self.after_name() => self.number(),
            _ if is_ident_byte(b) => self.word(),
            _ => self.punct(),
        }
    }

    /// Whether the token before is a point directly before this byte: what follows is a name.
    fn after_dot(&self) -> bool {
        self.tokens.last().is_some_and(|t| t.kind == Kind::Punct && t.text == "." && t.end == self.pos)
    }

    /// Whether the token before is a name directly before this byte: a point separates, it starts no number.
    fn after_name(&self) -> bool {
        self.tokens.last().is_some_and(|t| matches!(t.kind, Kind::Word | Kind::Quoted) && t.end == self.pos)
    }

    fn word(&mut self) {
        let start = self.pos;
        while is_ident_byte(self.peek(0)) && !self.at_end() {
            self.pos += 1;
        }
        let text = self.slice(start, self.pos);
        self.push(Kind::Word, text, start);
    }

    fn number(&mut self) {
        let start = self.pos;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'b') {
            let hex = self.peek(1) == b'x';
            let mut n = 2;
            while if hex { self.peek(n).is_ascii_hexdigit() } else { matches!(self.peek(n), b'0' | b'1') } {
                n += 1;
            }
            if n > 2 && !is_ident_byte(self.peek(n)) {
                self.pos += n;
                let text = self.slice(start + 2, self.pos);
                self.push(if hex { Kind::Hex } else { Kind::Bit }, text, start);
                return;
            }
        }
        let mut kind = Kind::Int;
        while self.peek(0).is_ascii_digit() {
            self.pos += 1;
        }
        if self.peek(0) == b'.' {
            kind = Kind::Dec;
            self.pos += 1;
            while self.peek(0).is_ascii_digit() {
                self.pos += 1;
            }
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                kind = Kind::Float;
                self.pos += 1 + sign;
                while self.peek(0).is_ascii_digit() {
                    self.pos += 1;
                }
            }
        }
        if kind == Kind::Int && is_ident_byte(self.peek(0)) && !self.at_end() {
            self.pos = start;
            self.word();
            return;
        }
        let text = self.slice(start, self.pos);
        self.push(kind, text, start);
    }

    /// Decodes a string literal at `pos`; `false` if it is not closed.
    fn decode_string(&mut self, quote: u8) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.pos += 1;
        loop {
            let rest = self.text.get(self.pos..)?;
            let n = memchr::memchr2(quote, b'\\', rest)?;
            out.extend_from_slice(&rest[..n]);
            self.pos += n;
            if rest[n] == quote {
                if self.peek(1) == quote {
                    out.push(quote);
                    self.pos += 2;
                    continue;
                }
                self.pos += 1;
                return Some(out);
            }
            if self.options.no_backslash_escapes {
                out.push(b'\\');
                self.pos += 1;
                continue;
            }
            let escaped = *self.text.get(self.pos + 1)?;
            match escaped {
                b'0' => out.push(0),
                b'b' => out.push(8),
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'Z' => out.push(0x1a),
                // These stay escaped, so that a LIKE pattern can still tell them from wildcards.
                b'%' | b'_' => out.extend_from_slice(&[b'\\', escaped]),
                other => out.push(other),
            }
            self.pos += 2;
        }
    }

    fn string(&mut self, quote: u8, kind: Kind, start: usize) {
        match self.decode_string(quote) {
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(text) => self.push(kind, text, start),
                Err(error) => self.push(Kind::RawStr, hex(error.as_bytes()), start),
            },
            None => self.bad(start),
        }
    }

    fn quoted(&mut self, quote: u8) {
        let start = self.pos;
        match self.decode_quoted(quote) {
            Some(text) => self.push(Kind::Quoted, text, start),
            None => self.bad(start),
        }
    }

    fn decode_quoted(&mut self, quote: u8) -> Option<String> {
        let mut out = Vec::new();
        self.pos += 1;
        loop {
            let rest = self.text.get(self.pos..)?;
            let n = memchr::memchr(quote, rest)?;
            out.extend_from_slice(&rest[..n]);
            self.pos += n + 1;
            if self.peek(0) != quote || self.at_end() {
                return Some(String::from_utf8_lossy(&out).into_owned());
            }
            out.push(quote);
            self.pos += 1;
        }
    }

    fn digits_in_quotes(&mut self, kind: Kind) {
        let start = self.pos;
        let from = start + 2;
        let Some(n) = memchr::memchr(b'\'', &self.text[from..]) else {
            return self.bad(start);
        };
        let digits = &self.text[from..from + n];
        let good = match kind {
            Kind::Hex => digits.iter().all(u8::is_ascii_hexdigit) && digits.len().is_multiple_of(2),
            _ => digits.iter().all(|b| matches!(b, b'0' | b'1')),
        };
        if !good {
            self.pos = start;
            return self.bad_here(start);
        }
        self.pos = from + n + 1;
        let text = self.slice(from, from + n);
        self.push(kind, text, start);
    }

    fn variable(&mut self) {
        let start = self.pos;
        if self.peek(1) == b'@' {
            self.pos += 2;
            let mut name = String::new();
            loop {
                if self.peek(0) == b'`' {
                    match self.decode_quoted(b'`') {
                        Some(part) => name.push_str(&part),
                        None => return self.bad(start),
                    }
                } else {
                    let from = self.pos;
                    while !self.at_end() && is_ident_byte(self.peek(0)) {
                        self.pos += 1;
                    }
                    name.push_str(&self.slice(from, self.pos));
                }
                if self.peek(0) == b'.' {
                    name.push('.');
                    self.pos += 1;
                } else {
                    break;
                }
            }
            if name.is_empty() {
                return self.bad_here(start);
            }
            return self.push(Kind::SysVar, name.to_ascii_lowercase(), start);
        }
        self.pos += 1;
        match self.peek(0) {
            b'`' => match self.decode_quoted(b'`') {
                Some(name) => self.push(Kind::UserVar, name, start),
                None => self.bad(start),
            },
            quote @ (b'\'' | b'"') => match self.decode_string(quote) {
                Some(name) => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    self.push(Kind::UserVar, name, start)
                }
                None => self.bad(start),
            },
            _ => {
                let from = self.pos;
                while !self.at_end() && (is_ident_byte(self.peek(0)) || self.peek(0) == b'.') {
                    self.pos += 1;
                }
                let name = self.slice(from, self.pos);
                if name.is_empty() {
                    self.push(Kind::Punct, "@".into(), start);
                } else {
                    self.push(Kind::UserVar, name, start);
                }
            }
        }
    }

    fn punct(&mut self) {
        let start = self.pos;
        let rest = &self.text[start..];
        for (table, n) in [(&PUNCT3[..], 3), (&PUNCT2[..], 2)] {
            if rest.len() >= n
                && let Some(found) = table.iter().find(|p| p.as_bytes() == &rest[..n])
                // `.*` is two tokens, and `*/` may close a version comment after a point.
                && *found != ".*"
            {
                self.pos += n;
                return self.push(Kind::Punct, (*found).into(), start);
            }
        }
        match rest[0] {
            b @ (b'(' | b')' | b',' | b'.' | b'=' | b'<' | b'>' | b'+' | b'-' | b'*' | b'/' | b'%' | b'^'
            | b'&' | b'|' | b'~' | b'!' | b'{' | b'}' | b':') => {
                self.pos += 1;
                self.push(Kind::Punct, char::from(b).to_string(), start);
            }
            _ => self.bad_here(start),
        }
    }

    /// An unterminated literal: it is the last token.
    fn bad(&mut self, start: usize) {
        self.pos = self.text.len();
        self.push(Kind::Bad, String::new(), start);
    }

    /// A byte that begins no token.
    fn bad_here(&mut self, start: usize) {
        self.pos = start + 1;
        self.push(Kind::Bad, String::new(), start);
    }
}

/// Upper-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}
