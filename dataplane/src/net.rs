//! Sockets: the only module that opens them. It is also the only one with what the compiler cannot check.

#[cfg(test)]
pub mod simulated;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
#[cfg(feature = "python")]
use std::os::fd::{BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait for `accept`; the kernel caps it at `net.core.somaxconn` (4096 on Linux).
const BACKLOG: i32 = 4096;
/// Bytes that the kernel takes of us before it has sent those it has (TCP_NOTSENT_LOWAT). Without a bound it takes
/// megabytes (the third figure of `net.ipv4.tcp_wmem`) for a reader that does not read. What is under way comes on top,
/// so a fast reader loses nothing: 128 KiB is what two of our writes hold.
const UNSENT: u32 = 128 * 1024;
/// "Bad file descriptor" on every Unix.
#[cfg(feature = "python")]
const EBADF: i32 = 9;

/// Descriptors that clients do not get: with them those who are there are served, by new connections to endpoints too, and
/// the admin address answers. Of a process with few it is a quarter.
const RESERVED: u32 = 64;
/// A descriptor of this number or above is one of those; the limit is the process's, and so is this.
static RESERVE: AtomicU32 = AtomicU32::new(u32::MAX);

/// Keeps some of so many descriptors in reserve; 0: their number is not known.
pub fn reserve(descriptors: u32) {
    let first = descriptors - RESERVED.min(descriptors / 4);
    RESERVE.store(if descriptors == 0 { u32::MAX } else { first }, Ordering::Relaxed);
}

/// How many descriptors clients may have; 0: not known.
pub fn for_clients() -> u32 {
    match RESERVE.load(Ordering::Relaxed) {
        u32::MAX => 0,
        first => first,
    }
}

/// True when this connection has taken a descriptor of the reserve: the kernel gives the lowest that is free.
pub fn is_of_reserve(stream: &TcpStream) -> bool {
    u32::try_from(stream.as_raw_fd()).is_ok_and(|number| number >= RESERVE.load(Ordering::Relaxed))
}

/// Opens a listening socket that shares its port with the other workers'.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// True when somebody else already listens on `address`. Sockets with SO_REUSEPORT would share the port with another
/// program of the same user in silence.
pub fn taken(address: SocketAddr) -> io::Result<bool> {
    if address.port() == 0 {
        return Ok(false);
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    match socket.bind(&address.into()) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
        Err(error) => Err(error),
    }
}

/// Duplicates a descriptor that somebody else owns and keeps.
#[cfg(feature = "python")]
pub fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(EBADF));
    }
    #[allow(
        unsafe_code,
        reason = "the standard library has no checked way from a number to a descriptor"
    )]
    // SAFETY: the number is not -1, and it is only borrowed for the call below, which fails cleanly with EBADF when
    // nothing is open under it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned()
}

/// Gives back to the system what this thread has freed and the allocator has kept for its next use.
pub fn purge() {
    #[allow(
        unsafe_code,
        reason = "the crate of the allocator has no checked way to what its library can do"
    )]
    // SAFETY: the signature is that of mimalloc.h, and any thread may call the function at any time: what is in use it
    // leaves where it is. <https://microsoft.github.io/mimalloc/group__extended.html>
    unsafe extern "C" {
        safe fn mi_collect(force: bool);
    }
    mi_collect(true);
}

/// Takes over a listening socket that another process opened.
pub fn adopt(descriptor: OwnedFd) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    prepare(&SockRef::from(&listener))?;
    Ok(listener)
}

/// Registers a listening socket with this thread's runtime.
pub fn register(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}

/// Connects to an endpoint.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    #[allow(clippy::disallowed_methods, reason = "this is the module that may")]
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    prepare(&SockRef::from(&stream))?;
    Ok(stream)
}

/// Connects to an endpoint in cleartext.
pub async fn open(address: SocketAddr) -> io::Result<Io> {
    #[cfg(test)]
    if let Some(connecting) = simulated::connect(address) {
        return connecting.await;
    }
    connect(address).await.map(Io::from)
}

/// Options of every connection; one that is accepted inherits them from the socket that listens.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

/// Finds out that a peer has gone without a word, also where HTTP has no way to ask: after a minute of silence, three
/// times in half a minute.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(3)
}

/// A stream of bytes inside another connection, such as the tunnel that one HTTP/2 stream carries.
pub trait Inner: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug {
    /// Makes its end look like no clean one.
    fn abort(&mut self);
}

/// A connected byte stream, cleartext or TLS or inside another connection, with the bytes that were read ahead of it.
#[derive(Debug)]
pub struct Io {
    ahead: Bytes,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    TlsServer(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    TlsClient(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Inner(Box<dyn Inner>),
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Io { ahead: Bytes::new(), kind: Kind::Tcp(stream) }
    }
}

impl From<tokio_rustls::server::TlsStream<TcpStream>> for Io {
    fn from(stream: tokio_rustls::server::TlsStream<TcpStream>) -> Self {
        Io { ahead: Bytes::new(), kind: Kind::TlsServer(Box::new(stream)) }
    }
}

impl From<tokio_rustls::client::TlsStream<TcpStream>> for Io {
    fn from(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Self {
        Io { ahead: Bytes::new(), kind: Kind::TlsClient(Box::new(stream)) }
    }
}

impl From<Box<dyn Inner>> for Io {
    fn from(stream: Box<dyn Inner>) -> Self {
        Io { ahead: Bytes::new(), kind: Kind::Inner(stream) }
    }
}

impl Io {
    /// Puts back bytes that were read; the next read returns them first.
    pub fn unread(&mut self, bytes: Bytes) {
        self.ahead = match self.ahead.is_empty() {
            true => bytes,
            false => [bytes, std::mem::take(&mut self.ahead)].concat().into(),
        };
    }

    /// What was read ahead or put back.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Does TLS protect it?
    pub fn is_tls(&self) -> bool {
        matches!(self.kind, Kind::TlsServer(_) | Kind::TlsClient(_))
    }

    /// Waits until it is broken: reset by the peer, or given up by the keepalive. Unlike a read it can wait when the
    /// peer's sending half is closed already. The socket stays open as long as the future lives. Fails without a
    /// descriptor to spare, and for what is no socket.
    pub fn broken(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let stream = match &self.kind {
            Kind::Tcp(stream) => stream,
            Kind::TlsServer(stream) => stream.get_ref().0,
            Kind::TlsClient(stream) => stream.get_ref().0,
            Kind::Inner(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let twin = TcpStream::from_std(SockRef::from(stream).try_clone()?.into())?;
        Ok(async move {
            // Fails only where the runtime ends.
            let _broken = twin.ready(Interest::ERROR).await;
        })
    }

    /// Makes closing it send RST, so that what was cut cannot be taken for complete.
    pub fn abort_on_close(&mut self) {
        let stream = match &mut self.kind {
            Kind::Tcp(stream) => stream,
            Kind::TlsServer(stream) => stream.get_ref().0,
            Kind::TlsClient(stream) => stream.get_ref().0,
            Kind::Inner(stream) => return stream.abort(),
        };
        // Where it fails the socket is already broken.
        let _broken = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..n]);
            self.ahead.advance(n);
            return Poll::Ready(Ok(()));
        }
        match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::TlsServer(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::TlsClient(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Inner(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::TlsServer(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::TlsClient(stream) => Pin::new(stream).poll_write(cx, bytes),
            Kind::Inner(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::TlsServer(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::TlsClient(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Inner(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(stream) => stream.is_write_vectored(),
            Kind::TlsServer(stream) => stream.is_write_vectored(),
            Kind::TlsClient(stream) => stream.is_write_vectored(),
            Kind::Inner(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Kind::TlsServer(stream) => Pin::new(stream).poll_flush(cx),
            Kind::TlsClient(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Inner(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::TlsServer(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::TlsClient(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Inner(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
