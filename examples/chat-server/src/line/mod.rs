//! The TCP side: every accepted connection is tuned, counted, and can be cut from outside.
//!
//! socketioxide has no way to end a socket whose peer does not read: its queue is full, so the packet that says goodbye
//! does not fit, and its writer waits inside the operating system. So every connection is a [`Line`] that can be cut:
//! reads and writes fail at once, and what hangs on them ends by itself.
//!
//! Nor has it a way to send without a queue and a task for each socket, which cost more than sending. So what is the same for
//! many sockets goes past the queue, whenever nothing is in it: the order of a socket's messages stays.

mod frames;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use frames::Frames;

/// A handle on one accepted connection.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    written: AtomicU64,
    reader: AtomicWaker,
    writer: AtomicWaker,
    out: Mutex<Out>,
}

/// The way out of a connection.
#[derive(Debug, Default)]
struct Out {
    /// None once it is closed.
    half: Option<OwnedWriteHalf>,
    /// What the library wrote.
    frames: Frames,
    /// What the operating system did not take of a frame that went past the queue. Nothing may come before it.
    rest: Bytes,
}

impl Line {
    fn new(half: OwnedWriteHalf) -> Self {
        let out = Out { half: Some(half), ..Out::default() };
        Self(Arc::new(State { out: Mutex::new(out), ..State::default() }))
    }

    /// Ends the connection: its reads and writes fail from now on.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    /// How many bytes of what went through the queue the operating system has taken over for the peer.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Hands a frame to the operating system, unless one of the `queued` messages that went into the queue so far is still in
    /// it, or the peer does not keep up. Says whether it did; never waits.
    pub(crate) fn pass(&self, queued: u64, frame: &Bytes) -> bool {
        let mut out = self.0.out.lock();
        let Out { half: Some(half), frames, rest } = &mut *out else { return false };
        if self.is_cut() || !rest.is_empty() || !frames.are_through(queued) {
            return false;
        }
        let Ok(taken) = half.try_write(frame) else { return false };
        *rest = frame.slice(taken..);
        if !rest.is_empty() {
            drop(out);
            // Which is always there to be woken, and sends the rest.
            self.0.reader.wake();
        }
        true
    }

    fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }

    fn check(&self, waker: &AtomicWaker, context: &Context<'_>) -> io::Result<()> {
        waker.register(context.waker());
        if self.is_cut() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Writes with `write`, once the rest of what went past the queue is gone; says what of it may be counted as written.
    fn write(
        &self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut OwnedWriteHalf>, &mut Context<'_>) -> Poll<io::Result<usize>>,
        see: impl FnOnce(&mut Frames, usize),
    ) -> Poll<io::Result<usize>> {
        self.check(&self.0.writer, context)?;
        let mut out = self.0.out.lock();
        ready!(out.finish(context))?;
        let Out { half: Some(half), frames, .. } = &mut *out else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let taken = ready!(write(Pin::new(half), context))?;
        see(frames, taken);
        self.0.written.fetch_add(taken as u64, Ordering::Relaxed);
        Poll::Ready(Ok(taken))
    }
}

impl Out {
    /// Writes what is left of a frame.
    fn finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let (Some(half), false) = (&mut self.half, self.rest.is_empty()) {
            let taken = ready!(Pin::new(half).poll_write(context, &self.rest))?;
            self.rest = self.rest.slice(taken..);
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether a packet is one of those that are counted: being let in, an event, an answer.
pub(crate) fn is_message(packet: &[u8]) -> bool {
    matches!(packet, [b'4', b'0' | b'2' | b'3', ..])
}

/// How a frame begins that is a text by itself.
const WHOLE_TEXT: u8 = 0x81;

/// A WebSocket's frame of text, as a server writes it.
pub(crate) fn frame(text: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(text.len() + 10);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(len @ ..126), _) => frame.extend([WHOLE_TEXT, len]),
        (_, Ok(len)) => {
            frame.extend([WHOLE_TEXT, 126]);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.extend([WHOLE_TEXT, 127]);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text);
    frame.into()
}

/// A listener whose connections carry a [`Line`].
///
/// Serve a router with `into_make_service_with_connect_info::<Line>()`, so that the gateway finds the line of a socket.
#[derive(Debug)]
pub struct Lines {
    listener: TcpListener,
    user_timeout: Duration,
}

impl Lines {
    /// Accepts from this listener. A peer whose system leaves bytes unacknowledged for `user_timeout` is given up, also
    /// one that lives but reads nothing any more.
    pub fn new(listener: TcpListener, user_timeout: Duration) -> Self {
        Self { listener, user_timeout }
    }
}

impl Listener for Lines {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        tune(&stream, self.user_timeout);
        let (stream, half) = stream.into_split();
        (Wire { stream, line: Line::new(half) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Small packets leave at once, and a peer that is gone or reads nothing is given up.
fn tune(stream: &TcpStream, user_timeout: Duration) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = socket.set_tcp_nodelay(true).and_then(|()| set_user_timeout(&socket, user_timeout)) {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}

#[cfg(target_os = "linux")]
fn set_user_timeout(socket: &socket2::Socket, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(user_timeout))
}

/// Elsewhere keep-alive finds peers that are gone.
#[cfg(not(target_os = "linux"))]
fn set_user_timeout(socket: &socket2::Socket, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(user_timeout))
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

/// An accepted connection.
#[derive(Debug)]
pub struct Wire {
    stream: OwnedReadHalf,
    line: Line,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Others may hold the line; the connection ends with this.
        if let Some(half) = std::mem::take(&mut *self.line.0.out.lock()).half {
            half.forget();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &self.line.0;
        self.line.check(&state.reader, context)?;
        {
            let mut out = state.out.lock();
            if !out.rest.is_empty() && out.finish(context)?.is_ready() {
                state.writer.wake();
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.line.write(
            context,
            |half, context| half.poll_write(context, bytes),
            |frames, taken| frames.see(bytes.get(..taken).unwrap_or_default()),
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.write(
            context,
            |half, context| half.poll_write_vectored(context, slices),
            |frames, taken| {
                let mut left = taken;
                for slice in slices {
                    let here = left.min(slice.len());
                    frames.see(slice.get(..here).unwrap_or_default());
                    left -= here;
                }
            },
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check(&self.line.0.writer, context)?;
        self.line.0.out.lock().finish(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.line.0.out.lock();
        ready!(out.finish(context))?;
        match &mut out.half {
            Some(half) => Pin::new(half).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}
