//! Certificates of one cluster: its authority, its nodes, its operators.
//!
//! A cluster has a certificate authority of its own. A node's certificate carries the name `node-<id>.assize`, which is
//! what both ends of a connection check; it may carry names and addresses of hosts besides, for operators' clients. An
//! operator's certificate carries no such name, so it never passes for a node; its subject names the operator (CN) and
//! the role (OU).
//!
//! Keys are written readable by their owner alone, and replaced by renaming, so that a running node finds either the
//! old pair or the new one.

use assize_model::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// File names within a directory of certificates.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The authority's key: needed to issue, never by a running node.
pub const CA_KEY: &str = "ca.key";
/// How long an authority is good for unless told otherwise.
pub const CA_DAYS: u32 = 3650;
/// How long a node's or operator's certificate is good for unless told otherwise.
pub const DAYS: u32 = 825;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of a certificate's version, which one of the first version lacks.
const VERSION: u8 = 0xa0;
const OID_COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OID_ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 0x04, 0x0b];

/// A certificate could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The library would not.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Not PEM, not a certificate, not the right kind.
    #[error("{path} holds no {what}")]
    NotA {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// An operator's name that cannot stand in a subject.
    #[error("an operator's name has 1 to 64 printable characters, not `{0}`")]
    BadName(String),
}

/// What an operator may do; each role includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OperatorRole {
    /// Look.
    Viewer,
    /// Run the cluster from day to day.
    Operator,
    /// Everything.
    Admin,
}

impl OperatorRole {
    /// All of them.
    pub const ALL: [OperatorRole; 3] = [OperatorRole::Viewer, OperatorRole::Operator, OperatorRole::Admin];

    /// As written in certificates, files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            OperatorRole::Viewer => "viewer",
            OperatorRole::Operator => "operator",
            OperatorRole::Admin => "admin",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<OperatorRole> {
        OperatorRole::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Whom an operator's certificate names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operator {
    /// Who.
    pub name: String,
    /// What they may do.
    pub role: OperatorRole,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Pair {
    /// Writes both; replaces what is there. The key first: a node that looks in between finds that they do not match,
    /// keeps what it has and looks again.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), CertError> {
        write(key, self.key.as_bytes(), 0o600)?;
        write(certificate, self.certificate.as_bytes(), 0o644)
    }
}

/// A cluster's certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, good for so many days.
    pub fn new(days: u32) -> Result<Authority, CertError> {
        // The name tells the authorities of two clusters apart where an operator sees only names.
        let name = format!("assize authority {:08x}", rand::random::<u32>());
        let key = KeyPair::generate()?;
        let params = authority_params(&name, days);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority { certificate, issuer: Issuer::new(params, key) })
    }

    /// Reads the authority that [`Authority::create`] wrote.
    pub fn load(directory: &Path) -> Result<Authority, CertError> {
        let path = directory.join(CA_CERTIFICATE);
        let certificate = read(&path)?;
        let subject = CertificateDer::from_pem_slice(certificate.as_bytes())
            .ok()
            .and_then(|certificate| subject_of(&certificate));
        let Some(name) = subject.and_then(|subject| subject.common_name) else {
            return Err(CertError::NotA { path, what: "authority's certificate" });
        };
        let path = directory.join(CA_KEY);
        let key = KeyPair::from_pem(&read(&path)?)
            .map_err(|_| CertError::NotA { path, what: "authority's private key" })?;
        // Only name and key of the issuer enter what it issues.
        Ok(Authority { certificate, issuer: Issuer::new(authority_params(&name, CA_DAYS), key) })
    }

    /// Makes an authority and writes it to a directory, which has none yet.
    pub fn create(directory: &Path, days: u32) -> Result<Authority, CertError> {
        fs::create_dir_all(directory)
            .map_err(|error| CertError::File { path: directory.to_owned(), error })?;
        let authority = Authority::new(days)?;
        let key = directory.join(CA_KEY);
        // Never over another: every certificate it has issued would be worth nothing.
        create_new(&key, authority.issuer.key().serialize_pem().as_bytes())
            .map_err(|error| CertError::File { path: key, error })?;
        write(&directory.join(CA_CERTIFICATE), authority.certificate.as_bytes(), 0o644)?;
        Ok(authority)
    }

    /// Its own certificate, as PEM: what every node trusts.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A node's certificate. `hosts` are names and addresses by which operators' clients reach it, if they are to
    /// check them.
    pub fn node(&self, node: NodeId, hosts: &[String], days: u32) -> Result<Pair, CertError> {
        let names: Vec<String> = std::iter::once(node_name(node)).chain(hosts.iter().cloned()).collect();
        let mut params = leaf_params(CertificateParams::new(names)?, days);
        params.distinguished_name.push(DnType::CommonName, node_name(node));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// An operator's certificate.
    pub fn operator(&self, name: &str, role: OperatorRole, days: u32) -> Result<Pair, CertError> {
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(CertError::BadName(name.into()));
        }
        let mut params = leaf_params(CertificateParams::new(Vec::new())?, days);
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationalUnitName, role.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Result<Pair, CertError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Writes a node's certificate as `node-<id>.pem` and `node-<id>.key`; returns the two paths.
pub fn issue_node(
    directory: &Path,
    node: NodeId,
    hosts: &[String],
    days: u32,
) -> Result<(PathBuf, PathBuf), CertError> {
    let pair = Authority::load(directory)?.node(node, hosts, days)?;
    save_as(directory, &format!("node-{}", node.0), &pair)
}

/// Writes an operator's certificate as `<name>.pem` and `<name>.key`; returns the two paths.
pub fn issue_operator(
    directory: &Path,
    name: &str,
    role: OperatorRole,
    days: u32,
) -> Result<(PathBuf, PathBuf), CertError> {
    // The name becomes a file's: it must not lead out of the directory, nor pass for a node's or the authority's.
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if !plain || name.starts_with('.') || name.starts_with("node-") || name == "ca" {
        return Err(CertError::BadName(name.into()));
    }
    let pair = Authority::load(directory)?.operator(name, role, days)?;
    save_as(directory, name, &pair)
}

fn save_as(directory: &Path, name: &str, pair: &Pair) -> Result<(PathBuf, PathBuf), CertError> {
    let certificate = directory.join(format!("{name}.pem"));
    let key = directory.join(format!("{name}.key"));
    pair.save(&certificate, &key)?;
    Ok((certificate, key))
}

/// The name by which a node is known in certificates.
pub fn node_name(node: NodeId) -> String {
    format!("node-{}.assize", node.0)
}

/// The node that a certificate names; `None` if it is not one node's.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut nodes = certificate.valid_dns_names().filter_map(|name| {
        let number = name.strip_prefix("node-")?.strip_suffix(".assize")?;
        number.parse().ok().map(NodeId).filter(|node| node_name(*node) == name)
    });
    let node = nodes.next()?;
    nodes.next().is_none().then_some(node)
}

/// The operator that a certificate names; `None` if it is not one's. Says nothing about who issued it: whoever took the
/// connection has checked that.
pub fn operator_of(certificate: &CertificateDer<'_>) -> Option<Operator> {
    if node_of(certificate).is_some() {
        return None;
    }
    let subject = subject_of(certificate)?;
    let role = OperatorRole::from_name(&subject.organizational_unit?)?;
    Some(Operator { name: subject.common_name?, role })
}

/// When the certificates of a PEM file expire, in its order. What is no certificate is left out.
pub fn expiries(pem: &[u8]) -> Vec<SystemTime> {
    let found = CertificateDer::pem_slice_iter(pem).flatten();
    found.filter_map(|certificate| expiry_of(&certificate)).collect()
}

fn authority_params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, days);
    params
}

fn leaf_params(mut params: CertificateParams, days: u32) -> CertificateParams {
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, days);
    params
}

/// From yesterday, so that a clock that is behind does not refuse what was issued just now.
fn valid_for(params: &mut CertificateParams, days: u32) {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_epoch;
    params.not_before = now - DAY;
    params.not_after = now + DAY * days;
}

fn read(path: &Path) -> Result<String, CertError> {
    fs::read_to_string(path).map_err(|error| CertError::File { path: path.to_owned(), error })
}

fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Replaces a file as a whole.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let replace = || {
        // What an interrupted attempt left may have another mode.
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    replace().map_err(|error| CertError::File { path: path.to_owned(), error })
}

#[derive(Default)]
struct Subject {
    common_name: Option<String>,
    organizational_unit: Option<String>,
}

/// The parts of a certificate's subject that we use.
fn subject_of(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.subject();
    let mut subject = Subject::default();
    while !names.is_empty() {
        let mut set = take_tagged(&mut names, 0x31)?;
        while !set.is_empty() {
            let mut attribute = take_tagged(&mut set, 0x30)?;
            let oid = take_tagged(&mut attribute, 0x06)?;
            let (_, value) = take_any(&mut attribute)?;
            let value = std::str::from_utf8(value).ok().map(str::to_owned);
            match oid {
                OID_COMMON_NAME => subject.common_name = value,
                OID_ORGANIZATIONAL_UNIT => subject.organizational_unit = value,
                _ => {}
            }
        }
    }
    Some(subject)
}

/// When a certificate expires.
fn expiry_of(certificate: &[u8]) -> Option<SystemTime> {
    let mut der = certificate;
    let mut certificate = take_tagged(&mut der, SEQUENCE)?;
    let mut signed = take_tagged(&mut certificate, SEQUENCE)?;
    let (first, _) = take_any(&mut signed)?;
    if first == VERSION {
        // The serial number comes after it.
        take_any(&mut signed)?;
    }
    let (_algorithm, _issuer) = (take_any(&mut signed)?, take_any(&mut signed)?);
    let mut validity = take_tagged(&mut signed, SEQUENCE)?;
    take_any(&mut validity)?;
    let (tag, time) = take_any(&mut validity)?;
    let seconds = seconds_of(tag, std::str::from_utf8(time).ok()?)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Seconds from the Unix epoch to a time as certificates write it; `None` if it is none, or before the epoch.
fn seconds_of(tag: u8, text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z').filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        // Two digits stand for the years from 1950 to 2049.
        (UTC_TIME, 12) => {
            let year: i64 = digits[..2].parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let part = |n: usize| rest[2 * n..2 * n + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(1)?);
    let seconds = (days_to(year, month, day) * 24 + part(2)?) * 3600 + part(3)? * 60 + part(4)?;
    u64::try_from(seconds).ok()
}

/// Days from the Unix epoch to a day of the Gregorian calendar.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn take_tagged<'a>(der: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    take_any(der).filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
}

/// The next DER element: its tag and its value. Lengths of up to two bytes: no certificate is longer.
fn take_any<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let value = rest.get(..length)?;
    *der = &rest[length..];
    Some((*tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn der(pair: &Pair) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn a_node_certificate_names_one_node_and_no_operator() {
        let authority = Authority::new(1).unwrap();
        let pair = authority.node(NodeId(7), &["localhost".into(), "127.0.0.1".into()], 1).unwrap();
        assert_eq!(node_of(&der(&pair)), Some(NodeId(7)));
        assert_eq!(operator_of(&der(&pair)), None);
        let pair = authority.node(NodeId(7), &["node-8.assize".into()], 1).unwrap();
        assert_eq!(node_of(&der(&pair)), None, "two nodes are none");
        let pair = authority.operator("node-7.assize", OperatorRole::Admin, 1).unwrap();
        assert_eq!(node_of(&der(&pair)), None, "only the alternative names count");
    }

    #[test]
    fn an_operator_certificate_names_operator_and_role() {
        let authority = Authority::new(1).unwrap();
        for role in OperatorRole::ALL {
            let pair = authority.operator("Zoë", role, 1).unwrap();
            assert_eq!(operator_of(&der(&pair)), Some(Operator { name: "Zoë".into(), role }));
        }
        assert!(matches!(authority.operator("", OperatorRole::Viewer, 1), Err(CertError::BadName(_))));
    }

    #[test]
    fn files_are_as_the_command_leaves_them() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        Authority::create(directory, 10).unwrap();
        assert!(Authority::create(directory, 10).is_err(), "an authority is never replaced");
        let (certificate, key) = issue_node(directory, NodeId(3), &[], 10).unwrap();
        assert_eq!(certificate, directory.join("node-3.pem"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&key), 0o600);
        assert_eq!(mode(&directory.join(CA_KEY)), 0o600);
        issue_node(directory, NodeId(3), &[], 10).expect("a node's certificate is replaced");
        assert_eq!(mode(&key), 0o600);
        issue_operator(directory, "ada", OperatorRole::Viewer, 10).unwrap();
        for bad in ["../ada", "node-3", "ca", ".hidden", ""] {
            assert!(issue_operator(directory, bad, OperatorRole::Viewer, 10).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_certificate_says_when_it_expires() {
        let authority = Authority::new(3650).unwrap();
        let pair = authority.node(NodeId(7), &[], 30).unwrap();
        let chain = format!("{}{}", pair.certificate, authority.certificate());
        let now = SystemTime::now();
        let days = |at: &SystemTime| at.duration_since(now).unwrap().as_secs_f64() / DAY.as_secs_f64();
        let left: Vec<f64> = expiries(chain.as_bytes()).iter().map(days).collect();
        assert_eq!(left.len(), 2);
        assert!((left[0] - 30.0).abs() < 0.01 && (left[1] - 3650.0).abs() < 0.01, "{left:?}");
        assert!(expiries(b"no certificate").is_empty());
    }

    #[test]
    fn times_of_certificates_are_read() {
        let utc = |text| seconds_of(UTC_TIME, text);
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("240229235959Z"), Some(1_709_251_199));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds_of(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        for bad in ["", "Z", "240229235959", "2402292359Z", "2402292359xxZ", "500101000000Z", "é40229235959Z"]
        {
            assert_eq!(utc(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_subject_of_any_bytes_does_not_panic() {
        for bytes in [&b""[..], b"\x31", b"\x31\x05", b"\x31\x82\xff", b"\x31\x83\0\0\0"] {
            let mut rest = bytes;
            assert_eq!(take_any(&mut rest), None);
        }
    }
}
