//! A person with one device: a small Socket.IO v5 client that notes everything it hears.

use std::collections::HashMap;
use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

use super::run::{DEADLINE, within};
use super::server::Server;
use super::token::{fresh, good};
use super::wire::{Wire, prefix};

/// How many frames wait to be sent.
const OUT: usize = 16_384;

/// A connected socket. Dropping it ends the connection without a word.
#[derive(Debug)]
pub(crate) struct Client {
    /// Who it is.
    pub(crate) user: String,
    namespace: String,
    out: mpsc::Sender<Message>,
    heard: watch::Receiver<Heard>,
    next_id: u64,
}

/// Everything heard so far.
#[derive(Debug, Default)]
struct Heard {
    events: Vec<(String, Value)>,
    acks: HashMap<u64, Value>,
    /// The acknowledgements in the order they came.
    order: Vec<u64>,
    /// Whether the server ended the socket, as opposed to the connection.
    dismissed: bool,
    closed: bool,
}

impl Client {
    /// Somebody new.
    pub(crate) async fn new(server: &Server, name: &str) -> Self {
        Self::of(server, &fresh(name)).await
    }

    /// One more device of a user.
    pub(crate) async fn of(server: &Server, user: &str) -> Self {
        Self::at(server.address, "/", user, &json!({ "token": good(user) })).await.unwrap()
    }

    /// Connects; the error is what the server says.
    pub(crate) async fn at(
        address: SocketAddr,
        namespace: &str,
        user: &str,
        auth: &Value,
    ) -> Result<Self, Value> {
        let mut wire = Wire::open(address).await;
        wire.connect(namespace, auth).await?;
        Ok(Self::over(wire, namespace, user))
    }

    /// Takes over a wire that is connected.
    pub(crate) fn over(wire: Wire, namespace: &str, user: &str) -> Self {
        let (out, sending) = mpsc::channel(OUT);
        let (hearing, heard) = watch::channel(Heard::default());
        tokio::spawn(pump(wire, prefix(namespace), sending, hearing));
        Self { user: user.to_owned(), namespace: namespace.to_owned(), out, heard, next_id: 0 }
    }

    /// Sends a frame as it is.
    pub(crate) async fn raw(&self, text: impl Into<String>) {
        // What is sent to a socket that has ended is lost.
        let _ = self.out.send(Message::text(text.into())).await;
    }

    /// Asks for something, without waiting; the number belongs to the acknowledgement.
    pub(crate) async fn emit(&mut self, event: &str, payload: &Value) -> u64 {
        self.emit_raw(&json!([event, payload]).to_string()).await
    }

    /// The same with arguments written by hand.
    pub(crate) async fn emit_raw(&mut self, arguments: &str) -> u64 {
        self.next_id += 1;
        self.raw(format!("42{}{}{arguments}", prefix(&self.namespace), self.next_id)).await;
        self.next_id
    }

    /// Asks for something and does not want to be told.
    pub(crate) async fn tell(&self, event: &str, payload: &Value) {
        self.raw(format!("42{}{}", prefix(&self.namespace), json!([event, payload]))).await;
    }

    /// The acknowledgement with this number.
    pub(crate) async fn ack(&self, id: u64) -> Value {
        let heard = self.until(&format!("acknowledgement {id}"), |heard| heard.acks.contains_key(&id)).await;
        heard.borrow().acks.get(&id).cloned().unwrap()
    }

    /// The acknowledgement with this number, unless the connection ends before.
    pub(crate) async fn try_ack(&self, id: u64) -> Option<Value> {
        let mut heard = self.heard.clone();
        let what = format!("acknowledgement {id} at {}", self.user);
        let fits = |heard: &Heard| heard.closed || heard.acks.contains_key(&id);
        let last = within(what, heard.wait_for(fits)).await.ok()?;
        last.acks.get(&id).cloned()
    }

    /// All numbers of acknowledgements in the order they came, once there are so many.
    pub(crate) async fn ack_order(&self, count: usize) -> Vec<u64> {
        let what = format!("{count} acknowledgements");
        self.until(&what, |heard| heard.order.len() >= count).await.borrow().order.clone()
    }

    /// Asks and waits: `{ok, data | error}`.
    pub(crate) async fn answer(&mut self, event: &str, payload: Value) -> Value {
        let id = self.emit(event, &payload).await;
        self.ack(id).await
    }

    /// The same with arguments written by hand.
    pub(crate) async fn answer_raw(&mut self, arguments: &str) -> Value {
        let id = self.emit_raw(arguments).await;
        self.ack(id).await
    }

    /// Asks for something that must succeed.
    pub(crate) async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let mut answer = self.answer(event, payload).await;
        assert_eq!(answer["ok"], true, "{event} by {}: {answer}", self.user);
        answer["data"].take()
    }

    /// Asks for something that must be refused; says with what code.
    pub(crate) async fn refused(&mut self, event: &str, payload: Value) -> String {
        code(event, &self.answer(event, payload).await)
    }

    /// The same with arguments written by hand.
    pub(crate) async fn refused_raw(&mut self, arguments: &str) -> String {
        code(arguments, &self.answer_raw(arguments).await)
    }

    /// Sends a message to a conversation.
    pub(crate) async fn send(&mut self, conversation: &str, content: &str) -> Value {
        self.ask("sendMessage", json!({ "conversationId": conversation, "content": content })).await
    }

    /// The direct conversation with somebody, made by a first message.
    pub(crate) async fn direct(&mut self, other: &str) -> String {
        let sent = self.ask("sendMessage", json!({ "receiverId": other, "content": "hello" })).await;
        self.hears("newMessage", |message| message["messageId"] == sent["messageId"]).await;
        text(&sent, "conversationId")
    }

    /// A group with others; what happens to them is told from now on.
    pub(crate) async fn group(&mut self, others: &[&Self]) -> String {
        let members: Vec<&str> = others.iter().map(|other| other.user.as_str()).collect();
        let answer = self.ask("createGroup", json!({ "name": "A group", "members": members })).await;
        let group = text(&answer, "conversationId");
        self.hears("conversation:created", |created| created["conversationId"] == *group).await;
        group
    }

    /// Everything said in a conversation, oldest first.
    pub(crate) async fn history(&mut self, conversation: &str) -> Vec<Value> {
        let (mut messages, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let mut wanted = json!({ "conversationId": conversation, "limit": 100 });
            match &cursor {
                Value::Null => wanted["afterSeq"] = json!(0),
                cursor => wanted["cursor"] = cursor.clone(),
            }
            let mut page = self.ask("messages:fullload", wanted).await;
            messages.append(page["messages"].as_array_mut().unwrap());
            cursor = page["nextCursor"].take();
            if page["hasMore"] == false {
                return messages;
            }
        }
    }

    /// Everything said in a conversation after a place, in order.
    pub(crate) async fn catch_up(&mut self, conversation: &str, seq: u64) -> Vec<Value> {
        let (mut messages, mut seq) = (Vec::new(), json!(seq));
        loop {
            let mut missed = self.ask("catchUp", json!({ "positions": { conversation: seq } })).await;
            assert_eq!((&missed["forbidden"], &missed["discontinuity"]), (&json!([]), &json!([])));
            let page = missed["messages"].as_array_mut().unwrap();
            seq = page.last().map_or(seq, |last| last["seq"].clone());
            messages.append(page);
            if missed["hasMore"] == false {
                return messages;
            }
        }
    }

    /// Waits for an event.
    pub(crate) async fn hears(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found =
            |heard: &Heard| heard.events.iter().find(|(name, data)| name == event && fits(data)).cloned();
        let heard = self.until(event, |heard| found(heard).is_some()).await;
        let (_, data) = found(&heard.borrow()).unwrap();
        data
    }

    /// Waits for a message with this content.
    pub(crate) async fn hears_message(&self, content: &str) -> Value {
        self.hears("newMessage", |message| message["content"] == content).await
    }

    /// Everything with this name that was heard so far.
    pub(crate) fn heard(&self, event: &str) -> Vec<Value> {
        let heard = self.heard.borrow();
        heard.events.iter().filter(|(name, _)| name == event).map(|(_, data)| data.clone()).collect()
    }

    /// Everything that was heard so far, with its names.
    pub(crate) fn everything(&self) -> Vec<(String, Value)> {
        self.heard.borrow().events.clone()
    }

    /// Waits for the connection to end.
    pub(crate) async fn closed(&self) {
        self.until("the connection to end", |heard| heard.closed).await;
    }

    /// Waits for the server to end the socket, or the connection.
    pub(crate) async fn dismissed(&self) {
        self.until("the socket to end", |heard| heard.dismissed || heard.closed).await;
    }

    /// Whether the server ended the socket, so that a client would not come back by itself.
    pub(crate) fn was_dismissed(&self) -> bool {
        self.heard.borrow().dismissed
    }

    /// Done when the connection has ended, however long that takes.
    pub(crate) fn is_over(&self) -> impl Future<Output = ()> + use<> {
        let mut heard = self.heard.clone();
        async move {
            // An error means that it has ended, too.
            let _ = heard.wait_for(|heard| heard.closed).await;
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.heard.borrow().closed
    }

    async fn until(&self, what: &str, fits: impl Fn(&Heard) -> bool) -> watch::Receiver<Heard> {
        let mut heard = self.heard.clone();
        // Nothing comes after the end: no need to wait for the deadline.
        let waiting = heard.wait_for(|heard| heard.closed || fits(heard));
        let why = match tokio::time::timeout(DEADLINE, waiting).await.map(|over| over.is_ok()) {
            Ok(true) => "the connection ended",
            Ok(false) => "the client is gone",
            Err(_) => "it did not come in time",
        };
        if !fits(&heard.borrow()) {
            let tail: Vec<_> = heard.borrow().events.iter().rev().take(8).cloned().collect();
            panic!("{what} at {}: {why}; last heard, latest first: {tail:?}", self.user);
        }
        heard
    }
}

/// Carries frames in both directions until either side is gone.
async fn pump(wire: Wire, prefix: String, mut out: mpsc::Receiver<Message>, hearing: watch::Sender<Heard>) {
    let (mut sink, mut stream) = wire.socket.split();
    let (pong, mut pongs) = mpsc::channel(16);
    let writing = async move {
        loop {
            let message = tokio::select! {
                Some(message) = pongs.recv() => message,
                message = out.recv() => match message {
                    Some(message) => message,
                    None => return,
                },
            };
            if sink.send(message).await.is_err() {
                // The reader finds out why. Whoever still sends, sends into the void.
                while out.recv().await.is_some() {}
                return;
            }
        }
    };
    let reading = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Text(text) if text.as_str() == "2" => drop(pong.send(Message::text("3")).await),
                Message::Text(text) => note(&hearing, &prefix, &text),
                Message::Close(_) => break,
                _ => {}
            }
        }
        hearing.send_modify(|heard| heard.closed = true);
        // Whoever still holds the client may still ask what it heard.
        hearing.closed().await;
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

/// Notes one packet.
fn note(hearing: &watch::Sender<Heard>, prefix: &str, text: &str) {
    let Some((kind, rest)) = text.split_at_checked(2) else { return };
    let Some(rest) = rest.strip_prefix(prefix) else { return };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, arguments) = rest.split_at(digits);
    let arguments: Value = serde_json::from_str(arguments).unwrap_or(Value::Null);
    hearing.send_modify(|heard| match kind {
        "41" => heard.dismissed = true,
        "42" => {
            heard.events.push((arguments[0].as_str().unwrap_or_default().to_owned(), arguments[1].clone()))
        }
        "43" => {
            let id = id.parse().unwrap();
            assert!(heard.acks.insert(id, arguments[0].clone()).is_none(), "acknowledged twice: {id}");
            heard.order.push(id);
        }
        _ => {}
    });
}

/// The code of a refusal, which has a text for people too.
#[track_caller]
pub(crate) fn code(what: &str, answer: &Value) -> String {
    assert_eq!(answer["ok"], false, "{what} was not refused: {answer}");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{what}: no message in {answer}"
    );
    text(&answer["error"], "code")
}

/// A field that is text.
#[track_caller]
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field} in {value}")).to_owned()
}

/// "Nothing arrives" needs no sleep: whatever was on its way has arrived once a later message has.
pub(crate) async fn barrier(sender: &mut Client, receivers: &[&Client]) {
    for receiver in receivers {
        let content = fresh("barrier");
        sender.ask("sendMessage", json!({ "receiverId": receiver.user, "content": content })).await;
        receiver.hears_message(&content).await;
    }
}
