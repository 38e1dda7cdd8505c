//! Bad input: each kind gets its code, the socket stays, and nobody else notices.

use serde_json::{Map, Value, json};

use super::support::client::{Client, barrier, text};
use super::support::run::trials;
use super::support::server::shared;
use super::support::token::{fresh, good};
use super::support::wire::Wire;

trials! {
    what_is_no_request_is_invalid_and_the_socket_stays,
    a_lone_surrogate_escape_is_invalid_everywhere_in_a_payload,
    binary_attachments_are_refused,
    packets_that_are_none_harm_nobody,
    unknown_events_are_answered,
    an_event_without_acknowledgement_is_done_and_not_answered,
    a_missing_payload_is_an_empty_one,
    hostile_ids_are_refused_and_odd_ones_are_not,
    odd_ids_name_what_they_name_and_nothing_else,
    texts_are_stored_as_sent_up_to_ten_thousand_characters,
    texts_that_say_nothing_or_too_much_are_refused,
    pages_have_limits_and_cursors_are_their_own,
    what_names_nothing_there_is_is_forbidden,
    a_change_that_is_half_wrong_changes_nothing,
}

/// The socket lives, and answers.
async fn lives(client: &mut Client) {
    client.ask("heartbeat", json!({})).await;
}

async fn what_is_no_request_is_invalid_and_the_socket_stays() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let conversation = ann.direct(&bob.user).await;
    let payloads = [
        "[]",
        "7",
        "\"text\"",
        "true",
        "{}",
        r#"{"content":"x"}"#,
        r#"{"conversationId":7,"content":"x"}"#,
        r#"{"conversationId":null,"content":"x"}"#,
        r#"{"conversationId":{},"content":"x"}"#,
        r#"{"conversationId":["a"],"content":"x"}"#,
    ];
    for payload in payloads {
        let arguments = format!("[\"sendMessage\",{payload}]");
        assert_eq!(ann.refused_raw(&arguments).await, "chat.request.invalid", "{arguments}");
    }
    for (field, value) in [
        ("content", json!(7)),
        ("content", json!(["x"])),
        ("content", json!({ "text": "x" })),
        ("type", json!("SHOUT")),
        ("type", json!(3)),
        ("replyTo", json!(7)),
        ("mentions", json!("everyone")),
        ("mentions", json!({ "users": "everyone" })),
        ("attachments", json!([7])),
        ("metadata", json!({ "a": 1 })),
        ("silent", json!("yes")),
        ("thread", json!("root")),
        ("durationMs", json!(-1)),
    ] {
        let mut payload = json!({ "conversationId": conversation, "content": "never stored" });
        payload[field] = value.clone();
        assert_eq!(ann.refused("sendMessage", payload).await, "chat.request.invalid", "{field}: {value}");
    }
    for (event, payload) in [
        ("catchUp", json!({})),
        ("catchUp", json!({ "positions": [] })),
        ("catchUp", json!({ "positions": {} })),
        ("catchUp", json!({ "positions": { conversation.as_str(): -1 } })),
        ("catchUp", json!({ "positions": { conversation.as_str(): "1" } })),
        ("markMessageRead", json!({ "conversationId": conversation })),
        ("markMessageRead", json!({ "conversationId": conversation, "upToSeq": 1.5 })),
        ("markUnread", json!({ "conversationId": conversation, "fromSeq": null })),
        ("deleteMessage", json!({ "messageId": "m", "deleteType": "FOR_FUN" })),
        ("reactToMessage", json!({ "messageId": "m", "emoji": "👍" })),
        ("setStatus", json!({ "status": "bored" })),
        ("setPrivacy", json!({ "lastSeen": 3 })),
        ("createGroup", json!({ "name": "G", "members": "bob" })),
        ("setUserRole", json!({ "conversationId": conversation, "targetUserId": "bob", "role": "emperor" })),
        (
            "registerFile",
            json!({ "conversationId": conversation, "fileName": "f", "mimeType": "t/p", "size": -1 }),
        ),
        ("messages:around", json!({ "conversationId": conversation })),
        ("messages:fullload", json!({ "conversationId": conversation, "beforeSeq": 3, "afterSeq": 1 })),
        ("search", json!({ "text": 7 })),
    ] {
        assert_eq!(ann.refused(event, payload.clone()).await, "chat.request.invalid", "{event} {payload}");
    }
    // More than one argument is none of the contract, and what is nested deeply is no object either.
    assert_eq!(ann.refused_raw(r#"["heartbeat",{},{}]"#).await, "chat.request.invalid");
    let deep = format!("[\"getConversations\",{}{}]", "[".repeat(500), "]".repeat(500));
    assert_eq!(ann.refused_raw(&deep).await, "chat.request.invalid");
    lives(&mut ann).await;
    assert_eq!(ann.history(&conversation).await.len(), 1, "nothing of it was stored");
}

async fn a_lone_surrogate_escape_is_invalid_everywhere_in_a_payload() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let conversation = ann.direct(&bob.user).await;
    for lone in [r"\ud800", r"\udfff", r"\ud800x", r"\udc00\ud800", r"\ud83d\ud83d"] {
        for arguments in [
            format!(r#"["sendMessage",{{"conversationId":"{conversation}","content":"a{lone}b"}}]"#),
            format!(r#"["sendMessage",{{"conversationId":"{lone}","content":"x"}}]"#),
            format!(
                r#"["sendMessage",{{"conversationId":"{conversation}","content":"x","metadata":{{"{lone}":"x"}}}}]"#
            ),
            format!(r#"["search",{{"text":"{lone}"}}]"#),
        ] {
            assert_eq!(ann.refused_raw(&arguments).await, "chat.request.invalid", "{arguments}");
        }
    }
    // A pair is a character like any other.
    let pair = format!(r#"["sendMessage",{{"conversationId":"{conversation}","content":"\ud83d\ude00"}}]"#);
    assert_eq!(ann.answer_raw(&pair).await["ok"], true);
    bob.hears_message("😀").await;
    lives(&mut ann).await;
    assert_eq!(ann.history(&conversation).await.len(), 2);
}

async fn binary_attachments_are_refused() {
    let mut wire = Wire::open(shared().address).await;
    wire.sign_in(&good(&fresh("ann"))).await;
    for (id, event) in ["sendMessage", "heartbeat", "getConversations"].into_iter().enumerate() {
        wire.send(format!(r#"451-{id}["{event}",{{"_placeholder":true,"num":0}}]"#)).await;
        wire.send_binary(vec![0, 159, 146, 150]).await;
        let answer = wire.acknowledgement("/", id as u64).await.unwrap();
        assert_eq!(answer["error"]["code"], "chat.request.invalid", "{event}: {answer}");
    }
    // A placeholder without an attachment is an object like any other, and no text.
    let arguments = r#"["sendMessage",{"conversationId":"c","content":{"_placeholder":true,"num":0}}]"#;
    let answer = wire.ask_raw("/", 9, arguments).await.unwrap();
    assert_eq!(answer["error"]["code"], "chat.request.invalid");
}

async fn packets_that_are_none_harm_nobody() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    barrier(&mut ann, &[&bob]).await;
    let packets = [
        "",
        "4",
        "49",
        "9",
        "x",
        "42",
        "42[",
        "42{}",
        "42[]",
        "42[7]",
        "42[null]",
        "42[{}]",
        "42[\"a\"",
        "42\"a\"",
        "427",
        "42-1[\"a\"]",
        "4299999999999999999999[\"heartbeat\"]",
        "43",
        "43[]",
        "437[]",
        "43-[]",
        "44",
        "44{}",
        "45",
        "451-",
        "45-[\"a\"]",
        "45999999-[\"a\"]",
        "451-[\"a\",{\"_placeholder\":true,\"num\":7}]",
        "46",
        "461-1[]",
        "47",
        "42/chat",
        "42/chat,[\"heartbeat\"]",
        "42/nowhere,7[\"heartbeat\"]",
        "42/,7[\"heartbeat\"]",
        "40",
        "40{",
        "40{}",
        "41",
        "41/",
        "0{}",
        "1",
        "3probe",
        "5",
        "6",
        "2probe",
        "bAAAA",
        "b!",
        "\u{0}",
        "4\u{0}",
        "42[\"\u{0}\"]",
        "42[\"\u{1e}\"]",
        r#"427["a",{"b":"\u12"}]"#,
        r#"427["a",{"b":"\x41"}]"#,
        "4\u{feff}2[\"heartbeat\"]",
    ];
    let deep = "[".repeat(60_000);
    let deep = [format!("42[\"sendMessage\",{deep}"), format!("427{deep}"), format!("40{deep}")];
    for packet in packets.into_iter().map(str::to_owned).chain(deep) {
        let mut wire = Wire::open(shared().address).await;
        wire.sign_in(&good(&fresh("eve"))).await;
        wire.send(packet).await;
        // It may cost the socket; it costs nobody else's.
        if let Some(answer) = wire.ask_raw("/", 77, r#"["heartbeat"]"#).await {
            assert_eq!(answer["ok"], true);
        }
    }
    // Bytes nobody announced.
    let mut wire = Wire::open(shared().address).await;
    wire.sign_in(&good(&fresh("eve"))).await;
    wire.send_binary(vec![0; 1_000]).await;
    wire.ask_raw("/", 77, r#"["heartbeat"]"#).await;
    barrier(&mut ann, &[&bob]).await;
    lives(&mut ann).await;
}

async fn unknown_events_are_answered() {
    let mut ann = Client::new(shared(), "ann").await;
    let names = [
        "",
        "nothing",
        "connect",
        "disconnect",
        "connect_error",
        "newListener",
        "SendMessage",
        "sendMessage ",
        "__proto__",
        "constructor",
        "newMessage",
    ];
    for event in names {
        assert_eq!(ann.refused(event, json!({ "content": "x" })).await, "chat.request.unknown", "{event:?}");
    }
    lives(&mut ann).await;
}

async fn an_event_without_acknowledgement_is_done_and_not_answered() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    ann.tell("sendMessage", &json!({ "receiverId": bob.user, "content": "no answer wanted" })).await;
    ann.tell("no such event", &json!({})).await;
    bob.hears_message("no answer wanted").await;
    lives(&mut ann).await;
    assert_eq!(ann.ack_order(1).await, [1], "only the heartbeat is answered");
}

async fn a_missing_payload_is_an_empty_one() {
    let mut ann = Client::new(shared(), "ann").await;
    for event in ["getConversations", "heartbeat", "ping", "authenticate", "getConversationsWithPresence"] {
        for arguments in
            [format!("[\"{event}\"]"), format!("[\"{event}\",null]"), format!("[\"{event}\", {{}} ]")]
        {
            let answer = ann.answer_raw(&arguments).await;
            assert_eq!(answer["ok"], true, "{arguments}: {answer}");
        }
    }
    assert_eq!(ann.refused_raw("[\"sendMessage\"]").await, "chat.request.invalid");
}

/// Everything that names something by an id: the event, the field, and what else it needs.
const NAMING: &[(&str, &str, &str)] = &[
    ("sendMessage", "conversationId", r#"{"content":"x"}"#),
    ("sendMessage", "receiverId", r#"{"content":"x"}"#),
    ("editMessage", "messageId", r#"{"newContent":"x"}"#),
    ("deleteMessage", "messageId", "{}"),
    ("reactToMessage", "messageId", r#"{"emoji":"👍","on":true}"#),
    ("pinMessage", "messageId", r#"{"on":true}"#),
    ("markMessageDelivered", "conversationId", r#"{"upToSeq":1}"#),
    ("markMessageRead", "conversationId", r#"{"upToSeq":1}"#),
    ("markUnread", "conversationId", r#"{"fromSeq":1}"#),
    ("messageReaders", "messageId", "{}"),
    ("messages:fullload", "conversationId", "{}"),
    ("getMessages", "conversationId", "{}"),
    ("messages:quickload", "conversationId", "{}"),
    ("messages:around", "conversationId", r#"{"seq":1}"#),
    ("getThread", "messageId", "{}"),
    ("search", "conversationId", r#"{"text":"word"}"#),
    ("getConversation", "conversationId", "{}"),
    ("conversation:load", "conversationId", "{}"),
    ("getGroupInfo", "conversationId", "{}"),
    ("joinConversation", "conversationId", "{}"),
    ("leaveConversation", "conversationId", "{}"),
    ("updateConversation", "conversationId", r#"{"name":"x"}"#),
    ("archiveConversation", "conversationId", r#"{"on":true}"#),
    ("pinConversation", "conversationId", r#"{"on":true}"#),
    ("muteConversation", "conversationId", r#"{"on":true}"#),
    ("addParticipant", "conversationId", r#"{"participantId":"x"}"#),
    ("removeParticipant", "conversationId", r#"{"participantId":"x"}"#),
    ("leaveGroup", "conversationId", "{}"),
    ("leaveConversationPermanent", "conversationId", "{}"),
    ("joinGroup", "conversationId", "{}"),
    ("setUserRole", "conversationId", r#"{"targetUserId":"x","role":"admin"}"#),
    ("typing", "conversationId", "{}"),
    ("stopTyping", "conversationId", "{}"),
    ("getConversationOnlineUsers", "conversationId", "{}"),
    ("subscribeToPresence", "conversationId", "{}"),
    ("unsubscribeFromPresence", "conversationId", "{}"),
    ("registerFile", "conversationId", r#"{"fileName":"f","mimeType":"a/b","size":1}"#),
    ("downloadFile", "fileId", "{}"),
    ("deleteFile", "fileId", "{}"),
];

fn naming(field: &str, id: &str, rest: &str) -> Value {
    let mut payload: Value = serde_json::from_str(rest).unwrap();
    payload[field] = json!(id);
    payload
}

async fn hostile_ids_are_refused_and_odd_ones_are_not() {
    let mut ann = Client::new(shared(), "ann").await;
    let too_long = "x".repeat(129);
    let too_long_in_bytes = "é".repeat(65);
    for id in ["", "a\nb", "\n", "a\rb", "a\tb", "a\u{0}", "\u{7f}", "\u{85}", &too_long, &too_long_in_bytes]
    {
        for (event, field, rest) in NAMING {
            assert_eq!(
                ann.refused(event, naming(field, id, rest)).await,
                "chat.id.invalid",
                "{event} {field} {id:?}"
            );
        }
        for (event, payload) in [
            ("createGroup", json!({ "name": "G", "members": [id] })),
            ("createGroup", json!({ "name": "G", "members": [], "groupId": id })),
            ("createBroadcast", json!({ "name": "B", "recipients": [id] })),
            ("createBroadcast", json!({ "name": "B", "recipients": [], "admins": [id] })),
            ("createBroadcast", json!({ "name": "B", "recipients": [], "broadcastId": id })),
            ("catchUp", json!({ "positions": { id: 0 } })),
            ("sendMessage", json!({ "receiverId": "bob", "content": "x", "temporaryId": id })),
            ("sendMessage", json!({ "receiverId": "bob", "content": "x", "replyTo": id })),
            (
                "sendMessage",
                json!({ "receiverId": "bob", "content": "x", "attachments": [{ "fileId": id }] }),
            ),
            ("sendMessage", json!({ "receiverId": "bob", "content": "x", "mentions": { "users": [id] } })),
        ] {
            assert_eq!(ann.refused(event, payload).await, "chat.id.invalid", "{event} {id:?}");
        }
    }
    let longest = "x".repeat(128);
    for id in [
        "a:b",
        "*",
        "{}",
        "{a}",
        "a b",
        "../..",
        "é",
        "👩‍💻",
        "%00",
        "'; --",
        "__proto__",
        "user:*:{x}",
        &longest,
    ] {
        for (event, field, rest) in NAMING.iter().filter(|(_, field, _)| *field != "receiverId") {
            assert_eq!(
                ann.refused(event, naming(field, id, rest)).await,
                "chat.forbidden",
                "{event} {field} {id:?}"
            );
        }
        let missed = ann.ask("catchUp", json!({ "positions": { id: 0 } })).await;
        assert_eq!(missed["forbidden"], json!([id]));
    }
}

async fn odd_ids_name_what_they_name_and_nothing_else() {
    let prefix = fresh("odd");
    let names = ["a", "a:b", "a:*", "*", "{}", "{a}", "a}", "A", "a ", " a", "a\u{301}", "á", "a/b", "a%2Fb"];
    let mut ann = Client::of(shared(), &fresh("o:*{} d")).await;
    let bob = Client::of(shared(), &fresh("o:*{} d:")).await;
    let mut made = Vec::new();
    for name in names {
        let id = format!("{prefix}:{name}");
        let group = json!({ "name": name, "members": [bob.user], "groupId": id });
        assert_eq!(ann.ask("createGroup", group).await["conversationId"], *id);
        ann.send(&id, &format!("only in {name}")).await;
        made.push((id, name));
    }
    for (id, name) in &made {
        let history = ann.history(id).await;
        let said = history
            .iter()
            .filter(|message| message["type"] == "TEXT")
            .map(|message| text(message, "content"));
        assert!(said.eq([format!("only in {name}")]));
    }
    // Whose name begins like another's is somebody else.
    let mut eve = Client::of(shared(), &format!("{}:", bob.user)).await;
    for (id, _) in &made {
        assert_eq!(eve.refused("getConversation", json!({ "conversationId": id })).await, "chat.forbidden");
    }
    assert_eq!(eve.ask("getConversations", json!({})).await["conversations"], json!([]));
}

async fn texts_are_stored_as_sent_up_to_ten_thousand_characters() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let conversation = ann.direct(&bob.user).await;
    let longest = ["x", "é", "\u{1d11e}"].map(|character| character.repeat(10_000));
    let odd = [
        "  padded  ",
        "line\r\nline",
        "a\u{2028}b\u{2029}c",
        "nul \u{0} inside",
        "👩‍💻",
        "a\u{301}",
        "\u{202e}left",
        "<script>",
        "{\"a\":1}",
        "\"\\",
        "\u{feff}x",
    ];
    let mut sent = vec!["hello".to_owned()];
    for content in longest.iter().map(String::as_str).chain(odd) {
        ann.send(&conversation, content).await;
        bob.hears_message(content).await;
        sent.push(content.to_owned());
    }
    let stored = ann.history(&conversation).await;
    assert!(stored.iter().map(|message| text(message, "content")).eq(sent));
}

async fn texts_that_say_nothing_or_too_much_are_refused() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let conversation = ann.direct(&bob.user).await;
    let message = ann.send(&conversation, "stays").await["messageId"].clone();
    let blank =
        ["", " ", "\n\t\r", "\u{2003}\u{a0}", "\u{3000}"].map(|text| (text.to_owned(), "chat.message.empty"));
    let long = ["x", "é", "\u{1d11e}"].map(|character| (character.repeat(10_001), "chat.message.too_long"));
    let carl = Client::new(shared(), "carl").await;
    for (content, code) in blank.into_iter().chain(long) {
        for payload in [
            json!({ "conversationId": conversation, "content": content }),
            json!({ "receiverId": carl.user, "content": content }),
        ] {
            assert_eq!(
                ann.refused("sendMessage", payload).await,
                code,
                "{} characters",
                content.chars().count()
            );
        }
        let edit = json!({ "messageId": message, "newContent": content });
        assert_eq!(ann.refused("editMessage", edit).await, code);
    }
    let listed = ann.ask("getConversations", json!({})).await;
    assert_eq!(
        listed["conversations"].as_array().unwrap().len(),
        1,
        "a first message that is refused makes no conversation"
    );
    barrier(&mut ann, &[&bob, &carl]).await;
    assert_eq!(carl.heard("newMessage").len(), 1, "only the barrier");
    assert!(bob.heard("message:edited").is_empty());
    let history = ann.history(&conversation).await;
    assert!(history[..2].iter().map(|message| text(message, "content")).eq(["hello", "stays"]));
}

async fn pages_have_limits_and_cursors_are_their_own() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let conversation = ann.direct(&bob.user).await;
    let other = ann.group(&[&bob]).await;
    for n in 0..5 {
        ann.send(&conversation, &format!("word {n}")).await;
    }
    let here = |more: Value| {
        let mut payload = json!({ "conversationId": conversation, "text": "word", "seq": 1 });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        payload
    };
    let paged =
        [("messages:fullload", 100), ("messages:around", 100), ("search", 50), ("getConversations", 50)];
    for (event, max) in paged {
        for limit in [-1, 0, max + 1, i64::MAX] {
            assert_eq!(
                ann.refused(event, here(json!({ "limit": limit }))).await,
                "chat.page.invalid",
                "{event} {limit}"
            );
        }
        ann.ask(event, here(json!({ "limit": max }))).await;
    }
    let cursor = ann.ask("messages:fullload", here(json!({ "limit": 2 }))).await["nextCursor"].clone();
    assert!(cursor.is_string());
    for event in ["messages:fullload", "search", "getConversations"] {
        for garbage in ["", "garbage", "AAAA", "%%%", "null", "eyJhIjoxfQ"] {
            let code = ann.refused(event, here(json!({ "cursor": garbage }))).await;
            assert_eq!(code, "chat.cursor.invalid", "{event} {garbage:?}");
        }
    }
    // A cursor leads on only where it comes from.
    for event in ["search", "getConversations"] {
        assert_eq!(
            ann.refused(event, here(json!({ "cursor": cursor }))).await,
            "chat.cursor.invalid",
            "{event}"
        );
    }
    let elsewhere = json!({ "conversationId": other, "cursor": cursor });
    assert_eq!(ann.refused("messages:fullload", elsewhere).await, "chat.cursor.invalid");
    let many: Map<String, Value> = (0..201).map(|n| (format!("c{n}"), json!(0))).collect();
    let code = ann.refused("catchUp", json!({ "positions": many })).await;
    assert!(["chat.page.invalid", "chat.request.invalid"].contains(&&*code), "{code}");
}

async fn what_names_nothing_there_is_is_forbidden() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let conversation = ann.direct(&bob.user).await;
    for (event, field, rest) in NAMING.iter().filter(|(_, field, _)| *field != "receiverId") {
        let code = ann.refused(event, naming(field, &fresh("nothing"), rest)).await;
        assert_eq!(code, "chat.forbidden", "{event}");
    }
    for (event, more, code) in [
        ("sendMessage", json!({ "content": "x", "replyTo": "nothing" }), "chat.message.not_found"),
        ("sendMessage", json!({ "content": "x", "thread": { "root": "nothing" } }), "chat.message.not_found"),
        (
            "sendMessage",
            json!({ "content": "x", "attachments": [{ "fileId": "nothing" }] }),
            "chat.file.not_found",
        ),
        ("markMessageRead", json!({ "messageId": "nothing" }), "chat.message.not_found"),
    ] {
        let mut payload = more.clone();
        payload["conversationId"] = json!(conversation);
        assert_eq!(ann.refused(event, payload).await, code, "{event} {more}");
    }
    let to_oneself = json!({ "receiverId": ann.user, "content": "x" });
    assert_eq!(ann.refused("sendMessage", to_oneself).await, "chat.conversation.invalid");
}

async fn a_change_that_is_half_wrong_changes_nothing() {
    let mut ann = Client::new(shared(), "ann").await;
    let bob = Client::new(shared(), "bob").await;
    let group = ann.group(&[&bob]).await;
    for half in
        [json!({ "name": "Renamed", "avatar": "x".repeat(3_000) }), json!({ "name": "", "avatar": "a.png" })]
    {
        let mut payload = half;
        payload["conversationId"] = json!(group);
        assert_eq!(ann.refused("updateConversation", payload).await, "chat.conversation.invalid");
    }
    barrier(&mut ann, &[&bob]).await;
    assert!(bob.heard("conversation:updated").is_empty());
    let shown = ann.ask("getConversation", json!({ "conversationId": group })).await;
    assert_eq!(
        (&shown["conversation"]["name"], shown["conversation"]["avatar"].as_str()),
        (&json!("A group"), None)
    );
}
