//! CREATE, ALTER and DROP SERVER.

use crate::parser::{Parser, Result};
use crate::{ServerOptions, Statement};

impl Parser<'_> {
    /// `SERVER name FOREIGN DATA WRAPPER wrapper OPTIONS (…)`
    pub(super) fn create_server(&mut self) -> Result<Statement> {
        self.expect_kw("SERVER")?;
        let name = self.name_or_string()?;
        self.expect_kws(&["FOREIGN", "DATA", "WRAPPER"])?;
        let wrapper = self.name_or_string()?;
        let options = self.server_options()?;
        Ok(Statement::CreateServer { name, wrapper, options })
    }

    /// `SERVER name OPTIONS (…)`
    pub(super) fn alter_server(&mut self) -> Result<Statement> {
        self.expect_kw("SERVER")?;
        let name = self.name_or_string()?;
        let options = self.server_options()?;
        Ok(Statement::AlterServer { name, options })
    }

    /// `SERVER [IF EXISTS] name`
    pub(super) fn drop_server(&mut self) -> Result<Statement> {
        self.expect_kw("SERVER")?;
        let if_exists = self.if_exists();
        Ok(Statement::DropServer { name: self.name_or_string()?, if_exists })
    }

    /// In any order, each once.
    fn server_options(&mut self) -> Result<ServerOptions> {
        self.expect_kw("OPTIONS")?;
        let mut options = ServerOptions::default();
        self.paren_list(|p| p.server_option(&mut options))?;
        Ok(options)
    }

    fn server_option(&mut self, options: &mut ServerOptions) -> Result<()> {
        let ServerOptions { host, port, database, user, password, owner, socket } = options;
        let unknown = self.fail();
        if self.is_kw("PORT") && port.is_none() {
            self.skip(1);
            *port = Some(self.u64()?);
            return Ok(());
        }
        let texts = [
            ("HOST", host),
            ("DATABASE", database),
            ("USER", user),
            ("PASSWORD", password),
            ("OWNER", owner),
            ("SOCKET", socket),
        ];
        for (word, text) in texts {
            if text.is_none() && self.eat_kw(word) {
                *text = Some(self.string()?);
                return Ok(());
            }
        }
        Err(unknown)
    }
}
