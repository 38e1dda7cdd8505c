//! The near tier of the cache, told by Redis what changes: heard, lost, hung, late, elsewhere.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::clock::{ManualClock, Stopwatch};
use chat_core::layer::{Tiered, TieredOptions};
use chat_core::store::cache::{Cache, CacheEntry, CacheExt, CacheScope, Put};
use chat_redis::connection::{Connection, Dial, Server, Timing, Tracking};
use chat_redis::{KeySpace, RedisCache, RedisService};
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::Redis;
use chat_testkit::server::resp::Reply;
use chat_testkit::wait::{eventually, until};
use chat_testkit::{Absent, trials};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use redis::{Client, RedisResult};

trials! { needs "redis":
    whatever_another_process_changes_is_heard,
    a_lost_connection_is_not_believed,
    a_hung_connection_is_believed_no_longer_than_the_bound,
    a_hung_connection_is_given_up,
    a_killed_server_is_not_believed,
    an_answer_that_comes_after_its_change_is_not_kept,
    requests_that_go_to_another_server_end_the_trust,
    connections_that_heal_by_themselves_are_not_tracked,
    nobody_reads_what_is_older_than_the_bound,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Looks often, and has all the time in the world.
const PATIENT: Tracking = Tracking { beat: Duration::from_millis(20), patience: MINUTE };

/// Requests go one way and news another, each to where it is told.
struct Ways {
    data: Mutex<Client>,
    news: Mutex<Client>,
}

#[async_trait]
impl Dial for Ways {
    async fn dial(&self) -> RedisResult<Connection> {
        let data = self.data.lock().clone();
        data.dial().await
    }
    async fn server(&self, _node: Option<(&str, u16)>) -> RedisResult<Option<Server>> {
        let news = self.news.lock().clone();
        Ok(Some(news.get_connection_info().clone().into()))
    }
}

fn client(url: &str) -> Client {
    Client::open(url).unwrap()
}

fn timing() -> Timing {
    Timing { response: MINUTE, operation: 2 * MINUTE, ..Timing::default() }
}

fn over(dial: Arc<dyn Dial>, clock: &ManualClock) -> chat_redis::Redis {
    let service = RedisService::over("test", dial, timing(), Some(Arc::new(clock.clone())));
    chat_redis::Redis::new(service, &KeySpace::default())
}

/// This process, and another.
struct Two {
    clock: ManualClock,
    near: Tiered,
    far: Arc<RedisCache>,
    ways: Arc<Ways>,
    scope: CacheScope,
}

impl Two {
    /// On a clock that stands still, so that nothing ends by itself.
    async fn new(server: &Redis, data: &str, news: &str, tracking: Tracking) -> Self {
        let clock = ManualClock::default();
        let ways = Arc::new(Ways {
            data: Mutex::new(client(&server.url_at(data))),
            news: Mutex::new(client(&server.url_at(news))),
        });
        let near = over(ways.clone(), &clock).tiered(TieredOptions::default(), tracking);
        let far = over(Arc::new(client(&server.url())), &clock).cache;
        let two = Self { clock, near, far, ways, scope: CacheScope::new("users").unwrap() };
        two.put("first", "value").await;
        two.until_served("first").await;
        two
    }

    async fn put(&self, key: &str, value: impl Into<Bytes>) {
        self.far.put(&self.scope, key, value, HOUR).await.unwrap();
    }

    async fn get(&self, key: &str) -> Option<Bytes> {
        self.near.get(&self.scope, key).await.unwrap()
    }

    /// Until the near tier answers.
    async fn until_served(&self, key: &str) {
        eventually("an answer of the near tier", async || {
            let before = self.near.stats().hits;
            let _ = self.near.get(&self.scope, key).await;
            (self.near.stats().hits > before).then_some(())
        })
        .await;
    }

    async fn until_lost(&self) {
        eventually("the end of trust", async || (self.near.stats().entries == 0).then_some(())).await;
    }
}

fn value(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

async fn whatever_another_process_changes_is_heard() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let two = Two::new(&server, server.address(), server.address(), PATIENT).await;
    let (s, keys) = (&two.scope, ["a:{%}".to_owned()]);
    let large = |byte: u8| Bytes::from(vec![byte; 100_000]);
    for change in 0..8 {
        let old = if change == 6 { large(1) } else { Bytes::from("old") };
        two.put(&keys[0], old.clone()).await;
        eventually("the old value, near", async || {
            let before = two.near.stats().hits;
            (two.get(&keys[0]).await == Some(old.clone()) && two.near.stats().hits > before).then_some(())
        })
        .await;
        match change {
            0 => two.put(&keys[0], "new").await,
            1 => _ = two.far.remove_many(s, &keys).await.unwrap(),
            2 => _ = two.far.renew_many(s, &keys, MINUTE).await.unwrap(),
            3 => _ = two.far.invalidate(s).await.unwrap(),
            4 => _ = server.command(&["FLUSHALL"]),
            5 => {
                let all = server
                    .command(&["KEYS", "*:users:v:*"])
                    .list()
                    .iter()
                    .map(|key| key.text())
                    .collect::<Vec<_>>();
                server.command(&[vec!["UNLINK".to_owned()], all].concat());
            }
            6 => two.put(&keys[0], large(2)).await,
            _ => {
                server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1"]);
                until("everything evicted", || server.command(&["DBSIZE"]) == Reply::Int(0));
                server.command(&["CONFIG", "SET", "maxmemory", "0"]);
            }
        }
        eventually(format!("news of change {change}"), async || {
            let read = two.near.get_many(s, &keys).await.ok()?;
            if ![0, 2, 6].contains(&change) {
                // Whoever asks Redis may write there what this would hear of.
                return (read.values == [None]).then_some(());
            }
            let truth = two.far.get_many(s, &keys).await.ok()?;
            (read.values == truth.values && read.left == truth.left).then_some(())
        })
        .await;
    }
    Ok(())
}

async fn a_lost_connection_is_not_believed() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let news = Proxy::start(server.address(), Protocol::Redis).await;
    let two = Two::new(&server, server.address(), news.address(), PATIENT).await;
    for round in 0..3 {
        news.refuse().await;
        news.cut().await;
        two.until_lost().await;
        for nth in 0..10 {
            let new = format!("{round} {nth}");
            two.put("first", new.clone()).await;
            assert_eq!(two.get("first").await, value(&new), "passed by");
        }
        assert_eq!(two.near.stats().entries, 0, "and nothing kept");
        news.pass().await;
        two.until_served("first").await;
        two.put("first", "heard again").await;
        eventually("news", async || (two.get("first").await == value("heard again")).then_some(())).await;
    }
    Ok(())
}

async fn a_hung_connection_is_believed_no_longer_than_the_bound() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let news = Proxy::start(server.address(), Protocol::Redis).await;
    // Nobody gives the connection up: the lease alone protects readers.
    let tracking = Tracking { patience: 10 * MINUTE, ..PATIENT };
    let two = Two::new(&server, server.address(), news.address(), tracking).await;
    news.hang();
    two.put("first", "new").await;
    assert_eq!(two.get("first").await, value("value"), "nobody told, and the clock stands still");
    two.clock.advance(tracking.beat + tracking.patience - Duration::from_millis(1));
    assert_eq!(two.get("first").await, value("value"), "within the bound");
    two.clock.advance(Duration::from_millis(1));
    assert_eq!(two.get("first").await, value("new"), "the bound");
    news.pass().await;
    two.until_served("first").await;
    assert_eq!(two.get("first").await, value("new"));
    Ok(())
}

async fn a_hung_connection_is_given_up() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let news = Proxy::start(server.address(), Protocol::Redis).await;
    let tracking = Tracking { patience: Duration::from_millis(300), ..PATIENT };
    let two = Two::new(&server, server.address(), news.address(), tracking).await;
    let before = news.counts().connections;
    news.hang();
    two.put("first", "new").await;
    two.until_lost().await;
    assert_eq!(two.get("first").await, value("new"), "though the clock stands still");
    news.pass().await;
    two.until_served("first").await;
    assert!(news.counts().connections > before, "on another connection");
    Ok(())
}

async fn a_killed_server_is_not_believed() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let clock = ManualClock::default();
    let timing =
        Timing { response: Duration::from_millis(200), operation: Duration::from_millis(400), ..timing() };
    let service = |clock: &ManualClock| {
        let dial = Arc::new(client(&server.url()));
        let service = RedisService::over("test", dial, timing, Some(Arc::new(clock.clone())));
        chat_redis::Redis::new(service, &KeySpace::default())
    };
    let (near, far) = (service(&clock).tiered(TieredOptions::default(), PATIENT), service(&clock).cache);
    let s = CacheScope::new("users").unwrap();
    let served = async |what: Option<Bytes>| {
        eventually("an answer of the near tier", async || {
            let before = near.stats().hits;
            let found = near.get(&s, "a").await.ok()?;
            (found == what && near.stats().hits > before).then_some(())
        })
        .await;
    };
    far.put(&s, "a", "1", HOUR).await.unwrap();
    served(value("1")).await;
    server.kill();
    eventually("an outage that is not hidden", async || near.get(&s, "a").await.err()).await;
    assert_eq!(near.stats().entries, 0);
    server.restart();
    served(None).await;
    far.put(&s, "a", "2", HOUR).await.unwrap();
    served(value("2")).await;
    Ok(())
}

async fn an_answer_that_comes_after_its_change_is_not_kept() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let data = Proxy::start(server.address(), Protocol::Redis).await;
    let two = Two::new(&server, data.address(), server.address(), PATIENT).await;
    two.put("a", "old").await;
    two.until_served("first").await;
    let (asked, refused) = (server.commandstats()["mget"], two.near.stats().refused);
    data.delay(10 * MINUTE);
    let late = tokio::spawn({
        let (near, scope) = (two.near.clone(), two.scope.clone());
        async move { near.get(&scope, "a").await.unwrap() }
    });
    eventually("the old value on its way", async || (server.commandstats()["mget"] > asked).then_some(()))
        .await;
    two.put("a", "new").await;
    two.put("first", "new").await;
    // News come in order: with those of the second put, those of the first are here.
    two.until_lost().await;
    data.pass().await;
    assert_eq!(late.await.unwrap(), value("old"), "whoever asked before may hear it");
    assert_eq!(two.get("a").await, value("new"));
    assert_eq!(two.near.stats().refused, refused + 1);
    Ok(())
}

async fn requests_that_go_to_another_server_end_the_trust() -> Result<(), Absent> {
    let (old, new) = (Redis::spawn()?, Redis::spawn()?);
    let data = Proxy::start(old.address(), Protocol::Redis).await;
    let two = Two::new(&old, data.address(), old.address(), PATIENT).await;
    // A fail-over: the old master lives on and goes on telling, but nobody writes there any more.
    let elsewhere = over(Arc::new(client(&new.url())), &two.clock).cache;
    elsewhere.put(&two.scope, "first", "new", HOUR).await.unwrap();
    *two.ways.data.lock() = client(&new.url());
    *two.ways.news.lock() = client(&new.url());
    data.refuse().await;
    data.cut().await;
    eventually("what the new master says", async || (two.get("first").await == value("new")).then_some(()))
        .await;
    two.until_served("first").await;
    elsewhere.put(&two.scope, "first", "newer", HOUR).await.unwrap();
    eventually("its news", async || (two.get("first").await == value("newer")).then_some(())).await;
    Ok(())
}

async fn connections_that_heal_by_themselves_are_not_tracked() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let clock = ManualClock::default();
    let manager = client(&server.url()).get_connection_manager().await.unwrap();
    let near = over(Arc::new(Connection::Managed(manager)), &clock).tiered(TieredOptions::default(), PATIENT);
    let far = over(Arc::new(client(&server.url())), &clock).cache;
    let s = CacheScope::new("users").unwrap();
    far.put(&s, "a", "old", HOUR).await.unwrap();
    eventually("an answer of the near tier", async || {
        near.get(&s, "a").await.unwrap();
        (near.stats().hits > 0).then_some(())
    })
    .await;
    far.put(&s, "a", "new", HOUR).await.unwrap();
    assert_eq!(near.get(&s, "a").await.unwrap(), value("old"), "nobody tells");
    clock.advance(TieredOptions::default().stale_for);
    assert_eq!(near.get(&s, "a").await.unwrap(), value("new"), "the bound without news");
    Ok(())
}

/// Two processes write and read, their news are cut and hung; on real time.
async fn nobody_reads_what_is_older_than_the_bound() -> Result<(), Absent> {
    const KEYS: usize = 4;
    let given = std::env::var("CHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("two processes by the seed {seed}: CHAT_TEST_SEED repeats it");
    let server = Redis::spawn()?;
    let news = Proxy::start(server.address(), Protocol::Redis).await;
    let tracking = Tracking { beat: Duration::from_millis(100), patience: Duration::from_millis(200) };
    let bound = tracking.beat + tracking.patience;
    let near: Vec<Tiered> = (0..2)
        .map(|_| {
            let ways = Ways {
                data: Mutex::new(client(&server.url())),
                news: Mutex::new(client(&server.url_at(news.address()))),
            };
            let service = RedisService::over("test", Arc::new(ways), timing(), None);
            chat_redis::Redis::new(service, &KeySpace::default())
                .tiered(TieredOptions { stale_for: bound, ..TieredOptions::default() }, tracking)
        })
        .collect();
    let s = CacheScope::new("users").unwrap();
    // Of each key, when which write was answered. One writer a key, so that the order of writes is theirs.
    let written: Arc<Vec<Mutex<Vec<Duration>>>> = Arc::new((0..KEYS).map(|_| Mutex::default()).collect());
    let (watch, ends) = (Stopwatch::start(), Arc::new(AtomicBool::new(false)));
    let reads = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for key in 0..KEYS {
        let (near, s, written, ends) = (near.clone(), s.clone(), Arc::clone(&written), Arc::clone(&ends));
        let mut dice = StdRng::seed_from_u64(seed.wrapping_add(key as u64));
        tasks.push(tokio::spawn(async move {
            let mut version = 0_usize;
            while !ends.load(SeqCst) {
                version += 1;
                let node = &near[dice.random_range(0..2)];
                let entry = CacheEntry { key: key.to_string(), value: version.to_string().into(), ttl: HOUR };
                node.put_many(&s, &[entry], Put::Always).await.unwrap();
                written[key].lock().push(watch.elapsed());
                tokio::time::sleep(Duration::from_millis(dice.random_range(1..60))).await;
            }
        }));
    }
    for reader in 0..4 {
        let (near, s, written) = (near[reader % 2].clone(), s.clone(), Arc::clone(&written));
        let (ends, reads) = (Arc::clone(&ends), Arc::clone(&reads));
        let mut dice = StdRng::seed_from_u64(seed.wrapping_sub(1 + reader as u64));
        tasks.push(tokio::spawn(async move {
            while !ends.load(SeqCst) {
                let key = dice.random_range(0..KEYS);
                let begun = watch.elapsed();
                let floor = written[key].lock().iter().take_while(|at| **at + bound < begun).count();
                let found = near.get(&s, &key.to_string()).await.unwrap();
                let version =
                    found.map_or(0, |found| String::from_utf8_lossy(&found).parse::<usize>().unwrap());
                assert!(
                    version >= floor,
                    "seed {seed}: key {key} was {version}, and {floor} was written long ago"
                );
                reads.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut dice = StdRng::seed_from_u64(seed);
    while watch.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(50..400))).await;
        match dice.random_range(0..3) {
            0 => news.cut().await,
            1 => news.hang(),
            _ => news.pass().await,
        }
    }
    ends.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let hits: u64 = near.iter().map(|near| near.stats().hits).sum();
    println!("{} reads, {hits} of them near", reads.load(SeqCst));
    assert!(hits > 100, "they show nothing");
    Ok(())
}
