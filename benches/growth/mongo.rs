//! MongoDB: a page of history out of ever longer conversations, the plan it is answered by, and the commands of the hot
//! operations.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_benches::{Quartiles, Ring, slope};
use chat_core::clock::SystemClock;
use chat_core::domain::{Actor, RoomRole, Seq};
use chat_core::memory::MemoryEvents;
use chat_core::service::{Chat, NewGroup};
use chat_core::store::MessageStore;
use chat_core::store::messages::{Anchor, HistoryQuery, HistoryScope};
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::server::{Mongo as Server, fresh_database};
use mongodb::bson::{Bson, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::{Client, Database};

use crate::field::{TEXT, actor, conversation, said, user};

/// How long conversations are: on a `mongod`, and on a server that is compatible on the wire, which looks through a whole
/// collection for each question.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const FEWER: [usize; 2] = [1_000, 10_000];
const PAGE: usize = 50;
const CALLS: usize = 40;

/// What was found out.
pub(crate) struct Told {
    pub(crate) is_mongod: bool,
    pub(crate) pages: Vec<Reading>,
    /// The exponent of a page.
    pub(crate) exponent: f64,
    /// How many commands an operation sends, and how many documents it writes.
    pub(crate) commands: Vec<(String, f64)>,
    /// Of a message of 61 characters that was published: numbers by name.
    pub(crate) message: Vec<(&'static str, usize)>,
}

/// A page out of so many messages.
pub(crate) struct Reading {
    pub(crate) size: usize,
    pub(crate) micros: f64,
    pub(crate) indexes: String,
    /// Keys and documents it looked at, where the server counts them.
    pub(crate) examined: Option<(i64, i64)>,
}

type Heard = Arc<Mutex<Vec<(String, Document)>>>;

/// Those of the hot operations; the driver's own are not among them.
fn overheard(config: MongoConfig) -> (MongoConfig, Heard) {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    let config = config.on_command(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event
            && !["hello", "endSessions", "killCursors"].contains(&started.command_name.as_str())
        {
            told.lock().unwrap().push((started.command_name, started.command));
        }
    }));
    (config, heard)
}

pub(crate) fn measure(ring: &Ring) -> Option<Told> {
    let server = match Server::find_or_spawn() {
        Ok(server) => server,
        Err(absent) => {
            println!("no history on MongoDB: {}", absent.0);
            return None;
        }
    };
    let config = MongoConfig::from_url(server.url()).unwrap();
    let mut config = config.with_database(&fresh_database()).unwrap();
    // A busy machine makes slow figures, not none.
    config.operation = Duration::from_secs(60);
    let (config, heard) = overheard(config);
    let told = ring.prepare(async {
        let mongo = Mongo::connect(&config).await.unwrap();
        mongo.ensure().await.unwrap();
        let database = Client::with_uri_str(server.url()).await.unwrap().database(&config.database);
        let told = tell(&server, &mongo, &database, &heard).await;
        database.drop().await.unwrap();
        told
    });
    Some(told)
}

async fn tell(server: &Server, mongo: &Mongo, database: &Database, heard: &Heard) -> Told {
    let commands = commands(mongo, heard).await;
    let message = stored(database).await;
    let sizes: &[usize] = if server.is_mongod() { &SIZES } else { &FEWER };
    let mut pages = Vec::new();
    for size in sizes {
        let id = conversation(&format!("long{size}"));
        for first in (0..*size).step_by(1_000) {
            let new: Vec<_> = (first..first + 1_000).map(|nth| said(&id, nth)).collect();
            let answers = mongo.messages.append_many(&new).await.unwrap();
            assert!(answers.iter().all(Result::is_ok));
        }
        pages.push(reading(server, mongo, database, heard, *size).await);
    }
    let exponent = slope(pages.iter().map(|page| (page.size as f64, page.micros)));
    Told { is_mongod: server.is_mongod(), pages, exponent, commands, message }
}

/// What a message that was published takes.
async fn stored(database: &Database) -> Vec<(&'static str, usize)> {
    let messages = database.collection::<Document>("messages");
    let stored = messages.find_one(doc! { "content": TEXT }).await.unwrap().unwrap();
    assert!(
        stored.get_array("outbox").is_ok_and(Vec::is_empty) || !stored.contains_key("outbox"),
        "{stored}"
    );
    let size = |document: &Document| mongodb::bson::serialize_to_vec(document).unwrap().len();
    let mut wordless = stored.clone();
    let words = wordless.remove("terms").and_then(|terms| Some(terms.as_array()?.len())).unwrap_or_default();
    vec![
        ("bytes of a stored message", size(&stored)),
        ("of these, what search finds it by", size(&stored) - size(&wordless)),
        ("indexes it is in at most", messages.list_index_names().await.unwrap().len() - 1),
        ("entries in the index of search", words),
    ]
}

/// A page in the middle: how long it takes, and how it is answered.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
async fn reading(server: &Server, mongo: &Mongo, database: &Database, heard: &Heard, size: usize) -> Reading {
    let query = HistoryQuery {
        conversation: conversation(&format!("long{size}")),
        viewer: None,
        scope: HistoryScope::Everything,
        anchor: Anchor::Before(Seq(size as u64 / 2)),
        limit: PAGE,
    };
    heard.lock().unwrap().clear();
    assert_eq!(mongo.messages.history(&query).await.unwrap().messages.len(), PAGE);
    let asked = std::mem::take(&mut *heard.lock().unwrap());
    let mut micros = Vec::new();
    for _ in 0..CALLS {
        let began = Instant::now();
        mongo.messages.history(&query).await.unwrap();
        micros.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let (mut indexes, mut examined) = (BTreeSet::new(), (0, 0));
    // Other servers model what they count.
    let verbosity = if server.is_mongod() { "executionStats" } else { "queryPlanner" };
    for (name, command) in asked {
        assert_eq!(name, "find", "a page is found");
        let explain = doc! { "explain": bare(&command), "verbosity": verbosity };
        let answer = database.run_command(explain).await.unwrap();
        stages(&Bson::Document(answer.clone()), &mut indexes);
        if let Ok(stats) = answer.get_document("executionStats") {
            let number = |name| stats.get(name).and_then(|n| n.as_i64().or(n.as_i32().map(i64::from)));
            examined.0 += number("totalKeysExamined").unwrap_or_default();
            examined.1 += number("totalDocsExamined").unwrap_or_default();
        }
    }
    assert!(!indexes.contains("COLLSCAN") && !indexes.contains("SORT"), "{indexes:?}");
    let indexes = indexes.into_iter().collect::<Vec<_>>().join(", ");
    let micros = Quartiles::of(micros).median;
    println!("history of {size} messages on MongoDB: {micros:.0} us, from {indexes}");
    Reading { size, micros, indexes, examined: server.is_mongod().then_some(examined) }
}

/// The names of indexes, and of stages that read or sort without one.
fn stages(answer: &Bson, found: &mut BTreeSet<String>) {
    match answer {
        Bson::Document(part) => {
            for (name, value) in part {
                match (name.as_str(), value) {
                    ("rejectedPlans", _) => {}
                    ("indexName", Bson::String(index)) => {
                        found.insert(index.clone());
                    }
                    ("stage", Bson::String(stage)) if ["COLLSCAN", "SORT"].contains(&stage.as_str()) => {
                        found.insert(stage.clone());
                    }
                    _ => stages(value, found),
                }
            }
        }
        Bson::Array(parts) => parts.iter().for_each(|part| stages(part, found)),
        _ => {}
    }
}

/// A command without its session.
fn bare(command: &Document) -> Document {
    let mine = ["find", "filter", "sort", "limit", "hint", "projection", "batchSize", "singleBatch"];
    let mine = command.iter().filter(|(name, _)| mine.contains(&name.as_str()));
    mine.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Commands of the hot operations of a chat once everything is known, and how many documents they write: one of each
/// operation, but for what was sent, which is published 64 at a time in eight conversations, as where much is sent.
async fn commands(mongo: &Mongo, heard: &Heard) -> Vec<(String, f64)> {
    const AT_ONCE: usize = 64;
    let events = Arc::new(MemoryEvents::new(Arc::new(SystemClock)));
    let builder = mongo.clone().equip(Chat::builder()).publisher(Arc::clone(&events) as _).tail(events);
    let chat = builder.build();
    let (ann, ben): (Actor, Actor) = (actor(1), actor(2));
    let mut groups = Vec::new();
    for nth in 0..8 {
        let mut group = NewGroup::named(format!("counted {nth}"));
        group.members = vec![(user(2), RoomRole::Member)];
        groups.push(chat.create_group(&ann, group).await.unwrap().id);
    }
    let mut counts = Vec::new();
    // The first time some things are not known yet.
    for _ in 0..2 {
        counts.clear();
        let mut count = |name: &str, parts: usize| {
            let sent = std::mem::take(&mut *heard.lock().unwrap());
            let writes: usize = sent.iter().map(|(name, command)| writes(name, command)).sum();
            counts.push((name.to_owned(), sent.len() as f64 / parts as f64));
            counts.push((format!("{name}: writes"), writes as f64 / parts as f64));
        };
        let send = |nth: usize| chat.send(&ann, &groups[nth % groups.len()], TEXT, None);
        chat.relay_once().await.unwrap();
        heard.lock().unwrap().clear();
        let seq = send(0).await.unwrap().message.seq;
        count("send", 1);
        chat.mark_read(&ben, &groups[0], seq).await.unwrap();
        count("mark read", 1);
        chat.history(&ben, &groups[0], HistoryScope::Everything, Anchor::Latest, PAGE).await.unwrap();
        count("history, a page of 50", 1);
        chat.total_unread(&ben).await.unwrap();
        count("total unread", 1);
        futures::future::try_join_all((0..AT_ONCE).map(send)).await.unwrap();
        heard.lock().unwrap().clear();
        assert!(chat.relay_once().await.unwrap() >= AT_ONCE);
        count("publish an event", AT_ONCE);
    }
    for (name, count) in &counts {
        println!("{name} on MongoDB: {count:.2}");
    }
    counts
}

/// How many documents a command writes, or means to.
fn writes(name: &str, command: &Document) -> usize {
    let list = match name {
        "insert" => "documents",
        "update" => "updates",
        "delete" => "deletes",
        "bulkWrite" => "ops",
        "findAndModify" => return 1,
        _ => return 0,
    };
    command.get_array(list).map_or(1, Vec::len)
}
