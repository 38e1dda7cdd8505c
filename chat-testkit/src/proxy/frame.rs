//! Where a request or an answer ends.

/// What is spoken over a connection: how its bytes divide into requests and answers, which must come in the order of
/// the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Not known: whatever is read at once is one request or one answer.
    Any,
    /// RESP, versions 2 and 3. Push messages are no answers.
    Redis,
    /// Messages with four bytes of length, least significant first, which count themselves. What asks how the server is
    /// (`hello`), which a driver does when it likes, and what wants no answer, are no requests.
    Mongo,
    /// Four bytes of length, most significant first, which do not count themselves.
    Kafka,
}

impl Protocol {
    /// The length of the first whole one in these bytes.
    pub(super) fn frame(self, bytes: &[u8]) -> Option<usize> {
        let length = match self {
            Self::Any => Some(bytes.len()).filter(|length| *length > 0),
            Self::Redis => resp(bytes),
            Self::Mongo => head(bytes).map(|head| u32::from_le_bytes(head) as usize),
            Self::Kafka => head(bytes).map(|head| u32::from_be_bytes(head) as usize + 4),
        };
        length.filter(|length| *length <= bytes.len())
    }

    /// Whether this, which comes from the server, answers nothing.
    pub(super) fn is_push(self, bytes: &[u8]) -> bool {
        self == Self::Redis && bytes.first() == Some(&b'>')
    }
}

fn head(bytes: &[u8]) -> Option<[u8; 4]> {
    bytes.first_chunk().copied()
}

/// The length of the first value, if it is whole.
fn resp(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut to_go) = (0, 1_usize);
    while to_go > 0 {
        let rest = bytes.get(at..)?;
        let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let size = || std::str::from_utf8(&rest[1..line]).ok().and_then(|text| text.parse::<usize>().ok());
        to_go -= 1;
        at += line + 2;
        match rest[0] {
            // No size is "no value".
            b'$' | b'=' | b'!' => at += size().map_or(0, |size| size + 2),
            b'*' | b'~' | b'>' => to_go += size().unwrap_or(0),
            b'%' => to_go += 2 * size().unwrap_or(0),
            // What is told about an answer goes before it.
            b'|' => to_go += 2 * size().unwrap_or(0) + 1,
            _ => {}
        }
    }
    Some(at).filter(|end| *end <= bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value ends where it ends, and not before, whatever follows.
    fn ends(protocol: Protocol, value: &[u8]) {
        for end in 0..value.len() {
            assert_eq!(protocol.frame(&value[..end]), None, "{value:?} up to {end}");
        }
        for more in [&b""[..], b"+OK\r\n", b"$", &[7; 9]] {
            let frame = protocol.frame(&[value, more].concat());
            assert_eq!(frame, Some(value.len()), "{value:?}");
        }
    }

    #[test]
    fn redis_values_end_where_they_end() {
        let values = [
            "+OK\r\n",
            "-ERR no\r\n",
            ":-7\r\n",
            "$0\r\n\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "$5\r\n\r\n+OK\r\n",
            "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
            "*2\r\n*2\r\n:1\r\n*0\r\n$-1\r\n",
            "_\r\n",
            ",1.5\r\n",
            "#t\r\n",
            "(12345678901234567890\r\n",
            "=7\r\ntxt:abc\r\n",
            "!5\r\nERR a\r\n",
            "~1\r\n:1\r\n",
            "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
            "|1\r\n+ttl\r\n:9\r\n*1\r\n:1\r\n",
            "PING\r\n",
        ];
        for value in values {
            ends(Protocol::Redis, value.as_bytes());
        }
        let push = b">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n";
        ends(Protocol::Redis, push);
        assert!(Protocol::Redis.is_push(push) && !Protocol::Redis.is_push(b"+OK\r\n"));
    }

    #[test]
    fn lengths_before_the_bytes_count_themselves_or_not() {
        ends(Protocol::Mongo, &[6, 0, 0, 0, 1, 2]);
        ends(Protocol::Kafka, &[0, 0, 0, 2, 1, 2]);
    }

    #[test]
    fn what_is_not_known_is_taken_as_it_comes() {
        assert_eq!(Protocol::Any.frame(b""), None);
        assert_eq!(Protocol::Any.frame(b"abc"), Some(3));
    }
}
