//! What every port of this crate is made of: a connection and a key space.

use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::error::Result;
use redis::FromRedisValue;

use crate::clock::argument;
use crate::connection::{Command, Operation, RedisService};
use crate::keys::{Key, KeySpace};
use crate::script::Script;

/// How long what has run out is kept when the time is injected: the server's own clock knows nothing of it.
const RUBBISH: Duration = Duration::from_secs(60 * 60);

/// A connection and a key space.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) service: RedisService,
    pub(crate) keys: KeySpace,
}

impl Store {
    /// The ports of a service, with their keys in `keys`.
    pub fn new(service: RedisService, keys: KeySpace) -> Self {
        Self { service, keys }
    }

    /// Sends commands at once; one answer per command, in their order.
    ///
    /// # Errors
    /// The first failure that remains at the deadline of the operation, or that repeating does not remedy.
    pub async fn call<T: FromRedisValue>(
        &self,
        operation: Operation,
        commands: Vec<Command>,
    ) -> Result<Vec<T>> {
        if commands.is_empty() { Ok(Vec::new()) } else { self.service.call(operation, commands).await }
    }

    /// Sends commands as one transaction: they happen with nothing of others between them, all or none; one answer per
    /// command, in their order. They touch one slot, together. It is repeated as `call` is, as a whole; scripts always go
    /// as their source, so they had better be short.
    ///
    /// # Errors
    /// Those of [`call`](Self::call). What the server refuses before it begins has no effect; a command that fails when
    /// all of them happen does not keep the others from it. While a slot moves between nodes of a cluster,
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable) where it needs both sides.
    pub async fn transaction<T: FromRedisValue>(
        &self,
        operation: Operation,
        commands: Vec<Command>,
    ) -> Result<Vec<T>> {
        if commands.is_empty() { Ok(Vec::new()) } else { self.service.transaction(operation, commands).await }
    }

    /// Sends one command.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub async fn call_one<T: FromRedisValue>(&self, operation: Operation, command: Command) -> Result<T> {
        self.service.call_one(operation, command).await
    }

    /// A script over keys of one slot; its first argument, the time, is there already.
    pub fn script(&self, script: &'static Script, keys: &[Key]) -> Command {
        Command::script(script, keys).arg(argument(self.service.clock()))
    }

    /// The server's time, as good as this node knows it: for native commands.
    pub fn now(&self) -> Timestamp {
        self.service.clock().now()
    }

    /// Whether the time is injected. Then what Redis still has may be over.
    pub fn is_injected(&self) -> bool {
        self.service.clock().injected().is_some()
    }

    /// For how many milliseconds Redis keeps what runs out after `ttl`.
    pub fn kept_for(&self, ttl: Duration) -> u64 {
        let rubbish = if self.is_injected() { RUBBISH } else { Duration::ZERO };
        u64::try_from((ttl + rubbish).as_millis()).unwrap_or(u64::MAX / 2).max(1)
    }
}
