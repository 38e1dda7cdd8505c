//! Presence: ten thousand users online.

use std::sync::Arc;

use chat_benches::{Act, acting};
use chat_core::domain::{Page, SessionId, UserId};
use chat_core::memory::{Memory, MemoryPresence};
use chat_core::store::PresenceStore;
use chat_core::store::presence::Connect;
use chat_testkit::sample;

use crate::field::{Field, HOUR, MANY};

pub(crate) fn rows(field: &mut Field) {
    field.row("presence connect again", 1, |field, memory| {
        let presence = online(field, &memory);
        let all: Arc<Vec<_>> = Arc::new((0..MANY).map(|nth| connect(&user(nth))).collect());
        acting(move |_, nth| {
            let (presence, all) = (Arc::clone(&presence), Arc::clone(&all));
            async move {
                presence.connect(&all[nth % all.len()]).await.unwrap();
            }
        })
    });
    field.row("presence connect and disconnect", 1, |field, memory| {
        let presence = online(field, &memory);
        // One for each task: nobody interferes.
        let all: Arc<Vec<_>> =
            Arc::new((0..64).map(|task| connect(&sample::user(&format!("visitor{task}")))).collect());
        acting(move |task, _| {
            let (presence, all) = (Arc::clone(&presence), Arc::clone(&all));
            async move {
                let visitor = &all[task % all.len()];
                presence.connect(visitor).await.unwrap();
                presence.disconnect(&visitor.user, &visitor.session).await.unwrap();
            }
        })
    });
    field.row("presence heartbeat", 1, |field, memory| renewing(online(field, &memory), 1));
    field.row("presence heartbeats of 128", 128, |field, memory| renewing(online(field, &memory), 128));
    field.row("presence is online", 1, |field, memory| asking(online(field, &memory), 1));
    field.row("presence are 100 online", 100, |field, memory| asking(online(field, &memory), 100));
    field.row("presence list 100", 100, |field, memory| {
        let presence = online(field, &memory);
        acting(move |_, _| {
            let presence = Arc::clone(&presence);
            async move { assert_eq!(presence.online(&Page::first(100)).await.unwrap().items.len(), 100) }
        })
    });
    field.row("presence sweep, nothing due", 1, |field, memory| {
        let presence = online(field, &memory);
        acting(move |_, _| {
            let presence = Arc::clone(&presence);
            async move { assert!(presence.sweep(256).await.unwrap().is_empty()) }
        })
    });
}

fn user(nth: usize) -> UserId {
    sample::user(&format!("user{:06}", nth % MANY))
}

fn session() -> SessionId {
    sample::session("s")
}

fn connect(user: &UserId) -> Connect {
    Connect { user: user.clone(), session: session(), device: None, lease: HOUR }
}

fn online(field: &Field, memory: &Memory) -> Arc<MemoryPresence> {
    field.prepare(async {
        for nth in 0..MANY {
            memory.presence.connect(&connect(&user(nth))).await.unwrap();
        }
    });
    Arc::clone(&memory.presence)
}

fn renewing(presence: Arc<MemoryPresence>, count: usize) -> Act {
    let batch =
        |first: usize| (0..count).map(|nth| (user(first * count + nth), session())).collect::<Vec<_>>();
    let batches: Arc<Vec<_>> = Arc::new((0..MANY / count).map(batch).collect());
    acting(move |_, nth| {
        let (presence, batches) = (Arc::clone(&presence), Arc::clone(&batches));
        async move {
            presence.renew_many(&batches[nth % batches.len()], HOUR).await.unwrap();
        }
    })
}

fn asking(presence: Arc<MemoryPresence>, count: usize) -> Act {
    let batch = |first: usize| (0..count).map(|nth| user(first * count + nth)).collect::<Vec<_>>();
    let batches: Arc<Vec<_>> = Arc::new((0..MANY / count).map(batch).collect());
    acting(move |_, nth| {
        let (presence, batches) = (Arc::clone(&presence), Arc::clone(&batches));
        async move {
            assert!(
                presence
                    .are_online(&batches[nth % batches.len()])
                    .await
                    .unwrap()
                    .iter()
                    .all(|online| *online)
            );
        }
    })
}
