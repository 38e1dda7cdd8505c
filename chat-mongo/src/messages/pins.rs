//! Pins. The document of a conversation in `pins` names what may be pinned there; it is put right whenever a message is
//! pinned, so it never holds more than [`MAX_PINS`](chat_core::store::messages::MAX_PINS).

use std::collections::HashMap;

use chat_core::clock::Timestamp;
use chat_core::domain::{ConversationId, Message, MessageId, UserId};
use chat_core::error::Result;
use chat_core::store::change as rules;
use chat_core::store::messages::MessageChanged;
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{ClientSession, Collection};

use super::turn::in_turn;
use super::{MongoMessages, PIN, PINS, shown};
use crate::error::{Trouble, corrupt, is_duplicate};

impl MongoMessages {
    fn pins(&self) -> Collection<Document> {
        self.db.collection(PINS)
    }

    pub(super) async fn put_up(
        &self,
        id: &MessageId,
        by: &UserId,
        until: Option<Timestamp>,
    ) -> Result<MessageChanged> {
        self.db
            .run(PIN, async {
                let message = self.read(id, None).await?;
                let conversation = conversation_of(&message)?;
                loop {
                    match in_turn!(self, conversation, |session| self.pin_once(session, id, by, until)) {
                        // Another node has made the list meanwhile.
                        Err(Trouble::Said(said)) if is_duplicate(&said) => {}
                        answer => return answer,
                    }
                }
            })
            .await
    }

    async fn pin_once(
        &self,
        session: &mut ClientSession,
        id: &MessageId,
        by: &UserId,
        until: Option<Timestamp>,
    ) -> Result<MessageChanged, Trouble> {
        let document = self.read(id, Some(&mut *session)).await?;
        let conversation = conversation_of(&document)?.to_owned();
        let listed = self.pins().find_one(doc! { "_id": &conversation }).session(&mut *session).await?;
        let listed = named(listed)?;
        let there = doc! { "_id": { "$in": &listed } };
        let mut there = self.messages().find(there).projection(shown()).session(&mut *session).await?;
        let there: Vec<Document> = there.stream(&mut *session).try_collect().await?;
        let there = there.into_iter().map(|document| self.message(document));
        let there: Vec<Message> = there.collect::<Result<_, _>>()?;
        let now = self.db.now();
        let standing: Vec<&str> = there
            .iter()
            .filter(|message| message.is_pinned(now))
            .map(|message| message.id.as_str())
            .collect();
        let changed =
            self.changed(document, |message, now| rules::pin(message, by, true, until, standing.len(), now))?;
        if changed.event.is_some() {
            let mut pins = standing.clone();
            if !pins.contains(&id.as_str()) {
                pins.push(id.as_str());
            }
            let list = doc! { "$set": { "pins": pins }, "$inc": { "version": 1_i64 } };
            let pins = self.pins();
            pins.update_one(doc! { "_id": conversation }, list).upsert(true).session(&mut *session).await?;
        }
        let done = self.settle(changed, Some(session)).await?;
        // In a transaction what was read is what is there.
        Ok(done.ok_or_else(|| corrupt("version"))?)
    }

    pub(super) async fn standing(&self, conversation: &ConversationId) -> Result<Vec<Message>, Trouble> {
        let listed = named(self.pins().find_one(doc! { "_id": conversation.as_str() }).await?)?;
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let listed: Vec<MessageId> = listed.into_iter().map(MessageId::try_from).collect::<Result<_>>()?;
        let found: HashMap<_, _> = self.by_id(&listed.iter().collect::<Vec<_>>()).await?;
        let now = self.db.now();
        let mut pinned: Vec<_> = found.into_values().filter(|message| message.is_pinned(now)).collect();
        pinned.sort_by_key(|message| message.seq);
        Ok(pinned)
    }
}

fn conversation_of(message: &Document) -> Result<&str, Trouble> {
    Ok(message.get_str("conversationId").map_err(|_| corrupt("conversationId"))?)
}

/// The messages a list names.
fn named(list: Option<Document>) -> Result<Vec<String>, Trouble> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let pins = list.get_array("pins").map_err(|_| corrupt("pins"))?;
    let name = |pin: &Bson| pin.as_str().map(str::to_owned).ok_or_else(|| corrupt("pins").into());
    pins.iter().map(name).collect()
}
