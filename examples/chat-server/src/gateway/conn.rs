//! One connected socket, as everything but socketioxide sees it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use axum::body::Bytes;
use chat_core::clock::Timestamp;
use chat_core::domain::{Actor, Device, UserId};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError, TransportType};

use super::connect::NAMESPACES;
use super::session::Session;
use super::sockets::Peer;
use crate::auth::{Identity, LEEWAY};
use crate::{line, metrics};

/// How many frames wait between being let in and the CONNECT packet.
const MAX_EARLY: usize = 1_024;
/// How many bytes are held to go out together.
const MAX_HELD: usize = 64 * 1024;

/// An event on its way to sockets, written once for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Its name.
    pub(crate) event: &'static str,
    written: Arc<Written>,
}

#[derive(Debug)]
struct Written {
    body: Box<RawValue>,
    /// For each namespace, what goes over a WebSocket.
    frames: [OnceLock<Bytes>; NAMESPACES.len()],
}

impl Frame {
    /// Writes an event.
    pub(crate) fn new(event: &'static str, payload: &impl Serialize) -> Option<Self> {
        match serde_json::value::to_raw_value(payload) {
            Ok(body) => Some(Self { event, written: Arc::new(Written { body, frames: Default::default() }) }),
            Err(error) => {
                tracing::error!(event, %error, "an event could not be written");
                None
            }
        }
    }

    /// How many bytes it has, without its name.
    fn len(&self) -> usize {
        self.written.body.get().len()
    }

    /// As it goes over a WebSocket, in a namespace.
    fn over_websocket(&self, namespace: usize) -> Option<&Bytes> {
        let Written { body, frames } = &*self.written;
        let write = || {
            let name = match NAMESPACES.get(namespace) {
                None | Some(&"/") => String::new(),
                Some(name) => format!("{name},"),
            };
            line::frame(format!("42{name}[\"{}\",{body}]", self.event).as_bytes())
        };
        frames.get(namespace).map(|frame| frame.get_or_init(write))
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
    /// Which of the namespaces it is in.
    namespace: usize,
    session: Arc<Session>,
    waiting: Mutex<Waiting>,
    active: AtomicBool,
    dismissed: AtomicBool,
    left: AtomicBool,
}

/// What is held for a socket, in order.
#[derive(Debug, Default)]
struct Waiting {
    /// Whether the peer was told that it is in; everything waits for that.
    is_in: bool,
    frames: Vec<Frame>,
    bytes: usize,
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
        let namespace = NAMESPACES.iter().position(|name| *name == socket.ns()).unwrap_or_default();
        Self {
            id,
            actor,
            identity,
            device,
            out_bytes,
            socket: Arc::downgrade(socket),
            namespace,
            session,
            waiting: Mutex::default(),
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
        self.hold(frame);
        self.flush();
    }

    /// Holds an event until [`flush`](Self::flush), so that what comes at once goes out at once. Says whether it is the first,
    /// for which somebody has to flush.
    pub(crate) fn hold(&self, frame: &Frame) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.is_in && waiting.frames.len() >= MAX_EARLY {
            drop(waiting);
            self.overflow();
            return false;
        }
        waiting.frames.push(frame.clone());
        waiting.bytes += frame.len();
        if waiting.is_in && waiting.bytes > MAX_HELD {
            self.emit(&mut waiting);
            return false;
        }
        waiting.is_in && waiting.frames.len() == 1
    }

    /// Sends what is held.
    pub(crate) fn flush(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.is_in && !waiting.frames.is_empty() {
            self.emit(&mut waiting);
        }
    }

    /// The peer was told that it is in: what waited for that goes out, in order.
    pub(crate) fn welcome(&self) {
        self.session.welcome();
        self.waiting.lock().is_in = true;
        self.flush();
    }

    /// Sends what is held, in order: straight to the operating system if nothing is on its way before it, else by the queue of
    /// the library.
    fn emit(&self, waiting: &mut Waiting) {
        waiting.bytes = 0;
        let frames = std::mem::take(&mut waiting.frames);
        let Some(socket) = self.socket.upgrade().filter(|socket| socket.connected()) else { return };
        if socket.transport_type() == TransportType::Websocket && self.pass(&frames) {
            return;
        }
        for frame in &frames {
            if !self.session.hand_over(frame.len(), self.out_bytes) {
                return self.overflow();
            }
            if let Err(SendError::Socket(SocketError::InternalChannelFull)) =
                socket.emit(frame.event, &*frame.written.body)
            {
                return self.overflow();
            }
        }
    }

    fn pass(&self, frames: &[Frame]) -> bool {
        let over_websocket = |frame: &'_ Frame| frame.over_websocket(self.namespace).cloned();
        match frames {
            [frame] => over_websocket(frame).is_some_and(|frame| self.session.pass(&frame)),
            _ => {
                let mut together = Vec::with_capacity(MAX_HELD / 8);
                frames.iter().filter_map(over_websocket).for_each(|frame| together.extend_from_slice(&frame));
                self.session.pass(&together.into())
            }
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

    fn hold(&self, frame: &Frame) -> bool {
        Self::hold(self, frame)
    }

    fn flush(&self) {
        Self::flush(self);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).field("actor", &self.actor).finish_non_exhaustive()
    }
}
