//! Unread counts for a user's own devices, when anything but a new message changes them.
//!
//! Counting asks the stores, so it happens beside the fan-out and never holds it up. A count that includes a message is
//! told only after that message was, because clients add one for each new message themselves.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chat_core::domain::{Actor, ConversationId, Seq, Unread, UserId};
use chat_core::error::{Code, Result};
use chat_core::store::MessageStoreExt;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, watch};

use crate::app::{App, Phase};
use crate::gateway::conn::Frame;

/// How many are counted at once.
const AT_ONCE: usize = 8;
/// How often a count that changes under one's hands is taken again.
const ATTEMPTS: usize = 5;
/// For how long a count waits for the messages in it to be told.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(2);

/// A count to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Badge {
    /// To whom.
    pub(crate) user: UserId,
    /// Where.
    pub(crate) conversation: ConversationId,
    /// Only if anything is unread there.
    pub(crate) if_any: bool,
}

/// The counts to be told: each once, however often it is asked for meanwhile, so there are never more than users have
/// conversations here.
#[derive(Debug, Default)]
pub(crate) struct Badges {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Badge>,
    known: HashSet<Badge>,
}

impl Badges {
    /// Asks for a count to be told.
    pub(crate) fn want(&self, badge: Badge) {
        let mut waiting = self.waiting.lock();
        if waiting.known.insert(badge.clone()) {
            waiting.order.push_back(badge);
            drop(waiting);
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Vec<Badge> {
        let mut waiting = self.waiting.lock();
        waiting.known.clear();
        waiting.order.drain(..).collect()
    }
}

/// Tells counts until the server closes.
pub(crate) async fn run(app: Arc<App>, mut phases: watch::Receiver<Phase>) {
    loop {
        tokio::select! {
            () = app.badges.wake.notified() => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Closing) => return,
        }
        let tell = |badge: Badge| {
            let app = &app;
            async move {
                match tell(app, &badge).await {
                    // Out of the conversation meanwhile.
                    Err(error) if error.code() == Code::Forbidden => {}
                    Err(error) => tracing::warn!(code = %error.code(), "an unread count could not be told"),
                    Ok(()) => {}
                }
            }
        };
        futures::stream::iter(app.badges.take()).for_each_concurrent(AT_ONCE, tell).await;
    }
}

async fn tell(app: &App, badge: &Badge) -> Result<()> {
    if !app.sockets.has(&badge.user) {
        return Ok(());
    }
    let (unread, total, head) = count(app, badge).await?;
    if badge.if_any && unread.messages == 0 {
        return Ok(());
    }
    told_up_to(app, &badge.conversation, head).await;
    let payload = json!({
        "conversationId": badge.conversation,
        "unreadCount": unread.messages,
        "mentions": unread.mentions,
        "totalUnread": total.messages,
    });
    if let Some(frame) = Frame::new("unread", &payload) {
        app.sockets.send_user(&badge.user, &frame);
    }
    Ok(())
}

/// What is unread, and up to which message that was counted.
async fn count(app: &App, badge: &Badge) -> Result<(Unread, Unread, Seq)> {
    let (chat, actor) = (&app.chat, Actor::user(badge.user.clone()));
    let messages = &chat.ports().messages;
    let mut before = messages.head(&badge.conversation).await?;
    for attempt in 1.. {
        let unread = chat.unread(&actor, &badge.conversation).await?;
        let total = chat.total_unread(&actor).await?;
        let after = messages.head(&badge.conversation).await?;
        if before == after || attempt == ATTEMPTS {
            return Ok((unread, total, after));
        }
        before = after;
    }
    Ok((Unread::default(), Unread::default(), before))
}

/// Waits until the sockets here were told of the messages up to `head`, if any of them are being told of any.
async fn told_up_to(app: &App, conversation: &ConversationId, head: Seq) {
    let told = async {
        loop {
            let newest = app.sockets.newest(conversation);
            if newest == 0 || newest >= head.0 {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
    };
    // Late is better than never.
    let _ = tokio::time::timeout(PATIENCE, told).await;
}
