//! A master and its replica under three Sentinels, whose failovers are real.

use std::time::Duration;

use parking_lot::Mutex;

use super::process::Program;
use super::redis::{Redis, RedisOptions};
use super::resp::Reply;
use crate::Absent;
use crate::wait::until_within;

const MISSING: &str = "redis-sentinel is not installed: cargo xtask setup";

/// The name the Sentinels know the master by.
const NAME: &str = "chat";

/// How long the Sentinels may take: after a stall of two seconds, a slow disk's too, one does nothing for thirty.
const DEADLINE: Duration = Duration::from_secs(240);

/// Silence a server is allowed, in ms, while no failover is meant: no stall of a busy machine is taken for a death.
const PATIENT: &str = "600000";

/// Silence a server is allowed, in ms, while a failover is meant.
const STRICT: &str = "1000";

/// One master, one replica, three Sentinels which agree by two.
#[derive(Debug)]
pub struct RedisSentinel {
    nodes: [Redis; 2],
    sentinels: Vec<Redis>,
    master: Mutex<usize>,
}

impl RedisSentinel {
    /// A private, empty group, ready: the replica is in sync, and all Sentinels know each other. Takes some seconds.
    ///
    /// # Errors
    /// [`Absent`] when `redis-server` or `redis-sentinel` is not installed.
    ///
    /// # Panics
    /// When they are installed and do not get there.
    pub fn spawn() -> Result<Self, Absent> {
        Self::spawn_with(&RedisOptions::default())
    }

    /// A group whose master and replica differ from plain servers.
    ///
    /// # Errors
    /// [`Absent`] when `redis-server` or `redis-sentinel` is not installed.
    ///
    /// # Panics
    /// When they are installed and do not get there.
    pub fn spawn_with(options: &RedisOptions) -> Result<Self, Absent> {
        let nodes = [Redis::spawn_with(options)?, Redis::spawn_with(options)?];
        nodes[1].replicate(&nodes[0]);
        let sentinel = || {
            Redis::spawn_from(&RedisOptions::default(), |port| Program {
                name: "redis-sentinel",
                arguments: vec!["sentinel.conf".into()],
                files: vec![("sentinel.conf", configuration(port, &nodes[0]))],
                missing: MISSING,
            })
        };
        let sentinels = (0..3).map(|_| sentinel()).collect::<Result<Vec<_>, _>>()?;
        let group = Self { nodes, sentinels, master: Mutex::new(0) };
        group.wait_until_watched();
        Ok(group)
    }

    /// The name the Sentinels know the master by.
    pub fn name(&self) -> &str {
        NAME
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The URLs of the Sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Redis::url).collect()
    }

    /// The master as of the last time this group looked.
    pub fn master(&self) -> &Redis {
        &self.nodes[*self.master.lock()]
    }

    /// The other one: a replica, or a master that was killed.
    pub fn other(&self) -> &Redis {
        &self.nodes[1 - *self.master.lock()]
    }

    /// Kills the master (-9) and waits for the new one.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn failover(&self) -> &Redis {
        self.master().kill();
        self.wait_for_new_master()
    }

    /// Waits until all Sentinels name the other node and it says so itself. Only meanwhile do they depose a silent master.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn wait_for_new_master(&self) -> &Redis {
        let other = self.other();
        let port = other.port().to_string();
        self.allow_silence(STRICT);
        until_within(DEADLINE, "a new master", || {
            self.sentinels.iter().all(|sentinel| {
                let named = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
                matches!(&named, Reply::List(place) if place.last().is_some_and(|named| named.text() == port))
            }) && other.command(&["ROLE"]).list()[0].text() == "master"
        });
        self.allow_silence(PATIENT);
        let mut master = self.master.lock();
        *master = 1 - *master;
        drop(master);
        self.master()
    }

    /// Restarts the one that was killed, which believes to be a master still: there are two for some seconds, as in life.
    pub fn revive(&self) {
        self.other().restart();
    }

    /// Does at once what the Sentinels do after some seconds of calm, and later the busier the machine is: makes the
    /// revived one a replica, and waits until it is in sync.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn rejoin(&self) {
        self.other().replicate(self.master());
        self.wait_until_watched();
    }

    fn allow_silence(&self, milliseconds: &str) {
        for sentinel in &self.sentinels {
            let set = ["SENTINEL", "SET", NAME, "down-after-milliseconds", milliseconds];
            assert_eq!(sentinel.command(&set).text(), "OK");
        }
    }

    fn wait_until_watched(&self) {
        until_within(DEADLINE, "the Sentinels to know everybody", || {
            self.sentinels.iter().all(|sentinel| {
                let state = fields(&sentinel.command(&["SENTINEL", "MASTER", NAME]));
                let is = |name: &str, value: &str| state.iter().any(|(n, v)| n == name && v == value);
                is("flags", "master")
                    && is("num-slaves", "1")
                    && is("num-other-sentinels", &(self.sentinels.len() - 1).to_string())
            })
        });
    }
}

/// A list of names and values.
fn fields(reply: &Reply) -> Vec<(String, String)> {
    reply.list().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}

fn configuration(port: u16, master: &Redis) -> String {
    let password = master.password().map(|password| format!("sentinel auth-pass {NAME} {password}\n"));
    format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {} 2\n{}\
         sentinel down-after-milliseconds {NAME} {PATIENT}\nsentinel failover-timeout {NAME} 5000\n",
        master.port(),
        password.unwrap_or_default(),
    )
}
