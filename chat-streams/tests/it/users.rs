//! A cache of profiles in step with `events:users`, beside the Node services (seed 002), byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::{ManualClock, SystemClock, Timestamp};
use chat_core::domain::page::Page;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{Actor, UserId, UserProfile};
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, Event, Topic, UserProfileCreated, UserProfileDeleted, UserProfileUpdated};
use chat_core::memory::MemoryUsers;
use chat_core::service::Chat;
use chat_core::store::events::{Delivery, Lag, Receipt};
use chat_core::store::users::UserStoreStats;
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher, UserStore, UserStoreExt};
use chat_redis::{ProfileLayout, Redis as Ports, RedisConfig, RedisService, RedisUsers};
use chat_streams::worker::Source;
use chat_streams::{
    Start, StreamConsumer, Streams, StreamsOptions, UserStreamConsumer, UserStreamOptions, WorkerOptions,
};
use chat_testkit::sample::user;
use chat_testkit::server::Redis;
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    what_node_writes_reaches_the_hash_node_reads,
    what_we_write_is_what_node_reads,
    the_newest_profile_wins_whatever_the_order,
    a_deleted_user_stays_deleted,
    a_nameless_update_is_no_profile,
    a_staff_number_is_forgotten_only_if_asked_to,
    what_a_dead_consumer_did_is_not_done_twice,
    poison_is_set_aside_and_holds_up_nobody,
    a_cache_that_is_away_loses_nothing,
    a_change_reaches_the_cache_of_every_node,
}

const AT: u64 = 1_736_862_000_000;
const STREAM: &str = "events:users";

struct Setting {
    server: Redis,
    streams: Streams,
    users: RedisUsers,
}

impl Setting {
    async fn new(clock: Option<&ManualClock>) -> std::result::Result<Self, Absent> {
        let server = Redis::spawn()?;
        let mut config = RedisConfig::from_url(&server.url()).unwrap();
        config.timing.operation = Duration::from_secs(30);
        if let Some(clock) = clock {
            config = config.with_clock(Arc::new(clock.clone()));
        }
        let service = RedisService::connect(&config).await.unwrap();
        let users = Ports::new(service.clone(), &config.keys).users.with_layout(ProfileLayout::SEED).unwrap();
        let streams = Streams::new(&service, StreamsOptions::default()).unwrap();
        Ok(Self { server, streams, users })
    }

    async fn start(&self, options: UserStreamOptions) -> UserStreamConsumer {
        UserStreamConsumer::start(&self.streams, Arc::new(self.users.clone()), options).await.unwrap()
    }

    /// Adds an entry as the Node services do.
    fn add(&self, payload: &str) {
        self.server.command(&["XADD", STREAM, "*", "payload", payload]);
    }

    async fn publish(&self, at: u64, event: impl Into<Event>) {
        let event = event.into();
        let envelope =
            Envelope::new(&["test", &format!("{at} {event:?}")], Timestamp::from_millis(at), event);
        self.streams.publisher().publish_many(&[envelope]).await.unwrap();
    }

    fn hash(&self, key: &str) -> BTreeMap<String, String> {
        let reply = self.server.command(&["HGETALL", key]);
        let words: Vec<_> = reply.list().iter().map(chat_testkit::server::resp::Reply::text).collect();
        words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    async fn cached(&self, id: &str) -> Option<UserProfile> {
        self.users.get(&user(id)).await.unwrap()
    }
}

fn options() -> UserStreamOptions {
    UserStreamOptions::new("one")
}

fn profile(id: &str, name: &str, at: u64) -> UserProfile {
    UserProfile::new(user(id), name, Timestamp::from_millis(at))
}

fn updated(id: &str, name: &str, at: u64) -> UserProfileUpdated {
    (&profile(id, name, at)).into()
}

fn deleted(id: &str, matricule: Option<&str>) -> UserProfileDeleted {
    UserProfileDeleted { user_id: user(id), matricule: matricule.map(str::to_owned) }
}

async fn handled(consumer: &UserStreamConsumer, count: u64) {
    let what = format!("{count} events to be handled");
    eventually(what, || async {
        let worker = consumer.stats().worker;
        (worker.handled + worker.buried >= count).then_some(())
    })
    .await;
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn what_node_writes_reaches_the_hash_node_reads() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    // Seed 002's `UpdateUserProfile`, as its `JSON.stringify` writes it.
    setting.add(concat!(
        r#"{"event":"user.profile.updated","userId":"123","fullName":"Jean Dupont","#,
        r#""avatar":"https://cdn.example.com/avatars/123.jpg","matricule":"MAT001","timestamp":1736862000000}"#,
    ));
    // What later services write: first and last name, and no full one.
    setting.add(concat!(
        r#"{"event":"user.profile.created","userId":7,"prenom":"Awa","nom":"Ngo","avatar":null,"#,
        r#""matricule":"MAT007","ministere":"MINFOP","sexe":"F","timestamp":1736862000001}"#,
    ));
    let data = r#"{"id":"9","nom":"Essomba","prenom":"Luc","updatedAt":"1736862000002"}"#;
    setting.server.command(&[
        "XADD",
        STREAM,
        "*",
        "event",
        "user:profile:synced",
        "userId",
        "9",
        "data",
        data,
    ]);
    let consumer = setting.start(options()).await;
    handled(&consumer, 3).await;
    let stats = consumer.stop().await;
    assert_eq!((stats.kept, stats.worker.failed, stats.worker.buried), (3, 0, 0), "{stats:?}");
    let written = |name, avatar, matricule, ministere, sexe, at| {
        fields(&[
            ("fullName", name),
            ("avatar", avatar),
            ("matricule", matricule),
            ("ministere", ministere),
            ("sexe", sexe),
            ("updatedAt", at),
        ])
    };
    let picture = "https://cdn.example.com/avatars/123.jpg";
    assert_eq!(
        setting.hash("user:profile:123"),
        written("Jean Dupont", picture, "MAT001", "", "", "1736862000000")
    );
    assert_eq!(
        setting.hash("user:profile:7"),
        written("Awa Ngo", "", "MAT007", "MINFOP", "F", "1736862000001")
    );
    assert_eq!(setting.hash("user:profile:9"), written("Luc Essomba", "", "", "", "", "1736862000002"));
    let ttl = setting.server.command(&["TTL", "user:profile:123"]).int();
    assert!((604_700..=604_800).contains(&ttl), "{ttl}");
    setting.add(
        r#"{"event":"user.profile.deleted","userId":"123","matricule":"MAT001","timestamp":1736862000003}"#,
    );
    let consumer = setting.start(options()).await;
    handled(&consumer, 1).await;
    assert_eq!(consumer.stop().await.removed, 1);
    assert_eq!(setting.hash("user:profile:123"), fields(&[]));
    // And the other way: what a Node service keeps is what we read.
    let words = ["HSET", "user:profile:5", "fullName", "Paul Biya", "avatar", "", "matricule", "MAT005"];
    setting
        .server
        .command(&[&words[..], &["ministere", "", "sexe", "M", "updatedAt", "1736862000004"]].concat());
    let expected = UserProfile {
        matricule: Some("MAT005".to_owned()),
        sexe: Some("M".to_owned()),
        ..profile("5", "Paul Biya", AT + 4)
    };
    assert_eq!(setting.cached("5").await, Some(expected));
    Ok(())
}

async fn what_we_write_is_what_node_reads() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    let full = UserProfile {
        avatar: Some("https://cdn.example.com/avatars/123.jpg".to_owned()),
        matricule: Some("MAT001".to_owned()),
        ministere: Some("MINFOP".to_owned()),
        sexe: Some("M".to_owned()),
        ..profile("123", "Jean Dupont", AT)
    };
    setting.publish(AT, UserProfileCreated::from(&full)).await;
    setting.publish(AT + 1, updated("123", "Jean D.", AT + 1)).await;
    setting.publish(AT + 2, deleted("123", Some("MAT001"))).await;
    let entries = setting.server.command(&["XRANGE", STREAM, "-", "+"]);
    // As the Node consumer reads: the one field, its JSON, and of that the members seed 002 names.
    let read: Vec<serde_json::Value> = entries
        .list()
        .iter()
        .map(|entry| {
            let fields = entry.list()[1].list();
            assert_eq!((fields.len(), fields[0].text().as_str()), (2, "payload"));
            let mut members: serde_json::Value = serde_json::from_str(&fields[1].text()).unwrap();
            assert!(members.as_object_mut().unwrap().remove("envelope").is_some(), "ours, for our readers");
            members
        })
        .collect();
    let golden = [
        concat!(
            r#"{"avatar":"https://cdn.example.com/avatars/123.jpg","event":"user.profile.created","#,
            r#""fullName":"Jean Dupont","matricule":"MAT001","ministere":"MINFOP","sexe":"M","#,
            r#""timestamp":1736862000000,"userId":"123"}"#,
        ),
        concat!(
            r#"{"avatar":null,"event":"user.profile.updated","fullName":"Jean D.","matricule":null,"#,
            r#""ministere":null,"sexe":null,"timestamp":1736862000001,"userId":"123"}"#,
        ),
        r#"{"event":"user.profile.deleted","matricule":"MAT001","timestamp":1736862000002,"userId":"123"}"#,
    ];
    assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), golden);
    Ok(())
}

async fn the_newest_profile_wins_whatever_the_order() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    setting.publish(AT + 5, updated("ann", "newest", AT + 5)).await;
    setting.publish(AT + 1, updated("ann", "oldest", AT + 1)).await;
    setting.publish(AT + 3, updated("ann", "older", AT + 3)).await;
    setting
        .add(r#"{"event":"user.profile.updated","userId":"ann","fullName":"old","timestamp":1736862000004}"#);
    let consumer = setting.start(options()).await;
    handled(&consumer, 4).await;
    let stats = consumer.stop().await;
    assert_eq!((stats.kept, stats.old, stats.last_event), (1, 3, Some(Timestamp::from_millis(AT + 5))));
    assert_eq!(setting.cached("ann").await, Some(profile("ann", "newest", AT + 5)));
    Ok(())
}

async fn a_deleted_user_stays_deleted() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    setting.publish(AT, updated("ann", "Ann", AT)).await;
    setting.publish(AT + 9, deleted("ann", None)).await;
    setting.publish(AT + 8, updated("ann", "late", AT + 8)).await;
    setting.publish(AT + 9, updated("ann", "at the same time", AT + 9)).await;
    let consumer = setting.start(options()).await;
    handled(&consumer, 4).await;
    assert_eq!(setting.cached("ann").await, None);
    setting.publish(AT + 10, updated("ann", "again", AT + 10)).await;
    handled(&consumer, 5).await;
    let stats = consumer.stop().await;
    assert_eq!((stats.kept, stats.removed, stats.old), (2, 1, 2));
    assert_eq!(setting.cached("ann").await, Some(profile("ann", "again", AT + 10)));
    Ok(())
}

async fn a_nameless_update_is_no_profile() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    setting.publish(AT, updated("ann", "Ann", AT)).await;
    setting.add(
        r#"{"event":"user.profile.updated","userId":"ann","avatar":"new.png","timestamp":1736862000007}"#,
    );
    let consumer = setting.start(options()).await;
    handled(&consumer, 2).await;
    consumer.stop().await;
    assert_eq!(setting.cached("ann").await, None, "a miss, never a stub");
    let truth = profile("ann", "Ann", AT + 7);
    assert!(setting.users.put(&truth).await.unwrap(), "what the truth has by now is kept");
    assert!(!setting.users.put(&profile("ann", "Ann", AT + 6)).await.unwrap(), "and nothing older");
    Ok(())
}

async fn a_staff_number_is_forgotten_only_if_asked_to() -> std::result::Result<(), Absent> {
    for forget_matricule in [false, true] {
        let setting = Setting::new(None).await?;
        setting.server.command(&["HSET", "user:profile:MAT001", "fullName", "Ann", "updatedAt", "1"]);
        setting.publish(AT, deleted("ann", Some("MAT001"))).await;
        let consumer = setting.start(UserStreamOptions { forget_matricule, ..options() }).await;
        handled(&consumer, 1).await;
        consumer.stop().await;
        assert_eq!(setting.hash("user:profile:MAT001").is_empty(), forget_matricule);
    }
    Ok(())
}

/// A member that dies before it can acknowledge anything.
#[derive(Debug)]
struct Mute(StreamConsumer);

#[async_trait]
impl EventConsumer for Mute {
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        self.0.fetch(max, wait).await
    }

    async fn ack(&self, _: &[Receipt]) -> Result<()> {
        std::future::pending().await
    }

    async fn reclaim(&self, idle: Duration, max: usize) -> Result<Vec<Delivery>> {
        self.0.reclaim(idle, max).await
    }

    async fn bury(&self, delivery: &Delivery, cause: &Error) -> Result<()> {
        self.0.bury(delivery, cause).await
    }

    async fn lag(&self) -> Result<Lag> {
        self.0.lag().await
    }
}

impl Source for Mute {}

async fn what_a_dead_consumer_did_is_not_done_twice() -> std::result::Result<(), Absent> {
    let clock = ManualClock::default();
    let setting = Setting::new(Some(&clock)).await?;
    setting.publish(AT, updated("ann", "Ann", AT)).await;
    setting.publish(AT + 1, updated("bob", "Bob", AT + 1)).await;
    setting.publish(AT + 2, deleted("bob", None)).await;
    setting.publish(AT + 3, updated("ann", "Ann B", AT + 3)).await;
    let UserStreamOptions { group, start, .. } = options();
    let dead = setting.streams.consumer(&group, "dead", &[Topic::Users], start).await.unwrap();
    let dead = UserStreamConsumer::over(Mute(dead), Arc::new(setting.users.clone()), options());
    handled(&dead, 4).await;
    drop(dead);
    let before = (setting.hash("user:profile:ann"), setting.hash("user:profile:bob"));
    assert_eq!(before.0["fullName"], "Ann B");
    assert!(before.1.is_empty());

    clock.advance(Duration::from_secs(120));
    let worker = WorkerOptions { reclaim_every: Duration::from_millis(20), ..options().worker };
    let consumer = setting.start(UserStreamOptions { worker, ..options() }).await;
    handled(&consumer, 4).await;
    let stats = consumer.stop().await;
    assert_eq!((stats.worker.reclaimed, stats.worker.held, stats.worker.failed), (4, 0, 0));
    // The newest of each was put again; what is older changed nothing.
    assert_eq!((stats.kept, stats.removed, stats.old), (1, 1, 2));
    assert_eq!((setting.hash("user:profile:ann"), setting.hash("user:profile:bob")), before);
    let last = setting.streams.consumer(&group, "last", &[Topic::Users], Start::Now).await.unwrap();
    assert_eq!(last.lag().await.unwrap(), Lag::default(), "all of it is acknowledged");
    Ok(())
}

async fn poison_is_set_aside_and_holds_up_nobody() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    setting.add("not JSON");
    setting.add(r#"{"event":"user.profile.updated","fullName":"nobody's"}"#);
    setting.server.command(&["XADD", STREAM, "*", "half", "an entry"]);
    // A key of the cache that is no hash.
    setting.server.command(&["SET", "user:profile:odd", "text"]);
    setting.publish(AT, updated("odd", "Odd", AT)).await;
    setting.publish(AT, updated("ann", "Ann", AT)).await;
    setting.add(r#"{"event":"user.settings.changed","userId":"ann","timestamp":1736862000000}"#);
    let consumer = setting.start(options()).await;
    handled(&consumer, 6).await;
    let stats = consumer.stop().await;
    assert_eq!((stats.kept, stats.skipped, stats.worker.buried), (1, 1, 4), "{stats:?}");
    assert_eq!(setting.cached("ann").await, Some(profile("ann", "Ann", AT)));
    let letters = setting.streams.dead_letters().list(&Page::first(10)).await.unwrap().items;
    let codes: Vec<_> = letters.iter().map(|letter| letter.cause.contains("chat.data.corrupt")).collect();
    assert_eq!(codes, [true; 4], "{letters:?}");
    Ok(())
}

/// A cache that does not answer in time while it is told to.
#[derive(Debug)]
struct Slow {
    users: RedisUsers,
    is_away: AtomicBool,
    refused: AtomicU32,
}

impl Slow {
    fn answer(&self) -> Result<()> {
        if !self.is_away.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(Code::Timeout.into())
    }
}

#[async_trait]
impl UserStore for Slow {
    async fn get_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        self.users.get_many(users).await
    }

    async fn put_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        self.answer()?;
        self.users.put_many(profiles).await
    }

    async fn remove_many(&self, users: &[(UserId, Timestamp)]) -> Result<()> {
        self.answer()?;
        self.users.remove_many(users).await
    }

    async fn stats(&self) -> Result<UserStoreStats> {
        self.users.stats().await
    }
}

async fn a_cache_that_is_away_loses_nothing() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    let slow = Arc::new(Slow {
        users: setting.users.clone(),
        is_away: AtomicBool::new(true),
        refused: AtomicU32::new(0),
    });
    setting.publish(AT, updated("ann", "Ann", AT)).await;
    let pause = Duration::from_millis(1);
    let worker = WorkerOptions { first_pause: pause, longest_pause: pause, ..options().worker };
    let options = UserStreamOptions { worker, ..options() };
    let consumer =
        UserStreamConsumer::start(&setting.streams, Arc::clone(&slow) as _, options).await.unwrap();
    // Far more attempts than an event that is at fault gets.
    eventually("many attempts", || async { (slow.refused.load(Ordering::SeqCst) > 20).then_some(()) }).await;
    slow.is_away.store(false, Ordering::SeqCst);
    handled(&consumer, 1).await;
    let stats = consumer.stop().await;
    assert!(stats.worker.failed > 20, "{stats:?}");
    assert_eq!((stats.kept, stats.worker.buried), (1, 0));
    assert_eq!(setting.cached("ann").await, Some(profile("ann", "Ann", AT)));
    Ok(())
}

async fn a_change_reaches_the_cache_of_every_node() -> std::result::Result<(), Absent> {
    let setting = Setting::new(None).await?;
    // The use case of seed 002: truth, then cache, then event. Another node has a cache of its own, and so its own group.
    let streams = &setting.streams;
    let chat = Chat::builder()
        .users(Arc::new(setting.users.clone()))
        .publisher(Arc::new(streams.publisher()))
        .tail(Arc::new(streams.tail()))
        .build();
    let far = Arc::new(MemoryUsers::new(Arc::new(SystemClock)));
    let options = UserStreamOptions { group: "profiles of two".to_owned(), ..options() };
    let following = UserStreamConsumer::start(streams, Arc::clone(&far) as _, options).await.unwrap();
    let ann = Actor::user(user("ann"));
    let far_becomes = async |what: &str, is_so: &dyn Fn(Option<&UserProfile>) -> bool| {
        eventually(what, || async {
            let found = far.get(&ann.user).await.unwrap();
            is_so(found.as_ref()).then_some(())
        })
        .await;
    };
    chat.ensure_profile(&ann.user, "Ann").await.unwrap();
    let update = ProfileUpdate { ministere: Some(Some("MINFOP".to_owned())), ..ProfileUpdate::default() };
    let changed = chat.update_profile(&ann, &ann.user, &update).await.unwrap();
    assert_eq!(setting.hash("user:profile:ann")["ministere"], "MINFOP", "here at once");
    chat.relay_once().await.unwrap();
    far_becomes("the change to arrive", &|found| found == Some(&changed)).await;
    assert!(chat.delete_profile(&ann, &ann.user).await.unwrap());
    assert!(setting.hash("user:profile:ann").is_empty());
    chat.relay_once().await.unwrap();
    far_becomes("the deletion to arrive", &|found| found.is_none()).await;
    let stats = following.stop().await;
    assert_eq!((stats.kept, stats.removed, stats.worker.handled), (2, 1, 3));
    Ok(())
}
