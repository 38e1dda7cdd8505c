//! [`FileStore`]: the truth about files. Their bytes are kept elsewhere.

use std::future::Future;

use super::only;
use crate::domain::page::{Page, Paged};
use crate::domain::{ClientKey, ConversationId, FileId, FileRecord, UserId};
use crate::error::Result;

/// How many downloads of a file are remembered to recognise a repeat.
pub const REMEMBERED_DOWNLOADS: usize = 1_000;

port! {
    /// What files there are; kind of state: **truth**. Every change writes its event to the
    /// [`Outbox`](super::Outbox) in the same atomic step, exactly once.
    pub trait FileStore as "files" {
        /// Registers a file and writes `file.uploaded`; answers whether it was new.
        ///
        /// # Idempotency
        /// By id: the same record again changes nothing.
        ///
        /// # Errors
        /// [`Code::Conflict`](crate::error::Code::Conflict) when another file has this id.
        once async fn register(&self, file: &FileRecord) -> Result<bool>;

        /// Files by id.
        read async fn get_many(&self, files: &[FileId]) -> Result<Vec<Option<FileRecord>>>;

        /// Counts a download and writes `file.downloaded`; answers the record.
        ///
        /// # Idempotency
        /// By `download`, among the last 1 000 downloads of the file.
        ///
        /// # Errors
        /// [`Code::FileNotFound`](crate::error::Code::FileNotFound).
        write async fn downloaded(&self, file: &FileId, by: &UserId, download: &ClientKey) -> Result<FileRecord>;

        /// Forgets a file and writes `file.deleted`; answers whether it was there. `physical` says whether its bytes
        /// are to go too.
        already async fn delete(&self, file: &FileId, by: &UserId, physical: bool) -> Result<bool>;

        /// The files of a conversation, in the order of their ids.
        read async fn list(&self, conversation: &ConversationId, page: &Page<FileId>) -> Result<Paged<FileRecord, FileId>>;
    }
}

/// Sugar over any [`FileStore`]; implemented for all of them.
pub trait FileStoreExt: FileStore {
    /// One file.
    fn get(&self, file: &FileId) -> impl Future<Output = Result<Option<FileRecord>>> + Send {
        let one = [file.clone()];
        async move { only(self.get_many(&one).await?) }
    }
}

impl<F: FileStore + ?Sized> FileStoreExt for F {}
