//! The traps of the Socket.IO library, one by one: T1 the log is away, T2 order and bounds, T3 the first event, T5 and
//! T6 shutting down. T4 is in `slow_peers`, T7 in `log`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::ManualClock;
use chat_core::error::{Code, Result};
use chat_core::event::Topic;
use chat_core::memory::MemoryEvents;
use chat_core::store::EventTail;
use chat_core::store::events::{TailCursor, TailRead};
use chat_core::store::presence::DEFAULT_LEASE;
use chat_server::Options;
use serde_json::{Value, json};

use crate::client::Client;
use crate::host::{Host, fresh, user};
use crate::{log, trials};

trials! { "traps":
    t1_a_log_that_was_away_is_followed_from_where_it_stood,
    t1_a_gap_in_the_log_ends_every_socket_so_that_it_catches_up,
    t2_two_thousand_events_are_handled_in_order,
    t2_a_flood_is_answered_and_what_was_accepted_is_kept,
    t3_the_first_event_is_never_lost,
    t3_what_is_sent_while_connecting_is_not_lost,
    t5_shutting_down_ends_presence,
    t6_shutting_down_amid_traffic_panics_nowhere,
}

/// A log that can be out of reach, and lose its past.
#[derive(Debug)]
struct Flaky {
    events: Arc<MemoryEvents>,
    away: AtomicBool,
    torn: AtomicBool,
}

impl Flaky {
    fn new() -> Arc<Self> {
        let events = Arc::new(MemoryEvents::new(Arc::new(ManualClock::default())));
        Arc::new(Self { events, away: AtomicBool::new(false), torn: AtomicBool::new(false) })
    }
}

#[async_trait]
impl EventTail for Flaky {
    async fn read_since(&self, cursors: &[TailCursor], max: usize, wait: Duration) -> Result<Vec<TailRead>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Code::Unavailable.into());
        }
        if self.torn.swap(false, Ordering::SeqCst) {
            let gone = |cursor: &TailCursor| TailRead::Discontinuity { oldest: TailCursor { after: None, ..cursor.clone() } };
            return Ok(cursors.iter().map(gone).collect());
        }
        // Short waits, so that what a trial switches is noticed soon.
        self.events.read_since(cursors, max, wait.min(Duration::from_millis(20))).await
    }

    async fn ends(&self, topics: &[Topic]) -> Result<Vec<TailCursor>> {
        self.events.ends(topics).await
    }
}

async fn host_on(log: &Arc<Flaky>) -> Host {
    let (publisher, tail) = (Arc::clone(&log.events), Arc::clone(log));
    Host::with(Options::default(), |chat| chat.publisher(publisher).tail(tail)).await
}

/// A group of the first one's making.
async fn group(maker: &mut Client, members: &[&str]) -> String {
    let made = maker.done("createGroup", json!({ "name": "A group", "members": members })).await;
    made["conversationId"].as_str().unwrap().to_owned()
}

async fn t1_a_log_that_was_away_is_followed_from_where_it_stood() {
    let log = Flaky::new();
    let host = host_on(&log).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    let group = group(&mut a, &[&bob]).await;
    b.hears("conversation:created", |_| true).await;
    log.away.store(true, Ordering::SeqCst);
    for n in 0..50 {
        a.done("sendMessage", json!({ "conversationId": group, "content": format!("{n}") })).await;
    }
    log.away.store(false, Ordering::SeqCst);
    let mut heard = Vec::new();
    while heard.len() < 50 {
        let message = b.hears("newMessage", |message| message["type"] == "TEXT").await;
        heard.push(message["content"].as_str().unwrap().parse::<u32>().unwrap());
    }
    assert_eq!(heard, (0..50).collect::<Vec<_>>());
    host.stop().await;
}

async fn t1_a_gap_in_the_log_ends_every_socket_so_that_it_catches_up() {
    let log = Flaky::new();
    let host = host_on(&log).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    let group = group(&mut a, &[&bob]).await;
    log.torn.store(true, Ordering::SeqCst);
    a.ends().await;
    b.ends().await;
    assert!(!b.heard.iter().any(|(name, _)| name == "(disconnect)"), "the client comes back by itself");
    let mut b = host.connect(&bob).await;
    let caught = b.done("catchUp", json!({ "positions": { group.as_str(): 0 } })).await;
    assert_eq!(caught["messages"].as_array().unwrap().len(), 1, "{caught}");
    let mut a = host.connect(&ann).await;
    a.done("sendMessage", json!({ "conversationId": group, "content": "after" })).await;
    b.hears("newMessage", |message| message["content"] == "after").await;
    host.stop().await;
}

async fn t2_two_thousand_events_are_handled_in_order() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let mut a = host.connect(&ann).await;
    let group = group(&mut a, &[&bob]).await;
    a.acks.clear();
    let mut ids = Vec::new();
    for burst in 0..20 {
        for n in 0..100 {
            let payload = json!({ "conversationId": group, "content": format!("{}", burst * 100 + n) });
            ids.push(a.feed("sendMessage", &payload).await);
        }
        a.flush().await;
        for id in &ids[ids.len() - 100..] {
            assert_eq!(a.answer(*id).await["ok"], true);
        }
    }
    assert_eq!(a.acks, ids, "answered in the order asked");
    let stored = texts(&mut a, &group).await;
    assert_eq!(stored, (0..2_000).map(|n| n.to_string()).collect::<Vec<_>>(), "handled in the order asked");
    host.stop().await;
}

/// Every text of a conversation, oldest first.
async fn texts(client: &mut Client, conversation: &str) -> Vec<String> {
    let (mut texts, mut after) = (Vec::new(), 0);
    loop {
        let request = json!({ "conversationId": conversation, "afterSeq": after, "limit": 100 });
        let page = client.done("messages:fullload", request).await;
        for message in page["messages"].as_array().unwrap() {
            after = message["seq"].as_u64().unwrap();
            if message["type"] == "TEXT" {
                texts.push(message["content"].as_str().unwrap().to_owned());
            }
        }
        if page["hasMore"] == false {
            return texts;
        }
    }
}

async fn t2_a_flood_is_answered_and_what_was_accepted_is_kept() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (host.connect(&ann).await, host.connect(&bob).await);
    let group = group(&mut a, &[&bob]).await;
    let mut ids = Vec::new();
    for n in 0..5_000 {
        ids.push(a.feed("sendMessage", &json!({ "conversationId": group, "content": format!("{n}") })).await);
    }
    a.flush().await;
    let mut accepted = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let answer = a.answer(*id).await;
        if answer["ok"] == true {
            accepted.push(n.to_string());
        } else {
            let code = answer["error"]["code"].as_str().unwrap();
            assert!(code == "chat.queue.full" || code == "chat.rate_limited", "{answer}");
        }
    }
    assert!(!accepted.is_empty() && accepted.len() <= 3_000, "{}", accepted.len());
    assert_eq!(texts(&mut b, &group).await, accepted, "exactly these, in this order");
    host.stop().await;
}

async fn t3_the_first_event_is_never_lost() {
    let host = Host::start().await;
    let token = host.token(&fresh("ann"));
    for namespace in ["/", "/chat"] {
        for _ in 0..50 {
            let mut client =
                Client::try_connect(host.address, namespace, &json!({ "token": token })).await.unwrap();
            // Straight after CONNECT: nothing is between the two packets.
            assert_eq!(client.ask("getConversations", json!({})).await["ok"], true);
        }
    }
    host.stop().await;
}

async fn t3_what_is_sent_while_connecting_is_not_lost() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let mut a = host.connect(&ann).await;
    let group = group(&mut a, &[&bob]).await;
    let (address, auth) = (host.address, json!({ "token": host.token(&bob) }));
    for round in 0..20 {
        let connecting = tokio::spawn({
            let auth = auth.clone();
            async move { Client::try_connect(address, "/", &auth).await.unwrap() }
        });
        let first = a.done("sendMessage", json!({ "conversationId": group, "content": format!("first {round}") })).await;
        let mut b = connecting.await.unwrap();
        let last = a.done("sendMessage", json!({ "conversationId": group, "content": "last" })).await;
        let caught = b.done("catchUp", json!({ "positions": { group.as_str(): first["seq"].as_u64().unwrap() - 1 } })).await;
        b.hears("newMessage", |message| message["seq"] == last["seq"]).await;
        let seen = |seq: &Value| {
            let told = b.heard.iter().any(|(name, data)| name == "newMessage" && data["seq"] == *seq);
            told || caught["messages"].as_array().unwrap().iter().any(|message| message["seq"] == *seq)
        };
        assert!(seen(&first["seq"]), "round {round}");
    }
    host.stop().await;
}

async fn t5_shutting_down_ends_presence() {
    let host = Host::start().await;
    let names: Vec<String> = (0..5).map(|_| fresh("ann")).collect();
    let mut clients = Vec::new();
    for name in &names {
        clients.push(host.connect(name).await);
    }
    let chat = host.chat().clone();
    let users: Vec<_> = names.iter().map(|name| user(name)).collect();
    assert_eq!(chat.ports().presence.are_online(&users).await.unwrap(), [true; 5]);
    host.stop().await;
    assert_eq!(chat.ports().presence.are_online(&users).await.unwrap(), [false; 5], "at once, not after {DEFAULT_LEASE:?}");
    assert_eq!(chat.ports().outbox.stats().await.unwrap().pending, 0, "everything written is published");
    for client in &mut clients {
        client.hears("server:draining", |payload| payload["retryMs"].is_u64()).await;
        client.ends().await;
        assert!(!client.heard.iter().any(|(name, _)| name == "(disconnect)"), "the transport ends, not the socket");
    }
}

async fn t6_shutting_down_amid_traffic_panics_nowhere() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let mut a = host.connect(&ann).await;
    let mut b = host.connect(&bob).await;
    let group = group(&mut a, &[&bob]).await;
    let talking = tokio::spawn(async move {
        let mut answered = 0;
        loop {
            let id = a.emit("sendMessage", &json!({ "conversationId": group, "content": "on and on" })).await;
            match a.answer_or_end(id).await {
                Some(answer) if answer["ok"] == true => answered += 1,
                Some(answer) => {
                    let code = answer["error"]["code"].as_str().unwrap();
                    assert!(["chat.server.draining", "chat.rate_limited"].contains(&code), "{answer}");
                }
                None => return answered,
            }
        }
    });
    b.hears("newMessage", |message| message["content"] == "on and on").await;
    let chat = host.chat().clone();
    host.stop().await;
    let answered = talking.await.unwrap();
    let page = chat.ports().conversations.list(&user(&ann), &Default::default(), &chat_core::domain::Page::first(1)).await;
    let head = page.unwrap().items[0].conversation.last_activity.seq.0;
    assert!(head > answered, "what was acknowledged is stored: {answered} of {head}");
    log::no_panics();
}
