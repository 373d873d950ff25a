//! Numbers of the protocol.

/// Client and server capabilities.
pub mod capability {
    /// Set by every MySQL server; a server that clears it is taken for MariaDB with its own extensions.
    pub const LONG_PASSWORD: u32 = 1;
    /// Affected rows of UPDATE are those matched, not those changed.
    pub const FOUND_ROWS: u32 = 1 << 1;
    /// Column flags of two bytes.
    pub const LONG_FLAG: u32 = 1 << 2;
    /// The handshake names a database.
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// The client is an ODBC driver.
    pub const ODBC: u32 = 1 << 6;
    /// LOAD DATA LOCAL.
    pub const LOCAL_FILES: u32 = 1 << 7;
    /// Blanks before `(` mean nothing.
    pub const IGNORE_SPACE: u32 = 1 << 8;
    /// The protocol of MySQL 4.1 and later, the only one that is spoken here.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// `interactive_timeout` instead of `wait_timeout`.
    pub const INTERACTIVE: u32 = 1 << 10;
    /// TLS.
    pub const SSL: u32 = 1 << 11;
    /// The client ignores SIGPIPE.
    pub const IGNORE_SIGPIPE: u32 = 1 << 12;
    /// Status flags in OK packets.
    pub const TRANSACTIONS: u32 = 1 << 13;
    /// Was once 4.1's.
    pub const RESERVED: u32 = 1 << 14;
    /// Authentication with a 20-byte nonce.
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    /// Several statements in one text.
    pub const MULTI_STATEMENTS: u32 = 1 << 16;
    /// Several results of one text.
    pub const MULTI_RESULTS: u32 = 1 << 17;
    /// Several results of one prepared statement.
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    /// Authentication plugins by name.
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    /// Connection attributes.
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    /// The authentication response has a length-encoded length.
    pub const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    /// Session state changes in OK packets.
    pub const SESSION_TRACK: u32 = 1 << 23;
    /// OK packets in place of EOF packets.
    pub const DEPRECATE_EOF: u32 = 1 << 24;
    /// Attributes before a statement.
    pub const QUERY_ATTRIBUTES: u32 = 1 << 27;

    /// What this server offers; SSL is added if it has a certificate.
    pub const OFFERED: u32 = LONG_PASSWORD
        | FOUND_ROWS
        | LONG_FLAG
        | CONNECT_WITH_DB
        | ODBC
        | LOCAL_FILES
        | IGNORE_SPACE
        | PROTOCOL_41
        | INTERACTIVE
        | IGNORE_SIGPIPE
        | TRANSACTIONS
        | RESERVED
        | SECURE_CONNECTION
        | MULTI_STATEMENTS
        | MULTI_RESULTS
        | PS_MULTI_RESULTS
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC
        | SESSION_TRACK
        | DEPRECATE_EOF
        | QUERY_ATTRIBUTES;
}

/// Status flags of OK and EOF packets.
pub mod status {
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 1;
    /// `autocommit = 1`.
    pub const AUTOCOMMIT: u16 = 1 << 1;
    /// Another result follows.
    pub const MORE_RESULTS: u16 = 1 << 3;
    /// The statement could use no good index.
    pub const NO_GOOD_INDEX_USED: u16 = 1 << 4;
    /// The statement used no index.
    pub const NO_INDEX_USED: u16 = 1 << 5;
    /// A cursor is open.
    pub const CURSOR_EXISTS: u16 = 1 << 6;
    /// The cursor has no more rows.
    pub const LAST_ROW_SENT: u16 = 1 << 7;
    /// A database was dropped.
    pub const DATABASE_DROPPED: u16 = 1 << 8;
    /// `NO_BACKSLASH_ESCAPES`.
    pub const NO_BACKSLASH_ESCAPES: u16 = 1 << 9;
    /// The shape of a prepared statement's result has changed.
    pub const METADATA_CHANGED: u16 = 1 << 10;
    /// The statement was slow.
    pub const QUERY_WAS_SLOW: u16 = 1 << 11;
    /// The transaction is read only.
    pub const IN_READ_ONLY_TRANSACTION: u16 = 1 << 13;
    /// The packet carries session state changes.
    pub const SESSION_STATE_CHANGED: u16 = 1 << 14;
}

/// Command bytes.
pub(crate) mod command {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_KILL: u8 = 0x0c;
    pub const PING: u8 = 0x0e;
    pub const CHANGE_USER: u8 = 0x11;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1a;
    pub const SET_OPTION: u8 = 0x1b;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const RESET_CONNECTION: u8 = 0x1f;
}

/// Type codes of columns and parameters.
pub(crate) mod type_code {
    pub const DECIMAL: u8 = 0;
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const NULL: u8 = 6;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const BOOL: u8 = 244;
    pub const JSON: u8 = 245;
    pub const NEW_DECIMAL: u8 = 246;
    pub const TINY_BLOB: u8 = 249;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// Flags of column definitions.
pub(crate) mod column_flag {
    pub const NOT_NULL: u16 = 1;
    pub const PRIMARY_KEY: u16 = 1 << 1;
    pub const UNIQUE_KEY: u16 = 1 << 2;
    pub const MULTIPLE_KEY: u16 = 1 << 3;
    pub const BLOB: u16 = 1 << 4;
    pub const UNSIGNED: u16 = 1 << 5;
    pub const ZEROFILL: u16 = 1 << 6;
    pub const BINARY: u16 = 1 << 7;
    pub const ENUM: u16 = 1 << 8;
    pub const AUTO_INCREMENT: u16 = 1 << 9;
    pub const TIMESTAMP: u16 = 1 << 10;
    pub const SET: u16 = 1 << 11;
    pub const NO_DEFAULT_VALUE: u16 = 1 << 12;
    pub const ON_UPDATE_NOW: u16 = 1 << 13;
}
