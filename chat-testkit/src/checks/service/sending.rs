//! Promises of sending.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use chat_core::domain::conversation::direct_id;
use chat_core::domain::message::{Draft, ThreadPlace};
use chat_core::domain::{
    Attachment, ConversationKind, FileId, FileRecord, Mentions, MessageId, MessageKind, Seq, UserId,
};
use chat_core::error::Code;
use chat_core::event::Event;
use chat_core::service::{NewGroup, Target};
use chat_core::store::{ConversationStoreExt, MessageStore};

use crate::Offer;
use crate::expect::{at_once, refused};
use crate::sample::{conversation, key, user};
use crate::stage::{Stage, actor};

promises! {
    "service::sending":
    what_was_sent_is_found_in_the_history_in_order,
    a_repeat_under_the_same_key_is_the_same_message,
    racing_repeats_are_one_message,
    a_key_belongs_to_one_sender_and_conversation,
    a_key_with_other_content_is_a_conflict,
    the_first_message_makes_the_direct_conversation,
    racing_first_messages_make_one_conversation,
    a_refused_first_message_makes_nothing,
    nobody_writes_to_themselves,
    nobody_speaks_for_the_system,
    attachments_are_what_was_registered,
    a_file_of_another_conversation_cannot_be_attached,
    only_members_are_mentioned,
    a_thread_hangs_on_its_root,
    a_reply_stays_in_its_conversation,
    bad_messages_are_refused_and_the_largest_are_taken,
    a_message_is_one_event_with_everything_said,
}

/// A file as its uploader describes it.
pub(super) fn file(id: &str, conversation: &chat_core::domain::ConversationId) -> FileRecord {
    FileRecord {
        file_id: FileId::new(id).expect("a file id"),
        conversation_id: conversation.clone(),
        uploaded_by: user("forged"),
        file_name: format!("{id}.bin"),
        original_name: format!("{id} of mine.pdf"),
        mime_type: "application/pdf".to_owned(),
        size: 1_234,
        url: Some(format!("https://files.example/{id}")),
        uploaded_at: chat_core::clock::Timestamp::EPOCH,
        downloads: 99,
    }
}

/// An attachment that claims whatever it likes.
pub(super) fn attached(id: &str) -> Attachment {
    Attachment {
        file_id: FileId::new(id).expect("a file id"),
        name: "forged.exe".to_owned(),
        mime_type: "text/forged".to_owned(),
        size: 1,
        url: Some("https://evil.example".to_owned()),
        duration_ms: Some(4_200),
    }
}

async fn what_was_sent_is_found_in_the_history_in_order(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let mut sent = Vec::new();
    for n in 0..10 {
        let sender = if n % 2 == 0 { &ada } else { &bob };
        sent.push(stage.say(sender, &group, &format!("message {n}")).await);
    }
    assert!(sent.windows(2).all(|two| two[1].seq == two[0].seq.next()), "every message has the next place");
    let told = stage.messages(&group).await;
    assert_eq!(told[told.len() - 10..], sent);
    assert!(sent.iter().all(|message| message.conversation_kind == ConversationKind::Group));
}

async fn a_repeat_under_the_same_key_is_the_same_message(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let draft =
        || Draft { mentions: Mentions { users: vec![user("bob")], everyone: false }, ..Draft::text("hello") };
    let first = stage.chat.send(&ada, &group, draft(), Some(&key("k"))).await.unwrap();
    assert!(!first.duplicate);
    for chat in [&stage.chat, &stage.another()] {
        let again = chat.send(&ada, &group, draft(), Some(&key("k"))).await.unwrap();
        assert!(again.duplicate);
        assert_eq!(again.message, first.message, "a repeat gets the same answer");
    }
    assert_eq!(stage.messages(&group).await.len(), 2, "the note that the group was made, and the message");
    assert_eq!(stage.kinds().await, ["message.sent"]);
    assert_eq!(stage.unread(&bob, &group).await, (1, 1));
    // Also later, when it has been edited and deleted: the sender learns what became of it.
    stage.chat.edit(&ada, &first.message.id, "hello!", Mentions::default(), None).await.unwrap();
    let again = stage.chat.send(&ada, &group, draft(), Some(&key("k"))).await.unwrap();
    assert!(again.duplicate && again.message.content == "hello!");
    stage.quiet().await;
    let direct = stage.chat.send(&ada, &bob.user, "psst", Some(&key("k"))).await.unwrap();
    let again = stage.chat.send(&ada, &bob.user, "psst", Some(&key("k"))).await.unwrap();
    assert!(again.duplicate && again.message == direct.message);
    assert_eq!(stage.kinds().await, ["conversation.created", "message.sent"]);
}

async fn racing_repeats_are_one_message(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let (one, other) = (stage.chat.clone(), stage.another());
    let answers = at_once(16, |nth| {
        let chat = if nth % 2 == 0 { one.clone() } else { other.clone() };
        let (ada, group) = (ada.clone(), group.clone());
        async move { chat.send(&ada, &group, "hello", Some(&key("k"))).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().filter(|sent| !sent.duplicate).count(), 1);
    let ids: BTreeSet<_> = answers.iter().map(|sent| &sent.message.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(stage.kinds().await, ["message.sent"]);
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
}

async fn a_key_belongs_to_one_sender_and_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let one = stage.group("One", &[&ada, &bob]).await;
    let two = stage.group("Two", &[&ada, &bob]).await;
    for (sender, group) in [(&ada, &one), (&bob, &one), (&ada, &two), (&bob, &two)] {
        let sent =
            stage.chat.send(sender, group, format!("by {}", sender.user), Some(&key("k"))).await.unwrap();
        assert!(!sent.duplicate, "{} in {group}", sender.user);
    }
    assert_eq!(stage.kinds().await, ["message.sent"; 4]);
}

async fn a_key_with_other_content_is_a_conflict(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.send(&ada, &group, "hello", Some(&key("k"))).await.unwrap();
    let others = [
        Draft::text("Hello"),
        Draft { silent: true, ..Draft::text("hello") },
        Draft { kind: MessageKind::Location, ..Draft::text("hello") },
        Draft { mentions: Mentions { users: vec![], everyone: true }, ..Draft::text("hello") },
        Draft { metadata: BTreeMap::from([("a".to_owned(), "b".to_owned())]), ..Draft::text("hello") },
    ];
    let before = stage.truth(from_ref(&group), &[]).await;
    for other in others {
        refused(stage.chat.send(&ada, &group, other, Some(&key("k"))).await, Code::ClientKeyConflict);
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    assert_eq!(stage.unread(&bob, &group).await, (1, 0));
}

async fn the_first_message_makes_the_direct_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let first = stage.chat.send(&ada, &bob.user, "hello", None).await.unwrap().message;
    assert_eq!(first.conversation_id, direct_id(&ada.user, &bob.user).unwrap());
    assert_eq!((first.conversation_kind, &first.receiver_id), (ConversationKind::Direct, &Some(user("bob"))));
    let answer = stage.chat.send(&bob, &ada.user, "hi", None).await.unwrap().message;
    assert_eq!(answer.conversation_id, first.conversation_id, "the same two always share one");
    assert_eq!(answer.receiver_id, Some(user("ada")));
    let third = stage.chat.send(&ada, &first.conversation_id, "well", None).await.unwrap().message;
    assert_eq!(third.receiver_id, Some(user("bob")), "also when it is named by its id");
    assert_eq!([first.seq, answer.seq, third.seq], [Seq(1), Seq(2), Seq(3)]);
    let members: Vec<UserId> =
        stage.members(&first.conversation_id).await.into_iter().map(|member| member.user_id).collect();
    assert_eq!(members, [user("ada"), user("bob")]);
    assert_eq!(stage.kinds().await, ["conversation.created", "message.sent", "message.sent", "message.sent"]);
    assert_eq!(stage.unread(&bob, &first.conversation_id).await, (1, 0));
    assert_eq!(stage.unread(&ada, &first.conversation_id).await, (0, 0));
}

async fn racing_first_messages_make_one_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let chats = [stage.chat.clone(), stage.another()];
    let sent = at_once(32, |nth| {
        let chat = chats[(nth / 2) % 2].clone();
        async move {
            let (one, other) = if nth % 2 == 0 { ("ada", "bob") } else { ("bob", "ada") };
            chat.send(&actor(one), &user(other), format!("message {nth}"), None).await.unwrap().message
        }
    })
    .await;
    let conversations: BTreeSet<_> = sent.iter().map(|message| &message.conversation_id).collect();
    assert_eq!(conversations.len(), 1);
    let seqs: BTreeSet<u64> = sent.iter().map(|message| message.seq.0).collect();
    assert_eq!(seqs, (1..=32).collect());
    let id = &sent[0].conversation_id;
    assert_eq!(stage.members(id).await.len(), 2);
    let kinds = stage.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "conversation.created").count(), 1);
    assert_eq!(kinds.len(), 33);
    for one in [actor("ada"), actor("bob")] {
        assert_eq!(stage.unread(&one, id).await, stage.recounted(&one, id).await, "{}", one.user);
    }
}

async fn a_refused_first_message_makes_nothing(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let elsewhere = stage.group("Elsewhere", &[&ada]).await;
    let message = stage.say(&ada, &elsewhere, "here").await;
    stage.chat.register_file(&ada, file("f", &elsewhere)).await.unwrap();
    stage.quiet().await;
    let gone = MessageId::new("nothing").unwrap();
    let thread = |root: &MessageId| Some(ThreadPlace { root: root.clone(), also_in_conversation: false });
    let drafts = [
        (Draft::text(" \n "), Code::MessageEmpty),
        (Draft::text("x".repeat(10_001)), Code::MessageTooLong),
        (Draft { kind: MessageKind::System, ..Draft::text("x") }, Code::MessageInvalid),
        (
            Draft {
                mentions: Mentions { users: vec![eve.user.clone(); 51], everyone: false },
                ..Draft::text("x")
            },
            Code::MessageInvalid,
        ),
        (Draft { attachments: vec![attached("f")], ..Draft::text("x") }, Code::FileNotFound),
        (Draft { reply_to: Some(message.id.clone()), ..Draft::text("x") }, Code::MessageNotFound),
        (Draft { reply_to: Some(gone.clone()), ..Draft::text("x") }, Code::MessageNotFound),
        (Draft { thread: thread(&message.id), ..Draft::text("x") }, Code::MessageNotFound),
        (Draft { thread: thread(&gone), ..Draft::text("x") }, Code::MessageNotFound),
    ];
    for (draft, code) in drafts {
        refused(stage.chat.send(&ada, &bob.user, draft.clone(), None).await, code);
        let id = direct_id(&ada.user, &bob.user).unwrap();
        let made = stage.ports().conversations.get(&id).await.unwrap();
        assert_eq!(made, None, "a refused message made a conversation: {draft:?}");
        assert_eq!(stage.kinds().await, [""; 0]);
    }
}

async fn nobody_writes_to_themselves(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    refused(stage.chat.send(&ada, &ada.user, "note to self", None).await, Code::ConversationInvalid);
    refused(stage.chat.direct(&ada, &ada.user).await, Code::ConversationInvalid);
    assert_eq!(stage.kinds().await, [""; 0]);
}

async fn nobody_speaks_for_the_system(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let draft = Draft { kind: MessageKind::System, ..Draft::text("ada is the owner now") };
    for actor in [ada, crate::stage::platform_admin()] {
        refused(stage.chat.send(&actor, &group, draft.clone(), None).await, Code::MessageInvalid);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
}

async fn attachments_are_what_was_registered(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let registered = stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    let draft = Draft { kind: MessageKind::File, attachments: vec![attached("f")], ..Draft::default() };
    // By another member as well: what is registered in a conversation is its members' to show.
    let sent = stage.chat.send(&bob, &group, draft, None).await.unwrap().message;
    let expected = Attachment { duration_ms: Some(4_200), ..Attachment::from(&registered) };
    assert_eq!(sent.attachments, [expected], "what the sender claims of a file does not count");
    assert_eq!(sent.content, "", "beside a file nothing has to be said");
    let events = stage.events().await;
    let told = events.iter().find_map(|event| match event {
        Event::MessageSent(sent) => Some(&sent.attachments),
        _ => None,
    });
    assert_eq!(told, Some(&sent.attachments));
}

async fn a_file_of_another_conversation_cannot_be_attached(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let here = stage.group("Here", &[&ada, &bob]).await;
    let there = stage.group("There", &[&bob]).await;
    stage.chat.register_file(&bob, file("there", &there)).await.unwrap();
    stage.chat.register_file(&bob, file("here", &here)).await.unwrap();
    stage.chat.register_file(&bob, file("gone", &here)).await.unwrap();
    stage.chat.delete_file(&bob, &FileId::new("gone").unwrap(), true).await.unwrap();
    stage.quiet().await;
    let before = stage.truth(from_ref(&here), &[]).await;
    for sender in [&ada, &bob] {
        for files in [&["there"][..], &["nowhere"], &["gone"], &["here", "there"]] {
            let attachments = files.iter().map(|id| attached(id)).collect();
            let draft = Draft { attachments, ..Draft::text("look") };
            refused(stage.chat.send(sender, &here, draft, None).await, Code::FileNotFound);
        }
    }
    assert_eq!(stage.truth(from_ref(&here), &[]).await, before);
}

async fn only_members_are_mentioned(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid, eve) = (actor("ada"), actor("bob"), actor("cid"), actor("eve"));
    let group = stage.group("Engines", &[&ada, &bob, &cid]).await;
    stage.chat.remove_member(&ada, &group, &cid.user).await.unwrap();
    let users = ["bob", "eve", "cid", "bob", "ada"].map(user).to_vec();
    let mentions = Mentions { users, everyone: false };
    for cold in [false, true] {
        if cold {
            stage.cool(&group).await;
        }
        let draft = Draft { mentions: mentions.clone(), ..Draft::text("@bob @eve") };
        let sent = stage.chat.send(&ada, &group, draft, None).await.unwrap().message;
        assert_eq!(sent.mentions.users, ["ada", "bob"].map(user), "each member once, and nobody else");
        let edited =
            stage.chat.edit(&ada, &sent.id, format!("{cold}"), mentions.clone(), None).await.unwrap().message;
        assert_eq!(edited.mentions.users, ["ada", "bob"].map(user));
    }
    assert_eq!(stage.unread(&bob, &group).await, (2, 2));
    stage.chat.add_members(&ada, &group, from_ref(&eve.user)).await.unwrap();
    assert_eq!(stage.unread(&eve, &group).await, (0, 0), "who was no member was not mentioned");
    let all = Draft { mentions: Mentions { users: vec![], everyone: true }, ..Draft::text("@all") };
    stage.chat.send(&ada, &group, all, None).await.unwrap();
    assert_eq!(stage.unread(&bob, &group).await, (3, 3));
    assert_eq!(stage.unread(&eve, &group).await, (1, 1));
}

async fn a_thread_hangs_on_its_root(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let root = stage.say(&ada, &group, "a question").await;
    let mut above = root.id.clone();
    for n in 1..=4_u64 {
        let place = ThreadPlace { root: above, also_in_conversation: n % 2 == 0 };
        let draft = Draft { thread: Some(place), ..Draft::text(format!("answer {n}")) };
        let reply = stage.chat.send(&bob, &group, draft, None).await.unwrap().message;
        let place = reply.thread.clone().expect("a place in the thread");
        assert_eq!((place.root, place.also_in_conversation), (root.id.clone(), n % 2 == 0));
        let root = stage.chat.find(&ada, &root.id).await.unwrap();
        assert_eq!((root.replies.replies, root.replies.last_reply_at), (n, Some(reply.created_at)));
        above = reply.id;
    }
}

async fn a_reply_stays_in_its_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let here = stage.group("Here", &[&ada]).await;
    let there = stage.group("There", &[&ada, &bob]).await;
    let root = stage.say(&bob, &there, "a question").await;
    let place = |root: &MessageId| Some(ThreadPlace { root: root.clone(), also_in_conversation: false });
    let draft = Draft { thread: place(&root.id), ..Draft::text("an answer") };
    let reply = stage.chat.send(&bob, &there, draft, None).await.unwrap().message;
    stage.quiet().await;
    let conversations = [here.clone(), there.clone()];
    let before = stage.truth(&conversations, &[]).await;
    for id in [&root.id, &reply.id, &MessageId::new("nothing").unwrap()] {
        let quoting = Draft { reply_to: Some(id.clone()), ..Draft::text("quoted") };
        refused(stage.chat.send(&ada, &here, quoting, None).await, Code::MessageNotFound);
        let threaded = Draft { thread: place(id), ..Draft::text("threaded") };
        refused(stage.chat.send(&ada, &here, threaded, None).await, Code::MessageNotFound);
    }
    assert_eq!(stage.truth(&conversations, &[]).await, before);
    let quoting = Draft { reply_to: Some(root.id.clone()), ..Draft::text("quoted") };
    let sent = stage.chat.send(&ada, &there, quoting, None).await.unwrap().message;
    assert_eq!(sent.reply_to, Some(root.id));
}

async fn bad_messages_are_refused_and_the_largest_are_taken(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let people =
        |n: usize| Mentions { users: (0..n).map(|i| user(&format!("u{i}"))).collect(), everyone: false };
    let files = |n: usize| (0..n).map(|i| attached(&format!("f{i}"))).collect::<Vec<_>>();
    let facts = |n: usize, length: usize| -> BTreeMap<String, String> {
        (0..n).map(|i| (format!("fact {i}"), "é".repeat(length))).collect()
    };
    let long_name = BTreeMap::from([("n".repeat(201), String::new())]);
    let bad = [
        (Draft::text(""), Code::MessageEmpty),
        (Draft::text(" \t\r\n\u{a0}\u{2003}"), Code::MessageEmpty),
        (Draft::text("x".repeat(10_001)), Code::MessageTooLong),
        (Draft::text("🦀".repeat(10_001)), Code::MessageTooLong),
        (Draft { mentions: people(51), ..Draft::text("x") }, Code::MessageInvalid),
        (Draft { attachments: files(21), ..Draft::text("x") }, Code::MessageInvalid),
        (Draft { metadata: facts(21, 1), ..Draft::text("x") }, Code::MessageInvalid),
        (Draft { metadata: facts(1, 201), ..Draft::text("x") }, Code::MessageInvalid),
        (Draft { metadata: long_name, ..Draft::text("x") }, Code::MessageInvalid),
    ];
    let before = stage.truth(from_ref(&group), &[]).await;
    for (draft, code) in bad {
        refused(stage.chat.send(&ada, &group, draft, None).await, code);
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    for n in 0..20 {
        stage.chat.register_file(&ada, file(&format!("f{n}"), &group)).await.unwrap();
    }
    for draft in [
        Draft::text("x".repeat(10_000)),
        Draft::text("🦀".repeat(10_000)),
        Draft::text("\u{202e}e\u{301} \u{0}"),
        Draft { mentions: people(50), ..Draft::text("x") },
        Draft { attachments: files(20), ..Draft::text(" ") },
        Draft { metadata: facts(20, 200), ..Draft::text("x") },
    ] {
        let sent = stage.chat.send(&ada, &group, draft.clone(), None).await.unwrap().message;
        assert_eq!(sent.content, draft.content, "stored as sent");
    }
}

async fn a_message_is_one_event_with_everything_said(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let made = stage
        .chat
        .create_group(&ada, NewGroup::named("Engines").with_member(bob.user.clone()))
        .await
        .unwrap();
    let quoted = stage.say(&bob, &made.id, "a question").await;
    stage.quiet().await;
    let draft = Draft {
        kind: MessageKind::Contact,
        content: "é".repeat(10_000),
        reply_to: Some(quoted.id.clone()),
        thread: Some(ThreadPlace { root: quoted.id, also_in_conversation: true }),
        mentions: Mentions { users: vec![user("bob")], everyone: true },
        silent: true,
        metadata: BTreeMap::from([("lang".to_owned(), "fr".to_owned())]),
        ..Draft::default()
    };
    let sent =
        stage.chat.send(&ada, Target::Conversation(made.id.clone()), draft, Some(&key("k"))).await.unwrap();
    let message = sent.message;
    let events = stage.events().await;
    let [Event::MessageSent(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!(*event, chat_core::event::MessageSent::from(&message));
    assert_eq!(event.content.chars().count(), 10_000, "nothing is cut off");
    let stored = stage.ports().messages.get_many(from_ref(&message.id)).await.unwrap();
    assert_eq!(stored, [Some(message)]);
    refused(stage.chat.send(&ada, &conversation("nowhere"), "x", None).await, Code::Forbidden);
}
