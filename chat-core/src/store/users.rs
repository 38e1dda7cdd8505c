//! [`UserSource`], the truth about users, and [`UserStore`], a cache of it.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;

use super::only;
use crate::clock::Timestamp;
use crate::domain::user::ProfileUpdate;
use crate::domain::{UserId, UserProfile};
use crate::error::Result;

/// How long a profile is kept: 7 days (seed 002).
pub const PROFILE_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A profile cache in numbers (seed 002's `getStats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserStoreStats {
    /// Profiles kept.
    pub cached: u64,
    /// How long each is kept, in seconds.
    pub ttl_seconds: u64,
}

port! {
    /// A cache of profiles; kind of state: **derived**. Seed 002's `UserCache`: a miss is a miss, never a stub.
    pub trait UserStore as "users" {
        /// Profiles by id.
        read async fn get_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>>;

        /// Keeps profiles for [`PROFILE_TTL`]; says of each whether it was kept.
        ///
        /// # Atomicity
        /// Per profile: it is whole, old fields do not survive.
        ///
        /// # Idempotency
        /// By `updated_at`: an older profile changes nothing, nor does one that is not newer than a removal. The same
        /// profile again is kept anew: `true`, and its time begins again. One that a later one of the same batch replaced
        /// is `false` when the batch is repeated.
        already async fn put_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>>;

        /// Forgets profiles deleted at that time. What is not newer is refused for [`PROFILE_TTL`] from now on; later
        /// it may be taken again.
        write async fn remove_many(&self, users: &[(UserId, Timestamp)]) -> Result<()>;

        /// The cache in numbers; may be late by a minute.
        read async fn stats(&self) -> Result<UserStoreStats>;
    }
}

/// Sugar over any [`UserStore`]; implemented for all of them.
pub trait UserStoreExt: UserStore {
    /// One profile.
    fn get(&self, user: &UserId) -> impl Future<Output = Result<Option<UserProfile>>> + Send {
        let one = [user.clone()];
        async move { only(self.get_many(&one).await?) }
    }

    /// Keeps one profile; says whether it was kept.
    fn put(&self, profile: &UserProfile) -> impl Future<Output = Result<bool>> + Send {
        async move { only(self.put_many(std::slice::from_ref(profile)).await?) }
    }
}

impl<U: UserStore + ?Sized> UserStoreExt for U {}

port! {
    /// Where profiles come from; kind of state: **truth**, the host's or ours.
    ///
    /// Every change writes its event to the [`Outbox`](super::Outbox) in the same atomic step, where the truth is ours.
    pub trait UserSource as "source" {
        /// Profiles by id.
        read async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>>;

        /// Makes profiles that are not there; says of each whether it was made. Writes `user.profile.created`.
        ///
        /// # Idempotency
        /// A profile that is there stays as it is.
        once async fn create_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>>;

        /// Changes a profile and answers it; `updated_at` always grows. Writes `user.profile.updated`.
        ///
        /// # Idempotency
        /// What is so already changes nothing.
        ///
        /// # Errors
        /// [`Code::UserNotFound`](crate::error::Code::UserNotFound),
        /// [`Code::UserInvalid`](crate::error::Code::UserInvalid).
        once async fn update(&self, user: &UserId, update: &ProfileUpdate) -> Result<UserProfile>;

        /// Deletes a profile and answers when, or `None` if there was none. Writes `user.profile.deleted`.
        once async fn delete(&self, user: &UserId) -> Result<Option<Timestamp>>;
    }
}

/// Sugar over any [`UserSource`]; implemented for all of them.
pub trait UserSourceExt: UserSource {
    /// One profile.
    fn fetch(&self, user: &UserId) -> impl Future<Output = Result<Option<UserProfile>>> + Send {
        let one = [user.clone()];
        async move { only(self.fetch_many(&one).await?) }
    }
}

impl<U: UserSource + ?Sized> UserSourceExt for U {}
