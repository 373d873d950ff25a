//! SHOW, EXPLAIN, DESCRIBE.

use super::{Parser, Result};
use crate::lexer::Kind;
use crate::{ExplainFormat, Show, ShowFilter, ShowWhat, Statement, TableName};

impl Parser<'_> {
    pub(super) fn show(&mut self) -> Result<Statement> {
        self.expect_kw("SHOW")?;
        let what = self.show_what()?;
        let filter = if self.eat_kw("LIKE") {
            Some(ShowFilter::Like(self.string()?))
        } else if self.eat_kw("WHERE") {
            Some(ShowFilter::Where(self.expr()?))
        } else {
            None
        };
        Ok(Statement::Show(Box::new(Show { what, filter })))
    }

    fn of_database(&mut self) -> Result<Option<String>> {
        if self.eat_one_of(&["FROM", "IN"]).is_none() {
            return Ok(None);
        }
        Ok(Some(self.name()?))
    }

    /// `FROM table [FROM database]`, `FROM database.table`
    fn of_table(&mut self) -> Result<TableName> {
        if self.eat_one_of(&["FROM", "IN"]).is_none() {
            return Err(self.fail());
        }
        let mut table = self.table_name()?;
        if let Some(database) = self.of_database()? {
            table.database = Some(database);
        }
        Ok(table)
    }

    fn show_limit(&mut self) -> Result<Option<(u64, u64)>> {
        if !self.eat_kw("LIMIT") {
            return Ok(None);
        }
        let first = self.u64()?;
        if self.eat(",") {
            return Ok(Some((first, self.u64()?)));
        }
        if self.eat_kw("OFFSET") {
            return Ok(Some((self.u64()?, first)));
        }
        Ok(Some((0, first)))
    }

    fn show_what(&mut self) -> Result<ShowWhat> {
        if self.kind() != Kind::Word {
            return Err(self.fail());
        }
        let word = self.tok().text.to_ascii_uppercase();
        let start = self.pos;
        self.skip(1);
        Ok(match word.as_str() {
            "DATABASES" | "SCHEMAS" => ShowWhat::Databases,
            "FULL" | "EXTENDED" => {
                let extended = word == "EXTENDED";
                let full = !extended || self.eat_kw("FULL");
                match self.eat_one_of(&[
                    "TABLES",
                    "COLUMNS",
                    "FIELDS",
                    "PROCESSLIST",
                    "INDEX",
                    "INDEXES",
                    "KEYS",
                ]) {
                    Some("TABLES") => ShowWhat::Tables { full, database: self.of_database()? },
                    Some("COLUMNS" | "FIELDS") => {
                        ShowWhat::Columns { full, extended, table: self.of_table()? }
                    }
                    Some("PROCESSLIST") => ShowWhat::ProcessList { full },
                    Some(_) if extended => ShowWhat::Indexes { table: self.of_table()? },
                    _ => return Err(self.fail()),
                }
            }
            "TABLES" => ShowWhat::Tables { full: false, database: self.of_database()? },
            "OPEN" => {
                self.expect_kw("TABLES")?;
                ShowWhat::OpenTables { database: self.of_database()? }
            }
            "TABLE" => {
                self.expect_kw("STATUS")?;
                ShowWhat::TableStatus { database: self.of_database()? }
            }
            "COLUMNS" | "FIELDS" => {
                ShowWhat::Columns { full: false, extended: false, table: self.of_table()? }
            }
            "INDEX" | "INDEXES" | "KEYS" => ShowWhat::Indexes { table: self.of_table()? },
            "CREATE" => self.show_create()?,
            "GLOBAL" | "SESSION" | "LOCAL" => {
                let global = word == "GLOBAL";
                match self.eat_one_of(&["VARIABLES", "STATUS"]) {
                    Some("VARIABLES") => ShowWhat::Variables { global },
                    Some(_) => ShowWhat::Status { global },
                    None => return Err(self.fail()),
                }
            }
            "VARIABLES" => ShowWhat::Variables { global: false },
            "STATUS" => ShowWhat::Status { global: false },
            "WARNINGS" => ShowWhat::Warnings { limit: self.show_limit()? },
            "ERRORS" => ShowWhat::Errors { limit: self.show_limit()? },
            "COUNT" => {
                self.expect("(")?;
                self.expect("*")?;
                self.expect(")")?;
                match self.eat_one_of(&["WARNINGS", "ERRORS"]) {
                    Some("WARNINGS") => ShowWhat::CountWarnings,
                    Some(_) => ShowWhat::CountErrors,
                    None => return Err(self.fail()),
                }
            }
            "ENGINES" => ShowWhat::Engines,
            "STORAGE" => {
                self.expect_kw("ENGINES")?;
                ShowWhat::Engines
            }
            "ENGINE" => {
                let name = self.name()?;
                let what = self.name()?.to_ascii_uppercase();
                ShowWhat::Engine(name, what)
            }
            "CHARACTER" | "CHAR" => {
                self.expect_kw("SET")?;
                ShowWhat::CharacterSets
            }
            "CHARSET" => ShowWhat::CharacterSets,
            "COLLATION" => ShowWhat::Collations,
            "PROCESSLIST" => ShowWhat::ProcessList { full: false },
            "GRANTS" => {
                let account = if self.eat_kw("FOR") { Some(self.account()?) } else { None };
                if self.eat_kw("USING") {
                    self.comma_list(|p| p.account())?;
                }
                ShowWhat::Grants(account)
            }
            "PRIVILEGES" => ShowWhat::Privileges,
            "PLUGINS" => ShowWhat::Plugins,
            "TRIGGERS" => ShowWhat::Triggers { database: self.of_database()? },
            "EVENTS" => ShowWhat::Events { database: self.of_database()? },
            "PROCEDURE" | "FUNCTION" | "PACKAGE" => {
                if self.eat_kw("CODE") {
                    self.table_name()?;
                    return Ok(ShowWhat::RoutineCode);
                }
                self.eat_kw("BODY");
                self.expect_kw("STATUS")?;
                if word == "FUNCTION" { ShowWhat::FunctionStatus } else { ShowWhat::ProcedureStatus }
            }
            "MASTER" | "BINARY" => match self.eat_one_of(&["STATUS", "LOGS", "LOG"]) {
                Some("STATUS") => ShowWhat::MasterStatus,
                Some("LOGS") => ShowWhat::BinaryLogs,
                Some(_) => {
                    self.expect_kw("STATUS")?;
                    ShowWhat::MasterStatus
                }
                None => return Err(self.fail()),
            },
            "REPLICA" | "SLAVE" => {
                if self.eat_kw("HOSTS") {
                    return Ok(ShowWhat::Replicas);
                }
                self.expect_kw("STATUS")?;
                if self.eat_kws(&["FOR", "CHANNEL"]) {
                    self.string()?;
                }
                ShowWhat::ReplicaStatus
            }
            "ALL" => {
                self.eat_one_of(&["SLAVES", "REPLICAS"]);
                self.expect_kw("STATUS")?;
                ShowWhat::ReplicaStatus
            }
            "REPLICAS" => ShowWhat::Replicas,
            "BINLOG" | "RELAYLOG" => {
                self.expect_kw("EVENTS")?;
                self.skip_rest();
                ShowWhat::BinlogEvents
            }
            "PROFILES" => ShowWhat::Profiles,
            "PROFILE" => {
                self.skip_rest();
                ShowWhat::Profile
            }
            "DROPPED" => ShowWhat::Dropped,
            "CONFLICTS" => ShowWhat::Conflicts { limit: self.show_limit()? },
            "CONFLICT" => ShowWhat::Conflict(self.string()?),
            "HOT" => {
                self.expect_kw("KEYS")?;
                ShowWhat::HotKeys { limit: self.show_limit()? }
            }
            "SHARDS" => ShowWhat::Shards,
            "MEMBERS" => ShowWhat::Members,
            "TRANSACTIONS" => ShowWhat::Transactions,
            "JOBS" => ShowWhat::Jobs,
            "DIAGNOSIS" => ShowWhat::Diagnosis,
            "OUTCOME" => ShowWhat::Outcome(self.string()?),
            _ => {
                self.pos = start;
                return Err(self.fail());
            }
        })
    }

    fn show_create(&mut self) -> Result<ShowWhat> {
        let words =
            &["DATABASE", "SCHEMA", "TABLE", "VIEW", "USER", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT"];
        Ok(match self.eat_one_of(words) {
            Some("DATABASE" | "SCHEMA") => {
                let if_not_exists = self.eat_kws(&["IF", "NOT", "EXISTS"]);
                ShowWhat::CreateDatabase { name: self.name()?, if_not_exists }
            }
            Some("TABLE") => ShowWhat::CreateTable(self.table_name()?),
            Some("VIEW") => ShowWhat::CreateView(self.table_name()?),
            Some("USER") => ShowWhat::CreateUser(self.account()?),
            Some("PROCEDURE") => ShowWhat::CreateRoutine("PROCEDURE", self.table_name()?),
            Some("FUNCTION") => ShowWhat::CreateRoutine("FUNCTION", self.table_name()?),
            Some("TRIGGER") => ShowWhat::CreateRoutine("TRIGGER", self.table_name()?),
            Some(_) => ShowWhat::CreateRoutine("EVENT", self.table_name()?),
            None => return Err(self.fail()),
        })
    }

    pub(super) fn explain(&mut self) -> Result<Statement> {
        self.skip(1);
        let analyze = self.eat_kw("ANALYZE");
        // Old words that say nothing any more.
        self.eat_one_of(&["EXTENDED", "PARTITIONS"]);
        let mut format = if analyze { ExplainFormat::Tree } else { ExplainFormat::Traditional };
        if self.is_kw("FORMAT") && self.is_punct_at(1, "=") {
            self.skip(2);
            let start = self.pos;
            let name = self.name_or_string()?.to_ascii_uppercase();
            format = match name.as_str() {
                "TRADITIONAL" => ExplainFormat::Traditional,
                "JSON" => ExplainFormat::Json,
                "TREE" => ExplainFormat::Tree,
                _ => {
                    self.pos = start;
                    return Err(self.fail());
                }
            };
        }
        if self.eat_kws(&["FOR", "CONNECTION"]) {
            return Ok(Statement::ExplainConnection(self.u64()?));
        }
        let explainable = ["SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE", "WITH", "TABLE", "VALUES"];
        if self.is_punct("(") || self.is_any_kw(&explainable) {
            let statement = Box::new(self.nested(|p| p.statement())?);
            return Ok(Statement::Explain { format, analyze, statement });
        }
        if analyze {
            return Err(self.fail());
        }
        let table = self.table_name()?;
        let column = match self.kind() {
            Kind::Str => Some(self.string()?),
            Kind::End => None,
            _ => Some(self.name()?),
        };
        Ok(Statement::Describe { table, column })
    }
}
