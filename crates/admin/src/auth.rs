//! Who calls, and what they may do.
//!
//! Without a credentials file everybody who reaches the API is an admin; `serve` sees to it that only this machine
//! can reach it then. With one, a caller shows a bearer token, or a client certificate that our certificate authority
//! has signed, and the file says whose it is:
//!
//! ```text
//! # name   role      sha256 of the token, or cert: and the sha256 of the certificate (DER)
//! alice    admin     5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
//! grafana  viewer    cert:1f8b…
//! ```
//!
//! The file holds no secrets: a token of 128 random bits or more cannot be found from its hash.

use crate::error::Reason;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tonic::{Request, Status};

/// What a caller may do; each role includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Steers: kills, drains, moves, splits, hands leadership over.
    Operator,
    /// Changes who is a member.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Role::Viewer),
            "operator" => Ok(Role::Operator),
            "admin" => Ok(Role::Admin),
            _ => Err(format!("role {text:?} is none of viewer, operator, admin")),
        }
    }
}

/// A known caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// As in the credentials file; `local` where there is none.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// What a call says about its sender: travels in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    caller: Result<Caller, String>,
    /// Where the call came from.
    pub address: Option<SocketAddr>,
}

impl Identity {
    /// That of a request which came through [`Authenticator::identify`].
    pub fn of<T>(request: &Request<T>) -> Identity {
        request
            .extensions()
            .get::<Identity>()
            .cloned()
            .unwrap_or(Identity { caller: Err("the call was not authenticated".to_owned()), address: None })
    }

    /// The caller, or why they are not known.
    pub fn caller(&self) -> Result<&Caller, Status> {
        self.caller.as_ref().map_err(|problem| Reason::Unauthenticated.status(problem, &[]))
    }
}

impl Caller {
    /// Refuses a caller whose role is too low.
    pub fn require(&self, role: Role, rpc: &str) -> Result<(), Status> {
        if self.role >= role {
            return Ok(());
        }
        let text = format!("{rpc} needs role {role}, and {} is {}", self.name, self.role);
        Err(Reason::RoleTooLow.status(text, &[("role", role.to_string()), ("rpc", rpc.to_owned())]))
    }
}

/// The line of `admin.tokens_file` for whoever has this certificate (PEM); `None` if it is none.
pub fn credentials_line(name: &str, role: Role, certificate: &[u8]) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(certificate).ok()?;
    let hash: String = Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{name} {role} cert:{hash}"))
}

/// A credentials file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("credentials file {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A line makes no sense.
    #[error("credentials file {} line {line}: {problem}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a caller can show, hashed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Shown {
    Token([u8; 32]),
    Certificate([u8; 32]),
}

type Credentials = BTreeMap<Shown, Caller>;

/// Finds out who calls.
pub(crate) struct Authenticator {
    file: Option<CredentialsFile>,
}

/// Read again whenever it has changed, so that a token can be taken back while the node runs.
struct CredentialsFile {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Arc<Credentials>)>,
}

impl Authenticator {
    /// With a credentials file, or without one: then every caller is an admin.
    pub fn new(path: Option<&Path>) -> Result<Self, CredentialsError> {
        let file = path.map(CredentialsFile::open).transpose()?;
        Ok(Authenticator { file })
    }

    /// Adds the caller's [`Identity`] to a request. Whether an unknown caller matters is for the called to say: health
    /// is for everybody.
    pub fn identify(&self, mut request: Request<()>) -> Request<()> {
        let identity = Identity { caller: self.caller(&request), address: request.remote_addr() };
        request.extensions_mut().insert(identity);
        request
    }

    fn caller(&self, request: &Request<()>) -> Result<Caller, String> {
        let Some(file) = &self.file else {
            return Ok(Caller { name: "local".to_owned(), role: Role::Admin });
        };
        let credentials = file.current();
        if let Some(header) = request.metadata().get("authorization") {
            let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let token = token.ok_or("the authorization header is not `Bearer` and a token")?;
            let shown = Shown::Token(Sha256::digest(token.trim()).into());
            return credentials.get(&shown).cloned().ok_or_else(|| "the token is unknown".to_owned());
        }
        if let Some(leaf) = request.peer_certs().and_then(|chain| chain.first().cloned()) {
            let hash: [u8; 32] = Sha256::digest(&leaf).into();
            let caller = credentials.get(&Shown::Certificate(hash)).cloned();
            return caller
                .ok_or_else(|| format!("the client certificate with sha256 {} is unknown", hex(&hash)));
        }
        Err("this API wants a bearer token or a client certificate".to_owned())
    }
}

impl CredentialsFile {
    fn open(path: &Path) -> Result<Self, CredentialsError> {
        let read = Mutex::new((modified(path), Arc::new(read(path)?)));
        Ok(CredentialsFile { path: path.to_owned(), read })
    }

    fn current(&self) -> Arc<Credentials> {
        let mut held = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = modified(&self.path);
        if now != held.0 {
            // An unusable file must not lock everybody out, nor let anybody in: the last good one stands.
            match read(&self.path) {
                Ok(credentials) => held.1 = Arc::new(credentials),
                Err(e) => tracing::error!(error = %e, "credentials keep as they were"),
            }
            held.0 = now;
        }
        held.1.clone()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn read(path: &Path) -> Result<Credentials, CredentialsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CredentialsError::Read { path: path.to_owned(), error })?;
    parse(&text).map_err(|(line, problem)| CredentialsError::Line { path: path.to_owned(), line, problem })
}

/// Reads the file's text; the error is a line's number and what is wrong with it.
fn parse(text: &str) -> Result<Credentials, (usize, String)> {
    let mut found = Credentials::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let (shown, caller) = parse_line(line).map_err(|problem| (index + 1, problem))?;
        if let Some(other) = found.insert(shown, caller) {
            return Err((index + 1, format!("this credential is {}'s already", other.name)));
        }
    }
    Ok(found)
}

fn parse_line(line: &str) -> Result<(Shown, Caller), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, role, shown] = words[..] else {
        return Err("expected name, role and the sha256 of a token".to_owned());
    };
    let (kind, digits): (fn([u8; 32]) -> Shown, &str) = match shown.strip_prefix("cert:") {
        Some(digits) => (Shown::Certificate, digits),
        None => (Shown::Token, shown),
    };
    let hash = from_hex(digits).ok_or("a sha256 has 64 hexadecimal digits")?;
    Ok((kind(hash), Caller { name: name.to_owned(), role: role.parse()? }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(token: &str) -> String {
        hex(&Sha256::digest(token))
    }

    fn with_token(token: &str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }

    #[test]
    fn lines_are_name_role_and_hash() {
        let text = format!("# who\n\nalice admin {} # me\ngrafana viewer cert:{}\n", hash("a"), hash("b"));
        let found = parse(&text).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.keys().any(|k| matches!(k, Shown::Certificate(_))));
        for (bad, line) in [
            ("alice admin", 1),
            ("\nalice root 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", 2),
            ("alice admin 5e88", 1),
            (&format!("a viewer {0}\nb admin {0}", hash("x")), 2),
        ] {
            assert_eq!(parse(bad).unwrap_err().0, line, "{bad}");
        }
    }

    #[test]
    fn a_token_taken_back_is_unknown_at_once_and_a_broken_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, format!("alice operator {}\n", hash("secret"))).unwrap();
        let authenticator = Authenticator::new(Some(&path)).unwrap();
        let caller = |token: &str| authenticator.caller(&with_token(token));
        assert_eq!(caller("secret").unwrap(), Caller { name: "alice".to_owned(), role: Role::Operator });
        assert!(caller("guess").is_err());
        assert!(authenticator.caller(&Request::new(())).is_err(), "no token, no caller");

        let change = |text: String, seconds: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        change("nonsense\n".to_owned(), 1);
        assert!(caller("secret").is_ok(), "the last good file stands");
        change(format!("bob viewer {}\n", hash("other")), 2);
        assert!(caller("secret").is_err());
        assert_eq!(caller("other").unwrap().name, "bob");
    }
}
