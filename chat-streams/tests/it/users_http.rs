//! The truth about users over HTTP: a real server, and the worst of servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chat_core::clock::{ManualClock, Timestamp};
use chat_core::config::Secret;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::{Code, Effect};
use chat_core::layer::{Breaker, BreakerOptions, BreakerState, Guarded};
use chat_core::store::{UserSource, UserSourceExt};
use chat_streams::users::{HttpUserOptions, HttpUserSource};
use chat_testkit::sample::{hostile_ids, user};
use chat_testkit::{Absent, trials};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

trials! { needs "nothing":
    profiles_come_in_chunks_and_in_order,
    hostile_ids_reach_nobody_else,
    a_change_is_made_and_answered,
    what_the_service_refuses_is_said,
    secrets_are_shown_to_the_service_alone,
    statuses_have_codes,
    what_is_no_answer_is_corrupt,
    a_slow_service_is_a_timeout,
    a_cut_answer_is_an_outage,
    an_idle_connection_that_ended_costs_no_answer,
    nobody_there_is_an_outage_without_effect,
    requests_at_the_same_time_are_bounded,
    nothing_is_said_in_plain_text_to_an_https_address,
    a_breaker_spares_a_service_that_is_away,
}

/// The users' service: seed 002's routes over a map, as the Node one writes them.
#[derive(Debug, Default)]
struct Service {
    users: Mutex<BTreeMap<String, Value>>,
    asked: Mutex<Vec<(Uri, HeaderMap)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Service {
    fn with(users: &[(&str, Value)]) -> Arc<Self> {
        let users = users.iter().map(|(id, user)| ((*id).to_owned(), user.clone())).collect();
        Arc::new(Self { users: Mutex::new(users), ..Self::default() })
    }

    async fn start(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/api", listener.local_addr().unwrap());
        let routes = Router::new().route("/batch", get(batch)).route("/users/{id}", get(one).put(change));
        let app = Router::new().nest("/api", routes).with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(uri, _)| uri.to_string()).collect()
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// Decodes before it separates, as Express does: an id with a comma is two to it.
async fn batch(
    State(service): State<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    service.asked.lock().push((uri, headers));
    let now = service.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    service.most_at_once.fetch_max(now, Ordering::SeqCst);
    // Others come in meanwhile.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    service.at_once.fetch_sub(1, Ordering::SeqCst);
    let ids = decoded(query.as_deref().and_then(|query| query.strip_prefix("ids=")).unwrap_or_default());
    let users = service.users.lock();
    let found: Vec<&Value> = ids.split(',').filter_map(|id| users.get(id)).collect();
    axum::Json(json!({ "users": found })).into_response()
}

async fn one(
    State(service): State<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    service.asked.lock().push((uri, headers));
    match service.users.lock().get(&id) {
        Some(user) => axum::Json(user.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, axum::Json(json!({ "message": "no such user" }))).into_response(),
    }
}

async fn change(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    axum::Json(fields): axum::Json<Map<String, Value>>,
) -> Response {
    match service.users.lock().get_mut(&id) {
        Some(user) => {
            user.as_object_mut().unwrap().extend(fields);
            user["updatedAt"] = json!(9);
            axum::Json(json!({ "user": user })).into_response()
        }
        None => (StatusCode::NOT_FOUND, axum::Json(json!({ "message": "no such user" }))).into_response(),
    }
}

fn stored(id: &str, name: &str, at: u64) -> Value {
    json!({ "id": id, "fullName": name, "avatar": null, "matricule": "M1", "updatedAt": at.to_string() })
}

fn read(id: &str, name: &str, at: u64) -> UserProfile {
    UserProfile {
        matricule: Some("M1".to_owned()),
        ..UserProfile::new(user(id), name, Timestamp::from_millis(at))
    }
}

fn source(base: &str, options: HttpUserOptions) -> HttpUserSource {
    HttpUserSource::new(base, options).unwrap()
}

fn patient() -> HttpUserOptions {
    HttpUserOptions { deadline: Duration::from_secs(30), ..HttpUserOptions::default() }
}

fn names(ids: &[&str]) -> Vec<UserId> {
    ids.iter().map(|id| user(id)).collect()
}

async fn profiles_come_in_chunks_and_in_order() -> Result<(), Absent> {
    let ids: Vec<String> = (0..1_000).map(|n| format!("u{n:04}")).collect();
    let all: Vec<_> = ids.iter().map(|id| (id.as_str(), stored(id, id, 1))).collect();
    let half: Vec<_> = all.iter().step_by(2).cloned().collect();
    let service = Service::with(&half);
    let source = source(&service.start().await, HttpUserOptions { ids_at_once: 90, ..patient() });
    let asked: Vec<UserId> = ids.iter().rev().chain(&ids[..3]).map(|id| user(id)).collect();
    let found = source.fetch_many(&asked).await.unwrap();
    for (user, profile) in asked.iter().zip(&found) {
        let n: usize = user.as_str()[1..].parse().unwrap();
        let expected = n.is_multiple_of(2).then(|| read(user.as_str(), user.as_str(), 1));
        assert_eq!(*profile, expected, "missing users are misses");
    }
    assert_eq!(service.paths().len(), 12, "1000 users, 90 at once, each once");
    assert_eq!(source.fetch_many(&[]).await.unwrap(), []);
    assert_eq!(service.paths().len(), 12, "nobody is not asked for");
    // Long ids fill an address before their number does.
    let long: Vec<UserId> = (0..60).map(|n| user(&format!("{n:02}{}", "é".repeat(60)))).collect();
    assert!(source.fetch_many(&long).await.unwrap().iter().all(Option::is_none));
    assert!(service.paths().iter().all(|path| path.len() < 8_000));
    assert!(service.paths().len() >= 15);
    Ok(())
}

async fn hostile_ids_reach_nobody_else() -> Result<(), Absent> {
    let mut ids: Vec<String> = hostile_ids().iter().map(ToString::to_string).collect();
    ids.extend(
        ["a,b", "a", "b", ",", "a%2Cb", "x&ids=a", "?ids=a", "#", "../batch", "a/b", "..", "é"]
            .map(str::to_owned),
    );
    ids.sort();
    ids.dedup();
    let all: Vec<_> = ids.iter().map(|id| (id.as_str(), stored(id, &format!("of {id}"), 1))).collect();
    let service = Service::with(&all);
    let source = source(&service.start().await, patient());
    let asked: Vec<UserId> = ids.iter().map(|id| user(id)).collect();
    for (id, found) in ids.iter().zip(source.fetch_many(&asked).await.unwrap()) {
        // The answer's names are trimmed; so is this one.
        assert_eq!(found.map(|found| found.full_name), Some(format!("of {id}").trim().to_owned()), "{id:?}");
    }
    service.users.lock().remove("a,b");
    let found = source.fetch_many(&names(&["a,b", "a"])).await.unwrap();
    assert_eq!(found, [None, Some(read("a", "of a", 1))]);
    // Nobody may slip in who was not asked for, nor somebody under another's name.
    let liar = scripted(|_| {
        let users = json!([
            stored("eve", "Eve", 5),
            stored("b", "Bob", 5),
            stored("a", "old", 1),
            stored("a", "new", 2)
        ]);
        Reply::json(&users)
    })
    .await;
    let source = self::source(&liar, patient());
    assert_eq!(source.fetch_many(&names(&["a"])).await.unwrap(), [Some(read("a", "new", 2))]);
    Ok(())
}

async fn a_change_is_made_and_answered() -> Result<(), Absent> {
    let service = Service::with(&[("a/b", stored("a/b", "Ann", 1))]);
    let source = source(&service.start().await, patient());
    let update = ProfileUpdate {
        full_name: Some("Ann B".to_owned()),
        matricule: Some(None),
        sexe: Some(Some("F".to_owned())),
        ..ProfileUpdate::default()
    };
    let changed = source.update(&user("a/b"), &update).await.unwrap();
    let expected = UserProfile {
        sexe: Some("F".to_owned()),
        ..UserProfile::new(user("a/b"), "Ann B", Timestamp::from_millis(9))
    };
    assert_eq!(changed, expected);
    assert_eq!(service.users.lock()["a/b"]["avatar"], Value::Null, "what was not named stays");
    assert_eq!(source.fetch(&user("a/b")).await.unwrap(), Some(expected));
    for id in [".", ".."] {
        assert_eq!(source.update(&user(id), &update).await.unwrap_err().code(), Code::IdInvalid);
    }
    let empty = ProfileUpdate { full_name: Some(String::new()), ..ProfileUpdate::default() };
    assert_eq!(source.update(&user("a/b"), &empty).await.unwrap_err().code(), Code::UserInvalid);
    Ok(())
}

async fn what_the_service_refuses_is_said() -> Result<(), Absent> {
    let service = Service::with(&[]);
    let source = source(&service.start().await, patient());
    let update = ProfileUpdate { full_name: Some("Ann".to_owned()), ..ProfileUpdate::default() };
    assert_eq!(source.update(&user("ann"), &update).await.unwrap_err().code(), Code::UserNotFound);
    for (status, code, effect) in [
        ("400 Bad Request", Code::UserInvalid, Effect::None),
        ("404 Not Found", Code::ConfigInvalid, Effect::None),
        ("409 Conflict", Code::Conflict, Effect::None),
        ("500 Oh", Code::Unavailable, Effect::Unknown),
        ("504 Oh", Code::Timeout, Effect::Unknown),
    ] {
        let refusing = scripted(move |_| Reply::status(status, "<html>no</html>")).await;
        let error = self::source(&refusing, patient()).update(&user("ann"), &update).await.unwrap_err();
        assert_eq!((error.code(), error.effect()), (code, effect), "{status}");
    }
    let garbled = scripted(|_| Reply::status("200 OK", "{")).await;
    let error = self::source(&garbled, patient()).update(&user("ann"), &update).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::DataCorrupt, Effect::Unknown));
    for made in [source.create_many(&[]).await.unwrap_err(), source.delete(&user("ann")).await.unwrap_err()] {
        assert_eq!(made.code(), Code::Unsupported);
    }
    Ok(())
}

async fn secrets_are_shown_to_the_service_alone() -> Result<(), Absent> {
    let service = Service::with(&[]);
    let tokens = AtomicUsize::new(0);
    let options = patient()
        .with_header("x-service", Secret::new("chat s3cret"))
        .with_bearer_from(move || Secret::new(format!("s3cret-{}", tokens.fetch_add(1, Ordering::SeqCst))));
    let source = source(&service.start().await, options);
    for nth in 0..2 {
        source.fetch_many(&names(&["ann"])).await.unwrap();
        let asked = service.asked.lock();
        let headers = &asked[nth].1;
        assert_eq!(headers["authorization"], format!("Bearer s3cret-{nth}"));
        assert_eq!(
            (headers["x-service"].as_bytes(), headers["accept"].as_bytes()),
            (&b"chat s3cret"[..], &b"application/json"[..])
        );
    }
    assert!(!format!("{source:?}").contains("s3cret"));
    // A redirect takes no token anywhere.
    let elsewhere = service.start().await;
    let redirecting = scripted(move |_| {
        Reply::whole(format!(
            "HTTP/1.1 302 Found\r\nlocation: {elsewhere}/batch?ids=ann\r\ncontent-length: 0\r\n\r\n"
        ))
    })
    .await;
    let before = service.paths().len();
    let options = patient().with_bearer(Secret::new("s3cret"));
    let error = self::source(&redirecting, options).fetch_many(&names(&["ann"])).await.unwrap_err();
    assert_eq!((error.code(), service.paths().len()), (Code::ConfigInvalid, before));
    let bad = patient().with_bearer(Secret::new("s3cret\r\nx: y"));
    let error = self::source(&redirecting, bad).fetch_many(&names(&["ann"])).await.unwrap_err();
    assert_eq!(error.code(), Code::ConfigInvalid);
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    Ok(())
}

async fn statuses_have_codes() -> Result<(), Absent> {
    for (status, code) in [
        ("500 Oh", Code::Unavailable),
        ("502 Oh", Code::Unavailable),
        ("503 Oh", Code::Unavailable),
        ("504 Oh", Code::Timeout),
        ("408 Oh", Code::Timeout),
        ("429 Oh", Code::RateLimited),
        ("401 Oh", Code::ConfigInvalid),
        ("403 Oh", Code::ConfigInvalid),
        ("404 Oh", Code::ConfigInvalid),
        ("301 Oh", Code::ConfigInvalid),
        ("418 Oh", Code::Internal),
    ] {
        let base = scripted(move |_| Reply::status(status, r#"{"users":[]}"#)).await;
        let error = source(&base, patient()).fetch_many(&names(&["ann"])).await.unwrap_err();
        assert_eq!((error.code(), error.effect()), (code, Effect::None), "{status}");
        assert_eq!((error.detail("status"), error.operation()), (Some(&status[..3]), Some("users.fetch")));
    }
    let later = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let base = scripted(move |_| Reply::whole(later.to_owned())).await;
    let error = source(&base, patient()).fetch_many(&names(&["ann"])).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    // A page that is not there is no missing user.
    let base = scripted(|_| Reply::status("404 Not Found", "<html>Cannot GET</html>")).await;
    let error = source(&base, patient()).fetch_many(&names(&["a,b"])).await.unwrap_err();
    assert_eq!(error.code(), Code::ConfigInvalid);
    Ok(())
}

async fn what_is_no_answer_is_corrupt() -> Result<(), Absent> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = json!({ "users": [stored("ann", &"x".repeat(3 * 1024 * 1024), 1)] }).to_string();
    for body in [
        "",
        "{",
        "null",
        "1",
        "[1]",
        "{}",
        r#"{"users":{}}"#,
        "<html>",
        "\u{0}",
        deep.as_str(),
        long.as_str(),
    ] {
        let text = body.to_owned();
        let base = scripted(move |_| Reply::status("200 OK", &text)).await;
        let error = source(&base, patient()).fetch_many(&names(&["ann"])).await.unwrap_err();
        let shown = body.get(..body.len().min(20));
        assert_eq!((error.code(), error.effect()), (Code::DataCorrupt, Effect::None), "{shown:?}");
    }
    let unasked =
        scripted(|_| Reply::status("200 OK", r#"[null,{},{"id":"ann"},{"id":["ann"],"fullName":"x"}]"#))
            .await;
    let found = source(&unasked, patient()).fetch_many(&names(&["ann"])).await.unwrap();
    assert_eq!(found, [None], "nobody without a name is anybody");
    Ok(())
}

async fn a_slow_service_is_a_timeout() -> Result<(), Absent> {
    let never = scripted(|_| Reply::Never).await;
    let half = scripted(|_| Reply::Half("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_owned())).await;
    for base in [never, half] {
        let options = HttpUserOptions { deadline: Duration::from_millis(200), ..HttpUserOptions::default() };
        let source = source(&base, options);
        let error = source.fetch_many(&names(&["ann"])).await.unwrap_err();
        assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::None));
        let update = ProfileUpdate { full_name: Some("Ann".to_owned()), ..ProfileUpdate::default() };
        let error = source.update(&user("ann"), &update).await.unwrap_err();
        assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown));
    }
    Ok(())
}

async fn a_cut_answer_is_an_outage() -> Result<(), Absent> {
    for cut in
        ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n[", "no HTTP at all\r\n\r\n"]
    {
        let base = scripted(move |_| Reply::whole(cut.to_owned())).await;
        let error = source(&base, patient()).fetch_many(&names(&["ann"])).await.unwrap_err();
        assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None), "{cut:?}");
    }
    Ok(())
}

async fn an_idle_connection_that_ended_costs_no_answer() -> Result<(), Absent> {
    let base = scripted(|nth| match nth {
        0 => Reply::whole(String::new()),
        _ => Reply::json(&json!([stored("ann", "Ann", 1)])),
    })
    .await;
    let found = source(&base, patient()).fetch_many(&names(&["ann"])).await.unwrap();
    assert_eq!(found, [Some(read("ann", "Ann", 1))]);
    Ok(())
}

async fn nobody_there_is_an_outage_without_effect() -> Result<(), Absent> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let source = source(&base, patient());
    let error = source.fetch_many(&names(&["ann"])).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
    let update = ProfileUpdate { full_name: Some("Ann".to_owned()), ..ProfileUpdate::default() };
    let error = source.update(&user("ann"), &update).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None), "nobody heard of it");
    Ok(())
}

async fn requests_at_the_same_time_are_bounded() -> Result<(), Absent> {
    let service = Service::with(&[]);
    let options = HttpUserOptions { ids_at_once: 1, concurrency: 3, ..patient() };
    let source = Arc::new(source(&service.start().await, options));
    let asking = (0..8).map(|task| {
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let ids: Vec<UserId> = (0..10).map(|n| user(&format!("{task}-{n}"))).collect();
            source.fetch_many(&ids).await.unwrap()
        })
    });
    for task in asking.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(service.paths().len(), 80);
    assert!((1..=3).contains(&service.most_at_once.load(Ordering::SeqCst)));
    Ok(())
}

async fn nothing_is_said_in_plain_text_to_an_https_address() -> Result<(), Absent> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    let listening = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 1_024];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            listening.lock().extend_from_slice(&bytes[..count]);
            // Somebody who answers in plain text is no proof of anything.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;
        }
    });
    let options = patient().with_bearer(Secret::new("s3cret"));
    let Ok(source) = HttpUserSource::new(&base, options) else {
        return Err(Absent("this system has no root certificates".to_owned()));
    };
    let error = source.fetch_many(&names(&["ann"])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let heard = heard.lock();
    assert_eq!(heard.first(), Some(&0x16), "a handshake");
    assert!(!String::from_utf8_lossy(&heard).contains("s3cret"));
    Ok(())
}

async fn a_breaker_spares_a_service_that_is_away() -> Result<(), Absent> {
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let (well, count) = (Arc::clone(&is_well), Arc::clone(&asked));
    let base = scripted(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        match well.load(Ordering::SeqCst) {
            true => Reply::json(&json!([stored("ann", "Ann", 1)])),
            false => Reply::status("503 Away", ""),
        }
    })
    .await;
    let clock = ManualClock::default();
    let options = BreakerOptions { failures: 3, ..BreakerOptions::default() };
    let breaker = Breaker::new("users", options, Arc::new(clock.clone()));
    let source = Guarded::new(source(&base, patient()), breaker);
    let ann = names(&["ann"]);
    for _ in 0..10 {
        assert_eq!(source.fetch_many(&ann).await.unwrap_err().code(), Code::Unavailable, "never a miss");
    }
    assert_eq!((asked.load(Ordering::SeqCst), source.policy().state()), (3, BreakerState::Open));
    clock.advance(options.rest);
    source.fetch_many(&ann).await.unwrap_err();
    source.fetch_many(&ann).await.unwrap_err();
    assert_eq!((asked.load(Ordering::SeqCst), source.policy().stats().opened), (4, 2), "one looked");
    clock.advance(options.rest);
    is_well.store(true, Ordering::SeqCst);
    assert_eq!(source.fetch_many(&ann).await.unwrap(), [Some(read("ann", "Ann", 1))]);
    assert_eq!(source.policy().state(), BreakerState::Closed);
    Ok(())
}

/// What a scripted server does with a request.
enum Reply {
    /// These bytes, then the end.
    Whole(String),
    /// These bytes, and nothing more, for ever.
    Half(String),
    /// Nothing, for ever.
    Never,
}

impl Reply {
    fn whole(bytes: String) -> Self {
        Self::Whole(bytes)
    }

    fn status(status: &str, body: &str) -> Self {
        Self::Whole(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    fn json(value: &Value) -> Self {
        Self::status("200 OK", &value.to_string())
    }
}

/// A server that answers its n-th request as told.
async fn scripted(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (script, mut open) = (Arc::new(script), Vec::new());
        for nth in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            hear(&mut stream).await;
            match script(nth) {
                Reply::Whole(bytes) => {
                    let _ = stream.write_all(bytes.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
                Reply::Half(bytes) => {
                    let _ = stream.write_all(bytes.as_bytes()).await;
                    open.push(stream);
                }
                Reply::Never => open.push(stream),
            }
        }
    });
    base
}

/// Reads a request: its head, and as much of a body as it says.
async fn hear(stream: &mut TcpStream) {
    let (mut heard, mut bytes) = (Vec::new(), [0; 4_096]);
    loop {
        let head = heard.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&heard[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if heard.len() >= head + 4 + length {
                return;
            }
        }
        match stream.read(&mut bytes).await {
            Ok(count) if count > 0 => heard.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
}
