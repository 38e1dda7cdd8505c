//! The reference server: a complete Socket.IO chat over `chat-core`, as a program and as a part of your own.
//!
//! `PROTOCOL.md` beside this crate is the wire contract. The program is [`Config`](config::Config) plus
//! [`wiring`] plus a [`Server`]; a host that has an axum router of its own merges [`Server::router`] into it:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use chat_core::config::Secret;
//! use chat_core::service::Chat;
//! use chat_server::{Auth, Line, Lines, Options, Realm, Server};
//!
//! # async fn host() -> Result<(), Box<dyn std::error::Error>> {
//! let auth = Auth::hs256(&Secret::new("what your sign-in signs tokens with"), Realm::default());
//! let server = Server::start(Chat::in_memory(), auth, Options::default()).await?;
//!
//! let app = Router::new().route("/hello", get(|| async { "hello" })).merge(server.router());
//! let listener = Lines::new(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, Options::default().user_timeout);
//! axum::serve(listener, app.into_make_service_with_connect_info::<Line>()).await?;
//! server.drain().await;
//! # Ok(())
//! # }
//! ```

mod app;
pub mod auth;
pub mod config;
mod drain;
mod fanout;
mod gateway;
mod http;
mod limits;
pub mod line;
pub mod logs;
pub mod metrics;
mod nodes;
pub mod options;
mod presence;
pub mod prewarm;
mod recovery;
pub mod wiring;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chat_core::error::Result;
use chat_core::service::{Background, Chat};
use engineioxide::service::NotFoundService;
use parking_lot::Mutex;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use auth::{Auth, Realm};
pub use line::{Line, Lines};
pub use options::Options;
pub use wiring::Backends;

use app::{App, Phase};
use fanout::Fanout;
use options::MAX_FRAME;

/// How often the recorder of metrics tidies up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How much of what a socket sends is read at once: most of what clients send is shorter, and every socket has such a buffer.
const READ_BUFFER: usize = 1_024;
/// How long open connections may take to end once every socket is closed.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// A running chat server, without a listener of its own.
pub struct Server {
    app: Arc<App>,
    io: SocketIo,
    socket_io: SocketIoService<NotFoundService>,
    background: Mutex<Option<Background>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Server {
    /// Starts everything but the listener: the chat's own tasks, the fan-out, presence, metrics.
    ///
    /// # Errors
    /// Those of the event log, when it cannot be followed; limits no rate limiter takes.
    pub async fn start(chat: Chat, auth: Auth, options: Options) -> Result<Self> {
        Self::start_on(chat, Backends::default(), auth, options).await
    }

    /// [`start`](Self::start), of a chat on these backends: `/health` tells of them too, and what Redis has lost is brought
    /// back as soon as it is there again.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub async fn start_on(chat: Chat, backends: Backends, auth: Auth, options: Options) -> Result<Self> {
        metrics::recorder();
        options.messages.check()?;
        options.events.check()?;
        let background = chat.start();
        let app = Arc::new(App::new(chat, backends, auth, options));
        let fanout = Fanout::begin(Arc::clone(&app)).await?;
        let (socket_io, io) = socket_io(&app.options);
        gateway::connect::open(&io, &app);
        let mut tasks = JoinSet::new();
        tasks.spawn(fanout.run(app.phases()));
        tasks.spawn(fanout::run_badges(Arc::clone(&app), app.phases()));
        tasks.spawn(presence::heartbeats(Arc::clone(&app), app.phases()));
        tasks.spawn(nodes::run(Arc::clone(&app), app.phases()));
        tasks.spawn(recovery::run(Arc::clone(&app), app.phases()));
        tasks.spawn(presence::ticks(Arc::clone(&app), app.phases()));
        tasks.spawn(upkeep(app.phases()));
        if let Some(plan) = app.options.prewarm {
            tasks.spawn(prewarm::beside(Arc::clone(&app), plan, app.phases()));
        }
        Ok(Self { app, io, socket_io, background: Mutex::new(Some(background)), tasks: Mutex::new(tasks) })
    }

    /// Every route: Socket.IO, the page, health, metrics, profiles. To be merged into the outermost router, since the
    /// paths are fixed.
    pub fn router(&self) -> Router {
        http::router(&self.app, self.socket_io.clone())
    }

    /// Serves a listener until `stop` is done, then drains.
    ///
    /// # Errors
    /// Those of the listener.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (closed, closing) = watch::channel(false);
        let lines = Lines::new(listener, self.app.options.user_timeout);
        let service = self.router().into_make_service_with_connect_info::<Line>();
        let serving = axum::serve(lines, service).with_graceful_shutdown(wait_for(closing));
        let mut serving = tokio::spawn(async move { serving.await });
        tokio::select! {
            ended = &mut serving => return ended.unwrap_or_else(|error| Err(io::Error::other(error))),
            () = stop => {}
        }
        self.drain().await;
        closed.send_replace(true);
        // Connections kept alive by nobody's request are not worth waiting for.
        if tokio::time::timeout(LAST_PATIENCE, &mut serving).await.is_err() {
            serving.abort();
        }
        Ok(())
    }

    /// Stops: nobody new is let in, clients are told, sockets are closed, presence ends, and what was written is
    /// published. A host calls this before it stops its own listener.
    pub async fn drain(&self) {
        drain::drain(&self.app, &self.io).await;
        let tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.join_all().await;
        let background = self.background.lock().take();
        if let Some(background) = background {
            background.stop().await;
        }
    }

    /// The chat behind it.
    pub fn chat(&self) -> &Chat {
        &self.app.chat
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("app", &self.app).finish_non_exhaustive()
    }
}

/// The Socket.IO service, with every limit set.
fn socket_io(options: &Options) -> (SocketIoService<NotFoundService>, SocketIo) {
    let parser = ParserConfig::common()
        .max_incoming_binaries(16)
        .max_incoming_binary_buf_size(MAX_FRAME)
        .packet_completion_timeout(Duration::from_secs(5));
    SocketIo::builder()
        .with_parser(parser)
        .ping_interval(options.ping_interval)
        .ping_timeout(options.ping_timeout)
        .connect_timeout(Duration::from_secs(10))
        .upgrade_timeout(Duration::from_secs(10))
        .max_payload(MAX_FRAME as u64)
        .ws_read_buffer_size(READ_BUFFER)
        .ws_max_message_size(MAX_FRAME)
        .ws_max_frame_size(MAX_FRAME)
        .max_buffer_size(options.out_packets)
        .build_svc()
}

async fn wait_for(mut signal: watch::Receiver<bool>) {
    // An error means that nobody will ever say so.
    let _ = signal.wait_for(|said| *said).await;
}

/// Keeps the recorder of metrics from growing.
async fn upkeep(mut phases: watch::Receiver<Phase>) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Closing) => return,
        }
        if let Some(recorder) = metrics::recorder() {
            recorder.run_upkeep();
        }
    }
}
