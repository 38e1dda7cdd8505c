//! A TCP proxy that breaks connections on purpose, at an exact request, and counts what passes.
//!
//! It stands between a client and a server on this machine and knows where requests and answers end, so "the third
//! request was executed, and its answer lost" is a statement, not a matter of timing:
//!
//! ```no_run
//! # async fn example(redis: &chat_testkit::server::Redis) {
//! use chat_testkit::proxy::{Protocol, Proxy, Request};
//!
//! let proxy = Proxy::start(redis.address(), Protocol::Redis).await;
//! // Here a client connects to `redis.url_at(proxy.address())`.
//! proxy.cut_after(Request::with("EVALSHA"));
//! // The next script runs on the server; then the connection ends without its answer.
//! # }
//! ```

mod beside;
mod frame;
mod pump;

use std::fmt;
use std::future::Future;
use std::ops::Sub;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use frame::Protocol;

use crate::server::free_port;
use crate::server::op_msg::Message;

/// What becomes of everything that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    Slow(Duration),
    Hung,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    CutBefore,
    CutAfter,
    HangAfter,
}

type Predicate = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Which request a fault hits: of those to come, over all connections.
#[derive(Clone)]
pub struct Request {
    to_go: usize,
    is_meant: Predicate,
}

impl Request {
    /// The `n`th from now; the next one is the first.
    pub fn nth(n: usize) -> Self {
        Self { to_go: n, is_meant: Arc::new(|_| true) }
    }

    /// The next one whose bytes are like this.
    pub fn when(is_meant: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self { to_go: 1, is_meant: Arc::new(is_meant) }
    }

    /// The next one that contains this text, whatever its case: the name of a command, or a key.
    pub fn with(text: &str) -> Self {
        let text = text.to_ascii_lowercase().into_bytes();
        Self::when(move |request| {
            request.windows(text.len()).any(|window| window.eq_ignore_ascii_case(&text))
        })
    }

    /// The next MongoDB command of this name.
    pub fn command(name: &str) -> Self {
        let name = name.to_owned();
        Self::when(move |request| Message::new(request).is_command(&name))
    }

    /// The next MongoDB command of this name on this collection.
    pub fn command_on(name: &str, collection: &str) -> Self {
        let (name, collection) = (name.to_owned(), collection.to_owned());
        Self::when(move |request| Message::new(request).is_command_on(&name, &collection))
    }

    /// Not the next one of its kind, but the `n`th.
    #[must_use]
    pub fn but_the(mut self, n: usize) -> Self {
        self.to_go = n;
        self
    }

    /// Whether this is the one.
    fn hits(&mut self, request: &[u8]) -> bool {
        if (self.is_meant)(request) {
            self.to_go = self.to_go.saturating_sub(1);
            return self.to_go == 0;
        }
        false
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("to_go", &self.to_go).finish_non_exhaustive()
    }
}

/// What passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken.
    pub connections: u64,
    /// Requests that went to the server.
    pub requests: u64,
    /// Answers that went to the client.
    pub answers: u64,
    /// Round trips: requests, or batches of them, that were sent while no answer was due on their connection. Exact for
    /// one caller at a time whose batches are below 64 KiB.
    pub turns: u64,
    /// Bytes that went to the server.
    pub bytes_in: u64,
    /// Bytes that went to the client.
    pub bytes_out: u64,
    /// Faults of [`Proxy::cut_before`], [`Proxy::cut_after`] and [`Proxy::hang_after`] that have come to pass.
    pub faults: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            requests: self.requests - before.requests,
            answers: self.answers - before.answers,
            turns: self.turns - before.turns,
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
            faults: self.faults - before.faults,
        }
    }
}

#[derive(Debug)]
struct Shared {
    server: String,
    protocol: Protocol,
    weather: watch::Sender<Weather>,
    faults: Mutex<Vec<(Request, Fault)>>,
    counts: Mutex<Counts>,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

/// A proxy in front of one server, on a loopback port of its own, which it keeps. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    listener: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Stands in front of the server at `host:port`. The server need not be there yet; while it is not, connections to
    /// the proxy are accepted and closed.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(server: &str, protocol: Protocol) -> Self {
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            protocol,
            weather: watch::Sender::new(Weather::Fair),
            faults: Mutex::default(),
            counts: Mutex::default(),
            connections: Mutex::default(),
        });
        for _ in 0..100 {
            let address = format!("127.0.0.1:{}", free_port());
            if let Ok(listener) = TcpListener::bind(&address).await {
                let listening = tokio::spawn(pump::accept(listener, Arc::clone(&shared)));
                return Self { address, shared, listener: tokio::sync::Mutex::new(Some(listening)) };
            }
        }
        panic!("no port for a proxy");
    }

    /// Where clients connect to, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lets everything pass again: ends a hang, a delay and a refusal, and forgets faults that have not come to pass.
    /// What was held back in a hang goes on its way.
    ///
    /// # Panics
    /// When another process took the port during a refusal.
    pub async fn pass(&self) {
        self.shared.faults.lock().clear();
        self.shared.weather.send_replace(Weather::Fair);
        let mut listening = self.listener.lock().await;
        if listening.is_none() {
            let listener = TcpListener::bind(&self.address).await.expect("the port of the proxy");
            *listening = Some(tokio::spawn(pump::accept(listener, Arc::clone(&self.shared))));
        }
    }

    /// Ends all connections; new ones are taken. They are gone when this returns.
    pub async fn cut(&self) {
        let connections = std::mem::take(&mut *self.shared.connections.lock());
        for connection in &connections {
            connection.abort();
        }
        for connection in connections {
            let _ = connection.await;
        }
    }

    /// Refuses new connections until [`pass`](Self::pass); those there are live on.
    pub async fn refuse(&self) {
        if let Some(listening) = self.listener.lock().await.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Forwards nothing more until [`pass`](Self::pass), neither bytes nor the end of a connection: connections are half
    /// open, and new ones are taken.
    pub fn hang(&self) {
        self.shared.weather.send_replace(Weather::Hung);
    }

    /// Holds every batch of answers back for so long, until [`pass`](Self::pass).
    pub fn delay(&self, time: Duration) {
        self.shared.weather.send_replace(Weather::Slow(time));
    }

    /// Ends the connection of a request instead of passing it on: it is not executed. The requests before it on its
    /// connection are answered first.
    pub fn cut_before(&self, request: Request) {
        self.shared.faults.lock().push((request, Fault::CutBefore));
    }

    /// Lets the server execute a request, takes its answer, and ends the connection: executed, answer lost. The requests
    /// before it on its connection are answered, those after it are not executed.
    pub fn cut_after(&self, request: Request) {
        self.shared.faults.lock().push((request, Fault::CutAfter));
    }

    /// Lets the server execute a request and takes its answer; nothing more comes over this connection, and it stays
    /// open.
    pub fn hang_after(&self, request: Request) {
        self.shared.faults.lock().push((request, Fault::HangAfter));
    }

    /// Runs `work`, which sends this request: it is executed, and its answer lost.
    ///
    /// # Panics
    /// When no answer was lost: `work` sent no such request.
    pub async fn losing<T>(&self, request: Request, work: impl Future<Output = T>) -> T {
        let what = format!("{request:?}");
        let before = self.counts().faults;
        self.cut_after(request);
        let outcome = work.await;
        assert!(self.counts().faults > before, "no answer was lost: {what}");
        outcome
    }

    /// What has passed since the proxy started.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock()
    }

    /// What `work` answers, and what passed meanwhile.
    pub async fn counting<T>(&self, work: impl Future<Output = T>) -> (T, Counts) {
        let before = self.counts();
        let outcome = work.await;
        (outcome, self.counts() - before)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(listening) = self.listener.get_mut() {
            listening.abort();
        }
        for connection in self.shared.connections.lock().drain(..) {
            connection.abort();
        }
    }
}
