//! Exports, synchronisation and repair.

use std::collections::BTreeMap;

use crate::domain::{RoomId, UserId};

payloads! {
    /// An export gets on; for its owner.
    ExportProgress has {
        /// The export.
        pub export_id: String,
        /// Who asked for it.
        pub user_id: UserId,
        /// The room exported.
        pub room_id: RoomId,
        /// How far it is: 0 to 100, never less than before.
        pub percent: u8,
        /// Messages written.
        #[serde(default)]
        pub written: u64,
    }

    /// An export is ready; for its owner.
    ExportCompleted has {
        /// The export.
        pub export_id: String,
        /// Who asked for it.
        pub user_id: UserId,
        /// The room exported.
        pub room_id: RoomId,
        /// Messages written.
        #[serde(default)]
        pub written: u64,
        /// Its size in bytes.
        #[serde(default)]
        pub size: u64,
    }

    /// An export was given up; for its owner.
    ExportFailed has {
        /// The export.
        pub export_id: String,
        /// Who asked for it.
        pub user_id: UserId,
        /// The room exported.
        pub room_id: RoomId,
        /// The error code.
        pub code: String,
    }

    /// Repair found something.
    ChatRecoveryDetected and
    /// Repair is done.
    ChatRecoveryCompleted has {
        /// How many things.
        pub count: u64,
    }

    /// The chat's copy of a room differs from the host's room.
    SyncInconsistencyDetected and
    /// The chat's copy of a room agrees again.
    SyncInconsistencyRepaired has {
        /// The report.
        pub report_id: String,
        /// The room.
        pub room_id: RoomId,
        /// How many differences of each kind.
        #[serde(default)]
        pub kinds: BTreeMap<String, u64>,
        /// How many differences in all.
        pub count: u64,
    }

    /// Writing to a room was stopped, to repair it.
    SyncRoomFrozen and
    /// Writing to a room goes on.
    SyncRoomResumed has {
        /// The report that led to it.
        pub report_id: Option<String>,
        /// The room.
        pub room_id: RoomId,
        /// Which freeze: one more with every freeze and every end of one.
        pub epoch: u64,
        /// How many differences of each kind are open.
        #[serde(default)]
        pub kinds: BTreeMap<String, u64>,
        /// How many differences are open in all.
        #[serde(default)]
        pub count: u64,
    }
}
