//! Promises of access: who may do what, and that nobody else leaves a trace.

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::conversation::direct_id;
use chat_core::domain::message::Draft;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{
    Actor, ConversationId, ConversationKind, FileId, Mentions, MessageId, Mute, Page, PresenceStatus, RoomId,
    RoomRole, Seq, UserId, Visibility,
};
use chat_core::error::{Code, Result};
use chat_core::event::DeleteType;
use chat_core::moderation::{Action, PolicyTable};
use chat_core::service::{Chat, NewGroup, Target};
use chat_core::store::conversations::{ConversationFilter, NewConversation, NewMember};
use chat_core::store::messages::{Anchor, HistoryScope};
use chat_core::store::{ConversationStore, FileStoreExt, RoomStore};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::sending::{attached, file};
use crate::Offer;
use crate::expect::{refused, unavailable};
use crate::sample::{conversation, hostile_ids, key, session, user};
use crate::stage::{Stage, actor, on, platform_admin};

promises! {
    "service::access":
    the_table_says_who_may_do_what,
    every_use_case_asks_for_its_own_action,
    strangers_are_denied_and_leave_no_trace,
    who_was_taken_out_is_denied_and_leaves_no_trace,
    a_refusal_says_nothing_about_what_is_there,
    a_conversation_cannot_be_taken_over,
    a_platform_admin_acts_everywhere,
    the_table_can_be_replaced,
    an_outage_is_neither_a_refusal_nor_an_empty_answer + outage,
    hostile_ids_are_names_like_any_other,
    hostile_names_of_messages_and_files_find_nothing,
}

/// What may be done, by kind (direct, group, channel, broadcast, event room) and role (member, moderator, admin).
const TABLE: &[(Action, &str)] = &[
    (Action::Read, "yyy yyy yyy yyy yyy"),
    (Action::Send, "yyy yyy .yy .yy yyy"),
    (Action::React, "yyy yyy yyy yyy yyy"),
    (Action::Type, "yyy yyy yyy yyy yyy"),
    (Action::Upload, "yyy yyy .yy .yy yyy"),
    (Action::EditOwn, "yyy yyy .yy .yy yyy"),
    (Action::DeleteOwn, "yyy yyy .yy .yy yyy"),
    (Action::DeleteAny, "... .yy .yy .yy .yy"),
    (Action::Pin, "yyy .yy .yy .yy .yy"),
    (Action::AddMembers, "... .yy .yy .yy .yy"),
    (Action::RemoveMembers, "... .yy .yy .yy .yy"),
    (Action::ManageRoles, "... ..y ..y ..y ..y"),
    (Action::Rename, "... ..y ..y ..y ..y"),
    (Action::Leave, "... yyy yyy yyy yyy"),
    (Action::OwnSettings, "yyy yyy yyy yyy yyy"),
];

fn allowed(kind: ConversationKind, role: RoomRole, action: Action) -> bool {
    let column = ConversationKind::ALL.iter().position(|known| *known == kind).expect("a kind");
    let place = RoomRole::ALL.iter().position(|known| *known == role).expect("a role");
    let (_, row) = TABLE.iter().find(|(known, _)| *known == action).expect("a row for every action");
    row.split(' ').nth(column).expect("a column").as_bytes()[place] == b'y'
}

async fn the_table_says_who_may_do_what(offer: Offer) {
    let stage = Stage::new(offer).await;
    let rows: BTreeSet<String> = TABLE.iter().map(|(action, _)| format!("{action:?}")).collect();
    let actions: BTreeSet<String> = Action::ALL.iter().map(|action| format!("{action:?}")).collect();
    assert_eq!(rows, actions, "the table has a row for every action");
    for kind in ConversationKind::ALL {
        // Made in truth, since no use case gives somebody a role in a direct conversation.
        let members = RoomRole::ALL.map(|role| NewMember { user: user(role.as_str()), role, name: None });
        let new = NewConversation {
            id: conversation(kind.as_str()),
            kind,
            name: None,
            avatar: None,
            created_by: user("admin"),
            members: members.to_vec(),
            max_members: 10,
        };
        stage.ports().conversations.create(&new).await.unwrap();
        for warm in [false, true] {
            for role in RoomRole::ALL {
                for action in Action::ALL {
                    let access = stage.chat.guard().check(&actor(role.as_str()), &new.id, *action).await;
                    match access {
                        Ok(access) => {
                            assert!(allowed(kind, role, *action), "{kind} {role} {action:?}");
                            assert_eq!((access.kind, access.role), (kind, role));
                        }
                        Err(error) => {
                            assert!(!allowed(kind, role, *action), "{kind} {role} {action:?}: {error}");
                            assert_eq!(error.code(), Code::Forbidden);
                        }
                    }
                    refused(stage.chat.guard().check(&actor("eve"), &new.id, *action).await, Code::Forbidden);
                }
            }
            assert!(stage.ports().rooms.roles(&RoomId::from(&new.id), &[]).await.unwrap().is_some() || !warm);
        }
    }
}

/// What somebody tries its hand at.
#[derive(Debug, Clone)]
struct Scene {
    place: ConversationId,
    /// A message of the one who tries, and one of somebody else.
    own: MessageId,
    theirs: MessageId,
    /// A file of somebody else.
    file: FileId,
    /// A plain member.
    member: UserId,
    /// Another one.
    other: UserId,
}

/// One use case, waiting to be tried.
struct Attempt<'a> {
    name: &'static str,
    action: Action,
    outcome: BoxFuture<'a, Result<()>>,
}

/// Every use case of a conversation, those that take most away last.
fn attempts<'a>(chat: &'a Chat, who: &'a Actor, scene: &'a Scene) -> Vec<Attempt<'a>> {
    let Scene { place, own, theirs, file: file_id, member, other } = scene;
    let whole = HistoryScope::Everything;
    macro_rules! attempts {
        ($($action:ident $name:literal $call:expr;)*) => {
            vec![$(Attempt {
                name: $name,
                action: Action::$action,
                outcome: async move { $call.await.map(drop) }.boxed(),
            },)*]
        };
    }
    let first_page = || Page::first(10);
    let later = Timestamp::from_millis(4_000_000_000_000);
    let upload = FileId::derived(&["upload", who.user.as_str(), place.as_str()]);
    let everybody = || Mentions { users: vec![who.user.clone()], everyone: true };
    attempts! {
        Read "history" chat.history(who, place, HistoryScope::Everything, Anchor::Latest, 10);
        Read "history before" chat.history(who, place, HistoryScope::Main, Anchor::Before(Seq(9)), 10);
        Read "history after" chat.history(who, place, HistoryScope::Everything, Anchor::After(Seq(0)), 10);
        Read "history around" chat.history(who, place, whole.clone(), Anchor::Around(Seq(1)), 10);
        Read "history of a thread" chat.history(who, place, HistoryScope::Thread(theirs.clone()), Anchor::Latest, 10);
        Read "catch up" caught_up(chat, who, place);
        Read "thread" chat.thread(who, theirs, Seq::ZERO, 10);
        Read "find" chat.find(who, theirs);
        Read "search" chat.search(who, "words", Some(place), &first_page());
        Read "pinned" chat.pinned(who, place);
        Read "members" chat.members(who, place, &first_page().clone_as());
        Read "conversation" chat.conversation(who, place);
        Read "presence" chat.presence(who, place, from_ref(member));
        Read "unread" chat.unread(who, place);
        Read "readers" chat.readers(who, theirs);
        Read "mark delivered" chat.mark_delivered(who, place, Seq(1));
        Read "mark read" chat.mark_read(who, place, Seq(u64::MAX));
        Read "mark unread" chat.mark_unread(who, place, Seq(1));
        Read "download" chat.download_file(who, file_id, &key("download"));
        Type "type" chat.start_typing(who, place, None);
        React "react" chat.react(who, theirs, "👍", true);
        React "take a reaction off" chat.react(who, theirs, "👍", false);
        Send "send" chat.send(who, place, "words of mine", None);
        Send "send with a key" chat.send(who, Target::Conversation(place.clone()), "words", Some(&key("sent")));
        Send "mention" chat.send(who, place, Draft { mentions: everybody(), ..Draft::text("@all") }, None);
        Upload "upload" chat.register_file(who, file(upload.as_str(), place));
        EditOwn "edit" chat.edit(who, own, "other words", Mentions::default(), None);
        Pin "pin" chat.pin(who, theirs, true, None);
        Pin "unpin" chat.pin(who, theirs, false, None);
        OwnSettings "archive" chat.archive(who, place, true);
        OwnSettings "mute" chat.mute(who, place, Some(Mute::Until(later)));
        OwnSettings "pin on top" chat.pin_conversation(who, place, true);
        Rename "rename" chat.rename(who, place, "Mine");
        Rename "picture" chat.set_avatar(who, place, Some("https://mine.example"));
        AddMembers "let in" chat.add_members(who, place, from_ref(&user("newcomer")));
        ManageRoles "give a role" chat.set_role(who, place, other, RoomRole::Moderator);
        RemoveMembers "take out" chat.remove_member(who, place, member);
        Read "delete for me" chat.delete(who, own, DeleteType::ForMe);
        DeleteOwn "delete own" chat.delete(who, own, DeleteType::ForEveryone);
        DeleteAny "delete theirs" chat.delete(who, theirs, DeleteType::ForEveryone);
        DeleteAny "delete a file" chat.delete_file(who, file_id, true);
        Leave "leave" chat.leave(who, place);
    }
}

/// A page of anything.
trait CloneAs {
    fn clone_as<T>(&self) -> Page<T>;
}

impl<C> CloneAs for Page<C> {
    fn clone_as<T>(&self) -> Page<T> {
        Page::first(self.limit)
    }
}

/// Catching up names what is forbidden; alone, that is a refusal.
async fn caught_up(chat: &Chat, who: &Actor, place: &ConversationId) -> Result<()> {
    let answer = chat.catch_up(who, &[(place.clone(), Seq::ZERO)]).await?;
    if answer.forbidden == from_ref(place) {
        assert_eq!((answer.messages.len(), answer.discontinuity.len()), (0, 0));
        return Err(Code::Forbidden.into());
    }
    assert!(answer.forbidden.is_empty());
    Ok(())
}

/// A conversation of this kind in which `who` has this role, has said something and is one of several.
async fn scene(stage: &Stage, kind: ConversationKind, who: &Actor, role: RoomRole) -> Scene {
    let ada = actor("ada");
    let place = match kind {
        ConversationKind::Direct => stage.chat.direct(&ada, &who.user).await.unwrap().conversation.id,
        _ => {
            let group = NewGroup::named("Engines").of_kind(kind).with_role(who.user.clone(), RoomRole::Admin);
            let group = group.with_member(user("bob")).with_member(user("cid"));
            stage.chat.create_group(&ada, group).await.unwrap().id
        }
    };
    let theirs = stage.say(&ada, &place, "words of ada").await.id;
    let own = stage.say(who, &place, "words of their own").await.id;
    let file_id = FileId::new(format!("file in {place}")).expect("a file id");
    stage.chat.register_file(&ada, file(file_id.as_str(), &place)).await.unwrap();
    if kind != ConversationKind::Direct {
        stage.chat.set_role(&ada, &place, &who.user, role).await.unwrap();
    }
    stage.quiet().await;
    Scene { place, own, theirs, file: file_id, member: user("bob"), other: user("cid") }
}

async fn every_use_case_asks_for_its_own_action(offer: Offer) {
    let stage = Stage::new(offer).await;
    let who = actor("who");
    for kind in ConversationKind::ALL {
        for role in RoomRole::ALL {
            if kind == ConversationKind::Direct && role != RoomRole::Member {
                continue;
            }
            let scene = scene(&stage, kind, &who, role).await;
            for attempt in attempts(&stage.chat, &who, &scene) {
                let Attempt { name, action, outcome } = attempt;
                let membership = matches!(name, "let in" | "give a role" | "take out" | "leave");
                let outcome = outcome.await;
                if kind == ConversationKind::Direct && membership {
                    refused(outcome, Code::ConversationInvalid);
                } else if name == "delete own" && allowed(kind, role, Action::DeleteAny) {
                    outcome.unwrap();
                } else if allowed(kind, role, action) {
                    assert!(outcome.is_ok(), "{name} as {role} in {kind}: {outcome:?}");
                } else {
                    let code = outcome.as_ref().map_err(chat_core::Error::code);
                    assert_eq!(code, Err(Code::Forbidden), "{name} as {role} in {kind}");
                }
            }
            stage.quiet().await;
        }
    }
}

/// Tries every use case of a scene, each of which has to be refused, and sees that nothing has changed.
async fn denied(stage: &Stage, who: &Actor, scene: &Scene) {
    stage.quiet().await;
    let places = [scene.place.clone()];
    let people = ["ada", "bob", "cid", who.user.as_str()].map(user);
    let before = stage.truth(&places, &people).await;
    let mut counts = Vec::new();
    for member in stage.members(&scene.place).await {
        counts.push((
            Actor::user(member.user_id.clone()),
            stage.unread(&Actor::user(member.user_id), &scene.place).await,
        ));
    }
    for cold in [false, true] {
        for Attempt { name, outcome, .. } in attempts(&stage.chat, who, scene) {
            if cold {
                stage.cool(&scene.place).await;
            }
            let error = outcome.await.expect_err(name);
            assert_eq!(format!("{error:?}"), "Error(chat.forbidden)", "{name}");
        }
        stage.chat.stop_typing(who, &scene.place).await;
        assert_eq!(stage.kinds().await, [""; 0], "somebody would have noticed");
        assert_eq!(stage.truth(&places, &people).await, before, "something changed");
        for (member, count) in &counts {
            assert_eq!(stage.unread(member, &scene.place).await, *count);
        }
        let role = stage.chat.guard().role(&who.user, &scene.place).await.unwrap();
        assert_eq!(role, None, "{} got in", who.user);
    }
    let list = stage.chat.conversations(who, &ConversationFilter::default(), &Page::first(50)).await.unwrap();
    assert!(list.items.iter().all(|item| item.membership.conversation.id != scene.place));
}

async fn strangers_are_denied_and_leave_no_trace(offer: Offer) {
    let stage = Stage::new(offer).await;
    let eve = on("eve", "phone");
    stage.chat.connect(&eve, None).await.unwrap();
    stage.group("Her own", &[&eve]).await;
    stage.chat.direct(&eve, &user("ada")).await.unwrap();
    for kind in ConversationKind::ALL {
        let mut scene = scene(&stage, kind, &actor("who"), RoomRole::Member).await;
        if kind == ConversationKind::Direct {
            scene.member = user("who");
        }
        denied(&stage, &eve, &scene).await;
    }
}

async fn who_was_taken_out_is_denied_and_leaves_no_trace(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, who) = (actor("ada"), actor("who"));
    for kind in ConversationKind::ALL {
        if kind == ConversationKind::Direct {
            continue;
        }
        for leaves in [false, true] {
            let scene = scene(&stage, kind, &who, RoomRole::Moderator).await;
            match leaves {
                true => stage.chat.leave(&who, &scene.place).await.unwrap(),
                false => stage.chat.remove_member(&ada, &scene.place, &who.user).await.unwrap(),
            };
            denied(&stage, &who, &scene).await;
        }
    }
}

async fn a_refusal_says_nothing_about_what_is_there(offer: Offer) {
    let stage = Stage::new(offer).await;
    let eve = actor("eve");
    let there = scene(&stage, ConversationKind::Group, &actor("who"), RoomRole::Member).await;
    let nothing = MessageId::new("nothing").unwrap();
    let not_there = Scene {
        place: conversation("nowhere"),
        own: nothing.clone(),
        theirs: nothing,
        file: FileId::new("nothing").unwrap(),
        ..there.clone()
    };
    let tried = attempts(&stage.chat, &eve, &there).into_iter().zip(attempts(&stage.chat, &eve, &not_there));
    for (one, other) in tried {
        let (name, one, other) = (one.name, one.outcome.await, other.outcome.await);
        assert_eq!(format!("{one:?}"), format!("{other:?}"), "{name}");
    }
    // Nor to a platform admin, who may see everything that is there.
    for Attempt { name, outcome, .. } in attempts(&stage.chat, &platform_admin(), &not_there) {
        let code = outcome.await.map_err(|error| error.code());
        assert_eq!(code, Err(Code::Forbidden), "{name}");
    }
}

async fn a_conversation_cannot_be_taken_over(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, eve) = (actor("ada"), actor("eve"));
    let named = NewGroup::named("Engines").with_id(conversation("engines")).with_member(user("bob"));
    let group = stage.chat.create_group(&ada, named).await.unwrap().id;
    let direct =
        stage.chat.send(&ada, &user("bob"), "between us", None).await.unwrap().message.conversation_id;
    stage.quiet().await;
    let places = [group.clone(), direct.clone()];
    let people = ["ada", "bob", "eve"].map(user);
    let before = stage.truth(&places, &people).await;
    for place in &places {
        refused(stage.chat.send(&eve, place, "mine now", None).await, Code::Forbidden);
        let with = Draft { attachments: vec![attached("f")], ..Draft::text("mine now") };
        refused(stage.chat.send(&eve, place, with, Some(&key("k"))).await, Code::Forbidden);
        for kind in ConversationKind::ALL {
            let trap = NewGroup::named("Engines").with_id(place.clone()).of_kind(kind);
            let outcome = stage.chat.create_group(&eve, trap.with_member(user("ada"))).await;
            let code = outcome.map(drop).map_err(|error| error.code());
            assert!(matches!(code, Err(Code::Conflict | Code::ConversationInvalid)), "{code:?}");
        }
    }
    assert_eq!(stage.truth(&places, &people).await, before);
    assert_eq!(stage.kinds().await, [""; 0]);
    // What two say to each other is not what a third one says to either.
    let other = stage.chat.send(&eve, &user("ada"), "hello", None).await.unwrap().message.conversation_id;
    assert!(!places.contains(&other));
    assert_eq!(other, direct_id(&user("ada"), &user("eve")).unwrap());
}

async fn a_platform_admin_acts_everywhere(offer: Offer) {
    let stage = Stage::new(offer).await;
    let root = platform_admin();
    let scene = scene(&stage, ConversationKind::Group, &actor("who"), RoomRole::Member).await;
    stage.chat.history(&root, &scene.place, HistoryScope::Main, Anchor::Latest, 10).await.unwrap();
    stage.chat.find(&root, &scene.theirs).await.unwrap();
    stage.chat.add_members(&root, &scene.place, from_ref(&user("newcomer"))).await.unwrap();
    stage.chat.set_role(&root, &scene.place, &user("bob"), RoomRole::Admin).await.unwrap();
    stage.chat.remove_member(&root, &scene.place, &user("cid")).await.unwrap();
    stage.chat.delete(&root, &scene.theirs, DeleteType::ForEveryone).await.unwrap();
    stage.chat.delete_file(&root, &scene.file, true).await.unwrap();
    stage.chat.rename(&root, &scene.place, "Engines of ada").await.unwrap();
    // But says nothing in somebody else's name, and is no member by that.
    let edit = stage.chat.edit(&root, &scene.own, "other words", Mentions::default(), None).await;
    refused(edit, Code::Forbidden);
    assert!(stage.members(&scene.place).await.iter().all(|member| member.user_id != root.user));
    refused(stage.chat.conversation(&root, &scene.place).await, Code::Forbidden);
    assert!(!stage.chat.leave(&root, &scene.place).await.unwrap(), "who is out stays out");
}

async fn the_table_can_be_replaced(offer: Offer) {
    let mut policy = PolicyTable::deny_all();
    policy.allow(ConversationKind::Group, RoomRole::Member, Action::Read);
    policy.allow(ConversationKind::Group, RoomRole::Admin, Action::Send);
    let stage = Stage::with(offer, |chat| chat.policy(policy)).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    stage.say(&ada, &group, "hello").await;
    stage.chat.history(&bob, &group, HistoryScope::Main, Anchor::Latest, 10).await.unwrap();
    refused(stage.chat.send(&bob, &group, "hello", None).await, Code::Forbidden);
    refused(stage.chat.history(&ada, &group, HistoryScope::Main, Anchor::Latest, 10).await, Code::Forbidden);
    refused(stage.chat.send(&ada, &user("bob"), "hello", None).await, Code::Forbidden);
}

async fn an_outage_is_neither_a_refusal_nor_an_empty_answer(offer: Offer) {
    let outage = offer.outage.clone().expect("a switch");
    let stage = Stage::new(offer).await;
    let (ada, who) = (on("ada", "phone"), actor("who"));
    let scene = scene(&stage, ConversationKind::Group, &who, RoomRole::Admin).await;
    stage.chat.connect(&ada, None).await.unwrap();
    stage.chat.ensure_profile(&ada.user, "Ada").await.unwrap();
    stage.quiet().await;
    let places = [scene.place.clone()];
    let people = ["ada", "who", "bob", "newcomer"].map(user);
    let before = stage.truth(&places, &people).await;
    outage.begin();
    for asking in [&ada, &who, &actor("eve"), &platform_admin()] {
        for Attempt { name, outcome, .. } in attempts(&stage.chat, asking, &scene) {
            let code = outcome.await.map_err(|error| error.code());
            assert_eq!(code, Err(Code::Unavailable), "{name} as {}", asking.user);
        }
    }
    let (chat, named) =
        (&stage.chat, ProfileUpdate { full_name: Some("Ada".to_owned()), ..ProfileUpdate::default() });
    let all = ConversationFilter::default();
    unavailable(chat.send(&ada, &user("new"), "hello", None).await);
    unavailable(chat.direct(&ada, &user("new")).await);
    unavailable(chat.create_group(&ada, NewGroup::named("New")).await);
    unavailable(chat.create_broadcast(&ada, NewGroup::named("New")).await);
    unavailable(chat.conversations(&ada, &all, &Page::first(10)).await);
    unavailable(chat.total_unread(&ada).await);
    unavailable(chat.search(&ada, "words", None, &Page::first(10)).await);
    unavailable(chat.profiles(from_ref(&ada.user)).await);
    unavailable(chat.update_profile(&ada, &ada.user, &named).await);
    unavailable(chat.ensure_profile(&ada.user, "Ada").await);
    unavailable(chat.delete_profile(&ada, &ada.user).await);
    unavailable(chat.connect(&ada, None).await);
    unavailable(chat.heartbeat(&[(ada.user.clone(), session("phone"))]).await);
    unavailable(chat.disconnect(&ada).await);
    unavailable(chat.sweep_presence().await);
    unavailable(chat.touch(from_ref(&ada.user)).await);
    unavailable(chat.mark_idle(from_ref(&ada.user)).await);
    unavailable(chat.set_status(&ada, PresenceStatus::Dnd, None).await);
    unavailable(chat.set_privacy(&ada, Visibility::Nobody).await);
    unavailable(chat.presence_stats(&platform_admin()).await);
    unavailable(chat.relay_once().await);
    outage.end();
    assert_eq!(stage.truth(&places, &people).await, before);
    assert_eq!(stage.kinds().await, [""; 0]);
    stage.say(&ada, &scene.place, "and on it goes").await;
}

async fn hostile_ids_are_names_like_any_other(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ids = hostile_ids();
    // Everybody has a conversation of its own name with a neighbour, and reads half of what is said there.
    for (nth, id) in ids.iter().enumerate() {
        let (who, next) = (actor(id).on(session(id)), &ids[(nth + 1) % ids.len()]);
        let name: String = id.chars().take(100).collect();
        let group = NewGroup::named(name).with_id(conversation(id)).with_member(user(next));
        stage.chat.create_group(&who, group).await.unwrap();
        stage.chat.connect(&who, None).await.unwrap();
        stage.chat.ensure_profile(&who.user, id).await.unwrap();
        for n in 0..nth % 5 + 1 {
            let named = (n == 0).then(|| key(id));
            stage.chat.send(&who, &conversation(id), format!("word{nth} {n}"), named.as_ref()).await.unwrap();
        }
        stage.chat.register_file(&who, file(id, &conversation(id))).await.unwrap();
    }
    for (nth, id) in ids.iter().enumerate() {
        let (who, before) = (actor(id), (nth + ids.len() - 1) % ids.len());
        let theirs = conversation(&ids[before]);
        let expected = (before % 5 + 1) as u64;
        assert_eq!(stage.unread(&who, &theirs).await, (expected, 0), "{id}");
        assert_eq!(stage.unread(&who, &conversation(id)).await, (0, 0), "{id}");
        let members: Vec<UserId> =
            stage.members(&conversation(id)).await.into_iter().map(|member| member.user_id).collect();
        let mut there = [user(id), user(&ids[(nth + 1) % ids.len()])];
        there.sort();
        assert_eq!(members, there, "{id}");
        let all = ConversationFilter::default();
        let list = stage.chat.conversations(&who, &all, &Page::first(50)).await.unwrap().items;
        assert_eq!(list.len(), 2, "{id}");
        assert_eq!(stage.chat.total_unread(&who).await.unwrap().messages, expected);
        let found = stage.chat.search(&who, &format!("word{nth}"), None, &Page::first(50)).await.unwrap();
        assert_eq!(found.items.len(), nth % 5 + 1, "{id}");
        let record = stage.ports().files.get(&FileId::new(id).unwrap()).await.unwrap().expect("a file");
        assert_eq!((record.conversation_id, record.uploaded_by), (conversation(id), user(id)));
        let profile = stage.chat.profiles(from_ref(&who.user)).await.unwrap().remove(0);
        assert_eq!(profile.map(|profile| profile.full_name).as_ref(), Some(id));
        let seen = stage.chat.presence(&who, &theirs, &[user(&ids[before])]).await.unwrap();
        assert_eq!((seen[0].status, seen[0].devices), (PresenceStatus::Online, 1), "{id}");
        for other in ids.iter().filter(|other| **other != *id && **other != ids[before]) {
            let read =
                stage.chat.history(&who, &conversation(other), HistoryScope::Main, Anchor::Latest, 1).await;
            refused(read, Code::Forbidden);
        }
    }
    // What one does moves nobody else's.
    let (first, second) = (actor(&ids[1]), actor(&ids[2]));
    let count = stage.unread(&second, &conversation(&ids[1])).await;
    stage.chat.mark_read(&first, &conversation(&ids[0]), Seq(u64::MAX)).await.unwrap();
    stage.chat.remove_member(&actor(&ids[0]), &conversation(&ids[0]), &user(&ids[1])).await.unwrap();
    stage.chat.disconnect(&actor(&ids[0]).on(session(&ids[0]))).await.unwrap();
    assert_eq!(stage.unread(&second, &conversation(&ids[1])).await, count);
    stage.pass(Duration::from_secs(1)).await;
    assert_eq!(stage.ports().presence.stats().await.unwrap().users, ids.len() as u64 - 1);
}

async fn hostile_names_of_messages_and_files_find_nothing(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "hello").await;
    let before = stage.truth(from_ref(&group), &[]).await;
    for id in hostile_ids() {
        let scene = Scene {
            place: conversation(&id),
            own: MessageId::new(&id).unwrap(),
            theirs: MessageId::new(&id).unwrap(),
            file: FileId::new(&id).unwrap(),
            member: user(&id),
            other: user(&id),
        };
        for Attempt { name, outcome, .. } in attempts(&stage.chat, &ada, &scene) {
            let code = outcome.await.map_err(|error| error.code());
            assert_eq!(code, Err(Code::Forbidden), "{name} of {id:?}");
        }
        let replying = Draft { reply_to: Some(scene.own.clone()), ..Draft::text("x") };
        refused(stage.chat.send(&ada, &group, replying, None).await, Code::MessageNotFound);
        let carrying = Draft { attachments: vec![attached(&id)], ..Draft::text("x") };
        refused(stage.chat.send(&ada, &group, carrying, None).await, Code::FileNotFound);
        refused(stage.chat.set_role(&ada, &group, &user(&id), RoomRole::Admin).await, Code::RoomNotMember);
        assert!(!stage.chat.remove_member(&ada, &group, &user(&id)).await.unwrap());
    }
    assert_eq!(stage.truth(from_ref(&group), &[]).await, before);
    // A key is whatever its sender calls it.
    for id in hostile_ids() {
        let sent = stage.chat.send(&ada, &group, "named", Some(&key(&id))).await.unwrap();
        assert!(!sent.duplicate, "{id:?}");
    }
    assert_eq!(stage.chat.find(&ada, &said.id).await.unwrap(), said);
}
