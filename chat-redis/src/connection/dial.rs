//! How a service gets a connection: the seam at which hosts bring their own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Client, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use super::command::Command;
use super::dedicated::Spare;
use super::servers::Server;
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
    /// Whether it replaces what breaks by itself.
    pub(super) fn heals(&self) -> bool {
        !matches!(self, Self::Single(_))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends one command.
    pub(super) async fn one(&self, command: &Command) -> RedisResult<Value> {
        let cmd = command.cmd();
        let answer = match (self, command.node()) {
            (Self::Single(one), _) => one.clone().send_packed_command(cmd).await,
            // What these are doing is large, and has a place of its own.
            (Self::Managed(one), _) => Box::pin(one.clone().send_packed_command(cmd)).await,
            (Self::Cluster(cluster), None) => cluster.clone().req_packed_command(cmd).await,
            (Self::Cluster(cluster), Some(Node { host, port })) => {
                let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                Box::pin(cluster.clone().route_command(cmd.clone(), RoutingInfo::SingleNode(node))).await
            }
        };
        answer?.extract_error()
    }

    /// Asks what any server can answer: of a cluster all masters, of which the first counts that says anything.
    pub(super) async fn any(&self, command: &Command) -> RedisResult<Value> {
        let Self::Cluster(cluster) = self else { return self.one(command).await };
        let first = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::OneSucceeded));
        let answer =
            cluster.clone().route_command(command.cmd().clone(), RoutingInfo::MultiNode(first)).await;
        answer?.extract_error()
    }

    /// Sends commands at once: over one server in one write, over a cluster each on its way. One answer per command.
    pub(super) async fn send(&self, commands: &[&Command]) -> Vec<RedisResult<Value>> {
        let count = commands.len();
        let answers = match (self, commands) {
            (_, []) => return Vec::new(),
            (_, [command]) => return vec![self.one(command).await],
            (Self::Cluster(_), _) => {
                let each = commands.iter().map(|command| self.one(command));
                return futures::future::join_all(each).await;
            }
            (Self::Single(one), _) => one.clone().send_packed_commands(&pipeline(commands), 0, count).await,
            (Self::Managed(one), _) => one.clone().send_packed_commands(&pipeline(commands), 0, count).await,
        };
        match answers {
            Ok(values) => values.into_iter().map(Value::extract_error).collect(),
            Err(error) => vec![Err(error); count],
        }
    }

    /// Sends commands as a transaction, in one write to the server of their slot. They are sent between `MULTI` and
    /// `EXEC` as ordinary commands, so that a connection to a cluster sees each refusal and follows it.
    pub(super) async fn transaction(&self, commands: &[&Command]) -> Answers {
        let count = commands.len() + 2;
        let mut whole = Pipeline::with_capacity(count);
        whole.add_command(redis::cmd("MULTI"));
        for command in commands {
            whole.add_command(command.cmd().clone());
        }
        whole.add_command(redis::cmd("EXEC"));
        let answers = match self {
            Self::Single(one) => one.clone().send_packed_commands(&whole, 0, count).await,
            Self::Managed(one) => one.clone().send_packed_commands(&whole, 0, count).await,
            Self::Cluster(cluster) => cluster.clone().req_packed_commands(&whole, 0, count).await,
        };
        answers.map_or_else(Answers::Refused, transacted)
    }
}

/// What a server said to commands.
pub(super) enum Answers {
    /// One answer per command.
    Each(Vec<RedisResult<Value>>),
    /// A transaction was refused, or lost, as a whole.
    Refused(RedisError),
    /// The server does not begin transactions, and did the commands one by one.
    Torn(RedisError),
}

/// The answers to `MULTI`, to what was queued, and to `EXEC`.
fn transacted(mut answers: Vec<Value>) -> Answers {
    let done = match answers.pop() {
        Some(Value::ServerError(refused)) => Err(refused.into()),
        done => Ok(done),
    };
    let mut queued = answers.into_iter().map(Value::extract_error);
    if let Some(Err(refused)) = queued.next() {
        return if queued.any(|answer| answer.is_ok()) {
            Answers::Torn(refused)
        } else {
            Answers::Refused(refused)
        };
    }
    match (queued.find_map(Result::err), done) {
        (_, Ok(Some(Value::Array(answers)))) => {
            Answers::Each(answers.into_iter().map(Value::extract_error).collect())
        }
        (Some(refused), _) | (None, Err(refused)) => Answers::Refused(refused),
        (None, Ok(_)) => {
            Answers::Torn((ErrorKind::UnexpectedReturnType, "no answers of a transaction").into())
        }
    }
}

fn pipeline(commands: &[&Command]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.cmd().clone());
    }
    pipeline
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
pub trait Dial: Send + Sync + 'static {
    /// A new connection. The service bounds the time it takes, and every wait for a reply: response timeouts of the
    /// connection itself should be longer, or none.
    async fn dial(&self) -> RedisResult<Connection>;

    /// The server to which blocking reads and subscriptions get connections of their own; on a cluster the one at `node`.
    /// `None`, the default, where the host does not say: then there are no subscriptions.
    async fn server(&self, _node: Option<(&str, u16)>) -> RedisResult<Option<Server>> {
        Ok(None)
    }

    /// A connection nobody else uses, for blocking reads, where [`Dial::server`] says nothing. `None` by default.
    async fn spare(&self) -> RedisResult<Option<Spare>> {
        Ok(None)
    }
}

#[async_trait]
impl Dial for Client {
    async fn dial(&self) -> RedisResult<Connection> {
        Server::from(self.get_connection_info().clone()).dial().await
    }

    async fn server(&self, _node: Option<(&str, u16)>) -> RedisResult<Option<Server>> {
        Ok(Some(self.get_connection_info().clone().into()))
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

/// What is taken out of the pool belongs to the service: nobody else's request waits behind it.
#[async_trait]
impl Dial for deadpool_redis::Pool {
    async fn dial(&self) -> RedisResult<Connection> {
        let pooled = self.get().await.map_err(exhausted)?;
        Ok(Connection::Single(without_timeout(deadpool_redis::Connection::take(pooled))))
    }

    async fn spare(&self) -> RedisResult<Option<Spare>> {
        self.get().await.map(|pooled| Some(Spare::Pooled(pooled))).map_err(exhausted)
    }
}

/// Connections are made as the pool makes its own, and belong to the service.
#[cfg(feature = "bb8")]
#[async_trait]
impl Dial for bb8::Pool<Client> {
    async fn dial(&self) -> RedisResult<Connection> {
        self.dedicated_connection().await.map(|own| Connection::Single(without_timeout(own)))
    }

    async fn spare(&self) -> RedisResult<Option<Spare>> {
        self.dedicated_connection().await.map(|own| Some(Spare::Own(own)))
    }
}

/// A wait that the service measures itself.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

pub(super) fn without_timeout(mut connection: MultiplexedConnection) -> MultiplexedConnection {
    connection.set_response_timeout(FOREVER);
    connection
}

pub(super) fn exhausted(error: deadpool_redis::PoolError) -> redis::RedisError {
    match error {
        deadpool_redis::PoolError::Backend(error) => error,
        other => std::io::Error::other(format!("the pool gave no connection: {other}")).into(),
    }
}
