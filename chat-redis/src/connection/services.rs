//! Services by name: seed 001's `RedisFactory`.

use std::collections::BTreeMap;

use chat_core::error::{Code, Error, Result};
use parking_lot::Mutex;

use super::{ConnectionStats, RedisService};
use crate::config::RedisConfig;

/// Services by name, each made once (seed 001's `RedisFactory`).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use chat_redis::{RedisConfig, RedisServices};
///
/// let services = RedisServices::new(RedisConfig::default());
/// let chat = services.service("chat")?;
/// assert_eq!(services.get("chat").unwrap().name(), chat.name());
///
/// let elsewhere = RedisConfig::from_url("redis://auth.internal/1")?.named("auth");
/// services.create(&elsewhere)?;
/// assert!(services.create(&RedisConfig::default().named("auth")).is_err(), "it is somewhere else already");
/// # Ok::<_, chat_core::error::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct RedisServices {
    default: RedisConfig,
    services: Mutex<BTreeMap<String, (RedisConfig, RedisService)>>,
}

impl RedisServices {
    /// No services yet; `default` is for those that have no configuration of their own.
    pub fn new(default: RedisConfig) -> Self {
        Self { default, services: Mutex::default() }
    }

    /// What services without a configuration of their own are made of.
    pub fn default_config(&self) -> &RedisConfig {
        &self.default
    }

    /// The service of this name, made of the default configuration if there is none.
    ///
    /// # Errors
    /// Those of [`RedisServices::create`].
    pub fn service(&self, name: &str) -> Result<RedisService> {
        match self.get(name) {
            Some(service) => Ok(service),
            None => self.create(&self.default.clone().named(name)),
        }
    }

    /// The service of this name and configuration. It is made at the first call, and connects with its first operation or
    /// by [`RedisService::ready`].
    ///
    /// # Atomicity
    /// Of several calls at once, all get the same service.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for a bad configuration, and when there is a service of this name with another one.
    pub fn create(&self, config: &RedisConfig) -> Result<RedisService> {
        let mut services = self.services.lock();
        match services.get(&config.name) {
            Some((known, service)) if known == config => Ok(service.clone()),
            Some(_) => {
                let reason = format!("there is a service {:?} with another configuration", config.name);
                Err(Error::invalid(Code::ConfigInvalid, reason))
            }
            None => {
                let service = RedisService::lazy(config)?;
                services.insert(config.name.clone(), (config.clone(), service.clone()));
                Ok(service)
            }
        }
    }

    /// The service of this name, if it was made.
    pub fn get(&self, name: &str) -> Option<RedisService> {
        self.services.lock().get(name).map(|(_, service)| service.clone())
    }

    /// What happened to the connections of each.
    pub fn stats(&self) -> BTreeMap<String, ConnectionStats> {
        let services = self.services.lock();
        services.iter().map(|(name, (_, service))| (name.clone(), service.stats())).collect()
    }

    /// Closes and forgets all of them.
    pub fn disconnect_all(&self) {
        for (_, (_, service)) in std::mem::take(&mut *self.services.lock()) {
            service.close();
        }
    }
}
