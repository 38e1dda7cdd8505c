//! Whoever is not in a conversation sees nothing of it, changes nothing, and is not noticed.

use serde_json::{Value, json};

use super::support::client::{Client, barrier, text};
use super::support::run::trials;
use super::support::server::shared;
use super::support::token::{admin, fresh};

trials! {
    a_stranger_sees_nothing_changes_nothing_and_is_not_noticed,
    somebody_who_was_removed_is_a_stranger,
    a_conversation_that_is_not_there_answers_like_one_that_is_hidden,
    the_dashboard_is_for_administrators_of_the_platform,
    search_and_lists_hold_only_what_is_ones_own,
}

/// A conversation of two with everything in it.
struct Place {
    ann: Client,
    bob: Client,
    group: String,
    message: String,
    file: String,
}

impl Place {
    async fn new() -> Self {
        let mut ann = Client::new(shared(), "ann").await;
        let mut bob = Client::new(shared(), "bob").await;
        let group = ann.group(&[&bob]).await;
        let file =
            json!({ "conversationId": group, "fileName": "plan", "mimeType": "text/plain", "size": 3 });
        let file = text(&ann.ask("registerFile", file).await["file"], "fileId");
        let with_file = json!({ "conversationId": group, "content": "hidden treasure", "attachments": [{ "fileId": file }] });
        let message = text(&ann.ask("sendMessage", with_file).await, "messageId");
        let reply =
            json!({ "conversationId": group, "content": "in a thread", "thread": { "root": message } });
        bob.ask("sendMessage", reply).await;
        bob.ask("reactToMessage", json!({ "messageId": message, "emoji": "👍", "on": true })).await;
        ann.ask("pinMessage", json!({ "messageId": message, "on": true })).await;
        let last = bob.send(&group, "unread").await;
        ann.hears("newMessage", |message| message["messageId"] == last["messageId"]).await;
        Self { ann, bob, group, message, file }
    }

    /// Everything the two can see.
    async fn view(&mut self) -> Value {
        let mut seen = Vec::new();
        let (conversation, message) =
            (json!({ "conversationId": self.group }), json!({ "messageId": self.message }));
        for person in [&mut self.ann, &mut self.bob] {
            for (event, payload) in [
                ("getConversation", &conversation),
                ("getConversations", &json!({})),
                ("getConversationOnlineUsers", &conversation),
                ("messages:fullload", &conversation),
                ("getThread", &message),
                ("messageReaders", &message),
            ] {
                seen.push(person.ask(event, payload.clone()).await);
            }
        }
        let mut seen = json!(seen);
        forget_activity(&mut seen);
        seen
    }

    /// Everything one may try on a conversation.
    fn attempts(&self, me: &str) -> Vec<(&'static str, Value)> {
        let (c, m, f, bob) = (&self.group, &self.message, &self.file, &self.bob.user);
        vec![
            ("sendMessage", json!({ "conversationId": c, "content": "intruder" })),
            ("sendMessage", json!({ "conversationId": c, "receiverId": bob, "content": "intruder" })),
            ("sendMessage", json!({ "conversationId": c, "content": "intruder", "replyTo": m })),
            ("editMessage", json!({ "messageId": m, "newContent": "intruder" })),
            ("deleteMessage", json!({ "messageId": m })),
            ("deleteMessage", json!({ "messageId": m, "deleteType": "FOR_EVERYONE" })),
            ("reactToMessage", json!({ "messageId": m, "emoji": "👎", "on": true })),
            ("reactToMessage", json!({ "messageId": m, "emoji": "👍", "on": false })),
            ("pinMessage", json!({ "messageId": m, "on": false })),
            ("markMessageDelivered", json!({ "conversationId": c, "messageId": m })),
            ("markMessageDelivered", json!({ "conversationId": c, "upToSeq": 9 })),
            ("markMessageRead", json!({ "conversationId": c, "messageId": m })),
            ("markMessageRead", json!({ "conversationId": c, "upToSeq": 9 })),
            ("markUnread", json!({ "conversationId": c, "fromSeq": 1 })),
            ("messageReaders", json!({ "messageId": m })),
            ("messages:fullload", json!({ "conversationId": c })),
            ("getMessages", json!({ "conversationId": c })),
            ("messages:quickload", json!({ "conversationId": c })),
            ("messages:around", json!({ "conversationId": c, "seq": 1 })),
            ("getThread", json!({ "messageId": m })),
            ("search", json!({ "conversationId": c, "text": "treasure" })),
            ("getConversation", json!({ "conversationId": c })),
            ("conversation:load", json!({ "conversationId": c })),
            ("getGroupInfo", json!({ "conversationId": c })),
            ("joinConversation", json!({ "conversationId": c })),
            ("leaveConversation", json!({ "conversationId": c })),
            ("joinGroup", json!({ "conversationId": c })),
            ("joinGroup", json!({ "conversationId": c, "accept": false })),
            ("updateConversation", json!({ "conversationId": c, "name": "Taken over" })),
            ("archiveConversation", json!({ "conversationId": c, "on": true })),
            ("pinConversation", json!({ "conversationId": c, "on": true })),
            ("muteConversation", json!({ "conversationId": c, "on": true })),
            ("addParticipant", json!({ "conversationId": c, "participantId": me })),
            ("addParticipant", json!({ "conversationId": c, "participantId": [me] })),
            ("removeParticipant", json!({ "conversationId": c, "participantId": bob })),
            ("removeParticipant", json!({ "conversationId": c, "participantId": me })),
            ("leaveGroup", json!({ "conversationId": c })),
            ("leaveConversationPermanent", json!({ "conversationId": c })),
            ("setUserRole", json!({ "conversationId": c, "targetUserId": me, "role": "admin" })),
            ("setUserRole", json!({ "conversationId": c, "targetUserId": bob, "role": "admin" })),
            ("typing", json!({ "conversationId": c })),
            ("stopTyping", json!({ "conversationId": c })),
            ("getConversationOnlineUsers", json!({ "conversationId": c })),
            ("subscribeToPresence", json!({ "conversationId": c })),
            ("unsubscribeFromPresence", json!({ "conversationId": c })),
            (
                "registerFile",
                json!({ "conversationId": c, "fileName": "virus", "mimeType": "a/b", "size": 1 }),
            ),
            ("downloadFile", json!({ "fileId": f })),
            ("deleteFile", json!({ "fileId": f })),
            ("deleteFile", json!({ "fileId": f, "physicalDelete": true })),
        ]
    }

    /// Tries everything as `eve`; nothing may come of it.
    async fn withstands(&mut self, eve: &mut Client) {
        barrier(&mut self.ann, &[&self.bob]).await;
        let (before, heard) = (self.view().await, [self.ann.everything().len(), self.bob.everything().len()]);
        let noticed = eve.everything().len();
        for (event, payload) in self.attempts(&eve.user) {
            assert_eq!(eve.refused(event, payload.clone()).await, "chat.forbidden", "{event} {payload}");
        }
        let missed = eve.ask("catchUp", json!({ "positions": { self.group.as_str(): 0 } })).await;
        assert_eq!((&missed["forbidden"], &missed["messages"]), (&json!([self.group]), &json!([])));
        // Nor does another conversation of one's own lead in.
        let mine = eve.group(&[]).await;
        let quote = json!({ "conversationId": mine, "content": "quoted", "replyTo": self.message });
        assert_eq!(eve.refused("sendMessage", quote).await, "chat.message.not_found");
        let thread =
            json!({ "conversationId": mine, "content": "quoted", "thread": { "root": self.message } });
        assert_eq!(eve.refused("sendMessage", thread).await, "chat.message.not_found");
        let stolen =
            json!({ "conversationId": mine, "content": "stolen", "attachments": [{ "fileId": self.file }] });
        assert_eq!(eve.refused("sendMessage", stolen).await, "chat.file.not_found");
        let there = json!({ "conversationId": mine, "messageId": self.message });
        assert_eq!(eve.refused("markMessageRead", there).await, "chat.message.not_found");

        assert_eq!(self.view().await, before);
        // The last thing they hear is this, and it is the first thing since.
        let last = self.ann.send(&self.group, "nothing happened").await;
        for (person, since) in [(&self.ann, heard[0]), (&self.bob, heard[1])] {
            person.hears("newMessage", |message| message["messageId"] == last["messageId"]).await;
            let news = &person.everything()[since..];
            assert_eq!(news.len(), 1, "{news:?}");
        }
        // Whatever was on its way to eve is there before this.
        let told = eve.send(&mine, "to myself").await;
        eve.hears("newMessage", |message| message["messageId"] == told["messageId"]).await;
        let news = eve.everything().split_off(noticed);
        let about = |data: &Value| data["conversationId"] == *self.group || data["userId"] == *self.bob.user;
        assert!(news.iter().all(|(_, data)| !about(data)), "{news:?}");
    }
}

/// When somebody was last active changes by itself.
fn forget_activity(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("lastActive");
            fields.values_mut().for_each(forget_activity);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_activity),
        _ => {}
    }
}

async fn a_stranger_sees_nothing_changes_nothing_and_is_not_noticed() {
    let mut place = Place::new().await;
    let mut eve = Client::new(shared(), "eve").await;
    place.withstands(&mut eve).await;
}

async fn somebody_who_was_removed_is_a_stranger() {
    let mut place = Place::new().await;
    let mut eve = Client::new(shared(), "eve").await;
    place
        .ann
        .ask("addParticipant", json!({ "conversationId": place.group, "participantId": eve.user }))
        .await;
    eve.hears("conversation:created", |_| true).await;
    eve.ask("typing", json!({ "conversationId": place.group })).await;
    place.ann.hears("userTyping", |typing| typing["userId"] == *eve.user).await;
    place
        .ann
        .ask("removeParticipant", json!({ "conversationId": place.group, "participantId": eve.user }))
        .await;
    eve.hears("participant:removed", |_| true).await;
    for person in [&place.ann, &place.bob] {
        person.hears("participant:removed", |_| true).await;
        person.hears("userStoppedTyping", |typing| typing["userId"] == *eve.user).await;
    }
    place.withstands(&mut eve).await;
    let last = eve.everything().into_iter().rfind(|(_, data)| data["conversationId"] == *place.group);
    assert_eq!(last.map(|(name, _)| name).as_deref(), Some("participant:removed"));
}

async fn a_conversation_that_is_not_there_answers_like_one_that_is_hidden() {
    let place = Place::new().await;
    let mut eve = Client::new(shared(), "eve").await;
    for (event, payload) in place.attempts(&eve.user) {
        let mut nothing = payload.clone();
        for field in ["conversationId", "messageId", "fileId", "replyTo"] {
            if nothing[field].is_string() {
                nothing[field] = json!(fresh("nothing"));
            }
        }
        let nothing = nothing.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        let nothing: Value = nothing
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let (hidden, nowhere) = (eve.answer(event, payload).await, eve.answer(event, nothing).await);
        assert_eq!(hidden, nowhere, "{event}");
    }
}

async fn the_dashboard_is_for_administrators_of_the_platform() {
    let mut ann = Client::new(shared(), "ann").await;
    assert_eq!(ann.refused("getPresenceDashboard", json!({})).await, "chat.forbidden");
    assert_eq!(ann.refused("getPresenceDashboard", json!({ "roles": ["admin"] })).await, "chat.forbidden");
    let user = fresh("root");
    let auth = json!({ "token": admin(&user) });
    let mut root = Client::at(shared().address, "/", &user, &auth).await.unwrap();
    let shown = root.ask("getPresenceDashboard", json!({})).await;
    assert!(shown["users"].as_u64() >= Some(2) && shown["byStatus"].is_object(), "{shown}");
}

async fn search_and_lists_hold_only_what_is_ones_own() {
    let mut place = Place::new().await;
    let mut eve = Client::new(shared(), "eve").await;
    let found = eve.ask("search", json!({ "text": "hidden treasure" })).await;
    assert_eq!(found["messages"], json!([]));
    assert_eq!(eve.ask("getConversations", json!({})).await["conversations"], json!([]));
    assert_eq!(eve.ask("getConversationsWithPresence", json!({})).await["conversations"], json!([]));
    let found =
        place.bob.ask("search", json!({ "text": "hidden treas", "conversationId": place.group })).await;
    assert_eq!(found["messages"][0]["messageId"], *place.message);
}
