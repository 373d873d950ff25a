//! CREATE, ALTER and DROP SERVER: where the rows of foreign tables are.

use super::define::check_name;
use super::{commit_change, done, require_cluster_version};
use assize_catalog::{FOREIGN_SINCE, Server};
use assize_model::{ErrorCode, SqlError};
use assize_ports::{Executed, StatementContext};
use assize_sql::ServerOptions;

/// The only wrapper.
const WRAPPER: &str = "mysql";
/// Where a server is that does not say it.
const HOST: &str = "localhost";
/// MySQL's port.
const PORT: u16 = 3306;
/// Longest host name and password, in characters.
const HOST_MAX: usize = 255;
/// Longest name of a database, a user and an owner.
const NAME_MAX: usize = 64;

/// Runs CREATE SERVER.
pub async fn create(
    name: &str,
    wrapper: &str,
    options: &ServerOptions,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    crate::acl::require_global(context, "SUPER")?;
    if !wrapper.eq_ignore_ascii_case(WRAPPER) {
        return Err(SqlError::not_supported(format_args!("FOREIGN DATA WRAPPER {wrapper}")));
    }
    check_name(name, ErrorCode::WrongArguments, "server")?;
    let mut server = Server {
        name: name.into(),
        wrapper: WRAPPER.into(),
        host: HOST.into(),
        port: PORT,
        database: "".into(),
        user: "".into(),
        password: "".into(),
        owner: "".into(),
    };
    apply(options, &mut server)?;
    require_understood(context).await?;
    commit_change(context, |catalog, change| {
        if catalog.require_server(name).is_ok() {
            return Err(SqlError::new(
                ErrorCode::ForeignServerExists,
                format!("The foreign server, {name}, you are trying to create already exists."),
            ));
        }
        change.put_server(&server);
        Ok(Some(()))
    })
    .await?;
    Ok(one())
}

/// Runs ALTER SERVER: what is not mentioned stays.
pub async fn alter(
    name: &str,
    options: &ServerOptions,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    crate::acl::require_global(context, "SUPER")?;
    commit_change(context, |catalog, change| {
        let mut server = (**catalog.require_server(name)?).clone();
        apply(options, &mut server)?;
        change.put_server(&server);
        Ok(Some(()))
    })
    .await?;
    Ok(one())
}

/// Runs DROP SERVER. Tables that are on the server stay, and answer 1477 until there is a server of this name again.
pub async fn drop(
    name: &str,
    if_exists: bool,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    crate::acl::require_global(context, "SUPER")?;
    let mut missing = None;
    commit_change(context, |catalog, change| match catalog.require_server(name) {
        Ok(_) => {
            change.remove_server(name);
            Ok(Some(()))
        }
        Err(error) if if_exists => {
            missing = Some(error);
            Ok(None)
        }
        Err(error) => Err(error),
    })
    .await?;
    if let Some(error) = missing {
        context.eval().note(error.code, error.message);
        return Ok(done());
    }
    Ok(one())
}

/// Waits until every node of the cluster understands foreign servers and foreign tables.
pub(super) async fn require_understood(context: &mut dyn StatementContext) -> Result<(), SqlError> {
    require_cluster_version(FOREIGN_SINCE, "foreign servers and foreign tables", context).await
}

/// One row of `mysql.servers`.
fn one() -> Executed {
    Executed::Affected { changed: 1, matched: 1, insert_id: 0, info: String::new() }
}

/// Takes what the options say.
fn apply(options: &ServerOptions, server: &mut Server) -> Result<(), SqlError> {
    let ServerOptions { host, port, database, user, password, owner, socket } = options;
    if socket.as_ref().is_some_and(|socket| !socket.is_empty()) {
        return Err(SqlError::not_supported("SOCKET of a foreign server"));
    }
    let texts = [
        ("Host", host, &mut server.host, HOST_MAX),
        ("Db", database, &mut server.database, NAME_MAX),
        ("Username", user, &mut server.user, NAME_MAX),
        ("Password", password, &mut server.password, HOST_MAX),
        ("Owner", owner, &mut server.owner, NAME_MAX),
    ];
    for (column, given, kept, most) in texts {
        let Some(given) = given else { continue };
        if given.chars().count() > most {
            return Err(SqlError::new(
                ErrorCode::DataTooLong,
                format!("Data too long for column '{column}' at row 1"),
            ));
        }
        *kept = given.as_str().into();
    }
    if server.host.is_empty() {
        server.host = HOST.into();
    }
    match port {
        None => {}
        Some(0) => server.port = PORT,
        Some(port) => {
            server.port = u16::try_from(*port)
                .map_err(|_| SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to PORT"))?;
        }
    }
    Ok(())
}
