//! What a listener is told.

use crate::auth::PasswordKey;
use crate::tls::Tls;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What a listener is told.
pub struct Config {
    /// The version that clients see; digits first.
    pub version: String,
    /// TLS, if there is any.
    pub tls: Option<Tls>,
    /// The numbers that connections get.
    pub ids: RangeInclusive<u32>,
    /// Most connections at a time, to begin with. One more is kept for administrators.
    pub connections_max: usize,
    /// How long a client may take to authenticate.
    pub connect_timeout: Duration,
    /// How long a client may take to receive what was sent.
    pub write_timeout: Duration,
    /// How long transactions that are open when the server stops may go on.
    pub drain_timeout: Duration,
    /// Most bytes of rows that an open cursor may hold, per connection.
    pub cursor_bytes_max: usize,
    /// Most prepared statements of one connection.
    pub statements_max: usize,
    /// The key that protects passwords on connections without TLS.
    pub password_key: Arc<PasswordKey>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            version: concat!("8.4.6-assize-", env!("CARGO_PKG_VERSION")).to_owned(),
            tls: None,
            // 0 is nobody's.
            ids: 1..=u32::MAX,
            connections_max: 1000,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            cursor_bytes_max: 256 << 20,
            statements_max: 16_382,
            password_key: Arc::default(),
        }
    }
}
