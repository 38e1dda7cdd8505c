//! Retention: old messages become tombstones, many in one transaction.

use chat_core::domain::page::Paged;
use chat_core::domain::{Message, MessageId, Seq};
use chat_core::error::Result;
use chat_core::store::change as rules;
use chat_core::store::messages::Purge;
use futures::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;

use super::record::{LIVE, difference, document};
use super::turn::in_turn;
use super::{MongoMessages, PURGE, TERMS, shown};
use crate::error::Trouble;
use crate::outbox;
use crate::record::{date, place};

impl MongoMessages {
    pub(super) async fn remove_old(&self, purge: &Purge) -> Result<Paged<Seq, Seq>> {
        let here = purge.conversation.as_str();
        self.db.run(PURGE, async { in_turn!(self, here, |session| self.purge_once(session, purge)) }).await
    }

    async fn purge_once(
        &self,
        session: &mut ClientSession,
        purge: &Purge,
    ) -> Result<Paged<Seq, Seq>, Trouble> {
        let held: Vec<_> = purge.hold.iter().map(MessageId::as_str).collect();
        let due = doc! {
            "conversationId": purge.conversation.as_str(),
            "terms": LIVE,
            "createdAt": { "$lt": date(purge.before) },
            "seq": { "$gt": place(purge.after) },
            "_id": { "$nin": held },
        };
        let messages = self.messages();
        let limit = i64::try_from(purge.limit).unwrap_or(i64::MAX).saturating_add(1);
        let due = messages.find(due).sort(doc! { "createdAt": 1, "seq": 1 }).limit(limit);
        let due = due.hint(Hint::Name(TERMS.name.to_owned())).projection(shown());
        let mut due = due.session(&mut *session).await?;
        let due: Vec<Document> = due.stream(&mut *session).try_collect().await?;
        let now = self.db.now();
        let (mut gone, mut events) = (Vec::new(), Vec::new());
        // What is set is the same for all: nothing is left.
        let (mut set, mut unset) = (Document::new(), Document::new());
        let mut places = Vec::with_capacity(due.len());
        for due in due {
            let stored = self.stored(due)?;
            let mut message: Message = stored.message.clone();
            places.push(message.seq);
            if places.len() > purge.limit {
                break;
            }
            let Some(event) = rules::delete(&mut message, None, now) else { continue };
            events.push(stored.event(now, event));
            let change = difference(&document(&stored.message)?, document(&message)?);
            set.extend(change.0);
            unset.extend(change.1);
            gone.push(message);
        }
        if !gone.is_empty() {
            let these: Vec<_> = gone.iter().map(|message| message.id.as_str()).collect();
            let tombstone = doc! { "$set": set, "$unset": unset, "$inc": { "version": 1_i64 } };
            let these = doc! { "_id": { "$in": these } };
            messages.update_many(these, tombstone).session(&mut *session).await?;
            self.discount(session, &purge.conversation, &gone).await?;
            outbox::write(&self.db, session, &events).await?;
        }
        Ok(Paged::from_surplus(places, purge.limit, |seq| *seq))
    }
}
