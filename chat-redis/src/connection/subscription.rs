//! Subscriptions: on a connection of their own, made again for ever, with a word wherever messages may be missing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chat_core::error::{Code, Error, Result};
use futures::Stream;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{Client, FromRedisValue, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::command::Operation;
use super::dedicated::brought;
use super::{RedisService, Timing};
use crate::error::{Failure, error, is_sign_in};

const SUBSCRIBE: Operation = Operation::read("redis.subscribe");

/// How many messages wait for a slow reader; of more, the new ones are lost and a [`Event::Gap`] says so.
const WAITING: usize = 1024;

/// The pause after a first failed attempt; it doubles up to [`Timing::longest_pause`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What a subscription hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody published this.
    Message {
        /// Where.
        channel: String,
        /// What.
        payload: Bytes,
    },
    /// Messages may be missing here: the connection was made anew, or the reader was too slow.
    Gap,
}

/// What is published on some channels, for as long as this is held. Never ends by itself before its service is closed.
///
/// A message is delivered at most once. Where some may be missing there is an [`Event::Gap`]; without one, none is.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    missing: Arc<Mutex<Missing>>,
}

impl Subscription {
    /// The next event. `None` when the service was closed.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = self.events.poll_recv(context);
        // What was lost came after everything that waited.
        if event.is_pending() && std::mem::take(&mut self.missing.lock().now) {
            return Poll::Ready(Some(Event::Gap));
        }
        event
    }
}

impl RedisService {
    /// Subscribes to channels; no message sent after this returns is missed in silence. On a cluster, messages reach
    /// every node, so any of them is listened to.
    ///
    /// ```no_run
    /// # async fn example(service: chat_redis::RedisService) -> chat_core::error::Result<()> {
    /// use chat_redis::connection::Event;
    ///
    /// let mut news = service.subscribe(["news"]).await?;
    /// while let Some(event) = news.next().await {
    ///     match event {
    ///         Event::Message { channel, payload } => println!("{channel}: {} bytes", payload.len()),
    ///         Event::Gap => println!("look again at everything"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When there is no first connection within [`Timing::connect`]:
    /// [`Code::Unavailable`], [`Code::Timeout`], or [`Code::ConfigInvalid`] when the server does not let us in or the
    /// host brought a connection of which there are no more. It needs Redis 6.
    pub async fn subscribe<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C> + Send,
    ) -> Result<Subscription> {
        let (sender, events) = mpsc::channel(WAITING);
        let outlet = Outlet { events: sender, missing: Arc::default() };
        let missing = Arc::clone(&outlet.missing);
        let (subscribed, first) = oneshot::channel();
        let channels = channels.into_iter().map(Into::into).collect();
        let feed = Feed { service: self.clone(), timing: self.inner.timing, channels, outlet };
        tokio::spawn(feed.run(subscribed));
        match first.await {
            Ok(outcome) => outcome.map(|()| Subscription { events, missing }),
            Err(_) => Err(Error::new(Code::Unavailable).during(SUBSCRIBE.name)),
        }
    }
}

impl RedisService {
    /// A connection of one's own to the server of [`server`](Self::server), over which `inlet` hears what is said unasked.
    pub(super) async fn hearing(
        &self,
        operation: Operation,
        inlet: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, Refusal> {
        let server = self.server(operation, None).await?.ok_or_else(|| Refusal::ForGood(brought()))?;
        let sign_in = server.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let config = server.patient().set_push_sender(inlet);
        let client = Client::open(server.info.set_redis_settings(sign_in))?;
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }
}

/// Keeps one subscription fed.
struct Feed {
    service: RedisService,
    timing: Timing,
    channels: Vec<String>,
    outlet: Outlet,
}

impl Feed {
    async fn run(self, subscribed: oneshot::Sender<Result<()>>) {
        let feeding = async {
            let first = timeout(self.timing.connect, self.first()).await;
            let too_late = |_| Err(error(SUBSCRIBE, &Failure::Silent, false));
            let mut connection = match first.unwrap_or_else(too_late) {
                Ok(connection) => connection,
                Err(failure) => {
                    let _ = subscribed.send(Err(failure));
                    return;
                }
            };
            let _ = subscribed.send(Ok(()));
            loop {
                self.watch(connection).await;
                connection = self.again().await;
            }
        };
        tokio::select! {
            () = self.outlet.events.closed() => {}
            () = self.service.closed() => {}
            () = feeding => {}
        }
    }

    async fn first(&self) -> Result<Connected> {
        let mut pause = Pause::new(self.timing);
        loop {
            match self.attempt().await {
                Ok(connection) => {
                    self.outlet.say_gap();
                    return Ok(connection);
                }
                Err(Refusal::ForGood(failure)) => return Err(failure),
                // It may have heard something before it failed.
                Err(Refusal::ForNow) => self.outlet.miss(),
            }
            pause.wait().await;
        }
    }

    /// Connects and subscribes, however long it takes.
    async fn again(&self) -> Connected {
        let mut pause = Pause::new(self.timing);
        loop {
            self.outlet.miss();
            if let Ok(Ok(connection)) = timeout(self.timing.connect, self.attempt()).await {
                self.outlet.say_gap();
                return connection;
            }
            pause.wait().await;
        }
    }

    async fn attempt(&self) -> Result<Connected, Refusal> {
        let gone = Arc::new(Notify::new());
        let inlet = Inlet { outlet: self.outlet.clone(), gone: Arc::clone(&gone) };
        let mut connection = self.service.hearing(SUBSCRIBE, inlet).await?;
        connection.subscribe(&self.channels).await?;
        Ok(Connected { connection, gone })
    }

    /// Returns when nobody is there any more.
    async fn watch(&self, Connected { mut connection, gone }: Connected) {
        loop {
            tokio::select! {
                () = gone.notified() => return,
                () = sleep(self.timing.idle) => {}
            }
            let ping = redis::cmd("PING");
            if !matches!(
                timeout(self.timing.response, connection.send_packed_command(&ping)).await,
                Ok(Ok(_))
            ) {
                return;
            }
        }
    }
}

struct Connected {
    connection: MultiplexedConnection,
    gone: Arc<Notify>,
}

pub(super) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(super) fn new(timing: Timing) -> Self {
        Self { next: FIRST_PAUSE, longest: timing.longest_pause }
    }

    pub(super) async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

pub(super) enum Refusal {
    ForNow,
    ForGood(Error),
}

impl From<RedisError> for Refusal {
    fn from(failure: RedisError) -> Self {
        if is_sign_in(&failure) {
            Self::ForGood(error(SUBSCRIBE, &Failure::Said(&failure), false))
        } else {
            Self::ForNow
        }
    }
}

impl From<Error> for Refusal {
    fn from(failure: Error) -> Self {
        if failure.is_transient() { Self::ForNow } else { Self::ForGood(failure) }
    }
}

/// What is missing and has not been said.
#[derive(Debug, Default)]
struct Missing {
    /// After everything that waits.
    now: bool,
    /// Before what the next connection hears.
    next: bool,
}

/// Where the driver puts what it hears.
#[derive(Clone)]
struct Outlet {
    events: mpsc::Sender<Event>,
    missing: Arc<Mutex<Missing>>,
}

impl Outlet {
    /// Until the next connection hears something, messages are missed.
    fn miss(&self) {
        self.missing.lock().next = true;
    }

    /// From here on nothing is missed.
    fn say_gap(&self) {
        self.put(&mut self.missing.lock(), None);
    }

    fn put(&self, missing: &mut Missing, event: Option<Event>) {
        missing.now |= std::mem::take(&mut missing.next);
        missing.now = missing.now && self.events.try_send(Event::Gap).is_err();
        if let Some(event) = event {
            missing.now = missing.now || self.events.try_send(event).is_err();
        }
    }
}

/// What one connection hears.
struct Inlet {
    outlet: Outlet,
    gone: Arc<Notify>,
}

impl AsyncPushSender for Inlet {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        match push.kind {
            PushKind::Message => {
                let mut data = push.data.into_iter();
                let mut missing = self.outlet.missing.lock();
                if let (Some(channel), Some(Value::BulkString(payload))) = (data.next(), data.next())
                    && let Ok(channel) = String::from_redis_value(channel)
                {
                    let event = Event::Message { channel, payload: payload.into() };
                    self.outlet.put(&mut missing, Some(event));
                } else {
                    missing.now = true;
                }
            }
            PushKind::Disconnection => self.gone.notify_one(),
            _ => {}
        }
        Ok(())
    }
}
