//! Files: their metadata.

use chat_core::domain::id::kind;
use chat_core::domain::{ClientKey, FileId, FileRecord};
use serde::Deserialize;
use serde_json::json;

use super::fields::IdField;
use crate::gateway::answer::{Answer, done};
use crate::gateway::dispatch::Caller;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegisterRequest {
    conversation_id: IdField<kind::Conversation>,
    file_name: String,
    original_name: Option<String>,
    mime_type: String,
    size: u64,
    url: Option<String>,
}

pub(super) async fn register(caller: &Caller, request: RegisterRequest) -> Answer {
    let chat = &caller.app.chat;
    let file = FileRecord {
        file_id: FileId::from_uuid(uuid::Uuid::new_v4()),
        conversation_id: request.conversation_id.get()?,
        uploaded_by: caller.conn.user().clone(),
        original_name: request.original_name.unwrap_or_else(|| request.file_name.clone()),
        file_name: request.file_name,
        mime_type: request.mime_type,
        size: request.size,
        url: request.url,
        uploaded_at: chat.now(),
        downloads: 0,
    };
    done(json!({ "file": chat.register_file(&caller.conn.actor, file).await? }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DownloadRequest {
    file_id: IdField<kind::File>,
}

pub(super) async fn download(caller: &Caller, request: DownloadRequest) -> Answer {
    let download = ClientKey::from_uuid(uuid::Uuid::new_v4());
    let file = caller.app.chat.download_file(&caller.conn.actor, &request.file_id.get()?, &download).await?;
    done(json!({ "file": file }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteRequest {
    file_id: IdField<kind::File>,
    physical_delete: Option<bool>,
}

pub(super) async fn delete(caller: &Caller, request: DeleteRequest) -> Answer {
    let physical = request.physical_delete.unwrap_or(true);
    let file = caller.app.chat.delete_file(&caller.conn.actor, &request.file_id.get()?, physical).await?;
    done(json!({ "fileId": file.file_id, "conversationId": file.conversation_id }))
}
