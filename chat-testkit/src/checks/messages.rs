//! Promises of the `messages` port: what was said.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::message::{
    MAX_EDITS_KEPT, MAX_EMOJIS, MAX_EMOJIS_PER_USER, NewMessage, PastText, Pin, Reaction, ThreadPlace,
    ThreadSummary, Tombstone,
};
use chat_core::domain::text::Query;
use chat_core::domain::{
    Attachment, ConversationId, ConversationKind, Mentions, Message, MessageId, MessageKind, Seq, UserId,
};
use chat_core::error::{Code, Result};
use chat_core::event::{
    DeleteType, Event, EventKind, MessageDeleted, MessageEdited, MessagePinned, MessageReactionAdded,
    MessageReactionRemoved, MessageSent, MessageUnpinned,
};
use chat_core::store::messages::{
    Anchor, Edit, Head, History, HistoryQuery, HistoryScope, Hit, MAX_HISTORY, MAX_PINS, Purge, SearchQuery,
};
use chat_core::store::{MessageStore, MessageStoreExt, Outbox};

use crate::expect::{at_once, drained, events, refused, unavailable};
use crate::model::messages::{agrees_with_the_model_on_random_histories, around};
use crate::offer::Offer;
use crate::run::checks;
use crate::sample;

checks! {
    "messages" needs [messages, outbox]:
    places_count_from_one_in_every_conversation,
    a_message_is_stored_as_it_was_sent,
    a_batch_is_answered_in_order_and_a_refused_message_holds_up_nobody,
    sixteen_writers_leave_no_gap_and_a_reader_sees_places_in_order,
    a_repeated_client_key_answers_the_first_message,
    a_client_key_cannot_be_used_for_another_content,
    client_keys_belong_to_one_sender_and_one_conversation,
    concurrent_repeats_of_a_client_key_store_one_message,
    repeating_an_append_without_a_key_stores_nothing_new,
    what_a_message_hangs_on_must_be_in_the_conversation,
    a_thread_cannot_begin_inside_a_thread,
    an_append_writes_one_event_with_the_whole_text,
    messages_by_id_line_up_with_the_question,
    hidden_answers_line_up_with_the_question,
    pages_of_any_size_walk_through_everything_once,
    page_limits_outside_one_to_a_hundred_are_refused,
    a_page_says_whether_there_is_more_on_either_side,
    a_page_around_a_message_shows_it_between_its_neighbours,
    a_page_around_a_message_that_is_gone_shows_its_neighbours,
    walks_in_both_directions_see_everything_once_while_others_write,
    scopes_tell_the_conversation_from_its_threads,
    an_unknown_conversation_is_empty,
    heads_line_up_and_show_the_newest_message,
    an_edit_keeps_the_earlier_texts,
    the_first_text_and_the_newest_edits_are_kept,
    racing_edits_of_one_revision_have_one_winner,
    an_edit_of_another_revision_is_refused,
    the_text_it_has_already_changes_nothing,
    deleting_for_everyone_leaves_only_the_place,
    deleting_takes_only_the_message_named,
    deleting_again_changes_nothing,
    racing_deletions_write_one_event,
    deleting_for_me_hides_it_from_me_alone,
    reactions_are_a_set_of_users_and_emojis,
    racing_reactions_are_all_counted_once,
    reactions_have_limits,
    racing_reactions_keep_the_limits,
    reply_counters_count_the_replies_that_are_left,
    reply_counters_are_exact_under_racing_replies_and_deletions,
    pins_hold_until_their_time_comes,
    pinned_messages_come_in_the_order_they_were_said,
    pinning_again_changes_nothing,
    at_most_fifty_pins_hold_at_once,
    racing_pins_keep_the_limit,
    search_folds_case_accents_and_ligatures,
    every_term_must_occur_and_only_the_last_may_be_a_beginning,
    highlights_are_the_byte_ranges_of_the_words,
    search_finds_nothing_outside_the_conversations_asked,
    search_finds_neither_deleted_nor_hidden_nor_former_words,
    hits_come_newest_first_and_pages_of_any_size_miss_none,
    a_search_goes_on_while_others_write_and_delete,
    search_limits_outside_one_to_fifty_are_refused,
    a_purge_takes_what_is_old_and_keeps_what_is_held,
    a_purge_goes_on_from_its_cursor_and_ends,
    purging_again_changes_nothing,
    every_change_writes_exactly_one_event_and_no_change_writes_none,
    a_refusal_changes_nothing_and_writes_nothing,
    hostile_ids_are_only_ids,
    an_outage_is_never_an_empty_answer + outage,
    agrees_with_the_model_on_random_histories,
}

/// One conversation, two people, and what is written down about them.
pub(super) struct Desk {
    pub(super) messages: Arc<dyn MessageStore>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) clock: ManualClock,
    pub(super) here: ConversationId,
    pub(super) ann: UserId,
    pub(super) ben: UserId,
}

impl Desk {
    pub(super) fn new(offer: &Offer) -> Arc<Self> {
        Arc::new(Self {
            messages: offer.messages.clone().expect("messages"),
            outbox: offer.outbox.clone().expect("an outbox"),
            clock: offer.clock.clone(),
            here: sample::conversation("here"),
            ann: sample::user("ann"),
            ben: sample::user("ben"),
        })
    }

    /// Ann says something here.
    pub(super) async fn say(&self, content: &str) -> Message {
        self.append(&sample::text(&self.here, &self.ann, content)).await
    }

    /// Ann says so many numbered things here.
    async fn say_many(&self, count: usize) -> Vec<Message> {
        let new: Vec<_> =
            (1..=count).map(|nth| sample::text(&self.here, &self.ann, &format!("text {nth}"))).collect();
        let answers = self.messages.append_many(&new).await.unwrap();
        answers.into_iter().map(|appended| appended.unwrap().message).collect()
    }

    pub(super) async fn append(&self, new: &NewMessage) -> Message {
        let appended = self.messages.append(new).await.unwrap();
        assert!(!appended.duplicate, "nothing like it was stored before");
        appended.message
    }

    /// A text of Ben in Ann's thread.
    fn reply(&self, root: &MessageId, content: &str) -> NewMessage {
        let mut new = sample::text(&self.here, &self.ben, content);
        new.draft.thread = Some(ThreadPlace { root: root.clone(), also_in_conversation: false });
        new
    }

    pub(super) async fn get(&self, message: &MessageId) -> Message {
        self.messages.get(message).await.unwrap().expect("the message is there")
    }

    pub(super) async fn events(&self) -> Vec<Event> {
        events(&*self.outbox).await
    }

    fn query(&self, anchor: Anchor, limit: usize) -> HistoryQuery {
        let (conversation, scope) = (self.here.clone(), HistoryScope::Everything);
        HistoryQuery { conversation, viewer: None, scope, anchor, limit }
    }

    async fn page(&self, anchor: Anchor, limit: usize) -> History {
        self.messages.history(&self.query(anchor, limit)).await.unwrap()
    }

    /// Everything a query shows, page by page to the end.
    async fn walk_on(&self, query: &HistoryQuery) -> Vec<Message> {
        let mut seen: Vec<Message> = Vec::new();
        loop {
            let anchor = Anchor::After(seen.last().map_or(Seq::ZERO, |message| message.seq));
            let page = self.messages.history(&HistoryQuery { anchor, ..query.clone() }).await.unwrap();
            assert!(page.messages.len() <= query.limit, "a page larger than asked for");
            let more = page.more_after;
            assert!(!more || !page.messages.is_empty(), "more is promised and nothing is given");
            tokio::task::yield_now().await;
            seen.extend(page.messages);
            if !more {
                return seen;
            }
        }
    }

    /// Everything a query shows, page by page from the newest to the beginning; oldest first.
    async fn walk_back(&self, query: &HistoryQuery) -> Vec<Message> {
        let mut seen: Vec<Message> = Vec::new();
        loop {
            let anchor = seen.first().map_or(Anchor::Latest, |message| Anchor::Before(message.seq));
            let page = self.messages.history(&HistoryQuery { anchor, ..query.clone() }).await.unwrap();
            assert!(page.messages.len() <= query.limit, "a page larger than asked for");
            let more = page.more_before;
            assert!(!more || !page.messages.is_empty(), "more is promised and nothing is given");
            tokio::task::yield_now().await;
            seen.splice(0..0, page.messages);
            if !more {
                return seen;
            }
        }
    }

    fn edit(&self, message: &Message, content: &str, expect: Option<u32>) -> Edit {
        let (by, mentions) = (self.ann.clone(), Mentions::default());
        Edit { message: message.id.clone(), by, content: content.to_owned(), mentions, expect }
    }

    async fn delete(&self, message: &Message, whom: DeleteType) -> Message {
        let deleted = self.messages.delete(&message.id, &self.ann, whom).await.unwrap();
        assert!(deleted.changed);
        deleted.message
    }

    fn question(&self, words: &str, conversations: &[ConversationId], limit: usize) -> SearchQuery {
        let words = Query::new(words).expect("words to search for");
        SearchQuery {
            conversations: conversations.to_vec(),
            viewer: self.ben.clone(),
            words,
            after: None,
            limit,
        }
    }

    /// All hits of a question, page by page.
    async fn hits(&self, question: &SearchQuery) -> Vec<Hit> {
        let (mut question, mut hits) = (question.clone(), Vec::new());
        loop {
            let page = self.messages.search(&question).await.unwrap();
            assert!(page.items.len() <= question.limit, "a page larger than asked for");
            hits.extend(page.items);
            match page.next {
                Some(cursor) => question.after = Some(cursor),
                None => return hits,
            }
        }
    }

    /// The texts Ben finds here.
    async fn finds(&self, words: &str) -> Vec<String> {
        let hits = self.hits(&self.question(words, std::slice::from_ref(&self.here), 50)).await;
        hits.into_iter().map(|hit| hit.message.content).collect()
    }

    fn purge(&self, before: Timestamp, limit: usize) -> Purge {
        Purge { conversation: self.here.clone(), before, hold: Vec::new(), after: Seq::ZERO, limit }
    }
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq.0).collect()
}

fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id.clone()).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// Appending

async fn places_count_from_one_in_every_conversation(offer: Offer) {
    let desk = Desk::new(&offer);
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq::ZERO);
    for nth in 1..=5 {
        for name in ["here", "there"] {
            let new = sample::text(&sample::conversation(name), &desk.ann, "hello");
            assert_eq!(desk.append(&new).await.seq, Seq(nth), "{name}");
        }
    }
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(5));
}

async fn a_message_is_stored_as_it_was_sent(offer: Offer) {
    let desk = Desk::new(&offer);
    let (quoted, root) = (desk.say("quoted").await, desk.say("root").await);
    desk.clock.advance(seconds(90));
    let mut new = sample::text(&desk.here, &desk.ann, " Voilà:\t\"quoted\"\n\\ 👩‍👩‍👧 \u{202e}\0 ");
    new.conversation_kind = ConversationKind::Direct;
    new.receiver_id = Some(desk.ben.clone());
    new.client_key = Some(sample::key("k"));
    new.draft.kind = MessageKind::Image;
    new.draft.attachments = vec![Attachment::from(&sample::file(&desk.here, "photo")); 2];
    new.draft.reply_to = Some(quoted.id.clone());
    new.draft.thread = Some(ThreadPlace { root: root.id.clone(), also_in_conversation: true });
    new.draft.mentions = Mentions { users: vec![desk.ben.clone(), desk.ann.clone()], everyone: true };
    new.draft.silent = true;
    new.draft.metadata =
        [("subType".to_owned(), "A.b$c".to_owned()), ("$ne".to_owned(), String::new())].into();
    let expected = Message {
        id: new.id.clone(),
        conversation_id: desk.here.clone(),
        conversation_kind: ConversationKind::Direct,
        seq: Seq(3),
        sender_id: Some(desk.ann.clone()),
        receiver_id: new.receiver_id.clone(),
        kind: MessageKind::Image,
        content: new.draft.content.clone(),
        attachments: new.draft.attachments.clone(),
        reply_to: Some(quoted.id),
        thread: new.draft.thread.clone(),
        mentions: new.draft.mentions.clone(),
        silent: true,
        metadata: new.draft.metadata.clone(),
        reactions: Vec::new(),
        revision: 0,
        edited_at: None,
        past_texts: Vec::new(),
        deleted: None,
        pin: None,
        replies: ThreadSummary::default(),
        client_key: new.client_key.clone(),
        fingerprint: new.draft.fingerprint(),
        created_at: desk.clock.now(),
    };
    assert_eq!(desk.append(&new).await, expected);
    assert_eq!(desk.get(&new.id).await, expected);
    assert_eq!(desk.page(Anchor::Latest, 1).await.messages, [expected]);

    let mut said_by_nobody = sample::text(&desk.here, &desk.ann, "Ann came in");
    (said_by_nobody.sender_id, said_by_nobody.draft.kind) = (None, MessageKind::System);
    let stored = desk.append(&said_by_nobody).await;
    assert_eq!((stored.sender_id, stored.kind, stored.seq), (None, MessageKind::System, Seq(4)));
}

async fn a_batch_is_answered_in_order_and_a_refused_message_holds_up_nobody(offer: Offer) {
    let desk = Desk::new(&offer);
    assert!(desk.messages.append_many(&[]).await.unwrap().is_empty());
    let mut batch: Vec<_> =
        (0..6).map(|nth| sample::text(&desk.here, &desk.ann, &format!("text {nth}"))).collect();
    batch[1].draft.reply_to = Some(sample::message("nowhere"));
    batch[2].client_key = Some(sample::key("k"));
    batch[3] = NewMessage { id: sample::message("another"), ..batch[2].clone() };
    batch[4].conversation_id = sample::conversation("there");
    let answers = desk.messages.append_many(&batch).await.unwrap();
    let outcome = |answer: &Result<_>| match answer {
        Ok(chat_core::store::messages::Appended { message, duplicate }) => (message.seq.0, *duplicate),
        Err(error) => {
            assert_eq!(error.code(), Code::MessageNotFound);
            (0, false)
        }
    };
    let outcomes: Vec<_> = answers.iter().map(outcome).collect();
    assert_eq!(outcomes, [(1, false), (0, false), (2, false), (2, true), (1, false), (3, false)]);
    assert_eq!(seqs(&desk.page(Anchor::Latest, 100).await.messages), [1, 2, 3]);
    assert_eq!(desk.events().await.len(), 4, "one for each message stored");
}

async fn sixteen_writers_leave_no_gap_and_a_reader_sees_places_in_order(offer: Offer) {
    const WRITERS: usize = 16;
    const EACH: usize = 25;
    let desk = Desk::new(&offer);
    let done = Arc::new(AtomicUsize::new(0));
    let told = at_once(WRITERS + 2, |nth| {
        let (desk, done) = (Arc::clone(&desk), Arc::clone(&done));
        async move {
            let mut places = Vec::new();
            if nth < WRITERS {
                let writer = sample::user(&format!("writer {nth}"));
                for _ in 0..EACH {
                    places.push(desk.append(&sample::text(&desk.here, &writer, "hello")).await.seq.0);
                    tokio::task::yield_now().await;
                }
                done.fetch_add(1, Ordering::SeqCst);
                return places;
            }
            loop {
                let last = done.load(Ordering::SeqCst) == WRITERS;
                // Whoever has seen a place has seen everything below it, and nothing comes in there any more.
                let head = desk.messages.head(&desk.here).await.unwrap();
                let page = desk.page(Anchor::After(Seq(places.len() as u64)), MAX_HISTORY).await;
                let fresh = seqs(&page.messages);
                assert!(
                    page.more_after || fresh.last().copied().unwrap_or(head.0) >= head.0,
                    "the head is not there"
                );
                places.extend(fresh);
                assert!(places.iter().copied().eq(1..=places.len() as u64), "a gap: {places:?}");
                if last && !page.more_after {
                    return places;
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let total = (WRITERS * EACH) as u64;
    let (writers, readers) = told.split_at(WRITERS);
    assert!(
        writers.iter().all(|places| places.is_sorted()),
        "one writer's messages in the order it wrote them"
    );
    let mut places: Vec<_> = writers.concat();
    places.sort_unstable();
    assert!(places.into_iter().eq(1..=total), "every place is given once");
    assert!(
        readers.iter().all(|places| places.iter().copied().eq(1..=total)),
        "every reader saw all of them"
    );
    let sent = desk.events().await.into_iter().map(|event| match event {
        Event::MessageSent(sent) => sent.seq.0,
        other => panic!("{other:?}"),
    });
    assert!(sent.eq(1..=total), "one event for each message, in order");
}

async fn a_repeated_client_key_answers_the_first_message(offer: Offer) {
    let desk = Desk::new(&offer);
    let mut new = sample::text(&desk.here, &desk.ann, "hello");
    new.client_key = Some(sample::key("k"));
    let first = desk.append(&new).await;
    desk.events().await;
    desk.clock.advance(seconds(60));
    let again = NewMessage { id: sample::message("a new id each time"), ..new.clone() };
    let repeat = desk.messages.append(&again).await.unwrap();
    assert!(repeat.duplicate);
    assert_eq!(repeat.message, first);
    assert_eq!(desk.messages.get(&again.id).await.unwrap(), None);

    let edited = desk.messages.edit(&desk.edit(&first, "changed since", None)).await.unwrap().message;
    desk.events().await;
    let repeat = desk.messages.append(&new).await.unwrap();
    assert_eq!((repeat.duplicate, repeat.message), (true, edited), "still the message it was sent as");

    desk.delete(&first, DeleteType::ForEveryone).await;
    desk.events().await;
    let repeat = desk.messages.append(&new).await.unwrap();
    assert!(repeat.duplicate && repeat.message.deleted.is_some(), "a deleted message does not come back");
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(1));
    assert_eq!(desk.events().await, []);
}

async fn a_client_key_cannot_be_used_for_another_content(offer: Offer) {
    let desk = Desk::new(&offer);
    let mut new = sample::text(&desk.here, &desk.ann, "hello");
    new.client_key = Some(sample::key("k"));
    let first = desk.append(&new).await;
    desk.events().await;
    let mut others = vec![NewMessage { id: sample::message("other"), ..new.clone() }; 5];
    others[0].draft.content = "Hello".to_owned();
    others[1].draft.silent = true;
    others[2].draft.mentions.everyone = true;
    others[3].draft.attachments = vec![Attachment::from(&sample::file(&desk.here, "photo"))];
    others[4].draft.metadata.insert("a".to_owned(), "b".to_owned());
    for other in others {
        refused(desk.messages.append(&other).await, Code::ClientKeyConflict);
    }
    assert_eq!(desk.get(&first.id).await, first);
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(1));
    assert_eq!(desk.events().await, []);
}

async fn client_keys_belong_to_one_sender_and_one_conversation(offer: Offer) {
    let desk = Desk::new(&offer);
    let mut stored = BTreeSet::new();
    for conversation in ["here", "there", "he", "re"] {
        for sender in [Some("ann"), Some("ben"), Some("a"), None] {
            for (key, content) in [("k", "same"), ("nk", "same"), ("k:", "another")] {
                let mut new = sample::text(&sample::conversation(conversation), &desk.ann, content);
                (new.sender_id, new.client_key) = (sender.map(sample::user), Some(sample::key(key)));
                stored.insert(desk.append(&new).await.id);
            }
        }
    }
    assert_eq!(stored.len(), 4 * 4 * 3);
}

async fn concurrent_repeats_of_a_client_key_store_one_message(offer: Offer) {
    let desk = Desk::new(&offer);
    for round in 0..20 {
        let key = sample::key(&format!("k{round}"));
        let answers = at_once(8, |_| {
            let (desk, mut new) = (Arc::clone(&desk), sample::text(&desk.here, &desk.ann, "hello"));
            new.client_key = Some(key.clone());
            async move { desk.messages.append(&new).await.unwrap() }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1, "one is the first");
        assert!(
            answers.iter().all(|answer| answer.message == answers[0].message),
            "all answer the same message"
        );
    }
    assert_eq!(seqs(&desk.page(Anchor::Latest, 100).await.messages), (1..=20).collect::<Vec<_>>());
    assert_eq!(desk.events().await.len(), 20);
}

async fn repeating_an_append_without_a_key_stores_nothing_new(offer: Offer) {
    let desk = Desk::new(&offer);
    let new = sample::text(&desk.here, &desk.ann, "hello");
    let first = desk.append(&new).await;
    desk.events().await;
    let repeat = desk.messages.append(&new).await.unwrap();
    assert_eq!((repeat.duplicate, repeat.message), (true, first.clone()));
    let mut other = new.clone();
    other.draft.content = "another content under the same id".to_owned();
    refused(desk.messages.append(&other).await, Code::Conflict);
    let elsewhere = NewMessage { conversation_id: sample::conversation("there"), ..new };
    refused(desk.messages.append(&elsewhere).await, Code::Conflict);
    assert_eq!(desk.get(&first.id).await, first);
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(1));
    assert_eq!(desk.messages.head(&elsewhere.conversation_id).await.unwrap(), Seq::ZERO);
    assert_eq!(desk.events().await, []);
}

async fn what_a_message_hangs_on_must_be_in_the_conversation(offer: Offer) {
    let desk = Desk::new(&offer);
    let here = desk.say("here").await;
    let there = desk.append(&sample::text(&sample::conversation("there"), &desk.ann, "there")).await;
    desk.events().await;
    for missing in [&there.id, &sample::message("nowhere")] {
        let mut quoting = sample::text(&desk.here, &desk.ben, "hello");
        quoting.draft.reply_to = Some(missing.clone());
        refused(desk.messages.append(&quoting).await, Code::MessageNotFound);
        refused(desk.messages.append(&desk.reply(missing, "hello")).await, Code::MessageNotFound);
    }
    assert_eq!(desk.get(&there.id).await, there, "no reply was counted");
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(1), "no place was used");
    assert_eq!(desk.events().await, []);

    desk.delete(&here, DeleteType::ForEveryone).await;
    let mut quoting = desk.reply(&here.id, "a tombstone is still in the conversation");
    quoting.draft.reply_to = Some(here.id);
    assert_eq!(desk.append(&quoting).await.seq, Seq(2));
}

async fn a_thread_cannot_begin_inside_a_thread(offer: Offer) {
    let desk = Desk::new(&offer);
    let root = desk.say("root").await;
    let mut reply = desk.reply(&root.id, "reply");
    reply.draft.thread = Some(ThreadPlace { root: root.id.clone(), also_in_conversation: true });
    let reply = desk.append(&reply).await;
    refused(desk.messages.append(&desk.reply(&reply.id, "reply to the reply")).await, Code::MessageInvalid);
    assert_eq!(desk.get(&root.id).await.replies.replies, 1);
    assert_eq!(desk.get(&reply.id).await.replies.replies, 0);
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(2));
}

async fn an_append_writes_one_event_with_the_whole_text(offer: Offer) {
    let desk = Desk::new(&offer);
    let long = desk.say(&"é\"\\".repeat(3_333)).await;
    let written = drained(&*desk.outbox).await;
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].event, Event::MessageSent(MessageSent::from(&long)));
    assert_eq!((written[0].key(), written[0].at), ("here".to_owned(), long.created_at));
}

// Reading

async fn messages_by_id_line_up_with_the_question(offer: Offer) {
    let desk = Desk::new(&offer);
    assert!(desk.messages.get_many(&[]).await.unwrap().is_empty());
    let (one, two) = (desk.say("one").await, desk.say("two").await);
    let gone = desk.delete(&two, DeleteType::ForEveryone).await;
    let question = [two.id.clone(), sample::message("nowhere"), one.id.clone(), two.id];
    assert_eq!(
        desk.messages.get_many(&question).await.unwrap(),
        [Some(gone.clone()), None, Some(one), Some(gone)]
    );
}

async fn hidden_answers_line_up_with_the_question(offer: Offer) {
    let desk = Desk::new(&offer);
    assert!(desk.messages.hidden_many(&desk.ann, &[]).await.unwrap().is_empty());
    let (one, two) = (desk.say("one").await, desk.say("two").await);
    desk.delete(&two, DeleteType::ForMe).await;
    let question = [two.id.clone(), sample::message("nowhere"), one.id, two.id];
    assert_eq!(desk.messages.hidden_many(&desk.ann, &question).await.unwrap(), [true, false, false, true]);
    assert_eq!(desk.messages.hidden_many(&desk.ben, &question).await.unwrap(), [false; 4]);
}

async fn pages_of_any_size_walk_through_everything_once(offer: Offer) {
    let desk = Desk::new(&offer);
    // All at one moment: a cursor made of times alone would skip some.
    let said = desk.say_many(205).await;
    for limit in [1, 2, 3, 99, 100] {
        let query = desk.query(Anchor::Latest, limit);
        assert_eq!(ids(&desk.walk_on(&query).await), ids(&said), "forward by {limit}");
        assert_eq!(ids(&desk.walk_back(&query).await), ids(&said), "back by {limit}");
    }
    assert_eq!(seqs(&desk.page(Anchor::Latest, 3).await.messages), [203, 204, 205]);
    assert_eq!(seqs(&desk.page(Anchor::Before(Seq(10)), 3).await.messages), [7, 8, 9]);
    assert_eq!(seqs(&desk.page(Anchor::After(Seq(10)), 3).await.messages), [11, 12, 13]);
}

async fn page_limits_outside_one_to_a_hundred_are_refused(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.say_many(101).await;
    for anchor in [Anchor::Latest, Anchor::Before(Seq(2)), Anchor::After(Seq(2)), Anchor::Around(Seq(2))] {
        for limit in [0, 101, usize::MAX] {
            refused(desk.messages.history(&desk.query(anchor, limit)).await, Code::PageInvalid);
        }
        for limit in [1, 100] {
            assert!(desk.messages.history(&desk.query(anchor, limit)).await.is_ok());
        }
    }
    assert_eq!(desk.page(Anchor::Latest, MAX_HISTORY).await.messages.len(), 100);
}

async fn a_page_says_whether_there_is_more_on_either_side(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.say_many(5).await;
    for (anchor, limit, expected) in [
        (Anchor::Latest, 5, (vec![1, 2, 3, 4, 5], false, false)),
        (Anchor::Latest, 4, (vec![2, 3, 4, 5], true, false)),
        (Anchor::Before(Seq(4)), 3, (vec![1, 2, 3], false, true)),
        (Anchor::Before(Seq(4)), 2, (vec![2, 3], true, true)),
        (Anchor::Before(Seq(1)), 2, (vec![], false, true)),
        (Anchor::Before(Seq(99)), 2, (vec![4, 5], true, false)),
        (Anchor::After(Seq(2)), 3, (vec![3, 4, 5], true, false)),
        (Anchor::After(Seq(2)), 2, (vec![3, 4], true, true)),
        (Anchor::After(Seq(0)), 5, (vec![1, 2, 3, 4, 5], false, false)),
        (Anchor::After(Seq(5)), 5, (vec![], true, false)),
        (Anchor::After(Seq(99)), 5, (vec![], true, false)),
        (Anchor::After(Seq(u64::MAX)), 5, (vec![], true, false)),
        (Anchor::Before(Seq(0)), 5, (vec![], false, true)),
    ] {
        let page = desk.page(anchor, limit).await;
        assert_eq!(
            (seqs(&page.messages), page.more_before, page.more_after),
            expected,
            "{anchor:?} by {limit}"
        );
    }
}

#[track_caller]
fn assert_around(page: &History, all: &[u64], anchor: u64, limit: usize) {
    let asked = format!("around {anchor} by {limit}");
    around(&asked, page, all, anchor, limit).unwrap();
    assert!(!page.messages.is_empty(), "{asked}: a page around something shows something");
}

async fn a_page_around_a_message_shows_it_between_its_neighbours(offer: Offer) {
    let desk = Desk::new(&offer);
    let all = seqs(&desk.say_many(9).await);
    for limit in [1, 2, 3, 4, 5, 20] {
        for anchor in 1..=9 {
            assert_around(&desk.page(Anchor::Around(Seq(anchor)), limit).await, &all, anchor, limit);
        }
    }
}

async fn a_page_around_a_message_that_is_gone_shows_its_neighbours(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(9).await;
    desk.delete(&said[3], DeleteType::ForMe).await;
    desk.delete(&said[4], DeleteType::ForMe).await;
    for limit in [3, 4, 20] {
        for anchor in [4, 5] {
            let query = HistoryQuery {
                viewer: Some(desk.ann.clone()),
                ..desk.query(Anchor::Around(Seq(anchor)), limit)
            };
            let page = desk.messages.history(&query).await.unwrap();
            assert_around(&page, &[1, 2, 3, 6, 7, 8, 9], anchor, limit);
        }
    }
    let page = desk.page(Anchor::Around(Seq(12)), 4).await;
    assert_around(&page, &[1, 2, 3, 4, 5, 6, 7, 8, 9], 12, 4);
}

async fn walks_in_both_directions_see_everything_once_while_others_write(offer: Offer) {
    const WRITERS: usize = 4;
    let desk = Desk::new(&offer);
    desk.say_many(60).await;
    let done = Arc::new(AtomicUsize::new(0));
    at_once(WRITERS + 4, |nth| {
        let (desk, done) = (Arc::clone(&desk), Arc::clone(&done));
        async move {
            if nth < WRITERS {
                for _ in 0..60 {
                    desk.append(&sample::text(&desk.here, &desk.ben, "more")).await;
                    tokio::task::yield_now().await;
                }
                done.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let query = desk.query(Anchor::Latest, [1, 2, 7, 100][nth - WRITERS]);
            loop {
                let last = done.load(Ordering::SeqCst) == WRITERS;
                let head = desk.messages.head(&desk.here).await.unwrap();
                for walk in [desk.walk_on(&query).await, desk.walk_back(&query).await] {
                    let seen = seqs(&walk);
                    assert!(seen.iter().copied().eq(1..=seen.len() as u64), "each once, in order: {seen:?}");
                    assert!(seen.len() as u64 >= head.0, "everything that was there before the walk");
                }
                if last {
                    return;
                }
            }
        }
    })
    .await;
    assert_eq!(desk.messages.head(&desk.here).await.unwrap(), Seq(300));
}

async fn scopes_tell_the_conversation_from_its_threads(offer: Offer) {
    let desk = Desk::new(&offer);
    let (one, two) = (desk.say("one").await, desk.say("two").await);
    let mut also = desk.reply(&one.id, "4: in the thread of one, and shown to all");
    also.draft.thread = Some(ThreadPlace { root: one.id.clone(), also_in_conversation: true });
    for new in [desk.reply(&one.id, "3"), also, desk.reply(&two.id, "5"), desk.reply(&one.id, "6")] {
        desk.append(&new).await;
    }
    desk.say("seven").await;
    let third = desk.page(Anchor::After(Seq(2)), 1).await.messages.remove(0);
    desk.delete(&third, DeleteType::ForEveryone).await;
    for (scope, expected) in [
        (HistoryScope::Everything, vec![1, 2, 3, 4, 5, 6, 7]),
        (HistoryScope::Main, vec![1, 2, 4, 7]),
        (HistoryScope::Thread(one.id.clone()), vec![3, 4, 6]),
        (HistoryScope::Thread(two.id), vec![5]),
        (HistoryScope::Thread(third.id), vec![]),
        (HistoryScope::Thread(sample::message("nowhere")), vec![]),
    ] {
        for limit in [1, 2, 100] {
            let query = HistoryQuery { scope: scope.clone(), ..desk.query(Anchor::Latest, limit) };
            assert_eq!(seqs(&desk.walk_on(&query).await), expected, "{scope:?} forward by {limit}");
            assert_eq!(seqs(&desk.walk_back(&query).await), expected, "{scope:?} back by {limit}");
        }
        for anchor in 1..=7 {
            let query = HistoryQuery { scope: scope.clone(), ..desk.query(Anchor::Around(Seq(anchor)), 3) };
            if !expected.is_empty() {
                assert_around(&desk.messages.history(&query).await.unwrap(), &expected, anchor, 3);
            }
        }
    }
    let elsewhere = sample::conversation("there");
    let query = HistoryQuery {
        conversation: elsewhere,
        scope: HistoryScope::Thread(one.id),
        ..desk.query(Anchor::Latest, 10)
    };
    assert_eq!(
        desk.messages.history(&query).await.unwrap(),
        History::default(),
        "a thread of another conversation"
    );
}

async fn an_unknown_conversation_is_empty(offer: Offer) {
    let desk = Desk::new(&offer);
    for anchor in [Anchor::Latest, Anchor::Before(Seq(2)), Anchor::After(Seq(2)), Anchor::Around(Seq(2))] {
        assert_eq!(desk.page(anchor, 10).await, History::default());
    }
    assert_eq!(desk.messages.heads(None, std::slice::from_ref(&desk.here)).await.unwrap(), [Head::default()]);
    assert_eq!(desk.messages.pinned(&desk.here).await.unwrap(), []);
    assert_eq!(desk.finds("anything").await, [""; 0]);
    let purged = desk.messages.purge(&desk.purge(desk.clock.now(), 10)).await.unwrap();
    assert_eq!((purged.items, purged.next), (vec![], None));
}

async fn heads_line_up_and_show_the_newest_message(offer: Offer) {
    let desk = Desk::new(&offer);
    let there = sample::conversation("there");
    assert!(desk.messages.heads(None, &[]).await.unwrap().is_empty());
    desk.say_many(2).await;
    let newest = desk.say("newest").await;
    let other = desk.append(&sample::text(&there, &desk.ann, "there")).await;
    let question = [there.clone(), sample::conversation("nowhere"), desk.here.clone(), there];
    let seen = |head: &Message| Head { seq: head.seq, message: Some(head.clone()) };
    let expected = [seen(&other), Head::default(), seen(&newest), seen(&other)];
    assert_eq!(desk.messages.heads(None, &question).await.unwrap(), expected);
    assert_eq!(desk.messages.heads(Some(&desk.ben), &question).await.unwrap(), expected);

    let gone = desk.delete(&newest, DeleteType::ForEveryone).await;
    assert_eq!(
        desk.messages.heads(None, std::slice::from_ref(&desk.here)).await.unwrap(),
        [seen(&gone)],
        "a tombstone has a place"
    );
}

// Editing

async fn an_edit_keeps_the_earlier_texts(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("first").await;
    desk.clock.advance(seconds(60));
    let mentions = Mentions { users: vec![desk.ben.clone()], everyone: true };
    let edit = Edit { mentions: mentions.clone(), ..desk.edit(&said, "second", Some(0)) };
    let edited = desk.messages.edit(&edit).await.unwrap();
    let first = PastText { content: "first".to_owned(), revision: 0, replaced_at: desk.clock.now() };
    let expected = Message {
        content: "second".to_owned(),
        mentions,
        revision: 1,
        edited_at: Some(desk.clock.now()),
        past_texts: vec![first.clone()],
        ..said.clone()
    };
    assert_eq!((edited.changed, &edited.message), (true, &expected));
    assert_eq!(desk.get(&said.id).await, expected);

    desk.clock.advance(seconds(60));
    let edited = desk.messages.edit(&desk.edit(&said, "third", None)).await.unwrap().message;
    let second = PastText { content: "second".to_owned(), revision: 1, replaced_at: desk.clock.now() };
    assert_eq!((edited.past_texts, edited.revision), (vec![first, second], 2));
    assert_eq!((edited.created_at, edited.seq), (said.created_at, said.seq));
    assert_eq!(edited.mentions, Mentions::default());
}

async fn the_first_text_and_the_newest_edits_are_kept(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text 0").await;
    for nth in 1..=MAX_EDITS_KEPT + 5 {
        desk.messages.edit(&desk.edit(&said, &format!("text {nth}"), None)).await.unwrap();
    }
    let past: Vec<_> = desk.get(&said.id).await.past_texts.into_iter().map(|past| past.revision).collect();
    let newest = 6 + 1..MAX_EDITS_KEPT as u32 + 5;
    assert_eq!(past.len(), MAX_EDITS_KEPT);
    assert_eq!(past.first(), Some(&0), "the first text stays");
    assert!(past.iter().copied().skip(2).eq(newest), "then the newest: {past:?}");
    assert_eq!(desk.get(&said.id).await.revision, MAX_EDITS_KEPT as u32 + 5);
}

async fn racing_edits_of_one_revision_have_one_winner(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    desk.events().await;
    for revision in 0..10 {
        let answers = at_once(16, |nth| {
            let (desk, said) = (Arc::clone(&desk), said.clone());
            async move {
                desk.messages.edit(&desk.edit(&said, &format!("{revision} by {nth}"), Some(revision))).await
            }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "of one revision one edit holds");
        let won = won.into_iter().next().unwrap().unwrap();
        lost.into_iter().for_each(|answer| refused(answer, Code::EditConflict));
        assert_eq!(desk.get(&said.id).await, won.message);
        assert_eq!(won.message.revision, revision + 1);
        assert_eq!(desk.events().await.len(), 1);
    }
}

async fn an_edit_of_another_revision_is_refused(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    refused(desk.messages.edit(&desk.edit(&said, "too early", Some(1))).await, Code::EditConflict);
    let edited = desk.messages.edit(&desk.edit(&said, "new", Some(0))).await.unwrap().message;
    refused(desk.messages.edit(&desk.edit(&said, "too late", Some(0))).await, Code::EditConflict);
    assert_eq!(desk.get(&said.id).await, edited);
}

async fn the_text_it_has_already_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    let edit = desk.edit(&said, "new", Some(0));
    let edited = desk.messages.edit(&edit).await.unwrap().message;
    desk.events().await;
    desk.clock.advance(seconds(60));
    for expect in [Some(0), Some(1), None] {
        let repeat = desk.messages.edit(&Edit { expect, ..edit.clone() }).await.unwrap();
        assert_eq!((repeat.changed, repeat.message), (false, edited.clone()), "{expect:?}");
    }
    assert_eq!(desk.events().await, []);
}

// Deleting

async fn deleting_for_everyone_leaves_only_the_place(offer: Offer) {
    let desk = Desk::new(&offer);
    let root = desk.say("root").await;
    let mut new = desk.reply(&root.id, "xyzzy as it was first");
    new.draft.metadata.insert("xyzzy".to_owned(), "xyzzy".to_owned());
    new.draft.attachments = vec![Attachment::from(&sample::file(&desk.here, "xyzzy"))];
    new.draft.mentions = Mentions { users: vec![sample::user("xyzzy")], everyone: true };
    let said = desk.append(&new).await;
    desk.messages.react(&said.id, &desk.ann, ":xyzzy:", true).await.unwrap();
    desk.messages.edit(&desk.edit(&said, "xyzzy as it is now", None)).await.unwrap();
    desk.messages.pin(&said.id, &desk.ann, true, None).await.unwrap();
    desk.clock.advance(seconds(60));
    let gone = desk.messages.delete(&said.id, &desk.ann, DeleteType::ForEveryone).await.unwrap();
    assert!(gone.changed);
    let gone = gone.message;
    assert_eq!(gone.deleted, Some(Tombstone { by: Some(desk.ann.clone()), at: desk.clock.now() }));
    assert_eq!((&gone.id, gone.seq, &gone.sender_id), (&said.id, said.seq, &said.sender_id));
    assert_eq!((gone.created_at, &gone.thread, &gone.pin), (said.created_at, &said.thread, &None));

    let thread = HistoryScope::Thread(root.id.clone());
    let mut found = vec![gone.clone(), desk.get(&said.id).await, desk.get(&root.id).await];
    for scope in [HistoryScope::Everything, HistoryScope::Main, thread] {
        let query = HistoryQuery { scope, ..desk.query(Anchor::Around(said.seq), 10) };
        found.extend(desk.messages.history(&query).await.unwrap().messages);
    }
    let heads = desk.messages.heads(Some(&desk.ben), std::slice::from_ref(&desk.here)).await.unwrap();
    found.extend(heads.into_iter().filter_map(|head| head.message));
    found.extend(desk.messages.pinned(&desk.here).await.unwrap());
    found.push(desk.messages.append(&new).await.unwrap().message);
    assert_eq!(
        found.iter().filter(|message| message.id == said.id).count(),
        6,
        "it is there in all of them but pinned"
    );
    assert!(
        found.iter().all(|message| message.id == root.id || *message == gone),
        "and it is the same everywhere"
    );
    assert!(!format!("{found:?}").contains("xyzzy"), "something of it is left: {found:?}");
    assert_eq!(desk.finds("xyzzy").await, [""; 0]);
}

async fn deleting_takes_only_the_message_named(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(5).await;
    let there = desk.append(&sample::text(&sample::conversation("there"), &desk.ann, "text 3")).await;
    desk.delete(&said[2], DeleteType::ForEveryone).await;
    desk.delete(&said[3], DeleteType::ForMe).await;
    let left = desk.messages.get_many(&ids(&said)).await.unwrap();
    for (nth, message) in left.into_iter().enumerate() {
        let message = message.expect("no place is ever taken away");
        assert_eq!(message.deleted.is_some(), nth == 2, "{message:?}");
        assert!(nth == 2 || message == said[nth]);
    }
    assert_eq!(desk.get(&there.id).await, there);
}

async fn deleting_again_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    let (one, two) = (desk.say("one").await, desk.say("two").await);
    let gone = desk.delete(&one, DeleteType::ForEveryone).await;
    desk.delete(&two, DeleteType::ForMe).await;
    desk.events().await;
    desk.clock.advance(seconds(60));
    let again = desk.messages.delete(&one.id, &desk.ben, DeleteType::ForEveryone).await.unwrap();
    assert_eq!((again.changed, again.message), (false, gone));
    let again = desk.messages.delete(&two.id, &desk.ann, DeleteType::ForMe).await.unwrap();
    assert_eq!((again.changed, again.message), (false, two));
    assert_eq!(desk.events().await, []);
}

async fn racing_deletions_write_one_event(offer: Offer) {
    let desk = Desk::new(&offer);
    let root = desk.say("root").await;
    for _ in 0..10 {
        let said = desk.append(&desk.reply(&root.id, "text")).await;
        desk.events().await;
        let answers = at_once(8, |nth| {
            let (desk, said) = (Arc::clone(&desk), said.clone());
            let by = sample::user(&format!("user {nth}"));
            async move { desk.messages.delete(&said.id, &by, DeleteType::ForEveryone).await.unwrap() }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.changed).count(), 1);
        assert!(answers.iter().all(|answer| answer.message == answers[0].message));
        assert_eq!(desk.events().await.len(), 1);
    }
    assert_eq!(desk.get(&root.id).await.replies.replies, 0);
}

async fn deleting_for_me_hides_it_from_me_alone(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(4).await;
    let kept = desk.delete(&said[3], DeleteType::ForMe).await;
    assert_eq!(kept, said[3], "the message itself is as it was");
    desk.delete(&said[1], DeleteType::ForMe).await;
    let one = std::slice::from_ref(&desk.here);
    for (viewer, expected, newest) in [
        (Some(&desk.ann), vec![1, 3], 3),
        (Some(&desk.ben), vec![1, 2, 3, 4], 4),
        (None, vec![1, 2, 3, 4], 4),
    ] {
        for limit in [1, 2, 100] {
            let query = HistoryQuery { viewer: viewer.cloned(), ..desk.query(Anchor::Latest, limit) };
            assert_eq!(seqs(&desk.walk_on(&query).await), expected, "{viewer:?} forward by {limit}");
            assert_eq!(seqs(&desk.walk_back(&query).await), expected, "{viewer:?} back by {limit}");
        }
        let head = desk.messages.heads(viewer, one).await.unwrap().remove(0);
        assert_eq!(head.seq, Seq(4), "the head is the same for everybody");
        assert_eq!(head.message.map(|message| message.seq), Some(Seq(newest)), "{viewer:?}");
        let viewer = viewer.unwrap_or(&desk.ben).clone();
        let question = SearchQuery { viewer, ..desk.question("text", one, 50) };
        let mut found: Vec<_> = desk.hits(&question).await.iter().map(|hit| hit.message.seq.0).collect();
        found.reverse();
        assert_eq!(found, expected);
    }
    desk.delete(&said[0], DeleteType::ForMe).await;
    desk.delete(&said[2], DeleteType::ForMe).await;
    let head = desk.messages.heads(Some(&desk.ann), one).await.unwrap().remove(0);
    assert_eq!(head, Head { seq: Seq(4), message: None });
}

// Reacting

async fn reactions_are_a_set_of_users_and_emojis(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    let by = |emoji: &str, users: &[&UserId]| Reaction {
        emoji: emoji.to_owned(),
        users: users.iter().copied().cloned().collect(),
    };
    let (ann, ben) = (&desk.ann, &desk.ben);
    let both = by("👍", &[ann, ben]);
    for (user, emoji, on, changed, expected) in [
        (ann, "👍", false, false, vec![]),
        (ann, "👍", true, true, vec![by("👍", &[ann])]),
        (ann, "👍", true, false, vec![by("👍", &[ann])]),
        (ben, "👍", true, true, vec![both.clone()]),
        (ben, "❤️", true, true, vec![both.clone(), by("❤️", &[ben])]),
        (ann, "❤️", false, false, vec![both.clone(), by("❤️", &[ben])]),
        (ann, "👍", false, true, vec![by("👍", &[ben]), by("❤️", &[ben])]),
        (ben, "👍", false, true, vec![by("❤️", &[ben])]),
        (ben, "👍", false, false, vec![by("❤️", &[ben])]),
        (ann, "👍", true, true, vec![by("❤️", &[ben]), by("👍", &[ann])]),
    ] {
        let answer = desk.messages.react(&said.id, user, emoji, on).await.unwrap();
        assert_eq!((answer.changed, &answer.message.reactions), (changed, &expected), "{user} {emoji} {on}");
        assert_eq!(desk.get(&said.id).await, answer.message);
    }
    assert_eq!(desk.get(&said.id).await.revision, 0, "the text was not changed");
}

async fn racing_reactions_are_all_counted_once(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    desk.events().await;
    let answers = at_once(32, |nth| {
        let (desk, said) = (Arc::clone(&desk), said.clone());
        // Every user twice, as from two devices.
        let user = sample::user(&format!("user {:02}", nth / 2));
        async move {
            let (thumb, heart) = futures::join!(
                desk.messages.react(&said.id, &user, "👍", true),
                desk.messages.react(&said.id, &user, "❤️", true),
            );
            usize::from(thumb.unwrap().changed) + usize::from(heart.unwrap().changed)
        }
    })
    .await;
    assert_eq!(answers.iter().sum::<usize>(), 32, "each of sixteen users, once for each of two emojis");
    let mut written = desk.events().await;
    let mut counts: Vec<_> = written.drain(..).map(|event| reaction_added(event).count).collect();
    counts.sort_unstable();
    assert!(
        counts.into_iter().eq((1..=16).flat_map(|count| [count, count])),
        "counts say what is from then on"
    );
    let reactions = desk.get(&said.id).await.reactions;
    assert_eq!(reactions.len(), 2);
    for reaction in reactions {
        assert_eq!(reaction.users.len(), 16);
        assert_eq!(reaction.users.into_iter().collect::<BTreeSet<_>>().len(), 16);
    }
}

#[track_caller]
fn reaction_added(event: Event) -> MessageReactionAdded {
    match event {
        Event::MessageReactionAdded(added) => added,
        other => panic!("{other:?}"),
    }
}

async fn reactions_have_limits(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    let emoji = |nth: usize| format!(":e{nth}:");
    for nth in 0..MAX_EMOJIS {
        let user = if nth < MAX_EMOJIS_PER_USER { &desk.ann } else { &desk.ben };
        assert!(desk.messages.react(&said.id, user, &emoji(nth), true).await.unwrap().changed);
    }
    desk.events().await;
    let before = desk.get(&said.id).await;
    refused(
        desk.messages.react(&said.id, &desk.ann, &emoji(MAX_EMOJIS - 1), true).await,
        Code::ReactionLimit,
    );
    refused(
        desk.messages.react(&said.id, &sample::user("eve"), &emoji(MAX_EMOJIS), true).await,
        Code::ReactionLimit,
    );
    let repeat = desk.messages.react(&said.id, &desk.ann, &emoji(0), true).await.unwrap();
    assert!(!repeat.changed, "what is so already is no more");
    assert_eq!(desk.get(&said.id).await, before);
    assert_eq!(desk.events().await, []);
    assert!(desk.messages.react(&said.id, &sample::user("eve"), &emoji(0), true).await.unwrap().changed);
    desk.messages.react(&said.id, &desk.ann, &emoji(0), false).await.unwrap();
    assert!(
        desk.messages
            .react(&said.id, &desk.ann, &emoji(1 + MAX_EMOJIS_PER_USER), true)
            .await
            .unwrap()
            .changed
    );
}

async fn racing_reactions_keep_the_limits(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    desk.events().await;
    // One user by many emojis, and many users by one new emoji each.
    let answers = at_once(60, |nth| {
        let (desk, said) = (Arc::clone(&desk), said.clone());
        let user = sample::user(&format!("user {}", if nth < 30 { 0 } else { nth }));
        async move { desk.messages.react(&said.id, &user, &format!(":e{nth}:"), true).await }
    })
    .await;
    let held = answers.iter().filter(|answer| answer.is_ok()).count();
    let by_one = answers.iter().take(30).filter(|answer| answer.is_ok()).count();
    assert_eq!(held, MAX_EMOJIS);
    assert!(by_one <= MAX_EMOJIS_PER_USER, "{by_one}");
    answers.into_iter().filter(Result::is_err).for_each(|answer| refused(answer, Code::ReactionLimit));
    assert_eq!(desk.get(&said.id).await.reactions.len(), MAX_EMOJIS);
    assert_eq!(desk.events().await.len(), MAX_EMOJIS);
}

// Threads

async fn reply_counters_count_the_replies_that_are_left(offer: Offer) {
    let desk = Desk::new(&offer);
    let (root, other) = (desk.say("root").await, desk.say("other").await);
    let mut replies = Vec::new();
    for nth in 1..=4 {
        desk.clock.advance(seconds(10));
        replies.push(desk.append(&desk.reply(&root.id, "reply")).await);
        let summary = ThreadSummary { replies: nth, last_reply_at: Some(desk.clock.now()) };
        assert_eq!(desk.get(&root.id).await.replies, summary);
    }
    let replies_left = async || desk.get(&root.id).await.replies.replies;
    desk.delete(&replies[1], DeleteType::ForMe).await;
    assert_eq!(replies_left().await, 4, "deleted for one is still there for the others");
    desk.delete(&replies[1], DeleteType::ForEveryone).await;
    desk.messages.delete(&replies[1].id, &desk.ben, DeleteType::ForEveryone).await.unwrap();
    assert_eq!(replies_left().await, 3);
    let purged = desk.messages.purge(&desk.purge(replies[2].created_at, 10)).await.unwrap();
    assert_eq!(
        purged.items,
        [Seq(1), Seq(2), Seq(3)],
        "root, other and the first reply; the second is gone already"
    );
    assert_eq!(replies_left().await, 2);
    desk.append(&desk.reply(&root.id, "one more, to a root that is gone")).await;
    assert_eq!(replies_left().await, 3);
    assert_eq!(desk.get(&other.id).await.replies, ThreadSummary::default());
    let query = HistoryQuery { scope: HistoryScope::Thread(root.id), ..desk.query(Anchor::Latest, 10) };
    assert_eq!(seqs(&desk.messages.history(&query).await.unwrap().messages), [3, 4, 5, 6, 7]);
}

async fn reply_counters_are_exact_under_racing_replies_and_deletions(offer: Offer) {
    let desk = Desk::new(&offer);
    let root = desk.say("root").await;
    at_once(16, |nth| {
        let (desk, root) = (Arc::clone(&desk), root.clone());
        async move {
            for round in 0..10 {
                let reply = desk.append(&desk.reply(&root.id, "reply")).await;
                tokio::task::yield_now().await;
                if (nth + round) % 3 == 0 {
                    desk.messages.delete(&reply.id, &desk.ben, DeleteType::ForEveryone).await.unwrap();
                    desk.messages.delete(&reply.id, &desk.ben, DeleteType::ForEveryone).await.unwrap();
                }
            }
        }
    })
    .await;
    let query =
        HistoryQuery { scope: HistoryScope::Thread(root.id.clone()), ..desk.query(Anchor::Latest, 100) };
    let replies = desk.walk_on(&query).await;
    assert_eq!(replies.len(), 160);
    let left = replies.iter().filter(|reply| reply.deleted.is_none()).count();
    assert_eq!(desk.get(&root.id).await.replies.replies, left as u64);
}

// Pinning

async fn pins_hold_until_their_time_comes(offer: Offer) {
    let desk = Desk::new(&offer);
    let (one, two) = (desk.say("one").await, desk.say("two").await);
    let until = desk.clock.now().after(seconds(60));
    let pinned = desk.messages.pin(&one.id, &desk.ann, true, Some(until)).await.unwrap();
    let pin = Pin { by: desk.ann.clone(), at: desk.clock.now(), until: Some(until) };
    assert_eq!((pinned.changed, pinned.message.pin), (true, Some(pin)));
    desk.messages.pin(&two.id, &desk.ben, true, None).await.unwrap();
    let names = async || ids(&desk.messages.pinned(&desk.here).await.unwrap());
    assert_eq!(names().await, [one.id.clone(), two.id.clone()]);

    desk.clock.advance(seconds(60) - Duration::from_millis(1));
    assert_eq!(names().await, [one.id.clone(), two.id.clone()], "until its time");
    desk.clock.advance(Duration::from_millis(1));
    assert_eq!(names().await, std::slice::from_ref(&two.id), "and not longer");
    desk.clock.advance(seconds(86_400 * 365));
    assert_eq!(names().await, std::slice::from_ref(&two.id), "without a time it holds for good");
    let taken_down = desk.messages.pin(&two.id, &desk.ann, false, None).await.unwrap();
    assert_eq!((taken_down.changed, taken_down.message.pin), (true, None));
    assert_eq!(names().await, []);
    let later = desk.clock.now().after(seconds(5));
    assert!(desk.messages.pin(&one.id, &desk.ben, true, Some(later)).await.unwrap().changed, "pinned anew");
    assert_eq!(names().await, [one.id]);
}

async fn pinned_messages_come_in_the_order_they_were_said(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(5).await;
    for nth in [3, 0, 4, 1] {
        desk.messages.pin(&said[nth].id, &desk.ann, true, None).await.unwrap();
    }
    desk.messages.edit(&desk.edit(&said[3], "new text", None)).await.unwrap();
    desk.delete(&said[4], DeleteType::ForEveryone).await;
    let pinned = desk.messages.pinned(&desk.here).await.unwrap();
    assert_eq!(seqs(&pinned), [1, 2, 4]);
    assert_eq!(pinned[2], desk.get(&said[3].id).await, "as they are now");
    assert_eq!(desk.messages.pinned(&sample::conversation("there")).await.unwrap(), []);
}

async fn pinning_again_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say("text").await;
    assert!(!desk.messages.pin(&said.id, &desk.ann, false, None).await.unwrap().changed, "it was not pinned");
    let until = Some(desk.clock.now().after(seconds(60)));
    let pinned = desk.messages.pin(&said.id, &desk.ann, true, until).await.unwrap().message;
    desk.events().await;
    desk.clock.advance(seconds(10));
    let again = desk.messages.pin(&said.id, &desk.ann, true, until).await.unwrap();
    assert_eq!((again.changed, again.message), (false, pinned));
    assert_eq!(desk.events().await, []);
    let later = Some(desk.clock.now().after(seconds(600)));
    let longer = desk.messages.pin(&said.id, &desk.ann, true, later).await.unwrap();
    assert_eq!((longer.changed, longer.message.pin.and_then(|pin| pin.until)), (true, later));
    assert!(desk.messages.pin(&said.id, &desk.ann, false, None).await.unwrap().changed);
    assert!(!desk.messages.pin(&said.id, &desk.ann, false, None).await.unwrap().changed);
    assert_eq!(desk.events().await.len(), 2);
}

async fn at_most_fifty_pins_hold_at_once(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(MAX_PINS + 2).await;
    let until = desk.clock.now().after(seconds(60));
    for (nth, message) in said.iter().take(MAX_PINS).enumerate() {
        let until = (nth == 7).then_some(until);
        desk.messages.pin(&message.id, &desk.ann, true, until).await.unwrap();
    }
    desk.events().await;
    let (next, last) = (&said[MAX_PINS], &said[MAX_PINS + 1]);
    refused(desk.messages.pin(&next.id, &desk.ann, true, None).await, Code::PinLimit);
    assert_eq!(desk.get(&next.id).await, *next);
    assert!(
        !desk.messages.pin(&said[0].id, &desk.ann, true, None).await.unwrap().changed,
        "it is one of the fifty"
    );
    assert_eq!(desk.events().await, []);

    desk.clock.advance(seconds(60));
    assert!(
        desk.messages.pin(&next.id, &desk.ann, true, None).await.unwrap().changed,
        "a pin that is over is none"
    );
    refused(desk.messages.pin(&last.id, &desk.ann, true, None).await, Code::PinLimit);
    desk.delete(&said[20], DeleteType::ForEveryone).await;
    assert!(
        desk.messages.pin(&last.id, &desk.ann, true, None).await.unwrap().changed,
        "nor is one of a tombstone"
    );
    assert_eq!(desk.messages.pinned(&desk.here).await.unwrap().len(), MAX_PINS);
    let there = desk.append(&sample::text(&sample::conversation("there"), &desk.ann, "text")).await;
    assert!(
        desk.messages.pin(&there.id, &desk.ann, true, None).await.unwrap().changed,
        "each conversation has its own"
    );
}

async fn racing_pins_keep_the_limit(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(MAX_PINS + 14).await;
    desk.events().await;
    let answers = at_once(said.len(), |nth| {
        let (desk, message) = (Arc::clone(&desk), said[nth].id.clone());
        async move { desk.messages.pin(&message, &desk.ann, true, None).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), MAX_PINS);
    answers.into_iter().filter(Result::is_err).for_each(|answer| refused(answer, Code::PinLimit));
    assert_eq!(desk.messages.pinned(&desk.here).await.unwrap().len(), MAX_PINS);
    assert_eq!(desk.events().await.len(), MAX_PINS);
}

// Searching

/// Texts in four languages and more, what to search for, and the words to be found; none means no hit.
const CORPUS: &[(&str, &str, &[&str])] = &[
    ("Les élèves sont allés à Genève, où il neigeait", "eleves geneve", &["élèves", "Genève"]),
    ("Les élèves sont allés à Genève, où il neigeait", "GENÈVE NEIG", &["Genève", "neigeait"]),
    ("Les élèves sont allés à Genève, où il neigeait", "ou il", &["où", "il"]),
    ("Un cœur brisé, ça arrive; l'été aussi", "ca arrive", &["ça", "arrive"]),
    ("Un cœur brisé, ça arrive; l'été aussi", "l'ete", &["l'été"]),
    ("e\u{301}le\u{300}ve, written apart", "élève", &["e\u{301}le\u{300}ve"]),
    ("Zürich grüßt: Fußgänger über die Straße", "zurich uber", &["Zürich", "über"]),
    ("Zürich grüßt: Fußgänger über die Straße", "FUßGÄNGER STRAßE", &["Fußgänger", "Straße"]),
    ("Zürich grüßt: Fußgänger über die Straße", "fußg", &["Fußgänger"]),
    ("Perché no? Lunedì è già passato", "perche lunedi gia e", &["Perché", "Lunedì", "è", "già"]),
    ("Perché no? Lunedì è già passato", "gia lun", &["Lunedì", "già"]),
    (
        "The ﬁnal ﬂight of the naïve CAFÉ owner",
        "final flight naive cafe",
        &["ﬁnal", "ﬂight", "naïve", "CAFÉ"],
    ),
    ("ＦＵＬＬ width, and ① too", "full 1", &["ＦＵＬＬ", "①"]),
    ("Привет, мир! Ещё раз", "ПРИВЕТ ми", &["Привет", "мир"]),
    ("one two two three, two-fold", "two", &["two", "two", "two"]),
    ("room_42 has 3.50 in it", "3.50", &["3.50"]),
    ("100% of a.b*c [x] (y) \\d $ne", "100 ne", &["100", "ne"]),
    ("The final flight", "fin flight", &[]),
    ("The final flight", "inal", &[]),
    ("The final flight", "final fli ght", &[]),
    ("The final flight", "final flights", &[]),
    ("The final flight", "flight .*", &["flight"]),
];

async fn search_folds_case_accents_and_ligatures(offer: Offer) {
    let desk = Desk::new(&offer);
    for (content, ..) in CORPUS {
        let here = sample::conversation(content);
        if desk.messages.head(&here).await.unwrap() == Seq::ZERO {
            desk.append(&sample::text(&here, &desk.ann, content)).await;
        }
    }
    for (content, words, expected) in CORPUS {
        let hits = desk.hits(&desk.question(words, &[sample::conversation(content)], 50)).await;
        let found = hits.iter().map(|hit| hit.message.content.as_str());
        assert!(found.eq((!expected.is_empty()).then_some(*content)), "{words:?} in {content:?}");
    }
}

async fn every_term_must_occur_and_only_the_last_may_be_a_beginning(offer: Offer) {
    let desk = Desk::new(&offer);
    for content in ["alpha beta gamma", "alpha betamax", "beta alphabet", "gamma", "alphabeta"] {
        desk.say(content).await;
    }
    for (words, expected) in [
        ("alpha", vec!["alphabeta", "beta alphabet", "alpha betamax", "alpha beta gamma"]),
        ("alpha beta", vec!["alpha betamax", "alpha beta gamma"]),
        ("beta alpha", vec!["beta alphabet", "alpha beta gamma"]),
        ("beta beta", vec!["beta alphabet", "alpha beta gamma"]),
        ("gamma alpha beta", vec!["alpha beta gamma"]),
        ("gamma delta", vec![]),
        ("alp gamma", vec![]),
        ("g", vec!["gamma", "alpha beta gamma"]),
    ] {
        assert_eq!(desk.finds(words).await, expected, "{words}");
    }
}

async fn highlights_are_the_byte_ranges_of_the_words(offer: Offer) {
    let desk = Desk::new(&offer);
    for (content, words, expected) in CORPUS {
        let here = sample::conversation(&format!("{content} {words}"));
        desk.append(&sample::text(&here, &desk.ann, content)).await;
        for hit in desk.hits(&desk.question(words, &[here], 50)).await {
            let shown: Vec<_> = hit.highlights.iter().map(|(start, end)| content.get(*start..*end)).collect();
            assert!(shown.iter().copied().eq(expected.iter().copied().map(Some)), "{words:?}: {shown:?}");
            assert!(hit.highlights.is_sorted());
        }
    }
}

async fn search_finds_nothing_outside_the_conversations_asked(offer: Offer) {
    let desk = Desk::new(&offer);
    let names = ["here", "there", "her", "here2", "*"].map(sample::conversation);
    for name in &names {
        desk.append(&sample::text(name, &desk.ann, &format!("secret of {name}"))).await;
    }
    for name in &names {
        let hits = desk.hits(&desk.question("secret", std::slice::from_ref(name), 50)).await;
        assert!(hits.iter().map(|hit| &hit.message.conversation_id).eq([name]), "{name}: {hits:?}");
    }
    assert_eq!(desk.hits(&desk.question("secret", &[], 50)).await, []);
    assert_eq!(desk.hits(&desk.question("secret", &[sample::conversation("nowhere")], 50)).await, []);
    let two = [names[0].clone(), names[1].clone(), names[0].clone()];
    let found: BTreeSet<_> =
        desk.hits(&desk.question("secret", &two, 50)).await.into_iter().map(|hit| hit.message.id).collect();
    assert_eq!(found.len(), 2, "two, and no hit twice");
    assert_eq!(desk.hits(&desk.question("secret", &two, 50)).await.len(), 2);
}

async fn search_finds_neither_deleted_nor_hidden_nor_former_words(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = [desk.say("plum one").await, desk.say("plum two").await, desk.say("plum three").await];
    let stays = desk.say("plum four").await;
    desk.delete(&said[0], DeleteType::ForEveryone).await;
    desk.messages.delete(&said[1].id, &desk.ben, DeleteType::ForMe).await.unwrap();
    desk.messages.edit(&desk.edit(&said[2], "pear three", None)).await.unwrap();
    assert_eq!(desk.finds("plum").await, ["plum four"]);
    assert_eq!(desk.finds("three").await, ["pear three"], "words of before and after are not mixed");
    assert_eq!(desk.finds("plum three").await, [""; 0]);
    assert_eq!(desk.finds("pear").await, ["pear three"]);
    let held = Purge { hold: vec![stays.id], ..desk.purge(desk.clock.now().after(seconds(1)), 100) };
    desk.messages.purge(&held).await.unwrap();
    assert_eq!(desk.finds("pear").await, [""; 0]);
    assert_eq!(desk.finds("plum").await, ["plum four"]);
}

async fn hits_come_newest_first_and_pages_of_any_size_miss_none(offer: Offer) {
    let desk = Desk::new(&offer);
    let both = ["here", "there"].map(sample::conversation);
    let mut expected = Vec::new();
    for moment in 0..10 {
        // Several at one moment: by conversation, then the newest place first.
        let mut now = Vec::new();
        for name in &both {
            let mut batch = Vec::new();
            for nth in 0..3 {
                let content =
                    if nth == 1 { "nothing of the kind".to_owned() } else { format!("apple {moment}") };
                batch.push(desk.append(&sample::text(name, &desk.ann, &content)).await);
            }
            now.extend(
                ids(&batch).into_iter().rev().enumerate().filter(|(nth, _)| *nth != 1).map(|(_, id)| id),
            );
        }
        expected.splice(0..0, now);
        desk.clock.advance(seconds(1));
    }
    for limit in [1, 2, 3, 7, 50] {
        let hits = desk.hits(&desk.question("appl", &both, limit)).await;
        assert_eq!(hits.iter().map(|hit| hit.message.id.clone()).collect::<Vec<_>>(), expected, "by {limit}");
    }
}

async fn a_search_goes_on_while_others_write_and_delete(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(30).await;
    let mut question = desk.question("text", std::slice::from_ref(&desk.here), 4);
    let mut found = Vec::new();
    loop {
        let page = desk.messages.search(&question).await.unwrap();
        found.extend(page.items.iter().map(|hit| hit.message.seq.0));
        let Some(cursor) = page.next else { break };
        // What the cursor stands on goes away, and new hits come in above.
        let last = page.items.last().unwrap().message.clone();
        desk.delete(&last, DeleteType::ForEveryone).await;
        desk.clock.advance(Duration::from_millis(1));
        desk.say("text that came later").await;
        question.after = Some(cursor);
    }
    assert!(found.iter().copied().eq((1..=said.len() as u64).rev()), "{found:?}");
}

async fn search_limits_outside_one_to_fifty_are_refused(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.say_many(60).await;
    for limit in [0, 51, usize::MAX] {
        let question = desk.question("text", std::slice::from_ref(&desk.here), limit);
        refused(desk.messages.search(&question).await, Code::PageInvalid);
    }
    let page =
        desk.messages.search(&desk.question("text", std::slice::from_ref(&desk.here), 50)).await.unwrap();
    assert_eq!(page.items.len(), 50);
}

// Retention

async fn a_purge_takes_what_is_old_and_keeps_what_is_held(offer: Offer) {
    let desk = Desk::new(&offer);
    let old = desk.say_many(4).await;
    let elsewhere = desk.append(&sample::text(&sample::conversation("there"), &desk.ann, "old")).await;
    desk.messages.pin(&old[3].id, &desk.ann, true, None).await.unwrap();
    desk.clock.advance(seconds(60));
    let before = desk.clock.now();
    let young = desk.say("stored at that very moment").await;
    let already = desk.delete(&old[1], DeleteType::ForEveryone).await;
    desk.events().await;

    let purge = Purge { hold: vec![old[0].id.clone()], ..desk.purge(before, 1_000) };
    let purged = desk.messages.purge(&purge).await.unwrap();
    assert_eq!((purged.items, purged.next), (vec![Seq(3), Seq(4)], None));
    assert_eq!(desk.get(&old[0].id).await, old[0], "on legal hold");
    assert_eq!(desk.get(&old[1].id).await, already, "deleted before: passed over");
    assert_eq!(desk.get(&young.id).await, young);
    assert_eq!(desk.get(&elsewhere.id).await, elsewhere);
    for message in &old[2..] {
        let gone = desk.get(&message.id).await;
        assert_eq!(gone.deleted, Some(Tombstone { by: None, at: before }));
        assert_eq!((gone.content.as_str(), gone.seq), ("", message.seq));
    }
    assert_eq!(desk.messages.pinned(&desk.here).await.unwrap(), []);
    let deleted = |message: &Message| {
        Event::MessageDeleted(MessageDeleted {
            message_id: message.id.clone(),
            conversation_id: desk.here.clone(),
            seq: message.seq,
            deleter_id: None,
            delete_type: DeleteType::ForEveryone,
            deleted_at: before,
        })
    };
    assert_eq!(desk.events().await, [deleted(&old[2]), deleted(&old[3])]);
}

async fn a_purge_goes_on_from_its_cursor_and_ends(offer: Offer) {
    let desk = Desk::new(&offer);
    let said = desk.say_many(7).await;
    desk.clock.advance(seconds(1));
    let mut purge =
        Purge { hold: vec![said[1].id.clone(), said[6].id.clone()], ..desk.purge(desk.clock.now(), 2) };
    let (mut gone, mut steps) = (Vec::new(), 0);
    loop {
        let page = desk.messages.purge(&purge).await.unwrap();
        assert!(page.items.len() <= 2);
        assert!(page.items.iter().all(|seq| *seq > purge.after), "it does not go back");
        gone.extend(page.items.iter().map(|seq| seq.0));
        let Some(next) = page.next else { break };
        assert!(next > purge.after, "it goes on");
        purge.after = next;
        steps += 1;
        assert!(steps < 10, "it comes to an end");
    }
    assert_eq!(gone, [1, 3, 4, 5, 6]);
    let left = desk.page(Anchor::Latest, 100).await.messages;
    assert!(left.iter().filter(|message| message.deleted.is_none()).map(|message| message.seq.0).eq([2, 7]));
}

async fn purging_again_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    desk.say_many(5).await;
    desk.clock.advance(seconds(1));
    let purge = desk.purge(desk.clock.now(), 100);
    assert_eq!(desk.messages.purge(&purge).await.unwrap().items.len(), 5);
    let after = desk.page(Anchor::Latest, 100).await;
    desk.events().await;
    desk.clock.advance(seconds(1));
    let again = desk.messages.purge(&purge).await.unwrap();
    assert_eq!((again.items, again.next), (vec![], None));
    assert_eq!(desk.page(Anchor::Latest, 100).await, after);
    assert_eq!(desk.events().await, []);
}

// Everything together

async fn every_change_writes_exactly_one_event_and_no_change_writes_none(offer: Offer) {
    let desk = Desk::new(&offer);
    let messages = &desk.messages;
    let (said, kept) = (desk.say("text").await, desk.say("kept").await);
    let (id, here, ann, ben) = (&said.id, &desk.here, &desk.ann, &desk.ben);
    let now = desk.clock.now();
    let until = Some(now.after(seconds(60)));
    let edit = Edit {
        mentions: Mentions { users: vec![ben.clone()], everyone: false },
        ..desk.edit(&said, "new", None)
    };
    // Everything twice: a repeat writes no second event.
    for _ in 0..2 {
        messages.edit(&edit).await.unwrap();
    }
    for (user, on) in [(ann, true), (ben, true), (ben, false), (ann, false)] {
        for _ in 0..2 {
            messages.react(id, user, "👍", on).await.unwrap();
        }
    }
    for (by, on) in [(ann, true), (ben, false)] {
        for _ in 0..2 {
            messages.pin(id, by, on, until).await.unwrap();
        }
    }
    for (message, by, whom) in
        [(id, ben, DeleteType::ForMe), (id, ann, DeleteType::ForEveryone), (&kept.id, ann, DeleteType::ForMe)]
    {
        for _ in 0..2 {
            messages.delete(message, by, whom).await.unwrap();
        }
    }
    messages.react(&kept.id, ann, "👍", false).await.unwrap();

    let (message_id, conversation_id, seq) = (id.clone(), here.clone(), said.seq);
    let added = |user: &UserId, count| MessageReactionAdded {
        message_id: message_id.clone(),
        conversation_id: conversation_id.clone(),
        seq,
        user_id: user.clone(),
        emoji: "👍".to_owned(),
        count,
    };
    let removed = |user: &UserId, count| {
        let MessageReactionAdded { message_id, conversation_id, seq, user_id, emoji, count } =
            added(user, count);
        MessageReactionRemoved { message_id, conversation_id, seq, user_id, emoji, count }
    };
    let deleted = |message: &Message, by: &UserId, delete_type| MessageDeleted {
        message_id: message.id.clone(),
        conversation_id: conversation_id.clone(),
        seq: message.seq,
        deleter_id: Some(by.clone()),
        delete_type,
        deleted_at: now,
    };
    let edited = MessageEdited {
        message_id: message_id.clone(),
        conversation_id: conversation_id.clone(),
        seq,
        editor_id: ann.clone(),
        new_content: "new".to_owned(),
        mentions: edit.mentions.clone(),
        revision: 1,
        edited_at: now,
    };
    let pinned = MessagePinned {
        message_id: message_id.clone(),
        conversation_id: conversation_id.clone(),
        user_id: ann.clone(),
        until,
    };
    let unpinned = MessageUnpinned {
        message_id: message_id.clone(),
        conversation_id: conversation_id.clone(),
        user_id: ben.clone(),
    };
    let expected: Vec<Event> = vec![
        MessageSent::from(&said).into(),
        MessageSent::from(&kept).into(),
        edited.into(),
        added(ann, 1).into(),
        added(ben, 2).into(),
        removed(ben, 1).into(),
        removed(ann, 0).into(),
        pinned.into(),
        unpinned.into(),
        deleted(&said, ben, DeleteType::ForMe).into(),
        deleted(&said, ann, DeleteType::ForEveryone).into(),
        deleted(&kept, ann, DeleteType::ForMe).into(),
    ];
    let written = drained(&*desk.outbox).await;
    assert!(written.iter().all(|envelope| envelope.at == now && envelope.key() == "here"));
    let ids: BTreeSet<_> = written.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), written.len(), "every change has an id of its own");
    for (nth, (envelope, event)) in written.iter().zip(&expected).enumerate() {
        assert_eq!(&envelope.event, event, "number {nth}");
    }
    assert_eq!(written.len(), expected.len());
}

async fn a_refusal_changes_nothing_and_writes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    let messages = &desk.messages;
    let gone = desk.say("gone").await;
    let gone = desk.delete(&gone, DeleteType::ForEveryone).await;
    let said = desk.say("text").await;
    desk.events().await;
    let nowhere = Message { id: sample::message("nowhere"), ..said.clone() };
    for (message, code) in [(&nowhere, Code::MessageNotFound), (&gone, Code::MessageDeleted)] {
        refused(messages.edit(&desk.edit(message, "new", None)).await, code);
        refused(messages.react(&message.id, &desk.ann, "👍", true).await, code);
        refused(messages.pin(&message.id, &desk.ann, true, None).await, code);
    }
    for whom in [DeleteType::ForMe, DeleteType::ForEveryone] {
        refused(messages.delete(&nowhere.id, &desk.ann, whom).await, Code::MessageNotFound);
    }
    refused(messages.edit(&desk.edit(&said, "new", Some(3))).await, Code::EditConflict);
    let conflict = NewMessage { id: said.id.clone(), ..sample::text(&desk.here, &desk.ben, "another") };
    refused(messages.append(&conflict).await, Code::Conflict);
    assert_eq!(desk.page(Anchor::Latest, 100).await.messages, [gone, said]);
    assert_eq!(messages.pinned(&desk.here).await.unwrap(), []);
    assert_eq!(desk.events().await, []);
}

async fn hostile_ids_are_only_ids(offer: Offer) {
    let desk = Desk::new(&offer);
    let names = sample::hostile_ids();
    let mut said = Vec::new();
    for name in &names {
        let (here, sender) = (sample::conversation(name), sample::user(name));
        for nth in 0..2 {
            let mut new = sample::text(&here, &sender, &format!("word {nth}"));
            new.client_key = Some(sample::key(&if nth == 0 { name.clone() } else { "k".to_owned() }));
            if nth == 0 {
                new.id = sample::message(name);
            }
            let message = desk.append(&new).await;
            assert_eq!(message.seq, Seq(nth + 1), "{name:?}");
            said.push(message);
        }
        desk.messages.react(&sample::message(name), &sender, "👍", true).await.unwrap();
        desk.messages.pin(&sample::message(name), &sender, true, None).await.unwrap();
        let hidden = said.last().unwrap().id.clone();
        desk.messages.delete(&hidden, &sender, DeleteType::ForMe).await.unwrap();
    }
    for name in &names {
        let (here, viewer) = (sample::conversation(name), sample::user(name));
        let query = HistoryQuery { conversation: here.clone(), ..desk.query(Anchor::Latest, 10) };
        let seen = desk.messages.history(&query).await.unwrap().messages;
        assert_eq!(seqs(&seen), [1, 2], "{name:?}");
        assert!(seen.iter().all(|message| message.sender_id.as_ref() == Some(&viewer)));
        assert_eq!(seen[0].reactions, [Reaction { emoji: "👍".to_owned(), users: vec![viewer.clone()] }]);
        let mine = HistoryQuery { viewer: Some(viewer.clone()), ..query };
        assert_eq!(seqs(&desk.messages.history(&mine).await.unwrap().messages), [1], "{name:?}");
        assert_eq!(ids(&desk.messages.pinned(&here).await.unwrap()), [sample::message(name)]);
        let question = SearchQuery { viewer, ..desk.question("word", &[here], 50) };
        assert_eq!(desk.hits(&question).await.len(), 1, "{name:?}");
    }
    let expected = [EventKind::MessageSent, EventKind::MessageSent].into_iter().chain([
        EventKind::MessageReactionAdded,
        EventKind::MessagePinned,
        EventKind::MessageDeleted,
    ]);
    let written = drained(&*desk.outbox).await;
    for name in &names {
        let mine = written.iter().filter(|envelope| envelope.key() == *name);
        assert!(mine.filter_map(|envelope| envelope.kind()).eq(expected.clone()), "{name:?}");
    }
    assert_eq!(written.len(), names.len() * 5);
}

async fn an_outage_is_never_an_empty_answer(offer: Offer) {
    let desk = Desk::new(&offer);
    let outage = offer.outage.expect("an outage");
    let (messages, said) = (&desk.messages, desk.say("text").await);
    let one = std::slice::from_ref(&said.id);
    let here = std::slice::from_ref(&desk.here);
    let new = sample::text(&desk.here, &desk.ann, "during the outage");
    outage.begin();
    unavailable(messages.append_many(std::slice::from_ref(&new)).await);
    unavailable(messages.append(&new).await);
    unavailable(messages.get_many(one).await);
    unavailable(messages.get(&sample::message("nowhere")).await);
    unavailable(messages.hidden_many(&desk.ann, one).await);
    unavailable(messages.history(&desk.query(Anchor::Latest, 10)).await);
    unavailable(messages.heads(None, here).await);
    unavailable(messages.head(&desk.here).await);
    unavailable(messages.edit(&desk.edit(&said, "new", None)).await);
    unavailable(messages.delete(&said.id, &desk.ann, DeleteType::ForEveryone).await);
    unavailable(messages.react(&said.id, &desk.ann, "👍", true).await);
    unavailable(messages.pin(&said.id, &desk.ann, true, None).await);
    unavailable(messages.pinned(&desk.here).await);
    unavailable(messages.search(&desk.question("text", here, 50)).await);
    unavailable(messages.purge(&desk.purge(desk.clock.now().after(seconds(1)), 10)).await);
    outage.end();
    assert_eq!(desk.page(Anchor::Latest, 100).await.messages, [said], "nothing changed meanwhile");
    assert!(!messages.append(&new).await.unwrap().duplicate);
    assert_eq!(desk.events().await.len(), 2);
}
