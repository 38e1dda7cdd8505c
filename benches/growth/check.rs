//! A hundred thousand users, whole: what the model of `cargo xtask capacity` is compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_benches::{Act, Meter, Ring, Served, acting, spent_during};
use chat_core::domain::{Actor, Seq};

use crate::field::{Field, actor, conversation, session, user};
use crate::memory::{profiles, rooms, unread};
use crate::online::{BATCH, sent};

/// How many users are online, in ten rooms each of so many members.
const USERS: usize = 100_000;
const EACH: usize = 10;
const MEMBERS: usize = 50;
/// How often every lease is renewed: what `chat-server` does.
const EVERY: Duration = Duration::from_secs(15);
/// For how long leases are renewed, and how many operations of all sorts follow.
const WATCHED: Duration = Duration::from_secs(10);
const OPERATIONS: usize = 60_000;
/// How many batches of leases are renewed as fast as can be.
const HURRIED: usize = 2_000;
const TASKS: usize = 64;
/// How many conversations the operations are in, of a hundred members; a user is in ten.
const BUSY: usize = 100;
const IN_EACH: usize = 100;
const MESSAGES: usize = 200;
/// Of twenty operations so many are each.
const SENDS: usize = 8;
const READS: usize = 6;
const COMINGS: usize = 4;

/// A row: what, and how much.
pub(crate) type Fact = (&'static str, f64);

#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub(crate) fn measure(ring: &Ring) -> Option<Vec<Fact>> {
    let field = Field::set(ring)?;
    let before = field.memory();
    ring.prepare(async {
        field.connect(0..USERS).await;
        rooms(&field, USERS * EACH, MEMBERS).await;
        unread(&field, USERS * EACH, MEMBERS).await;
        profiles(&field, USERS).await;
    });
    let memory = field.memory() - before;
    println!("{USERS} users in {EACH} rooms: {:.0} MB", memory / 1e6);

    let (began, meter) = (Instant::now(), Meter::start(&field.server));
    let ((), beating) = spent_during(|| ring.prepare(beat(&field)));
    let (beaten, seconds) = (meter.stop(), began.elapsed().as_secs_f64());

    let meter = Meter::start(&field.server);
    ring.run(&hurried(&field), 16, HURRIED as u64);
    let hurried = meter.stop().micros / (HURRIED * BATCH) as f64;

    ring.prepare(async {
        for nth in 0..BUSY {
            let members = (0..IN_EACH).map(|step| (nth / EACH * IN_EACH) + step);
            field.group(&format!("b{nth}"), members, MESSAGES).await;
        }
    });
    let meter = Meter::start(&field.server);
    let (took, working) = spent_during(|| work(ring, &field).as_secs_f64());
    let worked = meter.stop();
    println!("{OPERATIONS} operations in {took:.1} s");

    let operations = OPERATIONS as f64;
    let per_second =
        |served: Served| [served.micros, served.bytes_in, served.bytes_out].map(|it| it / seconds);
    let [redis, bytes_in, bytes_out] = per_second(beaten);
    Some(vec![
        ("users online", USERS as f64),
        ("rooms of each", EACH as f64),
        ("members of a room", MEMBERS as f64),
        ("memory of Redis, bytes", memory),
        ("leases renewed a second", USERS as f64 / EVERY.as_secs_f64()),
        ("leases: Redis, µs/s", redis),
        ("leases: node, µs/s", beating / seconds),
        ("leases: bytes to Redis a second", bytes_in),
        ("leases: bytes back a second", bytes_out),
        ("leases, as fast as can be: Redis, µs each", hurried),
        ("operations: sends of 20", SENDS as f64),
        ("operations: reads of 20", READS as f64),
        ("operations: comings and goings of 20", COMINGS as f64),
        ("operations: totals of 20", (20 - SENDS - READS - COMINGS) as f64),
        ("operations: Redis, µs each", worked.micros / operations),
        ("operations: node, µs each", working / operations),
        ("operations: bytes to Redis each", worked.bytes_in / operations),
        ("operations: bytes back each", worked.bytes_out / operations),
        ("operations a second", operations / took),
    ])
}

/// Renews every lease in its turn, as nodes do, and looks for leases that ran out twice a second.
#[expect(clippy::disallowed_methods, reason = "keeps real time")]
async fn beat(field: &Field) {
    let began = Instant::now();
    let pause = EVERY.mul_f64(BATCH as f64 / USERS as f64);
    let (mut first, mut swept) = (0, Duration::ZERO);
    for nth in 0.. {
        let due = pause * nth;
        if due >= WATCHED {
            return;
        }
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        let leases: Vec<_> =
            (first..first + BATCH).map(|nth| nth % USERS).map(|nth| (user(nth), session(nth))).collect();
        field.chat.heartbeat(&leases).await.unwrap();
        first += BATCH;
        if due >= swept {
            field.chat.sweep_presence().await.unwrap();
            swept += Duration::from_millis(500);
        }
    }
}

/// The same as fast as can be.
fn hurried(field: &Field) -> Act {
    let chat = field.chat.clone();
    acting(move |_, nth| {
        let chat = chat.clone();
        async move {
            let leases = (nth * BATCH..(nth + 1) * BATCH).map(|nth| nth % USERS);
            let leases: Vec<_> = leases.map(|nth| (user(nth), session(nth))).collect();
            chat.heartbeat(&leases).await.unwrap();
        }
    })
}

/// Operations of all sorts, as many as there is time for.
fn work(ring: &Ring, field: &Field) -> Duration {
    let (chat, reads) = (field.chat.clone(), Arc::new(AtomicUsize::new(0)));
    let act = acting(move |_, nth| {
        let (chat, reads) = (chat.clone(), Arc::clone(&reads));
        async move {
            // As far apart as possible.
            match nth * 7 % 20 {
                step if step < SENDS => sent(&chat, &conversation(&format!("b{}", nth % BUSY)), nth).await,
                step if step < SENDS + READS => {
                    let nth = reads.fetch_add(1, Ordering::Relaxed);
                    let (of, step) = (nth % BUSY, nth / BUSY % IN_EACH);
                    let at = Seq(1 + (nth / BUSY / IN_EACH) as u64);
                    let who = actor(of / EACH * IN_EACH + step);
                    chat.mark_read(&who, &conversation(&format!("b{of}")), at).await.unwrap();
                }
                step if step < SENDS + READS + COMINGS => {
                    // Somebody in no room: announcing is not what is counted here.
                    let who = Actor { session: Some(session(nth)), ..actor(50_000_000 + nth) };
                    chat.ports().presence.connect(&coming(&who)).await.unwrap();
                    chat.ports().presence.disconnect(&who.user, &session(nth)).await.unwrap();
                }
                _ => {
                    let who = actor(nth % (BUSY / EACH * IN_EACH));
                    assert!(chat.total_unread(&who).await.unwrap().messages > 0);
                }
            }
        }
    });
    ring.run(&act, TASKS, OPERATIONS as u64)
}

fn coming(who: &Actor) -> chat_core::store::presence::Connect {
    chat_core::store::presence::Connect {
        user: who.user.clone(),
        session: who.session.clone().unwrap(),
        device: None,
        lease: crate::field::LEASE,
    }
}
