//! Where Redis is, and how to talk to it: by URL, by environment, or field by field.

mod env;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Clock;
use chat_core::config::{Env, Secret};
use chat_core::error::{Code, Error, Result};

use crate::connection::{Dial, Timing, servers};
use crate::keys::KeySpace;

/// What stands behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// One server: `redis://host:port/db`, or `rediss://` with TLS.
    Single(Node),
    /// One server on this machine, by its socket: `redis+unix:///run/redis.sock?db=0`.
    Unix(PathBuf),
    /// The server that these sentinels call the master of `master`:
    /// `redis+sentinel://host:port,host:port/master/db`. They are asked all at once, whenever a connection is made.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Node>,
        /// What they call the group of servers.
        master: String,
    },
    /// A cluster, known by some of its nodes: `redis+cluster://host:port,host:port`.
    Cluster(Vec<Node>),
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[Node]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::Single(node) => write!(f, "{node}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Sentinel { sentinels, master } => write!(f, "sentinel:{}/{master}", list(sentinels)),
            Self::Cluster(nodes) => write!(f, "cluster:{}", list(nodes)),
        }
    }
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Its name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which servers to trust, and who we are. A server's name and certificate are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The certificates to trust, as a PEM file, instead of those of the system: for servers that sign their own.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, as PEM files, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Which addresses of a host name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Where Redis is and how to talk to it; by URL, by environment or field by field.
///
/// ```
/// use chat_redis::{RedisConfig, config::Topology};
///
/// let config = RedisConfig::from_url("redis+sentinel://:secret@10.0.0.1:26379,10.0.0.2:26379/chat")?;
/// assert!(matches!(config.topology, Topology::Sentinel { ref master, .. } if master == "chat"));
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<_, chat_core::error::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// What the service calls itself: seed 001 names one per service. `chat` by default.
    pub name: String,
    /// Where.
    pub topology: Topology,
    /// Whether to use TLS, and how.
    pub tls: Option<Tls>,
    /// Whom to sign in as.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// Whom to sign in as with the sentinels, which have users of their own.
    pub sentinel_username: Option<String>,
    /// With what.
    pub sentinel_password: Option<Secret>,
    /// Which database; zero on a cluster.
    pub db: u16,
    /// Which addresses of a host name to use; any by default.
    pub family: Option<Family>,
    /// After how long without traffic the system asks whether the other side is still there; `None` for never. 15 s by
    /// default.
    pub keep_alive: Option<Duration>,
    /// How many attempts [`RedisService::connect`](crate::RedisService::connect) makes before it reports. As many as
    /// [`Timing::connect`] allows by default. It does not bound what comes later: a service reconnects for ever.
    pub connect_attempts: Option<u32>,
    /// How many connections of one's own, for blocking reads, there may be to one server. 64 by default.
    pub max_dedicated: usize,
    /// How long anything may take.
    pub timing: Timing,
    /// Where everything is kept.
    pub keys: KeySpace,
    /// Overrides the server's time, for tests.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Default for RedisConfig {
    /// `redis://localhost:6379/0`
    fn default() -> Self {
        Self {
            name: "chat".to_owned(),
            topology: Topology::Single(Node { host: "localhost".to_owned(), port: 6379 }),
            tls: None,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            db: 0,
            family: None,
            keep_alive: Some(Duration::from_secs(15)),
            connect_attempts: None,
            max_dedicated: 64,
            timing: Timing::default(),
            keys: KeySpace::default(),
            clock: None,
        }
    }
}

impl PartialEq for RedisConfig {
    /// Whether services made of them would be the same; of clocks, only whether they are the very same one.
    fn eq(&self, other: &Self) -> bool {
        let clock = match (&self.clock, &other.clock) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let Self { name, topology, tls, username, password, sentinel_username, sentinel_password, .. } = self;
        let Self { db, family, keep_alive, connect_attempts, max_dedicated, timing, keys, .. } = self;
        clock
            && (name, topology, tls) == (&other.name, &other.topology, &other.tls)
            && (username, password) == (&other.username, &other.password)
            && (sentinel_username, sentinel_password) == (&other.sentinel_username, &other.sentinel_password)
            && (db, family, keep_alive) == (&other.db, &other.family, &other.keep_alive)
            && (connect_attempts, max_dedicated) == (&other.connect_attempts, &other.max_dedicated)
            && (timing, keys) == (&other.timing, &other.keys)
    }
}

impl RedisConfig {
    /// Reads a URL:
    ///
    /// | URL | what |
    /// |---|---|
    /// | `redis://user:password@host:port/db` | one server |
    /// | `redis+unix:///path/to/socket?db=0` | one server on this machine |
    /// | `redis+sentinel://host:port,host:port/master/db` | the master of a group |
    /// | `redis+cluster://host:port,host:port` | a cluster |
    ///
    /// With `rediss` instead of `redis`, TLS is used. User and password are for Redis itself; what is special in a URL
    /// (`@`, `/`, `?`, `#`, `%`) stands percent-encoded in them.
    ///
    /// Parameters: `prefix` for the [`KeySpace`]; `tls_ca`, `tls_cert` and `tls_key` for the files of [`Tls`];
    /// `sentinel_username` and `sentinel_password`; `family` (4 or 6); `db` with a socket.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with the reason, never with any part of the URL: it may hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        url::parse(url).map_err(|reason| Error::invalid(Code::ConfigInvalid, format!("Redis URL: {reason}")))
    }

    /// Reads seed 001's variables, and a few more:
    ///
    /// | variable | default | |
    /// |---|---|---|
    /// | `REDIS_URL` | | all of [`RedisConfig::from_url`]; else: |
    /// | `REDIS_HOST`, `REDIS_PORT` | `localhost`, 6379 | |
    /// | `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_DB` | none, none, 0 | also override those of the URL |
    /// | `REDIS_FAMILY` | any | 4 or 6: which addresses of a host name to use |
    /// | `REDIS_CONNECTION_TIMEOUT` | 5000 | ms: [`Timing::connect`] |
    /// | `REDIS_RESPONSE_TIMEOUT` | 1000 | ms: [`Timing::response`] |
    /// | `REDIS_OPERATION_TIMEOUT` | 2000 | ms: [`Timing::operation`] |
    /// | `REDIS_MAX_RETRY_ATTEMPTS` | no limit | attempts before `connect` reports; later they never end |
    /// | `REDIS_KEEP_ALIVE` | `true` | `true`, `false`, or after how many ms without traffic |
    /// | `REDIS_TLS` | off | also switched on by a `rediss` URL |
    /// | `REDIS_TLS_CA`, `REDIS_TLS_CERT`, `REDIS_TLS_KEY` | the system's, none | PEM files: [`Tls`] |
    /// | `REDIS_SENTINEL_USERNAME`, `REDIS_SENTINEL_PASSWORD` | none | |
    /// | `REDIS_PREFIX` | `chat` | [`KeySpace`] |
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem, variables that do not exist included.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(Env::from_process("REDIS"))
    }

    /// The same from variables that were read before.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem.
    pub fn from_variables(env: Env) -> Result<Self> {
        env::read(env)
    }

    /// Calls the service this: see [`RedisServices`](crate::RedisServices).
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Keeps everything under this prefix: one per tenant.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`]: see [`KeySpace::new`].
    pub fn with_prefix(self, prefix: &str) -> Result<Self> {
        Ok(Self { keys: KeySpace::new(prefix)?, ..self })
    }

    /// Measures deadlines with this clock instead of the server's: for tests.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// What makes the connections.
    pub(crate) fn dial(&self) -> Result<Arc<dyn Dial>> {
        self.check()?;
        servers::dial(self)
    }

    fn check(&self) -> Result<()> {
        let invalid = |reason: &str| Err(Error::invalid(Code::ConfigInvalid, format!("Redis: {reason}")));
        let Timing { connect, response, operation, longest_pause, idle } = self.timing;
        if [connect, response, operation, longest_pause, idle].contains(&Duration::ZERO) {
            return invalid("no time may be zero");
        }
        if self.connect_attempts == Some(0) || self.max_dedicated == 0 {
            return invalid("connect_attempts and max_dedicated are at least one");
        }
        if self.tls.is_some() && cfg!(not(feature = "tls")) {
            return invalid("TLS needs the feature `tls`");
        }
        match &self.topology {
            Topology::Unix(_) if self.tls.is_some() => invalid("there is no TLS over a socket"),
            Topology::Unix(_) if cfg!(not(unix)) => invalid("there are no sockets here"),
            Topology::Cluster(_) if self.db != 0 => invalid("a cluster has only database 0"),
            Topology::Cluster(nodes) | Topology::Sentinel { sentinels: nodes, .. } if nodes.is_empty() => {
                invalid("no host is given")
            }
            _ => Ok(()),
        }
    }
}
