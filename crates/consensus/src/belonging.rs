//! Which cluster the directory of a node belongs to, known before a word is said to anybody.
//!
//! The state says it too, but only once what was committed has been applied again; and a node that has not said which cluster
//! it belongs to is talked to by all. After a recovery from lost quorum that would be fatal: a voter of before would speak to
//! the cluster that has gone on without it.

use crate::fs::{FileSystem, read_all, write_atomically};
use assize_codec::{Put, Reader, envelope};
use std::io;

const NAME: &str = "cluster";
const TAG: [u8; 4] = *b"ascl";
const VERSION: u16 = 1;

/// Which cluster a directory belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Belonging {
    /// The cluster's number.
    pub cluster: u128,
    /// How often the cluster has been recovered under a new number. The higher one is right.
    pub recoveries: u32,
}

impl Belonging {
    /// What the directory says; `None` if it has not been in a cluster yet, or was written by a release that did not say.
    pub fn read(fs: &dyn FileSystem) -> io::Result<Option<Belonging>> {
        if !fs.list()?.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let bytes = read_all(fs, NAME)?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{NAME}: {error}"));
        let (_, body) = envelope::open(&bytes, TAG, VERSION).map_err(invalid)?;
        let mut reader = Reader::new(body);
        let read = (|| {
            let belonging = Belonging { cluster: reader.u128()?, recoveries: reader.u32()? };
            reader.finish()?;
            Ok(belonging)
        })();
        read.map(Some).map_err(invalid)
    }

    /// Makes the directory say so, durably.
    pub fn write(self, fs: &dyn FileSystem) -> io::Result<()> {
        let mut body = Vec::new();
        body.put_u128(self.cluster);
        body.put_u32(self.recoveries);
        write_atomically(fs, NAME, &envelope::seal(TAG, VERSION, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Memory;
    use assize_codec::samples::Samples;

    #[test]
    fn the_bytes_of_the_file_are_those_of_version_one() {
        let fs = Memory::crashless();
        assert_eq!(Belonging::read(&fs).unwrap(), None);
        let belonging = Belonging { cluster: 7 << 64 | 9, recoveries: 2 };
        belonging.write(&fs).unwrap();
        assert_eq!(Belonging::read(&fs).unwrap(), Some(belonging));
        let mut samples = Samples::default();
        samples.add("cluster", &read_all(&fs, NAME).unwrap());
        samples.are(include_str!("samples/cluster_v1.hex"));
    }
}
