//! Messages: nodes in each other's way, answers that are lost, servers that die, and what the indexes are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chat_core::domain::message::{NewMessage, ThreadPlace};
use chat_core::domain::{ConversationId, Message, MessageId, Seq};
use chat_core::error::{Effect, Result};
use chat_core::event::DeleteType;
use chat_core::store::messages::{Anchor, Edit, HistoryQuery, HistoryScope, Purge};
use chat_core::store::{MessageStore, MessageStoreExt};
use chat_mongo::Mongo;
use chat_testkit::expect::{at_once, drained};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::{FailPoint, Failure, Mongo as Server};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use parking_lot::Mutex;

use super::desk::{fresh, server};

trials! { needs "mongo":
    two_nodes_append_to_one_conversation_without_gaps,
    repeats_that_race_on_two_nodes_store_one_message,
    who_goes_away_harms_nobody,
    a_write_that_is_refused_once_is_made_once,
    a_lost_answer_changes_nothing_twice,
    what_was_acknowledged_survives_a_killed_server,
}

fn here() -> ConversationId {
    sample::conversation("here")
}

async fn nodes(count: usize) -> std::result::Result<Vec<Mongo>, Absent> {
    let config = fresh(server()?.url());
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(Mongo::connect(&config).await.unwrap());
    }
    nodes[0].ensure().await.unwrap();
    Ok(nodes)
}

/// Everything there is, page by page.
async fn all(messages: &dyn MessageStore) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let anchor = Anchor::After(all.last().map_or(Seq::ZERO, |message| message.seq));
        let page = messages.history(&query(anchor)).await.unwrap();
        all.extend(page.messages);
        if !page.more_after {
            return all;
        }
    }
}

fn query(anchor: Anchor) -> HistoryQuery {
    let scope = HistoryScope::Everything;
    HistoryQuery { conversation: here(), viewer: None, scope, anchor, limit: 100 }
}

fn gapless(messages: &[Message]) -> bool {
    messages.iter().map(|message| message.seq.0).eq(1..=messages.len() as u64)
}

async fn two_nodes_append_to_one_conversation_without_gaps() -> std::result::Result<(), Absent> {
    const TASKS: usize = 64;
    const EACH: usize = 4;
    let nodes = Arc::new(nodes(2).await?);
    let told = at_once(TASKS, |task| {
        let nodes = Arc::clone(&nodes);
        async move {
            let sender = sample::user(&format!("user {task}"));
            let mut places = Vec::new();
            for nth in 0..EACH {
                let new = sample::text(&here(), &sender, &format!("{nth}"));
                let appended = nodes[task % 2].messages.append(&new).await.unwrap();
                assert!(!appended.duplicate);
                places.push((appended.message.seq, new.id));
            }
            places
        }
    })
    .await;
    assert!(told.iter().all(|places| places.is_sorted_by_key(|place| place.0)), "each in its order");
    let stored = all(&*nodes[0].messages).await;
    assert!(gapless(&stored) && stored.len() == TASKS * EACH);
    assert!(stored.is_sorted_by_key(|message| message.created_at), "times do not go back");
    let told: BTreeMap<_, _> = told.into_iter().flatten().collect();
    assert!(stored.iter().all(|message| told.get(&message.seq) == Some(&message.id)));
    let sent: Vec<_> = drained(&*nodes[1].outbox).await.into_iter().map(|envelope| envelope.event).collect();
    let expected = stored.iter().map(|message| chat_core::event::MessageSent::from(message).into());
    assert!(sent.into_iter().eq(expected), "one event each, in order");
    Ok(())
}

async fn repeats_that_race_on_two_nodes_store_one_message() -> std::result::Result<(), Absent> {
    let nodes = Arc::new(nodes(2).await?);
    for round in 1..=4 {
        let answers = at_once(64, |task| {
            let nodes = Arc::clone(&nodes);
            let mut new = sample::text(&here(), &sample::user("ann"), "hello");
            new.client_key = Some(sample::key(&format!("k{round}")));
            async move { nodes[task % 2].messages.append(&new).await.unwrap() }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
        assert!(answers.iter().all(|answer| answer.message == answers[0].message));
        assert_eq!(nodes[0].messages.head(&here()).await.unwrap(), Seq(round));
    }
    Ok(())
}

async fn who_goes_away_harms_nobody() -> std::result::Result<(), Absent> {
    let nodes = Arc::new(nodes(1).await?);
    let answers = at_once(64, |task| {
        let nodes = Arc::clone(&nodes);
        async move {
            let new = sample::text(&here(), &sample::user("ann"), "text");
            let append = nodes[0].messages.append(&new);
            if task % 2 == 0 {
                // Begun, and dropped.
                let _ = futures::future::select(Box::pin(append), Box::pin(tokio::task::yield_now())).await;
                return None;
            }
            Some(append.await.unwrap().message.seq)
        }
    })
    .await;
    let stored = all(&*nodes[0].messages).await;
    assert!(gapless(&stored));
    let places: BTreeSet<_> = answers.into_iter().flatten().collect();
    assert_eq!(places.len(), 32);
    assert!(places.iter().all(|place| place.0 <= stored.len() as u64));
    Ok(())
}

/// A message, and a reply to it.
async fn conversation(messages: &dyn MessageStore) -> (Message, Message) {
    let root = messages.append(&sample::text(&here(), &sample::user("ann"), "root")).await.unwrap().message;
    let reply = messages.append(&reply(&root.id)).await.unwrap().message;
    (root, reply)
}

fn reply(root: &MessageId) -> NewMessage {
    let mut new = sample::text(&here(), &sample::user("ben"), "reply");
    new.draft.thread = Some(ThreadPlace { root: root.clone(), also_in_conversation: false });
    new
}

/// What writes, by number, and the command that does it; it says whether it changed anything.
const WRITES: [&str; 9] = [
    "insert",
    "update",
    "update",
    "update",
    "commitTransaction",
    "commitTransaction",
    "commitTransaction",
    "commitTransaction",
    "commitTransaction",
];

async fn write(nth: usize, messages: &dyn MessageStore, (root, answer): &(Message, Message)) -> Result<bool> {
    let ann = sample::user("ann");
    Ok(match nth {
        0 => !messages.append(&sample::text(&here(), &ann, "text")).await?.duplicate,
        1 => {
            let edit = Edit {
                message: root.id.clone(),
                by: ann,
                content: "new".to_owned(),
                mentions: Default::default(),
                expect: None,
            };
            messages.edit(&edit).await?.changed
        }
        2 => messages.react(&root.id, &ann, "👍", true).await?.changed,
        3 => messages.react(&root.id, &ann, "👍", false).await?.changed,
        4 => !messages.append(&reply(&root.id)).await?.duplicate,
        5 => messages.pin(&root.id, &ann, true, None).await?.changed,
        6 => messages.delete(&root.id, &ann, DeleteType::ForMe).await?.changed,
        7 => messages.delete(&answer.id, &ann, DeleteType::ForEveryone).await?.changed,
        _ => {
            let before = chat_core::clock::Timestamp::from_millis(u64::MAX >> 12);
            let purge =
                Purge { conversation: here(), before, hold: Vec::new(), after: Seq::ZERO, limit: 100 };
            !messages.purge(&purge).await?.items.is_empty()
        }
    })
}

/// Every write once, each with a fault before it; what it did it did once.
async fn once_each(mongo: &Mongo, fault: impl Fn(&'static str)) {
    let messages = &*mongo.messages;
    let said = conversation(messages).await;
    drained(&*mongo.outbox).await;
    for (nth, command) in WRITES.into_iter().enumerate() {
        fault(command);
        assert!(write(nth, messages, &said).await.unwrap(), "write number {nth}");
        let events = drained(&*mongo.outbox).await.len();
        assert_eq!(events, if nth == 8 { 3 } else { 1 }, "write number {nth}");
    }
    let stored = all(messages).await;
    assert!(gapless(&stored) && stored.len() == 4);
    assert_eq!((stored[0].replies.replies, stored[0].revision), (0, 1));
}

async fn a_write_that_is_refused_once_is_made_once() -> std::result::Result<(), Absent> {
    // A fail point is everybody's.
    let server = Server::spawn()?;
    for (code, label) in [(10_107, "RetryableWriteError"), (91, "RetryableWriteError"), (112, "")] {
        let mongo = Mongo::connect(&fresh(server.url())).await.unwrap();
        mongo.ensure().await.unwrap();
        once_each(&mongo, |command| {
            let point = FailPoint::new(&[command], Failure::Error(code));
            let label = match (code, command) {
                (112, "commitTransaction") => "TransientTransactionError",
                _ => label,
            };
            server.fail(&if label.is_empty() { point } else { point.labels(&[label]) });
        })
        .await;
    }
    Ok(())
}

async fn a_lost_answer_changes_nothing_twice() -> std::result::Result<(), Absent> {
    let server = server()?;
    let proxy = Proxy::start(server.address(), Protocol::Mongo).await;
    let mongo = Mongo::connect(&fresh(&server.url_at(proxy.address()))).await.unwrap();
    mongo.ensure().await.unwrap();
    once_each(&mongo, |command| proxy.cut_after(Request::command(command))).await;
    assert_eq!(proxy.counts().faults, WRITES.len() as u64);
    Ok(())
}

async fn what_was_acknowledged_survives_a_killed_server() -> std::result::Result<(), Absent> {
    const WRITERS: usize = 16;
    let server = Arc::new(Server::spawn()?);
    let config = fresh(server.url());
    let nodes = [Mongo::connect(&config).await.unwrap(), Mongo::connect(&config).await.unwrap()];
    nodes[0].ensure().await.unwrap();
    let nodes = Arc::new(nodes);
    let ledger: Arc<Mutex<BTreeMap<MessageId, Seq>>> = Arc::default();
    let (acknowledged, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut answers = at_once(WRITERS + 1, |task| {
        let (server, nodes, ledger) = (Arc::clone(&server), Arc::clone(&nodes), Arc::clone(&ledger));
        let (acknowledged, is_over) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
        async move {
            if task == WRITERS {
                for kill in 1..=2 {
                    eventually("some messages", || async {
                        (acknowledged.load(Ordering::SeqCst) >= 100 * kill).then_some(())
                    })
                    .await;
                    let server = Arc::clone(&server);
                    tokio::task::spawn_blocking(move || {
                        server.kill();
                        server.restart();
                    })
                    .await
                    .unwrap();
                }
                let before = acknowledged.load(Ordering::SeqCst);
                eventually("more messages", || async {
                    (acknowledged.load(Ordering::SeqCst) >= before + 50).then_some(())
                })
                .await;
                is_over.store(true, Ordering::SeqCst);
                return 0;
            }
            let (mut unknown, mut nth) = (0, 0);
            while !is_over.load(Ordering::SeqCst) {
                nth += 1;
                let mut new = sample::text(&here(), &sample::user(&format!("user {task}")), "text");
                new.client_key = Some(sample::key(&format!("{nth}")));
                loop {
                    match nodes[task % 2].messages.append(&new).await {
                        Ok(appended) => {
                            ledger.lock().insert(new.id.clone(), appended.message.seq);
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        Err(error) => {
                            assert!(error.is_transient(), "{error:?}");
                            unknown += usize::from(error.effect() == Effect::Unknown);
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
            unknown
        }
    })
    .await;
    answers.pop();
    let stored = all(&*nodes[0].messages).await;
    assert!(gapless(&stored), "a gap");
    let stored: BTreeMap<_, _> = stored.into_iter().map(|message| (message.id, message.seq)).collect();
    // Everybody went on until its message was there, so the ledger is all there is.
    assert_eq!(stored, *ledger.lock(), "after {answers:?} unknown effects");
    let sent = drained(&*nodes[0].outbox).await;
    assert_eq!(sent.len(), stored.len(), "one event each");
    Ok(())
}
