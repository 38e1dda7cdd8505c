//! [`MessageIndex`]: what positions ask of messages, each question out of an index alone.

use chat_core::domain::{ConversationId, Seq, UserId};
use futures::{StreamExt, TryStreamExt};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;

use crate::db::Db;
use crate::error::{Trouble, corrupt};
use crate::messages::{MESSAGES, PLACE};
use crate::record::{place, seq};
use crate::schema::Index;

/// The last message of a member, and how many it wrote between two places.
pub(crate) const SENDER: Index = Index {
    name: "sender",
    keys: &[("conversationId", 1), ("senderId", 1), ("seq", 1)],
    unique: false,
    partial: &[],
};

/// The messages that count for nobody: deleted, silent and the system's.
pub(crate) const UNCOUNTED: Index = Index {
    name: "uncounted",
    keys: &[("conversationId", 1), ("seq", 1)],
    unique: false,
    partial: &["uncounted"],
};

/// The messages that call a member, or everybody.
pub(crate) const MENTIONED: Index = Index {
    name: "mentioned",
    keys: &[("conversationId", 1), ("mentioned", 1), ("seq", 1)],
    unique: false,
    partial: &["mentioned"],
};

/// Whom a message calls that calls everybody. No user has this id: it is none.
pub(crate) const EVERYONE: &str = "";

/// The newest message of a conversation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeadPlace {
    /// Zero when there is none.
    pub(crate) seq: Seq,
    pub(crate) stamp: i64,
}

/// Messages by their places.
#[derive(Debug, Clone)]
pub(crate) struct MessageIndex {
    db: Db,
}

/// After one place, up to another.
fn between(after: Seq, to: Seq) -> Document {
    doc! { "$gt": place(after), "$lte": place(to) }
}

impl MessageIndex {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// The newest message.
    pub(crate) async fn head(&self, conversation: &ConversationId) -> Result<HeadPlace, Trouble> {
        let messages = self.db.collection(MESSAGES);
        let find = messages.find_one(doc! { "conversationId": conversation.as_str() });
        let find = find.sort(doc! { "seq": -1 }).hint(Hint::Name(PLACE.name.to_owned()));
        let found = find.projection(doc! { "_id": 0, "seq": 1, "stamp": 1 }).await?;
        let Some(found) = found else { return Ok(HeadPlace::default()) };
        let number = |name| found.get_i64(name).map_err(|_| corrupt("a message"));
        let stamp = number("stamp")?;
        self.db.see(stamp);
        Ok(HeadPlace { seq: seq(number("seq")?), stamp })
    }

    /// Who wrote the message at a place, if anybody did; `None` when there is no such message.
    pub(crate) async fn sender_at(
        &self,
        conversation: &ConversationId,
        at: Seq,
    ) -> Result<Option<Option<String>>, Trouble> {
        let messages = self.db.collection(MESSAGES);
        let this = doc! { "conversationId": conversation.as_str(), "seq": place(at) };
        let find = messages.find_one(this).hint(Hint::Name(PLACE.name.to_owned()));
        let found = find.projection(doc! { "_id": 0, "senderId": 1 }).await?;
        Ok(found.map(|message| message.get_str("senderId").ok().map(str::to_owned)))
    }

    /// The place of the last message of a member; zero when there is none.
    pub(crate) async fn last_of(&self, conversation: &ConversationId, user: &UserId) -> Result<Seq, Trouble> {
        let messages = self.db.collection(MESSAGES);
        let these = doc! { "conversationId": conversation.as_str(), "senderId": user.as_str() };
        let find = messages.find_one(these).sort(doc! { "seq": -1 }).projection(doc! { "_id": 0, "seq": 1 });
        let found = find.hint(Hint::Name(SENDER.name.to_owned())).await?;
        found.map_or(Ok(Seq::ZERO), |message| seq_of(&message))
    }

    /// How many messages of a member are between two places.
    pub(crate) async fn count_of(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        after: Seq,
        to: Seq,
    ) -> Result<u64, Trouble> {
        let messages = self.db.collection(MESSAGES);
        let these = doc! {
            "conversationId": conversation.as_str(), "senderId": user.as_str(), "seq": between(after, to),
        };
        Ok(messages.count_documents(these).hint(Hint::Name(SENDER.name.to_owned())).await?)
    }

    /// The ids of the first messages of others between two places.
    pub(crate) async fn of_others(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        after: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<String>, Trouble> {
        let messages = self.db.collection(MESSAGES);
        let these = doc! {
            "conversationId": conversation.as_str(), "senderId": { "$ne": user.as_str() }, "seq": between(after, to),
        };
        let find = messages.find(these).sort(doc! { "seq": 1 }).projection(doc! { "_id": 1 });
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = find.limit(limit).hint(Hint::Name(PLACE.name.to_owned())).await?;
        let mut ids = Vec::new();
        while let Some(message) = found.try_next().await? {
            ids.push(message.get_str("_id").map_err(|_| corrupt("a message"))?.to_owned());
        }
        Ok(ids)
    }

    /// The places of messages that count for nobody.
    pub(crate) async fn uncounted(
        &self,
        conversation: &ConversationId,
        after: Seq,
        to: Seq,
    ) -> Result<Vec<Seq>, Trouble> {
        let these =
            doc! { "conversationId": conversation.as_str(), "seq": between(after, to), "uncounted": true };
        self.places(these, &UNCOUNTED).await
    }

    /// The places of messages that call a member.
    pub(crate) async fn mentioning(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        after: Seq,
        to: Seq,
    ) -> Result<Vec<Seq>, Trouble> {
        let whom: Vec<Bson> = vec![EVERYONE.into(), user.as_str().into()];
        let these = doc! {
            "conversationId": conversation.as_str(), "mentioned": { "$in": whom }, "seq": between(after, to),
        };
        self.places(these, &MENTIONED).await
    }

    /// The places of these messages, in order.
    async fn places(&self, these: Document, index: &Index) -> Result<Vec<Seq>, Trouble> {
        let messages = self.db.collection(MESSAGES);
        let find = messages.find(these).projection(doc! { "_id": 0, "seq": 1 });
        let found = find.hint(Hint::Name(index.name.to_owned())).await?;
        let places = found.map(|message| seq_of(&message?));
        let mut places: Vec<_> = places.try_collect().await?;
        // Out of an index by two values they come one value after the other, and one that has both comes once.
        places.sort_unstable();
        Ok(places)
    }
}

fn seq_of(message: &Document) -> Result<Seq, Trouble> {
    Ok(message.get_i64("seq").map(seq).map_err(|_| corrupt("a message"))?)
}
