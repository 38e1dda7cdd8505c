//! The server as a part of this process, for what can only be seen from inside, and for waits too long for a test.

use std::net::SocketAddr;
use std::sync::Arc;

use chat_core::config::Secret;
use chat_core::service::Chat;
use chat_server::{Auth, Options, Realm, Server};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::run::within;
use super::server::SECRET;

/// A server in this process, on a listener of its own.
#[derive(Debug)]
pub(crate) struct Local {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    server: Arc<Server>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Local {
    /// Starts it.
    pub(crate) async fn start(options: Options) -> Self {
        let auth = Auth::hs256(&Secret::new(SECRET), Realm::default());
        let server = Arc::new(Server::start(Chat::in_memory(), auth, options).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&server);
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serving.serve(listener, stopped).await
        });
        Self { address, server, stop, serving }
    }

    /// How many users are online, as the chat knows it.
    pub(crate) async fn online(&self) -> u64 {
        self.server.chat().ports().presence.stats().await.unwrap().users
    }

    /// Tells it to stop and waits until it has; what is left of it can still be looked at.
    pub(crate) async fn stop(self) -> Arc<Server> {
        self.stop.send(()).unwrap();
        within("the server to stop", self.serving).await.unwrap().unwrap();
        self.server
    }
}
