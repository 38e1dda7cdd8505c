//! [`FileStore`] in memory.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::MemoryOutbox;
use crate::clock::Clock;
use crate::domain::page::{Page, Paged};
use crate::domain::{ClientKey, ConversationId, FileId, FileRecord, UserId};
use crate::error::{Code, Error, Result};
use crate::event::{FileDeleted, FileDownloaded, FileUploaded};
use crate::store::FileStore;
use crate::store::files::REMEMBERED_DOWNLOADS;

/// What files there are, in memory.
#[derive(Debug)]
pub struct MemoryFiles {
    clock: Arc<dyn Clock>,
    outbox: Arc<MemoryOutbox>,
    files: Mutex<BTreeMap<FileId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    record: FileRecord,
    downloads: VecDeque<ClientKey>,
}

impl MemoryFiles {
    /// No files yet.
    pub fn new(clock: Arc<dyn Clock>, outbox: Arc<MemoryOutbox>) -> Self {
        Self { clock, outbox, files: Mutex::default() }
    }
}

#[async_trait]
impl FileStore for MemoryFiles {
    async fn register(&self, file: &FileRecord) -> Result<bool> {
        file.check()?;
        let mut files = self.files.lock();
        match files.get(&file.file_id) {
            Some(Entry { record: known, .. }) => {
                if known.is_same_file(file) {
                    Ok(false)
                } else {
                    Err(Code::Conflict.into())
                }
            }
            None => {
                let entry = Entry { record: file.clone(), downloads: VecDeque::new() };
                files.insert(file.file_id.clone(), entry);
                self.outbox.write_change(file.file_id.as_str(), file.uploaded_at, FileUploaded::from(file));
                Ok(true)
            }
        }
    }

    async fn get_many(&self, wanted: &[FileId]) -> Result<Vec<Option<FileRecord>>> {
        let files = self.files.lock();
        Ok(wanted.iter().map(|file| files.get(file).map(|entry| entry.record.clone())).collect())
    }

    async fn downloaded(&self, file: &FileId, by: &UserId, download: &ClientKey) -> Result<FileRecord> {
        let mut files = self.files.lock();
        let Entry { record, downloads } =
            files.get_mut(file).ok_or_else(|| Error::new(Code::FileNotFound))?;
        if downloads.contains(download) {
            return Ok(record.clone());
        }
        downloads.push_back(download.clone());
        if downloads.len() > REMEMBERED_DOWNLOADS {
            downloads.pop_front();
        }
        record.downloads = record.downloads.saturating_add(1);
        let event = FileDownloaded::new(record, by.clone());
        self.outbox.write(&[file.as_str(), "download", download.as_str()], self.clock.now(), event);
        Ok(record.clone())
    }

    async fn delete(&self, file: &FileId, by: &UserId, physical: bool) -> Result<bool> {
        let mut files = self.files.lock();
        let Some(Entry { record, .. }) = files.remove(file) else { return Ok(false) };
        let now = self.clock.now();
        let event = FileDeleted::new(&record, Some(by.clone()), now, physical);
        self.outbox.write_change(file.as_str(), now, event);
        Ok(true)
    }

    async fn list(
        &self,
        conversation: &ConversationId,
        page: &Page<FileId>,
    ) -> Result<Paged<FileRecord, FileId>> {
        page.check()?;
        let files = self.files.lock();
        let from = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let found = files
            .range((from, Bound::Unbounded))
            .map(|(_, entry)| &entry.record)
            .filter(|file| file.conversation_id == *conversation)
            .take(page.limit + 1)
            .cloned()
            .collect();
        Ok(Paged::from_surplus(found, page.limit, |file| file.file_id.clone()))
    }
}
