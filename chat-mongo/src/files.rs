//! [`FileStore`] on MongoDB.
//!
//! `files` has one document for each file: the fields of [`FileRecord`] under their names, `_id` is the file's id, times are
//! dates. `keys` are the digests, of 64 bits, of the last 1 000 downloads: 14 KB at most, and never read, only compared by
//! the server. A change and its event are one transaction: a crash leaves both or neither. A deleted file leaves a grave:
//! see [`crate::life`].
//!
//! # Cost
//! | operation | commands | round trips |
//! |---|---|---|
//! | `register` | 4; 1 when it is there | as many |
//! | `get_many` | 1 for each 1 000 | as many |
//! | `downloaded` | 3; 3 when it is counted already | as many |
//! | `delete` | 4; 1 when it is not there | as many |
//! | `list` | 1 | 1 |

use async_trait::async_trait;
use chat_core::domain::page::{Page, Paged};
use chat_core::domain::{ClientKey, ConversationId, FileId, FileRecord, UserId};
use chat_core::error::{Code, Result};
use chat_core::event::{FileDeleted, FileDownloaded, FileUploaded};
use chat_core::store::FileStore;
use chat_core::store::files::REMEMBERED_DOWNLOADS;
use futures::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{Hint, ReturnDocument};

use crate::db::{Db, until_settled};
use crate::error::Trouble;
use crate::life::{self, GRAVES, Life};
use crate::operation::Operation;
use crate::outbox;
use crate::schema::{Index, Schema};
use crate::transaction::{together, transaction};

const REGISTER: Operation = Operation::write("files.register");
const GET: Operation = Operation::read("files.get_many");
const DOWNLOADED: Operation = Operation::write("files.downloaded");
const DELETE: Operation = Operation::write("files.delete");
const LIST: Operation = Operation::read("files.list");

const FILES: &str = "files";

/// `list`: the files of a conversation, in the order of their ids.
const OF_CONVERSATION: Index = Index {
    name: "of_conversation",
    keys: &[("conversationId", 1), ("_id", 1)],
    unique: false,
    partial: &["conversationId"],
};

pub(crate) const SCHEMA: Schema =
    Schema { name: FILES, fields: &[("stamp", &["long"])], indexes: &[OF_CONVERSATION, GRAVES] };

/// What there is of a file, seen from outside.
const ID: &str = "fileId";

/// What files there are. See the [module](self) for the layout.
#[derive(Debug)]
pub struct MongoFiles {
    db: Db,
}

impl MongoFiles {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    async fn read(&self, file: &FileId) -> Result<Option<Life<FileRecord>>, Trouble> {
        let files = self.db.collection(FILES);
        let find = files.find_one(doc! { "_id": file.as_str() });
        find.projection(visible()).await?.map(|found| Life::read(found, ID)).transpose()
    }

    async fn download(
        &self,
        session: &mut ClientSession,
        file: &FileId,
        by: &UserId,
        download: &ClientKey,
    ) -> Result<FileRecord, Trouble> {
        let files = self.db.collection(FILES);
        let key = digest(download);
        let new = doc! { "_id": file.as_str(), "expiresAt": { "$exists": false }, "keys": { "$ne": key } };
        let remembered = i64::try_from(REMEMBERED_DOWNLOADS).unwrap_or(i64::MAX);
        let count = vec![doc! { "$set": {
            "stamp": life::next_stamp(self.db.stamps(0, 1)),
            "downloads": { "$add": ["$downloads", 1_i64] },
            "keys": { "$slice": [{ "$concatArrays": ["$keys", [key]] }, -remembered] },
        } }];
        let counted = files.find_one_and_update(new, count).return_document(ReturnDocument::After);
        let Some(counted) = counted.projection(visible()).session(&mut *session).await? else {
            let there = files.find_one(doc! { "_id": file.as_str() }).projection(visible());
            let there = there.session(&mut *session).await?.map(|there| Life::read(there, ID)).transpose()?;
            return Ok(there.and_then(|there| there.value).ok_or(Code::FileNotFound)?);
        };
        let Life { value, stamp } = Life::<FileRecord>::read(counted, ID)?;
        let record = value.ok_or(Code::FileNotFound)?;
        let event = FileDownloaded::new(&record, by.clone());
        let event = life::envelope(&[file.as_str()], stamp, self.db.now(), event);
        outbox::write_from(&self.db, session, &[event], stamp).await?;
        Ok(record)
    }
}

/// Everything but what is only compared.
fn visible() -> Document {
    doc! { "keys": 0 }
}

/// A key, as it is remembered: the first 64 bits of its UUID.
fn digest(download: &ClientKey) -> i64 {
    let uuid = FileId::derived(&["download", download.as_str()]);
    let first = uuid.as_str().bytes().filter_map(|byte| char::from(byte).to_digit(16)).take(16);
    first.fold(0, |bits, digit| bits << 4 | i64::from(digit))
}

/// The document of a file nobody has downloaded here.
fn document(file: &FileRecord, stamp: i64) -> Result<Document, Trouble> {
    let countable = FileRecord { downloads: file.downloads.min(u64::MAX >> 2), ..file.clone() };
    let mut document = life::document(&countable, ID, stamp)?;
    document.insert("keys", Bson::Array(Vec::new()));
    Ok(document)
}

#[async_trait]
impl FileStore for MongoFiles {
    async fn register(&self, file: &FileRecord) -> Result<bool> {
        file.check()?;
        let attempt = || async {
            let before = match self.read(&file.file_id).await? {
                Some(Life { value: Some(known), .. }) if known.is_same_file(file) => return Ok(Some(false)),
                Some(Life { value: Some(_), .. }) => return Err(Code::Conflict.into()),
                Some(Life { value: None, stamp }) => Some(stamp),
                None => None,
            };
            let stamp = self.db.stamps(before.unwrap_or(0), 1);
            let document = document(file, stamp)?;
            let event = FileUploaded::from(file);
            let event = life::envelope(&[file.file_id.as_str()], stamp, file.uploaded_at, event);
            let put =
                together!(&self.db, |session| life::put(&self.db, session, FILES, before, document, event))?;
            Ok(put.map(|()| true))
        };
        self.db.run(REGISTER, until_settled(attempt)).await
    }

    async fn get_many(&self, files: &[FileId]) -> Result<Vec<Option<FileRecord>>> {
        self.db.run(GET, life::living(&self.db, FILES, files, ID, visible())).await
    }

    async fn downloaded(&self, file: &FileId, by: &UserId, download: &ClientKey) -> Result<FileRecord> {
        transaction!(&self.db, DOWNLOADED, |session| self.download(session, file, by, download)).await
    }

    async fn delete(&self, file: &FileId, by: &UserId, physical: bool) -> Result<bool> {
        let attempt = || async {
            let Some(Life { value: Some(record), stamp: before }) = self.read(file).await? else {
                return Ok(Some(false));
            };
            let (now, stamp) = (self.db.now(), self.db.stamps(before, 1));
            let grave = life::grave(file.as_str(), stamp, now);
            let event = FileDeleted::new(&record, Some(by.clone()), now, physical);
            let event = life::envelope(&[file.as_str()], stamp, now, event);
            let put = together!(&self.db, |session| life::put(
                &self.db,
                session,
                FILES,
                Some(before),
                grave,
                event
            ))?;
            Ok(put.map(|()| true))
        };
        self.db.run(DELETE, until_settled(attempt)).await
    }

    async fn list(
        &self,
        conversation: &ConversationId,
        page: &Page<FileId>,
    ) -> Result<Paged<FileRecord, FileId>> {
        page.check()?;
        let after = page.after.as_ref().map_or("", FileId::as_str);
        let these = doc! { "conversationId": conversation.as_str(), "_id": { "$gt": after } };
        let surplus = u32::try_from(page.limit).unwrap_or(u32::MAX).saturating_add(1);
        let found = self.db.run(LIST, async {
            let files = self.db.collection(FILES);
            let find = files.find(these).sort(doc! { "conversationId": 1, "_id": 1 }).projection(visible());
            let find = find.limit(i64::from(surplus)).batch_size(surplus);
            let mut cursor = find.hint(Hint::Name(OF_CONVERSATION.name.to_owned())).await?;
            let mut found = Vec::new();
            while let Some(document) = cursor.try_next().await? {
                found.extend(Life::read(document, ID)?.value);
            }
            Ok(found)
        });
        let found: Vec<FileRecord> = found.await?;
        Ok(Paged::from_surplus(found, page.limit, |file| file.file_id.clone()))
    }
}
