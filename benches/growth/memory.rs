//! What one thing takes of the memory of Redis, where there are few and where there are many.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chat_benches::Ring;
use chat_core::clock::Timestamp;
use chat_core::domain::message::Message;
use chat_core::domain::{Mentions, ReadPosition, Seq, UserProfile};
use chat_core::event::{Envelope, MessageSent};
use chat_core::store::cache::{CacheExt, CacheScope};
use chat_core::store::rooms::NewRoom;
use chat_core::store::unread::{Advance, AdvanceTo, Recorded};
use chat_core::store::{EventPublisher, MessageStore, PresenceStore, RoomStore, UnreadStore, UserStore};
use chat_streams::{Streams, StreamsOptions};

use crate::field::{Field, TEXT, conversation, each, member, room, said, session, user};

/// How many there are: few and many.
const COUNTS: [usize; 2] = [10_000, 100_000];
/// The same of events: a log keeps no more of a topic than twenty thousand.
const EVENTS: [usize; 2] = [2_000, 16_000];
/// How many events are published at a time to see what is left of them.
const IDS: usize = 60_000;
/// What a cached value has.
const VALUE: usize = 200;
/// How many events are published at once.
const AT_ONCE: usize = 100;

/// What it is, and the bytes of one where there are few and where there are many.
pub(crate) struct Bytes {
    pub(crate) name: String,
    pub(crate) few: f64,
    pub(crate) many: f64,
}

/// Measures each kind on an empty server.
pub(crate) fn measure(ring: &Ring) -> Vec<Bytes> {
    let mut found = Vec::new();
    for members in [2, 10, 100] {
        let name = format!("room index: a member of a room of {members}");
        found.extend(kind(ring, name, COUNTS, |field, count| ring.prepare(rooms(field, count, members))));
    }
    for members in [2, 10, 100, 1_000] {
        let name = format!("unread: a reader of a conversation of {members}");
        found.extend(kind(ring, name, COUNTS, |field, count| ring.prepare(unread(field, count, members))));
    }
    let name = "presence: a user who has gone, for 30 days".to_owned();
    found.extend(kind(ring, name, COUNTS, |field, count| ring.prepare(gone(field, count))));
    found.extend(kind(ring, "profile".into(), COUNTS, |field, count| ring.prepare(profiles(field, count))));
    let name = format!("cached value of {VALUE} bytes");
    found.extend(kind(ring, name, COUNTS, |field, count| ring.prepare(cached(field, count))));
    let name = "event of a message in the log, its id included".to_owned();
    found.extend(kind(ring, name, EVENTS, |field, count| ring.prepare(events(field, 0..count))));
    found.extend(remembered(ring));
    found
}

fn kind(ring: &Ring, name: String, counts: [usize; 2], fill: impl Fn(&Field, usize)) -> Option<Bytes> {
    let each = |count: usize| {
        let field = Field::set(ring)?;
        let before = field.memory();
        fill(&field, count);
        Some((field.memory() - before) / count as f64)
    };
    let [few, many] = counts;
    let bytes = Bytes { few: each(few)?, many: each(many)?, name };
    println!("{}: {:.0} bytes of {few}, {:.0} of {many}", bytes.name, bytes.few, bytes.many);
    Some(bytes)
}

/// So many members in all, in rooms of this size, each in ten rooms.
pub(crate) async fn rooms(field: &Field, memberships: usize, members: usize) {
    let (rooms, users) = (memberships / members, memberships / 10);
    each(0..rooms, |nth| async move {
        let new = NewRoom {
            id: room(&nth.to_string()),
            kind: "GROUP".into(),
            name: None,
            max_members: None,
            members: people(nth, members, users).map(member).collect(),
        };
        assert!(field.redis.rooms.create(&new).await.unwrap());
    })
    .await;
}

/// Who is in the nth room: everybody is in ten.
fn people(nth: usize, members: usize, users: usize) -> impl Iterator<Item = usize> {
    // Rooms share neighbours, never all members.
    (0..members).map(move |step| (nth * members + step) % users)
}

/// So many readers in all, in conversations of this size.
pub(crate) async fn unread(field: &Field, readers: usize, members: usize) {
    let users = (readers / 10).max(members);
    each(0..readers / members, |nth| async move {
        let conversation = conversation(&nth.to_string());
        let sender = Some(user(nth * members % users));
        let new = Recorded {
            conversation: conversation.clone(),
            seq: Seq(1_000),
            sender,
            countable: true,
            mentions: Mentions::default(),
        };
        field.redis.unread.record_many(&[new]).await.unwrap();
        let advance = |nth| Advance {
            user: user(nth),
            conversation: conversation.clone(),
            to: AdvanceTo::Position(ReadPosition::at(Seq(990))),
            own: Seq(900),
        };
        let advances: Vec<_> = people(nth, members, users).map(advance).collect();
        for some in advances.chunks(100) {
            field.redis.unread.advance_many(some).await.unwrap();
        }
    })
    .await;
}

pub(crate) async fn profiles(field: &Field, count: usize) {
    let at = Timestamp::from_millis(1_736_862_000_000);
    let profile = |nth| {
        let some = |text: &str| Some(text.to_owned());
        UserProfile {
            avatar: some("https://cdn.example.com/avatars/123.jpg"),
            matricule: some("MAT001"),
            ministere: some("MINFOP"),
            sexe: some("M"),
            ..UserProfile::new(user(nth), "Jean Dupont", at)
        }
    };
    for first in (0..count).step_by(1_000) {
        let some: Vec<_> = (first..first + 1_000).map(profile).collect();
        field.redis.users.put_many(&some).await.unwrap();
    }
}

async fn cached(field: &Field, count: usize) {
    let (cache, scope) = (&field.redis.cache, &CacheScope::new("chat").unwrap());
    each(0..count, |nth| async move {
        let hour = Duration::from_secs(60 * 60);
        cache.put(scope, &format!("key{nth:012}"), vec![b'v'; VALUE], hour).await.unwrap();
    })
    .await;
}

/// What is left of events that the log has trimmed.
fn remembered(ring: &Ring) -> Option<Bytes> {
    let name = "id of an event, remembered for 20 minutes".to_owned();
    let field = Field::set(ring)?;
    let mut memory = [0.0; 3];
    for (nth, memory) in memory.iter_mut().enumerate() {
        // The log is full after the first time.
        ring.prepare(events(&field, nth * IDS..(nth + 1) * IDS));
        *memory = field.memory();
    }
    let bytes = (memory[2] - memory[0]) / (2 * IDS) as f64;
    println!("{name}: {bytes:.0} bytes");
    Some(Bytes { name, few: bytes, many: bytes })
}

/// Who came and went.
async fn gone(field: &Field, count: usize) {
    field.connect(0..count).await;
    each(0..count, |nth| async move {
        field.redis.presence.disconnect(&user(nth), &session(nth)).await.unwrap();
    })
    .await;
}

async fn events(field: &Field, numbers: Range<usize>) {
    let streams = Streams::new(&field.redis.service, StreamsOptions::default()).unwrap();
    let publisher = Arc::new(streams.publisher());
    let sample = &sample(field).await;
    each(numbers.step_by(AT_ONCE), |first| {
        let publisher = Arc::clone(&publisher);
        async move {
            let some: Vec<_> = (first..first + AT_ONCE).map(|nth| event(sample, nth)).collect();
            publisher.publish_many(&some).await.unwrap();
        }
    })
    .await;
}

/// A message as it is stored.
pub(crate) async fn sample(field: &Field) -> Message {
    let stored = field.chat.ports().messages.append_many(&[said(&conversation("sample"), 0)]).await;
    let message = stored.unwrap().remove(0).unwrap().message;
    assert_eq!(message.content, TEXT);
    message
}

/// The nth event like this.
pub(crate) fn event(sample: &Message, nth: usize) -> Envelope {
    let cause = [sample.conversation_kind.as_str(), sample.kind.as_str(), &nth.to_string()];
    Envelope::new(&cause, sample.created_at, MessageSent::from(sample))
}
