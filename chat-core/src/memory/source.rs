//! [`UserSource`] in memory.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::MemoryOutbox;
use crate::clock::{Clock, Timestamp};
use crate::domain::user::ProfileUpdate;
use crate::domain::{UserId, UserProfile};
use crate::error::{Code, Error, Result};
use crate::event::{UserProfileCreated, UserProfileDeleted, UserProfileUpdated};
use crate::store::UserSource;

/// The truth about users, in memory.
#[derive(Debug)]
pub struct MemorySource {
    clock: Arc<dyn Clock>,
    outbox: Arc<MemoryOutbox>,
    profiles: Mutex<HashMap<UserId, UserProfile>>,
}

impl MemorySource {
    /// Nobody yet.
    pub fn new(clock: Arc<dyn Clock>, outbox: Arc<MemoryOutbox>) -> Self {
        Self { clock, outbox, profiles: Mutex::default() }
    }
}

#[async_trait]
impl UserSource for MemorySource {
    async fn fetch_many(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        let profiles = self.profiles.lock();
        Ok(users.iter().map(|user| profiles.get(user).cloned()).collect())
    }

    async fn create_many(&self, new: &[UserProfile]) -> Result<Vec<bool>> {
        let mut profiles = self.profiles.lock();
        let mut made = Vec::with_capacity(new.len());
        for profile in new {
            let absent = !profiles.contains_key(&profile.id);
            if absent {
                profiles.insert(profile.id.clone(), profile.clone());
                let event = UserProfileCreated::from(profile);
                self.outbox.write_change(profile.id.as_str(), profile.updated_at, event);
            }
            made.push(absent);
        }
        Ok(made)
    }

    async fn update(&self, user: &UserId, update: &ProfileUpdate) -> Result<UserProfile> {
        update.check()?;
        let mut profiles = self.profiles.lock();
        let profile = profiles.get_mut(user).ok_or_else(|| Error::new(Code::UserNotFound))?;
        if let Some(changed) = update.change(profile, self.clock.now()) {
            *profile = changed;
            self.outbox.write_change(user.as_str(), profile.updated_at, UserProfileUpdated::from(&*profile));
        }
        Ok(profile.clone())
    }

    async fn delete(&self, user: &UserId) -> Result<Option<Timestamp>> {
        let mut profiles = self.profiles.lock();
        let Some(profile) = profiles.remove(user) else { return Ok(None) };
        let at = profile.next_change(self.clock.now());
        let event = UserProfileDeleted { user_id: profile.id, matricule: profile.matricule };
        self.outbox.write_change(user.as_str(), at, event);
        Ok(Some(at))
    }
}
