//! A reply that is lost changes nothing: neither what happened, nor what the caller is told.

use std::time::Duration;

use chat_core::error::{Code, Error};
use chat_core::store::events::Published;
use chat_core::store::{DeadLetters, EventConsumer, EventPublisher};
use chat_streams::{Start, StreamConsumer, Streams, StreamsOptions};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

use super::log::{IDLE, Log, TOPIC, ack, connect, fetch, lag, name, named, notice};

trials! { needs "redis":
    a_publisher_is_told_what_it_wrote,
    a_publisher_is_told_which_of_a_batch_it_wrote,
    a_member_gets_what_it_was_given,
    what_was_reclaimed_is_given_again,
    an_acknowledgement_happens_once,
    an_event_is_buried_once,
    letters_are_counted_once,
    what_a_dropped_or_failed_call_was_given_comes_again,
}

/// A log seen through a proxy. Every script was run once, so that the next is one request.
struct Broken {
    log: Log,
    proxy: Proxy,
    streams: Streams,
    member: StreamConsumer,
}

impl Broken {
    async fn new() -> Result<Self, Absent> {
        let log = Log::new().await?;
        let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
        let streams =
            connect(&log.server.url_at(proxy.address()), Some(&log.clock), StreamsOptions::default()).await;
        let member = streams.consumer("g", "one", &[TOPIC], Start::Now).await.unwrap();
        log.publish(&["warm1"]).await;
        let warm = fetch(&member, 1).await;
        member.renew(&[warm[0].receipt.clone()]).await.unwrap();
        member.reclaim(Duration::ZERO, 1).await.unwrap();
        member.bury(&warm[0], &Error::new(Code::Internal)).await.unwrap();
        ack(&member, &warm).await;
        let letters = streams.dead_letters();
        let ids: Vec<_> = log.letters().await.into_iter().map(|letter| letter.id).collect();
        letters.replay(&ids).await.unwrap();
        ack(&member, &fetch(&member, 1).await).await;
        letters.purge(&ids).await.unwrap();
        Ok(Self { log, proxy, streams, member })
    }

    /// The next script runs, and its answer is lost.
    fn lose_the_next_reply(&self) -> u64 {
        self.proxy.cut_after(Request::with("EVALSHA"));
        self.proxy.counts().faults
    }

    fn was_lost(&self, before: u64) {
        assert_eq!(self.proxy.counts().faults, before + 1, "nothing was lost");
    }
}

async fn a_publisher_is_told_what_it_wrote() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    let publisher = broken.streams.publisher();
    let before = broken.lose_the_next_reply();
    let answers = publisher.publish_many(&["a1", "a2", "a1"].map(notice)).await.unwrap();
    broken.was_lost(before);
    let [Published::Durable(a1), Published::Durable(_), Published::Suppressed(again)] = answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    assert_eq!(a1, again);
    assert_eq!(named(&fetch(&broken.member, 10).await), ["a1", "a2"], "each once");
    let repeated = publisher.publish_many(&[notice("a1")]).await.unwrap();
    assert_eq!(repeated, [Published::Suppressed(a1.clone())]);
    Ok(())
}

async fn a_publisher_is_told_which_of_a_batch_it_wrote() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    let publisher = broken.streams.publisher();
    let old = publisher.publish_many(&["a1", "b1"].map(notice)).await.unwrap();
    let before = broken.lose_the_next_reply();
    let batch = ["b1", "a2", "a1", "b2", "a2", "b1", "c1"].map(notice);
    let answers = publisher.publish_many(&batch).await.unwrap();
    broken.was_lost(before);
    let [_, Published::Durable(a2), _, Published::Durable(b2), _, _, Published::Durable(c1)] =
        answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    let [Published::Durable(a1), Published::Durable(b1)] = old.as_slice() else { panic!("{old:?}") };
    let repeats = [(0, b1), (2, a1), (4, a2), (5, b1)];
    assert!(repeats.into_iter().all(|(nth, at)| answers[nth] == Published::Suppressed(at.clone())));
    assert_eq!(named(&fetch(&broken.member, 10).await), ["a1", "b1", "a2", "b2", "c1"], "each once");
    // Each stands where it was said to stand, whoever asks.
    let again = publisher.publish_many(&["a2", "b2", "c1"].map(notice)).await.unwrap();
    assert_eq!(again, [a2, b2, c1].map(|at| Published::Suppressed(at.clone())));
    Ok(())
}

async fn a_member_gets_what_it_was_given() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    broken.log.publish(&["a1", "b1", "a2", "c1"]).await;
    let before = broken.lose_the_next_reply();
    let given = fetch(&broken.member, 3).await;
    broken.was_lost(before);
    assert_eq!(named(&given), ["a1", "b1", "a2"], "not what comes after it");
    assert!(given.iter().all(|delivery| delivery.attempt == 1));
    assert_eq!(lag(&broken.member).await, (1, 3));
    ack(&broken.member, &given).await;
    assert_eq!(named(&fetch(&broken.member, 3).await), ["c1"]);
    Ok(())
}

async fn what_was_reclaimed_is_given_again() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    let dead = broken.log.member("dead").await;
    broken.log.publish(&["a1", "b1"]).await;
    assert_eq!(fetch(&dead, 10).await.len(), 2);
    broken.log.clock.advance(IDLE);
    let before = broken.lose_the_next_reply();
    let taken = broken.member.reclaim(IDLE, 10).await.unwrap();
    broken.was_lost(before);
    assert_eq!(named(&taken), ["a1", "b1"]);
    assert!(taken.iter().all(|delivery| delivery.attempt == 2), "counted once: {taken:?}");
    assert_eq!(broken.log.native("g"), [("one".to_owned(), 2), ("one".to_owned(), 2)]);
    Ok(())
}

async fn an_acknowledgement_happens_once() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    broken.log.publish(&["a1", "a2"]).await;
    let given = fetch(&broken.member, 10).await;
    let before = broken.lose_the_next_reply();
    ack(&broken.member, &given[..1]).await;
    broken.was_lost(before);
    assert_eq!(lag(&broken.member).await, (0, 1));
    // The key is still held by the one that has a2.
    broken.log.publish(&["a3"]).await;
    assert!(fetch(&broken.log.member("two").await, 10).await.is_empty());
    Ok(())
}

async fn an_event_is_buried_once() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    broken.log.publish(&["a1"]).await;
    let given = fetch(&broken.member, 10).await;
    let before = broken.lose_the_next_reply();
    broken.member.bury(&given[0], &Error::new(Code::DataCorrupt)).await.unwrap();
    broken.was_lost(before);
    let letters = broken.log.letters().await;
    assert_eq!(letters.iter().map(|letter| name(letter.event.as_ref().unwrap())).collect::<Vec<_>>(), ["a1"]);
    Ok(())
}

async fn letters_are_counted_once() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    broken.log.publish(&["a1", "b1", "c1"]).await;
    for delivery in fetch(&broken.member, 10).await {
        broken.member.bury(&delivery, &Error::new(Code::DataCorrupt)).await.unwrap();
    }
    let ids: Vec<_> = broken.log.letters().await.into_iter().map(|letter| letter.id).collect();
    let letters = broken.streams.dead_letters();
    let before = broken.lose_the_next_reply();
    assert_eq!(letters.replay(&ids[..2]).await.unwrap(), 2);
    broken.was_lost(before);
    assert_eq!(named(&fetch(&broken.member, 10).await), ["a1", "b1"], "each once");
    let before = broken.lose_the_next_reply();
    assert_eq!(letters.purge(&ids).await.unwrap(), 1);
    broken.was_lost(before);
    Ok(())
}

async fn what_a_dropped_or_failed_call_was_given_comes_again() -> Result<(), Absent> {
    let broken = Broken::new().await?;
    broken.log.publish(&["a1", "b1", "c1"]).await;
    broken.proxy.hang_after(Request::with("EVALSHA"));
    let before = broken.proxy.counts().faults;
    tokio::select! {
        answer = broken.member.fetch(2, Duration::ZERO) => panic!("it was held back: {answer:?}"),
        () = eventually("it to be held back", || async { (broken.proxy.counts().faults > before).then_some(()) }) => {}
    }
    broken.proxy.pass().await;
    broken.proxy.cut().await;
    assert_eq!(lag(&broken.log.member("two").await).await, (1, 2), "and yet it was given");
    assert_eq!(named(&fetch(&broken.member, 2).await), ["a1", "b1"]);
    assert_eq!(named(&fetch(&broken.member, 2).await), ["c1"]);
    Ok(())
}
