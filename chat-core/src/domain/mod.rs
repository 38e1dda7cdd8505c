//! The language of chat: pure values with total constructors. No async, no storage, no clock.

pub mod audit;
pub mod conversation;
pub mod file;
pub mod freshness;
pub mod id;
pub mod member;
pub mod message;
pub mod page;
pub mod position;
pub mod presence;
pub mod role;
pub mod text;
pub mod user;

pub use audit::{AuditAction, AuditActor, AuditEntry, AuditRecord, AuditState, AuditTrigger};
pub use conversation::{Conversation, ConversationKind, LastActivity};
pub use file::{Attachment, FileRecord};
pub use freshness::Freshness;
pub use id::{
    AuditId, ClientKey, ConversationId, DeviceId, EventId, FileId, MessageId, RoomId, Seq, SessionId, UserId,
};
pub use member::{Member, MemberSettings, Mute};
pub use message::{Mentions, Message, MessageKind};
pub use page::{Page, Paged};
pub use position::{ReadPosition, Receipts, Unread};
pub use presence::{Device, Presence, PresenceStatus, Transition, Visibility};
pub use role::{Actor, PlatformRole, RoomRole};
pub use user::UserProfile;
