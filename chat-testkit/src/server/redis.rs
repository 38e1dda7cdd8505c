//! One Redis server.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::time::Duration;

use super::process::{Process, Program, first_ready};
use super::resp::{Connection, Reply};
use crate::Absent;
use crate::wait::until;

const MISSING: &str = "redis-server is not installed: cargo xtask setup";

/// How a spawned server differs from the plain one, which keeps nothing on disk and asks for no password.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    password: Option<String>,
    settings: Vec<(String, String)>,
}

impl RedisOptions {
    /// Keeps its data in an append-only file, so that it survives a kill and [`Redis::restart`].
    #[must_use]
    pub fn append_only(self) -> Self {
        self.set("appendonly", "yes")
    }

    /// Takes no more than so many bytes, and then refuses writes.
    #[must_use]
    pub fn max_memory(self, bytes: u64) -> Self {
        self.set("maxmemory", bytes).set("maxmemory-policy", "noeviction")
    }

    /// Asks for a password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.set("requirepass", password).set("masterauth", password)
    }

    /// Any line of `redis.conf`.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    fn arguments(&self, port: u16) -> Vec<String> {
        let plain = [
            ("port", port.to_string().as_str()),
            ("bind", "127.0.0.1"),
            ("save", ""),
            ("enable-debug-command", "local"),
            ("repl-diskless-sync-delay", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = plain.iter().chain(&self.settings);
        settings.flat_map(|(name, value)| [format!("--{name}"), value.clone()]).collect()
    }
}

/// A Redis server: one that was found, or one of our own that can be killed, hung and restarted.
///
/// Commands go over connections of their own, blocking, so they work whatever state the client under test is in.
#[derive(Debug)]
pub struct Redis {
    address: String,
    user: Option<String>,
    password: Option<String>,
    database: u32,
    process: Option<Process>,
}

impl Redis {
    /// The server of `CHAT_TEST_REDIS_URL`, or else a spawned one. Others may use it too: keep to a namespace.
    ///
    /// # Errors
    /// [`Absent`] when there is none, or none answers at that URL.
    ///
    /// # Panics
    /// When the URL is not `redis://[[user]:password@]host[:port][/database]`.
    pub fn find_or_spawn() -> Result<Self, Absent> {
        let Ok(url) = std::env::var("CHAT_TEST_REDIS_URL") else { return Self::spawn() };
        let redis =
            Self::at(&url).unwrap_or_else(|| panic!("CHAT_TEST_REDIS_URL is not the URL of a Redis: {url}"));
        match redis.try_command(&["PING"]) {
            Ok(_) => Ok(redis),
            Err(error) => Err(Absent(format!("nothing answers at CHAT_TEST_REDIS_URL: {error}"))),
        }
    }

    /// A private, empty server on a free port.
    ///
    /// # Errors
    /// [`Absent`] when `redis-server` is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn spawn() -> Result<Self, Absent> {
        Self::spawn_with(&RedisOptions::default())
    }

    /// A private, empty server which differs from the plain one.
    ///
    /// # Errors
    /// [`Absent`] when `redis-server` is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn spawn_with(options: &RedisOptions) -> Result<Self, Absent> {
        Self::spawn_from(options, |port| Program {
            name: "redis-server",
            arguments: options.arguments(port),
            files: Vec::new(),
            missing: MISSING,
        })
    }

    /// Any program that speaks the protocol, on the port it is told.
    pub(super) fn spawn_from(
        options: &RedisOptions,
        program: impl Fn(u16) -> Program,
    ) -> Result<Self, Absent> {
        let spawn = |port| {
            Ok(Self {
                address: format!("127.0.0.1:{port}"),
                user: None,
                password: options.password.clone(),
                database: 0,
                process: Some(Process::spawn(program(port))?),
            })
        };
        first_ready(spawn, Self::wait_until_ready)
    }

    fn at(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("redis://")?;
        let (login, place) =
            rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (user, password) = login.map_or(Some(("", "")), |login| login.split_once(':'))?;
        let (address, database) = place.split_once('/').unwrap_or((place, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self {
            address: if address.contains(':') { address.to_owned() } else { format!("{address}:6379") },
            user: some(user),
            password: some(password),
            database: if database.is_empty() { 0 } else { database.parse().ok()? },
            process: None,
        })
    }

    /// `redis://…`, with user, password and database.
    pub fn url(&self) -> String {
        self.url_at(&self.address)
    }

    /// The same URL at another address, such as that of a proxy in front of this server.
    pub fn url_at(&self, address: &str) -> String {
        let login = match (&self.user, &self.password) {
            (None, None) => String::new(),
            (user, password) => {
                format!("{}:{}@", user.as_deref().unwrap_or(""), password.as_deref().unwrap_or(""))
            }
        };
        format!("redis://{login}{address}/{}", self.database)
    }

    /// What it asks for, if it asks.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port of a spawned server.
    ///
    /// # Panics
    /// When the address has none.
    pub fn port(&self) -> u16 {
        let port = self.address.rsplit(':').next().and_then(|port| port.parse().ok());
        port.expect("an address ends with a port")
    }

    /// A connection of its own, signed in, for several commands.
    ///
    /// # Errors
    /// When the server does not answer or does not let us in.
    pub fn connect(&self) -> io::Result<Connection> {
        let mut connection = Connection::open(&self.address)?;
        let accepted = |reply: Reply| match reply {
            Reply::Error(words) => Err(io::Error::other(words)),
            _ => Ok(()),
        };
        if let Some(password) = &self.password {
            let user = self.user.as_deref().unwrap_or("default");
            accepted(connection.command(&["AUTH", user, password])?)?;
        }
        if self.database != 0 {
            accepted(connection.command(&["SELECT", &self.database.to_string()])?)?;
        }
        Ok(connection)
    }

    /// Any command, and its answer; an error reply is an answer.
    ///
    /// # Errors
    /// When the server does not answer or does not let us in.
    pub fn try_command<A: AsRef<[u8]>>(&self, words: &[A]) -> io::Result<Reply> {
        self.connect()?.command(words)
    }

    /// Any command, and its answer.
    ///
    /// # Panics
    /// When the server does not answer, or answers an error.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, words: &[A]) -> Reply {
        let shown =
            || words.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect::<Vec<_>>().join(" ");
        match self.try_command(words) {
            Ok(Reply::Error(words)) => panic!("{}: {words}", shown()),
            Ok(reply) => reply,
            Err(error) => panic!("{} at {}: {error}", shown(), self.address),
        }
    }

    /// Makes it a replica of another server, in sync when this returns.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn replicate(&self, master: &Self) {
        self.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        until("a replica in sync", || self.info("master_link_status").as_deref() == Some("up"));
    }

    /// A field of `INFO`.
    ///
    /// # Panics
    /// When the server does not answer.
    #[track_caller]
    pub fn info(&self, field: &str) -> Option<String> {
        field_of(&self.command(&["INFO", "everything"]), field)
    }

    /// How often each command was called since the server started or [`reset_commandstats`](Self::reset_commandstats):
    /// lower-case names, `client|kill` for subcommands. Calls inside scripts count, and so do those of this very type.
    ///
    /// # Panics
    /// When the server does not answer.
    #[track_caller]
    pub fn commandstats(&self) -> BTreeMap<String, u64> {
        parse_commandstats(&self.command(&["INFO", "commandstats"]).text())
    }

    /// Counts from zero again (`CONFIG RESETSTAT`).
    ///
    /// # Panics
    /// When the server does not answer.
    #[track_caller]
    pub fn reset_commandstats(&self) {
        self.command(&["CONFIG", "RESETSTAT"]);
    }

    /// What `work` answers, and how often it called each command: of everybody on this server, so it should be alone.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn counting<T>(&self, work: impl Future<Output = T>) -> (T, BTreeMap<String, u64>) {
        let mut connection = self.connect().unwrap();
        connection.command(&["CONFIG", "RESETSTAT"]).unwrap();
        let outcome = work.await;
        let mut calls = parse_commandstats(&connection.command(&["INFO", "commandstats"]).unwrap().text());
        calls.remove("config|resetstat");
        (outcome, calls)
    }

    /// Makes it busy for so long with nothing at all (`DEBUG SLEEP`), beginning at once; does not wait for the end.
    /// Unlike [`hang`](Self::hang), it ends by itself.
    ///
    /// # Panics
    /// When the server does not take commands.
    pub fn stall(&self, time: Duration) {
        let seconds = time.as_secs_f64().to_string();
        self.connect().unwrap().send(&["DEBUG", "SLEEP", &seconds]).unwrap();
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

    /// Kills it if it is alive and starts it on the same port: empty, or with its data if it is
    /// [`append_only`](RedisOptions::append_only). Ready when this returns.
    ///
    /// # Panics
    /// When this server was found, or does not start.
    pub fn restart(&self) {
        self.process().restart();
        self.ready_again();
    }

    /// As [`restart`](Self::restart), and empty in any case.
    ///
    /// # Panics
    /// When this server was found, or does not start.
    pub fn restart_empty(&self) {
        self.process().restart_empty();
        self.ready_again();
    }

    /// The process of a spawned server.
    ///
    /// # Panics
    /// When this server was found: it is not ours.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a server that was found is not ours: use `Redis::spawn`")
    }

    fn ready_again(&self) {
        if let Err(words) = self.wait_until_ready() {
            panic!("redis-server does not start again at {}: {words}", self.address);
        }
    }

    /// Waits until our own process answers: another one may have taken the port. What it said, if it ended.
    fn wait_until_ready(&self) -> Result<(), String> {
        let process = self.process();
        let id = Some(process.id().to_string());
        process.until_ready(|| {
            let info = || self.try_command(&["INFO", "server"]).ok();
            self.try_command(&["PING"]).is_ok_and(|reply| !reply.is_error())
                && info().and_then(|info| field_of(&info, "process_id")) == id
        })
    }
}

fn field_of(info: &Reply, field: &str) -> Option<String> {
    let Reply::Bytes(info) = info else { return None };
    let info = String::from_utf8_lossy(info);
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
}

fn parse_commandstats(info: &str) -> BTreeMap<String, u64> {
    let calls = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(calls).collect()
}
