//! Frames: how messages lie on a connection.
//!
//! ```text
//!   ┌────────────┬──────┬────────┬───────────────┐
//!   │ length u32 │ kind │ id u64 │    payload    │   length counts what follows it; little-endian
//!   └────────────┴──────┴────────┴───────────────┘
//! ```
//!
//! Pure: bytes in, frames out. Whatever the bytes are, the answer is a frame, "more bytes are needed", or an error.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes that a message may have at most, so that no peer can make this node hold more for one: a row as long as
/// `max_allowed_packet` lets clients send, and what surrounds it.
pub const PAYLOAD_MAX: usize = 72 << 20;
/// Bytes of a frame before its payload.
pub const HEAD: usize = 4 + ID_AND_KIND;
const ID_AND_KIND: usize = 1 + 8;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of whoever has connected: [`crate::handshake::Hello`].
    Hello = 1,
    /// The listening node agrees: [`crate::handshake::Welcome`].
    Welcome = 2,
    /// Not done, and never will be; the payload is the reason as text. Its id is the call's; 0 is the connection.
    Refusal = 3,
    /// A request.
    Call = 4,
    /// The answer to the call with the same id.
    Answer = 5,
    /// Nobody waits for the answer to this call any more.
    Cancel = 6,
    /// A message of a channel.
    Message = 7,
    /// No more messages of a channel from this end.
    End = 8,
    /// Nothing to say; the payload is the sender's cluster.
    Ping = 9,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        use Kind::*;
        [Hello, Welcome, Refusal, Call, Answer, Cancel, Message, End, Ping]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Which call it belongs to; 0 where there are none.
    pub id: u64,
    /// What it carries.
    pub payload: Bytes,
}

/// These bytes are not a frame. The connection cannot go on, because nobody knows where the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than agreed.
    #[error("a message of {length} bytes is longer than the {max} allowed")]
    TooLong {
        /// Bytes that it says it has.
        length: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// Too short for kind and id.
    #[error("a frame of {0} bytes is too short")]
    TooShort(usize),
    /// Not one of ours.
    #[error("there is no frame of kind {0}")]
    UnknownKind(u8),
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: Kind, id: u64, payload: &[u8]) {
    out.reserve(HEAD + payload.len());
    put_head(out, kind, id, payload.len());
    out.extend_from_slice(payload);
}

/// Appends what comes before a payload of so many bytes: at most [`PAYLOAD_MAX`], whoever takes messages from callers refuses
/// longer ones.
pub fn put_head(out: &mut Vec<u8>, kind: Kind, id: u64, payload: usize) {
    assert!(payload <= PAYLOAD_MAX, "longer payloads are refused before they get here");
    out.extend_from_slice(&((ID_AND_KIND + payload) as u32).to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&id.to_le_bytes());
}

/// Takes the first frame off a buffer; `None` if it is not all there yet.
pub fn take(buffer: &mut BytesMut, payload_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length < ID_AND_KIND {
        return Err(FrameError::TooShort(length));
    }
    let payload_length = length - ID_AND_KIND;
    if payload_length > payload_max {
        return Err(FrameError::TooLong { length: payload_length, max: payload_max });
    }
    // Known as soon as it is there: garbage is not waited for.
    if let Some(number) = buffer.get(4)
        && Kind::from_number(*number).is_none()
    {
        return Err(FrameError::UnknownKind(*number));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let number = buffer.get_u8();
    let kind = Kind::from_number(number).ok_or(FrameError::UnknownKind(number))?;
    let id = buffer.get_u64_le();
    Ok(Some(Frame { kind, id, payload: buffer.split_to(payload_length).freeze() }))
}

/// How many more bytes the first frame of a buffer needs, as far as that is known. At least 1.
pub fn missing(buffer: &BytesMut) -> usize {
    match buffer.first_chunk::<4>() {
        Some(length) => (4 + u32::from_le_bytes(*length) as usize).saturating_sub(buffer.len()).max(1),
        None => HEAD - buffer.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: Kind, id: u64, payload: &[u8]) -> Frame {
        Frame { kind, id, payload: Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn the_bytes_of_a_frame_stay_as_they_are() {
        let mut bytes = Vec::new();
        put(&mut bytes, Kind::Call, 0x0102, b"hi");
        assert_eq!(bytes, b"\x0b\0\0\0\x04\x02\x01\0\0\0\0\0\0hi");
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let frames =
            [frame(Kind::Call, 7, b"first"), frame(Kind::Ping, 0, b""), frame(Kind::Answer, 9, b"x")];
        let mut bytes = Vec::new();
        for frame in &frames {
            put(&mut bytes, frame.kind, frame.id, &frame.payload);
        }
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for byte in bytes {
            buffer.extend_from_slice(&[byte]);
            while let Some(frame) = take(&mut buffer, PAYLOAD_MAX).unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, frames);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_is_refused_by_its_head_alone() {
        let mut long = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert!(matches!(take(&mut long, PAYLOAD_MAX), Err(FrameError::TooLong { .. })));
        let mut short = BytesMut::from(&b"\x08\0\0\0"[..]);
        assert_eq!(take(&mut short, PAYLOAD_MAX), Err(FrameError::TooShort(8)));
        let mut unknown = BytesMut::from(&b"\x09\0\0\0\xee"[..]);
        assert_eq!(take(&mut unknown, PAYLOAD_MAX), Err(FrameError::UnknownKind(0xee)));
        let mut http = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
        assert!(matches!(take(&mut http, PAYLOAD_MAX), Err(FrameError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_taking_panic(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer, 1 << 10) {}
        }

        #[test]
        fn what_is_put_is_what_is_taken(id: u64, payload: Vec<u8>, torn in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            put(&mut bytes, Kind::Message, id, &payload);
            let mut part = BytesMut::from(&bytes[..torn.index(bytes.len())]);
            prop_assert_eq!(take(&mut part, PAYLOAD_MAX), Ok(None));
            prop_assert!(missing(&part) >= 1);
            prop_assert!(part.len() + missing(&part) <= bytes.len().max(HEAD));
            let mut whole = BytesMut::from(&bytes[..]);
            prop_assert_eq!(take(&mut whole, PAYLOAD_MAX), Ok(Some(frame(Kind::Message, id, &payload))));
        }
    }
}
