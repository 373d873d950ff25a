//! CREATE, ALTER, DROP, RENAME, UNDROP, PURGE.

mod alter;
mod server;
mod table;
mod types;

use super::{Parser, Result};
use crate::lexer::Kind;
use crate::{
    CharsetClause, CreateDatabase, CreateView, IndexKind, ProgramKind, SqlExpr, Statement, ViewCheckOption,
    ViewPrelude,
};
use assize_model::{ErrorCode, SqlError};

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
        let prelude = self.view_prelude()?;
        if self.eat_kw("VIEW") {
            return self.create_view(or_replace, false, prelude);
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
            "SERVER" if !or_replace => self.create_server(),
            "TABLESPACE" | "UNDO" => self.refuse("CREATE TABLESPACE", true),
            "LOGFILE" => self.refuse("CREATE LOGFILE GROUP", true),
            "RESOURCE" => self.refuse("CREATE RESOURCE GROUP", true),
            "SEQUENCE" => self.refuse("CREATE SEQUENCE", true),
            _ => Err(self.fail()),
        }
    }

    /// ALGORITHM, DEFINER, SQL SECURITY before VIEW, PROCEDURE, TRIGGER, EVENT.
    fn view_prelude(&mut self) -> Result<ViewPrelude> {
        let mut prelude = ViewPrelude::default();
        loop {
            if self.eat_kw("ALGORITHM") {
                self.expect("=")?;
                let word =
                    self.eat_one_of(&["UNDEFINED", "MERGE", "TEMPTABLE"]).ok_or_else(|| self.fail())?;
                prelude.algorithm = Some(word.to_owned());
            } else if self.eat_kw("DEFINER") {
                self.expect("=")?;
                prelude.definer = Some(self.account()?);
            } else if self.eat_kws(&["SQL", "SECURITY"]) {
                let word = self.eat_one_of(&["DEFINER", "INVOKER"]).ok_or_else(|| self.fail())?;
                prelude.invoker = Some(word == "INVOKER");
            } else {
                return Ok(prelude);
            }
        }
    }

    fn create_view(&mut self, or_replace: bool, alter: bool, prelude: ViewPrelude) -> Result<Statement> {
        let if_not_exists = !alter && self.if_not_exists();
        let name = self.table_name()?;
        let columns = if self.is_punct("(") { self.paren_list(|p| p.name())? } else { Vec::new() };
        self.expect_kw("AS")?;
        self.into = None;
        let query = Box::new(self.query()?);
        if self.into.take().is_some() {
            return Err(SqlError::new(ErrorCode::ViewSelectClause, "View's SELECT contains a 'INTO' clause"));
        }
        if self.params > 0 {
            return Err(SqlError::new(
                ErrorCode::ViewSelectVariable,
                "View's SELECT contains a variable or parameter",
            ));
        }
        let mut check = ViewCheckOption::None;
        if self.eat_kw("WITH") {
            let local = self.eat_one_of(&["CASCADED", "LOCAL"]) == Some("LOCAL");
            self.expect_kws(&["CHECK", "OPTION"])?;
            check = if local { ViewCheckOption::Local } else { ViewCheckOption::Cascaded };
        }
        Ok(Statement::CreateView(Box::new(CreateView {
            or_replace,
            if_not_exists,
            alter,
            prelude,
            name,
            columns,
            query,
            check,
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

    // -- columns --------------------------------------------------------------------------------------------

    // -- types ----------------------------------------------------------------------------------------------

    // -- indexes and constraints ------------------------------------------------------------------------------

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
        let prelude = self.view_prelude()?;
        let word = self.tok().text.to_ascii_uppercase();
        match word.as_str() {
            "VIEW" => {
                self.skip(1);
                self.create_view(true, true, prelude)
            }
            "PROCEDURE" => self.refuse("ALTER PROCEDURE", true),
            "FUNCTION" => self.refuse("ALTER FUNCTION", true),
            "EVENT" => self.refuse("ALTER EVENT", true),
            "INSTANCE" => self.refuse("ALTER INSTANCE", true),
            "SERVER" => self.alter_server(),
            "TABLESPACE" | "UNDO" => self.refuse("ALTER TABLESPACE", true),
            "LOGFILE" => self.refuse("ALTER LOGFILE GROUP", true),
            "RESOURCE" => self.refuse("ALTER RESOURCE GROUP", true),
            _ => Err(self.fail()),
        }
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
            "PROCEDURE" => self.drop_program(ProgramKind::Procedure),
            "FUNCTION" => self.drop_program(ProgramKind::Function),
            "TRIGGER" => self.drop_program(ProgramKind::Trigger),
            "EVENT" => self.drop_program(ProgramKind::Event),
            "ROLE" => self.refuse("DROP ROLE", true),
            "SERVER" => self.drop_server(),
            "TABLESPACE" | "UNDO" => self.refuse("DROP TABLESPACE", true),
            "RESOURCE" => self.refuse("DROP RESOURCE GROUP", true),
            "SPATIAL" => self.refuse("DROP SPATIAL REFERENCE SYSTEM", true),
            "LOGFILE" => self.refuse("DROP LOGFILE GROUP", true),
            _ => Err(self.fail()),
        }
    }

    fn drop_program(&mut self, kind: ProgramKind) -> Result<Statement> {
        self.skip(1);
        let if_exists = self.if_exists();
        Ok(Statement::DropProgram { kind, name: self.table_name()?, if_exists })
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
