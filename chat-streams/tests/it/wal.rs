//! The promises of a write-ahead log, on each there is; and of the one in Redis, what a death costs and who may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::{ManualClock, SystemClock};
use chat_core::error::{Code, Error, Result};
use chat_core::event::{Envelope, Topic};
use chat_core::memory::{Memory, MemoryEvents};
use chat_core::store::events::{Published, TailCursor, TailRead};
use chat_core::store::{EventPublisher, EventTail};
use chat_redis::{RedisConfig, RedisService};
use chat_streams::{
    DurablePublisher, FileWal, Interrupted, Recovered, RedisWal, RedisWalOptions, Wal, WalExt, WalId,
    WalLimit, WalStats,
};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::sample;
use chat_testkit::server::{Redis, RedisCluster, RedisOptions};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    a_file_keeps_every_promise,
    redis_keeps_every_promise,
    a_cluster_keeps_every_promise,
    a_lost_reply_begins_and_finishes_once,
    a_dead_process_leaves_all_it_began,
    a_dead_redis_with_its_file_loses_nothing,
    a_dead_redis_without_a_file_is_an_empty_log_with_places_of_its_own,
    one_owner_at_a_time,
    an_empty_log_that_is_closed_leaves_nothing,
    an_outage_of_the_log_of_events_is_bridged_in_order,
    names_that_are_none_are_refused,
}

fn events(name: u64) -> Vec<Envelope> {
    (0..=name % 3).map(|nth| sample::notice(&format!("user {name}"), nth)).collect()
}

async fn service(url: &str, clock: Option<&ManualClock>) -> RedisService {
    let mut config = RedisConfig::from_url(url).unwrap();
    (config.timing.operation, config.timing.response) = (Duration::from_secs(30), Duration::from_secs(10));
    if let Some(clock) = clock {
        config = config.with_clock(Arc::new(clock.clone()));
    }
    RedisService::connect(&config).await.unwrap()
}

fn small() -> WalLimit {
    WalLimit { entries: 3, bytes: 100_000 }
}

async fn a_file_keeps_every_promise() -> std::result::Result<(), Absent> {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, limit| -> Arc<dyn Wal> {
        Arc::new(FileWal::open(folder.path().join(name), limit, Arc::new(SystemClock)).unwrap())
    };
    promises(open("large", WalLimit::default()), open("small", small())).await;
    Ok(())
}

async fn redis_keeps_every_promise() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    in_redis(&server.url()).await;
    Ok(())
}

async fn a_cluster_keeps_every_promise() -> std::result::Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let nodes: Vec<_> = cluster.nodes().iter().map(Redis::address).collect();
    in_redis(&format!("redis+cluster://{}", nodes.join(","))).await;
    Ok(())
}

async fn in_redis(url: &str) {
    let service = service(url, None).await;
    let large = RedisWal::open(&service, RedisWalOptions::of("large")).await.unwrap();
    let options = RedisWalOptions { limit: small(), ..RedisWalOptions::of("small") };
    let small = RedisWal::open(&service, options).await.unwrap();
    promises(Arc::new(large), Arc::new(small)).await;
}

/// What every write-ahead log promises; the small one has room for three entries.
async fn promises(large: Arc<dyn Wal>, small: Arc<dyn Wal>) {
    repeats_have_one_place(&*large).await;
    many_tasks_begin_and_finish_at_once(&large).await;
    what_is_interrupted_is_asked_about(&*large).await;
    a_full_log_refuses_and_has_room_again(&*small).await;
}

async fn repeats_have_one_place(wal: &dyn Wal) {
    let first = wal.begin(&events(1)).await.unwrap();
    let second = wal.begin(&events(2)).await.unwrap();
    assert!(first < second);
    assert_eq!(wal.begin(&events(1)).await.unwrap(), first);
    let beginning_alike = [events(1), events(2)].concat();
    let third = wal.begin(&beginning_alike).await.unwrap();
    assert!(third > second, "more events are another entry");
    wal.finish(&[first, first]).await.unwrap();
    wal.finish(&[first]).await.unwrap();
    wal.finish(&[]).await.unwrap();
    let again = wal.begin(&events(1)).await.unwrap();
    assert!(again > third, "places are never used again");
    let kept = wal.unfinished(None, 10).await.unwrap();
    assert_eq!(kept.iter().map(|entry| entry.id).collect::<Vec<_>>(), [second, third, again]);
    let some = wal.unfinished(Some(second), 1).await.unwrap();
    assert_eq!(some.iter().map(|entry| &entry.events).collect::<Vec<_>>(), [&beginning_alike]);
    assert!(wal.unfinished(Some(again), 10).await.unwrap().is_empty());
    assert!(wal.unfinished(None, 0).await.unwrap().is_empty());
    assert_eq!(wal.begin(&[]).await.unwrap_err().code(), Code::RequestInvalid);
    assert_eq!(wal.stats().await.unwrap().entries, 3);
    wal.finish(&[second, third, again, WalId(7)]).await.unwrap();
    assert_eq!(wal.stats().await.unwrap(), WalStats::default());
}

async fn many_tasks_begin_and_finish_at_once(wal: &Arc<dyn Wal>) {
    let work = (0..32).map(|task| {
        let wal = Arc::clone(wal);
        tokio::spawn(async move {
            for nth in 0..20 {
                let id = wal.begin(&events(task * 1_000 + nth)).await.unwrap();
                if nth % 2 == 0 {
                    wal.finish(&[id]).await.unwrap();
                }
            }
        })
    });
    for task in work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let left = wal.unfinished(None, 10_000).await.unwrap();
    assert_eq!((left.len(), wal.stats().await.unwrap().entries), (320, 320));
    assert!(left.is_sorted_by(|one, next| one.id < next.id));
    wal.finish(&left.iter().map(|entry| entry.id).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(wal.stats().await.unwrap(), WalStats::default());
}

async fn what_is_interrupted_is_asked_about(wal: &dyn Wal) {
    let log = Memory::default().events;
    let refused = async { Err::<(), _>(Error::new(Code::Conflict)) };
    assert_eq!(wal.write_and_publish(&*log, &events(1), refused).await.unwrap_err().code(), Code::Conflict);
    let lost = async { Err::<(), _>(Error::new(Code::Timeout).effect_unknown()) };
    assert_eq!(wal.write_and_publish(&*log, &events(2), lost).await.unwrap_err().code(), Code::Timeout);
    let ((), published) = wal.write_and_publish(&*log, &events(3), async { Ok(()) }).await.unwrap();
    assert!(published.iter().all(|one| matches!(one, Published::Durable(_))));
    let recovered = wal.recover(&*log, |_| async { Ok(Interrupted::Unknown) }).await.unwrap();
    assert_eq!(recovered, Recovered { kept: 1, ..Recovered::default() });
    let recovered = wal.recover(&*log, |_| async { Ok(Interrupted::Written) }).await.unwrap();
    assert_eq!(recovered, Recovered { published: 1, ..Recovered::default() });
    let again = log.publish_many(&events(2)).await.unwrap();
    assert!(again.iter().all(|one| matches!(one, Published::Suppressed(_))), "it was announced");
    assert_eq!(wal.stats().await.unwrap(), WalStats::default());
}

async fn a_full_log_refuses_and_has_room_again(wal: &dyn Wal) {
    let first = wal.begin(&events(1)).await.unwrap();
    wal.begin(&events(2)).await.unwrap();
    wal.begin(&events(3)).await.unwrap();
    assert_eq!(wal.begin(&events(4)).await.unwrap_err().code(), Code::QueueFull);
    assert_eq!(wal.begin(&events(1)).await.unwrap(), first, "a repeat takes no room");
    wal.finish(&[first]).await.unwrap();
    let before = wal.stats().await.unwrap();
    let large = vec![sample::notice(&"x".repeat(100), 1); 1_000];
    assert_eq!(wal.begin(&large).await.unwrap_err().code(), Code::QueueFull, "too many bytes");
    assert_eq!(wal.stats().await.unwrap(), before, "nothing was kept");
    wal.begin(&events(4)).await.unwrap();
    assert_eq!(wal.stats().await.unwrap().entries, 3);
}

async fn a_lost_reply_begins_and_finishes_once() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let service = service(&server.url_at(proxy.address()), None).await;
    let wal = RedisWal::open(&service, RedisWalOptions::of("one")).await.unwrap();
    // Each script once, so that the next is one request.
    let warm = wal.begin(&events(0)).await.unwrap();
    wal.finish(&[warm]).await.unwrap();
    let faults = proxy.counts().faults;
    proxy.cut_after(Request::with("EVALSHA"));
    let begun = wal.begin(&events(1)).await.unwrap();
    let kept = wal.unfinished(None, 10).await.unwrap();
    assert_eq!(kept.iter().map(|entry| entry.id).collect::<Vec<_>>(), [begun]);
    let other = wal.begin(&events(2)).await.unwrap();
    proxy.cut_after(Request::with("EVALSHA"));
    wal.finish(&[begun]).await.unwrap();
    assert_eq!(proxy.counts().faults, faults + 2, "both were lost");
    let kept = wal.unfinished(None, 10).await.unwrap();
    assert_eq!(kept.iter().map(|entry| entry.id).collect::<Vec<_>>(), [other]);
    wal.finish(&[other]).await.unwrap();
    assert_eq!(wal.stats().await.unwrap(), WalStats::default(), "bytes were counted once");
    Ok(())
}

async fn a_dead_process_leaves_all_it_began() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let wal = RedisWal::open(&service(&server.url(), None).await, RedisWalOptions::of("one")).await.unwrap();
    let mut begun = Vec::new();
    for name in 0..50 {
        begun.push(wal.begin(&events(name)).await.unwrap());
    }
    wal.finish(&begun[..20]).await.unwrap();
    drop(wal);
    // The same node, in its next life, need not wait for its own lease.
    let wal = RedisWal::open(&service(&server.url(), None).await, RedisWalOptions::of("one")).await.unwrap();
    let found = wal.unfinished(None, 100).await.unwrap();
    let expected: Vec<_> = (20..50).map(|name| (begun[name as usize], events(name))).collect();
    assert_eq!(found.into_iter().map(|entry| (entry.id, entry.events)).collect::<Vec<_>>(), expected);
    Ok(())
}

async fn a_dead_redis_with_its_file_loses_nothing() -> std::result::Result<(), Absent> {
    let options = RedisOptions::default().append_only().set("appendfsync", "always");
    let server = Redis::spawn_with(&options)?;
    let wal = RedisWal::open(&service(&server.url(), None).await, RedisWalOptions::of("one")).await.unwrap();
    let mut begun = Vec::new();
    for name in 0..20 {
        begun.push(wal.begin(&events(name)).await.unwrap());
    }
    wal.finish(&begun[..5]).await.unwrap();
    server.kill();
    server.restart();
    let found = wal.unfinished(None, 100).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), begun[5..]);
    assert_eq!(wal.begin(&events(7)).await.unwrap(), begun[7], "and what is repeated is known");
    Ok(())
}

async fn a_dead_redis_without_a_file_is_an_empty_log_with_places_of_its_own()
-> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let wal = RedisWal::open(&service(&server.url(), None).await, RedisWalOptions::of("one")).await.unwrap();
    let before = wal.begin(&events(1)).await.unwrap();
    server.kill();
    server.restart_empty();
    assert!(wal.unfinished(None, 10).await.unwrap().is_empty());
    let after = wal.begin(&events(2)).await.unwrap();
    wal.finish(&[before]).await.unwrap();
    let found = wal.unfinished(None, 10).await.unwrap();
    assert_eq!(
        found.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [after],
        "nothing of another was finished"
    );
    Ok(())
}

async fn one_owner_at_a_time() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let clock = ManualClock::default();
    let service = service(&server.url(), Some(&clock)).await;
    let (one, two) = (RedisWalOptions::of("one"), RedisWalOptions::of("two"));
    let dead = RedisWal::open(&service, one.clone()).await.unwrap();
    let begun = dead.begin(&events(1)).await.unwrap();
    let taken = RedisWal::open(&service, two.clone().take_over("one")).await;
    assert_eq!(taken.unwrap_err().code(), Code::Conflict, "it lives");
    clock.advance(one.lease - Duration::from_millis(1));
    let repeated = dead.begin(&events(1)).await.unwrap();
    assert_eq!(repeated, begun);
    clock.advance(one.lease - Duration::from_millis(1));
    let taken = RedisWal::open(&service, two.clone().take_over("one")).await;
    assert_eq!(taken.unwrap_err().code(), Code::Conflict, "every sign of life counts");

    clock.advance(Duration::from_millis(1));
    assert_eq!(RedisWal::logs(&service, "chat").await.unwrap(), ["one"]);
    let heir = RedisWal::open(&service, two.clone().take_over("one")).await.unwrap();
    let found = heir.unfinished(None, 10).await.unwrap();
    assert_eq!(
        found.iter().map(|entry| (entry.id, &entry.events)).collect::<Vec<_>>(),
        [(begun, &events(1))]
    );
    for late in
        [dead.begin(&events(2)).await.map(drop), dead.finish(&[begun]).await, dead.stats().await.map(drop)]
    {
        assert_eq!(late.unwrap_err().code(), Code::Conflict, "who was taken for dead is told so");
    }
    assert_eq!(heir.stats().await.unwrap().entries, 1);
    heir.finish(&[begun]).await.unwrap();
    heir.close().await.unwrap();
    assert!(RedisWal::logs(&service, "chat").await.unwrap().is_empty());
    assert!(RedisWal::open(&service, one).await.is_ok(), "what was given back is anybody's at once");
    Ok(())
}

async fn an_empty_log_that_is_closed_leaves_nothing() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = service(&server.url(), None).await;
    let wal = RedisWal::open(&service, RedisWalOptions::of("one")).await.unwrap();
    let id = wal.begin(&events(1)).await.unwrap();
    wal.finish(&[id]).await.unwrap();
    wal.close().await.unwrap();
    assert_eq!(server.command(&["DBSIZE"]).int(), 0);
    let wal = RedisWal::open(&service, RedisWalOptions::of("one")).await.unwrap();
    wal.begin(&events(1)).await.unwrap();
    wal.close().await.unwrap();
    assert_eq!(RedisWal::logs(&service, "chat").await.unwrap(), ["one"], "it holds something");
    Ok(())
}

/// A log of events that is away while it is told to.
#[derive(Debug)]
struct Shaky {
    log: Arc<MemoryEvents>,
    is_away: AtomicBool,
}

#[async_trait]
impl EventPublisher for Shaky {
    async fn publish_many(&self, events: &[Envelope]) -> Result<Vec<Published>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Code::Unavailable.into());
        }
        self.log.publish_many(events).await
    }
}

async fn an_outage_of_the_log_of_events_is_bridged_in_order() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = service(&server.url(), None).await;
    let log = Memory::default().events;
    let shaky = Arc::new(Shaky { log: Arc::clone(&log), is_away: AtomicBool::new(false) });
    let wal: Arc<dyn Wal> = Arc::new(RedisWal::open(&service, RedisWalOptions::of("one")).await.unwrap());
    let publisher = DurablePublisher::new(Arc::clone(&shaky) as _, wal).await.unwrap();
    let all: Vec<Envelope> = (0..30).map(|nth| sample::notice("ann", nth)).collect();
    publisher.publish_many(&all[..10]).await.unwrap();
    shaky.is_away.store(true, Ordering::SeqCst);
    for event in &all[10..20] {
        let said = publisher.publish_many(std::slice::from_ref(event)).await.unwrap();
        assert_eq!(said, [Published::Buffered]);
    }
    drop(publisher);
    // The process dies; its next life goes on where it was.
    let wal: Arc<dyn Wal> = Arc::new(RedisWal::open(&service, RedisWalOptions::of("one")).await.unwrap());
    let publisher = DurablePublisher::new(Arc::clone(&shaky) as _, wal).await.unwrap();
    assert!(publisher.is_buffering());
    publisher.publish_many(&all[20..]).await.unwrap();
    shaky.is_away.store(false, Ordering::SeqCst);
    assert_eq!(publisher.replay().await.unwrap(), 20);
    let start = TailCursor { topic: Topic::Notifications, after: None };
    let read = log.read_since(&[start], 100, Duration::ZERO).await.unwrap().pop();
    let Some(TailRead::Events { events, .. }) = read else { panic!("{read:?}") };
    assert_eq!(events.into_iter().map(|event| event.unwrap()).collect::<Vec<_>>(), all);
    Ok(())
}

async fn names_that_are_none_are_refused() -> std::result::Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = service(&server.url(), None).await;
    for bad in ["", "{", "a}b", "\n", &"x".repeat(200)] {
        let opened = RedisWal::open(&service, RedisWalOptions::of(bad)).await;
        assert_eq!(opened.unwrap_err().code(), Code::ConfigInvalid, "{bad:?}");
    }
    Ok(())
}
