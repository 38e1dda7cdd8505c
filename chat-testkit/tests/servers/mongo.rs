//! One MongoDB server: what a test can do to it.

use std::net::TcpStream;
use std::process::{Command, ExitCode, Stdio};

use chat_testkit::server::{Mongo, Redis};
use chat_testkit::{Absent, trials};

trials! { needs "mongo":
    a_spawned_server_answers_and_ends_with_the_test,
    a_killed_server_comes_back,
    a_hung_server_goes_on,
    the_server_of_the_environment_is_used_and_left_alone,
    what_is_no_server_is_absent,
}

/// Set for a copy of this binary that only looks for a server.
const CHILD: &str = "CHAT_TESTKIT_MONGO";

/// What such a copy does instead of tests.
pub(crate) fn child() -> Option<ExitCode> {
    std::env::var_os(CHILD)?;
    match Mongo::find_or_spawn() {
        Ok(mongo) => println!("{} {}", mongo.address(), mongo.is_mongod()),
        Err(Absent(why)) => println!("absent {why}"),
    }
    Some(ExitCode::SUCCESS)
}

/// What a copy of this binary finds there.
fn found(url: &str) -> String {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    let copy = copy.env(CHILD, "1").env("CHAT_TEST_MONGO_URL", url).stderr(Stdio::inherit());
    String::from_utf8(copy.output().unwrap().stdout).unwrap().trim_end().to_owned()
}

async fn a_spawned_server_answers_and_ends_with_the_test() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    let (address, folder) = (mongo.address().to_owned(), mongo.process().folder().to_owned());
    assert!(mongo.answers() && mongo.is_alive() && folder.exists());
    assert!(mongo.url().starts_with(&format!("mongodb://{address}/?")), "{}", mongo.url());
    assert!(mongo.url_at("elsewhere:1").starts_with("mongodb://elsewhere:1/?"));
    drop(mongo);
    assert!(TcpStream::connect(&address).is_err() && !folder.exists());
    Ok(())
}

async fn a_killed_server_comes_back() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    let first = mongo.process().id();
    mongo.kill();
    assert!(!mongo.is_alive() && !mongo.answers());
    mongo.restart();
    assert!(mongo.is_alive() && mongo.answers() && mongo.process().id() != first);
    Ok(())
}

async fn a_hung_server_goes_on() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    mongo.hang();
    assert!(mongo.is_alive());
    mongo.resume();
    assert!(mongo.answers());
    Ok(())
}

async fn the_server_of_the_environment_is_used_and_left_alone() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    assert_eq!(found(mongo.url()), format!("{} true", mongo.address()));
    assert!(mongo.answers());
    Ok(())
}

async fn what_is_no_server_is_absent() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    mongo.kill();
    assert!(found(mongo.url()).starts_with("absent nothing answers"));
    assert!(found("nonsense").starts_with("absent nothing answers"));
    if let Ok(redis) = Redis::spawn() {
        assert!(found(&format!("mongodb://{}", redis.address())).starts_with("absent nothing answers"));
    }
    Ok(())
}
