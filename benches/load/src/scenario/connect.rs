//! Coming, staying, going.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};

use crate::clock::now;
use crate::frame::Packet;
use crate::process::Process;
use crate::report::Report;
use crate::socket::{Ear, Opened, Socket};
use crate::token::Signer;

/// How many come at once where it is not what is measured.
pub(super) const AT_ONCE: usize = 64;
/// How often the server is looked at until it has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What it may spend in that time and be at rest.
const REST: Duration = Duration::from_millis(20);

/// Names nobody has had before.
pub(super) fn users(count: usize) -> Vec<String> {
    let run: u64 = rand::random();
    (0..count).map(|number| format!("load-{run:016x}-{number}")).collect()
}

/// One socket for each user, so many at once.
///
/// # Errors
/// When one of them is not let in.
pub(super) async fn open(address: SocketAddr, tokens: &[String], at_once: usize) -> Result<Vec<Opened>> {
    stream::iter(tokens.iter().map(|token| Socket::open(address, token)))
        .buffered(at_once)
        .try_collect()
        .await
}

/// A token for each user.
///
/// # Errors
/// When there is no secret to sign them with.
pub(super) fn tokens(users: &[String]) -> Result<Vec<String>> {
    let signer = Signer::from_env()?;
    users.iter().map(|user| signer.sign(user)).collect()
}

/// Waits until the server does next to nothing.
///
/// # Errors
/// When it is gone.
pub(super) async fn settle(server: Process) -> Result<()> {
    let mut before = server.spent()?;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let after = server.spent()?;
        if after.saturating_sub(before) <= REST {
            return Ok(());
        }
        before = after;
    }
}

/// Counts those that were lost.
#[derive(Default)]
struct Lost(Cell<usize>);

impl Ear for Lost {
    fn hear(&self, _: usize, _: Packet<'_>, _: usize) {}

    fn lost(&self, _: usize) {
        self.0.set(self.0.get() + 1);
    }
}

/// All connect as fast as they are answered, and leave.
///
/// # Errors
/// When one of them is not let in, or lost.
pub(super) async fn storm(
    address: SocketAddr,
    server: Process,
    sockets: usize,
    at_once: usize,
) -> Result<Report> {
    let tokens = tokens(&users(sockets))?;
    settle(server).await?;
    let (began, before) = (now(), server.spent()?);
    let opened = open(address, &tokens, at_once).await?;
    let took = began.elapsed();
    settle(server).await?;
    let inside = server.spent()?;
    drop(opened);
    settle(server).await?;
    let after = server.spent()?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / sockets as f64;
    Ok(Report::default()
        .with("sockets", sockets as f64)
        .with("seconds", took.as_secs_f64())
        .with("perSecond", sockets as f64 / took.as_secs_f64())
        .with("cpuMicrosPerConnect", each(inside.saturating_sub(before)))
        .with("cpuMicrosPerLeave", each(after.saturating_sub(inside))))
}

/// All connect and do nothing but answer pings.
///
/// # Errors
/// When one of them is not let in, or lost.
pub(super) async fn idle(
    address: SocketAddr,
    server: Process,
    sockets: usize,
    seconds: u64,
) -> Result<Report> {
    let tokens = tokens(&users(sockets))?;
    settle(server).await?;
    let before = server.memory()?;
    let ear = Rc::new(Lost::default());
    let opened = open(address, &tokens, AT_ONCE).await?;
    let kept: Vec<Socket> = opened
        .into_iter()
        .enumerate()
        .map(|(number, socket)| socket.listen(number, Rc::clone(&ear)))
        .collect();
    settle(server).await?;
    let spent = server.spent()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let spent = server.spent()?.saturating_sub(spent);
    let after = server.memory()?;
    ensure!(ear.0.get() == 0, "{} of {sockets} sockets were lost", ear.0.get());
    drop(kept);
    Ok(Report::default()
        .with("sockets", sockets as f64)
        .with("bytesPerSocket", after.saturating_sub(before) as f64 / sockets as f64)
        .with("bytesBefore", before as f64)
        .with("cpuMicrosPerSocketSecond", spent.as_secs_f64() * 1e6 / sockets as f64 / seconds as f64))
}
