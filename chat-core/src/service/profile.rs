//! Profiles: a cache in front of the truth (seed 002).

use super::{Chat, derived};
use crate::domain::user::ProfileUpdate;
use crate::domain::{Actor, PlatformRole, UserId, UserProfile};
use crate::error::{Code, Error, Result};
use crate::store::UserStoreExt;

impl Chat {
    /// Profiles by id, in the order asked: from the cache, else from the truth, whose answer is kept. Many callers in one
    /// process are one question to the truth for each user.
    ///
    /// # Errors
    /// Those of the source; a failing cache is passed by.
    pub async fn profiles(&self, users: &[UserId]) -> Result<Vec<Option<UserProfile>>> {
        let ports = &self.inner.ports;
        let mut profiles = match ports.users.get_many(users).await {
            Ok(profiles) => profiles,
            Err(error) => {
                derived::<()>("profiles", Err(error));
                vec![None; users.len()]
            }
        };
        let missing: Vec<UserId> = profiles
            .iter()
            .zip(users)
            .filter(|(profile, _)| profile.is_none())
            .map(|(_, id)| id.clone())
            .collect();
        metrics::counter!("chat_profile_hits_total").increment((users.len() - missing.len()) as u64);
        metrics::counter!("chat_profile_misses_total").increment(missing.len() as u64);
        if missing.is_empty() {
            return Ok(profiles);
        }
        let fetched = self.inner.lookups.fetch(&ports.source, &missing).await?;
        if !fetched.is_empty() {
            let known: Vec<UserProfile> = fetched.values().cloned().collect();
            derived("profiles", ports.users.put_many(&known).await);
        }
        for (profile, user) in profiles.iter_mut().zip(users) {
            if profile.is_none() {
                *profile = fetched.get(user).cloned();
            }
        }
        Ok(profiles)
    }

    /// Changes a profile: one's own, or anybody's as a platform admin. Truth, then cache; the event follows from truth.
    /// A profile that is not there is made, if the update names it.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::UserInvalid`]; [`Code::UserNotFound`] when there is none and no name for it.
    pub async fn update_profile(
        &self,
        actor: &Actor,
        user: &UserId,
        update: &ProfileUpdate,
    ) -> Result<UserProfile> {
        if actor.user != *user && actor.role != PlatformRole::Admin {
            return Err(Code::Forbidden.into());
        }
        update.check()?;
        let source = &self.inner.ports.source;
        let profile = match source.update(user, update).await {
            Err(error) if error.code() == Code::UserNotFound => {
                let name = update.full_name.clone().ok_or_else(|| Error::new(Code::UserNotFound))?;
                let empty = UserProfile::new(user.clone(), name, self.now());
                match source.create_many(&[update.apply(&empty, self.now())]).await {
                    // Where others make users, there is none.
                    Err(refusal) if refusal.code() == Code::Unsupported => return Err(error),
                    made => made?,
                };
                source.update(user, update).await?
            }
            outcome => outcome?,
        };
        self.inner.lookups.forget(user);
        self.wrote();
        derived("profiles", self.inner.ports.users.put(&profile).await);
        Ok(profile)
    }

    /// Makes a profile for a user who has none yet, such as from the name in a token. Where the source does not make users,
    /// nothing happens.
    ///
    /// # Errors
    /// [`Code::UserInvalid`]; those of the source.
    pub async fn ensure_profile(&self, user: &UserId, full_name: &str) -> Result<()> {
        if self.profiles(std::slice::from_ref(user)).await?.iter().any(Option::is_some) {
            return Ok(());
        }
        ProfileUpdate { full_name: Some(full_name.to_owned()), ..ProfileUpdate::default() }.check()?;
        let profile = UserProfile::new(user.clone(), full_name, self.now());
        let made = match self.inner.ports.source.create_many(&[profile]).await {
            Err(error) if error.code() == Code::Unsupported => return Ok(()),
            made => made?,
        };
        self.inner.lookups.forget(user);
        if made.contains(&true) {
            self.wrote();
        }
        Ok(())
    }

    /// Deletes a profile everywhere: one's own, or anybody's as a platform admin. Says whether there was one.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub async fn delete_profile(&self, actor: &Actor, user: &UserId) -> Result<bool> {
        if actor.user != *user && actor.role != PlatformRole::Admin {
            return Err(Code::Forbidden.into());
        }
        let Some(at) = self.inner.ports.source.delete(user).await? else { return Ok(false) };
        self.inner.lookups.forget(user);
        self.wrote();
        // A deleted profile must not be shown again, so this one may not lag.
        self.inner.ports.users.remove_many(&[(user.clone(), at)]).await?;
        Ok(true)
    }
}
