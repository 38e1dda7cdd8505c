//! Members that die, come back, change places, share a name or lose what others did to their group: no entry is lost, none
//! is applied out of its order, no key is held for ever.

use std::time::Duration;

use chat_core::error::{Code, Error};
use chat_core::event::{Envelope, Topic, Unknown, wire};
use chat_core::store::events::{Delivery, Published, Receipt};
use chat_core::store::{DeadLettersExt, EventConsumer, EventPublisher};
use chat_streams::{Start, StreamConsumer, StreamsOptions};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use serde_json::json;

use super::log::{IDLE, Log, STREAM, TOPIC, ack, connect, fetch, lag, named, notice};

trials! { needs "redis":
    who_joins_again_is_not_given_what_comes_after,
    two_of_one_name_keep_what_they_work_on,
    a_late_member_takes_nothing_from_the_one_that_took_over,
    members_that_change_places_lose_nothing,
    what_a_lost_reclaim_took_comes_before_what_is_new,
    a_lost_answer_comes_in_the_portions_asked_for,
    a_rewound_group_leaves_no_key_stuck,
    a_group_destroyed_while_entries_wait_is_given_them_whole,
    a_group_deleted_with_its_stream_begins_with_what_is_there,
    members_of_other_programs_may_have_our_names,
    what_others_forgot_does_not_overtake_what_waits,
    hostile_names_share_a_group,
    an_entry_of_thousands_of_fields_is_an_entry,
    large_batches_and_large_events_are_whole,
    ten_thousand_keys_and_one_key_of_ten_thousand,
    a_member_that_never_acknowledges_holds_up_its_keys_only,
    batches_that_overlap_and_race_are_in_the_log_once,
}

const NOTHING: Duration = Duration::ZERO;

fn cause() -> Error {
    Error::new(Code::Internal)
}

fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt.clone()).collect()
}

/// Everything there is for a member, acknowledged as it comes.
async fn drain(member: &StreamConsumer) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let found = fetch(member, 512).await;
        if found.is_empty() {
            return names;
        }
        names.extend(named(&found));
        ack(member, &found).await;
    }
}

async fn replay_all(log: &Log) -> u64 {
    log.streams.dead_letters().replay_all().await.unwrap()
}

async fn who_joins_again_is_not_given_what_comes_after() -> Result<(), Absent> {
    let log = Log::new().await?;
    let dead = log.member("one").await;
    log.publish(&["a1", "a2", "b1"]).await;
    let held = fetch(&dead, 1).await;
    assert_eq!(named(&held), ["a1"]);
    let again = log.member("one").await;
    assert_eq!(named(&fetch(&again, 10).await), ["b1"], "a1 was not done with");
    log.clock.advance(IDLE);
    let taken = again.reclaim(IDLE, 10).await.unwrap();
    let attempts: Vec<_> = named(&taken).into_iter().zip(taken.iter().map(|one| one.attempt)).collect();
    assert_eq!(attempts, [("a1".to_owned(), 2), ("b1".to_owned(), 2)]);
    assert_eq!(named(&fetch(&again, 10).await), ["a2"]);

    // Twice over, with all of it held.
    let third = log.member("one").await;
    let fourth = log.member("one").await;
    log.publish(&["a3", "b2", "c1"]).await;
    assert_eq!(named(&fetch(&fourth, 10).await), ["c1"]);
    // What the first had is acknowledged late, by whichever of them.
    ack(&third, &taken).await;
    assert_eq!(named(&fetch(&fourth, 10).await), ["b2"]);
    log.clock.advance(IDLE);
    let taken = log.member("two").await.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["a2", "b2", "c1"]);
    Ok(())
}

async fn two_of_one_name_keep_what_they_work_on() -> Result<(), Absent> {
    let log = Log::new().await?;
    let first = log.member("one").await;
    log.publish(&["a1", "b1"]).await;
    let held = fetch(&first, 1).await;
    let second = log.member("one").await;
    let other = fetch(&second, 10).await;
    log.clock.advance(IDLE);
    first.renew(&receipts(&held)).await.unwrap();
    second.renew(&receipts(&other)).await.unwrap();
    let two = log.member("two").await;
    assert!(two.reclaim(IDLE, 10).await.unwrap().is_empty());
    log.clock.advance(IDLE);
    assert_eq!(named(&two.reclaim(IDLE, 10).await.unwrap()), ["a1", "b1"]);
    Ok(())
}

async fn a_late_member_takes_nothing_from_the_one_that_took_over() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (late, two) = (log.member("late").await, log.member("two").await);
    log.publish(&["a1", "b1", "c1", "a2", "c2"]).await;
    let held = fetch(&late, 3).await;
    log.clock.advance(IDLE);
    assert_eq!(named(&two.reclaim(IDLE, 10).await.unwrap()), ["a1", "b1", "c1"]);
    // It was done with a1, could not do b1, and gives up c1 after the other one was done with it.
    ack(&late, &held[..1]).await;
    late.bury(&held[1], &cause()).await.unwrap();
    ack(&two, &held[2..]).await;
    late.bury(&held[2], &cause()).await.unwrap();
    two.bury(&held[1], &cause()).await.unwrap();
    ack(&two, &held).await;
    assert_eq!((lag(&two).await, log.letters().await.len()), ((2, 0), 1), "b1, once");
    assert_eq!(replay_all(&log).await, 1);
    // What waits is with nobody: an acknowledgement of before does not touch it.
    ack(&late, &held).await;
    late.bury(&held[1], &cause()).await.unwrap();
    let mut rest = drain(&two).await;
    rest.sort();
    assert_eq!((rest, lag(&two).await), (["a2", "b1", "c2"].map(str::to_owned).to_vec(), (0, 0)));
    assert_eq!(log.native("g"), []);
    Ok(())
}

async fn members_that_change_places_lose_nothing() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (mut one, mut two) = (log.member("one").await, log.member("two").await);
    let mut seen: Vec<String> = Vec::new();
    for round in 0..12 {
        log.publish(
            &["a", "b", "c", "d"].map(|key| format!("{key}{round:02}")).each_ref().map(String::as_str),
        )
        .await;
        let (of_one, of_two) = (fetch(&one, 2).await, fetch(&two, 2).await);
        // Each acknowledges what the other one has, or forgets all it has; then each takes the other one's name.
        if round % 3 != 2 {
            ack(&one, &of_two).await;
            ack(&two, &of_one).await;
            seen.extend(named(&of_one).into_iter().chain(named(&of_two)));
        }
        (one, two) = (log.member("two").await, log.member("one").await);
        if round % 4 == 3 {
            log.clock.advance(IDLE);
            for member in [&one, &two] {
                let taken = member.reclaim(IDLE, 1).await.unwrap();
                seen.extend(named(&taken));
                ack(member, &taken).await;
            }
        }
    }
    log.clock.advance(IDLE);
    loop {
        let taken = one.reclaim(IDLE, 10).await.unwrap();
        ack(&one, &taken).await;
        seen.extend(named(&taken));
        let rest = drain(&two).await;
        if taken.is_empty() && rest.is_empty() {
            break;
        }
        seen.extend(rest);
    }
    for key in ["a", "b", "c", "d"] {
        let of_key: Vec<_> = seen.iter().filter(|name| name.starts_with(key)).cloned().collect();
        assert_eq!(
            of_key,
            (0..12).map(|nth| format!("{key}{nth:02}")).collect::<Vec<_>>(),
            "each once, in order"
        );
    }
    assert_eq!((lag(&one).await, log.native("g").len()), ((0, 0), 0));
    Ok(())
}

async fn what_a_lost_reclaim_took_comes_before_what_is_new() -> Result<(), Absent> {
    let log = Log::new().await?;
    let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
    let far = connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
    let (dead, one) =
        (log.member("dead").await, far.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap());
    one.reclaim(IDLE, 10).await.unwrap();
    log.publish(&["a1", "b1"]).await;
    fetch(&dead, 10).await;
    log.clock.advance(IDLE);
    let before = proxy.counts().faults;
    proxy.hang_after(Request::with("EVALSHA"));
    tokio::select! {
        answer = one.reclaim(IDLE, 10) => panic!("it was held back: {answer:?}"),
        () = eventually("it to be held back", || async { (proxy.counts().faults > before).then_some(()) }) => {}
    }
    proxy.pass().await;
    proxy.cut().await;
    log.publish(&["a2", "c1"]).await;
    let found = fetch(&one, 10).await;
    assert_eq!(named(&found), ["a1", "b1"], "first what it took over");
    assert!(found.iter().all(|delivery| delivery.attempt == 2));
    assert_eq!(named(&fetch(&one, 10).await), ["a2", "c1"]);
    Ok(())
}

async fn a_lost_answer_comes_in_the_portions_asked_for() -> Result<(), Absent> {
    let log = Log::new().await?;
    let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
    let far = connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
    let one = far.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap();
    fetch(&one, 10).await;
    log.publish(&["a1", "a2", "b1", "a3", "c1"]).await;
    let before = proxy.counts().faults;
    proxy.hang_after(Request::with("EVALSHA"));
    tokio::select! {
        answer = one.fetch(4, NOTHING) => panic!("it was held back: {answer:?}"),
        () = eventually("it to be held back", || async { (proxy.counts().faults > before).then_some(()) }) => {}
    }
    proxy.pass().await;
    proxy.cut().await;
    let first = fetch(&one, 1).await;
    assert_eq!(named(&first), ["a1"]);
    let second = one.ack_and_fetch(&receipts(&first), 2).await.unwrap();
    assert_eq!((named(&second), lag(&one).await), (vec!["a2".to_owned(), "b1".to_owned()], (1, 3)));
    assert_eq!(named(&fetch(&one, 10).await), ["a3"]);
    assert_eq!(named(&fetch(&one, 10).await), ["c1"]);
    Ok(())
}

async fn a_rewound_group_leaves_no_key_stuck() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "b1"]).await;
    assert_eq!(fetch(&one, 10).await.len(), 2);
    log.server.command(&["XGROUP", "SETID", STREAM, "g", "0"]);
    let again = fetch(&one, 10).await;
    assert_eq!(named(&again), ["a1", "b1"]);
    ack(&one, &again).await;
    assert_eq!(lag(&two).await, (0, 0));
    log.publish(&["a2", "b2"]).await;
    // Whatever its keys are believed to be, a member that has nothing keeps nothing from the others.
    let mut found = named(&fetch(&two, 10).await);
    log.clock.advance(IDLE);
    assert!(two.reclaim(IDLE, 10).await.unwrap().len() <= found.len());
    found.extend(named(&fetch(&two, 10).await));
    found.sort();
    assert_eq!(found, ["a2", "b2"]);
    ack(&two, &two.reclaim(NOTHING, 10).await.unwrap()).await;

    // A replayed letter whose entry comes again by itself, too, and is handled twice at most.
    log.publish(&["c1"]).await;
    two.bury(&fetch(&two, 1).await[0], &cause()).await.unwrap();
    assert_eq!(replay_all(&log).await, 1);
    log.server.command(&["XGROUP", "SETID", STREAM, "g", "0"]);
    let all = drain(&one).await;
    assert!((1..=2).contains(&all.iter().filter(|name| *name == "c1").count()), "{all:?}");
    log.publish(&["c2"]).await;
    assert_eq!(drain(&one).await, ["c2"]);
    Ok(())
}

async fn a_group_destroyed_while_entries_wait_is_given_them_whole() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2", "b1"]).await;
    let held = fetch(&one, 1).await;
    assert_eq!(named(&fetch(&two, 10).await), ["b1"]);
    one.bury(&held[0], &cause()).await.unwrap();
    assert_eq!(replay_all(&log).await, 1);
    log.server.command(&["XGROUP", "DESTROY", STREAM, "g"]);
    let mut names = Vec::new();
    loop {
        let found = fetch(&one, 2).await;
        assert!(found.iter().all(|delivery| delivery.event.is_ok()), "{found:?}");
        if found.is_empty() {
            break;
        }
        names.extend(named(&found));
        ack(&one, &found).await;
    }
    names.sort();
    names.dedup();
    assert_eq!((names, lag(&two).await), (["a1", "a2", "b1"].map(str::to_owned).to_vec(), (0, 0)));
    log.publish(&["a3"]).await;
    assert_eq!(named(&fetch(&two, 10).await), ["a3"]);

    // The same while a member takes over.
    log.clock.advance(IDLE);
    log.server.command(&["XGROUP", "DESTROY", STREAM, "g"]);
    let taken = one.reclaim(IDLE, 10).await.unwrap();
    assert!(taken.is_empty(), "{taken:?}");
    assert_eq!(named(&fetch(&one, 10).await), ["a1", "a2", "b1", "a3"]);
    Ok(())
}

async fn a_group_deleted_with_its_stream_begins_with_what_is_there() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    log.publish(&["a1"]).await;
    let held = fetch(&one, 1).await;
    log.server.command(&["DEL", STREAM]);
    log.publish(&["a2", "b1"]).await;
    let new = log.member("new").await;
    assert_eq!(named(&fetch(&new, 10).await), ["a2", "b1"], "the group was registered all the time");
    ack(&one, &held).await;
    assert_eq!(lag(&one).await, (0, 2));
    // Another one that is new to it begins where it says.
    assert!(fetch(&log.consumer("other", "one").await, 10).await.is_empty());
    Ok(())
}

async fn members_of_other_programs_may_have_our_names() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    log.publish(&["a1", "b1", "c1"]).await;
    log.server.command(&["XREADGROUP", "GROUP", "g", "one", "COUNT", "1", "STREAMS", STREAM, ">"]);
    let held = fetch(&one, 1).await;
    assert_eq!(named(&held), ["b1"]);
    let taken = one.reclaim(NOTHING, 1).await.unwrap();
    let found = one.reclaim(NOTHING, 10).await.unwrap();
    let mut names: Vec<_> = named(&taken).into_iter().chain(named(&found)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["a1", "b1"], "what its namesake read and forgot, too");
    ack(&one, &found).await;
    assert_eq!(drain(&one).await, ["c1"]);
    assert_eq!((lag(&one).await, log.native("g").len()), ((0, 0), 0));
    Ok(())
}

async fn what_others_forgot_does_not_overtake_what_waits() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    log.publish(&["a1", "a2"]).await;
    let held = fetch(&one, 1).await;
    assert!(fetch(&two, 10).await.is_empty(), "a2 waits");
    log.publish(&["a3"]).await;
    log.server.command(&["XREADGROUP", "GROUP", "g", "node", "COUNT", "1", "STREAMS", STREAM, ">"]);
    ack(&one, &held).await;
    let taken = two.reclaim(NOTHING, 10).await.unwrap();
    assert!(taken.is_empty(), "a3 comes after a2: {taken:?}");
    assert_eq!(named(&fetch(&two, 10).await), ["a2", "a3"]);
    Ok(())
}

async fn hostile_names_share_a_group() -> Result<(), Absent> {
    let log = Log::new().await?;
    let mut names = sample::hostile_ids();
    names.extend(["one:2", "with:one", "parked", "former", "g:g", "1:a"].map(str::to_owned));
    let events: Vec<_> = names.iter().map(|key| sample::notice(key, 1)).collect();
    let groups = [":", "{", "}", "%", "g%3A", "g:", "{g}", "%25"];
    let mut members = Vec::new();
    for group in groups {
        for name in &names {
            members.push((group, log.consumer(group, name).await));
        }
    }
    log.streams.publisher().publish_many(&events).await.unwrap();
    for group in groups {
        let mut keys = Vec::new();
        for (_, member) in members.iter().filter(|(of, _)| *of == group) {
            let found = fetch(member, 1).await;
            let [delivery] = found.as_slice() else { panic!("{group}, {}: {found:?}", member.member()) };
            keys.push(delivery.event.as_ref().unwrap().key());
            // Every second one is taken over by the first member.
            if keys.len() % 2 == 0 {
                ack(member, &found).await;
            }
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), names.len(), "each of them once");
        log.clock.advance(IDLE);
        let (_, first) = members.iter().find(|(of, _)| *of == group).unwrap();
        let taken = first.reclaim(IDLE, 1_000).await.unwrap();
        assert_eq!(taken.len(), names.len().div_ceil(2));
        ack(first, &taken).await;
        assert_eq!(lag(first).await, (0, 0));
        assert_eq!(log.native(group), []);
    }
    Ok(())
}

async fn an_entry_of_thousands_of_fields_is_an_entry() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, stream) = (log.streams.consumer("g", "one", &[TOPIC], Start::Beginning).await.unwrap(), STREAM);
    let names: Vec<_> = (0..6_000).map(|nth| format!("field {nth}")).collect();
    let mut words = vec!["XADD", stream, "*", "event", "of.another.kind", "userId", "ann"];
    words.extend(names.iter().flat_map(|name| [name.as_str(), "v:1"]));
    log.server.command(&words);
    log.publish(&["b1"]).await;
    let found = fetch(&one, 10).await;
    assert!(found[0].event.is_ok() && found.len() == 2, "and its neighbour beside it");
    one.bury(&found[0], &cause()).await.unwrap();
    let letters = log.letters().await;
    assert_eq!(letters[0].event, found[0].event, "whole");
    assert_eq!(replay_all(&log).await, 1);
    let again = fetch(&one, 10).await;
    assert_eq!((&again[0].event, again[0].attempt), (&found[0].event, 2));

    // Once more, when the entry itself is gone, and published again by somebody who only passes it on.
    log.server.command(&["XTRIM", STREAM, "MAXLEN", "0"]);
    one.bury(&again[0], &cause()).await.unwrap();
    assert_eq!(log.letters().await[0].event, found[0].event);
    let passed_on = found[0].event.clone().unwrap();
    let system = log.streams.consumer("g", "one", &[Topic::System], Start::Now).await.unwrap();
    let at = passed_on.at;
    let others = [1, 2].map(|nth| {
        Envelope::new(&["other", &nth.to_string()], at, Unknown::new("another", 1, "ann", json!({})))
    });
    let batch = [others[0].clone(), passed_on.clone(), others[1].clone()];
    assert_eq!(log.streams.publisher().publish_many(&batch).await.unwrap().len(), 3);
    let found = fetch(&system, 10).await;
    let ids: Vec<_> = found.iter().map(|delivery| delivery.event.as_ref().unwrap().id.clone()).collect();
    assert_eq!(ids, batch.each_ref().map(|event| event.id.clone()));
    Ok(())
}

async fn large_batches_and_large_events_are_whole() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    assert!(fetch(&one, 0).await.is_empty());
    assert!(one.reclaim(NOTHING, 0).await.unwrap().is_empty());
    let batch: Vec<_> = (0..1_000).map(|nth| sample::notice(&format!("k{}", nth % 7), nth)).collect();
    log.streams.publisher().publish_many(&batch).await.unwrap();
    let mut found = Vec::new();
    while found.len() < batch.len() {
        let some = fetch(&one, 1_000).await;
        assert!(!some.is_empty());
        found.extend(some);
    }
    let events: Vec<_> = found.iter().map(|delivery| delivery.event.clone().unwrap()).collect();
    assert!(events == batch, "all of it, in order");
    ack(&one, &found).await;

    let long = "\u{1F600}\"\\".repeat(200_000);
    let at = notice("a1").at;
    let large = Envelope::new(&["large"], at, Unknown::new("large.kind", 3, "a", json!({ "text": long })));
    let system = log.streams.consumer("g", "one", &[Topic::System], Start::Now).await.unwrap();
    log.streams.publisher().publish_many(std::slice::from_ref(&large)).await.unwrap();
    let held = fetch(&system, 1).await;
    let read = held[0].event.as_ref().unwrap();
    assert_eq!(wire::encode_payload(read), wire::encode_payload(&large));
    system.bury(&held[0], &cause()).await.unwrap();
    assert_eq!(replay_all(&log).await, 1);
    let again = fetch(&system, 1).await;
    assert_eq!(wire::encode_payload(again[0].event.as_ref().unwrap()), wire::encode_payload(&large));
    Ok(())
}

async fn ten_thousand_keys_and_one_key_of_ten_thousand() -> Result<(), Absent> {
    const MANY: usize = 10_000;
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    let publish = |events: Vec<Envelope>| {
        let publisher = log.streams.publisher();
        async move {
            for batch in events.chunks(1_000) {
                publisher.publish_many(batch).await.unwrap();
            }
        }
    };
    publish((0..MANY).map(|nth| sample::notice(&format!("k{nth}"), nth)).collect()).await;
    let mut count = 0;
    loop {
        let (of_one, of_two) = (fetch(&one, 512).await, fetch(&two, 512).await);
        if of_one.is_empty() && of_two.is_empty() {
            break;
        }
        count += of_one.len() + of_two.len();
        ack(&one, &of_one).await;
        ack(&two, &of_two).await;
    }
    assert_eq!((count, lag(&one).await), (MANY, (0, 0)));

    publish((0..MANY).map(|nth| sample::notice("k", format!("of one {nth}"))).collect()).await;
    let first = fetch(&one, 1).await;
    assert!(fetch(&two, 512).await.is_empty(), "all of it waits for its key");
    assert_eq!(lag(&one).await, (MANY as u64 - 1, 1));
    log.clock.advance(IDLE);
    let taken = two.reclaim(IDLE, 1).await.unwrap();
    assert_eq!(named(&taken), named(&first));
    let mut last = 0;
    let mut held = taken;
    while !held.is_empty() {
        ack(&two, &held).await;
        held = fetch(&two, 512).await;
        for delivery in &held {
            last += 1;
            assert_eq!(named(std::slice::from_ref(delivery)), [format!("kof one {last}")]);
        }
    }
    assert_eq!((last, lag(&one).await), (MANY - 1, (0, 0)));

    // All of one key is with a member that died.
    publish((0..5_000).map(|nth| sample::notice("k", format!("of the dead {nth}"))).collect()).await;
    while !fetch(&one, 512).await.is_empty() {}
    log.clock.advance(IDLE);
    let taken = two.reclaim(IDLE, 1).await.unwrap();
    assert_eq!(taken.len(), 5_000, "the rest of a key goes with its first entry");
    ack(&two, &taken).await;
    assert_eq!((lag(&one).await, log.native("g").len()), ((0, 0), 0));
    Ok(())
}

async fn a_member_that_never_acknowledges_holds_up_its_keys_only() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (stuck, one) = (log.member("stuck").await, log.member("one").await);
    log.publish(&["a0", "b0"]).await;
    assert_eq!(named(&fetch(&stuck, 1).await), ["a0"]);
    ack(&one, &fetch(&one, 1).await).await;
    for nth in 1..=300 {
        log.publish(&[&format!("a{nth}"), &format!("b{nth}")]).await;
        assert_eq!(drain(&one).await, [format!("b{nth}")]);
    }
    assert_eq!(lag(&one).await, (300, 1));
    log.clock.advance(IDLE);
    let taken = one.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["a0"]);
    ack(&one, &taken).await;
    assert_eq!(drain(&one).await, (1..=300).map(|nth| format!("a{nth}")).collect::<Vec<_>>());
    Ok(())
}

async fn batches_that_overlap_and_race_are_in_the_log_once() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, publisher) = (log.member("one").await, log.streams.publisher());
    let new = |answers: Vec<Published>| -> Vec<bool> {
        answers.iter().map(|answer| matches!(answer, Published::Durable(_))).collect()
    };
    assert_eq!(new(log.publish(&["a1", "a2", "a3"]).await), [true; 3]);
    assert_eq!(new(log.publish(&["a3", "a2", "a4", "a4", "a1"]).await), [false, false, true, false, false]);
    assert_eq!(new(log.publish(&["a5", "a1", "a6"]).await), [true, false, true]);
    assert_eq!(drain(&one).await, ["a1", "a2", "a3", "a4", "a5", "a6"], "each where it came first");

    // The same thousand, from five at once, each from another place on, in pieces of another size.
    let events: Vec<_> = (0..1_000).map(|nth| sample::notice(&format!("k{nth}"), nth)).collect();
    let racing = (0..5).map(|nth| {
        let mut turned = events.clone();
        turned.rotate_left(nth * 200);
        let publisher = &publisher;
        async move {
            let mut count = 0;
            for batch in turned.chunks(37 + nth * 100) {
                count += new(publisher.publish_many(batch).await.unwrap()).iter().filter(|new| **new).count();
            }
            count
        }
    });
    let counts = futures::future::join_all(racing).await;
    assert_eq!(counts.iter().sum::<usize>(), 1_000, "{counts:?}");
    let mut names = drain(&one).await;
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((count, names.len()), (1_000, 1_000));
    Ok(())
}
