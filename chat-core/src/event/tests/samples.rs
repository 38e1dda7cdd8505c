//! One event of every kind, the same on every run.

use std::collections::BTreeMap;

use chat_core::clock::Timestamp;
use chat_core::domain::id::Id;
use chat_core::domain::message::ThreadPlace;
use chat_core::domain::{
    Attachment, ConversationKind, Mentions, MessageId, MessageKind, ReadPosition, RoomRole, Seq,
};
use chat_core::event::*;
use serde_json::json;

/// 2025-01-14T13:40:00.123Z.
pub(crate) fn at() -> Timestamp {
    Timestamp::from_millis(1_736_862_000_123)
}

fn later() -> Timestamp {
    Timestamp::from_millis(1_736_948_400_000)
}

pub(crate) fn id<K>(text: &str) -> Id<K> {
    Id::new(text).unwrap()
}

fn ids<K>(texts: &[&str]) -> Vec<Id<K>> {
    texts.iter().map(|text| id(text)).collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn attachment() -> Attachment {
    Attachment {
        file_id: id("f1"),
        name: "plan.pdf".to_owned(),
        mime_type: "application/pdf".to_owned(),
        size: 2_048,
        url: text("https://files.example/f1"),
        duration_ms: None,
    }
}

/// A message with everything a message can have.
pub(crate) fn message() -> MessageSent {
    MessageSent {
        message_id: id("m1"),
        conversation_id: id("c1"),
        conversation_kind: ConversationKind::Group,
        seq: Seq(42),
        sender_id: Some(id("ann")),
        receiver_id: None,
        kind: MessageKind::File,
        content: "Voilà le plan, \"Bob\" 👍\n— A.".to_owned(),
        attachments: vec![attachment()],
        reply_to: Some(id("m0")),
        thread: Some(ThreadPlace { root: id("m0"), also_in_conversation: true }),
        mentions: Mentions { users: ids(&["bob"]), everyone: false },
        silent: false,
        metadata: BTreeMap::from([("client".to_owned(), "web".to_owned())]),
        client_key: Some(id("tmp-1")),
        timestamp: at(),
    }
}

/// One event of every kind.
pub(crate) fn all() -> Vec<Envelope> {
    let profile = || UserProfileCreated {
        user_id: id("ann"),
        full_name: "Ann Ngo".to_owned(),
        avatar: text("https://img.example/ann"),
        matricule: text("547352Y"),
        ministere: text("MINFI"),
        sexe: text("F"),
        updated_at: at(),
    };
    let report = || ModerationReportOpened {
        report_id: "rep1".to_owned(),
        room_id: id("r1"),
        message_id: Some(id("m1")),
        state: "open".to_owned(),
        resolution: None,
    };
    let kinds = || BTreeMap::from([("ParticipantMissing".to_owned(), 2), ("RoleMismatch".to_owned(), 1)]);
    let (version, source, actor) = (7, || text("room-service"), || Some(id("mod")));

    let events: Vec<Event> = vec![
        message().into(),
        MessageDelivered {
            conversation_id: id("c1"),
            user_id: id("bob"),
            up_to_seq: Seq(42),
            message_ids: CoveredIds::new(ids(&["m0", "m1"])),
            timestamp: at(),
        }
        .into(),
        MessageRead {
            conversation_id: id("c1"),
            reader_id: id("bob"),
            up_to_seq: Seq(42),
            message_ids: CoveredIds::All,
            modified_count: 240,
            read_at: at(),
            position: ReadPosition::at(Seq(42)),
        }
        .into(),
        MessageUnread {
            conversation_id: id("c1"),
            reader_id: id("bob"),
            from_seq: Seq(40),
            position: ReadPosition::at(Seq(42)).rewound_to(Seq(39), Seq(44)),
        }
        .into(),
        MessageEdited {
            message_id: id("m1"),
            conversation_id: id("c1"),
            seq: Seq(42),
            editor_id: id("ann"),
            new_content: "Voilà le plan corrigé".to_owned(),
            mentions: Mentions { users: vec![], everyone: true },
            revision: 1,
            edited_at: at(),
        }
        .into(),
        MessageDeleted {
            message_id: id("m1"),
            conversation_id: id("c1"),
            seq: Seq(42),
            deleter_id: Some(id("ann")),
            delete_type: DeleteType::ForEveryone,
            deleted_at: at(),
        }
        .into(),
        ConversationCreated {
            conversation_id: id("c1"),
            kind: ConversationKind::Group,
            created_by: id("ann"),
            participants: ids(&["ann", "bob"]),
            participant_count: 2,
            name: text("Équipe"),
        }
        .into(),
        ParticipantAdded {
            conversation_id: id("c1"),
            participant_id: id("cyd"),
            participant_name: text("Cyd Ela"),
            added_by: id("ann"),
            role: RoomRole::Moderator,
            added_at: at(),
            total_participants: 3,
            version: 2,
        }
        .into(),
        ParticipantRemoved {
            conversation_id: id("c1"),
            participant_id: id("cyd"),
            participant_name: None,
            removed_by: id("ann"),
            removed_at: at(),
            total_participants: 2,
            version: 3,
        }
        .into(),
        ParticipantLeft {
            conversation_id: id("c1"),
            participant_id: id("bob"),
            participant_name: text("Bob Eto"),
            left_at: at(),
            total_participants: 1,
            version: 4,
        }
        .into(),
        ParticipantRoleChanged {
            conversation_id: id("c1"),
            participant_id: id("bob"),
            role: RoomRole::Admin,
            changed_by: id("ann"),
            version: 5,
        }
        .into(),
        ConversationNameUpdated {
            conversation_id: id("c1"),
            name: "Projet".to_owned(),
            updated_by: id("ann"),
            version: 6,
        }
        .into(),
        ConversationAvatarUpdated {
            conversation_id: id("c1"),
            avatar: None,
            updated_by: id("ann"),
            version: 7,
        }
        .into(),
        ConversationArchived { conversation_id: id("c1"), user_id: id("bob") }.into(),
        ConversationUnarchived { conversation_id: id("c1"), user_id: id("bob") }.into(),
        ConversationMuted { conversation_id: id("c1"), user_id: id("bob"), until: Some(later()) }.into(),
        ConversationUnmuted { conversation_id: id("c1"), user_id: id("bob") }.into(),
        ConversationPinned { conversation_id: id("c1"), user_id: id("bob") }.into(),
        ConversationUnpinned { conversation_id: id("c1"), user_id: id("bob") }.into(),
        ConversationDeleted { conversation_id: id("c1"), deleted_by: Some(id("ann")), deleted_at: at() }
            .into(),
        ConversationUnread {
            conversation_id: id("c1"),
            user_id: id("bob"),
            unread_count: 3,
            mentions: 1,
            total_unread: Some(12),
        }
        .into(),
        MessageReactionAdded {
            message_id: id("m1"),
            conversation_id: id("c1"),
            seq: Seq(42),
            user_id: id("bob"),
            emoji: "👍".to_owned(),
            count: 2,
        }
        .into(),
        MessageReactionRemoved {
            message_id: id("m1"),
            conversation_id: id("c1"),
            seq: Seq(42),
            user_id: id("bob"),
            emoji: "👍".to_owned(),
            count: 1,
        }
        .into(),
        MessagePinned {
            message_id: id("m1"),
            conversation_id: id("c1"),
            user_id: id("ann"),
            until: Some(later()),
        }
        .into(),
        MessageUnpinned { message_id: id("m1"), conversation_id: id("c1"), user_id: id("ann") }.into(),
        MessageRejected {
            conversation_id: id("c1"),
            user_id: id("ann"),
            client_key: Some(id("tmp-2")),
            code: "chat.rate_limited".to_owned(),
            retryable: true,
        }
        .into(),
        FileUploaded {
            file_id: id("f1"),
            conversation_id: id("c1"),
            uploaded_by: id("ann"),
            file_name: "f1.pdf".to_owned(),
            original_name: "plan.pdf".to_owned(),
            mime_type: "application/pdf".to_owned(),
            size: 2_048,
            url: text("https://files.example/f1"),
        }
        .into(),
        FileDeleted {
            file_id: id("f1"),
            conversation_id: id("c1"),
            deleter_id: Some(id("ann")),
            original_name: "plan.pdf".to_owned(),
            mime_type: "application/pdf".to_owned(),
            size: 2_048,
            deleted_at: at(),
            physical_delete: true,
        }
        .into(),
        FileDownloaded {
            file_id: id("f1"),
            conversation_id: Some(id("c1")),
            user_id: id("bob"),
            file_name: "f1.pdf".to_owned(),
            file_size: 2_048,
        }
        .into(),
        MediaReady {
            file_id: id("f2"),
            conversation_id: id("c1"),
            user_id: id("ann"),
            variants: vec!["thumb".to_owned(), "preview".to_owned()],
            width: Some(1_024),
            height: Some(768),
        }
        .into(),
        MediaRejected {
            file_id: id("f2"),
            conversation_id: id("c1"),
            user_id: id("ann"),
            code: "chat.media.too_complex".to_owned(),
        }
        .into(),
        TypingStarted { conversation_id: id("c1"), user_id: id("ann"), thread: None }.into(),
        TypingStopped { conversation_id: id("c1"), user_id: id("ann"), thread: Some(id("m0")) }.into(),
        profile().into(),
        renamed(profile).into(),
        UserProfileDeleted { user_id: id("ann"), matricule: text("547352Y") }.into(),
        PresenceOnline {
            user_id: id("ann"),
            reason: "connected".to_owned(),
            conversations: ids(&["c1", "c2"]),
        }
        .into(),
        PresenceOffline { user_id: id("ann"), reason: "lapsed".to_owned(), conversations: ids(&["c1"]) }
            .into(),
        PresenceIdle { user_id: id("ann"), reason: "inactive".to_owned(), conversations: vec![] }.into(),
        RoomCreated {
            room_id: id("r1"),
            version: 1,
            source: source(),
            actor: actor(),
            name: "Keynote".to_owned(),
            slug: text("keynote"),
            event_id: text("ev1"),
            kind: "event".to_owned(),
            settings: BTreeMap::from([("isPublic".to_owned(), json!(true))]),
        }
        .into(),
        RoomRenamed {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            name: "Opening".to_owned(),
            slug: text("opening"),
        }
        .into(),
        RoomStatusChanged {
            room_id: id("r1"),
            version,
            source: source(),
            actor: None,
            old: RoomStatus::Upcoming,
            new: RoomStatus::Live,
            changed_at: at(),
        }
        .into(),
        RoomSettingsChanged {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            changes: BTreeMap::from([
                ("chatEnabled".to_owned(), json!(false)),
                ("maxParticipants".to_owned(), json!(500)),
            ]),
        }
        .into(),
        RoomPermissionsUpdated {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            granted: vec!["DeleteMessage".to_owned()],
            revoked: vec![],
            expires_at: Some(later()),
        }
        .into(),
        RoomParticipantAdded {
            room_id: id("r1"),
            version,
            source: None,
            actor: None,
            user_id: id("bob"),
            role: "room_speaker".to_owned(),
            joined_at: at(),
            via: JoinedVia::Invite,
        }
        .into(),
        RoomParticipantRemoved {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            cause: RemovalCause::RoomDeleted,
            removed_at: at(),
        }
        .into(),
        RoomParticipantRoleChanged {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            old_role: text("participant"),
            new_role: "room_moderator".to_owned(),
        }
        .into(),
        RoomParticipantBanned {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            sanction_id: "s1".to_owned(),
            until: Some(later()),
            reason_code: text("spam"),
            scope: text("room"),
        }
        .into(),
        RoomParticipantUnbanned {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            sanction_id: "s1".to_owned(),
        }
        .into(),
        RoomParticipantMuted {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            sanction_id: "s2".to_owned(),
            until: None,
        }
        .into(),
        RoomParticipantUnmuted {
            room_id: id("r1"),
            version,
            source: source(),
            actor: actor(),
            user_id: id("bob"),
            sanction_id: "s2".to_owned(),
        }
        .into(),
        RoomIdle { room_id: id("r1"), version, source: source(), actor: None, at: at() }.into(),
        RoomArchived { room_id: id("r1"), version, source: source(), actor: actor(), at: at() }.into(),
        RoomUnarchived { room_id: id("r1"), version, source: source(), actor: actor(), at: at() }.into(),
        RoomDeleted { room_id: id("r1"), version, source: source(), actor: actor(), at: at() }.into(),
        ChatModerationContentFlagged {
            message_id: id("m1"),
            room_id: id("r1"),
            user_id: id("bob"),
            violations: vec!["links".to_owned(), "caps".to_owned()],
        }
        .into(),
        ChatModerationAction {
            action: "mute".to_owned(),
            room_id: id("r1"),
            target_user_id: Some(id("bob")),
            moderator_id: Some(id("mod")),
            reason: text("spam"),
            duration: Some(10),
            message_id: Some(id("m1")),
        }
        .into(),
        ChatMessageDeleted { message_id: id("m1"), room_id: id("r1"), reason: text("spam") }.into(),
        ChatNotificationCreated {
            notification_id: "n1".to_owned(),
            user_id: id("bob"),
            kind: "mention".to_owned(),
            priority: Priority::High,
            title: text("Ann"),
            content: text("@bob"),
            room_id: Some(id("r1")),
            message_id: Some(id("m1")),
        }
        .into(),
        ChatRecoveryDetected { count: 3 }.into(),
        ChatRecoveryCompleted { count: 3 }.into(),
        report().into(),
        assigned(report).into(),
        ModerationReportResolved {
            report_id: "rep1".to_owned(),
            room_id: id("r1"),
            message_id: Some(id("m1")),
            state: "resolved".to_owned(),
            resolution: text("message_deleted"),
        }
        .into(),
        ModerationReportDismissed {
            report_id: "rep2".to_owned(),
            room_id: id("r1"),
            message_id: None,
            state: "dismissed".to_owned(),
            resolution: None,
        }
        .into(),
        ExportProgress {
            export_id: "x1".to_owned(),
            user_id: id("ann"),
            room_id: id("r1"),
            percent: 40,
            written: 4_000,
        }
        .into(),
        ExportCompleted {
            export_id: "x1".to_owned(),
            user_id: id("ann"),
            room_id: id("r1"),
            written: 10_000,
            size: 1_048_576,
        }
        .into(),
        ExportFailed {
            export_id: "x2".to_owned(),
            user_id: id("ann"),
            room_id: id("r1"),
            code: "chat.export.too_large".to_owned(),
        }
        .into(),
        SyncInconsistencyDetected { report_id: "i1".to_owned(), room_id: id("r1"), kinds: kinds(), count: 3 }
            .into(),
        SyncInconsistencyRepaired { report_id: "i1".to_owned(), room_id: id("r1"), kinds: kinds(), count: 3 }
            .into(),
        SyncRoomFrozen { report_id: text("i1"), room_id: id("r1"), epoch: 1, kinds: kinds(), count: 3 }
            .into(),
        SyncRoomResumed {
            report_id: text("i1"),
            room_id: id("r1"),
            epoch: 2,
            kinds: BTreeMap::new(),
            count: 0,
        }
        .into(),
    ];
    events.into_iter().map(|event| Envelope::new(&["sample"], at(), event).with_trace("trace-1")).collect()
}

fn renamed(profile: impl Fn() -> UserProfileCreated) -> UserProfileUpdated {
    let UserProfileCreated { user_id, full_name, matricule, ministere, sexe, updated_at, .. } = profile();
    UserProfileUpdated { user_id, full_name, avatar: None, matricule, ministere, sexe, updated_at }
}

fn assigned(report: impl Fn() -> ModerationReportOpened) -> ModerationReportAssigned {
    let ModerationReportOpened { report_id, room_id, message_id, resolution, .. } = report();
    ModerationReportAssigned { report_id, room_id, message_id, state: "in_review".to_owned(), resolution }
}

/// A message in this kind of conversation, and of this kind.
pub(crate) fn message_in(conversation_kind: ConversationKind, kind: MessageKind) -> Event {
    MessageSent { conversation_kind, kind, message_id: MessageId::from_uuid(Default::default()), ..message() }
        .into()
}
