//! [`KafkaConfig`]: where Kafka is, who we are there, and what goes where.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chat_core::config::{Env, Secret};
use chat_core::error::{Code, Error, Result};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::env;
use super::routes::KafkaRoutes;
use crate::consumer::Start;

/// Properties a promise depends on, and those that have a field: they are not for others to set.
const KEPT: &[&str] = &[
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "isolation.level",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "transactional.id",
];

/// Where Kafka is, who we are there, and what goes where.
///
/// ```
/// use chat_streams::kafka::{KafkaConfig, KafkaRoutes};
///
/// let config = KafkaConfig::new("kafka-1:9092,kafka-2:9092", KafkaRoutes::seed("chat"))
///     .set("security.protocol", "SASL_SSL")?
///     .set("sasl.password", "secret")?;
/// assert!(!format!("{config:?}").contains("secret"));
/// assert!(config.set("acks", "1").is_err());
/// # Ok::<_, chat_core::error::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// Where: `host:port`, several of them behind commas.
    pub brokers: String,
    /// What we call ourselves; `chat` by default.
    pub client_id: String,
    /// The consumer group of a source; `chat` by default.
    pub group: String,
    /// How long the brokers may take to acknowledge a record, attempts of the driver included; then the sink says that
    /// Kafka is away, and its worker sends the event again. 15 s by default.
    pub delivery_timeout: Duration,
    /// What goes where.
    pub routes: KafkaRoutes,
    properties: BTreeMap<String, Secret>,
}

impl fmt::Debug for KafkaConfig {
    /// Of the properties only the names: any of them may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("group", &self.group)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("routes", &self.routes)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl KafkaConfig {
    /// These brokers, and these routes.
    pub fn new(brokers: impl Into<String>, routes: KafkaRoutes) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "chat".to_owned(),
            group: "chat".to_owned(),
            delivery_timeout: Duration::from_secs(15),
            routes,
            properties: BTreeMap::new(),
        }
    }

    /// Reads these variables:
    ///
    /// | variable | default | |
    /// |---|---|---|
    /// | `KAFKA_BROKERS`, or `KAFKA_BOOTSTRAP_SERVERS` | `localhost:9092` | `host:port,host:port` |
    /// | `KAFKA_CLIENT_ID`, `KAFKA_GROUP_ID` | `chat` | |
    /// | `KAFKA_LOG` | `chat` | [`KafkaRoutes::log`]; must be given where anything is received |
    /// | `KAFKA_SEND` | what seed 000 sends | `message.edited=topic, file.uploaded=topic`; `none` for nothing |
    /// | `KAFKA_RECEIVE` | nothing | `topic=user.profile.updated+user.profile.deleted`; `topic=*` for everything |
    /// | `KAFKA_DELIVERY_TIMEOUT` | 15000 | ms: [`delivery_timeout`](Self::delivery_timeout) |
    /// | `KAFKA_SECURITY_PROTOCOL`, `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME`, `KAFKA_SASL_PASSWORD`, `KAFKA_SSL_CA` | | the properties of these names |
    ///
    /// What Kubernetes adds for a service called `kafka` (`KAFKA_PORT…`, `KAFKA_SERVICE_…`) is left alone.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem, and no value.
    pub fn from_env() -> Result<Self> {
        let pairs = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let is_ours = |name: &str| !name.starts_with("KAFKA_PORT") && !name.starts_with("KAFKA_SERVICE_");
        Self::from_variables(Env::from_pairs("KAFKA", pairs.filter(|(name, _)| is_ours(name))))
    }

    /// The same from given variables.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem, and no value.
    pub fn from_variables(env: Env) -> Result<Self> {
        env::read(env)
    }

    /// Sets a property of librdkafka, such as `sasl.username` or `compression.type`. TLS and SASL need a driver built with
    /// them: enable the feature `ssl` of the crate `rdkafka` 0.39 in your own `Cargo.toml`.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for a property that a promise depends on (`acks`, `enable.idempotence`, `partitioner`,
    /// `enable.auto.commit`, `isolation.level`, …), or that is a field here.
    pub fn set(mut self, property: &str, value: impl Into<String>) -> Result<Self> {
        if KEPT.contains(&property) {
            let reason = format!("Kafka: the property {property} is not for others to set");
            return Err(Error::invalid(Code::ConfigInvalid, reason));
        }
        self.properties.insert(property.to_owned(), Secret::new(value));
        Ok(self)
    }

    /// Whether a text holds the value of a property.
    pub(super) fn tells_a_secret(&self, text: &str) -> bool {
        self.properties.values().any(|value| !value.expose().is_empty() && text.contains(value.expose()))
    }

    /// What a client of either sort is made of.
    fn common(&self) -> Result<ClientConfig> {
        if self.brokers.trim().is_empty() {
            return Err(Error::invalid(Code::ConfigInvalid, "Kafka: there is no broker"));
        }
        let mut config = ClientConfig::new();
        // Else the driver asks the crate `log`, which nobody may have set up.
        let is_wordy = self.properties.contains_key("debug");
        config.set_log_level(if is_wordy { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning });
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.refresh.interval.ms", "10000");
        for (name, value) in &self.properties {
            config.set(name.as_str(), value.expose());
        }
        config.set("bootstrap.servers", self.brokers.as_str());
        config.set("client.id", self.client_id.as_str());
        Ok(config)
    }

    /// A producer: acknowledged by all, each record once and in order for as long as it lives, partitions as the clients in
    /// Java and Node choose them.
    pub(super) fn producer(&self) -> Result<ClientConfig> {
        let mut config = self.common()?;
        config.set("acks", "all");
        config.set("enable.idempotence", "true");
        config.set("partitioner", "murmur2_random");
        config.set("message.timeout.ms", self.delivery_timeout.as_millis().max(1).to_string());
        if !self.properties.contains_key("linger.ms")
            && !self.properties.contains_key("queue.buffering.max.ms")
        {
            // Each key waits for its acknowledgement: there is little to wait for.
            config.set("linger.ms", "1");
        }
        Ok(config)
    }

    /// A consumer, which commits what it is told to and when.
    pub(super) fn consumer(&self, start: Start) -> Result<ClientConfig> {
        let mut config = self.common()?;
        if !self.properties.contains_key("queued.max.messages.kbytes") {
            config.set("queued.max.messages.kbytes", "16384");
        }
        config.set("group.id", self.group.as_str());
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        let reset = match start {
            Start::Now => "latest",
            Start::Beginning => "earliest",
        };
        config.set("auto.offset.reset", reset);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_a_promise_stays() {
        let config = || KafkaConfig::new("localhost:9092", KafkaRoutes::seed("chat"));
        for property in KEPT {
            let error = config().set(property, "s3cret").unwrap_err();
            assert!(error.code() == Code::ConfigInvalid && !format!("{error:?}").contains("s3cret"));
        }
        let producer = config().set("linger.ms", "5").unwrap().producer().unwrap();
        let get = |name| producer.get(name);
        assert_eq!((get("acks"), get("enable.idempotence")), (Some("all"), Some("true")));
        assert_eq!((get("partitioner"), get("linger.ms")), (Some("murmur2_random"), Some("5")));
        let consumer = config().consumer(Start::Beginning).unwrap();
        let get = |name| consumer.get(name);
        assert_eq!(
            (get("enable.auto.commit"), get("isolation.level")),
            (Some("false"), Some("read_committed"))
        );
        assert_eq!(
            (get("auto.offset.reset"), get("enable.auto.offset.store")),
            (Some("earliest"), Some("false"))
        );
    }

    #[test]
    fn nobody_reads_a_secret() {
        let config = KafkaConfig::new("localhost:9092", KafkaRoutes::seed("chat"));
        let config = config.set("sasl.password", "s3cret").unwrap();
        assert!(!format!("{config:?}").contains("s3cret") && format!("{config:?}").contains("sasl.password"));
        assert!(config.tells_a_secret("is s3cret bad?") && !config.tells_a_secret("nothing"));
    }

    #[test]
    fn there_has_to_be_a_broker() {
        assert!(KafkaConfig::new(" ", KafkaRoutes::seed("chat")).producer().is_err());
    }
}
