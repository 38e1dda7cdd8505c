//! What no client should send, and one day does.

use chat_core::domain::ConversationId;
use serde_json::{Value, json};

use crate::client::Client;
use crate::host::{Host, fresh};
use crate::trials;

trials! { "bad_input":
    a_lone_surrogate_is_refused_and_the_socket_stays,
    what_is_no_request_is_answered_and_the_socket_stays,
    binary_attachments_are_refused_and_the_socket_stays,
    an_event_above_64_kib_is_refused_and_the_socket_stays,
    a_frame_of_ten_megabytes_ends_its_socket_only,
    garbage_ends_its_socket_at_most,
    a_forged_identity_counts_for_nothing,
    hostile_ids_reach_nobody_elses_conversation,
    who_is_no_member_changes_nothing,
    rates_are_limited_per_user_and_per_socket,
    a_rejected_update_changes_nothing,
}

async fn pair() -> (Host, Client, Client, String, String) {
    let host = Host::start().await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut a, b) = (host.connect(&ann).await, host.connect(&bob).await);
    let sent = a.done("sendMessage", json!({ "receiverId": bob, "content": "hello" })).await;
    let conversation = sent["conversationId"].as_str().unwrap().to_owned();
    (host, a, b, bob, conversation)
}

async fn a_lone_surrogate_is_refused_and_the_socket_stays() {
    let (host, mut a, mut b, _, conversation) = pair().await;
    for (n, escape) in [r"\ud800", r"x\udc00y", r"\ud83d\ud83d"].iter().enumerate() {
        a.raw(&format!(r#"4290{n}["sendMessage",{{"conversationId":"{conversation}","content":"{escape}"}}]"#)).await;
        let answer = a.answer(900 + n as u64).await;
        assert_eq!(answer["error"]["code"], "chat.request.invalid", "{escape}");
    }
    a.raw(&format!(r#"42910["sendMessage",{{"conversationId":"{conversation}","content":"\ud83d\ude00"}}]"#)).await;
    assert_eq!(a.answer(910).await["ok"], true);
    b.hears("newMessage", |message| message["content"] == "😀").await;
    host.stop().await;
}

async fn what_is_no_request_is_answered_and_the_socket_stays() {
    let (host, mut a, ..) = pair().await;
    for payload in [json!(7), json!("text"), json!(true), json!([]), json!([{}])] {
        for event in ["sendMessage", "getConversations", "catchUp", "heartbeat"] {
            assert_eq!(a.refused(event, payload.clone()).await, "chat.request.invalid", "{event} {payload}");
        }
    }
    for event in ["no:such:event", "", "constructor", "newMessage", "disconnect"] {
        assert_eq!(a.refused(event, json!({})).await, "chat.request.unknown", "{event}");
    }
    a.raw(r#"42900["getConversations"]"#).await;
    assert_eq!(a.answer(900).await["ok"], true, "no payload is an empty one");
    a.raw(r#"42901["getConversations",null]"#).await;
    assert_eq!(a.answer(901).await["ok"], true);
    a.raw(r#"42902["getConversations",{},{}]"#).await;
    assert_eq!(a.answer(902).await["error"]["code"], "chat.request.invalid");
    a.raw(&format!(r#"42903["getConversations",{}{}]"#, "[".repeat(500), "]".repeat(500))).await;
    assert_eq!(a.answer(903).await["error"]["code"], "chat.request.invalid");
    a.raw(r#"42["getConversations",{}]"#).await;
    a.done("heartbeat", json!({})).await;
    host.stop().await;
}

async fn binary_attachments_are_refused_and_the_socket_stays() {
    let (host, mut a, ..) = pair().await;
    a.raw(r#"451-900["sendMessage",{"content":{"_placeholder":true,"num":0}}]"#).await;
    a.binary(b"bytes").await;
    assert_eq!(a.answer(900).await["error"]["code"], "chat.request.invalid");
    a.done("heartbeat", json!({})).await;
    host.stop().await;
}

async fn an_event_above_64_kib_is_refused_and_the_socket_stays() {
    let (host, mut a, _, _, conversation) = pair().await;
    let padded = |padding: usize| json!({ "conversationId": conversation, "content": "x", "padding": "x".repeat(padding) });
    assert_eq!(a.refused("sendMessage", padded(65_536)).await, "chat.payload.too_large");
    a.done("sendMessage", padded(65_000)).await;
    host.stop().await;
}

async fn a_frame_of_ten_megabytes_ends_its_socket_only() {
    let (host, mut a, mut b, _, conversation) = pair().await;
    let huge = "x".repeat(10_000_000);
    b.raw(&format!(r#"42["sendMessage",{{"conversationId":"{conversation}","content":"{huge}"}}]"#)).await;
    b.ends().await;
    a.done("sendMessage", json!({ "conversationId": conversation, "content": "unharmed" })).await;
    host.stop().await;
}

async fn garbage_ends_its_socket_at_most() {
    let (host, mut a, ..) = pair().await;
    let token = host.token(&fresh("mallory"));
    let garbage = ["", "4", "49", "9", "hello", "42", "42{}", "42[", "420[", "4[", "45", "45-", "451-[", "46", "41/", "40", "43[]", "430[]", "42/nowhere,[\"x\"]", "4\u{0}"];
    for frame in garbage {
        let mut mallory = Client::try_connect(host.address, "/", &json!({ "token": token })).await.unwrap();
        mallory.raw(frame).await;
        let id = mallory.emit("heartbeat", &json!({})).await;
        drop(mallory.answer_or_end(id).await);
        a.done("heartbeat", json!({})).await;
    }
    host.stop().await;
}

async fn a_forged_identity_counts_for_nothing() {
    let (host, mut a, mut b, bob, conversation) = pair().await;
    let forged = json!({
        "conversationId": conversation, "content": "I am Bob", "senderId": bob, "userId": bob, "sub": bob, "matricule": bob,
    });
    let sent = a.done("sendMessage", forged).await;
    let heard = b.hears("newMessage", |message| message["messageId"] == sent["messageId"]).await;
    assert_ne!(heard["senderId"], bob.as_str());
    let who = a.done("authenticate", json!({ "userId": bob, "token": host.token(&bob) })).await;
    assert_ne!(who["userId"], bob.as_str());
    a.done("markMessageRead", json!({ "conversationId": conversation, "upToSeq": 1, "userId": bob })).await;
    let readers = a.done("messageReaders", json!({ "messageId": sent["messageId"] })).await;
    assert_eq!(readers["readBy"], json!([]), "nobody reads for somebody else");
    host.stop().await;
}

async fn hostile_ids_reach_nobody_elses_conversation() {
    let (host, mut a, _, _, conversation) = pair().await;
    let mut eve = host.connect(&fresh("eve")).await;
    for id in [":", "*", "{}", "{a}", "a b", "é", "../x", "conversation:*", &format!("{conversation}*"), &"x".repeat(128)] {
        assert_eq!(eve.refused("getConversation", json!({ "conversationId": id })).await, "chat.forbidden", "{id}");
        let sent = a.done("sendMessage", json!({ "receiverId": format!("{id:.120}"), "content": "for you" })).await;
        assert_ne!(sent["conversationId"], conversation.as_str());
    }
    for id in ["", "a\nb", "\u{0}", &"x".repeat(129), &"é".repeat(65)] {
        for (event, payload) in [
            ("getConversation", json!({ "conversationId": id })),
            ("sendMessage", json!({ "receiverId": id, "content": "x" })),
            ("catchUp", json!({ "positions": { id: 0 } })),
            ("sendMessage", json!({ "conversationId": conversation, "content": "x", "temporaryId": id })),
        ] {
            assert_eq!(a.refused(event, payload).await, "chat.id.invalid", "{event} {id:?}");
        }
    }
    host.stop().await;
}

async fn who_is_no_member_changes_nothing() {
    let (host, mut a, mut b, bob, conversation) = pair().await;
    let id = ConversationId::new(&conversation).unwrap();
    let facts = || async {
        let ports = host.chat().ports();
        let conversation = ports.conversations.get_many(std::slice::from_ref(&id)).await.unwrap();
        let heads = ports.messages.heads(None, std::slice::from_ref(&id)).await.unwrap();
        (conversation, heads)
    };
    let (before, name) = (facts().await, fresh("eve"));
    let mut eve = host.connect(&name).await;
    let attempts: [(&str, Value); 9] = [
        ("sendMessage", json!({ "conversationId": conversation, "receiverId": bob, "content": "let me in" })),
        ("addParticipant", json!({ "conversationId": conversation, "participantId": name })),
        ("joinGroup", json!({ "conversationId": conversation, "accept": true })),
        ("joinConversation", json!({ "conversationId": conversation })),
        ("updateConversation", json!({ "conversationId": conversation, "name": "mine" })),
        ("typing", json!({ "conversationId": conversation })),
        ("markMessageRead", json!({ "conversationId": conversation, "upToSeq": 1 })),
        ("messages:fullload", json!({ "conversationId": conversation })),
        ("setUserRole", json!({ "conversationId": conversation, "targetUserId": name, "role": "admin" })),
    ];
    for (event, payload) in attempts {
        assert_eq!(eve.refused(event, payload).await, "chat.forbidden", "{event}");
    }
    assert_eq!(facts().await, before);
    for client in [&mut a, &mut b] {
        client.hears("newMessage", |message| message["content"] == "hello").await;
        client.heard.retain(|(name, _)| name != "conversation:created");
        // A later message of their own is behind whatever the attempts would have told them.
        client.done("sendMessage", json!({ "receiverId": fresh("somebody"), "content": "later" })).await;
        client.hears("newMessage", |message| message["content"] == "later").await;
        client.heard.retain(|(name, _)| name != "conversation:created");
        assert!(client.heard.is_empty(), "{:?}", client.heard);
    }
    host.stop().await;
}

async fn rates_are_limited_per_user_and_per_socket() {
    let mut options = chat_server::Options::default();
    (options.messages.max, options.events.max) = (5, 20);
    let host = Host::with(options, |chat| chat).await;
    let (ann, bob) = (fresh("ann"), fresh("bob"));
    let (mut one, mut two) = (host.connect(&ann).await, host.connect(&ann).await);
    let message = json!({ "receiverId": bob, "content": "x" });
    for n in 0..5 {
        let device = if n % 2 == 0 { &mut one } else { &mut two };
        device.done("sendMessage", message.clone()).await;
    }
    let refused = two.ask("sendMessage", message.clone()).await;
    assert_eq!(refused["error"]["code"], "chat.rate_limited");
    let wait = refused["error"]["retryAfterMs"].as_u64().unwrap();
    assert!((1..=61_000).contains(&wait), "{wait}");
    let mut others = host.connect(&bob).await;
    others.done("sendMessage", json!({ "receiverId": ann, "content": "x" })).await;
    let mut left = 0;
    while one.ask("getConversations", json!({})).await["ok"] == true {
        left += 1;
        assert!(left < 100);
    }
    assert_eq!(left, 20 - 3, "the socket's own events");
    one.done("heartbeat", json!({})).await;
    host.clock.advance(std::time::Duration::from_millis(wait));
    one.done("sendMessage", message).await;
    host.stop().await;
}

async fn a_rejected_update_changes_nothing() {
    let host = Host::start().await;
    let mut a = host.connect(&fresh("ann")).await;
    let made = a.done("createGroup", json!({ "name": "Before", "members": [] })).await;
    let id = &made["conversationId"];
    let half = json!({ "conversationId": id, "name": "After", "avatar": "x".repeat(3_000) });
    assert_eq!(a.refused("updateConversation", half).await, "chat.conversation.invalid");
    let shown = a.done("getConversation", json!({ "conversationId": id })).await;
    assert_eq!(shown["conversation"]["name"], "Before");
    host.stop().await;
}
