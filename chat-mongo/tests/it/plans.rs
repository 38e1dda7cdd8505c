//! Every question the stores ask is answered from an index: asked on 100 000 messages, overheard, and explained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::message::{Mentions, NewMessage, ThreadPlace};
use chat_core::domain::page::Page;
use chat_core::domain::text::Query;
use chat_core::domain::user::ProfileUpdate;
use chat_core::domain::{
    AuditAction, ConversationId, ConversationKind, LastActivity, MessageId, RoomRole, Seq, UserId,
    UserProfile,
};
use chat_core::event::DeleteType;
use chat_core::store::audit::{AuditFilter, AuditOutcome};
use chat_core::store::conversations::{Change, ConversationFilter};
use chat_core::store::messages::{
    Anchor, Edit, HistoryQuery, HistoryScope, Purge, SearchCursor, SearchQuery,
};
use chat_core::store::positions::Step;
use chat_core::store::{
    AuditLog, ConversationStore, FileStore, MessageStore, MessageStoreExt, Outbox, PositionStore,
    PositionStoreExt, UserSource,
};
use chat_mongo::schema::Migration;
use chat_mongo::{Mongo, MongoConfig};
use chat_testkit::{Absent, sample, trials};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Client, Database};
use parking_lot::Mutex;

use super::desk::{fresh, patient, server};
use super::shape::{EXPLAINED, Question, questions};

trials! { needs "mongo":
    every_question_is_answered_from_its_index,
}

/// How many messages there are, and how many of them in one conversation.
const COUNT: usize = 100_000;
const HERE: usize = 2_000;

/// What was asked of a database, one of each shape.
type Asked = Arc<Mutex<BTreeMap<String, Question>>>;

fn overheard(config: MongoConfig) -> (MongoConfig, Asked) {
    let asked = Asked::default();
    let (told, database) = (Arc::clone(&asked), config.database.clone());
    let config = config.on_command(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event
            && started.db == database
        {
            for question in questions(&started.command_name, &started.command) {
                told.lock().entry(question.shape.clone()).or_insert(question);
            }
        }
    }));
    (config, asked)
}

fn here() -> ConversationId {
    sample::conversation("here")
}

fn ann() -> UserId {
    sample::user("ann")
}

fn bob() -> UserId {
    sample::user("bob")
}

fn said(content: &str) -> NewMessage {
    sample::text(&here(), &ann(), content)
}

fn reply(root: &MessageId) -> NewMessage {
    let mut new = said("reply");
    new.draft.thread = Some(ThreadPlace { root: root.clone(), also_in_conversation: false });
    new
}

/// One message of each kind, stored as any other; then as many like them as make 100 000. The first is the root of a thread.
async fn fill(mongo: &Mongo, database: &Database) -> MessageId {
    let root = said("apple root");
    let (mut calling, mut silent) = (said("look here"), said("quietly"));
    calling.draft.mentions = Mentions { users: vec![bob()], everyone: false };
    silent.draft.silent = true;
    silent.sender_id = None;
    let mut keyed = said("apple pie");
    keyed.client_key = Some(sample::key("k"));
    for new in [&root, &reply(&root.id), &calling, &silent, &keyed] {
        mongo.messages.append(new).await.unwrap();
    }
    let messages = database.collection::<Document>("messages");
    let quickly = WriteConcern::builder().w(Acknowledgment::Nodes(1)).journal(false).build();
    let kinds: Vec<Document> =
        { messages.find(doc! {}).sort(doc! { "seq": 1 }).await.unwrap().try_collect().await.unwrap() };
    let began = kinds[0].get_datetime("createdAt").unwrap().timestamp_millis();
    let at = |nth: i64| mongodb::bson::DateTime::from_millis(began + nth);
    let like = |nth: usize| {
        let place = nth as i64 + 1;
        let mut like = kinds[if nth % 100 == 99 { 4 } else { nth % 4 }].clone();
        like.extend(
            doc! { "_id": format!("copy {nth}"), "seq": place, "stamp": place, "createdAt": at(place) },
        );
        if like.contains_key("main") {
            like.insert("main", place);
        }
        if like.contains_key("clientKey") {
            like.insert("clientKey", format!("key {nth}"));
        }
        if nth % 10 == 7 {
            like.insert("due", place);
            for entry in like.get_array_mut("outbox").unwrap() {
                let entry = entry.as_document_mut().unwrap();
                entry.extend(doc! { "id": format!("event {nth}"), "stamp": place });
            }
        } else {
            like.remove("due");
            like.remove("outbox");
        }
        like
    };
    // Of what is elsewhere only what is in an index: the other server reads all of it to explain anything.
    let elsewhere = |nth: usize| {
        let place = (nth % 500) as i64 + 1;
        doc! {
            "_id": format!("copy {nth}"), "conversationId": format!("there {}", nth / 500), "seq": place, "main": place,
            "senderId": "ann", "terms": ["", "apple"], "createdAt": at(place), "version": 0_i64, "stamp": place,
        }
    };
    let all: Vec<_> = (5..HERE).map(like).chain((HERE..COUNT).map(elsewhere)).collect();
    let inserts = all.chunks(10_000).map(|part| {
        let insert = messages.insert_many(part).ordered(false).write_concern(quickly.clone());
        async move { insert.await }
    });
    try_join_all(inserts).await.unwrap();
    root.id
}

/// Everything that is asked of messages.
async fn ask_messages(mongo: &Mongo, other: &Mongo, root: &MessageId) {
    let messages = &*mongo.messages;
    messages.delete(&MessageId::new("copy 58").unwrap(), &bob(), DeleteType::ForMe).await.unwrap();
    let middle = Seq(HERE as u64 / 2);
    for scope in [HistoryScope::Everything, HistoryScope::Main, HistoryScope::Thread(root.clone())] {
        for anchor in [Anchor::Latest, Anchor::Before(middle), Anchor::After(middle), Anchor::Around(middle)]
        {
            for viewer in [None, Some(bob())] {
                let (conversation, scope) = (here(), scope.clone());
                let query = HistoryQuery { conversation, viewer, scope, anchor, limit: 100 };
                assert_eq!(messages.history(&query).await.unwrap().messages.len(), 100);
            }
        }
    }
    messages.heads(Some(&bob()), &[here(), sample::conversation("nowhere")]).await.unwrap();
    for words in ["apple", "apple pi", "app"] {
        for after in ["herd", "here", "hern"] {
            let at = Timestamp::from_millis(u64::MAX >> 12);
            let after = SearchCursor { at, conversation: sample::conversation(after), seq: middle };
            let words = Query::new(words).unwrap();
            let (conversations, viewer) = (vec![here()], bob());
            let query = SearchQuery { conversations, viewer, words, after: Some(after), limit: 10 };
            assert_eq!(messages.search(&query).await.unwrap().items.len(), 10);
            messages.search(&SearchQuery { after: None, ..query }).await.unwrap();
        }
    }
    // A lane of a node that knows nothing; repeats by key and by id; replies; and what hangs on nothing.
    let mut keyed = said("text");
    keyed.client_key = Some(sample::key("new key"));
    let (again, answer) = (said("again"), reply(root));
    for new in [&keyed, &keyed, &answer, &answer, &again, &again] {
        other.messages.append(new).await.unwrap();
        messages.append(new).await.unwrap();
    }
    let id = &keyed.id;
    messages.get_many(std::slice::from_ref(id)).await.unwrap();
    messages.hidden_many(&bob(), std::slice::from_ref(id)).await.unwrap();
    let (content, mentions) = ("new text".to_owned(), Mentions::default());
    let edit = Edit { message: id.clone(), by: ann(), content, mentions, expect: None };
    messages.edit(&edit).await.unwrap();
    for on in [true, false] {
        messages.react(id, &bob(), "👍", on).await.unwrap();
        messages.pin(id, &ann(), on, None).await.unwrap();
        messages.pinned(&here()).await.unwrap();
    }
    messages.pin(id, &ann(), true, None).await.unwrap();
    messages.pin(&again.id, &ann(), true, None).await.unwrap();
    messages.pinned(&here()).await.unwrap();
    for gone in [id, &answer.id] {
        messages.delete(gone, &ann(), DeleteType::ForEveryone).await.unwrap();
    }
    let before = Timestamp::from_millis(u64::MAX >> 12);
    for hold in [Vec::new(), vec![root.clone()]] {
        let purge = Purge { conversation: here(), before, hold, after: Seq::ZERO, limit: 10 };
        assert_eq!(messages.purge(&purge).await.unwrap().items.len(), 10);
    }
}

/// Everything that is asked of positions.
async fn ask_positions(mongo: &Mongo) {
    let positions = &*mongo.positions;
    let head = mongo.messages.head(&here()).await.unwrap();
    for (nth, name) in ["bob", "eve", "kim", "ann"].into_iter().enumerate() {
        let name = sample::user(name);
        for step in [Step::Joined(Seq(9)), Step::Delivered(Seq(40)), Step::Read(Seq(50 + nth as u64))] {
            positions.step(&name, &here(), step).await.unwrap();
        }
    }
    positions.step(&bob(), &here(), Step::Unread { from: Seq(20), epoch: 0 }).await.unwrap();
    positions.step(&bob(), &here(), Step::Read(Seq(head.0 - 100))).await.unwrap();
    positions.receipts_many(&[(bob(), here()), (ann(), here())]).await.unwrap();
    for after in [None, Some(bob())] {
        let page = Page { after, limit: 2 };
        positions.readers(&here(), Seq(30), &page).await.unwrap();
        positions.receivers(&here(), Seq(30), &page).await.unwrap();
    }
    // What nobody said.
    positions.readers(&here(), Seq(4), &Page::first(2)).await.unwrap();
    positions.receivers(&here(), Seq(4), &Page::first(2)).await.unwrap();
    positions.recount(&bob(), &[here(), sample::conversation("nowhere")]).await.unwrap();
}

/// Everything that is asked of conversations and members.
async fn ask_conversations(mongo: &Mongo) {
    let conversations = &*mongo.conversations;
    let ids: Vec<_> = (0..50).map(|nth| sample::conversation(&format!("group {nth}"))).collect();
    for nth in 0..ids.len() {
        let new = sample::group(&format!("group {nth}"), &["ann", "bob", "eve"]);
        conversations.create(&new).await.unwrap();
    }
    let group = &ids[0];
    conversations.create(&sample::group("group 0", &["ann", "bob", "eve"])).await.unwrap();
    let mut direct = sample::group("direct", &["ann", "bob"]);
    direct.id = chat_core::domain::conversation::direct_id(&ann(), &bob()).unwrap();
    (direct.kind, direct.name) = (ConversationKind::Direct, None);
    for made in [true, false] {
        assert_eq!(conversations.create(&direct).await.unwrap().created, made);
    }
    let kim = vec![sample::member("kim", RoomRole::Member)];
    for change in [
        Change::Rename("Another".to_owned()),
        Change::SetAvatar(Some("https://pictures.invalid/1".to_owned())),
        Change::Add { members: kim, head: Seq(7) },
        Change::SetRole { user: bob(), role: RoomRole::Admin },
        Change::Remove { user: sample::user("kim"), name: None },
        Change::Archive(true),
        Change::Mute(None),
        Change::Pin(true),
        Change::Leave { name: None },
    ] {
        conversations.change(group, &ann(), &change).await.unwrap();
    }
    conversations.get_many(&ids).await.unwrap();
    conversations.members_by_id(group, &[ann(), bob()]).await.unwrap();
    for after in [None, Some(bob())] {
        conversations.members(group, &Page { after, limit: 1 }).await.unwrap();
    }
    conversations.members(group, &Page { after: Some(sample::user("z")), limit: 1 }).await.unwrap();
    conversations.first_members(&ids, 5).await.unwrap();
    for archived in [None, Some(true), Some(false)] {
        for kind in [None, Some(ConversationKind::Direct)] {
            let filter = ConversationFilter { archived, kind };
            conversations.list(&bob(), &filter, &Page::first(10)).await.unwrap();
        }
    }
    conversations.memberships(&bob(), &ids).await.unwrap();
    let activity = LastActivity { at: Timestamp::from_millis(5), seq: Seq(5), message_id: None };
    let active = |id: &ConversationId| (id.clone(), activity.clone());
    conversations.touch_many(&ids[..20].iter().map(active).collect::<Vec<_>>()).await.unwrap();
    let next = conversations.active(Timestamp::EPOCH, &Page::first(10)).await.unwrap().next;
    let page = Page { after: next, limit: 100 };
    assert_eq!(conversations.active(Timestamp::EPOCH, &page).await.unwrap().items.len(), 10);
}

/// Everything that is asked of files and users.
async fn ask_files_and_users(mongo: &Mongo) {
    let (files, source) = (&*mongo.files, &*mongo.source);
    let photo = sample::file(&here(), "photo");
    let (id, key) = (&photo.file_id, sample::key("download"));
    for _ in 0..2 {
        for _ in 0..2 {
            files.register(&photo).await.unwrap();
            files.downloaded(id, &bob(), &key).await.unwrap();
        }
        files.get_many(std::slice::from_ref(id)).await.unwrap();
        files.list(&here(), &Page::first(10)).await.unwrap();
        files.delete(id, &ann(), true).await.unwrap();
    }
    let ada = UserProfile::new(sample::user("ada"), "Ada", Timestamp::from_millis(5));
    let named = ProfileUpdate { full_name: Some("Eve".to_owned()), ..ProfileUpdate::default() };
    for _ in 0..2 {
        source.create_many(std::slice::from_ref(&ada)).await.unwrap();
        source.update(&ada.id, &named).await.unwrap();
        source.fetch_many(std::slice::from_ref(&ada.id)).await.unwrap();
        source.delete(&ada.id).await.unwrap();
    }
}

/// Everything that is asked of the audit log.
async fn ask_audit(mongo: &Mongo) {
    let audit = &*mongo.audit;
    for nth in 0..100 {
        let entry = super::audit::ban(&format!("deed {nth}"));
        audit.append(&entry).await.unwrap();
        audit.append(&entry).await.unwrap();
    }
    let deed = |nth| super::audit::id(&format!("deed {nth}"));
    for _ in 0..2 {
        audit.settle(&deed(1), AuditOutcome::Applied).await.unwrap();
    }
    audit.get_many(&[deed(1), deed(2)]).await.unwrap();
    for actor in [None, Some(ann())] {
        for target in [None, Some(sample::user("eve"))] {
            for action in [None, Some(AuditAction::Ban)] {
                let filter = AuditFilter { actor: actor.clone(), target: target.clone(), action };
                let page = Page::after(Seq(50), 10);
                assert_eq!(audit.list(Some(&here()), &filter, &page).await.unwrap().items.len(), 10);
            }
        }
    }
    let far = Timestamp::from_millis(u64::MAX >> 12);
    let next = audit.pending(far, &Page::first(10)).await.unwrap().next;
    assert_eq!(audit.pending(far, &Page { after: next, limit: 10 }).await.unwrap().items.len(), 10);
    assert_eq!(audit.stats(Some(&here()), Timestamp::EPOCH).await.unwrap().total, 100);
}

/// Everything the relay asks: of a key that is free, its own, and another's.
async fn ask_outbox(mongo: &Mongo) {
    let outbox = &*mongo.outbox;
    let lease = Duration::from_secs(60);
    for owner in ["one", "one", "other"] {
        let waiting = outbox.claim(owner, 20, lease).await.unwrap();
        assert_eq!(waiting.len(), 20);
        if owner == "other" {
            let ids: Vec<_> = waiting.into_iter().map(|envelope| envelope.id).collect();
            outbox.clear(owner, &ids).await.unwrap();
        }
    }
    assert_eq!(outbox.list(&Page::first(20)).await.unwrap().items.len(), 20);
    assert!(outbox.stats().await.unwrap().pending > 20);
}

/// Every stage of a plan.
fn stages<'a>(plan: &'a Document, found: &mut Vec<&'a Document>) {
    if plan.contains_key("stage") {
        found.push(plan);
    }
    for (_, value) in plan {
        match value {
            Bson::Document(inner) => stages(inner, found),
            Bson::Array(inner) => {
                inner.iter().filter_map(Bson::as_document).for_each(|inner| stages(inner, found));
            }
            _ => {}
        }
    }
}

/// The parts of an explanation under a name, wherever they are.
fn parts<'a>(name: &str, of: &'a Document, found: &mut Vec<&'a Document>) {
    for (key, value) in of {
        match value {
            Bson::Document(inner) if key == name => found.push(inner),
            Bson::Document(inner) => parts(name, inner, found),
            Bson::Array(inner) => {
                inner.iter().filter_map(Bson::as_document).for_each(|inner| parts(name, inner, found));
            }
            _ => {}
        }
    }
}

/// The index a question is answered from.
///
/// # Panics
/// When it is none, several, or what it yields is sorted afterwards.
fn index(question: &Question, answer: &Document) -> String {
    let (mut plans, mut found) = (Vec::new(), Vec::new());
    parts("winningPlan", answer, &mut plans);
    plans.iter().for_each(|plan| stages(plan, &mut found));
    let mut indexes = BTreeSet::new();
    for stage in found {
        let name = stage.get_str("stage").unwrap();
        assert!(!["COLLSCAN", "SORT"].contains(&name), "{name} in {}: {answer}", question.shape);
        match stage.get_str("indexName") {
            Ok(index) => indexes.insert(index.to_owned()),
            Err(_) if name == "IDHACK" || name.starts_with("EXPRESS") => indexes.insert("_id_".to_owned()),
            Err(_) => false,
        };
    }
    assert_eq!(indexes.len(), 1, "{}: {answer}", question.shape);
    indexes.into_iter().next().unwrap()
}

async fn every_question_is_answered_from_its_index() -> Result<(), Absent> {
    let server = server()?;
    let (config, asked) = overheard(patient(fresh(server.url())));
    let mongo = Mongo::connect(&config).await.unwrap();
    mongo.plan().await.unwrap();
    mongo.ensure().await.unwrap();
    let database = Client::with_uri_str(config.url.expose()).await.unwrap().database(&config.database);
    let root = fill(&mongo, &database).await;
    let other = Mongo::connect(&config).await.unwrap();
    ask_messages(&mongo, &other, &root).await;
    ask_positions(&mongo).await;
    ask_conversations(&mongo).await;
    ask_files_and_users(&mongo).await;
    ask_audit(&mongo).await;
    ask_outbox(&mongo).await;
    let nothing = Migration { to: 2, what: "nothing", run: |_| Box::pin(async { Ok(()) }) };
    mongo.ensure_with(&[nothing]).await.unwrap();
    let asked = std::mem::take(&mut *asked.lock());
    // Counts are modelled where the server is no mongod.
    let verbosity = if server.is_mongod() { "executionStats" } else { "queryPlanner" };
    let explain = |question: Question| {
        let (database, explain) =
            (&database, doc! { "explain": question.command.clone(), "verbosity": verbosity });
        async move {
            let answer = database.run_command(explain).await;
            let answer = answer.unwrap_or_else(|error| panic!("{}: {error:?}", question.shape));
            if server.is_mongod() {
                sparing(&question, &answer);
            }
            (question.shape.clone(), index(&question, &answer))
        }
    };
    let explained = stream::iter(asked.into_values()).map(explain).buffer_unordered(4);
    let explained: BTreeMap<_, _> = explained.collect().await;
    let explained: Vec<_> = explained.iter().map(|(shape, index)| (shape.as_str(), index.as_str())).collect();
    let there: Vec<_> = explained.iter().filter(|row| !EXPLAINED.contains(row)).collect();
    let gone: Vec<_> = EXPLAINED.iter().filter(|row| !explained.contains(row)).collect();
    assert!(there.is_empty() && gone.is_empty(), "not written down: {there:#?}, never asked: {gone:#?}");
    Ok(())
}

/// A real server reads no more documents than it gives or changes, and a few.
///
/// What a list leaves out by kind or archive it has read: it ranks all conversations of a user anyway. And how much waits in
/// the outbox is counted where it waits.
fn sparing(question: &Question, answer: &Document) {
    let is_list = question.shape.starts_with("find members {userId: ?, ");
    let is_stats = question.shape.contains("$match {due: {$exists: true}}, $group");
    if is_list || is_stats {
        return;
    }
    let mut stats = Vec::new();
    parts("executionStats", answer, &mut stats);
    for stats in stats {
        let number = |name| stats.get(name).and_then(|n| n.as_i64().or(n.as_i32().map(i64::from))).unwrap();
        let (mut found, mut changed) = (Vec::new(), 0);
        stages(stats, &mut found);
        for stage in found {
            for name in ["nWouldModify", "nWouldDelete"] {
                changed +=
                    stage.get(name).and_then(|n| n.as_i64().or(n.as_i32().map(i64::from))).unwrap_or(0);
            }
        }
        let most = number("nReturned").max(changed) + 5;
        assert!(number("totalDocsExamined") <= most, "{}: {stats}", question.shape);
    }
}
