//! The TCP side: every accepted connection is tuned, counted, and can be cut from outside.
//!
//! socketioxide has no way to end a socket whose peer does not read: its queue is full, so the packet that says goodbye
//! does not fit, and its writer waits inside the operating system. So every connection is a [`Line`] that can be cut:
//! reads and writes fail at once, and what hangs on them ends by itself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A handle on one accepted connection.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    written: AtomicU64,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Line {
    /// Ends the connection: its reads and writes fail from now on.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    /// How many bytes the operating system has taken over for the peer.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    fn check(&self, waker: &AtomicWaker, context: &Context<'_>) -> io::Result<()> {
        waker.register(context.waker());
        if self.0.cut.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn count(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &outcome {
            self.0.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        outcome
    }
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
        (Wire { stream, line: Line::default() }, address)
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
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.line.check(&self.line.0.reader, context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.check(&self.line.0.writer, context)?;
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.line.count(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.check(&self.line.0.writer, context)?;
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.line.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check(&self.line.0.writer, context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
