//! One question to one endpoint, over a connection of its own: what a new caller would find.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use prost::Message;

use crate::clock;
use crate::cluster::{Cluster, Counts, Endpoint};
use crate::error::{Error, Side};
use crate::http::body::Frame;
use crate::http::grpc;
use crate::pool::{Limits, Pool, Sessions, Transport};
use crate::snapshot::model::{EndpointLimits, HealthCheck, Question};
use crate::telemetry::grpc_status::GrpcStatus;
use crate::telemetry::propagation::w3c::{TRACEPARENT, Traceparent};
use crate::telemetry::trace;
use crate::upstream::Upstream;

/// Who asks, for logs of applications.
const AGENT: HeaderValue = HeaderValue::from_static("sidecar-health-check");
/// Content of an answer that is read. One of gRPC has 7 bytes.
const MOST_CONTENT: usize = 64 * 1024;
/// A probe is one request at a time, and counts in no limit of the cluster.
const LIMITS: Limits = Limits {
    max_connections: 1,
    max_pending: 1,
    per_endpoint: EndpointLimits { max_connections: 1, max_pending: 1, max_requests: 1, max_retries: 1 },
};

/// `grpc.health.v1.HealthCheckRequest` (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// SERVING of `HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;

/// The way to one endpoint.
pub(super) struct Probe {
    endpoint: Arc<Endpoint>,
    transport: Rc<Transport>,
    sessions: Sessions,
    /// Not the cluster's: its connections and counts are those of requests.
    cluster: Cluster,
    pool: Pool,
    authority: Authority,
}

impl Probe {
    pub(super) fn new(upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Self {
        let (transport, cluster) = (upstream.transport(endpoint), Cluster::default());
        let apart = Endpoint { counts: Arc::new(Counts::default()), ..Endpoint::clone(endpoint) };
        let pool = Pool::new(&apart, &cluster, Rc::clone(&transport));
        // A service's name is one of DNS.
        let named = Authority::try_from(&*upstream.config.service);
        Probe {
            endpoint: Arc::clone(endpoint),
            transport,
            sessions: Sessions::default(),
            cluster,
            pool,
            authority: named.unwrap_or_else(|_| Authority::from_static("localhost")),
        }
    }

    /// Whether it is well, and if not why. None: nothing was found out, for the reason is on this side.
    pub(super) async fn ask(&self, check: &HealthCheck) -> Option<Result<(), String>> {
        let answer = tokio::select! {
            biased;
            answer = self.question(&check.question) => answer,
            () = clock::sleep(check.timeout) => Err(Wrong::Says(format!("no answer within {:?}", check.timeout))),
        };
        // The next one shows whether connections are taken.
        self.pool.retire();
        match answer {
            Ok(()) => Some(Ok(())),
            Err(Wrong::Says(words)) => Some(Err(words)),
            Err(Wrong::Broke(error)) if error.reason.side() == Side::Proxy => None,
            Err(Wrong::Broke(error)) => Some(Err(error.to_string())),
        }
    }

    async fn question(&self, question: &Question) -> Result<(), Wrong> {
        match question {
            Question::Connect => {
                let _connection = self.transport.connect(self.endpoint.address, &self.sessions).await?;
                Ok(())
            }
            Question::Http { path, statuses } => {
                let (head, ..) = self
                    .exchange(self.request(Method::GET, path.clone()), Bytes::new())
                    .await?;
                let status = head.status();
                match statuses.iter().any(|range| range.contains(&status.as_u16())) {
                    true => Ok(()),
                    false => Err(Wrong::Says(format!("it answers {status}"))),
                }
            }
            Question::Grpc { service } => self.call(service).await,
        }
    }

    async fn call(&self, service: &str) -> Result<(), Wrong> {
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let mut request = self.request(Method::POST, path);
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        let message = HealthCheckRequest { service: service.to_owned() };
        let (head, content, trailers) = self.exchange(request, framed(&message)).await?;
        let status = trailers.as_ref().unwrap_or(head.headers()).get(grpc::GRPC_STATUS);
        match status.map(GrpcStatus::parse) {
            Some(status) if status.number() == 0 => {}
            Some(status) => return Err(Wrong::Says(format!("it answers {}", status.name()))),
            None if head.status() != StatusCode::OK => {
                return Err(Wrong::Says(format!("it answers {}", head.status())));
            }
            None => return Err(Wrong::Says("it answers without a grpc-status".to_owned())),
        }
        // One flag, four bytes of length (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
        let answer = content.get(5..).map(HealthCheckResponse::decode);
        match answer {
            Some(Ok(HealthCheckResponse { status: SERVING })) => Ok(()),
            Some(Ok(HealthCheckResponse { status })) => Err(Wrong::Says(format!("it says {}", serving(status)))),
            _ => Err(Wrong::Says("its answer is none of grpc.health.v1".to_owned())),
        }
    }

    fn request(&self, method: Method, path: PathAndQuery) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_2;
        let mut uri = Uri::default().into_parts();
        let is_tls = self.transport.tls.is_some();
        uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(USER_AGENT, AGENT);
        // Nobody wants spans of checks: the trace is there and not sampled.
        let trace = Traceparent { version: 0, trace_id: trace::trace_id(), parent_id: trace::span_id(), flags: 0 };
        request.headers_mut().insert(TRACEPARENT, trace.format());
        request
    }

    /// Sends a request and reads its answer to the end, or as much of it as anybody wants.
    async fn exchange(
        &self,
        request: Request<()>,
        content: Bytes,
    ) -> Result<(Response<()>, BytesMut, Option<HeaderMap>), Wrong> {
        let mut lease = self.pool.checkout(&self.cluster, LIMITS).await?;
        let (head, mut body, _sink) = lease.ask(request, content).await?;
        let mut received = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = body.next().await {
            match frame.map_err(|error| Wrong::Says(error.to_string()))? {
                Frame::Data(data) => {
                    body.release(data.len());
                    received.extend_from_slice(&data);
                    if received.len() > MOST_CONTENT {
                        break;
                    }
                }
                Frame::Trailers(last) => trailers = Some(last),
            }
        }
        Ok((head, received, trailers))
    }
}

/// What was wrong.
enum Wrong {
    /// There was no answer.
    Broke(Error),
    /// There was one.
    Says(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong::Broke(error)
    }
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut framed = BytesMut::with_capacity(5 + encoded.len());
    framed.put_u8(0);
    framed.put_u32(encoded.len() as u32);
    framed.put_slice(&encoded);
    framed.freeze()
}

/// The names of `HealthCheckResponse.ServingStatus`.
fn serving(status: i32) -> &'static str {
    match status {
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}
