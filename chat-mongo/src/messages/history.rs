//! Reading in order: pages of history, and the newest message.

use std::collections::{BTreeSet, HashMap, HashSet};

use chat_core::domain::{ConversationId, Message, MessageId, Seq, UserId};
use chat_core::store::messages::{Anchor, Head, History, HistoryQuery, HistoryScope};
use futures::future::{try_join, try_join_all};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};

use super::{HIDDEN_PLACE, MAIN, MongoMessages, PLACE, THREAD, find, shown};
use crate::error::{Trouble, corrupt};
use crate::record::{place, seq};
use crate::schema::Index;

/// How much more of what is hidden is read than a page holds.
const HIDDEN_MORE: usize = 50;
/// How many conversations are asked for at once.
const AT_ONCE: usize = 16;

/// In which direction messages are read, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Newest first, below a place.
    Back(Option<Seq>),
    /// Oldest first, above a place.
    On(Seq),
}

impl Way {
    fn sign(self) -> i32 {
        match self {
            Self::Back(_) => -1,
            Self::On(_) => 1,
        }
    }

    /// What lies ahead.
    fn range(self) -> Document {
        match self {
            Self::Back(None) => doc! { "$gt": 0_i64 },
            Self::Back(Some(below)) => doc! { "$lt": place(below) },
            Self::On(above) => doc! { "$gt": place(above) },
        }
    }

    /// The same way from another place.
    fn from(self, place: Seq) -> Self {
        match self {
            Self::Back(_) => Self::Back(Some(place)),
            Self::On(_) => Self::On(place),
        }
    }

    /// Whether the first of two places comes after the second.
    fn is_beyond(self, one: Seq, other: Seq) -> bool {
        match self {
            Self::Back(_) => one < other,
            Self::On(_) => one > other,
        }
    }
}

/// What a scope asks for: what is equal, by what it is ordered, and the index.
fn scope_of(query: &HistoryQuery) -> (Document, &'static str, &'static Index) {
    let here = doc! { "conversationId": query.conversation.as_str() };
    match &query.scope {
        HistoryScope::Everything => (here, "seq", &PLACE),
        HistoryScope::Main => (here, "main", &MAIN),
        HistoryScope::Thread(root) => (
            doc! { "conversationId": query.conversation.as_str(), "thread.root": root.as_str() },
            "seq",
            &THREAD,
        ),
    }
}

fn seq_of(document: &Document) -> Result<Seq, Trouble> {
    Ok(seq(document.get_i64("seq").map_err(|_| corrupt("seq"))?))
}

/// What a page takes on either side of its anchor: from where, and how many.
fn sides(anchor: Anchor, limit: usize) -> ((Way, usize), Option<(Way, usize)>) {
    match anchor {
        Anchor::Latest => ((Way::Back(None), limit), None),
        Anchor::Before(seq) => ((Way::Back(Some(seq)), limit), Some((Way::On(seq.previous()), 0))),
        Anchor::After(seq) => ((Way::Back(Some(seq.next())), 0), Some((Way::On(seq), limit))),
        Anchor::Around(seq) => {
            let before = limit / 2;
            ((Way::Back(Some(seq)), before), Some((Way::On(seq.previous()), limit - before)))
        }
    }
}

impl MongoMessages {
    pub(super) async fn page(&self, query: &HistoryQuery) -> Result<History, Trouble> {
        let (back, on) = sides(query.anchor, query.limit);
        let on = async {
            match on {
                Some((way, count)) => self.side(query, way, count).await,
                None => Ok((Vec::new(), false)),
            }
        };
        let ((before, more_before), (after, more_after)) =
            try_join(self.side(query, back.0, back.1), on).await?;
        let messages = before.into_iter().rev().chain(after).map(|document| self.message(document));
        Ok(History { messages: messages.collect::<Result<_, _>>()?, more_before, more_after })
    }

    /// So many of what a query shows, and whether there are more.
    async fn side(
        &self,
        query: &HistoryQuery,
        way: Way,
        count: usize,
    ) -> Result<(Vec<Document>, bool), Trouble> {
        let fields = if count == 0 {
            doc! { "seq": 1 }
        } else {
            shown()
        };
        let mut found = self.walk(query, way, count + 1, fields).await?;
        let is_more = found.len() > count;
        found.truncate(count);
        Ok((found, is_more))
    }

    /// Up to `want` messages a query shows.
    async fn walk(
        &self,
        query: &HistoryQuery,
        mut way: Way,
        want: usize,
        fields: Document,
    ) -> Result<Vec<Document>, Trouble> {
        let (here, order, index) = scope_of(query);
        let messages = self.messages();
        let mut shown = Vec::with_capacity(want);
        loop {
            let missing = want - shown.len();
            let mut filter = here.clone();
            filter.insert(order, way.range());
            let page = find(&messages, filter, index).sort(doc! { order: way.sign() });
            let page = page.limit(at_most(missing)).projection(fields.clone());
            let page = async { Ok(page.await?.try_collect::<Vec<_>>().await?) };
            let hidden = self.hidden_from(query, way, missing + HIDDEN_MORE);
            let (page, (hidden, edge)) = try_join(page, hidden).await?;
            let mut is_end = page.len() < missing;
            for document in page {
                let seq = seq_of(&document)?;
                if edge.is_some_and(|edge| way.is_beyond(seq, edge)) {
                    is_end = false;
                    break;
                }
                way = way.from(seq);
                if !hidden.contains(&seq) {
                    shown.push(document);
                }
            }
            if is_end || shown.len() >= want {
                return Ok(shown);
            }
            // All that lies before the edge was looked at.
            if let Some(edge) = edge {
                way = way.from(edge);
            }
        }
    }

    /// The first of what a viewer does not see, and up to where that is all; without end, if nothing is left.
    async fn hidden_from(
        &self,
        query: &HistoryQuery,
        way: Way,
        count: usize,
    ) -> Result<(HashSet<Seq>, Option<Seq>), Trouble> {
        let Some(viewer) = &query.viewer else { return Ok((HashSet::new(), None)) };
        let here = doc! {
            "_id.user": viewer.as_str(), "conversationId": query.conversation.as_str(), "seq": way.range(),
        };
        let hidden = self.hidden();
        let found = find(&hidden, here, &HIDDEN_PLACE).sort(doc! { "seq": way.sign() });
        let found = found.limit(at_most(count)).projection(doc! { "seq": 1 });
        let documents: Vec<Document> = found.await?.try_collect().await?;
        let places = documents.iter().map(seq_of).collect::<Result<Vec<_>, _>>()?;
        let edge = places.last().copied().filter(|_| places.len() == count);
        Ok((places.into_iter().collect(), edge))
    }

    pub(super) async fn newest(
        &self,
        viewer: Option<&UserId>,
        conversations: &[ConversationId],
    ) -> Result<Vec<Head>, Trouble> {
        let wanted: BTreeSet<_> = conversations.iter().collect();
        let all = wanted.into_iter().map(|conversation| self.newest_of(None, conversation.clone()));
        let all = stream::iter(all.collect::<Vec<_>>());
        let all: Vec<_> = all.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut heads = HashMap::with_capacity(all.len());
        let mut places: HashMap<MessageId, ConversationId> = HashMap::new();
        for (conversation, message) in all {
            let seq = message.as_ref().map_or(Seq::ZERO, |message| message.seq);
            if let Some(message) = &message {
                places.insert(message.id.clone(), conversation.clone());
            }
            heads.insert(conversation, Head { seq, message });
        }
        if let Some(viewer) = viewer {
            let ids: Vec<_> = places.keys().collect();
            let hidden = self.hidden_ids(viewer, &ids).await?;
            let hidden = places.iter().filter(|(id, _)| hidden.contains(id.as_str()));
            let others = hidden.map(|(_, conversation)| self.newest_of(Some(viewer), conversation.clone()));
            for (conversation, message) in try_join_all(others).await? {
                if let Some(head) = heads.get_mut(&conversation) {
                    head.message = message;
                }
            }
        }
        let head = |conversation| heads.get(conversation).cloned().unwrap_or_default();
        Ok(conversations.iter().map(head).collect())
    }

    async fn newest_of(
        &self,
        viewer: Option<&UserId>,
        conversation: ConversationId,
    ) -> Result<(ConversationId, Option<Message>), Trouble> {
        let (viewer, scope, anchor) = (viewer.cloned(), HistoryScope::Everything, Anchor::Latest);
        let query = HistoryQuery { conversation, viewer, scope, anchor, limit: 1 };
        let found = self.walk(&query, Way::Back(None), 1, shown()).await?;
        let message = found.into_iter().next().map(|document| self.message(document)).transpose()?;
        Ok((query.conversation, message))
    }
}

fn at_most(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
