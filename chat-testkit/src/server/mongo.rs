//! One server that speaks the MongoDB protocol.

use std::io;
use std::time::Duration;

use super::op_msg::{Connection, Document};
use super::process::{Process, Program, find, first_ready};
use crate::Absent;

const MISSING: &str = "neither mongod nor secantusd-rs is installed: cargo xtask setup";

/// How clients reach our own: at this very address, and without waiting long when it is gone.
const OPTIONS: &str = "directConnection=true&serverSelectionTimeoutMS=5000&heartbeatFrequencyMS=500";

/// What a real `mongod` calls its set of one.
const SET: &str = "chat";

/// Which port a URL means that names none.
const PORT: &str = "27017";

/// A MongoDB server: one that was found, or one of our own that can be killed, hung and restarted.
///
/// Our own is a set of one, so it has transactions and change streams; it takes [fail points](FailPoint), asks for no
/// password, and what it acknowledged survives [`kill`](Self::kill). It is a real `mongod` where one is on the `PATH`,
/// else `secantusd-rs`, which is compatible on the wire and [says so](Self::is_mongod).
#[derive(Debug)]
pub struct Mongo {
    url: String,
    address: String,
    is_mongod: bool,
    process: Option<Process>,
}

impl Mongo {
    /// The server of `CHAT_TEST_MONGO_URL`, or else a spawned one. Others may use it too: keep to databases of your own
    /// ([`fresh_database`]).
    ///
    /// # Errors
    /// [`Absent`] when there is none, or none answers there without TLS.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn find_or_spawn() -> Result<Self, Absent> {
        let Ok(url) = std::env::var("CHAT_TEST_MONGO_URL") else { return Self::spawn() };
        let address = address_of(&url).unwrap_or_default();
        let found = hello(&address).and_then(|_| is_mongod(&address));
        match found {
            Ok(is_mongod) => Ok(Self { url, address, is_mongod, process: None }),
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
        let spawn = |port| {
            let address = format!("127.0.0.1:{port}");
            let program = if is_mongod { mongod(port) } else { secantus(port) };
            let process = Some(Process::spawn(program)?);
            Ok(Self { url: format!("mongodb://{address}/?{OPTIONS}"), address, is_mongod, process })
        };
        first_ready(spawn, Self::wait_until_ready)
    }

    /// Where it is, for a driver.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same by way of another address: a proxy's. A client goes there and nowhere else with `directConnection=true`,
    /// which the URL of a spawned server has.
    ///
    /// # Panics
    /// When the URL of a server that was found has no host.
    pub fn url_at(&self, address: &str) -> String {
        let hosts = hosts_of(&self.url).expect("a URL with a host");
        let start = self.url.len() - hosts.behind.len() - hosts.hosts.len();
        format!("{}{address}{}", &self.url[..start], hosts.behind)
    }

    /// Where it is: `host:port`. Of several, the first.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is a real `mongod`, so that the plans it explains count what they examine.
    pub fn is_mongod(&self) -> bool {
        self.is_mongod
    }

    /// Whether it answers now, and takes writes.
    pub fn answers(&self) -> bool {
        hello(&self.address).unwrap_or(false)
    }

    /// Runs a command over a connection of its own, whatever state the client under test is in.
    ///
    /// # Panics
    /// When it does not answer, or the command fails. A server that was found may ask for a password, which is not given.
    #[track_caller]
    pub fn command(&self, database: &str, command: &Document) -> Document {
        match self.try_command(database, command) {
            Ok(answer) if answer.get_int("ok") == Some(1) => answer,
            Ok(answer) => panic!("{}: {}", self.address, answer.get_text("errmsg").unwrap_or("no reason")),
            Err(error) => panic!("{}: {error}", self.address),
        }
    }

    /// As [`command`](Self::command); the answer may say that it failed.
    ///
    /// # Errors
    /// It does not answer.
    pub fn try_command(&self, database: &str, command: &Document) -> io::Result<Document> {
        Connection::open(&self.address)?.ask(database, command)
    }

    /// Makes commands fail from now on, as this fail point says. It replaces the one before.
    ///
    /// # Panics
    /// When the server refuses: one that was found may not take fail points.
    #[track_caller]
    pub fn fail(&self, point: &FailPoint) {
        self.command("admin", &point.document());
    }

    /// Ends what [`fail`](Self::fail) began.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn heal(&self) {
        self.command("admin", &Document::new().text("configureFailPoint", "failCommand").text("mode", "off"));
    }

    /// Removes a database and everything in it.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn drop_database(&self, database: &str) {
        self.command(database, &Document::new().int("dropDatabase", 1));
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

    /// Stops it in its tracks: connections stay, new ones are accepted by the system, nothing answers.
    ///
    /// # Panics
    /// When this server was found, or is not alive.
    pub fn hang(&self) {
        self.process().hang();
    }

    /// Lets a hung one go on. A `mongod` keeps its connections; `secantusd-rs` ends those that waited for a request, and
    /// answers what was sent on new ones. Where connections must live on, let a proxy hang instead.
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

    /// Waits until our own process takes writes: another one may have taken the port. What it said, if it ended.
    fn wait_until_ready(&self) -> Result<(), String> {
        self.process().until_ready(|| {
            let takes_writes = hello(&self.address);
            if self.is_mongod && matches!(takes_writes, Ok(false)) && self.is_ours() {
                // Said again it is refused, which changes nothing.
                let _ = self.try_command("admin", &initiate(&self.address));
            }
            takes_writes.unwrap_or(false) && self.is_ours()
        })
    }

    /// Whether the one that answers is our own process.
    fn is_ours(&self) -> bool {
        let status = self.try_command("admin", &Document::new().int("serverStatus", 1));
        status.is_ok_and(|status| status.get_int("pid") == Some(i64::from(self.process().id())))
    }
}

/// A name for a database which no other test uses, for servers that are shared. As good as a trial's
/// [`Namespace`](crate::Namespace), which is one too.
pub fn fresh_database() -> String {
    format!("t{:016x}", rand::random::<u64>())
}

/// Commands a server shall fail, and how.
///
/// ```no_run
/// # fn example(mongo: &chat_testkit::server::Mongo) {
/// use chat_testkit::server::{Failure, FailPoint};
///
/// // The next two updates are refused: not the primary any more.
/// mongo.fail(&FailPoint::new(&["update"], Failure::Error(10_107)).times(2));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FailPoint {
    mode: Document,
    data: Document,
}

/// How a command fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It is not executed, and answered with this code.
    Error(i32),
    /// It is executed, and answered with this code for its write concern: how far the write went is not known.
    WriteConcern(i32),
    /// It is not executed, and its connection ends.
    Close,
    /// It is executed after so long.
    Late(Duration),
}

impl FailPoint {
    /// The next command of one of these names fails like this.
    pub fn new(commands: &[&str], failure: Failure) -> Self {
        let data = Document::new().texts("failCommands", commands);
        let data = match failure {
            Failure::Error(code) => data.int("errorCode", code),
            Failure::WriteConcern(code) => {
                let error = Document::new().int("code", code).text("errmsg", "made to fail");
                data.document("writeConcernError", &error)
            }
            Failure::Close => data.bool("closeConnection", true),
            Failure::Late(time) => {
                let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
                data.bool("blockConnection", true).int("blockTimeMS", time)
            }
        };
        Self { mode: Document::new().int("times", 1), data }
    }

    /// So many of them, instead of one.
    #[must_use]
    pub fn times(mut self, times: i32) -> Self {
        self.mode = Document::new().int("times", times);
        self
    }

    /// All of them, until [`Mongo::heal`], but not before so many have passed.
    #[must_use]
    pub fn after(mut self, passed: i32) -> Self {
        self.mode = Document::new().int("skip", passed);
        self
    }

    /// With these labels in the answer, and none that the server would have added.
    #[must_use]
    pub fn labels(mut self, labels: &[&str]) -> Self {
        self.data = self.data.without("errorLabels").texts("errorLabels", labels);
        self
    }

    /// Only commands of clients with this `appName`: others may share the server.
    #[must_use]
    pub fn of_app(mut self, name: &str) -> Self {
        self.data = self.data.without("appName").text("appName", name);
        self
    }

    fn document(&self) -> Document {
        let point = Document::new().text("configureFailPoint", "failCommand");
        point.document("mode", &self.mode).document("data", &self.data)
    }
}

fn mongod(port: u16) -> Program {
    let arguments = format!(
        "--port {port} --bind_ip 127.0.0.1 --nounixsocket --dbpath . --replSet {SET} --quiet \
         --wiredTigerCacheSizeGB 0.25 --setParameter enableTestCommands=1 \
         --setParameter diagnosticDataCollectionEnabled=false"
    );
    program("mongod", &arguments, Vec::new())
}

fn secantus(port: u16) -> Program {
    // The configuration is empty, or it would take one of the user's. Without the last one it forgets what it
    // acknowledged when it is killed.
    let arguments = format!(
        "--config none.toml --port {port} --host 127.0.0.1 --storage-path data --cache-size 256M \
         --log-file-max 16MB --enable-test-commands --sync-on-commit"
    );
    program("secantusd-rs", &arguments, vec![("none.toml", String::new())])
}

fn program(name: &'static str, arguments: &str, files: Vec<(&'static str, String)>) -> Program {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Program { name, arguments, files, missing: MISSING }
}

/// The hosts of a URL, and what is behind them.
struct Hosts<'a> {
    hosts: &'a str,
    behind: &'a str,
}

fn hosts_of(url: &str) -> Option<Hosts<'_>> {
    let (_, rest) = url.split_once("://")?;
    let (before, _) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let hosts = before.rsplit_once('@').map_or(before, |(_, hosts)| hosts);
    Some(Hosts { hosts, behind: &rest[before.len()..] }).filter(|found| !found.hosts.is_empty())
}

/// The first host of a URL, with its port.
fn address_of(url: &str) -> Option<String> {
    let host = hosts_of(url)?.hosts.split(',').next()?;
    // The colons of an address of version 6 are in brackets.
    let has_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    Some(if has_port { host.to_owned() } else { format!("{host}:{PORT}") })
}

/// Whether a server takes writes.
fn hello(address: &str) -> io::Result<bool> {
    let answer = Connection::open(address)?.ask("admin", &Document::new().int("hello", 1))?;
    let takes_writes = answer.get_int("isWritablePrimary").map(|yes| yes == 1);
    takes_writes.ok_or_else(|| io::Error::other("no MongoDB server"))
}

/// Whether a server is a real one. The other one says that it is not; a real one may keep to itself what it is.
fn is_mongod(address: &str) -> io::Result<bool> {
    let answer = Connection::open(address)?.ask("admin", &Document::new().int("buildInfo", 1))?;
    Ok(!answer.has("secantusVersion"))
}

/// Makes a real `mongod` a set of one.
fn initiate(address: &str) -> Document {
    let member = Document::new().int("_id", 0).text("host", address);
    let set = Document::new().text("_id", SET).documents("members", &[member]);
    Document::new().document("replSetInitiate", &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_a_url() {
        let address = |url| address_of(url);
        assert_eq!(address("mongodb://u:p@one:1,two:2/db?x=y").as_deref(), Some("one:1"));
        assert_eq!(address("mongodb://one:1?x=y@z").as_deref(), Some("one:1"));
        assert_eq!(address("mongodb://one").as_deref(), Some("one:27017"));
        assert_eq!(address("mongodb://[::1]/").as_deref(), Some("[::1]:27017"));
        assert_eq!(address("mongodb://[::1]:5").as_deref(), Some("[::1]:5"));
        assert_eq!(address("nothing"), None);
        assert_eq!(address("mongodb://"), None);
    }

    #[test]
    fn another_address_in_the_same_url() {
        let url = |url: &str| {
            Mongo { url: url.to_owned(), address: String::new(), is_mongod: false, process: None }
                .url_at("proxy:9")
        };
        assert_eq!(url("mongodb://u:p@one:1,two:2/db?x=y"), "mongodb://u:p@proxy:9/db?x=y");
        assert_eq!(url("mongodb://one"), "mongodb://proxy:9");
        assert_eq!(url("mongodb://one?x=one"), "mongodb://proxy:9?x=one");
    }
}
