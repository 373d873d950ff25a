//! Bytes that a disk can take as they lie.

/// Bytes of a block: addresses in the file and in memory, and lengths are multiples of it. No disk that is in use wants more.
pub const BLOCK: usize = 4096;

/// A buffer that begins at a multiple of [`BLOCK`] in memory. It is filled like a `Vec`, and [`Blocks::close`] rounds it up.
#[derive(Default)]
pub struct Blocks {
    /// Behind bytes that nobody looks at.
    buffer: Vec<u8>,
    /// How many of those there are.
    lead: usize,
}

impl Blocks {
    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.lead..]
    }

    /// How much that is.
    pub fn size(&self) -> usize {
        self.buffer.len() - self.lead
    }

    /// Where more can be put behind it, and only there.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Holds nothing but these bytes from now on.
    pub fn fill(&mut self, bytes: &[u8]) -> &Blocks {
        self.restart(bytes.len());
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// Holds nothing but so many zeros.
    pub fn fill_zeros(&mut self, len: usize) -> &Blocks {
        self.restart(len);
        self.buffer.resize(self.lead + len, 0);
        self
    }

    /// Fills the last block with zeros, and sees to it that the first one lies where a disk can take it.
    pub fn close(&mut self) -> &Blocks {
        self.buffer.resize(self.lead + self.size().next_multiple_of(BLOCK), 0);
        if lead_of(&self.buffer) != self.lead {
            // It has grown, and with that moved. Once it is large enough it stays.
            let grown = std::mem::take(&mut self.buffer);
            let lead = std::mem::take(&mut self.lead);
            self.restart(grown.capacity());
            self.buffer.extend_from_slice(&grown[lead..]);
        }
        self
    }

    /// Empties it; there is room for so much.
    fn restart(&mut self, len: usize) {
        self.buffer.clear();
        self.buffer.reserve(BLOCK + len.next_multiple_of(BLOCK));
        self.lead = lead_of(&self.buffer);
        self.buffer.resize(self.lead, 0);
    }
}

/// Bytes in front of the first block of a buffer.
fn lead_of(buffer: &[u8]) -> usize {
    buffer.as_ptr().align_offset(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_where_a_disk_can_take_them_however_they_have_grown() {
        let mut blocks = Blocks::default();
        for len in [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 7, 200_000, 5] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let (begin, rest) = bytes.split_at(len / 3);
            blocks.fill(begin);
            rest.chunks(1000).for_each(|chunk| blocks.end().extend_from_slice(chunk));
            assert_eq!(blocks.size(), len);
            blocks.close();
            assert!(blocks.bytes().as_ptr().addr().is_multiple_of(BLOCK));
            assert_eq!(blocks.size(), len.next_multiple_of(BLOCK));
            assert_eq!(&blocks.bytes()[..len], bytes);
            assert!(blocks.bytes()[len..].iter().all(|byte| *byte == 0));
        }
        assert!(blocks.fill_zeros(2 * BLOCK).bytes().iter().all(|byte| *byte == 0));
        assert!(blocks.bytes().as_ptr().addr().is_multiple_of(BLOCK));
    }
}
