//! People come, go, write and read while connections break, scripts vanish, nodes die and slots move: every edge is handed
//! out once, and every number equals a recount.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chat_core::domain::{ConversationId, Mentions, Page, Seq, SessionId, Transition, UserId};
use chat_core::error::Result;
use chat_core::store::presence::Connect;
use chat_core::store::unread::Recorded;
use chat_core::store::{PresenceStore, UnreadStoreExt};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::{Redis as Server, RedisCluster, RedisOptions};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};
use tokio::task::JoinHandle;

use super::cluster;
use super::load::{Client, brisk, honest, patient};

trials! { needs "redis":
    edges_and_counts_survive_a_storm_of_killed_connections,
    edges_and_counts_survive_lost_answers,
    edges_and_counts_survive_slots_that_move,
    a_killed_server_comes_back_to_the_same_counts,
}

const LEASE: Duration = Duration::from_secs(60 * 60);

/// What one task has done: who it left online, how many sessions it ended, and what is unread where.
#[derive(Debug, Default)]
struct Diary {
    online: BTreeSet<String>,
    ended: u64,
    unread: Vec<(String, u64)>,
}

/// Tasks whose people come and go, and write and read, until they are told to stop.
struct Crowd {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Diary>>,
}

impl Crowd {
    /// Begins. Where `calm`, no call fails and every edge is known; otherwise calls are repeated until they work.
    fn begin(client: &Client, tasks: usize, calm: bool) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = (0..tasks)
            .map(|task| {
                let (client, stop, rounds) = (client.clone(), Arc::clone(&stop), Arc::clone(&rounds));
                tokio::spawn(async move { live(&client, task, calm, &stop, &rounds).await })
            })
            .collect();
        Self { stop, rounds, tasks }
    }

    /// Waits for so many rounds from now on.
    async fn rounds(&self, count: u64) {
        let enough = self.rounds.load(Ordering::Relaxed) + count;
        let there = || async { (self.rounds.load(Ordering::Relaxed) >= enough).then_some(()) };
        eventually("people to come and go", there).await;
    }

    /// Ends it, and compares everything with what the tasks did.
    async fn settle(self, client: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut online, mut ended) = (BTreeSet::new(), 0);
        for task in self.tasks {
            let diary = task.await.unwrap();
            ended += diary.ended;
            for (name, unread) in diary.unread {
                let count = client.redis.unread.count(&user(&name), &conversation(&name)).await.unwrap();
                assert_eq!(count.map(|count| count.messages), Some(unread), "what {name} has not read");
            }
            online.extend(diary.online);
        }
        let stats = client.redis.presence.stats().await.unwrap();
        let numbers = (stats.users, stats.sessions, stats.closed_sessions);
        assert_eq!(numbers, (online.len() as u64, online.len() as u64, ended));
        assert_eq!(listed(client).await, online);
    }
}

async fn listed(client: &Client) -> BTreeSet<String> {
    let (mut all, mut page) = (BTreeSet::new(), Page::first(100));
    loop {
        let part = client.redis.presence.online(&page).await.unwrap();
        for user in &part.items {
            assert!(all.insert(user.as_str().to_owned()), "{user} is listed twice");
        }
        match part.next {
            Some(next) => page = Page::after(next, 100),
            None => return all,
        }
    }
}

async fn live(client: &Client, task: usize, calm: bool, stop: &AtomicBool, rounds: &AtomicU64) -> Diary {
    let mut diary = Diary::default();
    let writer = format!("writer {task}");
    let (reader, place) = (user(&writer), conversation(&writer));
    let at_last = Patience { client, calm };
    let unread = &client.redis.unread;
    let message = |seq| Recorded {
        conversation: place.clone(),
        seq: Seq(seq),
        sender: None,
        countable: true,
        mentions: Mentions::default(),
    };
    let beginning = message(0);
    at_last.of(|| unread.record(&beginning)).await;
    at_last.of(|| unread.mark_read(&reader, &place, Seq(0))).await;
    let (mut head, mut read) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        head += 1;
        let newest = message(head);
        at_last.of(|| unread.record(&newest)).await;
        if head % 5 == 0 {
            read = head - 2;
            at_last.of(|| unread.mark_read(&reader, &place, Seq(read))).await;
        }

        let name = format!("user {task}.{head}");
        let mut edges = vec![at_last.connect(&name, "phone").await, at_last.connect(&name, "desk").await];
        edges.push(at_last.disconnect(&name, "phone").await);
        if head % 3 == 0 {
            diary.online.insert(name.clone());
            diary.ended += 1;
        } else {
            edges.push(at_last.disconnect(&name, "desk").await);
            diary.ended += 2;
        }
        let expected = [Transition::WentOnline, Transition::None, Transition::None, Transition::WentOffline];
        for (edge, expected) in edges.into_iter().zip(expected) {
            // Who has to call again does not learn what the first call found.
            assert!(edge.is_none_or(|edge| edge == expected), "{name}: {edge:?} instead of {expected:?}");
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    diary.unread.push((writer, head - read));
    diary
}

/// How a task calls.
struct Patience<'a> {
    client: &'a Client,
    calm: bool,
}

impl Patience<'_> {
    /// Calls until it works: the answer, and how often it was asked.
    async fn of<T, F: Future<Output = Result<T>>>(&self, call: impl Fn() -> F) -> (T, usize) {
        for calls in 1.. {
            match self.client.bounded(call()).await {
                Ok(answer) => return (answer, calls),
                Err(error) if self.calm => panic!("{error:?}"),
                Err(error) => honest(&error),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        unreachable!()
    }

    /// The edge, if it is known.
    async fn connect(&self, name: &str, session: &str) -> Option<Transition> {
        let connect = Connect { user: user(name), session: id(session), device: None, lease: LEASE };
        let (edge, calls) = self.of(|| self.client.redis.presence.connect(&connect)).await;
        (calls == 1).then_some(edge)
    }

    /// The edge, if it is known.
    async fn disconnect(&self, name: &str, session: &str) -> Option<Transition> {
        let (user, session) = (user(name), id(session));
        let (edge, calls) = self.of(|| self.client.redis.presence.disconnect(&user, &session)).await;
        (calls == 1).then_some(edge)
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn id(session: &str) -> SessionId {
    SessionId::new(session).unwrap()
}

fn conversation(name: &str) -> ConversationId {
    ConversationId::new(name).unwrap()
}

async fn edges_and_counts_survive_a_storm_of_killed_connections() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let client = Client::lazy(&server.url(), patient());
    let crowd = Crowd::begin(&client, 8, true);
    for _ in 0..20 {
        crowd.rounds(10).await;
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.command(&["SCRIPT", "FLUSH"]);
    }
    crowd.rounds(20).await;
    assert!(client.service.stats().reconnected >= 10);
    crowd.settle(&client).await;
    Ok(())
}

async fn edges_and_counts_survive_lost_answers() -> Result<(), Absent> {
    let server = Server::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let client = Client::lazy(&server.url_at(proxy.address()), patient());
    let crowd = Crowd::begin(&client, 8, true);
    for faults in 0..60 {
        proxy.cut_after(Request::with("EVALSHA").but_the(1 + faults % 7));
        let there = || async { (proxy.counts().faults > faults as u64).then_some(()) };
        eventually("an answer to be lost", there).await;
    }
    crowd.rounds(20).await;
    crowd.settle(&client).await;
    Ok(())
}

async fn edges_and_counts_survive_slots_that_move() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let client = cluster::client(&cluster, patient());
    let crowd = Crowd::begin(&client, 8, true);
    crowd.rounds(50).await;
    let slots = cluster::used_slots(&cluster);
    assert!(slots.len() >= 16);
    for (slot, node) in slots {
        let migration = cluster.migrate(slot, node, (node + 1) % 3);
        migration.move_keys(3);
        migration.finish();
        crowd.rounds(5).await;
    }
    crowd.settle(&client).await;
    Ok(())
}

async fn a_killed_server_comes_back_to_the_same_counts() -> Result<(), Absent> {
    let server = Server::spawn_with(&RedisOptions::default().append_only().set("appendfsync", "always"))?;
    let client = Client::lazy(&server.url(), brisk());
    let crowd = Crowd::begin(&client, 8, false);
    for _ in 0..3 {
        crowd.rounds(50).await;
        server.kill();
        client.loss().await;
        server.restart();
    }
    crowd.rounds(50).await;
    // Connected when the check begins, so that it is not the one who finds a connection broken.
    client.charge_at_last("here again", "1").await;
    crowd.settle(&client).await;
    Ok(())
}
