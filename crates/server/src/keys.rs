//! Private keys that more people can read than should.

use crate::config::Config;
use std::os::unix::fs::PermissionsExt;
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

    /// Warns of each file that group or others can read: once, until it was put right and is exposed again. Files are
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

/// The mode of a file that group or others can read.
fn exposed(path: &Path) -> Option<u32> {
    // A file that is not there is the concern of whoever reads it.
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o044 != 0).then_some(mode)
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
}
