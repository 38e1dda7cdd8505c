//! SIGTERM, sent to the real program.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, within};
use crate::host::{Program, SECRET, fresh, token};
use crate::{log, trials};

trials! { "drain":
    sigterm_tells_clients_closes_transports_and_ends_well,
    nobody_new_is_let_in_while_draining,
}

/// One HTTP request; the status, or nothing when there is no server any more.
async fn status(address: std::net::SocketAddr, path: &str) -> Option<String> {
    let mut tcp = TcpStream::connect(address).await.ok()?;
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1).map(ToOwned::to_owned)
}

async fn signed_in(program: &Program, user: &str) -> Client {
    let claims = json!({ "sub": user, "exp": 4_102_444_800_u64, "iss": "chat", "aud": "chat" });
    Client::try_connect(program.address, "/", &json!({ "token": token(&claims) })).await.unwrap()
}

async fn sigterm_tells_clients_closes_transports_and_ends_well() {
    let mut program = Program::start(&["--jwt-secret", SECRET]).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, mut b) = (signed_in(&program, &ann).await, signed_in(&program, &bob).await);
    a.done("sendMessage", json!({ "receiverId": bob, "content": "just before" })).await;
    assert_eq!(status(program.address, "/ready").await.as_deref(), Some("200"));
    program.terminate();
    for client in [&mut a, &mut b] {
        client.hears("server:draining", |payload| payload["retryMs"].is_u64()).await;
        client.ends().await;
        assert!(!client.heard.iter().any(|(name, _)| name == "(disconnect)"), "the client comes back by itself");
    }
    let ended = within("the program to end", program.child.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
    log::no_panics();
}

async fn nobody_new_is_let_in_while_draining() {
    let mut program = Program::start(&["--jwt-secret", SECRET]).await;
    let mut ann = signed_in(&program, &fresh("ann")).await;
    // A transport that is open already, and asks to be let in too late.
    let mut late = Client::transport(program.address, "/").await;
    program.terminate();
    ann.hears("server:draining", |_| true).await;
    for (path, expected) in [("/ready", "503"), ("/socket.io/?EIO=4&transport=polling", "503"), ("/health", "200")] {
        let status = status(program.address, path).await;
        assert!(status.is_none() || status.as_deref() == Some(expected), "{path}: {status:?}");
    }
    late.raw(r#"40{"token":"whatever"}"#).await;
    if let Ok(Some(frame)) = tokio::time::timeout(Duration::from_secs(5), late.frame()).await {
        assert_eq!(frame, r#"44{"message":"chat.server.draining"}"#);
    }
    assert!(within("the program to end", program.child.wait()).await.unwrap().success());
}
