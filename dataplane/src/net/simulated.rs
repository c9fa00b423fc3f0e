//! A network inside one thread: connections are pieces of memory, and somebody else decides what connecting comes to.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Inner, Io};

/// Bytes under way in each direction.
const BUFFER: usize = 64 * 1024;

/// What a connect comes to.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Io>>>>;
type Network = Rc<dyn Fn(SocketAddr) -> Connecting>;

thread_local! {
    static NETWORK: RefCell<Option<Network>> = const { RefCell::new(None) };
}

/// The thread connects through a network as long as this lives.
pub struct Installed;

/// Connects of this thread go to `network` from now on.
pub fn install(network: impl Fn(SocketAddr) -> Connecting + 'static) -> Installed {
    NETWORK.set(Some(Rc::new(network)));
    Installed
}

impl Drop for Installed {
    fn drop(&mut self) {
        NETWORK.set(None);
    }
}

/// A connect, if this thread has such a network.
pub fn connect(address: SocketAddr) -> Option<Connecting> {
    let network = NETWORK.with_borrow(Clone::clone)?;
    Some(network(address))
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    stream: DuplexStream,
    /// Broken off by this end, by the other one.
    ours: Rc<Cell<bool>>,
    theirs: Rc<Cell<bool>>,
}

/// Two ends of one connection.
pub fn pair() -> (End, End) {
    let (near, far) = tokio::io::duplex(BUFFER);
    let (a, b) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    (
        End { stream: near, ours: Rc::clone(&a), theirs: Rc::clone(&b) },
        End { stream: far, ours: b, theirs: a },
    )
}

impl Inner for End {
    fn abort(&mut self) {
        self.ours.set(true);
    }
}

impl From<End> for Io {
    fn from(end: End) -> Self {
        Io::from(Box::new(end) as Box<dyn Inner>)
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() == before && self.theirs.get() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            read => read,
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
