//! Names of branches, as foreign servers know them.

use assize_model::{Key, TxnId};
use std::fmt;

/// `ASZE`: the format of our names, by which they are told from those of other transaction managers.
const FORMAT: u32 = u32::from_be_bytes(*b"ASZE");

/// What every name begins with.
const BEGINNING: &str = "assize-";
/// Hexadecimal digits of a cluster's mark, and of a server's.
const MARK_DIGITS: usize = 16;
/// Hexadecimal digits of a number.
const NUMBER_DIGITS: usize = 32;

/// Says to which cluster a branch belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark(u64);

impl Mark {
    /// The mark of the cluster whose hashes begin with this seed. It does not give the seed away.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Mark(Key::from("branches on foreign servers").hash(seed).0)
    }
}

/// The name of a branch: `'assize-CLUSTER-NUMBER','SERVER',FORMAT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Xid {
    /// Of the transaction.
    pub(crate) number: TxnId,
    global: String,
    branch: String,
}

impl Xid {
    /// The branch of this number on the server of this name.
    pub(crate) fn new(cluster: Mark, number: TxnId, server: &str) -> Self {
        let Mark(mark) = cluster;
        let global = format!("{BEGINNING}{mark:0MARK_DIGITS$x}-{:0NUMBER_DIGITS$x}", number.0);
        let branch = format!("{:0MARK_DIGITS$x}", Key::new(server.as_bytes().to_vec()).hash(0).0);
        Xid { number, global, branch }
    }

    /// Reads what XA RECOVER tells of a branch; `None` if it is not one of this cluster's.
    pub(crate) fn read(cluster: Mark, format: i64, lengths: (i64, i64), data: &[u8]) -> Option<Self> {
        let Mark(mark) = cluster;
        let beginning = format!("{BEGINNING}{mark:0MARK_DIGITS$x}-");
        let data = std::str::from_utf8(data).ok()?;
        let (global, branch) = data.split_at_checked(usize::try_from(lengths.0).ok()?)?;
        let digits = global.strip_prefix(&beginning)?;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_ours = format == i64::from(FORMAT)
            && usize::try_from(lengths.1) == Ok(branch.len())
            && (digits.len(), branch.len()) == (NUMBER_DIGITS, MARK_DIGITS)
            && is_hex(digits)
            && is_hex(branch);
        let number = TxnId::from_bits(u128::from_str_radix(digits, 16).ok()?)?;
        is_ours.then(|| Xid { number, global: global.to_owned(), branch: branch.to_owned() })
    }
}

/// As XA statements take it. It is made of letters, digits and `-`, and needs no escapes.
impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}','{}',{FORMAT}", self.global, self.branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assize_model::{DeadlineClass, FrontendEpoch, FrontendId, Timestamp};

    fn number() -> TxnId {
        TxnId::new(Timestamp::from_millis(5), DeadlineClass::Xa, FrontendId(3), FrontendEpoch(2), 17)
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let cluster = Mark::of_seed(42);
        let xid = Xid::new(cluster, number(), "legacy");
        assert!(xid.global.len() <= 64 && xid.branch.len() <= 64, "what XA allows");
        assert_ne!(xid, Xid::new(cluster, number(), "other"), "two definitions may mean one server");
        let lengths = (xid.global.len() as i64, xid.branch.len() as i64);
        let data = format!("{}{}", xid.global, xid.branch);
        let read = |format: u32, lengths, data: &str| {
            Xid::read(cluster, i64::from(format), lengths, data.as_bytes())
        };
        assert_eq!(read(FORMAT, lengths, &data), Some(xid.clone()));
        assert_eq!(xid.to_string(), format!("'{}','{}',{FORMAT}", xid.global, xid.branch));
        assert_eq!(read(FORMAT + 1, lengths, &data), None, "somebody else's format");
        assert_eq!(read(FORMAT, (lengths.0 - 1, lengths.1 + 1), &data), None);
        assert_eq!(read(FORMAT, (-1, lengths.1), &data), None);
        assert_eq!(read(FORMAT, (1000, lengths.1), &data), None);
        assert_eq!(read(FORMAT, lengths, &data.replace("assize", "asside")), None);
        assert_eq!(read(FORMAT, lengths, &data.replace('-', "+")), None);
        let other = Mark::of_seed(43);
        assert_eq!(Xid::read(other, i64::from(FORMAT), lengths, data.as_bytes()), None, "another cluster");
        assert_eq!(Xid::read(cluster, i64::from(FORMAT), lengths, &[0xff; 72]), None, "no text at all");
    }
}
