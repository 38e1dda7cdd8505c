//! [`UserStore`] on Redis, in one of two layouts: see [`ProfileLayout`].
//!
//! | operation | compact | seed's hash |
//! |---|---|---|
//! | `get_many` | 1 `MGET` for up to 500 users; on a cluster 1 per shard | 1 `HMGET` for each user |
//! | `put_many`, `remove_many` | 1 script per shard | 1 script for each user |
//! | `stats` | 16 `ZCOUNT` | `SCAN` of everything, once a minute at most |
//!
//! Each of them but the last is one round trip; batches of more than 500 users take one for each 500.

mod compact;
mod seed;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::Timestamp;
use chat_core::domain::{UserId, UserProfile};
use chat_core::error::{Code, Error, Result};
use chat_core::store::UserStore;
use chat_core::store::users::{PROFILE_TTL, UserStoreStats};

use crate::connection::Operation;
use crate::store::Store;

const GET: Operation = Operation::read("users.get");
const PUT: Operation = Operation::write("users.put");
const REMOVE: Operation = Operation::write("users.remove");
const STATS: Operation = Operation::read("users.stats");

/// How many users one command, or one round trip, is about at most.
const BATCH: usize = 500;
/// Answers about more users than this come over the connection for long replies: some 50 KB.
const SHORT: usize = 128;

/// How profiles stand in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProfileLayout {
    /// One string for each profile: 100 of them are one `MGET`, four times as fast as the hash and with less work for the
    /// server by as much.
    #[default]
    Compact,
    /// Seed 002's hash, byte for byte, for hosts whose other services read and write it: the key is a prefix and the
    /// user's id as it is, the fields are `fullName`, `avatar`, `matricule`, `ministere`, `sexe` and `updatedAt`, a
    /// field without a value is empty, and it lasts 7 days.
    ///
    /// What others wrote is read: of a hash without `fullName` the name is `prenom nom`, and one without any name is a
    /// miss. They do not know of versions, so they may bring back what was removed, or an older profile.
    SeedHash {
        /// What keys begin with. `user:profile:` in seed 002; later services used `chat:cache:users:` and
        /// `user-service:cache:users:`.
        prefix: Cow<'static, str>,
    },
}

impl ProfileLayout {
    /// Seed 002's layout under its own prefix: `user:profile:`.
    pub const SEED: Self = Self::SeedHash { prefix: Cow::Borrowed("user:profile:") };
}

/// A cache of profiles in Redis, shared by all that use the same key space and layout; kind of state: **derived**.
#[derive(Debug, Clone)]
pub struct RedisUsers {
    store: Store,
    layout: ProfileLayout,
    counted: Arc<seed::Counted>,
}

impl RedisUsers {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, layout: ProfileLayout::Compact, counted: Arc::default() }
    }

    /// The same cache in another layout. What stands in the first one is not seen.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for a prefix that is empty, has more than 128 bytes, braces, or is that of other keys in
    /// this key space.
    pub fn with_layout(&self, layout: ProfileLayout) -> Result<Self> {
        if let ProfileLayout::SeedHash { prefix } = &layout {
            let is_fine = (1..=128).contains(&prefix.len()) && !prefix.contains(['{', '}']);
            if !is_fine || self.store.keys.may_hold(prefix) {
                return Err(Error::invalid(Code::ConfigInvalid, "not a prefix for profiles"));
            }
        }
        Ok(Self { store: self.store.clone(), layout, counted: Arc::default() })
    }
}

#[async_trait]
impl UserStore for RedisUsers {
    async fn get_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        match &self.layout {
            ProfileLayout::Compact => self.get_compact(users).await,
            ProfileLayout::SeedHash { prefix } => self.get_hashes(prefix, users).await,
        }
    }

    async fn put_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        match &self.layout {
            ProfileLayout::Compact => self.put_compact(profiles).await,
            ProfileLayout::SeedHash { prefix } => self.put_hashes(prefix, profiles).await,
        }
    }

    async fn remove_many(&self, users: &[(UserId, Timestamp)]) -> Result<()> {
        match &self.layout {
            ProfileLayout::Compact => self.remove_compact(users).await,
            ProfileLayout::SeedHash { prefix } => self.remove_hashes(prefix, users).await,
        }
    }

    async fn stats(&self) -> Result<UserStoreStats> {
        let cached = match &self.layout {
            ProfileLayout::Compact => self.count_compact().await?,
            ProfileLayout::SeedHash { prefix } => self.count_hashes(prefix).await?,
        };
        Ok(UserStoreStats { cached, ttl_seconds: PROFILE_TTL.as_secs() })
    }
}

/// When a user was removed, as it is written: zero is never.
fn removed(at: Timestamp) -> u64 {
    at.as_millis().saturating_add(1)
}

fn ttl_millis() -> u64 {
    u64::try_from(PROFILE_TTL.as_millis()).unwrap_or(u64::MAX)
}

/// For how many milliseconds Redis keeps what is over.
fn rubbish(store: &Store) -> u64 {
    store.kept_for(Duration::ZERO)
}
