//! What every client of the driver has: a voice, and an end that holds nobody up.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// Says what the driver says, in this crate's way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice(pub(super) &'static str);

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info => {
                tracing::debug!(client = self.0, facility, "{message}");
            }
            _ => tracing::warn!(client = self.0, facility, "{message}"),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        metrics::counter!("chat_kafka_failures_total", "client" => self.0).increment(1);
        tracing::warn!(client = self.0, ?error, "{reason}");
    }
}

/// Something whose end waits for others: it ends on a thread of its own.
#[derive(Debug)]
pub(super) struct Aside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Aside<T> {
    pub(super) fn new(inner: T) -> Self {
        Self(Some(inner))
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    pub(super) fn into_inner(mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            // Where there is no thread to be had, it ends here.
            let _ = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(inner));
        }
    }
}
