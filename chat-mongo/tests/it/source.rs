//! Users and files under lost replies and wrong clocks; and what they cost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, SystemClock};
use chat_core::domain::page::Page;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{FileRecord, UserProfile};
use chat_core::event::{Envelope, EventKind};
use chat_core::store::{FileStore, FileStoreExt, UserSource, UserSourceExt};
use chat_mongo::Mongo;
use chat_testkit::expect::{at_once, drained};
use chat_testkit::proxy::Request;
use chat_testkit::{Absent, sample, trials};

use super::count::counted;
use super::desk::{behind_a_proxy, fresh, nodes, patient, server};

trials! { needs "mongo":
    lives_follow_one_another_though_a_clock_is_wrong,
    nothing_of_who_is_deleted_is_kept,
    two_nodes_make_a_thousand_users_once,
    a_lost_reply_of_a_user_loses_and_doubles_nothing,
    a_lost_reply_of_a_file_loses_and_doubles_nothing,
    operations_cost_what_is_said,
}

fn named(name: &str) -> ProfileUpdate {
    ProfileUpdate { full_name: Some(name.to_owned()), ..ProfileUpdate::default() }
}

fn profile(id: &str) -> UserProfile {
    UserProfile {
        matricule: Some("secret".to_owned()),
        ..UserProfile::new(sample::user(id), "Ada", SystemClock.now())
    }
}

fn photo(name: &str) -> FileRecord {
    sample::file(&sample::conversation("here"), name)
}

async fn kinds(mongo: &Mongo) -> Vec<EventKind> {
    let told = drained(&*mongo.outbox).await;
    let ids: BTreeSet<_> = told.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), told.len(), "each has an id of its own");
    told.iter().filter_map(Envelope::kind).collect()
}

async fn lives_follow_one_another_though_a_clock_is_wrong() -> Result<(), Absent> {
    let config = patient(fresh(server()?.url()));
    let right = Mongo::connect(&config).await.unwrap();
    right.ensure().await.unwrap();
    let late = ManualClock::new(SystemClock.now().before(Duration::from_secs(3_600)));
    let wrong = Mongo::connect(&config.clone().with_clock(Arc::new(late))).await.unwrap();
    let (ada, ann) = (profile("ada"), sample::user("ann"));
    let file = photo("photo");
    for node in [&right, &wrong, &wrong, &right] {
        assert_eq!(node.source.create_many(std::slice::from_ref(&ada)).await.unwrap(), [true]);
        wrong.source.update(&ada.id, &named("Eve")).await.unwrap();
        assert!(right.source.delete(&ada.id).await.unwrap().is_some());
        assert!(node.files.register(&file).await.unwrap());
        wrong.files.downloaded(&file.file_id, &ann, &sample::key("d")).await.unwrap();
        assert!(right.files.delete(&file.file_id, &ann, true).await.unwrap());
    }
    let life = [
        EventKind::UserProfileCreated,
        EventKind::UserProfileUpdated,
        EventKind::UserProfileDeleted,
        EventKind::FileUploaded,
        EventKind::FileDownloaded,
        EventKind::FileDeleted,
    ];
    let told = kinds(&right).await;
    for of in [&life[..3], &life[3..]] {
        let mine: Vec<_> = told.iter().filter(|kind| of.contains(kind)).copied().collect();
        assert_eq!(mine, of.repeat(4));
    }
    Ok(())
}

async fn nothing_of_who_is_deleted_is_kept() -> Result<(), Absent> {
    let config = patient(fresh(server()?.url()));
    let mongo = Mongo::connect(&config).await.unwrap();
    mongo.ensure().await.unwrap();
    let ada = profile("ada");
    mongo.source.create_many(std::slice::from_ref(&ada)).await.unwrap();
    mongo.source.delete(&ada.id).await.unwrap();
    let client = mongodb::Client::with_uri_str(config.url.expose()).await.unwrap();
    let users = client.database(&config.database).collection::<mongodb::bson::Document>("users");
    let left = users.find_one(mongodb::bson::doc! {}).await.unwrap().unwrap();
    let fields: Vec<_> = left.keys().map(String::as_str).collect();
    assert_eq!(fields, ["_id", "stamp", "expiresAt"], "{left}");
    Ok(())
}

async fn two_nodes_make_a_thousand_users_once() -> Result<(), Absent> {
    let nodes = nodes().await?;
    let all: Vec<_> = (0..1_010).map(|nth| profile(&format!("user {nth}"))).collect();
    let made = at_once(4, |nth| {
        let (node, mut mine) = (nodes[nth % 2].clone(), all.clone());
        async move {
            mine.rotate_left(nth * 250);
            let made = node.source.create_many(&mine).await.unwrap();
            mine.into_iter().zip(made).filter(|(_, made)| *made).map(|(one, _)| one.id).collect::<Vec<_>>()
        }
    })
    .await;
    let made: Vec<_> = made.into_iter().flatten().collect();
    assert_eq!(
        (made.len(), made.iter().collect::<BTreeSet<_>>().len()),
        (1_010, 1_010),
        "each by one of them"
    );
    assert_eq!(kinds(&nodes[0]).await.len(), 1_010);
    Ok(())
}

async fn a_lost_reply_of_a_user_loses_and_doubles_nothing() -> Result<(), Absent> {
    let (proxy, behind, straight) = behind_a_proxy().await?;
    let writes = |first: &str| {
        let first = Request::command_on(first, "users");
        [first, Request::command_on("insert", "outbox"), Request::command("commitTransaction")]
    };
    for (step, lost) in writes("insert").into_iter().enumerate() {
        let ada = profile(&format!("ada {step}"));
        let made = proxy.losing(lost, behind.source.create_many(std::slice::from_ref(&ada))).await.unwrap();
        assert_eq!(made, [true]);
        assert_eq!(
            straight.source.fetch(&ada.id).await.unwrap().map(|found| found.full_name),
            Some(ada.full_name)
        );
        assert_eq!(kinds(&straight).await, [EventKind::UserProfileCreated]);
    }
    for (step, lost) in writes("update").into_iter().enumerate() {
        let ada = sample::user(&format!("ada {step}"));
        let changed = proxy.losing(lost, behind.source.update(&ada, &named("Eve"))).await.unwrap();
        assert_eq!(straight.source.fetch(&ada).await.unwrap(), Some(changed));
        assert_eq!(kinds(&straight).await, [EventKind::UserProfileUpdated]);
    }
    for (step, lost) in writes("update").into_iter().enumerate() {
        let ada = sample::user(&format!("ada {step}"));
        assert!(proxy.losing(lost, behind.source.delete(&ada)).await.unwrap().is_some());
        assert_eq!(straight.source.fetch(&ada).await.unwrap(), None);
        assert_eq!(kinds(&straight).await, [EventKind::UserProfileDeleted]);
    }
    Ok(())
}

async fn a_lost_reply_of_a_file_loses_and_doubles_nothing() -> Result<(), Absent> {
    let (proxy, behind, straight) = behind_a_proxy().await?;
    let ann = sample::user("ann");
    let writes = |first: &str| {
        let first = Request::command_on(first, "files");
        [first, Request::command_on("insert", "outbox"), Request::command("commitTransaction")]
    };
    for (step, lost) in writes("insert").into_iter().enumerate() {
        let file = photo(&format!("photo {step}"));
        assert!(proxy.losing(lost, behind.files.register(&file)).await.unwrap());
        assert!(!straight.files.register(&file).await.unwrap());
        assert_eq!(kinds(&straight).await, [EventKind::FileUploaded]);
    }
    for (step, lost) in writes("findAndModify").into_iter().enumerate() {
        let file = photo(&format!("photo {step}")).file_id;
        let key = sample::key("d");
        let counted = proxy.losing(lost, behind.files.downloaded(&file, &ann, &key)).await.unwrap();
        assert_eq!(counted.downloads, 1);
        assert_eq!(straight.files.downloaded(&file, &ann, &key).await.unwrap().downloads, 1);
        assert_eq!(kinds(&straight).await, [EventKind::FileDownloaded]);
    }
    for (step, lost) in writes("update").into_iter().enumerate() {
        let file = photo(&format!("photo {step}")).file_id;
        assert!(proxy.losing(lost, behind.files.delete(&file, &ann, true)).await.unwrap());
        assert_eq!(straight.files.get(&file).await.unwrap(), None);
        assert_eq!(kinds(&straight).await, [EventKind::FileDeleted]);
    }
    Ok(())
}

/// The tables in the documentation.
async fn operations_cost_what_is_said() -> Result<(), Absent> {
    let (mongo, count) = counted(&patient(fresh(server()?.url()))).await;
    let Mongo { source, files, .. } = &mongo;
    let (ada, photo, ann) = (profile("ada"), photo("photo"), sample::user("ann"));
    let (file, ada_id, key) = (&photo.file_id, &ada.id, sample::key("d"));
    let two = [ada.clone(), profile("eve")];
    let mut costs = Vec::new();
    macro_rules! cost {
        ($name:literal, $work:expr) => {{
            count.take();
            $work.await.unwrap();
            costs.push(($name, count.take()));
        }};
    }
    cost!("create_many", source.create_many(&two));
    cost!("create_many again", source.create_many(&two));
    cost!("fetch_many", source.fetch_many(&[ada.id.clone(), ann.clone()]));
    cost!("update", source.update(ada_id, &named("Eve")));
    cost!("update again", source.update(ada_id, &named("Eve")));
    cost!("delete", source.delete(ada_id));
    cost!("delete again", source.delete(ada_id));
    cost!("create_many of one who comes back", source.create_many(&two));
    cost!("register", files.register(&photo));
    cost!("register again", files.register(&photo));
    cost!("get_many", files.get_many(std::slice::from_ref(file)));
    cost!("downloaded", files.downloaded(file, &ann, &key));
    cost!("downloaded again", files.downloaded(file, &ann, &key));
    cost!("list", files.list(&photo.conversation_id, &Page::first(10)));
    cost!("delete of a file", files.delete(file, &ann, true));
    cost!("delete of a file again", files.delete(file, &ann, true));
    let expected = [
        ("create_many", 4),
        ("create_many again", 1),
        ("fetch_many", 1),
        ("update", 4),
        ("update again", 1),
        ("delete", 4),
        ("delete again", 1),
        ("create_many of one who comes back", 4),
        ("register", 4),
        ("register again", 1),
        ("get_many", 1),
        ("downloaded", 3),
        ("downloaded again", 3),
        ("list", 1),
        ("delete of a file", 4),
        ("delete of a file again", 1),
    ];
    assert_eq!(costs, expected);
    Ok(())
}
