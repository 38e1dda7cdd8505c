//! Bugs of the truth and of the event log.
//!
//! Origins name the flaws of the systems that were studied: the sections and `F` numbers of the Node.js chat of the
//! seeds, or the system by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chat_core::domain::{ConversationKind, Mute};
use chat_core::error::Code;
use chat_core::store::conversations::NewMember;
use chat_core::store::messages::{Anchor, HistoryScope};
use chat_core::store::positions::Step;
use chat_core::store::{ConversationStoreExt, MessageStoreExt, PositionStoreExt};
use parking_lot::Mutex;

use super::*;
use crate::{Consumers, sample};

/// Declares mutants: what each does wrong, where that was seen, the check that finds it, and how it is planted.
macro_rules! mutants {
    ($($name:literal, $origin:literal, $killed_by:literal, $plant:expr;)*) => {
        /// Bugs of messages, positions, conversations, files, the outbox and the event log.
        pub const MUTANTS: &[Mutant] = &[
            $(Mutant { name: $name, origin: $origin, killed_by: $killed_by, apply: $plant },)*
        ];
    };
}

mutants! {
    "a place is used up by a write that fails",
    "sequences drawn before the write, as with INCR",
    "messages::sixteen_writers_leave_no_gap_and_a_reader_sees_places_in_order",
    |offer| plant!(offer, messages, LosesPlaces::default());

    "a repeated client key is stored twice",
    "the Node.js chat, section e: no idempotency key",
    "messages::a_repeated_client_key_answers_the_first_message",
    |offer| plant!(offer, messages, ForgetsClientKeys::default());

    "a text is cut at 500 characters",
    "the Node.js chat, F15",
    "messages::an_append_writes_one_event_with_the_whole_text",
    |offer| plant!(offer, messages, CutsTexts);

    "a page skips what was said at the same moment",
    "the Node.js chat, section e: a cursor made of createdAt alone",
    "messages::pages_of_any_size_walk_through_everything_once",
    |offer| plant!(offer, messages, SkipsTies);

    "deleting takes the next message",
    "off by one between index and place",
    "messages::deleting_takes_only_the_message_named",
    |offer| plant!(offer, messages, DeletesTheNext);

    "deleting for me deletes for all",
    "the Node.js chat, row 40: announced to all, stored for nobody",
    "messages::deleting_for_me_hides_it_from_me_alone",
    |offer| plant!(offer, messages, DeletesForAll);

    "a tombstone keeps what was said",
    "soft deletion by a flag",
    "messages::deleting_for_everyone_leaves_only_the_place",
    |offer| plant!(offer, messages, KeepsDeletedTexts::default());

    "the last of racing edits wins",
    "the Node.js chat, section e: whole documents are written back",
    "messages::racing_edits_of_one_revision_have_one_winner",
    |offer| plant!(offer, messages, EditsBlindly);

    "the same text is announced as an edit",
    "Mattermost: update_at moves on every save",
    "messages::the_text_it_has_already_changes_nothing",
    |offer| plant!(offer, messages, AnnouncesNothing);

    "a reaction is counted twice",
    "the Node.js chat, section e: $inc without $addToSet",
    "messages::reactions_are_a_set_of_users_and_emojis",
    |offer| plant!(offer, messages, CountsReactionsTwice);

    "search sees other conversations",
    "the Node.js chat, row 48: the membership filter is overwritten",
    "messages::search_finds_nothing_outside_the_conversations_asked",
    |offer| plant!(offer, messages, SearchesEverywhere::default());

    "retention ignores legal hold",
    "TTL indexes",
    "messages::a_purge_takes_what_is_old_and_keeps_what_is_held",
    |offer| plant!(offer, messages, PurgesEverything);

    "an outage is an empty history",
    "the Node.js chat: methods never throw",
    "messages::an_outage_is_never_an_empty_answer",
    |offer| plant!(offer, messages, HidesOutages);

    "the read position goes down",
    "last write wins",
    "positions::positions_are_maxima",
    |offer| plant!(offer, positions, ReadsBackwards);

    "the author is among the readers",
    "the Node.js chat, row 39: the reader is unknown",
    "positions::the_author_is_no_reader_and_nor_is_who_joined_later",
    |offer| {
        let messages = offer.messages.clone().expect("messages");
        plant!(offer, positions, CountsTheAuthor { messages })
    };

    "a repeated rewind goes back twice",
    "Mattermost: mark unread without a token",
    "positions::marking_as_unread_twice_goes_back_once",
    |offer| plant!(offer, positions, RewindsAgain);

    "a recount counts deleted messages",
    "Mattermost: deletion does not decrement",
    "positions::a_recount_agrees_with_the_messages_themselves",
    |offer| plant!(offer, positions, CountsDeleted);

    "two people have two direct conversations",
    "Rocket.Chat: the id depends on who begins",
    "conversations::a_direct_conversation_is_the_same_whoever_makes_it",
    |offer| plant!(offer, conversations, DirectByMaker);

    "the member limit is not kept",
    "the Node.js chat, a.5: maxUsers is never enforced",
    "conversations::racing_additions_keep_the_member_limit",
    |offer| plant!(offer, conversations, NoLimit);

    "an addition that does not fit adds who fits",
    "a check per member",
    "conversations::an_addition_that_does_not_fit_adds_nobody",
    |offer| plant!(offer, conversations, AddsWhoFits);

    "the last admin may leave",
    "the Node.js chat, row 15: nobody can become admin any more",
    "conversations::the_last_admin_of_several_members_stays",
    |offer| plant!(offer, conversations, LetsAdminsGo);

    "muting mutes it for all",
    "the Node.js chat, section e: one flag per conversation",
    "conversations::settings_are_felt_by_one_user_alone",
    |offer| plant!(offer, conversations, MutesForAll);

    "every try counts as a download",
    "the Node.js chat, section e: $inc",
    "files::a_repeated_download_is_counted_once",
    |offer| plant!(offer, files, CountsEveryTry::default());

    "the outbox loses an event",
    "the Node.js chat, b.3: save, crash, never published",
    "outbox::what_truth_wrote_waits_until_it_is_cleared",
    |offer| plant!(offer, outbox, LosesEvents);

    "the outbox hands out the newest first",
    "the Node.js chat, F08: LPUSH and LRANGE",
    "outbox::entries_come_oldest_first_and_as_many_as_asked",
    |offer| plant!(offer, outbox, NewestFirst);

    "an entry is cleared before it is published",
    "the Node.js chat, d.6: at most once",
    "outbox::a_crash_between_publishing_and_clearing_repeats_the_same_id",
    |offer| plant!(offer, outbox, ClearsTooEarly);

    "two relays have one key",
    "the Node.js chat, a.7: two processes replay the same",
    "outbox::no_other_owner_gets_a_key_while_a_claim_lasts",
    |offer| plant!(offer, outbox, EveryOwner);

    "a repeated event is published again",
    "the Node.js chat, F13: published three times",
    "events::a_repeated_event_is_suppressed_where_it_stands",
    |offer| plant!(offer, publisher, PublishesAgain::default());

    "an event goes to two members",
    "the Node.js chat, F02c: every process handles it",
    "events::every_event_goes_to_exactly_one_member",
    |offer| plant_in_consumers(offer, &DeliversTwice::default());

    "members get the newest first",
    "the Node.js chat, F10b: inversions",
    "events::racing_members_keep_the_order_of_every_key",
    |offer| plant_in_consumers(offer, &DeliversBackwards);

    "fetching acknowledges",
    "the Node.js chat, d.6: acknowledged even if delivery failed",
    "events::what_is_not_acknowledged_is_reclaimed_when_it_was_idle",
    |offer| plant_in_consumers(offer, &AcksTooEarly);

    "a poisoned event is acknowledged and lost",
    "the Node.js chat, F14: dead letters without payload",
    "events::a_buried_event_is_kept_whole_with_its_cause",
    |offer| plant_in_consumers(offer, &BuriesNothing);

    "the tail hides a gap",
    "Redis Streams: XREAD goes on from the oldest entry kept",
    "events::a_reader_that_fell_behind_is_told_so",
    |offer| plant!(offer, tail, HidesGaps);
}

// Messages

/// Every fifth message has an invisible one before it.
#[derive(Debug, Default)]
struct LosesPlaces {
    appended: AtomicUsize,
}

const LOST: &str = "lost ";

fn is_lost(message: &Message) -> bool {
    message.id.as_str().starts_with(LOST)
}

#[async_trait]
impl MessageBug for LosesPlaces {
    async fn append_many(&self, port: &dyn MessageStore, new: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        for message in new {
            if self.appended.fetch_add(1, Ordering::SeqCst) % 5 == 4 {
                let mut lost = message.clone();
                lost.id = sample::message(&format!("{LOST}{}", message.id));
                port.append(&lost).await?;
            }
        }
        port.append_many(new).await
    }

    async fn history(&self, port: &dyn MessageStore, query: &HistoryQuery) -> Result<History> {
        let mut page = port.history(query).await?;
        page.messages.retain(|message| !is_lost(message));
        Ok(page)
    }
}

#[derive(Debug, Default)]
struct ForgetsClientKeys {
    appended: AtomicUsize,
}

#[async_trait]
impl MessageBug for ForgetsClientKeys {
    async fn append_many(&self, port: &dyn MessageStore, new: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        let mut new = new.to_vec();
        for message in new.iter_mut().filter(|message| message.client_key.take().is_some()) {
            let nth = self.appended.fetch_add(1, Ordering::SeqCst);
            message.id = sample::message(&format!("number {nth}"));
        }
        port.append_many(&new).await
    }
}

#[derive(Debug)]
struct CutsTexts;

#[async_trait]
impl MessageBug for CutsTexts {
    async fn append_many(&self, port: &dyn MessageStore, new: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        let cut = |message: &NewMessage| {
            let mut message = message.clone();
            message.draft.content = message.draft.content.chars().take(500).collect();
            message
        };
        let whole = new.iter().map(|message| message.draft.content.clone());
        let answers = port.append_many(&new.iter().map(cut).collect::<Vec<_>>()).await?;
        let restored = answers.into_iter().zip(whole).map(|(answer, content)| {
            answer.map(|appended| Appended { message: Message { content, ..appended.message }, ..appended })
        });
        Ok(restored.collect())
    }
}

#[derive(Debug)]
struct SkipsTies;

#[async_trait]
impl MessageBug for SkipsTies {
    async fn history(&self, port: &dyn MessageStore, query: &HistoryQuery) -> Result<History> {
        let mut page = port.history(query).await?;
        let (Anchor::After(seq) | Anchor::Before(seq)) = query.anchor else { return Ok(page) };
        let at_cursor = HistoryQuery { anchor: Anchor::Around(seq), limit: 1, ..query.clone() };
        if let Some(cursor) = port.history(&at_cursor).await?.messages.first() {
            page.messages.retain(|message| message.created_at != cursor.created_at);
        }
        Ok(page)
    }
}

#[derive(Debug)]
struct DeletesTheNext;

#[async_trait]
impl MessageBug for DeletesTheNext {
    async fn delete(&self, port: &dyn MessageStore, id: &MessageId, by: &UserId, whom: DeleteType) -> Result<MessageChanged> {
        let deleted = port.delete(id, by, whom).await?;
        let next = HistoryQuery {
            conversation: deleted.message.conversation_id.clone(),
            viewer: None,
            scope: HistoryScope::Everything,
            anchor: Anchor::After(deleted.message.seq),
            limit: 1,
        };
        if let Some(next) = port.history(&next).await?.messages.first() {
            port.delete(&next.id, by, whom).await?;
        }
        Ok(deleted)
    }
}

#[derive(Debug)]
struct DeletesForAll;

#[async_trait]
impl MessageBug for DeletesForAll {
    async fn delete(&self, port: &dyn MessageStore, id: &MessageId, by: &UserId, _: DeleteType) -> Result<MessageChanged> {
        port.delete(id, by, DeleteType::ForEveryone).await
    }
}

#[derive(Debug, Default)]
struct KeepsDeletedTexts {
    texts: Mutex<BTreeMap<MessageId, String>>,
}

#[async_trait]
impl MessageBug for KeepsDeletedTexts {
    async fn delete(&self, port: &dyn MessageStore, id: &MessageId, by: &UserId, whom: DeleteType) -> Result<MessageChanged> {
        if let Some(message) = port.get(id).await? {
            self.texts.lock().insert(id.clone(), message.content);
        }
        port.delete(id, by, whom).await
    }

    async fn history(&self, port: &dyn MessageStore, query: &HistoryQuery) -> Result<History> {
        let mut page = port.history(query).await?;
        for message in &mut page.messages {
            if let Some(text) = self.texts.lock().get(&message.id) {
                message.content.clone_from(text);
            }
        }
        Ok(page)
    }
}

#[derive(Debug)]
struct EditsBlindly;

#[async_trait]
impl MessageBug for EditsBlindly {
    async fn edit(&self, port: &dyn MessageStore, edit: &Edit) -> Result<MessageChanged> {
        port.edit(&Edit { expect: None, ..edit.clone() }).await
    }
}

#[derive(Debug)]
struct AnnouncesNothing;

#[async_trait]
impl MessageBug for AnnouncesNothing {
    async fn edit(&self, port: &dyn MessageStore, edit: &Edit) -> Result<MessageChanged> {
        let answer = port.edit(edit).await?;
        if answer.changed {
            return Ok(answer);
        }
        let other = format!("{} ", edit.content);
        port.edit(&Edit { content: other, expect: None, ..edit.clone() }).await?;
        port.edit(&Edit { expect: None, ..edit.clone() }).await
    }
}

#[derive(Debug)]
struct CountsReactionsTwice;

#[async_trait]
impl MessageBug for CountsReactionsTwice {
    async fn react(&self, port: &dyn MessageStore, id: &MessageId, user: &UserId, emoji: &str, on: bool) -> Result<MessageChanged> {
        let mut answer = port.react(id, user, emoji, on).await?;
        if on && !answer.changed {
            answer.changed = true;
            for reaction in answer.message.reactions.iter_mut().filter(|reaction| reaction.emoji == emoji) {
                reaction.users.push(user.clone());
            }
        }
        Ok(answer)
    }
}

#[derive(Debug, Default)]
struct SearchesEverywhere {
    conversations: Mutex<BTreeSet<ConversationId>>,
}

#[async_trait]
impl MessageBug for SearchesEverywhere {
    async fn append_many(&self, port: &dyn MessageStore, new: &[NewMessage]) -> Result<Vec<Result<Appended>>> {
        self.conversations.lock().extend(new.iter().map(|message| message.conversation_id.clone()));
        port.append_many(new).await
    }

    async fn search(&self, port: &dyn MessageStore, query: &SearchQuery) -> Result<Paged<Hit, SearchCursor>> {
        let conversations = self.conversations.lock().iter().cloned().collect();
        port.search(&SearchQuery { conversations, ..query.clone() }).await
    }
}

#[derive(Debug)]
struct PurgesEverything;

#[async_trait]
impl MessageBug for PurgesEverything {
    async fn purge(&self, port: &dyn MessageStore, purge: &Purge) -> Result<Paged<Seq, Seq>> {
        port.purge(&Purge { hold: Vec::new(), ..purge.clone() }).await
    }
}

#[derive(Debug)]
struct HidesOutages;

#[async_trait]
impl MessageBug for HidesOutages {
    async fn history(&self, port: &dyn MessageStore, query: &HistoryQuery) -> Result<History> {
        Ok(port.history(query).await.unwrap_or_default())
    }
}

// Positions

#[derive(Debug)]
struct ReadsBackwards;

#[async_trait]
impl PositionBug for ReadsBackwards {
    async fn step_many(&self, port: &dyn PositionStore, steps: &[PositionStep]) -> Result<Vec<Moved>> {
        let mut moved = Vec::new();
        for PositionStep { user, conversation, step } in steps {
            let read = port.receipts(user, conversation).await?.read;
            let step = match step {
                Step::Read(seq) if *seq < read.seq => Step::Unread { from: seq.next(), epoch: read.epoch },
                step => *step,
            };
            moved.push(port.step(user, conversation, step).await?);
        }
        Ok(moved)
    }
}

#[derive(Debug)]
struct CountsTheAuthor {
    messages: Arc<dyn MessageStore>,
}

#[async_trait]
impl PositionBug for CountsTheAuthor {
    async fn readers(
        &self,
        port: &dyn PositionStore,
        conversation: &ConversationId,
        seq: Seq,
        page: &Page<UserId>,
    ) -> Result<Paged<UserId, UserId>> {
        let mut found = port.readers(conversation, seq, page).await?;
        let query = HistoryQuery {
            conversation: conversation.clone(),
            viewer: None,
            scope: HistoryScope::Everything,
            anchor: Anchor::Around(seq),
            limit: 1,
        };
        let read = self.messages.history(&query).await?;
        found.items.extend(read.messages.into_iter().filter_map(|message| message.sender_id));
        found.items.sort();
        Ok(found)
    }
}

#[derive(Debug)]
struct RewindsAgain;

#[async_trait]
impl PositionBug for RewindsAgain {
    async fn step_many(&self, port: &dyn PositionStore, steps: &[PositionStep]) -> Result<Vec<Moved>> {
        let mut moved = Vec::new();
        for PositionStep { user, conversation, step } in steps {
            let epoch = port.receipts(user, conversation).await?.read.epoch;
            let step = match step {
                Step::Unread { from, .. } => Step::Unread { from: *from, epoch },
                step => *step,
            };
            moved.push(port.step(user, conversation, step).await?);
        }
        Ok(moved)
    }
}

#[derive(Debug)]
struct CountsDeleted;

#[async_trait]
impl PositionBug for CountsDeleted {
    async fn recount(&self, port: &dyn PositionStore, user: &UserId, conversations: &[ConversationId]) -> Result<Vec<UnreadTruth>> {
        let truths = port.recount(user, conversations).await?;
        Ok(truths.into_iter().map(|truth| UnreadTruth { uncounted: Vec::new(), ..truth }).collect())
    }
}

// Conversations

#[derive(Debug)]
struct DirectByMaker;

#[async_trait]
impl ConversationBug for DirectByMaker {
    async fn create(&self, port: &dyn ConversationStore, new: &NewConversation) -> Result<Created> {
        let mut new = new.clone();
        if new.kind == ConversationKind::Direct {
            let names: Vec<_> = new.members.iter().map(|member| member.user.as_str()).collect();
            new.id = sample::conversation(&names.join("-"));
        }
        port.create(&new).await
    }
}

#[derive(Debug)]
struct NoLimit;

#[async_trait]
impl ConversationBug for NoLimit {
    async fn create(&self, port: &dyn ConversationStore, new: &NewConversation) -> Result<Created> {
        port.create(&NewConversation { max_members: u32::MAX, ..new.clone() }).await
    }
}

#[derive(Debug)]
struct AddsWhoFits;

#[async_trait]
impl ConversationBug for AddsWhoFits {
    async fn change(&self, port: &dyn ConversationStore, id: &ConversationId, by: &UserId, change: &Change) -> Result<Changed> {
        let Change::Add { members, head } = change else { return port.change(id, by, change).await };
        let one_by_one = |member: &NewMember| Change::Add { members: vec![member.clone()], head: *head };
        for member in members {
            port.change(id, by, &one_by_one(member)).await?;
        }
        port.change(id, by, change).await
    }
}

#[derive(Debug)]
struct LetsAdminsGo;

#[async_trait]
impl ConversationBug for LetsAdminsGo {
    async fn change(&self, port: &dyn ConversationStore, id: &ConversationId, by: &UserId, change: &Change) -> Result<Changed> {
        let answer = port.change(id, by, change).await;
        if !answer.as_ref().is_err_and(|error| error.code() == Code::MemberLastAdmin) {
            return answer;
        }
        // Somebody else has the role while the last one goes.
        let members = port.members(id, &Page::first(2)).await?.items;
        for member in members.into_iter().filter(|member| member.role != RoomRole::Admin).take(1) {
            let role = |role| Change::SetRole { user: member.user_id.clone(), role };
            port.change(id, by, &role(RoomRole::Admin)).await?;
        }
        port.change(id, by, change).await
    }
}

#[derive(Debug)]
struct MutesForAll;

#[async_trait]
impl ConversationBug for MutesForAll {
    async fn change(&self, port: &dyn ConversationStore, id: &ConversationId, by: &UserId, change: &Change) -> Result<Changed> {
        if let Change::Mute(Some(Mute::Always)) = change {
            for member in port.members(id, &Page::first(100)).await?.items {
                if member.user_id != *by {
                    port.change(id, &member.user_id, change).await?;
                }
            }
        }
        port.change(id, by, change).await
    }
}

// Files

#[derive(Debug, Default)]
struct CountsEveryTry {
    tries: AtomicUsize,
}

#[async_trait]
impl FileBug for CountsEveryTry {
    async fn downloaded(&self, port: &dyn FileStore, file: &FileId, by: &UserId, _: &ClientKey) -> Result<FileRecord> {
        let nth = self.tries.fetch_add(1, Ordering::SeqCst);
        port.downloaded(file, by, &sample::key(&format!("try {nth}"))).await
    }
}

// The outbox

#[derive(Debug)]
struct LosesEvents;

#[async_trait]
impl OutboxBug for LosesEvents {
    async fn claim(&self, port: &dyn Outbox, owner: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>> {
        let mut claimed = port.claim(owner, limit, lease).await?;
        if claimed.len() > 1 {
            let lost = claimed.remove(1);
            port.clear(owner, &[lost.id]).await?;
        }
        Ok(claimed)
    }
}

#[derive(Debug)]
struct NewestFirst;

#[async_trait]
impl OutboxBug for NewestFirst {
    async fn claim(&self, port: &dyn Outbox, owner: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>> {
        let mut claimed = port.claim(owner, 1_000, lease).await?;
        claimed.reverse();
        claimed.truncate(limit);
        Ok(claimed)
    }
}

#[derive(Debug)]
struct ClearsTooEarly;

#[async_trait]
impl OutboxBug for ClearsTooEarly {
    async fn claim(&self, port: &dyn Outbox, owner: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>> {
        let claimed = port.claim(owner, limit, lease).await?;
        let ids: Vec<_> = claimed.iter().map(|envelope| envelope.id.clone()).collect();
        port.clear(owner, &ids).await?;
        Ok(claimed)
    }
}

#[derive(Debug)]
struct EveryOwner;

#[async_trait]
impl OutboxBug for EveryOwner {
    async fn claim(&self, port: &dyn Outbox, _: &str, limit: usize, lease: Duration) -> Result<Vec<Envelope>> {
        port.claim("a relay", limit, lease).await
    }
}

// The event log

#[derive(Debug, Default)]
struct PublishesAgain {
    published: AtomicUsize,
}

#[async_trait]
impl PublisherBug for PublishesAgain {
    async fn publish_many(&self, port: &dyn EventPublisher, events: &[Envelope]) -> Result<Vec<Published>> {
        let renamed = |envelope: &Envelope| {
            let nth = self.published.fetch_add(1, Ordering::SeqCst);
            Envelope { id: EventId::derived(&["again", &nth.to_string()]), ..envelope.clone() }
        };
        port.publish_many(&events.iter().map(renamed).collect::<Vec<_>>()).await
    }
}

/// Plants a bug into every consumer an offer makes; they share it.
fn plant_in_consumers<B: ConsumerBug + Clone>(offer: Offer, bug: &B) -> Offer {
    let (make, bug) = (offer.consumers.clone().expect("consumers to bend"), bug.clone());
    let bent: Consumers = Arc::new(move |group, member, topics, from_beginning| {
        let (consumer, bug) = (make(group, member, topics, from_beginning), bug.clone());
        Box::pin(async move { Ok(Arc::new(Bugged::new(consumer.await?, bug)) as Arc<dyn EventConsumer>) })
    });
    offer.consumers(bent)
}

/// Whoever fetches gets what was handed out last as well.
#[derive(Debug, Default, Clone)]
struct DeliversTwice {
    last: Arc<Mutex<Vec<Delivery>>>,
}

#[async_trait]
impl ConsumerBug for DeliversTwice {
    async fn fetch(&self, port: &dyn EventConsumer, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let fresh = port.fetch(max, wait).await?;
        let mut last = self.last.lock();
        let mut found = std::mem::replace(&mut *last, fresh.clone());
        found.extend(fresh);
        found.truncate(max);
        Ok(found)
    }
}

#[derive(Debug, Clone)]
struct DeliversBackwards;

#[async_trait]
impl ConsumerBug for DeliversBackwards {
    async fn fetch(&self, port: &dyn EventConsumer, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let mut found = port.fetch(max, wait).await?;
        found.reverse();
        Ok(found)
    }
}

#[derive(Debug, Clone)]
struct AcksTooEarly;

#[async_trait]
impl ConsumerBug for AcksTooEarly {
    async fn fetch(&self, port: &dyn EventConsumer, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let found = port.fetch(max, wait).await?;
        let receipts: Vec<_> = found.iter().map(|delivery| delivery.receipt.clone()).collect();
        port.ack(&receipts).await?;
        Ok(found)
    }
}

#[derive(Debug, Clone)]
struct BuriesNothing;

#[async_trait]
impl ConsumerBug for BuriesNothing {
    async fn bury(&self, port: &dyn EventConsumer, delivery: &Delivery, _: &Error) -> Result<()> {
        port.ack(std::slice::from_ref(&delivery.receipt)).await
    }
}

#[derive(Debug)]
struct HidesGaps;

#[async_trait]
impl TailBug for HidesGaps {
    async fn read_since(&self, port: &dyn EventTail, cursors: &[TailCursor], max: usize, wait: Duration) -> Result<Vec<TailRead>> {
        let mut found = Vec::new();
        for read in port.read_since(cursors, max, wait).await? {
            match read {
                TailRead::Discontinuity { oldest } => found.extend(port.read_since(&[oldest], max, wait).await?),
                events => found.push(events),
            }
        }
        Ok(found)
    }
}
