//! Which backends the chat runs on. The only place that knows them.

use chat_core::service::{Chat, ChatSettings};

/// A chat in memory: nothing to install, and gone with the process.
///
/// Redis, MongoDB and Kafka will be chosen here, by what [`Config`](crate::config::Config) read.
pub fn chat(settings: ChatSettings) -> Chat {
    Chat::builder().settings(settings).build()
}
