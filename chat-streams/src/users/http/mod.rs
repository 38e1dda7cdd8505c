//! [`HttpUserSource`]: the truth about users at another service, over HTTP (seed 002).

mod answer;
mod options;

use std::collections::{BTreeSet, HashMap};
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::clock::Timestamp;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::{Code, Effect, Error, Result};
use chat_core::store::UserSource;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::Semaphore;

use options::Base;
pub use options::{Bearer, HttpUserOptions};

const FETCH: &str = "users.fetch";
const UPDATE: &str = "users.update";

/// What stays as it is in an address: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long the ids of one address may be, in bytes; some servers take no more than 8 KiB of address.
const LONGEST_IDS: usize = 6 * 1024;

/// The truth about users at another service: seed 002's `GET /batch?ids=a,b` and `PUT`. Kind of state: **truth**, the
/// other service's; its events are the other service's to write.
///
/// Ids are percent-encoded and asked for in chunks, some at a time. An id with a comma, which a server may take for two, is
/// asked for alone at `{base}/users/{id}`. A user the service does not name is a miss, and so is one without a name; only
/// users that were asked for are taken from an answer. Redirects are not followed, so that no secret goes anywhere else.
/// Nothing is tried again, except a read on a connection that ended without an answer, once:
/// a [`Guarded`](chat_core::layer::Guarded) one with a [`Breaker`](chat_core::layer::Breaker) is for services that are away.
///
/// The answer to a batch is a list of profiles, or an object with one under `users` or `data`; the answer to a change a
/// profile, or an object with one under `user` or `data`. Profiles have seed 002's fields: `id` (or `userId`, `_id`), `fullName`
/// (or `prenom` and `nom`, or `name`), `avatar` (or `profile_pic`), `matricule`, `ministere`, `sexe`, `updatedAt` (milliseconds or ISO
/// 8601; without it any other version is newer).
///
/// # Errors
/// | what happened | code |
/// |---|---|
/// | no connection, a connection cut, 5xx | [`Code::Unavailable`] |
/// | too slow, 408, 504 | [`Code::Timeout`] |
/// | 429 | [`Code::RateLimited`] |
/// | no JSON, another shape, too large an answer | [`Code::DataCorrupt`] |
/// | 401, 403, a redirect, 404 where no user was named | [`Code::ConfigInvalid`]: the address or the secret is wrong |
/// | 404, 400 or 422, 409 to a change | [`Code::UserNotFound`], [`Code::UserInvalid`], [`Code::Conflict`] |
/// | any other status | [`Code::Internal`] |
/// | to make or delete a user | [`Code::Unsupported`]: seed 002 has no such request |
///
/// A change whose answer was lost may have taken hold; to repeat it changes nothing more.
///
/// ```no_run
/// use chat_core::config::Secret;
/// use chat_streams::users::{HttpUserOptions, HttpUserSource};
///
/// # fn host() -> chat_core::error::Result<()> {
/// let options = HttpUserOptions::default().with_bearer(Secret::new("of this service"));
/// let source = HttpUserSource::new("http://auth-user-service:8001", options)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct HttpUserSource {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Base,
    options: HttpUserOptions,
    turns: Arc<Semaphore>,
}

/// What is asked at once.
#[derive(Debug)]
struct Question {
    path: String,
    users: Vec<UserId>,
    is_alone: bool,
}

/// What came back.
struct Answer {
    status: StatusCode,
    retry_after: Option<std::time::Duration>,
    body: Bytes,
}

impl HttpUserSource {
    /// The service at this address, such as `http://auth:8001/api`.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for what is no `http:` or `https:` address, or has a user, a query or a fragment; for a header that is
    /// none; when the system's root certificates cannot be read.
    pub fn new(base: &str, options: HttpUserOptions) -> Result<Self> {
        let base = Base::parse(base)?;
        options.check()?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect));
        let tls = options.tls(base.is_https())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(options.concurrency.max(1))
            .build(connector);
        let turns = Arc::new(Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { client, base, options, turns })
    }

    async fn in_time<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let outcome = match tokio::time::timeout(self.options.deadline, work).await {
            Ok(outcome) => outcome.map_err(|error| error.during(operation)),
            Err(_) => Err(Error::new(Code::Timeout).during(operation)),
        };
        let said = outcome.as_ref().err().map_or("ok", |error| error.code().as_str());
        metrics::counter!("chat_user_source_total", "operation" => operation, "outcome" => said).increment(1);
        outcome
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer> {
        let invalid = |error: hyper::http::Error| Error::new(Code::Internal).caused_by(error);
        let mut request = Request::builder()
            .method(method)
            .uri(self.base.with(path))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("chat-streams/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Full::new(body.unwrap_or_default())).map_err(invalid)?;
        for (name, value) in self.options.headers()? {
            request.headers_mut().insert(name, value);
        }
        if let Some(token) = self.options.bearer() {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            // What is wrong with it would show it.
            let mut value =
                value.map_err(|_| Error::invalid(Code::ConfigInvalid, "the token cannot be in a header"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = self.client.request(request).await.map_err(|error| {
            let surely_nothing = error.is_connect();
            let error = Error::new(Code::Unavailable).caused_by(error);
            if surely_nothing { error } else { error.effect_unknown() }
        })?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let largest = self.options.largest;
        let body = Limited::new(body, largest).collect().await.map_err(|error| cut(error, largest))?;
        let retry_after = retry_after.map(std::time::Duration::from_secs);
        Ok(Answer { status: head.status, retry_after, body: body.to_bytes() })
    }

    /// A read, once more if its connection ended without an answer.
    async fn get(&self, path: &str) -> Result<Answer> {
        let _turn =
            self.turns.acquire().await.map_err(|error| Error::new(Code::Internal).caused_by(error))?;
        match self.exchange(Method::GET, path, None).await {
            Err(error) if error.code() == Code::Unavailable && error.effect() == Effect::Unknown => {
                self.exchange(Method::GET, path, None).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&self, question: Question) -> Result<Vec<UserProfile>> {
        let Question { path, users, is_alone } = question;
        let answer = self.get(&path).await.map_err(without_effect)?;
        if is_alone && answer.status == StatusCode::NOT_FOUND && answer::object(&answer.body).is_some() {
            return Ok(Vec::new());
        }
        let body = answer.accepted(false)?;
        let found = if is_alone { answer::one(body).map(|one| vec![one]) } else { answer::many(body) };
        let found = found.ok_or_else(|| Error::new(Code::DataCorrupt).with("reason", "another shape"))?;
        Ok(found.iter().filter_map(|one| answer::profile(one, &users)).collect())
    }

    fn questions(&self, users: BTreeSet<&UserId>) -> Vec<Question> {
        let (mut questions, mut ids) = (Vec::<Question>::new(), String::new());
        let mut chunk = Vec::new();
        let batch = |ids: &str, users| Question { path: format!("/batch?ids={ids}"), users, is_alone: false };
        for user in users {
            let id = escaped(user);
            if user.as_str().contains(',') {
                questions.push(Question { path: self.one(&id), users: vec![user.clone()], is_alone: true });
                continue;
            }
            let is_full =
                chunk.len() >= self.options.ids_at_once.max(1) || ids.len() + id.len() > LONGEST_IDS;
            if is_full && !chunk.is_empty() {
                questions.push(batch(&ids, std::mem::take(&mut chunk)));
                ids.clear();
            }
            if !ids.is_empty() {
                ids.push(',');
            }
            ids.push_str(&id);
            chunk.push(user.clone());
        }
        if !chunk.is_empty() {
            questions.push(batch(&ids, chunk));
        }
        questions
    }

    fn one(&self, id: &str) -> String {
        format!("{}{id}", self.options.profiles)
    }

    async fn fetch(&self, users: BTreeSet<&UserId>) -> Result<HashMap<UserId, UserProfile>> {
        let asking: Vec<BoxFuture<'_, Result<Vec<UserProfile>>>> =
            self.questions(users).into_iter().map(|question| self.ask(question).boxed()).collect();
        let found: Vec<Vec<UserProfile>> =
            stream::iter(asking).buffer_unordered(self.options.concurrency.max(1)).try_collect().await?;
        let mut newest: HashMap<UserId, UserProfile> = HashMap::new();
        for profile in found.into_iter().flatten() {
            if newest.get(&profile.id).is_none_or(|known| known.updated_at <= profile.updated_at) {
                newest.insert(profile.id.clone(), profile);
            }
        }
        Ok(newest)
    }

    async fn change(&self, user: &UserId, update: &ProfileUpdate) -> Result<UserProfile> {
        if matches!(user.as_str(), "." | "..") {
            return Err(Error::invalid(Code::IdInvalid, "it would be a step in an address"));
        }
        let body = Bytes::from(answer::written(update).to_string());
        let path = self.one(&escaped(user));
        let _turn =
            self.turns.acquire().await.map_err(|error| Error::new(Code::Internal).caused_by(error))?;
        let answer = self.exchange(Method::PUT, &path, Some(body)).await?;
        let body = answer.accepted(true)?;
        let profile = answer::one(body).and_then(|one| answer::profile(&one, std::slice::from_ref(user)));
        let corrupt = || Error::new(Code::DataCorrupt).with("reason", "another shape").effect_unknown();
        profile.ok_or_else(corrupt)
    }
}

#[async_trait]
impl UserSource for HttpUserSource {
    async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        let found = self.in_time(FETCH, self.fetch(users.iter().collect())).await?;
        Ok(users.iter().map(|user| found.get(user).cloned()).collect())
    }

    async fn create_many(&self, _: &[UserProfile]) -> Result<Vec<bool>> {
        Err(Error::new(Code::Unsupported).during("users.create"))
    }

    async fn update(&self, user: &UserId, update: &ProfileUpdate) -> Result<UserProfile> {
        update.check()?;
        let outcome = self.in_time(UPDATE, self.change(user, update)).await;
        outcome.map_err(|error| match error.code() {
            Code::Timeout => error.effect_unknown(),
            _ => error,
        })
    }

    async fn delete(&self, _: &UserId) -> Result<Option<Timestamp>> {
        Err(Error::new(Code::Unsupported).during("users.delete"))
    }
}

impl fmt::Debug for HttpUserSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUserSource").field("base", &self.base).field("options", &self.options).finish()
    }
}

impl Answer {
    /// The body of a success; other statuses as errors.
    fn accepted(&self, is_change: bool) -> Result<Value> {
        let status = self.status.as_u16();
        let code = match status {
            200..=299 => {
                let body = serde_json::from_slice(&self.body);
                return body.map_err(|_| {
                    let corrupt = Error::new(Code::DataCorrupt).with("reason", "no JSON");
                    if is_change { corrupt.effect_unknown() } else { corrupt }
                });
            }
            404 if is_change && answer::object(&self.body).is_some() => Code::UserNotFound,
            400 | 422 if is_change => Code::UserInvalid,
            409 if is_change => Code::Conflict,
            300..=399 | 401 | 403 | 404 => Code::ConfigInvalid,
            408 | 504 => Code::Timeout,
            429 => Code::RateLimited,
            500..=599 => Code::Unavailable,
            _ => Code::Internal,
        };
        let error = match code {
            Code::ConfigInvalid => {
                Error::invalid(code, "the users' service does not serve us at this address")
            }
            Code::UserInvalid => Error::invalid(code, "the users' service refuses it"),
            _ => Error::new(code),
        };
        let error = error.with("status", status);
        let error =
            if is_change && (status == 408 || status >= 500) { error.effect_unknown() } else { error };
        Err(match self.retry_after {
            Some(after) => error.retry_in(after),
            None => error,
        })
    }
}

fn escaped(user: &UserId) -> String {
    utf8_percent_encode(user.as_str(), ESCAPED).to_string()
}

/// A body that could not be read to its end.
fn cut(error: Box<dyn StdError + Send + Sync>, largest: usize) -> Error {
    if error.is::<LengthLimitError>() {
        let reason = format!("more than {largest} bytes");
        return Error::new(Code::DataCorrupt).with("reason", reason).effect_unknown();
    }
    Error::new(Code::Unavailable).caused_by(error).effect_unknown()
}

/// A read changes nothing, whatever became of it.
fn without_effect(error: Error) -> Error {
    let plain =
        error.details().fold(Error::new(error.code()), |plain, (name, value)| plain.with(name, value));
    plain.caused_by(error)
}
