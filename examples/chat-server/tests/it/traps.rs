//! The seven traps of the Socket.IO library beneath, each with the promise that it is closed. T4 is in `slow_peers`. T1 is
//! an adapter that never reconnects to its Redis: there is no adapter, since nodes are joined by the event log, and the
//! trials are about a log that is out of reach.

use std::collections::HashMap;
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
use chat_server::Options;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::support::client::{Client, barrier, code, text};
use super::support::host::Host;
use super::support::http;
use super::support::run::{trials, within};
use super::support::server::{SECRET, Server, refused, shared};
use super::support::token::{self, fresh, good};
use super::support::wire::Wire;

trials! {
    t1_a_log_that_was_away_is_followed_from_where_it_stood,
    t1_a_gap_in_the_log_ends_every_socket_so_that_it_catches_up,
    t2_events_of_one_socket_are_answered_in_order,
    t2_a_flood_is_answered_one_by_one_and_what_was_accepted_is_stored_in_order,
    t3_an_event_sent_as_soon_as_the_socket_is_in_is_answered,
    t3_what_happens_while_a_socket_comes_in_is_not_lost,
    t5_presence_ends_before_the_server_does,
    t6_a_stop_in_the_middle_of_traffic_is_no_panic,
    t7_logs_hold_neither_tokens_nor_texts_nor_passwords,
}

/// Whoever keeps so many unanswered never sees a full queue.
const POLITE: usize = 64;

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

    /// A server that follows it.
    async fn host(self: &Arc<Self>) -> Host {
        let (publisher, tail) = (Arc::clone(&self.events), Arc::clone(self));
        Host::with(Options::default(), |chat| chat.publisher(publisher).tail(tail)).await
    }
}

#[async_trait]
impl EventTail for Flaky {
    async fn read_since(&self, cursors: &[TailCursor], max: usize, wait: Duration) -> Result<Vec<TailRead>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Code::Unavailable.into());
        }
        if self.torn.swap(false, Ordering::SeqCst) {
            let gone = |cursor: &TailCursor| TailRead::Discontinuity {
                oldest: TailCursor { after: None, ..cursor.clone() },
            };
            return Ok(cursors.iter().map(gone).collect());
        }
        // Not for long, so that what a trial switches is noticed soon.
        self.events.read_since(cursors, max, wait.min(Duration::from_millis(20))).await
    }

    async fn ends(&self, topics: &[Topic]) -> Result<Vec<TailCursor>> {
        self.events.ends(topics).await
    }
}

async fn t1_a_log_that_was_away_is_followed_from_where_it_stood() {
    const MESSAGES: usize = 50;
    let log = Flaky::new();
    let host = log.host().await;
    let (mut ann, bob) = (host.connect(&fresh("ann")).await, host.connect(&fresh("bob")).await);
    let group = ann.group(&[&bob]).await;
    bob.hears("conversation:created", |_| true).await;
    log.away.store(true, Ordering::SeqCst);
    let mut sent = Vec::new();
    for n in 0..MESSAGES {
        sent.push(ann.send(&group, &format!("meanwhile {n}")).await["seq"].clone());
    }
    log.away.store(false, Ordering::SeqCst);
    bob.hears_message(&format!("meanwhile {}", MESSAGES - 1)).await;
    let heard: Vec<Value> = bob.heard("newMessage").iter().map(|message| message["seq"].clone()).collect();
    assert_eq!(heard[heard.len() - MESSAGES..], sent);
    host.stop().await;
}

async fn t1_a_gap_in_the_log_ends_every_socket_so_that_it_catches_up() {
    let log = Flaky::new();
    let host = log.host().await;
    let (mut ann, bob) = (host.connect(&fresh("ann")).await, host.connect(&fresh("bob")).await);
    let group = ann.group(&[&bob]).await;
    log.torn.store(true, Ordering::SeqCst);
    for person in [&ann, &bob] {
        person.closed().await;
        assert!(!person.was_dismissed(), "clients come back by themselves only when the connection ends");
    }
    let mut back = host.connect(&bob.user).await;
    assert_eq!(back.catch_up(&group, 0).await.len(), 1, "somebody made the group");
    host.connect(&ann.user).await.send(&group, "after the gap").await;
    back.hears_message("after the gap").await;
    host.stop().await;
}

async fn t2_events_of_one_socket_are_answered_in_order() {
    const EVENTS: usize = 2_000;
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let group = ann.group(&[&bob]).await;
    // Quick and slow ones, as they come.
    let events = [
        ("sendMessage", json!({ "conversationId": group, "content": "in order" })),
        ("heartbeat", json!({})),
        ("getConversations", json!({})),
        ("nothing of the kind", json!({})),
        ("messages:quickload", json!({ "conversationId": group, "limit": 5 })),
    ];
    let mut asked = Vec::new();
    for (event, payload) in events.iter().cycle().take(EVENTS) {
        if let Some(earlier) = asked.len().checked_sub(POLITE) {
            ann.ack(asked[earlier]).await;
        }
        asked.push(ann.emit(event, payload).await);
    }
    let earlier = usize::try_from(asked[0]).unwrap() - 1;
    assert_eq!(ann.ack_order(earlier + EVENTS).await[earlier..], asked);
    let mut seqs = Vec::new();
    for id in asked.into_iter().step_by(events.len()) {
        seqs.push(ann.ack(id).await["data"]["seq"].as_u64().unwrap());
    }
    assert!(seqs.is_sorted_by(|one, other| one + 1 == *other), "{seqs:?}");
}

async fn t2_a_flood_is_answered_one_by_one_and_what_was_accepted_is_stored_in_order() {
    const EVENTS: usize = 5_000;
    let server = Server::start();
    let mut ann = Client::new(&server, "ann").await;
    let mut bob = Client::new(&server, "bob").await;
    let group = ann.group(&[&bob]).await;
    let first = ann.send(&group, "before").await["seq"].as_u64().unwrap() + 1;
    let mut asked = Vec::new();
    for n in 0..EVENTS {
        let payload = json!({ "conversationId": group, "content": format!("flood {n}") });
        asked.push(ann.emit("sendMessage", &payload).await);
    }
    // Nobody else notices.
    let mut carl = Client::new(&server, "carl").await;
    barrier(&mut carl, &[&bob]).await;

    let (mut accepted, mut refusals) = (Vec::new(), HashMap::<String, usize>::new());
    for (n, id) in asked.into_iter().enumerate() {
        let answer = ann.ack(id).await;
        if answer["ok"] == true {
            accepted.push((answer["data"]["seq"].as_u64().unwrap(), format!("flood {n}")));
        } else {
            *refusals.entry(code("sendMessage", &answer)).or_default() += 1;
        }
    }
    assert!(accepted.len() >= 256, "as many as the queue holds, at least: {refusals:?}");
    for code in refusals.keys() {
        assert!(["chat.queue.full", "chat.rate_limited"].contains(&&**code), "{refusals:?}");
    }
    let placed = |message: &Value| (message["seq"].as_u64().unwrap(), text(message, "content"));
    let stored: Vec<_> =
        bob.history(&group).await.iter().map(placed).filter(|(seq, _)| *seq >= first).collect();
    assert_eq!(stored, accepted, "exactly what was acknowledged, in the order sent");
    assert!(stored.iter().map(|(seq, _)| *seq).eq(first..first + stored.len() as u64), "gapless");

    bob.hears("newMessage", |message| message["seq"] == stored.last().unwrap().0).await;
    let heard = bob.heard("newMessage");
    let heard: Vec<_> =
        heard.iter().filter(|message| message["conversationId"] == *group).map(placed).collect();
    assert_eq!(heard[heard.len() - stored.len()..], stored, "and the others have heard exactly this");
    server.stop().await;
}

async fn t3_an_event_sent_as_soon_as_the_socket_is_in_is_answered() {
    const ROUNDS: usize = 10;
    const AT_ONCE: usize = 10;
    let address = shared().address;
    for round in 0..ROUNDS {
        let first_words = (0..AT_ONCE).map(|n| async move {
            let namespace = if n % 2 == 0 { "/" } else { "/chat" };
            let mut wire = Wire::open(address).await;
            // Straight after the CONNECT packet: nothing is between the two.
            wire.connect(namespace, &json!({ "token": good(&fresh("ann")) })).await.unwrap();
            let answer = wire.ask_raw(namespace, 7, r#"["heartbeat",{"clientTime":5}]"#).await.unwrap();
            assert_eq!(answer["data"]["clientTime"], 5, "round {round}: {answer}");
        });
        join_all(first_words).await;
    }
}

async fn t3_what_happens_while_a_socket_comes_in_is_not_lost() {
    const ROUNDS: usize = 20;
    let mut ann = Client::new(shared(), "ann").await;
    let bob = fresh("bob");
    let conversation = ann.direct(&bob).await;
    for round in 0..ROUNDS {
        let coming = Client::of(shared(), &bob);
        let speaking = ann.send(&conversation, "while he comes");
        let (mut back, meanwhile) = tokio::join!(coming, speaking);
        let last = ann.send(&conversation, "and after").await;
        // Told or caught up with: one of them, for every message.
        let known = meanwhile["seq"].as_u64().unwrap() - 1;
        let caught = back.catch_up(&conversation, known).await;
        back.hears("newMessage", |message| message["seq"] == last["seq"]).await;
        let told = back
            .heard("newMessage")
            .into_iter()
            .chain(caught)
            .any(|message| message["seq"] == meanwhile["seq"]);
        assert!(told, "round {round}");
    }
}

async fn t5_presence_ends_before_the_server_does() {
    let host = Host::start(Options::default()).await;
    let names = ["ann", "bob", "carl", "dora", "eve"].map(fresh);
    let mut people = Vec::new();
    for name in &names {
        people.push(host.connect(name).await);
        people.push(host.connect(name).await);
        assert!(host.is_online(name).await);
    }
    let ports = host.chat().ports().clone();
    host.stop().await;
    // At once, not after the lease: the clock has not moved.
    let presence = ports.presence.stats().await.unwrap();
    assert_eq!((presence.users, presence.sessions), (0, 0), "{presence:?}");
    assert_eq!(ports.outbox.stats().await.unwrap().pending, 0, "everything written is published");
    for person in &people {
        person.hears("server:draining", |_| true).await;
        person.closed().await;
        assert!(!person.was_dismissed(), "clients come back by themselves only when the connection ends");
    }
}

async fn t6_a_stop_in_the_middle_of_traffic_is_no_panic() {
    const PEOPLE: usize = 12;
    let server = Server::start();
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        people.push(Client::new(&server, "ann").await);
    }
    let mut host = Client::new(&server, "host").await;
    let group = host.group(&people.iter().collect::<Vec<_>>()).await;
    let talking =
        people.into_iter().enumerate().map(|(n, person)| tokio::spawn(talk(person, n, group.clone())));
    let talking: Vec<_> = talking.collect();
    // Some come and go meanwhile, also while nobody is let in any more.
    let address = server.address;
    let coming = tokio::spawn(async move {
        while let Ok(stream) = TcpStream::connect(address).await {
            match Wire::try_over(stream, address).await {
                Some(Ok(mut wire)) => {
                    drop(wire.connect("/chat", &json!({ "token": good(&fresh("guest")) })).await)
                }
                Some(Err(status)) => assert_eq!(status, 503),
                None => {}
            }
        }
    });
    host.hears("newMessage", |message| message["seq"].as_u64() >= Some(200)).await;
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
    let mut seqs = Vec::new();
    for talk in talking {
        seqs.extend(within("a talk to end", talk).await.unwrap());
    }
    within("the coming and going to end", coming).await.unwrap();
    seqs.sort_unstable();
    assert!(seqs.is_sorted_by(|one, other| one < other), "no two messages share a place");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Talks until the connection ends; what was accepted, by its place.
async fn talk(mut person: Client, n: usize, group: String) -> Vec<u64> {
    let others = [
        ("typing", json!({ "conversationId": group })),
        ("getConversation", json!({ "conversationId": group })),
        ("search", json!({ "text": "traffic" })),
    ];
    let content = json!({ "conversationId": group, "content": "in the middle of traffic" });
    let mut seqs = Vec::new();
    for (event, payload) in others.iter().cycle().skip(n) {
        person.emit(event, payload).await;
        let id = person.emit("sendMessage", &content).await;
        match person.try_ack(id).await {
            Some(answer) if answer["ok"] == true => seqs.push(answer["data"]["seq"].as_u64().unwrap()),
            Some(answer) => assert_eq!(code("sendMessage", &answer), "chat.server.draining"),
            None => break,
        }
    }
    assert!(!person.heard("server:draining").is_empty(), "{} was not told", person.user);
    seqs
}

async fn t7_logs_hold_neither_tokens_nor_texts_nor_passwords() {
    const MARK: &str = "sesame";
    let said = |what: &str| format!("{what} {MARK}");
    // Servers of these tests log everything they log at all.
    let server = Server::start();
    let mut ann = Client::new(&server, "ann").await;
    let bob = Client::new(&server, "bob").await;
    let members =
        json!({ "name": said("group"), "members": [bob.user], "avatar": "https://example.org/sesame.png" });
    let group = text(&ann.ask("createGroup", members).await, "conversationId");
    let sent = ann.send(&group, &said("open")).await;
    ann.ask("editMessage", json!({ "messageId": sent["messageId"], "newContent": said("edited") })).await;
    ann.ask("search", json!({ "text": MARK })).await;
    let file =
        json!({ "conversationId": group, "fileName": said("file"), "mimeType": "text/plain", "size": 1 });
    ann.ask("registerFile", file).await;
    ann.refused(MARK, json!({ "content": MARK })).await;
    ann.refused("sendMessage", json!({ "conversationId": group, "content": [MARK] })).await;
    ann.refused("sendMessage", json!({ "conversationId": said("bad\n"), "content": MARK })).await;
    ann.refused_raw(&format!(r#"["sendMessage",{{"content":"{MARK}\ud800"}}]"#)).await;
    ann.refused("sendMessage", json!({ "conversationId": group, "content": MARK.repeat(2_000) })).await;
    bob.hears("message:edited", |_| true).await;
    // Whoever is refused has a token, too.
    for token in [token::unsigned(MARK), token::lacking("exp"), token::tampered(MARK), said("garbage")] {
        let mut wire = Wire::open(server.address).await;
        let device = json!({ "id": MARK, "name": said("phone") });
        wire.connect("/", &json!({ "token": token, "device": device })).await.unwrap_err();
        assert_eq!(http::get_as(&server, "/users/nobody", &token).await.status, 401);
    }
    http::post(&server, "/dev/token", &json!({ "userId": fresh("carl"), "name": said("Carl") })).await;
    let profile = json!({ "fullName": said("Ann") });
    http::send_as(&server, "PUT", &format!("/users/{}", ann.user), &good(&ann.user), &profile).await;
    // Packets that are none.
    for garbage in [format!("4{MARK}"), format!("42[\"{MARK}"), format!("451-[\"{MARK}\"]"), MARK.to_owned()]
    {
        let mut wire = Wire::open(server.address).await;
        wire.sign_in(&good(&fresh("dora"))).await;
        wire.send(garbage).await;
    }
    barrier(&mut ann, &[&bob]).await;
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
    let log = server.log();
    for secret in [MARK, "eyJ", SECRET] {
        assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
    }
    let passwords =
        [("CHAT_REDIS", "redis://:hunter2@local host"), ("CHAT_MONGO", "mongodb://me:hunter2@localhost")];
    let (_, said) = refused(&[], &passwords).await;
    assert!(!said.contains("hunter2"), "{said}");
}
