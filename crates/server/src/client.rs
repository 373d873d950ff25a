//! Connecting to a server, for `assize sql` and `assize bench`.

use crate::cli::{Target, TlsMode};
use crate::roles::frontend::is_this_machine;
use assize_model::ErrorCode;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, SslOpts};
use std::path::Path;
use std::time::Duration;

/// How long a connection may take until the server has let us in.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

/// How the bytes of a connection travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Plain,
    Tls,
}

/// The file that was to name an authority does not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAuthority(String);

/// What was to be a URL is none.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} is not a MySQL URL, mysql://user:password@host:port/database: {error}")]
pub struct NotAUrl {
    url: String,
    error: mysql_async::UrlError,
}

/// TLS is asked for in two ways that may contradict each other.
#[derive(Debug, thiserror::Error)]
#[error("the URL says how to encrypt: leave `--tls-mode` and `--tls-ca` out, or its `require_ssl`")]
pub struct TwoWishes;

/// A connection to a target. The default collation of a session is left to the server.
pub async fn connect(target: &Target) -> anyhow::Result<Conn> {
    let url = &target.url;
    let opts = Opts::from_url(url).map_err(|error| NotAUrl { url: url.clone(), error })?;
    let opts = without_brackets(opts);
    if opts.ssl_opts().is_some() {
        if target.tls_mode.is_some() || target.tls_ca.is_some() {
            return Err(TwoWishes.into());
        }
        return open(opts.clone()).await.map_err(told(&opts));
    }
    let mode = target.tls_mode.unwrap_or(if target.tls_ca.is_some() {
        TlsMode::Required
    } else {
        TlsMode::Preferred
    });
    let (first, second) = ways(mode, is_this_machine(opts.ip_or_hostname()));
    let authority = target.tls_ca.as_deref().map(read_authority).transpose()?;
    if mode == TlsMode::VerifyIdentity && authority.is_none() {
        return Err(NoAuthority("`--tls-mode verify-identity` needs `--tls-ca FILE`".to_owned()).into());
    }
    let come = async |way| open(prepared(&opts, way, authority.as_deref()).into()).await;
    match (come(first).await, second) {
        (Err(error), Some(second)) if refuses(first, &error) => come(second).await.map_err(told(&opts)),
        (answer, _) => answer.map_err(told(&opts)),
    }
}

/// Connects and logs in. Whoever speaks something else waits for us to begin, as we wait for a MySQL server's greeting.
async fn open(opts: Opts) -> Result<Conn, Error> {
    let late = || {
        let seconds = LOGIN_LIMIT.as_secs();
        let words = format!(
            "no login within {seconds} s: the server hangs, or it does not speak MySQL (does it belong to another port?)"
        );
        Error::Io(IoError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, words)))
    };
    tokio::time::timeout(LOGIN_LIMIT, Conn::new(opts)).await.unwrap_or_else(|_| Err(late()))
}

/// Which way is tried, and which one if the server does not want that. Bytes that do not leave this machine are not encrypted unless
/// somebody asks for it, so that a workload measures the server.
fn ways(mode: TlsMode, is_here: bool) -> (Way, Option<Way>) {
    match mode {
        TlsMode::Disabled => (Way::Plain, None),
        TlsMode::Required | TlsMode::VerifyIdentity => (Way::Tls, None),
        TlsMode::Preferred if is_here => (Way::Plain, Some(Way::Tls)),
        TlsMode::Preferred => (Way::Tls, Some(Way::Plain)),
    }
}

/// Whether the server does not want us to come this way.
fn refuses(way: Way, error: &Error) -> bool {
    match (way, error) {
        (Way::Plain, Error::Server(error)) => error.code == ErrorCode::SecureTransportRequired.errno(),
        (Way::Tls, Error::Driver(DriverError::NoClientSslFlagFromServer)) => true,
        _ => false,
    }
}

/// With an authority the server has to show a certificate that it has signed for this host; without, any will do.
fn prepared(opts: &Opts, way: Way, authority: Option<&[u8]>) -> OptsBuilder {
    let builder = OptsBuilder::from_opts(opts.clone());
    let tls = match (way, authority) {
        (Way::Plain, _) => return builder,
        (Way::Tls, None) => SslOpts::default().with_danger_accept_invalid_certs(true),
        (Way::Tls, Some(pem)) => {
            let roots = vec![pem.to_vec().into()];
            SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(true)
        }
    };
    // The driver speaks no TLS over a socket.
    builder.prefer_socket(false).ssl_opts(tls)
}

/// An IPv6 address has brackets in a URL, and nowhere else: neither a lookup of names nor a certificate knows them.
fn without_brackets(opts: Opts) -> Opts {
    let host = opts.ip_or_hostname().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match host.map(str::to_owned) {
        Some(host) => OptsBuilder::from_opts(opts).ip_or_hostname(host).into(),
        None => opts,
    }
}

/// The certificates of an authority, PEM.
fn read_authority(file: &Path) -> Result<Vec<u8>, NoAuthority> {
    let why = |why: String| NoAuthority(format!("{}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| why(error.to_string()))?;
    let begins = b"-----BEGIN CERTIFICATE-----";
    match pem.windows(begins.len()).any(|part| part == begins) {
        true => Ok(pem),
        false => Err(why("there is no certificate in it".to_owned())),
    }
}

/// With whom it went wrong, instead of the driver's words, which say the same again and again.
fn told(opts: &Opts) -> impl Fn(Error) -> anyhow::Error {
    let place = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
    move |error| match error {
        Error::Io(IoError::Io(error)) => {
            std::io::Error::new(error.kind(), format!("{place}: {error}")).into()
        }
        Error::Io(IoError::Tls(error)) => std::io::Error::other(format!("{place}: {error}")).into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_async::ServerError;

    #[test]
    fn addresses_of_both_kinds_are_told_from_names() {
        for (url, host, is_here) in [
            ("mysql://root@[::1]:3406", "::1", true),
            ("mysql://root@[2001:db8::1]:3406", "2001:db8::1", false),
            ("mysql://root@127.0.0.1", "127.0.0.1", true),
            ("mysql://root@db.example.net", "db.example.net", false),
        ] {
            let opts = without_brackets(Opts::from_url(url).unwrap());
            assert_eq!(opts.ip_or_hostname(), host);
            assert_eq!(is_this_machine(opts.ip_or_hostname()), is_here, "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_no_url_is_told_apart() {
        let target = Target { url: "foo".to_owned(), tls_mode: None, tls_ca: None };
        assert!(connect(&target).await.unwrap_err().is::<NotAUrl>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_waits_for_us_to_begin_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mysql://root@{}", listener.local_addr().unwrap());
        let error = connect(&Target { url, tls_mode: None, tls_ca: None }).await.unwrap_err();
        let error = error.downcast::<std::io::Error>().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("does not speak MySQL"), "{error}");
    }

    #[tokio::test]
    async fn a_url_and_options_do_not_both_say_how_to_encrypt() {
        let url = "mysql://root@127.0.0.1:1?require_ssl=true&verify_ca=false".to_owned();
        let target = Target { url, tls_mode: None, tls_ca: Some("ca.pem".into()) };
        assert!(connect(&target).await.unwrap_err().is::<TwoWishes>());
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_if_it_can_be() {
        assert_eq!(ways(TlsMode::Preferred, false), (Way::Tls, Some(Way::Plain)));
        assert_eq!(ways(TlsMode::Preferred, true), (Way::Plain, Some(Way::Tls)));
        for is_here in [false, true] {
            assert_eq!(ways(TlsMode::Required, is_here), (Way::Tls, None));
            assert_eq!(ways(TlsMode::Disabled, is_here), (Way::Plain, None));
        }
        let told = |code: ErrorCode| {
            let (code, message) = (code.errno(), String::new());
            Error::Server(ServerError { code, message, state: "HY000".to_owned() })
        };
        assert!(refuses(Way::Plain, &told(ErrorCode::SecureTransportRequired)));
        assert!(refuses(Way::Tls, &DriverError::NoClientSslFlagFromServer.into()));
        // A password that was wrong is not shown again to whoever listens.
        assert!(!refuses(Way::Tls, &told(ErrorCode::AccessDenied)));
        assert!(!refuses(Way::Tls, &told(ErrorCode::SecureTransportRequired)));
    }
}
