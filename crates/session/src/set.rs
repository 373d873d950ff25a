//! SET in all its forms.

use crate::Session;
use crate::cache::mix_bytes;
use crate::privilege;
use crate::state::{Change, plain};
use crate::txn::{Isolation, Txn, TxnOptions};
use crate::variables::find;
use assize_catalog::ChangeBuilder;
use assize_model::{ErrorCode, SqlError, Warning, WarningLevel};
use assize_ports::{BoxFuture, ResultColumn, ResultSink, StatementContext};
use assize_sql::sqlparser::ast::{self, Expr, UnaryOperator};
use assize_sql::{Query, Scope, SetItem, Statement, UserSpec, ValueExpr};
use assize_values::{Decimal, Value};

/// Variables whose changes clients hear of.
const TRACKED: &[&str] = &[
    "time_zone",
    "autocommit",
    "character_set_client",
    "character_set_results",
    "character_set_connection",
    "sql_mode",
    "transaction_isolation",
];

impl Session {
    /// Runs the items one after another; an error leaves what was set before it, as MySQL does.
    pub(crate) async fn set(&mut self, items: &[SetItem], params: &[Value]) -> Result<(), SqlError> {
        let done = self.set_items(items, params).await;
        self.state.sync();
        done
    }

    async fn set_items(&mut self, items: &[SetItem], params: &[Value]) -> Result<(), SqlError> {
        for item in items {
            match item {
                SetItem::Variable { scope, name, value } => {
                    self.set_variable(*scope, name, value, params).await?;
                    // The next item may already depend on it.
                    self.state.sync();
                }
                SetItem::UserVariable { name, value } => {
                    let value = self.evaluate(value, params).await?;
                    self.state.set_user_variable(name, value);
                }
                SetItem::Names { charset, collation } => {
                    self.state.variables.set_names(charset.as_deref(), collation.as_deref())?;
                    for name in ["character_set_client", "character_set_results", "character_set_connection"]
                    {
                        self.track(name);
                    }
                }
                SetItem::CharacterSet(charset) => {
                    self.state.variables.set_character_set(charset.as_deref())?;
                    self.track("character_set_client");
                    self.track("character_set_results");
                }
                SetItem::Transaction { scope, isolation, read_only } => {
                    self.set_transaction(*scope, *isolation, *read_only).await?;
                }
                SetItem::Password { account, password } => {
                    let account = account.clone().unwrap_or_else(assize_sql::Account::current_user);
                    let auth =
                        assize_sql::Auth { plugin: None, password: Some(password.clone()), hash: None };
                    let statement = Statement::AlterUser {
                        if_exists: false,
                        users: vec![UserSpec { account, auth: Some(auth) }],
                        options: assize_sql::UserOptions::default(),
                    };
                    self.run_inner(&statement).await?;
                }
                SetItem::Role => return Err(SqlError::not_supported("roles")),
            }
        }
        Ok(())
    }

    async fn set_variable(
        &mut self,
        scope: Option<Scope>,
        name: &str,
        value: &ValueExpr,
        params: &[Value],
    ) -> Result<(), SqlError> {
        let value = match value {
            ValueExpr::Default => None,
            ValueExpr::Expr(expr) => Some(self.evaluate_for_variable(expr, params).await?),
        };
        match scope {
            Some(Scope::Global | Scope::Persist | Scope::PersistOnly) => {
                self.set_global(name, value.as_ref()).await
            }
            _ => self.set_session_variable(name, value.as_ref()).await,
        }
    }

    async fn set_global(&mut self, name: &str, value: Option<&Value>) -> Result<(), SqlError> {
        privilege::check_server(&self.state.user, "SUPER").map_err(|_| {
            SqlError::new(
                ErrorCode::SpecificAccessDenied,
                "Access denied; you need (at least one of) the SUPER or SYSTEM_VARIABLES_ADMIN privilege(s) for this \
                 operation",
            )
        })?;
        self.state.shared.globals.set(name, value)?;
        let definition = find(name)?;
        // Kept in the catalog, so that every frontend and every later life hears of it.
        let stored = value.map(|_| self.state.shared.globals.get(definition));
        let mut txn = Txn::begin(self.state.services.clone(), TxnOptions::default()).await?;
        let change = {
            let mut builder = ChangeBuilder::new(txn.catalog());
            builder.put_global(definition.name, stored.as_ref());
            builder.finish()
        };
        txn.commit(Some(change)).await.map(drop).map_err(|failure| failure.error)
    }

    async fn set_session_variable(&mut self, name: &str, value: Option<&Value>) -> Result<(), SqlError> {
        let was_autocommit = self.state.variables.is_on("autocommit");
        match (name, value) {
            ("warning_count" | "error_count", _) => {
                return Err(SqlError::new(
                    ErrorCode::IncorrectGlobalLocalVariable,
                    format!("Variable '{name}' is a read only variable"),
                ));
            }
            ("last_insert_id" | "identity", Some(value)) => {
                let id = plain(value).parse().map_err(|_| {
                    SqlError::new(
                        ErrorCode::WrongTypeForVariable,
                        format!("Incorrect argument type to variable '{name}'"),
                    )
                })?;
                self.state.set_last_insert_id(id);
                return Ok(());
            }
            ("rand_seed1" | "rand_seed2", Some(value)) => {
                let other = if name == "rand_seed1" { "rand_seed2" } else { "rand_seed1" };
                let other = self.state.variables.int(other) as u64;
                self.state.variables.set(name, Some(value))?;
                let seed = self.state.variables.int(name) as u64;
                self.state.eval.rand = match name {
                    "rand_seed1" => assize_values::RandState::new(seed, other),
                    _ => assize_values::RandState::new(other, seed),
                };
                return Ok(());
            }
            _ => {}
        }
        self.state.variables.set(name, value)?;
        if name == "autocommit" && !was_autocommit && self.state.variables.is_on("autocommit") {
            // Switching it on commits what runs.
            self.state.commit().await.map_err(|failure| failure.error)?;
        }
        self.track(name);
        Ok(())
    }

    async fn set_transaction(
        &mut self,
        scope: Option<Scope>,
        isolation: Option<assize_sql::Isolation>,
        read_only: Option<bool>,
    ) -> Result<(), SqlError> {
        let level = isolation.map(|isolation| match isolation {
            assize_sql::Isolation::ReadUncommitted => "READ-UNCOMMITTED",
            assize_sql::Isolation::ReadCommitted => "READ-COMMITTED",
            assize_sql::Isolation::RepeatableRead => "REPEATABLE-READ",
            assize_sql::Isolation::Serializable => "SERIALIZABLE",
        });
        match scope {
            None => {
                if self.state.explicit.is_some() || self.state.txn.is_some() {
                    return Err(SqlError::new(
                        ErrorCode::TransactionInProgress,
                        "Transaction characteristics can't be changed while a transaction is in progress",
                    ));
                }
                if let Some(isolation) = isolation {
                    self.state.next.isolation = Some(match isolation {
                        assize_sql::Isolation::ReadUncommitted | assize_sql::Isolation::ReadCommitted => {
                            Isolation::ReadCommitted
                        }
                        assize_sql::Isolation::RepeatableRead => Isolation::RepeatableRead,
                        assize_sql::Isolation::Serializable => Isolation::Serializable,
                    });
                }
                if read_only.is_some() {
                    self.state.next.read_only = read_only;
                }
            }
            Some(Scope::Session) => {
                if let Some(level) = level {
                    self.set_session_variable("transaction_isolation", Some(&Value::text(level))).await?;
                }
                if let Some(read_only) = read_only {
                    let value = Value::Int(i64::from(read_only));
                    self.set_session_variable("transaction_read_only", Some(&value)).await?;
                }
            }
            Some(_) => {
                if let Some(level) = level {
                    self.set_global("transaction_isolation", Some(&Value::text(level))).await?;
                }
                if let Some(read_only) = read_only {
                    let value = Value::Int(i64::from(read_only));
                    self.set_global("transaction_read_only", Some(&value)).await?;
                }
            }
        }
        Ok(())
    }

    /// Tells clients that track it that a variable has a new value.
    fn track(&mut self, name: &str) {
        if TRACKED.contains(&name)
            && let Ok(value) = self.state.variables.get(name, None)
        {
            let shown = find(name).map_or_else(|_| plain(&value), |definition| definition.show(&value));
            self.state.changes.push(Change::Variable(name.to_owned(), shown));
        }
    }

    /// A value for a system variable: a bare word stands for itself.
    async fn evaluate_for_variable(&mut self, expr: &Expr, params: &[Value]) -> Result<Value, SqlError> {
        if let Expr::Identifier(ident) = expr
            && !ident.value.starts_with('@')
        {
            return Ok(Value::text(ident.value.clone()));
        }
        self.evaluate(expr, params).await
    }

    /// The value of an expression: literals and variables at once, anything else by the engine.
    pub(crate) async fn evaluate(&mut self, expr: &Expr, params: &[Value]) -> Result<Value, SqlError> {
        if let Some(value) = self.simple_value(expr, params)? {
            return Ok(value);
        }
        let statement = Statement::Query(Box::new(Query { node: select_of(expr.clone()), into: None }));
        let key = mix_bytes(self.state.fingerprint, expr.to_string().as_bytes());
        let mut capture = Capture::default();
        let (found_rows, row_count) = (self.state.found_rows, self.state.row_count);
        self.run_in_transaction(&statement, key, params, &mut capture).await?;
        // Only the client's own SELECT counts.
        (self.state.found_rows, self.state.row_count) = (found_rows, row_count);
        let mut rows = capture.rows.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => {
                row.into_iter().next().ok_or_else(|| SqlError::internal("a row without columns"))
            }
            (None, _) => Ok(Value::Null),
            (Some(_), Some(_)) => {
                Err(SqlError::new(ErrorCode::SubqueryReturnsMoreRows, "Subquery returns more than 1 row"))
            }
        }
    }

    fn simple_value(&self, expr: &Expr, params: &[Value]) -> Result<Option<Value>, SqlError> {
        Ok(Some(match expr {
            Expr::Value(value) => match &value.value {
                ast::Value::Number(digits, _) => number(digits),
                ast::Value::SingleQuotedString(text) => Value::text(text.clone()),
                ast::Value::Boolean(on) => Value::Int(i64::from(*on)),
                ast::Value::Null => Value::Null,
                ast::Value::Placeholder(name) => {
                    let ordinal = name.trim_start_matches('?').parse::<usize>().ok();
                    match ordinal.and_then(|ordinal| params.get(ordinal)) {
                        Some(value) => value.clone(),
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match self.simple_value(expr, params)? {
                Some(Value::Int(n)) => Value::Int(n.wrapping_neg()),
                Some(Value::Decimal(d)) => Value::Decimal(d.neg()),
                Some(Value::Double(d)) => Value::Double(-d),
                _ => return Ok(None),
            },
            Expr::Nested(inner) => return self.simple_value(inner, params),
            Expr::Identifier(ident) => match ident.value.strip_prefix("@@") {
                Some(name) => self.system_variable(name)?,
                None => match ident.value.strip_prefix('@') {
                    Some(name) if ident.quote_style.is_none() => self.state.user_variable(name),
                    _ => return Ok(None),
                },
            },
            _ => return Ok(None),
        }))
    }

    /// `@@name`, `@@scope.name`, without the `@@`.
    fn system_variable(&self, name: &str) -> Result<Value, SqlError> {
        match name.split_once('.') {
            Some(("global" | "persist", name)) => self.state.system_variable(name, Some(true)),
            Some(("session" | "local", name)) => self.state.system_variable(name, Some(false)),
            _ => self.state.system_variable(name, None),
        }
    }

    /// Adds a warning of the session's own to the statement's.
    pub(crate) fn warn(&mut self, level: WarningLevel, code: ErrorCode, message: impl Into<String>) {
        self.state.eval.warning_count += 1;
        if self.state.eval.warnings.len() < self.state.eval.max_error_count {
            self.state.eval.warnings.push(Warning { level, code, message: message.into() });
        }
    }
}

/// A numeric literal as MySQL types it: BIGINT, BIGINT UNSIGNED, DECIMAL, or DOUBLE if it has an exponent.
pub(crate) fn number(digits: &str) -> Value {
    if let Ok(n) = digits.parse::<i64>() {
        return Value::Int(n);
    }
    if let Ok(n) = digits.parse::<u64>() {
        return Value::UInt(n);
    }
    if !digits.contains(['e', 'E'])
        && let Some(decimal) = Decimal::parse(digits)
    {
        return Value::Decimal(decimal);
    }
    digits.parse().map_or(Value::Null, Value::Double)
}

/// `SELECT expr`
fn select_of(expr: Expr) -> ast::Query {
    let options = assize_sql::ParseOptions::default();
    // A query of one item is the least that the grammar has; only its item is replaced.
    let mut query = assize_sql::parse_query("SELECT 1", &options).expect("a literal query parses");
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection =
            vec![ast::SelectItem::ExprWithAliases { expr, aliases: vec![ast::Ident::new("value")] }];
    }
    query
}

/// Keeps rows instead of sending them.
#[derive(Default)]
pub(crate) struct Capture {
    pub(crate) columns: Vec<ResultColumn>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// More rows than this are not wanted by anybody who captures.
const CAPTURED_MAX: usize = 65_536;

impl ResultSink for Capture {
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        if self.rows.len() < CAPTURED_MAX {
            self.rows.push(row.to_vec());
        }
        Ok(())
    }

    fn ready(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
