//! Users online: a server for each size, so that all sizes are measured by turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_benches::{Act, Curve, Place, Ring, acting};
use chat_core::domain::{Page, Seq};
use chat_core::store::presence::Connect;
use chat_core::store::{PresenceStore, PresenceStoreExt};

use crate::field::{Field, LEASE, TEXT, actor, session, user, writer};

pub(crate) const AXIS: &str = "users online";
pub(crate) const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The members of the group that is written to, and how many messages they can read one after the other.
const MEMBERS: usize = 100;
const MESSAGES: usize = 2_000;
pub(crate) const BATCH: usize = 128;

/// So many users online on a server, and what that takes of its memory.
pub(crate) struct Crowd {
    pub(crate) size: usize,
    pub(crate) field: Field,
    /// Bytes for each user.
    pub(crate) memory: f64,
}

pub(crate) fn crowds(ring: &Ring, sizes: &[usize]) -> Vec<Crowd> {
    let crowd = |size: &usize| {
        let field = Field::set(ring)?;
        let before = field.memory();
        ring.prepare(field.connect(0..*size));
        let memory = (field.memory() - before) / *size as f64;
        println!("{size} users online: {memory:.0} bytes each");
        ring.prepare(async {
            field.group("online", 0..MEMBERS, MESSAGES).await;
        });
        Some(Crowd { size: *size, field, memory })
    };
    sizes.iter().filter_map(crowd).collect()
}

pub(crate) fn curves(crowds: &[Crowd]) -> Vec<Curve> {
    let curve = |name: &str, returned: usize, act: fn(&Crowd) -> Act| {
        let place = |crowd: &Crowd| Place {
            size: crowd.size,
            returned,
            server: Some(Arc::clone(&crowd.field.server)),
            act: act(crowd),
        };
        Curve { axis: AXIS, name: name.to_owned(), places: crowds.iter().map(place).collect() }
    };
    vec![
        curve("heartbeat", 1, |crowd| {
            let (presence, size) = (Arc::clone(&crowd.field.redis.presence), crowd.size);
            acting(move |_, nth| {
                let presence = Arc::clone(&presence);
                async move {
                    let nth = scattered(nth, size);
                    presence.renew(&user(nth), &session(nth), LEASE).await.unwrap();
                }
            })
        }),
        curve("heartbeats of 128", BATCH, |crowd| {
            let (chat, size) = (crowd.field.chat.clone(), crowd.size);
            acting(move |_, nth| {
                let chat = chat.clone();
                async move {
                    let leases = batch(nth, size).map(|nth| (user(nth), session(nth)));
                    chat.ports().presence.renew_many(&leases.collect::<Vec<_>>(), LEASE).await.unwrap();
                }
            })
        }),
        curve("who of 128 is idle", BATCH, |crowd| {
            let (chat, size) = (crowd.field.chat.clone(), crowd.size);
            acting(move |_, nth| {
                let chat = chat.clone();
                async move {
                    let users: Vec<_> = batch(nth, size).map(user).collect();
                    chat.mark_idle(&users).await.unwrap();
                }
            })
        }),
        curve("presence of one", 1, |crowd| {
            let (presence, size) = (Arc::clone(&crowd.field.redis.presence), crowd.size);
            acting(move |_, nth| {
                let presence = Arc::clone(&presence);
                async move {
                    assert!(presence.get(&user(scattered(nth, size))).await.unwrap().sessions.len() == 1)
                }
            })
        }),
        curve("are 100 online", 100, |crowd| {
            let (presence, size) = (Arc::clone(&crowd.field.redis.presence), crowd.size);
            acting(move |_, nth| {
                let presence = Arc::clone(&presence);
                async move {
                    let users: Vec<_> =
                        (0..100).map(|step| user(scattered(nth * 100 + step, size))).collect();
                    assert!(presence.are_online(&users).await.unwrap().iter().all(|online| *online));
                }
            })
        }),
        curve("online list, a page of 100", 100, |crowd| {
            let presence = Arc::clone(&crowd.field.redis.presence);
            acting(move |_, _| {
                let presence = Arc::clone(&presence);
                async move {
                    let page = presence.online(&Page::first(100)).await.unwrap();
                    assert_eq!(page.items.len(), 100);
                }
            })
        }),
        curve("how many are online", 1, |crowd| {
            let presence = Arc::clone(&crowd.field.redis.presence);
            acting(move |_, _| {
                let presence = Arc::clone(&presence);
                async move { assert!(presence.stats().await.unwrap().users > 0) }
            })
        }),
        curve("connect and disconnect", 2, |crowd| {
            let presence = Arc::clone(&crowd.field.redis.presence);
            acting(move |task, nth| {
                let presence = Arc::clone(&presence);
                async move {
                    let visitor = (1 << 32) | (task << 24) | (nth % 10_000);
                    let (user, session) = (user(visitor), session(nth));
                    let connect = Connect { user, session, device: None, lease: LEASE };
                    presence.connect(&connect).await.unwrap();
                    presence.disconnect(&connect.user, &connect.session).await.unwrap();
                }
            })
        }),
        curve("sweep, nothing due", 1, |crowd| {
            let presence = Arc::clone(&crowd.field.redis.presence);
            acting(move |_, _| {
                let presence = Arc::clone(&presence);
                async move { assert!(presence.sweep(256).await.unwrap().is_empty()) }
            })
        }),
        curve("send to a group of 100", 1, |crowd| {
            let chat = crowd.field.chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move { sent(&chat, &crate::field::conversation("online"), nth).await }
            })
        }),
        curve("mark read", 1, |crowd| {
            let chat = crowd.field.chat.clone();
            let seq = Arc::new(AtomicU64::new(0));
            acting(move |_, _| {
                let (chat, nth) = (chat.clone(), seq.fetch_add(1, Ordering::Relaxed) as usize);
                async move {
                    let at = Seq((1 + nth / MEMBERS) as u64);
                    let conversation = crate::field::conversation("online");
                    chat.mark_read(&actor(nth % MEMBERS), &conversation, at).await.unwrap();
                }
            })
        }),
    ]
}

/// Sends, and every now and then publishes what was sent.
pub(crate) async fn sent(
    chat: &chat_core::service::Chat,
    conversation: &chat_core::domain::ConversationId,
    nth: usize,
) {
    chat.send(&writer(), conversation, TEXT, None).await.unwrap();
    if nth.is_multiple_of(64) {
        chat.relay_once().await.unwrap();
    }
}

/// Everybody once in a while, in no order.
pub(crate) fn scattered(nth: usize, size: usize) -> usize {
    nth.wrapping_mul(0x9e37_79b1) % size
}

fn batch(nth: usize, size: usize) -> impl Iterator<Item = usize> {
    (nth * BATCH..(nth + 1) * BATCH).map(move |nth| nth % size)
}
