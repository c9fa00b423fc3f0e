//! Copies of requests to somebody else, of whose answers nobody hears.
//!
//! A copy leaves when the answer to its request begins, or there will be none: by then the content is there as a whole, or
//! it is too much to be held. The request waits for nothing of it, and what becomes of it is counted and no more.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::Authority;
use http::{Request, Uri};

use super::Call;
use crate::balance::Key;
use crate::clock;
use crate::error::{Error, Reason};
use crate::forward::{self, Sending};
use crate::http::body::Frame;
use crate::http::grpc;
use crate::http::pump::Broken;
use crate::http::upgrade::Upgrade;
use crate::random;
use crate::scope::Target;
use crate::snapshot::model::{Destination, Mirror, Route};
use crate::telemetry::grpc_status::GrpcStatus;
use crate::telemetry::metrics::AttemptCounts;
use crate::upstream::{Picked, Upstream};
use crate::verdict::{self, Verdict};

/// Copies that one worker has under way. With what each may hold they are 16 MiB at most, as of retries.
const MOST_COPIES: usize = 256;
/// How long one may take where its route has no timeout: Envoy's default of a route.
const TIMEOUT: Duration = Duration::from_secs(15);
/// All, in millionths.
const ALL: u64 = 1_000_000;

thread_local! {
    /// Of this worker.
    static COPIES: Cell<usize> = const { Cell::new(0) };
}

/// Throws the dice.
pub(super) fn is_copied(route: &Route, parts: &Parts) -> bool {
    let is_hit = |mirror: &Mirror| random::part_of(ALL) < u64::from(mirror.share);
    route.mirror.as_ref().is_some_and(is_hit) && parts.extensions.get::<Upgrade>().is_none()
}

impl Call {
    /// Sends the copy, and waits for nothing.
    pub(super) fn copy(&mut self, target: &Target, destination: &Destination, parts: &Parts) {
        let (Some(upstream), Some(counts)) = (&target.mirror, &target.metrics.mirrored) else {
            return;
        };
        match self.prepare((upstream, counts), (&target.route, destination), parts) {
            Ok(copy) => {
                tokio::task::spawn_local(copy.run());
            }
            Err(reason) => counts.count(Some(reason)),
        }
    }

    fn prepare(
        &mut self,
        (upstream, counts): (&Rc<Upstream>, &Arc<AttemptCounts>),
        (route, destination): (&Route, &Destination),
        parts: &Parts,
    ) -> Result<Copy, Reason> {
        let content = self.upload.take_whole().ok_or(Reason::BodyTooLarge)?;
        let under_way = UnderWay::take().ok_or(Reason::Overflow)?;
        let left = self.deadline.left();
        let is_tls = upstream.config.tls.is_some();
        let caller = self.identified.as_deref();
        let sending = Sending { route, caller, destination, is_tls, left, tries_before: None };
        let request = forward::request(parts, &sending, &self.record, self.web.as_deref());
        let mut request = request.map_err(|error| error.reason)?;
        mark(&mut request);
        Ok(Copy {
            key: upstream.key(Some(parts), self.record.client_address()),
            upstream: Rc::clone(upstream),
            counts: Arc::clone(counts),
            timeout: left.or(route.timeout).unwrap_or(TIMEOUT),
            is_call: self.record.is_call(),
            request,
            content,
            _under_way: under_way,
        })
    }
}

/// One on its way.
struct Copy {
    upstream: Rc<Upstream>,
    counts: Arc<AttemptCounts>,
    key: Key,
    request: Request<()>,
    content: Bytes,
    timeout: Duration,
    is_call: bool,
    _under_way: UnderWay,
}

impl Copy {
    async fn run(self) {
        let (counts, timeout) = (Arc::clone(&self.counts), self.timeout);
        let sent = tokio::select! {
            biased;
            sent = self.send() => sent,
            () = clock::sleep(timeout) => Err(Error::new(Reason::Timeout)),
        };
        counts.count(sent.err().map(|error| error.reason));
    }

    async fn send(self) -> Result<(), Error> {
        let Copy { upstream, key, request, content, is_call, _under_way, .. } = self;
        if !upstream.is_warm() {
            upstream.warm().await?;
        }
        let permit = upstream.enter()?;
        let picked = upstream.pick(&key, &[])?;
        let judged = ask(&picked, request, content, is_call).await;
        let verdict = judged.as_ref().map_or_else(Verdict::of, |verdict| *verdict);
        picked.ended(verdict);
        permit.ended(verdict);
        judged.map(drop)
    }
}

/// What the endpoint's answer says of it; the answer itself is read to its end and dropped.
async fn ask(picked: &Picked, request: Request<()>, content: Bytes, is_call: bool) -> Result<Verdict, Error> {
    let mut lease = match picked.ready() {
        Some(lease) => lease,
        None => picked.checkout().await?,
    };
    let (head, mut body, _sink) = lease.ask(request, content).await?;
    let mut trailers = None;
    while let Some(frame) = body.next().await {
        match frame.map_err(Broken::Body)? {
            Frame::Data(data) => body.release(data.len()),
            Frame::Trailers(last) => trailers = Some(last),
        }
    }
    lease.completed();
    let status = trailers.as_ref().unwrap_or(head.headers()).get(grpc::GRPC_STATUS);
    let call = match status.map(GrpcStatus::parse) {
        _ if !is_call => verdict::Call::No,
        Some(status) => verdict::Call::Status(status.number()),
        None => verdict::Call::Open,
    };
    let judge = picked.judge();
    Ok(judge.answered(judge.head(head.status(), head.headers()), call, None))
}

/// Counts one copy for as long as it is under way.
struct UnderWay;

impl UnderWay {
    fn take() -> Option<Self> {
        let copies = COPIES.get();
        (copies < MOST_COPIES).then(|| {
            COPIES.set(copies + 1);
            UnderWay
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        COPIES.set(COPIES.get() - 1);
    }
}

/// A copy is known by its host, as Envoy's are: `orders` becomes `orders-shadow`. One that has no such name stays.
fn mark(request: &mut Request<()>) {
    let mut uri = request.uri().clone().into_parts();
    let marked = uri.authority.as_ref().and_then(|authority| {
        let (host, port) = (authority.host(), authority.port());
        if host.starts_with('[') {
            return None;
        }
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        Authority::try_from(format!("{host}-shadow{port}")).ok()
    });
    if marked.is_some() {
        uri.authority = marked;
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_its_host() {
        for (sent, marked) in [
            ("http://orders/a?b", "http://orders-shadow/a?b"),
            ("https://orders.mesh:8080/", "https://orders.mesh-shadow:8080/"),
            ("http://[::1]:80/", "http://[::1]:80/"),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = Uri::from_static(sent);
            mark(&mut request);
            assert_eq!(request.uri(), marked);
        }
    }

    #[test]
    fn copies_under_way_are_bounded_and_their_places_come_back() {
        let under_way: Vec<UnderWay> = std::iter::from_fn(UnderWay::take).collect();
        assert_eq!(under_way.len(), MOST_COPIES);
        drop(under_way);
        assert!(UnderWay::take().is_some());
    }
}
