//! A Socket.IO client without comfort: what it sends is what goes over the wire, when it says so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How long anything that must happen may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// One socket on one namespace.
pub(crate) struct Client {
    ws: WebSocketStream<TcpStream>,
    prefix: String,
    next: u64,
    /// Every event that came, in order.
    pub(crate) heard: Vec<(String, Value)>,
    /// Acknowledgements in the order they came.
    pub(crate) acks: Vec<u64>,
    answers: HashMap<u64, Value>,
    closed: bool,
}

/// Fails with a name instead of hanging.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

impl Client {
    /// Opens the transport and asks to be let in; the error is what `connect_error` says.
    pub(crate) async fn try_connect(address: SocketAddr, namespace: &str, auth: &Value) -> Result<Self, String> {
        let mut client = Self::transport(address, namespace).await;
        client.raw(&format!("40{}{auth}", client.prefix)).await;
        let accepted = format!("40{}{{", client.prefix);
        loop {
            let frame = within("CONNECT", client.frame()).await.ok_or("closed")?;
            if frame.starts_with(&accepted) {
                return Ok(client);
            }
            if let Some(refused) = frame.strip_prefix(&format!("44{}", client.prefix)) {
                let refused: Value = serde_json::from_str(refused).unwrap();
                return Err(refused["message"].as_str().unwrap().to_owned());
            }
            client.take(&frame);
        }
    }

    /// Opens the transport only.
    pub(crate) async fn transport(address: SocketAddr, namespace: &str) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (ws, _) = within("the WebSocket", tokio_tungstenite::client_async(url, tcp)).await.unwrap();
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let (heard, acks, answers) = (Vec::new(), Vec::new(), HashMap::new());
        let mut client = Self { ws, prefix, next: 0, heard, acks, answers, closed: false };
        let open = within("OPEN", client.frame()).await.expect("an open packet");
        assert!(open.starts_with("0{"), "{open}");
        client
    }

    /// One text frame, as it is.
    pub(crate) async fn raw(&mut self, frame: &str) {
        // A connection that is gone is noticed by reading.
        let _ = self.ws.send(Message::text(frame)).await;
    }

    /// One binary frame.
    pub(crate) async fn binary(&mut self, bytes: &'static [u8]) {
        let _ = self.ws.send(Message::binary(bytes)).await;
    }

    /// Puts one event on its way, without flushing; answers its acknowledgement's number.
    pub(crate) async fn feed(&mut self, event: &str, payload: &Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let frame = format!("42{}{id}{}", self.prefix, json!([event, payload]));
        let _ = self.ws.feed(Message::text(frame)).await;
        id
    }

    pub(crate) async fn flush(&mut self) {
        let _ = self.ws.flush().await;
    }

    /// Sends an event; answers its acknowledgement's number.
    pub(crate) async fn emit(&mut self, event: &str, payload: &Value) -> u64 {
        let id = self.feed(event, payload).await;
        self.flush().await;
        id
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let id = self.emit(event, &payload).await;
        self.answer(id).await
    }

    /// Asks for something that must succeed.
    pub(crate) async fn done(&mut self, event: &str, payload: Value) -> Value {
        let answer = self.ask(event, payload).await;
        assert_eq!(answer["ok"], true, "{event}: {answer}");
        answer["data"].clone()
    }

    /// Asks for something that must be refused; answers the code.
    pub(crate) async fn refused(&mut self, event: &str, payload: Value) -> String {
        let answer = self.ask(event, payload).await;
        assert_eq!(answer["ok"], false, "{event}: {answer}");
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Waits for the answer with this number.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        within(&format!("answer {id}"), async {
            loop {
                if let Some(answer) = self.answers.remove(&id) {
                    return answer;
                }
                assert!(self.pump().await, "closed before answer {id}");
            }
        })
        .await
    }

    /// Waits for the answer with this number, or for the end of the connection.
    pub(crate) async fn answer_or_end(&mut self, id: u64) -> Option<Value> {
        within("an answer or the end", async {
            loop {
                if let Some(answer) = self.answers.remove(&id) {
                    return Some(answer);
                }
                if !self.pump().await {
                    return None;
                }
            }
        })
        .await
    }

    /// Waits for an event that fits, among those not taken yet.
    pub(crate) async fn hears(&mut self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(event, async {
            loop {
                if let Some(place) = self.heard.iter().position(|(name, data)| name == event && fits(data)) {
                    return self.heard.remove(place).1;
                }
                assert!(self.pump().await, "closed before {event}; heard {:?}", self.heard);
            }
        })
        .await
    }

    /// Waits for the other side to end the connection.
    pub(crate) async fn ends(&mut self) {
        within("the end of the connection", async { while self.pump().await {} }).await;
    }

    /// Takes one frame; false when there are no more.
    async fn pump(&mut self) -> bool {
        match self.frame().await {
            Some(frame) => {
                self.take(&frame);
                true
            }
            None => false,
        }
    }

    /// The next frame that is no heartbeat.
    pub(crate) async fn frame(&mut self) -> Option<String> {
        while !self.closed {
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.raw("3").await,
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => self.closed = true,
                Some(Ok(_)) => {}
            }
        }
        None
    }

    fn take(&mut self, frame: &str) {
        let event = format!("42{}", self.prefix);
        let ack = format!("43{}", self.prefix);
        if let Some(body) = frame.strip_prefix(&event) {
            let parts: Vec<Value> = serde_json::from_str(body).unwrap();
            let name = parts[0].as_str().unwrap().to_owned();
            self.heard.push((name, parts.get(1).cloned().unwrap_or(Value::Null)));
        } else if let Some(body) = frame.strip_prefix(&ack) {
            let (id, list) = body.split_at(body.find('[').unwrap());
            let id = id.parse().unwrap();
            self.acks.push(id);
            self.answers.insert(id, serde_json::from_str::<Vec<Value>>(list).unwrap().remove(0));
        } else if frame.starts_with(&format!("41{}", self.prefix)) {
            self.heard.push(("(disconnect)".to_owned(), Value::Null));
        }
    }
}
