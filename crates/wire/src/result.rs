//! Replies: OK, EOF, ERR and result sets, on their way into one output buffer.

use crate::bytes::{put_lenenc, put_lenenc_bytes, put_u16};
use crate::column::{Results, charset_of_collation, put_definition, put_parameter};
use crate::handler::{Completion, FieldDefault, Prepared, StateChange};
use crate::packet::Output;
use crate::protocol::{capability as cap, status};
use crate::text::{put_binary_cell, put_default, put_text_cell};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{BoxFuture, Executed, ResultColumn, ResultSink, local_files_disabled};
use assize_values::collation::Charset;
use assize_values::{Collation, Value};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Output beyond this is written before the command has ended.
pub(crate) const HIGH_WATER: usize = 32 << 10;
/// Column definitions beyond this are encoded anew each time.
const CACHED_COLUMNS_MAX: usize = 256;
/// Packets of a file that wait for the statement.
const FILE_PARTS_MAX: usize = 2;

/// The column definitions of a result as they were sent last, so that they need not be encoded again.
#[derive(Debug, Default)]
pub(crate) struct DefinitionCache {
    columns: Vec<ResultColumn>,
    results: Option<Results>,
    /// Sequence number of the first packet of `block`.
    seq: u8,
    /// The packets of all definitions.
    block: Vec<u8>,
}

/// Rows that a cursor holds, encoded.
#[derive(Debug, Default)]
pub(crate) struct CursorRows {
    rows: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The statement has returned a result set, so there is something to fetch from.
    opened: bool,
}

impl CursorRows {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// How rows are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RowFormat {
    Text,
    Binary,
}

/// How far the current result has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing has been sent of it.
    Fresh,
    /// Column definitions have; rows follow.
    Rows,
    /// The last result has ended.
    Done,
}

/// A piece of a file that the client sends for LOAD DATA LOCAL.
#[derive(Debug)]
pub(crate) enum FilePart {
    /// Some of it.
    Data(Bytes),
    /// The end; the next reply has this sequence number.
    End(u8),
    /// The rest of it cannot be had.
    Failed(SqlError),
}

/// A file is asked for.
#[derive(Debug)]
pub(crate) struct FileRequest {
    /// Where its parts go.
    pub parts: mpsc::Sender<FilePart>,
    /// Sequence number of the client's first packet of it.
    pub seq: u8,
    /// What may come.
    pub bounds: FileBounds,
}

/// What a client may send of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileBounds {
    /// The largest packet.
    pub packet_bytes_max: usize,
    /// How long it may send nothing.
    pub silence_max: Duration,
}

/// Writes the replies of one connection. A [`ResultSink`] for the rows of statements.
pub struct ResultWriter {
    pub(crate) output: Output,
    half: Box<dyn AsyncWrite + Send + Unpin>,
    write_timeout: Duration,
    capabilities: u32,
    results: Results,
    format: RowFormat,
    stage: Stage,
    columns: Vec<ResultColumn>,
    pub(crate) cache: DefinitionCache,
    /// Rows go here instead of to the client; and how many bytes of them may.
    pub(crate) cursor: Option<(CursorRows, usize)>,
    status: u16,
    /// The client cannot be written to any more.
    broken: bool,
    files: mpsc::UnboundedSender<FileRequest>,
    file: Option<mpsc::Receiver<FilePart>>,
    pub(crate) file_bounds: FileBounds,
    rows: u64,
}

impl ResultWriter {
    pub(crate) fn new(
        half: Box<dyn AsyncWrite + Send + Unpin>,
        write_timeout: Duration,
        files: mpsc::UnboundedSender<FileRequest>,
    ) -> Self {
        ResultWriter {
            output: Output::default(),
            half,
            write_timeout,
            capabilities: cap::PROTOCOL_41,
            results: Results { charset: Charset::Utf8mb4, collation: Collation::UTF8MB4_0900_AI_CI },
            format: RowFormat::Text,
            stage: Stage::Fresh,
            columns: Vec::new(),
            cache: DefinitionCache::default(),
            cursor: None,
            status: status::AUTOCOMMIT,
            broken: false,
            files,
            file: None,
            file_bounds: FileBounds { packet_bytes_max: usize::MAX, silence_max: Duration::MAX },
            rows: 0,
        }
    }

    pub(crate) fn set_capabilities(&mut self, capabilities: u32) {
        self.capabilities = capabilities;
    }

    pub(crate) fn can(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// A command begins: what it replies will have these properties.
    pub(crate) fn begin(&mut self, status: u16, collation: Option<Collation>, format: RowFormat) {
        self.status = status;
        self.format = format;
        self.stage = Stage::Fresh;
        self.rows = 0;
        self.set_results(collation);
    }

    /// The session's status flags have changed: what is written from now on carries these.
    pub fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// `character_set_results` has changed: as a collation of the new set, or `None` for NULL.
    pub fn set_results(&mut self, collation: Option<Collation>) {
        self.results = match collation {
            Some(collation) => {
                Results { charset: charset_of_collation(collation).unwrap_or_default(), collation }
            }
            None => Results { charset: Charset::Binary, collation: Collation::BINARY },
        };
    }

    /// Whether the client can receive more than one result for one command.
    pub fn can_send_several(&self) -> bool {
        self.can(cap::MULTI_RESULTS) || self.can(cap::PS_MULTI_RESULTS)
    }

    /// Rows written for the current command.
    pub fn rows_written(&self) -> u64 {
        self.rows
    }

    /// Ends a result. `more`: another one follows for the same command.
    pub fn complete(&mut self, completion: Completion<'_>, more: bool) {
        let mut flags = self.status;
        if more {
            flags |= status::MORE_RESULTS;
        }
        if self.stage == Stage::Rows {
            if self.cursor.is_some() {
                flags |= status::CURSOR_EXISTS;
            }
            self.put_end(completion.warnings, flags, completion.changes);
        } else {
            let (affected, insert_id, info) = match completion.executed {
                Executed::Affected { changed, matched, insert_id, info } => {
                    (if self.can(cap::FOUND_ROWS) { *matched } else { *changed }, *insert_id, info.as_str())
                }
                Executed::Rows { .. } => (0, 0, ""),
            };
            self.put_ok(0x00, affected, insert_id, flags, completion.warnings, info, completion.changes);
        }
        self.stage = if more { Stage::Fresh } else { Stage::Done };
    }

    /// Asks the client for a file (LOAD DATA LOCAL); read it with [`Self::file_part`].
    pub async fn request_file(&mut self, name: &str) -> Result<(), SqlError> {
        if !self.can(cap::LOCAL_FILES) || self.stage != Stage::Fresh {
            return Err(local_files_disabled());
        }
        let payload = self.output.begin();
        payload.push(0xfb);
        payload.extend_from_slice(name.as_bytes());
        self.output.end();
        self.flush().await?;
        let (parts, receiver) = mpsc::channel(FILE_PARTS_MAX);
        let request = FileRequest { parts, seq: self.output.seq(), bounds: self.file_bounds };
        self.files.send(request).map_err(|_| gone())?;
        self.file = Some(receiver);
        Ok(())
    }

    /// The next piece of the file that was asked for; `None` at its end.
    pub async fn file_part(&mut self) -> Result<Option<Bytes>, SqlError> {
        let Some(receiver) = &mut self.file else { return Ok(None) };
        match receiver.recv().await {
            Some(FilePart::Data(bytes)) => Ok(Some(bytes)),
            Some(FilePart::End(seq)) => {
                self.output.set_seq(seq);
                self.file = None;
                Ok(None)
            }
            Some(FilePart::Failed(error)) => Err(error),
            None => Err(gone()),
        }
    }

    /// The file that was asked for will not be read further; returns whether it had not ended.
    pub(crate) fn drop_file(&mut self) -> bool {
        self.file.take().is_some()
    }

    /// Whether the command has been answered completely.
    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// A plain OK.
    pub(crate) fn ok(&mut self, warnings: u16, changes: &[StateChange]) {
        self.put_ok(0x00, 0, 0, self.status, warnings, "", changes);
        self.stage = Stage::Done;
    }

    /// A plain EOF, or its successor.
    pub(crate) fn eof(&mut self) {
        self.put_end(0, self.status, &[]);
        self.stage = Stage::Done;
    }

    /// ERR. It ends whatever was being sent.
    pub(crate) fn error(&mut self, error: &SqlError) {
        put_error(&mut self.output, error, self.capabilities);
        self.stage = Stage::Done;
        self.cursor = None;
    }

    /// The reply to COM_STMT_PREPARE.
    pub(crate) fn prepared(&mut self, prepared: &Prepared) {
        let payload = self.output.begin();
        payload.push(0);
        payload.extend_from_slice(&prepared.id.to_le_bytes());
        put_u16(payload, prepared.columns.len() as u16);
        put_u16(payload, prepared.params);
        payload.push(0);
        put_u16(payload, prepared.warnings);
        self.output.end();
        if prepared.params > 0 {
            for _ in 0..prepared.params {
                put_parameter(self.output.begin());
                self.output.end();
            }
            self.end_of_definitions();
        }
        if !prepared.columns.is_empty() {
            for column in &prepared.columns {
                put_definition(self.output.begin(), column, self.results);
                self.output.end();
            }
            self.end_of_definitions();
        }
        self.stage = Stage::Done;
    }

    /// The reply to COM_FIELD_LIST.
    pub(crate) fn field_list(&mut self, fields: &[FieldDefault]) {
        for field in fields {
            let payload = self.output.begin();
            put_definition(payload, &field.column, self.results);
            put_default(payload, field.default.as_deref());
            self.output.end();
        }
        self.eof();
    }

    /// The reply to COM_STMT_FETCH: up to `count` rows.
    pub(crate) fn fetched(&mut self, cursor: &mut CursorRows, count: u32) {
        for _ in 0..count {
            let Some(row) = cursor.rows.pop_front() else { break };
            cursor.bytes -= row.len();
            self.output.packet(&row);
            self.rows += 1;
        }
        let flag = if cursor.is_empty() { status::LAST_ROW_SENT } else { status::CURSOR_EXISTS };
        self.put_end(0, self.status | flag, &[]);
        self.stage = Stage::Done;
    }

    /// Takes the rows that a cursor has collected, if the command opened one.
    pub(crate) fn take_cursor(&mut self) -> Option<CursorRows> {
        self.cursor.take().map(|(rows, _)| rows).filter(|rows| rows.opened)
    }

    /// Sends what has been written.
    pub(crate) async fn flush(&mut self) -> Result<(), SqlError> {
        if self.broken {
            return Err(gone());
        }
        if self.output.bytes().is_empty() {
            return Ok(());
        }
        let send = async {
            self.half.write_all(self.output.bytes()).await?;
            self.half.flush().await
        };
        let sent = tokio::time::timeout(self.write_timeout, send).await;
        self.output.clear();
        if !matches!(sent, Ok(Ok(()))) {
            self.broken = true;
            return Err(gone());
        }
        Ok(())
    }

    /// Says goodbye to the transport: a TLS client is told that this is the end.
    pub(crate) async fn shut(&mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.half.shutdown()).await;
    }

    fn end_of_definitions(&mut self) {
        if !self.can(cap::DEPRECATE_EOF) {
            let status = self.status;
            put_eof(&mut self.output, 0, status);
        }
    }

    fn put_end(&mut self, warnings: u16, flags: u16, changes: &[StateChange]) {
        if self.can(cap::DEPRECATE_EOF) {
            self.put_ok(0xfe, 0, 0, flags, warnings, "", changes);
        } else {
            put_eof(&mut self.output, warnings, flags);
        }
    }

    #[allow(clippy::too_many_arguments)] // The packet has that many fields.
    fn put_ok(
        &mut self,
        header: u8,
        affected: u64,
        insert_id: u64,
        mut flags: u16,
        warnings: u16,
        info: &str,
        changes: &[StateChange],
    ) {
        let tracked = self.can(cap::SESSION_TRACK) && !changes.is_empty();
        if tracked {
            flags |= status::SESSION_STATE_CHANGED;
        }
        let payload = self.output.begin();
        payload.push(header);
        put_lenenc(payload, affected);
        put_lenenc(payload, insert_id);
        put_u16(payload, flags);
        put_u16(payload, warnings);
        if tracked || !info.is_empty() {
            put_lenenc_bytes(payload, info.as_bytes());
        }
        if tracked {
            put_lenenc_bytes(payload, &encode_changes(changes));
        }
        self.output.end();
    }

    /// Appends the definitions of the result's columns, from the cache if they are those of last time.
    fn put_definitions(&mut self, columns: &[ResultColumn]) {
        let seq = self.output.seq();
        let cache = &mut self.cache;
        if cache.results == Some(self.results) && cache.seq == seq && cache.columns == columns {
            self.output.append_packets(&cache.block, columns.len());
            return;
        }
        let from = self.output.bytes().len();
        for column in columns {
            put_definition(self.output.begin(), column, self.results);
            self.output.end();
        }
        if columns.len() <= CACHED_COLUMNS_MAX {
            cache.columns.clear();
            cache.columns.extend_from_slice(columns);
            cache.results = Some(self.results);
            cache.seq = seq;
            cache.block.clear();
            cache.block.extend_from_slice(&self.output.bytes()[from..]);
        }
    }

    fn put_row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        let charset = self.results.charset;
        let payload = self.output.begin();
        match self.format {
            RowFormat::Text => {
                for (value, column) in row.iter().zip(&self.columns) {
                    put_text_cell(payload, value, &column.sql_type, charset);
                }
            }
            RowFormat::Binary => {
                payload.push(0);
                let bitmap = payload.len();
                payload.resize(bitmap + (row.len() + 2).div_ceil(8), 0);
                for (i, (value, column)) in row.iter().zip(&self.columns).enumerate() {
                    if value.is_null() {
                        payload[bitmap + (i + 2) / 8] |= 1 << ((i + 2) % 8);
                    } else {
                        put_binary_cell(payload, value, column, charset)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl ResultSink for ResultWriter {
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        if self.stage != Stage::Fresh || columns.is_empty() {
            return Err(SqlError::internal("a result set out of turn"));
        }
        put_lenenc(self.output.begin(), columns.len() as u64);
        self.output.end();
        self.put_definitions(columns);
        match &mut self.cursor {
            // The reply that opens a cursor ends once, behind the definitions.
            Some((rows, _)) => rows.opened = true,
            None => self.end_of_definitions(),
        }
        if self.columns != columns {
            self.columns.clear();
            self.columns.extend_from_slice(columns);
        }
        self.stage = Stage::Rows;
        Ok(())
    }

    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        if self.stage != Stage::Rows || row.len() != self.columns.len() {
            return Err(SqlError::internal(format_args!(
                "a row of {} values in a result of {} columns",
                row.len(),
                self.columns.len()
            )));
        }
        if let Err(error) = self.put_row(row) {
            self.output.abandon();
            return Err(error);
        }
        self.rows += 1;
        if let Some((cursor, bytes_max)) = &mut self.cursor {
            let row = self.output.take();
            cursor.bytes += row.len();
            cursor.rows.push_back(row);
            if cursor.bytes > *bytes_max {
                return Err(SqlError::new(
                    ErrorCode::OutOfMemory,
                    format!("the rows of the cursor exceed {bytes_max} bytes"),
                ));
            }
            return Ok(());
        }
        self.output.end();
        Ok(())
    }

    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async move {
            if self.broken {
                return Err(gone());
            }
            if self.output.bytes().len() >= HIGH_WATER { self.flush().await } else { Ok(()) }
        })
    }

    fn request_file<'a>(&'a mut self, name: &'a str) -> BoxFuture<'a, Result<(), SqlError>> {
        Box::pin(ResultWriter::request_file(self, name))
    }

    fn file_part(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        Box::pin(ResultWriter::file_part(self))
    }
}

/// The client cannot be reached: the statement need not go on.
pub(crate) fn gone() -> SqlError {
    SqlError::new(ErrorCode::AbortingConnection, "the client has gone")
}

/// Appends ERR.
pub(crate) fn put_error(output: &mut Output, error: &SqlError, capabilities: u32) {
    let payload = output.begin();
    payload.push(0xff);
    put_u16(payload, error.code.errno());
    if capabilities & cap::PROTOCOL_41 != 0 {
        payload.push(b'#');
        payload.extend_from_slice(error.code.sqlstate().as_bytes());
    }
    payload.extend_from_slice(error.message.as_bytes());
    output.end();
}

fn put_eof(output: &mut Output, warnings: u16, flags: u16) {
    let payload = output.begin();
    payload.push(0xfe);
    put_u16(payload, warnings);
    put_u16(payload, flags);
    output.end();
}

fn encode_changes(changes: &[StateChange]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = Vec::new();
    for change in changes {
        body.clear();
        match change {
            StateChange::Variable(name, value) => {
                out.push(0);
                put_lenenc_bytes(&mut body, name.as_bytes());
                put_lenenc_bytes(&mut body, value.as_bytes());
            }
            StateChange::Database(name) => {
                out.push(1);
                put_lenenc_bytes(&mut body, name.as_bytes());
            }
        }
        put_lenenc_bytes(&mut out, &body);
    }
    out
}
