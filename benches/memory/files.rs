//! Files: registered, downloaded, found.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::domain::{FileId, Page};
use chat_core::memory::{Memory, MemoryFiles};
use chat_core::store::FileStore;
use chat_testkit::sample;

use crate::field::{Field, MANY};

/// How many files a conversation has.
const FILES: usize = 100;

pub(crate) fn rows(field: &mut Field) {
    field.row("files register", 1, |_, memory| {
        acting(move |task, nth| {
            let (files, here) =
                (Arc::clone(&memory.files), sample::conversation(&format!("r{}", nth % MANY)));
            let file = sample::file(&here, &format!("{task}-{nth}"));
            async move { assert!(files.register(&file).await.unwrap()) }
        })
    });
    field.row("files downloaded", 1, |field, memory| {
        let (files, ids) = filled(field, &memory);
        let ann = sample::user("ann");
        acting(move |task, nth| {
            let (files, ids, ann) = (Arc::clone(&files), Arc::clone(&ids), ann.clone());
            let download = sample::key(&format!("{task}-{nth}"));
            async move {
                files.downloaded(&ids[nth % ids.len()], &ann, &download).await.unwrap();
            }
        })
    });
    field.row("files get 100", FILES as u64, |field, memory| {
        let (files, ids) = filled(field, &memory);
        acting(move |_, nth| {
            let (files, ids) = (Arc::clone(&files), Arc::clone(&ids));
            async move {
                let first = nth * FILES % ids.len();
                assert_eq!(files.get_many(&ids[first..first + FILES]).await.unwrap().len(), FILES);
            }
        })
    });
    field.row("files list 50", 50, |field, memory| {
        let (files, _) = filled(field, &memory);
        acting(move |_, nth| {
            let (files, here) = (Arc::clone(&files), place(nth));
            async move { assert_eq!(files.list(&here, &Page::first(50)).await.unwrap().items.len(), 50) }
        })
    });
}

fn place(nth: usize) -> chat_core::domain::ConversationId {
    sample::conversation(&format!("r{}", nth % (MANY / FILES)))
}

fn filled(field: &Field, memory: &Memory) -> (Arc<MemoryFiles>, Arc<Vec<FileId>>) {
    let all: Vec<_> = (0..MANY).map(|nth| sample::file(&place(nth / FILES), &format!("f{nth:05}"))).collect();
    field.prepare(async {
        for file in &all {
            assert!(memory.files.register(file).await.unwrap());
        }
    });
    (Arc::clone(&memory.files), Arc::new(all.into_iter().map(|file| file.file_id).collect()))
}
