//! CREATE, ALTER, DROP, RENAME, UNDROP, PURGE.

use super::{Parser, Result};
use crate::lexer::Kind;
use crate::{
    AlterAction, AlterTable, CharsetClause, CheckDef, ColumnDef, ColumnDefault, ColumnPosition,
    CreateDatabase, CreateTable, CreateView, DataType, ForeignKeyDef, GeneratedDef, IndexDef, IndexKind,
    IndexPartDef, IndexPartKey, PartitionBy, ReferenceAction, References, SelectDuplicates, SqlExpr,
    Statement, TableConstraint, TableOptions,
};
use assize_values::{BlobSize, IntWidth};

impl Parser<'_> {
    /// Skips to the end of the statement: what is refused need not be understood.
    pub(super) fn skip_rest(&mut self) {
        while !self.at_end() {
            self.skip(1);
        }
    }

    fn refuse(&mut self, feature: &'static str, implicit_commit: bool) -> Result<Statement> {
        self.skip_rest();
        Ok(Statement::Unsupported { feature, implicit_commit })
    }

    fn if_exists(&mut self) -> bool {
        self.eat_kws(&["IF", "EXISTS"])
    }

    fn if_not_exists(&mut self) -> bool {
        self.eat_kws(&["IF", "NOT", "EXISTS"])
    }

    /// An expression with the text it was written in.
    fn sql_expr(&mut self) -> Result<SqlExpr> {
        let start = self.tok().start;
        let expr = self.expr()?;
        Ok(SqlExpr { expr, text: self.source(start) })
    }

    fn paren_sql_expr(&mut self) -> Result<SqlExpr> {
        self.expect("(")?;
        let expr = self.sql_expr()?;
        self.expect(")")?;
        Ok(expr)
    }

    // -- CREATE ---------------------------------------------------------------------------------------------

    pub(super) fn create(&mut self) -> Result<Statement> {
        self.expect_kw("CREATE")?;
        if self.eat_one_of(&["DATABASE", "SCHEMA"]).is_some() {
            let if_not_exists = self.if_not_exists();
            let name = self.name()?;
            let charset = self.database_options()?;
            return Ok(Statement::CreateDatabase(CreateDatabase { name, if_not_exists, charset }));
        }
        if self.is_kw("TABLE") || self.is_kws(&["TEMPORARY", "TABLE"]) {
            return self.create_table();
        }
        let unique = self.is_any_kw(&["UNIQUE", "FULLTEXT", "SPATIAL"]);
        if self.is_kw("INDEX") || (unique && self.is_kw_at(1, "INDEX")) {
            return self.create_index();
        }
        let or_replace = self.eat_kws(&["OR", "REPLACE"]);
        self.view_prelude()?;
        if self.eat_kw("VIEW") {
            return self.create_view(or_replace);
        }
        if or_replace && (self.is_kw("TABLE") || self.is_kws(&["TEMPORARY", "TABLE"])) {
            return self.refuse("CREATE OR REPLACE TABLE", true);
        }
        if self.eat_kw("USER") {
            return self.create_user();
        }
        let word = self.tok().text.to_ascii_uppercase();
        match word.as_str() {
            "PROCEDURE" => self.refuse("CREATE PROCEDURE", true),
            "FUNCTION" | "AGGREGATE" => self.refuse("CREATE FUNCTION", true),
            "TRIGGER" => self.refuse("CREATE TRIGGER", true),
            "EVENT" => self.refuse("CREATE EVENT", true),
            "ROLE" => self.refuse("CREATE ROLE", true),
            "SERVER" => self.refuse("CREATE SERVER", true),
            "TABLESPACE" | "UNDO" => self.refuse("CREATE TABLESPACE", true),
            "LOGFILE" => self.refuse("CREATE LOGFILE GROUP", true),
            "RESOURCE" => self.refuse("CREATE RESOURCE GROUP", true),
            "SEQUENCE" => self.refuse("CREATE SEQUENCE", true),
            _ => Err(self.fail()),
        }
    }

    /// ALGORITHM, DEFINER, SQL SECURITY before VIEW, PROCEDURE, TRIGGER, EVENT.
    fn view_prelude(&mut self) -> Result<()> {
        loop {
            if self.eat_kw("ALGORITHM") {
                self.expect("=")?;
                self.name()?;
            } else if self.eat_kw("DEFINER") {
                self.expect("=")?;
                self.account()?;
            } else if self.eat_kws(&["SQL", "SECURITY"]) {
                self.name()?;
            } else {
                return Ok(());
            }
        }
    }

    fn create_view(&mut self, or_replace: bool) -> Result<Statement> {
        self.if_not_exists();
        let name = self.table_name()?;
        let columns = if self.is_punct("(") { self.paren_list(|p| p.name())? } else { Vec::new() };
        self.expect_kw("AS")?;
        let start = self.tok().start;
        let query = Box::new(self.query()?);
        let text = self.source(start);
        let mut check_option = false;
        if self.eat_kw("WITH") {
            self.eat_one_of(&["CASCADED", "LOCAL"]);
            self.expect_kws(&["CHECK", "OPTION"])?;
            check_option = true;
        }
        Ok(Statement::CreateView(Box::new(CreateView {
            or_replace,
            name,
            columns,
            query,
            text,
            check_option,
        })))
    }

    fn database_options(&mut self) -> Result<CharsetClause> {
        let mut charset = CharsetClause::default();
        loop {
            self.eat_kw("DEFAULT");
            if self.charset_option(&mut charset)? {
                continue;
            }
            if self.eat_kw("ENCRYPTION") {
                self.eat("=");
                self.string()?;
            } else if self.eat_kws(&["READ", "ONLY"]) {
                self.eat("=");
                if !self.eat_kw("DEFAULT") {
                    self.u64()?;
                }
            } else if self.eat_kw("COMMENT") {
                self.eat("=");
                self.string()?;
            } else {
                return Ok(charset);
            }
        }
    }

    /// `CHARACTER SET [=] x`, `CHARSET [=] x`, `COLLATE [=] x`
    fn charset_option(&mut self, clause: &mut CharsetClause) -> Result<bool> {
        if self.eat_kws(&["CHARACTER", "SET"]) || self.eat_kw("CHARSET") || self.eat_kws(&["CHAR", "SET"]) {
            self.eat("=");
            clause.charset = Some(self.name_or_string()?.to_ascii_lowercase());
            return Ok(true);
        }
        if self.eat_kw("COLLATE") {
            self.eat("=");
            clause.collation = Some(self.name_or_string()?.to_ascii_lowercase());
            return Ok(true);
        }
        Ok(false)
    }

    fn create_table(&mut self) -> Result<Statement> {
        let temporary = self.eat_kw("TEMPORARY");
        self.expect_kw("TABLE")?;
        let if_not_exists = self.if_not_exists();
        let name = self.table_name()?;
        let mut table = CreateTable {
            name,
            if_not_exists,
            temporary,
            like: None,
            columns: Vec::new(),
            constraints: Vec::new(),
            options: TableOptions::default(),
            partition_by: None,
            select: None,
            on_duplicate: SelectDuplicates::Error,
        };
        if self.eat_kw("LIKE") {
            table.like = Some(self.table_name()?);
            return Ok(Statement::CreateTable(Box::new(table)));
        }
        if self.is_punct("(") && self.is_kw_at(1, "LIKE") {
            self.skip(2);
            table.like = Some(self.table_name()?);
            self.expect(")")?;
            return Ok(Statement::CreateTable(Box::new(table)));
        }
        if self.is_punct("(") && !self.at_query() {
            self.skip(1);
            loop {
                match self.table_constraint()? {
                    Some(constraint) => table.constraints.push(constraint),
                    None => {
                        let column = self.column_def()?;
                        table.columns.push(column);
                    }
                }
                if !self.eat(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        table.options = self.table_options()?;
        if self.is_kws(&["PARTITION", "BY"]) {
            table.partition_by = Some(self.partition_by()?);
        }
        if self.eat_kw("IGNORE") {
            table.on_duplicate = SelectDuplicates::Ignore;
        } else if self.eat_kw("REPLACE") {
            table.on_duplicate = SelectDuplicates::Replace;
        }
        let as_given = self.eat_kw("AS");
        if as_given || self.at_query() {
            table.select = Some(Box::new(self.query()?));
        }
        if table.columns.is_empty() && table.select.is_none() {
            return Err(self.fail());
        }
        Ok(Statement::CreateTable(Box::new(table)))
    }

    /// Table options up to something that is none; commas between them are allowed.
    fn table_options(&mut self) -> Result<TableOptions> {
        let mut options = TableOptions::default();
        while self.table_option(&mut options)? {
            // In ALTER TABLE a comma may also begin the next action: take it only if an option follows.
            if self.is_punct(",") {
                let pos = self.pos;
                self.skip(1);
                let mut probe = options.clone();
                match self.table_option(&mut probe) {
                    Ok(true) => options = probe,
                    _ => {
                        self.pos = pos;
                        return Ok(options);
                    }
                }
            }
        }
        Ok(options)
    }

    fn table_option(&mut self, options: &mut TableOptions) -> Result<bool> {
        const OTHER: &[&str] = &[
            "ROW_FORMAT",
            "KEY_BLOCK_SIZE",
            "STATS_PERSISTENT",
            "STATS_AUTO_RECALC",
            "STATS_SAMPLE_PAGES",
            "PACK_KEYS",
            "CHECKSUM",
            "DELAY_KEY_WRITE",
            "MAX_ROWS",
            "MIN_ROWS",
            "AVG_ROW_LENGTH",
            "COMPRESSION",
            "ENCRYPTION",
            "CONNECTION",
            "INSERT_METHOD",
            "TABLESPACE",
            "PASSWORD",
            "AUTOEXTEND_SIZE",
            "PAGE_CHECKSUM",
            "TRANSACTIONAL",
            "ENGINE_ATTRIBUTE",
            "SECONDARY_ENGINE_ATTRIBUTE",
            "SECONDARY_ENGINE",
            "TABLE_CHECKSUM",
        ];
        if self.is_kw("DEFAULT") && (self.is_any_kw_at(1, &["CHARSET", "CHARACTER", "COLLATE", "CHAR"])) {
            self.skip(1);
        }
        if self.charset_option(&mut options.charset)? {
            return Ok(true);
        }
        if self.eat_kw("ENGINE") || self.eat_kw("TYPE") {
            self.eat("=");
            options.engine = Some(self.name_or_string()?);
            return Ok(true);
        }
        if self.eat_kw("AUTO_INCREMENT") {
            self.eat("=");
            options.auto_increment = Some(self.u64()?);
            return Ok(true);
        }
        if self.eat_kw("COMMENT") {
            self.eat("=");
            options.comment = Some(self.string()?);
            return Ok(true);
        }
        if let Some(word) = self.eat_one_of(&["DATA", "INDEX"]) {
            self.expect_kw("DIRECTORY")?;
            self.eat("=");
            let value = self.string()?;
            options.other.push((format!("{word} DIRECTORY"), value));
            return Ok(true);
        }
        if self.is_kw("UNION") && (self.is_punct_at(1, "=") || self.is_punct_at(1, "(")) {
            self.skip(1);
            self.eat("=");
            let tables = self.paren_list(|p| p.table_name())?;
            let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
            options.other.push(("UNION".into(), names.join(",")));
            return Ok(true);
        }
        if self.kind() == Kind::Word {
            let word = self.tok().text.to_ascii_uppercase();
            if OTHER.contains(&word.as_str()) {
                self.skip(1);
                self.eat("=");
                if matches!(self.kind(), Kind::End | Kind::Bad | Kind::Punct) {
                    return Err(self.fail());
                }
                let value = self.advance().text;
                options.other.push((word, value));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_any_kw_at(&self, ahead: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_kw_at(ahead, word))
    }

    fn partition_by(&mut self) -> Result<PartitionBy> {
        self.expect_kws(&["PARTITION", "BY"])?;
        self.eat_kw("LINEAR");
        let kind = match self.eat_one_of(&["KEY", "HASH", "RANGE", "LIST", "SYSTEM_TIME"]) {
            Some("KEY") => None,
            Some("HASH") => Some("PARTITION BY HASH"),
            Some("RANGE") => Some("PARTITION BY RANGE"),
            Some("LIST") => Some("PARTITION BY LIST"),
            Some(_) => Some("PARTITION BY SYSTEM_TIME"),
            None => return Err(self.fail()),
        };
        if let Some(kind) = kind {
            while !self.at_end() && !self.is_any_kw(&["AS", "SELECT"]) {
                self.skip(1);
            }
            return Ok(PartitionBy::Other(kind));
        }
        if self.eat_kw("ALGORITHM") {
            self.expect("=")?;
            self.u64()?;
        }
        self.expect("(")?;
        let columns = if self.is_punct(")") { Vec::new() } else { self.comma_list(|p| p.name())? };
        self.expect(")")?;
        let partitions = if self.eat_kw("PARTITIONS") { Some(self.u64()?) } else { None };
        Ok(PartitionBy::Key { columns, partitions })
    }

    // -- columns --------------------------------------------------------------------------------------------

    fn column_def(&mut self) -> Result<ColumnDef> {
        let name = self.name()?;
        // `CREATE TABLE t (t.a INT)` is allowed; the qualifier says nothing.
        let name = if self.eat(".") { self.name_after_dot()? } else { name };
        self.column_rest(name)
    }

    /// A column's type and attributes.
    fn column_rest(&mut self, name: String) -> Result<ColumnDef> {
        let data_type = self.data_type()?;
        let mut column = ColumnDef {
            name,
            data_type,
            nullable: None,
            default: None,
            on_update_now: None,
            auto_increment: false,
            unique: false,
            primary_key: false,
            comment: None,
            collation: None,
            invisible: false,
            generated: None,
            checks: Vec::new(),
            references: None,
        };
        while self.column_attribute(&mut column)? {}
        Ok(column)
    }

    fn column_attribute(&mut self, column: &mut ColumnDef) -> Result<bool> {
        if self.eat_kws(&["NOT", "NULL"]) {
            column.nullable = Some(false);
        } else if self.eat_kw("NULL") {
            column.nullable = Some(true);
        } else if self.eat_kw("DEFAULT") {
            column.default = Some(self.column_default()?);
        } else if self.eat_kws(&["ON", "UPDATE"]) {
            column.on_update_now = Some(self.now_function()?.ok_or_else(|| self.fail())?);
        } else if self.eat_kw("AUTO_INCREMENT") {
            column.auto_increment = true;
        } else if self.eat_kw("UNIQUE") {
            self.eat_kw("KEY");
            column.unique = true;
        } else if self.eat_kw("PRIMARY") {
            self.eat_kw("KEY");
            column.primary_key = true;
        } else if self.is_kw("KEY") && !self.is_kw_at(1, "(") {
            self.skip(1);
            column.primary_key = true;
        } else if self.eat_kw("COMMENT") {
            column.comment = Some(self.string()?);
        } else if self.eat_kw("COLLATE") {
            column.collation = Some(self.name_or_string()?.to_ascii_lowercase());
        } else if self.eat_kw("INVISIBLE") {
            column.invisible = true;
        } else if self.eat_kw("VISIBLE") {
            column.invisible = false;
        } else if self.is_kw("GENERATED") || self.is_kw("AS") {
            if self.eat_kw("GENERATED") {
                self.expect_kw("ALWAYS")?;
            }
            self.expect_kw("AS")?;
            let expr = self.paren_sql_expr()?;
            let stored = match self.eat_one_of(&["VIRTUAL", "STORED", "PERSISTENT"]) {
                Some("VIRTUAL") | None => false,
                Some(_) => true,
            };
            column.generated = Some(GeneratedDef { expr, stored });
        } else if self.is_kw("CHECK") || (self.is_kw("CONSTRAINT") && self.constraint_is_check()) {
            let name = self.constraint_name()?.flatten();
            let check = self.check(name)?;
            column.checks.push(check);
        } else if self.is_kw("REFERENCES") {
            column.references = Some(self.references()?);
        } else if self.eat_kw("STORAGE") || self.eat_kw("COLUMN_FORMAT") {
            self.skip(1);
        } else if self.eat_kw("SRID") {
            self.u64()?;
        } else if self.eat_kw("ENGINE_ATTRIBUTE") || self.eat_kw("SECONDARY_ENGINE_ATTRIBUTE") {
            self.eat("=");
            self.string()?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn constraint_is_check(&self) -> bool {
        self.is_kw_at(1, "CHECK") || self.is_kw_at(2, "CHECK")
    }

    /// CURRENT_TIMESTAMP, NOW(), LOCALTIME … with their precision.
    fn now_function(&mut self) -> Result<Option<u8>> {
        if self.eat_one_of(&["CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"]).is_none() {
            if !(self.is_kw("NOW") && self.is_punct_at(1, "(")) {
                return Ok(None);
            }
            self.skip(1);
        }
        let mut fsp = 0;
        if self.eat("(") {
            if !self.is_punct(")") {
                fsp = u8::try_from(self.u32()?).map_err(|_| self.fail())?;
            }
            self.expect(")")?;
        }
        Ok(Some(fsp))
    }

    fn column_default(&mut self) -> Result<ColumnDefault> {
        if self.is_punct("(") {
            // `DEFAULT (CURRENT_TIMESTAMP)` is an expression too, though it says the same.
            return Ok(ColumnDefault::Expression(self.paren_sql_expr()?));
        }
        if let Some(fsp) = self.now_function()? {
            return Ok(ColumnDefault::Now(fsp));
        }
        let start = self.tok().start;
        let call = self.kind() == Kind::Word && self.is_punct_at(1, "(");
        let expr = self.default_literal()?;
        let text = self.source(start);
        let value = SqlExpr { expr, text };
        // MariaDB's dumps call functions without parentheses around them.
        Ok(if call { ColumnDefault::Expression(value) } else { ColumnDefault::Literal(value) })
    }

    /// A literal with its sign: no operator may follow, because attributes do.
    fn default_literal(&mut self) -> Result<sqlparser::ast::Expr> {
        use sqlparser::ast::{Expr, UnaryOperator};
        for (sign, op) in [("-", UnaryOperator::Minus), ("+", UnaryOperator::Plus)] {
            if self.eat(sign) {
                let expr = Box::new(Expr::value(self.literal()?));
                return Ok(Expr::UnaryOp { op, expr });
            }
        }
        self.nested(|p| p.primary())
    }

    // -- types ----------------------------------------------------------------------------------------------

    pub(super) fn data_type(&mut self) -> Result<DataType> {
        if self.kind() != Kind::Word {
            return Err(self.fail());
        }
        let word = self.tok().text.to_ascii_uppercase();
        let at = self.pos;
        self.skip(1);
        let int = |width| Some((width, None));
        let integer = match word.as_str() {
            "TINYINT" | "INT1" => int(IntWidth::Tiny),
            "BOOL" | "BOOLEAN" => Some((IntWidth::Tiny, Some(1))),
            "SMALLINT" | "INT2" => int(IntWidth::Small),
            "MEDIUMINT" | "MIDDLEINT" | "INT3" => int(IntWidth::Medium),
            "INT" | "INTEGER" | "INT4" => int(IntWidth::Int),
            "BIGINT" | "INT8" => int(IntWidth::Big),
            _ => None,
        };
        if let Some((width, display)) = integer {
            let display = self.optional_length()?.or(display);
            let (unsigned, zerofill) = self.number_attributes();
            return Ok(DataType::Int { width, display, unsigned, zerofill });
        }
        Ok(match word.as_str() {
            "SERIAL" => DataType::Serial,
            "DECIMAL" | "NUMERIC" | "DEC" | "FIXED" => {
                let (precision, scale) = self.precision_and_scale()?;
                let (unsigned, zerofill) = self.number_attributes();
                DataType::Decimal { precision, scale, unsigned, zerofill }
            }
            "FLOAT" | "FLOAT4" => {
                let (precision, scale) = self.precision_and_scale()?;
                let (unsigned, zerofill) = self.number_attributes();
                DataType::Float { precision, scale, unsigned, zerofill }
            }
            "DOUBLE" | "REAL" | "FLOAT8" => {
                self.eat_kw("PRECISION");
                let (precision, scale) = self.precision_and_scale()?;
                let (unsigned, zerofill) = self.number_attributes();
                DataType::Double { precision, scale, unsigned, zerofill }
            }
            "BIT" => DataType::Bit(self.optional_length()?),
            "CHAR" | "CHARACTER" => {
                if self.eat_kw("VARYING") {
                    let length = self.optional_length()?.ok_or_else(|| self.fail())?;
                    return Ok(DataType::VarChar(length, self.text_charset()?));
                }
                let length = self.optional_length()?;
                DataType::Char(length, self.text_charset()?)
            }
            "NCHAR" | "NATIONAL" => {
                let varying = if word == "NATIONAL" {
                    let word = self.eat_one_of(&["CHAR", "CHARACTER", "VARCHAR", "VARCHARACTER"]);
                    let word = word.ok_or_else(|| self.fail())?;
                    word.starts_with("VAR") || self.eat_kw("VARYING")
                } else {
                    self.eat_one_of(&["VARCHAR", "VARCHARACTER", "VARYING"]).is_some()
                };
                let length = self.optional_length()?;
                let mut charset = self.text_charset()?;
                charset.charset.get_or_insert_with(|| "utf8mb3".into());
                match length {
                    Some(length) if varying => DataType::VarChar(length, charset),
                    None if varying => return Err(self.fail()),
                    length => DataType::Char(length, charset),
                }
            }
            "VARCHAR" | "VARCHARACTER" | "NVARCHAR" => {
                let length = self.optional_length()?.ok_or_else(|| self.fail())?;
                let mut charset = self.text_charset()?;
                if word == "NVARCHAR" {
                    charset.charset.get_or_insert_with(|| "utf8mb3".into());
                }
                DataType::VarChar(length, charset)
            }
            "TINYTEXT" => DataType::Text(BlobSize::Tiny, None, self.text_charset()?),
            "TEXT" => {
                let length = self.optional_length()?.map(u64::from);
                DataType::Text(BlobSize::Normal, length, self.text_charset()?)
            }
            "MEDIUMTEXT" => DataType::Text(BlobSize::Medium, None, self.text_charset()?),
            "LONGTEXT" => DataType::Text(BlobSize::Long, None, self.text_charset()?),
            "LONG" => {
                if self.eat_kw("VARBINARY") {
                    return Ok(DataType::Blob(BlobSize::Medium, None));
                }
                let _ = self.eat_kw("VARCHAR") || self.eat_kw("VARCHARACTER");
                DataType::Text(BlobSize::Medium, None, self.text_charset()?)
            }
            "BINARY" => DataType::Binary(self.optional_length()?),
            "VARBINARY" => DataType::VarBinary(self.optional_length()?.ok_or_else(|| self.fail())?),
            "TINYBLOB" => DataType::Blob(BlobSize::Tiny, None),
            "BLOB" => DataType::Blob(BlobSize::Normal, self.optional_length()?.map(u64::from)),
            "MEDIUMBLOB" => DataType::Blob(BlobSize::Medium, None),
            "LONGBLOB" => DataType::Blob(BlobSize::Long, None),
            "DATE" => DataType::Date,
            "TIME" => DataType::Time(self.optional_length()?.unwrap_or(0)),
            "DATETIME" => DataType::DateTime(self.optional_length()?.unwrap_or(0)),
            "TIMESTAMP" => DataType::Timestamp(self.optional_length()?.unwrap_or(0)),
            "YEAR" => {
                self.optional_length()?;
                self.number_attributes();
                DataType::Year
            }
            "ENUM" => {
                let labels = self.paren_list(|p| p.string())?;
                DataType::Enum(labels, self.text_charset()?)
            }
            "SET" => {
                let labels = self.paren_list(|p| p.string())?;
                DataType::Set(labels, self.text_charset()?)
            }
            "JSON" => DataType::Json,
            "GEOMETRY" => DataType::Spatial("GEOMETRY"),
            "POINT" => DataType::Spatial("POINT"),
            "LINESTRING" => DataType::Spatial("LINESTRING"),
            "POLYGON" => DataType::Spatial("POLYGON"),
            "MULTIPOINT" => DataType::Spatial("MULTIPOINT"),
            "MULTILINESTRING" => DataType::Spatial("MULTILINESTRING"),
            "MULTIPOLYGON" => DataType::Spatial("MULTIPOLYGON"),
            "GEOMETRYCOLLECTION" | "GEOMCOLLECTION" => DataType::Spatial("GEOMETRYCOLLECTION"),
            _ => {
                self.pos = at;
                return Err(self.fail());
            }
        })
    }

    fn number_attributes(&mut self) -> (bool, bool) {
        let (mut unsigned, mut zerofill) = (false, false);
        while let Some(word) = self.eat_one_of(&["UNSIGNED", "SIGNED", "ZEROFILL"]) {
            match word {
                "UNSIGNED" => unsigned = true,
                "ZEROFILL" => (unsigned, zerofill) = (true, true),
                _ => {}
            }
        }
        (unsigned, zerofill)
    }

    fn precision_and_scale(&mut self) -> Result<(Option<u32>, Option<u32>)> {
        if !self.eat("(") {
            return Ok((None, None));
        }
        let precision = self.u32()?;
        let scale = if self.eat(",") { Some(self.u32()?) } else { None };
        self.expect(")")?;
        Ok((Some(precision), scale))
    }

    fn text_charset(&mut self) -> Result<CharsetClause> {
        let mut clause = CharsetClause::default();
        loop {
            if self.eat_kw("BINARY") {
                clause.binary = true;
            } else if self.eat_kw("ASCII") {
                clause.charset = Some("latin1".into());
            } else if self.eat_kw("UNICODE") {
                clause.charset = Some("ucs2".into());
            } else if self.eat_kw("BYTE") {
                clause.charset = Some("binary".into());
            } else if !self.charset_option(&mut clause)? {
                return Ok(clause);
            }
        }
    }

    // -- indexes and constraints ------------------------------------------------------------------------------

    /// CONSTRAINT [name]. Outer `None`: the word is not there.
    fn constraint_name(&mut self) -> Result<Option<Option<String>>> {
        if !self.eat_kw("CONSTRAINT") {
            return Ok(None);
        }
        Ok(Some(if self.is_name_at(0) { Some(self.name()?) } else { None }))
    }

    /// An index, a foreign key or a CHECK; `None` if a column begins here.
    fn table_constraint(&mut self) -> Result<Option<TableConstraint>> {
        let start = self.pos;
        let constraint = self.constraint_name()?;
        let named = constraint.is_some();
        let name = constraint.flatten();
        if self.is_kw("CHECK") {
            return Ok(Some(TableConstraint::Check(self.check(name)?)));
        }
        if self.eat_kws(&["FOREIGN", "KEY"]) {
            self.if_not_exists();
            let index_name = if self.is_name_at(0) { Some(self.name()?) } else { None };
            let columns = self.paren_list(|p| p.name())?;
            let references = self.references()?;
            let key = ForeignKeyDef { name, index_name, columns, references };
            return Ok(Some(TableConstraint::ForeignKey(key)));
        }
        let kind = if self.eat_kws(&["PRIMARY", "KEY"]) {
            IndexKind::Primary
        } else if self.eat_kw("UNIQUE") {
            IndexKind::Unique
        } else if named {
            return Err(self.fail());
        } else if self.eat_kw("FULLTEXT") {
            IndexKind::Fulltext
        } else if self.eat_kw("SPATIAL") {
            IndexKind::Spatial
        } else if self.is_kw("KEY") || self.is_kw("INDEX") {
            IndexKind::Plain
        } else {
            self.pos = start;
            return Ok(None);
        };
        if kind != IndexKind::Primary {
            self.eat_one_of(&["KEY", "INDEX"]);
        }
        self.if_not_exists();
        let index_name = if self.is_name_at(0) && !self.is_using_type() { Some(self.name()?) } else { None };
        let mut index = self.index_rest(kind, index_name)?;
        if kind == IndexKind::Primary {
            index.name = None;
        } else if index.name.is_none() {
            index.name = name;
        }
        Ok(Some(TableConstraint::Index(index)))
    }

    /// `TYPE BTREE`, an old spelling of `USING BTREE`: not a name.
    fn is_using_type(&self) -> bool {
        self.is_kw("TYPE") && (self.is_kw_at(1, "BTREE") || self.is_kw_at(1, "HASH"))
    }

    /// The type, columns and options of an index.
    fn index_rest(&mut self, kind: IndexKind, name: Option<String>) -> Result<IndexDef> {
        let mut using = self.index_type()?;
        let parts = self.paren_list(|p| p.index_part())?;
        let mut index = IndexDef { kind, name, parts, comment: None, invisible: false, using: None };
        loop {
            if let Some(found) = self.index_type()? {
                using = Some(found);
            } else if self.eat_kw("COMMENT") {
                self.eat("=");
                index.comment = Some(self.string()?);
            } else if self.eat_kw("KEY_BLOCK_SIZE") {
                self.eat("=");
                self.u64()?;
            } else if self.eat_kw("INVISIBLE") {
                index.invisible = true;
            } else if self.eat_kw("VISIBLE") {
                index.invisible = false;
            } else if self.eat_kws(&["WITH", "PARSER"]) {
                self.name()?;
            } else if self.eat_kw("ENGINE_ATTRIBUTE") || self.eat_kw("SECONDARY_ENGINE_ATTRIBUTE") {
                self.eat("=");
                self.string()?;
            } else {
                index.using = using;
                return Ok(index);
            }
        }
    }

    fn index_type(&mut self) -> Result<Option<String>> {
        if self.eat_kw("USING") || (self.is_using_type() && self.eat_kw("TYPE")) {
            return Ok(Some(self.name()?.to_ascii_uppercase()));
        }
        Ok(None)
    }

    fn index_part(&mut self) -> Result<IndexPartDef> {
        let (key, prefix) = if self.is_punct("(") {
            (IndexPartKey::Expr(self.paren_sql_expr()?), None)
        } else {
            let name = self.name()?;
            (IndexPartKey::Column(name), self.optional_length()?)
        };
        let descending = self.eat_one_of(&["ASC", "DESC"]) == Some("DESC");
        Ok(IndexPartDef { key, prefix, descending })
    }

    fn check(&mut self, name: Option<String>) -> Result<CheckDef> {
        self.expect_kw("CHECK")?;
        let expr = self.paren_sql_expr()?;
        let enforced = !self.eat_kws(&["NOT", "ENFORCED"]);
        self.eat_kw("ENFORCED");
        Ok(CheckDef { name, expr, enforced })
    }

    fn references(&mut self) -> Result<References> {
        self.expect_kw("REFERENCES")?;
        let table = self.table_name()?;
        let columns = if self.is_punct("(") {
            self.paren_list(|p| {
                let name = p.name()?;
                p.optional_length()?;
                Ok(name)
            })?
        } else {
            Vec::new()
        };
        if self.eat_kw("MATCH") {
            self.skip(1);
        }
        let mut references = References {
            table,
            columns,
            on_delete: ReferenceAction::NoAction,
            on_update: ReferenceAction::NoAction,
        };
        loop {
            if self.eat_kws(&["ON", "DELETE"]) {
                references.on_delete = self.reference_action()?;
            } else if self.eat_kws(&["ON", "UPDATE"]) {
                references.on_update = self.reference_action()?;
            } else {
                return Ok(references);
            }
        }
    }

    fn reference_action(&mut self) -> Result<ReferenceAction> {
        if self.eat_kws(&["NO", "ACTION"]) {
            Ok(ReferenceAction::NoAction)
        } else if self.eat_kw("RESTRICT") {
            Ok(ReferenceAction::Restrict)
        } else if self.eat_kw("CASCADE") {
            Ok(ReferenceAction::Cascade)
        } else if self.eat_kws(&["SET", "NULL"]) {
            Ok(ReferenceAction::SetNull)
        } else if self.eat_kws(&["SET", "DEFAULT"]) {
            Ok(ReferenceAction::SetDefault)
        } else {
            Err(self.fail())
        }
    }

    fn create_index(&mut self) -> Result<Statement> {
        let kind = match self.eat_one_of(&["UNIQUE", "FULLTEXT", "SPATIAL"]) {
            Some("UNIQUE") => IndexKind::Unique,
            Some("FULLTEXT") => IndexKind::Fulltext,
            Some(_) => IndexKind::Spatial,
            None => IndexKind::Plain,
        };
        self.expect_kw("INDEX")?;
        self.if_not_exists();
        let name = self.name()?;
        let using = self.index_type()?;
        self.expect_kw("ON")?;
        let table = self.table_name()?;
        let mut index = self.index_rest(kind, Some(name))?;
        index.using = index.using.or(using);
        self.algorithm_and_lock()?;
        Ok(Statement::CreateIndex { table, index })
    }

    fn algorithm_and_lock(&mut self) -> Result<()> {
        while self.eat_one_of(&["ALGORITHM", "LOCK"]).is_some() {
            self.eat("=");
            self.skip(1);
        }
        Ok(())
    }

    // -- ALTER ----------------------------------------------------------------------------------------------

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.expect_kw("ALTER")?;
        let _ = self.eat_kw("ONLINE") || self.eat_kw("IGNORE");
        if self.eat_one_of(&["DATABASE", "SCHEMA"]).is_some() {
            let option = self.is_any_kw(&["CHARSET", "CHARACTER", "COLLATE", "DEFAULT", "ENCRYPTION"]);
            let name = if option { None } else { Some(self.name()?) };
            return Ok(Statement::AlterDatabase { name, charset: self.database_options()? });
        }
        if self.eat_kw("TABLE") {
            return self.alter_table();
        }
        if self.eat_kw("USER") {
            return self.alter_user();
        }
        if self.eat_kw("CLUSTER") {
            return self.alter_cluster();
        }
        self.view_prelude()?;
        let word = self.tok().text.to_ascii_uppercase();
        match word.as_str() {
            "VIEW" => {
                self.skip(1);
                self.create_view(true)
            }
            "PROCEDURE" => self.refuse("ALTER PROCEDURE", true),
            "FUNCTION" => self.refuse("ALTER FUNCTION", true),
            "EVENT" => self.refuse("ALTER EVENT", true),
            "INSTANCE" => self.refuse("ALTER INSTANCE", true),
            "SERVER" => self.refuse("ALTER SERVER", true),
            "TABLESPACE" | "UNDO" => self.refuse("ALTER TABLESPACE", true),
            "LOGFILE" => self.refuse("ALTER LOGFILE GROUP", true),
            "RESOURCE" => self.refuse("ALTER RESOURCE GROUP", true),
            _ => Err(self.fail()),
        }
    }

    fn alter_table(&mut self) -> Result<Statement> {
        let table = self.table_name()?;
        let mut actions = Vec::new();
        if !self.at_end() {
            loop {
                self.alter_action(&mut actions)?;
                // PARTITION BY and REMOVE PARTITIONING follow the other actions without a comma.
                if self.eat(",")
                    || self.is_kws(&["PARTITION", "BY"])
                    || self.is_kws(&["REMOVE", "PARTITIONING"])
                {
                    continue;
                }
                break;
            }
        }
        Ok(Statement::AlterTable(Box::new(AlterTable { table, actions })))
    }

    fn column_position(&mut self) -> Result<ColumnPosition> {
        if self.eat_kw("FIRST") {
            return Ok(ColumnPosition::First);
        }
        if self.eat_kw("AFTER") {
            return Ok(ColumnPosition::After(self.name()?));
        }
        Ok(ColumnPosition::Default)
    }

    fn alter_action(&mut self, actions: &mut Vec<AlterAction>) -> Result<()> {
        let word =
            if self.kind() == Kind::Word { self.tok().text.to_ascii_uppercase() } else { String::new() };
        let action = match word.as_str() {
            "ADD" => return self.alter_add(actions),
            "DROP" => self.alter_drop()?,
            "MODIFY" => {
                self.skip(1);
                self.eat_kw("COLUMN");
                self.if_exists();
                let column = self.column_def()?;
                AlterAction::ModifyColumn { column, position: self.column_position()? }
            }
            "CHANGE" => {
                self.skip(1);
                self.eat_kw("COLUMN");
                self.if_exists();
                let old_name = self.name()?;
                let column = self.column_def()?;
                AlterAction::ChangeColumn { old_name, column, position: self.column_position()? }
            }
            "ALTER" => self.alter_alter()?,
            "RENAME" => self.alter_rename()?,
            "ORDER" => {
                self.expect_kws(&["ORDER", "BY"])?;
                AlterAction::OrderBy(self.comma_list(|p| {
                    let name = p.table_name()?.name;
                    p.eat_one_of(&["ASC", "DESC"]);
                    Ok(name)
                })?)
            }
            "CONVERT" => {
                self.expect_kws(&["CONVERT", "TO"])?;
                let mut clause = CharsetClause::default();
                while self.charset_option(&mut clause)? {}
                if clause.charset.is_none() {
                    return Err(self.fail());
                }
                AlterAction::ConvertCharset(clause)
            }
            "ENABLE" | "DISABLE" => {
                self.skip(1);
                self.expect_kw("KEYS")?;
                AlterAction::Keys(word == "ENABLE")
            }
            "PARTITION" => AlterAction::Partition(Some(self.partition_by()?)),
            "REMOVE" => {
                self.expect_kws(&["REMOVE", "PARTITIONING"])?;
                AlterAction::Partition(None)
            }
            "ALGORITHM" | "LOCK" => {
                self.skip(1);
                self.eat("=");
                let value = self.advance().text.to_ascii_uppercase();
                AlterAction::Hint(word, value)
            }
            "FORCE" => {
                self.skip(1);
                AlterAction::Hint(word, String::new())
            }
            "WITH" | "WITHOUT" => {
                self.skip(1);
                self.expect_kw("VALIDATION")?;
                AlterAction::Hint(format!("{word} VALIDATION"), String::new())
            }
            "DISCARD" | "IMPORT" => {
                self.skip(1);
                self.expect_kw("TABLESPACE")?;
                AlterAction::Hint(word, "TABLESPACE".into())
            }
            "TRUNCATE" | "COALESCE" | "REORGANIZE" | "EXCHANGE" | "ANALYZE" | "CHECK" | "OPTIMIZE"
            | "REBUILD" | "REPAIR"
                if self.is_kw_at(1, "PARTITION") =>
            {
                self.skip_rest();
                AlterAction::Hint(format!("{word} PARTITION"), String::new())
            }
            _ => {
                let options = self.table_options()?;
                if options.is_empty() {
                    return Err(self.fail());
                }
                AlterAction::Options(options)
            }
        };
        actions.push(action);
        Ok(())
    }

    fn alter_add(&mut self, actions: &mut Vec<AlterAction>) -> Result<()> {
        self.expect_kw("ADD")?;
        if self.is_kw("PARTITION") && !self.is_kw_at(1, "BY") {
            self.skip_rest();
            actions.push(AlterAction::Hint("ADD PARTITION".into(), String::new()));
            return Ok(());
        }
        if let Some(constraint) = self.table_constraint()? {
            actions.push(AlterAction::AddConstraint(constraint));
            return Ok(());
        }
        self.eat_kw("COLUMN");
        let if_not_exists = self.if_not_exists();
        if !self.is_punct("(") {
            let column = self.column_def()?;
            let position = self.column_position()?;
            actions.push(AlterAction::AddColumn { column, position, if_not_exists });
            return Ok(());
        }
        self.skip(1);
        loop {
            match self.table_constraint()? {
                Some(constraint) => actions.push(AlterAction::AddConstraint(constraint)),
                None => {
                    let column = self.column_def()?;
                    let position = ColumnPosition::Default;
                    actions.push(AlterAction::AddColumn { column, position, if_not_exists });
                }
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")
    }

    fn alter_drop(&mut self) -> Result<AlterAction> {
        self.expect_kw("DROP")?;
        if self.eat_kws(&["PRIMARY", "KEY"]) {
            return Ok(AlterAction::DropPrimaryKey);
        }
        if self.eat_kws(&["FOREIGN", "KEY"]) {
            self.if_exists();
            return Ok(AlterAction::DropForeignKey(self.name()?));
        }
        if self.eat_one_of(&["INDEX", "KEY"]).is_some() {
            self.if_exists();
            return Ok(AlterAction::DropIndex(self.name()?));
        }
        if self.eat_kw("CHECK") {
            return Ok(AlterAction::DropCheck(self.name()?));
        }
        if self.eat_kw("CONSTRAINT") {
            self.if_exists();
            return Ok(AlterAction::DropConstraint(self.name()?));
        }
        if self.is_kw("PARTITION") {
            self.skip_rest();
            return Ok(AlterAction::Hint("DROP PARTITION".into(), String::new()));
        }
        self.eat_kw("COLUMN");
        let if_exists = self.if_exists();
        let name = self.name()?;
        self.eat_one_of(&["RESTRICT", "CASCADE"]);
        Ok(AlterAction::DropColumn { name, if_exists })
    }

    fn alter_alter(&mut self) -> Result<AlterAction> {
        self.expect_kw("ALTER")?;
        if self.eat_kw("INDEX") {
            let name = self.name()?;
            let invisible = match self.eat_one_of(&["VISIBLE", "INVISIBLE"]) {
                Some(word) => word == "INVISIBLE",
                None => return Err(self.fail()),
            };
            return Ok(AlterAction::AlterIndexVisibility { name, invisible });
        }
        if self.eat_one_of(&["CHECK", "CONSTRAINT"]).is_some() {
            let name = self.name()?;
            let enforced = !self.eat_kw("NOT");
            self.expect_kw("ENFORCED")?;
            return Ok(AlterAction::AlterCheck { name, enforced });
        }
        self.eat_kw("COLUMN");
        let column = self.name()?;
        if self.eat_kws(&["DROP", "DEFAULT"]) {
            return Ok(AlterAction::AlterDefault { column, default: None });
        }
        self.expect_kw("SET")?;
        if let Some(word) = self.eat_one_of(&["VISIBLE", "INVISIBLE"]) {
            return Ok(AlterAction::AlterColumnVisibility { column, invisible: word == "INVISIBLE" });
        }
        self.expect_kw("DEFAULT")?;
        Ok(AlterAction::AlterDefault { column, default: Some(self.column_default()?) })
    }

    fn alter_rename(&mut self) -> Result<AlterAction> {
        self.expect_kw("RENAME")?;
        if self.eat_kw("COLUMN") {
            let from = self.name()?;
            self.expect_kw("TO")?;
            return Ok(AlterAction::RenameColumn { from, to: self.name()? });
        }
        if self.eat_one_of(&["INDEX", "KEY"]).is_some() {
            let from = self.name()?;
            self.expect_kw("TO")?;
            return Ok(AlterAction::RenameIndex { from, to: self.name()? });
        }
        let _ = self.eat_kw("TO") || self.eat_kw("AS") || self.eat("=");
        Ok(AlterAction::RenameTable(self.table_name()?))
    }

    // -- DROP, RENAME, UNDROP, PURGE ------------------------------------------------------------------------

    pub(super) fn drop(&mut self) -> Result<Statement> {
        self.expect_kw("DROP")?;
        if self.eat_one_of(&["DATABASE", "SCHEMA"]).is_some() {
            let if_exists = self.if_exists();
            let name = self.name()?;
            let force = self.eat_kw("FORCE");
            return Ok(Statement::DropDatabase { name, if_exists, force });
        }
        let temporary = self.is_kw("TEMPORARY");
        if temporary {
            self.skip(1);
        }
        if self.eat_one_of(&["TABLE", "TABLES"]).is_some() {
            let if_exists = self.if_exists();
            let tables = self.table_names()?;
            self.eat_one_of(&["RESTRICT", "CASCADE"]);
            return Ok(Statement::DropTable { tables, if_exists, temporary });
        }
        if temporary {
            return Err(self.fail());
        }
        if self.eat_kw("INDEX") {
            self.if_exists();
            let name = if self.is_kw("PRIMARY") { self.advance().text } else { self.name()? };
            self.expect_kw("ON")?;
            let table = self.table_name()?;
            self.algorithm_and_lock()?;
            return Ok(Statement::DropIndex { table, name });
        }
        if self.eat_kw("VIEW") {
            let if_exists = self.if_exists();
            let views = self.table_names()?;
            self.eat_one_of(&["RESTRICT", "CASCADE"]);
            return Ok(Statement::DropView { views, if_exists });
        }
        if self.eat_kw("USER") {
            let if_exists = self.if_exists();
            let users = self.comma_list(|p| p.account())?;
            return Ok(Statement::DropUser { if_exists, users });
        }
        if self.eat_kw("PREPARE") {
            return Ok(Statement::Deallocate(self.name()?));
        }
        let word = self.tok().text.to_ascii_uppercase();
        match word.as_str() {
            "PROCEDURE" => self.refuse("DROP PROCEDURE", true),
            "FUNCTION" => self.refuse("DROP FUNCTION", true),
            "TRIGGER" => self.refuse("DROP TRIGGER", true),
            "EVENT" => self.refuse("DROP EVENT", true),
            "ROLE" => self.refuse("DROP ROLE", true),
            "SERVER" => self.refuse("DROP SERVER", true),
            "TABLESPACE" | "UNDO" => self.refuse("DROP TABLESPACE", true),
            "RESOURCE" => self.refuse("DROP RESOURCE GROUP", true),
            "SPATIAL" => self.refuse("DROP SPATIAL REFERENCE SYSTEM", true),
            "LOGFILE" => self.refuse("DROP LOGFILE GROUP", true),
            _ => Err(self.fail()),
        }
    }

    pub(super) fn rename(&mut self) -> Result<Statement> {
        self.expect_kw("RENAME")?;
        if self.eat_kw("USER") {
            let pairs = self.comma_list(|p| {
                let from = p.account()?;
                p.expect_kw("TO")?;
                Ok((from, p.account()?))
            })?;
            return Ok(Statement::RenameUser(pairs));
        }
        if self.eat_one_of(&["TABLE", "TABLES"]).is_none() {
            return Err(self.fail());
        }
        let pairs = self.comma_list(|p| {
            let from = p.table_name()?;
            p.expect_kw("TO")?;
            Ok((from, p.table_name()?))
        })?;
        Ok(Statement::RenameTable(pairs))
    }

    pub(super) fn undrop(&mut self) -> Result<Statement> {
        self.expect_kw("UNDROP")?;
        let database = match self.eat_one_of(&["TABLE", "DATABASE", "SCHEMA"]) {
            Some(word) => word != "TABLE",
            None => return Err(self.fail()),
        };
        let name = self.table_name()?;
        if database && name.database.is_some() {
            return Err(self.fail());
        }
        let id = if self.eat_kw("ID") { Some(self.u64()?) } else { None };
        let rename_to = if self.eat_kws(&["RENAME", "TO"]) || self.eat_kw("AS") {
            Some(self.table_name()?)
        } else {
            None
        };
        if database {
            let rename_to = rename_to.map(|name| name.name);
            return Ok(Statement::UndropDatabase { name: name.name, id, rename_to });
        }
        Ok(Statement::UndropTable { name, id, rename_to })
    }

    pub(super) fn purge(&mut self) -> Result<Statement> {
        self.expect_kw("PURGE")?;
        if self.is_any_kw(&["BINARY", "MASTER"]) {
            return self.refuse("PURGE BINARY LOGS", false);
        }
        self.expect_kw("DROPPED")?;
        if self.kind() == Kind::Int {
            return Ok(Statement::PurgeDropped { id: Some(self.u64()?) });
        }
        self.eat_kw("ALL");
        Ok(Statement::PurgeDropped { id: None })
    }
}

impl DataType {
    /// As a node of `sqlparser`, which the columns of JSON_TABLE need.
    pub(crate) fn to_node(&self) -> sqlparser::ast::DataType {
        use sqlparser::ast::{CharacterLength, DataType as Node, ExactNumberInfo, TimezoneInfo};
        let length = |n: u64| Some(CharacterLength::IntegerLength { length: n, unit: None });
        let number = |precision: Option<u32>, scale: Option<u32>| match (precision, scale) {
            (Some(p), Some(s)) => ExactNumberInfo::PrecisionAndScale(u64::from(p), i64::from(s)),
            (Some(p), None) => ExactNumberInfo::Precision(u64::from(p)),
            _ => ExactNumberInfo::None,
        };
        match self {
            DataType::Int { width, unsigned, .. } => match (width, unsigned) {
                (IntWidth::Tiny, false) => Node::TinyInt(None),
                (IntWidth::Tiny, true) => Node::TinyIntUnsigned(None),
                (IntWidth::Small, false) => Node::SmallInt(None),
                (IntWidth::Small, true) => Node::SmallIntUnsigned(None),
                (IntWidth::Medium, false) => Node::MediumInt(None),
                (IntWidth::Medium, true) => Node::MediumIntUnsigned(None),
                (IntWidth::Int, false) => Node::Int(None),
                (IntWidth::Int, true) => Node::IntUnsigned(None),
                (IntWidth::Big, false) => Node::BigInt(None),
                (IntWidth::Big, true) => Node::BigIntUnsigned(None),
            },
            DataType::Serial => Node::BigIntUnsigned(None),
            DataType::Decimal { precision, scale, .. } => Node::Decimal(number(*precision, *scale)),
            DataType::Float { precision, scale, .. } => Node::Float(number(*precision, *scale)),
            DataType::Double { precision, scale, .. } => Node::Double(number(*precision, *scale)),
            DataType::Bit(n) => Node::Bit(n.map(u64::from)),
            DataType::Char(n, _) => Node::Char(n.and_then(|n| length(u64::from(n)))),
            DataType::VarChar(n, _) => Node::Varchar(length(u64::from(*n))),
            DataType::Text(BlobSize::Tiny, ..) => Node::TinyText,
            DataType::Text(BlobSize::Normal, ..) => Node::Text,
            DataType::Text(BlobSize::Medium, ..) => Node::MediumText,
            DataType::Text(BlobSize::Long, ..) => Node::LongText,
            DataType::Binary(n) => Node::Binary(n.map(u64::from)),
            DataType::VarBinary(n) => {
                let length = u64::from(*n);
                Node::Varbinary(Some(sqlparser::ast::BinaryLength::IntegerLength { length }))
            }
            DataType::Blob(BlobSize::Tiny, _) => Node::TinyBlob,
            DataType::Blob(BlobSize::Normal, n) => Node::Blob(*n),
            DataType::Blob(BlobSize::Medium, _) => Node::MediumBlob,
            DataType::Blob(BlobSize::Long, _) => Node::LongBlob,
            DataType::Date => Node::Date,
            DataType::Time(fsp) => Node::Time(Some(u64::from(*fsp)), TimezoneInfo::None),
            DataType::DateTime(fsp) => Node::Datetime(Some(u64::from(*fsp))),
            DataType::Timestamp(fsp) => Node::Timestamp(Some(u64::from(*fsp)), TimezoneInfo::None),
            DataType::Year => custom("YEAR"),
            DataType::Enum(..) => custom("ENUM"),
            DataType::Set(..) => custom("SET"),
            DataType::Json => Node::JSON,
            DataType::Spatial(name) => custom(name),
        }
    }
}

fn custom(name: &str) -> sqlparser::ast::DataType {
    let name = super::expr::object_name(vec![sqlparser::ast::Ident::new(name)]);
    sqlparser::ast::DataType::Custom(name, Vec::new())
}
