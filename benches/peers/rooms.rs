//! Who is in a room.

use std::sync::Arc;

use chat_benches::acting;
use chat_core::domain::{Page, RoomRole, UserId};
use chat_core::store::rooms::{NewRoom, RoomChange};
use chat_core::store::{RoomStore, RoomStoreExt};

use crate::data::{hundred, room, user};
use crate::field::Field;

pub(crate) fn rows(field: &mut Field<'_>) {
    let stage = field.stage;
    let rooms = &stage.redis.rooms;
    stage.prepare(async {
        for nth in 0..=100 {
            let member = |nth| RoomChange { user: user(nth), role: Some(RoomRole::Member), version: 0 };
            let members = if nth == 0 { hundred(member) } else { Vec::new() };
            let new = NewRoom { id: room(nth), kind: "GROUP".into(), name: None, max_members: None, members };
            assert!(rooms.create(&new).await.unwrap());
        }
    });

    let ours = Arc::clone(rooms);
    let role = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            let roles = ours.roles(&room(0), &[user(nth % 100)]).await.unwrap().unwrap();
            assert_eq!(roles, [Some(RoomRole::Member)]);
        }
    });
    field.add_fixed("role in a room", "rooms.role", role);

    let ours = Arc::clone(rooms);
    let online = acting(move |_, _| {
        let ours = Arc::clone(&ours);
        async move { assert!(ours.online(&room(0), &Page::first(100)).await.unwrap().items.len() == 100) }
    });
    field.add_fixed("members online of 100", "rooms.online100", online);

    let ours = Arc::clone(rooms);
    let both = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            let visitor = UserId::new(format!("visitor-{nth}")).unwrap();
            ours.join(&room(0), &visitor, RoomRole::Member).await.unwrap();
            ours.leave(&room(0), &visitor).await.unwrap();
        }
    });
    field.add("join and leave", "rooms.joinAndLeave", both);

    let ours = Arc::clone(rooms);
    let join = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            let guest = UserId::new(format!("guest-{nth}")).unwrap();
            ours.join(&room(1 + nth % 100), &guest, RoomRole::Member).await.unwrap();
        }
    });
    field.add("join", "rooms.join", join);
}
