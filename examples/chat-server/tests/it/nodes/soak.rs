//! A soak: one harm after the other for as long as is asked, while people talk, and a report of what it was like.
//!
//! `cargo xtask soak` runs it for ten minutes.

use std::time::Duration;

use chat_core::clock::{Clock, SystemClock};
use chat_testkit::Absent;
use libtest_mimic::{Completion, Trial};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::json;

use super::faults::recovered;
use super::storm::{Said, Size, Storm};
use super::world::{World, run};
use crate::it::support::run::{ignorable, without};

/// What is done to servers and backends, one after the other.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Harm {
    Nothing,
    ServerKilled,
    ServerHangs,
    ServerReplaced,
    RedisKilled,
    RedisEmpty,
    RedisHangs,
    MongoKilled,
}

const HARMS: [Harm; 8] = [
    Harm::Nothing,
    Harm::ServerKilled,
    Harm::ServerHangs,
    Harm::ServerReplaced,
    Harm::RedisKilled,
    Harm::RedisEmpty,
    Harm::RedisHangs,
    Harm::MongoKilled,
];

/// Who talks all the while.
const PEOPLE: Size = Size { talkers: 8, messages: 20, listeners: 8 };

pub(super) fn trials() -> Vec<Trial> {
    let soak = ignorable("nodes", "soak", || {
        let asked = std::env::var("CHAT_SOAK_SECONDS").ok();
        let Some(seconds) = asked.and_then(|seconds| seconds.parse().ok()) else {
            return Ok(Completion::ignored_with(
                "it takes as long as CHAT_SOAK_SECONDS says: cargo xtask soak",
            ));
        };
        match World::of_two() {
            Ok(world) => run(soak(world, Duration::from_secs(seconds))),
            Err(Absent(why)) => without("redis,mongo", &why),
        }
    });
    vec![soak]
}

async fn soak(mut world: World, time: Duration) {
    let seed: u64 = std::env::var("CHAT_TEST_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().expect("CHAT_TEST_SEED is a number"));
    println!("harm is done in the order of CHAT_TEST_SEED={seed}");
    let (start, mut order) = (SystemClock.now(), StdRng::seed_from_u64(seed));
    let (mut rounds, mut coming) = (Vec::new(), Vec::new());
    let mut storm = Storm::gather(&world, PEOPLE).await;
    while SystemClock.now().since(start) < time {
        let harm = coming.pop().unwrap_or_else(|| {
            coming = HARMS.to_vec();
            coming.shuffle(&mut order);
            coming.pop().expect("some harm")
        });
        let began = SystemClock.now();
        storm.while_talking(async |said| harm.is_done(&mut world, said).await).await;
        let talked = SystemClock.now().since(began);
        storm.is_whole().await;
        recovered(&world).await;
        let resident: Vec<u64> = world.nodes.iter().map(|node| resident_kib(node.pid())).collect();
        let round = json!({
            "harm": harm,
            "talkedMs": talked.as_millis(),
            "wholeMs": (SystemClock.now().since(began) - talked).as_millis(),
            "acknowledged": storm.acknowledged(),
            "residentKiB": resident,
        });
        println!("{round}");
        rounds.push(round);
    }
    let report = json!({
        "seed": seed,
        "seconds": SystemClock.now().since(start).as_secs(),
        "people": PEOPLE.talkers + PEOPLE.listeners,
        "acknowledged": storm.acknowledged(),
        "connections": storm.connections(),
        "rounds": rounds,
    });
    if let Some(path) = std::env::var_os("CHAT_SOAK_REPORT") {
        std::fs::write(path, format!("{report:#}\n")).expect("the report is written");
    }
    drop(storm);
    world.end().await;
}

impl Harm {
    async fn is_done(self, world: &mut World, said: Said) {
        said.reaches(30).await;
        match self {
            Self::Nothing => {}
            Self::ServerKilled => {
                world.nodes[0].kill().await;
                said.reaches(90).await;
                world.replace(0);
            }
            Self::ServerHangs => world.server_hangs(0).await,
            Self::ServerReplaced => {
                world.nodes[1].terminate();
                world.nodes[1].ended().await;
                world.replace(1);
            }
            Self::RedisKilled => {
                world.redis().kill();
                said.reaches(90).await;
                world.redis().restart();
            }
            Self::RedisEmpty => {
                world.redis().kill();
                said.reaches(90).await;
                world.redis().restart_empty();
            }
            Self::RedisHangs => world.redis_hangs().await,
            Self::MongoKilled => world.mongo_is_away().await,
        }
    }
}

/// How much memory a program has to itself now, where the system tells.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|size| size.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
