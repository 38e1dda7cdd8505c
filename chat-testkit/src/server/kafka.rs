//! One broker that speaks the Kafka protocol.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::process::{Process, Program, first_ready};
use crate::Absent;

const MISSING: &str = "the Kafka broker tansu is not installed: cargo xtask setup";

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A Kafka broker: one that was found, or one of our own that can be killed, hung and restarted.
///
/// Our own keeps everything in memory, makes topics of one partition when they are first written to, and forgets all when
/// it is killed.
#[derive(Debug)]
pub struct Kafka {
    brokers: String,
    cluster: String,
    process: Option<Process>,
}

impl Kafka {
    /// The brokers of `CHAT_TEST_KAFKA` (`host:port,host:port`), or else a spawned one. Others may use them too: keep to
    /// topics of your own.
    ///
    /// # Errors
    /// [`Absent`] when there is none, or none answers there.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn find_or_spawn() -> Result<Self, Absent> {
        let Ok(brokers) = std::env::var("CHAT_TEST_KAFKA") else { return Self::spawn() };
        let mut problem = "it names no broker".to_owned();
        for broker in brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()) {
            match cluster_of(broker) {
                Ok(cluster) => return Ok(Self { brokers: brokers.clone(), cluster, process: None }),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(Absent(format!("nothing answers at CHAT_TEST_KAFKA: {problem}")))
    }

    /// A private, empty broker on a free port, ready.
    ///
    /// # Errors
    /// [`Absent`] when it is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn spawn() -> Result<Self, Absent> {
        let spawn = |port| {
            let brokers = format!("127.0.0.1:{port}");
            let cluster = format!("test-{:016x}", rand::random::<u64>());
            let process = Some(Process::spawn(program(&brokers, &cluster))?);
            Ok(Self { brokers, cluster, process })
        };
        first_ready(spawn, Self::wait_until_ready)
    }

    /// Where it is: `host:port`, several of them behind commas.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What the cluster calls itself.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether it answers now, and is the one it was.
    pub fn answers(&self) -> bool {
        let mut brokers = self.brokers.split(',');
        brokers.any(|broker| cluster_of(broker.trim()).is_ok_and(|cluster| cluster == self.cluster))
    }

    /// Whether a spawned broker runs. A hung one does.
    ///
    /// # Panics
    /// When this broker was found.
    pub fn is_alive(&self) -> bool {
        self.process().is_alive()
    }

    /// Kills it (-9). When this returns it is gone, and everything it knew.
    ///
    /// # Panics
    /// When this broker was found.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Stops it in its tracks: connections stay, nothing answers.
    ///
    /// # Panics
    /// When this broker was found, or is not alive.
    pub fn hang(&self) {
        self.process().hang();
    }

    /// Lets a hung one go on.
    ///
    /// # Panics
    /// When this broker was found, or is not alive.
    pub fn resume(&self) {
        self.process().resume();
    }

    /// Kills it if it is alive and starts it on the same port, empty. Ready when this returns.
    ///
    /// # Panics
    /// When this broker was found, or does not start.
    pub fn restart(&self) {
        self.process().restart();
        if let Err(words) = self.wait_until_ready() {
            panic!("the broker does not start again at {}: {words}", self.brokers);
        }
    }

    /// The process of a spawned broker.
    ///
    /// # Panics
    /// When this broker was found: it is not ours.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a broker that was found is not ours: use `Kafka::spawn`")
    }

    /// Waits until our own process answers: another one may have taken the port. What it said, if it ended.
    fn wait_until_ready(&self) -> Result<(), String> {
        self.process().until_ready(|| self.answers())
    }
}

fn program(brokers: &str, cluster: &str) -> Program {
    let url = format!("tcp://{brokers}");
    let words = [
        ("--cluster-id", cluster),
        ("--listener-url", &url),
        ("--advertised-listener-url", &url),
        ("--storage-engine", "memory://tansu/"),
    ];
    let options = words.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
    Program {
        name: "tansu",
        arguments: std::iter::once("broker".to_owned()).chain(options).collect(),
        files: Vec::new(),
        missing: MISSING,
    }
}

/// What the cluster behind an address calls itself: a question for metadata (version 2, about no topic) and its answer,
/// over a plain socket.
fn cluster_of(broker: &str) -> io::Result<String> {
    const METADATA: [u8; 2] = [0, 3];
    const VERSION: [u8; 2] = [0, 2];
    const NUMBER: [u8; 4] = *b"chat";
    const NO_CLIENT: [u8; 2] = [0xff; 2];
    const NO_TOPICS: [u8; 4] = [0; 4];

    let mut socket = TcpStream::connect(broker)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let parts = [METADATA.as_slice(), &VERSION, &NUMBER, &NO_CLIENT, &NO_TOPICS];
    let question = parts.concat();
    let size = u32::try_from(question.len()).expect("a short question");
    socket.write_all(&[&size.to_be_bytes(), question.as_slice()].concat())?;

    let mut size = [0; 4];
    socket.read_exact(&mut size)?;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    let strange = || io::Error::other("no Kafka broker");
    if size > 1 << 20 {
        return Err(strange());
    }
    let mut answer = vec![0; size];
    socket.read_exact(&mut answer)?;
    read_cluster(&answer).ok_or_else(strange)
}

/// The cluster's name in such an answer: number, brokers (node, host, port, rack), then the name.
fn read_cluster(answer: &[u8]) -> Option<String> {
    let mut rest = answer.strip_prefix(b"chat")?;
    let brokers = number(&mut rest)?;
    for _ in 0..brokers {
        number(&mut rest)?;
        text(&mut rest)?;
        number(&mut rest)?;
        text(&mut rest)?;
    }
    Some(text(&mut rest)?.unwrap_or_default())
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    Some(i32::from_be_bytes(*bytes))
}

/// A text, or none where its length says so.
fn text(rest: &mut &[u8]) -> Option<Option<String>> {
    let (length, behind) = rest.split_first_chunk::<2>()?;
    *rest = behind;
    let Ok(length) = usize::try_from(i16::from_be_bytes(*length)) else { return Some(None) };
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Some(String::from_utf8(bytes.to_vec()).ok()?))
}
