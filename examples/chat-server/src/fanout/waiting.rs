//! While the log is away: truth keeps every event until it is published, and any server can read it there. So sockets hear
//! of messages on all servers, though nobody can tell them of typing and presence.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use chat_core::domain::page::Page;
use chat_core::domain::{EventId, Seq};
use chat_core::error::Result;
use chat_core::event::{Event, MessageSent};
use chat_core::store::messages::{Anchor, HistoryQuery, HistoryScope};

use super::{cut_off, deliver, merge, shut_out};
use crate::app::App;
use crate::gateway::sockets::flush;

/// Of how many events it is remembered that they were passed on: the log repeats, when it is back, what was heard without it.
const REMEMBERED: usize = 65_536;
/// How many events are read at once; of as many is looked back, since what was written first may be seen later.
const READ: usize = 500;
/// How many messages a socket may have missed before it is to catch up.
const MOST_MISSED: usize = 100;
/// What was sent so long before may have been on its way through the log when that went.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// Which events were passed on last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: HashSet<EventId>,
    order: VecDeque<EventId>,
}

impl Recent {
    /// Whether an event was not passed on yet; it counts as passed on from now on.
    pub(super) fn is_new(&mut self, id: &EventId) -> bool {
        let is_new = self.ids.insert(id.clone());
        if is_new {
            self.order.push_back(id.clone());
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
        is_new
    }
}

/// Where a reader stands in what waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    after: Option<String>,
}

impl Waiting {
    /// Passes on what waits and was not passed on yet.
    pub(super) async fn hear(&mut self, app: &App, recent: &mut Recent) -> Result<()> {
        let topics = merge::topics();
        let mut page = Page { after: self.after.clone(), limit: READ };
        loop {
            let found = app.chat.ports().outbox.list(&page).await?;
            let events = found.items.iter().filter(|envelope| topics.contains(&envelope.topic()));
            shut_out(app, events.clone());
            for envelope in events.filter(|envelope| recent.is_new(&envelope.id)) {
                if let Event::MessageSent(sent) = &envelope.event {
                    missed(app, sent).await?;
                }
                deliver::one(app, envelope, None).await;
            }
            let Some(next) = found.next else { return Ok(()) };
            self.after = page.after.replace(next);
        }
    }
}

/// Passes on the messages before one that nobody here was sent: they were in the log when it went.
async fn missed(app: &App, sent: &MessageSent) -> Result<()> {
    let (id, newest) = (&sent.conversation_id, app.sockets.newest(&sent.conversation_id));
    if sent.seq <= Seq(newest).next() || app.sockets.size(id) == 0 {
        return Ok(());
    }
    let query = HistoryQuery {
        conversation: id.clone(),
        viewer: None,
        scope: HistoryScope::Everything,
        anchor: Anchor::Before(sent.seq),
        limit: MOST_MISSED,
    };
    let found = app.chat.ports().messages.history(&query).await?.messages;
    if newest > 0 && found.first().is_some_and(|first| first.seq > Seq(newest).next()) {
        cut_off(app);
        return Ok(());
    }
    // Where nothing was sent yet, everybody knows all but what was on its way.
    let since = Some(sent.timestamp.before(ON_ITS_WAY)).filter(|_| newest == 0);
    for message in found {
        let is_missed = message.seq > Seq(newest) && since.is_none_or(|since| message.created_at >= since);
        if is_missed && message.deleted.is_none() {
            flush(deliver::hold(app, &MessageSent::from(&message)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_new_once_as_long_as_it_is_remembered() {
        let id = |nth: usize| EventId::new(format!("event {nth}")).unwrap();
        let mut recent = Recent::default();
        assert!(recent.is_new(&id(0)) && !recent.is_new(&id(0)));
        assert!((1..REMEMBERED).all(|nth| recent.is_new(&id(nth))));
        assert!(!recent.is_new(&id(0)), "as many are remembered");
        assert!(recent.is_new(&id(REMEMBERED)) && recent.is_new(&id(0)), "and no more");
        assert_eq!((recent.ids.len(), recent.order.len()), (REMEMBERED, REMEMBERED));
    }
}
