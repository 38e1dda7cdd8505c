//! What a chat does by itself: publishes what truth has written, ends what has run out, repeats what is derived.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Chat;
use crate::error::Result;

/// How many events one step of the relay publishes.
const RELAY_BATCH: usize = 256;
/// For how long a relay keeps a key to itself; another node takes over then. One that is late publishes what is published
/// already, which is suppressed.
const RELAY_LEASE: Duration = Duration::from_secs(5);
/// How often the relay looks for what a dead node left; its own writes wake it at once.
const RELAY_POLL: Duration = Duration::from_secs(1);
/// How often leases and typing are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How long the derive worker waits for events.
const DERIVE_WAIT: Duration = Duration::from_secs(1);
/// After how long a dead member's events are taken over.
const DERIVE_IDLE: Duration = Duration::from_secs(15);
/// How long to rest after a failure.
const REST: Duration = Duration::from_millis(500);

/// The tasks of a running chat. They end when this is dropped, or in order with [`Background::stop`].
#[derive(Debug)]
#[must_use = "dropping it ends the tasks"]
pub struct Background {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Background {
    /// Lets every task finish what it is doing, and waits for that.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Chat {
    /// Starts the tasks: the relay, the sweeps of presence and typing, and the derive worker. Needs a Tokio runtime.
    pub fn start(&self) -> Background {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().relay(stopped.clone()));
        tasks.spawn(self.clone().sweep(stopped.clone()));
        tasks.spawn(self.clone().derive_all(stopped));
        Background { stop, tasks }
    }

    /// Publishes everything truth has written, in order per key; says how many events. What fails stays for the next
    /// time.
    ///
    /// # Errors
    /// Those of the outbox and the publisher.
    pub async fn relay_once(&self) -> Result<usize> {
        let ports = &self.inner.ports;
        let mut published = 0;
        loop {
            let batch = ports.outbox.claim(&self.inner.node, RELAY_BATCH, RELAY_LEASE).await?;
            if batch.is_empty() {
                return Ok(published);
            }
            ports.publisher.publish_many(&batch).await?;
            let ids: Vec<_> = batch.iter().map(|envelope| envelope.id.clone()).collect();
            ports.outbox.clear(&self.inner.node, &ids).await?;
            published += batch.len();
        }
    }

    async fn relay(self, mut stopped: watch::Receiver<bool>) {
        loop {
            // The last look begins after the last write.
            let is_last = *stopped.borrow();
            let rest = match self.relay_once().await {
                Ok(_) => RELAY_POLL,
                Err(error) => {
                    metrics::counter!("chat_relay_failures_total").increment(1);
                    tracing::warn!(code = %error.code(), "the relay could not publish");
                    REST
                }
            };
            if is_last {
                return;
            }
            tokio::select! {
                () = self.inner.written.notified() => {}
                () = tokio::time::sleep(rest) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    async fn sweep(self, mut stopped: watch::Receiver<bool>) {
        while rest(SWEEP_EVERY, &mut stopped).await {
            self.expire_typing().await;
            if let Err(error) = self.sweep_presence().await {
                tracing::warn!(code = %error.code(), "presence could not be swept");
            }
        }
    }

    async fn derive_all(self, mut stopped: watch::Receiver<bool>) {
        let Some(consumer) = self.inner.ports.derive.clone() else { return };
        loop {
            let found =
                until_stopped(self.derive_once(&consumer, DERIVE_WAIT, DERIVE_IDLE), &mut stopped).await;
            match found {
                None => return,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::warn!(code = %error.code(), "derived state lags behind");
                    if !rest(REST, &mut stopped).await {
                        return;
                    }
                }
            }
        }
    }
}

/// Waits; false when stopped.
async fn rest(time: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    until_stopped(tokio::time::sleep(time), stopped).await.is_some()
}

/// The answer of `work`, unless stopped before.
async fn until_stopped<T>(work: impl Future<Output = T>, stopped: &mut watch::Receiver<bool>) -> Option<T> {
    tokio::select! {
        answer = work => Some(answer),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    }
}
