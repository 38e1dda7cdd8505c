//! One MongoDB server: what a test can do to it.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::op_msg::{Connection, Document, encode};
use chat_testkit::server::{FailPoint, Failure, Mongo, Redis, fresh_database, installed};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

trials! { needs "mongo":
    a_spawned_server_answers_and_ends_with_the_test,
    servers_are_private,
    what_a_killed_server_acknowledged_is_there_again,
    a_hung_server_goes_on,
    the_server_of_the_environment_is_used_and_left_alone,
    a_real_one_on_the_path_is_preferred,
    what_is_no_server_is_absent,
    databases_of_one_server_are_apart,
    a_command_fails_as_told_and_is_not_executed,
    a_write_concern_fails_after_the_write,
    a_late_command_is_executed,
    only_the_client_of_that_name_is_hit,
    a_lost_answer_was_executed,
    a_cut_before_was_not_executed,
    the_command_is_hit_on_its_collection,
    what_asks_how_the_server_is_is_neither_counted_nor_hit,
    no_answer_lost_is_a_failure,
}

/// Set for a copy of this binary that only looks for a server.
const CHILD: &str = "CHAT_TESTKIT_MONGO";

/// A transient error: the primary steps down.
const STEPPED_DOWN: i32 = 189;

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
    found_by(copy().env("CHAT_TEST_MONGO_URL", url))
}

fn copy() -> Command {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    copy.env(CHILD, "1").stderr(Stdio::inherit());
    copy
}

fn found_by(copy: &mut Command) -> String {
    String::from_utf8(copy.output().unwrap().stdout).unwrap().trim_end().to_owned()
}

fn insert(id: i32) -> Document {
    Document::new().text("insert", "things").documents("documents", &[Document::new().int("_id", id)])
}

fn count(mongo: &Mongo, database: &str) -> i64 {
    let answer = mongo.command(database, &Document::new().text("count", "things"));
    answer.get_int("n").unwrap()
}

fn ping() -> Document {
    Document::new().int("ping", 1)
}

/// What became of a command: its code, 0 where it succeeded, or the end of the connection.
fn code(outcome: std::io::Result<Document>) -> Option<i64> {
    match outcome {
        Ok(answer) => Some(answer.get_int("code").unwrap_or_default()),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
            None
        }
    }
}

async fn stage() -> Result<(Mongo, Proxy), Absent> {
    let mongo = Mongo::spawn()?;
    let proxy = Proxy::start(mongo.address(), Protocol::Mongo).await;
    Ok((mongo, proxy))
}

fn open(proxy: &Proxy) -> Connection {
    Connection::open(proxy.address()).unwrap()
}

async fn a_spawned_server_answers_and_ends_with_the_test() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    let (address, folder) = (mongo.address().to_owned(), mongo.process().folder().to_owned());
    assert!(mongo.answers() && mongo.is_alive() && folder.exists());
    assert!(
        mongo.url().starts_with(&format!("mongodb://{address}/?directConnection=true&")),
        "{}",
        mongo.url()
    );
    assert_eq!(mongo.url_at("elsewhere:1"), mongo.url().replace(&address, "elsewhere:1"));
    drop(mongo);
    assert!(TcpStream::connect(&address).is_err() && !folder.exists());
    Ok(())
}

async fn servers_are_private() -> Result<(), Absent> {
    let (one, other) = (Mongo::spawn()?, Mongo::spawn()?);
    one.command("test", &insert(1));
    assert_eq!((count(&one, "test"), count(&other, "test")), (1, 0));
    Ok(())
}

async fn what_a_killed_server_acknowledged_is_there_again() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    let first = mongo.process().id();
    for id in 0..200 {
        mongo.command("test", &insert(id));
    }
    mongo.kill();
    assert!(!mongo.is_alive() && !mongo.answers());
    mongo.restart();
    assert!(mongo.is_alive() && mongo.answers() && mongo.process().id() != first);
    assert_eq!(count(&mongo, "test"), 200);
    mongo.restart();
    assert_eq!(count(&mongo, "test"), 200);
    Ok(())
}

async fn a_hung_server_goes_on() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    mongo.hang();
    assert!(mongo.is_alive());
    let mut connection = Connection::open(mongo.address()).unwrap();
    connection.send_bytes(&encode("test", &insert(1))).unwrap();
    mongo.resume();
    assert_eq!(connection.receive().unwrap().get_int("n"), Some(1));
    assert!(mongo.answers());
    Ok(())
}

async fn the_server_of_the_environment_is_used_and_left_alone() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    assert_eq!(found(mongo.url()), format!("{} {}", mongo.address(), mongo.is_mongod()));
    assert!(mongo.answers());
    Ok(())
}

async fn a_real_one_on_the_path_is_preferred() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    if mongo.is_mongod() {
        return Ok(());
    }
    // What is called so is another program here, which takes other arguments.
    let program = format!(
        "#!/bin/sh\nexec {}/secantusd-rs --port $2 --storage-path data\n",
        installed().unwrap().display()
    );
    let mongod = mongo.process().folder().join("mongod");
    fs::write(&mongod, program).unwrap();
    fs::set_permissions(&mongod, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", mongo.process().folder().display(), std::env::var("PATH").unwrap());
    let found = found_by(copy().env("PATH", path).env_remove("CHAT_TEST_MONGO_URL"));
    assert!(found.ends_with(" true"), "{found}");
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

async fn databases_of_one_server_are_apart() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    let (one, other) = (fresh_database(), fresh_database());
    mongo.command(&one, &insert(1));
    mongo.command(&other, &insert(1));
    mongo.drop_database(&one);
    assert_eq!((count(&mongo, &one), count(&mongo, &other)), (0, 1));
    Ok(())
}

async fn a_command_fails_as_told_and_is_not_executed() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    let run = |id| code(mongo.try_command("test", &insert(id)));
    mongo.fail(
        &FailPoint::new(&["insert", "update"], Failure::Error(STEPPED_DOWN)).times(2).labels(&["Mine"]),
    );
    let answer = mongo.try_command("test", &insert(1)).unwrap();
    assert_eq!(answer.get_int("code"), Some(i64::from(STEPPED_DOWN)));
    assert_eq!(answer.get_document("errorLabels").unwrap().get_text("0"), Some("Mine"));
    assert_eq!(mongo.try_command("test", &ping()).unwrap().get_int("ok"), Some(1), "another command");
    assert_eq!((run(1), run(1)), (Some(i64::from(STEPPED_DOWN)), Some(0)));
    assert_eq!(count(&mongo, "test"), 1);

    mongo.fail(&FailPoint::new(&["insert"], Failure::Close).after(1));
    assert_eq!((run(2), run(3), run(3)), (Some(0), None, None));
    mongo.heal();
    assert_eq!((run(3), count(&mongo, "test")), (Some(0), 3));
    Ok(())
}

async fn a_write_concern_fails_after_the_write() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    mongo.fail(&FailPoint::new(&["insert"], Failure::WriteConcern(64)));
    let answer = mongo.try_command("test", &insert(1)).unwrap();
    assert_eq!(answer.get_document("writeConcernError").unwrap().get_int("code"), Some(64));
    assert_eq!(count(&mongo, "test"), 1);
    Ok(())
}

async fn a_late_command_is_executed() -> Result<(), Absent> {
    let (mongo, proxy) = stage().await?;
    mongo.fail(&FailPoint::new(&["insert"], Failure::Late(Duration::from_millis(1))));
    assert_eq!(code(mongo.try_command("test", &insert(1))), Some(0));

    mongo.fail(&FailPoint::new(&["insert"], Failure::Late(Duration::from_secs(3600))));
    open(&proxy).send_bytes(&encode("test", &insert(2))).unwrap();
    eventually("the insert to be on its way", || async { (proxy.counts().requests == 1).then_some(()) })
        .await;
    assert_eq!((count(&mongo, "test"), proxy.counts().answers), (1, 0), "not yet");
    Ok(())
}

async fn only_the_client_of_that_name_is_hit() -> Result<(), Absent> {
    let mongo = Mongo::spawn()?;
    mongo.fail(&FailPoint::new(&["insert"], Failure::Error(STEPPED_DOWN)).of_app("mine"));
    assert_eq!(code(mongo.try_command("test", &insert(1))), Some(0));

    let client = Document::new()
        .document("application", &Document::new().text("name", "mine"))
        .document("driver", &Document::new().text("name", "none").text("version", "1"))
        .document("os", &Document::new().text("type", "any"));
    let mut mine = Connection::open(mongo.address()).unwrap();
    mine.ask("admin", &Document::new().int("hello", 1).document("client", &client)).unwrap();
    assert_eq!(code(mine.ask("test", &insert(2))), Some(i64::from(STEPPED_DOWN)));
    assert_eq!(code(mine.ask("test", &insert(2))), Some(0));
    Ok(())
}

async fn a_lost_answer_was_executed() -> Result<(), Absent> {
    let (mongo, proxy) = stage().await?;
    let mut connection = open(&proxy);
    assert_eq!(code(connection.ask("test", &insert(1))), Some(0));
    let lost = proxy.losing(Request::command("insert"), async {
        assert_eq!(code(connection.ask("test", &ping())), Some(0), "another command");
        code(connection.ask("test", &insert(2)))
    });
    assert_eq!(lost.await, None);
    assert_eq!(count(&mongo, "test"), 2);
    let counts = proxy.counts();
    assert_eq!((counts.requests, counts.answers, counts.turns, counts.faults), (3, 2, 3, 1));
    let again = open(&proxy).ask("test", &insert(2)).unwrap();
    assert!(again.has("writeErrors"), "it is there already");
    Ok(())
}

async fn a_cut_before_was_not_executed() -> Result<(), Absent> {
    let (mongo, proxy) = stage().await?;
    let mut connection = open(&proxy);
    proxy.cut_before(Request::command("insert").but_the(2));
    assert_eq!(code(connection.ask("test", &insert(1))), Some(0));
    assert_eq!(code(connection.ask("test", &insert(2))), None);
    assert_eq!(count(&mongo, "test"), 1);
    Ok(())
}

async fn the_command_is_hit_on_its_collection() -> Result<(), Absent> {
    let (mongo, proxy) = stage().await?;
    let mut connection = open(&proxy);
    proxy.cut_after(Request::command_on("insert", "others"));
    assert_eq!(code(connection.ask("test", &insert(1))), Some(0));
    let others = Document::new().text("insert", "others").documents("documents", &[Document::new()]);
    assert_eq!(code(connection.ask("test", &others)), None);
    let there = mongo.command("test", &Document::new().text("count", "others"));
    assert_eq!(there.get_int("n"), Some(1));
    Ok(())
}

async fn what_asks_how_the_server_is_is_neither_counted_nor_hit() -> Result<(), Absent> {
    let (_mongo, proxy) = stage().await?;
    let hello = Document::new().int("hello", 1);
    let mut connection = open(&proxy);
    proxy.cut_after(Request::nth(1));
    let batch = [encode("admin", &hello), encode("test", &ping()), encode("admin", &hello)].concat();
    connection.ask("admin", &hello).unwrap();
    assert_eq!((proxy.counts().requests, proxy.counts().bytes_in, proxy.counts().bytes_out), (0, 0, 0));
    connection.send_bytes(&batch).unwrap();
    assert!(connection.receive().unwrap().has("isWritablePrimary"));
    assert_eq!(code(connection.receive()), None, "the answer to the ping");
    assert_eq!((proxy.counts().requests, proxy.counts().answers), (1, 0));
    assert_eq!(proxy.counts().bytes_in, encode("test", &ping()).len() as u64);
    Ok(())
}

async fn no_answer_lost_is_a_failure() -> Result<(), Absent> {
    let (_mongo, proxy) = stage().await?;
    let mut connection = open(&proxy);
    let quiet = tokio::spawn(async move {
        proxy.losing(Request::command("insert"), async { code(connection.ask("test", &ping())) }).await
    });
    assert!(quiet.await.unwrap_err().is_panic());
    Ok(())
}
