//! ALTER TABLE, action by action.

use crate::lexer::Kind;
use crate::parser::{Parser, Result};
use crate::{AlterAction, AlterTable, CharsetClause, ColumnPosition, Statement};

impl Parser<'_> {
    pub(super) fn alter_table(&mut self) -> Result<Statement> {
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
}
