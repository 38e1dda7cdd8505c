//! Promises of files: their metadata.

use std::slice::from_ref;

use chat_core::domain::conversation::direct_id;
use chat_core::domain::file::MAX_FILE_BYTES;
use chat_core::domain::{FileId, FileRecord, RoomRole};
use chat_core::error::Code;
use chat_core::event::Event;
use chat_core::store::FileStoreExt;

use super::sending::file;
use crate::Offer;
use crate::expect::{at_once, refused};
use crate::sample::{conversation, key, user};
use crate::stage::{Stage, actor, platform_admin};

promises! {
    "service::files":
    who_and_when_are_not_the_uploaders_to_say,
    registering_is_said_once,
    a_file_with_an_id_in_use_is_a_conflict,
    bad_files_are_refused,
    a_download_counts_once,
    downloads_of_several_people_are_apart,
    racing_repeats_of_a_download_count_once,
    a_file_is_for_the_members_of_its_conversation,
    its_uploader_and_those_who_keep_order_delete_it,
    deleting_is_said_once,
    what_is_gone_is_as_if_it_had_never_been,
    who_was_taken_out_sees_no_more_of_its_own_files,
}

fn id(name: &str) -> FileId {
    FileId::new(name).expect("a file id")
}

async fn who_and_when_are_not_the_uploaders_to_say(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let claimed = file("f", &group);
    let registered = stage.chat.register_file(&ada, claimed.clone()).await.unwrap();
    let expected =
        FileRecord { uploaded_by: ada.user.clone(), uploaded_at: stage.chat.now(), downloads: 0, ..claimed };
    assert_eq!(registered, expected);
    assert_eq!(stage.ports().files.get(&id("f")).await.unwrap(), Some(expected));
}

async fn registering_is_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let first = stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    stage.chat.download_file(&ada, &id("f"), &key("d")).await.unwrap();
    stage.quiet().await;
    let again = stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    assert_eq!((&again.file_id, &again.uploaded_by), (&first.file_id, &first.uploaded_by));
    assert_eq!(stage.kinds().await, [""; 0]);
    stage.chat.register_file(&ada, file("g", &group)).await.unwrap();
    let events = stage.events().await;
    let [Event::FileUploaded(event)] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((&event.file_id, &event.uploaded_by, &event.conversation_id), (&id("g"), &ada.user, &group));
}

async fn a_file_with_an_id_in_use_is_a_conflict(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let other = stage.group("Other", &[&ada, &bob]).await;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    stage.quiet().await;
    let groups = [group.clone(), other.clone()];
    let before = stage.truth(&groups, &[]).await;
    refused(stage.chat.register_file(&bob, file("f", &group)).await, Code::Conflict);
    refused(stage.chat.register_file(&ada, file("f", &other)).await, Code::Conflict);
    let larger = FileRecord { size: 9, ..file("f", &group) };
    refused(stage.chat.register_file(&ada, larger).await, Code::Conflict);
    assert_eq!(stage.truth(&groups, &[]).await, before);
}

async fn bad_files_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let long = |n: usize| "é".repeat(n);
    let good = file("f", &group);
    let bad = [
        FileRecord { file_name: String::new(), ..good.clone() },
        FileRecord { file_name: long(256), ..good.clone() },
        FileRecord { original_name: String::new(), ..good.clone() },
        FileRecord { original_name: long(256), ..good.clone() },
        FileRecord { mime_type: String::new(), ..good.clone() },
        FileRecord { mime_type: long(101), ..good.clone() },
        FileRecord { url: Some(String::new()), ..good.clone() },
        FileRecord { url: Some(long(2_049)), ..good.clone() },
        FileRecord { size: MAX_FILE_BYTES + 1, ..good.clone() },
    ];
    for bad in bad {
        refused(stage.chat.register_file(&ada, bad).await, Code::FileInvalid);
    }
    assert_eq!(stage.kinds().await, [""; 0]);
    let largest = FileRecord {
        file_name: long(255),
        original_name: long(255),
        mime_type: long(100),
        url: Some(long(2_048)),
        size: MAX_FILE_BYTES,
        ..good
    };
    stage.chat.register_file(&ada, largest).await.unwrap();
}

async fn a_download_counts_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    stage.quiet().await;
    for (download, count) in [("one", 1), ("one", 1), ("two", 2), ("one", 2)] {
        let got = stage.chat.download_file(&bob, &id("f"), &key(download)).await.unwrap();
        assert_eq!(got.downloads, count, "{download}");
    }
    let events = stage.events().await;
    let by: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::FileDownloaded(event) => (&event.file_id, &event.user_id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(by, [(&id("f"), &bob.user); 2]);
}

async fn downloads_of_several_people_are_apart(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    for name in ["f", "g"] {
        stage.chat.register_file(&ada, file(name, &group)).await.unwrap();
    }
    stage.quiet().await;
    // What one client calls its request says nothing about another one's.
    for (who, name, count) in [(&ada, "f", 1), (&bob, "f", 2), (&ada, "g", 1)] {
        let got = stage.chat.download_file(who, &id(name), &key("1")).await.unwrap();
        assert_eq!(got.downloads, count, "{} {name}", who.user);
    }
    assert_eq!(stage.kinds().await, ["file.downloaded"; 3]);
}

async fn racing_repeats_of_a_download_count_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    stage.quiet().await;
    at_once(16, |_| {
        let (chat, ada) = (stage.chat.clone(), ada.clone());
        async move { chat.download_file(&ada, &id("f"), &key("1")).await.unwrap() }
    })
    .await;
    assert_eq!(stage.kinds().await, ["file.downloaded"]);
    assert_eq!(stage.ports().files.get(&id("f")).await.unwrap().expect("the file").downloads, 1);
}

async fn a_file_is_for_the_members_of_its_conversation(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let group = stage.group("Engines", &[&ada]).await;
    stage.group("Her own", &[&eve]).await;
    let direct = stage.chat.direct(&ada, &bob.user).await.unwrap().conversation.id;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    stage.chat.register_file(&ada, file("d", &direct)).await.unwrap();
    stage.chat.download_file(&bob, &id("d"), &key("1")).await.unwrap();
    stage.quiet().await;
    let places = [group.clone(), direct];
    let before = stage.truth(&places, &[]).await;
    for name in ["f", "d", "nothing"] {
        refused(stage.chat.download_file(&eve, &id(name), &key("1")).await, Code::Forbidden);
        refused(stage.chat.delete_file(&eve, &id(name), true).await, Code::Forbidden);
    }
    for place in [&group, &conversation("nowhere"), &direct_id(&user("x"), &user("y")).unwrap()] {
        refused(stage.chat.register_file(&eve, file("e", place)).await, Code::Forbidden);
    }
    assert_eq!(stage.truth(&places, &[]).await, before);
    stage.chat.download_file(&platform_admin(), &id("d"), &key("1")).await.unwrap();
}

async fn its_uploader_and_those_who_keep_order_delete_it(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, cid, moderator) = (actor("ada"), actor("bob"), actor("cid"), actor("mod"));
    let group = stage.group("Engines", &[&ada, &bob, &cid, &moderator]).await;
    stage.chat.set_role(&ada, &group, &moderator.user, RoomRole::Moderator).await.unwrap();
    for name in ["1", "2", "3"] {
        stage.chat.register_file(&bob, file(name, &group)).await.unwrap();
        refused(stage.chat.delete_file(&cid, &id(name), false).await, Code::Forbidden);
    }
    for (who, name) in [(&bob, "1"), (&moderator, "2"), (&ada, "3")] {
        assert_eq!(stage.chat.delete_file(who, &id(name), false).await.unwrap().file_id, id(name));
    }
    let direct = stage.chat.direct(&ada, &bob.user).await.unwrap().conversation.id;
    stage.chat.register_file(&bob, file("4", &direct)).await.unwrap();
    refused(stage.chat.delete_file(&ada, &id("4"), false).await, Code::Forbidden);
}

async fn deleting_is_said_once(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for physical in [false, true] {
        stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
        stage.quiet().await;
        let deleted = at_once(8, |_| {
            let (chat, ada) = (stage.chat.clone(), ada.clone());
            async move { chat.delete_file(&ada, &id("f"), physical).await }
        })
        .await;
        assert!(deleted.iter().any(Result::is_ok));
        for late in deleted.into_iter().filter(Result::is_err) {
            refused(late, Code::Forbidden);
        }
        let events = stage.events().await;
        let [Event::FileDeleted(event)] = events.as_slice() else { panic!("one event: {events:?}") };
        assert_eq!((&event.deleter_id, event.physical_delete), (&Some(ada.user.clone()), physical));
        assert_eq!((event.size, event.mime_type.as_str()), (1_234, "application/pdf"));
    }
}

async fn what_is_gone_is_as_if_it_had_never_been(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    stage.chat.register_file(&ada, file("f", &group)).await.unwrap();
    stage.chat.delete_file(&ada, &id("f"), true).await.unwrap();
    let unknown = [
        stage.chat.download_file(&ada, &id("f"), &key("1")).await,
        stage.chat.delete_file(&ada, &id("f"), true).await,
        stage.chat.download_file(&ada, &id("nothing"), &key("1")).await,
    ];
    for unknown in unknown {
        assert_eq!(format!("{:?}", unknown.unwrap_err()), "Error(chat.forbidden)");
    }
}

async fn who_was_taken_out_sees_no_more_of_its_own_files(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.chat.register_file(&bob, file("f", &group)).await.unwrap();
    stage.chat.remove_member(&ada, &group, &bob.user).await.unwrap();
    let before = stage.truth(from_ref(&group), &[]).await;
    refused(stage.chat.download_file(&bob, &id("f"), &key("1")).await, Code::Forbidden);
    refused(stage.chat.delete_file(&bob, &id("f"), true).await, Code::Forbidden);
    refused(stage.chat.register_file(&bob, file("g", &group)).await, Code::Forbidden);
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
}
