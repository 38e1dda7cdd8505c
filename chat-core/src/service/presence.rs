//! Presence: being here, and telling those who share a conversation.

use super::Chat;
use crate::clock::Timestamp;
use crate::domain::page::{MAX_PAGE, Page};
use crate::domain::presence::{
    ChosenStatus, Presence, PresenceStats, Transition, Visibility, VisiblePresence,
};
use crate::domain::{Actor, ConversationId, Device, PlatformRole, PresenceStatus, SessionId, UserId};
use crate::error::{Code, Error, Result};
use crate::event::{PresenceIdle, PresenceOffline, PresenceOnline};
use crate::moderation::Action;
use crate::store::PresenceStoreExt;
use crate::store::conversations::ConversationFilter;
use crate::store::presence::{Connect, Renewal};

/// How many users one sweep takes offline.
const SWEEP_BATCH: usize = 256;

/// What a connect did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The edge, if any; it has been announced.
    pub transition: Transition,
}

impl Chat {
    /// Begins the actor's session, and tells those who share a conversation if it is the first one.
    ///
    /// # Idempotency
    /// Connecting the same session again renews it.
    ///
    /// # Errors
    /// [`Code::RequestInvalid`] for an actor without a session, or a device whose name has more than 100 characters.
    pub async fn connect(&self, actor: &Actor, device: Option<Device>) -> Result<Connected> {
        let session = session_of(actor)?;
        let too_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > 100);
        if device.as_ref().is_some_and(|device| too_long(&device.name) || too_long(&device.platform)) {
            return Err(Error::invalid(Code::RequestInvalid, "a device's name has at most 100 characters"));
        }
        let lease = self.inner.settings.presence_lease;
        let connect = Connect { user: actor.user.clone(), session: session.clone(), device, lease };
        let transition = self.inner.ports.presence.connect(&connect).await?;
        match transition {
            Transition::WentOnline => self.announce_coming(&actor.user).await?,
            Transition::CameBack { .. } => {
                self.announce_going(&actor.user, "lapsed").await?;
                self.announce_coming(&actor.user).await?;
            }
            Transition::None | Transition::WentOffline => {}
        }
        Ok(Connected { transition })
    }

    /// Renews sessions: call it well within the lease, for all sessions of a process at once.
    ///
    /// # Errors
    /// Those of the presence store. A session that is [`Renewal::Lost`] has to connect again.
    pub async fn heartbeat(&self, sessions: &[(UserId, SessionId)]) -> Result<Vec<Renewal>> {
        self.inner.ports.presence.renew_many(sessions, self.inner.settings.presence_lease).await
    }

    /// Ends the actor's session, and tells those who share a conversation if it was the last one.
    ///
    /// # Idempotency
    /// Ending it again changes nothing.
    ///
    /// # Errors
    /// [`Code::RequestInvalid`] for an actor without a session.
    pub async fn disconnect(&self, actor: &Actor) -> Result<Transition> {
        let transition = self.inner.ports.presence.disconnect(&actor.user, session_of(actor)?).await?;
        if transition == Transition::WentOffline {
            self.stop_all_typing_of(&actor.user).await;
            self.announce_going(&actor.user, "disconnected").await?;
        }
        Ok(transition)
    }

    /// Takes users offline whose leases have run out; [`Chat::start`] does this by itself. Says how many.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn sweep_presence(&self) -> Result<usize> {
        let mut swept = 0;
        loop {
            let lapsed = self.inner.ports.presence.sweep(SWEEP_BATCH).await?;
            for lapse in &lapsed {
                self.stop_all_typing_of(&lapse.user).await;
                self.announce_going(&lapse.user, "lapsed").await?;
            }
            swept += lapsed.len();
            if lapsed.len() < SWEEP_BATCH {
                return Ok(swept);
            }
        }
    }

    /// Records activity of users, and tells of those who had been idle, unless they show a status of their own.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn touch(&self, users: &[UserId]) -> Result<()> {
        let was_idle = self.inner.ports.presence.touch_many(users).await?;
        for (user, _) in users.iter().zip(was_idle).filter(|(_, was_idle)| *was_idle) {
            self.announce_observed(user, PresenceStatus::Online, "active").await?;
        }
        Ok(())
    }

    /// Marks those of these users idle who have not been active for a while, and tells of them, unless they show a
    /// status of their own. Says how many.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn mark_idle(&self, users: &[UserId]) -> Result<usize> {
        let became_idle = self.inner.ports.presence.idle_many(users, self.inner.settings.idle_after).await?;
        let mut marked = 0;
        for (user, _) in users.iter().zip(became_idle).filter(|(_, became)| *became) {
            self.announce_observed(user, PresenceStatus::Away, "inactive").await?;
            marked += 1;
        }
        Ok(marked)
    }

    /// Shows another status, until a time or until changed; [`PresenceStatus::Online`] shows what is observed again.
    /// Others are told when what they see changes.
    ///
    /// # Errors
    /// [`Code::RequestInvalid`] for [`PresenceStatus::Offline`]: that is what not being connected is.
    pub async fn set_status(
        &self,
        actor: &Actor,
        status: PresenceStatus,
        until: Option<Timestamp>,
    ) -> Result<()> {
        if status == PresenceStatus::Offline {
            return Err(Error::invalid(Code::RequestInvalid, "offline is no status to choose"));
        }
        let presence = &self.inner.ports.presence;
        let before = presence.get(&actor.user).await?;
        let chosen = (status != PresenceStatus::Online).then_some(ChosenStatus { status, until });
        presence.choose(&actor.user, chosen.as_ref()).await?;
        let (now, after) = (self.now(), Presence { chosen, ..before.clone() });
        let (before, after) = (shown(before.status(now)), shown(after.status(now)));
        if before != after {
            self.announce_status(&actor.user, after, "status").await?;
        }
        Ok(())
    }

    /// Says who may know when the actor was last active.
    ///
    /// # Errors
    /// Those of the presence store.
    pub async fn set_privacy(&self, actor: &Actor, last_seen: Visibility) -> Result<()> {
        self.inner.ports.presence.set_visibility(&actor.user, last_seen).await
    }

    /// The presence of members of a conversation, as the actor may know it, in the order asked. Who is no member is
    /// shown like somebody never seen.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn presence(
        &self,
        actor: &Actor,
        conversation: &ConversationId,
        users: &[UserId],
    ) -> Result<Vec<VisiblePresence>> {
        self.inner.guard.check(actor, conversation, Action::Read).await?;
        let members = self.are_members(conversation, users).await?;
        let mut seen = self.presence_of_contacts(actor, users).await?;
        for (seen, _) in seen.iter_mut().zip(members).filter(|(_, member)| !member) {
            *seen = Presence::unknown(seen.user_id.clone()).seen_by(&actor.user, false, self.now());
        }
        Ok(seen)
    }

    /// The presence of users who share a conversation with the actor.
    pub(super) async fn presence_of_contacts(
        &self,
        actor: &Actor,
        users: &[UserId],
    ) -> Result<Vec<VisiblePresence>> {
        let (known, now) = (self.inner.ports.presence.get_many(users).await?, self.now());
        Ok(known.iter().map(|presence| presence.seen_by(&actor.user, true, now)).collect())
    }

    /// Presence in numbers, for platform admins.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn presence_stats(&self, actor: &Actor) -> Result<PresenceStats> {
        match actor.role {
            PlatformRole::Admin => self.inner.ports.presence.stats().await,
            PlatformRole::User => Err(Code::Forbidden.into()),
        }
    }

    /// The conversations of a user small enough to announce presence to.
    async fn announced_to(&self, user: &UserId) -> Result<Vec<ConversationId>> {
        let page = Page::first(MAX_PAGE);
        let found = self.inner.ports.conversations.list(user, &ConversationFilter::default(), &page).await?;
        let max = self.inner.settings.announce_max;
        let small = found.items.into_iter().map(|membership| membership.conversation);
        Ok(small
            .filter(|conversation| conversation.member_count <= max)
            .map(|conversation| conversation.id)
            .collect())
    }

    /// The status a user has chosen, while it holds.
    async fn chosen(&self, user: &UserId) -> Result<Option<PresenceStatus>> {
        let chosen = self.inner.ports.presence.get(user).await?.chosen;
        Ok(chosen.and_then(|chosen| chosen.holds(self.now())))
    }

    /// A user is here: shown as it has chosen.
    async fn announce_coming(&self, user: &UserId) -> Result<()> {
        match self.chosen(user).await? {
            Some(PresenceStatus::Invisible) => Ok(()),
            chosen => self.announce_status(user, chosen.unwrap_or(PresenceStatus::Online), "connected").await,
        }
    }

    /// A user is gone, if it was to be seen.
    async fn announce_going(&self, user: &UserId, reason: &str) -> Result<()> {
        match self.chosen(user).await? {
            Some(PresenceStatus::Invisible) => Ok(()),
            _ => self.announce_status(user, PresenceStatus::Offline, reason).await,
        }
    }

    /// What was observed shows only while nothing is chosen.
    async fn announce_observed(&self, user: &UserId, status: PresenceStatus, reason: &str) -> Result<()> {
        match self.chosen(user).await? {
            Some(_) => Ok(()),
            None => self.announce_status(user, status, reason).await,
        }
    }

    async fn announce_status(&self, user: &UserId, status: PresenceStatus, reason: &str) -> Result<()> {
        let (user_id, reason) = (user.clone(), reason.to_owned());
        let conversations = self.announced_to(user).await?;
        match status {
            PresenceStatus::Online | PresenceStatus::Dnd => {
                self.announce(PresenceOnline { user_id, reason, conversations }).await;
            }
            PresenceStatus::Away => self.announce(PresenceIdle { user_id, reason, conversations }).await,
            PresenceStatus::Invisible | PresenceStatus::Offline => {
                self.announce(PresenceOffline { user_id, reason, conversations }).await;
            }
        }
        Ok(())
    }
}

/// What others see of a status.
fn shown(status: PresenceStatus) -> PresenceStatus {
    if status == PresenceStatus::Invisible { PresenceStatus::Offline } else { status }
}

fn session_of(actor: &Actor) -> Result<&SessionId> {
    actor.session.as_ref().ok_or_else(|| Error::invalid(Code::RequestInvalid, "the actor has no session"))
}
