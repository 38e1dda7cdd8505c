//! What many ask for at the same time goes in one write.
//!
//! Redis spends more on reading a packet than on a small command in it, and so does the client on writing one. While
//! answers are awaited, whoever asks first lets everybody else who is about to ask do so, and sends it all; who is alone
//! asks at once.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// A connection on which commands are collected.
#[derive(Clone)]
pub(super) struct Together(Arc<Inner>);

struct Inner {
    connection: MultiplexedConnection,
    /// How many wait for an answer.
    waiting: AtomicUsize,
    /// What goes along with whoever is collecting; none while nobody is.
    along: Mutex<Option<Vec<Asked>>>,
}

/// A command, and who waits for its answer.
struct Asked {
    cmd: Cmd,
    waits: oneshot::Sender<RedisResult<Value>>,
}

impl Together {
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        Self(Arc::new(Inner { connection, waiting: AtomicUsize::new(0), along: Mutex::new(None) }))
    }

    /// Sends one command.
    pub(super) async fn send(&self, cmd: &Cmd) -> RedisResult<Value> {
        let waiting = Waiting(&self.0.waiting);
        if waiting.0.fetch_add(1, Relaxed) == 0 {
            return self.alone(cmd).await;
        }
        let answer = match &mut *self.0.along.lock() {
            Some(along) => {
                let (asked, answer) = ask(cmd);
                along.push(asked);
                Some(answer)
            }
            nobody => {
                *nobody = Some(Vec::new());
                None
            }
        };
        if let Some(answer) = answer {
            return answer.await.unwrap_or_else(|_| Err(gone()));
        }
        let collecting = Collecting(self);
        yield_now().await;
        let mut along = collecting.end();
        if along.is_empty() {
            return self.alone(cmd).await;
        }
        let (asked, answer) = ask(cmd);
        along.push(asked);
        self.pass(along);
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn alone(&self, cmd: &Cmd) -> RedisResult<Value> {
        self.0.connection.clone().send_packed_command(cmd).await
    }

    /// Sends commands in one write, but for those whose answer nobody waits for any more. A task of its own: nobody loses an answer because another gave up.
    fn pass(&self, mut asked: Vec<Asked>) {
        asked.retain(|asked| !asked.waits.is_closed());
        // Where no runtime is left nobody waits.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut connection = self.0.connection.clone();
        runtime.spawn(async move {
            let count = asked.len();
            let mut pipeline = Pipeline::with_capacity(count);
            let waits: Vec<_> = asked
                .into_iter()
                .map(|Asked { cmd, waits }| {
                    pipeline.add_command(cmd);
                    waits
                })
                .collect();
            match connection.send_packed_commands(&pipeline, 0, count).await {
                Ok(answers) => {
                    for (waits, answer) in waits.into_iter().zip(answers) {
                        let _ = waits.send(Ok(answer));
                    }
                }
                Err(error) => {
                    for waits in waits {
                        let _ = waits.send(Err(error.clone()));
                    }
                }
            }
        });
    }
}

/// Somebody who waits, until it has its answer or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Whoever collects; when it gives up, what came along is sent all the same.
struct Collecting<'a>(&'a Together);

impl Collecting<'_> {
    fn end(self) -> Vec<Asked> {
        let along = self.take();
        mem::forget(self);
        along
    }

    fn take(&self) -> Vec<Asked> {
        self.0.0.along.lock().take().unwrap_or_default()
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        let along = self.take();
        if !along.is_empty() {
            self.0.pass(along);
        }
    }
}

fn ask(cmd: &Cmd) -> (Asked, oneshot::Receiver<RedisResult<Value>>) {
    let (waits, answer) = oneshot::channel();
    (Asked { cmd: cmd.clone(), waits }, answer)
}

/// The task that sends has ended with its runtime.
fn gone() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}
