//! The request as it goes on: its head rewritten for the next hop, its content replayable as long as no response began.

mod decoded;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, Entry};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};

use crate::authenticate::identified::{Identified, without_credentials};
use crate::clock;
use crate::deadline::Deadline;
use crate::error::{Error, Reason};
use crate::http::body::{Body, ResetCode, Sink, StreamError};
use crate::http::check;
use crate::http::claims;
use crate::http::coding;
use crate::http::grpc;
use crate::http::grpc_web::{self, Translation};
use crate::http::pump::{Broken, Observe, Pump};
use crate::http::stall::Stall;
use crate::http::upgrade::Upgrade;
use crate::pressure::Held;
use crate::route::facts::{Facts, Known};
use crate::route::headers::modify;
use crate::route::named::{modify_cookies, modify_query};
use crate::route::rewrite;
use crate::snapshot::model::{Destination, Route};
use crate::telemetry::propagation::never_index;
use crate::telemetry::record::{Record, X_REQUEST_ID};
use crate::telemetry::tracestate;

/// Content that is kept for another try. A larger request is sent once; 64 KiB covers most unary calls.
const MAX_REPLAY: usize = 64 * 1024;
/// Content that the requests of one worker may keep together: 256 of the largest.
const MAX_REPLAYS: usize = 256 * MAX_REPLAY;

thread_local! {
    /// What the requests of this worker keep.
    static REPLAYS: Cell<usize> = const { Cell::new(0) };
}
/// How long an upload may stand still after its answer; nginx's lingering_timeout is 5 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Milliseconds that are left for a request, as Envoys tell each other.
const X_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The time that the caller gives, as `grpc-timeout` or as Envoy tells it; the shorter where both are there.
pub fn asked(headers: &HeaderMap) -> Option<Duration> {
    let field = headers.get(X_TIMEOUT).and_then(|field| field.to_str().ok());
    let millis = field
        .and_then(|text| text.parse::<u32>().ok())
        .filter(|millis| *millis > 0);
    let told = millis.map(|millis| Duration::from_millis(millis.into()));
    match (grpc::timeout(headers), told) {
        (Some(call), Some(told)) => Some(call.min(told)),
        (call, told) => call.or(told),
    }
}

/// Tells the next hop what is left, in the words in which the caller did; a call has it in gRPC's, too.
fn tell_left(headers: &mut HeaderMap, left: Duration) {
    let is_told = headers.contains_key(X_TIMEOUT);
    if is_told {
        // Rounded up: 0 would be no limit.
        let millis = left.as_nanos().div_ceil(1_000_000).max(1) as u64;
        let mut value = HeaderValue::from(millis);
        never_index(&mut value);
        headers.insert(X_TIMEOUT, value);
    }
    if headers.contains_key(grpc::GRPC_TIMEOUT) || is_told && grpc::is_grpc(headers) {
        let mut value = grpc::format_timeout(left);
        never_index(&mut value);
        headers.insert(grpc::GRPC_TIMEOUT, value);
    }
}

/// One sending of a request.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The route that takes it.
    pub route: &'a Route,
    /// Who has sent it; `None`: nobody was asked.
    pub caller: Option<&'a Identified>,
    /// The one of the route's that was picked.
    pub destination: &'a Destination,
    /// TLS protects the connection to the endpoint.
    pub is_tls: bool,
    /// Until the deadline; `None`: there is none.
    pub left: Option<Duration>,
    /// Which try it is; `None`: a copy, which is never tried again.
    pub tries_before: Option<usize>,
}

/// What is known of a request of this route.
pub fn facts<'a>(parts: &'a Parts, route: &'a Route, caller: Option<&'a Identified>, record: &'a Record) -> Facts<'a> {
    Facts {
        parts,
        client: record.client_address(),
        peer: record.peer(),
        known: caller.map(|caller| caller as &dyn Known),
        request_id: record.request_id(),
        route: &route.name,
    }
}

/// The head for one sending: path rewritten, fields changed, trace context and remaining time brought up to date.
pub fn request(
    parts: &Parts,
    sending: &Sending<'_>,
    record: &Record,
    web: Option<&Translation>,
) -> Result<Request<()>, Error> {
    let Sending { route, caller, destination, is_tls, left, tries_before } = *sending;
    let facts = facts(parts, route, caller, record);
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(parts, route, is_tls, &facts)?;
    *request.headers_mut() = parts.headers.clone();
    if let Some(upgrade) = parts.extensions.get::<Upgrade>() {
        request.extensions_mut().insert(upgrade.clone());
    }
    let headers = request.headers_mut();
    if let (Some(caller), Some(asked)) = (caller, &route.authentication) {
        caller.apply(asked, headers);
    }
    if decoded::is_asked(route, headers) {
        coding::forget(headers);
    }
    modify_cookies(&route.cookies, headers, &facts);
    modify(&destination.request_headers, headers, &facts);
    record.inject(headers);
    match tries_before {
        // Whoever tries the request again has another copy made: below, this one stands for itself.
        None => tracestate::forget(headers),
        Some(_) if route.retry.repeats(record.is_call()) => tracestate::mark_retried(headers),
        Some(_) => {}
    }
    match headers.entry(X_REQUEST_ID) {
        Entry::Occupied(mut given) => never_index(given.get_mut()),
        Entry::Vacant(none) => {
            none.insert(record.request_id().header_value());
        }
    }
    if let Some(left) = left {
        tell_left(headers, left);
    }
    if let Some(tries) = tries_before.filter(|tries| *tries > 0)
        && grpc::is_grpc(headers)
    {
        grpc::add_previous_attempts(headers, tries);
    }
    if let Some(web) = web {
        web.request(headers);
    }
    Ok(request)
}

fn uri(parts: &Parts, route: &Route, is_tls: bool, facts: &Facts<'_>) -> Result<Uri, Error> {
    let mut uri = parts.uri.clone().into_parts();
    uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority.get_or_insert(Authority::from_static("localhost"));
    let sent = uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    if let Some(asked) = &route.authentication
        && let Some(target) = without_credentials(asked, sent)
    {
        *sent = target;
    }
    let unwritable = |error| Error::new(Reason::BadRequest).because(error);
    let host = rewrite::host(route, sent.path()).map_err(unwritable)?;
    if let Some(rewritten) = rewrite::path(route, sent).map_err(unwritable)? {
        *sent = rewritten;
    }
    let wrong = |error| Error::new(Reason::BadRequest).because(format_args!("rewrite: {error}"));
    if let Some(changed) = modify_query(&route.query, sent, facts).map_err(wrong)? {
        *sent = changed;
    }
    uri.authority = host.or(uri.authority);
    Uri::from_parts(uri).map_err(|error| Error::new(Reason::BadRequest).because(error))
}

/// The request's content on its way to one endpoint after the other.
#[derive(Debug)]
pub struct Upload {
    pump: Pump,
    kept: Kept,
    is_empty: bool,
    /// An end broke; what the endpoint makes of it shows in its response.
    stopped: bool,
    /// None: it may stand still as long as it likes.
    stall: Option<Stall>,
    held: Held,
}

/// What was taken from the caller, for another try: a copy, for a piece of what was read holds all that was read with it.
#[derive(Debug, Default)]
struct Kept {
    data: Vec<u8>,
    lost: bool,
}

impl Kept {
    fn take(&mut self) -> Bytes {
        REPLAYS.set(REPLAYS.get() - self.data.len());
        self.lost = true;
        std::mem::take(&mut self.data).into()
    }

    fn lose(&mut self) {
        self.lost = true;
        if !self.data.is_empty() {
            REPLAYS.set(REPLAYS.get() - self.data.len());
            self.data = Vec::new();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.lose();
    }
}

impl Observe for Kept {
    fn data(&mut self, data: &Bytes) {
        if self.lost {
            return;
        }
        let replays = REPLAYS.get() + data.len();
        if self.data.len() + data.len() > MAX_REPLAY || replays > MAX_REPLAYS {
            self.lose();
        } else {
            REPLAYS.set(replays);
            self.data.extend_from_slice(data);
        }
    }

    fn trailers(&mut self, trailers: &mut HeaderMap) {
        // Nobody looks there for who calls, but an application that takes them for fields of the head.
        claims::forget(trailers);
        // A request with trailers is rare, and keeping them would need a copy of each: it is sent once.
        self.lose();
    }
}

impl Upload {
    /// Nothing is sent before `begin`.
    pub fn new(body: Body) -> Self {
        let is_empty = body.is_end();
        let pump = Pump::new(if is_empty { Body::Empty } else { body }, Sink::Closed);
        Upload {
            pump,
            kept: Kept::default(),
            is_empty,
            stopped: false,
            stall: None,
            held: Held::default(),
        }
    }

    /// There is content, or may be.
    pub fn has_content(&self) -> bool {
        !self.is_empty
    }

    /// Bounds it to `most` bytes, and until the answer begins to stand still no longer than `patience`. Fails at once when
    /// it says that it will be larger.
    pub fn bound(&mut self, most: u64, patience: Duration, parts: &Parts) -> Result<(), Error> {
        if self.is_empty || parts.extensions.get::<Upgrade>().is_some() {
            return Ok(());
        }
        if most != u64::MAX {
            self.pump.bound(most);
            if let Ok(Some(length)) = check::content_length(&parts.headers)
                && length > most
            {
                let words = format_args!("Content-Length is {length}, max_request_body of the route is {most}.");
                return Err(Error::new(Reason::BodyTooLarge).because(words));
            }
        }
        // The messages of a call come when there is something to say.
        if !grpc::is_grpc(&parts.headers) && !grpc_web::is_grpc_web(&parts.headers) {
            self.stall = Some(Stall::new(patience, parts.headers.contains_key(EXPECT)));
        }
        Ok(())
    }

    /// What comes of it is `translated`; nothing has been sent yet.
    pub fn translate(&mut self, translated: impl FnOnce(Body) -> Body) {
        if !self.is_empty {
            let body = std::mem::replace(&mut self.pump.body, Body::Empty);
            self.pump.body = translated(body);
        }
    }

    /// Sends to another endpoint, from the beginning.
    pub fn begin(&mut self, sink: Sink) {
        self.stopped = false;
        let again = (!self.kept.data.is_empty()).then(|| Bytes::copy_from_slice(&self.kept.data));
        self.pump.restart(sink, again.into_iter());
    }

    /// The content, when it is there as a whole and held; nothing is held afterwards.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        (self.is_done() && self.can_replay()).then(|| self.kept.take())
    }

    /// One endpoint alone will get it: nothing has to be kept.
    pub fn once(&mut self) {
        self.kept.lose();
    }

    /// No further endpoint will be tried: nothing has to be kept, and the caller may take its time.
    pub fn commit(&mut self) {
        self.kept.lose();
        self.stall = None;
    }

    /// Moves what can be moved; what comes from the caller moves the `deadline` on. Fails when the caller's side broke
    /// off; what the endpoint does not take is its affair, for it may answer all the same.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Result<(), Error> {
        if self.stopped {
            self.gather(cx);
            return Ok(());
        }
        let taken = self.pump.taken();
        let moved = self.pump.poll(cx, &mut self.kept);
        if self.pump.taken() != taken {
            deadline.progress();
        }
        match moved {
            Poll::Pending => self.poll_stall(cx),
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Broken::Sink(_))) => {
                self.stopped = true;
                Ok(())
            }
            Poll::Ready(Err(Broken::TooLarge)) => Err(self.stop(Error::from(Broken::TooLarge))),
            Poll::Ready(Err(Broken::Body(error))) => Err(self.stop(match error {
                StreamError::Malformed(words) => Error::new(Reason::BadRequest).because(words),
                StreamError::TooLarge(words) => Error::new(Reason::BodyTooLarge).because(words),
                error => Error::new(Reason::DownstreamReset).because(error),
            })),
        }
    }

    /// Fails when the caller has let its content stand still for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let is_over = match &mut self.stall {
            Some(stall) if self.pump.waits_for_body() => stall.poll(cx, self.pump.taken()).is_ready(),
            _ => false,
        };
        match is_over {
            true => Err(self.stop(Error::new(Reason::RequestTimeout).because("The request's content stands still."))),
            false => Ok(()),
        }
    }

    /// Breaks off so that the endpoint cannot take what it has for the whole.
    fn stop(&mut self, error: Error) -> Error {
        self.stopped = true;
        self.pump.sink.reset(ResetCode::CANCEL);
        error
    }

    /// Ready when content waits for its endpoint that the process can hold no longer.
    pub fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.pump.holds() {
            true => self.held.poll_end(cx),
            false => Poll::Pending,
        }
    }

    /// Takes what has come while no endpoint does. See [`Body::gather`].
    pub fn gather(&mut self, cx: &mut Context<'_>) {
        self.pump.body.gather(cx);
    }

    /// Goes on after the response: an endpoint may answer before it has the whole request and still want the rest
    /// (RFC 9113 section 8.1). It gets it as long as the exchange may last and, but for a tunnel, as some of it moves
    /// within each [`PATIENCE`].
    pub async fn rest(&mut self, deadline: &mut Deadline, is_tunnel: bool) {
        loop {
            let moved = self.moved();
            let mut pause = (!is_tunnel).then(|| Box::pin(clock::sleep(PATIENCE)));
            let is_over = poll_fn(|cx| {
                if self.poll(cx, deadline).is_err() || self.poll_over(cx).is_ready() || deadline.poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                match &mut pause {
                    Some(pause) => pause.as_mut().poll(cx).map(|()| false),
                    None => Poll::Pending,
                }
            });
            if is_over.await || self.moved() == moved {
                return;
            }
        }
    }

    /// Ready when nothing of it moves any more: it is done, or the endpoint wants no more.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.is_done() || self.stopped {
            true => Poll::Ready(()),
            false => self.pump.sink.poll_reset(cx).map(drop),
        }
    }

    /// True when the request has no content: its head is all.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// True when the endpoint has taken all of it.
    pub fn is_done(&self) -> bool {
        self.is_empty || self.pump.is_done()
    }

    /// True when another endpoint could get the same request.
    pub fn can_replay(&self) -> bool {
        !self.kept.lost
    }

    /// Bytes of content sent to the last endpoint.
    pub fn moved(&self) -> u64 {
        self.pump.moved()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        HeaderMap::from_iter(fields)
    }

    const TOLD: &str = "x-envoy-expected-rq-timeout-ms";

    #[test]
    fn a_caller_gives_its_time_in_two_ways_and_the_shorter_counts() {
        for (fields, millis) in [
            (&[][..], None),
            (&[(TOLD, "250")], Some(250)),
            (&[("grpc-timeout", "1S")], Some(1000)),
            (&[("grpc-timeout", "1S"), (TOLD, "250")], Some(250)),
            (&[("grpc-timeout", "1m"), (TOLD, "250")], Some(1)),
            (&[(TOLD, "0")], None),
            (&[(TOLD, "-1")], None),
            (&[(TOLD, "soon")], None),
        ] {
            assert_eq!(asked(&headers(fields)), millis.map(Duration::from_millis), "{fields:?}");
        }
    }

    #[test]
    fn what_is_left_is_told_where_the_caller_told_it_and_to_a_call_in_both_ways() {
        let left = Duration::from_micros(1500);
        let mut plain = headers(&[]);
        tell_left(&mut plain, left);
        assert!(plain.is_empty());

        let mut http = headers(&[(TOLD, "250")]);
        tell_left(&mut http, left);
        assert_eq!((&http[TOLD], http.len()), (&HeaderValue::from_static("2"), 1));

        let mut call = headers(&[(TOLD, "250"), ("content-type", "application/grpc")]);
        tell_left(&mut call, left);
        assert_eq!(
            (&call[TOLD], &call["grpc-timeout"]),
            (&HeaderValue::from_static("2"), &HeaderValue::from_static("1500000n"))
        );
    }
}
