//! Changes of one message: read, changed by the domain's rules, compared by version and set.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::{ConversationId, Message, MessageId, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::{DeleteType, Envelope, Event};
use chat_core::store::change as rules;
use chat_core::store::messages::MessageChanged;
use futures::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::Hint;

use super::record::Stored;
use super::turn::in_turn;
use super::{DELETE, MongoMessages, THREAD, hidden_id};
use crate::db::until_settled;
use crate::error::{Trouble, corrupt};
use crate::operation::Operation;
use crate::outbox;
use crate::record::place;
use crate::transaction::transaction;

/// A message as it is, and as it is after a change that is announced by an event.
pub(super) struct Changed {
    pub(super) stored: Stored,
    pub(super) message: Message,
    pub(super) event: Option<Event>,
    now: Timestamp,
}

impl MongoMessages {
    /// Changes one message.
    pub(super) async fn change(
        &self,
        operation: Operation,
        id: &MessageId,
        change: impl Fn(&mut Message, Timestamp) -> Result<Option<Event>> + Send + Sync,
    ) -> Result<MessageChanged> {
        self.db
            .run(
                operation,
                until_settled(|| async {
                    let changed = self.changed(self.read(id, None).await?, &change)?;
                    self.settle(changed, None).await
                }),
            )
            .await
    }

    /// A message that is there, with what waits in it.
    pub(super) async fn read(
        &self,
        id: &MessageId,
        session: Option<&mut ClientSession>,
    ) -> Result<Document, Trouble> {
        let messages = self.messages();
        let found = messages.find_one(doc! { "_id": id.as_str() }).projection(doc! { "terms": 0 });
        let found = match session {
            Some(session) => found.session(session).await?,
            None => found.await?,
        };
        Ok(found.ok_or(Code::MessageNotFound)?)
    }

    /// What becomes of a message.
    ///
    /// # Errors
    /// Those of `change`; [`Code::QueueFull`] when too much waits in it.
    pub(super) fn changed(
        &self,
        document: Document,
        change: impl FnOnce(&mut Message, Timestamp) -> Result<Option<Event>>,
    ) -> Result<Changed, Trouble> {
        let room = outbox::check_room(&document);
        let stored = self.stored(document)?;
        let (mut message, now) = (stored.message.clone(), self.db.now());
        let event = change(&mut message, now)?;
        if event.is_some() {
            room?;
        }
        Ok(Changed { stored, message, event, now })
    }

    /// Writes what changed; `None` when another was faster.
    pub(super) async fn settle(
        &self,
        changed: Changed,
        session: Option<&mut ClientSession>,
    ) -> Result<Option<MessageChanged>, Trouble> {
        let Changed { stored, message, event, now } = changed;
        let Some(event) = event else {
            return Ok(Some(MessageChanged { message: stored.message, changed: false }));
        };
        let event = stored.event(now, event);
        let stamp = self.db.stamps(stored.stamp, 1);
        let messages = self.messages();
        let update = messages.update_one(stored.filter(), stored.update(&message, &event, stamp)?);
        let done = match session {
            Some(session) => update.session(session).await?,
            None => update.await?,
        };
        Ok((done.matched_count == 1).then_some(MessageChanged { message, changed: true }))
    }

    pub(super) async fn delete_for_everyone(&self, id: &MessageId, by: &UserId) -> Result<MessageChanged> {
        let alone = || async {
            let delete = |message: &mut Message, now| Ok(rules::delete(message, Some(by), now));
            let changed = self.changed(self.read(id, None).await?, delete)?;
            if changed.event.is_some() && changed.message.thread.is_some() {
                return Ok(Some(Err(changed.message.conversation_id)));
            }
            Ok(self.settle(changed, None).await?.map(Ok))
        };
        let delete = async {
            match until_settled(alone).await? {
                Ok(done) => Ok(done),
                // A reply takes itself out of its root.
                Err(here) => in_turn!(self, here.as_str(), |session| self.delete_reply(session, id, by)),
            }
        };
        self.db.run(DELETE, delete).await
    }

    async fn delete_reply(
        &self,
        session: &mut ClientSession,
        id: &MessageId,
        by: &UserId,
    ) -> Result<MessageChanged, Trouble> {
        let document = self.read(id, Some(&mut *session)).await?;
        let changed = self.changed(document, |message, now| Ok(rules::delete(message, Some(by), now)))?;
        let done = self.settle(changed, Some(&mut *session)).await?;
        // In a transaction what was read is what is there.
        let done = done.ok_or_else(|| corrupt("version"))?;
        if done.changed {
            self.discount(session, &done.message.conversation_id, std::slice::from_ref(&done.message))
                .await?;
        }
        Ok(done)
    }

    /// Takes deleted replies of one conversation out of their roots.
    pub(super) async fn discount(
        &self,
        session: &mut ClientSession,
        conversation: &ConversationId,
        gone: &[Message],
    ) -> Result<(), Trouble> {
        let mut roots: BTreeMap<&str, i64> = BTreeMap::new();
        for thread in gone.iter().filter_map(|message| message.thread.as_ref()) {
            *roots.entry(thread.root.as_str()).or_default() += 1;
        }
        let messages = self.messages();
        for (root, count) in roots {
            let left = doc! {
                "conversationId": conversation.as_str(),
                "thread.root": root,
                "deleted": Bson::Null,
            };
            let newest = messages.find(left).sort(doc! { "seq": -1 }).limit(1);
            let newest = newest.hint(Hint::Name(THREAD.name.to_owned())).projection(doc! { "createdAt": 1 });
            let mut newest = newest.session(&mut *session).await?;
            let newest: Vec<Document> = newest.stream(&mut *session).try_collect().await?;
            let last = newest.first().and_then(|newest| newest.get("createdAt")).cloned();
            let counted = doc! {
                "$inc": { "replies.replies": -count, "version": 1_i64 },
                "$set": { "replies.lastReplyAt": last.unwrap_or(Bson::Null) },
            };
            messages.update_one(doc! { "_id": root }, counted).session(&mut *session).await?;
        }
        Ok(())
    }

    pub(super) async fn hide(&self, id: &MessageId, by: &UserId) -> Result<MessageChanged> {
        let hide = async || transaction!(&self.db, DELETE, |session| self.hide_once(session, id, by)).await;
        match hide().await {
            // Another was faster: now it is there.
            Err(error) if error.code() == Code::Conflict => hide().await,
            answer => answer,
        }
    }

    async fn hide_once(
        &self,
        session: &mut ClientSession,
        id: &MessageId,
        by: &UserId,
    ) -> Result<MessageChanged, Trouble> {
        let message = self.message(self.read(id, Some(&mut *session)).await?)?;
        let hidden = self.hidden();
        let there = hidden.find_one(doc! { "_id": hidden_id(by, id) }).session(&mut *session).await?;
        if there.is_some() {
            return Ok(MessageChanged { message, changed: false });
        }
        let document = doc! {
            "_id": hidden_id(by, id),
            "conversationId": message.conversation_id.as_str(),
            "seq": place(message.seq),
        };
        hidden.insert_one(document).session(&mut *session).await?;
        let now = self.db.now();
        let event = rules::deleted(&message, Some(by), DeleteType::ForMe, now);
        // It happens once for each of the two.
        let event = Envelope::new(&[id.as_str(), "for", by.as_str()], now, event);
        outbox::write(&self.db, session, &[event]).await?;
        Ok(MessageChanged { message, changed: true })
    }
}
