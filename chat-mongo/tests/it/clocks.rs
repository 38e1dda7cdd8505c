//! The server's clock jumps an hour, back and forth: nothing is lost, nothing is out of order, nothing is held for long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use chat_core::domain::message::Mentions;
use chat_core::domain::{ConversationId, Message, Seq, UserId};
use chat_core::event::{Envelope, Event};
use chat_core::store::conversations::Change;
use chat_core::store::messages::{Anchor, Edit, HistoryQuery, HistoryScope, Purge};
use chat_core::store::positions::Step;
use chat_core::store::{ConversationStore, MessageStore, MessageStoreExt, Outbox, PositionStoreExt};
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::expect::drained;
use chat_testkit::{Absent, sample, trials};
use mongodb::bson::doc;

use super::desk::{fresh, patient, server};

trials! { needs "mongo":
    order_is_kept_though_the_clock_jumps,
    retention_removes_what_is_older_and_nothing_else,
    equal_stamps_are_told_in_order_and_once,
    a_key_is_held_for_a_lease_though_the_clock_jumps,
    a_relay_that_jumped_with_the_clock_goes_on,
}

const HOUR: Duration = Duration::from_secs(3_600);
const LEASE: Duration = Duration::from_secs(30);

/// The clock of the server, as the test moves it.
struct Server {
    config: MongoConfig,
    clock: ManualClock,
}

impl Server {
    async fn new() -> Result<(Self, Mongo), Absent> {
        let clock = ManualClock::new(SystemClock.now());
        let config = patient(fresh(server()?.url())).with_clock(Arc::new(clock.clone()));
        let one = Self { config, clock };
        let node = one.node().await;
        node.ensure().await.unwrap();
        Ok((one, node))
    }

    async fn node(&self) -> Mongo {
        Mongo::connect(&self.config).await.unwrap()
    }
}

fn here() -> ConversationId {
    sample::conversation("here")
}

fn ann() -> UserId {
    sample::user("ann")
}

async fn all(mongo: &Mongo) -> Vec<Message> {
    let (scope, anchor) = (HistoryScope::Everything, Anchor::Latest);
    let query = HistoryQuery { conversation: here(), viewer: None, scope, anchor, limit: 100 };
    mongo.messages.history(&query).await.unwrap().messages
}

/// Where a jump leads from the time it should be.
const JUMPS: [i64; 6] = [0, 3_600, -3_600, 0, 7_200, -1];

fn moved(from: Timestamp, seconds: i64) -> Timestamp {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { from.before(by) } else { from.after(by) }
}

/// The events of what was said, in the order they are told.
async fn order_is_kept_though_the_clock_jumps() -> Result<(), Absent> {
    let (server, one) = Server::new().await?;
    let other = server.node().await;
    let began = server.clock.now();
    one.conversations.create(&sample::group("here", &["ann", "bob"])).await.unwrap();
    let (mut said, mut renamed) = (Vec::new(), 1);
    for seconds in JUMPS {
        server.clock.set(moved(began, seconds));
        // One that knows nothing of what the others have seen.
        let new = server.node().await;
        for node in [&new, &one, &other] {
            for _ in 0..2 {
                let new = sample::text(&here(), &ann(), "text");
                said.push(node.messages.append(&new).await.unwrap().message);
            }
            let message = said[said.len() - 2].id.clone();
            let edit = Edit {
                message,
                by: ann(),
                content: "new".into(),
                mentions: Mentions::default(),
                expect: None,
            };
            node.messages.edit(&edit).await.unwrap();
            renamed += 1;
            let rename = Change::Rename(format!("Name {renamed}"));
            assert!(node.conversations.change(&here(), &ann(), &rename).await.unwrap().changed);
            let read = Step::Read(Seq(said.len() as u64 - 1));
            assert!(node.positions.step(&sample::user("bob"), &here(), read).await.unwrap().changed());
        }
    }
    let stored = all(&one).await;
    assert!(stored.iter().map(|message| message.seq.0).eq(1..=36), "places have no gaps");
    assert!(stored.iter().map(|message| &message.id).eq(said.iter().map(|message| &message.id)));
    assert!(stored.is_sorted_by_key(|message| message.created_at), "times do not go back");
    let told = drained(&*other.outbox).await;
    let ids: BTreeSet<_> = told.iter().map(|envelope| &envelope.id).collect();
    assert_eq!((told.len(), ids.len()), (36 + 18 + 18 + 18 + 1, told.len()), "each once");
    assert!(places(&told).eq(1..=36), "what was said, in its order");
    let versions = told.iter().filter_map(|envelope| match &envelope.event {
        Event::ConversationNameUpdated(event) => Some(event.version),
        _ => None,
    });
    assert!(versions.eq(2..=19), "names, in their order");
    let read: Vec<_> = told
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::MessageRead(event) => Some(event.up_to_seq),
            _ => None,
        })
        .collect();
    assert!(read.is_sorted() && read.len() == 18, "{read:?}");
    // An edit and a reader come after what they are about.
    let mut heard = 0;
    for envelope in &told {
        match &envelope.event {
            Event::MessageSent(sent) => heard = sent.seq.0,
            Event::MessageEdited(edited) => assert!(edited.seq.0 <= heard),
            Event::MessageRead(read) => assert!(read.up_to_seq.0 <= heard),
            _ => {}
        }
    }
    Ok(())
}

fn places(told: &[Envelope]) -> impl Iterator<Item = u64> {
    told.iter().filter_map(|envelope| match &envelope.event {
        Event::MessageSent(sent) => Some(sent.seq.0),
        _ => None,
    })
}

async fn retention_removes_what_is_older_and_nothing_else() -> Result<(), Absent> {
    let (server, mongo) = Server::new().await?;
    let began = server.clock.now();
    for seconds in JUMPS {
        server.clock.set(moved(began, seconds));
        for _ in 0..3 {
            mongo.messages.append(&sample::text(&here(), &ann(), "text")).await.unwrap();
        }
    }
    let stored = all(&mongo).await;
    server.clock.set(began.after(HOUR));
    for before in [began, began.after(HOUR), began.after(HOUR * 3)] {
        let due: Vec<_> =
            stored.iter().filter(|message| message.created_at < before).map(|one| one.seq).collect();
        let (mut after, mut gone) = (Seq::ZERO, Vec::new());
        loop {
            let purge = Purge { conversation: here(), before, hold: Vec::new(), after, limit: 2 };
            let page = mongo.messages.purge(&purge).await.unwrap();
            gone.extend(page.items);
            let Some(next) = page.next else { break };
            after = next;
        }
        let left = all(&mongo).await;
        let deleted: Vec<_> = left.iter().filter(|one| one.deleted.is_some()).map(|one| one.seq).collect();
        assert_eq!(deleted, due, "before {before}");
        assert!(gone.iter().all(|seq| due.contains(seq)), "{gone:?}");
    }
    assert!(all(&mongo).await.iter().all(|message| message.deleted.is_some()));
    // Each was said once and deleted once.
    let told = drained(&*mongo.outbox).await;
    assert_eq!(told.len(), 2 * stored.len());
    Ok(())
}

/// Nodes know nothing of each other's stamps: in one millisecond they give the same ones, if not for one key.
async fn equal_stamps_are_told_in_order_and_once() -> Result<(), Absent> {
    const KEYS: usize = 150;
    let (server, mongo) = Server::new().await?;
    let new = |nth: usize| sample::text(&sample::conversation(&format!("{nth}")), &ann(), "text");
    let new: Vec<_> = (0..KEYS).map(new).collect();
    for answer in mongo.messages.append_many(&new).await.unwrap() {
        answer.unwrap();
    }
    let client = mongodb::Client::with_uri_str(server.config.url.expose()).await.unwrap();
    let messages = client.database(&server.config.database).collection::<mongodb::bson::Document>("messages");
    let same = doc! { "$set": { "due": 7_i64, "stamp": 7_i64, "outbox.0.stamp": 7_i64 } };
    messages.update_many(doc! {}, same).await.unwrap();
    for new in &new {
        mongo.messages.react(&new.id, &ann(), "👍", true).await.unwrap();
    }
    for (owner, limit) in [("one", 1), ("one", 7), ("one", KEYS)] {
        assert_eq!(mongo.outbox.claim(owner, limit, LEASE).await.unwrap().len(), limit);
    }
    let mut told = Vec::new();
    loop {
        let some = mongo.outbox.claim("one", 40, LEASE).await.unwrap();
        if some.is_empty() {
            break;
        }
        let ids: Vec<_> = some.iter().map(|envelope| envelope.id.clone()).collect();
        mongo.outbox.clear("one", &ids).await.unwrap();
        told.extend(some);
    }
    assert_eq!(mongo.outbox.stats().await.unwrap().pending, 0);
    let ids: BTreeSet<_> = told.iter().map(|envelope| &envelope.id).collect();
    assert_eq!((told.len(), ids.len()), (2 * KEYS, 2 * KEYS));
    let mut sent = BTreeSet::new();
    for envelope in &told {
        match &envelope.event {
            Event::MessageSent(event) => assert!(sent.insert(&event.message_id)),
            Event::MessageReactionAdded(event) => {
                assert!(sent.contains(&event.message_id), "before it was sent")
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

async fn waiting(mongo: &Mongo, owner: &str) -> usize {
    mongo.outbox.claim(owner, 10, LEASE).await.unwrap().len()
}

async fn a_key_is_held_for_a_lease_though_the_clock_jumps() -> Result<(), Absent> {
    let (server, one) = Server::new().await?;
    let other = server.node().await;
    let began = server.clock.now();
    for _ in 0..3 {
        one.messages.append(&sample::text(&here(), &ann(), "text")).await.unwrap();
    }
    assert_eq!(waiting(&one, "one").await, 3);
    // Nodes do not quite agree about the time.
    for seconds in [0, -4, 4, 29] {
        server.clock.set(moved(began, seconds));
        assert_eq!(waiting(&other, "other").await, 0, "{seconds} s");
    }
    // It was claimed by a clock that was wrong: else it would be held for an hour and a lease.
    server.clock.set(began.before(HOUR));
    assert_eq!(waiting(&other, "other").await, 3);
    assert_eq!(waiting(&one, "one").await, 0);
    // The other one dies, and the clock is right again: the lease is long over.
    server.clock.set(began);
    assert_eq!(waiting(&one, "one").await, 3);
    assert_eq!(waiting(&other, "other").await, 0);
    server.clock.set(began.after(LEASE));
    assert_eq!(waiting(&other, "other").await, 3, "no longer than a lease");
    Ok(())
}

/// One publishes while the clock goes ahead, another takes over and the clock goes back: all of it, in order, and what is told
/// again has the id it had.
async fn a_relay_that_jumped_with_the_clock_goes_on() -> Result<(), Absent> {
    let (server, one) = Server::new().await?;
    let other = server.node().await;
    let began = server.clock.now();
    let say = async |count: usize| {
        for _ in 0..count {
            one.messages.append(&sample::text(&here(), &ann(), "text")).await.unwrap();
        }
    };
    say(4).await;
    let slow = one.outbox.claim("one", 2, LEASE).await.unwrap();
    server.clock.set(began.after(HOUR));
    say(2).await;
    let taken = other.outbox.claim("other", 10, LEASE).await.unwrap();
    assert!(places(&taken).eq(1..=6), "from the first that is not cleared");
    assert!(slow.iter().zip(&taken).all(|(slow, taken)| slow == taken), "the same under the same id");
    server.clock.set(began);
    // The slow one clears what it published at last; the other one dies.
    let ids: Vec<_> = slow.iter().map(|envelope| envelope.id.clone()).collect();
    one.outbox.clear("one", &ids).await.unwrap();
    say(2).await;
    let rest = one.outbox.claim("one", 10, LEASE).await.unwrap();
    assert!(places(&rest).eq(3..=8), "{:?}", places(&rest).collect::<Vec<_>>());
    assert_eq!(drained_of(&one, "one", rest).await, 0);
    Ok(())
}

async fn drained_of(mongo: &Mongo, owner: &str, events: Vec<Envelope>) -> u64 {
    let ids: Vec<_> = events.into_iter().map(|envelope| envelope.id).collect();
    mongo.outbox.clear(owner, &ids).await.unwrap();
    mongo.outbox.stats().await.unwrap().pending
}
