//! Connections of one's own, for what blocks: taken out of a pool for each server, and given back when no reply is
//! outstanding.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use chat_core::error::{Code, Error, Result};
use deadpool_redis::{Manager, Pool, PoolError, Runtime, Timeouts};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::client::may_lend;
use super::cluster::Range;
use super::command::Operation;
use super::dial::{exhausted, without_timeout};
use super::line::Live;
use super::servers::Server;
use super::{RedisService, Timing, cluster};
use crate::config::Node;
use crate::error::{Failure, Remedy, corrupt, error, remedy};

const CHECK_OUT: Operation = Operation::read("redis.dedicated");

/// A connection that nobody else uses, from wherever the host has it.
#[non_exhaustive]
pub enum Spare {
    /// It goes back to its pool.
    Pooled(deadpool_redis::Connection),
    /// It ends with its use.
    Own(MultiplexedConnection),
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pooled(_) => "Spare::Pooled",
            Self::Own(_) => "Spare::Own",
        })
    }
}

/// A connection of one's own: see [`RedisService::dedicated`].
pub struct Dedicated {
    spare: Option<Spare>,
    connection: MultiplexedConnection,
    response: Duration,
    operation: &'static str,
    /// A reply may still come, or the connection has broken: nobody else may have it.
    spoilt: bool,
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated").field("operation", &self.operation).field("spoilt", &self.spoilt).finish()
    }
}

impl RedisService {
    /// A connection of one's own for blocking reads (seed 001's `duplicateClient`): to the server, or the present
    /// master, or any master of a cluster. It comes out of a pool for that server, which asks an old one whether it is
    /// alive; nothing is asked for while it is in use.
    ///
    /// # Errors
    /// [`Code::Unavailable`]; [`Code::QueueFull`] when
    /// [`RedisConfig::max_dedicated`](crate::RedisConfig::max_dedicated) of them are in use for too long;
    /// [`Code::ConfigInvalid`] when the host brought a connection of which there are no more.
    pub async fn dedicated(&self) -> Result<Dedicated> {
        self.check_out(None).await
    }

    /// The same to the server of this key: on a cluster, the master of its slot.
    ///
    /// # Errors
    /// Those of [`RedisService::dedicated`].
    pub async fn dedicated_for(&self, key: &[u8]) -> Result<Dedicated> {
        self.check_out(Some(key)).await
    }

    async fn check_out(&self, key: Option<&[u8]>) -> Result<Dedicated> {
        let server = self.server(CHECK_OUT, key).await?;
        let timing = self.inner.timing;
        let spare = async {
            match &server {
                Some(server) => self.inner.pools.get(server).await.map(Some),
                None => self.inner.source.spare().await.map_err(PoolError::Backend),
            }
        };
        let spare = match timeout(timing.connect, spare).await {
            Ok(Ok(Some(spare))) => spare,
            Ok(Ok(None)) => return Err(brought()),
            Ok(Err(PoolError::Timeout(deadpool_redis::TimeoutType::Wait))) => {
                return Err(Error::new(Code::QueueFull).during(CHECK_OUT.name));
            }
            Ok(Err(failure)) => return Err(error(CHECK_OUT, &Failure::Said(&exhausted(failure)), false)),
            Err(_) => return Err(error(CHECK_OUT, &Failure::Silent, false)),
        };
        let connection = match &spare {
            Spare::Pooled(pooled) => MultiplexedConnection::clone(pooled),
            Spare::Own(own) => own.clone(),
        };
        Ok(Dedicated {
            connection: without_timeout(connection),
            spare: Some(spare),
            response: timing.response,
            operation: CHECK_OUT.name,
            spoilt: false,
        })
    }

    /// Where connections of one's own go. `None` when the host does not say.
    pub(super) async fn server(&self, operation: Operation, key: Option<&[u8]>) -> Result<Option<Server>> {
        let live = self.live(operation).await?;
        let node = if live.connection().is_cluster() { Some(self.node(operation, key).await?) } else { None };
        let place = node.as_ref().map(|(host, port)| (host.as_str(), *port));
        match timeout(self.inner.timing.connect, self.inner.source.server(place)).await {
            Ok(found) => found.map_err(|failure| error(operation, &Failure::Said(&failure), false)),
            Err(_) => Err(error(operation, &Failure::Silent, false)),
        }
    }

    /// The servers that hold the data: the masters of a cluster by name, or the one without a name.
    pub(crate) async fn nodes(&self, operation: Operation) -> Result<Vec<Option<Node>>> {
        if !self.live(operation).await?.connection().is_cluster() {
            return Ok(vec![None]);
        }
        let masters = cluster::masters(&self.call_one(operation, cluster::slots()).await?);
        let mut nodes: Vec<_> =
            masters.into_iter().map(|Range { host, port, .. }| Some(Node { host, port })).collect();
        nodes.sort();
        nodes.dedup();
        Ok(nodes)
    }

    async fn node(&self, operation: Operation, key: Option<&[u8]>) -> Result<(String, u16)> {
        let answer: Value = self.call_one(operation, cluster::slots()).await?;
        let found = match key {
            Some(key) => cluster::owner(&answer, key),
            None => cluster::any(&answer),
        };
        found.ok_or_else(|| Error::new(Code::Unavailable).during(operation.name).with("redis", "no node"))
    }

    pub(super) async fn live(&self, operation: Operation) -> Result<Live> {
        let deadline = self.inner.watch.elapsed() + self.inner.timing.operation;
        let live = self.inner.main.up(deadline).await;
        live.map_err(|down| error(operation, &Failure::Down(&down), false))
    }
}

pub(super) fn brought() -> Error {
    Error::invalid(Code::ConfigInvalid, "the connection that was brought is the only one: see Dial::server")
}

impl Dedicated {
    /// The same, called this in errors instead of `redis.dedicated`.
    #[must_use]
    pub fn named(mut self, operation: &'static str) -> Self {
        self.operation = operation;
        self
    }

    /// Sends a command that the server may hold back for as long as `block`, and waits for the reply.
    ///
    /// When the returned future is dropped before the reply, when there is none in time, or when the server is not the
    /// right one any more, the connection cannot be used again and ends with this value, which also ends the blocking on
    /// the server. It is never given back to the pool while a reply is outstanding.
    ///
    /// # Idempotency
    /// It is sent once.
    ///
    /// # Errors
    /// [`Code::Unavailable`], [`Code::Timeout`], whose effect is unknown; [`Code::DataCorrupt`] when the reply is no `T`;
    /// [`Code::RequestInvalid`] for commands that change the connection.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd, block: Duration) -> Result<T> {
        may_lend(command)?;
        let operation = Operation::once(self.operation);
        let mut connection = self.connection.clone();
        let answer =
            self.wait(operation, block, async { connection.send_packed_command(command).await }).await?;
        let answer = self.understood(operation, answer)?;
        T::from_redis_value(answer).map_err(|_| corrupt(operation, "a reply has another shape"))
    }

    /// Sends commands in one write, of which the last may be held back for as long as `block`. One answer each: an error
    /// of one does not keep the others from happening.
    ///
    /// # Errors
    /// Those of [`Dedicated::query`] when there were no answers.
    pub async fn query_all(&mut self, commands: &[Cmd], block: Duration) -> Result<Vec<Result<Value>>> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            may_lend(command)?;
            pipeline.add_command(command.clone());
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let operation = Operation::once(self.operation);
        let mut connection = self.connection.clone();
        let sent = async { connection.send_packed_commands(&pipeline, 0, commands.len()).await };
        let answers = self.wait(operation, block, sent).await?;
        Ok(answers.into_iter().map(|answer| self.understood(operation, answer)).collect())
    }

    async fn wait<V>(
        &mut self,
        operation: Operation,
        block: Duration,
        sent: impl Future<Output = RedisResult<V>> + Send,
    ) -> Result<V> {
        if self.spoilt {
            return Err(Error::new(Code::Unavailable).during(operation.name).with("redis", "spoilt"));
        }
        self.spoilt = true;
        let answer = match timeout(block + self.response, sent).await {
            Ok(answer) => answer.map_err(|failure| error(operation, &Failure::Said(&failure), true))?,
            Err(_) => return Err(error(operation, &Failure::Silent, true)),
        };
        self.spoilt = false;
        Ok(answer)
    }

    fn understood(&mut self, operation: Operation, answer: Value) -> Result<Value> {
        answer.extract_error().map_err(|failure: RedisError| {
            let wrong_server = matches!(remedy(&failure), Remedy::Redial | Remedy::Elsewhere | Remedy::Lost);
            self.spoilt |= wrong_server || failure.code() == Some("UNBLOCKED");
            error(operation, &Failure::Said(&failure), false)
        })
    }

    /// Whether it can be used no more.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        if let Some(Spare::Pooled(pooled)) = self.spare.take()
            && self.spoilt
        {
            drop(deadpool_redis::Connection::take(pooled));
        }
    }
}

/// A pool for each server.
pub(super) struct Pools {
    timing: Timing,
    max: usize,
    pools: Mutex<HashMap<String, Pool>>,
}

impl Pools {
    pub(super) fn new(timing: Timing, max: usize) -> Self {
        Self { timing, max, pools: Mutex::default() }
    }

    async fn get(&self, server: &Server) -> Result<Spare, PoolError> {
        self.of(server)?.get().await.map(Spare::Pooled)
    }

    fn of(&self, server: &Server) -> Result<Pool, PoolError> {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(&server.address()) {
            return Ok(pool.clone());
        }
        // Servers come and go: of those that went, nobody uses a connection.
        pools.retain(|_, pool| pool.status().size > pool.status().available);
        let manager = Manager::new_with_config(server.info.clone(), server.patient());
        let timeouts = Timeouts {
            wait: Some(self.timing.operation),
            create: Some(self.timing.connect),
            recycle: Some(self.timing.response),
        };
        let pool = Pool::builder(manager.map_err(PoolError::Backend)?)
            .max_size(self.max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| PoolError::NoRuntimeSpecified)?;
        pools.insert(server.address(), pool.clone());
        Ok(pool)
    }

    /// Gives out no more, and ends those that nobody uses.
    pub(super) fn close(&self) {
        for (_, pool) in self.pools.lock().drain() {
            pool.close();
        }
    }
}
