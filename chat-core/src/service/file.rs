//! Files: their metadata.

use super::Chat;
use crate::domain::{Actor, ClientKey, FileId, FileRecord};
use crate::error::{Code, Error, Result};
use crate::moderation::Action;
use crate::store::FileStoreExt;

impl Chat {
    /// Registers a file the actor has uploaded somewhere, for the members of its conversation. Who and when are the
    /// chat's to say.
    ///
    /// # Idempotency
    /// By id.
    ///
    /// # Errors
    /// [`Code::Forbidden`]; [`Code::FileInvalid`]; [`Code::Conflict`] when another file has this id.
    pub async fn register_file(&self, actor: &Actor, file: FileRecord) -> Result<FileRecord> {
        self.inner.guard.check(actor, &file.conversation_id, Action::Upload).await?;
        let file =
            FileRecord { uploaded_by: actor.user.clone(), uploaded_at: self.now(), downloads: 0, ..file };
        if self.inner.ports.files.register(&file).await? {
            self.wrote();
        }
        Ok(file)
    }

    /// A file, and one more download of it.
    ///
    /// # Idempotency
    /// By `download`: the same one of the same actor counts once.
    ///
    /// # Errors
    /// [`Code::Forbidden`], whether or not there is such a file.
    pub async fn download_file(
        &self,
        actor: &Actor,
        file: &FileId,
        download: &ClientKey,
    ) -> Result<FileRecord> {
        self.readable(actor, file).await?;
        let download = ClientKey::derived(&[actor.user.as_str(), download.as_str()]);
        let file = self.inner.ports.files.downloaded(file, &actor.user, &download).await?;
        self.wrote();
        Ok(file)
    }

    /// Forgets a file: its uploader may, and those who keep order. `physical` says whether its bytes are to go too.
    ///
    /// # Errors
    /// [`Code::Forbidden`], whether or not there is such a file.
    pub async fn delete_file(&self, actor: &Actor, file: &FileId, physical: bool) -> Result<FileRecord> {
        let record = self.readable(actor, file).await?;
        if record.uploaded_by != actor.user {
            self.inner.guard.check(actor, &record.conversation_id, Action::DeleteAny).await?;
        }
        if self.inner.ports.files.delete(file, &actor.user, physical).await? {
            self.wrote();
        }
        Ok(record)
    }

    async fn readable(&self, actor: &Actor, file: &FileId) -> Result<FileRecord> {
        let record = self.inner.ports.files.get(file).await?.ok_or_else(|| Error::new(Code::Forbidden))?;
        self.inner.guard.check(actor, &record.conversation_id, Action::Read).await?;
        Ok(record)
    }
}
