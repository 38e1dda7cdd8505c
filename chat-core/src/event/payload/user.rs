//! Profiles: the fields of seed 002.

use crate::clock::Timestamp;
use crate::domain::{UserId, UserProfile};

payloads! {
    /// A profile came into being.
    UserProfileCreated and
    /// A profile changed; the whole of it from now on.
    UserProfileUpdated has {
        /// Whose profile.
        pub user_id: UserId,
        /// First and last name as shown.
        pub full_name: String,
        /// Address of a picture.
        pub avatar: Option<String>,
        /// Staff number.
        pub matricule: Option<String>,
        /// Ministry or department.
        pub ministere: Option<String>,
        /// Sex, as the host writes it.
        pub sexe: Option<String>,
        /// When it changed: a cache keeps the newer of two profiles.
        pub updated_at: Timestamp,
    }

    /// A profile is no more.
    UserProfileDeleted has {
        /// Whose profile.
        pub user_id: UserId,
        /// Staff number, by which some caches know it.
        pub matricule: Option<String>,
    }
}

macro_rules! profile {
    ($($name:ident)*) => {$(
        impl From<&UserProfile> for $name {
            fn from(profile: &UserProfile) -> Self {
                Self {
                    user_id: profile.id.clone(),
                    full_name: profile.full_name.clone(),
                    avatar: profile.avatar.clone(),
                    matricule: profile.matricule.clone(),
                    ministere: profile.ministere.clone(),
                    sexe: profile.sexe.clone(),
                    updated_at: profile.updated_at,
                }
            }
        }

        impl From<$name> for UserProfile {
            fn from(event: $name) -> Self {
                let $name { user_id, full_name, avatar, matricule, ministere, sexe, updated_at } = event;
                Self { id: user_id, full_name, avatar, matricule, ministere, sexe, updated_at }
            }
        }
    )*};
}

profile! { UserProfileCreated UserProfileUpdated }
