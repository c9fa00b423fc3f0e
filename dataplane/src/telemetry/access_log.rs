//! Finished exchanges as log lines: one JSON object each, or text by a pattern.

use std::collections::HashSet;
use std::fmt::{Display, Write};
use std::time::Duration;

use http::Version;
use time::timestamp;

use super::bounded::cut;
use super::finished::{Attempt, Candidates, Finished};
use crate::snapshot::model::{AccessLog, Line, Origin};

mod pattern;
mod time;

/// Bytes of a value that a caller chooses.
const MAX_VALUE: usize = 4096;
/// What stands in the place of a value that is not told.
const REDACTED: &str = "redacted";

/// Fields whose value is not told.
type Redacted = HashSet<Box<str>>;

/// Writes lines as one snapshot wants them.
#[derive(Debug)]
pub struct Writer<'a> {
    format: &'a AccessLog,
}

impl<'a> Writer<'a> {
    /// As this asks for.
    pub fn new(format: &'a AccessLog) -> Self {
        Writer { format }
    }

    /// Adds the line of `exchange`, with its line feed. The query is left out: it may hold credentials.
    pub fn write(&self, out: &mut String, exchange: &Finished) {
        match &self.format.line {
            Line::Json => write_json(out, exchange, &self.format.redacted),
            Line::Pattern(pieces) => pattern::write(out, exchange, pieces, &self.format.redacted),
        }
        out.push('\n');
    }
}

fn write_json(out: &mut String, exchange: &Finished, redacted: &Redacted) {
    let mut line = Object::open(out, redacted);
    line.text("time", &timestamp(exchange.started_unix_nanos));
    line.text("direction", exchange.listener.direction.name());
    line.text("listener", &exchange.listener.name);
    line.text("request_id", &exchange.request_id.to_string());
    if let Some(context) = &exchange.context {
        line.plain("trace_id", format_args!("\"{:032x}\"", context.trace_id));
        if context.sampled {
            line.plain("span_id", format_args!("\"{:016x}\"", context.span_id));
        }
    }
    if exchange.tcp {
        line.text_if("authority", cut(&exchange.authority(), MAX_VALUE));
        line.text("protocol", "TCP");
    } else {
        line.text("method", cut(exchange.method.as_str(), MAX_VALUE));
        line.text("authority", cut(&exchange.authority(), MAX_VALUE));
        line.text("path", cut(exchange.uri.path(), MAX_VALUE));
        line.text("protocol", protocol(exchange.version));
    }
    if let Some(status) = exchange.status {
        line.plain("status", status.as_u16());
    }
    if let Some(status) = exchange.grpc_status {
        line.text("grpc_status", status.name());
    }
    if let Some(reason) = exchange.reason {
        line.text("reason", reason.name());
    }
    if let Some(detail) = exchange.detail() {
        line.text("detail", cut(detail, MAX_VALUE));
    }
    line.text_if("rule", exchange.rule());
    if let Some(told) = exchange.told {
        line.text("told", told.name());
    }
    if exchange.has_failed() {
        if let Some(origin) = exchange.origin() {
            line.text_if("config", &config(origin));
        }
        if exchange.candidates.total > 0 {
            line.key("candidates");
            write_candidates(line.out, &exchange.candidates);
        }
    }
    line.text_if("route", exchange.route_name());
    line.text_if("cluster", exchange.cluster_name());
    if let Some(last) = exchange.attempts.last() {
        line.text("endpoint", &last.endpoint.label);
        line.key("attempts");
        line.out.push('[');
        for (index, attempt) in exchange.attempts.iter().enumerate() {
            if index > 0 {
                line.out.push(',');
            }
            write_attempt(line.out, attempt, redacted);
        }
        line.out.push(']');
    }
    line.plain("duration_ms", millis(exchange.duration));
    line.plain("bytes_received", exchange.received);
    line.plain("bytes_sent", exchange.sent);
    line.text_if(
        "consumer",
        exchange.consumer.as_ref().map_or("", |consumer| &consumer.0),
    );
    line.text_if("peer", exchange.peer.as_deref().unwrap_or(""));
    let upstream_peer = exchange.attempts.last().and_then(|attempt| attempt.peer.as_deref());
    line.text_if("upstream_peer", upstream_peer.unwrap_or(""));
    match exchange.told_client {
        None => line.plain("client", format_args!("\"{}\"", exchange.client)),
        Some(told) => {
            line.plain("client", format_args!("\"{told}\""));
            line.plain("proxy", format_args!("\"{}\"", exchange.client));
        }
    }
    line.close();
}

/// Where it is written what the outcome hangs on.
fn config(origin: &Origin) -> String {
    match origin.index {
        0 => origin.place.to_string(),
        index => format!("{} (index {index})", origin.place),
    }
}

fn write_candidates(out: &mut String, candidates: &Candidates) {
    let Candidates { total, healthy, ejected, ill, priority, is_panic } = candidates;
    let _ = write!(
        out,
        r#"{{"total":{total},"healthy":{healthy},"ejected":{ejected},"ill":{ill},"priority":{priority},"panic":{is_panic}}}"#
    );
}

fn write_attempt(out: &mut String, attempt: &Attempt, redacted: &Redacted) {
    let mut object = Object::open(out, redacted);
    object.text("endpoint", &attempt.endpoint.label);
    if let Some(why) = attempt.why {
        object.text("why", why.name());
    }
    object.plain("ms", millis(attempt.duration()));
    object.close();
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds to three digits.
fn millis(duration: Duration) -> impl Display {
    duration.as_micros() as f64 / 1000.0
}

/// One JSON object that is being written.
struct Object<'a> {
    out: &'a mut String,
    redacted: &'a Redacted,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String, redacted: &'a Redacted) -> Self {
        out.push('{');
        Object { out, redacted, empty: true }
    }

    fn is_told(&self, key: &str) -> bool {
        self.redacted.is_empty() || !self.redacted.contains(key)
    }

    /// `key` is one of ours and needs no escape.
    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        write_string(self.out, if self.is_told(key) { value } else { REDACTED });
    }

    fn text_if(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    /// A value that is JSON already.
    fn plain(&mut self, key: &str, value: impl Display) {
        if !self.is_told(key) {
            return self.text(key, REDACTED);
        }
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn close(self) {
        self.out.push('}');
    }
}

/// A JSON string (RFC 8259 section 7).
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // U+2028 and U+2029 are legal in JSON, but end a line for some readers; DEL and C1 disturb terminals.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;
    use crate::error::Reason;
    use crate::snapshot::model::Direction;
    use crate::telemetry::finished::RequestId;
    use crate::telemetry::grpc_status::GrpcStatus;
    use crate::telemetry::metrics::EndpointMetrics;
    use crate::telemetry::registry::Registry;
    use crate::telemetry::samples::{cluster, listener, root, route};
    use crate::telemetry::trace::TraceContext;

    fn blank() -> Finished {
        let label = Registry::default().listener(&listener(Direction::Edge));
        Finished::blank(&label, "[::1]:5000".parse().unwrap())
    }

    fn line(exchange: &Finished) -> String {
        by(&AccessLog::default(), exchange)
    }

    fn by(format: &AccessLog, exchange: &Finished) -> String {
        let mut out = String::new();
        Writer::new(format).write(&mut out, exchange);
        out
    }

    #[test]
    fn a_line_holds_everything_in_its_order() {
        let mut exchange = blank();
        exchange.started_unix_nanos = 1_700_000_000_123_456_789;
        exchange.duration = Duration::from_micros(12_345);
        exchange.request_id = RequestId::Made(1);
        exchange.context = Some(TraceContext { trace_id: 0xabc, span_id: 0xdef, ..root() });
        exchange.method = http::Method::POST;
        exchange.uri = "http://orders.mesh/a/b?token=secret".parse().unwrap();
        exchange.version = Version::HTTP_2;
        exchange.status = Some(http::StatusCode::OK);
        exchange.grpc_status = Some(GrpcStatus::new(14));
        exchange.reason = Some(Reason::UpstreamReset);
        exchange.failure.get_or_insert_default().particulars.cause = Some("code \"8\"".into());
        exchange.failure.get_or_insert_default().particulars.rule = Some("a rule".into());
        exchange.candidates = Candidates { total: 3, healthy: 2, ejected: 1, ..Candidates::default() };
        exchange.route = Some(route());
        exchange.cluster = Some(cluster());
        exchange.attempts.push(Attempt {
            endpoint: EndpointMetrics::new("orders-1"),
            address: "10.0.0.7:21000".parse().unwrap(),
            span_id: 1,
            started: Duration::from_millis(1),
            ended: Some(Duration::from_micros(3_500)),
            why: Some(Reason::UpstreamReset),
            peer: Some("spiffe://m/service/orders".into()),
            status: None,
            grpc_status: None,
            ejection: 0,
        });
        exchange.received = 5;
        exchange.sent = 6;
        exchange.peer = Some("spiffe://m/service/web".into());
        assert_eq!(
            line(&exchange),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.123456Z","direction":"edge","listener":"out","#,
                r#""request_id":"00000000-0000-0000-0000-000000000001","#,
                r#""trace_id":"00000000000000000000000000000abc","span_id":"0000000000000def","#,
                r#""method":"POST","authority":"orders.mesh","path":"/a/b","protocol":"HTTP/2","status":200,"#,
                r#""grpc_status":"UNAVAILABLE","reason":"upstream-reset","detail":"code \"8\"","#,
                r#""rule":"a rule","config":"services/orders.yaml:12:3","#,
                r#""candidates":{"total":3,"healthy":2,"ejected":1,"ill":0,"priority":0,"panic":false},"#,
                r#""route":"api","cluster":"orders","endpoint":"orders-1","#,
                r#""attempts":[{"endpoint":"orders-1","why":"upstream-reset","ms":2.5}],"#,
                r#""duration_ms":12.345,"bytes_received":5,"bytes_sent":6,"#,
                r#""peer":"spiffe://m/service/web","upstream_peer":"spiffe://m/service/orders","#,
                r#""client":"[::1]:5000"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_redacted_is_not_told_and_the_rest_is() {
        let mut exchange = blank();
        exchange.uri = "/secret".parse().unwrap();
        let redacted = ["path", "client", "trace_id"].map(Into::into).into();
        let line = by(&AccessLog { redacted, ..AccessLog::default() }, &exchange);
        assert!(
            line.contains(r#""path":"redacted","#) && line.contains(r#""client":"redacted""#),
            "{line}"
        );
        assert!(
            !line.contains("secret") && !line.contains("5000") && !line.contains("trace_id"),
            "{line}"
        );
        assert!(line.contains(r#""method":"GET""#));
    }

    #[test]
    fn a_connection_has_no_method() {
        let mut exchange = blank();
        exchange.tcp = true;
        exchange.uri = "db:5432".parse().unwrap();
        let line = line(&exchange);
        assert!(
            line.contains(r#""authority":"db:5432","protocol":"TCP","duration_ms""#),
            "{line}"
        );
        assert!(!line.contains("method") && !line.contains("path"), "{line}");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let line = line(&blank());
        for absent in [
            "trace_id", "span_id", "status", "reason", "detail", "route", "cluster", "attempts", "peer",
        ] {
            assert!(!line.contains(&format!("\"{absent}\"")), "{absent} in {line}");
        }
    }

    #[test]
    fn hostile_values_stay_one_line_of_json() {
        let mut exchange = blank();
        exchange.host = Some(HeaderValue::from_bytes(b"a\xff\"\\\tb").unwrap());
        exchange.failure.get_or_insert_default().particulars.cause = Some("x\n\r\u{0}\u{7f}\u{85}\u{2028}é".into());
        let line = line(&exchange);
        assert!(line.contains("\"authority\":\"a\u{fffd}\\\"\\\\\\tb\""), "{line}");
        assert!(line.contains(r#""detail":"x\n\r\u0000\u007f\u0085\u2028é""#), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_long_path_is_cut() {
        let mut exchange = blank();
        exchange.uri = format!("/{}", "a".repeat(9000)).parse().unwrap();
        assert!(line(&exchange).len() < MAX_VALUE + 400);
    }

    #[test]
    fn the_label_of_a_listener_is_shared() {
        let registry = Registry::default();
        let label = || registry.listener(&listener(Direction::Edge));
        assert!(Arc::ptr_eq(&label(), &label()));
    }
}
