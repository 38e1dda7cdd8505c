//! The fixture server of the official protocol suites, on the stack of the reference server.
//!
//! Socket.IO on `/` and `/custom`, without authentication, with the handlers the suite of the Socket.IO protocol v5
//! expects; and on `/engine.io/` an echo for the suite of the Engine.IO protocol v4. `CHAT_CONFORMANCE_LISTEN` says
//! where (127.0.0.1:3000). The suites themselves are run from outside: see the README.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chat_server::{Line, Lines};
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use serde::ser::{Error as _, SerializeMap, SerializeSeq, SerializeTuple};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use socketioxide::SocketIo;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::handler::{FromMessageParts, MessageHandler, Value};
use tokio::net::TcpListener;

/// What the suites expect.
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
const MAX_PAYLOAD: usize = 1_000_000;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::var("CHAT_CONFORMANCE_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let (socket_io, io) = SocketIo::builder()
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_payload(MAX_PAYLOAD as u64)
        .ws_max_message_size(MAX_PAYLOAD)
        .ws_max_frame_size(MAX_PAYLOAD)
        .build_svc();
    io.ns("/", greet);
    io.ns("/custom", greet);
    let engine = EngineIoConfig::builder()
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .max_payload(MAX_PAYLOAD as u64)
        .ws_max_message_size(MAX_PAYLOAD)
        .ws_max_frame_size(MAX_PAYLOAD)
        .build();
    let app: Router = Router::new()
        .route_service("/socket.io/", socket_io)
        .route_service("/engine.io/", EngineIoService::with_config(Arc::new(Echo), engine));
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let lines = Lines::new(listener, Duration::from_secs(20));
    axum::serve(lines, app.into_make_service_with_connect_info::<Line>()).await
}

/// Sends every message back.
#[derive(Debug, Clone)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}

    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        socket.emit(message).ok();
    }

    fn on_binary(self: &Arc<Self>, bytes: axum::body::Bytes, socket: Arc<Socket<()>>) {
        socket.emit_binary(bytes).ok();
    }
}

/// Tells the client what it sent to connect, and listens.
async fn greet(socket: SocketRef, TryData(auth): TryData<Json>) {
    socket.emit("auth", &auth.unwrap_or_else(|_| Json::Object(serde_json::Map::new()))).ok();
    socket.on("message", Answering::Event);
    socket.on("message-with-ack", Answering::Ack);
}

/// Sends the arguments of an event back: as an event, or as its acknowledgement.
#[derive(Debug, Clone, Copy)]
enum Answering {
    Event,
    Ack,
}

impl MessageHandler<LocalAdapter, Self> for Answering {
    fn call(&self, socket: Arc<socketioxide::socket::Socket>, mut packet: Value, ack_id: Option<i64>) {
        let Some(arguments) = Arguments::of(&packet) else { return };
        match self {
            Self::Event => {
                socket.emit("message-back", &arguments).ok();
            }
            Self::Ack => match AckSender::from_message_parts(&socket, &mut packet, &ack_id) {
                Ok(ack) => {
                    ack.send(&arguments).ok();
                }
                Err(never) => never_happens(never),
            },
        }
    }
}

fn never_happens(never: Infallible) {
    match never {}
}

/// The arguments of an event, however many, with their attachments in place.
struct Arguments {
    list: Vec<Json>,
    attachments: Vec<Vec<u8>>,
}

impl Arguments {
    fn of(packet: &Value) -> Option<Self> {
        let Value::Str(text, attachments) = packet else { return None };
        let mut list: Vec<Json> = serde_json::from_str(text.as_str()).ok()?;
        if !list.is_empty() {
            list.remove(0);
        }
        let attachments = attachments.iter().flatten().map(|bytes| bytes.to_vec()).collect();
        Some(Self { list, attachments })
    }
}

impl Serialize for Arguments {
    /// As a tuple, which is how the library tells many arguments from one list.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.list.len())?;
        for value in &self.list {
            tuple.serialize_element(&Node { value, attachments: &self.attachments })?;
        }
        tuple.end()
    }
}

/// A value in which `{"_placeholder": true, "num": n}` stands for the attachment `n`.
struct Node<'a> {
    value: &'a Json,
    attachments: &'a [Vec<u8>],
}

impl Node<'_> {
    fn child<'a>(&'a self, value: &'a Json) -> Node<'a> {
        Node { value, attachments: self.attachments }
    }

    fn attachment(&self) -> Option<usize> {
        let placeholder = self.value.get("_placeholder").and_then(Json::as_bool).unwrap_or_default();
        let number = self.value.get("num").and_then(Json::as_u64).filter(|_| placeholder)?;
        usize::try_from(number).ok()
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(number) = self.attachment() {
            let bytes = self.attachments.get(number).ok_or_else(|| S::Error::custom("no such attachment"))?;
            return serializer.serialize_bytes(bytes);
        }
        match self.value {
            Json::Array(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    sequence.serialize_element(&self.child(value))?;
                }
                sequence.end()
            }
            Json::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, &self.child(value))?;
                }
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}
