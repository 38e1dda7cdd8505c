//! How fast the family is, beside what it is made of.
//!
//! `cargo bench -p chat-benches --bench redis_cache` spawns a Redis of its own and, for each operation, lets several
//! contenders do the same by turns: ours; the raw driver, sending the very same commands; and `redis-benchmark`, with the
//! same number of clients. So whatever else the machine does hits all of them alike, and what is printed are the medians
//! of the ratios within one turn. Then criterion measures ours and the raw driver on their own. Nothing here asserts a
//! time: a figure that misses its goal says so.
//!
//! `cargo xtask bench --peers` runs `peers`: the same contest, beside the seeds' own managers on node-redis (`peers/node`), which
//! take their turns in a process of their own.
//!
//! Without `redis-server` a bench says so and ends well; without `redis-benchmark` that column is missing. The benches
//! `mongo_messages`, `mongo_positions` and `mongo_conversations` do the same on a server that speaks MongoDB's protocol, found
//! or spawned as the tests find theirs; the raw driver there does the least that has the same visible result.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench says what went wrong by failing"
)]

mod capture;
mod contest;
mod cpu;
mod curve;
mod measure;
mod mongo;
mod outcome;
mod peer;
mod reference;
mod ring;
mod stage;

pub use capture::Template;
pub use contest::{Act, Contender, Goal, Row, TASKS, acting, time};
pub use curve::{Curve, Figures, Growth, Meter, Place, Served, Verdict, measure_growth, slope, spent_during};
pub use measure::measure;
pub use mongo::MongoStage;
pub use outcome::{Entry, Outcome, Quartiles, Turn};
pub use peer::{Errand, NodePeer};
pub use reference::Reference;
pub use ring::Ring;
pub use stage::Stage;
