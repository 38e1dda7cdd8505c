//! Conversations under races of two nodes, lost replies, servers that fail and die; and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use chat_core::domain::conversation::direct_id;
use chat_core::domain::page::{MAX_PAGE, Page};
use chat_core::domain::{ConversationId, ConversationKind, LastActivity, MemberSettings, RoomRole, Seq};
use chat_core::error::{Code, Result};
use chat_core::event::{Event, EventKind};
use chat_core::store::conversations::{Change, Changed, ConversationFilter, NewConversation};
use chat_core::store::{ConversationStore, ConversationStoreExt};
use chat_mongo::Mongo;
use chat_testkit::expect::{at_once, drained, events};
use chat_testkit::proxy::Request;
use chat_testkit::server::{FailPoint, Failure, Mongo as Server};
use chat_testkit::{Absent, sample, trials};
use futures::future::join_all;

use super::count::counted;
use super::desk::{behind_a_proxy, fresh, nodes, patient, server};

trials! { needs "mongo":
    ten_of_sixty_four_on_two_nodes_get_in,
    two_nodes_make_one_direct_conversation,
    of_two_admins_who_leave_at_once_one_stays,
    additions_go_on_while_messages_pour_in,
    a_node_with_a_wrong_clock_keeps_the_order_of_events,
    a_lost_reply_of_a_change_loses_and_doubles_nothing,
    a_lost_reply_of_a_making_loses_and_doubles_nothing,
    what_the_server_refuses_for_a_moment_is_done_once,
    what_was_acknowledged_survives_a_kill,
    a_list_beyond_one_look_is_whole_and_in_order,
    places_beyond_what_is_stored_do_not_fail,
    operations_cost_what_is_said,
}

fn add(names: &[String], role: RoomRole) -> Change {
    Change::Add { members: names.iter().map(|name| sample::member(name, role)).collect(), head: Seq(7) }
}

fn add_one(name: &str) -> Change {
    add(&[name.to_owned()], RoomRole::Member)
}

fn direct(made_by: &str, other: &str) -> NewConversation {
    let members = vec![sample::member(made_by, RoomRole::Member), sample::member(other, RoomRole::Member)];
    NewConversation {
        id: direct_id(&members[0].user, &members[1].user).unwrap(),
        kind: ConversationKind::Direct,
        name: None,
        avatar: None,
        created_by: sample::user(made_by),
        members,
        max_members: 2,
    }
}

async fn change(mongo: &Mongo, id: &ConversationId, by: &str, change: Change) -> Result<Changed> {
    mongo.conversations.change(id, &sample::user(by), &change).await
}

async fn names(mongo: &Mongo, id: &ConversationId) -> Vec<String> {
    let page = mongo.conversations.members(id, &Page::first(MAX_PAGE)).await.unwrap();
    page.items.iter().map(|member| member.user_id.to_string()).collect()
}

async fn ten_of_sixty_four_on_two_nodes_get_in() -> std::result::Result<(), Absent> {
    let nodes = nodes().await?;
    let new = NewConversation { max_members: 10, ..sample::group("g", &["ann"]) };
    nodes[0].conversations.create(&new).await.unwrap();
    let answers = at_once(64, |nth| {
        let (node, id) = (nodes[nth % 2].clone(), new.id.clone());
        async move { change(&node, &id, &format!("user {nth:02}"), add_one(&format!("user {nth:02}"))).await }
    })
    .await;
    let let_in: BTreeSet<_> = (0..64).filter(|nth| answers[*nth].is_ok()).collect();
    assert_eq!(let_in.len(), 9, "ten with the one who made it");
    for refused in answers.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), Code::MemberLimit, "{refused:?}");
    }
    let there = names(&nodes[1], &new.id).await;
    let expected = ["ann".to_owned()].into_iter().chain(let_in.iter().map(|nth| format!("user {nth:02}")));
    assert!(there.iter().cloned().eq(expected), "{there:?}");
    let there = nodes[1].conversations.get(&new.id).await.unwrap().unwrap();
    assert_eq!((there.member_count, there.version), (10, 10));
    assert_eq!(drained(&*nodes[0].outbox).await.len(), 10);
    Ok(())
}

async fn two_nodes_make_one_direct_conversation() -> std::result::Result<(), Absent> {
    let nodes = nodes().await?;
    let answers = at_once(64, |nth| {
        let node = nodes[nth % 2].clone();
        let new = if nth % 3 == 0 { direct("ann", "ben") } else { direct("ben", "ann") };
        async move { node.conversations.create(&new).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(answers.iter().all(|answer| answer.conversation == answers[0].conversation));
    assert_eq!(names(&nodes[0], &answers[0].conversation.id).await, ["ann", "ben"]);
    assert_eq!(drained(&*nodes[1].outbox).await.len(), 1);
    Ok(())
}

async fn of_two_admins_who_leave_at_once_one_stays() -> std::result::Result<(), Absent> {
    let nodes = nodes().await?;
    for round in 0..10 {
        let mut new = sample::group(&format!("g{round}"), &["ann", "ben", "eve"]);
        new.members[1].role = RoomRole::Admin;
        nodes[0].conversations.create(&new).await.unwrap();
        let answers = at_once(2, |nth| {
            let (node, id) = (nodes[nth].clone(), new.id.clone());
            async move { change(&node, &id, ["ann", "ben"][nth], Change::Leave { name: None }).await }
        })
        .await;
        let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].code(), Code::MemberLastAdmin);
        assert_eq!(names(&nodes[0], &new.id).await.len(), 2);
    }
    Ok(())
}

/// A change is not starved by what touches the same document.
async fn additions_go_on_while_messages_pour_in() -> std::result::Result<(), Absent> {
    let nodes = nodes().await?;
    let new = sample::group("g", &["ann"]);
    nodes[0].conversations.create(&new).await.unwrap();
    let is_over = Arc::new(AtomicUsize::new(0));
    let (noisy, id, over) = (nodes[1].clone(), new.id.clone(), Arc::clone(&is_over));
    let noise = tokio::spawn(async move {
        let mut seq = 0;
        while over.load(Ordering::Relaxed) == 0 {
            let activities = (0..8).map(|nth| LastActivity {
                at: SystemClock.now(),
                seq: Seq(seq * 8 + nth + 1),
                message_id: None,
            });
            let touched = activities.map(|activity| {
                let (noisy, one) = (noisy.clone(), [(id.clone(), activity)]);
                async move { noisy.conversations.touch_many(&one).await.unwrap() }
            });
            join_all(touched).await;
            seq += 1;
        }
        seq * 8
    });
    for nth in 0..20 {
        assert!(change(&nodes[0], &new.id, "ann", add_one(&format!("user {nth}"))).await.unwrap().changed);
    }
    is_over.store(1, Ordering::Relaxed);
    let last = noise.await.unwrap();
    let there = nodes[0].conversations.get(&new.id).await.unwrap().unwrap();
    assert_eq!((there.member_count, there.version, there.last_activity.seq), (21, 21, Seq(last)));
    Ok(())
}

async fn a_node_with_a_wrong_clock_keeps_the_order_of_events() -> std::result::Result<(), Absent> {
    let config = patient(fresh(server()?.url()));
    let late = ManualClock::new(SystemClock.now().before(Duration::from_secs(3_600)));
    let right = Mongo::connect(&config).await.unwrap();
    right.ensure().await.unwrap();
    let wrong = Mongo::connect(&config.clone().with_clock(Arc::new(late))).await.unwrap();
    let id = sample::conversation("g");
    right.conversations.create(&sample::group("g", &["ann", "ben"])).await.unwrap();
    for (nth, node) in [&wrong, &right, &wrong, &wrong, &right, &wrong].into_iter().enumerate() {
        change(node, &id, "ann", Change::Rename(format!("Name {nth}"))).await.unwrap();
        change(node, &id, "ben", Change::Pin(nth % 2 == 0)).await.unwrap();
    }
    change(&wrong, &id, "ben", Change::Leave { name: None }).await.unwrap();
    let told = drained(&*right.outbox).await;
    let versions: Vec<_> = told
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::ConversationCreated(_) => Some(1),
            Event::ConversationNameUpdated(event) => Some(event.version),
            Event::ParticipantLeft(event) => Some(event.version),
            _ => None,
        })
        .collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
    let own = told.iter().filter_map(chat_core::event::Envelope::kind).filter(|kind| {
        matches!(
            kind,
            EventKind::ConversationPinned | EventKind::ConversationUnpinned | EventKind::ParticipantLeft
        )
    });
    let [on, off] = [EventKind::ConversationPinned, EventKind::ConversationUnpinned];
    assert_eq!(own.collect::<Vec<_>>(), [on, off, on, off, on, off, EventKind::ParticipantLeft]);
    let ids: BTreeSet<_> = told.iter().map(|envelope| &envelope.id).collect();
    assert_eq!(ids.len(), told.len());
    Ok(())
}

async fn a_lost_reply_of_a_change_loses_and_doubles_nothing() -> std::result::Result<(), Absent> {
    let (proxy, behind, straight) = behind_a_proxy().await?;
    let everybody = [("findAndModify", "conversations"), ("update", "conversations"), ("insert", "outbox")];
    let changes: [(Change, &[(&str, &str)]); 5] = [
        (Change::Rename("Another".to_owned()), &[]),
        (add_one("zoe"), &[("find", "members"), ("insert", "members")]),
        (Change::Remove { user: sample::user("ben"), name: None }, &[("delete", "members")]),
        (Change::SetRole { user: sample::user("ben"), role: RoomRole::Moderator }, &[("update", "members")]),
        (Change::Pin(true), &[("update", "members")]),
    ];
    for (nth, (wanted, own)) in changes.into_iter().enumerate() {
        let is_own = matches!(wanted, Change::Pin(_));
        let shared: &[_] = match wanted {
            Change::Add { .. } => &everybody,
            Change::Pin(_) => &everybody[2..],
            _ => &[],
        };
        let mut requests: Vec<_> =
            shared.iter().chain(own).map(|(name, on)| Request::command_on(name, on)).collect();
        requests.push(Request::command("commitTransaction"));
        for (step, request) in requests.into_iter().enumerate() {
            let new = sample::group(&format!("g {nth} {step}"), &["ann", "ben"]);
            straight.conversations.create(&new).await.unwrap();
            drained(&*straight.outbox).await;
            let answer = proxy.losing(request, change(&behind, &new.id, "ann", wanted.clone())).await;
            assert!(answer.unwrap().changed, "{wanted:?} {step}");
            let again = change(&straight, &new.id, "ann", wanted.clone()).await.unwrap();
            assert!(!again.changed, "{wanted:?} {step}");
            assert_eq!(again.conversation.version, if is_own { 1 } else { 2 });
            assert_eq!(names(&straight, &new.id).await.len() as u32, again.conversation.member_count);
            assert_eq!(events(&*straight.outbox).await.len(), 1, "{wanted:?} {step}");
        }
    }
    Ok(())
}

async fn a_lost_reply_of_a_making_loses_and_doubles_nothing() -> std::result::Result<(), Absent> {
    let (proxy, behind, straight) = behind_a_proxy().await?;
    let on = ["conversations", "members", "outbox"].map(|on| Request::command_on("insert", on));
    let requests = on.into_iter().chain([Request::command("commitTransaction")]);
    for (step, request) in requests.enumerate() {
        let new = sample::group(&format!("g {step}"), &["ann", "ben"]);
        let made = proxy.losing(request, behind.conversations.create(&new)).await.unwrap();
        assert!(made.created, "{step}");
        assert!(!straight.conversations.create(&new).await.unwrap().created);
        assert_eq!(names(&straight, &new.id).await, ["ann", "ben"]);
        assert_eq!(events(&*straight.outbox).await.len(), 1, "{step}");
    }
    let new = sample::group("touched", &["ann"]);
    straight.conversations.create(&new).await.unwrap();
    let activity = LastActivity { at: SystemClock.now(), seq: Seq(3), message_id: None };
    let one = [(new.id.clone(), activity)];
    let touch = behind.conversations.touch_many(&one);
    proxy.losing(Request::command_on("update", "conversations"), touch).await.unwrap();
    assert_eq!(straight.conversations.get(&new.id).await.unwrap().unwrap().last_activity.seq, Seq(3));
    Ok(())
}

async fn what_the_server_refuses_for_a_moment_is_done_once() -> std::result::Result<(), Absent> {
    const TRANSIENT: &[&str] = &["TransientTransactionError"];
    const UNKNOWN: &[&str] = &["UnknownTransactionCommitResult"];
    let server = Server::spawn()?;
    let mongo = Mongo::connect(&patient(fresh(server.url()))).await.unwrap();
    mongo.ensure().await.unwrap();
    let mut points = Vec::new();
    for command in ["findAndModify", "find", "update", "insert"] {
        // In the way of another writer; not the primary any more.
        for code in [112, 10_107] {
            points.push(FailPoint::new(&[command], Failure::Error(code)).times(2).labels(TRANSIENT));
        }
        points.push(FailPoint::new(&[command], Failure::Close));
    }
    let commit = |failure| FailPoint::new(&["commitTransaction"], failure);
    points.extend([10_107, 91].map(|code| commit(Failure::Error(code)).times(3)));
    points.push(commit(Failure::Close));
    points.push(commit(Failure::WriteConcern(64)).times(3).labels(UNKNOWN));
    points.push(commit(Failure::Error(50)).times(3).labels(UNKNOWN));
    for (nth, point) in points.iter().enumerate() {
        let new = sample::group(&format!("g {nth}"), &["ann", "ben"]);
        mongo.conversations.create(&new).await.unwrap();
        drained(&*mongo.outbox).await;
        server.fail(point);
        let changed = change(&mongo, &new.id, "ann", add_one("eve")).await;
        server.heal();
        let changed = changed.unwrap_or_else(|error| panic!("{point:?}: {error:?}"));
        assert!(changed.changed, "{point:?}");
        assert_eq!((changed.conversation.version, changed.conversation.member_count), (2, 3), "{point:?}");
        assert_eq!(names(&mongo, &new.id).await, ["ann", "ben", "eve"], "{point:?}");
        assert_eq!(events(&*mongo.outbox).await.len(), 1, "{point:?}");
    }
    Ok(())
}

async fn what_was_acknowledged_survives_a_kill() -> std::result::Result<(), Absent> {
    const WRITERS: usize = 4;
    const EACH: usize = 24;
    let server = Server::spawn()?;
    let mongo = Mongo::connect(&patient(fresh(server.url()))).await.unwrap();
    mongo.ensure().await.unwrap();
    for writer in 0..WRITERS {
        mongo.conversations.create(&sample::group(&format!("g{writer}"), &["ann"])).await.unwrap();
    }
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (mongo, acknowledged) = (mongo.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let id = sample::conversation(&format!("g{writer}"));
                let mut ledger = Vec::new();
                for nth in 0..EACH {
                    let name = format!("user {nth:02}");
                    // Whoever does not hear asks again.
                    while let Err(error) = change(&mongo, &id, "ann", add_one(&name)).await {
                        assert!(matches!(error.code(), Code::Unavailable | Code::Timeout), "{error:?}");
                    }
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    ledger.push(name);
                }
                ledger
            })
        })
        .collect();
    for kills in 1..=2 {
        while acknowledged.load(Ordering::SeqCst) < kills * WRITERS * EACH / 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.kill();
        tokio::task::block_in_place(|| server.restart());
    }
    let ledgers = join_all(writers).await;
    let told = events(&*mongo.outbox).await;
    for (writer, ledger) in ledgers.into_iter().enumerate() {
        let id = sample::conversation(&format!("g{writer}"));
        let expected: Vec<_> = ["ann".to_owned()].into_iter().chain(ledger.unwrap()).collect();
        assert_eq!(names(&mongo, &id).await, expected);
        let there = mongo.conversations.get(&id).await.unwrap().unwrap();
        assert_eq!((there.member_count as usize, there.version as usize), (EACH + 1, EACH + 1));
        let versions = told.iter().filter_map(|event| match event {
            Event::ParticipantAdded(added) if added.conversation_id == id => Some(added.version),
            _ => None,
        });
        assert!(versions.eq(2..=EACH as u64 + 1), "each is told of once, in order");
    }
    Ok(())
}

/// More conversations than are looked up at once.
async fn a_list_beyond_one_look_is_whole_and_in_order() -> std::result::Result<(), Absent> {
    const MANY: usize = 1_100;
    let clock = ManualClock::default();
    let config = patient(fresh(server()?.url())).with_clock(Arc::new(clock.clone()));
    let mongo = Mongo::connect(&config).await.unwrap();
    mongo.ensure().await.unwrap();
    let ids: Vec<_> = (0..MANY).map(|nth| format!("g{:04}", nth * 7 % MANY)).collect();
    for some in ids.chunks(32) {
        let made = some.iter().map(|id| {
            let (mongo, new) = (mongo.clone(), sample::group(id, &["ann"]));
            async move { mongo.conversations.create(&new).await.unwrap() }
        });
        join_all(made).await;
        clock.advance(Duration::from_secs(1));
    }
    let ann = sample::user("ann");
    for pinned in [3, 777, 1_099] {
        change(&mongo, &sample::conversation(&ids[pinned]), "ann", Change::Pin(true)).await.unwrap();
    }
    let mut expected: Vec<_> =
        (0..MANY).map(|nth| (![3, 777, 1_099].contains(&nth), MANY - nth / 32, &ids[nth])).collect();
    expected.sort();
    let (mut page, mut seen) = (Page::first(400), Vec::new());
    loop {
        let part = mongo.conversations.list(&ann, &ConversationFilter::default(), &page).await.unwrap();
        seen.extend(part.items.into_iter().map(|mine| mine.conversation.id.to_string()));
        match part.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), MANY);
    assert!(seen.iter().eq(expected.into_iter().map(|(_, _, id)| id)));
    Ok(())
}

async fn places_beyond_what_is_stored_do_not_fail() -> std::result::Result<(), Absent> {
    let mongo = super::desk::mongo().await?;
    let new = sample::group("g", &["ann"]);
    mongo.conversations.create(&new).await.unwrap();
    let far = Change::Add { members: vec![sample::member("ben", RoomRole::Member)], head: Seq(u64::MAX) };
    change(&mongo, &new.id, "ann", far).await.unwrap();
    let ben = mongo.conversations.member(&new.id, &sample::user("ben")).await.unwrap().unwrap();
    assert_eq!(ben.joined_seq, Seq(i64::MAX as u64), "the last place there could be");
    let activity = LastActivity { at: SystemClock.now(), seq: Seq(u64::MAX), message_id: None };
    mongo.conversations.touch_many(&[(new.id.clone(), activity)]).await.unwrap();
    let there = mongo.conversations.get(&new.id).await.unwrap().unwrap();
    assert_eq!(there.last_activity.seq, Seq(i64::MAX as u64));
    Ok(())
}

/// The table in the documentation.
async fn operations_cost_what_is_said() -> std::result::Result<(), Absent> {
    let (mongo, count) = counted(&patient(fresh(server()?.url()))).await;
    let store = &mongo.conversations;
    let (new, ann) = (sample::group("g", &["ann", "ben"]), sample::user("ann"));
    let mut costs = BTreeMap::new();
    macro_rules! cost {
        ($name:literal, $work:expr) => {{
            count.take();
            let answer = $work.await.unwrap();
            costs.insert($name, count.take());
            answer
        }};
    }
    cost!("create", store.create(&new));
    cost!("create again", store.create(&new));
    store.create(&direct("ann", "ben")).await.unwrap();
    cost!("create a direct one again", store.create(&direct("ann", "ben")));
    let id = &new.id;
    cost!("rename", change(&mongo, id, "ann", Change::Rename("Another".to_owned())));
    cost!("rename again", change(&mongo, id, "ann", Change::Rename("Another".to_owned())));
    let many: Vec<_> = (0..50).map(|nth| format!("user {nth}")).collect();
    cost!("add fifty", change(&mongo, id, "ann", add(&many, RoomRole::Member)));
    cost!("add fifty again", change(&mongo, id, "ann", add(&many, RoomRole::Member)));
    let role = Change::SetRole { user: sample::user("ben"), role: RoomRole::Admin };
    cost!("set role", change(&mongo, id, "ann", role));
    cost!("pin", change(&mongo, id, "ann", Change::Pin(true)));
    cost!("pin again", change(&mongo, id, "ann", Change::Pin(true)));
    let settings =
        store.memberships(&ann, std::slice::from_ref(id)).await.unwrap().remove(0).unwrap().settings;
    assert_eq!(settings, MemberSettings { pinned: true, ..MemberSettings::default() });
    cost!("get_many", store.get_many(&[id.clone(), sample::conversation("nowhere")]));
    cost!("members_by_id", store.members_by_id(id, &[ann.clone(), sample::user("nobody")]));
    cost!("members", store.members(id, &Page::first(10)));
    cost!("first_members", store.first_members(&[id.clone(), direct("ann", "ben").id], 3));
    cost!("list", store.list(&ann, &ConversationFilter::default(), &Page::first(10)));
    cost!("memberships", store.memberships(&ann, std::slice::from_ref(id)));
    let activity = LastActivity { at: SystemClock.now(), seq: Seq(3), message_id: None };
    cost!("touch_many", store.touch_many(&[(id.clone(), activity)]));
    cost!("active", store.active(Timestamp::EPOCH, &Page::first(10)));
    cost!("leave", change(&mongo, id, "ann", Change::Leave { name: None }));
    let expected = [
        ("active", 1),
        ("add fifty", 6),
        ("add fifty again", 3),
        ("create", 5),
        ("create a direct one again", 2),
        ("create again", 1),
        ("first_members", 2),
        ("get_many", 1),
        ("leave", 6),
        ("list", 4),
        ("members", 1),
        ("members_by_id", 1),
        ("memberships", 2),
        ("pin", 5),
        ("pin again", 2),
        ("rename", 4),
        ("rename again", 2),
        ("set role", 6),
        ("touch_many", 1),
    ];
    assert_eq!(costs, expected.into());
    Ok(())
}
