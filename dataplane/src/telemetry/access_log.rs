//! Finished exchanges as log lines: one JSON object each.

use std::fmt::{Display, Write};
use std::time::Duration;

use http::Version;

use super::bounded::cut;
use super::finished::{Attempt, Finished};

/// Bytes of a value that a caller chooses.
const MAX_VALUE: usize = 4096;

/// Adds the line of `exchange`, with its line feed. The query is left out: it may hold credentials.
pub fn write_line(out: &mut String, exchange: &Finished) {
    let mut line = Object::open(out);
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
    line.text_if("route", exchange.route_name());
    line.text_if("cluster", exchange.cluster_name());
    if let Some(last) = exchange.attempts.last() {
        line.text("endpoint", &last.endpoint);
        line.key("attempts");
        line.out.push('[');
        for (index, attempt) in exchange.attempts.iter().enumerate() {
            if index > 0 {
                line.out.push(',');
            }
            write_attempt(line.out, attempt);
        }
        line.out.push(']');
    }
    line.plain("duration_ms", millis(exchange.duration));
    line.plain("bytes_received", exchange.received);
    line.plain("bytes_sent", exchange.sent);
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
    out.push('\n');
}

fn write_attempt(out: &mut String, attempt: &Attempt) {
    let mut object = Object::open(out);
    object.text("endpoint", &attempt.endpoint);
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

/// RFC 3339 in UTC with microseconds.
fn timestamp(unix_nanos: u64) -> String {
    let (seconds, micros) = (unix_nanos / 1_000_000_000, unix_nanos / 1000 % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year; 719468 days lie between.
    let day = days + 719_468;
    // A cycle of 400 years has 146097 days; 1460, 36524 and 146096 are where a leap day falls in or out.
    let (cycle, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + carry, month, day)
}

/// One JSON object that is being written.
struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String) -> Self {
        out.push('{');
        Object { out, empty: true }
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
        write_string(self.out, value);
    }

    fn text_if(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    /// A value that is JSON already.
    fn plain(&mut self, key: &str, value: impl Display) {
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
    use crate::telemetry::registry::Registry;
    use crate::telemetry::samples::{cluster, listener, root, route};
    use crate::telemetry::trace::TraceContext;

    fn blank() -> Finished {
        let label = Registry::default().listener(&listener(Direction::Edge));
        Finished::blank(&label, "[::1]:5000".parse().unwrap())
    }

    fn line(exchange: &Finished) -> String {
        let mut out = String::new();
        write_line(&mut out, exchange);
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
        exchange.route = Some(route());
        exchange.cluster = Some(cluster());
        exchange.attempts.push(Attempt {
            endpoint: "orders-1".into(),
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
    fn a_time_is_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (4_107_456_000, "2100-02-28T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000_000), text);
        }
        assert_eq!(timestamp(1_999), "1970-01-01T00:00:00.000001Z");
    }

    #[test]
    fn the_label_of_a_listener_is_shared() {
        let registry = Registry::default();
        let label = || registry.listener(&listener(Direction::Edge));
        assert!(Arc::ptr_eq(&label(), &label()));
    }
}
