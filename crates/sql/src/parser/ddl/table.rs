//! CREATE TABLE: columns, constraints, indexes, options.

use crate::lexer::Kind;
use crate::parser::{Parser, Result};
use crate::{
    CheckDef, ColumnDef, ColumnDefault, CreateTable, ForeignKeyDef, GeneratedDef, IndexDef, IndexKind,
    IndexPartDef, IndexPartKey, PartitionBy, ReferenceAction, References, SelectDuplicates, SqlExpr,
    Statement, TableConstraint, TableOptions,
};

impl Parser<'_> {
    pub(super) fn create_table(&mut self) -> Result<Statement> {
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
        // A table on another server may leave its columns to that server.
        let federated = table.options.is_federated() && table.constraints.is_empty();
        if table.columns.is_empty() && table.select.is_none() && !federated {
            return Err(self.fail());
        }
        Ok(Statement::CreateTable(Box::new(table)))
    }

    /// Table options up to something that is none; commas between them are allowed.
    pub(super) fn table_options(&mut self) -> Result<TableOptions> {
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
        if self.eat_kw("CONNECTION") {
            self.eat("=");
            options.connection = Some(self.string()?);
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

    pub(super) fn partition_by(&mut self) -> Result<PartitionBy> {
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

    pub(super) fn column_def(&mut self) -> Result<ColumnDef> {
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

    pub(super) fn column_default(&mut self) -> Result<ColumnDefault> {
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

    /// CONSTRAINT [name]. Outer `None`: the word is not there.
    fn constraint_name(&mut self) -> Result<Option<Option<String>>> {
        if !self.eat_kw("CONSTRAINT") {
            return Ok(None);
        }
        Ok(Some(if self.is_name_at(0) { Some(self.name()?) } else { None }))
    }

    /// An index, a foreign key or a CHECK; `None` if a column begins here.
    pub(super) fn table_constraint(&mut self) -> Result<Option<TableConstraint>> {
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
    pub(super) fn index_rest(&mut self, kind: IndexKind, name: Option<String>) -> Result<IndexDef> {
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

    pub(super) fn index_type(&mut self) -> Result<Option<String>> {
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
}
