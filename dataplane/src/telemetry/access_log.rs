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
    line.text("method", cut(exchange.method.as_str(), MAX_VALUE));
    line.text("authority", cut(&exchange.authority(), MAX_VALUE));
    line.text("path", cut(exchange.uri.path(), MAX_VALUE));
    line.text("protocol", protocol(exchange.version));
    if let Some(status) = exchange.status {
        line.plain("status", status.as_u16());
    }
    if let Some(status) = exchange.grpc_status {
        line.text("grpc_status", status.name());
    }
    if let Some(reason) = exchange.reason {
        line.text("reason", reason.name());
    }
    if let Some(detail) = &exchange.detail {
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
    line.plain("client", format_args!("\"{}\"", exchange.client));
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
