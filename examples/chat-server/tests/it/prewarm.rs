//! Profiles are in the cache before anybody asks: `chat-server prewarm`, and a server told to do so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_core::clock::{Clock, SystemClock};
use chat_core::domain::page::Page;
use chat_core::domain::{LastActivity, Seq, UserId, UserProfile};
use chat_core::store::{ConversationStore, UserSource, UserStore};
use chat_mongo::Mongo;
use chat_redis::Redis;
use chat_testkit::{Absent, sample};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::nodes::world::{World, run, until};
use super::support::client::Client;
use super::support::http;
use super::support::run::{ignorable, within, without};
use super::support::server::{Process, Server};

/// Every trial of this topic.
pub(crate) fn trials() -> Vec<Trial> {
    vec![ignorable("prewarm", "who_talked_lately_is_cached_by_hand_and_by_a_server", || {
        match World::empty() {
            Ok(world) => run(who_talked_lately_is_cached_by_hand_and_by_a_server(world)),
            Err(Absent(why)) => without("redis,mongo", &why),
        }
    })]
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// So many groups, of five each.
const GROUPS: usize = 8;

/// Where everything is.
struct Desk {
    world: World,
    mongo: Mongo,
    redis: Redis,
    file: PathBuf,
}

impl Desk {
    async fn in_world(world: World) -> Self {
        let mongo = chat_mongo::connect(&world.mongo_url()).await.unwrap();
        let redis = chat_redis::connect(&world.redis().url()).await.unwrap();
        let name = format!("chat-prewarm-{}-{}", std::process::id(), world.redis().port());
        Self { world, mongo, redis, file: std::env::temp_dir().join(name) }
    }

    /// The program with these arguments, on these backends.
    fn arguments<'a>(&'a self, first: &[&'a str], urls: &'a [String; 2]) -> Vec<&'a str> {
        [first, &["--redis", &urls[0], "--mongo", &urls[1]]].concat()
    }

    fn urls(&self) -> [String; 2] {
        [self.world.redis().url(), self.world.mongo_url()]
    }

    fn by_hand(&self, pause_ms: &str, resume: bool) -> Process {
        let first = ["prewarm", "--days", "2", "--batch", "5", "--pause-ms", pause_ms];
        let resume = if resume { vec!["--resume", self.file.to_str().unwrap()] } else { Vec::new() };
        Process::server(&self.arguments(&[&first[..], &resume].concat(), &self.urls()), &[])
    }

    fn serve(&self, first: &[&str]) -> Server {
        Server::with(&self.arguments(&[&["--dev"], first].concat(), &self.urls()))
    }

    async fn profiles(&self, names: &[String]) {
        let now = SystemClock.now();
        let known: Vec<_> =
            names.iter().map(|name| UserProfile::new(sample::user(name), name, now)).collect();
        self.mongo.source.create_many(&known).await.unwrap();
    }

    /// A group of five with a message so long ago.
    async fn group(&self, name: &str, ago: Duration) -> Vec<String> {
        let names: Vec<_> = (0..5).map(|nth| format!("{name}.{nth}")).collect();
        let new = sample::group(name, &names.iter().map(String::as_str).collect::<Vec<_>>());
        self.mongo.conversations.create(&new).await.unwrap();
        let activity = LastActivity { at: SystemClock.now().before(ago), seq: Seq(1), message_id: None };
        self.mongo.conversations.touch_many(&[(new.id, activity)]).await.unwrap();
        names
    }

    /// How many of these are in the cache.
    async fn cached(&self, names: &[String]) -> usize {
        let ids: Vec<UserId> = names.iter().map(|name| sample::user(name)).collect();
        self.redis.users.get_many(&ids).await.unwrap().iter().flatten().count()
    }

    /// Waits until this many were looked at, as it is kept.
    async fn looked_at(&self, count: u64) {
        until("a batch to be kept", || async {
            kept(&self.file).is_some_and(|kept| kept["done"]["processed"] == count)
        })
        .await;
    }
}

fn kept(file: &Path) -> Option<Value> {
    std::fs::read(file).ok().map(|text| serde_json::from_slice(&text).unwrap())
}

/// How it ended, and what it said.
async fn ended(process: &Process) -> (Option<i32>, Value) {
    let status = within("prewarm to end", process.ended()).await;
    let line = process.first_line();
    (status.code(), serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}: {}", process.text())))
}

async fn who_talked_lately_is_cached_by_hand_and_by_a_server(world: World) {
    let desk = Desk::in_world(world).await;
    let server = desk.serve(&[]);
    let (mut ann, bob) = (Client::new(&server, "ann").await, Client::new(&server, "bob").await);
    let mut names = vec![ann.user.clone(), bob.user.clone()];
    let group = ann.group(&[&bob]).await;
    ann.send(&group, "hello").await;
    let page = Page::first(9);
    let active = || desk.mongo.conversations.active(SystemClock.now().before(DAY), &page);
    until("the list to know of the message", || async { active().await.unwrap().items.len() == 1 }).await;
    server.stop().await;
    for nth in 0..GROUPS {
        names.extend(desk.group(&format!("g{nth}"), (nth as u32 + 1) * DAY / 10).await);
    }
    let stranger = names.last().unwrap().clone();
    desk.profiles(&names[..names.len() - 1]).await;
    let old = desk.group("old", 3 * DAY).await;
    desk.profiles(&old).await;
    desk.world.redis().command(&["FLUSHALL"]);

    // Stopped in the peace of the truth, and killed there.
    let stopped = desk.by_hand("60000", true);
    desk.looked_at(5).await;
    stopped.signal("INT");
    let (code, report) = ended(&stopped).await;
    assert_eq!((code, &report["end"], &report["processed"]), (Some(1), &json!("stopped"), &json!(5)));
    assert_eq!(Some(&report["next"]), kept(&desk.file).as_ref());
    assert_eq!(desk.cached(&names).await, 5);
    let killed = desk.by_hand("60000", true);
    desk.looked_at(10).await;
    killed.signal("KILL");
    within("it to be dead", killed.ended()).await;

    let (code, mut report) = ended(&desk.by_hand("0", true)).await;
    let duration = report["duration"].take();
    let seconds = duration.as_str().and_then(|text| text.strip_suffix('s')).expect("in seconds");
    assert!(seconds.parse::<f64>().is_ok(), "{duration}");
    let expected = json!({
        "processed": 42, "cached": 41, "there": 0, "missing": 1, "errors": 0, "leftOut": 0,
        "duration": null, "end": "finished", "next": null,
    });
    assert_eq!((code, report), (Some(0), expected), "everybody once, all runs together");
    assert_eq!(kept(&desk.file), None, "nothing is left to go on from");
    assert_eq!(desk.cached(&names).await, 41);
    assert_eq!((desk.cached(&[stranger]).await, desk.cached(&old).await), (0, 0));
    let (code, report) = ended(&desk.by_hand("60000", false)).await;
    assert_eq!((code, &report["there"], &report["missing"]), (Some(0), &json!(41), &json!(1)));

    // Beside a server.
    desk.world.redis().command(&["FLUSHALL"]);
    let server = desk.serve(&["--prewarm-days", "2", "--prewarm-batch", "20", "--prewarm-pause-ms", "1"]);
    until("a server to tell of it", || async { server.log().contains("are prewarmed") }).await;
    assert_eq!(desk.cached(&names).await, 41);
    let metrics = http::get(&server, "/metrics").await.body;
    assert!(metrics.contains("\nchat_prewarmed_total 41\n"), "{metrics}");
    server.stop().await;
    // One that has not come far is no hindrance to a stop.
    desk.world.redis().command(&["FLUSHALL"]);
    let server = desk.serve(&["--prewarm-days", "2", "--prewarm-batch", "5", "--prewarm-pause-ms", "600000"]);
    until("the first batch", || async { desk.cached(&names).await == 5 }).await;
    server.stop().await;
    desk.mongo.close().await;
    desk.world.end().await;
}
