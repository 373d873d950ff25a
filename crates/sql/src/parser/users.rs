//! Users and privileges.

use super::{Parser, Result};
use crate::lexer::Kind;
use crate::{Account, Auth, Privilege, PrivilegeLevel, Statement, TableName, UserOptions, UserSpec};

impl Parser<'_> {
    /// `'name'@'host'`, `name`, `CURRENT_USER[()]`
    pub(super) fn account(&mut self) -> Result<Account> {
        if self.eat_kw("CURRENT_USER") {
            if self.eat("(") {
                self.expect(")")?;
            }
            return Ok(Account::current_user());
        }
        let name = match self.kind() {
            Kind::Str => self.string()?,
            _ => self.name()?,
        };
        let host = match self.kind() {
            Kind::UserVar => self.advance().text.to_ascii_lowercase(),
            Kind::Punct if self.is_punct("@") => {
                self.skip(1);
                self.name_or_string()?.to_ascii_lowercase()
            }
            _ => "%".to_owned(),
        };
        Ok(Account { name, host })
    }

    fn user_spec(&mut self) -> Result<UserSpec> {
        let account = self.account()?;
        let auth = self.auth()?;
        Ok(UserSpec { account, auth })
    }

    fn auth(&mut self) -> Result<Option<Auth>> {
        if !self.eat_kw("IDENTIFIED") {
            return Ok(None);
        }
        let mut auth = Auth { plugin: None, password: None, hash: None };
        if self.eat_kw("WITH") {
            auth.plugin = Some(self.name_or_string()?);
            if self.eat_kw("AS") {
                auth.hash = Some(self.string()?);
                return Ok(Some(auth));
            }
            if !self.eat_kw("BY") {
                return Ok(Some(auth));
            }
        } else {
            self.expect_kw("BY")?;
        }
        if self.eat_kw("PASSWORD") {
            // IDENTIFIED BY PASSWORD '*…' is the old spelling of a hash.
            auth.hash = Some(self.string()?);
        } else if self.eat_kws(&["RANDOM", "PASSWORD"]) {
            auth.password = None;
        } else {
            auth.password = Some(self.string()?);
        }
        if self.eat_kw("REPLACE") {
            self.string()?;
        }
        self.eat_kws(&["RETAIN", "CURRENT", "PASSWORD"]);
        Ok(Some(auth))
    }

    pub(super) fn create_user(&mut self) -> Result<Statement> {
        let if_not_exists = self.eat_kws(&["IF", "NOT", "EXISTS"]);
        let users = self.comma_list(|p| p.user_spec())?;
        let options = self.user_options()?;
        Ok(Statement::CreateUser { if_not_exists, users, options })
    }

    pub(super) fn alter_user(&mut self) -> Result<Statement> {
        let if_exists = self.eat_kws(&["IF", "EXISTS"]);
        // `USER()` stands for the current user here.
        if self.is_kw("USER") && self.is_punct_at(1, "(") {
            self.skip(3);
            let auth = self.auth()?;
            let users = vec![UserSpec { account: Account::current_user(), auth }];
            return Ok(Statement::AlterUser { if_exists, users, options: UserOptions::default() });
        }
        let users = self.comma_list(|p| p.user_spec())?;
        let options = self.user_options()?;
        Ok(Statement::AlterUser { if_exists, users, options })
    }

    fn user_options(&mut self) -> Result<UserOptions> {
        let mut options = UserOptions::default();
        loop {
            if self.eat_kw("ACCOUNT") {
                options.locked = match self.eat_one_of(&["LOCK", "UNLOCK"]) {
                    Some(word) => Some(word == "LOCK"),
                    None => return Err(self.fail()),
                };
            } else if self.eat_kw("REQUIRE") {
                options.require_tls = Some(!self.eat_kw("NONE"));
                while let Some(word) = self.eat_one_of(&["SSL", "X509", "ISSUER", "SUBJECT", "CIPHER", "AND"])
                {
                    if matches!(word, "ISSUER" | "SUBJECT" | "CIPHER") {
                        options.other.push(format!("{word} {}", self.string()?));
                    }
                }
            } else if self.is_any_kw(&[
                "PASSWORD",
                "WITH",
                "DEFAULT",
                "FAILED_LOGIN_ATTEMPTS",
                "PASSWORD_LOCK_TIME",
                "COMMENT",
                "ATTRIBUTE",
                "RETAIN",
                "DISCARD",
            ]) {
                // Limits, expiry and attributes are remembered as text.
                let mut words = Vec::new();
                loop {
                    words.push(self.advance().text.to_ascii_uppercase());
                    let next = ["ACCOUNT", "REQUIRE", "PASSWORD"];
                    if self.at_end() || (self.is_any_kw(&next) && words.len() > 1) {
                        break;
                    }
                }
                options.other.push(words.join(" "));
            } else {
                return Ok(options);
            }
        }
    }

    pub(super) fn grant_or_revoke(&mut self) -> Result<Statement> {
        let grant = self.is_kw("GRANT");
        self.skip(1);
        let if_exists = !grant && self.eat_kws(&["IF", "EXISTS"]);
        let mut privileges = self.comma_list(|p| p.privilege())?;
        let mut level = PrivilegeLevel::Role;
        if self.eat_kw("ON") {
            level = self.privilege_level(&privileges)?;
        } else if !grant && privileges.iter().any(|p| p.name == "ALL PRIVILEGES") {
            // REVOKE ALL PRIVILEGES, GRANT OPTION FROM …: everything, everywhere.
            level = PrivilegeLevel::Global;
            privileges.retain(|p| p.name != "GRANT OPTION");
            privileges.push(Privilege { name: "GRANT OPTION".into(), columns: Vec::new() });
        }
        if !grant {
            self.expect_kw("FROM")?;
            let users = self.comma_list(|p| p.account())?;
            self.eat_kws(&["IGNORE", "UNKNOWN", "USER"]);
            return Ok(Statement::Revoke { privileges, level, users, if_exists });
        }
        self.expect_kw("TO")?;
        let users = self.comma_list(|p| p.user_spec())?;
        if self.eat_kw("REQUIRE") {
            while self.is_any_kw(&["SSL", "X509", "NONE"]) {
                self.skip(1);
            }
        }
        let mut with_grant_option = false;
        if self.eat_kw("WITH") {
            loop {
                if self.eat_kws(&["GRANT", "OPTION"]) || self.eat_kws(&["ADMIN", "OPTION"]) {
                    with_grant_option = true;
                } else if self.kind() == Kind::Word
                    && self.tok().text.to_ascii_uppercase().starts_with("MAX_")
                {
                    self.skip(1);
                    self.u64()?;
                } else {
                    break;
                }
            }
        }
        Ok(Statement::Grant { privileges, level, users, with_grant_option })
    }

    /// One or several words, perhaps with columns: `SELECT (a, b)`, `CREATE TEMPORARY TABLES`.
    fn privilege(&mut self) -> Result<Privilege> {
        let mut words: Vec<String> = Vec::new();
        while !self.is_any_kw(&["ON", "TO", "FROM"]) {
            match self.kind() {
                Kind::Word => words.push(self.advance().text.to_ascii_uppercase()),
                // A role's name.
                Kind::Str | Kind::Quoted => {
                    words.push(self.account()?.name);
                    break;
                }
                Kind::UserVar if !words.is_empty() => {
                    self.skip(1);
                    break;
                }
                _ => break,
            }
        }
        if words.is_empty() {
            return Err(self.fail());
        }
        let mut name = words.join(" ");
        if name == "ALL" {
            name = "ALL PRIVILEGES".into();
        }
        let columns = if self.is_punct("(") { self.paren_list(|p| p.name())? } else { Vec::new() };
        Ok(Privilege { name, columns })
    }

    fn privilege_level(&mut self, privileges: &[Privilege]) -> Result<PrivilegeLevel> {
        if privileges.iter().any(|p| p.name == "PROXY") {
            self.account()?;
            return Ok(PrivilegeLevel::Proxy);
        }
        let routine = self.eat_one_of(&["PROCEDURE", "FUNCTION"]).is_some();
        if !routine {
            self.eat_kw("TABLE");
        }
        if self.eat("*") {
            if self.eat(".") {
                self.expect("*")?;
                return Ok(PrivilegeLevel::Global);
            }
            return Ok(PrivilegeLevel::Database(None));
        }
        let first = self.name()?;
        if !self.eat(".") {
            let table = TableName { database: None, name: first };
            return Ok(if routine { PrivilegeLevel::Routine(table) } else { PrivilegeLevel::Table(table) });
        }
        if self.eat("*") {
            return Ok(PrivilegeLevel::Database(Some(first)));
        }
        let table = TableName { database: Some(first), name: self.name_after_dot()? };
        Ok(if routine { PrivilegeLevel::Routine(table) } else { PrivilegeLevel::Table(table) })
    }
}
