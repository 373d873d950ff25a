//! Bytes on their way out: short pieces are copied together, long ones stay where they lie.

use bytes::Bytes;
use std::io::{self, IoSlice};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Pieces from this length on are written from where they lie: for shorter ones a copy costs less.
const LONG: usize = 2 << 10;
/// Memory for short pieces that is kept from one write to the next.
const KEPT_BYTES: usize = 4 << 20;

/// Bytes in the order in which they leave.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The short pieces, one after the other.
    short: Vec<u8>,
    /// The long ones, and how many bytes of `short` come before each.
    long: Vec<(usize, Bytes)>,
    /// Bytes of the long ones.
    long_bytes: usize,
}

impl Outgoing {
    /// How many bytes.
    pub fn len(&self) -> usize {
        self.short.len() + self.long_bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where short pieces are appended.
    pub fn short(&mut self) -> &mut Vec<u8> {
        &mut self.short
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: &Bytes) {
        if piece.len() < LONG {
            self.short.extend_from_slice(piece);
        } else {
            self.long.push((self.short.len(), piece.clone()));
            self.long_bytes += piece.len();
        }
    }

    /// Lets go of everything but some memory.
    pub fn clear(&mut self) {
        self.short.clear();
        self.short.shrink_to(KEPT_BYTES);
        self.long.clear();
        self.long_bytes = 0;
    }

    /// Writes all of it.
    pub async fn write_to(&self, io: &mut (impl AsyncWrite + Unpin + ?Sized)) -> io::Result<()> {
        if self.long.is_empty() {
            return io.write_all(&self.short).await;
        }
        let mut slices = self.slices();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let written = io.write_vectored(left).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.long.len() + 1);
        let mut put = |bytes| {
            if !<[u8]>::is_empty(bytes) {
                slices.push(IoSlice::new(bytes));
            }
        };
        let mut from = 0;
        for (to, long) in &self.long {
            put(&self.short[from..*to]);
            put(long);
            from = *to;
        }
        put(&self.short[from..]);
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    proptest! {
        #[test]
        fn pieces_leave_in_order_however_little_is_taken_at_a_time(
            lengths in prop::collection::vec(prop_oneof![0..9usize, LONG - 1..LONG + 2], 0..9),
            taken in 1..5000usize,
        ) {
            let mut outgoing = Outgoing::default();
            let mut expected = Vec::new();
            for (n, length) in lengths.into_iter().enumerate() {
                let piece = Bytes::from(vec![n as u8; length]);
                expected.extend_from_slice(&piece);
                outgoing.push(&piece);
                expected.push(0xff);
                outgoing.short().push(0xff);
            }
            prop_assert_eq!(outgoing.len(), expected.len());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let written = runtime.block_on(async {
                let (mut near, mut far) = tokio::io::duplex(taken);
                let writing = async {
                    outgoing.write_to(&mut near).await.unwrap();
                    drop(near);
                };
                let mut written = Vec::new();
                let (_, read) = tokio::join!(writing, far.read_to_end(&mut written));
                read.unwrap();
                written
            });
            prop_assert_eq!(written, expected);
            outgoing.clear();
            prop_assert!(outgoing.is_empty());
        }
    }
}
