//! The conversations of a user, and those that were active lately.

use std::collections::HashMap;

use chat_core::clock::Timestamp;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{Conversation, ConversationId, LastActivity, UserId};
use chat_core::error::Result;
use chat_core::store::conversations::{ActivityCursor, ConversationCursor, ConversationFilter, Membership};
use futures::{TryStreamExt, try_join};
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;

use super::record::{Kept, Stored, member_id};
use super::{ACTIVE, CONVERSATIONS, MEMBER, MongoConversations, OF_USER};
use crate::error::{Trouble, corrupt};
use crate::life;
use crate::record::{date, from_document};

/// How many conversations are looked up at once.
const AT_ONCE: u32 = 1_000;

/// Where a conversation stands in a list, and the activity it stands there for.
type Ranked = (ConversationCursor, LastActivity);

impl MongoConversations {
    pub(super) async fn page_of_list(
        &self,
        user: &UserId,
        filter: &ConversationFilter,
        page: &Page<ConversationCursor>,
    ) -> Result<Paged<Membership, ConversationCursor>, Trouble> {
        let ranked = self.rank(user, filter, page).await?;
        let ranked = Paged::from_surplus(ranked, page.limit, |(cursor, _): &Ranked| cursor.clone());
        let ids: Vec<_> = ranked.items.iter().map(|(cursor, _)| cursor.id.clone()).collect();
        let found = self.memberships_of(user, &ids).await?;
        // As it stood when it was ranked, so that the page is in the order of its activities.
        let seen = ranked.items.into_iter().zip(found).filter_map(|((_, activity), found)| {
            let mut membership = found?;
            membership.conversation.last_activity = activity;
            Some(membership)
        });
        Ok(Paged { items: seen.collect(), next: ranked.next })
    }

    /// The page and one more, in order. Never holds more than a page and what one look brings.
    async fn rank(
        &self,
        user: &UserId,
        filter: &ConversationFilter,
        page: &Page<ConversationCursor>,
    ) -> Result<Vec<Ranked>, Trouble> {
        let mut mine = doc! { "userId": user.as_str() };
        if let Some(kind) = filter.kind {
            mine.insert("type", kind.as_str());
        }
        if let Some(archived) = filter.archived {
            mine.insert("settings.archived", archived);
        }
        let members = self.db.collection(MEMBER);
        let find = members.find(mine).projection(doc! { "conversationId": 1, "settings.pinned": 1 });
        let find = find.hint(Hint::Name(OF_USER.name.to_owned())).batch_size(AT_ONCE);
        let mut cursor = find.await?;
        let (mut best, mut pinned) = (Vec::new(), HashMap::new());
        while let Some(found) = cursor.try_next().await? {
            let id = found.get_str("conversationId").map_err(|_| corrupt("conversationId"))?;
            let settings = found.get_document("settings").map_err(|_| corrupt("settings"))?;
            let is_pinned = settings.get_bool("pinned").map_err(|_| corrupt("pinned"))?;
            pinned.insert(id.to_owned(), is_pinned);
            if pinned.len() >= AT_ONCE as usize {
                self.merge(&mut best, std::mem::take(&mut pinned), page).await?;
            }
        }
        if !pinned.is_empty() {
            self.merge(&mut best, pinned, page).await?;
        }
        Ok(best)
    }

    /// Ranks these among the best so far.
    async fn merge(
        &self,
        best: &mut Vec<Ranked>,
        pinned: HashMap<String, bool>,
        page: &Page<ConversationCursor>,
    ) -> Result<(), Trouble> {
        let ids = pinned.keys().map(String::as_str);
        let found = life::by_id(&self.db, CONVERSATIONS, ids, doc! { "lastActivity": 1 }).await?;
        for (id, conversation) in found {
            let activity = conversation.get_document("lastActivity").map_err(|_| corrupt("lastActivity"))?;
            let activity: LastActivity = from_document(Document::clone(activity))?;
            let pinned = pinned.get(&id).copied().unwrap_or_default();
            let id = ConversationId::new(&id).map_err(|_| corrupt("id"))?;
            let cursor = ConversationCursor { pinned, at: activity.at, id };
            if page.after.as_ref().is_none_or(|after| cursor > *after) {
                best.push((cursor, activity));
            }
        }
        best.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        best.truncate(page.limit.saturating_add(1));
        Ok(())
    }

    pub(super) async fn page_of_active(
        &self,
        since: Timestamp,
        page: &Page<ActivityCursor>,
    ) -> Result<Paged<Conversation, ActivityCursor>, Trouble> {
        let mut active =
            doc! { "lastActivity.at": { "$gte": date(since) }, "lastActivity.seq": { "$gt": 0_i64 } };
        if let Some(ActivityCursor { at, id }) = &page.after {
            let at = date(*at);
            active.insert("lastActivity.at", doc! { "$gte": date(since), "$lte": at });
            let older = doc! { "lastActivity.at": { "$lt": at } };
            active.insert("$or", [older, doc! { "lastActivity.at": at, "_id": { "$gt": id.as_str() } }]);
        }
        let limit = u32::try_from(page.limit.saturating_add(1)).unwrap_or(u32::MAX);
        let conversations = self.db.collection(CONVERSATIONS);
        let find = conversations.find(active).sort(doc! { "lastActivity.at": -1, "_id": 1 });
        let find = find.hint(Hint::Name(ACTIVE.name.to_owned()));
        let mut cursor = find.limit(i64::from(limit)).batch_size(limit).await?;
        let mut found = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            found.push(Stored::read(document)?.conversation);
        }
        let stands = |one: &Conversation| ActivityCursor { at: one.last_activity.at, id: one.id.clone() };
        Ok(Paged::from_surplus(found, page.limit, stands))
    }

    pub(super) async fn memberships_of(
        &self,
        user: &UserId,
        ids: &[ConversationId],
    ) -> Result<Vec<Option<Membership>>, Trouble> {
        let mine: Vec<_> = ids.iter().map(|id| member_id(id, user)).collect();
        let (mut members, conversations) = try_join!(
            life::by_id(&self.db, MEMBER, mine.iter().map(String::as_str), doc! {}),
            life::living::<_, Conversation>(&self.db, CONVERSATIONS, ids, "id", doc! {}),
        )?;
        let mut kept = HashMap::with_capacity(members.len());
        for (id, document) in members.drain() {
            kept.insert(id, Kept::read(document)?);
        }
        let both = mine.iter().zip(conversations).map(|(id, conversation)| {
            let Kept { member, settings, .. } = kept.get(id)?.clone();
            Some(Membership { conversation: conversation?, member, settings })
        });
        Ok(both.collect())
    }
}
