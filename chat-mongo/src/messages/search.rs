//! Search: every term is an equality on an entry of `terms`, and the index has the order of hits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chat_core::clock::Timestamp;
use chat_core::domain::page::Paged;
use chat_core::domain::text::{self, Query};
use chat_core::domain::{ConversationId, Message, Seq};
use chat_core::store::messages::{Hit, SearchCursor, SearchQuery};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, doc};

use super::record::{beginning, whole};
use super::{MongoMessages, TERMS, find, shown};
use crate::error::Trouble;
use crate::record::{date, place};

/// How many conversations are searched at once.
const AT_ONCE: usize = 8;

/// Where a hit stands among all.
type Place = (Reverse<Timestamp>, ConversationId, Reverse<Seq>);

fn place_of(message: &Message) -> Place {
    (Reverse(message.created_at), message.conversation_id.clone(), Reverse(message.seq))
}

/// Every entry of `terms` a hit must have; the longest first, which fewest have.
fn entries(words: &Query) -> Vec<Bson> {
    let Some((last, others)) = words.terms().split_last() else { return Vec::new() };
    let mut entries: Vec<_> = others.iter().map(|word| whole(word)).chain([beginning(last)]).collect();
    entries.sort_by_key(|entry| Reverse(entry.len()));
    entries.into_iter().map(Bson::String).collect()
}

/// What comes after a cursor, in one conversation. There the order of places is the order of times.
fn rest(after: &SearchCursor, conversation: &ConversationId) -> Document {
    let at = date(after.at);
    match conversation.cmp(&after.conversation) {
        std::cmp::Ordering::Less => doc! { "createdAt": { "$lt": at } },
        std::cmp::Ordering::Equal => behind(after.at, after.seq),
        std::cmp::Ordering::Greater => doc! { "createdAt": { "$lte": at } },
    }
}

fn behind(at: Timestamp, seq: Seq) -> Document {
    doc! { "createdAt": { "$lte": date(at) }, "seq": { "$lt": place(seq) } }
}

impl MongoMessages {
    pub(super) async fn hits(&self, query: &SearchQuery) -> Result<Paged<Hit, SearchCursor>, Trouble> {
        let entries = &entries(&query.words);
        let wanted: BTreeSet<_> = query.conversations.iter().collect();
        let found = wanted.into_iter().map(|conversation| self.hits_of(query, entries, conversation));
        let mut found = stream::iter(found.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut hits: BTreeMap<Place, Hit> = BTreeMap::new();
        while let Some(more) = found.try_next().await? {
            hits.extend(more.into_iter().map(|hit| (place_of(&hit.message), hit)));
            while hits.len() > query.limit + 1 {
                hits.pop_last();
            }
        }
        Ok(Paged::from_surplus(hits.into_values().collect(), query.limit, |hit: &Hit| SearchCursor {
            at: hit.message.created_at,
            conversation: hit.message.conversation_id.clone(),
            seq: hit.message.seq,
        }))
    }

    /// The first hits of one conversation, one more than a page has.
    async fn hits_of(
        &self,
        query: &SearchQuery,
        entries: &[Bson],
        conversation: &ConversationId,
    ) -> Result<Vec<Hit>, Trouble> {
        let messages = self.messages();
        let mut bound = query.after.as_ref().map(|after| rest(after, conversation));
        let mut hits = Vec::new();
        while hits.len() <= query.limit {
            let missing = query.limit + 1 - hits.len();
            let mut filter = doc! { "conversationId": conversation.as_str(), "terms": { "$all": entries } };
            filter.extend(bound.take().unwrap_or_default());
            let page = find(&messages, filter, &TERMS).sort(doc! { "createdAt": -1, "seq": -1 });
            let page = page.limit(i64::try_from(missing).unwrap_or(i64::MAX)).projection(shown());
            let page: Vec<Document> = page.await?.try_collect().await?;
            let is_end = page.len() < missing;
            let page = page.into_iter().map(|document| self.message(document));
            let page: Vec<Message> = page.collect::<Result<_, _>>()?;
            bound = page.last().map(|last| behind(last.created_at, last.seq));
            // Long words are only looked for by their beginnings.
            let page = page.into_iter().filter_map(|message| {
                let highlights = text::matches(&message.content, &query.words)?;
                Some(Hit { message, highlights })
            });
            let page: Vec<Hit> = page.collect();
            let ids: Vec<_> = page.iter().map(|hit| &hit.message.id).collect();
            let hidden = self.hidden_ids(&query.viewer, &ids).await?;
            hits.extend(page.into_iter().filter(|hit| !hidden.contains(hit.message.id.as_str())));
            if is_end {
                break;
            }
        }
        Ok(hits)
    }
}
