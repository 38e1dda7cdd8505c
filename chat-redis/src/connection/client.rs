//! Roles: seed 001's five clients, as views on one service; and the host's own commands.

use chat_core::error::{Code, Error, Result};
use redis::{Arg, Cmd, FromRedisValue};

use super::{Command, Operation, RedisService};

/// What a client is for (seed 001's client types).
///
/// The seed has a connection for each. Here `Main`, `Pub` and `Cache` share the connection for short replies, on which
/// the commands of all tasks are pipelined; `Stream` and `Bulk` share the one for long replies, so that these hold
/// nobody up. What blocks, and subscriptions, have connections of their own: [`RedisService::dedicated`],
/// [`RedisService::subscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and writes.
    Main,
    /// Publishing.
    Pub,
    /// Subscribing: [`RedisService::subscribe`]. Its queries go where those of `Main` go.
    Sub,
    /// Streams: their replies are long.
    Stream,
    /// The cache.
    Cache,
    /// Long replies.
    Bulk,
}

/// A view on a service, for the host's own commands. Cheap to make and to clone.
#[derive(Debug, Clone)]
pub struct RedisClient {
    service: RedisService,
    role: Role,
    operation: &'static str,
}

impl RedisService {
    /// The service in this role (seed 001's `getClient`).
    ///
    /// ```no_run
    /// # async fn example(service: chat_redis::RedisService) -> chat_core::error::Result<()> {
    /// use chat_redis::connection::Role;
    ///
    /// let cache = service.client(Role::Cache);
    /// let hits: u64 = cache.query(redis::cmd("INCR").arg("hits").to_owned()).await?;
    /// # Ok(()) }
    /// ```
    pub fn client(&self, role: Role) -> RedisClient {
        RedisClient { service: self.clone(), role, operation: "redis.query" }
    }

    /// Sends a message to the subscribers of a channel; to how many of those on one server it went. A message reaches
    /// nobody who is not subscribed at that moment.
    ///
    /// # Idempotency
    /// None: it is sent once. When the reply is lost the error says that it may have been sent.
    ///
    /// # Errors
    /// [`Code::Unavailable`], [`Code::Timeout`].
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> Result<u64> {
        let mut command = Cmd::new();
        command.arg("PUBLISH").arg(channel).arg(payload);
        self.call_one(Operation::once("redis.publish"), Command::foreign(command)).await
    }
}

impl RedisClient {
    /// The same, called this in errors, spans and metrics instead of `redis.query`.
    #[must_use]
    pub fn named(self, operation: &'static str) -> Self {
        Self { operation, ..self }
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Sends a command of the host, within [`Timing::operation`](super::Timing::operation).
    ///
    /// # Idempotency
    /// It is sent again only when the server refused it for now, so that nothing happened. When a reply is lost the
    /// error says that it may have happened; for commands that repeat harmlessly, [`RedisClient::repeat`] then sends it
    /// again.
    ///
    /// # Errors
    /// [`Code::Unavailable`], [`Code::Timeout`]; [`Code::DataCorrupt`] when the reply is no `T`;
    /// [`Code::RequestInvalid`] for commands that block or change the connection, which others share.
    pub async fn query<T: FromRedisValue>(&self, command: Cmd) -> Result<T> {
        self.send(Operation::once(self.operation), command).await
    }

    /// As [`RedisClient::query`], for commands that repeat harmlessly: sent again when a reply is lost.
    ///
    /// # Errors
    /// Those of [`RedisClient::query`].
    pub async fn repeat<T: FromRedisValue>(&self, command: Cmd) -> Result<T> {
        self.send(Operation::write(self.operation), command).await
    }

    /// Commands that repeat harmlessly, sent at once: over one server in one write. One answer each, in their order.
    ///
    /// # Errors
    /// Those of [`RedisClient::query`], for the first command that failed; others may have happened.
    pub async fn repeat_all<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<Vec<T>> {
        commands.iter().try_for_each(may_share)?;
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let operation = self.on_lane(Operation::write(self.operation));
        self.service.call(operation, commands.into_iter().map(Command::foreign).collect()).await
    }

    async fn send<T: FromRedisValue>(&self, operation: Operation, command: Cmd) -> Result<T> {
        may_share(&command)?;
        self.service.call_one(self.on_lane(operation), Command::foreign(command)).await
    }

    fn on_lane(&self, operation: Operation) -> Operation {
        match self.role {
            Role::Stream | Role::Bulk => operation.bulk(),
            Role::Main | Role::Pub | Role::Sub | Role::Cache => operation,
        }
    }
}

/// Refuses what would hold up or change a connection that others share.
fn may_share(command: &Cmd) -> Result<()> {
    may_lend(command)?;
    let words = words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let blocks = match words.as_slice() {
        ["BLPOP" | "BRPOP" | "BLMOVE" | "BLMPOP" | "BRPOPLPUSH" | "BZPOPMIN" | "BZPOPMAX" | "BZMPOP", ..]
        | ["WAIT" | "WAITAOF" | "WATCH" | "UNWATCH" | "MULTI" | "EXEC" | "DISCARD", ..] => true,
        ["XREAD" | "XREADGROUP", rest @ ..] => rest.contains(&"BLOCK"),
        _ => false,
    };
    if blocks { refused("it needs a connection of its own: RedisService::dedicated") } else { Ok(()) }
}

/// Refuses what would leave a connection of one's own in another state than it came in.
pub(super) fn may_lend(command: &Cmd) -> Result<()> {
    let words = words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => refused("there is no command"),
        ["SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE" | "SUNSUBSCRIBE", ..] => {
            refused("it needs a subscription: RedisService::subscribe")
        }
        ["MONITOR" | "SYNC" | "PSYNC" | "QUIT" | "RESET" | "HELLO" | "AUTH" | "SELECT", ..]
        | ["READONLY" | "READWRITE" | "ASKING", ..]
        | ["CLIENT", "REPLY" | "TRACKING" | "CACHING" | "SETNAME", ..] => {
            refused("it changes the connection")
        }
        _ => Ok(()),
    }
}

fn refused(why: &'static str) -> Result<()> {
    Err(Error::invalid(Code::RequestInvalid, why).during("redis.query"))
}

/// The first words, in capitals: the name, and the options that come before any data.
fn words(command: &Cmd) -> Vec<String> {
    let word = |arg| match arg {
        Arg::Simple(bytes) => String::from_utf8_lossy(bytes).to_ascii_uppercase(),
        _ => String::new(),
    };
    // XREADGROUP GROUP group consumer COUNT n BLOCK
    command.args_iter().take(8).map(word).take_while(|word| word != "STREAMS").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg(words.split(' ').collect::<Vec<_>>());
        command
    }

    #[test]
    fn what_would_disturb_others_is_refused() {
        for bad in [
            "blpop q 0",
            "XREAD COUNT 1 BLOCK 0 STREAMS s $",
            "xreadgroup group g c count 10 block 5000 streams s >",
            "SUBSCRIBE c",
            "select 1",
            "MULTI",
            "wait 1 0",
            "CLIENT REPLY OFF",
            "quit",
        ] {
            assert_eq!(may_share(&command(bad)).unwrap_err().code(), Code::RequestInvalid, "{bad}");
        }
        assert!(may_share(&Cmd::new()).is_err());
        for good in [
            "GET BLPOP",
            "XREAD COUNT 1 STREAMS BLOCK 0",
            "XREADGROUP GROUP g c STREAMS BLOCK >",
            "CLIENT ID",
            "XADD s * a b",
            "lpop q",
        ] {
            assert!(may_share(&command(good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_connection_of_ones_own_may_wait() {
        for good in ["BLPOP q 0", "XREAD BLOCK 0 STREAMS s $", "WATCH k"] {
            assert!(may_lend(&command(good)).is_ok(), "{good}");
        }
        for bad in ["SUBSCRIBE c", "SELECT 1", "CLIENT TRACKING ON"] {
            assert!(may_lend(&command(bad)).is_err(), "{bad}");
        }
    }
}
