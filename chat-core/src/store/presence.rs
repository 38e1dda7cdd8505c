//! [`PresenceStore`]: sessions are leases, and a user is online while one of them lives.

use std::future::Future;
use std::time::Duration;

use super::only;
use crate::domain::page::{Page, Paged};
use crate::domain::presence::{ChosenStatus, Device, Lapse, Presence, PresenceStats, Transition, Visibility};
use crate::domain::{SessionId, UserId};
use crate::error::Result;

/// How long a lease lasts unless told otherwise: 60 s.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(60);

/// A session to begin, or to begin again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Whose.
    pub user: UserId,
    /// Which connection.
    pub session: SessionId,
    /// By what machine.
    pub device: Option<Device>,
    /// How long the lease lasts unless renewed.
    pub lease: Duration,
}

/// What renewing a lease found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// The session lives until its new deadline.
    Alive,
    /// The session is gone; its client has to connect again.
    Lost,
}

port! {
    /// Who is here; kind of state: **volatile**. Seed 001's `OnlineUserManager`, for many devices and many nodes.
    ///
    /// A session is a lease with a deadline on the store's clock. A user is online iff one lease lives, whether or not
    /// anybody has swept. An *edge* is a change between online and offline; every edge is handed to exactly one
    /// caller, of [`connect`](PresenceStore::connect), [`disconnect`](PresenceStore::disconnect) or
    /// [`sweep`](PresenceStore::sweep), and the edges of one user alternate.
    pub trait PresenceStore as "presence" {
        /// Begins a session, or renews it when it lives already. A new session is activity; it ends being idle when the
        /// user goes online by it.
        ///
        /// # Atomicity
        /// Per user: of racing first sessions exactly one answers [`Transition::WentOnline`]. When earlier leases ran
        /// out and nobody has swept them, the answer is [`Transition::CameBack`].
        ///
        /// # Idempotency
        /// Repeating it is a renewal: [`Transition::None`].
        once async fn connect(&self, connect: &Connect) -> Result<Transition>;

        /// Renews leases: the heartbeat. It is no activity, and may shorten a lease.
        ///
        /// # Atomicity
        /// Per session. A lease that ran out and was not swept yet is revived: nobody was told that it had ended. A
        /// session that was disconnected or swept is never revived.
        write async fn renew_many(&self, sessions: &[(UserId, SessionId)], lease: Duration) -> Result<Vec<Renewal>>;

        /// Ends a session, also one that ran out and was not swept yet. Being idle ends with the last one.
        ///
        /// # Atomicity
        /// Per user: of racing last sessions exactly one answers [`Transition::WentOffline`].
        ///
        /// # Idempotency
        /// Ending a session that is not there changes nothing: [`Transition::None`].
        once async fn disconnect(&self, user: &UserId, session: &SessionId) -> Result<Transition>;

        /// Removes leases that ran out and answers up to `limit` users who went offline by that.
        ///
        /// # Atomicity
        /// Each user's edge is handed to exactly one of racing sweepers. A crash of that sweeper loses the
        /// announcement, never the state.
        once async fn sweep(&self, limit: usize) -> Result<Vec<Lapse>>;

        /// All that is known about users, live sessions only. Nothing is masked: see
        /// [`Presence::seen_by`](crate::domain::Presence::seen_by).
        read async fn get_many(&self, users: &[UserId]) -> Result<Vec<Presence>>;

        /// Which users are online: the cheap form of [`get_many`](PresenceStore::get_many).
        read async fn are_online(&self, users: &[UserId]) -> Result<Vec<bool>>;

        /// Records activity now and ends being idle; answers of each whether it was idle.
        ///
        /// # Atomicity
        /// Per user; the last activity never goes back.
        once async fn touch_many(&self, users: &[UserId]) -> Result<Vec<bool>>;

        /// Marks users idle who are online and have not been active for `after`; answers of each whether it became
        /// idle by this call.
        ///
        /// # Atomicity
        /// Of racing callers exactly one gets `true` per idle time.
        once async fn idle_many(&self, users: &[UserId], after: Duration) -> Result<Vec<bool>>;

        /// Chooses a status, or none. It survives disconnecting and ends by itself at its `until`.
        write async fn choose(&self, user: &UserId, chosen: Option<&ChosenStatus>) -> Result<()>;

        /// Says who may know when the user was last active.
        write async fn set_visibility(&self, user: &UserId, visibility: Visibility) -> Result<()>;

        /// The users online, in a stable order. Whoever is online during the whole walk is listed exactly once.
        read async fn online(&self, page: &Page<UserId>) -> Result<Paged<UserId, UserId>>;

        /// Presence in numbers: users, sessions and the distribution equal a recount of the leases that live. A session
        /// that ran out lasted until its lease ended.
        read async fn stats(&self) -> Result<PresenceStats>;
    }
}

/// Sugar over any [`PresenceStore`]; implemented for all of them.
pub trait PresenceStoreExt: PresenceStore {
    /// Renews one lease.
    fn renew(
        &self,
        user: &UserId,
        session: &SessionId,
        lease: Duration,
    ) -> impl Future<Output = Result<Renewal>> + Send {
        let one = [(user.clone(), session.clone())];
        async move { only(self.renew_many(&one, lease).await?) }
    }

    /// All that is known about one user.
    fn get(&self, user: &UserId) -> impl Future<Output = Result<Presence>> + Send {
        let one = [user.clone()];
        async move { only(self.get_many(&one).await?) }
    }

    /// Whether one user is online.
    fn is_online(&self, user: &UserId) -> impl Future<Output = Result<bool>> + Send {
        let one = [user.clone()];
        async move { only(self.are_online(&one).await?) }
    }
}

impl<P: PresenceStore + ?Sized> PresenceStoreExt for P {}
