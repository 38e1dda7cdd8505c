//! Takes what a socket asks out of its queue, one after the other, and answers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chat_core::error::{Code, Error, Result};
use futures::FutureExt;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::answer::{Answer, report, told_code};
use super::conn::Conn;
use super::queue::Incoming;
use super::request::{self, Route};
use crate::app::App;
use crate::limits::Window;
use crate::metrics::{self, Stopwatch};

/// Who asks, and what is asked.
pub(crate) struct Caller {
    /// Everything there is.
    pub(crate) app: Arc<App>,
    /// The socket it came by.
    pub(crate) conn: Arc<Conn>,
}

/// Serves one socket until it is gone; then whatever was left of it goes too.
pub(crate) async fn serve(app: Arc<App>, conn: Arc<Conn>, mut queue: mpsc::Receiver<Box<Incoming>>) {
    let caller = Caller { app, conn };
    let mut window = Window::default();
    while let Some(incoming) = queue.recv().await {
        if caller.conn.is_cut() {
            continue;
        }
        let watch = Stopwatch::start();
        let (event, answer) = caller.handle(&incoming, &mut window).await;
        if let Err(error) = &answer {
            report(event, error);
        }
        metrics::answered(
            event,
            answer.as_ref().err().map(|error| told_code(error.code())),
            Some(watch.elapsed()),
        );
        incoming.into_reply().send(&answer);
    }
    // Also reached when the socket was let in but never told so.
    caller.app.leave(&caller.conn).await;
}

impl Caller {
    /// The answer, and the name to count it under.
    async fn handle(&self, incoming: &Incoming, window: &mut Window) -> (&'static str, Answer) {
        let (name, payload) = match split(incoming) {
            Ok(parts) => parts,
            Err(error) => return ("unknown", self.admit(true, window).and(Err(error))),
        };
        let Some(route) = request::find(&name) else {
            return ("unknown", self.admit(true, window).and(Err(Code::RequestUnknown.into())));
        };
        let answer = match self.admit(!route.free, window).and(payload) {
            Ok(payload) => self.run(route, payload).await,
            Err(error) => Err(error),
        };
        (route.name, answer)
    }

    /// Whether the socket may ask one thing more now.
    fn admit(&self, counts: bool, window: &mut Window) -> Result<()> {
        let now = self.app.chat.now();
        if self.conn.ends_at() <= now {
            return Err(Code::AuthExpired.into());
        }
        if self.app.is_closing() {
            return Err(Code::ServerDraining.into());
        }
        if counts {
            self.conn.is_active();
            window.admit(self.app.options.events, now)?;
        }
        Ok(())
    }

    /// Runs a handler within its time. One that panics is a defect, not the end of the socket.
    async fn run(&self, route: &'static Route, payload: &str) -> Answer {
        let handler = AssertUnwindSafe((route.run)(self, payload)).catch_unwind();
        match tokio::time::timeout(self.app.options.request_timeout, handler).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::new(Code::Internal).with("reason", "a handler panicked")),
            Err(_) => Err(Error::new(Code::Timeout).effect_unknown()),
        }
    }
}

/// The name of an event, and its payload or what is wrong with it.
///
/// # Errors
/// [`Code::RequestInvalid`] when not even the name can be told.
fn split(incoming: &Incoming) -> Result<(String, Result<&str>)> {
    let unreadable = |_| Error::invalid(Code::RequestInvalid, "not readable as JSON");
    let parts: Vec<&RawValue> = serde_json::from_str(incoming.text()).map_err(unreadable)?;
    let mut parts = parts.into_iter().map(RawValue::get);
    let name = parts.next().map_or(Ok(String::new()), serde_json::from_str).map_err(unreadable)?;
    let payload = parts.next().unwrap_or("{}");
    let problem = if incoming.is_binary() {
        "binary attachments are not accepted"
    } else if parts.next().is_some() {
        "more than one argument"
    } else {
        return Ok((name, Ok(payload)));
    };
    Ok((name, Err(Error::invalid(Code::RequestInvalid, problem))))
}

/// Reads a payload: an object, or nothing.
///
/// # Errors
/// [`Code::RequestInvalid`].
pub(crate) fn parse<T: DeserializeOwned>(payload: &str) -> Result<T> {
    let payload = payload.trim_start();
    let payload = if payload == "null" { "{}" } else { payload };
    if !payload.starts_with('{') {
        return Err(Error::invalid(Code::RequestInvalid, "the payload is no object"));
    }
    serde_json::from_str(payload).map_err(|error| Error::invalid(Code::RequestInvalid, what_is_wrong(&error)))
}

/// What is wrong with a payload, without repeating any of it.
fn what_is_wrong(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split(" at line ").next() {
        Some(missing) if missing.starts_with("missing field") => missing.to_owned(),
        _ => "a field has the wrong type or is not readable".to_owned(),
    }
}
