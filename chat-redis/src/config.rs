//! Where Redis is, and how to talk to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Clock;
use chat_core::config::{Env, Secret};
use chat_core::error::{Code, Error, Result};
use percent_encoding::percent_decode_str;
use redis::cluster::ClusterClientBuilder;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsMode};
use url::Url;

use crate::connection::{Dial, Sentinels, Timing};
use crate::keys::KeySpace;

/// What stands behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server: `redis://host:port/db`, or `rediss://` with TLS.
    Single(Node),
    /// The server that these sentinels call the master of `master`:
    /// `redis+sentinel://host:port,host:port/master/db`.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Node>,
        /// What they call the group of servers.
        master: String,
    },
    /// A cluster, known by some of its nodes: `redis+cluster://host:port,host:port`.
    Cluster(Vec<Node>),
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
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
    /// Whether to use TLS.
    pub tls: bool,
    /// Whom to sign in as.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// Which database; zero on a cluster.
    pub db: u16,
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
            tls: false,
            username: None,
            password: None,
            db: 0,
            timing: Timing::default(),
            keys: KeySpace::default(),
            clock: None,
        }
    }
}

impl RedisConfig {
    /// Reads a URL: `redis://`, `redis+sentinel://` or `redis+cluster://`, with TLS `rediss://`, `rediss+sentinel://` or
    /// `rediss+cluster://`; see [`Topology`]. `?prefix=` sets the [`KeySpace`].
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with the reason, never with the URL: it may hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        parse(url).map_err(|reason| Error::invalid(Code::ConfigInvalid, format!("Redis URL: {reason}")))
    }

    /// Reads seed 001's variables: `REDIS_URL`, or `REDIS_HOST` (localhost), `REDIS_PORT` (6379), `REDIS_USERNAME`,
    /// `REDIS_PASSWORD` and `REDIS_DB` (0); and `REDIS_CONNECTION_TIMEOUT` (ms, 5000), `REDIS_OPERATION_TIMEOUT` (ms,
    /// 2000), `REDIS_RESPONSE_TIMEOUT` (ms, 1000), `REDIS_PREFIX` (chat).
    ///
    /// `REDIS_MAX_RETRY_ATTEMPTS`, `REDIS_FAMILY` and `REDIS_KEEP_ALIVE` are accepted and have no effect: a service
    /// reconnects for ever, to whatever address answers, over connections that are watched by their deadlines.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(Env::from_process("REDIS"))
    }

    /// The same from variables that were read before.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem.
    pub fn from_variables(mut env: Env) -> Result<Self> {
        let mut config = match env.secret("URL") {
            Some(url) => Self::from_url(url.expose()).unwrap_or_else(|error| {
                env.problem("URL", error.detail("reason").unwrap_or("not valid"));
                Self::default()
            }),
            None => Self::default(),
        };
        let host = env.optional::<String>("HOST");
        let port = env.optional::<u16>("PORT");
        if host.is_some() || port.is_some() {
            let host = host.unwrap_or_else(|| "localhost".to_owned());
            config.topology = Topology::Single(Node { host, port: port.unwrap_or(6379) });
        }
        config.username = env.optional("USERNAME").or(config.username);
        config.password = env.secret("PASSWORD").or(config.password);
        config.db = env.get("DB", config.db);
        let mut millis =
            |name: &str, default: Duration| env.optional::<u64>(name).map_or(default, Duration::from_millis);
        config.timing.connect = millis("CONNECTION_TIMEOUT", config.timing.connect);
        config.timing.operation = millis("OPERATION_TIMEOUT", config.timing.operation);
        config.timing.response = millis("RESPONSE_TIMEOUT", config.timing.response);
        if let Some(prefix) = env.optional::<String>("PREFIX") {
            match KeySpace::new(&prefix) {
                Ok(keys) => config.keys = keys,
                Err(error) => env.problem("PREFIX", error.detail("reason").unwrap_or("not valid")),
            }
        }
        for without_effect in ["MAX_RETRY_ATTEMPTS", "FAMILY", "KEEP_ALIVE"] {
            let _ = env.optional::<u64>(without_effect);
        }
        env.finish().map(|()| config)
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
        let refused = |error: redis::RedisError| {
            Error::invalid(Code::ConfigInvalid, format!("Redis: {}", error.category()))
        };
        if self.tls && cfg!(not(feature = "tls")) {
            return Err(Error::invalid(Code::ConfigInvalid, "TLS needs the feature `tls`"));
        }
        match &self.topology {
            Topology::Single(node) => Ok(Arc::new(Client::open(self.info(node)?).map_err(refused)?)),
            Topology::Sentinel { sentinels, master } => {
                let sentinels = sentinels.iter().map(|node| self.address(node));
                let mut builder =
                    SentinelClientBuilder::new(sentinels, master.as_str(), SentinelServerType::Master)
                        .map_err(refused)?
                        .set_client_to_redis_tcp_settings(at_once())
                        .set_client_to_redis_db(i64::from(self.db));
                if let Some(username) = &self.username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = &self.password {
                    builder = builder.set_client_to_redis_password(password.expose());
                }
                if self.tls {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                }
                Ok(Arc::new(Sentinels::new(builder.build().map_err(refused)?)))
            }
            Topology::Cluster(nodes) => {
                if self.db != 0 {
                    return Err(Error::invalid(Code::ConfigInvalid, "a cluster has only database 0"));
                }
                let nodes = nodes.iter().map(|node| self.info(node)).collect::<Result<Vec<_>>>()?;
                // The driver lets every operation wait while it connects to a node, up to twice in a row: a node that
                // hangs may cost the others a part of their deadlines, not all of it.
                let patience = self.timing.connect.min(self.timing.operation) / 4;
                let builder = ClusterClientBuilder::new(nodes)
                    .tcp_settings(at_once())
                    .connection_timeout(patience)
                    .response_timeout(self.timing.response)
                    .retries(2)
                    .min_retry_wait(10)
                    .max_retry_wait(100);
                Ok(Arc::new(builder.build().map_err(refused)?))
            }
        }
    }

    fn address(&self, node: &Node) -> ConnectionAddr {
        let (host, port) = (node.host.clone(), node.port);
        if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    fn info(&self, node: &Node) -> Result<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(self.db));
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose());
        }
        let info = self.address(node).into_connection_info();
        let refused = |e: redis::RedisError| Error::invalid(Code::ConfigInvalid, e.category().to_owned());
        Ok(info.map_err(refused)?.set_redis_settings(settings).set_tcp_settings(at_once()))
    }
}

/// Many tasks share a connection: what one of them asks must not wait for the answer of another.
fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn parse(url: &str) -> std::result::Result<RedisConfig, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (tls, kind) = match scheme {
        "redis" => (false, ""),
        "rediss" => (true, ""),
        _ => match scheme.split_once('+') {
            Some(("redis", kind)) => (false, kind),
            Some(("rediss", kind)) => (true, kind),
            _ => {
                return Err(
                    "the scheme is redis, rediss, or one of these with +sentinel or +cluster".to_owned()
                );
            }
        },
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    // A URL has one host, so all but the first are read on their own.
    let url = Url::parse(&format!("redis://{user}{}host{path}", if user.is_empty() { "" } else { "@" }))
        .map_err(|error| error.to_string())?;
    let nodes = hosts
        .split(',')
        .map(|host| node(host, kind == "sentinel"))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let mut path =
        url.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).map(str::to_owned);
    let topology = match (kind, <[Node; 1]>::try_from(nodes)) {
        ("", Ok([node])) => Topology::Single(node),
        ("", Err(_)) => return Err("several hosts need +sentinel or +cluster".to_owned()),
        ("sentinel", nodes) => Topology::Sentinel {
            sentinels: nodes.map_or_else(|many| many, Vec::from),
            master: path.next().ok_or("the path names the master")?,
        },
        ("cluster", nodes) => Topology::Cluster(nodes.map_or_else(|many| many, Vec::from)),
        _ => return Err("the scheme ends in +sentinel or +cluster".to_owned()),
    };
    let db = match path.next() {
        Some(db) => db.parse().map_err(|_| "the database is a number")?,
        None => 0,
    };
    let mut query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let keys = match query.remove("prefix") {
        Some(prefix) => {
            KeySpace::new(&prefix).map_err(|e| e.detail("reason").unwrap_or_default().to_owned())?
        }
        None => KeySpace::default(),
    };
    if let Some(unknown) = query.into_keys().next() {
        return Err(format!("unknown parameter {unknown}"));
    }
    Ok(RedisConfig {
        topology,
        tls,
        username: decoded(url.username())?,
        password: decoded(url.password().unwrap_or_default())?.map(Secret::new),
        db,
        keys,
        ..RedisConfig::default()
    })
}

/// What stands percent-encoded in a URL; nothing when it is empty.
fn decoded(text: &str) -> std::result::Result<Option<String>, String> {
    let plain = percent_decode_str(text).decode_utf8().map_err(|_| "the sign-in is not UTF-8")?;
    Ok((!plain.is_empty()).then(|| plain.into_owned()))
}

fn node(text: &str, sentinel: bool) -> std::result::Result<Node, String> {
    let default = if sentinel { 26379 } else { 6379 };
    let url = Url::parse(&format!("redis://{text}")).map_err(|error| error.to_string())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("a host is missing")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Node { host, port: url.port().unwrap_or(default) })
}
