//! From a written table definition to a [`Table`], with MySQL's rules about what goes together.

use super::charset;
use super::functional;
use super::print::{self, Names};
use super::types::{column_type, row_bytes};
use crate::dml::writer::bind_over;
use crate::expr::{Runtime, eval_async};
use crate::show::quote::quote_name;
use assize_catalog::{
    Catalog, Check, Column, DefaultValue, ForeignKey, Generated, Index, IndexPart, IndexState,
    ReferentialAction, Table, same_name,
};
use assize_model::{ErrorCode, IndexId, SchemaVersion, SqlError, TableId, WarningLevel};
use assize_ports::StatementContext;
use assize_sql::{
    CheckDef, ColumnDef, ColumnDefault, DataType, ForeignKeyDef, IndexDef, IndexKind, IndexPartKey,
    PartitionBy, ReferenceAction, TableConstraint, TableOptions,
};
use assize_values::{Collation, SqlType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most columns of a table.
pub const COLUMNS_MAX: usize = 4096;
/// Most secondary indexes of a table.
pub const INDEXES_MAX: usize = 64;
/// Most columns of an index.
pub const PARTS_MAX: usize = 16;
/// Longest index key in bytes, as InnoDB counts them.
pub const KEY_BYTES_MAX: u64 = 3072;
/// Longest row in bytes, BLOBs and TEXTs excluded, as MySQL counts them.
pub const ROW_BYTES_MAX: u64 = 65_535;
/// Longest identifier in characters.
pub const NAME_MAX: usize = 64;
/// Longest comment of a column or index, in characters.
pub const COMMENT_MAX: usize = 1024;

/// A table under construction: a draft that CREATE TABLE fills and ALTER TABLE changes.
pub struct Draft {
    /// The table so far. Its indexes have the primary one first.
    pub table: Table,
    /// Foreign keys still to be resolved, once all columns are there.
    pub foreign_keys: Vec<ForeignKeyDef>,
    /// Number of the next unnamed foreign key.
    next_foreign_key: u32,
    /// Number of the next unnamed CHECK.
    next_check: u32,
    /// Indexes made for foreign keys, which a later explicit index replaces.
    pub implicit: Vec<IndexId>,
}

/// A new, empty table.
pub fn empty(database: &str, name: &str, collation: Collation, now_micros: i64) -> Draft {
    Draft {
        table: Table {
            id: TableId(0),
            version: SchemaVersion(1),
            database: database.into(),
            name: name.into(),
            columns: Vec::new(),
            next_column_id: 0,
            indexes: vec![hidden_primary()],
            next_index_id: 1,
            hidden_row_id: true,
            sharding_column: None,
            foreign_keys: Vec::new(),
            checks: Vec::new(),
            collation,
            comment: "".into(),
            created_micros: now_micros,
            options: Vec::new(),
            view: None,
            foreign: None,
        },
        foreign_keys: Vec::new(),
        next_foreign_key: 1,
        next_check: 1,
        implicit: Vec::new(),
    }
}

fn hidden_primary() -> Index {
    Index {
        id: IndexId(0),
        name: "PRIMARY".into(),
        parts: Vec::new(),
        unique: true,
        state: IndexState::Public,
        comment: "".into(),
        invisible: false,
    }
}

/// Checks a name's form: error 1059 if it is too long, `wrong` if it is empty or ends with a space.
pub fn check_name(name: &str, wrong: ErrorCode, what: &str) -> Result<(), SqlError> {
    if name.chars().count() > NAME_MAX {
        return Err(SqlError::new(
            ErrorCode::IdentifierTooLong,
            format!("Identifier name '{name}' is too long"),
        ));
    }
    if name.is_empty() || name.ends_with(' ') || name.contains('\0') {
        return Err(SqlError::new(wrong, format!("Incorrect {what} name '{name}'")));
    }
    Ok(())
}

impl Draft {
    /// A draft that starts from an existing table.
    pub fn of(table: &Table) -> Draft {
        let number_after = |prefix: &str, names: &mut dyn Iterator<Item = &Arc<str>>| {
            names
                .filter_map(|n| n.strip_prefix(prefix).and_then(|rest| rest.parse::<u32>().ok()))
                .max()
                .map_or(1, |n| n + 1)
        };
        let ibfk = format!("{}_ibfk_", table.name);
        let chk = format!("{}_chk_", table.name);
        Draft {
            next_foreign_key: number_after(&ibfk, &mut table.foreign_keys.iter().map(|k| &k.name)),
            next_check: number_after(&chk, &mut table.checks.iter().map(|c| &c.name)),
            table: table.clone(),
            foreign_keys: Vec::new(),
            implicit: Vec::new(),
        }
    }

    /// Adds a column at the end; the keys and constraints declared with it come too.
    pub async fn add_column(
        &mut self,
        def: &ColumnDef,
        context: &mut dyn StatementContext,
    ) -> Result<usize, SqlError> {
        if self.table.column(&def.name).is_some() {
            return Err(SqlError::new(
                ErrorCode::DuplicateColumn,
                format!("Duplicate column name '{}'", def.name),
            ));
        }
        let id = self.table.next_column_id;
        let column = self.column(def, id, context).await?;
        self.table.next_column_id += 1;
        self.table.columns.push(column);
        if self.table.columns.len() > COLUMNS_MAX {
            return Err(SqlError::new(ErrorCode::TooManyFields, "Too many columns"));
        }
        Ok(self.table.columns.len() - 1)
    }

    /// The column that a definition means.
    pub async fn column(
        &mut self,
        def: &ColumnDef,
        id: u32,
        context: &mut dyn StatementContext,
    ) -> Result<Column, SqlError> {
        check_name(&def.name, ErrorCode::WrongColumnName, "column")?;
        let name = def.name.as_str();
        let serial = def.data_type == DataType::Serial;
        let sql_type = column_type(name, &def.data_type, def.collation.as_deref(), self.table.collation)?;
        if let Some(comment) = &def.comment
            && comment.chars().count() > COMMENT_MAX
        {
            return Err(SqlError::new(
                ErrorCode::WrongArguments,
                format!("Comment for field '{name}' is too long (max = {COMMENT_MAX})"),
            ));
        }
        let auto_increment = def.auto_increment || serial;
        let not_null = def.nullable == Some(false) || serial || auto_increment;
        if auto_increment
            && !matches!(sql_type, SqlType::Int(_) | SqlType::Float { .. } | SqlType::Double { .. })
        {
            return Err(wrong_specifier(name));
        }
        if def.primary_key && def.nullable == Some(true) {
            return Err(primary_null());
        }
        let mut column = Column {
            id,
            name: name.into(),
            nullable: !not_null && !def.primary_key,
            default: None,
            on_update_now: None,
            auto_increment,
            generated: None,
            comment: def.comment.as_deref().unwrap_or("").into(),
            invisible: def.invisible,
            hidden: false,
            added_value: None,
            sql_type,
        };
        if let Some(generated) = &def.generated {
            if def.default.is_some() || def.on_update_now.is_some() || auto_increment {
                return Err(SqlError::new(
                    ErrorCode::WrongUsage,
                    "Incorrect usage of DEFAULT and generated column",
                ));
            }
            let text = print::expression(&generated.expr.expr, &Names::Unqualified)?;
            column.generated = Some(Generated { expression: text.into(), stored: generated.stored });
        }
        if let Some(default) = &def.default {
            column.default = self.default(&column, default, context).await?;
        }
        if let Some(fsp) = def.on_update_now {
            if time_fsp(&column.sql_type) != Some(fsp) {
                return Err(SqlError::new(
                    ErrorCode::InvalidOnUpdate,
                    format!("Invalid ON UPDATE clause for '{name}' column"),
                ));
            }
            column.on_update_now = Some(fsp);
        }
        Ok(column)
    }

    /// The default of a column; `None` for DEFAULT NULL.
    pub async fn default(
        &self,
        column: &Column,
        default: &ColumnDefault,
        context: &mut dyn StatementContext,
    ) -> Result<Option<DefaultValue>, SqlError> {
        let name = &column.name;
        let invalid =
            || SqlError::new(ErrorCode::InvalidDefault, format!("Invalid default value for '{name}'"));
        if column.auto_increment {
            return Err(invalid());
        }
        match default {
            ColumnDefault::Now(fsp) => {
                if time_fsp(&column.sql_type) != Some(*fsp) {
                    return Err(invalid());
                }
                Ok(Some(DefaultValue::Now(*fsp)))
            }
            ColumnDefault::Expression(expr) => {
                Ok(Some(DefaultValue::Expression(print::expression(&expr.expr, &Names::Unqualified)?.into())))
            }
            ColumnDefault::Literal(expr) => {
                let (value, from) = self.literal(&expr.expr, context).await?;
                if value.is_null() {
                    return if column.nullable { Ok(None) } else { Err(invalid()) };
                }
                if matches!(column.sql_type, SqlType::Text { .. } | SqlType::Blob { .. } | SqlType::Json) {
                    return Err(SqlError::new(
                        ErrorCode::BlobCantHaveDefault,
                        format!("BLOB, TEXT, GEOMETRY or JSON column '{name}' can't have a default value"),
                    ));
                }
                let eval = context.eval();
                let (writing, ignore) = (eval.writing, eval.ignore);
                let warned = eval.warnings.len();
                eval.writing = true;
                eval.ignore = false;
                let stored = crate::dml::store_value(&value, &from, &column.sql_type, name, 1, eval);
                eval.writing = writing;
                eval.ignore = ignore;
                // A default that does not fit is refused in every mode.
                let clean = eval.warnings.len() == warned;
                match stored {
                    Ok(value) if clean => Ok(Some(DefaultValue::Constant(value))),
                    _ => Err(invalid()),
                }
            }
        }
    }

    async fn literal(
        &self,
        expr: &sqlparser::ast::Expr,
        context: &mut dyn StatementContext,
    ) -> Result<(Value, SqlType), SqlError> {
        let nothing = Arc::new(empty("", "", self.table.collation, 0).table);
        let bound = bind_over(expr, &nothing, "default value", context)?;
        let mut rt = Runtime::new(context, &[]);
        let value = eval_async(&bound, &[], &mut rt).await?;
        Ok((value, bound.sql_type))
    }

    /// The keys, CHECKs and references declared with a column.
    pub fn add_column_constraints(&mut self, def: &ColumnDef) -> Result<(), SqlError> {
        let serial = def.data_type == DataType::Serial;
        let part = || assize_sql::IndexPartDef {
            key: IndexPartKey::Column(def.name.clone()),
            prefix: None,
            descending: false,
        };
        let index = |kind| IndexDef {
            kind,
            name: None,
            parts: vec![part()],
            comment: None,
            invisible: false,
            using: None,
        };
        if def.primary_key {
            self.add_index(&index(IndexKind::Primary))?;
        }
        if def.unique || serial {
            self.add_index(&index(IndexKind::Unique))?;
        }
        for check in &def.checks {
            let column = self.table.column(&def.name).map(|c| c.id);
            self.add_check(check, column)?;
        }
        // REFERENCES with a column is parsed and ignored by MySQL 8.4's InnoDB; so it is here.
        Ok(())
    }

    /// Makes it the draft of a temporary table, under this id.
    ///
    /// # Errors
    /// 1215 for foreign keys, 1562 for partitions: a temporary table can have neither.
    pub fn make_temporary(&mut self, id: TableId) -> Result<(), SqlError> {
        if !self.foreign_keys.is_empty() || !self.table.foreign_keys.is_empty() {
            return Err(SqlError::new(ErrorCode::CannotAddForeign, "Cannot add foreign key constraint"));
        }
        if self.table.option("PARTITION BY").is_some() {
            return Err(SqlError::new(
                ErrorCode::PartitionNoTemporary,
                "Cannot create temporary table with partitions",
            ));
        }
        self.table.id = id;
        Ok(())
    }

    /// Adds an index, a foreign key or a CHECK.
    pub fn add_constraint(&mut self, constraint: &TableConstraint) -> Result<(), SqlError> {
        match constraint {
            TableConstraint::Index(index) => self.add_index(index).map(|_| ()),
            TableConstraint::ForeignKey(key) => {
                self.foreign_keys.push(key.clone());
                Ok(())
            }
            TableConstraint::Check(check) => self.add_check(check, None),
        }
    }

    /// Adds an index; returns its id.
    pub fn add_index(&mut self, def: &IndexDef) -> Result<IndexId, SqlError> {
        functional::check_kind(def)?;
        match def.kind {
            IndexKind::Fulltext => return Err(SqlError::not_supported("FULLTEXT index")),
            IndexKind::Spatial => return Err(SqlError::not_supported("SPATIAL index")),
            _ => {}
        }
        let primary = def.kind == IndexKind::Primary;
        if primary && !self.table.hidden_row_id {
            return Err(SqlError::new(ErrorCode::MultiplePrimaryKey, "Multiple primary key defined"));
        }
        if def.parts.len() > PARTS_MAX {
            return Err(SqlError::new(
                ErrorCode::TooManyKeyParts,
                format!("Too many key parts specified; max {PARTS_MAX} parts allowed"),
            ));
        }
        let name = match &def.name {
            None if functional::is_functional(def) => Some(self.free_index_name(functional::UNNAMED)),
            name => name.clone(),
        };
        let mut parts: Vec<IndexPart> = Vec::with_capacity(def.parts.len());
        let mut bytes = 0;
        for part in &def.parts {
            let name = match &part.key {
                IndexPartKey::Column(name) => name,
                IndexPartKey::Expr(expr) => {
                    let column = self.add_hidden_column(expr, name.as_deref().unwrap_or_default())?;
                    parts.push(IndexPart { column, prefix: None, descending: part.descending });
                    continue;
                }
            };
            let column = self.table.column(name).ok_or_else(|| no_key_column(name))?;
            if parts.iter().any(|p| p.column == column.id) {
                return Err(SqlError::new(
                    ErrorCode::DuplicateColumn,
                    format!("Duplicate column name '{}'", column.name),
                ));
            }
            let (part_bytes, prefix) = part_length(column, part.prefix)?;
            bytes += part_bytes;
            parts.push(IndexPart { column: column.id, prefix, descending: part.descending });
        }
        if bytes > KEY_BYTES_MAX || parts.is_empty() {
            return Err(too_long_key());
        }
        if let Some(comment) = &def.comment
            && comment.chars().count() > COMMENT_MAX
        {
            return Err(SqlError::new(
                ErrorCode::WrongArguments,
                "Comment for index is too long (max = 1024)",
            ));
        }
        let comment: Arc<str> = def.comment.as_deref().unwrap_or("").into();
        if primary {
            if def.invisible {
                return Err(SqlError::new(ErrorCode::WrongUsage, "A primary key index cannot be invisible"));
            }
            for part in &parts {
                if let Some(ordinal) = self.table.ordinal_by_id(part.column) {
                    self.table.columns[ordinal].nullable = false;
                }
            }
            self.table.hidden_row_id = false;
            self.table.indexes[0] = Index { parts, comment, ..hidden_primary() };
            return Ok(IndexId(0));
        }
        if self.table.indexes.len() > INDEXES_MAX {
            return Err(SqlError::new(
                ErrorCode::TooManyKeys,
                format!("Too many keys specified; max {INDEXES_MAX} keys allowed"),
            ));
        }
        let name = match &name {
            Some(name) => {
                if name.eq_ignore_ascii_case("PRIMARY") {
                    return Err(SqlError::new(ErrorCode::WrongArguments, "Incorrect index name 'PRIMARY'"));
                }
                check_name(name, ErrorCode::WrongArguments, "index")?;
                if self.table.indexes.iter().skip(1).any(|i| same_name(&i.name, name)) {
                    return Err(SqlError::new(
                        ErrorCode::DuplicateKeyName,
                        format!("Duplicate key name '{name}'"),
                    ));
                }
                name.clone()
            }
            None => {
                let first = parts.first().and_then(|p| self.table.column_by_id(p.column));
                self.free_index_name(first.map_or("", |c| &c.name))
            }
        };
        let id = IndexId(self.table.next_index_id);
        self.table.next_index_id += 1;
        self.table.indexes.push(Index {
            id,
            name: name.as_str().into(),
            parts,
            unique: def.kind == IndexKind::Unique,
            state: IndexState::Public,
            comment,
            invisible: def.invisible,
        });
        Ok(id)
    }

    /// The name of an unnamed index: that of its first column, with a number if it is taken.
    fn free_index_name(&self, base: &str) -> String {
        let taken = |name: &str| {
            name.eq_ignore_ascii_case("PRIMARY")
                || self.table.indexes.iter().skip(1).any(|i| same_name(&i.name, name))
        };
        if !taken(base) {
            return base.to_string();
        }
        (2..).map(|n| format!("{base}_{n}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// Adds a CHECK.
    pub fn add_check(&mut self, def: &CheckDef, column: Option<u32>) -> Result<(), SqlError> {
        let name = match &def.name {
            Some(name) => name.clone(),
            None => {
                let name = format!("{}_chk_{}", self.table.name, self.next_check);
                self.next_check += 1;
                name
            }
        };
        if self.table.checks.iter().any(|c| same_name(&c.name, &name)) {
            return Err(SqlError::new(
                ErrorCode::CheckConstraintDuplicate,
                format!("Duplicate check constraint name '{name}'."),
            ));
        }
        let text = print::expression(&def.expr.expr, &Names::Unqualified)?;
        for mentioned in print::columns(&def.expr.expr) {
            if self.table.column(&mentioned).is_none() {
                return Err(SqlError::new(
                    ErrorCode::CheckConstraintColumn,
                    format!("Check constraint '{name}' refers to non-existing column '{mentioned}'."),
                ));
            }
        }
        self.table.checks.push(Check {
            name: name.as_str().into(),
            expression: text.into(),
            enforced: def.enforced,
            column,
        });
        Ok(())
    }

    /// Takes the table options.
    pub fn set_options(
        &mut self,
        options: &TableOptions,
        context: &mut dyn StatementContext,
    ) -> Result<(), SqlError> {
        if let Some(engine) = &options.engine {
            check_engine(engine, &self.table.name, context)?;
        }
        let clause = &options.charset;
        self.table.collation = charset::resolve(clause, self.table.collation)?;
        if let Some(comment) = &options.comment {
            if comment.chars().count() > 2048 {
                return Err(SqlError::new(
                    ErrorCode::WrongArguments,
                    format!("Comment for table '{}' is too long (max = 2048)", self.table.name),
                ));
            }
            self.table.comment = comment.as_str().into();
        }
        for (name, value) in &options.other {
            // What says where and how a file lies, or that it is compressed, means nothing here and would not
            // load elsewhere; the rest is printed back.
            let kept = ["ROW_FORMAT", "KEY_BLOCK_SIZE", "STATS_PERSISTENT", "STATS_AUTO_RECALC", "CHECKSUM"]
                .contains(&name.as_str());
            if kept && !value.eq_ignore_ascii_case("DEFAULT") {
                let value = if name == "ROW_FORMAT" { value.to_ascii_uppercase() } else { value.clone() };
                self.table.options.retain(|(n, _)| &**n != name.as_str());
                self.table.options.push((name.as_str().into(), value.as_str().into()));
            }
        }
        Ok(())
    }

    /// Takes PARTITION BY, which here chooses the sharding column.
    pub fn set_partition(&mut self, partition: Option<&PartitionBy>) -> Result<(), SqlError> {
        self.table.options.retain(|(name, _)| &**name != "PARTITION BY");
        match partition {
            None => Ok(()),
            Some(PartitionBy::Other(kind)) => Err(SqlError::not_supported(*kind)),
            Some(PartitionBy::Key { columns, partitions }) => {
                if columns.len() > 1 {
                    return Err(SqlError::not_supported("PARTITION BY KEY of several columns"));
                }
                let mut text = String::from("KEY (");
                if let Some(name) = columns.first() {
                    let column = self.table.column(name).ok_or_else(|| {
                        SqlError::new(
                            ErrorCode::KeyColumnDoesNotExist,
                            format!("Key column '{name}' doesn't exist in table"),
                        )
                    })?;
                    text.push_str(&quote_name(&column.name));
                }
                text.push(')');
                if let Some(n) = partitions {
                    text.push_str(&format!("\nPARTITIONS {n}"));
                }
                self.table.options.push(("PARTITION BY".into(), text.as_str().into()));
                self.table
                    .options
                    .push(("PARTITION COLUMN".into(), columns.first().map_or("", String::as_str).into()));
                Ok(())
            }
        }
    }

    /// Resolves foreign keys, checks the table as a whole and settles the order of its indexes.
    pub fn finish(&mut self, catalog: &Catalog, context: &mut dyn StatementContext) -> Result<(), SqlError> {
        if self.table.columns.iter().filter(|c| !c.invisible).count() == 0 {
            return Err(SqlError::new(
                ErrorCode::TableMustHaveColumns,
                "A table must have at least 1 column",
            ));
        }
        let keys = std::mem::take(&mut self.foreign_keys);
        let fk_checks = crate::constraints::foreign_key_checks(context);
        for key in &keys {
            self.add_foreign_key(key, catalog, fk_checks)?;
        }
        self.check_auto_increment()?;
        self.settle_hidden(context)?;
        self.check_generated(context)?;
        self.check_row_size()?;
        self.settle_sharding()?;
        self.order_indexes();
        Ok(())
    }

    fn check_auto_increment(&self) -> Result<(), SqlError> {
        let wrong = || {
            SqlError::new(
                ErrorCode::WrongAutoKey,
                "Incorrect table definition; there can be only one auto column and it must be defined as a key",
            )
        };
        let mut columns = self.table.columns.iter().filter(|c| c.auto_increment);
        if let Some(column) = columns.next() {
            let leads =
                self.table.indexes.iter().any(|i| i.parts.first().is_some_and(|p| p.column == column.id));
            if !leads || columns.next().is_some() {
                return Err(wrong());
            }
        }
        Ok(())
    }

    /// Binds the generated columns, defaults and CHECKs once, so that a bad expression is refused now.
    fn check_generated(&self, context: &mut dyn StatementContext) -> Result<(), SqlError> {
        let table = Arc::new(self.table.clone());
        for (ordinal, column) in table.columns.iter().enumerate() {
            if let Some(generated) = &column.generated
                && !column.hidden
            {
                let ast = super::parse_stored(&generated.expression)?;
                for name in print::columns(&ast) {
                    let Some(at) = table.ordinal(&name) else {
                        return Err(crate::bind::unknown_column(&name, "generated column function"));
                    };
                    if table.columns[at].auto_increment {
                        return Err(SqlError::new(
                            ErrorCode::GeneratedColumnRefersAutoIncrement,
                            format!(
                                "Generated column '{}' cannot refer to auto-increment column.",
                                column.name
                            ),
                        ));
                    }
                    if table.columns[at].generated.is_some() && at >= ordinal {
                        return Err(SqlError::new(
                            ErrorCode::GeneratedColumnNonPrior,
                            "Generated column can refer only to generated columns defined prior to it.",
                        ));
                    }
                }
                let bound = bind_over(&ast, &table, "generated column function", context)?;
                check_deterministic(&bound, &format!("Expression of generated column '{}'", column.name))?;
            }
            if let Some(DefaultValue::Expression(text)) = &column.default {
                let ast = super::parse_stored(text)?;
                let bound = bind_over(&ast, &table, "default value expression", context)?;
                if bound.waits() {
                    return Err(not_allowed(&format!(
                        "Default value expression of column '{}'",
                        column.name
                    )));
                }
            }
        }
        for check in &table.checks {
            let ast = super::parse_stored(&check.expression)?;
            let bound = bind_over(&ast, &table, "check constraint", context)?;
            check_deterministic(&bound, &format!("An expression of a check constraint '{}'", check.name))?;
        }
        Ok(())
    }

    fn check_row_size(&self) -> Result<(), SqlError> {
        let bytes: u64 = self.table.columns.iter().map(|c| row_bytes(&c.sql_type)).sum();
        let null_bits = self.table.columns.iter().filter(|c| c.nullable).count().div_ceil(8) as u64;
        if bytes + null_bits > ROW_BYTES_MAX {
            return Err(SqlError::new(
                ErrorCode::TooBigRowsize,
                format!(
                    "Row size too large. The maximum row size for the used table type, not counting BLOBs, is \
                     {ROW_BYTES_MAX}. This includes storage overhead, check the manual. You have to change some \
                     columns to TEXT or BLOBs"
                ),
            ));
        }
        Ok(())
    }

    /// The sharding column: what PARTITION BY says, else the first column of the primary key.
    fn settle_sharding(&mut self) -> Result<(), SqlError> {
        let table = &mut self.table;
        table.sharding_column = None;
        if table.hidden_row_id {
            if table.option("PARTITION COLUMN").is_some_and(|c| !c.is_empty()) {
                return Err(SqlError::not_supported("PARTITION BY KEY of a table without primary key"));
            }
            return Ok(());
        }
        let first = table.indexes[0].parts[0].column;
        let chosen = match table.option("PARTITION COLUMN").filter(|c| !c.is_empty()) {
            Some(name) => table.column(name).map(|c| c.id),
            None => Some(first),
        };
        let in_key = chosen.filter(|id| {
            table.indexes[0].parts.iter().any(|p| p.column == *id && (p.prefix.is_none() || *id == first))
        });
        let Some(id) = in_key else {
            return Err(SqlError::new(
                ErrorCode::PartitionColumnNotInKey,
                "A PRIMARY KEY must include all columns in the table's partitioning function (prefixed columns \
                 are not considered).",
            ));
        };
        table.sharding_column = table.ordinal_by_id(id);
        Ok(())
    }

    /// MySQL's order: the primary key, unique keys of NOT NULL columns, other unique keys, the rest.
    fn order_indexes(&mut self) {
        let nullable: BTreeMap<u32, bool> = self.table.columns.iter().map(|c| (c.id, c.nullable)).collect();
        self.table.indexes[1..].sort_by_key(|index| match index.unique {
            true if index.parts.iter().all(|p| !nullable[&p.column]) => 0,
            true => 1,
            false => 2,
        });
    }

    fn add_foreign_key(
        &mut self,
        def: &ForeignKeyDef,
        catalog: &Catalog,
        fk_checks: bool,
    ) -> Result<(), SqlError> {
        let name = match &def.name {
            Some(name) => {
                check_name(name, ErrorCode::WrongArguments, "foreign key")?;
                name.clone()
            }
            None => {
                let name = format!("{}_ibfk_{}", self.table.name, self.next_foreign_key);
                self.next_foreign_key += 1;
                name
            }
        };
        let taken = self.table.foreign_keys.iter().any(|k| same_name(&k.name, &name))
            || catalog.tables.values().any(|t| {
                t.database == self.table.database
                    && t.name != self.table.name
                    && t.foreign_keys.iter().any(|k| same_name(&k.name, &name))
            });
        if taken {
            return Err(SqlError::new(
                ErrorCode::ForeignKeyDuplicateName,
                format!("Duplicate foreign key constraint name '{name}'"),
            ));
        }
        let references = &def.references;
        if references.columns.len() != def.columns.len() {
            return Err(SqlError::new(
                ErrorCode::WrongForeignKeyDefinition,
                format!(
                    "Incorrect foreign key definition for '{}': Key reference and table reference don't match",
                    def.name.as_deref().unwrap_or("foreign key without name")
                ),
            ));
        }
        let mut columns = Vec::with_capacity(def.columns.len());
        for column in &def.columns {
            let column = self.table.column(column).ok_or_else(|| no_key_column(column))?;
            columns.push(column.id);
        }
        let action = |action: ReferenceAction| match action {
            ReferenceAction::NoAction => Ok(ReferentialAction::NoAction),
            ReferenceAction::Restrict => Ok(ReferentialAction::Restrict),
            ReferenceAction::Cascade => Ok(ReferentialAction::Cascade),
            ReferenceAction::SetNull => Ok(ReferentialAction::SetNull),
            ReferenceAction::SetDefault => {
                Err(SqlError::new(ErrorCode::CannotAddForeign, "Cannot add foreign key constraint"))
            }
        };
        let (on_delete, on_update) = (action(references.on_delete)?, action(references.on_update)?);
        if on_delete == ReferentialAction::SetNull || on_update == ReferentialAction::SetNull {
            for id in &columns {
                if let Some(column) = self.table.column_by_id(*id).filter(|c| !c.nullable) {
                    return Err(SqlError::new(
                        ErrorCode::ForeignKeyColumnNotNull,
                        format!(
                            "Column '{}' cannot be NOT NULL: needed in a foreign key constraint '{name}' SET NULL",
                            column.name
                        ),
                    ));
                }
            }
        }
        let database: Arc<str> = match &references.table.database {
            Some(database) => database.as_str().into(),
            None => self.table.database.clone(),
        };
        let parent_name = references.table.name.as_str();
        let itself = database == self.table.database && parent_name == &*self.table.name;
        let parent =
            if itself { Some(&self.table) } else { catalog.table(&database, parent_name).map(|t| &**t) };
        let parent = parent.filter(|t| t.view.is_none());
        if parent.is_some_and(|t| t.foreign.is_some()) {
            return Err(super::foreign::foreign_parent());
        }
        let mut parent_columns: Vec<Arc<str>> =
            references.columns.iter().map(|c| c.as_str().into()).collect();
        match parent {
            Some(parent) => {
                for (at, column) in parent_columns.iter_mut().enumerate() {
                    let theirs = parent.column(column).ok_or_else(|| {
                        SqlError::new(
                            ErrorCode::ForeignKeyNoColumnParent,
                            format!(
                                "Failed to add the foreign key constraint. Missing column '{column}' for constraint \
                                 '{name}' in the referenced table '{parent_name}'"
                            ),
                        )
                    })?;
                    let ours = self.table.column_by_id(columns[at]).ok_or_else(|| no_key_column(column))?;
                    if !compatible(&ours.sql_type, &theirs.sql_type) {
                        return Err(SqlError::new(
                            ErrorCode::ForeignKeyIncompatible,
                            format!(
                                "Referencing column '{}' and referenced column '{}' in foreign key constraint \
                                 '{name}' are incompatible.",
                                ours.name, theirs.name
                            ),
                        ));
                    }
                    *column = theirs.name.clone();
                }
                let ids: Vec<u32> =
                    parent_columns.iter().filter_map(|c| parent.column(c)).map(|c| c.id).collect();
                if parent.unique_index_on(&ids).is_none() {
                    return Err(SqlError::new(
                        ErrorCode::ForeignKeyMissingIndex,
                        format!(
                            "Failed to add the foreign key constraint. Missing index for constraint '{name}' in the \
                             referenced table '{parent_name}'"
                        ),
                    ));
                }
            }
            None if fk_checks => {
                return Err(SqlError::new(
                    ErrorCode::ForeignKeyCannotOpenParent,
                    format!("Failed to open the referenced table '{parent_name}'"),
                ));
            }
            None => {}
        }
        if self.table.index_starting_with(&columns).is_none() {
            let index_name = def.name.clone().or_else(|| def.index_name.clone());
            let free =
                index_name.filter(|n| !self.table.indexes.iter().skip(1).any(|i| same_name(&i.name, n)));
            let parts = def
                .columns
                .iter()
                .map(|c| assize_sql::IndexPartDef {
                    key: IndexPartKey::Column(c.clone()),
                    prefix: None,
                    descending: false,
                })
                .collect();
            let index = IndexDef {
                kind: IndexKind::Plain,
                name: free,
                parts,
                comment: None,
                invisible: false,
                using: None,
            };
            let id = self.add_index(&index)?;
            self.implicit.push(id);
        }
        self.table.foreign_keys.push(ForeignKey {
            name: name.as_str().into(),
            columns,
            parent_database: database,
            parent_table: parent_name.into(),
            parent_columns,
            on_delete,
            on_update,
        });
        Ok(())
    }
}

/// Whether a column may refer to another: equal encodings of equal values.
pub fn compatible(child: &SqlType, parent: &SqlType) -> bool {
    match (child, parent) {
        (SqlType::Int(a), SqlType::Int(b)) => a.width == b.width && a.unsigned == b.unsigned,
        (
            SqlType::Decimal { precision: a, scale: b, .. },
            SqlType::Decimal { precision: c, scale: d, .. },
        ) => a == c && b == d,
        (
            SqlType::Char { collation: a, .. } | SqlType::VarChar { collation: a, .. },
            SqlType::Char { collation: b, .. } | SqlType::VarChar { collation: b, .. },
        ) => a == b,
        (
            SqlType::Binary { .. } | SqlType::VarBinary { .. },
            SqlType::Binary { .. } | SqlType::VarBinary { .. },
        ) => true,
        (SqlType::Json | SqlType::Text { .. } | SqlType::Blob { .. }, _) => false,
        (SqlType::Float { .. }, SqlType::Float { .. }) | (SqlType::Double { .. }, SqlType::Double { .. }) => {
            true
        }
        (a, b) => a == b,
    }
}

/// Bytes of an index part by InnoDB's count, and the prefix length that is kept.
pub(super) fn part_length(column: &Column, prefix: Option<u32>) -> Result<(u64, Option<u32>), SqlError> {
    let wrong = || {
        SqlError::new(
            ErrorCode::WrongSubKey,
            "Incorrect prefix key; the used key part isn't a string, the used length is longer than the key part, \
             or the storage engine doesn't support unique prefix keys",
        )
    };
    let (chars, per_char) = match &column.sql_type {
        SqlType::Char { length, collation } | SqlType::VarChar { length, collation } => {
            (*length, charset::max_bytes(*collation))
        }
        SqlType::Binary { length } | SqlType::VarBinary { length } => (*length, 1),
        SqlType::Text { .. } | SqlType::Blob { .. } => {
            let Some(prefix) = prefix.filter(|n| *n > 0) else {
                return Err(SqlError::new(
                    ErrorCode::BlobKeyWithoutLength,
                    format!(
                        "BLOB/TEXT column '{}' used in key specification without a key length",
                        column.name
                    ),
                ));
            };
            let per_char = charset::of_type(&column.sql_type).map_or(1, charset::max_bytes);
            return Ok((u64::from(prefix) * u64::from(per_char), Some(prefix)));
        }
        SqlType::Json => {
            return Err(SqlError::new(
                ErrorCode::JsonUsedAsKey,
                format!(
                    "JSON column '{}' supports indexing only via generated columns on a specified JSON path.",
                    column.name
                ),
            ));
        }
        _ if prefix.is_some() => return Err(wrong()),
        other => return Ok((row_bytes(other), None)),
    };
    match prefix {
        Some(0) => Err(wrong()),
        Some(n) if n > chars => Err(wrong()),
        Some(n) if n < chars => Ok((u64::from(n) * u64::from(per_char), Some(n))),
        _ => Ok((u64::from(chars) * u64::from(per_char), None)),
    }
}

/// The precision of a type that CURRENT_TIMESTAMP can fill.
fn time_fsp(sql_type: &SqlType) -> Option<u8> {
    match sql_type {
        SqlType::DateTime { fsp } | SqlType::Timestamp { fsp } => Some(*fsp),
        _ => None,
    }
}

fn check_engine(engine: &str, table: &str, context: &mut dyn StatementContext) -> Result<(), SqlError> {
    if engine.eq_ignore_ascii_case("InnoDB") {
        return Ok(());
    }
    if engine.eq_ignore_ascii_case("FEDERATED") {
        // A new foreign table does not come here.
        return Err(SqlError::not_supported("ALTER TABLE … ENGINE=FEDERATED"));
    }
    let known =
        ["MyISAM", "MEMORY", "HEAP", "Aria", "ARCHIVE", "CSV", "MRG_MYISAM", "MERGE", "NDBCLUSTER", "NDB"];
    let strict = context.eval().sql_mode.contains(assize_values::SqlMode::NO_ENGINE_SUBSTITUTION);
    if !known.iter().any(|k| k.eq_ignore_ascii_case(engine)) && strict {
        return Err(SqlError::new(
            ErrorCode::UnknownStorageEngine,
            format!("Unknown storage engine '{engine}'"),
        ));
    }
    context.eval().push_warning(
        WarningLevel::Warning,
        ErrorCode::UsingOtherHandler,
        format!("Using storage engine InnoDB for table '{table}'"),
    );
    Ok(())
}

/// Error 3750 for a table without a primary key, if `sql_require_primary_key` is on.
pub(super) fn require_primary_key(table: &Table, context: &dyn StatementContext) -> Result<(), SqlError> {
    if !table.hidden_row_id || !crate::constraints::is_on(context, "sql_require_primary_key", false) {
        return Ok(());
    }
    Err(SqlError::new(
        ErrorCode::TableWithoutPrimaryKey,
        "Unable to create or change a table without a primary key, when the system variable \
         'sql_require_primary_key' is set. Add a primary key to the table or unset this variable to avoid this \
         message. Note that tables without a primary key can cause performance problems in row-based replication, \
         so please consult your DBA before changing this setting.",
    ))
}

/// Whether an expression is the same for the same row, whenever and by whomever it is computed.
pub(super) fn is_deterministic(expr: &crate::expr::Expr) -> bool {
    use crate::expr::ExprKind;
    !expr.any(&mut |e| match &e.kind {
        ExprKind::Call(function, _) => function.is_volatile(),
        ExprKind::Session(..)
        | ExprKind::Subquery(_)
        | ExprKind::UserVariable(_)
        | ExprKind::SystemVariable(..)
        | ExprKind::Assign(..)
        | ExprKind::Param(_) => true,
        _ => false,
    })
}

fn check_deterministic(expr: &crate::expr::Expr, what: &str) -> Result<(), SqlError> {
    if is_deterministic(expr) { Ok(()) } else { Err(not_allowed(what)) }
}

/// Error 1071.
pub(super) fn too_long_key() -> SqlError {
    SqlError::new(
        ErrorCode::TooLongKey,
        format!("Specified key was too long; max key length is {KEY_BYTES_MAX} bytes"),
    )
}

fn not_allowed(what: &str) -> SqlError {
    SqlError::new(ErrorCode::UnsupportedOnGeneratedColumn, format!("{what} contains a disallowed function."))
}

fn wrong_specifier(name: &str) -> SqlError {
    SqlError::new(ErrorCode::WrongColumnSpecifier, format!("Incorrect column specifier for column '{name}'"))
}

/// Error 1171.
pub fn primary_null() -> SqlError {
    SqlError::new(
        ErrorCode::PrimaryCannotHaveNull,
        "All parts of a PRIMARY KEY must be NOT NULL; if you need NULL in a key, use UNIQUE instead",
    )
}

fn no_key_column(name: &str) -> SqlError {
    SqlError::new(ErrorCode::KeyColumnDoesNotExist, format!("Key column '{name}' doesn't exist in table"))
}
