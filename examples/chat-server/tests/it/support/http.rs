//! Just enough HTTP/1.1.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::run::within;
use super::server::Server;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// 200 and the like.
    pub(crate) status: u16,
    /// By their names in small letters.
    pub(crate) headers: HashMap<String, String>,
    /// What it says.
    pub(crate) body: String,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// A header; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The status, and the code of the error.
    pub(crate) fn problem(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        (self.status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// `GET path`
pub(crate) async fn get(server: &Server, path: &str) -> Reply {
    request(server, "GET", path, &[], "").await
}

/// `GET path` by somebody.
pub(crate) async fn get_as(server: &Server, path: &str, token: &str) -> Reply {
    request(server, "GET", path, &[("Authorization", &format!("Bearer {token}"))], "").await
}

/// Sends JSON by somebody.
pub(crate) async fn send_as(server: &Server, method: &str, path: &str, token: &str, body: &Value) -> Reply {
    let headers = [("Authorization", &*format!("Bearer {token}")), ("Content-Type", "application/json")];
    request(server, method, path, &headers, &body.to_string()).await
}

/// Sends JSON.
pub(crate) async fn post(server: &Server, path: &str, body: &Value) -> Reply {
    request(server, "POST", path, &[("Content-Type", "application/json")], &body.to_string()).await
}

/// Any request.
pub(crate) async fn request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let what = format!("{method} {path}");
    try_request(server.address, method, path, headers, body)
        .await
        .unwrap_or_else(|| panic!("no answer to {what}"))
}

/// Any request; no answer when nobody listens.
pub(crate) async fn try_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Reply> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // A server that answers before it has read everything may end the connection with a reset.
        let ended = stream.read_to_end(&mut answer).await;
        (ended.is_ok() || !answer.is_empty()).then_some(answer)
    };
    parse(&within(format!("{method} {path}"), exchange).await?)
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let headers: HashMap<String, String> = headers
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &answer[end + 4..];
    let body = if headers.get("transfer-encoding").is_some_and(|how| how == "chunked") {
        whole(body)
    } else {
        body.to_vec()
    };
    Some(Reply {
        status: status.split(' ').nth(1)?.parse().ok()?,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

/// A body that came in chunks.
fn whole(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|bytes| bytes == b"\r\n") {
        let size =
            std::str::from_utf8(&chunks[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && end + 4 + size <= chunks.len()) else { break };
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
    body
}
