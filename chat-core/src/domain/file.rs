//! Files: their metadata. Bytes are kept elsewhere.

use serde::{Deserialize, Serialize};

use super::id::{ConversationId, FileId, UserId};
use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};

/// The largest file a record may describe: 100 MiB, as in the seed's schema.
pub const MAX_FILE_BYTES: u64 = 100 * 1024 * 1024;

/// What is known of an uploaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRecord {
    /// Its id.
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
    /// Where it can be fetched, if the host says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When it was registered.
    pub uploaded_at: Timestamp,
    /// How often it was downloaded.
    #[serde(default)]
    pub downloads: u64,
}

impl FileRecord {
    /// # Errors
    /// [`Code::FileInvalid`] for names outside 1 to 255 characters, media types outside 1 to 100, addresses
    /// above 2 048, or a size above [`MAX_FILE_BYTES`].
    pub fn check(&self) -> Result<()> {
        let fits = |text: &str, max: usize| (1..=max).contains(&text.chars().count());
        let problem = if !fits(&self.file_name, 255) || !fits(&self.original_name, 255) {
            "a name must have 1 to 255 characters"
        } else if !fits(&self.mime_type, 100) {
            "the media type must have 1 to 100 characters"
        } else if self.url.as_ref().is_some_and(|url| !fits(url, 2_048)) {
            "the address must have 1 to 2048 characters"
        } else if self.size > MAX_FILE_BYTES {
            "larger than 100 MiB"
        } else {
            return Ok(());
        };
        Err(Error::invalid(Code::FileInvalid, problem))
    }

    /// Whether `other` registers this file once more: the same, but for when and how often it was downloaded.
    pub fn is_same_file(&self, other: &Self) -> bool {
        *self == Self { downloads: self.downloads, uploaded_at: self.uploaded_at, ..other.clone() }
    }
}

/// A file as it hangs on a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The registered file.
    pub file_id: FileId,
    /// Its name as shown.
    pub name: String,
    /// Its media type.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Playing time in milliseconds, of audio and video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl From<&FileRecord> for Attachment {
    fn from(file: &FileRecord) -> Self {
        Self {
            file_id: file.file_id.clone(),
            name: file.original_name.clone(),
            mime_type: file.mime_type.clone(),
            size: file.size,
            url: file.url.clone(),
            duration_ms: None,
        }
    }
}
