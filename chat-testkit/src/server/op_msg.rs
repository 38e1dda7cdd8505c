//! Enough of the MongoDB protocol to look at a server without a driver: `OP_MSG` with documents of a few types.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const OP_MSG: u32 = 2_013;

/// What commands were before; the first question on a connection still is.
const OP_QUERY: u32 = 2_004;

/// Before everything: the size of the message, its id, the id it answers, what it is.
const HEADER: usize = 16;

/// Behind the header: the flags.
const FLAGS: usize = 4;

/// The message carries a checksum behind its sections.
const CHECKSUM: u32 = 1;

/// No answer is due to this message; or, of an answer, another one follows.
const MORE_TO_COME: u32 = 2;

/// A BSON document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document(Vec<u8>);

impl Document {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a number more.
    #[must_use]
    pub fn int(self, name: &str, value: i32) -> Self {
        self.with(0x10, name, &value.to_le_bytes())
    }

    /// With a text more.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let size = u32::try_from(value.len() + 1).expect("a short text").to_le_bytes();
        self.with(0x02, name, &[size.as_slice(), value.as_bytes(), &[0]].concat())
    }

    /// With a yes or no more.
    #[must_use]
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.with(0x08, name, &[u8::from(value)])
    }

    /// With a document more inside.
    #[must_use]
    pub fn document(self, name: &str, value: &Self) -> Self {
        self.with(0x03, name, &value.bytes())
    }

    /// With an array of documents more.
    #[must_use]
    pub fn documents(self, name: &str, values: &[Self]) -> Self {
        let items = values.iter().enumerate();
        let items = items.fold(Self::new(), |all, (at, value)| all.document(&at.to_string(), value));
        self.with(0x04, name, &items.bytes())
    }

    /// With an array of texts more.
    #[must_use]
    pub fn texts(self, name: &str, values: &[&str]) -> Self {
        let items = values.iter().enumerate();
        let items = items.fold(Self::new(), |all, (at, value)| all.text(&at.to_string(), value));
        self.with(0x04, name, &items.bytes())
    }

    /// Without this field.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        let mut kept = Vec::new();
        let mut rest = self.0.as_slice();
        while let Some((field, behind)) = first_field(rest) {
            if field.name != name.as_bytes() {
                kept.extend(&rest[..rest.len() - behind.len()]);
            }
            rest = behind;
        }
        Self(kept)
    }

    fn with(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend([name.as_bytes(), &[0], value].concat());
        self
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let size = u32::try_from(self.0.len() + 5).expect("a small document").to_le_bytes();
        [size.as_slice(), &self.0, &[0]].concat()
    }

    /// The whole document at the beginning of these bytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        let size = number(bytes)?;
        Some(Self(bytes.get(4..size.checked_sub(1)?)?.to_vec()))
    }

    /// A number of any type, as a whole one; a yes is 1.
    pub fn get_int(&self, name: &str) -> Option<i64> {
        let (kind, value) = self.field(name)?;
        match kind {
            0x08 => Some(i64::from(*value.first()?)),
            0x10 => Some(i64::from(i32::from_le_bytes(*value.first_chunk()?))),
            0x12 => Some(i64::from_le_bytes(*value.first_chunk()?)),
            #[expect(clippy::cast_possible_truncation, reason = "counts and codes are whole numbers")]
            0x01 => Some(f64::from_le_bytes(*value.first_chunk()?) as i64),
            _ => None,
        }
    }

    /// A text.
    pub fn get_text(&self, name: &str) -> Option<&str> {
        let (kind, value) = self.field(name)?;
        let text = value.get(4..value.len().checked_sub(1)?)?;
        std::str::from_utf8(text).ok().filter(|_| kind == 0x02)
    }

    /// A document inside, or an array, whose names are numbers.
    pub fn get_document(&self, name: &str) -> Option<Self> {
        let (kind, value) = self.field(name)?;
        Self::read(value).filter(|_| kind == 0x03 || kind == 0x04)
    }

    /// Whether there is such a field, whatever it is.
    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The type and the value of a field.
    fn field(&self, wanted: &str) -> Option<(u8, &[u8])> {
        let mut rest = self.0.as_slice();
        loop {
            let (field, behind) = first_field(rest)?;
            if field.name == wanted.as_bytes() {
                return Some((field.kind, field.value));
            }
            rest = behind;
        }
    }
}

/// One field of a document.
struct Field<'a> {
    kind: u8,
    name: &'a [u8],
    value: &'a [u8],
}

/// Of what stands inside a document: its first field, and what follows it.
fn first_field(inside: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (kind, behind) = inside.split_first()?;
    let (name, behind) = until_zero(behind)?;
    let length = match kind {
        0x06 | 0x0a | 0x7f | 0xff => 0,
        0x08 => 1,
        0x10 => 4,
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x07 => 12,
        0x13 => 16,
        0x02 => number(behind)?.checked_add(4)?,
        0x03 | 0x04 => number(behind)?,
        0x05 => number(behind)?.checked_add(5)?,
        _ => return None,
    };
    let (value, behind) = behind.split_at_checked(length)?;
    Some((Field { kind: *kind, name, value }, behind))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// The number at the beginning, least significant byte first.
fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()
}

/// What one message says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// One whole message, and nothing else.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Its number: who sent it counts.
    pub(crate) fn id(self) -> Option<usize> {
        number(self.bytes.get(4..)?)
    }

    /// The number of the message it answers.
    pub(crate) fn answers(self) -> Option<usize> {
        number(self.bytes.get(8..)?)
    }

    /// Of a request: no answer is due. Of an answer: it is not the last one, and the next one answers it.
    pub(crate) fn has_more_to_come(self) -> bool {
        self.sections().is_some_and(|(flags, _)| flags & MORE_TO_COME != 0)
    }

    /// Whether it only asks how the server is: at the beginning of every connection, then again and again on some.
    pub(crate) fn is_hello(self) -> bool {
        let is_old = self.bytes.get(12..).and_then(number) == usize::try_from(OP_QUERY).ok();
        is_old || ["hello", "isMaster"].into_iter().any(|name| self.is_command(name))
    }

    /// Whether its command is of this name.
    pub(crate) fn is_command(self, wanted: &str) -> bool {
        self.command().is_some_and(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
    }

    /// Whether its command is of this name, and for this collection.
    pub(crate) fn is_command_on(self, wanted: &str, collection: &str) -> bool {
        let value = self.command().and_then(|(_, value)| value.get(4..)?.strip_suffix(&[0]));
        self.is_command(wanted) && value == Some(collection.as_bytes())
    }

    /// The first field of its document: the name of its command, and mostly of a collection.
    fn command(self) -> Option<(&'a [u8], &'a [u8])> {
        let (field, _) = first_field(self.document()?.get(4..)?)?;
        Some((field.name, field.value))
    }

    /// Its one document that is no member of a sequence.
    fn document(self) -> Option<&'a [u8]> {
        let (_, mut sections) = self.sections()?;
        loop {
            let (kind, section) = sections.split_first()?;
            let (section, behind) = section.split_at_checked(number(section)?)?;
            if *kind == 0 {
                return Some(section);
            }
            sections = behind;
        }
    }

    fn sections(self) -> Option<(u32, &'a [u8])> {
        let is_message = number(self.bytes.get(12..)?)? == usize::try_from(OP_MSG).ok()?;
        let rest = self.bytes.get(HEADER..).filter(|_| is_message)?;
        let (flags, sections) = rest.split_first_chunk::<FLAGS>()?;
        let flags = u32::from_le_bytes(*flags);
        let end = sections.len().checked_sub(if flags & CHECKSUM == 0 { 0 } else { 4 })?;
        Some((flags, sections.get(..end)?))
    }
}

/// A command for a database, as it is sent.
pub fn encode(database: &str, command: &Document) -> Vec<u8> {
    let document = command.clone().text("$db", database).bytes();
    let size = u32::try_from(HEADER + FLAGS + 1 + document.len()).expect("a small command");
    let words = [size, 1, 0, OP_MSG, 0].map(u32::to_le_bytes).concat();
    [words.as_slice(), &[0], &document].concat()
}

/// A connection that asks and waits.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        Ok(Self { socket })
    }

    /// Sends a command and reads its answer, which may say that it failed.
    ///
    /// # Errors
    /// The connection ended, nothing came in ten seconds, or what came is no MongoDB server's.
    pub fn ask(&mut self, database: &str, command: &Document) -> io::Result<Document> {
        self.send_bytes(&encode(database, command))?;
        self.receive()
    }

    /// Sends commands which are [encoded](encode) already.
    ///
    /// # Errors
    /// The connection ended.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Reads the next answer.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub fn receive(&mut self) -> io::Result<Document> {
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "no MongoDB server");
        let mut header = [0; HEADER];
        self.socket.read_exact(&mut header)?;
        let size = number(&header).and_then(|size| size.checked_sub(HEADER)).ok_or_else(strange)?;
        if size > 48_000_000 || header[12..] != OP_MSG.to_le_bytes() {
            return Err(strange());
        }
        let mut message = header.to_vec();
        message.resize(HEADER + size, 0);
        self.socket.read_exact(&mut message[HEADER..])?;
        Message::new(&message).document().and_then(Document::read).ok_or_else(strange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_types() -> Document {
        let inner = Document::new().int("a", 1);
        Document::new()
            .text("t", "text")
            .document("d", &inner)
            .documents("l", &[inner.clone(), inner])
            .texts("names", &["one", "two"])
            .with(0x0a, "null", &[])
            .with(0x05, "b", &[3, 0, 0, 0, 0, 1, 2, 3])
            .with(0x07, "id", &[7; 12])
            .with(0x12, "long", &(-5_i64).to_le_bytes())
            .with(0x01, "double", &1.0_f64.to_le_bytes())
            .bool("yes", true)
            .int("n", -7)
    }

    #[test]
    fn fields_are_found_behind_others() {
        let all = all_types();
        assert_eq!(all.get_text("t"), Some("text"));
        let numbers = ["yes", "n", "long", "double", "null"].map(|name| all.get_int(name));
        assert_eq!(numbers, [Some(1), Some(-7), Some(-5), Some(1), None]);
        assert_eq!(all.get_document("d").unwrap().get_int("a"), Some(1));
        assert_eq!(all.get_document("l").unwrap().get_document("1").unwrap().get_int("a"), Some(1));
        assert_eq!(all.get_document("names").unwrap().get_text("1"), Some("two"));
        assert_eq!(all.get_int("a"), None, "not inside another one");
        assert!(all.has("null") && !all.has("nothing"));
        let without = all.clone().without("b");
        assert!(!without.has("b") && without.get_int("n") == Some(-7));
        assert_eq!(all.clone().without("nothing"), all);
    }

    #[test]
    fn what_is_sent_is_read_again_and_cut_off_it_is_nothing() {
        let bytes = all_types().bytes();
        assert_eq!(Document::read(&bytes), Some(all_types()));
        for end in 0..bytes.len() - 1 {
            assert_eq!(Document::read(&bytes[..end]), None, "up to {end}");
            let cut = Document(bytes.get(4..end).unwrap_or_default().to_vec());
            assert!(cut.get_int("n").is_none(), "up to {end}");
        }
    }

    #[test]
    fn a_message_names_its_command_and_its_collection() {
        let command = Document::new().text("findAndModify", "rooms").int("insert", 1);
        let mut bytes = encode("chat", &command);
        let is = |bytes: &[u8], name| Message::new(bytes).is_command(name);
        assert!(is(&bytes, "findAndModify") && is(&bytes, "findandmodify") && !is(&bytes, "insert"));
        assert!(Message::new(&bytes).is_command_on("findAndModify", "rooms"));
        assert!(!Message::new(&bytes).is_command_on("findAndModify", "room"));
        assert!(!Message::new(&bytes).has_more_to_come());

        // A sequence of documents may come first, and a checksum last.
        let sequence = [&[1, 14, 0, 0, 0], b"list\0".as_slice(), &Document::new().bytes()].concat();
        bytes.splice(HEADER + FLAGS..HEADER + FLAGS, sequence);
        bytes.extend([9; 4]);
        bytes[HEADER] = 3;
        assert!(is(&bytes, "findAndModify") && Message::new(&bytes).has_more_to_come());
        for end in 0..bytes.len() - 4 {
            assert!(!is(&bytes[..end], "findAndModify"), "up to {end}");
        }
        bytes[12..HEADER].copy_from_slice(&OP_QUERY.to_le_bytes());
        assert!(!is(&bytes, "findAndModify"), "an old query is no command");
    }

    #[test]
    fn who_asks_how_the_server_is() {
        let is_hello = |name| Message::new(&encode("admin", &Document::new().int(name, 1))).is_hello();
        assert!(is_hello("hello") && is_hello("ismaster") && !is_hello("ping"));
    }
}
