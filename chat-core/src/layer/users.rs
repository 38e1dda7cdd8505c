//! [`UserSource`] behind a [`Breaker`].

use std::sync::Arc;

use async_trait::async_trait;

use super::Breaker;
use crate::clock::Timestamp;
use crate::domain::user::ProfileUpdate;
use crate::domain::{UserId, UserProfile};
use crate::error::Result;
use crate::store::UserSource;

/// A source of profiles that is not asked while it is away: whoever asks learns so at once, and the source has peace to
/// come back.
#[derive(Debug)]
pub struct BreakerUserSource {
    source: Arc<dyn UserSource>,
    breaker: Breaker,
}

impl BreakerUserSource {
    /// Asks `source` as long as `breaker` lets it.
    pub fn new(source: Arc<dyn UserSource>, breaker: Breaker) -> Self {
        Self { source, breaker }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

#[async_trait]
impl UserSource for BreakerUserSource {
    async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        self.breaker.call(|| self.source.fetch_many(users)).await
    }

    async fn create_many(&self, profiles: &[UserProfile]) -> Result<Vec<bool>> {
        self.breaker.call(|| self.source.create_many(profiles)).await
    }

    async fn update(&self, user: &UserId, update: &ProfileUpdate) -> Result<UserProfile> {
        self.breaker.call(|| self.source.update(user, update)).await
    }

    async fn delete(&self, user: &UserId) -> Result<Option<Timestamp>> {
        self.breaker.call(|| self.source.delete(user)).await
    }
}
