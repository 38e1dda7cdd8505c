//! Profiles brought into the cache before anybody asks (seed 002): beside a server, or by hand.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chat_core::error::{Code, Error};
use chat_core::prewarm::{PrewarmProgress, PrewarmReport, Prewarmed, Prewarmer};
use chat_redis::{Redis, RedisService};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::app::{App, Phase};
use crate::config::ByHand;
use crate::options::Prewarm;
use crate::wiring::{Places, truth};

/// How often the bar moves while nothing else does.
const TICK: Duration = Duration::from_millis(100);

/// Beside a server, until that stops. What became of it is in the log, and counted by `chat_prewarmed_total`.
pub(crate) async fn beside(app: Arc<App>, plan: Prewarm, mut phases: watch::Receiver<Phase>) {
    let ports = app.chat.ports();
    let prewarmer = Prewarmer::new(Arc::clone(&ports.users), Arc::clone(&ports.source), plan.options);
    let stop = async { drop(phases.wait_for(|phase| *phase >= Phase::Draining).await) };
    let from = prewarmer.lately(plan.within);
    prewarmer.warm_active(&*ports.conversations, from, |_| {}, stop).await;
}

/// By hand: shows on standard error how it goes, and keeps after each batch how far it is where that is wanted. `stop` ends it
/// at once.
///
/// # Errors
/// [`Code::ConfigInvalid`] without a Redis and a MongoDB; those of connecting to them; files that cannot be read or written.
pub async fn by_hand(
    task: &ByHand,
    places: &Places,
    stop: impl Future<Output = ()> + Send,
) -> Result<PrewarmReport, Box<dyn std::error::Error>> {
    let (Some(redis), Some(mongo)) = (&places.redis, &places.mongo) else {
        return Err(Error::invalid(Code::ConfigInvalid, "prewarm needs a Redis and a MongoDB").into());
    };
    let file = task.resume.as_deref();
    let kept = file.map(kept).transpose()?.flatten();
    let mut stop = pin!(stop);
    let mongo = tokio::select! {
        found = truth(mongo) => found?,
        () = &mut stop => return Err("told to stop before MongoDB was there".into()),
    };
    let redis = Redis::new(RedisService::connect(redis).await?, &redis.keys);
    let prewarmer = Prewarmer::new(redis.users, Arc::clone(&mongo.source) as _, task.plan.options);
    let from = kept.unwrap_or_else(|| prewarmer.lately(task.plan.within));
    let shown = Shown::new(task.plan.options.most);
    let told = |progress: &PrewarmProgress| {
        shown.show(&progress.done);
        if let Some(file) = file
            && let Err(error) = keep(file, progress)
        {
            tracing::warn!(%error, "how far it is could not be kept");
        }
    };
    let report = prewarmer.warm_active(&*mongo.conversations, from, told, stop).await;
    shown.end();
    match (file, &report.next) {
        (Some(file), Some(next)) => keep(file, next)?,
        (Some(file), None) => forget(file)?,
        (None, _) => {}
    }
    mongo.close().await;
    Ok(report)
}

/// How far another run came, if one did.
fn kept(file: &Path) -> io::Result<Option<PrewarmProgress>> {
    match std::fs::read(file) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps how far it is: the new place or the old one, never half of it.
fn keep(file: &Path, progress: &PrewarmProgress) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, serde_json::to_vec(progress)?)?;
    std::fs::rename(&beside, file)
}

fn forget(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How people see it: a bar in a terminal, else a line for each batch.
enum Shown {
    Bar(ProgressBar),
    Lines,
}

impl Shown {
    fn new(most: usize) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines;
        }
        let template = "{spinner} {wide_bar} {pos} people of at most {len}: {msg} ({elapsed})";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(most as u64).with_style(style).with_message("looking for them");
        bar.enable_steady_tick(TICK);
        Self::Bar(bar)
    }

    fn show(&self, done: &Prewarmed) {
        let Prewarmed { processed, there, cached, missing, errors, .. } = done;
        let said = format!("{cached} cached, {there} there, {missing} unknown, {errors} failed");
        match self {
            Self::Bar(bar) => {
                bar.set_message(said);
                bar.set_position(*processed);
            }
            Self::Lines => eprintln!("{processed} people: {said}"),
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}
