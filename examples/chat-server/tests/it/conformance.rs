//! The fixture server of the official protocol suites behaves as the suites expect it to. The suites are not ours to keep
//! here; they are run from outside.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::support::http;
use super::support::run::trials;
use super::support::server::Server;
use super::support::wire::{Frame, Wire, prefix};

trials! {
    the_fixture_server_has_the_settings_of_the_suites,
    the_fixture_server_answers_as_the_suites_expect,
    the_fixture_server_echoes_bare_engine_io,
}

async fn the_fixture_server_has_the_settings_of_the_suites() {
    let server = Server::conformance();
    let wire = Wire::open(server.address).await;
    let settings = ["pingInterval", "pingTimeout", "maxPayload"].map(|name| wire.opening[name].as_u64());
    assert_eq!(settings, [Some(300), Some(200), Some(1_000_000)], "{}", wire.opening);
    // Whoever does not connect within a second is sent away.
    let mut silent = Wire::open(server.address).await;
    silent.ended().await;
    let answer = http::get(&server, "/socket.io/?EIO=4&transport=polling").await;
    assert_eq!((answer.status, answer.body.starts_with("0{")), (200, true), "{answer:?}");
}

async fn the_fixture_server_answers_as_the_suites_expect() {
    let server = Server::conformance();
    for namespace in ["/", "/custom"] {
        let prefix = prefix(namespace);
        let mut wire = Wire::open(server.address).await;
        let auth = json!({ "token": "123" });
        let answer = wire.connect(namespace, &auth).await.unwrap();
        assert!(answer["sid"].is_string(), "{answer}");
        let event = async |wire: &mut Wire, beginning: &str| -> Value {
            let text = wire.text_with(&format!("{beginning}{prefix}")).await;
            serde_json::from_str(&text[beginning.len() + prefix.len()..]).unwrap()
        };
        assert_eq!(event(&mut wire, "42").await, json!(["auth", auth]));

        for arguments in [
            json!([]),
            json!([1, "2", { "3": [true, null, 4.5] }]),
            json!([[]]),
            json!(["x", "y", "z", "a", "b"]),
        ] {
            let mut sent = vec![json!("message")];
            sent.extend(arguments.as_array().unwrap().clone());
            wire.send(format!("42{prefix}{}", json!(sent))).await;
            sent[0] = json!("message-back");
            assert_eq!(event(&mut wire, "42").await, json!(sent));
            sent[0] = json!("message-with-ack");
            wire.send(format!("42{prefix}456{}", json!(sent))).await;
            let answer = wire.text_with(&format!("43{prefix}456")).await;
            assert_eq!(answer, format!("43{prefix}456{arguments}"));
        }

        // Attachments come back as they were.
        let two = r#"{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}"#;
        wire.send(format!(r#"452-{prefix}["message",{two}]"#)).await;
        wire.send_binary(vec![1, 2, 3]).await;
        wire.send_binary(vec![4, 5]).await;
        let text = wire.text_with("452-").await;
        let back: Value = serde_json::from_str(text.strip_prefix(&format!("452-{prefix}")).unwrap()).unwrap();
        let expected: Value = serde_json::from_str(&format!(r#"["message-back",{two}]"#)).unwrap();
        assert_eq!(back, expected);
        assert_eq!(wire.next().await, Some(Frame::Binary(vec![1, 2, 3])));
        assert_eq!(wire.next().await, Some(Frame::Binary(vec![4, 5])));
    }
    let mut wire = Wire::open(server.address).await;
    // Without anything to say, `auth` is an empty object.
    wire.send("40").await;
    wire.text_with("40{").await;
    assert_eq!(wire.text_with("42").await, r#"42["auth",{}]"#);
    let refused = wire.connect("/random", &json!({})).await.unwrap_err();
    assert_eq!(refused, json!({ "message": "Invalid namespace" }));
}

async fn the_fixture_server_echoes_bare_engine_io() {
    let server = Server::conformance();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut wire =
        Wire::on_path(stream, server.address, "/engine.io/?EIO=4&transport=websocket").await.unwrap();
    wire.send("4hello").await;
    assert_eq!(wire.text_with("4").await, "4hello");
    wire.send_binary(vec![1, 2, 3, 4]).await;
    assert_eq!(wire.next().await, Some(Frame::Binary(vec![1, 2, 3, 4])));
}
