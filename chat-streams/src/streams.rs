//! [`Streams`]: the event log on Redis, from which everything else is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_core::error::{Code, Error, Result};
use chat_core::event::Topic;
use chat_core::service::{ChatBuilder, DERIVED};
use chat_redis::driver::{Command, Script, Store};
use chat_redis::{KeySpace, RedisService};

use crate::consumer::{Start, StreamConsumer};
use crate::dead_letters::StreamDeadLetters;
use crate::options::StreamsOptions;
use crate::place::Place;
use crate::position::another_life;
use crate::publisher::StreamPublisher;
use crate::tail::StreamTail;

/// The event log on Redis Streams. Clones share everything.
///
/// Truth for as long as Redis keeps it: what was published is in a stream until it is trimmed, and it is not trimmed before
/// every group has acknowledged it.
#[derive(Debug, Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: RedisService,
    store: Store,
    options: StreamsOptions,
    places: BTreeMap<Topic, Place>,
}

impl Streams {
    /// The streams of a service.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] when the names hold braces that are no hash tag.
    pub fn new(service: &RedisService, options: StreamsOptions) -> Result<Self> {
        let place = |topic: &Topic| Ok((*topic, Place::new(&options.names, *topic)?));
        let places = Topic::ALL.iter().map(place).collect::<Result<_>>()?;
        let store = Store::new(service.clone(), KeySpace::default());
        Ok(Self { inner: Arc::new(Inner { service: service.clone(), store, options, places }) })
    }

    /// Writes facts.
    pub fn publisher(&self) -> StreamPublisher {
        StreamPublisher::new(self.clone())
    }

    /// Reads everything, by its own cursors.
    pub fn tail(&self) -> StreamTail {
        StreamTail::new(self.clone())
    }

    /// A member of a consumer group. The group is registered with its first member; a later one joins it where it is.
    ///
    /// # Errors
    /// [`Code::IdInvalid`] for a name that is no id.
    pub async fn consumer(
        &self,
        group: &str,
        member: &str,
        topics: &[Topic],
        start: Start,
    ) -> Result<StreamConsumer> {
        StreamConsumer::join(self.clone(), group, member, topics, start).await
    }

    /// A member of a consumer group, without asking Redis for anything: for hosts that start while it is away. A group that is
    /// not registered yet is with the first fetch, and begins with everything that is still kept.
    ///
    /// # Errors
    /// [`Code::IdInvalid`] for a name that is no id.
    pub fn lazy_consumer(&self, group: &str, member: &str, topics: &[Topic]) -> Result<StreamConsumer> {
        StreamConsumer::new(self.clone(), group, member, topics)
    }

    /// The builder with this log instead of its own: events are published to it and followed in it, and what is derived is
    /// repeated by the group `derive`, of which `node` is a member. Every process is a node of its own.
    ///
    /// Redis need not be there yet.
    ///
    /// # Errors
    /// [`Code::IdInvalid`] for a node whose name is no id.
    pub fn equip(&self, builder: ChatBuilder, node: &str) -> Result<ChatBuilder> {
        let derive = self.lazy_consumer("derive", node, DERIVED)?;
        Ok(builder.publisher(Arc::new(self.publisher())).tail(Arc::new(self.tail())).derive(Arc::new(derive)))
    }

    /// What groups gave up.
    pub fn dead_letters(&self) -> StreamDeadLetters {
        StreamDeadLetters::new(self.clone())
    }

    pub(crate) fn service(&self) -> &RedisService {
        &self.inner.service
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn options(&self) -> &StreamsOptions {
        &self.inner.options
    }

    pub(crate) fn place(&self, topic: Topic) -> Result<&Place> {
        let unknown = || Error::new(Code::Internal).with("reason", "a topic that is not in the table");
        self.inner.places.get(&topic).ok_or_else(unknown)
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.inner.places.values()
    }

    /// A script on a stream; the time and a name for another life are its first two arguments.
    pub(crate) fn script(&self, script: &'static Script, place: &Place) -> Command {
        self.store().script(script, &place.keys()).arg(another_life())
    }
}
