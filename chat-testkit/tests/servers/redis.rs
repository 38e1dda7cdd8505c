//! One Redis: what a test can do to it, and see of it.

use std::io::ErrorKind;
use std::time::Duration;

use chat_testkit::server::resp::Reply;
use chat_testkit::server::{Redis, RedisOptions};
use chat_testkit::wait::until;
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    every_kind_of_reply_is_read,
    an_error_reply_is_an_answer,
    commands_are_counted_by_name,
    counting_sees_the_work_and_nothing_else,
    a_killed_server_is_gone_and_comes_back_empty,
    an_append_only_server_comes_back_with_its_data,
    or_empty_if_asked,
    a_hung_server_does_not_answer_until_it_goes_on,
    a_stalled_server_goes_on_by_itself,
    a_full_server_refuses_writes,
    a_server_with_a_password_keeps_others_out,
    servers_are_private,
}

async fn every_kind_of_reply_is_read() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    assert_eq!(redis.command(&["SET", "key", "a\r\nb"]), Reply::Status("OK".into()));
    assert_eq!(redis.command(&["GET", "key"]), Reply::Bytes(b"a\r\nb".to_vec()));
    assert_eq!(redis.command(&["GET", "nothing"]), Reply::Nil);
    assert_eq!(redis.command(&["STRLEN", "key"]).int(), 4);
    let nested = redis.command(&["EVAL", "return {1, {'two', false}, {}}", "0"]);
    let inner = Reply::List(vec![Reply::Bytes(b"two".to_vec()), Reply::Nil]);
    assert_eq!(nested.list(), [Reply::Int(1), inner, Reply::List(vec![])]);
    Ok(())
}

async fn an_error_reply_is_an_answer() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    let reply = redis.try_command(&["LPUSH", "key"]).unwrap();
    assert!(reply.is_error() && reply.to_string().starts_with("ERR wrong number"), "{reply}");
    Ok(())
}

async fn commands_are_counted_by_name() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    for _ in 0..3 {
        redis.command(&["GET", "key"]);
    }
    redis.command(&["EVAL", "redis.call('INCR', KEYS[1]); redis.call('GET', KEYS[1])", "1", "key"]);
    redis.command(&["CONFIG", "GET", "port"]);
    let calls = redis.commandstats();
    assert_eq!((calls["get"], calls["incr"], calls["eval"], calls["config|get"]), (4, 1, 1, 1));
    redis.reset_commandstats();
    assert_eq!(redis.commandstats().get("get"), None);
    Ok(())
}

async fn counting_sees_the_work_and_nothing_else() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().password("secret"))?;
    let mut connection = redis.connect().unwrap();
    connection.command(&["SET", "before", "1"]).unwrap();
    let (answer, calls) =
        redis.counting(async { connection.command(&["GET", "before"]).unwrap().text() }).await;
    assert_eq!(answer, "1");
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), [("get".to_owned(), 1)]);
    Ok(())
}

async fn a_killed_server_is_gone_and_comes_back_empty() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    redis.command(&["SET", "key", "value"]);
    let (first, mut open) = (redis.process().id(), redis.connect().unwrap());
    redis.kill();
    assert!(!redis.is_alive());
    assert!(open.command(&["PING"]).is_err());
    assert_eq!(redis.try_command(&["PING"]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    redis.restart();
    assert!(redis.is_alive() && redis.process().id() != first);
    assert_eq!(redis.command(&["GET", "key"]), Reply::Nil);
    Ok(())
}

async fn an_append_only_server_comes_back_with_its_data() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().append_only())?;
    redis.command(&["SET", "key", "value"]);
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]).text(), "value");
    Ok(())
}

async fn or_empty_if_asked() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().append_only())?;
    redis.command(&["SET", "key", "value"]);
    redis.restart_empty();
    assert_eq!(redis.command(&["GET", "key"]), Reply::Nil);
    Ok(())
}

async fn a_hung_server_does_not_answer_until_it_goes_on() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    let mut open = redis.connect().unwrap();
    redis.hang();
    open.send(&["INCR", "key"]).unwrap();
    // The system still takes connections on its behalf.
    let mut new = redis.connect().unwrap();
    new.send(&["GET", "key"]).unwrap();
    assert!(redis.is_alive());
    assert!(open.receive_within(Duration::from_millis(50)).unwrap().is_none());
    redis.resume();
    assert_eq!(open.receive().unwrap().int(), 1);
    new.receive().unwrap();
    Ok(())
}

async fn a_stalled_server_goes_on_by_itself() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    redis.stall(Duration::from_millis(50));
    until("a stall to be over", || redis.commandstats().get("debug") == Some(&1));
    Ok(())
}

async fn a_full_server_refuses_writes() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().max_memory(1))?;
    let reply = redis.try_command(&["SET", "key", "value"]).unwrap();
    assert!(reply.to_string().starts_with("OOM"), "{reply}");
    assert_eq!(redis.command(&["GET", "key"]), Reply::Nil);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.command(&["SET", "key", "value"]);
    Ok(())
}

async fn a_server_with_a_password_keeps_others_out() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().password("secret"))?;
    assert_eq!(redis.url(), format!("redis://:secret@{}/0", redis.address()));
    let mut stranger = chat_testkit::server::resp::Connection::open(redis.address()).unwrap();
    assert!(stranger.command(&["GET", "key"]).unwrap().to_string().starts_with("NOAUTH"));
    redis.command(&["GET", "key"]);
    Ok(())
}

async fn servers_are_private() -> Result<(), Absent> {
    let (one, other) = (Redis::spawn()?, Redis::spawn()?);
    one.command(&["SET", "key", "value"]);
    assert_eq!(other.command(&["GET", "key"]), Reply::Nil);
    Ok(())
}
