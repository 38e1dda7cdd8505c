//! Typing: begins once, ends once.

use std::collections::HashMap;
use std::time::Duration;

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
    /// The stop is being announced; nothing may overtake it.
    Ending,
    /// Another process has announced it.
    Elsewhere,
}

/// What a start or renewal has to do.
enum Begin {
    /// Nothing: it was renewed a moment ago, or is just ending.
    Ignored,
    /// Nobody is told.
    Renewed,
    /// Everybody is told, unless another process has done so.
    Starting,
}

impl Typists {
    fn begin(&self, place: &Place, typing: Typing, debounce: Duration) -> Begin {
        let mut typists = self.0.lock();
        let Some(known) = typists.get_mut(place) else {
            typists.insert(place.clone(), typing);
            return Begin::Starting;
        };
        if matches!(known.phase, Phase::Stopping | Phase::Ending)
            || typing.renewed.since(known.renewed) < debounce
        {
            return Begin::Ignored;
        }
        if known.phase == Phase::Elsewhere {
            // The process that announced it may have ended it since.
            *known = typing;
            return Begin::Starting;
        }
        (known.renewed, known.until) = (typing.renewed, typing.until);
        Begin::Renewed
    }

    /// Ends typing; answers the stops to announce.
    fn end(&self, ends: impl Fn(&Place, &Typing) -> bool) -> Owed<'_> {
        let mut stops = Vec::new();
        self.0.lock().retain(|place, typing| {
            if ends(place, typing) {
                match typing.phase {
                    Phase::Starting => typing.phase = Phase::Stopping,
                    Phase::Started => {
                        typing.phase = Phase::Ending;
                        stops.push((place.clone(), typing.thread.clone()));
                    }
                    Phase::Elsewhere => return false,
                    Phase::Stopping | Phase::Ending => {}
                }
            }
            true
        });
        Owed { typists: self, stops }
    }
}

/// A start being announced.
struct Start<'a> {
    typists: &'a Typists,
    /// None once it is announced.
    place: Option<&'a Place>,
    /// From here on it may be known.
    announcing: bool,
}

impl<'a> Start<'a> {
    /// It is announced, here or elsewhere; answers the stop to announce if it was ended meanwhile.
    fn done(mut self, phase: Phase) -> Option<Owed<'a>> {
        let (typists, place) = (self.typists, self.place.take()?);
        let mut places = typists.0.lock();
        let typing = places.get_mut(place)?;
        if typing.phase != Phase::Stopping {
            typing.phase = phase;
            return None;
        }
        if phase == Phase::Elsewhere {
            places.remove(place);
            return None;
        }
        typing.phase = Phase::Ending;
        Some(Owed { typists, stops: vec![(place.clone(), typing.thread.clone())] })
    }
}

impl Drop for Start<'_> {
    /// Whoever announced it was cancelled: what may be known ends in time, and the rest has never been.
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut typists = self.typists.0.lock();
        if !self.announcing {
            typists.remove(place);
        } else if let Some(typing) = typists.get_mut(place) {
            if typing.phase == Phase::Stopping {
                typing.until = Timestamp::EPOCH;
            }
            typing.phase = Phase::Started;
        }
    }
}

/// Stops to announce.
struct Owed<'a> {
    typists: &'a Typists,
    stops: Vec<(Place, Option<MessageId>)>,
}

impl Owed<'_> {
    /// The last one is announced: it may begin again.
    fn done(&mut self) {
        if let Some((place, _)) = self.stops.pop() {
            self.typists.0.lock().remove(&place);
        }
    }
}

impl Drop for Owed<'_> {
    /// Whoever announced them was cancelled: the next look at what has run out finds them.
    fn drop(&mut self) {
        let mut typists = self.typists.0.lock();
        for (place, _) in &self.stops {
            if let Some(typing) = typists.get_mut(place) {
                (typing.phase, typing.until) = (Phase::Started, Timestamp::EPOCH);
            }
        }
    }
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
        let typing = Typing { thread: thread.cloned(), renewed: now, until, phase: Phase::Starting };
        match self.inner.typists.begin(&place, typing, settings.typing_debounce) {
            Begin::Ignored => {}
            Begin::Renewed => drop(self.claim_typing(&place).await),
            Begin::Starting => self.announce_start(&place, thread).await,
        }
        Ok(())
    }

    /// Ends the actor's typing in a conversation; nothing happens when it was not.
    pub async fn stop_typing(&self, actor: &Actor, conversation: &ConversationId) {
        self.stop_typing_of(&actor.user, conversation).await;
    }

    pub(super) async fn stop_typing_of(&self, user: &UserId, conversation: &ConversationId) {
        self.announce_stops(self.inner.typists.end(|place, _| place.0 == *conversation && place.1 == *user))
            .await;
    }

    pub(super) async fn stop_all_typing_of(&self, user: &UserId) {
        self.announce_stops(self.inner.typists.end(|place, _| place.1 == *user)).await;
    }

    /// Ends all typing that has run out; [`Chat::start`] does this by itself.
    pub async fn expire_typing(&self) {
        let now = self.now();
        self.announce_stops(self.inner.typists.end(|_, typing| typing.until <= now)).await;
    }

    async fn announce_start(&self, place: &Place, thread: Option<&MessageId>) {
        let mut start = Start { typists: &self.inner.typists, place: Some(place), announcing: false };
        let first = self.claim_typing(place).await;
        if first {
            start.announcing = true;
            let (conversation_id, user_id) = place.clone();
            self.announce(TypingStarted { conversation_id, user_id, thread: thread.cloned() }).await;
        }
        if let Some(owed) = start.done(if first { Phase::Started } else { Phase::Elsewhere }) {
            self.announce_stops(owed).await;
        }
    }

    async fn announce_stops(&self, mut owed: Owed<'_>) {
        while let Some((place, thread)) = owed.stops.last().cloned() {
            let (conversation_id, user_id) = place.clone();
            self.announce(TypingStopped { conversation_id, user_id, thread }).await;
            // Only now may another process begin. A claim that cannot be given up runs out by itself.
            if let Some((scope, name)) = claim_name(&place) {
                drop(self.inner.ports.cache.release(&scope, &name, &self.inner.node).await);
            }
            owed.done();
        }
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
