//! The cache on real servers: large values, lost answers, half an invalidation, odd data, moving slots, real time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::domain::Page;
use chat_core::error::{Code, Effect, Result as Outcome};
use chat_core::store::cache::{
    Cache, CacheEntry, CacheExt, CacheScope, Generation, MAX_KEY_BYTES, MAX_VALUE_BYTES, Put,
};
use chat_redis::{RedisCache, RedisConfig, RedisService};
use chat_testkit::expect::at_once;
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::resp::Reply;
use chat_testkit::server::{Redis, RedisCluster};
use chat_testkit::wait::{eventually, until};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    values_of_no_and_of_most_bytes_come_back,
    a_large_value_is_renewed_and_let_go_as_a_whole,
    a_large_value_holds_nobody_up,
    readers_never_miss_a_large_value_that_is_replaced,
    a_refused_fill_leaves_nothing_behind,
    lost_answers_change_no_answer,
    half_an_invalidation_is_finished_by_the_next_reader,
    a_lost_generation_is_never_used_again,
    what_is_no_record_is_told_apart_from_a_miss,
    everything_ends_by_itself,
    a_list_nobody_reads_does_not_grow,
    keys_of_any_bytes_stay_in_their_slot,
    promises_hold_while_slots_move,
}

const MINUTE: Duration = Duration::from_secs(60);
/// The largest value that stands in its record.
const INLINE: usize = 64 * 1024;

/// Patient: values are large and the machine may be busy.
async fn connect(url: &str) -> chat_redis::Redis {
    let mut config = RedisConfig::from_url(url).unwrap();
    config.timing.operation = MINUTE;
    config.timing.response = MINUTE / 2;
    let service = RedisService::connect(&config).await.unwrap();
    chat_redis::Redis::new(service, &config.keys)
}

async fn cache(url: &str) -> Arc<RedisCache> {
    connect(url).await.cache
}

fn scope(name: &str) -> CacheScope {
    CacheScope::new(name).unwrap()
}

fn entry(key: &str, value: impl Into<Bytes>) -> CacheEntry {
    CacheEntry { key: key.to_owned(), value: value.into(), ttl: MINUTE }
}

fn value(size: usize) -> Bytes {
    (0..size).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("k{nth:04}")).collect()
}

async fn generation(cache: &RedisCache, scope: &CacheScope) -> Generation {
    cache.get_many(scope, &names(64)).await.unwrap().generation
}

async fn fill(cache: &RedisCache, scope: &CacheScope, key: &str, begun: Generation) -> bool {
    cache.put_many(scope, &[entry(key, "filled")], Put::Fill(begun)).await.unwrap() == [true]
}

async fn listed(cache: &RedisCache, scope: &CacheScope) -> Vec<String> {
    let (mut page, mut all) = (Page::first(100), Vec::new());
    loop {
        let found = cache.keys(scope, "", &page).await.unwrap();
        all.extend(found.items);
        match found.next {
            Some(cursor) => page = Page::after(cursor, 100),
            None => return all,
        }
    }
}

/// Every key on a server.
fn keys(server: &Redis) -> Vec<String> {
    let mut keys: Vec<_> = server.command(&["KEYS", "*"]).list().iter().map(Reply::text).collect();
    keys.sort();
    keys
}

/// Keys that end with this.
fn ending(server: &Redis, end: &str) -> Vec<String> {
    keys(server).into_iter().filter(|key| key.ends_with(end)).collect()
}

/// Where large values stand.
fn apart(server: &Redis) -> Vec<String> {
    let is_apart = |key: &String| key.split_once(":v:").is_some_and(|(_, key)| key.contains(':'));
    keys(server).into_iter().filter(is_apart).collect()
}

async fn values_of_no_and_of_most_bytes_come_back() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s) = (cache(&server.url()).await, scope("s"));
    for size in [0, 1, INLINE - 1, INLINE, INLINE + 1, 1 << 20, MAX_VALUE_BYTES] {
        let value = value(size);
        cache.put(&s, "k", value.clone(), MINUTE).await.unwrap();
        assert!(cache.get(&s, "k").await.unwrap().as_ref() == Some(&value), "{size} bytes came back changed");
        assert!(cache.remove(&s, "k").await.unwrap());
        let begun = generation(&cache, &s).await;
        let key = format!("filled {size}");
        let filled = CacheEntry { key: key.clone(), value: value.clone(), ttl: MINUTE };
        assert_eq!(cache.put_many(&s, &[filled], Put::Fill(begun)).await.unwrap(), [true]);
        assert!(cache.get(&s, &key).await.unwrap() == Some(value), "{size} bytes");
        cache.invalidate(&s).await.unwrap();
        assert_eq!(cache.get(&s, &key).await.unwrap(), None);
    }
    let mixed = [
        entry("none", ""),
        entry("large", value(INLINE * 3)),
        entry("small", "v"),
        entry("large", value(INLINE * 2)),
    ];
    assert_eq!(cache.put_many(&s, &mixed, Put::Always).await.unwrap(), [true; 4]);
    let asked = ["large", "none", "nothing", "small"].map(str::to_owned);
    let found = cache.get_many(&s, &asked).await.unwrap().values;
    let expected = [Some(value(INLINE * 2)), Some(Bytes::new()), None, Some(Bytes::from("v"))];
    assert!(found == expected, "of a key that comes twice the second is kept");
    Ok(())
}

async fn a_large_value_is_renewed_and_let_go_as_a_whole() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s) = (cache(&server.url()).await, scope("s"));
    let left = |key: &str| server.command(&["PTTL", key]).int();
    cache.put(&s, "k", value(INLINE * 4), MINUTE).await.unwrap();
    let [place] = &apart(&server)[..] else { panic!("one value stands apart: {:?}", apart(&server)) };
    assert!((1..=60_001).contains(&left(place)), "{}", left(place));
    assert_eq!(cache.renew_many(&s, &["k".to_owned()], MINUTE * 10).await.unwrap(), [true]);
    assert!((540_000..=600_001).contains(&left(place)), "renewed with its record: {}", left(place));
    // What is replaced stays for those who have just seen it, but not for long.
    cache.put(&s, "k", value(INLINE * 5), MINUTE).await.unwrap();
    assert!(left(place) <= 1_000, "{}", left(place));
    until("the old value to be gone", || !apart(&server).contains(place));
    assert_eq!(apart(&server).len(), 1);
    cache.put(&s, "k", "small", MINUTE).await.unwrap();
    until("no value to stand apart", || apart(&server).is_empty());
    cache.put(&s, "k", value(INLINE * 4), MINUTE).await.unwrap();
    assert!(cache.remove(&s, "k").await.unwrap());
    assert_eq!(apart(&server), [""; 0]);
    Ok(())
}

async fn a_large_value_holds_nobody_up() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let (cache, s) = (cache(&server.url_at(proxy.address())).await, scope("s"));
    cache.put(&s, "large", value(INLINE * 16), MINUTE).await.unwrap();
    cache.put(&s, "small", "v", MINUTE).await.unwrap();
    proxy.hang_after(Request::with("\r\nGET\r\n"));
    let stuck = tokio::spawn({
        let (cache, s) = (Arc::clone(&cache), s.clone());
        async move { cache.get(&s, "large").await }
    });
    eventually("the large value to be on its way", || async { (proxy.counts().faults == 1).then_some(()) })
        .await;
    for _ in 0..100 {
        assert_eq!(cache.get(&s, "small").await.unwrap().as_deref(), Some(&b"v"[..]));
    }
    assert!(!stuck.is_finished(), "it travels on a connection of its own");
    stuck.abort();
    Ok(())
}

async fn readers_never_miss_a_large_value_that_is_replaced() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s) = (cache(&server.url()).await, scope("s"));
    let of = |nth: usize| Bytes::from(vec![nth as u8; INLINE + 1 + nth]);
    cache.put(&s, "k", of(0), MINUTE).await.unwrap();
    at_once(64, |task| {
        let (cache, s) = (Arc::clone(&cache), s.clone());
        async move {
            for nth in 0..20 {
                if task == 0 {
                    cache.put(&s, "k", of(nth), MINUTE).await.unwrap();
                } else {
                    let found = cache.get(&s, "k").await.unwrap().expect("there is always a value");
                    assert!(found == of(found.len() - INLINE - 1), "parts of different values");
                }
            }
        }
    })
    .await;
    Ok(())
}

async fn a_refused_fill_leaves_nothing_behind() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s) = (cache(&server.url()).await, scope("s"));
    let begun = generation(&cache, &s).await;
    cache.put(&s, "there", "v", MINUTE).await.unwrap();
    cache.remove(&s, "fenced").await.unwrap();
    let large = ["there", "fenced"].map(|key| entry(key, value(INLINE * 2)));
    assert_eq!(cache.put_many(&s, &large, Put::Fill(begun)).await.unwrap(), [false, false]);
    cache.invalidate(&s).await.unwrap();
    let late = [entry("late", value(INLINE * 2))];
    assert_eq!(cache.put_many(&s, &late, Put::Fill(begun)).await.unwrap(), [false]);
    assert_eq!(apart(&server), [""; 0]);
    Ok(())
}

async fn lost_answers_change_no_answer() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let (cache, s) = (cache(&server.url_at(proxy.address())).await, scope("s"));
    // Every script is known to the server, and so is the scope.
    let begun = generation(&cache, &s).await;
    let k = &["k".to_owned()][..];
    for warm in ["warm", "k"] {
        assert!(fill(&cache, &s, warm, begun).await);
        cache.renew_many(&s, k, MINUTE).await.unwrap();
        cache.claim(&s, warm, "ann", MINUTE).await.unwrap();
        cache.release(&s, warm, "ann").await.unwrap();
        cache.remove(&s, warm).await.unwrap();
    }
    let mut faults = 0;
    let mut lose = |what: &str| {
        faults += 1;
        proxy.cut_after(Request::with(what));
        faults
    };
    let lost = || proxy.counts().faults;

    let expected = lose("EVALSHA");
    assert!(fill(&cache, &s, "a", begun).await, "it was kept, by this very fill");
    assert_eq!(lost(), expected);
    assert!(!fill(&cache, &s, "a", begun).await);

    for lost_command in ["\r\nSET\r\n", "EVALSHA"] {
        let expected = lose(lost_command);
        let key = format!("large {}", lost_command.trim());
        let large = [entry(&key, value(INLINE * 2)), entry(&key, value(INLINE * 3))];
        assert_eq!(cache.put_many(&s, &large, Put::Fill(begun)).await.unwrap(), [true, false]);
        assert_eq!(lost(), expected);
        assert!(cache.get(&s, &key).await.unwrap() == Some(value(INLINE * 2)));
        let expected = lose(lost_command);
        assert_eq!(cache.put_many(&s, &large, Put::Always).await.unwrap(), [true, true]);
        assert_eq!(lost(), expected);
        assert!(cache.get(&s, &key).await.unwrap() == Some(value(INLINE * 3)));
    }

    let expected = lose("EVALSHA");
    assert_eq!(cache.remove_many(&s, &["a", "a"].map(str::to_owned)).await.unwrap(), [true, false]);
    assert_eq!(lost(), expected);
    assert!(!cache.remove(&s, "a").await.unwrap());

    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    for (ttl, expected) in [(MINUTE, lose("EVALSHA"))] {
        assert_eq!(cache.renew_many(&s, k, ttl).await.unwrap(), [true]);
        assert_eq!(lost(), expected);
    }

    let expected = lose("EVALSHA");
    assert!(cache.claim(&s, "job", "ann", MINUTE).await.unwrap());
    assert_eq!(lost(), expected);
    let expected = lose("EVALSHA");
    assert!(cache.release(&s, "job", "ann").await.unwrap(), "it was ann who gave it up");
    assert_eq!(lost(), expected);
    assert!(!cache.release(&s, "job", "ann").await.unwrap());
    assert!(cache.claim(&s, "job", "ben", MINUTE).await.unwrap());

    let before = generation(&cache, &s).await;
    let expected = lose("EVALSHA");
    let next = cache.invalidate(&s).await.unwrap();
    assert_eq!(lost(), expected);
    assert_ne!(next, before);
    assert_eq!(generation(&cache, &s).await, next, "everywhere the same");
    Ok(())
}

async fn half_an_invalidation_is_finished_by_the_next_reader() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s, all) = (cache(&server.url()).await, scope("s"), names(64));
    let begun = generation(&cache, &s).await;
    let entries: Vec<_> = all.iter().map(|key| entry(key, "old")).collect();
    let fills = |cache: Arc<RedisCache>, s: CacheScope, begun| async move {
        let entries: Vec<_> = names(64).iter().map(|key| entry(key, "filled")).collect();
        cache.put_many(&s, &entries, Put::Fill(begun)).await.unwrap()
    };
    cache.invalidate(&s).await.unwrap();
    for done in [1, 8, 15] {
        let before = generation(&cache, &s).await;
        cache.put_many(&s, &entries, Put::Always).await.unwrap();
        // Somebody dies in the middle.
        let proxy = Proxy::start(server.address(), Protocol::Redis).await;
        let mut config = RedisConfig::from_url(&server.url_at(proxy.address())).unwrap();
        config.timing.operation = Duration::from_millis(300);
        let service = RedisService::connect(&config).await.unwrap();
        let mortal = chat_redis::Redis::new(service, &config.keys).cache;
        proxy.cut_before(Request::with("EVALSHA").but_the(done + 1));
        proxy.refuse().await;
        assert_eq!(mortal.invalidate(&s).await.unwrap_err().effect(), Effect::Unknown, "after {done} shards");
        drop(proxy);
        let lives: BTreeSet<_> = ending(&server, ":s:g")
            .into_iter()
            .map(|key| format!("{:?}", server.command(&["GETRANGE", &key, "0", "7"])))
            .collect();
        assert_eq!(lives.len(), 2, "{done} shards are ahead of the others");
        // A fill that began before is kept nowhere by the time that anybody has looked.
        let seen = cache.get_many(&s, &all).await.unwrap();
        assert!(seen.generation > before && seen.values.iter().all(Option::is_none), "after {done} shards");
        for old in [begun, before] {
            assert_eq!(fills(Arc::clone(&cache), s.clone(), old).await, [false; 64], "after {done} shards");
        }
        assert_eq!(fills(Arc::clone(&cache), s.clone(), seen.generation).await, [true; 64]);
        assert_eq!(listed(&cache, &s).await, all);
    }
    Ok(())
}

async fn a_lost_generation_is_never_used_again() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s, all) = (cache(&server.url()).await, scope("s"), names(64));
    let entries: Vec<_> = all.iter().map(|key| entry(key, "v")).collect();
    let mut used = Vec::new();
    for nth in 0..4 {
        cache.put_many(&s, &entries, Put::Always).await.unwrap();
        let current = generation(&cache, &s).await;
        assert!(!used.contains(&current), "{current:?} was there before");
        used.push(current);
        let lives = ending(&server, ":s:g");
        // One shard forgets: it learns from the others. All forget: nothing of before comes back.
        server.command(&["DEL", &lives[nth]]);
        assert_eq!(generation(&cache, &s).await, current);
        assert_eq!(cache.get_many(&s, &all).await.unwrap().values.iter().flatten().count(), 64);
        assert_eq!(listed(&cache, &s).await, all);
        let delete: Vec<_> = std::iter::once("DEL").chain(lives.iter().map(String::as_str)).collect();
        assert_eq!(server.command(&delete).int(), 16);
        assert_eq!(cache.get_many(&s, &all).await.unwrap().values.iter().flatten().count(), 0);
        assert_eq!(cache.renew_many(&s, &all, MINUTE).await.unwrap(), [false; 64]);
        assert_eq!(listed(&cache, &s).await, [""; 0]);
    }
    Ok(())
}

/// What was stored could not be understood. Whether a script did a part before it noticed is its own affair.
fn corrupt<T: std::fmt::Debug>(answer: Outcome<T>) {
    assert_eq!(answer.unwrap_err().code(), Code::DataCorrupt);
}

async fn what_is_no_record_is_told_apart_from_a_miss() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s, k) = (cache(&server.url()).await, scope("s"), ["k".to_owned()]);
    cache.put(&s, "k", "v", MINUTE).await.unwrap();
    let place = ending(&server, ":s:v:k").remove(0);
    for garbage in ["", "short", &"?".repeat(40)] {
        server.command(&["SET", &place, garbage]);
        corrupt(cache.get(&s, "k").await);
        assert_eq!(cache.renew_many(&s, &k, MINUTE).await.unwrap(), [false]);
        assert!(!cache.remove(&s, "k").await.unwrap());
        cache.put(&s, "k", "v", MINUTE).await.unwrap();
        assert_eq!(cache.get(&s, "k").await.unwrap().as_deref(), Some(&b"v"[..]), "a put heals it");
    }
    let of_another_type = |key: &str| {
        server.command(&["DEL", key]);
        server.command(&["LPUSH", key, "v"]);
    };
    of_another_type(&place);
    assert_eq!(cache.get(&s, "k").await.unwrap(), None, "no value is there");
    corrupt(cache.put(&s, "k", "v", MINUTE).await);
    corrupt(cache.renew_many(&s, &k, MINUTE).await);
    corrupt(cache.remove(&s, "k").await);

    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    let claim = ending(&server, ":s:c:job").remove(0);
    of_another_type(&claim);
    corrupt(cache.claim(&s, "job", "ann", MINUTE).await);
    corrupt(cache.release(&s, "job", "ann").await);
    server.command(&["SET", &claim, "short"]);
    corrupt(cache.claim(&s, "job", "ann", MINUTE).await);
    corrupt(cache.release(&s, "job", "ann").await);

    let life = place.replace(":v:k", ":g");
    server.command(&["SET", &life, "short"]);
    corrupt(cache.get(&s, "k").await);
    corrupt(cache.put(&s, "k", "v", MINUTE).await);
    corrupt(cache.invalidate(&s).await);
    corrupt(cache.keys(&s, "", &Page::first(10)).await);
    of_another_type(&life);
    corrupt(cache.get(&s, "k").await);
    corrupt(cache.put(&s, "k", "v", MINUTE).await);
    Ok(())
}

async fn everything_ends_by_itself() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s) = (cache(&server.url()).await, scope("s"));
    let entries: Vec<_> = names(100).iter().map(|key| entry(key, "v")).collect();
    cache.put_many(&s, &entries, Put::Always).await.unwrap();
    cache.put(&s, "large", value(INLINE * 2), MINUTE).await.unwrap();
    cache.remove_many(&s, &names(10)).await.unwrap();
    cache.renew_many(&s, &names(30), MINUTE * 5).await.unwrap();
    cache.claim(&s, "job", "ann", MINUTE).await.unwrap();
    cache.release(&s, "job", "ann").await.unwrap();
    let left: BTreeMap<_, _> = keys(&server)
        .into_iter()
        .filter(|key| !key.ends_with(":s:g"))
        .map(|key| (key.clone(), server.command(&["PTTL", &key]).int()))
        .collect();
    assert!(left.len() > 100);
    assert!(left.values().all(|left| (1..=600_001).contains(left)), "{left:?}");
    // A list outlives what it lists.
    for (list, kept) in left.iter().filter(|(key, _)| key.ends_with(":s:k")) {
        let within = list.trim_end_matches('k');
        let values = left.iter().filter(|(key, _)| key.starts_with(&format!("{within}v:")));
        assert!(values.into_iter().all(|(_, left)| left <= kept), "{list}: {left:?}");
    }
    // By the server's own time, nobody asking.
    cache.put(&s, "short", "v", Duration::from_millis(1)).await.unwrap();
    until("the value to be over", || ending(&server, ":v:short").is_empty());
    assert_eq!(cache.get(&s, "short").await.unwrap(), None);
    assert!(!listed(&cache, &s).await.contains(&"short".to_owned()));
    Ok(())
}

async fn a_list_nobody_reads_does_not_grow() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let (cache, s) = (cache(&server.url()).await, scope("s"));
    let staying: Vec<_> = names(100).iter().map(|key| entry(key, "v")).collect();
    cache.put_many(&s, &staying, Put::Always).await.unwrap();
    for part in 0..100 {
        let passing = |nth| CacheEntry {
            key: format!("{nth:03} of {part:03} passes"),
            value: Bytes::new(),
            ttl: Duration::from_millis(1),
        };
        let passing: Vec<_> = (0..200).map(passing).collect();
        cache.put_many(&s, &passing, Put::Always).await.unwrap();
    }
    let lists = ending(&server, ":s:k");
    let length: i64 = lists.iter().map(|list| server.command(&["ZCARD", list]).int()).sum();
    assert!(length < 2_000, "{length} keys are listed of 20 000 that came and 100 that stayed");
    assert_eq!(listed(&cache, &s).await, names(100));
    Ok(())
}

/// Keys that only an encoding keeps apart.
fn odd_keys() -> Vec<String> {
    let mut keys: BTreeSet<String> = [
        "{}",
        "}{",
        "{a}",
        "a}b",
        "{0.13}",
        ":v:",
        "k:0000000000000001",
        "*",
        "[a-z]?",
        "\\*",
        "%7B",
        "%257B",
    ]
    .map(str::to_owned)
    .into();
    keys.extend((0..32_u8).map(|control| format!("{}k", char::from(control))));
    for longest in ["x", "{", "%", "é", "\u{0}", "}*{", "日"] {
        let times = MAX_KEY_BYTES / longest.len();
        keys.insert(longest.repeat(times));
        keys.insert(format!("{}y", longest.repeat(times - 1)));
    }
    keys.into_iter().collect()
}

async fn keys_of_any_bytes_stay_in_their_slot() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let cache = cache(&cluster_url(&cluster)).await;
    let scopes = [scope("s"), scope("s.s")];
    let keys = odd_keys();
    let size = |nth: usize| if nth.is_multiple_of(5) { INLINE + nth } else { nth };
    for (s, salt) in scopes.iter().zip([0, 7]) {
        let entries: Vec<_> =
            keys.iter().enumerate().map(|(nth, key)| entry(key, value(size(nth) + salt))).collect();
        assert_eq!(cache.put_many(s, &entries, Put::Always).await.unwrap(), vec![true; keys.len()]);
    }
    for (s, salt) in scopes.iter().zip([0, 7]) {
        let found = cache.get_many(s, &keys).await.unwrap().values;
        for (nth, (key, found)) in keys.iter().zip(&found).enumerate() {
            assert!(found.as_ref() == Some(&value(size(nth) + salt)), "{key:?} in {s:?}");
        }
        assert_eq!(listed(&cache, s).await, keys);
    }
    for (nth, key) in keys.iter().enumerate() {
        assert!(cache.claim(&scopes[0], key, "ann", MINUTE).await.unwrap(), "{key:?}");
        assert!(cache.remove(&scopes[0], key).await.unwrap(), "{key:?}");
        assert_eq!(listed(&cache, &scopes[0]).await, keys[nth + 1..], "after {key:?}");
    }
    assert_eq!(listed(&cache, &scopes[1]).await, keys, "another scope keeps its own");
    Ok(())
}

fn cluster_url(cluster: &RedisCluster) -> String {
    let nodes: Vec<_> = cluster.nodes().iter().map(Redis::address).collect();
    format!("redis+cluster://{}", nodes.join(","))
}

async fn promises_hold_while_slots_move() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let redis = connect(&cluster_url(&cluster)).await;
    let (cache, s, all) = (redis.cache, scope("s"), names(200));
    let entries: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(nth, key)| entry(key, if nth.is_multiple_of(50) { value(INLINE * 2) } else { value(nth) }))
        .collect();
    cache.put_many(&s, &entries, Put::Always).await.unwrap();
    let before = generation(&cache, &s).await;
    let lives = cluster.nodes().iter().enumerate().find_map(|(node, server)| {
        let life = ending(server, ":s:g").into_iter().next()?;
        Some((node, cluster.slot(&life)))
    });
    let (from, slot) = lives.expect("a shard of the scope");
    let moving = cluster.migrate(slot, from, (from + 1) % 3);
    assert!(moving.move_keys(5) > 0, "some of a shard's keys are there, some still here");
    let work = tokio::spawn({
        let (cache, s, all) = (Arc::clone(&cache), s.clone(), all.clone());
        async move {
            let found = cache.get_many(&s, &all).await.unwrap();
            assert_eq!(found.generation, before);
            assert!(found.values.iter().all(Option::is_some), "what moves is not missed");
            assert_eq!(listed(&cache, &s).await, all);
            assert_eq!(cache.renew_many(&s, &all, MINUTE * 2).await.unwrap(), [true; 200]);
            assert_eq!(cache.remove_many(&s, &all[..100]).await.unwrap(), [true; 100]);
            let next = cache.invalidate(&s).await.unwrap();
            assert_eq!(generation(&cache, &s).await, next);
        }
    });
    // Until the slot has arrived, whoever needs keys of both sides is asked to try again.
    let asked_again = || async { (redis.service.stats().repeated > 0).then_some(()) };
    eventually("a reader to be asked to try again", asked_again).await;
    tokio::task::block_in_place(|| moving.finish());
    work.await.unwrap();
    assert_eq!(listed(&cache, &s).await, [""; 0]);
    Ok(())
}
