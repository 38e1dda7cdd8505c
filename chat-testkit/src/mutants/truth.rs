//! Bugs of the truth and of the event log.
//!
//! Origins name the flaws of the systems that were studied; letters and `F` numbers are those of the seeds' first
//! application.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chat_core::clock::{Clock, ManualClock};
use chat_core::domain::{ConversationKind, Mute};
use chat_core::error::Code;
use chat_core::store::conversations::NewMember;
use chat_core::store::messages::{Anchor, HistoryScope};
use chat_core::store::positions::Step;
use chat_core::store::{AuditLogExt, MessageStoreExt, PositionStoreExt};
use parking_lot::Mutex;

use super::*;
use crate::{Consumers, sample};

/// Plants a bug into a port, or into every consumer.
macro_rules! plant_in {
    ($offer:ident, consumers, $bug:expr) => {
        plant_in_consumers($offer, &$bug)
    };
    ($offer:ident, $port:ident, $bug:expr) => {
        plant!($offer, $port, $bug)
    };
}

macro_rules! mutants {
    ($offer:ident: $($name:literal, $origin:literal: $port:ident, $bug:expr => $killed_by:literal;)*) => {
        /// Bugs of messages, positions, conversations, files, the outbox and the event log.
        pub const MUTANTS: &[Mutant] = &[$(Mutant {
            name: $name,
            origin: $origin,
            killed_by: $killed_by,
            apply: |$offer| {
                let bug = $bug;
                plant_in!($offer, $port, bug)
            },
        },)*];
    };
}

mutants! { offer:
    "a place is used up by a write that fails", "sequences drawn before the write, as with INCR":
        messages, LosesPlaces::default() => "messages::sixteen_writers_leave_no_gap_and_a_reader_sees_places_in_order";
    "a repeated client key is stored twice", "seed 001, e: no idempotency key":
        messages, ForgetsClientKeys::default() => "messages::a_repeated_client_key_answers_the_first_message";
    "a text is cut at 500 characters", "seed 001, F15":
        messages, CutsTexts => "messages::an_append_writes_one_event_with_the_whole_text";
    "a page skips what was said at the same moment", "seed 001, e: a cursor made of createdAt alone":
        messages, SkipsTies => "messages::pages_of_any_size_walk_through_everything_once";
    "deleting takes the next message", "off by one between index and place":
        messages, DeletesTheNext => "messages::deleting_takes_only_the_message_named";
    "deleting for me deletes for all", "seed 001, f, row 40: announced to all, stored for nobody":
        messages, DeletesForAll => "messages::deleting_for_me_hides_it_from_me_alone";
    "a tombstone keeps what was said", "soft deletion by a flag":
        messages, KeepsDeletedTexts::default() => "messages::deleting_for_everyone_leaves_only_the_place";
    "the last of racing edits wins", "seed 001, e: whole documents are written back":
        messages, EditsBlindly => "messages::racing_edits_of_one_revision_have_one_winner";
    "the same text is announced as an edit", "Mattermost: update_at moves on every save":
        messages, AnnouncesNothing => "messages::the_text_it_has_already_changes_nothing";
    "a reaction is counted twice", "seed 001, e: $inc without $addToSet":
        messages, CountsReactionsTwice => "messages::reactions_are_a_set_of_users_and_emojis";
    "search sees other conversations", "seed 001, f, row 48: the membership filter is overwritten":
        messages, SearchesEverywhere::default() => "messages::search_finds_nothing_outside_the_conversations_asked";
    "retention ignores legal hold", "TTL indexes":
        messages, PurgesEverything => "messages::a_purge_takes_what_is_old_and_keeps_what_is_held";
    "an outage is an empty history", "seed 001: methods never throw":
        messages, HidesOutages => "messages::an_outage_is_never_an_empty_answer";

    "the read position goes down", "last write wins":
        positions, ReadsBackwards => "positions::positions_are_maxima";
    "the author is among the readers", "seed 001, f, row 39: the reader is unknown":
        positions, CountsTheAuthor::new(&offer) => "positions::the_author_is_no_reader_and_nor_is_who_joined_later";
    "a repeated rewind goes back twice", "Mattermost: mark unread without a token":
        positions, RewindsAgain => "positions::marking_as_unread_twice_goes_back_once";
    "a recount counts deleted messages", "Mattermost: deletion does not decrement":
        positions, CountsDeleted => "positions::a_recount_agrees_with_the_messages_themselves";

    "two people have two direct conversations", "Rocket.Chat: the id depends on who begins":
        conversations, DirectByMaker => "conversations::a_direct_conversation_is_the_same_whoever_makes_it";
    "the member limit is not kept", "seed 001, a.5: maxUsers is never enforced":
        conversations, NoLimit => "conversations::racing_additions_keep_the_member_limit";
    "an addition that does not fit adds who fits", "a check per member":
        conversations, AddsWhoFits => "conversations::an_addition_that_does_not_fit_adds_nobody";
    "the last admin may leave", "seed 001, f, row 15: nobody can become admin any more":
        conversations, LetsAdminsGo => "conversations::the_last_admin_of_several_members_stays";
    "muting mutes it for all", "seed 001, e: one flag per conversation":
        conversations, MutesForAll => "conversations::settings_are_felt_by_one_user_alone";
    "what was active at one moment is skipped between pages", "seed 001, e: a cursor made of a time alone":
        conversations, SkipsActiveTies => "conversations::the_active_ones_come_in_pages_of_any_size";
    "what was only made is taken for active", "seed 002: updatedAt, which making and renaming set too":
        conversations, TakesNewForActive::default()
            => "conversations::the_active_ones_are_those_with_a_message_since_then_newest_first";

    "every try counts as a download", "seed 001, e: $inc":
        files, CountsEveryTry::default() => "files::a_repeated_download_is_counted_once";

    "a record goes when what it tells of ends", "seed 003: a TTL index on expiresAt":
        audit, ForgetsWhatEnded { clock: offer.clock.clone() } => "audit::a_record_outlives_what_it_tells_of";
    "the same deed is written down twice", "seed 003: insertion without a key":
        audit, WritesTwice::default() => "audit::a_repeated_entry_answers_the_record_there_is";
    "a deed may be settled both ways", "an update by id alone":
        audit, SettlesAgain => "audit::a_deed_is_settled_once";

    "the outbox loses an event", "seed 001, b.3: save, crash, never published":
        outbox, LosesEvents => "outbox::what_truth_wrote_waits_until_it_is_cleared";
    "the outbox hands out the newest first", "seed 001, F08: LPUSH and LRANGE":
        outbox, NewestFirst => "outbox::entries_come_oldest_first_and_as_many_as_asked";
    "an entry is cleared before it is published", "seed 001, d.6: at most once":
        outbox, ClearsTooEarly => "outbox::a_crash_between_publishing_and_clearing_repeats_the_same_id";
    "two relays have one key", "seed 001, a.7: two processes replay the same":
        outbox, EveryOwner => "outbox::no_other_owner_gets_a_key_while_a_claim_lasts";
    "who walks through what waits jumps over the end of a page", "a surplus item that is lost":
        outbox, DropsTheLast => "outbox::a_walk_through_what_waits_misses_nothing_and_repeats_nothing";

    "a repeated event is published again", "seed 001, F13: published three times":
        publisher, PublishesAgain::default() => "events::a_repeated_event_is_suppressed_where_it_stands";

    "an event goes to two members", "seed 001, F02c: every process handles it":
        consumers, DeliversTwice::default() => "events::every_event_goes_to_exactly_one_member";
    "members get the newest first", "seed 001, F10b: inversions":
        consumers, DeliversBackwards => "events::a_group_from_the_beginning_receives_what_is_kept";
    "fetching acknowledges", "seed 001, d.6: acknowledged even if delivery failed":
        consumers, AcksTooEarly => "events::what_is_not_acknowledged_is_reclaimed_when_it_was_idle";
    "a poisoned event is acknowledged and lost", "seed 001, F14: dead letters without payload":
        consumers, BuriesNothing => "events::a_buried_event_is_kept_whole_with_its_cause";

    "the tail hides a gap", "Redis Streams: XREAD goes on from the oldest entry kept":
        tail, HidesGaps => "events::a_reader_that_fell_behind_is_told_so";
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
    async fn append_many(
        &self,
        port: &dyn MessageStore,
        new: &[NewMessage],
    ) -> Result<Vec<Result<Appended>>> {
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
    async fn append_many(
        &self,
        port: &dyn MessageStore,
        new: &[NewMessage],
    ) -> Result<Vec<Result<Appended>>> {
        let mut new = new.to_vec();
        for message in &mut new {
            if message.client_key.take().is_some() {
                let nth = self.appended.fetch_add(1, Ordering::SeqCst);
                message.id = sample::message(&format!("number {nth}"));
            }
        }
        port.append_many(&new).await
    }
}

#[derive(Debug)]
struct CutsTexts;

#[async_trait]
impl MessageBug for CutsTexts {
    async fn append_many(
        &self,
        port: &dyn MessageStore,
        new: &[NewMessage],
    ) -> Result<Vec<Result<Appended>>> {
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
    async fn delete(
        &self,
        port: &dyn MessageStore,
        id: &MessageId,
        by: &UserId,
        whom: DeleteType,
    ) -> Result<MessageChanged> {
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
    async fn delete(
        &self,
        port: &dyn MessageStore,
        id: &MessageId,
        by: &UserId,
        _: DeleteType,
    ) -> Result<MessageChanged> {
        port.delete(id, by, DeleteType::ForEveryone).await
    }
}

#[derive(Debug, Default)]
struct KeepsDeletedTexts {
    texts: Mutex<BTreeMap<MessageId, String>>,
}

#[async_trait]
impl MessageBug for KeepsDeletedTexts {
    async fn delete(
        &self,
        port: &dyn MessageStore,
        id: &MessageId,
        by: &UserId,
        whom: DeleteType,
    ) -> Result<MessageChanged> {
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
    async fn react(
        &self,
        port: &dyn MessageStore,
        id: &MessageId,
        user: &UserId,
        emoji: &str,
        on: bool,
    ) -> Result<MessageChanged> {
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
    async fn append_many(
        &self,
        port: &dyn MessageStore,
        new: &[NewMessage],
    ) -> Result<Vec<Result<Appended>>> {
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

impl CountsTheAuthor {
    fn new(offer: &Offer) -> Self {
        Self { messages: offer.messages.clone().expect("messages") }
    }
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
    async fn recount(
        &self,
        port: &dyn PositionStore,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<UnreadTruth>> {
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
    async fn change(
        &self,
        port: &dyn ConversationStore,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Changed> {
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
    async fn change(
        &self,
        port: &dyn ConversationStore,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Changed> {
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
    async fn change(
        &self,
        port: &dyn ConversationStore,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Changed> {
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

#[derive(Debug)]
struct SkipsActiveTies;

#[async_trait]
impl ConversationBug for SkipsActiveTies {
    async fn active(
        &self,
        port: &dyn ConversationStore,
        since: Timestamp,
        page: &Page<ActivityCursor>,
    ) -> Result<Paged<Conversation, ActivityCursor>> {
        let last_of_all = |cursor: ActivityCursor| ActivityCursor { id: sample::conversation("~"), ..cursor };
        let Paged { items, next } = port.active(since, page).await?;
        Ok(Paged { items, next: next.map(last_of_all) })
    }
}

#[derive(Debug, Default)]
struct TakesNewForActive {
    made: Mutex<Vec<ConversationId>>,
}

#[async_trait]
impl ConversationBug for TakesNewForActive {
    async fn create(&self, port: &dyn ConversationStore, new: &NewConversation) -> Result<Created> {
        self.made.lock().push(new.id.clone());
        port.create(new).await
    }

    async fn active(
        &self,
        port: &dyn ConversationStore,
        since: Timestamp,
        page: &Page<ActivityCursor>,
    ) -> Result<Paged<Conversation, ActivityCursor>> {
        let made = self.made.lock().clone();
        let silent = port.get_many(&made).await?.into_iter().flatten();
        let silent = silent.filter(|one| one.last_activity.seq == Seq::ZERO);
        let silent = silent.filter(|one| one.last_activity.at >= since && page.after.is_none());
        let Paged { mut items, next } = port.active(since, page).await?;
        items.extend(silent.take(page.limit - items.len()));
        Ok(Paged { items, next })
    }
}

// Files

#[derive(Debug, Default)]
struct CountsEveryTry {
    tries: AtomicUsize,
}

#[async_trait]
impl FileBug for CountsEveryTry {
    async fn downloaded(
        &self,
        port: &dyn FileStore,
        file: &FileId,
        by: &UserId,
        _: &ClientKey,
    ) -> Result<FileRecord> {
        let nth = self.tries.fetch_add(1, Ordering::SeqCst);
        port.downloaded(file, by, &sample::key(&format!("try {nth}"))).await
    }
}

// The audit log

#[derive(Debug)]
struct ForgetsWhatEnded {
    clock: ManualClock,
}

#[async_trait]
impl AuditBug for ForgetsWhatEnded {
    async fn get_many(&self, port: &dyn AuditLog, ids: &[AuditId]) -> Result<Vec<Option<AuditRecord>>> {
        let now = self.clock.now();
        let lives = |record: &AuditRecord| record.entry.expires_at.is_none_or(|at| at > now);
        Ok(port.get_many(ids).await?.into_iter().map(|found| found.filter(lives)).collect())
    }
}

#[derive(Debug, Default)]
struct WritesTwice {
    written: AtomicUsize,
}

#[async_trait]
impl AuditBug for WritesTwice {
    async fn append(&self, port: &dyn AuditLog, entry: &AuditEntry) -> Result<AuditRecord> {
        let nth = self.written.fetch_add(1, Ordering::SeqCst);
        let again = AuditId::derived(&[entry.audit_id.as_str(), &nth.to_string()]);
        port.append(&AuditEntry { audit_id: again, ..entry.clone() }).await?;
        port.append(entry).await
    }
}

#[derive(Debug)]
struct SettlesAgain;

#[async_trait]
impl AuditBug for SettlesAgain {
    async fn settle(&self, port: &dyn AuditLog, id: &AuditId, outcome: AuditOutcome) -> Result<AuditRecord> {
        match port.settle(id, outcome).await {
            Err(error) if error.code() == Code::Conflict => {
                let mut record = port.get(id).await?.expect("a record");
                record.state = outcome.into();
                Ok(record)
            }
            settled => settled,
        }
    }
}

// The outbox

#[derive(Debug)]
struct LosesEvents;

#[async_trait]
impl OutboxBug for LosesEvents {
    async fn claim(
        &self,
        port: &dyn Outbox,
        owner: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Envelope>> {
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
    async fn claim(
        &self,
        port: &dyn Outbox,
        owner: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Envelope>> {
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
    async fn claim(
        &self,
        port: &dyn Outbox,
        owner: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Envelope>> {
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
    async fn claim(
        &self,
        port: &dyn Outbox,
        _: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Envelope>> {
        port.claim("a relay", limit, lease).await
    }
}

#[derive(Debug)]
struct DropsTheLast;

#[async_trait]
impl OutboxBug for DropsTheLast {
    async fn list(&self, port: &dyn Outbox, page: &Page<String>) -> Result<Paged<Envelope, String>> {
        let mut found = port.list(page).await?;
        if found.next.is_some() {
            found.items.pop();
        }
        Ok(found)
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
    async fn read_since(
        &self,
        port: &dyn EventTail,
        cursors: &[TailCursor],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<TailRead>> {
        let mut found = Vec::new();
        for read in port.read_since(cursors, max, wait).await? {
            match read {
                TailRead::Discontinuity { oldest } => {
                    found.extend(port.read_since(&[oldest], max, wait).await?)
                }
                events => found.push(events),
            }
        }
        Ok(found)
    }
}
