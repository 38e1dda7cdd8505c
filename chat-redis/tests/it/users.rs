//! Profiles on real servers: seed 002's bytes, other services beside us, lost answers, odd data, a cluster.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::Code;
use chat_core::store::{UserStore, UserStoreExt};
use chat_redis::{ProfileLayout, RedisConfig, RedisService, RedisUsers};
use chat_testkit::expect::refused;
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::sample::{hostile_ids, user};
use chat_testkit::server::resp::Reply;
use chat_testkit::server::{Redis, RedisCluster};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    what_the_seed_writes_is_read,
    what_we_write_is_what_the_seed_writes,
    what_later_services_write_is_read,
    other_services_and_we_keep_the_newer,
    others_may_bring_back_what_was_removed,
    a_prefix_reaches_no_other_keys,
    lost_answers_change_no_answer,
    everything_ends_by_itself,
    what_is_no_profile_is_told_apart_from_a_miss,
    ids_of_any_bytes_have_keys_of_their_own_on_a_cluster,
    large_batches_are_whole_on_a_cluster,
    numbers_are_counted_without_a_walk_unless_others_write,
}

const MILLI: Duration = Duration::from_millis(1);
const NOW: Timestamp = Timestamp::from_millis(1_736_862_000_000);
const WEEK_SECONDS: i64 = 604_800;

async fn compact(url: &str) -> Arc<RedisUsers> {
    let config = RedisConfig::from_url(url).unwrap();
    let service = RedisService::connect(&config).await.unwrap();
    chat_redis::Redis::new(service, &config.keys).users
}

async fn seed(url: &str) -> RedisUsers {
    compact(url).await.with_layout(ProfileLayout::SEED).unwrap()
}

/// Both layouts.
async fn layouts(url: &str) -> [RedisUsers; 2] {
    let compact = compact(url).await;
    let seed = compact.with_layout(ProfileLayout::SEED).unwrap();
    [(*compact).clone(), seed]
}

fn profile(id: &str, name: &str, at: Timestamp) -> UserProfile {
    UserProfile::new(user(id), name, at)
}

/// The profiles of the golden file, in its order.
fn golden_profiles() -> Vec<UserProfile> {
    let some = |text: &str| Some(text.to_owned());
    vec![
        UserProfile {
            avatar: some("https://cdn.example.com/avatars/123.jpg"),
            matricule: some("MAT001"),
            ministere: some("MINFOP"),
            sexe: some("M"),
            ..profile("123", "Jean Dupont", NOW)
        },
        profile("userId123", "Aïcha N'Diaye", NOW.after(MILLI)),
        UserProfile {
            matricule: some("MAT-9"),
            sexe: some("F"),
            ..profile("{a}:*[b]", "Ève", Timestamp::EPOCH)
        },
    ]
}

/// The lines of the golden file that begin so, as words.
fn golden(begin: char) -> Vec<Vec<String>> {
    let lines = include_str!("../golden/user_profile.txt").lines();
    lines.filter_map(|line| line.strip_prefix(begin)).map(words).collect()
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let (word, left) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = left.trim_start();
    }
    words
}

/// A hash as the golden file has it: key, time to live, fields.
fn hash(server: &Redis, key: &str) -> Vec<String> {
    let left = server.command(&["TTL", key]).int();
    assert!((WEEK_SECONDS - 60..=WEEK_SECONDS).contains(&left), "{key} is kept for {left} s");
    let fields = server.command(&["HGETALL", key]);
    let fields = fields.list().iter().map(Reply::text);
    [key.to_owned(), WEEK_SECONDS.to_string()].into_iter().chain(fields).collect()
}

async fn what_the_seed_writes_is_read() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    for command in golden('>') {
        server.command(&command);
    }
    for expected in golden('<') {
        assert_eq!(hash(&server, &expected[0]), expected, "the file agrees with itself");
    }
    let users = seed(&server.url()).await;
    let profiles = golden_profiles();
    let ids: Vec<UserId> = profiles.iter().map(|profile| profile.id.clone()).collect();
    assert_eq!(users.get_many(&ids).await.unwrap(), profiles.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(users.get(&user("nobody")).await.unwrap(), None, "a miss is a miss, never a stub");
    Ok(())
}

async fn what_we_write_is_what_the_seed_writes() -> Result<(), Absent> {
    let (theirs, ours) = (Redis::spawn()?, Redis::spawn()?);
    for command in golden('>') {
        theirs.command(&command);
    }
    let users = seed(&ours.url()).await;
    assert_eq!(users.put_many(&golden_profiles()).await.unwrap(), [true, true, true]);
    for expected in golden('<') {
        let key = &expected[0];
        assert_eq!(&hash(&ours, key), &expected);
        assert_eq!(ours.command(&["DUMP", key]), theirs.command(&["DUMP", key]), "byte for byte");
    }
    // What stands beside them is ours alone.
    let keys = ours.command(&["KEYS", "*"]);
    let others = keys.list().iter().map(Reply::text).filter(|key| !key.starts_with("user:profile:"));
    assert!(others.into_iter().all(|key| key.starts_with("chat:m:{")));
    users.remove_many(&[(user("123"), NOW.after(MILLI))]).await.unwrap();
    assert_eq!(ours.command(&["EXISTS", "user:profile:123"]).int(), 0);
    Ok(())
}

async fn what_later_services_write_is_read() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let users = seed(&server.url()).await;
    let write = |id: &str, fields: &[&str]| {
        let key = format!("user:profile:{id}");
        server.command(&["DEL", &key]);
        server.command(&[&["HSET", &key], fields].concat());
    };
    write("7", &["id", "7", "nom", "Dupont", "prenom", "Jean", "fullName", "Jean Dupont", "updatedAt", "5"]);
    let jean = profile("7", "Jean Dupont", Timestamp::from_millis(5));
    assert_eq!(users.get(&jean.id).await.unwrap(), Some(jean.clone()));
    write("7", &["nom", "Dupont", "prenom", "Jean", "fullName", "", "avatar", "", "updatedAt", "5"]);
    assert_eq!(users.get(&jean.id).await.unwrap(), Some(jean.clone()));
    write("7", &["nom", "Dupont", "prenom", "", "sexe", "M"]);
    let named = UserProfile { sexe: Some("M".to_owned()), ..profile("7", "Dupont", Timestamp::EPOCH) };
    assert_eq!(users.get(&jean.id).await.unwrap(), Some(named), "without a time it is the oldest there is");
    for nameless in [&["sexe", "M", "updatedAt", "5"][..], &["nom", "", "prenom", "", "fullName", ""]] {
        write("7", nameless);
        assert_eq!(users.get(&jean.id).await.unwrap(), None, "{nameless:?} is nobody");
    }
    write("7", &["id", "7", "nom", "Old", "prenom", "Very", "fullName", "Very Old", "updatedAt", "4"]);
    assert!(users.put(&jean).await.unwrap());
    assert_eq!(hash(&server, "user:profile:7").len(), 2 + 12, "no field of before survives");
    for odd in ["", "yesterday", "-1", "1e3", "1736862000000000", "18446744073709551616"] {
        write("7", &["fullName", "Jean Dupont", "updatedAt", odd]);
        let found = users.get(&jean.id).await.unwrap().expect("a profile");
        assert_eq!(found.updated_at, Timestamp::EPOCH, "{odd:?}");
        assert!(users.put(&jean).await.unwrap(), "{odd:?} is older than anything");
    }
    Ok(())
}

async fn other_services_and_we_keep_the_newer() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let users = seed(&server.url()).await;
    let theirs = |at: &str| {
        server.command(&["HSET", "user:profile:ada", "fullName", "theirs", "updatedAt", at]);
    };
    assert!(users.put(&profile("ada", "ours", Timestamp::from_millis(999))).await.unwrap());
    theirs("1000");
    assert!(!users.put(&profile("ada", "ours", Timestamp::from_millis(999))).await.unwrap(), "by number");
    assert_eq!(users.get(&user("ada")).await.unwrap().unwrap().full_name, "theirs");
    assert!(users.put(&profile("ada", "ours", Timestamp::from_millis(1_000))).await.unwrap());
    theirs("0999");
    assert!(users.put(&profile("ada", "ours", Timestamp::from_millis(1_000))).await.unwrap());
    users.remove_many(&[(user("ada"), Timestamp::from_millis(999))]).await.unwrap();
    assert_eq!(users.get(&user("ada")).await.unwrap().unwrap().full_name, "ours", "of the life before");
    Ok(())
}

async fn others_may_bring_back_what_was_removed() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let users = seed(&server.url()).await;
    users.remove_many(&[(user("ada"), NOW)]).await.unwrap();
    assert!(!users.put(&profile("ada", "late", NOW)).await.unwrap());
    server.command(&["HSET", "user:profile:ada", "fullName", "Ada", "updatedAt", "5"]);
    assert_eq!(users.get(&user("ada")).await.unwrap().unwrap().full_name, "Ada");
    assert!(!users.put(&profile("ada", "late", NOW)).await.unwrap(), "we remember nevertheless");
    Ok(())
}

async fn a_prefix_reaches_no_other_keys() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let users = compact(&server.url()).await;
    let with = |prefix: &str| users.with_layout(ProfileLayout::SeedHash { prefix: prefix.to_owned().into() });
    for bad in ["", "c", "chat", "chat:", "chat:m", "chat:m:", "a{b", "a}", &"x".repeat(129)] {
        refused(with(bad), Code::ConfigInvalid);
    }
    // A prefix is no pattern.
    server.command(&["HSET", "user:profile:x", "fullName", "X"]);
    server.command(&["SET", "u*:y", "no hash"]);
    let odd = with("u*:").unwrap();
    assert_eq!(odd.stats().await.unwrap().cached, 0);
    for (nth, good) in
        ["user:profile:", "chat:cache:users:", "user-service:cache:users:", "x"].into_iter().enumerate()
    {
        let users = with(good).unwrap();
        assert!(users.put(&profile("ada", good, NOW)).await.unwrap());
        assert_eq!(users.get(&user("ada")).await.unwrap(), Some(profile("ada", good, NOW)));
        assert_eq!(server.command(&["EXISTS", &format!("{good}ada")]).int(), 1);
        assert_eq!(users.stats().await.unwrap().cached, if nth == 0 { 2 } else { 1 }, "{good}");
    }
    Ok(())
}

async fn lost_answers_change_no_answer() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    for (nth, users) in (1..).zip(layouts(&server.url_at(proxy.address())).await) {
        let batch = [
            profile("ada", "Ada", NOW),
            profile("ada", "old", NOW.before(MILLI)),
            profile("eve", "Eve", NOW),
        ];
        users.put_many(&batch).await.unwrap();
        users.remove_many(&[(user("joy"), NOW)]).await.unwrap();
        proxy.cut_after(Request::with("EVALSHA"));
        assert_eq!(users.put_many(&batch).await.unwrap(), [true, false, true]);
        proxy.cut_after(Request::with("EVALSHA"));
        users.remove_many(&[(user("ada"), NOW.after(MILLI))]).await.unwrap();
        assert_eq!(proxy.counts().faults, 2 * nth);
        assert_eq!(users.get(&user("ada")).await.unwrap(), None);
        assert_eq!(users.put_many(&batch).await.unwrap(), [false, false, true]);
    }
    Ok(())
}

async fn everything_ends_by_itself() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    for users in layouts(&server.url()).await {
        let all: Vec<_> = (0..100).map(|nth| profile(&format!("u{nth}"), "Ada", NOW)).collect();
        users.put_many(&all).await.unwrap();
        let removed: Vec<_> = (90..110).map(|nth| (user(&format!("u{nth}")), NOW)).collect();
        users.remove_many(&removed).await.unwrap();
        users.remove_many(&[(user("u0"), NOW.before(MILLI))]).await.unwrap();
    }
    for key in server.command(&["KEYS", "*"]).list().iter().map(Reply::text) {
        let left = server.command(&["PTTL", &key]).int();
        assert!((1..=WEEK_SECONDS * 1_000 + 1).contains(&left), "{key} is kept for {left} ms");
    }
    Ok(())
}

/// What was stored could not be understood. Whether a script did a part before it noticed is its own affair.
fn corrupt<T: std::fmt::Debug>(answer: chat_core::error::Result<T>) {
    assert_eq!(answer.unwrap_err().code(), Code::DataCorrupt);
}

async fn what_is_no_profile_is_told_apart_from_a_miss() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let [compact, seed] = layouts(&server.url()).await;
    compact.put(&profile("ada", "Ada", NOW)).await.unwrap();
    let place = server.command(&["KEYS", "*:p:ada"]).list()[0].text();
    for garbage in ["short", "\u{1}0000000011111111222222223333", &"?".repeat(99)] {
        server.command(&["SET", &place, garbage]);
        corrupt(compact.get(&user("ada")).await);
    }
    assert!(compact.put(&profile("ada", "Ada", NOW)).await.is_ok(), "a put heals it");
    server.command(&["DEL", &place]);
    server.command(&["LPUSH", &place, "v"]);
    assert_eq!(compact.get(&user("ada")).await.unwrap(), None, "no profile is there");
    corrupt(compact.put(&profile("ada", "Ada", NOW)).await);
    corrupt(compact.remove_many(&[(user("ada"), NOW)]).await);

    server.command(&["SET", "user:profile:ada", "v"]);
    corrupt(seed.get(&user("ada")).await);
    corrupt(seed.put(&profile("ada", "Ada", NOW)).await);
    server.command(&["DEL", "user:profile:ada"]);
    seed.put(&profile("ada", "Ada", NOW)).await.unwrap();
    let beside = server.command(&["KEYS", "chat:m:*:s:*ada"]).list()[0].text();
    server.command(&["SET", &beside, "?"]);
    corrupt(seed.put(&profile("ada", "Ada", NOW)).await);
    assert!(seed.get(&user("ada")).await.unwrap().is_some(), "only writers look there");
    Ok(())
}

fn cluster_url(cluster: &RedisCluster) -> String {
    let nodes: Vec<_> = cluster.nodes().iter().map(Redis::address).collect();
    format!("redis+cluster://{}", nodes.join(","))
}

async fn ids_of_any_bytes_have_keys_of_their_own_on_a_cluster() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let longest = ["{", "}", "{x}", "é"].map(|text| text.repeat(128 / text.len()));
    let braces =
        ["{user}", "}{", "a{b}c{d}", "a{}b", "{}", "{{x}}", "x}", "{x", "%7Bx%7D"].map(str::to_owned);
    let mut ids: Vec<String> = hostile_ids().into_iter().chain(braces).chain(longest).collect();
    ids.sort();
    ids.dedup();
    for users in layouts(&cluster_url(&cluster)).await {
        let profiles: Vec<_> = ids.iter().map(|id| profile(id, &format!("name of {id}"), NOW)).collect();
        assert_eq!(users.put_many(&profiles).await.unwrap(), vec![true; ids.len()]);
        let asked: Vec<_> = ids.iter().map(|id| user(id)).collect();
        let mut expected: Vec<_> = profiles.into_iter().map(Some).collect();
        assert_eq!(users.get_many(&asked).await.unwrap(), expected);
        for (nth, id) in asked.iter().enumerate() {
            assert_eq!(users.get(id).await.unwrap(), expected[nth], "{id:?}");
            users.remove_many(&[(id.clone(), NOW.after(MILLI))]).await.unwrap();
            expected[nth] = None;
            assert_eq!(users.get_many(&asked).await.unwrap(), expected, "after the removal of {id:?}");
        }
    }
    // Other services find theirs where they look for it.
    let seed = seed(&cluster_url(&cluster)).await;
    for id in &ids {
        seed.put(&profile(id, "Ada", NOW.after(MILLI * 2))).await.unwrap();
        let key = format!("user:profile:{id}");
        let owner = &cluster.nodes()[cluster.owner(cluster.slot(&key))];
        assert_eq!(owner.command(&["HGET", &key, "fullName"]).text(), "Ada", "{id:?}");
    }
    assert_eq!(seed.stats().await.unwrap().cached, ids.len() as u64, "on all servers");
    Ok(())
}

async fn large_batches_are_whole_on_a_cluster() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    for users in layouts(&cluster_url(&cluster)).await {
        let all: Vec<_> =
            (0..2_000).map(|nth| profile(&format!("u{nth}"), &"x".repeat(nth + 1), NOW)).collect();
        assert_eq!(users.put_many(&all).await.unwrap(), vec![true; 2_000]);
        let ids: Vec<_> = all.iter().map(|profile| profile.id.clone()).collect();
        let found = users.get_many(&ids).await.unwrap();
        assert!(found == all.into_iter().map(Some).collect::<Vec<_>>(), "2 000 came back changed");
        assert_eq!(users.stats().await.unwrap().cached, 2_000);
        let half: Vec<_> = ids[..1_000].iter().map(|id| (id.clone(), NOW.after(MILLI))).collect();
        users.remove_many(&half).await.unwrap();
        assert_eq!(users.get_many(&ids).await.unwrap().iter().flatten().count(), 1_000);
    }
    Ok(())
}

async fn numbers_are_counted_without_a_walk_unless_others_write() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let [compact, seed] = layouts(&server.url()).await;
    let all: Vec<_> = (0..3_000).map(|nth| profile(&format!("u{nth}"), "Ada", NOW)).collect();
    compact.put_many(&all).await.unwrap();
    let (stats, calls) = server.counting(compact.stats()).await;
    assert_eq!(stats.unwrap().cached, 3_000);
    assert_eq!(calls, [("zcount".to_owned(), 16)].into());
    seed.put_many(&all[..2_000]).await.unwrap();
    for nth in 2_000..2_500 {
        server.command(&["HSET", &format!("user:profile:u{nth}"), "fullName", "theirs"]);
    }
    let (stats, calls) = server.counting(seed.stats()).await;
    assert_eq!(stats.unwrap().cached, 2_500, "whoever wrote them");
    // A new connection asks for the time.
    assert!(calls.keys().all(|name| ["scan", "time"].contains(&&**name)) && calls["scan"] <= 20, "{calls:?}");
    let (stats, calls) = server.counting(seed.stats()).await;
    assert_eq!((stats.unwrap().cached, calls), (2_500, [].into()), "once a minute is enough");
    Ok(())
}
