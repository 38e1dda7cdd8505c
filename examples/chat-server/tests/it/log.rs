//! T7: what is written to the log. Everything any trial of this binary logs is kept, at the finest level.

use std::io::Write;
use std::sync::{Mutex, OnceLock};

use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::client::Client;
use crate::host::{Host, fresh};
use crate::trials;

trials! { "log":
    neither_tokens_nor_texts_are_logged_or_counted,
    no_trial_panicked_inside_the_server,
}

static LOGGED: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
static PANICS: OnceLock<Mutex<Vec<String>>> = OnceLock::new();

/// Keeps everything that is logged, and every panic of a thread that is no trial's.
pub(crate) fn capture() {
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false).with_writer(Keep);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let inside = panic.location().is_some_and(|at| !at.file().contains("/tests/") && !at.file().starts_with("tests/"));
        if inside {
            PANICS.get_or_init(Mutex::default).lock().unwrap().push(panic.to_string());
        }
        usual(panic);
    }));
}

struct Keep;

impl<'a> MakeWriter<'a> for Keep {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.get_or_init(Mutex::default).lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged() -> String {
    String::from_utf8_lossy(&LOGGED.get_or_init(Mutex::default).lock().unwrap()).into_owned()
}

async fn neither_tokens_nor_texts_are_logged_or_counted() {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann-logged"), fresh("bob-logged"));
    let token = host.token(&ann);
    let mut client = Client::try_connect(host.address, "/", &json!({ "token": token })).await.unwrap();
    let text = "a text nobody else may read";
    client.done("sendMessage", json!({ "receiverId": bob, "content": text })).await;
    client.refused("sendMessage", json!({ "receiverId": bob, "content": { "secret": text } })).await;
    client.refused("sendMessage", json!({ "conversationId": "nowhere-logged", "content": text })).await;
    client.refused(text, json!({})).await;
    let garbage = Client::try_connect(host.address, "/", &json!({ "token": format!("{token}x") })).await;
    assert_eq!(garbage.err().as_deref(), Some("chat.auth.invalid"));
    let metrics = chat_server::metrics::recorder().unwrap().render();
    host.stop().await;
    let logged = logged();
    assert!(logged.contains("draining"), "the log is kept at all");
    for secret in [token.as_str(), token.split('.').nth(2).unwrap(), text] {
        assert!(!logged.contains(secret), "logged: {secret}");
    }
    for hidden in [token.as_str(), text, &ann, &bob, "nowhere-logged"] {
        assert!(!metrics.contains(hidden), "a label: {hidden}");
    }
    assert!(metrics.contains(r#"chat_events_total{event="unknown",code="chat.request.unknown"}"#), "{metrics}");
}

/// T6 and everything else: trials run side by side, so this one looks at those that are done; `drain` looks again.
async fn no_trial_panicked_inside_the_server() {
    no_panics();
}

/// # Panics
/// When something inside the server did.
pub(crate) fn no_panics() {
    let panics = PANICS.get_or_init(Mutex::default).lock().unwrap().clone();
    assert!(panics.is_empty(), "{panics:?}");
}
