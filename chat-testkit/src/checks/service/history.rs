//! Promises of history: pages, threads, and catching up.

use chat_core::domain::message::{Draft, ThreadPlace};
use chat_core::domain::{Actor, ConversationId, Message, Seq};
use chat_core::error::Code;
use chat_core::event::DeleteType;
use chat_core::service::{MAX_CATCH_UP, MAX_MISSED, MAX_POSITIONS};
use chat_core::store::messages::{Anchor, History, HistoryScope};

use crate::Offer;
use crate::expect::{at_once, refused};
use crate::sample::conversation;
use crate::stage::{Stage, actor};

promises! {
    "service::history":
    pages_are_taken_before_after_and_around,
    a_walk_sees_everything_once_while_others_write,
    thread_replies_stand_in_their_thread,
    a_thread_is_found_by_any_of_its_messages,
    page_limits_are_checked,
    a_message_is_found_by_those_who_may_see_it,
    catching_up_brings_exactly_what_was_missed,
    catching_up_leaves_out_what_one_has_deleted,
    catching_up_with_too_much_is_a_discontinuity,
    a_place_never_reached_is_a_discontinuity,
    what_may_not_be_read_is_named_and_holds_up_nothing,
    catching_up_goes_on_where_it_ended,
    too_many_positions_are_refused,
}

async fn page(stage: &Stage, who: &Actor, group: &ConversationId, anchor: Anchor, limit: usize) -> History {
    stage.chat.history(who, group, HistoryScope::Everything, anchor, limit).await.unwrap()
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq.0).collect()
}

/// Says so many things.
async fn chatter(stage: &Stage, who: &Actor, group: &ConversationId, times: usize) -> Vec<Message> {
    let mut said = Vec::with_capacity(times);
    for n in 0..times {
        said.push(stage.say(who, group, &format!("{n}")).await);
    }
    said
}

async fn pages_are_taken_before_after_and_around(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    // The note of its making is number 1.
    let group = stage.group("Engines", &[&ada, &bob]).await;
    chatter(&stage, &ada, &group, 9).await;
    let cases = [
        (Anchor::Latest, 3, vec![8, 9, 10], true, false),
        (Anchor::Latest, 10, (1..=10).collect(), false, false),
        (Anchor::Before(Seq(8)), 3, vec![5, 6, 7], true, true),
        (Anchor::Before(Seq(3)), 5, vec![1, 2], false, true),
        (Anchor::Before(Seq(1)), 5, vec![], false, true),
        (Anchor::After(Seq::ZERO), 4, vec![1, 2, 3, 4], false, true),
        (Anchor::After(Seq(7)), 3, vec![8, 9, 10], true, false),
        (Anchor::After(Seq(10)), 3, vec![], true, false),
    ];
    for (anchor, limit, expected, before, after) in cases {
        let found = page(&stage, &bob, &group, anchor, limit).await;
        assert_eq!(seqs(&found.messages), expected, "{anchor:?}");
        assert_eq!((found.more_before, found.more_after), (before, after), "{anchor:?}");
    }
    for around in 1..=10 {
        let found = seqs(&page(&stage, &bob, &group, Anchor::Around(Seq(around)), 5).await.messages);
        assert!(found.contains(&around) && found.len() <= 5, "{around}: {found:?}");
        assert!(found.windows(2).all(|two| two[1] == two[0] + 1), "{found:?}");
    }
}

async fn a_walk_sees_everything_once_while_others_write(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    chatter(&stage, &ada, &group, 39).await;
    let walked = at_once(3, |nth| {
        let (chat, ada, bob, group) = (stage.chat.clone(), ada.clone(), bob.clone(), group.clone());
        async move {
            let mut seen: Vec<Message> = Vec::new();
            for n in 0..40 {
                if nth == 2 {
                    chat.send(&ada, &group, format!("{n} meanwhile"), None).await.unwrap();
                    continue;
                }
                let anchor = match (nth, seen.first(), seen.last()) {
                    (0, Some(first), _) => Anchor::Before(first.seq),
                    (0, None, _) => Anchor::Before(Seq(41)),
                    (_, _, Some(last)) => Anchor::After(last.seq),
                    (_, _, None) => Anchor::After(Seq::ZERO),
                };
                let found =
                    chat.history(&bob, &group, HistoryScope::Everything, anchor, 3).await.unwrap().messages;
                match nth {
                    0 => drop(seen.splice(0..0, found)),
                    _ => seen.extend(found),
                }
            }
            seqs(&seen)
        }
    })
    .await;
    assert_eq!(walked[0], (1..=40).collect::<Vec<_>>(), "backwards");
    assert_eq!(walked[1], (1..=walked[1].len() as u64).collect::<Vec<_>>(), "forwards");
    assert!(walked[1].len() >= 40);
}

async fn thread_replies_stand_in_their_thread(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let root = stage.say(&ada, &group, "a question").await;
    for n in 0..4 {
        let place = ThreadPlace { root: root.id.clone(), also_in_conversation: n == 2 };
        let draft = Draft { thread: Some(place), ..Draft::text(format!("answer {n}")) };
        stage.chat.send(&bob, &group, draft, None).await.unwrap();
    }
    stage.say(&ada, &group, "thanks").await;
    let of = async |scope| {
        let found = stage.chat.history(&bob, &group, scope, Anchor::Latest, 100).await.unwrap();
        seqs(&found.messages)
    };
    assert_eq!(of(HistoryScope::Everything).await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(of(HistoryScope::Main).await, [1, 2, 5, 7]);
    assert_eq!(of(HistoryScope::Thread(root.id)).await, [3, 4, 5, 6]);
}

async fn a_thread_is_found_by_any_of_its_messages(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let root = stage.say(&ada, &group, "a question").await;
    let mut thread = vec![root.clone()];
    for n in 0..5 {
        let place = ThreadPlace { root: root.id.clone(), also_in_conversation: false };
        let draft = Draft { thread: Some(place), ..Draft::text(format!("answer {n}")) };
        thread.push(stage.chat.send(&bob, &group, draft, None).await.unwrap().message);
    }
    for message in &thread {
        let found = stage.chat.thread(&ada, &message.id, Seq::ZERO, 100).await.unwrap();
        assert_eq!((&found.root.id, found.root.replies.replies), (&root.id, 5));
        assert_eq!(found.replies.messages, thread[1..]);
        refused(stage.chat.thread(&eve, &message.id, Seq::ZERO, 100).await, Code::Forbidden);
    }
    let first = stage.chat.thread(&ada, &root.id, Seq::ZERO, 2).await.unwrap().replies;
    assert_eq!((first.messages.as_slice(), first.more_after), (&thread[1..3], true));
    let rest = stage.chat.thread(&ada, &root.id, thread[2].seq, 100).await.unwrap().replies;
    assert_eq!((rest.messages.as_slice(), rest.more_after), (&thread[3..], false));
    let alone = stage.say(&ada, &group, "no thread").await;
    assert_eq!(stage.chat.thread(&ada, &alone.id, Seq::ZERO, 10).await.unwrap().replies.messages, []);
}

async fn page_limits_are_checked(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    let said = stage.say(&ada, &group, "hello").await;
    for limit in [0, 101, usize::MAX] {
        for anchor in [Anchor::Latest, Anchor::Before(Seq(1)), Anchor::After(Seq(1)), Anchor::Around(Seq(1))]
        {
            let found = stage.chat.history(&ada, &group, HistoryScope::Everything, anchor, limit).await;
            refused(found, Code::PageInvalid);
        }
        refused(stage.chat.thread(&ada, &said.id, Seq::ZERO, limit).await, Code::PageInvalid);
    }
    for limit in [1, 100] {
        page(&stage, &ada, &group, Anchor::Latest, limit).await;
    }
    // Any place may be asked for.
    for anchor in [Anchor::Before(Seq(u64::MAX)), Anchor::After(Seq(u64::MAX)), Anchor::Around(Seq(u64::MAX))]
    {
        page(&stage, &ada, &group, anchor, 10).await;
    }
}

async fn a_message_is_found_by_those_who_may_see_it(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob, eve) = (actor("ada"), actor("bob"), actor("eve"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = stage.say(&ada, &group, "hello").await;
    assert_eq!(stage.chat.find(&bob, &said.id).await.unwrap(), said);
    refused(stage.chat.find(&eve, &said.id).await, Code::Forbidden);
    refused(
        stage.chat.find(&ada, &chat_core::domain::MessageId::new("nothing").unwrap()).await,
        Code::Forbidden,
    );
}

async fn catching_up_brings_exactly_what_was_missed(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let one = stage.group("One", &[&ada, &bob]).await;
    let two = stage.group("Two", &[&ada, &bob]).await;
    let three = stage.group("Three", &[&ada, &bob]).await;
    let (mut missed_one, mut missed_two) = (Vec::new(), Vec::new());
    for n in 0..6 {
        missed_one.push(stage.say(&ada, &one, &format!("one {n}")).await);
        missed_two.push(stage.say(&bob, &two, &format!("two {n}")).await);
    }
    // Tombstones are told, the system's notes too, and one's own from another device.
    let gone = stage.chat.delete(&ada, &missed_one[4].id, DeleteType::ForEveryone).await.unwrap().message;
    missed_one[4] = gone;
    let positions = [(one.clone(), missed_one[1].seq), (two.clone(), Seq(1)), (three.clone(), Seq(1))];
    let missed = stage.chat.catch_up(&bob, &positions).await.unwrap();
    assert_eq!((missed.more, missed.discontinuity.len(), missed.forbidden.len()), (false, 0, 0));
    let of = |group: &ConversationId| -> Vec<Message> {
        missed.messages.iter().filter(|message| message.conversation_id == *group).cloned().collect()
    };
    assert_eq!(of(&one), missed_one[2..], "in order, each once");
    assert_eq!(of(&two), missed_two);
    assert_eq!(missed.messages.len(), 10);
    let everything = stage.chat.catch_up(&bob, &[(three, Seq::ZERO)]).await.unwrap();
    assert_eq!(seqs(&everything.messages), [1], "from the beginning");
    let nothing = stage.chat.catch_up(&bob, &[(one, missed_one[5].seq)]).await.unwrap();
    assert_eq!(nothing, chat_core::service::CatchUp::default());
    assert_eq!(stage.chat.catch_up(&bob, &[]).await.unwrap(), chat_core::service::CatchUp::default());
}

async fn catching_up_leaves_out_what_one_has_deleted(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let group = stage.group("Engines", &[&ada, &bob]).await;
    let said = chatter(&stage, &ada, &group, 5).await;
    for hidden in [&said[1], &said[4]] {
        stage.chat.delete(&bob, &hidden.id, DeleteType::ForMe).await.unwrap();
    }
    let missed = stage.chat.catch_up(&bob, &[(group.clone(), Seq(1))]).await.unwrap();
    assert_eq!(seqs(&missed.messages), [2, 4, 5]);
    assert!(!missed.more);
    for message in &said {
        stage.chat.delete(&bob, &message.id, DeleteType::ForMe).await.unwrap();
    }
    let missed = stage.chat.catch_up(&bob, &[(group, Seq(1))]).await.unwrap();
    assert_eq!(missed, chat_core::service::CatchUp::default());
}

async fn catching_up_with_too_much_is_a_discontinuity(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let long = stage.group("Long", &[&ada, &bob]).await;
    let short = stage.group("Short", &[&ada, &bob]).await;
    chatter(&stage, &ada, &long, 501).await;
    let head = 502;
    let positions = [(long.clone(), Seq(head - MAX_MISSED - 1)), (short.clone(), Seq::ZERO)];
    let missed = stage.chat.catch_up(&bob, &positions).await.unwrap();
    assert_eq!(missed.discontinuity, std::slice::from_ref(&long));
    assert_eq!((seqs(&missed.messages), missed.more), (vec![1], false), "the others come all the same");
    let missed = stage.chat.catch_up(&bob, &[(long, Seq(head - MAX_MISSED))]).await.unwrap();
    assert_eq!(missed.discontinuity, []);
    assert_eq!(seqs(&missed.messages), (3..=502).collect::<Vec<_>>(), "{MAX_MISSED} are not too much");
}

async fn a_place_never_reached_is_a_discontinuity(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let group = stage.group("Engines", &[&ada]).await;
    for beyond in [2, 1_000, u64::MAX] {
        let missed = stage.chat.catch_up(&ada, &[(group.clone(), Seq(beyond))]).await.unwrap();
        assert_eq!((missed.discontinuity, missed.messages), (vec![group.clone()], vec![]), "{beyond}");
    }
}

async fn what_may_not_be_read_is_named_and_holds_up_nothing(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let mine = stage.group("Mine", &[&ada, &bob]).await;
    let theirs = stage.group("Theirs", &[&bob]).await;
    let left = stage.group("Left", &[&bob, &ada]).await;
    stage.chat.leave(&ada, &left).await.unwrap();
    let nowhere = conversation("nowhere");
    let positions = [&theirs, &mine, &nowhere, &left].map(|group| (group.clone(), Seq::ZERO));
    let missed = stage.chat.catch_up(&ada, &positions).await.unwrap();
    assert_eq!(missed.forbidden, [theirs, nowhere, left]);
    assert!(missed.messages.iter().all(|message| message.conversation_id == mine));
    assert_eq!(missed.messages.len(), 1);
}

async fn catching_up_goes_on_where_it_ended(offer: Offer) {
    let stage = Stage::new(offer).await;
    let (ada, bob) = (actor("ada"), actor("bob"));
    let mut positions = Vec::new();
    for n in 0..3 {
        let group = stage.group(&format!("{n}"), &[&ada, &bob]).await;
        chatter(&stage, &ada, &group, 399).await;
        positions.push((group, Seq::ZERO));
    }
    let mut all: Vec<Message> = Vec::new();
    let mut asked = 0;
    loop {
        let missed = stage.chat.catch_up(&bob, &positions).await.unwrap();
        assert!(missed.messages.len() <= MAX_CATCH_UP);
        assert_eq!((missed.discontinuity.len(), missed.forbidden.len()), (0, 0));
        for message in &missed.messages {
            let position = positions.iter_mut().find(|(group, _)| *group == message.conversation_id);
            let (_, seq) = position.expect("a conversation that was asked for");
            assert_eq!(message.seq, seq.next(), "in order, without a gap, each once");
            *seq = message.seq;
        }
        all.extend(missed.messages);
        asked += 1;
        if !missed.more {
            break;
        }
        assert!(asked < 5);
    }
    assert_eq!((all.len(), asked), (1_200, 2));
    assert!(positions.iter().all(|(_, seq)| *seq == Seq(400)));
}

async fn too_many_positions_are_refused(offer: Offer) {
    let stage = Stage::new(offer).await;
    let ada = actor("ada");
    let positions =
        |n: usize| -> Vec<_> { (0..n).map(|n| (conversation(&format!("c{n}")), Seq::ZERO)).collect() };
    refused(stage.chat.catch_up(&ada, &positions(MAX_POSITIONS + 1)).await, Code::RequestInvalid);
    let missed = stage.chat.catch_up(&ada, &positions(MAX_POSITIONS)).await.unwrap();
    assert_eq!(missed.forbidden.len(), MAX_POSITIONS);
}
