//! Subscriptions.

use chat_core::error::Code;
use chat_redis::RedisService;
use chat_redis::connection::{Event, Subscription};
use chat_testkit::proxy::{Protocol, Proxy};
use chat_testkit::server::Redis;
use chat_testkit::wait::{eventually, within};
use chat_testkit::{Absent, trials};

use super::{config, connect, ms};

trials! { needs "redis":
    messages_arrive_in_order_from_the_first,
    after_a_reconnection_there_is_a_gap,
    a_half_open_connection_is_found,
    a_slow_reader_hears_that_it_missed_something,
    it_ends_with_its_reader_and_with_its_service,
    without_a_server_it_says_so,
}

fn message(channel: &str, payload: &str) -> Event {
    Event::Message { channel: channel.to_owned(), payload: payload.to_owned().into() }
}

async fn next(subscription: &mut Subscription) -> Option<Event> {
    within("an event", subscription.next()).await
}

async fn messages_arrive_in_order_from_the_first() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let mut news = service.subscribe(["a", "b"]).await.unwrap();
    for n in 0..100 {
        let channel = ["a", "b", "c"][n % 3];
        let to = service.publish(channel, n.to_string().as_bytes()).await.unwrap();
        assert_eq!(to, u64::from(channel != "c"));
    }
    for n in (0..100).filter(|n| n % 3 < 2) {
        assert_eq!(next(&mut news).await, Some(message(["a", "b"][n % 3], &n.to_string())));
    }
    Ok(())
}

async fn after_a_reconnection_there_is_a_gap() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let mut news = service.subscribe(["a"]).await.unwrap();
    for round in ["1", "2"] {
        server.kill();
        server.restart();
        assert_eq!(next(&mut news).await, Some(Event::Gap));
        // From the gap on, nothing is missed.
        assert_eq!(server.command(&["PUBLISH", "a", round]).int(), 1);
        assert_eq!(next(&mut news).await, Some(message("a", round)));
    }
    Ok(())
}

async fn a_half_open_connection_is_found() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let mut config = chat_redis::RedisConfig::from_url(&server.url_at(proxy.address())).unwrap();
    config.timing.idle = ms(50);
    config.timing.response = ms(100);
    let service = RedisService::connect(&config).await.unwrap();
    let mut news = service.subscribe(["a"]).await.unwrap();
    proxy.hang();
    tokio::time::sleep(ms(400)).await;
    proxy.pass().await;
    assert_eq!(next(&mut news).await, Some(Event::Gap));
    eventually("the subscription", async || {
        (server.command(&["PUBLISH", "a", "x"]).int() == 1).then_some(())
    })
    .await;
    while next(&mut news).await != Some(message("a", "x")) {}
    Ok(())
}

async fn a_slow_reader_hears_that_it_missed_something() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let mut news = service.subscribe(["a"]).await.unwrap();
    for n in 0..3_000 {
        service.publish("a", n.to_string().as_bytes()).await.unwrap();
    }
    let mut heard = 0;
    while let Some(Event::Message { payload, .. }) = next(&mut news).await {
        assert_eq!(payload, heard.to_string());
        heard += 1;
    }
    assert!((100..3_000).contains(&heard), "{heard}");
    // Whatever was still on its way when the reader came back, the last message comes, after a gap.
    service.publish("a", b"last").await.unwrap();
    while next(&mut news).await != Some(message("a", "last")) {}
    Ok(())
}

async fn it_ends_with_its_reader_and_with_its_service() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let listeners = || server.command(&["PUBLISH", "a", "x"]).int();
    drop(service.subscribe(["a"]).await.unwrap());
    eventually("the subscription to end", async || (listeners() == 0).then_some(())).await;

    let mut news = service.subscribe(["a"]).await.unwrap();
    assert_eq!(listeners(), 1);
    assert_eq!(next(&mut news).await, Some(message("a", "x")));
    service.close();
    assert_eq!(next(&mut news).await, None);
    eventually("the subscription to end", async || (listeners() == 0).then_some(())).await;
    Ok(())
}

async fn without_a_server_it_says_so() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut config = config(&server);
    config.timing.connect = ms(300);
    let service = RedisService::connect(&config).await.unwrap();
    server.kill();
    let error = service.subscribe(["a"]).await.unwrap_err();
    assert!(matches!(error.code(), Code::Unavailable | Code::Timeout));
    Ok(())
}
