//! One connected socket, as everything but socketioxide sees it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use chat_core::clock::Timestamp;
use chat_core::domain::{Actor, Device, UserId};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};

use super::session::Session;
use super::sockets::Peer;
use crate::auth::{Identity, LEEWAY};
use crate::metrics;

/// How many frames wait between being let in and the CONNECT packet.
const MAX_EARLY: usize = 1_024;

/// An event on its way to sockets, written once for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Its name.
    pub(crate) event: &'static str,
    body: Arc<RawValue>,
}

impl Frame {
    /// Writes an event.
    pub(crate) fn new(event: &'static str, payload: &impl Serialize) -> Option<Self> {
        match serde_json::value::to_raw_value(payload) {
            Ok(body) => Some(Self { event, body: body.into() }),
            Err(error) => {
                tracing::error!(event, %error, "an event could not be written");
                None
            }
        }
    }
}

/// One connected socket. The socket itself is owned by its namespace; this one only knows it.
pub(crate) struct Conn {
    id: u64,
    /// Who acts through it.
    pub(crate) actor: Actor,
    /// What its token said.
    pub(crate) identity: Identity,
    /// What its client said about its device.
    pub(crate) device: Option<Device>,
    /// How many bytes may wait for its peer.
    pub(crate) out_bytes: u64,
    socket: Weak<Socket>,
    session: Arc<Session>,
    /// What came before the CONNECT packet was sent; `None` from then on.
    early: Mutex<Option<Vec<Frame>>>,
    active: AtomicBool,
    dismissed: AtomicBool,
    left: AtomicBool,
}

/// What is known of a socket when it is let in.
pub(crate) struct Arrival {
    /// Its number among all sockets of this process.
    pub(crate) id: u64,
    /// Who acts through it.
    pub(crate) actor: Actor,
    /// What its token said.
    pub(crate) identity: Identity,
    /// What its client said about its device.
    pub(crate) device: Option<Device>,
    /// Its Engine.IO session.
    pub(crate) session: Arc<Session>,
    /// How many bytes may wait for its peer.
    pub(crate) out_bytes: u64,
}

impl Conn {
    /// A socket that was let in and has not been told yet.
    pub(crate) fn new(arrival: Arrival, socket: &Arc<Socket>) -> Self {
        let Arrival { id, actor, identity, device, session, out_bytes } = arrival;
        Self {
            id,
            actor,
            identity,
            device,
            out_bytes,
            socket: Arc::downgrade(socket),
            session,
            early: Mutex::new(Some(Vec::new())),
            active: AtomicBool::new(true),
            dismissed: AtomicBool::new(false),
            left: AtomicBool::new(false),
        }
    }

    /// Whose it is.
    pub(crate) fn user(&self) -> &UserId {
        &self.actor.user
    }

    /// When its token ends.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.identity.expires.after(LEEWAY)
    }

    /// Sends an event; what is sent before the peer was told that it is in waits for that.
    pub(crate) fn send(&self, frame: &Frame) {
        {
            let mut early = self.early.lock();
            if let Some(waiting) = early.as_mut() {
                if waiting.len() < MAX_EARLY {
                    waiting.push(frame.clone());
                    return;
                }
                drop(early);
                return self.overflow();
            }
        }
        self.emit(frame);
    }

    /// The peer was told that it is in: what waited for that goes out, in order.
    pub(crate) fn welcome(&self) {
        let mut early = self.early.lock();
        for frame in early.take().unwrap_or_default() {
            self.emit(&frame);
        }
    }

    fn emit(&self, frame: &Frame) {
        let Some(socket) = self.socket.upgrade() else { return };
        if !self.session.hand_over(frame.body.get().len(), self.out_bytes) {
            return self.overflow();
        }
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) =
            socket.emit(frame.event, &*frame.body)
        {
            self.overflow();
        }
    }

    /// The session, for answers.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The peer does not keep up: it is disconnected, and catches up when it comes back.
    pub(crate) fn overflow(&self) {
        self.cut("overflow");
    }

    /// Ends the transport, as a network does: the client comes back by itself.
    pub(crate) fn cut(&self, cause: &'static str) {
        if self.session.end() {
            tracing::info!(cause, "a socket was cut");
            metrics::cut(cause);
        }
    }

    /// Whether its transport was ended from here: whatever is left of it concerns nobody any more.
    pub(crate) fn is_cut(&self) -> bool {
        self.session.is_ended()
    }

    /// Ends the socket, as a server does: the client does not come back by itself. Happens once.
    pub(crate) fn dismiss(&self, cause: &'static str, farewell: Option<&Frame>) {
        if self.dismissed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(farewell) = farewell {
            self.send(farewell);
        }
        match self.socket.upgrade().map(Socket::disconnect) {
            Some(Err(SocketError::InternalChannelFull)) => self.cut(cause),
            _ => metrics::cut(cause),
        }
    }

    /// Something was asked through it.
    pub(crate) fn is_active(&self) {
        self.active.store(true, Ordering::Relaxed);
    }

    /// Whether something was asked through it since this was last asked.
    pub(crate) fn was_active(&self) -> bool {
        self.active.swap(false, Ordering::Relaxed)
    }

    /// True for the first caller: leaving happens once.
    pub(crate) fn leave(&self) -> bool {
        !self.left.swap(true, Ordering::AcqRel)
    }

    /// Whether it has left.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}

impl Peer for Conn {
    fn id(&self) -> u64 {
        self.id
    }

    fn user(&self) -> &UserId {
        &self.actor.user
    }

    fn send(&self, frame: &Frame) {
        Self::send(self, frame);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).field("actor", &self.actor).finish_non_exhaustive()
    }
}
