//! Packets: frames of up to 16 MiB, joined when read, split when written.
//!
//! ```text
//!   ┌────────┬─────┬──────────────┐     a frame of ffffff bytes is followed by another of the same packet,
//!   │ length │ seq │ payload      │     the last one being shorter, perhaps empty
//!   │ 3      │ 1   │              │
//!   └────────┴─────┴──────────────┘
//! ```

use std::ops::Range;

/// A frame of this length is followed by another frame of the same packet.
pub(crate) const FRAME_MAX: usize = 0xff_ffff;
/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 4;
/// A buffer that grew beyond this for one large packet is given back after it.
const KEPT_CAPACITY: usize = 1 << 20;

/// What lies at the front of a [`PacketBuffer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// A whole packet; its payload is this part of [`PacketBuffer::bytes`].
    Packet {
        /// Where its payload lies.
        payload: Range<usize>,
        /// Sequence number of its last frame.
        seq: u8,
    },
    /// Not enough yet.
    Incomplete,
    /// A packet beyond the limit has gone by; nothing of it was kept.
    TooLarge {
        /// Sequence number of its last frame.
        seq: u8,
    },
    /// A frame had another sequence number than its place demands.
    OutOfOrder {
        /// The number it had.
        seq: u8,
    },
}

/// Bytes from a client, parsed in place.
#[derive(Debug)]
pub(crate) struct PacketBuffer {
    bytes: Vec<u8>,
    /// Header of the first frame of the packet at the front.
    start: usize,
    /// Header of the frame that is looked at next.
    frame: usize,
    /// Payload joined so far; it lies behind the first header.
    joined: usize,
    /// Sequence number that the next frame must have.
    seq: u8,
    /// A packet beyond the limit is being skipped: so many bytes of its current frame are still to come, and
    /// whether that frame is the last.
    skipping: Option<(usize, bool)>,
    limit: usize,
}

impl PacketBuffer {
    /// An empty buffer for packets of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        PacketBuffer { bytes: Vec::new(), start: 0, frame: 0, joined: 0, seq: 0, skipping: None, limit }
    }

    /// Allows packets of up to `limit` bytes from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next packet is the first of a command: it has sequence number 0.
    pub fn expect(&mut self, seq: u8) {
        self.seq = seq;
    }

    /// The buffer, for payload ranges.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where to append what has been read.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.frame -= self.start;
            self.start = 0;
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
                self.bytes = Vec::new();
            }
        }
        &mut self.bytes
    }

    /// Takes everything that has not been parsed yet: what follows an SSLRequest belongs to TLS.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.start);
        self.bytes.clear();
        (self.start, self.frame, self.joined) = (0, 0, 0);
        rest
    }

    /// Looks for a whole packet and steps over it. The payload stays where it is until [`Self::space`].
    pub fn next(&mut self) -> Front {
        loop {
            if let Some((remaining, last)) = self.skipping {
                let here = remaining.min(self.bytes.len() - self.frame);
                self.frame += here;
                self.start = self.frame;
                if here < remaining {
                    self.skipping = Some((remaining - here, last));
                    return Front::Incomplete;
                }
                self.skipping = None;
                if last {
                    self.joined = 0;
                    return Front::TooLarge { seq: self.seq.wrapping_sub(1) };
                }
            }
            let Some(header) = self.bytes.get(self.frame..).and_then(|b| b.first_chunk::<HEADER>()) else {
                return Front::Incomplete;
            };
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let seq = header[3];
            if seq != self.seq {
                return Front::OutOfOrder { seq };
            }
            let last = length < FRAME_MAX;
            // `joined` is kept over the limit while a packet is skipped, so that all its frames are.
            if self.joined.saturating_add(length) > self.limit {
                self.joined = usize::MAX / 2;
                self.seq = self.seq.wrapping_add(1);
                self.frame += HEADER;
                self.skipping = Some((length, last));
                continue;
            }
            let body = self.frame + HEADER;
            if self.bytes.len() - body < length {
                let missing = length - (self.bytes.len() - body);
                // Most packets are small; a large one should not grow the buffer step by step.
                self.bytes.reserve(missing.min(FRAME_MAX));
                return Front::Incomplete;
            }
            let target = self.start + HEADER + self.joined;
            if target != body {
                self.bytes.copy_within(body..body + length, target);
            }
            self.joined += length;
            self.frame = body + length;
            self.seq = self.seq.wrapping_add(1);
            if last {
                let begin = self.start + HEADER;
                let payload = begin..begin + self.joined;
                self.start = self.frame;
                self.joined = 0;
                return Front::Packet { payload, seq };
            }
        }
    }
}

/// Packets on their way to a client.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    seq: u8,
    /// Where the packet that is being written begins.
    open: usize,
}

impl Output {
    /// The next packet gets this sequence number.
    pub fn set_seq(&mut self, seq: u8) {
        self.seq = seq;
    }

    /// The sequence number that the next packet gets.
    pub fn seq(&self) -> u8 {
        self.seq
    }

    /// What has been written and not sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what has been sent.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new()
        } else {
            self.bytes.clear()
        }
        self.open = 0;
    }

    /// Begins a packet; append its payload to what this returns, then call [`Self::end`].
    pub fn begin(&mut self) -> &mut Vec<u8> {
        self.open = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        &mut self.bytes
    }

    /// Takes the payload of the packet that is being written, instead of sending it.
    pub fn take(&mut self) -> Vec<u8> {
        let payload = self.bytes.split_off(self.open + HEADER);
        self.bytes.truncate(self.open);
        payload
    }

    /// Appends `count` whole packets whose sequence numbers begin with the next one.
    pub fn append_packets(&mut self, packets: &[u8], count: usize) {
        self.bytes.extend_from_slice(packets);
        self.seq = self.seq.wrapping_add(count as u8);
    }

    /// Ends the packet.
    pub fn end(&mut self) {
        let length = self.bytes.len() - self.open - HEADER;
        if length < FRAME_MAX {
            self.patch(self.open, length);
            return;
        }
        let payload = self.bytes.split_off(self.open + HEADER);
        self.bytes.truncate(self.open);
        self.bytes.reserve(payload.len() + HEADER * (payload.len() / FRAME_MAX + 1));
        let mut rest = &payload[..];
        loop {
            let (chunk, tail) = rest.split_at(rest.len().min(FRAME_MAX));
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&[0; HEADER]);
            self.bytes.extend_from_slice(chunk);
            self.patch(at, chunk.len());
            if chunk.len() < FRAME_MAX {
                return;
            }
            rest = tail;
        }
    }

    /// Takes the packet that is being written back.
    pub fn abandon(&mut self) {
        self.bytes.truncate(self.open);
    }

    /// A packet of this payload.
    pub fn packet(&mut self, payload: &[u8]) {
        self.begin().extend_from_slice(payload);
        self.end();
    }

    fn patch(&mut self, at: usize, length: usize) {
        let header = (length as u32 | u32::from(self.seq) << 24).to_le_bytes();
        self.bytes[at..at + HEADER].copy_from_slice(&header);
        self.seq = self.seq.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(buffer: &mut PacketBuffer, input: &[u8], step: usize) -> Vec<Result<Vec<u8>, Front>> {
        let mut found = Vec::new();
        for chunk in input.chunks(step.max(1)) {
            buffer.space().extend_from_slice(chunk);
            loop {
                match buffer.next() {
                    Front::Packet { payload, .. } => {
                        found.push(Ok(buffer.bytes()[payload].to_vec()));
                        buffer.expect(0);
                    }
                    Front::Incomplete => break,
                    Front::TooLarge { seq } => {
                        found.push(Err(Front::TooLarge { seq }));
                        buffer.expect(0);
                    }
                    out_of_order => {
                        found.push(Err(out_of_order));
                        return found;
                    }
                }
            }
        }
        found
    }

    fn written(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut output = Output::default();
        for payload in payloads {
            output.set_seq(0);
            output.packet(payload);
        }
        output.bytes().to_vec()
    }

    proptest! {
        #[test]
        fn packets_come_back_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
            step in 1usize..64,
        ) {
            let mut buffer = PacketBuffer::new(1 << 20);
            let found = drain(&mut buffer, &written(&payloads), step);
            let expected: Vec<Result<Vec<u8>, Front>> = payloads.into_iter().map(Ok).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_taken_without_panic(
            input in proptest::collection::vec(any::<u8>(), 0..2000),
            step in 1usize..100,
            limit in 0usize..400,
        ) {
            drain(&mut PacketBuffer::new(limit), &input, step);
        }
    }

    #[test]
    fn packets_of_16_mib_and_more_are_split_and_joined() {
        for length in [FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 2 * FRAME_MAX, 2 * FRAME_MAX + 7] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let bytes = written(std::slice::from_ref(&payload));
            assert_eq!(bytes.len(), length + HEADER * (length / FRAME_MAX + 1));
            let mut buffer = PacketBuffer::new(64 << 20);
            let found = drain(&mut buffer, &bytes, 1_000_003);
            assert!(found == [Ok(payload)], "{length} bytes did not come back");
        }
    }

    #[test]
    fn a_packet_over_the_limit_is_skipped_and_the_next_one_read() {
        for length in [101, 5000, FRAME_MAX, FRAME_MAX + 5] {
            let bytes = written(&[vec![1; length], vec![2; 100]]);
            let found = drain(&mut PacketBuffer::new(100), &bytes, 70_001);
            let seq = (length / FRAME_MAX) as u8;
            assert_eq!(found, [Err(Front::TooLarge { seq }), Ok(vec![2; 100])]);
        }
    }

    #[test]
    fn a_wrong_sequence_number_is_told() {
        let mut buffer = PacketBuffer::new(100);
        assert_eq!(drain(&mut buffer, &[1, 0, 0, 3, 9], 9), [Err(Front::OutOfOrder { seq: 3 })]);
    }
}
