//! Promises of the `positions` port: who has received and read what.

use std::collections::BTreeSet;
use std::sync::Arc;

use chat_core::clock::Clock;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{
    ConversationId, Mentions, Message, MessageId, MessageKind, ReadPosition, Receipts, Seq, Unread, UserId,
};
use chat_core::error::Code;
use chat_core::event::payload::MAX_COVERED_IDS;
use chat_core::event::{
    CoveredIds, DeleteType, Event, EventKind, MessageDelivered, MessageRead, MessageUnread,
};
use chat_core::store::positions::{Moved, PositionStep, Step};
use chat_core::store::unread::UnreadTruth;
use chat_core::store::{MessageStoreExt, PositionStore, PositionStoreExt};

use super::messages::Desk;
use crate::expect::{at_once, drained, refused, unavailable};
use crate::model::positions::agrees_with_the_model_on_random_histories;
use crate::offer::Offer;
use crate::run::checks;
use crate::sample;
use crate::walk::walk;

checks! {
    "positions" needs [messages, positions, outbox]:
    nobody_has_received_anything_at_first,
    positions_are_maxima,
    positions_never_pass_the_newest_message,
    what_is_read_is_delivered,
    steps_are_answered_in_order,
    every_real_advance_writes_one_event,
    a_receipt_covers_the_messages_of_others_alone,
    up_to_a_hundred_messages_are_named_and_more_are_all,
    who_joins_has_nothing_unread_and_writes_no_event,
    what_came_before_joining_is_not_received_later,
    marking_as_unread_goes_back_and_writes_one_event,
    marking_as_unread_twice_goes_back_once,
    marking_as_unread_never_goes_forward,
    reading_what_is_read_does_not_undo_a_rewind,
    what_was_marked_unread_can_be_read_again,
    what_one_writes_is_not_unread,
    what_one_wrote_before_a_rewind_does_not_undo_it,
    readers_are_those_who_read_it,
    the_author_is_no_reader_and_nor_is_who_joined_later,
    who_marked_it_unread_is_still_its_reader,
    receivers_are_those_it_reached,
    readers_come_in_pages_of_any_size,
    racing_steps_cover_every_message_once,
    positions_stay_behind_racing_writers,
    a_recount_agrees_with_the_messages_themselves,
    recounts_line_up_with_the_question,
    hostile_ids_are_only_ids,
    an_outage_is_never_a_position + outage,
    agrees_with_the_model_on_random_histories,
}

/// Ann's messages here, and how far others have got.
struct Readers {
    desk: Arc<Desk>,
    positions: Arc<dyn PositionStore>,
}

impl Readers {
    /// After Ann has said so many things.
    async fn of(offer: &Offer, messages: usize) -> Arc<Self> {
        let desk = Desk::new(offer);
        for nth in 1..=messages {
            desk.say(&format!("text {nth}")).await;
        }
        desk.events().await;
        Arc::new(Self { desk, positions: offer.positions.clone().expect("positions") })
    }

    async fn step(&self, user: &UserId, step: Step) -> Moved {
        self.positions.step(user, &self.desk.here, step).await.unwrap()
    }

    /// Takes a step that has to change something.
    async fn moves(&self, user: &UserId, step: Step) -> Receipts {
        let moved = self.step(user, step).await;
        assert!(moved.changed(), "{step:?} changes something: {moved:?}");
        assert_eq!(self.receipts(user).await, moved.after);
        moved.after
    }

    /// Takes a step that must not change anything.
    async fn stays(&self, user: &UserId, step: Step) {
        let before = self.receipts(user).await;
        let moved = self.step(user, step).await;
        assert_eq!(moved, Moved { before, after: before }, "{step:?} changes nothing");
        assert_eq!(self.receipts(user).await, before);
    }

    async fn receipts(&self, user: &UserId) -> Receipts {
        self.positions.receipts(user, &self.desk.here).await.unwrap()
    }

    /// Whose order is the backend's own.
    async fn readers(&self, seq: u64) -> Vec<String> {
        let page = self.positions.readers(&self.desk.here, Seq(seq), &Page::first(MAX_PAGE)).await.unwrap();
        assert_eq!(page.next, None);
        sorted(&page.items)
    }

    async fn receivers(&self, seq: u64) -> Vec<String> {
        let page = self.positions.receivers(&self.desk.here, Seq(seq), &Page::first(MAX_PAGE)).await.unwrap();
        assert_eq!(page.next, None);
        sorted(&page.items)
    }

    async fn truth(&self, user: &UserId) -> UnreadTruth {
        self.positions.recount(user, std::slice::from_ref(&self.desk.here)).await.unwrap().remove(0)
    }

    async fn unread(&self, user: &UserId) -> u64 {
        self.truth(user).await.unread().messages
    }
}

fn sorted(users: &[UserId]) -> Vec<String> {
    let mut names: Vec<_> = users.iter().map(UserId::to_string).collect();
    names.sort();
    names
}

fn unread(from: u64, epoch: u32) -> Step {
    Step::Unread { from: Seq(from), epoch }
}

fn read(seq: u64) -> Step {
    Step::Read(Seq(seq))
}

fn delivered(seq: u64) -> Step {
    Step::Delivered(Seq(seq))
}

fn covered(messages: &[Message]) -> CoveredIds {
    CoveredIds::Ids(messages.iter().map(|message| message.id.clone()).collect())
}

async fn nobody_has_received_anything_at_first(offer: Offer) {
    let on = Readers::of(&offer, 3).await;
    let question =
        [(on.desk.ben.clone(), on.desk.here.clone()), (on.desk.ben.clone(), sample::conversation("nowhere"))];
    assert_eq!(on.positions.receipts_many(&question).await.unwrap(), [Receipts::default(); 2]);
    assert!(on.positions.receipts_many(&[]).await.unwrap().is_empty());
    assert_eq!(on.readers(1).await, [""; 0]);
    assert_eq!(on.unread(&on.desk.ben).await, 3);
}

async fn positions_are_maxima(offer: Offer) {
    let on = Readers::of(&offer, 9).await;
    let ben = &on.desk.ben;
    assert_eq!(on.moves(ben, delivered(4)).await.delivered, Seq(4));
    on.stays(ben, delivered(4)).await;
    on.stays(ben, delivered(2)).await;
    on.stays(ben, delivered(0)).await;
    let after = on.moves(ben, read(3)).await;
    assert_eq!((after.delivered, after.read, after.seen), (Seq(4), ReadPosition::at(Seq(3)), Seq(3)));
    on.stays(ben, read(3)).await;
    on.stays(ben, read(1)).await;
    on.stays(ben, delivered(3)).await;
    assert_eq!(on.moves(ben, read(7)).await.seen, Seq(7));
}

async fn positions_never_pass_the_newest_message(offer: Offer) {
    let on = Readers::of(&offer, 4).await;
    let ben = &on.desk.ben;
    assert_eq!(on.moves(ben, delivered(99)).await.delivered, Seq(4));
    let after = on.moves(ben, read(u64::MAX)).await;
    assert_eq!((after.delivered, after.read.seq, after.seen), (Seq(4), Seq(4), Seq(4)));
    let joined = on.moves(&sample::user("eve"), Step::Joined(Seq(99))).await;
    assert_eq!((joined.joined, joined.read.seq), (Seq(4), Seq(4)));
    on.desk.say("one more").await;
    assert_eq!(on.unread(ben).await, 1, "what came later is not read");
    assert_eq!(on.unread(&sample::user("eve")).await, 1);
    for step in [read(5), delivered(5), Step::Joined(Seq(5))] {
        let moved = on.positions.step(ben, &sample::conversation("nowhere"), step).await.unwrap();
        assert_eq!(moved.after, Receipts::default(), "where nothing was said there is nothing to read");
    }
    let written: Vec<_> = drained(&*on.desk.outbox).await;
    assert!(written.iter().all(|envelope| envelope.key() == "here"), "{written:?}");
}

async fn what_is_read_is_delivered(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    let after = on.moves(&on.desk.ben, read(3)).await;
    assert_eq!((after.delivered, after.read.seq), (Seq(3), Seq(3)));
    assert_eq!(on.receivers(3).await, ["ben"]);
    on.stays(&on.desk.ben, delivered(3)).await;
}

async fn steps_are_answered_in_order(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    assert!(on.positions.step_many(&[]).await.unwrap().is_empty());
    let there = sample::conversation("there");
    on.desk.append(&sample::text(&there, &on.desk.ann, "text")).await;
    let step = |name: &str, conversation: &ConversationId, step| PositionStep {
        user: sample::user(name),
        conversation: conversation.clone(),
        step,
    };
    let here = &on.desk.here;
    let steps = [
        step("ben", here, read(2)),
        step("eve", here, delivered(1)),
        step("ben", &there, read(1)),
        step("ben", here, read(1)),
        step("ben", here, read(4)),
    ];
    let moved = on.positions.step_many(&steps).await.unwrap();
    let reads: Vec<_> = moved.iter().map(|moved| (moved.before.read.seq.0, moved.after.read.seq.0)).collect();
    assert_eq!(reads, [(0, 2), (0, 0), (0, 1), (2, 2), (2, 4)]);
    let question = [("eve", here), ("ben", &there), ("nobody", here), ("ben", here)]
        .map(|(name, conversation)| (sample::user(name), conversation.clone()));
    let receipts = on.positions.receipts_many(&question).await.unwrap();
    let reached: Vec<_> =
        receipts.iter().map(|receipts| (receipts.delivered.0, receipts.read.seq.0)).collect();
    assert_eq!(reached, [(1, 0), (1, 1), (0, 0), (4, 4)]);
}

async fn every_real_advance_writes_one_event(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    let (ben, here, now) = (&on.desk.ben, &on.desk.here, on.desk.clock.now());
    let all = on.desk.messages.get_many(&said(&on).await).await.unwrap();
    let all: Vec<_> = all.into_iter().flatten().collect();
    // Everything twice, and with steps between that change nothing.
    for step in [delivered(2), delivered(1), read(3), read(2), delivered(3), read(5), delivered(5), read(99)]
    {
        on.step(ben, step).await;
        on.step(ben, step).await;
    }
    let written = drained(&*on.desk.outbox).await;
    assert!(written.iter().all(|envelope| envelope.key() == "here" && envelope.at == now));
    let was_delivered = |up_to: u64, ids| {
        Event::MessageDelivered(MessageDelivered {
            conversation_id: here.clone(),
            user_id: ben.clone(),
            up_to_seq: Seq(up_to),
            message_ids: ids,
            timestamp: now,
        })
    };
    let was_read = |up_to: u64, ids, modified_count| {
        Event::MessageRead(MessageRead {
            conversation_id: here.clone(),
            reader_id: ben.clone(),
            up_to_seq: Seq(up_to),
            message_ids: ids,
            modified_count,
            read_at: now,
            position: ReadPosition::at(Seq(up_to)),
        })
    };
    let written: Vec<_> = written.into_iter().map(|envelope| envelope.event).collect();
    let expected = [
        was_delivered(2, covered(&all[..2])),
        was_read(3, covered(&all[..3]), 3),
        was_read(5, covered(&all[3..]), 2),
    ];
    assert_eq!(written, expected);
}

/// The ids of everything said here.
async fn said(on: &Readers) -> Vec<MessageId> {
    use chat_core::store::messages::{Anchor, HistoryQuery, HistoryScope, MAX_HISTORY};
    let (conversation, scope) = (on.desk.here.clone(), HistoryScope::Everything);
    let query =
        HistoryQuery { conversation, viewer: None, scope, anchor: Anchor::Latest, limit: MAX_HISTORY };
    on.desk.messages.history(&query).await.unwrap().messages.into_iter().map(|message| message.id).collect()
}

#[track_caller]
fn read_event(mut written: Vec<Event>) -> MessageRead {
    match (written.pop(), written.pop()) {
        (Some(Event::MessageRead(read)), None) => read,
        other => panic!("one message.read and nothing else: {other:?}"),
    }
}

async fn a_receipt_covers_the_messages_of_others_alone(offer: Offer) {
    let on = Readers::of(&offer, 1).await;
    let mine = on.desk.append(&sample::text(&on.desk.here, &on.desk.ben, "my own")).await;
    let theirs = on.desk.append(&sample::text(&on.desk.here, &sample::user("eve"), "hers")).await;
    on.desk.events().await;
    on.moves(&on.desk.ben, read(3)).await;
    let event = read_event(on.desk.events().await);
    let CoveredIds::Ids(ids) = event.message_ids else { panic!("named") };
    assert_eq!(ids.last(), Some(&theirs.id));
    assert!(ids.len() == 2 && !ids.contains(&mine.id), "{ids:?}");
    assert_eq!((event.up_to_seq, event.modified_count), (Seq(3), 2));
}

async fn up_to_a_hundred_messages_are_named_and_more_are_all(offer: Offer) {
    let on = Readers::of(&offer, MAX_COVERED_IDS + 1).await;
    let most = MAX_COVERED_IDS as u64;
    on.moves(&on.desk.ben, read(most)).await;
    let event = read_event(on.desk.events().await);
    let CoveredIds::Ids(ids) = event.message_ids else { panic!("a hundred are named") };
    assert_eq!((ids.len(), event.modified_count), (MAX_COVERED_IDS, most));
    on.moves(&sample::user("eve"), read(most + 1)).await;
    let event = read_event(on.desk.events().await);
    assert_eq!((event.message_ids, event.modified_count), (CoveredIds::All, most + 1));
    on.moves(&sample::user("zoe"), delivered(most + 1)).await;
    match on.desk.events().await.as_slice() {
        [Event::MessageDelivered(event)] => assert_eq!(event.message_ids, CoveredIds::All),
        other => panic!("{other:?}"),
    }
}

async fn who_joins_has_nothing_unread_and_writes_no_event(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    let ben = &on.desk.ben;
    let joined = on.moves(ben, Step::Joined(Seq(4))).await;
    assert_eq!((joined.joined, joined.read.seq, joined.read.epoch), (Seq(4), Seq(4), 0));
    assert_eq!(on.unread(ben).await, 1, "only what was said since");
    on.stays(ben, Step::Joined(Seq(4))).await;
    on.stays(ben, Step::Joined(Seq(2))).await;
    assert_eq!(on.moves(ben, Step::Joined(Seq(5))).await.joined, Seq(5), "it only ever raises");
    assert_eq!(on.unread(ben).await, 0);
    let reader = sample::user("eve");
    on.moves(&reader, read(5)).await;
    on.desk.events().await;
    let before = on.receipts(&reader).await;
    let after = on.step(&reader, Step::Joined(Seq(3))).await.after;
    assert_eq!((after.read, after.delivered), (before.read, before.delivered), "it never lowers");
    assert_eq!(on.desk.events().await, []);
}

async fn what_came_before_joining_is_not_received_later(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    let joined = on.moves(&on.desk.ben, Step::Joined(Seq(4))).await;
    assert!(joined.delivered >= joined.read.seq, "what is read is delivered: {joined:?}");
    on.stays(&on.desk.ben, delivered(3)).await;
    on.moves(&on.desk.ben, delivered(5)).await;
    let newest = said(&on).await.pop();
    match on.desk.events().await.as_slice() {
        [Event::MessageDelivered(event)] => {
            assert_eq!(event.message_ids, CoveredIds::Ids(newest.into_iter().collect()))
        }
        other => panic!("{other:?}"),
    }
}

async fn marking_as_unread_goes_back_and_writes_one_event(offer: Offer) {
    let on = Readers::of(&offer, 9).await;
    let ben = &on.desk.ben;
    let before = on.moves(ben, read(7)).await;
    on.desk.events().await;
    let after = on.moves(ben, unread(3, 0)).await;
    let read = ReadPosition { epoch: 1, seq: Seq(2), rewound_at: Seq(9) };
    assert_eq!(after, Receipts { read, ..before }, "delivered and seen stay");
    assert_eq!(on.unread(ben).await, 7, "from the third on");
    let again = on.moves(ben, unread(1, 1)).await;
    assert_eq!((again.read.seq, again.read.epoch), (Seq::ZERO, 2));
    assert_eq!(on.unread(ben).await, 9);
    let was_unread = |from: u64, position| {
        Event::MessageUnread(MessageUnread {
            conversation_id: on.desk.here.clone(),
            reader_id: ben.clone(),
            from_seq: Seq(from),
            position,
        })
    };
    assert_eq!(on.desk.events().await, [was_unread(3, read), was_unread(1, again.read)]);
}

async fn marking_as_unread_twice_goes_back_once(offer: Offer) {
    let on = Readers::of(&offer, 9).await;
    let ben = &on.desk.ben;
    on.moves(ben, read(9)).await;
    on.moves(ben, unread(5, 0)).await;
    on.stays(ben, unread(5, 0)).await;
    on.moves(ben, read(8)).await;
    on.desk.events().await;
    // The same request, come late: the user has read on since.
    on.stays(ben, unread(5, 0)).await;
    on.stays(ben, unread(2, 7)).await;
    assert_eq!(on.unread(ben).await, 1);
    let racing = at_once(8, |_| {
        let on = Arc::clone(&on);
        async move { on.step(&on.desk.ben, unread(4, 1)).await }
    })
    .await;
    assert_eq!(racing.iter().filter(|moved| moved.changed()).count(), 1, "of one epoch one rewind holds");
    assert_eq!(on.receipts(ben).await.read.epoch, 2);
    assert_eq!(on.desk.events().await.len(), 1, "which writes one event");
}

async fn marking_as_unread_never_goes_forward(offer: Offer) {
    let on = Readers::of(&offer, 9).await;
    on.moves(&on.desk.ben, read(3)).await;
    for from in [4, 5, 9, 10, 99] {
        on.stays(&on.desk.ben, unread(from, 0)).await;
    }
    assert_eq!(on.unread(&on.desk.ben).await, 6);
    let read = read_event(on.desk.events().await);
    assert_eq!(read.up_to_seq, Seq(3), "nothing was marked, so nothing is said");
}

async fn reading_what_is_read_does_not_undo_a_rewind(offer: Offer) {
    let on = Readers::of(&offer, 9).await;
    let ben = &on.desk.ben;
    let first = on.moves(ben, read(9)).await;
    let rewound = on.moves(ben, unread(5, 0)).await;
    on.desk.events().await;
    for step in [read(4), read(1), delivered(9), Step::Joined(Seq(3))] {
        on.step(ben, step).await;
    }
    assert_eq!(on.receipts(ben).await.read, rewound.read);
    assert_eq!(
        rewound.read.merge(first.read),
        rewound.read,
        "a copy of the position before it comes too late"
    );
    assert_eq!(on.unread(ben).await, 5);
    assert_eq!(on.desk.events().await, []);
}

async fn what_was_marked_unread_can_be_read_again(offer: Offer) {
    let on = Readers::of(&offer, 9).await;
    let ben = &on.desk.ben;
    on.moves(ben, read(9)).await;
    on.moves(ben, unread(3, 0)).await;
    on.desk.events().await;
    let after = on.moves(ben, read(6)).await;
    assert_eq!((after.read.epoch, after.read.seq, after.seen), (1, Seq(6), Seq(9)));
    assert_eq!(on.unread(ben).await, 3);
    let event = read_event(on.desk.events().await);
    assert_eq!((event.up_to_seq, event.position), (Seq(6), after.read), "a real advance");
}

async fn what_one_writes_is_not_unread(offer: Offer) {
    let on = Readers::of(&offer, 3).await;
    let ben = &on.desk.ben;
    assert_eq!(on.unread(&on.desk.ann).await, 0, "Ann wrote all of it");
    on.desk.append(&sample::text(&on.desk.here, ben, "my own")).await;
    assert_eq!(on.receipts(ben).await.own, Seq(4));
    assert_eq!(on.unread(ben).await, 0, "who answers has read what came before");
    on.desk.say("one more").await;
    assert_eq!(on.unread(ben).await, 1);
    assert_eq!(on.unread(&on.desk.ann).await, 0);
}

async fn what_one_wrote_before_a_rewind_does_not_undo_it(offer: Offer) {
    let on = Readers::of(&offer, 3).await;
    let ben = &on.desk.ben;
    on.desk.append(&sample::text(&on.desk.here, ben, "my own")).await;
    on.moves(ben, unread(2, 0)).await;
    let truth = on.truth(ben).await;
    assert_eq!(truth.position.reached(truth.own), Seq(1));
    assert!(truth.unread().messages >= 2, "two and three are unread again");
    on.desk.append(&sample::text(&on.desk.here, ben, "and another")).await;
    assert_eq!(on.unread(ben).await, 0, "what is written after it reads on");
}

async fn readers_are_those_who_read_it(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    for (name, seq) in [("ben", 3), ("eve", 5), ("zoe", 1)] {
        on.moves(&sample::user(name), read(seq)).await;
    }
    on.moves(&sample::user("max"), delivered(5)).await;
    for (seq, expected) in
        [(1, vec!["ben", "eve", "zoe"]), (3, vec!["ben", "eve"]), (4, vec!["eve"]), (6, vec![])]
    {
        assert_eq!(on.readers(seq).await, expected, "{seq}");
    }
    let nowhere = sample::conversation("nowhere");
    assert_eq!(on.positions.readers(&nowhere, Seq(1), &Page::first(10)).await.unwrap().items, []);
    assert_eq!(on.positions.receivers(&nowhere, Seq(1), &Page::first(10)).await.unwrap().items, []);
}

async fn the_author_is_no_reader_and_nor_is_who_joined_later(offer: Offer) {
    let on = Readers::of(&offer, 3).await;
    on.desk.append(&sample::text(&on.desk.here, &on.desk.ben, "my own")).await;
    on.desk.say("five").await;
    on.moves(&sample::user("eve"), Step::Joined(Seq(4))).await;
    for name in ["ann", "ben", "eve"] {
        on.step(&sample::user(name), read(5)).await;
    }
    for (seq, expected) in [(3, vec!["ben"]), (4, vec!["ann"]), (5, vec!["ben", "eve"])] {
        assert_eq!(on.readers(seq).await, expected, "readers of {seq}");
        assert_eq!(on.receivers(seq).await, expected, "receivers of {seq}");
    }
}

async fn who_marked_it_unread_is_still_its_reader(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    on.moves(&on.desk.ben, read(4)).await;
    on.moves(&on.desk.ben, unread(2, 0)).await;
    for seq in [1, 2, 4] {
        assert_eq!(on.readers(seq).await, ["ben"], "{seq}");
        assert_eq!(on.receivers(seq).await, ["ben"], "{seq}");
    }
    assert_eq!(on.readers(5).await, [""; 0]);
}

async fn receivers_are_those_it_reached(offer: Offer) {
    let on = Readers::of(&offer, 5).await;
    on.moves(&sample::user("ben"), delivered(3)).await;
    on.moves(&sample::user("eve"), read(2)).await;
    for (seq, expected) in [(2, vec!["ben", "eve"]), (3, vec!["ben"]), (4, vec![])] {
        assert_eq!(on.receivers(seq).await, expected, "{seq}");
    }
    assert_eq!(on.readers(2).await, ["eve"], "what has reached a device is not read yet");
}

async fn readers_come_in_pages_of_any_size(offer: Offer) {
    let on = Readers::of(&offer, 2).await;
    let names: Vec<_> = (0..25).map(|nth| format!("user {nth:02}")).collect();
    for name in names.iter().rev() {
        on.moves(&sample::user(name), read(2)).await;
    }
    let mut order = None;
    for limit in [1, 2, 7, 25, MAX_PAGE] {
        let (mut page, mut seen) = (Page::first(limit), Vec::new());
        loop {
            let found = on.positions.readers(&on.desk.here, Seq(1), &page).await.unwrap();
            let received = on.positions.receivers(&on.desk.here, Seq(1), &page).await.unwrap();
            assert!(found.items.len() <= limit && found == received);
            // Somebody new each time; who was there all the time is seen exactly once.
            on.step(&sample::user(&format!("new {limit} {}", seen.len())), read(2)).await;
            seen.extend(found.items.iter().map(UserId::to_string));
            match found.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "none twice");
        let old: Vec<_> = seen.into_iter().filter(|name| names.contains(name)).collect();
        assert_eq!(old.len(), names.len(), "by {limit}");
        assert_eq!(*order.get_or_insert_with(|| old.clone()), old, "in a stable order");
    }
    for limit in [0, MAX_PAGE + 1] {
        refused(on.positions.readers(&on.desk.here, Seq(1), &Page::first(limit)).await, Code::PageInvalid);
        refused(on.positions.receivers(&on.desk.here, Seq(1), &Page::first(limit)).await, Code::PageInvalid);
    }
}

async fn racing_steps_cover_every_message_once(offer: Offer) {
    let on = Readers::of(&offer, 60).await;
    let ids = said(&on).await;
    at_once(16, |nth| {
        let on = Arc::clone(&on);
        async move {
            for round in 0..12_u64 {
                let seq = (nth as u64 * 7 + round * 11) % 58 + 1;
                on.step(&on.desk.ben, if nth % 2 == 0 { read(seq) } else { delivered(seq) }).await;
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    on.step(&on.desk.ben, read(60)).await;
    let (mut reads, mut last_read, mut last_delivered) = (Vec::new(), Seq::ZERO, Seq::ZERO);
    for event in on.desk.events().await {
        match event {
            Event::MessageRead(read) => {
                assert!(read.up_to_seq > last_read, "each event is an advance");
                last_read = read.up_to_seq;
                let CoveredIds::Ids(ids) = read.message_ids else { panic!("they are named") };
                reads.extend(ids);
            }
            Event::MessageDelivered(delivered) => {
                assert!(delivered.up_to_seq > last_delivered, "each event is an advance");
                last_delivered = delivered.up_to_seq;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reads, ids, "every message is read once, in order");
}

async fn positions_stay_behind_racing_writers(offer: Offer) {
    let on = Readers::of(&offer, 1).await;
    at_once(8, |nth| {
        let on = Arc::clone(&on);
        async move {
            for _ in 0..25 {
                if nth < 4 {
                    on.desk
                        .append(&sample::text(&on.desk.here, &sample::user(&format!("user {nth}")), "text"))
                        .await;
                } else {
                    let reader = sample::user(&format!("user {nth}"));
                    let step = [read(u64::MAX), delivered(u64::MAX)][nth % 2];
                    let after = on.step(&reader, step).await.after;
                    let head = on.desk.messages.head(&on.desk.here).await.unwrap();
                    assert!(after.read.seq.max(after.delivered) <= head, "{after:?} beyond {head}");
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    for nth in 0..4 {
        let receipts = on.receipts(&sample::user(&format!("user {nth}"))).await;
        assert!((26..=101).contains(&receipts.own.0), "what one wrote last is known: {receipts:?}");
    }
}

/// Counts by looking at every message: what comes after the last one read, and after the last one written unless
/// that was before a rewind.
fn counted(messages: &[Message], user: &UserId, read: ReadPosition) -> Unread {
    let mine =
        messages.iter().rfind(|message| message.sender_id.as_ref() == Some(user)).map(|message| message.seq);
    let own = mine.filter(|seq| *seq > read.rewound_at).unwrap_or(Seq::ZERO);
    let mut unread = Unread::default();
    for message in messages.iter().filter(|message| message.seq > read.seq && message.seq > own) {
        let counts = message.deleted.is_none() && !message.silent && message.kind != MessageKind::System;
        let called = message.mentions.everyone || message.mentions.users.contains(user);
        unread.messages += u64::from(counts);
        unread.mentions += u64::from(counts && called);
    }
    unread
}

async fn a_recount_agrees_with_the_messages_themselves(offer: Offer) {
    let on = Readers::of(&offer, 0).await;
    let (ben, eve) = (on.desk.ben.clone(), sample::user("eve"));
    let names = [Some("ann"), Some("ben"), None, Some("eve"), Some("ann"), Some("zoe")];
    for nth in 0..60_usize {
        let mut new = sample::text(&on.desk.here, &on.desk.ann, "text");
        new.sender_id = names[(nth * 7 + nth / 5) % names.len()].map(sample::user);
        if new.sender_id.is_none() {
            new.draft.kind = MessageKind::System;
        }
        new.draft.silent = nth % 11 == 4;
        new.draft.mentions = Mentions {
            users: if nth % 4 == 1 { vec![ben.clone(), eve.clone()] } else { Vec::new() },
            everyone: nth % 13 == 6,
        };
        let message = on.desk.append(&new).await;
        if nth % 9 == 2 {
            on.desk.messages.delete(&message.id, &on.desk.ann, DeleteType::ForEveryone).await.unwrap();
        }
        if nth % 6 == 5 {
            on.step(&eve, read(message.seq.0 / 2)).await;
        }
        if nth % 17 == 16 {
            let epoch = on.receipts(&ben).await.read.epoch;
            on.step(&ben, unread(message.seq.0 - 10, epoch)).await;
        }
        let all = on.desk.messages.get_many(&said(&on).await).await.unwrap();
        let all: Vec<_> = all.into_iter().flatten().collect();
        for user in [&on.desk.ann, &ben, &eve, &sample::user("zoe"), &sample::user("stranger")] {
            let truth = on.truth(user).await;
            assert_eq!(truth.head, message.seq);
            assert_eq!(truth.unread(), counted(&all, user, truth.position), "{user} after {}", message.seq);
        }
    }
}

async fn recounts_line_up_with_the_question(offer: Offer) {
    let on = Readers::of(&offer, 3).await;
    assert!(on.positions.recount(&on.desk.ben, &[]).await.unwrap().is_empty());
    let there = sample::conversation("there");
    on.desk.append(&sample::text(&there, &on.desk.ann, "text")).await;
    on.moves(&on.desk.ben, read(1)).await;
    let question = [there.clone(), sample::conversation("nowhere"), on.desk.here.clone(), there];
    let truths = on.positions.recount(&on.desk.ben, &question).await.unwrap();
    let counts: Vec<_> = truths.iter().map(|truth| (truth.head.0, truth.unread().messages)).collect();
    assert_eq!(counts, [(1, 1), (0, 0), (3, 2), (1, 1)]);
    assert_eq!(truths[1], UnreadTruth::default());
}

async fn hostile_ids_are_only_ids(offer: Offer) {
    let on = Readers::of(&offer, 0).await;
    let names = sample::hostile_ids();
    for name in &names {
        for _ in 0..names.len() {
            on.desk.append(&sample::text(&sample::conversation(name), &on.desk.ann, "text")).await;
        }
    }
    on.desk.events().await;
    // In every conversation everybody has read up to another place.
    let place = |one: usize, other: usize| ((one + other) % names.len()) as u64 + 1;
    for (one, conversation) in names.iter().enumerate() {
        for (other, user) in names.iter().enumerate() {
            let (user, conversation) = (sample::user(user), sample::conversation(conversation));
            on.positions.step(&user, &conversation, read(place(one, other))).await.unwrap();
        }
    }
    for (one, conversation) in names.iter().enumerate() {
        let conversation = sample::conversation(conversation);
        for (other, user) in names.iter().enumerate() {
            let receipts = on.positions.receipts(&sample::user(user), &conversation).await.unwrap();
            assert_eq!(receipts.read.seq.0, place(one, other), "{user:?} in {conversation:?}");
        }
        let (positions, here) = (&on.positions, &conversation);
        let readers = walk(5, |page| async move { positions.readers(here, Seq(1), &page).await }).await;
        assert!(names.iter().all(|name| readers.contains(&sample::user(name))), "{conversation:?}");
        assert_eq!(readers.len(), names.len());
    }
    let written = drained(&*on.desk.outbox).await;
    assert_eq!(written.len(), names.len() * names.len());
    assert!(written.iter().all(|envelope| envelope.kind() == Some(EventKind::MessageRead)));
}

async fn an_outage_is_never_a_position(offer: Offer) {
    let on = Readers::of(&offer, 3).await;
    let outage = offer.outage.expect("an outage");
    let (positions, ben, here) = (&on.positions, &on.desk.ben, &on.desk.here);
    let before = on.moves(ben, read(1)).await;
    on.desk.events().await;
    outage.begin();
    for step in [read(2), delivered(2), Step::Joined(Seq(2)), unread(1, 0)] {
        unavailable(positions.step(ben, here, step).await);
    }
    unavailable(positions.receipts_many(&[(ben.clone(), here.clone())]).await);
    unavailable(positions.receipts(&sample::user("nobody"), here).await);
    unavailable(positions.readers(here, Seq(1), &Page::first(10)).await);
    unavailable(positions.receivers(here, Seq(1), &Page::first(10)).await);
    unavailable(positions.recount(ben, std::slice::from_ref(here)).await);
    outage.end();
    assert_eq!(on.receipts(ben).await, before, "nothing changed meanwhile");
    assert_eq!(on.desk.events().await, []);
}
