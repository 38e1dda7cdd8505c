//! Promises of reading: receipts and unread counts.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::domain::message::Draft;
use chat_core::domain::{Actor, ConversationId, Mentions, Mute, Page, Seq, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::{CoveredIds, DeleteType, Envelope, Event};
use chat_core::memory::MemoryUnread;
use chat_core::store::conversations::ConversationFilter;
use chat_core::store::messages::{Anchor, HistoryScope};
use chat_core::store::positions::{Moved, PositionStep};
use chat_core::store::{PositionStore, PositionStoreExt};

use crate::Offer;
use crate::expect::{at_once, refused, unavailable};
use crate::faulty::{Faulty, Outage, Switch};
use crate::mutants::{PositionBug, plant};
use crate::sample::user;
use crate::stage::{Stage, actor};

promises! {
    "service::reading":
    what_others_said_since_is_unread,
    what_one_says_counts_as_read,
    the_system_and_silent_messages_do_not_count,
    reading_is_a_maximum_and_says_so_once,
    receiving_is_a_maximum_and_says_so_once,
    beyond_the_newest_message_means_that,
    marking_as_unread_is_the_only_way_down,
    a_late_read_does_not_undo_marking_as_unread,
    who_has_read_stays_a_reader,
    the_author_is_no_reader,
    the_total_leaves_out_muted_and_archived_conversations,
    a_mute_ends_by_itself,
    a_new_member_has_nothing_unread_but_sees_the_past,
    a_new_member_begins_anew_although_the_first_try_failed,
    who_comes_back_has_nothing_unread,
    who_comes_back_after_marking_as_unread_does_not_drift,
    lost_counts_come_back_the_same,
    a_store_that_lost_everything_counts_as_before,
    a_store_that_lost_a_read_is_told_again,
    racing_readers_and_writers_end_at_zero,
    counts_survive_an_outage_of_the_derived_store,
    an_outage_of_truth_is_no_zero,
}

async fn what_others_said_since_is_unread(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    assert_eq!(stage.unread(&bob, &group).await, (0, 0), "making a group leaves nothing unread");
    for n in 1..=5 {
        let said = stage.say(&ada, &group, "hello").await;
        assert_eq!(stage.unread(&bob, &group).await, (n, 0), "at once");
        assert_eq!(stage.recounted(&bob, &group).await, (n, 0));
        let list =
            stage.chat.conversations(&bob, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
        assert_eq!((list.items[0].unread.messages, list.items[0].head), (n, said.seq));
    }
    assert_eq!(stage.unread(&ada, &group).await, (0, 0));
    // As if it had never been heard of before.
    refused(stage.chat.unread(&actor("eve"), &group).await, Code::Forbidden);
}

async fn what_one_says_counts_as_read(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for n in 0..3 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    assert_eq!(stage.unread(&bob, &group).await, (3, 0));
    stage.say(&bob, &group, "an answer").await;
    assert_eq!(stage.unread(&bob, &group).await, (0, 0), "who answers has read");
    assert_eq!(stage.recounted(&bob, &group).await, (0, 0));
    assert_eq!(stage.unread(&ada, &group).await, (1, 0));
}

async fn the_system_and_silent_messages_do_not_count(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let silent = Draft {
        silent: true,
        mentions: Mentions { users: vec![user("bob")], everyone: true },
        ..Draft::text("psst")
    };
    stage.chat.send(&ada, &group, silent, None).await.unwrap();
    stage.chat.add_members(&ada, &group, &[user("cid")]).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
    assert_eq!(stage.recounted(&bob, &group).await, (0, 0));
    stage.say(&ada, &group, "hello").await;
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
}

async fn reading_is_a_maximum_and_says_so_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut said = Vec::new();
    for n in 0..4 {
        said.push(stage.say(&ada, &group, &format!("{n}")).await);
    }
    stage.quiet().await;
    let change = stage.chat.mark_read(&bob, &group, said[1].seq).await.unwrap();
    assert!(change.moved.changed());
    assert_eq!(change.unread.messages, 2);
    assert_eq!((change.moved.after.read.seq, change.moved.after.delivered), (said[1].seq, said[1].seq));
    for earlier in [said[1].seq, said[0].seq, Seq::ZERO] {
        let change = stage.chat.mark_read(&bob, &group, earlier).await.unwrap();
        assert!(!change.moved.changed(), "{earlier}");
        assert_eq!(change.unread.messages, 2);
    }
    let events = stage.events().await;
    let [Event::MessageRead(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((&event.reader_id, event.up_to_seq), (&bob.user, said[1].seq));
    let CoveredIds::Ids(ids) = &event.message_ids else { panic!("{event:?}") };
    assert!(ids.ends_with(&[said[0].id.clone(), said[1].id.clone()]) && !ids.contains(&said[2].id));
    stage.chat.mark_read(&bob, &group, said[3].seq).await.unwrap();
    let events = stage.events().await;
    let [Event::MessageRead(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!(event.message_ids, CoveredIds::Ids(vec![said[2].id.clone(), said[3].id.clone()]));
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
}

async fn receiving_is_a_maximum_and_says_so_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut said = Vec::new();
    for n in 0..3 {
        said.push(stage.say(&ada, &group, &format!("{n}")).await);
    }
    stage.quiet().await;
    assert!(stage.chat.mark_delivered(&bob, &group, said[1].seq).await.unwrap().changed());
    for earlier in [said[1].seq, said[0].seq, Seq::ZERO] {
        assert!(!stage.chat.mark_delivered(&bob, &group, earlier).await.unwrap().changed());
    }
    let events = stage.events().await;
    let [Event::MessageDelivered(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((&event.user_id, event.up_to_seq), (&bob.user, said[1].seq));
    assert_eq!(stage.unread(&bob, &group).await, (3, 0), "received is not read");
    // Read implies delivered, and is one event.
    stage.chat.mark_read(&bob, &group, said[2].seq).await.unwrap();
    assert!(!stage.chat.mark_delivered(&bob, &group, said[2].seq).await.unwrap().changed());
    assert_eq!(stage.kinds().await, ["message.read"]);
    let readers = stage.chat.readers(&ada, &said[2].id).await.unwrap();
    assert_eq!((readers.read_by, readers.delivered_to), (vec![bob.user.clone()], vec![bob.user]));
}

async fn beyond_the_newest_message_means_that(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "one").await;
    let moved = stage.chat.mark_delivered(&bob, &group, Seq(u64::MAX)).await.unwrap();
    assert_eq!(moved.after.delivered, said.seq);
    let change = stage.chat.mark_read(&bob, &group, Seq(u64::MAX)).await.unwrap();
    assert_eq!(change.moved.after.read.seq, said.seq);
    stage.say(&ada, &group, "two").await;
    assert_eq!(stage.unread(&bob, &group).await, (1, 0), "nobody reads ahead");
    assert_eq!(stage.recounted(&bob, &group).await, (1, 0));
}

async fn marking_as_unread_is_the_only_way_down(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut said = Vec::new();
    for n in 0..4 {
        said.push(stage.say(&ada, &group, &format!("{n}")).await);
    }
    stage.chat.mark_read(&bob, &group, said[3].seq).await.unwrap();
    stage.quiet().await;
    let change = stage.chat.mark_unread(&bob, &group, said[2].seq).await.unwrap();
    assert!(change.moved.changed());
    assert_eq!(change.unread.messages, 2);
    for from in [said[2].seq, said[3].seq, Seq(u64::MAX)] {
        let again = stage.chat.mark_unread(&bob, &group, from).await.unwrap();
        assert!(!again.moved.changed(), "{from} is unread already");
    }
    let events = stage.events().await;
    let [Event::MessageUnread(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((&event.reader_id, event.from_seq), (&bob.user, said[2].seq));
    assert_eq!(stage.unread(&bob, &group).await, (2, 0));
    assert_eq!(stage.recounted(&bob, &group).await, (2, 0));
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 2);
    // From the very beginning, and for what one has said oneself.
    let own = stage.say(&bob, &group, "mine").await;
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
    stage.chat.mark_unread(&bob, &group, Seq::ZERO).await.unwrap();
    let all = stage.unread(&bob, &group).await;
    assert_eq!(all, stage.recounted(&bob, &group).await);
    assert!(all.0 >= 4, "{all:?}");
    stage.chat.mark_read(&bob, &group, own.seq).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
}

async fn a_late_read_does_not_undo_marking_as_unread(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut said = Vec::new();
    for n in 0..4 {
        said.push(stage.say(&ada, &group, &format!("{n}")).await);
    }
    stage.chat.mark_read(&bob, &group, said[3].seq).await.unwrap();
    stage.chat.mark_unread(&bob, &group, said[1].seq).await.unwrap();
    let events = stage.envelopes().await;
    // The events of before come late, in any order and again.
    for envelope in events.iter().chain(events.iter().rev()) {
        stage.chat.apply(envelope).await.unwrap();
        assert_eq!(stage.unread(&bob, &group).await, (3, 0), "{}", envelope.name());
    }
    assert_eq!(stage.recounted(&bob, &group).await, (3, 0));
}

async fn who_has_read_stays_a_reader(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    let said = stage.say(&ada, &group, "one").await;
    let later = stage.say(&ada, &group, "two").await;
    stage.chat.mark_read(&bob, &group, said.seq).await.unwrap();
    stage.chat.mark_delivered(&cid, &group, later.seq).await.unwrap();
    for _ in 0..2 {
        let readers = stage.chat.readers(&ada, &said.id).await.unwrap();
        assert_eq!(
            (readers.read_by, readers.delivered_to),
            (vec![user("bob")], ["bob", "cid"].map(user).to_vec())
        );
        let readers = stage.chat.readers(&bob, &later.id).await.unwrap();
        assert_eq!((readers.read_by, readers.delivered_to), (vec![], vec![user("cid")]));
        stage.chat.mark_unread(&bob, &group, said.seq).await.unwrap();
    }
    let new = actor("new");
    stage.chat.add_members(&ada, &group, from_ref(&new.user)).await.unwrap();
    stage.chat.mark_read(&new, &group, Seq(u64::MAX)).await.unwrap();
    let readers = stage.chat.readers(&ada, &later.id).await.unwrap();
    assert_eq!(
        (readers.read_by, readers.delivered_to),
        (vec![], vec![user("cid")]),
        "who joined later is none"
    );
}

async fn the_author_is_no_reader(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "one").await;
    for who in [&ada, &bob] {
        stage.chat.mark_read(who, &group, said.seq).await.unwrap();
    }
    let readers = stage.chat.readers(&ada, &said.id).await.unwrap();
    assert_eq!((readers.read_by, readers.delivered_to), (vec![user("bob")], vec![user("bob")]));
}

async fn the_total_leaves_out_muted_and_archived_conversations(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let mut groups = Vec::new();
    for n in 0..4 {
        let group = stage.group(&format!("{n}"), &[&ada, &bob]).await;
        for _ in 0..=n {
            let mentions = Mentions { users: vec![user("bob")], everyone: false };
            stage.chat.send(&ada, &group, Draft { mentions, ..Draft::text("@bob") }, None).await.unwrap();
        }
        groups.push(group);
    }
    let total = async || {
        let total = stage.chat.total_unread(&bob).await.unwrap();
        (total.messages, total.mentions)
    };
    assert_eq!(total().await, (10, 10));
    stage.chat.mute(&bob, &groups[1], Some(Mute::Always)).await.unwrap();
    assert_eq!(total().await, (8, 8));
    stage.chat.archive(&bob, &groups[2], true).await.unwrap();
    assert_eq!(total().await, (5, 5));
    for (n, group) in groups.iter().enumerate() {
        assert_eq!(stage.unread(&bob, group).await, (n as u64 + 1, n as u64 + 1), "its own count stays");
    }
    stage.chat.mute(&bob, &groups[1], None).await.unwrap();
    stage.chat.archive(&bob, &groups[2], false).await.unwrap();
    assert_eq!(total().await, (10, 10));
    assert_eq!(stage.chat.total_unread(&actor("nobody")).await.unwrap().messages, 0);
}

async fn a_mute_ends_by_itself(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&ada, &group, "one").await;
    let until = stage.chat.now().after(Duration::from_secs(60));
    let kept = stage.chat.mute(&bob, &group, Some(Mute::Until(until))).await.unwrap();
    assert_eq!(kept.muted, Some(Mute::Until(until)));
    stage.clock.advance(Duration::from_millis(59_999));
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 0);
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 1);
}

async fn a_new_member_has_nothing_unread_but_sees_the_past(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, new) = (actor("ada"), actor("bob"), actor("new"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for n in 0..5 {
        let mentions = Mentions { users: vec![], everyone: true };
        stage.chat.send(&ada, &group, Draft { mentions, ..Draft::text(format!("{n}")) }, None).await.unwrap();
    }
    stage.chat.add_members(&ada, &group, from_ref(&new.user)).await.unwrap();
    assert_eq!(stage.unread(&new, &group).await, (0, 0));
    assert_eq!(stage.recounted(&new, &group).await, (0, 0));
    let past = stage.chat.history(&new, &group, HistoryScope::Everything, Anchor::Latest, 100).await.unwrap();
    assert!(past.messages.len() >= 6 && !past.more_before, "all of it");
    let said = stage.say(&bob, &group, "welcome").await;
    assert_eq!(stage.unread(&new, &group).await, (1, 0));
    stage.chat.mark_read(&new, &group, said.seq).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
    // Whoever likes may begin further up.
    stage.chat.mark_unread(&new, &group, said.seq).await.unwrap();
    assert_eq!(stage.unread(&new, &group).await, (1, 0));
    assert_eq!(stage.recounted(&new, &group).await, (1, 0));
}

/// Loses steps while its switch is thrown.
#[derive(Debug)]
struct LosesSteps(Switch);

#[async_trait]
impl PositionBug for LosesSteps {
    async fn step_many(&self, port: &dyn PositionStore, steps: &[PositionStep]) -> Result<Vec<Moved>> {
        self.0.pass()?;
        port.step_many(steps).await
    }
}

async fn a_new_member_begins_anew_although_the_first_try_failed(offer: Offer) {
    let switch = Switch::default();
    let offer = plant!(offer, positions, LosesSteps(switch.clone()));
    let stage = Stage::new(offer).await;
    let (ada, bob, new, other) = (actor("ada"), actor("bob"), actor("new"), actor("other"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for n in 0..5 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    stage.chat.mark_read(&bob, &group, Seq(3)).await.unwrap();
    let bobs = stage.unread(&bob, &group).await;
    // Its caller tries again.
    switch.begin();
    unavailable(stage.chat.add_members(&ada, &group, from_ref(&new.user)).await);
    switch.end();
    let people = [new.user.clone(), bob.user.clone()];
    stage.chat.add_members(&ada, &group, &people).await.unwrap();
    assert_eq!(stage.unread(&new, &group).await, (0, 0));
    assert_eq!(stage.recounted(&new, &group).await, (0, 0));
    assert_eq!(stage.unread(&bob, &group).await, bobs, "who was in already has not read more by that");
    // Its caller is dead, and the worker finds the event.
    switch.begin();
    unavailable(stage.chat.add_members(&ada, &group, from_ref(&other.user)).await);
    switch.end();
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
    }
    assert_eq!(stage.unread(&other, &group).await, (0, 0));
    assert_eq!(stage.recounted(&other, &group).await, (0, 0));
    assert_eq!(stage.unread(&bob, &group).await, bobs);
}

async fn who_comes_back_has_nothing_unread(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&ada, &group, "unread").await;
    stage.chat.leave(&bob, &group).await.unwrap();
    stage.say(&ada, &group, "missed").await;
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 0);
    stage.chat.add_members(&ada, &group, from_ref(&bob.user)).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
    assert_eq!(stage.recounted(&bob, &group).await, (0, 0));
    stage.say(&ada, &group, "new").await;
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
}

async fn who_comes_back_after_marking_as_unread_does_not_drift(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for n in 0..5 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    stage.chat.mark_read(&bob, &group, Seq(5)).await.unwrap();
    stage.chat.mark_unread(&bob, &group, Seq(3)).await.unwrap();
    stage.chat.leave(&bob, &group).await.unwrap();
    stage.chat.add_members(&ada, &group, from_ref(&bob.user)).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
    stage.say(&ada, &group, "new").await;
    // The worker is late: what it finds happened before.
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
        assert_eq!(stage.unread(&bob, &group).await, (1, 0), "after {}", envelope.name());
    }
    assert_eq!(stage.recounted(&bob, &group).await, (1, 0));
    // And the one who is back may do the same again, which no repeat undoes.
    stage.chat.mark_unread(&bob, &group, Seq(3)).await.unwrap();
    let again = stage.unread(&bob, &group).await;
    assert_eq!(again, stage.recounted(&bob, &group).await);
    stage.chat.add_members(&ada, &group, from_ref(&bob.user)).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, again);
}

async fn lost_counts_come_back_the_same(offer: Offer) {
    let stage = Stage::new(offer).await;
    let people = ["ada", "bob", "cid"].map(actor);
    let all: Vec<&Actor> = people.iter().collect();
    let mut groups: Vec<ConversationId> = Vec::new();
    for n in 0..3_usize {
        let group = stage.group(&format!("{n}"), &all).await;
        for k in 0..12_usize {
            let sender = &people[(n + k * k) % 3];
            let mentions = match k % 4 {
                0 => Mentions { users: vec![people[k % 3].user.clone()], everyone: false },
                1 => Mentions { users: vec![], everyone: true },
                _ => Mentions::default(),
            };
            let draft = Draft { mentions, silent: k % 5 == 4, ..Draft::text(format!("{k}")) };
            let said = stage.chat.send(sender, &group, draft, None).await.unwrap().message;
            if k % 6 == 3 {
                stage.chat.delete(sender, &said.id, DeleteType::ForEveryone).await.unwrap();
            }
            if k % 4 == 2 {
                stage.chat.mark_read(&people[(n + k) % 3], &group, Seq(said.seq.0 - 1)).await.unwrap();
            }
            if k == 8 {
                stage.chat.mark_unread(&people[n], &group, Seq(3)).await.unwrap();
            }
        }
        groups.push(group);
    }
    let counts = async || {
        let mut counts = Vec::new();
        for who in &people {
            for group in &groups {
                counts.push(stage.unread(who, group).await);
            }
        }
        counts
    };
    let before = counts().await;
    assert!(before.iter().any(|(messages, mentions)| *messages > 0 && *mentions > 0));
    let places: Vec<(UserId, ConversationId)> = people
        .iter()
        .flat_map(|who| groups.iter().map(move |group| (who.user.clone(), group.clone())))
        .collect();
    stage.ports().unread.forget_many(&places).await.unwrap();
    assert_eq!(counts().await, before, "asked one by one");
    stage.ports().unread.forget_many(&places).await.unwrap();
    for who in &people {
        let list =
            stage.chat.conversations(who, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
        let total: u64 = list.items.iter().map(|item| item.unread.messages).sum();
        assert_eq!(stage.chat.total_unread(who).await.unwrap().messages, total);
    }
    assert_eq!(counts().await, before, "asked for lists");
    // All of the past once more.
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
    }
    assert_eq!(counts().await, before);
}

async fn a_store_that_lost_everything_counts_as_before(offer: Offer) {
    let stage = Stage::new(offer.clone()).await;
    let (ada, bob, cid) = (actor("ada"), actor("bob"), actor("cid"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    let mut last = Seq::ZERO;
    for n in 1..=10 {
        let sender = if n == 7 { &bob } else { &ada };
        let everyone = n == 9;
        let draft =
            Draft { mentions: Mentions { users: vec![], everyone }, silent: n == 8, ..Draft::text("…") };
        last = stage.chat.send(sender, &group, draft, None).await.unwrap().message.seq;
    }
    let back = |by: u64| Seq(last.0 - by);
    for reader in [&bob, &cid] {
        stage.chat.mark_read(reader, &group, back(7)).await.unwrap();
    }
    let lost = Stage::new(offer.unread(Arc::new(MemoryUnread::new()))).await;
    lost.say(&ada, &group, "eleven").await;
    let read = lost.chat.mark_read(&bob, &group, back(5)).await.unwrap();
    assert_eq!(
        (read.unread.messages, read.unread.mentions),
        (3, 1),
        "9, 10 and 11: he wrote 7, and 8 is silent"
    );
    let read = lost.chat.mark_read(&cid, &group, back(5)).await.unwrap();
    assert_eq!((read.unread.messages, read.unread.mentions), (5, 1), "7 too");
    assert_eq!(lost.unread(&ada, &group).await, (0, 0));
}

async fn a_store_that_lost_a_read_is_told_again(offer: Offer) {
    let stage = Stage::new(offer.clone()).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&ada, &group, "one").await;
    let last = stage.say(&ada, &group, "two").await.seq;
    assert_eq!(stage.unread(&bob, &group).await, (2, 0));
    // Truth is told that bob has read, and the store is not, as if it had failed over to an older copy.
    let elsewhere = Stage::new(offer.unread(Arc::new(MemoryUnread::new()))).await;
    assert!(elsewhere.chat.mark_read(&bob, &group, last).await.unwrap().moved.changed());
    assert_eq!(stage.unread(&bob, &group).await, (2, 0), "it lags");
    let again = stage.chat.mark_read(&bob, &group, last).await.unwrap();
    assert!(!again.moved.changed());
    assert_eq!(again.unread.messages, 0);
    assert_eq!(stage.unread(&bob, &group).await, (0, 0));
}

async fn racing_readers_and_writers_end_at_zero(offer: Offer) {
    let stage = Stage::new(offer).await;
    let people = ["ada", "bob", "cid", "dot"].map(actor);
    let all: Vec<&Actor> = people.iter().collect();
    let group = stage.group("Engines", &all).await;
    at_once(16, |nth| {
        let (chat, group, who) = (stage.chat.clone(), group.clone(), people[nth % 4].clone());
        async move {
            for n in 0..10 {
                if nth < 8 {
                    let said = chat.send(&who, &group, format!("{nth} {n}"), None).await.unwrap().message;
                    if n % 3 == 0 {
                        chat.delete(&who, &said.id, DeleteType::ForEveryone).await.unwrap();
                    }
                } else {
                    let unread = chat.mark_read(&who, &group, Seq(n * 8)).await.unwrap().unread;
                    assert!(unread.messages <= 81, "{unread:?}");
                }
            }
        }
    })
    .await;
    for who in &people {
        assert_eq!(stage.unread(who, &group).await, stage.recounted(who, &group).await);
        let change = stage.chat.mark_read(who, &group, Seq(u64::MAX)).await.unwrap();
        assert_eq!(change.unread.messages, 0);
    }
    // However late the worker: nothing comes back.
    let events: Vec<Envelope> = stage.envelopes().await;
    for envelope in events.iter().rev() {
        stage.chat.apply(envelope).await.unwrap();
    }
    for who in &people {
        assert_eq!(stage.unread(who, &group).await, (0, 0));
    }
}

async fn counts_survive_an_outage_of_the_derived_store(offer: Offer) {
    let switch = Switch::default();
    let unread = Arc::new(Faulty::new(offer.unread.clone().expect("unread"), &switch));
    let stage = Stage::with(offer, |chat| chat.unread(unread)).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for n in 0..3 {
        stage.say(&ada, &group, &format!("{n}")).await;
    }
    switch.begin();
    assert_eq!(stage.unread(&bob, &group).await, (3, 0), "never a zero");
    let said = stage.say(&ada, &group, "during the outage").await;
    assert_eq!(stage.unread(&bob, &group).await, (4, 0));
    let list =
        stage.chat.conversations(&bob, &ConversationFilter::default(), &Page::first(10)).await.unwrap();
    assert_eq!(list.items[0].unread.messages, 4);
    assert_eq!(stage.chat.total_unread(&bob).await.unwrap().messages, 4);
    let change = stage.chat.mark_read(&bob, &group, Seq(said.seq.0 - 1)).await.unwrap();
    assert_eq!(change.unread.messages, 1);
    stage.chat.mark_unread(&bob, &group, Seq(said.seq.0 - 1)).await.unwrap();
    stage.chat.delete(&ada, &said.id, DeleteType::ForEveryone).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
    switch.end();
    for envelope in stage.envelopes().await {
        stage.chat.apply(&envelope).await.unwrap();
    }
    assert_eq!(stage.unread(&bob, &group).await, (1, 0), "and the worker makes up for what was missed");
}

async fn an_outage_of_truth_is_no_zero(offer: Offer) {
    let switch = Switch::default();
    let positions = Arc::new(Faulty::new(offer.positions.clone().expect("positions"), &switch));
    let stage = Stage::with(offer, |chat| chat.positions(positions)).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&ada, &group, "one").await;
    switch.begin();
    assert_eq!(stage.unread(&bob, &group).await, (1, 0), "what is known is known");
    stage.ports().unread.forget_many(&[(bob.user.clone(), group.clone())]).await.unwrap();
    unavailable(stage.chat.unread(&bob, &group).await);
    unavailable(stage.chat.total_unread(&bob).await);
    unavailable(stage.chat.mark_read(&bob, &group, Seq(1)).await);
    unavailable(stage.chat.conversations(&bob, &ConversationFilter::default(), &Page::first(10)).await);
    switch.end();
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
    let receipts = stage.ports().positions.receipts(&bob.user, &group).await.unwrap();
    assert_eq!(receipts.read.seq, Seq::ZERO, "what failed changed nothing");
}
