//! SET, transaction control, locks, KILL, prepared statements, CALL, FLUSH, table maintenance.

use super::{Parser, Result};
use crate::lexer::Kind;
use crate::{
    Completion, Isolation, LockTable, MaintenanceVerb, PrepareSource, Scope, SetItem, Statement, ValueExpr,
};
use sqlparser::ast::{Expr, Ident};

impl Parser<'_> {
    // -- SET ------------------------------------------------------------------------------------------------

    pub(super) fn set(&mut self) -> Result<Statement> {
        self.expect_kw("SET")?;
        // SET STATEMENT … FOR is MariaDB's.
        if self.is_kw("STATEMENT") && !self.is_punct_at(1, "=") {
            self.skip_rest();
            return Ok(Statement::Unsupported { feature: "SET STATEMENT", implicit_commit: false });
        }
        if self.is_kw("RESOURCE") && self.is_kw_at(1, "GROUP") {
            self.skip_rest();
            return Ok(Statement::Unsupported { feature: "SET RESOURCE GROUP", implicit_commit: false });
        }
        let mut items = Vec::new();
        let mut scope = None;
        loop {
            items.push(self.set_item(&mut scope)?);
            if !self.eat(",") {
                return Ok(Statement::Set(items));
            }
        }
    }

    /// A scope word holds for the items after it, until another is said: `SET GLOBAL a = 1, b = 2`.
    fn set_item(&mut self, scope: &mut Option<Scope>) -> Result<SetItem> {
        if self.kind() == Kind::UserVar {
            let name = self.advance().text;
            self.assign_sign()?;
            return Ok(SetItem::UserVariable { name, value: self.expr()? });
        }
        if self.kind() == Kind::SysVar {
            let full = self.advance().text;
            let (scope, name) = split_scope(&full);
            self.assign_sign()?;
            return Ok(SetItem::Variable { scope, name: name.to_owned(), value: self.set_value()? });
        }
        let said = match self.tok_at(1).kind {
            // `SET global = 1` would name a variable; nobody has one of these names.
            Kind::Word | Kind::Quoted => {
                self.eat_one_of(&["GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY"])
            }
            _ => None,
        };
        if let Some(word) = said {
            *scope = Some(match word {
                "GLOBAL" => Scope::Global,
                "PERSIST" => Scope::Persist,
                "PERSIST_ONLY" => Scope::PersistOnly,
                _ => Scope::Session,
            });
        }
        let named = self.is_punct_at(1, "=") || self.is_punct_at(1, ":=") || self.is_punct_at(1, ".");
        if !named {
            if self.eat_kw("TRANSACTION") {
                return self.set_transaction(*scope);
            }
            if self.eat_kw("NAMES") {
                return self.set_names();
            }
            if self.eat_kws(&["CHARACTER", "SET"]) || self.eat_kw("CHARSET") || self.eat_kws(&["CHAR", "SET"])
            {
                let charset = if self.eat_kw("DEFAULT") {
                    None
                } else {
                    Some(self.name_or_string()?.to_ascii_lowercase())
                };
                return Ok(SetItem::CharacterSet(charset));
            }
            if self.is_kw("PASSWORD") {
                return self.set_password();
            }
            if self.is_kw("ROLE") || self.is_kws(&["DEFAULT", "ROLE"]) {
                self.skip_rest();
                return Ok(SetItem::Role);
            }
        }
        if self.is_kw("PASSWORD") && self.is_punct_at(1, "=") {
            return self.set_password();
        }
        let mut name = self.name()?;
        while self.eat(".") {
            name.push('.');
            name.push_str(&self.name_after_dot()?);
        }
        self.assign_sign()?;
        Ok(SetItem::Variable { scope: *scope, name: name.to_ascii_lowercase(), value: self.set_value()? })
    }

    fn assign_sign(&mut self) -> Result<()> {
        if self.eat(":=") || self.eat("=") { Ok(()) } else { Err(self.fail()) }
    }

    fn set_value(&mut self) -> Result<ValueExpr> {
        if self.is_kw("DEFAULT") && !self.is_punct_at(1, "(") {
            self.skip(1);
            return Ok(ValueExpr::Default);
        }
        // Words that are reserved and yet values: `ON`, `ALL`, `BINARY`, `ROW`, `SYSTEM`.
        let ends = matches!(self.tok_at(1).kind, Kind::End) || self.is_punct_at(1, ",");
        if ends && self.is_any_kw(&["ON", "ALL", "BINARY", "ROW", "SYSTEM", "FORCE"]) {
            let word = self.advance().text;
            return Ok(ValueExpr::Expr(Expr::Identifier(Ident::new(word))));
        }
        Ok(ValueExpr::Expr(self.expr()?))
    }

    fn set_names(&mut self) -> Result<SetItem> {
        if self.eat_kw("DEFAULT") {
            return Ok(SetItem::Names { charset: None, collation: None });
        }
        let charset = Some(self.name_or_string()?.to_ascii_lowercase());
        let collation = if self.eat_kw("COLLATE") {
            if self.eat_kw("DEFAULT") { None } else { Some(self.name_or_string()?.to_ascii_lowercase()) }
        } else {
            None
        };
        Ok(SetItem::Names { charset, collation })
    }

    fn set_password(&mut self) -> Result<SetItem> {
        self.expect_kw("PASSWORD")?;
        let account = if self.eat_kw("FOR") { Some(self.account()?) } else { None };
        self.assign_sign()?;
        let call = self.eat_kw("PASSWORD");
        if call {
            self.expect("(")?;
        }
        let password = self.string()?;
        if call {
            self.expect(")")?;
        }
        Ok(SetItem::Password { account, password })
    }

    fn set_transaction(&mut self, scope: Option<Scope>) -> Result<SetItem> {
        let (mut isolation, mut read_only) = (None, None);
        loop {
            if self.eat_kws(&["ISOLATION", "LEVEL"]) {
                isolation = Some(self.isolation()?);
            } else {
                self.expect_kw("READ")?;
                match self.eat_one_of(&["ONLY", "WRITE"]) {
                    Some(word) => read_only = Some(word == "ONLY"),
                    None => return Err(self.fail()),
                }
            }
            if !self.eat(",") {
                return Ok(SetItem::Transaction { scope, isolation, read_only });
            }
        }
    }

    fn isolation(&mut self) -> Result<Isolation> {
        if self.eat_kws(&["READ", "UNCOMMITTED"]) {
            Ok(Isolation::ReadUncommitted)
        } else if self.eat_kws(&["READ", "COMMITTED"]) {
            Ok(Isolation::ReadCommitted)
        } else if self.eat_kws(&["REPEATABLE", "READ"]) {
            Ok(Isolation::RepeatableRead)
        } else if self.eat_kw("SERIALIZABLE") {
            Ok(Isolation::Serializable)
        } else {
            Err(self.fail())
        }
    }

    // -- transactions -----------------------------------------------------------------------------------------

    pub(super) fn transaction_control(&mut self) -> Result<Statement> {
        let word = self.advance().text.to_ascii_uppercase();
        match word.as_str() {
            "BEGIN" => {
                self.eat_kw("WORK");
                Ok(Statement::Begin { read_only: None, consistent_snapshot: false })
            }
            "START" => self.start_transaction(),
            "COMMIT" => Ok(Statement::Commit(self.completion()?)),
            "ROLLBACK" => {
                let work = self.eat_kw("WORK");
                if self.eat_kw("TO") {
                    self.eat_kw("SAVEPOINT");
                    return Ok(Statement::RollbackTo(self.savepoint_name()?));
                }
                let _ = work;
                Ok(Statement::Rollback(self.completion()?))
            }
            "SAVEPOINT" => Ok(Statement::Savepoint(self.savepoint_name()?)),
            _ => {
                self.expect_kw("SAVEPOINT")?;
                Ok(Statement::ReleaseSavepoint(self.savepoint_name()?))
            }
        }
    }

    fn savepoint_name(&mut self) -> Result<String> {
        // Some drivers quote a savepoint's name as a string.
        if self.kind() == Kind::Str { self.string() } else { self.name() }
    }

    fn start_transaction(&mut self) -> Result<Statement> {
        if self.is_any_kw(&["REPLICA", "SLAVE", "GROUP_REPLICATION"]) {
            self.skip_rest();
            return Ok(Statement::Unsupported { feature: "replication", implicit_commit: true });
        }
        self.expect_kw("TRANSACTION")?;
        let (mut read_only, mut consistent_snapshot) = (None, false);
        if !self.at_end() {
            loop {
                if self.eat_kws(&["WITH", "CONSISTENT", "SNAPSHOT"]) {
                    consistent_snapshot = true;
                } else {
                    self.expect_kw("READ")?;
                    let only = match self.eat_one_of(&["ONLY", "WRITE"]) {
                        Some(word) => word == "ONLY",
                        None => return Err(self.fail()),
                    };
                    if read_only.is_some() {
                        return Err(self.fail());
                    }
                    read_only = Some(only);
                }
                if !self.eat(",") {
                    break;
                }
            }
        }
        Ok(Statement::Begin { read_only, consistent_snapshot })
    }

    fn completion(&mut self) -> Result<Completion> {
        self.eat_kw("WORK");
        let mut completion = Completion::default();
        if self.eat_kw("AND") {
            let no = self.eat_kw("NO");
            self.expect_kw("CHAIN")?;
            completion.chain = Some(!no);
        }
        if self.is_kw("NO") || self.is_kw("RELEASE") {
            let no = self.eat_kw("NO");
            self.expect_kw("RELEASE")?;
            completion.release = Some(!no);
        }
        if completion.chain == Some(true) && completion.release == Some(true) {
            return Err(self.fail());
        }
        Ok(completion)
    }

    // -- locks ------------------------------------------------------------------------------------------------

    pub(super) fn lock_tables(&mut self) -> Result<Statement> {
        let lock = self.is_kw("LOCK");
        self.skip(1);
        if self.eat_kw("INSTANCE") {
            self.skip_rest();
            return Ok(Statement::Unsupported {
                feature: "LOCK INSTANCE FOR BACKUP",
                implicit_commit: false,
            });
        }
        if self.eat_one_of(&["TABLES", "TABLE"]).is_none() {
            return Err(self.fail());
        }
        if !lock {
            return Ok(Statement::UnlockTables);
        }
        Ok(Statement::LockTables(self.comma_list(|p| {
            let table = p.table_name()?;
            let alias = if p.eat_kw("AS") || p.is_name_at(0) { Some(p.name()?) } else { None };
            p.eat_kw("LOW_PRIORITY");
            let write = match p.eat_one_of(&["READ", "WRITE"]) {
                Some(word) => word == "WRITE",
                None => return Err(p.fail()),
            };
            let _ = p.eat_kw("LOCAL") || p.eat_kw("CONCURRENT");
            Ok(LockTable { table, alias, write })
        })?))
    }

    // -- the rest -----------------------------------------------------------------------------------------------

    pub(super) fn kill(&mut self) -> Result<Statement> {
        self.expect_kw("KILL")?;
        let _ = self.eat_kw("HARD") || self.eat_kw("SOFT");
        let query_only = self.eat_one_of(&["CONNECTION", "QUERY"]) == Some("QUERY");
        Ok(Statement::Kill { query_only, connection: self.expr()? })
    }

    pub(super) fn prepared(&mut self) -> Result<Statement> {
        let word = self.advance().text.to_ascii_uppercase();
        match word.as_str() {
            "PREPARE" => {
                let name = self.name()?;
                self.expect_kw("FROM")?;
                let source = if self.kind() == Kind::UserVar {
                    PrepareSource::Variable(self.advance().text)
                } else {
                    PrepareSource::Text(self.string()?)
                };
                Ok(Statement::Prepare { name, source })
            }
            "EXECUTE" => {
                if self.is_kw("IMMEDIATE")
                    && !matches!(self.tok_at(1).kind, Kind::End)
                    && !self.is_kw_at(1, "USING")
                {
                    self.skip_rest();
                    return Ok(Statement::Unsupported {
                        feature: "EXECUTE IMMEDIATE",
                        implicit_commit: false,
                    });
                }
                let name = self.name()?;
                let using = if self.eat_kw("USING") {
                    self.comma_list(|p| {
                        if p.kind() == Kind::UserVar { Ok(p.advance().text) } else { Err(p.fail()) }
                    })?
                } else {
                    Vec::new()
                };
                Ok(Statement::Execute { name, using })
            }
            _ => {
                self.expect_kw("PREPARE")?;
                Ok(Statement::Deallocate(self.name()?))
            }
        }
    }

    pub(super) fn call(&mut self) -> Result<Statement> {
        self.expect_kw("CALL")?;
        let name = self.table_name()?;
        let mut args = Vec::new();
        if self.eat("(") {
            if !self.is_punct(")") {
                args = self.comma_list(|p| p.expr())?;
            }
            self.expect(")")?;
        }
        Ok(Statement::Call { name, args })
    }

    pub(super) fn flush(&mut self) -> Result<Statement> {
        self.expect_kw("FLUSH")?;
        let _ = self.eat_kw("NO_WRITE_TO_BINLOG") || self.eat_kw("LOCAL");
        let mut what = Vec::new();
        let (mut tables, mut read_lock) = (Vec::new(), false);
        if self.eat_one_of(&["TABLES", "TABLE"]).is_some() {
            what.push("TABLES".to_owned());
            if self.is_name_at(0) {
                tables = self.table_names()?;
            }
            if self.eat_kws(&["WITH", "READ", "LOCK"]) {
                read_lock = true;
            }
            self.eat_kws(&["FOR", "EXPORT"]);
            return Ok(Statement::Flush { what, tables, read_lock });
        }
        loop {
            let mut words = Vec::new();
            while self.kind() == Kind::Word {
                words.push(self.advance().text.to_ascii_uppercase());
            }
            if words.is_empty() {
                return Err(self.fail());
            }
            what.push(words.join(" "));
            if !self.eat(",") {
                return Ok(Statement::Flush { what, tables, read_lock });
            }
        }
    }

    pub(super) fn maintenance(&mut self) -> Result<Statement> {
        let word = self.advance().text.to_ascii_uppercase();
        let verb = match word.as_str() {
            "ANALYZE" => MaintenanceVerb::Analyze,
            "CHECK" => MaintenanceVerb::Check,
            "OPTIMIZE" => MaintenanceVerb::Optimize,
            "REPAIR" => MaintenanceVerb::Repair,
            _ => MaintenanceVerb::Checksum,
        };
        // MariaDB's ANALYZE SELECT runs the statement.
        if verb == MaintenanceVerb::Analyze
            && (self.is_any_kw(&["SELECT", "UPDATE", "DELETE", "INSERT", "FORMAT"]))
        {
            self.pos -= 1;
            return Err(self.fail());
        }
        let _ = self.eat_kw("NO_WRITE_TO_BINLOG") || self.eat_kw("LOCAL");
        if self.eat_one_of(&["TABLE", "TABLES"]).is_none() {
            return Err(self.fail());
        }
        let tables = self.table_names()?;
        let mut options = Vec::new();
        // UPDATE HISTOGRAM ON c, d WITH 100 BUCKETS, FOR UPGRADE, QUICK …
        while !self.at_end() {
            let token = self.advance();
            match token.kind {
                Kind::Word | Kind::Quoted | Kind::Int | Kind::Str => {
                    options.push(token.text.to_ascii_uppercase())
                }
                Kind::Punct if token.text == "," && verb == MaintenanceVerb::Analyze => {}
                _ => return Err(super::syntax_error(self.text, token.start)),
            }
        }
        Ok(Statement::TableMaintenance { verb, tables, options })
    }

    /// Statements that are recognised so that they can be refused by name.
    pub(super) fn unsupported(&mut self, word: &str) -> Result<Statement> {
        let (feature, implicit_commit) = match word {
            "XA" => ("XA", false),
            "BINLOG" => ("BINLOG", false),
            "CHANGE" => ("CHANGE REPLICATION SOURCE", true),
            "CLONE" => ("CLONE", false),
            "HANDLER" => ("HANDLER", false),
            "IMPORT" => ("IMPORT TABLE", true),
            "INSTALL" => ("INSTALL PLUGIN", true),
            "UNINSTALL" => ("UNINSTALL PLUGIN", true),
            "RESET" => ("RESET", true),
            "STOP" => ("replication", true),
            "SIGNAL" => ("SIGNAL", false),
            "RESIGNAL" => ("RESIGNAL", false),
            "GET" => ("GET DIAGNOSTICS", false),
            "SHUTDOWN" => ("SHUTDOWN", false),
            "RESTART" => ("RESTART", false),
            "CACHE" => ("CACHE INDEX", true),
            _ => return Err(self.fail()),
        };
        self.skip(1);
        // A bare word is a typing error rather than one of these statements.
        if self.at_end() && !matches!(word, "SHUTDOWN" | "RESTART" | "RESIGNAL") {
            return Err(self.fail());
        }
        self.skip_rest();
        Ok(Statement::Unsupported { feature, implicit_commit })
    }
}

/// `session.x` → (Session, `x`)
fn split_scope(full: &str) -> (Option<Scope>, &str) {
    let Some((scope, name)) = full.split_once('.') else { return (None, full) };
    match scope {
        "session" | "local" => (Some(Scope::Session), name),
        "global" => (Some(Scope::Global), name),
        "persist" => (Some(Scope::Persist), name),
        "persist_only" => (Some(Scope::PersistOnly), name),
        _ => (None, full),
    }
}
