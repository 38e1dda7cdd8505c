//! The table of permissions: deny by default.

use std::collections::HashSet;

use crate::domain::{ConversationKind, RoomRole};

macro_rules! actions {
    ($($name:ident, $doc:literal;)*) => {
        /// Something somebody wants to do in a conversation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $(#[doc = $doc] $name,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

actions! {
    Read, "Reads, searches, and says how far it has read.";
    Send, "Writes a message.";
    React, "Puts an emoji on a message.";
    Type, "Shows that it is typing.";
    Upload, "Registers a file.";
    EditOwn, "Changes its own message.";
    DeleteOwn, "Deletes its own message for everyone.";
    DeleteAny, "Deletes anybody's message or file.";
    Pin, "Pins a message for everyone.";
    AddMembers, "Lets members in.";
    RemoveMembers, "Takes members of a lower role out.";
    ManageRoles, "Gives members other roles.";
    Rename, "Changes name and picture.";
    Leave, "Leaves.";
    OwnSettings, "Archives, mutes or pins it for itself.";
}

/// Which role may do what in which kind of conversation. What is not in the table is denied.
///
/// ```
/// use chat_core::domain::{ConversationKind, RoomRole};
/// use chat_core::moderation::{Action, PolicyTable};
///
/// let mut policy = PolicyTable::default();
/// assert!(!policy.allows(ConversationKind::Channel, RoomRole::Member, Action::Send));
/// policy.allow(ConversationKind::Channel, RoomRole::Member, Action::Send);
/// assert!(policy.allows(ConversationKind::Channel, RoomRole::Member, Action::Send));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTable {
    allowed: HashSet<(ConversationKind, RoomRole, Action)>,
}

impl PolicyTable {
    /// A table in which nothing is allowed.
    pub fn deny_all() -> Self {
        Self { allowed: HashSet::new() }
    }

    /// Allows an action.
    pub fn allow(&mut self, kind: ConversationKind, role: RoomRole, action: Action) {
        self.allowed.insert((kind, role, action));
    }

    /// Denies an action.
    pub fn deny(&mut self, kind: ConversationKind, role: RoomRole, action: Action) {
        self.allowed.remove(&(kind, role, action));
    }

    /// Whether an action is allowed.
    pub fn allows(&self, kind: ConversationKind, role: RoomRole, action: Action) -> bool {
        self.allowed.contains(&(kind, role, action))
    }
}

impl Default for PolicyTable {
    /// Members take part; moderators keep order; admins decide. In channels and broadcasts members only read and react;
    /// a direct conversation belongs to both alike.
    fn default() -> Self {
        use Action as A;
        use ConversationKind as K;
        let part = [A::Read, A::React, A::Type, A::OwnSettings];
        let speak = [A::Send, A::Upload, A::EditOwn, A::DeleteOwn];
        let order = [A::DeleteAny, A::Pin, A::AddMembers, A::RemoveMembers];
        let decide = [A::ManageRoles, A::Rename];
        let mut table = Self::deny_all();
        for kind in K::ALL {
            for role in RoomRole::ALL {
                let listens = matches!(kind, K::Channel | K::Broadcast) && role == RoomRole::Member;
                let mut actions = part.to_vec();
                if !listens {
                    actions.extend(speak);
                }
                if kind == K::Direct {
                    actions.push(A::Pin);
                } else {
                    actions.push(A::Leave);
                    actions.extend(order.iter().filter(|_| role >= RoomRole::Moderator));
                    actions.extend(decide.iter().filter(|_| role == RoomRole::Admin));
                }
                for action in actions {
                    table.allow(kind, role, action);
                }
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_but_what_the_table_says() {
        let deny = PolicyTable::deny_all();
        let table = PolicyTable::default();
        for kind in ConversationKind::ALL {
            for action in Action::ALL {
                assert!(RoomRole::ALL.iter().all(|role| !deny.allows(kind, *role, *action)));
                let ranks: Vec<bool> =
                    RoomRole::ALL.iter().map(|role| table.allows(kind, *role, *action)).collect();
                assert!(ranks.is_sorted(), "a higher role may do what a lower one may: {kind} {action:?}");
            }
        }
    }

    #[test]
    fn members_of_channels_and_broadcasts_listen() {
        let table = PolicyTable::default();
        for kind in [ConversationKind::Channel, ConversationKind::Broadcast] {
            assert!(!table.allows(kind, RoomRole::Member, Action::Send));
            assert!(table.allows(kind, RoomRole::Moderator, Action::Send));
            assert!(table.allows(kind, RoomRole::Member, Action::React));
        }
        assert!(!table.allows(ConversationKind::Direct, RoomRole::Admin, Action::AddMembers));
    }
}
