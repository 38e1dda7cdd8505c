//! The proxy hits the request it is told to, and counts.

use std::io::ErrorKind;
use std::time::Duration;

use chat_testkit::proxy::{Counts, Protocol, Proxy, Request};
use chat_testkit::server::Redis;
use chat_testkit::server::resp::{Connection, Reply, encode};
use chat_testkit::wait::{eventually, until};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    what_passes_is_counted,
    a_batch_is_one_turn,
    an_unknown_protocol_passes_and_is_counted,
    cut_ends_what_is_open_and_takes_new_ones,
    refused_is_refused_until_it_passes,
    a_hang_holds_everything_back_until_it_passes,
    a_hang_hides_the_end_of_the_server,
    a_delay_holds_answers_back,
    a_lost_answer_was_executed,
    a_cut_before_was_not_executed,
    within_a_batch_the_exact_one_is_hit,
    the_nth_of_its_kind_is_hit_over_all_connections,
    a_taken_answer_leaves_the_connection_open,
    what_passes_again_forgets_its_faults,
    push_messages_are_no_answers,
    a_server_that_is_gone_ends_the_connection,
}

/// Nothing comes: this is how long a test looks at nothing.
const A_WHILE: Duration = Duration::from_millis(30);

async fn stage() -> Result<(Redis, Proxy), Absent> {
    let redis = Redis::spawn()?;
    let proxy = Proxy::start(redis.address(), Protocol::Redis).await;
    Ok((redis, proxy))
}

fn open(proxy: &Proxy) -> Connection {
    Connection::open(proxy.address()).unwrap()
}

/// Whether the connection has ended.
fn has_ended(connection: &mut Connection) -> bool {
    let error = connection.receive().unwrap_err();
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

fn incr(key: &str) -> Vec<u8> {
    encode(&["INCR", key])
}

async fn what_passes_is_counted() -> Result<(), Absent> {
    let (_redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    let value = "v".repeat(100_000);
    let ((), counts) = proxy
        .counting(async {
            connection.command(&["SET", "key", &value]).unwrap();
            assert_eq!(connection.command(&["GET", "key"]).unwrap().text(), value);
        })
        .await;
    let bytes_in = encode(&["SET", "key", &value]).len() + encode(&["GET", "key"]).len();
    let bytes_out = "+OK\r\n".len() + "$100000\r\n\r\n".len() + value.len();
    assert_eq!((counts.requests, counts.answers, counts.turns), (2, 2, 2));
    assert_eq!((counts.bytes_in, counts.bytes_out), (bytes_in as u64, bytes_out as u64));
    assert_eq!((proxy.counts().connections, counts.faults), (1, 0));
    Ok(())
}

async fn a_batch_is_one_turn() -> Result<(), Absent> {
    let (_redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    for _ in 0..2 {
        connection.send_bytes(&incr("key").repeat(50)).unwrap();
        for _ in 0..50 {
            connection.receive().unwrap();
        }
    }
    let Counts { requests, answers, turns, .. } = proxy.counts();
    assert_eq!((requests, answers, turns), (100, 100, 2));
    Ok(())
}

async fn an_unknown_protocol_passes_and_is_counted() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    let proxy = Proxy::start(redis.address(), Protocol::Any).await;
    let mut connection = open(&proxy);
    for _ in 0..3 {
        connection.command(&["INCR", "key"]).unwrap();
    }
    assert_eq!((proxy.counts().requests, proxy.counts().turns), (3, 3));
    proxy.cut_after(Request::nth(1));
    connection.send(&["INCR", "key"]).unwrap();
    assert!(has_ended(&mut connection));
    assert_eq!(redis.command(&["GET", "key"]).text(), "4");
    Ok(())
}

async fn cut_ends_what_is_open_and_takes_new_ones() -> Result<(), Absent> {
    let (_redis, proxy) = stage().await?;
    let mut connections = [open(&proxy), open(&proxy)];
    for connection in &mut connections {
        connection.command(&["PING"]).unwrap();
    }
    proxy.cut().await;
    assert!(connections.iter_mut().all(has_ended));
    open(&proxy).command(&["PING"]).unwrap();
    Ok(())
}

async fn refused_is_refused_until_it_passes() -> Result<(), Absent> {
    let (_redis, proxy) = stage().await?;
    let mut old = open(&proxy);
    old.command(&["PING"]).unwrap();
    proxy.refuse().await;
    assert_eq!(Connection::open(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    old.command(&["PING"]).unwrap();
    proxy.pass().await;
    open(&proxy).command(&["PING"]).unwrap();
    Ok(())
}

async fn a_hang_holds_everything_back_until_it_passes() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut old = open(&proxy);
    old.command(&["PING"]).unwrap();
    proxy.hang();
    old.send(&["INCR", "key"]).unwrap();
    let mut new = open(&proxy);
    new.send(&["PING"]).unwrap();
    assert_eq!(old.receive_within(A_WHILE).unwrap(), None);
    assert_eq!(new.receive_within(A_WHILE).unwrap(), None);
    assert_eq!(redis.command(&["GET", "key"]), Reply::Nil);
    proxy.pass().await;
    assert_eq!(old.receive().unwrap().int(), 1);
    assert_eq!(new.receive().unwrap().text(), "PONG");
    Ok(())
}

async fn a_hang_hides_the_end_of_the_server() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    connection.command(&["PING"]).unwrap();
    proxy.hang();
    redis.kill();
    assert_eq!(connection.receive_within(A_WHILE).unwrap(), None);
    proxy.pass().await;
    assert!(has_ended(&mut connection));
    Ok(())
}

async fn a_delay_holds_answers_back() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    proxy.delay(Duration::from_millis(1));
    assert_eq!(connection.command(&["INCR", "key"]).unwrap().int(), 1);
    proxy.delay(Duration::from_secs(3600));
    connection.send(&["INCR", "key"]).unwrap();
    until("the request to pass", || redis.command(&["GET", "key"]).text() == "2");
    assert_eq!(connection.receive_within(A_WHILE).unwrap(), None);
    proxy.pass().await;
    assert_eq!(connection.receive().unwrap().int(), 2);
    Ok(())
}

async fn a_lost_answer_was_executed() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    proxy.cut_after(Request::nth(2));
    assert_eq!(connection.command(&["INCR", "key"]).unwrap().int(), 1);
    connection.send(&["INCR", "key"]).unwrap();
    assert!(has_ended(&mut connection));
    assert_eq!(redis.command(&["GET", "key"]).text(), "2");
    assert_eq!((proxy.counts().requests, proxy.counts().answers, proxy.counts().faults), (2, 1, 1));
    assert_eq!(open(&proxy).command(&["INCR", "key"]).unwrap().int(), 3);
    Ok(())
}

async fn a_cut_before_was_not_executed() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    proxy.cut_before(Request::nth(2));
    assert_eq!(connection.command(&["INCR", "key"]).unwrap().int(), 1);
    connection.send(&["INCR", "key"]).unwrap();
    assert!(has_ended(&mut connection));
    assert_eq!(redis.command(&["GET", "key"]).text(), "1");
    assert_eq!((proxy.counts().requests, proxy.counts().faults), (1, 1));
    Ok(())
}

async fn within_a_batch_the_exact_one_is_hit() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let batch = ["a", "b", "c"].map(incr).concat();

    let mut connection = open(&proxy);
    proxy.cut_after(Request::nth(2));
    connection.send_bytes(&batch).unwrap();
    assert_eq!(connection.receive().unwrap().int(), 1);
    assert!(has_ended(&mut connection));
    let state = || ["a", "b", "c"].map(|key| redis.command(&["GET", key]).to_string());
    assert_eq!(state(), ["1", "1", "(nil)"]);

    let mut connection = open(&proxy);
    proxy.cut_before(Request::nth(2));
    connection.send_bytes(&batch).unwrap();
    assert_eq!(connection.receive().unwrap().int(), 2);
    assert!(has_ended(&mut connection));
    assert_eq!(state(), ["2", "1", "(nil)"]);
    Ok(())
}

async fn the_nth_of_its_kind_is_hit_over_all_connections() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let (mut one, mut other) = (open(&proxy), open(&proxy));
    proxy.cut_before(Request::with("incr").but_the(2));
    proxy.cut_after(Request::when(|request| request.ends_with(b"$5\r\nother\r\n")));
    one.command(&["INCR", "key"]).unwrap();
    one.command(&["GET", "key"]).unwrap();
    other.command(&["GET", "key"]).unwrap();
    other.send(&["INCR", "key"]).unwrap();
    assert!(has_ended(&mut other));
    one.send(&["SET", "key", "other"]).unwrap();
    assert!(has_ended(&mut one));
    assert_eq!(redis.command(&["GET", "key"]).text(), "other");
    Ok(())
}

async fn a_taken_answer_leaves_the_connection_open() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    proxy.hang_after(Request::nth(1));
    connection.send(&["INCR", "key"]).unwrap();
    eventually("the fault", || async { (proxy.counts().faults == 1).then_some(()) }).await;
    connection.send(&["INCR", "key"]).unwrap();
    assert_eq!(connection.receive_within(A_WHILE).unwrap(), None);
    assert_eq!(redis.command(&["GET", "key"]).text(), "1");
    assert_eq!(open(&proxy).command(&["INCR", "key"]).unwrap().int(), 2);
    Ok(())
}

async fn what_passes_again_forgets_its_faults() -> Result<(), Absent> {
    let (_redis, proxy) = stage().await?;
    proxy.cut_before(Request::nth(1));
    proxy.pass().await;
    open(&proxy).command(&["PING"]).unwrap();
    Ok(())
}

async fn push_messages_are_no_answers() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    connection.send_bytes(&encode(&["HELLO", "3"])).unwrap();
    connection.send_bytes(&encode(&["CLIENT", "TRACKING", "ON", "BCAST"])).unwrap();
    eventually("both answers", || async { (proxy.counts().answers == 2).then_some(()) }).await;
    let before = proxy.counts().bytes_out;
    redis.command(&["SET", "key", "1"]);
    eventually("the push", || async { (proxy.counts().bytes_out > before).then_some(()) }).await;
    proxy.cut_after(Request::nth(1));
    connection.send(&["INCR", "key"]).unwrap();
    eventually("the fault", || async { (proxy.counts().faults == 1).then_some(()) }).await;
    assert_eq!(redis.command(&["GET", "key"]).text(), "2");
    assert_eq!(proxy.counts().answers, 2);
    Ok(())
}

async fn a_server_that_is_gone_ends_the_connection() -> Result<(), Absent> {
    let (redis, proxy) = stage().await?;
    let mut connection = open(&proxy);
    connection.command(&["PING"]).unwrap();
    redis.kill();
    assert!(has_ended(&mut connection));
    assert!(has_ended(&mut open(&proxy)));
    redis.restart();
    open(&proxy).command(&["PING"]).unwrap();
    Ok(())
}
