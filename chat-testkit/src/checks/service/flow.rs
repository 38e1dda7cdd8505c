//! Promises of the way of events: from truth through the outbox to everybody, and back into what is derived.

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{
    Actor, ConversationId, EventId, FileId, LastActivity, Mentions, Mute, Page, PresenceStatus, RoomId,
    RoomRole, Seq, Visibility,
};
use chat_core::error::{Code, Result};
use chat_core::event::{DeleteType, Envelope, Event, EventKind, Topic};
use chat_core::service::{Chat, NewGroup};
use chat_core::store::conversations::ConversationFilter;
use chat_core::store::events::Published;
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::unread::Recorded;
use chat_core::store::{ConversationStore, EventConsumer, EventPublisher, Outbox, RoomStore, UnreadStore};
use parking_lot::Mutex;

use super::sending::file;
use crate::Offer;
use crate::expect::{at_once, unavailable};
use crate::faulty::{Faulty, Outage, Switch};
use crate::mutants::{ConversationBug, OutboxBug, PublisherBug, UnreadBug, plant};
use crate::sample::{conversation, key, user};
use crate::stage::{Stage, actor, counted, on, platform_admin};
use crate::walk::eventually;

promises! {
    "service::flow":
    every_change_is_one_event_and_a_repeat_is_none,
    every_kind_of_the_seed_is_emitted_and_seen_by_a_tail,
    what_is_one_users_own_is_said_of_that_user,
    events_are_published_in_order_per_key,
    racing_relays_publish_everything_once_and_in_order,
    a_relay_that_dies_before_clearing_publishes_the_same_again,
    a_relay_that_cannot_publish_loses_nothing,
    a_message_costs_the_same_whatever_the_size_of_its_group,
    a_failing_derived_store_holds_up_nobody,
    sending_again_counts_what_was_not_counted,
    a_list_counts_the_newest_message_it_shows,
    the_worker_repairs_lost_counts,
    the_worker_repairs_the_room_index,
    the_worker_repairs_the_order_of_lists,
    the_worker_changes_nothing_that_is_right + consumers,
    an_event_that_fails_is_tried_again + consumers,
    a_poisoned_event_is_set_aside_and_holds_up_nobody + consumers + dead_letters,
    what_is_running_publishes_by_itself,
    stopping_publishes_what_is_written,
    stopping_does_not_wait_for_what_is_away,
    what_is_running_ends_what_has_run_out,
    what_is_running_repairs_what_is_derived + consumers,
}

async fn stopped(chat: &Chat, who: &Actor, place: &ConversationId) -> Result<()> {
    chat.stop_typing(who, place).await;
    Ok(())
}

async fn every_change_is_one_event_and_a_repeat_is_none(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (chat, ada, bob) = (&stage.chat, on("ada", "phone"), on("bob", "phone"));
    let named = NewGroup::named("Engines").with_id(conversation("c")).with_member(bob.user.clone());
    let (c, dot) = (conversation("c"), user("dot"));
    let file_id = FileId::new("f").unwrap();
    let late = stage.chat.now().after(Duration::from_secs(1_000));
    let profile = ProfileUpdate { full_name: Some("Ada".to_owned()), ..ProfileUpdate::default() };

    // Does it, and does it again: the first time says these kinds, the second time nothing.
    macro_rules! says {
        ($kinds:expr, $call:expr) => {{
            let first = $call.await.unwrap();
            assert_eq!(stage.kinds().await, $kinds as &[&str], "{}", stringify!($call));
            // A repeat is harmless, or refused since there is nothing left to do it to.
            let again = $call.await;
            assert_eq!(stage.kinds().await, [""; 0], "again: {}", stringify!($call));
            drop(again);
            first
        }};
    }
    says!(&["conversation.created", "message.sent"], chat.create_group(&ada, named.clone()));
    says!(&["conversation.created"], chat.direct(&ada, &bob.user));
    let sent = says!(&["message.sent"], chat.send(&ada, &c, "hello", Some(&key("1")))).message;
    says!(&["message.sent"], chat.send(&ada, &bob.user, "hello", Some(&key("1"))));
    says!(&["conversation.created", "message.sent"], chat.send(&ada, &dot, "hello", Some(&key("1"))));
    says!(&["message.edited"], chat.edit(&ada, &sent.id, "hello!", Mentions::default(), None));
    says!(&["message.reaction.added"], chat.react(&bob, &sent.id, "👍", true));
    says!(&["message.reaction.removed"], chat.react(&bob, &sent.id, "👍", false));
    says!(&["message.pinned"], chat.pin(&ada, &sent.id, true, None));
    says!(&["message.pinned"], chat.pin(&ada, &sent.id, true, Some(late)));
    says!(&["message.unpinned"], chat.pin(&ada, &sent.id, false, None));
    says!(&["message.delivered"], chat.mark_delivered(&bob, &c, sent.seq));
    says!(&["message.read"], chat.mark_read(&bob, &c, sent.seq));
    says!(&["message.unread"], chat.mark_unread(&bob, &c, sent.seq));
    says!(&["message.deleted"], chat.delete(&bob, &sent.id, DeleteType::ForMe));
    says!(&["message.deleted"], chat.delete(&ada, &sent.id, DeleteType::ForEveryone));
    says!(&["conversation.name.updated"], chat.rename(&ada, &c, "Machines"));
    says!(&["conversation.avatar.updated"], chat.set_avatar(&ada, &c, Some("https://pictures.example/1")));
    says!(&["conversation.archived"], chat.archive(&bob, &c, true));
    says!(&["conversation.unarchived"], chat.archive(&bob, &c, false));
    says!(&["conversation.muted"], chat.mute(&bob, &c, Some(Mute::Until(late))));
    says!(&["conversation.muted"], chat.mute(&bob, &c, Some(Mute::Always)));
    says!(&["conversation.unmuted"], chat.mute(&bob, &c, None));
    says!(&["conversation.pinned"], chat.pin_conversation(&bob, &c, true));
    says!(&["conversation.unpinned"], chat.pin_conversation(&bob, &c, false));
    let two = ["dot", "eli"].map(user);
    let added = &["conversation.participant.added", "conversation.participant.added", "message.sent"];
    says!(added, chat.add_members(&ada, &c, &two));
    says!(&["conversation.participant.role.changed"], chat.set_role(&ada, &c, &dot, RoomRole::Moderator));
    says!(&["conversation.participant.removed", "message.sent"], chat.remove_member(&ada, &c, &dot));
    says!(&["conversation.participant.left", "message.sent"], chat.leave(&actor("eli"), &c));
    says!(&["file.uploaded"], chat.register_file(&ada, file("f", &c)));
    says!(&["file.downloaded"], chat.download_file(&bob, &file_id, &key("1")));
    says!(&["file.deleted"], chat.delete_file(&ada, &file_id, true));
    says!(&["user.profile.created"], chat.ensure_profile(&ada.user, "ada"));
    says!(&["user.profile.updated"], chat.update_profile(&ada, &ada.user, &profile));
    says!(&["user.profile.deleted"], chat.delete_profile(&ada, &ada.user));
    says!(&["user.profile.created"], chat.update_profile(&ada, &ada.user, &profile));
    says!(&["user.online"], chat.connect(&ada, None));
    says!(&["typing.started"], chat.start_typing(&ada, &c, None));
    says!(&["typing.stopped"], stopped(chat, &ada, &c));
    says!(&["user.idle"], chat.set_status(&ada, PresenceStatus::Away, None));
    says!(&["user.online"], chat.set_status(&ada, PresenceStatus::Online, None));
    says!(&[], chat.set_privacy(&ada, Visibility::Nobody));
    says!(&["user.offline"], chat.disconnect(&ada));
    // Reading says nothing.
    let all = ConversationFilter::default();
    says!(&[], chat.conversations(&bob, &all, &Page::first(10)));
    says!(&[], chat.conversation(&bob, &c));
    says!(&[], chat.total_unread(&bob));
    says!(&[], chat.search(&bob, "hello", None, &Page::first(10)));
    says!(&[], chat.catch_up(&bob, &[(c.clone(), Seq::ZERO)]));
    says!(&[], chat.readers(&bob, &sent.id));
    says!(&[], chat.profiles(from_ref(&ada.user)));
    says!(&[], chat.presence_stats(&platform_admin()));
    assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 0);
}

async fn every_kind_of_the_seed_is_emitted_and_seen_by_a_tail(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (chat, ada, bob) = (&stage.chat, on("ada", "phone"), actor("bob"));
    let file_id = FileId::new("f").unwrap();
    let profile = ProfileUpdate { full_name: Some("Ada L".to_owned()), ..ProfileUpdate::default() };
    chat.ensure_profile(&ada.user, "Ada").await.unwrap();
    chat.update_profile(&ada, &ada.user, &profile).await.unwrap();
    let c =
        chat.create_group(&ada, NewGroup::named("Engines").with_member(bob.user.clone())).await.unwrap().id;
    chat.start_typing(&ada, &c, None).await.unwrap();
    let sent = stage.say(&ada, &c, "hello").await;
    chat.mark_delivered(&bob, &c, sent.seq).await.unwrap();
    chat.mark_read(&bob, &c, sent.seq).await.unwrap();
    chat.edit(&ada, &sent.id, "hello!", Mentions::default(), None).await.unwrap();
    chat.delete(&ada, &sent.id, DeleteType::ForEveryone).await.unwrap();
    chat.add_members(&ada, &c, &["dot", "eli"].map(user)).await.unwrap();
    chat.remove_member(&ada, &c, &user("dot")).await.unwrap();
    chat.leave(&actor("eli"), &c).await.unwrap();
    chat.rename(&ada, &c, "Machines").await.unwrap();
    chat.set_avatar(&ada, &c, Some("https://pictures.example/1")).await.unwrap();
    for on in [true, false] {
        chat.archive(&bob, &c, on).await.unwrap();
        chat.mute(&bob, &c, on.then_some(Mute::Always)).await.unwrap();
        chat.pin_conversation(&bob, &c, on).await.unwrap();
    }
    chat.register_file(&ada, file("f", &c)).await.unwrap();
    chat.delete_file(&ada, &file_id, true).await.unwrap();
    chat.delete_profile(&ada, &ada.user).await.unwrap();

    let envelopes = stage.envelopes().await;
    let seen: BTreeSet<u8> = envelopes.iter().filter_map(|envelope| envelope.kind()?.number()).collect();
    assert_eq!(seen, (1..=21).collect(), "the 21 kinds of seed 000");
    for kind in [EventKind::UserProfileCreated, EventKind::UserProfileUpdated, EventKind::UserProfileDeleted]
    {
        assert!(envelopes.iter().any(|envelope| envelope.kind() == Some(kind)), "{kind}");
    }
    let ids: BTreeSet<&EventId> = envelopes.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), envelopes.len(), "each has an id of its own");
    // Whatever is numbered and known is on the topic and under the key the table gives it.
    for envelope in &envelopes {
        let kind = envelope.kind().expect("a known kind");
        assert!(kind == EventKind::MessageSent || envelope.topic() == kind.topic(), "{kind}");
        assert_eq!(envelope.version(), kind.version(), "{kind}");
        assert!(!envelope.key().is_empty(), "{kind}");
    }
}

async fn what_is_one_users_own_is_said_of_that_user(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let sent = stage.say(&ada, &group, "hello").await;
    stage.quiet().await;
    stage.chat.mark_read(&bob, &group, sent.seq).await.unwrap();
    stage.chat.mark_unread(&bob, &group, sent.seq).await.unwrap();
    stage.chat.delete(&bob, &sent.id, DeleteType::ForMe).await.unwrap();
    stage.chat.archive(&bob, &group, true).await.unwrap();
    for event in stage.events().await {
        let of = match &event {
            Event::MessageRead(event) => Some(&event.reader_id),
            Event::MessageUnread(event) => Some(&event.reader_id),
            Event::MessageDeleted(event) => event.deleter_id.as_ref(),
            Event::ConversationArchived(event) => Some(&event.user_id),
            other => panic!("{other:?}"),
        };
        assert_eq!(of, Some(&bob.user), "{event:?}");
    }
}

/// Says things in several conversations, edits them, and answers the conversations.
async fn chatter(stage: &Stage, ada: &Actor, rounds: usize) -> Vec<ConversationId> {
    let mut groups = Vec::new();
    for n in 0..4 {
        groups.push(stage.group(&format!("{n}"), &[ada]).await);
    }
    for round in 0..rounds {
        for group in &groups {
            let said = stage.say(ada, group, &format!("{round}")).await;
            let edit = stage.chat.edit(ada, &said.id, format!("{round}!"), Mentions::default(), None);
            edit.await.unwrap();
            stage.chat.delete(ada, &said.id, DeleteType::ForEveryone).await.unwrap();
        }
    }
    groups
}

/// Everything of [`chatter`], each once, in order per conversation and topic.
fn complete(envelopes: &[Envelope], groups: &[ConversationId], rounds: usize) {
    for group in groups {
        let of = |topic: Topic| {
            let here =
                move |envelope: &&Envelope| envelope.topic() == topic && envelope.key() == group.as_str();
            envelopes.iter().filter(here)
        };
        let sent: Vec<u64> = of(Topic::MessagesGroup)
            .map(|envelope| match &envelope.event {
                Event::MessageSent(sent) => sent.seq.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sent, (2..rounds as u64 + 2).collect::<Vec<_>>());
        let changed: Vec<(u64, &str)> = of(Topic::Messages)
            .map(|envelope| match &envelope.event {
                Event::MessageEdited(edited) => (edited.seq.0, "edited"),
                Event::MessageDeleted(deleted) => (deleted.seq.0, "deleted"),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<_> =
            (2..rounds as u64 + 2).flat_map(|seq| [(seq, "edited"), (seq, "deleted")]).collect();
        assert_eq!(changed, expected);
    }
}

async fn events_are_published_in_order_per_key(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let groups = chatter(&stage, &ada, 100).await;
    assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 1_200, "more than one step takes");
    assert_eq!(stage.chat.relay_once().await.unwrap(), 1_200);
    complete(&stage.published().await, &groups, 100);
    assert_eq!(stage.chat.relay_once().await.unwrap(), 0);
    assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 0);
}

async fn racing_relays_publish_everything_once_and_in_order(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let groups = chatter(&stage, &ada, 50).await;
    let chats = [stage.chat.clone(), stage.another(), stage.another(), stage.another()];
    at_once(8, |nth| {
        let chat = chats[nth % 4].clone();
        async move { chat.relay_once().await.unwrap() }
    })
    .await;
    // A relay that found a key in other hands leaves it to them.
    stage.chat.relay_once().await.unwrap();
    complete(&stage.published().await, &groups, 50);
    assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 0);
}

/// Cannot clear while its switch is thrown.
#[derive(Debug)]
struct NeverClears(Switch);

#[async_trait]
impl OutboxBug for NeverClears {
    async fn clear(&self, port: &dyn Outbox, owner: &str, events: &[EventId]) -> Result<()> {
        self.0.pass()?;
        port.clear(owner, events).await
    }
}

/// Remembers what became of everything published.
#[derive(Debug, Clone, Default)]
struct Remembers(Arc<Mutex<Vec<(EventId, Published)>>>);

#[async_trait]
impl PublisherBug for Remembers {
    async fn publish_many(&self, port: &dyn EventPublisher, events: &[Envelope]) -> Result<Vec<Published>> {
        let published = port.publish_many(events).await?;
        self.0.lock().extend(events.iter().map(|event| event.id.clone()).zip(published.clone()));
        Ok(published)
    }
}

async fn a_relay_that_dies_before_clearing_publishes_the_same_again(offer: Offer) {
    let (switch, remembers) = (Switch::default(), Remembers::default());
    let offer = plant!(offer, outbox, NeverClears(switch.clone()));
    let offer = plant!(offer, publisher, remembers.clone());
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for n in 0..10 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    remembers.0.lock().clear();
    switch.begin();
    unavailable(stage.chat.relay_once().await);
    let first = std::mem::take(&mut *remembers.0.lock());
    assert_eq!(first.len(), 10);
    assert!(first.iter().all(|(_, published)| matches!(published, Published::Durable(_))));
    // It is dead: another one takes over once its claim has run out.
    switch.end();
    let other = stage.another();
    assert_eq!(other.relay_once().await.unwrap(), 0, "while it may still live");
    stage.clock.advance(Duration::from_secs(30));
    assert_eq!(other.relay_once().await.unwrap(), 10);
    let second = std::mem::take(&mut *remembers.0.lock());
    for ((id, published), (again, repeated)) in first.iter().zip(&second) {
        assert_eq!(id, again, "the same ids, in the same order");
        let (Published::Durable(at), Published::Suppressed(known)) = (published, repeated) else {
            panic!("{published:?} and then {repeated:?}");
        };
        assert_eq!(at, known);
    }
    assert_eq!((second.len(), stage.published().await.len()), (10, 10), "readers see each once");
}

async fn a_relay_that_cannot_publish_loses_nothing(offer: Offer) {
    let switch = Switch::default();
    let publisher = Arc::new(Faulty::new(offer.publisher.clone().expect("a publisher"), &switch));
    let stage = Stage::with(offer, |chat| chat.publisher(publisher)).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    switch.begin();
    for n in 0..5 {
        stage.say(&ada, &group, &format!("{n}")).await;
        unavailable(stage.chat.relay_once().await);
    }
    // What means nothing later is not kept, and holds up nobody.
    stage.chat.start_typing(&ada, &group, None).await.unwrap();
    stage.chat.stop_typing(&ada, &group).await;
    switch.end();
    let sent: Vec<u64> = stage
        .events()
        .await
        .into_iter()
        .map(|event| match event {
            Event::MessageSent(sent) => sent.seq.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sent, [2, 3, 4, 5, 6]);
}

async fn a_message_costs_the_same_whatever_the_size_of_its_group(offer: Offer) {
    let (offer, calls) = counted(offer);
    let stage = Stage::new(offer).await;
    let mut costs = Vec::new();
    for size in [2, 200] {
        let people: Vec<Actor> = (0..size).map(|n| actor(&format!("u{n}"))).collect();
        let all: Vec<&Actor> = people.iter().collect();
        let group = stage.group("Engines", &all).await;
        stage.say(&people[1], &group, "warm").await;
        let _ = calls.taken();
        stage.say(&people[1], &group, "hello").await;
        costs.push(calls.taken());
    }
    assert_eq!(costs[0], costs[1]);
    let cost = &costs[0];
    assert_eq!(cost.get("RoomStore::roles"), Some(&1), "membership and role in one question: {cost:?}");
    assert_eq!(cost.get("MessageStore::append_many"), Some(&1), "{cost:?}");
    let asks_truth =
        cost.keys().any(|call| call.starts_with("ConversationStore::") && !call.ends_with("touch_many"));
    assert!(!asks_truth && cost.values().sum::<u64>() <= 4, "{cost:?}");
}

async fn a_failing_derived_store_holds_up_nobody(offer: Offer) {
    let switch = Switch::default();
    let unread = Arc::new(Faulty::new(offer.unread.clone().expect("unread"), &switch));
    let stage = Stage::with(offer, |chat| chat.unread(unread)).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    switch.begin();
    let group = stage
        .chat
        .create_group(&ada, NewGroup::named("Engines").with_member(bob.user.clone()))
        .await
        .unwrap();
    let said = stage.say(&ada, &group.id, "hello").await;
    stage.chat.edit(&ada, &said.id, "hello!", Mentions::default(), None).await.unwrap();
    stage.chat.mark_read(&bob, &group.id, said.seq).await.unwrap();
    stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap();
    stage.chat.add_members(&ada, &group.id, from_ref(&user("cid"))).await.unwrap();
    stage.chat.remove_member(&ada, &group.id, &bob.user).await.unwrap();
    switch.end();
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
    }
    stage.say(&ada, &group.id, "on it goes").await;
    assert_eq!(stage.unread(&actor("cid"), &group.id).await, (1, 0));
}

async fn sending_again_counts_what_was_not_counted(offer: Offer) {
    let fails = Arc::new(AtomicBool::new(false));
    let (stage, place, _) = failing(offer, &fails, Code::Unavailable).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    stage.say(&bob, &place, "you there?").await;
    assert_eq!(stage.unread(&ada, &place).await, (1, 0));
    // The server ends between the message and what follows from it; nobody has told ada that it is sent.
    fails.store(true, Ordering::SeqCst);
    let again = key("again");
    let send = async || stage.chat.send(&ada, &place, "yes", Some(&again)).await.unwrap();
    let first = send().await;
    assert_eq!((stage.unread(&ada, &place).await, stage.unread(&bob, &place).await), ((1, 0), (0, 0)));
    fails.store(false, Ordering::SeqCst);
    let second = send().await;
    assert!(second.duplicate && second.message.id == first.message.id);
    assert_eq!((stage.unread(&ada, &place).await, stage.unread(&bob, &place).await), ((0, 0), (1, 0)));
}

async fn a_list_counts_the_newest_message_it_shows(offer: Offer) {
    let fails = Arc::new(AtomicBool::new(false));
    let (stage, place, _) = failing(offer, &fails, Code::Unavailable).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let shown = async |who: &Actor| {
        let view = stage.chat.conversation(who, &place).await.unwrap();
        (view.last_message.map(|message| message.seq), view.unread.messages)
    };
    let one = stage.say(&ada, &place, "one").await;
    assert_eq!(shown(&bob).await, (Some(one.seq), 1));
    // The message can be seen, and its sender has not counted it yet.
    fails.store(true, Ordering::SeqCst);
    let two = stage.say(&ada, &place, "two").await;
    fails.store(false, Ordering::SeqCst);
    assert_eq!(shown(&bob).await, (Some(two.seq), 2));
    assert_eq!(shown(&ada).await, (Some(two.seq), 0), "one's own is never unread");
    stage.chat.mark_read(&bob, &place, two.seq).await.unwrap();
    assert_eq!(shown(&bob).await, (Some(two.seq), 0));
}

async fn the_worker_repairs_lost_counts(offer: Offer) {
    let switch = Switch::default();
    let unread = Arc::new(Faulty::new(offer.unread.clone().expect("unread"), &switch));
    let stage = Stage::with(offer, |chat| chat.unread(unread)).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    let mut said = vec![stage.say(&ada, &group, "before").await];
    for who in [&bob, &cid] {
        assert_eq!(stage.unread(who, &group).await, (1, 0));
    }
    switch.begin();
    for n in 0..4 {
        said.push(stage.say(&ada, &group, &format!("{n}")).await);
    }
    let mentions = Mentions { users: vec![bob.user.clone()], everyone: false };
    stage.chat.edit(&ada, &said[4].id, "@bob", mentions, None).await.unwrap();
    stage.chat.delete(&ada, &said[3].id, DeleteType::ForEveryone).await.unwrap();
    stage.chat.mark_read(&cid, &group, said[4].seq).await.unwrap();
    stage.chat.mark_unread(&cid, &group, said[2].seq).await.unwrap();
    stage.say(&bob, &group, "mine").await;
    stage.chat.mark_unread(&bob, &group, said[1].seq).await.unwrap();
    switch.end();
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
    }
    for who in [&ada, &bob, &cid] {
        assert_eq!(stage.unread(who, &group).await, stage.recounted(who, &group).await, "{}", who.user);
    }
    assert_eq!(stage.unread(&cid, &group).await, (3, 0));
    assert_eq!(stage.unread(&bob, &group).await, (4, 1));
}

async fn the_worker_repairs_the_room_index(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.add_members(&ada, &group, &["cid", "dot"].map(user)).await.unwrap();
    stage.chat.set_role(&ada, &group, &bob.user, RoomRole::Moderator).await.unwrap();
    stage.chat.remove_member(&ada, &group, &user("dot")).await.unwrap();
    let events = stage.envelopes().await;
    // The index as it was before all that.
    let room = RoomId::from(&group);
    stage.cool(&group).await;
    let old = [("ada", RoomRole::Admin), ("bob", RoomRole::Member)].map(|(name, role)| RoomChange {
        user: user(name),
        role: Some(role),
        version: 1,
    });
    let old = NewRoom {
        id: room.clone(),
        kind: "GROUP".to_owned(),
        name: None,
        max_members: None,
        members: old.to_vec(),
    };
    assert!(stage.ports().rooms.create(&old).await.unwrap());
    for envelope in events.iter().chain(events.iter().rev()) {
        stage.chat.apply(envelope).await.unwrap();
    }
    let roles = stage.ports().rooms.roles(&room, &["ada", "bob", "cid", "dot"].map(user)).await.unwrap();
    let expected = [Some(RoomRole::Admin), Some(RoomRole::Moderator), Some(RoomRole::Member), None];
    assert_eq!(roles, Some(expected.to_vec()));
}

async fn the_worker_repairs_the_order_of_lists(offer: Offer) {
    let switch = Switch::default();
    let offer = plant!(offer, conversations, LosesActivity(switch.clone()));
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let one = stage.group("one", &[&ada, &bob]).await;
    stage.clock.advance(Duration::from_secs(1));
    stage.group("two", &[&ada, &bob]).await;
    stage.clock.advance(Duration::from_secs(1));
    let names = async || {
        let page = Page::first(10);
        let list = stage.chat.conversations(&bob, &ConversationFilter::default(), &page).await.unwrap();
        list.items.into_iter().filter_map(|item| item.membership.conversation.name).collect::<Vec<_>>()
    };
    switch.begin();
    stage.say(&ada, &one, "hello").await;
    assert_eq!(names().await, ["two", "one"]);
    switch.end();
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
    }
    assert_eq!(names().await, ["one", "two"]);
}

/// Cannot record activity while its switch is thrown.
#[derive(Debug)]
struct LosesActivity(Switch);

#[async_trait]
impl ConversationBug for LosesActivity {
    async fn touch_many(
        &self,
        port: &dyn ConversationStore,
        activities: &[(ConversationId, LastActivity)],
    ) -> Result<()> {
        self.0.pass()?;
        port.touch_many(activities).await
    }
}

/// Lets the worker do all there is to do; says how much that was.
async fn worked(chat: &Chat, consumer: &Arc<dyn EventConsumer>) -> usize {
    let mut done = 0;
    loop {
        let now = chat.derive_once(consumer, Duration::ZERO, Duration::from_secs(60)).await.unwrap();
        if now == 0 {
            return done;
        }
        done += now;
    }
}

async fn the_worker_changes_nothing_that_is_right(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let consumer = stage.consumer("derive", "one").await;
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for n in 0..5 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    stage.chat.mark_read(&bob, &group, Seq(3)).await.unwrap();
    stage.chat.add_members(&ada, &group, from_ref(&user("cid"))).await.unwrap();
    stage.quiet().await;
    let before = stage.truth(from_ref(&group), &["ada", "bob"].map(user)).await;
    let counts = (stage.unread(&ada, &group).await, stage.unread(&bob, &group).await);
    assert!(worked(&stage.chat, &consumer).await >= 8);
    assert_eq!(stage.truth(from_ref(&group), &["ada", "bob"].map(user)).await, before);
    assert_eq!((stage.unread(&ada, &group).await, stage.unread(&bob, &group).await), counts);
    assert_eq!(stage.kinds().await, [""; 0], "nothing that handles a fact causes one");
    let lag = consumer.lag().await.unwrap();
    assert_eq!((lag.waiting, lag.pending), (0, 0));
}

/// Fails to record the messages of one conversation while it is to.
#[derive(Debug)]
struct Fails {
    place: ConversationId,
    now: Arc<AtomicBool>,
    code: Code,
}

#[async_trait]
impl UnreadBug for Fails {
    async fn record_many(&self, port: &dyn UnreadStore, messages: &[Recorded]) -> Result<()> {
        let here =
            messages.iter().any(|message| message.conversation == self.place && message.seq > Seq::ZERO);
        if here && self.now.load(Ordering::SeqCst) {
            return Err(self.code.into());
        }
        port.record_many(messages).await
    }
}

/// A stage on which one conversation's messages cannot be recorded at times, the conversation, and another one.
async fn failing(offer: Offer, now: &Arc<AtomicBool>, code: Code) -> (Stage, ConversationId, ConversationId) {
    let place = conversation("failing");
    let bug = Fails { place: place.clone(), now: Arc::clone(now), code };
    let offer = plant!(offer, unread, bug);
    let stage = Stage::new(offer).await;
    let group = NewGroup::named("Failing").with_id(place.clone()).with_member(user("bob"));
    stage.chat.create_group(&actor("ada"), group).await.unwrap();
    let other = stage.group("Other", &[&actor("ada"), &actor("bob")]).await;
    (stage, place, other)
}

async fn an_event_that_fails_is_tried_again(offer: Offer) {
    let fails = Arc::new(AtomicBool::new(false));
    let (stage, place, other) = failing(offer, &fails, Code::Unavailable).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let consumer = stage.consumer("derive", "one").await;
    worked(&stage.chat, &consumer).await;
    fails.store(true, Ordering::SeqCst);
    stage.say(&ada, &place, "hello").await;
    stage.say(&ada, &other, "hello").await;
    stage.quiet().await;
    for attempt in 1..=3 {
        worked(&stage.chat, &consumer).await;
        assert_eq!(stage.unread(&bob, &place).await, (0, 0), "attempt {attempt}");
        assert_eq!(stage.unread(&bob, &other).await, (1, 0), "the neighbours are served");
        stage.clock.advance(Duration::from_secs(60));
    }
    fails.store(false, Ordering::SeqCst);
    assert_eq!(worked(&stage.chat, &consumer).await, 1);
    assert_eq!(stage.unread(&bob, &place).await, (1, 0));
    assert_eq!(consumer.lag().await.unwrap().pending, 0);
}

async fn a_poisoned_event_is_set_aside_and_holds_up_nobody(offer: Offer) {
    for (code, attempts) in [(Code::Unavailable, 5), (Code::Internal, 1)] {
        let offer = offer.fresh().await;
        let letters = offer.dead_letters.clone().expect("dead letters");
        let fails = Arc::new(AtomicBool::new(false));
        let (stage, place, other) = failing(offer, &fails, code).await;
        let (ada, bob) = (actor("ada"), actor("bob"));
        let consumer = stage.consumer("derive", "one").await;
        worked(&stage.chat, &consumer).await;
        fails.store(true, Ordering::SeqCst);
        let poisoned = stage.say(&ada, &place, "hello").await;
        stage.say(&ada, &other, "hello").await;
        stage.quiet().await;
        for _ in 1..attempts {
            worked(&stage.chat, &consumer).await;
            assert_eq!(letters.list(&Page::first(10)).await.unwrap().items.len(), 0);
            stage.clock.advance(Duration::from_secs(60));
        }
        worked(&stage.chat, &consumer).await;
        let buried = letters.list(&Page::first(10)).await.unwrap().items;
        assert_eq!(buried.len(), 1);
        assert_eq!((buried[0].group.as_str(), buried[0].attempts), ("derive", attempts));
        assert!(buried[0].cause.contains(code.as_str()), "{}", buried[0].cause);
        assert!(matches!(&buried[0].event, Ok(envelope) if matches!(&envelope.event,
            Event::MessageSent(sent) if sent.message_id == poisoned.id)));
        assert_eq!(stage.unread(&bob, &other).await, (1, 0));
        // Once the cause is gone it is handed back.
        fails.store(false, Ordering::SeqCst);
        assert_eq!(letters.replay(from_ref(&buried[0].id)).await.unwrap(), 1);
        assert_eq!(worked(&stage.chat, &consumer).await, 1);
        assert_eq!(stage.unread(&bob, &place).await, (1, 0));
    }
}

/// Waits until the tail has brought so many more events; answers them.
async fn arriving(stage: &Stage, count: usize) -> Vec<Event> {
    let found = Mutex::new(Vec::new());
    eventually("everything is published", || async {
        let new = stage.published().await;
        let mut found = found.lock();
        found.extend(new.into_iter().map(|envelope| envelope.event));
        found.len() >= count
    })
    .await;
    found.into_inner()
}

async fn what_is_running_publishes_by_itself(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.say(&ada, &group, "before it was running").await;
    let background = stage.chat.start();
    assert_eq!(arriving(&stage, 1).await.len(), 1, "what was left behind");
    for n in 0..10 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    let seqs: Vec<u64> = arriving(&stage, 10)
        .await
        .into_iter()
        .map(|event| match event {
            Event::MessageSent(sent) => sent.seq.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seqs, (3..=12).collect::<Vec<_>>(), "in order");
    background.stop().await;
    stage.say(&ada, &group, "after it was running").await;
    assert_eq!(stage.published().await.len(), 0);
    assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 1);
}

async fn stopping_publishes_what_is_written(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let mut next = 2;
    // Right after the last word, when nobody has had time to publish it.
    for times in [1, 1, 20].into_iter().cycle().take(60) {
        let background = stage.chat.start();
        tokio::task::yield_now().await;
        for n in 0..times {
            stage.say(&ada, &group, &format!("{n}")).await;
        }
        background.stop().await;
        let seqs: Vec<u64> = stage
            .published()
            .await
            .into_iter()
            .map(|envelope| match envelope.event {
                Event::MessageSent(sent) => sent.seq.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seqs, (next..next + times).collect::<Vec<_>>());
        assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 0);
        next += times;
    }
    // At once, twice, and by being dropped.
    let (one, other) = (stage.chat.start(), stage.chat.start());
    one.stop().await;
    other.stop().await;
    drop(stage.chat.start());
}

async fn stopping_does_not_wait_for_what_is_away(offer: Offer) {
    let switch = Switch::default();
    let publisher = Arc::new(Faulty::new(offer.publisher.clone().expect("a publisher"), &switch));
    let stage = Stage::with(offer, |chat| chat.publisher(publisher)).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    switch.begin();
    let background = stage.chat.start();
    stage.say(&ada, &group, "hello").await;
    background.stop().await;
    assert_eq!(stage.ports().outbox.stats().await.unwrap().pending, 1, "it is still there");
    switch.end();
    let background = stage.chat.start();
    background.stop().await;
    assert_eq!(stage.published().await.len(), 1);
}

async fn what_is_running_ends_what_has_run_out(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (on("ada", "phone"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.connect(&ada, None).await.unwrap();
    stage.chat.start_typing(&bob, &group, None).await.unwrap();
    stage.quiet().await;
    let background = stage.chat.start();
    stage.clock.advance(Duration::from_secs(60));
    let mut ended: Vec<String> =
        arriving(&stage, 2).await.iter().map(|event| event.name().to_owned()).collect();
    ended.sort();
    assert_eq!(ended, ["typing.stopped", "user.offline"]);
    background.stop().await;
    assert_eq!(stage.published().await.len(), 0);
}

async fn what_is_running_repairs_what_is_derived(offer: Offer) {
    let switch = Switch::default();
    let unread = Arc::new(Faulty::new(offer.unread.clone().expect("unread"), &switch));
    let consumers = offer.consumers.clone().expect("consumers");
    let consumer = consumers("derive", "one", Topic::ALL, true).await.unwrap();
    let stage = Stage::with(offer, |chat| chat.unread(unread).derive(consumer)).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    switch.begin();
    for n in 0..3 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    switch.end();
    let background = stage.chat.start();
    eventually("the counts are right", || async {
        stage.unread(&bob, &group).await == stage.recounted(&bob, &group).await
    })
    .await;
    background.stop().await;
    assert_eq!(stage.unread(&bob, &group).await, (3, 0));
}
