//! What checks ask again and again.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chat_core::domain::EventId;
use chat_core::error::{Code, Effect, Result};
use chat_core::event::{Envelope, Event};
use chat_core::store::Outbox;
use tokio::sync::Barrier;

/// How long a claim of [`drained`] lasts.
const LEASE: Duration = Duration::from_secs(30);

/// Every event waiting in the outbox, in order per key. The outbox is empty afterwards.
pub async fn drained(outbox: &dyn Outbox) -> Vec<Envelope> {
    let mut drained = Vec::new();
    loop {
        let claimed = outbox.claim("drain", 500, LEASE).await.unwrap();
        if claimed.is_empty() {
            assert_eq!(outbox.stats().await.unwrap().pending, 0, "entries wait that nobody can claim");
            return drained;
        }
        let ids: Vec<EventId> = claimed.iter().map(|envelope| envelope.id.clone()).collect();
        outbox.clear("drain", &ids).await.unwrap();
        drained.extend(claimed);
    }
}

/// The events waiting in the outbox, without their envelopes. The outbox is empty afterwards.
pub async fn events(outbox: &dyn Outbox) -> Vec<Event> {
    drained(outbox).await.into_iter().map(|envelope| envelope.event).collect()
}

/// Refused with this code, and said to have changed nothing.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T>, code: Code) {
    let error = result.expect_err("this has to be refused");
    assert_eq!((error.code(), error.effect()), (code, Effect::None), "{error:?}");
}

/// Failed because the backend is away: an outage is never a miss, a zero or an empty list.
#[track_caller]
pub fn unavailable<T: Debug>(result: Result<T>) {
    refused(result, Code::Unavailable);
}

/// Runs `count` tasks that all begin at once; answers what they answered, in their order.
pub async fn at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|nth| {
            let (start, work) = (Arc::clone(&start), task(nth));
            tokio::spawn(async move {
                start.wait().await;
                work.await
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(count);
    for task in tasks {
        answers.push(task.await.expect("a task of the check"));
    }
    answers
}
