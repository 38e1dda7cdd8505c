//! Connections of one's own.

use chat_core::error::{Code, Effect};
use chat_redis::driver::Stopwatch;
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::server::Redis;
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

use super::{ask, command, config, connect, ms};

trials! { needs "redis":
    a_blocking_read_outlasts_every_timeout_and_disturbs_nobody,
    it_is_given_back_and_asked_once_whether_it_lives,
    a_read_that_was_given_up_ends_on_the_server,
    a_server_that_does_not_answer_is_given_up,
    several_commands_go_at_once_and_each_has_an_answer,
    what_changes_the_connection_is_refused,
    there_are_only_so_many,
}

async fn a_blocking_read_outlasts_every_timeout_and_disturbs_nobody() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut config = config(&server);
    config.timing.response = ms(200);
    config.timing.operation = ms(300);
    config.timing.idle = ms(100);
    let service = RedisService::connect(&config).await.unwrap();
    let mut own = service.dedicated().await.unwrap();
    let waiting = tokio::spawn(async move {
        own.query::<(String, String)>(&command(&["BLPOP", "q", "0"]), ms(60_000)).await
    });
    let began = Stopwatch::start();
    while began.elapsed() < ms(1_000) {
        ask::<i64>(&service, &["INCR", "n"]).await.unwrap();
        tokio::time::sleep(ms(5)).await;
    }
    ask::<i64>(&service, &["LPUSH", "q", "x"]).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), ("q".to_owned(), "x".to_owned()));
    Ok(())
}

async fn it_is_given_back_and_asked_once_whether_it_lives() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let id = async || {
        let mut own = service.dedicated().await.unwrap();
        let id: i64 = own.query(&command(&["CLIENT", "ID"]), ms(0)).await.unwrap();
        for _ in 0..10 {
            own.query::<i64>(&command(&["INCR", "n"]), ms(0)).await.unwrap();
        }
        id
    };
    let first = id().await;
    let (second, calls) = server.counting(id()).await;
    assert_eq!(first, second);
    assert_eq!((calls["ping"], calls["incr"]), (1, 10));
    // One that died meanwhile is not given out.
    server.command(&["CLIENT", "KILL", "ID", &second.to_string()]);
    assert_ne!(id().await, second);
    Ok(())
}

async fn a_read_that_was_given_up_ends_on_the_server() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let blocked = || server.info("blocked_clients").unwrap();
    let mut own = service.dedicated().await.unwrap();
    let id: i64 = own.query(&command(&["CLIENT", "ID"]), ms(0)).await.unwrap();
    let waiting = tokio::spawn(async move {
        own.query::<(String, String)>(&command(&["BLPOP", "q", "0"]), ms(60_000)).await
    });
    eventually("the read to block", async || (blocked() == "1").then_some(())).await;
    waiting.abort();
    eventually("the read to end", async || (blocked() == "0").then_some(())).await;
    // What comes now is lost to nobody.
    ask::<i64>(&service, &["LPUSH", "q", "x"]).await.unwrap();
    assert_eq!(ask::<i64>(&service, &["LLEN", "q"]).await.unwrap(), 1);
    let mut next = service.dedicated().await.unwrap();
    assert_ne!(next.query::<i64>(&command(&["CLIENT", "ID"]), ms(0)).await.unwrap(), id);
    Ok(())
}

async fn a_server_that_does_not_answer_is_given_up() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut config = config(&server);
    config.timing.response = ms(200);
    let service = RedisService::connect(&config).await.unwrap();
    let mut own = service.dedicated().await.unwrap();
    server.hang();
    let began = Stopwatch::start();
    let error = own.query::<i64>(&command(&["INCR", "n"]), ms(100)).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown));
    assert!((ms(300)..ms(1_000)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(own.is_spoilt());
    server.resume();
    let again = own.query::<i64>(&command(&["INCR", "n"]), ms(0)).await.unwrap_err();
    assert_eq!((again.code(), again.effect()), (Code::Unavailable, Effect::None));
    Ok(())
}

async fn several_commands_go_at_once_and_each_has_an_answer() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let mut own = service.dedicated().await.unwrap().named("t.batch");
    let all = [command(&["SET", "k", "x"]), command(&["INCR", "k"]), command(&["BLPOP", "q", "0.1"])];
    let answers = own.query_all(&all, ms(100)).await.unwrap();
    assert_eq!(answers.len(), 3);
    assert!(answers[0].is_ok() && answers[2].is_ok());
    let refused = answers[1].as_ref().unwrap_err();
    assert_eq!((refused.operation(), refused.effect()), (Some("t.batch"), Effect::None));
    assert!(!own.is_spoilt(), "every answer came");
    assert!(own.query_all(&[], ms(0)).await.unwrap().is_empty());
    Ok(())
}

async fn what_changes_the_connection_is_refused() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let mut own = service.dedicated().await.unwrap();
    for words in [vec!["SELECT", "1"], vec!["SUBSCRIBE", "c"], vec!["MONITOR"]] {
        let error = own.query::<redis::Value>(&command(&words), ms(0)).await.unwrap_err();
        assert_eq!(error.code(), Code::RequestInvalid);
    }
    let error = service.client(chat_redis::connection::Role::Main);
    let error = error.query::<redis::Value>(command(&["BLPOP", "q", "0"])).await.unwrap_err();
    assert_eq!(error.code(), Code::RequestInvalid);
    Ok(())
}

async fn there_are_only_so_many() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut config = RedisConfig { max_dedicated: 2, ..config(&server) };
    config.timing.operation = ms(100);
    let service = RedisService::connect(&config).await.unwrap();
    let one = service.dedicated().await.unwrap();
    let _two = service.dedicated().await.unwrap();
    assert_eq!(service.dedicated().await.unwrap_err().code(), Code::QueueFull);
    drop(one);
    service.dedicated().await.unwrap();
    Ok(())
}
