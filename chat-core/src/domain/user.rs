//! A user's profile: the fields of seed 002.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::UserId;
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};

/// What others may know of a user. Field names are those of seed 002's profile hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserProfile {
    /// Whose profile.
    pub id: UserId,
    /// First and last name as shown.
    pub full_name: String,
    /// Address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// Staff number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matricule: Option<String>,
    /// Ministry or department.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ministere: Option<String>,
    /// Sex, as the host writes it (`M`, `F`, `O`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sexe: Option<String>,
    /// When it last changed: a cache keeps the newer of two profiles.
    pub updated_at: Timestamp,
}

impl UserProfile {
    /// A profile with a name and nothing else.
    pub fn new(id: UserId, full_name: impl Into<String>, updated_at: Timestamp) -> Self {
        Self {
            id,
            full_name: full_name.into(),
            avatar: None,
            matricule: None,
            ministere: None,
            sexe: None,
            updated_at,
        }
    }

    /// When it changes next, or is deleted, at `now`: always later than the change before, whatever the clocks say.
    pub fn next_change(&self, now: Timestamp) -> Timestamp {
        now.max(self.updated_at.after(Duration::from_millis(1)))
    }
}

/// A change to a profile: `None` leaves a field, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProfileUpdate {
    /// A new name: 1 to 200 characters.
    pub full_name: Option<String>,
    /// A new picture.
    #[serde(deserialize_with = "present")]
    pub avatar: Option<Option<String>>,
    /// A new staff number.
    #[serde(deserialize_with = "present")]
    pub matricule: Option<Option<String>>,
    /// A new ministry or department.
    #[serde(deserialize_with = "present")]
    pub ministere: Option<Option<String>>,
    /// A new sex.
    #[serde(deserialize_with = "present")]
    pub sexe: Option<Option<String>>,
}

/// Tells `null` (clear) from an absent field (leave).
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl ProfileUpdate {
    /// # Errors
    /// [`Code::UserInvalid`] when a field is empty, or too long: 200 characters, 2 048 for the picture.
    pub fn check(&self) -> Result<()> {
        let fields = [
            (self.full_name.as_ref(), 200, "fullName"),
            (self.avatar.as_ref().and_then(Option::as_ref), 2_048, "avatar"),
            (self.matricule.as_ref().and_then(Option::as_ref), 200, "matricule"),
            (self.ministere.as_ref().and_then(Option::as_ref), 200, "ministere"),
            (self.sexe.as_ref().and_then(Option::as_ref), 20, "sexe"),
        ];
        for (value, max, name) in fields {
            if let Some(text) = value
                && (text.trim().is_empty() || text.chars().count() > max)
            {
                return Err(Error::invalid(
                    Code::UserInvalid,
                    format!("{name} must have 1 to {max} characters"),
                ));
            }
        }
        Ok(())
    }

    /// The profile after this change at `now`; `None` when it is so already.
    pub fn change(&self, profile: &UserProfile, now: Timestamp) -> Option<UserProfile> {
        let changed = self.apply(profile, profile.updated_at);
        (changed != *profile).then(|| UserProfile { updated_at: profile.next_change(now), ..changed })
    }

    /// The profile after this change.
    pub fn apply(&self, profile: &UserProfile, at: Timestamp) -> UserProfile {
        let pick =
            |new: &Option<Option<String>>, old: &Option<String>| new.clone().unwrap_or_else(|| old.clone());
        UserProfile {
            id: profile.id.clone(),
            full_name: self.full_name.clone().unwrap_or_else(|| profile.full_name.clone()),
            avatar: pick(&self.avatar, &profile.avatar),
            matricule: pick(&self.matricule, &profile.matricule),
            ministere: pick(&self.ministere, &profile.ministere),
            sexe: pick(&self.sexe, &profile.sexe),
            updated_at: at,
        }
    }
}
