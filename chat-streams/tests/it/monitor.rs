//! What an operator is told, on a real server.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::error::{Code, Error};
use chat_core::store::{DeadLettersExt, EventConsumer, EventPublisher};
use chat_streams::{Concern, Health, Monitor, Severity, StreamsOptions, Thresholds};
use chat_testkit::wait::within;
use chat_testkit::{Absent, sample, trials};
use tokio::sync::mpsc;

use super::log::{Log, STREAM, TOPIC, ack, fetch};

trials! { needs "redis":
    it_sees_everything,
    a_group_that_is_behind_is_a_concern_until_it_is_not,
    a_stream_that_grows_is_a_concern,
    it_says_what_changes_and_nothing_twice,
    nobody_who_answers_is_told_apart,
}

async fn publish(log: &Log, count: usize) {
    let events: Vec<_> = (0..count).map(|nth| sample::notice("a", nth)).collect();
    log.streams.publisher().publish_many(&events).await.unwrap();
}

async fn it_sees_everything() -> Result<(), Absent> {
    let log = Log::new().await?;
    let monitor = Monitor::new(&log.streams);
    let nothing = monitor.look().await.unwrap();
    assert!(nothing.topics.is_empty() && nothing.dead_letters == 0, "{nothing:?}");
    assert_eq!(monitor.health().await, Health::Ok);

    let one = log.member("one").await;
    publish(&log, 15).await;
    for delivery in fetch(&one, 12).await.iter().take(11) {
        one.bury(delivery, &Error::new(Code::Internal)).await.unwrap();
    }
    let report = monitor.look().await.unwrap();
    report.measure();
    assert_eq!(report.dead_letters, 11);
    assert_eq!(monitor.health().await, Health::Degraded(vec![Concern::DeadLetters(11, Severity::Warning)]));
    let [topic] = report.topics.as_slice() else { panic!("{report:?}") };
    assert_eq!((topic.topic, topic.length, topic.dead_letters), (TOPIC, 15, 11));
    let bytes = log.server.command(&["MEMORY", "USAGE", STREAM]).int();
    assert_eq!(i64::try_from(topic.bytes).unwrap(), bytes);
    let [group] = topic.groups.as_slice() else { panic!("{report:?}") };
    assert_eq!((group.name.as_str(), group.members, group.unread, group.pending), ("g", 1, Some(3), 1));
    Ok(())
}

async fn a_group_that_is_behind_is_a_concern_until_it_is_not() -> Result<(), Absent> {
    let log = Log::new().await?;
    let monitor = Monitor::new(&log.streams)
        .with(Thresholds { behind: Duration::from_secs(3_600), ..Thresholds::default() });
    let one = log.member("one").await;
    // Written by the clock of the server an hour and a bit ago.
    let time = log.server.command(&["TIME"]).list()[0].text().parse::<u64>().unwrap();
    let id = format!("{}000-0", time - 3_700);
    log.server.command(&["DEL", STREAM]);
    log.server.command(&["XADD", STREAM, &id, "event", "something"]);
    log.server.command(&["XGROUP", "CREATE", STREAM, "g", "0"]);
    for read in [false, true] {
        let held = if read { fetch(&one, 10).await } else { Vec::new() };
        let Health::Degraded(concerns) = monitor.health().await else { panic!("it is behind") };
        let [Concern::Behind { topic, group, age }] = concerns.as_slice() else { panic!("{concerns:?}") };
        assert_eq!((*topic, group.as_str()), (TOPIC, "g"));
        assert!((3_700..3_800).contains(&age.as_secs()), "{age:?}");
        ack(&one, &held).await;
    }
    assert_eq!(monitor.health().await, Health::Ok);
    Ok(())
}

async fn a_stream_that_grows_is_a_concern() -> Result<(), Absent> {
    let lengths = BTreeMap::from([(TOPIC, 10)]);
    let log = Log::with(StreamsOptions { lengths, ..StreamsOptions::default() }).await?;
    let _behind = log.member("one").await;
    publish(&log, 15).await;
    assert_eq!(Monitor::new(&log.streams).health().await, Health::Ok);
    log.streams.publisher().publish_many(&[sample::notice("a", 15)]).await.unwrap();
    let growing = Concern::Growing { topic: TOPIC, length: 16, max_len: 10 };
    assert_eq!(Monitor::new(&log.streams).health().await, Health::Degraded(vec![growing]));
    Ok(())
}

async fn it_says_what_changes_and_nothing_twice() -> Result<(), Absent> {
    let log = Log::new().await?;
    let (said, mut heard) = mpsc::channel(16);
    let watching = Monitor::new(&log.streams)
        .start(Duration::from_millis(1), move |health| said.try_send(health.clone()).unwrap());
    assert_eq!(within("the first look", heard.recv()).await, Some(Health::Ok));
    let one = log.member("one").await;
    publish(&log, 1).await;
    let held = fetch(&one, 1).await;
    one.bury(&held[0], &Error::new(Code::Internal)).await.unwrap();
    let worse = Health::Degraded(vec![Concern::DeadLetters(1, Severity::Info)]);
    assert_eq!(within("an alert", heard.recv()).await, Some(worse));
    assert_eq!(log.streams.dead_letters().purge_all().await.unwrap(), 1);
    assert_eq!(within("the end of it", heard.recv()).await, Some(Health::Ok));
    drop(watching);
    assert_eq!(within("the end", heard.recv()).await, None);
    Ok(())
}

async fn nobody_who_answers_is_told_apart() -> Result<(), Absent> {
    let log = Log::with_patience(Duration::from_millis(200)).await?;
    log.server.kill();
    let health = Monitor::new(&log.streams).health().await;
    assert_eq!((Severity::of(&health), health), (Some(Severity::Critical), Health::Disconnected));
    Ok(())
}
