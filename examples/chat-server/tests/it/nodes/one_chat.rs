//! Two servers on one Redis and one MongoDB are one chat.

use libtest_mimic::Trial;
use serde_json::json;

use super::world::{World, trial, until};
use crate::it::support::client::{Client, text};
use crate::it::support::http;
use crate::it::support::token::fresh;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("what_one_server_is_told_the_other_one_tells", what_one_server_is_told),
        trial("who_is_removed_is_out_on_every_server_at_once", who_is_removed),
        trial("a_user_of_two_servers_is_one_user", a_user_of_two_servers),
        trial("a_chat_outlives_all_its_servers", a_chat_outlives_its_servers),
        trial("health_tells_of_every_backend", health_tells),
        trial("servers_know_of_one_another", servers_know_of_one_another),
    ]
}

async fn what_one_server_is_told(world: World) {
    let (one, other) = (&world.nodes[0], &world.nodes[1]);
    let (mut ann, mut bob) = (Client::new(one, "ann").await, Client::new(other, "bob").await);
    let group = ann.group(&[&bob]).await;
    bob.hears("conversation:created", |new| new["conversationId"] == group.as_str()).await;
    let sent = ann.send(&group, "from one to the other").await;
    let heard = bob.hears_message("from one to the other").await;
    assert_eq!(heard["messageId"], sent["messageId"]);
    assert!(heard.get("temporaryId").is_none(), "{heard}");

    bob.tell("typing", &json!({ "conversationId": group })).await;
    ann.hears("userTyping", |typing| typing["userId"] == bob.user.as_str()).await;
    bob.ask("markMessageRead", json!({ "messageId": sent["messageId"], "conversationId": group })).await;
    let read = ann.hears("message:status", |status| status["status"] == "READ").await;
    assert_eq!((&read["userId"], &read["messageId"]), (&json!(bob.user), &sent["messageId"]));
    ann.ask("editMessage", json!({ "messageId": sent["messageId"], "newContent": "edited" })).await;
    let edited = bob.hears("message:edited", |edited| edited["messageId"] == sent["messageId"]).await;
    assert_eq!(edited["newContent"], "edited");

    // Who comes is seen by the other, and who goes; once.
    let carl = fresh("carl");
    ann.ask("addParticipant", json!({ "conversationId": group, "participantId": carl })).await;
    let there = Client::of(other, &carl).await;
    ann.hears("user_online", |online| online["userId"] == carl.as_str()).await;
    drop(there);
    ann.hears("user_offline", |offline| offline["userId"] == carl.as_str()).await;
    for event in ["user_online", "user_offline"] {
        let told = ann.heard(event).into_iter().filter(|edge| edge["userId"] == carl.as_str()).count();
        assert_eq!(told, 1, "{event}");
    }
    drop((ann, bob));
    world.end().await;
}

async fn who_is_removed(world: World) {
    let (one, other) = (&world.nodes[0], &world.nodes[1]);
    let (mut ann, mut bob) = (Client::new(one, "ann").await, Client::new(other, "bob").await);
    let group = ann.group(&[&bob]).await;
    ann.send(&group, "hello").await;
    bob.hears_message("hello").await;
    ann.ask("removeParticipant", json!({ "conversationId": group, "participantId": bob.user })).await;
    // Acknowledged: the other server refuses already, whether its socket was told or not.
    assert_eq!(
        bob.refused("sendMessage", json!({ "conversationId": group, "content": "?" })).await,
        "chat.forbidden"
    );
    bob.hears("participant:removed", |gone| gone["participantIds"] == json!([bob.user])).await;
    ann.send(&group, "among us").await;
    let direct = ann.direct(&bob.user).await;
    bob.hears("newMessage", |message| message["conversationId"] == direct.as_str()).await;
    assert!(!bob.heard("newMessage").iter().any(|message| message["content"] == "among us"));
    drop((ann, bob));
    world.end().await;
}

async fn a_user_of_two_servers(world: World) {
    let (one, other) = (&world.nodes[0], &world.nodes[1]);
    let mut ann = Client::new(one, "ann").await;
    let mut here = Client::new(one, "bob").await;
    let mut there = Client::of(other, &here.user).await;
    let conversation = ann.direct(&here.user).await;
    for device in [&here, &there] {
        device.hears_message("hello").await;
    }
    // What one device reads is read on the other, which hears of it.
    let hello = here.hears_message("hello").await;
    here.ask("markMessageRead", json!({ "conversationId": conversation, "messageId": hello["messageId"] }))
        .await;
    let badge = there.hears("unread", |badge| badge["conversationId"] == conversation.as_str()).await;
    assert_eq!((&badge["unreadCount"], &badge["totalUnread"]), (&json!(0), &json!(0)));
    // What one says, the other one has too, with its own name for it.
    let sent = there
        .ask("sendMessage", json!({ "conversationId": conversation, "content": "mine", "temporaryId": "t1" }))
        .await;
    let own = here.hears_message("mine").await;
    assert_eq!((&own["temporaryId"], &own["messageId"]), (&json!("t1"), &sent["messageId"]));
    // The same said again on the other server is the same message.
    let again = json!({ "conversationId": conversation, "content": "mine", "temporaryId": "t1" });
    assert_eq!(here.ask("sendMessage", again).await["messageId"], sent["messageId"]);
    // One device goes: the user stays.
    drop(here);
    let asked = json!({ "conversationId": conversation });
    ann.ask("getConversationOnlineUsers", asked.clone()).await;
    there.ask("heartbeat", json!({})).await;
    assert_eq!(ann.ask("getConversationOnlineUsers", asked).await["onlineCount"], 2);
    assert!(ann.heard("user_offline").is_empty());
    drop((ann, there));
    world.end().await;
}

async fn a_chat_outlives_its_servers(mut world: World) {
    let mut ann = Client::new(&world.nodes[0], "ann").await;
    let bob = Client::new(&world.nodes[1], "bob").await;
    let group = ann.group(&[&bob]).await;
    for n in 0..20 {
        ann.send(&group, &format!("before {n}")).await;
    }
    let last = bob.hears_message("before 19").await;
    let names = [ann.user.clone(), bob.user.clone()];
    drop((ann, bob));
    for node in std::mem::take(&mut world.nodes) {
        node.stop().await;
    }
    let nth = world.start();
    let (mut ann, mut bob) =
        (Client::of(&world.nodes[nth], &names[0]).await, Client::of(&world.nodes[nth], &names[1]).await);
    assert_eq!(bob.history(&group).await.last().unwrap()["seq"], last["seq"]);
    assert!(bob.catch_up(&group, last["seq"].as_u64().unwrap()).await.is_empty());
    let list = bob.ask("getConversations", json!({})).await;
    assert_eq!(
        (text(&list["conversations"][0], "conversationId"), &list["totalUnreadMessages"]),
        (group.clone(), &json!(20))
    );
    let sent = ann.send(&group, "after").await;
    assert_eq!(sent["seq"].as_u64(), last["seq"].as_u64().map(|seq| seq + 1));
    bob.hears_message("after").await;
    drop((ann, bob));
    world.end().await;
}

async fn health_tells(world: World) {
    let health = http::get(&world.nodes[0], "/health").await.json();
    assert_eq!(health["status"], "ok", "{health}");
    for backend in ["redis", "mongo", "streams", "messages", "outbox", "events", "presence", "profiles"] {
        assert_eq!(health["checks"][backend]["status"], "ok", "{backend}: {health}");
    }
    let status = |name: &'static str| {
        let node = &world.nodes[0];
        async move { http::get(node, "/health").await.json()["status"] == name }
    };
    world.redis().kill();
    until("health to be degraded", || status("degraded")).await;
    world.redis().restart();
    until("health to be good again", || status("ok")).await;
    world.mongo.kill();
    until("health to be bad", || status("down")).await;
    world.mongo.restart();
    until("health to be good again", || status("ok")).await;
    world.end().await;
}

async fn servers_know_of_one_another(mut world: World) {
    let ann = Client::new(&world.nodes[1], "ann").await;
    let known = async |nth: usize| {
        let health = http::get(&world.nodes[nth], "/health").await.json();
        let mut nodes = health["nodes"].as_array().cloned().unwrap_or_default();
        nodes.sort_by_key(|node| node["sockets"].as_u64());
        nodes
    };
    for nth in [0, 1] {
        until("both servers to be known", || async {
            let sockets: Vec<_> = known(nth).await.iter().map(|node| node["sockets"].as_u64()).collect();
            sockets == [Some(0), Some(1)]
        })
        .await;
    }
    let (one, other) = (known(0).await, known(1).await);
    assert_eq!(one, other);
    assert_ne!(one[0]["node"], one[1]["node"]);
    assert!(one.iter().all(|node| node["startedAt"].is_string() || node["startedAt"].is_u64()), "{one:?}");
    drop(ann);
    // Who ends says so; nobody waits for its silence.
    world.nodes.remove(1).stop().await;
    until("one server to be known", || async {
        http::get(&world.nodes[0], "/health").await.json()["nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.len() == 1)
    })
    .await;
    world.end().await;
}
