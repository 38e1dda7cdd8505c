//! Promises of editing, reacting and pinning.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use chat_core::domain::message::{Draft, MAX_EMOJIS, MAX_EMOJIS_PER_USER, Reaction};
use chat_core::domain::{Actor, ConversationId, FileId, Mentions, Message, RoomRole};
use chat_core::error::Code;
use chat_core::event::{DeleteType, Event};
use chat_core::memory::MemoryUnread;
use chat_core::service::{Found, NewGroup};
use chat_core::store::messages::MAX_PINS;

use super::sending::{attached, file};
use crate::Offer;
use crate::expect::{at_once, refused};
use crate::sample::user;
use crate::stage::{Stage, actor, platform_admin};

promises! {
    "service::editing":
    an_edit_keeps_what_was_said_before,
    an_edit_says_so_once,
    only_the_sender_edits,
    an_edit_of_another_revision_is_a_conflict,
    of_racing_edits_one_holds,
    bad_edits_are_refused,
    what_is_deleted_cannot_be_edited,
    a_text_beside_a_file_may_be_taken_away,
    an_edit_that_mentions_somebody_raises_their_mentions,
    an_edit_after_a_loss_is_no_news,
    a_reaction_is_a_set_and_not_a_toggle,
    racing_reactions_count_once_each,
    what_is_no_emoji_is_refused,
    reactions_have_limits,
    what_is_deleted_gets_no_reaction,
    recipients_of_a_broadcast_react,
    a_pin_is_for_everyone_until_it_is_taken_away,
    a_pin_comes_down_by_itself,
    pins_have_a_limit,
    a_pin_of_what_is_deleted_is_no_more,
}

async fn an_edit_keeps_what_was_said_before(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "first").await;
    for (text, expect) in [("second", Some(0)), ("third", None)] {
        stage.clock.advance(Duration::from_secs(1));
        let changed = stage.chat.edit(&ada, &said.id, text, Mentions::default(), expect).await.unwrap();
        assert!(changed.changed);
    }
    let found = stage.chat.find(&bob, &said.id).await.unwrap();
    assert_eq!((found.content.as_str(), found.revision, found.seq), ("third", 2, said.seq));
    assert_eq!(found.edited_at, Some(stage.chat.now()));
    let past: Vec<_> = found.past_texts.iter().map(|past| (past.content.as_str(), past.revision)).collect();
    assert_eq!(past, [("first", 0), ("second", 1)]);
}

async fn an_edit_says_so_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "first").await;
    stage.quiet().await;
    let text = "é".repeat(10_000);
    let edited =
        stage.chat.edit(&ada, &said.id, text.clone(), Mentions::default(), None).await.unwrap().message;
    let events = stage.events().await;
    let [Event::MessageEdited(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((&event.message_id, &event.editor_id, event.revision), (&said.id, &ada.user, 1));
    assert_eq!((&event.new_content, event.seq), (&text, said.seq), "nothing is cut off");
    // The text it has already changes nothing, whatever revision the repeat was based on.
    for expect in [None, Some(0), Some(1)] {
        let again = stage.chat.edit(&ada, &said.id, text.clone(), Mentions::default(), expect).await.unwrap();
        assert!(!again.changed);
        assert_eq!(again.message, edited);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
    assert_eq!(stage.unread(&bob, &group).await, (1, 0), "an edit is no new message");
}

async fn only_the_sender_edits(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    stage.chat.set_role(&ada, &group, &cid.user, RoomRole::Moderator).await.unwrap();
    let said = stage.say(&bob, &group, "mine").await;
    let note = stage.messages(&group).await.remove(0);
    let before = stage.truth(from_ref(&group), &[]).await;
    for other in [&ada, &cid, &actor("eve"), &platform_admin()] {
        refused(stage.chat.edit(other, &said.id, "theirs", Mentions::default(), None).await, Code::Forbidden);
        refused(stage.chat.edit(other, &note.id, "theirs", Mentions::default(), None).await, Code::Forbidden);
    }
    assert_eq!(stage.truth(&[group], &[]).await, before);
}

async fn an_edit_of_another_revision_is_a_conflict(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "first").await;
    stage.chat.edit(&ada, &said.id, "second", Mentions::default(), Some(0)).await.unwrap();
    let before = stage.truth(from_ref(&group), &[]).await;
    for expect in [0, 2, u32::MAX] {
        let edit = stage.chat.edit(&ada, &said.id, "third", Mentions::default(), Some(expect)).await;
        refused(edit, Code::EditConflict);
    }
    assert_eq!(stage.truth(&[group], &[]).await, before);
}

async fn of_racing_edits_one_holds(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "first").await;
    stage.quiet().await;
    let outcomes = at_once(16, |nth| {
        let (chat, ada, id) = (stage.chat.clone(), ada.clone(), said.id.clone());
        async move { chat.edit(&ada, &id, format!("text {nth}"), Mentions::default(), Some(0)).await }
    })
    .await;
    let (held, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|outcome| outcome.is_ok());
    assert_eq!(held.len(), 1);
    lost.into_iter().for_each(|outcome| refused(outcome, Code::EditConflict));
    assert_eq!(stage.kinds().await, ["message.edited"]);
    assert_eq!(stage.chat.find(&ada, &said.id).await.unwrap().past_texts.len(), 1);
}

async fn bad_edits_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "first").await;
    let before = stage.truth(from_ref(&group), &[]).await;
    for (text, code) in [
        (String::new(), Code::MessageEmpty),
        (" \n\u{2003}".to_owned(), Code::MessageEmpty),
        ("x".repeat(10_001), Code::MessageTooLong),
    ] {
        refused(stage.chat.edit(&ada, &said.id, text, Mentions::default(), None).await, code);
    }
    let many = Mentions { users: vec![user("bob"); 51], everyone: false };
    refused(stage.chat.edit(&ada, &said.id, "x", many, None).await, Code::MessageInvalid);
    assert_eq!(stage.truth(&[group], &[]).await, before);
}

async fn what_is_deleted_cannot_be_edited(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "first").await;
    stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap();
    stage.quiet().await;
    let edit = stage.chat.edit(&ada, &said.id, "second", Mentions::default(), None).await;
    refused(edit, Code::MessageDeleted);
    assert_eq!(stage.kinds().await, [""; 0]);
}

async fn a_text_beside_a_file_may_be_taken_away(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    let draft = Draft { attachments: vec![attached("f")], ..Draft::text("look") };
    let said = stage.chat.send(&ada, &group, draft, None).await.unwrap().message;
    let edited = stage.chat.edit(&ada, &said.id, "", Mentions::default(), None).await.unwrap().message;
    assert_eq!((edited.content.as_str(), edited.attachments), ("", said.attachments));
    assert_eq!(edited.kind, said.kind);
    stage.chat.delete_file(&ada, &FileId::new("f").unwrap(), true).await.unwrap();
}

async fn an_edit_that_mentions_somebody_raises_their_mentions(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    let said = stage.say(&ada, &group, "hello").await;
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
    let mentions = Mentions { users: vec![user("bob"), user("eve")], everyone: false };
    stage.chat.edit(&ada, &said.id, "hello @bob", mentions, None).await.unwrap();
    for (one, count) in [(&bob, (1, 1)), (&cid, (1, 0)), (&ada, (0, 0))] {
        assert_eq!(stage.unread(one, &group).await, count, "{}", one.user);
        assert_eq!(stage.recounted(one, &group).await, count, "{}", one.user);
    }
    stage.chat.mark_read(&bob, &group, said.seq).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
}

async fn an_edit_after_a_loss_is_no_news(offer: Offer) {
    let stage = Stage::new(offer.clone()).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let first = stage.say(&ada, &group, "first").await;
    for n in 0..4 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    let last = stage.say(&ada, &group, "last").await;
    for by_event in [false, true] {
        let lost = Stage::new(offer.clone().unread(Arc::new(MemoryUnread::new()))).await;
        if by_event {
            for envelope in stage.envelopes().await {
                if let Event::MessageEdited(_) = &envelope.event {
                    lost.chat.apply(&envelope).await.unwrap();
                }
            }
        } else {
            let call = Mentions { users: vec![bob.user.clone()], everyone: false };
            lost.chat.edit(&ada, &first.id, "first, bob", call, None).await.unwrap();
        }
        let read = lost.chat.mark_read(&bob, &group, last.seq.previous()).await.unwrap();
        assert_eq!(read.unread.messages, 1, "the edited message is not the newest, by event: {by_event}");
    }
}

async fn a_reaction_is_a_set_and_not_a_toggle(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "hello").await;
    stage.quiet().await;
    let steps = [
        (&ada, "👍", true, true, "message.reaction.added", 1),
        (&ada, "👍", true, false, "", 1),
        (&bob, "👍", true, true, "message.reaction.added", 2),
        (&bob, ":+1:", true, true, "message.reaction.added", 1),
        (&ada, "❤️", false, false, "", 0),
        (&ada, "👍", false, true, "message.reaction.removed", 1),
        (&ada, "👍", false, false, "", 1),
        (&bob, ":+1:", false, true, "message.reaction.removed", 0),
    ];
    for (who, emoji, on, changes, kind, count) in steps {
        let changed = stage.chat.react(who, &said.id, emoji, on).await.unwrap();
        assert_eq!(changed.changed, changes, "{} {emoji} {on}", who.user);
        match (stage.events().await.as_slice(), kind) {
            ([], "") => {}
            ([Event::MessageReactionAdded(event)], "message.reaction.added") => {
                assert_eq!((&event.user_id, event.emoji.as_str(), event.count), (&who.user, emoji, count));
            }
            ([Event::MessageReactionRemoved(event)], "message.reaction.removed") => {
                assert_eq!((&event.user_id, event.emoji.as_str(), event.count), (&who.user, emoji, count));
            }
            (events, kind) => panic!("{kind} expected: {events:?}"),
        }
    }
    let left = Reaction { emoji: "👍".to_owned(), users: vec![bob.user.clone()] };
    assert_eq!(stage.chat.find(&ada, &said.id).await.unwrap().reactions, [left]);
    assert_eq!(stage.unread(&bob, &group).await, (1, 0), "a reaction is nothing unread");
}

async fn racing_reactions_count_once_each(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let people: Vec<_> = (0..4).map(|n| actor(&format!("u{n}"))).collect();
    let group =
        people.iter().fold(NewGroup::named("Engines"), |group, one| group.with_member(one.user.clone()));
    let group = stage.chat.create_group(&ada, group).await.unwrap().id;
    let said = stage.say(&ada, &group, "hello").await;
    stage.quiet().await;
    let changed = at_once(16, |nth| {
        let (chat, who, id) = (stage.chat.clone(), people[nth % 4].clone(), said.id.clone());
        async move { chat.react(&who, &id, "👍", true).await.unwrap().changed }
    })
    .await;
    assert_eq!(changed.into_iter().filter(|changed| *changed).count(), 4);
    assert_eq!(stage.kinds().await, ["message.reaction.added"; 4]);
    assert_eq!(stage.chat.find(&ada, &said.id).await.unwrap().reactions[0].users.len(), 4);
}

async fn what_is_no_emoji_is_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "hello").await;
    stage.quiet().await;
    let long = format!(":{}:", "x".repeat(31));
    for bad in ["", "a", "1", "👍👍", "👍a", "::", ":a b:", "<b>", "\n", &long] {
        refused(stage.chat.react(&ada, &said.id, bad, true).await, Code::MessageInvalid);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
}

async fn reactions_have_limits(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    let said = stage.say(&ada, &group, "hello").await;
    for n in 0..MAX_EMOJIS_PER_USER {
        stage.chat.react(&ada, &said.id, &format!(":a{n}:"), true).await.unwrap();
    }
    refused(stage.chat.react(&ada, &said.id, ":one_more:", true).await, Code::ReactionLimit);
    for n in MAX_EMOJIS_PER_USER..MAX_EMOJIS {
        stage.chat.react(&bob, &said.id, &format!(":b{n}:"), true).await.unwrap();
    }
    refused(stage.chat.react(&cid, &said.id, ":one_more:", true).await, Code::ReactionLimit);
    assert!(
        stage.chat.react(&cid, &said.id, ":a0:", true).await.unwrap().changed,
        "one that is there already"
    );
}

async fn what_is_deleted_gets_no_reaction(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "hello").await;
    stage.chat.react(&ada, &said.id, "👍", true).await.unwrap();
    let gone = stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap().message;
    assert_eq!(gone.reactions, []);
    stage.quiet().await;
    for on in [true, false] {
        refused(stage.chat.react(&ada, &said.id, "👍", on).await, Code::MessageDeleted);
        refused(stage.chat.pin(&ada, &said.id, true, None).await, Code::MessageDeleted);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
}

async fn recipients_of_a_broadcast_react(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let news = NewGroup::named("News").with_member(bob.user.clone());
    let news = stage.chat.create_broadcast(&ada, news).await.unwrap().id;
    let said = stage.say(&ada, &news, "hello").await;
    assert!(stage.chat.react(&bob, &said.id, "👍", true).await.unwrap().changed);
}

async fn pinned(stage: &Stage, who: &Actor, group: &ConversationId) -> Vec<String> {
    let pinned: Vec<Message> = stage.chat.pinned(who, group).await.unwrap();
    pinned.into_iter().map(|message| message.content).collect()
}

async fn a_pin_is_for_everyone_until_it_is_taken_away(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut said = Vec::new();
    for text in ["one", "two"] {
        said.push(stage.say(&bob, &group, text).await);
    }
    stage.quiet().await;
    // Pinned in another order than said: the list is by place.
    for message in said.iter().rev() {
        assert!(stage.chat.pin(&ada, &message.id, true, None).await.unwrap().changed);
        assert!(!stage.chat.pin(&ada, &message.id, true, None).await.unwrap().changed);
    }
    assert_eq!(stage.kinds().await, ["message.pinned"; 2]);
    assert_eq!(pinned(&stage, &bob, &group).await, ["one", "two"]);
    // What somebody has deleted for itself is not shown to it.
    stage.chat.delete(&bob, &said[0].id, DeleteType::ForMe).await.unwrap();
    assert_eq!(pinned(&stage, &bob, &group).await, ["two"]);
    assert_eq!(pinned(&stage, &ada, &group).await, ["one", "two"]);
    stage.quiet().await;
    refused(stage.chat.pin(&bob, &said[0].id, false, None).await, Code::Forbidden);
    assert!(stage.chat.pin(&ada, &said[0].id, false, None).await.unwrap().changed);
    assert!(!stage.chat.pin(&ada, &said[0].id, false, None).await.unwrap().changed);
    assert_eq!(stage.kinds().await, ["message.unpinned"]);
    assert_eq!(pinned(&stage, &ada, &group).await, ["two"]);
    // In a direct conversation both may.
    let direct = stage.chat.send(&ada, &bob.user, "three", None).await.unwrap().message;
    assert!(stage.chat.pin(&bob, &direct.id, true, None).await.unwrap().changed);
}

async fn a_pin_comes_down_by_itself(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "one").await;
    let until = stage.chat.now().after(Duration::from_secs(60));
    stage.chat.pin(&ada, &said.id, true, Some(until)).await.unwrap();
    stage.clock.advance(Duration::from_millis(59_999));
    assert_eq!(pinned(&stage, &ada, &group).await, ["one"]);
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(pinned(&stage, &ada, &group).await, [""; 0]);
    assert!(stage.chat.pin(&ada, &said.id, true, None).await.unwrap().changed, "and may be put up again");
    assert_eq!(pinned(&stage, &ada, &group).await, ["one"]);
}

async fn pins_have_a_limit(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let mut said = Vec::new();
    for n in 0..=MAX_PINS {
        said.push(stage.say(&ada, &group, &format!("{n}")).await);
    }
    for message in &said[..MAX_PINS] {
        stage.chat.pin(&ada, &message.id, true, None).await.unwrap();
    }
    refused(stage.chat.pin(&ada, &said[MAX_PINS].id, true, None).await, Code::PinLimit);
    stage.chat.pin(&ada, &said[0].id, false, None).await.unwrap();
    assert!(stage.chat.pin(&ada, &said[MAX_PINS].id, true, None).await.unwrap().changed);
}

async fn a_pin_of_what_is_deleted_is_no_more(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "searchable").await;
    stage.chat.pin(&ada, &said.id, true, None).await.unwrap();
    stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap();
    assert_eq!(pinned(&stage, &ada, &group).await, [""; 0]);
    let page = chat_core::domain::Page::first(10);
    let found: Found = stage.chat.search(&ada, "searchable", None, &page).await.unwrap();
    assert_eq!(found.items, []);
}
