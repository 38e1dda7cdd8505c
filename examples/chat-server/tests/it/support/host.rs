//! A server in this process, on a clock that moves only when told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chat_core::clock::{Clock, ManualClock};
use chat_core::config::Secret;
use chat_core::domain::UserId;
use chat_core::service::{Chat, ChatBuilder};
use chat_server::{Auth, Options, Realm, Server};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::Client;
use super::run::within;
use super::server::SECRET;
use super::token::hs256;

/// A server in this process, in memory.
#[derive(Debug)]
pub(crate) struct Host {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its clock.
    pub(crate) clock: ManualClock,
    server: Arc<Server>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Host {
    /// Starts it with these numbers.
    pub(crate) async fn start(options: Options) -> Self {
        Self::with(options, |chat| chat).await
    }

    /// The same with other backends.
    pub(crate) async fn with(options: Options, change: impl FnOnce(ChatBuilder) -> ChatBuilder) -> Self {
        let clock = ManualClock::default();
        let chat = change(Chat::builder().clock(Arc::new(clock.clone()))).build();
        let auth = Auth::hs256(&Secret::new(SECRET), Realm::default());
        let server = Arc::new(Server::start(chat, auth, options).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&server);
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serving.serve(listener, stopped).await
        });
        Self { address, clock, server, stop, serving }
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        within("the server to stop", self.serving).await.unwrap().unwrap();
    }

    /// A token good for an hour of the server's own time.
    pub(crate) fn token(&self, user: &str) -> String {
        let exp = self.clock.now().as_millis() / 1_000 + 3_600;
        hs256(&json!({ "sub": user, "iss": "chat", "aud": "chat", "exp": exp }))
    }

    /// Somebody connected.
    pub(crate) async fn connect(&self, user: &str) -> Client {
        Client::at(self.address, "/", user, &json!({ "token": self.token(user) })).await.unwrap()
    }

    /// The chat itself.
    pub(crate) fn chat(&self) -> &Chat {
        self.server.chat()
    }

    /// Whether a user is online, as the chat knows it.
    pub(crate) async fn is_online(&self, user: &str) -> bool {
        self.chat().ports().presence.are_online(&[id(user)]).await.unwrap() == [true]
    }
}

/// A user's id as the chat has it.
pub(crate) fn id(user: &str) -> UserId {
    UserId::new(user).unwrap()
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes every panic that is no trial's way to fail.
pub(crate) fn watch_for_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|location| !location.file().contains("tests/it")) {
            PANICS.lock().unwrap().push(panic.to_string());
        }
        usual(panic);
    }));
}

/// No server in this process panicked.
pub(crate) fn end_of_all() -> Result<(), String> {
    let panics = PANICS.lock().unwrap();
    if panics.is_empty() { Ok(()) } else { Err(format!("something panicked: {panics:#?}")) }
}
