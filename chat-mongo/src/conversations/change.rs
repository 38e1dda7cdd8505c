//! Making and changing conversations.

use std::collections::HashMap;

use chat_core::clock::Timestamp;
use chat_core::domain::{
    Conversation, ConversationId, ConversationKind, Member, MemberSettings, RoomRole, UserId,
};
use chat_core::error::Code;
use chat_core::event::{Envelope, Event};
use chat_core::store::conversations::rules::{Effect, Outcome, Standing};
use chat_core::store::conversations::{Change, Changed, Created, NewConversation};
use futures::try_join;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::record::{Kept, Stored, document, member_document, member_id};
use super::{CONVERSATIONS, MEMBER, MongoConversations};
use crate::error::{Trouble, corrupt};
use crate::life;
use crate::outbox;
use crate::record::to_document;
use crate::transaction::together;

impl MongoConversations {
    /// One attempt at making a conversation; `None` when somebody was in the way.
    pub(super) async fn attempt_create(&self, new: &NewConversation) -> Result<Option<Created>, Trouble> {
        if let Some(Stored { conversation, .. }) = self.read(&new.id).await? {
            let members = match conversation.kind {
                ConversationKind::Direct => {
                    self.kept(&new.id, new.members.iter().map(|member| &member.user)).await?
                }
                _ => HashMap::new(),
            };
            return if new.is_again(&conversation, |user| members.contains_key(user)) {
                Ok(Some(Created { conversation, created: false }))
            } else {
                Err(Code::Conflict.into())
            };
        }
        let now = self.db.now();
        let (conversation, members, event) = new.begin(now)?;
        let stamp = self.db.stamps(0, 1);
        let documents = members.iter().map(|member| member_document(&new.id, new.kind, member, stamp));
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        let whole = document(&conversation, admins(&members), stamp)?;
        let event = told(&conversation.id, conversation.version, now, event);
        let put = together!(&self.db, |session| self.put(session, whole, documents, event, stamp))?;
        Ok(put.map(|()| Created { conversation, created: true }))
    }

    async fn put(
        &self,
        session: &mut ClientSession,
        conversation: Document,
        members: Vec<Document>,
        event: Envelope,
        stamp: i64,
    ) -> Result<(), Trouble> {
        let conversations = self.db.collection(CONVERSATIONS);
        life::insert_new(conversations.insert_one(conversation).session(&mut *session).await)?;
        if !members.is_empty() {
            let inserted = self.db.collection(MEMBER).insert_many(members).session(&mut *session).await;
            life::insert_new(inserted)?;
        }
        outbox::write_from(&self.db, session, &[event], stamp).await
    }

    /// One attempt at a change for everybody; `None` when somebody was in the way.
    pub(super) async fn attempt_change(
        &self,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Option<Changed>, Trouble> {
        together!(&self.db, |session| self.change_in(session, id, by, change))
    }

    async fn change_in(
        &self,
        session: &mut ClientSession,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Changed, Trouble> {
        let conversations = self.db.collection(CONVERSATIONS);
        // Whoever changes it next waits from here on.
        let turn = vec![doc! { "$set": { "stamp": life::next_stamp(self.db.stamps(0, 1)) } }];
        let taken = conversations.find_one_and_update(doc! { "_id": id.as_str() }, turn);
        let taken = taken.return_document(ReturnDocument::After).session(&mut *session).await?;
        let Stored { conversation, admins, stamp } = Stored::read(taken.ok_or(Code::ConversationNotFound)?)?;
        let concerned = self.concerned(session, id, &change.concerns(by)).await?;
        let first = concerned.iter().map(|kept| kept.stamp.saturating_add(1)).fold(stamp, i64::max);
        let members = concerned.into_iter().map(|kept| (kept.member.user_id.clone(), kept.member));
        let settings = MemberSettings::default();
        let (now, before) = (self.db.now(), conversation.version);
        let standing = Standing { conversation, admins, members: members.collect(), settings };
        let Outcome { conversation, admins, effect, events } = change.decide(standing, by, now)?;
        if events.is_empty() {
            return Ok(Changed { conversation, members: Vec::new(), changed: false });
        }
        let last = first.saturating_add(i64::try_from(events.len()).unwrap_or(i64::MAX) - 1);
        let still = doc! { "_id": id.as_str(), "version": version(before)? };
        let then = doc! { "$set": {
            "name": &conversation.name,
            "avatar": &conversation.avatar,
            "memberCount": i64::from(conversation.member_count),
            "admins": i64::from(admins),
            "version": version(conversation.version)?,
            "stamp": last,
        } };
        if conversations.update_one(still, then).session(&mut *session).await?.matched_count == 0 {
            return Err(Trouble::InTheWay);
        }
        self.take_effect(session, &conversation, &effect, last).await?;
        let events = (before.saturating_add(1)..).zip(events);
        let events: Vec<_> = events.map(|(version, event)| told(id, version, now, event)).collect();
        outbox::write_from(&self.db, session, &events, first).await?;
        Ok(Changed { conversation, members: effect.into_members(), changed: true })
    }

    /// Those of these users who are members, under the hold of the transaction.
    async fn concerned(
        &self,
        session: &mut ClientSession,
        id: &ConversationId,
        users: &[&UserId],
    ) -> Result<Vec<Kept>, Trouble> {
        let ids: Vec<_> = users.iter().map(|user| member_id(id, user)).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let at_once = u32::try_from(ids.len()).unwrap_or(u32::MAX).saturating_add(1);
        let members = self.db.collection(MEMBER);
        let find = members.find(doc! { "_id": { "$in": ids } }).batch_size(at_once);
        let mut cursor = find.session(&mut *session).await?;
        let mut found = Vec::new();
        while let Some(document) = cursor.next(&mut *session).await.transpose()? {
            found.push(Kept::read(document)?);
        }
        Ok(found)
    }

    async fn take_effect(
        &self,
        session: &mut ClientSession,
        conversation: &Conversation,
        effect: &Effect,
        stamp: i64,
    ) -> Result<(), Trouble> {
        let members = self.db.collection(MEMBER);
        match effect {
            Effect::None | Effect::Own(_) => Ok(()),
            Effect::In(joining) => {
                let documents = joining
                    .iter()
                    .map(|member| member_document(&conversation.id, conversation.kind, member, stamp));
                let documents = documents.collect::<Result<Vec<_>, _>>()?;
                life::insert_new(members.insert_many(documents).session(session).await)
            }
            Effect::Out(member) => {
                let gone = doc! { "_id": member_id(&conversation.id, &member.user_id) };
                let gone = members.delete_one(gone).session(session).await?;
                if gone.deleted_count == 0 { Err(Trouble::InTheWay) } else { Ok(()) }
            }
            Effect::Role(member) => {
                let there = doc! { "_id": member_id(&conversation.id, &member.user_id) };
                let role = doc! { "role": member.role.as_str(), "version": version(member.version)?, "stamp": stamp };
                let changed = members.update_one(there, doc! { "$set": role }).session(session).await?;
                if changed.matched_count == 0 { Err(Trouble::InTheWay) } else { Ok(()) }
            }
        }
    }

    /// One attempt at what a member keeps for itself; `None` when the member was changed meanwhile.
    pub(super) async fn attempt_own(
        &self,
        id: &ConversationId,
        by: &UserId,
        change: &Change,
    ) -> Result<Option<Changed>, Trouble> {
        let (stored, mut kept) = try_join!(self.read(id), self.kept(id, [by]))?;
        let Stored { conversation, admins, stamp } = stored.ok_or(Code::ConversationNotFound)?;
        let Kept { member, settings, stamp: before } = kept.remove(by).ok_or(Code::RoomNotMember)?;
        let now = self.db.now();
        let members = [(by.clone(), member)].into();
        let standing = Standing { conversation, admins, members, settings };
        let Outcome { conversation, effect, events, .. } = change.decide(standing, by, now)?;
        let Effect::Own(settings) = effect else {
            return Ok(Some(Changed { conversation, members: Vec::new(), changed: false }));
        };
        let stamp = self.db.stamps(stamp.max(before), 1);
        let event = events.into_iter().next().ok_or_else(|| corrupt("a setting without an event"))?;
        let event = life::envelope(&[id.as_str(), by.as_str()], stamp, now, event);
        let still = doc! { "_id": member_id(id, by), "stamp": before };
        let then = doc! { "$set": { "settings": to_document(&settings)?, "stamp": stamp } };
        let kept = together!(&self.db, |session| self.keep(session, still, then, event, stamp))?;
        Ok(kept.map(|()| Changed { conversation, members: Vec::new(), changed: true }))
    }

    async fn keep(
        &self,
        session: &mut ClientSession,
        still: Document,
        then: Document,
        event: Envelope,
        stamp: i64,
    ) -> Result<(), Trouble> {
        let kept = self.db.collection(MEMBER).update_one(still, then).session(&mut *session).await?;
        if kept.matched_count == 0 {
            return Err(Trouble::InTheWay);
        }
        outbox::write_from(&self.db, session, &[event], stamp).await
    }
}

fn version(version: u64) -> Result<i64, Trouble> {
    i64::try_from(version).map_err(|_| corrupt("version").into())
}

fn admins(members: &[Member]) -> u32 {
    let admins = members.iter().filter(|member| member.role == RoomRole::Admin).count();
    u32::try_from(admins).unwrap_or(u32::MAX)
}

/// The event that made this version of a conversation.
fn told(id: &ConversationId, version: u64, at: Timestamp, event: impl Into<Event>) -> Envelope {
    Envelope::new(&[id.as_str(), &version.to_string()], at, event)
}
