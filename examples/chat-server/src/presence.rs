//! What keeps sockets and presence in step: leases are renewed in one go, activity is told, tokens end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::UserId;
use chat_core::error::Result;
use chat_core::store::presence::Renewal;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, Phase};
use crate::gateway::conn::{Conn, Frame};
use crate::metrics;

/// How often activity of the same user is written down at most.
const TOUCH_EVERY: Duration = Duration::from_secs(10);
/// How soon leases are renewed again after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// How many sessions are begun again, or ended, at once.
const AT_ONCE: usize = 64;

/// Renews leases, until the server closes; again soon after a failure.
pub(crate) async fn heartbeats(app: Arc<App>, mut phases: watch::Receiver<Phase>) {
    // A heartbeat that comes late, or fails once, costs nobody a lease.
    let mut ticks = interval(app.options.heartbeat_every.min(app.chat.settings().presence_lease / 4));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Closing) => return,
        }
        if let Err(error) = beat(&app).await {
            tracing::warn!(code = %error.code(), "presence leases could not be renewed");
            ticks.reset_after(AGAIN);
        }
    }
}

/// Renews the leases of all sockets at once, marks who is idle, and counts who is online.
pub(crate) async fn beat(app: &App) -> Result<()> {
    let conns = app.sockets.all();
    if !conns.is_empty() {
        let leases: Vec<_> = conns
            .iter()
            .filter_map(|conn| Some((conn.user().clone(), conn.actor.session.clone()?)))
            .collect();
        let renewals = app.chat.heartbeat(&leases).await?;
        let begun = conns
            .into_iter()
            .zip(renewals)
            .filter_map(|(conn, renewal)| (renewal == Renewal::Lost).then(|| begin_again(app, conn)));
        futures::stream::iter(begun).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        app.chat.mark_idle(&app.sockets.users()).await?;
    }
    metrics::users_online(app.chat.ports().presence.stats().await?.users);
    Ok(())
}

/// A lease ran out although its socket lives: the store was away, or lost what it had.
async fn begin_again(app: &App, conn: Arc<Conn>) -> Result<()> {
    if conn.has_left() {
        return Ok(());
    }
    app.chat.connect(&conn.actor, conn.device.clone()).await?;
    // Gone meanwhile: nobody else would end what was just begun.
    if conn.has_left() {
        app.chat.disconnect(&conn.actor).await?;
    }
    Ok(())
}

/// Ends sockets whose token has ended and tells of activity, until the server closes.
pub(crate) async fn ticks(app: Arc<App>, mut phases: watch::Receiver<Phase>) {
    let mut ticks = interval(app.options.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut touched = HashMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Closing) => return,
        }
        expire(&app);
        if let Err(error) = touch(&app, &mut touched).await {
            tracing::warn!(code = %error.code(), "activity could not be written down");
        }
    }
}

fn expire(app: &App) {
    let expired = app.sockets.expired(app.chat.now());
    if expired.is_empty() {
        return;
    }
    let farewell = Frame::new("auth:expired", &json!({}));
    for conn in expired {
        conn.dismiss("expired", farewell.as_ref());
    }
}

/// Writes down who was active, each user at most every [`TOUCH_EVERY`].
async fn touch(app: &App, touched: &mut HashMap<UserId, Timestamp>) -> Result<()> {
    let now = app.chat.now();
    touched.retain(|_, at| now.since(*at) < TOUCH_EVERY && *at <= now);
    let active: HashSet<UserId> = app.sockets.active().iter().map(|conn| conn.user().clone()).collect();
    let due: Vec<UserId> = active.into_iter().filter(|user| !touched.contains_key(user)).collect();
    if due.is_empty() {
        return Ok(());
    }
    app.chat.touch(&due).await?;
    touched.extend(due.into_iter().map(|user| (user, now)));
    Ok(())
}

/// Ends the sessions of all sockets: closing Socket.IO does not tell anybody that they are gone.
pub(crate) async fn leave_all(app: &App) {
    let leaving = app.sockets.all().into_iter().map(|conn| async move { app.leave(&conn).await });
    futures::stream::iter(leaving).buffer_unordered(AT_ONCE).collect::<()>().await;
}
