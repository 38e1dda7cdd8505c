//! Who is online.

use std::sync::Arc;

use chat_benches::{Contender, Goal, acting};
use chat_core::domain::{Page, SessionId, UserId};
use chat_core::store::presence::{Connect, Renewal};
use chat_core::store::{PresenceStore, PresenceStoreExt};

use crate::data::{HOUR, USERS, hundred, user};
use crate::field::{Field, RAW, SLOW};
use crate::fixed::get;

/// Leases in a batch.
const BATCH: usize = 128;

pub(crate) fn rows(field: &mut Field<'_>) {
    let stage = field.stage;
    let presence = &stage.redis.presence;
    stage.prepare(async {
        for nth in 0..USERS {
            presence.connect(&connect(user(nth), nth)).await.unwrap();
        }
    });
    let ours = Arc::clone(presence);
    let again = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            ours.connect(&connect(user(nth), nth % USERS)).await.unwrap();
        }
    });
    field.add_fixed("connect, who is online", "presence.connect", again);

    let ours = Arc::clone(presence);
    let both = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            let visitor = connect(UserId::new(format!("visitor-{nth}")).unwrap(), nth);
            ours.connect(&visitor).await.unwrap();
            ours.disconnect(&visitor.user, &visitor.session).await.unwrap();
        }
    });
    field.add("connect and disconnect: online, then offline", "presence.connectAndDisconnect", both);

    let ours = Arc::clone(presence);
    let heartbeat = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            assert_ne!(ours.renew(&user(nth), &session(nth), HOUR).await.unwrap(), Renewal::Lost);
        }
    });
    field.add_fixed("heartbeat", "presence.heartbeat", heartbeat);

    let ours = Arc::clone(presence);
    let batch = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move {
            let leases: Vec<_> =
                (0..BATCH).map(|one| nth * BATCH + one).map(|one| (user(one), session(one))).collect();
            ours.renew_many(&leases, HOUR).await.unwrap();
        }
    });
    let row = field.add_fixed("heartbeats of 128", "presence.heartbeats128", batch);
    row.elements = BATCH as u64;
    row.per_core = Some(300_000.0);

    let ours = Arc::clone(presence);
    let is_online = acting(move |_, nth| {
        let ours = Arc::clone(&ours);
        async move { assert!(ours.is_online(&user(nth)).await.unwrap()) }
    });
    let plain = get(field, "online");
    let row = field.add_fixed("is one online", "presence.isOnline", is_online);
    row.raw.push(Contender { name: "raw driver, GET", act: plain });
    row.goals = [1, 64].map(|tasks| Goal { tasks, beside: RAW, at_least: 0.9 }).to_vec();

    let (ours, users) = (Arc::clone(presence), Arc::new(hundred(user)));
    let are_online = acting(move |_, _| {
        let (ours, users) = (Arc::clone(&ours), Arc::clone(&users));
        async move { assert_eq!(ours.are_online(&users).await.unwrap(), [true; 100]) }
    });
    field.add_fixed("are 100 online", "presence.areOnline100", are_online);

    let ours = Arc::clone(presence);
    let count = acting(move |_, _| {
        let ours = Arc::clone(&ours);
        async move { assert!(ours.stats().await.unwrap().users >= USERS as u64) }
    });
    field.add_fixed("how many are online", "presence.count", count).tasks = SLOW;

    let ours = Arc::clone(presence);
    let list = acting(move |_, _| {
        let ours = Arc::clone(&ours);
        async move { assert_eq!(ours.online(&Page::first(100)).await.unwrap().items.len(), 100) }
    });
    field.add_fixed("list of 100 online", "presence.list100", list);
}

fn session(nth: usize) -> SessionId {
    SessionId::new(format!("socket-{}", nth % USERS)).unwrap()
}

fn connect(user: UserId, nth: usize) -> Connect {
    Connect { user, session: session(nth), device: None, lease: HOUR }
}
