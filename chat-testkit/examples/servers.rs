//! Starts a Redis and a MongoDB of one's own, empty, and prints their addresses as `CHAT_REDIS=…` and `CHAT_MONGO=…`. They end
//! with this program, which ends with its standard input.

use std::error::Error;
use std::io::{self, Read};

use chat_testkit::Absent;
use chat_testkit::server::{Mongo, Redis, RedisOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let absent = |Absent(why): Absent| why;
    let redis = Redis::spawn_with(&RedisOptions::default().append_only()).map_err(absent)?;
    let mongo = Mongo::spawn().map_err(absent)?;
    println!("CHAT_REDIS={}", redis.url());
    println!("CHAT_MONGO={}", mongo.url());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
