//! One server that speaks the MongoDB protocol.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::process::{Process, Program, find, free_port};
use crate::Absent;
use crate::wait::until;

const MISSING: &str = "neither mongod nor secantusd-rs is installed: cargo xtask setup";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a real `mongod` calls its set of one.
const SET: &str = "chat";

/// How clients reach it: at this very address, and without waiting long when it is gone.
const OPTIONS: &str = "directConnection=true&serverSelectionTimeoutMS=5000&heartbeatFrequencyMS=500";

/// A MongoDB server: one that was found, or one of our own that can be killed, hung and restarted.
///
/// Our own is a set of one, so it has transactions and change streams; it takes fail points, and what it acknowledged
/// survives [`kill`](Self::kill). It is a real `mongod` where one is on the `PATH`, else `secantusd-rs`, which is compatible on
/// the wire and [says so](Self::is_mongod).
#[derive(Debug)]
pub struct Mongo {
    url: String,
    address: String,
    is_mongod: bool,
    process: Option<Process>,
}

impl Mongo {
    /// The server of `CHAT_TEST_MONGO_URL`, which counts as a real `mongod`, or else a spawned one. Others may use it too:
    /// keep to databases of your own.
    ///
    /// # Errors
    /// [`Absent`] when there is none, or none answers there.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn find_or_spawn() -> Result<Self, Absent> {
        let Ok(url) = std::env::var("CHAT_TEST_MONGO_URL") else { return Self::spawn() };
        let address = address_of(&url).unwrap_or_default().to_owned();
        match hello(&address) {
            Ok(_) => Ok(Self { url, address, is_mongod: true, process: None }),
            Err(error) => Err(Absent(format!("nothing answers at CHAT_TEST_MONGO_URL: {error}"))),
        }
    }

    /// A private, empty server on a free port, ready.
    ///
    /// # Errors
    /// [`Absent`] when none is installed.
    ///
    /// # Panics
    /// When one is installed and does not start.
    pub fn spawn() -> Result<Self, Absent> {
        let is_mongod = find("mongod").is_some();
        let mut last_words = String::new();
        for _ in 0..5 {
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let program = if is_mongod { mongod(port) } else { secantus(port) };
            let process = Some(Process::spawn(program)?);
            let mongo = Self { url: url_of(&address), address, is_mongod, process };
            match mongo.wait_until_ready() {
                Ok(()) => return Ok(mongo),
                Err(words) => last_words = words,
            }
        }
        panic!("the server does not start: {last_words}");
    }

    /// Where it is, for a driver.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same by way of another address: a proxy's.
    pub fn url_at(&self, address: &str) -> String {
        self.url.replacen(&self.address, address, 1)
    }

    /// Where it is: `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is a real `mongod`, whose plans count what they examine.
    pub fn is_mongod(&self) -> bool {
        self.is_mongod
    }

    /// Whether it answers now, and takes writes.
    pub fn answers(&self) -> bool {
        hello(&self.address).unwrap_or(false)
    }

    /// Whether a spawned server runs. A hung one does.
    ///
    /// # Panics
    /// When this server was found.
    pub fn is_alive(&self) -> bool {
        self.process().is_alive()
    }

    /// Kills it (-9). When this returns it is gone.
    ///
    /// # Panics
    /// When this server was found.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Stops it in its tracks: connections stay, nothing answers.
    ///
    /// # Panics
    /// When this server was found, or is not alive.
    pub fn hang(&self) {
        self.process().hang();
    }

    /// Lets a hung one go on.
    ///
    /// # Panics
    /// When this server was found, or is not alive.
    pub fn resume(&self) {
        self.process().resume();
    }

    /// Kills it if it is alive and starts it on the same port, with its data. Ready when this returns.
    ///
    /// # Panics
    /// When this server was found, or does not start.
    pub fn restart(&self) {
        self.process().restart();
        if let Err(words) = self.wait_until_ready() {
            panic!("the server does not start again at {}: {words}", self.address);
        }
    }

    /// The process of a spawned server.
    ///
    /// # Panics
    /// When this server was found: it is not ours.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a server that was found is not ours: use `Mongo::spawn`")
    }

    /// Waits until our own process takes writes. What it said, if it ended.
    fn wait_until_ready(&self) -> Result<(), String> {
        let process = self.process();
        let mut is_ready = false;
        until("the server to be ready", || {
            let answer = hello(&self.address);
            if self.is_mongod && matches!(answer, Ok(false)) {
                // Said again it is refused, which changes nothing.
                let _ = ask(&self.address, &initiate(&self.address));
            }
            is_ready = answer.unwrap_or(false);
            is_ready || !process.is_alive()
        });
        if is_ready { Ok(()) } else { Err(process.last_words()) }
    }
}

fn mongod(port: u16) -> Program {
    let arguments = format!(
        "--port {port} --bind_ip 127.0.0.1 --dbpath . --replSet {SET} --setParameter enableTestCommands=1 \
         --wiredTigerCacheSizeGB 0.25 --quiet"
    );
    program("mongod", &arguments)
}

fn secantus(port: u16) -> Program {
    // Without the last one it forgets what it acknowledged when it is killed.
    let arguments = format!(
        "--port {port} --host 127.0.0.1 --storage-path data --cache-size 256M --log-file-max 16MB \
         --enable-test-commands --sync-on-commit"
    );
    program("secantusd-rs", &arguments)
}

fn program(name: &'static str, arguments: &str) -> Program {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Program { name, arguments, files: Vec::new(), missing: MISSING }
}

fn url_of(address: &str) -> String {
    format!("mongodb://{address}/?{OPTIONS}")
}

/// The first host of a URL.
fn address_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let hosts = rest.split(['/', '?']).next()?;
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    hosts.split(',').next()
}

/// Whether a server takes writes.
fn hello(address: &str) -> io::Result<bool> {
    let answer = ask(address, &document(&[number("hello", 1), text("$db", "admin")]))?;
    field(&answer, "isWritablePrimary")
        .map(|value| value == [1])
        .ok_or_else(|| io::Error::other("no MongoDB server"))
}

/// Makes a real `mongod` a set of one.
fn initiate(address: &str) -> Vec<u8> {
    let member = document(&[number("_id", 0), text("host", address)]);
    let members = document(&[element(3, "0", &member)]);
    let set = document(&[text("_id", SET), element(4, "members", &members)]);
    document(&[element(3, "replSetInitiate", &set), text("$db", "admin")])
}

/// Sends a command (`OP_MSG`) over a plain socket; its answer.
fn ask(address: &str, command: &[u8]) -> io::Result<Vec<u8>> {
    const OP_MSG: u32 = 2_013;
    /// Before the document: size, two ids, the operation, its flags, one section of kind 0.
    const HEADER: usize = 21;

    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let size = u32::try_from(HEADER + command.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADER + command.len());
    for word in [size, 1, 0, OP_MSG, 0] {
        message.extend(word.to_le_bytes());
    }
    message.push(0);
    message.extend(command);
    socket.write_all(&message)?;

    let mut header = [0; HEADER];
    socket.read_exact(&mut header)?;
    let (size, _) = header.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    let rest = usize::try_from(u32::from_le_bytes(*size)).ok().and_then(|size| size.checked_sub(HEADER));
    let rest = rest.filter(|rest| *rest <= 1 << 20).ok_or_else(|| io::Error::other("no MongoDB server"))?;
    let mut answer = vec![0; rest];
    socket.read_exact(&mut answer)?;
    Ok(answer)
}

fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[kind], name.as_bytes(), &[0], value].concat()
}

fn number(name: &str, value: i32) -> Vec<u8> {
    element(0x10, name, &value.to_le_bytes())
}

fn text(name: &str, value: &str) -> Vec<u8> {
    let size = u32::try_from(value.len() + 1).unwrap_or(u32::MAX).to_le_bytes();
    element(2, name, &[size.as_slice(), value.as_bytes(), &[0]].concat())
}

fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let inside = elements.concat();
    let size = u32::try_from(inside.len() + 5).unwrap_or(u32::MAX).to_le_bytes();
    [size.as_slice(), &inside, &[0]].concat()
}

/// The value of a field of a document, as bytes.
fn field<'a>(document: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut rest = document.get(4..)?;
    while let [kind, behind @ ..] = rest {
        let end = behind.iter().position(|byte| *byte == 0)?;
        let (name, value) = (behind.get(..end)?, behind.get(end + 1..)?);
        let size = || Some(usize::try_from(u32::from_le_bytes(*value.first_chunk()?)).ok()?);
        let length = match kind {
            0x0a => 0,
            0x08 => 1,
            0x10 => 4,
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x07 => 12,
            0x13 => 16,
            0x02 => 4 + size()?,
            0x03 | 0x04 => size()?,
            0x05 => 5 + size()?,
            _ => return None,
        };
        if name == wanted.as_bytes() {
            return value.get(..length);
        }
        rest = value.get(length..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_others() {
        let inner = document(&[number("a", 1)]);
        let all = document(&[
            text("t", "text"),
            element(3, "d", &inner),
            element(0x0a, "n", &[]),
            element(5, "b", &[3, 0, 0, 0, 0, 1, 2, 3]),
            element(8, "yes", &[1]),
        ]);
        assert_eq!(field(&all, "yes"), Some(&[1][..]));
        assert_eq!(field(&all, "a"), None, "not inside another one");
        assert_eq!(field(&all[..all.len() - 3], "yes"), None, "cut off");
    }

    #[test]
    fn the_first_host_of_a_url() {
        assert_eq!(address_of("mongodb://u:p@one:1,two:2/db?x=y"), Some("one:1"));
        assert_eq!(address_of("mongodb://one:1?x=y"), Some("one:1"));
        assert_eq!(address_of("nothing"), None);
    }
}
