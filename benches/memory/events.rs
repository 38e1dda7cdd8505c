//! The event log.

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, acting};
use chat_core::domain::EventId;
use chat_core::event::{Envelope, Topic};
use chat_core::memory::MemoryEvents;
use chat_core::store::events::TailCursor;
use chat_core::store::{EventConsumer, EventPublisher, EventTail};
use chat_testkit::sample;

use crate::field::Field;

const TOPIC: Topic = Topic::Notifications;

pub(crate) fn rows(field: &mut Field) {
    field.row("events publish", 1, |_, memory| publishing(memory.events, 1));
    field.row("events publish 128", 128, |_, memory| publishing(memory.events, 128));
    field.row("events publish, fetch, acknowledge 100", 100, |_, memory| {
        let (events, sample) = (memory.events, samples(100));
        let member = Arc::new(events.consumer("group", "one", &[TOPIC], true));
        acting(move |task, nth| {
            let (events, member, some) =
                (Arc::clone(&events), Arc::clone(&member), named(&sample, task, nth));
            async move {
                events.publish_many(&some).await.unwrap();
                let found = member.fetch(100, Duration::ZERO).await.unwrap();
                let receipts: Vec<_> = found.into_iter().map(|delivery| delivery.receipt).collect();
                member.ack(&receipts).await.unwrap();
            }
        })
    });
    field.row("events tail, 100 new ones", 100, |field, memory| {
        let events = memory.events;
        let from: Arc<Vec<TailCursor>> = field.prepare(async {
            let from = events.ends(&[TOPIC]).await.unwrap();
            events.publish_many(&named(&samples(100), 0, 0)).await.unwrap();
            Arc::new(from)
        });
        acting(move |_, _| {
            let (events, from) = (Arc::clone(&events), Arc::clone(&from));
            async move { assert_eq!(events.read_since(&from, 100, Duration::ZERO).await.unwrap().len(), 1) }
        })
    });
}

fn samples(count: usize) -> Vec<Envelope> {
    (0..count).map(|nth| sample::notice(&format!("user{nth:03}"), nth)).collect()
}

/// The same events under ids of their own.
fn named(sample: &[Envelope], task: usize, nth: usize) -> Vec<Envelope> {
    let event = |(of, event): (usize, &Envelope)| {
        let id = EventId::new(format!("{task:08x}-{of:04x}-5000-8000-{nth:012x}")).unwrap();
        Envelope { id, ..event.clone() }
    };
    sample.iter().enumerate().map(event).collect()
}

/// The events are named here, and so count among what is allocated.
fn publishing(events: Arc<MemoryEvents>, count: usize) -> Act {
    let sample = samples(count);
    acting(move |task, nth| {
        let (events, some) = (Arc::clone(&events), named(&sample, task, nth));
        async move {
            events.publish_many(&some).await.unwrap();
        }
    })
}
