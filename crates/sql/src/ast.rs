//! What a statement says.
//!
//! Queries and expressions are nodes of `sqlparser::ast`; everything else is ours. How MySQL's own forms look
//! in `sqlparser`'s nodes:
//!
//! | MySQL | node |
//! |---|---|
//! | `@x`, `` @`x y` `` | `Expr::Identifier`, value `@x`, `@x y`, `quote_style: None` (a quoted column has a quote style) |
//! | `@@x`, `@@session.x`, `@@global.x` | `Expr::Identifier`, value `@@x`, `@@session.x` (lower case), `quote_style: None` |
//! | `@x := e` | `BinaryOp` with `Assignment` |
//! | `?` (and lifted literals) | `Value::Placeholder("?0")`, `"?1"` …: ordinal within the statement |
//! | `a MOD b`, `a % b` · `DIV` · `XOR` · `<=>` · `^` | `Modulo` · `MyIntegerDivide` · `Xor` · `Spaceship` · `BitwiseXor` |
//! | `<<`, `>>` | `PGBitwiseShiftLeft`, `PGBitwiseShiftRight` |
//! | `\|\|` | `Or`; with PIPES_AS_CONCAT `StringConcat` |
//! | `!a` · `NOT a` · `~a` · `BINARY a` | `BangNot` · `Not` · `BitwiseNot` · `Cast` to `Binary(None)` |
//! | `a REGEXP b`, `a RLIKE b` | `RLike` |
//! | `a SOUNDS LIKE b` | `SOUNDEX(a) = SOUNDEX(b)` |
//! | `_utf8mb4'x'` | `Prefixed`; `N'x'` is `NationalStringLiteral` |
//! | `x'41'`, `0x41` · `b'01'`, `0b01` | `HexStringLiteral("41")` · `SingleQuotedByteStringLiteral("01")` |
//! | `'a' 'b'`, `"a"` (without ANSI_QUOTES) | one `SingleQuotedString` |
//! | `TRUE`, `FALSE`, `NULL`, `\N` | `Value::Boolean`, `Value::Null` |
//! | `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`, `{d '…'}` | `TypedString` with `Date`, `Time(None, None)`, `Timestamp(None, None)` |
//! | `INTERVAL e unit` · `INTERVAL(a, b)` | `Expr::Interval` (value, leading_field; units are `DateTimeField::Custom` where sqlparser has no name, such as `DAY_HOUR`) · function `INTERVAL` |
//! | `DEFAULT(c)` · `VALUES(c)` | functions of these names |
//! | `CAST(a AS t)` · `CONVERT(a, t)` · `CONVERT(a USING cs)` | `Cast` · `Cast` · `Convert` with `charset` |
//! | CAST types | `Signed`, `Unsigned`, `Char`, `Nvarchar`, `Binary`, `Date`, `Time`, `Datetime`, `Decimal`, `Float`, `Double`, `JSON`, `Custom("YEAR")`; the character set of CHAR is in `Cast::format` as `CastFormat::Value` of a string |
//! | `EXTRACT`, `POSITION`, `SUBSTRING(a FROM b FOR c)`, `TRIM` | `Extract`, `Position`, `Substring`, `Trim`; with commas a plain function call |
//! | `TIMESTAMPADD(u, …)`, `TIMESTAMPDIFF`, `GET_FORMAT` | function whose first argument is `Identifier(unit)` |
//! | `a -> p`, `a ->> p` | `Arrow`, `LongArrow` |
//! | `a MEMBER OF (b)` | `MemberOf` |
//! | `(a, b)`, `ROW(a, b)` | `Tuple` |
//! | `(a)` | `Nested` |
//! | `GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR c)` | `FunctionArgumentList` clauses |
//! | function names | one identifier, or `db.name`; as written, match them case-insensitively |
//! | `LOCK IN SHARE MODE` | a `LockClause` of `Share`; `FOR UPDATE OF a, b` makes one clause per table |
//! | `LIMIT a, b` | `OffsetCommaLimit` |
//! | `STRAIGHT_JOIN` | `JoinOperator::StraightJoin` |
//! | `FROM a, b` | `from` has several `TableWithJoins` |
//! | `SQL_CALC_FOUND_ROWS`, `STRAIGHT_JOIN` | `Select::select_modifiers` |
//! | `GROUP BY … WITH ROLLUP` | `GroupByWithModifier::Rollup` |
//! | `VALUES ROW(…), …`, `TABLE t` | `SetExpr::Values`, `SetExpr::Table` |

use sqlparser::ast::{Expr, OrderByExpr, Query as QueryNode, TableWithJoins, With};
use std::fmt;
use std::ops::Range;

/// A statement with its place in the text it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its bytes within the parsed text, without the closing semicolon.
    pub span: Range<usize>,
    /// How many `?` it has.
    pub placeholders: u32,
}

/// A parsed statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// SELECT, VALUES, TABLE, UNION …, with what MySQL allows around them.
    Query(Box<Query>),
    /// INSERT and REPLACE.
    Insert(Box<Insert>),
    /// UPDATE.
    Update(Box<Update>),
    /// DELETE.
    Delete(Box<Delete>),
    /// LOAD DATA \[LOCAL\] INFILE.
    LoadData(Box<LoadData>),
    /// CREATE DATABASE.
    CreateDatabase(CreateDatabase),
    /// ALTER DATABASE.
    AlterDatabase {
        /// Which; `None`: the selected one.
        name: Option<String>,
        /// New default character set and collation.
        charset: CharsetClause,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// Which.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
        /// FORCE, our word for "although it still has tables".
        force: bool,
    },
    /// CREATE TABLE.
    CreateTable(Box<CreateTable>),
    /// ALTER TABLE.
    AlterTable(Box<AlterTable>),
    /// DROP TABLE.
    DropTable {
        /// Which.
        tables: Vec<TableName>,
        /// IF EXISTS.
        if_exists: bool,
        /// TEMPORARY.
        temporary: bool,
    },
    /// CREATE INDEX.
    CreateIndex {
        /// On which table.
        table: TableName,
        /// The index.
        index: IndexDef,
    },
    /// DROP INDEX.
    DropIndex {
        /// On which table.
        table: TableName,
        /// Which index.
        name: String,
    },
    /// TRUNCATE TABLE.
    Truncate(TableName),
    /// RENAME TABLE.
    RenameTable(Vec<(TableName, TableName)>),
    /// CREATE VIEW.
    CreateView(Box<CreateView>),
    /// DROP VIEW.
    DropView {
        /// Which.
        views: Vec<TableName>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// DROP PROCEDURE, FUNCTION, TRIGGER or EVENT: there are none, which is what IF EXISTS wants to hear.
    DropProgram {
        /// Of which kind.
        kind: ProgramKind,
        /// Which.
        name: TableName,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// UNDROP TABLE: takes a table out of the recycle bin.
    UndropTable {
        /// Its name when it was dropped.
        name: TableName,
        /// The number of SHOW DROPPED, if given (`UNDROP TABLE t ID 7`).
        id: Option<u64>,
        /// A new name (`RENAME TO t2`).
        rename_to: Option<TableName>,
    },
    /// UNDROP DATABASE.
    UndropDatabase {
        /// Its name when it was dropped.
        name: String,
        /// The number of SHOW DROPPED, if given.
        id: Option<u64>,
        /// A new name.
        rename_to: Option<String>,
    },
    /// PURGE DROPPED: empties the recycle bin.
    PurgeDropped {
        /// Only this entry (`PURGE DROPPED 7`); `None`: everything (`PURGE DROPPED ALL`).
        id: Option<u64>,
    },
    /// ALTER CLUSTER.
    AlterCluster {
        /// What is to be done.
        action: ClusterAction,
        /// VALIDATE ONLY: says whether it could be done.
        validate_only: bool,
    },
    /// SHOW.
    Show(Box<Show>),
    /// SET.
    Set(Vec<SetItem>),
    /// BEGIN, START TRANSACTION.
    Begin {
        /// READ ONLY (`true`) or READ WRITE (`false`), if said.
        read_only: Option<bool>,
        /// WITH CONSISTENT SNAPSHOT.
        consistent_snapshot: bool,
    },
    /// COMMIT.
    Commit(Completion),
    /// ROLLBACK.
    Rollback(Completion),
    /// SAVEPOINT.
    Savepoint(String),
    /// ROLLBACK TO \[SAVEPOINT\].
    RollbackTo(String),
    /// RELEASE SAVEPOINT.
    ReleaseSavepoint(String),
    /// LOCK TABLES.
    LockTables(Vec<LockTable>),
    /// UNLOCK TABLES.
    UnlockTables,
    /// USE.
    Use(String),
    /// EXPLAIN, DESCRIBE of a statement.
    Explain {
        /// How to print.
        format: ExplainFormat,
        /// ANALYZE.
        analyze: bool,
        /// Of what.
        statement: Box<Statement>,
    },
    /// EXPLAIN FOR CONNECTION n.
    ExplainConnection(u64),
    /// DESCRIBE table [column or pattern].
    Describe {
        /// Which table.
        table: TableName,
        /// Column name or LIKE pattern.
        column: Option<String>,
    },
    /// KILL.
    Kill {
        /// QUERY: the statement only.
        query_only: bool,
        /// Which connection.
        connection: Expr,
    },
    /// PREPARE … FROM.
    Prepare {
        /// Its name.
        name: String,
        /// The text, or the user variable that holds it.
        source: PrepareSource,
    },
    /// EXECUTE … USING.
    Execute {
        /// Its name.
        name: String,
        /// User variables, without `@`.
        using: Vec<String>,
    },
    /// DEALLOCATE PREPARE.
    Deallocate(String),
    /// DO.
    Do(Vec<Expr>),
    /// CALL.
    Call {
        /// The procedure.
        name: TableName,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// FLUSH: what is flushed, upper case (`TABLES`, `PRIVILEGES`, …).
    Flush {
        /// The words after FLUSH.
        what: Vec<String>,
        /// FLUSH TABLES t1, t2.
        tables: Vec<TableName>,
        /// WITH READ LOCK.
        read_lock: bool,
    },
    /// ANALYZE, CHECK, OPTIMIZE, REPAIR and CHECKSUM TABLE.
    TableMaintenance {
        /// Which of them.
        verb: MaintenanceVerb,
        /// Which tables.
        tables: Vec<TableName>,
        /// Words after the tables, upper case (`QUICK`, `EXTENDED`, …).
        options: Vec<String>,
    },
    /// CREATE SERVER.
    CreateServer {
        /// Its name.
        name: String,
        /// FOREIGN DATA WRAPPER.
        wrapper: String,
        /// OPTIONS.
        options: ServerOptions,
    },
    /// ALTER SERVER.
    AlterServer {
        /// Which.
        name: String,
        /// What changes.
        options: ServerOptions,
    },
    /// DROP SERVER.
    DropServer {
        /// Which.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// CREATE USER.
    CreateUser {
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// Who.
        users: Vec<UserSpec>,
        /// Options for all of them.
        options: UserOptions,
    },
    /// ALTER USER.
    AlterUser {
        /// IF EXISTS.
        if_exists: bool,
        /// Who.
        users: Vec<UserSpec>,
        /// Options for all of them.
        options: UserOptions,
    },
    /// DROP USER.
    DropUser {
        /// IF EXISTS.
        if_exists: bool,
        /// Who.
        users: Vec<Account>,
    },
    /// RENAME USER.
    RenameUser(Vec<(Account, Account)>),
    /// GRANT.
    Grant {
        /// What, upper case; columns are kept beside.
        privileges: Vec<Privilege>,
        /// On what.
        level: PrivilegeLevel,
        /// To whom.
        users: Vec<UserSpec>,
        /// WITH GRANT OPTION.
        with_grant_option: bool,
    },
    /// REVOKE.
    Revoke {
        /// What; `ALL PRIVILEGES` and `GRANT OPTION` are names too.
        privileges: Vec<Privilege>,
        /// On what.
        level: PrivilegeLevel,
        /// From whom.
        users: Vec<Account>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// HELP.
    Help(String),
    /// RESET, CHANGE MASTER, BINLOG … and other statements that are recognised so that they can be refused by
    /// name: error 1235.
    Unsupported {
        /// What to name in the error.
        feature: &'static str,
        /// Whether MySQL would commit the running transaction first.
        implicit_commit: bool,
    },
}

/// What MySQL stores of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// PROCEDURE
    Procedure,
    /// FUNCTION
    Function,
    /// TRIGGER
    Trigger,
    /// EVENT
    Event,
}

/// A possibly qualified name of a table, view or routine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Its database, if said.
    pub database: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{database}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A query as a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The query.
    pub node: QueryNode,
    /// INTO.
    pub into: Option<SelectInto>,
}

/// Where a SELECT … INTO goes.
#[derive(Clone, Debug, PartialEq)]
pub enum SelectInto {
    /// User variables, without `@`.
    Variables(Vec<String>),
    /// OUTFILE.
    Outfile(String),
    /// DUMPFILE.
    Dumpfile(String),
}

/// A value in VALUES or SET: an expression or DEFAULT.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Expressions are large by nature; a box would cost every walk.
pub enum ValueExpr {
    /// DEFAULT.
    Default,
    /// An expression.
    Expr(Expr),
}

/// A column that is assigned to, perhaps qualified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    /// Its database, if said.
    pub database: Option<String>,
    /// Its table or alias, if said.
    pub table: Option<String>,
    /// Its name.
    pub name: String,
}

/// `column = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The column.
    pub column: ColumnName,
    /// The value.
    pub value: ValueExpr,
}

/// INSERT and REPLACE.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// REPLACE.
    pub replace: bool,
    /// IGNORE.
    pub ignore: bool,
    /// Into which table.
    pub table: TableName,
    /// PARTITION (…).
    pub partitions: Vec<String>,
    /// Into which columns; `None`: all, in their order. Qualifiers are dropped. The SET form fills it too.
    pub columns: Option<Vec<String>>,
    /// What.
    pub source: InsertSource,
    /// `AS new(a, b)`.
    pub row_alias: Option<RowAlias>,
    /// ON DUPLICATE KEY UPDATE.
    pub on_duplicate: Vec<Assignment>,
}

/// What is inserted.
#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource {
    /// VALUES (…), (…), and SET. A row may be empty: all defaults.
    Values(Vec<Vec<ValueExpr>>),
    /// SELECT …, TABLE t, VALUES ROW(…).
    Query(Box<QueryNode>),
}

/// `AS new(a, b)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowAlias {
    /// Of the row.
    pub name: String,
    /// Of its columns; empty: their own names.
    pub columns: Vec<String>,
}

/// UPDATE.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// WITH.
    pub with: Option<With>,
    /// IGNORE.
    pub ignore: bool,
    /// One table, or a join.
    pub tables: Vec<TableWithJoins>,
    /// SET.
    pub assignments: Vec<Assignment>,
    /// WHERE.
    pub selection: Option<Expr>,
    /// ORDER BY.
    pub order_by: Vec<OrderByExpr>,
    /// LIMIT.
    pub limit: Option<Expr>,
}

/// DELETE.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// WITH.
    pub with: Option<With>,
    /// IGNORE.
    pub ignore: bool,
    /// Multi-table form: the tables or aliases whose rows go. Empty: the single-table form.
    pub targets: Vec<TableName>,
    /// Where the rows are found.
    pub from: Vec<TableWithJoins>,
    /// WHERE.
    pub selection: Option<Expr>,
    /// ORDER BY.
    pub order_by: Vec<OrderByExpr>,
    /// LIMIT.
    pub limit: Option<Expr>,
}

/// LOAD DATA.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadData {
    /// LOCAL.
    pub local: bool,
    /// The file.
    pub file: String,
    /// REPLACE.
    pub replace: bool,
    /// IGNORE.
    pub ignore: bool,
    /// Into which table.
    pub table: TableName,
    /// PARTITION (…).
    pub partitions: Vec<String>,
    /// CHARACTER SET, lower case.
    pub charset: Option<String>,
    /// FIELDS TERMINATED BY; default tab. Separators are bytes: they may be written as hex literals.
    pub fields_terminated: Vec<u8>,
    /// FIELDS \[OPTIONALLY\] ENCLOSED BY.
    pub fields_enclosed: Vec<u8>,
    /// FIELDS ESCAPED BY, if said.
    pub fields_escaped: Option<Vec<u8>>,
    /// LINES STARTING BY.
    pub lines_starting: Vec<u8>,
    /// LINES TERMINATED BY; default newline.
    pub lines_terminated: Vec<u8>,
    /// IGNORE n LINES.
    pub ignore_lines: u64,
    /// Where the fields of a line go; empty: to all columns.
    pub targets: Vec<LoadTarget>,
    /// SET.
    pub assignments: Vec<Assignment>,
}

impl LoadData {
    /// Whether bad values and taken keys are warnings. A client that sends a file cannot be stopped midway, so LOCAL means
    /// IGNORE, unless REPLACE says what happens to taken keys.
    pub fn lets_bad_values_pass(&self) -> bool {
        self.ignore || (self.local && !self.replace)
    }
}

/// Where a field of a data file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadTarget {
    /// Into a column.
    Column(ColumnName),
    /// Into a user variable, without `@`.
    Variable(String),
}

/// Character set and collation, as far as they were said.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CharsetClause {
    /// CHARACTER SET, lower case.
    pub charset: Option<String>,
    /// COLLATE, lower case.
    pub collation: Option<String>,
    /// BINARY after a text type: the `_bin` collation of the character set.
    pub binary: bool,
}

/// CREATE DATABASE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateDatabase {
    /// Its name.
    pub name: String,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Default character set and collation.
    pub charset: CharsetClause,
}

/// CREATE TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// Its name.
    pub name: TableName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// TEMPORARY.
    pub temporary: bool,
    /// LIKE another table: nothing below is filled then.
    pub like: Option<TableName>,
    /// Columns.
    pub columns: Vec<ColumnDef>,
    /// Indexes, foreign keys, CHECKs declared on their own (those declared with a column are in its definition).
    pub constraints: Vec<TableConstraint>,
    /// ENGINE, CHARSET, …
    pub options: TableOptions,
    /// PARTITION BY.
    pub partition_by: Option<PartitionBy>,
    /// AS SELECT.
    pub select: Option<Box<QueryNode>>,
    /// What happens to duplicates of AS SELECT.
    pub on_duplicate: SelectDuplicates,
}

/// IGNORE or REPLACE before the SELECT of CREATE TABLE … SELECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SelectDuplicates {
    /// An error.
    #[default]
    Error,
    /// IGNORE.
    Ignore,
    /// REPLACE.
    Replace,
}

/// An expression with the text that it was written in.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlExpr {
    /// Parsed.
    pub expr: Expr,
    /// As written.
    pub text: String,
}

/// A column definition.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// NOT NULL is `Some(false)`, NULL `Some(true)`.
    pub nullable: Option<bool>,
    /// DEFAULT.
    pub default: Option<ColumnDefault>,
    /// ON UPDATE CURRENT_TIMESTAMP(fsp).
    pub on_update_now: Option<u8>,
    /// AUTO_INCREMENT.
    pub auto_increment: bool,
    /// UNIQUE \[KEY\].
    pub unique: bool,
    /// \[PRIMARY\] KEY.
    pub primary_key: bool,
    /// COMMENT.
    pub comment: Option<String>,
    /// COLLATE as an attribute (a type's own clause is in `data_type`).
    pub collation: Option<String>,
    /// INVISIBLE.
    pub invisible: bool,
    /// GENERATED ALWAYS AS.
    pub generated: Option<GeneratedDef>,
    /// CHECKs declared with the column.
    pub checks: Vec<CheckDef>,
    /// REFERENCES (which InnoDB ignores when declared with a column, and MySQL 9 honours).
    pub references: Option<References>,
}

/// A column's default.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnDefault {
    /// A literal (signed numbers, strings, NULL, TRUE, hex, bits, DATE '…').
    Literal(SqlExpr),
    /// CURRENT_TIMESTAMP(fsp) and its synonyms.
    Now(u8),
    /// `(expression)`.
    Expression(SqlExpr),
}

/// GENERATED ALWAYS AS.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedDef {
    /// The expression.
    pub expr: SqlExpr,
    /// STORED.
    pub stored: bool,
}

/// CHECK.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckDef {
    /// CONSTRAINT name.
    pub name: Option<String>,
    /// The condition.
    pub expr: SqlExpr,
    /// NOT ENFORCED if false.
    pub enforced: bool,
}

/// A column's type as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    /// TINYINT … BIGINT; BOOL is TINYINT(1).
    Int {
        /// Which.
        width: assize_values::IntWidth,
        /// Display width.
        display: Option<u32>,
        /// UNSIGNED.
        unsigned: bool,
        /// ZEROFILL.
        zerofill: bool,
    },
    /// SERIAL: BIGINT UNSIGNED NOT NULL AUTO_INCREMENT UNIQUE.
    Serial,
    /// DECIMAL, NUMERIC, FIXED.
    Decimal {
        /// Digits.
        precision: Option<u32>,
        /// After the point.
        scale: Option<u32>,
        /// UNSIGNED.
        unsigned: bool,
        /// ZEROFILL.
        zerofill: bool,
    },
    /// FLOAT, FLOAT(p), FLOAT(m, d).
    Float {
        /// p or m.
        precision: Option<u32>,
        /// d.
        scale: Option<u32>,
        /// UNSIGNED.
        unsigned: bool,
        /// ZEROFILL.
        zerofill: bool,
    },
    /// DOUBLE \[PRECISION\], REAL.
    Double {
        /// m.
        precision: Option<u32>,
        /// d.
        scale: Option<u32>,
        /// UNSIGNED.
        unsigned: bool,
        /// ZEROFILL.
        zerofill: bool,
    },
    /// BIT(n).
    Bit(Option<u32>),
    /// CHAR(n), NCHAR(n).
    Char(Option<u32>, CharsetClause),
    /// VARCHAR(n), NVARCHAR(n).
    VarChar(u32, CharsetClause),
    /// TINYTEXT … LONGTEXT, and TEXT(n), which picks the smallest that fits.
    Text(assize_values::BlobSize, Option<u64>, CharsetClause),
    /// BINARY(n).
    Binary(Option<u32>),
    /// VARBINARY(n).
    VarBinary(u32),
    /// TINYBLOB … LONGBLOB, and BLOB(n).
    Blob(assize_values::BlobSize, Option<u64>),
    /// DATE.
    Date,
    /// TIME(fsp).
    Time(u32),
    /// DATETIME(fsp).
    DateTime(u32),
    /// TIMESTAMP(fsp).
    Timestamp(u32),
    /// YEAR.
    Year,
    /// ENUM.
    Enum(Vec<String>, CharsetClause),
    /// SET.
    Set(Vec<String>, CharsetClause),
    /// JSON.
    Json,
    /// GEOMETRY, POINT, …: recognised, upper case.
    Spatial(&'static str),
}

/// Indexes, foreign keys and CHECKs of a table.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Expressions are large by nature; a box would cost every walk.
pub enum TableConstraint {
    /// PRIMARY KEY, UNIQUE, KEY, FULLTEXT, SPATIAL.
    Index(IndexDef),
    /// FOREIGN KEY.
    ForeignKey(ForeignKeyDef),
    /// CHECK.
    Check(CheckDef),
}

/// What an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// PRIMARY KEY.
    Primary,
    /// UNIQUE.
    Unique,
    /// KEY, INDEX.
    Plain,
    /// FULLTEXT.
    Fulltext,
    /// SPATIAL.
    Spatial,
}

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexDef {
    /// What it is.
    pub kind: IndexKind,
    /// Its name (or its constraint's), if said.
    pub name: Option<String>,
    /// Its columns.
    pub parts: Vec<IndexPartDef>,
    /// COMMENT.
    pub comment: Option<String>,
    /// INVISIBLE.
    pub invisible: bool,
    /// USING, upper case (`BTREE`, `HASH`).
    pub using: Option<String>,
}

/// One column of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexPartDef {
    /// The column or expression.
    pub key: IndexPartKey,
    /// Prefix length.
    pub prefix: Option<u32>,
    /// DESC.
    pub descending: bool,
}

/// What an index part indexes.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Expressions are large by nature; a box would cost every walk.
pub enum IndexPartKey {
    /// A column.
    Column(String),
    /// `(expression)`.
    Expr(SqlExpr),
}

/// FOREIGN KEY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKeyDef {
    /// CONSTRAINT name.
    pub name: Option<String>,
    /// Index name after FOREIGN KEY, if said.
    pub index_name: Option<String>,
    /// Columns of the child.
    pub columns: Vec<String>,
    /// The parent.
    pub references: References,
}

/// REFERENCES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct References {
    /// The parent.
    pub table: TableName,
    /// Its columns.
    pub columns: Vec<String>,
    /// ON DELETE.
    pub on_delete: ReferenceAction,
    /// ON UPDATE.
    pub on_update: ReferenceAction,
}

/// What happens to children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReferenceAction {
    /// Not said, or NO ACTION.
    #[default]
    NoAction,
    /// RESTRICT.
    Restrict,
    /// CASCADE.
    Cascade,
    /// SET NULL.
    SetNull,
    /// SET DEFAULT, which InnoDB refuses.
    SetDefault,
}

/// Table options. What is not named has no meaning here and is kept for SHOW CREATE TABLE.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableOptions {
    /// ENGINE, as written.
    pub engine: Option<String>,
    /// DEFAULT CHARSET and COLLATE.
    pub charset: CharsetClause,
    /// AUTO_INCREMENT.
    pub auto_increment: Option<u64>,
    /// COMMENT.
    pub comment: Option<String>,
    /// CONNECTION: where the rows of a FEDERATED table are.
    pub connection: Option<String>,
    /// The rest: upper-case name and value as written.
    pub other: Vec<(String, String)>,
}

impl TableOptions {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == TableOptions::default()
    }

    /// Whether ENGINE is FEDERATED: the rows are on a server outside of the cluster.
    pub fn is_federated(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.eq_ignore_ascii_case("FEDERATED"))
    }
}

/// OPTIONS of CREATE SERVER and ALTER SERVER; `None` is what was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// HOST.
    pub host: Option<String>,
    /// PORT.
    pub port: Option<u64>,
    /// DATABASE.
    pub database: Option<String>,
    /// USER.
    pub user: Option<String>,
    /// PASSWORD.
    pub password: Option<String>,
    /// OWNER.
    pub owner: Option<String>,
    /// SOCKET.
    pub socket: Option<String>,
}

/// PARTITION BY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// KEY (columns): chooses the sharding column.
    Key {
        /// The columns; empty: the primary key.
        columns: Vec<String>,
        /// PARTITIONS n.
        partitions: Option<u64>,
    },
    /// HASH, RANGE, LIST …: recognised, upper case; the text is dropped.
    Other(&'static str),
}

/// ALTER TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterTable {
    /// Which table.
    pub table: TableName,
    /// What to change, in the order written.
    pub actions: Vec<AlterAction>,
}

/// Where a column goes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ColumnPosition {
    /// Not said.
    #[default]
    Default,
    /// FIRST.
    First,
    /// AFTER.
    After(String),
}

/// One change of ALTER TABLE.
#[derive(Clone, Debug, PartialEq)]
pub enum AlterAction {
    /// ADD \[COLUMN\].
    AddColumn {
        /// The column.
        column: ColumnDef,
        /// Where.
        position: ColumnPosition,
        /// IF NOT EXISTS (MariaDB).
        if_not_exists: bool,
    },
    /// ADD INDEX, CONSTRAINT, …
    AddConstraint(TableConstraint),
    /// DROP \[COLUMN\].
    DropColumn {
        /// Which.
        name: String,
        /// IF EXISTS (MariaDB).
        if_exists: bool,
    },
    /// MODIFY \[COLUMN\].
    ModifyColumn {
        /// Its new definition.
        column: ColumnDef,
        /// Where.
        position: ColumnPosition,
    },
    /// CHANGE \[COLUMN\].
    ChangeColumn {
        /// Its name so far.
        old_name: String,
        /// Its new name and definition.
        column: ColumnDef,
        /// Where.
        position: ColumnPosition,
    },
    /// RENAME COLUMN.
    RenameColumn {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// ALTER COLUMN SET DEFAULT; `None`: DROP DEFAULT.
    AlterDefault {
        /// Which column.
        column: String,
        /// Its new default.
        default: Option<ColumnDefault>,
    },
    /// ALTER COLUMN SET VISIBLE, SET INVISIBLE.
    AlterColumnVisibility {
        /// Which column.
        column: String,
        /// INVISIBLE.
        invisible: bool,
    },
    /// DROP PRIMARY KEY.
    DropPrimaryKey,
    /// DROP INDEX, DROP KEY.
    DropIndex(String),
    /// DROP FOREIGN KEY.
    DropForeignKey(String),
    /// DROP CHECK.
    DropCheck(String),
    /// DROP CONSTRAINT: whatever has that name.
    DropConstraint(String),
    /// ALTER CHECK, ALTER CONSTRAINT … \[NOT\] ENFORCED.
    AlterCheck {
        /// Which.
        name: String,
        /// ENFORCED.
        enforced: bool,
    },
    /// RENAME INDEX.
    RenameIndex {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// ALTER INDEX VISIBLE, INVISIBLE.
    AlterIndexVisibility {
        /// Which index.
        name: String,
        /// INVISIBLE.
        invisible: bool,
    },
    /// RENAME \[TO | AS\].
    RenameTable(TableName),
    /// ORDER BY, which changes nothing here.
    OrderBy(Vec<String>),
    /// CONVERT TO CHARACTER SET.
    ConvertCharset(CharsetClause),
    /// ENGINE, AUTO_INCREMENT, COMMENT, DEFAULT CHARSET, …
    Options(TableOptions),
    /// ENABLE KEYS (true), DISABLE KEYS (false): nothing to do.
    Keys(bool),
    /// PARTITION BY, and REMOVE PARTITIONING (`None`).
    Partition(Option<PartitionBy>),
    /// ALGORITHM, LOCK, FORCE, WITH VALIDATION, DISCARD TABLESPACE …: upper-case word and value.
    Hint(String, String),
}

/// CREATE VIEW and ALTER VIEW.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// OR REPLACE.
    pub or_replace: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// ALTER VIEW: it has to be there.
    pub alter: bool,
    /// What stands before VIEW.
    pub prelude: ViewPrelude,
    /// Its name.
    pub name: TableName,
    /// Its columns' names; empty: those of the query.
    pub columns: Vec<String>,
    /// The query.
    pub query: Box<QueryNode>,
    /// WITH CHECK OPTION.
    pub check: ViewCheckOption,
}

/// What stands between CREATE or ALTER and VIEW.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewPrelude {
    /// ALGORITHM: `UNDEFINED`, `MERGE`, `TEMPTABLE`.
    pub algorithm: Option<String>,
    /// DEFINER.
    pub definer: Option<Account>,
    /// SQL SECURITY INVOKER; `Some(false)`: DEFINER.
    pub invoker: Option<bool>,
}

/// WITH CHECK OPTION of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewCheckOption {
    /// Not written.
    None,
    /// LOCAL.
    Local,
    /// CASCADED, which is what is meant if neither is said.
    Cascaded,
}

/// SHOW.
#[derive(Clone, Debug, PartialEq)]
pub struct Show {
    /// What.
    pub what: ShowWhat,
    /// LIKE, WHERE.
    pub filter: Option<ShowFilter>,
}

/// LIKE or WHERE of SHOW.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Expressions are large by nature; a box would cost every walk.
pub enum ShowFilter {
    /// LIKE.
    Like(String),
    /// WHERE.
    Where(Expr),
}

/// What SHOW shows.
#[derive(Clone, Debug, PartialEq)]
pub enum ShowWhat {
    /// DATABASES, SCHEMAS.
    Databases,
    /// \[FULL\] TABLES [FROM db].
    Tables {
        /// FULL.
        full: bool,
        /// FROM.
        database: Option<String>,
    },
    /// OPEN TABLES.
    OpenTables {
        /// FROM.
        database: Option<String>,
    },
    /// TABLE STATUS.
    TableStatus {
        /// FROM.
        database: Option<String>,
    },
    /// \[FULL\] COLUMNS, FIELDS.
    Columns {
        /// FULL.
        full: bool,
        /// EXTENDED.
        extended: bool,
        /// Of which table.
        table: TableName,
    },
    /// INDEX, INDEXES, KEYS.
    Indexes {
        /// Of which table.
        table: TableName,
    },
    /// CREATE DATABASE.
    CreateDatabase {
        /// Which.
        name: String,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// CREATE TABLE.
    CreateTable(TableName),
    /// CREATE VIEW.
    CreateView(TableName),
    /// CREATE USER.
    CreateUser(Account),
    /// CREATE PROCEDURE, FUNCTION, TRIGGER, EVENT: the word and the name.
    CreateRoutine(&'static str, TableName),
    /// \[GLOBAL | SESSION\] VARIABLES.
    Variables {
        /// GLOBAL.
        global: bool,
    },
    /// \[GLOBAL | SESSION\] STATUS.
    Status {
        /// GLOBAL.
        global: bool,
    },
    /// WARNINGS.
    Warnings {
        /// LIMIT (offset, count).
        limit: Option<(u64, u64)>,
    },
    /// ERRORS.
    Errors {
        /// LIMIT (offset, count).
        limit: Option<(u64, u64)>,
    },
    /// COUNT(*) WARNINGS.
    CountWarnings,
    /// COUNT(*) ERRORS.
    CountErrors,
    /// ENGINES.
    Engines,
    /// ENGINE name STATUS | MUTEX | LOGS.
    Engine(String, String),
    /// CHARACTER SET.
    CharacterSets,
    /// COLLATION.
    Collations,
    /// \[FULL\] PROCESSLIST.
    ProcessList {
        /// FULL.
        full: bool,
    },
    /// GRANTS [FOR account]; `None`: the current user.
    Grants(Option<Account>),
    /// PRIVILEGES.
    Privileges,
    /// PLUGINS.
    Plugins,
    /// TRIGGERS.
    Triggers {
        /// FROM.
        database: Option<String>,
    },
    /// EVENTS.
    Events {
        /// FROM.
        database: Option<String>,
    },
    /// PROCEDURE STATUS.
    ProcedureStatus,
    /// FUNCTION STATUS.
    FunctionStatus,
    /// PROCEDURE | FUNCTION CODE name.
    RoutineCode,
    /// MASTER STATUS, BINARY LOG STATUS.
    MasterStatus,
    /// BINARY LOGS, MASTER LOGS.
    BinaryLogs,
    /// REPLICA STATUS, SLAVE STATUS.
    ReplicaStatus,
    /// REPLICAS, SLAVE HOSTS.
    Replicas,
    /// BINLOG EVENTS, RELAYLOG EVENTS.
    BinlogEvents,
    /// PROFILES.
    Profiles,
    /// PROFILE.
    Profile,
    /// DROPPED: the recycle bin.
    Dropped,
    /// CONFLICTS: aborts that are remembered.
    Conflicts {
        /// LIMIT (offset, count).
        limit: Option<(u64, u64)>,
    },
    /// CONFLICT 'id': one of them in words.
    Conflict(String),
    /// HOT KEYS: keys on which transactions often conflict.
    HotKeys {
        /// LIMIT (offset, count).
        limit: Option<(u64, u64)>,
    },
    /// SHARDS.
    Shards,
    /// MEMBERS: nodes.
    Members,
    /// TRANSACTIONS that are open.
    Transactions,
    /// JOBS: splits, moves, index builds.
    Jobs,
    /// DIAGNOSIS: what is wrong with the cluster, and what to do.
    Diagnosis,
    /// OUTCOME 'id': what became of a transaction.
    Outcome(String),
}

/// What ALTER CLUSTER asks for. Shards and nodes are named by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterAction {
    /// TRANSFER LEADERSHIP [TO NODE n].
    TransferLeadership {
        /// To which; `None`: any voter that is up to date.
        to: Option<u64>,
    },
    /// ADD LEARNER NODE n.
    AddLearner {
        /// Which.
        node: u64,
    },
    /// PROMOTE NODE n: it gets a vote.
    Promote {
        /// Which.
        node: u64,
    },
    /// DROP NODE n \[FORCE\].
    RemoveMember {
        /// Which.
        node: u64,
        /// It is lost for good.
        force: bool,
    },
    /// DRAIN NODE n \[FORCE\].
    Drain {
        /// Which.
        node: u64,
        /// Although no other frontend takes connections.
        force: bool,
    },
    /// UNDRAIN NODE n.
    Undrain {
        /// Which.
        node: u64,
    },
    /// VERIFY REPLICAS.
    VerifyReplicas,
    /// RECOVER SHARD n \[ACCEPT DATA LOSS\].
    RecoverShard {
        /// Which.
        shard: u32,
        /// What only the lost replicas have may be gone.
        accept_data_loss: bool,
    },
    /// SPLIT SHARD n [AT slot].
    Split {
        /// Which.
        shard: u32,
        /// The first slot that goes; `None`: the middle.
        at: Option<u16>,
    },
    /// MERGE SHARD n INTO SHARD m.
    Merge {
        /// Whose slots go.
        from: u32,
        /// Where they go.
        into: u32,
    },
    /// MOVE SHARD n FROM NODE a TO NODE b.
    MoveReplica {
        /// Which.
        shard: u32,
        /// Where it is.
        from: u64,
        /// Where it goes.
        to: u64,
    },
    /// ADD REPLICA OF SHARD n ON NODE m.
    AddReplica {
        /// Of which.
        shard: u32,
        /// Where.
        node: u64,
    },
    /// DROP REPLICA OF SHARD n ON NODE m.
    RemoveReplica {
        /// Of which.
        shard: u32,
        /// Where.
        node: u64,
    },
}

/// One item of SET.
#[derive(Clone, Debug, PartialEq)]
pub enum SetItem {
    /// A system variable.
    Variable {
        /// The scope that was said, if any.
        scope: Option<Scope>,
        /// Its name, lower case.
        name: String,
        /// Its new value. A bare word (`ON`, `utf8mb4`, `STRICT_TRANS_TABLES`) is an `Expr::Identifier`.
        value: ValueExpr,
    },
    /// `@name = expr`.
    UserVariable {
        /// Its name, without `@`.
        name: String,
        /// Its new value.
        value: Expr,
    },
    /// NAMES; `charset: None` is NAMES DEFAULT.
    Names {
        /// Character set, lower case.
        charset: Option<String>,
        /// COLLATE, lower case.
        collation: Option<String>,
    },
    /// CHARACTER SET; `None` is DEFAULT.
    CharacterSet(Option<String>),
    /// TRANSACTION.
    Transaction {
        /// GLOBAL or SESSION; `None`: the next transaction only.
        scope: Option<Scope>,
        /// ISOLATION LEVEL.
        isolation: Option<Isolation>,
        /// READ ONLY (`true`), READ WRITE (`false`).
        read_only: Option<bool>,
    },
    /// PASSWORD [FOR account] = '…'.
    Password {
        /// Whose; `None`: the current user's.
        account: Option<Account>,
        /// The new one.
        password: String,
    },
    /// ROLE, DEFAULT ROLE: recognised.
    Role,
}

/// Scope of a system variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SESSION, LOCAL, `@@session.`, `@@local.`
    Session,
    /// GLOBAL, `@@global.`
    Global,
    /// PERSIST: as GLOBAL, for good (it always is, here).
    Persist,
    /// PERSIST_ONLY.
    PersistOnly,
}

/// An isolation level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolation {
    /// READ UNCOMMITTED, which reads as READ COMMITTED.
    ReadUncommitted,
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

/// AND \[NO\] CHAIN, \[NO\] RELEASE; `None` means that `completion_type` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Completion {
    /// AND CHAIN.
    pub chain: Option<bool>,
    /// RELEASE.
    pub release: Option<bool>,
}

/// A table of LOCK TABLES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockTable {
    /// Which.
    pub table: TableName,
    /// Its alias.
    pub alias: Option<String>,
    /// WRITE.
    pub write: bool,
}

/// How EXPLAIN prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExplainFormat {
    /// The table.
    #[default]
    Traditional,
    /// FORMAT=JSON.
    Json,
    /// FORMAT=TREE.
    Tree,
}

/// Where PREPARE takes its text from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrepareSource {
    /// A string.
    Text(String),
    /// A user variable, without `@`.
    Variable(String),
}

/// ANALYZE, CHECK, OPTIMIZE, REPAIR, CHECKSUM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceVerb {
    /// ANALYZE TABLE.
    Analyze,
    /// CHECK TABLE.
    Check,
    /// OPTIMIZE TABLE.
    Optimize,
    /// REPAIR TABLE.
    Repair,
    /// CHECKSUM TABLE.
    Checksum,
}

/// `'name'@'host'`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// Name; `CURRENT_USER` is the empty name with host `CURRENT_USER()`, see [`Account::is_current_user`].
    pub name: String,
    /// Host pattern; `%` if not said.
    pub host: String,
}

impl Account {
    /// CURRENT_USER().
    pub fn current_user() -> Self {
        Account { name: String::new(), host: "CURRENT_USER()".into() }
    }

    /// Whether this stands for whoever is asking.
    pub fn is_current_user(&self) -> bool {
        self.name.is_empty() && self.host == "CURRENT_USER()"
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'@'{}'", self.name, self.host)
    }
}

/// An account and how it authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// Who.
    pub account: Account,
    /// IDENTIFIED …
    pub auth: Option<Auth>,
}

/// IDENTIFIED [WITH plugin] [BY 'password' | AS 'hash'].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Plugin, if said.
    pub plugin: Option<String>,
    /// BY.
    pub password: Option<String>,
    /// AS: the stored form.
    pub hash: Option<String>,
}

/// Options of CREATE and ALTER USER.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UserOptions {
    /// ACCOUNT LOCK (`true`), UNLOCK (`false`).
    pub locked: Option<bool>,
    /// REQUIRE SSL (`true`), NONE (`false`).
    pub require_tls: Option<bool>,
    /// The rest, upper case (`PASSWORD EXPIRE NEVER`, …): accepted.
    pub other: Vec<String>,
}

/// A privilege of GRANT and REVOKE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Upper case: `SELECT`, `ALL PRIVILEGES`, `CREATE TEMPORARY TABLES`, …
    pub name: String,
    /// Columns; empty: the whole table.
    pub columns: Vec<String>,
}

/// On what a privilege is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivilegeLevel {
    /// `*.*`
    Global,
    /// `db.*`; `None` is `*`, the selected database.
    Database(Option<String>),
    /// `db.table`, `table`.
    Table(TableName),
    /// PROCEDURE or FUNCTION `db.name`.
    Routine(TableName),
    /// GRANT role TO user: no ON clause.
    Role,
    /// GRANT PROXY ON.
    Proxy,
}
