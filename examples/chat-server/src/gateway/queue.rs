//! One queue per socket: what a socket asks is handled one after the other, and no more than that waits.
//!
//! socketioxide runs every handler in a task of its own: out of order, and without any bound. So the one handler there
//! is only puts the event into the socket's queue, at once, and a worker takes them out in order. Being the fallback
//! handler it sees every event, known or not, so that each can be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_core::error::{Code, Error};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler, Value};
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::answer::{Answer, told_code, written};
use super::conn::Conn;
use crate::metrics;
use crate::options::MAX_EVENT;

/// An event waiting for its turn. Boxed, since a channel has room for 32 of them as long as it lives.
pub(crate) struct Incoming {
    /// The packet's text: `["event", payload]`.
    packet: Value,
    reply: Reply,
}

impl Incoming {
    /// The text `["event", payload]`.
    pub(crate) fn text(&self) -> &str {
        self.packet.as_str().map(|text| text.as_str()).unwrap_or_default()
    }

    /// Whether binary attachments came with it.
    pub(crate) fn is_binary(&self) -> bool {
        !matches!(self.packet, Value::Str(_, None))
    }

    /// Where its answer goes.
    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }
}

/// Where one answer goes. Nowhere, when the client asked for none.
pub(crate) struct Reply {
    /// Taken when it is sent; none when the client asked for none.
    ack: Option<AckSender>,
    conn: Arc<Conn>,
    /// How many of this process are not answered yet; this one among them.
    open: Arc<AtomicUsize>,
}

impl Reply {
    /// Answers. A peer that does not fetch its answers is disconnected.
    pub(crate) fn send(mut self, answer: &Answer) {
        let (Some(ack), Some(body)) = (self.ack.take(), written(answer)) else { return };
        if !self.conn.session().hand_over(body.get().len(), self.conn.out_bytes) {
            return self.conn.overflow();
        }
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) = ack.send(&*body) {
            self.conn.overflow();
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The handler of a socket: puts what it asks into its queue.
pub(crate) struct Intake {
    conn: Arc<Conn>,
    queue: mpsc::Sender<Box<Incoming>>,
    open: Arc<AtomicUsize>,
}

impl Intake {
    /// A handler in front of this queue; `open` counts what is not answered yet.
    pub(crate) fn new(conn: Arc<Conn>, queue: mpsc::Sender<Box<Incoming>>, open: Arc<AtomicUsize>) -> Self {
        Self { conn, queue, open }
    }

    fn take(&self, packet: Value, ack: Option<AckSender>) {
        self.open.fetch_add(1, Ordering::AcqRel);
        let reply = Reply { ack, conn: Arc::clone(&self.conn), open: Arc::clone(&self.open) };
        if packet.len() > MAX_EVENT {
            return refuse(reply, Error::new(Code::PayloadTooLarge).with("max", MAX_EVENT));
        }
        match self.queue.try_send(Box::new(Incoming { packet, reply })) {
            Ok(()) => {}
            Err(TrySendError::Full(incoming)) => refuse(incoming.reply, Code::QueueFull.into()),
            Err(TrySendError::Closed(incoming)) => refuse(incoming.reply, Code::ServerDraining.into()),
        }
    }
}

/// Answers ahead of the queue.
fn refuse(reply: Reply, error: Error) {
    metrics::answered("refused", Some(told_code(error.code())), None);
    reply.send(&Err(error));
}

impl MessageHandler<LocalAdapter, Self> for Intake {
    fn call(&self, socket: Arc<Socket>, mut packet: Value, ack_id: Option<i64>) {
        match AckSender::from_message_parts(&socket, &mut packet, &ack_id) {
            Ok(ack) => self.take(packet, ack_id.is_some().then_some(ack)),
            Err(never) => match never {},
        }
    }
}
