//! Clocks that jump: by minutes, by a day, back and forth.

use std::time::Duration;

use chat_core::clock::{Clock, Timestamp};
use chat_core::error::{Code, Error};
use chat_core::store::events::{Published, TailRead};
use chat_core::store::{DeadLetters, EventConsumer};
use chat_testkit::{Absent, trials};

use super::log::{IDLE, Log, STREAM, ack, fetch, lag, name, named};

trials! { needs "redis":
    a_repeat_is_known_whatever_the_clock_does,
    a_dead_member_is_noticed_though_the_clock_went_back,
    a_living_member_survives_a_leap_ahead,
    letters_stay_in_order_though_the_clock_goes_back,
    entries_stay_in_order_though_the_servers_clock_went_back,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn back(log: &Log, by: Duration) {
    log.clock.set(log.clock.now().before(by));
}

async fn is_known(log: &Log, name: &str) -> bool {
    matches!(log.publish(&[name]).await[0], Published::Suppressed(_))
}

async fn a_repeat_is_known_whatever_the_clock_does() -> Result<(), Absent> {
    let log = Log::new().await?;
    log.clock.set(Timestamp::from_millis(1_735_689_600_000));
    log.publish(&["a1"]).await;
    // Right before the turn of any ten minutes; then years of seconds.
    back(&log, Duration::from_millis(1));
    assert!(is_known(&log, "a1").await, "a step back");
    log.publish(&["a2"]).await;
    back(&log, DAY);
    assert!(is_known(&log, "a1").await && is_known(&log, "a2").await, "a day back");
    log.publish(&["a3"]).await;
    for minute in 0..9 {
        log.clock.advance(MINUTE);
        log.publish(&[&format!("b{minute}")]).await;
        for known in ["a1", "a2", "a3"] {
            assert!(is_known(&log, known).await, "{known} after {minute} minutes");
        }
    }
    log.publish(&["a4"]).await;
    log.clock.advance(10 * MINUTE);
    assert!(is_known(&log, "a4").await, "ten minutes are promised");
    log.clock.advance(DAY);
    log.publish(&["c1"]).await;
    back(&log, DAY);
    log.publish(&["c2"]).await;
    assert!(is_known(&log, "c1").await && is_known(&log, "c2").await, "ahead and back again");

    // And it ends: what is remembered is bounded, also when the clock stands in the past.
    for minute in 0..60 {
        log.clock.advance(MINUTE);
        log.publish(&[&format!("d{minute}")]).await;
    }
    let remembered: i64 = ["new", "old"]
        .map(|side| log.server.command(&["HLEN", &format!("{{{STREAM}}}:ids:{side}")]).int())
        .into_iter()
        .sum();
    assert!((10..=24).contains(&remembered), "{remembered}");
    assert!(!is_known(&log, "c2").await);
    Ok(())
}

async fn a_dead_member_is_noticed_though_the_clock_went_back() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (dead, one) = (log.member("dead").await, log.member("one").await);
    log.publish(&["a1"]).await;
    fetch(&dead, 1).await;
    log.clock.advance(IDLE);
    log.publish(&["b1"]).await;
    fetch(&dead, 1).await;
    back(&log, DAY);
    assert!(one.reclaim(IDLE, 10).await.unwrap().is_empty(), "nobody knows for how long");
    log.clock.advance(IDLE);
    assert_eq!(named(&one.reclaim(IDLE, 10).await.unwrap()), ["a1", "b1"]);

    // It had something of long before, too.
    log.publish(&["c1", "d1"]).await;
    let two = log.member("two").await;
    fetch(&two, 1).await;
    log.clock.advance(DAY);
    fetch(&two, 1).await;
    back(&log, DAY);
    log.clock.advance(IDLE);
    let mut names = Vec::new();
    for _ in 0..4 {
        let taken = one.reclaim(IDLE, 10).await.unwrap();
        names.extend(named(&taken));
        ack(&one, &taken).await;
        log.clock.advance(IDLE);
    }
    names.sort();
    assert_eq!(names, ["a1", "b1", "c1", "d1"]);
    Ok(())
}

async fn a_living_member_survives_a_leap_ahead() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (living, one) = (log.member("living").await, log.member("one").await);
    log.publish(&["a1", "a2"]).await;
    let held = fetch(&living, 10).await;
    log.clock.advance(DAY);
    let taken = one.reclaim(IDLE, 10).await.unwrap();
    assert_eq!(named(&taken), ["a1", "a2"], "it cannot know");
    // Whoever is first is done with it for both, and the key is free at once.
    ack(&living, &held).await;
    ack(&one, &taken).await;
    log.publish(&["a3"]).await;
    assert_eq!(named(&fetch(&living, 10).await), ["a3"]);
    assert_eq!(lag(&one).await, (0, 1));
    Ok(())
}

async fn letters_stay_in_order_though_the_clock_goes_back() -> Result<(), Absent> {
    let log = Log::new().await?;
    let one = log.member("one").await;
    log.publish(&["a1", "b1", "a2", "b2"]).await;
    let held = fetch(&one, 10).await;
    for (nth, delivery) in held.iter().enumerate() {
        one.bury(delivery, &Error::new(Code::Internal)).await.unwrap();
        if nth % 2 == 0 { back(&log, DAY) } else { log.clock.advance(2 * DAY) }
    }
    let letters = log.letters().await;
    let names: Vec<_> = letters.iter().map(|letter| name(letter.event.as_ref().unwrap())).collect();
    assert_eq!(names, ["a1", "b1", "a2", "b2"], "as they were buried");
    let ids: Vec<_> = letters.into_iter().map(|letter| letter.id).collect();
    assert_eq!(log.streams.dead_letters().replay(&ids).await.unwrap(), 4);
    let again = named(&fetch(&one, 10).await);
    for key in ["a", "b"] {
        let of_key: Vec<_> = again.iter().filter(|name| name.starts_with(key)).collect();
        assert_eq!(of_key, [&format!("{key}1"), &format!("{key}2")]);
    }
    Ok(())
}

async fn entries_stay_in_order_though_the_servers_clock_went_back() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (one, two) = (log.member("one").await, log.member("two").await);
    let start = log.end().await;
    // As after a time in which the server's clock was years ahead.
    log.server.command(&["XSETID", STREAM, "9000000000000-7"]);
    assert!(matches!(log.read(&start, 10).await, None | Some(TailRead::Discontinuity { .. })));
    let start = log.end().await;
    log.publish(&["a1", "b1", "a2"]).await;
    let held = fetch(&one, 1).await;
    assert_eq!(named(&fetch(&two, 10).await), ["b1"]);
    let Some(TailRead::Events { events, next }) = log.read(&start, 10).await else { panic!("a gap") };
    assert_eq!((events.len(), next.after.unwrap().0.ends_with("-9000000000000-10")), (3, true));
    ack(&one, &held).await;
    assert_eq!(named(&fetch(&two, 10).await), ["a2"]);
    log.clock.advance(IDLE);
    assert_eq!(named(&one.reclaim(IDLE, 10).await.unwrap()), ["b1", "a2"]);
    Ok(())
}
