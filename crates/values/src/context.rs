//! What evaluating an expression depends on besides its operands, all of it handed in as data.

use crate::{Collation, SqlMode, TimeZone};
use assize_model::{ErrorCode, SqlError, Warning, WarningLevel};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Modes, time, limits, session facts and the warnings gathered so far. One per session;
/// [`EvalContext::begin_statement`] resets what lives for a statement.
#[derive(Clone, Debug)]
pub struct EvalContext {
    /// `@@sql_mode`.
    pub sql_mode: SqlMode,
    /// `@@time_zone`.
    pub time_zone: TimeZone,
    /// The statement's time: microseconds since the Unix epoch, UTC. NOW() answers this.
    pub now_micros: i64,
    /// The moment of the call for SYSDATE(), kept up by whoever owns a clock; `None` means `now_micros`.
    pub sysdate_micros: Option<i64>,
    /// `@@div_precision_increment`.
    pub div_precision_increment: u8,
    /// `@@group_concat_max_len`, in bytes.
    pub group_concat_max_len: u64,
    /// `@@max_allowed_packet`: the longest string that a function may make.
    pub max_allowed_packet: u64,
    /// `@@max_error_count`: how many warnings are kept.
    pub max_error_count: usize,
    /// `@@collation_connection`: what literals and converted numbers get.
    pub connection_collation: Collation,
    /// `@@default_week_format`.
    pub default_week_format: u8,
    /// The statement stores values (INSERT, UPDATE, DELETE, LOAD DATA …): strict modes apply.
    pub writing: bool,
    /// IGNORE: errors of values become warnings.
    pub ignore: bool,
    /// State of RAND(); seed it once per session.
    pub rand: RandState,
    /// State of RAND(n), by n, for the statement.
    pub rand_by_seed: BTreeMap<i64, RandState>,
    /// What makes UUIDs distinct.
    pub uuid: UuidState,
    /// State of RANDOM_BYTES(); seed it once per session.
    pub secret: SecretState,
    /// Facts about session and server that functions tell.
    pub environment: Environment,
    /// Regular expressions compiled lately.
    pub regexes: RegexCache,
    /// The warnings kept.
    pub warnings: Vec<Warning>,
    /// How many warnings there were, those not kept included.
    pub warning_count: u64,
}

/// Regular expressions with the text that they were compiled from, the latest last.
#[derive(Clone, Debug, Default)]
pub struct RegexCache(pub(crate) Vec<(String, regex::Regex)>);

/// Facts that information functions tell.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// CONNECTION_ID().
    pub connection_id: u32,
    /// USER(): `name@host` as the client said.
    pub user: Arc<str>,
    /// CURRENT_USER(): `name@pattern` of the account.
    pub current_user: Arc<str>,
    /// DATABASE().
    pub database: Option<Arc<str>>,
    /// VERSION().
    pub version: Arc<str>,
    /// LAST_INSERT_ID().
    pub last_insert_id: u64,
    /// Set by LAST_INSERT_ID(expr); the OK packet reports it.
    pub last_insert_id_set: Option<u64>,
    /// FOUND_ROWS().
    pub found_rows: u64,
    /// ROW_COUNT().
    pub row_count: i64,
    /// CURRENT_ROLE(); empty means NONE.
    pub current_role: Arc<str>,
}

/// MySQL's generator behind RAND(): two 30-bit linear congruences.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RandState {
    seed1: u64,
    seed2: u64,
}

const RAND_MAX: u64 = 0x3fff_ffff;

impl RandState {
    /// The state with these seeds.
    pub fn new(seed1: u64, seed2: u64) -> Self {
        RandState { seed1: seed1 % RAND_MAX, seed2: seed2 % RAND_MAX }
    }

    /// The state of RAND(seed).
    pub fn from_seed(seed: i64) -> Self {
        let low = seed as u32;
        RandState::new(
            u64::from(low.wrapping_mul(0x1_0001).wrapping_add(55_555_555)),
            u64::from(low.wrapping_mul(0x1000_0001)),
        )
    }

    /// The next number, from 0 up to but not including 1.
    pub fn draw(&mut self) -> f64 {
        self.seed1 = (self.seed1 * 3 + self.seed2) % RAND_MAX;
        self.seed2 = (self.seed1 + self.seed2 + 33) % RAND_MAX;
        self.seed1 as f64 / RAND_MAX as f64
    }
}

/// What version 1 UUIDs are made of besides the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UuidState {
    /// 48 bits that identify the session's place.
    pub node: u64,
    /// 14 bits, different after every start.
    pub sequence: u16,
    /// How many have been made: no two share a time.
    pub count: u64,
    /// UUID_SHORT(): server and start time in the high bits.
    pub short_base: u64,
}

/// What RANDOM_BYTES() is made of: a key that nobody else has, and how much it has been used.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SecretState {
    /// 256 bits of randomness.
    pub key: [u64; 4],
    /// How many blocks have been made with it.
    pub count: u64,
}

impl std::fmt::Debug for SecretState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretState")
    }
}

impl Default for EvalContext {
    fn default() -> Self {
        EvalContext {
            sql_mode: SqlMode::DEFAULT,
            time_zone: TimeZone::System,
            now_micros: 0,
            sysdate_micros: None,
            div_precision_increment: 4,
            group_concat_max_len: 1024,
            max_allowed_packet: 64 << 20,
            max_error_count: 1024,
            connection_collation: Collation::UTF8MB4_0900_AI_CI,
            default_week_format: 0,
            writing: false,
            ignore: false,
            rand: RandState::new(1, 2),
            rand_by_seed: BTreeMap::new(),
            uuid: UuidState::default(),
            secret: SecretState::default(),
            environment: Environment::default(),
            regexes: RegexCache::default(),
            warnings: Vec::new(),
            warning_count: 0,
        }
    }
}

impl EvalContext {
    /// Forgets what belonged to the previous statement and sets the new one's time.
    pub fn begin_statement(&mut self, now_micros: i64) {
        self.now_micros = now_micros;
        self.sysdate_micros = None;
        self.writing = false;
        self.ignore = false;
        self.rand_by_seed.clear();
        self.warnings.clear();
        self.warning_count = 0;
        self.environment.last_insert_id_set = None;
    }

    /// Whether a bad value is an error: a strict mode, a statement that writes, and no IGNORE.
    #[inline]
    pub fn strict(&self) -> bool {
        self.writing && !self.ignore && self.sql_mode.strict()
    }

    /// Appends to the warnings, whatever the mode.
    pub fn push_warning(&mut self, level: WarningLevel, code: ErrorCode, message: impl Into<String>) {
        self.warning_count += 1;
        if self.warnings.len() < self.max_error_count {
            self.warnings.push(Warning { level, code, message: message.into() });
        }
    }

    /// A warning; in a strict writing statement it is the error that ends it, if it is about a value.
    pub fn warn(&mut self, code: ErrorCode, message: impl Into<String>) -> Result<(), SqlError> {
        if self.strict() && escalates(code) {
            return Err(SqlError::new(code, message));
        }
        self.push_warning(WarningLevel::Warning, code, message);
        Ok(())
    }

    /// A note.
    pub fn note(&mut self, code: ErrorCode, message: impl Into<String>) {
        self.push_warning(WarningLevel::Note, code, message);
    }

    /// An error of a value: the error itself, or under IGNORE a warning.
    pub fn value_error(&mut self, code: ErrorCode, message: impl Into<String>) -> Result<(), SqlError> {
        if self.ignore {
            self.push_warning(WarningLevel::Warning, code, message);
            return Ok(());
        }
        Err(SqlError::new(code, message))
    }

    /// Warning 1365, as ERROR_FOR_DIVISION_BY_ZERO says: nothing without it, an error with a strict mode in
    /// a statement that writes.
    pub fn division_by_zero(&mut self) -> Result<(), SqlError> {
        if self.sql_mode.contains(SqlMode::ERROR_FOR_DIVISION_BY_ZERO) {
            self.warn(ErrorCode::DivisionByZero, "Division by 0")?;
        }
        Ok(())
    }

    /// Error 1690 for this kind of number and this expression.
    pub fn out_of_range(kind: &str, expression: impl std::fmt::Display) -> SqlError {
        SqlError::new(ErrorCode::DataOutOfRange, format!("{kind} value is out of range in '{expression}'"))
    }

    /// The warning that a function's result would exceed max_allowed_packet; its result is NULL.
    pub fn too_long(&mut self, function: &str) -> Result<(), SqlError> {
        let limit = self.max_allowed_packet;
        self.warn(
            ErrorCode::AllowedPacketOverflowed,
            format!("Result of {function}() was larger than max_allowed_packet ({limit}) - truncated"),
        )
    }
}

/// Warnings about values, which strict modes turn into errors.
fn escalates(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TruncatedWrongValue
            | ErrorCode::WrongValueType
            | ErrorCode::WarnDataOutOfRange
            | ErrorCode::GroupConcatCut
            | ErrorCode::DatetimeOverflow
            | ErrorCode::DataTruncatedForColumn
            | ErrorCode::TruncatedWrongValueForField
            | ErrorCode::DivisionByZero
            | ErrorCode::InvalidCharacterString
            | ErrorCode::InvalidArgumentForLogarithm
            | ErrorCode::DataTooLong
            | ErrorCode::AllowedPacketOverflowed
    )
}
