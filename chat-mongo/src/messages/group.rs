//! [`Group`]: what several conversations write at the same time goes out together, as one command.
//!
//! Its documents are inserted in order, and none after the first that is refused. So the others of that conversation are not
//! there either, and what belongs to other conversations behind it is simply sent again.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, join_all, select};
use mongodb::Collection;
use mongodb::bson::RawDocumentBuf;
use mongodb::error::{Error as Said, ErrorKind};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The most documents of one command, and the most bytes; but for what is more by itself.
const MAX_DOCUMENTS: usize = 256;
const MAX_BYTES: usize = 1 << 20;

/// How many commands are under way at once. More of them are smaller, and cost more.
const MAX_WRITERS: usize = 2;

/// Why not all documents of a part are there.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// This one was refused, so those before it are there, and none behind it.
    Refused(usize, Said),
    /// It is not known which of them are there, if any.
    Failed(Said),
    /// Nobody will ever say.
    Lost,
}

impl From<Said> for Unwritten {
    fn from(said: Said) -> Self {
        match refused(&said) {
            Some(place) => Self::Refused(place, said),
            None => Self::Failed(said),
        }
    }
}

/// Which document a server refused, if it says no more than that.
fn refused(said: &Said) -> Option<usize> {
    let ErrorKind::InsertMany(errors) = said.kind.as_ref() else { return None };
    let refused = errors.write_errors.as_ref().and_then(|errors| errors.first());
    refused.filter(|_| errors.write_concern_error.is_none()).map(|refused| refused.index)
}

/// What one conversation writes.
#[derive(Debug)]
struct Part {
    documents: Vec<RawDocumentBuf>,
    bytes: usize,
    answer: oneshot::Sender<Result<(), Unwritten>>,
}

impl Part {
    fn answer(self, answer: Result<(), Unwritten>) {
        // Nobody waits any more.
        let _ = self.answer.send(answer);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    parts: VecDeque<Part>,
    writers: usize,
}

/// Parts that wait, at most one of each conversation, and who writes them.
#[derive(Debug, Default)]
pub(super) struct Group(Mutex<Waiting>);

/// A place among those who write, which passes on to somebody who writes what waits meanwhile.
struct Alone<'a> {
    group: &'a Arc<Group>,
    into: &'a Collection<RawDocumentBuf>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        match Handle::try_current() {
            Ok(runtime) if self.group.is_wanted() => {
                let writer = Writer { group: Arc::clone(self.group), into: self.into.clone(), done: false };
                runtime.spawn(writer.write());
            }
            Ok(_) => {}
            Err(_) => self.group.0.lock().writers -= 1,
        }
    }
}

/// Writes what waits, as long as there is any.
struct Writer {
    group: Arc<Group>,
    into: Collection<RawDocumentBuf>,
    done: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            // It was stopped in the middle.
            self.group.0.lock().writers -= 1;
        }
    }
}

impl Group {
    /// Inserts documents in order, together with those of others. Who goes away before they are on their way has not
    /// written them.
    pub(super) async fn insert(
        self: &Arc<Self>,
        into: &Collection<RawDocumentBuf>,
        documents: Vec<RawDocumentBuf>,
    ) -> Result<(), Unwritten> {
        match self.enter(documents) {
            Ok(answered) => answered.await.unwrap_or(Err(Unwritten::Lost)),
            Err(documents) => {
                let alone = Alone { group: self, into };
                Ok(alone.into.insert_many(documents).await.map(drop)?)
            }
        }
    }

    /// Queues documents up; gives them back, and a place among those who write, when there is one.
    fn enter(
        &self,
        documents: Vec<RawDocumentBuf>,
    ) -> Result<oneshot::Receiver<Result<(), Unwritten>>, Vec<RawDocumentBuf>> {
        let mut waiting = self.0.lock();
        if waiting.writers < MAX_WRITERS {
            waiting.writers += 1;
            return Err(documents);
        }
        let bytes = documents.iter().map(|document| document.as_bytes().len()).sum();
        let (answer, answered) = oneshot::channel();
        waiting.parts.push_back(Part { documents, bytes, answer });
        Ok(answered)
    }

    /// Whether anything waits; else one who writes is done.
    fn is_wanted(&self) -> bool {
        let mut waiting = self.0.lock();
        let is_wanted = !waiting.parts.is_empty();
        waiting.writers -= usize::from(!is_wanted);
        is_wanted
    }

    /// What goes out together next; `None` when nothing waits, and one who writes is done.
    fn next(&self) -> Option<Vec<Part>> {
        let mut waiting = self.0.lock();
        let (mut next, mut documents, mut bytes) = (Vec::new(), 0, 0);
        while let Some(part) = waiting.parts.pop_front() {
            if part.answer.is_closed() {
                continue;
            }
            documents += part.documents.len();
            bytes += part.bytes;
            if !next.is_empty() && (documents > MAX_DOCUMENTS || bytes > MAX_BYTES) {
                waiting.parts.push_front(part);
                break;
            }
            next.push(part);
        }
        if next.is_empty() {
            waiting.writers -= 1;
            return None;
        }
        Some(next)
    }

    /// Puts what was not tried where it was.
    fn put_back(&self, parts: Vec<Part>) {
        let mut waiting = self.0.lock();
        for part in parts.into_iter().rev() {
            waiting.parts.push_front(part);
        }
    }
}

impl Writer {
    async fn write(mut self) {
        while let Some(mut parts) = self.group.next() {
            let (mut documents, mut gone) = (Vec::new(), Vec::new());
            for part in &mut parts {
                documents.extend(&part.documents);
                gone.push(part.answer.closed());
            }
            let written = {
                let insert = pin!(self.into.insert_many(documents).into_future());
                match select(insert, join_all(gone)).await {
                    Either::Left((written, _)) => written.map(drop).map_err(Unwritten::from),
                    // No answer came in the time they had.
                    Either::Right(_) => continue,
                }
            };
            let back = settle(parts, written);
            self.group.put_back(back);
        }
        self.done = true;
    }
}

/// Answers what is decided, and gives back what was not tried.
fn settle(parts: Vec<Part>, written: Result<(), Unwritten>) -> Vec<Part> {
    let mut parts = parts.into_iter();
    match written {
        Ok(()) => parts.by_ref().for_each(|part| part.answer(Ok(()))),
        Err(Unwritten::Refused(mut place, said)) => {
            for part in parts.by_ref() {
                if let Some(behind) = place.checked_sub(part.documents.len()) {
                    part.answer(Ok(()));
                    place = behind;
                } else {
                    part.answer(Err(Unwritten::Refused(place, said)));
                    break;
                }
            }
        }
        Err(Unwritten::Failed(said)) => {
            parts.by_ref().for_each(|part| part.answer(Err(Unwritten::Failed(said.clone()))));
        }
        Err(Unwritten::Lost) => {}
    }
    parts.collect()
}
