//! Where one frame ends and the next begins, in the bytes a server writes to one connection.
//!
//! socketioxide does not say what still waits in its queue. What leaves it is seen here: once as many messages were written as
//! went in, the queue is empty, and between two frames another one may be put.

use super::{WHOLE_TEXT, is_message};

/// What a connection answers first when it becomes a WebSocket.
const SWITCHES: &[u8] = b"HTTP/1.1 101 ";
const HEAD_ENDS: &[u8] = b"\r\n\r\n";
/// How long that answer may be.
const MAX_HEAD: usize = 4_096;
/// How the last frame of a WebSocket begins; the last packet of Engine.IO is `1`.
const CLOSE: u8 = 0x88;
/// The longest header of a frame a server writes, and the two letters that tell what a packet is.
const BEGINNING: usize = 10 + 2;

/// What was written to a connection so far.
#[derive(Debug, Default)]
pub(super) struct Frames {
    at: At,
    messages: u64,
}

#[derive(Debug)]
enum At {
    /// In the answer that makes it a WebSocket.
    Head(Vec<u8>),
    /// In the beginning of a frame; before it, when nothing of it is known.
    Beginning { known: [u8; BEGINNING], len: usize },
    /// In a frame of which so much is missing.
    Inside { left: u64, is_message: bool },
    /// In what is no WebSocket, or no longer.
    Elsewhere,
}

impl Default for At {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl At {
    const BETWEEN: Self = Self::Beginning { known: [0; BEGINNING], len: 0 };
}

impl Frames {
    /// Whether so many messages were written, to their end, and nothing else is half written.
    pub(super) fn are_through(&self, messages: u64) -> bool {
        self.messages == messages && matches!(self.at, At::Beginning { len: 0, .. })
    }

    /// The operating system has taken these bytes.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.at {
                At::Elsewhere => return,
                At::Head(_) => self.head(bytes),
                At::Beginning { .. } => self.beginning(bytes),
                At::Inside { .. } => self.inside(bytes),
            };
        }
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let At::Head(head) = &mut self.at else { return bytes };
        let known = head.len();
        head.extend(bytes.iter().take(MAX_HEAD - known));
        let begins = SWITCHES.iter().zip(&*head).all(|(wanted, got)| wanted == got);
        let end = head.windows(HEAD_ENDS.len()).position(|part| part == HEAD_ENDS);
        match end.map(|end| end + HEAD_ENDS.len()) {
            _ if !begins => self.at = At::Elsewhere,
            Some(end) => {
                self.at = At::BETWEEN;
                return bytes.get(end.saturating_sub(known)..).unwrap_or_default();
            }
            None if head.len() >= MAX_HEAD => self.at = At::Elsewhere,
            None => {}
        }
        &[]
    }

    fn beginning<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let At::Beginning { known, len } = &mut self.at else { return bytes };
        let mut rest = bytes;
        while let Some((byte, more)) = rest.split_first() {
            if let Some(place) = known.get_mut(*len) {
                *place = *byte;
                *len += 1;
            }
            rest = more;
            if let Some((header, payload)) = header(known.get(..*len).unwrap_or_default()) {
                let letters = known.get(header..*len).unwrap_or_default();
                let got = letters.len() as u64;
                if got == payload.min(2) {
                    let is_text = known.first() == Some(&WHOLE_TEXT);
                    self.at = match (known.first(), letters) {
                        (Some(&CLOSE), _) | (Some(&WHOLE_TEXT), [b'1']) => At::Elsewhere,
                        _ => At::Inside { left: payload - got, is_message: is_text && is_message(letters) },
                    };
                    self.end();
                    return rest;
                }
            }
        }
        rest
    }

    fn inside<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let At::Inside { left, .. } = &mut self.at else { return bytes };
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left -= here as u64;
        self.end();
        bytes.get(here..).unwrap_or_default()
    }

    /// Ends a frame of which nothing is missing.
    fn end(&mut self) {
        if let At::Inside { left: 0, is_message } = self.at {
            self.messages += u64::from(is_message);
            self.at = At::BETWEEN;
        }
    }
}

/// How long the header of a frame is, and what it is the header of, once that is known. A server masks nothing.
fn header(known: &[u8]) -> Option<(usize, u64)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    match *known.get(1)? & 0x7f {
        126 => Some((4, number(known.get(2..4)?))),
        127 => Some((10, number(known.get(2..10)?))),
        short => Some((2, u64::from(short))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    fn frame(text: &str) -> Vec<u8> {
        super::super::frame(text.as_bytes()).to_vec()
    }

    /// What is written in pieces of this many bytes.
    fn seen(bytes: &[u8], piece: usize) -> Frames {
        let mut frames = Frames::default();
        bytes.chunks(piece).for_each(|bytes| frames.see(bytes));
        frames
    }

    #[test]
    fn messages_are_counted_however_their_bytes_are_cut() {
        let long = |len| format!("42[\"{}\"]", "x".repeat(len));
        let texts = ["0{}", "2", "40", "41", &long(100), "44{}", &long(126), "431[]", &long(70_000), "", "4"];
        let bytes: Vec<u8> = HEAD.iter().copied().chain(texts.iter().flat_map(|text| frame(text))).collect();
        for piece in [1, 2, 3, 7, 1_000, 1_000_000] {
            assert!(seen(&bytes, piece).are_through(5), "in pieces of {piece}");
            let short = bytes.len() - 4;
            let mut frames = seen(&bytes[..short], piece);
            assert!(!frames.are_through(5) && !frames.are_through(4), "in pieces of {piece}, short");
            frames.see(&bytes[short..]);
            assert!(frames.are_through(5), "and then the rest");
        }
    }

    #[test]
    fn a_connection_that_was_used_for_something_else_is_none_to_put_frames_into() {
        let before = [b"HTTP/1.1 200 OK\r\n\r\n", HEAD].concat();
        for bytes in [
            before.as_slice(),
            b"HTTP/1.1 101 \r\n",
            b"",
            &[b"HTTP/1.1 101 ", vec![b'x'; 5_000].as_slice()].concat(),
        ] {
            assert!(!seen(bytes, 10).are_through(0));
        }
        assert!(seen(HEAD, 10).are_through(0));
    }

    #[test]
    fn nothing_comes_after_the_end() {
        for end in [frame("1"), vec![CLOSE, 0], vec![CLOSE, 2, 3, 232]] {
            let bytes = [HEAD, &frame("40{}"), &end].concat();
            assert!(!seen(&bytes, 1_000).are_through(1) && !seen(&bytes, 1).are_through(1));
        }
        let pong = [HEAD, &[0x8a, 2, b'4', b'2']].concat();
        assert!(seen(&pong, 1_000).are_through(0), "what a client put into a ping is no message");
    }
}
