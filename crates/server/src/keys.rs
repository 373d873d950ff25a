//! Private keys that more people can read than should.

use crate::config::Config;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
    fn a_key_that_root_owns_may_be_read_through_the_group_by_an_ordinary_user() {
        assert_eq!(bits_of_strangers(0, 10_001), 0o004);
        for (owner, reader) in [(10_001, 10_001), (10_002, 10_001), (0, 0), (10_001, 0)] {
            assert_eq!(bits_of_strangers(owner, reader), 0o044, "{owner} {reader}");
        }
    }
}
