//! Servers to test: in this process, with a clock and a log of our own, or the real program.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::config::Secret;
use chat_core::domain::UserId;
use chat_core::service::{Chat, ChatBuilder};
use chat_server::{Auth, Options, Realm, Server};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, within};

/// What the tests sign tokens with.
pub(crate) const SECRET: &str = "a secret of the tests, long enough to be one";

/// A name nobody has yet.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A server in this process.
pub(crate) struct Host {
    pub(crate) server: Arc<Server>,
    pub(crate) address: SocketAddr,
    pub(crate) clock: ManualClock,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Host {
    /// A chat in memory, on a clock that moves only when told to.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default(), |chat| chat).await
    }

    /// The same with other numbers and other backends.
    pub(crate) async fn with(options: Options, change: impl FnOnce(ChatBuilder) -> ChatBuilder) -> Self {
        let clock = ManualClock::default();
        let chat = change(Chat::builder().clock(Arc::new(clock.clone()))).build();
        let auth = Auth::hs256(&Secret::new(SECRET), Realm::default());
        let server = Arc::new(Server::start(chat, auth, options).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.serve(listener, async { drop(stopped.await) }).await }
        });
        Self { server, address, clock, stop, serving }
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        within("the server to stop", self.serving).await.unwrap().unwrap();
    }

    /// A good token for a user.
    pub(crate) fn token(&self, user: &str) -> String {
        token(&claims(user, self.clock.now()))
    }

    /// Somebody connected.
    pub(crate) async fn connect(&self, user: &str) -> Client {
        Client::try_connect(self.address, "/", &json!({ "token": self.token(user) })).await.unwrap()
    }

    pub(crate) fn chat(&self) -> &Chat {
        self.server.chat()
    }
}

/// What a good token says.
pub(crate) fn claims(user: &str, now: Timestamp) -> Value {
    json!({ "sub": user, "exp": now.as_millis() / 1_000 + 3_600, "iss": "chat", "aud": "chat" })
}

/// A token that says this.
pub(crate) fn token(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// The real program.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    // Held so that it can go on writing.
    _out: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it on a free port, with nothing of this process's environment that concerns it.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut child = command().args(["--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the address", out.next_line()).await.unwrap().expect("the program's first line");
        let address = line.strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, address, _out: out }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Asks it to stop, as an operator does.
    pub(crate) fn terminate(&self) {
        terminate(self.pid());
    }
}

/// Sends SIGTERM.
pub(crate) fn terminate(pid: u32) {
    let sent = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CHAT_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.kill_on_drop(true);
    command
}
