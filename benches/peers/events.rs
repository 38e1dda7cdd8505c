//! What happened, for other services.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::clock::Timestamp;
use chat_core::domain::EventId;
use chat_core::event::{Envelope, UserProfileUpdated};
use chat_core::store::EventPublisher;
use chat_streams::{Streams, StreamsOptions};

use crate::field::Field;
use crate::users::person;

pub(crate) fn rows(field: &mut Field<'_>) {
    let streams = Streams::new(&field.stage.redis.service, StreamsOptions::default()).unwrap();
    let publisher = Arc::new(streams.publisher());
    let at = Timestamp::from_millis(1_736_862_000_000);
    let sample = Arc::new(Envelope::new(&["profile"], at, UserProfileUpdated::from(&person(1, 1))));
    let publish = acting(move |task, nth| {
        let (publisher, sample) = (Arc::clone(&publisher), Arc::clone(&sample));
        async move {
            // Ids are UUIDs, as derived ones are.
            let id = EventId::new(format!("{task:08x}-0000-5000-8000-{nth:012x}")).unwrap();
            let event = Envelope { id, ..(*sample).clone() };
            publisher.publish_many(&[event]).await.unwrap();
        }
    });
    field.add("publish an event", "events.publish", publish);
}
