//! One WebSocket that was let in: what comes is passed on as it comes, and pings are answered.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, Waker};

use anyhow::{Context, Result, bail};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::frame::{self, Packet};

type Wire = WebSocketStream<TcpStream>;

/// Whoever hears what sockets hear.
pub(crate) trait Ear {
    /// A packet came to the socket with this number; so many bytes.
    fn hear(&self, socket: usize, packet: Packet<'_>, bytes: usize);
    /// A socket ended, although nobody asked it to.
    fn lost(&self, socket: usize);
}

/// A socket. It ends when this is dropped.
pub(crate) struct Socket {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    out: RefCell<VecDeque<String>>,
    waker: RefCell<Option<Waker>>,
    over: Cell<bool>,
}

impl Shared {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Socket {
    /// Connects, signs in, and waits until it is let in.
    ///
    /// # Errors
    /// Of the connection; when it is not let in.
    pub(crate) async fn open(address: SocketAddr, token: &str) -> Result<Opened> {
        let stream = TcpStream::connect(address).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024).write_buffer_size(1024);
        let (mut wire, _) =
            client_async_with_config(url, stream, Some(config)).await.context("no WebSocket")?;
        loop {
            let message = wire.next().await.context("the server hung up")??;
            let Message::Text(text) = message else { continue };
            match Packet::read(&text) {
                Packet::Open => wire.send(Message::text(frame::enter(token))).await?,
                Packet::Ping => wire.send(Message::text("3")).await?,
                Packet::In => return Ok(Opened(wire)),
                Packet::Refused(why) => bail!("not let in: {why}"),
                _ => {}
            }
        }
    }

    /// Sends a packet, as soon as the runtime comes to it.
    pub(crate) fn send(&self, text: String) {
        self.shared.out.borrow_mut().push_back(text);
        self.shared.wake();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared.over.set(true);
        self.shared.wake();
    }
}

/// A socket that was let in and that nobody listens to yet.
pub(crate) struct Opened(Wire);

impl Opened {
    /// From now on `ear` hears what comes.
    pub(crate) fn listen<E: Ear + 'static>(self, number: usize, ear: Rc<E>) -> Socket {
        let shared = Rc::new(Shared::default());
        let (mut wire, of_task) = (self.0, Rc::clone(&shared));
        tokio::task::spawn_local(async move {
            poll_fn(|poller| poll(&mut wire, &of_task, number, ear.as_ref(), poller)).await;
            if !of_task.over.get() {
                ear.lost(number);
            }
        });
        Socket { shared }
    }
}

/// Writes what waits, reads what there is; done when either side has ended.
fn poll(wire: &mut Wire, shared: &Shared, number: usize, ear: &dyn Ear, poller: &mut Poller<'_>) -> Poll<()> {
    *shared.waker.borrow_mut() = Some(poller.waker().clone());
    loop {
        if shared.over.get() {
            return Poll::Ready(());
        }
        if write(wire, shared, poller).is_err() {
            return Poll::Ready(());
        }
        match Pin::new(&mut *wire).poll_next(poller) {
            Poll::Pending if shared.out.borrow().is_empty() => return Poll::Pending,
            Poll::Pending => {}
            Poll::Ready(Some(Ok(Message::Text(text)))) => match Packet::read(&text) {
                Packet::Ping => shared.out.borrow_mut().push_back("3".to_owned()),
                packet => ear.hear(number, packet, text.len()),
            },
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
        }
    }
}

fn write(wire: &mut Wire, shared: &Shared, poller: &mut Poller<'_>) -> Result<()> {
    let mut wrote = false;
    while !shared.out.borrow().is_empty() {
        match Pin::new(&mut *wire).poll_ready(poller) {
            Poll::Pending => return Ok(()),
            Poll::Ready(ready) => ready?,
        }
        if let Some(text) = shared.out.borrow_mut().pop_front() {
            Pin::new(&mut *wire).start_send(Message::text(text))?;
            wrote = true;
        }
    }
    if wrote && let Poll::Ready(flushed) = Pin::new(&mut *wire).poll_flush(poller) {
        flushed?;
    }
    Ok(())
}
