//! Every event of seed 000, and those of users: done by the services, observed on their streams with `XRANGE`.

use std::collections::BTreeSet;
use std::sync::Arc;

use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{Actor, Mentions, Mute};
use chat_core::event::{DeleteType, EventKind, StreamNames};
use chat_core::service::{Chat, NewGroup};
use chat_streams::StreamsOptions;
use chat_testkit::sample::{self, user};
use chat_testkit::server::Redis;
use chat_testkit::server::resp::Reply;
use chat_testkit::{Absent, trials};

use super::log::connect;

trials! { needs "redis":
    every_event_of_the_seed_is_on_its_stream,
}

/// The number in seed 000, our name, what the Node services read in `event`, the stream under `seed()` and under `ngomna()`.
const TABLE: &[(u8, &str, &str, &str, &str)] = &[
    (1, "message.sent", "NEW_MESSAGE", "stream:messages:private", "chat:stream:messages:private"),
    (1, "message.sent", "NEW_MESSAGE", "stream:messages:group", "chat:stream:messages:group"),
    (1, "message.sent", "NEW_MESSAGE", "stream:messages:system", "chat:stream:messages:system"),
    (2, "message.delivered", "message.delivered", "stream:status:delivered", "chat:stream:status:delivered"),
    (3, "message.read", "message.read", "stream:events:read", "chat:stream:status:read"),
    (4, "message.edited", "message.edited", "events:messages", "chat:stream:events:messages"),
    (5, "message.deleted", "message.deleted", "events:messages", "chat:stream:events:messages"),
    (
        6,
        "conversation.created",
        "conversation.created",
        "events:conversations",
        "chat:stream:events:conversations",
    ),
    (7, "conversation.participant.added", "", "events:conversations", "chat:stream:events:conversations"),
    (8, "conversation.participant.removed", "", "events:conversations", "chat:stream:events:conversations"),
    (9, "conversation.participant.left", "", "events:conversations", "chat:stream:events:conversations"),
    (10, "conversation.name.updated", "", "events:conversations", "chat:stream:events:conversations"),
    (11, "conversation.avatar.updated", "", "events:conversations", "chat:stream:events:conversations"),
    (12, "conversation.archived", "", "events:conversations", "chat:stream:events:conversations"),
    (13, "conversation.unarchived", "", "events:conversations", "chat:stream:events:conversations"),
    (14, "conversation.muted", "", "events:conversations", "chat:stream:events:conversations"),
    (15, "conversation.unmuted", "", "events:conversations", "chat:stream:events:conversations"),
    (16, "conversation.pinned", "", "events:conversations", "chat:stream:events:conversations"),
    (17, "conversation.unpinned", "", "events:conversations", "chat:stream:events:conversations"),
    (18, "file.uploaded", "file.uploaded", "events:files", "chat:stream:events:files"),
    (19, "file.deleted", "file.deleted", "events:files", "chat:stream:events:files"),
    (20, "typing.started", "typing:start", "events:typing", "chat:stream:events:typing"),
    (21, "typing.stopped", "typing:stop", "events:typing", "chat:stream:events:typing"),
    (0, "user.profile.created", "", "events:users", "chat:stream:events:users"),
    (0, "user.profile.updated", "", "events:users", "chat:stream:events:users"),
    (0, "user.profile.deleted", "", "events:users", "chat:stream:events:users"),
    (0, "user.online", "", "events:users:presence", "chat:stream:events:presence"),
    (0, "user.offline", "", "events:users:presence", "chat:stream:events:presence"),
];

/// Does everything once.
async fn everything(chat: &Chat) {
    let ada = Actor::user(user("ada")).on(sample::session("phone"));
    let bob = Actor::user(user("bob"));
    chat.connect(&ada, None).await.unwrap();
    chat.ensure_profile(&ada.user, "Ada").await.unwrap();
    let profile = ProfileUpdate { full_name: Some("Ada L".to_owned()), ..ProfileUpdate::default() };
    chat.update_profile(&ada, &ada.user, &profile).await.unwrap();
    chat.send(&ada, &bob.user, "hello", None).await.unwrap();
    let c =
        chat.create_group(&ada, NewGroup::named("Engines").with_member(bob.user.clone())).await.unwrap().id;
    chat.start_typing(&ada, &c, None).await.unwrap();
    let sent = chat.send(&ada, &c, "hello", None).await.unwrap().message;
    chat.start_typing(&bob, &c, None).await.unwrap();
    chat.stop_typing(&bob, &c).await;
    chat.mark_delivered(&bob, &c, sent.seq).await.unwrap();
    chat.mark_read(&bob, &c, sent.seq).await.unwrap();
    chat.edit(&ada, &sent.id, "hello!", Mentions::default(), None).await.unwrap();
    chat.delete(&ada, &sent.id, DeleteType::ForEveryone).await.unwrap();
    chat.add_members(&ada, &c, &["dot", "eli"].map(user)).await.unwrap();
    chat.remove_member(&ada, &c, &user("dot")).await.unwrap();
    chat.leave(&Actor::user(user("eli")), &c).await.unwrap();
    chat.rename(&ada, &c, "Machines").await.unwrap();
    chat.set_avatar(&ada, &c, Some("https://pictures.example/1")).await.unwrap();
    for on in [true, false] {
        chat.archive(&bob, &c, on).await.unwrap();
        chat.mute(&bob, &c, on.then_some(Mute::Always)).await.unwrap();
        chat.pin_conversation(&bob, &c, on).await.unwrap();
    }
    let file = sample::file(&c, "f");
    let id = file.file_id.clone();
    chat.register_file(&ada, file).await.unwrap();
    chat.delete_file(&ada, &id, true).await.unwrap();
    chat.delete_profile(&ada, &ada.user).await.unwrap();
    chat.disconnect(&ada).await.unwrap();
    chat.relay_once().await.unwrap();
}

/// What stands on a stream: the name in the envelope, and what the field `event` says.
fn observed(server: &Redis, stream: &str) -> BTreeSet<(String, String)> {
    let entries = server.command(&["XRANGE", stream, "-", "+"]);
    let names = entries.list().iter().map(|entry| {
        let fields: Vec<String> = entry.list()[1].list().iter().map(Reply::text).collect();
        let field = |name: &str| fields.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        let payload: serde_json::Value = serde_json::from_str(&field("payload").unwrap()).unwrap();
        let envelope = payload.get("envelope").unwrap_or(&payload);
        let said = field("event").or_else(|| Some(payload["event"].as_str()?.to_owned()));
        (envelope["name"].as_str().unwrap().to_owned(), said.unwrap())
    });
    names.collect()
}

async fn every_event_of_the_seed_is_on_its_stream() -> Result<(), Absent> {
    let numbers: BTreeSet<u8> = TABLE.iter().map(|row| row.0).filter(|number| *number > 0).collect();
    assert_eq!(numbers, (1..=21).collect());
    for (number, name, ..) in TABLE {
        let kind = EventKind::from_wire(name).unwrap();
        assert_eq!(kind.number().unwrap_or(0), *number, "{name}");
    }
    for names in [StreamNames::seed(), StreamNames::ngomna()] {
        let is_seed = names == StreamNames::seed();
        let server = Redis::spawn()?;
        let streams =
            connect(&server.url(), None, StreamsOptions { names, ..StreamsOptions::default() }).await;
        let (publisher, tail) = (Arc::new(streams.publisher()), Arc::new(streams.tail()));
        let chat = Chat::builder().publisher(publisher).tail(tail).build();
        everything(&chat).await;
        for (number, name, said, seed, ngomna) in TABLE {
            let stream = if is_seed { seed } else { ngomna };
            let said = if said.is_empty() { name } else { said };
            let there = observed(&server, stream);
            let expected = ((*name).to_owned(), (*said).to_owned());
            assert!(there.contains(&expected), "{number} {name} on {stream}: {there:?}");
        }
        // Nothing stands where it does not belong.
        let all: BTreeSet<&str> = TABLE.iter().map(|row| if is_seed { row.3 } else { row.4 }).collect();
        for stream in all {
            for (name, said) in observed(&server, stream) {
                let kind = EventKind::from_wire(&name).unwrap();
                let row =
                    TABLE.iter().any(|row| row.1 == name && (if is_seed { row.3 } else { row.4 }) == stream);
                assert!(row || kind.number().is_none(), "{name} ({said}) on {stream}");
            }
        }
    }
    Ok(())
}
