//! The program itself: what it says, and what it refuses.

use serde_json::json;

use crate::client::Client;
use crate::host::{Program, SECRET, command, fresh, token};
use crate::trials;

trials! { "program":
    without_a_key_it_runs_in_dev_and_signs_people_in,
    every_problem_is_told_at_once,
    help_and_version_are_told,
    without_dev_nobody_signs_in_by_name,
}

async fn without_a_key_it_runs_in_dev_and_signs_people_in() {
    let program = Program::start(&[]).await;
    let http = Http(program.address);
    assert!(http.get("/dev").await.starts_with("HTTP/1.1 204"));
    let user = fresh("ann");
    let answer = http.post("/dev/token", &json!({ "userId": user, "name": "Ann" }).to_string()).await;
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let mut ann = Client::try_connect(program.address, "/", &json!({ "token": body["token"] })).await.unwrap();
    let who = ann.done("authenticate", json!({})).await;
    assert_eq!((who["userId"].as_str(), who["name"].as_str()), (Some(user.as_str()), Some("Ann")));
    let refused = http.post("/dev/token", &json!({ "userId": "a\nb", "name": "x" }).to_string()).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("chat.id.invalid"), "{refused}");
}

async fn every_problem_is_told_at_once() {
    let arguments = ["--listen", "0.0.0.0:0", "--redis", "redis://h", "--mongo=mongodb://h", "--kafka", "h:9092", "--lissen=x"];
    let out = command().args(arguments).output().await.unwrap();
    assert_eq!(out.status.code(), Some(2));
    let told = String::from_utf8(out.stderr).unwrap();
    for part in ["CHAT_REDIS: not built into this version yet", "CHAT_MONGO: not built", "CHAT_KAFKA: not built", "loopback", "did you mean CHAT_LISTEN?"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(out.stdout.is_empty(), "nothing is pretended");
}

async fn help_and_version_are_told() {
    for (argument, part) in [("--help", "--jwt-public-key"), ("-h", "CHAT_MAX_MEMBERS"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let out = command().arg(argument).output().await.unwrap();
        assert!(out.status.success() && String::from_utf8(out.stdout).unwrap().contains(part), "{argument}");
    }
}

async fn without_dev_nobody_signs_in_by_name() {
    let program = Program::start(&["--jwt-secret", SECRET]).await;
    let http = Http(program.address);
    assert!(http.get("/dev").await.starts_with("HTTP/1.1 404"));
    assert!(http.post("/dev/token", r#"{"userId":"ann","name":"Ann"}"#).await.starts_with("HTTP/1.1 404"));
    let claims = json!({ "sub": fresh("ann"), "exp": 4_102_444_800_u64, "iss": "chat", "aud": "chat" });
    assert!(Client::try_connect(program.address, "/chat", &json!({ "token": token(&claims) })).await.is_ok());
}

/// Just enough HTTP.
struct Http(std::net::SocketAddr);

impl Http {
    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}"
        );
        self.ask(&format!("{head}\r\n\r\n{body}")).await
    }

    async fn ask(&self, request: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut tcp = tokio::net::TcpStream::connect(self.0).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
