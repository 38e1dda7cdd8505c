//! The table of every port and method, from which the wrappers around ports are made.

/// Hands the table to the macro `$then`: of each port its name, the name of its bugs, and its methods.
macro_rules! ports {
    ($then:ident) => {
        $then! {
            Cache, CacheBug {
                get_many(scope: &CacheScope, keys: &[String]) -> Lookup;
                put_many(scope: &CacheScope, entries: &[CacheEntry], put: Put) -> Vec<bool>;
                renew_many(scope: &CacheScope, keys: &[String], ttl: Duration) -> Vec<bool>;
                remove_many(scope: &CacheScope, keys: &[String]) -> Vec<bool>;
                invalidate(scope: &CacheScope) -> Generation;
                keys(scope: &CacheScope, prefix: &str, page: &Page<String>) -> Paged<String, String>;
                claim(scope: &CacheScope, name: &str, owner: &str, ttl: Duration) -> bool;
                release(scope: &CacheScope, name: &str, owner: &str) -> bool;
            }
            PresenceStore, PresenceBug {
                connect(connect: &Connect) -> Transition;
                renew_many(sessions: &[(UserId, SessionId)], lease: Duration) -> Vec<Renewal>;
                disconnect(user: &UserId, session: &SessionId) -> Transition;
                sweep(limit: usize) -> Vec<Lapse>;
                get_many(users: &[UserId]) -> Vec<Presence>;
                are_online(users: &[UserId]) -> Vec<bool>;
                touch_many(users: &[UserId]) -> Vec<bool>;
                idle_many(users: &[UserId], after: Duration) -> Vec<bool>;
                choose(user: &UserId, chosen: Option<&ChosenStatus>) -> ();
                set_visibility(user: &UserId, visibility: Visibility) -> ();
                online(page: &Page<UserId>) -> Paged<UserId, UserId>;
                stats() -> PresenceStats;
            }
            UnreadStore, UnreadBug {
                record_many(messages: &[Recorded]) -> ();
                uncount_many(conversation: &ConversationId, messages: &[Seq]) -> ();
                advance_many(advances: &[Advance]) -> Vec<ReadPosition>;
                counts(user: &UserId, conversations: &[ConversationId]) -> Vec<Option<Unread>>;
                adjust(user: &UserId, conversation: &ConversationId, by: i64, key: &ClientKey) -> Option<Unread>;
                rebuild(user: &UserId, truth: &[(ConversationId, UnreadTruth)]) -> ();
                forget_many(users: &[(UserId, ConversationId)]) -> ();
            }
            RoomStore, RoomBug {
                create(room: &NewRoom) -> bool;
                get_many(rooms: &[RoomId]) -> Vec<Option<Room>>;
                change_members(room: &RoomId, changes: &[RoomChange]) -> Vec<RoomChanged>;
                roles(room: &RoomId, users: &[UserId]) -> Option<Vec<Option<RoomRole>>>;
                members(room: &RoomId, page: &Page<UserId>) -> Paged<RoomMember, UserId>;
                online(room: &RoomId, page: &Page<UserId>) -> Paged<UserId, UserId>;
                rooms_of(user: &UserId, page: &Page<RoomId>) -> Paged<RoomId, RoomId>;
                stats(room: &RoomId) -> RoomStats;
                touch_many(rooms: &[RoomId]) -> ();
                age(idle: Duration, archive: Duration, limit: usize) -> Vec<RoomAged>;
                delete(room: &RoomId) -> bool;
            }
            RateLimiter, LimitBug {
                check_many(attempts: &[Attempt]) -> Vec<Decision>;
            }
            MessageStore, MessageBug {
                append_many(messages: &[NewMessage]) -> Vec<Result<Appended>>;
                get_many(messages: &[MessageId]) -> Vec<Option<Message>>;
                hidden_many(user: &UserId, messages: &[MessageId]) -> Vec<bool>;
                history(query: &HistoryQuery) -> History;
                heads(viewer: Option<&UserId>, conversations: &[ConversationId]) -> Vec<Head>;
                edit(edit: &Edit) -> MessageChanged;
                delete(message: &MessageId, by: &UserId, whom: DeleteType) -> MessageChanged;
                react(message: &MessageId, user: &UserId, emoji: &str, on: bool) -> MessageChanged;
                pin(message: &MessageId, by: &UserId, on: bool, until: Option<Timestamp>) -> MessageChanged;
                pinned(conversation: &ConversationId) -> Vec<Message>;
                search(query: &SearchQuery) -> Paged<Hit, SearchCursor>;
                purge(purge: &Purge) -> Paged<Seq, Seq>;
            }
            PositionStore, PositionBug {
                step_many(steps: &[PositionStep]) -> Vec<Moved>;
                receipts_many(members: &[(UserId, ConversationId)]) -> Vec<Receipts>;
                readers(conversation: &ConversationId, seq: Seq, page: &Page<UserId>) -> Paged<UserId, UserId>;
                receivers(conversation: &ConversationId, seq: Seq, page: &Page<UserId>) -> Paged<UserId, UserId>;
                recount(user: &UserId, conversations: &[ConversationId]) -> Vec<UnreadTruth>;
            }
            ConversationStore, ConversationBug {
                create(new: &NewConversation) -> Created;
                get_many(conversations: &[ConversationId]) -> Vec<Option<Conversation>>;
                change(conversation: &ConversationId, by: &UserId, change: &Change) -> Changed;
                members_by_id(conversation: &ConversationId, users: &[UserId]) -> Vec<Option<Member>>;
                members(conversation: &ConversationId, page: &Page<UserId>) -> Paged<Member, UserId>;
                first_members(conversations: &[ConversationId], limit: usize) -> Vec<Vec<Member>>;
                list(
                    user: &UserId,
                    filter: &ConversationFilter,
                    page: &Page<ConversationCursor>
                ) -> Paged<Membership, ConversationCursor>;
                memberships(user: &UserId, conversations: &[ConversationId]) -> Vec<Option<Membership>>;
                active(since: Timestamp, page: &Page<ActivityCursor>) -> Paged<Conversation, ActivityCursor>;
                touch_many(activities: &[(ConversationId, LastActivity)]) -> ();
            }
            FileStore, FileBug {
                register(file: &FileRecord) -> bool;
                get_many(files: &[FileId]) -> Vec<Option<FileRecord>>;
                downloaded(file: &FileId, by: &UserId, download: &ClientKey) -> FileRecord;
                delete(file: &FileId, by: &UserId, physical: bool) -> bool;
                list(conversation: &ConversationId, page: &Page<FileId>) -> Paged<FileRecord, FileId>;
            }
            AuditLog, AuditBug {
                append(entry: &AuditEntry) -> AuditRecord;
                settle(id: &AuditId, outcome: AuditOutcome) -> AuditRecord;
                get_many(ids: &[AuditId]) -> Vec<Option<AuditRecord>>;
                list(
                    chain: Option<&ConversationId>,
                    filter: &AuditFilter,
                    page: &Page<Seq>
                ) -> Paged<AuditRecord, Seq>;
                pending(before: Timestamp, page: &Page<PendingCursor>) -> Paged<AuditRecord, PendingCursor>;
                stats(chain: Option<&ConversationId>, since: Timestamp) -> AuditStats;
            }
            UserStore, UserBug {
                get_many(users: &[UserId]) -> Vec<Option<UserProfile>>;
                put_many(profiles: &[UserProfile]) -> Vec<bool>;
                remove_many(users: &[(UserId, Timestamp)]) -> ();
                stats() -> UserStoreStats;
            }
            UserSource, SourceBug {
                fetch_many(users: &[UserId]) -> Vec<Option<UserProfile>>;
                create_many(profiles: &[UserProfile]) -> Vec<bool>;
                update(user: &UserId, update: &ProfileUpdate) -> UserProfile;
                delete(user: &UserId) -> Option<Timestamp>;
            }
            Outbox, OutboxBug {
                claim(owner: &str, limit: usize, lease: Duration) -> Vec<Envelope>;
                clear(owner: &str, events: &[EventId]) -> ();
                list(page: &Page<String>) -> Paged<Envelope, String>;
                stats() -> OutboxStats;
            }
            EventPublisher, PublisherBug {
                publish_many(events: &[Envelope]) -> Vec<Published>;
            }
            EventConsumer, ConsumerBug {
                fetch(max: usize, wait: Duration) -> Vec<Delivery>;
                ack(receipts: &[Receipt]) -> ();
                reclaim(idle: Duration, max: usize) -> Vec<Delivery>;
                bury(delivery: &Delivery, cause: &Error) -> ();
                lag() -> Lag;
            }
            EventTail, TailBug {
                read_since(cursors: &[TailCursor], max: usize, wait: Duration) -> Vec<TailRead>;
                ends(topics: &[Topic]) -> Vec<TailCursor>;
            }
            DeadLetters, DeadLetterBug {
                list(page: &Page<String>) -> Paged<DeadLetter, String>;
                replay(ids: &[String]) -> u64;
                purge(ids: &[String]) -> u64;
            }
        }
    };
}
pub(crate) use ports;

/// Every type the table names.
pub(crate) mod names {
    pub(crate) use std::time::Duration;

    pub(crate) use chat_core::clock::Timestamp;
    pub(crate) use chat_core::domain::message::NewMessage;
    pub(crate) use chat_core::domain::presence::{ChosenStatus, Lapse, PresenceStats};
    pub(crate) use chat_core::domain::user::ProfileUpdate;
    pub(crate) use chat_core::domain::{
        AuditEntry, AuditId, AuditRecord, ClientKey, Conversation, ConversationId, EventId, FileId,
        FileRecord, LastActivity, Member, Message, MessageId, Page, Paged, Presence, ReadPosition, Receipts,
        RoomId, RoomRole, Seq, SessionId, Transition, Unread, UserId, UserProfile, Visibility,
    };
    pub(crate) use chat_core::error::{Error, Result};
    pub(crate) use chat_core::event::{DeleteType, Envelope, Topic};
    pub(crate) use chat_core::store::audit::{AuditFilter, AuditOutcome, AuditStats, PendingCursor};
    pub(crate) use chat_core::store::cache::{CacheEntry, CacheScope, Generation, Lookup, Put};
    pub(crate) use chat_core::store::conversations::{
        ActivityCursor, Change, Changed, ConversationCursor, ConversationFilter, Created, Membership,
        NewConversation,
    };
    pub(crate) use chat_core::store::events::{
        DeadLetter, Delivery, Lag, Published, Receipt, TailCursor, TailRead,
    };
    pub(crate) use chat_core::store::limits::{Attempt, Decision};
    pub(crate) use chat_core::store::messages::{
        Appended, Edit, Head, History, HistoryQuery, Hit, MessageChanged, Purge, SearchCursor, SearchQuery,
    };
    pub(crate) use chat_core::store::outbox::OutboxStats;
    pub(crate) use chat_core::store::positions::{Moved, PositionStep};
    pub(crate) use chat_core::store::presence::{Connect, Renewal};
    pub(crate) use chat_core::store::rooms::{
        NewRoom, Room, RoomAged, RoomChange, RoomChanged, RoomMember, RoomStats,
    };
    pub(crate) use chat_core::store::unread::{Advance, Recorded, UnreadTruth};
    pub(crate) use chat_core::store::users::UserStoreStats;
    pub(crate) use chat_core::store::{
        AuditLog, Cache, ConversationStore, DeadLetters, EventConsumer, EventPublisher, EventTail, FileStore,
        MessageStore, Outbox, PositionStore, PresenceStore, RateLimiter, RoomStore, UnreadStore, UserSource,
        UserStore,
    };
}
