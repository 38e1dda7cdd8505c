//! The protocol of Redis, as little of it as tests need: a blocking connection, and replies.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take for an answer before it counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, such as `OK`.
    Status(String),
    /// An error, its code first.
    Error(String),
    /// A number.
    Int(i64),
    /// A value.
    Bytes(Vec<u8>),
    /// No value.
    Nil,
    /// Several replies.
    List(Vec<Reply>),
}

impl Reply {
    /// A status or a value as text.
    ///
    /// # Panics
    /// When it is something else.
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) => text.clone(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?} is no text"),
        }
    }

    /// A number.
    ///
    /// # Panics
    /// When it is something else.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    /// Several replies.
    ///
    /// # Panics
    /// When it is something else.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(replies) => replies,
            other => panic!("{other:?} is no list"),
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) | Self::Error(text) => f.write_str(text),
            Self::Int(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Nil => f.write_str("(nil)"),
            Self::List(replies) => f.debug_list().entries(replies).finish(),
        }
    }
}

/// A blocking connection of its own.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<TcpStream>,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Of the socket.
    pub fn open(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket: BufReader::new(socket) })
    }

    /// Sends a command and reads its answer; an error reply is an answer.
    ///
    /// # Errors
    /// Of the socket; after ten seconds without an answer; when the answer is none.
    pub fn command<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Reply> {
        self.send(words)?;
        self.receive()
    }

    /// Sends a command only.
    ///
    /// # Errors
    /// Of the socket.
    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<()> {
        self.send_bytes(&encode(words))
    }

    /// Sends bytes as they are, such as several commands at once.
    ///
    /// # Errors
    /// Of the socket.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// Of the socket; after ten seconds without an answer; when the answer is none.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| nonsense(&line))?;
        Ok(match kind {
            "+" => Reply::Status(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number(rest)?),
            "$" => match usize::try_from(number(rest)?) {
                Ok(length) => Reply::Bytes(self.bytes(length)?),
                Err(_) => Reply::Nil,
            },
            "*" => match usize::try_from(number(rest)?) {
                Ok(length) => Reply::List((0..length).map(|_| self.receive()).collect::<io::Result<_>>()?),
                Err(_) => Reply::Nil,
            },
            _ => return Err(nonsense(&line)),
        })
    }

    /// Reads one answer if it begins within this time. Only where nothing is expected is this a test's business.
    ///
    /// # Errors
    /// Of the socket; when the answer is none.
    pub fn receive_within(&mut self, time: Duration) -> io::Result<Option<Reply>> {
        self.socket.get_ref().set_read_timeout(Some(time))?;
        let begun = self.socket.fill_buf().map(|_| ());
        self.socket.get_ref().set_read_timeout(Some(PATIENCE))?;
        match begun {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => self.receive().map(Some),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.socket.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(line)
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.socket.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A command as it goes over the wire.
pub fn encode<A: AsRef<[u8]>>(words: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| nonsense(text))
}

fn nonsense(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not an answer of Redis: {line:?}"))
}
