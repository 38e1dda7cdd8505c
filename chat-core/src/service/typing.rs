//! Typing: begins once, ends once.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::Chat;
use crate::clock::Timestamp;
use crate::domain::{Actor, ConversationId, MessageId, UserId};
use crate::error::Result;
use crate::event::{TypingStarted, TypingStopped};
use crate::moderation::Action;
use crate::store::cache::CacheScope;

type Place = (ConversationId, UserId);

/// Who is typing, as far as this process has announced it.
#[derive(Debug, Default)]
pub(super) struct Typists(Mutex<HashMap<Place, Typing>>);

#[derive(Debug)]
struct Typing {
    thread: Option<MessageId>,
    renewed: Timestamp,
    until: Timestamp,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The start is being announced.
    Starting,
    /// Ended while the start was being announced.
    Stopping,
    /// The start is announced, so a stop is owed.
    Started,
    /// Another process has announced it.
    Elsewhere,
}

impl Chat {
    /// Shows that the actor is typing, in a conversation or one of its threads. It lasts for the typing timeout; the
    /// start is announced once, and the stop once: by [`stop_typing`](Self::stop_typing), by sending, by the timeout or
    /// by going offline.
    ///
    /// # Errors
    /// [`Code::Forbidden`](crate::error::Code::Forbidden).
    pub async fn start_typing(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        thread: Option<&MessageId>,
    ) -> Result<()> {
        self.inner.guard.check(actor, conversation, Action::Type).await?;
        let settings = &self.inner.settings;
        let (now, place) = (self.now(), (conversation.clone(), actor.user.clone()));
        let until = now.after(settings.typing_timeout);
        let renewal = {
            let mut typists = self.inner.typists.0.lock();
            let renewal = typists.get_mut(&place).map(|typing| {
                let due = now.since(typing.renewed) >= settings.typing_debounce;
                if due {
                    (typing.renewed, typing.until) = (now, until);
                }
                due
            });
            if renewal.is_none() {
                let typing = Typing { thread: thread.cloned(), renewed: now, until, phase: Phase::Starting };
                typists.insert(place.clone(), typing);
            }
            renewal
        };
        if let Some(due) = renewal {
            if due {
                self.claim_typing(&place).await;
            }
            return Ok(());
        }
        let first = self.claim_typing(&place).await;
        if first {
            let (conversation_id, user_id) = place.clone();
            self.announce(TypingStarted { conversation_id, user_id, thread: thread.cloned() }).await;
        }
        let ended = {
            let mut typists = self.inner.typists.0.lock();
            match typists.get_mut(&place) {
                Some(typing) if typing.phase == Phase::Stopping => typists.remove(&place),
                Some(typing) => {
                    typing.phase = if first { Phase::Started } else { Phase::Elsewhere };
                    None
                }
                None => None,
            }
        };
        if first && let Some(typing) = ended {
            self.announce_stop(&place, typing.thread).await;
        }
        Ok(())
    }

    /// Ends the actor's typing in a conversation; nothing happens when it was not.
    pub async fn stop_typing(&self, actor: &Actor, conversation: &ConversationId) {
        self.stop_typing_of(&actor.user, conversation).await;
    }

    pub(super) async fn stop_typing_of(&self, user: &UserId, conversation: &ConversationId) {
        self.end_typing(|place, _| place.0 == *conversation && place.1 == *user).await;
    }

    pub(super) async fn stop_all_typing_of(&self, user: &UserId) {
        self.end_typing(|place, _| place.1 == *user).await;
    }

    /// Ends all typing that has run out; [`Chat::start`] does this by itself.
    pub async fn expire_typing(&self) {
        let now = self.now();
        self.end_typing(|_, typing| typing.until <= now).await;
    }

    async fn end_typing(&self, ends: impl Fn(&Place, &Typing) -> bool) {
        let mut ended = Vec::new();
        self.inner.typists.0.lock().retain(|place, typing| {
            if !ends(place, typing) {
                return true;
            }
            match typing.phase {
                Phase::Starting | Phase::Stopping => typing.phase = Phase::Stopping,
                Phase::Started => ended.push((place.clone(), typing.thread.clone())),
                Phase::Elsewhere => {}
            }
            typing.phase == Phase::Stopping
        });
        for (place, thread) in ended {
            self.announce_stop(&place, thread).await;
        }
    }

    async fn announce_stop(&self, place: &Place, thread: Option<MessageId>) {
        if let Some((scope, name)) = claim_name(place) {
            // A claim that cannot be given up runs out by itself.
            drop(self.inner.ports.cache.release(&scope, &name, &self.inner.node).await);
        }
        let (conversation_id, user_id) = place.clone();
        self.announce(TypingStopped { conversation_id, user_id, thread }).await;
    }

    /// Whether this process is the first to announce it. While claims cannot be had, every process is.
    async fn claim_typing(&self, place: &Place) -> bool {
        let Some((scope, name)) = claim_name(place) else { return true };
        let ttl = self.inner.settings.typing_timeout;
        self.inner.ports.cache.claim(&scope, &name, &self.inner.node, ttl).await.unwrap_or(true)
    }
}

fn claim_name((conversation, user): &Place) -> Option<(CacheScope, String)> {
    let scope = CacheScope::new("typing").ok()?;
    // The length keeps apart what ids run together.
    Some((scope, format!("{}:{conversation}:{user}", conversation.as_str().len())))
}
