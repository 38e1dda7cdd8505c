//! Members of a room, and rooms of a user: one server, on which everything is beside everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_benches::{Act, Curve, Place, Ring, acting};
use chat_core::domain::{Actor, ConversationId, Page, RoomRole, Seq, Transition};
use chat_core::store::conversations::ConversationFilter;
use chat_core::store::messages::{Anchor, HistoryScope};
use chat_core::store::rooms::NewRoom;
use chat_core::store::{RoomStore, RoomStoreExt};
use tokio::sync::Mutex;

use crate::field::{Field, actor, conversation, each, member, room, session, user};
use crate::online::sent;

pub(crate) const MEMBERS_AXIS: &str = "members of a room";
pub(crate) const MEMBERS: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
pub(crate) const ROOMS_AXIS: &str = "rooms of a user";
pub(crate) const ROOMS: [usize; 3] = [10, 100, 1_000];
/// How many users are online beside.
pub(crate) const ONLINE: usize = 10_000;
/// How many messages there are to be read one after the other.
const MESSAGES: usize = 20_000;
/// How many rooms of a user have messages to read, and how many.
const READ: (usize, usize) = (10, 2_000);
const PAGE: usize = 50;

/// Fills everything.
pub(crate) fn fill(ring: &Ring, field: &Field) {
    ring.prepare(async {
        field.connect(0..ONLINE).await;
        for size in MEMBERS {
            let messages = if size < 1_000 { MESSAGES } else { MESSAGES / 10 };
            field.group(&format!("m{size}"), 0..size, messages).await;
            let new = NewRoom {
                id: room(&size.to_string()),
                kind: "GROUP".into(),
                name: None,
                max_members: None,
                members: (0..size).map(member).collect(),
            };
            assert!(field.redis.rooms.create(&new).await.unwrap());
        }
        println!("rooms of up to {} members are filled", MEMBERS[MEMBERS.len() - 1]);
        for (place, size) in ROOMS.into_iter().enumerate() {
            each(0..size, |nth| async move {
                let messages = if nth < READ.0 { READ.1 } else { 2 };
                let others = (0..8).map(|step| 20_000 + nth * 8 + step);
                let members = others.chain([busy(place), guest(place)]);
                field.group(&format!("u{size}-{nth}"), members, messages).await;
            })
            .await;
        }
        println!("users in up to {} rooms are filled", ROOMS[ROOMS.len() - 1]);
        field.connect(busy(0)..busy(ROOMS.len())).await;
    });
}

/// Who is in so many rooms.
fn busy(place: usize) -> usize {
    30_000_000 + place
}

/// Who is in the same rooms, and not always online.
fn guest(place: usize) -> usize {
    40_000_000 + place
}

fn group(size: usize) -> ConversationId {
    conversation(&format!("m{size}"))
}

fn own(size: usize, nth: usize) -> ConversationId {
    conversation(&format!("u{size}-{nth}"))
}

pub(crate) fn members(field: &Field) -> Vec<Curve> {
    let curve = |name: &str, most: usize, act: &dyn Fn(usize) -> Act| {
        let place = |size: usize| Place {
            size,
            returned: size.min(most),
            server: Some(Arc::clone(&field.server)),
            act: act(size),
        };
        Curve { axis: MEMBERS_AXIS, name: name.to_owned(), places: MEMBERS.map(place).to_vec() }
    };
    let (chat, rooms) = (&field.chat, &field.redis.rooms);
    vec![
        curve("send", 1, &|size| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move { sent(&chat, &group(size), nth).await }
            })
        }),
        curve("mark read", 1, &|size| {
            let (chat, nth) = (chat.clone(), Arc::new(AtomicUsize::new(0)));
            acting(move |_, _| {
                let (chat, nth) = (chat.clone(), nth.fetch_add(1, Ordering::Relaxed));
                async move {
                    let at = Seq((1 + nth / size) as u64);
                    chat.mark_read(&actor(nth % size), &group(size), at).await.unwrap();
                }
            })
        }),
        curve("unread of one member", 1, &|size| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move {
                    chat.unread(&actor(nth % size), &group(size)).await.unwrap();
                }
            })
        }),
        curve("history, a page of 50", 1, &|size| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move {
                    let (who, scope) = (actor(nth % size), HistoryScope::Everything);
                    let page = chat.history(&who, &group(size), scope, Anchor::Latest, PAGE).await.unwrap();
                    assert_eq!(page.messages.len(), PAGE);
                }
            })
        }),
        curve("role of a member", 1, &|size| {
            let rooms = Arc::clone(rooms);
            acting(move |_, nth| {
                let rooms = Arc::clone(&rooms);
                async move {
                    let roles = rooms.roles(&room(&size.to_string()), &[user(nth % size)]).await.unwrap();
                    assert_eq!(roles.unwrap(), [Some(RoomRole::Member)]);
                }
            })
        }),
        curve("members, a page of 50", PAGE, &|size| {
            let rooms = Arc::clone(rooms);
            acting(move |_, _| {
                let rooms = Arc::clone(&rooms);
                async move {
                    let page = rooms.members(&room(&size.to_string()), &Page::first(PAGE)).await.unwrap();
                    assert_eq!(page.items.len(), PAGE.min(size));
                }
            })
        }),
        curve("members online, a page of 50", PAGE, &|size| {
            let rooms = Arc::clone(rooms);
            acting(move |_, _| {
                let rooms = Arc::clone(&rooms);
                async move {
                    let page = rooms.online(&room(&size.to_string()), &Page::first(PAGE)).await.unwrap();
                    assert_eq!(page.items.len(), PAGE.min(size));
                }
            })
        }),
        curve("how many members are online", 1, &|size| {
            let rooms = Arc::clone(rooms);
            acting(move |_, _| {
                let rooms = Arc::clone(&rooms);
                async move {
                    let stats = rooms.stats(&room(&size.to_string())).await.unwrap();
                    assert_eq!(stats.online, size.min(ONLINE) as u64);
                }
            })
        }),
        curve("join and leave", 2, &|size| {
            let rooms = Arc::clone(rooms);
            acting(move |task, nth| {
                let rooms = Arc::clone(&rooms);
                async move {
                    let visitor = user((1 << 32) | (task << 24) | (nth % 10_000));
                    rooms.join(&room(&size.to_string()), &visitor, RoomRole::Member).await.unwrap();
                    rooms.leave(&room(&size.to_string()), &visitor).await.unwrap();
                }
            })
        }),
    ]
}

pub(crate) fn rooms(field: &Field) -> Vec<Curve> {
    let curve = |name: &str, most: usize, act: &dyn Fn(usize, usize) -> Act| {
        let place = |(nth, size): (usize, usize)| Place {
            size,
            returned: size.min(most),
            server: Some(Arc::clone(&field.server)),
            act: act(nth, size),
        };
        let places = ROOMS.into_iter().enumerate().map(place).collect();
        Curve { axis: ROOMS_AXIS, name: name.to_owned(), places }
    };
    let chat = &field.chat;
    vec![
        curve("send", 1, &|_, size| {
            let chat = chat.clone();
            acting(move |_, nth| {
                let chat = chat.clone();
                async move { sent(&chat, &own(size, nth % size), nth).await }
            })
        }),
        curve("mark read", 1, &|place, size| {
            let (chat, nth) = (chat.clone(), Arc::new(AtomicUsize::new(0)));
            acting(move |_, _| {
                let (chat, nth) = (chat.clone(), nth.fetch_add(1, Ordering::Relaxed));
                async move {
                    let at = Seq((1 + nth / READ.0) as u64);
                    chat.mark_read(&actor(busy(place)), &own(size, nth % READ.0), at).await.unwrap();
                }
            })
        }),
        curve("total unread", usize::MAX, &|place, _| {
            let chat = chat.clone();
            acting(move |_, _| {
                let chat = chat.clone();
                async move { assert!(chat.total_unread(&actor(busy(place))).await.unwrap().messages > 0) }
            })
        }),
        curve("list of conversations, a page of 20", 20, &|place, _| {
            let chat = chat.clone();
            acting(move |_, _| {
                let chat = chat.clone();
                async move {
                    let (who, filter) = (actor(busy(place)), ConversationFilter::default());
                    assert!(
                        !chat.conversations(&who, &filter, &Page::first(20)).await.unwrap().items.is_empty()
                    );
                }
            })
        }),
        curve("rooms of a user, a page of 50", PAGE, &|place, size| {
            let rooms = Arc::clone(&field.redis.rooms);
            acting(move |_, _| {
                let rooms = Arc::clone(&rooms);
                async move {
                    let page = rooms.rooms_of(&user(busy(place)), &Page::first(PAGE)).await.unwrap();
                    assert_eq!(page.items.len(), PAGE.min(size));
                }
            })
        }),
        curve("heartbeat", 1, &|place, _| {
            let chat = chat.clone();
            acting(move |_, _| {
                let chat = chat.clone();
                async move {
                    chat.heartbeat(&[(user(busy(place)), session(busy(place)))]).await.unwrap();
                }
            })
        }),
        curve("come and go, announced", usize::MAX, &|place, _| {
            // One after the other: only then each is an edge.
            let (chat, alone) = (chat.clone(), Arc::new(Mutex::new(())));
            acting(move |_, nth| {
                let (chat, alone) = (chat.clone(), Arc::clone(&alone));
                async move {
                    let _alone = alone.lock().await;
                    let who = Actor { session: Some(session(nth)), ..actor(guest(place)) };
                    assert_eq!(chat.connect(&who, None).await.unwrap().transition, Transition::WentOnline);
                    assert_eq!(chat.disconnect(&who).await.unwrap(), Transition::WentOffline);
                }
            })
        }),
    ]
}
