//! How a service gets a connection: the seam at which hosts bring their own.

use std::fmt;

use async_trait::async_trait;
use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisResult, Value};

use super::command::Command;
use crate::config::Node;

/// A connection that many tasks share: it answers commands in the order they were written.
#[derive(Clone)]
#[non_exhaustive]
pub enum Connection {
    /// To one server; replaced by the service when it breaks.
    Single(MultiplexedConnection),
    /// To one server; replaces itself.
    Managed(ConnectionManager),
    /// To a cluster; finds its nodes itself.
    Cluster(ClusterConnection),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Connection::Single",
            Self::Managed(_) => "Connection::Managed",
            Self::Cluster(_) => "Connection::Cluster",
        })
    }
}

impl Connection {
    /// Whether it replaces what it lost by itself: then it is only given up when nobody at all answers.
    pub(super) fn heals(&self) -> bool {
        matches!(self, Self::Managed(_) | Self::Cluster(_))
    }

    /// Sends commands at once: over one server in one write, over a cluster each on its way. One answer per command.
    pub(super) async fn send(&self, commands: &[&Command]) -> Vec<RedisResult<Value>> {
        match (self, commands) {
            (_, []) => Vec::new(),
            (Self::Single(one), [command]) => vec![query(one.clone(), command).await],
            (Self::Managed(one), [command]) => vec![query(one.clone(), command).await],
            (Self::Single(one), _) => pipeline(one.clone(), commands).await,
            (Self::Managed(one), _) => pipeline(one.clone(), commands).await,
            (Self::Cluster(cluster), _) => {
                let each = commands.iter().map(|command| over_cluster(cluster.clone(), command));
                futures::future::join_all(each).await
            }
        }
    }
}

async fn query(mut connection: impl ConnectionLike, command: &Command) -> RedisResult<Value> {
    connection.req_packed_command(command.cmd()).await?.extract_error()
}

async fn over_cluster(mut cluster: ClusterConnection, command: &Command) -> RedisResult<Value> {
    let Some(Node { host, port }) = command.node() else { return query(cluster, command).await };
    let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
    cluster.route_command(command.cmd().clone(), RoutingInfo::SingleNode(node)).await?.extract_error()
}

async fn pipeline(mut connection: impl ConnectionLike, commands: &[&Command]) -> Vec<RedisResult<Value>> {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.cmd().clone());
    }
    match connection.req_packed_commands(&pipeline, 0, commands.len()).await {
        Ok(values) => values.into_iter().map(Value::extract_error).collect(),
        Err(error) => vec![Err(error); commands.len()],
    }
}

/// Makes connections: at the start, and again whenever one broke.
///
/// Implemented for what the driver offers, and for pools: a pool is asked for a connection once per (re)connection, so
/// that no operation pays for a check-out, which costs a PING in most pools.
///
/// ```
/// use chat_redis::connection::{Connection, Dial};
/// use redis::RedisResult;
///
/// /// Connects with a password that changes.
/// #[derive(Debug)]
/// struct Rotating(redis::Client);
///
/// #[async_trait::async_trait]
/// impl Dial for Rotating {
///     async fn dial(&self) -> RedisResult<Connection> {
///         let client = self.0.clone(); // here: with today's password
///         Ok(Connection::Single(client.get_multiplexed_async_connection().await?))
///     }
/// }
/// ```
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// A new connection. The service bounds the time it takes, and every wait for a reply: response timeouts of the
    /// connection itself should be longer, or none.
    async fn dial(&self) -> RedisResult<Connection>;
}

#[async_trait]
impl Dial for Client {
    async fn dial(&self) -> RedisResult<Connection> {
        let connection = self.get_multiplexed_async_connection_with_config(&patient()).await?;
        Ok(Connection::Single(connection))
    }
}

#[async_trait]
impl Dial for ClusterClient {
    async fn dial(&self) -> RedisResult<Connection> {
        Ok(Connection::Cluster(self.get_async_connection().await?))
    }
}

/// The connection itself is all there is: for those that find their servers again by themselves.
#[async_trait]
impl Dial for Connection {
    async fn dial(&self) -> RedisResult<Connection> {
        Ok(self.clone())
    }
}

/// The present master: the first sentinel that answers says who it is.
pub(crate) struct Sentinels(tokio::sync::Mutex<SentinelClient>);

impl Sentinels {
    pub(crate) fn new(client: SentinelClient) -> Self {
        Self(tokio::sync::Mutex::new(client))
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sentinels")
    }
}

#[async_trait]
impl Dial for Sentinels {
    async fn dial(&self) -> RedisResult<Connection> {
        let master = self.0.lock().await.async_get_client().await?;
        master.dial().await
    }
}

#[async_trait]
impl Dial for deadpool_redis::Pool {
    async fn dial(&self) -> RedisResult<Connection> {
        let pooled = self.get().await.map_err(exhausted)?;
        let mut connection = MultiplexedConnection::clone(&pooled);
        connection.set_response_timeout(super::FOREVER);
        Ok(Connection::Single(connection))
    }
}

#[cfg(feature = "bb8")]
#[async_trait]
impl Dial for bb8::Pool<Client> {
    async fn dial(&self) -> RedisResult<Connection> {
        let pooled = self.get().await.map_err(exhausted)?;
        let mut connection = MultiplexedConnection::clone(&pooled);
        connection.set_response_timeout(super::FOREVER);
        Ok(Connection::Single(connection))
    }
}

fn exhausted(error: impl std::error::Error) -> redis::RedisError {
    std::io::Error::other(format!("the pool gave no connection: {error}")).into()
}

/// The service measures every wait itself, so the driver does not.
fn patient() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None)
}
