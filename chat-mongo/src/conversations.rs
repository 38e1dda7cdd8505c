//! [`ConversationStore`] on MongoDB.
//!
//! `conversations` has one small document for each: the fields of [`Conversation`] under their names, `_id` is its id, times
//! are dates; beside them how many members are admins, so that the rule of the last admin needs no look at the members.
//! `members` has one document for each member of each conversation, from the first member on: one shape whatever the size,
//! no array that grows, no document that two members write. Its `_id` is the id of the conversation, U+001F and the id of the
//! user. Ids hold no control characters, so no two pairs share one, and the members of a conversation stand together in the
//! order of their ids: the index every collection has answers everything but "the conversations of a user".
//!
//! A change for everybody is one transaction, which first moves the `stamp` of the conversation: so changes of one
//! conversation, and messages that touch it, wait for one another, and what is counted under that hold cannot be overtaken.
//! Those of one node wait for one another before they ask, so that a rush on one conversation does not grow with itself.
//! What one member keeps for itself compares and sets the stamp of its own document and is in nobody's way. A message touches
//! one document, whatever the size of the room; lists pay for it instead: they look up the activity of each of the user's
//! conversations, a thousand at a time, and keep no more than a page. Events are in the same transaction: a crash at any step
//! leaves all of it, or nothing.
//!
//! # Cost
//! | operation | commands | round trips |
//! |---|---|---|
//! | `create` | 5; 1 when it is there, 2 for a direct one | as many |
//! | `change` of name or picture | 4; 2 when it is so already | as many |
//! | `change` of members and roles | 6; 3 when it is so already | as many |
//! | `change` of one's own settings | 5; 2 when it is so already | 4; 1 |
//! | `get_many`, `members_by_id` | 1 for each 1 000 | as many |
//! | `members` | 1; 2 when the page is empty | as many |
//! | `first_members` | 1 for each conversation | 1 for each 16 |
//! | `list` | 4, and 1 more for each 1 000 of the user's conversations | 3, and as many |
//! | `active` | 1 | 1 |
//! | `memberships` | 2 for each 1 000 | 1 for each 1 000 |
//! | `touch_many` | 1 for each conversation | 1 for each 16 |

mod change;
mod list;
mod record;

use std::collections::HashMap;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::page::{Page, Paged, check_limit};
use chat_core::domain::{Conversation, ConversationId, LastActivity, Member, UserId};
use chat_core::error::{Code, Result};
use chat_core::store::ConversationStore;
use chat_core::store::conversations::{
    ActivityCursor, Change, Changed, ConversationCursor, ConversationFilter, Created, Membership,
    NewConversation,
};
use futures::TryStreamExt;
use futures::future::try_join_all;
use mongodb::bson::doc;

use crate::db::{Db, until_settled};
use crate::error::Trouble;
use crate::life;
use crate::messages::turn::Turns;
use crate::operation::Operation;
use crate::record::{place, to_document};
use crate::schema::{Index, Schema};
use record::{Kept, countable, member_id, members_after};

const CREATE: Operation = Operation::write("conversations.create");
const GET: Operation = Operation::read("conversations.get_many");
const CHANGE: Operation = Operation::write("conversations.change");
const MEMBERS_BY_ID: Operation = Operation::read("conversations.members_by_id");
const MEMBERS: Operation = Operation::read("conversations.members");
const FIRST_MEMBERS: Operation = Operation::read("conversations.first_members");
const LIST: Operation = Operation::read("conversations.list");
const MEMBERSHIPS: Operation = Operation::read("conversations.memberships");
const ACTIVE_LATELY: Operation = Operation::read("conversations.active");
const TOUCH: Operation = Operation::write("conversations.touch_many");

const CONVERSATIONS: &str = "conversations";
const MEMBER: &str = "members";

/// `list`: the conversations of a user.
const OF_USER: Index = Index { name: "of_user", keys: &[("userId", 1)], unique: false, partial: &[] };

/// `active`: what was active since then. The place is in it so that those without a message are left out unread.
const ACTIVE: Index = Index {
    name: "active",
    keys: &[("lastActivity.at", -1), ("_id", 1), ("lastActivity.seq", 1)],
    unique: false,
    partial: &[],
};

pub(crate) const SCHEMA: Schema = Schema {
    name: CONVERSATIONS,
    fields: &[
        ("type", &["string"]),
        ("memberCount", &["int", "long"]),
        ("admins", &["int", "long"]),
        ("version", &["int", "long"]),
        ("lastActivity", &["object"]),
        ("stamp", &["long"]),
    ],
    indexes: &[ACTIVE],
};

pub(crate) const MEMBERS_SCHEMA: Schema = Schema {
    name: MEMBER,
    fields: &[
        ("conversationId", &["string"]),
        ("userId", &["string"]),
        ("role", &["string"]),
        ("joinedAt", &["date"]),
        ("settings", &["object"]),
        ("stamp", &["long"]),
    ],
    indexes: &[OF_USER],
};

/// How many commands of one operation are under way at once.
const SIDE_BY_SIDE: usize = 16;

/// Who talks where. See the [module](self) for the layout.
#[derive(Debug)]
pub struct MongoConversations {
    db: Db,
    turns: Turns,
}

impl MongoConversations {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, turns: Turns::default() }
    }

    async fn read(&self, id: &ConversationId) -> Result<Option<record::Stored>, Trouble> {
        let found = self.db.collection(CONVERSATIONS).find_one(doc! { "_id": id.as_str() }).await?;
        found.map(record::Stored::read).transpose()
    }

    /// What is kept of users in a conversation, by user.
    async fn kept<'a>(
        &self,
        id: &ConversationId,
        users: impl IntoIterator<Item = &'a UserId>,
    ) -> Result<HashMap<UserId, Kept>, Trouble> {
        let ids: Vec<_> = users.into_iter().map(|user| member_id(id, user)).collect();
        let found = life::by_id(&self.db, MEMBER, ids.iter().map(String::as_str), doc! {}).await?;
        let kept = found.into_values().map(|document| {
            let kept = Kept::read(document)?;
            Ok((kept.member.user_id.clone(), kept))
        });
        kept.collect()
    }

    async fn page_of_members(
        &self,
        id: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, Trouble> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let members = self.db.collection(MEMBER);
        let find = members.find(members_after(id, after)).sort(doc! { "_id": 1 });
        let mut cursor = find.limit(i64::from(limit)).batch_size(limit).await?;
        let mut found = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            found.push(Kept::read(document)?.member);
        }
        Ok(found)
    }

    async fn touch(&self, id: &ConversationId, activity: &LastActivity) -> Result<(), Trouble> {
        let activity = countable(activity);
        let older = doc! { "_id": id.as_str(), "lastActivity.seq": { "$lt": place(activity.seq) } };
        let newer = doc! { "$set": { "lastActivity": to_document(&activity)? } };
        let conversations = self.db.collection(CONVERSATIONS);
        let touch = || async {
            conversations.update_one(older.clone(), newer.clone()).await?;
            Ok(Some(()))
        };
        until_settled(touch).await
    }
}

#[async_trait]
impl ConversationStore for MongoConversations {
    async fn create(&self, new: &NewConversation) -> Result<Created> {
        new.check()?;
        let create = async {
            let _turn = self.turns.of(new.id.as_str()).lock().await;
            until_settled(|| self.attempt_create(new)).await
        };
        self.db.run(CREATE, create).await
    }

    async fn get_many(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Conversation>>> {
        self.db.run(GET, life::living(&self.db, CONVERSATIONS, conversations, "id", doc! {})).await
    }

    async fn change(&self, id: &ConversationId, by: &UserId, change: &Change) -> Result<Changed> {
        if change.is_own() {
            self.db.run(CHANGE, until_settled(|| self.attempt_own(id, by, change))).await
        } else {
            let change = async {
                let _turn = self.turns.of(id.as_str()).lock().await;
                until_settled(|| self.attempt_change(id, by, change)).await
            };
            self.db.run(CHANGE, change).await
        }
    }

    async fn members_by_id(&self, id: &ConversationId, users: &[UserId]) -> Result<Vec<Option<Member>>> {
        let found = self.db.run(MEMBERS_BY_ID, self.kept(id, users)).await?;
        Ok(users.iter().map(|user| found.get(user).map(|kept| kept.member.clone())).collect())
    }

    async fn members(&self, id: &ConversationId, page: &Page<UserId>) -> Result<Paged<Member, UserId>> {
        page.check()?;
        let found = self.db.run(MEMBERS, async {
            let found = self.page_of_members(id, page.after.as_ref(), page.limit + 1).await?;
            if found.is_empty() && self.read(id).await?.is_none() {
                return Err(Code::ConversationNotFound.into());
            }
            Ok(found)
        });
        Ok(Paged::from_surplus(found.await?, page.limit, |member: &Member| member.user_id.clone()))
    }

    async fn first_members(
        &self,
        conversations: &[ConversationId],
        limit: usize,
    ) -> Result<Vec<Vec<Member>>> {
        check_limit(limit, 100)?;
        let first = async {
            let mut first = Vec::with_capacity(conversations.len());
            for some in conversations.chunks(SIDE_BY_SIDE) {
                first
                    .extend(try_join_all(some.iter().map(|id| self.page_of_members(id, None, limit))).await?);
            }
            Ok(first)
        };
        self.db.run(FIRST_MEMBERS, first).await
    }

    async fn list(
        &self,
        user: &UserId,
        filter: &ConversationFilter,
        page: &Page<ConversationCursor>,
    ) -> Result<Paged<Membership, ConversationCursor>> {
        page.check()?;
        self.db.run(LIST, self.page_of_list(user, filter, page)).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Membership>>> {
        self.db.run(MEMBERSHIPS, self.memberships_of(user, conversations)).await
    }

    async fn active(
        &self,
        since: Timestamp,
        page: &Page<ActivityCursor>,
    ) -> Result<Paged<Conversation, ActivityCursor>> {
        page.check()?;
        self.db.run(ACTIVE_LATELY, self.page_of_active(since, page)).await
    }

    async fn touch_many(&self, activities: &[(ConversationId, LastActivity)]) -> Result<()> {
        let mut newest: HashMap<&ConversationId, &LastActivity> = HashMap::new();
        for (id, activity) in activities {
            let known = newest.entry(id).or_insert(activity);
            if activity.seq > known.seq {
                *known = activity;
            }
        }
        let newest: Vec<_> = newest.into_iter().collect();
        let touched = async {
            for some in newest.chunks(SIDE_BY_SIDE) {
                try_join_all(some.iter().map(|(id, activity)| self.touch(id, activity))).await?;
            }
            Ok(())
        };
        self.db.run(TOUCH, touched).await
    }
}
