//! What making and changing a conversation does: the rules all backends share, over what they have loaded.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::{ActivityCursor, Change, ConversationCursor, ConversationFilter, NewConversation, NewMember};
use crate::clock::Timestamp;
use crate::domain::conversation::{check_avatar, check_name};
use crate::domain::{
    Conversation, ConversationKind, LastActivity, Member, MemberSettings, Mute, RoomRole, Seq, UserId,
};
use crate::error::{Code, Error, Result};
use crate::event::{
    ConversationArchived, ConversationAvatarUpdated, ConversationCreated, ConversationMuted,
    ConversationNameUpdated, ConversationPinned, ConversationUnarchived, ConversationUnmuted,
    ConversationUnpinned, Event, ParticipantAdded, ParticipantLeft, ParticipantRemoved,
    ParticipantRoleChanged,
};

impl NewConversation {
    /// # Errors
    /// [`Code::ConversationInvalid`] for a name or picture that no conversation may have.
    pub fn check(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        self.avatar.as_deref().map_or(Ok(()), check_avatar)
    }

    /// The conversation and its members as they begin, in the order of their ids, and the event of it.
    ///
    /// # Errors
    /// [`Code::MemberLimit`].
    pub fn begin(&self, now: Timestamp) -> Result<(Conversation, Vec<Member>, ConversationCreated)> {
        let members: BTreeMap<_, _> =
            self.members.iter().map(|member| (&member.user, joined(member, Seq::ZERO, 1, now))).collect();
        if members.len() > self.max_members as usize {
            return Err(Error::new(Code::MemberLimit).with("max", self.max_members));
        }
        let conversation = Conversation {
            id: self.id.clone(),
            kind: self.kind,
            name: self.name.clone(),
            avatar: self.avatar.clone(),
            created_by: self.created_by.clone(),
            created_at: now,
            member_count: u32::try_from(members.len()).unwrap_or(u32::MAX),
            max_members: self.max_members,
            version: 1,
            last_activity: LastActivity { at: now, seq: Seq::ZERO, message_id: None },
        };
        let named = self.members.iter().map(|member| member.user.clone());
        let event = ConversationCreated::new(&conversation, named);
        Ok((conversation, members.into_values().collect(), event))
    }

    /// Whether it asks for what is there already.
    pub fn is_again(&self, there: &Conversation, is_member: impl Fn(&UserId) -> bool) -> bool {
        there.kind == self.kind
            && if there.kind == ConversationKind::Direct {
                self.members.iter().all(|member| is_member(&member.user))
            } else {
                there.created_by == self.created_by
            }
    }
}

/// What decides about a change.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The conversation.
    pub conversation: Conversation,
    /// How many of its members are admins.
    pub admins: u32,
    /// Of those the change [concerns](Change::concerns), the members.
    pub members: BTreeMap<UserId, Member>,
    /// What the one who makes the change keeps for itself.
    pub settings: MemberSettings,
}

/// What a change does.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The conversation then.
    pub conversation: Conversation,
    /// How many of its members are admins then.
    pub admins: u32,
    /// What becomes of its members.
    pub effect: Effect,
    /// What is to be told, in this order; nothing when it was so already. What is for everybody has the versions that
    /// follow on the one before, one each.
    pub events: Vec<Event>,
}

/// What a change does to members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Lets these in.
    In(Vec<Member>),
    /// Takes this one out.
    Out(Member),
    /// Gives this one another role.
    Role(Member),
    /// The one who makes the change keeps this for itself.
    Own(MemberSettings),
}

impl Effect {
    /// The members that were let in, taken out or given another role.
    pub fn into_members(self) -> Vec<Member> {
        match self {
            Self::In(members) => members,
            Self::Out(member) | Self::Role(member) => vec![member],
            Self::None | Self::Own(_) => Vec::new(),
        }
    }
}

impl Change {
    /// Whose membership decides about it.
    pub fn concerns<'a>(&'a self, by: &'a UserId) -> Vec<&'a UserId> {
        match self {
            Self::Rename(_) | Self::SetAvatar(_) => Vec::new(),
            Self::Add { members, .. } => members.iter().map(|member| &member.user).collect(),
            Self::Remove { user, .. } | Self::SetRole { user, .. } => vec![user],
            Self::Leave { .. } | Self::Archive(_) | Self::Mute(_) | Self::Pin(_) => vec![by],
        }
    }

    /// Whether only the one who makes it sees it.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Archive(_) | Self::Mute(_) | Self::Pin(_))
    }

    /// What it does.
    ///
    /// # Errors
    /// Those of [`ConversationStore::change`](super::ConversationStore::change).
    pub fn decide(&self, standing: Standing, by: &UserId, now: Timestamp) -> Result<Outcome> {
        let Standing { conversation, admins, members, settings } = standing;
        let outcome = Outcome { conversation, admins, effect: Effect::None, events: Vec::new() };
        match self {
            Self::Rename(name) => outcome.rename(by, name),
            Self::SetAvatar(avatar) => outcome.set_avatar(by, avatar.as_deref()),
            Self::Add { members: new, head } => outcome.add(by, new, *head, &members, now),
            Self::Remove { user, name } => outcome.remove(members.get(user), |conversation, version| {
                ParticipantRemoved {
                    conversation_id: conversation.id.clone(),
                    participant_id: user.clone(),
                    participant_name: name.clone(),
                    removed_by: by.clone(),
                    removed_at: now,
                    total_participants: u64::from(conversation.member_count),
                    version,
                }
                .into()
            }),
            Self::Leave { name } => outcome.remove(members.get(by), |conversation, version| {
                ParticipantLeft {
                    conversation_id: conversation.id.clone(),
                    participant_id: by.clone(),
                    participant_name: name.clone(),
                    left_at: now,
                    total_participants: u64::from(conversation.member_count),
                    version,
                }
                .into()
            }),
            Self::SetRole { user, role } => outcome.set_role(by, members.get(user), *role),
            Self::Archive(_) | Self::Mute(_) | Self::Pin(_) if !members.contains_key(by) => {
                Err(Code::RoomNotMember.into())
            }
            Self::Archive(on) => Ok(outcome.keep(settings, MemberSettings { archived: *on, ..settings }, by)),
            Self::Mute(mute) => Ok(outcome.keep(settings, MemberSettings { muted: *mute, ..settings }, by)),
            Self::Pin(on) => Ok(outcome.keep(settings, MemberSettings { pinned: *on, ..settings }, by)),
        }
    }
}

impl Outcome {
    /// Refuses what is for everybody on a direct conversation.
    fn check_open(&self) -> Result<()> {
        if self.conversation.kind == ConversationKind::Direct {
            return Err(Error::invalid(Code::ConversationInvalid, "a direct conversation stays as it is"));
        }
        Ok(())
    }

    /// The next version.
    fn bump(&mut self) -> Result<u64> {
        self.check_open()?;
        self.conversation.version += 1;
        Ok(self.conversation.version)
    }

    fn rename(mut self, by: &UserId, name: &str) -> Result<Self> {
        check_name(name)?;
        self.check_open()?;
        if self.conversation.name.as_deref() == Some(name) {
            return Ok(self);
        }
        let version = self.bump()?;
        self.conversation.name = Some(name.to_owned());
        let (conversation_id, updated_by) = (self.conversation.id.clone(), by.clone());
        let name = name.to_owned();
        self.events.push(ConversationNameUpdated { conversation_id, name, updated_by, version }.into());
        Ok(self)
    }

    fn set_avatar(mut self, by: &UserId, avatar: Option<&str>) -> Result<Self> {
        avatar.map_or(Ok(()), check_avatar)?;
        self.check_open()?;
        if self.conversation.avatar.as_deref() == avatar {
            return Ok(self);
        }
        let version = self.bump()?;
        self.conversation.avatar = avatar.map(str::to_owned);
        let (conversation_id, updated_by) = (self.conversation.id.clone(), by.clone());
        let avatar = avatar.map(str::to_owned);
        self.events.push(ConversationAvatarUpdated { conversation_id, avatar, updated_by, version }.into());
        Ok(self)
    }

    fn add(
        mut self,
        by: &UserId,
        new: &[NewMember],
        head: Seq,
        members: &BTreeMap<UserId, Member>,
        now: Timestamp,
    ) -> Result<Self> {
        let (mut joining, mut seen) = (Vec::new(), BTreeSet::new());
        for member in new {
            if members.contains_key(&member.user) || !seen.insert(&member.user) {
                continue;
            }
            let version = self.bump()?;
            if self.conversation.member_count >= self.conversation.max_members {
                return Err(Error::new(Code::MemberLimit).with("max", self.conversation.max_members));
            }
            self.conversation.member_count += 1;
            self.admins += u32::from(member.role == RoomRole::Admin);
            joining.push(joined(member, head, version, now));
            self.events.push(
                ParticipantAdded {
                    conversation_id: self.conversation.id.clone(),
                    participant_id: member.user.clone(),
                    participant_name: member.name.clone(),
                    added_by: by.clone(),
                    role: member.role,
                    added_at: now,
                    total_participants: u64::from(self.conversation.member_count),
                    version,
                }
                .into(),
            );
        }
        if !joining.is_empty() {
            self.effect = Effect::In(joining);
        }
        Ok(self)
    }

    /// Refuses to take the last admin's role while others are in.
    fn check_last_admin(&self, member: &Member) -> Result<()> {
        let is_last =
            member.role == RoomRole::Admin && self.admins <= 1 && self.conversation.member_count > 1;
        if is_last { Err(Code::MemberLastAdmin.into()) } else { Ok(()) }
    }

    fn remove(
        mut self,
        member: Option<&Member>,
        event: impl FnOnce(&Conversation, u64) -> Event,
    ) -> Result<Self> {
        let Some(member) = member else { return Ok(self) };
        self.check_last_admin(member)?;
        let version = self.bump()?;
        self.conversation.member_count = self.conversation.member_count.saturating_sub(1);
        self.admins = self.admins.saturating_sub(u32::from(member.role == RoomRole::Admin));
        self.events.push(event(&self.conversation, version));
        self.effect = Effect::Out(Member { version, ..member.clone() });
        Ok(self)
    }

    fn set_role(mut self, by: &UserId, member: Option<&Member>, role: RoomRole) -> Result<Self> {
        let member = member.ok_or_else(|| Error::new(Code::RoomNotMember))?;
        if member.role == role {
            return Ok(self);
        }
        if role < RoomRole::Admin {
            self.check_last_admin(member)?;
        }
        let version = self.bump()?;
        self.admins = self.admins.saturating_sub(u32::from(member.role == RoomRole::Admin));
        self.admins += u32::from(role == RoomRole::Admin);
        let (conversation_id, changed_by) = (self.conversation.id.clone(), by.clone());
        let participant_id = member.user_id.clone();
        let event = ParticipantRoleChanged { conversation_id, participant_id, role, changed_by, version };
        self.events.push(event.into());
        self.effect = Effect::Role(Member { role, version, ..member.clone() });
        Ok(self)
    }

    /// A member's own setting: one of them, at most, is another.
    fn keep(mut self, before: MemberSettings, after: MemberSettings, by: &UserId) -> Self {
        if before == after {
            return self;
        }
        let (conversation_id, user_id) = (self.conversation.id.clone(), by.clone());
        let event: Event = if before.archived != after.archived {
            if after.archived {
                ConversationArchived { conversation_id, user_id }.into()
            } else {
                ConversationUnarchived { conversation_id, user_id }.into()
            }
        } else if before.pinned != after.pinned {
            if after.pinned {
                ConversationPinned { conversation_id, user_id }.into()
            } else {
                ConversationUnpinned { conversation_id, user_id }.into()
            }
        } else {
            match after.muted {
                Some(Mute::Always) => ConversationMuted { conversation_id, user_id, until: None }.into(),
                Some(Mute::Until(until)) => {
                    ConversationMuted { conversation_id, user_id, until: Some(until) }.into()
                }
                None => ConversationUnmuted { conversation_id, user_id }.into(),
            }
        };
        self.events.push(event);
        self.effect = Effect::Own(after);
        self
    }
}

fn joined(member: &NewMember, head: Seq, version: u64, now: Timestamp) -> Member {
    Member { user_id: member.user.clone(), role: member.role, joined_at: now, joined_seq: head, version }
}

impl ConversationFilter {
    /// Whether it lets such a conversation pass.
    pub fn admits(&self, kind: ConversationKind, archived: bool) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind) && self.archived.is_none_or(|wanted| wanted == archived)
    }
}

/// The order of lists: pinned first, then newest activity first, then by id.
impl Ord for ConversationCursor {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = other.at.cmp(&self.at).then_with(|| self.id.cmp(&other.id));
        other.pinned.cmp(&self.pinned).then(by_time)
    }
}

impl PartialOrd for ConversationCursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ActivityCursor {
    /// Where a conversation stands among those with a message since then; nowhere if it is none of them.
    pub fn of(conversation: &Conversation, since: Timestamp) -> Option<Self> {
        let LastActivity { at, seq, .. } = conversation.last_activity;
        (seq > Seq::ZERO && at >= since).then(|| Self { at, id: conversation.id.clone() })
    }
}

/// The order of what was active lately: newest first, then by id.
impl Ord for ActivityCursor {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for ActivityCursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
