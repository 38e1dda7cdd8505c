//! Promises of the `files` port: what files there are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, Timestamp};
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{ConversationId, FileId, FileRecord, UserId};
use chat_core::error::Code;
use chat_core::event::{Event, FileDeleted, FileDownloaded, FileUploaded};
use chat_core::store::{FileStore, FileStoreExt, Outbox};

use crate::expect::{at_once, drained, events, refused, unavailable};
use crate::offer::Offer;
use crate::run::checks;
use crate::sample;
use crate::walk::walk;

checks! {
    "files" needs [files, outbox]:
    a_file_is_registered_as_it_is,
    registering_it_again_changes_nothing,
    another_file_cannot_take_the_id,
    racing_registrations_register_one_file,
    files_line_up_with_the_question,
    every_download_is_counted,
    a_repeated_download_is_counted_once,
    racing_downloads_are_all_counted,
    a_file_that_is_not_there_is_not_downloaded,
    a_deleted_file_is_gone_and_deleting_it_again_changes_nothing,
    the_files_of_a_conversation_come_in_pages_of_any_size,
    a_walk_misses_no_file_while_others_come_and_go,
    every_change_writes_exactly_one_event_and_no_change_writes_none,
    hostile_ids_are_only_ids,
    an_outage_is_never_an_empty_answer + outage,
}

struct Desk {
    files: Arc<dyn FileStore>,
    outbox: Arc<dyn Outbox>,
    clock: ManualClock,
    here: ConversationId,
    ann: UserId,
}

impl Desk {
    fn new(offer: &Offer) -> Arc<Self> {
        Arc::new(Self {
            files: offer.files.clone().expect("files"),
            outbox: offer.outbox.clone().expect("an outbox"),
            clock: offer.clock.clone(),
            here: sample::conversation("here"),
            ann: sample::user("ann"),
        })
    }

    async fn register(&self, name: &str) -> FileRecord {
        let file = sample::file(&self.here, name);
        assert!(self.files.register(&file).await.unwrap());
        file
    }

    async fn get(&self, file: &FileRecord) -> Option<FileRecord> {
        self.files.get(&file.file_id).await.unwrap()
    }

    async fn download(&self, file: &FileRecord, by: &str, download: &str) -> FileRecord {
        self.files.downloaded(&file.file_id, &sample::user(by), &sample::key(download)).await.unwrap()
    }

    async fn events(&self) -> Vec<Event> {
        events(&*self.outbox).await
    }

    async fn listed(&self, conversation: &ConversationId, limit: usize) -> Vec<String> {
        let files = walk(limit, |page| async move { self.files.list(conversation, &page).await }).await;
        files.iter().map(|file| file.file_id.to_string()).collect()
    }
}

async fn a_file_is_registered_as_it_is(offer: Offer) {
    let desk = Desk::new(&offer);
    let plain = FileRecord { url: None, size: 0, ..sample::file(&desk.here, "plain") };
    for file in [desk.register("photo").await, plain] {
        desk.files.register(&file).await.unwrap();
        assert_eq!(desk.get(&file).await, Some(file));
    }
}

async fn registering_it_again_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    let file = desk.register("photo").await;
    let now = desk.download(&file, "ann", "first").await;
    desk.events().await;
    assert!(!desk.files.register(&file).await.unwrap(), "it is there already");
    assert_eq!(desk.get(&file).await, Some(now), "its downloads are still counted");
    assert_eq!(desk.events().await, []);
}

async fn another_file_cannot_take_the_id(offer: Offer) {
    let desk = Desk::new(&offer);
    let file = desk.register("photo").await;
    desk.events().await;
    for other in [
        FileRecord { conversation_id: sample::conversation("there"), ..file.clone() },
        FileRecord { uploaded_by: sample::user("eve"), ..file.clone() },
        FileRecord { size: file.size + 1, ..file.clone() },
        FileRecord { original_name: "another.png".to_owned(), ..file.clone() },
        FileRecord { url: None, ..file.clone() },
    ] {
        refused(desk.files.register(&other).await, Code::Conflict);
    }
    assert_eq!(desk.get(&file).await, Some(file));
    assert_eq!(desk.listed(&sample::conversation("there"), 10).await, [""; 0]);
    assert_eq!(desk.events().await, []);
}

async fn racing_registrations_register_one_file(offer: Offer) {
    let desk = Desk::new(&offer);
    for round in 0..10 {
        let answers = at_once(16, |nth| {
            let desk = Arc::clone(&desk);
            let mut file = sample::file(&desk.here, &format!("photo {round}"));
            file.size = nth as u64 / 8;
            async move { desk.files.register(&file).await }
        })
        .await;
        let new = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
        let same = answers.iter().filter(|answer| matches!(answer, Ok(false))).count();
        assert_eq!((new, same), (1, 7), "one is the first of eight that are the same");
        answers.into_iter().filter(Result::is_err).for_each(|answer| refused(answer, Code::Conflict));
    }
    assert_eq!(desk.events().await.len(), 10);
}

async fn files_line_up_with_the_question(offer: Offer) {
    let desk = Desk::new(&offer);
    assert!(desk.files.get_many(&[]).await.unwrap().is_empty());
    let (one, two) = (desk.register("one").await, desk.register("two").await);
    let nowhere = sample::file(&desk.here, "nowhere").file_id;
    let question = [two.file_id.clone(), nowhere, one.file_id.clone(), two.file_id.clone()];
    assert_eq!(
        desk.files.get_many(&question).await.unwrap(),
        [Some(two.clone()), None, Some(one), Some(two)]
    );
}

async fn every_download_is_counted(offer: Offer) {
    let desk = Desk::new(&offer);
    let (file, other) = (desk.register("photo").await, desk.register("other").await);
    for downloads in 1..=3 {
        let expected = FileRecord { downloads, ..file.clone() };
        assert_eq!(desk.download(&file, "ann", &format!("download {downloads}")).await, expected);
        assert_eq!(desk.get(&file).await, Some(expected));
    }
    assert_eq!(desk.get(&other).await, Some(other));
}

async fn a_repeated_download_is_counted_once(offer: Offer) {
    let desk = Desk::new(&offer);
    let (file, other) = (desk.register("photo").await, desk.register("other").await);
    desk.download(&file, "ann", "d").await;
    desk.events().await;
    for _ in 0..3 {
        assert_eq!(desk.download(&file, "ann", "d").await.downloads, 1);
    }
    assert_eq!(desk.events().await, []);
    assert_eq!(desk.download(&other, "ann", "d").await.downloads, 1, "each file has its own");
    for nth in 0..999 {
        desk.download(&file, "ann", &format!("download {nth}")).await;
    }
    assert_eq!(desk.download(&file, "ann", "d").await.downloads, 1_000, "among the last thousand");
    assert_eq!(desk.events().await.len(), 1_000);
}

async fn racing_downloads_are_all_counted(offer: Offer) {
    let desk = Desk::new(&offer);
    let file = desk.register("photo").await;
    desk.events().await;
    // Every download twice, as from a client that asks again.
    at_once(64, |nth| {
        let (desk, file) = (Arc::clone(&desk), file.clone());
        async move { desk.download(&file, "ann", &format!("download {}", nth / 2)).await }
    })
    .await;
    assert_eq!(desk.get(&file).await.map(|file| file.downloads), Some(32), "each once");
    assert_eq!(desk.events().await.len(), 32);
}

async fn a_file_that_is_not_there_is_not_downloaded(offer: Offer) {
    let desk = Desk::new(&offer);
    let file = sample::file(&desk.here, "nowhere");
    refused(desk.files.downloaded(&file.file_id, &desk.ann, &sample::key("d")).await, Code::FileNotFound);
    assert!(!desk.files.delete(&file.file_id, &desk.ann, true).await.unwrap());
    assert_eq!(desk.get(&file).await, None);
    assert_eq!(desk.events().await, []);
}

async fn a_deleted_file_is_gone_and_deleting_it_again_changes_nothing(offer: Offer) {
    let desk = Desk::new(&offer);
    let (file, other) = (desk.register("photo").await, desk.register("phot").await);
    desk.events().await;
    assert!(desk.files.delete(&file.file_id, &desk.ann, false).await.unwrap());
    assert_eq!(desk.events().await.len(), 1);
    assert!(!desk.files.delete(&file.file_id, &desk.ann, false).await.unwrap(), "it was not there any more");
    assert_eq!(desk.get(&file).await, None);
    assert_eq!(desk.listed(&desk.here, 10).await, ["phot"]);
    refused(desk.files.downloaded(&file.file_id, &desk.ann, &sample::key("d")).await, Code::FileNotFound);
    assert_eq!(desk.get(&other).await, Some(other));
    assert_eq!(desk.events().await, []);
    let gone = at_once(8, |_| {
        let desk = Arc::clone(&desk);
        let id = FileId::new("phot").expect("a file id");
        async move { desk.files.delete(&id, &desk.ann, true).await.unwrap() }
    })
    .await;
    assert_eq!(gone.into_iter().filter(|gone| *gone).count(), 1);
    assert_eq!(desk.events().await.len(), 1);
}

async fn the_files_of_a_conversation_come_in_pages_of_any_size(offer: Offer) {
    let desk = Desk::new(&offer);
    let there = sample::conversation("there");
    let mut expected = Vec::new();
    for nth in 0..23 {
        let name = format!("file {:02}", (nth * 7) % 23);
        desk.register(&name).await;
        desk.files.register(&sample::file(&there, &format!("{name} there"))).await.unwrap();
        expected.push(name);
    }
    expected.sort();
    for limit in [1, 2, 5, 23, MAX_PAGE] {
        assert_eq!(desk.listed(&desk.here, limit).await, expected, "by {limit}");
    }
    assert_eq!(desk.listed(&there, 7).await.len(), 23);
    assert_eq!(desk.listed(&sample::conversation("nowhere"), 7).await, [""; 0]);
    for limit in [0, MAX_PAGE + 1] {
        refused(desk.files.list(&desk.here, &Page::first(limit)).await, Code::PageInvalid);
    }
}

async fn a_walk_misses_no_file_while_others_come_and_go(offer: Offer) {
    let desk = Desk::new(&offer);
    let mut names = Vec::new();
    for nth in 0..20 {
        names.push(desk.register(&format!("file {nth:02}")).await.file_id.to_string());
    }
    at_once(4, |nth| {
        let (desk, names) = (Arc::clone(&desk), names.clone());
        async move {
            for round in 0..20 {
                if nth < 2 {
                    let guest = sample::file(&desk.here, &format!("file {:02}x{nth}", (round * 7) % 20));
                    desk.files.register(&guest).await.unwrap();
                    tokio::task::yield_now().await;
                    desk.files.delete(&guest.file_id, &desk.ann, true).await.unwrap();
                } else {
                    let seen = desk.listed(&desk.here, [1, 3][nth - 2]).await;
                    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]), "none twice");
                    let stayed: Vec<_> = seen.into_iter().filter(|name| names.contains(name)).collect();
                    assert_eq!(stayed, names, "none missed");
                }
            }
        }
    })
    .await;
}

async fn every_change_writes_exactly_one_event_and_no_change_writes_none(offer: Offer) {
    let desk = Desk::new(&offer);
    let (ann, eve) = (&desk.ann, sample::user("eve"));
    let file = FileRecord { uploaded_at: desk.clock.now(), ..sample::file(&desk.here, "photo") };
    // What can be repeated is done twice: a repeat writes no second event.
    for _ in 0..2 {
        desk.files.register(&file).await.unwrap();
    }
    for _ in 0..2 {
        desk.download(&file, "eve", "d").await;
    }
    desk.clock.advance(Duration::from_secs(60));
    let deleted_at: Timestamp = desk.clock.now();
    for _ in 0..2 {
        desk.files.delete(&file.file_id, ann, true).await.unwrap();
    }
    let downloaded = FileDownloaded {
        file_id: file.file_id.clone(),
        conversation_id: Some(desk.here.clone()),
        user_id: eve,
        file_name: file.file_name.clone(),
        file_size: file.size,
    };
    let expected: Vec<Event> = vec![
        FileUploaded::from(&file).into(),
        downloaded.into(),
        FileDeleted::new(&file, Some(ann.clone()), deleted_at, true).into(),
    ];
    let written = drained(&*desk.outbox).await;
    assert!(written.iter().all(|envelope| envelope.key() == "photo"));
    let ids: BTreeSet<_> = written.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), written.len(), "every change has an id of its own");
    assert_eq!(written.iter().map(|envelope| envelope.event.clone()).collect::<Vec<_>>(), expected);

    assert!(desk.files.register(&file).await.unwrap(), "what was forgotten can be brought again");
    let again = drained(&*desk.outbox).await;
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].id, written[0].id, "which is another change");
}

async fn hostile_ids_are_only_ids(offer: Offer) {
    let desk = Desk::new(&offer);
    let names = sample::hostile_ids();
    for name in &names {
        let mut file = sample::file(&sample::conversation(name), name);
        (file.file_name, file.original_name, file.url) = ("stored".to_owned(), "shown".to_owned(), None);
        file.uploaded_by = sample::user(name);
        assert!(desk.files.register(&file).await.unwrap(), "{name:?}");
    }
    for name in &names {
        assert_eq!(desk.listed(&sample::conversation(name), 3).await, [name.as_str()]);
        let id = FileId::new(name).expect("a file id");
        assert_eq!(
            desk.files.downloaded(&id, &sample::user(name), &sample::key(name)).await.unwrap().downloads,
            1
        );
        assert!(desk.files.delete(&id, &sample::user(name), false).await.unwrap());
        assert_eq!(desk.listed(&sample::conversation(name), 3).await, [""; 0]);
    }
    assert_eq!(desk.events().await.len(), names.len() * 3);
}

async fn an_outage_is_never_an_empty_answer(offer: Offer) {
    let desk = Desk::new(&offer);
    let outage = offer.outage.expect("an outage");
    let file = desk.register("photo").await;
    desk.events().await;
    outage.begin();
    unavailable(desk.files.register(&sample::file(&desk.here, "new")).await);
    unavailable(desk.files.get_many(std::slice::from_ref(&file.file_id)).await);
    unavailable(desk.files.get(&FileId::new("nowhere").expect("a file id")).await);
    unavailable(desk.files.downloaded(&file.file_id, &desk.ann, &sample::key("d")).await);
    unavailable(desk.files.delete(&file.file_id, &desk.ann, true).await);
    unavailable(desk.files.list(&desk.here, &Page::first(10)).await);
    outage.end();
    assert_eq!(desk.get(&file).await, Some(file), "nothing changed meanwhile");
    assert_eq!(desk.listed(&desk.here, 10).await, ["photo"]);
    assert_eq!(desk.events().await, []);
}
