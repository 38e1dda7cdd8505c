//! Promises of deleting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::conversation::direct_id;
use chat_core::domain::message::{Draft, ThreadPlace};
use chat_core::domain::{Actor, Mentions, Message, Page, RoomId, RoomRole, Seq, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::{DeleteType, Event};
use chat_core::service::ChatSettings;
use chat_core::store::RoomStore;
use chat_core::store::messages::{Anchor, HistoryScope};

use super::sending::{attached, file};
use crate::Offer;
use crate::expect::{at_once, refused};
use crate::mutants::{RoomBug, plant};
use crate::sample::user;
use crate::stage::{Stage, actor};

promises! {
    "service::deleting":
    for_me_hides_it_from_me_alone,
    for_me_says_so_once,
    for_everyone_leaves_a_place_and_nothing_else,
    for_everyone_says_so_once,
    a_sender_has_forty_eight_hours,
    the_window_is_a_setting,
    those_who_keep_order_delete_at_any_time,
    others_delete_for_themselves_only,
    deleting_lowers_the_unread_count_once,
    deleting_what_was_read_lowers_nothing,
    racing_deletions_are_one,
    a_deleted_reply_is_not_counted,
    an_outage_is_no_refusal,
}

/// What somebody sees of a conversation, without the system's notes.
async fn seen(stage: &Stage, who: &Actor, group: &chat_core::domain::ConversationId) -> Vec<String> {
    let page = stage.chat.history(who, group, HistoryScope::Everything, Anchor::Latest, 100).await.unwrap();
    let said = page.messages.into_iter().filter(|message: &Message| message.sender_id.is_some());
    said.map(|message| message.content).collect()
}

async fn for_me_hides_it_from_me_alone(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let kept = stage.say(&ada, &group, "kept words").await;
    let root = kept.id.clone();
    let thread = Some(ThreadPlace { root: root.clone(), also_in_conversation: true });
    let draft = Draft { thread, ..Draft::text("hidden words") };
    let hidden = stage.chat.send(&ada, &group, draft, None).await.unwrap().message;
    stage.chat.pin(&ada, &hidden.id, true, None).await.unwrap();
    assert!(stage.chat.delete(&bob, &hidden.id, DeleteType::ForMe).await.unwrap().changed);

    for (who, words) in [(&ada, vec!["kept words", "hidden words"]), (&bob, vec!["kept words"])] {
        assert_eq!(seen(&stage, who, &group).await, words, "{}", who.user);
        let found = stage.chat.search(who, "words", None, &Page::first(10)).await.unwrap();
        assert_eq!(found.items.len(), words.len());
        let listed = stage.chat.conversation(who, &group).await.unwrap();
        assert_eq!(listed.last_message.map(|message| message.content).as_deref(), words.last().copied());
        assert_eq!(listed.head, hidden.seq, "its place stays");
        let replies = stage.chat.thread(who, &root, Seq::ZERO, 10).await.unwrap().replies.messages;
        assert_eq!(replies.len(), words.len() - 1);
        assert_eq!(stage.chat.pinned(who, &group).await.unwrap().len(), words.len() - 1);
        let missed = stage.chat.catch_up(who, &[(group.clone(), Seq(1))]).await.unwrap();
        assert_eq!(missed.messages.len(), words.len());
    }
    refused(stage.chat.find(&bob, &hidden.id).await, Code::Forbidden);
    assert_eq!(stage.chat.find(&ada, &hidden.id).await.unwrap().deleted, None);
}

async fn for_me_says_so_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "hello").await;
    stage.quiet().await;
    stage.chat.delete(&bob, &said.id, DeleteType::ForMe).await.unwrap();
    assert!(!stage.chat.delete(&bob, &said.id, DeleteType::ForMe).await.unwrap().changed);
    let events = stage.events().await;
    let [Event::MessageDeleted(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((event.delete_type, &event.deleter_id), (DeleteType::ForMe, &Some(bob.user.clone())));
    // However old: it is the one's own view.
    stage.clock.advance(Duration::from_secs(1_000_000));
    assert!(stage.chat.delete(&ada, &said.id, DeleteType::ForMe).await.unwrap().changed);
}

async fn for_everyone_leaves_a_place_and_nothing_else(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    let draft = Draft {
        attachments: vec![attached("f")],
        mentions: Mentions { users: vec![user("bob")], everyone: false },
        metadata: [("secret".to_owned(), "secret".to_owned())].into(),
        ..Draft::text("secret words")
    };
    let said = stage.chat.send(&ada, &group, draft, None).await.unwrap().message;
    stage.chat.edit(&ada, &said.id, "other secret words", Mentions::default(), None).await.unwrap();
    stage.chat.react(&bob, &said.id, "👍", true).await.unwrap();
    stage.chat.pin(&ada, &said.id, true, None).await.unwrap();
    let gone = stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap();
    assert!(gone.changed);
    for who in [&ada, &bob] {
        let found = stage.chat.find(who, &said.id).await.unwrap();
        assert_eq!((&found.id, found.seq, &found.sender_id), (&said.id, said.seq, &said.sender_id));
        let tombstone = found.deleted.clone().expect("a tombstone");
        assert_eq!((tombstone.by, tombstone.at), (Some(ada.user.clone()), stage.chat.now()));
        assert!(!format!("{found:?}").contains("secret"), "{found:?}");
        assert!(found.attachments.is_empty() && found.reactions.is_empty() && found.past_texts.is_empty());
        assert!(found.mentions.is_empty() && found.pin.is_none() && found.metadata.is_empty());
        let hits = stage.chat.search(who, "secret", None, &Page::first(10)).await.unwrap();
        assert_eq!(hits.items, []);
    }
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
}

async fn for_everyone_says_so_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&bob, &group, "hello").await;
    stage.quiet().await;
    let first = stage.chat.delete(&bob, &said.id, DeleteType::ForEveryone).await.unwrap();
    stage.clock.advance(Duration::from_secs(200_000));
    for who in [&bob, &ada] {
        let again = stage.chat.delete(who, &said.id, DeleteType::ForEveryone).await.unwrap();
        assert!(!again.changed, "a repeat is no failure, however late");
        assert_eq!(again.message, first.message);
    }
    let events = stage.events().await;
    let [Event::MessageDeleted(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((event.delete_type, event.seq), (DeleteType::ForEveryone, said.seq));
}

async fn a_sender_has_forty_eight_hours(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let window = Duration::from_secs(48 * 60 * 60);
    let mut said = Vec::new();
    for text in ["one", "two"] {
        said.push(stage.say(&bob, &group, text).await);
    }
    let direct = stage.chat.send(&ada, &bob.user, "three", None).await.unwrap().message;
    stage.clock.advance(window);
    assert!(stage.chat.delete(&bob, &said[0].id, DeleteType::ForEveryone).await.unwrap().changed);
    stage.clock.advance(Duration::from_millis(1));
    stage.quiet().await;
    let conversations = [group, direct_id(&ada.user, &bob.user).unwrap()];
    let before = stage.truth(&conversations, &[]).await;
    refused(stage.chat.delete(&bob, &said[1].id, DeleteType::ForEveryone).await, Code::DeleteTooLate);
    refused(stage.chat.delete(&ada, &direct.id, DeleteType::ForEveryone).await, Code::DeleteTooLate);
    assert_eq!(stage.truth(&conversations, &[]).await, before);
}

async fn the_window_is_a_setting(offer: Offer) {
    let settings = ChatSettings::default().with_delete_window(Duration::from_secs(60));
    let stage = Stage::with(offer, |chat| chat.settings(settings)).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&bob, &group, "one").await;
    stage.clock.advance(Duration::from_millis(60_001));
    refused(stage.chat.delete(&bob, &said.id, DeleteType::ForEveryone).await, Code::DeleteTooLate);
}

async fn those_who_keep_order_delete_at_any_time(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    stage.chat.set_role(&ada, &group, &cid.user, RoomRole::Moderator).await.unwrap();
    let mut said = Vec::new();
    for (who, text) in [(&bob, "one"), (&ada, "two"), (&cid, "three")] {
        said.push(stage.say(who, &group, text).await);
    }
    stage.clock.advance(Duration::from_secs(1_000_000));
    for (who, message) in [(&ada, &said[0]), (&cid, &said[1]), (&cid, &said[2])] {
        assert!(stage.chat.delete(who, &message.id, DeleteType::ForEveryone).await.unwrap().changed);
    }
    assert_eq!(seen(&stage, &bob, &group).await, ["", "", ""]);
}

async fn others_delete_for_themselves_only(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    let said = stage.say(&bob, &group, "one").await;
    let direct = stage.chat.send(&ada, &bob.user, "two", None).await.unwrap().message;
    let note = stage.messages(&group).await.remove(0);
    for (who, message) in [(&cid, &said), (&bob, &direct), (&bob, &note)] {
        refused(stage.chat.delete(who, &message.id, DeleteType::ForEveryone).await, Code::Forbidden);
    }
    assert_eq!(seen(&stage, &ada, &group).await, ["one"]);
    assert!(stage.chat.delete(&cid, &said.id, DeleteType::ForMe).await.unwrap().changed);
}

async fn deleting_lowers_the_unread_count_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut said = Vec::new();
    for n in 0..3 {
        let draft = Draft {
            mentions: Mentions { users: vec![user("bob")], everyone: n == 0 },
            ..Draft::text(format!("@bob {n}"))
        };
        said.push(stage.chat.send(&ada, &group, draft, None).await.unwrap().message);
    }
    assert_eq!(stage.unread(&bob, &group).await, (3, 3));
    for _ in 0..3 {
        stage.chat.delete(&ada, &said[1].id, DeleteType::ForEveryone).await.unwrap();
        assert_eq!(stage.unread(&bob, &group).await, (2, 2));
        assert_eq!(stage.recounted(&bob, &group).await, (2, 2));
    }
    // The worker that repeats it changes nothing either.
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
        stage.chat.apply(&envelope).await.unwrap();
    }
    assert_eq!(stage.unread(&bob, &group).await, (2, 2));
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 2);
    for message in &said {
        stage.chat.delete(&ada, &message.id, DeleteType::ForEveryone).await.unwrap();
    }
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
}

async fn deleting_what_was_read_lowers_nothing(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let read = stage.say(&ada, &group, "read").await;
    stage.chat.mark_read(&bob, &group, read.seq).await.unwrap();
    stage.say(&ada, &group, "unread").await;
    stage.chat.delete(&ada, &read.id, DeleteType::ForEveryone).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
    assert_eq!(stage.unread(&ada, &group).await, (0, 0));
}

async fn racing_deletions_are_one(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&ada, &group, "one").await;
    let said = stage.say(&ada, &group, "two").await;
    stage.quiet().await;
    let changed = at_once(16, |_| {
        let (chat, ada, id) = (stage.chat.clone(), ada.clone(), said.id.clone());
        async move { chat.delete(&ada, &id, DeleteType::ForEveryone).await.unwrap().changed }
    })
    .await;
    assert_eq!(changed.into_iter().filter(|changed| *changed).count(), 1);
    assert_eq!(stage.kinds().await, ["message.deleted"]);
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
}

async fn a_deleted_reply_is_not_counted(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let root = stage.say(&ada, &group, "a question").await;
    let mut replies = Vec::new();
    for n in 0..3 {
        let thread = Some(ThreadPlace { root: root.id.clone(), also_in_conversation: false });
        let draft = Draft { thread, ..Draft::text(format!("answer {n}")) };
        replies.push(stage.chat.send(&ada, &group, draft, None).await.unwrap().message);
    }
    for _ in 0..2 {
        stage.chat.delete(&ada, &replies[1].id, DeleteType::ForEveryone).await.unwrap();
        assert_eq!(stage.chat.find(&ada, &root.id).await.unwrap().replies.replies, 2);
    }
}

/// Takes the room index away after so many questions.
#[derive(Debug)]
struct AwayAfter(Arc<AtomicU32>);

#[async_trait]
impl RoomBug for AwayAfter {
    async fn roles(
        &self,
        port: &dyn RoomStore,
        room: &RoomId,
        users: &[UserId],
    ) -> Result<Option<Vec<Option<RoomRole>>>> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() { Err(Code::Unavailable.into()) } else { port.roles(room, users).await }
    }
}

async fn an_outage_is_no_refusal(offer: Offer) {
    let left = Arc::new(AtomicU32::new(u32::MAX));
    let offer = plant!(offer, rooms, AwayAfter(Arc::clone(&left)));
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    // Without the index the truth says who keeps order, whichever of the questions it is.
    for questions in 0..2 {
        let said = stage.say(&bob, &group, &format!("message {questions}")).await;
        left.store(questions, Ordering::SeqCst);
        assert!(stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap().changed);
        left.store(u32::MAX, Ordering::SeqCst);
    }
}
