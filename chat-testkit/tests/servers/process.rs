//! Nothing a test spawned outlives it.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;

use chat_testkit::server::{Redis, RedisOptions};
use chat_testkit::wait::until;
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    a_dropped_server_is_gone_with_its_folder,
    a_server_of_a_test_that_panics_is_gone,
    a_killed_test_leaves_no_server,
    a_server_in_a_static_ends_with_the_test,
    a_hung_server_of_a_killed_test_is_gone_too,
    the_server_of_the_environment_is_used_and_left_alone,
    a_server_of_the_environment_that_is_not_there_is_absent,
}

/// Set for a copy of this binary that only spawns a server, and says what is to become of itself.
const CHILD: &str = "CHAT_TESTKIT_CHILD";

/// What such a copy does instead of tests.
pub(crate) fn child() -> Option<ExitCode> {
    static SERVER: OnceLock<Redis> = OnceLock::new();

    let what = std::env::var(CHILD).ok()?;
    if what == "find" {
        match Redis::find_or_spawn() {
            Ok(redis) => println!("{} {}", redis.url(), redis.command(&["INCR", "found"])),
            Err(Absent(why)) => println!("absent {why}"),
        }
        return Some(ExitCode::SUCCESS);
    }
    let redis = SERVER.get_or_init(|| Redis::spawn().expect("the parent found one"));
    println!("{} {}", redis.address(), redis.process().folder().display());
    if what == "hung" {
        redis.hang();
    }
    if what != "exit" {
        std::thread::park();
    }
    Some(ExitCode::SUCCESS)
}

fn answers(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// What a copy of this binary finds at this URL.
fn found(url: &str) -> String {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    let output = copy.env(CHILD, "find").env("CHAT_TEST_REDIS_URL", url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A copy of this binary with a server of its own: itself, the server's address and its folder.
fn copy(what: &str) -> (Child, String, PathBuf) {
    let mut copy = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, what)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(copy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (address, folder) = line.trim_end().split_once(' ').unwrap();
    (copy, address.to_owned(), folder.into())
}

fn gone(address: &str, folder: &Path) {
    until("the server to be gone", || !answers(address));
    until("its folder to be gone", || !folder.exists());
}

async fn a_dropped_server_is_gone_with_its_folder() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    let (address, folder) = (redis.address().to_owned(), redis.process().folder().to_owned());
    assert!(answers(&address) && folder.exists() && redis.is_alive());
    drop(redis);
    assert!(!answers(&address) && !folder.exists());
    Ok(())
}

async fn a_server_of_a_test_that_panics_is_gone() -> Result<(), Absent> {
    let redis = Redis::spawn()?;
    let address = redis.address().to_owned();
    let panicked = catch_unwind(move || {
        let _ours = &redis;
        std::panic::resume_unwind(Box::new("quietly"));
    });
    assert!(panicked.is_err() && !answers(&address));
    Ok(())
}

async fn a_killed_test_leaves_no_server() -> Result<(), Absent> {
    drop(Redis::spawn()?);
    let (mut copy, address, folder) = copy("park");
    assert!(answers(&address) && folder.exists());
    copy.kill().unwrap();
    assert_eq!(copy.wait().unwrap().signal(), Some(9));
    gone(&address, &folder);
    Ok(())
}

async fn a_server_in_a_static_ends_with_the_test() -> Result<(), Absent> {
    drop(Redis::spawn()?);
    let (mut copy, address, folder) = copy("exit");
    assert!(copy.wait().unwrap().success());
    gone(&address, &folder);
    Ok(())
}

async fn a_hung_server_of_a_killed_test_is_gone_too() -> Result<(), Absent> {
    drop(Redis::spawn()?);
    let (mut copy, address, folder) = copy("hung");
    copy.kill().unwrap();
    copy.wait().unwrap();
    gone(&address, &folder);
    Ok(())
}

async fn the_server_of_the_environment_is_used_and_left_alone() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().password("secret"))?;
    let url = format!("redis://:secret@{}/3", redis.address());
    assert_eq!(found(&url), format!("{url} 1"));
    assert_eq!(found(&url), format!("{url} 2"));
    assert_eq!(redis.info("db3").and_then(|db| db.split(',').next().map(str::to_owned)).unwrap(), "keys=1");
    Ok(())
}

async fn a_server_of_the_environment_that_is_not_there_is_absent() -> Result<(), Absent> {
    let redis = Redis::spawn_with(&RedisOptions::default().password("secret"))?;
    let wrong = format!("redis://:wrong@{}", redis.address());
    assert!(found(&wrong).starts_with("absent nothing answers"));
    redis.kill();
    assert!(found(&redis.url()).starts_with("absent nothing answers"));
    Ok(())
}
