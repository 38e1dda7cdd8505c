//! Which servers are one chat: each says so of itself every few seconds, in the cache they share.

use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Timestamp;
use chat_core::domain::page::Page;
use chat_core::error::{Code, Error, Result};
use chat_core::store::CacheExt;
use chat_core::store::cache::CacheScope;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, Phase};
use crate::metrics;

/// How often a server says that it is there.
const EVERY: Duration = Duration::from_secs(5);
/// After how long without a word it is not there any more.
const SILENCE: Duration = Duration::from_secs(15);
/// Of how many servers is told at most.
const MOST: usize = 100;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// A name no other server has, nor this one when it begins again.
    node: String,
    /// Since when it runs, by its own clock.
    started_at: Timestamp,
    /// How many sockets it has.
    sockets: u64,
}

/// The servers that were there when it was last asked.
#[derive(Debug)]
pub(crate) struct Nodes {
    own: String,
    last: Mutex<Option<(Timestamp, Vec<Node>)>>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { own: format!("{:016x}", rand::random::<u64>()), last: Mutex::default() }
    }
}

impl Nodes {
    /// The servers that are there, unless that was not to be known for a while.
    pub(crate) fn known(&self, now: Timestamp) -> Option<Vec<Node>> {
        let last = self.last.lock();
        last.as_ref().filter(|(at, _)| now.since(*at) < SILENCE).map(|(_, nodes)| nodes.clone())
    }
}

/// Says that this server is there, and asks who else is, until it closes.
pub(crate) async fn run(app: Arc<App>, mut phases: watch::Receiver<Phase>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Closing) => break,
        }
        if let Err(error) = meet(&app).await {
            tracing::debug!(code = %error.code(), "the other servers are not known");
        }
    }
    let gone = async { app.chat.ports().cache.remove(&scope()?, &app.nodes.own).await };
    if let Err(error) = gone.await {
        tracing::debug!(code = %error.code(), "that this server ends could not be told");
    }
}

/// One round: this server's word, and everybody's.
async fn meet(app: &App) -> Result<()> {
    let (cache, scope, nodes) = (&app.chat.ports().cache, scope()?, &app.nodes);
    let own =
        Node { node: nodes.own.clone(), started_at: app.started, sockets: app.sockets.all().len() as u64 };
    let said = serde_json::to_vec(&own).map_err(|error| Error::new(Code::Internal).caused_by(error))?;
    cache.put(&scope, &nodes.own, said, SILENCE).await?;
    let names = cache.keys(&scope, "", &Page::first(MOST)).await?.items;
    let said = cache.get_many(&scope, &names).await?.values;
    // A word of another version of this program is a server all the same, of which nothing is shown.
    let found: Vec<Node> =
        said.into_iter().flatten().filter_map(|said| serde_json::from_slice(&said).ok()).collect();
    let count = found.len().max(1);
    metrics::nodes(count);
    if let Some(limits) = &app.backends.limits {
        limits.set_nodes(u32::try_from(count).unwrap_or(u32::MAX));
    }
    *nodes.last.lock() = Some((app.chat.now(), found));
    Ok(())
}

fn scope() -> Result<CacheScope> {
    CacheScope::new("servers")
}
