//! What every part of a running server shares.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use chat_core::clock::Timestamp;
use chat_core::service::Chat;
use chat_core::sync::Told as Recovering;
use tokio::sync::watch;

use crate::auth::Auth;
use crate::fanout::{Badges, Told};
use crate::gateway::conn::Conn;
use crate::gateway::session::Sessions;
use crate::gateway::sockets::Sockets;
use crate::metrics;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::wiring::Backends;

/// How far a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Up,
    /// Told to stop: nobody new is let in.
    Draining,
    /// Nothing new is begun.
    Closing,
}

/// What every part of a running server shares.
#[derive(Debug)]
pub(crate) struct App {
    /// The chat.
    pub(crate) chat: Chat,
    /// What it runs on.
    pub(crate) backends: Backends,
    /// Who is who.
    pub(crate) auth: Auth,
    /// The numbers it runs by.
    pub(crate) options: Options,
    /// Who is connected.
    pub(crate) sockets: Sockets,
    /// What the HTTP side knows of sessions.
    pub(crate) sessions: Sessions,
    /// Whose unread counts are to be told.
    pub(crate) badges: Badges,
    /// What sockets here were told of who is here.
    pub(crate) told: Told,
    /// Which servers are this chat.
    pub(crate) nodes: Nodes,
    /// How it goes with Redis, once it is looked after.
    pub(crate) recovery: OnceLock<watch::Receiver<Recovering>>,
    /// Since when it runs.
    pub(crate) started: Timestamp,
    /// Events taken in and not answered yet.
    pub(crate) open: Arc<AtomicUsize>,
    phase: watch::Sender<Phase>,
    conns: AtomicU64,
}

impl App {
    pub(crate) fn new(chat: Chat, backends: Backends, auth: Auth, options: Options) -> Self {
        Self {
            auth,
            backends,
            sockets: Sockets::default(),
            sessions: Sessions::default(),
            badges: Badges::default(),
            told: Told::default(),
            nodes: Nodes::default(),
            recovery: OnceLock::new(),
            started: chat.now(),
            open: Arc::default(),
            phase: watch::Sender::new(Phase::Up),
            conns: AtomicU64::new(0),
            options,
            chat,
        }
    }

    /// A number no other socket of this process has.
    pub(crate) fn next_conn(&self) -> u64 {
        self.conns.fetch_add(1, Ordering::Relaxed)
    }

    /// A socket comes: it gets what is sent to its user.
    pub(crate) fn arrive(&self, conn: &Arc<Conn>) {
        self.sockets.enter(conn);
        metrics::sockets(1.0);
    }

    /// A socket is gone: it gets nothing more, and its user's presence follows. Happens once per socket.
    pub(crate) async fn leave(&self, conn: &Conn) {
        if !conn.leave() {
            return;
        }
        if self.sockets.leave(conn) {
            metrics::sockets(-1.0);
        }
        let ended = match &conn.actor.session {
            // Told to come back, it does so elsewhere: nobody is to see it go in between.
            Some(session) if self.is_draining() && self.backends.is_shared() => {
                let lease = [(conn.user().clone(), session.clone())];
                self.chat.ports().presence.renew_many(&lease, self.options.handover).await.map(drop)
            }
            _ => self.chat.disconnect(&conn.actor).await.map(drop),
        };
        if let Err(error) = ended {
            // The lease runs out by itself.
            tracing::warn!(code = %error.code(), "a session could not be ended");
        }
    }

    /// Moves on to a later phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Whether nobody new is let in.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Whether nothing new is begun.
    pub(crate) fn is_closing(&self) -> bool {
        *self.phase.borrow() >= Phase::Closing
    }

    /// Changes of the phase.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}
