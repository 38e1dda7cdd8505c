//! One broker: what a test can do to it.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use chat_testkit::server::{Kafka, Redis};
use chat_testkit::{Absent, trials};

trials! { needs "kafka":
    a_spawned_broker_answers_and_ends_with_the_test,
    brokers_are_private,
    a_killed_broker_is_gone_and_comes_back,
    a_hung_broker_goes_on_as_the_same,
    the_broker_of_the_environment_is_used_and_left_alone,
    what_is_no_broker_is_absent,
}

/// Set for a copy of this binary that only looks for a broker.
const CHILD: &str = "CHAT_TESTKIT_KAFKA";

/// What such a copy does instead of tests.
pub(crate) fn child() -> Option<std::process::ExitCode> {
    std::env::var_os(CHILD)?;
    match Kafka::find_or_spawn() {
        Ok(kafka) => println!("{} {}", kafka.brokers(), kafka.cluster()),
        Err(Absent(why)) => println!("absent {why}"),
    }
    Some(std::process::ExitCode::SUCCESS)
}

/// What a copy of this binary finds there.
fn found(brokers: &str) -> String {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    let copy = copy.env(CHILD, "1").env("CHAT_TEST_KAFKA", brokers).stderr(Stdio::inherit());
    String::from_utf8(copy.output().unwrap().stdout).unwrap().trim_end().to_owned()
}

async fn a_spawned_broker_answers_and_ends_with_the_test() -> Result<(), Absent> {
    let kafka = Kafka::spawn()?;
    let (address, folder) = (kafka.brokers().to_owned(), kafka.process().folder().to_owned());
    assert!(kafka.answers() && kafka.is_alive() && folder.exists());
    drop(kafka);
    assert!(TcpStream::connect(&address).is_err() && !folder.exists());
    Ok(())
}

async fn brokers_are_private() -> Result<(), Absent> {
    let (one, other) = (Kafka::spawn()?, Kafka::spawn()?);
    assert!(one.brokers() != other.brokers() && one.cluster() != other.cluster());
    Ok(())
}

async fn a_killed_broker_is_gone_and_comes_back() -> Result<(), Absent> {
    let kafka = Kafka::spawn()?;
    let first = kafka.process().id();
    kafka.kill();
    assert!(!kafka.is_alive() && !kafka.answers());
    kafka.restart();
    assert!(kafka.is_alive() && kafka.answers() && kafka.process().id() != first);
    Ok(())
}

async fn a_hung_broker_goes_on_as_the_same() -> Result<(), Absent> {
    let kafka = Kafka::spawn()?;
    kafka.hang();
    assert!(kafka.is_alive());
    kafka.resume();
    assert!(kafka.answers());
    Ok(())
}

async fn the_broker_of_the_environment_is_used_and_left_alone() -> Result<(), Absent> {
    let kafka = Kafka::spawn()?;
    let brokers = format!("127.0.0.1:1,{}", kafka.brokers());
    assert_eq!(found(&brokers), format!("{brokers} {}", kafka.cluster()));
    assert!(kafka.answers());
    Ok(())
}

async fn what_is_no_broker_is_absent() -> Result<(), Absent> {
    let kafka = Kafka::spawn()?;
    kafka.kill();
    assert!(found(kafka.brokers()).starts_with("absent nothing answers"));
    assert!(found("").starts_with("absent nothing answers"));
    if let Ok(redis) = Redis::spawn() {
        assert!(found(redis.address()).starts_with("absent nothing answers"));
    }
    Ok(())
}
