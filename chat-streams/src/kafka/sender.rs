//! What the sink and the dead letters share: a producer that is replaced when it broke for good.

use std::sync::Arc;
use std::time::Duration;

use chat_core::error::{Code, Error, Result};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Said};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use tokio::sync::RwLock;

use super::client::{Aside, Voice};
use super::config::KafkaConfig;
use super::error::{creation, error};

/// How long brokers may take to answer that are there.
const ANSWER: Duration = Duration::from_secs(1);

type Link = FutureProducer<Voice>;

/// A record on its way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Sends records, and answers when the brokers acknowledged them.
pub(super) struct Sender {
    operation: &'static str,
    voice: Voice,
    config: ClientConfig,
    /// How large a record may be here, in bytes.
    largest: usize,
    current: Mutex<Arc<Aside<Link>>>,
    /// Held by everything on its way; alone by what was too large in company.
    company: RwLock<()>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("client", &self.voice.0).finish_non_exhaustive()
    }
}

impl Sender {
    /// # Errors
    /// [`Code::ConfigInvalid`] when the driver does not take the configuration.
    pub(super) fn new(config: &KafkaConfig, name: &'static str, operation: &'static str) -> Result<Self> {
        let (native, voice) = (config.producer()?, Voice(name));
        let link = connect(&native, voice).map_err(|failure| creation(config, &failure))?;
        let largest =
            native.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(1_000_000);
        let current = Mutex::new(Arc::new(Aside::new(link)));
        Ok(Self { operation, voice, config: native, largest, current, company: RwLock::default() })
    }

    /// Sends a record; it is in its topic when this returns.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`] when it is, on its own; [`Code::Unavailable`] when the brokers did not acknowledge it in
    /// time, or not for a reason of their own.
    pub(super) async fn send(&self, record: Outgoing<'_>) -> Result<()> {
        let together = self.company.read().await;
        let failure = match self.attempt(record).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        drop(together);
        match failure.rdkafka_error_code() {
            Some(Said::MessageSizeTooLarge | Said::MessageBatchTooLarge) if !self.is_too_large(record) => {}
            _ => return Err(self.error(&failure)),
        }
        // The brokers refuse a batch as a whole: alone, what is small enough gets through.
        let _alone = self.company.write().await;
        self.attempt(record).await.map_err(|failure| self.error(&failure))
    }

    /// Whether the brokers answer.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when none does in time.
    pub(super) async fn check(&self, patience: Duration) -> Result<()> {
        let link = self.link();
        let asked = tokio::task::spawn_blocking(move || {
            link.get().map(|link| link.client().fetch_metadata(None, patience).map(drop))
        });
        match asked.await {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(failure))) => Err(Error::new(Code::Unavailable)
                .during("kafka.check")
                .with("kafka", format_args!("{:?}", failure.rdkafka_error_code()))),
            Ok(None) | Err(_) => Err(Error::new(Code::Unavailable).during("kafka.check")),
        }
    }

    fn is_too_large(&self, record: Outgoing<'_>) -> bool {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        length(record.key) + length(record.value) > self.largest
    }

    fn error(&self, failure: &KafkaError) -> Error {
        let error = error(self.operation, failure);
        if error.code() == Code::PayloadTooLarge { error.with("max", self.largest) } else { error }
    }

    fn link(&self) -> Arc<Aside<Link>> {
        Arc::clone(&self.current.lock())
    }

    async fn attempt(&self, record: Outgoing<'_>) -> std::result::Result<(), KafkaError> {
        let held = self.link();
        let Some(link) = held.get() else { return Err(KafkaError::Canceled) };
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record
            .headers
            .iter()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: *value }));
        let mut outgoing = FutureRecord::<[u8], [u8]>::to(record.topic).headers(headers);
        (outgoing.key, outgoing.payload) = (record.key, record.value);
        match link.send(outgoing, Timeout::After(Duration::ZERO)).await {
            Ok(_) => Ok(()),
            Err((failure, _)) => {
                if link.client().fatal_error().is_some() || self.is_stuck(&held, &failure).await {
                    self.replace(&held);
                }
                Err(failure)
            }
        }
    }

    /// Whether a producer gets nothing through though the brokers answer: they may have forgotten it, as after they lost
    /// their data, and it insists.
    async fn is_stuck(&self, link: &Arc<Aside<Link>>, failure: &KafkaError) -> bool {
        failure.rdkafka_error_code() == Some(Said::MessageTimedOut)
            && Arc::ptr_eq(link, &self.link())
            && self.check(ANSWER).await.is_ok()
    }

    /// An idempotent producer which cannot know any more what is in a topic gives up for good. Another one takes over:
    /// what was on its way is sent again by whoever waits for it.
    fn replace(&self, broken: &Arc<Aside<Link>>) {
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current, broken) {
            return;
        }
        match connect(&self.config, self.voice) {
            Ok(link) => {
                tracing::warn!(client = self.voice.0, "the producer broke, and is replaced");
                *current = Arc::new(Aside::new(link));
            }
            Err(_) => {
                tracing::error!(client = self.voice.0, "the producer broke, and cannot be replaced yet")
            }
        }
    }
}

fn connect(config: &ClientConfig, voice: Voice) -> std::result::Result<Link, KafkaError> {
    config.create_with_context(voice)
}
