//! [`Turns`]: transactions of one conversation would only be in each other's way, so those of one node take turns.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use tokio::sync::Mutex as AsyncMutex;

/// Turns, each of a few conversations. Whoever waits longest is next.
#[derive(Debug, Default)]
pub(crate) struct Turns([AsyncMutex<()>; 32]);

impl Turns {
    pub(crate) fn of(&self, conversation: &str) -> &AsyncMutex<()> {
        let Self([first, others @ ..]) = self;
        let nth = BuildHasherDefault::<DefaultHasher>::default().hash_one(conversation) % 32;
        usize::try_from(nth).ok().and_then(|nth| others.get(nth)).unwrap_or(first)
    }
}

/// Runs `$body` in a transaction of `$session` when it is its turn, again while others are in the way; within an operation.
macro_rules! in_turn {
    ($store:expr, $conversation:expr, |$session:ident| $body:expr) => {{
        let _turn = $store.turns.of($conversation).lock().await;
        let mut attempts = $store.db.attempts();
        loop {
            let mut session = attempts.begin().await?;
            let outcome = {
                let $session = &mut session;
                $body.await
            };
            match attempts.end(session, outcome).await {
                Ok(Some(done)) => break Ok(done),
                Ok(None) => {}
                Err(trouble) => break Err(trouble),
            }
        }
    }};
}
pub(super) use in_turn;
