//! Private keys that more people can read than should, and certificates that are about to expire.

use crate::config::Config;
use crate::metrics;
use assize_ports::{CERTIFICATE_SECONDS_LOW, CertificateInfo};
use assize_rpc::cert;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Between two warnings of the same certificate.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The private keys that a node is configured with.
pub struct KeyFiles {
    /// Each with whether it was told of, and not put right since.
    files: Vec<(PathBuf, bool)>,
}

impl KeyFiles {
    /// Those of a configuration, each once.
    pub fn of(config: &Config) -> KeyFiles {
        let keys = [&config.peers.tls_key, &config.admin.tls_key, &config.mysql.tls_key];
        let mut paths: Vec<PathBuf> = keys.into_iter().flatten().cloned().collect();
        paths.sort();
        paths.dedup();
        KeyFiles { files: paths.into_iter().map(|path| (path, false)).collect() }
    }

    /// Warns of each file that more can read than should: once, until it was put right and is exposed again. Files are
    /// replaced while the node runs, so this is asked now and then.
    pub fn look(&mut self) {
        for (path, was_told) in &mut self.files {
            let exposed = exposed(path);
            if let Some(mode) = exposed
                && !*was_told
            {
                let mode = format!("{mode:04o}");
                tracing::warn!(
                    path = %path.display(),
                    mode,
                    "this private key can be read by more than its owner: chmod 600, and replace it if somebody may have"
                );
            }
            *was_told = exposed.is_some();
        }
    }
}

/// The mode of a file that more can read than should.
fn exposed(path: &Path) -> Option<u32> {
    // A file that is not there is the concern of whoever reads it.
    let file = std::fs::metadata(path).ok()?;
    let mode = file.permissions().mode() & 0o7777;
    // What the kernel says of this process belongs to whom it runs as.
    let reader = std::fs::metadata("/proc/self").ok()?.uid();
    (mode & bits_of_strangers(file.uid(), reader) != 0).then_some(mode)
}

/// The bits of those who must not read a key of this owner. One that root owns is read through the group, as Kubernetes and
/// Debian hand out secrets: no node that runs as an ordinary user could read it otherwise.
fn bits_of_strangers(owner: u32, reader: u32) -> u32 {
    if owner == 0 && reader != 0 { 0o004 } else { 0o044 }
}

/// When the certificates of a node expire, for whoever asks.
#[derive(Default)]
pub struct Certificates {
    expiries: Mutex<Vec<(&'static str, SystemTime)>>,
}

impl Certificates {
    /// The one that expires first.
    pub fn first_to_expire(&self, now: SystemTime) -> Option<CertificateInfo> {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        let (setting, at) = expiries.iter().min_by_key(|(_, at)| *at)?;
        Some(CertificateInfo { setting: (*setting).to_owned(), seconds_left: seconds_left(*at, now) })
    }

    fn set(&self, expiries: Vec<(&'static str, SystemTime)>) {
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
    }
}

/// The certificates that a node is configured with.
pub struct CertificateFiles {
    /// Each with its setting, and when it was warned of last.
    files: Vec<(&'static str, PathBuf, Option<SystemTime>)>,
    found: Arc<Certificates>,
}

impl CertificateFiles {
    /// Those of a configuration. What is found is left in `found`.
    pub fn of(config: &Config, found: Arc<Certificates>) -> CertificateFiles {
        let settings = [
            (AUTHORITY, &config.peers.tls_ca),
            ("peers.tls_certificate", &config.peers.tls_certificate),
            ("admin.tls_certificate", &config.admin.tls_certificate),
            ("mysql.tls_certificate", &config.mysql.tls_certificate),
        ];
        let files = settings.into_iter().filter_map(|(setting, path)| Some((setting, path.clone()?, None)));
        CertificateFiles { files: files.collect(), found }
    }

    /// Reads them, and warns once a day of each that is about to expire. Files are replaced while the node runs, so this is
    /// asked now and then.
    pub fn look(&mut self, now: SystemTime) {
        let mut expiries = Vec::new();
        for (setting, path, warned) in &mut self.files {
            let Some(at) = expiry(setting, path) else { continue };
            expiries.push((*setting, at));
            let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            ::metrics::gauge!(metrics::PROCESS_CERTIFICATE_EXPIRES, "setting" => *setting)
                .set(since_epoch.as_secs_f64());
            let left = seconds_left(at, now);
            let is_told =
                warned.is_some_and(|told| now.duration_since(told).is_ok_and(|d| d < WARN_INTERVAL));
            if left < CERTIFICATE_SECONDS_LOW && !is_told {
                warn(setting, path, left);
                *warned = Some(now);
            }
        }
        self.found.set(expiries);
    }
}

/// The setting whose file may hold several certificates, of which one replaces another.
const AUTHORITY: &str = "peers.tls_ca";

fn warn(setting: &str, path: &Path, seconds_left: i64) {
    let (path, days) = (path.display(), seconds_left / (24 * 60 * 60));
    match seconds_left {
        ..=0 => {
            tracing::warn!(setting, %path, "this certificate has expired: issue a new one, it is read without a restart")
        }
        _ => {
            tracing::warn!(setting, %path, days, "this certificate expires soon: issue a new one, it is read without a restart")
        }
    }
}

/// When what a file holds is good no longer: a chain when its first certificate expires, authorities when their last one does.
fn expiry(setting: &str, path: &Path) -> Option<SystemTime> {
    // A file that is not there is the concern of whoever uses it.
    let expiries = cert::expiries(&std::fs::read(path).ok()?);
    match setting {
        AUTHORITY => expiries.into_iter().max(),
        _ => expiries.into_iter().min(),
    }
}

fn seconds_left(at: SystemTime, now: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match at.duration_since(now) {
        Ok(left) => seconds(left),
        Err(past) => -seconds(past.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_of_once_until_it_is_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let set = |mode| {
            std::fs::write(&path, "key").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let mut config = Config::default();
        config.admin.tls_key = Some(path.clone());
        config.peers.tls_key = Some(path.clone());
        let mut keys = KeyFiles::of(&config);
        let mut told = || {
            keys.look();
            keys.files.clone()
        };
        assert_eq!(told(), [(path.clone(), false)], "it is not there");
        set(0o600);
        assert_eq!(told(), [(path.clone(), false)]);
        for mode in [0o640, 0o604] {
            set(mode);
            assert_eq!(exposed(&path), Some(mode));
            assert_eq!(told(), [(path.clone(), true)]);
        }
        set(0o600);
        assert_eq!(told(), [(path.clone(), false)]);
    }

    #[test]
    fn a_certificate_is_told_of_once_a_day_while_it_is_about_to_expire() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let dir = tempfile::tempdir().unwrap();
        cert::Authority::create(dir.path(), 100).unwrap();
        let issue = |days| cert::issue_node(dir.path(), assize_model::NodeId(1), &[], days).unwrap().0;
        let mut config = Config::default();
        config.peers.tls_ca = Some(dir.path().join(cert::CA_CERTIFICATE));
        config.peers.tls_certificate = Some(issue(30));
        let found = Arc::<Certificates>::default();
        let mut files = CertificateFiles::of(&config, found.clone());
        let now = SystemTime::now();
        let days = |found: Option<CertificateInfo>| {
            let found = found.unwrap();
            (found.setting, (found.seconds_left + 3600) / (24 * 60 * 60))
        };
        let mut told = |now| {
            files.look(now);
            (days(found.first_to_expire(now)), files.files[1].2)
        };
        let leaf = |days| ("peers.tls_certificate".to_owned(), days);
        assert_eq!(told(now), (leaf(30), None));
        let late = now + 20 * DAY;
        assert_eq!(told(late), (leaf(10), Some(late)));
        assert_eq!(told(late + DAY / 2).1, Some(late));
        assert_eq!(told(late + 2 * DAY).1, Some(late + 2 * DAY));
        assert_eq!(told(late + 12 * DAY).0, leaf(-1));
        issue(300);
        assert_eq!(told(now).0, (AUTHORITY.to_owned(), 100));
    }

    #[test]
    fn a_key_that_root_owns_may_be_read_through_the_group_by_an_ordinary_user() {
        assert_eq!(bits_of_strangers(0, 10_001), 0o004);
        for (owner, reader) in [(10_001, 10_001), (10_002, 10_001), (0, 0), (10_001, 0)] {
            assert_eq!(bits_of_strangers(owner, reader), 0o044, "{owner} {reader}");
        }
    }
}
