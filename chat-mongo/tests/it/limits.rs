//! Documents stay below the 16 MB there may be of one, and one that is at its end loses nothing.

use chat_core::domain::message::{MAX_TEXT_CHARS, Mentions, NewMessage};
use chat_core::domain::{Attachment, ConversationId, Message, RoomRole, Seq, UserProfile};
use chat_core::error::Code;
use chat_core::store::conversations::{Change, NewMember};
use chat_core::store::messages::Edit;
use chat_core::store::positions::Step;
use chat_core::store::{
    ConversationStore, ConversationStoreExt, FileStore, FileStoreExt, MessageStore, MessageStoreExt, Outbox,
    PositionStoreExt, UserSource,
};
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::expect::{drained, refused};
use chat_testkit::{Absent, sample, trials};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use super::desk::{fresh, patient, server};

trials! { needs "mongo":
    what_is_said_has_an_end,
    what_waits_in_a_message_has_an_end,
    emojis_have_an_end,
    a_name_for_an_event_has_an_end,
    a_document_at_its_end_keeps_what_it_has,
}

/// The largest document there is.
const MOST: usize = 16 * 1024 * 1024;

fn here() -> ConversationId {
    sample::conversation("here")
}

fn said(content: &str) -> NewMessage {
    sample::text(&here(), &sample::user("ann"), content)
}

fn edit(message: &Message, content: String) -> Edit {
    let (message, by) = (message.id.clone(), sample::user("ann"));
    Edit { message, by, content, mentions: Mentions::default(), expect: None }
}

/// A node, and its documents as they are stored.
struct Open {
    mongo: Mongo,
    config: MongoConfig,
    client: Client,
}

impl Open {
    async fn new() -> Result<Self, Absent> {
        let config = patient(fresh(server()?.url()));
        let mongo = Mongo::connect(&config).await.unwrap();
        mongo.ensure().await.unwrap();
        let client = Client::with_uri_str(config.url.expose()).await.unwrap();
        Ok(Self { mongo, config, client })
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.config.database).collection(name)
    }

    /// The only document of a collection.
    async fn only(&self, name: &str) -> Document {
        self.collection(name).find_one(doc! {}).await.unwrap().unwrap()
    }

    /// Fills the only document of a collection up, but for so many bytes.
    async fn fill(&self, name: &str, left: usize) {
        let length = |document: &Document| document.to_vec().unwrap().len();
        let mut document = self.only(name).await;
        document.insert("padding", "");
        let padding = "x".repeat(MOST - left - length(&document));
        let fill = doc! { "$set": { "padding": padding } };
        self.collection(name).update_one(doc! {}, fill).await.unwrap();
        assert_eq!(length(&self.only(name).await), MOST - left);
    }

    async fn empty(&self, name: &str) {
        let empty = doc! { "$unset": { "padding": "" } };
        self.collection(name).update_one(doc! {}, empty).await.unwrap();
    }
}

async fn what_is_said_has_an_end() -> Result<(), Absent> {
    let open = Open::new().await?;
    let messages = &*open.mongo.messages;
    let mut large = said("text");
    large.draft.attachments.push(Attachment {
        duration_ms: None,
        name: "n".repeat(17 * 1024 * 1024),
        ..Attachment::from(&sample::file(&here(), "f"))
    });
    let answers = messages.append_many(&[said("one"), large, said("two")]).await.unwrap();
    let places: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().ok().map(|done| done.message.seq)).collect();
    assert_eq!(places, [Some(Seq(1)), None, Some(Seq(2))]);
    refused(answers.into_iter().nth(1).unwrap(), Code::PayloadTooLarge);
    let first = messages.append(&said("three")).await.unwrap().message;
    refused(messages.edit(&edit(&first, "x".repeat(17 * 1024 * 1024))).await, Code::MessageTooLong);
    refused(messages.edit(&edit(&first, "é".repeat(MAX_TEXT_CHARS + 1))).await, Code::MessageTooLong);
    messages.edit(&edit(&first, "é".repeat(MAX_TEXT_CHARS))).await.unwrap();
    let endless = UserProfile::new(sample::user("ada"), "n".repeat(17 * 1024 * 1024), first.created_at);
    refused(open.mongo.source.create_many(&[endless]).await, Code::PayloadTooLarge);
    assert_eq!(drained(&*open.mongo.outbox).await.len(), 4);
    Ok(())
}

/// A relay that is away, and a text that grows sixfold in an event.
async fn what_waits_in_a_message_has_an_end() -> Result<(), Absent> {
    let open = Open::new().await?;
    let messages = &*open.mongo.messages;
    let message = messages.append(&said("text")).await.unwrap().message;
    let text = |nth: usize| format!("{nth}{}", "\u{1}".repeat(MAX_TEXT_CHARS - 4));
    let mut edits = 0;
    let full = loop {
        match messages.edit(&edit(&message, text(edits))).await {
            Ok(_) => edits += 1,
            Err(error) => break error,
        }
        assert!(edits < 1_000, "a document has an end");
    };
    refused::<()>(Err(full), Code::QueueFull);
    let size = open.only("messages").await.to_vec().unwrap().len();
    assert!(size < MOST / 2, "{size} bytes after {edits} edits");
    let there = messages.get(&message.id).await.unwrap().unwrap();
    assert_eq!(
        (there.revision as usize, there.content),
        (edits, text(edits - 1)),
        "what was refused is not there"
    );
    assert_eq!(drained(&*open.mongo.outbox).await.len(), edits + 1, "and nothing is missing");
    messages.edit(&edit(&message, text(edits))).await.unwrap();
    Ok(())
}

async fn emojis_have_an_end() -> Result<(), Absent> {
    let open = Open::new().await?;
    let messages = &*open.mongo.messages;
    let message = messages.append(&said("text")).await.unwrap().message;
    // As many as may be, with ids as long as may be.
    let users: Vec<_> = (0..20_000).map(|nth| format!("{nth:0128}")).collect();
    let reactions = doc! { "$set": { "reactions": [{ "emoji": "👍", "users": &users }] } };
    open.collection("messages").update_one(doc! {}, reactions).await.unwrap();
    let (late, first) = (sample::user("late"), sample::user(&users[0]));
    for emoji in ["👍", "🎉"] {
        refused(messages.react(&message.id, &late, emoji, true).await, Code::ReactionLimit);
    }
    assert!(!messages.react(&message.id, &first, "👍", true).await.unwrap().changed, "it is so already");
    assert!(messages.react(&message.id, &first, "👍", false).await.unwrap().changed);
    let all = messages.react(&message.id, &late, "🎉", true).await.unwrap().message.reactions;
    assert_eq!(all.iter().map(|reaction| reaction.users.len()).sum::<usize>(), 20_000);
    assert!(open.only("messages").await.to_vec().unwrap().len() < MOST / 4);
    Ok(())
}

async fn a_name_for_an_event_has_an_end() -> Result<(), Absent> {
    let open = Open::new().await?;
    let conversations = &*open.mongo.conversations;
    let (group, ann) = (sample::group("here", &["ann"]), sample::user("ann"));
    conversations.create(&group).await.unwrap();
    let endless =
        NewMember { name: Some("n".repeat(17 * 1024 * 1024)), ..sample::member("ben", RoomRole::Member) };
    let add = Change::Add { members: vec![endless], head: Seq::ZERO };
    refused(conversations.change(&here(), &ann, &add).await, Code::PayloadTooLarge);
    let there = conversations.get(&here()).await.unwrap().unwrap();
    assert_eq!((there.member_count, there.version), (1, 1));
    assert_eq!(drained(&*open.mongo.outbox).await.len(), 1);
    Ok(())
}

async fn a_document_at_its_end_keeps_what_it_has() -> Result<(), Absent> {
    let open = Open::new().await?;
    let Mongo { messages, positions, conversations, files, outbox, .. } = &open.mongo;
    let (ann, ben) = (sample::user("ann"), sample::user("ben"));
    let message = messages.append(&said("text")).await.unwrap().message;
    positions.step(&ben, &here(), Step::Delivered(Seq(1))).await.unwrap();
    conversations.create(&sample::group("here", &["ann", "ben"])).await.unwrap();
    let photo = sample::file(&here(), "photo");
    files.register(&photo).await.unwrap();
    let told = drained(&**outbox).await.len();
    assert_eq!(told, 4);
    for full in ["messages", "positions", "conversations", "files"] {
        open.fill(full, 10).await;
    }
    let conversation = &here();
    let read = || positions.step(&ben, conversation, Step::Read(Seq(1)));
    let rename = Change::Rename("A longer name than before".to_owned());
    let rename = || conversations.change(conversation, &ann, &rename);
    let key = sample::key("download");
    let download = || files.downloaded(&photo.file_id, &ben, &key);
    let too_large = Code::PayloadTooLarge;
    refused(messages.edit(&edit(&message, "a longer text".to_owned())).await, too_large);
    refused(messages.react(&message.id, &ben, "👍", true).await, too_large);
    refused(messages.pin(&message.id, &ann, true, None).await, too_large);
    refused(read().await, too_large);
    refused(rename().await, too_large);
    refused(download().await, too_large);
    // Nothing of it happened, and what is beside it goes on.
    assert_eq!(outbox.stats().await.unwrap().pending, 0);
    assert_eq!(messages.get(&message.id).await.unwrap().unwrap(), message);
    assert_eq!(messages.pinned(&here()).await.unwrap(), []);
    assert_eq!(positions.receipts(&ben, &here()).await.unwrap().read.seq, Seq::ZERO);
    assert_eq!(conversations.get(&here()).await.unwrap().unwrap().version, 1);
    assert_eq!(files.get(&photo.file_id).await.unwrap().unwrap().downloads, 0);
    assert_eq!(messages.append(&said("next")).await.unwrap().message.seq, Seq(2));
    for full in ["positions", "conversations", "files"] {
        open.empty(full).await;
    }
    let padded = doc! { "_id": message.id.as_str() };
    let empty = doc! { "$unset": { "padding": "" } };
    open.collection("messages").update_one(padded, empty).await.unwrap();
    messages.edit(&edit(&message, "a longer text".to_owned())).await.unwrap();
    assert!(read().await.unwrap().changed());
    rename().await.unwrap();
    assert_eq!(download().await.unwrap().downloads, 1);
    assert_eq!(drained(&**outbox).await.len(), 5);
    Ok(())
}
