//! INSERT, REPLACE, UPDATE, DELETE, LOAD DATA.

use super::{Parser, Result};
use crate::lexer::Kind;
use crate::{
    Assignment, ColumnName, Delete, Insert, InsertSource, LoadData, LoadTarget, RowAlias, Statement,
    TableName, Update, ValueExpr,
};
use sqlparser::ast::With;

impl Parser<'_> {
    fn column_name(&mut self) -> Result<ColumnName> {
        let mut parts = vec![self.name()?];
        while self.eat(".") && parts.len() < 3 {
            parts.push(self.name_after_dot()?);
        }
        let mut parts = parts.into_iter().rev();
        let name = parts.next().unwrap_or_default();
        Ok(ColumnName { name, table: parts.next(), database: parts.next() })
    }

    fn value_expr(&mut self) -> Result<ValueExpr> {
        if self.is_kw("DEFAULT") && !self.is_punct_at(1, "(") {
            self.skip(1);
            return Ok(ValueExpr::Default);
        }
        Ok(ValueExpr::Expr(self.expr()?))
    }

    fn assignments(&mut self) -> Result<Vec<Assignment>> {
        self.comma_list(|p| {
            let column = p.column_name()?;
            if !p.eat(":=") {
                p.expect("=")?;
            }
            Ok(Assignment { column, value: p.value_expr()? })
        })
    }

    pub(super) fn insert(&mut self) -> Result<Statement> {
        let replace = self.is_kw("REPLACE");
        self.skip(1);
        self.eat_one_of(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY"]);
        let ignore = self.eat_kw("IGNORE");
        self.eat_kw("INTO");
        let table = self.table_name()?;
        let partitions = if self.eat_kw("PARTITION") { self.paren_list(|p| p.name())? } else { Vec::new() };
        let mut columns = None;
        if self.is_punct("(") && !self.at_query() {
            self.skip(1);
            let mut names = Vec::new();
            if !self.is_punct(")") {
                names = self.comma_list(|p| Ok(p.column_name()?.name))?;
            }
            self.expect(")")?;
            columns = Some(names);
        }
        let source = if self.eat_kw("SET") {
            let assignments = self.assignments()?;
            let (names, values) = assignments.into_iter().map(|a| (a.column.name, a.value)).unzip();
            columns = Some(names);
            InsertSource::Values(vec![values])
        } else if (self.is_kw("VALUES") && !self.is_kw_at(1, "ROW")) || self.is_kw("VALUE") {
            self.skip(1);
            InsertSource::Values(self.comma_list(|p| p.insert_row())?)
        } else {
            InsertSource::Query(Box::new(self.query()?))
        };
        let mut row_alias = None;
        if self.eat_kw("AS") {
            let name = self.name()?;
            let columns = if self.is_punct("(") { self.paren_list(|p| p.name())? } else { Vec::new() };
            row_alias = Some(RowAlias { name, columns });
        }
        let mut on_duplicate = Vec::new();
        if !replace && self.is_kw("ON") {
            self.expect_kws(&["ON", "DUPLICATE", "KEY", "UPDATE"])?;
            on_duplicate = self.assignments()?;
        }
        Ok(Statement::Insert(Box::new(Insert {
            replace,
            ignore,
            table,
            partitions,
            columns,
            source,
            row_alias,
            on_duplicate,
        })))
    }

    fn insert_row(&mut self) -> Result<Vec<ValueExpr>> {
        self.expect("(")?;
        let row = if self.is_punct(")") { Vec::new() } else { self.comma_list(|p| p.value_expr())? };
        self.expect(")")?;
        Ok(row)
    }

    pub(super) fn update(&mut self, with: Option<With>) -> Result<Statement> {
        self.expect_kw("UPDATE")?;
        self.eat_kw("LOW_PRIORITY");
        let ignore = self.eat_kw("IGNORE");
        let tables = self.tables()?;
        self.expect_kw("SET")?;
        let assignments = self.assignments()?;
        let mut update =
            Update { with, ignore, tables, assignments, selection: None, order_by: Vec::new(), limit: None };
        if self.eat_kw("WHERE") {
            update.selection = Some(self.expr()?);
        }
        if self.eat_kws(&["ORDER", "BY"]) {
            update.order_by = self.order_by_items()?;
        }
        if self.eat_kw("LIMIT") {
            update.limit = Some(self.limit_value()?);
        }
        Ok(Statement::Update(Box::new(update)))
    }

    pub(super) fn delete(&mut self, with: Option<With>) -> Result<Statement> {
        self.expect_kw("DELETE")?;
        let mut ignore = false;
        while let Some(word) = self.eat_one_of(&["LOW_PRIORITY", "QUICK", "IGNORE"]) {
            ignore |= word == "IGNORE";
        }
        let mut delete = Delete {
            with,
            ignore,
            targets: Vec::new(),
            from: Vec::new(),
            selection: None,
            order_by: Vec::new(),
            limit: None,
        };
        if self.eat_kw("FROM") {
            // `DELETE FROM a, b USING …`, or the single-table form.
            let start = self.pos;
            if let Ok(targets) = self.delete_targets()
                && self.eat_kw("USING")
            {
                delete.targets = targets;
                delete.from = self.tables()?;
            } else {
                self.pos = start;
                delete.from = vec![self.table_with_joins()?];
                if !delete.from[0].joins.is_empty() {
                    return Err(self.fail());
                }
            }
        } else {
            delete.targets = self.delete_targets()?;
            self.expect_kw("FROM")?;
            delete.from = self.tables()?;
        }
        if self.eat_kw("WHERE") {
            delete.selection = Some(self.expr()?);
        }
        if delete.targets.is_empty() {
            if self.eat_kws(&["ORDER", "BY"]) {
                delete.order_by = self.order_by_items()?;
            }
            if self.eat_kw("LIMIT") {
                delete.limit = Some(self.limit_value()?);
            }
        }
        Ok(Statement::Delete(Box::new(delete)))
    }

    /// `a`, `a.*`, `db.a`, `db.a.*`
    fn delete_targets(&mut self) -> Result<Vec<TableName>> {
        self.comma_list(|p| {
            let first = p.name()?;
            let mut table = TableName { database: None, name: first };
            while p.eat(".") {
                if p.eat("*") {
                    break;
                }
                let name = p.name_after_dot()?;
                table = TableName { database: Some(table.name), name };
            }
            Ok(table)
        })
    }

    pub(super) fn load_data(&mut self) -> Result<Statement> {
        self.expect_kw("LOAD")?;
        if self.eat_kw("XML") {
            self.skip_rest();
            return Ok(Statement::Unsupported { feature: "LOAD XML", implicit_commit: false });
        }
        if !self.eat_kw("DATA") {
            self.skip_rest();
            return Ok(Statement::Unsupported { feature: "LOAD INDEX", implicit_commit: true });
        }
        self.eat_one_of(&["LOW_PRIORITY", "CONCURRENT"]);
        let local = self.eat_kw("LOCAL");
        self.expect_kw("INFILE")?;
        let file = self.string()?;
        let duplicates = self.eat_one_of(&["REPLACE", "IGNORE"]);
        self.expect_kws(&["INTO", "TABLE"])?;
        let mut load = LoadData {
            local,
            file,
            replace: duplicates == Some("REPLACE"),
            ignore: duplicates == Some("IGNORE"),
            table: self.table_name()?,
            partitions: Vec::new(),
            charset: None,
            fields_terminated: b"\t".to_vec(),
            fields_enclosed: Vec::new(),
            fields_escaped: None,
            lines_starting: Vec::new(),
            lines_terminated: b"\n".to_vec(),
            ignore_lines: 0,
            targets: Vec::new(),
            assignments: Vec::new(),
        };
        if self.eat_kw("PARTITION") {
            load.partitions = self.paren_list(|p| p.name())?;
        }
        if self.eat_kws(&["CHARACTER", "SET"]) || self.eat_kw("CHARSET") {
            load.charset = Some(self.name_or_string()?.to_ascii_lowercase());
        }
        self.file_format(&mut load)?;
        if self.eat_kw("IGNORE") {
            load.ignore_lines = self.u64()?;
            if self.eat_one_of(&["LINES", "ROWS"]).is_none() {
                return Err(self.fail());
            }
        }
        if self.eat("(") && !self.eat(")") {
            load.targets = self.comma_list(|p| p.load_target())?;
            self.expect(")")?;
        }
        if self.eat_kw("SET") {
            load.assignments = self.assignments()?;
        }
        Ok(Statement::LoadData(Box::new(load)))
    }

    /// FIELDS and LINES, each with at least one of its parts.
    fn file_format(&mut self, load: &mut LoadData) -> Result<()> {
        if self.eat_one_of(&["FIELDS", "COLUMNS"]).is_some() {
            let mut parts = 0;
            loop {
                if self.eat_kws(&["TERMINATED", "BY"]) {
                    load.fields_terminated = self.separator()?;
                } else if self.eat_kws(&["OPTIONALLY", "ENCLOSED", "BY"]) || self.eat_kws(&["ENCLOSED", "BY"])
                {
                    load.fields_enclosed = self.separator()?;
                } else if self.eat_kws(&["ESCAPED", "BY"]) {
                    load.fields_escaped = Some(self.separator()?);
                } else if parts == 0 {
                    return Err(self.fail());
                } else {
                    break;
                }
                parts += 1;
            }
        }
        if self.eat_kw("LINES") {
            let mut parts = 0;
            loop {
                if self.eat_kws(&["STARTING", "BY"]) {
                    load.lines_starting = self.separator()?;
                } else if self.eat_kws(&["TERMINATED", "BY"]) {
                    load.lines_terminated = self.separator()?;
                } else if parts == 0 {
                    return Err(self.fail());
                } else {
                    break;
                }
                parts += 1;
            }
        }
        Ok(())
    }

    /// A string, also as hex or bits.
    fn separator(&mut self) -> Result<Vec<u8>> {
        match self.kind() {
            Kind::RawStr | Kind::Hex => Ok(crate::literal::unhex(&self.advance().text)),
            Kind::Bit => {
                let bits = crate::literal::unbits(&self.tok().text).map_err(|_| self.fail())?;
                self.skip(1);
                Ok(bits)
            }
            _ => Ok(self.string()?.into_bytes()),
        }
    }

    fn load_target(&mut self) -> Result<LoadTarget> {
        if self.kind() == Kind::UserVar {
            return Ok(LoadTarget::Variable(self.advance().text));
        }
        Ok(LoadTarget::Column(self.column_name()?))
    }
}
