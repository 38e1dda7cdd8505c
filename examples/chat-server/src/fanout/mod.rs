//! From the log of events to the sockets of this process.
//!
//! Every process follows the whole log by its own cursors, so two processes on one log are one chat, and one that was
//! cut off goes on where it stood. Meanwhile its sockets hear what truth has not published yet. What is lost for good ends every
//! socket here: the clients come back and catch up.

mod badges;
mod deliver;
mod merge;
mod presence;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use chat_core::error::Result;
use chat_core::event::{Envelope, Event, Topic};
use chat_core::store::EventTail;
use chat_core::store::events::TailRead;
use tokio::sync::watch;

pub(crate) use badges::{Badges, run as run_badges};
pub(crate) use presence::{Told, here};

use merge::{Merge, READ};
use waiting::{Recent, Waiting};

use crate::app::{App, Phase};
use crate::gateway::sockets::flush;
use crate::metrics;

/// How long one look into the log waits for something to come.
const WAIT: Duration = Duration::from_secs(1);
/// How long to rest after a failure.
const REST: Duration = Duration::from_millis(250);

/// Follows the log.
pub(crate) struct Fanout {
    app: Arc<App>,
    tail: Arc<dyn EventTail>,
    /// Nothing while the log has not been reached yet.
    merge: Option<Merge>,
    recent: Recent,
    /// How far what waits was heard, while the log is away.
    waiting: Option<Waiting>,
}

impl Fanout {
    /// Begins after everything that is in the log by now; if the log is away, as soon as it is back.
    ///
    /// # Errors
    /// Those of the log that no waiting remedies.
    pub(crate) async fn begin(app: Arc<App>) -> Result<Self> {
        let tail = Arc::clone(&app.chat.ports().tail);
        let merge = match tail.ends(&merge::topics()).await {
            Ok(ends) => Some(Merge::new(ends)),
            Err(error) if error.is_transient() => {
                tracing::warn!(code = %error.code(), "the log is not there yet");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { app, tail, merge, recent: Recent::default(), waiting: None })
    }

    /// Follows until the server closes.
    pub(crate) async fn run(mut self, mut phases: watch::Receiver<Phase>) {
        loop {
            let step = tokio::select! {
                step = self.step() => step,
                _ = phases.wait_for(|phase| *phase >= Phase::Closing) => return,
            };
            match step {
                Ok(()) => self.waiting = None,
                Err(error) => {
                    tracing::warn!(code = %error.code(), "the log could not be followed");
                    let waiting = self.waiting.get_or_insert_default();
                    if let Err(error) = waiting.hear(&self.app, &mut self.recent).await {
                        tracing::warn!(code = %error.code(), "what waits to be published could not be read");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Reads once, and passes on what is in order.
    async fn step(&mut self) -> Result<()> {
        let Some(merge) = &mut self.merge else { return self.begin_late().await };
        let wait = if merge.is_waiting() { Duration::ZERO } else { WAIT };
        let reads = self.tail.read_since(&merge.cursors(), READ, wait).await?;
        for read in &reads {
            if let TailRead::Events { events, .. } = read {
                shut_out(&self.app, events.iter().flatten());
            }
        }
        let gone = merge.take(reads);
        if !gone.is_empty() {
            for end in self.tail.ends(&gone).await? {
                merge.jump(end);
            }
            lost(&self.app, &gone);
        }
        let (mut passed_on, mut held) = (0, Vec::new());
        while let Some(envelope) = merge.next() {
            if !self.recent.is_new(&envelope.id) {
                continue;
            }
            passed_on += 1;
            // Messages read at once go out at once. Only they wait for one another: of others something may be looked up.
            if let Event::MessageSent(sent) = &envelope.event {
                held.append(&mut deliver::hold(&self.app, sent));
                continue;
            }
            flush(std::mem::take(&mut held));
            let picture = match &envelope.event {
                Event::ConversationNameUpdated(name) => merge.picture_with(name),
                _ => None,
            };
            deliver::one(&self.app, &envelope, picture).await;
            tokio::task::consume_budget().await;
        }
        flush(held);
        tokio::task::consume_budget().await;
        metrics::fanned_out(passed_on);
        Ok(())
    }

    /// The log is there: whoever came before does not know what was in it meanwhile.
    async fn begin_late(&mut self) -> Result<()> {
        let topics = merge::topics();
        self.merge = Some(Merge::new(self.tail.ends(&topics).await?));
        lost(&self.app, &topics);
        Ok(())
    }
}

/// Who was removed gets nothing more, not even what stands before the removal in what was just read.
fn shut_out<'a>(app: &App, events: impl Iterator<Item = &'a Envelope>) {
    for envelope in events {
        match &envelope.event {
            Event::ParticipantRemoved(gone) => app.sockets.expel(&gone.conversation_id, &gone.participant_id),
            Event::ParticipantLeft(gone) => app.sockets.expel(&gone.conversation_id, &gone.participant_id),
            _ => {}
        }
    }
}

/// Part of the log is gone: nobody here can be told what was in it, so everybody asks anew.
fn lost(app: &App, topics: &[Topic]) {
    let passing = [Topic::Typing, Topic::Presence];
    if topics.iter().all(|topic| passing.contains(topic)) {
        return;
    }
    tracing::warn!(?topics, "part of the log is gone: every socket is to catch up");
    cut_off(app);
}

/// Ends every socket here: the clients come back and catch up.
fn cut_off(app: &App) {
    for conn in app.sockets.all() {
        conn.cut("gap");
    }
}
