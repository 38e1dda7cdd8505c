//! Somebody with an app: comes back by itself when it is cut, says again what was not acknowledged, asks for what it missed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::world::Addresses;
use crate::it::support::client::Client;
use crate::it::support::run::within;
use crate::it::support::token::{fresh, in_seconds, with};
use crate::it::support::wire::Wire;

/// How long an app waits for a server before it tries another.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it rests before it tries again.
const REST: Duration = Duration::from_millis(50);
/// What tells an app to try again.
const AGAIN: [&str; 5] =
    ["chat.unavailable", "chat.timeout", "chat.server.draining", "chat.queue.full", "chat.conflict"];

/// Somebody with an app.
#[derive(Debug)]
pub(crate) struct Roamer {
    /// Who it is.
    pub(crate) user: String,
    addresses: Addresses,
    /// Which server is tried first.
    next: usize,
    now: Option<Client>,
    past: Vec<Client>,
}

impl Roamer {
    /// Somebody new, whose app tries this server first.
    pub(super) async fn new(addresses: &Addresses, name: &str, first: usize) -> Self {
        let addresses = Addresses::clone(addresses);
        let mut roamer = Self { user: fresh(name), addresses, next: first, now: None, past: Vec::new() };
        roamer.here().await;
        roamer
    }

    /// The connection it has, or else the next one.
    pub(super) async fn here(&mut self) -> &mut Client {
        if self.now.as_ref().is_some_and(Client::is_closed) {
            self.leave();
        }
        if self.now.is_none() {
            self.now = Some(within(format!("{} to find a server", self.user), self.connect()).await);
        }
        self.now.as_mut().expect("just connected")
    }

    async fn connect(&mut self) -> Client {
        loop {
            let address = {
                let addresses = self.addresses.lock().unwrap();
                addresses[self.next % addresses.len()]
            };
            let connecting = async {
                let stream = TcpStream::connect(address).await.ok()?;
                let mut wire = Wire::try_over(stream, address).await?.ok()?;
                wire.connect("/", &json!({ "token": long(&self.user) })).await.ok()?;
                Some(wire)
            };
            if let Ok(Some(wire)) = tokio::time::timeout(PATIENCE, connecting).await {
                return Client::over(wire, "/", &self.user);
            }
            self.next += 1;
            tokio::time::sleep(REST).await;
        }
    }

    /// Goes away from where it is; what it heard there is kept.
    pub(super) fn leave(&mut self) {
        self.past.extend(self.now.take());
        self.next += 1;
    }

    /// Closes the app.
    pub(super) fn close(self) {}

    /// Whether it was never cut.
    pub(super) fn was_here_all_along(&self) -> bool {
        self.past.is_empty() && self.now.as_ref().is_some_and(|client| !client.is_closed())
    }

    /// How often it connected.
    pub(super) fn connections(&self) -> usize {
        self.past.iter().chain(&self.now).count()
    }

    /// Asks until it is answered.
    pub(super) async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let what = format!("{} to be told of {event}", self.user);
        let asking = async {
            loop {
                let client = self.here().await;
                let id = client.emit(event, &payload).await;
                match tokio::time::timeout(PATIENCE, client.try_ack(id)).await {
                    Ok(Some(mut answer)) if answer["ok"] == true => return answer["data"].take(),
                    Ok(Some(answer)) => {
                        let code = answer["error"]["code"].as_str().unwrap_or_default();
                        assert!(AGAIN.contains(&code), "{event} of {}: {answer}", self.user);
                        tokio::time::sleep(REST).await;
                    }
                    // The connection ended, or nobody answers.
                    Ok(None) | Err(_) => self.leave(),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(90), asking)
            .await
            .unwrap_or_else(|_| panic!("waited for {what}"))
    }

    /// Says something, again and again until it is acknowledged; its place.
    pub(super) async fn say(&mut self, conversation: &str, content: &str) -> u64 {
        let message = json!({ "conversationId": conversation, "content": content, "temporaryId": content });
        self.ask("sendMessage", message).await["seq"].as_u64().expect("a place")
    }

    /// Everything said in a conversation, by place.
    pub(super) async fn history(&mut self, conversation: &str) -> BTreeMap<u64, String> {
        let (mut all, mut after) = (BTreeMap::new(), 0);
        loop {
            let wanted = json!({ "conversationId": conversation, "limit": 100, "afterSeq": after });
            let page = self.ask("messages:fullload", wanted).await;
            for message in page["messages"].as_array().expect("messages") {
                after = message["seq"].as_u64().expect("a place");
                let content = message["content"].as_str().unwrap_or_default().to_owned();
                assert_eq!(all.insert(after, content), None, "two messages at {after}");
            }
            if page["hasMore"] == false {
                return all;
            }
        }
    }

    /// How much of a conversation is unread, as the list has it.
    pub(super) async fn unread(&mut self, conversation: &str) -> u64 {
        let list = self.ask("getConversations", json!({})).await;
        let all = list["conversations"].as_array().expect("conversations");
        let this = all.iter().find(|one| one["conversationId"] == conversation).expect("the conversation");
        this["unreadCount"].as_u64().expect("a count")
    }

    /// Who is online in a conversation.
    pub(super) async fn online(&mut self, conversation: &str) -> Vec<String> {
        let answer = self.ask("getConversationOnlineUsers", json!({ "conversationId": conversation })).await;
        let online = answer["online"].as_array().expect("a list");
        let mut users: Vec<String> =
            online.iter().map(|one| one["userId"].as_str().expect("a user").to_owned()).collect();
        users.sort_unstable();
        users
    }

    /// Everything it hears on the connection it has, with its names.
    pub(super) fn everything(&self) -> Vec<(String, Value)> {
        self.now.as_ref().map(Client::everything).unwrap_or_default()
    }

    /// Everything with this name it heard, connection by connection.
    pub(super) fn heard(&self, event: &str) -> Vec<Vec<Value>> {
        self.past.iter().chain(&self.now).map(|client| client.heard(event)).collect()
    }
}

/// A token that is good on a server whose clock is wrong, too.
fn long(user: &str) -> String {
    with(user, |claims| claims["exp"] = json!(in_seconds(3_600)))
}
