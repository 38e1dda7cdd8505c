//! Files and media.

use crate::clock::Timestamp;
use crate::domain::{ConversationId, FileId, FileRecord, UserId};

payloads! {
    /// A file was registered.
    FileUploaded has {
        /// The file.
        pub file_id: FileId,
        /// The conversation whose members may read it.
        pub conversation_id: ConversationId,
        /// Who brought it.
        pub uploaded_by: UserId,
        /// The name it is stored under.
        pub file_name: String,
        /// The name it had on the user's machine.
        pub original_name: String,
        /// Its media type, as declared.
        pub mime_type: String,
        /// Its size in bytes.
        pub size: u64,
        /// Where it can be fetched.
        pub url: Option<String>,
    }

    /// A file was deleted.
    FileDeleted has {
        /// The file.
        pub file_id: FileId,
        /// The conversation it belonged to.
        pub conversation_id: ConversationId,
        /// Who deleted it; none when retention did.
        pub deleter_id: Option<UserId>,
        /// The name it had on the user's machine.
        #[serde(default)]
        pub original_name: String,
        /// Its media type, as declared.
        #[serde(default)]
        pub mime_type: String,
        /// Its size in bytes.
        #[serde(default)]
        pub size: u64,
        /// When.
        pub deleted_at: Timestamp,
        /// Whether the bytes are gone too.
        #[serde(default)]
        pub physical_delete: bool,
    }

    /// A file was fetched.
    FileDownloaded has {
        /// The file.
        pub file_id: FileId,
        /// The conversation it belongs to, if known.
        pub conversation_id: Option<ConversationId>,
        /// Who fetched it.
        pub user_id: UserId,
        /// The name it is stored under.
        #[serde(default)]
        pub file_name: String,
        /// Its size in bytes.
        #[serde(default)]
        pub file_size: u64,
    }

    /// An uploaded file was checked and may be shown.
    MediaReady has {
        /// The file.
        pub file_id: FileId,
        /// The conversation it belongs to.
        pub conversation_id: ConversationId,
        /// Who brought it.
        pub user_id: UserId,
        /// The variants that can be fetched, such as `thumb`.
        #[serde(default)]
        pub variants: Vec<String>,
        /// Its width in pixels, of pictures.
        pub width: Option<u32>,
        /// Its height in pixels, of pictures.
        pub height: Option<u32>,
    }

    /// An uploaded file was refused.
    MediaRejected has {
        /// The file.
        pub file_id: FileId,
        /// The conversation it was meant for.
        pub conversation_id: ConversationId,
        /// Who brought it.
        pub user_id: UserId,
        /// The error code.
        pub code: String,
    }
}

impl From<&FileRecord> for FileUploaded {
    fn from(file: &FileRecord) -> Self {
        Self {
            file_id: file.file_id.clone(),
            conversation_id: file.conversation_id.clone(),
            uploaded_by: file.uploaded_by.clone(),
            file_name: file.file_name.clone(),
            original_name: file.original_name.clone(),
            mime_type: file.mime_type.clone(),
            size: file.size,
            url: file.url.clone(),
        }
    }
}

impl FileDownloaded {
    /// A download of `file`.
    pub fn new(file: &FileRecord, user_id: UserId) -> Self {
        Self {
            file_id: file.file_id.clone(),
            conversation_id: Some(file.conversation_id.clone()),
            user_id,
            file_name: file.file_name.clone(),
            file_size: file.size,
        }
    }
}

impl FileDeleted {
    /// The end of `file`.
    pub fn new(
        file: &FileRecord,
        deleter_id: Option<UserId>,
        deleted_at: Timestamp,
        physical_delete: bool,
    ) -> Self {
        Self {
            file_id: file.file_id.clone(),
            conversation_id: file.conversation_id.clone(),
            deleter_id,
            original_name: file.original_name.clone(),
            mime_type: file.mime_type.clone(),
            size: file.size,
            deleted_at,
            physical_delete,
        }
    }
}
