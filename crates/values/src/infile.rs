//! Data files, as LOAD DATA reads them: bytes come in pieces, records go out.
//!
//! ```text
//!   lines to skip ─▶ prefix ─▶ field ─▶ field … ─▶ rest of the line ─┐
//!                      ▲                                             │ a record
//!                      └─────────────────────────────────────────────┘
//! ```
//!
//! A byte is looked at once everything that could change its meaning is there: a separator that lies on the border of two
//! pieces is one. So the records do not depend on how the file is cut, and nothing is kept of it but the record that is being
//! read and the end of the last piece.

use std::ops::Range;

/// How records and fields lie in a file: FIELDS and LINES of LOAD DATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFormat {
    /// FIELDS TERMINATED BY; empty: fields end where their quotes or their line do.
    pub field_end: Vec<u8>,
    /// LINES TERMINATED BY; empty: a record has ended when it has all its fields.
    pub line_end: Vec<u8>,
    /// LINES STARTING BY: what lies before it belongs to no record.
    pub line_start: Vec<u8>,
    /// FIELDS ENCLOSED BY.
    pub quote: Option<u8>,
    /// FIELDS ESCAPED BY.
    pub escape: Option<u8>,
}

impl Default for FileFormat {
    fn default() -> Self {
        FileFormat {
            field_end: b"\t".to_vec(),
            line_end: b"\n".to_vec(),
            line_start: Vec::new(),
            quote: None,
            escape: Some(b'\\'),
        }
    }
}

/// How far reading has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Another piece of the file is needed, or its end.
    More,
    /// There is a record: [`RecordReader::record`].
    Record,
    /// The file has ended.
    End,
}

/// A record is longer than allowed. Nothing can be read any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordTooLong;

/// A record: as many fields as were found, but not more than wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// The line goes on behind the last field that was wanted.
    pub is_cut: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Field {
    range: Range<usize>,
    is_null: bool,
}

impl Record {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A field: outer `None` if the record has not so many, inner `None` for NULL.
    pub fn field(&self, at: usize) -> Option<Option<&[u8]>> {
        let field = self.fields.get(at)?;
        Some((!field.is_null).then(|| &self.bytes[field.range.clone()]))
    }

    /// Bytes of all its fields.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// So many lines are still to be passed by.
    Skip(u64),
    Prefix,
    /// A field begins, or the record has all of them.
    FieldStart,
    Field {
        quoted: bool,
    },
    RestOfLine,
    Over,
}

/// What lies at a place of the input.
enum Peek {
    Byte(u8),
    End,
    /// It has not come yet.
    Unknown,
}

/// How a field ended.
struct FieldEnd {
    /// By its closing quote.
    quoted: bool,
    line_over: bool,
}

/// Reads the records of a file.
#[derive(Clone, Debug)]
pub struct RecordReader {
    format: FileFormat,
    width: usize,
    record_bytes_max: usize,
    /// Bytes that may mean more than themselves.
    special: [bool; 256],
    /// What has come and has not been passed yet.
    input: Vec<u8>,
    at: usize,
    has_ended: bool,
    state: State,
    /// Records to be left out, where lines have no end by which they could be.
    skip_records: u64,
    record: Record,
    field_start: usize,
    saw_null: bool,
    line_over: bool,
}

impl RecordReader {
    /// Reads records of up to `width` fields (at least one) and `record_bytes_max` bytes, after `skip_lines` lines.
    pub fn new(mut format: FileFormat, width: usize, skip_lines: u64, record_bytes_max: usize) -> Self {
        // Lines that end like fields have no end of their own.
        if format.line_end == format.field_end {
            format.line_end.clear();
        }
        let mut special = [false; 256];
        let ends = [format.field_end.first(), format.line_end.first()];
        let signs = [format.quote.as_ref(), format.escape.as_ref()];
        for byte in ends.into_iter().chain(signs).flatten() {
            special[usize::from(*byte)] = true;
        }
        let by_line = !format.line_end.is_empty();
        RecordReader {
            state: State::Skip(if by_line { skip_lines } else { 0 }),
            skip_records: if by_line { 0 } else { skip_lines },
            format,
            width: width.max(1),
            record_bytes_max,
            special,
            input: Vec::new(),
            at: 0,
            has_ended: false,
            record: Record::default(),
            field_start: 0,
            saw_null: false,
            line_over: false,
        }
    }

    /// The next piece of the file.
    pub fn feed(&mut self, piece: &[u8]) {
        self.input.drain(..self.at);
        self.at = 0;
        self.input.extend_from_slice(piece);
    }

    /// The file has ended.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// The record of the last [`Step::Record`].
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Goes on to the next record, as far as there is input.
    pub fn step(&mut self) -> Result<Step, RecordTooLong> {
        loop {
            match self.state {
                State::Skip(0) => self.begin_record(),
                State::Skip(lines) => match self.pass_line() {
                    None => return Ok(Step::More),
                    Some(true) => self.state = State::Skip(lines - 1),
                    Some(false) => self.state = State::Over,
                },
                State::Prefix => match self.pass_prefix() {
                    None => return Ok(Step::More),
                    Some(true) => self.state = State::FieldStart,
                    Some(false) => self.state = State::Over,
                },
                State::FieldStart => {
                    if self.line_over || self.record.len() == self.width {
                        self.state = State::RestOfLine;
                    } else if !self.begin_field() {
                        return Ok(Step::More);
                    }
                }
                State::Field { quoted } => {
                    let ended = self.pass_field(quoted);
                    if self.record.bytes.len() > self.record_bytes_max {
                        self.state = State::Over;
                        return Err(RecordTooLong);
                    }
                    match ended {
                        None => return Ok(Step::More),
                        Some(end) => self.end_field(end),
                    }
                }
                State::RestOfLine => {
                    if !self.end_record() {
                        return Ok(Step::More);
                    }
                    if self.skip_records == 0 {
                        return Ok(Step::Record);
                    }
                    self.skip_records -= 1;
                }
                State::Over => return Ok(Step::End),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Peek {
        match self.input.get(self.at + ahead) {
            Some(byte) => Peek::Byte(*byte),
            None if self.has_ended => Peek::End,
            None => Peek::Unknown,
        }
    }

    /// Whether this text comes next, behind `ahead` bytes; `None` if that cannot be told yet.
    fn follows(&self, ahead: usize, text: &[u8]) -> Option<bool> {
        let here = self.input.get(self.at + ahead..).unwrap_or_default();
        let common = here.len().min(text.len());
        if here[..common] != text[..common] {
            return Some(false);
        }
        if common == text.len() {
            return Some(true);
        }
        self.has_ended.then_some(false)
    }

    fn begin_record(&mut self) {
        self.record.bytes.clear();
        self.record.fields.clear();
        self.record.is_cut = false;
        self.line_over = false;
        self.state = if self.format.line_start.is_empty() { State::FieldStart } else { State::Prefix };
    }

    /// Passes everything up to the prefix of a line, and the prefix. `false`: there is none any more.
    fn pass_prefix(&mut self) -> Option<bool> {
        loop {
            if self.follows(0, &self.format.line_start)? {
                self.at += self.format.line_start.len();
                return Some(true);
            }
            match self.peek(0) {
                Peek::Byte(_) => self.at += 1,
                Peek::End => return Some(false),
                Peek::Unknown => return None,
            }
        }
    }

    /// `false`: more input is needed.
    fn begin_field(&mut self) -> bool {
        let first = match self.peek(0) {
            Peek::Byte(byte) => byte,
            Peek::End => {
                self.line_over = true;
                // A file that ends where a record would begin has no such record.
                self.state = if self.record.is_empty() { State::Over } else { State::RestOfLine };
                return true;
            }
            Peek::Unknown => return false,
        };
        self.field_start = self.record.bytes.len();
        self.saw_null = false;
        let quoted = Some(first) == self.format.quote;
        if quoted {
            // Kept until it is known that the field has a closing quote.
            self.record.bytes.push(first);
            self.at += 1;
        }
        self.state = State::Field { quoted };
        true
    }

    /// Takes the bytes of a field, as far as they have come.
    fn pass_field(&mut self, quoted: bool) -> Option<FieldEnd> {
        loop {
            let plain = self.input[self.at..].iter().take_while(|b| !self.special[usize::from(**b)]).count();
            self.record.bytes.extend_from_slice(&self.input[self.at..self.at + plain]);
            self.at += plain;
            if self.record.bytes.len() > self.record_bytes_max {
                return None;
            }
            let byte = match self.peek(0) {
                Peek::Byte(byte) => byte,
                Peek::End => return Some(FieldEnd { quoted: false, line_over: true }),
                Peek::Unknown => return None,
            };
            if Some(byte) == self.format.escape && self.pass_escaped()? {
                continue;
            }
            if !quoted
                && Some(&byte) == self.format.line_end.first()
                && self.follows(0, &self.format.line_end)?
            {
                self.at += self.format.line_end.len();
                return Some(FieldEnd { quoted: false, line_over: true });
            }
            if quoted && Some(byte) == self.format.quote {
                if let Some(end) = self.pass_quote(byte)? {
                    return Some(end);
                }
                continue;
            }
            if !quoted
                && Some(&byte) == self.format.field_end.first()
                && self.follows(0, &self.format.field_end)?
            {
                self.at += self.format.field_end.len();
                return Some(FieldEnd { quoted: false, line_over: false });
            }
            self.record.bytes.push(byte);
            self.at += 1;
        }
    }

    /// At an escape sign: takes it with what it escapes. `false`: it is a quote that escapes nothing.
    fn pass_escaped(&mut self) -> Option<bool> {
        let escape = self.format.escape;
        let escaped = match self.peek(1) {
            Peek::Byte(byte) => byte,
            Peek::End => {
                self.record.bytes.extend(escape);
                self.at += 1;
                return Some(true);
            }
            Peek::Unknown => return None,
        };
        // A quote that escapes itself means nothing else, as in SQL.
        if escape == self.format.quote && Some(escaped) != escape {
            return Some(false);
        }
        self.saw_null |= escaped == b'N';
        self.record.bytes.push(match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'0' => 0,
            b'Z' => 26,
            other => other,
        });
        self.at += 2;
        Some(true)
    }

    /// At a quote within a quoted field: the end of the field, or a part of it.
    fn pass_quote(&mut self, quote: u8) -> Option<Option<FieldEnd>> {
        let next = match self.peek(1) {
            Peek::Byte(byte) => byte,
            Peek::End => {
                self.at += 1;
                return Some(Some(FieldEnd { quoted: true, line_over: true }));
            }
            Peek::Unknown => return None,
        };
        if next == quote {
            self.record.bytes.push(quote);
            self.at += 2;
            return Some(None);
        }
        if !self.format.line_end.is_empty() && self.follows(1, &self.format.line_end)? {
            self.at += 1 + self.format.line_end.len();
            return Some(Some(FieldEnd { quoted: true, line_over: true }));
        }
        if !self.format.field_end.is_empty() && self.follows(1, &self.format.field_end)? {
            self.at += 1 + self.format.field_end.len();
            return Some(Some(FieldEnd { quoted: true, line_over: false }));
        }
        self.record.bytes.push(quote);
        self.at += 1;
        Some(None)
    }

    fn end_field(&mut self, end: FieldEnd) {
        let range = self.field_start + usize::from(end.quoted)..self.record.bytes.len();
        let text = &self.record.bytes[range.clone()];
        let is_word = !end.quoted && self.format.quote.is_some() && text == b"NULL";
        let is_null = is_word || (text.len() == 1 && self.saw_null);
        self.record.fields.push(Field { range, is_null });
        self.line_over = end.line_over;
        self.state = State::FieldStart;
    }

    /// All fields that were wanted are there, or the line is over: passes to the next line. `false`: more input is needed.
    fn end_record(&mut self) -> bool {
        if !self.line_over && !self.format.line_end.is_empty() {
            match self.pass_line() {
                None => return false,
                Some(true) => {}
                Some(false) => {
                    // As in MySQL, the surplus of a last line without an end is not told.
                    self.record.is_cut = false;
                    self.state = State::Over;
                    return true;
                }
            }
        }
        self.state = State::Skip(0);
        true
    }

    /// Passes to the end of the line. `false`: the file ended before.
    fn pass_line(&mut self) -> Option<bool> {
        loop {
            let byte = match self.peek(0) {
                Peek::Byte(byte) => byte,
                Peek::End => return Some(false),
                Peek::Unknown => return None,
            };
            if Some(byte) == self.format.escape {
                match self.peek(1) {
                    Peek::Byte(_) => self.at += 2,
                    Peek::End => self.at += 1,
                    Peek::Unknown => return None,
                }
            } else if self.follows(0, &self.format.line_end)? {
                self.at += self.format.line_end.len();
                return Some(true);
            } else {
                self.at += 1;
            }
            self.record.is_cut = true;
        }
    }
}
