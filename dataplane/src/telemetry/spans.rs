//! Finished exchanges as OTLP spans, by OpenTelemetry's semantic conventions for HTTP (stable) and RPC
//! (<https://opentelemetry.io/docs/specs/semconv/>): one SERVER span an exchange, one CLIENT span an attempt.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Version};
use prost::Message;
use prost::bytes::Bytes;

use super::Source;
use super::bounded::cut;
use super::finished::{Attempt, Finished};
use super::otlp::{self, Event, KeyValue, Span, Text, copied, int, text};
use super::trace::TraceContext;
use crate::snapshot::model::{Authentication, Direction, Protocol, Route};

mod mesh;
mod outcome;
mod queue;

use mesh::Mesh;
use outcome::{Outcome, client_blame, server_blame};
pub use queue::Queue;

/// Bytes of an attribute value that a caller chooses.
const MAX_VALUE: usize = 4096;

/// Query parameters whose values are credentials, by the conventions for `url.query`. A route can name more.
const SECRET_PARAMETERS: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// An ExportTraceServiceRequest; empty when none of `exchanges` is sampled. `rotation` is the span of the last change of
/// certificates in the mesh's trace.
pub fn encode<E: AsRef<Finished>>(exchanges: impl Iterator<Item = E>, source: &Source, rotation: u64) -> Vec<u8> {
    let mesh = source.mesh.map(|mesh| Mesh::of(mesh, rotation));
    let mut spans = Vec::new();
    for exchange in exchanges {
        push(&mut spans, exchange.as_ref(), mesh.as_ref());
    }
    if spans.is_empty() {
        return Vec::new();
    }
    let scope_spans = vec![otlp::ScopeSpans { scope: Some(otlp::scope()), spans }];
    let resource_spans = vec![otlp::ResourceSpans { resource: Some(otlp::resource(&source.resource)), scope_spans }];
    otlp::ExportTraces { resource_spans }.encode_to_vec()
}

/// How many spans an exchange makes.
fn count(exchange: &Finished) -> u64 {
    match exchange.tcp {
        true => 1,
        false => 1 + exchange.attempts.len() as u64,
    }
}

fn push(spans: &mut Vec<Span>, exchange: &Finished, mesh: Option<&Mesh>) {
    let Some(context) = exchange.sampled() else { return };
    let shared = Shared::of(exchange, context);
    let first = spans.len();
    if exchange.tcp {
        spans.push(connection(&shared));
    } else {
        spans.push(server(&shared));
        let attempts = exchange.attempts.iter().enumerate();
        spans.extend(attempts.map(|(index, attempt)| client(&shared, index, attempt, mesh)));
    }
    if let Some(mesh) = mesh {
        spans[first].links = mesh.links(exchange);
    }
}

/// What the spans of one exchange have in common.
struct Shared<'a> {
    exchange: &'a Finished,
    context: &'a TraceContext,
    name: Text,
    method: &'static str,
    trace_id: Bytes,
    server_id: Bytes,
    trace_state: Text,
}

impl<'a> Shared<'a> {
    fn of(exchange: &'a Finished, context: &'a TraceContext) -> Self {
        let method = known_method(&exchange.method);
        let state: Vec<_> = context
            .tracestate
            .iter()
            .map(|field| String::from_utf8_lossy(field.as_bytes()))
            .collect();
        Shared {
            exchange,
            context,
            name: span_name(exchange, method.unwrap_or("HTTP")),
            method: method.unwrap_or("_OTHER"),
            trace_id: Bytes::copy_from_slice(&context.trace_id.to_be_bytes()),
            server_id: Bytes::copy_from_slice(&context.span_id.to_be_bytes()),
            trace_state: state.join(",").into(),
        }
    }

    /// A span from `started` to `ended`, both since the start of the exchange.
    fn span(&self, kind: i32, span_id: Bytes, parent_span_id: Bytes, started: Duration, ended: Duration) -> Span {
        let at = |offset: Duration| self.exchange.started_unix_nanos + offset.as_nanos() as u64;
        Span {
            trace_id: self.trace_id.clone(),
            span_id,
            trace_state: self.trace_state.clone(),
            parent_span_id,
            name: self.name.clone(),
            kind,
            start_time_unix_nano: at(started),
            end_time_unix_nano: at(ended),
            attributes: Vec::with_capacity(24),
            events: Vec::new(),
            links: Vec::new(),
            status: None,
            flags: otlp::FLAG_HAS_IS_REMOTE | u32::from(self.context.flags()),
        }
    }

    /// What both sides say about the request.
    fn describe_request(&self, attributes: &mut Vec<KeyValue>) {
        let exchange = self.exchange;
        attributes.push(text("http.request.method", self.method));
        if self.method == "_OTHER" {
            attributes.push(text(
                "http.request.method_original",
                copied(cut(exchange.method.as_str(), MAX_VALUE)),
            ));
        }
        if let Some(method) = exchange.rpc_method() {
            attributes.push(text("rpc.system.name", "grpc"));
            attributes.push(text("rpc.method", copied(cut(method, MAX_VALUE))));
        }
        self.describe_target(attributes);
    }

    /// Whom the caller asked for, and what that led to.
    fn describe_target(&self, attributes: &mut Vec<KeyValue>) {
        let exchange = self.exchange;
        let authority = exchange.authority();
        let (host, port) = host_and_port(cut(&authority, MAX_VALUE));
        if !host.is_empty() {
            attributes.push(text("server.address", copied(host)));
        }
        if let Some(port) = port {
            attributes.push(int("server.port", port));
        }
        if let Some(route) = &exchange.route {
            attributes.push(text("sidecar.route", copied(&route.name)));
        }
        if let Some(cluster) = &exchange.cluster {
            attributes.push(text("sidecar.cluster", copied(&cluster.name)));
        }
        attributes.push(text("sidecar.direction", exchange.listener.direction.name()));
    }

    /// What the exchange's own span says of how it was carried out.
    fn describe_handling(&self, attributes: &mut Vec<KeyValue>) {
        let Finished { candidates, touched, .. } = &self.exchange;
        if let Some(route) = &self.exchange.route {
            attributes.push(text("sidecar.config.place", copied(&route.origin.place)));
            if route.origin.index > 0 {
                attributes.push(int("sidecar.config.index", route.origin.index as i64));
            }
        }
        attributes.push(int("sidecar.attempts", self.exchange.attempts.len() as i64));
        if let Some(breaker) = touched.as_ref().and_then(|touched| touched.circuits.breaker) {
            attributes.push(text("sidecar.breaker", breaker.name()));
        }
        // Most of the time all can be picked, and nothing need be said.
        if candidates.healthy < candidates.total || candidates.priority > 0 {
            for (key, count) in [
                ("sidecar.candidates.total", candidates.total),
                ("sidecar.candidates.healthy", candidates.healthy),
                ("sidecar.candidates.ejected", candidates.ejected),
                ("sidecar.candidates.ill", candidates.ill),
                ("sidecar.candidates.priority", candidates.priority),
            ] {
                attributes.push(int(key, count));
            }
        }
        if candidates.is_panic {
            attributes.push(text("sidecar.candidates.panic", "true"));
        }
    }
}

fn server(shared: &Shared<'_>) -> Span {
    let exchange = shared.exchange;
    let parent = shared
        .context
        .parent
        .map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.to_be_bytes()));
    let remote = if parent.is_empty() { 0 } else { otlp::FLAG_IS_REMOTE };
    let mut span = shared.span(
        otlp::KIND_SERVER,
        shared.server_id.clone(),
        parent,
        Duration::ZERO,
        exchange.duration,
    );
    span.flags |= remote;
    let attributes = &mut span.attributes;
    shared.describe_request(attributes);
    attributes.push(text("url.scheme", copied(exchange.scheme())));
    attributes.push(text("url.path", copied(cut(exchange.uri.path(), MAX_VALUE))));
    if let Some(query) = exchange.uri.query() {
        attributes.push(text(
            "url.query",
            copied(cut(&redacted(query, exchange.route.as_deref()), MAX_VALUE)),
        ));
    }
    if let Some(route) = &exchange.route {
        attributes.push(text("http.route", copied(&route.name)));
    }
    if let Some(agent) = exchange.agent.as_ref().and_then(|agent| agent.name.as_ref()) {
        let agent = String::from_utf8_lossy(agent.as_bytes());
        attributes.push(text("user_agent.original", copied(cut(&agent, MAX_VALUE))));
    }
    let version = if exchange.version == Version::HTTP_2 {
        "2"
    } else {
        "1.1"
    };
    attributes.push(text("network.protocol.version", version));
    attributes.push(text("client.address", exchange.client_address().to_string()));
    push_socket(attributes, exchange.client);
    if let Some(peer) = &exchange.peer {
        attributes.push(text("sidecar.peer", copied(peer)));
    }
    shared.describe_handling(attributes);
    let outcome = Outcome {
        status: exchange.status.map(|status| status.as_u16()),
        grpc_status: exchange.grpc_status,
        reason: exchange.reason,
        blame: server_blame,
    };
    span.status = outcome.describe(attributes, exchange.detail());
    span
}

/// A connection that was passed on as it is: one span from its start to its end. There are no conventions for it, so its
/// particulars are ours.
fn connection(shared: &Shared<'_>) -> Span {
    let exchange = shared.exchange;
    let kind = match exchange.listener.direction {
        Direction::Outbound => otlp::KIND_CLIENT,
        Direction::Inbound | Direction::Edge => otlp::KIND_SERVER,
    };
    let id = shared.server_id.clone();
    let mut span = shared.span(kind, id, Bytes::new(), Duration::ZERO, exchange.duration);
    span.name = format!("tcp {}", exchange.route_name()).into();
    let attributes = &mut span.attributes;
    attributes.push(text("network.transport", "tcp"));
    shared.describe_target(attributes);
    attributes.push(text("client.address", exchange.client.ip().to_string()));
    push_socket(attributes, exchange.client);
    if let Some(peer) = &exchange.peer {
        attributes.push(text("sidecar.peer", copied(peer)));
    }
    if let Some(last) = exchange.attempts.last() {
        attributes.push(text("sidecar.endpoint", copied(&last.endpoint.label)));
        if let Some(peer) = &last.peer {
            attributes.push(text("sidecar.upstream.peer", copied(peer)));
        }
    }
    shared.describe_handling(attributes);
    attributes.push(int("sidecar.bytes.received", exchange.received as i64));
    attributes.push(int("sidecar.bytes.sent", exchange.sent as i64));
    let outcome = Outcome { status: None, grpc_status: None, reason: exchange.reason, blame: server_blame };
    span.status = outcome.describe(attributes, exchange.detail());
    span
}

fn client(shared: &Shared<'_>, index: usize, attempt: &Attempt, mesh: Option<&Mesh>) -> Span {
    let exchange = shared.exchange;
    let ended = attempt.ended.unwrap_or(exchange.duration);
    let id = Bytes::copy_from_slice(&attempt.span_id.to_be_bytes());
    let mut span = shared.span(otlp::KIND_CLIENT, id, shared.server_id.clone(), attempt.started, ended);
    let attributes = &mut span.attributes;
    shared.describe_request(attributes);
    attributes.push(text("url.full", full_url(exchange)));
    push_socket(attributes, attempt.address);
    if let Some(cluster) = &exchange.cluster {
        let version = if cluster.protocol == Protocol::Http2 {
            "2"
        } else {
            "1.1"
        };
        attributes.push(text("network.protocol.version", version));
    }
    attributes.push(text("sidecar.endpoint", copied(&attempt.endpoint.label)));
    if let Some(peer) = &attempt.peer {
        attributes.push(text("sidecar.peer", copied(peer)));
    }
    if index > 0 {
        attributes.push(int("http.request.resend_count", index as i64));
    }
    let outcome = Outcome {
        status: attempt.status.map(|status| status.as_u16()),
        grpc_status: attempt.grpc_status,
        reason: attempt.why,
        blame: client_blame,
    };
    span.status = outcome.describe(attributes, None);
    if attempt.ejection != 0 {
        span.events.push(Event {
            time_unix_nano: span.end_time_unix_nano,
            name: Text::from_static(b"sidecar.ejection"),
            attributes: vec![text("sidecar.endpoint", copied(&attempt.endpoint.label))],
        });
        span.links.extend(mesh.map(|mesh| mesh.link(attempt.ejection)));
    }
    span
}

/// The method, if it is one of those that the conventions name.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// "pkg.Service/Method" for gRPC; else the method and the route.
fn span_name(exchange: &Finished, method: &'static str) -> Text {
    match (exchange.rpc_method(), &exchange.route) {
        (Some(rpc), _) => copied(cut(rpc, MAX_VALUE)),
        (None, Some(route)) => format!("{method} {}", route.name).into(),
        (None, None) => Text::from_static(method.as_bytes()),
    }
}

fn push_socket(attributes: &mut Vec<KeyValue>, socket: SocketAddr) {
    attributes.push(text("network.peer.address", socket.ip().to_string()));
    attributes.push(int("network.peer.port", socket.port()));
}

/// "shop.example.com:8080" in its two parts; the brackets of an IPv6 address go.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// What the attempt asks for, without credentials.
fn full_url(exchange: &Finished) -> String {
    let tls = exchange.cluster.as_ref().is_some_and(|cluster| cluster.tls.is_some());
    let scheme = if tls { "https" } else { "http" };
    let mut url = format!("{scheme}://{}{}", exchange.authority(), exchange.uri.path());
    if let Some(query) = exchange.uri.query() {
        url.push('?');
        url.push_str(&redacted(query, exchange.route.as_deref()));
    }
    url.truncate(cut(&url, MAX_VALUE).len());
    url
}

/// The query with the values of credentials replaced.
fn redacted<'a>(query: &'a str, route: Option<&Route>) -> Cow<'a, str> {
    let asked = route.and_then(|route| route.authentication.as_deref());
    let of_route = asked.into_iter().flat_map(Authentication::secret_parameters);
    let secrets: Vec<&str> = of_route.chain(SECRET_PARAMETERS).collect();
    let secret = |parameter: &'a str| {
        let name = parameter.split_once('=').map(|(name, _)| name)?;
        secrets.contains(&name).then_some(name)
    };
    if query.split('&').all(|parameter| secret(parameter).is_none()) {
        return Cow::Borrowed(query);
    }
    let parts = query.split('&').map(|parameter| match secret(parameter) {
        Some(name) => Cow::Owned(format!("{name}=REDACTED")),
        None => Cow::Borrowed(parameter),
    });
    Cow::Owned(parts.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_a_host_and_maybe_a_port() {
        for (authority, host, port) in [
            ("orders.mesh", "orders.mesh", None),
            ("orders.mesh:80", "orders.mesh", Some(80)),
            ("[::1]:443", "::1", Some(443)),
            ("[::1]", "::1", None),
            ("orders:x", "orders", None),
            ("", "", None),
        ] {
            assert_eq!(host_and_port(authority), (host, port), "{authority}");
        }
    }

    #[test]
    fn credentials_in_a_query_are_redacted() {
        assert_eq!(redacted("a=1&sig=abc&b", None), "a=1&sig=REDACTED&b");
        assert_eq!(
            redacted("Signature=x&X-Goog-Signature=y", None),
            "Signature=REDACTED&X-Goog-Signature=REDACTED"
        );
        assert!(matches!(redacted("a=1&signal=2", None), Cow::Borrowed(_)));
    }

    #[test]
    fn an_unknown_method_has_no_name_of_its_own() {
        assert_eq!(known_method(&Method::GET), Some("GET"));
        assert_eq!(known_method(&Method::from_bytes(b"BREW").unwrap()), None);
        assert_eq!(known_method(&Method::from_bytes(b"get").unwrap()), None);
    }
}
