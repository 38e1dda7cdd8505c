//! How a server stops: told, waited for, cleaned up, closed.
//!
//! ```text
//! nobody new  →  server:draining  →  grace  →  open requests  →  presence  →  Socket.IO  →  the chat's own tasks
//! ```
//!
//! Presence is ended from our own registry: closing Socket.IO runs no disconnect handlers. Transports are closed, not
//! sockets: clients take that for a network failure and come back by themselves, to another process.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use socketioxide::SocketIo;

use crate::app::{App, Phase};
use crate::gateway::conn::Frame;
use crate::presence;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon clients may come back.
const RETRY_MS: u64 = 200;

/// Stops serving; when this returns, no socket is left and nobody is shown as online because of this process.
pub(crate) async fn drain(app: &App, io: &SocketIo) {
    app.enter(Phase::Draining);
    tracing::info!("draining: nobody new is let in");
    if let Some(frame) = Frame::new("server:draining", &json!({ "retryMs": RETRY_MS })) {
        for conn in app.sockets.all() {
            conn.send(&frame);
        }
    }
    tokio::time::sleep(app.options.drain_grace).await;
    app.enter(Phase::Closing);
    within("open requests", answered(app)).await;
    within("presence", presence::leave_all(app)).await;
    within("sockets", io.close()).await;
    tracing::info!("drained");
}

/// Waits until everything taken in is answered.
async fn answered(app: &App) {
    while app.open.load(Ordering::Acquire) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn within(what: &'static str, step: impl Future<Output = ()>) {
    if tokio::time::timeout(PATIENCE, step).await.is_err() {
        tracing::warn!(what, "took too long; going on");
    }
}
