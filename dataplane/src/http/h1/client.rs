//! One connection to an HTTP/1.1 server, on `hyper`'s client.
//!
//! Limits of it: trailers of a request reach the server only where the request's own `Trailer` field announced them, and
//! interim responses (1xx) are not passed on.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::tokens;
pub use super::upload::Outgoing;
use super::upload::{Content, Slot};
use super::{content_length, is_hop_by_hop};
use crate::error::{Error, Reason};
use crate::http::body::{Body, Frame, StreamError};
use crate::net::Io;

/// Bytes that hyper may buffer of one response, and with it the largest response head. Default of hyper: 408 KiB, which
/// a thousand slow clients would turn into 400 MiB.
const BUFFER: usize = 64 * 1024;

/// Fields of a response head; the default of our listeners for requests, twice.
const MAX_FIELDS: usize = 200;

/// Bytes of one read from the socket.
const READ: usize = 32 * 1024;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub struct Client {
    requests: SendRequest<Content>,
}

/// Speaks HTTP/1.1 on `io`. The connection lives in a task of this thread until both sides are done with it.
pub async fn handshake(io: Io) -> Result<Client, Error> {
    let (requests, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .max_headers(MAX_FIELDS)
        .handshake(Transport(io))
        .await
        .map_err(|error| Error::unprocessed(Reason::ConnectFailure).because(error))?;
    tokio::task::spawn_local(async move {
        // Whoever waits for the response gets the error.
        let _ = connection.await;
    });
    Ok(Client { requests })
}

impl Client {
    /// True while the connection may still carry requests, now or later.
    pub fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// True when a request may be sent now: the one before is over, its response read to the end. It is so as soon as the
    /// body gave its last frame.
    pub fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    /// Sends a request. Its URI is in the form in which requests come out of the server codecs; with `end` it has no
    /// content. The content's length is `length`, else what `Content-Length` says, else unknown.
    ///
    /// Dropping the future before the response breaks the connection off.
    pub fn send(&mut self, head: Request<()>, end: bool, length: Option<u64>) -> (ResponseFuture, Outgoing) {
        let is_head = head.method() == Method::HEAD;
        let slot = Rc::new(RefCell::new(Slot::default()));
        let prepared = prepare(head, end, length).map(|(head, left)| {
            slot.borrow_mut().left = left;
            slot.borrow_mut().ended = end;
            head.map(|()| Content(Rc::clone(&slot)))
        });
        let state = match prepared {
            Ok(request) => State::Sent(Box::pin(self.requests.try_send_request(request))),
            Err(error) => State::Refused(Some(error)),
        };
        (ResponseFuture { state, is_head }, Outgoing(slot))
    }
}

/// Brings a request head into the form that HTTP/1.1 has on the wire; returns it with the length of its content.
fn prepare(head: Request<()>, end: bool, length: Option<u64>) -> Result<(Request<()>, Option<u64>), Error> {
    let (mut parts, ()) = head.into_parts();
    let refused = |cause: &'static str| Error::unprocessed(Reason::Internal).because(cause);
    let length = match content_length(&parts.headers) {
        Ok(said) => length.or(said),
        Err(malformed) => return Err(refused(malformed.0)),
    };
    let uri = std::mem::take(&mut parts.uri).into_parts();
    let host = match &uri.authority {
        Some(authority) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| refused("the authority is not a field value"))?
        }
        None => HeaderValue::from_static(""),
    };
    let takes_trailers = parts.headers.contains_key(header::TE);
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.insert(header::HOST, host);
    if takes_trailers {
        // `TE` concerns one connection and must be named so (RFC 9110 section 10.1.4).
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    let left = match (end, length) {
        (true, None | Some(0)) => Some(0),
        (true, Some(_)) => return Err(refused("Content-Length of a request without content")),
        (false, Some(length)) => {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            Some(length)
        }
        (false, None) => {
            // hyper leaves the content of a GET away unless it is told so.
            parts
                .headers
                .insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            None
        }
    };
    parts.uri = match (&parts.method, uri.authority, uri.path_and_query) {
        (&Method::CONNECT, Some(authority), _) => Uri::from(authority),
        (_, _, Some(path)) => Uri::from(path),
        (_, _, None) => Uri::from(PathAndQuery::from_static("/")),
    };
    parts.version = Version::HTTP_11;
    Ok((Request::from_parts(parts, ()), left))
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| tokens(value.as_bytes()))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    for name in nominated {
        fields.remove(name);
    }
    let known: Vec<HeaderName> = fields.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in known {
        fields.remove(name);
    }
}

/// The response to come.
pub struct ResponseFuture {
    state: State,
    is_head: bool,
}

type Sent = dyn Future<Output = Result<Response<hyper::body::Incoming>, TrySendError<Request<Content>>>>;

enum State {
    Sent(Pin<Box<Sent>>),
    Refused(Option<Error>),
}

impl std::fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl Future for ResponseFuture {
    type Output = Result<(Response<()>, Body), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let is_head = self.is_head;
        match &mut self.state {
            State::Sent(sent) => Poll::Ready(match ready!(sent.as_mut().poll(cx)) {
                Ok(response) => receive(response, is_head),
                Err(error) => Err(send_error(error)),
            }),
            State::Refused(error) => Poll::Ready(Err(error
                .take()
                .unwrap_or_else(|| Error::new(Reason::Internal).because("polled after its end")))),
        }
    }
}

/// Checks what hyper lets pass and takes away what belongs to the connection.
fn receive(response: Response<hyper::body::Incoming>, is_head: bool) -> Result<(Response<()>, Body), Error> {
    let malformed = |cause: &'static str| Error::new(Reason::UpstreamProtocol).because(cause);
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(malformed("the endpoint switches protocols unasked"));
    }
    let length = content_length(&parts.headers).map_err(|error| malformed(error.0))?;
    if let Some(coding) = parts.headers.get(header::TRANSFER_ENCODING) {
        let once = parts.headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_none();
        if !once || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(malformed("Transfer-Encoding is not chunked"));
        }
        if length.is_some() {
            return Err(malformed("Content-Length beside Transfer-Encoding"));
        }
    }
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    remove_hop_by_hop(&mut parts.headers);
    let body = match is_head || body.is_end_stream() {
        true => Body::Empty,
        false => Body::H1Response(Incoming(body)),
    };
    Ok((Response::from_parts(parts, ()), body))
}

fn send_error(mut error: TrySendError<Request<Content>>) -> Error {
    let unsent = error.take_message().is_some();
    let error = error.into_error();
    if unsent {
        return Error::unprocessed(Reason::UpstreamReset).because(words(&error));
    }
    let reason = match () {
        () if error.is_parse() => Reason::UpstreamProtocol,
        () if error.is_user() => Reason::Internal,
        () => Reason::UpstreamReset,
    };
    Error::new(reason).because(words(&error))
}

/// What hyper says, with what it stands on.
fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The content of a response.
#[derive(Debug)]
pub struct Incoming(hyper::body::Incoming);

impl Incoming {
    /// The next frame; `None` after the last. A response that was cut is an error, never an end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
                    return Poll::Ready(Some(Err(StreamError::Closed(words(&error).into()))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(&error)))),
            };
            match frame.into_data().map_err(http_body::Frame::into_trailers) {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Err(Ok(trailers)) => return Poll::Ready(Some(Ok(Frame::Trailers(trailers)))),
                Err(Err(_)) => {}
            }
        }
    }

    /// True when it is known, without reading, that nothing more comes.
    pub fn is_end(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// hyper reports a broken chunk and a broken socket alike; the cause tells them apart.
fn broken(error: &hyper::Error) -> StreamError {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => StreamError::Malformed(words(error).into()),
        _ => StreamError::Closed(words(error).into()),
    }
}

/// Our socket as hyper's traits want it. A read lands on the stack and is copied, which spares an unsafe block.
struct Transport(Io);

impl hyper::rt::Read for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let n = buffer.remaining().min(READ);
        let mut read = ReadBuf::uninit(&mut space[..n]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}
