//! Rooms of a hundred members, of whom one in three is online.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::domain::{Page, RoomId, RoomRole, UserId};
use chat_core::memory::{Memory, MemoryRooms};
use chat_core::store::presence::Connect;
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::{PresenceStore, RoomStore};
use chat_testkit::sample;

use crate::field::{Field, HOUR};

const MEMBERS: usize = 100;

pub(crate) fn rows(field: &mut Field) {
    field.row("rooms join and leave", 1, |field, memory| {
        let rooms = filled(field, &memory);
        let changes = |task: usize| {
            let user = sample::user(&format!("visitor{task}"));
            let join = RoomChange { user, role: Some(RoomRole::Member), version: 0 };
            [join.clone(), RoomChange { role: None, ..join }]
        };
        // One for each task: nobody interferes.
        let all: Arc<Vec<_>> = Arc::new((0..64).map(changes).collect());
        acting(move |task, _| {
            let (rooms, all) = (Arc::clone(&rooms), Arc::clone(&all));
            async move {
                for change in &all[task] {
                    rooms.change_members(&room(0), std::slice::from_ref(change)).await.unwrap();
                }
            }
        })
    });
    field.row("rooms role", 1, |field, memory| {
        let (rooms, one) = (filled(field, &memory), Arc::new([user(1)]));
        acting(move |_, _| {
            let (rooms, one) = (Arc::clone(&rooms), Arc::clone(&one));
            async move { assert!(rooms.roles(&room(0), &*one).await.unwrap().is_some()) }
        })
    });
    field.row("rooms get 100", 100, |field, memory| {
        let (rooms, all) = (filled(field, &memory), Arc::new((0..100).map(room).collect::<Vec<_>>()));
        acting(move |_, _| {
            let (rooms, all) = (Arc::clone(&rooms), Arc::clone(&all));
            async move { assert!(rooms.get_many(&all).await.unwrap().iter().all(Option::is_some)) }
        })
    });
    field.row("rooms online of 100", 1, |field, memory| {
        let rooms = filled(field, &memory);
        acting(move |_, _| {
            let rooms = Arc::clone(&rooms);
            async move {
                let online = rooms.online(&room(0), &Page::first(MEMBERS)).await.unwrap();
                assert_eq!(online.items.len(), MEMBERS.div_ceil(3));
            }
        })
    });
    field.row("rooms touch 100", 100, |field, memory| {
        let (rooms, all) = (filled(field, &memory), Arc::new((0..100).map(room).collect::<Vec<_>>()));
        acting(move |_, _| {
            let (rooms, all) = (Arc::clone(&rooms), Arc::clone(&all));
            async move { rooms.touch_many(&all).await.unwrap() }
        })
    });
}

fn user(nth: usize) -> UserId {
    sample::user(&format!("user{nth:06}"))
}

fn room(nth: usize) -> RoomId {
    sample::room(&format!("room{nth:03}"))
}

fn filled(field: &Field, memory: &Memory) -> Arc<MemoryRooms> {
    field.prepare(async {
        let member = |nth| RoomChange { user: user(nth), role: Some(RoomRole::Member), version: 0 };
        for nth in 0..100 {
            let members = (0..MEMBERS).map(member).collect();
            let new = NewRoom { id: room(nth), kind: "group".into(), name: None, max_members: None, members };
            assert!(memory.rooms.create(&new).await.unwrap());
        }
        for nth in (0..MEMBERS).step_by(3) {
            let connect =
                Connect { user: user(nth), session: sample::session("s"), device: None, lease: HOUR };
            memory.presence.connect(&connect).await.unwrap();
        }
    });
    Arc::clone(&memory.rooms)
}
