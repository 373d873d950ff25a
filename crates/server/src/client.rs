//! Connecting to a server, for `assize sql` and `assize bench`.

use mysql_async::{Conn, Opts};

/// A connection to this URL. The default collation of a session is left to the server.
pub async fn connect(url: &str) -> anyhow::Result<Conn> {
    let opts = Opts::from_url(url).map_err(|e| anyhow::anyhow!("{url} is not a MySQL URL: {e}"))?;
    Ok(Conn::new(opts).await?)
}
