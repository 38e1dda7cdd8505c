//! The server has done it, and its answer is lost: asked again inside the call, it is done once.

use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::Redis as Server;
use chat_testkit::{Absent, trials};

use super::load::{Client, brisk, patient, unknown};

trials! { needs "redis":
    an_answer_lost_with_its_connection_is_asked_for_again,
    an_answer_that_never_comes_is_asked_for_again,
    a_request_that_never_arrived_is_sent_again,
    of_a_batch_only_what_is_open_is_sent_again,
    a_missing_script_and_a_lost_answer_at_once,
    a_lost_answer_that_cannot_be_asked_for_again_is_said_to_be_open,
}

async fn stage(timing: chat_redis::connection::Timing) -> Result<(Server, Proxy, Client), Absent> {
    let server = Server::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let client = Client::lazy(&server.url_at(proxy.address()), timing);
    client.charge("ada", "first").await.unwrap();
    Ok((server, proxy, client))
}

/// How often an operation was sent again, and a connection made again.
fn again(client: &Client) -> (u64, u64) {
    let stats = client.service.stats();
    assert_eq!(stats.lost, stats.reconnected, "{stats:?}");
    (stats.repeated, stats.reconnected)
}

async fn an_answer_lost_with_its_connection_is_asked_for_again() -> Result<(), Absent> {
    let (server, proxy, client) = stage(patient()).await?;
    let (repeated, _) = again(&client);
    proxy.cut_after(Request::with("EVALSHA"));
    let (charged, calls) = server.counting(client.charge("ada", "second")).await;
    assert_eq!(charged.unwrap(), 2);
    assert_eq!(calls["evalsha"], 2);
    assert_eq!((proxy.counts().faults, again(&client)), (1, (repeated + 1, 1)));
    assert_eq!(client.charge("ada", "third").await.unwrap(), 3);
    Ok(())
}

async fn an_answer_that_never_comes_is_asked_for_again() -> Result<(), Absent> {
    let mut timing = patient();
    timing.response = brisk().response;
    let (_server, proxy, client) = stage(timing).await?;
    proxy.hang_after(Request::with("EVALSHA"));
    assert_eq!(client.charge("ada", "second").await.unwrap(), 2);
    assert_eq!(proxy.counts().faults, 1);
    assert!(again(&client).1 >= 1);
    Ok(())
}

async fn a_request_that_never_arrived_is_sent_again() -> Result<(), Absent> {
    let (server, proxy, client) = stage(patient()).await?;
    proxy.cut_before(Request::with("EVALSHA"));
    let (charged, calls) = server.counting(client.charge("ada", "second")).await;
    assert_eq!((charged.unwrap(), calls["evalsha"], proxy.counts().faults), (2, 1, 1));
    Ok(())
}

async fn of_a_batch_only_what_is_open_is_sent_again() -> Result<(), Absent> {
    let (_server, proxy, client) = stage(patient()).await?;
    let subjects: Vec<String> = (0..64).map(|n| format!("s{n}")).collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    // One script for each shard; the fifth is executed, those after it are not.
    proxy.cut_after(Request::with("EVALSHA").but_the(5));
    assert_eq!(client.charge_all(&subjects, "1").await.unwrap(), [1; 64]);
    assert_eq!(proxy.counts().faults, 1);
    assert_eq!(client.charge_all(&subjects, "1").await.unwrap(), [1; 64]);
    assert_eq!(client.charge_all(&subjects, "2").await.unwrap(), [2; 64]);
    Ok(())
}

async fn a_missing_script_and_a_lost_answer_at_once() -> Result<(), Absent> {
    let (server, proxy, client) = stage(patient()).await?;
    server.command(&["SCRIPT", "FLUSH"]);
    proxy.cut_after(Request::when(|request| request.starts_with(b"*") && contains(request, b"\r\nEVAL\r\n")));
    assert_eq!(client.charge("ada", "second").await.unwrap(), 2);
    assert_eq!((proxy.counts().faults, again(&client).1), (1, 1));
    Ok(())
}

fn contains(request: &[u8], text: &[u8]) -> bool {
    request.windows(text.len()).any(|window| window == text)
}

async fn a_lost_answer_that_cannot_be_asked_for_again_is_said_to_be_open() -> Result<(), Absent> {
    let (_server, proxy, client) = stage(brisk()).await?;
    proxy.refuse().await;
    proxy.cut_after(Request::with("EVALSHA"));
    unknown(client.charge("ada", "second").await);
    assert_eq!(proxy.counts().faults, 1);
    assert!(!client.service.is_available());
    proxy.pass().await;
    // The caller repeats it, as it may.
    assert_eq!(client.charge_at_last("ada", "second").await, 2);
    Ok(())
}
