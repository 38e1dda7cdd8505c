//! Whatever becomes of the server while events move: what was acknowledged is there, what was lost with the server is told,
//! and everybody goes on.

use std::time::Duration;

use chat_core::error::{Code, Effect, Error};
use chat_core::store::events::{Published, Receipt, TailRead};
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher, EventTail};
use chat_streams::{Start, StreamsOptions};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::{Redis, RedisCluster, RedisOptions, RedisSentinel};
use chat_testkit::{Absent, trials};

use super::log::{IDLE, Log, STREAM, TOPIC, ack, connect, fetch, lag, named, notice};
use super::traffic::Traffic;

trials! { needs "redis":
    killed_and_back_with_its_log_nothing_acknowledged_is_lost,
    storms_of_killed_connections_lose_nothing,
    hung_and_back_nothing_is_lost,
    scripts_that_are_flushed_are_sent_again,
    restarted_empty_everybody_goes_on,
    what_other_programs_do_to_a_stream_stops_nobody,
    slots_move_while_events_do,
    a_failover_stops_nobody,
    a_promoted_replica_is_told_from_its_master,
    a_server_that_comes_back_with_an_old_snapshot_is_told,
    a_full_server_refuses_whole_and_lets_go,
    lost_answers_of_the_other_operations_change_nothing,
}

fn durable() -> RedisOptions {
    RedisOptions::default().append_only().set("appendfsync", "always")
}

async fn killed_and_back_with_its_log_nothing_acknowledged_is_lost() -> Result<(), Absent> {
    let server = Redis::spawn_with(&durable())?;
    let traffic = Traffic::begin(&server.url()).await;
    for _ in 0..3 {
        traffic.handle(60).await;
        server.kill();
        traffic.refusal().await;
        server.restart();
    }
    traffic.handle(100).await;
    let (events, again) = traffic.end().await;
    eprintln!("{events} events, {again} handled again");
    Ok(())
}

async fn storms_of_killed_connections_lose_nothing() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let traffic = Traffic::begin(&server.url()).await;
    for _ in 0..25 {
        traffic.handle(8).await;
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    traffic.handle(50).await;
    traffic.end().await;
    Ok(())
}

async fn hung_and_back_nothing_is_lost() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let traffic = Traffic::begin(&server.url()).await;
    for _ in 0..2 {
        traffic.handle(40).await;
        server.hang();
        traffic.refusal().await;
        // It does now what it was asked meanwhile, and answers nobody.
        server.resume();
    }
    traffic.handle(100).await;
    traffic.end().await;
    Ok(())
}

async fn scripts_that_are_flushed_are_sent_again() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let traffic = Traffic::begin(&server.url()).await;
    for _ in 0..25 {
        traffic.handle(8).await;
        server.command(&["SCRIPT", "FLUSH"]);
    }
    traffic.end().await;
    Ok(())
}

async fn restarted_empty_everybody_goes_on() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let traffic = Traffic::begin(&server.url()).await;
    for _ in 0..2 {
        traffic.handle(60).await;
        server.kill();
        traffic.refusal().await;
        traffic.buffering().await;
        server.restart_empty();
        traffic.handle(60).await;
    }
    assert!(traffic.end_with_losses().await >= 1, "the reader was told");
    Ok(())
}

async fn what_other_programs_do_to_a_stream_stops_nobody() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut traffic = Traffic::begin(&server.url()).await;
    let deeds: [&[&str]; 8] = [
        &["XTRIM", STREAM, "MAXLEN", "0"],
        &["XGROUP", "DESTROY", STREAM, "g"],
        &["DEL", STREAM],
        &["XGROUP", "DELCONSUMER", STREAM, "g", "one"],
        &["XGROUP", "SETID", STREAM, "g", "$"],
        &["XTRIM", STREAM, "MAXLEN", "5"],
        &["XGROUP", "DELCONSUMER", STREAM, "g", "\u{1}parked"],
        &["FLUSHALL"],
    ];
    for deed in deeds.iter().chain(&deeds) {
        traffic.handle(15).await;
        // There may be no such group at this moment.
        let _ = server.try_command(deed).unwrap();
    }
    traffic.everything_is_back();
    traffic.handle(200).await;
    assert!(traffic.end_with_losses().await >= 1, "the reader was told");
    Ok(())
}

async fn slots_move_while_events_do() -> Result<(), Absent> {
    let cluster = RedisCluster::spawn(3)?;
    let nodes: Vec<_> = cluster.nodes().iter().map(Redis::address).collect();
    let traffic = Traffic::begin(&format!("redis+cluster://{}", nodes.join(","))).await;
    traffic.handle(30).await;
    let slot = cluster.slot(STREAM);
    for _ in 0..4 {
        let from = cluster.owner(slot);
        let moving = cluster.migrate(slot, from, (from + 1) % 3);
        moving.move_keys(2);
        moving.finish();
        traffic.handle(30).await;
    }
    traffic.end().await;
    Ok(())
}

async fn a_failover_stops_nobody() -> Result<(), Absent> {
    let group = RedisSentinel::spawn()?;
    let sentinels: Vec<&str> = group.sentinels().iter().map(Redis::address).collect();
    let traffic = Traffic::begin(&format!("redis+sentinel://{}/{}", sentinels.join(","), group.name())).await;
    traffic.handle(60).await;
    group.master().kill();
    traffic.refusal().await;
    group.wait_for_new_master();
    traffic.handle(150).await;
    traffic.end_with_losses().await;
    Ok(())
}

async fn a_promoted_replica_is_told_from_its_master() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    log.publish(&["a1", "a2"]).await;
    let held = fetch(&one, 1).await;
    let good = log.end().await;
    let replica = Redis::spawn()?;
    replica.replicate(&log.server);
    // From here on the replica is left behind, as by a partition.
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    log.publish(&["a3", "b1"]).await;
    let rest = fetch(&one, 10).await;
    assert_eq!(named(&rest), ["a2", "a3", "b1"]);
    let lost = log.end().await;

    let promoted = connect(&replica.url(), Some(&log.clock), StreamsOptions::default()).await;
    let read = |cursor: &_| {
        let cursors = [Clone::clone(cursor)];
        let tail = promoted.tail();
        async move { tail.read_since(&cursors, 10, Duration::ZERO).await.unwrap().pop() }
    };
    assert!(matches!(read(&lost).await, Some(TailRead::Discontinuity { .. })), "newer than all there is");
    assert!(read(&good).await.is_none(), "and this one is as good as ever");
    let again = promoted.publisher().publish_many(&["a2", "a3", "c1"].map(notice)).await.unwrap();
    assert!(
        matches!(again.as_slice(), [Published::Suppressed(_), Published::Durable(_), Published::Durable(_)]),
        "{again:?}"
    );
    assert!(
        matches!(read(&lost).await, Some(TailRead::Discontinuity { .. })),
        "also when there is more again"
    );
    let there = promoted.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap();
    // What was handled before the promotion is acknowledged after it: that of a1 counts, those of a3 and b1 mean nothing.
    ack(&there, &held).await;
    ack(&there, &rest[1..]).await;
    assert_eq!(named(&fetch(&there, 10).await), ["a2", "a3", "c1"]);
    Ok(())
}

async fn a_server_that_comes_back_with_an_old_snapshot_is_told() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "b1"]).await;
    let held = fetch(&one, 1).await;
    let good = log.end().await;
    log.server.command(&["SAVE"]);
    let before = log.publish(&["a2", "c1"]).await;
    let lost = log.end().await;
    ack(&one, &held).await;
    let rest = fetch(&two, 10).await;
    assert_eq!(named(&rest), ["b1", "a2", "c1"]);
    log.server.restart();
    assert!(log.read(&good, 10).await.is_none());
    assert!(matches!(log.read(&lost, 10).await, Some(TailRead::Discontinuity { .. })));
    let again = log.publish(&["a2"]).await;
    assert!(matches!(again[0], Published::Durable(_)) && again[0] != before[0], "{again:?}");
    assert!(matches!(log.read(&lost, 10).await, Some(TailRead::Discontinuity { .. })));
    // In the snapshot a1 is with its member still. What was read since then means nothing, but for b1.
    ack(&two, &rest[1..]).await;
    assert_eq!(named(&fetch(&two, 10).await), ["b1"]);
    log.clock.advance(IDLE);
    let taken = two.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["a1", "b1"]);
    ack(&two, &taken).await;
    assert_eq!(named(&fetch(&two, 10).await), ["a2"]);
    Ok(())
}

async fn a_full_server_refuses_whole_and_lets_go() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "b1", "c1", "a2", "d1"]).await;
    let held = fetch(&one, 2).await;
    one.bury(&held[0], &Error::new(Code::Internal)).await.unwrap();
    let held = [held[1].clone(), fetch(&one, 1).await.remove(0)];
    let letters: Vec<_> = log.letters().await.into_iter().map(|letter| letter.id).collect();
    let digest = || log.server.command(&["DEBUG", "DIGEST"]).text();
    let before = digest();
    log.server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = |error: Error| {
        assert!(error.is_transient() && error.code() == Code::Unavailable, "{error}");
        assert_eq!(error.effect(), Effect::None, "{error}");
    };
    let batch: Vec<_> = (2..400).map(|nth| notice(&format!("e{nth}"))).collect();
    refused(log.streams.publisher().publish_many(&batch).await.unwrap_err());
    let buried = one.bury(&held[0], &Error::new(Code::Internal)).await.unwrap_err();
    assert!(buried.is_transient(), "{buried}");
    refused(log.streams.dead_letters().replay(&letters).await.unwrap_err());
    let newcomer = log.streams.consumer("new", "one", &[TOPIC], Start::Now).await.unwrap_err();
    assert!(newcomer.is_transient(), "{newcomer}");
    assert_eq!(digest(), before, "nothing half done");

    // What is there can be read, kept and let go: that makes room.
    log.clock.advance(IDLE);
    let receipts: Vec<Receipt> = held.iter().map(|delivery| delivery.receipt.clone()).collect();
    one.renew(&receipts).await.unwrap();
    assert!(two.reclaim(IDLE, 10).await.unwrap().is_empty());
    assert_eq!(named(&fetch(&two, 10).await), ["a2", "d1"]);
    ack(&one, &held).await;
    log.clock.advance(IDLE);
    assert_eq!(one.reclaim(IDLE, 10).await.unwrap().len(), 2);
    assert_eq!(lag(&one).await, (0, 2));
    log.server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    log.streams.publisher().publish_many(&batch).await.unwrap();
    assert_eq!(log.streams.dead_letters().replay(&letters).await.unwrap(), 1);
    assert_eq!(named(&fetch(&two, 1).await).len(), 1);
    Ok(())
}

async fn lost_answers_of_the_other_operations_change_nothing() -> Result<(), Absent> {
    let log = Log::new().await?;
    let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
    let far = connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
    // Whatever it is, its answer is lost, and it answers.
    macro_rules! lost {
        ($what:expr, $operation:expr) => {{
            let before = proxy.counts().faults;
            proxy.cut_after(Request::with($what));
            let answer = $operation.await.unwrap();
            assert_eq!(proxy.counts().faults, before + 1, "nothing was lost");
            answer
        }};
    }
    far.consumer("warm", "one", &[TOPIC], Start::Now).await.unwrap();
    let one = lost!("EVALSHA", far.consumer("g", "one", &[TOPIC], Start::Now));
    log.publish(&["a1", "a2", "b1"]).await;
    assert_eq!(named(&fetch(&one, 1).await), ["a1"]);
    // Joining twice is joining once, though it comes between.
    let again = lost!("EVALSHA", far.consumer("g", "one", &[TOPIC], Start::Now));
    assert_eq!(named(&fetch(&again, 10).await), ["b1"]);
    log.clock.advance(IDLE);
    let taken = again.reclaim(IDLE, 10).await.unwrap();
    let receipts: Vec<_> = taken.iter().map(|delivery| delivery.receipt.clone()).collect();
    again.renew(&receipts).await.unwrap();
    log.clock.advance(IDLE);
    lost!("EVALSHA", again.renew(&receipts));
    assert!(again.reclaim(IDLE, 10).await.unwrap().is_empty());
    // The first of two is lost, then the second.
    let rest = lost!("EVALSHA", again.ack_and_fetch(&receipts, 10));
    assert_eq!((named(&rest), lag(&again).await), (vec!["a2".to_owned()], (0, 1)));
    log.publish(&["a3", "c1"]).await;
    let receipts: Vec<_> = rest.iter().map(|delivery| delivery.receipt.clone()).collect();
    let before = proxy.counts().faults;
    proxy.cut_after(Request::with("EVALSHA").but_the(2));
    let rest = again.ack_and_fetch(&receipts, 10).await.unwrap();
    assert_eq!((named(&rest), proxy.counts().faults), (vec!["a3".to_owned(), "c1".to_owned()], before + 1));
    assert_eq!(lost!("EVALSHA", again.lag()).pending, 2);

    let (tail, letters) = (far.tail(), far.dead_letters());
    tail.ends(&[TOPIC]).await.unwrap();
    let ends = lost!("EVALSHA", tail.ends(&[TOPIC]));
    assert_eq!(ends, log.streams.tail().ends(&[TOPIC]).await.unwrap());
    log.publish(&["d1"]).await;
    let found = lost!("XRANGE", tail.read_since(&ends, 10, Duration::ZERO));
    assert!(matches!(&found[0], TailRead::Events { events, .. } if events.len() == 1));
    again.bury(&rest[0], &Error::new(Code::Internal)).await.unwrap();
    let page = chat_core::domain::page::Page::first(10);
    assert_eq!(lost!("XRANGE", letters.list(&page)).items.len(), 1);
    far.force_trim(TOPIC, 100).await.unwrap();
    lost!("EVALSHA", far.force_trim(TOPIC, 1));
    assert_eq!(log.server.command(&["XLEN", STREAM]).int(), 1);
    far.remove_group("nobody", &[TOPIC]).await.unwrap();
    lost!("EVALSHA", far.remove_group("g", &[TOPIC]));
    assert_eq!(
        log.server.command(&["XINFO", "GROUPS", STREAM]).list().len(),
        1,
        "but for the one called warm"
    );
    Ok(())
}
