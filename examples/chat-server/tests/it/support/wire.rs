//! One WebSocket that carries Engine.IO v4: frames as they are, for what no client library would ever send.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::run::within;

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Text; a ping of Engine.IO is answered and not shown.
    Text(String),
    /// A binary attachment.
    Binary(Vec<u8>),
}

/// A WebSocket on which Engine.IO has been opened.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(super) socket: WebSocketStream<TcpStream>,
    /// What the server said about the session.
    pub(crate) opening: Value,
}

impl Wire {
    /// A new session.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), address).await.unwrap()
    }

    /// A new session over a connection of one's own; refused with a status when the server does not want it.
    pub(crate) async fn over(stream: TcpStream, address: SocketAddr) -> Result<Self, u16> {
        Self::on_path(stream, address, "/socket.io/?EIO=4&transport=websocket").await
    }

    /// The same on any path.
    pub(crate) async fn on_path(stream: TcpStream, address: SocketAddr, path: &str) -> Result<Self, u16> {
        Self::try_on_path(stream, address, path).await.expect("a WebSocket")
    }

    /// Takes a polling session over, as clients do.
    pub(crate) async fn take_over(address: SocketAddr, sid: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let path = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&sid={sid}");
        let opening = client_async_with_config(path, stream, None);
        let (socket, _) = within("the WebSocket to open", opening).await.unwrap();
        let mut wire = Self { socket, opening: Value::Null };
        wire.send("2probe").await;
        assert_eq!(wire.next_text().await.as_deref(), Some("3probe"));
        wire.send("5").await;
        wire
    }

    /// A new session, or a status, or neither when the server is about to go.
    pub(crate) async fn try_over(stream: TcpStream, address: SocketAddr) -> Option<Result<Self, u16>> {
        Self::try_on_path(stream, address, "/socket.io/?EIO=4&transport=websocket").await
    }

    async fn try_on_path(stream: TcpStream, address: SocketAddr, path: &str) -> Option<Result<Self, u16>> {
        stream.set_nodelay(true).ok()?;
        let limits = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let opening = client_async_with_config(format!("ws://{address}{path}"), stream, Some(limits));
        let socket = match within("the WebSocket to open", opening).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(answer)) => return Some(Err(answer.status().as_u16())),
            Err(_) => return None,
        };
        let mut wire = Self { socket, opening: Value::Null };
        loop {
            if let Frame::Text(text) = wire.next().await?
                && let Some(opening) = text.strip_prefix('0')
            {
                wire.opening = serde_json::from_str(opening).ok()?;
                return Some(Ok(wire));
            }
        }
    }

    /// Connects to a namespace; the error is what the server says, or null when it hangs up.
    pub(crate) async fn connect(&mut self, namespace: &str, auth: &Value) -> Result<Value, Value> {
        let prefix = prefix(namespace);
        self.send(format!("40{prefix}{auth}")).await;
        let (yes, no) = (format!("40{prefix}"), format!("44{prefix}"));
        while let Some(frame) = self.next().await {
            let Frame::Text(text) = frame else { continue };
            if let Some(data) = text.strip_prefix(&yes) {
                return Ok(serde_json::from_str(data).unwrap_or_default());
            }
            if let Some(data) = text.strip_prefix(&no) {
                return Err(serde_json::from_str(data).unwrap());
            }
        }
        Err(Value::Null)
    }

    /// Connects to `/` as the owner of a token.
    pub(crate) async fn sign_in(&mut self, token: &str) {
        self.connect("/", &json!({ "token": token })).await.unwrap();
    }

    /// Sends a frame of text. What is sent to a socket that has ended is lost, as on any network.
    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        let sending = self.socket.send(Message::text(text.into()));
        let _ = within("a frame to be sent", sending).await;
    }

    /// Sends a binary frame.
    pub(crate) async fn send_binary(&mut self, bytes: Vec<u8>) {
        let _ = within("a frame to be sent", self.socket.send(Message::binary(bytes))).await;
    }

    /// The next frame; none when the server has hung up.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            match within("a frame", self.socket.next()).await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.send("3").await,
                Some(Ok(Message::Text(text))) => return Some(Frame::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => return Some(Frame::Binary(bytes.to_vec())),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next text; none when the server has hung up.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        loop {
            if let Frame::Text(text) = self.next().await? {
                return Some(text);
            }
        }
    }

    /// The next text that fits; everything before it is dropped.
    pub(crate) async fn find(&mut self, fits: impl Fn(&str) -> bool) -> String {
        while let Some(frame) = self.next().await {
            if let Frame::Text(text) = frame
                && fits(&text)
            {
                return text;
            }
        }
        panic!("the server hung up before the frame came");
    }

    /// The next text with this beginning.
    pub(crate) async fn text_with(&mut self, beginning: &str) -> String {
        self.find(|text| text.starts_with(beginning)).await
    }

    /// Asks for something, and waits for the acknowledgement; none when the server hangs up instead.
    pub(crate) async fn ask_raw(&mut self, namespace: &str, id: u64, arguments: &str) -> Option<Value> {
        let prefix = prefix(namespace);
        self.send(format!("42{prefix}{id}{arguments}")).await;
        self.acknowledgement(namespace, id).await
    }

    /// Waits for an acknowledgement; none when the server hangs up instead.
    pub(crate) async fn acknowledgement(&mut self, namespace: &str, id: u64) -> Option<Value> {
        let beginning = format!("43{}{id}[", prefix(namespace));
        while let Some(frame) = self.next().await {
            if let Frame::Text(text) = frame
                && text.starts_with(&beginning)
            {
                let arguments: Value = serde_json::from_str(&text[beginning.len() - 1..]).unwrap();
                return Some(arguments[0].clone());
            }
        }
        None
    }

    /// Waits for the server to hang up.
    pub(crate) async fn ended(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// What stands before the payload of a packet of this namespace.
pub(crate) fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}
