//! What `cargo xtask capacity` reckons with: the cost of each operation beside ten thousand users online.

use std::sync::Arc;
use std::time::Duration;

use chat_benches::{Act, Curve, Figures, Growth, Place, Ring, acting};
use chat_core::domain::{ClientKey, ConversationKind, Message, MessageKind};
use chat_core::event::Topic;
use chat_core::store::events::TailRead;
use chat_core::store::limits::{Attempt, Limit, Rule, Subject};
use chat_core::store::{EventConsumer, EventPublisher, EventTail, RateLimiterExt, UserStore};
use chat_streams::{Start, Streams, StreamsOptions};

use crate::field::{Field, user};
use crate::memory::{event, profiles, sample};

pub(crate) const AXIS: &str = "costs";
/// How many events are published, handed out and read at once.
const EVENTS: usize = 16;
const READ: usize = 100;

/// One thing the model counts: which operation tells of it, and how many of these one operation is.
pub(crate) struct Cost {
    pub(crate) name: &'static str,
    pub(crate) figures: Figures,
}

/// The operations nothing else measures.
pub(crate) fn curves(ring: &Ring, field: &Field) -> Vec<Curve> {
    let curve = |name: &str, act: Act| {
        let place = Place { size: 1, returned: 1, server: Some(Arc::clone(&field.server)), act };
        Curve { axis: AXIS, name: name.to_owned(), places: vec![place] }
    };
    let streams = Streams::new(&field.redis.service, StreamsOptions::default()).unwrap();
    let (publisher, tail) = (Arc::new(streams.publisher()), Arc::new(streams.tail()));
    let (sample, cursor, handed_out) = ring.prepare(async {
        profiles(field, 1_000).await;
        let sample = sample(field).await;
        let cursor = tail.ends(&[Topic::MessagesSystem]).await.unwrap().remove(0);
        let some: Vec<_> = (0..READ + 1).map(|nth| event(&of_system(&sample), nth)).collect();
        publisher.publish_many(&some).await.unwrap();
        let reads = tail.read_since(std::slice::from_ref(&cursor), 1, Duration::ZERO).await.unwrap();
        let TailRead::Events { next, .. } = &reads[0] else { panic!("a log without a gap") };
        let topics = [Topic::MessagesPrivate];
        let member = streams.consumer("derive", "growth", &topics, Start::Now).await.unwrap();
        (Arc::new(sample), next.clone(), Arc::new(member))
    });
    let publishing = {
        let (publisher, sample) = (Arc::clone(&publisher), Arc::clone(&sample));
        acting(move |_, nth| {
            let (publisher, sample) = (Arc::clone(&publisher), Arc::clone(&sample));
            async move { publish(&*publisher, &sample, nth).await }
        })
    };
    vec![
        curve("rate limit", {
            let limits = Arc::clone(&field.redis.limits);
            acting(move |task, nth| {
                let limits = Arc::clone(&limits);
                async move {
                    let (who, key) = (user(nth % 1_000), ClientKey::new(format!("{task}-{nth}")).unwrap());
                    let rule = Rule::new("messages", Limit::per_minute(30));
                    limits.check(&Attempt::new(Subject::user(&who), key).under(rule)).await.unwrap();
                }
            })
        }),
        curve("20 profiles", {
            let users = Arc::clone(&field.redis.users);
            acting(move |_, nth| {
                let users = Arc::clone(&users);
                async move {
                    let ids: Vec<_> = (0..20).map(|step| user((nth * 20 + step) % 1_000)).collect();
                    assert!(users.get_many(&ids).await.unwrap().iter().all(Option::is_some));
                }
            })
        }),
        curve("publish 16 events", publishing),
        curve("publish 16 events, hand them out, acknowledge", {
            // In another topic: one that has a group is trimmed only as far as that has come.
            let (publisher, sample) = (Arc::clone(&publisher), Arc::new(direct(&sample)));
            acting(move |_, nth| {
                let (publisher, sample) = (Arc::clone(&publisher), Arc::clone(&sample));
                let consumer = Arc::clone(&handed_out);
                async move {
                    publish(&*publisher, &sample, nth).await;
                    let some = consumer.fetch(2 * EVENTS, Duration::ZERO).await.unwrap();
                    let receipts: Vec<_> = some.into_iter().map(|delivery| delivery.receipt).collect();
                    consumer.ack(&receipts).await.unwrap();
                }
            })
        }),
        curve("follow the log, 100 events", {
            let (tail, cursor) = (Arc::clone(&tail), Arc::new(cursor));
            acting(move |_, _| {
                let (tail, cursor) = (Arc::clone(&tail), Arc::clone(&cursor));
                async move {
                    let reads = tail.read_since(std::slice::from_ref(&*cursor), READ, Duration::ZERO).await;
                    assert_eq!(reads.unwrap().len(), 1);
                }
            })
        }),
    ]
}

fn direct(sample: &Message) -> Message {
    Message { receiver_id: Some(user(1)), conversation_kind: ConversationKind::Direct, ..sample.clone() }
}

fn of_system(sample: &Message) -> Message {
    Message { kind: MessageKind::System, sender_id: None, ..sample.clone() }
}

async fn publish(publisher: &dyn EventPublisher, sample: &Message, nth: usize) {
    let some: Vec<_> = (0..EVENTS).map(|step| event(sample, nth * EVENTS + step)).collect();
    publisher.publish_many(&some).await.unwrap();
}

/// What the model counts, from what was measured.
pub(crate) fn told(found: &[Growth]) -> Vec<Cost> {
    let of = |axis: &str, name: &str, size: usize, parts: f64| {
        let growth = found.iter().find(|growth| growth.axis == axis && growth.name == name)?;
        let (_, _, figures) = growth.points.iter().find(|(at, ..)| *at == size)?;
        Some(each(*figures, parts))
    };
    let online = |name, parts| of(crate::online::AXIS, name, 10_000, parts);
    let rooms = |name, size| of(crate::members::ROOMS_AXIS, name, size, 1.0);
    let own = |name, parts| of(AXIS, name, 1, parts);
    let batch = crate::online::BATCH as f64;
    let handed_out = own("publish 16 events, hand them out, acknowledge", EVENTS as f64)
        .zip(own("publish 16 events", EVENTS as f64))
        .map(|(both, published)| less(both, published));
    let costs = [
        ("renew a lease, in batches", online("heartbeats of 128", batch)),
        ("idle or not, in batches", online("who of 128 is idle", batch)),
        ("connect and disconnect", online("connect and disconnect", 1.0)),
        ("sweep", online("sweep, nothing due", 1.0)),
        ("send", online("send to a group of 100", 1.0)),
        ("mark read", online("mark read", 1.0)),
        ("presence of one", online("presence of one", 1.0)),
        ("role of a member", of(crate::members::MEMBERS_AXIS, "role of a member", 100, 1.0)),
        ("total unread of 10 rooms", rooms("total unread", 10)),
        ("total unread of 100 rooms", rooms("total unread", 100)),
        ("list of 20 conversations", rooms("list of conversations, a page of 20", 100)),
        ("rate limit", own("rate limit", 1.0)),
        ("profile, in batches", own("20 profiles", 20.0)),
        ("publish an event, in batches", own("publish 16 events", EVENTS as f64)),
        ("hand an event out, in batches", handed_out),
        ("follow the log, an event", own("follow the log, 100 events", READ as f64)),
    ];
    costs.into_iter().filter_map(|(name, figures)| Some(Cost { name, figures: figures? })).collect()
}

fn each(figures: Figures, parts: f64) -> Figures {
    combine(figures, Figures::default(), |one, _| one / parts)
}

fn less(figures: Figures, other: Figures) -> Figures {
    combine(figures, other, |one, other| (one - other).max(0.0))
}

fn combine(one: Figures, other: Figures, by: impl Fn(f64, f64) -> f64) -> Figures {
    Figures {
        client: by(one.client, other.client),
        server: by(one.server, other.server),
        commands: by(one.commands, other.commands),
        bytes_in: by(one.bytes_in, other.bytes_in),
        bytes_out: by(one.bytes_out, other.bytes_out),
        wall: by(one.wall, other.wall),
    }
}
