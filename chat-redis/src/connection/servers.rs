//! Making connections to what a configuration names: one server, the master of a group, or a cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::{Code, Error, Result};
use futures::FutureExt;
use futures::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::AsyncDNSResolver;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, Value,
};

use super::dial::{Connection, Dial};
use crate::config::{Family, Node, RedisConfig, Tls, Topology};

/// A server, and how to connect to it.
#[derive(Clone)]
pub struct Server {
    pub(super) info: ConnectionInfo,
    family: Option<Family>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.address()).finish()
    }
}

impl From<ConnectionInfo> for Server {
    fn from(info: ConnectionInfo) -> Self {
        Self { info, family: None }
    }
}

impl Server {
    /// Where it is, as text.
    pub(super) fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// How a connection to it is made that waits as long as it is told to.
    pub(super) fn patient(&self) -> AsyncConnectionConfig {
        let patient = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        match self.family {
            Some(family) => patient.set_dns_resolver(Resolver(family)),
            None => patient,
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let client = Client::open(self.info.clone())?;
        client.get_multiplexed_async_connection_with_config(&self.patient()).await
    }
}

#[async_trait]
impl Dial for Server {
    async fn dial(&self) -> RedisResult<Connection> {
        Ok(Connection::Single(self.connect().await?))
    }

    async fn server(&self, _node: Option<(&str, u16)>) -> RedisResult<Option<Server>> {
        Ok(Some(self.clone()))
    }
}

/// What makes the connections of a configuration.
pub(crate) fn dial(config: &RedisConfig) -> Result<Arc<dyn Dial>> {
    let password = config.password.as_ref().map(|password| password.expose());
    let sign_in = sign_in(config.username.as_deref(), password).set_db(i64::from(config.db));
    let (tls, certificates) = match &config.tls {
        Some(tls) => (true, certificates(tls)?),
        None => (false, None),
    };
    let settings = Settings {
        addr: address(tls, certificates.as_ref())?,
        tcp: tcp(config.keep_alive),
        sign_in,
        family: config.family,
    };
    let at = |node: &Node| settings.at(&node.host, node.port);
    match &config.topology {
        Topology::Single(node) => Ok(Arc::new(at(node)?)),
        Topology::Unix(path) => Ok(Arc::new(settings.server(ConnectionAddr::Unix(path.clone()))?)),
        Topology::Sentinel { sentinels, master } => {
            let password = config.sentinel_password.as_ref().map(|password| password.expose());
            let sign_in = self::sign_in(config.sentinel_username.as_deref(), password);
            let asked = Settings { sign_in, ..settings.clone() };
            let sentinels = sentinels.iter().map(|node| asked.at(&node.host, node.port));
            let sentinels = sentinels.collect::<Result<_>>()?;
            Ok(Arc::new(Sentinels { sentinels, master: master.clone(), settings }))
        }
        Topology::Cluster(nodes) => {
            let nodes = nodes.iter().map(at).collect::<Result<Vec<_>>>()?;
            let half = config.timing.response / 2;
            let mut builder = ClusterClientBuilder::new(nodes.iter().map(|node| node.info.clone()))
                .tcp_settings(settings.tcp.clone())
                .connection_timeout(config.timing.connect.min(half))
                .response_timeout(half)
                .retries(2)
                .min_retry_wait(10)
                .max_retry_wait(100);
            if let Some(family) = config.family {
                builder = builder.async_dns_resolver(Resolver(family));
            }
            #[cfg(feature = "tls")]
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            Ok(Arc::new(Cluster { client: builder.build().map_err(|e| refused(&e))?, nodes, settings }))
        }
    }
}

/// All of a connection but its host.
#[derive(Clone)]
struct Settings {
    addr: ConnectionAddr,
    tcp: TcpSettings,
    sign_in: RedisConnectionInfo,
    family: Option<Family>,
}

impl Settings {
    fn at(&self, host: &str, port: u16) -> Result<Server> {
        self.server(match &self.addr {
            ConnectionAddr::TcpTls { tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: false,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        })
    }

    fn server(&self, addr: ConnectionAddr) -> Result<Server> {
        let info = addr.into_connection_info().map_err(|e| refused(&e))?;
        let info = info.set_tcp_settings(self.tcp.clone()).set_redis_settings(self.sign_in.clone());
        Ok(Server { info, family: self.family })
    }
}

/// The present master: all sentinels are asked at once, and the first is believed whose master says that it is one.
struct Sentinels {
    sentinels: Vec<Server>,
    master: String,
    settings: Settings,
}

impl Sentinels {
    async fn master(&self) -> RedisResult<(Server, MultiplexedConnection)> {
        let asked = self.sentinels.iter().map(|sentinel| self.master_of(sentinel).boxed());
        select_ok(asked).await.map(|(master, _)| master)
    }

    async fn master_of(&self, sentinel: &Server) -> RedisResult<(Server, MultiplexedConnection)> {
        let mut connection = sentinel.connect().await?;
        let mut asked = redis::cmd("SENTINEL");
        asked.arg("get-master-addr-by-name").arg(&self.master);
        let known: Option<(String, u16)> = asked.query_async(&mut connection).await?;
        let (host, port) = known.ok_or((ErrorKind::MasterNameNotFoundBySentinel, "no such master"))?;
        let server = self.settings.at(&host, port);
        let server = server.map_err(|_| (ErrorKind::MasterNameNotFoundBySentinel, "no such address"))?;
        let mut connection = server.connect().await?;
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok((server, connection)),
            _ => Err((ErrorKind::MasterNameNotFoundBySentinel, "the master is a replica now").into()),
        }
    }
}

#[async_trait]
impl Dial for Sentinels {
    async fn dial(&self) -> RedisResult<Connection> {
        self.master().await.map(|(_, connection)| Connection::Single(connection))
    }

    async fn server(&self, _node: Option<(&str, u16)>) -> RedisResult<Option<Server>> {
        self.master().await.map(|(server, _)| Some(server))
    }
}

struct Cluster {
    client: ClusterClient,
    nodes: Vec<Server>,
    settings: Settings,
}

#[async_trait]
impl Dial for Cluster {
    async fn dial(&self) -> RedisResult<Connection> {
        self.client.dial().await
    }

    async fn server(&self, node: Option<(&str, u16)>) -> RedisResult<Option<Server>> {
        let Some((host, port)) = node else { return Ok(self.nodes.first().cloned()) };
        let server = self.settings.at(host, port);
        server.map(Some).map_err(|_| (ErrorKind::InvalidClientConfig, "no such address").into())
    }
}

fn sign_in(username: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let mut sign_in = RedisConnectionInfo::default();
    if let Some(username) = username {
        sign_in = sign_in.set_username(username);
    }
    if let Some(password) = password {
        sign_in = sign_in.set_password(password);
    }
    sign_in
}

/// Small requests leave at once, and the other side is known to be gone after twice the silence.
fn tcp(keep_alive: Option<Duration>) -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    let Some(silence) = keep_alive else { return settings };
    let interval = (silence / 3).max(Duration::from_secs(1));
    let probes = TcpKeepalive::new().with_time(silence.max(Duration::from_secs(1))).with_interval(interval);
    let settings = settings.set_keepalive(probes);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(silence * 2);
    settings
}

/// Resolves names to addresses of one family.
struct Resolver(Family);

impl AsyncDNSResolver for Resolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        async move {
            let wanted = |address: &SocketAddr| match self.0 {
                Family::V4 => address.is_ipv4(),
                Family::V6 => address.is_ipv6(),
            };
            let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.filter(wanted).collect();
            if found.is_empty() {
                let nowhere = std::io::Error::new(std::io::ErrorKind::NotFound, "no address of this family");
                return Err(RedisError::from(nowhere));
            }
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        }
        .boxed()
    }
}

fn refused(error: &RedisError) -> Error {
    Error::invalid(Code::ConfigInvalid, format!("Redis: {}", error.category()))
}

#[cfg(feature = "tls")]
type Certificates = redis::TlsCertificates;
#[cfg(not(feature = "tls"))]
type Certificates = std::convert::Infallible;

/// A place of no host, with all that TLS needs.
fn address(tls: bool, certificates: Option<&Certificates>) -> Result<ConnectionAddr> {
    let nowhere = ConnectionAddr::TcpTls { host: String::new(), port: 0, insecure: false, tls_params: None };
    match (tls, certificates) {
        (false, _) => Ok(ConnectionAddr::Tcp(String::new(), 0)),
        (true, None) => Ok(nowhere),
        #[cfg(feature = "tls")]
        (true, Some(certificates)) => {
            let client = Client::build_with_tls(nowhere, certificates.clone());
            let client = client
                .map_err(|_| Error::invalid(Code::ConfigInvalid, "Redis: a TLS file is not in PEM form"))?;
            Ok(client.get_connection_info().addr().clone())
        }
        #[cfg(not(feature = "tls"))]
        (true, Some(never)) => match *never {},
    }
}

/// What the files say; `None` when the system's roots and no name of our own will do.
#[cfg(feature = "tls")]
fn certificates(tls: &Tls) -> Result<Option<Certificates>> {
    // Only if the host has not chosen: there is one provider for a whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root_cert = tls.ca.as_deref().map(read).transpose()?;
    if root_cert.as_deref().is_some_and(|pem| !has_certificate(pem)) {
        return Err(Error::invalid(
            Code::ConfigInvalid,
            "Redis: the TLS file of authorities holds no certificate",
        ));
    }
    let identity = |(certificate, key): &(std::path::PathBuf, std::path::PathBuf)| {
        Ok::<_, Error>(redis::ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
    };
    let client_tls = tls.identity.as_ref().map(identity).transpose()?;
    let needed = root_cert.is_some() || client_tls.is_some();
    Ok(needed.then_some(redis::TlsCertificates { client_tls, root_cert }))
}

#[cfg(feature = "tls")]
fn has_certificate(pem: &[u8]) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::pem_slice_iter(pem).any(|found| found.is_ok())
}

#[cfg(not(feature = "tls"))]
fn certificates(_: &Tls) -> Result<Option<Certificates>> {
    Ok(None)
}

#[cfg(feature = "tls")]
fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let reason = format!("Redis: the TLS file {} cannot be read", path.display());
        Error::invalid(Code::ConfigInvalid, reason).caused_by(error)
    })
}
