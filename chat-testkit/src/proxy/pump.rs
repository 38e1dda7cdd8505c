//! How bytes get from one side to the other.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

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
        let (batch, count, fault) = take_requests(shared, &mut buffer);
        let last_answer = {
            let mut state = progress.state.lock();
            if count > 0 {
                let mut counts = shared.counts.lock();
                counts.turns += u64::from(state.answers >= state.requests);
                counts.requests += count;
                counts.bytes_in += batch.len() as u64;
            }
            state.requests += count;
            if let Some(fault) = fault.filter(|fault| *fault != Fault::CutBefore) {
                state.last = Some((state.requests, fault));
            }
            state.requests
        };
        to.write_all(&batch).await?;
        match fault {
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
fn take_requests(shared: &Shared, buffer: &mut BytesMut) -> (Bytes, u64, Option<Fault>) {
    let (mut length, mut count) = (0, 0);
    while let Some(frame) = shared.protocol.frame(&buffer[length..]) {
        let fault = fault_for(shared, &buffer[length..length + frame.length]);
        if fault != Some(Fault::CutBefore) {
            length += frame.length;
            count += 1;
        }
        if fault.is_some() {
            return (buffer.split_to(length).freeze(), count, fault);
        }
    }
    (buffer.split_to(length).freeze(), count, None)
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
        let (batch, count, fault) = take_answers(shared, progress, &mut buffer);
        if !batch.is_empty() {
            shared.late().await;
            // Counted before the client can have it, so that whoever has an answer sees it counted.
            {
                let mut counts = shared.counts.lock();
                counts.answers += count;
                counts.bytes_out += batch.len() as u64;
            }
            progress.state.lock().answers += count;
            to.write_all(&batch).await?;
            progress.answered.notify_one();
        }
        if let Some(fault) = fault {
            shared.counts.lock().faults += 1;
            if fault == Fault::HangAfter {
                return std::future::pending().await;
            }
            return Ok(());
        }
    }
}

/// The whole answers in the buffer as one batch, up to the one that is taken.
fn take_answers(shared: &Shared, progress: &Progress, buffer: &mut BytesMut) -> (Bytes, u64, Option<Fault>) {
    let state = progress.state.lock();
    let (mut length, mut count) = (0, 0);
    while let Some(frame) = shared.protocol.frame(&buffer[length..]) {
        let number = state.answers + count + u64::from(frame.is_answer);
        if let Some((last, fault)) = state.last
            && frame.is_answer
            && number >= last
        {
            return (buffer.split_to(length).freeze(), count, Some(fault));
        }
        length += frame.length;
        count += u64::from(frame.is_answer);
    }
    (buffer.split_to(length).freeze(), count, None)
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
