//! Messages of a conversation, in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_benches::{Act, Curve, Place, Ring, acting};
use chat_core::domain::{ConversationId, Seq};
use chat_core::store::PositionStore;
use chat_core::store::messages::{Anchor, HistoryScope};

use crate::field::{Field, actor, conversation};
use crate::online::sent;

pub(crate) const AXIS: &str = "messages in a conversation";
pub(crate) const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const MEMBERS: usize = 50;
const PAGE: usize = 50;

pub(crate) fn fill(ring: &Ring, field: &Field) {
    for size in SIZES {
        ring.prepare(field.group(&format!("h{size}"), 0..MEMBERS, size));
    }
    println!("conversations of up to {} messages are filled", SIZES[SIZES.len() - 1]);
}

fn long(size: usize) -> ConversationId {
    conversation(&format!("h{size}"))
}

pub(crate) fn curves(field: &Field) -> Vec<Curve> {
    let curve = |name: &str, act: &dyn Fn(usize) -> Act| {
        let server = Some(Arc::clone(&field.server));
        let place = |size: usize| Place { size, returned: 1, server: server.clone(), act: act(size) };
        Curve { axis: AXIS, name: name.to_owned(), places: SIZES.map(place).to_vec() }
    };
    let chat = &field.chat;
    let history = |anchor: fn(usize) -> Anchor| {
        move |size: usize| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move {
                    let (who, scope) = (actor(nth % MEMBERS), HistoryScope::Main);
                    let page = chat.history(&who, &long(size), scope, anchor(size), PAGE).await.unwrap();
                    assert_eq!(page.messages.len(), PAGE);
                }
            })
        }
    };
    vec![
        curve("history, the newest 50", &history(|_| Anchor::Latest)),
        curve("history, 50 in the middle", &history(|size| Anchor::Before(Seq(size as u64 / 2)))),
        curve("history, the oldest 50", &history(|_| Anchor::After(Seq::ZERO))),
        curve("mark read", &|size| {
            let (chat, nth) = (chat.clone(), Arc::new(AtomicUsize::new(0)));
            acting(move |_, _| {
                let (chat, nth) = (chat.clone(), nth.fetch_add(1, Ordering::Relaxed));
                async move {
                    let at = Seq((1 + nth / MEMBERS) as u64);
                    chat.mark_read(&actor(nth % MEMBERS), &long(size), at).await.unwrap();
                }
            })
        }),
        curve("unread, all but the first", &|size| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move {
                    let unread = chat.unread(&actor(nth % MEMBERS), &long(size)).await.unwrap();
                    assert!(unread.messages > 0);
                }
            })
        }),
        curve("unread, counted anew by the truth", &|size| {
            let positions = Arc::clone(&chat.ports().positions);
            acting(move |_, nth| {
                let positions: Arc<dyn PositionStore> = Arc::clone(&positions);
                async move {
                    positions.recount(&actor(nth % MEMBERS).user, &[long(size)]).await.unwrap();
                }
            })
        }),
        curve("send", &|size| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move { sent(&chat, &long(size), nth).await }
            })
        }),
    ]
}
