//! How bytes get from one side to the other.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::beside::Beside;
use super::{Fault, Shared, Weather};

/// Where one connection is.
#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    answers: u64,
    /// The request whose answer is taken, by number, and what then.
    last: Option<(u64, Fault)>,
    beside: Beside,
}

/// What goes on its way at once, and how much of that counts.
#[derive(Debug, Default)]
struct Batch {
    bytes: Bytes,
    count: u64,
    counted_bytes: u64,
    /// What hit the one that follows, or the last of them.
    fault: Option<Fault>,
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.counts.lock().connections += 1;
        let connection = tokio::spawn(serve(client, Arc::clone(&shared)));
        let mut connections = shared.connections.lock();
        connections.retain(|connection| !connection.is_finished());
        connections.push(connection);
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    shared.clear().await;
    let Ok(mut server) = TcpStream::connect(&shared.server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let progress = Progress::default();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // An error is the end of one side.
    let _ = tokio::select! {
        ended = requests(&shared, &progress, from_client, to_server) => ended,
        ended = answers(&shared, &progress, from_server, to_client) => ended,
    };
    // The end is news too, and a hang keeps it back.
    shared.clear().await;
}

/// Client to server, until the client goes or a fault ends it.
async fn requests(
    shared: &Shared,
    progress: &Progress,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        shared.clear().await;
        let (batch, last_answer) = {
            let mut state = progress.state.lock();
            let batch = take_requests(shared, &mut state.beside, &mut buffer);
            if batch.count > 0 {
                let mut counts = shared.counts.lock();
                counts.turns += u64::from(state.answers >= state.requests);
                counts.requests += batch.count;
                counts.bytes_in += batch.counted_bytes;
            }
            state.requests += batch.count;
            if let Some(fault) = batch.fault.filter(|fault| *fault != Fault::CutBefore) {
                state.last = Some((state.requests, fault));
            }
            (batch, state.requests)
        };
        to.write_all(&batch.bytes).await?;
        match batch.fault {
            None => {}
            Some(Fault::CutBefore) => {
                while progress.state.lock().answers < last_answer {
                    progress.answered.notified().await;
                }
                shared.counts.lock().faults += 1;
                return Ok(());
            }
            // The answers' side ends it.
            Some(Fault::CutAfter | Fault::HangAfter) => return std::future::pending().await,
        }
    }
}

/// The whole requests in the buffer as one batch, up to the one a fault hits: with it if it is executed.
fn take_requests(shared: &Shared, beside: &mut Beside, buffer: &mut BytesMut) -> Batch {
    let mut batch = Batch::default();
    let mut end = 0;
    while let Some(length) = shared.protocol.frame(&buffer[end..]) {
        let request = &buffer[end..end + length];
        if !beside.sends(shared.protocol, request) {
            batch.fault = fault_for(shared, request);
            if batch.fault != Some(Fault::CutBefore) {
                batch.count += 1;
                batch.counted_bytes += length as u64;
            }
        }
        if batch.fault != Some(Fault::CutBefore) {
            end += length;
        }
        if batch.fault.is_some() {
            break;
        }
    }
    batch.bytes = buffer.split_to(end).freeze();
    batch
}

fn fault_for(shared: &Shared, request: &[u8]) -> Option<Fault> {
    let mut faults = shared.faults.lock();
    let hit = faults.iter_mut().position(|(which, _)| which.hits(request))?;
    Some(faults.remove(hit).1)
}

/// Server to client, until the server goes or a fault ends it.
async fn answers(
    shared: &Shared,
    progress: &Progress,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let batch = take_answers(shared, progress, &mut buffer);
        if !batch.bytes.is_empty() {
            shared.late().await;
            // Counted before the client can have it, so that whoever has an answer sees it counted.
            {
                let mut counts = shared.counts.lock();
                counts.answers += batch.count;
                counts.bytes_out += batch.counted_bytes;
            }
            progress.state.lock().answers += batch.count;
            to.write_all(&batch.bytes).await?;
            progress.answered.notify_one();
        }
        if let Some(fault) = batch.fault {
            shared.counts.lock().faults += 1;
            if fault == Fault::HangAfter {
                return std::future::pending().await;
            }
            return Ok(());
        }
    }
}

/// The whole answers in the buffer as one batch, up to the one that is taken.
fn take_answers(shared: &Shared, progress: &Progress, buffer: &mut BytesMut) -> Batch {
    let mut state = progress.state.lock();
    let mut batch = Batch::default();
    let mut end = 0;
    while let Some(length) = shared.protocol.frame(&buffer[end..]) {
        let answer = &buffer[end..end + length];
        let is_beside = state.beside.receives(shared.protocol, answer);
        let is_answer = !is_beside && !shared.protocol.is_push(answer);
        if let Some((last, fault)) = state.last
            && is_answer
            && state.answers + batch.count + 1 >= last
        {
            batch.fault = Some(fault);
            break;
        }
        end += length;
        batch.count += u64::from(is_answer);
        batch.counted_bytes += if is_beside { 0 } else { length as u64 };
    }
    drop(state);
    batch.bytes = buffer.split_to(end).freeze();
    batch
}

impl Shared {
    /// Waits while it hangs.
    async fn clear(&self) {
        let mut weather = self.weather.subscribe();
        let _ = weather.wait_for(|weather| *weather != Weather::Hung).await;
    }

    /// Waits while it hangs, and as long as it is slow.
    async fn late(&self) {
        let mut weather = self.weather.subscribe();
        loop {
            let now = *weather.borrow_and_update();
            match now {
                Weather::Fair => return,
                Weather::Hung => _ = weather.changed().await,
                Weather::Slow(time) => {
                    if tokio::time::timeout(time, weather.changed()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
